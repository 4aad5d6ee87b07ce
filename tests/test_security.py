"""Security, beyond what other tests say of it: no way to a connection, record, path or header that is not the caller's.

What is sent is in `naughty`, what has to hold in `hostile`. The last part plants holes and sees them found.
"""

import gzip
import json
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway import callers, gateway, logs, strict_json, target
from gateway.callers import Callers, hash_key
from gateway.cli import main
from gateway.config import Config, ConfigError, load_config
from gateway.errors import CODES, Problem
from gateway.http import handlers, requests, table
from gateway.http.routes import Route
from tests.hostile import (
    KEYS,
    METHODS,
    PLACES,
    PREFIX,
    RAZE,
    RECORD,
    SCOPES_OF,
    Front,
    check_segment,
    check_word,
    fronted,
    nothing_slipped,
    reply,
    sound,
)
from tests.live import Answer, Says, StandIn, ask, assert_problem
from tests.naughty import SEGMENTS, WORDS
from tests.operating import Server

ROUTES = {route.name: route for route in table.routes()}
CLOSED = [route for route in ROUTES.values() if route.scope is not None]
SCOPED = [route for route in CLOSED if route.scope]
CHOOSING = [route for route in CLOSED if "X-CRM-Connection" in route.headers]
BODIES = {"Draft": b'{"name":"J"}', "Patch": b'{"source":"x"}', "Record": b'{"name":"J"}'}
FILLED = {"id": RAZE, "name": "raze"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with fronted(tmp_path_factory.mktemp("front")) as front:
        yield front


def aim(route: Route, id_: str = RAZE) -> str:
    """A request target of a route, with whatever it requires."""
    path = route.path.replace("{id}", id_).replace("{name}", "raze")
    return f"{path}?from=canonical&to=canonical" if route.name == "translate_record" else path


def body_of(route: Route) -> bytes | None:
    return BODIES[route.body] if route.body else None


def told(answer: Answer, connection: str = "\0") -> tuple[int, Any, dict[str, str]]:
    """What an answer tells, without what differs by request and without the name of the connection asked for."""
    body = json.loads(answer.body) if answer.body else None
    text = json.dumps(body)
    request_id = answer.headers["x-request-id"]
    unlike = ("x-request-id", "date", "server-timing", "content-length")
    headers = {name: value for name, value in answer.headers.items() if name not in unlike}
    return answer.status, json.loads(text.replace(request_id, "*").replace(connection, "{c}")), headers


def names(routes: list[Route]) -> list[str]:
    return [route.name for route in routes]


# --- who may do what, on every route ---------------------------------------------------------------------------------


def test_every_route_is_open_for_a_reason_or_asks_for_a_key() -> None:
    assert {route.name for route in ROUTES.values() if route.scope is None} <= {
        "healthz", "readyz", "metrics", "openapi", "docs", "docs_file", "problem_page",
    }  # fmt: skip


@pytest.mark.parametrize("route", CLOSED, ids=names(CLOSED))
def test_without_a_key_every_closed_route_says_the_same_and_nothing_more(front: Front, route: Route) -> None:
    front.raze.play(reply)
    said = []
    for form in (aim(route), aim(route, f"hidden:{RAZE}"), aim(route, "absent:x"), aim(route, "%00")):
        for body in {body_of(route), None if route.body is None else b"{broken"}:
            for query in ("", f"{'&' if '?' in form else '?'}api_key={KEYS['all']}"):
                answer = front.ask("", route.method, form + query, body)
                assert_problem(answer, 401, "unauthenticated")
                said.append(told(answer))
    said.append(told(front.ask("", "GET", "/v1/outcomes")))
    for one in said:
        one[1].pop("outcome", None)  # of a write only
    assert all(one == said[0] for one in said)
    assert front.raze.seen == []


@pytest.mark.parametrize("route", SCOPED, ids=names(SCOPED))
def test_every_route_needs_its_scope_whatever_is_asked_of_it(front: Front, route: Route) -> None:
    for who in ("reader", "writer", "deleter", "operator"):
        for id_ in (RAZE, f"raze:{RAZE}", f"raze%3A{RAZE}", f"hidden:{RAZE}", "absent:x", "%2e%2e"):
            front.raze.play(reply)
            answer = front.ask(who, route.method, aim(route, id_), body_of(route))
            if route.scope in SCOPES_OF[who]:
                assert answer.status not in (401, 403)
            else:
                assert_problem(answer, 403, "forbidden")
                assert front.raze.seen == []
    assert front.hidden.seen == []


FORMS = {
    "prefix": "{c}:" + RAZE, "encoded prefix": "{c}%3A" + RAZE, "encoded prefix in small letters": "{c}%3a" + RAZE,
    "another record": "{c}:nothing", "a longest id": "{c}:" + "a" * 200, "too long an id": "{c}:" + "a" * 201,
    "dots": "{c}:..", "no id": "{c}:", "two colons": "{c}:a:b", "an encoded letter": "{c}:%6fpp",
}  # fmt: skip
HELD = {"GET": "reader", "POST": "writer", "PATCH": "writer", "DELETE": "deleter"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("route", [one for one in CLOSED if "{id}" in one.path], ids=lambda route: route.name)
def test_a_foreign_connection_in_an_id_is_answered_like_one_that_is_not_there(
    front: Front, route: Route, form: str
) -> None:
    front.raze.play(reply)
    for header in ({}, {"X_CRM_Connection": "{c}"}, {"X_CRM_Connection": "raze"}, {"Prefer": "handling=strict"}):
        for who in (HELD[route.method], "all"):
            foreign, absent = (
                told(front.ask(who, route.method, aim(route, FORMS[form].format(c=name)), body_of(route),
                               **{key: value.format(c=name) for key, value in header.items()}), name)
                for name in ("hidden", "absent")
            )  # fmt: skip
            assert foreign == absent
            assert foreign[0] in (400, 404)
    assert front.raze.seen == [] and front.hidden.seen == []


@pytest.mark.parametrize("route", CHOOSING, ids=names(CHOOSING))
def test_a_foreign_connection_in_the_header_is_answered_like_one_that_is_not_there(front: Front, route: Route) -> None:
    front.raze.play(reply)
    for id_ in (RAZE, f"raze:{RAZE}", "nothing", ".."):
        for body in {
            body_of(route),
            None if route.body is None else b"{broken",
            None if route.body is None else b'{"x":1}',
        }:
            foreign, absent = (
                told(front.ask("all", route.method, aim(route, id_), body, X_CRM_Connection=name), name)
                for name in ("hidden", "absent")
            )  # fmt: skip
            assert foreign == absent
            assert foreign[0] in (400, 404)
    assert front.raze.seen == [] and front.hidden.seen == []


def test_foreign_and_absent_are_alike_among_many_ids_too(front: Front) -> None:
    front.raze.play(reply)
    foreign, absent = (
        told(front.ask("reader", "GET", f"/v1/opportunities?ids={name}:{RAZE},raze:{RAZE},{name}:x,{name}:.."), name)
        for name in ("hidden", "absent")
    )
    assert foreign == absent and foreign[0] == 200
    assert [one["problem"]["status"] for one in foreign[1]["meta"]["errors"]] == [404, 404, 400]
    assert front.hidden.seen == []


def test_a_record_that_is_not_there_tells_nothing_of_other_connections(front: Front) -> None:
    front.raze.play([Says(404, {"success": False, "error": {"code": "NOT_FOUND", "message": "gone"}})])
    answer = front.ask("reader", "GET", f"/v1/opportunities/{RAZE}")
    assert_problem(answer, 404, "not-found")
    assert b"hidden" not in answer.body and front.hidden.seen == []
    front.raze.play(reply)


def test_connections_of_others_are_nowhere_in_what_a_caller_sees(front: Front) -> None:
    for route in CLOSED:
        answer = front.ask("all", route.method, aim(route), body_of(route))
        assert b"hidden" not in answer.body and "hidden" not in str(answer.headers), route.name
    assert {one["name"] for one in front.ask("other", "GET", "/v1/connections").data} == {"raze", "hidden"}


def test_outcomes_are_for_operators_and_of_their_connections(front: Front) -> None:
    for who in ("reader", "writer", "deleter"):
        assert_problem(front.ask(who, "GET", "/v1/outcomes"), 403, "forbidden")
    assert front.ask("operator", "GET", "/v1/outcomes").data == []


@pytest.mark.parametrize("route", CLOSED, ids=names(CLOSED))
def test_a_key_in_the_query_is_an_unknown_parameter_and_never_repeated(front: Front, route: Route) -> None:
    front.raze.play(reply)
    form = aim(route)
    for name in ("api_key", "access_token", "key", "X-API-Key", "authorization"):
        query = f"{form}{'&' if '?' in form else '?'}{name}={KEYS['other']}"
        problem = assert_problem(front.ask("all", route.method, query, body_of(route)), 400, "invalid-request")
        assert [error["field"] for error in problem["errors"]] == [name]
        assert KEYS["other"] not in str(problem)
    assert front.raze.seen == []


def test_a_key_elsewhere_is_no_key(front: Front) -> None:
    key = KEYS["all"]
    for headers in (
        {"Cookie": f"api_key={key}"},
        {"X-Api-Key ": key},
        {"Api-Key": key},
        {"Proxy-Authorization": f"Bearer {key}"},
        {"X-Forwarded-Authorization": f"Bearer {key}"},
        {"Authorization": f"Bearer{key}"},
        {"Authorization": f"Token {key}"},
        {"Authorization": f"Bearer {key} {key}"},
        {"Authorization": f'Bearer "{key}"'},
        {"X-API-Key": f"{key},{key}"},
        {"X-API-Key": f"{key}\0"},
        {"X-API-Key": hash_key(key)},
        {"X-HTTP-Method-Override": "DELETE"},
    ):
        try:
            answer = ask(f"{front.url}/v1/opportunities", "GET", headers)
        except ValueError:
            continue  # what the client itself does not send
        assert answer.status in (400, 401), headers


def test_a_method_in_a_header_overrides_nothing(front: Front) -> None:
    front.raze.play(reply)
    for name in ("X_HTTP_Method_Override", "X_HTTP_Method", "X_Method_Override"):
        assert front.ask("reader", "GET", f"/v1/opportunities/{RAZE}", **{name: "DELETE"}).status == 200
    assert {method for method, _ in front.raze.calls()} == {"GET"}


@pytest.mark.parametrize("value", ["g=hq", "0", "0.0", "-1", "1e3", "", "nan", "1 2"])
def test_a_header_that_cannot_be_taken_is_refused_for_many_ids_too(front: Front, value: str) -> None:
    front.raze.play(reply)
    answer = front.ask("all", "GET", f"/v1/opportunities?ids={RAZE},raze:x", X_Request_Timeout=value)
    assert_problem(answer, 400, "invalid-request")
    assert front.raze.seen == []


# --- keys ------------------------------------------------------------------------------------------------------------


def test_keys_are_found_by_digest_and_then_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    class NoEquals(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise AssertionError("a key was compared as it is")

    monkeypatch.setattr("gateway.callers.hmac.compare_digest", compare)
    config = load_text(f"callers: [{{name: a, key_sha256: {hash_key('right')}}}]")
    found = Callers(config.callers)
    caller = found.find(NoEquals("right"))
    assert caller is not None and caller.name == "a"
    assert found.find(NoEquals("wrong")) is None
    assert compared == [(hash_key("right"), hash_key("right")), ("0" * 64, hash_key("wrong"))]


def load_text(more: str, folder: Path | None = None, environ: dict[str, str] | None = None) -> Config:
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        path = (folder or Path(made)) / "config.yaml"
        path.write_text(f"connections: {{raze: {{provider: getraze, base_url: sandbox}}}}\n{more}\n")
        return load_config(path, environ or {})


OLD, NEW = "key-that-leaves", "key-that-comes"


class Knocking(threading.Thread):
    """Asks with a key on connections of its own, new ones and one that is kept, and notes when it was let in last."""

    def __init__(self, server: Server, key: str, *, keep: bool) -> None:
        super().__init__(daemon=True)
        self._server, self._key, self._keep = server, key, keep
        self.let_in, self.refused, self.over = 0.0, 0, threading.Event()
        self.failed: list[str] = []

    def run(self) -> None:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=20)
        try:
            while not self.over.wait(0.01):
                connection.request("GET", "/v1/connections", headers={"X-API-Key": self._key})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    self.let_in = time.monotonic()
                else:
                    self.refused += 1
                if not self._keep:
                    connection.close()
        except OSError as error:
            self.failed.append(repr(error))
        finally:
            connection.close()


def test_a_key_that_was_taken_out_is_refused_within_a_second_by_all_workers(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"

    def write(*keys: str) -> None:
        hashes = ", ".join(hash_key(key) for key in keys)
        config.write_text("connections: {raze: {provider: getraze, base_url: sandbox}}\nstate: off\ncache: {ttl: 0s}\n"
                          f"callers: [{{name: billing, key_sha256: [{hashes}]}}]\n")  # fmt: skip

    write(OLD, NEW)
    took = []
    with Server(tmp_path, "--workers", "2") as server:
        for _ in range(3):  # a machine that is busy elsewhere gets another try
            for key in (OLD, NEW):
                assert ask(f"{server.url}/v1/connections", headers={"X-API-Key": key}).status == 200
            knocking = [Knocking(server, OLD, keep=number % 2 == 0) for number in range(12)]
            staying = Knocking(server, NEW, keep=True)
            for one in (*knocking, staying):
                one.start()
            time.sleep(0.3)
            write(NEW)
            told_at = time.monotonic()
            server.signal(signal.SIGHUP)
            time.sleep(2.0)
            before = [one.refused for one in knocking]
            time.sleep(0.3)
            for one in (*knocking, staying):
                one.over.set()
            for one in (*knocking, staying):
                one.join()
            assert all(one.refused > then for one, then in zip(knocking, before, strict=True)), "one was never refused"
            assert (staying.refused, staying.failed) == (0, [])
            assert all(one.failed == [] for one in knocking)
            took.append(max(one.let_in for one in knocking) - told_at)
            if took[-1] < 1.0:
                break
            write(OLD, NEW)
            assert server.reload().returncode == 0
    assert took[-1] < 1.0, took


# --- the raw path, and texts in every other place --------------------------------------------------------------------


def test_the_list_is_long_and_has_nothing_twice() -> None:
    assert len(SEGMENTS) >= 500 and len(set(SEGMENTS.values())) == len(SEGMENTS)
    assert len(WORDS) >= 140 and len(set(WORDS.values())) == len(WORDS)


@pytest.mark.parametrize("method", METHODS)
def test_no_segment_leads_to_another_path(front: Front, method: bytes) -> None:
    for name, segment in SEGMENTS.items():
        check_segment(front, method, name, segment)


@pytest.mark.parametrize("place", PLACES)
def test_no_text_is_more_than_data(front: Front, place: str) -> None:
    for name, word in WORDS.items():
        check_word(front, place, name, word)


def test_plain_ids_reach_the_provider_as_they_are(front: Front) -> None:
    for id_ in ("opp_1", "A-b.c~d", "...", "....", "~", "-", "a" * 200, "CON", "__proto__"):
        for form in (id_, f"raze:{id_}", f"raze%3A{id_}", f"raze%3a{id_}"):
            front.raze.play(reply)
            assert front.ask("all", "GET", f"/v1/opportunities/{form}").status == 200
            assert front.raze.calls() == [("GET", f"{PREFIX}/opportunities/{id_}")]


@pytest.mark.parametrize("place", ["path", "ids"])
def test_dot_segments_are_refused_in_every_place_of_an_id(front: Front, place: str) -> None:
    for id_ in (".", "..", "raze:.", "raze:..", "raze%3A.."):
        front.raze.play(reply)
        if place == "path":
            assert_problem(front.ask("all", "GET", f"/v1/opportunities/{id_}"), 400, "invalid-request")
        else:
            assert front.ask("all", "GET", f"/v1/opportunities?ids={id_}").data == [None]
        assert front.raze.seen == []


# --- Host and the form of the target ---------------------------------------------------------------------------------

CLOSE = b"Connection: close\r\n"
AUTH = b"X-API-Key: " + KEYS["reader"].encode() + b"\r\n"


def statuses(received: bytes) -> list[int]:
    """The statuses of all answers, however many there are."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 "), received[:100]
        found.append(int(head[9:12]))
        length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
        received = rest[int(length.group(1)) if length else 0 :]
    return [status for status in found if status != 100]


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:99999",
        b"127.0.0.1",
        b"localhost",
        b"[::1]",
        b"admin",
        b"",
        b"a" * 500,
        b"%2e%2e",
        b"a..b",
    ],
)
def test_a_host_decides_nothing(front: Front, host: bytes) -> None:
    front.raze.play(reply)
    for more in (b"", b"X-Forwarded-Host: e\r\nX-Forwarded-Proto: https\r\nForwarded: host=e;proto=https\r\nX-Host: e\r\n",
                 b"X-Original-URL: /healthz\r\nX-Rewrite-URL: /healthz\r\nX-Forwarded-Prefix: /x\r\n"):  # fmt: skip
        for key, expected in ((AUTH, 200), (b"", 401)):
            data = b"GET /v1/connections HTTP/1.1\r\nHost: " + host + b"\r\n" + more + key + CLOSE + b"\r\n"
            received = front.raw(data)
            assert statuses(received) == [expected]
            assert b"evil" not in sound(received, "host")


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"Host: a\r\nHost: b\r\n",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a/v1/connections\r\n",
        b"Host: a?x\r\n",
        b"Host: a#x\r\n",
        b"Host: a@b\r\n",
        b"Host: a b\r\n",
        b"Host: a\\b\r\n",
        b"Host: <a>\r\n",
        b"Host: \xe9\r\n",
        b"host: a\r\nHOST: b\r\n",
    ],
)
def test_a_request_has_one_plain_host(front: Front, hosts: bytes) -> None:
    received = front.raw(b"GET /healthz HTTP/1.1\r\n" + hosts + b"\r\n")
    assert statuses(received) == [400]
    assert b"\r\nconnection: close" in received.lower()
    sound(received, "hosts")


@pytest.mark.parametrize("form", [
    b"http://evil.example%s", b"https://evil.example:1%s", b"http://u:p@evil.example%s", b"http://127.0.0.1%s", b"ftp://e%s",
])  # fmt: skip
def test_an_absolute_target_is_its_path_and_asks_for_the_same_key(front: Front, form: bytes) -> None:
    for path, key, expected in (
        (b"/v1/connections", b"", 401), (b"/v1/connections", AUTH, 200), (b"/healthz", b"", 200), (b"//healthz", b"", 404),
        (b"/v1/outcomes", AUTH, 403), (b"/v1/opportunities/hidden:x", AUTH, 404), (b"/healthz/../v1/connections", b"", 404),
    ):  # fmt: skip
        received = front.raw(b"GET " + form % path + b" HTTP/1.1\r\nHost: healthz\r\n" + key + CLOSE + b"\r\n")
        assert statuses(received) == [expected]
        assert b"evil" not in sound(received, "absolute")


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://evil.example HTTP/1.1",
        b"GET http://evil.example?x HTTP/1.1",
        b"GET http:///healthz HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET healthz HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"CONNECT /healthz HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET /healthz#x HTTP/1.1",
        b"GET /v1/connections#/../healthz HTTP/1.1",
        b"GET /healthz HTTP/2.0",
        b"GET /healthz HTTP/1.2",
        b"GET /healthz",
        b"GET /healthz HTTP/0.9",
        b"PRI * HTTP/2.0",
        b"GET /healthz http/1.1",
        b"GET /health\tz HTTP/1.1",
        b"GET /health\0z HTTP/1.1",
        b"GET /healthz HTTP/1.1 x",
        b"get /healthz HTTP/1.1",
        b"G\xcbT /healthz HTTP/1.1",
        b"GET \\healthz HTTP/1.1",
        b"GET /healthz\xff HTTP/1.1",
    ],
)
def test_an_odd_request_line_is_refused_and_the_connection_ends(front: Front, line: bytes) -> None:
    received = front.raw(line + b"\r\nHost: x\r\n" + CLOSE + b"\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    found = statuses(received)
    assert len(found) == 1 and 400 <= found[0] < 500
    sound(received, str(line))


# --- smuggling -------------------------------------------------------------------------------------------------------

INNER = b"GET /v1/opportunities/hidden-in-a-body HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n"
POST = b"POST /v1/translate?from=canonical&to=canonical HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + (
    AUTH
)
REFUSED: dict[str, bytes] = {
    "a length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + INNER,
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + INNER,
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}" + INNER,
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}" + INNER,
    "a length below nothing": POST + b"Content-Length: -2\r\n\r\n{}" + INNER,
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}" + INNER,
    "an endless length": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}" + INNER,
    "a length with a blank in it": POST + b"Content-Length: 2 0\r\n\r\n{}" + INNER,
    "an empty length": POST + b"Content-Length: \r\n\r\n{}" + INNER,
    "a folded header": POST + b"X-A: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + INNER,
    "a fold first": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n" + INNER,
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: x\n\n" + INNER,
    "one bare line feed": b"GET /healthz HTTP/1.1\r\nHost: x\nX-A: 1\r\n\r\n" + INNER,
    "a bare carriage return": b"GET /healthz HTTP/1.1\r\nHost: x\rX-A: 1\r\n\r\n" + INNER,
    "an end of bare line feeds": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\n" + INNER,
    "a blank before the colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A : 1\r\n\r\n" + INNER,
    "a blank before the coding's colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + INNER,
    "a tab before the length's colon": POST + b"Content-Length\t: 2\r\n\r\n{}" + INNER,
    "no name": b"GET /healthz HTTP/1.1\r\nHost: x\r\n: 1\r\n\r\n" + INNER,
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n" + INNER,
    "NUL in a name": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX\0A: b\r\n\r\n" + INNER,
    "the coding identity": POST + b"Transfer-Encoding: identity\r\n\r\n{}" + INNER,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "gzip, then chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks, then gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + INNER,
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks and identity": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + INNER,
    "a coding in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + INNER,
    "a coding after a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + INNER,
    "a coding with a parameter": POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n" + INNER,
    "a chunk of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk below nothing": POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk with a prefix": POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n" + INNER,
    "an endless chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk that wraps around": POST
    + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n"
    + INNER,
    "a chunk too short": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk line of bare line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" + INNER,
    "an extension with a bare line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n2;a\n{}\r\n0\r\n\r\n" + INNER,
    "a chunk without its end": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n" + INNER,
    "a blank before a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n 2\r\n{}\r\n0\r\n\r\n" + INNER,
    "a length in the trailer": POST
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"
    + INNER,
    "a length below what comes": POST + b"Content-Length: 1\r\n\r\n{}" + INNER,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_of_a_doubtful_request_never_two_are_made(front: Front, kind: str) -> None:
    front.raze.play(reply)
    received = front.raw(REFUSED[kind])
    # Where the first part is a whole request of its own, it may have been answered before the rest was found wrong.
    found = statuses(received)
    assert found and found[-1] == 400 and len(found) <= 2
    assert b"\r\nconnection: close" in received.lower()
    assert front.raze.seen == [] and b"hidden-in-a-body" not in received
    assert b"x-content-type-options: nosniff" in received.lower()
    assert front.ask("all", "GET", "/healthz").status == 200


TAKEN: dict[str, bytes] = {
    "a chunk extension": POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n2;a=b;c\r\n{}\r\n0;x\r\n\r\n",
    "a chunk extension in quotes": POST + CLOSE + b'Transfer-Encoding: chunked\r\n\r\n2;a="b;c"\r\n{}\r\n0\r\n\r\n',
    "a chunk size with zeros": POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n0002\r\n{}\r\n000\r\n\r\n",
    "the coding in capitals": POST + CLOSE + b"TRANSFER-ENCODING: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a request within a body": POST + CLOSE + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
    "a request within a chunk": POST
    + CLOSE
    + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER),
    "a request within an extension": POST
    + CLOSE
    + b"Transfer-Encoding: chunked\r\n\r\n2;GET /v1/opportunities/x\r\n{}\r\n0\r\n\r\n",
    "a request after the last": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n" + INNER,
    "a body that a GET has": b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    + CLOSE
    + b"Content-Length: %d\r\n\r\n" % len(INNER)
    + INNER,
    "a websocket": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + INNER,
    "HTTP/2 in the clear": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + INNER,
    "an upgrade with a body": POST + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n{}" + INNER,
    "HTTP/1.0 with chunks": POST.replace(b"HTTP/1.1", b"HTTP/1.0")
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    + INNER,
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_in_order_is_one_request_and_no_more(front: Front, kind: str) -> None:
    front.raze.play(reply)
    received = front.raw(TAKEN[kind])
    assert len(statuses(received)) == 1, received[:600]
    assert b"\r\nconnection: close" in received.lower()
    assert front.raze.seen == [] and b"hidden-in-a-body" not in received


def test_a_body_that_nobody_reads_is_not_the_next_request(front: Front) -> None:
    front.raze.play(reply)
    after = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: after\r\n" + CLOSE + b"\r\n"
    for line in (
        b"POST /nothing",
        b"POST /v1/opportunities",
        b"PUT /v1/opportunities",
        b"GET /healthz",
        b"POST /v1/translate",
    ):
        first = line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(INNER) * 50) + INNER * 50
        received = front.raw(first + after)
        assert len(statuses(received)) == 2 and b"x-request-id: after" in received, line
    assert front.raze.seen == []


# --- bodies ----------------------------------------------------------------------------------------------------------

MARK = "echo-canary-31337"
GOOD = json.dumps({"name": MARK}).encode()
SPOILT: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid-request"),
    "blanks": (b"   ", "invalid-request"),
    "no JSON": (MARK.encode(), "invalid-request"),
    "a cut": (GOOD[:-1], "invalid-request"),
    "something behind it": (GOOD + b"x", "invalid-request"),
    "another behind it": (GOOD + GOOD, "invalid-request"),
    "NUL behind it": (GOOD + b"\0", "invalid-request"),
    "a comment": (b"/*x*/" + GOOD, "invalid-request"),
    "a comma too many": (b'{"name":"' + MARK.encode() + b'",}', "invalid-request"),
    "apostrophes": (b"{'name':'" + MARK.encode() + b"'}", "invalid-request"),
    "no quotes": (b"{name:1}", "invalid-request"),
    "a key twice": (b'{"name":"a","name":"' + MARK.encode() + b'"}', "invalid-request"),
    "a key twice, once escaped": (b'{"name":"a","\\u006eame":"' + MARK.encode() + b'"}', "invalid-request"),
    "a key twice, deep": (b'{"name":"x","company":{"name":"a","name":"' + MARK.encode() + b'"}}', "invalid-request"),
    "a key twice, in a list": (
        b'{"name":"x","contacts":[{"' + MARK.encode() + b'":1,"' + MARK.encode() + b'":2}]}',
        "invalid-request",
    ),
    "NaN": (b'{"name":"x","amount":{"value":NaN,"currency":"BRL"}}', "invalid-request"),
    "infinity": (b'{"name":"x","amount":{"value":-Infinity,"currency":"BRL"}}', "invalid-request"),
    "1e400": (b'{"name":"x","amount":{"value":1e400,"currency":"BRL"}}', "invalid-opportunity"),
    "1e999999999": (b'{"name":"x","amount":{"value":1e999999999,"currency":"BRL"}}', "invalid-opportunity"),
    "1e-999999999": (b'{"name":"x","amount":{"value":1e-999999999,"currency":"BRL"}}', "invalid-opportunity"),
    "an exponent of a thousand digits": (
        b'{"name":"x","amount":{"value":1e%s,"currency":"BRL"}}' % (b"9" * 1000),
        "invalid-opportunity",
    ),
    "twenty thousand digits": (
        b'{"name":"x","amount":{"value":%s,"currency":"BRL"}}' % (b"9" * 20_000),
        "invalid-opportunity",
    ),
    "hexadecimal": (b'{"name":0x10}', "invalid-request"),
    "a leading zero": (b'{"name":01}', "invalid-request"),
    "a leading plus": (b'{"name":+1}', "invalid-request"),
    "a high surrogate": (b'{"name":"\\ud800"}', "invalid-request"),
    "a low surrogate": (b'{"name":"\\udc00x"}', "invalid-request"),
    "surrogates in the wrong order": (b'{"name":"\\udc00\\ud800"}', "invalid-request"),
    "a surrogate in UTF-8": (b'{"name":"\xed\xa0\x80"}', "invalid-request"),
    "overlong UTF-8": (b'{"name":"\xc0\xaf"}', "invalid-request"),
    "cut UTF-8": (b'{"name":"\xe2\x82"}', "invalid-request"),
    "Latin-1": (b'{"name":"\xe9"}', "invalid-request"),
    "a control character": (b'{"name":"a\nb"}', "invalid-request"),
    "a bad escape": (b'{"name":"\\x41"}', "invalid-request"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "invalid-request"),
    "UTF-16, little end first": (GOOD.decode().encode("utf-16-le"), "invalid-request"),
    "UTF-32": (GOOD.decode().encode("utf-32"), "invalid-request"),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, "invalid-request"),
    "compressed without a word": (gzip.compress(GOOD), "invalid-request"),
    "brackets to a depth of 20000": (b"[" * 20_000 + b"]" * 20_000, "invalid-request"),
    "objects to a depth of 5000": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "invalid-request"),
    "brackets that never end": (b"[" * 60_000, "invalid-request"),
    "depth in a member": (b'{"name":"x","contacts":' + b"[" * 1000 + b"]" * 1000 + b"}", "invalid-request"),
    "a list": (b"[" + GOOD + b"]", "invalid-opportunity"),
    "null": (b"null", "invalid-opportunity"),
    "a text": (b'"' + MARK.encode() + b'"', "invalid-opportunity"),
    "a number": (b"31337", "invalid-opportunity"),
    "true": (b"true", "invalid-opportunity"),
    "too much": (b'{"name":"' + MARK.encode() * 5000 + b'"}', "too-large"),
    "blanks too many": (GOOD + b" " * 70_000, "too-large"),
}


def chunked(body: bytes, size: int = 999) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_body_is_refused_and_not_repeated(
    front: Front, kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    body, code = SPOILT[kind]
    front.raze.play(reply)
    with caplog.at_level(logging.DEBUG):
        for method, path in (("POST", "/v1/opportunities"), ("PATCH", f"/v1/opportunities/{RAZE}")):
            for sent in (body, chunked(body)):
                answer = front.ask("all", method, path, sent)
                problem = assert_problem(answer, CODES[code].status, code)
                assert problem["outcome"] == "not_applied"
                assert MARK not in answer.body.decode() and "31337" not in str(problem.get("errors"))
    assert front.raze.seen == []
    out, err = capfd.readouterr()
    assert MARK not in caplog.text + out + err


def test_a_byte_order_mark_is_passed_over(front: Front) -> None:
    front.raze.play(reply)
    assert front.ask("all", "POST", "/v1/opportunities", b"\xef\xbb\xbf" + GOOD).status == 201


@pytest.mark.parametrize(
    ("media", "more"),
    [
        ("text/plain", {}),
        ("text/html", {}),
        ("application/x-www-form-urlencoded", {}),
        ("multipart/form-data; boundary=x", {}),
        ("application/xml", {}),
        ("application/jsonx", {}),
        ("application/json+x", {}),
        ("application/json, text/plain", {}),
        ("application/json; charset=utf-16", {}),
        ("application/json; charset=latin-1", {}),
        ("application/json;charset=utf-7", {}),
        ("application/json; a=b", {}),
        ("", {}),
        ("*/*", {}),
        ("application/*", {}),
        ("json", {}),
        ("application/json-patch+json", {}),
        ("application/json", {"Content-Encoding": "gzip"}),
        ("application/json", {"Content-Encoding": "deflate"}),
        ("application/json", {"Content-Encoding": "br"}),
        ("application/json", {"Content-Encoding": "gzip, gzip"}),
        ("application/json", {"Content-Encoding": "identity, gzip"}),
    ],
)
def test_another_type_or_a_coding_of_a_body_is_not_taken(front: Front, media: str, more: dict[str, str]) -> None:
    front.raze.play(reply)
    for body in (GOOD, gzip.compress(GOOD), b""):
        for method, path in (("POST", "/v1/opportunities"), ("PATCH", f"/v1/opportunities/{RAZE}")):
            headers = {"X-API-Key": KEYS["all"], **({"Content-Type": media} if media else {}), **more}
            answer = ask(f"{front.url}{path}", method, headers, body)
            assert_problem(answer, 415, "unsupported-media-type")
            assert MARK not in answer.body.decode()
    assert front.raze.seen == []


@pytest.mark.parametrize(
    "kind", ["too long by its length", "too long in chunks", "shorter than its length", "a lie about little"]
)
def test_a_body_whose_length_lies_does_nothing(front: Front, kind: str) -> None:
    front.raze.play(reply)
    head = (
        b"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-API-Key: "
        + KEYS["all"].encode() + b"\r\n"
    )  # fmt: skip
    if kind == "too long by its length":
        assert statuses(front.raw(head + CLOSE + b"Content-Length: 999999999\r\n\r\n" + GOOD, 2.0)) == [413]
    elif kind == "too long in chunks":
        chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
        assert (
            statuses(front.raw(head + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 6 + b"0\r\n\r\n"))[0]
            == 413
        )
    elif kind == "shorter than its length":
        assert front.raw(head + b"Content-Length: 500\r\n\r\n" + GOOD, 0.5) == b"", "it is waited for"
    else:
        found = statuses(front.raw(head + b"Content-Length: 5\r\n\r\n" + GOOD))
        assert found and set(found) == {400}
    assert front.raze.seen == []


READ_ONLY = (
    "id",
    "native_id",
    "connection",
    "provider",
    "complete",
    "status_source",
    "pipeline",
    "probability",
    "campaign",
    "won_at",
    "lost_at",
    "next_task",
    "custom_fields",
    "created_at",
    "updated_at",
    "extensions",
)
UNKNOWN = (
    "isAdmin",
    "role",
    "__proto__",
    "constructor",
    "prototype",
    "__class__",
    "$where",
    "_id",
    "",
    " name",
    "Name",
    "name\0",
    "extensions/x",
    "toString",
    "api_key",
    "url",
    "\u0430mount",
)


@pytest.mark.parametrize("member", [*READ_ONLY, *UNKNOWN])
def test_a_member_that_cannot_be_written_is_refused_and_goes_nowhere(front: Front, member: str) -> None:
    front.raze.play(reply)
    for value in (MARK, {"polluted": MARK}, None, [MARK]):
        for method, path in (("POST", "/v1/opportunities"), ("PATCH", f"/v1/opportunities/{RAZE}")):
            answer = front.ask("all", method, path, json.dumps({"name": "J", member: value}).encode())
            problem = assert_problem(answer, 422, "invalid-opportunity")
            assert [error["field"] for error in problem["errors"]] == [member]
            assert MARK not in answer.body.decode()
            deep = json.dumps(
                {"name": "J", "company": {"name": "A", member or "x": value}}
                if member != "id"
                else {"name": "J", "id": 1}
            )
            if member not in ("id", "name"):
                assert_problem(front.ask("all", method, path, deep.encode()), 422, "invalid-opportunity")
    assert front.raze.seen == []


def test_a_member_of_a_great_many_characters_is_cut_in_the_answer(front: Front) -> None:
    answer = front.ask("all", "POST", "/v1/opportunities", json.dumps({"name": "J", "m" * 50_000: 1}).encode())
    assert_problem(answer, 422, "invalid-opportunity")
    assert len(answer.body) < 1000


def test_names_with_a_meaning_elsewhere_are_data_in_extensions(front: Front) -> None:
    names_ = (
        "__proto__",
        "constructor",
        "prototype",
        "__class__",
        "__init__",
        "toString",
        "$ref",
        "$where",
        "{0}",
        "%s",
    )
    more = {name: {"polluted": name} for name in names_} | {f"{name}2": name for name in names_}
    plain = front.ask("all", "GET", f"/v1/opportunities/{RAZE}").data
    front.raze.play([Says(200, {**RECORD, "data": {**RECORD["data"], **more, "a/b~c": 1, "": 2}})])
    data = front.ask("all", "GET", f"/v1/opportunities/{RAZE}").data
    expected = {f"/{name}/polluted": name for name in names_} | {f"/{name}2": name for name in names_}
    assert data["extensions"] == plain["extensions"] | expected | {"/a~1b~0c": 1, "/": 2}
    assert {**data, "extensions": 0} == {**plain, "extensions": 0}
    front.raze.play(reply)


# --- headers of every answer -----------------------------------------------------------------------------------------

ANSWERS = {
    "fine": ("GET", "/healthz"),
    "a page": ("GET", "/docs"),
    "a file": ("GET", "/docs/docs.js"),
    "a problem's page": ("GET", "/problems/conflict"),
    "the description": ("GET", "/openapi.json"),
    "not found": ("GET", "/nothing"),
    "no key": ("GET", "/v1/connections"),
    "a method": ("PUT", "/healthz"),
    "a query": ("GET", "/healthz?x=1"),
    "a head": ("HEAD", "/docs"),
    "too long": ("GET", "/" + "a" * 20_000),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_is_private_and_not_sniffed(front: Front, kind: str) -> None:
    method, path = ANSWERS[kind]
    answer = ask(f"{front.url}{path}", method)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers and "location" not in answer.headers and "set-cookie" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    if answer.headers["content-type"].startswith("text/html"):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe-eval" not in answer.headers["content-security-policy"]
        assert not re.search(r"script-src[^;]*unsafe", answer.headers["content-security-policy"])


# --- what the provider says ------------------------------------------------------------------------------------------

SAID: dict[str, str] = {
    "an address": "see https://internal.example/path?key=1",
    "an address of no scheme": "see //internal.example/x",
    "a host and a port": "cannot reach db.internal.example:5432 now",
    "an IP address": "refused by 10.1.2.3:8080",
    "an address of IPv6": "refused by [fe80::1]:8080",
    "our key": f"bad key {'upstream-key-4711'}",
    "half of our key": "bad key upstream-k…",
    "a line break": "a\r\nX-Injected: yes",
    "a forged line": "x\n2024-01-15 10:30:00,000 ERROR gateway forged",
    "an escape": "\x1b[2J\x9b31m",
    "right to left": "a\u202egnp.exe\u2066b\u2069",
    "a line separator": "a\u2028b\u2029c",
    "very much": "long " * 5000,
}


@pytest.mark.parametrize("kind", SAID)
def test_what_a_provider_says_is_scrubbed_and_cut_wherever_it_stands(front: Front, kind: str) -> None:
    text = SAID[kind]
    fields = {text: text, **{f"{number}{text}": text for number in range(100)}}
    error = {"code": text, "message": text, "details": {"fields": fields}}
    for status in (400, 409, 422, 429, 500, 404):
        front.raze.play([Says(status, {"success": False, "error": error}, {"X-Request-Id": "a"})])
        answer = front.ask("all", "PATCH", f"/v1/opportunities/{RAZE}", b'{"source":"x"}')
        problem = answer.json
        assert len(answer.body) < 40_000 and len(problem.get("errors", ())) <= 50
        said = [problem["provider"].get("message", ""), problem["provider"].get("code", "")]
        said += [word for one in problem.get("errors", ()) for word in (one["field"], one["message"])]
        for word in said:
            assert len(word) <= 200
            assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2060-\u2069]", word), word
            assert not re.search(r"internal\.example|10\.1\.2\.3|fe80|upstream-k|8080|5432", word), word
        assert "x-injected" not in answer.headers
    front.raze.play(reply)


def test_what_a_provider_says_is_never_a_page(front: Front) -> None:
    markup = "</title><script>alert(1)</script>"
    front.raze.play(
        [Says(422, {"success": False, "error": {"code": markup, "message": markup}}), Says(500, markup.encode())]
    )
    for _ in range(2):
        answer = front.ask("all", "GET", f"/v1/opportunities/{RAZE}")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for word in (markup, "%3Cscript%3E", "conflict%3Cb%3E", "conflict/x", "../docs", "__proto__", "CONFLICT"):
        _, received = front.wire(b"GET", f"/problems/{word}".encode())
        assert received.startswith(b"HTTP/1.1 40") and b"script" not in received
    for code in CODES:
        assert b"<script" not in ask(f"{front.url}/problems/{code}").body
    front.raze.play(reply)


FORGED = "2024-01-15 10:30:00,000 ERROR gateway forged"


def test_nothing_makes_a_line_of_its_own_in_the_log(tmp_path: Path) -> None:
    said = f"x\n{FORGED}\r\n{FORGED}\x1b[31m\u2028{FORGED}"
    answers = [
        Says(200, {**RECORD, "data": {**RECORD["data"], said: said, "deal": {said: [said]}, "source": {said: 1}}}),
        Says(500, {"success": False, "error": {"code": said, "message": said}}),
        Says(401, {"success": False, "error": {"code": said, "message": said}}),
        Says(200, said.encode()),
        Says(302, b"", {}),
    ]
    with StandIn(answers) as provider:
        (tmp_path / "config.yaml").write_text(
            f"connections: {{raze: {{provider: getraze, base_url: '{provider.url}', api_key: x, "
            "settings: {dialect: documented}}}\ncircuit: off\nstate: off\n"
        )
        with Server(tmp_path) as server:
            for _ in answers:
                for path in (
                    f"/v1/opportunities/{RAZE}",
                    f"/v1/opportunities/{said.encode().hex()}",
                    "/v1/opportunities",
                ):
                    ask(f"{server.url}{path}", headers={"X-Request-Id": "a", "User-Agent": "x" + FORGED})
                ask(f"{server.url}/v1/opportunities?x%0a{FORGED.replace(' ', '%20')}")
            server.stop()
            log = server.log
    assert "drift: new" in log and "provider-auth-failed" in log, f"this says nothing if nothing was logged: {log}"
    first, *lines = log.splitlines()
    assert first.startswith("no callers are configured")
    for line in lines:
        assert not line.startswith("2024-01-15"), line
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d (WARNING|ERROR) [a-z.]+ ", line), line
    assert "\x1b" not in log


def test_a_record_is_one_line_also_with_an_exception() -> None:
    try:
        raise ValueError(f"x\n{FORGED}\r{FORGED}")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("gateway", logging.ERROR, "", 0, "failed %s", (f"a\n{FORGED}",), info)
    for form in (logs._Text(), logs._Json()):
        told = form.format(record)
        assert "\n" not in told and "\r" not in told and "failed a" in told


# --- the configuration -----------------------------------------------------------------------------------------------

SECRET = "canary-secret-in-config-0815"  # noqa: S105  # nobody's
KEPT = f"""\
connections:
  raze: {{provider: getraze, base_url: 'http://user:{SECRET}@127.0.0.1:9/{SECRET}', api_key: {SECRET}}}
state: redis://user:{SECRET}@127.0.0.1:6379/0
"""
GOOD_CONFIG = f"""\
connections:
  raze: {{provider: getraze, api_key: {SECRET}}}
  spott: {{provider: spott, base_url: sandbox, api_key: "${{SPOTT}}"}}
default_connection: raze
state: redis://user:{SECRET}@127.0.0.1:6379/0
callers: [{{name: billing, key_sha256: {hash_key(SECRET)}}}]
"""


def test_a_configuration_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(GOOD_CONFIG)
    monkeypatch.setenv("SPOTT", f"env-{SECRET}")
    config = load_config(path, {"SPOTT": f"env-{SECRET}"})
    for shown in (
        repr(config),
        str(config),
        f"{config!r}",
        repr(config.connections),
        repr(config.callers),
    ):
        assert SECRET not in shown and hash_key(SECRET) not in shown
    for words in (["check-config"], ["check-config", "--json"], ["connections"], ["connections", "--json"]):
        done = CliRunner().invoke(main, [*words, "--config", str(path)])
        assert SECRET not in done.output and hash_key(SECRET) not in done.output, words
    held = gateway.Gateway(config, {"spott": "http://127.0.0.1:9"})
    for shown in (repr(vars(held)), repr(held.connections), repr(list(held.connections.items())), repr(held.callers)):
        assert SECRET not in shown and hash_key(SECRET) not in shown


@pytest.mark.parametrize(
    "text",
    [
        KEPT,
        GOOD_CONFIG.replace("api_key: canary", "apikey: canary"),
        GOOD_CONFIG.replace("provider: getraze", "provider: getraze, x: 1"),
        GOOD_CONFIG.replace("key_sha256: ", "key_sha256: x"),
        GOOD_CONFIG.replace(f"key_sha256: {hash_key(SECRET)}", f"key_sha256: {SECRET}"),
        GOOD_CONFIG.replace(f"api_key: {SECRET}", f"api_key: ['{SECRET}']"),
        GOOD_CONFIG.replace(f"api_key: {SECRET}", f"api_key: '{SECRET} x'"),
        GOOD_CONFIG.replace("redis://", "rediss:"),
        GOOD_CONFIG + f"{SECRET}: 1\n".replace(SECRET, "api_key"),
        GOOD_CONFIG + "  - {",
        GOOD_CONFIG.replace(f"api_key: {SECRET}", f"api_key: {SECRET}, timeout: {SECRET}"),
    ],
    ids=range(11),
)
def test_a_mistake_in_a_configuration_is_told_without_the_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    said = ""
    try:
        load_config(path, {"SPOTT": SECRET})
    except ConfigError as error:
        said = (
            "\n".join(map(str, error.mistakes))
            + str(error)
            + repr(error)
            + str(error.__cause__)
            + str(error.__context__)
        )
    done = CliRunner().invoke(main, ["check-config", "--config", str(path)], env={"SPOTT": SECRET})
    if "timeout: " in text:  # a value that stands under a key of no secret is quoted, as everywhere
        return
    assert SECRET not in said and SECRET not in done.output + str(done.exception)
    assert done.exit_code == 1


# --- a hole is found -------------------------------------------------------------------------------------------------


def found(check: Callable[[Front], object], folder: Path) -> bool:
    """Whether a check finds something in a gateway started now."""
    with fronted(folder) as front:
        try:
            check(front)
        except AssertionError:
            return True
        return False


def all_segments(front: Front) -> None:
    for name, segment in SEGMENTS.items():
        check_segment(front, b"GET", name, segment)


def test_a_handler_that_uses_the_decoded_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "raw_id", lambda scope: scope["path"].rpartition("/")[2])
    assert found(all_segments, tmp_path)


def test_an_id_that_is_not_looked_at_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "raw_id", lambda scope: scope["raw_path"].rpartition(b"/")[2].decode("latin-1"))
    monkeypatch.setattr(gateway, "is_native", lambda _: True)
    assert found(all_segments, tmp_path)


@pytest.mark.parametrize("name", names(SCOPED))
def test_a_route_without_its_scope_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from gateway.http import serving

    holed = tuple(replace(one, scope="") if one.name == name else one for one in table.routes())
    monkeypatch.setattr(serving, "routes", lambda: holed)
    assert found(lambda front: test_every_route_needs_its_scope_whatever_is_asked_of_it(front, ROUTES[name]), tmp_path)


def test_a_connection_that_is_not_checked_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers.Caller, "may_use", lambda *_: True)
    assert found(
        lambda front: test_a_foreign_connection_in_an_id_is_answered_like_one_that_is_not_there(
            front, ROUTES["get_opportunity"], "prefix"
        ),
        tmp_path,
    )


def test_a_foreign_connection_that_is_forbidden_instead_of_not_found_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = gateway.Gateway.choose

    def telling(self: Any, caller: Any, header: str | None, prefix: str | None = None) -> Any:
        if (prefix or header) in self._opportunities and not caller.may_use(prefix or header):
            raise Problem("forbidden", "Not yours.")
        return choose(self, caller, header, prefix)

    monkeypatch.setattr(gateway.Gateway, "choose", telling)
    assert found(
        lambda front: test_a_foreign_connection_in_an_id_is_answered_like_one_that_is_not_there(
            front, ROUTES["get_opportunity"], "prefix"
        ),
        tmp_path,
    )


def test_a_log_line_that_repeats_a_body_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def chatting(data: bytes) -> Any:
        logging.getLogger("gateway").debug("body: %s", data.decode("utf-8", "replace"))
        return strict_json.loads(data)

    monkeypatch.setattr(requests, "loads", chatting)
    assert found(lambda front: test_a_spoilt_body_is_refused_and_not_repeated(front, "a cut", caplog, capfd), tmp_path)


def test_a_member_that_is_let_through_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "validated", lambda _, body: {"name": body["name"]})
    assert found(
        lambda front: test_a_member_that_cannot_be_written_is_refused_and_goes_nowhere(front, "isAdmin"), tmp_path
    )


def test_a_header_that_is_handed_on_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway import wire

    monkeypatch.setattr(wire, "checked_headers", lambda headers: {**target.checked_headers(headers), "X-Leak": "a"})

    def check(front: Front) -> None:
        front.raze.play(reply)
        front.ask("all", "GET", f"/v1/opportunities/{RAZE}")
        nothing_slipped(front, "a header")

    assert found(check, tmp_path)
