"""A connection that answers from exchanges: the gateway's own way to a provider, without one."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

from gateway.adapter import Adapter, Call, Reply
from gateway.connections import Connection
from gateway.drift import Drift
from gateway.fields import Table
from gateway.layers.trip import Before
from gateway.opportunities import Ask, Opportunities
from gateway.reading import Reading
from gateway.state.local import LocalBoard
from gateway.strict_json import Json, dumps
from gateway.testing.exchanges import Exchange, Step

NAME = "sample"
"""The name of the connection that samples are read through."""

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine that never has to wait for anything but a loopback socket."""
    return asyncio.run(work)


def ask(*, strict: bool = False) -> Ask:
    """A request without a deadline."""
    return Ask(math.inf, strict=strict)


class Unwatched(Drift):
    """Counts nothing and logs nothing: under the kit records differ on purpose, thousands of times."""

    def note(self, table: Table, reading: Reading, whole: bool) -> None:
        """Nothing."""


class Replay:
    """Stands where a `Connection` stands; `answer` gives the reply to a call. `calls` are those that were made."""

    def __init__(self, adapter: Adapter, key: str, answer: Callable[[Call], Reply]) -> None:
        self.name = NAME
        self.adapter = adapter
        self.secret = key
        self.cursor_key = b"cursors of the contract kit"
        self.drift = Unwatched(NAME)
        self.board = LocalBoard()
        self.calls: list[Call] = []
        self._answer = answer

    async def send(
        self, call: Call, deadline: float, *, before: Before | None = None, urgent: bool = True, caller: str = ""
    ) -> Reply:
        """The reply of `answer`."""
        if before is not None:
            await before()
        self.calls.append(call)
        return self._answer(call)

    @property
    def writes(self) -> list[Call]:
        """The calls that were no reads."""
        return [call for call in self.calls if not call.is_read]

    def opportunities(self) -> Opportunities:
        """The portable part of the gateway over this connection."""
        return Opportunities(cast("Connection", self))


def scripted(steps: Sequence[Step], others: Sequence[Exchange]) -> Callable[[Call], Reply]:
    """Answers writes with the replies of `steps` in order, and reads with those of `others` that make the same call.

    A read that no exchange shows is answered 404: what is read back after a write need not be shown.
    """
    left = list(steps)
    reads = {spelled(step.call): step.reply for other in others for step in other.steps if step.call.is_read}

    def answer(call: Call) -> Reply:
        if call.is_read:
            return reads.get(spelled(call), Reply(404))
        return left.pop(0).reply if left else Reply(500)

    return answer


def spelled(call: Call) -> str:
    """A call in one line, digits exact and members in order of their names, so that equal calls have equal lines."""
    query = "&".join(f"{name}={value}" for name, value in sorted(call.query))
    body = "" if call.body is None else f" {exact(call.body)}"
    return f"{call.method} {call.path}{'?' if query else ''}{query}{body}"


def exact(value: Json) -> str:
    """JSON text with every digit, members in order of their names."""
    return dumps(_sorted(value)).decode()


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(inner) for inner in value]
    return value
