"""Pieces of Markdown."""

from collections.abc import Iterable, Sequence

NONE = "–"
"""What a cell holds that has nothing to say."""


def code(text: object) -> str:
    """As Markdown code."""
    return f"`{text}`"


def listed(parts: Iterable[str]) -> str:
    """With commas; a dash for nothing."""
    return ", ".join(parts) or NONE


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars and line ends in cells are made harmless."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
