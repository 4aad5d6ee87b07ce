"""What was measured, and what can be said of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.load import Result
from bench.records import Shape

BEGIN = "<!-- bench: begin -->"
END = "<!-- bench: end -->"
NOISY = 0.15
"""Spread of the control loop, or share of the core taken by others, above which a run cannot be judged."""

NAIVE_FLOORS = 6800 / 61
"""CPU a request of FastAPI + a shared httpx client, in floors, when it was chosen to compare with: 6.8 ms to 61 µs.

In floors, since machines differ in speed: the naive version is a fair one when it is within a quarter of this.
"""


HELPED = "naive, sniffio"
"""The naive version where somebody knew that httpx is quicker with sniffio beside it, which nothing installs for it."""


@dataclass
class Report:
    """All of a run. Keys of `full` and `single` are (subject, shape); each list has one entry a round.

    `miss` and `hit` are the gateway whose cache is too small, and large enough.
    """

    versions: dict[str, str]
    settings: dict[str, str]
    full: dict[tuple[str, Shape], list[Result]] = field(default_factory=dict)
    single: dict[tuple[str, Shape], list[Result]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    control: list[float] = field(default_factory=list)
    translation: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """(what, shape) -> microseconds of CPU a record."""
    capacity: dict[str, list[Result]] = field(default_factory=dict)
    """`few`, `fill`, `many`, `idle`: hits on one record, 10,000 misses, hits on those, the same beside idle connections."""

    def results(self) -> list[Result]:
        """Every round of everything."""
        return [
            one for rounds in (*self.full.values(), *self.single.values(), *self.capacity.values()) for one in rounds
        ]


def spread(values: Sequence[float]) -> float:
    """(largest - smallest) / median; 0 for none."""
    return (max(values) - min(values)) / median(values) if values else 0.0


def noise(report: Report) -> str | None:
    """Why this run cannot be judged; None if it can."""
    reasons = []
    loop = spread(report.control)
    if loop > NOISY:
        reasons.append(f"the same idle loop varied by {loop:.0%} between rounds")
    others = [one.others for one in report.results()]
    if others and median(others) > NOISY:
        reasons.append(f"others took {median(others):.0%} of the measured core")
    return " and ".join(reasons) or None


def ratio(report: Report, shape: Shape, peer: str = "naive") -> tuple[float, float]:
    """(requests a second, CPU a request): how many times better the gateway is than the naive version; medians."""
    gateway, naive = report.full["miss", shape], report.full[peer, shape]
    return (
        median(one.rate for one in gateway) / median(one.rate for one in naive),
        median(one.cpu_us for one in naive) / median(one.cpu_us for one in gateway),
    )


def middle_cpu(report: Report, subject: str, shape: Shape) -> float:
    """Microseconds of CPU a request, the median."""
    return median(one.cpu_us for one in report.full[subject, shape])


def middle_rate(report: Report, subject: str, shape: Shape) -> float:
    """Requests a second, the median."""
    return median(one.rate for one in report.full[subject, shape])


def cached(results: Sequence[Result]) -> float:
    """The share of answers that came from the gateway's cache."""
    return sum(one.hits for one in results) / max(1, sum(one.answers for one in results))


def added(report: Report, subject: str, shape: Shape) -> float:
    """Milliseconds added to a call to the provider at one in flight: median over the rounds of p50 less p50."""
    return median(
        one.p50 - direct.p50
        for one, direct in zip(report.single[subject, shape], report.single["provider", shape], strict=True)
    )


def write(path: Path, text: str) -> None:
    """Put the text between the markers of a file, which is made when it is not there; all else in it stays."""
    block = f"{BEGIN}\n\n{text}\n\n{END}"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# Performance\n\n{block}\n", encoding="utf-8")
        return
    old = path.read_text(encoding="utf-8")
    new, count = re.subn(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: block, old, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{path} needs one pair of the markers {BEGIN} and {END}")
    path.write_text(new, encoding="utf-8")
