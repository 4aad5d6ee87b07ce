"""`traceparent` of W3C Trace Context: the caller's, handed on to the provider so that its spans join the caller's trace.

One that is not well-formed is dropped. None is made up where the caller sent none, and none is ever echoed.
"""

import re
import secrets
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from gateway import spans

HEADER = "traceparent"
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a caller's header says: the trace, the caller's span in it, and whether it is sampled."""

    trace: str
    parent: str
    sampled: bool


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The trace of the request that is being served."""


def read(values: Sequence[str]) -> Trace | None:
    """The trace that the request's header names; None without one, with several, or with one of another form."""
    match = _FORM.fullmatch(values[0].strip()) if len(values) == 1 else None
    if match is None or (match[1] == "00" and match[5]):  # later versions may say more behind what all have
        return None
    return Trace(match[2], match[3], bool(int(match[4], 16) & 1))


def handed_on() -> str | None:
    """The header for one call to a provider, with a span of its own; None where the caller sent none."""
    trace = current.get()
    if trace is None:
        return None
    own = spans.current_span() if spans.tracer is not None else None
    return f"00-{trace.trace}-{own or secrets.token_hex(8)}-{int(trace.sampled):02x}"
