"""HTTP/1.1 as bare as it goes, for the rig's own processes: a server protocol, a control channel, a part's life.

Answer         what a handler returns: status, body, further headers
Server         the protocol: one handler call a request, in order, keep-alive
Control        the other end of a part's control channel: `get(path)`, `put(path, value)`
run_part       listen on loopback, say where, serve until standard input ends
"""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, TypeAlias

import httptools
import uvloop

Json: TypeAlias = Any
_REASONS = {
    200: b"OK", 201: b"Created", 204: b"No Content", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden",
    404: b"Not Found", 409: b"Conflict", 429: b"Too Many Requests", 500: b"Internal Server Error",
    502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout",
}  # fmt: skip


@dataclass(slots=True)
class Request:
    """A request, whole. `target` as sent; `headers` by lower-case name."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What stands behind the question mark, undecoded."""
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer. `wait` seconds pass before it is sent."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0

    def wire(self) -> bytes:
        """All of it as bytes."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, _REASONS.get(self.status, b"Status"))]
        lines.append(
            b"date: " + formatdate(usegmt=True).encode()
        )  # as every server with a clock has to (RFC 9110, 6.6.1)
        if "content-type" not in self.headers:
            lines.append(b"content-type: application/json")
        if self.status != 204:
            lines.append(b"content-length: %d" % len(self.body))
        lines += [f"{name}: {value}".encode("latin-1") for name, value in self.headers.items()]
        return b"\r\n".join((*lines, b"", self.body))


Handler: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]


class Server(asyncio.Protocol):
    """Answers each request by `handler`, in their order. A handler that raises is a 500 and a line on standard error."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._request = Request()
        self._waiting: list[Request] = []
        self._busy: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of WriteTransport

    def connection_lost(self, exc: Exception | None) -> None:
        """What runs goes on: a provider applies what has reached it."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is no HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.abort()

    def on_message_begin(self) -> None:
        """A fresh request."""
        self._request = Request()

    def on_url(self, url: bytes) -> None:
        """The target, maybe in pieces."""
        self._request.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._request.body += body

    def on_message_complete(self) -> None:
        """Answer, or queue behind one that is not ready."""
        self._request.method = self._parser.get_method().decode()
        if self._busy is not None:
            self._waiting.append(self._request)
            return
        self._take(self._request)

    def _take(self, request: Request) -> None:
        try:
            answer = self._handler(request)
        except Exception as error:
            answer = _broken(request, error)
        if isinstance(answer, Answer) and not answer.wait:
            self._write(answer)
            return
        self._busy = asyncio.get_running_loop().create_task(self._later(request, answer))

    async def _later(self, request: Request, answer: Answer | Awaitable[Answer]) -> None:
        try:
            ready = answer if isinstance(answer, Answer) else await answer
        except Exception as error:
            ready = _broken(request, error)
        if ready.wait:
            await asyncio.sleep(ready.wait)
        self._write(ready)
        self._busy = None
        while self._waiting and self._busy is None:
            self._take(self._waiting.pop(0))

    def _write(self, answer: Answer) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer.wire())


def _broken(request: Request, error: Exception) -> Answer:
    print(f"{request.method} {request.target}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201  # a part's log
    return Answer(500, b'{"broken": true}')


def as_json(value: Json, status: int = 200) -> Answer:
    """`value` as an answer."""
    return Answer(status, json.dumps(value).encode())


class Control:
    """The control channel of a part, from any thread. Raises `OSError` when the part is gone."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port = port
        self._host = host

    def get(self, path: str) -> Json:
        """What the part tells there."""
        return self._ask("GET", path, None)

    def put(self, path: str, value: Json) -> Json:
        """Tell the part something; what it answers."""
        return self._ask("PUT", path, json.dumps(value))

    def _ask(self, method: str, path: str, body: str | None) -> Json:
        connection = http.client.HTTPConnection(self._host, self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            read = response.read()
            if response.status != 200:
                raise ValueError(f"{method} {path}: {response.status} {read[:300]!r}")
            return json.loads(read) if read else None


def listening(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket that listens, on any free port when none is told."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(1024)
    sock.setblocking(False)
    return sock


def run_part(start: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
    """Run a part: `start` listens and tells its ports, which are printed as one line; serve until stdin ends."""

    async def life() -> None:
        ports = await start()
        print(json.dumps(dict(ports)), flush=True)  # noqa: T201  # what whoever started it waits for
        ended = asyncio.Event()
        number = sys.stdin.fileno()
        asyncio.get_running_loop().add_reader(number, lambda: None if os.read(number, 1024) else ended.set())
        await ended.wait()

    uvloop.run(life())
