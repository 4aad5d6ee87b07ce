"""What is wrong with a configuration, and where."""

import re
from dataclasses import dataclass
from typing import TypeAlias

Where: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct: where (line 0: the file as a whole), at which path, what was expected."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(Exception):
    """The file cannot be used. `mistakes` are all of them, by line; none holds a secret value."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def shown(path: Where) -> str:
    """`connections.raze.require[2]`; a key that is no plain word stands in quotes."""
    told = ""
    for part in path:
        if isinstance(part, int):
            told += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w?-]{1,64}", part) else ascii(part[:64])
            told += f".{word}" if told else word
    return told
