"""A provider that fails again and again is left alone for a while, and then asked by one call whether it is back.

What counts is evidence that the provider is in trouble: connections that fail, resets, time-outs, 5xx. A 4xx, a redirect
or a wrong shape shows that somebody answers. What our own layers refuse (no slot, no budget) shows nothing. Neither
does an idle connection that was closed: those that a restart cuts would open the circuit just when the provider is back.
"""

import time
from collections.abc import Callable

from gateway.adapter import Reply
from gateway.errors import BadAnswer, CallFailed, NeverSent
from gateway.loop_time import loop_time
from gateway.state.store import Board

LOOK_SECONDS = 0.25
"""How old the board's answer may be: workers see each other's circuits within a second, without asking at every call."""

PATIENCE_SECONDS = 1.0
"""A time-out counts when the provider had so long, or most of the connection's own `timeout` where that is shorter.
Else one caller with an `X-Request-Timeout` of a few milliseconds could open the circuit for all others."""


class Circuit:
    """Of one connection. `until` is a second of the monotonic clock: 0 closed, to come open, past half open.

    The board tells Unix seconds, and may tell another machine's. They are held against this one's clock once, when they are
    first seen, and never mean more than the time for which a circuit is open: a clock that is set costs no more than that.
    """

    def __init__(
        self, name: str, failures: int, open_seconds: float, timeout: float, board: Board,
        opened: Callable[[float], None] = lambda seconds: None,
    ) -> None:  # fmt: skip
        self._name, self._most, self._seconds, self._board = name, failures, open_seconds, board
        self._patience = min(PATIENCE_SECONDS, 0.8 * timeout)
        self._opened = opened
        self._failures = 0
        self._until = 0.0
        self._told = 0.0
        """What `until` was on the board when it was last seen or written there."""
        self._own = False
        """Whether this worker opened it, so that a board that forgot does not close it."""
        self._probing = False
        self._looked = float("-inf")

    def state(self) -> tuple[str, float]:
        """(`closed`, `open` or `half-open`; seconds that it stays open)."""
        left = self._until - time.monotonic()
        return ("closed", 0.0) if self._until == 0 else ("open", left) if left > 0 else ("half-open", 0.0)

    async def look(self) -> None:
        """See what other workers have found out, if that was not asked a moment ago."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now  # before asking, so that one call asks and the others go on with what is known
        await self._look()

    async def _look(self) -> None:
        told = await self._board.tripped(self._name)
        if told > 0:
            if told != self._told:
                self._told = told
                self._until = time.monotonic() + min(max(told - time.time(), 0.0), self._seconds)
        elif not self._own:
            self._until = self._told = 0.0

    def is_calm(self) -> bool:
        """Whether it is closed as far as is known here, and that was looked up a moment ago: a call may go on at once."""
        return self._until == 0 and time.monotonic() - self._looked < LOOK_SECONDS

    def went_well(self, reply: Reply) -> bool:
        """Count a reply of a provider that was not in trouble, and is not; any other has to be judged."""
        if self._until or self._is_bad(reply, 0.0):
            return False
        self._failures = 0
        return True

    async def enter(self) -> bool:
        """Whether this call is the one that tries a provider that was left alone. Raises `NeverSent("open")`."""
        await self.look()
        if self._until == 0:
            return False
        if self._until <= time.monotonic() and not self._probing:
            await self._look()  # as it is now: another worker may have begun to try a moment ago
            if self._until == 0:
                return False
        left = self._until - time.monotonic()
        if left > 0 or self._probing:
            raise NeverSent("open", retry_after=max(left, 0.0))
        self._probing = True
        try:
            await self._trip()  # for the other workers: the one try is under way
        except BaseException:  # cancelled while the board was told
            await self.leave()
            raise
        return True

    async def leave(self) -> None:
        """The call that tried is over. Without a verdict another one may try, at once and in any worker."""
        if self._probing:
            self._probing = False
            self._until, self._told = min(self._until, time.monotonic()), time.time()
            await self._board.trip(self._name, self._told)

    async def judge(self, outcome: Reply | CallFailed, asked: float, probe: bool) -> None:
        """Count what became of a call that asked the wire at loop time `asked` (0: it did not)."""
        bad = self._is_bad(outcome, asked)
        if bad is None:
            return
        if not bad:
            self._failures = 0
            if self._until:
                self._until, self._own, self._probing = 0.0, False, False
                await self._board.trip(self._name, 0)
        else:
            self._failures += 1
            if probe or (self._until == 0 and self._failures >= self._most):
                self._probing = False
                await self._trip()
                self._opened(self._seconds)

    def _is_bad(self, outcome: Reply | CallFailed, asked: float) -> bool | None:
        """Whether the outcome speaks against the provider; None when it says nothing."""
        if isinstance(outcome, Reply):
            return outcome.status >= 500
        if isinstance(outcome, BadAnswer):
            return False
        if outcome.stale:
            return None
        if outcome.reason == "deadline":
            patient = asked > 0 and loop_time() - asked >= self._patience
            return True if patient else None
        return None if outcome.reason in ("busy", "full", "budget", "open") else True

    async def _trip(self) -> None:
        self._until, self._told = time.monotonic() + self._seconds, time.time() + self._seconds
        self._own, self._failures = True, 0
        await self._board.trip(self._name, self._told)
