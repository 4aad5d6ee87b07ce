"""The goals of the performance issue, each with its figure from a run and whether it was reached."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench.load import Result
from bench.records import Shape
from bench.report import HELPED, Report, added, cached, middle_cpu, middle_rate, ratio

SLACK = 1.15
"""How far two latencies may be apart that are called unchanged; the floor is 0.03 ms."""


@dataclass(frozen=True)
class Goal:
    """What was asked for, what came out, and whether it was reached (None: it was not measured)."""

    what: str
    wanted: str
    figure: str
    reached: bool | None


def goals(report: Report) -> list[Goal]:
    """One for each line of the issue's table, in its order; those that were not measured say so."""
    return [*_full(report), *_latency(report), *_translation(report), *_process(report), *_capacity(report)]


def _full(report: Report) -> Iterator[Goal]:
    if not report.full:
        return
    flat, wrapped = ratio(report, "flat")[0], ratio(report, "wrapped")[0]
    told = f"{flat:.1f} times{_helped(report, 'flat')}"
    yield Goal("miss, flat record, everything on", "20 times naive's requests a second", told, flat >= 20)
    if ("nginx", "flat") in report.full:
        times = middle_cpu(report, "miss", "flat") / middle_cpu(report, "nginx", "flat")
        yield Goal("the same, beside nginx", "at most 10 times its CPU a request", f"{times:.1f} times", times <= 10)
    else:
        yield Goal("the same, beside nginx", "at most 10 times its CPU a request", "nginx is not installed", None)
    told = f"{wrapped:.1f} times{_helped(report, 'wrapped')}"
    yield Goal("miss, wrapped record", "15 times naive's requests a second", told, wrapped >= 15)
    if ("hit", "flat") in report.full:
        share = middle_rate(report, "hit", "flat") / middle_rate(report, "floor", "flat")
        yield Goal("hit, everything on", "75 % of the floor's requests a second", f"{share:.0%}", share >= 0.75)


def _helped(report: Report, shape: Shape) -> str:
    """The same beside a naive version that was helped."""
    return f"; {ratio(report, shape, HELPED)[0]:.1f} with sniffio" if (HELPED, shape) in report.full else ""


def _latency(report: Report) -> Iterator[Goal]:
    if ("miss", "flat") in report.single:
        more = added(report, "miss", "flat")
        yield Goal("added at one in flight, miss", "p50 under 0.35 ms", f"{more:.2f} ms", more < 0.35)
    if ("slow", "flat") in report.full:
        rate = middle_rate(report, "slow", "flat")
        yield Goal(
            "a provider that takes 20 ms, 256 in flight", "2,500 a second", f"{rate:,.0f} a second", rate >= 2500
        )


def _translation(report: Report) -> Iterator[Goal]:
    told = {key: median(values) for key, values in report.translation.items()}
    if not told:
        return
    for what, name in (("list", "a list of 100"), ("ids", "`ids=` of 100")):
        flat, wrapped = told[what, "flat"], told[what, "wrapped"]
        yield Goal(
            f"translation in {name}, parse to bytes", "under 30 µs a flat record, 55 µs a wrapped one",
            f"{flat:.0f} µs, {wrapped:.0f} µs", flat < 30 and wrapped < 55,
        )  # fmt: skip
    times = [told["one", shape] / told["msgspec", shape] for shape in ("flat", "wrapped")]
    figure = f"{times[0]:.1f} times (flat), {times[1]:.1f} times (wrapped)"
    yield Goal("translation of one record", "within 2.5 times of msgspec, typed", figure, max(times) <= 2.5)


def _process(report: Report) -> Iterator[Goal]:
    if "miss" in report.starts:
        start, rss = median(report.starts["miss"]), median(report.memory["miss"]["Rss"])
        yield Goal("start to first answer", "under 0.8 s", f"{start:.2f} s", start < 0.8)
        yield Goal("idle memory of a worker (Rss)", "under 60 MiB", f"{rss:.0f} MiB", rss < 60)


def _capacity(report: Report) -> Iterator[Goal]:
    told = report.capacity
    if told:
        few, fill, many, idle = (told[name] for name in ("few", "fill", "many", "idle"))
        grown = median(after.rss - before.rss for before, after in zip(few, fill, strict=True))
        latency = [median(one.p50 for one in results) for results in (few, many, idle)]
        within = _unchanged(latency[0], latency[1]) and cached(many) > 0.99
        figure = f"{grown:.0f} MiB more; p50 {latency[0]:.2f} → {latency[1]:.2f} ms, {cached(many):.0%} hits"
        yield Goal("10,000 distinct cached records", "memory within the 64 MiB configured, latency unchanged", figure,
                   within and grown <= 64)  # fmt: skip
        open_, size = min(one.idle for one in idle), median(_more(many, idle))
        figure = f"{open_:,} open, {size:.0f} MiB more; p50 {latency[1]:.2f} → {latency[2]:.2f} ms"
        yield Goal("1,000 idle callers' connections", "latency unchanged", figure,
                   _unchanged(latency[1], latency[2]) and open_ >= 1000)  # fmt: skip
    if ("two workers", "flat") in report.full:
        for what, one, two in (
            ("two workers on two cores", "one worker", "two workers"),
            ("two workers that share one core", "one on one core", "two on one core"),
        ):
            more = _more_cpu(report, one, two)
            yield Goal(what, "at most 8 % more CPU a request than one", f"{more:+.0%}", more <= 0.08)


def _more_cpu(report: Report, one: str, other: str) -> float:
    """How much more CPU a request takes the other one, round by round."""
    pairs = zip(report.full[one, "flat"], report.full[other, "flat"], strict=True)
    return median(second.cpu_us / first.cpu_us for first, second in pairs) - 1


def _more(before: list[Result], after: list[Result]) -> list[float]:
    return [two.rss - one.rss for one, two in zip(before, after, strict=True)]


def _unchanged(before: float, after: float) -> bool:
    return after <= max(before * SLACK, before + 0.03)
