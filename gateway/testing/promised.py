"""What a list promises beyond its pages, over the stand-in: nothing is left out, filters and sorts are as declared."""

from collections.abc import Iterator, Mapping, Sequence

from gateway.adapter import Adapter, ListQuery
from gateway.errors import Problem
from gateway.listing import Lister, Wanted, matches, sort_key
from gateway.opportunities import Ask, Opportunities
from gateway.strict_json import Json
from gateway.testing.kit import spoken
from gateway.testing.on_reading import is_all

_PAGES = 400
_VALUES = 4
"""How many values of each kind a filter is tried with."""


async def raw_lists_are_whole(opportunities: Opportunities, size: int, ask: Ask) -> list[str]:
    """What `page` leaves out of the replies to a walk by pages of this size."""
    adapter, position = opportunities.adapter, None
    for number in range(1, _PAGES):
        query = ListQuery(size, position)
        reply = await opportunities.send(adapter.list(query), ask)
        page = adapter.page(reply.body, query)
        if page is None or not is_all(reply.body, page.items):
            return [f"page {number} of {size} records: page() hands on fewer, or others, than the reply's list has"]
        if page.next is None or not page.items:
            break
        position = page.next
    return []


async def everything(opportunities: Opportunities, ask: Ask) -> list[dict[str, Json]]:
    """The stand-in's records in the order in which it lists them, each read whole where it can be."""
    listed = await _listed(opportunities, ask, {}, None)
    if "get" not in opportunities.adapter.operations():
        return listed
    return [{**(await opportunities.get(one["native_id"], ask)).data} for one in listed]


async def _listed(
    opportunities: Opportunities, ask: Ask, filters: Mapping[str, str], sort: str | None
) -> list[dict[str, Json]]:
    found: list[dict[str, Json]] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        wanted = Wanted(opportunities.adapter.limits.page, cursor, filters, sort)
        listing = await Lister(opportunities, wanted, Ask(ask.deadline)).page()
        found += listing.data
        cursor = listing.next_cursor
        if cursor is None:
            break
    return found


async def native_filters_are_the_gateways(
    opportunities: Opportunities, records: Sequence[dict[str, Json]], ask: Ask
) -> list[str]:
    """Where the provider's own filter gives others than those that fit: an id or an exact word, or a time and later."""
    faults: list[str] = []
    for name, value in _tried(opportunities.adapter, records):
        fit = {one["native_id"]: matches(name, value, one) for one in records}
        try:
            found = {one["native_id"] for one in await _listed(opportunities, ask, {name: value}, None)}
        except Problem as problem:
            faults.append(f"the filter {name}={value}, which it takes as the provider's own, fails: {spoken(problem)}")
            continue
        wrong = {id_ for id_ in found if fit.get(id_) is False}
        lost = {id_ for id_, fits in fit.items() if fits and id_ not in found}
        if wrong or lost:
            faults.append(
                f"the filter {name}={value} is declared as the provider's own, but lists {len(wrong)} records that do not "
                f"fit and leaves out {len(lost)} that do, such as {sorted(wrong | lost)[0]}"
            )
    return faults


def _tried(adapter: Adapter, records: Sequence[dict[str, Json]]) -> Iterator[tuple[str, str]]:
    """(filter, value) that the adapter takes as native: what records hold, and parts of it, which no record is."""
    for name, take in adapter.filters.items():
        if name == "q":  # what a provider's own search looks in is its own affair
            continue
        values = dict.fromkeys(value for one in records for value in _held(name, one))
        parts = dict.fromkeys(value[: len(value) // 2] for value in values if len(value) > 1)
        tried = list(values) if name in ("status", "modified_since") else list(parts)[:_VALUES] + list(values)[:_VALUES]
        for value in tried[: 2 * _VALUES]:
            if take(value) is not None:
                yield name, value


def _held(name: str, record: Mapping[str, Json]) -> Iterator[str]:
    told = record.get("updated_at" if name == "modified_since" else name)
    for value in (told.get("id"), told.get("name")) if isinstance(told, Mapping) else (told,):
        if isinstance(value, str) and value:
            yield value


async def sorts_are_as_declared(
    opportunities: Opportunities, records: Sequence[dict[str, Json]], ask: Ask
) -> list[str]:
    """Where records do not come in the order that `default_sort` or one of `sorts` says."""
    adapter, whole = opportunities.adapter, {one["native_id"]: one for one in records}
    faults: list[str] = []
    if not _is_in_order(adapter.default_sort, records):
        faults.append(f"`default_sort` is {adapter.default_sort!r}, but a list without a sort is in another order")
    for sort in adapter.sorts:
        listed = await _listed(opportunities, ask, {}, sort)
        if not _is_in_order(sort, [whole.get(one["native_id"], one) for one in listed]):
            faults.append(f"`sorts` has {sort!r}, but a list sorted so is in another order")
    return faults


def _is_in_order(sort: str, records: Sequence[Mapping[str, Json]]) -> bool:
    """Names may be in any language's order, which nobody knows here."""
    name = sort.lstrip("-")
    if name in ("", "name"):
        return True
    keys = [key for one in records if (key := sort_key(one, name)) is not None]
    return keys == sorted(keys, reverse=sort.startswith("-"))
