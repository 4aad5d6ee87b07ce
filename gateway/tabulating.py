"""What adapters declare, as Markdown: what each can do, how much it covers, by what it is tested, how it is set.

Nothing here is known beforehand: rows and columns follow from the adapters' methods, tables, models and exchanges.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import get_args

from gateway.adapter import OPERATIONS, Adapter
from gateway.listing import FILTERS, SORTS, filter_mode, sort_mode
from gateway.markdown import NONE, code, listed, table
from gateway.opportunity import Status
from gateway.schema_keys import choices, keys, kind_of
from gateway.shape import leaf_paths
from gateway.tabulating_fields import rows_by_leaf, state_of
from gateway.testing.exchanges import ORIGINS, load_exchanges

_WORDS: Mapping[str, tuple[str, ...]] = {"status": get_args(Status)}
"""Filters whose values are all known beforehand, so that each can be tried on the adapter."""


def _per_dialect(adapters: Iterable[type[Adapter]]) -> list[tuple[str, Adapter]]:
    """(heading, adapter with default settings) of every dialect."""
    told = []
    for adapter in adapters:
        names = adapter.dialect_names()
        for name in names:
            heading = f"{adapter.title}, {code(name)}" if len(names) > 1 else adapter.title
            told.append((heading, adapter.of_dialect(name)))
    return told


# --- what each can do ------------------------------------------------------------------------------------------------


def _taken(adapter: Adapter, name: str) -> str | None:
    """The values that a native filter takes, where they are known; None when it takes all, as far as can be told."""
    words = _WORDS.get(name, ())
    taken = [word for word in words if adapter.filters[name](word) is not None]
    return None if len(taken) == len(words) else listed(taken)


def _filter(adapter: Adapter, name: str) -> str:
    mode = filter_mode(adapter, name)
    taken = _taken(adapter, name) if mode == "native" else None
    return mode if taken is None else f"{mode} for {taken}"


def _sort(adapter: Adapter, name: str) -> str:
    up, down = (sort_mode(adapter, f"{sign}{name}") for sign in ("", "-"))
    return up if up == down else f"ascending {up}, descending {down}"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _budget(adapter: Adapter) -> str:
    budget = adapter.limits.budget
    return NONE if budget is None else f"{budget.calls} calls in {_span(budget.per)}"


_Line = tuple[str, Callable[[Adapter], str]]
"""The title of a row, and what stands in it for each column's adapter."""


def _side_by_side(adapters: Iterable[type[Adapter]], lines: Iterable[_Line]) -> str:
    columns = _per_dialect(adapters)
    rows = ([title, *(told(adapter) for _, adapter in columns)] for title, told in lines)
    return table(["", *(heading for heading, _ in columns)], rows)


def capabilities(adapters: Iterable[type[Adapter]]) -> str:
    """Operations, filters, sorts, page and budget, a column for each dialect."""
    lines: list[_Line] = [
        ("address", lambda one: code(one.base_url)),
        ("sandbox", lambda one: "yes" if one.sandbox else "no"),
        *((name, partial(_operation, name=name)) for name in OPERATIONS),
        *((f"filter {code(name)}", partial(_filter, name=name)) for name in FILTERS),
        *((f"sort {code(name)}", partial(_sort, name=name)) for name in SORTS),
        ("order when none is asked for", lambda one: code(one.default_sort) if one.default_sort else NONE),
        ("records a page at most", lambda one: str(one.limits.page)),
        ("budget", _budget),
    ]
    return _side_by_side(adapters, lines)


def _operation(adapter: Adapter, name: str) -> str:
    if name not in adapter.operations():
        return "no"
    calls = adapter.writes.get(name, ())
    return f"yes, by the calls {' and '.join(map(code, calls))}" if len(calls) > 1 else "yes"


def capabilities_short(adapters: Iterable[type[Adapter]]) -> str:
    """The same in a few lines: what is there, what is emulated, what is not."""

    def named(adapter: Adapter, name: str) -> str:
        taken = _taken(adapter, name)
        return name if taken is None else f"{name} ({taken})"

    def filters(mode: str) -> Callable[[Adapter], str]:
        return lambda one: listed(
            named(one, name) if mode == "native" else name for name in FILTERS if filter_mode(one, name) == mode
        )

    lines: list[_Line] = [
        ("operations", lambda one: listed(one.operations())),
        ("not there", lambda one: listed(name for name in OPERATIONS if name not in one.operations())),
        ("filters by the provider", filters("native")),
        ("filters by a bounded scan, labelled", filters("emulated")),
        ("no such filter", filters("none")),
        ("canonical fields read", lambda one: f"{_counts(one)['mapped']} of {len(leaf_paths())}"),
    ]
    return _side_by_side(adapters, lines)


# --- how much is covered, and by what samples ------------------------------------------------------------------------


def _counts(adapter: Adapter) -> Counter[str]:
    return Counter(state_of(row) for row in rows_by_leaf(adapter).values())


def coverage(adapters: Iterable[type[Adapter]]) -> str:
    """How many canonical fields each dialect tells, and how many each write carries."""
    lines = []
    for adapter in adapters:
        for name in adapter.dialect_names():
            one = adapter.of_dialect(name)
            counts, total = _counts(one), len(leaf_paths())
            states = [str(counts[state]) for state in ("mapped", "fixed", "unmapped", "absent")]
            carried = [_carried(one, operation) for operation in ("create", "update")]
            lines.append([code(name), str(total), *states, f"{counts['mapped'] * 100 // total} %", *carried])
    return table(
        ("dialect", "canonical fields", "mapped", "fixed", "unmapped", "absent", "mapped of all",
         "writable by create", "writable by update"),
        lines,
    )  # fmt: skip


def _carried(adapter: Adapter, operation: str) -> str:
    if operation not in adapter.operations():
        return NONE
    return str(len(adapter.table.writable(adapter.writes[operation])))


def _origins(adapter: type[Adapter]) -> Counter[str]:
    return Counter(exchange.origin for exchange in load_exchanges(adapter))


def samples(adapters: Iterable[type[Adapter]]) -> str:
    """Where the exchanges of each adapter come from."""
    lines = []
    for adapter in adapters:
        counts = _origins(adapter)
        lines.append([adapter.title, str(counts.total()), *(str(counts[origin]) for origin in ORIGINS)])
    return table(("", "exchanges", *ORIGINS), lines)


def samples_short(adapters: Iterable[type[Adapter]]) -> str:
    """The same as one sentence."""
    told = []
    for adapter in adapters:
        counts = _origins(adapter)
        shares = listed(f"{counts[origin]} {origin}" for origin in ORIGINS)
        told.append(f"{adapter.title} {counts.total()} ({shares})")
    return f"Samples that the adapters are tested against: {'; '.join(told)}."


def settings(adapter: type[Adapter]) -> str:
    """The adapter's own part of config.yaml, a line a key."""
    lines = []
    for key in keys(adapter.Settings.model_json_schema()):
        words = choices(key.schema)
        kind = f"one of {listed(map(code, words))}" if words else kind_of(key.schema)
        lines.append((code(key.path), kind, key.default, key.description or NONE))
    return table(("key", "type", "default", "what it is"), lines) if lines else f"{adapter.title} takes no settings."
