"""The wire over real sockets: what leaves, what is made of what comes back, and what it relies on."""

import asyncio
import contextlib
import gzip
import logging
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from gateway import __version__
from gateway.adapter import Adapter, Call, Limits, Reply
from gateway.decoding import Body
from gateway.engine import Engine
from gateway.errors import BadAnswer, CallFailed, MaybeSent, NeverSent
from gateway.wire import RefusedCall, Wire
from tests.fault_server import CLOSE, HALF, READ, RESET, FaultServer, Loop, Step, answer

pytestmark = pytest.mark.anyio

CANARY = "canary-4e1f-credential"
GET = Call("get", "GET", "/things/1")
POST = Call("create", "POST", "/things", body={"name": "x"})


@pytest.fixture(params=["asyncio", "uvloop", "uvloop, by the parser"])
def anyio_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, bool]]:
    """Also with every answer read by the parser, which is to come to the same as where the plainest ones are not."""
    if request.param == "uvloop, by the parser":
        monkeypatch.setattr("gateway.engine.plain", lambda data, most: None)
    return "asyncio", {"use_uvloop": request.param != "asyncio"}


class Plain(Adapter):
    name = "plain"
    title = "Plain"
    homepage = "https://example.test"
    base_url = "https://example.test"
    limits = Limits(page=100)

    def fields(self) -> Any:
        return None

    def headers(self, key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {key}"}


def plain() -> Plain:
    return Plain(Plain.Settings(), {})


@contextlib.asynccontextmanager
async def wired(
    base_url: str,
    *,
    key: str | None = CANARY,
    transport: httpx.AsyncBaseTransport | None = None,
    concurrency: int = 4,
    max_reply: int = 100_000,
    connect_timeout: float = 5.0,
) -> AsyncIterator[Wire]:
    wire = Wire(
        plain(),
        base_url,
        None if key is None else SecretStr(key),
        transport=transport,
        concurrency=concurrency,
        max_reply=max_reply,
        connect_timeout=connect_timeout,
    )
    try:
        yield wire
    finally:
        await wire.aclose()


ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def engine_to(url: str, limit: int) -> Engine:
    port = int(url.rpartition(":")[2])
    return Engine("127.0.0.1", port, secure=False, limit=limit, connect_timeout=1, max_reply=1000)


def soon(seconds: float = 3.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def failure(wire: Wire, call: Call = GET, seconds: float = 3.0) -> tuple[type[CallFailed], str]:
    """How the call fails: class and reason."""
    with pytest.raises(CallFailed) as caught:
        async with asyncio.timeout(8):  # so that a deadline that is not kept fails the test and does not hang it
            await wire.send(call, soon(seconds))
    assert CANARY not in repr(caught.value) + str(caught.value)
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    return type(caught.value), caught.value.reason


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


def chunked(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + body


# What leaves


async def test_a_call_arrives_as_one_plain_request_with_only_our_headers() -> None:
    async with FaultServer([Loop(READ, answer(b'{"id": 1}'))]) as server, wired(server.url + "/v1/") as wire:
        reply = await wire.send(GET, soon())
        assert (reply.status, reply.body, reply.unreadable) == (200, {"id": 1}, False)
        assert 0 < reply.elapsed < 3 and reply.headers["content-type"] == "application/json"
        lines = server.requests[0].decode().split("\r\n")
        assert lines[0] == "GET /v1/things/1 HTTP/1.1"
        assert sorted(line.lower() for line in lines[1:] if line) == sorted(
            [
                f"host: 127.0.0.1:{server.port}",
                f"user-agent: crm-gateway/{__version__}",
                "accept: application/json",
                "accept-encoding: identity",
                f"authorization: bearer {CANARY}",
            ]
        )


async def test_a_body_leaves_as_exact_json_with_its_length() -> None:
    call = Call("create", "POST", "/things", body={"amount": Decimal("1234567890123456789.10"), "näme": "€"})
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url) as wire:
        await wire.send(call, soon())
        sent, body = server.requests[0].split(b"\r\n\r\n")
        assert body == '{"amount":1234567890123456789.10,"näme":"€"}'.encode()
        assert b"\r\nContent-Type: application/json\r\n" in sent
        assert b"Transfer-Encoding" not in sent


async def test_query_values_are_encoded_whole() -> None:
    call = Call("list", "GET", "/things", query=(("filter[name]", "a&b=c#d/é +%"), ("page", "2")))
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url + "/v1") as wire:
        await wire.send(call, soon())
        assert server.paths == ["/v1/things?filter%5Bname%5D=a%26b%3Dc%23d%2F%C3%A9%20%2B%25&page=2"]


async def test_without_a_key_no_credential_header_leaves() -> None:
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url, key=None) as wire:
        await wire.send(GET, soon())
        assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("path", ["/a/%2e%2e/b", "/a%2Fb", "/a/%2E/b?x=%2F&y=%20", "/%E2%82%AC/a;b=c,d:e@f"])
async def test_the_engine_keeps_the_raw_path_as_it_is(path: str) -> None:
    async with FaultServer([Loop(READ, answer())]) as server:
        engine = engine_to(server.url, limit=1)
        await engine.exchange(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), soon())
        await engine.aclose()
        assert server.paths == [path]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "things",
        "//evil.test/x",
        "/a//b",
        "/../x",
        "/a/..",
        "/a/./b",
        "/a/%2e%2e/b",
        "/a/.%2E",
        "/a/..%2fb",
        "/a%2f..%2fb",
        "/a\\b",
        "/a%5cb",
        "/a?b",
        "/a#b",
        "/a b",
        "/a\r\nX: y",
        "/a%0d%0ab",
        "/a%00",
        "/a%7f",
        "/é",
        "/a%zz",
        "/a%2",
        "http://evil.test/",
        "@evil.test/",
        ":80/x",
    ],
)
async def test_a_path_that_could_be_read_as_another_never_leaves(path: str) -> None:
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url + "/v1") as wire:
        with pytest.raises(RefusedCall) as caught:
            await wire.send(Call("get", "GET", path), soon())
        assert not path or path not in str(caught.value) or path == "things"
        assert server.connections == 0


@pytest.mark.parametrize(
    "call",
    [
        Call("get", "GET", "/a", query=(("q", "\ud800"),)),
        Call("create", "POST", "/a", body={"a": "\ud800"}),
        Call("create", "POST", "/a", body={"a": object()}),
        Call("get", "GET /x HTTP/1.1\r\nX: y", "/a"),
    ],
)
async def test_what_is_no_request_never_leaves(call: Call) -> None:
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url) as wire:
        with pytest.raises(RefusedCall):
            await wire.send(call, soon())
        assert server.connections == 0


@pytest.mark.parametrize("key", [f"{CANARY}\r\nX: y", f"{CANARY}é", f"{CANARY}\0", f"{CANARY} "])
async def test_a_key_that_fits_no_header_is_refused_and_not_quoted(key: str) -> None:
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url, key=key) as wire:
        with pytest.raises(RefusedCall) as caught:
            await wire.send(GET, soon())
        assert CANARY not in repr(caught.value) and caught.value.__context__ is None
        assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    ["", "ftp://h/", "http://", "//h/x", "http://u:p@h/", "http://h/?x", "http://h/#x", "http://h/a/../b",
     "http://h//a", "http://h/a b", "http://h/é", "http://h:x/"],
)  # fmt: skip
async def test_a_base_url_that_is_more_than_a_place_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Wire(plain(), url, None, concurrency=1, max_reply=1)


# What the engine must not do


@pytest.mark.parametrize("status", [b"300 x", b"301 x", b"302 x", b"303 x", b"304 x", b"307 x", b"308 x"])
async def test_a_redirect_is_not_followed_and_no_key_is_sent_there(status: bytes) -> None:
    async with FaultServer([Loop(READ, answer())]) as other:
        location = f"Location: {other.url}/stolen".encode()
        async with FaultServer([READ, answer(b"", location, status=status)]) as server:
            async with wired(server.url) as wire:
                assert await failure(wire) == (BadAnswer, "redirect")
                assert await failure(wire, POST) == (BadAnswer, "redirect")
            assert (server.connections, len(server.requests), other.connections) == (2, 2, 0)


async def test_cookies_are_not_kept() -> None:
    cookie = answer(b"{}", b"Set-Cookie: session=stolen; Path=/")
    async with FaultServer([Loop(READ, cookie)]) as server, wired(server.url) as wire:
        await wire.send(GET, soon())
        await wire.send(GET, soon())
        assert all(b"cookie" not in request.lower() for request in server.requests)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
@pytest.mark.parametrize(("end", "reason"), [(CLOSE, "early_end"), (RESET, "reset")])
async def test_nothing_is_sent_again_by_itself_on_a_dropped_connection(method: str, end: Step, reason: str) -> None:
    async with FaultServer([READ, answer(), READ, end], [READ, answer()]) as server, wired(server.url) as wire:
        await wire.send(GET, soon())
        assert await failure(wire, Call("x", method, "/second")) == (MaybeSent, reason)
        assert server.paths == ["/things/1", "/second"]
        assert (await wire.send(GET, soon())).status == 200
        assert server.connections == 2


async def test_a_connection_that_the_server_closes_while_idle_is_not_used() -> None:
    async with FaultServer([READ, answer(), CLOSE]) as server, wired(server.url) as wire:
        for _ in range(20):
            assert (await wire.send(POST, soon())).status == 200
            await asyncio.wait_for(server.closed(), 3)
        assert server.connections == 20


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FaultServer([Loop(READ, answer())]) as proxy, FaultServer([Loop(READ, answer())]) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with wired(server.url) as wire:
            await wire.send(GET, soon())
        assert (proxy.connections, server.connections) == (0, 1)


async def test_the_netrc_file_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url, key=None) as wire:
        await wire.send(GET, soon())
        assert b"authorization" not in server.requests[0].lower()


# Never sent, maybe sent


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("call", [GET, POST])
async def test_a_refused_connection_is_never_sent(call: Call) -> None:
    async with wired(f"http://127.0.0.1:{unused_port()}") as wire:
        assert await failure(wire, call) == (NeverSent, "refused")


async def test_an_unknown_name_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    async with wired("http://crm.invalid") as wire:
        assert await failure(wire) == (NeverSent, "dns")


async def test_a_failed_tls_handshake_is_never_sent() -> None:
    async with (
        FaultServer([b"HTTP/1.1 400 Bad Request\r\n\r\n", CLOSE]) as server,
        wired(server.url.replace("http", "https")) as wire,
    ):
        assert await failure(wire, POST) == (NeverSent, "tls")


async def test_a_connect_timeout_is_never_sent() -> None:
    async with (
        FaultServer([]) as server,  # takes the connection, and never answers to TLS
        wired(server.url.replace("http", "https"), connect_timeout=0.05) as wire,
    ):
        assert await failure(wire, POST) == (NeverSent, "connect_timeout")


async def test_a_deadline_while_connecting_is_never_sent() -> None:
    async with FaultServer([]) as server, wired(server.url.replace("http", "https")) as wire:
        assert await failure(wire, POST, 0.1) == (NeverSent, "deadline")


async def test_a_deadline_while_looking_up_the_name_is_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    if type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        pytest.skip("uvloop asks for names in C, where no test can hold it up; the bound around it is the same")

    async def slow(*_: object, **__: object) -> object:
        return await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    async with wired("http://crm.invalid") as wire:
        assert await failure(wire, GET, 0.05) == (NeverSent, "deadline")


async def test_a_deadline_that_has_passed_is_never_sent() -> None:
    async with FaultServer([Loop(READ, answer())]) as server, wired(server.url) as wire:
        await wire.send(GET, soon())
        assert await failure(wire, GET, -1) == (NeverSent, "deadline")
        assert len(server.requests) == 1


@pytest.mark.parametrize("call", [GET, POST])
async def test_a_deadline_while_waiting_for_the_answer_is_maybe_sent(call: Call) -> None:
    async with FaultServer([READ]) as server, wired(server.url) as wire:
        assert await failure(wire, call, 0.1) == (MaybeSent, "deadline")
        assert len(server.requests) == 1


async def test_a_deadline_while_the_body_is_being_sent_is_maybe_sent() -> None:
    call = Call("create", "POST", "/things", body={"a": "x" * 900_000})
    async with FaultServer([asyncio.Event()]) as server, wired(server.url) as wire:
        assert await failure(wire, call, 0.1) == (MaybeSent, "deadline")


async def test_one_absolute_deadline_covers_a_body_that_trickles() -> None:
    trickle = Loop(b" ", 0.01)
    async with (
        FaultServer([READ, head(b"HTTP/1.1 200 OK", b"Content-Length: 10000"), trickle]) as server,
        wired(server.url) as wire,
    ):
        assert await asyncio.wait_for(failure(wire, GET, 0.2), 3) == (MaybeSent, "deadline")
        await asyncio.wait_for(server.closed(), 3)


@pytest.mark.parametrize("call", [GET, POST])
@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([READ, CLOSE], "early_end"),
        ([READ, HALF], "early_end"),
        ([READ, RESET], "reset"),
        ([READ, b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE], "early_end"),
        ([READ, answer(b'{"a": 1}')[:-3], CLOSE], "early_end"),
        ([READ, answer(b'{"a": 1}')[:-3], 0.02, RESET], "reset"),
        ([READ, chunked(b'{"a": 1}')[:-5], CLOSE], "early_end"),
        ([READ, head(b"HTTP/1.1 200 OK") + b'{"a": 1}', 0.02, RESET], "reset"),
    ],
)
async def test_an_answer_that_does_not_come_whole_is_maybe_sent(call: Call, steps: list[Step], reason: str) -> None:
    async with FaultServer(steps) as server, wired(server.url) as wire:
        assert await failure(wire, call) == (MaybeSent, reason)
        assert len(server.requests) == 1


# Framing


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"<html></html>",
        b"\x16\x03\x01\x00\x05\r\n\r\n",
        answer(b"{}", b"Content-Length: 3"),
        answer(b"{}", b"Content-Length: 2"),
        answer(b"2\r\n{}\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
        head(b"HTTP/1.1 200 OK", b"Content-Length: -2") + b"{}",
        head(b"HTTP/1.1 200 OK", b"Content-Length: 99999999999999999999999") + b"{}",
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n",
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"2\r\n{}xx0\r\n\r\n",
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip") + b"{}",
        head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n",
        head(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade") + b"\x81\x00",
        head(b"HTTP/1.1 101 Switching Protocols"),
        head(b"HTTP/1.1 100 Continue") * 100 + answer(),
        answer(status=b"000 x"),
        answer(status=b"099 x"),
        answer(status=b"600 x"),
        answer(status=b"999 x"),
        answer(status=b"1000 x"),
        answer(b"{}", b"X: a\0b"),
    ],
)
async def test_malformed_framing_is_a_bad_answer_and_its_connection_is_closed(sent: bytes) -> None:
    async with FaultServer([READ, sent]) as server, wired(server.url) as wire:
        assert await failure(wire) == (BadAnswer, "framing")
        await asyncio.wait_for(server.closed(), 3)
        assert await failure(wire, POST) == (BadAnswer, "framing")
        assert server.connections == 2


async def test_a_bad_chunk_that_comes_later_does_not_leave_the_reader_waiting() -> None:
    start = head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n"
    async with FaultServer([READ, start, 0.05, b"zz\r\n"]) as server, wired(server.url) as wire:
        assert await asyncio.wait_for(failure(wire), 2) == (BadAnswer, "framing")


@pytest.mark.parametrize("line", [b"X-Filler: aaaaaaaaaaaaaaaaaaaa\r\n", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"])
async def test_an_endless_header_ends(line: bytes) -> None:
    async with FaultServer([READ, b"HTTP/1.1 200 OK\r\n", Loop(line)]) as server, wired(server.url) as wire:
        assert await failure(wire) == (BadAnswer, "framing")


async def test_an_interim_answer_is_passed_over() -> None:
    hint = head(b"HTTP/1.1 103 Early Hints", b"Link: </x>")
    async with FaultServer([READ, hint, hint + answer(b"[1]")]) as server, wired(server.url) as wire:
        assert (await wire.send(GET, soon())).body == [1]


# Bytes that nobody asked for

SECOND = answer(b'{"whose": "not mine"}')
LEFT_OVER = [SECOND, SECOND * 2, SECOND[:1], SECOND[:20], SECOND[:-5], b"garbage", head(b"HTTP/1.1 100 Continue")]


@pytest.mark.parametrize("left_over", LEFT_OVER)
@pytest.mark.parametrize("first", [answer(b"1"), chunked(b"1"), head(b"HTTP/1.1 204 No Content")])
async def test_bytes_that_come_with_the_answer_spoil_it_and_are_never_read_as_the_next_one(
    first: bytes, left_over: bytes
) -> None:
    async with (
        FaultServer([READ, first + left_over, READ], [Loop(READ, answer(b"2"))]) as server,
        wired(server.url) as wire,
    ):
        assert await failure(wire) == (BadAnswer, "framing")
        assert (await wire.send(GET, soon())).body == 2
        assert server.connections == 2


@pytest.mark.parametrize("left_over", LEFT_OVER)
async def test_bytes_that_come_while_the_connection_is_idle_are_never_read_as_the_next_answer(
    left_over: bytes,
) -> None:
    async with (
        FaultServer([READ, answer(b"1"), 0.02, left_over, READ], [Loop(READ, answer(b"2"))]) as server,
        wired(server.url) as wire,
    ):
        assert (await wire.send(GET, soon())).body == 1
        await asyncio.wait_for(server.closed(), 3)  # closed at once, not only when it is next wanted
        assert (await wire.send(GET, soon())).body == 2
        assert server.connections == 2


@pytest.mark.parametrize("left_over", [SECOND, SECOND[:20], b""])
async def test_what_waits_in_the_kernel_keeps_a_connection_from_being_used(left_over: bytes) -> None:
    """Bytes, or the end, at which the loop has not looked yet when the next call takes the connection."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def serve(body: bytes) -> socket.socket:
            peer, _ = await asyncio.wait_for(loop.sock_accept(listener), 3)
            await loop.sock_recv(peer, 65536)
            await loop.sock_sendall(peer, answer(body))
            return peer

        async with wired(f"http://127.0.0.1:{listener.getsockname()[1]}") as wire:
            sending = asyncio.create_task(wire.send(POST, soon()))
            with await serve(b"1") as peer:
                assert (await sending).body == 1
                peer.setblocking(True)
                if left_over:
                    peer.sendall(left_over)
                else:
                    peer.shutdown(socket.SHUT_WR)
                # No turn of the loop since: `send` runs on, as far as it can, before anything is read.
                both = asyncio.gather(wire.send(POST, soon()), serve(b"2"))
                reply, other = await both
                assert reply.body == 2
                other.close()


async def test_a_connection_with_a_good_answer_is_used_again() -> None:
    async with FaultServer([Loop(READ, answer(b"1") + b"\r\n")]) as server, wired(server.url) as wire:
        for _ in range(5):
            await wire.send(GET, soon())
        assert (server.connections, len(server.requests)) == (1, 5)


# Content-Encoding


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


DOC = b'{"a": "' + b"x" * 3000 + b'"}'


@pytest.mark.parametrize(
    ("label", "body"),
    [
        (b"identity", DOC),
        (b"", DOC),
        (b"gzip", gzip.compress(DOC, mtime=0)),
        (b"GZip", gzip.compress(DOC, mtime=0)),
        (b"deflate", zlib.compress(DOC)),
        (b"deflate", raw_deflate(DOC)),
    ],
)
async def test_one_complete_encoding_is_read(label: bytes, body: bytes) -> None:
    coded = answer(body, b"Content-Encoding: " + label)
    async with FaultServer([Loop(READ, coded[:-4], 0.01, coded[-4:])]) as server, wired(server.url) as wire:
        assert (await wire.send(GET, soon())).body == {"a": "x" * 3000}
        reply = await wire.send(GET, soon())
        assert "content-encoding" not in reply.headers and server.connections == 1


@pytest.mark.parametrize(
    ("label", "body"),
    [
        (b"gzip", gzip.compress(DOC, mtime=0)[:-5]),
        (b"gzip", gzip.compress(DOC, mtime=0)[:9]),
        (b"deflate", zlib.compress(DOC)[:-1]),
        (b"deflate", raw_deflate(DOC)[:-1]),
        (b"deflate", b"x"),
        (b"gzip", gzip.compress(DOC, mtime=0) + b"{}"),
        (b"gzip", gzip.compress(DOC, mtime=0) * 2),
        (b"deflate", zlib.compress(DOC) + b"\0"),
        (b"gzip, gzip", gzip.compress(gzip.compress(DOC, mtime=0), mtime=0)),
        (b"gzip\r\nContent-Encoding: gzip", gzip.compress(gzip.compress(DOC, mtime=0), mtime=0)),
        (b"identity, gzip", gzip.compress(DOC, mtime=0)),
        (b"br", b"\x0b\x01\x80{}\x03"),
        (b"zstd", b"(\xb5/\xfd"),
        (b"gzip", DOC),
        (b"gzip", zlib.compress(DOC)),
        (b"deflate", gzip.compress(DOC, mtime=0)),
        (b"utf-8", DOC),
    ],
)
async def test_any_other_encoding_is_refused(label: bytes, body: bytes) -> None:
    coded = answer(body, b"Content-Encoding: " + label)
    async with FaultServer([READ, coded]) as server, wired(server.url) as wire:
        assert await failure(wire) == (BadAnswer, "encoding")
        await asyncio.wait_for(server.closed(), 3)


@pytest.mark.parametrize("squeeze", [gzip.compress, zlib.compress, raw_deflate])
async def test_a_bomb_is_stopped_at_the_limit(squeeze: Callable[[bytes], bytes]) -> None:
    bomb = answer(
        squeeze(b"0" * 50_000_000), b"Content-Encoding: " + (b"gzip" if squeeze is gzip.compress else b"deflate")
    )
    async with FaultServer([READ, bomb]) as server, wired(server.url) as wire:
        tracemalloc.start()
        try:
            assert await failure(wire) == (BadAnswer, "too_large")
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        await asyncio.wait_for(server.closed(), 3)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("label", ["gzip", "deflate", "identity"])
async def test_a_body_is_the_same_however_it_is_cut(label: str, size: int) -> None:
    coded = {"gzip": gzip.compress(DOC, mtime=0), "deflate": raw_deflate(DOC), "identity": DOC}[label]
    body = Body([label], len(DOC))
    for start in range(0, len(coded), size):
        body.feed(coded[start : start + size])
    assert body.finish() == DOC


async def test_the_limit_is_exact() -> None:
    async with FaultServer([Loop(READ, answer(gzip.compress(DOC, mtime=0), b"Content-Encoding: gzip"))]) as server:
        async with wired(server.url, max_reply=len(DOC)) as wire:
            assert (await wire.send(GET, soon())).status == 200
        async with wired(server.url, max_reply=len(DOC) - 1) as wire:
            assert await failure(wire) == (BadAnswer, "too_large")


@pytest.mark.parametrize(
    "steps",
    [
        [READ, head(b"HTTP/1.1 200 OK", b"Content-Length: 50000000")],
        [READ, head(b"HTTP/1.1 200 OK", b"Content-Length: 50000000"), Loop(b" " * 65536)],
        [READ, head(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"), Loop(b"400\r\n" + b" " * 1024 + b"\r\n")],
        [READ, head(b"HTTP/1.1 200 OK"), Loop(b" " * 65536)],
    ],
)
async def test_a_reply_over_the_limit_is_cut_off_and_not_drained(steps: list[Step]) -> None:
    async with FaultServer(steps) as server, wired(server.url) as wire:
        assert await failure(wire) == (BadAnswer, "too_large")
        await asyncio.wait_for(server.closed(), 3)


# Bodies and statuses


@pytest.mark.parametrize(
    "body", [b"<html>hi</html>", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":', b'"\xff"', b"[" * 50_000, b'"\\ud800"']
)
async def test_a_success_that_is_not_strict_json_is_a_bad_answer_and_its_connection_is_given_up(
    body: bytes,
) -> None:
    async with FaultServer([READ, answer(body)], [Loop(READ, answer())]) as server, wired(server.url) as wire:
        assert await failure(wire) == (BadAnswer, "not_json")
        await asyncio.wait_for(server.closed(), 3)
        assert (await wire.send(GET, soon())).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (answer(b"\xef\xbb\xbf[1]"), (200, [1], False)),
        (answer(b""), (200, None, False)),
        (answer(b"null"), (200, None, False)),
        (answer(b"", b"Content-Encoding: gzip"), (200, None, False)),
        (head(b"HTTP/1.1 204 No Content"), (204, None, False)),
        (answer(b"{}", status=b"299 Odd"), (299, {}, False)),
        (answer(b"{}", status=b"418 Teapot"), (418, {}, False)),
        (answer(b"", status=b"404 Not Found"), (404, None, False)),
        (answer(b"<html>", status=b"502 Bad Gateway"), (502, None, True)),
        (answer(b'{"a":1,"a":2}', status=b"422 No"), (422, None, True)),
        (answer(b'{"error": "x"}', status=b"599 Odd"), (599, {"error": "x"}, False)),
    ],
)
async def test_what_can_be_read_becomes_a_reply(sent: bytes, expected: tuple[int, Any, bool]) -> None:
    async with FaultServer([Loop(READ, sent)]) as server, wired(server.url) as wire:
        reply = await wire.send(GET, soon())
        assert (reply.status, reply.body, reply.unreadable) == expected


async def test_a_body_may_end_with_the_connection() -> None:
    async with FaultServer([READ, head(b"HTTP/1.0 200 OK") + b"[1]", CLOSE]) as server, wired(server.url) as wire:
        assert (await wire.send(GET, soon())).body == [1]


async def test_odd_header_values_are_kept_harmlessly() -> None:
    odd = answer(b"{}", b"X-Odd: \xff\xfe\xe9", b"X-Twice: 1", b"x-twice: 2", b"Retry-After:  \xd9\xa3 ")
    async with FaultServer([READ, odd]) as server, wired(server.url) as wire:
        headers = (await wire.send(GET, soon())).headers
        assert headers["x-odd"] == "ÿþé" and headers["x-twice"] == "1, 2"
        headers["retry-after"].encode("latin-1")


# Bounds and cancellation


async def test_the_pool_never_holds_more_connections_than_its_limit() -> None:
    async with FaultServer([Loop(READ, 0.005, answer())]) as server:
        engine = engine_to(server.url, limit=3)

        async def one() -> None:
            assert (await engine.exchange(ASKED, soon())).status == 200

        await asyncio.gather(*(one() for _ in range(30)))
        assert (server.peak, server.connections, len(server.requests)) == (3, 3, 30)
        await engine.aclose()


async def test_a_deadline_while_waiting_for_a_slot_of_the_pool_is_never_sent() -> None:
    async with FaultServer([READ]) as server:
        engine = engine_to(server.url, limit=1)
        first, second = await asyncio.gather(
            *(engine.exchange(ASKED, soon(seconds)) for seconds in (0.3, 0.1)), return_exceptions=True
        )
        assert isinstance(first, MaybeSent) and first.reason == "deadline"
        assert isinstance(second, NeverSent) and second.reason == "busy"
        await engine.aclose()


async def test_calls_in_flight_are_bounded_and_a_call_that_gets_no_turn_is_never_sent() -> None:
    go, running, most = asyncio.Event(), 0, 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        return httpx.Response(200, json={})

    transport = httpx.MockTransport(handle)
    async with wired("http://crm.test", transport=transport, concurrency=2) as wire:
        held = [asyncio.create_task(wire.send(GET, soon())) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert await failure(wire, GET, 0.05) == (NeverSent, "busy")
        more = [asyncio.create_task(wire.send(GET, soon())) for _ in range(5)]
        await asyncio.sleep(0.01)
        go.set()
        assert all(reply.status == 200 for reply in await asyncio.gather(*held, *more))
        assert most == 2


async def test_the_pool_is_alive_after_sixty_cancellations_at_various_moments() -> None:
    coming = Loop(READ, 0.002, answer()[:40], 0.002, answer()[40:])
    async with FaultServer([coming]) as server, wired(server.url, concurrency=2) as wire:
        for turn in range(60):
            calls = [asyncio.create_task(wire.send(POST if turn % 2 else GET, soon())) for _ in range(3)]
            if turn < 20:
                for _ in range(turn):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep((turn - 20) * 0.0004)
            for call in calls:
                call.cancel()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(end, (Reply, asyncio.CancelledError)) for end in ended)
        replies = await asyncio.gather(*(wire.send(GET, soon()) for _ in range(6)))
        assert all(reply.body == {} for reply in replies)
        assert server.open <= 2


async def test_a_cancelled_call_ends_as_cancelled_and_its_connection_is_closed() -> None:
    async with FaultServer([READ], [Loop(READ, answer())]) as server, wired(server.url) as wire:
        call = asyncio.create_task(wire.send(POST, soon()))
        await asyncio.wait_for(server.received(1), 3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.closed(), 3)
        assert (await wire.send(GET, soon())).status == 200


async def test_closing_fails_the_call_under_way_and_refuses_the_next() -> None:
    async with FaultServer([READ]) as server, wired(server.url) as wire:
        call = asyncio.create_task(failure(wire))
        await asyncio.wait_for(server.received(1), 3)
        await wire.aclose()
        assert (await call)[0] is MaybeSent
        assert await failure(wire) == (NeverSent, "refused")


# Other engines


async def raised(error: Exception | None, *, response: httpx.Response | None = None) -> tuple[type[CallFailed], str]:
    def handle(request: httpx.Request) -> httpx.Response:
        if error is not None:
            raise error
        assert response is not None
        return response

    async with wired("http://crm.test", transport=httpx.MockTransport(handle), max_reply=1000) as wire:
        return await failure(wire)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectError(CANARY), (NeverSent, "refused")),
        (httpx.UnsupportedProtocol(CANARY), (NeverSent, "refused")),
        (httpx.ConnectTimeout(CANARY), (NeverSent, "connect_timeout")),
        (httpx.PoolTimeout(CANARY), (NeverSent, "busy")),
        (httpx.ReadTimeout(CANARY), (MaybeSent, "deadline")),
        (httpx.WriteTimeout(CANARY), (MaybeSent, "deadline")),
        (httpx.ReadError(CANARY), (MaybeSent, "reset")),
        (httpx.WriteError(CANARY), (MaybeSent, "reset")),
        (httpx.RemoteProtocolError(CANARY), (MaybeSent, "early_end")),
        (NeverSent("dns"), (NeverSent, "dns")),
    ],
)
async def test_errors_of_another_engine_are_told_apart(
    error: Exception, expected: tuple[type[CallFailed], str]
) -> None:
    assert await raised(error) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (httpx.Response(302, headers={"Location": "http://x/"}), (BadAnswer, "redirect")),
        (httpx.Response(101), (BadAnswer, "framing")),
        (httpx.Response(200, content=b"x" * 1001), (BadAnswer, "too_large")),
        (httpx.Response(200, html="<p>"), (BadAnswer, "not_json")),
        (httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"{}")),
         (BadAnswer, "encoding")),
    ],
)  # fmt: skip
async def test_answers_of_another_engine_are_held_to_the_same_rules(
    response: httpx.Response, expected: tuple[type[CallFailed], str]
) -> None:
    assert await raised(None, response=response) == expected


async def test_the_deadline_holds_for_another_engine() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        return httpx.Response(200)

    async with wired("http://crm.test", transport=httpx.MockTransport(never)) as wire:
        assert await failure(wire, GET, 0.05) == (MaybeSent, "deadline")


async def test_an_asgi_application_can_stand_in() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["raw_path"].join([b'"', b'"'])})

    async with wired("http://crm.test/v1", transport=httpx.ASGITransport(app)) as wire:
        assert (await wire.send(GET, soon())).body == "/v1/things/1"


# Secrets


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != "asyncio" or record.levelno > logging.INFO:  # the loop's own debug mode
                lines.append(logging.Formatter().format(record))

    root, keep = logging.getLogger(), Keep(logging.DEBUG)
    before = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(keep)
    root.setLevel(before)


async def test_the_credential_is_in_no_log_no_repr_and_no_exception(everything_logged: list[str]) -> None:
    scripts: list[list[Step]] = [
        [READ, answer()],
        [READ, RESET],
        [READ, CLOSE],
        [READ, b"garbage\r\n\r\n"],
        [READ, answer(status=b"302 x")],
        [READ, answer(b"<html>")],
        [READ, answer(b"{}", b"Content-Encoding: br")],
        [READ, answer(b"{}", status=b"401 x")],
        [b"too early", READ],
        [RESET],
        [READ],
    ]
    seen: list[str] = []
    for script in scripts:
        async with FaultServer(script) as server, wired(server.url) as wire:
            seen.append(repr(wire) + str(wire))
            for call in (GET, POST):
                try:
                    seen.append(repr(await wire.send(call, soon(0.1))))
                except CallFailed as error:
                    seen.append(f"{error!r} {error} {error.__context__!r} {error.__cause__!r}")
    assert len(seen) == 3 * len(scripts)
    for line in [*seen, *everything_logged]:
        assert CANARY not in line and "/things" not in line and "authorization" not in line.lower()
    assert everything_logged == []


@pytest.mark.parametrize("speaks", [True, False], ids=["speaks", "closes"])
@pytest.mark.parametrize("call", [GET, POST], ids=["read", "write"])
async def test_a_server_that_does_not_wait_to_be_asked_is_not_asked(
    call: Call, speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that still waits for the end of the loop's turn has not left, and does not leave any more."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with wired(f"http://127.0.0.1:{listener.getsockname()[1]}") as wire:
            monkeypatch.setattr("gateway.outgoing.Outbox.look", lambda self: None)  # a turn that does not end
            asked = asyncio.create_task(wire.send(call, soon()))
            accepted.append((await asyncio.to_thread(listener.accept))[0])
            await asyncio.sleep(0.05)
            assert not asked.done()
            if speaks:
                accepted[0].sendall(answer())
            else:
                accepted[0].shutdown(socket.SHUT_WR)
            with pytest.raises(NeverSent, match="refused"):
                await asked
        with accepted[0] as sock:
            sock.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""
