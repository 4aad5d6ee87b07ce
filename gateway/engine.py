"""HTTP/1.1 as this gateway asks it of a provider: one request, one answer, in bounded time and memory, sent at most once.

    Engine       bounded connections to one origin: `exchange` sends bytes that are a whole request, and gives the Answer
    Connection   one socket: it reads the one answer that was asked for, and is closed on anything more

- No redirect, cookie, proxy, `.netrc` or retry: one request here is at most one request there.
- The deadline covers the wait for a slot, name, connection, TLS, sending, and the last byte of the body.
- A connection on which anything came that was not asked for, or whose answer's end is in doubt, is never used again.
- A request that is cancelled costs its connection and nothing else.
- A failure is `stale` when a connection that had served before ended, and not a byte of an answer had come.

Raises `NeverSent`, `MaybeSent` and `BadAnswer`; which of the first two, by whether a byte was handed to the socket. No text
holds a URL, a header or a body. The parser is httptools (llhttp, strict); `tests/test_wire.py` pins what is relied on.
"""

import asyncio
import errno
import select
import socket
import ssl

import httptools
import msgspec

from gateway.decoding import Body
from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent
from gateway.loop_time import loop_time
from gateway.outgoing import Outgoing, together
from gateway.plain_answers import LINE, LINES, plain
from gateway.slots import EVERYBODY, Slots

FIELD, FIELDS, HEAD = LINE, LINES, 64 * 1024
"""Longest header and how many, and bytes of a head: an endless one ends here."""
INTERIM = 16
"""1xx answers before the final one: more is a server that means no good."""
IDLE_SECONDS = 15.0
"""How long a connection is kept that nobody uses."""

_TICK = 0.001
"""A loop's timers are that exact."""
_PROBE = b"HTTP/1.1 204 boundary\r\n\r\n"
"""An answer that parses to exactly itself, unless the beginning of another one is still in the parser."""


class Answer(msgspec.Struct):
    """Status, headers with names in lower case (repeated ones joined with a comma), and the whole decoded body."""

    status: int
    headers: dict[str, str]
    body: bytes
    connection: "Connection | None" = None

    def discard(self) -> None:
        """The answer cannot be used, so the connection that it came on is not either."""
        if self.connection is not None:
            self.connection.spoil()


class Connection(asyncio.Protocol):
    """One connection to the provider, which never carries anything from one exchange into the next."""

    __slots__ = (
        "_asked", "_body", "_chunked", "_complete", "_encodings", "_error", "_fields", "_head", "_headers",
        "_idle_since", "_interim", "_keeps", "_length", "_limit", "_loop", "_lost", "_parser", "_plain", "_poll", "_raw",
        "_reason", "_rings", "_seen", "_status", "_timer", "_until", "_waiter", "engine", "fresh", "idle", "spoiled",
        "transport",
    )  # fmt: skip

    _body: list[bytes]
    _chunked: bool
    _complete: bool
    _encodings: Body | None
    _error: CallFailed | None
    _fields: int
    _head: bool
    _headers: dict[str, str]
    _interim: int
    _keeps: bool
    _length: int | None
    _loop: asyncio.AbstractEventLoop
    _raw: int
    _reason: bytes
    _seen: int
    _status: int

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.transport: Outgoing | None = None
        self.spoiled = False
        """Whether more came than was asked for, or the end of the answer is in doubt."""
        self.fresh = True
        self.idle = True
        self._idle_since = 0.0
        """When it was used last; 0 until it has served once."""
        self._lost = False
        self._limit = engine.max_reply
        self._poll: select.poll | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._plain: Answer | None = None
        """The answer, where it could be read without the parser."""
        self._asked = False
        """Whether an answer is awaited, or has come and has not been taken yet."""
        self._until = self._rings = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self.transport = together(transport, self._loop)
        if hasattr(select, "poll"):
            number = transport.get_extra_info("socket").fileno()
            self._poll = select.poll()
            self._poll.register(number, select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            self.spoil()  # nobody wants to know
            return
        if self._complete:
            self.spoiled = True
            return
        if not self._seen:
            transport = self.transport
            if transport is not None and transport.held:  # it `_is_unsent`
                self._give_up("the server spoke before it was asked")
                return
            read = plain(data, self._limit)
            if read is not None:
                self._seen = len(data)
                self._plain = Answer(*read, self)
                self._complete = True
                self._wake()
                return
            self._listen()
        self._seen += len(data)
        parser = self._parser
        assert parser is not None  # since something was asked for and has not failed
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(BadAnswer("framing", "upgrade"))
        except httptools.HttpParserCallbackError as error:
            # What a callback raised: our own word, or a defect.
            cause = error.__context__
            self._fail(cause if isinstance(cause, CallFailed) else BadAnswer("framing", type(error).__name__))
        except httptools.HttpParserError as error:
            self._fail(BadAnswer("framing", type(error).__name__))
        else:
            if self._head and not self._complete and self._seen > HEAD:
                self._fail(BadAnswer("framing", "the head does not end"))

    def eof_received(self) -> bool:
        self._ended(None)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._cancel_timer()
        self._ended(error)
        self.engine.lost(self)

    def _ended(self, error: Exception | None) -> None:
        """The other side ended, or the connection broke. A body without a length ends so; anything else is cut."""
        self.spoiled = True
        if self.idle or self._complete:
            return
        if self._is_unsent():
            self._give_up("the server closed before it was asked")
            return
        if error is not None:
            self._broke(MaybeSent("reset", type(error).__name__))
        elif self._seen and self._status >= 200 and not self._head and self._length is None and not self._chunked:
            self._complete = True
            self._wake()
        else:
            self._broke(MaybeSent("early_end"))

    def _is_unsent(self) -> bool:
        """Whether the request still waits for the end of the loop's turn."""
        return self._asked and self.transport is not None and bool(self.transport.held)

    def _give_up(self, why: str) -> None:
        """The request has not left, and will not."""
        self._broke(NeverSent("refused", why))
        self.spoil()

    def _broke(self, failure: CallFailed) -> None:
        """The connection is gone, with a request on it."""
        failure.stale = self._idle_since > 0 and not self._seen
        self._fail(failure)

    # --- the parser's side

    def on_message_begin(self) -> None:
        if self._complete:
            self.spoiled = True

    def on_status(self, reason: bytes) -> None:
        self._reason = reason
        if len(reason) > FIELD:
            raise BadAnswer("framing", "the status line is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        if self._complete:
            self.spoiled = True
            return
        if self._fields > FIELDS or len(name) + len(value) > FIELD:
            raise BadAnswer("framing", "too many headers, or too long ones")
        word = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if word in self._headers:
            text = f"{self._headers[word]}, {text}"
            if word == "content-length":
                raise BadAnswer("framing", "two lengths")
        self._headers[word] = text

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._complete or parser is None:
            self.spoiled = True
            return
        self._status = parser.get_status_code()
        if self._status < 100:
            raise BadAnswer("framing", "no status")
        headers = self._headers
        length = headers.get("content-length")
        self._chunked = "transfer-encoding" in headers
        if self._chunked and (length is not None or headers["transfer-encoding"].strip().lower() != "chunked"):
            raise BadAnswer("framing", "a transfer encoding that is not taken")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                raise BadAnswer("framing", "no length")
            self._length = int(length)
            if self._length > self._limit and self._status >= 200:
                raise BadAnswer("too_large", f"more than {self._limit} bytes")
        if self._status >= 200:
            self._head = False
            encoding = headers.get("content-encoding")
            self._encodings = None if encoding is None else Body([encoding], self._limit)

    def on_body(self, data: bytes) -> None:
        if self._complete:
            self.spoiled = True
            return
        self._raw += len(data)
        if self._encodings is not None:
            self._encodings.feed(data)
            return
        if self._raw > self._limit:
            raise BadAnswer("too_large", f"more than {self._limit} bytes")
        self._body.append(data)

    def on_message_complete(self) -> None:
        parser = self._parser
        if self._complete or parser is None:
            self.spoiled = True
            return
        if self._status < 200:
            self._interim += 1
            if self._interim > INTERIM or self._status == 101:
                raise BadAnswer("framing", "too many interim answers")
            self._headers, self._fields, self._length, self._chunked = {}, 0, None, False
            return
        self._complete = True
        self._keeps = parser.should_keep_alive()  # asked later, the parser has forgotten
        self._wake()

    # --- the engine's side

    def begin(self, request: bytes, deadline: float) -> "asyncio.Future[None]":
        """Send the request: from here on it counts as sent, unless it is known not to be. Gives what to wait for.

        The connection has one timer, which is set anew only for a deadline that it would miss.
        """
        assert self.transport is not None
        self._until = deadline
        if self._timer is None or deadline < self._rings:
            self._set_timer(deadline)
        self.idle = self.fresh = False
        waiter = self._waiter = self._loop.create_future()
        self._plain = self._error = None
        self._seen = 0
        self._complete = False
        self._asked = True
        self.transport.write(request)
        return waiter

    def _listen(self) -> None:
        """Have the parser read what comes."""
        self._headers = {}
        self._body = []
        self._fields = self._raw = self._interim = self._status = 0
        self._length = None
        self._chunked = False
        self._head = True
        self._encodings = None
        self._reason = b""
        self._keeps = False
        self._parser = httptools.HttpResponseParser(self)

    def answer(self) -> Answer:
        """What came. Raises what went wrong."""
        self._waiter = None
        if self._error is not None:
            raise self._error
        framed = self._plain is not None or (self._complete and self._is_framed())
        if self.spoiled and not self._lost and framed:
            raise BadAnswer("framing", "bytes after the answer")
        if self._plain is not None:
            return self._plain
        if self._encodings is None:
            body = b"".join(self._body)
        else:
            body = self._encodings.finish()
            for name in ("content-encoding", "content-length"):  # no longer true
                self._headers.pop(name, None)
        return Answer(self._status, self._headers, body, self)

    def _is_framed(self) -> bool:
        return self._length is not None or self._chunked or self._status in (204, 304)

    def is_reusable(self) -> bool:
        """Whether another request may go out on it after this answer."""
        if self._plain is not None:  # it needed no parser: what came was the answer, and no byte more
            return not self.spoiled
        return self._complete and self._keeps and not self.spoiled and self._is_framed() and self._at_boundary()

    def _at_boundary(self) -> bool:
        """Whether the parser stands exactly behind the answer. The probe is the last thing it is given."""
        parser = self._parser
        if parser is None:
            return False
        self._reason = b""
        self._fields = 0
        try:
            parser.feed_data(_PROBE)
        except httptools.HttpParserError:
            return False
        self.spoiled = False
        return self._reason == b"boundary" and self._fields == 0

    def rest(self, now: float) -> None:
        """Nobody uses it."""
        self.idle, self._idle_since = True, now
        self._forget()

    def is_fit(self, now: float) -> bool:
        """Whether it can carry a request: still open, and nothing waits to be read on it."""
        transport = self.transport
        if self.spoiled or transport is None or transport.is_closing() or now - self._idle_since > IDLE_SECONDS:
            return False
        # A new TLS connection is not asked: the server's session tickets may be waiting there, rightly.
        if self.fresh and self.engine.secure:
            return True
        return not (self._poll.poll(0) if self._poll is not None else self._is_readable())

    def is_stale(self, now: float) -> bool:
        """Whether it has been idle for too long."""
        return self.idle and now - self._idle_since > IDLE_SECONDS

    def _is_readable(self) -> bool:
        """Whether bytes or the other side's end wait in the kernel, where the loop has not looked yet; without poll."""
        assert self.transport is not None
        return bool(select.select([self.transport.get_extra_info("socket").fileno()], [], [], 0)[0])

    def spoil(self) -> None:
        """Never use it again."""
        self.spoiled = True
        self._forget()
        self._cancel_timer()
        if self.transport is not None:
            self.transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, when: float) -> None:
        self._cancel_timer()
        self._rings = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        """The deadline of a request before has come: look whether it is that of the present one, too."""
        self._timer = None
        if not self._asked or self._complete:
            return
        if loop_time() >= self._until - _TICK:
            self._fail(MaybeSent("deadline"))
        else:
            self._set_timer(self._until)

    def _forget(self) -> None:
        """Let go of what came: a connection lives on after it, and longer than one would think in cycles."""
        self._asked = False
        self._plain = self._parser = self._encodings = None
        self._body = []
        self._headers = {}

    def _fail(self, failure: CallFailed) -> None:
        if self._error is None:
            self._error = failure
        self._forget()
        self.spoiled = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Engine:
    """At most `limit` connections to one origin. `connect_timeout` is seconds, `max_reply` bytes, raw and decoded."""

    def __init__(
        self, host: str, port: int, *, secure: bool, limit: int, connect_timeout: float, max_reply: int
    ) -> None:
        self.secure = secure
        self.max_reply = max_reply
        self._host, self._port = host, port
        self._connect_timeout = connect_timeout
        self._slots = Slots(limit, EVERYBODY)
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._context: ssl.SSLContext | None = None
        self._closed = False

    async def exchange(self, request: bytes, deadline: float, fresh: bool = False) -> Answer:
        """The answer to a request, whatever its status from 200 to 599 and beyond; `deadline` by the loop's clock.

        `fresh`: on a new connection, and those that nobody uses are closed: whoever asks for that has met a stale one.
        """
        if deadline <= loop_time():
            raise NeverSent("deadline")
        if not self._slots.take_at_once():
            await self._slots.take("", deadline)
        try:
            if fresh:
                self._empty()
            connection = self._from_pool(loop_time()) or await self._connected(deadline)
            try:
                await connection.begin(request, deadline)
                answer = connection.answer()
            except BaseException:
                connection.spoil()
                raise
            if not self._closed and connection.is_reusable():
                self._keep(connection)
            else:
                connection.spoil()
            return answer
        finally:
            self._slots.give()

    async def aclose(self) -> None:
        """Close all connections. Requests under way fail; later ones are `NeverSent`."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.spoil()
        await asyncio.sleep(0)

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _keep(self, connection: Connection) -> None:
        connection.rest(loop_time())
        self._idle.append(connection)
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(IDLE_SECONDS, self._sweep, loop)

    def _from_pool(self, now: float) -> Connection | None:
        """The connection used last that is fit."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fit(now):
                return connection
            connection.spoil()
        return None

    def _empty(self) -> None:
        """Close what nobody uses."""
        while self._idle:
            self._idle.pop().spoil()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop_time()
        for connection in [one for one in self._idle if one.is_stale(now)]:
            connection.spoil()
            self._idle.remove(connection)
        self._sweeper = loop.call_later(IDLE_SECONDS, self._sweep, loop) if self._idle else None

    async def _connected(self, deadline: float) -> Connection:
        """A new connection, TLS included."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise NeverSent("refused", "closed")
        until = min(deadline, loop.time() + self._connect_timeout)
        failed: NeverSent
        try:
            async with asyncio.timeout_at(until):
                _, connection = await loop.create_connection(
                    self._made, self._host, self._port, ssl=self._tls(),
                    server_hostname=self._host if self.secure else None,
                )  # fmt: skip
        except TimeoutError:
            # By what was waited for: a loop's timer may ring a moment before its time.
            failed = NeverSent("deadline" if until == deadline else "connect_timeout")
        except (OSError, ssl.SSLError, ValueError) as error:
            failed = _never_sent(error)
        else:
            self._all.add(connection)
            if connection.is_fit(0.0):
                return connection
            connection.spoil()
            failed = NeverSent("refused", "the server spoke before it was asked")
        raise failed

    def _made(self) -> Connection:
        return Connection(self)

    def _tls(self) -> ssl.SSLContext | None:
        if self.secure and self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


def _never_sent(error: Exception) -> NeverSent:
    detail = type(error).__name__
    if isinstance(error, socket.gaierror):
        return NeverSent("dns", detail)
    if isinstance(error, (ssl.SSLError, ssl.CertificateError, ValueError)):
        return NeverSent("tls", detail)
    if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
        return NeverSent("connect_timeout", detail)
    return NeverSent("refused", detail)


__all__ = ["Answer", "Connection", "Engine"]
