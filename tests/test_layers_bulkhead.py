"""Slots are shared fairly, waiting is bounded, what is too much is refused at once: for a connection and a worker."""

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.callers import hash_key
from gateway.errors import NeverSent, Problem
from gateway.http.load import Load
from gateway.slots import Slots
from tests.at_provider import GET, connected, outcome_of, reply_of, soon
from tests.fault_server import READ, FaultServer, Loop, answer
from tests.live import Answer, Says, Seen, StandIn, ask, assert_problem, running_gateway

RECORD = '{"success": true, "data": {"id": "opp_1", "name": "x"}}'

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def taken(slots: Slots, caller: str, order: list[str], seconds: float = 5.0) -> None:
    await slots.take(caller, soon(seconds))
    order.append(caller)


async def test_a_free_slot_goes_to_the_callers_in_turn() -> None:
    slots, order = Slots(1, waiting=20), list[str]()
    await slots.take("first", soon(5))
    flood = [asyncio.create_task(taken(slots, "loud", order)) for _ in range(10)]
    await asyncio.sleep(0)
    quiet = [asyncio.create_task(taken(slots, name, order)) for name in ("quiet", "other", "quiet")]
    await asyncio.sleep(0)
    for _ in range(13):
        slots.give()
        await asyncio.sleep(0)
    await asyncio.gather(*flood, *quiet)
    assert order[:5] == ["loud", "quiet", "other", "loud", "quiet"] and order[5:] == ["loud"] * 8


async def test_a_full_queue_lets_go_of_the_last_call_of_whoever_has_most() -> None:
    slots, order = Slots(1, waiting=4), list[str]()
    await slots.take("first", soon(5))
    flood = [asyncio.create_task(taken(slots, "loud", order)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(NeverSent, match="full"):
        await slots.take("loud", soon(5))
    quiet = asyncio.create_task(taken(slots, "quiet", order))
    await asyncio.sleep(0)
    assert [task.done() for task in flood] == [False, False, False, False] or flood[3].done()
    await asyncio.sleep(0)
    assert isinstance(flood[3].exception(), NeverSent)
    for _ in range(4):
        slots.give()
        await asyncio.sleep(0)
    await asyncio.gather(*flood[:3], quiet)
    assert sorted(order) == ["loud", "loud", "loud", "quiet"]


async def test_no_slot_is_lost_by_those_who_leave() -> None:
    slots = Slots(2, waiting=50)

    async def one(number: int) -> None:
        await slots.take(f"caller {number % 3}", soon(0.002 * (number % 5)))
        try:
            await asyncio.sleep(0.001 * (number % 4))
        finally:
            slots.give()

    for round_ in range(10):
        tasks = [asyncio.create_task(one(number)) for number in range(40)]
        await asyncio.sleep(0.001 * (round_ % 3))
        for task in tasks[:: 2 + round_ % 3]:
            task.cancel()
        if round_ == 5:
            slots.flush(1.0)
        await asyncio.gather(*tasks, return_exceptions=True)
    assert slots._free == 2 and slots._waiting == 0 and not slots._queues


async def test_who_waits_too_long_is_told_that_nothing_was_sent() -> None:
    async with FaultServer([READ, 5.0]) as server, connected(server.url, concurrency=1) as connection:
        hanging = asyncio.create_task(outcome_of(lambda: connection.send(GET, soon(0.5))))
        await server.received(1)
        waited = await outcome_of(lambda: connection.send(GET, soon(0.1)))
        assert isinstance(waited, NeverSent) and waited.reason == "busy"
        await hanging


async def test_a_flood_of_one_caller_leaves_the_others_their_turn() -> None:
    """B6, at one connection."""
    slow = Loop(READ, 0.01, answer())
    async with FaultServer([slow]) as server, connected(server.url, concurrency=2) as connection:
        flood = [
            asyncio.create_task(outcome_of(lambda: connection.send(GET, soon(5), caller="loud"))) for _ in range(100)
        ]
        await asyncio.sleep(0)
        began = time.monotonic()
        for _ in range(10):
            assert reply_of(await outcome_of(lambda: connection.send(GET, soon(5), caller="quiet"))).status == 200
        assert time.monotonic() - began < 2
        told = Counter(getattr(one, "reason", "answered") for one in await asyncio.gather(*flood))
        assert told["full"] >= 90 and told["answered"] >= 1 and set(told) == {"full", "answered"}


async def test_refusing_takes_no_time() -> None:
    slots = Slots(1, waiting=64)
    await slots.take("first", soon(5))
    waiting = [asyncio.create_task(taken(slots, "loud", [])) for _ in range(64)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    for _ in range(1000):
        with pytest.raises(NeverSent):
            await slots.take("loud", soon(5))
    assert (time.perf_counter() - began) / 1000 < 0.002
    slots.flush(1.0)
    await asyncio.gather(*waiting, return_exceptions=True)


# --- the worker as a whole


def refused(load: Load, caller: str) -> tuple[str, int, str, int | None]:
    with pytest.raises(Problem) as failed:
        load.enter(caller)
    return failed.value.code, failed.value.status, failed.value.origin, failed.value.retry_after


def test_a_load_is_bounded_for_each_and_for_all_and_is_given_back() -> None:
    load = Load(3, 2)
    load.enter("a")
    load.enter("a")
    assert refused(load, "a") == ("rate-limited", 429, "gateway", 1)
    load.enter("b")
    assert refused(load, "b") == ("overloaded", 503, "gateway", 1)
    load.leave("a")
    load.enter("c")
    for caller in ("a", "b", "c"):
        load.leave(caller)
    assert not load._of and load._all == 0


def test_one_caller_floods_and_the_others_are_served(tmp_path: Path) -> None:
    """B6, the whole way: 429 for who floods, and nobody else notices."""

    def script(seen: Seen) -> Says:
        return Says(then="stall") if seen.path.endswith("held") else Says(200, RECORD)

    with StandIn(script) as provider:
        config = (
            "cache: {ttl: 0s}\n"
            f"connections:\n  raze: {{provider: getraze, base_url: '{provider.url}', api_key: some-key, timeout: 2s}}\n"
            "limits: {per_caller: 4, concurrency: 8}\ncallers:\n"
            f"  - {{name: loud, key_sha256: {hash_key('loud')}}}\n  - {{name: quiet, key_sha256: {hash_key('quiet')}}}\n"
        )
        with running_gateway(config, tmp_path) as url, ThreadPoolExecutor(8) as pool:

            def get(key: str, id_: str) -> Answer:
                return ask(f"{url}/v1/opportunities/{id_}", headers={"X-API-Key": key})

            flood = [pool.submit(get, "loud", "held") for _ in range(4)]
            while len(provider.seen) < 4:
                time.sleep(0.01)
            for _ in range(5):
                problem = assert_problem(get("loud", "opp_1"), 429, "rate-limited")
                assert problem["origin"] == "gateway" and problem["retry_after"] == 1
                assert get("quiet", "opp_1").status == 200
            assert ask(f"{url}/healthz").status == 200
            assert [one.result().status for one in flood] == [504] * 4
            assert get("loud", "opp_1").status == 200


def test_more_than_a_worker_can_take_is_refused_at_once(tmp_path: Path) -> None:
    with StandIn([Says(then="stall")]) as provider:
        config = (
            "cache: {ttl: 0s}\n"
            f"connections:\n  raze: {{provider: getraze, base_url: '{provider.url}', api_key: some-key, timeout: 2s}}\n"
            "limits: {per_caller: 2, concurrency: 1}\ncallers:\n"
            + "".join(f"  - {{name: c{number}, key_sha256: {hash_key(str(number))}}}\n" for number in range(3))
        )
        with running_gateway(config, tmp_path) as url, ThreadPoolExecutor(4) as pool:

            def get(key: int) -> Answer:
                return ask(f"{url}/v1/opportunities/opp_1", headers={"X-API-Key": str(key)})

            waiting = [pool.submit(get, key) for key in (0, 1)]
            while len(provider.seen) < 1:
                time.sleep(0.01)
            time.sleep(0.1)
            problem = assert_problem(get(2), 503, "overloaded")
            assert (problem["origin"], problem["retry_after"]) == ("gateway", 1)
            assert ask(f"{url}/readyz").status == 200
            assert {one.result().status for one in waiting} <= {503, 504}
