"""What the long runs found, as a table between markers of `docs/reliability.md`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"


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

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.faults


def table(rows: Sequence[Row], about: str = "") -> str:
    """The rows as markdown; figures that are 0 stand at the end of theirs, as one list."""
    lines = ["| row | what was done | came of it | seed | seconds |", "|---|---|---|---:|---:|"]
    for row in rows:
        seen = [f"{name} {_number(value)}" for name, value in row.figures.items() if value]
        none = [name for name, value in row.figures.items() if not value]
        told = ", ".join(seen) + (f"; none of {', '.join(none)}" if none else "")
        verdict = "" if row.passed else f"**{'; '.join(row.faults)}**. "
        cells = (row.name, row.sentence, verdict + told, str(row.seed), f"{row.seconds:.0f}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join([*([about, ""] if about else []), *lines])


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


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
