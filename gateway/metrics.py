"""What is counted: every metric with its labels and what it says. `/metrics` and the table in the docs are made of these.

    REQUESTS.of("/healthz", "GET", "200").add()     one more; keep what `of` gives where it is asked for often
    BUDGET_LEFT.of("raze").set(12)                  how it stands
    CALL_SECONDS.of("raze").note(0.1)               how long it took

A process counts in one place, whatever runs in it; `share` lets the workers of one server answer for each other.
Labels come from declarations (routes by their template, connections by their configured name), never from what a caller or
a provider sent; beyond `MOST` combinations a metric counts under `other`, so that no input can make it grow.
"""

import json
import time
from bisect import bisect_left
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from gateway.cells import Cells

MOST = 10_000
"""Combinations of labels that one metric tells apart."""
OTHER = "other"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of durations, in seconds."""

_cells = Cells()


class Count:
    """A number that only grows."""

    __slots__ = ("at", "values")

    def __init__(self) -> None:
        self.values, self.at = memoryview(bytearray(8 * (len(BUCKETS) + 2))).cast("d"), 0

    def add(self, by: float = 1.0) -> None:
        """So much more."""
        self.values[self.at] += by


class Level(Count):
    """A number of things that are there now, added up over all workers."""

    __slots__ = ()

    def drop(self) -> None:
        """One less."""
        self.values[self.at] -= 1.0

    def set(self, value: float) -> None:
        """So many in this worker."""
        self.values[self.at] = value


class Latest(Count):
    """How something stands that is the same for all workers: what was said last counts, whoever said it."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It stands so, now."""
        self.values[self.at] = value
        self.values[self.at + 1] = time.monotonic()  # one clock for all processes of a machine


class Spread(Count):
    """How long things took: a count for each of `BUCKETS`, one for what is longer, and the sum."""

    __slots__ = ()

    def note(self, seconds: float) -> None:
        """One more that took so long."""
        values, at = self.values, self.at
        values[at + bisect_left(BUCKETS, seconds)] += 1.0
        values[at + len(BUCKETS) + 1] += seconds


C = TypeVar("C", bound=Count)
Kind = Literal["counter", "gauge", "histogram"]


class Metric(Generic[C]):
    """One metric: its name, what it says, its labels, and a child for each combination of them."""

    def __init__(self, child: type[C], name: str, labels: tuple[str, ...], says: str) -> None:
        self.name = name
        self.labels = labels
        self.says = says
        self.child = child
        self.kind: Kind = "histogram" if child is Spread else "counter" if child is Count else "gauge"
        self.cells = {Count: 1, Level: 1, Latest: 2}.get(child, len(BUCKETS) + 2)
        self.children: dict[tuple[str, ...], C] = {}

    def of(self, *labels: str) -> C:
        """What counts under these labels, in the order in which the metric has them."""
        child = self.children.get(labels)
        if child is not None:
            return child
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {', '.join(self.labels) or 'none'}")
        rest = (OTHER,) * len(labels)
        if len(self.children) >= MOST and labels != rest:
            return self.of(*rest)
        child = self.children[labels] = self.child()
        self.place(child, labels)
        return child

    def place(self, child: C, labels: tuple[str, ...]) -> None:
        """Let the child count in the cells of this process; where there is no more room it counts for nobody."""
        at = _cells.take(json.dumps([self.name, *labels], ensure_ascii=False), self.cells)
        if at is not None:
            child.values, child.at = _cells.values, at


FOLDER = "CRM_GATEWAY_METRICS"
"""The environment variable by which `serve` tells its workers where they count together."""


def share(folder: Path) -> None:
    """Count in this folder from now on, where all that do so are read together. Raises `OSError` when that cannot be.

    What was counted before is told no more, so do this first.
    """
    global _cells
    _cells = Cells(folder)
    for name, (at, size) in _cells.places.items():  # of a worker that is gone
        if METRICS[json.loads(name)[0]].kind == "gauge":
            _cells.values[at : at + size] = memoryview(bytes(8 * size)).cast("d")
    for metric in METRICS.values():
        for labels, child in metric.children.items():
            metric.place(child, labels)


def cells() -> Cells:
    """Where this process counts."""
    return _cells


# --- the metrics ------------------------------------------------------------------------------------------------------

REQUESTS = Metric(
    Count, "crm_gateway_requests_total", ("route", "method", "status"),
    "Requests, by the route's template. `other`: no such route or method, or no HTTP. Status 499: the caller left before "
    "the answer.",
)  # fmt: skip
REQUEST_SECONDS = Metric(
    Spread, "crm_gateway_request_duration_seconds", ("route",),
    "From a request's headers to its answer, the provider's time included.",
)  # fmt: skip
REQUESTS_NOW = Metric(Level, "crm_gateway_requests_in_flight", (), "Requests that are not answered yet.")
CALLS = Metric(
    Count, "crm_gateway_provider_calls_total", ("connection", "operation", "outcome"),
    "Calls to a provider, repeats not counted. Outcome: `ok`, `rejected` (4xx), `limited` (429), `error` (5xx), `stopped` "
    "(ours, before it was sent), `cancelled`, or why there was no answer that can be used.",
)  # fmt: skip
CALL_SECONDS = Metric(
    Spread, "crm_gateway_provider_call_duration_seconds", ("connection",),
    "From a call to its end, with waiting and repeats; only calls of which something was sent.",
)  # fmt: skip
CALLS_NOW = Metric(
    Level, "crm_gateway_provider_calls_in_flight", ("connection",), "Calls that wait for a provider, or for their turn."
)
RETRIES = Metric(Count, "crm_gateway_provider_retries_total", ("connection",), "Tries of a call after its first.")
CIRCUIT = Metric(Latest, "crm_gateway_circuit_state", ("connection",), "0: closed. 1: half-open. 2: open.")
BUDGET_LEFT = Metric(
    Latest, "crm_gateway_provider_budget_left", ("connection",), "Calls left of the provider's rate limit, where known."
)
CACHE = Metric(
    Count, "crm_gateway_cache_reads_total", ("connection", "result"),
    "Reads by what the cache did: `hit`, `miss`, `stale`, `bypass`.",
)  # fmt: skip
DRIFT = Metric(
    Count, "crm_gateway_drift_total", ("connection", "kind"),
    "Places of records that differ from what the adapter declares: `new`, `gone`, `type`. `/v1/connections` names them.",
)  # fmt: skip
KEYED = Metric(
    Count, "crm_gateway_idempotency_total", ("connection", "verdict"),
    "Writes under an Idempotency-Key: `mine` (run), `replay` (answered as before), `in-flight`, `mismatch`, `unknown` "
    "(not sent again), `absent` (found not applied: the key is free again).",
)  # fmt: skip
SETTLED = Metric(
    Count, "crm_gateway_outcomes_settled_total", ("outcome", "by"),
    "Writes of unknown outcome that this server settled: `applied` or `not_applied`, by `look-up` or `operator`. What "
    "`crm-gateway outcomes` settles is counted nowhere: it is a process of its own.",
)  # fmt: skip
UNKNOWN = Metric(
    Latest, "crm_gateway_unknown_writes", (), "Writes whose outcome is unknown now, as `/v1/outcomes` lists them."
)
STATE_ERRORS = Metric(
    Count, "crm_gateway_state_store_errors_total", (), "Times that the state store was asked and did not do it."
)
BLOCKED = Metric(
    Count, "crm_gateway_event_loop_blocked_seconds_total", (),
    "Seconds in which a worker did nothing else, counted where they are more than a twentieth in a row.",
)  # fmt: skip
TASKS = Metric(
    Level,
    "crm_gateway_event_loop_tasks",
    (),
    "Tasks of the workers' event loops, counted once a second: those that wait, too.",
)
WORKERS = Metric(Level, "crm_gateway_workers", (), "Worker processes that run.")
BUILD = Metric(Latest, "crm_gateway_build_info", ("version",), "Always 1: which version runs.")

_ALL: tuple[Metric[Any], ...] = (
    REQUESTS, REQUEST_SECONDS, REQUESTS_NOW, CALLS, CALL_SECONDS, CALLS_NOW, RETRIES, CIRCUIT, BUDGET_LEFT, CACHE, DRIFT,
    KEYED, SETTLED, UNKNOWN, STATE_ERRORS, BLOCKED, TASKS, WORKERS, BUILD,
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ALL}
"""By name, in the order in which they are shown."""
