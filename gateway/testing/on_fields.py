"""Checks of the field table: whole, free of contradictions, and explained where it has gaps."""

import re
from collections import defaultdict

from gateway.codecs import MISSING
from gateway.config.values import PROVIDER
from gateway.fields import Nothing, Row
from gateway.shape import leaf_paths
from gateway.testing.kit import Faults, Kit, in_each_dialect


@in_each_dialect
def every_field_has_a_row(kit: Kit) -> Faults:
    """Each canonical leaf is in the table, or lies in something that the provider does not have."""
    told = [path for path, _ in kit.adapter.table.leaves()]
    for path in leaf_paths():
        if not any(path == one or path.startswith((f"{one}.", f"{one}[]")) for one in told):
            yield f"{path}: the table has no row for it; write absent({path!r}, why) if the provider has no such thing"


@in_each_dialect
def every_gap_has_a_note(kit: Kit) -> Faults:
    """A field that reads as null in every record says why."""
    for path, row in kit.adapter.table.leaves():
        if not row.pointers and row.value is None and not row.note.strip():
            yield f"{path}: its row has no note; a gap says in a sentence why it is one"


@in_each_dialect
def every_place_is_written_once(kit: Kit) -> Faults:
    """In one call no two rows write to one place, nor one inside another's."""
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for path, row in kit.adapter.table.leaves():
        for call, pointer in row.write.items():
            for other, owner in places[call].items():
                if pointer == other or pointer.startswith(f"{other}/") or other.startswith(f"{pointer}/"):
                    yield f"{path}: {call} writes {pointer}, but {owner} writes {other}; mark one as `mirrors` of the other"
            places[call][pointer] = path


@in_each_dialect
def calls_and_rows_agree(kit: Kit) -> Faults:
    """Each call that `writes` declares carries a field, and each call that a row names is declared."""
    adapter = kit.adapter
    named = {call for _, row in adapter.table.leaves() for call in row.write}
    declared = {call for calls in adapter.writes.values() for call in calls}
    for operation, calls in adapter.writes.items():
        for call in calls:
            if operation in adapter.operations() and call not in named:
                yield f"`writes` has the call {call!r} for {operation}, but no row of the table writes by it"
    for call in sorted(named - declared):
        yield f"rows of the table write by the call {call!r}, which `writes` does not declare"
    if "create" in adapter.operations() and "name" not in adapter.table.writable(
        tuple(adapter.writes.get("create", ()))
    ):
        yield "name: create is declared, but no row writes the name, which every draft has"


@in_each_dialect
def every_written_row_can_encode(kit: Kit) -> Faults:
    """What is written has a codec that goes both ways, and is read from somewhere, so that a write can be checked."""
    for path, row in kit.adapter.table.leaves():
        if row.write and (row.codec is None or row.codec.encode is None):
            yield f"{path}: it is written, but its codec has no encode"
        if row.write and not row.pointers:
            yield f"{path}: it is written but read from nowhere, so that nobody can tell whether it took"


@in_each_dialect
def defaults_are_of_use(kit: Kit) -> Faults:
    """`status` is always served, and rows follow or mirror fields that exist."""
    table = kit.adapter.table
    paths = {path for path, _ in table.leaves()}
    for name, default in (("status", "unknown"), ("status_source", None)):
        row = table.row_for(name)
        if row is not None and row.pointers and (row.default is MISSING or row.default != default):
            yield f"{name}: its row needs default={default!r}, because {name} is served always"
    for path, row in table.leaves():
        for leader in _leaders(path, row):
            if not any(one == leader or one.startswith((f"{leader}.", f"{leader}[]")) for one in paths):
                yield f"{path}: it follows or mirrors {leader}, which is no field"


def _leaders(path: str, row: Row) -> list[str]:
    if row.mirrors:
        return [row.mirrors]
    if row.follows:
        prefix = path[: path.rfind(".") + 1] if "." not in row.follows else ""
        return [f"{prefix}{row.follows}"]
    return []


def settings_and_declarations_are_whole(kit: Kit) -> Faults:
    """The class says what the configuration and the docs show, and builds twice alike."""
    adapter = kit.adapter_class
    for name in ("name", "title", "homepage", "base_url"):
        value = getattr(adapter, name, None)
        if not isinstance(value, str) or not value:
            yield f"`{name}` must be a text that is not empty"
    if not re.fullmatch(PROVIDER.pattern, str(getattr(adapter, "name", ""))):
        yield "`name` must be one word, as `provider:` in config.yaml takes it; `title` is the name for people"
    if not str(getattr(adapter, "base_url", "")).startswith("https://"):
        yield "`base_url` must begin with https://"
    if not hasattr(adapter, "limits") or adapter.limits.page < 1:
        yield "`limits` must allow a page of one record at least"
    budget = getattr(getattr(adapter, "limits", None), "budget", None)
    if budget is not None and not (budget.calls >= 1 and budget.per > 0):
        yield f"`limits` has a budget of {budget.calls} calls per {budget.per} seconds; without a limit leave it out"
    if not adapter.operations():
        yield "it has none of the operations get, list, create, update, delete"
    if "get" not in adapter.operations():
        yield "it has no get: a gateway that cannot read a record back cannot check a write"
    first, second = kit.build(), kit.build()
    if [path for path, _ in first.table.leaves()] != [path for path, _ in second.table.leaves()]:
        yield "`fields()` gives another table each time"
    if any(isinstance(node, Nothing) and node.row.pointers for node in first.table.tree.parts.values()):
        yield "a field without parts has a place to read from"
