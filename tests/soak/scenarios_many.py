"""F: a hundred thousand different keys, ids, headers, methods and paths: none of them may stay in a map or a label.

Callers are configured, and so are connections: what anybody can send without end are names that are unknown.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.callers import hash_key
from gateway.strict_json import dumps
from tests.live import ask
from tests.rig.client import request_bytes
from tests.rig.stream import Stream, run
from tests.soak.plot import svg
from tests.soak.scenarios import Figures, Scenario
from tests.soak.scenarios_b import started
from tests.soak.scenarios_f import FLAT, PLOT, QUIET
from tests.soak.site import Ground
from tests.soak.watch import Watch

KNOWN = "key-of-the-one-who-is-known"
WARM = 1000
RATE = 500.0
"""A second, where none is told."""
MORE: Mapping[str, Any] = {
    "circuit": "off",
    "cache": {"max_bytes": "256KiB"},  # so that it is full early on, and memory shows what else grows
    "idempotency": {"lookup_lag": "0s"},
    "callers": [
        {"name": "known", "key_sha256": hash_key(KNOWN), "scopes": ["opportunities:read", "opportunities:write"]}
    ],
}
_METHODS = ("DELETE", "PUT", "OPTIONS", "PROPFIND")
_EXPECTED = frozenset(
    {"unauthenticated", "not-found", "method-not-allowed", "invalid-request", "idempotency-in-flight"}
)


def strangers(first: int, count: int) -> Iterator[bytes]:
    """Requests of which each carries a word of its own wherever a word can be."""
    for number in range(first, first + count):
        word = f"w{number}"
        key = KNOWN if number % 4 else f"key-{word}"
        headers = {
            "X-API-Key": key, "X-Request-Id": word, "User-Agent": word, f"X-{word}": word,
            "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01", "Idempotency-Key": f'"{word}"',
        }  # fmt: skip
        shape = number // 4 % 5
        if shape == 0:
            yield request_bytes("GET", f"/v1/opportunities/raze:opp_{word}", headers)
        elif shape == 1:
            body = dumps({"name": f"Deal {word}"})
            yield request_bytes("POST", "/v1/opportunities", {"Content-Type": "application/json", **headers}, body)
        elif shape == 2:
            yield request_bytes("GET", "/v1/opportunities", {**headers, "X-CRM-Connection": word})
        elif shape == 3:
            yield request_bytes(_METHODS[number % len(_METHODS)], f"/v1/{word}", headers)
        else:
            yield request_bytes("GET", f"/v1/opportunities/{word}:x?{word}={word}", headers)


def pages(url: str) -> tuple[int, int]:
    """(combinations of labels, bytes) of `/metrics`; a histogram's buckets are one."""
    ask(f"{url}/metrics")  # which counts, too
    body = ask(f"{url}/metrics").body
    names = {re.sub(rb',?le="[^"]*"', b"", line.rpartition(b" ")[0]) for line in body.splitlines() if line[:1] != b"#"}
    return len(names), len(body)


def many(ground: Ground, size: int, seed: int) -> Figures:
    """`size` requests each unlike all others, after a thousand of the same shapes."""
    at = started(ground, MORE, headers={"X-API-Key": KNOWN})
    first, rate, warm = seed * 10**7, ground.rate or RATE, min(WARM, 1 + size // 2)
    run(Stream("warm", at.urls, list(strangers(first, warm)), rate=rate, count=warm))
    before = [pages(url) for url in at.urls]
    watch = Watch(at.replicas)
    with watch.nothing_left(QUIET if size >= 1000 else 1.0), watch:
        requests = list(strangers(first + WARM, size))
        seen = run(Stream("many", at.urls, requests, rate=rate, count=size))["many"]
    after = [pages(url) for url in at.urls]
    (ground.folder / PLOT).write_text(svg(*watch.panels()), encoding="utf-8")
    both = list(zip(before, after, strict=True))
    return {
        "requests": seen.total, "answers_a_second": seen.total / seen.seconds, "served": seen.count(200, 201),
        "combinations_before": max(labels for labels, _ in before), "combinations": max(labels for labels, _ in after),
        "combinations_growth": max(new[0] - old[0] for old, new in both),
        "page_bytes_before": max(size for _, size in before), "page_bytes": max(size for _, size in after),
        "page_growth": max(new[1] / old[1] - 1 for old, new in both),
        "failed": sum(many for code, many in seen.codes.items() if code not in _EXPECTED | {"unreadable"}),
        "no_problem_json": seen.codes["unreadable"], **watch.figures(), "unhandled": ground.unhandled(),
    }  # fmt: skip


SCENARIOS: Mapping[str, Scenario] = {
    "F-many": Scenario(
        "F-many", "requests with a key, id, connection, path and header each that nobody sent before; callers being "
        "configured, what can be sent without end are unknown ones", 3_000, 100_000, many, alone=True,
        most={**FLAT, "combinations_growth": 4, "page_growth": 0.1},
    )
}  # fmt: skip
