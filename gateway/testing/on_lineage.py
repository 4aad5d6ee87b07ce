"""Checks of lineage: where `explain` says that a field came from is where it really came from, measured.

Measured twice. By a record that remembers what was read of it and for which field: that tells of every look, also of one
that made no difference. And by differences: each leaf of a record in turn is changed, and the fields that then read
otherwise are those that it was read for: that tells of what came by another way than the record, and of a value that was
looked at and not used.
"""

from collections.abc import Iterator
from itertools import chain, islice, product

from gateway.adapter import Adapter
from gateway.codecs import Inexact, Unreadable
from gateway.explaining import explain
from gateway.fields import Row, Table
from gateway.pointer import leaves
from gateway.strict_json import Json
from gateway.testing.kit import Faults, Kit, Sample, in_each_dialect
from gateway.testing.mutations import removed, replaced, starred, told_apart, within
from gateway.testing.on_reading import fingerprint, value_at
from gateway.testing.on_statuses import STAGE_MAP, values_for
from gateway.testing.replay import exact
from gateway.testing.traced import traced

_SURROUNDINGS = 400
"""In how many combinations of its neighbours a place of a joint row is tried."""


@in_each_dialect
def only_declared_places_are_read(kit: Kit) -> Faults:
    """A record that remembers what is read of it: each field by its row's places, these are `explain`'s, and no others."""
    for adapter, sample in kit.readings():
        table = adapter.table
        reading, trace = traced(table, sample.record)
        base = table.read(sample.record)
        for pointer in sorted(trace.beside):
            yield f"{sample}: {pointer} is read beside the rows of the table: nothing says which field it is for"
        if fingerprint(reading) != fingerprint(base):
            yield f"{sample}: the record reads otherwise when it is looked over the shoulder"
        looked: dict[str, set[str]] = {}
        for path, pointers in sorted(trace.read.items()):
            declared = _declared(table, path)
            looked.setdefault(_top(path), set()).update(pointers)
            for pointer in sorted(pointers):
                if not any(_touches(starred(pointer), place) for place in declared):
                    yield f"{sample}: {path} is read at {pointer}, which its row does not declare"
        for name, entry in explain(table, sample.record, base).items():
            for source in entry.get("from", ()):
                if not any(_touches(pointer, source) for pointer in looked.get(name, ())):
                    yield f"{sample}: {name} is said to come from {source}, where nothing looked for it"
            for pointer in sorted(looked.get(name, ()) if "from" in entry else ()):
                if not any(_touches(pointer, source) for source in entry["from"]):
                    yield f"{sample}: {name} is read at {pointer}, but `explain` says {exact(entry)[:120]}"


@in_each_dialect
def every_declared_place_is_read(kit: Kit) -> Faults:
    """Each place of each row is told by a sample and read there; a codec of several values uses every one of them."""
    found: dict[str, set[str]] = {}
    adapters: list[Adapter] = [kit.adapter]
    for adapter, sample in kit.readings():
        if adapter not in adapters:
            adapters.append(adapter)
        for path, pointers in traced(adapter.table, sample.record)[1].read.items():
            found.setdefault(path, set()).update(starred(pointer) for pointer in pointers)
    for adapter in adapters:
        for path, row in adapter.table.leaves():
            for place in row.pointers:
                if place not in found.get(path, ()):
                    yield f"{path}: its place {place} is in no exchange; is it spelled right? else let a sample show it"
    yield from _unused(kit)


def _unused(kit: Kit) -> Faults:
    """The places of joint rows that make no difference, whatever stands in them and around them."""
    built = [kit.build(stages=stages).table for stages in ({}, STAGE_MAP)]
    for pairs in zip(*(table.leaves() for table in built), strict=True):
        path, row = pairs[0]
        if not row.joint or len(row.pointers) < 2:
            continue
        choices = [values_for(kit, place) for place in row.pointers]
        own = [tuple(value_at(sample.record, place) for place in row.pointers) for sample in kit.samples]
        for index, place in enumerate(row.pointers):
            if not any(_matters(other, choices, own, index) for _, other in pairs):
                yield f"{path}: its row declares {place}, but its codec reads the same whatever is there"


def _matters(row: Row, choices: list[list[Json]], own: list[tuple[Json, ...]], index: int) -> bool:
    """Whether one of a joint row's values ever decides: beside those of the samples, and of an even choice of all."""
    around = [*choices[:index], [None], *choices[index + 1 :]]
    size = 1
    for choice in around:
        size *= len(choice)
    for values in chain(own, islice(product(*around), 0, None, size // _SURROUNDINGS | 1)):
        if len({_decoded(row, (*values[:index], value, *values[index + 1 :])) for value in choices[index]}) > 1:
            return True
    return False


def _decoded(row: Row, values: tuple[Json, ...]) -> str:
    try:
        told = row.codec.decode(*values) if row.codec is not None else None
    except Unreadable as error:
        return error.reason
    except Inexact as error:
        told = error.value
    return repr(told)


@in_each_dialect
def fields_come_from_where_explain_says(kit: Kit) -> Faults:
    """A field reads otherwise when a leaf of its `from` is changed, and stays as it is when any other leaf is."""
    for adapter, sample in kit.readings():
        yield from _of(adapter, sample)


def _of(adapter: Adapter, sample: Sample) -> Faults:
    table = adapter.table
    base = table.read(sample.record)
    told = explain(table, sample.record, base)
    before = _fields(base.values)
    moved: dict[str, set[str]] = {}
    heard: dict[str, set[str]] = {}
    for pointer, value in leaves(sample.record):
        others = [replaced(sample.record, pointer, other) for other in (*told_apart(value), *_words(value))]
        silent = [removed(sample.record, pointer), replaced(sample.record, pointer, None)]
        by_value = _changed(table, before, others)
        changed = by_value | _changed(table, before, silent)
        for name in by_value:
            heard.setdefault(name, set()).add(pointer)
        for name in changed:
            moved.setdefault(name, set()).add(pointer)
    for name, pointers in moved.items():
        sources = _declared(table, name) if "from" not in told[name] else told[name]["from"]
        for pointer in sorted(pointers):
            if not any(within(pointer, source) or within(source, pointer) for source in sources):
                yield f"{sample}: {name} depends on {pointer}, but `explain` says {exact(told[name])[:120]}"
    for name, entry in told.items():
        read = heard.get(name, set())
        for source in entry.get("from", ()) if "reason" not in entry else ():
            if not any(within(pointer, place) for pointer in read for place in _instead(table, name, source)):
                yield f"{sample}: {name} is said to come from {source}, but reads the same whatever is there"


def _changed(table: Table, before: dict[str, str], records: list[Json]) -> set[str]:
    """The fields that one of the records reads otherwise."""
    changed: set[str] = set()
    for record in records:
        now = _fields(table.read(record).values)
        changed |= {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    return changed


def _fields(values: dict[str, Json]) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}  # canonical members have one order


def _words(value: Json) -> tuple[Json, ...]:
    """Other readable values for a word or a truth."""
    return (True, False) if isinstance(value, bool) else ("won", "lost", "new", "EUR") if isinstance(value, str) else ()


def _declared(table: Table, path: str) -> list[str]:
    """The places that the table declares for a canonical field and what is in it; `*` for any index, a list whole."""
    return [
        "/*".join(pointer.split("/*")[: path.count("[]") + 1])
        for one, row in table.leaves()
        for pointer in row.pointers
        if one == path or one.startswith((f"{path}.", f"{path}[]"))
    ]


def _instead(table: Table, name: str, source: str) -> Iterator[str]:
    """The places of which any may be the one that decides: those of the rows that read `source` too."""
    yield source
    for path, row in table.leaves():
        if _top(path) == name and source in row.pointers:
            yield from row.pointers


def _touches(pointer: str, place: str) -> bool:
    return within(pointer, place) or within(place, pointer)


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]
