"""The field table: one row a canonical field, saying where a provider keeps it and how it is spelled there.

From the rows come reading, writing, what is left over, `explain`, the docs and the property tests. A row holds paths, a
codec and a sentence; no conditions and no expressions: the day a row wants an `if` it gets a named codec.

    Table(
        row("name", "/name", text, write="/name"),
        row("owner.id", first_of("/responsible_user/id", "/responsible_user_id"), text, write="/responsible_user_id"),
        row("status", ("/stage/isOpen", "/stage/id", "/stage/name"), status_codec),
        items("contacts", "/people", row("name", "/fullName", text), ...),
        absent("source", "Acme has no lead source"),
        ...
    )

A canonical field without a row is an error at import: gaps are written down, never silent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as _field

from gateway.codecs import MISSING, Codec, anything, text
from gateway.pointer import is_pointer
from gateway.shape import SHAPE, Shape
from gateway.strict_json import Json


class TableError(Exception):
    """The table is not whole or contradicts itself; raised where it is built, so at an adapter's import or first use."""


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Several places for one value: the first that is told is read, the first is where it is rendered."""

    pointers: tuple[str, ...]


def first_of(*pointers: str) -> FirstOf:
    """Read the first of these places that the record tells."""
    return FirstOf(pointers)


@dataclass(frozen=True, slots=True)
class Row:
    """One canonical field: see `row`, `const` and `absent`."""

    field: str
    pointers: tuple[str, ...] = ()
    joint: bool = False
    codec: Codec | None = None
    write: Mapping[str, str] = _field(default_factory=dict)
    clear: bool = True
    optional: bool = False
    default: Json = MISSING
    value: Json = None
    unmapped: bool = False
    follows: str = ""
    mirrors: str = ""
    aside: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of objects: see `items` and `single`."""

    field: str
    rows: "tuple[Row | Items, ...]"
    pointer: str | None
    write: Mapping[str, str] = _field(default_factory=dict)
    key: str = ""
    optional: bool = False
    note: str = ""
    entries: bool = False


def _writes(write: str | Mapping[str, str] | None) -> Mapping[str, str]:
    if write is None:
        return {}
    return {"create": write, "update": write} if isinstance(write, str) else dict(write)


def row(
    field: str,
    read: str | tuple[str, ...] | FirstOf,
    codec: Codec,
    *,
    write: str | Mapping[str, str] | None = None,
    clear: bool = True,
    optional: bool = False,
    default: Json = MISSING,
    follows: str = "",
    mirrors: str = "",
    aside: bool = False,
    note: str = "",
) -> Row:
    """A field that the provider keeps.

    - `read`: a JSON Pointer in the record; `first_of(...)` several places for one value; a tuple: the codec takes all.
    - `write`: where it goes in a request's body: one pointer for create and update, or a pointer for each call by name.
    - `clear`: whether null can be written.
    - `optional`: whether the whole record may lack it without anybody being told.
    - `default`: what is served when it is missing or unreadable.
    - `follows`: the field from which the provider works this one out: never sent itself, checked with it.
    - `mirrors`: the field that shares this one's place: never sent itself, refused where it differs.
    - `aside`: another row serves the value whole, so that an unreadable one is not kept a second time.
    """
    pointers = read.pointers if isinstance(read, FirstOf) else (read,) if isinstance(read, str) else read
    return Row(
        field, pointers, isinstance(read, tuple), codec, _writes(write), clear, optional, default,
        follows=follows, mirrors=mirrors, aside=aside, note=note,
    )  # fmt: skip


def const(field: str, value: Json, note: str = "") -> Row:
    """A field that has the same value in every record of this provider."""
    return Row(field, value=value, note=note)


def absent(field: str, note: str) -> Row:
    """A field that the provider has no such thing for; reads as null (a list: as empty). `note` says so in a sentence."""
    return Row(field, note=note)


def unmapped(field: str, note: str) -> Row:
    """A field that the provider could hold if the connection's configuration said where; reads as null until it does."""
    return Row(field, note=note, unmapped=True)


def items(
    field: str,
    read: str,
    *rows: Row | Items,
    write: str | Mapping[str, str] | None = None,
    key: str = "",
    optional: bool = False,
    note: str = "",
) -> Items:
    """A list of objects, its rows relative to the element; written as the whole list, of elements that have `key`."""
    return Items(field, rows, read, _writes(write), key, optional, note)


def entries(field: str, read: str, *rows: Row | Items, optional: bool = False, note: str = "") -> Items:
    """A list made of the members of an object: rows read `/key`, by the codec `text`, and `/value` whole, by `anything`."""
    return Items(field, rows, read, optional=optional, note=note, entries=True)


def single(field: str, *rows: Row | Items, note: str = "") -> Items:
    """A list that has one element at most, its parts lying in the surrounding record itself."""
    return Items(field, rows, None, note=note)


# --- the table as a tree in canonical order --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Leaf:
    """A row in its place in the canonical tree."""

    row: Row
    nullable: bool

    @property
    def fixed(self) -> bool:
        """Whether the value does not depend on the record."""
        return not self.row.pointers


@dataclass(frozen=True, slots=True)
class Group:
    """An object; null when all its told parts are."""

    parts: "dict[str, Node]"


@dataclass(frozen=True, slots=True)
class Many:
    """A list of objects at `items.pointer`, or of one object spread over the record around it."""

    items: Items
    element: Group


@dataclass(frozen=True, slots=True)
class Nothing:
    """An object or list that the provider has no such thing for."""

    row: Row
    many: bool


Node = Leaf | Group | Many | Nothing


def _check_places(rows: tuple[Row | Items, ...], where: str) -> None:
    """Raises `TableError` for a place that is none: rows of lists are looked at with their own list."""
    for entry in rows:
        read = entry.pointers if isinstance(entry, Row) else () if entry.pointer is None else (entry.pointer,)
        for pointer in (*read, *entry.write.values()):
            if not is_pointer(pointer):
                raise TableError(
                    f"{where}: {entry.field} is at {pointer!r}, which is no JSON Pointer to a member; one begins with /"
                )
        if isinstance(entry, Items) and entry.entries:
            _check_entries(entry, where)


def _check_entries(entry: Items, where: str) -> None:
    """The members of an object have no place but their own: each is told whole, so that none has to be named by a part."""
    whole: dict[tuple[str, ...], Codec] = {("/key",): text, ("/value",): anything}
    for inner in entry.rows:
        places = inner.pointers if isinstance(inner, Row) else (inner.pointer,)
        fixed = isinstance(inner, Row) and not inner.pointers
        if not fixed and not (isinstance(inner, Row) and whole.get(inner.pointers) is inner.codec):
            raise TableError(
                f"{where}: {entry.field}[].{inner.field} is read at {', '.join(map(str, places))}; of entries the name is "
                "read at /key by the codec text, the value whole at /value by the codec anything, and nothing else"
            )


def _tree(shape: Mapping[str, Shape], rows: tuple[Row | Items, ...], where: str) -> Group:
    _check_places(rows, where)
    missing: list[str] = []
    left = {entry.field: entry for entry in rows}
    if len(left) != len(rows):
        doubled = sorted({entry.field for entry in rows if sum(other.field == entry.field for other in rows) > 1})
        raise TableError(f"{where}: more than one row for {', '.join(doubled)}")
    group = _group(shape, left, "", where, missing)
    if missing:
        lacking = ", ".join(missing)
        raise TableError(f"{where}: no row for {lacking}; what the provider has no such thing for, write absent(...)")
    if left:
        raise TableError(f"{where}: no such canonical field: {', '.join(sorted(left))}")
    return group


def _group(
    shape: Mapping[str, Shape], left: dict[str, Row | Items], prefix: str, where: str, missing: list[str]
) -> Group:
    """The part of the tree under `prefix`; takes its rows out of `left`, and adds to `missing` what has none."""
    parts: dict[str, Node] = {}
    for name, part in shape.items():
        path = prefix + name
        entry = left.pop(path, None)
        if part.parts is None:
            if isinstance(entry, Row):
                parts[name] = Leaf(entry, part.nullable)
            elif entry is None:
                missing.append(path)
            else:
                raise TableError(f"{where}: {path} is one value, not a list of objects")
        elif isinstance(entry, Row):
            if entry.pointers:
                raise TableError(f"{where}: {path} has parts; give each a row")
            parts[name] = Nothing(entry, part.many)
        elif part.many:
            if entry is None:
                missing.append(path)
            else:
                parts[name] = Many(entry, _tree(part.parts, entry.rows, f"{where}: {path}[]"))
        else:
            parts[name] = _group(part.parts, left, f"{path}.", where, missing)
    return Group(parts)


class Table:
    """A dialect's field table. Raises `TableError` when a canonical field has no row or two.

    `beside` are constants that the provider's records carry next to values, pointer to value: form, not content. They are
    passed over in reading (any string in their place is) and written in rendering. `also` are members that are known to be
    there without a canonical field, `*` for any index: kept in `extensions` like all others, but no sign of drift.
    """

    def __init__(self, *rows: Row | Items, beside: Mapping[str, str] | None = None, also: tuple[str, ...] = ()) -> None:
        from gateway.reading import Reader  # reading and writing are built on the tree above

        self.rows = rows
        self.beside = dict(beside or {})
        self.also = also
        self.tree = _tree(SHAPE, rows, "field table")
        self.reader = Reader(self.tree, self.beside, also)
        self.read = self.reader.read
        self._by_path: dict[str, Row] | None = None

    def leaves(self) -> Iterator[tuple[str, Row]]:
        """(canonical path, row) of every leaf, lists as `contacts[]`; parts of an absent object share its row."""
        yield from _leaves(self.tree, "")

    def writable(self, operations: tuple[str, ...]) -> tuple[str, ...]:
        """The canonical paths that one of these calls can carry, in canonical order."""
        return tuple(path for path, entry in self.leaves() if _can_write(entry, operations))

    def readable(self) -> tuple[str, ...]:
        """The canonical paths that the provider tells."""
        return tuple(path for path, entry in self.leaves() if entry.pointers)

    def row_for(self, path: str) -> Row | None:
        """The row of a canonical path without indices, such as `stage.id`; None where there is none of its own."""
        if self._by_path is None:
            self._by_path = dict(self.leaves())
        return self._by_path.get(path)


def _can_write(entry: Row, operations: tuple[str, ...]) -> bool:
    return any(operation in entry.write for operation in operations)


def _leaves(node: Node, path: str) -> Iterator[tuple[str, Row]]:
    match node:
        case Leaf(entry):
            yield path, entry
        case Group(parts):
            for name, part in parts.items():
                yield from _leaves(part, f"{path}.{name}" if path else name)
        case Many(entry, element):
            for inner, inner_row in _leaves(element, f"{path}[]"):
                if entry.pointer is not None and inner_row.pointers:
                    pointers = tuple(f"{entry.pointer}/*{pointer}" for pointer in inner_row.pointers)
                    writes = {
                        call: f"{entry.write[call]}/*{pointer}"
                        for call, pointer in inner_row.write.items()
                        if call in entry.write
                    }
                    inner_row = replace(inner_row, pointers=pointers, write=writes)
                yield inner, inner_row
        case Nothing(entry):
            yield path, entry


__all__ = [
    "FirstOf", "Group", "Items", "Leaf", "Many", "Node", "Nothing", "Row", "Table", "TableError",
    "absent", "const", "entries", "first_of", "items", "row", "single", "unmapped",
]  # fmt: skip
