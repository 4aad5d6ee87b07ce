"""Writes of unknown outcome are settled soon where they can be, whatever else stays unknown, is slow, or is reloaded.

Their evidence is tested in `test_idempotency`; here it is when they are looked at, at whose cost, and what is told of them.
The provider is the stand-in of that module, the state a file or a server of the test's own.
"""

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from gateway import settling
from gateway.about import About
from gateway.cli import main
from gateway.idempotency import Kept, kept
from gateway.ledger import Plan, Sent
from gateway.settling import LONGEST, Settler
from gateway.state import claims
from gateway.state.claims import Claim
from gateway.state.opening import state_of
from tests.live import Says, Seen, StandIn, ask, assert_problem, fields_of, running_gateway, send
from tests.operating import Server, until
from tests.state_server import patience, state_url
from tests.test_idempotency import DRAFT, Raze, create, raze

__all__ = ["raze"]

NAME = {"name": "John Doe"}


def config(more: str = "", state: str = "", **connections: str) -> str:
    """Connections at these addresses, all of which are GetRaze."""
    lines = "".join(
        f"  {name}: {{provider: {'tests.test_idempotency:NoLookUp' if name == 'blind' else 'getraze'}, base_url: '{url}',"
        f" api_key: key-of-{name}, settings: {{dialect: documented}}, timeout: 60s{more}}}\n"
        for name, url in connections.items()
    )
    said = f"state: '{state}'\n" if state else ""
    return (
        f"default_connection: raze\nconnections:\n{lines}{said}circuit: off\n"
        "idempotency: {lookup_lag: 300ms, lease: 1s}\n"
    )


def lost(key: str, connection: str, *, age: float = 0.0, word: str = "unknown") -> Claim:
    """A create that somebody lost so long ago and sends no more."""
    about = About("create", "", Plan({"create": dict(NAME)}, [Sent("name", NAME["name"], "create")]), time.time() - age)
    then = time.time() - age
    return Claim(
        key, 1, cast(Any, word), "f", connection, "", "create", "nobody", then, then, then,
        finished=word == "unknown", about=about.packed(), twin=key,
    )  # fmt: skip


async def put(url: str, those: Iterable[Claim], folder: Path) -> None:
    """The state holds these."""
    state = state_of(url or "sqlite:///gateway.db", folder)
    assert state is not None
    store = state.store
    await store.open()
    many = list(those)
    for first in range(0, len(many), 32):
        await asyncio.gather(
            *(store.change(one.key, lambda held, now, new=one: (new, None)) for one in many[first : first + 32])  # type: ignore[misc]  # a default has no type
        )
    await store.aclose()


def outcomes(url: str, **those: Any) -> list[Any]:
    """What `/v1/outcomes` tells, all of it, where it has these members."""
    told: list[Any] = []
    query = ""
    while True:
        page = ask(f"{url}/v1/outcomes{query}").json
        told += page["data"]
        if page["page"]["next_cursor"] is None:
            return [one for one in told if those.items() <= one.items()]
        query = f"?cursor={page['page']['next_cursor']}"


@pytest.fixture(params=["sqlite", "redis"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/gateway.db"
    else:
        (folder := tmp_path / "server").mkdir()
        with patience(), state_url(folder) as url:
            yield url


def test_thousands_that_nobody_can_look_at_hide_nothing(state: str, raze: Raze, tmp_path: Path) -> None:
    many = {"blind": 1_100, "gone": 1_100, "raze": 60}
    stuck = [lost(f"{name}{n:04}", name) for name, number in many.items() for n in range(number)]
    stuck = [replace(claim, about=claim.about.replace(b"John", b"Jack")) for claim in stuck]
    begun = [lost("claimed", "gone", word="claimed"), lost("sending", "gone", word="sending")]
    asyncio.run(put(state, (*stuck, *begun), tmp_path))
    raze.records.append(
        {"id": "opp_x", "name": "Jack Doe", "email": None}
    )  # alike, and no proof: made nobody knows when
    raze.made.append(0.0)
    with StandIn(raze) as provider:
        text = config(", budget: off", state=state, raze=provider.url, blind=provider.url)
        with running_gateway(text, tmp_path) as url:
            raze.fault = lambda: Says(then="cut")
            create(url, "k")
            raze.fault = None
            until(lambda: outcomes(url, outcome="applied"))
            [settled] = outcomes(url, outcome="applied")
            assert (settled["connection"], settled["settled_by"]) == ("raze", "look-up")
            until(lambda: outcomes(url, id="sending"))
            unknown = outcomes(url, outcome="unknown")
            assert {one["id"] for one in unknown} == {claim.key for claim in stuck} | {"sending"}
            assert len(unknown) == 2_261
            until(lambda: "crm_gateway_unknown_writes 2261" in ask(f"{url}/metrics").body.decode())
            listed = CliRunner().invoke(main, ["outcomes", "--json", "--config", str(tmp_path / "config.yaml")])
            assert len(json.loads(listed.stdout)["data"]) == 2_262


async def damage(url: str, *keys: str) -> None:
    """What the state holds of these claims is nothing that this version can read."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as file:
            for key in keys:
                file.execute("UPDATE claims SET claim = x'c1' WHERE key = ?", (key,))
        return
    state = state_of(url, Path("/"))
    assert state is not None
    server = cast(Any, state.store)._server
    for key in keys:
        await server.ask("HSET", f"{server._address.prefix}claim:{key}", "claim", b"\xc1")
    await state.store.aclose()


def test_a_claim_that_cannot_be_read_hides_no_other_and_stays(state: str, raze: Raze, tmp_path: Path) -> None:
    """As where a later version wrote it, and this one was put back."""
    bad = [lost(f"bad{n}", "raze", age=n) for n in (0, 1, 2)]
    strange = replace(lost("strange", "raze", age=1.5), about=b'{"of": "a later version"}')
    good = [lost("good", "raze", age=3.0), lost("begun", "raze", word="claimed")]
    asyncio.run(put(state, (*bad, strange, *good), tmp_path))
    asyncio.run(damage(state, "bad0", "bad1", "bad2"))
    with StandIn(raze) as provider, running_gateway(config(state=state, raze=provider.url), tmp_path) as url:
        until(lambda: outcomes(url, id="good", outcome="not_applied"))
        assert {one["id"]: one["outcome"] for one in outcomes(url)} == {"good": "not_applied", "strange": "unknown"}
        first = ask(f"{url}/v1/outcomes?limit=1").json
        assert [one["id"] for one in first["data"]] == ["strange"] and first["page"]["next_cursor"]
        until(lambda: "crm_gateway_unknown_writes 4" in ask(f"{url}/metrics").body.decode())  # they are not lost


def test_outcomes_come_in_pages_that_are_asked_for_rightly(raze: Raze, tmp_path: Path) -> None:
    asyncio.run(put("", [lost(f"k{n}", "blind", age=n) for n in range(5)], tmp_path))
    with StandIn(raze) as provider, running_gateway(config(raze=provider.url, blind=provider.url), tmp_path) as url:
        first = ask(f"{url}/v1/outcomes?limit=3").json
        assert [one["id"] for one in first["data"]] == ["k0", "k1", "k2"] and first["page"]["limit"] == 3
        rest = ask(f"{url}/v1/outcomes?limit=3&cursor={first['page']['next_cursor']}").json
        assert [one["id"] for one in rest["data"]] == ["k3", "k4"] and rest["page"]["next_cursor"] is None
        assert ask(f"{url}/v1/outcomes?limit=5").json["page"]["next_cursor"] is None
        for query, field in (
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("cursor=", "cursor"),
            ("cursor=x", "cursor"),
        ):
            assert fields_of(assert_problem(ask(f"{url}/v1/outcomes?{query}"), 400, "invalid-request")) == [field]


# --- when, and at whose cost ------------------------------------------------------------------------------------------


def looks(lag: float, until: float) -> list[float]:
    """At which ages a write is looked at that stays unknown."""
    settler = Settler(cast(Any, None), lag, 0.0, cast(Any, None), cast(Any, None))
    held, ages = replace(lost("k", "raze"), since=0.0), [0.0]
    while ages[-1] < until:
        ages.append(ages[-1] + settler.pause(held, ages[-1]))
    return ages[1:-1]


@pytest.mark.parametrize("lag", [0.0, 5.0, 30.0, 600.0])
def test_what_stays_unknown_is_looked_at_seldomer_the_older_it_is(lag: float) -> None:
    ages = looks(lag, 7 * 86400.0)
    assert len([age for age in ages if age < 60]) <= 9 and len([age for age in ages if age < 3600]) <= 16
    pauses = [after - before for before, after in pairwise(ages)]
    assert pauses[-1] == pytest.approx(LONGEST) == max(pauses)
    assert any(lag < age < lag + 1 for age in ages)  # where the first one may count


def test_what_stays_unknown_leaves_the_budget_to_what_can_be_settled(state: str, raze: Raze, tmp_path: Path) -> None:
    asyncio.run(put(state, [lost(f"old{n}", "raze", age=86400.0) for n in range(60)], tmp_path))
    text = ", budget: {calls: 60, per: 100h}"
    with StandIn(raze) as provider, running_gateway(config(text, state=state, raze=provider.url), tmp_path) as url:
        until(lambda: len([one for one in provider.seen if one.method == "GET"]) >= 15)
        raze.fault = lambda: Says(then="cut")
        create(url, "k")
        raze.fault = None
        until(lambda: outcomes(url, outcome="applied"))
        assert len([one for one in provider.seen if one.method == "GET"]) <= 25
        left = ask(f"{url}/v1/connections/raze").data["state"]["budget_left"]["remaining"]
        assert left >= 60 - 25 - 1
        assert len(outcomes(url, outcome="unknown")) == 60


def test_whoever_asks_again_need_not_wait_for_the_turn(raze: Raze, tmp_path: Path) -> None:
    async def put_off() -> None:
        state = state_of("sqlite:///gateway.db", tmp_path)
        assert state is not None
        [claim] = await state.store.open_claims()
        await state.store.change(claim.key, lambda held, now: (replace(held or claim, turn=now + 1e6), None))
        await state.store.aclose()

    made: list[Any] = []

    def changed() -> Says:
        made.append(raze.records[0]["deal_value"])
        raze.records[0]["deal_value"] = 1  # before anybody looked: it is only alike
        return Says(then="cut")

    with StandIn(raze) as provider, running_gateway(config(raze=provider.url), tmp_path) as url:
        raze.fault = changed
        create(url, "k")
        raze.fault = None
        asyncio.run(put_off())
        time.sleep(0.5)  # a look that had begun has ended
        raze.records[0]["deal_value"] = made[0]
        time.sleep(2.0)
        assert outcomes(url)[0]["outcome"] == "unknown"
        until(lambda: create(url, "k").status == 201)


async def put_off(folder: Path) -> None:
    """The turn of the one open claim is far away: nobody looks for it who is not asked."""
    state = state_of("sqlite:///gateway.db", folder)
    assert state is not None
    [claim] = await state.store.open_claims()
    await state.store.change(claim.key, lambda held, now: (replace(held or claim, turn=now + 1e6), None))
    await state.store.aclose()


def test_a_repeat_whose_look_finds_the_store_away_is_told_so_and_that_nothing_is_known(
    raze: Raze, tmp_path: Path
) -> None:
    held: list[locked] = []
    armed = threading.Event()

    def answer(seen: Seen) -> Says:
        if armed.is_set() and not held:
            held.append(locked(tmp_path / "gateway.db"))
            held[0].__enter__()
        return raze(seen)

    raze.fault, raze.applies = lambda: Says(then="cut"), False
    with StandIn(answer) as provider, running_gateway(config(raze=provider.url), tmp_path) as url:
        assert create(url, "k").json["outcome"] == "unknown"
        asyncio.run(put_off(tmp_path))
        time.sleep(1.0)  # a look that had begun has ended, and those that are asked for are kept apart
        armed.set()
        try:
            problem = assert_problem(create(url, "k"), 503, "state-store-unavailable")
            assert problem["outcome"] == "unknown"  # nothing is sent by this request; of the one before nobody knows
        finally:
            held[0].__exit__()
        raze.fault = None
        until(lambda: create(url, "k").status == 201)
        assert len(raze.records) == 1


def test_a_look_that_takes_long_holds_up_nobody_beyond_his_own_time(raze: Raze, tmp_path: Path) -> None:
    slow = threading.Event()

    def answer(seen: Seen) -> Says:
        if seen.method == "GET" and slow.is_set():
            time.sleep(3.0)
        return raze(seen)

    raze.fault = lambda: Says(then="cut")
    with StandIn(answer) as provider, running_gateway(config(raze=provider.url), tmp_path) as url:
        slow.set()
        create(url, "k")
        asyncio.run(put_off(tmp_path))
        time.sleep(1.0)
        began = time.monotonic()
        problem = assert_problem(create(url, "k", **{"X-Request-Timeout": "0.5"}), 504, "provider-timeout")
        assert problem["outcome"] == "unknown"
        assert time.monotonic() - began < 2.0
        until(lambda: outcomes(url, outcome="applied"))  # it went on without him


def test_a_provider_that_says_nothing_delays_no_other(state: str, raze: Raze, tmp_path: Path) -> None:
    asyncio.run(put(state, [lost(f"dead{n}", "dead") for n in range(40)], tmp_path))
    over, ended = threading.Event(), list[str]()

    def silent(seen: Seen) -> Says:
        over.wait(60)
        ended.append(seen.path)
        return Says(500)

    dead = StandIn(silent)
    with dead as black_hole, StandIn(raze) as provider:
        try:
            with running_gateway(config(state=state, raze=provider.url, dead=black_hole.url), tmp_path) as url:
                until(lambda: dead.seen)
                raze.fault = lambda: Says(then="cut")
                create(url, "k")
                raze.fault = None
                until(lambda: outcomes(url, outcome="applied"), 30)
                assert not ended and len(outcomes(url, connection="dead", outcome="unknown")) == 40
        finally:
            over.set()


def test_a_holder_that_only_its_machine_knows_to_be_dead_is_found_so_whoever_looks_first(
    state: str, raze: Raze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = replace(lost("k", "raze"), finished=False, holder="elsewhere")
    asyncio.run(put(state, [claim], tmp_path))
    known: list[str] = []
    monkeypatch.setattr(settling, "is_dead", lambda holder: holder in known)
    with StandIn(raze) as provider, running_gateway(config(state=state, raze=provider.url), tmp_path) as url:
        until(lambda: len(provider.calls()) >= 3)  # by a gateway that cannot know; its next look is seconds away

        async def is_seen() -> bool:
            """Whether a gateway on the holder's machine would find it in its round."""
            held = state_of(state, tmp_path)
            assert held is not None
            try:
                return "k" in [one.key for one in await held.store.due(9)]
            finally:
                await held.store.aclose()

        assert all(asyncio.run(is_seen()) for _ in range(5))
        known.append("elsewhere")
        until(lambda: outcomes(url, outcome="not_applied"))


def test_a_look_that_ends_late_settles_no_later_write_of_the_same_key(state: str, tmp_path: Path) -> None:
    """Meanwhile others found the first one absent, the key was free, and another create under it was lost as well."""

    async def work() -> None:
        first = lost("k", "raze")
        await put(state, [first], tmp_path)
        opened = state_of(state, tmp_path)
        assert opened is not None
        store = opened.store
        asked = replace(first, fence=2, fingerprint="another draft", about=b"")
        for step in (
            lambda held, now: claims.settle_absent(held, 1, now, keep=60, how="look-up"),
            lambda held, now: claims.take(held, asked, now, lease=60),
            lambda held, now: claims.send(held, 2, now, lease=60, about=first.about, twin="t"),
            lambda held, now: claims.lose(held, 2, now),
        ):
            await store.change("k", step)
        settler = Settler(store, 0.3, 60, lambda _: None, kept)
        assert not await settler.settle_found(first, Kept(201, b"{}", (), "opp_0"), "look-up")
        held = await store.claim("k")
        assert held is not None and (held.word, held.fence) == ("unknown", 2)
        await store.aclose()

    asyncio.run(work())


# --- a reload, and the end, while the store is away -------------------------------------------------------------------


def test_how_a_write_ended_is_written_down_after_a_reload(raze: Raze, tmp_path: Path) -> None:
    cut = threading.Event()

    def answer(seen: Seen) -> Says:
        if seen.method == "POST":
            cut.wait(30)
        return raze(seen)

    raze.fault, raze.applies = lambda: Says(then="cut"), False
    with StandIn(answer) as provider:
        (tmp_path / "config.yaml").write_text(config(raze=provider.url))
        with Server(tmp_path) as server, ThreadPoolExecutor(2) as pool:
            first = pool.submit(create, server.url, "k")
            keyless = pool.submit(send, f"{server.url}/v1/opportunities", "POST", json.dumps(DRAFT))
            until(lambda: 'in_flight{connection="raze"} 2' in ask(f"{server.url}/metrics").body.decode())
            with locked(tmp_path / "gateway.db"):
                cut.set()
                for write in (first, keyless):
                    assert write.result().json["outcome"] == "unknown"
                assert server.reload().returncode == 0
                until(lambda: "the configuration was reloaded" in server.log)
                time.sleep(1.0)  # and the gateway before has been closed
            until(lambda: len(outcomes(server.url, outcome="not_applied")) == 2)
            assert {(one["keyed"], one["settled_by"]) for one in outcomes(server.url)} == {
                (True, "look-up"),
                (False, "look-up"),
            }


def test_what_could_not_be_written_down_before_the_end_is_logged(raze: Raze, tmp_path: Path) -> None:
    asked = threading.Event()

    def answer(seen: Seen) -> Says:
        if seen.method == "POST":
            asked.set()
            time.sleep(1.0)
        return raze(seen)

    raze.fault = lambda: Says(then="cut")
    with StandIn(answer) as provider:
        (tmp_path / "config.yaml").write_text(config(raze=provider.url))
        with Server(tmp_path, "--drain-seconds", "0") as server, ThreadPoolExecutor(2) as pool:
            write = pool.submit(send, f"{server.url}/v1/opportunities", "POST", json.dumps(DRAFT))
            asked.wait(30)
            with locked(tmp_path / "gateway.db"):
                assert write.result().json["outcome"] == "unknown"
                assert server.stop() == 0
            assert (
                "a create at raze without a key: its outcome is unknown, and that was written down nowhere"
                in server.log
            )


class locked:
    """While entered, nobody else writes to this file."""

    def __init__(self, path: Path) -> None:
        self._held = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)

    def __enter__(self) -> None:
        self._held.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._held.execute("ROLLBACK")
        self._held.close()


# --- what callers and operators are told ------------------------------------------------------------------------------


def test_the_first_answer_and_the_repeats_agree_on_whether_to_repeat(raze: Raze, tmp_path: Path) -> None:
    with StandIn(raze) as provider, running_gateway(config(raze=provider.url, blind=provider.url), tmp_path) as url:
        raze.fault = lambda: Says(then="cut")
        told = [assert_problem(create(url, "k", X_CRM_Connection="blind"), 504, "provider-timeout") for _ in range(2)]
        assert {(one["outcome"], one["retryable"], one["retry_after"]) for one in told} == {("unknown", True, 1)}
        plain = assert_problem(send(f"{url}/v1/opportunities", "POST", json.dumps(DRAFT)), 504, "provider-timeout")
        assert (plain["outcome"], plain["retryable"]) == ("unknown", False) and "retry_after" not in plain


CLI: list[tuple[list[str], str | None]] = [
    (["create"], json.dumps(NAME)), (["update", "raze:opp_1"], json.dumps(NAME)), (["delete", "raze:opp_1"], None),
]  # fmt: skip


@pytest.mark.parametrize(("command", "given"), CLI, ids=["create", "update", "delete"])
def test_a_write_of_the_command_line_that_is_lost_is_listed(
    tmp_path: Path, command: list[str], given: str | None
) -> None:
    run = CliRunner()

    def cut(seen: Seen) -> Says:
        return Says(then="cut")

    with StandIn(cut) as provider:
        path = tmp_path / "config.yaml"
        path.write_text(config(raze=provider.url))
        assert run.invoke(main, [*command, "--config", str(path)], input=given).exit_code == 1
        [told] = json.loads(run.invoke(main, ["outcomes", "--json", "--config", str(path)]).stdout)["data"]
    assert (told["connection"], told["operation"], told["outcome"]) == ("raze", command[0], "unknown")
    assert (told["keyed"], told["holder_gone"]) == (False, True)


def test_a_write_of_the_command_line_is_not_sent_where_it_could_not_be_remembered(tmp_path: Path) -> None:
    with StandIn([Says(201)]) as provider:
        path = tmp_path / "config.yaml"
        path.write_text(config(state=f"sqlite:///{tmp_path}/gateway.db", raze=provider.url))
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as held:
            held.execute("BEGIN EXCLUSIVE")
            told = CliRunner().invoke(main, ["create", "--json", "--config", str(path)], input=json.dumps(NAME))
        assert told.exit_code == 1 and "state-store-unavailable" in told.output and not provider.seen
