"""A stand-in for GetRaze: the HTTP side (key, rate limit, routes, envelopes) of what its pages promise.

The manner of speaking is a dialect behind it; see `sandbox_documented` and `sandbox_served`. Nothing here knows
how this project reads or writes the provider's members, so that one mistake cannot hide on both sides.
"""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from adapters.getraze.sandbox_documented import DocumentedDialect
from adapters.getraze.sandbox_served import ServedDialect
from adapters.getraze.sandbox_wire import (
    Answer,
    Call,
    Dialect,
    Operation,
    Query,
    Refusal,
    read_json,
    write_json,
)

_HOUR = 3600
_KEPT_REQUESTS = 1000
_DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "documented": DocumentedDialect,
    "served": ServedDialect,
    "auto": DocumentedDialect,  # a gateway told to find out by itself meets the dialect of the pages
}
_PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "full": ("opportunities:read", "opportunities:write", "opportunities:delete"),
    "readonly": ("opportunities:read",),
}


class SeenRequest(NamedTuple):
    """What a call asked for. Headers and keys are left out on purpose: these lists end up in test reports.

    `path` is as sent, still percent-encoded and with the prefix; `body` is the parsed JSON (numbers with a
    point as Decimal), the text itself when it is not JSON, None when there was none.
    """

    method: str
    path: str
    query: Query
    body: object


class GetRazeSandbox:
    """An ASGI app that answers as GetRaze's reference pages say, or as its server does, over records of its own.

    - `key` may do everything; `key + "_readonly"` may only read; any other key is refused.
    - settings: `dialect` ("documented", "served", "auto"), `sandbox_rate_limit` (calls per key and clock hour, 1000).
      `sandbox_dialect` wins over `dialect`, for a gateway that is to be told one thing and to meet another.
    - `requests` holds the last 1000 calls, `created` the ids made by create, `stray_contacts` what a failed
      create has left behind.
    - `clock` tells the Unix time it goes by; a test may put its own in place.
    """

    prefix: str = "/external/v1"

    def __init__(self, *, key: str, settings: Mapping[str, object]) -> None:
        dialect = settings.get("sandbox_dialect")
        if dialect is None:
            dialect = settings.get("dialect", "documented")
        if not isinstance(dialect, str) or dialect not in _DIALECTS:
            raise ValueError(f"unknown GetRaze dialect {dialect!r}; known are {', '.join(_DIALECTS)}")
        limit = settings.get("sandbox_rate_limit", 1000)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"sandbox_rate_limit must be a whole number from 1, not {limit!r}")
        if not key:
            raise ValueError("a sandbox needs a key to accept")
        self._dialect = _DIALECTS[dialect]()
        self._routes = [
            (compile_path(self.prefix + path)[0], methods) for path, methods in self._dialect.operations().items()
        ]
        self._keys = {"full": key, "readonly": f"{key}_readonly"}
        self._limit = limit
        self._hour = 0
        self._spent: dict[str, int] = {}
        self.clock: Callable[[], float] = time.time
        self.requests: list[SeenRequest] = []

    @property
    def created(self) -> list[str]:
        """The ids of the records made by create, oldest first; a deleted one stays in it."""
        return self._dialect.created

    @property
    def stray_contacts(self) -> list[Mapping[str, object]]:
        """The contacts that a failed create has stored and no record is linked to; served dialect only."""
        return self._dialect.stray_contacts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            raise RuntimeError(f"the GetRaze stand-in speaks HTTP only, not {scope['type']}")
        request = Request(scope, receive)
        try:
            raw = await request.body()
        except ClientDisconnect:
            return
        # From here on nothing is awaited until the answer is ready: one call at a time sees the records.
        self._remember(request, raw)
        who = self._who(request)
        now = self.clock()
        allowance = self._charge(who, now)
        headers: Mapping[str, str] = {}
        try:
            answer = self._answer(request, raw, who, allowance, now)
        except Refusal as refusal:
            answer, headers = Answer(refusal.status, refusal.payload), refusal.headers
        payload = answer.payload
        page = payload if isinstance(payload, str) else None
        response = Response(
            (write_json(payload) if page is None else page).encode(),
            status_code=answer.status,
            media_type="application/json" if page is None else "text/html",
            headers={
                **headers,
                "X-RateLimit-Limit": str(self._limit),
                "X-RateLimit-Remaining": str(max(allowance, 0)),
                "X-RateLimit-Reset": str(_next_hour(now)),
            },
        )
        await response(scope, receive, send)

    def _answer(self, request: Request, raw: bytes, who: str | None, allowance: int, now: float) -> Answer:
        query = _query(request)
        if any(name.lower() == "api_key" for name, _ in query):
            # The provider takes a key here too; this stand-in does not, because addresses end up in logs.
            raise Refusal(400, "INVALID_PARAMETER", "The API key does not belong into the address")
        if _presented(request) is None:
            raise Refusal(401, "MISSING_API_KEY", "API key is required. Include it in the X-API-Key header.")
        if who is None:
            raise Refusal(401, "INVALID_API_KEY", "API key is invalid or has been revoked")
        if allowance < 0:
            raise Refusal(
                429,
                "RATE_LIMIT_EXCEEDED",
                "Rate limit exceeded. Please wait before making more requests.",
                # In the body only: the pages promise no Retry-After header.
                members={"retry_after": max(1, math.ceil(_next_hour(now) - now))},
            )
        operation, id = self._operation(request)
        needed = f"opportunities:{operation.permission}"
        if needed not in _PERMISSIONS[who]:
            raise self._dialect.forbidden(needed, _PERMISSIONS[who])
        body = self._body(request, raw) if operation.takes_body else None
        if raw and not operation.takes_body:
            raise Refusal(400, "VALIDATION_ERROR", f"{request.method} takes no body here")
        return operation.run(Call(id, query, body, self._dialect.stamp(now)))

    def _body(self, request: Request, raw: bytes) -> object:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(400, "VALIDATION_ERROR", "The Content-Type must be application/json")
        try:
            return read_json(raw)
        except ValueError as error:
            raise self._dialect.unreadable() from error

    def _operation(self, request: Request) -> tuple[Operation, str]:
        for pattern, methods in self._routes:
            match = pattern.fullmatch(request.scope["path"])
            if match is None:
                continue
            if request.method not in methods:
                allow = ", ".join(methods)
                message = f"{request.method} is not possible here"
                raise Refusal(405, "METHOD_NOT_ALLOWED", message, headers={"Allow": allow})
            return methods[request.method], match.groupdict().get("id", "")
        raise Refusal(404, "NOT_FOUND", "Route not found")

    def _who(self, request: Request) -> str | None:
        presented = (_presented(request) or "").encode()
        for who, key in self._keys.items():
            if hmac.compare_digest(presented, key.encode()):
                return who
        return None

    def _charge(self, who: str | None, now: float) -> int:
        """How many calls the key has left after this one in this clock hour; below 0 when it had none."""
        hour = int(now // _HOUR)
        if hour != self._hour:
            self._hour, self._spent = hour, {}
        if who is None:
            return self._limit  # a stranger's calls are nobody's to pay
        self._spent[who] = self._spent.get(who, 0) + 1
        return self._limit - self._spent[who]

    def _remember(self, request: Request, raw: bytes) -> None:
        path = request.scope.get("raw_path") or request.scope["path"].encode()
        body: object = None
        if raw:
            try:
                body = read_json(raw)
            except ValueError:
                body = raw.decode("utf-8", "replace")
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        query = tuple((name, "***" if name.lower() == "api_key" else value) for name, value in pairs)
        self.requests.append(SeenRequest(request.method, path.decode("latin-1"), query, body))
        del self.requests[:-_KEPT_REQUESTS]


def _next_hour(now: float) -> int:
    return (int(now // _HOUR) + 1) * _HOUR


def _presented(request: Request) -> str | None:
    """The key that the call carries in a header, if any."""
    key = request.headers.get("x-api-key")
    if key is None:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        key = rest.strip() if scheme.lower() == "bearer" else None
    return key or None


def _query(request: Request) -> Query:
    try:
        text = request.scope["query_string"].decode("ascii")
        return tuple(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except ValueError as error:
        raise Refusal(400, "INVALID_PARAMETER", "The query is not percent-encoded UTF-8") from error
