"""A field table as Markdown: where a dialect keeps each canonical field, where it is written, and by which rule."""

from collections.abc import Iterator, Mapping, Sequence

from gateway.adapter import Adapter
from gateway.fields import Group, Items, Many, Node, Row
from gateway.markdown import NONE, code, listed, table
from gateway.shape import leaf_paths
from gateway.strict_json import dumps


def rows_by_leaf(adapter: Adapter) -> dict[str, Row]:
    """Every canonical leaf with its row; the leaves of an absent object share the object's."""
    told = dict(adapter.table.leaves())
    found = {}
    for leaf in leaf_paths():
        path = leaf
        while path not in told:
            path = path.rpartition(".")[0].removesuffix("[]")
        found[leaf] = told[path]
    return found


def state_of(row: Row) -> str:
    """`mapped`, `fixed` (the same in every record), `unmapped` (for want of configuration) or `absent`."""
    if row.pointers:
        return "mapped"
    return "unmapped" if row.unmapped else "absent" if row.value is None else "fixed"


def _lists(node: Node, path: str, base: str) -> Iterator[tuple[str, Items, str]]:
    """(canonical path, list, where it is read, from the record's top) of every list of objects."""
    if isinstance(node, Group):
        for name, part in node.parts.items():
            yield from _lists(part, f"{path}.{name}" if path else name, base)
    elif isinstance(node, Many):
        place = base if node.items.pointer is None else base + node.items.pointer
        yield f"{path}[]", node.items, place
        yield from _lists(node.element, f"{path}[]", base if node.items.pointer is None else f"{place}/*")


def fields(adapter: Adapter) -> str:
    """Every canonical field of one dialect: where it is read and written, by which rule, and what is to be said of it."""
    lists = {path: (items, place) for path, items, place in _lists(adapter.table.tree, "", "")}
    members = [place for items, place in lists.values() if items.entries]
    found = rows_by_leaf(adapter)
    lines: list[Sequence[str]] = []
    for leaf, row in found.items():
        for path in [path for path in lists if leaf.startswith(f"{path}.")]:
            lines.append(_list_line(path, *lists.pop(path)))
        rule = row.codec.doc if row.codec is not None and row.pointers else NONE
        lines.append((code(leaf), _read(row, members), _written(leaf, row, found), rule, row.note or NONE))
    told = table(("canonical field", "read from", "written", "rule", "note"), lines)
    if adapter.table.also:
        also = listed(map(code, adapter.table.also))
        told += f"\n\nKnown to be there without a canonical field, kept in `extensions`: {also}."
    if adapter.table.beside:
        beside = listed(f"{code(place)} ({code(value)})" for place, value in adapter.table.beside.items())
        told += f"\n\nForm beside the values, neither needed nor kept: {beside}."
    return told


def _list_line(path: str, items: Items, place: str) -> Sequence[str]:
    where = code(place) if place else "the record itself"
    read = f"the one element is in {where}" if items.pointer is None else f"each element of {where}"
    if items.entries:
        read = f"each member of {where}"
    written = _calls(items.write)
    if items.write:
        written += ", the whole list" + (f", elements by {code(items.key)}" if items.key else "")
    return code(path), read, written, NONE, items.note or NONE


def _read(row: Row, members: Sequence[str]) -> str:
    if not row.pointers:
        return f"always {code(dumps(row.value).decode())}" if state_of(row) == "fixed" else state_of(row)
    return (" + " if row.joint else " or ").join(_place(pointer, members) for pointer in row.pointers)


def _place(pointer: str, members: Sequence[str]) -> str:
    """The pointer; within an object's members, whose names nobody knows, the name or the value."""
    for place in members:
        if pointer == f"{place}/*/key":
            return f"the name of {code(f'{place}/*')}"
        if pointer.startswith(f"{place}/*/value"):
            return code(f"{place}/*{pointer.removeprefix(f'{place}/*/value')}")
    return code(pointer)


def _calls(write: Mapping[str, str]) -> str:
    places: dict[str, list[str]] = {}
    for call, place in write.items():
        places.setdefault(place, []).append(call)
    return "; ".join(f"{', '.join(calls)}: {code(place)}" for place, calls in places.items()) or NONE


def _written(leaf: str, row: Row, found: Mapping[str, Row]) -> str:
    leader = row.follows or row.mirrors
    if leader:
        if row.follows and "." not in leader:
            leader = leaf[: leaf.rfind(".") + 1] + leader
        led = found.get(leader)
        return f"with {code(leader)}" if led is not None and led.write else NONE
    return _calls(row.write) + ("" if row.clear or not row.write else "; never null")


def dialects(adapter: type[Adapter]) -> str:
    """The fields of every dialect of an adapter, under a heading each."""
    return "\n\n".join(
        f"#### Dialect {code(name)}\n\n{fields(adapter.of_dialect(name))}" for name in adapter.dialect_names()
    )
