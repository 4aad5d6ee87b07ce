"""`python -m tests.mutation [--sample N --seed S] [FILE[:LINE]…]`: changes the mapping and counts kills."""

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path

from tests.mutation.changes import Change, Source
from tests.mutation.running import Broken, Outcome, run, sources

FILES = (
    "gateway/codecs.py", "gateway/statuses.py", "gateway/reading.py", "gateway/compiled.py",
    "gateway/planned.py", "gateway/writing.py", "gateway/rendering.py", "gateway/ledger.py", "gateway/pointer.py",
    "adapters/getraze/fields.py", "adapters/getraze/served.py", "adapters/spott/fields.py",
)  # fmt: skip


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE[:LINE]", help="instead of the mapping's own files")
    parser.add_argument("--sample", type=int, metavar="N", help="so many changes drawn at random, instead of all")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the draw")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="workers side by side")
    parser.add_argument("--limit", type=float, default=60, metavar="SECONDS", help="for the quick tests of one change")
    parser.add_argument("--slow", action="store_true", help="run the slower tests on what the quick ones let live")
    parser.add_argument("--list", action="store_true", help="show the changes and run nothing")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only what survived in the run kept in this file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep each outcome as a line of JSON")
    return parser.parse_args(given)


def chosen(taken: dict[str, Source], lines: dict[str, set[int]], sample: int | None, seed: int) -> list[Change]:
    """The changes asked for, in the order of files and lines."""
    found = [
        change for file, source in taken.items() for change in source.changes
        if not lines.get(file) or change.line in lines[file]
    ]  # fmt: skip
    if sample is None or sample >= len(found):
        return found
    return [found[place] for place in sorted(random.Random(seed).sample(range(len(found)), sample))]


def _told(change: Change) -> dict[str, object]:
    return {"file": change.file, "number": change.number, "change": str(change)}


def main(given: list[str] | None = None) -> int:
    """Exit code 0, whatever the share; 2 where the run itself does not work."""
    asked = _arguments(given)
    lines: dict[str, set[int]] = {}
    for told in asked.files or FILES:
        file, _, line = told.partition(":")
        lines.setdefault(file, set()).update([int(line)] if line else [])
    taken = sources(list(lines))
    changes = chosen(taken, lines, asked.sample, asked.seed)
    if asked.again:
        before = [json.loads(line) for line in asked.again.read_text(encoding="utf-8").splitlines()]
        lived = {(one["file"], one["change"].split(" ", 1)[1]) for one in before if not one["killed"]}
        changes = [change for change in changes if (change.file, str(change).split(" ", 1)[1]) in lived]
    if asked.list:
        print("\n".join(map(str, changes)))  # noqa: T201  # its output
        return 0
    ended: list[Outcome] = []
    try:
        for outcome in run(taken, changes, jobs=asked.jobs, slow=asked.slow, limit=asked.limit):
            ended.append(outcome)
            if asked.out:
                with asked.out.open("a", encoding="utf-8") as kept:
                    line = _told(outcome.change) | {"killed": outcome.killed, "seconds": round(outcome.seconds, 2)}
                    print(json.dumps(line), file=kept)
            if not outcome.killed:
                print(f"survived {outcome.change}", flush=True)  # noqa: T201  # its output
    except Broken as error:
        print(error, file=sys.stderr)  # noqa: T201  # its output
        return 2
    _summary(ended)
    return 0


def _summary(ended: list[Outcome]) -> None:
    by_file = Counter(outcome.change.file for outcome in ended)
    killed = Counter(outcome.change.file for outcome in ended if outcome.killed)
    for file in (*by_file, "all"):
        of, dead = (len(ended), killed.total()) if file == "all" else (by_file[file], killed[file])
        print(f"{file}: {dead} of {of} killed" + (f", {100 * dead / of:.1f} %" if of else ""))  # noqa: T201  # its output
    for by, count in Counter(outcome.killed for outcome in ended).most_common():
        print(f"  {count:5} {by or 'survived'}")  # noqa: T201  # its output


if __name__ == "__main__":
    sys.exit(main())
