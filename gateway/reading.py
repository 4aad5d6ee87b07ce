"""A provider's record -> canonical fields, what is left over, and what could not be read.

Two passes. *Scatter* walks the record once along a tree of the paths that the table knows: known places fill slots, all
else falls into `extensions` as it is passed, so that nothing can be lost by forgetting it. *Gather* builds the canonical
object from the slots; a value that its codec cannot read goes back into `extensions` and is named as an issue.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.codecs import MISSING, Inexact, Unreadable, kind
from gateway.compiled import compiled
from gateway.fields import Group, Leaf, Many, Node, Nothing, TableError
from gateway.planned import Doubtful, Plan, spread
from gateway.pointer import escape, tokens
from gateway.strict_json import Json

Reason = Literal["wrong_type", "unknown_word", "invalid", "inexact", "missing"]


@dataclass(frozen=True, slots=True)
class Issue:
    """A value that could not be read: canonical `field`, JSON Pointer `path` in the record, why, and a sentence."""

    field: str
    path: str
    reason: str
    detail: str

    def body(self) -> dict[str, Json]:
        """As `meta.issues` shows it."""
        return {"field": self.field, "path": self.path, "reason": self.reason, "detail": self.detail}


class Reading(msgspec.Struct):
    """What a record says: `values` are the canonical members in order, without those that only the gateway knows.

    `missing` are (field, path) of declared places that the record does not have: drift in a whole record, normal in a
    thin one.
    """

    values: dict[str, Json] = msgspec.field(default_factory=dict)
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)
    issues: list[Issue] = msgspec.field(default_factory=list)
    missing: list[tuple[str, str]] = msgspec.field(default_factory=list)


class _Broken:
    """Where the record has something else than the object that should hold this value; already reported."""


_BROKEN: Any = _Broken()


class Place:
    """A node of the tree of known paths: a slot, or an object with known members."""

    __slots__ = ("children", "fields", "form", "slot", "under")

    def __init__(self) -> None:
        self.children: dict[str, Place] = {}
        self.slot: int | None = None
        self.form: set[str] = set()
        self.under: list[int] = []
        self.fields: list[str] = []


_ONE, _LEAF, _GROUP, _SINGLE, _LIST, _NOTHING = range(6)


class Step:
    """What is done for one node of the table, worked out once: which slots, which codec, and where that is.

    `slot` and `decode` are of a leaf that has one place and a codec of one value, as most have: kind `_ONE`.
    """

    __slots__ = (
        "counts",
        "decode",
        "default",
        "kind",
        "name",
        "node",
        "null",
        "nullable",
        "path",
        "slot",
        "slots",
        "steps",
    )

    def __init__(self, level: "Level", name: str, node: Node, path: str) -> None:
        self.name, self.node, self.path = name, node, path
        self.slots: list[int] = []
        self.slot, self.nullable, self.default = 0, False, None
        self.decode: Any = None
        self.steps: tuple[Step, ...] = ()
        self.null: str | None = None
        """Of a group: the part that, told as null, says that there is nothing."""
        self.counts = type(node) is not Nothing
        """Whether the group around it is told of by it."""
        match node:
            case Leaf(row):
                self.slots = [level.slots[pointer] for pointer in row.pointers]
                self.counts = not node.fixed
                self.kind = _ONE if len(self.slots) == 1 and not row.joint else _LEAF
                self.nullable, self.default = node.nullable, row.default
                if self.slots:
                    self.slot = self.slots[0]
                    self.decode = row.codec.decode if row.codec is not None else None
            case Group(parts):
                self.kind = _GROUP
                self._inside(level, parts, path)
            case Many(items, element):
                self.kind = _SINGLE if items.pointer is None else _LIST
                if items.pointer is None:
                    self._inside(level, element.parts, f"{path}[0]")
                else:
                    self.slot = level.slots[items.pointer]
            case Nothing():
                self.kind = _NOTHING

    def _inside(self, level: "Level", parts: dict[str, Node], path: str) -> None:
        self.steps = tuple(Step(level, name, part, f"{path}.{name}") for name, part in parts.items())
        for name in ("id", "name"):
            part = parts.get(name)
            if self.null is None and type(part) is Leaf and not part.fixed:
                self.null = name


class Level:
    """One object's worth of table: the record itself, or the element of a list."""

    def __init__(self, tree: Group, beside: dict[str, str], also: tuple[str, ...] = ()) -> None:
        self.root = Place()
        self.also = also
        """Pointers of members that no row names and that are known to come."""
        self.pointers: list[str] = []
        self.slots: dict[str, int] = {}
        self.inner: dict[int, Level] = {}
        self._collect(tree, "")
        for pointer in beside:
            *path, last = tokens(pointer)
            place = self.root
            for token in path:
                place = place.children.setdefault(token, Place())
            place.form.add(last)
        self.steps = tuple(Step(self, name, node, name) for name, node in tree.parts.items())

    def _collect(self, node: Node, field_path: str) -> None:
        match node:
            case Leaf(row):
                for pointer in row.pointers:
                    self._slot(pointer, field_path)
            case Group(parts):
                for name, part in parts.items():
                    self._collect(part, f"{field_path}.{name}" if field_path else name)
            case Many(items, element):
                if items.pointer is None:
                    self._collect(element, f"{field_path}[0]")
                else:
                    self.inner[id(node)] = Level(element, {}, _within(self.also, f"{items.pointer}/*"))
                    self._slot(items.pointer, field_path)
            case Nothing():
                pass

    def _slot(self, pointer: str, field_path: str) -> None:
        if pointer not in self.slots:
            self.slots[pointer] = len(self.pointers)
            self.pointers.append(pointer)
        slot = self.slots[pointer]
        place = self.root
        for token in tokens(pointer):
            if place.slot is not None:
                raise TableError(f"{pointer} lies inside another row's {self.pointers[place.slot]}")
            place = place.children.setdefault(token, Place())
            if slot not in place.under:
                place.under.append(slot)
            if field_path not in place.fields:
                place.fields.append(field_path)
        if place.children:
            raise TableError(f"{pointer} holds another row's place")
        place.slot = slot


def _within(pointers: tuple[str, ...], place: str) -> tuple[str, ...]:
    """The pointers that lead into a place, from there on."""
    return tuple(pointer.removeprefix(place) for pointer in pointers if pointer.startswith(f"{place}/"))


class Pass:
    """The state of reading one object: its slots, where it stands in the record, and what is reported so far."""

    __slots__ = ("at", "level", "out", "path", "pointer", "values")

    def __init__(self, level: Level, out: Reading, pointer: str, path: str) -> None:
        self.level = level
        self.out = out
        self.pointer = pointer
        self.path = path
        self.values: list[Any] = [MISSING] * len(level.pointers)
        self.at: dict[int, str] = {}

    # --- scatter

    def scatter(self, record: dict[str, Json]) -> None:
        self._scatter(record, self.level.root, self.pointer)

    def _scatter(self, record: dict[str, Json], place: Place, pointer: str) -> None:
        children, values = place.children, self.values
        for key, value in record.items():
            child = children.get(key)
            if child is None:
                if key not in place.form or type(value) is not str:
                    self._keep(f"{pointer}/{escape(key)}", value)
            elif child.slot is not None:
                values[child.slot] = value
            elif isinstance(value, dict) and value:
                self._scatter(value, child, f"{pointer}/{escape(key)}")
            else:
                self._interior(value, child, f"{pointer}/{escape(key)}")

    def _interior(self, value: Json, place: Place, pointer: str) -> None:
        """Something else than an object with members, where one was expected."""
        if value is None:
            for slot in place.under:
                self.values[slot] = None
                self.at[slot] = pointer
            return
        self._keep(pointer, value)
        if value == {}:
            return
        for slot in place.under:
            self.values[slot] = _BROKEN
        for top in dict.fromkeys(path.split(".")[0].split("[")[0] for path in place.fields):
            self._issue(top, pointer, "wrong_type", f"expected an object, got {kind(value)}")

    def _keep(self, pointer: str, value: Json) -> None:
        if type(value) is dict or type(value) is list:
            self.out.extensions.update(spread(value, pointer))
        else:
            self.out.extensions[pointer] = value

    def _issue(self, path: str, pointer: str, reason: str, detail: str) -> None:
        # None comes twice: a leaf is gathered once, and no object in the way of one is passed twice.
        self.out.issues.append(Issue(self.path + path, pointer, reason, detail))

    def _where(self, slot: int) -> str:
        return self.at.get(slot) or self.pointer + self.level.pointers[slot]

    # --- gather

    def gather(self) -> dict[str, Json]:
        out: dict[str, Json] = {}
        for step in self.level.steps:
            value = self._one(step) if step.kind == _ONE else self._build(step)
            if value is not MISSING:
                out[step.name] = value
        return out

    def _one(self, step: Step) -> Json:
        """A leaf with one place, where nothing is the matter with it; all else is `_leaf`'s."""
        raw = self.values[step.slot]
        if raw is None:
            if step.nullable:
                return None
        elif raw is not MISSING and raw is not _BROKEN:
            try:
                return step.decode(raw)
            except (Unreadable, Inexact):
                pass
        return self._leaf(step)

    def _build(self, step: Step) -> Json:
        kind_ = step.kind
        if kind_ in (_LEAF, _ONE):
            return self._leaf(step)
        if kind_ == _GROUP:
            return self._group(step)
        if kind_ == _NOTHING:  # the provider has no such thing
            return [] if step.node.many else None  # type: ignore[union-attr]  # Nothing
        return self._single(step) if kind_ == _SINGLE else self._list(step)

    def _leaf(self, step: Step) -> Json:
        leaf, slots = step.node, step.slots
        assert type(leaf) is Leaf
        row = leaf.row
        if not slots:
            return row.value
        if row.joint:
            return self._joint(leaf, slots, step.path)
        slot, raw = self._first(slots)
        if raw is MISSING:
            if not row.optional:
                self._missing(step.path, slots[0])
            return row.default
        if raw is _BROKEN:
            return row.default
        if raw is None and leaf.nullable:
            return None
        try:
            return row.codec.decode(raw)  # type: ignore[union-attr]  # a row with a path has a codec
        except Unreadable as error:
            self._unread(leaf, step.path, slot, raw, error)
        except Inexact as error:
            self._keep(self._where(slot), raw)
            self._issue(step.path, self._where(slot), "inexact", error.detail)
            return error.value
        return row.default

    def _first(self, slots: list[int]) -> tuple[int, Any]:
        """The first slot that is told; others that say something else are kept."""
        chosen, raw = slots[0], self.values[slots[0]]
        for slot in slots[1:]:
            other = self.values[slot]
            if raw is MISSING:
                chosen, raw = slot, other
            elif other is not MISSING and other is not _BROKEN and other != raw:
                self._keep(self._where(slot), other)
        return chosen, raw

    def _joint(self, leaf: Leaf, slots: list[int], path: str) -> Json:
        raws = [MISSING if self.values[slot] is _BROKEN else self.values[slot] for slot in slots]
        try:
            value = leaf.row.codec.decode(*raws)  # type: ignore[union-attr]  # a row with a path has a codec
        except Unreadable as error:
            self._unread(leaf, path, slots[error.which], raws[error.which], error)
            return leaf.row.default
        except Inexact as error:  # whichever of the values it was: all of them are kept
            for slot, raw in zip(slots, raws, strict=True):
                if raw is not MISSING:
                    self._keep(self._where(slot), raw)
            self._issue(path, self._where(slots[0]), "inexact", error.detail)
            return error.value
        if value is MISSING:
            if not leaf.row.optional and all(raw is MISSING for raw in raws):
                self._missing(path, slots[0])
            return leaf.row.default
        return value

    def _unread(self, leaf: Leaf, path: str, slot: int, raw: Json, error: Unreadable) -> None:
        where = self._where(slot)
        if not leaf.row.aside:
            self._keep(where, raw)
        self._issue(path, where + error.below, error.reason, error.detail)

    def _missing(self, path: str, slot: int) -> None:
        if self.values[slot] is MISSING:
            self.out.missing.append((self.path + path, self.pointer + self.level.pointers[slot]))

    def _group(self, step: Step) -> Json:
        out: dict[str, Json] = {}
        told = filled = gap = False
        for part in step.steps:
            value = self._one(part) if part.kind == _ONE else self._build(part)
            if value is MISSING:
                gap = True
                continue
            out[part.name] = value
            if part.counts:
                told = True
                filled = filled or (value is not None and value != [])
        if not told:
            return MISSING
        # A reference whose id, or where it has none its name, is told as null refers to nothing, whatever was left out.
        if not filled and (not gap or (step.null is not None and out.get(step.null, MISSING) is None)):
            return None
        return out

    def _single(self, step: Step) -> Json:
        value = self._group(step)
        if value is MISSING:
            return MISSING
        return [] if value is None else [value]

    def _list(self, step: Step) -> Json:
        node, path, slot = step.node, step.path, step.slot
        assert type(node) is Many
        raw = self.values[slot]
        if raw is MISSING:
            if not node.items.optional:
                self._missing(path, slot)
            return MISSING
        if raw is _BROKEN:
            return MISSING
        if raw is None:
            return []
        where = self._where(slot)
        if node.items.entries and isinstance(raw, dict):
            raw = [{"key": key, "value": value} for key, value in raw.items()]
        if not isinstance(raw, list) or (node.items.entries and raw is self.values[slot]):
            self._keep(where, raw)
            self._issue(
                path,
                where,
                "wrong_type",
                f"expected {'an object' if node.items.entries else 'a list'}, got {kind(raw)}",
            )
            return MISSING
        out: list[Json] = []
        inner = self.level.inner[id(node)]
        for index, element in enumerate(raw):
            pointer = f"{where}/{index}"
            if isinstance(element, dict):
                if not element:  # it holds nothing, and stands for its place all the same
                    self._keep(pointer, element)
                reading = type(self)(inner, self.out, pointer, f"{self.path}{path}[{len(out)}].")
                reading.scatter(element)
                out.append(reading.gather())
            else:
                self._keep(pointer, element)
                self._issue(path, pointer, "wrong_type", f"expected an object, got {kind(element)}")
        return out


class Reader:
    """Reads records by one table."""

    passes: type[Pass] = Pass
    """What one object is read by; the contract kit puts one in its place that remembers what was asked for."""

    def __init__(self, tree: Group, beside: dict[str, str], also: tuple[str, ...] = ()) -> None:
        self._level = Level(tree, beside, also)
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """Reads the records that have nothing the matter; made when it is first needed."""
        if self._plan is None:
            self._plan = compiled(self._level)
        return self._plan

    def read(self, record: dict[str, Json]) -> Reading:
        """What the record says. Never raises, whatever is in it, and changes nothing in it."""
        if self.passes is Pass:
            extensions: dict[str, Json] = {}
            missing: list[tuple[str, str]] = []
            try:
                return Reading((self._plan or self.plan)(record, extensions, missing, None), extensions, [], missing)
            except (Doubtful, Unreadable, Inexact):
                pass  # from its start again, with nothing of what was found so far
        return self.interpret(record)

    def interpret(self, record: dict[str, Json]) -> Reading:
        """The same, step by step: what `read` falls back to, and what it is measured by."""
        out = Reading()
        reading = self.passes(self._level, out, "", "")
        reading.scatter(record)
        out.values = reading.gather()
        return out
