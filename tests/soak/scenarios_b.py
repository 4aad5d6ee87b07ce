"""Retries, limits, drain (B) and whatever a provider sends (C): rows as functions of a ground, a size and a seed.

What is about time is measured beside an idle control run on the same machine, in the same gateway where that is possible,
and told as a ratio to it.
"""

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from random import Random
from typing import Any

from adapters.spott import sandbox_seeds
from gateway.callers import hash_key
from gateway.strict_json import dumps
from tests.kinds.all import KINDS
from tests.kinds.asking import CELLS, Caller, Cell, config_of
from tests.kinds.provider import SPEAKERS, Provider
from tests.live import JSON, ask
from tests.operating import Load, Server, until
from tests.rig.client import request_bytes
from tests.rig.config import config_text
from tests.rig.faults import Rule, black_hole, latency, slow_close
from tests.rig.lateness import Lateness
from tests.rig.processes import Part, Replica
from tests.rig.stream import Seen, Stream, run
from tests.soak.scenarios import Figures, Scenario
from tests.soak.site import Ground, valkey

SPOTT_IDS = [str(seed.record["id"]) for seed in sandbox_seeds.seeds()]
OFF: Mapping[str, Any] = {"circuit": "off", "cache": {"ttl": "0s"}}


@dataclass
class Set:
    """A provider of each kind behind a proxy of its own, and replicas before them."""

    raze: Part
    spott: Part
    to_raze: Part
    to_spott: Part
    replicas: list[Replica]
    ids: list[str]
    """Of records at raze."""

    @property
    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    def reads(self, connection: str = "raze", **headers: str) -> list[bytes]:
        """Requests for the records of a connection."""
        ids = self.ids if connection == "raze" else SPOTT_IDS
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return [request_bytes("GET", f"/v1/opportunities/{connection}:{id_}", told) for id_ in ids]


def started(ground: Ground, more: Mapping[str, Any], *, timeout: str = "2s", replicas: int = 0, workers: int = 0,
            headers: Mapping[str, str] | None = None, records: int = 20, state: str = "") -> Set:  # fmt: skip
    """Providers, proxies and replicas, with some records in raze."""
    rig = ground.rig
    raze, spott = rig.stand_in("getraze"), rig.stand_in("spott")
    to_raze, to_spott = rig.proxy(raze.port), rig.proxy(spott.port)
    text = config_text(
        getraze=to_raze.url, spott=to_spott.url, timeout=timeout,
        state=state or f"sqlite:///{ground.folder / 'state.db'}", more=more,
    )  # fmt: skip
    gateways = [rig.gateway(text, workers or ground.workers) for _ in range(replicas or ground.replicas)]
    ids = []
    for number in range(records):
        body = dumps({"name": f"Deal {number}"})
        made = ask(f"{gateways[0].url}/v1/opportunities", "POST", {**JSON, **(headers or {})}, body)
        assert made.status == 201, made.body
        ids.append(str(made.data["native_id"]))
    return Set(raze, spott, to_raze, to_spott, gateways, ids)


@contextlib.contextmanager
def _played(proxy: Part, *rules: Rule) -> Iterator[None]:
    proxy.play(*rules)
    try:
        yield
    finally:
        proxy.play()


def _calls(provider: Part) -> int:
    told: int = provider.counters()["total"]
    return told


def amplified(ground: Ground, size: int, seed: int) -> Figures:
    """B2: the provider answers 503 to everything for `size` seconds."""
    at = started(ground, OFF)
    at.raze.set(status=503)
    before = _calls(at.raze)
    seen = run(Stream("reads", at.urls, at.reads(), rate=100, seconds=size))["reads"]
    asked = _calls(at.raze) - before
    at.raze.set(status=0)
    after = run(Stream("after", at.urls, at.reads(), rate=50, seconds=2))["after"]
    return {
        "requests": seen.total, "calls": asked, "amplification": asked / seen.total, "failed": seen.total - seen.count(502),
        "no_problem_json": seen.codes["unreadable"], "after_share": after.share(200), "unhandled": ground.unhandled(),
    }  # fmt: skip


def stalled(ground: Ground, size: int, seed: int) -> Figures:
    """B4: 0.9 s, half a head, then a stall; the deadline is 1 s. The control run asks one by one, 60 times at most.

    What is held against the deadline itself is the control's median: the machine has no part in that, a deadline that
    begins anew has.
    """
    at = started(ground, OFF, timeout="1s")
    stall = Rule("stall", forward=False, script=(0.9, "HTTP/1.1 200 OK\r\nContent-"), end="silence", method="GET")
    with _played(at.to_raze, stall):
        control = run(Stream("control", at.urls, at.reads(), clients=1, count=min(60, max(2, size // 20))))["control"]
        seen = run(Stream("reads", at.urls, at.reads(), rate=100, count=size))["reads"]
    return {
        "requests": seen.total, "failed": seen.total - seen.count(504), "no_problem_json": seen.codes["unreadable"],
        "p999_ms": seen.p(0.999), "control_p999_ms": control.p(0.999),
        "control_beyond_deadline_ms": max(0.0, control.p(0.5) - 1000), "ratio_p999": seen.p(0.999) / control.p(0.999),
        "unhandled": ground.unhandled(),
    }  # fmt: skip


def black_holed(ground: Ground, size: int, seed: int) -> Figures:
    """B5: raze is a black hole for `size` seconds; spott has the same load before and meanwhile."""
    open_seconds = 2.0
    at = started(ground, {"cache": {"ttl": "0s"}, "circuit": {"failures": 10, "open": "2s"}}, timeout="1s")
    spott = Stream("spott", at.urls, at.reads("spott"), rate=50, seconds=size)
    raze = Stream("raze", at.urls, at.reads(), rate=100, seconds=size)
    idle = run(spott, raze)
    with _played(at.to_raze, black_hole()):
        # Until each worker knows.
        run(Stream("first", at.urls, at.reads(), rate=50, seconds=min(4, 2 * size)))
        dead = run(spott, raze)
    began = time.monotonic()
    until(lambda: ask(f"{at.urls[0]}/v1/opportunities/raze:{at.ids[0]}").status == 200, 30)
    back = time.monotonic() - began
    fast = dead["raze"].p(0.99)
    return {
        "requests": dead["spott"].total, "failed": dead["spott"].total - dead["spott"].count(200),
        "spott_p99_ms": dead["spott"].p(0.99), "control_p99_ms": idle["spott"].p(0.99),
        "ratio_p99": dead["spott"].p(0.99) / idle["spott"].p(0.99),
        "dead_requests": dead["raze"].total, "dead_slow": dead["raze"].slower(50), "dead_p99_ms": fast,
        "dead_fast_share": dead["raze"].share(503), "ratio_dead": fast / idle["raze"].p(0.99),
        "back_seconds": back, "back_late": max(0.0, back - open_seconds - 1.0),
        "no_problem_json": dead["raze"].codes["unreadable"], "unhandled": ground.unhandled(),
    }  # fmt: skip


def flooded(ground: Ground, size: int, seed: int) -> Figures:
    """B6: one caller floods with 100 clients for `size` seconds, another one goes on at its rate."""
    callers = [
        {
            "name": name,
            "key_sha256": hash_key(f"key-of-{name}"),
            "scopes": ["opportunities:read", "opportunities:write"],
        }
        for name in ("loud", "quiet")
    ]
    more = {**OFF, "callers": callers, "limits": {"per_caller": 8, "concurrency": 32}}
    at = started(ground, more, headers={"X-API-Key": "key-of-quiet"})
    at.to_raze.play(latency(0.05))
    quiet = Stream("quiet", at.urls, at.reads(X_API_Key="key-of-quiet"), rate=30, seconds=size)
    idle = run(quiet)["quiet"]
    loud = Stream("loud", at.urls, at.reads(X_API_Key="key-of-loud"), clients=100, seconds=size)
    seen = run(quiet, loud)
    return {
        "quiet": seen["quiet"].total, "quiet_share": seen["quiet"].share(200), "loud": seen["loud"].total,
        "loud_429": seen["loud"].count(429), "loud_else": seen["loud"].total - seen["loud"].count(200, 429),
        "quiet_p99_ms": seen["quiet"].p(0.99), "control_p99_ms": idle.p(0.99),
        "ratio_p99": seen["quiet"].p(0.99) / idle.p(0.99),
        "no_problem_json": seen["loud"].codes["unreadable"], "unhandled": ground.unhandled(),
    }  # fmt: skip


def twice_the_capacity(ground: Ground, size: int, seed: int) -> Figures:
    """B7: what a worker with 8 slots before a provider of 100 ms can do, then twice that, then half for 8 s at most.

    Four calls wait for each slot, so half a second in all: who is served after much longer stood in a queue that grows.
    """
    at = started(ground, {**OFF, "limits": {"concurrency": 8, "per_caller": 1000}}, replicas=1, workers=1)
    at.to_raze.play(latency(0.1))
    peak = run(Stream("peak", at.urls, at.reads(), clients=16, seconds=size))["peak"]
    most = peak.count(200) / peak.seconds
    alone = run(Stream("control", at.urls, [request_bytes("GET", "/v1/none", {})], rate=20, seconds=min(2, size)))[
        "control"
    ]
    over = run(Stream("over", at.urls, at.reads(), rate=2 * most, seconds=size))["over"]
    began = time.monotonic()
    after = run(Stream("after", at.urls, at.reads(), rate=most / 2, seconds=min(8, 2 * size)))["after"]
    bad = [when for when, status in after.ends if status != 200]
    good = over.count(200) / over.seconds
    return {
        "peak_a_second": most, "goodput_share": good / most, "shed": over.count(503, 429), "total": over.total,
        "else": over.total - over.count(200, 503, 429), "shed_p50_ms": over.p(0.5, 503, 429),
        "shed_p99_ms": over.p(0.99, 503, 429),
        "served_p99_ms": over.p(0.99, 200), "control_p99_ms": alone.p(0.99),
        "ratio_shed": over.p(0.99, 503, 429) / alone.p(0.99),
        "recovery_seconds": max(bad, default=began) - began, "no_problem_json": over.codes["unreadable"],
        "unhandled": ground.unhandled(),
    }  # fmt: skip


def idle_closes(ground: Ground, size: int, seed: int) -> Figures:
    """B9: the provider closes each connection a moment after its answer; `size` reads."""
    at = started(ground, OFF)
    at.to_raze.play(*(slow_close(wait, every=3) for wait in (0.0, 0.002, 0.01)))
    seen = run(Stream("reads", at.urls, at.reads(), rate=150, count=size))["reads"]
    return {
        "requests": seen.total, "failed": seen.total - seen.count(200),
        "connections": at.to_raze.counters()["connections"], "unhandled": ground.unhandled(),
    }  # fmt: skip


def restarted(ground: Ground, size: int, seed: int) -> Figures:
    """B10: `size` rolling restarts under 200 clients (a tenth of them in small sizes)."""
    clients = 200 if size >= 20 else 20
    raze = ground.rig.stand_in("getraze", latency=0.05)
    text = config_text(getraze=raze.url, state=f"sqlite:///{ground.folder / 'state.db'}", more=OFF)
    (ground.folder / "config.yaml").write_text(text)
    with contextlib.ExitStack() as stack:

        def start(turn: int, port: int = 0) -> Server:
            name = ("gateway-one", "gateway-two")[turn]
            arguments = ("--workers", str(ground.workers), "--drain-seconds", "1", "--pid-file", f"{name}.pid")
            return stack.enter_context(Server(ground.folder, *arguments, port=port, name=name))

        pair = [start(0), start(1)]
        ask(f"{pair[0].url}/v1/opportunities", "POST", JSON, dumps({"name": "Deal"}))
        records = ask(f"{pair[0].url}/v1/opportunities").json["data"]
        target = f"/v1/opportunities/{records[0]['id']}"
        traces = 0
        with Load([one.port for one in pair], clients, target) as load:
            for turn in range(size):
                before = load.answers
                until(lambda before=before: load.answers > before + clients)  # type: ignore[misc]  # bound now
                old = pair[turn % 2]
                traces += old.stop() != 0
                pair[turn % 2] = start(turn % 2, old.port)
                assert pair[turn % 2].url == old.url, old.log
        traces += sum(one.log.count("Traceback") for one in pair)
    return {
        "restarts": size, "clients": clients, "answers": load.answers, "cut_requests": len(load.cut),
        "failed": load.answers - load.statuses.get(200, 0), "unhandled": traces,
    }  # fmt: skip


def _budgeted(ground: Ground, size: int, state: str = "") -> Figures:
    """`size` reads by 20 callers of what may be called 100 times in ten seconds."""
    calls, per = 100, 10.0
    raze = ground.rig.stand_in("getraze", budget=calls, per=per)
    tree = json.loads(json.dumps({
        "default_connection": "raze", "state": state or f"sqlite:///{ground.folder / 'state.db'}", "circuit": "off",
        "cache": {"ttl": "0s"},
        "connections": {"raze": {
            "provider": "getraze", "base_url": raze.url + "/external/v1", "api_key": "key-of-the-rig", "timeout": "2s",
            "budget": {"calls": calls, "per": f"{per:g}s"}, "settings": {"dialect": "documented"}}},
        "callers": [{"name": f"caller{n}", "key_sha256": hash_key(f"key-{n}")} for n in range(20)],
    }))  # fmt: skip
    text = json.dumps(tree)  # which is YAML too
    urls = [ground.rig.gateway(text, ground.workers).url for _ in range(ground.replicas)]
    reads = [
        request_bytes("GET", f"/v1/opportunities/opp_{number}", {"X-API-Key": f"key-{number % 20}"})
        for number in range(100)
    ]
    seen = run(Stream("reads", urls, reads, rate=50, count=size))["reads"]
    windows = int(seen.seconds // per) + 2
    counted = raze.counters()
    return {
        "requests": seen.total, "calls": counted["total"], "over_budget": counted["over_budget"],
        "spent_share": counted["total"] / min(calls * windows, size), "told_429": seen.count(429),
        "failed": seen.total - seen.count(404, 429), "no_problem_json": seen.codes["unreadable"],
        "unhandled": ground.unhandled(),
    }  # fmt: skip


def budgeted(ground: Ground, size: int, seed: int) -> Figures:
    """B11: over one SQLite file."""
    return _budgeted(ground, size)


def budgeted_on_machines(ground: Ground, size: int, seed: int) -> Figures:
    """B11: over one Valkey."""
    return _budgeted(ground, size, ground.rig.state_server(lambda: valkey(ground.folder)))


def garbage(ground: Ground, size: int, seed: int) -> Figures:
    """C: every kind by every method from every provider, in an order of the seed's, until `size` of them have been asked.

    A request may take its deadline and 0.1 s; how late the machine itself was is not held against the gateway, and told.
    """
    lanes = 8
    with Provider(KINDS) as provider:
        replica = ground.rig.gateway(config_of(provider, lanes), 1)
        caller = Caller(replica.url, provider)
        free: Mapping[str, SimpleQueue[str]] = {speaker: SimpleQueue() for speaker in SPEAKERS}
        for speaker, lane in itertools.product(SPEAKERS, range(lanes)):
            free[speaker].put(f"{speaker}{lane}")

        def work(cell: Cell) -> Sequence[str]:
            connection = free[cell.speaker].get()
            try:
                return caller.check(cell, connection)
            finally:
                free[cell.speaker].put(connection)

        rounds = [Random(seed + number).sample(CELLS, len(CELLS)) for number in range(1 + size // len(CELLS))]
        cells = itertools.islice(itertools.chain.from_iterable(rounds), size)
        with ThreadPoolExecutor(lanes) as pool, Lateness() as late:
            wrong = [one for found in pool.map(work, cells) for one in found]
        if wrong:
            (ground.folder / "wrong.txt").write_text("\n".join(wrong))
            print(*wrong[:5], sep="\n", file=sys.stderr)  # noqa: T201  # a folder that nobody named is gone with the run
        return {
            "kinds": len(KINDS), "requests": 2 * size, "wrong": len(wrong), "reused": len(provider.reused),
            "stray": len(provider.strays), "beyond_deadline_ms": caller.slowest * 1000,
            "machine_late_ms": late.worst * 1000, "beyond_both_ms": max(0.0, caller.slowest - late.worst) * 1000,
            "unhandled": ground.unhandled(),
        }  # fmt: skip


def _row(name: str, sentence: str, slice_: int, whole: int, work: Any, **bounds: Mapping[str, float]) -> Scenario:
    return Scenario(name, sentence, slice_, whole, work, alone=True, **bounds)


SCENARIOS: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        _row("B2", "the provider answers 503 to everything, for so many seconds", 12, 60, amplified,
             most={"amplification": 1.2}, least={"after_share": 1.0}),
        _row("B4", "0.9 s, then a stall, the deadline being 1 s", 200, 5_000, stalled,
             most={"ratio_p999": 1.05, "control_beyond_deadline_ms": 50}),
        _row("B5", "one of two providers is a black hole, for so many seconds", 5, 60, black_holed,
             most={"ratio_p99": 1.2, "dead_p99_ms": 50, "back_late": 0}, least={"dead_fast_share": 0.9}),
        _row("B6", "one caller floods, for so many seconds", 5, 30, flooded, least={"quiet_share": 0.999, "loud_429": 1}),
        _row("B7", "twice the capacity of one worker, for so many seconds", 5, 30, twice_the_capacity,
             most={"shed_p99_ms": 20, "served_p99_ms": 800, "recovery_seconds": 5}, least={"goodput_share": 0.9}),
        _row("B9", "the provider closes idle connections under us", 1_000, 10_000, idle_closes),
        _row("B10", "rolling restarts under load", 3, 20, restarted),
        _row("B11", "a budget of 100 calls in 10 s, 20 callers, two replicas over one file", 600, 3_000, budgeted,
             least={"spent_share": 0.6}),
        _row("B11-valkey", "the same over one Valkey, as on two machines", 600, 3_000, budgeted_on_machines,
             least={"spent_share": 0.6}),
        _row("C", "every kind of garbage by every method from every provider, 8 at once; one worker", len(CELLS),
             8 * len(CELLS), garbage, most={"beyond_both_ms": 100}),
    )
}  # fmt: skip

__all__ = ["SCENARIOS", "Seen"]
