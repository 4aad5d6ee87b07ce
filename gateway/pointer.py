"""JSON Pointer (RFC 6901), and the leaves that it names."""

import re
from collections.abc import Iterator

from gateway.strict_json import Json

_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z", re.ASCII)
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*+)++\Z")


def is_index(token: str) -> bool:
    """Whether a reference token can be a place in a list: digits, without a zero in front."""
    return bool(_INDEX.match(token))


def is_pointer(text: str) -> bool:
    """Whether `text` is a JSON Pointer to something in a value, not to the value as a whole."""
    return bool(_POINTER.match(text))


def escape(token: str) -> str:
    """One member name as a reference token."""
    return token.replace("~", "~0").replace("/", "~1") if "~" in token or "/" in token else token


def tokens(pointer: str) -> tuple[str, ...]:
    """The member names and indices of a pointer; the empty pointer has none."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def leaves(value: Json, pointer: str = "") -> Iterator[tuple[str, Json]]:
    """(pointer, value) of each leaf: a scalar, a null, or an empty container."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{pointer}/{escape(key)}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{pointer}/{index}")
    else:
        yield pointer, value


def put(target: dict[str, Json], pointer: str, value: Json) -> None:
    """Set the member that `pointer` names, making objects on the way; list items must exist or be the next one.

    Raises `ValueError` for a token that is no index of a list, `IndexError` for a place beyond its end.
    """
    *path, last = tokens(pointer)
    here: Json = target
    for token, following in zip(path, (*path, last)[1:], strict=True):
        here = _step(here, token, following)
    if isinstance(here, list):
        index = _index(here, last)
        here[index : index + 1] = [value]
    else:
        here[last] = value


def _step(here: Json, token: str, following: str) -> Json:
    if isinstance(here, list):
        index = _index(here, token)
        if index == len(here):
            here.append([] if following == "0" else {})
        return here[index]
    if not isinstance(here.get(token), dict | list):
        here[token] = {}
    return here[token]


def _index(here: list[Json], token: str) -> int:
    if not is_index(token):
        raise ValueError("not an index of a list")
    index = int(token)
    if index > len(here):
        raise IndexError("beyond the end of a list")
    return index
