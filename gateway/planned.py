"""What compiled reading uses as it runs: where it stands, what nobody knows, and groups of which parts are not told."""

from collections.abc import Callable, Iterator, Sequence
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

from gateway.codecs import MISSING
from gateway.pointer import escape
from gateway.strict_json import Json

if TYPE_CHECKING:
    from gateway.reading import Place


class Doubtful(Exception):
    """Something that only the interpreter can say the meaning of."""


At = tuple[Any, str, str, int] | None
"""Where an element stands: (where the object around its list stands, the list's pointer and path in that, index).

None for the record itself. It is spelled only when something has to be told of the element.
"""

Plan = Callable[[dict[str, Json], dict[str, Json], list[tuple[str, str]], At], dict[str, Json]]
"""Takes a record, puts what is left over into the second and what it lacks into the third, and gives the values."""

LONGEST = 500
"""Characters of a pointer up to which each leaf below it is kept by itself: each repeats it, and names may be endless."""

Known = tuple[frozenset[str], dict[str, Any], set[str]]
"""Of an object: the members that are values, those that are objects with theirs, and those that are form."""


def pointer_of(at: At) -> str:
    """The pointer of an element, or of the record itself."""
    if at is None:
        return ""
    around, pointer, _, index = at
    return f"{pointer}/{index}" if around is None else f"{pointer_of(around)}{pointer}/{index}"


def path_of(at: At) -> str:
    """What the canonical path of an element's members begins with."""
    if at is None:
        return ""
    around, _, path, index = at
    return f"{path_of(around)}{path}[{index}]."


def lacks(at: At, path: str, pointer: str) -> tuple[str, str]:
    """A member that an element has not, as `missing` tells it."""
    return path_of(at) + path, pointer_of(at) + pointer


def known_in(place: "Place") -> Known:
    """What the table knows of an object."""
    values = frozenset(key for key, child in place.children.items() if child.slot is not None)
    objects = {key: known_in(child) for key, child in place.children.items() if key not in values}
    return values, objects, place.form


def keep_unknown(record: dict[str, Json], known: Known, pointer: str, extensions: dict[str, Json]) -> None:
    """Keep the members that the table does not know, of an object in which nothing else is the matter."""
    values, objects, form = known
    for key in filterfalse(values.__contains__, record):
        value = record[key]
        where = f"{pointer}/{escape(key)}" if "~" in key or "/" in key else f"{pointer}/{key}"
        if key in objects:
            if value is not None:
                keep_unknown(value, objects[key], where, extensions)
        elif type(value) is dict or type(value) is list:
            extensions.update(spread(value, where))
        elif type(value) is not str or key not in form:
            extensions[where] = value


def spread(value: Json, pointer: str) -> Iterator[tuple[str, Json]]:
    """(pointer, value) of each leaf, as `gateway.pointer.leaves` has them; what lies below an endless one is one value."""
    if isinstance(value, dict) and value and len(pointer) <= LONGEST:
        for key, inner in value.items():
            yield from spread(inner, f"{pointer}/{escape(key)}")
    elif isinstance(value, list) and value and len(pointer) <= LONGEST:
        for index, inner in enumerate(value):
            yield from spread(inner, f"{pointer}/{index}")
    else:
        yield pointer, value


def without_gaps(values: dict[str, Json]) -> dict[str, Json]:
    """The members that are told."""
    return {name: value for name, value in values.items() if value is not MISSING}


def gapped(values: dict[str, Json], counted: Sequence[str], null: str | None) -> Json:
    """A group of which some parts are not told: by the same rule as `gateway.reading` has."""
    told = without_gaps(values)
    parts = [told[name] for name in counted if name in told]
    if not parts:
        return MISSING
    if null is not None and told.get(null, MISSING) is None and all(part is None or part == [] for part in parts):
        return None
    return told
