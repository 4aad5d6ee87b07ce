"""A stranger's adapter: a package of its own, installed beside the gateway and found by its entry point.

`tests/packages/crm_gateway_close` is put into a folder as its wheel would be, and everything else happens in processes
that know of it by their path alone: nothing in `gateway/` names it.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live import MERGE_PATCH, Answer, ask, assert_problem, fields_of, send

SOURCE = Path(__file__).parent / "packages" / "crm_gateway_close"
GATEWAY = Path(__file__).parent.parent
CONFIG = """\
default_connection: sales
connections:
  sales: {provider: close, base_url: sandbox}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package and its metadata, as pip leaves a wheel."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = SOURCE / "crm_gateway_close"
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    named = [f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"]
    named += [f"Requires-Dist: {requirement}\n" for requirement in project["dependencies"]]
    (info / "METADATA").write_text("".join(named), encoding="utf-8")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    return site


def environment(site: Path) -> dict[str, str]:
    """This process's environment with the folder, and the gateway, on the path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(GATEWAY)))}


def python(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python …` in a folder of its own."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(site), capture_output=True, text=True, check=False, timeout=120
    )


@contextmanager
def serving(site: Path, folder: Path) -> Iterator[str]:
    """The URL of `crm-gateway serve` on the configuration in this folder, until the block ends."""
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(site), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), process.stderr.read()
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def url(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(installed, tmp_path_factory.mktemp("served")) as served:
        yield f"{served}/v1/opportunities"


def created(url: str, **draft: Any) -> Answer:
    """A record of the draft."""
    answer = send(url, "POST", json.dumps({"name": "A new one", **draft}))
    assert answer.status == 201, answer.body
    return answer


def patched(url: str, id_: str, **patch: Any) -> Answer:
    """The record after the patch."""
    answer = ask(f"{url}/{id_}", "PATCH", MERGE_PATCH, json.dumps(patch))
    assert answer.status == 200, answer.body
    return answer


def test_the_gateway_does_not_know_the_strangers_adapter() -> None:
    words = ("crm_gateway_close", "close.com", "CloseSandbox")
    for path in sorted((GATEWAY / "gateway").rglob("*.py")):
        told = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in told], path


def test_the_contract_is_kept_where_the_package_is_installed(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(SOURCE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\n", encoding="utf-8")
    done = python(installed, tmp_path, "-m", "pytest", "tests")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_connections_show_what_the_adapter_can_do(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    done = python(installed, tmp_path, "-m", "gateway", "connections", "--json")
    assert done.returncode == 0, done.stderr
    (sales,) = json.loads(done.stdout)["data"]
    assert (sales["name"], sales["provider"], sales["sandbox"]) == ("sales", "close", True)
    assert sales["operations"] == ["get", "list", "create", "update", "delete"]


def test_translate_speaks_the_strangers_dialect(installed: Path, tmp_path: Path) -> None:
    record = {"id": "oppo_1", "note": "Bat Cave", "value": 50001, "value_currency": "EUR", "status_type": "won"}
    (tmp_path / "record.json").write_text(json.dumps(record), encoding="utf-8")
    command = ("-m", "gateway", "translate", "--from", "close", "--to", "getraze", "--json", "record.json")
    done = python(installed, tmp_path, *command)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["data"]
    assert (told["name"], told["deal_value"], told["deal_currency"]) == ("Bat Cave", 500.01, "EUR")


def test_a_list_is_paged_by_cursor_to_its_end(url: str) -> None:
    ids: list[str] = []
    target = f"{url}?limit=5"
    while True:
        page = ask(target)
        assert page.status == 200, page.body
        ids += [one["id"] for one in page.data]
        cursor = page.json["page"]["next_cursor"]
        if cursor is None:
            break
        target = f"{url}?limit=5&cursor={cursor}"
    assert len(ids) == len(set(ids)) >= 23
    assert all(one.startswith("sales:oppo_") for one in ids)


def test_filters_of_the_provider_are_handed_on(url: str) -> None:
    won = ask(f"{url}?status=won&limit=100")
    assert won.meta["filters"] == {"status": {"mode": "native"}}
    assert {one["status"] for one in won.data} == {"won"}
    ada = ask(f"{url}?owner=user_ada&sort=created_at")
    assert {one["owner"]["name"] for one in ada.data} == {"Ada Lovelace"}
    times = [one["created_at"] for one in ada.data]
    assert times == sorted(times)


def test_a_record_is_got_whole_and_exact(url: str) -> None:
    got = ask(f"{url}/sales:oppo_0004")
    assert got.status == 200, got.body
    data = got.data
    assert data["amount"] == {"value": "123456789012345.67", "currency": "JPY"}
    assert (data["status"], data["status_source"]) == ("lost", "native")
    assert data["stage"] == {"id": "stat_lost", "name": "Lost", "order": None, "is_open": False}
    assert data["probability"] == "0.12"
    assert data["company"] == {"id": "lead_bluth", "name": "Bluth Company (Example Lead)"}
    assert data["contacts"][0]["name"] == "Bruce Wayne"
    assert data["expected_close"] == {"on": "2024-03-04", "at": None}
    assert data["extensions"]["/value_period"] == "one_time"
    assert got.meta["issues"] == []
    assert ask(f"{url}/sales:oppo_0008").data["extensions"]["/custom.cf_region/0"] == "North"


def test_create_writes_the_company_and_update_does_not(url: str) -> None:
    answer = created(
        url, amount={"value": "1234.5", "currency": "EUR"}, company={"id": "lead_bluth"}, contacts=[{"id": "cont_gob"}],
        owner={"id": "user_bo"}, stage={"name": "Demo Completed"}, expected_close={"on": "2031-05-07"},
    )  # fmt: skip
    assert answer.meta["not_applied"] == []
    data = answer.data
    assert data["amount"] == {"value": "1234.50", "currency": "EUR"}
    assert data["company"]["name"] == "Bluth Company (Example Lead)"
    assert data["stage"]["id"] == "stat_demo"
    moved = patched(url, data["id"], company={"id": "lead_wayne"}, owner=None)
    assert moved.meta["applied"] == ["owner"]
    (entry,) = moved.meta["not_applied"]
    assert (entry["field"], entry["reason"]) == ("company.id", "unsupported")
    assert moved.data["company"]["id"] == "lead_bluth"
    assert moved.data["owner"] is None


def test_an_update_changes_what_is_sent_and_nothing_else(url: str) -> None:
    id_ = created(url, amount={"value": "10", "currency": "USD"}).data["id"]
    before = ask(f"{url}/{id_}").data
    after = patched(url, id_, amount={"value": "0.10"}, name="Another word").data
    assert after["amount"] == {"value": "0.10", "currency": "USD"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"name", "amount", "updated_at", "extensions"}


def test_what_cents_cannot_hold_is_told_and_refused_under_strict_handling(url: str) -> None:
    id_ = created(url, amount={"value": "10", "currency": "USD"}).data["id"]
    answer = patched(url, id_, amount={"value": "10.005"}, name="Finer")
    assert answer.meta["applied"] == ["name"]
    assert answer.meta["not_applied"][0]["field"] == "amount.value"
    assert answer.data["amount"]["value"] == "10.00"
    headers = {**MERGE_PATCH, "Prefer": "handling=strict"}
    refused = ask(f"{url}/{id_}", "PATCH", headers, '{"amount": {"value": "10.005"}}')
    assert fields_of(assert_problem(refused, 422, "not-writable")) == ["amount.value"]


def test_a_status_is_written_by_the_one_stage_of_its_type(url: str) -> None:
    id_ = created(url).data["id"]
    won = patched(url, id_, status="won")
    assert won.meta["applied"] == ["status"]
    assert (won.data["status"], won.data["stage"]["id"]) == ("won", "stat_won")


def test_a_deleted_record_is_gone(url: str) -> None:
    id_ = created(url).data["id"]
    assert ask(f"{url}/{id_}", "DELETE").status == 204
    assert_problem(ask(f"{url}/{id_}"), 404, "not-found")
    assert_problem(ask(f"{url}/{id_}", "DELETE"), 404, "not-found")
