"""What was measured, as tables for people."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.load import Result
from bench.records import SHAPES, Shape

BEGIN = "<!-- bench: begin -->"
END = "<!-- bench: end -->"
NOISY = 0.15
"""Spread of the control loop, or share of the core taken by others, above which a run cannot be judged."""

NAIVE_FLOORS = 6800 / 61
"""CPU a request of FastAPI + a shared httpx client, in floors, when it was chosen to compare with: 6.8 ms to 61 µs.

In floors, since machines differ in speed: the naive version is a fair one when it is within a quarter of this.
"""


@dataclass
class Report:
    """All of a run. Keys of `full` and `single` are (subject, shape); each list has one entry a round."""

    versions: dict[str, str]
    settings: dict[str, str]
    full: dict[tuple[str, Shape], list[Result]] = field(default_factory=dict)
    single: dict[tuple[str, Shape], list[Result]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    control: list[float] = field(default_factory=list)

    def results(self) -> list[Result]:
        """Every round of everything."""
        return [one for rounds in (*self.full.values(), *self.single.values()) for one in rounds]


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


def ratio(report: Report, shape: Shape) -> tuple[float, float]:
    """(requests a second, CPU a request): how many times better the gateway is than the naive version; medians."""
    gateway, naive = report.full["gateway", shape], report.full["naive", shape]
    return (
        median(one.rate for one in gateway) / median(one.rate for one in naive),
        median(one.cpu_us for one in naive) / median(one.cpu_us for one in gateway),
    )


def added(report: Report, subject: str, shape: Shape) -> float:
    """Milliseconds added to a call to the provider at one in flight: median over the rounds of p50 less p50."""
    return median(
        one.p50 - direct.p50
        for one, direct in zip(report.single[subject, shape], report.single["provider", shape], strict=True)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def _middle(values: Sequence[float], digits: int, unit: str = "") -> str:
    """The median, with smallest and largest."""
    if any(math.isnan(value) for value in values):
        return "none"
    told = [f"{value:,.{digits}f}" for value in (median(values), min(values), max(values))]
    return f"{told[0]}{unit} ({told[1]} to {told[2]})"


def render(report: Report) -> str:
    """The whole report in Markdown, method first."""
    parts = [_method(report), _verdict(report), _full(report), _single(report), _starts(report)]
    return "\n\n".join(part for part in parts if part)


def _method(report: Report) -> str:
    told = report.settings
    return "\n".join(
        [
            f"Made by `python -m bench` on {told['date']}: {told['machine']}. "
            + ", ".join(f"{name} {version}" for name, version in report.versions.items())
            + ".",
            "",
            f"One worker on core {told['core']}; the provider's stand-in and the load on core {told['other']}. "
            f"Get by id in a closed loop, plain HTTP on loopback, {told['connections']} kept connections, 10,000 ids "
            "in turn, every answer compared with the expected canonical record (bytes, and JSON for a sample). "
            "The gateway runs as `crm-gateway serve` without callers' keys, both connections on the stand-in. "
            "*naive* is `bench/naive.py`: FastAPI, one shared httpx client, pydantic models, uvloop, httptools, the same "
            "answers. *floor* is uvicorn answering fixed bytes from a plain ASGI application, a yardstick of the machine. "
            f"{told['rounds']} interleaved rounds of {told['seconds']} s each after {told['warm']} s of warming; "
            "shown are medians (smallest to largest). CPU a request: user and system time of the process "
            "from /proc/PID/stat over the measured seconds, divided by its right answers.",
        ]
    )


def _verdict(report: Report) -> str:
    lines = []
    noisy = noise(report)
    if noisy is not None:
        lines.append(f"**Too noisy to judge**: {noisy}.")
    others = [one.others for one in report.results()]
    lines.append(
        f"Noise: the same idle loop varied by {spread(report.control):.0%}, "
        f"others took {median(others):.1%} of the measured core ({max(others):.0%} at worst)."
    )
    wrong = sum(one.wrong for one in report.results())
    right = sum(one.answers for one in report.results())
    lines.append(f"Answers: {right:,} right, {wrong} wrong.")
    first = next((one.first_wrong for one in report.results() if one.first_wrong), None)
    if first:
        lines.append(f"The first wrong one: {first}")
    naive, floor = (median(one.cpu_us for one in report.full[subject, "flat"]) for subject in ("naive", "floor"))
    fair = 0.75 <= naive / floor / NAIVE_FLOORS <= 1.25
    lines.append(
        f"The naive version costs {naive / floor:.0f} floors a flat request; {NAIVE_FLOORS:.0f} when it was chosen "
        f"to compare with (6.8 ms to 61 µs): {'like enough' if fair else 'too different, so mind the ratios'}."
    )
    return "\n".join(lines)


_TITLES = {"gateway": "gateway", "naive": "naive", "floor": "floor", "provider": "the provider alone"}


def _full(report: Report) -> str:
    rows = []
    for shape in SHAPES:
        for subject, title in _TITLES.items():
            rounds = report.full.get((subject, shape))
            if not rounds:
                continue
            rows.append(
                (
                    shape,
                    title,
                    _middle([one.rate for one in rounds], 0),
                    _middle([one.cpu_us for one in rounds], 0, " µs"),
                    _middle([one.p50 for one in rounds], 1, " ms"),
                    _middle([one.p99 for one in rounds], 1, " ms"),
                )
            )
        rate, cpu = ratio(report, shape)
        rows.append((shape, "**gateway to naive**", f"**{rate:.1f} times**", f"**{cpu:.1f} times less**", "", ""))
    head = ("record", f"{report.settings['connections']} in flight", "requests a second", "CPU a request", "p50", "p99")
    return _table(head, rows)


def _single(report: Report) -> str:
    rows = []
    for (subject, shape), rounds in report.single.items():
        more = "" if subject == "provider" else f"{added(report, subject, shape):.2f} ms"
        rows.append(
            (
                shape,
                _TITLES[subject],
                _middle([one.p50 for one in rounds], 2, " ms"),
                _middle([one.p99 for one in rounds], 2, " ms"),
                more,
            )
        )
    return _table(("record", "one in flight", "p50", "p99", "added to the provider's p50"), rows) if rows else ""


def _starts(report: Report) -> str:
    rows = [
        (
            _TITLES[subject],
            _middle(seconds, 2, " s"),
            _middle(report.memory[subject]["Rss"], 0, " MiB"),
            _middle(report.memory[subject]["Pss"], 0, " MiB"),
        )
        for subject, seconds in report.starts.items()
    ]
    if not rows:
        return ""
    table = _table(("process", "start to first answer", "idle: Rss", "idle: Pss"), rows)
    return table + (
        "\n\nStart: from the spawn of the process, alone on its core, one connection that points at the stand-in, to the "
        "first 200 for a record, asked for every 2 ms; byte code was compiled before. "
        "Memory: /proc/PID/smaps_rollup half a second after that answer."
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
