"""How many requests are worked on at once: what is more is refused before anything is read or asked for it.

A request that cannot be answered in time is best told so at once. Without a bound, twice the load would only make a queue
in which everybody waits, and what comes out of it comes too late.
"""

from gateway.errors import Problem

RETRY_SECONDS = 1
EACH_SLOT = 2
"""Requests taken on for each call that may be in flight: one at the provider, one on its way in or out."""


class Load:
    """The requests in flight of one worker: `most` in all, `per_caller` of each caller."""

    def __init__(self, most: int, per_caller: int) -> None:
        self.bound(most, per_caller)
        self._all = 0
        self._of: dict[str, int] = {}

    def bound(self, most: int, per_caller: int) -> None:
        """Other bounds from now on. What is in flight goes on and counts, also where it is more than that."""
        self._most, self._per_caller = most, per_caller

    def enter(self, caller: str) -> None:
        """One request more, until `leave`. Raises `Problem`: `rate-limited` for this caller, `overloaded` for all.

        The caller's own share is looked at first, so that who floods is told that it is his doing.
        """
        mine = self._of.get(caller, 0)
        if mine >= self._per_caller:
            raise Problem(
                "rate-limited", f"This caller has {self._per_caller} requests in flight already.", origin="gateway",
                retry_after=RETRY_SECONDS,
            )  # fmt: skip
        if self._all >= self._most:
            raise Problem("overloaded", "The gateway has as much work as it can take.", retry_after=RETRY_SECONDS)
        self._all += 1
        self._of[caller] = mine + 1

    def leave(self, caller: str) -> None:
        """It is answered."""
        self._all -= 1
        mine = self._of[caller] - 1
        if mine:
            self._of[caller] = mine
        else:
            del self._of[caller]
