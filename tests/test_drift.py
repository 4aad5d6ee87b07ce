"""Drift of a provider's records is counted and told, and never fatal."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.drift import LONGEST, MOST, REMEMBERED, Drift, folded
from gateway.fields import Table
from gateway.strict_json import Json, loads
from gateway.translating import dialects

RECORD = Path(__file__).parent / "examples" / "spott-get.documented.json"


@pytest.fixture
def table() -> Table:
    return dialects()["spott"].table


@pytest.fixture
def record() -> dict[str, Json]:
    read: dict[str, Json] = loads(RECORD.read_bytes())
    return read


def seen(table: Table, record: dict[str, Json], whole: bool = True) -> dict[tuple[str, str], int]:
    drift = Drift("c")
    drift.note(table, table.read(record), whole)
    return dict(drift.seen)


def test_a_record_as_declared_shows_no_drift(table: Table, record: dict[str, Json]) -> None:
    assert seen(table, record) == {}


def test_a_member_that_nobody_declared_is_new(table: Table, record: dict[str, Json]) -> None:
    record["clientTeam"]["clientTeam"][0]["fax"] = "1"
    assert seen(table, record) == {("new", "/clientTeam/clientTeam/*/fax"): 1}


@pytest.mark.parametrize("comments", [[], None, [{"text": "x"}], [1, []]])
def test_a_list_that_is_known_to_be_there_is_not_new_when_it_is_empty(comments: Json) -> None:
    assert seen(dialects()["getraze-served"].table, {"comments": comments, "score": 1}, whole=False) == {}
    assert seen(dialects()["getraze-served"].table, {"comments2": comments}, whole=False) != {}


def test_a_member_that_a_whole_record_lacks_is_gone_and_one_that_a_thin_one_lacks_is_not(
    table: Table, record: dict[str, Json]
) -> None:
    del record["createdAt"]
    assert seen(table, record) == {("gone", "/createdAt/createdAt"): 1}
    assert seen(table, record, whole=False) == {}


def test_a_member_of_another_type_is_told_once_and_not_as_new(table: Table, record: dict[str, Json]) -> None:
    record["stage"]["stage"]["order"] = {"of": 5}
    assert seen(table, record) == {("type", "/stage/stage/order"): 1}


def test_one_log_line_tells_a_new_kind_and_no_second_one(
    table: Table, record: dict[str, Json], caplog: pytest.LogCaptureFixture
) -> None:
    record["fax"] = "canary"
    drift = Drift("c")
    with caplog.at_level(logging.WARNING, logger="gateway"):
        for _ in range(3):
            drift.note(table, table.read(record), True)
    assert [entry.getMessage() for entry in caplog.records] == ["connection c: drift: new at /fax"]
    assert drift.body() == [{"kind": "new", "path": "/fax", "count": 3}]


def test_a_member_that_has_the_key_for_its_name_is_told_without_it(
    table: Table, record: dict[str, Json], caplog: pytest.LogCaptureFixture
) -> None:
    drift = Drift("c", "sk-secret-0123456789")
    with caplog.at_level(logging.WARNING, logger="gateway"):
        drift.note(table, table.read({**record, "of sk-secret-0123456789": 1}), True)
    assert "sk-secret" not in caplog.text + repr(drift.body())
    assert len(drift.seen) == 1


def test_what_is_counted_one_by_one_is_bounded(table: Table, record: dict[str, Json]) -> None:
    drift = Drift("c")
    for number in range(MOST * 2):
        drift.note(table, table.read({**record, f"extra{number}": 1}), True)
    assert len(drift.seen) <= MOST + 3
    assert sum(drift.seen.values()) == MOST * 2


def test_what_is_remembered_of_pointers_is_bounded_and_of_one_table(table: Table, record: dict[str, Json]) -> None:
    drift = Drift("c")
    for number in range(REMEMBERED * 2):
        drift.note(table, table.read({**record, f"extra{number}": 1, "x" * LONGEST + str(number): 1}), True)
    assert len(drift._judged) <= REMEMBERED
    knowing = Table(*table.rows, beside=table.beside, also=(*table.also, "/fax"))
    told = table.read({**record, "fax": [1, 2]})
    drift = Drift("c")
    for one in (table, table, knowing, table):
        drift.note(one, told, True)
    assert drift.body() == [{"kind": "new", "path": "/fax/*", "count": 3}]


def test_places_in_lists_are_folded() -> None:
    assert folded("/a/0/b/12") == "/a/*/b/*"
    assert folded("/a0/1b") == "/a0/1b"


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "config.yaml"
    path.write_text(
        "connections:\n  raze: {provider: getraze, base_url: sandbox}\n"
        "  served: {provider: getraze, base_url: sandbox, settings: {sandbox_dialect: served}}\n"
        "  spott: {provider: spott, base_url: sandbox}\ndefault_connection: raze\n"
    )
    yield path


def checked(config: Path, name: str) -> tuple[int, dict[str, Any]]:
    outcome = CliRunner().invoke(main, ["check", "--live", name, "--config", str(config), "--json"])
    return outcome.exit_code, json.loads(outcome.stdout)


@pytest.mark.parametrize(("name", "dialect"), [("raze", "getraze"), ("served", "getraze-served"), ("spott", "spott")])
def test_a_live_check_accounts_for_every_leaf_of_a_sample(config: Path, name: str, dialect: str) -> None:
    _, report = checked(config, name)
    assert report["dialect"] == dialect
    assert report["records"] == 20
    assert report["failed"] == []
    assert report["unreadable"] == {}
    assert report["mapped"]


def test_a_live_check_of_no_connection_is_used_wrongly(config: Path) -> None:
    outcome = CliRunner().invoke(main, ["check", "--live", "nobody", "--config", str(config)])
    assert outcome.exit_code == 2
    assert "raze" in outcome.stderr
