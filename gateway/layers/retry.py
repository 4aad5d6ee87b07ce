"""A read that may be repeated is repeated once; a write never is.

A provider may close an idle connection at the very moment at which it is used again. For a read that costs nothing but
a second try. Everything else about retries (budgets, backoff, `Retry-After`) has its place around this same function.
"""

from gateway.adapter import Call, Reply
from gateway.errors import MaybeSent, NeverSent
from gateway.layers.trip import Send, Trip


def repeat_reads(send: Send) -> Send:
    """`send` that tries a read once more when the connection broke, within the same deadline."""

    async def repeating(call: Call, trip: Trip) -> Reply:
        try:
            return await send(call, trip)
        except MaybeSent as failure:
            if not call.is_read or failure.reason == "deadline":
                raise
        except NeverSent as failure:
            if not call.is_read or failure.reason in ("deadline", "busy"):
                raise
        return await send(call, trip)

    return repeating
