"""The lens laws, with records made up from the table: reading, rendering and writing undo each other.

What is read and rendered back changes nothing that the canonical form holds; what is written and read is what was
written; a patch touches what it names. Instants may come back coarser, which the ledger of a write tells as `coerced`.
"""

import re
from collections.abc import Iterator

from gateway.codecs import MISSING, Inexact, Unreadable
from gateway.fields import Row, Table
from gateway.ledger import compare, leaves_of, lookup
from gateway.pointer import leaves, put
from gateway.rendering import render
from gateway.strict_json import Json
from gateway.testing.kit import Faults, Kit, in_each_dialect
from gateway.testing.mutations import replaced, starred, within
from gateway.testing.on_reading import fingerprint, in_zones
from gateway.testing.replay import exact
from gateway.writing import plan

_RECORDS = 60
_VALUES = 15
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z\Z")


def _plain(path: str) -> str:
    """A canonical path without its indices."""
    return re.sub(r"\[\d+\]", "[]", path)


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def _sample_records(kit: Kit) -> list[dict[str, Json]]:
    return [sample.record for sample in kit.samples]


def _writes_back(row: Row) -> bool:
    return bool(row.pointers) and row.codec is not None and row.codec.encode is not None


def _carried(table: Table) -> set[str]:
    """The canonical paths that rendering carries: by a row of their own, or by those that fill all their places."""
    rows = list(table.leaves())
    places = _filled(table)
    return {
        path for path, row in rows
        if row.pointers and (_writes_back(row) or all(pointer in places for pointer in row.pointers))
    }  # fmt: skip


def _filled(table: Table, *, joint: bool = False) -> set[str]:
    """The places that rendering fills; of rows that read several at once the first, which need not be where it was told."""
    return {row.pointers[0] for _, row in table.leaves() if _writes_back(row) and row.joint == joint}


def _same(value: Json, again: Json) -> bool:
    """Whether a value came back: exactly, or an instant to the second."""
    if exact(value) == exact(again):
        return True
    instants = all(isinstance(one, str) and _INSTANT.match(one) for one in (value, again))
    entry = compare("at", value, {"at": again}, "")
    return instants and (entry is None or entry.reason == "coerced")


def _shown(value: Json) -> str:
    return "nothing" if value is MISSING else exact(value)[:80]


@in_each_dialect
def what_is_read_and_rendered_reads_the_same(kit: Kit) -> Faults:
    """A record of any kind, read, rendered and read again, says the same: null as null, missing as missing."""
    from gateway.testing.generated import Records, each

    table = kit.adapter.table
    paths = _carried(table)

    def check(record: dict[str, Json]) -> Iterator[str]:
        reading = table.read(record)
        again = table.read(render(table, reading.values)).values
        unread = {_top(issue.field) for issue in reading.issues}
        for path in dict.fromkeys(path for values in (reading.values, again) for path, _ in leaves_of(values)):
            told, found = lookup(reading.values, path), lookup(again, path)
            if any(isinstance(one, dict) or (isinstance(one, list) and one) for one in (told, found)):
                continue  # null for the whole and null for each part; the parts are compared
            plain = _plain(path)
            own = table.row_for(plain)
            if not any(one == plain or one.startswith((f"{plain}.", f"{plain}[]")) for one in paths):
                continue  # no row carries it
            if own is not None and not _writes_back(own) and _top(path) in unread:
                continue  # worked out from parts, one of which could not be read
            if told is not found and (MISSING in (told, found) or not _same(told, found)):
                yield f"{path} reads {_shown(told)}, rendered and read again {_shown(found)}"

    yield from each(Records(table, _sample_records(kit)).strategy(), _RECORDS, check)


@in_each_dialect
def what_is_read_can_be_rendered_whole(kit: Kit) -> Faults:
    """A record as the table spells it, read and rendered, is that record: no leaf is dropped, changed or added."""
    from gateway.testing.generated import Records, each

    table = kit.adapter.table
    places, of_several = _filled(table), _filled(table, joint=True)

    def check(record: dict[str, Json]) -> Iterator[str]:
        rendered = dict(_told(render(table, table.read(record).values)))
        before = dict(_told(record))
        for pointer, value in before.items():
            known = starred(pointer)
            if not any(within(known, place) for place in places):
                continue
            if pointer not in rendered:
                yield f"{pointer} is {_shown(value)}; it is read, but rendering drops it"
            elif not _same(value, rendered[pointer]):
                yield f"{pointer} is {_shown(value)}; read and rendered it is {_shown(rendered[pointer])}"
        for pointer in rendered.keys() - before.keys():
            if rendered[pointer] != [] and starred(pointer) not in of_several.union(table.beside):
                yield f"{pointer} is made up in rendering: the record that was read has no such member"

    yield from each(Records(table, _sample_records(kit), plain=True).strategy(), _RECORDS, check)


def _told(record: Json) -> Iterator[tuple[str, Json]]:
    return ((pointer, value) for pointer, value in leaves(record) if value is not None and value not in ([], {}))


def _written(kit: Kit, operation: str) -> Iterator[tuple[str, Row, str]]:
    """(path, row, the call) of every leaf that an operation can write by itself, lists of several records excepted."""
    adapter = kit.adapter
    if operation not in adapter.operations():
        return
    for path, row in adapter.table.leaves():
        call = next((call for call in adapter.writes[operation] if call in row.write), None)
        if call is not None and not (row.follows or row.mirrors) and "/*" not in row.write[call] and not row.joint:
            yield path, row, call


def _canonical(row: Row, value: Json) -> Json:
    """A provider's value as a caller would write it; MISSING for one that cannot be read."""
    try:
        return row.codec.decode(value) if row.codec is not None else MISSING
    except Inexact as error:
        return error.value
    except Unreadable:
        return MISSING


@in_each_dialect
def what_is_written_and_read_is_what_was_written(kit: Kit) -> Faults:
    """Each writable field, with values of every kind: what goes out for it, stored in its place, reads as it was sent."""
    from gateway.testing.generated import NAUGHTY, each, values_of

    table, adapter = kit.adapter.table, kit.adapter
    for operation in ("create", "update"):
        for path, row, call in _written(kit, operation):

            def check(value: Json, path: str = path, row: Row = row, call: str = call) -> Iterator[str]:
                wanted = _canonical(row, value)
                if wanted is MISSING or wanted is None:
                    return
                planned = plan(table, _nested(path, wanted), adapter.writes[operation], adapter.title)  # noqa: B023  # called before the loop goes on
                if planned.refused:
                    return  # by name, which `plan` has said
                sent = dict(leaves(planned.bodies.get(call, {})))
                stored: dict[str, Json] = {}
                put(stored, row.pointers[0], _at(planned.bodies.get(call, {}), row.write[call]))
                found = dict(leaves_of(table.read(stored).values))
                told = next((now for one, now in found.items() if _plain(one) == path), MISSING)
                if not _same(wanted, told):
                    yield f"{path}: {_shown(wanted)} is written as {_shown(sent)}, which reads {_shown(told)}"

            yield from each(values_of(row, _seen(kit, row), plain=False), _VALUES, check, NAUGHTY)


def _seen(kit: Kit, row: Row) -> list[Json]:
    found = [_at(record, row.pointers[0]) for record in _sample_records(kit)]
    return [value for value in found if value is not MISSING]


def _at(record: Json, pointer: str) -> Json:
    for token in pointer.split("/")[1:]:
        if isinstance(record, list):
            record = record[int(token)]
        elif isinstance(record, dict) and token in record:
            record = record[token]
        else:
            return MISSING
    return record


def _nested(path: str, value: Json) -> dict[str, Json]:
    for name in reversed(path.split(".")):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    assert isinstance(value, dict)
    return value


@in_each_dialect
def a_patch_touches_only_its_own_members(kit: Kit) -> Faults:
    """A patch of one field, with values of every kind and with null, sends no member that another row writes."""
    from gateway.testing.generated import NAUGHTY, each, values_of

    adapter = kit.adapter
    places = {place for _, row in adapter.table.leaves() for place in row.write.values()}
    for path, row, call in _written(kit, "update"):

        def check(value: Json, path: str = path, row: Row = row, call: str = call) -> Iterator[str]:
            wanted = None if value is None else _canonical(row, value)
            if wanted is MISSING:
                return
            planned = plan(adapter.table, _nested(path, wanted), adapter.writes["update"], adapter.title)
            own = row.write[call]
            for body in planned.bodies.values():
                for pointer, _ in leaves(body):
                    if not within(pointer, own):
                        yield f"{path}: for {_shown(wanted)} the plan has {pointer} too, beside {own}"
            for made in adapter.update(kit.native_id, planned.bodies) if planned.bodies else ():
                for pointer, sent in leaves(made.body):
                    others = [place for place in places if within(pointer, place) and not within(pointer, own)]
                    if others and not (made.operation == call and within(own, pointer)):
                        yield f"{path}: a patch of it alone, to {_shown(wanted)}, also sends {others[0]} as {_shown(sent)}"

        from hypothesis import strategies as st

        yield from each(st.none() | values_of(row, _seen(kit, row), plain=False), _VALUES, check, NAUGHTY)


@in_each_dialect
def made_up_records_read_alike_in_every_zone(kit: Kit) -> Faults:
    """Records with times in every spelling, those without an offset included, read the same wherever the gateway runs."""
    from gateway.testing.generated import Records, each

    table = kit.adapter.table
    records: list[dict[str, Json]] = []

    def keep(record: dict[str, Json]) -> Iterator[str]:
        records.append(record)
        yield from ()

    yield from each(Records(table, _sample_records(kit)).strategy(), _RECORDS, keep)
    # Chance may leave out what matters here, so each time of each sample is also told without its offset.
    records += [
        replaced(record, pointer, "2024-07-01 12:00:00")
        for record in _sample_records(kit)
        for pointer, value in leaves(record)
        if isinstance(value, str) and _TIME.match(value)
    ]
    found = in_zones(lambda: [fingerprint(table.read(record)) for record in records])
    for record, *prints in zip(records, *found, strict=True):
        if len(set(prints)) > 1:
            yield f"a record reads differently in another time zone of the host: {_shown(record)}"
            return
