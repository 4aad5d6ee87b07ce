"""A connection with all its layers to a scripted provider, without the rest of the gateway: for tests of the layers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from adapters.getraze import GetRaze
from adapters.spott import Spott
from gateway.adapter import Adapter, Call, Reply
from gateway.config import CircuitConfig, ConnectionConfig, LimitsConfig
from gateway.connections import Connection
from gateway.state.store import Board
from tests.fault_server import READ, Step, answer

ADAPTERS: dict[str, type[Adapter]] = {"getraze": GetRaze, "spott": Spott}

GET = Call("get", "GET", "/opportunities/1")
LIST = Call("list", "GET", "/opportunities")
POST = Call("create", "POST", "/opportunities", body={"name": "x"})
PATCH = Call("update", "PATCH", "/opportunities/1", body={"name": "x"})
PUT = Call("update", "PUT", "/opportunities/1", body={"name": "x"})
DELETE = Call("delete", "DELETE", "/opportunities/1")


@contextlib.asynccontextmanager
async def connected(
    url: str, provider: str = "getraze", *, budget: Any = "off", circuit: CircuitConfig | None = None,
    board: Board | None = None, patience: float = 5.0, concurrency: int = 64, key: str = "some-key",
) -> AsyncIterator[Connection]:  # fmt: skip
    """A connection to `url` that is closed at the end. `budget` None: the adapter's own; `patience`: its `timeout`."""
    adapter = ADAPTERS[provider]
    more: dict[str, Any] = {} if budget is None else {"budget": None if budget == "off" else budget}
    config = ConnectionConfig(
        name="it", provider=provider, adapter=adapter, base_url=url, timeout=patience,
        settings=adapter.Settings(), **more
    )  # fmt: skip
    connection = Connection(config, url, key, LimitsConfig(concurrency=concurrency), circuit, board)
    try:
        yield connection
    finally:
        await connection.aclose()


def soon(seconds: float) -> float:
    """The loop's time so many seconds from now."""
    return asyncio.get_running_loop().time() + seconds


def says(status: str = "200 OK", *headers: str, body: bytes = b"{}") -> list[Step]:
    """One exchange: a whole answer."""
    return [READ, answer(body, *(header.encode() for header in headers), status=status.encode())]


async def outcome_of(work: Callable[[], Any]) -> Any:
    """What it comes to: the reply, or the exception."""
    try:
        return await work()
    except Exception as error:
        return error


def reply_of(outcome: Any) -> Reply:
    """The reply, where one was hoped for."""
    if isinstance(outcome, Exception):
        raise AssertionError(f"no reply but {outcome!r}")
    assert isinstance(outcome, Reply)
    return outcome
