"""Notes how long the event loop stood still: whatever computes for long lets every other request wait."""

import asyncio

from gateway.metrics import BLOCKED

INTERVAL = 0.05
"""Seconds between two looks. A standstill that is longer always covers one, and is counted from there."""

_blocked = BLOCKED.of()


async def watch() -> None:
    """Look until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL
        await asyncio.sleep(INTERVAL)
        late = loop.time() - due
        if late > INTERVAL:
            _blocked.add(late)
