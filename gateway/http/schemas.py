"""Every answer of the API as a closed type: from these come the schemas of `/openapi.json`.

What stands here is what the handlers produce, member for member; a member that is not always there is `NotRequired`.
What a caller reads and writes of an opportunity is in `gateway.opportunity`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from gateway.drafts import Draft, Patch
from gateway.errors import CODES, Origin, Outcome
from gateway.opportunity import Opportunity
from gateway.reading import Reason

_CLOSED = ConfigDict(extra="forbid")
_OPEN = ConfigDict(extra="allow")

FilterName = Literal["status", "stage", "owner", "source", "company", "q", "modified_since"]
SortName = Literal[
    "created_at", "-created_at", "updated_at", "-updated_at", "name", "-name", "amount", "-amount"
]  # fmt: skip
Mode = Literal["native", "emulated", "none"]
Operation = Literal["get", "list", "create", "update", "delete"]

# --- what is told beside an opportunity ------------------------------------------------------------------------------


class Issue(TypedDict):
    """A value of the provider's record that could not be read; it is kept in `extensions`."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    field: Annotated[str, Field(description="The canonical field that it would have filled.")]
    path: Annotated[str, Field(description="Where it stands in the provider's record, a JSON Pointer.")]
    reason: Annotated[Reason, Field(description="Why it could not be read.")]
    detail: Annotated[str, Field(description="The same in a sentence.")]


class ListIssue(Issue):
    """A value that could not be read in one of the records of a list."""

    index: Annotated[int, Field(description="The record's place in `data`, from 0.")]
    id: Annotated[str, Field(description="The record's id.")]


class NotApplied(TypedDict):
    """Something that was asked for and is not so in the record as it now is."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    field: Annotated[str, Field(description="The canonical path, such as `contacts[0].title`.")]
    reason: Annotated[
        Literal["unsupported", "ignored", "coerced", "failed"],
        Field(
            description="`unsupported`: never sent; `ignored`: sent, but read back otherwise; `coerced`: stored in another "
            "form; `failed`: its call failed while another of the same write succeeded."
        ),
    ]
    detail: Annotated[str, Field(description="The same in a sentence.")]
    sent: NotRequired[Annotated[Any, Field(description="What was asked for.")]]
    stored: NotRequired[Annotated[Any, Field(description="What the record holds instead.")]]


_Source = TypedDict("_Source", {
    "from": Annotated[list[str], Field(description="JSON Pointers in the provider's record.")],
})  # fmt: skip
_MaybeSource = TypedDict("_MaybeSource", {
    "from": NotRequired[Annotated[list[str], Field(description="Where the provider said so: JSON Pointers.")]],
})  # fmt: skip


class Explained(_Source):
    """Where a canonical field came from."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    native: Annotated[bool, Field(description="Whether the provider has the field as such; false: it was worked out.")]
    rule: Annotated[str, Field(description="How the value was read, in words.")]


class Unexplained(_MaybeSource):
    """Why a canonical field has no value."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    reason: Annotated[
        Literal["unsupported", "unmapped", "empty", "not_told", "unreadable"],
        Field(
            description="`unsupported`: the provider has no such thing; `unmapped`: the configuration does not say where "
            "it is kept; `empty`: the provider said null; `not_told`: it said nothing; `unreadable`: see `issues`."
        ),
    ]
    detail: NotRequired[Annotated[str, Field(description="The same in a sentence; may be empty.")]]


Explain = dict[str, Explained | Unexplained]
_Explain = Annotated[Explain, Field(
    description="With `explain=true`: for each canonical field where it came from, or why it has none.")]  # fmt: skip
_Raw = Annotated[dict[str, Any], Field(description="With `raw=true`: the provider's record as it came.")]


class OpportunityMeta(TypedDict):
    """What is told beside an opportunity."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    issues: Annotated[list[Issue], Field(description="Values that could not be read.")]
    explain: NotRequired[_Explain]
    raw: NotRequired[_Raw]


class OpportunityAnswer(TypedDict):
    """One opportunity."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[Opportunity, Field(description="The opportunity.")]
    meta: Annotated[OpportunityMeta, Field(description="What is told beside it.")]


class WrittenMeta(OpportunityMeta):
    """The ledger of a write, and what is told beside the opportunity."""

    applied: Annotated[list[str], Field(
        description="What took: top-level fields, or paths where only a part of the field did.")]  # fmt: skip
    not_applied: Annotated[list[NotApplied], Field(description="What did not take, each with its reason.")]
    read_back: Annotated[
        bool,
        Field(
            description="Whether `data` is the record as read again after the write; false: reading it again failed, and "
            "`data` is what the provider answered to the write."
        ),
    ]


class WrittenOpportunity(TypedDict):
    """An opportunity as the provider has it after a write, and what became of each thing asked for."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[Opportunity, Field(description="The opportunity as the provider now has it.")]
    meta: Annotated[WrittenMeta, Field(description="What took and what did not, and what is told beside it.")]


# --- problems --------------------------------------------------------------------------------------------------------


class ProblemField(TypedDict):
    """What is wrong with one member of the input."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    field: Annotated[str, Field(description="The member's path such as `contacts[0].title`, a parameter or a header.")]
    message: Annotated[str, Field(description="What is wrong with it; the input is never repeated.")]


class ProblemProvider(TypedDict):
    """What the provider said, without keys and addresses, and cut: for support, never for program logic."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    status: Annotated[int, Field(description="The HTTP status that it answered with.")]
    code: NotRequired[Annotated[str, Field(description="Its own word for the error.")]]
    message: NotRequired[Annotated[str, Field(description="Its own sentence.")]]
    request_id: NotRequired[Annotated[str, Field(description="Its own id of the request.")]]


class Problem(TypedDict):
    """What went wrong, who must act and what is known of a write (RFC 9457)."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    type: Annotated[str, Field(description="`/problems/<code>`, a page on what it means and what to do.")]
    title: Annotated[str, Field(description="What the code means, the same for each problem of this code.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What is wrong with this request.")]
    code: Annotated[
        str, Field(description="The problem as one word, for program logic.", json_schema_extra={"enum": [*CODES]})
    ]
    origin: Annotated[Origin, Field(description="Who the problem lies with.")]
    retryable: Annotated[bool, Field(description="Whether the same request may succeed later.")]
    retry_after: NotRequired[Annotated[int, Field(description="Seconds to wait, as in the header Retry-After.")]]
    request_id: NotRequired[Annotated[str, Field(description="The request's id, as in the header X-Request-Id.")]]
    connection: NotRequired[Annotated[str, Field(description="The connection that the request was for.")]]
    errors: NotRequired[Annotated[list[ProblemField], Field(description="What is wrong with each part of the input.")]]
    provider: NotRequired[Annotated[ProblemProvider, Field(description="What the provider said.")]]
    outcome: NotRequired[
        Annotated[
            Outcome, Field(description="Of a write: whether it took effect. `unknown`: look before you send it again.")
        ]
    ]


# --- lists -----------------------------------------------------------------------------------------------------------


class ListError(TypedDict):
    """A record that could not be served."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    index: Annotated[
        int | None,
        Field(
            description="With `ids`: its place in `data`, where a null stands. On a page: it came before the record at "
            "this place in `data`."
        ),
    ]
    id: Annotated[str | None, Field(description="The id as it was asked for; null on a page, where it cannot be read.")]
    problem: Annotated[Problem, Field(description="Why not.")]


class FilterUse(TypedDict):
    """How a filter or the sort was done."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    mode: Annotated[Literal["native", "emulated"], Field(
        description="`native`: the provider did it; `emulated`: the gateway looked through its records.")]  # fmt: skip
    scanned: NotRequired[Annotated[int, Field(description="How many records were looked at.")]]
    exhausted: NotRequired[Annotated[bool, Field(
        description="Whether these were all. If not, go on with the cursor; and a sort holds among these only: what the "
        "next scan finds is sorted by itself and comes after them, though it may belong before them.")]]  # fmt: skip


class PageMeta(TypedDict):
    """What is told beside a list; `sort` and `filters` of a page only, not with `ids`."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    sort: NotRequired[Annotated[str, Field(description="The order; the provider's own if none was asked for.")]]
    filters: NotRequired[
        Annotated[
            dict[Literal[FilterName, "sort"], FilterUse],
            Field(description="How each filter was done, and the sort where it was emulated."),
        ]
    ]
    issues: Annotated[list[ListIssue], Field(description="Values that could not be read.")]
    errors: Annotated[list[ListError], Field(description="Records that could not be served.")]
    explain: NotRequired[
        Annotated[
            list[Explain | None],
            Field(description="With `explain=true`: as for a single record, for each of `data`; null where `data` is."),
        ]
    ]
    raw: NotRequired[
        Annotated[
            list[dict[str, Any] | None],
            Field(
                description="With `raw=true`: for each record of `data` the provider's record; null where `data` is."
            ),
        ]
    ]


class Paging(TypedDict):
    """Where the next page starts."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    next_cursor: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one.")]
    limit: Annotated[int, Field(description="How many records a page has at most; with `ids` how many were asked for.")]


class OpportunityPage(TypedDict):
    """A page of opportunities, or the records asked for by id."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[list[Opportunity | None], Field(
        description="The opportunities; with `ids` in their order, and null for one that failed.")]  # fmt: skip
    page: Annotated[Paging, Field(description="How long this page may be, and where the next one starts.")]
    meta: Annotated[PageMeta, Field(description="What is told beside them.")]


# --- connections -----------------------------------------------------------------------------------------------------


class WritableFields(TypedDict):
    """What can be written, by operation; an operation that the provider lacks is not there."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    create: NotRequired[Annotated[list[str], Field(description="Canonical paths that POST can write.")]]
    update: NotRequired[Annotated[list[str], Field(description="Canonical paths that PATCH can write.")]]


class ConnectionFields(TypedDict):
    """The canonical paths that mean something at this provider."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    readable: Annotated[list[str], Field(description="Paths that it tells.")]
    writable: Annotated[WritableFields, Field(description="Paths that it takes, by operation.")]


class Budget(TypedDict):
    """The provider's rate limit."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    calls: Annotated[int, Field(description="Calls that it takes in a window.")]
    per_seconds: Annotated[float, Field(description="How long a window is.")]


class ConnectionLimits(TypedDict):
    """What bounds a request to this connection."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    page: Annotated[int, Field(description="Records that the provider gives in a page at most.")]
    budget: Annotated[Budget | None, Field(description="The provider's rate limit; null where none is known.")]
    timeout_seconds: Annotated[float, Field(description="The whole deadline of a request.")]
    concurrency: Annotated[int, Field(description="Calls in flight to the provider at most.")]


class BudgetLeft(TypedDict):
    """What is left of the provider's rate limit: by this gateway's own count, corrected by what the provider says."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    limit: Annotated[int | None, Field(description="Calls in the window; null where that is not told.")]
    remaining: Annotated[int | None, Field(description="Calls left in the window; null where that is not told.")]
    reset: Annotated[float | None, Field(description="When the next window begins, in Unix seconds; null: not told.")]


class CircuitState(TypedDict):
    """Whether the provider is asked at the moment."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    state: Annotated[Literal["closed", "open", "half-open"], Field(
        description="`closed`: it is asked. `open`: it failed again and again and is left alone; calls are refused. "
                    "`half-open`: one call tries whether it is back.")]  # fmt: skip
    retry_after: Annotated[int | None, Field(description="Seconds until it is tried again; null unless it is open.")]


class DriftSign(TypedDict):
    """One way in which records differ from the declared shape."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    kind: Annotated[Literal["new", "gone", "type"], Field(
        description="A member that nobody declared, one that is missing, or one of another type.")]  # fmt: skip
    path: Annotated[str, Field(description="Its JSON Pointer in the record, `*` for any place in a list.")]
    count: Annotated[int, Field(description="In how many records it was seen since the start.")]


class ConnectionState(TypedDict):
    """How the connection stands at the moment."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    budget_left: Annotated[BudgetLeft | None, Field(description="The rest of the rate limit; null: not known.")]
    circuit: Annotated[CircuitState, Field(description="Whether calls to the provider go out.")]
    drift: Annotated[list[DriftSign], Field(
        description="Where the provider's records differ from the shape that the adapter declares.")]  # fmt: skip


class ConnectionInfo(TypedDict):
    """What a connection can do and how it stands."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    name: Annotated[str, Field(description="The connection's name in config.yaml, and the prefix of its ids.")]
    provider: Annotated[str, Field(description="The adapter behind it.")]
    title: Annotated[str, Field(description="The provider's name as people write it.")]
    default: Annotated[bool, Field(description="Whether requests that choose no connection go here.")]
    sandbox: Annotated[bool, Field(description="Whether a built-in stand-in answers instead of the provider.")]
    dialect: Annotated[str | None, Field(
        description="Which of the provider's dialects its server speaks; null while no answer has told.")]  # fmt: skip
    operations: Annotated[list[Operation], Field(description="What can be done; anything else is answered with 405.")]
    fields: Annotated[ConnectionFields, Field(description="What can be read and written.")]
    filters: Annotated[dict[FilterName, Mode], Field(
        description="Who does each filter of a list: the provider, the gateway by a scan, or nobody.")]  # fmt: skip
    sorts: Annotated[dict[SortName, Mode], Field(description="The same for each sort.")]
    default_sort: Annotated[str, Field(description="The order in which the provider lists when none is asked for.")]
    limits: Annotated[ConnectionLimits, Field(description="What bounds a request.")]
    idempotency: Annotated[bool, Field(description="Whether an Idempotency-Key is taken; if not, it is refused.")]
    state: Annotated[ConnectionState, Field(description="How it stands at the moment.")]


class NoMeta(TypedDict):
    """Nothing is told beside this answer."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict


class ConnectionAnswer(TypedDict):
    """One connection."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[ConnectionInfo, Field(description="The connection.")]
    meta: Annotated[NoMeta, Field(description="Empty.")]


class ConnectionList(TypedDict):
    """The connections that the caller may use, in the configuration's order."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[list[ConnectionInfo], Field(description="The connections.")]
    meta: Annotated[NoMeta, Field(description="Empty.")]


# --- the rest --------------------------------------------------------------------------------------------------------


class Record(TypedDict):
    """A bare record in the dialect that `from` names, without the provider's envelope."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]  # pydantic reads it off a TypedDict


class TranslationMeta(TypedDict):
    """What could not be read of the record, and what the other dialect cannot hold of it."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    issues: Annotated[list[Issue], Field(description="Values that could not be read.")]
    not_applied: Annotated[list[NotApplied], Field(description="What the dialect that `to` names cannot hold.")]


class Translation(TypedDict):
    """The record in the other dialect."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[dict[str, Any], Field(
        description="The record; a canonical one is without `id` and `connection`: none is involved.")]  # fmt: skip
    meta: Annotated[TranslationMeta, Field(description="What was lost on the way.")]


class UnknownWrite(TypedDict):
    """A write whose outcome is or was unknown."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: Annotated[str, Field(description="What `crm-gateway outcomes --settle` takes. No key can be told from it.")]
    connection: Annotated[str, Field(description="Where the write went.")]
    caller: Annotated[str | None, Field(description="Who sent it; null where no caller is configured.")]
    operation: Annotated[Literal["create", "update", "delete"], Field(description="What was asked for.")]
    keyed: Annotated[bool, Field(description="Whether it came with an Idempotency-Key, which it holds until settled.")]
    outcome: Annotated[Literal["unknown", "applied", "not_applied"], Field(description="What is known of it by now.")]
    settled_by: Annotated[Literal["holder", "look-up", "operator", "repeat"] | None, Field(
        description="How it came to be known; null while it is not.")]  # fmt: skip
    opportunity: Annotated[str | None, Field(
        description="The record: that a create was found to have made, or that an unknown other write is of.")]  # fmt: skip
    began_at: Annotated[str, Field(description="When the request came.", json_schema_extra={"format": "date-time"})]
    since: Annotated[str, Field(description="Since when the outcome is what it is.",
                                json_schema_extra={"format": "date-time"})]  # fmt: skip
    looks: Annotated[int, Field(description="Look-ups, late enough to count, that found nothing.")]
    holder_gone: Annotated[bool, Field(
        description="Whether who sent it is known to send no more; absence is not concluded before.")]  # fmt: skip


class OutcomeList(TypedDict):
    """What is unknown first, then what was, the latest first."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    data: Annotated[list[UnknownWrite], Field(description="The writes.")]
    page: Annotated[Paging, Field(description="How long this page may be, and where the next one starts.")]
    meta: Annotated[NoMeta, Field(description="Empty.")]


class Health(TypedDict):
    """How the gateway itself is."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    status: Annotated[Literal["ok", "ready"], Field(description="`ok`: it is alive; `ready`: it can serve.")]


class OpenApiDocument(TypedDict):
    """An OpenAPI 3.1 document."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]  # pydantic reads it off a TypedDict


MODELS: Mapping[str, Any] = {
    model.__name__: model
    for model in (
        OpportunityAnswer, OpportunityPage, WrittenOpportunity, ConnectionList, ConnectionAnswer, Translation, Health,
        OutcomeList, OpenApiDocument, Problem, Draft, Patch, Record,
    )
}  # fmt: skip
"""What the `body` and the `answer` of a route may name."""
