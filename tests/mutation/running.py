"""Changes spread over workers, each with a copy of the tree in a temporary folder; the working tree is never written to."""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from tests.mutation.changes import Change, Source

ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".ci", "__pycache__", ".*_cache", ".hypothesis", ".venv", "*.egg-info", "*.db*"
)


@dataclass(frozen=True)
class Outcome:
    """What came of one change: `killed` says by what, and is empty for a survivor."""

    change: Change
    killed: str
    seconds: float


class Broken(Exception):
    """The run itself does not work: the unchanged tree fails, or a worker has died."""


class Worker:
    """A copy of the tree and a process that has run the tests there once."""

    def __init__(self, folder: Path, tests: Sequence[str] = ()) -> None:
        self._tree = folder / "tree"
        shutil.copytree(ROOT, self._tree, ignore=_LEFT_OUT)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.trials", *tests], cwd=self._tree, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(self._tree), "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        outcome = self._answer()["outcome"]
        if outcome != "survived":
            self.stop()
            raise Broken(f"the unchanged tree does not pass: {outcome[:300]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        with self._process:  # which closes its pipes and waits for it
            self._process.terminate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Broken("a worker has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def try_out(self, texts: Mapping[str, str], *, slow: bool = False, limit: float) -> tuple[str, float]:
        """(what killed the files with these texts, or nothing; seconds)."""
        assert self._process.stdin is not None
        print(json.dumps({"texts": texts, "slow": slow, "limit": limit}), file=self._process.stdin, flush=True)
        answer = self._answer()
        word, _, rest = answer["outcome"].partition(" ")
        if word not in ("killed", "survived"):
            raise Broken(f"{' '.join(texts)}: {answer['outcome']}")
        return rest if word == "killed" else "", answer["seconds"]


@contextmanager
def worker(*tests: str) -> Iterator[Worker]:
    """A worker, its folder gone afterwards; with `tests`, these are its quick ones."""
    with TemporaryDirectory(prefix="mutation-") as folder, Worker(Path(folder), tests) as made:
        yield made


def sources(files: Sequence[str]) -> dict[str, Source]:
    """The files of the working tree, taken apart."""
    return {file: Source(file, (ROOT / file).read_text(encoding="utf-8")) for file in files}


def run(
    taken: Mapping[str, Source], changes: Sequence[Change], *, jobs: int = 1, slow: bool = False, limit: float = 60
) -> Iterator[Outcome]:
    """What came of each change, in the order in which they end."""
    waiting: queue.SimpleQueue[Change] = queue.SimpleQueue()
    for change in changes:
        waiting.put(change)
    plain = {file: source.plain() for file, source in taken.items()}
    texts = threading.Lock()  # a source is changed in place while it is spelled
    done: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            with worker() as mine:
                killed, _ = mine.try_out(plain, limit=limit)
                if killed:
                    raise Broken(f"the files fail unchanged, in another spelling only: {killed}")
                while True:
                    change = waiting.get_nowait()
                    with texts:
                        text = {change.file: taken[change.file].changed(change.number)}
                    killed, seconds = mine.try_out(text, limit=limit)
                    if slow and not killed:
                        killed, more = mine.try_out(text, slow=True, limit=5 * limit)
                        seconds += more
                    done.put(Outcome(change, killed, seconds))
        except queue.Empty:
            done.put(None)
        except BaseException as error:
            done.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for _ in threads:
        while (outcome := done.get()) is not None:
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
