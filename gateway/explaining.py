"""Where each canonical field of one answer came from, in words: `meta.explain`."""

from collections.abc import Iterator, Mapping

from gateway.codecs import MISSING
from gateway.fields import Group, Leaf, Many, Node, Nothing, Row, Table
from gateway.pointer import escape, tokens
from gateway.reading import Reading
from gateway.strict_json import Json


def explain(table: Table, record: Mapping[str, Json], reading: Reading) -> dict[str, Json]:
    """For each top-level canonical field `{"from": [pointers], "native": …, "rule": …}` or `{"reason": …}`.

    A reason is `unsupported` (the provider has no such thing), `unmapped` (the configuration does not say where it is
    kept), `empty` (the provider said null; `from` tells where), `not_told` or `unreadable`.
    """
    told: dict[str, Json] = {}
    unread = {issue.field.split(".")[0].split("[")[0] for issue in reading.issues}
    if reading.values.get("status") == "unknown" and "status" in unread:
        unread.add("status_source")
    source = reading.values.get("status_source")
    for name, node in table.tree.parts.items():
        rows = list(_rows(node, ""))
        sources = [row for _, row in rows if row.pointers]
        if not sources:
            unmapped = any(row.unmapped for _, row in rows)
            told[name] = {"reason": "unmapped" if unmapped else "unsupported", "detail": rows[0][1].note}
            continue
        found = dict.fromkeys(pointer for base, row in rows for pointer in _present(record, base, row))
        value = reading.values.get(name, MISSING)
        # Without a status there is none of its sources either: both are there all the same, and say nothing.
        nothing = (name, value) in (("status", "unknown"), ("status_source", None))
        if value is MISSING or nothing or (name in unread and value is None):
            told[name] = {"reason": "unreadable" if name in unread else "not_told"}
        elif value is None:
            told[name] = {"reason": "empty", "from": list(found)}
        elif not found:
            told[name] = {"reason": "not_told"}
        else:
            native = all(row.codec.native for row in sources if row.codec is not None)
            if name == "status":  # it may be the provider's own word, or what the stage map or the gateway made of it
                native = source == "native"
            told[name] = {"from": list(found), "native": native, "rule": _rule(node)}
    return told


def _rows(node: Node, base: str) -> Iterator[tuple[str, Row]]:
    match node:
        case Leaf(row):
            yield base, row
        case Group(parts):
            for part in parts.values():
                yield from _rows(part, base)
        case Many(items, element):
            if items.pointer is None:
                yield from _rows(element, base)
            else:
                yield base, Row(items.field, (items.pointer,))
        case Nothing(row):
            yield base, row


def _rule(node: Node) -> str:
    """How a field is read, in words; a list at a place of its own by what is read in each of its elements."""
    if isinstance(node, Many) and node.items.pointer is not None:
        return f"each in the list: {_rule(node.element)}"
    rows = [row for _, row in _rows(node, "")]
    return "; ".join(dict.fromkeys(row.codec.doc for row in rows if row.codec is not None))


def _present(record: Mapping[str, Json], base: str, row: Row) -> Iterator[str]:
    """The places that the record tells: a row's own, or the null above it."""
    for pointer in row.pointers:
        here: Json = record
        place = ""
        for token in tokens(base + pointer):
            here = here.get(token, MISSING) if isinstance(here, Mapping) else MISSING
            place += f"/{escape(token)}"
            if here is MISSING or here is None:
                break
        if here is not MISSING:
            yield place
