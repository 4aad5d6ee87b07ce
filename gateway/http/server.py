"""uvicorn, told to answer in our own manner where it would answer by itself, and to wait for nobody for ever.

What the HTTP parser refuses before the application is asked (a malformed request, headers or a target that are too large)
is answered as `application/problem+json` too.

Each connection has one timer. It is not set anew for each request: a request only notes until when it may take, and the
timer looks at that note when it runs, every `HEADER_SECONDS` at the latest. No time limit is shorter than that, so none is
overlooked. Where the caller has ended his side it looks more often, since he may have left (see `leaving`).
"""

import asyncio
import contextlib
import fcntl
import logging
import math
import re
import resource
import sys
import termios
import urllib.parse
import uuid
from collections.abc import Awaitable
from typing import Any, cast

import httptools
import msgspec
import uvicorn
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway import spans
from gateway.errors import Problem
from gateway.http.again import Known, remembered
from gateway.http.app import PROBLEM, Answer, App
from gateway.http.leaving import BEGINNING, DOUBTED, LOOK_SECONDS, is_broken_off
from gateway.http.observing import LEFT, unread
from gateway.http.runners import runners_of
from gateway.outgoing import together
from gateway.strict_json import dumps

log = logging.getLogger("gateway")

HEADERS_BYTES = 32 * 1024
TARGET_BYTES = 16 * 1024


HEADER_SECONDS = 9.0
"""From a request's first byte to the end of its headers, and from connecting to the first byte."""
REST_SECONDS = 9.0
"""How long the rest of a body may come that nobody waits for any more: the request has been answered."""
WRITE_SECONDS = 9.0
WRITE_BYTES = 65536
"""A client takes so many bytes of its answer in that time, or is cut off."""
KEEP_ALIVE_SECONDS = 75
AT_ONCE = 8
"""Requests of one piece of what came that are answered without letting anybody else have a turn."""
JOINED_BYTES = 64 * 1024
"""A body up to this size is copied behind its head, which costs less than sending two pieces."""

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*\Z")
_VERSIONS = ("1.0", "1.1")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*) HTTP/1\.[01]\r\n")
"""The line of a request, whatever its method is."""
_NO_TIME = "server-timing: gateway;dur=0.00, provider;dur=0.00\r\n"
"""Of what is refused before it is known what it asks for: nothing was worked on, however long the caller took."""


def most_connections() -> int:
    """How many connections a process may have open so that files are left for everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(soft // 2, soft - 512)


_last_dated: tuple[list[tuple[bytes, bytes]], bytes] = [], b""


def _dated(headers: list[tuple[bytes, bytes]]) -> bytes:
    """uvicorn's own headers as lines. It makes a new list of them once a second, for its clock."""
    global _last_dated
    if _last_dated[0] is not headers:
        _last_dated = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
    return _last_dated[1]


async def _receive_nothing() -> Message:
    """What a request without a body has beyond its headers, as far as anybody here wants to know."""
    return {"type": "http.disconnect"}


class _Unheard:
    """Stands for the event by which a handler learns of a body, and that the caller has left."""

    def set(self) -> None:
        """Nobody waits for it: what is answered here reads no body, and looks who is there before it writes."""


_UNHEARD = _Unheard()


class _Awaited(msgspec.Struct, eq=False):
    """What uvicorn has to know of a request that is answered by `_answer`: its own cycle, without what that would need."""

    response_started: bool = False
    response_complete: bool = False
    disconnected: bool = False
    more_body: bool = False
    keep_alive: bool = True
    body: bytes = b""
    message_event: _Unheard = _UNHEARD


class _Closable:
    """The transport as uvicorn's cycle has it: it closes a connection once what it answered has come, and not before."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: "Protocol") -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.close_after_rest()


_ANSWERED: Any = _Awaited(True, True)
"""Stands for every request that was answered at once."""
_BODILESS = frozenset({"GET", "HEAD"})


class Protocol(HttpToolsProtocol):
    """httptools with limits on target, headers, time and number, and problems instead of plain text."""

    most = most_connections()

    # As slots: an object of more than thirty attributes is slower to read all of them.
    __slots__ = (
        "_at_once", "_begun", "_closes", "_draining", "_ended", "_extensions", "_heading", "_hosts", "_known", "_outgoing",
        "_partial", "_plain", "_refusal", "_runners", "_scope", "_seen", "_stalled", "_started", "_timer", "_unsent",
        "_until", "url",
    )  # fmt: skip

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any],
                 _loop: asyncio.AbstractEventLoop | None = None) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._runners = runners_of(self.loop)
        self._seen = self._hosts = 0
        self._refusal: Problem | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = math.inf
        """Until when the client may take for what it has to do now; only looked at while no request is being answered."""
        self._heading = False
        """The request's line has begun, and its headers have not ended."""
        self._partial = False
        """A request has begun and has not ended."""
        self._draining = False
        self._stalled = math.inf
        """Until when some more of an answer has to be taken by the client, while it does not keep up."""
        self._unsent = 0
        self._at_once = 0
        self._begun = 0
        """Requests that have begun in the piece of what came that is being parsed."""
        self._plain = False
        """Whether the last request was of HTTP/1.1 and leaves the connection open."""
        self._known: Known | None = None
        """The headers of the last request, where the next one may have the same ones."""
        self._started: RequestResponseCycle | None = None
        """The last request that is, or was, answered by uvicorn's cycle."""
        self._closes = False
        """The connection is closed as soon as the rest of a body has come that nobody waits for."""
        self._ended = False
        """The caller has ended his side, and waits for what is under way, unless he has left."""

    # --- time

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._outgoing = together(transport, self.loop)
        self._extensions: dict[str, Any] = {}
        super().connection_made(cast(asyncio.Transport, self._outgoing))
        self._scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": self.asgi_version, "spec_version": "2.3"}, "http_version": "1.1",
            "server": self.server, "client": self.client, "scheme": self.scheme, "root_path": "",
            "extensions": self._extensions, "method": "GET", "path": "", "raw_path": b"", "query_string": b"",
            "headers": [],
        }  # fmt: skip
        self._until = self.loop.time() + HEADER_SECONDS
        self._timer = self.loop.call_later(HEADER_SECONDS, self._look)
        if len(self.connections) > self.most:
            self._refuse(Problem("overloaded", "Too many connections are open.", retry_after=1))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._extensions[DOUBTED] = self._outgoing
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Stay open for what is under way; but not for a request that was begun and now never comes to its end."""
        self._outgoing.hand_over()  # what is answered already
        if self.transport.is_closing():
            return False
        if self._partial:
            if not self._heading:  # its body is missing
                if not self.pipeline:
                    return False  # whoever reads it is told that the caller has left
                self.pipeline.popleft()
            unread(LEFT)
        if not self._answering():
            return False
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        last.keep_alive = False
        started = self._started
        if started is None or started.response_complete or not started.response_started:
            self._outgoing.begin(BEGINNING)
        self._ended, self._extensions[DOUBTED] = True, self._outgoing
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(LOOK_SECONDS, self._look)
        return True

    def _look(self) -> None:
        """Close or cut off what has taken too long, or look again when it might have."""
        now = self.loop.time()
        if (now >= self._stalled and not self._went_on(now)) or (self._ended and is_broken_off(self._outgoing)):
            self.transport.abort()
            return
        if self.transport.is_closing():
            if self._stalled == math.inf:
                self._stall(now)  # it is open for the last bytes only
        elif now >= self._until and not self._answering():
            if self._heading:
                self._refuse(Problem("request-timeout", f"The headers took longer than {HEADER_SECONDS:.0f} seconds."))
            else:
                self.transport.close()
            self._stall(now)
        until = self._stalled if self._answering() else min(self._stalled, self._until)
        if self.transport.is_closing():
            until = self._stalled
        longest = LOOK_SECONDS if self._ended else HEADER_SECONDS
        self._timer = self.loop.call_later(max(0.01, min(until - now, longest)), self._look)

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _went_on(self, now: float) -> bool:
        """Whether the client took enough of its answer since the last look; if so, it has as long again."""
        if self._unsent - self._not_taken() < WRITE_BYTES:
            return False
        self._stall(now)
        return True

    def _stall(self, now: float) -> None:
        self._stalled, self._unsent = now + WRITE_SECONDS, self._not_taken()

    def _not_taken(self) -> int:
        """Bytes that the client has not taken: ours, and the kernel's, which takes more of ours in great lumps only."""
        kernels = b"\0\0\0\0"
        with contextlib.suppress(OSError, AttributeError):
            kernels = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernels)
        return self.transport.get_write_buffer_size() + int.from_bytes(kernels, sys.byteorder)

    def pause_writing(self) -> None:
        self._stall(self.loop.time())
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled = math.inf
        super().resume_writing()

    # --- a request

    def on_message_begin(self) -> None:
        self._seen = self._hosts = 0
        self._heading = self._partial = True
        self._begun += 1
        self._until = self.loop.time() + HEADER_SECONDS
        self.url = b""
        self.expect_100_continue = False
        headers: list[tuple[bytes, bytes]] = []
        self.headers = headers
        self.scope = {**self._scope, "headers": headers}  # type: ignore[typeddict-item]  # the rest comes with the headers' end

    def on_url(self, url: bytes) -> None:
        self._count(len(url), TARGET_BYTES, "uri-too-long", f"The request target is longer than {TARGET_BYTES} bytes.")
        if b"#" in url:
            raise ValueError("a fragment is no part of a request target")
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        most = TARGET_BYTES + HEADERS_BYTES
        self._count(len(name) + len(value) + 4, most, "headers-too-large", f"The headers exceed {HEADERS_BYTES} bytes.")
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            if self._hosts > 1 or not _HOST.match(value):
                raise ValueError("not one plain host")
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise ValueError("another coding than chunked")
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def data_received(self, data: bytes) -> None:
        self._at_once = 0
        if self._known is not None and self._is_again(data, self._known):
            return
        at_start, self._begun, self._known = not self._partial, 0, None
        # Not uvicorn's: it logs a line of its own for whatever cannot be parsed, and anybody could fill the log with those.
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserInvalidMethodError:
            if at_start and self._begun <= 1:
                self._refusal = self._of_method(data)
            self.send_400_response("")
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade:  # no other protocol is spoken here
            pass
        if at_start and self._begun == 1 and not self._partial and self._plain:
            self._known = remembered(data, self.headers)

    def _is_again(self, data: bytes, known: Known) -> bool:
        """Whether this was one request with the headers of the last one; then it is being answered."""
        target = known.target(data)
        if target is None or self._partial or self._answering() or not self._can_answer():
            return False
        scope = self._scope.copy()  # which has each of these already: a copy to be filled in is the cheapest
        path, scope["query_string"] = target
        scope["path"], scope["raw_path"], scope["headers"] = path.decode("ascii"), path, known.sent
        app: App = self.app
        coming: Any = app.answer(scope, _receive_nothing, known.headers)
        if type(coming) is Answer:
            self.cycle = _ANSWERED
            self._write(coming, True)
        else:
            self._wait_for(coming)
        return True

    def _can_answer(self) -> bool:
        """Whether an answer can be sent as soon as there is one."""
        closing = self._draining or self.transport.is_closing()
        return not closing and not self.flow.write_paused and spans.tracer is None

    def on_headers_complete(self) -> None:
        """As uvicorn's, but that what can be answered at once is, without anything that a longer way would need."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        if version not in _VERSIONS or (version == "1.1" and not self._hosts):
            raise ValueError("another version, or no host")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self._heading = False
        scope["path"] = urllib.parse.unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        before, upgrades = self.cycle, parser.should_upgrade()  # no other protocol is spoken here, nor read any further
        keep_alive = version != "1.0" and parser.should_keep_alive() and not upgrades
        self._plain = keep_alive and version == "1.1"
        if (before is None or before.response_complete) and keep_alive:
            coming = self._coming(scope)
            if isinstance(coming, Answer):
                self.cycle = _ANSWERED
                self._write(coming, True)
                return
            if coming is not None:
                self._wait_for(coming)
                return
        closable = cast(asyncio.Transport, _Closable(self))
        cycle = self.cycle = RequestResponseCycle(
            scope=scope, transport=closable, flow=self.flow, logger=self.logger, access_logger=self.access_logger,
            access_log=False, default_headers=self.server_state.default_headers, message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue, keep_alive=keep_alive, on_response=self.on_response_complete,
        )  # fmt: skip
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self._extensions[DOUBTED] = self._outgoing  # while nothing is read, nobody is told that he has left
            self.pipeline.appendleft((cycle, self.app))
        if self._draining:
            self._close_after(before)

    def on_message_complete(self) -> None:
        self._partial = False
        if self.cycle.response_complete:  # answered before it was all there, and only now idle
            self._until = self.loop.time() + KEEP_ALIVE_SECONDS
            if self._closes:
                self.transport.close()
        super().on_message_complete()

    def _coming(self, scope: Any) -> Answer | Awaitable[Answer | None] | None:
        """The answer to a request without a body, at once or to be waited for; None where it has to take its turn."""
        if scope["method"] not in _BODILESS or self._at_once >= AT_ONCE or not self._can_answer():
            return None
        self._at_once += 1
        app: App = self.app  # as `uvicorn_config` was given it
        return app.answer(scope, _receive_nothing)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if not self.transport.is_closing():  # else nobody would see the answer
            self._started = cycle
            super()._start_asgi_task(cycle, app)

    def _wait_for(self, coming: Awaitable[Answer | None]) -> None:
        cycle: Any = _Awaited()
        self.cycle = cycle
        self._runners.run(self._answer(cycle, coming), self.tasks)

    async def _answer(self, cycle: RequestResponseCycle, coming: Awaitable[Answer | None]) -> None:
        answer = await coming
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if answer is not None and not cycle.disconnected:
            cycle.response_started = cycle.response_complete = True
            self._write(answer, cycle.keep_alive)

    def _write(self, answer: Answer, keep_alive: bool) -> None:
        """Send an answer, and go on to the next request."""
        told = answer.head
        if not answer.is_sound():
            log.error("an answer was not sent: a header of ours holds the end of a line")
            self.transport.abort()
            return
        if answer.closes:
            keep_alive = False
        elif not keep_alive:
            told += "connection: close\r\n"
        date = _dated(self.server_state.default_headers)
        head = b"%b%b%b\r\n" % (STATUS_LINE[answer.status], date, told.encode("latin-1"))
        if len(answer.body) < JOINED_BYTES:
            self.transport.write(head + answer.body)
        else:
            self.transport.writelines((head, answer.body))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, but for its timer: one is set and cancelled there for each request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._heading:
            self._until = now + HEADER_SECONDS
        elif self._partial:
            self._until = now + REST_SECONDS
        else:
            self._until = now + KEEP_ALIVE_SECONDS
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._ended:
            self.transport.close()

    # --- ending

    def drain(self) -> None:
        """Close after the answer that is under way or, if there is none, after the next one."""
        if not self._draining:
            self._draining = True
            self._close_after(None)

    def _close_after(self, before: RequestResponseCycle | None) -> None:
        """Only the last request of a pipeline closes the connection: those before it would take it along."""
        if before is not None and not before.response_started:
            before.keep_alive = True
        if self._answering() and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def close_after_rest(self) -> None:
        """Close, but not while the client is still sending the body of what was answered, within the time that it has.

        Else what comes after that is refused by the kernel, and the client, who sends before he reads, sees no answer.
        """
        left = self._until - self.loop.time()
        if not self._partial or self.pipeline or left <= 0:
            self.transport.close()
        elif not self._closes:
            self._closes = True
            self.loop.call_later(left, self.transport.close)

    def end(self, impatient: bool) -> None:
        """Close if nothing is asked. A connection that has not asked anything yet may still, unless `impatient`."""
        self.drain()
        if not self._answering() and (impatient or not (self.cycle is None or self._heading)):
            self.transport.close()

    # --- refusing

    def _count(self, size: int, most: int, code: str, detail: str) -> None:
        self._seen += size
        if self._seen > most:
            self._refusal = Problem(code, detail)
            raise ValueError(code)  # the parser gives up and comes back through send_400_response

    def _of_method(self, data: bytes) -> Problem | None:
        """What is told of a request whose method the parser does not know; None where it is no request at all."""
        line = _LINE.match(data)
        if line is None:
            return None
        app: App = self.app
        return app.refusal(line[1].decode("ascii"), line[2].partition(b"?")[0])

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read; the text is our own, so that nothing of the input is repeated."""
        self._refuse(self._refusal or Problem("invalid-request", "The request is not well-formed HTTP/1.1."))

    def _refuse(self, problem: Problem) -> None:
        if self._answering() and (self._heading or not self._partial):
            # What is wrong comes after a request that is still being answered: first things first, and then no more.
            self._close_after(None)
            return
        if self.pipeline or self._closes:
            self.transport.close()
            return
        request_id = uuid.uuid4().hex
        again = f"retry-after: {problem.retry_after}\r\n" if problem.retry_after is not None else ""
        allow = f"allow: {', '.join(problem.allow)}\r\n" if problem.allow else ""
        unread(problem.status, request_id, problem.code)
        body = dumps(problem.body(request_id))
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\ncache-control: private, no-store\r\n"
            f"x-content-type-options: nosniff\r\n{_NO_TIME}{again}{allow}connection: close\r\n\r\n"
        )
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(head.encode("latin-1") + body)
            self.transport.close()


def uvicorn_config(app: Any, **settings: Any) -> uvicorn.Config:
    """uvicorn's settings for the gateway: our protocol, no access log (it would hold queries), no server header."""
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        date_header=True,
        log_config=None,
        log_level=logging.WARNING,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **settings,
    )
