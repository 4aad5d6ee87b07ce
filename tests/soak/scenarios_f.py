"""Long runs (F): memory, descriptors, tasks and answers over many mixed requests, with and without faults."""

import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from gateway.strict_json import dumps
from tests.rig.client import request_bytes
from tests.rig.faults import Rule, cut, latency, reset_after, script, swallow
from tests.rig.stream import Seen, Stream, run
from tests.soak.plot import svg
from tests.soak.scenarios import Figures, Scenario
from tests.soak.scenarios_b import SPOTT_IDS, Set, started
from tests.soak.site import Ground
from tests.soak.watch import Watch
from tests.state_server import SAFE, StateServer

PLOT = "plot.svg"
"""What a run leaves in its folder; the report has it beside it."""
RATE = 300.0
"""A second, where none is told."""
QUIET = 18.0
"""Seconds after which no idle connection is kept any more: what is open then is lost."""


def _mixed(at: Set, seed: int, many: int = 2000) -> list[bytes]:
    """Reads, lists, creates with and without keys, updates, mistakes of callers: all different where they can be."""
    random, serial, found = Random(seed), itertools.count(), []

    def write(method: str, path: str, body: Any, **headers: str) -> bytes:
        return request_bytes(method, path, {"Content-Type": "application/json", **headers}, dumps(body))

    for _ in range(many):
        number, draw = next(serial), random.random()
        if draw < 0.45:
            connection = random.choice(("raze", "spott"))
            id_ = random.choice(at.ids if connection == "raze" else SPOTT_IDS)
            found.append(request_bytes("GET", f"/v1/opportunities/{connection}:{id_}", {}))
        elif draw < 0.6:
            found.append(request_bytes("GET", f"/v1/opportunities?limit={1 + number % 20}", {}))
        elif draw < 0.65:
            found.append(request_bytes("GET", f"/v1/opportunities/raze:opp_none{number}", {}))
        elif draw < 0.8:
            key = {"Idempotency-Key": f'"f-{seed}-{number}"'} if number % 2 else {}
            found.append(write("POST", "/v1/opportunities", {"name": f"Deal k-f-{seed}-{number}"}, **key))
        elif draw < 0.95:
            found.append(write("PATCH", f"/v1/opportunities/raze:{random.choice(at.ids)}", {"name": f"Deal {number}"}))
        else:
            found.append(write("POST", "/v1/opportunities", {"name": number}))
    return found


FAULTS: Sequence[Rule] = (
    swallow(share=0.01), reset_after(share=0.01), cut(60, share=0.01), latency(0.3, share=0.01),
    script(["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{\"a\":}"], end="close", share=0.005),
    script(["garbage\r\n\r\n"], end="close", share=0.005),
)  # fmt: skip
_INJECTED = frozenset({"provider-timeout", "provider-bad-answer", "provider-error", "provider-unavailable"})
_CALLERS = frozenset({"not-found", "invalid-opportunity", "idempotency-in-flight"})


def _told(seen: Seen, expected: frozenset[str]) -> Figures:
    return {
        "requests": seen.total, "answers_a_second": seen.total / seen.seconds,
        "errors_injected": sum(seen.codes[code] for code in expected),
        "unhandled": seen.codes["internal-error"],
        "no_problem_json": seen.codes["unreadable"],
        "failed": sum(seen.codes.values()) - sum(seen.codes[code] for code in expected | _CALLERS)
        - seen.codes["unreadable"] - seen.codes["internal-error"],
    }  # fmt: skip


def _run(ground: Ground, at: Set, size: int, seed: int, expected: frozenset[str]) -> Figures:
    requests, rate = _mixed(at, seed), ground.rate or RATE
    watch = Watch(at.replicas)
    run(Stream("warm", at.urls, requests[:500], rate=rate, count=min(500, 1 + size // 4)))
    with watch.nothing_left(QUIET if size >= 1000 else 1.0), watch:
        seen = run(Stream("mixed", at.urls, requests, rate=rate, count=size))["mixed"]
    (ground.folder / "codes.json").write_text(json.dumps({**seen.codes, "no problems": seen.unreadable}))
    figures = {**_told(seen, expected), **watch.figures()}
    figures["unhandled"] += ground.unhandled()
    (ground.folder / PLOT).write_text(svg(*watch.panels()), encoding="utf-8")
    return figures


def mixed(ground: Ground, size: int, seed: int) -> Figures:
    """F: no faults."""
    return _run(ground, started(ground, {"circuit": "off"}), size, seed, frozenset())


def with_faults(ground: Ground, size: int, seed: int) -> Figures:
    """F: one in twenty of the provider's exchanges fails."""
    at = started(ground, {"circuit": "off"})
    at.to_raze.play(*FAULTS)
    at.to_spott.play(*FAULTS)
    return _run(ground, at, size, seed, _INJECTED)


def store_failing(ground: Ground, size: int, seed: int) -> Figures:
    """F: the state store is away half of the time."""
    place = ground.folder / "valkey"
    place.mkdir()
    server = StateServer(place, **SAFE)
    server.start()
    over = threading.Event()

    def toggle() -> None:
        while not over.wait(1.0):
            server.stop()
            over.wait(1.0)
            server.start()

    try:
        at = started(ground, {"circuit": "off"}, state=server.url)
        thread = threading.Thread(target=toggle, name="toggle", daemon=True)
        thread.start()
        figures = _run(ground, at, size, seed, _INJECTED | {"state-store-unavailable"})
        over.set()
        thread.join()
    finally:
        server.stop()
    return figures


def _row(name: str, sentence: str, work: Any) -> Scenario:
    return Scenario(name, sentence, 3_000, 200_000, work, alone=True, most=FLAT)


FLAT = {"memory_growth": 0.05, "files_left": 4, "tasks_growth": 8, "tasks_left": 2}
"""Bounds. How many tasks there are goes up and down with the requests under way; what is left in the end does not."""

SCENARIOS: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        _row("F", "mixed requests", mixed),
        _row("F-faults", "mixed requests, 5 % of the provider's exchanges fail", with_faults),
        _row("F-store", "mixed requests, the state store is away half of the time", store_failing),
    )
}
