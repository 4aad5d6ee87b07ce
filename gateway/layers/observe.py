"""The outermost layer: counts each call to a provider as whoever asked for it saw it, and gives it a span."""

import asyncio
import time

from gateway import spans
from gateway.adapter import Call, Reply
from gateway.errors import CallFailed
from gateway.layers.trip import Send, Trip
from gateway.metrics import CALL_SECONDS, CALLS, CALLS_NOW, RETRIES, Count


def observe(send: Send, connection: str) -> Send:
    """`send`, counted under the connection's name. What was answered without asking anybody is no call."""
    now, seconds, retries = CALLS_NOW.of(connection), CALL_SECONDS.of(connection), RETRIES.of(connection)
    counts: dict[tuple[str, str], Count] = {}

    async def observed(call: Call, trip: Trip) -> Reply:
        started, outcome = time.perf_counter(), "stopped"
        span = None if spans.tracer is None else spans.call(connection, call.operation)
        now.add()
        try:
            reply = await send(call, trip)
            outcome = "ok" if reply.status < 400 else outcome_of(reply.status)
            return reply
        except CallFailed as failure:
            outcome = failure.reason
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            now.drop()
            if trip.tries:
                seconds.note(time.perf_counter() - started)
                if trip.tries > 1:
                    retries.add(trip.tries - 1)
            if trip.tries or outcome != "ok":
                count = counts.get((call.operation, outcome))
                if count is None:
                    count = counts[call.operation, outcome] = CALLS.of(connection, call.operation, outcome)
                count.add()
            if span is not None:
                span.close(None if outcome == "ok" else outcome, attributes={"crm.tries": trip.tries})

    return observed


def outcome_of(status: int) -> str:
    """The word for a reply with this status."""
    if status < 400:
        return "ok"
    if status < 500:
        return "limited" if status == 429 else "rejected"
    return "error"
