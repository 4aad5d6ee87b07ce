"""`crm-gateway export`: every record once, as it comes, whole or not there, and gone on with where it was interrupted."""

import contextlib
import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.getraze.sandbox_seeds import seeds
from gateway.exporting import COLUMNS, ToFile, cells, write_parquet
from gateway.shape import leaf_paths
from tests.live import SANDBOXES, Says, Seen, StandIn
from tests.operating import PATIENCE, ROOT, until
from tests.test_api_listing import item, page
from tests.test_cli import run

TOTAL = 530
SEEDS = {f"raze:{seed.id}" for seed in seeds()}


class Provider:
    """A provider of 530 records that fails, or waits, from a page on."""

    def __init__(self) -> None:
        self.records = [item(n, company='A "quoted", name\r\nof two lines') for n in range(TOTAL)]
        self.fails_from = self.waits_from = 99
        self.goes_on = threading.Event()
        self.asked: list[int] = []
        self.before: Callable[[], None] = lambda: None

    def __call__(self, seen: Seen) -> Says:
        number, size = int(seen.query["page"]), int(seen.query["limit"])
        self.before()
        self.asked.append(number)
        if number >= self.waits_from:
            self.goes_on.wait(PATIENCE)
        if number >= self.fails_from:
            return Says(500)
        return Says(200, page(self.records[(number - 1) * size : number * size], number, -(-TOTAL // size)))


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """It, and the connection to it as the configuration of the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRM_GATEWAY_CONFIG", raising=False)
    provider = Provider()
    with StandIn() as stand_in:
        stand_in.play(provider)
        (tmp_path / "config.yaml").write_text(
            f"connections: {{raze: {{provider: getraze, base_url: '{stand_in.url}', api_key: x, budget: off, "
            "settings: {dialect: documented}}}\ncircuit: off\nstate: off\n"
        )
        yield provider
        provider.goes_on.set()


def natives(lines: str | bytes) -> list[str]:
    """The native ids in lines of JSON."""
    return [json.loads(line)["native_id"] for line in lines.splitlines()]


ALL = [f"opp_{n}" for n in range(TOTAL)]


# --- what is written -------------------------------------------------------------------------------------------------


def test_lines_of_json_are_what_the_list_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text(SANDBOXES)
    monkeypatch.chdir(tmp_path)
    done = run("export")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and {one["id"] for one in records} == SEEDS and len(records) == len(SEEDS)
    listed = json.loads(run("list", "--json", "--limit", "100").stdout)["data"]
    assert records == listed
    assert f"{len(SEEDS)} opportunities" in done.stderr
    won = run("export", "--status", "won", "--connection", "raze")
    assert {json.loads(line)["status"] for line in won.stdout.splitlines()} == {"won"}


def test_every_canonical_field_has_its_column_in_csv_and_nothing_in_it_breaks_a_row(provider: Provider) -> None:
    done = run("export", "--format", "csv")
    assert done.exit_code == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout_bytes.decode(), newline="")))
    assert [row["native_id"] for row in rows] == ALL
    assert {row["company.name"] for row in rows} == {'A "quoted", name\r\nof two lines'}
    assert rows[0]["amount.value"] == "1" and rows[0]["complete"] == "false" and rows[0]["description"] == ""
    assert tuple(rows[0]) == COLUMNS
    tops = {path.partition("[]")[0] for path in leaf_paths()}
    assert tops | {"id", "connection", "provider", "complete", "extensions"} == set(COLUMNS)


def test_cells_tell_lists_as_json_and_nothing_for_what_is_missing_or_null() -> None:
    told = dict(zip(COLUMNS, cells({"id": "a:1", "stage": None, "amount": {"value": "1.50"}, "complete": True,
                                    "contacts": [{"name": "Ann"}], "extensions": {"/x": 2**64}}), strict=True))  # fmt: skip
    assert {name: value for name, value in told.items() if value is not None} == {
        "id": "a:1", "amount.value": "1.50", "complete": "true", "contacts": '[{"name":"Ann"}]',
        "extensions": '{"/x":18446744073709551616}',
    }  # fmt: skip


def test_a_parquet_file_holds_the_same_cells(provider: Provider, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for arguments in (["--output", "all.parquet"], []):
        done = run("export", "--format", "parquet", *arguments)
        assert done.exit_code == 0, done.stderr
        found = parquet.read_table(io.BytesIO(done.stdout_bytes) if not arguments else tmp_path / "all.parquet")
        assert tuple(found.column_names) == COLUMNS and found.column("native_id").to_pylist() == ALL
        assert found.column("description").null_count == TOTAL
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "all.parquet"}


def test_parquet_goes_through_a_pipe_in_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("gateway.exporting.ROWS", 100)
    ours, theirs = os.pipe()
    got: list[bytes] = []

    def take() -> None:
        with os.fdopen(ours, "rb") as source:
            got.append(source.read())

    read = threading.Thread(target=take)
    read.start()
    with os.fdopen(theirs, "wb") as target:
        write_parquet(io.BytesIO(b"".join(b'{"id":"a:%d"}\n' % n for n in range(250))), target)
    read.join(PATIENCE)
    found = parquet.ParquetFile(io.BytesIO(got[0]))
    assert found.num_row_groups == 3 and found.read().column("id").to_pylist() == [f"a:{n}" for n in range(250)]


def test_without_its_package_parquet_says_what_to_install_before_anything_is_asked(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run("export", "--format", "parquet", "--output", "x")
    assert (done.exit_code, done.stdout) == (1, "") and "pip install 'crm-gateway[parquet]'" in done.stderr
    assert provider.asked == []


def test_what_cannot_be_read_is_left_out_and_counted(provider: Provider) -> None:
    provider.records[7] = {"name": "no id"}
    provider.records[8] = item(8, deal_value="lots")
    done = run("export")
    assert done.exit_code == 0 and natives(done.stdout) == [one for one in ALL if one != "opp_7"]
    assert f"{TOTAL - 1} opportunities, 1 could not be read, 1 values in them could not be read" in done.stderr


# --- as it comes -----------------------------------------------------------------------------------------------------


def test_no_more_than_a_page_is_held(provider: Provider, tmp_path: Path) -> None:
    """When a page is asked for, all those before it are in the file."""
    held: list[int] = []
    part = tmp_path / "all.part"
    provider.before = lambda: held.append(len(part.read_bytes().splitlines()) if part.exists() else 0)
    assert run("export", "--output", "all").exit_code == 0
    assert held == [0, 100, 200, 300, 400, 500]


def test_a_file_is_there_once_it_is_whole_and_not_before(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("of yesterday")
    seen: list[str] = []
    provider.before = lambda: seen.append((tmp_path / "all.csv").read_text())
    done = run("export", "--format", "csv", "--output", "all.csv")
    assert (done.exit_code, done.stdout) == (0, "") and set(seen) == {"of yesterday"}
    assert len((tmp_path / "all.csv").read_text().splitlines()) > TOTAL
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "all.csv"}


# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_an_export_that_failed_goes_on_behind_its_last_page(provider: Provider, tmp_path: Path, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    command = ["export", "--format", form, "--output", "all"]
    assert run(*command).exit_code == 0
    whole = (tmp_path / "all").read_bytes()
    (tmp_path / "all").unlink()
    provider.fails_from = 4
    done = run(*command)
    assert done.exit_code == 1 and not (tmp_path / "all").exists()
    assert "provider-error" in done.stderr and "300 opportunities are written; --resume goes on" in done.stderr
    with (tmp_path / "all.part").open("ab") as part:
        part.write(b'{"half a line')
    provider.fails_from = 99
    provider.asked.clear()
    done = run(*command, "--resume")
    assert done.exit_code == 0, done.stderr
    assert provider.asked == [4, 5, 6] and f"{TOTAL} opportunities" in done.stderr
    assert (tmp_path / "all").read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "all"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_export_that_was_killed_goes_on_too(provider: Provider, tmp_path: Path, number: signal.Signals) -> None:
    provider.waits_from = 3
    process = subprocess.Popen([sys.executable, "-m", "gateway", "export", "--output", "all"], cwd=tmp_path,
                               env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)  # fmt: skip
    until(lambda: 3 in provider.asked)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0 and not (tmp_path / "all").exists()
    assert number == signal.SIGKILL or (b"--resume goes on" in said and b"Traceback" not in said)
    provider.waits_from = 99
    provider.goes_on.set()
    assert run("export", "--output", "all", "--resume").exit_code == 0
    assert natives((tmp_path / "all").read_bytes()) == ALL


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_standard_output_goes_on_at_the_cursor_that_its_end_told(provider: Provider, form: str) -> None:
    whole = run("export", "--format", form).stdout_bytes
    provider.fails_from = 3
    first = run("export", "--format", form)
    assert first.exit_code == 1
    [cursor] = [words.split()[0] for words in first.stderr.split("--cursor ")[1:]]
    provider.fails_from = 99
    rest = run("export", "--format", form, "--cursor", cursor)
    assert rest.exit_code == 0 and first.stdout_bytes + rest.stdout_bytes == whole


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_whatever_is_written_is_its_owners_alone(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    of = {"connection": "raze", "filters": {"company": "Acme"}}
    target = ToFile(tmp_path / "all", form, of, resume=False)
    target.add([{"id": "raze:1"}], "a cursor")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"all.part": 0o600, "all.resume": 0o600}
    target.finish()
    target.close()
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [("all", 0o600)]


def test_what_cannot_be_gone_on_with_is_told(provider: Provider, tmp_path: Path) -> None:
    done = run("export", "--output", "all", "--resume")
    assert done.exit_code == 1 and "leave --resume out" in done.stderr
    provider.fails_from = 3
    assert run("export", "--output", "all").exit_code == 1
    done = run("export", "--output", "all", "--resume", "--q", "Lead")
    assert done.exit_code == 1 and "ask for the same" in done.stderr
    (tmp_path / "all.part").write_bytes(b"")
    done = run("export", "--output", "all", "--resume")
    assert done.exit_code == 1 and "has lost its end" in done.stderr
    (tmp_path / "all.resume").write_bytes(b"{")
    done = run("export", "--output", "all", "--resume")
    assert done.exit_code == 1 and "cannot be read" in done.stderr
    provider.fails_from = 99
    assert run("export", "--output", "all").exit_code == 0
    assert natives((tmp_path / "all").read_bytes()) == ALL


@pytest.mark.parametrize(
    "arguments",
    [["--resume"], ["--cursor", "x", "--output", "y"], ["--cursor", "x", "--format", "parquet"], ["--format", "xml"],
     ["--modified-since", "yesterday"], ["--q", ""], ["--output", "."]],
)  # fmt: skip
def test_used_wrongly_it_ends_with_2(provider: Provider, arguments: list[str]) -> None:
    done = run("export", *arguments)
    assert (done.exit_code, done.stdout, provider.asked) == (2, "", [])


@pytest.mark.parametrize("arguments", [["--cursor", "x"], ["--connection", "nobody"], ["--strict", "--company", "x"],
                                       ["--output", "nowhere/all"]])  # fmt: skip
def test_what_fails_ends_with_1_and_its_reason(provider: Provider, arguments: list[str]) -> None:
    done = run("export", *arguments)
    assert (done.exit_code, done.stdout) == (1, "") and ("error: " in done.stderr or "cannot write" in done.stderr)


def test_a_reader_that_leaves_ends_it_without_a_word_of_python(provider: Provider, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "gateway", "export"], cwd=tmp_path, stdout=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(PATIENCE) == 1 and b"Traceback" not in said


# --- on a terminal ---------------------------------------------------------------------------------------------------


def test_a_terminal_sees_a_bar_and_nobody_else_does(provider: Provider, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environ: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "gateway", "export", "--output", "all"], cwd=tmp_path, env=environ,
                          stderr=theirs, check=False, timeout=PATIENCE)  # fmt: skip
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(ours, 65536):
            seen += piece
    os.close(ours)
    assert done.returncode == 0 and b"exported" in seen and f" {TOTAL}".encode() in seen and b"\r" in seen
    assert "exported" not in run("export", "--output", "all").stderr
