"""Keys of features that do not exist yet: accepted at their default and off only.

Building a feature is deleting its entries.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.adapter import Adapter, Budget
from gateway.config import values as v
from gateway.config.mistakes import Where
from gateway.config.models import BUDGET, BudgetConfig
from gateway.config.source import Source


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """A key that is accepted at its default and off only."""

    feature: str
    read: Callable[[Any], Any]
    default: str | None
    """As written; None: the adapter's own."""
    off: str | None = None
    write: str = ""
    """What to write instead, where that is not the key's own `off` or `default`."""
    moot: str = ""
    """A key whose `off` makes this one meaningless, so that it may have any value."""

    def is_off(self, value: Any) -> bool:
        """Whether `value` switches the feature off."""
        return self.off is not None and bool(value == self.read(self.off))


def _read_budget(value: Any) -> Budget | None:
    budget: Budget | None = BUDGET.read(value, BudgetConfig.model_validate)
    return budget


NOT_BUILT: Mapping[str, NotBuilt] = {
    "cache.ttl": NotBuilt("the cache is", v.AGE.read, "30s", "0s"),
    "cache.stale_if_error": NotBuilt("the cache is", v.AGE.read, "5m", "0s", moot="cache.ttl"),
    "cache.max_bytes": NotBuilt("the cache is", v.MEMORY.read, "64MiB", moot="cache.ttl"),
    "circuit.failures": NotBuilt("the circuit breaker is", v.COUNT.read, "10", write="circuit: off"),
    "circuit.open": NotBuilt("the circuit breaker is", v.OPEN.read, "2s", write="circuit: off"),
    "connections.*.budget": NotBuilt("the call budget is", _read_budget, None, "off"),
    "limits.per_caller": NotBuilt("the limit of each caller is", v.COUNT.read, "256"),
}


def check_not_built(source: Source, adapters: Mapping[str, type[Adapter]]) -> None:
    """Notes every key that asks for a feature that does not exist; `adapters` are the ones of the connections."""
    for key, entry in NOT_BUILT.items():
        for path in _matching(source.tree, key.split(".")):
            if entry.default is not None:
                default = entry.read(entry.default)
            elif path[1] in adapters:
                default = adapters[str(path[1])].limits.budget
            else:
                continue  # the adapter, and with it the default, is unknown: a mistake of its own
            try:
                value = entry.read(source.at(path))
            except ValueError:
                continue  # a mistake of form, which the models tell
            if value != default and not entry.is_off(value) and not _is_off(source, entry.moot):
                instead = entry.write or entry.off or entry.default
                source.wrong(path, f"{entry.feature} not built yet; leave it out or set {instead}")


def _is_off(source: Source, key: str) -> bool:
    """Whether the file switches the feature of `key` off."""
    entry, value = NOT_BUILT.get(key), source.at(tuple(key.split(".")))
    try:
        return entry is not None and value is not None and entry.is_off(entry.read(value))
    except ValueError:
        return False


def _matching(tree: Any, keys: list[str], path: Where = ()) -> Iterator[Where]:
    """The paths in the tree that `keys` stand for; `*` is any key."""
    if not keys:
        yield path
    elif isinstance(tree, dict):
        for key in tree if keys[0] == "*" else [keys[0]]:
            if key in tree:
                yield from _matching(tree[key], keys[1:], (*path, key))
