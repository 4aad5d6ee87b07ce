"""The command line: what each command prints, where, and with which exit status."""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from tests.live import EXAMPLES, SANDBOXES, ask, assert_problem

RAZE = "opp_abc123def456"
SPOTT = "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77"
CANONICAL = json.loads((EXAMPLES / "getraze-get.canonical.json").read_text())


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config.yaml of two sandboxes in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRM_GATEWAY_CONFIG", raising=False)
    path = tmp_path / "config.yaml"
    path.write_text(SANDBOXES)
    return path


def run(*arguments: str, stdin: str | bytes | None = None, env: Mapping[str, str] | None = None) -> Result:
    """The command in this process; a traceback is a failure whatever the test asks for."""
    done = CliRunner().invoke(main, list(arguments), input=stdin, env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    return done


def data(done: Result) -> Any:
    """What `--json` printed: one document on one line, and nothing else."""
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("\n") == 1 and done.stdout.endswith("\n")
    return json.loads(done.stdout)


def lines(done: Result) -> list[str]:
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines()


# --- reading ---------------------------------------------------------------------------------------------------------


def test_get_prints_the_record_as_json(config: Path) -> None:
    assert data(run("get", f"raze:{RAZE}", "--json")) == {"data": CANONICAL, "meta": {"issues": []}}
    assert data(run("get", RAZE, "--json"))["data"]["id"] == f"raze:{RAZE}"
    spott = json.loads((EXAMPLES / "spott-get.canonical.json").read_text())
    assert data(run("get", f"spott:{SPOTT}", "--json"))["data"] == spott


def test_get_prints_the_record_as_a_table(config: Path) -> None:
    printed = lines(run("get", f"raze:{RAZE}"))
    assert printed[0].split() == ["field", "value"]
    assert set(printed[1]) <= {"-", " "}
    assert any(line.split() == ["amount.value", "50000.00"] for line in printed)
    assert any(line.startswith("contacts[0].title") and line.endswith("CEO") for line in printed)


def test_get_explains_and_gives_the_raw_record_where_asked(config: Path) -> None:
    meta = data(run("get", f"raze:{RAZE}", "--json", "--explain", "--raw"))["meta"]
    assert meta["raw"]["deal_currency"] == "BRL"
    assert meta["explain"]["name"]["from"] == ["/name"]


@pytest.mark.parametrize("id_", ["raze:opp_nothing", "nobody:x", "a%2Fb", "raze:"])
def test_get_of_what_is_not_there_fails_with_a_word_on_standard_error(config: Path, id_: str) -> None:
    done = run("get", id_)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error: " in done.stderr
    done = run("get", id_, "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    problem = json.loads(done.stderr.splitlines()[-1])
    assert problem["code"] in ("not-found", "invalid-request")


def test_list_prints_a_page_and_where_the_next_one_starts(config: Path) -> None:
    first = data(run("list", "--json", "--limit", "3"))
    assert len(first["data"]) == 3 and first["page"]["limit"] == 3
    second = data(run("list", "--json", "--limit", "3", "--cursor", first["page"]["next_cursor"]))
    assert {one["id"] for one in first["data"]}.isdisjoint(one["id"] for one in second["data"])


def test_list_prints_a_table_with_a_line_a_record(config: Path) -> None:
    done = run("list", "--limit", "4", "--connection", "spott")
    printed = lines(done)
    assert printed[0].split() == ["id", "name", "status", "stage", "amount", "owner"]
    assert len(printed) == 6
    assert all(line.startswith("spott:") for line in printed[2:])
    assert "--cursor" in done.stderr and "--cursor" not in done.stdout


def test_list_takes_filters_and_sorts(config: Path) -> None:
    won = data(run("list", "--json", "--status", "won", "--sort", "-amount", "--limit", "100"))
    assert won["data"] and {one["status"] for one in won["data"]} == {"won"}
    assert won["meta"]["filters"]["status"] == {"mode": "native"}
    mine = data(run("list", "--json", "--owner", "Sales Rep", "--company", "Acme Inc"))
    assert [one["id"] for one in mine["data"]] == [f"raze:{RAZE}"]


def test_a_list_in_an_order_that_holds_among_a_part_of_it_only_says_so(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort = ["list", "--sort", "-amount", "--limit", "3"]
    assert "order" not in run(*sort).stderr
    monkeypatch.setattr("gateway.listing.SORTED", 5)
    done = run(*sort)
    assert len(lines(done)) == 5
    assert "note: the order holds among " in done.stderr and "there are more" in done.stderr


def test_list_under_strict_handling_fails_where_it_would_have_to_emulate(config: Path) -> None:
    done = run("list", "--strict", "--status", "open")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "not-native" in done.stderr and "status" in done.stderr


def test_list_fails_for_a_cursor_that_is_none_and_for_an_unknown_connection(config: Path) -> None:
    for arguments in (["--cursor", "x"], ["--connection", "nobody"], ["--connection", "spott", "--source", "x"]):
        done = run("list", *arguments)
        assert (done.exit_code, done.stdout) == (1, "")


def test_connections_are_listed_as_a_table_and_as_json(config: Path) -> None:
    printed = lines(run("connections"))
    assert len(printed) == 4
    assert printed[2].split()[:3] == ["raze", "getraze", "yes"]
    assert "create" in printed[2] and "create" not in printed[3]
    listed = data(run("connections", "--json"))["data"]
    assert [one["name"] for one in listed] == ["raze", "spott"]


# --- writing ---------------------------------------------------------------------------------------------------------

DRAFT = '{"name":"Jane","amount":{"value":75000.10,"currency":"BRL"},"expected_close":{"on":"2026-01-01"}}'


def test_create_prints_the_new_record_and_its_ledger(config: Path, tmp_path: Path) -> None:
    (tmp_path / "draft.json").write_text(DRAFT)
    created = data(run("create", "draft.json", "--json"))
    assert created["data"]["amount"] == {"value": "75000.10", "currency": "BRL"}
    assert created["meta"]["applied"] == ["name", "amount"]
    assert [one["reason"] for one in created["meta"]["not_applied"]] == ["unsupported"]
    piped = run("create", "-", stdin=DRAFT)
    assert any(line.split() == ["amount.value", "75000.10"] for line in lines(piped))
    assert "not applied: expected_close" in piped.stderr and "not applied" not in piped.stdout


def test_create_fails_where_the_provider_cannot_or_the_draft_is_wrong(config: Path) -> None:
    for arguments, stdin, word in (
        (["--connection", "spott"], DRAFT, "operation-not-supported"),
        (["--strict"], DRAFT, "not-writable"),
        ([], "{}", "invalid-opportunity"),
        ([], '{"name":"J","source":"fax"}', "provider-rejected"),
        (["--connection", "nobody"], DRAFT, "not-found"),
    ):
        done = run("create", "-", *arguments, stdin=stdin)
        assert (done.exit_code, done.stdout) == (1, "")
        assert word in done.stderr


def test_update_prints_the_changed_record(config: Path) -> None:
    changed = data(run("update", f"raze:{RAZE}", "-", "--json", stdin='{"status":"won","amount":{"currency":"USD"}}'))
    assert changed["data"]["status"] == "won"
    assert changed["data"]["amount"] == {"value": "50000.00", "currency": "USD"}
    assert sorted(changed["meta"]["applied"]) == ["amount", "status"]
    assert data(run("update", f"spott:{SPOTT}", "--json", stdin='{"description":null}'))["data"]["description"] is None


def test_delete_prints_nothing_but_data(config: Path) -> None:
    assert data(run("delete", f"raze:{RAZE}", "--json")) == {"deleted": f"raze:{RAZE}"}
    done = run("delete", f"raze:{RAZE}")
    assert (done.exit_code, done.stdout) == (0, "")
    assert run("delete", "raze:opp_nothing").exit_code == 1
    done = run("delete", f"spott:{SPOTT}")
    assert done.exit_code == 1 and "operation-not-supported" in done.stderr


# --- used wrongly ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"], ["get"], ["get", "a", "b"], ["get", "a", "--colour"], ["list", "--limit", "0"],
        ["list", "--limit", "101"], ["list", "--limit", "abc"], ["list", "--status", "OPEN"], ["list", "--sort", "x"],
        ["list", "--modified-since", "yesterday"], ["translate"], ["translate", "--from", "getraze"],
        ["translate", "-", "--from", "nope", "--to", "canonical"], ["translate", "-", "--from", "getraze", "--to", "x"],
        ["serve", "--port", "70000"], ["serve", "--workers", "0"], ["create", "no-such-file.json"],
        ["update", "raze:x", "no-such-file.json"],
    ],
)  # fmt: skip
def test_a_command_used_wrongly_exits_with_2_and_prints_nothing(config: Path, arguments: list[str]) -> None:
    done = run(*arguments, stdin="{}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")


@pytest.mark.parametrize("text", ["", "{", '{"name":1,"name":2}', '{"name":NaN}', "name=J"])
@pytest.mark.parametrize("command", [["create", "-"], ["update", f"raze:{RAZE}", "-"],
                                     ["translate", "-", "--from", "canonical", "--to", "getraze"]])  # fmt: skip
def test_a_file_that_is_no_strict_json_is_used_wrongly(config: Path, command: list[str], text: str) -> None:
    done = run(*command, stdin=text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "JSON" in done.stderr


def test_help_and_version_are_data() -> None:
    for arguments in (["--help"], ["get", "--help"], ["--version"]):
        done = run(*arguments)
        assert done.exit_code == 0 and done.stdout and done.stderr == ""


def test_every_command_that_prints_a_table_has_json() -> None:
    help_ = run("--help").stdout
    for name in ("serve", "check-config", "connections", "get", "list", "create", "update", "delete", "translate",
                 "hash-key"):  # fmt: skip
        assert f"  {name} " in help_
        if name != "serve":
            assert "--json" in run(name, "--help").stdout
        if name not in ("translate", "hash-key"):
            assert "--config" in run(name, "--help").stdout


# --- the configuration -----------------------------------------------------------------------------------------------


def test_check_config_says_that_a_good_file_is_good(config: Path) -> None:
    done = run("check-config")
    assert done.exit_code == 0 and "raze" in done.stdout and done.stderr == ""
    assert data(run("check-config", "--json")) == {"ok": True, "mistakes": []}


BROKEN = """\
default_connection: nobody
connections:
  raze:
    provider: getraze
    base_url: ftp://x
    timeout: soon
    colour: red
    api_key: x
  spott: {provider: nothing, api_key: x}
server: {port: 99999}
"""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://crm.example", True),
        ("https://crm.example", False),
        ("http://127.0.0.1:9", False),
        ("http://[::1]:9", False),
    ],
)
def test_a_key_that_goes_out_unencrypted_is_noted(config: Path, url: str, told: bool) -> None:
    config.write_text(f"connections: {{raze: {{provider: getraze, base_url: '{url}', api_key: it}}}}\n")
    done = run("check-config")
    assert done.exit_code == 0 and "good" in done.stdout
    assert ("connection raze: its key and its records go to crm.example unencrypted" in done.stderr) is told, (
        done.stderr
    )


def test_check_config_says_every_mistake_with_its_line(config: Path) -> None:
    config.write_text(BROKEN)
    done = run("check-config")
    assert (done.exit_code, done.stdout) == (1, "")
    for line in (1, 5, 6, 7, 9, 10):
        assert f"config.yaml:{line}:" in done.stderr, done.stderr
    done = run("check-config", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert [one["line"] for one in told["mistakes"]] == [1, 5, 6, 7, 9, 10]
    assert {"file", "line", "column", "path", "message"} == set(told["mistakes"][0])


@pytest.mark.parametrize(
    "command", [["serve"], ["connections"], ["get", "a"], ["list"], ["create", "-"], ["delete", "a"]]
)
def test_every_command_on_a_broken_file_fails_with_the_same_words(config: Path, command: list[str]) -> None:
    config.write_text(BROKEN)
    done = run(*command, stdin="{}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "config.yaml:6:" in done.stderr


def test_a_missing_or_empty_file_is_a_mistake_and_no_traceback(config: Path) -> None:
    config.write_text("")
    assert run("check-config").exit_code == 1
    config.unlink()
    done = run("check-config")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "config.yaml" in done.stderr


def test_the_file_is_the_options_then_the_environments_then_the_current_folders(config: Path, tmp_path: Path) -> None:
    for name in ("given", "environment"):
        (tmp_path / f"{name}.yaml").write_text(SANDBOXES.replace("raze:", f"{name}:").replace(" raze", f" {name}"))
    told = data(run("connections", "--json", env={"CRM_GATEWAY_CONFIG": str(tmp_path / "environment.yaml")}))
    assert told["data"][0]["name"] == "environment"
    told = data(run("connections", "--json", "--config", str(tmp_path / "given.yaml"),
                    env={"CRM_GATEWAY_CONFIG": str(tmp_path / "environment.yaml")}))  # fmt: skip
    assert told["data"][0]["name"] == "given"
    assert data(run("connections", "--json"))["data"][0]["name"] == "raze"


def test_a_secret_of_the_file_is_never_printed(config: Path) -> None:
    secret = "upstream-canary-31"  # noqa: S105  # nobody's
    config.write_text(
        f"connections:\n  raze: {{provider: getraze, base_url: 'http://127.0.0.1:9', api_key: {secret}, timeout: 1s}}\n"
    )
    broken = f"connections:\n  raze: {{provider: getraze, api_key: [{secret}], timeout: {secret}x}}\n"
    for command in (["check-config"], ["connections"], ["connections", "--json"], ["get", "a"], ["list", "--json"]):
        assert secret not in run(*command).output
    config.write_text(broken)
    assert "api_key" in run("check-config").stderr


# --- translate and hash-key ------------------------------------------------------------------------------------------


def test_translate_goes_both_ways(config: Path, tmp_path: Path) -> None:
    spott = EXAMPLES / "spott-get.documented.json"
    canonical = run("translate", "--from", "spott", "--to", "canonical", str(spott))
    assert json.loads(canonical.stdout)["name"] == "Senior engineers for Globex"
    back = run("translate", "--from", "canonical", "--to", "spott", "-", stdin=canonical.stdout)
    assert back.exit_code == 0
    assert json.loads(back.stdout) == json.loads(spott.read_text())
    told = data(run("translate", "--from", "spott", "--to", "getraze", "--json", str(spott)))
    assert set(told) == {"data", "meta"} and told["meta"]["not_applied"]


def test_translate_needs_no_configuration_and_keeps_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("translate", "--from", "getraze", "--to", "canonical", "-",
               stdin='{"id":"x","name":"n","deal_value":12345678901234567890.10,"deal_currency":"BRL"}')  # fmt: skip
    assert done.exit_code == 0 and '"value":"12345678901234567890.10"' in done.stdout
    done = run(
        "translate", "--from", "canonical", "--to", "getraze", "-", stdin='{"amount":{"value":"0.10","currency":"BRL"}}'
    )
    assert '"deal_value":0.10' in done.stdout


def test_translate_of_something_that_is_no_record_fails(config: Path) -> None:
    done = run("translate", "--from", "getraze", "--to", "canonical", "-", stdin="[]")
    assert (done.exit_code, done.stdout) == (1, "")


def test_hash_key_prints_the_sha_256_of_what_it_reads(config: Path) -> None:
    digest = hashlib.sha256(b"a-good-key").hexdigest()
    assert run("hash-key", stdin="a-good-key\n").stdout == f"{digest}\n"
    assert data(run("hash-key", "--json", stdin="a-good-key")) == {"key_sha256": digest}
    made = data(run("hash-key", "--new", "--json"))
    assert hashlib.sha256(made["key"].encode()).hexdigest() == made["key_sha256"]
    for text in ("", "two words", "clé"):
        assert run("hash-key", stdin=text).exit_code == 2


# --- serve, as a process ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[str]:
    """The URL that `python -m gateway serve` prints, until the block ends."""
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), process.stderr.read() if process.stderr else ""
        yield url
    finally:
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert out == "", "nothing but the address belongs on standard output"
    assert "Traceback" not in err
    assert process.returncode in (0, -signal.SIGTERM), (process.returncode, err)


def test_one_changed_word_in_the_file_switches_who_answers(config: Path) -> None:
    shipped = (Path(__file__).parent.parent / "config.yaml").read_text()
    config.write_text(shipped)
    with serving(config.parent) as url:
        answer = ask(f"{url}/v1/opportunities/{RAZE}")
        assert (answer.status, answer.data) == (200, CANONICAL)
        assert ask(f"{url}/v1/opportunities").headers["x-crm-connection"] == "raze"
    config.write_text(shipped.replace("default_connection: raze", "default_connection: spott"))
    with serving(config.parent) as url:
        answer = ask(f"{url}/v1/opportunities/{SPOTT}")
        assert answer.data == json.loads((EXAMPLES / "spott-get.canonical.json").read_text())
        assert ask(f"{url}/v1/opportunities").headers["x-crm-connection"] == "spott"
        # An id stays good after the switch.
        assert ask(f"{url}/v1/opportunities/raze:{RAZE}").data == CANONICAL


def test_two_workers_serve_the_same_sandbox(config: Path) -> None:
    with serving(config.parent, "--workers", "2") as url:
        made = ask(f"{url}/v1/opportunities", "POST", {"Content-Type": "application/json"}, '{"name":"Jane"}')
        assert made.status == 201
        for _ in range(12):  # a connection each, so that both workers are met
            assert ask(f"{url}{made.headers['location']}").data == made.data
        assert_problem(ask(f"{url}/nothing"), 404, "not-found")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("redis://localhost:1/0", "pip install 'crm-gateway[redis]'"),
        ("rediss://user:canary@localhost:1/0", "pip install 'crm-gateway[redis]'"),
        ("sqlite:////nowhere-canary/dir/x.db", "folder does not exist"),
        ("sqlite:///nowhere-canary/x.db", "make it"),
        ("redis://canary:99999999/0", "a port from 1 to 65535"),
        ("sqlite:///x.db?canary=1", "no options"),
    ],
)
def test_a_state_store_that_can_never_be_opened_is_a_mistake_of_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch, state: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)  # as where it is not installed
    config.write_text(f"{SANDBOXES}state: {state}\n")
    line = SANDBOXES.count("\n") + 1
    for command in ("check-config", "serve"):
        done = run(command)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f":{line}:1: state: " in done.stderr and said in done.stderr and "canary" not in done.stderr


def test_every_command_takes_a_configuration_and_json_wherever_a_table_is_printed() -> None:
    options = {
        name: {one for parameter in command.params for one in parameter.opts} for name, command in main.commands.items()
    }
    assert set(options) == {
        "serve", "check-config", "connections", "get", "list", "create", "update", "delete", "translate", "export", "check",
        "new-adapter", "docs", "hash-key", "reload", "outcomes",
    }  # fmt: skip
    assert [name for name, given in options.items() if "--config" not in given] == []
    without = {"serve", "reload", "export", "new-adapter", "docs"}  # what they print is no table
    assert {name for name, given in options.items() if "--json" not in given} == without
    hashed = run("hash-key", "--config", "nowhere.yaml", stdin="a-key")
    assert hashed.exit_code == 0 and len(lines(hashed)) == 1


def test_a_port_that_is_taken_is_told_and_fails(config: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port))
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use; --host and --port, or " in done.stderr


def test_a_failing_command_as_a_process_exits_with_1_and_a_wrong_one_with_2(config: Path) -> None:
    for arguments, status in ((["get", "nobody:x"], 1), (["get"], 2), (["connections", "--json"], 0)):
        done = subprocess.run([sys.executable, "-m", "gateway", *arguments], capture_output=True, text=True, timeout=60,
                              check=False, cwd=config.parent)  # fmt: skip
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert bool(done.stdout) is (status == 0)
