"""The metrics of all workers as Prometheus reads them (text format 0.0.4)."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.cells import readings
from gateway.metrics import BUCKETS, METRICS, Latest, Level, Metric, cells

MEDIA = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]


def exposition() -> bytes:
    """Every metric with what all workers together have counted."""
    found = collected()
    lines = []
    for metric in METRICS.values():
        lines += [f"# HELP {metric.name} {_help(metric.says)}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, values in sorted(found.get(metric.name, {}).items()):
            lines += _samples(metric, labels, values)
    return ("\n".join(lines) + "\n").encode()


def collected() -> dict[str, dict[Labels, list[float]]]:
    """Metric -> labels -> cells, added up over all workers; of what stands the same for all, the latest."""
    found: dict[str, dict[Labels, list[float]]] = {}
    for reading in readings(cells()):
        name, *labels = json.loads(reading.name)
        if name not in METRICS:
            continue  # of a worker that another version left behind
        child = METRICS[name].child
        if child is Level and not reading.alive:
            continue  # nothing is there any more in a worker that is gone
        series = found.setdefault(name, {})
        known = series.get(tuple(labels))
        if known is None:
            series[tuple(labels)] = [*reading.values]
        elif child is not Latest:
            known[:] = map(sum, zip(known, reading.values, strict=True))
        elif reading.values[1] > known[1]:
            known[:] = reading.values
    return found


def _samples(metric: Metric[Any], labels: Labels, values: Sequence[float]) -> Iterator[str]:
    told = [f'{name}="{_value(value)}"' for name, value in zip(metric.labels, labels, strict=True)]
    if metric.kind != "histogram":
        if metric.child is not Latest or values[1]:  # never set: nothing is known
            yield _sample(metric.name, told, values[0])
        return
    count = 0.0
    for bound, inside in zip((*BUCKETS, math.inf), values, strict=False):
        count += inside
        yield _sample(f"{metric.name}_bucket", [*told, f'le="{_number(bound)}"'], count)
    yield _sample(f"{metric.name}_sum", told, values[-1])
    yield _sample(f"{metric.name}_count", told, count)


def _sample(name: str, labels: Sequence[str], value: float) -> str:
    return f"{name}{{{','.join(labels)}}} {_number(value)}" if labels else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _value(text: str) -> str:
    return _help(text).replace('"', '\\"')


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
