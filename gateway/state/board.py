"""What the workers of one machine tell each other: memory that they share, no lock, no system call on the way.

Forgotten when its file is removed, and kept when the workers are started anew. It follows the time of day: budgets are
the provider's windows. All methods are called from one thread, that of the event loop.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

from gateway.state.board_file import COLUMNS, MARKS, VERSIONS, BoardFile
from gateway.state.store import Allowance, Board, StateUnavailable

_COUNT = 28
"""Bits of a counter that are calls; those above are the window they were in."""
_CALLS = (1 << _COUNT) - 1
_FEW = 4
"""Cells up to which reading one by one is quicker than taking a slice."""
_LOOK = 1.0
"""Seconds between two looks whether the file is still there, and between two tries to open it again."""


class SharedBoard(Board):
    """The board of one machine. A version may be that of two names (a slot has some thousandth of all names)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BoardFile | None = None
        self._looked = 0.0
        self._why = "the state board is not open"
        self._closed = False
        self._barrier = threading.Lock()
        self._budgets: dict[str, _Budget] = {}
        """By connection: it has one budget, until a reload."""

    async def open(self) -> None:
        if self._file is None:
            self._file = await asyncio.to_thread(BoardFile, self._path)
            self._looked, self._closed = time.monotonic(), False

    async def bump(self, names: Sequence[str]) -> None:
        board = self._board()
        versions, column = board.versions, board.column
        for slot in {crc32(name.encode()) % VERSIONS for name in names}:
            versions[slot * COLUMNS + column] += 1

    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        return self._versions(self._board(), names)

    def versions_at_once(self, names: Sequence[str]) -> tuple[int, ...] | None:
        try:
            return self._versions(self._board(), names)
        except StateUnavailable:
            return None

    @staticmethod
    def _versions(board: BoardFile, names: Sequence[str]) -> tuple[int, ...]:
        versions, base, used = board.versions, board.base, board.used[0]
        if len(names) == 1 and used <= _FEW:  # one record
            at = crc32(names[0].encode()) % VERSIONS * COLUMNS
            version = base + versions[at]
            for cell in range(at + 1, at + used):
                version += versions[cell]
            return (version,)
        found = []
        for name in names:
            at = crc32(name.encode()) % VERSIONS * COLUMNS
            found.append(base + sum(versions[at : at + used].tolist()))
        return tuple(found)

    async def spend(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        return self._spend(self._board(), name, calls, per, reserve)

    def spend_at_once(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        try:
            return self._spend(self._board(), name, calls, per, reserve)
        except StateUnavailable:
            return None

    def _spend(self, board: BoardFile, name: str, calls: int, per: float, reserve: int) -> Allowance | None:
        window = int(time.time() // per)
        budget = self._budgets.get(name)
        if budget is None or budget.per != per:
            budget = self._budget(board, name, per)
        at = budget.at
        if (budget.window != window or budget.left - board.used[0] < reserve) and _left(
            board, at, window, calls
        ) - 1 < reserve:
            return None  # without having counted; where much was left a moment ago, the look afterwards will do
        counters, mine, low = board.budgets, at + board.column, window << _COUNT
        before = counters[mine]
        counters[mine] = after = (before if before & ~_CALLS == low else low) + 1
        # Count first, then look: of two at once at least one sees the other. The look must not overtake the count on its
        # way to the other processors, and taking a lock keeps it from doing so.
        with self._barrier:
            pass
        left = _left(board, at, window, calls)
        budget.window, budget.left = window, left  # also where it is refused: the next one is without having counted
        if left < reserve or after & _CALLS == _CALLS:
            counters[mine] = after - 1
            return None
        return Allowance(calls, left, (window + 1) * per)

    async def give_back(self, name: str, calls: int, per: float, granted: Allowance) -> None:
        board = self._board()
        window = int(time.time() // per)
        at = self._budget(board, name, per).at + board.column
        if granted.reset == (window + 1) * per and board.budgets[at] > window << _COUNT:
            board.budgets[at] -= 1  # in its own column, so that nobody else's count is touched

    async def allowance(self, name: str, calls: int, per: float) -> Allowance:
        board = self._board()
        window = int(time.time() // per)
        at = self._budget(board, name, per).at
        return Allowance(calls, max(0, _left(board, at, window, calls)), (window + 1) * per)

    async def correct(self, name: str, calls: int, per: float, left: int) -> None:
        board = self._board()
        window = int(time.time() // per)
        at = self._budget(board, name, per).at
        if left >= _left(board, at, window, calls):
            return
        # Each process writes down what it was told, and the least of all counts.
        low, granted = window << _COUNT, _granted(board, at, window)
        board.budgets[at + COLUMNS + board.column] = low + max(0, min(granted + left, _CALLS))

    async def trip(self, name: str, until: float) -> None:
        board = self._board()
        board.circuits[board.slot("circuit\0" + name)] = until

    async def tripped(self, name: str) -> float:
        board = self._board()
        return float(board.circuits[board.slot("circuit\0" + name)])

    async def mark(self, name: str, at: float) -> float:
        marks, slot = self._board().marks, crc32(name.encode()) % MARKS
        before, marks[slot] = float(marks[slot]), at
        return before

    async def marked(self, name: str) -> tuple[float, float]:
        board = self._board()
        return float(board.marks[crc32(name.encode()) % MARKS]), board.begun

    async def aclose(self) -> None:
        self._closed = True
        self._let_go("the state board is closed")

    def _board(self) -> BoardFile:
        """The file, open. Looked at from time to time: a board that was removed is seen by no new process."""
        now = time.monotonic()
        if now - self._looked >= _LOOK and not self._closed:
            self._looked = now
            if self._file is not None and not self._file.is_there():
                self._let_go("the state board was removed")
            if self._file is None:
                try:
                    self._file = BoardFile(self._path, wait=0.02)
                except StateUnavailable as error:
                    self._why = str(error)
        if self._file is None:
            raise StateUnavailable(self._why)
        return self._file

    def _let_go(self, why: str) -> None:
        file, self._file, self._why = self._file, None, why
        self._budgets.clear()
        if file is not None:
            file.close()

    def _budget(self, board: BoardFile, name: str, per: float) -> "_Budget":
        budget = self._budgets.get(name)
        if budget is None or budget.per != per:
            at = board.slot(f"budget\0{name}\0{per!r}") * 2 * COLUMNS
            budget = self._budgets[name] = _Budget(per, at)
        return budget


class _Budget:
    """Where a budget's counters are, and how many calls were `left` of its `window` when one was spent last."""

    __slots__ = ("at", "left", "per", "window")

    def __init__(self, per: float, at: int) -> None:
        self.per, self.at = per, at
        self.window = self.left = 0


def _cells(board: BoardFile, at: int) -> Sequence[int]:
    """What each process has written there."""
    return board.budgets[at : at + board.used[0]].tolist()


def _granted(board: BoardFile, at: int, window: int) -> int:
    """Calls granted in this window; for a moment more, while one that went too far has not been taken back yet."""
    low = window << _COUNT
    high = low + _CALLS
    granted = 0
    for cell in _cells(board, at):
        if low < cell <= high:
            granted += cell - low
    return granted


def _left(board: BoardFile, at: int, window: int, calls: int) -> int:
    """Calls that may still be granted in this window: of the budget, or of the least that any process was told."""
    low = window << _COUNT
    high = low + _CALLS
    used = board.used[0]
    if used <= _FEW:
        budgets, granted = board.budgets, 0
        for cell in range(at, at + used):
            told, mine = budgets[cell + COLUMNS], budgets[cell]
            if low <= told <= high and told - low < calls:
                calls = told - low
            if low < mine <= high:
                granted += mine - low
        return calls - granted
    for cell in _cells(board, at + COLUMNS):
        if low <= cell <= high and cell - low < calls:
            calls = cell - low
    return calls - _granted(board, at, window)
