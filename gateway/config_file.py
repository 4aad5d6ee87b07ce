"""A YAML file as text, lists and mappings, each with its place; and how values are written in it.

YAML's own reading of scalars is not used: it takes `no` for false, `012` for ten, `12:30:00` for 45000. A
scalar stays the text that was written, and its key decides how to read it (`Duration`, `Size`). No mistake
quotes what may be a secret: the value of a key named so, or what came out of `${NAME}` (`Text.hidden`).
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import yaml
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Where: TypeAlias = tuple[str | int, ...]
"""The keys and list positions that lead to a value."""

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}|(?P<bad>\{))"
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to correct: where (line 0: the file as a whole), at which path, what was expected."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(Exception):
    """The file cannot be used. `mistakes` are all of them, by line; none holds a secret value."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


class Text(str):
    """A scalar as it was written. `hidden`: it came from `${...}` and is never shown."""

    hidden: bool

    def __new__(cls, value: str, hidden: bool = False) -> "Text":
        text = super().__new__(cls, value)
        text.hidden = hidden
        return text


def shown(path: Where) -> str:
    """`connections.raze.require[2]`; a key that is no plain word stands in quotes."""
    told = ""
    for part in path:
        if isinstance(part, int):
            told += f"[{part}]"
        else:
            word = part if re.fullmatch(r"[\w?-]{1,64}", part) else ascii(part[:64])
            told += f".{word}" if told else word
    return told


class Source:
    """The tree of one file, the place of every key in it, and the mistakes found so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.tree: Any = None
        self.unset: dict[Where, tuple[str, ...]] = {}
        self.nulls: list[Where] = []
        self.mistakes: list[Mistake] = []
        self.told: set[Where] = set()
        self._marks: dict[Where, tuple[int, int]] = {}

    def wrong(self, path: Where, message: str, called: Where | None = None) -> None:
        """Notes a mistake at the place of the key or of what holds it; `called` is the path to show.

        Only the first of a path is kept: what follows is as a rule its consequence.
        """
        if path not in self.told:
            self.told.add(path)
            self._note(self.place(path), shown(path if called is None else called), message)

    def place(self, path: Where) -> tuple[int, int]:
        """Line and column of a key or list item, or of what holds it."""
        while path and path not in self._marks:
            path = path[:-1]
        return self._marks.get(path, (1, 1))

    def has(self, path: Where) -> bool:
        """Whether the file has this key or list item."""
        return path in self._marks

    def _note(self, place: tuple[int, int], path: str, message: str) -> None:
        self.mistakes.append(Mistake(self.file, *place, path, message))

    def value(self, node: yaml.Node, path: Where, environ: Mapping[str, str]) -> Any:
        """`node` as Text, None, list or dict; its place, unset variables and doubled keys are noted."""
        self._marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, environ)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index), environ) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS:
            self.nulls.append(path)
            return None
        return self._text(str(node.value), path, environ)

    def _mapping(self, node: yaml.MappingNode, path: Where, environ: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, inner in node.value:
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode) or "${" in key.value or not _encodable(key.value):
                self._note(place, shown(path), "expected a plain word as key")
                continue
            here = (*path, key.value)
            if here in self._marks:
                first = self._marks[here][0]
                self._note(place, shown(path), f"this key stands here twice; the first is in line {first}")
                continue
            self._marks[here] = place
            found[key.value] = self.value(inner, here, environ)
        return found

    def _text(self, raw: str, path: Where, environ: Mapping[str, str]) -> Text:
        unset: list[str] = []
        bad = False

        def replaced(match: re.Match[str]) -> str:
            nonlocal bad
            if match["dollar"]:
                return "$"
            if match["bad"]:
                bad = True
                return ""
            given = environ.get(match["name"])
            if match["default"] is not None:  # as in a shell, `:-` also stands in for an empty value
                return given or match["default"].replace("$$", "$")
            if given is None:
                unset.append(match["name"])
            return given or ""

        text = _VARIABLE.sub(replaced, raw)
        if bad:
            self.wrong(path, "expected ${NAME} or ${NAME:-default} after `$`; `$$` is a plain `$`")
        elif not _encodable(text):
            self.wrong(path, "expected Unicode text; half of a surrogate pair is none")
        if unset:
            self.unset[path] = tuple(dict.fromkeys(unset))
        return Text(text, hidden="${" in raw)


def read_source(path: Path, environ: Mapping[str, str]) -> Source:
    """The tree of the file, `${NAME}` replaced. Raises `ConfigError` if it is no readable YAML mapping."""
    source = Source(str(path))
    node = _composed(_read(path))
    if not isinstance(node, _Refusal):
        source.tree = source.value(node, (), environ)
        if isinstance(source.tree, dict):
            return source
        node = _Refusal(*source.place(()), "expected a mapping with the key connections")
    # outside any `except`: YAML's own errors quote the file, and a traceback shows what led to an error
    raise ConfigError((Mistake(source.file, node.line, node.column, "", node.message),))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why the file cannot be read any further, and where."""

    line: int
    column: int
    message: str


def _read(path: Path) -> str | _Refusal:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        return _Refusal(0, 0, f"cannot be read: {reason}")
    if len(data) > MAX_BYTES:
        return _Refusal(0, 0, f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _Refusal(line, error.start - data.rfind(b"\n", 0, error.start), "not UTF-8 text")


def _composed(text: str | _Refusal) -> yaml.Node | _Refusal:
    if isinstance(text, _Refusal):
        return text
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        return _Refusal(line, column, "not YAML: a control character that YAML does not allow")
    except _RefusedError as error:
        return error.refusal
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _Refusal(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, _yaml_reason(error))
    except (ValueError, ArithmeticError, LookupError):  # what PyYAML makes of an escape such as "\UFFFFFFFF"
        line, column = (loader.line + 1, loader.column + 1) if loader else (1, 1)
        return _Refusal(line, column, "not YAML: an escape or number that cannot be read")
    if node is None:
        return _Refusal(1, 1, "the file is empty; expected a mapping with the key connections")
    return node


class _RefusedError(Exception):
    """YAML, but of a kind that is not taken here."""

    def __init__(self, refusal: _Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Loader(yaml.SafeLoader):
    """Composes nodes, but no aliases (they can explode or be cyclic), no tags, no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        refused = ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            refused = "anchors and aliases (&name, *name) are not read; quote a text that starts with & or *"
        elif getattr(event, "tag", None):
            refused = "tags (!name) are not read; quote a text that starts with !"
        elif self.depth > MAX_DEPTH:
            refused = f"nested deeper than {MAX_DEPTH} levels"
        if refused:
            mark = event.start_mark
            raise _RefusedError(
                _Refusal(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, refused)
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _yaml_reason(error: yaml.MarkedYAMLError) -> str:
    """What the YAML reader says, without the file's own words that it quotes: one may be a key."""
    context, problem = error.context or "", error.problem or ""
    if context.startswith("expected a single document"):
        return "one document is read; another one starts here"
    said = f"{context}: {problem}" if context else problem
    quoted = re.compile(r"'([^']*)'|\"([^\"]*)\"")
    if context.endswith("flow mapping") and "got '{'" in problem:
        said += "; ${NAME} must stand in quotes here"
    keep = re.compile(r".?|<[a-z -]+>", re.DOTALL)
    return "not YAML: " + quoted.sub(lambda m: m[0] if keep.fullmatch(m[1] or m[2] or "") else "'…'", said)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


# How values are written


def refuse(expected: str) -> PydanticCustomError:
    """The error for a value that is not `expected`; what was found instead is added where it may be shown."""
    return PydanticCustomError("written", "expected {expected}", {"expected": expected})


class Form:
    """How a value is written: stands in `Annotated`, reads the value, and describes it in the JSON Schema."""

    pattern: str
    other: tuple[dict[str, Any], ...] = ()
    """What else a schema must allow: the numbers and truths that YAML makes of unquoted text."""

    def read(self, value: Any) -> Any:
        """The value of a text, or a Python value checked alike. Raises what `refuse` makes."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": rf"^(?:{self.pattern})$|\$\{{"}
        return {"anyOf": [*self.other, text]} if self.other else text


class _Number(Form):
    """A number within bounds, which are given as they would be written."""

    expected: str
    between: str

    def __init__(self, low: str, high: str) -> None:
        self.low, self.high = self.parse(low), self.parse(high)
        self.bounds = f"{self.between} from {low} to {high}"

    def parse(self, text: str) -> Any:
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        number = self.parse(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise refuse(self.expected)
        if not self.low <= number <= self.high:
            raise refuse(self.bounds)
        return number


class Duration(_Number):
    """Seconds, from `10s`, `500ms`, `5m`, `1h`, `1d` or plain `0`."""

    pattern = r"[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d)|0"
    other = ({"const": 0},)
    expected = "a duration such as 10s, 500ms, 5m"
    between = "a duration"
    units: ClassVar = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

    def parse(self, text: str) -> float | None:
        if not re.fullmatch(self.pattern, text):
            return None
        number = text.rstrip("mshd")
        return float(number) * float(self.units.get(text[len(number) :], 1))


class Size(_Number):
    """Bytes, from `256KiB`, `8MiB` or a plain number of them."""

    pattern = r"[1-9][0-9]{0,14}(B|KiB|MiB|GiB|kB|MB)?"
    other = ({"type": "integer", "minimum": 1},)
    expected = "a size such as 256KiB, 8MiB or a number of bytes"
    between = "a size"
    units: ClassVar = {"B": 1, "kB": 1000, "MB": 10**6, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

    def parse(self, text: str) -> int | None:
        if not re.fullmatch(self.pattern, text):
            return None
        number = text.rstrip("KMGikB")
        return int(number) * int(self.units.get(text[len(number) :], 1))


class Whole(_Number):
    """A whole number in decimal digits; no leading zero, since `012` is ten in YAML 1.1."""

    pattern = "0|[1-9][0-9]{0,14}"
    between = "a whole number"

    def __init__(self, low: str, high: str) -> None:
        super().__init__(low, high)
        self.expected = self.bounds
        self.other = ({"type": "integer", "minimum": self.low, "maximum": self.high},)

    def parse(self, text: str) -> int | None:
        return int(text) if re.fullmatch(self.pattern, text) else None

    def read(self, value: Any) -> Any:
        return super().read(None if isinstance(value, float) else value)


class Truth(Form):
    """`true` or `false`, and none of YAML 1.1's other words for them."""

    pattern = "true|false"
    other = ({"type": "boolean"},)

    def read(self, value: Any) -> Any:
        if value in ("true", "false"):
            return bool(value == "true")
        if isinstance(value, bool):
            return value
        raise refuse("true or false")


class Line(Form):
    """Text that matches `pattern` as a whole; `make` turns it into the value or raises as `refuse` does."""

    def __init__(self, expected: str, pattern: str, make: Callable[[str], Any] = str) -> None:
        self.expected, self.pattern, self.make = expected, pattern, make
        if re.fullmatch(pattern, "1"):
            self.other = ({"type": "integer"},)

    def read(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise refuse(self.expected)
        return self.make(str(value))


def choice(*words: str) -> Line:
    """One of these words."""
    return Line("one of " + ", ".join(words), "|".join(words))


# Telling what is wrong

_SECRET = re.compile("key|token|secret|passw|credential|^state$|^base_url$", re.IGNORECASE)
"""Keys whose values are never shown: credentials, and addresses, which people write credentials into."""
_KINDS = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "too_short": "at least one",
}
_SILENT = re.compile(
    "(int|float|bool|decimal)_(parsing|type)|int_from_float|finite_number|literal_error|enum|multiple_of"
    "|string_(type|too_short|too_long|pattern_mismatch)|(greater|less)_than(_equal)?|too_(long|short)|none_required"
)
"""pydantic's errors whose text names what was expected and quotes nothing of what was there."""


def explain(
    source: Source, error: ValidationError, prefix: Where, schema: dict[str, Any], unsaid: frozenset[str]
) -> None:
    """Notes each of the error's findings at its key, in our words; not the lack of a key in `unsaid`."""
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        kind, path = found["type"], prefix
        for part in found["loc"]:
            path = (*path, part) if source.has((*path, part)) else path
        if kind == "missing":
            path = (*path, found["loc"][-1])
        if kind == "missing" and path[-1] in unsaid:
            continue
        if kind == "missing":
            says = schema_at(schema, path[len(prefix) :]).get("description", "")
            source.wrong(path, f"is missing: {says[:1].lower()}{says[1:]}" if says else "is missing")
        elif kind == "extra_forbidden":
            unknown(source, path, schema, prefix)
        elif found["loc"][-1:] == ("[key]",):  # the key itself, not what stands under it
            source.wrong(path, found["msg"])
        elif kind == "written":
            expected(source, path, found["msg"])
        elif kind in _KINDS and (kind != "too_short" or not value_at(source.tree, path)):
            expected(source, path, f"expected {_KINDS[kind]}")
        elif _SILENT.fullmatch(kind):
            expected(source, path, found["msg"][:1].lower() + found["msg"][1:])
        else:
            said = found["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            safe = kind in ("value_error", "assertion_error") and not _leaks(source, path, prefix, said)
            source.wrong(path, " ".join(said.split())[:300] if safe else f"is not valid ({kind})")


def expected(source: Source, path: Where, message: str) -> None:
    """Notes `message` and what stands there instead, where that may be shown."""
    value = value_at(source.tree, path)
    if isinstance(value, dict | list):
        got = "an empty one" if not value else "a mapping" if isinstance(value, dict) else "a list"
    elif value is None:
        got = "nothing"
    elif private(source, path):
        got = "a value that is not shown"
    else:
        got = ascii(str(value[:60]))
    source.wrong(path, f"{message}; got {got}")


def unknown(source: Source, path: Where, schema: dict[str, Any], prefix: Where = ()) -> None:
    """Notes an unknown key. One that may be a value (`api_key:abc` lacks a blank) is not repeated."""
    known = sorted(schema_at(schema, path[len(prefix) : -1]).get("properties", {}))
    key = str(path[-1])
    near = difflib.get_close_matches(key, known, 1)
    harmless = len(key) <= 32 and re.fullmatch("[A-Za-z_-]+" if not near else "[A-Za-z0-9_-]+", key)
    said = f"unknown key{f'; did you mean {near[0]}?' if near else ''}"
    if not harmless and ":" in key:
        said = "unknown key; is a blank missing after a colon?"
    also = f"; known are {listed(known)}" if known else "; none is known here"
    source.wrong(path, said.replace("?;", "?") + also, path if harmless else (*path[:-1], "?"))


def private(source: Source, path: Where) -> bool:
    """Whether what stands at `path` must not be shown."""
    keys = path[2:] if path[:1] == ("connections",) else path
    named = any(isinstance(key, str) and _SECRET.search(key) for key in keys)
    return named or hidden(value_at(source.tree, path))


def _leaks(source: Source, path: Where, prefix: Where, message: str) -> bool:
    """Whether an adapter's own message may repeat a value that must not be shown."""
    below = _leaves(value_at(source.tree, path), path)
    around = _leaves(value_at(source.tree, prefix), prefix)
    quoted = any(value and str(value) in message for leaf, value in around if private(source, leaf))
    return quoted or any(private(source, leaf) for leaf, _ in below)


def _leaves(value: Any, path: Where) -> Iterator[tuple[Where, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def schema_at(schema: dict[str, Any], path: Where) -> dict[str, Any]:
    """The part of a JSON Schema that describes the value at `path`; empty where it says nothing."""

    def opened(part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            named = schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
            part = {**named, **{key: value for key, value in part.items() if key != "$ref"}}
        options = [opened(option) for option in part.get("anyOf", part.get("allOf", ()))]
        return {**next((option for option in options if option.keys() & {"properties", "items"}), {}), **part}

    here = opened(schema)
    for part in path:
        if isinstance(part, int):
            inner = here.get("items")
        else:
            patterns = here.get("patternProperties", {})
            inner = here.get("properties", {}).get(part) or next(iter(patterns.values()), None)
            inner = inner or here.get("additionalProperties")
        here = opened(inner) if isinstance(inner, dict) else {}
    return here


def value_at(tree: Any, path: Where) -> Any:
    for part in path:
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def plain(value: Any) -> Any:
    """The value without `Text`, for models that are not ours."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def hidden(value: Any) -> bool:
    return isinstance(value, Text) and value.hidden


def listed(words: Iterable[str]) -> str:
    """`get, list, create`."""
    return ", ".join(words)
