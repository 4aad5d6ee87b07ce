"""What an adapter is: declarations and pure functions. It does no I/O, has no clock, client or logger.

An adapter describes one provider. It is built once per connection from that connection's settings, and holds nothing
that changes. **An operation exists when its method does**: a class without `delete` cannot delete, says so by itself in
`/v1/connections`, and is tested to be refused properly. Everything else that a capability could be (what is readable,
writable, by which operation) is derived from the field table, so that it cannot drift.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from pydantic import BaseModel, ConfigDict

from gateway.strict_json import Json

if TYPE_CHECKING:
    from gateway.fields import Table

OPERATIONS = ("get", "list", "create", "update", "delete")
"""What a caller can ask of a connection, in the order in which it is shown."""


class Call(msgspec.Struct, frozen=True):
    """One request to a provider, without the credential: that is added where the call leaves, and nowhere else.

    `path` starts with `/`, is relative to the connection's base URL and already safe for a URL; `query` pairs are not yet
    encoded; `body` is JSON or None for no body. `operation` is the adapter's word for it (`get`, `update`, `move` ...).
    """

    operation: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Json = None
    reads: bool = False
    """A POST that only asks (a search); a GET always does."""
    absolute: bool | None = None
    """Whether doing it twice is doing it once, since it sets values. None: a PUT or a PATCH does, nothing else.
    A POST never does, whatever is said here: a second one may make a second record."""

    @property
    def is_read(self) -> bool:
        """Whether the call changes nothing at the provider, so that it may be sent again."""
        return self.reads or self.method == "GET"

    @property
    def is_absolute(self) -> bool:
        """Whether a write may be sent again though it may have been applied."""
        if self.method == "POST":
            return False
        return self.method in ("PUT", "PATCH") if self.absolute is None else self.absolute


def _nothing() -> None:
    pass


class Reply(msgspec.Struct, frozen=True):
    """What came back: `headers` with names in lower case, `body` parsed from strict JSON (None when there was none).

    `unreadable` is True for an error reply (status 400 and up) whose body is not JSON; a success reply that is not JSON
    never becomes a Reply. `elapsed` is in seconds, from the call's start to the last byte. `discard()` gives up the
    connection that it came on: for an answer that is not the one to the question. Its repr shows neither headers nor body:
    a provider may say our key back.
    """

    status: int
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: Json = None
    unreadable: bool = False
    elapsed: float = 0.0
    discard: Callable[[], None] = _nothing

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"


class Rejection(msgspec.Struct, frozen=True):
    """What a provider's error reply says, in the provider's words. Everything may be missing."""

    code: str | None = None
    message: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    """Seconds, where the body tells it; the `Retry-After` header is read for every provider alike."""
    fields: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The provider's own member name or JSON Pointer -> what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many calls the provider allows in a window of so many seconds."""

    calls: int
    per: float


class BudgetLeft(msgspec.Struct, frozen=True):
    """What a reply tells of the provider's limit: calls in the window, calls left, Unix second of the next window."""

    limit: int | None
    remaining: int | None
    reset: float | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the provider allows: `page` records a page at most, and its rate limit."""

    page: int
    budget: Budget | None = None


class ListQuery(msgspec.Struct, frozen=True):
    """One page to ask for: only filters that `Adapter.native` took, only a sort of `Adapter.sorts`.

    `filters` are the provider's own parameters; `position` is the `Page.next` of the page before, None for the first.
    """

    size: int
    position: str | None = None
    filters: tuple[tuple[str, str], ...] = ()
    sort: str | None = None


class Page(msgspec.Struct, frozen=True):
    """The records of one page in the provider's shape, and where the next one starts (None: this was the last)."""

    items: Sequence[Json]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as the provider lists it; `name` or `order` may be unknown."""

    id: str
    name: str | None = None
    order: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a connection's answers have taught: which dialect its server speaks, and stages by id."""

    dialect: str | None = None
    stages: tuple[Stage, ...] = ()


Native = Callable[[str], tuple[str, str] | None]
"""A filter's value -> the provider's (parameter, value), or None where this value has to be emulated."""


class CannotSend(Exception):
    """Raised by `create` or `update` when a call would do harm as things are; the text says what has to be set or sent."""


class NoSettings(BaseModel):
    """For an adapter without settings: every key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Adapter:
    """Describes a provider. Subclass it, declare, and define the operations that the provider has.

    Promises that the contract kit holds each adapter to:

    - no method does I/O, reads a clock, keeps state or changes its arguments;
    - no `Call` carries the credential: `headers` alone makes something of it;
    - `problem`, `denies`, `record` and `page` never raise, whatever the provider sent;
    - every canonical field has a row in `fields`, if only `absent("why")`;
    - `look_up`, where it is defined, gives for the bodies of a create the list, newest first, in which a record made from
      them would be found, also when the provider trims, collapses, escapes or cuts its text (`gateway.steady.stretch` gives
      a piece to search for; with none, all records do); None when nothing in them can be looked for. Without it a create
      whose outcome is unknown stays so until an operator settles it.
    """

    name: ClassVar[str]
    """The word for it in config.yaml and in `provider`."""
    title: ClassVar[str]
    homepage: ClassVar[str]
    base_url: ClassVar[str]
    """Where the provider answers, when config.yaml names nothing else."""
    limits: ClassVar[Limits]
    Settings: ClassVar[type[BaseModel]] = NoSettings
    """The adapter's own part of config.yaml, `settings:`."""
    sandbox: ClassVar[str | None] = None
    """`package.module:callable` of the stand-in that `base_url: sandbox` starts."""
    zone: ClassVar[tzinfo] = UTC
    """Where a time without an offset was meant."""
    dialects: ClassVar[tuple[str, ...]] = ()
    """Names that `translate` takes for this provider's record; by default the adapter's own name."""
    whole: ClassVar[frozenset[str]] = frozenset({"get"})
    """Operations whose declared answer is the whole record."""
    writes: ClassVar[Mapping[str, tuple[str, ...]]] = {"create": ("create",), "update": ("update",)}
    """For what a caller asks, the calls that can carry its fields, in order: the names used in the table's write paths."""
    filters: ClassVar[Mapping[str, Native]] = {}
    """Canonical filter -> how the provider's own list filters by it."""
    sorts: ClassVar[tuple[str, ...]] = ()
    """Canonical sorts that the provider's own list can do, `-` in front for descending."""
    default_sort: ClassVar[str] = ""
    """The order in which the provider lists when nothing is asked."""
    names_in_lists: ClassVar[bool] = False
    """Whether only lists tell the names of stages (`learn` keeps them): where one is needed the gateway asks for a page."""
    no_proof: ClassVar[frozenset[str]] = frozenset()
    """Canonical paths, without places in lists, at which a new record may differ from what the create sent that made it."""

    def __init__(self, settings: BaseModel, stages: Mapping[str, str], facts: "Facts | None" = None) -> None:
        """`settings` is an instance of `Settings`; `stages` maps a stage's id or name to open, won, lost or closed.

        `facts` are what earlier answers of this connection taught: see `learn`.
        """
        self.settings: Any = settings
        self.stages_map = dict(stages)
        self.facts = facts or Facts()
        self.table = self.fields()

    def fields(self) -> "Table":
        """The field table of the dialect that this connection speaks: where each canonical field is read and written."""
        raise NotImplementedError(f"{type(self).__name__} declares no fields()")  # an adapter's author forgot it

    @property
    def dialect(self) -> str | None:
        """The dialect that this connection speaks, of `dialect_names()`; None while that is not known yet."""
        return self.dialect_names()[0]

    @property
    def known_stages(self) -> tuple[Stage, ...]:
        """Stages that are known without asking: the same for every account, or learned from its answers."""
        return self.facts.stages

    @property
    def id_pattern(self) -> str | None:
        """If ids have a form of their own, its regular expression: what does not match is not found without a call."""
        return None

    def learn(self, call: Call, reply: Reply) -> "Facts":
        """The facts as they are known after this success reply; the same as before when it teaches nothing.

        The gateway keeps them with the connection and builds the adapter anew when they change.
        """
        return self.facts

    def probe(self) -> Call | None:
        """What has to be asked before a write or a filtered list can be spelled; None when enough is known."""
        return None

    def headers(self, key: str) -> Mapping[str, str]:
        """The request headers that carry the credential."""
        raise NotImplementedError(f"{type(self).__name__} declares no headers()")  # an adapter's author forgot it

    if TYPE_CHECKING:  # an operation exists when its method does, so the base class defines none of these at run time

        def get(self, native_id: str) -> Call: ...

        def list(self, query: ListQuery) -> Call: ...

        def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]: ...

        def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]: ...

        def delete(self, native_id: str) -> Call: ...

        def stages(self) -> Call: ...

        def stages_of(self, body: Json) -> Sequence[Stage]: ...

        def look_up(self, bodies: Mapping[str, dict[str, Json]]) -> ListQuery | None: ...

    def record(self, body: Json) -> dict[str, Json] | None:
        """The one record in the body of a get, create or update reply; None where there is none."""
        return body if isinstance(body, dict) and body else None

    def page(self, body: Json, query: ListQuery) -> Page | None:
        """The records in the body of a list reply; None where it is no list at all."""
        raise NotImplementedError(f"{type(self).__name__} declares no page()")  # needed by whoever declares list()

    def problem(self, reply: Reply) -> Rejection:
        """What an error reply (status 300 and up, or a denied one) says; an empty Rejection when nothing readable."""
        return Rejection()

    def denies(self, reply: Reply) -> bool:
        """Whether a success reply (status below 300) says of itself that the call failed: it is told as no success then."""
        return False

    def code_for(self, reply: Reply) -> str | None:
        """A problem code where this provider's use of a status differs from the standard table; None where it does not."""
        return None

    def status_of_stage(self, stage: Stage) -> str | None:
        """open, won, lost or closed where a stage means that by itself or by the connection's stage map; else None."""
        return self.stages_map.get(stage.id) or self.stages_map.get(stage.name or "")

    def budget_left(self, reply: Reply) -> BudgetLeft | None:
        """What the reply's headers say of the rate limit; None where they say nothing."""
        return None

    @classmethod
    def operations(cls) -> tuple[str, ...]:
        """What this provider can do, derived from the methods that exist."""
        return tuple(operation for operation in OPERATIONS if cls.can(operation))

    @classmethod
    def can(cls, operation: str) -> bool:
        """Whether this is one of `operations()`."""
        return operation in OPERATIONS and callable(getattr(cls, operation, None))

    @classmethod
    def dialect_names(cls) -> tuple[str, ...]:
        """The words for this provider's records in `translate`; the first is the main one."""
        return cls.dialects or (cls.name,)

    @classmethod
    def of_dialect(cls, dialect: str) -> "Adapter":
        """An adapter with default settings that speaks one of `dialect_names()`, for translating without a connection."""
        return cls(cls.Settings(), {}, Facts(dialect=dialect))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"
