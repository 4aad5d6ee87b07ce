"""A log line tells what went wrong where, in one line, for people or programs, and nothing of what passed through."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway import logs
from gateway.cli import main
from gateway.logs import where
from tests.live import EXAMPLES, Says, StandIn, ask, connections, port_of, raw_exchange, running_gateway, send

RECORD = json.loads((EXAMPLES / "getraze-get.documented.json").read_text())
RAZE = RECORD["data"]["id"]
FIELDS = {"request_id", "connection", "method", "route", "status", "code", "milliseconds"}


@pytest.fixture
def provider() -> Iterator[StandIn]:
    with StandIn([Says(200, RECORD)]) as stand_in:
        yield stand_in


@pytest.fixture
def url(provider: StandIn, tmp_path: Path) -> Iterator[str]:
    with running_gateway(connections(raze=provider.url), tmp_path) as running:
        yield running


def told(caplog: pytest.LogCaptureFixture, logger: str = "gateway") -> list[dict[str, Any]]:
    """The fields of each line that a request left."""
    return [record.__dict__["told"] for record in caplog.records if record.name == logger and "told" in record.__dict__]


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_request_that_failed_leaves_one_warning_with_its_fields(
    url: str, provider: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    provider.play([Says(500, {"error": "words of the provider"})])
    ask(f"{url}/v1/opportunities/{RAZE}?explain=true", headers={"X-Request-Id": "asked-1"})
    [line] = told(caplog)
    assert set(line) == FIELDS
    assert 0 < line.pop("milliseconds") < 10_000
    assert line == {
        "request_id": "asked-1", "connection": "raze", "method": "GET", "route": "/v1/opportunities/{id}", "status": 502,
        "code": "provider-error",
    }  # fmt: skip
    [record] = [record for record in caplog.records if record.name == "gateway"]
    assert (record.levelname, record.getMessage()) == ("WARNING", "a request failed: The provider failed.")
    assert RAZE not in caplog.text and "words of the provider" not in caplog.text


def test_what_the_caller_did_wrong_leaves_no_line(url: str, caplog: pytest.LogCaptureFixture) -> None:
    for target in ("/nothing", "/v1/opportunities?limit=101", "/v1/opportunities/raze:!"):
        assert ask(f"{url}{target}").status < 500
    assert told(caplog) == [] and told(caplog, "gateway.access") == []


def test_each_request_leaves_a_line_where_that_is_asked_for(
    url: str, provider: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gateway.access")
    ask(f"{url}/v1/opportunities/{RAZE}?explain=true")
    ask(f"{url}/no-such-route")
    ask(f"{url}/v1/opportunities?limit=101")
    send(f"{url}/v1/opportunities", "POST", '{"name": "Jane"}', Idempotency_Key="a-key-of-a-caller")
    lines = [(one["method"], one["route"], one["connection"], one["status"], one["code"])
             for one in told(caplog, "gateway.access")]  # fmt: skip
    assert lines == [
        ("GET", "/v1/opportunities/{id}", "raze", 200, None),
        ("GET", "other", None, 404, "not-found"),
        ("GET", "/v1/opportunities", "raze", 400, "invalid-request"),
        ("POST", "/v1/opportunities", "raze", 201, None),
    ]
    for secret in (RAZE, "explain", "no-such", "limit", "Jane", "a-key-of-a-caller"):
        assert secret not in caplog.text
        assert secret not in repr([record.__dict__ for record in caplog.records if record.name.startswith("gateway")])


def test_what_is_no_http_leaves_no_line_but_the_one_that_is_asked_for(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody could fill the log with it, key or none."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(
        logging.INFO, logger="gateway.access"
    )  # a test before may have left it as `serve` has it by default
    for junk in (b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n", b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 20_000),
                 b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"):  # fmt: skip
        assert raw_exchange("127.0.0.1", port_of(url), junk).startswith(b"HTTP/1.1 4")
    told_by = {record.name for record in caplog.records if record.name != "asyncio"}
    assert told_by == {"gateway.access"}, caplog.text


def test_a_crash_is_told_by_its_class_and_place_but_not_by_its_text(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adapters.getraze import GetRaze

    def crash(self: object, native_id: str) -> None:
        raise LookupError(f"cannot do {native_id}")

    monkeypatch.setattr(GetRaze, "get", crash)
    assert ask(f"{url}/v1/opportunities/{RAZE}").status == 500
    [record] = [record for record in caplog.records if record.name == "gateway"]
    assert record.levelname == "ERROR" and record.exc_info is None
    assert "builtins.LookupError in " in record.getMessage()
    assert ".crash (tests.test_logs:" in record.getMessage()
    assert RAZE not in record.getMessage() and "cannot do" not in record.getMessage()
    assert told(caplog)[0]["code"] == "internal-error"


def test_an_exception_is_told_with_what_caused_it() -> None:
    def outer() -> None:
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ValueError("secret") from error

    with pytest.raises(ValueError) as raised:
        outer()
    line = where(raised.value)
    assert line.startswith("builtins.ValueError in ")
    assert "; while handling builtins.KeyError in " in line and "secret" not in line


def test_an_exception_that_causes_itself_is_told_once() -> None:
    error = ValueError("x")
    error.__context__ = KeyError("y")
    error.__context__.__context__ = error
    assert where(error) == "builtins.ValueError; while handling builtins.KeyError"


# --- how it is written -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def configured(capfd: pytest.CaptureFixture[str], form: logs.Format, every: bool = False) -> Iterator[None]:
    """Logging as `serve` sets it up, for as long as the block lasts."""
    root, access = logging.getLogger(), logging.getLogger("gateway.access")
    before, level = root.handlers[:], access.level
    root.handlers[:] = []
    try:
        logs.configure(form, every_request=every)
        yield
    finally:
        root.handlers[:] = before
        access.setLevel(level)


def test_a_line_for_programs_is_an_object(capfd: pytest.CaptureFixture[str]) -> None:
    with configured(capfd, "json"):
        log = logging.getLogger("gateway")
        log.warning("first\nsecond é", extra={"told": {"status": 502, "connection": None}})
        try:
            raise KeyError("secret")
        except KeyError:
            log.exception("it broke")
        log.info("not asked for")
    first, second = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "warning", "logger": "gateway", "message": "first\nsecond é", "status": 502, "connection": None,
    }  # fmt: skip
    assert second["message"].startswith("it broke: builtins.KeyError in ") and "secret" not in second["message"]


def test_a_line_for_people_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with configured(capfd, "text"):
        logging.getLogger("gateway").warning("first\r\nsecond", extra={"told": {"status": 502, "connection": None}})
    [line] = capfd.readouterr().err.splitlines()
    assert line.endswith(" WARNING gateway first\\r\\nsecond status=502")


def test_nothing_is_made_of_a_request_where_nobody_asks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*args: object, **named: object) -> None:
        raise AssertionError("a line was made")

    monkeypatch.setattr(logs.access, "info", unexpected)
    assert ask(f"{url}/v1/opportunities/{RAZE}").status == 200


# --- as a process ----------------------------------------------------------------------------------------------------


def served(folder: Path, provider: StandIn, *arguments: str, **environ: str) -> list[str]:
    """What `serve` says on standard error of one good and one bad request."""
    (folder / "config.yaml").write_text(connections(raze=provider.url))
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", *arguments], cwd=folder, env={**os.environ, **environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    try:
        assert ask(f"{url}/v1/opportunities/{RAZE}").status == 200
        provider.play([Says(500, {})])
        assert ask(f"{url}/v1/opportunities/{RAZE}").status == 502
    finally:
        process.terminate()
        _, err = process.communicate(timeout=30)
    return [line for line in err.splitlines() if "no callers are configured" not in line]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_logs_as_it_is_told_to_in_every_worker(tmp_path: Path, provider: StandIn, workers: str) -> None:
    lines = [json.loads(line) for line in
             served(tmp_path, provider, "--log-format", "json", "--access-log", "--workers", workers)]  # fmt: skip
    asked = [line for line in lines if line.get("route") == "/v1/opportunities/{id}"]
    assert [(one["logger"], one["level"], one["status"]) for one in asked] == [
        ("gateway.access", "info", 200), ("gateway", "warning", 502), ("gateway.access", "info", 502),
    ]  # fmt: skip
    assert all(set(one) >= FIELDS for one in asked)


def test_what_is_noted_at_the_start_is_an_object_too_where_lines_are(tmp_path: Path) -> None:
    notes = ["no callers are configured: no key is asked for, and only loopback addresses are served",
             "connection raze: a built-in sandbox of GetRaze, not the provider"]  # fmt: skip
    (tmp_path / "config.yaml").write_text("connections: {raze: {provider: getraze, base_url: sandbox}}\n")
    for form in ("json", "text"):
        command = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--log-format", form]
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.terminate()
            lines = process.communicate(timeout=30)[1].splitlines()
        if form == "json":
            told = [json.loads(line) for line in lines]
            assert {(line["level"], line["logger"]) for line in told} == {("info", "gateway")}
            assert all(line["time"].endswith("Z") for line in told)
            lines = [line["message"] for line in told]
        assert lines == notes


def test_a_line_of_text_has_the_time_of_the_host_with_its_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    record = logging.makeLogRecord({"created": 1_767_598_200.25, "levelname": "WARNING", "name": "gateway", "msg": "x"})
    try:
        for zone, shown in (
            ("Asia/Kathmandu", "2026-01-05 13:15:00.250+05:45"),
            ("UTC", "2026-01-05 07:30:00.250+00:00"),
        ):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert logs._Text().format(record) == f"{shown} WARNING gateway x"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_environment_says_the_same(tmp_path: Path, provider: StandIn) -> None:
    lines = [json.loads(line) for line in served(tmp_path, provider, CRM_GATEWAY_LOG="json")]
    assert [line["status"] for line in lines] == [502]


def test_without_a_word_only_what_failed_is_told_in_text(tmp_path: Path, provider: StandIn) -> None:
    [line] = served(tmp_path, provider)
    assert " WARNING gateway a request failed: The provider failed. request_id=" in line
    assert (
        "connection=raze method=GET route=/v1/opportunities/{id} status=502 code=provider-error milliseconds=" in line
    )


def test_a_format_that_there_is_not_is_used_wrongly() -> None:
    assert CliRunner().invoke(main, ["serve", "--log-format", "xml"]).exit_code == 2
