"""How long a try may hang before it is given up for another one.

The deadline is the caller's; a try may have all of it, unless the provider is known to be much quicker. Then half of what
is left must do, and the other half is for a second try: a connection that a firewall has forgotten never answers, and
the next one does at once. A provider that is slow by nature is never cut short.
"""

from collections import deque

from gateway.adapter import Call, Reply
from gateway.loop_time import loop_time

REMEMBERED = 64
MUCH = 4.0
"""How many times longer than the slowest remembered answer is no longer slow but lost."""


class Patience:
    """What the answers of one connection have taken, by operation."""

    def __init__(self) -> None:
        self._took: dict[str, deque[float]] = {}
        self._slowest: dict[str, float] = {}
        """The longest of each."""

    def note(self, call: Call, reply: Reply) -> None:
        """An answer came."""
        took = self._took.get(call.operation)
        if took is None:
            took = self._took[call.operation] = deque(maxlen=REMEMBERED)
        slowest = self._slowest.get(call.operation, 0.0)
        forgets = len(took) == REMEMBERED and took[0] >= slowest
        took.append(reply.elapsed)
        if reply.elapsed >= slowest:
            self._slowest[call.operation] = reply.elapsed
        elif forgets:
            self._slowest[call.operation] = max(took)

    def cut(self, call: Call, deadline: float) -> float:
        """Until when to wait for this call's answer, `deadline` at the latest."""
        slowest = self._slowest.get(call.operation)
        if slowest is None:
            return deadline
        now = loop_time()
        half = (deadline - now) / 2
        return now + half if half > MUCH * slowest else deadline
