"""A strict stand-in for Close's opportunities, to test against without an account.

Written from the vendor's pages and sharing no code with the adapter. Where the pages leave a choice it takes the narrower
reading and refuses the rest.
"""

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Object: TypeAlias = dict[str, Any]

_MAX_LIMIT = 200
_SEEDS = 23
_START = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
_PIPELINE = {"pipeline_id": "pipe_1", "pipeline_name": "Sales"}
_STATUSES: Mapping[str, tuple[str, str]] = {
    "stat_lead": ("New", "active"),
    "stat_demo": ("Demo Completed", "active"),
    "stat_won": ("Won", "won"),
    "stat_lost": ("Lost", "lost"),
}
_USERS = {"user_ada": "Ada Lovelace", "user_bo": "Bo Díaz"}
_CONTACTS = {"cont_bruce": "Bruce Wayne", "cont_gob": "Gob Bluth"}
_CURRENCIES = ("USD", "EUR", "BRL", "JPY")
_PERIODS = ("one_time", "monthly", "annual")


class _RefusedError(Exception):
    def __init__(self, status: int, body: Object) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def _fault(member: str, what: str) -> _RefusedError:
    return _RefusedError(400, {"errors": [], "field-errors": {member: what}})


class CloseSandbox:
    """Answers below `/api/v1` over 23 opportunities; `key` is the one user name that is let in."""

    prefix = "/api/v1"

    def __init__(self, *, key: str, settings: Mapping[str, object]) -> None:
        if not key:
            raise ValueError("the sandbox needs a key that is not empty")
        self._credential = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        self._leads = {"lead_wayne": "Wayne Enterprises (Example Lead)", "lead_bluth": "Bluth Company (Example Lead)"}
        self._rows: dict[str, Object] = {}
        self._made = 0
        for number in range(_SEEDS):
            self._seed(number)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        request = Request(scope, receive)
        raw = await request.body()
        try:
            if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._credential.encode()):
                raise _RefusedError(401, {"error": "The API key is not valid."})
            body = self._route(request, raw)
            response = _json(body, 200)
        except _RefusedError as refused:
            response = _json(refused.body, refused.status)
        response.headers["RateLimit"] = "limit=100, remaining=99, reset=1"
        await response(scope, receive, send)

    def _route(self, request: Request, raw: bytes) -> Object:
        if request.url.query:
            raise _RefusedError(400, {"error": "Unknown query parameter."})
        match (request.method, request.scope["path"].removeprefix(self.prefix).split("/")[1:]):
            case ("POST", ["data", "search", ""]):
                return self._search(_object(request, raw))
            case ("POST", ["opportunity", ""]):
                return self._shown(self._create(_object(request, raw)))
            case ("GET", ["opportunity", id_, ""]):
                return self._shown(self._find(id_))
            case ("PUT", ["opportunity", id_, ""]):
                row = self._find(id_)
                self._write(row, _object(request, raw), {})
                return self._shown(row)
            case ("DELETE", ["opportunity", id_, ""]):
                self._find(id_)
                del self._rows[id_]
                return {}
            case ("GET", ["status", "opportunity", ""]):
                statuses = [
                    {"id": id_, "label": label, "type": kind, "pipeline_id": _PIPELINE["pipeline_id"]}
                    for id_, (label, kind) in _STATUSES.items()
                ]
                return {"data": statuses, "has_more": False}
            case _:
                raise _RefusedError(404, {"error": "Not found."})

    def _find(self, id_: str) -> Object:
        if id_ not in self._rows:
            raise _RefusedError(404, {"error": "Empty query: Opportunity does not exist."})
        return self._rows[id_]

    # --- records

    def _new(self, created: datetime) -> Object:
        self._made += 1
        id_ = f"oppo_{self._made:04d}"
        self._rows[id_] = {
            "id": id_, "organization_id": "orga_1", "lead_id": None, "contact_id": None, "user_id": "user_ada",
            "status_id": "stat_lead", "note": "", "value": None, "value_currency": "USD", "value_period": "one_time",
            "confidence": 50, "date_won": None, "date_lost": None, "date_created": _time(created),
            "date_updated": _time(created), "created_by": "user_ada", "updated_by": "user_ada", "attachments": [],
        }  # fmt: skip
        return self._rows[id_]

    def _seed(self, number: int) -> None:
        row = self._new(_START + timedelta(days=number, microseconds=number * 1000))
        row["note"] = "" if number == 4 else f"Opportunity {number}: needs new software for the Bat Cave."
        row["lead_id"] = ("lead_wayne", "lead_bluth")[number % 2]
        row["contact_id"] = ("cont_bruce", "cont_gob", None)[number % 3]
        row["user_id"] = ("user_ada", "user_bo", None)[number % 3]
        row["status_id"] = tuple(_STATUSES)[number % 4]
        row["value"] = (50000, 1, None, 12345678901234567, 99)[number % 5]
        row["value_currency"] = _CURRENCIES[number % 4]
        row["confidence"] = number * 4
        row["date_won"] = f"2024-03-{number + 1:02d}" if number % 2 else None
        if row["status_id"] == "stat_lost":
            row["date_lost"] = row["date_updated"]
        if number == 7:
            row["custom.cf_region"] = ["North", "South"]

    def _shown(self, row: Object) -> Object:
        label, kind = _STATUSES[row["status_id"]]
        value = row["value"]
        shown = {
            **row, **_PIPELINE, "status_label": label, "status_type": kind, "status_display_name": label,
            "lead_name": self._leads[row["lead_id"]], "user_name": _USERS.get(row["user_id"]),
            "contact_name": _CONTACTS.get(row["contact_id"]), "created_by_name": _USERS[row["created_by"]],
            "updated_by_name": _USERS[row["updated_by"]], "integration_links": [],
            "value_formatted": None if value is None else f"{row['value_currency']} {value // 100:,}",
            "expected_value": None if value is None else value * row["confidence"] // 100,
        }  # fmt: skip
        return dict(sorted(shown.items()))

    def _create(self, given: Object) -> Object:
        own: dict[str, Callable[[Any], bool]] = {"lead_id": lambda value: value in self._leads}
        self._checked(given, own)  # before anything is made
        lead = given.get("lead_id")
        if lead is None:
            lead = f"lead_{len(self._leads) + 1}"
            self._leads[lead] = "Untitled"
        row = self._new(self._now())
        row["lead_id"] = lead
        self._write(row, given, own)
        return row

    def _write(self, row: Object, given: Object, own: Mapping[str, Callable[[Any], bool]]) -> None:
        self._checked(given, own)
        row.update(given)
        kind = _STATUSES[row["status_id"]][1]
        now = self._now()
        if "status_id" in given and kind == "won" and row["date_won"] is None:
            row["date_won"] = now.date().isoformat()
        if "status_id" in given and kind == "lost":
            row["date_lost"] = _time(now)
        row["date_updated"] = _time(now)

    def _checked(self, given: Object, own: Mapping[str, Callable[[Any], bool]]) -> None:
        rules = {**_RULES, **own}
        for member, value in given.items():
            if member not in rules:
                raise _fault(member, "This field is not allowed.")
            if not rules[member](value):
                raise _fault(member, "This value is not valid.")

    def _now(self) -> datetime:
        """Later than anything stored, so that every change is seen."""
        latest = max((row["date_updated"] for row in self._rows.values()), default=_time(_START))
        return max(datetime.now(UTC), datetime.fromisoformat(latest) + timedelta(milliseconds=1))

    # --- search

    def _search(self, given: Object) -> Object:
        unknown = set(given) - {"query", "_fields", "_limit", "cursor", "sort"}
        if unknown:
            raise _fault(min(unknown), "This field is not allowed.")
        limit = given.get("_limit", 100)
        if type(limit) is not int or not 1 <= limit <= _MAX_LIMIT:
            raise _fault("_limit", f"Must be a whole number from 1 to {_MAX_LIMIT}.")
        rows = [row for row in map(self._shown, self._rows.values()) if _fits(row, given.get("query"))]
        _sort(rows, given.get("sort", []))
        start = 0
        if "cursor" in given:
            cursor = given["cursor"]
            known = cursor if isinstance(cursor, str) else ""
            place = [number for number, row in enumerate(rows) if _cursor_after(row) == known]
            if not place:
                raise _fault("cursor", "The cursor is not valid or has expired.")
            start = place[0] + 1
        page = rows[start : start + limit]
        more = start + limit < len(rows)
        fields = given.get("_fields", {})
        names = fields.get("opportunity", ["id"]) if isinstance(fields, dict) else None
        if not isinstance(names, list) or any(name not in _TELLABLE for name in names):
            raise _fault("_fields", "A field is not known.")
        data = [{"__object_type": "opportunity", **{name: row[name] for name in names}} for row in page]
        return {"data": data, "cursor": _cursor_after(page[-1]) if more else None}


_TELLABLE = frozenset((
    "id", "note", "status_id", "status_label", "status_type", "pipeline_id", "pipeline_name", "value", "value_currency",
    "value_period", "value_formatted", "confidence", "lead_id", "lead_name", "user_id", "user_name", "contact_id",
    "contact_name", "date_won", "date_lost", "date_created", "date_updated", "expected_value", "organization_id",
))  # fmt: skip
_SORTABLE = ("date_created", "date_updated", "date_won", "confidence", "value")
_REFERENCES = {"status_id": "status.opportunity", "user_id": "user", "lead_id": "lead"}


def _whole(value: Any) -> bool:
    return type(value) is int


def _day(value: Any) -> bool:
    try:
        return value is None or (isinstance(value, str) and len(value) == 10 and bool(date.fromisoformat(value)))
    except ValueError:
        return False


_RULES: Mapping[str, Callable[[Any], bool]] = {
    "note": lambda value: isinstance(value, str),
    "value": lambda value: value is None or _whole(value),
    "value_currency": lambda value: value in _CURRENCIES,
    "value_period": lambda value: value in _PERIODS,
    "confidence": lambda value: _whole(value) and 0 <= value <= 100,
    "status_id": lambda value: isinstance(value, str) and value in _STATUSES,
    "user_id": lambda value: value is None or (isinstance(value, str) and value in _USERS),
    "contact_id": lambda value: value is None or (isinstance(value, str) and value in _CONTACTS),
    "date_won": _day,
}


def _time(value: datetime) -> str:
    return value.isoformat(timespec="microseconds")


def _cursor_after(row: Object) -> str:
    return base64.urlsafe_b64encode(f"after {row['id']}".encode()).decode()


def _fits(row: Object, query: Any) -> bool:
    match query:
        case {"type": "and", "queries": list(parts)} if len(query) == 2 and parts:
            return all([_fits(row, part) for part in parts])  # a list: every part is to be looked at
        case {"type": "object_type", "object_type": "opportunity"} if len(query) == 2:
            return True
        case {"type": "field_condition", "field": field, "condition": condition} if len(query) == 3:
            name = _field(field)
            match condition:
                case {"type": "term", "values": [str(), *_] as values} if name == "status_type":
                    return row[name] in values
                case {"type": "reference", "reference_type": kind, "object_ids": [str(), *_] as ids}:
                    if _REFERENCES.get(name) == kind:
                        return row[name] in ids
    raise _fault("query", "The query is not valid.")


def _field(field: Any) -> str:
    match field:
        case {"type": "regular_field", "object_type": "opportunity", "field_name": str(name)} if len(field) == 3:
            return name
    raise _fault("query", "The field is not valid.")


def _sort(rows: list[Object], sort: Any) -> None:
    rows.sort(key=lambda row: str(row["id"]))
    for one in reversed(sort if isinstance(sort, list) else [None]):
        match one:
            case {"direction": "asc" | "desc" as direction, "field": field} if len(one) == 2:
                name = _field(field)
                if name not in _SORTABLE:
                    raise _fault("sort", "The field cannot be sorted by.")
                rows.sort(key=lambda row: (row[name] is not None, row[name]), reverse=direction == "desc")
            case _:
                raise _fault("sort", "The sort is not valid.")


def _object(request: Request, raw: bytes) -> Object:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _RefusedError(415, {"error": "The Content-Type must be application/json."})
    try:
        given = json.loads(raw)
    except ValueError:
        raise _RefusedError(400, {"error": "The body is not valid JSON."}) from None
    if not isinstance(given, dict):
        raise _RefusedError(400, {"error": "The body must be an object."})
    return given


def _json(body: Object, status: int) -> Response:
    return Response(json.dumps(body, ensure_ascii=False).encode(), status, media_type="application/json")
