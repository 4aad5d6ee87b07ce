"""Kept connections to several servers, raw and quick: the load generator's, and that of the ideal gateway.

    client = Client()
    reply = await client.ask("http://127.0.0.1:8080", request_bytes, seconds=5)

A reply always comes; what went wrong is its `failed`. One request is one request: nothing is ever sent twice.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import httptools

Failed = Literal["", "refused", "reset", "timeout", "left"]


@dataclass(slots=True)
class Reply:
    """What came back, and when. `status` is 0 when it was not whole; `start` is when the request was written."""

    start: float = 0.0
    end: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    failed: Failed = ""


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, idle: "list[_Connection]") -> None:
        self._idle = idle
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._reply = Reply()
        self._parser: httptools.HttpResponseParser | None = None
        self._keep = True
        self._whole = False
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of WriteTransport

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self in self._idle:
            self._idle.remove(self)
        self._over("reset")

    async def ask(self, request: bytes, reply: Reply, seconds: float, leave: float | None) -> None:
        """Fill `reply`; `leave`: close the connection after so many seconds."""
        loop = asyncio.get_running_loop()
        assert self._transport is not None
        self._parser, self._reply, self._whole = httptools.HttpResponseParser(self), reply, False
        self._waiting = loop.create_future()
        reply.start = time.monotonic()
        self._transport.write(request)
        goes: Failed = "timeout" if leave is None or leave > seconds else "left"
        timer = loop.call_later(seconds if goes == "timeout" else leave or 0.0, self._give_up, goes)
        try:
            await self._waiting
        finally:
            timer.cancel()
            reply.end = time.monotonic()
            if not self._whole:
                reply.status = 0
                self._transport.abort()
            elif not self.gone:
                if self._keep:
                    self._idle.append(self)
                else:
                    self._transport.close()

    def _give_up(self, why: Failed) -> None:
        self._over(why)

    def _over(self, failed: Failed) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._reply.failed = failed
            self._waiting.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._waiting is None or self._waiting.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._over("reset")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._reply.body += body

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self._whole, self._keep = True, self._parser.should_keep_alive()
        self._reply.status = self._parser.get_status_code()
        self._over("")


class Client:
    """Connections are opened as they are needed, `most` to a server, and kept."""

    def __init__(self, most: int = 512) -> None:
        self._idle: dict[str, list[_Connection]] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._most = most

    async def ask(self, url: str, request: bytes, *, seconds: float = 10.0, leave: float | None = None) -> Reply:
        """One request, whatever comes of it."""
        idle = self._idle.setdefault(url, [])
        async with self._slots.setdefault(url, asyncio.Semaphore(self._most)):
            reply = Reply(start=time.monotonic())
            try:
                connection = idle.pop() if idle else await self._open(url, idle, seconds)
            except TimeoutError:
                reply.failed, reply.end = "timeout", time.monotonic()
                return reply
            except OSError:
                reply.failed, reply.end = "refused", time.monotonic()
                return reply
            await connection.ask(request, reply, seconds, leave)
            return reply

    async def _open(self, url: str, idle: list[_Connection], seconds: float) -> _Connection:
        parts = urlsplit(url)
        async with asyncio.timeout(seconds):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(idle), parts.hostname or "", parts.port or 80
            )
        return connection

    def close(self) -> None:
        """Let go of the idle connections."""
        for idle in self._idle.values():
            for connection in list(idle):
                if connection._transport is not None:
                    connection._transport.abort()
            idle.clear()


def request_bytes(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as it goes out."""
    lines = [f"{method} {target} HTTP/1.1", "Host: rig", *(f"{name}: {value}" for name, value in headers.items())]
    if body or method in ("POST", "PATCH", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
