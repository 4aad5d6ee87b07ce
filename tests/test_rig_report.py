"""The report of the long runs: what one run adds to it, and what it leaves as it was."""

from pathlib import Path

import pytest

from tests.rig.processes import ROOT
from tests.rig.report import BEGIN, END, Row, add, merged, read, table, tables, write

ROWS = [
    Row("A1", "kills | more", {"keys": 3000, "duplicate": 0, "settle_max": 1.25}, 7, 12.4),
    Row("A2", "cuts", {"keys": 5, "lost": 1}, 8, 1.0, ["lost: 1"]),
]


def test_a_report_goes_between_its_markers_and_tells_failures_first(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "reliability.md"
    write(path, "old")
    path.write_text(path.read_text() + "\nKept.\n")
    write(path, table(ROWS))
    text = path.read_text()
    assert "old" not in text and text.endswith("Kept.\n") and text.count(BEGIN) == text.count(END) == 1
    assert "| A1 | kills \\| more | keys 3,000, settle_max 1.25; none of duplicate |  | 7 | 12 |" in text
    assert "| A2 | cuts | **lost: 1**. keys 5, lost 1 |  | 8 | 1 |" in text
    path.write_text("no markers")
    with pytest.raises(ValueError, match="markers"):
        write(path, "x")


def test_a_run_of_some_rows_leaves_the_others_in_the_report(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "reliability.md"
    picture = Row(
        "F", "mixed", {"requests": 9}, 1, 2.0, how="9 (slice)", day="2026-11-22", load=[0.5, 3], picture="F.svg"
    )
    add(path, ROWS)
    path.write_text(path.read_text() + "\nKept.\n")
    add(path, [picture, Row("A10", "store", {"sent": 0}, 2, 1.0), Row("B2", "503", {"calls": 2}, 3, 1.0)])
    first = path.read_text()
    assert [line.split(" | ")[0] for line in first.splitlines() if line.startswith(("| ", "### "))] == [
        "### A. Creates never double, never vanish", "| row", "| A1", "| A2", "| A10",
        "### B. Retries, limits, drain", "| row", "| B2", "### F. Long runs", "| row", "| F",
    ]  # fmt: skip
    assert "| 9 (slice), 2026-11-22, load 0.5 to 3.0 | 1 | 2 |" in first and "![F: mixed](F.svg)" in first
    add(path, [Row("A2", "cuts", {"keys": 6}, 9, 1.0)])
    assert path.read_text() == first.replace("**lost: 1**. keys 5, lost 1 |  | 8 | 1 |", "keys 6 |  | 9 | 1 |")
    assert [row.seed for row in read(path.with_suffix(".json"))] == [7, 9, 2, 3, 1] and first.endswith("Kept.\n")


def test_the_report_is_made_of_its_rows_and_of_nothing_else() -> None:
    rows = read(ROOT / "docs" / "reliability.json")
    assert rows == merged(rows, []) and len(rows) >= 10
    text = (ROOT / "docs" / "reliability.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == tables(rows)
    assert all((ROOT / "docs" / row.picture).exists() for row in rows if row.picture)
