"""Records made wrong on purpose: each place in turn missing, null, of another type, or told apart from its neighbour.

Nothing here changes the record that it is given.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal

from gateway.codecs import instant_string
from gateway.pointer import escape, leaves, tokens
from gateway.strict_json import Json

MARKER = "  MaRker \u00e9 e\u0301 \u200bx  "
"""Text that trimming, case folding and Unicode normalisation would each change."""


def deep(levels: int = 150) -> Json:
    """Lists and objects in each other, so many levels deep."""
    value: Json = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"down": value}
    return value


JUNK: tuple[Json, ...] = (
    None, "", "a word that nobody knows", "2024-02-30T99:00:00Z", 0, -1, 10**40, Decimal("1.50"), Decimal("1E+400"),
    True, False, [], {}, [None], ["junk"], [[]], {"junk": {"id": ["x"]}}, [{"id": 5}, 7], deep(),
)  # fmt: skip
"""A value of each type and shape, for any place."""

_INDEX = re.compile(r"/\d+(?=/|\Z)")

HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(frozen=True, slots=True)
class Mutation:
    """A record with something else at `pointer`; `gone` when the member is missing there."""

    pointer: str
    value: Json
    record: dict[str, Json]
    gone: bool = False

    def __str__(self) -> str:
        what = "removed" if self.gone else f"= {self.value!r}"
        return f"{self.pointer} {what if len(what) <= 80 else what[:79] + '…'}"


def nodes(value: Json, pointer: str = "") -> Iterator[str]:
    """The pointer of every value inside, interior ones before what they hold; not of the whole."""
    inner: Iterator[tuple[str, Json]] = iter(())
    if isinstance(value, dict):
        inner = ((f"{pointer}/{escape(key)}", part) for key, part in value.items())
    elif isinstance(value, list):
        inner = ((f"{pointer}/{index}", part) for index, part in enumerate(value))
    for below, part in inner:
        yield below
        yield from nodes(part, below)


def within(pointer: str, outer: str) -> bool:
    """Whether `pointer` names the place of `outer` or one inside it."""
    return pointer == outer or pointer.startswith(f"{outer}/")


def starred(pointer: str) -> str:
    """The pointer with `*` for every index, as tables spell the places in lists."""
    return _INDEX.sub("/*", pointer)


def at(value: Json, pointer: str) -> Json:
    """The value that a pointer of `nodes` names."""
    for token in tokens(pointer):
        value = value[int(token)] if isinstance(value, list) else value[token]
    return value


def replaced(value: Json, pointer: str, new: Json) -> Json:
    """`value` with `new` at the pointer; what lies beside the way there is shared, not copied."""
    return _changed(value, tokens(pointer), lambda holder, token: holder.__setitem__(token, new))


def removed(value: Json, pointer: str) -> Json:
    """`value` without the member or item at the pointer."""
    return _changed(value, tokens(pointer), lambda holder, token: holder.__delitem__(token))


def _changed(value: Json, path: tuple[str, ...], change: Json) -> Json:
    copy: Json = list(value) if isinstance(value, list) else dict(value)
    token: int | str = int(path[0]) if isinstance(value, list) else path[0]
    if len(path) == 1:
        change(copy, token)
    else:
        copy[token] = _changed(copy[token], path[1:], change)
    return copy


def mutations(record: dict[str, Json], places: Collection[str]) -> Iterator[Mutation]:
    """The record with each leaf and each interior node of `places` in turn removed and replaced by each of `JUNK`."""
    for pointer in nodes(record):
        if pointer not in places:
            continue
        yield Mutation(pointer, None, removed(record, pointer), gone=True)
        for value in JUNK:
            yield Mutation(pointer, value, replaced(record, pointer, value))


def told_apart(value: Json) -> tuple[Json, ...]:
    """Other values for a leaf, near and far, that must each be read differently from `value` and from each other.

    Numbers differ in the last of more digits than a float holds, instants by a second and by a microsecond.
    """
    others: list[Json] = [MARKER, f"{MARKER}2", ["marker", 1], {"marker": 1}, {"marker": 2}]
    if isinstance(value, bool):
        others.append(not value)
    elif isinstance(value, int | Decimal):
        others += [
            value + 1, 12345678901234567, 12345678901234568,
            Decimal("12345678901234567.01"), Decimal("12345678901234567.02"),
        ]  # fmt: skip
        if isinstance(value, Decimal):  # a number sent with its digits keeps them; a percentage is no such number
            others += [Decimal("0.10"), Decimal("0.1")]
    elif isinstance(value, str):
        times = _near_times(value)
        cased = value.swapcase()
        others += [f"{value}x", f" {value}", *times]
        if cased != value and not times:  # `t` and `z` mean the same as `T` and `Z`
            others.append(cased)
    return tuple(others)


def _near_times(value: str) -> list[str]:
    try:
        spelled, _ = instant_string(value, None)
    except ValueError:
        return []
    second = f"{(int(spelled[17:19]) + 1) % 60:02d}"
    return [f"{spelled[:17]}{second}Z", f"{spelled[:19]}.000001Z", f"{spelled[:19]}.0000001Z"]


def without_offset(record: dict[str, Json]) -> dict[str, Json]:
    """The record with every instant in it spelled without its offset."""
    for pointer, value in leaves(record):
        if isinstance(value, str):
            try:
                spelled, _ = instant_string(value, None)
            except ValueError:
                continue
            record = replaced(record, pointer, spelled.removesuffix("Z"))
    return record
