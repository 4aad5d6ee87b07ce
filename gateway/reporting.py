"""What the state is still to be told of writes that have ended: told as soon as it is there, whatever is reloaded."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from gateway.ending import end
from gateway.metrics import STATE_ERRORS
from gateway.state.store import RecordTaken, State, StateUnavailable, Store, Transition, UnsafeStore

log = logging.getLogger("gateway")
T = TypeVar("T")

REPORT_SECONDS = 0.5
"""How long to wait between tries to write down how a write ended."""
RAISE_SECONDS = 0.05
"""How long to wait between tries to raise versions: until then other workers may answer with what was before a write."""


class Report(NamedTuple):
    """A change of the claim of this key. `lost` is what to log should the process end before it is made; for `taken` see
    `changed`."""

    key: str
    transition: Transition[Any]
    lost: str
    taken: Transition[Any] | None = None


async def changed(store: Store, key: str, transition: Transition[T], taken: Transition[T] | None = None) -> T:
    """What the transition results in; `taken` is made in its place where another claim has the record."""
    try:
        return await store.change(key, transition)
    except RecordTaken:
        if taken is None:
            raise
    log.warning("claim %s: the provider gave it a record that stands under another claim", key[:16])
    return await store.change(key, taken)


class Reports:
    """Reports that wait for the store, and versions that wait for the board. One for each state, which all gateways on it
    share: a reload leaves it alone."""

    def __init__(self, state: State) -> None:
        self._store, self._board = state.store, state.board
        self._unraised: set[str] = set()
        """Versions that should have gone up and have not yet."""
        self._raising: asyncio.Task[None] | None = None
        self._waiting: dict[asyncio.Task[None], Report] = {}
        self._closed = False

    def later(self, report: Report) -> None:
        """Make this change as soon as the store is there, in the running loop."""
        if self._closed:
            log.error("%s", report.lost)
            return
        task = asyncio.create_task(self._until_made(report), name="report")
        self._waiting[task] = report
        task.add_done_callback(lambda task: self._waiting.pop(task, None))

    def raise_later(self, names: Iterable[str]) -> None:
        """Raise these versions as soon as the board is there, in the running loop."""
        if self._closed:
            return
        self._unraised.update(names)
        if self._raising is None or self._raising.done():
            self._raising = asyncio.create_task(self._until_raised(), name="raise versions")

    async def aclose(self) -> None:
        """Try once more; what cannot be told is logged, and left for others to find out."""
        self._closed = True
        if self._raising is not None:
            await end([self._raising])
            await self._raised()
        waiting, self._waiting = self._waiting, {}
        left = [report for task, report in waiting.items() if not task.done()]
        await end(waiting)
        told = await asyncio.gather(*(self._made(report) for report in left), return_exceptions=True)
        for report, made in zip(left, told, strict=True):
            if made is not True:
                log.error("%s", report.lost)

    async def _until_raised(self) -> None:
        while self._unraised:
            await asyncio.sleep(RAISE_SECONDS)
            await self._raised()

    async def _raised(self) -> None:
        names, self._unraised = self._unraised, set()  # what comes meanwhile is raised once more
        try:
            await self._board.bump(tuple(names))
        except BaseException as error:
            self._unraised |= names
            if not isinstance(error, StateUnavailable):
                raise

    async def _until_made(self, report: Report) -> None:
        made = False
        while not made:
            await asyncio.sleep(REPORT_SECONDS)
            made = await self._made(report)

    async def _made(self, report: Report) -> bool:
        try:
            await changed(self._store, report.key, report.transition, report.taken)
        except RecordTaken:
            log.error("claim %s: its record stands under another claim; see `crm-gateway outcomes`", report.key[:16])
        except (StateUnavailable, UnsafeStore):
            STATE_ERRORS.of().add()
            return False
        return True
