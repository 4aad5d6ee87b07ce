"""Headers that a connection sends again are not parsed again, and nobody can tell by the answers.

Most of it is one comparison: the same pieces are sent to a server that remembers headers and to one that does not
(`known` answers None there), and what comes back is the same byte for byte. `Watch` sees which requests the parser has
begun.
"""

import asyncio
import contextlib
import http.client
import re
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import metrics
from gateway.callers import hash_key
from gateway.config import load_config
from gateway.errors import Problem
from gateway.http import requests, server
from gateway.http.again import MOST_BYTES
from gateway.http.requests import Headers, once
from gateway.http.server import AT_ONCE, TARGET_BYTES, Protocol
from tests.hostile import KEYS, PREFIX, RECORD, UPSTREAM, fronted, reply
from tests.live import (
    SANDBOXES,
    Answer,
    Says,
    Seen,
    StandIn,
    assert_problem,
    fields_of,
    port_of,
    running_gateway,
)
from tests.operating import PATIENCE, Server, is_ready, until
from tests.replicas import Gate, Site, caller_key, in_loop, replicas
from tests.replicas import until as until_in_loop
from tests.rig.client import Reply

ITEM = b"/v1/opportunities/opp_a"
SAME = b"Host: a\r\nAccept: */*\r\n\r\n"
"""Headers that are sent again and again."""


def get(target: bytes = ITEM, headers: bytes = SAME) -> bytes:
    """One plain request."""
    return b"GET " + target + b" HTTP/1.1\r\n" + headers


PLAIN = get()


# --- a caller that knows what becomes of each piece that it sends ----------------------------------------------------


@dataclass
class Life:
    """A connection as the server has it: how much has come, and how it stood when the server last did something."""

    protocol: Protocol
    came: int = 0
    begun: int = 0
    """Requests that the parser has begun."""
    idle: bool = True
    hungry: bool = False
    """What is not answered yet waits for the rest of its body."""
    closed: bool = False

    def has(self, sent: int, answered: bool) -> bool:
        """Whether so many bytes have come and, if that is waited for, are answered as far as they can be."""
        return self.closed or (self.came >= sent and (self.idle or self.hungry or not answered))


def is_post(protocol: Protocol) -> bool:
    """Whether the last request's body is read: others are answered without theirs."""
    return protocol.scope.get("method") == "POST"


class Watch:
    """Looks over the shoulder of every `Protocol`: what it does is done by its own methods, and noted after them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.lives: dict[Any, Life] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Around the methods by which anything begins or ends."""

        def around(name: str, note: Callable[[Life, tuple[Any, ...]], None]) -> None:
            real = getattr(Protocol, name)

            def method(protocol: Protocol, *arguments: Any) -> None:
                try:
                    real(protocol, *arguments)
                finally:
                    with self._changed:
                        life = self.lives.setdefault((protocol.client, protocol.server), Life(protocol))
                        note(life, arguments)
                        life.idle = not protocol._answering()
                        life.hungry = not life.idle and protocol.cycle.more_body and is_post(protocol)
                        life.closed = protocol.transport.is_closing()
                        self._changed.notify_all()

            patch.setattr(Protocol, name, method)

        def came(life: Life, arguments: tuple[Any, ...]) -> None:
            life.came += len(arguments[0])

        def begun(life: Life, arguments: tuple[Any, ...]) -> None:
            life.begun += 1

        def lost(life: Life, arguments: tuple[Any, ...]) -> None:
            del self.lives[life.protocol.client, life.protocol.server]

        def nothing(life: Life, arguments: tuple[Any, ...]) -> None: ...

        for name, note in (("connection_made", nothing), ("data_received", came), ("on_message_begin", begun),
                           ("on_response_complete", nothing), ("connection_lost", lost)):  # fmt: skip
            around(name, note)

    def wait(self, true: Callable[[], bool]) -> None:
        """Until it is so."""
        with self._changed:
            assert self._changed.wait_for(true, PATIENCE), "it did not come true"

    def of(self, sock: socket.socket) -> Life:
        """The server's end of this connection."""
        ends = sock.getsockname(), sock.getpeername()
        self.wait(lambda: ends in self.lives)
        return self.lives[ends]

    def here(self) -> list[Life]:
        """The connections of the gateways in the loop that this is called in."""
        return [life for life in self.lives.values() if life.protocol.loop is asyncio.get_running_loop()]


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    with pytest.MonkeyPatch.context() as patch:
        watch = Watch()
        watch.install(patch)
        yield watch


@dataclass(frozen=True)
class Said:
    """What came back on one connection; `closed`: by the server, before the caller had sent all that he had to say."""

    received: bytes
    closed: bool
    begun: int

    @property
    def statuses(self) -> list[int]:
        """Those of all answers."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", self.received)]

    @property
    def told(self) -> tuple[bytes, bool]:
        """All of it but what differs whenever the same is asked twice."""
        return alike(self.received), self.closed


def alike(received: bytes) -> bytes:
    """Without times, ids that the server made up, and how it was come by."""
    kept = re.sub(rb"\r\n(?:date|server-timing|age|x-cache|ratelimit-[a-z]+): [^\r]*", b"", received)
    return re.sub(rb"\b[0-9a-f]{32}\b", b"*", kept)


def answer_on(sock: socket.socket) -> Answer:
    """The answer that comes next, where no other one is to come yet."""
    response = http.client.HTTPResponse(sock)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def exchange(sock: socket.socket, request: bytes) -> Answer:
    """The answer to one request."""
    sock.sendall(request)
    return answer_on(sock)


class Caller:
    """One connection, on which each piece is a piece to the server, too."""

    def __init__(self, watch: Watch, port: int, receives: int | None = None) -> None:
        self._watch = watch
        self.sock = socket.socket()
        if receives is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.life = watch.of(self.sock)
        self._sent = 0

    def send(self, piece: bytes, *, answered: bool = True) -> None:
        """Send it, and wait until the server has read it; and until it is answered, where that is to be waited for."""
        if self.life.closed:
            return
        with contextlib.suppress(ConnectionError):  # closed while it was sent: seen right below
            self.sock.sendall(piece)
        self._sent += len(piece)
        self._watch.wait(lambda: self.life.has(self._sent, answered))

    def ask(self, piece: bytes) -> Answer:
        """The answer to one request."""
        self.send(piece)
        return answer_on(self.sock)

    def rest(self) -> bytes:
        """What still comes until the server closes."""
        received = b""
        with contextlib.suppress(ConnectionError):  # it closed before it had read all
            while chunk := self.sock.recv(65536):
                received += chunk
        return received

    def said(self) -> Said:
        """What has come back since the beginning; the caller has nothing more to say."""
        self._watch.wait(lambda: self.life.closed or self.life.idle)
        closed = self.life.closed
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        return Said(self.rest(), closed, self.life.begun)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


@dataclass
class Talk:
    """Conversations with one server."""

    watch: Watch
    port: int
    provider: StandIn
    held: threading.Event = field(default_factory=threading.Event)
    """Until it is set, the provider does not answer who asks for a record named `held`."""

    def caller(self, receives: int | None = None) -> Caller:
        return Caller(self.watch, self.port, receives)

    def say(self, *pieces: bytes) -> Said:
        """What comes back for these on one connection, each sent when those before it are answered."""
        with self.caller() as caller:
            for piece in pieces:
                caller.send(piece)
            return caller.said()

    def same(self, *pieces: bytes) -> Said:
        """`say`, and `alike`."""
        return self.alike(lambda: self.say(*pieces))

    def alike(self, converse: Callable[[], Said]) -> Said:
        """What a conversation says, which is the same where nothing is remembered."""
        said = converse()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "remembered", lambda data, sent: None)
            without = converse()
        assert said.told == without.told
        return said


def on(provider: StandIn) -> str:
    """A gateway without callers and state, on this provider."""
    return f"""\
circuit: off
state: off
cache: {{ttl: 10m}}
connections:
  raze: {{provider: getraze, base_url: '{provider.url}{PREFIX}', api_key: {UPSTREAM}, budget: off,
         timeout: {PATIENCE:.0f}s, settings: {{dialect: documented}}}}
"""


def holding(held: threading.Event) -> Callable[[Seen], Says]:
    """A provider that has every record but `absent`, `held` only when it may answer for it, and `long`, which is."""

    def script(seen: Seen) -> Says:
        name = seen.path.rpartition("/")[2]
        if name == "held":
            assert held.wait(PATIENCE)
        if name == "absent":
            return Says(404, {"success": False, "error": {"code": "NOT_FOUND", "message": "gone"}})
        if name == "long":
            return Says(200, {**RECORD, "data": {**RECORD["data"], "id": name, "extra": ["x" * 1000] * 5000}})
        return reply(seen)

    return script


@pytest.fixture(scope="module")
def talk(watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """A gateway in front of such a provider."""
    held = threading.Event()
    held.set()
    with StandIn(holding(held)) as provider, running_gateway(on(provider), tmp_path_factory.mktemp("again")) as url:
        yield Talk(watch, port_of(url), provider, held)


# --- the same answers as on fresh connections ------------------------------------------------------------------------

NO_STORE = b"Host: a\r\nCache-Control: no-store\r\n\r\n"
ALIKE: dict[str, tuple[list[bytes], bytes]] = {
    "hits": ([ITEM] * 5, SAME),
    "what is not kept": ([ITEM] * 5, NO_STORE),
    "misses": ([b"/v1/opportunities/opp_%d" % number for number in range(5)], SAME),
    "a list": ([b"/v1/opportunities?limit=5&sort=-created_at"] * 3, SAME),
    "many ids": ([b"/v1/opportunities?ids=opp_a,raze:opp_b,x:y,.."] * 3, SAME),
    "no such record": ([b"/v1/opportunities/absent"] * 3, SAME),
    "an id of dots": ([b"/v1/opportunities/raze:.."] * 3, SAME),
    "no id": ([b"/v1/opportunities/raze:"] * 3, SAME),
    "too long an id": ([b"/v1/opportunities/" + b"a" * 201] * 3, SAME),
    "no such connection": ([b"/v1/opportunities/other:opp_a"] * 3, SAME),
    "no such route": ([b"/nothing", b"/", b"//healthz", b"/v1/../healthz", b"/healthz/", b"/v1/opportunities/"], SAME),
    "a query": ([ITEM + b"?explain=true", ITEM + b"?raw=true", ITEM + b"?explain=true"], SAME),
    "an empty query": ([ITEM + b"?"] * 3, SAME),
    "a query that cannot be taken": ([ITEM + b"?explain=maybe", ITEM + b"?x=%ff", ITEM + b"?a=1&a=1&&=+%20"], SAME),
    "each time another": (
        [ITEM, b"/healthz", b"/nothing", ITEM + b"?raw=true", b"/docs", b"/v1/connections", ITEM], SAME,
    ),
    "keep-alive": ([ITEM] * 3, b"Host: a\r\nConnection: Keep-Alive\r\n\r\n"),
    "a header of no use": ([ITEM] * 3, b"Host: a\r\nX-Request-Timeout: nonsense\r\n\r\n"),
    "a header twice": ([ITEM] * 3, b"Host: a\r\nX-CRM-Connection: raze\r\nX-CRM-Connection: raze\r\n\r\n"),
    "strictly": ([b"/v1/opportunities?limit=1"] * 3, b"Host: a\r\nPrefer: handling=strict\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALIKE)
def test_one_connection_is_answered_as_fresh_ones_are_and_parses_once(talk: Talk, kind: str) -> None:
    targets, headers = ALIKE[kind]
    fresh = [talk.say(get(target, headers)) for target in targets]
    kept = talk.same(*(get(target, headers) for target in targets))
    assert alike(kept.received) == b"".join(alike(one.received) for one in fresh)
    assert len(kept.statuses) == len(targets) and not kept.closed
    assert ([one.begun for one in fresh], kept.begun) == ([1] * len(targets), 1)


def test_other_headers_are_parsed_and_then_known_themselves(talk: Talk) -> None:
    other = [
        SAME.replace(b"*/*", b"a/b"), SAME.replace(b"Accept", b"accept"), SAME.replace(b": */*", b":*/*"),
        b"Accept: */*\r\nHost: a\r\n\r\n", b"Host: a\r\n\r\n", SAME[:-2] + b"X: y\r\n\r\n",
    ]  # fmt: skip
    begun = 0
    with talk.caller() as caller:
        for headers in (SAME, *other, SAME):
            begun += 1
            for _ in range(3):
                assert caller.ask(get(headers=headers)).status == 200
                assert caller.life.begun == begun


NEVER = {
    "a length": b"Content-Length: 0\r\n", "trailers": b"TE: trailers\r\n", "a trailer": b"Trailer: X\r\n",
    "an expectation": b"Expect: 100-continue\r\n", "an upgrade that is not one": b"Upgrade: x\r\n",
    "another connection option": b"Connection: keep-alive, te\r\n", "an empty one": b"Connection:\r\n",
    "more than is remembered": b"X: " + b"y" * MOST_BYTES + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", NEVER)
def test_headers_that_may_say_more_are_parsed_each_time(talk: Talk, kind: str) -> None:
    said = talk.same(*[get(headers=NEVER[kind] + SAME)] * 4)
    assert (said.statuses, said.begun) == ([200] * 4, 4)


# --- framing ---------------------------------------------------------------------------------------------------------

LENGTH = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
WITH_LENGTH = get(headers=LENGTH + SAME)
WITH_CHUNKS = get(headers=CHUNKED + SAME)
AS_BODY = get(headers=b"Content-Length: %d\r\n" % len(PLAIN) + SAME)
AS_CHUNK = [WITH_CHUNKS + b"%x\r\n" % len(PLAIN), PLAIN, b"\r\n0\r\n\r\n"]
LINE = b"GET /nothing HTTP/1.1\r\n"
CLOSING = get(headers=CLOSE + SAME)
HEAD = b"HEAD" + PLAIN[3:]
POST = (
    b"POST /v1/translate?from=canonical&to=canonical HTTP/1.1\r\nContent-Type: application/json\r\n"
    b'Content-Length: 12\r\n' + SAME + b'{"name":"J"}'
)  # fmt: skip
HALF_POST = POST[:-5]
FRAMES: dict[str, tuple[list[bytes], list[int]]] = {
    "two in one piece": ([PLAIN, PLAIN + PLAIN, PLAIN], [200] * 4),
    "more in one piece than are answered at once": ([PLAIN, PLAIN * (2 * AT_ONCE), PLAIN], [200] * (2 * AT_ONCE + 2)),
    "one and a half": ([PLAIN, PLAIN + PLAIN[:9], PLAIN[9:], PLAIN], [200] * 4),
    "one and a half, and one and a half": ([PLAIN, PLAIN + PLAIN[:-2], PLAIN[-2:] + PLAIN, PLAIN], [200] * 5),
    "a half, and one in the other half": ([PLAIN, PLAIN[:9], PLAIN, PLAIN], [200, 400]),
    "half a line, and one as the rest of the target": ([PLAIN, b"GET /a", PLAIN, PLAIN], [200, 400]),
    "headers only": ([PLAIN, SAME, PLAIN], [200, 400]),
    "a line with the headers in the next piece": ([PLAIN, PLAIN.removesuffix(SAME), SAME, PLAIN], [200] * 3),
    "one header more in the next piece": ([PLAIN, PLAIN[:-2], b"X: y\r\n\r\n", PLAIN], [200] * 3),
    "a blank line before": ([PLAIN, b"\r\n" + PLAIN, PLAIN], [200] * 3),
    "a blank line behind": ([PLAIN, PLAIN + b"\r\n", PLAIN], [200] * 3),
    "a blank line between": ([PLAIN, b"\r\n", PLAIN, PLAIN], [200] * 3),
    "half a blank line between": ([PLAIN, b"\r", PLAIN, PLAIN], [200] * 3),
    "garbage behind": ([PLAIN, PLAIN + b"\0\r\n\r\n", PLAIN], [200, 200, 400]),
    "garbage between": ([PLAIN, b"\0\r\n\r\n", PLAIN], [200, 400]),
    "a letter behind": ([PLAIN, PLAIN + b"G", PLAIN[1:], PLAIN], [200] * 4),
    "a body": ([PLAIN, WITH_LENGTH + b"hello", PLAIN, PLAIN], [200] * 4),
    "a body in a piece of its own": ([PLAIN, WITH_LENGTH, b"hello", PLAIN, PLAIN], [200] * 4),
    "a body each time": ([WITH_LENGTH + b"hello"] * 3, [200] * 3),
    "a body that never comes": ([WITH_LENGTH, WITH_LENGTH, WITH_LENGTH], [200, 400]),
    "a body that is a request": ([PLAIN, AS_BODY, PLAIN, PLAIN], [200] * 3),
    "a body that is a line, and a request behind it": (
        [get(headers=b"Content-Length: %d\r\n" % len(LINE) + SAME), LINE + PLAIN, LINE + PLAIN], [200, 200, 400],
    ),
    "a body that is a request, each time": ([AS_BODY, PLAIN] * 3, [200] * 3),
    "chunks": ([PLAIN, WITH_CHUNKS + b"5\r\nhello\r\n0\r\n\r\n", PLAIN, PLAIN], [200] * 4),
    "chunks in pieces of their own": ([PLAIN, WITH_CHUNKS, b"5\r\nhello\r\n", b"0\r\n\r\n", PLAIN, PLAIN], [200] * 4),
    "a chunk that is a request": ([PLAIN, *AS_CHUNK, PLAIN, PLAIN], [200] * 4),
    "a chunk that is a request, each time": (AS_CHUNK * 3, [200] * 3),
    "a length and chunks": ([PLAIN, get(headers=CHUNKED + LENGTH + SAME), PLAIN], [200, 400]),
    "closed by the first": ([CLOSING, CLOSING, PLAIN], [200]),
    "closed by the second": ([PLAIN, CLOSING, PLAIN], [200, 200]),
    "closed by a proxy's header": ([get(headers=b"Proxy-" + CLOSE + SAME), PLAIN], [200]),
    "closed within a piece": ([PLAIN, PLAIN + CLOSING + PLAIN, PLAIN], [200] * 3),
    "an upgrade": ([get(headers=b"Connection: upgrade\r\nUpgrade: x\r\n" + SAME)] * 2, [200]),
    "an upgrade later": ([PLAIN, get(headers=b"Connection: upgrade\r\nUpgrade: x\r\n" + SAME), PLAIN], [200, 200]),
    "HTTP/1.0 first": ([PLAIN.replace(b"1.1", b"1.0"), PLAIN], [200]),
    "HTTP/1.0 second": ([PLAIN, PLAIN.replace(b"1.1", b"1.0"), PLAIN], [200, 200]),
    "HTTP/1.0 kept alive": ([get(headers=b"Connection: keep-alive\r\n" + SAME).replace(b"1.1", b"1.0")] * 2, [200]),
    "HTTP/1.2": ([PLAIN, PLAIN.replace(b"1.1", b"1.2"), PLAIN], [200, 400]),
    "HTTP/0.9": ([PLAIN, b"GET /healthz\r\n", PLAIN], [200, 400]),
    "bare line feeds first": ([PLAIN.replace(b"\r", b""), PLAIN], [400]),
    "bare line feeds second": ([PLAIN, PLAIN.replace(b"\r", b""), PLAIN], [200, 400]),
    "a bare line feed behind the line": ([PLAIN, PLAIN.replace(b"\r", b"", 1), PLAIN], [200, 400]),
    "a bare line feed at the end": ([PLAIN, PLAIN[:-2] + b"\n", PLAIN], [200, 400]),
    "a bare carriage return at the end": ([PLAIN, PLAIN[:-1], PLAIN], [200, 400]),
    "HEAD first": ([HEAD, PLAIN, HEAD, PLAIN, PLAIN], [200] * 5),
    "HEAD again": ([HEAD] * 3, [200] * 3),
    "POST first": ([POST, PLAIN, PLAIN], [200] * 3),
    "POST later": ([PLAIN, POST, PLAIN, HALF_POST, POST[len(HALF_POST):], PLAIN], [200] * 5),
    "POST with the same headers": ([PLAIN, b"POST" + PLAIN[3:], PLAIN], [200, 405, 200]),
    "DELETE with the same headers": ([PLAIN, b"DELETE /nothing" + PLAIN[3 + 1 + len(ITEM):], PLAIN], [200, 404, 200]),
    "a method in small letters": ([PLAIN, b"get" + PLAIN[3:], PLAIN], [200, 405]),
    "two hosts": ([PLAIN, get(headers=b"Host: b\r\n" + SAME), PLAIN], [200, 400]),
    "no host": ([PLAIN, get(headers=b"Accept: */*\r\n\r\n"), PLAIN], [200, 400]),
    "a folded header": ([PLAIN, get(headers=SAME[:-2] + b" X: y\r\n\r\n"), PLAIN], [200, 400]),
    "two blanks in the line": ([PLAIN, PLAIN.replace(b"GET ", b"GET  "), PLAIN], [200, 200, 200]),
    "a blank behind the line": ([PLAIN, PLAIN.replace(b"1.1", b"1.1 "), PLAIN], [200, 400]),
}  # fmt: skip
TARGETS: dict[bytes, int] = {
    b"/v1/opportunities/raze%3Aopp_a": 200, b"/v1/opportunities/%6fpp_a": 400, ITEM + b"%00": 400, b"/health%7a": 404,
    b"/healthz#x": 400, ITEM + b"?#": 400, ITEM + b"?a#b": 400, b"#": 400, b"/health z": 400, ITEM + b" ": 200,
    b" " + ITEM: 200, b"/health\tz": 400, b"/health\0z": 400, b"/health\rz": 400,
    "/v1/opportunities/\u00e9".encode(): 400, b"/v1/opportunities/\xe9": 400,
    ITEM + b"?raw=\xe9": 400, ITEM + b"?raw=%e9": 400, ITEM + b"?raw=%zz": 400,
    b"http://elsewhere.example" + ITEM: 200, b"http://elsewhere.example": 400, b"//elsewhere.example" + ITEM: 404,
    b"https://a:1/nothing": 404, b"": 400, b"*": 404, b"nothing": 400, b"?raw=true": 400, b"elsewhere.example:80": 400,
    ITEM + b"??raw=true": 400, ITEM + b"?raw=true?": 400, ITEM + b"?raw=tru'e": 400, ITEM + b'?raw="': 400,
    ITEM + b"\\": 400, ITEM + b";raw=true": 400, ITEM + b"?" + b"&" * 100: 400, ITEM + b"?raw=true&raw=true": 400,
    ITEM + b"?raw=true&&": 200, ITEM + b"?raw": 400, ITEM + b"?raw=+true": 400, ITEM + b"?ra%77=tru%65": 200,
}  # fmt: skip


@pytest.mark.parametrize("kind", FRAMES)
def test_however_it_is_framed_the_answers_are_those_of_the_parser(talk: Talk, kind: str) -> None:
    pieces, expected = FRAMES[kind]
    assert talk.same(*pieces).statuses == expected


@pytest.mark.parametrize("target", TARGETS)
def test_whatever_the_target_the_answers_are_those_of_the_parser(talk: Talk, target: bytes) -> None:
    assert talk.same(PLAIN, get(target), PLAIN, get(target)).statuses[:2] == [200, TARGETS[target]]


@pytest.mark.parametrize("over", [0, 1])
def test_too_long_a_target_is_refused_also_with_headers_that_are_known(talk: Talk, over: int) -> None:
    target = b"/" + b"a" * (TARGET_BYTES - 1 + over)
    assert talk.say(get(target)).statuses == [414 if over else 404]
    said = talk.same(PLAIN, get(target), PLAIN)
    assert said.statuses == ([200, 414] if over else [200, 404, 200])


def test_a_request_in_two_pieces_is_one_wherever_it_is_cut(talk: Talk) -> None:
    cut = [piece for at in range(1, len(PLAIN)) for piece in (PLAIN[:at], PLAIN[at:], PLAIN, PLAIN)]
    said = talk.same(PLAIN, *cut)
    assert said.statuses == [200] * (3 * len(PLAIN) - 2)
    assert said.begun == 1 + 2 * (len(PLAIN) - 1), "those in two pieces, and the first one after them"


SOME = [piece for pieces, _ in FRAMES.values() for piece in pieces] + [get(target) for target in TARGETS]
SOME.remove(HALF_POST)  # as the last of all it would be waited for until the time for its body is over
OFTEN = [PLAIN, PLAIN, get(ITEM + b"?raw=true"), get(b"/nothing"), get(b"/healthz"), get(headers=NO_STORE)]
PIECES = st.lists(
    st.tuples(
        st.sampled_from(OFTEN) | st.sampled_from(SOME),
        st.integers(0, 3),  # how many of them
        st.sampled_from(["", "", "", "cut", "joined"]),
        st.floats(0, 1, exclude_max=True),  # where it is cut
    ),
    min_size=2,
    max_size=10,
)  # fmt: skip


def test_whatever_pieces_come_the_answers_are_those_of_the_parser(talk: Talk) -> None:
    spared = 0

    @settings(max_examples=60, deadline=None)
    @given(drawn=PIECES)
    def same(drawn: list[tuple[bytes, int, str, float]]) -> None:
        nonlocal spared
        pieces, before = list[bytes](), b""
        for piece, times, how, where in drawn:
            for _ in range(times):
                joined, before = before + piece, b""
                at = int(len(joined) * where)
                if how == "joined":
                    before = joined
                elif how == "cut":
                    pieces += filter(None, (joined[:at], joined[at:]))
                else:
                    pieces.append(joined)
        pieces += filter(None, (before,))
        # So that both find the same in the cache: what garbage is told depends on whether the answer before it waits.
        talk.say(*pieces)
        said = talk.same(*pieces)
        spared += len(said.statuses) - said.begun

    same()
    assert spared > 0, "no request was known by its headers"


# --- while the one before is under way -------------------------------------------------------------------------------

HELD = get(b"/v1/opportunities/held", NO_STORE)
MEANWHILE: dict[str, tuple[list[bytes], list[int]]] = {
    "the same": ([HELD], [200] * 4),
    "another": ([get(b"/nothing", NO_STORE)], [200, 200, 404, 200]),
    "another in two pieces": ([HELD[:9], HELD[9:]], [200] * 4),
    "several": ([HELD + PLAIN + get(b"/nothing")], [200, 200, 200, 200, 404, 200]),
    "one that closes": ([CLOSING], [200] * 3),
    "garbage": ([b"\0\r\n\r\n"], [200] * 2),
    "half of one, and garbage": ([HELD[:9], b"\0\r\n\r\n"], [200] * 2),
    "a target without a path": ([get(b"http://elsewhere.example")], [200] * 2),
    "a body": ([WITH_LENGTH + b"hello"], [200] * 4),
    "a blank line": ([b"\r\n"], [200] * 3),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEANWHILE)
def test_what_comes_while_a_request_waits_is_answered_after_it(talk: Talk, kind: str) -> None:
    pieces, expected = MEANWHILE[kind]

    def converse() -> Said:
        talk.held.clear()
        try:
            with talk.caller() as caller:
                caller.send(get(headers=NO_STORE))
                begun = caller.life.begun
                caller.send(HELD, answered=False)
                known.append(caller.life.begun == begun)
                for piece in pieces:
                    caller.send(piece, answered=False)
                talk.held.set()
                caller.send(b"")
                caller.send(get(headers=NO_STORE))
                return caller.said()
        finally:
            talk.held.set()

    known = list[bool]()
    assert talk.alike(converse).statuses == expected
    assert known == [True, False], "the one that waits came without the parser, and then with it"


def test_an_answer_that_is_not_taken_yet_does_not_spoil_the_next_ones(talk: Talk) -> None:
    target = b"/v1/opportunities/long"

    def converse() -> Said:
        with talk.caller(receives=65536) as caller:
            caller.send(get(target))
            until(lambda: caller.life.protocol.flow.write_paused)
            caller.send(get(target), answered=False)
            assert not caller.life.idle, "nothing is written for a caller that does not take what was"
            caller.send(get(target, CLOSE + SAME), answered=False)
            return Said(caller.rest(), True, caller.life.begun)

    said = talk.alike(converse)
    assert said.statuses == [200] * 3
    assert len(set(re.findall(rb"content-length: ([0-9]+)", said.received))) == 1


# --- what is a request's own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [b"/healthz", b"/docs", b"/nothing"])
def test_who_ends_his_side_right_after_asking_is_answered(talk: Talk, target: bytes) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", talk.port), timeout=PATIENCE) as sock:
            sock.sendall(get(target))
            sock.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
            assert received.startswith(b"HTTP/1.1 404 " if target == b"/nothing" else b"HTTP/1.1 200 ")


def test_the_callers_own_id_is_told_each_time(talk: Talk) -> None:
    with talk.caller() as caller:
        for number in (1, 2):
            for target in (ITEM, b"/nothing", ITEM, b"/v1/opportunities/absent"):
                answer = caller.ask(get(target, b"X-Request-Id: mine-%d\r\n" % number + SAME))
                assert answer.headers["x-request-id"] == f"mine-{number}"
                assert answer.status == 200 or answer.json["request_id"] == f"mine-{number}"
            assert caller.life.begun == number


@pytest.mark.parametrize("sent", [b"", b"X-Request-Id: a b\r\n", b"X-Request-Id: a\r\nX-Request-Id: a\r\n"])
def test_without_an_id_that_can_be_taken_each_answer_has_a_new_one(talk: Talk, sent: bytes) -> None:
    with talk.caller() as caller:
        answers = [
            caller.ask(get(target, sent + SAME)) for target in (ITEM, b"/nothing", b"/healthz") for _ in range(4)
        ]
        assert caller.life.begun == 1
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers) and all(re.fullmatch("[0-9a-f]{32}", id_) for id_ in ids)
    assert {answer.json["request_id"] for answer in answers if answer.status == 404} <= ids


def test_a_trace_is_handed_on_for_the_connection_that_sent_it(talk: Talk) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n".encode() + NO_STORE
    seen = len(talk.provider.seen)
    with talk.caller() as one, talk.caller() as other:
        for _ in range(3):
            assert (one.ask(get(headers=sent)).status, other.ask(get(headers=NO_STORE)).status) == (200, 200)
        assert (one.life.begun, other.life.begun) == (1, 1)
    told = [one.headers.get("traceparent", "--").split("-") for one in talk.provider.seen[seen:]]
    assert [words[1] for words in told] == [trace, ""] * 3
    assert len({words[2] for words in told[::2]}) == 3, "each call is a span of its own"


def test_what_is_known_of_one_connection_is_not_known_of_another(talk: Talk) -> None:
    with talk.caller() as one, talk.caller() as other:
        for number in (1, 2, 3):
            for caller, key in ((one, "one"), (other, "other")):
                answer = caller.ask(get(headers=f"X-Request-Id: {key}\r\n".encode() + SAME))
                assert (answer.status, answer.headers["x-request-id"]) == (200, key), number
        assert (one.life.begun, other.life.begun) == (1, 1)


# --- who may do what -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """A gateway that asks for keys."""
    with fronted(tmp_path_factory.mktemp("guarded")) as front:
        yield Talk(watch, port_of(front.url), front.raze)


def keyed(key: str) -> bytes:
    """Headers with a key."""
    return f"X-API-Key: {key}\r\n".encode() + SAME


NO_KEYS = {
    "none": SAME, "wrong": keyed("wrong"), "empty": keyed(""), "no bearer": b"Authorization: Basic eA==\r\n" + SAME,
    "of another form": f"Authorization: {KEYS['reader']}\r\n".encode() + SAME,
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_KEYS)
def test_whoever_has_no_key_is_refused_each_time(guarded: Talk, kind: str) -> None:
    called = len(guarded.provider.seen)
    targets = [ITEM, ITEM, b"/v1/connections", b"/v1/outcomes", ITEM + b"?explain=true"]
    said = guarded.same(*(get(target, NO_KEYS[kind]) for target in targets))
    assert (said.statuses, said.begun) == ([401] * len(targets), 1)
    assert len(guarded.provider.seen) == called


def test_two_keys_that_differ_are_refused_each_time(guarded: Talk) -> None:
    headers = f"Authorization: Bearer {KEYS['all']}\r\n".encode() + keyed(KEYS["reader"])
    said = guarded.same(*[get(headers=headers)] * 3)
    assert (said.statuses, said.begun) == ([400] * 3, 1)


def test_a_key_lets_in_the_requests_that_come_with_it_and_no_others(guarded: Talk) -> None:
    reader, other = keyed(KEYS["reader"]), keyed(KEYS["operator"])
    sent = [reader, reader, SAME, SAME, reader, keyed("wrong"), reader, other, other, reader]
    said = guarded.same(*(get(headers=headers) for headers in sent))
    assert said.statuses == [200, 200, 401, 401, 200, 401, 200, 403, 403, 200]


def test_each_target_asks_for_its_scope_and_its_connection(guarded: Talk) -> None:
    targets = {
        ITEM: 200, b"/v1/outcomes": 403, b"/v1/connections": 200, b"/v1/opportunities/hidden:opp_a": 404,
        b"/v1/connections/hidden": 404, b"/healthz": 200, b"/v1/opportunities/raze:opp_a": 200,
    }  # fmt: skip
    said = guarded.same(*(get(target, keyed(KEYS["reader"])) for target in [*targets, *targets]))
    assert (said.statuses, said.begun) == ([*targets.values()] * 2, 1)


@dataclass
class Desk:
    """A gateway in the loop of the test, and a caller who sends the same headers each time."""

    site: Site
    folder: Path
    watch: Watch

    async def get(self) -> Reply:
        """The record as the provider has it, with the first caller's key."""
        return await self.site.get("a", X_API_Key=caller_key(0), Cache_Control="no-store")

    async def reload(self, **changes: Any) -> None:
        """Other settings of the first caller from now on, or with `key_sha256` another key."""
        path = self.folder / "config.yaml"
        tree = yaml.safe_load(path.read_text())
        tree["callers"][0] |= changes
        path.write_text(yaml.safe_dump(tree))
        await self.site.apps[0].exchange(load_config(path, {}), {})

    def begun(self) -> list[int]:
        """Requests that were parsed, of each connection."""
        return [life.begun for life in self.watch.here()]


@pytest.fixture
def at_desk(watch: Watch, tmp_path: Path) -> Callable[[Callable[[Desk], Awaitable[None]]], None]:
    """Run a test's work there, with a record `a`; two requests of a caller may be in flight."""

    def run(work: Callable[[Desk], Awaitable[None]]) -> None:
        async def main() -> None:
            async with replicas(tmp_path, 1, callers=2, limits={"per_caller": 2}) as site:
                site.provider.put("k-1", "a", name="A")
                await work(Desk(site, tmp_path, watch))

        in_loop(main())

    return run


AtDesk = Callable[[Callable[[Desk], Awaitable[None]]], None]


def test_what_a_reload_takes_from_a_caller_is_refused_on_the_same_connection(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        mine, scopes = hash_key(caller_key(0)), ["opportunities:read"]
        for changes, status in (
            ({}, 200), ({"key_sha256": hash_key("another")}, 401), ({"key_sha256": mine}, 200),
            ({"scopes": ["opportunities:write"]}, 403), ({"scopes": scopes}, 200),
            ({"connections": ["other"]}, 404), ({"connections": ["raze"]}, 200),
        ):  # fmt: skip
            await desk.reload(**changes)
            for _ in range(3):
                assert (await desk.get()).status == status, changes
        assert desk.begun() == [1]

    at_desk(work)


def test_callers_that_a_reload_makes_are_asked_for_their_keys(watch: Watch, tmp_path: Path) -> None:
    """Who came in without a key, when nobody was asked for one, needs one now."""

    async def main() -> None:
        async with replicas(tmp_path, 1) as site:
            site.provider.put("k-1", "a", name="A")
            assert [(await site.get("a")).status for _ in range(2)] == [200, 200]
            path = tmp_path / "config.yaml"
            tree = yaml.safe_load(path.read_text())
            tree["callers"] = [{"name": "one", "key_sha256": hash_key("one")}]
            path.write_text(yaml.safe_dump(tree))
            await site.apps[0].exchange(load_config(path, {}), {})
            assert [(await site.get("a")).status for _ in range(2)] == [401, 401]
            assert [life.begun for life in watch.here()] == [1]

    in_loop(main())


def test_requests_with_known_headers_count_among_their_callers(at_desk: AtDesk) -> None:
    async def work(desk: Desk) -> None:
        for _ in range(3):
            desk.site.provider.hold = gate = Gate(times=2)
            three = [asyncio.create_task(desk.get()) for _ in range(3)]
            await asyncio.wait(three, return_when=asyncio.FIRST_COMPLETED)
            gate.open()
            told = [(reply.status, reply.headers.get("retry-after")) for reply in await asyncio.gather(*three)]
            assert sorted(told, key=str) == [(200, None), (200, None), (429, "1")]
            assert desk.site.in_flight() == 0
        assert desk.begun() == [1, 1, 1]

    at_desk(work)


# --- leaving, and being left -----------------------------------------------------------------------------------------


def reads(status: int) -> float:
    """Reads of one record that were answered so."""
    count = metrics.REQUESTS.of("/v1/opportunities/{id}", "GET", str(status))
    return count.values[count.at]


def under_way() -> float:
    """Requests that are being answered."""
    level = metrics.REQUESTS_NOW.of()
    return level.values[level.at]


@pytest.mark.parametrize("remembers", [True, False])
def test_a_caller_that_leaves_is_counted_once_and_leaves_nothing_behind(
    at_desk: AtDesk, monkeypatch: pytest.MonkeyPatch, remembers: bool
) -> None:
    """What a provider is asked for is waited for, whoever has left."""
    if not remembers:
        monkeypatch.setattr(server, "remembered", lambda data, sent: None)

    async def work(desk: Desk) -> None:
        await desk.get()
        before = under_way(), reads(200), reads(499)
        for _ in range(3):  # more than a caller may have in flight
            assert (await desk.get()).status == 200
            desk.site.provider.hold = gate = Gate()
            leaving = asyncio.create_task(desk.get())
            await gate.reached.wait()
            assert (desk.site.in_flight(), under_way()) == (1, before[0] + 1)
            assert (desk.begun() == [1]) is remembers
            leaving.cancel()
            await until_in_loop(lambda: not desk.watch.here())
            gate.open()
            await until_in_loop(lambda: desk.site.in_flight() == 0)
            desk.site.provider.hold = None
            assert (await desk.get()).status == 200
        assert (under_way(), reads(200), reads(499)) == (before[0], before[1] + 6, before[2] + 3)

    at_desk(work)


def test_a_request_that_a_server_gives_up_is_counted_as_not_answered(watch: Watch, tmp_path: Path) -> None:
    held = threading.Event()
    before = under_way(), reads(499)
    with StandIn(holding(held)) as provider:
        with running_gateway(on(provider), tmp_path) as url, Caller(watch, port_of(url)) as caller:
            caller.send(get(headers=NO_STORE))
            caller.send(HELD, answered=False)
            assert caller.life.begun == 1
            assert (under_way(), reads(499)) == (before[0] + 1, before[1])
        assert (under_way(), reads(499)) == (before[0], before[1] + 1)
        held.set()


def test_a_server_that_drains_closes_after_a_repeated_request_too(tmp_path: Path) -> None:
    """Whether it comes before the server was told to stop, and is still waited for, or after."""
    held = threading.Event()
    with StandIn(holding(held)) as provider, contextlib.ExitStack() as stack:
        (tmp_path / "config.yaml").write_text(on(provider))
        running = stack.enter_context(Server(tmp_path, "--drain-seconds", "8"))
        one, other = (
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), PATIENCE)) for _ in range(2)
        )
        for _ in range(3):
            for sock in (one, other):
                assert "connection" not in exchange(sock, PLAIN).headers
        other.sendall(get(b"/v1/opportunities/held"))
        until(lambda: len(provider.seen) == 2)
        running.signal(signal.SIGTERM)
        until(lambda: not is_ready(running))
        last = exchange(one, PLAIN)
        assert (last.status, last.headers["connection"], one.recv(1)) == (200, "close", b"")
        held.set()
        last = answer_on(other)
        assert (last.status, last.headers["connection"], other.recv(1)) == (200, "close", b"")
        assert running.wait() == 0
        assert "Traceback" not in running.log


def test_a_key_that_a_reload_takes_out_is_refused_on_a_connection_that_is_kept(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"

    def write(*keys: str) -> None:
        hashes = ", ".join(map(hash_key, keys))
        config.write_text(f"{SANDBOXES}callers: [{{name: billing, key_sha256: [{hashes}]}}]\n")

    request = get(b"/v1/connections", keyed("old"))
    write("old")
    with Server(tmp_path) as running, socket.create_connection(("127.0.0.1", running.port), PATIENCE) as sock:
        for keys, status in ((("old",), 200), (("new",), 401), (("new", "old"), 200)):
            write(*keys)
            done = running.reload()
            assert done.returncode == 0, done.stderr
            assert [exchange(sock, request).status for _ in range(3)] == [status] * 3


# --- a header is read once -------------------------------------------------------------------------------------------


def test_a_header_is_read_once_for_the_requests_that_come_with_it() -> None:
    asked = list[tuple[str, Headers]]()

    @once
    def first(headers: Headers) -> str | None:
        asked.append(("first", headers))
        return headers.one("a")

    @once
    def second(headers: Headers) -> bool:
        asked.append(("second", headers))
        return False

    one, other, none = Headers([(b"a", b"1")]), Headers([(b"a", b"1")]), Headers([])
    for _ in range(3):
        assert [first(one), first(other), first(none), second(one), second(none)] == ["1", "1", None, False, False]
    told = [(name, [one, other, none].index(headers)) for name, headers in asked]
    assert told == [("first", 0), ("first", 1), ("first", 2), ("second", 0), ("second", 2)]


def test_a_header_that_cannot_be_taken_is_refused_each_time_by_a_problem_of_its_own() -> None:
    headers = Headers([(b"x-request-timeout", b"nonsense")])
    problems = []
    for _ in range(3):
        with pytest.raises(Problem) as failed:
            requests.timeout(headers, 30.0)
        problems.append(failed.value)
    told = [problem.body("*") for problem in problems]
    assert told == [told[0]] * 3 and told[0]["code"] == "invalid-request"
    assert len(set(map(id, problems))) == 3, "who raises it tells it more, which is of one request only"


def test_what_is_kept_of_a_timeout_does_not_depend_on_who_asked_first() -> None:
    headers = Headers([(b"x-request-timeout", b"5")])
    assert [requests.timeout(headers, most) for most in (2.0, 30.0, 3.0, 60.0)] == [2.0, 5.0, 3.0, 5.0]


@pytest.mark.parametrize("name", ["X-Request-Timeout", "X-CRM-Connection"])
def test_a_header_that_cannot_be_taken_is_refused_each_time_it_is_sent(talk: Talk, name: str) -> None:
    with talk.caller() as caller:
        for _ in range(3):
            headers = (f"{name}: nonsense\r\n" * (2 if name == "X-CRM-Connection" else 1)).encode()
            problem = assert_problem(caller.ask(get(headers=headers + SAME)), 400, "invalid-request")
            assert fields_of(problem) == [name.lower()]
        assert caller.life.begun == 1
