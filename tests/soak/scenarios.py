"""Rows of the matrix as functions of a site, a size and a seed, which say what they saw and what was wrong.

A size is a number of keys (A5: rounds, A9: stops). What a row must reach stands in `judged`, the same for slice and whole.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import uvloop

from tests.rig.faults import Rule, answer_cut, latency, swallow
from tests.rig.history import Findings, check, read_applied, read_attempts, summed
from tests.rig.killer import Deed, Killer, standing, wait_whole
from tests.rig.load import Plan, run
from tests.rig.report import Row
from tests.soak.scenarios_d import MORE, foreign, pairs
from tests.soak.site import Ground, Site

Figures: TypeAlias = dict[str, float]
Work: TypeAlias = Callable[[Any, int, int], Figures]
"""Of a `Site`, or of a `Ground` where a scenario is `alone`; a size and a seed."""

SETTLE_SECONDS = 10.0
"""A2: how long beyond the index lag a key may stay unknown."""


@dataclass(frozen=True)
class Scenario:
    """A row. `slice` and `whole` are sizes."""

    name: str
    sentence: str
    slice: int
    whole: int
    work: Work
    more: Mapping[str, Any] = field(default_factory=dict)
    """What its gateways are configured with besides."""
    alone: bool = False
    """It brings up its own processes: `work` takes a `Ground` instead of a `Site`."""
    most: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)
    """Between what its figures must lie, besides those that are never anything but 0."""

    def row(self, site: "Site | Ground", size: int, seed: int) -> Row:
        """Run it and judge it."""
        began = time.monotonic()
        figures = self.work(site, size, seed)
        faults = judged(figures)
        faults += [f"{name}: {figures[name]:g}, more than {most:g}" for name, most in self.most.items()
                   if figures[name] > most]  # fmt: skip
        faults += [f"{name}: {figures[name]:g}, less than {least:g}" for name, least in self.least.items()
                   if figures[name] < least]  # fmt: skip
        return Row(self.name, self.sentence, figures, seed, time.monotonic() - began, faults)


def judged(figures: Mapping[str, float]) -> list[str]:
    """What is not as it must be."""
    never = (
        "duplicate", "lost", "wrong_record", "denied", "different_answer", "unmarked_replay", "marked_first",
        "went_back", "early_absence", "stray", "unsettled", "unfinished", "sent_twice", "too_late", "stale", "foreign",
        "unhandled", "hung", "failed", "cut_requests", "over_budget", "reused", "no_problem_json", "wrong",
    )  # fmt: skip
    return [f"{name}: {figures[name]:g}" for name in never if figures.get(name)]


def kills(site: Site, size: int, seed: int) -> Figures:
    """A1: kill -9 of a random worker every 2 s, 30 % of the keys in parallel on both replicas.

    Both ways between gateway and provider take a while, so that a kill meets creates before and after they are applied.
    """
    plan = Plan(site.targets, size, site.rate, seed, "a1", repeated=0.3, after_done=1)
    with _played(site, latency(0.03, 0.03, method="POST")), Killer(site.replicas, every=2.0, seed=seed) as killer:
        figures = _loaded(site, plan)
    if site.replicas:
        wait_whole(site.replicas, site.workers)
    return {**figures, "kills": len(killer.journal)}


def cut_answers(site: Site, size: int, seed: int) -> Figures:
    """A2: every create is applied and its answer cut."""
    with _played(site, answer_cut(method="POST")):
        figures = _loaded(site, Plan(site.targets, size, site.rate / 2, seed, "a2", after_done=1))
    lag = float(site.provider.control.get("/settings")["lag"])
    twice = sum(count > 1 for count in _sent(site, "a2", seed).values())
    late = figures["settle_max"] > max(lag, site.lookup_lag) + SETTLE_SECONDS
    return {**figures, "sent_twice": twice, "too_late": late}


def swallowed(site: Site, size: int, seed: int) -> Figures:
    """A3: half of the creates are swallowed once, half of the others applied and cut; without and with an index lag."""
    told = []
    rules = swallow(method="POST", once_per_marker=True, share=0.5), answer_cut(method="POST", share=0.5)
    for number, lag in enumerate((0.0, site.lookup_lag * 0.8)):
        site.provider.set(lag=lag)
        with _played(site, *rules):
            told.append(_loaded(site, Plan(site.targets, max(1, size // 2), site.rate / 2, seed, f"a3.{number}")))
    return summed(told)


def at_once(site: Site, size: int, seed: int) -> Figures:
    """A5: 50 requests with one key at once, in rounds."""
    return _loaded(site, Plan(site.targets, size, 4, seed, "a5", even=True, repeated=1.0, copies=50, after_done=1))


def leavers(site: Site, size: int, seed: int) -> Figures:
    """A8: the caller leaves in the midst; afterwards somebody asks what became of it."""
    plan = Plan(site.targets, size, site.rate / 2, seed, "a8", leave=1.0, leave_after=(0.05, 0.3), retry_floor=1.0)
    with _played(site, latency(0.15, 0.15, method="POST")):
        figures = _loaded(site, plan)
    # Whoever left was received by then; nobody asked again until the create must have been over.
    attempts = read_attempts(site.folder / f"history-a8-{seed}.jsonl")
    second: dict[str, float] = {}
    left: set[str] = set()
    for attempt in attempts:
        if attempt.code == "left":
            left.add(attempt.key)
        else:
            second[attempt.key] = min(second.get(attempt.key, attempt.start), attempt.start)
    applied = {one.marker: one.at for one in read_applied(site.provider.ledger)}
    unfinished = sum(applied.get(key, float("inf")) > second.get(key, float("inf")) for key in left)
    return {**figures, "left": len(left), "unfinished": unfinished}


def stopped(site: Site, size: int, seed: int) -> Figures:
    """A9: a worker that holds keys stands still for twice its lease while their callers repeat elsewhere.

    Keys come in bursts to a slow provider, more of them than a worker may call at once: so there is always one that has
    been claimed and not been sent, which is what a fence is for.
    """
    journal: list[Deed] = []
    seconds = 2 * site.lease
    plan = Plan(
        site.targets, max(16, int(size * (seconds + 1) * 5)), 5, seed, "a9", burst=16, repeated=0.3,
        attempt_seconds=1.0, retry_cap=0.5,
    )  # fmt: skip
    with _played(site, latency(0.5, 0.5, method="POST")), _stopping(site, size, seconds, seed, journal):
        figures = _loaded(site, plan)
    return {**figures, "stops": sum(deed.what == "stop" for deed in journal)}


@contextlib.contextmanager
def _played(site: Site, *rules: Rule) -> Iterator[None]:
    """The proxy goes by these rules while the block lasts."""
    site.proxy.play(*rules)
    try:
        yield
    finally:
        site.proxy.play()


@contextlib.contextmanager
def _stopping(site: Site, times: int, seconds: float, seed: int, journal: list[Deed]) -> Iterator[None]:
    """One worker after another stands still, in a thread of its own."""
    random, over = Random(seed), threading.Event()

    def work() -> None:
        for _ in range(times):
            if over.wait(0.7 + 0.6 * random.random()) or not site.replicas:
                return
            replica = random.choice(site.replicas)
            with standing(replica, random.choice(replica.workers()), journal):
                over.wait(seconds)

    thread = threading.Thread(target=work, name="stopping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _loaded(site: Site, plan: Plan) -> Figures:
    """Run a plan and check its history, which stays in the folder."""
    history = site.folder / f"history-{plan.prefix}-{plan.seed}.jsonl"
    history.unlink(missing_ok=True)
    plan = replace(plan, headers={**site.headers, **plan.headers}, give_up=site.give_up)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told = runner.run(run(plan, history))
    found = findings(site, plan, history)
    return {**found.figures(), "latency_p99_ms": told["latency_p99"], "late_p99_ms": told["late_p99"]}


def findings(site: Site, plan: Plan, history: Path) -> Findings:
    """The checker's word on a plan's history and the ledger's lines of its keys."""
    mine = f"{plan.prefix}-{plan.seed}-"
    applied = [one for one in read_applied(site.provider.ledger) if one.marker is None or one.marker.startswith(mine)]
    return check(read_attempts(history), applied, lag=site.lookup_lag)


def _sent(site: Site, prefix: str, seed: int) -> dict[str, int]:
    """How often each key's create came to the proxy."""
    counts: dict[str, int] = {}
    for line in site.proxy.lines():
        if line["method"] == "POST" and (line["marker"] or "").startswith(f"{prefix}-{seed}-"):
            counts[line["marker"]] = counts.get(line["marker"], 0) + 1
    return counts


SCENARIOS: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        Scenario(
            "A1", "kill -9 of a worker every 2 s, 30 % of keys in parallel on both replicas", 3_000, 100_000, kills
        ),
        Scenario("A2", "the provider applies, the answer is cut", 200, 5_000, cut_answers),
        Scenario("A3", "half is swallowed, half applied and cut, with and without index lag", 100, 2_000, swallowed),
        Scenario("A5", "50 requests with one key at once", 40, 1_000, at_once),
        Scenario("A8", "the caller leaves in the midst", 100, 500, leavers),
        Scenario("A9", "a worker stands still for twice its lease", 3, 50, stopped, {"limits": {"concurrency": 2}}),
        Scenario("D-ryw", "reads through every replica after an answered write", 2_000, 100_000, pairs, MORE),
        Scenario(
            "D-foreign", "20 callers read the same, some leave, workers are killed", 20_000, 1_000_000, foreign, MORE
        ),
    )
}
