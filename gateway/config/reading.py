"""A YAML file -> `Source`: text, lists and mappings with their places, `${NAME}` replaced.

YAML's own reading of scalars is not used: it takes `no` for false, `012` for ten, `12:30:00` for 45000. A scalar stays
the text that was written, and its key decides how to read it (`forms`). No refusal quotes the file: it may hold a key.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gateway.config.mistakes import ConfigError, Mistake, Where
from gateway.config.source import Source, Text

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|(?P<bad>\{))"
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


def read_source(path: Path, environ: Mapping[str, str]) -> Source:
    """The tree of the file, `${NAME}` replaced. Raises `ConfigError` if it is no readable YAML mapping."""
    source = Source(str(path))
    text = _read(path)
    node = text if isinstance(text, _Refusal) else _composed(text)
    if not isinstance(node, _Refusal):
        source.tree = _Values(source, environ).read(node, ())
        if isinstance(source.tree, dict):
            return source
        node = _Refusal(*source.place(()), "expected a mapping with the key connections")
    # outside any `except`: YAML's own errors quote the file, and a traceback shows what led to an error
    raise ConfigError((Mistake(source.file, node.line, node.column, "", node.message),))


# The file


class _Refusal(NamedTuple):
    """Why the file cannot be read any further, and where."""

    line: int
    column: int
    message: str


def _read(path: Path) -> str | _Refusal:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        return _Refusal(0, 0, f"cannot be read: {error.strerror}; --config names another file")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        return _Refusal(0, 0, f"cannot be read: {reason}")
    if len(data) > MAX_BYTES:
        return _Refusal(0, 0, f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        return _Refusal(line, column, "not UTF-8 text; save the file as UTF-8")


# YAML


class _NotTakenError(yaml.MarkedYAMLError):
    """YAML, but of a kind that is not taken here."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, but no aliases (they can explode or be cyclic), no tags, no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's types leave it out
        refused = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            refused = "anchors and aliases (&name, *name) are not read; quote a text that starts with & or *"
        elif getattr(event, "tag", None):
            refused = "tags (!name) are not read; quote a text that starts with !"
        elif self.depth > MAX_DEPTH:
            refused = f"nested deeper than {MAX_DEPTH} levels"
        if refused:
            raise _NotTakenError(problem=refused, problem_mark=event.start_mark)  # type: ignore[arg-type]  # PyYAML's own stubs differ
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _composed(text: str) -> yaml.Node | _Refusal:
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        return _Refusal(line, column, "not YAML: a control character that YAML does not allow")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if (error.context or "").endswith("quoted scalar") and "end of stream" in (error.problem or ""):
            mark = error.context_mark  # where the quote is opened, which says more than the end of the file
        return _Refusal(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, _reason(error))
    except (ValueError, ArithmeticError, LookupError):  # what PyYAML makes of an escape such as "\UFFFFFFFF"
        line, column = (loader.line + 1, loader.column + 1) if loader else (1, 1)
        return _Refusal(line, column, "not YAML: an escape or number that cannot be read")
    if node is None:
        return _Refusal(1, 1, "the file is empty; expected a mapping with the key connections")
    return node


_HINTS = (
    (r"flow (mapping|sequence): .*got '\{'", "${NAME} must stand in quotes here"),
    (r"character '\\t'", "indent with blanks, not with tabs"),
    ("cannot start any token", "a text that starts with this character needs quotes"),
    (
        "mapping values are not allowed",
        "this line and the one before need `: ` after each key; a text with `: ` in it needs quotes",
    ),
    ("could not find expected ':'", "a line before lacks `: ` after its key"),
    ("expected <block end>, but found '<scalar>'", "nothing may follow a closing quote"),
    ("expected <block end>", "indent this line as the others of its block"),
    ("quoted scalar: found unexpected end", "a quote that is opened here is not closed"),
    ("unknown escape", r"in double quotes \ begins an escape; single quotes take it as it is"),
)
"""What to do about the YAML reader's most frequent complaints."""


def _reason(error: yaml.MarkedYAMLError) -> str:
    """What the YAML reader says and what to do, without the file's own words that it quotes: one may be a key."""
    context, problem = error.context or "", error.problem or ""
    if isinstance(error, _NotTakenError):
        return problem
    if context.startswith("expected a single document"):
        return "one document is read; another one starts here"
    said = f"{context}: {problem}" if context else problem
    hint = next((f"; {hint}" for pattern, hint in _HINTS if re.search(pattern, said)), "")
    keep = re.compile(r".?|<[a-z -]+>", re.DOTALL)
    quoted = re.compile(r"'([^']*)'|\"([^\"]*)\"")
    return "not YAML: " + quoted.sub(lambda m: m[0] if keep.fullmatch(m[1] or m[2] or "") else "'…'", said) + hint


# Values


class _Values:
    """Nodes -> Text, None, list or dict; notes their places, unset variables and doubled keys."""

    def __init__(self, source: Source, environ: Mapping[str, str]) -> None:
        self.source, self.environ = source, environ

    def read(self, node: yaml.Node, path: Where) -> Any:
        self.source.mark(path, _place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS:
            self.source.nulls.append(path)
            return None
        return self._text(str(node.value), path)

    def _mapping(self, node: yaml.MappingNode, path: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode) or "${" in key.value or not _encodable(key.value):
                self.source.note(_place(key), path, "expected a plain word as key")
            elif key.value in found:
                first = self.source.place((*path, key.value))[0]
                message = f"this key stands here twice, first in line {first}; keep one of them"
                self.source.note(_place(key), path, message)
            else:
                here = (*path, key.value)
                self.source.mark(here, _place(key))
                found[key.value] = self.read(inner, here)
        return found

    def _text(self, raw: str, path: Where) -> Text:
        unset: list[str] = []
        bad = False

        def replaced(match: re.Match[str]) -> str:
            nonlocal bad
            if match["dollar"]:
                return "$"
            if match["bad"]:
                bad = True
                return ""
            given = self.environ.get(match["name"])
            if match["default"] is not None:  # as in a shell, `:-` also stands in for an empty value
                return given or match["default"].replace("$$", "$")
            if given is None:
                unset.append(match["name"])
            return given or ""

        text = _VARIABLE.sub(replaced, raw)
        if bad:
            self.source.wrong(path, "expected ${NAME} or ${NAME:-default} after `$`; `$$` is a plain `$`")
        elif not _encodable(text):
            self.source.wrong(path, "expected Unicode text; half of a surrogate pair is none")
        if unset:
            self.source.unset[path] = tuple(dict.fromkeys(unset))
        return Text(text, hidden="${" in raw)


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
