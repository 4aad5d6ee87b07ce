"""Pages whose tables are rendered from declarations, so that they cannot say anything else.

A region of a page lies between two lines of their own, outside code blocks:

    <!-- begin: NAME WORDS -->
    <!-- end: NAME WORDS -->

`NAME` is one of `REGIONS`; the words are names of adapters or of a dialect, as the region takes them. Beside the page that
has the region `configuration` lies the JSON Schema of the same, `config.schema.json`.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway import tabulating, tabulating_fields
from gateway.adapter import Adapter
from gateway.config import config_schema
from gateway.errors import CODES, Code
from gateway.markdown import NONE, code, listed, table
from gateway.metrics import METRICS, Metric
from gateway.registry import UnknownAdapter, adapter_names, load_adapter
from gateway.schema_keys import choices, keys

SCHEMA = "config.schema.json"
_MARKER = re.compile(r"<!-- (begin|end): ([a-z][a-z-]*(?: [^\s<>]+)*) -->")
_LIKE_A_MARKER = re.compile(r" {0,3}<!--\s*(begin|end)\b", re.IGNORECASE)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class BadPage(Exception):
    """A page cannot be renewed. The message tells the file, the line and what to write instead."""


class BadRegion(Exception):
    """There is no such region, or it cannot be rendered; the message says why."""


# --- what is rendered from the gateway's own declarations ------------------------------------------------------------


def problems(codes: Iterable[Code] = CODES.values()) -> str:
    """Every problem code: status, who must act, whether a repeat may help, what it means and what to do."""
    return table(
        ("code", "status", "who must act", "worth repeating", "meaning", "what to do"),
        (
            (code(one.code), str(one.status), one.origin, "yes" if one.retryable else "no", one.meaning, one.advice)
            for one in codes
        ),
    )


def configuration(schema: dict[str, object] | None = None) -> str:
    """Every key of config.yaml with its default, the words that it takes and its description."""
    lines = []
    for key in keys(config_schema() if schema is None else schema):
        told = key.description or NONE
        words = choices(key.schema)
        if not all(word in told for word in words):
            told += f" One of {listed(map(code, words))}."
        lines.append((code(key.path), key.default, told))
    return table(("key", "default", "what it is"), lines)


def commands(group: click.Group | None = None) -> str:
    """Every command with its arguments and the first line of its help."""
    from gateway.cli import main  # it has the command that renders this

    lines = []
    for name, command in sorted((group or main).commands.items()):
        pieces = command.collect_usage_pieces(click.Context(command, info_name=name))
        told = " ".join(["crm-gateway", name, *(piece for piece in pieces if piece != "[OPTIONS]")])
        lines.append((code(told), (command.help or "").strip().partition("\n")[0] or NONE))
    return table(("command", "does"), lines)


def metrics(declared: Iterable[Metric[Any]] = METRICS.values()) -> str:
    """Every metric with its kind, its labels and what it says."""
    return table(
        ("metric", "kind", "labels", "what it says"),
        ((code(one.name), one.kind, listed(map(code, one.labels)) or NONE, one.says) for one in declared),
    )


def schema_text() -> str:
    """The JSON Schema of config.yaml as its file holds it."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


# --- regions by name -------------------------------------------------------------------------------------------------

Words = tuple[str, ...]


def _adapters(words: Words) -> list[type[Adapter]]:
    return [load_adapter(name) for name in words or adapter_names()]


def _many(render: Callable[[Iterable[type[Adapter]]], str]) -> Callable[[Words], str]:
    """Of the adapters that the marker names; of all that are installed when it names none."""
    return lambda words: render(_adapters(words))


def _one(render: Callable[[type[Adapter]], str]) -> Callable[[Words], str]:
    def told(words: Words) -> str:
        if len(words) != 1:
            raise BadRegion("it needs the name of one adapter")
        return render(load_adapter(words[0]))

    return told


def _none(render: Callable[[], str]) -> Callable[[Words], str]:
    def told(words: Words) -> str:
        if words:
            raise BadRegion(f"it takes nothing behind its name, not {' '.join(words)!r}")
        return render()

    return told


def _fields(words: Words) -> str:
    spoken = {name: adapter for adapter in _adapters(()) for name in adapter.dialect_names()}
    if len(words) != 1 or words[0] not in spoken:
        raise BadRegion(f"it needs the name of one dialect; there are: {', '.join(spoken) or 'none'}")
    return tabulating_fields.fields(spoken[words[0]].of_dialect(words[0]))


REGIONS: Mapping[str, Callable[[Words], str]] = {
    "capabilities": _many(tabulating.capabilities),
    "capabilities-short": _many(tabulating.capabilities_short),
    "commands": _none(commands),
    "configuration": _none(configuration),
    "coverage": _many(tabulating.coverage),
    "dialects": _one(tabulating_fields.dialects),
    "fields": _fields,
    "metrics": _none(metrics),
    "problems": _none(problems),
    "samples": _many(tabulating.samples),
    "samples-short": _many(tabulating.samples_short),
    "settings": _one(tabulating.settings),
}


def rendered(marker: str) -> str:
    """What stands between the markers of this name and words. Raises `BadRegion`."""
    name, *words = marker.split()
    if name not in REGIONS:
        raise BadRegion(f"there is no region of that name; there are: {', '.join(REGIONS)}")
    try:
        return REGIONS[name](tuple(words))
    except UnknownAdapter as error:
        raise BadRegion(str(error)) from None


# --- pages -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """A file as it is (None: not there) and as it has to be; `name` is its path from the root."""

    path: Path
    name: str
    before: str | None
    after: str

    @property
    def is_stale(self) -> bool:
        """Whether it has to be written."""
        return self.before != self.after

    def diff(self) -> str:
        """What has to change, as a unified diff."""
        before = (self.before or "").splitlines(keepends=True)
        lines = difflib.unified_diff(before, self.after.splitlines(keepends=True), self.name, f"{self.name} (declared)")
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def write(self) -> None:
        """Make it as it has to be."""
        self.path.write_bytes(self.after.encode())


def pages(root: Path) -> list[Page]:
    """README.md and docs/*.md under `root`, and the schema beside the configuration. Raises `BadPage`; writes nothing."""
    found = [path for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))) if path.is_file()]
    if not found:
        raise BadPage(f"{root}: there is no README.md and no docs/*.md")
    told = []
    for path in found:
        name = path.relative_to(root).as_posix()
        before = _text(path, name)
        told.append(Page(path, name, before, renewed(before, name)))
        if any(region.marker == "configuration" for region in regions(before.split("\n"), name)):
            beside = path.with_name(SCHEMA)
            schema_name = beside.relative_to(root).as_posix()
            there = _text(beside, schema_name) if beside.exists() else None
            told.append(Page(beside, schema_name, there, schema_text()))
    return told


def _text(path: Path, name: str) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadPage(f"{name}: cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class Region:
    """What lies between two markers: the marker's words, and the indices of the two lines."""

    marker: str
    begin: int
    end: int


def regions(lines: Sequence[str], name: str) -> list[Region]:
    """The regions of a page in order; what lies in code blocks is left alone. Raises `BadPage`."""
    found: list[Region] = []
    opened: tuple[int, str] | None = None
    fence = ""
    for index, line in enumerate(lines):
        where = f"{name}:{index + 1}"
        mark = _FENCE.match(line)
        if opened is None and mark is not None and (not fence or _closes(line, fence)):
            fence = "" if fence else mark[1]
        if fence or not _LIKE_A_MARKER.match(line):
            continue
        told = _MARKER.fullmatch(line.rstrip())
        if told is None:
            raise BadPage(
                f"{where}: not a marker: write <!-- begin: NAME --> or <!-- end: NAME --> on a line of its own"
            )
        kind, marker = told.groups()
        if kind == "begin":
            if opened is not None:
                raise BadPage(f"{name}:{opened[0] + 1}: `begin: {opened[1]}` is not closed before line {index + 1}")
            opened = index, marker
        elif opened is None:
            raise BadPage(f"{where}: `end: {marker}` closes nothing")
        elif opened[1] != marker:
            raise BadPage(
                f"{where}: `end: {marker}` where `begin: {opened[1]}` of line {opened[0] + 1} has to be closed"
            )
        else:
            found.append(Region(marker, opened[0], index))
            opened = None
    if opened is not None:
        raise BadPage(f"{name}:{opened[0] + 1}: `begin: {opened[1]}` is never closed")
    return found


def _closes(line: str, fence: str) -> bool:
    """Whether the line ends the code block that `fence` began."""
    return set(line.strip()) == {fence[0]} and len(line.strip()) >= len(fence)


def renewed(text: str, name: str) -> str:
    """The page with every region rendered anew; `name` is for messages. Raises `BadPage`."""
    lines = text.split("\n")
    made: list[str] = []
    done = 0
    for region in regions(lines, name):
        try:
            inner = rendered(region.marker)
        except BadRegion as error:
            raise BadPage(f"{name}:{region.begin + 1}: `{region.marker}`: {error}") from None
        made += [*lines[done : region.begin + 1], "", *inner.split("\n"), ""]
        done = region.end
    return "\n".join([*made, *lines[done:]])
