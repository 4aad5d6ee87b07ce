"""A record from one dialect to another, by way of the canonical opportunity, without calling anybody."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NotRequired, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from gateway.adapter import Adapter
from gateway.codecs import MISSING
from gateway.drafts import path_of
from gateway.errors import FieldError, Problem
from gateway.ledger import NotApplied, compare, leaves_of
from gateway.opportunity import Opportunity
from gateway.pointer import is_pointer, leaves
from gateway.registry import adapter_names, load_adapter
from gateway.rendering import render
from gateway.restoring import restored
from gateway.shape import SHAPE
from gateway.strict_json import LEVELS, Json

CANONICAL = "canonical"


@lru_cache
def dialects() -> Mapping[str, Adapter]:
    """Dialect name -> an adapter that speaks it, of every adapter that is installed."""
    found: dict[str, Adapter] = {}
    for name in adapter_names():
        adapter = load_adapter(name)
        for dialect in adapter.dialect_names():
            found[dialect] = adapter.of_dialect(dialect)
    return found


def dialect_names() -> tuple[str, ...]:
    """What `from` and `to` may be."""
    return (CANONICAL, *dialects())


def translate(record: Json, source: str, target: str) -> tuple[dict[str, Json], dict[str, Json]]:
    """(the record in the target dialect, `issues` and the ledger of what the target cannot hold).

    A canonical answer has no `id` and no `connection`, because no connection is involved. Raises `Problem` for an unknown
    dialect and for a record that is no object.
    """
    for parameter, name in (("from", source), ("to", target)):
        if name not in dialect_names():
            message = f"unknown; dialects are: {', '.join(dialect_names())}"
            raise Problem("invalid-request", "No such dialect.", errors=[FieldError(parameter, message)])
    if not isinstance(record, dict):
        raise Problem("invalid-opportunity", "The body must be one record, a JSON object.")
    issues: list[Json] = []
    provider: str | None = None
    if source == CANONICAL:
        values, extensions = _canonical(record)
        told = record.get("provider")
        provider = told if isinstance(told, str) else None
    else:
        adapter = dialects()[source]
        provider = adapter.name
        reading = adapter.table.read(record)
        values, extensions = reading.values, reading.extensions
        issues = [issue.body() for issue in reading.issues]
        if target == CANONICAL:
            data = {"provider": adapter.name, "complete": not reading.missing, **values, "extensions": extensions}
            native = {"native_id": data.pop("native_id")} if "native_id" in data else {}
            return native | data, {"issues": issues, "not_applied": []}
    if target == source:  # what it says it says already, in its own words
        return dict(record), {"issues": issues, "not_applied": []}
    speaker = dialects()[target]
    rendered = render(speaker.table, _with_an_instant(values, speaker))
    reread = speaker.table.read(rendered)
    lost = [
        entry
        for path, value in leaves_of(values)
        if (entry := _became(path, value, reread.values, speaker)) is not None
        and not (value is None and entry.stored is MISSING)
    ]
    unheld = list(extensions.items())
    if provider == speaker.name:  # a provider's own go back where they were read, another's nowhere
        rendered, unheld = restored(rendered, extensions, speaker.table)
    lost += [
        NotApplied(
            "extensions", "unsupported", f"{pointer} is beyond what {speaker.title} is known to hold", sent=value
        )
        for pointer, value in unheld
    ]
    return rendered, {"issues": issues, "not_applied": [entry.body() for entry in lost]}


def _with_an_instant(values: Mapping[str, Json], speaker: Adapter) -> Mapping[str, Json]:
    """The same, with midnight UTC of a closing day where the provider holds an instant, as in a write."""
    close, row = values.get("expected_close"), speaker.table.row_for("expected_close.at")
    if not close or not close.get("on") or close.get("at") is not None or row is None or not row.pointers:
        return values
    return {**values, "expected_close": {**close, "at": f"{close['on']}T00:00:00Z"}}


def _became(path: str, value: Json, held: Mapping[str, Json], speaker: Adapter) -> NotApplied | None:
    entry = compare(path, value, held, _why(speaker, path))
    if entry is not None and path == "expected_close.at" and value is None and entry.stored not in (None, MISSING):
        return NotApplied(path, "coerced", "a day is held as its midnight in UTC", value, entry.stored)
    return entry


def _canonical(record: Mapping[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """(the members that a provider may hold, the extensions) of an opportunity, any of whose members may be missing."""
    members = _members()
    errors = []
    for name, value in record.items():
        if name not in members:
            errors.append(FieldError(name[:60], "is not a member of an opportunity"))
            continue
        try:
            members[name].validate_python(value, strict=True)
        except ValidationError as error:
            errors += [
                FieldError(path_of((name, *item["loc"])), item["msg"])
                for item in error.errors(include_input=False, include_url=False, include_context=False)
            ]
    errors = errors or _misplaced(record.get("extensions", {}))
    if errors:
        raise Problem("invalid-opportunity", "The body is not a canonical opportunity.", errors=errors)
    return {name: value for name, value in record.items() if name in SHAPE}, record.get("extensions", {})


def _misplaced(extensions: Mapping[str, Json]) -> list[FieldError]:
    """What is no place in a record: a record is at most as deep as what is read at all."""
    errors = []
    for pointer, value in extensions.items():
        if not is_pointer(pointer):
            errors.append(FieldError(f"extensions.{pointer[:60]}", "is not keyed by a JSON Pointer (RFC 6901)"))
        elif pointer.count("/") > LEVELS or any(leaf.count("/") > LEVELS for leaf, _ in leaves(value, pointer)):
            errors.append(FieldError(f"extensions.{pointer[:60]}", f"is more than {LEVELS} levels deep"))
    return errors


@lru_cache
def _members() -> Mapping[str, TypeAdapter[Any]]:
    hints = get_type_hints(Opportunity, include_extras=True)
    return {
        name: TypeAdapter(get_args(hint)[0] if get_origin(hint) is NotRequired else hint)
        for name, hint in hints.items()
    }


def _why(speaker: Adapter, path: str) -> str:
    """The table's own sentence on a field or on the nearest thing around it."""
    plain = re.sub(r"\[\d+\]", "[]", path)
    while plain:
        row = speaker.table.row_for(plain)
        if row is not None and row.note:
            return row.note
        plain = plain.rpartition(".")[0].removesuffix("[]")
    return f"{speaker.title} cannot hold it"
