"""What the pages name exists, and what exists for authors of adapters is named on their page."""

import ast
import importlib
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.config import config_schema
from gateway.metrics import METRICS
from gateway.schema_keys import keys
from tests.live import running_gateway

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_CODE = re.compile(r"```.*?```|`[^`\n]+`|^    [^\n]+$", re.DOTALL | re.MULTILINE)


def in_code(page: Path) -> list[str]:
    """The spans and blocks of code of a page; a line that goes on in the next one is one."""
    return [span.strip("`").replace("\\\n", " ") for span in _CODE.findall(page.read_text())]


def metrics_in(text: str) -> set[str]:
    """Names of metrics, those of a histogram's parts by its own; `crm_gateway_acme` is the tutorial's package."""
    named = set(re.findall(r"\bcrm_gateway_(?!acme)[a-z_]+\b", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}


def commands_in(code: str) -> list[tuple[str, list[str]]]:
    """(command, its options) of each call of the command line."""
    calls = re.findall(r"(?:^|[\s/$(\"])crm-gateway[ ]+([a-z][a-z-]*)([^\n|&;#)\"]*)", code)
    return [(name, re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) for name, rest in calls]


def keys_in(code: str) -> set[str]:
    """The key of the configuration with its way, such as `cache.ttl`, where the code is nothing else."""
    holders = "server|cache|idempotency|circuit|limits|callers|connections"
    found = re.fullmatch(rf"(?:{holders})(?:\[\])?(?:\.[a-z_*]+)+", code.strip())
    return {found[0]} if found else set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_command_option_and_key_that_a_page_names_exists(page: Path) -> None:
    code = in_code(page)
    assert metrics_in(page.read_text()) - METRICS.keys() == set()
    for name, given in (call for piece in code for call in commands_in(piece)):
        assert name in main.commands
        known = {option for parameter in main.commands[name].params for option in parameter.opts} | {"--help"}
        assert set(given) - known == set(), name
    assert {key for piece in code for key in keys_in(piece)} - {key.path for key in keys(config_schema())} == set()


def test_names_are_seen_and_one_that_is_none_as_well() -> None:
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert len(metrics_in(operations)) >= 6
    assert metrics_in("`crm_gateway_circuit_open == 1` for 2 m") == {"crm_gateway_circuit_open"}
    assert metrics_in("crm_gateway_request_duration_seconds_bucket{}") <= METRICS.keys()
    assert commands_in("$ crm-gateway outcomes --settle ID --wrong") == [("outcomes", ["--settle", "--wrong"])]
    calls = [call for page in PAGES for piece in in_code(page) for call in commands_in(piece)]
    assert {"serve", "export", "reload", "check-config", "outcomes", "new-adapter"} <= {name for name, _ in calls}
    found = {key for page in PAGES for piece in in_code(page) for key in keys_in(piece)}
    assert {"cache.stale_if_error", "limits.per_caller", "connections.*.budget"} <= found
    assert keys_in("server.colour") == {"server.colour"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the README call curl")
@pytest.mark.parametrize(("place", "default"), [(0, "raze"), (1, "spott"), (2, "raze")])
def test_the_commands_of_the_readme_show_what_stands_below_them(tmp_path: Path, place: int, default: str) -> None:
    """As they stand there, but for the port; `config.yaml` is the one beside it."""
    shown = re.findall(r"^    \$ (curl [^\n]+(?:\n {8}[^\n]+)*)\n\n```json\n(.*?)```", (ROOT / "README.md").read_text(),
                       re.DOTALL | re.MULTILINE)  # fmt: skip
    assert len(shown) == 3
    command, below = shown[place]
    config = (ROOT / "config.yaml").read_text().replace("default_connection: raze", f"default_connection: {default}")
    with running_gateway(config, tmp_path) as url:
        done = subprocess.run(command.replace("localhost:8080", url.removeprefix("http://")), shell=True, check=True,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
    assert json.loads(done.stdout) == json.loads(below)


def members_of(module: str, name: str = "") -> set[str]:
    """The public names that a module of the gateway defines, or a class in it; also those for type checkers only."""
    todo: list[ast.stmt] = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text()).body
    if name:
        todo = next(node.body for node in todo if isinstance(node, ast.ClassDef) and node.name == name)
    found: set[str] = set()
    while todo:
        node, *todo = todo
        if isinstance(node, ast.If):
            todo = [*node.body, *todo]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {one for one in found if not one.startswith("_")}


def test_authors_are_told_of_all_that_an_adapter_has_and_is_given() -> None:
    told = set(re.findall(r"\w+", " ".join(in_code(ROOT / "docs" / "adapters.md"))))
    own, names = members_of("gateway.adapter", "Adapter"), members_of("gateway.adapter")
    assert {"look_up", "no_proof", "code_for", "id_pattern", "get", "Settings"} <= own  # every kind of member is seen
    assert {"CannotSend", "Native", "OPERATIONS", "Budget"} <= names
    rows = {"row", "absent", "unmapped", "items", "entries", "single", "const", "first_of", "Table"}
    assert rows <= members_of("gateway.fields")
    module = importlib.import_module("gateway.adapter")
    parts = {part for name in names - {"Adapter", "NoSettings", "CannotSend"} if inspect.isclass(getattr(module, name))
             for part in members_of("gateway.adapter", name)}  # fmt: skip
    assert {"position", "retry_after", "is_read"} <= parts
    assert (own | names | rows | parts) - told == set()


def test_authors_are_told_of_each_part_of_a_row_of_each_codec_and_of_each_member_of_an_exchange() -> None:
    told = set(re.findall(r"\w+", " ".join(in_code(ROOT / "docs" / "adapters.md"))))
    fields = importlib.import_module("gateway.fields")
    made = (fields.row, fields.const, fields.items, fields.entries, fields.single, fields.Table)
    parts = {name for one in made for name, given in inspect.signature(one).parameters.items()
             if given.kind is given.KEYWORD_ONLY}  # fmt: skip
    assert {"clear", "aside", "key", "beside"} <= parts
    codecs = importlib.import_module("gateway.codecs")
    ready = {name for name, one in vars(codecs).items() if isinstance(one, codecs.Codec)} | {"instant", "day_of"}
    assert {"text", "joined", "percent"} <= ready
    errors = {name for name, one in vars(codecs).items() if inspect.isclass(one) and issubclass(one, Exception)}
    statuses = members_of("gateway.statuses") - {"STATUSES"}
    exchanges = importlib.import_module("gateway.testing.exchanges")
    members = {*exchanges._FILE, *(name for needed in exchanges._INPUT.values() for names in needed for name in names)}
    assert {"then", "unsupported", "position"} <= members
    assert (parts | ready | errors | statuses | members | {"MISSING"}) - told == set()


def test_what_redis_needs_is_locked_beside_everything_else() -> None:
    pinned = {name: set(re.findall(r"^([a-z0-9.-]+==\S+)", (ROOT / name).read_text(), re.MULTILINE))
              for name in ("requirements.txt", "requirements-redis.txt")}  # fmt: skip
    more = {pin.partition("==")[0] for pin in pinned["requirements-redis.txt"] - pinned["requirements.txt"]}
    assert pinned["requirements.txt"] < pinned["requirements-redis.txt"] and more == {"redis", "async-timeout"}
