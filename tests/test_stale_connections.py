"""A connection may be closed while nobody uses it, just when a request goes out on it: what comes of that request.

No repeat that is counted can be afforded here, and no pause fits into a deadline, unless a test says otherwise.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapter import Call, Reply
from gateway.config import CircuitConfig
from gateway.errors import MaybeSent
from gateway.layers import retry
from tests.at_provider import DELETE, GET, LIST, PATCH, POST, PUT, connected, outcome_of, reply_of, soon
from tests.fault_server import CLOSE, HALF, READ, RESET, FaultServer, Loop, Step, answer

pytestmark = pytest.mark.anyio

GOOD: tuple[Step, ...] = (READ, answer(b'{"id": "1"}'))
ENDS: dict[str, Step] = {"close": CLOSE, "reset": RESET, "half": HALF}
HARMLESS = {"GET": GET, "list": LIST, "PATCH": PATCH, "PUT": PUT}
ONCE = {"POST": POST, "DELETE": DELETE}
AT_FIRST, SHARE = retry.AT_FIRST, retry.SHARE


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(autouse=True)
def nothing_to_spend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AT_FIRST": 0.0, "SHARE": 0.0, "BASE_SECONDS": 1e9, "MOST_SECONDS": 1e9}.items():
        monkeypatch.setattr(retry, name, value)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", HARMLESS)
async def test_what_can_do_no_harm_is_repeated_on_a_new_connection(name: str, end: str) -> None:
    async with FaultServer([*GOOD, READ, ENDS[end]], [Loop(*GOOD)]) as server, connected(server.url) as connection:
        for _ in range(3):
            assert reply_of(await outcome_of(lambda: connection.send(HARMLESS[name], soon(5)))).status == 200
        assert (len(server.requests), server.connections) == (4, 2)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", ONCE)
async def test_what_may_have_been_done_is_sent_once_and_unknown(name: str, end: str) -> None:
    async with FaultServer([*GOOD, READ, ENDS[end]], [Loop(*GOOD)]) as server, connected(server.url) as connection:
        await connection.send(GET, soon(5))
        outcome = await outcome_of(lambda: connection.send(ONCE[name], soon(5)))
        assert isinstance(outcome, MaybeSent) and outcome.stale
        assert len(server.requests) == 2


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("told", [b"", b"HTTP/1.1 2"], ids=["silent", "beginning to answer"])
async def test_a_new_connection_that_breaks_is_not_repeated_for_nothing(told: bytes, end: str) -> None:
    async with FaultServer([READ, told, 0.05, ENDS[end]]) as server, connected(server.url) as connection:
        outcome = await outcome_of(lambda: connection.send(GET, soon(5)))
        assert isinstance(outcome, MaybeSent) and not outcome.stale
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", ENDS)
async def test_an_answer_that_had_begun_is_not_repeated_for_nothing(end: str) -> None:
    cut: list[Step] = [*GOOD, READ, answer()[:-1], 0.05, ENDS[end]]
    async with FaultServer(cut, [Loop(*GOOD)]) as server, connected(server.url) as connection:
        await connection.send(GET, soon(5))
        outcome = await outcome_of(lambda: connection.send(GET, soon(5)))
        assert isinstance(outcome, MaybeSent) and not outcome.stale
        assert len(server.requests) == 2


# --- closed before the request has left


async def asked(sock: socket.socket) -> bytes:
    """The request that has come, whole."""
    loop, came = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in came:
        chunk = await loop.sock_recv(sock, 65536)
        assert chunk, came
        came += chunk
    return came


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
@pytest.mark.parametrize("call", [GET, POST, PATCH, DELETE], ids=lambda call: call.method)
async def test_what_has_not_left_is_sent_on_a_new_connection_whatever_it_is(call: Call) -> None:
    """The other side ends between the look at the connection and the end of the turn, at which the request would leave."""
    loop = asyncio.get_running_loop()
    async with listening() as server, connected(f"http://127.0.0.1:{server.getsockname()[1]}") as connection:
        first = asyncio.create_task(connection.send(GET, soon(5)))
        old, _ = await loop.sock_accept(server)
        await asked(old)
        await loop.sock_sendall(old, answer())
        await first
        second = asyncio.create_task(outcome_of(lambda: connection.send(call, soon(5))))
        await asyncio.sleep(0)  # it has begun, and what it writes waits for the end of the turn
        old.shutdown(socket.SHUT_WR)
        new, _ = await asyncio.wait_for(loop.sock_accept(server), 5)
        assert (await asked(new)).startswith(call.method.encode())
        await loop.sock_sendall(new, answer())
        assert reply_of(await second).status == 200
        assert await loop.sock_recv(old, 1) == b""
        old.close()
        new.close()


# --- several connections at once


def held(number: int, *after: Step) -> tuple[list[Step], ...]:
    """So many connections, each of which answers once all of them have been asked, and then does what is told."""
    return tuple([READ, gate, answer(), *after] for gate in itertools.repeat(asyncio.Event(), number))


async def opened(connection: Any, server: FaultServer, number: int) -> None:
    """Have so many connections lie idle."""
    asking = [asyncio.create_task(connection.send(GET, soon(5))) for _ in range(number)]
    await server.received(number)
    gate = server.scripts[0][1]
    assert isinstance(gate, asyncio.Event)
    gate.set()
    await asyncio.gather(*asking)
    assert server.open == number


async def test_those_that_lay_idle_beside_a_stale_one_are_closed() -> None:
    async with FaultServer(*held(5, READ, CLOSE), [Loop(*GOOD)]) as server, connected(server.url) as connection:
        await opened(connection, server, 5)
        assert reply_of(await outcome_of(lambda: connection.send(GET, soon(5)))).status == 200
        while server.open > 1:
            server.ended.clear()
            await asyncio.wait_for(server.ended.wait(), 5)
        assert (len(server.requests), server.connections, server.peak) == (7, 6, 5)


async def test_a_restart_of_the_provider_costs_no_read_and_opens_no_circuit() -> None:
    most = 12
    async with (
        FaultServer(*held(most, READ, RESET), [Loop(*GOOD)]) as server,
        connected(server.url, circuit=CircuitConfig(failures=3, open=60)) as connection,
    ):
        await opened(connection, server, most)
        outcomes = await asyncio.gather(*(outcome_of(lambda: connection.send(GET, soon(5))) for _ in range(most)))
        assert [reply_of(outcome).status for outcome in outcomes] == [200] * most
        assert connection.circuit[0] == "closed"


# --- whatever the order

LIVES = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([CLOSE, RESET, HALF])), min_size=1, max_size=12)
MIXED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8)
CALLS = st.lists(st.sampled_from([GET, LIST, PATCH, POST]), min_size=1, max_size=20)


@given(lives=LIVES, calls=CALLS)
@settings(max_examples=60, deadline=None)
def test_reads_and_updates_come_through_and_creates_are_sent_once(lives: Any, calls: list[Call]) -> None:
    """Each connection answers one to three times, and ends when it is asked again."""

    async def tried() -> None:
        scripts: list[list[Step]] = [[*(GOOD * answers), READ, end] for answers, end in lives]
        async with FaultServer(*scripts, [Loop(*GOOD)]) as server, connected(server.url) as connection:
            stale = 0
            for number, call in enumerate(calls):
                own = Call(call.operation, call.method, f"{call.path}/{number}", body=call.body)
                outcome = await outcome_of(lambda own=own: connection.send(own, soon(5)))  # type: ignore[misc]  # bound now
                came = server.paths.count(own.path)
                if call is POST:
                    assert came == 1
                    assert isinstance(outcome, Reply) or (isinstance(outcome, MaybeSent) and outcome.stale)
                else:
                    assert reply_of(outcome).status == 200 and came in (1, 2)
                    stale += came - 1
            assert stale < server.connections

    uvloop.run(tried())


@given(lives=MIXED, calls=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_a_provider_in_trouble_is_asked_a_fifth_more_and_once_for_each_connection_that_answered(
    lives: list[tuple[int, int]], calls: int
) -> None:
    """Each connection gives some good answers and some 503, and breaks when it is asked again; over and over."""

    async def tried() -> None:
        busy: tuple[Step, ...] = (READ, answer(status=b"503 Busy"))
        scripts: list[list[Step]] = [[*(GOOD * good), *(busy * bad), READ, CLOSE] for good, bad in lives]
        async with FaultServer(*(scripts * 200)) as server, connected(server.url) as connection:
            for _ in range(calls):
                await outcome_of(lambda: connection.send(GET, soon(5)))
            answered = sum(1 for good, bad in (lives * 200)[: server.connections] if good + bad)
            assert len(server.requests) <= calls + AT_FIRST + calls * SHARE + answered

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"AT_FIRST": AT_FIRST, "SHARE": SHARE, "BASE_SECONDS": 0.0}.items():
            patch.setattr(retry, name, value)
        uvloop.run(tried())
