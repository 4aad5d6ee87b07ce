"""How long somebody was waited for, however many waits went on at once."""

import time

import msgspec


class Waiting(msgspec.Struct, eq=False):
    """`begin` and `end` around each wait; `seconds` is the time in which at least one was going on."""

    _total: float = 0.0
    _since: float = 0.0
    _going_on: int = 0

    def seconds(self) -> float:
        """So far, what is still going on included."""
        return self._total + (time.perf_counter() - self._since if self._going_on else 0.0)

    def begin(self) -> None:
        """One wait more."""
        if not self._going_on:
            self._since = time.perf_counter()
        self._going_on += 1

    def end(self) -> None:
        """One wait less."""
        self._going_on -= 1
        if not self._going_on:
            self._total += time.perf_counter() - self._since
