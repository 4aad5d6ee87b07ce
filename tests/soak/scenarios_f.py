"""Long runs (F): memory, file descriptors and answers over many mixed requests, with and without faults."""

import itertools
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from gateway.strict_json import dumps
from tests.rig.client import request_bytes
from tests.rig.faults import Rule, cut, latency, reset_after, script, swallow
from tests.rig.processes import Replica
from tests.rig.stream import Seen, Stream, run
from tests.soak.plot import Line, svg
from tests.soak.scenarios import Figures, Scenario
from tests.soak.scenarios_b import SPOTT_IDS, Set, started
from tests.soak.site import Ground
from tests.state_server import SAFE, StateServer

PLOT = "plot.svg"
"""What a run leaves in its folder; the report has it beside it."""
RATE = 150.0
QUIET = 18.0
"""Seconds after which no idle connection is kept any more: what is open then is lost."""
WARM = 0.3
"""The share of a run after which its memory is compared."""


@dataclass
class Sample:
    """A process at a moment."""

    at: float
    kib: int
    files: int


@dataclass
class Watch:
    """Samples each worker's memory and file descriptors once a second while the block lasts."""

    replicas: Sequence[Replica]
    every: float = 1.0
    samples: dict[int, list[Sample]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        began = time.monotonic()
        pids = [pid for replica in self.replicas for pid in replica.workers()]
        while not self._over.wait(self.every):
            for pid in pids:
                try:
                    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4
                    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                except OSError:
                    continue
                self.samples.setdefault(pid, []).append(Sample(time.monotonic() - began, resident, files))

    def figures(self) -> Figures:
        """How much each grew after the warm-up, the worst of all: a share of its memory, and descriptors."""
        growth, files, highest = 0.0, 0.0, 0.0
        for those in self.samples.values():
            warm = those[int(len(those) * WARM) :]
            third = max(1, len(warm) // 3)
            first, last = warm[:third], warm[-third:]
            growth = max(growth, _mean([one.kib for one in last]) / _mean([one.kib for one in first]) - 1)
            files = max(files, _mean([one.files for one in last]) - _mean([one.files for one in first]))
            highest = max(highest, max(one.kib for one in those) / 1024)
        return {
            "processes": len(self.samples), "memory_growth": max(0.0, growth), "files_growth": max(0.0, files),
            "highest_mib": highest,
            "slope_kib_a_minute": max((_slope(those) for those in self.samples.values()), default=0),
        }  # fmt: skip

    def lines(self) -> list[Line]:
        """For the plot."""
        return [
            Line(f"worker {number}", [(one.at, one.kib / 1024) for one in those])
            for number, those in enumerate(self.samples.values(), 1)
        ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _slope(samples: Sequence[Sample]) -> float:
    """KiB a minute after the warm-up, by least squares."""
    warm = samples[int(len(samples) * WARM) :]
    if len(warm) < 2:
        return 0.0
    x, y = _mean([one.at for one in warm]), _mean([one.kib for one in warm])
    spread = sum((one.at - x) ** 2 for one in warm)
    return 60 * sum((one.at - x) * (one.kib - y) for one in warm) / spread


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


def _files(replicas: Sequence[Replica]) -> dict[int, int]:
    """File descriptors that each process has open now."""
    return {
        pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for replica in replicas for pid in replica.workers()
    }  # fmt: skip


def _run(ground: Ground, at: Set, size: int, seed: int, expected: frozenset[str]) -> Figures:
    requests = _mixed(at, seed)
    run(Stream("warm", at.urls, requests[:500], rate=RATE, count=min(500, size)))
    quiet = QUIET if size >= 1000 else 0.0
    time.sleep(quiet)
    before = _files(at.replicas)
    with Watch(at.replicas) as watch:
        seen = run(Stream("mixed", at.urls, requests, rate=RATE, count=size))["mixed"]
    time.sleep(quiet)
    after = _files(at.replicas)
    (ground.folder / "codes.json").write_text(json.dumps(seen.codes))
    left = max((after.get(pid, 0) - count for pid, count in before.items()), default=0)
    figures = {**_told(seen, expected), **watch.figures(), "files_left": max(0, left)}
    figures["unhandled"] += ground.unhandled()
    (ground.folder / PLOT).write_text(svg("Memory of each worker, MiB by seconds", watch.lines()), encoding="utf-8")
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
    return Scenario(name, sentence, 3_000, 1_000_000, work, alone=True, most={"memory_growth": 0.05, "files_left": 4})


SCENARIOS: Mapping[str, Scenario] = {
    one.name: one
    for one in (
        _row("F", "mixed requests", mixed),
        _row("F-faults", "mixed requests, 5 % of the provider's exchanges fail", with_faults),
        _row("F-store", "mixed requests, the state store is away half of the time", store_failing),
    )
}
