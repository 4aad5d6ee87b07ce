"""What a request says: headers, query and body, read strictly. Each doubt is a `Problem` that names its place."""

import asyncio
import functools
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from gateway import tracing
from gateway.errors import FieldError, Problem
from gateway.strict_json import Json, NotJson, is_crowded, loads

T = TypeVar("T")
_UNREAD: Any = object()

REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}\Z", re.ASCII)
BODY_SECONDS = 9.0
"""How long a body may take to arrive."""
BODY_VALUES = 10_000
"""So many values a body may hold: each is to be checked, planned and told of, while no other request has its turn."""

TIMEOUT = re.compile(r"(?=[0-9.]*[1-9])[0-9]{1,6}(\.[0-9]{1,6})?\Z", re.ASCII)
"""Seconds above 0."""
_HANDLING = re.compile(r'\s*handling\s*=\s*"?(strict|lenient)"?\s*(?:;.*)?\Z', re.IGNORECASE)
_PREFERENCES = re.compile(r'(?:[^,"]|"(?:\\.|[^"\\])*+(?:"|\\?\Z))++')
"""A list's members; a comma within quotes separates nothing, also where they are not closed. Nothing is looked at twice."""
_ID = re.compile(rb"(?!\Z)[A-Za-z0-9._~:-]*(?:%3[Aa][A-Za-z0-9._~:-]*)*\Z")
BODY_TYPES = {"POST": ("application/json",), "PATCH": ("application/merge-patch+json", "application/json")}
"""The media types that a body is taken in."""


class Headers:
    """A request's headers by lower-case name; a header sent twice is told apart from one sent once."""

    __slots__ = ("_all", "_last", "_repeated", "read")

    def __init__(self, sent: list[tuple[bytes, bytes]]) -> None:
        self._all = sent
        self._last: dict[bytes, bytes] = dict(sent)
        self._repeated = len(self._last) < len(sent)
        self.read: dict[Any, Any] = {}
        """What has been read in them, by who reads: they may be the headers of many requests (see `once`)."""

    def one(self, name: str) -> str | None:
        """The header's value, None without one. Raises `Problem` when it is sent more than once."""
        value = self._last.get(name.encode())
        if value is None:
            return None
        if self._repeated and len(self.every(name)) > 1:
            raise bad_header(name, "sent more than once")
        return value.decode("latin-1").strip()

    def every(self, name: str) -> Sequence[str]:
        """All values of a header, as sent."""
        wanted = name.encode()
        if wanted not in self._last:
            return ()
        return [value.decode("latin-1") for sent, value in self._all if sent == wanted]


def once(read: Callable[[Headers], T]) -> Callable[[Headers], T]:
    """A reader that reads the same headers once, however many requests came with them. What it raises it raises again."""

    @functools.wraps(read)
    def known(headers: Headers) -> T:
        found: T = headers.read.get(read, _UNREAD)
        if found is _UNREAD:
            found = headers.read[read] = read(headers)
        return found

    return known


def bad_header(name: str, message: str) -> Problem:
    """The problem of one header."""
    return Problem(
        "invalid-request", f"The header {name} cannot be taken: {message}.", errors=[FieldError(name, message)]
    )


class Said(msgspec.Struct, frozen=True):
    """What the headers say that is passed over where it is not understood, and refuses no request."""

    request_id: str | None
    """`X-Request-Id`, where it is one plain word."""
    trace: tracing.Trace | None
    strict: bool
    """Whether `Prefer: handling=strict` is asked for; other preferences are passed over, as RFC 7240 has it."""
    cache: Literal["", "no-cache", "no-store"]
    """What `Cache-Control` asks of a read; `max-age=0` is `no-cache`, too."""
    is_default: bool
    """Whether neither `X-CRM-Connection` nor `X-Request-Timeout` is among them."""


@once
def said(headers: Headers) -> Said:
    """All of it."""
    own = headers.every("x-request-id")
    return Said(
        own[0] if len(own) == 1 and REQUEST_ID.match(own[0]) else None,
        tracing.read(headers.every(tracing.HEADER)),
        _wants_strict(headers),
        _cache_wish(headers),
        not headers.every("x-crm-connection") and not headers.every("x-request-timeout"),
    )


def new_request_id() -> str:
    """The id of a request whose caller has not given it one."""
    return random.getrandbits(128).to_bytes(16, "big").hex()


@once
def connection_wish(headers: Headers) -> str | None:
    """The connection that `X-CRM-Connection` names."""
    return headers.one("x-crm-connection")


def caller_key(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer` or `X-API-Key`; None without one."""
    authorization = headers.one("authorization")
    key = headers.one("x-api-key")
    if authorization is None:
        return key
    scheme, _, bearer = authorization.partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise Problem("unauthenticated", "The Authorization header must be `Bearer <key>`.")
    if key is not None and key != bearer.strip():
        raise bad_header("x-api-key", "it differs from the key in Authorization; send one of them")
    return bearer.strip()


def _wants_strict(headers: Headers) -> bool:
    for value in headers.every("prefer"):
        for preference in _PREFERENCES.findall(value):
            match = _HANDLING.match(preference)
            if match:
                return match.group(1).lower() == "strict"
    return False


def _cache_wish(headers: Headers) -> Literal["", "no-cache", "no-store"]:
    told = headers.every("cache-control")
    if not told:
        return ""
    words = {word.strip().lower() for value in told for word in value.split(",")}
    if "no-store" in words:
        return "no-store"
    return "no-cache" if words & {"no-cache", "max-age=0"} else ""


def timeout(headers: Headers, most: float) -> float:
    """Seconds that this request may take: `X-Request-Timeout`, never above `most`."""
    own = _own_timeout(headers)
    return most if own is None else min(own, most)


@once
def _own_timeout(headers: Headers) -> float | None:
    value = headers.one("x-request-timeout")
    if value is None:
        return None
    if not TIMEOUT.match(value):
        raise bad_header("x-request-timeout", "expected seconds above 0, such as 2.5")
    return float(value)


def query(scope: Scope, allowed: Iterable[str]) -> dict[str, str]:
    """The query's parameters. Raises `Problem` naming each that is unknown, repeated, or not UTF-8."""
    if not scope["query_string"]:
        return {}
    known = tuple(allowed)
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64
        )
    except (ValueError, UnicodeDecodeError):
        raise Problem("invalid-request", "The query is not UTF-8, percent-encoded, of at most 64 parameters.") from None
    found: dict[str, str] = {}
    errors = []
    for name, value in pairs:
        if name not in known:
            errors.append(FieldError(name[:60], f"unknown; parameters here are: {', '.join(known) or 'none'}"))
        elif name in found:
            errors.append(FieldError(name, "sent more than once"))
        found[name] = value
    if errors:
        raise bad_query(errors)
    return found


def paging(parameters: Mapping[str, str], usual: int, most: int) -> tuple[int, str | None, list[FieldError]]:
    """(`limit`, `cursor`, what is wrong with them) of a page."""
    limit, cursor, errors = parameters.get("limit", str(usual)), parameters.get("cursor"), []
    if not (limit.isascii() and limit.isdigit() and len(limit) <= len(str(most)) and 1 <= int(limit) <= most):
        errors.append(FieldError("limit", f"expected a whole number from 1 to {most}"))
        limit = "1"
    if cursor == "":
        errors.append(FieldError("cursor", "expected a `page.next_cursor`; leave it out for the first page"))
    return int(limit), cursor, errors


def bad_query(errors: Sequence[FieldError]) -> Problem:
    """The problem of several query parameters."""
    return Problem("invalid-request", "The query has parameters that cannot be taken: see `errors`.", errors=errors)


def bad_parameter(name: str, message: str) -> Problem:
    """The problem of one query parameter."""
    return Problem(
        "invalid-request", f"The parameter {name} cannot be taken: {message}.", errors=[FieldError(name, message)]
    )


def flag(parameters: dict[str, str], name: str) -> bool:
    """A parameter that is `true` or `false`, false without it."""
    value = parameters.get(name, "false")
    if value not in ("true", "false"):
        raise bad_parameter(name, "expected true or false")
    return value == "true"


def raw_id(scope: Scope) -> str:
    """The id in the path as it was sent: unreserved characters and `:` (or `%3A`), nothing else percent-encoded."""
    segment: bytes = scope["raw_path"].rsplit(b"/", 1)[1]
    if not _ID.match(segment):
        raise Problem(
            "invalid-request", "The id is malformed.",
            errors=[FieldError("id", "expected <connection>:<native id> or a native id, of A-Z a-z 0-9 . _ ~ -")],
        )  # fmt: skip
    if segment.find(b"%") >= 0:  # not `in`, which first takes it for a number, and fails
        segment = segment.replace(b"%3A", b":").replace(b"%3a", b":")
    return segment.decode("ascii")


async def json_body(scope: Scope, receive: Receive, headers: Headers, most: int) -> Json:
    """The body as strict JSON, of at most `most` bytes, also when it comes in chunks without a length."""
    content_type = headers.one("content-type")
    types = BODY_TYPES[scope["method"]]
    kind, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() not in types or charset not in ("", "charset=utf-8"):
        raise Problem("unsupported-media-type", f"The body must be {' or '.join(types)}, in UTF-8.")
    if (headers.one("content-encoding") or "identity").lower() != "identity":
        raise Problem("unsupported-media-type", "The body must not be compressed.")
    length = headers.one("content-length")
    if length is not None and length.isdigit() and int(length) > most:
        raise too_large(most)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    raise too_large(most)
                chunks.append(chunk)
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise Problem("request-timeout", f"The body did not arrive within {BODY_SECONDS:.0f} seconds.") from None
    body = b"".join(chunks)
    try:
        value = loads(body)
    except NotJson as error:
        raise Problem("invalid-request", f"The body is not strict JSON in UTF-8: {error}.") from None
    if is_crowded(body, BODY_VALUES):
        raise Problem("too-large", f"The body holds more than {BODY_VALUES} values.")
    return value


def too_large(most: int) -> Problem:
    """The problem of a body over the limit."""
    return Problem("too-large", f"The body is larger than {most} bytes.")
