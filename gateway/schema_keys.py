"""The keys that a JSON Schema describes, one by one, as people write them: for tables of settings."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
_WORDS = re.compile(r"\^?(?:\(\?:)?([\w:-]+(?:\|[\w:-]+)+)\)?\$?(?:\|\\\$\\\{)?")
"""A pattern that is a choice of words, with or without `${...}` beside them."""
_DEPTH = 8
"""How deep keys lie at most, for schemas that contain themselves."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key: `path` with `*` for a name of the writer's choice and `[]` for an element; `default` in words."""

    path: str
    schema: Schema
    default: str
    description: str


def keys(schema: Schema) -> Iterator[Key]:
    """Every key that the schema's object may have, and those of the objects within it, in the order of declaration."""
    yield from _within(schema, schema, "")


def _within(root: Schema, part: Schema, path: str) -> Iterator[Key]:
    if path.count(".") >= _DEPTH:
        return
    for option in [part, *(_opened(root, option) for option in part.get("anyOf", ()))]:
        for name, inner in option.get("properties", {}).items():
            here = f"{path}.{name}" if path else name
            inner = _opened(root, inner)
            yield Key(here, inner, _default(inner, name in option.get("required", ())), inner.get("description", ""))
            yield from _within(root, inner, here)
        for member, sign in (("additionalProperties", ".*"), ("items", "[]")):
            if isinstance(option.get(member), dict):
                yield from _within(root, _opened(root, option[member]), path + sign)


def _opened(root: Schema, part: Schema) -> Schema:
    """The part with what it refers to in place; its own words go before."""
    while "$ref" in part:
        named = root.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
        part = {**named, **{name: value for name, value in part.items() if name != "$ref"}}
    return part


def _default(part: Schema, required: bool) -> str:
    if required:
        return "required"
    value = part.get("default")
    return "–" if value is None else f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


def choices(part: Schema) -> tuple[str, ...]:
    """The words of which a value, or each of its elements, must be one; empty where it may be more than words."""
    options = [option for option in part.get("anyOf", (part,)) if option.get("type") != "null"]
    found: dict[str, None] = {}
    for option in options:
        words = _words(option)
        if not words:
            return ()
        found.update(dict.fromkeys(words))
    return tuple(found)


def _words(part: Schema) -> tuple[str, ...]:
    if "enum" in part or "const" in part:
        return tuple(str(word) for word in part.get("enum", [part.get("const")]))
    if part.get("type") == "boolean":
        return ("true", "false")
    for member in ("items", "additionalProperties"):
        if isinstance(part.get(member), dict):
            return choices(part[member])
    match = _WORDS.fullmatch(part.get("pattern", ""))
    return tuple(match[1].split("|")) if match else ()


_KINDS = {"string": "text", "integer": "whole number", "array": "list", "object": "mapping"}


def kind_of(part: Schema) -> str:
    """The type in words, with the bounds or the pattern that it has."""
    options = [option for option in part.get("anyOf", (part,)) if option.get("type") != "null"]
    return " or ".join(dict.fromkeys(_kind(option) for option in options)) or "anything"


def _kind(part: Schema) -> str:
    told = str(part.get("type", "mapping" if "$ref" in part else "anything"))
    told = _KINDS.get(told, told)
    for name, word in (("minimum", "from"), ("maximum", "to")):
        if name in part:
            told += f" {word} {part[name]}"
    return f"{told} like `{part['pattern']}`" if "pattern" in part else told
