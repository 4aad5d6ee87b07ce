"""What a call takes along on its way down, and the one function that every layer wraps.

`Call` says what is asked and is pure; `Trip` says for whom, until when, and what has been tried: one for each request to a
connection, shared by all its tries.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from gateway.adapter import Call, Reply

Before = Callable[[], Awaitable[None]]
"""Asked in each try, as the last thing before the wire. What it raises reaches the caller unchanged and nothing is
sent, neither now nor again; it must not be a `CallFailed`, which layers decide on."""


class Trip(msgspec.Struct):
    """One request to a connection, with as many tries as it takes.

    - `deadline`, in seconds of the running loop's clock, covers waiting, every try and every pause between them.
    - `urgent` calls (one record read, or a write) may use what is left of a budget; others give way.
    - `caller` shares the connection fairly with other callers.
    """

    deadline: float
    before: Before | None = None
    urgent: bool = True
    caller: str = ""
    whole: float = 0.0
    """The deadline of all tries, while that of this one is earlier; 0: it is not."""
    fresh: bool = False
    """Whether a new connection is needed, since one that had been idle was found closed."""
    tries: int = 0
    """How often the wire was asked."""
    asked: float = 0.0
    """When it was asked last, by the loop's clock."""


Send = Callable[[Call, Trip], Coroutine[Any, Any, Reply]]
"""`send(call, trip) -> reply`, whatever its status below 300 or from 400 to 599. Raises `CallFailed`."""
