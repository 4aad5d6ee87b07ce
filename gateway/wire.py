"""A Call over HTTP: the innermost `send`, and the only module that knows the HTTP client.

    Wire               a Call becomes a request with the credential; what came back, a Reply or a CallFailed
    AiohttpTransport   httpx's transport interface over aiohttp: sent at most once, in bounded time and memory
    RefusedCall        a Call that must not leave this machine: a mistake in an adapter, not in the network

Nothing here logs. No exception and no repr holds the credential, a URL, a header or a body.
"""

import asyncio
import re
import time

import aiohttp
import httpx
from pydantic import SecretStr
from yarl import URL

from gateway import __version__, strict_json
from gateway.adapter import Adapter, Call, Reply
from gateway.decoding import Body
from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent
from gateway.pool import FAILURES, Flight, Pool, Request
from gateway.target import PATH, RefusedCall, checked_headers, content_of, target_of

__all__ = ["AiohttpTransport", "RefusedCall", "Wire"]

_BUFFER = 64 * 1024
_LINE, _FIELD, _FIELDS = 8190, 8190, 128
"""Longest status line and header in bytes, and how many headers: an endless head ends here."""

_VALUES = 65_536
"""Values in a reply at most: a page of a hundred records has a tenth of that, and read they take more than their bytes."""

_ENGINE_HEADERS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})
"""Request headers that the engine writes itself."""
_BODY_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
"""Reply headers that are no longer true once the body is read and decoded."""

_OWN_HEADERS = {
    "User-Agent": f"crm-gateway/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # records are small: decoding them would cost more than the bytes
}


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends a request over a bounded pool, once, and gives back the answer with its whole decoded body.

    - The server gets the request's raw URL and its own headers; only Host and Content-Length are added.
    - No redirect, cookie, proxy, `.netrc` or retry: one request here is at most one request there.
    - `request.extensions["deadline"]`, in seconds of the loop's clock, covers everything from the wait for a
      slot to the last byte of the body; without it there is no bound but `connect_timeout`.
    - `limit` connections at most; `connect_timeout` seconds for name, connection and TLS; `max_reply` bytes
      of body, raw and decoded.
    - A connection on which anything came that was not asked for is never used again.
    - A cancelled request leaves the pool usable; its connection is closed.
    - `response.extensions["discard"]()` gives up the connection, for when the answer cannot be used.

    Raises `NeverSent`, `MaybeSent` and `BadAnswer`. Needs a running loop only when the first request is sent.
    """

    def __init__(self, *, limit: int, connect_timeout: float, max_reply: int) -> None:
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._max_reply = max_reply
        self._slots = asyncio.Semaphore(limit)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to `request`, whatever its status below 300 or from 400 to 599."""
        deadline: float | None = request.extensions.get("deadline")
        _check_time(deadline)
        flight = Flight()
        waiting = True
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                waiting = False
                return await self._exchange(request, flight)
        except TimeoutError:
            failed: CallFailed = MaybeSent("deadline")
            if not flight.sent:
                failed = NeverSent("busy" if waiting else "deadline")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this task: aiohttp's connector was closed while it waited there.
            failed = MaybeSent("early_end", "closed") if flight.sent else NeverSent("refused", "closed")
        raise failed

    async def aclose(self) -> None:
        """Close all connections. Requests under way fail; later ones are `NeverSent`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _exchange(self, request: httpx.Request, flight: Flight) -> httpx.Response:
        if self._closed:
            raise NeverSent("refused", "closed")
        url = request.url
        content = await request.aread()
        answer = await self._opened().request(
            request.method,
            # Put together from the raw parts: nothing on the way decodes, encodes or normalises the path.
            URL(f"{url.scheme}://{url.netloc.decode()}{url.raw_path.decode()}", encoded=True),
            headers=[
                (name.decode(), value.decode())
                for name, value in request.headers.raw
                if name.lower() not in _ENGINE_HEADERS
            ],
            data=content or None,
            allow_redirects=False,
            middlewares=(flight,),
        )
        handler = flight.request.handler if flight.request is not None else None
        assert handler is not None
        try:
            response = await self._read(answer, flight)
            if handler.spoiled:
                raise BadAnswer("framing", "bytes after the answer")
        except BaseException:
            answer.close()
            handler.discard()
            raise
        response.extensions["discard"] = handler.discard
        return response

    async def _read(self, answer: aiohttp.ClientResponse, flight: Flight) -> httpx.Response:
        _check_status(answer.status)
        codings = answer.headers.getall("Transfer-Encoding", ())
        if codings and (len(codings) > 1 or codings[0].strip().lower() != "chunked"):
            raise BadAnswer("framing", "a transfer coding other than chunked")
        body = Body(answer.headers.getall("Content-Encoding", ()), self._max_reply)
        if (answer.content_length or 0) > self._max_reply:
            raise BadAnswer("too_large", f"more than {self._max_reply} bytes announced")
        failed: CallFailed | None = None
        try:
            while chunk := await answer.content.readany():
                body.feed(chunk)
        except FAILURES as error:
            failed = flight.failed(error)
        except RuntimeError:  # what aiohttp's reader says of a connection that is gone
            failed = MaybeSent("early_end", "gone")
        if failed is not None:
            raise failed
        headers = [(name, value) for name, value in answer.raw_headers if name.lower() not in _BODY_HEADERS]
        return httpx.Response(answer.status, headers=headers, content=body.finish())

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Pool(self._limit),
                request_class=Request,
                # The deadline is ours, and absolute; aiohttp's own total would begin anew with each request.
                timeout=aiohttp.ClientTimeout(connect=self._connect_timeout, ceil_threshold=float("inf")),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                raise_for_status=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                read_bufsize=_BUFFER,
                max_line_size=_LINE,
                max_field_size=_FIELD,
                max_headers=_FIELDS,
            )
        return self._session


class Wire:
    """Sends the calls of one connection to its provider: what all layers wrap.

    `base_url` is where every call goes, path prefix included; `api_key` is turned into headers by the adapter
    as the last thing before sending (None: no such headers). At most `concurrency` calls are in flight;
    `max_reply` is in bytes, `connect_timeout` in seconds. `transport` replaces the engine: for tests, and for
    other engines.
    """

    def __init__(
        self,
        adapter: Adapter,
        base_url: str,
        api_key: SecretStr | None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        concurrency: int,
        max_reply: int,
        connect_timeout: float = 5.0,
    ) -> None:
        """Raises ValueError for a base URL that is not plain http or https with a host and at most a path."""
        self._adapter = adapter
        self._base = _base(base_url)
        self._origin = f"{self._base.scheme}://{self._base.netloc.decode()}"
        self._prefix = self._base.raw_path.decode().rstrip("/")
        self._api_key = api_key
        self._max_reply = max_reply
        self._slots = asyncio.Semaphore(concurrency)
        self._transport = transport or AiohttpTransport(
            limit=concurrency, connect_timeout=connect_timeout, max_reply=max_reply
        )

    def __repr__(self) -> str:
        return f"<Wire to {self._adapter.name}>"

    async def send(self, call: Call, deadline: float) -> Reply:
        """What the provider answered, with any status below 300 or from 400 to 599.

        `deadline` is in seconds of the running loop's clock. Raises `NeverSent`, `MaybeSent` or `BadAnswer`,
        and `RefusedCall` for a call that is not fit to be sent.
        """
        started = time.perf_counter()
        target = target_of(self._prefix, call)
        content = content_of(call)
        _check_time(deadline)
        await self._slot(deadline)
        try:
            request = self._request(call.method, target, content, deadline)
            response = await self._answer(request, deadline)
            return await self._reply(response, deadline, started)
        finally:
            self._slots.release()

    async def aclose(self) -> None:
        """Close the connections; calls under way fail."""
        await self._transport.aclose()

    async def _slot(self, deadline: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        late = False
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            late = True
        if late:
            raise NeverSent("busy")

    def _request(self, method: str, target: str, content: bytes | None, deadline: float) -> httpx.Request:
        headers = dict(_OWN_HEADERS)
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._api_key is not None:
            headers.update(checked_headers(self._adapter.headers(self._api_key.get_secret_value())))
        request = httpx.Request(
            method, self._origin + target, headers=headers, content=content, extensions={"deadline": deadline}
        )
        url, base = request.url, self._base
        if (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
            raise RefusedCall("the call leads to another server")
        if url.raw_path != target.encode("ascii") or url.userinfo or url.fragment:
            raise RefusedCall("the call leads to another path")
        return request

    async def _answer(self, request: httpx.Request, deadline: float) -> httpx.Response:
        if isinstance(self._transport, AiohttpTransport):
            return await self._transport.handle_async_request(request)  # keeps the deadline, and knows more
        failed: CallFailed
        try:
            async with asyncio.timeout_at(deadline):
                return await self._transport.handle_async_request(request)
        except TimeoutError:
            failed = MaybeSent("deadline")
        except httpx.TransportError as error:
            failed = _told(error)
        raise failed

    async def _reply(self, response: httpx.Response, deadline: float, started: float) -> Reply:
        try:
            _check_status(response.status_code)
            content = await self._content(response, deadline)
            body, unreadable = None, False
            if content:
                reason, why = "too_large", f"more than {_VALUES} values"
                if not (unreadable := strict_json.is_crowded(content, _VALUES)):
                    try:
                        body = strict_json.loads(content)
                    except strict_json.NotJson as error:
                        unreadable = True
                        reason, why = "not_json", str(error)
                if unreadable and response.status_code < 400:
                    raise BadAnswer(reason, why)
        except BadAnswer:
            if discard := response.extensions.get("discard"):
                discard()
            raise
        headers = _plain_headers(response)
        elapsed = time.perf_counter() - started
        if (discard := response.extensions.get("discard")) is None:
            return Reply(response.status_code, headers, body, unreadable, elapsed)
        return Reply(response.status_code, headers, body, unreadable, elapsed, discard)

    async def _content(self, response: httpx.Response, deadline: float) -> bytes:
        if "discard" in response.extensions:  # ours: read, decoded and measured already
            return response.content
        failed: CallFailed
        try:
            body = Body(response.headers.get_list("content-encoding"), self._max_reply)
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            async with asyncio.timeout_at(deadline):
                async for chunk in stream:
                    body.feed(chunk)
            return body.finish()
        except TimeoutError:
            failed = MaybeSent("deadline")
        except httpx.TransportError as error:
            failed = _told(error)
        finally:
            await response.aclose()
        raise failed


def _base(base_url: str) -> httpx.URL:
    if not re.fullmatch(r"https?://[^/?#\\@\s]+(?:/[^?#\\\s]*)?", base_url, re.IGNORECASE):
        raise ValueError("base_url must be http:// or https://, a host and at most a path")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ValueError("base_url is not a URL") from None
    prefix = url.raw_path.decode().rstrip("/")
    asked = re.sub(r"^[^/]*//[^/]*", "", base_url).rstrip("/")
    if prefix != asked or (prefix and not PATH.fullmatch(prefix)) or not url.host:
        raise ValueError("the path of base_url must be plain: URL encoded, without dot segments")
    return url


def _check_time(deadline: float | None) -> None:
    if deadline is not None and deadline <= asyncio.get_running_loop().time():
        raise NeverSent("deadline")


def _check_status(status: int) -> None:
    if 300 <= status < 400:
        raise BadAnswer("redirect", str(status))
    if not 200 <= status < 600:
        raise BadAnswer("framing", f"status {status}")


def _plain_headers(response: httpx.Response) -> dict[str, str]:
    """Names in lower case, repeated ones joined with a comma; Latin-1 takes any byte without failing."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _told(error: httpx.TransportError) -> CallFailed:
    """The error of a transport that is not ours, in our words; its text is left behind."""
    detail = type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return NeverSent("connect_timeout", detail)
    if isinstance(error, httpx.PoolTimeout):
        return NeverSent("busy", detail)
    if isinstance(error, (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol)):
        return NeverSent("refused", detail)
    if isinstance(error, httpx.TimeoutException):
        return MaybeSent("deadline", detail)
    if isinstance(error, httpx.RemoteProtocolError):
        return MaybeSent("early_end", detail)
    return MaybeSent("reset", detail)
