"""Kills and stops workers while a load runs, and writes down when it did what to whom.

    with Killer(replicas, every=2.0, seed=1) as killer:
        ...
    killer.journal

Which worker of which replica is drawn by the seed; what they are doing is not, so a run is not repeatable to the letter.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from tests.rig.meanwhile import Meanwhile
from tests.rig.processes import Replica, alive, cont, kill9, stop


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that was done to one process."""

    at: float
    what: Literal["kill", "stop", "cont"]
    port: int
    """Of the replica."""
    pid: int


class Killer(Meanwhile):
    """kill -9 of a random worker every so many seconds, for as long as the block lasts.

    Who comes back is the supervisor's business; a replica that serves alone, without one, is started again.
    """

    def __init__(self, replicas: Sequence[Replica], every: float, seed: int) -> None:
        super().__init__()
        self._replicas = list(replicas)
        self._every = every
        self._random = Random(seed)
        self.journal: list[Deed] = []

    def work(self) -> None:
        """Kill one every so often; nobody where there is nobody, or no time between two."""
        while self._replicas and self._every and not self.over.wait(self._every):
            self.strike()

    def strike(self) -> None:
        """Kill one now."""
        replica = self._random.choice(self._replicas)
        workers = replica.workers()
        if not workers:
            return
        pid = self._random.choice(workers)
        with contextlib.suppress(ProcessLookupError):
            kill9(pid)
            self.journal.append(Deed(time.monotonic(), "kill", replica.port, pid))
        if pid == replica.supervisor:
            replica.again()


@contextlib.contextmanager
def standing(replica: Replica, pid: int, journal: list[Deed] | None = None) -> Iterator[None]:
    """The worker stands still while the block lasts, and so does its supervisor, which would replace it otherwise.

    The worker goes on first: the supervisor finds it answering.
    """
    done = journal if journal is not None else []
    stopped: list[int] = []
    try:
        for one in dict.fromkeys((replica.supervisor, pid)):
            stop(one)
            stopped.append(one)
        done.append(Deed(time.monotonic(), "stop", replica.port, pid))
        yield
    finally:
        for one in reversed(stopped):
            with contextlib.suppress(ProcessLookupError):
                cont(one)
            if one == pid:
                time.sleep(0.05)
        done.append(Deed(time.monotonic(), "cont", replica.port, pid))


def wait_whole(replicas: Sequence[Replica], workers: int, seconds: float = 30.0) -> None:
    """Return when each replica has that many workers again. Raises `TimeoutError`."""
    limit = time.monotonic() + seconds
    while any(len([pid for pid in replica.workers() if alive(pid)]) < workers for replica in replicas):
        if time.monotonic() > limit:
            raise TimeoutError("a replica did not get its workers back")
        time.sleep(0.05)
