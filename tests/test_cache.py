"""The cache as callers see it: section D of the acceptance matrix over sockets, in slices.

Two gateways in one loop that share a SQLite state folder stand for two replicas; real workers are killed in
`test_cache_processes`, and `python -m tests.soak --rows D-ryw,D-foreign` runs the whole. At the end, planted faults each
turn one of the checks red. The cache by itself is in `test_cache_alone`.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway import cache as module
from gateway.adapter import Call
from gateway.adapter import Reply as ProviderReply
from gateway.cache import Cache, Served
from gateway.config import load_config
from gateway.http import control
from gateway.http.serving import Alone
from gateway.opportunities import Opportunities
from gateway.state.board import SharedBoard
from gateway.state.sqlite import SqliteStore
from gateway.state.store import StateUnavailable
from tests.replicas import Gate, Site, caller_key, data, how, in_loop, replicas, until
from tests.rig.client import Reply
from tests.rig.plain_http import Answer, Request
from tests.state_server import patience, state_server

Work = Callable[[Site], Awaitable[None]]


@pytest.fixture
def on(tmp_path: Path) -> Callable[..., None]:
    """Run `work` on two replicas with a record `a` named A."""

    def run(work: Work, **more: Any) -> None:
        async def main() -> None:
            async with replicas(tmp_path, **more) as site:
                site.provider.put("k-1", "a", name="A")
                await work(site)

        in_loop(main())

    return run


def problem(reply: Reply) -> tuple[int, str]:
    """(status, code)."""
    return reply.status, json.loads(reply.body)["code"]


# --- what is answered from it, and how that is told -------------------------------------------------------------------


def test_a_second_read_is_a_hit_with_the_same_bytes_and_its_age(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        first = await site.get("a")
        clock.now += 2.7
        second = await site.get("a")
        assert how(first) == (200, "miss", None) and how(second) == (200, "hit", "2")
        assert first.body == second.body
        assert second.headers["cache-control"] == "private, no-store"
        assert "provider;dur=0.00" in second.headers["server-timing"]
        assert "provider;dur=0.00" not in first.headers["server-timing"]
        assert site.provider.calls == {"GET": 1}
        clock.now += 27.3  # thirty seconds are over
        assert how(await site.get("a")) == (200, "miss", None)
        head = await site.ask("GET", "/v1/opportunities?ids=a")
        assert head.headers["x-cache"] == "hit" and data(head)[0]["native_id"] == "a"
        assert site.provider.calls["GET"] == 2

    on(work, count=1)


def test_a_page_is_kept_too_and_each_question_by_itself(on: Any) -> None:
    async def work(site: Site) -> None:
        questions = ["?limit=1", "?limit=2", "?limit=2&explain=true", "?limit=2&raw=true", "?limit=2&q=A", "?limit=2&q=B",
                     "?limit=2&sort=name", "?limit=2&status=open"]  # fmt: skip
        for question in questions:
            assert how(await site.get(question))[:2] == (200, "miss"), question
        strict: dict[str, Any] = {"Prefer": "handling=strict"}
        assert how(await site.get("?limit=2", **strict))[1] == "miss"
        for question in questions:
            assert how(await site.get(question)) == (200, "hit", "0"), question
        assert how(await site.get("?limit=2", **strict))[1] == "hit"

    on(work, count=1)


def test_explain_and_raw_are_other_answers(on: Any) -> None:
    async def work(site: Site) -> None:
        seen = set()
        for query in ("", "?explain=true", "?raw=true", "?explain=true&raw=true"):
            first, second = await site.get(f"a{query}"), await site.get(f"a{query}")
            assert (how(first)[1], how(second)[1]) == ("miss", "hit") and first.body == second.body
            assert set(json.loads(first.body)["meta"]) - {"issues"} == {
                word for word in ("explain", "raw") if word in query
            }
            seen.add(first.body)
        assert len(seen) == 4

    on(work, count=1)


@pytest.mark.parametrize(("wish", "stored"), [("no-cache", True), ("max-age=0", True), ("no-store", False)])
def test_whoever_wants_no_kept_answer_gets_none(on: Any, wish: str, stored: bool) -> None:
    async def work(site: Site) -> None:
        await site.get("a")
        site.provider.accounts["k-1"]["a"]["name"] = "changed elsewhere"
        past = await site.get("a", Cache_Control=wish)
        assert how(past) == (200, "bypass", None) and data(past)["name"] == "changed elsewhere"
        assert await site.name("a") == ("changed elsewhere" if stored else "A")
        for target in ("?limit=1", "?ids=a"):
            assert (await site.get(target, Cache_Control=wish)).headers["x-cache"] == "bypass"

    on(work, count=1)


def test_what_was_asked_for_earlier_never_takes_the_place_of_what_was_asked_for_later(on: Any) -> None:
    async def work(site: Site) -> None:
        site.provider.hold = gate = Gate()
        slow = asyncio.create_task(site.name("a"))
        await gate.reached.wait()
        site.provider.accounts["k-1"]["a"]["name"] = "changed elsewhere"
        assert await site.name("a", Cache_Control="no-cache") == "changed elsewhere"
        gate.open()
        assert await slow == "A"
        assert await site.name("a") == "changed elsewhere"

    on(work, count=1)


def test_without_a_ttl_nothing_is_kept(on: Any) -> None:
    async def work(site: Site) -> None:
        assert site.gateways[0].cache is None
        assert [how(await site.get("a")) for _ in range(2)] == [(200, "bypass", None)] * 2
        assert site.provider.calls["GET"] == 2

    on(work, count=1, cache={"ttl": "0s"})


def test_absence_is_believed_for_seconds_and_says_so(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        first = await site.get("nobody")
        clock.now += 2.9
        second = await site.get("nobody")
        assert problem(first) == problem(second) == (404, "not-found")
        assert how(first) == (404, "miss", None) and how(second) == (404, "hit", "2")
        assert json.loads(first.body)["request_id"] != json.loads(second.body)["request_id"]
        by_ids = await site.get("?ids=a,nobody")
        assert json.loads(by_ids.body)["meta"]["errors"][0]["problem"]["code"] == "not-found"
        assert site.provider.calls["GET"] == 2
        site.provider.put("k-1", "nobody")  # made at the provider, which nobody tells us
        clock.now += 0.2
        assert how(await site.get("nobody")) == (200, "miss", None)

    on(work, count=1)


def test_a_record_that_is_gone_at_the_provider_takes_the_place_of_what_was_kept(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        await site.get("a")
        del site.provider.accounts["k-1"]["a"]
        clock.now += 31
        assert how(await site.get("a")) == (404, "miss", None)
        site.provider.fault = lambda request: Answer(500)
        clock.now += 4
        assert (await site.get("a")).status == 502  # not the old one

    on(work, count=1)


# --- nobody else's ----------------------------------------------------------------------------------------------------


async def shared_serials(site: Site, callers: int, reads: int, seed: int) -> tuple[int, int]:
    """(how often bytes were seen under another caller, connection or question than they were fetched for; answers).

    The provider numbers its answers. Some callers leave while they wait.
    """
    random = Random(seed)
    ids = [f"r{number}" for number in range(20)]
    for account in ("k-1", "k-2"):
        for id_ in ids:
            site.provider.put(account, id_)

    async def hold(request: Request) -> None:
        await asyncio.sleep(random.random() * 0.004)

    site.provider.hold = hold
    seen: dict[str, set[tuple[Any, ...]]] = {}
    wrong = answers = 0
    gate = asyncio.Semaphore(60)

    async def one() -> None:
        nonlocal wrong, answers
        async with gate:
            caller, at, id_ = random.randrange(callers), random.randrange(2), random.choice(ids)
            connection, query = random.choice(["raze", "other", "again"]), random.choice(["", "?explain=true"])
            leave = random.random() * 0.004 if random.random() < 0.2 else None
            reply = await site.get(
                f"{connection}:{id_}{query}", at=at, leave=leave, X_API_Key=caller_key(caller),
                X_Request_Timeout="0.003" if random.random() < 0.1 else "5",
            )  # fmt: skip
            if reply.status != 200:
                assert reply.failed == "left" or reply.status == 504, reply
                return
            answers += 1
            told = data(reply)
            account, of, serial = told["description"].split()
            wrong += (account, of) != ("k-2" if connection == "other" else "k-1", id_)
            wrong += told["connection"] != connection
            wrong += ("explain" in json.loads(reply.body)["meta"]) != bool(query)
            seen.setdefault(serial, set()).add((at, caller, connection, id_, query))

    await asyncio.gather(*(one() for _ in range(reads)))
    return wrong + sum(len(asked) - 1 for asked in seen.values()), answers


def test_no_byte_is_anybody_elses(on: Any) -> None:
    async def work(site: Site) -> None:
        foreign, answers = await shared_serials(site, 20, 4000, seed=1)
        assert (foreign, answers > 2500) == (0, True)
        assert site.provider.calls["GET"] < answers * 0.95  # and some of it was hits

    on(work, callers=20, limits={"concurrency": 100})


def test_another_credential_or_mapping_is_another_answer(on: Any, tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        cache, connection = site.cache(), site.gateways[0].on("raze").connection
        await site.get("a")
        assert how(await site.get("a"))[1] == "hit"
        account = connection.reading
        connection.reading = "another"
        assert how(await site.get("a"))[1] == "miss"
        connection.reading = account
        told = ProviderReply(200, body={"data": [{"stage_id": "stage", "stage_name": "New"}]})
        connection._learn(
            Call("list", "GET", "/opportunities"), told
        )  # names and dialects make the same record another one
        assert how(await site.get("a"))[1] == "miss"
        assert len(cache._entries) == 3
        words = {one.on("raze").connection.reading for one in site.gateways}
        assert len({word.partition(".")[0] for word in words}) == 1
        assert site.gateways[0].on("again").connection.reading == account  # the name stands in the key beside it

    on(work)


# --- many at once -----------------------------------------------------------------------------------------------------


async def one_call_for_all(site: Site, count: int, first: str = "") -> tuple[list[Reply], list[Reply]]:
    """Answers to that many reads at once while the provider is slow; and those with the timeout `first` that came first."""
    site.provider.hold = gate = Gate(times=10)
    early = [asyncio.create_task(site.get("a", at=at, X_Request_Timeout=first)) for at in (0, 1) if first]
    await until(lambda: not early or site.provider.calls["GET"] == 2)
    rest = [asyncio.create_task(site.get("a", at=number % 2, seconds=20)) for number in range(count)]
    before = await asyncio.gather(*early)
    await until(lambda: site.in_flight() >= count or any(one.done() for one in rest))
    gate.open()
    return before, await asyncio.gather(*rest)


def test_a_thousand_at_once_make_one_call_in_each_process(on: Any) -> None:
    async def work(site: Site) -> None:
        _, replies = await one_call_for_all(site, 1000)
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body for reply in replies}) == 2  # of each replica its own
        assert site.provider.calls == {"GET": 2}

    on(work, limits={"per_caller": 1000, "concurrency": 500})


def test_who_began_the_call_may_have_no_time_or_leave(on: Any) -> None:
    async def work(site: Site) -> None:
        early, replies = await one_call_for_all(site, 60, first="0.05")
        assert [problem(reply) for reply in early] == [(504, "provider-timeout")] * 2
        assert {reply.status for reply in replies} == {200}
        assert site.provider.calls == {"GET": 2}
        site.provider.hold = gate = Gate()
        left = asyncio.create_task(site.get("a?raw=true", leave=0.02))
        await gate.reached.wait()
        assert (await left).failed == "left"
        other = asyncio.create_task(site.get("a?raw=true"))
        await asyncio.sleep(0.02)
        gate.open()
        assert (await other).status == 200
        assert site.provider.calls == {"GET": 3}

    on(work)


def test_a_call_that_fails_fails_whoever_began_it_and_the_others_share_another(on: Any) -> None:
    async def work(site: Site) -> None:
        answers = iter([Answer(403, b"{}")])
        site.provider.fault = lambda request: next(answers, None)
        site.provider.hold = gate = Gate()
        first = asyncio.create_task(site.get("a"))
        await gate.reached.wait()
        others = [asyncio.create_task(site.get("a")) for _ in range(50)]
        await asyncio.sleep(1.0)  # until all of them wait, also on a busy machine
        gate.open()
        assert problem(await first) == (502, "provider-auth-failed")
        assert {reply.status for reply in await asyncio.gather(*others)} == {200}
        assert site.provider.calls == {"GET": 2}

    on(work, count=1)


# --- read your writes -------------------------------------------------------------------------------------------------


async def write_then_read(site: Site, pairs: int, seed: int) -> int:
    """How many reads that began after a write was answered showed an older value, or a list without it.

    Twelve records, each written by one task in turn; others read all the while, and the provider is slow at random.
    """
    random, stale, done = Random(seed), 0, [0] * 12
    for number in range(12):
        site.provider.put("k-1", f"r{number}", name="0")

    async def hold(request: Request) -> None:
        if request.method == "GET" and random.random() < 0.5:
            await asyncio.sleep(random.random() * 0.01)

    site.provider.hold = hold
    over = False

    async def look(number: int, at: int) -> None:
        nonlocal stale
        floor = done[number]
        stale += int(await site.name(f"r{number}", at=at)) < floor

    async def reader() -> None:
        while not over:
            await look(random.randrange(12), random.randrange(2))

    async def lister() -> None:
        nonlocal stale
        while not over:
            floors = list(done)
            told = {one["native_id"]: one["name"] for one in data(await site.get("?limit=100", at=random.randrange(2)))}
            stale += any(int(told[f"r{number}"]) < floor for number, floor in enumerate(floors))

    async def writer(number: int) -> None:
        for value in range(1, pairs // 12 + 1):
            at = random.randrange(2)
            reply = await site.rename(f"r{number}", str(value), at=at)
            assert reply.status == 200, reply
            done[number] = value
            await look(number, 1 - at)
            await look(number, at)

    readers = [asyncio.create_task(one) for one in (*(reader() for _ in range(6)), lister())]
    await asyncio.gather(*map(writer, range(12)))
    over = True
    await asyncio.gather(*readers)
    return stale


def test_no_read_after_an_answered_write_shows_the_older_value(on: Any) -> None:
    async def work(site: Site) -> None:
        assert await write_then_read(site, 360, seed=2) == 0

    on(work)


async def raced(site: Site, through: int, read: int) -> list[Any]:
    """Names read through both replicas after a write that slow reads through `read` have been racing."""
    site.provider.hold = gate = Gate(times=2)
    slow = [asyncio.create_task(one) for one in (site.name("a", at=read), site.names(at=read))]
    await until(lambda: not gate.times)
    assert (await site.rename("a", "B", at=through)).status == 200
    told = [await site.name("a", at=read)]  # not from the call under way; of a list nobody asks before that is over
    site.cache(read)._entries.clear()
    gate.open()
    await asyncio.gather(*slow)
    for at in (0, 1):
        told += [await site.name("a", at=at), *await site.names(at=at)]
    return told


@pytest.mark.parametrize("through", [0, 1])
@pytest.mark.parametrize("read", [0, 1])
def test_a_slow_fill_that_a_write_overtakes_is_dropped(on: Any, through: int, read: int) -> None:
    async def work(site: Site) -> None:
        assert set(await raced(site, through, read)) == {"B"}

    on(work)


@pytest.mark.parametrize("moment", ["before", "hold"])
def test_what_is_read_while_a_write_is_on_its_way_is_not_kept_beyond_it(on: Any, moment: str) -> None:
    async def work(site: Site) -> None:
        gate = Gate("PUT")
        setattr(site.provider, moment, gate)
        writing = asyncio.create_task(site.rename("a", "B", at=1))
        await gate.reached.wait()
        meanwhile = [await site.name("a", at=at) for at in (0, 1, 0, 1)]
        assert set(meanwhile) == ({"A"} if moment == "before" else {"B"})
        gate.open()
        assert (await writing).status == 200
        assert [await site.name("a", at=at) for at in (0, 1)] == ["B", "B"]

    on(work)


def test_a_create_shows_at_once_where_there_was_nothing_and_a_delete_takes_it_away(on: Any) -> None:
    async def work(site: Site) -> None:
        site.provider.next_id = "b"
        for round_ in range(3):
            writes, reads = round_ % 2, (round_ + 1) % 2
            for at in (0, 1):
                assert await site.name("b", at=at) is None
                assert "B" not in await site.names(at=at)
            made = await site.ask("POST", "/v1/opportunities", at=writes, body={"name": "B"})
            assert made.status == 201, made.body
            for at in (reads, writes):
                assert await site.name("b", at=at) == "B"
                assert "B" in await site.names(at=at)
            assert (await site.ask("DELETE", "/v1/opportunities/b", at=reads)).status == 204

    on(work)


def test_a_write_that_half_took_or_whose_outcome_is_unknown_is_told_too(on: Any) -> None:
    async def work(site: Site) -> None:
        def applied_and_lost(request: Request) -> Answer | None:
            if request.method == "GET":
                return None
            site.provider._answer(request)
            return Answer(500)

        for at in (0, 1):
            await site.name("a", at=at)
        site.provider.fault = applied_and_lost
        lost = await site.rename("a", "B", at=0)
        assert json.loads(lost.body)["outcome"] == "unknown"
        assert [await site.name("a", at=at) for at in (0, 1)] == ["B", "B"]

    on(work)


def test_a_write_that_is_given_up_when_the_server_stops_is_told_too(on: Any) -> None:
    async def work(site: Site) -> None:
        site.provider.before, site.provider.hold = Gate("PUT"), Gate("PUT")
        writing = asyncio.create_task(site.rename("a", "B", at=0))
        await site.provider.before.reached.wait()
        assert await site.name("a", at=1) == "A"  # kept after all were told that something will be written
        site.provider.before.open()
        await site.provider.hold.reached.wait()
        for task in list(site.servers[0].server_state.tasks):  # as after the grace
            task.cancel()
        await until(lambda: not site.servers[0].server_state.tasks)
        assert await site.name("a", at=1) == "B"
        site.provider.hold.open()
        await writing

    on(work)


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_write_that_is_given_up_when_the_server_stops_is_noted(
    on: Any, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.running.GRACE_SECONDS", 0.3)

    async def work(site: Site) -> None:
        gate = Gate("POST", times=20)
        site.provider.hold = gate
        writing = [
            asyncio.create_task(site.ask("POST", "/v1/opportunities", body={"name": f"N{n}"})) for n in range(20)
        ]
        await until(lambda: site.provider.calls["POST"] == 20)
        site.servers[0].should_exit = True
        await asyncio.wait(writing)
        await until(lambda: site.apps[0].gateway.reports is not None and site.apps[0].gateway.reports._closed)
        told = json.loads((await site.ask("GET", "/v1/outcomes", at=1)).body)["data"]
        assert len([one for one in told if not one["keyed"]]) == 20

    if store == "sqlite":
        on(work, limits={"concurrency": 30})
        return
    (folder := tmp_path / "valkey").mkdir()
    with state_server(folder) as server, patience():
        on(work, state=server.url, limits={"concurrency": 30})


def test_a_create_that_is_settled_later_shows_at_once_when_it_is(on: Any) -> None:
    async def work(site: Site) -> None:
        site.provider.next_id, held = "b", list[Request]()

        def late(request: Request) -> Answer | None:
            if request.method != "POST":
                return None
            held.append(request)
            return Answer(500)

        site.provider.fault = late
        draft = {"name": "B", "contacts": [{"emails": [{"address": "b@example.com"}]}]}
        post: dict[str, Any] = {"body": draft, "Idempotency_Key": "k"}
        lost = await site.ask("POST", "/v1/opportunities", **post)
        assert json.loads(lost.body)["outcome"] == "unknown"
        site.provider.fault = lambda request: None
        site.provider._answer(held[0])  # it takes effect only now
        assert [await site.name("b", at=at) for at in (0, 1)] == ["B", "B"]
        del site.provider.accounts["k-1"]["b"]
        for at in (0, 1):  # kept as absent in both, and then it is back and settled
            site.cache(at)._entries.clear()
            assert await site.name("b", at=at) is None
        site.provider._answer(held[0])
        end = time.monotonic() + 20
        while (await site.ask("POST", "/v1/opportunities", at=1, **post)).status != 201:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        assert [await site.name("b", at=at) for at in (0, 1)] == ["B", "B"]

    on(work)


def test_a_list_that_may_lag_behind_a_write_is_neither_kept_longer_nor_given_instead_of_a_failure(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        await site.names()
        clock.now += 100
        await site.rename("a", "B")
        site.provider.accounts["k-1"]["a"]["name"] = "A"  # its lists do not show it yet
        assert await site.names() == ["A"]
        clock.now += 3.5
        assert how(await site.get("?limit=100"))[1] == "hit"
        site.provider.accounts["k-1"]["a"]["name"] = "B"
        clock.now += 1  # four seconds after the write
        assert await site.names() == ["B"]
        clock.now += 31
        site.provider.fault = lambda request: Answer(500)
        assert how(await site.get("?limit=100"))[1] == "stale"  # made when the write was no longer young

    on(work, count=1, idempotency={"lookup_lag": "4s"})


def test_a_list_asked_for_while_young_and_answered_later_is_not_kept(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        await site.rename("a", "B")
        await site.names()
        clock.now += 3.9
        site.provider.hold = gate = Gate()
        slow = asyncio.create_task(site.get("?limit=99"))
        await gate.reached.wait()
        clock.now += 0.2
        gate.open()
        await slow
        assert how(await site.get("?limit=99"))[1] == "miss"

    on(work, count=1, idempotency={"lookup_lag": "4s"})


# --- instead of a failure ---------------------------------------------------------------------------------------------


async def stale_window(site: Site) -> list[tuple[int, str, str | None]]:
    """How reads are answered while the provider fails: well within the window, at its end, and beyond."""
    clock = site.standing_clock()
    await site.get("a")
    site.provider.fault = lambda request: Answer(500)
    told = []
    for wait in (31, 59, 0.5):
        clock.now += wait
        told.append(how(await site.get("a")))
    return told


def test_an_older_answer_is_given_instead_of_a_failure_within_its_window_and_says_how_old_it_is(on: Any) -> None:
    async def work(site: Site) -> None:
        assert await stale_window(site) == [(200, "stale", "31"), (502, "bypass", None), (502, "bypass", None)]

    on(work, count=1, cache={"stale_if_error": "60s"})


def test_many_by_their_ids_say_how_old_the_oldest_is_and_that_one_of_them_is_stale(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        for name in "bcd":
            site.provider.put("k-1", name)
        await site.get("a")
        clock.now += 29
        await site.get("b")
        clock.now += 0.5
        assert how(await site.get("?ids=b,a,b")) == (200, "hit", "29")
        assert how(await site.get("?ids=a,nobody:x,b")) == (200, "hit", "29")
        clock.now += 10
        site.provider.fault = lambda request: Answer(500) if request.path.endswith("/a") else None
        assert how(await site.get("?ids=c,a,d")) == (200, "stale", "39")
        assert how(await site.get("?ids=d,a,c")) == (200, "stale", "39")
        site.provider.fault = lambda request: Answer(500)
        assert how(await site.get("?ids=never-read,c")) == (200, "bypass", "0")
        assert how(await site.get("?ids=never-read")) == (200, "bypass", None)
        assert how(await site.get("?ids=nobody:x")) == (200, "bypass", None)

    on(work, count=1)


@pytest.mark.parametrize("answer", [Answer(503), Answer(500), Answer(429), Answer(200, b"<html>")])
def test_which_failures_an_older_answer_stands_for(on: Any, answer: Answer) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        await site.get("a")
        clock.now += 40
        site.provider.fault = lambda request: answer
        assert how(await site.get("a", X_Request_Timeout="0.5")) == (200, "stale", "40")

    on(work, count=1)


def test_a_failure_is_told_to_whoever_wrote_to_whoever_insists_and_when_the_key_is_refused(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()

        def fails(request: Request) -> Answer | None:
            return Answer(500) if request.method == "GET" else None

        await site.get("a")
        clock.now += 40
        site.provider.fault = fails
        assert (await site.get("a", Cache_Control="no-cache")).status == 502
        assert how(await site.get("a"))[1] == "stale"
        await site.rename("a", "B", at=1)
        assert (await site.get("a")).status == 502
        site.provider.fault = lambda request: None
        await site.get("a")
        clock.now += 40
        site.provider.fault = lambda request: Answer(401, b"{}")
        assert problem(await site.get("a")) == (502, "provider-auth-failed")
        site.provider.fault = fails
        assert (await site.get("a")).status == 502  # whoever was refused gets it later neither

    on(work)


def test_a_write_that_comes_while_the_failing_read_is_on_its_way(on: Any) -> None:
    async def work(site: Site) -> None:
        clock = site.standing_clock()
        await site.get("a")
        clock.now += 40
        site.provider.fault = lambda request: Answer(500) if request.method == "GET" else None
        site.provider.hold = gate = Gate()
        reading = asyncio.create_task(site.get("a", X_Request_Timeout="2"))
        await gate.reached.wait()
        await site.rename("a", "B", at=1)
        gate.open()
        assert (await reading).status == 502

    on(work)


# --- bounds, and the board that is away -------------------------------------------------------------------------------


def test_it_holds_no_more_bytes_than_it_may(on: Any) -> None:
    async def work(site: Site) -> None:
        cache = site.cache()
        for number in range(300):
            site.provider.put("k-1", f"r{number}", company="x" * (number * 7))
        for at in range(0, 300, 50):
            await site.get("?ids=" + ",".join(f"r{number}" for number in range(at, at + 50)))
            assert 0 < cache.size <= 200_000
        for number in range(100):  # the key counts as well, and what is not there
            await site.get(f"?limit=1&q={'y' * 3000}{number}")
            await site.get(f"nobody-{number}")
            assert cache.size <= 200_000
        assert len(cache._entries) < 80
        site.provider.put("k-1", "huge", company="x" * 300_000)
        assert [how(await site.get("huge"))[:2] for _ in range(2)] == [(200, "miss")] * 2

    on(work, count=1, cache={"max_bytes": "200kB"}, limits={"concurrency": 50})


@contextlib.contextmanager
def board_away() -> Iterator[None]:
    """No process can have the board or the store."""

    def away(self: Any, *_: Any, **__: Any) -> Any:
        raise StateUnavailable("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedBoard, "_board", away)
        patch.setattr(SqliteStore, "check", away)
        yield


async def without_state(site: Site, away: Any) -> None:
    """Reads are answered from the provider, nothing kept is given, no write is sent; and all is well afterwards."""
    for at in (0, 1):
        await site.name("a", at=at)
    site.provider.accounts["k-1"]["a"]["name"] = "changed"
    sent = site.provider.calls.copy()
    with away:
        replies = [await site.get("a", at=at) for at in (0, 1, 0, 1, 0, 1)]
        assert [how(reply) for reply in replies] == [(200, "bypass", None)] * 6
        # Fifty milliseconds and the answer; the quickest tells, whatever else this machine has to do.
        assert min(reply.end - reply.start for reply in replies) < 0.15
        assert {data(reply)["name"] for reply in replies} == {"changed"}
        assert site.cache().size == 0
        for method, target in (
            ("PATCH", "/v1/opportunities/a"), ("POST", "/v1/opportunities"), ("DELETE", "/v1/opportunities/a")
        ):  # fmt: skip
            refused = await site.ask(method, target, body=None if method == "DELETE" else {"name": "C"})
            assert problem(refused) == (503, "state-store-unavailable"), refused.body
            assert json.loads(refused.body)["outcome"] == "not_applied"
        assert (await site.ask("GET", "/readyz")).status == 503
        assert set(site.provider.calls - sent) == {"GET"}
        slow = Gate()
        site.provider.hold = slow
        began = time.monotonic()
        assert problem(await site.get("a", X_Request_Timeout="0.1")) == (504, "provider-timeout")
        assert time.monotonic() - began < 2
        slow.open()
    end = time.monotonic() + 20
    while (await site.ask("GET", "/readyz")).status != 200 or (await site.rename("a", "D", at=1)).status != 200:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    while how(await site.get("a"))[1] != "hit":
        assert time.monotonic() < end
    assert await site.name("a") == "D"


def test_without_its_state_reads_bypass_it_and_writes_are_not_sent(on: Any) -> None:
    async def work(site: Site) -> None:
        await without_state(site, board_away())

    on(work)


@pytest.mark.parametrize("how_away", ["stopped", "held up"])
def test_without_its_valkey_too(on: Any, tmp_path: Path, how_away: str) -> None:
    @contextlib.contextmanager
    def stopped(server: Any) -> Iterator[None]:
        server.stop()
        try:
            yield
        finally:
            server.start()

    folder = tmp_path / "valkey"
    folder.mkdir()
    with state_server(folder) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.state.redis._STORE_WAIT", 0.6)

        async def work(site: Site) -> None:
            await without_state(site, stopped(server) if how_away == "stopped" else server.held_up())

        on(work, state=server.url)


def test_a_write_that_could_not_be_told_in_time_is_told_as_soon_as_it_can_be(on: Any) -> None:
    async def work(site: Site) -> None:
        for at in (0, 1):
            await site.name("a", at=at)
        gate, away = Gate("PUT"), board_away()
        site.provider.hold = gate
        writing = asyncio.create_task(site.rename("a", "B", at=0, X_Request_Timeout="0.3"))
        await gate.reached.wait()
        kept = dict(site.cache(1)._entries)
        with away:
            gate.open()
            assert (await writing).status == 200  # it was done, whoever may know
        site.cache(1)._entries.update(kept)
        assert await site.name("a", at=1) == "B"  # they were told of it before it was sent
        reports, board = site.gateways[0].reports, site.gateways[0].connections.board
        assert reports is not None and reports._raising is not None
        before = await board.versions(["r:raze:a"])
        await reports._raising
        assert await board.versions(["r:raze:a"]) > before
        assert not reports._unraised

    on(work)


def test_a_write_that_could_not_be_told_in_time_is_told_also_after_a_reload(on: Any, tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        gate, away = Gate("PUT"), board_away()
        site.provider.before = gate
        writing = asyncio.create_task(site.rename("a", "B", at=0, X_Request_Timeout="0.5"))
        await gate.reached.wait()
        assert await site.name("a", at=1) == "A"  # kept after all were told that something will be written
        with away:
            gate.open()
            assert (await writing).status == 200
            await (await site.apps[0].exchange(load_config(tmp_path / "config.yaml", {}), {}))
        end = time.monotonic() + 5
        while await site.name("a", at=1) != "B":
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

    on(work)


# --- a gateway that a reload has replaced, with a write under way ----------------------------------------------------


def test_the_end_waits_for_writes_that_were_begun_before_a_reload(
    on: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.running.GRACE_SECONDS", 1.5)

    async def work(site: Site) -> None:
        gate = Gate("POST")
        site.provider.hold = gate
        made = asyncio.create_task(site.ask("POST", "/v1/opportunities", body={"name": "N"}, Idempotency_Key="k"))
        await gate.reached.wait()
        await site.apps[0].exchange(load_config(tmp_path / "config.yaml", {}), {})
        site.servers[0].should_exit = True
        await until(lambda: not site.servers[0].server_state.tasks)  # after the grace it goes on without its caller
        await asyncio.sleep(0.3)
        gate.open()
        reports = site.gateways[0].reports
        assert reports is not None
        await until(lambda: reports._closed)
        again = await site.ask("POST", "/v1/opportunities", body={"name": "N"}, Idempotency_Key="k", at=1)
        assert (again.status, again.headers.get("idempotent-replayed")) == (201, "true"), again.body
        assert site.provider.calls["POST"] == 1
        await made

    on(work)


def test_nothing_is_under_way_on_any_gateway_before_once_a_reload_is_over(on: Any, tmp_path: Path) -> None:
    """Else a sandbox that only the first one asks is stopped under its requests."""

    async def work(site: Site) -> None:
        gate, config = Gate("PUT"), load_config(tmp_path / "config.yaml", {})
        site.provider.hold = gate
        writing = asyncio.create_task(site.rename("a", "B"))
        await gate.reached.wait()
        await site.apps[0].exchange(config, {})
        over = await site.apps[0].exchange(config, {})  # of a gateway that nobody has asked anything
        await asyncio.wait({over}, timeout=0.3)
        assert not over.done()
        gate.open()
        assert (await writing).status == 200
        await over

    on(work)


def test_a_gateway_that_takes_long_to_retire_is_not_given_up(
    on: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "RETIRE_SECONDS", 0.05)

    async def work(site: Site) -> None:
        gate, old, config = Gate("PUT"), site.gateways[0], load_config(tmp_path / "config.yaml", {})
        site.provider.hold = gate
        writing = asyncio.create_task(site.rename("a", "B"))
        await gate.reached.wait()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            alone = Alone(control.Setup(control.InForce(tmp_path, config, "127.0.0.1"), listener, "", 0.0, None))
            over = await site.apps[0].exchange(config, {})
            await alone._tidy(over)
        gate.open()
        assert (await writing).status == 200
        await over
        assert old.settler is not None and old.settler._task is not None and old.settler._task.done()

    on(work)


# --- planted faults: each turns a check red ---------------------------------------------------------------------------


def test_without_the_versions_writes_are_not_seen(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Opportunities, *_: Any) -> None:
        """Nobody is told."""

    monkeypatch.setattr(Opportunities, "changed", nothing)
    monkeypatch.setattr(Opportunities, "_can_write", nothing)

    async def work(site: Site) -> None:
        assert await write_then_read(site, 60, seed=3) > 0

    on(work)


@pytest.mark.parametrize("owner_too", [False, True])
def test_a_key_without_the_caller_gives_foreign_bytes_unless_the_owner_is_compared(
    on: Any, monkeypatch: pytest.MonkeyPatch, owner_too: bool
) -> None:
    usual, at_once = Cache.read, Cache.kept

    def less(key: str, owner: str) -> tuple[str, str]:
        return key.partition(" ")[2], owner.partition(" ")[2] if owner_too else owner

    async def read(self: Cache, key: str, owner: str, *rest: Any, **more: Any) -> Served:
        return await usual(self, *less(key, owner), *rest, **more)

    def kept(self: Cache, key: str, owner: str, versions: tuple[int, ...]) -> Served | None:
        return at_once(self, *less(key, owner), versions)

    monkeypatch.setattr(Cache, "read", read)
    monkeypatch.setattr(Cache, "kept", kept)

    async def work(site: Site) -> None:
        foreign, _ = await shared_serials(site, 20, 600, seed=4)
        assert (foreign > 0) is owner_too

    on(work, callers=20, limits={"concurrency": 100})


def test_a_call_that_ends_with_who_began_it_is_made_again(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def waited(flight: Any, deadline: float) -> Any:
        try:
            async with asyncio.timeout_at(deadline):
                return await flight.task
        except TimeoutError:
            raise module._too_late() from None
        except asyncio.CancelledError:
            raise RuntimeError from None

    monkeypatch.setattr(module, "_waited", waited)

    async def work(site: Site) -> None:
        _, replies = await one_call_for_all(site, 10, first="0.05")
        assert {reply.status for reply in replies} == {500}

    on(work)


def test_a_fill_that_is_kept_as_if_it_were_of_now_is_stale(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: Cache, key: str, entry: Any) -> None:
        entry.versions = self._board.versions_at_once(names[key])
        usual(self, key, entry)

    async def read(self: Cache, key: str, owner: str, about: Sequence[str], *rest: Any, **more: Any) -> Served:
        names[key] = about
        return await reading(self, key, owner, about, *rest, **more)

    names: dict[str, Sequence[str]] = {}
    usual, reading = Cache._keep, Cache.read
    monkeypatch.setattr(Cache, "_keep", keep)
    monkeypatch.setattr(Cache, "read", read)

    async def work(site: Site) -> None:
        assert "A" in await raced(site, 0, 1)

    on(work)


def test_an_older_answer_without_a_window_is_given_for_ever(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cache, "_life", lambda self, *_: (self.ttl, float("inf")))

    async def work(site: Site) -> None:
        assert [told[0] for told in await stale_window(site)] == [200, 200, 200]

    on(work, count=1, cache={"stale_if_error": "60s"})
