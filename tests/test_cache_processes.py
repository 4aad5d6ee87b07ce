"""Read your writes, and nobody else's bytes, with real worker processes that are killed: rows of section D in small."""

from pathlib import Path

import pytest

from tests.soak.scenarios import SCENARIOS
from tests.soak.site import real

SIZES = {"D-ryw": 1000, "D-foreign": 1500}
"""A worker is killed every two seconds: the first row has to last longer than that on any machine."""


@pytest.mark.parametrize("name", SIZES)
def test_a_row_holds(tmp_path: Path, name: str) -> None:
    scenario = SCENARIOS[name]
    with real(folder=tmp_path, more=scenario.more) as site:
        row = scenario.row(site, SIZES[name], seed=21)
    assert row.passed, (row.faults, row.figures)
    assert row.figures["answers"] >= SIZES[name] / 2
    assert row.figures["kills"] >= (name == "D-ryw")  # the other may be over sooner
