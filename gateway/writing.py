"""Canonical members -> a provider's request bodies, or a provider's record; and the ledger of what took.

`plan` spreads what a caller wrote over the calls that can carry it and names beforehand what none can. `render` spells a
whole opportunity as the provider's record would. `settle` compares what was sent with the record read back: what the
caller is told rests on that comparison, not on the provider's having answered 200.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateway.codecs import MISSING, Unencodable, decimal_string
from gateway.fields import Group, Leaf, Many, Node, Nothing, Row, Table
from gateway.pointer import put
from gateway.strict_json import Json


@dataclass(frozen=True, slots=True)
class NotApplied:
    """One entry of the ledger: `reason` is `unsupported`, `ignored`, `coerced` or `failed`."""

    field: str
    reason: str
    detail: str
    sent: Json = MISSING
    stored: Json = MISSING

    def body(self) -> dict[str, Json]:
        """As `meta.not_applied` shows it."""
        body: dict[str, Json] = {"field": self.field, "reason": self.reason, "detail": self.detail}
        if self.sent is not MISSING:
            body["sent"] = self.sent
        if self.stored is not MISSING:
            body["stored"] = self.stored
        return body


@dataclass(frozen=True, slots=True)
class Sent:
    """One canonical leaf as a caller wrote it, and the call that carries it."""

    field: str
    value: Json
    operation: str


@dataclass(slots=True)
class Plan:
    """`bodies` by call, the leaves they carry, and what no call can carry."""

    bodies: dict[str, dict[str, Json]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    refused: list[NotApplied] = field(default_factory=list)


def plan(table: Table, fields: Mapping[str, Json], operations: tuple[str, ...], provider: str) -> Plan:
    """What to send for `fields`: only the leaves that are there, each in the first of `operations` that takes it."""
    planner = _Planner(fields, operations, provider)
    for name, value in fields.items():
        planner.place(table.tree.parts[name], name, value)
    return planner.plan


class _Planner:
    def __init__(self, fields: Mapping[str, Json], operations: tuple[str, ...], provider: str) -> None:
        self.fields = fields
        self.operations = operations
        self.provider = provider
        self.plan = Plan()

    def place(self, node: Node, path: str, value: Json) -> None:
        match node:
            case Leaf(row):
                self._leaf(row, path, value)
            case Group():
                self._group(node, path, value)
            case Many():
                if node.items.pointer is None:
                    self._single(node, path, value)
                else:
                    self._list(node, path, value)
            case Nothing(row):
                if value is not None and value != []:
                    self._refuse(path, value, row.note)

    def _refuse(self, path: str, value: Json, detail: str) -> None:
        self.plan.refused.append(
            NotApplied(path, "unsupported", detail or f"{self.provider} cannot take it here", sent=value)
        )

    def _operation(self, row: Row) -> str | None:
        return next((operation for operation in self.operations if operation in row.write), None)

    def _leaf(self, row: Row, path: str, value: Json) -> None:
        if not row.pointers:
            if value != row.value:
                self._refuse(path, value, row.note)
            return
        if row.follows or row.mirrors:
            self._dependent(row, path, value)
            return
        operation = self._operation(row)
        if operation is None:
            detail = row.note
            if row.write:
                detail = f"{self.provider} takes it only on {', '.join(row.write)}"
            self._refuse(path, value, detail)
            return
        if value is None and not row.clear:
            self._refuse(path, value, f"{self.provider} cannot remove it")
            return
        try:
            encoded = None if value is None else row.codec.encode(value)  # type: ignore[union-attr,misc]  # it writes
        except Unencodable as error:
            self._refuse(path, value, str(error))
            return
        put(self.plan.bodies.setdefault(operation, {}), row.write[operation], encoded)
        self.plan.sent.append(Sent(path, value, operation))

    def _dependent(self, row: Row, path: str, value: Json) -> None:
        """A leaf that the provider keeps in another's place: carried when that one is, and says the same."""
        prefix = path[: path.rfind(".") + 1] if row.follows and "." not in row.follows else ""
        leader = f"{prefix}{row.follows or row.mirrors}"
        leading = _lookup(self.fields, leader)
        operation = next((sent.operation for sent in self.plan.sent if sent.field == leader), None)
        if operation is None and leading is not MISSING:  # the leader comes later in the caller's order
            operation = self.operations[0]
        if leading is MISSING or (row.mirrors and leading != value):
            self._refuse(path, value, row.note)
        else:
            self.plan.sent.append(Sent(path, value, operation or self.operations[0]))

    def _group(self, group: Group, path: str, value: Json) -> None:
        if value is None:
            self._clear(group, path)
            return
        for name, inner in value.items():
            self.place(group.parts[name], f"{path}.{name}", inner)

    def _clear(self, node: Node, path: str) -> None:
        """Null for a whole object or list: every leaf below that can be cleared is."""
        before = len(self.plan.sent)
        self._clear_below(node, path)
        if len(self.plan.sent) == before:
            self._refuse(path, [] if isinstance(node, Many) else None, f"{self.provider} cannot remove it")

    def _clear_below(self, node: Node, path: str) -> None:
        match node:
            case Leaf(row):
                dependent = row.follows or row.mirrors
                if row.pointers and not dependent and row.clear and self._operation(row):
                    self._leaf(row, path, None)
            case Group(parts):
                for name, part in parts.items():
                    self._clear_below(part, f"{path}.{name}")
            case Many(items, element):
                if items.pointer is None:
                    self._clear_below(element, f"{path}[0]")
            case Nothing():
                pass

    def _single(self, node: Many, path: str, value: Json) -> None:
        if not value:
            self._clear(node, path)
            return
        self._group(node.element, f"{path}[0]", value[0])
        for index, extra in enumerate(value[1:], 1):
            self._refuse(f"{path}[{index}]", extra, node.items.note)

    def _list(self, node: Many, path: str, value: Json) -> None:
        entry = node.items
        operation = next((operation for operation in self.operations if operation in entry.write), None)
        if operation is None or any(not element.get(entry.key) for element in value or ()):
            self._refuse(path, value, entry.note)
            return
        bodies = []
        for index, element in enumerate(value or ()):
            inner = _Planner(self.fields, (operation,), self.provider)
            inner._group(node.element, f"{path}[{index}]", element)
            bodies.append(inner.plan.bodies.get(operation, {}))
            self.plan.sent.extend(inner.plan.sent)
            self.plan.refused.extend(inner.plan.refused)
        put(self.plan.bodies.setdefault(operation, {}), entry.write[operation], bodies)
        if not bodies:
            self.plan.sent.append(Sent(path, [], operation))


# --- the ledger ------------------------------------------------------------------------------------------------------


def settle(
    planned: Plan, stored: Mapping[str, Json] | None, failed: Mapping[str, str]
) -> tuple[list[str], list[NotApplied]]:
    """(applied, not applied) after a write: `stored` is the record as read back, or None where it could not be.

    A top-level field is listed as applied by its own name when all that was sent of it took, else by the paths that did.
    `failed` maps a call that failed to why. A leaf that the record does not tell counts as applied: its call succeeded.
    """
    not_applied: list[NotApplied] = []
    took: list[str] = []
    for sent in planned.sent:
        found = MISSING if stored is None else _lookup(stored, sent.field)
        if sent.operation in failed:
            # A call that failed may have taken effect all the same, or have asked for what was so already.
            if found is not MISSING and _equal(sent.value, found):
                took.append(sent.field)
            else:
                not_applied.append(NotApplied(sent.field, "failed", failed[sent.operation], sent.value, found))
        elif found is MISSING or _equal(sent.value, found):
            took.append(sent.field)
        else:
            not_applied.append(_otherwise(sent, found))
    for refused in planned.refused:
        # What cannot be written but is so already needs no word: the caller has what it asked for.
        if stored is not None and _equal(refused.sent, _lookup(stored, refused.field)):
            took.append(refused.field)
        else:
            not_applied.append(refused)
    missed = {_top(entry.field) for entry in not_applied}
    applied = dict.fromkeys(path if _top(path) in missed else _top(path) for path in took)
    return list(applied), not_applied


def _otherwise(sent: Sent, found: Json) -> NotApplied:
    if _alike(sent.value, found):
        return NotApplied(sent.field, "coerced", "stored in another form", sent.value, found)
    return NotApplied(sent.field, "ignored", "the record read back has it otherwise", sent.value, found)


def compare(path: str, value: Json, stored: Mapping[str, Json], unheld: str) -> NotApplied | None:
    """What became of one leaf in `stored`: None when it is there, else an entry that says how it differs."""
    found = _lookup(stored, path)
    if found is not MISSING and _equal(value, found):
        return None
    if found is not MISSING and _alike(value, found):
        return NotApplied(path, "coerced", "held in another form", value, found)
    return NotApplied(path, "unsupported", unheld, value, found)


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def _lookup(fields: Mapping[str, Json], path: str) -> Json:
    """The value at a canonical path. Below a null everything is null; beyond a list's end there is nothing."""
    here: Any = fields
    for token in path.replace("[", ".[").split("."):
        if here is None:
            return None
        if token.startswith("["):
            index = int(token[1:-1])
            if not isinstance(here, list):
                return MISSING
            here = here[index] if index < len(here) else None
        elif isinstance(here, Mapping) and token in here:
            here = here[token]
        else:
            return MISSING
    return here


def _equal(sent: Json, stored: Json) -> bool:
    if sent == stored:
        return True
    if isinstance(sent, str) and isinstance(stored, str):
        try:
            return Decimal(decimal_string(sent)) == Decimal(decimal_string(stored))
        except ValueError:
            return False
    return sent in (None, []) and stored in (None, [])


def _alike(sent: Json, stored: Json) -> bool:
    """Whether the stored value is the sent one in another form: trimmed, folded, normalised, rounded or cut."""
    if not (isinstance(sent, str) and isinstance(stored, str)):
        return isinstance(stored, str) and sent is None
    if _folded(sent) == _folded(stored) or (stored and sent.startswith(stored)):
        return True
    try:
        one, other = Decimal(decimal_string(sent)), Decimal(decimal_string(stored))
    except ValueError:
        return False
    return abs(one - other) < 1


def _folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())


# --- rendering -------------------------------------------------------------------------------------------------------


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
            writes = row.pointers and not row.joint and row.codec is not None and row.codec.encode is not None
            if writes and _at(record, row.pointers[0]) is None:
                try:
                    put(record, row.pointers[0], None if value is None else row.codec.encode(value))  # type: ignore[union-attr,misc]  # as just asked
                except Unencodable:
                    return
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


def leaves_of(fields: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """(canonical path, value) of each leaf of an opportunity's members, nulls and empty lists included."""
    for name, value in fields.items():
        yield from _leaves_of(value, name)


def _leaves_of(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves_of(inner, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves_of(inner, f"{path}[{index}]")
    else:
        yield path, value
