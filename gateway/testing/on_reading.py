"""Checks of reading: the samples come out as told, nothing is lost, and what is missing is said to be."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy

from pydantic import TypeAdapter, ValidationError

from gateway.adapter import Adapter
from gateway.codecs import MISSING
from gateway.fields import Group, Leaf, Many, Node, Table
from gateway.opportunities import Read
from gateway.opportunity import Opportunity
from gateway.pointer import leaves, tokens
from gateway.reading import Reading
from gateway.strict_json import Json, dumps
from gateway.testing.exchanges import Exchange, Step
from gateway.testing.kit import Faults, Kit, Sample, holds, in_each_dialect, query_of
from gateway.testing.mutations import MARKER, at, nodes, removed, replaced, told_apart, within, without_offset
from gateway.testing.replay import exact

_SCHEMA: TypeAdapter[Opportunity] = TypeAdapter(Opportunity)
_LEFT_OUT = "page() hands on fewer records, or others, than the reply's list has"
_ZONES = ("Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")


def samples_are_there(kit: Kit) -> Faults:
    """At least one whole record with what is read from it."""
    if not any(step.opportunity is not None for exchange in kit.of("get") for step in exchange.steps):
        yield "no exchange of operation get has an `opportunity`: put one file into the adapter's folder exchanges/"


def samples_read_as_told(kit: Kit) -> Faults:
    """Each record of the exchanges reads as the file says, with the issues that it says and no others."""
    for exchange in kit.exchanges:
        adapter = kit.built_for(exchange)
        for step in exchange.steps:
            if step.opportunity is not None:
                yield from _one(kit, adapter, exchange, step)
            elif step.page is not None:
                yield from _page(kit, adapter, exchange, step)


def _one(kit: Kit, adapter: Adapter, exchange: Exchange, step: Step) -> Faults:
    record = adapter.record(step.reply.body)
    if record is None:
        yield f"{exchange.file}: record() finds none in the reply's body"
        return
    read = kit.read(adapter, record, step.call)
    yield from _differences(exchange.file, step.opportunity or {}, read)
    yield from _issues(exchange.file, step.issues, [issue.body() for issue in read.issues()])


def _page(kit: Kit, adapter: Adapter, exchange: Exchange, step: Step) -> Faults:
    page = adapter.page(step.reply.body, query_of(adapter, exchange))
    told = step.page or {}
    if page is None:
        yield f"{exchange.file}: page() finds no list in the reply's body"
        return
    if page.next != told.get("next"):
        yield f"{exchange.file}: the next page starts at {page.next!r}, the file says {told.get('next')!r}"
    if "opportunities" not in told:
        return
    if len(page.items) != len(told["opportunities"]):
        yield f"{exchange.file}: {len(page.items)} records, the file says {len(told['opportunities'])}"
        return
    issues: list[dict[str, Json]] = []
    for index, (item, wanted) in enumerate(zip(page.items, told["opportunities"], strict=True)):
        read = kit.read(adapter, item, step.call)
        yield from _differences(f"{exchange.file}: record {index}", wanted, read)
        issues += [{"index": index, **issue.body()} for issue in read.issues()]
    yield from _issues(exchange.file, step.issues, issues)


def _differences(where: str, wanted: Mapping[str, Json], read: Read) -> Faults:
    got = {name: value for name, value in read.opportunity.items() if name not in ("id", "connection")}
    for name in dict.fromkeys((*wanted, *got)):
        told, found = wanted.get(name, MISSING), got.get(name, MISSING)
        if told is MISSING or found is MISSING or exact(told) != exact(found):
            yield f"{where}: {name} reads {_shown(found)}, the file says {_shown(told)}"


def _shown(value: Json) -> str:
    return "nothing" if value is MISSING else exact(value)


def _issues(where: str, wanted: tuple[Mapping[str, Json], ...], found: list[dict[str, Json]]) -> Faults:
    left = list(found)
    for told in wanted:
        fitting = next((one for one in left if all(one.get(name) == value for name, value in told.items())), None)
        if fitting is None:
            yield f"{where}: the file names the issue {exact(dict(told))}, reading does not"
        else:
            left.remove(fitting)
    for one in left:
        yield f"{where}: reading names an issue that the file does not: {exact(one)}"


@in_each_dialect
def readings_fit_the_schema(kit: Kit) -> Faults:
    """Every answer has canonical types: money and probability as decimal text, instants in UTC, known words."""
    for adapter, sample in kit.readings():
        yield from misfits(f"{sample}", kit.read(adapter, sample.record, sample.call).opportunity)


def misfits(where: str, opportunity: dict[str, Json]) -> Faults:
    try:
        _SCHEMA.validate_python(opportunity, strict=True)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False):
            path = ".".join(str(part) for part in one["loc"])
            yield f"{where}: {path} is served as {one['input']!r}: {one['msg']}"


@in_each_dialect
def records_are_taken_whole(kit: Kit) -> Faults:
    """`record` and `page` hand on a part of the reply as it is: what they left out would be lost."""
    for sample in kit.samples:
        bodies = [step.reply.body for step in sample.exchange.steps]
        if not any(holds(body, sample.record) for body in bodies):
            yield f"{sample}: the record that the adapter hands on is not in the reply as such; leave changes to codecs"
    for exchange in kit.of("list"):
        adapter = kit.built_for(exchange)
        for step in exchange.steps:
            page = adapter.page(step.reply.body, query_of(adapter, exchange)) if exchange.succeeds else None
            if page is not None and not is_all(step.reply.body, page.items):
                yield f"{exchange.file}: {_LEFT_OUT}"


def is_all(body: Json, items: Sequence[Json]) -> bool:
    """Whether a page has all that some list in the reply's body holds: an item of it, or what lies in one, for each."""
    lists = [body, *(at(body, pointer) for pointer in nodes(body))]
    return any(
        len(told) == len(items) and all(holds(one, item) for one, item in zip(told, items, strict=True))
        for told in lists if isinstance(told, list)
    )  # fmt: skip


@in_each_dialect
def every_leaf_is_accounted_for(kit: Kit) -> Faults:
    """Whatever a leaf holds can be told from the reading: in a canonical field, or in `extensions`, or as an issue.

    Measured: each leaf in turn is given other values, and no two of them may be read alike.
    """
    for adapter, sample in kit.readings():
        table = adapter.table
        for pointer, value in leaves(sample.record):
            if pointer in table.beside and isinstance(value, str):
                yield from _form(table, sample, pointer, value)
                continue
            seen: dict[str, Json] = {fingerprint(table.read(sample.record)): value}
            for other in told_apart(value):
                reading = table.read(replaced(sample.record, pointer, other))
                print_ = fingerprint(reading)
                if print_ in seen and exact(other) != exact(seen[print_]):
                    two = f"{_brief(seen[print_])} or {_brief(other)}"
                    yield f"{sample}: {pointer} is lost: it reads alike whether it is {two}"
                    break
                seen[print_] = other
                if isinstance(value, str) and other == MARKER and not _tells(reading, MARKER):
                    yield f"{sample}: a text at {pointer} is not served as it is: not in a field nor in `extensions`"
                    break


def _form(table: Table, sample: Sample, pointer: str, value: str) -> Faults:
    if value != table.beside[pointer]:
        yield f"{sample}: {pointer} is passed over as form but holds content: {_brief(value)}"
    for odd in (5, None, ["x"]):
        reading = table.read(replaced(sample.record, pointer, odd))
        if not any(within(one, pointer) for one in reading.extensions):
            yield f"{sample}: {pointer} = {odd!r} is no form any more, but it is not kept in `extensions`"


def _tells(reading: Reading, text: str) -> bool:
    inner = dumps(text)[1:-1]
    return inner in dumps(reading.values) or inner in dumps(reading.extensions)


def _brief(value: Json) -> str:
    return exact(value)[:60]


def fingerprint(reading: Reading) -> str:
    """Everything that a reading tells, with every digit; of one record, whose members keep their order."""
    issues = [(issue.field, issue.path, issue.reason) for issue in reading.issues]
    return repr((reading.values, reading.extensions, issues, sorted(reading.missing)))


@in_each_dialect
def reading_changes_nothing(kit: Kit) -> Faults:
    """Neither `record`, `page` nor the table changes the reply that it is given, and each says the same twice."""
    for exchange, step in kit.steps():
        if step.reply.status >= 400:
            continue
        adapter = kit.built_for(exchange)
        before = deepcopy(step.reply.body)
        first = [fingerprint(adapter.table.read(sample.record)) for sample in kit.samples_of(adapter, exchange)]
        second = [fingerprint(adapter.table.read(sample.record)) for sample in kit.samples_of(adapter, exchange)]
        if exact(before) != exact(step.reply.body):
            yield f"{exchange.file}: reading has changed the reply's body"
        if first != second:
            yield f"{exchange.file}: the same reply reads differently the second time"


@in_each_dialect
def missing_members_are_told(kit: Kit) -> Faults:
    """What a whole record lacks is named as missing, unless its row is `optional`."""
    for adapter, sample in kit.readings():
        if not sample.whole:
            continue
        for pointer in nodes(sample.record):
            record = removed(sample.record, pointer)
            expected = [
                field for field, holder, places in _required(adapter.table.tree, sample.record)
                if pointer.startswith(f"{holder}/") and emptied(places, pointer)
            ]  # fmt: skip
            if not expected:
                continue
            named = {path for _, path in adapter.table.read(record).missing}
            if not any(within(path, pointer) for path in named):
                yield f"{sample}: without {pointer} nothing says that {expected[0]} is missing; is its row `optional`?"


def emptied(places: tuple[str, ...], pointer: str) -> bool:
    """Whether removing `pointer` takes away every place of a field."""
    return all(within(place, pointer) for place in places)


def _required(node: Node, record: Json, base: str = "", field: str = "") -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(field, the record or list item around it, the places where it stands) of every row that is not optional."""
    match node:
        case Leaf(row):
            places = tuple(base + pointer for pointer in row.pointers if _stands(record, pointer))
            if places and not row.optional:
                yield field, base, places
        case Group(parts):
            for name, part in parts.items():
                yield from _required(part, record, base, f"{field}.{name}" if field else name)
        case Many(items, element):
            if items.pointer is None:
                yield from _required(element, record, base, f"{field}[]")
            elif _stands(record, items.pointer):
                if not items.optional:
                    yield field, base, (base + items.pointer,)
                found = value_at(record, items.pointer)
                for index, one in enumerate(found if isinstance(found, list) else ()):
                    yield from _required(element, one, f"{base}{items.pointer}/{index}", f"{field}[]")


def value_at(record: Json, pointer: str) -> Json:
    """The value of a member, objects only on the way; MISSING where there is none."""
    for token in tokens(pointer):
        record = record.get(token, MISSING) if isinstance(record, dict) else MISSING
    return record


def _stands(record: Json, pointer: str) -> bool:
    return value_at(record, pointer) is not MISSING


@in_each_dialect
def time_is_not_the_hosts(kit: Kit) -> Faults:
    """A record reads the same in whatever time zone the gateway runs, times without an offset included."""
    records = [
        (adapter, sample, record) for adapter, sample in kit.readings()
        for record in (sample.record, without_offset(sample.record))
    ]  # fmt: skip
    found = in_zones(lambda: [fingerprint(adapter.table.read(record)) for adapter, _, record in records])
    for (_, sample, _), *prints in zip(records, *found, strict=True):
        if len(set(prints)) > 1:
            yield f"{sample}: it reads differently in another time zone of the host; declare `zone` and use it"


def in_zones(work: Callable[[], list[str]]) -> list[list[str]]:
    """What `work` comes to in each of three time zones of the host; the process' own zone is put back."""
    if not hasattr(time, "tzset"):  # Windows has no such switch
        return [work()]
    before = os.environ.get("TZ")
    found: list[list[str]] = []
    try:
        for zone in _ZONES:
            os.environ["TZ"] = zone
            time.tzset()
            found.append(work())
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
    return found
