"""What the gateways of a long run hold while it lasts: memory, file descriptors and tasks, and what is left of them."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from tests.live import ask
from tests.rig.meanwhile import Meanwhile
from tests.rig.processes import Replica
from tests.soak.plot import Line, Panel

WARM = 0.3
"""The share of a run after which what is held is compared."""
_TASKS = re.compile(rb"^crm_gateway_event_loop_tasks (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """A process at a moment."""

    at: float
    kib: int
    files: int


@dataclass
class Watch(Meanwhile):
    """Samples memory and file descriptors of each worker, and the tasks of each replica, once a second while entered."""

    replicas: Sequence[Replica]
    every: float = 1.0
    samples: dict[int, list[Sample]] = field(default_factory=dict)
    tasks: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(when, how many) of all workers of a replica together, by its address."""
    files_left: float = 0.0
    tasks_left: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    @contextlib.contextmanager
    def nothing_left(self, seconds: float) -> Iterator[None]:
        """Compares how it was before the block with how it is after it, each time once nothing was asked for so long."""
        time.sleep(seconds)
        files, tasks = self._files(), self._all_tasks()
        yield
        time.sleep(seconds)
        now = self._all_tasks()
        self.tasks_left = max(0.0, *(now[url] - count for url, count in tasks.items()))
        self.files_left = max(0.0, *(count - files[pid] for pid, count in self._files().items() if pid in files))

    def _files(self) -> dict[int, int]:
        pids = [pid for replica in self.replicas for pid in replica.workers()]
        return {pid: _open_files(pid) for pid in pids}

    def _all_tasks(self) -> dict[str, float]:
        return {replica.url: tasks_of(replica.url) for replica in self.replicas}

    def work(self) -> None:
        """Sample, again and again."""
        began = time.monotonic()
        pids = [pid for replica in self.replicas for pid in replica.workers()]
        while not self.over.wait(self.every):
            at = time.monotonic() - began
            for pid in pids:
                with contextlib.suppress(OSError):
                    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
                    self.samples.setdefault(pid, []).append(Sample(at, resident, _open_files(pid)))
            for replica in self.replicas:
                with contextlib.suppress(OSError, HTTPException):
                    self.tasks.setdefault(replica.url, []).append((at, tasks_of(replica.url)))

    def figures(self) -> dict[str, float]:
        """How much each grew after the warm-up, the worst of all: a share of its memory, descriptors, tasks."""
        workers = list(self.samples.values())
        return {
            "processes": len(workers),
            "memory_growth": max((_growth([one.kib for one in those])[1] for those in workers), default=0.0),
            "files_growth": max((_growth([one.files for one in those])[0] for those in workers), default=0.0),
            "tasks_growth": max((_growth([many for _, many in those])[0] for those in self.tasks.values()), default=0.0),
            "tasks_most": max((many for those in self.tasks.values() for _, many in those), default=0.0),
            "files_left": self.files_left, "tasks_left": self.tasks_left,
            "highest_mib": max((one.kib / 1024 for those in workers for one in those), default=0.0),
            "slope_kib_a_minute": max((_slope(those) for those in workers), default=0.0),
        }  # fmt: skip

    def panels(self) -> list[Panel]:
        """For the plot."""

        def lines(what: Callable[[Sample], float]) -> list[Line]:
            return [
                Line(f"worker {number}", [(one.at, what(one)) for one in those])
                for number, those in enumerate(self.samples.values(), 1)
            ]

        tasks = [Line(f"replica {number}", those) for number, those in enumerate(self.tasks.values(), 1)]
        return [
            Panel("Memory of each worker, MiB by seconds", lines(lambda one: one.kib / 1024)),
            Panel("File descriptors of each worker", lines(lambda one: one.files)),
            Panel("Tasks of each replica's event loops", tasks),
        ]


def tasks_of(url: str) -> float:
    """What a replica tells of its tasks. Raises `OSError` when it tells nothing."""
    found = _TASKS.search(ask(f"{url}/metrics").body)
    if found is None:
        raise OSError(f"{url} tells no tasks")
    return float(found[1])


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _growth(values: Sequence[float]) -> tuple[float, float]:
    """How much more the last third of the warm values is than their first, and its share of that; never below 0."""
    warm = values[int(len(values) * WARM) :]
    third = max(1, len(warm) // 3)
    if not warm:
        return 0.0, 0.0
    first, last = _mean(warm[:third]), _mean(warm[-third:])
    return max(0.0, last - first), max(0.0, last / first - 1) if first else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _slope(samples: Sequence[Sample]) -> float:
    """KiB a minute after the warm-up, by least squares."""
    warm = samples[int(len(samples) * WARM) :]
    if len(warm) < 2:
        return 0.0
    x, y = _mean([one.at for one in warm]), _mean([one.kib for one in warm])
    spread = sum((one.at - x) ** 2 for one in warm)
    return 60 * sum((one.at - x) * (one.kib - y) for one in warm) / spread
