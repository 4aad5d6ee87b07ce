"""The author's commands: `check` runs the kit, `new-adapter` writes what it says, and docs/adapters.md is replayed."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from adapters.getraze import GetRaze
from gateway import strict_json
from gateway.adapter import Call
from gateway.cli import main
from gateway.fields import Table
from gateway.shape import leaf_paths
from gateway.testing import AdapterContract, suite
from gateway.testing.suite import Trial, run_suite, trials

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "adapters.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
SITE = str(Path(pytest.__file__).parent.parent)
RENEW = os.environ.get("RENEW_TUTORIAL") == "1"
RENEW_WITH = "when the page is stale: RENEW_TUTORIAL=1 python -m pytest tests/test_authoring.py -k tutorial"
CHECK = "from gateway.cli import main; main()"


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def python(*arguments: str, path: tuple[Path, ...] = (), cwd: Path | None = None) -> Any:
    """A Python of its own with these folders in front of its path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, *arguments], env=env, cwd=cwd, capture_output=True, text=True, check=False)


def installed(package: Path) -> Path:
    """A folder with what installing the package would put beside it: its metadata, made from its pyproject."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    folder = package.parent / "installed" / f"{stem}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project.get("entry-points", {}).items()
    )
    (folder / "entry_points.txt").write_text(points)
    return folder.parent


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package as `new-adapter` leaves it."""
    into = tmp_path_factory.mktemp("fresh")
    assert run("new-adapter", "acme", "--into", str(into)).exit_code == 0
    return into / "crm-gateway-acme"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the files of the tutorial, each in its last version."""
    into = tmp_path_factory.mktemp("finished")
    assert run("new-adapter", "acme", "--into", str(into)).exit_code == 0
    for _, title, text in BLOCK.findall(TUTORIAL.read_text()):
        if title:
            (into / title).write_text(text)
    return into / "crm-gateway-acme"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[Trial, ...]:
    """Some tests of the kit, for what is asked of the command and not of an adapter."""
    chosen = (
        "every_gap_has_a_note",
        "samples_read_as_told",
        "readings_fit_the_schema",
        "calls_are_as_told",
        "lists_end",
    )
    found = tuple(trial for trial in trials() if trial.name in chosen)
    assert len(found) == len(chosen)
    monkeypatch.setattr(suite, "trials", lambda: found)
    return found


# --- check -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["getraze", "spott", "adapters.spott:Spott"])
def test_an_adapter_is_found_by_its_name_and_by_its_class(name: str, few: tuple[Trial, ...]) -> None:
    done = run("check", name)
    assert done.exit_code == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f"{len(few) + 2} ok, 0 FAILED, 0 excused, 0 skipped"


def test_settings_and_stages_are_those_of_the_connection(few: tuple[Trial, ...]) -> None:
    settings = '{"amount_attribute": {"id": "attr_value", "currency": "EUR"}}'
    assert run("check", "spott", "--settings", settings, "--stages", '{"stg_won": "won"}').exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("nobody",), ("nowhere.at.all:Nothing",), ("adapters.spott:nothing",), ("gateway.fields:Table",),
        ("spott", "--live", "spott"), ("spott", "--settings", "[]"), ("spott", "--settings", "{"),
        ("spott", "--settings", '{"strange": 1}'), ("spott", "--stages", '{"a": "perhaps"}'),
        ("spott", "--excuse", "lists_end"), ("spott", "--excuse", "no_such_test=because"),
    ],
)  # fmt: skip
def test_used_wrongly_it_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = run("check", *arguments)
    assert done.exit_code == 2
    assert done.stdout == "" and done.stderr


class Broken(GetRaze):
    """Asks for its records at a wrong place."""

    def get(self, native_id: str) -> Call:
        return Call("get", "GET", f"/leads/{native_id}")


class Unbuilt(GetRaze):
    """Has a table that is not whole."""

    def fields(self) -> Table:
        return Table(*super().fields().rows[1:])


def test_a_broken_adapter_ends_with_1_and_its_faults(few: tuple[Trial, ...]) -> None:
    done = run("check", "tests.test_authoring:Broken", "--faults", "2")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    at = next(place for place, line in enumerate(lines) if line.endswith("[calls_are_as_told]"))
    assert lines[at].startswith("FAILED   Get, list, delete and stages ask exactly what their files show")
    assert "the adapter calls GET /leads/" in lines[at + 1] and "the file says GET /opportunities/" in lines[at + 1]
    assert lines[at + 3].strip().startswith("and more")


def test_as_json_it_says_the_same(few: tuple[Trial, ...]) -> None:
    done = run("check", "tests.test_authoring:Broken", "--json")
    told = strict_json.loads(done.stdout.encode())
    assert done.exit_code == 1 and told["ok"] is False and told["counts"]["failed"] >= 1
    test = next(one for one in told["tests"] if one["name"] == "calls_are_as_told")
    assert test["outcome"] == "failed" and "GET /leads/" in test["faults"][0]
    assert len(told["tests"]) == len(few) + 2


def test_what_cannot_be_built_is_told_once() -> None:
    verdicts = list(run_suite(Unbuilt))
    assert [one.name for one in verdicts if one.outcome == "failed"] == ["the_adapter_can_be_built"]
    assert "no row for native_id" in verdicts[0].faults[0]
    assert {one.reason for one in verdicts[1:]} == {"the adapter cannot be built"}


def test_an_excuse_holds_while_it_is_needed(few: tuple[Trial, ...]) -> None:
    told = {
        one.name: one for one in run_suite(Broken, excused={"calls_are_as_told": "ticket 123", "lists_end": "no. 7"})
    }
    assert (told["calls_are_as_told"].outcome, told["calls_are_as_told"].reason) == ("excused", "ticket 123")
    assert told["calls_are_as_told"].faults
    assert told["lists_end"].outcome == "failed" and "take the excuse away" in told["lists_end"].faults[0]


def test_it_runs_the_tests_that_the_class_for_pytest_has() -> None:
    held: set[str] = set()

    class Recorded(AdapterContract):
        adapter = GetRaze

        def hold(self, check: Any) -> None:
            held.add(check.__name__)

    contract = Recorded()
    for name in dir(contract):
        if name.startswith("test_"):
            getattr(contract, name)()
    assert held == {trial.name for trial in trials()}


def test_it_works_without_pytest(finished: Path) -> None:
    blocked = f"import sys; sys.modules['pytest'] = None; {CHECK}"
    done = python("-c", blocked, "check", "crm_gateway_acme:Acme", path=(ROOT, finished / "src"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_needs_hypothesis_is_skipped_without_it(finished: Path) -> None:
    blocked = f"import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None; {CHECK}"
    done = python("-c", blocked, "check", "crm_gateway_acme:Acme", path=(ROOT, finished / "src"))
    assert done.returncode == 0, done.stdout + done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("skipped")]
    assert skipped and all("hypothesis is not installed" in line for line in skipped)


def test_live_is_handed_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("connections: {raze: {provider: getraze, base_url: sandbox}}\n")
    monkeypatch.setitem(sys.modules, "gateway.live_check", None)
    done = run("check", "--live", "raze", "--config", str(config))
    assert done.exit_code == 1 and "not built" in done.stderr

    class Live:
        @staticmethod
        def run(config: Any, name: str, as_json: bool) -> int:
            return 0 if (list(config.connections), name, as_json) == (["raze"], "raze", True) else 1

    monkeypatch.setitem(sys.modules, "gateway.live_check", Live)
    assert run("check", "--live", "raze", "--config", str(config), "--json").exit_code == 0


# --- new-adapter -----------------------------------------------------------------------------------------------------


def test_new_adapter_writes_what_it_says(tmp_path: Path) -> None:
    done = run("new-adapter", "big_crm", "--into", str(tmp_path))
    assert done.exit_code == 0
    told = {Path(line) for line in done.stdout.splitlines()}
    assert told == {path for path in tmp_path.rglob("*") if path.is_file()}
    names = {str(path.relative_to(tmp_path / "crm-gateway-big_crm")) for path in told}
    package = "src/crm_gateway_big_crm"
    assert names == {
        "pyproject.toml", "README.md", "tests/test_contract.py", f"{package}/__init__.py", f"{package}/fields.py",
        f"{package}/sandbox.py", f"{package}/py.typed", f"{package}/exchanges/get.json",
    }  # fmt: skip
    project = tomllib.loads((tmp_path / "crm-gateway-big_crm" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "crm-gateway-big-crm"
    assert project["entry-points"] == {"gateway.adapters": {"big_crm": "crm_gateway_big_crm:BigCrm"}}
    assert not any("$" in path.read_text() for path in told)


@pytest.mark.parametrize("name", ["Acme", "1st", "a-b", "", "_a", "é", "a\n", "../a", "getraze"])
def test_a_name_that_will_not_do_is_refused(name: str, tmp_path: Path) -> None:
    done = run("new-adapter", "--into", str(tmp_path), "--", name)
    assert done.exit_code == 2 and done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "crm-gateway-acme").mkdir()
    done = run("new-adapter", "acme", "--into", str(tmp_path))
    assert done.exit_code == 2 and "exists already" in done.stderr
    assert list((tmp_path / "crm-gateway-acme").iterdir()) == []


@pytest.mark.parametrize("name", ["page", "table", "x_", "a__b"])
def test_awkward_names_make_packages_that_can_be_imported(name: str, tmp_path: Path) -> None:
    run("new-adapter", name, "--into", str(tmp_path))
    package = tmp_path / f"crm-gateway-{name}"
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", project["name"])
    target = project["entry-points"]["gateway.adapters"][name]
    done = python("-c", CHECK, "check", target, "--json", path=(ROOT, package / "src"))
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["counts"]["ok"] > 30


@pytest.mark.parametrize("state", ["fresh", "finished"])
def test_the_package_is_typed_and_tidy(state: str, request: pytest.FixtureRequest) -> None:
    package: Path = request.getfixturevalue(state)
    cache = str(package.parent / "cache")
    typed = python(
        "-m", "mypy", "--strict", "--cache-dir", cache, "src", "tests", path=(ROOT, package / "src"), cwd=package
    )
    assert typed.returncode == 0, typed.stdout + typed.stderr
    for command in (("check", "--select", "E,F,I,UP,B,SIM,RUF"), ("format", "--check")):
        tidy = python("-m", "ruff", *command, "--no-cache", ".", cwd=package)
        assert tidy.returncode == 0, tidy.stdout + tidy.stderr


def test_its_failing_tests_are_the_list_of_what_is_to_be_done(fresh: Path) -> None:
    path = (ROOT, fresh / "src")
    done = python("-c", CHECK, "check", "crm_gateway_acme:Acme", "--json", "--faults", "200", path=path)
    assert done.returncode == 1, done.stderr
    failed = {one["name"]: one["faults"] for one in json.loads(done.stdout)["tests"] if one["outcome"] == "failed"}
    assert failed.keys() >= {
        "every_gap_has_a_note", "samples_are_there", "readings_fit_the_schema", "every_operation_has_an_exchange",
    }  # fmt: skip
    to_do = {fault.split(": ")[0] for fault in failed["every_gap_has_a_note"]}
    assert to_do == set(leaf_paths()) - {"native_id", "name", "created_at"}
    assert "exchanges/" in failed["samples_are_there"][0]
    assert failed["every_operation_has_an_exchange"][0].startswith("list: ")


# --- the tutorial ----------------------------------------------------------------------------------------------------


def test_the_tutorial_does_what_it_shows(tmp_path: Path) -> None:
    package = tmp_path / "crm-gateway-acme"
    tool = tmp_path / "bin"
    tool.mkdir()
    (tool / "crm-gateway").write_text(f"#!{sys.executable}\n{CHECK}\n")
    (tool / "crm-gateway").chmod(0o755)
    env = {**os.environ, "PATH": f"{tool}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    shown, page = 0, TUTORIAL.read_text()
    for language, title, text in BLOCK.findall(page):
        if title:
            (tmp_path / title).write_text(text)
        if language != "console":
            continue
        shown += 1
        command, _, wanted = text.removeprefix("$ ").partition("\n")
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        if RENEW:
            page = page.replace(f"$ {command}\n{wanted}```", f"$ {command}\n{done.stdout}```")
            TUTORIAL.write_text(page)
        else:
            assert _uncounted(done.stdout) == _uncounted(wanted), f"{command}\n{done.stderr}\n{RENEW_WITH}"
        if "installed" not in env["PYTHONPATH"]:
            env["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(package / "src"), str(installed(package))))
    assert shown >= 7


def _uncounted(text: str) -> str:
    """The text without what grows with the kit."""
    return re.sub(r"^\d+ ok, ", "N ok, ", text, flags=re.M)


def test_a_strangers_package_is_green_from_the_wheel_alone(finished: Path, tmp_path: Path) -> None:
    gateway = _wheel(ROOT, tmp_path / "gateway")
    stranger = _wheel(finished, tmp_path / "stranger")
    where = (
        f"import gateway, sys; assert gateway.__file__.startswith({str(gateway)!r}); "
        f"assert {str(ROOT)!r} not in sys.path"
    )
    # -S: no .pth file of this environment puts the source tree on the path
    for name in ("acme", "getraze", "spott"):
        done = python(
            "-S", "-c", f"{where}; {CHECK}", "check", name, path=(gateway, stranger, Path(SITE)), cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
    test = finished / "tests" / "test_contract.py"
    done = python("-S", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(test.parent), str(test),
                  path=(gateway, stranger, Path(SITE)), cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    more = python("-S", "-c", CHECK, "new-adapter", "more", path=(gateway, Path(SITE)), cwd=tmp_path)
    assert more.returncode == 0, more.stderr


def _wheel(project: Path, into: Path) -> Path:
    """What the project's wheel holds, unpacked: built by hatchling, or without it laid out as its pyproject says."""
    into.mkdir()
    if find_spec("hatchling") is not None:
        built = python("-m", "hatchling", "build", "-t", "wheel", "-d", str(into / "dist"), cwd=project)
        assert built.returncode == 0, built.stderr
        shutil.unpack_archive(next((into / "dist").glob("*.whl")), into, "zip")
        return into
    told = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in told["packages"]:
        source = project / package
        shutil.copytree(source, into / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    copied = into / "copied"
    copied.mkdir()
    shutil.copy(project / "pyproject.toml", copied)
    for metadata in installed(copied).iterdir():
        shutil.move(metadata, into)
    return into
