"""Callers that leave before their answer, and callers that end their side and listen: at first both look the same.

Each runs on uvloop, as the gateway does, and on the loop of the standard library.
"""

import asyncio
import contextlib
import json
import logging
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway import metrics
from gateway.http import server
from gateway.http.leaving import BEGINNING, is_broken_off
from gateway.http.server import AT_ONCE
from tests.operating import PATIENCE
from tests.replicas import Gate, Site, data, replicas, until
from tests.rig.plain_http import Answer, Request

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
ITEM = "/v1/opportunities/{id}"
LIST = "/v1/opportunities"


@dataclass
class Caller:
    """A connection, by the byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *requests: bytes) -> None:
        """All of it in one piece."""
        self.writer.write(b"".join(requests))

    async def ask(self, request: bytes) -> int:
        """The status of the one answer that comes."""
        self.send(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(int(re.findall(rb"content-length: ([0-9]+)", head)[0]))
        return int(head[9:12])

    def end(self) -> None:
        """Say no more, and listen."""
        self.writer.write_eof()

    async def heard(self) -> None:
        """Until the server has read that end: then it sends what every answer begins with."""
        async with asyncio.timeout(PATIENCE):
            assert await self.reader.readexactly(len(BEGINNING)) == BEGINNING

    def leave(self, how: str) -> None:
        """Be gone: with an end as from a program that closes its socket, or with a reset."""
        if how == "reset":
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


@dataclass
class Place:
    """A gateway beside its provider, and who calls it."""

    site: Site
    caplog: pytest.LogCaptureFixture
    callers: list[Caller] = field(default_factory=list)

    async def caller(self, receives: int | None = None) -> Caller:
        """A connection to the gateway; `receives`: the size of what the kernel keeps for it."""
        sock = socket.socket()
        if receives is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        sock.setblocking(False)
        host, port = self.site.urls[0].removeprefix("http://").split(":")
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        caller = Caller(*await asyncio.open_connection(sock=sock, limit=1024 if receives else 65536))
        self.callers.append(caller)
        return caller

    async def waiting(self, way: "Way") -> tuple[Caller, Gate]:
        """A caller whose request is at the provider, and what holds back the answer."""
        caller = await self.caller()
        if way.before:
            assert await caller.ask(way.before) == 200
        self.site.provider.hold = gate = Gate(way.sends)
        caller.send(way.request)
        await gate.reached.wait()
        return caller, gate

    def since(self) -> "Since":
        """What is counted and logged from now on."""
        return Since(self.caplog)

    @property
    def connections(self) -> list[server.Protocol]:
        """Those that the server holds open."""
        return self.site.servers[0]._connections()

    async def until_closed(self) -> None:
        """Until it holds none."""
        await until(lambda: not self.connections)

    async def until_answered(self) -> None:
        """Until nothing is under way."""
        await until(lambda: not self.site.in_flight() and not self.site.servers[0].server_state.tasks)


Work = Callable[[Place], Awaitable[None]]
AtPlace = Callable[[Work], None]


@pytest.fixture(params=LOOPS)
def at_place(request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AtPlace:
    """Run a test's work there, with a record `a`; nothing fails that nobody has foreseen."""
    caplog.set_level(logging.INFO, logger="gateway.access")

    def run(work: Work) -> None:
        async def main() -> None:
            async with replicas(tmp_path, 1) as site:
                site.provider.put("k-1", "a", name="A")
                place = Place(site, caplog)
                try:
                    await work(place)
                finally:
                    for caller in place.callers:
                        caller.writer.transport.abort()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []

    return run


def counts() -> Counter[tuple[str, ...]]:
    """Requests by route, method and status."""
    return Counter({labels: int(one.values[one.at]) for labels, one in metrics.REQUESTS.children.items()})


class Since:
    """What has been counted and logged of requests since it was made."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._before, self._lines = counts(), len(self._logged())

    def _logged(self) -> list[tuple[str, ...]]:
        lines = [record.__dict__["told"] for record in self._caplog.records if record.name == "gateway.access"]
        return [(one["route"], one["method"], str(one["status"])) for one in lines]

    @property
    def requests(self) -> Counter[tuple[str, ...]]:
        """By route, method and status; the metrics and the log say the same."""
        counted = counts() - self._before
        assert counted == Counter(self._logged()[self._lines :])
        return counted

    def is_told(self) -> bool:
        """Whether anything was."""
        return counts() != self._before


# --- requests --------------------------------------------------------------------------------------------------------


def get(target: str = f"{LIST}/a", more: str = "Cache-Control: no-store\r\n", version: str = "1.1") -> bytes:
    """A read."""
    return f"GET {target} HTTP/{version}\r\nHost: x\r\n{more}\r\n".encode()


def write(method: str, target: str, body: Any = None, more: str = "") -> bytes:
    """A write."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{more}"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return f"{head}\r\n".encode() + content


@dataclass(frozen=True)
class Way:
    """A request that the provider has to be asked for; `sends`: by this method, and `status` is what it is answered."""

    request: bytes
    route: str
    method: str
    sends: str = "GET"
    status: int = 200
    before: bytes = b""
    """What has been answered on the connection already."""


CREATE = write("POST", LIST, {"name": "Jane"})
KEYED = write("POST", LIST, {"name": "Jane"}, "Idempotency-Key: k\r\n")
WAYS = {
    "a read": Way(get(), ITEM, "GET"),
    "a read by its headers": Way(get(), ITEM, "GET", before=get()),
    "a read that closes": Way(get(more="Connection: close\r\n"), ITEM, "GET"),
    "a read of HTTP/1.0": Way(get(version="1.0"), ITEM, "GET"),
    "a head": Way(b"HEAD" + get()[3:], ITEM, "HEAD"),
    "a read by way of the cache": Way(get(more=""), ITEM, "GET"),
    "a list": Way(get(f"{LIST}?limit=5"), LIST, "GET"),
    "many ids": Way(get(f"{LIST}?ids=a"), LIST, "GET"),
    "a create": Way(CREATE, LIST, "POST", "POST", 201),
    "a create with a key": Way(KEYED, LIST, "POST", "POST", 201),
    "an update": Way(write("PATCH", f"{LIST}/a", {"name": "B"}), ITEM, "PATCH", "PUT"),
    "a delete": Way(write("DELETE", f"{LIST}/a"), ITEM, "DELETE", "DELETE", 204),
}  # fmt: skip


# --- who leaves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("kind", WAYS)
def test_who_leaves_before_the_answer_is_counted_as_such(at_place: AtPlace, kind: str, how: str) -> None:
    way = WAYS[kind]

    async def work(place: Place) -> None:
        caller, gate = await place.waiting(way)
        since = place.since()
        caller.leave(how)
        await place.until_closed()
        assert place.site.in_flight() == 1, "it goes on"
        gate.open()
        await place.until_answered()
        assert since.requests == {(way.route, way.method, "499"): 1}

    at_place(work)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_who_leaves_when_the_provider_fails_is_counted_as_such_and_the_failure_is_told(
    at_place: AtPlace, how: str
) -> None:
    async def work(place: Place) -> None:
        place.site.provider.fault = lambda request: Answer(500) if request.method == "POST" else None
        caller, gate = await place.waiting(WAYS["a create"])
        since = place.since()
        caller.leave(how)
        await place.until_closed()
        gate.open()
        await place.until_answered()
        assert since.requests == {(LIST, "POST", "499"): 1}
        [told] = [
            record for record in place.caplog.records if record.name == "gateway" and "failed" in record.getMessage()
        ]
        assert (told.__dict__["told"]["status"], told.__dict__["told"]["code"]) == (499, "provider-error")

    at_place(work)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_write_whose_caller_leaves_is_finished_and_recorded(at_place: AtPlace, how: str) -> None:
    async def work(place: Place) -> None:
        caller, gate = await place.waiting(WAYS["a create with a key"])
        caller.leave(how)
        await place.until_closed()
        gate.open()
        await place.until_answered()
        since, again = place.since(), await place.caller()
        again.send(KEYED)
        again.end()
        received = await again.rest()
        assert received.startswith(b"HTTP/1.1 201 ") and b"\r\nidempotent-replayed: true\r\n" in received
        assert since.requests == {(LIST, "POST", "201"): 1}
        assert place.site.provider.calls["POST"] == 1

    at_place(work)


@pytest.mark.parametrize("how", ["end", "reset"])
def test_what_a_caller_has_left_behind_is_read_for_the_others_and_for_the_cache(at_place: AtPlace, how: str) -> None:
    async def work(place: Place) -> None:
        caller, gate = await place.waiting(WAYS["a read by way of the cache"])
        since, others = place.since(), [asyncio.create_task(place.site.get("a")) for _ in range(3)]
        await until(lambda: place.site.in_flight() == 4)
        caller.leave(how)
        await until(lambda: len(place.connections) == 3)
        gate.open()
        assert [(reply.status, data(reply)["name"]) for reply in await asyncio.gather(*others)] == [(200, "A")] * 3
        await place.until_answered()
        assert (await place.site.get("a")).headers["x-cache"] == "hit"
        assert since.requests == {(ITEM, "GET", "499"): 1, (ITEM, "GET", "200"): 4}
        assert place.site.provider.calls["GET"] == 1

    at_place(work)


def test_who_breaks_off_with_more_asked_than_is_read_is_counted_as_such(at_place: AtPlace) -> None:
    """While requests wait for their turn nothing is read, and so no end."""

    async def work(place: Place) -> None:
        caller, gate = await place.waiting(WAYS["a read"])
        caller.send(get(), get())
        [connection] = place.connections
        await until(lambda: connection.flow.read_paused)
        since = place.since()
        caller.leave("reset")
        await until(lambda: is_broken_off(connection._outgoing))
        gate.open()
        await place.until_closed()
        await place.until_answered()
        assert since.requests.total() == since.requests[ITEM, "GET", "499"] >= 1

    at_place(work)


# --- who ends his side and listens -----------------------------------------------------------------------------------

HEAD = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n")


def answers(received: bytes, heads: bool = False) -> list[tuple[int, str, bool]]:
    """(status, request id, whether it says that the connection is closed) of each whole answer, and nothing between."""
    found = []
    while received:
        head = HEAD.match(received)
        assert head is not None, received[:200]
        received = received[head.end() :]
        if head[1] == b"100":
            continue
        headers = dict(line.split(b": ", 1) for line in head[2].lower().splitlines())
        length = 0 if heads else int(headers.get(b"content-length", 0))
        assert len(received) >= length
        received = received[length:]
        found.append((int(head[1]), headers[b"x-request-id"].decode(), headers.get(b"connection") == b"close"))
    return found


def named(number: int) -> str:
    """A header by which an answer is known."""
    return f"X-Request-Id: n{number}\r\n"


@pytest.mark.parametrize("kind", WAYS)
def test_who_ends_his_side_and_listens_is_answered(at_place: AtPlace, kind: str) -> None:
    way = WAYS[kind]

    async def work(place: Place) -> None:
        caller, gate = await place.waiting(way)
        since = place.since()
        caller.end()
        await caller.heard()
        gate.open()
        [(status, _, closes)] = answers(BEGINNING + await caller.rest(), heads=way.method == "HEAD")
        assert (status, closes) == (way.status, True)
        assert since.requests == {(way.route, way.method, str(way.status)): 1}
        await place.until_closed()

    at_place(work)


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("kind", ["a read", "a create"])
def test_who_ends_his_side_and_leaves_later_is_counted_as_such(at_place: AtPlace, kind: str, how: str) -> None:
    way = WAYS[kind]

    async def work(place: Place) -> None:
        caller, gate = await place.waiting(way)
        since = place.since()
        caller.end()
        await caller.heard()
        caller.leave(how)
        if how == "reset":  # else nothing has come that could tell: he has taken what was sent, and sends no second end
            await place.until_closed()
        gate.open()
        await place.until_closed()
        await place.until_answered()
        assert since.requests == {(way.route, way.method, "499" if how == "reset" else str(way.status)): 1}

    at_place(work)


def test_who_asks_several_things_and_ends_his_side_is_answered_in_order(at_place: AtPlace) -> None:
    create = write("POST", LIST, {"name": "Jane"}, named(2))
    asked = [get(more=named(0)), get("/healthz", named(1)), create, get("/nothing", named(3)), get(more=named(4))]

    async def work(place: Place) -> None:
        caller, since = await place.caller(), place.since()
        caller.send(*asked)
        caller.end()
        told = answers(await caller.rest())
        statuses = [200, 200, 201, 404, 200]
        assert told == [(status, f"n{number}", number == 4) for number, status in enumerate(statuses)]
        assert since.requests.total() == len(asked)

    at_place(work)


@pytest.mark.parametrize("target", ["/healthz", "/readyz", f"{LIST}/a"])
def test_who_asks_more_than_is_answered_at_once_and_ends_his_side_gets_it_all(at_place: AtPlace, target: str) -> None:
    async def work(place: Place) -> None:
        caller, number = await place.caller(), 3 * AT_ONCE
        caller.send(*(get(target, named(each)) for each in range(number)))
        caller.end()
        told = answers(await caller.rest())
        assert [(status, name) for status, name, _ in told] == [(200, f"n{each}") for each in range(number)]

    at_place(work)


HALF_HEAD = get(more=named(9))[:-9]
HALF_BODY = write("POST", LIST, {"name": "Jane"}, named(9))[:-3]
HALF = {
    "in its line": b"GET /hea", "in its headers": HALF_HEAD, "in its body": HALF_BODY,
    "in a body that nobody wants": write("DELETE", f"{LIST}/a", {"no": "use"}, named(9))[:-3],
}  # fmt: skip


@pytest.mark.parametrize("kind", HALF)
@pytest.mark.parametrize("first", [[get(more=named(0))], [CREATE], [get(more=named(0)), CREATE, get(more=named(2))]])
def test_what_ends_in_its_midst_is_counted_once_and_what_came_before_it_is_answered(
    at_place: AtPlace, first: list[bytes], kind: str
) -> None:
    async def work(place: Place) -> None:
        caller, since = await place.caller(), place.since()
        caller.send(*first, HALF[kind])
        caller.end()
        told = answers(await caller.rest())
        assert [status for status, _, _ in told] == [201 if request is CREATE else 200 for request in first]
        await place.until_closed()
        await place.until_answered()
        assert since.requests.total() == len(first) + 1
        left = Counter(status for *_, status in since.requests.elements())["499"]
        assert left == 1, "as what it asks for where it had its turn already, and else as nothing that is known"

    at_place(work)


@pytest.mark.parametrize(
    ("kind", "route"), [("in its line", "other"), ("in its headers", "other"), ("in its body", LIST)]
)
def test_a_request_that_ends_in_its_midst_alone_is_closed_and_counted_once(
    at_place: AtPlace, kind: str, route: str
) -> None:
    async def work(place: Place) -> None:
        caller, since = await place.caller(), place.since()
        caller.send(HALF[kind])
        caller.end()
        assert await caller.rest() == b""
        await until(since.is_told)
        await place.until_closed()
        assert since.requests == {(route, "POST" if route == LIST else "other", "499"): 1}
        assert place.site.provider.calls.total() == 0

    at_place(work)


def test_a_read_whose_body_never_comes_is_closed_and_counted_once(at_place: AtPlace) -> None:
    async def work(place: Place) -> None:
        caller, gate = await place.waiting(Way(get(more="Content-Length: 5\r\n"), ITEM, "GET"))
        since = place.since()
        caller.end()
        assert await caller.rest() == b""
        gate.open()
        await place.until_answered()
        assert since.requests == {(ITEM, "GET", "499"): 1}

    at_place(work)


def test_what_is_no_http_is_refused_and_counted_once_also_with_an_end_behind_it(at_place: AtPlace) -> None:
    async def work(place: Place) -> None:
        for _ in range(5):
            caller, since = await place.caller(), place.since()
            caller.send(b"\0\r\n\r\n")
            caller.end()
            [(status, _, closes)] = answers(await caller.rest())
            assert (status, closes, since.requests) == (400, True, {("other", "other", "400"): 1})

    at_place(work)


def test_who_asks_whether_to_go_on_and_ends_his_side_is_answered(at_place: AtPlace) -> None:
    async def work(place: Place) -> None:
        caller = await place.caller()
        caller.send(write("POST", LIST, {"name": "Jane"}, "Expect: 100-continue\r\n"))
        caller.end()
        [(status, _, closes)] = answers(await caller.rest())
        assert (status, closes) == (201, True)

    at_place(work)


def test_a_server_that_drains_answers_who_has_ended_his_side(at_place: AtPlace) -> None:
    async def work(place: Place) -> None:
        caller, gate = await place.waiting(WAYS["a read"])
        caller.end()
        await caller.heard()
        place.site.servers[0].should_exit = True
        await until(lambda: place.site.servers[0].draining)
        gate.open()
        [(status, _, closes)] = answers(BEGINNING + await caller.rest())
        assert (status, closes) == (200, True)

    at_place(work)


def long(request: Request) -> Answer | None:
    """A record of some megabytes."""
    record = {"id": "a", "name": "A", "extra": ["x" * 1000] * 5000}
    return Answer(200, json.dumps({"success": True, "data": record}).encode(), {"Content-Type": "application/json"})


def test_who_ends_his_side_and_takes_his_time_gets_it_all(at_place: AtPlace) -> None:
    async def work(place: Place) -> None:
        place.site.provider.fault, place.site.provider.hold = long, None
        caller = await place.caller(receives=65536)
        caller.send(get(), get(more=""))
        caller.end()
        await until(lambda: any(one.flow.write_paused for one in place.connections))
        assert [(status, closes) for status, _, closes in answers(await caller.rest())] == [(200, False), (200, True)]

    at_place(work)


def test_who_ends_his_side_and_takes_nothing_is_cut_off(at_place: AtPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WRITE_SECONDS", 0.5)

    async def work(place: Place) -> None:
        place.site.provider.fault = long
        caller = await place.caller(receives=4096)
        caller.send(get())
        caller.end()
        await place.until_closed()
        with contextlib.suppress(ConnectionError):
            assert len(await caller.rest()) < 5_000_000

    at_place(work)
