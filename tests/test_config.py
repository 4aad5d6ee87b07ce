"""config.yaml is read as people write it; every mistake is told with its line and without a secret."""

import re
import time
import traceback
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateway.adapter import Budget
from gateway.config import (
    Config,
    ConfigError,
    ConnectionConfig,
    Mistake,
    check_exposure,
    config_schema,
    is_loopback,
    load_config,
)
from gateway.config.reading import MAX_BYTES
from tests.sample_adapters import Amount, Flat, Fussy, FussySettings

CANARY = "cAnArY-7f3e9b"
FLAT = "tests.sample_adapters:Flat"
FUSSY = "tests.sample_adapters:Fussy"
ROOT = Path(__file__).parent.parent
HASH = "0123456789abcdef" * 4
OTHER_HASH = "fedcba9876543210" * 4


def one(extra: str = "", top: str = "", provider: str = FLAT) -> str:
    """A file with one sandbox connection; `extra` are lines of the connection, `top` lines of the file."""
    sandbox = "    base_url: sandbox\n" if "base_url" not in extra and provider == FLAT else ""
    key = "    api_key: k\n" if provider != FLAT and "api_key" not in extra else ""
    lines = "".join(f"    {line}\n" for line in extra.splitlines())
    return f"connections:\n  raze:\n    provider: {provider}\n{sandbox}{key}{lines}{top}\n"


class Folder:
    """Writes config.yaml into a folder of its own and loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, text: str | bytes, **environ: str) -> Config:
        """The settings in `text`."""
        file = self.path / "config.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(file, environ)

    def connection(self, extra: str = "", provider: str = FLAT, **environ: str) -> ConnectionConfig:
        """The only connection, written with these lines."""
        return self.load(one(extra, provider=provider), **environ).connections["raze"]

    def mistakes(self, text: str | bytes, **environ: str) -> tuple[Mistake, ...]:
        """What is wrong with `text`."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        return caught.value.mistakes

    def mistake(self, text: str | bytes, **environ: str) -> Mistake:
        """The only thing that is wrong with `text`."""
        found = self.mistakes(text, **environ)
        assert len(found) == 1, [str(mistake) for mistake in found]
        return found[0]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# The file as a whole


def test_the_shortest_file_gets_every_default(folder: Folder) -> None:
    config = folder.load(one())
    assert config.default_connection == "raze"
    connection = config.connections["raze"]
    assert (connection.name, connection.provider, connection.adapter) == ("raze", FLAT, Flat)
    assert (connection.base_url, connection.api_key, connection.timeout) == ("sandbox", None, 10)
    assert (connection.budget, connection.budget_from) == (Budget(calls=1000, per=3600.0), "adapter")
    assert (connection.stages, connection.require) == ({}, ())
    assert (config.server.host, config.server.port, config.server.workers) == ("127.0.0.1", 8080, 1)
    assert config.callers == ()
    assert (config.cache.ttl, config.cache.stale_if_error, config.cache.max_bytes) == (30, 300, 64 * 2**20)
    assert config.state == "sqlite:///gateway.db"
    told = config.idempotency
    assert (told.required, told.keep, told.lookup_lag) == (False, 86400, 5)
    assert config.circuit and (config.circuit.failures, config.circuit.open) == (10, 2)
    limits = config.limits
    assert (limits.body, limits.reply, limits.concurrency, limits.per_caller) == (262144, 8388608, 64, 256)


def test_a_mistake_reads_as_file_line_column_path_and_what_was_expected(folder: Folder) -> None:
    found = folder.mistake(one("timeout: [10s]"))
    assert str(found) == (
        f"{folder.path}/config.yaml:5:5: connections.raze.timeout: "
        "expected a duration such as 10s, 500ms, 5m; got a list"
    )


def test_every_mistake_is_told_at_once_in_the_order_of_lines(folder: Folder) -> None:
    found = folder.mistakes(
        one(
            "timeout: soon\nrequire: [list, create, fly]\nstages: {A: vanished}\napi_key: ${NOWHERE\n",
            "server: {port: 99999}\ncolour: red\ncache: {ttl: 20}\n",
        )
    )
    assert [(mistake.line, mistake.path) for mistake in found] == [
        (5, "connections.raze.timeout"),
        (6, "connections.raze.require[1]"),
        (6, "connections.raze.require[2]"),
        (7, "connections.raze.stages.A"),
        (8, "connections.raze.api_key"),
        (9, "server.port"),
        (10, "colour"),
        (11, "cache.ttl"),
    ]


def test_a_missing_file_is_a_mistake_without_a_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, str(tmp_path / "a\0b")):
        with pytest.raises(ConfigError) as caught:
            load_config(path, {})
        assert caught.value.mistakes[0].line == 0
        assert "cannot be read" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "column", "told"),
    [
        (b"a: b\nc: \xff\xfe", 2, 4, "not UTF-8"),
        ("", 1, 1, "empty"),
        ("# only a comment\n", 1, 1, "empty"),
        ("- a\n- b\n", 1, 1, "expected a mapping"),
        ("just text", 1, 1, "expected a mapping"),
        ("null", 1, 1, "expected a mapping"),
        ("connections: {}\nserver: [1, 2\nstate: off\n", 3, 6, "not YAML"),
        ("a: {b: ${C}}", 1, 9, "must stand in quotes"),
        ("a: 1\nb: \x07", 2, 4, "control character"),
        ('a: "\\UFFFFFFFF"', 1, 7, "not YAML"),
        ("a: &x 1\nb: *x\n", 1, 4, "anchors and aliases"),
        ("a: 1\nb: *x\n", 2, 4, "anchors and aliases"),
        ("&a a: &b [*b, *b]", 1, 1, "anchors and aliases"),
        ("a: !!python/object:os.system x", 1, 4, "tags"),
        ("a: !secret x", 1, 4, "tags"),
        ("a: 1\n---\nb: 2\n", 2, 1, "one document"),
        ("a: " + "[" * 100_000, 1, 24, "nested deeper"),
        ("a: " + "x" * 300_000, 0, 0, "larger than"),
    ],
)
def test_what_is_no_single_yaml_mapping_is_told_with_its_place(
    folder: Folder, text: str | bytes, line: int, column: int, told: str
) -> None:
    found = folder.mistake(text)
    assert told in found.message
    assert (found.line, found.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("connections:\n\traze: {}\n", 2, "with blanks, not with tabs"),
        ("connections:\n  raze:\n    provider: x\n   base_url: y\n", 4, "indent this line"),
        ("connections:\n  raze\n    provider: x\n", 3, "each key"),
        ("connections:\n  raze:\n    provider:x\n    base_url: y\n", 4, "each key"),
        ("state: a: b\n", 1, "needs quotes"),
        ("state: @x\n", 1, "needs quotes"),
        ("state: 'a' b\n", 1, "nothing may follow a closing quote"),
        ("state: off\ncache: 'open\nserver: {}\n", 2, "opened here is not closed"),
        ('state: "a\\z"\n', 1, "single quotes"),
        ("require: [${A}]", 1, "must stand in quotes"),
        ("a: 1\nb\nc: 2\n", 3, "lacks `: `"),
    ],
)
def test_what_is_no_yaml_is_told_with_what_to_do(folder: Folder, text: str, line: int, told: str) -> None:
    found = folder.mistake(text)
    assert found.message.startswith("not YAML: ") and told in found.message
    assert found.line == line


@pytest.mark.parametrize(
    "piece", ["? ", "- ", "[", "{a: ", "'", '"', "a\n", "a: b\n", "- a\n", "a,", "%", "|\n", "\\", "${A", ":"]
)
def test_no_large_file_keeps_us_busy(folder: Folder, piece: str) -> None:
    size = MAX_BYTES // 4  # enough to tell a reader that takes longer than in proportion
    started = time.monotonic()
    folder.mistakes((piece * size)[:size])
    folder.mistakes(("a: [" + piece * size)[:size])
    assert time.monotonic() - started < 8


def test_a_byte_order_mark_is_passed_over(folder: Folder) -> None:
    assert folder.load(b"\xef\xbb\xbf" + one().encode()).default_connection == "raze"


def test_a_doubled_key_is_a_mistake_at_any_depth(folder: Folder) -> None:
    found = folder.mistakes(one("timeout: 1s\ntimeout: 2s\nstages: {a: won, a: lost}", "state: off\nstate: off"))
    assert [mistake.line for mistake in found] == [6, 7, 9]
    assert all("stands here twice" in mistake.message for mistake in found)
    assert "line 5" in found[0].message


def test_a_key_that_is_no_text_or_holds_a_variable_is_a_mistake(folder: Folder) -> None:
    for key in ("[a]", "{a: b}", '"${NAME}"'):
        found = folder.mistake(one(f"stages:\n  ? {key}\n  : won", ""), NAME=CANARY)
        assert "expected a plain word as key" in found.message and CANARY not in str(found)


def test_an_unknown_key_is_told_with_the_nearest_and_all_known_ones(folder: Folder) -> None:
    found = folder.mistake(one("timeot: 3s"))
    assert found.path == "connections.raze.timeot"
    assert "did you mean timeout?" in found.message and "base_url, budget, provider" in found.message
    found = folder.mistake(one("", "limits: {bodi: 1MiB}"))
    assert "did you mean body?" in found.message and "concurrency, per_caller" in found.message
    found = folder.mistake(one("budget: {calls: 1000, per: 1h, burst: 3}"))
    assert "known are calls, per" in found.message


def test_fields_that_the_file_does_not_have_are_unknown_keys(folder: Folder) -> None:
    for key in ("name", "adapter", "budget_from"):
        assert "unknown key" in folder.mistake(one(f"{key}: off")).message


def test_a_key_left_empty_is_a_mistake(folder: Folder) -> None:
    for text in (one("timeout:"), one("", "server:"), one("", "callers: ~"), one("settings: null")):
        assert "nothing is written here" in folder.mistake(text).message


# Text and YAML's traps


def test_keys_and_words_stay_as_they_are_written(folder: Folder) -> None:
    stages = folder.connection("stages: {no: lost, 12: won, 1.0: open, on: closed, 012: won, null: lost}").stages
    expected = {"no": "lost", "12": "won", "1.0": "open", "on": "closed", "012": "won", "null": "lost"}
    assert stages == expected


def test_a_number_is_text_where_text_is_expected(folder: Folder) -> None:
    config = folder.load(f"default_connection: 12\nconnections:\n  12: {{provider: '{FLAT}', base_url: sandbox}}\n")
    assert (config.default_connection, list(config.connections)) == ("12", ["12"])
    key = folder.connection("api_key: 012").api_key
    assert key and key.get_secret_value() == "012"


@pytest.mark.parametrize(
    "port", ["012", "0o12", "0x10", "12:30:00", "1_000", "8080.0", "65536", "-1", "1e3", "yes", "９", "[1]"]
)
def test_a_port_is_plain_decimal_digits(folder: Folder, port: str) -> None:
    assert folder.mistake(one("", f"server: {{port: {port}}}")).path == "server.port"


def test_only_true_and_false_are_truths(folder: Folder) -> None:
    assert folder.load(one("", "idempotency: {required: false}")).idempotency.required is False
    for word in ("yes", "no", "off", "True", "0", "~x"):
        found = folder.mistake(one("", f"idempotency: {{required: {word}}}"))
        assert "expected true or false" in found.message


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("10s", 10), ("500ms", 0.5), ("5m", 300), ("1.5s", 1.5), ('"2s"', 2), ("0.1m", 6), ("1ms", 0.001)],
)
def test_durations_are_read_as_people_write_them(folder: Folder, written: str, seconds: float) -> None:
    assert folder.connection(f"timeout: {written}").timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["10", "10 s", "-1s", "1h30m", "s", "1e3s", ".5s", "12:30:00", "0", "0s", "11m", "1d", "nan", "{}"],
)
def test_a_timeout_that_is_no_duration_or_out_of_bounds_is_a_mistake(folder: Folder, written: str) -> None:
    found = folder.mistake(one(f"timeout: {written}"))
    assert found.path == "connections.raze.timeout" and found.message.startswith("expected a duration")


@pytest.mark.parametrize(
    ("written", "size"),
    [("2048", 2048), ("1MiB", 2**20), ("2MB", 2_000_000), ("64KiB", 65536), ("5kB", 5000), ("4096B", 4096)],
)
def test_sizes_are_read_as_people_write_them(folder: Folder, written: str, size: int) -> None:
    assert folder.load(one("", f"limits: {{body: {written}}}")).limits.body == size


@pytest.mark.parametrize("written", ["0", "-1", "1.5MiB", "012KiB", "1KB", "1 MiB", "65MiB", "1TiB", "lots"])
def test_what_is_no_size_or_out_of_bounds_is_a_mistake(folder: Folder, written: str) -> None:
    found = folder.mistake(one("", f"limits: {{body: {written}}}"))
    assert found.path == "limits.body" and found.message.startswith("expected a size")


def test_workers_are_between_one_and_sixty_four(folder: Folder) -> None:
    assert folder.load(one("", "server: {workers: 64}")).server.workers == 64
    for workers in ("0", "65", "two"):
        assert "from 1 to 64" in folder.mistake(one("", f"server: {{workers: {workers}}}")).message


# Variables


def test_variables_are_replaced_and_then_read_as_the_key_expects(folder: Folder) -> None:
    text = one(
        "timeout: ${SECONDS}s\nstages: {a: '${WHAT:-won}'}",
        "server: {port: '${PORT:-8080}', host: '127.0.${A}.${B}'}",
    )
    config = folder.load(text, SECONDS="3", A="0", B="9")
    assert config.connections["raze"].timeout == 3
    assert config.connections["raze"].stages == {"a": "won"}
    assert (config.server.port, config.server.host) == (8080, "127.0.0.9")
    assert folder.load(text, SECONDS="3", A="0", B="9", PORT="81").server.port == 81


def test_a_default_also_stands_in_for_an_empty_variable(folder: Folder) -> None:
    assert folder.load(one("", "server: {port: '${PORT:-81}'}"), PORT="").server.port == 81


def test_two_dollars_are_one(folder: Folder) -> None:
    key = folder.connection("api_key: a$$b$c$${D}").api_key
    assert key and key.get_secret_value() == "a$b$c${D}"


def test_an_unset_variable_is_a_mistake_that_names_it(folder: Folder) -> None:
    found = folder.mistake(one("timeout: ${SOME_TIME}"))
    assert (found.line, found.path) == (5, "connections.raze.timeout")
    assert found.message.endswith("SOME_TIME is not set in the environment; set it, or write ${SOME_TIME:-default}")


def test_a_malformed_variable_is_a_mistake(folder: Folder) -> None:
    for written in ("${", "${}", "${1A}", "${A B}", "${A:-${B}}", "${A:x}"):
        found = folder.mistake(one(f"timeout: '{written}'"), A="1", B="1")
        assert found.path == "connections.raze.timeout"


def test_a_sandbox_needs_no_key_and_a_variable_that_is_unset_or_empty_is_none(folder: Folder) -> None:
    assert folder.connection("").api_key is None
    assert folder.connection("api_key: ${RAZE_KEY}").api_key is None
    assert folder.connection("api_key: ${RAZE_KEY}", RAZE_KEY="").api_key is None
    assert folder.connection("base_url: '${WHERE}'\napi_key: ${K}", WHERE="sandbox").api_key is None


def test_an_unset_key_of_a_real_connection_is_a_mistake(folder: Folder) -> None:
    found = folder.mistake(one("base_url: https://api.example.com\napi_key: ${RAZE_KEY}"))
    assert found.message == "RAZE_KEY is not set in the environment; set it"  # a key is no default in a file


# Connections


@pytest.mark.parametrize("name", ["a", "raze-2", "0x_y", "a" * 64])
def test_a_connection_may_be_called(folder: Folder, name: str) -> None:
    text = f"connections:\n  {name}: {{provider: '{FLAT}', base_url: sandbox}}"
    assert list(folder.load(text).connections) == [name]


@pytest.mark.parametrize("name", ["Raze", "-a", "_a", "a:b", "a b", "a" * 65, "''", "é"])
def test_a_connection_may_not_be_called(folder: Folder, name: str) -> None:
    text = f"connections:\n  {name}: {{provider: '{FLAT}', base_url: sandbox}}"
    assert "expected a name" in folder.mistake(text).message


@pytest.mark.parametrize(
    ("top", "path", "told"),
    [
        ("state: off\nidempotency: {required: true}", "idempotency.required", "every create would be refused"),
        ("state: off\nserver: {workers: 2}", "server.workers", "cannot tell each other of writes"),
        ("state: off\nserver: {workers: 2}\ncache: {ttl: 0s}", None, ""),
        ("state: off\nidempotency: {required: false}", None, ""),
        ("server: {workers: 2}\nidempotency: {required: true}", None, ""),
    ],
)
def test_what_needs_a_state_is_no_good_without_one(folder: Folder, top: str, path: str | None, told: str) -> None:
    if path is None:
        assert folder.load(one("", top))
    else:
        found = folder.mistake(one("", top))
        assert found.path == path and told in found.message


def test_there_is_at_least_one_connection(folder: Folder) -> None:
    assert "at least one" in folder.mistake("connections: {}").message
    assert folder.mistake("state: off").path == "connections"
    assert "expected a mapping" in folder.mistake("connections: [a]").message
    assert "expected a mapping" in folder.mistake("connections: {a: b}").message


def test_the_default_connection_must_exist_and_is_needed_with_several(folder: Folder) -> None:
    entry = f"{{provider: '{FLAT}', base_url: sandbox}}"
    two = f"connections:\n  a: {entry}\n  b: {entry}\n"
    found = folder.mistake(two)
    assert (found.path, found.message) == ("default_connection", "is missing; expected one of a, b")
    assert folder.load(two + "default_connection: b").default_connection == "b"
    assert "NAMED is not set" in folder.mistake(two + "default_connection: ${NAMED}").message
    found = folder.mistake(two + "default_connection: c")
    assert (found.line, found.message) == (4, "expected one of a, b; got 'c'")
    assert folder.mistake(one("", "default_connection: spott")).path == "default_connection"


def test_an_adapter_that_is_not_installed_is_a_mistake_at_its_line(folder: Folder) -> None:
    for provider, told in (
        ("nosuchcrm", "no adapter named 'nosuchcrm'"),
        ("tests.sample_adapters:Nope", "cannot be imported"),
        ("no.such.module:Nope", "cannot be imported"),
        ("pathlib:Path", "not a subclass"),
        ("tests.sample_adapters:Undeclared", "declares no name"),
        ("..x:Y", "cannot be imported"),
        ("'a b'", "expected an adapter's name"),
        ("''", "expected an adapter's name"),
        ("[a]", "expected an adapter's name"),
    ):
        found = folder.mistake(one(provider=provider))
        assert (found.line, found.path) == (3, "connections.raze.provider")
        assert told in found.message


def test_a_missing_provider_is_told(folder: Folder) -> None:
    found = folder.mistake("connections:\n  raze: {base_url: sandbox}")
    assert found.path == "connections.raze.provider" and found.message.startswith("is missing: the adapter")


def test_a_base_url_is_the_adapters_own_by_default_and_normalised(folder: Folder) -> None:
    assert folder.connection("base_url: https://api.example.com\napi_key: k").base_url == "https://api.example.com"
    bare = f"connections:\n  raze: {{provider: '{FLAT}', api_key: k}}"
    assert folder.load(bare).connections["raze"].base_url == "https://api.flat.example/v1"
    for written, normal in (
        ("http://LOCALHOST:81/", "http://localhost:81"),
        ("https://[::1]:8443/a/b//", "https://[::1]:8443/a/b"),
        ("https://x.example/v1/", "https://x.example/v1"),
    ):
        assert folder.connection(f"base_url: {written}\napi_key: k").base_url == normal


@pytest.mark.parametrize(
    "written",
    [
        "ftp://x.example", "x.example/v1", "https://", "https:///v1", "https://u:p@x.example",
        "https://@x.example",
        "https://x.example/?a=b", "https://x.example/?", "https://x.example/#f", "https://x.example/../v1",
        "https://x.example/a/..", "https://x.example/%2e%2e/v1", "https://x.example/a%2f..%2fb",
        "https://x.example/./v1", "https://x.example:99999", "https://x.example:a", "https://[::1",
        "https://a..b",
        "https://x.example/a//b", "'https://x.example/a b'", "https://x.example/é", "Sandbox", "''",
        "https://x.example\\@y.example", "https://127.1", "//x.example",
    ],
)  # fmt: skip
def test_a_base_url_that_could_lead_elsewhere_is_a_mistake(folder: Folder, written: str) -> None:
    found = folder.mistake(one(f"base_url: {written}\napi_key: k"))
    assert found.path == "connections.raze.base_url"


def test_a_connection_without_a_sandbox_cannot_be_one(folder: Folder) -> None:
    found = folder.mistake(one("base_url: sandbox", provider=FUSSY))
    assert (found.path, found.message) == (
        "connections.raze.base_url",
        "fussy has no sandbox; expected an address",
    )


def test_a_budget_is_the_adapters_own_or_off(folder: Folder) -> None:
    assert folder.connection("").budget_from == "adapter"
    off = folder.connection("budget: off")
    assert (off.budget, off.budget_from) == (None, "off")
    own = folder.connection("budget: {calls: 1000, per: 60m}")
    assert (own.budget, own.budget_from) == (Budget(calls=1000, per=3600), "file")
    none = folder.connection("", provider=FUSSY)
    assert (none.budget, none.budget_from) == (None, "adapter")


def test_a_budget_needs_calls_and_a_window(folder: Folder) -> None:
    assert folder.mistake(one("budget: {calls: 1000}")).path == "connections.raze.budget.per"
    assert folder.mistake(one("budget: {calls: 0, per: 1h}")).path == "connections.raze.budget.calls"
    assert "expected a mapping with calls, per, or off" in folder.mistake(one("budget: none")).message


def test_what_an_adapter_cannot_do_may_not_be_required(folder: Folder) -> None:
    assert folder.connection("require: [get, list]").require == ("get", "list")
    found = folder.mistake(one("require: [get, create]"))
    assert (found.path, found.message) == (
        "connections.raze.require[1]",
        "flat cannot create; it can get, list, update",
    )
    assert "expected one of get, list" in folder.mistake(one("require: [search]")).message
    assert "expected a list" in folder.mistake(one("require: get")).message


def test_a_stage_means_open_won_lost_or_closed(folder: Folder) -> None:
    found = folder.mistake(one("stages:\n  Em negociação: open\n  Fechado: ganho"))
    assert (found.line, found.message) == (7, "expected one of open, won, lost, closed; got 'ganho'")
    assert "expected a mapping" in folder.mistake(one("stages: [won]")).message


def test_settings_are_what_the_adapters_model_makes_of_them(folder: Folder) -> None:
    lines = "settings:\n  amount_attribute: {id: 12, currency: EUR}\n  page: 20\n  quick: true\n  zone: no"
    expected = FussySettings(amount_attribute=Amount(id="12", currency="EUR"), page=20, quick=True, zone="no")
    assert folder.connection(lines, provider=FUSSY).settings == expected
    assert folder.connection("", provider=FUSSY).settings == FussySettings()
    assert folder.connection("settings: {amount_attribute: ~}", provider=FUSSY).settings == FussySettings()


def test_mistakes_in_settings_are_told_at_their_lines(folder: Folder) -> None:
    lines = "settings:\n  amount_attribute:\n    currency: euro\n  dialect: served!\n"
    lines += "  page: 0\n  pag: 1\n  zone: CET"
    found = folder.mistakes(one(lines, provider=FUSSY))
    assert [(mistake.line, mistake.path.removeprefix("connections.raze.settings.")) for mistake in found] == [
        (6, "amount_attribute.id"),
        (7, "amount_attribute.currency"),
        (8, "dialect"),
        (9, "page"),
        (10, "pag"),
        (11, "zone"),
    ]
    assert "pattern" in found[1].message and "'euro'" in found[1].message
    assert "did you mean page?" in found[4].message and "amount_attribute, dialect" in found[4].message
    assert found[5].message == "no zone 'CET'"


def test_settings_of_an_adapter_without_any_are_refused(folder: Folder) -> None:
    assert folder.connection("settings: {}").settings.model_dump() == {}
    assert "unknown key" in folder.mistake(one("settings: {a: 1}")).message
    assert "expected a mapping" in folder.mistake(one("settings: a")).message


# Keys


def test_a_real_connection_needs_a_key(folder: Folder) -> None:
    found = folder.mistake(f"connections:\n  raze: {{provider: '{FLAT}'}}")
    assert found.path == "connections.raze.api_key" and "is missing" in found.message


@pytest.mark.parametrize("key", ["''", "'a b'", '"a\\nb"', "é", '"a\\tb"', "[a]", "{a: b}"])
def test_a_key_is_printable_ascii_without_blanks(folder: Folder, key: str) -> None:
    found = folder.mistake(one(f"api_key: {key}"))
    assert found.path == "connections.raze.api_key" and "printable ASCII without blanks" in found.message


def test_a_key_may_come_from_a_file_beside_the_configuration(folder: Folder) -> None:
    (folder.path / "key.txt").write_text("k-1\n")
    for written in ("key.txt", str(folder.path / "key.txt"), "${DIR:-.}/key.txt"):
        key = folder.connection(f"base_url: https://x.example\napi_key_file: {written}").api_key
        assert key and key.get_secret_value() == "k-1"


def test_a_key_file_that_cannot_be_used_is_a_mistake_that_names_it(folder: Folder) -> None:
    (folder.path / "empty").write_text("\n")
    (folder.path / "blank").write_text(f"{CANARY} {CANARY}")
    (folder.path / "binary").write_bytes(b"\xff\xfe")
    for name, told in (
        ("none", "no such file"), (".", "it is a folder"), ("empty", "is empty"),
        ("blank", "holds no key"), ("binary", "holds no key"), ("x" * 3000, "cannot be read"),
    ):  # fmt: skip
        found = folder.mistake(one(f"api_key_file: {name}"))
        assert found.path == "connections.raze.api_key_file"
        assert told in found.message and f"'{name}'" in found.message and CANARY not in str(found)


def test_a_key_and_a_key_file_exclude_each_other(folder: Folder) -> None:
    (folder.path / "key.txt").write_text("k-1")
    found = folder.mistake(one("api_key: k\napi_key_file: key.txt"))
    assert "not both" in found.message


# Callers


def caller(*lines: str) -> str:
    return one("", "callers:\n" + "".join(f"  - {{{line}}}\n" for line in lines))


def test_a_caller_may_read_everywhere_unless_told_otherwise(folder: Folder) -> None:
    (billing,) = folder.load(caller(f"name: billing, key_sha256: {HASH.upper()}")).callers
    assert billing.name == "billing"
    assert billing.key_sha256 == (HASH,)
    assert billing.scopes == {"opportunities:read"}
    assert billing.connections is None


def test_a_caller_may_have_two_keys_scopes_and_connections(folder: Folder) -> None:
    line = f"name: b, key_sha256: [{HASH}, {OTHER_HASH}], "
    line += "scopes: ['opportunities:write', operator], connections: [raze]"
    (billing,) = folder.load(caller(line)).callers
    assert billing.key_sha256 == (HASH, OTHER_HASH)
    assert billing.scopes == {"opportunities:write", "operator"}
    assert billing.connections == frozenset({"raze"})


@pytest.mark.parametrize(
    ("line", "path", "told"),
    [
        (f"key_sha256: {HASH}", "name", "is missing"),
        ("name: b", "key_sha256", "is missing: SHA-256 of its key"),
        ("name: b, key_sha256: abc", "key_sha256", "64 hexadecimal digits"),
        ("name: b, key_sha256: []", "key_sha256", "at least one"),
        (f"name: b, key_sha256: [{HASH}, x]", "key_sha256[1]", "64 hexadecimal digits"),
        (f"name: 'a b', key_sha256: {HASH}", "name", "expected a name"),
        (f"name: b, key_sha256: {HASH}, scopes: [all]", "scopes[0]", "expected one of opportunities:read"),
        (f"name: b, key_sha256: {HASH}, scopes: []", "scopes", "at least one"),
        (f"name: b, key_sha256: {HASH}, scopes: operator", "scopes", "expected a list"),
        (f"name: b, key_sha256: {HASH}, connections: []", "connections", "at least one"),
        (
            f"name: b, key_sha256: {HASH}, connections: [spott]",
            "connections[0]",
            "expected one of raze; got 'spott'",
        ),
        (f"name: b, key_sha256: {HASH}, scope: [operator]", "scope", "did you mean scopes?"),
    ],
)
def test_a_mistake_in_a_caller_is_told_at_its_key(folder: Folder, line: str, path: str, told: str) -> None:
    found = folder.mistake(caller(line))
    assert found.path == f"callers[0].{path}" and told in found.message


def test_two_callers_share_neither_name_nor_key(folder: Folder) -> None:
    found = folder.mistake(caller(f"name: a, key_sha256: {HASH}", f"name: a, key_sha256: {OTHER_HASH}"))
    assert found.path == "callers[1].name"
    found = folder.mistake(caller(f"name: a, key_sha256: {HASH}", f"name: b, key_sha256: [{HASH.upper()}]"))
    assert found.path == "callers[1].key_sha256[0]" and HASH not in str(found).lower()


@pytest.mark.parametrize("callers", ["", "callers: []\n"])
def test_without_callers_only_loopback_is_served(folder: Folder, callers: str) -> None:
    found = folder.mistake(one("", f"{callers}server: {{host: 0.0.0.0}}"))
    assert found.path == "server.host"
    assert found.message == (
        "without callers only loopback addresses are served; add callers or set server.host to 127.0.0.1"
    )
    config = folder.load(one("", f"{callers}server: {{host: '::1'}}"))
    assert check_exposure(config, "127.0.0.1") is None
    assert check_exposure(config, "192.0.2.1") == found.message


def test_with_callers_any_address_is_served(folder: Folder) -> None:
    config = folder.load(caller(f"name: b, key_sha256: {HASH}") + "server: {host: 0.0.0.0}")
    assert config.server.host == "0.0.0.0"
    assert check_exposure(config, "192.0.2.1") is None


def test_loopback_is_127_of_version_4_and_1_of_version_6_and_localhost() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST")))
    assert not any(
        map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.com", "", "localhost.example", "0", "127.1"))
    )


@pytest.mark.parametrize(
    "host", ["0", "127.1", "2130706433", "0x7f.1", "a_b", "'*'", "''", "[1]", "a..b", "-a", "'[::1]'"]
)
def test_a_host_is_an_address_or_a_name(folder: Folder, host: str) -> None:
    assert "expected an IP address" in folder.mistake(one("", f"server: {{host: {host}}}")).message


# The cache


def test_the_cache_can_be_off_and_its_other_keys_are_read_all_the_same(folder: Folder) -> None:
    config = folder.load(one("", "cache: {ttl: 0s, stale_if_error: 1h, max_bytes: 1MiB}"))
    assert (config.cache.ttl, config.cache.stale_if_error, config.cache.max_bytes) == (0, 3600, 1 << 20)
    assert folder.load(one("", "cache: {ttl: 0}")).cache.ttl == 0
    assert folder.mistake(one("", "cache: {ttl: 0s, stale_if_error: soon}")).path == "cache.stale_if_error"


# Secrets


def everywhere() -> list[str]:
    """Files with the canary in every slot, by variable and written out where the key is a secret one."""
    by_name = [
        "${CANARY}", "x ${CANARY} y", "${UNSET:-" + CANARY + "}", "!${CANARY}",
    ]  # fmt: skip
    top = [
        "default_connection: {}", "state: {}", "server: {{host: {}}}", "server: {{port: {}}}",
        "server: {}", "cache: {}",
        "cache: {{ttl: {}}}", "cache: {{max_bytes: {}}}", "idempotency: {{required: {}}}", "circuit: {}",
        "callers: {}",
        "circuit: {{failures: {}}}", "limits: {{body: {}}}", "callers: [{{name: {}, key_sha256: x}}]",
        "callers: [{}]",
        "callers: [{{name: a, key_sha256: {}}}]", "callers: [{{name: a, key_sha256: [{}]}}]", "unknown: {}",
        "callers: [{{name: a, key_sha256: x, scopes: [{}], connections: [{}]}}]",
    ]  # fmt: skip
    inner = [
        "base_url: {}", "base_url: https://u:{}@x.example", "api_key: {}", "api_key: [{}]",
        "api_key: {{a: {}}}",
        "api_key_file: {}", "timeout: {}", "stages: {}", "stages: {{a: {}}}", "budget: {}",
        "budget: {{calls: {}}}",
        "require: [{}]", "require: {}", "settings: {}", "settings: {{zone: {}}}", "settings: {{page: {}}}",
        "settings: {{dialect: {}}}", "settings: {{amount_attribute: {{id: a, currency: {}}}}}", "unknown: {}",
    ]  # fmt: skip
    texts = []
    for value in by_name:
        quoted = f"'{value}'"
        texts += [one("timeout: x", slot.format(quoted, quoted)) for slot in top]
        texts += [
            one("timeout: x" * ("timeout" not in slot) + "\n" + slot.format(quoted), provider=FUSSY) for slot in inner
        ]
        texts += [one("timeout: x", provider=quoted), f"connections: {{a: {quoted}}}", quoted, f"- {quoted}"]
    plain = [
        f"{CANARY} {CANARY}",
        f"[{CANARY}, ' ']",
        f"{{{CANARY}: 1}}",
        f"!{CANARY} x",
        f"*{CANARY}",
        f"&{CANARY} é",
        f'"{CANARY}\\z"',
        f"!{CANARY}!x y",
    ]
    texts += [one(f"timeout: x\napi_key: {value}") for value in plain]
    texts += [caller(f"name: a, key_sha256: {value}") for value in plain[:3]]
    texts += [
        one(f"base_url: https://user:{CANARY}@x.example\napi_key: k"),
        one(f"base_url: https://x.example/?key={CANARY}\napi_key: k"),
        one("", f"state: mysql://root:{CANARY}@db"),
        one("", f"state: redis://root:{CANARY}@db"),
        one("", f"state: redis://db:{CANARY}/0"),
        one(f"api_key:{CANARY}"),
        f"connections: {{raze: {{provider: '{FLAT}', base_url: sandbox, api_key:{CANARY}}}}}",
        one(f"settings: {{token: {CANARY}}}", provider=FUSSY),
    ]
    return texts


@pytest.mark.parametrize("text", everywhere())
def test_no_mistake_or_repr_or_traceback_shows_a_secret(folder: Folder, text: str) -> None:
    try:
        config = folder.load(text, CANARY=CANARY)
    except ConfigError as error:
        told = [str(error), repr(error), repr(error.mistakes), "".join(traceback.format_exception(error))]
        chain: BaseException | None = error.__context__
        while chain is not None:
            told += [str(chain), repr(chain)]
            chain = chain.__context__
    else:
        told = [str(config), repr(config)]
    assert CANARY not in "\n".join(told)


def test_a_loaded_configuration_shows_no_key(folder: Folder) -> None:
    text = one("api_key: ${K}\nbase_url: https://x.example", f"callers: [{{name: a, key_sha256: {HASH}}}]\n")
    config = folder.load(text, K=CANARY)
    shown = f"{config!r}{config}{config.model_dump()}{config.connections['raze']}"
    assert CANARY not in shown and "**********" in shown
    assert HASH not in f"{config!r}{config}"
    key = config.connections["raze"].api_key
    assert isinstance(key, SecretStr) and key.get_secret_value() == CANARY


def test_a_models_own_message_is_not_told_if_it_quotes_what_came_from_a_variable(folder: Folder) -> None:
    found = folder.mistake(one("settings: {zone: '${Z}'}", provider=FUSSY), Z=CANARY)
    assert found.path == "connections.raze.settings.zone" and CANARY not in found.message


def test_a_configuration_cannot_be_changed(folder: Folder) -> None:
    config = folder.load(one())
    with pytest.raises(ValidationError):
        config.state = "off"  # type: ignore[misc]  # what must not be possible


# The schema and the file shown to newcomers


def parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Every object with properties in the schema."""
    found = [schema] if "properties" in schema else []
    for value in schema.values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                found += parts(inner)
    return found


def test_the_schema_is_one_and_describes_every_key() -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["connections"]
    for part in parts(schema):
        assert part["additionalProperties"] is False
        for key, value in part["properties"].items():
            described = value.get("description") or schema["$defs"][value["$ref"].rpartition("/")[2]]["description"]
            assert described, key
            if "default" in value:
                own = {name: inner for name, inner in value.items() if name != "default"}
                jsonschema.validate(value["default"], {**own, "$defs": schema["$defs"]})


def test_the_schema_takes_what_people_write_and_nothing_else() -> None:
    check = jsonschema.Draft202012Validator(config_schema())
    good: dict[str, Any] = {
        "connections": {
            "raze": {
                "provider": "getraze", "base_url": "sandbox", "api_key": "${K}", "timeout": "500ms",
                "stages": {"no": "lost"},
                "budget": {"calls": 1000, "per": "1h"}, "require": ["get"], "settings": {"any": {"thing": 1}},
            },
            "spott": {"provider": "spott", "budget": "off", "api_key_file": "/run/key"},
        },
        "server": {"host": "127.0.0.1", "port": "${PORT:-8080}", "workers": 2},
        "callers": [{"name": "b", "key_sha256": HASH}, {"name": "c",
        "key_sha256": [OTHER_HASH], "connections": ["raze"]}],
        "cache": {"ttl": 0, "stale_if_error": "5m", "max_bytes": "64MiB"},
        "state": "off", "circuit": "off", "limits": {"body": 262144},
    }  # fmt: skip
    check.validate(good)
    for key, value in (
        ("server", {"port": 65536}),
        ("cache", {"ttl": "soon"}),
        ("circuit", "on"),
        ("colour", 1),
        ("limits", {"body": 10}),
        ("limits", {"body": 2**40}),
        *(("connections", {"raze": {"provider": "getraze", "timeout": nought}}) for nought in (0, "0", "0s", "0.00ms")),
    ):
        assert not check.is_valid({**good, key: value}), value


def test_the_schema_holds_no_field_that_the_file_has_not() -> None:
    keys = config_schema()["$defs"]["ConnectionConfig"]["properties"].keys()
    assert not keys & {"name", "adapter", "budget_from"} and "api_key_file" in keys


def test_a_changed_schema_changes_nobody_elses() -> None:
    config_schema()["properties"].clear()
    assert config_schema()["properties"]


def newcomers(text: str) -> str:
    return text.replace("provider: getraze", f"provider: {FLAT}").replace("provider: spott", f"provider: {FLAT}")


def test_the_file_for_newcomers_loads_without_any_variable(folder: Folder) -> None:
    config = folder.load(newcomers((ROOT / "config.yaml").read_text()))
    assert config.default_connection == "raze"
    assert [(c.name, c.base_url, c.api_key) for c in config.connections.values()] == [
        ("raze", "sandbox", None),
        ("spott", "sandbox", None),
    ]


def test_the_lines_that_are_commented_out_there_show_every_other_key_with_its_default(folder: Folder) -> None:
    text = (ROOT / "config.yaml").read_text()
    shown = re.sub(r"^( *)# (?=(?!api_key_file)[a-z_]+: )", r"\1", text, flags=re.MULTILINE)
    assert folder.load(newcomers(shown)).model_copy(update={"connections": {}}) == folder.load(
        newcomers(text)
    ).model_copy(update={"connections": {}})
    words = set(re.findall(r"[a-z_0-9]+(?=:)", text))
    for part in parts(config_schema()):
        assert part["properties"].keys() <= words
    jsonschema.validate(yaml.safe_load(shown), config_schema())


# Junk

_KEYS = sorted({key for part in parts(config_schema()) for key in part["properties"]} | {"raze", "no", "a b", ""})
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["off", "10s", "sandbox", FLAT, FUSSY, "${A}", "${B:-1}", "https://x.example", HASH, "raze", "get"]
    ),
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5)),
    max_leaves=20,
)
_RELAXED = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check_junk(folder: Folder, text: str) -> None:
    try:
        folder.load(text.encode("utf-8", "surrogatepass"), A="1")
    except ConfigError as error:
        assert error.mistakes
        assert list(error.mistakes) == sorted(error.mistakes, key=lambda mistake: mistake.line)


@_RELAXED
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("{}[]:,-?!&*#|>'\"%@`$ \n\t~\\<=")), max_size=60))
def test_random_text_raises_nothing_but_config_error(folder: Folder, text: str) -> None:
    check_junk(folder, text)
    check_junk(folder, one() + text)


@_RELAXED
@given(_TREES)
def test_random_trees_raise_nothing_but_config_error(folder: Folder, tree: Any) -> None:
    check_junk(folder, yaml.safe_dump(tree, allow_unicode=True))


@_RELAXED
@given(
    st.dictionaries(st.sampled_from(_KEYS), _TREES, max_size=6),
    st.dictionaries(st.sampled_from(_KEYS), _TREES, max_size=6),
)
def test_random_values_under_known_keys_raise_nothing_but_config_error(
    folder: Folder, top: dict[str, Any], inner: dict[str, Any]
) -> None:
    connection = {"provider": FUSSY, **inner}
    check_junk(folder, yaml.safe_dump({**top, "connections": {"raze": connection}}))


def test_a_connection_can_be_made_without_a_file() -> None:
    connection = ConnectionConfig(name="a", provider="fussy", adapter=Fussy, timeout=5.0, api_key=SecretStr("k"))
    assert (connection.base_url, connection.budget, connection.timeout) == (
        "https://api.flat.example/v1",
        None,
        5,
    )
    assert Config(connections={"a": connection}).default_connection == "a"
