"""How long a try may hang before it is given up for another one.

The deadline is the caller's; a try may have all of it, unless the provider is known to be much quicker. Then half of what
is left must do, and the other half is for a second try: a connection that a firewall has forgotten never answers, and
the next one does at once. A provider that is slow by nature is never cut short.
"""

import asyncio
from collections import deque

from gateway.adapter import Call, Reply

REMEMBERED = 64
MUCH = 4.0
"""How many times longer than the slowest remembered answer is no longer slow but lost."""


class Patience:
    """What the answers of one connection have taken, by operation."""

    def __init__(self) -> None:
        self._took: dict[str, deque[float]] = {}

    def note(self, call: Call, reply: Reply) -> None:
        """An answer came."""
        self._took.setdefault(call.operation, deque(maxlen=REMEMBERED)).append(reply.elapsed)

    def cut(self, call: Call, deadline: float) -> float:
        """Until when to wait for this call's answer, `deadline` at the latest."""
        took = self._took.get(call.operation)
        if not took:
            return deadline
        now = asyncio.get_running_loop().time()
        half = (deadline - now) / 2
        return now + half if half > MUCH * max(took) else deadline
