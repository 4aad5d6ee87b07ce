"""The served dialect: what the provider's own server was seen to answer in early 2026, oddities included.

Where nothing was observed it does what the reference pages say; where those are silent too it takes the
simplest reading, and `Assumed` marks it. What a call should not have sent is dropped without a word.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from adapters.getraze.sandbox_served_seeds import (
    CAMPAIGNS,
    EXTRAS,
    PIPELINE_ID,
    PIPELINE_NAME,
    SOURCES,
    STAGES,
    USERS,
    Contact,
    Opportunity,
    seeds,
    stamp,
)
from adapters.getraze.sandbox_wire import Answer, Call, Dialect, Operation, Query, Refusal

_OF_CONTACT = ("name", "email", "phone", "company", "title", "location", "headline", "profile_url")
_OF_RECORD = ("notes", "owner_user_id", "pipeline_id", "stage_id", "score")
_UPDATABLE = (*_OF_CONTACT, *_OF_RECORD)
_CREATABLE = (*_UPDATABLE, "source", "campaign_id")
_TOLD_OF_CONTACT = ("name", "email", "phone", "company", "title")
_TOLD_IN_LISTS = ("location", "profile_url", "profile_picture")

_EXACT_FILTERS = ("stage_id", "pipeline_id", "campaign_id", "owner_user_id")
_SORTABLE = ("created_at", "updated_at", "title", "value")
_MOST = 100
_STAGE_NAMES = {id: name for name, id in STAGES.items()}
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")

_STACK_TRACE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Error</title>
</head>
<body>
<pre>SyntaxError: Unexpected token in JSON at position 0<br> &nbsp; &nbsp;at JSON.parse (&lt;anonymous&gt;)<br>\
 &nbsp; &nbsp;at parse (/app/node_modules/body-parser/lib/types/json.js:92:19)</pre>
</body>
</html>
"""


class ServedDialect(Dialect):
    """The calls as they are served, over contacts and records of its own."""

    def __init__(self) -> None:
        contacts, records = seeds()
        self.created: list[str] = []
        self._contacts = {contact.id: contact for contact in contacts}
        self._records = {record.id: record for record in records}
        self._strays: list[str] = []

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

    def stray_contacts(self) -> list[Mapping[str, object]]:
        """The contacts that a failed create has stored and no record is linked to, oldest first."""
        return [asdict(self._contacts[id]) for id in self._strays]

    def stamp(self, now: float) -> str:
        """A Unix time as `2026-11-22 01:01:21.282645+00`."""
        return stamp(datetime.fromtimestamp(now, UTC))

    def forbidden(self, lacking: str, held: Sequence[str]) -> Refusal:
        """The documented refusal, with the key's own permissions told as well."""
        return replace(super().forbidden(lacking, held), members={"current_permissions": list(held)})

    def unreadable(self) -> Refusal:
        """An HTML page with a stack trace."""
        return replace(super().unreadable(), page=_STACK_TRACE)

    def _list(self, call: Call) -> Answer:
        given = {name: value for name, value in call.query if value}
        page, limit = _paging(call.query)
        found = [record for record in self._records.values() if self._matches(record, given)]
        by = given.get("sort_by", "created_at")
        # Assumed: a word that it does not sort by is ignored, like the other things it does not know.
        key = _sort_key(by if by in _SORTABLE else "created_at")
        descending = given.get("sort_order", "desc").lower() != "asc"
        if descending:
            found.reverse()  # of two records alike the later made comes first
        found.sort(key=key, reverse=descending)
        start = (page - 1) * limit
        total_pages = -(-len(found) // limit) if limit else None  # Assumed: dividing by zero ends as null
        pagination = {
            "page": page,
            "per_page": limit,
            "total": len(found),
            "total_pages": total_pages,
            "has_next": total_pages is None or page < total_pages,
            "has_prev": page > 1,
        }
        items = [self._listed(record) for record in found[start : start + limit]]
        return Answer(200, {"success": True, "data": items, "pagination": pagination})

    def _matches(self, record: Opportunity, given: Mapping[str, str]) -> bool:
        contact = self._contacts[record.contact_id]
        search, company = given.get("search", "").casefold(), given.get("company", "").casefold()
        searched = (record.title, contact.name, contact.email, contact.company)
        return (
            all(_uuid(given[name]) == getattr(record, name) for name in _EXACT_FILTERS if name in given)
            and any(search in (text or "").casefold() for text in searched)
            and company in (contact.company or "").casefold()
        )

    def _get(self, call: Call) -> Answer:
        return _success(self._told(self._found(call.id)))

    def _create(self, call: Call) -> Answer:
        sent = _taken(call.body, _CREATABLE)
        if not sent.get("name"):
            raise _bad("MISSING_REQUIRED_FIELD", "name", "Name is required")
        email = sent.get("email")
        contact = next((one for one in self._contacts.values() if one.email == email), None) if email else None
        if contact is None:
            contact = Contact(str(uuid.uuid4()), **{name: sent[name] for name in _OF_CONTACT if name in sent})
            # Stored before the rest is looked at: it stays when that fails.
            self._contacts[contact.id] = contact
            self._strays.append(contact.id)
        of_record = {name: value for name, value in sent.items() if name not in _OF_CONTACT}
        references = _references({"pipeline_id": None, "stage_id": None, **of_record})
        if of_record.get("source") is None:
            of_record["source"] = "other"
        record = Opportunity(
            id=str(uuid.uuid4()),
            title=sent["name"],
            contact_id=contact.id,
            created_at=call.now,
            updated_at=call.now,
            **{**of_record, **references},
        )
        if contact.id in self._strays:
            self._strays.remove(contact.id)
        self._records[record.id] = record
        self.created.append(record.id)
        return _success(self._told(record), status=201)

    def _update(self, call: Call) -> Answer:
        record = self._found(call.id)
        sent = _taken(call.body, _UPDATABLE)
        if not sent:
            raise Refusal(400, "VALIDATION_ERROR", "No fields to update")
        of_record = {name: value for name, value in sent.items() if name not in _OF_CONTACT}
        of_record.update(_references(of_record))
        if "name" in sent:
            of_record["title"] = sent["name"]  # Assumed: both at once, as in a create
        record = replace(record, **of_record, updated_at=call.now)
        contact = self._contacts[record.contact_id]
        of_contact = {name: value for name, value in sent.items() if name in _OF_CONTACT}
        self._contacts[contact.id] = replace(contact, **of_contact)
        self._records[record.id] = record
        return _success(self._told(record))

    def _move(self, call: Call) -> Answer:
        stage_id = _object(call.body).get("stage_id")
        if not stage_id:
            raise Refusal(400, "VALIDATION_ERROR", "stage_id is required")
        before = self._found(call.id)
        stage = _references({"stage_id": stage_id})["stage_id"]
        # Assumed: a record that leaves the stage won or lost keeps the time it got there.
        name = _STAGE_NAMES[stage]
        outcome: dict[str, Any] = {f"{name}_at": call.now} if name in ("won", "lost") else {}
        record = replace(before, stage_id=stage, updated_at=call.now, **outcome)
        self._records[record.id] = record
        # Assumed: the two ends are ids, and stand within the record.
        change = {"from": before.stage_id, "to": stage}
        return _success({**self._told(record), "stage_name": name, "stage_change": change})

    def _delete(self, call: Call) -> Answer:
        del self._records[self._found(call.id).id]
        return Answer(200, {"success": True, "message": "Opportunity deleted successfully"})

    def _found(self, id: str) -> Opportunity:
        record = self._records.get(_uuid(id))
        if record is None:
            raise Refusal(404, "NOT_FOUND", "Opportunity not found")
        return record

    def _told(self, record: Opportunity) -> dict[str, object]:
        """What every answer tells: no name of a stage or a pipeline."""
        contact = self._contacts[record.contact_id]
        owner = (None, None) if record.owner_user_id is None else USERS[record.owner_user_id]
        return {
            **asdict(record),
            **{f"contact_{name}": getattr(contact, name) for name in _TOLD_OF_CONTACT},
            "owner_user_name": owner[0],
            "owner_user_email": owner[1],
            "campaign_name": None if record.campaign_id is None else CAMPAIGNS[record.campaign_id],
            **EXTRAS,
        }

    def _listed(self, record: Opportunity) -> dict[str, object]:
        contact = self._contacts[record.contact_id]
        return {
            **self._told(record),
            **{f"contact_{name}": getattr(contact, name) for name in _TOLD_IN_LISTS},
            "stage_name": _STAGE_NAMES[record.stage_id],
            "pipeline_name": PIPELINE_NAME,
        }


def _success(data: Mapping[str, object], status: int = 200) -> Answer:
    return Answer(status, {"success": True, "data": data})


def _broken() -> Refusal:
    return Refusal(500, "INTERNAL_ERROR", "An unexpected error occurred")


def _bad(code: str, name: str, text: str) -> Refusal:
    return Refusal(400, code, text, fields={name: text})


# What a caller may send.


def _paging(query: Query) -> tuple[int, int]:
    given = dict(query)
    page, limit = given.get("page", "1"), given.get("limit", "50")
    if not re.fullmatch("0*[1-9][0-9]{0,14}", page, re.ASCII) or not re.fullmatch("[0-9]{1,15}", limit, re.ASCII):
        raise _broken()
    return int(page), min(int(limit), _MOST)


def _sort_key(by: str) -> Callable[[Opportunity], Any]:
    if by == "value":
        return lambda record: Decimal(record.value)
    return lambda record: getattr(record, by).casefold()


def _uuid(text: object) -> str:
    """The id in its usual spelling; what is none breaks the server instead of being looked up."""
    if not isinstance(text, str) or not _UUID.fullmatch(text.lower()):
        raise _broken()
    return text.lower()


def _references(given: Mapping[str, Any]) -> dict[str, Any]:
    """The ids among `given`; one that nothing has, or a stage or pipeline that is none, breaks the server."""
    known: Mapping[str, tuple[Sequence[str], bool]] = {
        "pipeline_id": ((PIPELINE_ID,), False),
        "stage_id": (tuple(_STAGE_NAMES), False),
        "owner_user_id": (tuple(USERS), True),
        "campaign_id": (tuple(CAMPAIGNS), True),
    }
    found: dict[str, Any] = {}
    for name, (ids, optional) in known.items():
        if name not in given:
            continue
        found[name] = None if given[name] is None and optional else _uuid(given[name])
        if found[name] not in (*ids, None):
            raise _broken()
    return found


def _object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refusal(400, "VALIDATION_ERROR", "The request body must be a JSON object")
    return body


def _taken(body: object, names: Sequence[str]) -> dict[str, Any]:
    """Those members of `body` that are among `names`; the others are dropped without a word.

    Assumed: a value of the wrong kind is refused as documented.
    """
    sent = {name: value for name, value in _object(body).items() if name in names}
    for name, value in sent.items():
        if name == "name" and not (isinstance(value, str) and value.strip()):
            raise _bad("VALIDATION_ERROR", name, "Name is required")
        if value is None or name.endswith("_id"):
            continue
        if name == "score":
            if isinstance(value, bool) or not isinstance(value, int):
                raise _bad("VALIDATION_ERROR", name, "Must be a whole number")
        elif not isinstance(value, str):
            raise _bad("VALIDATION_ERROR", name, "Must be a string")
        elif name == "email" and not _EMAIL.fullmatch(value):
            raise _bad("INVALID_EMAIL", name, "Invalid email format")
        elif name == "source" and value not in SOURCES:
            raise _bad("INVALID_SOURCE", name, f"Must be one of: {', '.join(SOURCES)}")
    return sent
