"""The board of one process: for `state: off`, and for as long as the shared one cannot be asked.

LocalBoard      everything in this process's memory; what other workers do is not seen
FallbackBoard   a shared board, and a local one in its place while it fails
"""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from zlib import crc32

from gateway.state.store import Allowance, Board, StateUnavailable

log = logging.getLogger("gateway")
T = TypeVar("T")

REST_SECONDS = 1.0
"""How long a board that failed is left alone: each question to it may cost 50 ms."""


SLOTS = 4096
"""How many versions there are: names are spread over them, and a write of one raises those that share its own."""


def _slot(name: str) -> int:
    return crc32(name.encode()) % SLOTS


class LocalBoard(Board):
    """Keeps every promise of a board for one process. Names share versions, so that they take no memory."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._versions = [0] * SLOTS
        self._spent: dict[str, tuple[int, int]] = {}
        """Name -> (number of the window, calls spent in it)."""
        self._until: dict[str, float] = {}
        self._marks = [0.0] * SLOTS
        self._begun = clock()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def bump(self, names: Sequence[str]) -> None:
        """The version of each name goes up."""
        for name in names:
            self._versions[_slot(name)] += 1

    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        """The present version of each name."""
        return self._present(names)

    def versions_at_once(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The same."""
        return self._present(names)

    def _present(self, names: Sequence[str]) -> tuple[int, ...]:
        return tuple([self._versions[_slot(name)] for name in names])

    async def spend(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        """One call out of the present window; None when less than `reserve` would be left."""
        return self.spend_at_once(name, calls, per, reserve)

    def spend_at_once(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        """The same."""
        window, spent = self._window(name, per)
        if calls - spent - 1 < reserve:
            return None
        self._spent[name] = (window, spent + 1)
        return Allowance(calls, calls - spent - 1, (window + 1) * per)

    async def give_back(self, name: str, calls: int, per: float, granted: Allowance) -> None:
        """One call less, if its window is still open."""
        window, spent = self._window(name, per)
        if spent and granted.reset == (window + 1) * per:
            self._spent[name] = (window, spent - 1)

    async def allowance(self, name: str, calls: int, per: float) -> Allowance:
        """The budget as it is."""
        window, spent = self._window(name, per)
        return Allowance(calls, max(0, calls - spent), (window + 1) * per)

    async def correct(self, name: str, calls: int, per: float, left: int) -> None:
        """Believe that no more than this is left."""
        window, spent = self._window(name, per)
        self._spent[name] = (window, max(spent, calls - left))

    async def trip(self, name: str, until: float) -> None:
        """Open or close a circuit."""
        self._until[name] = until

    async def tripped(self, name: str) -> float:
        """Until when it is open, as it was tripped."""
        return self._until.get(name, 0.0)

    async def mark(self, name: str, at: float) -> float:
        """Set a mark."""
        before, self._marks[_slot(name)] = self._marks[_slot(name)], at
        return before

    async def marked(self, name: str) -> tuple[float, float]:
        """As it was marked last."""
        return self._marks[_slot(name)], self._begun

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _window(self, name: str, per: float) -> tuple[int, int]:
        window = int(self._clock() // per)
        then, spent = self._spent.get(name, (window, 0))
        return window, spent if then == window else 0


class _Own(Allowance, frozen=True):
    """Granted by the local board."""


class FallbackBoard(Board):
    """A board whose budgets and circuits are always told: from this process's own memory while the shared one fails.

    Versions and marks are not: one that other workers do not see would be a lie, so `bump`, `versions`, `mark` and `marked`
    raise.
    """

    def __init__(self, shared: Board, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        # The shared board's own, since it is asked at each read: a method that hands it on would be one call more.
        self.versions_at_once = shared.versions_at_once  # type: ignore[method-assign]  # as the shared board says it
        self._local = LocalBoard()
        self._clock = clock
        self._resting_until = 0.0
        self._failing = False

    async def open(self) -> None:
        """Open the shared board."""
        await self._shared.open()

    async def bump(self, names: Sequence[str]) -> None:
        """As the shared board does it."""
        await self._shared.bump(names)

    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        """As the shared board says it."""
        return await self._shared.versions(names)

    async def spend(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        """From the shared budget, or from one of this process's own."""
        return await self._either(lambda board: self._spent(board, name, calls, per, reserve))

    async def _spent(self, board: Board, name: str, calls: int, per: float, reserve: int) -> Allowance | None:
        granted = await board.spend(name, calls, per, reserve)
        if granted is None or board is not self._local:
            return granted
        return _Own(granted.calls, granted.left, granted.reset)

    def spend_at_once(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        """From the shared budget, while that is told."""
        return None if self._failing else self._shared.spend_at_once(name, calls, per, reserve)

    async def give_back(self, name: str, calls: int, per: float, granted: Allowance) -> None:
        """To the board that granted it, whichever is asked by now."""
        await (self._local if isinstance(granted, _Own) else self._shared).give_back(name, calls, per, granted)

    async def allowance(self, name: str, calls: int, per: float) -> Allowance:
        """Of the shared budget, or of this process's own."""
        return await self._either(lambda board: board.allowance(name, calls, per))

    async def correct(self, name: str, calls: int, per: float, left: int) -> None:
        """Both: the local one takes over where the shared one ends."""
        await self._local.correct(name, calls, per, left)
        await self._either(lambda board: board.correct(name, calls, per, left))

    async def trip(self, name: str, until: float) -> None:
        """Both, for the same reason."""
        await self._local.trip(name, until)
        await self._either(lambda board: board.trip(name, until))

    async def tripped(self, name: str) -> float:
        """As the shared board says, or as this process knows."""
        return await self._either(lambda board: board.tripped(name))

    async def mark(self, name: str, at: float) -> float:
        """As the shared board does it."""
        return await self._shared.mark(name, at)

    async def marked(self, name: str) -> tuple[float, float]:
        """As the shared board says it."""
        return await self._shared.marked(name)

    async def aclose(self) -> None:
        """Let go of the shared board."""
        await self._shared.aclose()

    async def _either(self, ask: Callable[[Board], Awaitable[T]]) -> T:
        if self._clock() >= self._resting_until:
            try:
                answer = await ask(self._shared)
            except StateUnavailable as error:
                self._resting_until = self._clock() + REST_SECONDS
                if not self._failing:
                    self._failing = True
                    log.warning(
                        "the state store fails: budgets and circuits are this worker's own until it is back (%s)", error
                    )
            else:
                if self._failing:
                    self._failing = False
                    log.warning("the state store is back: budgets and circuits are shared again")
                return answer
        return await ask(self._local)
