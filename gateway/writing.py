"""Canonical members -> the bodies of a provider's requests.

`plan` spreads what a caller wrote over the calls that can carry it, and names beforehand what none can.
"""

import re
from collections.abc import Mapping

from gateway.codecs import MISSING, Unencodable
from gateway.fields import Group, Leaf, Many, Node, Nothing, Row, Table
from gateway.ledger import NotApplied, Plan, Sent, lookup
from gateway.pointer import put
from gateway.strict_json import Json


def plan(table: Table, fields: Mapping[str, Json], operations: tuple[str, ...], provider: str) -> Plan:
    """What to send for `fields`: only the leaves that are there, each in the first of `operations` that takes it."""
    planner = _Planner(table, fields, operations, provider)
    for name, value in fields.items():
        planner.place(table.tree.parts[name], name, value)
    return planner.plan


class _Planner:
    def __init__(self, table: Table, fields: Mapping[str, Json], operations: tuple[str, ...], provider: str) -> None:
        self.table = table
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
        leading = lookup(self.fields, leader)
        led = self.table.row_for(re.sub(r"\[\d+\]", "[]", leader))
        operation = self._operation(led) if led is not None else None
        if leading is MISSING or operation is None or (row.mirrors and leading != value):
            self._refuse(path, value, row.note)
        else:
            self.plan.sent.append(Sent(path, value, operation))

    def _group(self, group: Group, path: str, value: Json) -> None:
        if value is None:
            self._clear(group, path)
            return
        for name, inner in value.items():
            self.place(group.parts[name], f"{path}.{name}", inner)

    def _clear(self, node: Node, path: str) -> None:
        """Null for a whole object or list: every leaf below that can be cleared is, and the others are named."""
        sent, refused = len(self.plan.sent), len(self.plan.refused)
        if not self._clear_below(node, path, None):
            del self.plan.sent[sent:], self.plan.refused[refused:]
            self._refuse(path, [] if isinstance(node, Many) else None, f"{self.provider} cannot remove it")

    def _clear_below(self, node: Node, path: str, gone: str | None) -> bool:
        """Whether anything goes out for it. `gone`: the call that clears the id of what this leaf is told of, with which it
        goes from the record, whether or not it can be written."""
        match node:
            case Leaf(row):
                if not row.pointers:
                    return False
                if gone is not None and not (row.clear and self._operation(row)):
                    self.plan.sent.append(Sent(path, None, gone))
                    return False
                before = len(self.plan.sent)
                self._leaf(row, path, None)
                return len(self.plan.sent) > before and not (row.follows or row.mirrors)
            case Group(parts):
                id_ = parts.get("id")
                if isinstance(id_, Leaf) and id_.row.clear:
                    gone = self._operation(id_.row) or gone
                return any([self._clear_below(part, f"{path}.{name}", gone) for name, part in parts.items()])
            case Many(items, element):
                if items.pointer is None:
                    return self._clear_below(element, f"{path}[0]", gone)
                before = len(self.plan.sent)
                self._list(node, path, [])
                return len(self.plan.sent) > before
            case Nothing():
                return False

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
            inner = _Planner(self.table, self.fields, (operation,), self.provider)
            inner._group(node.element, f"{path}[{index}]", element)
            bodies.append(inner.plan.bodies.get(operation, {}))
            self.plan.sent.extend(inner.plan.sent)
            self.plan.refused.extend(inner.plan.refused)
            self.plan.lists.extend(inner.plan.lists)
        put(self.plan.bodies.setdefault(operation, {}), entry.write[operation], bodies)
        if bodies:
            self.plan.lists.append(Sent(path, value, operation))
        else:
            self.plan.sent.append(Sent(path, [], operation))
