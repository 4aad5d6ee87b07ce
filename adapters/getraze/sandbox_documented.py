"""The documented dialect: everything the provider's reference pages say, and nothing more.

Written from those pages alone, and strict: what a page does not name (a member, a parameter, a word of an
enumeration) is refused, so that a caller who relies on it is found out here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from adapters.getraze.sandbox_seeds import CAMPAIGNS, SOURCES, STATUSES, USERS, Opportunity, seeds
from adapters.getraze.sandbox_wire import Answer, Call, Dialect, Operation, Query, Refusal

_UPDATABLE = (
    "name", "email", "phone", "company", "position", "deal_value", "deal_currency", "notes",
    "responsible_user_id",
)  # fmt: skip
_CREATABLE = (*_UPDATABLE, "status", "source", "linkedin_url")

_IN_RECORD = (
    "id", "name", "email", "phone", "company", "position", "status", "source", "deal_value", "deal_currency",
    "linkedin_url", "notes",
)  # fmt: skip
_IN_ITEM = (
    "id", "name", "email", "phone", "company", "position", "status", "source", "deal_value", "deal_currency",
    "campaign_id", "responsible_user_id", "created_at", "updated_at",
)  # fmt: skip
_IN_CREATED = (
    "id", "name", "email", "company", "position", "status", "source", "deal_value", "deal_currency", "notes",
    "created_at",
)  # fmt: skip
_IN_UPDATED = (
    "id", "name", "email", "company", "status", "deal_value", "deal_currency", "notes", "updated_at",
)  # fmt: skip
_IN_MOVED = ("id", "name", "status", "updated_at")
# Not in the samples, whose requests do not send them either: told when the call set them.
_TOLD_IF_SENT = ("phone", "position", "linkedin_url")

_PARAMETERS = (
    "page", "limit", "search", "status", "source", "campaign_id", "responsible_user_id", "sort_by",
    "sort_order",
)  # fmt: skip
_SORTABLE = ("created_at", "updated_at", "name", "deal_value")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_LONGEST_AMOUNT = 100  # digits on either side of the point: 1e999999999 is nine letters and a gigabyte


class DocumentedDialect(Dialect):
    """The seven documented calls over records of its own."""

    def __init__(self) -> None:
        self.created: list[str] = []
        self._records = {record.id: record for record in seeds()}

    def operations(self) -> Mapping[str, Mapping[str, Operation]]:
        """The operations by path and method."""
        return {
            "/opportunities": {
                "GET": Operation("read", False, self._list),
                "POST": Operation("write", True, self._create),
            },
            "/opportunities/{id}": {
                "GET": Operation("read", False, self._get),
                "PUT": Operation("write", True, self._update),
                "DELETE": Operation("delete", False, self._delete),
            },
            "/opportunities/{id}/stage": {"PATCH": Operation("write", True, self._move)},
        }

    def _list(self, call: Call) -> Answer:
        given = _parameters(call.query)
        page = _whole(given, "page", 1, 999_999_999)
        limit = _whole(given, "limit", 20, 100)
        sort_by = _word(given, "sort_by", _SORTABLE, "INVALID_PARAMETER") or "created_at"
        order = _word(given, "sort_order", ("asc", "desc"), "INVALID_PARAMETER") or "desc"
        wanted = {
            "status": _word(given, "status", STATUSES, "INVALID_STATUS"),
            "source": _word(given, "source", SOURCES, "INVALID_SOURCE"),
            "campaign_id": given.get("campaign_id"),
            "responsible_user_id": given.get("responsible_user_id"),
        }
        search = given.get("search", "").casefold()
        found = [
            record
            for record in self._records.values()
            if all(value in (None, getattr(record, name)) for name, value in wanted.items())
            and any(search in (text or "").casefold() for text in (record.name, record.email, record.company))
        ]
        start = (page - 1) * limit
        items = _sorted(found, sort_by, order == "desc")[start : start + limit]
        total = len(found)
        pagination = {"page": page, "limit": limit, "total": total, "total_pages": -(-total // limit)}
        told = [_told(item, _IN_ITEM) for item in items]
        return _success({"opportunities": told, "pagination": pagination})

    def _get(self, call: Call) -> Answer:
        _parameters(call.query, ())
        return _success(_full(self._found(call.id)))

    def _create(self, call: Call) -> Answer:
        _parameters(call.query, ())
        sent = _checked(call.body, _CREATABLE, required=("name",))
        fresh = Opportunity(id=self._new_id(), created_at=call.now, updated_at=call.now, **sent)
        record = replace(fresh, **_closing(fresh.status, call.now))
        self._records[record.id] = record
        self.created.append(record.id)
        return _success(_told(record, _IN_CREATED, sent), status=201)

    def _update(self, call: Call) -> Answer:
        _parameters(call.query, ())
        record = self._found(call.id)
        sent = _checked(call.body, _UPDATABLE)
        if sent:
            record = replace(record, **sent, updated_at=call.now)
        self._records[record.id] = record
        return _success(_told(record, _IN_UPDATED, sent))

    def _move(self, call: Call) -> Answer:
        _parameters(call.query, ())
        record = self._found(call.id)
        if call.body == {}:
            # This page has no code for a member that is missing; the error page has one.
            raise _bad("MISSING_REQUIRED_FIELD", "status", "Status is required")
        status = _checked(call.body, ("status",), required=("status",))["status"]
        record = replace(record, status=status, updated_at=call.now, **_closing(status, call.now))
        self._records[record.id] = record
        closed = {"won": ("won_at",), "lost": ("lost_at",)}.get(status, ())
        return _success(_told(record, (*_IN_MOVED, *closed)))

    def _delete(self, call: Call) -> Answer:
        _parameters(call.query, ())
        del self._records[self._found(call.id).id]
        return Answer(200, {"success": True, "message": "Opportunity deleted successfully"})

    def _found(self, id: str) -> Opportunity:
        record = self._records.get(id)
        if record is None:
            raise Refusal(404, "NOT_FOUND", "Opportunity not found")
        return record

    def _new_id(self) -> str:
        while (id := "opp_" + secrets.token_hex(6)) in self._records:
            pass
        return id


# What is told of a record.


def _success(data: Mapping[str, object], status: int = 200) -> Answer:
    return Answer(status, {"success": True, "data": data})


def _full(record: Opportunity) -> dict[str, object]:
    return {
        **_told(record, _IN_RECORD),
        "campaign": _reference(record.campaign_id, CAMPAIGNS),
        "responsible_user": _reference(record.responsible_user_id, USERS),
        **_told(record, ("won_at", "lost_at", "created_at", "updated_at")),
    }


def _reference(id: str | None, names: Mapping[str, str]) -> dict[str, str] | None:
    return None if id is None else {"id": id, "name": names[id]}


def _told(record: Opportunity, names: Iterable[str], sent: Iterable[str] = ()) -> dict[str, object]:
    extra = [name for name in sent if name in _TOLD_IF_SENT]
    return {name: getattr(record, name) for name in (*names, *extra)}


def _closing(status: str, now: str) -> dict[str, Any]:
    return {"won_at": now if status == "won" else None, "lost_at": now if status == "lost" else None}


def _sorted(records: list[Opportunity], by: str, descending: bool) -> list[Opportunity]:
    def key(record: Opportunity) -> Any:
        value = getattr(record, by)
        return value.casefold() if by == "name" else value

    known = [record for record in records if getattr(record, by) is not None]
    unknown = [record for record in records if getattr(record, by) is None]
    if descending:
        # Times have whole seconds: of two records made in the same one, the later made comes first.
        known.reverse()
        unknown.reverse()
    return sorted(known, key=key, reverse=descending) + unknown


# What a caller may send.


def _parameters(query: Query, allowed: Iterable[str] = _PARAMETERS) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in query:
        if name not in allowed:
            raise _bad("INVALID_PARAMETER", name, "Unknown query parameter")
        if name in given:
            raise _bad("INVALID_PARAMETER", name, "Query parameter given twice")
        if value in ("", "null"):
            raise _bad("INVALID_PARAMETER", name, "Query parameter without a value")
        given[name] = value
    return given


def _whole(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name, str(default))
    # isdecimal alone would let other scripts' digits through.
    value = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    if not 1 <= value <= most:
        raise _bad("INVALID_PARAMETER", name, f"Must be a whole number from 1 to {most}")
    return value


def _word(given: Mapping[str, str], name: str, words: tuple[str, ...], code: str) -> str | None:
    value = given.get(name)
    if value is not None and value not in words:
        raise _bad(code, name, f"Must be one of: {', '.join(words)}")
    return value


def _bad(code: str, name: str, text: str) -> Refusal:
    return Refusal(400, code, text, fields={name: text})


@dataclass(frozen=True, slots=True)
class _Member:
    """How a value is judged: `problem` gives the text of what is wrong with it, or None."""

    problem: Callable[[object], str | None]
    nullable: bool = True
    code: str = "VALIDATION_ERROR"


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "Must be a string"


def _name(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else "Name is required"


def _email(value: object) -> str | None:
    return None if isinstance(value, str) and _EMAIL.fullmatch(value) else "Invalid email format"


def _money(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return "Must be a number"
    digits = Decimal(value)
    too_long = digits.adjusted() > _LONGEST_AMOUNT or int(digits.as_tuple().exponent) < -_LONGEST_AMOUNT
    return "Too many digits" if too_long else None


def _currency(value: object) -> str | None:
    known = isinstance(value, str) and re.fullmatch("[A-Z]{3}", value)
    return None if known else "Must be a currency code of three capital letters"


def _user(value: object) -> str | None:
    return None if isinstance(value, str) and value in USERS else "Unknown user"


def _one_of(words: tuple[str, ...]) -> Callable[[object], str | None]:
    return lambda value: None if value in words else f"Must be one of: {', '.join(words)}"


_MEMBERS: Mapping[str, _Member] = {
    "name": _Member(_name, nullable=False),
    "email": _Member(_email, code="INVALID_EMAIL"),
    "phone": _Member(_text),
    "company": _Member(_text),
    "position": _Member(_text),
    "status": _Member(_one_of(STATUSES), nullable=False, code="INVALID_STATUS"),
    "source": _Member(_one_of(SOURCES), nullable=False, code="INVALID_SOURCE"),
    "deal_value": _Member(_money),
    "deal_currency": _Member(_currency, nullable=False),
    "linkedin_url": _Member(_text),
    "notes": _Member(_text),
    "responsible_user_id": _Member(_user),
}


def _checked(body: object, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The members of `body`, money as Decimal; a Refusal that names every member at fault.

    One kind of fault is refused with its own code, several together with VALIDATION_ERROR.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "VALIDATION_ERROR", "The request body must be a JSON object")
    problems: dict[str, str] = {}
    codes: set[str] = set()
    for name in (*body, *(name for name in required if name not in body)):
        member = _MEMBERS.get(name)
        value = body.get(name)
        if member is None or name not in allowed:
            problems[name] = "Unknown field"
            codes.add("VALIDATION_ERROR")
        elif not (value is None and member.nullable) and (problem := member.problem(value)) is not None:
            problems[name] = problem
            codes.add(member.code)
    if problems:
        code = codes.pop() if len(codes) == 1 else "VALIDATION_ERROR"
        raise Refusal(400, code, "Validation failed", fields=problems)
    return {name: _exact(value) if name == "deal_value" else value for name, value in body.items()}


def _exact(value: int | Decimal | None) -> Decimal | None:
    if value is None:
        return None
    exact = Decimal(value)
    # A zero keeps its digits but not its sign: -0.00 is nobody's amount.
    return exact if exact else exact.copy_abs()
