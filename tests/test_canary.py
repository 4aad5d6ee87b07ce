"""Canary secrets in every slot, everything at DEBUG, crashes by force: no key comes out anywhere, in any writing of it.

Keys (of callers, of the provider, of idempotency) must be nowhere. Values (of bodies and queries) must be nowhere but in
the answers to those who sent them: in no log line, metric, repr, nor in the answer to a request that was refused.
"""

import base64
import gc
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from adapters.getraze import GetRaze
from gateway import logs
from gateway.adapter import Call, Reply
from gateway.callers import hash_key
from gateway.failures import _scrubbed
from gateway.http.observing import log
from gateway.scrubbing import scrubbed
from gateway.strict_json import Json
from tests.live import EXAMPLES, Answer, Says, Seen, StandIn, ask, running_gateway

RECORD = json.loads((EXAMPLES / "getraze-get.documented.json").read_text())
RAZE = RECORD["data"]["id"]

UPSTREAM = "sk-canary/upstream+0123456789"
CALLER = "canary-caller/key+0123456789"
STRANGER = "canary-stranger/key+0123456789"
IDEMPOTENCY = "canary-idempotency/key+0123456789"
KEYS = (UPSTREAM, CALLER, STRANGER, IDEMPOTENCY)
VALUE = "canary-value/of+a-body-0123456789"
QUERY = "canary-query/value+0123456789"
VALUES = (VALUE, QUERY)


def forms_of(secret: str) -> list[str]:
    """The secret plain, in Base64 at each place among other bytes, in both alphabets, and URL-encoded."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"x" * shift + raw).decode()[4:-4] for shift in range(3)]
    encoded += [one.translate(str.maketrans("+/", "-_")) for one in encoded]
    hexes = "".join(f"%{byte:02x}" for byte in raw)
    return [
        secret,
        *encoded,
        hexes,
        hexes.upper(),
        quote(secret, safe=""),
        quote(secret),
        quote(secret, safe="").lower(),
    ]


def hits(secrets: Iterable[str], texts: Iterable[str]) -> list[tuple[str, str]]:
    """(secret, a piece of text around it) for each text in which one is found."""
    found = []
    for text in texts:
        for secret in secrets:
            for form in forms_of(secret):
                at = text.find(form)
                if at >= 0:
                    found.append((secret, text[max(0, at - 120) : at + 60]))
    return found


class Crashing(GetRaze):
    """Raises wherever it is asked, and says everything it knows: the key, and what it was given."""

    name = "crashing"
    at = ""
    """Which of its methods raises now."""

    def _crash(self, where: str, *told: object) -> None:
        if Crashing.at == where:
            raise LookupError(f"{UPSTREAM} {told!r}")

    def headers(self, key: str) -> Mapping[str, str]:
        """With the key."""
        self._crash("headers", key)
        return super().headers(key)

    def get(self, native_id: str) -> Call:
        """With the id."""
        self._crash("get", native_id)
        return super().get(native_id)

    def create(self, bodies: Any) -> Any:
        """With the body."""
        self._crash("create", bodies)
        return super().create(bodies)

    def record(self, body: Json) -> dict[str, Json] | None:
        """With the record."""
        self._crash("record", body)
        return super().record(body)

    def learn(self, call: Call, reply: Reply) -> Any:
        """With the call and the reply."""
        self._crash("learn", call, reply)
        return super().learn(call, reply)

    def problem(self, reply: Reply) -> Any:
        """With the reply."""
        self._crash("problem", reply)
        return super().problem(reply)


class Everything(logging.Handler):
    """Each log record as everybody could write it: with its traceback, and with all that it holds."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.texts: list[str] = []
        self.forms = (logging.Formatter("%(name)s %(message)s"), logs._Json(), logs._Text())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts += [form.format(record) for form in self.forms]
        self.texts.append(repr(record.__dict__))


def reprs() -> list[str]:
    """The repr of every object of ours that there is at this moment."""
    ours = [one for one in gc.get_objects() if str(type(one).__module__).startswith(("gateway.", "adapters."))]
    return [f"{type(one).__name__}: {one!r}" for one in ours]


class Rig:
    """A gateway with secrets in every slot, and all that comes out of it."""

    def __init__(self, url: str, provider: StandIn, heard: Everything) -> None:
        self.url = url
        self.provider = provider
        self.heard = heard
        self.good: list[str] = []
        self.refused: list[str] = []
        self.reprs: list[str] = []

    def ask(self, method: str, target: str, body: bytes | None = None, key: str = CALLER, **headers: str) -> Answer:
        """A request with a key, and what came of it."""
        named = {"Authorization": f"Bearer {key}", **({"Content-Type": "application/json"} if body is not None else {})}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = ask(f"{self.url}{target}", method, named, body)
        told = f"{method} {answer.status} {answer.headers!r} {answer.body.decode()}"
        (self.good if answer.status < 400 else self.refused).append(told)
        return answer

    def round(self, number: int) -> None:
        """Requests of every kind."""
        item, body = f"/v1/opportunities/raze:{RAZE}", json.dumps({"name": VALUE, "description": VALUE}).encode()
        self.ask("GET", item)
        self.ask("GET", f"{item}?explain=true&raw=true", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
        self.ask("GET", f"/v1/opportunities?q={quote(QUERY)}&owner={quote(QUERY)}")
        self.ask("GET", f"/v1/opportunities?ids=raze:{RAZE},raze:other")
        self.ask("POST", "/v1/opportunities", body, Idempotency_Key=f"{IDEMPOTENCY}{number}")
        self.ask("POST", "/v1/opportunities", body, Idempotency_Key=f"{IDEMPOTENCY}{number}")
        self.ask("POST", "/v1/opportunities", body)
        self.ask("PATCH", item, json.dumps({"description": VALUE}).encode(), Idempotency_Key=f"{IDEMPOTENCY}p{number}")
        self.ask("DELETE", item)

    def astray(self) -> None:
        """Secrets where they do not belong."""
        for key in (STRANGER, f"{STRANGER}, {STRANGER}", STRANGER * 50):
            self.ask("GET", f"/v1/opportunities/{RAZE}", key=key)
        for target in (
            f"/v1/opportunities/{quote(QUERY, safe='')}", f"/{quote(QUERY)}", f"/v1/opportunities?limit={quote(QUERY)}",
            f"/v1/opportunities?cursor={quote(QUERY)}", f"/v1/connections/{quote(QUERY, safe='')}",
            f"/v1/opportunities?modified_since={quote(QUERY)}", f"/v1/opportunities/{RAZE}?explain={quote(QUERY)}",
            f"/problems/{quote(QUERY, safe='')}", f"/v1/opportunities?sort={quote(QUERY)}",
        ):  # fmt: skip
            self.ask("GET", target)
        for body in (
            VALUE.encode(), b'{"' + VALUE.encode() + b'":1,"' + VALUE.encode() + b'":2}', 
            json.dumps({"name": [VALUE]}).encode(),
            json.dumps({"name": VALUE, "amount": {"value": VALUE}}).encode(),
            json.dumps({"name": VALUE, "expected_close": {"on": VALUE}}).encode(), json.dumps(VALUE).encode(),
        ):  # fmt: skip
            self.ask("POST", "/v1/opportunities", body)
        self.ask("POST", "/v1/opportunities", b"{}", Idempotency_Key=f'"{IDEMPOTENCY}')
        self.ask("POST", "/v1/opportunities", b"{}", Idempotency_Key=IDEMPOTENCY * 20)
        for name in ("X-CRM-Connection", "X-Request-Timeout", "X-Request-Id", "Prefer", "Cache-Control", "traceparent"):
            self.ask("GET", f"/v1/opportunities/{RAZE}", None, CALLER, **{name: f"{QUERY} {QUERY}"})
        self.ask("POST", f"/v1/translate?from=getraze&to={quote(QUERY)}", b"{}")

    def public(self) -> list[str]:
        """What anybody can look at."""
        told = []
        for target in (
            "/metrics",
            "/v1/connections",
            "/v1/connections/raze",
            "/v1/outcomes",
            "/openapi.json",
            "/readyz",
        ):
            answer = self.ask("GET", target)
            assert answer.status == 200, answer.body
            told.append(f"{target} {answer.headers!r} {answer.body.decode()}")
        return told


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    heard = Everything()
    config = f"""\
default_connection: raze
connections:
  raze: {{provider: 'tests.test_canary:Crashing', base_url: 'PROVIDER', api_key: '{UPSTREAM}', timeout: 5s}}
callers:
  - {{name: one, key_sha256: {hash_key(CALLER)}, scopes: ["opportunities:read", "opportunities:write",
     "opportunities:delete", operator]}}
idempotency: {{lookup_lag: 100ms}}
"""
    with pytest.MonkeyPatch.context() as patch, StandIn([Says(200, RECORD)]) as provider:
        patch.setenv("PYTHONASYNCIODEBUG", "1")
        with running_gateway(config.replace("PROVIDER", provider.url), tmp_path_factory.mktemp("canary")) as url:
            loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
            before = [logger.level for logger in loggers]
            for logger in loggers:
                logger.setLevel(1)
            loggers[0].addHandler(heard)
            try:
                yield Rig(url, provider, heard)
            finally:
                loggers[0].removeHandler(heard)
                for logger, level in zip(loggers, before, strict=True):
                    logger.setLevel(level)


def told_back() -> list[Says]:
    """Answers of a provider that says our key back, in every way it can be written."""
    writings = [UPSTREAM, UPSTREAM[:14], *forms_of(UPSTREAM), base64.b64encode(UPSTREAM.encode()).decode(),
                base64.b64encode(f"user:{UPSTREAM}".encode()).decode()]  # fmt: skip
    said = [Says(200, RECORD), Says(then="cut"), Says(then="reset"), Says(200, b"<html>" + UPSTREAM.encode())]
    for number, word in enumerate(writings):
        error = {
            "success": False, "message": f"bad key {word}", "request_id": word,
            "error": {"code": word, "message": f"key={word}&x", "details": {word: word, "name": f"not {word}"}},
        }  # fmt: skip
        status = (400, 401, 403, 404, 409, 422, 429, 500, 503)[number % 9]
        said.append(Says(status, error, {"X-Echo": word, "X-Request-Id": word, "Retry-After": "1"}))
    said.append(Says(302, b"", {"Location": f"http://127.0.0.1:9/?key={UPSTREAM}"}))
    said.append(Says(200, b"{", {"Content-Encoding": UPSTREAM}))
    return said


def test_no_secret_comes_out_anywhere(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    number = 0
    for says in told_back():
        rig.provider.play([says])
        rig.round(number := number + 1)
    rig.provider.play([Says(200, RECORD)])
    for where in ("headers", "get", "create", "record", "learn", "problem"):
        Crashing.at = where
        if where == "problem":
            rig.provider.play([Says(400, {"message": UPSTREAM})])
        rig.round(number := number + 1)
    Crashing.at = ""

    def looked_at(seen: Seen) -> Says:
        rig.reprs += reprs()  # while the request is under way
        return Says(201 if seen.method == "POST" else 200, RECORD)

    rig.provider.play(looked_at)
    rig.round(number := number + 1)
    rig.astray()
    public = rig.public()
    out, err = capfd.readouterr()
    rig.reprs += reprs()

    assert any("uvicorn" in text for text in rig.heard.texts), "others than ourselves were to tell what they do"
    assert any("builtins.LookupError" in text for text in rig.heard.texts), "something was to crash"
    assert len(rig.good) > 20 and len(rig.refused) > 100 and len(rig.reprs) > 100 and len(rig.heard.texts) > 100
    assert hits(KEYS, rig.good + rig.refused) == []
    assert hits(KEYS + VALUES, [*rig.heard.texts, out, err]) == []
    assert hits(KEYS + VALUES, public) == []
    assert hits(VALUES, rig.refused) == []
    assert hits(KEYS, rig.reprs) == []


def test_a_planted_leak_is_found(rig: Rig) -> None:
    start = len(rig.heard.texts)
    log.debug("calling with %s", UPSTREAM)
    log.debug("calling with Basic %s", base64.b64encode(f"me:{UPSTREAM}".encode()).decode())
    log.debug("calling ?key=%s", quote(UPSTREAM, safe=""))
    planted = rig.heard.texts[start:]
    del rig.heard.texts[start:]
    assert len(planted) == 12
    assert {text for text in planted if hits(KEYS, [text])} == set(planted)
    assert hits(KEYS, ["nothing", "here", UPSTREAM[:10]]) == []


def test_a_process_with_everything_on_says_nothing(tmp_path: Path) -> None:
    with StandIn([Says(500, {"message": UPSTREAM})]) as provider:
        (tmp_path / "config.yaml").write_text(
            f"connections: {{raze: {{provider: getraze, base_url: '{provider.url}', api_key: '${{KEY}}'}}}}\n"
            f"callers: [{{name: one, key_sha256: {hash_key(CALLER)}, scopes: ['opportunities:read', "
            "'opportunities:write']}]\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "ignore", "-m", "gateway", "serve", "--port", "0", "--access-log",
             "--workers", "2"],
            cwd=tmp_path, env={**os.environ, "KEY": UPSTREAM}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            key = {"X-API-Key": CALLER, "Content-Type": "application/json", "Idempotency-Key": IDEMPOTENCY}
            for _ in range(6):
                ask(f"{url}/v1/opportunities", "POST", key, json.dumps({"name": VALUE}))
                ask(f"{url}/v1/opportunities?q={quote(QUERY)}", "GET", {"X-API-Key": CALLER})
                ask(f"{url}/v1/opportunities/{RAZE}", "GET", {"X-API-Key": STRANGER})
            metrics = ask(f"{url}/metrics").body.decode()
        finally:
            process.terminate()
            out, err = process.communicate(timeout=30)
    assert err.count(" route=/v1/opportunities") >= 18
    assert hits(KEYS + VALUES, [out, err, metrics]) == []


@pytest.mark.parametrize("secret", [UPSTREAM, "shorter-key", "tiny", "ключ-из-букв"])
def test_a_key_is_scrubbed_in_every_writing_of_it(secret: str) -> None:
    hexes = "".join(f"%{byte:02X}" for byte in secret.encode())
    writings = [secret, quote(secret, safe=""), hexes, hexes.lower(), secret[:1] + quote(secret[1:])]
    if len(secret) > 8:
        writings += [secret[:10], secret[-9:]]
        writings += [
            base64.b64encode(before + secret.encode() + b"!").decode() for before in (b"", b"u:", b"u", b"abc")
        ]
        writings += [base64.urlsafe_b64encode(before + secret.encode()).decode() for before in (b"", b"u:", b"u")]
    for writing in writings:
        assert scrubbed(f"bad key={writing}& in it", [secret]) == "bad [key] in it", writing
    assert scrubbed("nothing of it", [secret]) == "nothing of it"
    assert scrubbed("an abc of it", ["abc"]) == "an abc of it", "too short to be told from words"


def test_scrubbing_takes_its_time_only_for_what_is_shown() -> None:

    assert _scrubbed("x" * 8_000_000, (UPSTREAM,)) == "x" * 199 + "…"
