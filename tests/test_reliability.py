"""Rows of the acceptance matrix on the real thing: replicas of several workers, a fault proxy, a ledger outside.

Each row runs in the size that fits here; `python -m tests.soak --full` runs it whole. What each row must reach is judged
by `tests.soak.scenarios.judged`, the same for both. That a fault turns a row red is tested in `test_rig` (an ideal gateway
that breaks one promise at a time), in `test_idempotency` (this gateway with one transition of its claims broken) and in
`test_reliability_planted` (this gateway as processes, sections B to F).
"""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.soak.__main__ import SCENARIOS as EVERY
from tests.soak.plot import Line, Panel, svg
from tests.soak.scenarios import SCENARIOS, judged
from tests.soak.site import ground, real

SIZES = {"A2": 100, "A3": 60, "A5": 20, "A8": 60, "A9": 2}


@pytest.mark.parametrize("name", SIZES)
def test_a_row_holds(tmp_path: Path, name: str) -> None:
    scenario = SCENARIOS[name]
    with real(folder=tmp_path, workers=1, more=scenario.more) as site:
        row = scenario.row(site, SIZES[name], seed=11)
    assert row.passed, (row.faults, row.figures)
    assert row.figures["keys"] >= SIZES[name]


def test_a1_workers_are_killed_in_the_middle_of_three_thousand_creates(tmp_path: Path) -> None:
    scenario = SCENARIOS["A1"]
    with real(folder=tmp_path, rate=150, more=scenario.more) as site:
        site.give_up = 240.0  # a busy machine may take its time; what it must not do is get it wrong
        row = scenario.row(site, 3000, seed=12)
    assert row.passed, (row.faults, row.figures)
    assert (row.figures["keys"], row.figures["applied"]) == (3000, 3000)
    assert row.figures["kills"] >= 3


@pytest.mark.parametrize(("name", "size"), [("A1", 300), ("A5", 8), ("A9", 1)])
def test_a_row_holds_on_two_machines_over_one_valkey(tmp_path: Path, name: str, size: int) -> None:
    scenario = SCENARIOS[name]
    with real(folder=tmp_path, workers=1, machines=True, more=scenario.more) as site:
        row = scenario.row(site, size, seed=13)
    assert row.passed, (row.faults, row.figures)


BESIDES = {"B2": 2, "B4": 40, "B9": 200, "B11": 250, "F-faults": 400, "F-many": 800}


@pytest.mark.parametrize("name", BESIDES)
def test_a_row_of_b_or_f_holds(tmp_path: Path, name: str) -> None:
    """What can be told on a busy machine: counts. What is about time or memory is judged in the long runs."""
    scenario = EVERY[name]
    with ground(folder=tmp_path, workers=1) as place:
        row = scenario.row(place, BESIDES[name], seed=14)
    assert not judged(row.figures), row.figures
    assert row.figures.get("combinations_growth", 0) <= 4, row.figures
    assert row.figures["requests"] == (200 if name == "B2" else BESIDES[name])


def test_rolling_restarts_cut_nothing(tmp_path: Path) -> None:
    with ground(folder=tmp_path, workers=1) as place:
        row = EVERY["B10"].row(place, 1, seed=15)
    assert row.passed and row.figures["answers"] > 0, (row.faults, row.figures)


def test_lines_are_drawn() -> None:
    lines = [Line("one & only", [(0, 1), (1, 2), (2, 1.5)]), Line("none", [])]
    drawing = ElementTree.fromstring(svg(Panel("a < b", lines), Panel("below", lines)))
    names = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "a < b" in names and "below" in names and "one & only" in names
    assert len(list(drawing.iter("{http://www.w3.org/2000/svg}polyline"))) == 4


@pytest.mark.parametrize(
    ("line", "times"),
    [("ERROR uvicorn.error Exception in ASGI application: KeyError in x", 1), ("WARNING gateway drift", 0)],
)
def test_what_nobody_has_foreseen_is_counted_in_the_logs(tmp_path: Path, line: str, times: int) -> None:
    with ground(folder=tmp_path) as place:
        (tmp_path / "gateway-1.stderr").write_text(f"2026-11-22 10:13:37 {line}\n")
        assert place.unhandled() == times
