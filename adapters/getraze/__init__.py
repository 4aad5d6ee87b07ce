"""GetRaze: what is asked of it, and how its answers are taken apart. The vendor's pages call opportunities leads.

Its pages and its server disagree. Both are spoken, as two dialects: `getraze` as documented, `getraze-served` as
answered. Which one a connection meets is told apart by the shape of an answer, never by a guess, unless the
configuration says it.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.getraze.fields import SOURCES, STATUS_OF_WORD, STATUSES, documented
from adapters.getraze.served import served
from gateway.adapter import (
    Adapter,
    Budget,
    BudgetLeft,
    Call,
    CannotSend,
    Facts,
    Limits,
    ListQuery,
    Native,
    Page,
    Rejection,
    Reply,
    Stage,
)
from gateway.fields import Table
from gateway.steady import stretch
from gateway.strict_json import Json

DOCUMENTED, SERVED = "getraze", "getraze-served"
MOST_STAGES = 500
"""How many stages are remembered of one connection."""

_YEAR = 365 * 86400
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


class GetRazeSettings(BaseModel):
    """What can be said of a GetRaze account in config.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dialect: Literal["documented", "served", "auto"] = Field(
        default="auto",
        description="Which of the two the server speaks; `auto` learns it from an answer and asks before the first write.",
    )
    pipeline_id: str | None = Field(
        default=None, min_length=1, description="Served dialect: the pipeline that new opportunities go into."
    )
    stage_id: str | None = Field(
        default=None, min_length=1, description="Served dialect: the stage of a new opportunity that names none."
    )
    sandbox_dialect: Literal["documented", "served"] | None = Field(
        default=None, description="What the built-in sandbox speaks; the connection's own dialect without it."
    )


def _exactly(parameter: str, words: Iterable[str]) -> Native:
    known = frozenset(words)
    return lambda value: (parameter, value) if value in known else None


def _shaped(parameter: str, pattern: str) -> Native:
    return lambda value: (parameter, value) if re.fullmatch(pattern, value) else None


class GetRaze(Adapter):
    """Both dialects: flat records, page-number paging, an hourly budget told in every answer."""

    name = "getraze"
    title = "GetRaze"
    homepage = "https://getraze.com"
    base_url = "https://app.getraze.com/external/v1"
    limits = Limits(page=100, budget=Budget(calls=1000, per=3600))
    Settings = GetRazeSettings
    sandbox = "adapters.getraze.sandbox:GetRazeSandbox"
    dialects = (DOCUMENTED, SERVED)
    writes: ClassVar[Mapping[str, tuple[str, ...]]] = {"create": ("create",), "update": ("update", "move")}
    default_sort = "-created_at"
    # A known e-mail links the existing contact, which keeps its own company, position and telephone.
    no_proof = frozenset({"company", "contacts.name", "contacts.title", "contacts.phones", "contacts.linkedin_url"})

    @property
    def dialect(self) -> str | None:
        """As the configuration says, else as an answer has shown."""
        told: str = self.settings.dialect
        if told == "auto" or self.facts.dialect is not None:
            return self.facts.dialect
        return SERVED if told == "served" else DOCUMENTED

    @property
    def is_served(self) -> bool:
        """Whether the server is known to speak the served dialect; until then it is taken at its pages' word."""
        return self.dialect == SERVED

    def fields(self) -> Table:
        """The table of the dialect that the connection is known to speak."""
        if self.is_served:
            return served(self.stages_map, {stage.id: stage.name for stage in self.facts.stages if stage.name})
        return documented(self.stages_map)

    @property
    def filters(self) -> Mapping[str, Native]:  # type: ignore[override]  # depends on the dialect
        """What the server itself filters by. The served one passes over a filter that it does not know, without a word."""
        if self.is_served:
            return {
                "stage": _shaped("stage_id", _UUID),
                "owner": _shaped("owner_user_id", _UUID),
                "q": lambda value: ("search", value) if value else None,
            }
        # A status that one word means, and no other: not even one that the account has added, and the stage map tells of.
        added = {means for word, means in self.stages_map.items() if word not in STATUSES}
        return {
            "status": _exactly("status", {"won", "lost"} - added),
            "stage": _exactly("status", STATUSES),
            "source": _exactly("source", SOURCES),
            # Ids of users start so; a name cannot be asked for.
            "owner": lambda value: ("responsible_user_id", value) if value.startswith("usr_") else None,
            "q": lambda value: ("search", value) if value else None,
        }

    @property
    def sorts(self) -> tuple[str, ...]:  # type: ignore[override]  # depends on the dialect
        """The canonical sorts that the server does itself."""
        if not self.is_served:
            return ("created_at", "-created_at")
        return tuple(f"{sign}{name}" for name in _SERVED_SORTS for sign in ("", "-"))

    @property
    def names_in_lists(self) -> bool:  # type: ignore[override]  # depends on the dialect
        """Served: a record that is read by its id tells its stage's id only."""
        return self.is_served

    @property
    def known_stages(self) -> tuple[Stage, ...]:
        """Documented: its words. Served: what answers have told so far, and the ids in the stage map."""
        if self.is_served:
            told = {stage.id for stage in self.facts.stages}
            mapped = (id_ for id_ in self.stages_map if id_ not in told and re.fullmatch(_UUID, id_))
            return (*self.facts.stages, *map(Stage, mapped))
        return tuple(Stage(word, word, order) for order, word in enumerate(STATUSES))

    @property
    def id_pattern(self) -> str | None:
        """The served dialect's ids are UUIDs; it fails over any other."""
        return _UUID if self.is_served else None

    def learn(self, call: Call, reply: Reply) -> Facts:
        """The dialect from the shape of an answer; names of stages from lists and stage moves."""
        data = reply.body.get("data") if isinstance(reply.body, dict) else None
        dialect = self.facts.dialect
        if self.settings.dialect == "auto":
            dialect = _dialect_of(call, data) or dialect
        if type(data) is dict:  # as with every record that is read by its id
            named = [data] if "stage_name" in data else []
        elif type(data) is list:
            named = [record for record in data if isinstance(record, dict) and "stage_name" in record]
        else:
            named = []
        if not named:
            return self.facts if dialect == self.facts.dialect else Facts(dialect, self.facts.stages)
        stages = {stage.id: stage for stage in self.facts.stages}
        for record in named:
            id_, name = record.get("stage_id"), record["stage_name"]
            if isinstance(id_, str) and isinstance(name, str) and (id_ in stages or len(stages) < MOST_STAGES):
                stages[id_] = Stage(id_, name)
        return Facts(dialect, tuple(stages.values()))

    def probe(self) -> Call | None:
        """While the dialect is not known: the cheapest list there is."""
        return None if self.dialect is not None else Call("list", "GET", "/opportunities", (("limit", "1"),))

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
            member = query.sort.removeprefix("-")
            order = "desc" if query.sort.startswith("-") else "asc"
            parameters += [("sort_by", _SERVED_SORTS[member] if self.is_served else member), ("sort_order", order)]
        return Call("list", "GET", "/opportunities", tuple(parameters))

    def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """One call; what is not sent gets GetRaze's own defaults.

        The served dialect needs a pipeline and a stage: without them it fails, having stored the contact already.
        """
        body = dict(bodies.get("create", {}))
        if self.is_served:
            body.setdefault("stage_id", self.settings.stage_id)
            body["pipeline_id"] = self.settings.pipeline_id
            if body["stage_id"] is None or body["pipeline_id"] is None:
                raise CannotSend(
                    "GetRaze's server needs a pipeline and a stage for a new opportunity, and would store a stray contact "
                    "without: set `settings: {pipeline_id: …, stage_id: …}` for this connection in config.yaml."
                )
        yield Call("create", "POST", "/opportunities", body=body)

    def look_up(self, bodies: Mapping[str, dict[str, Json]]) -> ListQuery | None:
        """By e-mail where one was sent, else by name: the only way to see whether a create took effect.

        Asked for is a piece that is stored as it was sent; where there is none, the newest of all.
        """
        body = bodies.get("create", {})
        told = body.get("email") or body.get("name")
        if not isinstance(told, str):
            return None
        piece = stretch(told)
        return ListQuery(self.limits.page, filters=(("search", piece),) if piece else ())

    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        """PUT for the fields (it changes only what is sent), then a call of its own for the stage."""
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
        """`data.opportunities` or `data` itself; another follows while the server says so and this one held anything."""
        if not isinstance(body, dict):
            return None
        data: Json = body.get("data")
        pagination: Json = body.get("pagination")
        if isinstance(data, dict):
            data, pagination = data.get("opportunities"), data.get("pagination")
        if not isinstance(data, list):
            return None
        told: dict[str, Json] = pagination if isinstance(pagination, dict) else {}
        number = int(query.position or "1")
        pages, more = told.get("total_pages"), told.get("has_next")
        if type(more) is not bool:  # without a readable total a full page may have a successor
            more = number < pages if type(pages) is int else len(data) >= query.size
        return Page(data, str(number + 1) if more and data else None)

    def problem(self, reply: Reply) -> Rejection:
        """`error.code`, `error.message`, `error.retry_after` and `details.fields`, and nothing else of the body."""
        error = reply.body.get("error") if isinstance(reply.body, dict) else None
        if not isinstance(error, dict):
            return Rejection()
        details = error.get("details")
        fields = details.get("fields") if isinstance(details, dict) else None
        return Rejection(
            code=_text(error.get("code")),
            message=_text(error.get("message")),
            retry_after=_seconds(error.get("retry_after")),
            fields={str(name): str(what) for name, what in fields.items()} if isinstance(fields, dict) else {},
        )

    def denies(self, reply: Reply) -> bool:
        """`success` is false, or is not told where an `error` is."""
        told = reply.body
        if type(told) is not dict or told.get("success") is True:
            return False
        return told.get("success") is False or isinstance(told.get("error"), dict)

    def status_of_stage(self, stage: Stage) -> str | None:
        """Documented: a word means what it says. Served: by the stage map; else a stage named won or lost is that, and one
        of another name open."""
        if not self.is_served:
            return STATUS_OF_WORD.get(stage.id) or super().status_of_stage(stage)
        named = stage.name if stage.name in ("won", "lost") else None if stage.name is None else "open"
        return super().status_of_stage(stage) or named

    def budget_left(self, reply: Reply) -> BudgetLeft | None:
        """The three `X-RateLimit-` headers that every answer carries."""
        told = reply.headers
        limit, remaining = _whole(told.get("x-ratelimit-limit")), _whole(told.get("x-ratelimit-remaining"))
        reset = _whole(told.get("x-ratelimit-reset"))
        if limit is None and remaining is None:
            return None
        return BudgetLeft(limit, remaining, float(reset) if reset is not None else None)


_SERVED_SORTS = {"created_at": "created_at", "updated_at": "updated_at", "name": "title", "amount": "value"}


def _dialect_of(call: Call, data: Json) -> str | None:
    """What the shape of an answer tells: an envelope of a list, or the member that holds the title."""
    if isinstance(data, list):
        return SERVED
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("opportunities"), list):
        return DOCUMENTED
    if call.operation == "list" or ("title" in data) == ("name" in data):
        return None
    return SERVED if "title" in data else DOCUMENTED


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _seconds(value: Json) -> float | None:
    """A number of JSON, whole or not, as seconds to wait; anything beyond a year is as good as a year."""
    if type(value) is not int and not isinstance(value, Decimal):
        return None
    return float(min(value, _YEAR)) if value >= 0 else None


@lru_cache(maxsize=4096)  # a provider counts down from the same number again and again
def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 16 else None


__all__ = ["GetRaze", "GetRazeSettings"]
