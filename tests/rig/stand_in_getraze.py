"""GetRaze as a stand-in: many records, quickly, in the documented and in the served dialect.

It is lenient where the built-in sandbox is strict: what an adapter may send is judged there, what became of it here.
"""

import secrets
import time
import uuid
from abc import abstractmethod
from bisect import bisect_right
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from adapters.getraze.sandbox_served_seeds import PIPELINE_ID, PIPELINE_NAME, STAGES, USERS
from tests.rig.plain_http import Json, Request
from tests.rig.stand_in import Applied, Refused, Settings

_PREFIX = "/opportunities"
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_STAGE_NAMES = {id_: name for name, id_ in STAGES.items()}
_EXTRAS: dict[str, Json] = {"account_id": "acc_of_the_rig", "score": None, "custom_fields": {}}
_STATUSES = ("new", "contacted", "qualified", "proposal", "negotiation", "won", "lost")


class GetRaze:
    """Records in the order of their creation; what the two dialects have in common."""

    provider = "getraze"
    tells_budget = True
    default_limit = 20

    def __init__(self, applied: Applied) -> None:
        self._applied = applied
        self._records: dict[str, dict[str, Json]] = {}
        self._order: list[str] = []
        self._made: list[float] = []
        self._haystacks: list[str] = []
        """What `search` looks through, in the order of `_order`; a deleted one is a text that nothing is found in."""
        self._places: dict[str, int] = {}
        self._gets = 0

    def answer(self, request: Request, settings: Settings, now: float) -> tuple[int, Json, str]:
        """Route and run."""
        _, found, rest = request.path.partition(_PREFIX)
        if not found:
            raise Refused(404, "NOT_FOUND", "Route not found")
        match (request.method, rest.strip("/").split("/") if rest.strip("/") else []):
            case ("GET", []):
                return 200, self._list(dict(parse_qsl(request.query, keep_blank_values=True)), settings, now), "list"
            case ("POST", []):
                return 201, self._create(_object(request), now), "create"
            case ("GET", [id_]):
                return 200, _one(self._numbered(self._full(self._found(id_)), settings)), "get"
            case ("PUT", [id_]):
                return 200, self._update(id_, _object(request)), "update"
            case ("DELETE", [id_]):
                return 200, self._delete(id_), "delete"
            case ("PATCH", [id_, "stage"]):
                return 200, self._move(id_, _object(request)), "move"
            case _:
                raise Refused(404, "NOT_FOUND", "Route not found")

    def refusal(self, refused: Refused) -> Json:
        """`{"success": false, "error": {…}}`."""
        return {"success": False, "error": {"code": refused.code, "message": refused.message, **refused.members}}

    # What the dialects say.

    @abstractmethod
    def _fresh(self, sent: dict[str, Json]) -> dict[str, Json]:
        """A new record, with its id."""

    @abstractmethod
    def _change(self, record: dict[str, Json], sent: dict[str, Json]) -> None:
        """Take what an update sends."""

    @abstractmethod
    def _step(self, record: dict[str, Json], sent: dict[str, Json]) -> dict[str, Json]:
        """Move to another stage; what is told of it."""

    @abstractmethod
    def _told(self, record: dict[str, Json]) -> dict[str, Json]:
        """After create and update."""

    @abstractmethod
    def _full(self, record: dict[str, Json]) -> dict[str, Json]:
        """After get."""

    @abstractmethod
    def _page(self, records: list[dict[str, Json]], page: int, limit: int, total: int) -> Json:
        """The envelope of a list."""

    @abstractmethod
    def _text(self, record: dict[str, Json]) -> tuple[str | None, str]:
        """(the name, what a search looks through)."""

    # The operations.

    def _create(self, sent: dict[str, Json], now: float) -> Json:
        if not isinstance(sent.get("name"), str) or not sent["name"].strip():
            raise Refused(400, "MISSING_REQUIRED_FIELD", "Name is required", details={"fields": {"name": "Required"}})
        record = self._fresh(sent)
        id_: str = record["id"]
        self._records[id_] = record
        self._places[id_] = len(self._order)
        self._order.append(id_)
        self._made.append(now)
        name, text = self._text(record)
        self._haystacks.append(text.casefold())
        self._applied("create", id_, name)
        return _one(self._told(record))

    def _numbered(self, told: dict[str, Json], settings: Settings) -> dict[str, Json]:
        self._gets += 1
        return {**told, "notes": f"get {self._gets}"} if settings.numbered else told

    def _update(self, id_: str, sent: dict[str, Json]) -> Json:
        record = self._found(id_)
        self._change(record, sent)
        self._touched(record, id_)
        return _one(self._told(record))

    def _move(self, id_: str, sent: dict[str, Json]) -> Json:
        record = self._found(id_)
        told = self._step(record, sent)
        self._touched(record, id_)
        return _one(told)

    def _touched(self, record: dict[str, Json], id_: str) -> None:
        record["updated_at"] = self._now()
        name, text = self._text(record)
        self._haystacks[self._places[id_]] = text.casefold()
        self._applied("update", id_, name)

    def _delete(self, id_: str) -> Json:
        record = self._found(id_)
        del self._records[id_]
        self._haystacks[self._places.pop(id_)] = ""
        self._applied("delete", id_, self._text(record)[0])
        return {"success": True, "message": "Opportunity deleted successfully"}

    def _found(self, id_: str) -> dict[str, Json]:
        record = self._records.get(id_)
        if record is None:
            raise Refused(404, "NOT_FOUND", "Opportunity not found")
        return record

    def _list(self, given: dict[str, str], settings: Settings, now: float) -> Json:
        page, limit = _whole(given, "page", 1), min(_whole(given, "limit", self.default_limit), 100)
        seen = bisect_right(self._made, now - settings.lag) if settings.lag else len(self._made)
        search, start = given.get("search", "").casefold(), (page - 1) * limit
        wanted = {name: given[name] for name in self.filters if name in given}
        by, descending = given.get("sort_by", "created_at"), given.get("sort_order", "desc") != "asc"
        if by == "created_at" and not search and not wanted and len(self._records) == len(self._order):
            total = seen
            places = range(seen)[::-1] if descending else range(seen)
            records = [self._records[self._order[place]] for place in places[start : start + limit]]
        else:
            found = [
                record
                for place in range(seen)
                if search in self._haystacks[place]
                and (record := self._records.get(self._order[place])) is not None
                and all(str(record.get(name)) == value for name, value in wanted.items())
            ]
            if descending:
                found.reverse()
            if by != "created_at":
                found.sort(key=lambda record: str(record.get(by)), reverse=descending)
            total, records = len(found), found[start : start + limit]
        return self._page(records, page, limit, total)

    filters: tuple[str, ...] = ()

    def _now(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Documented(GetRaze):
    """As its pages say."""

    filters = ("status", "source", "campaign_id", "responsible_user_id")
    _sent = (
        "name", "email", "phone", "company", "position", "status", "source", "deal_value", "deal_currency",
        "linkedin_url", "notes", "responsible_user_id",
    )  # fmt: skip

    def _fresh(self, sent: dict[str, Json]) -> dict[str, Json]:
        now = self._now()
        record: dict[str, Any] = dict.fromkeys(self._sent)
        record |= {"status": "new", "source": "other", "deal_currency": "BRL", "won_at": None, "lost_at": None}
        record |= {name: sent[name] for name in self._sent if name in sent}
        closed = {f"{record['status']}_at": now} if record["status"] in ("won", "lost") else {}
        return {"id": f"opp_{secrets.token_hex(8)}", **record, "created_at": now, "updated_at": now, **closed}

    def _change(self, record: dict[str, Json], sent: dict[str, Json]) -> None:
        record.update({name: sent[name] for name in self._sent if name in sent and name != "status"})

    def _step(self, record: dict[str, Json], sent: dict[str, Json]) -> dict[str, Json]:
        if sent.get("status") not in _STATUSES:
            raise Refused(400, "INVALID_STATUS", "Unknown status")
        record |= {"status": sent["status"], "won_at": None, "lost_at": None}
        if record["status"] in ("won", "lost"):
            record[f"{record['status']}_at"] = self._now()
        return {name: record[name] for name in ("id", "name", "status", "updated_at")}

    def _told(self, record: dict[str, Json]) -> dict[str, Json]:
        return {
            name: value for name, value in record.items() if name not in ("responsible_user_id", "won_at", "lost_at")
        }

    def _full(self, record: dict[str, Json]) -> dict[str, Json]:
        owner = record["responsible_user_id"]
        kept = {name: value for name, value in record.items() if name != "responsible_user_id"}
        return {**kept, "campaign": None, "responsible_user": owner and {"id": owner, "name": "Somebody"}}

    def _page(self, records: list[dict[str, Json]], page: int, limit: int, total: int) -> Json:
        left_out = ("notes", "linkedin_url", "won_at", "lost_at")
        items = [
            {"campaign_id": None, **{name: value for name, value in record.items() if name not in left_out}}
            for record in records
        ]
        pagination = {"page": page, "limit": limit, "total": total, "total_pages": -(-total // limit)}
        return {"success": True, "data": {"opportunities": items, "pagination": pagination}}

    def _text(self, record: dict[str, Json]) -> tuple[str | None, str]:
        return record["name"], "\n".join(record[name] or "" for name in ("name", "email", "company"))


class Served(GetRaze):
    """As its server answers."""

    provider = "getraze-served"
    default_limit = 50
    filters = ("stage_id", "pipeline_id", "campaign_id", "owner_user_id")
    _of_contact = ("name", "email", "phone", "company", "title")
    _of_record = ("notes", "owner_user_id", "pipeline_id", "stage_id", "source")

    def _fresh(self, sent: dict[str, Json]) -> dict[str, Json]:
        if sent.get("pipeline_id") != PIPELINE_ID or sent.get("stage_id") not in _STAGE_NAMES:
            raise Refused(500, "INTERNAL_ERROR", "An unexpected error occurred")
        now = self._now()
        record = {
            "id": str(uuid.uuid4()), "title": sent["name"], "contact_id": str(uuid.uuid4()), "value": "0.00",
            "currency": "BRL", "probability": 0, "expected_close_date": None, "notes": None, "owner_user_id": None,
            "source": "other", "campaign_id": None, "campaign_name": None, "won_at": None, "lost_at": None,
            **{f"contact_{name}": sent.get(name) for name in self._of_contact},
            **{name: sent[name] for name in self._of_record if name in sent},
            "created_at": now, "updated_at": now,
        }  # fmt: skip
        return record

    def _change(self, record: dict[str, Json], sent: dict[str, Json]) -> None:
        known = {f"contact_{name}": sent[name] for name in self._of_contact if name in sent}
        known |= {name: sent[name] for name in self._of_record if name in sent and name != "source"}
        if not known:
            raise Refused(400, "VALIDATION_ERROR", "No fields to update")
        record.update(known)
        if "name" in sent:
            record["title"] = sent["name"]

    def _step(self, record: dict[str, Json], sent: dict[str, Json]) -> dict[str, Json]:
        stage = sent.get("stage_id")
        if not stage:
            raise Refused(400, "VALIDATION_ERROR", "stage_id is required")
        if stage not in _STAGE_NAMES:
            raise Refused(500, "INTERNAL_ERROR", "An unexpected error occurred")
        change = {"from": record["stage_id"], "to": stage}
        record["stage_id"], name = stage, _STAGE_NAMES[stage]
        if name in ("won", "lost"):
            record[f"{name}_at"] = self._now()
        return {**self._told(record), "stage_name": name, "stage_change": change}

    def _told(self, record: dict[str, Json]) -> dict[str, Json]:
        owner = USERS.get(record["owner_user_id"] or "", (None, None))
        return {**_EXTRAS, **record, "owner_user_name": owner[0], "owner_user_email": owner[1]}

    _full = _told

    def _page(self, records: list[dict[str, Json]], page: int, limit: int, total: int) -> Json:
        pages = -(-total // limit)
        further = {"contact_location": None, "contact_profile_url": None, "contact_profile_picture": None}
        items = [
            {**self._told(record), **further, "stage_name": _STAGE_NAMES[record["stage_id"]],
             "pipeline_name": PIPELINE_NAME} for record in records
        ]  # fmt: skip
        pagination = {
            "page": page, "per_page": limit, "total": total, "total_pages": pages, "has_next": page < pages,
            "has_prev": page > 1,
        }  # fmt: skip
        return {"success": True, "data": items, "pagination": pagination}

    def _text(self, record: dict[str, Json]) -> tuple[str | None, str]:
        searched = ("title", "contact_name", "contact_email", "contact_company")
        return record["title"], "\n".join(record[name] or "" for name in searched)

    def _now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def _one(record: dict[str, Json]) -> Json:
    return {"success": True, "data": record}


def _object(request: Request) -> dict[str, Json]:
    try:
        body = _decode(request.body)
    except ValueError as error:  # msgspec's own is one
        raise Refused(400, "VALIDATION_ERROR", "The request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Refused(400, "VALIDATION_ERROR", "The request body must be a JSON object")
    return body


def _whole(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not text.isdigit() or not int(text):
        raise Refused(400, "INVALID_PARAMETER", f"{name} must be a whole number")
    return int(text)
