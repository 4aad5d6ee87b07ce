"""Close: what is asked of it, and how its answers are taken apart. An opportunity's company is its lead."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from gateway.adapter import Adapter, BudgetLeft, Call, Limits, ListQuery, Native, Page, Rejection, Reply, Stage
from gateway.fields import Table
from gateway.strict_json import Json

from .codecs import STATUS_OF_TYPE, TYPE_OF_STATUS
from .fields import ASKED, opportunity

_SORTED_BY = {"created_at": "date_created", "updated_at": "date_updated"}
_REFERENCES = {"status_id": "status.opportunity", "user_id": "user"}
_RATE_LIMIT = re.compile(r"(limit|remaining)=([0-9]{1,15})(?![0-9.])", re.ASCII)


@dataclass(frozen=True, slots=True)
class CloseStage(Stage):
    """A status as Close lists it, with the type that says what it means."""

    type: str | None = None


def _known_by(prefix: str, field: str) -> Native:
    """Ids begin so; a name cannot be asked for."""
    return lambda value: (field, value) if value.startswith(prefix) else None


class Close(Adapter):
    """Flat records; lists by search, paged by cursor; the key is the user name of HTTP Basic."""

    name = "close"
    title = "Close"
    homepage = "https://close.com"
    base_url = "https://api.close.com/api/v1"
    limits = Limits(page=100)
    sandbox = "crm_gateway_close.sandbox:CloseSandbox"
    whole = frozenset({"get", "create", "update"})
    filters: ClassVar[Mapping[str, Native]] = {
        "status": lambda value: ("status_type", TYPE_OF_STATUS[value]) if value in TYPE_OF_STATUS else None,
        "stage": _known_by("stat_", "status_id"),
        "owner": _known_by("user_", "user_id"),
    }
    sorts = ("created_at", "-created_at", "updated_at", "-updated_at")
    default_sort = "-created_at"

    def fields(self) -> Table:
        """The one table."""
        return opportunity()

    def headers(self, key: str) -> Mapping[str, str]:
        """HTTP Basic: the key is the user name, the password is empty."""
        return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}

    def get(self, native_id: str) -> Call:
        """One record."""
        return Call("get", "GET", f"/opportunity/{native_id}/")

    def list(self, query: ListQuery) -> Call:
        """A page by search: a POST that changes nothing. Sorted always, so that pages fit together."""
        conditions: list[Json] = [{"type": "object_type", "object_type": "opportunity"}]
        conditions += [
            {"type": "field_condition", "field": _field(name), "condition": _condition(name, value)}
            for name, value in query.filters
        ]
        sort = query.sort or self.default_sort
        body: dict[str, Json] = {
            "query": {"type": "and", "queries": conditions},
            "_fields": {"opportunity": list(ASKED)},
            "_limit": query.size,
            "sort": [
                {
                    "direction": "desc" if sort.startswith("-") else "asc",
                    "field": _field(_SORTED_BY[sort.removeprefix("-")]),
                }
            ],
        }
        if query.position is not None:
            body["cursor"] = query.position
        return Call("list", "POST", "/data/search/", body=body, reads=True)

    def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """One call; without a company Close makes a lead of its own."""
        yield Call("create", "POST", "/opportunity/", body=bodies.get("create", {}))

    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """PUT, which changes only what is sent."""
        yield Call("update", "PUT", f"/opportunity/{native_id}/", body=bodies.get("update", {}))

    def delete(self, native_id: str) -> Call:
        """Permanent."""
        return Call("delete", "DELETE", f"/opportunity/{native_id}/")

    def stages(self) -> Call:
        """The statuses of all pipelines."""
        return Call("stages", "GET", "/status/opportunity/")

    def stages_of(self, body: Json) -> tuple[Stage, ...]:
        """Every listed status that has an id."""
        listed = body.get("data") if isinstance(body, dict) else None
        return tuple(
            CloseStage(status["id"], _text(status.get("label")), type=_text(status.get("type")))
            for status in (listed if isinstance(listed, list) else ())
            if isinstance(status, dict) and isinstance(status.get("id"), str)
        )

    def status_of_stage(self, stage: Stage) -> str | None:
        """What the status's type means; else what the connection's stage map says."""
        kind = stage.type if isinstance(stage, CloseStage) else None
        return STATUS_OF_TYPE.get(kind or "") or super().status_of_stage(stage)

    def page(self, body: Json, query: ListQuery) -> Page | None:
        """`data`, and the cursor of the next page, which is null on the last."""
        items = body.get("data") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(items, list):
            return None
        cursor = _text(body.get("cursor"))
        return Page(items, cursor if cursor and items else None)

    def problem(self, reply: Reply) -> Rejection:
        """`error` (a sentence, or an object with the wait), `errors` and `field-errors`, and nothing else of the body."""
        body = reply.body if isinstance(reply.body, dict) else {}
        error = body.get("error")
        message = _text(error)
        wait: Json = None
        if isinstance(error, dict):
            message, wait = _text(error.get("message")), error.get("rate_reset")
        errors = body.get("errors")
        if message is None and isinstance(errors, list):
            message = "; ".join(one for one in errors if isinstance(one, str)) or None
        fields = body.get("field-errors")
        return Rejection(
            message=message,
            retry_after=float(wait) if type(wait) in (int, Decimal) and 0 <= wait < 10**9 else None,
            fields={str(name): str(what) for name, what in fields.items()} if isinstance(fields, dict) else {},
        )

    def budget_left(self, reply: Reply) -> BudgetLeft | None:
        """The `RateLimit` header's limit and remaining; its reset is told in seconds from now, so it is left out."""
        told = {name: int(value) for name, value in _RATE_LIMIT.findall(reply.headers.get("ratelimit", ""))}
        return BudgetLeft(told.get("limit"), told.get("remaining"), None) if told else None


def _field(name: str) -> dict[str, Json]:
    return {"type": "regular_field", "object_type": "opportunity", "field_name": name}


def _condition(name: str, value: str) -> dict[str, Json]:
    """Ids are references to other objects, everything else is one of some words."""
    if name in _REFERENCES:
        return {"type": "reference", "reference_type": _REFERENCES[name], "object_ids": [value]}
    return {"type": "term", "values": [value]}


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


__all__ = ["Close", "CloseStage"]
