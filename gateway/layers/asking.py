"""The innermost layer: the last question before the wire, and the note that it was asked."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.adapter import Call, Reply
from gateway.layers.trip import Send, Trip


def asking(wire: Callable[[Call, float], Awaitable[Reply]]) -> Send:
    """The wire as a `Send`: `before` first, so that nothing else can take time between it and the sending."""

    async def asked(call: Call, trip: Trip) -> Reply:
        if trip.before is not None:
            await trip.before()
        trip.tries += 1
        trip.asked = asyncio.get_running_loop().time()
        return await wire(call, trip.deadline)

    return asked
