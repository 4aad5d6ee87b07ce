"""What failed is tried again where that is safe, worth it, and in time: at most three tries, within one deadline.

    what came of a try                                            a read   sets values   anything else, all creates
    refused, DNS, TLS, connect time-out, no connection free       again    again         again
    reset, early end, read time-out                               again    again         no: its outcome is unknown
    408, 429, 500, 502, 503, 504                                  again    again         no
    an answer that cannot be used; whatever our own layers held back; all else             no

Repeats are at most a fifth of all requests, so that a provider in trouble is not asked more for it.

One repeat is not counted: a connection may be closed while it is idle, just as a request goes out on it (RFC 9112, 9.3.1).
What may be repeated at all then is, at once and on a new connection: at most once for each request, and for each connection
that has given an answer before, so that a provider that gives none is not asked more for it.
"""

import asyncio
import random
from collections.abc import Callable

from msgspec.structs import replace

from gateway.adapter import Adapter, Call, Reply
from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent, Problem
from gateway.failures import LONGEST_WAIT, wait_told
from gateway.layers.patience import Patience
from gateway.layers.trip import Send, Trip
from gateway.loop_time import loop_time

TRIES = 3
BASE_SECONDS, MOST_SECONDS = 0.05, 1.0
"""Pauses are drawn evenly from nothing up to these, doubled with each try: full jitter, so that they spread."""
SHARE, SAVED, AT_FIRST = 1 / 6, 10.0, 3.0
"""Each request earns a sixth of a repeat: with what a quiet connection has saved up that stays below a fifth."""

_NOT_SENT = frozenset({"refused", "dns", "tls", "connect_timeout", "busy", "deadline"})
"""`deadline`: that of a try which was cut short. Where it was the request's own there is no time for another one."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})

Outcome = Reply | CallFailed


def may_repeat(call: Call, outcome: Outcome) -> bool:
    """The table above: whether doing it again can do no harm, and may help."""
    if isinstance(outcome, NeverSent):
        return outcome.reason in _NOT_SENT
    harmless = call.is_read or call.is_absolute
    if isinstance(outcome, Reply):
        return harmless and outcome.status in _PASSING
    return harmless and isinstance(outcome, MaybeSent)


def may_be_applied(call: Call, outcome: Outcome) -> bool:
    """Whether a write that came out so may have taken effect."""
    if call.is_read or isinstance(outcome, NeverSent):
        return False
    return outcome.status >= 500 or outcome.status == 408 if isinstance(outcome, Reply) else True


class Repeats:
    """How many repeats a connection can afford. Each request earns a part of one."""

    def __init__(self) -> None:
        self._saved = AT_FIRST

    def earn(self) -> bool:
        """A request came. Whether a repeat is left."""
        saved = self._saved
        if saved < SAVED:
            self._saved = saved = min(SAVED, saved + SHARE)
        return saved >= 1

    def can(self) -> bool:
        """Whether one is left."""
        return self._saved >= 1

    def take(self) -> bool:
        """One repeat, if it is left."""
        if not self.can():
            return False
        self._saved -= 1
        return True


def repeating(send: Send, adapter: Callable[[], Adapter]) -> Send:
    """`send` with up to three tries."""
    repeats, patience = Repeats(), Patience()

    async def tries(call: Call, trip: Trip) -> Reply:
        if call.method != "GET" and call.operation in adapter().writes.get("create", ()):
            # What makes a record is sent once, whatever its adapter says of it.
            call = replace(call, reads=False, absolute=False)
        affordable = repeats.earn()
        deadline, doubt = trip.deadline, None
        harmless = call.method == "GET" or call.is_read or call.is_absolute
        for number in range(1, TRIES + 1):
            outcome: Outcome
            if harmless and number < TRIES and affordable:  # one that hangs is cut short, for another one
                trip.deadline, trip.whole = patience.cut(call, deadline), deadline
            try:
                outcome = await send(call, trip)
            except CallFailed as failure:
                # Raised again from here, it and its frames would hold each other, and in them whatever was received.
                outcome = failure.with_traceback(None)
            except Problem:  # what is asked before each try forbids this one
                if doubt is None:
                    raise
                break
            else:
                patience.note(call, outcome)
                if outcome.status < 400:
                    return outcome
            finally:
                trip.deadline = deadline
            if may_be_applied(call, outcome):
                doubt = outcome
            if number == TRIES or not may_repeat(call, outcome):
                break
            stale = isinstance(outcome, CallFailed) and outcome.stale
            pause = 0.0 if stale else _pause(adapter(), outcome, number)
            if pause is None or loop_time() + pause >= deadline or not (stale or repeats.take()):
                break
            trip.fresh = trip.fresh or stale
            affordable = repeats.can()
            if pause:
                await asyncio.sleep(pause)
        return _told(outcome, doubt)

    return tries


def _pause(adapter: Adapter, outcome: Outcome, number: int) -> float | None:
    """Seconds until the next try; None when the provider asks for more than anybody should wait."""
    wait = wait_told(adapter, outcome) if isinstance(outcome, Reply) else None
    if wait is not None and wait > LONGEST_WAIT:
        return None
    jitter = random.uniform(0, min(MOST_SECONDS, BASE_SECONDS * 2 ** (number - 1)))
    return (wait or 0.0) + jitter


def _told(outcome: Outcome, doubt: Outcome | None) -> Reply:
    """The last outcome; but a refusal says nothing of an earlier try that may have been applied: then that one."""
    if doubt is not None and outcome is not doubt:
        refused = outcome.status >= 400 if isinstance(outcome, Reply) else not isinstance(outcome, BadAnswer)
        outcome = doubt if refused else outcome
    if isinstance(outcome, CallFailed):
        raise outcome
    return outcome


__all__ = ["Repeats", "may_be_applied", "may_repeat", "repeating"]
