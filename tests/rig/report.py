"""What the long runs found: rows in `docs/reliability.json`, and tables of them between markers of `docs/reliability.md`.

    add(ROOT / "docs" / "reliability.md", rows)       these rows are new, the others stay as they were

The tables are made of the JSON and of nothing else. A row of a name takes the place of the row that had it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
SECTIONS: Mapping[str, str] = {
    "A": "A. Creates never double, never vanish",
    "B": "B. Retries, limits, drain",
    "C": "C. Whatever the provider sends",
    "D": "D. Cache",
    "F": "F. Long runs",
}
"""By the first letter of a row's name, in their order."""


@dataclass(frozen=True)
class Row:
    """One row of the matrix, as it went."""

    name: str
    sentence: str
    """What was done."""
    figures: Mapping[str, float]
    seed: int
    seconds: float
    faults: Sequence[str] = field(default_factory=list)
    """What was not as it must be; none: passed."""
    how: str = ""
    """Its size, and what else is not as it usually is."""
    day: str = ""
    load: Sequence[float] = ()
    """The machine's load average (of a minute) before it and at its end."""
    picture: str = ""
    """A drawing beside the document."""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.faults


def add(document: Path, rows: Sequence[Row]) -> None:
    """Merge these rows into the JSON beside a document, and make the document's tables anew."""
    path = document.with_suffix(".json")
    all_rows = merged(read(path) if path.exists() else [], rows)
    document.parent.mkdir(exist_ok=True)
    told = json.dumps([asdict(row) for row in all_rows], indent=1, ensure_ascii=False)
    write(document, tables(all_rows))
    path.write_text(told + "\n", encoding="utf-8")


def read(path: Path) -> list[Row]:
    """The rows of a JSON file."""
    return [Row(**told) for told in json.loads(path.read_text(encoding="utf-8"))]


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Both, the new ones in the places of those of the same name, in the order of the matrix."""
    by_name = {row.name: row for row in (*old, *new)}
    return sorted(by_name.values(), key=lambda row: _place(row.name))


def _place(name: str) -> tuple[str, int, str]:
    """A2 before A10, and both before B1."""
    found = re.match(r"[A-Z](\d*)", name)
    return name[:1], int(found[1] or 0) if found else 0, name


def tables(rows: Sequence[Row]) -> str:
    """A table for each section, with its heading and the drawings of its rows."""
    parts = []
    for letter, those in groupby(rows, lambda row: row.name[:1]):
        mine = list(those)
        drawings = "".join(f"\n\n![{row.name}: {row.sentence}]({row.picture})" for row in mine if row.picture)
        parts.append(f"### {SECTIONS.get(letter, letter)}\n\n{table(mine)}{drawings}")
    return "\n\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """The rows as markdown; figures that are 0 stand at the end of theirs, as one list."""
    lines = ["| row | what was done | came of it | how | seed | seconds |", "|---|---|---|---|---:|---:|"]
    for row in rows:
        seen = [f"{name} {_number(value)}" for name, value in row.figures.items() if value]
        none = [name for name, value in row.figures.items() if not value]
        told = ", ".join(seen) + (f"; none of {', '.join(none)}" if none else "")
        verdict = "" if row.passed else f"**{'; '.join(row.faults)}**. "
        load = f"load {' to '.join(f'{one:.1f}' for one in row.load)}" if row.load else ""
        how = ", ".join(word for word in (row.how, row.day, load) if word)
        cells = (row.name, row.sentence, verdict + told, how, str(row.seed), f"{row.seconds:.0f}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.3g}"


def write(path: Path, text: str) -> None:
    """Put the text between the markers of a file, which is made when it is not there; all else in it stays."""
    block = f"{BEGIN}\n\n{text}\n\n{END}"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# Reliability\n\n{block}\n", encoding="utf-8")
        return
    old = path.read_text(encoding="utf-8")
    new, count = re.subn(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, old, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path} needs one pair of the markers {BEGIN} and {END}")
    path.write_text(new, encoding="utf-8")
