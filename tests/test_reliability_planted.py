"""A fault planted in the gateway turns the row red that is there to find it: sections B, C, D and F, on real processes.

What is about time or memory is asserted to be far beyond its bound, where a busy machine is not the reason. Section A's
planted faults are in `test_rig` (in an ideal gateway) and `test_idempotency` (in this one).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.planted import environ_of
from tests.rig.report import Row
from tests.soak.__main__ import SCENARIOS
from tests.soak.site import ground, real

FAULTS: dict[tuple[str, int, str], dict[str, float]] = {
    # row, size, plant: what is found, and how bad it is at least
    ("B2", 2, "endless_repeats"): {"amplification": 2.5},
    ("B4", 40, "deadline_anew"): {"control_beyond_deadline_ms": 500},
    ("B5", 1, "closed_for_ever"): {"dead_p99_ms": 900},
    ("B6", 1, "no_share"): {"loud_429": 0},
    ("B7", 1, "no_shedding"): {"served_p99_ms": 900},
    ("B9", 150, "no_repeat"): {"failed": 1},
    ("B10", 1, "no_drain"): {"cut_requests": 1},
    # 300 in six seconds: wherever a window of ten begins meanwhile, 100 or more are beyond the budgets of 100.
    ("B11", 300, "no_budget"): {"over_budget": 20},
    ("C", 100, "keeps_all"): {"reused": 1},
    ("C", 100, "too_patient"): {"beyond_both_ms": 200},
    ("F", 250, "leaks"): {"files_left": 100, "tasks_left": 100, "tasks_growth": 50, "memory_growth": 0.06},
    ("F-many", 150, "labels_as_sent"): {"combinations_growth": 100, "page_growth": 0.3},
    ("D-ryw", 60, "no_versions"): {"stale": 1},
    ("D-foreign", 600, "shared_answers"): {"foreign": 1},
}


@pytest.mark.parametrize(("name", "size", "plant"), FAULTS)
def test_a_planted_fault_turns_its_row_red(tmp_path: Path, name: str, size: int, plant: str) -> None:
    row = _row(tmp_path, name, size, plant)
    found = {fault.partition(":")[0] for fault in row.faults}
    for figure, least in FAULTS[name, size, plant].items():
        assert figure in found and row.figures[figure] >= least, (figure, row.faults, row.figures)


def _row(folder: Path, name: str, size: int, plant: str) -> Row:
    scenario = SCENARIOS[name]
    if scenario.alone:
        with ground(folder=folder, replicas=1, workers=1, rate=100, plant=plant) as place:
            return scenario.row(place, size, seed=21)
    with real(folder=folder, workers=1, more=scenario.more, plant=plant) as site:
        return scenario.row(site, size, seed=21)


def test_a_plant_is_in_what_serves_and_nowhere_else(tmp_path: Path) -> None:
    environ = {**os.environ, **environ_of("no_repeat", tmp_path)}

    def told(*command: str) -> str:
        return subprocess.run([sys.executable, *command], env=environ, capture_output=True, text=True).stderr

    assert "planted: no_repeat" in told("-m", "gateway", "--version")
    assert "planted" not in told("-c", "print('gateway')")
    with pytest.raises(ValueError, match="no such plant: unknown"):
        environ_of("unknown", tmp_path)
