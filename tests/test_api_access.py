"""Who may do what: caller keys, scopes, connections; and HTTP itself, answered as problems wherever it goes wrong."""

import base64
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest

from gateway.callers import hash_key
from gateway.errors import CODES
from gateway.http.app import Answer as HeadOf
from gateway.http.app import App, Context
from gateway.http.app import Reply as HandlerReply
from gateway.http.observing import Request
from gateway.waiting import Waiting
from tests.live import (
    EXAMPLES,
    JSON,
    SANDBOXES,
    Answer,
    Says,
    StandIn,
    ask,
    assert_problem,
    port_of,
    raw_exchange,
    running_gateway,
)

RAZE = "opp_abc123def456"
RAZE_BYTES = (EXAMPLES / "getraze-get.documented.json").read_bytes()
KEYS = {
    "all": "caller-canary-all-00",
    "reader": "caller-canary-reader-01",
    "writer": "caller-canary-writer-02",
    "deleter": "caller-canary-deleter-03",
    "operator": "caller-canary-operator-04",
    "old": "caller-canary-old-05",
    "new": "caller-canary-new-06",
}
UPSTREAM = "upstream-canary-99"
SECRETS = [*KEYS.values(), UPSTREAM, "upstream-canary-98"]


class Rig:
    def __init__(self, url: str, raze: StandIn, hidden: StandIn) -> None:
        self.url = url
        self.raze = raze
        self.hidden = hidden

    def ask(self, who: str, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(f"{self.url}{target}", method, {**JSON, "X-API-Key": KEYS[who], **named}, body)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with StandIn([Says(200, RAZE_BYTES)]) as raze, StandIn([Says(200, RAZE_BYTES)]) as hidden:
        hashes = {name: hash_key(key) for name, key in KEYS.items()}
        config = f"""\
circuit: off
cache: {{ttl: 0s}}
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: '{raze.url}', api_key: {UPSTREAM}, budget: off}}
  hidden: {{provider: getraze, base_url: '{hidden.url}', api_key: upstream-canary-98, budget: off}}
callers:
  - name: all
    key_sha256: {hashes["all"]}
    scopes: ["opportunities:read", "opportunities:write", "opportunities:delete", operator]
  - {{name: reader, key_sha256: {hashes["reader"]}, scopes: ["opportunities:read"], connections: [raze]}}
  - name: writer
    key_sha256: {hashes["writer"]}
    scopes: ["opportunities:write"]
    connections: [raze]
  - {{name: deleter, key_sha256: {hashes["deleter"]}, scopes: ["opportunities:delete"], connections: [raze]}}
  - {{name: operator, key_sha256: {hashes["operator"]}, scopes: [operator], connections: [raze]}}
  - name: rotating
    key_sha256: [{hashes["old"]}, {hashes["new"]}]
    scopes: ["opportunities:read", "opportunities:write", "opportunities:delete"]
    connections: [raze]
"""
        with running_gateway(config, tmp_path_factory.mktemp("access")) as url:
            yield Rig(url, raze, hidden)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_gateway(SANDBOXES, tmp_path_factory.mktemp("sandboxes")) as url:
        yield url


# --- keys ------------------------------------------------------------------------------------------------------------

CLOSED = [
    ("GET", f"/v1/opportunities/{RAZE}"), ("GET", "/v1/opportunities"), ("GET", f"/v1/opportunities?ids={RAZE}"),
    ("POST", "/v1/opportunities"), ("PATCH", f"/v1/opportunities/{RAZE}"), ("DELETE", f"/v1/opportunities/{RAZE}"),
    ("GET", "/v1/connections"), ("GET", "/v1/connections/raze"), ("GET", "/v1/connections/nobody"),
    ("POST", "/v1/translate?from=getraze&to=canonical"), ("HEAD", f"/v1/opportunities/{RAZE}"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target"), CLOSED)
def test_without_a_key_or_with_a_wrong_one_nothing_is_told(rig: Rig, method: str, target: str) -> None:
    before = len(rig.raze.seen)
    body = b"{}" if method in ("POST", "PATCH") else None
    for headers in (
        {},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": KEYS["reader"][:-1]},
        {"X-API-Key": KEYS["reader"].upper()},
        {"X-API-Key": hash_key(KEYS["reader"])},
        {"X-API-Key": ""},
        {"Authorization": f"Basic {base64.b64encode(KEYS['reader'].encode()).decode()}"},
        {"Authorization": KEYS["reader"]},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
    ):
        answer = ask(f"{rig.url}{target}", method, {**JSON, **headers}, body)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        if method != "HEAD":
            assert_problem(answer, 401, "unauthenticated")
    assert len(rig.raze.seen) == before


def test_a_key_in_the_query_is_no_key(rig: Rig) -> None:
    for name in ("api_key", "key", "access_token"):
        answer = ask(f"{rig.url}/v1/opportunities?{name}={KEYS['all']}")
        assert_problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize("headers", [
    {"X-API-Key": KEYS["reader"]}, {"Authorization": f"Bearer {KEYS['reader']}"},
    {"authorization": f"bearer {KEYS['reader']}"},
    {"X-API-Key": KEYS["reader"], "Authorization": f"Bearer {KEYS['reader']}"},
])  # fmt: skip
def test_both_forms_of_a_key_are_taken(rig: Rig, headers: dict[str, str]) -> None:
    assert ask(f"{rig.url}/v1/opportunities/{RAZE}", "GET", headers).status == 200


def test_two_different_keys_in_one_request_are_not_taken(rig: Rig) -> None:
    answer = ask(f"{rig.url}/v1/opportunities/{RAZE}", "GET",
                 {"X-API-Key": KEYS["reader"], "Authorization": f"Bearer {KEYS['all']}"})  # fmt: skip
    assert answer.status in (400, 401)
    twice = [("X-API-Key", KEYS["reader"]), ("X-API-Key", KEYS["all"])]
    assert ask(f"{rig.url}/v1/opportunities/{RAZE}", "GET", twice).status in (400, 401)


def test_both_keys_of_a_caller_are_good_while_they_are_rotated(rig: Rig) -> None:
    for key in ("old", "new"):
        assert rig.ask(key, "GET", f"/v1/opportunities/{RAZE}").status == 200


@pytest.mark.parametrize(
    "target", ["/healthz", "/readyz", "/openapi.json", "/docs", "/problems/not-found", "/problems/unheard-of"]
)
def test_open_routes_need_no_key_and_take_any(rig: Rig, target: str) -> None:
    expected = 404 if target.endswith("unheard-of") else 200
    assert ask(f"{rig.url}{target}").status == expected
    assert ask(f"{rig.url}{target}", "GET", {"X-API-Key": "wrong"}).status == expected


# --- scopes ----------------------------------------------------------------------------------------------------------

NEEDS = [
    ("GET", f"/v1/opportunities/{RAZE}", "opportunities:read"),
    ("GET", "/v1/opportunities", "opportunities:read"),
    ("GET", f"/v1/opportunities?ids={RAZE}", "opportunities:read"),
    ("POST", "/v1/opportunities", "opportunities:write"),
    ("PATCH", f"/v1/opportunities/{RAZE}", "opportunities:write"),
    ("DELETE", f"/v1/opportunities/{RAZE}", "opportunities:delete"),
    ("POST", "/v1/translate?from=getraze&to=canonical", "opportunities:read"),
]
HOLDS = {"reader": "opportunities:read", "writer": "opportunities:write", "deleter": "opportunities:delete",
         "operator": "operator"}  # fmt: skip


@pytest.mark.parametrize(("method", "target", "scope"), NEEDS)
def test_each_operation_needs_its_scope(rig: Rig, method: str, target: str, scope: str) -> None:
    body = b'{"name":"J"}' if method in ("POST", "PATCH") else None
    for who, held in HOLDS.items():
        rig.raze.play([Says(200, RAZE_BYTES)])
        answer = rig.ask(who, method, target, body)
        if held == scope:
            assert answer.status not in (401, 403)
        else:
            problem = assert_problem(answer, 403, "forbidden")
            assert scope in problem["detail"]
            assert rig.raze.seen == []


def test_any_key_may_look_at_its_connections(rig: Rig) -> None:
    for who in KEYS:
        answer = rig.ask(who, "GET", "/v1/connections")
        expected = ["raze", "hidden"] if who == "all" else ["raze"]
        assert [one["name"] for one in answer.data] == expected


# --- connections of others -------------------------------------------------------------------------------------------

ID_FORMS = ["{c}:" + RAZE, "{c}%3A" + RAZE, "{c}%3a" + RAZE, "{c}:x", "{c}:" + "a" * 200]
BAD_FORMS = ["{c}:", "{c}:a%2Fb", "{c}:..", "{c}:a:b"]


def told(answer: Answer, connection: str) -> tuple[int, Any, Any]:
    """What an answer tells, without what differs by request and with the connection's name blotted out."""
    body = json.loads(answer.body) if answer.body else None
    if isinstance(body, dict):
        body.pop("request_id", None)
        for error in body.get("meta", {}).get("errors", ()):
            error["problem"].pop("request_id", None)
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in ("x-request-id", "date", "server-timing", "content-length")
    }
    blotted = json.loads(json.dumps([body, headers]).replace(connection, "{c}"))
    return answer.status, blotted[0], blotted[1]


@pytest.mark.parametrize("form", [*ID_FORMS, *BAD_FORMS])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
def test_a_record_of_a_foreign_connection_is_answered_like_one_of_none(rig: Rig, method: str, form: str) -> None:
    who = {"PATCH": "old", "DELETE": "old"}.get(method, "reader")
    for body in (b"{}", b"not json", b'{"source":"x"}') if method == "PATCH" else (None,):
        for headers in ({}, {"X_CRM_Connection": "{c}"}, {"X_CRM_Connection": "raze"}, {"Idempotency_Key": "k"}):
            answers = []
            for connection in ("hidden", "absent"):
                named = {name: value.format(c=connection) for name, value in headers.items()}
                target = f"/v1/opportunities/{form.format(c=connection)}"
                answers.append(told(rig.ask(who, method, target, body, **named), connection))
            assert answers[0] == answers[1]
            assert answers[0][0] in (400, 404)
    assert rig.hidden.seen == []


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GET", f"/v1/opportunities/{RAZE}", True), ("GET", "/v1/opportunities", True),
        ("GET", f"/v1/opportunities?ids={RAZE}", True), ("GET", f"/v1/opportunities?ids={{c}}:{RAZE},raze:{RAZE}", False),
        ("GET", f"/v1/opportunities?ids={{c}}%3A{RAZE}", False), ("GET", "/v1/opportunities?limit=0", True),
        ("GET", "/v1/opportunities?cursor=abc", True), ("GET", "/v1/opportunities?source=x&sort=-name", True),
        ("POST", "/v1/opportunities", True), ("PATCH", f"/v1/opportunities/{RAZE}", True),
        ("DELETE", f"/v1/opportunities/{RAZE}", True), ("GET", "/v1/connections/{c}", False),
        ("HEAD", "/v1/connections/{c}", False), ("DELETE", "/v1/connections/{c}", False),
        ("GET", "/v1/connections/{c}%20", False), ("GET", "/v1/connections/{c}/", False),
    ],
)  # fmt: skip
def test_a_foreign_connection_is_answered_like_one_that_does_not_exist_on_every_route(
    rig: Rig, method: str, target: str, header: bool
) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    body = b'{"name":"J"}' if method in ("POST", "PATCH") else None
    who = "reader" if method in ("GET", "HEAD") else "old"
    answers = []
    for connection in ("hidden", "absent"):
        headers = {"X_CRM_Connection": connection} if header else {}
        answers.append(told(rig.ask(who, method, target.format(c=connection), body, **headers), connection))
    assert answers[0] == answers[1]
    assert rig.hidden.seen == []


def test_a_default_connection_of_others_is_not_found(tmp_path: Path) -> None:
    config = f"""\
circuit: off
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: sandbox}}
  spott: {{provider: spott, base_url: sandbox}}
callers:
  - {{name: one, key_sha256: {hash_key("one-key-of-spott")}, scopes: ["opportunities:read"], connections: [spott]}}
"""
    with running_gateway(config, tmp_path) as url:
        key = {"X-API-Key": "one-key-of-spott"}
        assert_problem(ask(f"{url}/v1/opportunities", "GET", key), 404, "not-found")
        assert_problem(ask(f"{url}/v1/opportunities/{RAZE}", "GET", key), 404, "not-found")
        assert ask(f"{url}/v1/opportunities", "GET", {**key, "X-CRM-Connection": "spott"}).status == 200
        shown = ask(f"{url}/v1/connections", "GET", key)
        assert [one["name"] for one in shown.data] == ["spott"]
        assert b"raze" not in shown.body


# --- secrets ---------------------------------------------------------------------------------------------------------


def forms_of(secret: str) -> list[str]:
    """The secret plain, in Base64 at each alignment, and URL-encoded."""
    encoded = [base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)]
    return [secret, *encoded, "".join(f"%{byte:02x}" for byte in secret.encode()), quote(secret, safe="")]


def test_no_key_is_in_any_answer_or_in_any_log_at_debug(
    rig: Rig, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    echo = f'{{"success":false,"error":{{"code":"{UPSTREAM}","message":"bad key {UPSTREAM} or {UPSTREAM[:12]}"}}}}'
    said = [
        Says(200, RAZE_BYTES), Says(401, echo), Says(403, echo), Says(400, echo), Says(500, echo), Says(429, echo),
        Says(302, b"", {"Location": f"http://127.0.0.1:9/?key={UPSTREAM}"}), Says(then="cut"),
        Says(200, b"<html>" + UPSTREAM.encode()),
        Says(404, echo, {"X-Echo": UPSTREAM}), Says(409, echo),
    ]  # fmt: skip
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for says in said:
            rig.raze.play([says])
            for who in ("all", "reader", "old"):
                answers = [
                    rig.ask(who, "GET", f"/v1/opportunities/raze:{RAZE}"),
                    rig.ask(who, "GET", "/v1/opportunities?raw=true&explain=true"),
                    rig.ask(who, "POST", "/v1/opportunities", b'{"name":"J"}'),
                    rig.ask(who, "PATCH", f"/v1/opportunities/{RAZE}", b'{"status":"won","description":"x"}'),
                    rig.ask(who, "DELETE", f"/v1/opportunities/{RAZE}"),
                    rig.ask(who, "GET", "/v1/connections"),
                    rig.ask(who, "GET", f"/v1/opportunities?api_key={UPSTREAM[:5]}"),
                ]
                texts += [answer.body.decode() + repr(answer.headers) for answer in answers]
        for target in ("/openapi.json", "/docs", "/healthz", "/readyz"):
            answer = rig.ask("all", "GET", target)
            texts.append(answer.body.decode() + repr(answer.headers))
        texts.append(rig.ask("all", "GET", "/nothing", X_Request_Id="x" * 500).body.decode())
    out, err = capfd.readouterr()
    texts += [out, err, caplog.text, *(repr(record.__dict__) for record in caplog.records)]
    for secret in SECRETS:
        for form in forms_of(secret):
            assert [text for text in texts if form in text] == []


def test_the_hashes_of_keys_are_in_no_answer(rig: Rig) -> None:
    for target in ("/v1/connections", "/v1/connections/raze", "/openapi.json"):
        body = rig.ask("all", "GET", target).body.decode()
        assert not any(hash_key(key) in body for key in KEYS.values())


def test_the_key_that_the_provider_gets_is_the_connections_and_never_the_callers(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    assert rig.ask("all", "GET", f"/v1/opportunities/{RAZE}", Host="evil.example").status == 200
    assert rig.raze.seen  # more than one where what an earlier test left unknown is being looked up
    for seen in rig.raze.seen:
        assert seen.headers["x-api-key"] == UPSTREAM
        assert not any(key in str(seen.headers) + seen.target for key in KEYS.values())
        assert seen.headers["host"] == f"127.0.0.1:{port_of(rig.raze.url)}"


# --- without callers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_callers_a_host_beyond_loopback_refuses_to_start(tmp_path: Path, host: str) -> None:
    from click.testing import CliRunner

    from gateway.cli import main

    (tmp_path / "config.yaml").write_text(SANDBOXES)
    done = CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "config.yaml"), "--host", host, "--port", "0"])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "callers" in done.stderr


def test_a_host_beyond_loopback_in_the_file_refuses_to_start_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SANDBOXES + "server: {host: 0.0.0.0, port: 0}\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "config.yaml:" in done.stderr and "callers" in done.stderr


# --- HTTP itself -----------------------------------------------------------------------------------------------------


def exchanged(url: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of the first answer to raw bytes."""
    received = raw_exchange("127.0.0.1", port_of(url), data)
    head, _, body = received.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert line.startswith("HTTP/1.1 "), received[:200]
    return int(line.split(" ")[1]), headers, body[: int(headers.get("content-length", len(body)))]


RAW = {
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00 garbage\r\n\r\n", 400, "invalid-request"),
    "an unknown version": (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400, "invalid-request"),
    "a header without a colon": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n", 400, "invalid-request"),
    "a blank in a header's name": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX Y: 1\r\n\r\n", 400, "invalid-request"),
    "two lengths": (b"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", 400,
                    "invalid-request"),
    "length and chunks": (b"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid-request"),
    "a length that is none": (b"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400,
                              "invalid-request"),
    "a bad chunk": (b"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "invalid-request"),
    "a huge header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n", 431,
                      "headers-too-large"),
    "a thousand headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Y: aaaaaaaaaaaaaaaa\r\n" * 2500
                           + b"\r\n", 431, "headers-too-large"),
    "a long URL": (b"GET /healthz?" + b"q" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
    "a long path": (b"GET /" + b"p" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri-too-long"),
}  # fmt: skip


@pytest.mark.parametrize("kind", RAW)
def test_a_request_that_is_no_proper_http_is_answered_as_a_problem(sandboxes: str, kind: str) -> None:
    data, status, code = RAW[kind]
    found, headers, body = exchanged(sandboxes, data)
    assert headers["content-type"] == "application/problem+json"
    problem = json.loads(body)
    assert (found, problem["status"], problem["code"], problem["type"]) == (status, status, code, f"/problems/{code}")
    assert headers["cache-control"] == "private, no-store"
    told = str({**problem, "request_id": ""})  # a random one may hold any four of its letters
    assert "garbage" not in told and "aaaa" not in told and "qqqq" not in told
    assert ask(f"{sandboxes}/healthz").status == 200


@pytest.mark.parametrize("kind", ["garbage", "a huge header", "a long URL"])
def test_an_answer_of_the_parser_carries_the_headers_that_every_answer_does(sandboxes: str, kind: str) -> None:
    _, headers, body = exchanged(sandboxes, RAW[kind][0])
    assert set(ask(f"{sandboxes}/nowhere").headers) - {"date"} <= set(headers)
    assert headers["server-timing"] == "gateway;dur=0.00, provider;dur=0.00"
    assert headers.get("x-request-id")
    assert json.loads(body).get("request_id") == headers["x-request-id"]


def test_the_status_line_of_a_refused_request_is_plain_http(sandboxes: str) -> None:
    received = raw_exchange("127.0.0.1", port_of(sandboxes), b"nonsense\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in received.lower()


@pytest.mark.parametrize("target", [
    "/", "/v1", "/v1/", "/v1/opportunities/", "/v1/opportunities/raze:x/", "/v1/opportunities/raze:x/stage",
    "/healthz/", "//healthz", "/HEALTHZ", "/v1/opportunities%2Fx", "/v1/../healthz", "/v1/%2e%2e/healthz",
    "/health%7a", "/docs/", "/problems/", "/problems", "/v1/connections/", "/v1/connections/a/b", "/.env",
    "/v2/opportunities", "/v1/translate/", "/openapi.json/", "/favicon.ico",
])  # fmt: skip
def test_an_unknown_route_is_not_found(sandboxes: str, target: str) -> None:
    assert_problem(ask(f"{sandboxes}{target}"), 404, "not-found")
    assert_problem(ask(f"{sandboxes}{target}", "POST", JSON, b"{}"), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/v1/opportunities/raze:x", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("POST", "/v1/opportunities/raze:x", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("OPTIONS", "/v1/opportunities/raze:x", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("PATCH", "/v1/opportunities", {"GET", "HEAD", "POST"}),
        ("DELETE", "/v1/opportunities", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/v1/opportunities", {"GET", "HEAD", "POST"}),
        ("TRACE", "/v1/opportunities", {"GET", "HEAD", "POST"}),
        ("PROPFIND", "/v1/opportunities", {"GET", "HEAD", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("DELETE", "/v1/connections/raze", {"GET", "HEAD"}),
        ("GET", "/v1/translate", {"POST"}),
        ("HEAD", "/v1/translate", {"POST"}),
        ("PUT", "/docs", {"GET", "HEAD"}),
        ("PURR", "/v1/opportunities?limit=1", {"GET", "HEAD", "POST"}),
        ("get", f"/v1/opportunities/{RAZE}", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("X-Custom", "/v1/translate", {"POST"}),
    ],
)
def test_a_wrong_method_is_told_which_ones_there_are(
    sandboxes: str, method: str, target: str, allowed: set[str]
) -> None:
    answer = ask(f"{sandboxes}{target}", method)
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert_problem(answer, 405, "method-not-allowed")


def test_a_method_that_nobody_knows_on_no_route_is_not_found(sandboxes: str) -> None:
    assert_problem(ask(f"{sandboxes}/nothing", "PURR"), 404, "not-found")


@pytest.mark.parametrize(
    "target",
    ["/healthz", "/readyz", "/docs", "/openapi.json", "/v1/connections", "/v1/opportunities", "/problems/forbidden"],
)
def test_head_is_taken_wherever_get_is(sandboxes: str, target: str) -> None:
    answer = ask(f"{sandboxes}{target}", "HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "target",
    ["/healthz?x=1", "/readyz?x", "/v1/connections?limit=1", "/v1/connections/raze?x=1", "/problems/conflict?x=1"],
)
def test_a_query_that_a_route_does_not_take_is_refused_there_too(sandboxes: str, target: str) -> None:
    assert_problem(ask(f"{sandboxes}{target}"), 400, "invalid-request")


def test_an_absolute_target_and_another_host_change_nothing(sandboxes: str) -> None:
    for data in (
        b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /v1/connections HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: e\r\nX-Forwarded-For: 1.2.3.4\r\n"
        b"Connection: close\r\n\r\n",
    ):
        status, _, body = exchanged(sandboxes, data)
        assert status == 200 and b"evil" not in body
    status, _, _ = exchanged(
        sandboxes, b"GET http://evil.example/healthz HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n"
    )
    assert status in (200, 400, 404)


def test_a_websocket_handshake_is_not_taken(sandboxes: str) -> None:
    status, _, _ = exchanged(
        sandboxes,
        b"GET /v1/opportunities HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    )
    assert status in (200, 400, 404)


def test_requests_on_one_connection_are_answered_in_order(sandboxes: str) -> None:
    received = raw_exchange(
        "127.0.0.1", port_of(sandboxes),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: one\r\n\r\n"
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: two\r\n\r\n"
        b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Request-Id: three\r\nConnection: close\r\n\r\n",
    )  # fmt: skip
    places = [received.index(b"x-request-id: " + word) for word in (b"one", b"two", b"three")]
    assert places == sorted(places)


def test_no_answer_names_the_software_behind_it(sandboxes: str) -> None:
    for target in ("/healthz", "/nothing", "/v1/opportunities?limit=0"):
        answer = ask(f"{sandboxes}{target}")
        text = (answer.body.decode() + repr(answer.headers)).lower()
        assert not any(word in text for word in ("uvicorn", "starlette", "traceback", "pydantic", "python"))


def test_the_documents_describe_every_problem_that_is_documented() -> None:
    listed = {
        "invalid-request", "unauthenticated", "forbidden", "not-found", "operation-not-supported", "method-not-allowed",
        "conflict", "idempotency-in-flight", "request-timeout", "too-large", "uri-too-long", "unsupported-media-type",
        "headers-too-large", "invalid-opportunity", "provider-rejected", "idempotency-mismatch", "not-writable",
        "not-native", "internal-error", "overloaded", "rate-limited", "provider-auth-failed", "provider-bad-answer",
        "provider-error", "provider-unavailable", "provider-timeout", "state-store-unavailable",
    }  # fmt: skip
    assert set(CODES) == listed


# --- translating -----------------------------------------------------------------------------------------------------


def translated(url: str, source: str, target: str, record: Any) -> Answer:
    body = record if isinstance(record, bytes) else json.dumps(record).encode()
    return ask(f"{url}/v1/translate?from={source}&to={target}", "POST", JSON, body)


def test_a_bare_record_is_translated_to_the_canonical_form_without_id_and_connection(sandboxes: str) -> None:
    bare = RAZE_BYTES[RAZE_BYTES.index(b'"data": ') + 8 : RAZE_BYTES.rindex(b"}")]
    answer = translated(sandboxes, "getraze", "canonical", bare)
    canonical = json.loads((EXAMPLES / "getraze-get.canonical.json").read_text())
    expected = {name: value for name, value in canonical.items() if name not in ("id", "connection")}
    assert answer.status == 200
    assert {name: value for name, value in answer.data.items() if name != "complete"} == {
        name: value for name, value in expected.items() if name != "complete"
    }
    assert answer.meta == {"issues": [], "not_applied": []}
    spott = (EXAMPLES / "spott-get.documented.json").read_bytes()
    data = translated(sandboxes, "spott", "canonical", spott).data
    assert data["native_id"] == "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77" and "id" not in data


def test_a_record_goes_there_and_back_unchanged(sandboxes: str) -> None:
    spott = (EXAMPLES / "spott-get.documented.json").read_bytes()
    canonical = translated(sandboxes, "spott", "canonical", spott)
    back = translated(sandboxes, "canonical", "spott", json.dumps(canonical.data).encode())
    assert back.status == 200
    assert back.data == json.loads(spott)
    assert back.meta == {"issues": [], "not_applied": []}


def test_digits_are_exact_in_a_translation(sandboxes: str) -> None:
    answer = translated(
        sandboxes, "getraze", "canonical", b'{"id":"x","name":"n","deal_value":12345678901234567890.10}'
    )
    assert answer.data["amount"]["value"] == "12345678901234567890.10"
    back = translated(sandboxes, "canonical", "getraze", b'{"amount":{"value":"0.10","currency":"BRL"}}')
    assert b'"deal_value":0.10' in back.body


def test_what_the_other_dialect_cannot_hold_is_named(sandboxes: str) -> None:
    bare = RAZE_BYTES[RAZE_BYTES.index(b'"data": ') + 8 : RAZE_BYTES.rindex(b"}")]
    answer = translated(sandboxes, "getraze", "spott", bare)
    fields = {entry["field"].partition(".")[0].partition("[")[0] for entry in answer.meta["not_applied"]}
    assert {"amount", "source", "campaign"} <= fields


@pytest.mark.parametrize(("query", "named"), [
    ("", ["from", "to"]), ("?from=getraze", ["to"]), ("?from=nope&to=canonical", ["from"]), ("?from=getraze&to=x", ["to"]),
    ("?from=getraze&to=canonical&x=1", ["x"]),
])  # fmt: skip
def test_a_translation_needs_two_known_dialects(sandboxes: str, query: str, named: list[str]) -> None:
    answer = ask(f"{sandboxes}/v1/translate{query}", "POST", JSON, b"{}")
    problem = assert_problem(answer, 400, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == named


@pytest.mark.parametrize("more", [{}, {"at": None}])
def test_a_closing_day_alone_is_translated_to_midnight_where_an_instant_is_held(
    sandboxes: str, more: dict[str, None]
) -> None:
    answer = translated(sandboxes, "canonical", "spott", {"expected_close": {"on": "2026-03-31", **more}})
    assert answer.data["closeDate"]["closeDate"] == {"target": "2026-03-31T00:00:00Z"}
    assert [(one["field"], one["reason"], one["stored"]) for one in answer.meta["not_applied"]] == [
        ("expected_close.at", "coerced", "2026-03-31T00:00:00Z") for _ in more
    ]
    served = translated(sandboxes, "getraze-served", "spott", {"expected_close_date": "2026-03-31"})
    assert served.data["closeDate"]["closeDate"] == {"target": "2026-03-31T00:00:00Z"}


def test_what_is_wrong_with_a_canonical_record_is_named_by_its_path_as_everywhere(sandboxes: str) -> None:
    body = b'{"contacts": [{}, {"title": 5, "emails": [{"nope": 1}]}], "stage": {"order": "x"}}'
    answer = ask(f"{sandboxes}/v1/translate?from=canonical&to=spott", "POST", JSON, body)
    problem = assert_problem(answer, 422, "invalid-opportunity")
    assert [error["field"] for error in problem["errors"]] == [
        "contacts[1].title", "contacts[1].emails[0].nope", "stage.order",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"x"'])
def test_a_translation_takes_one_record(sandboxes: str, body: bytes) -> None:
    assert_problem(translated(sandboxes, "getraze", "canonical", body), 422, "invalid-opportunity")


@pytest.mark.parametrize(
    "record",
    [
        b"{}", b'{"amount":5}', b'{"amount":{"value":5}}', b'{"stage":"x"}', b'{"contacts":{}}', b'{"contacts":[5]}',
        b'{"contacts":[null]}', b'{"name":{"a":1}}', b'{"expected_close":{"at":5}}', b'{"owner":[]}', b'{"extensions":5}',
        b'{"extensions":{"no-slash":1}}', b'{"extensions":{"/a/5/b":1,"/a":2},"provider":"getraze"}',
        b'{"contacts":[{"emails":5}]}', b'{"contacts":[{"emails":[5]}]}', b'{"status":5}', b'{"amount":{"value":"x"}}',
        b'{"custom_fields":[{"value":{"a":[1]}}]}', b'{"amount":{"cents":5}}', b'{"company":{"extra":{"x":1}}}',
        b'{"extensions":{"/name/0/x":1},"name":"n","provider":"getraze"}', b'{"amount":{"value":1e400}}',
        b'{"extensions":{"":1},"provider":"getraze"}', b'{"contacts":[[]]}', b'{"won_at":true,"probability":[1]}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["getraze", "spott", "canonical"])
def test_a_canonical_record_of_any_shape_is_translated_or_refused_and_never_an_internal_error(
    sandboxes: str, target: str, record: bytes
) -> None:
    answer = translated(sandboxes, "canonical", target, record)
    assert answer.status in (200, 400, 422), answer.body
    if answer.status != 200:
        assert_problem(answer, answer.status, answer.json["code"])


@pytest.mark.parametrize("pointer", ["/a" * 3000, "/a" * 2000, "/0" * 3000, "no-slash", "/~2", ""])
@pytest.mark.parametrize("target", ["spott", "getraze", "canonical"])
def test_an_extension_that_is_no_place_in_a_record_is_refused(sandboxes: str, target: str, pointer: str) -> None:
    answer = translated(sandboxes, "canonical", target, {"provider": "spott", "name": "x", "extensions": {pointer: 1}})
    problem = assert_problem(answer, 422, "invalid-opportunity")
    assert [error["field"] for error in problem["errors"]] == [f"extensions.{pointer[:60]}"]


@pytest.mark.parametrize(("method", "route"), [("POST", "opportunities"), ("PATCH", f"opportunities/{RAZE}")])
def test_a_write_takes_no_extensions(sandboxes: str, method: str, route: str) -> None:
    body = json.dumps({"name": "x", "extensions": {"/a" * 3000: 1}})
    problem = assert_problem(ask(f"{sandboxes}/v1/{route}", method, JSON, body), 422, "invalid-opportunity")
    assert problem["errors"] == [{"field": "extensions", "message": "is read-only"}]


# --- heads of answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [{}, {"retry-after": "1"}, {"cache-control": "no-cache", "x-cache": "hit"}])
@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb: c", "a\rb", "a\0b"])
def test_a_header_that_holds_the_end_of_a_line_is_not_sent(own: dict[str, str], bad: str) -> None:
    context = cast(Context, SimpleNamespace(waiting=Waiting(), tell={"x-cache": "miss"}, connection="raze"))
    request = Request("GET", "id", None)
    reply = HandlerReply(body={}, headers=own)
    head, lines = App._head(reply, context, request, 2)
    whole = HeadOf(200, head, lines, b"")
    names = [name.decode() for name, _ in whole.headers()]
    assert whole.is_sound() and len(names) == len(set(names)) and set(own) <= set(names)
    for place in (context.tell, reply.headers):
        place["x-bad"] = bad
        assert not HeadOf(200, *App._head(reply, context, request, 2), b"").is_sound()
        with pytest.raises(ValueError, match="the end of a line"):
            HeadOf(200, *App._head(reply, context, request, 2), b"").headers()
        del place["x-bad"]
    request.ended(None, 200)
