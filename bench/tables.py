"""A run as Markdown, for people: goals first, then how it was measured, then every figure."""

import math
from collections.abc import Sequence
from statistics import median

from bench.goals import goals
from bench.load import Result
from bench.records import SHAPES
from bench.report import HELPED, NAIVE_FLOORS, Report, added, cached, noise, ratio, spread


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


def render(report: Report, plot: str | None = None) -> str:
    """The whole report in Markdown. `plot`: the picture's file, if there is one."""
    picture = f"![requests a second and CPU a request]({plot})" if plot else ""
    parts = [
        _goals(report), _verdict(report), picture, _method(report), _full(report), _single(report),
        _translation(report), _capacity(report), _starts(report), _raw(report),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _goals(report: Report) -> str:
    noisy = noise(report) is not None
    words = {True: "reached", False: "**missed**", None: "not measured"}
    rows = [
        (
            goal.what,
            goal.wanted,
            goal.figure,
            words[goal.reached] + (" (noisy)" if noisy and goal.reached is False else ""),
        )
        for goal in goals(report)
    ]
    return _table(("what", "goal", "figure", ""), rows) if rows else ""


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
            "The gateway runs as `crm-gateway serve` with everything on: a caller's key and scopes, metrics, circuit, "
            "state store, cache, and a budget that is kept on every call and never spent; its log goes to /dev/null, "
            f"{told.get('access_log', 'without')} a line for each request. *miss*: its cache has 1 MiB, so that each read "
            "calls the provider and fills it; *hit*: 64 MiB, 100 records in turn. *nginx* passes the provider's bytes "
            "through, one worker, kept connections. *one worker* and *two workers*, *not pinned*: gateway, load and "
            "provider on both cores, wherever the system puts them; *on one core*: both workers on the measured one, "
            "and one beside them in the same round. *slow*: a provider that takes 20 ms, 256 in flight. *list* and *ids*: "
            "100 records, one request in flight, never from the cache; of *ids* each is a call of its own. "
            "*naive* is `bench/naive.py`: FastAPI, one shared httpx client, pydantic models, uvloop, httptools, the same "
            "answers, with the packages that these bring along; *with sniffio* the same with one more, which httpx does "
            "not ask for and is quicker with. *floor* is uvicorn answering fixed bytes from a plain ASGI application, a "
            "yardstick of the machine. "
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
    lines += _caching(report)
    if not {("naive", "flat"), ("floor", "flat")} <= report.full.keys():
        return "\n".join(lines)
    naive, floor = (median(one.cpu_us for one in report.full[subject, "flat"]) for subject in ("naive", "floor"))
    fair = 0.75 <= naive / floor / NAIVE_FLOORS <= 1.25
    lines.append(
        f"The naive version costs {naive / floor:.0f} floors a flat request; {NAIVE_FLOORS:.0f} when it was chosen "
        f"to compare with (6.8 ms to 61 µs): {'like enough' if fair else 'not alike, so mind the ratios'}."
    )
    return "\n".join(lines)


def _caching(report: Report) -> list[str]:
    """Where the cache did not do what the row is about."""
    faults = []
    for (subject, shape), results in report.full.items():
        share = cached(results)
        if (subject == "hit" and share < 0.99) or (subject != "hit" and share > 0.01):
            faults.append(f"Mind: {share:.0%} of `{subject}`, {shape}, came from the cache.")
    return faults


_TITLES = {
    "miss": "gateway, miss", "hit": "gateway, hit", "naive": "naive", HELPED: "naive, with sniffio", "nginx": "nginx",
    "floor": "floor",
    "provider": "the provider alone", "one worker": "gateway, one worker, not pinned",
    "two workers": "gateway, two workers, not pinned", "one on one core": "gateway, one worker on one core",
    "two on one core": "gateway, two workers on one core",
    "slow": "gateway, slow provider", "list": "gateway, list of 100", "ids": "gateway, ids= of 100",
}  # fmt: skip


def _full(report: Report) -> str:
    rows = []
    for shape in SHAPES:
        for subject, title in _TITLES.items():
            rounds = report.full.get((subject, shape), [])
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
        rows.append((shape, "**miss to naive**", f"**{rate:.1f} times**", f"**{cpu:.1f} times less**", "", ""))
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
        "\n\nStart: from the spawn of the process, alone on its core, both connections at the stand-in, to the "
        "first 200 for a record, asked for every 2 ms; byte code was compiled before. "
        "Memory: /proc/PID/smaps_rollup half a second after that answer."
    )


def _translation(report: Report) -> str:
    names = {
        "one": "the gateway, one record", "msgspec": "msgspec with typed structures, one record",
        "list": "the gateway, list of 100", "ids": "the gateway, `ids=` of 100",
    }  # fmt: skip
    rows = [
        (shape, names[what], _middle(values, 1, " µs"))
        for (what, shape), values in sorted(report.translation.items(), key=lambda item: item[0][1])
    ]
    if not rows:
        return ""
    return _table(("record", "translation alone", "CPU a record"), rows) + (
        "\n\nTranslation alone: the provider's bytes to the caller's in one process (`bench/translation.py`), nothing "
        "sent. Each round's figure is the smallest of 12 interleaved slices of 10 ms. `bench/typed.py` is the yardstick."
    )


def _capacity(report: Report) -> str:
    names = {
        "few": "hits on one record", "fill": "10,000 misses, 16 in flight", "many": "hits on 10,000 records",
        "idle": "the same, beside 1,000 idle connections",
    }  # fmt: skip
    rows = [
        (
            names[name],
            _middle([one.p50 for one in results], 2, " ms"),
            _middle([one.p99 for one in results], 2, " ms"),
            _middle([one.cpu_us for one in results], 0, " µs"),
            _middle([one.rss for one in results], 0, " MiB"),
            _middle([one.pss for one in results], 0, " MiB"),
        )
        for name, results in report.capacity.items()
    ]
    return _table(("one in flight", "p50", "p99", "CPU a request", "Rss", "Pss"), rows) if rows else ""


def _raw(report: Report) -> str:
    """Every round of everything, for whoever wants to work it out again."""
    rows = [
        (f"{subject}, {shape}{more}", *(_each(results, name) for name in ("rate", "cpu_us", "p50")))
        for more, group in (("", report.full), (", one in flight", report.single))
        for (subject, shape), results in group.items()
    ]
    if not rows:
        return ""
    table = _table(("round by round", "requests a second", "CPU a request, µs", "p50, ms"), rows)
    return f"<details><summary>Round by round</summary>\n\n{table}\n\n</details>"


def _each(results: Sequence[Result], name: str) -> str:
    values = [float(getattr(one, name)) for one in results]
    return ", ".join(f"{value:.0f}" if value >= 100 else f"{value:.2f}" for value in values)
