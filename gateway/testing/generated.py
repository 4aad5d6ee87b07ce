"""Records made up from an adapter's own table: a value for each place that its rows know, as their codecs spell it.

Needs hypothesis. The same records come each time: nothing is drawn at random between two runs.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gateway import codecs
from gateway.codecs import Codec, Inexact, Unencodable, Unreadable
from gateway.fields import Group, Leaf, Many, Node, Nothing, Row, Table
from gateway.pointer import put, tokens
from gateway.strict_json import Json
from gateway.testing.mutations import JUNK, MARKER, at, nodes, starred, within

_T = TypeVar("_T")
_Made = SearchStrategy[Json]

NAUGHTY = (
    "", " ", MARKER, "null", "None", "true", "0", "-1", "1e400", "NaN", "50000.00", "2024-01-31", "2024-02-30",
    "2024-01-31T10:00:00Z", "<script>alert(1)</script>", "'; DROP TABLE deals; --", "a/b~c~1d", "{}", "[]", "\\u0000",
    "line\r\nline\ttab", "\u0000\u0001", "\u202eabc", "\ufeffbom", "ﬁ Ⅷ ß ı İ", "e\u0301", "\u00e9", "👩‍👩‍👧 🇧🇷",
    "\U0010ffff", "x" * 300,
)  # fmt: skip
"""Texts that careless code trims, folds, parses, escapes or cuts."""

_NO_LIST: tuple[Json, ...] = tuple(value for value in JUNK if not isinstance(value, list | dict))
_OFFSETS = ("Z", "z", "+00", "+0000", "+00:00", "-00:00", "+02", "+0530", "-03:30", "+14:00", "-1200", "")
_FRACTIONS = ("", ".0", ".5", ".123", ".123456", ".000001", ".1234567")


def each(
    strategy: SearchStrategy[_T], examples: int, check: Callable[[_T], Iterator[str]], also: Iterable[_T] = ()
) -> Iterator[str]:
    """What `check` finds wrong with `also` and with so many values of the strategy: the same values each time."""
    found: dict[str, None] = {}
    for value in also:
        found.update(dict.fromkeys(check(value)))

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )  # fmt: skip
    @given(strategy)
    def over(value: _T) -> None:
        if len(found) < 20:
            found.update(dict.fromkeys(check(value)))

    over()
    yield from found


def _texts() -> _Made:
    return st.sampled_from(NAUGHTY) | st.text(max_size=12)


def _numbers() -> _Made:
    """Whole numbers, and decimals with up to six digits after the point, noughts at the end included."""
    whole = st.integers(-(10**12), 10**18)
    return whole | st.builds(lambda number, places: Decimal(number).scaleb(-places), whole, st.integers(1, 6))


def _percentages(plain: bool) -> _Made:
    if plain:  # a share has no noughts at its end
        return st.integers(0, 100)
    return st.integers(0, 100) | st.builds(lambda number: Decimal(number).scaleb(-2), st.integers(0, 10_000))


def _days() -> SearchStrategy[str]:
    return st.dates(date(1970, 1, 1), date(2199, 12, 31)).map(date.isoformat)


def _instants(plain: bool) -> _Made:
    times = st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)).map(lambda at: at.replace(microsecond=0))
    if plain:
        return times.map(lambda at: f"{at.isoformat()}Z")
    return st.builds(
        lambda at, sign, fraction, offset: at.isoformat().replace("T", sign) + fraction + offset,
        times, st.sampled_from("Tt "), st.sampled_from(_FRACTIONS), st.sampled_from(_OFFSETS),
    )  # fmt: skip


_MADE: tuple[tuple[Codec, Callable[[bool], _Made]], ...] = (
    (codecs.text, lambda plain: _texts()),
    (codecs.flag, lambda plain: st.booleans()),
    (codecs.whole_number, lambda plain: st.integers(-(10**9), 10**9)),
    (codecs.decimal_number, lambda plain: _numbers()),
    (codecs.decimal_text, lambda plain: _numbers().map(lambda number: format(Decimal(number), "f"))),
    (codecs.percent, lambda plain: _percentages(plain)),
    (codecs.currency, lambda plain: st.sampled_from(("EUR", "BRL", "USD", "JPY"))),
    (codecs.day, lambda plain: _days()),
    (codecs.anything, lambda plain: st.booleans() | _texts() | st.lists(st.integers(), max_size=2)),
    (codecs.instant(), lambda plain: _instants(plain)),
)


def _by_codec(codec: Codec, plain: bool) -> _Made | None:
    """Values as a codec of the gateway reads them, `plain` only in the one spelling that rendering has.

    Known by the function that decodes, not by its name, which a stranger's codec may have too; the codecs of one maker,
    such as the instants of each zone, share its code.
    """
    decoding = getattr(codec.decode, "__code__", None)
    return next((made(plain) for own, made in _MADE if own.decode.__code__ is decoding), None)


def values_of(row: Row, seen: list[Json], plain: bool) -> _Made:
    """Values for the place of a row: by its codec where that is one of the gateway's, else such as the samples have."""
    own = _by_codec(row.codec, plain) if row.codec is not None and not row.joint else None
    if own is not None:
        return own
    found = [value for value in seen if value is not None and _comes_back(row, value)]
    like: list[_Made] = [st.sampled_from(found)] if found else []
    return st.one_of(like) if like else _texts()


def _comes_back(row: Row, value: Json) -> bool:
    """Whether an adapter's own codec reads this, and spells what it has read in this way: it may read several alike."""
    if row.codec is None or row.joint:
        return True
    try:
        read = row.codec.decode(value)
        return row.codec.encode is None or bool(row.codec.encode(read) == value)
    except (Unreadable, Inexact, Unencodable):
        return False


class Records:
    """Records of one table. `samples` lend values to places whose codec is the adapter's own.

    `plain` ones have no nulls, no junk, no second places, and each value as it is rendered.
    """

    def __init__(self, table: Table, samples: list[dict[str, Json]], plain: bool = False) -> None:
        self._table = table
        self._plain = plain
        self._seen: dict[str, list[Json]] = {}
        self._junk: dict[str, tuple[Json, ...]] = {}
        self._never_null: set[str] = set()
        for sample in samples:
            unread = [issue.path for issue in table.read(sample).issues]
            for pointer in nodes(sample):
                if not any(within(pointer, place) or within(place, pointer) for place in unread):
                    self._seen.setdefault(starred(pointer), []).append(at(sample, pointer))

    def strategy(self) -> SearchStrategy[dict[str, Json]]:
        """Whole records, thin ones, and, unless plain, such as have junk in a place or null for an object."""
        made = self._object(self._table.tree, "")
        inside = sorted({pointer.rpartition("/")[0] for pointer in self._pointers(self._table.tree)} - {""})
        gone = st.sets(st.sampled_from(inside), max_size=1) if inside and not self._plain else st.just(set())
        return st.builds(self._finished, made, gone)

    def _finished(self, record: dict[str, Json], gone: set[str]) -> dict[str, Json]:
        for pointer in gone:
            if pointer.split("/")[1] in record:
                put(record, pointer, None)
        for pointer, word in self._table.beside.items():
            parent, _, last = pointer.rpartition("/")
            here: Json = record
            for token in tokens(parent):
                here = here.get(token) if isinstance(here, dict) else None
            if isinstance(here, dict):
                here[last] = word
        return record

    def _pointers(self, node: Node) -> Iterator[str]:
        match node:
            case Leaf(row):
                yield from row.pointers
            case Group(parts):
                for part in parts.values():
                    yield from self._pointers(part)
            case Many(items, element):
                if items.pointer is None:
                    yield from self._pointers(element)
                else:
                    yield items.pointer
            case Nothing():
                pass

    def _object(self, group: Group, base: str) -> SearchStrategy[dict[str, Json]]:
        places: dict[str, _Made] = {}
        self._places(group, base, places)
        optional = {
            pointer: made if self._plain else self._perhaps(made, base + pointer) for pointer, made in places.items()
        }
        whole = st.fixed_dictionaries(dict(optional)).map(_nested)
        return whole | st.fixed_dictionaries({}, optional=optional).map(_nested)

    def _perhaps(self, made: _Made, place: str) -> _Made:
        junk = self._junk.get(place)
        odd = st.sampled_from(junk) if junk else made
        null = made if place in self._never_null else st.none()
        return st.integers(0, 19).flatmap(lambda die: null if die < 3 else odd if die == 3 else made)

    def _places(self, node: Node, base: str, places: dict[str, _Made]) -> None:
        match node:
            case Leaf(row):
                if not node.nullable:
                    self._never_null.update(base + pointer for pointer in row.pointers)
                for pointer in row.pointers[:1] if self._plain and not row.joint else row.pointers:
                    known = row.codec is not None and _by_codec(row.codec, True) is not None and not row.joint
                    if pointer not in places or known or _encodes(row):
                        # What an adapter's own codec takes is its own affair: samples show it.
                        self._junk[base + pointer] = tuple(one for one in JUNK if one is not None) if known else ()
                        places[pointer] = values_of(row, self._seen.get(base + pointer, []), self._plain)
            case Group(parts):
                for part in parts.values():
                    self._places(part, base, places)
            case Many(items, element):
                if items.pointer is None:
                    self._places(element, base, places)
                else:
                    inner = self._object(element, f"{base}{items.pointer}/*").filter(bool)
                    self._junk[base + items.pointer] = _NO_LIST
                    places[items.pointer] = (
                        st.lists(inner, min_size=1).map(_entries) if items.entries else st.lists(inner, max_size=3)
                    )
            case Nothing():
                pass


def _encodes(row: Row) -> bool:
    return row.codec is not None and row.codec.encode is not None and not row.joint


def _entries(elements: list[dict[str, Json]]) -> Json:
    return {str(element.get("key")): element.get("value") for element in elements[:3]}


def _nested(flat: dict[str, Json]) -> dict[str, Json]:
    record: dict[str, Json] = {}
    for pointer, value in flat.items():
        put(record, pointer, value)
    return record


__all__ = ["NAUGHTY", "Records", "each", "values_of"]
