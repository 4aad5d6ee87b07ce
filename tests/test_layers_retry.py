"""Row B1 of the acceptance matrix, cell by cell over real sockets, and what else the layer that repeats promises.

`violations` says what is wrong with one cell. That it can find something is a test too: with each rule broken on purpose
it has to complain.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.adapter import Call, Reply
from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent, Problem
from gateway.failures import problem_of_failure, problem_of_reply, retry_after, wait_told
from gateway.layers import retry
from gateway.layers.patience import MUCH, REMEMBERED, Patience
from gateway.layers.trip import Trip
from gateway.loop_time import loop_time
from tests.at_provider import ADAPTERS, DELETE, GET, LIST, PATCH, POST, PUT, connected, outcome_of, reply_of, says, soon
from tests.fault_server import CLOSE, READ, RESET, FaultServer, Loop, Step, answer
from tests.kinds.retry_after import FORMS, NOW

pytestmark = pytest.mark.anyio

METHODS = {"GET": GET, "POST": POST, "PATCH": PATCH, "PUT": PUT, "DELETE": DELETE}
GOOD = Loop(READ, answer(b'{"id": "1"}'))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Fault:
    """What the provider does to the first try, and what must come of it."""

    group: str
    """`unsent`, `lost`, `status`, `unreadable`: the rows of B1."""
    steps: tuple[Step, ...] = ()
    code: str = ""
    """The problem code where it is not repeated."""


def status(number: int, *headers: str) -> Fault:
    code = {408: "provider-timeout", 429: "rate-limited"}.get(number, "provider-error")
    return Fault("status", tuple(says(f"{number} Whatever", *headers, body=b"{}")), code)


FAULTS = {
    "refused": Fault("unsent"),
    "reset": Fault("lost", (READ, RESET), "provider-timeout"),
    "early end": Fault("lost", (READ, CLOSE), "provider-timeout"),
    "cut answer": Fault("lost", (READ, answer(b'{"id": "1"}')[:-3], CLOSE), "provider-timeout"),
    "read time-out": Fault("lost", (READ, answer(b'{"id": "1"}'), READ, 5.0), "provider-timeout"),
    **{str(number): status(number) for number in (408, 500, 502, 503, 504)},
    "429": status(429),
    "429, told when": status(429, "Retry-After: 1"),
    "unreadable 200": Fault("unreadable", tuple(says(body=b"<html>")), "provider-bad-answer"),
}


def is_repeated(group: str, method: str) -> bool:
    """Row B1."""
    if group == "unsent":
        return True
    return group != "unreadable" and method in ("GET", "PATCH", "PUT")


def outcome_told(fault: Fault, method: str) -> str | None:
    if method == "GET":
        return None
    return "not_applied" if fault.code == "rate-limited" else "unknown"


async def violations(provider: str, name: str, method: str) -> list[str]:
    """What differs from B1 in the cell of this fault and method."""
    fault, call = FAULTS[name], METHODS[method]
    tries, server = 0, FaultServer([*fault.steps, GOOD], [GOOD])
    async with contextlib.AsyncExitStack() as stack:
        url, start_at = await _place(stack, server, fault)

        async def before() -> None:
            nonlocal tries
            tries += 1
            if fault.group == "unsent" and tries == 2:
                await stack.enter_async_context(_listening(server, start_at))

        connection = await stack.enter_async_context(connected(url, provider, patience=2.0))
        if name == "read time-out":  # whoever answered quickly so far is not waited for that long
            reply_of(await outcome_of(lambda: connection.send(call, soon(0.7))))
            tries = len(server.requests) - 1
        began = time.monotonic()
        outcome = await outcome_of(
            lambda: connection.send(call, soon(0.8 if name == "read time-out" else 2.0), before=before)
        )
        took = time.monotonic() - began
        again = is_repeated(fault.group, method)
        found = []
        if tries != (2 if again else 1):
            found.append(f"{tries} tries")
        expected = 1 + again - (fault.group == "unsent") + (name == "read time-out")
        if len(server.requests) != expected:
            found.append(f"the provider saw {len(server.requests)} requests")
        if again:
            if not isinstance(outcome, Reply) or outcome.status != 200:
                found.append(f"it came to {outcome!r}")
            if name == "429, told when" and took < 1:
                found.append("it came back before it was asked to")
        else:
            problem = _problem(connection.adapter, outcome, call)
            if problem is None or (problem.code, problem.outcome) != (fault.code, outcome_told(fault, method)):
                found.append(f"told as {problem!r}")
        return found


async def _place(stack: contextlib.AsyncExitStack, server: FaultServer, fault: Fault) -> tuple[str, int]:
    if fault.group != "unsent":
        await stack.enter_async_context(server)
        return server.url, 0
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    return f"http://127.0.0.1:{port}", port


@contextlib.asynccontextmanager
async def _listening(server: FaultServer, port: int) -> AsyncIterator[None]:
    server.scripts = ([GOOD],)
    listener = await asyncio.start_server(server._accepted, "127.0.0.1", port)
    try:
        yield
    finally:
        listener.close()


def _problem(adapter: Any, outcome: Any, call: Call) -> Problem | None:
    if isinstance(outcome, CallFailed):
        return problem_of_failure(outcome, call, "it")
    return problem_of_reply(adapter, outcome, call, "it", "some-key") if isinstance(outcome, Reply) else None


CELLS = [(provider, name, method) for provider in ADAPTERS for name in FAULTS for method in ("GET", "POST", "PATCH")]


@pytest.mark.parametrize(("provider", "name", "method"), CELLS)
async def test_each_cell_of_the_table(provider: str, name: str, method: str) -> None:
    assert await violations(provider, name, method) == []


@pytest.mark.parametrize("name", FAULTS)
async def test_a_put_is_repeated_like_a_patch_and_a_delete_like_a_post(name: str) -> None:
    assert await violations("getraze", name, "PUT") == []
    assert await violations("getraze", name, "DELETE") == []


def _always(call: Call, outcome: Any) -> bool:
    return not isinstance(outcome, Reply) or outcome.status >= 400


PLANTED: dict[str, tuple[Callable[[Call, Any], bool], list[tuple[str, str]]]] = {
    "everything is repeated": (_always, [("reset", "POST"), ("500", "POST"), ("429", "POST"), ("unreadable 200", "GET")]),
    "nothing is repeated": (
        lambda call, outcome: False, [("refused", "POST"), ("reset", "GET"), ("503", "GET"), ("429", "PATCH")],
    ),
    "a POST is repeated after a reset": (
        lambda call, outcome: isinstance(outcome, MaybeSent), [("early end", "POST"), ("cut answer", "POST")],
    ),
    "only reads are": (
        lambda call, outcome: call.is_read and retry.may_repeat(call, outcome), [("refused", "POST"), ("502", "PATCH")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
async def test_a_planted_mistake_in_the_table_is_found(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, cells = PLANTED[mistake]
    original = retry.may_repeat
    monkeypatch.setattr(
        retry, "may_repeat",
        broken if mistake != "only reads are" else lambda call, outcome: call.is_read and original(call, outcome),
    )  # fmt: skip
    for name, method in cells:
        assert await violations("getraze", name, method), (name, method)


async def test_a_wait_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "wait_told", lambda adapter, reply: None)
    assert await violations("getraze", "429, told when", "GET")


UNSENT = ["refused", "dns", "tls", "connect_timeout", "busy", "deadline"]


@pytest.mark.parametrize("method", METHODS)
def test_what_was_never_sent_may_be_sent_again_whatever_it_is(method: str) -> None:
    assert all(retry.may_repeat(METHODS[method], NeverSent(reason)) for reason in UNSENT)


@pytest.mark.parametrize("reason", ["full", "open", "budget"])
def test_what_our_own_layers_hold_back_is_not_asked_again(reason: str) -> None:
    assert not retry.may_repeat(GET, NeverSent(reason))


@pytest.mark.parametrize("number", [400, 401, 403, 404, 409, 410, 418, 422, 501, 505, 599])
def test_a_status_that_will_not_pass_is_not_asked_again(number: int) -> None:
    assert not retry.may_repeat(GET, Reply(number))


@pytest.mark.parametrize("reason", ["framing", "redirect", "encoding", "too_large", "not_json"])
def test_an_answer_that_cannot_be_used_is_not_asked_for_again(reason: str) -> None:
    assert not retry.may_repeat(GET, BadAnswer(reason))


def test_a_call_says_itself_whether_twice_is_once() -> None:
    assert retry.may_repeat(Call("search", "POST", "/s", reads=True), MaybeSent("reset"))
    assert retry.may_repeat(Call("remove", "DELETE", "/s", absolute=True), MaybeSent("reset"))
    assert not retry.may_repeat(Call("add", "PATCH", "/s", absolute=False), MaybeSent("reset"))


BOASTS = {
    "a POST that says it sets values": replace(POST, absolute=True),
    "one of another name": replace(POST, operation="move", absolute=True),
    "a create that says it only reads": replace(POST, reads=True),
    "a create by PUT": replace(PUT, operation="create"),
    "one that says it sets values": replace(PUT, operation="create", absolute=True),
}


@pytest.mark.parametrize("steps", [says("503 No"), [READ, RESET]], ids=["503", "reset"])
@pytest.mark.parametrize("boast", BOASTS)
async def test_a_create_is_sent_once_whatever_its_adapter_says_of_it(boast: str, steps: list[Step]) -> None:
    async with FaultServer([Loop(*steps)]) as server, connected(server.url) as connection:
        await outcome_of(lambda: connection.send(BOASTS[boast], soon(2)))
        assert len(server.requests) == 1


async def test_names_and_tls_are_tried_three_times() -> None:
    async with FaultServer([b"this is no TLS\r\n\r\n", CLOSE]) as server:
        for url, reason in (("http://nothing.invalid", "dns"), (server.url.replace("http:", "https:"), "tls")):
            tries: list[int] = []

            async def before(tries: list[int] = tries) -> None:
                tries.append(1)

            async with connected(url) as connection:
                with pytest.raises(NeverSent) as failed:
                    await connection.send(POST, soon(5), before=before)
            assert failed.value.reason == reason and len(tries) == 3


# --- what stands around the table


async def test_a_try_that_was_cut_short_while_connecting_is_repeated() -> None:
    """Whoever connects is not let in, until the second try."""
    loop, tries = asyncio.get_running_loop(), 0
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as others:
        server.setblocking(False)

        async def serve() -> None:
            asked, _ = await loop.sock_accept(server)
            with asked:
                await loop.sock_recv(asked, 65536)
                await loop.sock_sendall(asked, answer(b"{}", b"Connection: close"))

        served = asyncio.create_task(serve())

        async def before() -> None:
            nonlocal tries, served
            tries += 1
            if tries == 2:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        others.enter_context(server.accept()[0])
                others.close()
                served = asyncio.create_task(serve())

        async with connected(f"http://127.0.0.1:{server.getsockname()[1]}") as connection:
            assert (await connection.send(GET, soon(5))).status == 200  # at once: a try may be cut short from now on
            await served
            for _ in range(4):  # more than fit into the queue, so that the next one waits
                other = others.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(server.getsockname())
            assert reply_of(await outcome_of(lambda: connection.send(GET, soon(0.8), before=before))).status == 200
            assert tries == 2
            await served


async def test_nobody_who_may_no_longer_send_does() -> None:
    class Fenced(Exception):
        pass

    async def before() -> None:
        raise Fenced

    async with FaultServer([GOOD]) as server, connected(server.url) as connection:
        with pytest.raises(Fenced):
            await connection.send(POST, soon(1), before=before)
        assert server.requests == []
        assert reply_of(await connection.send(POST, soon(1))).status == 200


async def test_a_refusal_after_a_try_that_may_have_been_applied_does_not_hide_it() -> None:
    for second in (says("429 Slow Down", "Retry-After: 99"), says("422 No"), [RESET]):
        async with FaultServer([READ, RESET], second, second) as server, connected(server.url) as connection:
            outcome = await outcome_of(lambda: connection.send(PATCH, soon(1)))
            problem = _problem(connection.adapter, outcome, PATCH)
            assert problem is not None and problem.outcome == "unknown"


async def test_amplification_stays_below_a_fifth() -> None:
    """B2: a provider that answers 503 to everything is not asked more for it."""
    bad = Loop(READ, answer(status=b"503 Busy"))
    async with FaultServer([bad]) as server, connected(server.url) as connection:
        for _ in range(20):
            await asyncio.gather(*(outcome_of(lambda: connection.send(GET, soon(5))) for _ in range(20)))
        assert len(server.requests) <= 400 * 1.2
        assert len(server.requests) > 400  # some were tried again


async def test_amplification_without_a_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry.Repeats, "take", lambda self: True)
    bad = Loop(READ, answer(status=b"503 Busy"))
    async with FaultServer([bad]) as server, connected(server.url) as connection:
        await asyncio.gather(*(outcome_of(lambda: connection.send(GET, soon(5))) for _ in range(40)))
        assert len(server.requests) > 40 * 1.2


async def test_a_read_on_a_connection_that_was_closed_while_idle_succeeds() -> None:
    """B9: each connection answers a few requests, then takes one more and closes without a word."""
    script: list[Step] = [Loop()] and [step for _ in range(9) for step in (READ, answer())]
    async with FaultServer([*script, READ, CLOSE]) as server, connected(server.url) as connection:
        for _ in range(300):
            assert reply_of(await outcome_of(lambda: connection.send(GET, soon(5)))).status == 200
        assert server.connections > 30


async def test_the_deadline_is_one_for_waiting_tries_and_pauses() -> None:
    """B4: 0.9 of the time goes by, then nothing more comes."""
    slow: list[Step] = [READ, 0.36, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", 5.0]
    async with FaultServer(slow) as server, connected(server.url) as connection:
        began = time.monotonic()
        failed = await outcome_of(lambda: connection.send(GET, soon(0.4)))
        assert isinstance(failed, MaybeSent) and failed.reason == "deadline"
        assert 0.39 <= time.monotonic() - began < 0.8
    async with FaultServer([Loop(READ, answer(status=b"503 Busy"))]) as server, connected(server.url) as connection:
        began = time.monotonic()
        await asyncio.gather(*(outcome_of(lambda: connection.send(GET, soon(0.05))) for _ in range(5)))
        assert time.monotonic() - began < 0.5


async def test_a_wait_beyond_the_deadline_is_told_and_not_kept() -> None:
    script = [Loop(READ, answer(b"{}", b"Retry-After: 7", status=b"429 Slow Down"))]
    async with FaultServer(script) as server, connected(server.url) as connection:
        began = time.monotonic()
        reply = reply_of(await outcome_of(lambda: connection.send(LIST, soon(3))))
        assert reply.status == 429 and time.monotonic() - began < 1
        assert len(server.requests) == 1
        problem = _problem(connection.adapter, reply, LIST)
        assert problem is not None and problem.retry_after == 7


async def test_a_trip_is_given_its_whole_deadline_back() -> None:
    """A try that is cut short for the sake of another one leaves the deadline as it was."""
    async with FaultServer([READ, answer(), READ, 5.0], [GOOD]) as server, connected(server.url) as connection:
        await connection.send(GET, soon(1))
        trip = Trip(soon(1))
        deadline = trip.deadline
        assert (await connection._send(GET, trip)).status == 200
        assert trip.deadline == deadline and trip.tries == 2


# --- Retry-After: B3


@pytest.mark.parametrize(("value", "seconds"), FORMS.values(), ids=FORMS.keys())
def test_each_form_of_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(Reply(429, {"retry-after": value}), NOW) == seconds


def raze() -> Any:
    return ADAPTERS["getraze"](ADAPTERS["getraze"].Settings(), {})


def test_the_body_and_the_limit_tell_it_too() -> None:
    adapter, now = raze(), time.time()
    body = {"success": False, "error": {"code": "RATE_LIMIT_EXCEEDED", "retry_after": 30}}
    assert wait_told(adapter, Reply(429, {"retry-after": "7"}, body)) == 30
    assert (wait_told(adapter, Reply(429, {}, {"error": {"retry_after": 10**11}})) or 0) > 60
    assert wait_told(adapter, Reply(429, {"retry-after": "7"}, {"error": {"retry_after": -1}})) == 7
    spent = {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(now) + 20)}
    assert wait_told(adapter, Reply(429, spent)) == pytest.approx(20, abs=2)
    assert wait_told(adapter, Reply(503, spent)) is None
    assert wait_told(adapter, Reply(429, {**spent, "x-ratelimit-remaining": "5"})) is None
    assert wait_told(adapter, Reply(429, {**spent, "x-ratelimit-reset": "5"})) == 0


@pytest.mark.parametrize(
    ("value", "told"),
    [("7", 7), ("0", 1), ("0.2", 1), ("59.5", 60), ("3600", 3600), ("1" + "0" * 11, 86400), ("-1", 60)],
)
def test_what_is_told_is_whole_and_at_most_a_day(value: str, told: int) -> None:
    problem = problem_of_reply(raze(), Reply(429, {"retry-after": value}), GET, "it", "some-key")
    assert problem.retry_after == told


@given(st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=3 * REMEMBERED))
def test_the_slowest_of_the_answers_remembered_is_known_whatever_came_before(took: list[float]) -> None:
    patience, deadline = Patience(), loop_time() + 1000
    for seconds in took:
        patience.note(GET, Reply(200, elapsed=seconds))
    slowest = max(took[-REMEMBERED:])
    for much, is_cut in ((slowest * MUCH * 2 - 1, False), (slowest * MUCH * 2 + 1, True)):
        if much > 0:
            until = loop_time() + much
            assert (patience.cut(GET, until) < until) is is_cut
    assert patience.cut(POST, deadline) == deadline
