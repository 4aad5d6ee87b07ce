"""Checks of lineage: where `explain` says that a field came from is where it really came from, measured.

Measured by differences: each leaf of a record in turn is changed, and the fields that then read otherwise are those that
it was read for. (A record that notes what is looked at would tell nothing: reading walks every member once, in order that
none be lost.)
"""

from gateway.adapter import Adapter
from gateway.explaining import explain
from gateway.fields import Table
from gateway.pointer import leaves
from gateway.strict_json import Json
from gateway.testing.kit import Faults, Kit, Sample, in_each_dialect
from gateway.testing.mutations import removed, replaced, told_apart, within
from gateway.testing.replay import exact


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
        sources = _sources(adapter, name) if "from" not in told[name] else told[name]["from"]
        for pointer in sorted(pointers):
            if not any(within(pointer, source) or within(source, pointer) for source in sources):
                yield f"{sample}: {name} depends on {pointer}, but `explain` says {exact(told[name])[:120]}"
    for name, entry in told.items():
        read = heard.get(name, set())
        for source in entry.get("from", ()) if "reason" not in entry else ():
            if not any(within(pointer, source) for pointer in read) and _alone(adapter, name, source):
                yield f"{sample}: {name} is said to come from {source}, but reads the same whatever is there"


def _changed(table: Table, before: dict[str, str], records: list[Json]) -> set[str]:
    """The fields that one of the records reads otherwise."""
    changed: set[str] = set()
    for record in records:
        now = _fields(table.read(record).values)
        changed |= {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    return changed


def _fields(values: dict[str, Json]) -> dict[str, str]:
    return {name: exact(value) for name, value in values.items()}


def _words(value: Json) -> tuple[Json, ...]:
    """Other readable values for a word or a truth."""
    return (True, False) if isinstance(value, bool) else ("won", "lost", "new", "EUR") if isinstance(value, str) else ()


def _sources(adapter: Adapter, name: str) -> list[str]:
    """The places that the table declares for a field of which this record tells nothing."""
    rows = [row for path, row in adapter.table.leaves() if path.split(".")[0].split("[")[0] == name]
    return [pointer.split("/*")[0] for row in rows for pointer in row.pointers]


def _alone(adapter: Adapter, name: str, source: str) -> bool:
    """Whether a place is the only one that a row reads: of several, another one may have decided."""
    rows = [row for path, row in adapter.table.leaves() if path.split(".")[0].split("[")[0] == name]
    return any(row.pointers == (source,) for row in rows)
