"""Extensions back into a record of the provider that they were left over from, without harm to what is mapped there.

An extension has found its place when reading the record leaves it over again, under the same pointer, and gives the same
fields as without it. What fails that is not put at all: where it would stand in for a mapped value, would be read as a
field itself, or lies in something that is not there.

Places in a list are those of the list as it was. An element that could not be read is not among the canonical ones; it is
put back in between, so that those behind it stand where their own extensions say. From an element of which pointers
cannot tell whether it was read (`/people/0/0` is the first item of a list, or a member named `0`) no place in that list
is known any more.
"""

from collections.abc import Mapping

from gateway.codecs import MISSING
from gateway.fields import Table
from gateway.pointer import is_index, leaves, tokens
from gateway.strict_json import Json

ROUNDS = 4
"""How often what had no place is left out and the rest tried again, before all of it is left."""


def restored(
    rendered: dict[str, Json], extensions: Mapping[str, Json], table: Table
) -> tuple[dict[str, Json], list[tuple[str, Json]]]:
    """(the record with the extensions that found their place, the ones that did not); `rendered` stays as it is."""
    fields = table.read(rendered).values
    kept = dict(extensions)
    for _ in range(ROUNDS):
        record: dict[str, Json] = _merged(rendered, _tree(kept))
        again = table.read(record)
        disturbed = _members(table, _differing(fields, again.values))
        wrong = [
            pointer
            for pointer, value in kept.items()
            if tokens(pointer)[0] in disturbed
            or any(again.extensions.get(leaf, MISSING) != inner for leaf, inner in leaves(value, pointer))
        ]
        if not wrong:
            return record, [(pointer, value) for pointer, value in extensions.items() if pointer not in kept]
        for pointer in wrong:
            del kept[pointer]
    return rendered, list(extensions.items())


def _differing(fields: Mapping[str, Json], others: Mapping[str, Json]) -> set[str]:
    return {name for name in {*fields, *others} if fields.get(name, MISSING) != others.get(name, MISSING)}


def _members(table: Table, names: set[str]) -> set[str]:
    """The members of the record from which these fields are read."""
    return {
        tokens(pointer)[0]
        for path, row in table.leaves()
        if path.split(".")[0].removesuffix("[]") in names
        for pointer in row.pointers
    }


class _Place:
    """What extensions say of one place: the value that stands there, or what lies below it."""

    __slots__ = ("below", "value")

    def __init__(self) -> None:
        self.value: Json = MISSING
        self.below: dict[str, _Place] = {}

    @property
    def count(self) -> int:
        """How many items a list has that is all of what lies below; 0 when it is no list."""
        return len(self.below) if all(str(index) in self.below for index in range(len(self.below))) else 0


def _tree(extensions: Mapping[str, Json]) -> _Place:
    root = _Place()
    for pointer, value in extensions.items():
        place = root
        for token in tokens(pointer):
            place = place.below.setdefault(token, _Place())
        place.value = value
    return root


def _merged(here: Json, place: _Place) -> Json:
    """`here` (MISSING: nothing yet) with what `place` says, as far as that is possible; a new value where it changes."""
    if place.value is not MISSING:
        return place.value
    if isinstance(here, list):
        return _list(here, place)
    if not isinstance(here, dict):
        if place.count:
            items = [_merged(MISSING, place.below[str(index)]) for index in range(place.count)]
            return here if MISSING in items else items
        if place.below and all(map(is_index, place.below)):  # the rest of a list that is not there
            return here
    made = dict(here) if isinstance(here, dict) else {}
    for token, below in place.below.items():
        value = _merged(made.get(token, MISSING), below)
        if value is not MISSING:
            made[token] = value
    return made


def _list(here: list[Json], place: _Place) -> list[Json]:
    made = list(here)
    for index in sorted(int(token) for token in place.below if is_index(token)):
        below = place.below[str(index)]
        if index > len(made) or (below.below and (below.count or below.value is not MISSING)):
            break
        if below.below or below.value == {}:
            if index == len(made) or not isinstance(made[index], dict):
                break
            made[index] = _merged(made[index], below)
        else:
            made.insert(index, below.value)
    return made
