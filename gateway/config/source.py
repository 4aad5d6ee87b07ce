"""A file as text, lists and mappings, each with its place, and the mistakes found in it so far."""

from typing import Any

from gateway.config.mistakes import Mistake, Where, shown


class Text(str):
    """A scalar as it was written. `hidden`: it came from `${...}` and is never shown."""

    hidden: bool

    def __new__(cls, value: str, hidden: bool = False) -> "Text":
        text = super().__new__(cls, value)
        text.hidden = hidden
        return text


def hidden(value: Any) -> bool:
    """Whether `value` came from `${...}`."""
    return isinstance(value, Text) and value.hidden


class Source:
    """The tree of one file, the place of every key in it, and the mistakes found so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.tree: Any = None
        """Text, None, list and dict, as `reading` makes them."""
        self.unset: dict[Where, tuple[str, ...]] = {}
        """The variables that a value names and the environment lacks."""
        self.nulls: list[Where] = []
        """Where nothing is written."""
        self.mistakes: list[Mistake] = []
        self.told: set[Where] = set()
        """The paths of `mistakes`."""
        self._places: dict[Where, tuple[int, int]] = {}

    def mark(self, path: Where, place: tuple[int, int]) -> None:
        """Keeps line and column of a key or list item; the first place of a path is the one that counts."""
        self._places.setdefault(path, place)

    def place(self, path: Where) -> tuple[int, int]:
        """Line and column of a key or list item, or of what holds it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, (1, 1))

    def has(self, path: Where) -> bool:
        """Whether the file has this key or list item."""
        return path in self._places

    def at(self, path: Where) -> Any:
        """The value at `path`; None where there is none."""
        return value_at(self.tree, path)

    def wrong(self, path: Where, message: str, called: Where | None = None) -> None:
        """Notes a mistake at the place of the key or of what holds it; `called` is the path to show.

        Only the first of a path is kept: what follows is as a rule its consequence.
        """
        if path not in self.told:
            self.told.add(path)
            self.note(self.place(path), path if called is None else called, message)

    def note(self, place: tuple[int, int], path: Where, message: str) -> None:
        """Notes a mistake at a place that is not the one of `path`."""
        self.mistakes.append(Mistake(self.file, *place, shown(path), message))


def value_at(tree: Any, path: Where) -> Any:
    """What stands at `path` in a tree; None where nothing does."""
    for part in path:
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def plain(value: Any) -> Any:
    """The value without `Text`, for models that are not ours."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a mapping, else an empty one: that it is none is told elsewhere."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one: that it is none is told elsewhere."""
    return value if isinstance(value, list) else []
