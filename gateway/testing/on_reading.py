"""Checks of reading: the samples come out as told, nothing is lost, and nothing that a provider sends makes it fail."""

import os
import time
from collections.abc import Iterator, Mapping
from copy import deepcopy

from pydantic import TypeAdapter, ValidationError

from gateway.adapter import Adapter
from gateway.codecs import MISSING
from gateway.errors import Problem
from gateway.fields import Group, Leaf, Many, Node, Table
from gateway.ids import is_native
from gateway.opportunities import Read
from gateway.opportunity import Opportunity
from gateway.pointer import leaves, tokens
from gateway.reading import Reading
from gateway.strict_json import Json, dumps
from gateway.testing.exchanges import Exchange, Step
from gateway.testing.kit import Faults, Kit, Sample, holds, query_of
from gateway.testing.mutations import (
    JUNK,
    MARKER,
    Mutation,
    at,
    mutations,
    nodes,
    removed,
    replaced,
    told_apart,
    without_offset,
)
from gateway.testing.replay import exact
from gateway.writing import leaves_of

_SCHEMA: TypeAdapter[Opportunity] = TypeAdapter(Opportunity)
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


def readings_fit_the_schema(kit: Kit) -> Faults:
    """Every answer has canonical types: money and probability as decimal text, instants in UTC, known words."""
    for adapter, sample in kit.readings():
        yield from _misfits(f"{sample}", kit.read(adapter, sample.record, sample.call).opportunity)


def _misfits(where: str, opportunity: dict[str, Json]) -> Faults:
    try:
        _SCHEMA.validate_python(opportunity, strict=True)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False):
            path = ".".join(str(part) for part in one["loc"])
            yield f"{where}: {path} is served as {one['input']!r}: {one['msg']}"


def records_are_taken_whole(kit: Kit) -> Faults:
    """`record` and `page` hand on a part of the reply as it is: what they left out would be lost."""
    for sample in kit.samples:
        bodies = [step.reply.body for step in sample.exchange.steps]
        if not any(holds(body, sample.record) for body in bodies):
            yield f"{sample}: the record that the adapter hands on is not in the reply as such; leave changes to codecs"


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
        if not any(_within(one, pointer) for one in reading.extensions):
            yield f"{sample}: {pointer} = {odd!r} is no form any more, but it is not kept in `extensions`"


def _tells(reading: Reading, text: str) -> bool:
    inner = dumps(text)[1:-1]
    return inner in dumps(reading.values) or inner in dumps(reading.extensions)


def _brief(value: Json) -> str:
    return exact(value)[:60]


def fingerprint(reading: Reading) -> str:
    """Everything that a reading tells."""
    issues = [[issue.field, issue.path, issue.reason] for issue in reading.issues]
    return exact([reading.values, reading.extensions, issues, sorted(map(list, reading.missing))])


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


def missing_members_are_told(kit: Kit) -> Faults:
    """What a whole record lacks is named as missing, unless its row is `optional`."""
    for adapter, sample in kit.readings():
        if not sample.whole:
            continue
        for pointer in nodes(sample.record):
            record = removed(sample.record, pointer)
            expected = [
                field for field, holder, places in _required(adapter.table.tree, sample.record)
                if pointer.startswith(f"{holder}/") and _emptied(places, pointer)
            ]  # fmt: skip
            if not expected:
                continue
            named = {path for _, path in adapter.table.read(record).missing}
            if not any(_within(path, pointer) for path in named):
                yield f"{sample}: without {pointer} nothing says that {expected[0]} is missing; is its row `optional`?"


def _emptied(places: tuple[str, ...], pointer: str) -> bool:
    """Whether removing `pointer` takes away every place of a field."""
    return all(_within(place, pointer) for place in places)


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
                found = _value(record, items.pointer)
                for index, one in enumerate(found if isinstance(found, list) else ()):
                    yield from _required(element, one, f"{base}{items.pointer}/{index}", f"{field}[]")


def _value(record: Json, pointer: str) -> Json:
    for token in tokens(pointer):
        record = record.get(token, MISSING) if isinstance(record, dict) else MISSING
    return record


def _stands(record: Json, pointer: str) -> bool:
    return _value(record, pointer) is not MISSING


def junk_is_served_and_named(kit: Kit) -> Faults:
    """Each place in turn missing, null or junk: the record is served, and what cannot be read is named and kept."""
    for adapter, sample in kit.readings():
        before = exact(sample.record)
        try:
            base = kit.read(adapter, sample.record, sample.call).reading
        except Problem as problem:
            yield f"{sample}: the record cannot be served: {problem}"
            continue
        id_row = adapter.table.row_for("native_id")
        id_places = id_row.pointers if id_row is not None else ()
        for mutation in mutations(sample.record):
            id_intact = not any(_emptied((place,), mutation.pointer) for place in id_places)
            yield from _served(kit, adapter, sample, base, mutation, id_intact)
        if exact(sample.record) != before:
            yield f"{sample}: reading has changed the record"


def _served(kit: Kit, adapter: Adapter, sample: Sample, base: Reading, mutation: Mutation, id_intact: bool) -> Faults:
    where = f"{sample}: {mutation}"
    try:
        reading = adapter.table.read(mutation.record)
    except Exception as error:
        yield f"{where}: reading raised {type(error).__name__}: {error}"
        return
    if not is_native(reading.values.get("native_id")):
        if id_intact:
            yield f"{where}: the record is not served although its id is intact"
        return
    yield from _misfits(where, kit.read(adapter, mutation.record, sample.call).opportunity)
    if not mutation.gone and mutation.value != {}:
        yield from _named(where, adapter.table, sample.record, base, reading, mutation)


def _named(
    where: str, table: Table, record: dict[str, Json], base: Reading, reading: Reading, mutation: Mutation
) -> Faults:
    """What was told and no longer is must be named; and the value must still be somewhere."""
    was, now = dict(leaves_of(base.values)), dict(leaves_of(reading.values))
    unread = {
        _top(path) for path, value in was.items()
        if value not in (None, [], "unknown") and now.get(path) in (None, "unknown")
    }  # fmt: skip
    if mutation.value is None:  # null is read as null; only what cannot be null is unreadable then
        unread = {top for top in unread if reading.values.get(top, "unknown") == "unknown"}
    if mutation.value == [] and isinstance(at(record, mutation.pointer), list):  # an empty list is no junk there
        return
    unread.discard("status_source")  # null goes with an unknown status, which is named itself
    if not unread:
        return
    taken = _taken(table, record, reading, mutation)
    if taken:  # served whole by another field; but a status that is not known is named all the same
        unread &= {"status"}
    named = {_top(issue.field) for issue in reading.issues}
    if isinstance(mutation.value, dict | list):  # of the right type, but without the members that should be in it
        named |= {_top(field) for field, _ in reading.missing}
    for top in sorted(unread - named):
        if not (_aside(table, top) and _place_named(reading, mutation.pointer)):
            yield f"{where}: {top} is no longer told, and no issue names it"
    kept = any(_within(pointer, mutation.pointer) for pointer in reading.extensions)
    if mutation.value is not None and not kept and not taken:
        yield f"{where}: what cannot be read is not kept in `extensions`"


def _aside(table: Table, top: str) -> bool:
    """Whether another field serves the place of this one whole, and names what is wrong there."""
    return all(row.aside for path, row in table.leaves() if _top(path) == top)


def _place_named(reading: Reading, pointer: str) -> bool:
    paths = [*(issue.path for issue in reading.issues), *(path for _, path in reading.missing)]
    return any(_within(path, pointer) or _within(pointer, path) for path in paths)


def _within(pointer: str, outer: str) -> bool:
    return pointer == outer or pointer.startswith(f"{outer}/")


def _taken(table: Table, record: dict[str, Json], reading: Reading, mutation: Mutation) -> bool:
    """Whether the value itself is served: a canonical field holds it whole, and would not if it were not there."""
    if mutation.value is None:
        return False
    without = table.read(removed(record, mutation.pointer))
    return _count(reading.values, mutation.value) > _count(without.values, mutation.value)


def _count(values: Json, part: Json) -> int:
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    same = type(values) is type(part) and values == part
    return int(same) + sum(_count(one, part) for one in inner)


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def time_is_not_the_hosts(kit: Kit) -> Faults:
    """A record reads the same in whatever time zone the gateway runs, times without an offset included."""
    if not hasattr(time, "tzset"):  # Windows has no such switch
        return
    records = [
        (adapter, sample, record) for adapter, sample in kit.readings()
        for record in (sample.record, without_offset(sample.record))
    ]  # fmt: skip
    before = os.environ.get("TZ")
    found: list[list[str]] = []
    try:
        for zone in _ZONES:
            os.environ["TZ"] = zone
            time.tzset()
            found.append([fingerprint(adapter.table.read(record)) for adapter, _, record in records])
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()
    for (_, sample, _), *prints in zip(records, *found, strict=True):
        if len(set(prints)) > 1:
            yield f"{sample}: it reads differently in another time zone of the host; declare `zone` and use it"


def deep_junk_never_raises(kit: Kit) -> Faults:
    """Records made of anything at all, and samples with anything at all inside."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    table = kit.adapter.table
    records = [sample.record for sample in kit.samples] or [{}]
    names = sorted({token for record in records for pointer in nodes(record) for token in tokens(pointer)})
    keys = st.one_of(st.sampled_from(names or ["id"]), st.text("ab/~0 \u00e9", max_size=4))
    scalars = st.one_of(st.sampled_from(JUNK), st.integers(), st.booleans(), st.text("a1-:TZ. \u00e9", max_size=12))
    junk = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
    )
    spots = [(record, pointer) for record in records for pointer in nodes(record)]
    places = st.sampled_from(spots or [({"id": 1}, "/id")])

    @settings(max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(keys, junk, max_size=8), places, junk)
    def never_raises(whole: dict[str, Json], place: tuple[dict[str, Json], str], value: Json) -> None:
        table.read(whole)
        table.read(replaced(*place, value))

    try:
        never_raises()
    except Exception as error:
        yield f"reading raised {type(error).__name__}: {error}; {'; '.join(getattr(error, '__notes__', []))[:400]}"
