"""The provider's rate limit is kept here, before the provider has to.

Two accounts are kept. The board's is shared by all workers: so many calls in each window. The other is what the provider's
own headers said last, less what this worker has sent since; it holds where the provider's window is not ours, and where
others use the same account. A call needs both. Whatever is told lowers the board's, so that all workers know it.

What is waited for is held against the monotonic clock, so that setting the clock lengthens no wait.

A call that is known not to have left is given back to both: a provider that refuses connections for an hour has not counted
a single call of that hour.
"""

import contextlib
import time
from collections.abc import Callable

import msgspec

from gateway.adapter import Budget, BudgetLeft
from gateway.errors import NeverSent
from gateway.state.store import Allowance, Board, StateUnavailable

RESERVE = 10
"""One call in so many is kept for reading one record and for writing; lists and `ids=` give way to them."""
LOOK_UPS = 2
"""One call in so many, at most, is a look-up for a write of unknown outcome; half of those for writes that have been
unknown for long: however many stay unknown, they leave something to callers and to those that can be settled."""
PAUSE_SECONDS = 60.0
"""The longest that a 429 can hold back later calls, whatever its `Retry-After` says."""


def reserve_of(calls: int) -> int:
    """How many calls of a budget are kept back: a tenth, one at least; never more than half of a tiny budget."""
    return min(max(1, calls // RESERVE), calls // 2)


class Paid(msgspec.Struct, eq=False):
    """One call that was spent: which one of this worker's it is, and what the board granted for it, if it was asked."""

    number: int
    granted: Allowance | None


class Purse:
    """The budget of one connection. `budget` None: no limit is known; `board` is the one that workers share."""

    def __init__(
        self, name: str, budget: Budget | None, board: Board, *, enforced: bool = True, fixed: bool = False,
        clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`fixed`: the operator wrote it, so the provider's own words may lower it but not raise it."""
        self._name, self._budget, self._board, self._clock, self._monotonic = name, budget, board, clock, monotonic
        self._enforced, self._fixed = enforced, fixed
        self._calls = budget.calls if budget is not None else 0
        self._shared: Allowance | None = None
        self._told: BudgetLeft | None = None
        self._left = 0
        """Of the provider's own count, as far as this worker can tell; true until `_until`, when its window ends."""
        self._until = float("-inf")
        self._reset = 0.0
        """The same moment as a Unix second, as it was told: by it another word of the same window is known."""
        self._pause = float("-inf")
        self._sent = 0
        self._noted = 0
        """The call whose reply told `_left`: what was spent after it is not in the provider's count."""

    def left(self) -> BudgetLeft | None:
        """What is left, the smaller of the two accounts; None while neither is known."""
        monotonic, clock, shared = self._monotonic, self._clock, self._shared
        wait, now = self._until - monotonic(), clock()
        if shared is not None and shared.reset <= now:
            shared = None
        if wait > 0 and (shared is None or self._left < shared.left):
            return BudgetLeft(self._calls or None, max(self._left, 0), round(now + wait, 3))
        if shared is not None:
            return BudgetLeft(shared.calls, shared.left, shared.reset)
        # Told without a time, or of a window that is over: the last word is better than none.
        return self._told

    async def look(self) -> None:
        """Ask the board what is left by now, for showing it."""
        if self._enforced and self._budget is not None:
            self._shared = await self._board.allowance(self._name, self._calls, self._budget.per)

    def spend_at_once(self, urgent: bool) -> Paid | None:
        """One call, where nobody has to be waited for; None: see what `spend` says."""
        granted = None
        if self._enforced:
            monotonic, budget = self._monotonic, self._budget
            now = monotonic()
            reserve = 0 if urgent else reserve_of(self._calls)
            if now < self._pause or (now < self._until and self._left - 1 < reserve):
                return None
            if budget is not None:
                granted = self._board.spend_at_once(self._name, self._calls, budget.per, reserve)
                if granted is None:
                    return None
                self._shared = granted
            self._left -= 1
        self._sent += 1
        return Paid(self._sent, granted)

    async def spend(self, urgent: bool) -> Paid:
        """One call. Raises `NeverSent("budget")` when it would be one too many."""
        granted = None
        if not self._enforced:
            self._sent += 1
            return Paid(self._sent, None)
        now = self._monotonic()
        if now < self._pause:
            raise NeverSent("budget", retry_after=self._pause - now)
        reserve = 0 if urgent else reserve_of(self._calls)
        if now < self._until and self._left - 1 < reserve:
            raise NeverSent("budget", retry_after=self._until - now)
        self._left -= 1  # before anything is awaited, so that no other call takes the same one
        if self._budget is not None:
            granted = await self._board.spend(self._name, self._calls, self._budget.per, reserve)
            if granted is None:
                self._left += 1
                self._shared = await self._board.allowance(self._name, self._calls, self._budget.per)
                wait = self._shared.reset - self._clock()
                raise NeverSent("budget", retry_after=min(max(wait, 0.0), self._budget.per))
            self._shared = granted
        self._sent += 1
        return Paid(self._sent, granted)

    async def look_up(self, old: bool) -> bool:
        """One look-up out of the share that they have; False: that is spent. Its calls are paid for like any others."""
        if not self._enforced or self._budget is None:
            return True
        share = max(2, self._calls // LOOK_UPS)
        name = f"{self._name} look-ups"
        return await self._board.spend(name, share, self._budget.per, share // 2 if old else 0) is not None

    async def give_back(self, paid: Paid) -> None:
        """The call has not left, and will not: the provider never counts it, nor do we."""
        if not self._enforced:
            return
        if self._noted < paid.number:  # else a later answer's count has been believed, which is without this call
            self._left += 1
        if self._budget is not None and paid.granted is not None:
            shared = self._shared
            if shared is not None and shared.reset == paid.granted.reset:
                self._shared = msgspec.structs.replace(shared, left=shared.left + 1)
            with contextlib.suppress(StateUnavailable):  # one call fewer may be made then, which harms nobody
                await self._board.give_back(self._name, self._calls, self._budget.per, paid.granted)

    def note(self, left: BudgetLeft | None, number: int) -> int | None:
        """What the reply to call `number` says is left: calls that went out after it are not in its count yet.

        Gives what has to be told to the others (`correct`), if anything.
        """
        if left is None:
            return None
        self._told = left
        if not self._enforced:
            return None
        budget, limit, remaining, reset = self._budget, left.limit, left.remaining, left.reset
        if limit is not None and limit >= 1:
            self._calls = min(limit, budget.calls) if self._fixed and budget is not None else limit
        if remaining is None:
            return None
        remaining -= self._sent - number
        clock, monotonic = self._clock, self._monotonic
        now = clock()
        if reset is not None and reset > now:
            # An absurd time must not close the connection for ever: no window is longer than it is known to be.
            longest = now + (budget.per if budget is not None else PAUSE_SECONDS)
            if reset > longest:
                reset = longest
            at = monotonic()
            same = at < self._until and -1 < reset - self._reset < 1
            if not same or remaining < self._left:
                self._left = remaining
            self._reset, self._until = reset, at + (reset - now)
            if number > self._noted:
                self._noted = number
        shared = self._shared
        if budget is not None and shared is not None and remaining < shared.left:
            return max(remaining, 0)
        return None

    async def correct(self, remaining: int) -> None:
        """Let all workers know that no more than this is left."""
        if self._budget is not None:
            await self._board.correct(self._name, self._calls, self._budget.per, remaining)

    def pause(self, seconds: float) -> None:
        """The provider asked for a pause, so that the next call would be refused as well."""
        if self._enforced:
            self._pause = max(self._pause, self._monotonic() + min(seconds, PAUSE_SECONDS))
