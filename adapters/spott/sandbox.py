"""A strict stand-in for Spott's opportunities API, to test against without an account.

Written from the provider's page alone and sharing no code with the adapter, so that one mistake cannot hide
in both. Where the page leaves a choice, it takes the narrower reading and refuses the rest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qsl, unquote_plus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters.spott import sandbox_seeds
from adapters.spott.sandbox_seeds import Json, Object, Seed

DEFAULT_LIMIT = 25
MAX_LIMIT = 50
RATE_WINDOW_SECONDS = 60.0
REQUESTS_KEPT = 1000

_LIST_PARAMETERS = frozenset({"limit", "cursor", "modifiedSince", "modifiedUntil"})
# Three digits of fraction or none: the page shows these two forms and no other.
_UTC = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?Z")
_CURSOR_SECRET = b"spott sandbox cursor"
_SEAL_BYTES = 8


class _RefusedError(Exception):
    """Carries a refusal to the place where the envelope is written."""

    def __init__(self, status: int, message: str | list[str], *, coded: bool = False) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.coded = coded


class SpottSandbox:
    """Answers as the provider's page says it does, and refuses what the page does not allow."""

    prefix = ""

    def __init__(self, *, key: str, settings: Mapping[str, object]) -> None:
        """Start with fresh seed data; `sandbox_rate_limit` in the settings is the calls allowed a minute."""
        if not key:
            raise ValueError("the sandbox needs a key that is not empty")
        rate_limit = settings.get("sandbox_rate_limit", 600)
        if isinstance(rate_limit, bool) or not isinstance(rate_limit, int) or rate_limit < 1:
            raise ValueError("sandbox_rate_limit must be a whole number above zero")
        self.requests: list[tuple[str, str, str, bytes]] = []
        # Replaceable, so that a test can let a minute pass without waiting for it.
        self.clock: Callable[[], float] = time.monotonic
        self._key = key
        self._rate_limit = rate_limit
        self._admitted: deque[float] = deque()
        self._answered = 0
        # Rows of these tables are put into records as they are: inner values are replaced, never edited.
        self._stages = {str(row["id"]): row for row in sandbox_seeds.stages()}
        self._users = {str(row["userId"]): row for row in sandbox_seeds.users()}
        self._companies = {str(row["id"]): row for row in sandbox_seeds.companies()}
        self._contacts = {str(row["id"]): row for row in sandbox_seeds.contacts()}
        self._opportunities = {str(seed.record["id"]): seed for seed in sandbox_seeds.seeds()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; only HTTP is offered."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "http":
            request = Request(scope, receive)
            response = self._answer(request, await request.body())
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    def _answer(self, request: Request, body: bytes) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        self._remember(request.method, request.scope["path"], query, body)
        self._answered += 1
        try:
            self._admit(request)
            return self._route(request, query, body)
        except _RefusedError as refused:
            envelope: Object = {}
            message: Json = list(refused.message) if isinstance(refused.message, list) else refused.message
            if refused.coded:
                envelope.update({"statusCode": refused.status, "error": "Bad Request"})
            envelope.update({"message": message, "status": refused.status})
            envelope["requestId"] = f"req_{self._answered:08d}"
            return _json(envelope, refused.status)

    def _remember(self, method: str, path: str, query: str, body: bytes) -> None:
        # A key that was put into the query by mistake must not end up in a test's output.
        pairs = [pair.partition("=") for pair in query.split("&")]
        kept = [f"{name}{sign}{'***' if unquote_plus(value) == self._key else value}" for name, sign, value in pairs]
        self.requests.append((method, path, "&".join(kept), body))
        del self.requests[:-REQUESTS_KEPT]

    def _admit(self, request: Request) -> None:
        given = request.headers.getlist("x-api-key")
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), self._key.encode()):
            raise _RefusedError(403, "Forbidden")
        now = self.clock()
        while self._admitted and now - self._admitted[0] >= RATE_WINDOW_SECONDS:
            self._admitted.popleft()
        if len(self._admitted) >= self._rate_limit:
            raise _RefusedError(429, "Too many requests")
        self._admitted.append(now)

    def _route(self, request: Request, query: str, body: bytes) -> Response:
        match (request.method, request.scope["path"].split("/")[1:]):
            case ("GET", ["opportunities"]):
                return self._list(_parameters(query, _LIST_PARAMETERS))
            case ("GET", ["opportunities", id_]):
                _parameters(query, frozenset())
                return _json(self._find(id_).record)
            case ("PATCH", ["opportunities", id_]):
                _parameters(query, frozenset())
                self._update(self._find(id_), _parse(request, body))
                # The page documents no body for this answer, so a client can count on none.
                return Response(status_code=200)
            case ("GET", ["pipeline", "opportunities", "stages"]):
                _parameters(query, frozenset())
                shown = ("id", "order", "name", "colorHex")
                return _json({"stages": [{key: row[key] for key in shown} for row in self._stages.values()]})
            case ("GET", ["users", "_list"]):
                _parameters(query, frozenset())
                return _json({"users": list(self._users.values())})
            case _:
                raise _RefusedError(404, "Not found")

    def _find(self, id_: str) -> Seed:
        if id_ not in self._opportunities:
            raise _RefusedError(404, "Opportunity not found")
        return self._opportunities[id_]

    def _list(self, given: dict[str, str]) -> Response:
        limit = _limit(given["limit"]) if "limit" in given else DEFAULT_LIMIT
        after = _read_cursor(given["cursor"]) if "cursor" in given else None
        since = _instant_parameter(given, "modifiedSince")
        until = _instant_parameter(given, "modifiedUntil")
        # The id settles the order of records modified at the same instant.
        rows = sorted((seed.modified, id_) for id_, seed in self._opportunities.items())
        rows = [
            row
            for row in rows
            if (since is None or row[0] >= since)
            and (until is None or row[0] <= until)
            and (after is None or row > after)
        ]
        page, more = rows[:limit], len(rows) > limit
        items: list[Json] = []
        for _, id_ in page:
            record = self._opportunities[id_].record
            items.append({member: value for member, value in record.items() if member != "customAttributes"})
        cursor = _write_cursor(*page[-1]) if more else None
        return _json({"items": items, "pageInfo": {"nextCursor": cursor, "hasNextPage": more}})

    def _update(self, seed: Seed, given: Object) -> None:
        """Apply all of the members given, or none of them."""
        faults: list[str] = []
        changes: Object = {}
        for member, value in given.items():
            try:
                changed, inner = self._change(member, value)
                changes[changed] = inner
            except _RefusedError as refused:
                faults.append(str(refused.message))
        if len(faults) == 1:
            raise _RefusedError(400, faults[0], coded=True)
        if faults:
            raise _RefusedError(400, faults)
        for member, inner in changes.items():
            wrapper = seed.record[member]
            assert isinstance(wrapper, dict)
            if member == "clientTeam" and "viewType" not in wrapper and isinstance(inner, list):
                inner = sandbox_seeds.without_purposes(inner)
            # A record keeps the page generation it was seeded in: no viewType appears where none was.
            wrapper[member] = inner
        seed.modified = self._next_modification()

    def _next_modification(self) -> datetime:
        # Always later than anything stored, so that two changes in one millisecond keep their order.
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        latest = max(seed.modified for seed in self._opportunities.values())
        return max(now, latest + timedelta(milliseconds=1))

    def _change(self, member: str, value: Json) -> tuple[str, Json]:
        """The member of the record that a member of the body changes, and its new inner value."""
        match member:
            case "name":
                return "name", _filled(value, "NAME")
            case "description":
                if value is not None and not isinstance(value, str):
                    raise _RefusedError(400, "DESCRIPTION_INVALID")
                return "description", value
            case "companyId":
                return "company", _known(self._companies, value, "COMPANY")
            case "stageId":
                return "stage", sandbox_seeds.stage_of(_known(self._stages, value, "STAGE"))
            case "ownerId":
                if value is None:
                    return "owner", None
                return "owner", sandbox_seeds.owner_of(_known(self._users, value, "OWNER"))
            case "closeDate":
                return "closeDate", _close_date(value)
            case "clientTeam":
                return "clientTeam", self._team(value)
            case _:
                raise _RefusedError(400, "UNKNOWN_MEMBER")

    def _team(self, value: Json) -> Json:
        if not isinstance(value, list):
            raise _RefusedError(400, "CLIENT_TEAM_INVALID")
        team: dict[str, Json] = {}
        for entry in value:
            if not isinstance(entry, dict) or set(entry) != {"id"}:
                raise _RefusedError(400, "CLIENT_TEAM_INVALID")
            contact = _known(self._contacts, entry["id"], "CLIENT_CONTACT")
            id_ = str(contact["id"])
            if id_ in team:
                raise _RefusedError(400, "CLIENT_CONTACT_TWICE")
            team[id_] = contact
        return list(team.values())


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _filled(value: Json, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _RefusedError(400, f"{what}_INVALID")
    return value


def _known(table: Mapping[str, Object], value: Json, what: str) -> Object:
    id_ = _filled(value, f"{what}_ID")
    if id_ not in table:
        raise _RefusedError(400, f"{what}_NOT_FOUND")
    return table[id_]


def _close_date(value: Json) -> Json:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"target"}:
        raise _RefusedError(400, "CLOSE_DATE_INVALID")
    target = value["target"]
    if not isinstance(target, str) or _utc(target) is None:
        raise _RefusedError(400, "CLOSE_DATE_INVALID")
    return {"target": target}


def _utc(text: str) -> datetime | None:
    """The instant written as UTC with a literal Z, or None for every other spelling."""
    if _UTC.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the spelling of a date that no calendar has
        return None


def _parameters(query: str, allowed: frozenset[str]) -> dict[str, str]:
    """The query's parameters, each allowed, given once, and neither empty nor an explicit null."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            raise _RefusedError(400, "A query parameter is not known")
        if value in ("", "null"):
            raise _RefusedError(400, f"{name} must not be empty")
        if name in found:
            raise _RefusedError(400, f"{name} must be given once")
        found[name] = value
    return found


def _limit(text: str) -> int:
    if re.fullmatch(r"[1-9][0-9]?", text) is None or int(text) > MAX_LIMIT:
        raise _RefusedError(400, f"limit must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _instant_parameter(given: dict[str, str], name: str) -> datetime | None:
    if name not in given:
        return None
    instant = _utc(given[name])
    if instant is None:
        raise _RefusedError(400, f"{name} must be a UTC datetime")
    return instant


def _write_cursor(modified: datetime, id_: str) -> str:
    place = f"{modified.isoformat()}|{id_}".encode()
    return base64.b64encode(_seal(place) + place).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        raw = base64.b64decode(cursor, validate=True)
    except (binascii.Error, ValueError):
        raise _RefusedError(400, "INVALID_CURSOR", coded=True) from None
    place = raw[_SEAL_BYTES:]
    # The second test: Base64 has several spellings of some bytes, and only the one handed out counts.
    if not hmac.compare_digest(raw[:_SEAL_BYTES], _seal(place)) or base64.b64encode(raw).decode() != cursor:
        raise _RefusedError(400, "INVALID_CURSOR", coded=True)
    modified, _, id_ = place.decode().partition("|")
    return datetime.fromisoformat(modified), id_


def _seal(place: bytes) -> bytes:
    return hmac.digest(_CURSOR_SECRET, place, hashlib.sha256)[:_SEAL_BYTES]


def _parse(request: Request, body: bytes) -> Object:
    """The body as an object that is not empty, from strict JSON in UTF-8."""
    content_types = request.headers.getlist("content-type")
    if len(content_types) != 1 or not _is_json(content_types[0]):
        raise _RefusedError(400, "Content-Type must be application/json")
    try:
        text = body.decode("utf-8")
        # Numbers may come as floats here: no member takes a number, so none reaches an answer.
        given: Json = json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse_constant)
        # A lone surrogate passes json.loads, yet no answer could carry it.
        json.dumps(given, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise _RefusedError(400, "Body is not valid JSON") from None
    if not isinstance(given, dict):
        raise _RefusedError(400, "Body must be an object")
    if not given:
        raise _RefusedError(400, "Body must not be empty")
    return given


def _is_json(content_type: str) -> bool:
    kind, *parameters = [part.strip().lower() for part in content_type.split(";")]
    return kind == "application/json" and parameters in ([], ["charset=utf-8"])


def _pairs(pairs: list[tuple[str, Json]]) -> Object:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError(400, "DUPLICATE_KEY", coded=True)
    return found


def _refuse_constant(_: str) -> Json:
    raise ValueError("NaN and Infinity are not JSON")


def _json(value: Json, status: int = 200) -> Response:
    return Response(_write(value).encode("utf-8"), status, media_type="application/json")


def _write(value: Json) -> str:
    """JSON text of the value, with the digits of a Decimal exactly as they are: json.dumps takes none."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write(key)}:{_write(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(inner) for inner in value) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(value, ensure_ascii=False)
