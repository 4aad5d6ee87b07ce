"""What the wire needs and aiohttp lacks: a pool of clean connections, and knowing what may have been sent.

    Pool       a connector that hands out no connection on which something waits to be read
    Handler    one connection: it reads the one answer that was asked for, and closes on anything more
    Request    aiohttp's request, which remembers whether it may have been sent
    Flight     one request under way: aiohttp's errors in our words, before aiohttp can send again by itself

aiohttp 3.14 checks a pooled connection only for being open, so that an answer that nobody asked for would be
handed to the next request; and it sends a GET again when a reused connection ends. Neither can happen here.
`tests/test_wire.py` pins each thing that this relies on inside aiohttp.
"""

import asyncio
import errno
import functools
import select
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import StreamReader

from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent

FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, aiohttp.EofStream)
"""Everything by which aiohttp tells that an exchange failed. They hold URLs and headers: never chain one."""

_INTERIM_AT_MOST = 16
"""1xx answers before the final one: more is a server that means no good."""

_PROBE = b"HTTP/1.1 204 boundary\r\n\r\n"
"""An answer that parses to exactly itself, unless the beginning of another one is still in the parser."""


class Handler(ResponseHandler):
    """One connection to the provider, which never carries anything from one exchange into the next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.used = False
        """Whether a request was sent on it before."""
        self.spoiled = False
        """Whether more came than was asked for."""
        self._answered = False
        self._interim = 0
        self._idle = False

    def set_response_params(self, **params: Any) -> None:
        """A new exchange begins."""
        self.used = True
        self._answered = self._idle = False
        self._interim = 0
        super().set_response_params(**params)

    def discard(self) -> None:
        """Never use the connection again: closed now if nobody uses it, else as soon as it is given back."""
        self.force_close()
        if self._idle:
            self.close()

    def data_received(self, data: bytes) -> None:
        if self._idle:
            if data:  # nobody asked; an empty call comes from aiohttp's own flow control
                self._spoil()
            return
        super().data_received(data)
        if self._answered and self.transport and (self._payload is None or self._payload.is_eof()):
            self._idle = True
            if not (self.spoiled or self._should_close or self._upgraded or self._at_boundary()):
                self.spoiled = True
        if self.spoiled:
            self._spoil()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a parsed answer; only the first final one of an exchange is passed on."""
        code = data[0].code
        if self._answered:
            self.spoiled = True
        elif 100 <= code < 200 and code != 101:
            self._interim += 1
            if self._interim > _INTERIM_AT_MOST:
                self.set_exception(HttpProcessingError(message="too many interim answers"))
        else:
            self._answered = True
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Fail the exchange; also its body, which aiohttp leaves waiting when a chunk is malformed."""
        super().set_exception(exc, *cause)
        self._fail_body(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is not None:  # else a body that ends with the connection would count as whole after a reset
            self._fail_body(aiohttp.ClientOSError(*exc.args))
        super().connection_lost(exc)

    def _fail_body(self, exc: BaseException) -> None:
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            body.set_exception(exc)

    def _at_boundary(self) -> bool:
        """Whether the parser stands exactly behind the answer. The probe is the last thing it is given."""
        if self._parser is None:
            return False
        try:
            messages, _, _ = self._parser.feed_data(_PROBE)
        except HttpProcessingError:
            return False
        if len(messages) != 1:
            return False
        message = messages[0][0]
        return message.code == 204 and message.reason == "boundary" and not message.headers

    def _spoil(self) -> None:
        self.spoiled = True
        self.force_close()
        self.close()


class Pool(aiohttp.TCPConnector):
    """At most `limit` connections, handed out only when nothing was left on them and nothing waits there."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, limit_per_host=0)
        self._factory = functools.partial(cast(type[ResponseHandler], Handler), loop=self._loop)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> aiohttp.connector.Connection:
        """A connection fit for one request."""
        while True:
            connection = await super().connect(req, traces, timeout)
            handler = connection.protocol
            assert isinstance(handler, Handler) and connection.transport is not None
            # A new TLS connection is not asked: the server's session tickets may be waiting there, rightly.
            asked = handler.used or not req.is_ssl()
            if not handler.should_close and not (asked and _readable(connection.transport)):
                return connection
            connection.close()
            if not handler.used:
                raise NeverSent("refused", "the server spoke before it was asked")


def _readable(transport: asyncio.Transport) -> bool:
    """Whether bytes or the other side's end wait in the kernel, where the loop has not looked yet."""
    number = transport.get_extra_info("socket").fileno()
    if number < 0:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


class Request(aiohttp.ClientRequest):
    """aiohttp's request, with the one fact that retries rest on."""

    handler: Handler | None = None
    """The connection on which it may have been sent; None while nothing can have left."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Write the request: from here on it counts as sent, whether or not its bytes went out."""
        handler = conn.protocol
        assert isinstance(handler, Handler)
        self.handler = handler
        return await super().send(conn)


class Flight:
    """Middleware for one request: aiohttp's errors become ours before aiohttp could try again by itself."""

    __slots__ = ("request",)

    def __init__(self) -> None:
        self.request: Request | None = None
        """Known from when aiohttp has accepted it."""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        assert isinstance(request, Request)
        self.request = request
        try:
            return await handler(request)
        except FAILURES as error:
            failed = self.failed(error)
        raise failed  # outside of the except clause, so that it carries no context that holds the headers

    @property
    def sent(self) -> bool:
        """Whether the request's head may have left this machine."""
        # Asked for None, never for truth: a Handler is a queue as well, and false while it is empty.
        return self.request is not None and self.request.handler is not None

    def failed(self, error: Exception) -> CallFailed:
        """`error` in our words; its own text is left behind."""
        return _failed(error) if self.sent else _never_sent(error)


def _never_sent(error: Exception) -> NeverSent:
    detail = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NeverSent("dns", detail)
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)):
        return NeverSent("tls", detail)
    if isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno == errno.ETIMEDOUT):
        return NeverSent("connect_timeout", detail)
    return NeverSent("refused", detail)


def _failed(error: Exception) -> CallFailed:
    detail = type(error).__name__
    if isinstance(error, (HttpProcessingError, aiohttp.ClientResponseError)):
        return BadAnswer("framing", detail)
    if isinstance(error, OSError):
        return MaybeSent("reset", detail)
    return MaybeSent("early_end", detail)
