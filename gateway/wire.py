"""A Call over HTTP: the innermost `send`. A Call becomes a request with the credential; what came back, a Reply.

    Wire          over the engine, or over any other transport with httpx's interface: for tests, and for other engines
    RefusedCall   a Call that must not leave this machine: a mistake in an adapter, not in the network

Nothing here logs. No exception and no repr holds the credential, a URL, a header or a body.
"""

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from gateway import __version__, strict_json
from gateway.adapter import Adapter, Call, Reply
from gateway.engine import Answer, Engine
from gateway.errors import BadAnswer, NeverSent
from gateway.loop_time import loop_time
from gateway.slots import EVERYBODY, Slots
from gateway.target import PATH, RefusedCall, checked_headers, content_of, target_of
from gateway.tracing import HEADER, handed_on

if TYPE_CHECKING:
    import httpx

__all__ = ["RefusedCall", "Wire"]

_VALUES = 65_536
"""Values in a reply at most: a page of a hundred records has a tenth of that, and read they take more than their bytes."""

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

_OWN_HEADERS = {
    "User-Agent": f"crm-gateway/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # records are small: decoding them would cost more than the bytes
}


class Wire:
    """Sends the calls of one connection to its provider: what all layers wrap.

    `base_url` is where every call goes, path prefix included; `api_key` is turned into headers by the adapter, once
    (None: no such headers). At most `concurrency` calls are in flight; `max_reply` is in bytes, `connect_timeout` in
    seconds. `transport` replaces the engine.
    """

    def __init__(
        self,
        adapter: Adapter,
        base_url: str,
        api_key: SecretStr | None,
        *,
        transport: "httpx.AsyncBaseTransport | None" = None,
        concurrency: int,
        max_reply: int,
        connect_timeout: float = 5.0,
    ) -> None:
        """Raises ValueError for a base URL that is not plain http or https with a host and at most a path."""
        self._adapter = adapter
        self._api_key = api_key
        self._max_reply = max_reply
        secure, host, port, self._host, self._prefix = _base(base_url)
        self._slots = Slots(concurrency, EVERYBODY)
        self._head = b""
        self._engine: Engine | None = None
        if transport is None:
            self._engine = Engine(
                host, port, secure=secure, limit=concurrency, connect_timeout=connect_timeout, max_reply=max_reply
            )
        else:
            from gateway.over_httpx import OverHttpx

            self._other = OverHttpx(transport, f"{'https' if secure else 'http'}://{self._host}", max_reply)

    def __repr__(self) -> str:
        return f"<Wire to {self._adapter.name}>"

    async def send(self, call: Call, deadline: float, fresh: bool = False) -> Reply:
        """What the provider answered, with any status below 300 or from 400 to 599.

        `deadline` is in seconds of the running loop's clock; `fresh` asks for a new connection. Raises `NeverSent`,
        `MaybeSent` or `BadAnswer`, and `RefusedCall` for a call that is not fit to be sent.
        """
        started = time.perf_counter()
        target = target_of(self._prefix, call)
        content = None if call.body is None else content_of(call)
        if self._engine is not None:
            request = self._request(call.method, target, content)
            answer = await self._engine.exchange(request, deadline, fresh)
        else:
            _check_time(deadline)
            await self._slots.take("", deadline)
            try:
                headers, trace = self._headers(content), handed_on()
                if trace is not None:
                    headers[HEADER] = trace
                answer = await self._other.exchange(call.method, target, headers, content, deadline)
            finally:
                self._slots.give()
        try:
            return _reply(answer, started)
        except BadAnswer:
            answer.discard()
            raise

    async def aclose(self) -> None:
        """Close the connections; calls under way fail."""
        await (self._engine or self._other).aclose()

    def _request(self, method: str, target: str, content: bytes | None) -> bytes:
        """The bytes of a request. `target` has been looked at: nothing in it ends a line or leaves the prefix."""
        if not self._head:
            lines = [f"Host: {self._host}", *(f"{name}: {value}" for name, value in self._headers(None).items())]
            self._head = "".join(f"{line}\r\n" for line in lines).encode("ascii")
        trace = handed_on()
        line = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
        if trace is not None:
            line += f"{HEADER}: {trace}\r\n".encode("ascii")
        if content is None:
            # A method that usually has a body says that there is none.
            return line + self._head + (b"\r\n" if method not in _WITH_BODY else b"Content-Length: 0\r\n\r\n")
        return b"%b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            line, self._head, len(content), content,
        )  # fmt: skip

    def _headers(self, content: bytes | None) -> dict[str, str]:
        """The headers that are the same for every request of this connection."""
        headers = dict(_OWN_HEADERS)
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._api_key is not None:
            headers.update(checked_headers(self._adapter.headers(self._api_key.get_secret_value())))
        return headers


def _reply(answer: Answer, started: float) -> Reply:
    status = answer.status
    if 300 <= status < 400:
        raise BadAnswer("redirect", str(status))
    if not 200 <= status < 600:
        raise BadAnswer("framing", f"status {status}")
    body, unreadable = None, False
    if answer.body:
        if len(answer.body) > _VALUES and strict_json.is_crowded(answer.body, _VALUES):
            if status < 400:
                raise BadAnswer("too_large", f"more than {_VALUES} values")
            unreadable = True
        else:
            try:
                body = strict_json.loads(answer.body)
            except strict_json.NotJson as error:
                unreadable = True
                why = str(error)
        if unreadable and status < 400:
            raise BadAnswer("not_json", why)
    return Reply(status, answer.headers, body, unreadable, time.perf_counter() - started, answer.discard)


def _base(base_url: str) -> tuple[bool, str, int, str, str]:
    """(whether it is https, the host to connect to, the port, the Host header, the path prefix)."""
    if not re.fullmatch(r"https?://[^/?#\\@\s]+(?:/[^?#\\\s]*)?", base_url, re.IGNORECASE):
        raise ValueError("base_url must be http:// or https://, a host and at most a path")
    try:
        parts = urlsplit(base_url)
        host, told = parts.hostname or "", parts.port
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError):
        raise ValueError("base_url is not a URL") from None
    prefix = parts.path.rstrip("/")
    if prefix and (not PATH.fullmatch(prefix) or any(word in (".", "..") for word in prefix.split("/"))):
        raise ValueError("the path of base_url must be plain: URL encoded, without dot segments")
    if not re.fullmatch(r"[A-Za-z0-9._\-]+|[0-9A-Fa-f:.]+", host):
        raise ValueError("base_url is not a URL")
    secure = parts.scheme.lower() == "https"
    usual = 443 if secure else 80
    shown = f"[{host}]" if ":" in host else host
    return secure, host, told or usual, shown if (told or usual) == usual else f"{shown}:{told}", prefix


def _check_time(deadline: float) -> None:
    if deadline <= loop_time():
        raise NeverSent("deadline")
