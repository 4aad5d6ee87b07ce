"""Checks of robustness: whatever stands in a record's place, it is served, and what cannot be read is named and kept."""

from gateway.adapter import Adapter
from gateway.errors import Problem
from gateway.fields import Table
from gateway.ledger import leaves_of
from gateway.pointer import tokens
from gateway.reading import Reading
from gateway.strict_json import Json
from gateway.testing.kit import Faults, Kit, Sample, in_each_dialect
from gateway.testing.mutations import JUNK, Mutation, at, mutations, nodes, removed, replaced, within
from gateway.testing.on_reading import emptied, misfits
from gateway.testing.replay import exact


@in_each_dialect
def junk_is_served_and_named(kit: Kit) -> Faults:
    """Each place in turn missing, null or junk: the record is served, and what cannot be read is named and kept."""
    done: set[tuple[str, str, type]] = set()
    for adapter, sample in kit.readings():
        before = exact(sample.record)
        own = [] if adapter is kit.adapter else [sample.exchange.settings, sample.exchange.stages]
        try:
            base = kit.read(adapter, sample.record, sample.call).reading
        except Problem as problem:
            yield f"{sample}: the record cannot be served: {problem}"
            continue
        id_row = adapter.table.row_for("native_id")
        id_places = id_row.pointers if id_row is not None else ()
        told = [path for path, value in leaves_of(base.values) if value not in (None, [], "unknown")]
        fresh: set[str] = set()
        for pointer in nodes(sample.record):  # a place of the same kind in another sample tells nothing new
            place = (exact(own), pointer, type(at(sample.record, pointer)))
            if place not in done:
                done.add(place)
                fresh.add(pointer)
        for mutation in mutations(sample.record, fresh):
            id_intact = not any(emptied((place,), mutation.pointer) for place in id_places)
            yield from _served(kit, adapter, sample, told, mutation, id_intact)
        if exact(sample.record) != before:
            yield f"{sample}: reading has changed the record"


def _served(kit: Kit, adapter: Adapter, sample: Sample, told: list[str], mutation: Mutation, id_intact: bool) -> Faults:
    where = f"{sample}: {mutation}"
    try:
        read = kit.read(adapter, mutation.record, sample.call)
    except Problem:
        if id_intact:
            yield f"{where}: the record is not served although its id is intact"
        return
    except Exception as error:
        yield f"{where}: reading raised {type(error).__name__}: {error}"
        return
    reading = read.reading
    yield from misfits(where, read.opportunity)
    if not mutation.gone and mutation.value != {}:
        yield from _named(where, adapter.table, sample.record, told, reading, mutation)


def _named(
    where: str, table: Table, record: dict[str, Json], told: list[str], reading: Reading, mutation: Mutation
) -> Faults:
    """What was told and no longer is must be named; and the value must still be somewhere."""
    now = dict(leaves_of(reading.values))
    lost = [
        path for path in told
        if now.get(path) in (None, "unknown") and not any(other.startswith((f"{path}.", f"{path}[")) for other in now)
    ]  # fmt: skip
    unread = {_top(path) for path in lost}
    if mutation.value is None:  # null is read as null; only what cannot be null is unreadable then
        unread = {top for top in unread if reading.values.get(top, "unknown") == "unknown"}
        row = table.row_for("status")
        if row is not None and row.joint:  # of several places one may be told to be empty, which is not unreadable
            unread.discard("status")
    if mutation.value == [] and isinstance(at(record, mutation.pointer), list):  # an empty list is no junk there
        return
    unread.discard("status_source")  # null goes with an unknown status, which is named itself
    if not unread:
        return
    named = {_top(issue.field) for issue in reading.issues}
    if isinstance(mutation.value, dict | list):  # of the right type, but without the members that should be in it
        named |= {_top(field) for field, _ in reading.missing}
    kept = any(within(pointer, mutation.pointer) for pointer in reading.extensions)
    if kept and unread <= named:
        return
    taken = _taken(table, record, reading, mutation)
    if taken:  # served whole by another field; but a status that is not known is named all the same
        unread &= {"status"}
    for top in sorted(unread - named):
        if not (_aside(table, top) and _place_named(reading, mutation.pointer)):
            paths = ", ".join(path for path in lost if _top(path) == top)
            yield f"{where}: {paths} is no longer told, and no issue names it"
    if mutation.value is not None and not kept and not taken:
        yield f"{where}: what cannot be read is not kept in `extensions`"


def _aside(table: Table, top: str) -> bool:
    """Whether another field serves the place of this one whole, and names what is wrong there."""
    return all(row.aside for path, row in table.leaves() if _top(path) == top)


def _place_named(reading: Reading, pointer: str) -> bool:
    paths = [*(issue.path for issue in reading.issues), *(path for _, path in reading.missing)]
    return any(within(path, pointer) or within(pointer, path) for path in paths)


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


@in_each_dialect
def deep_junk_never_raises(kit: Kit) -> Faults:
    """Records made of anything at all, and samples with anything at all inside."""
    from hypothesis import HealthCheck, Phase, given, settings
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

    @settings(
        max_examples=100, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # small examples are the other tests' business
    )  # fmt: skip
    @given(st.dictionaries(keys, junk, max_size=8), places, junk)
    def never_raises(whole: dict[str, Json], place: tuple[dict[str, Json], str], value: Json) -> None:
        table.read(whole)
        table.read(replaced(*place, value))

    try:
        never_raises()
    except Exception as error:
        yield f"reading raised {type(error).__name__}: {error}; {'; '.join(getattr(error, '__notes__', []))[:400]}"
