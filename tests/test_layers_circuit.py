"""A circuit opens on what speaks against the provider and on nothing else, costs nobody else anything, and closes again."""

import asyncio
import time
from typing import Any

import pytest

from gateway.adapter import Reply
from gateway.config import CircuitConfig
from gateway.connections import Connection
from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent
from gateway.failures import problem_of_failure
from gateway.layers import circuit as module
from gateway.layers.circuit import Circuit
from gateway.state.local import FallbackBoard, LocalBoard
from gateway.state.store import Board, StateUnavailable
from tests.at_provider import GET, POST, connected, outcome_of, reply_of, says, soon
from tests.fault_server import CLOSE, READ, RESET, FaultServer, Loop, Step, answer

pytestmark = pytest.mark.anyio

THREE = CircuitConfig(failures=3, open=0.4)
GOOD = Loop(READ, answer(b'{"id": "1"}'))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)


async def posts(connection: Connection, count: int, seconds: float = 2) -> list[Any]:
    """Writes are never repeated: a try each."""
    return [await outcome_of(lambda: connection.send(POST, soon(seconds))) for _ in range(count)]


COUNTS: dict[str, tuple[list[Step], bool]] = {
    "reset": ([READ, RESET], True),
    "early end": ([READ, CLOSE], True),
    "500": (says("500 No"), True),
    "503": (says("503 No"), True),
    "400": (says("400 No"), False),
    "401": (says("401 No"), False),
    "404": (says("404 No"), False),
    "408": (says("408 No"), False),
    "429": (says("429 No"), False),
    "redirect": (says("302 Found", "Location: http://127.0.0.1:9/"), False),
    "garbage": (says(body=b"<html>"), False),
    "framing": ([READ, b"nonsense\r\n\r\n", CLOSE], False),
}


@pytest.mark.parametrize("what", COUNTS)
async def test_what_counts_and_what_does_not(what: str) -> None:
    steps, opens = COUNTS[what]
    async with FaultServer([Loop(*steps)]) as server, connected(server.url, circuit=THREE) as connection:
        await posts(connection, 5)
        assert connection.circuit[0] == ("open" if opens else "closed")
        assert len(server.requests) == (3 if opens else 5)


async def test_connections_that_are_refused_count() -> None:
    async with connected("http://127.0.0.1:9", circuit=THREE) as connection:
        outcomes = await posts(connection, 2)
        assert [(type(one), one.reason) for one in outcomes] == [(NeverSent, "refused"), (NeverSent, "open")]


async def test_an_answer_in_between_begins_the_row_anew() -> None:
    bad, good = says("500 No"), says("404 No")
    async with (
        FaultServer([*bad, *bad, *good, *bad, *bad, *good]) as server,
        connected(server.url, circuit=THREE) as connection,
    ):
        await posts(connection, 6)
        assert connection.circuit[0] == "closed"


async def test_it_opens_fails_fast_lets_one_call_try_and_closes() -> None:
    """B5, for one connection."""
    hanging = asyncio.Event()
    lost: list[Step] = [READ, CLOSE]
    back: list[Step] = [READ, hanging, answer(b'{"id": "1"}'), GOOD]
    async with FaultServer(lost, lost, lost, back) as server, connected(server.url, circuit=THREE) as connection:
        await posts(connection, 3)
        began = time.monotonic()
        outcomes = await posts(connection, 100)
        assert all(isinstance(one, NeverSent) and one.reason == "open" for one in outcomes)
        assert (time.monotonic() - began) / 100 < 0.01
        problem = problem_of_failure(outcomes[0], POST, "it")
        assert (problem.code, problem.status, problem.outcome, problem.retry_after) == (
            "provider-unavailable", 503, "not_applied", 1
        )  # fmt: skip
        assert len(server.requests) == 3
        await asyncio.sleep(0.41)
        assert connection.circuit[0] == "half-open"
        probe = asyncio.create_task(outcome_of(lambda: connection.send(POST, soon(2))))
        await server.received(4)
        assert [one.reason for one in await posts(connection, 5)] == ["open"] * 5
        assert len(server.requests) == 4  # one call tries, and one alone
        hanging.set()
        assert reply_of(await probe).status == 200
        assert connection.circuit == ("closed", 0.0)
        assert all(reply_of(one) for one in await posts(connection, 5))


async def test_a_try_that_fails_opens_it_again() -> None:
    async with FaultServer([READ, CLOSE]) as server, connected(server.url, circuit=THREE) as connection:
        await posts(connection, 3)
        await asyncio.sleep(0.41)
        await posts(connection, 3)
        assert len(server.requests) == 4 and connection.circuit[0] == "open"


async def test_a_try_that_is_cancelled_leaves_the_next_one_to_try() -> None:
    async with (
        FaultServer(*[[READ, CLOSE]] * 3, [READ, 5.0], [GOOD]) as server,
        connected(server.url, circuit=THREE) as connection,
    ):
        await posts(connection, 3)
        await asyncio.sleep(0.41)
        probe = asyncio.create_task(connection.send(POST, soon(5)))
        await server.received(4)
        probe.cancel()
        await asyncio.wait([probe])
        await asyncio.sleep(0.45)
        assert reply_of((await posts(connection, 1))[0]).status == 200


async def test_a_try_that_is_cancelled_before_it_began_leaves_the_next_one_to_try() -> None:
    class Slow(LocalBoard):
        seconds = 0.0

        async def trip(self, name: str, until: float) -> None:
            await asyncio.sleep(self.seconds)
            await super().trip(name, until)

    board = Slow()
    circuit = Circuit("it", 1, 0.05, 10.0, board)
    await circuit.judge(MaybeSent("reset"), 0.0, probe=False)
    await asyncio.sleep(0.06)
    board.seconds = 5.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await circuit.enter()
    board.seconds = 0.0
    await asyncio.sleep(0.06)
    assert await circuit.enter()


async def test_a_black_hole_is_found_by_patient_callers_and_not_by_hasty_ones() -> None:
    async with FaultServer([READ, 9.0]) as server, connected(server.url, circuit=THREE, patience=0.2) as connection:
        await asyncio.gather(*(posts(connection, 1, 0.02) for _ in range(10)))
        assert connection.circuit[0] == "closed"
        await asyncio.gather(*(posts(connection, 1, 0.2) for _ in range(3)))
        assert connection.circuit[0] == "open"


async def test_a_connection_that_is_never_made_counts_too() -> None:
    """Nothing was sent when the deadline came, but the provider had its time."""
    async with FaultServer([]) as server, connected(
        server.url.replace("http:", "https:"), circuit=THREE, patience=0.2
    ) as connection:  # fmt: skip
        outcomes = await asyncio.gather(*(posts(connection, 1, 0.2) for _ in range(3)))
        assert all(isinstance(one, NeverSent) and one.reason == "deadline" for (one,) in outcomes)
        assert connection.circuit[0] == "open"


async def test_one_provider_that_hangs_holds_up_nobody_elses_callers() -> None:
    async with (
        FaultServer([READ, 9.0]) as dead, FaultServer([GOOD]) as well,
        connected(dead.url, circuit=THREE, patience=0.3, concurrency=4) as one,
        connected(well.url, circuit=THREE, concurrency=4) as other,
    ):  # fmt: skip
        waiting = asyncio.gather(*(posts(one, 1, 0.3) for _ in range(12)))
        began = time.monotonic()
        for _ in range(50):
            assert reply_of(await outcome_of(lambda: other.send(GET, soon(2)))).status == 200
        assert time.monotonic() - began < 2
        outcomes = [outcome for (outcome,) in await waiting]
        assert one.circuit[0] == "open" and other.circuit[0] == "closed"
        # Those who waited for a slot are told as soon as it opens.
        assert {getattr(outcome, "reason", None) for outcome in outcomes} <= {"deadline", "open", "busy"}


async def test_what_one_worker_finds_out_the_others_know() -> None:
    board = LocalBoard()
    async with (
        FaultServer([READ, CLOSE]) as server, connected(server.url, circuit=THREE, board=board) as one,
        connected(server.url, circuit=THREE, board=board) as other,
    ):  # fmt: skip
        await posts(one, 3)
        await asyncio.sleep(0.02)
        assert [outcome.reason for outcome in await posts(other, 2)] == ["open", "open"]
        server.scripts = ([GOOD],)
        await asyncio.sleep(0.41)
        assert reply_of((await posts(other, 1))[0]).status == 200
        await asyncio.sleep(0.02)
        await one.look()
        assert reply_of((await posts(one, 1))[0]).status == 200


async def test_without_a_circuit_every_call_goes_out() -> None:
    async with FaultServer([READ, CLOSE]) as server, connected(server.url) as connection:
        await posts(connection, 15)
        assert len(server.requests) == 15 and connection.circuit == ("closed", 0.0)


class Gone(LocalBoard):
    """A board that nobody can reach; `asked` counts who tried."""

    asked = 0

    async def tripped(self, name: str) -> float:
        self.asked += 1
        raise StateUnavailable("the board is gone")

    async def trip(self, name: str, until: float) -> None:
        self.asked += 1
        raise StateUnavailable("the board is gone")


async def test_without_the_shared_board_a_worker_goes_by_what_it_knows(caplog: pytest.LogCaptureFixture) -> None:
    gone = Gone()
    board: Board = FallbackBoard(gone)
    async with FaultServer([READ, CLOSE]) as server, connected(server.url, circuit=THREE, board=board) as connection:
        await posts(connection, 20)
        assert len(server.requests) == 3 and connection.circuit[0] == "open"
    assert gone.asked <= 2  # asked once in a while, not at every call
    assert [record.message for record in caplog.records] == [
        "the state store fails: budgets and circuits are this worker's own until it is back (the board is gone)"
    ]


async def test_the_one_call_that_tries_has_all_its_time() -> None:
    """Cut short for the sake of a second try it would show nothing, and caller after caller would have to wait."""
    async with (
        FaultServer([READ, answer(b'{"id": "1"}')], [Loop(READ, 9.0)]) as server,
        connected(server.url, circuit=THREE, patience=0.3) as connection,
    ):
        assert reply_of(await outcome_of(lambda: connection.send(GET, soon(0.3)))).status == 200
        while connection.circuit[0] != "open":
            await posts(connection, 1, 0.3)
        await asyncio.sleep(0.45)
        asked, began = len(server.requests), time.monotonic()
        await outcome_of(lambda: connection.send(GET, soon(0.3)))
        assert time.monotonic() - began > 0.28 and len(server.requests) == asked + 1
        assert connection.circuit[0] == "open"


async def test_a_try_without_a_verdict_lets_the_next_one_try_at_once_in_any_worker() -> None:
    board = LocalBoard()
    one, other = (Circuit("it", 3, 60.0, 10.0, board) for _ in range(2))
    await board.trip("it", time.time() - 1)
    for circuit in (one, one, other, one):
        circuit._looked = float("-inf")
        assert await circuit.enter() is True
        await circuit.judge(NeverSent("budget"), 0.0, True)
        await circuit.leave()
    assert one.state()[0] == "half-open"


async def test_a_caller_with_little_time_does_not_keep_a_circuit_open() -> None:
    """He tries again and again and never learns anything; who has time finds that the provider is back."""
    slow = Loop(READ, 0.1, answer(b'{"id": "1"}'))
    async with FaultServer([slow]) as server, connected(server.url, circuit=THREE, patience=2.0) as connection:
        circuit = connection._circuit
        assert circuit is not None
        await circuit._trip()
        await asyncio.sleep(0.45)
        for _ in range(5):
            await outcome_of(lambda: connection.send(GET, soon(0.02)))
        outcome = await outcome_of(lambda: connection.send(GET, soon(2)))
        assert reply_of(outcome).status == 200 and connection.circuit[0] == "closed"


async def test_one_worker_tries_for_all() -> None:
    """A worker that looked a moment ago looks again before it tries."""
    board = LocalBoard()
    one, other = (Circuit("it", 3, 0.05, 10.0, board) for _ in range(2))
    await board.trip("it", time.time() - 1)
    assert await one.enter() is True
    other._until, other._looked = time.monotonic() - 1, time.monotonic() + 60
    with pytest.raises(NeverSent):
        await other.enter()


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_setting_the_clock_keeps_no_circuit_open(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """B5: back within open time and one try, for the worker that opened it, one that knew of it and a later one."""
    now, set_by = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: now() + set_by)
    board = LocalBoard()
    one, other, late = (Circuit("it", 1, 0.3, 10.0, board) for _ in range(3))
    await one.judge(MaybeSent("reset"), 0.0, False)
    await other.look()
    set_by = step
    await late.look()
    for circuit in (one, other):
        name, left = circuit.state()
        assert name == "open" and left <= 0.3
    assert late.state()[1] <= 0.3
    await asyncio.sleep(0.31)
    assert [circuit.state()[0] for circuit in (one, other, late)] == ["half-open"] * 3
    assert await other.enter()
    await other.judge(Reply(200), 0.0, True)
    await late.look()
    assert other.state() == late.state() == ("closed", 0.0)


async def test_a_clock_that_is_behind_does_not_keep_a_try_of_another_machine_from_being_seen() -> None:
    board = LocalBoard()
    circuit = Circuit("it", 1, 0.3, 10.0, board)
    for ahead in (7200.0, 7200.5):  # as told by a machine whose clock is ahead: opened, and opened again
        await board.trip("it", time.time() + ahead)
        circuit._looked = float("-inf")
        await circuit.look()
        assert circuit.state()[0] == "open"
        await asyncio.sleep(0.31)
        assert circuit.state()[0] == "half-open"


# --- with rules broken on purpose


async def test_planted_counting_of_4xx_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Circuit, "_is_bad", lambda self, outcome, asked: True)
    steps, _ = COUNTS["404"]
    async with FaultServer([Loop(*steps)]) as server, connected(server.url, circuit=THREE) as connection:
        await posts(connection, 5)
        assert connection.circuit[0] == "open"  # what `test_what_counts_and_what_does_not` would refuse


async def test_planted_impatience_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    async with FaultServer([READ, 9.0]) as server, connected(server.url, circuit=THREE, patience=0.2) as connection:
        await asyncio.gather(*(posts(connection, 1, 0.02) for _ in range(10)))
        assert connection.circuit[0] == "open"


def test_the_words_for_outcomes_are_all_judged() -> None:
    circuit = Circuit("it", 3, 1.0, 10.0, LocalBoard())
    judged: dict[CallFailed, bool | None] = {
        NeverSent("refused"): True, NeverSent("dns"): True, NeverSent("tls"): True, NeverSent("connect_timeout"): True,
        MaybeSent("reset"): True, MaybeSent("early_end"): True, BadAnswer("redirect"): False, BadAnswer("not_json"): False,
        NeverSent("busy"): None, NeverSent("full"): None, NeverSent("budget"): None, NeverSent("open"): None,
    }  # fmt: skip
    assert {failure: circuit._is_bad(failure, 0.0) for failure in judged} == judged
