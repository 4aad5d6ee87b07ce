"""A whole opportunity -> the record that a provider would hold for it, as far as its dialect can."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from gateway.codecs import Unencodable
from gateway.fields import Group, Leaf, Many, Node, Nothing, Table
from gateway.pointer import put
from gateway.strict_json import Json


def render(table: Table, opportunity: Mapping[str, Json]) -> dict[str, Json]:
    """The provider's record that says what `opportunity` says, as far as this dialect can.

    What the dialect cannot hold is simply not in it: read the result with `table.read` and compare.
    """
    record: dict[str, Json] = {}
    for name, node in table.tree.parts.items():
        if name in opportunity:
            _render(node, opportunity[name], record)
    for pointer, word in table.beside.items():
        parent = pointer.rsplit("/", 1)[0]
        if _has(record, parent):
            inner = _at(record, parent)
            members = dict(inner)
            inner.clear()
            inner[pointer.rsplit("/", 1)[1]] = word
            inner.update(members)
    return record


def _render(node: Node, value: Json, record: dict[str, Json]) -> None:
    match node:
        case Leaf(row):
            # Of several fields in one place the first one fills it; what differs shows when the result is read.
            writes = row.pointers and row.codec is not None and row.codec.encode is not None
            if writes and _at(record, row.pointers[0]) is None:
                with suppress(Unencodable):
                    put(record, row.pointers[0], None if value is None else row.codec.encode(value))  # type: ignore[union-attr,misc]  # as just asked
        case Group(parts):
            if value is None:
                for pointer in _null_places(node):
                    put(record, pointer, None)
                return
            for name, part in parts.items():
                if name in value:
                    _render(part, value[name], record)
        case Many(items, element):
            if items.pointer is None:
                _render(element, value[0] if value else None, record)
                return
            rendered = []
            for one in value or ():
                inner: dict[str, Json] = {}
                _render(element, one, inner)
                rendered.append(inner)
            if items.entries:
                put(record, items.pointer, {one["key"]: one.get("value") for one in rendered if "key" in one})
            else:
                put(record, items.pointer, rendered)
        case Nothing():
            pass


def _null_places(group: Group) -> Iterator[str]:
    """Where to write null for a whole object: the member that holds all its parts, else each part."""
    pointers = [
        part.row.pointers[0] for part in group.parts.values() if isinstance(part, Leaf) and part.row.pointers
        and not (part.row.follows or part.row.mirrors)
    ]  # fmt: skip
    parents = {pointer.rsplit("/", 1)[0] for pointer in pointers}
    if len(parents) == 1 and parents != {""}:
        yield from parents
    else:
        yield from pointers
        for part in group.parts.values():
            if isinstance(part, Group):
                yield from _null_places(part)
            elif isinstance(part, Many) and part.items.pointer is None:
                yield from _null_places(part.element)


def _has(record: dict[str, Json], pointer: str) -> bool:
    return isinstance(_at(record, pointer), dict)


def _at(record: dict[str, Json], pointer: str) -> Any:
    here: Any = record
    for token in pointer.split("/")[1:]:
        here = here.get(token) if isinstance(here, dict) else None
    return here
