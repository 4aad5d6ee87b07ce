"""Any transport with httpx's interface in the place of our engine: for tests, and for other engines."""

import asyncio

import httpx

from gateway.decoding import Body
from gateway.engine import Answer
from gateway.errors import CallFailed, MaybeSent, NeverSent

_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Reply headers that are no longer true once the body is read and decoded."""


class OverHttpx:
    """`exchange` as the engine has it, over a transport of httpx's kind."""

    def __init__(self, transport: httpx.AsyncBaseTransport, origin: str, max_reply: int) -> None:
        self._transport, self._origin, self._max_reply = transport, origin, max_reply

    async def exchange(
        self, method: str, target: str, headers: dict[str, str], content: bytes | None, deadline: float
    ) -> Answer:
        """The answer. Raises `NeverSent`, `MaybeSent` and `BadAnswer`."""
        request = httpx.Request(
            method, self._origin + target, headers=headers, content=content, extensions={"deadline": deadline}
        )
        failed: CallFailed
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._transport.handle_async_request(request)
                return await self._read(response)
        except TimeoutError:
            failed = MaybeSent("deadline")
        except httpx.TransportError as error:
            failed = _told(error)
        raise failed

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()

    async def _read(self, response: httpx.Response) -> Answer:
        try:
            body = Body(response.headers.get_list("content-encoding"), self._max_reply)
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            async for chunk in stream:
                body.feed(chunk)
        finally:
            await response.aclose()
        return Answer(response.status_code, _plain(response), body.finish())


def _plain(response: httpx.Response) -> dict[str, str]:
    """Names in lower case, repeated ones joined with a comma; Latin-1 takes any byte without failing."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in _BODY_HEADERS:
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
