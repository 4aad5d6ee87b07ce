"""Keys of features that do not exist yet: accepted at their default and off only.

Building a feature is deleting its entries.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import values as v
from gateway.config.mistakes import Where
from gateway.config.source import Source


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """A key that is accepted at its default and off only."""

    feature: str
    read: Callable[[Any], Any]
    default: str
    """As written."""
    off: str | None = None
    moot: str = ""
    """A key whose `off` makes this one meaningless, so that it may have any value."""

    def is_off(self, value: Any) -> bool:
        """Whether `value` switches the feature off."""
        return self.off is not None and bool(value == self.read(self.off))


NOT_BUILT: Mapping[str, NotBuilt] = {
    "cache.ttl": NotBuilt("the cache is", v.AGE.read, "30s", "0s"),
    "cache.stale_if_error": NotBuilt("the cache is", v.AGE.read, "5m", "0s", moot="cache.ttl"),
    "cache.max_bytes": NotBuilt("the cache is", v.MEMORY.read, "64MiB", moot="cache.ttl"),
}


def check_not_built(source: Source) -> None:
    """Notes every key that asks for a feature that does not exist."""
    for key, entry in NOT_BUILT.items():
        for path in _matching(source.tree, key.split(".")):
            try:
                value = entry.read(source.at(path))
            except ValueError:
                continue  # a mistake of form, which the models tell
            if value != entry.read(entry.default) and not entry.is_off(value) and not _is_off(source, entry.moot):
                instead = entry.off or entry.default
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
