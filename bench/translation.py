"""Translation alone, in this process: the provider's bytes in, the caller's bytes out. `python -m bench.translation`.

Prints microseconds a record as JSON: of one record by the gateway's own functions and by `bench.typed`, of a list of 100,
and of 100 read one by one and put together, as `ids=` does. Each in short slices, interleaved: the smallest one tells
of the processor's own speed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import configs, typed
from bench.load import MANY
from bench.records import SHAPES, Shape, checker, kind, page_body
from gateway.adapter import ListQuery
from gateway.config import load_config
from gateway.gateway import Gateway
from gateway.http.by_ids import apart, together
from gateway.http.kept import spelled
from gateway.http.running import spare_the_collector
from gateway.opportunities import Ask, Opportunities
from gateway.strict_json import dumps, loads

SLICE = 0.01
_ASK = Ask(0.0)


def one(opportunities: Opportunities, body: bytes) -> bytes:
    """As `Opportunities.get` and the handler do it, from the reply's bytes to the answer's."""
    adapter = opportunities.adapter
    call = adapter.get("x")
    answer = opportunities.answer(opportunities.record_of(adapter.record(loads(body)), call), _ASK)
    return spelled(answer.data, answer.meta)


def listed(opportunities: Opportunities, body: bytes) -> bytes:
    """As a list does it."""
    adapter, query = opportunities.adapter, ListQuery(MANY)
    call = adapter.list(query)
    page = adapter.page(loads(body), query)
    assert page is not None
    reads = [opportunities.record_of(item, call) for item in page.items]
    issues = [issue.body() for read in reads for issue in read.issues()]
    data = [read.opportunity for read in reads]
    return dumps({"data": data, "page": {"next_cursor": None, "limit": MANY}, "meta": {"issues": issues}})


def by_ids(opportunities: Opportunities, bodies: list[bytes]) -> bytes:
    """As `ids=` does it: each on its own, through the bytes that the cache keeps."""
    found = {str(number): apart(one(opportunities, body), plain=True) for number, body in enumerate(bodies)}
    return together(list(found), found, [])


def subjects(opportunities: Opportunities, shape: Shape) -> dict[str, tuple[Callable[[], bytes], int]]:
    """What is measured of a shape: name -> (it, how many records it is)."""
    what = kind(shape)
    body = what.provider_body.encode()
    page = page_body(shape, MANY).encode()
    bodies = [what.provider_body.replace(what.native, native).encode() for native in what.natives(MANY)]
    by_hand = typed.flat if shape == "flat" else typed.wrapped
    return {
        "one": (lambda: one(opportunities, body), 1),
        "msgspec": (lambda: by_hand(body), 1),
        "list": (lambda: listed(opportunities, page), MANY),
        "ids": (lambda: by_ids(opportunities, bodies), MANY),
    }


def slice_of(work: Callable[[], bytes], records: int) -> float:
    """Microseconds of CPU a record, over a hundredth of a second or so."""
    times, started = 0, time.process_time()
    while (taken := time.process_time() - started) < SLICE:
        for _ in range(max(1, 100 // records)):
            work()
        times += max(1, 100 // records)
    return taken / times / records * 1e6


def measure(rounds: int) -> dict[str, list[float]]:
    """`shape name` -> a figure a round."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(str(configs.gateway(Path(folder), configs.FORGETS, 9)), {})
        gateway = Gateway(config, {})
    found: dict[str, list[float]] = {}
    works = {}
    for shape in SHAPES:
        what = kind(shape)
        for name, work in subjects(gateway.on(what.connection), shape).items():
            works[f"{shape} {name}"] = work
            right = checker(shape, direct=False)
            if work[1] == 1 and not right.check(what.native.encode(), b"200", work[0]()):
                raise AssertionError(right.first_wrong)
    for number in range(rounds + 1):
        for name, (run, records) in works.items():
            taken = slice_of(run, records)
            if number:  # the first warms
                found.setdefault(name, []).append(taken)
    return found


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    spare_the_collector()  # as a worker does
    sys.stdout.write(json.dumps(measure(rounds)) + "\n")


if __name__ == "__main__":
    main()
