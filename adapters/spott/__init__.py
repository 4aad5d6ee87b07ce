"""Spott: what is asked of it, and how its answers are taken apart. It can be read and updated, not created or deleted."""

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from adapters.spott.fields import spott
from gateway.adapter import Adapter, Budget, Call, Limits, ListQuery, Native, Page, Rejection, Reply, Stage
from gateway.codecs import instant_string
from gateway.fields import Table
from gateway.strict_json import Json


class AmountAttribute(BaseModel):
    """The custom attribute that this account keeps the deal's value in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, description="The attribute's `attributeDefinitionId`.")]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="The currency that its values are meant in.")]


class SpottSettings(BaseModel):
    """What can be said of a Spott workspace in config.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount_attribute: AmountAttribute | None = Field(
        default=None, description="Which custom attribute holds the amount; without it the amount reads as null."
    )


_BY_NUMBER = "page:"
"""Begins a position that is a page's number; a cursor is Base64, which has no colon."""


def _number_of(position: str | None) -> int | None:
    """Which page was asked for by its number; None where it was the first one or one by cursor."""
    return int(position.removeprefix(_BY_NUMBER)) if position is not None and position.startswith(_BY_NUMBER) else None


def _modified_since(value: str) -> tuple[str, str] | None:
    spelled, _ = instant_string(value, None)
    return ("modifiedSince", spelled if "." not in spelled else spelled[:-4] + "Z")


class Spott(Adapter):
    """Wrapped records, paging by cursor or number; an update answers with nothing, so that the record is read again."""

    name = "spott"
    title = "Spott"
    homepage = "https://www.spott.io"
    base_url = "https://api.gospott.com"
    limits = Limits(page=50, budget=Budget(calls=600, per=60))
    Settings = SpottSettings
    sandbox = "adapters.spott.sandbox:SpottSandbox"
    filters: ClassVar[Mapping[str, Native]] = {"modified_since": _modified_since}
    default_sort = "updated_at"

    def fields(self) -> Table:
        """The table, with the amount where the settings say that this workspace keeps it."""
        attribute = self.settings.amount_attribute
        return spott(self.stages_map, (attribute.id, attribute.currency) if attribute is not None else None)

    def headers(self, key: str) -> Mapping[str, str]:
        """`x-api-key`."""
        return {"x-api-key": key}

    def get(self, native_id: str) -> Call:
        """One record."""
        return Call("get", "GET", f"/opportunities/{native_id}")

    def list(self, query: ListQuery) -> Call:
        """A page by cursor or number, oldest modification first. What is not set is not sent: null is refused."""
        parameters = [("limit", str(query.size)), *query.filters]
        number = _number_of(query.position)
        if number is not None:
            parameters.append(("page", str(number)))
        elif query.position is not None:
            parameters.append(("cursor", query.position))
        return Call("list", "GET", "/opportunities", tuple(parameters))

    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """PATCH with the members that changed. A closing date is cleared as a whole."""
        body = dict(bodies.get("update", {}))
        if body.get("closeDate") == {"target": None}:
            body["closeDate"] = None
        yield Call("update", "PATCH", f"/opportunities/{native_id}", body=body)

    def stages(self) -> Call:
        """The stages of the one pipeline."""
        return Call("stages", "GET", "/pipeline/opportunities/stages")

    def stages_of(self, body: Json) -> tuple[Stage, ...]:
        """Every listed stage that has an id."""
        listed = body.get("stages") if isinstance(body, dict) else None
        return tuple(
            Stage(stage["id"], _text(stage.get("name")), _whole(stage.get("order")))
            for stage in (listed if isinstance(listed, list) else ())
            if isinstance(stage, dict) and isinstance(stage.get("id"), str)
        )

    def page(self, body: Json, query: ListQuery) -> Page | None:
        """`items` and the way on of any of the page objects that the vendor's lists use.

        A list that says that there is more, but gives no cursor, is paged by number. Whatever then does not say that it is
        the page with that number is none: it may be the first one again, and the list is not at its end.
        """
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list):
            return None
        info = body.get("pageInfo")
        if not isinstance(info, dict):
            info = body.get("pagination")
        if not isinstance(info, dict):
            info = {}
        asked, number = _number_of(query.position), _whole(info.get("page"))
        if asked is not None and number != asked:
            return None
        cursor = info.get("nextCursor") or info.get("cursor")
        more = info.get("hasNextPage", info.get("hasMore"))
        if not items or more is False:
            return Page(items)
        if isinstance(cursor, str) and cursor:
            return Page(items, cursor)
        return Page(items, f"{_BY_NUMBER}{(number or 1) + 1}" if more is True else None)

    def problem(self, reply: Reply) -> Rejection:
        """`message`, which in the coded form is a code; `requestId` is kept for support."""
        body = reply.body
        if not isinstance(body, dict):
            return Rejection()
        message = body.get("message")
        if isinstance(message, list):
            message = "; ".join(part for part in message if isinstance(part, str))
        if not isinstance(message, str):
            message = None
        coded = "statusCode" in body and message is not None and message.isupper()
        return Rejection(code=message if coded else None, message=message, request_id=_text(body.get("requestId")))


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Json) -> int | None:
    return value if type(value) is int else None


__all__ = ["Spott", "SpottSettings"]
