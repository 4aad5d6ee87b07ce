"""Gateways that break one promise, as processes of their own: to see that a long run's row notices.

    Rig(folder, environ_of("no_repeat", folder))

Python imports a `sitecustomize` of the folder as it starts, before anything else runs: in what serves, and nowhere else,
that one calls `plant`.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_SERVING = ("gateway", "gateway.http.worker")
_CUSTOM = """import sys
if any(word in {serving!r} for word in sys.orig_argv):
    from tests.rig.planted import plant
    plant({name!r})
"""


def environ_of(name: str, folder: Path) -> Mapping[str, str]:
    """For the processes of a rig: whatever of them serves is planted. The folder is where it is said."""
    if name not in PLANTS:
        raise ValueError(f"no such plant: {name}; there are {', '.join(PLANTS)}")
    (folder / "sitecustomize.py").write_text(_CUSTOM.format(serving=_SERVING, name=name))
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(_ROOT)))}


def plant(name: str) -> None:
    """Break the promise, in this process."""
    PLANTS[name]()
    print(f"planted: {name}", file=sys.stderr)  # noqa: T201  # so that a log tells of it


def _endless_repeats() -> None:
    """Repeats are not counted: a provider in trouble is asked three times as often."""
    from gateway.layers import retry

    retry.Repeats.can = lambda self: True


def _deadline_anew() -> None:
    """A second try has a deadline of its own."""
    from gateway import connections
    from gateway.errors import CallFailed
    from gateway.layers.retry import repeating as usual

    def repeating(send: Any, adapter: Any) -> Any:
        once = usual(send, adapter)

        async def twice(call: Any, trip: Any) -> Any:
            now = asyncio.get_running_loop().time
            seconds = trip.deadline - now()
            try:
                return await once(call, trip)
            except CallFailed:
                trip.deadline = now() + seconds
                return await once(call, trip)

        return twice

    vars(connections)["repeating"] = repeating


def _closed_for_ever() -> None:
    """The circuit never opens."""
    from gateway.layers import circuit

    async def nothing(self: Any) -> None:
        """It goes on."""

    circuit.Circuit._trip = nothing


def _no_share() -> None:
    """One caller may have everything."""
    from gateway.http import load

    usual = load.Load.__init__

    def unbounded(self: Any, most: int, per_caller: int) -> None:
        usual(self, 10**6, 10**6)

    load.Load.__init__ = unbounded


def _no_shedding() -> None:
    """Whoever comes waits, however many there are."""
    from gateway import slots

    slots.Slots._shed_for = lambda self, caller: None


def _no_repeat() -> None:
    """Nothing is tried again, and no idle connection is looked at before it is used."""
    from gateway import engine
    from gateway.layers import retry

    retry.may_repeat = lambda call, outcome: False
    engine.Connection._is_readable = lambda self: False


def _no_drain() -> None:
    """SIGTERM is the end, whatever is under way."""
    from gateway.http import running

    async def at_once(self: Any, *_: Any, **__: Any) -> None:
        os._exit(0)

    running.Running.drain = at_once


def _no_budget() -> None:
    """Calls are not counted before they are sent."""
    from gateway.layers import budget

    numbers = itertools.count(1)

    async def spend(self: Any, urgent: bool) -> budget.Paid:
        return budget.Paid(next(numbers), None)

    budget.Purse.spend = spend
    budget.Purse.pause = lambda self, seconds: None


def _keeps_all() -> None:
    """A connection is used again whatever came on it."""
    from gateway import engine

    engine.Answer.discard = lambda self: None
    engine.Connection.is_reusable = lambda self: self._complete and not self._lost


def _too_patient() -> None:
    """Half a second more than the deadline."""
    from gateway import wire

    usual = wire.Wire.send

    async def send(self: Any, call: Any, deadline: float, *rest: Any) -> Any:
        return await usual(self, call, deadline + 0.5, *rest)

    wire.Wire.send = send


def _no_versions() -> None:
    """Nobody is told of a write."""
    from gateway.opportunities import Opportunities

    async def nothing(self: Any, *_: Any) -> None:
        """What is kept stays."""

    Opportunities.changed = Opportunities._can_write = nothing


def _shared_answers() -> None:
    """Answers are kept under what was asked, and not under who asked."""
    from gateway.cache import Cache

    read_usual, kept_usual = Cache.read, Cache.kept

    async def read(self: Any, key: str, owner: str, *rest: Any, **more: Any) -> Any:
        return await read_usual(self, key.partition(" ")[2], owner.partition(" ")[2], *rest, **more)

    def kept(self: Any, key: str, owner: str, versions: tuple[int, ...]) -> Any:
        return kept_usual(self, key.partition(" ")[2], owner.partition(" ")[2], versions)

    Cache.read, Cache.kept = read, kept


def _leaks() -> None:
    """Each request leaves a task, a descriptor and a tenth of a MiB."""
    from gateway.http import observing

    held: list[Any] = []
    usual = observing.Request.ended

    def ended(self: Any, *rest: Any, **more: Any) -> None:
        usual(self, *rest, **more)
        never = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        held.extend((bytes(os.urandom(16)) * 6400, os.open(os.devnull, os.O_RDONLY), never))

    observing.Request.ended = ended


def _labels_as_sent() -> None:
    """What a caller wrote becomes a label."""
    from gateway.http import observing

    usual = observing.Request.ended

    def ended(self: Any, *rest: Any, **more: Any) -> None:
        self.method = self.id
        usual(self, *rest, **more)

    observing.Request.ended = ended


PLANTS: Mapping[str, Callable[[], None]] = {
    work.__name__.removeprefix("_"): work
    for work in (
        _endless_repeats, _deadline_anew, _closed_for_ever, _no_share, _no_shedding, _no_repeat, _no_drain, _no_budget,
        _keeps_all, _too_patient, _no_versions, _shared_answers, _leaks, _labels_as_sent,
    )
}  # fmt: skip
