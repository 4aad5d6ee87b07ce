"""GetRaze: what is asked of it, and how its answers are taken apart. The vendor's pages call opportunities leads."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.getraze.fields import SOURCES, STATUS_OF_WORD, STATUSES, documented
from gateway.adapter import Adapter, Budget, BudgetLeft, Call, Limits, ListQuery, Native, Page, Rejection, Reply, Stage
from gateway.fields import Table
from gateway.strict_json import Json


class GetRazeSettings(BaseModel):
    """What can be said of a GetRaze account in config.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dialect: Literal["documented", "auto"] = Field(
        default="auto",
        description="Which of the vendor's two descriptions the server follows; `auto` is `documented` for now.",
    )


def _exactly(parameter: str, words: Iterable[str]) -> Native:
    known = frozenset(words)
    return lambda value: (parameter, value) if value in known else None


class GetRaze(Adapter):
    """The documented dialect: flat records, page-number paging, an hourly budget told in every answer."""

    name = "getraze"
    title = "GetRaze"
    homepage = "https://getraze.com"
    base_url = "https://app.getraze.com/external/v1"
    limits = Limits(page=100, budget=Budget(calls=1000, per=3600))
    Settings = GetRazeSettings
    sandbox = "adapters.getraze.sandbox:GetRazeSandbox"
    writes: ClassVar[Mapping[str, tuple[str, ...]]] = {"create": ("create",), "update": ("update", "move")}
    filters: ClassVar[Mapping[str, Native]] = {
        "status": _exactly("status", ("won", "lost")),  # every other status is several of GetRaze's words, or none
        "stage": _exactly("status", STATUSES),
        "source": _exactly("source", SOURCES),
        # Ids of users start so; a name cannot be asked for.
        "owner": lambda value: ("responsible_user_id", value) if value.startswith("usr_") else None,
        "q": lambda value: ("search", value) if value else None,
    }
    sorts = ("created_at", "-created_at")
    default_sort = "-created_at"
    known_stages = tuple(Stage(word, word, order) for order, word in enumerate(STATUSES))

    def fields(self) -> Table:
        """The documented table."""
        return documented(self.stages_map)

    def headers(self, key: str) -> Mapping[str, str]:
        """`X-API-Key`; the query parameter that also works would end in logs and is never used."""
        return {"X-API-Key": key}

    def get(self, native_id: str) -> Call:
        """One record."""
        return Call("get", "GET", f"/opportunities/{native_id}")

    def list(self, query: ListQuery) -> Call:
        """A page by its number, newest first unless asked otherwise."""
        parameters = [("page", query.position or "1"), ("limit", str(query.size)), *query.filters]
        if query.sort:
            descending = query.sort.startswith("-")
            parameters += [("sort_by", query.sort.removeprefix("-")), ("sort_order", "desc" if descending else "asc")]
        return Call("list", "GET", "/opportunities", tuple(parameters))

    def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """One call; what is not sent gets GetRaze's own defaults."""
        yield Call("create", "POST", "/opportunities", body=bodies.get("create", {}))

    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """PUT for the fields (it changes only what is sent), then a call of its own for the status."""
        if "update" in bodies:
            yield Call("update", "PUT", f"/opportunities/{native_id}", body=bodies["update"])
        if "move" in bodies:
            yield Call("move", "PATCH", f"/opportunities/{native_id}/stage", body=bodies["move"])

    def delete(self, native_id: str) -> Call:
        """Permanent."""
        return Call("delete", "DELETE", f"/opportunities/{native_id}")

    def record(self, body: Json) -> dict[str, Json] | None:
        """What lies under `data`."""
        data = body.get("data") if isinstance(body, dict) else None
        return data if isinstance(data, dict) and data else None

    def page(self, body: Json, query: ListQuery) -> Page | None:
        """`data.opportunities`; there is a next page while `total_pages` says so and this one held anything."""
        data = body.get("data") if isinstance(body, dict) else None
        items = data.get("opportunities") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(items, list):
            return None
        number = int(query.position or "1")
        pagination = data.get("pagination")
        pages = pagination.get("total_pages") if isinstance(pagination, dict) else None
        # Without a readable total a full page may have a successor; an empty one ends it either way.
        more = number < pages if type(pages) is int else len(items) >= query.size
        return Page(items, str(number + 1) if more and items else None)

    def problem(self, reply: Reply) -> Rejection:
        """`error.code`, `error.message`, `error.retry_after` and `details.fields`, and nothing else of the body."""
        error = reply.body.get("error") if isinstance(reply.body, dict) else None
        if not isinstance(error, dict):
            return Rejection()
        details = error.get("details")
        fields = details.get("fields") if isinstance(details, dict) else None
        retry_after = error.get("retry_after")
        return Rejection(
            code=_text(error.get("code")),
            message=_text(error.get("message")),
            retry_after=float(retry_after) if type(retry_after) is int and 0 <= retry_after < 10**9 else None,
            fields={str(name): str(what) for name, what in fields.items()} if isinstance(fields, dict) else {},
        )

    def status_of_stage(self, stage: Stage) -> str | None:
        """A documented word means what it says; the stage map adds others."""
        return STATUS_OF_WORD.get(stage.id) or super().status_of_stage(stage)

    def budget_left(self, reply: Reply) -> BudgetLeft | None:
        """The three `X-RateLimit-` headers that every answer carries."""
        limit, remaining, reset = (
            _whole(reply.headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining", "reset")
        )
        if limit is None and remaining is None:
            return None
        return BudgetLeft(limit, remaining, float(reset) if reset is not None else None)


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 16 else None


__all__ = ["GetRaze", "GetRazeSettings"]
