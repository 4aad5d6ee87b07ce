"""What a hostile caller needs, and what has to hold whatever it sends.

Each check takes a gateway between two stand-ins and raises `AssertionError` when something gets through, so that it can be
turned upon a gateway with a hole in it, too.
"""

import contextlib
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.callers import DELETE, READ, SCOPES, WRITE, hash_key
from gateway.http.reads import LIST_PARAMETERS
from tests.live import EXAMPLES, Answer, Says, StandIn, ask, port_of, running_gateway

RAZE = "opp_abc123def456"
RECORD = json.loads((EXAMPLES / "getraze-get.documented.json").read_bytes())
PREFIX = "/external/v1"
ALLOWED = re.compile(rf"{PREFIX}/opportunities(/[A-Za-z0-9._~-]{{1,200}})?\Z", re.ASCII)
"""The paths that may be seen at the provider. A dot segment is refused beside it."""
SENT = {"host", "accept", "accept-encoding", "connection", "user-agent", "x-api-key", "content-type", "content-length"}
"""The headers that may be seen at the provider."""
UPSTREAM = "upstream-key-4711"
KEYS = {"all": "key-of-all", "reader": "key-of-reader", "writer": "key-of-writer", "deleter": "key-of-deleter",
        "operator": "key-of-operator", "other": "key-of-other"}  # fmt: skip
SCOPES_OF: Mapping[str, tuple[str, ...]] = {
    "all": SCOPES, "reader": (READ,), "writer": (WRITE,), "deleter": (DELETE,), "operator": ("operator",), "other": SCOPES,
}  # fmt: skip


@dataclass
class Front:
    """A gateway with the connections `raze`, `hidden` and `spott`; whoever is not `other` may use `raze` only."""

    url: str
    raze: StandIn
    hidden: StandIn

    def ask(self, who: str, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        """One request with the key of a caller; "" for none."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        key = {"X-API-Key": KEYS[who]} if who else {}
        media = {} if body is None else {"Content-Type": "application/json"}
        return ask(f"{self.url}{target}", method, {**media, **key, **named}, body)

    def raw(self, data: bytes, patience: float = 5.0) -> bytes:
        """Whatever comes back for these bytes until the gateway closes."""
        with socket.create_connection(("127.0.0.1", port_of(self.url)), timeout=patience) as sock:
            received = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                sock.sendall(data)
            with contextlib.suppress(ConnectionError, TimeoutError):
                while chunk := sock.recv(65536):
                    received += chunk
            return received

    def wire(self, method: bytes, target: bytes, headers: bytes = b"", body: bytes = b"") -> tuple[int, bytes]:
        """(status, everything that came) of one request of the caller `all`, each byte as given."""
        data = (
            method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: " + KEYS["all"].encode()
            + b"\r\n" + headers + (b"Content-Length: %d\r\n" % len(body) if body else b"") + b"\r\n" + body
        )  # fmt: skip
        received = self.raw(data)
        assert received.startswith(b"HTTP/1.1 "), (target[:80], received[:80])
        return int(received[9:12]), received


def reply(seen: Any) -> Says:
    """A provider that has every record, under the very id that it is asked for."""
    path = seen.path.removeprefix(PREFIX)
    if path == "/opportunities":
        if seen.method == "POST":
            return Says(201, {**RECORD, "data": {**RECORD["data"], "id": RAZE}})
        page = {"total": 0, "limit": 100, "offset": 0, "has_more": False}
        return Says(200, {"success": True, "data": [], "pagination": page})
    if seen.method == "DELETE":
        return Says(204)
    return Says(200, {**RECORD, "data": {**RECORD["data"], "id": path.rpartition("/")[2]}})


@contextlib.contextmanager
def fronted(folder: Path, more: str = "") -> Iterator[Front]:
    """A running gateway in front of two providers of our own."""
    with StandIn(reply) as raze, StandIn(reply) as hidden:
        callers = "".join(
            f"  - {{name: {name}, key_sha256: {hash_key(key)}, scopes: {list(SCOPES_OF[name])}"
            + ("}\n" if name in ("all", "other") else ", connections: [raze]}\n")
            for name, key in KEYS.items()
            if name != "all"
        )
        config = f"""\
circuit: off
cache: {{ttl: 0s}}
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: '{raze.url}{PREFIX}', api_key: {UPSTREAM}, budget: off,
         settings: {{dialect: documented}}}}
  hidden: {{provider: getraze, base_url: '{hidden.url}{PREFIX}', api_key: other-{UPSTREAM}, budget: off,
           settings: {{dialect: documented}}}}
limits: {{body: 64KiB}}
callers:
  - {{name: all, key_sha256: {hash_key(KEYS["all"])}, scopes: {list(SCOPES)}, connections: [raze]}}
{callers}{more}"""
        with running_gateway(config, folder) as url:
            yield Front(url, raze, hidden)


def nothing_slipped(front: Front, what: str) -> None:
    """That the providers saw allowed paths and headers only, and the hidden one nothing."""
    assert front.hidden.seen == [], what
    for seen in front.raze.seen:
        assert ALLOWED.match(seen.path), (what, seen.path)
        assert seen.path.rpartition("/")[2] not in (".", ".."), (what, seen.path)
        assert set(seen.headers) <= SENT, (what, set(seen.headers) - SENT)
        assert seen.headers["x-api-key"] == UPSTREAM, what
        assert not any(key in str(seen) for key in KEYS.values()), what


def sound(received: bytes, what: str) -> bytes:
    """The body of one whole answer, with the headers of every answer, and nothing that was not meant to be one."""
    head, _, body = received.partition(b"\r\n\r\n")
    lower = head.lower()
    length = re.search(rb"\r\ncontent-length: ([0-9]+)", lower)
    assert len(body) == (int(length.group(1)) if length else 0), (what, received[:300])
    assert b"\r\nx-content-type-options: nosniff" in lower, (what, head)
    assert b"\r\ncache-control: private, no-store" in lower, (what, head)
    assert lower.count(b"\r\nx-request-id: ") == 1, (what, head)
    assert b"x-injected" not in lower, (what, head)
    assert not lower.startswith(b"http/1.1 3") and b"\r\nlocation:" not in lower, (what, head)
    status = int(head[9:12])
    assert status < 500, (what, received[:500])
    if status >= 400:
        assert b"content-type: application/problem+json" in lower, (what, head)
    return body


PLACES = (
    *LIST_PARAMETERS, "parameter", "connection", "body", "member", "X-CRM-Connection", "X-Request-Id", "traceparent",
    "tracestate", "Idempotency-Key", "Prefer", "X-Request-Timeout", "Cache-Control", "X-Forwarded-Host", "X-Original-URL",
    "Authorization", "User-Agent",
)  # fmt: skip
"""Where a text can stand: a parameter of a list, its name, a connection's name, a value and a name in a body, a header."""

PLAIN = re.compile(rb"(?:[A-Za-z0-9._~-]|:|%3[Aa])+\Z")
METHODS = {b"GET": b"", b"DELETE": b"", b"PATCH": b'{"source":"x"}'}


def check_segment(front: Front, method: bytes, name: str, segment: bytes) -> None:
    """That a segment in the place of an id is a plain id or refused, whatever its bytes are."""
    front.raze.play(reply)
    body = METHODS[method]
    for form in (segment, b"raze:" + segment):
        status, received = front.wire(
            method, b"/v1/opportunities/" + form, b"Content-Type: application/json\r\n" if body else b"", body
        )
        sound(received, name)
        # A query that follows is the gateway's own, and what else is reached is a plain id, in these very letters.
        path = form.partition(b"?")[0]
        if status in (200, 204) and b"/" not in path:
            assert PLAIN.match(path), (name, status, path[:100])
            native = path.replace(b"%3A", b":").replace(b"%3a", b":").rpartition(b":")[2].decode()
            assert {seen.path for seen in front.raze.seen} <= {f"{PREFIX}/opportunities/{native}"}, name
        elif not PLAIN.match(path):
            assert front.raze.seen == [] or form != segment, (name, front.raze.calls())
        nothing_slipped(front, name)
        front.raze.play(reply)


def check_word(front: Front, place: str, name: str, word: str) -> None:
    """That a text in this place is taken as data or refused, and moves nothing."""
    front.raze.play(reply)
    front.hidden.play(reply)
    quoted = quote(word, safe="").encode()
    header = word.encode()
    item = f"/v1/opportunities/{RAZE}".encode()
    if place in LIST_PARAMETERS:
        _, received = front.wire(b"GET", b"/v1/opportunities?" + place.encode() + b"=" + quoted)
    elif place == "parameter":
        _, received = front.wire(b"GET", b"/v1/opportunities?" + quoted + b"=1")
    elif place == "connection":
        _, received = front.wire(b"GET", b"/v1/connections/" + quoted)
        if word not in ("raze",):
            assert received.startswith((b"HTTP/1.1 40", b"HTTP/1.1 414")) or not word, (name, received[:200])
    elif place == "body":
        text = json.dumps({"name": word or "x", "source": word, "company": {"name": word}}).encode()
        _, received = front.wire(b"POST", b"/v1/opportunities", b"Content-Type: application/json\r\n", text)
        received = re.sub(rb"(?im)^location: [^\r]*\r\n", b"", received)
    elif place == "member":
        text = json.dumps({"name": "x", word: 1}).encode()
        _, received = front.wire(b"POST", b"/v1/opportunities", b"Content-Type: application/json\r\n", text)
        if word != "name":
            assert received.startswith(b"HTTP/1.1 4"), (name, received[:200])
            assert front.raze.seen == [], name
        received = re.sub(rb"(?im)^location: [^\r]*\r\n", b"", received)
    else:  # a header
        status, received = front.wire(b"GET", item, place.encode() + b": " + header + b"\r\n")
        if b"\r\n\r\n" in header:
            return  # the request ended there: what follows is another one, which is refused or not, but never led on
        if place == "X-Request-Id":
            told = re.search(rb"(?i)\r\nx-request-id: ([^\r]*)", received)
            assert told and re.fullmatch(rb"[A-Za-z0-9._~+/=-]{1,128}", told.group(1)), (name, status)
        if b"\r\n" in header:  # two headers, and the second is nobody's: it must go nowhere
            received = received.replace(b"X-Injected", b"")
    body = sound(received, f"{place}: {name}")
    if body:
        json.loads(body)
    nothing_slipped(front, f"{place}: {name}")
