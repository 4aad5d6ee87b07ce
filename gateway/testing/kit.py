"""What every check of the contract kit works on: the adapter as a connection would build it, and its samples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

from gateway.adapter import Adapter, Call, Facts, ListQuery, Reply
from gateway.drafts import Draft, Patch, validated
from gateway.errors import Problem
from gateway.ids import is_native
from gateway.opportunities import Read
from gateway.strict_json import Json
from gateway.testing.exchanges import Exchange, Step, load_exchanges
from gateway.testing.mutations import at, nodes
from gateway.testing.replay import Replay, scripted

Faults = Iterator[str]
"""What a check finds wrong, a sentence each; nothing when all is well."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A record of an exchange: `whole` when it is the answer of an operation that gives whole records."""

    exchange: Exchange
    record: dict[str, Json]
    call: Call
    whole: bool

    def __str__(self) -> str:
        return self.exchange.file


class Kit:
    """One adapter under test, with one set of settings; with a `dialect`, as a connection that has learned to speak it."""

    def __init__(
        self,
        adapter: type[Adapter],
        settings: Mapping[str, Any],
        stages: Mapping[str, str],
        key: str,
        dialect: str | None = None,
    ) -> None:
        self.adapter_class = adapter
        self.settings = dict(settings)
        self.stages = dict(stages)
        self.key = key
        self.dialect = dialect

    def build(self, settings: Mapping[str, Any] | None = None, stages: Mapping[str, str] | None = None) -> Adapter:
        """The adapter as a connection would have it; with the kit's own settings unless others are given."""
        model = self.adapter_class.Settings.model_validate(dict(self.settings if settings is None else settings))
        mapped = self.stages if stages is None else stages
        built = self.adapter_class(model, mapped)
        learned = self.dialect if settings is None else None
        if learned is None and built.dialect is None:  # it is tested as it is after its first answer
            learned = built.dialect_names()[0]
        return built if learned is None else self.adapter_class(model, mapped, Facts(dialect=learned))

    def dialects(self) -> "list[Kit]":
        """This kit for each dialect that the adapter can learn to speak, or itself where there is no choice."""
        names = self.adapter_class.dialect_names()
        model = self.adapter_class.Settings.model_validate(self.settings)
        settled = bool(self.settings) and self.adapter_class(model, self.stages).dialect is not None
        if self.dialect is not None or len(names) < 2 or settled:
            return [self]
        if "_dialects" not in self.__dict__:  # kept: each reads its samples once
            self.__dict__["_dialects"] = [
                Kit(self.adapter_class, self.settings, self.stages, self.key, name) for name in names
            ]
        kits: list[Kit] = self.__dict__["_dialects"]
        return kits

    def built_for(self, exchange: Exchange) -> Adapter:
        """The adapter with the settings that an exchange asks for."""
        if self.dialect is not None and exchange.settings is None:
            return self.build({}, exchange.stages)
        return self.build(exchange.settings, exchange.stages)

    @cached_property
    def adapter(self) -> Adapter:
        """The adapter with the kit's settings."""
        return self.build()

    @cached_property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All exchanges beside the adapter; with a dialect, those that are in it."""
        found = load_exchanges(self.adapter_class)
        if self.dialect is None:
            return found
        return tuple(exchange for exchange in found if self.built_for(exchange).dialect == self.dialect)

    def of(self, *operations: str) -> list[Exchange]:
        """The exchanges of some operations."""
        return [exchange for exchange in self.exchanges if exchange.operation in operations]

    def steps(self) -> Iterator[tuple[Exchange, Step]]:
        """Every call of every exchange."""
        for exchange in self.exchanges:
            for step in exchange.steps:
                yield exchange, step

    @cached_property
    def samples(self) -> list[Sample]:
        """Every record in the success replies of this dialect's exchanges, those of lists included."""
        built = [(exchange, self.built_for(exchange)) for exchange in self.exchanges]
        return [
            sample for exchange, adapter in built if adapter.dialect == self.adapter.dialect
            for sample in self.samples_of(adapter, exchange)
        ]  # fmt: skip

    def samples_of(self, adapter: Adapter, exchange: Exchange) -> Iterator[Sample]:
        """The records of one exchange, as `adapter` takes them out of the replies."""
        for step in exchange.steps:
            if step.fails or exchange.operation in ("delete", "stages"):
                continue
            if exchange.operation == "list":
                page = adapter.page(step.reply.body, query_of(adapter, exchange))
                records = list(page.items) if page is not None else []
            else:
                records = [adapter.record(step.reply.body)]
            whole = exchange.operation in adapter.whole
            for record in records:
                if isinstance(record, dict):
                    yield Sample(exchange, record, step.call, whole)

    def readings(self) -> Iterator[tuple[Adapter, Sample]]:
        """Every sample with each adapter that has to read it: of the exchange's settings, and of the kit's own."""
        for sample in self.samples:
            special = sample.exchange.settings is not None or sample.exchange.stages is not None
            built = self.built_for(sample.exchange) if special else self.adapter
            if built.dialect == self.adapter.dialect:  # another dialect's records are no concern of this one
                yield self.adapter, sample
            if special:
                yield built, sample

    def replay(self, exchange: Exchange | None = None, adapter: Adapter | None = None) -> Replay:
        """A connection that answers as the exchange shows, or every write with 500 and every read as any exchange shows."""
        steps = () if exchange is None else exchange.steps
        if adapter is None:
            adapter = self.adapter if exchange is None else self.built_for(exchange)
        return Replay(adapter, self.key, scripted(steps, self.exchanges))

    def read(self, adapter: Adapter, record: dict[str, Json], call: Call) -> Read:
        """A record as the gateway reads it. Raises `Problem` when it cannot be served."""
        return Replay(adapter, self.key, lambda call: Reply(404)).opportunities().record_of(record, call)

    @cached_property
    def native_id(self) -> str:
        """An id as this provider spells them, from the samples."""
        for sample in self.samples:
            found = self.adapter.table.read(sample.record).values.get("native_id")
            if is_native(found):
                return str(found)
        return "1"


def in_each_dialect(check: Callable[[Kit], Faults]) -> Callable[[Kit], Faults]:
    """The check, run for every dialect of an adapter that has several; its faults then say which."""

    @wraps(check)
    def run(kit: Kit) -> Faults:
        kits = kit.dialects()
        for one in kits:
            for fault in check(one):
                yield f"{one.dialect}: {fault}" if len(kits) > 1 else fault

    return run


def spoken(error: Exception) -> str:
    """An error as a check tells it: of a problem also what the provider, or its stand-in, said."""
    told = error.provider if isinstance(error, Problem) else None
    if told is None:
        return str(error)
    words = ", ".join(dict.fromkeys(word for word in (told.code, told.message) if word))
    return f"{error} (the answer had status {told.status}{f': {words}' if words else ''})"


def query_of(adapter: Adapter, exchange: Exchange) -> ListQuery:
    """The page that a list exchange asks for; its filters in the provider's words."""
    given = exchange.input
    filters = []
    for name, value in given.get("filters", {}).items():
        take = adapter.filters.get(name)
        pair = take(value) if take is not None else None
        if pair is None:
            raise AssertionError(f"{exchange.file}: `input.filters.{name}` is no filter of the provider's own list")
        filters.append(pair)
    return ListQuery(given["size"], given.get("position"), tuple(filters), given.get("sort"))


def draft_of(exchange: Exchange) -> dict[str, Json]:
    """The draft or patch of a write exchange in canonical spelling. Raises `Problem` when a caller could not send it."""
    if exchange.operation == "create":
        return validated(Draft, exchange.input["draft"])
    return validated(Patch, exchange.input["patch"])


def holds(body: Json, part: Json) -> bool:
    """Whether `part` is the body itself or lies in it whole, as it is."""
    return body == part or any(at(body, pointer) == part for pointer in nodes(body))
