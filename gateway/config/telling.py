"""Mistakes in our words: what was expected and what to write, never a value that may be a secret.

Not shown are the values of keys named like a secret, addresses (people write credentials into them), and whatever came
out of `${NAME}`.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from gateway.config.mistakes import Where
from gateway.config.schema import schema_at
from gateway.config.source import Source, hidden

_SECRET = re.compile("key|token|secret|passw|credential|^state$|^base_url$", re.IGNORECASE)
_MAPPING = frozenset({"model_type", "model_attributes_type", "dict_type"})
_LIST = frozenset({"list_type", "tuple_type", "set_type", "frozen_set_type"})
_SILENT = re.compile(
    "(int|float|bool|decimal)_(parsing|type)|int_from_float|finite_number|literal_error|enum|multiple_of"
    "|string_(type|too_short|too_long|pattern_mismatch)|(greater|less)_than(_equal)?|too_(long|short)|none_required"
)
"""pydantic's errors whose text names what was expected and quotes nothing of what was there."""


def explain(
    source: Source, error: ValidationError, prefix: Where, schema: dict[str, Any], unsaid: frozenset[str] = frozenset()
) -> None:
    """Notes each of the error's findings at its key, in our words; not the lack of a key in `unsaid`."""
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        kind, said, path = found["type"], found["msg"], prefix
        for part in found["loc"]:  # pydantic also names the branch of a union, which is no place in the file
            path = (*path, part) if source.has((*path, part)) else path
        if kind == "missing":
            key = str(found["loc"][-1])
            if key not in unsaid:
                says = schema_at(schema, (*path[len(prefix) :], key)).get("description", "")
                source.wrong((*path, key), f"is missing: {_begun_small(says.rstrip('.'))}" if says else "is missing")
        elif kind == "extra_forbidden":
            unknown(source, path, schema, prefix)
        elif found["loc"][-1:] == ("[key]",):  # the key itself, not what stands under it
            source.wrong(path, said)
        elif kind == "written":
            expected(source, path, said)
        elif kind in _MAPPING:
            expected(source, path, f"expected {_a_mapping(schema_at(schema, path[len(prefix) :]))}")
        elif kind in _LIST:
            expected(source, path, "expected a list of `- ` lines or [a, b]")
        elif kind == "too_short" and not source.at(path):
            expected(source, path, "expected at least one")
        elif _SILENT.fullmatch(kind):
            expected(source, path, _begun_small(said))
        else:
            said = said.removeprefix("Value error, ").removeprefix("Assertion failed, ")
            safe = kind in ("value_error", "assertion_error") and not _leaks(source, path, prefix, said)
            source.wrong(path, " ".join(said.split())[:300] if safe else f"is not valid ({kind})")


def expected(source: Source, path: Where, message: str) -> None:
    """Notes `message` and what stands there instead, where that may be shown."""
    value = source.at(path)
    if isinstance(value, dict | list):
        got = "an empty one" if not value else "a mapping" if isinstance(value, dict) else "a list"
    elif value is None:
        got = "nothing"
    elif private(source, path):
        got = "a value that is not shown"
    else:
        got = ascii(str(value[:60]))
    source.wrong(path, f"{message}; got {got}")


def unknown(source: Source, path: Where, schema: dict[str, Any], prefix: Where = ()) -> None:
    """Notes an unknown key. One that may be a value (`api_key:abc` lacks a blank) is not repeated."""
    known = sorted(schema_at(schema, path[len(prefix) : -1]).get("properties", {}))
    key = str(path[-1])
    near = difflib.get_close_matches(key, known, 1)
    harmless = len(key) <= 32 and re.fullmatch("[A-Za-z0-9_-]+" if near else "[A-Za-z_-]+", key)
    said = "unknown key"
    if ":" in key and not harmless:
        said += "; is a blank missing after a colon?"
    elif near:
        said += f"; did you mean {near[0]}?"
    also = f"known are {listed(known)}" if known else "none is known here"
    source.wrong(path, f"{said}; {also}", path if harmless else (*path[:-1], "?"))


def private(source: Source, path: Where) -> bool:
    """Whether what stands at `path` must not be shown."""
    return secret_name(path) or hidden(source.at(path))


def secret_name(path: Where) -> bool:
    """Whether a key on the way is called like a secret."""
    keys = path[2:] if path[:1] == ("connections",) else path  # a connection may be called what it likes
    return any(isinstance(key, str) and _SECRET.search(key) for key in keys)


def listed(words: Iterable[str]) -> str:
    """`get, list, create`."""
    return ", ".join(words)


def _a_mapping(described: dict[str, Any]) -> str:
    keys = described.get("properties")
    off = any(option.get("const") == "off" for option in described.get("anyOf", ()))
    return f"a mapping {f'with {listed(keys)}' if keys else 'of `name: value` lines'}{', or off' if off else ''}"


def _begun_small(sentence: str) -> str:
    """The sentence as it reads after a colon; `SHA-256 ...` stays as it is."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _leaks(source: Source, path: Where, prefix: Where, message: str) -> bool:
    """Whether an adapter's own message may repeat a value that must not be shown."""
    below = _leaves(source.at(path), path)
    around = _leaves(source.at(prefix), prefix)
    quoted = any(value and str(value) in message for leaf, value in around if private(source, leaf))
    return quoted or any(private(source, leaf) for leaf, _ in below)


def _leaves(value: Any, path: Where) -> Iterator[tuple[Where, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value
