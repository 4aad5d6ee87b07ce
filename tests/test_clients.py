"""Clients that send or read too slowly, too much, or several requests at once; and an event loop that stands still."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from gateway.http import requests, server, watchdog
from gateway.http.server import Protocol
from tests.live import SANDBOXES, Says, StandIn, ask, assert_problem, port_of, running_gateway

LIMIT = 1.0
"""Seconds in place of nine."""
SLACK = 5.0
RECORD = "/v1/opportunities/opp_abc123def456"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A gateway whose time limits are short, on a provider whose every answer is large."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEADER_SECONDS", "REST_SECONDS", "WRITE_SECONDS"):
            patch.setattr(server, name, LIMIT)
        patch.setattr(requests, "BODY_SECONDS", LIMIT)
        long = {"data": {"id": "opp_long", "title": "Jane", "extra": ["x" * 1000] * 7000}}
        with StandIn([Says(200, long)]) as provider:
            text = (
                f"{SANDBOXES}  long: {{provider: getraze, base_url: '{provider.url}', api_key: x, "
                "settings: {dialect: documented}}\nstate: off\n"
            )
            with running_gateway(text, tmp_path_factory.mktemp("clients")) as url:
                yield port_of(url)


def slowly(port: int, first: bytes, then: bytes, step: float = 0.1) -> tuple[bytes, float]:
    """`first` at once and `then` by the byte, over and over: what came back, and after how long it was closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        began = time.monotonic()
        sock.settimeout(step)
        sock.sendall(first)
        while time.monotonic() - began < 5 * LIMIT + SLACK:
            try:
                if then:
                    sock.send(then[:1])
                    then = then[1:] + then[:1]
                chunk = sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            if not chunk:
                break
            received += chunk
        return received, time.monotonic() - began


def test_a_connection_that_never_sends_is_closed(port: int) -> None:
    received, seconds = slowly(port, b"", b"")
    assert received == b""
    assert LIMIT * 0.9 < seconds < LIMIT + SLACK


def test_blank_lines_are_no_request(port: int) -> None:
    received, seconds = slowly(port, b"", b"\r\n")
    assert received == b""
    assert seconds < LIMIT + SLACK


@pytest.mark.parametrize("first", [b"GET /", b"GET / HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /"])
def test_headers_by_the_byte_are_refused_and_closed(port: int, first: bytes) -> None:
    received, seconds = slowly(port, first, b"a")
    assert b"HTTP/1.1 408 " in received and b'"code":"request-timeout"' in received
    assert b"\r\nserver-timing: " in received.rpartition(b"HTTP/1.1 ")[2]
    assert LIMIT * 0.9 < seconds < LIMIT + SLACK


BODY = b"POST /v1/opportunities HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"


def test_a_body_by_the_byte_is_refused_and_closed(port: int) -> None:
    received, seconds = slowly(port, BODY, b" ")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in received
    assert seconds < LIMIT + SLACK


def test_a_body_that_nobody_reads_is_not_waited_for_for_ever(port: int) -> None:
    received, seconds = slowly(port, BODY.replace(b"POST /v1/opportunities", b"POST /nothing"), b" ")
    assert received.startswith(b"HTTP/1.1 404 ")
    assert seconds < LIMIT + SLACK


def test_a_client_that_does_not_read_its_answer_is_cut_off(port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"GET /v1/opportunities/long:opp_long HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(4 * LIMIT)
        read = 0
        sock.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            while chunk := sock.recv(65536):
                read += len(chunk)
        assert read < 7_000_000


def test_a_client_that_reads_slowly_but_reads_gets_it_all(port: int) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"GET /v1/opportunities/long:opp_long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        read, began = 0, time.monotonic()
        while chunk := sock.recv(65536):
            read += len(chunk)
            if time.monotonic() - began < 3 * LIMIT:
                time.sleep(0.1)
        assert read > 7_000_000


def test_healthy_callers_do_not_notice_slow_ones(port: int) -> None:
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    for number, sock in enumerate(socks):
        sock.sendall(BODY if number % 2 else b"GET /healthz HTTP/1.1\r\nHost:")
    slowest = 0.0
    began = time.monotonic()
    while time.monotonic() - began < LIMIT * 0.5:
        at = time.monotonic()
        assert ask(f"http://127.0.0.1:{port}/healthz").status == 200
        slowest = max(slowest, time.monotonic() - at)
    time.sleep(LIMIT)
    for sock in socks:
        sock.settimeout(SLACK)
        assert b" 408 " in sock.recv(65536)
        sock.close()
    assert slowest < 1.0


def test_too_many_connections_are_refused_and_the_others_are_served(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "most", 0)
    answer = ask(f"http://127.0.0.1:{port}/healthz")
    assert_problem(answer, 503, "overloaded")
    assert "server-timing" in answer.headers
    monkeypatch.undo()
    assert ask(f"http://127.0.0.1:{port}/healthz").status == 200


def pipelined(port: int, data: bytes) -> bytes:
    """Everything that comes back, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


def test_requests_in_one_packet_are_answered_in_order(port: int) -> None:
    targets = [RECORD, "/healthz", "/nothing", RECORD, "/readyz", "/v1/connections"]
    heads = [f"GET {target} HTTP/1.1\r\nHost: a\r\nX-Request-Id: n{n}\r\n" for n, target in enumerate(targets)]
    received = pipelined(port, "".join(f"{head}\r\n" for head in heads[:-1]).encode()
                         + f"{heads[-1]}Connection: close\r\n\r\n".encode())  # fmt: skip
    ids = [line for line in received.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == [b"x-request-id: n%d" % n for n in range(len(targets))]


def test_what_is_malformed_after_a_good_request_does_not_overtake_its_answer(port: int) -> None:
    received = pipelined(port, f"GET {RECORD} HTTP/1.1\r\nHost: a\r\n\r\n\0\0\0garbage\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_chunked_body_over_the_limit_is_refused(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/opportunities"
    headers = {"Content-Type": "application/json"}
    refused = ask(url, "POST", headers, (b" " * 65536 for _ in range(8)))
    assert_problem(refused, 413, "too-large")
    assert ask(url, "POST", headers, iter((b'{"name":', b'"Jane"}'))).status == 201


def test_a_standstill_of_the_loop_is_counted_and_told_once_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    def computes_for_long(secret: str) -> None:
        until = time.monotonic() + 0.9
        while time.monotonic() < until:
            threading.Event().wait(0.01)

    async def main() -> None:
        with watchdog.Watchdog(limit=0.2):
            await asyncio.sleep(0.3)
            computes_for_long("hunter2")
            await asyncio.sleep(0.3)

    before = watchdog.blocked_seconds
    with caplog.at_level(logging.WARNING, "gateway"):
        asyncio.run(main())
    assert 0.4 < watchdog.blocked_seconds - before < 10
    told = [record.getMessage() for record in caplog.records if "the event loop stands still" in record.getMessage()]
    assert told and "computes_for_long:" in told[0] and "tests.test_clients." in told[0]
    assert "hunter2" not in caplog.text


def test_a_loop_that_runs_is_not_blocked() -> None:
    async def main() -> None:
        with watchdog.Watchdog(limit=5):
            await asyncio.sleep(0.2)

    before = watchdog.blocked_seconds
    asyncio.run(main())
    assert watchdog.blocked_seconds == before
