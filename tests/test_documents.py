"""Pages that render their tables from declarations: none is stale, and each changes with what it is rendered from."""

import importlib
import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel, ConfigDict, Field

from gateway import documenting, tabulating
from gateway.adapter import Adapter, Budget, Call, Limits, ListQuery, Native
from gateway.cli import main
from gateway.codecs import anything, instant, text
from gateway.config import config_schema
from gateway.documenting import BadPage, commands, configuration, pages, problems, regions, rendered, renewed
from gateway.errors import CODES
from gateway.fields import Items, Row, Table, absent, const, entries, first_of, items, row, unmapped
from gateway.registry import UnknownAdapter, adapter_names, load_adapter
from gateway.schema_keys import keys
from gateway.shape import leaf_paths
from gateway.tabulating_fields import fields
from gateway.testing.exchanges import Exchange, load_exchanges

ROOT = Path(__file__).parents[1]


class FakeSettings(BaseModel):
    """Two keys, one of them with parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    class Place(BaseModel):
        """Where something is kept."""

        id: str = Field(description="Its id | its name.", pattern="^[a-z]+$")

    place: Place | None = Field(default=None, description="Where it is kept.")
    quick: bool = Field(default=False, description="Whether to hurry.")
    size: int = Field(default=10, ge=1, le=50, description="How many.")


class Fake(Adapter):
    """Two dialects that differ in their table; can get and list, and update by two calls."""

    name = "fake"
    title = "Fake CRM"
    homepage = "https://fake.example"
    base_url = "https://api.fake.example"
    limits = Limits(page=25, budget=Budget(calls=90, per=60))
    Settings: ClassVar[type[BaseModel]] = FakeSettings
    dialects: ClassVar[tuple[str, ...]] = ("fake", "fake-old")
    writes: ClassVar[Mapping[str, tuple[str, ...]]] = {"create": ("create",), "update": ("update", "move")}
    filters: ClassVar[Mapping[str, Native]] = {
        "status": lambda value: ("state", value) if value in ("open", "won") else None,
        "q": lambda value: ("search", value),
    }
    sorts = ("created_at",)
    default_sort = "-updated_at"

    @property
    def dialect(self) -> str | None:
        """As asked for."""
        return self.facts.dialect

    def fields(self) -> Table:
        """A few fields, the rest absent."""
        title = row("name", "/title" if self.dialect == "fake" else "/old_title", text, write="/title", clear=False)
        return fake_table(title)

    def get(self, native_id: str) -> Call:
        """One record."""
        return Call("get", "GET", f"/deals/{native_id}")

    def list(self, query: ListQuery) -> Call:
        """A page."""
        return Call("list", "GET", "/deals")

    def update(self, native_id: str, bodies: object) -> tuple[Call, ...]:
        """One call."""
        return (Call("update", "PATCH", f"/deals/{native_id}", body={}),)


def fake_table(*rows: Row | Items, **more: Any) -> Table:
    """A table with a row of each kind, other than `rows`; fields that neither names are absent."""
    named: dict[str, Row | Items] = {
        one.field: one
        for one in (
            row("native_id", "/id", text),
            row("status", ("/won", "/stage"), text, follows="stage.id"),
            row("stage.id", "/stage", text, write={"update": "/stage", "move": "/to"}),
            row("stage.name", "/stage", text, follows="id"),
            absent("stage.order", "Fake counts no stages"),
            const("stage.is_open", True, "All of Fake's are open"),
            unmapped("amount", "Fake has an amount if you say where"),
            row("owner.id", first_of("/owner/id", "/owner_id"), text),
            *(absent(f"owner.{part}", "") for part in ("name", "email", "avatar_url", "deactivated_at")),
            items(
                "contacts",
                "/people",
                row("id", "/key", text, write={"update": "/id"}),
                *(absent(name, "") for name in _OF_CONTACTS),
                items("emails", "/mails", row("address", "/at", text), absent("purpose", ""), absent("primary", "")),
                write={"update": "/people"},
                key="id",
                note="Fake's people | all of them",
            ),
            entries("custom_fields", "/custom", row("id", "/key", text), row("value", "/value", anything),
                    *(absent(name, "") for name in ("label", "type", "ai"))),
            row("created_at", "/made", instant()),
            *rows,
        )
    }  # fmt: skip
    for name in _TOP:
        if name not in {path.split(".")[0] for path in named}:
            named[name] = absent(name, f"Fake has no {name}")
    return Table(*named.values(), **more)


_OF_CONTACTS = (
    "name", "first_name", "middle_name", "last_name", "second_last_name", "title", "department", "company", "phones",
    "linkedin_url", "avatar_url",
)  # fmt: skip
_TOP = tuple(dict.fromkeys(re.split(r"[.\[]", path)[0] for path in leaf_paths()))
NAME = f"{__name__}:Fake"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    """Fake, installed as the only adapter there is."""

    def load(name: str) -> type[Adapter]:
        if name != "fake":
            raise UnknownAdapter(f"no adapter named {name!r} is installed")
        return Fake

    monkeypatch.setattr(documenting, "adapter_names", lambda: ("fake",))
    monkeypatch.setattr(documenting, "load_adapter", load)
    return Fake


def docs(root: Path, *options: str) -> Result:
    """`crm-gateway docs` in this process; a traceback is a failure."""
    done = CliRunner().invoke(main, ["docs", "--root", str(root), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def cells(rendered_table: str, first: str) -> list[str]:
    """The cells of the row that begins with `first`, without it."""
    found = [line for line in rendered_table.splitlines() if line.startswith(f"| {first} |")]
    assert len(found) == 1, f"{len(found)} rows {first!r} in\n{rendered_table}"
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", found[0])[2:-1]]


# --- this project's own pages ----------------------------------------------------------------------------------------


def test_no_page_of_the_project_is_stale() -> None:
    stale = [page for page in pages(ROOT) if page.is_stale]
    assert not stale, "run `crm-gateway docs`\n" + "".join(page.diff() for page in stale)


def test_the_schema_of_the_configuration_lies_beside_its_table() -> None:
    assert json.loads((ROOT / "docs/config.schema.json").read_text(encoding="utf-8")) == config_schema()


@pytest.mark.parametrize("name", ["getraze", "spott"])
def test_every_canonical_field_of_every_dialect_is_on_the_page(name: str) -> None:
    page = (ROOT / "docs/providers.md").read_text(encoding="utf-8")
    assert name in adapter_names()
    for dialect in load_adapter(name).dialect_names():
        part = page.split(f"#### Dialect `{dialect}`\n")[1].split("\n#")[0]
        assert [path for path in leaf_paths() if f"| `{path}` |" not in part] == []


def test_every_problem_every_key_and_every_command_is_on_the_page() -> None:
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert [name for name in CODES if f"| `{name}` |" not in page] == []
    assert [key.path for key in keys(config_schema()) if f"| `{key.path}` |" not in page] == []
    assert [name for name in main.commands if f"| `crm-gateway {name}" not in page] == []


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_links_between_files_lead_somewhere(name: str) -> None:
    page = ROOT / name
    prose = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    links = [link for link in re.findall(r"\]\(([^()\s]+)\)", prose) if not re.match(r"[a-z]+:", link)]
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{name}: {link}"


# --- each region says what is declared -------------------------------------------------------------------------------


def test_capabilities_follow_from_methods_filters_and_limits(fake: type[Fake]) -> None:
    told = rendered("capabilities")
    assert told.splitlines()[0] == "|  | Fake CRM, `fake` | Fake CRM, `fake-old` |"
    assert cells(told, "get") == ["yes", "yes"]
    assert cells(told, "update") == ["yes, by the calls `update` and `move`"] * 2
    assert cells(told, "delete") == ["no", "no"]
    assert cells(told, "filter `status`")[0] == "native for open, won"
    assert cells(told, "filter `q`")[0] == "native"
    assert cells(told, "filter `stage`")[0] == "emulated"
    assert cells(told, "filter `source`")[0] == "none"
    assert cells(told, "sort `created_at`")[0] == "ascending native, descending emulated"
    assert cells(told, "sort `amount`")[0] == "none"
    assert cells(told, "records a page at most")[0] == "25"
    assert cells(told, "budget")[0] == "90 calls in 1 min"


def test_capabilities_change_with_the_adapter() -> None:
    class More(Fake):
        limits = Limits(page=7)
        filters: ClassVar[Mapping[str, Native]] = {"status": lambda value: ("state", value)}
        dialects = ()

        def delete(self, native_id: str) -> Call:
            return Call("delete", "DELETE", f"/deals/{native_id}")

    told = tabulating.capabilities([More])
    assert told.splitlines()[0] == "|  | Fake CRM |"
    assert cells(told, "delete") == ["yes"]
    assert cells(told, "filter `status`") == ["native"]
    assert cells(told, "filter `q`") == ["emulated"]
    assert cells(told, "records a page at most") == ["7"]
    assert cells(told, "budget") == ["–"]
    short = tabulating.capabilities_short([More])
    assert cells(short, "operations") == ["get, list, update, delete"]
    assert cells(short, "not there") == ["create"]


def test_capabilities_in_short_say_the_same(fake: type[Fake]) -> None:
    told = rendered("capabilities-short fake")
    assert cells(told, "operations")[0] == "get, list, update"
    assert cells(told, "not there")[0] == "create, delete"
    assert cells(told, "filters by the provider")[0] == "status (open, won), q"
    assert cells(told, "filters by a bounded scan, labelled")[0] == "stage, owner"
    assert cells(told, "no such filter")[0] == "source, company, modified_since"
    assert cells(told, "canonical fields read")[0] == f"11 of {len(leaf_paths())}"


def test_fields_tell_where_each_is_read_and_written(fake: type[Fake]) -> None:
    told = rendered("fields fake")
    kept = "a string, kept as it is"
    assert cells(told, "`name`") == ["`/title`", "create, update: `/title`; never null", kept, "–"]
    assert cells(told, "`status`")[:2] == ["`/won` + `/stage`", "with `stage.id`"]
    assert cells(told, "`stage.id`")[:2] == ["`/stage`", "update: `/stage`; move: `/to`"]
    assert cells(told, "`stage.name`")[:2] == ["`/stage`", "with `stage.id`"]
    assert cells(told, "`stage.order`") == ["absent", "–", "–", "Fake counts no stages"]
    assert cells(told, "`stage.is_open`") == ["always `true`", "–", "–", "All of Fake's are open"]
    assert cells(told, "`amount.currency`") == ["unmapped", "–", "–", "Fake has an amount if you say where"]
    assert cells(told, "`owner.id`")[0] == "`/owner/id` or `/owner_id`"
    assert cells(told, "`pipeline.name`") == ["absent", "–", "–", "Fake has no pipeline"]
    assert [path for path in leaf_paths() if f"| `{path}` |" not in told] == []


def test_fields_in_lists_are_told_from_the_top_of_the_record(fake: type[Fake]) -> None:
    told = rendered("fields fake")
    written = "update: `/people`, the whole list, elements by `id`"
    assert cells(told, "`contacts[]`") == ["each element of `/people`", written, "–", r"Fake's people \| all of them"]
    assert cells(told, "`contacts[].id`")[:2] == ["`/people/*/key`", "update: `/people/*/id`"]
    assert cells(told, "`contacts[].emails[]`")[0] == "each element of `/people/*/mails`"
    assert cells(told, "`contacts[].emails[].address`")[0] == "`/people/*/mails/*/at`"
    assert cells(told, "`custom_fields[]`")[0] == "each member of `/custom`"
    assert cells(told, "`custom_fields[].id`")[0] == "the name of `/custom/*`"
    assert cells(told, "`custom_fields[].value`")[0] == "`/custom/*`"


def test_every_dialect_has_its_own_table(fake: type[Fake]) -> None:
    assert cells(rendered("fields fake-old"), "`name`")[0] == "`/old_title`"
    both = rendered("dialects fake")
    assert re.findall("^#### .*$", both, flags=re.MULTILINE) == ["#### Dialect `fake`", "#### Dialect `fake-old`"]
    assert rendered("fields fake") in both and rendered("fields fake-old") in both


def test_what_a_table_declares_beside_its_rows_is_told() -> None:
    one = Fake.of_dialect("fake")
    plain = fields(one)
    one.table = fake_table(beside={"/title_form": "line"}, also=("/score", "/people/*/age"))
    told = fields(one)
    assert "`/title_form` (`line`)" in told and "`/title_form`" not in plain
    assert "kept in `extensions`: `/score`, `/people/*/age`." in told
    assert cells(told, "`name`") == ["absent", "–", "–", "Fake has no name"]


def test_coverage_counts_every_canonical_field_once(fake: type[Fake]) -> None:
    told = rendered("coverage")
    total = len(leaf_paths())
    counts = cells(told, "`fake`")
    assert counts[:3] == [str(total), "11", "1"] and counts[3] == "2"
    assert sum(int(count) for count in counts[1:5]) == total
    assert counts[5:] == [f"{11 * 100 // total} %", "–", "3"]

    class Less(Fake):
        dialects = ()

        def fields(self) -> Table:
            return fake_table(absent("custom_fields", "Fake has none"))

    assert cells(tabulating.coverage([Less]), "`fake`")[1] == "8"


def test_settings_are_told_with_type_default_and_description(fake: type[Fake]) -> None:
    told = rendered("settings fake")
    assert cells(told, "`place`") == ["mapping", "–", "Where it is kept."]
    assert cells(told, "`place.id`") == ["text like `^[a-z]+$`", "required", r"Its id \| its name."]
    assert cells(told, "`quick`") == ["one of `true`, `false`", "`false`", "Whether to hurry."]
    assert cells(told, "`size`") == ["whole number from 1 to 50", "`10`", "How many."]


def test_an_adapter_without_settings_says_so() -> None:
    class Plain(Fake):
        Settings = Adapter.Settings

    assert tabulating.settings(Plain) == "Fake CRM takes no settings."


def test_settings_change_with_the_model() -> None:
    class Slow(FakeSettings):
        quick: bool = Field(default=True, description="Whether to run.")

    class Changed(Fake):
        Settings = Slow

    assert cells(tabulating.settings(Changed), "`quick`")[1:] == ["`true`", "Whether to run."]


def test_samples_count_the_exchanges_by_origin(monkeypatch: pytest.MonkeyPatch, fake: type[Fake]) -> None:
    some = [Exchange("x.json", "get", "recorded", ()), Exchange("y.json", "get", "assumed", ())]
    monkeypatch.setattr(tabulating, "load_exchanges", lambda adapter: tuple(some))
    assert cells(rendered("samples"), "Fake CRM") == ["2", "1", "0", "1"]
    some.append(Exchange("z.json", "get", "documented", ()))
    assert cells(rendered("samples"), "Fake CRM") == ["3", "1", "1", "1"]
    assert "Fake CRM 3 (1 recorded, 1 documented, 1 assumed)." in rendered("samples-short fake")


def test_samples_of_the_built_in_adapters_are_their_exchanges() -> None:
    for name in ("getraze", "spott"):
        adapter = load_adapter(name)
        assert cells(rendered(f"samples {name}"), adapter.title)[0] == str(len(load_exchanges(adapter)))


def test_problems_are_the_codes() -> None:
    told = problems()
    assert cells(told, "`not-found`")[:3] == ["404", "caller", "no"]
    other = problems([replace(CODES["not-found"], status=410, meaning="Gone | lost")])
    assert cells(other, "`not-found`")[:4] == ["410", "caller", "no", r"Gone \| lost"]


def test_configuration_is_every_key_of_the_schema() -> None:
    told = configuration()
    assert cells(told, "`server.port`") == ["`8080`", "Port to listen on; 0 takes a free one."]
    assert cells(told, "`connections.*.provider`")[0] == "required"
    assert "One of `opportunities:read`" in cells(told, "`callers[].scopes`")[1]
    schema = config_schema()
    schema["$defs"]["ServerConfig"]["properties"]["port"].update(default=9, description="Another.")
    changed = configuration(schema)
    assert cells(changed, "`server.port`") == ["`9`", "Another."]


def test_commands_are_those_of_the_command_line() -> None:
    assert cells(commands(), "`crm-gateway get ID`")[0].startswith("Read one opportunity;")

    @click.command(help="First line.\n\nMore.")
    @click.argument("what")
    def dance(what: str) -> None: ...

    assert cells(commands(click.Group(commands={"dance": dance})), "`crm-gateway dance WHAT`") == ["First line."]


# --- markers ---------------------------------------------------------------------------------------------------------

REGION = "<!-- begin: problems -->\n<!-- end: problems -->\n"


def page(root: Path, text: str, name: str = "README.md") -> Path:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_stale_page_is_told_by_check_and_renewed_without_it(tmp_path: Path) -> None:
    path = page(tmp_path, f"before\n\n{REGION}\nafter\n")
    done = docs(tmp_path, "--check")
    assert done.exit_code == 1
    assert "--- README.md\n+++ README.md (declared)\n" in done.stdout and "+| `not-found` | 404" in done.stdout
    assert "stale: README.md" in done.stderr
    assert path.read_text(encoding="utf-8") == f"before\n\n{REGION}\nafter\n"

    done = docs(tmp_path)
    assert (done.exit_code, done.stdout) == (0, "README.md\n")
    told = path.read_text(encoding="utf-8")
    assert told == f"before\n\n<!-- begin: problems -->\n\n{problems()}\n\n<!-- end: problems -->\n\nafter\n"
    assert docs(tmp_path, "--check").exit_code == 0
    assert docs(tmp_path).stdout == ""

    path.write_text(told.replace("| 404 |", "| 200 |"), encoding="utf-8")
    done = docs(tmp_path, "--check")
    assert done.exit_code == 1 and done.stdout.count("\n-|") == done.stdout.count("\n+|") == 1


def test_the_schema_is_written_beside_the_page_with_the_configuration(tmp_path: Path) -> None:
    page(tmp_path, REGION)
    page(tmp_path, "<!-- begin: configuration -->\n<!-- end: configuration -->", "docs/all.md")
    assert docs(tmp_path).stdout.split() == ["README.md", "docs/all.md", "docs/config.schema.json"]
    schema = tmp_path / "docs/config.schema.json"
    assert schema.read_text(encoding="utf-8") == documenting.schema_text()
    schema.write_text("{}", encoding="utf-8")
    assert "docs/config.schema.json" in docs(tmp_path, "--check").stdout
    schema.unlink()
    assert docs(tmp_path, "--check").exit_code == 1
    assert not schema.exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "x\n<!-- begin: problem -->\n<!-- end: problem -->",
            "README.md:2: `problem`: there is no region of that name",
        ),
        ("<!-- begin: problems -->\n", "README.md:1: `begin: problems` is never closed"),
        (f"<!-- begin: samples -->\n{REGION}", "README.md:1: `begin: samples` is not closed before line 2"),
        ("<!-- end: problems -->", "README.md:1: `end: problems` closes nothing"),
        ("<!-- begin: problems -->\n<!-- end: samples -->", "README.md:2: `end: samples` where `begin: problems`"),
        ("<!-- begin problems -->", "README.md:1: not a marker"),
        ("<!-- begin: problems --> and more", "README.md:1: not a marker"),
        ("<!-- begin: problems all -->\n<!-- end: problems all -->", "README.md:1: `problems all`: it takes nothing"),
        ("<!-- begin: fields -->\n<!-- end: fields -->", "it needs the name of one dialect; there are: fake, fake-old"),
        ("<!-- begin: fields no -->\n<!-- end: fields no -->", "it needs the name of one dialect"),
        ("<!-- begin: settings -->\n<!-- end: settings -->", "it needs the name of one adapter"),
        ("<!-- begin: samples no -->\n<!-- end: samples no -->", "no adapter named 'no' is installed"),
    ],
)
def test_markers_that_are_wrong_are_told_with_file_and_line(
    text: str, told: str, tmp_path: Path, fake: type[Fake]
) -> None:
    path = page(tmp_path, text)
    page(tmp_path, REGION, "docs/a.md")
    for options in ((), ("--check",)):
        done = docs(tmp_path, *options)
        assert (done.exit_code, done.stdout) == (1, "")
        assert told in done.stderr
    assert path.read_text(encoding="utf-8") == text
    assert (tmp_path / "docs/a.md").read_text(encoding="utf-8") == REGION, "nothing is written when one page is wrong"


def test_markers_in_code_are_left_alone() -> None:
    text = f"```\n{REGION}```\n\n    <!-- begin: what -->\n\n`<!-- end: what -->`\n\n~~~~md\n~~~\n<!-- begin: x -->\n~~~~\n"
    assert renewed(text, "x.md") == text
    assert [(one.begin, one.end) for one in regions(f"{text}{REGION}".split("\n"), "x.md")] == [(13, 14)]
    with pytest.raises(BadPage, match=r"x\.md:14"):
        renewed(f"{text}<!-- begin: problems -->", "x.md")


def test_a_folder_without_pages_and_one_that_is_not_there(tmp_path: Path) -> None:
    done = docs(tmp_path)
    assert done.exit_code == 1 and "there is no README.md and no docs/*.md" in done.stderr
    assert docs(tmp_path / "nowhere").exit_code == 2
    (tmp_path / "README.md").write_bytes(b"\xff")
    assert "README.md: cannot be read" in docs(tmp_path).stderr


def test_an_adapter_may_be_named_by_module_and_class() -> None:
    assert cells(rendered(f"coverage {NAME}"), "`fake`")[0] == str(len(leaf_paths()))


def test_keys_that_contain_themselves_come_to_an_end() -> None:
    schema = {"$ref": "#/$defs/A", "$defs": {"A": {"properties": {"a": {"$ref": "#/$defs/A"}}}}}
    opened = cast("dict[str, Any]", {**schema["$defs"]["A"], "$defs": schema["$defs"]})  # type: ignore[index]  # JSON
    assert 1 < len(list(keys(opened))) < 20


# --- the way of a read


def test_every_step_of_a_read_is_where_the_page_says() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    section = page.partition("## The way of a read")[2].partition("\n## ")[0]
    named = re.findall(r"`([A-Za-z_.]+)` in `([a-z_/]+)\.py`", section)
    assert len(named) >= len(re.findall(r"^\| ", section, re.MULTILINE)) - 1  # each row but the head names one
    for name, file in named:
        found: Any = importlib.import_module(file.replace("/", "."))
        for word in name.split("."):
            found = getattr(found, word)
        assert callable(found)
        assert inspect.getsourcefile(inspect.unwrap(found)) == str(ROOT / f"{file}.py")
