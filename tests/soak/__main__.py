"""Run rows of the acceptance matrix and put what came of them in their places in docs/reliability.md.

    python -m tests.soak --rows A1,A2 --seed 7            the slices
    python -m tests.soak --full                           the whole, every row
    python -m tests.soak --rows A1 --size 500 --dry       another size, nothing written
    python -m tests.soak --rows B2,B5,C,F-faults          rows of the other sections, each with processes of its own
    python -m tests.soak --rows A1@machines               on two addresses, over one Valkey, behind a balancer

Exit status 1 when a row did not reach its figure. Every seed is printed before its row begins, and every row is written
down as soon as it is over; rows that were not run stay as they were.
"""

import argparse
import os
import secrets
import shutil
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from pathlib import Path

from tests.rig.processes import ROOT
from tests.rig.report import Row, add
from tests.soak import scenarios, scenarios_b, scenarios_f, scenarios_many
from tests.soak.scenarios import Scenario
from tests.soak.scenarios_f import PLOT
from tests.soak.site import Ground, Site, ground, real

SCENARIOS: dict[str, Scenario] = {
    **scenarios.SCENARIOS, **scenarios_b.SCENARIOS, **scenarios_f.SCENARIOS, **scenarios_many.SCENARIOS,
}  # fmt: skip


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    every = [*SCENARIOS, *(f"{name}@machines" for name in ("A1", "A5", "A9", "D-ryw"))]
    parser.add_argument("--rows", default=",".join(every), help=f"of {', '.join(every)}; all by default")
    parser.add_argument("--seconds", type=float, default=0, help="begin no row after so many seconds; 0: run them all")
    parser.add_argument("--seed", type=int, default=None, help="of the first row; the next has the next")
    parser.add_argument("--full", action="store_true", help="the whole instead of the slice")
    parser.add_argument("--size", type=int, help="keys, rounds or stops, instead of the row's own")
    parser.add_argument("--state", help="the store; a SQLite file of the run by default")
    parser.add_argument("--provider", choices=("getraze", "getraze-served"), default="getraze")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lookup-lag", type=float, default=1.0)
    parser.add_argument("--index-lag", type=float, default=0.5)
    parser.add_argument("--lease", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=0, help="A: keys a second, 100 unless told; F: requests a second")
    parser.add_argument("--folder", type=Path, help="keep histories, ledgers and logs here")
    parser.add_argument("--dry", action="store_true", help="write no report")
    given = parser.parse_args()
    names = given.rows.split(",")
    unknown = [name for name in names if name not in every]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(every)}")
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    began, rows = time.monotonic(), list[Row]()
    for number, name in enumerate(names):
        if given.seconds and time.monotonic() - began > given.seconds:
            print(f"{name}: no time left", file=sys.stderr)  # noqa: T201  # its output
            continue
        scenario, machines = SCENARIOS[name.partition("@")[0]], "@" in name
        size = given.size or (scenario.whole if given.full else scenario.slice)
        print(f"{name}: size {size}, seed {seed + number}", flush=True)  # noqa: T201  # its output
        folder = given.folder and given.folder / name
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[0]
        site: AbstractContextManager[Site | Ground]
        if scenario.alone:
            site = ground(replicas=given.replicas, workers=given.workers, folder=folder, rate=given.rate)
        else:
            site = real(
                replicas=given.replicas, workers=given.workers, provider=given.provider, state=given.state,
                lookup_lag=given.lookup_lag, index_lag=given.index_lag, lease=given.lease, rate=given.rate or 100.0,
                more=scenario.more, folder=folder, machines=machines,
            )  # fmt: skip
        with site as place:
            row = scenario.row(place, size, seed + number)
            row = replace(
                row, name=name.replace("@machines", ", two machines over Valkey"), how=_how(given, scenario, size),
                day=date.today().isoformat(), load=[load, os.getloadavg()[0]],
            )  # fmt: skip
            if not given.dry:
                row = _written(row, place.folder / PLOT)
        rows.append(row)
        verdict = "passed" if row.passed else f"FAILED: {'; '.join(row.faults)}"
        print(f"{name}: {verdict} {dict(row.figures)}", flush=True)  # noqa: T201  # its output
    return 0 if rows and all(row.passed for row in rows) else 1


def _how(given: argparse.Namespace, scenario: Scenario, size: int) -> str:
    """The size, and what of the arguments is not as it usually is."""
    part = {scenario.whole: " (whole)", scenario.slice: " (slice)"}.get(size, "")
    usual = (given.replicas, given.workers) == (2, 2)
    unusual = "" if usual else f", {given.replicas} replicas of {given.workers}"
    return f"{size:,}{part}{unusual}" + (f", {given.rate:g} a second" if given.rate else "")


def _written(row: Row, drawn: Path) -> Row:
    """In its place in the report, with its drawing."""
    docs = ROOT / "docs"
    if drawn.exists():
        row = replace(row, picture=f"reliability-{row.name}.svg")
        shutil.copy(drawn, docs / row.picture)
    add(docs / "reliability.md", [row])
    return row


if __name__ == "__main__":
    sys.exit(main())
