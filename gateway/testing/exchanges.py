"""Sample calls with their replies, one JSON file each, in the folder `exchanges` of an adapter's own package.

One file is a test, an example for the docs and a replay. It is written for people:

    {
      "operation": "get",                 what a caller asks: get, list, create, update, delete; or stages
      "origin": "documented",             recorded from the provider, documented on its pages, or assumed
      "note": "the page's own example",   what it shows, and where it is from
      "settings": {}, "stages": {},       the connection's; without them the sample holds for any
      "input": {"native_id": "opp_1"},    what the adapter is asked, in canonical words (below)
      "call": {"method": "GET", "path": "/opportunities/opp_1", "query": {}, "body": null},
      "reply": {"status": 200, "headers": {}, "body": {}},
      "opportunity": {},                  what is read from the reply; or `page`, or `problem`
      "issues": [],                       what could not be read: field, path, reason; none when left out
      "unsupported": ["source"],          fields of a draft or patch that are never sent, by canonical path
      "then": [{"call": {}, "reply": {}}] further calls of the same write, in order, with what is read from each
    }

- `input`: `native_id` for get, update and delete; `draft` for create; `patch` for update; for list `size`, and if wanted
  `position`, `filters` (as a caller writes them) and `sort`.
- `call.query` and `call.body` may be left out when there is none.
- `reply.body` is the JSON body; `reply.text` stands in its place for a body that is not JSON.
- `opportunity` is the canonical answer without `id` and `connection`, which only a connection's name can give.
- `page` is `{"opportunities": [...], "next": ...}`, `next` being the position that the following page is asked with;
  `opportunities` may be left out where the records are shown by another file.
- `problem` is what a caller is told of an error reply: any of a problem's members, such as `code` and `retry_after`. If its
  status is a success, the adapter's `denies` has to say that it is none.

Numbers keep their digits: `50000.00` is compared as written.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, cast

from gateway import strict_json
from gateway.adapter import OPERATIONS, Adapter, Call, Reply
from gateway.strict_json import Json

Origin = Literal["recorded", "documented", "assumed"]
ORIGINS: tuple[Origin, ...] = ("recorded", "documented", "assumed")

_INPUT: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "get": (("native_id",), ()),
    "list": (("size",), ("position", "filters", "sort")),
    "create": (("draft",), ()),
    "update": (("native_id", "patch"), ()),
    "delete": (("native_id",), ()),
    "stages": ((), ()),
}
"""Members of `input` by operation: needed, and possible."""
_STEP = ("call", "reply", "opportunity", "page", "problem", "issues")
_FILE = ("operation", "origin", "note", "settings", "stages", "input", "unsupported", "then", *_STEP)


class BadExchange(ValueError):
    """An exchange file is not what it should be. The message names the file and the place in it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call as it must be made, its reply, and what has to be read from that; None where the file does not say."""

    call: Call
    reply: Reply
    opportunity: Mapping[str, Json] | None = None
    page: Mapping[str, Json] | None = None
    problem: Mapping[str, Json] | None = None
    issues: tuple[Mapping[str, Json], ...] = ()

    @property
    def fails(self) -> bool:
        """Whether the reply is an error, by its status or by what the file says of one that answers all with 200."""
        return self.reply.status >= 400 or self.problem is not None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one file shows: an operation with its input, the calls that it makes and what comes of their replies.

    `settings` and `stages` are None where the sample holds for any. `steps` has one entry, or one for each call of a write.
    """

    file: str
    operation: str
    origin: Origin
    steps: tuple[Step, ...]
    input: Mapping[str, Json] = field(default_factory=dict)
    note: str = ""
    settings: Mapping[str, Json] | None = None
    stages: Mapping[str, str] | None = None
    unsupported: tuple[str, ...] = ()

    @property
    def succeeds(self) -> bool:
        """Whether every reply is a success."""
        return not any(step.fails for step in self.steps)


def load_exchanges(adapter: type[Adapter]) -> tuple[Exchange, ...]:
    """The exchanges in the folder `exchanges` beside the adapter's class, by file name; empty without such a folder.

    A subclass whose own package has none takes its base's. Raises `BadExchange` for the first file that is wrong.
    """
    for folder in _folders(adapter):
        found = sorted(
            (entry for entry in folder.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name
        )
        if found:
            return tuple(read_exchange(entry.name, entry.read_bytes()) for entry in found)
    return ()


def _folders(adapter: type[Adapter]) -> Iterator[Traversable]:
    for base in adapter.__mro__:
        module = sys.modules.get(base.__module__)
        if module is None or base in (Adapter, object):
            continue
        package = module.__spec__.parent if module.__spec__ is not None else module.__package__
        folder: Traversable | None = None
        if package:
            folder = files(package) / "exchanges"
        elif module.__file__:  # a module that lies in no package, as in a test folder without one
            folder = Path(module.__file__).parent / "exchanges"
        if folder is not None and folder.is_dir():
            yield folder


def read_exchange(file: str, data: bytes) -> Exchange:
    """The exchange that a file's bytes spell; `file` is the name for messages. Raises `BadExchange`."""
    try:
        told = strict_json.loads(data)
    except strict_json.NotJson as error:
        raise BadExchange(f"{file}: not strict JSON: {error}") from None
    return _Reader(file).exchange(told)


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.operation = ""

    def exchange(self, told: Json) -> Exchange:
        told = self._object(told, "the file", _FILE)
        for needed in ("operation", "origin", "call", "reply"):
            if needed not in told:
                self._fail(f"`{needed}` is missing")
        self.operation = told["operation"]
        if self.operation not in (*OPERATIONS, "stages"):
            self._fail(f"`operation` must be one of {', '.join((*OPERATIONS, 'stages'))}")
        if told["origin"] not in ORIGINS:
            self._fail(f"`origin` must be one of {', '.join(ORIGINS)}")
        needed_input, possible = _INPUT[self.operation]
        given = self._object(told.get("input", {}), "`input`", (*needed_input, *possible))
        for name in needed_input:
            if name not in given:
                self._fail(f"`input.{name}` is missing: {self.operation} needs it")
        steps = [self._step({name: told[name] for name in _STEP if name in told}, "")]
        for place, further in enumerate(self._list(told.get("then", []), "`then`")):
            steps.append(self._step(further, f"then[{place}]."))
        if len(steps) > 1 and self.operation not in ("create", "update"):
            self._fail("`then` is for writes of several calls")
        unsupported = self._list(told.get("unsupported", []), "`unsupported`")
        return Exchange(
            file=self.file,
            operation=self.operation,
            origin=cast("Origin", told["origin"]),
            steps=tuple(steps),
            input=given,
            note=self._text(told.get("note", ""), "`note`"),
            settings=self._object(told["settings"], "`settings`") if "settings" in told else None,
            stages=self._object(told["stages"], "`stages`") if "stages" in told else None,
            unsupported=tuple(self._text(path, "`unsupported`") for path in unsupported),
        )

    def _step(self, told: Json, at: str) -> Step:
        told = self._object(told, f"`{at.rstrip('.') or 'the file'}`", _STEP)
        for needed in ("call", "reply"):
            if needed not in told:
                self._fail(f"`{at}{needed}` is missing")
        results = [name for name in ("opportunity", "page", "problem") if name in told]
        if len(results) > 1:
            self._fail(f"`{at}{results[0]}` and `{at}{results[1]}`: a reply is one of them")
        issues = self._list(told.get("issues", []), f"`{at}issues`")
        return Step(
            self._call(told["call"], f"{at}call"),
            self._reply(told["reply"], f"{at}reply"),
            opportunity=self._part(told, "opportunity", at),
            page=self._part(told, "page", at, ("opportunities", "next")),
            problem=self._part(told, "problem", at),
            issues=tuple(
                self._object(issue, f"`{at}issues`", ("index", "field", "path", "reason", "detail")) for issue in issues
            ),
        )

    def _call(self, told: Json, at: str) -> Call:
        told = self._object(told, f"`{at}`", ("method", "path", "query", "body"))
        query = self._object(told.get("query", {}), f"`{at}.query`")
        pairs = tuple((name, self._text(value, f"`{at}.query.{name}`")) for name, value in query.items())
        method = self._text(told.get("method"), f"`{at}.method`")
        return Call(self.operation, method, self._text(told.get("path"), f"`{at}.path`"), pairs, told.get("body"))

    def _reply(self, told: Json, at: str) -> Reply:
        told = self._object(told, f"`{at}`", ("status", "headers", "body", "text"))
        status = told.get("status")
        if type(status) is not int or not 200 <= status <= 599:
            self._fail(f"`{at}.status` must be a status from 200 to 599")
        if "text" in told and ("body" in told or status < 400):
            self._fail(f"`{at}.text` is for an error whose body is not JSON, in the place of `body`")
        headers = self._object(told.get("headers", {}), f"`{at}.headers`")
        plain = {name.lower(): self._text(value, f"`{at}.headers.{name}`") for name, value in headers.items()}
        return Reply(status, plain, told.get("body"), unreadable="text" in told)

    def _part(
        self, told: dict[str, Json], name: str, at: str, allowed: tuple[str, ...] = ()
    ) -> Mapping[str, Json] | None:
        return self._object(told[name], f"`{at}{name}`", allowed) if name in told else None

    def _object(self, told: Json, what: str, allowed: tuple[str, ...] = ()) -> dict[str, Json]:
        if not isinstance(told, dict):
            self._fail(f"{what} must be an object")
        unknown = [name for name in told if allowed and name not in allowed]
        if unknown:
            self._fail(f"{what} has no member {unknown[0]!r}; it may have {', '.join(allowed)}")
        return cast("dict[str, Json]", told)

    def _list(self, told: Json, what: str) -> list[Json]:
        if not isinstance(told, list):
            self._fail(f"{what} must be a list")
        return cast("list[Json]", told)

    def _text(self, told: Json, what: str) -> str:
        if not isinstance(told, str):
            self._fail(f"{what} must be a string")
        return cast("str", told)

    def _fail(self, what: str) -> None:
        raise BadExchange(f"{self.file}: {what}")


__all__ = ["ORIGINS", "BadExchange", "Exchange", "Origin", "Step", "load_exchanges", "read_exchange"]
