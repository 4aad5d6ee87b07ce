"""The records that are asked for, as a provider sends them and as a caller must get them.

Both sides are made of the documented examples, lengthened alike on both: neither uses the gateway's code.
"""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

Shape = Literal["flat", "wrapped"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

_EXAMPLES = Path(__file__).parent.parent / "tests" / "examples"
_NOTE = "Asked for the enterprise plan with single sign-on; legal wants the order form before the end of the quarter. "


@dataclass(frozen=True)
class Kind:
    """One shape of record: how it is asked for and what it looks like on both sides; `{}` stands for the native id."""

    shape: Shape
    connection: str
    provider_path: str
    gateway_path: str
    native: str
    provider_body: str
    """What the provider sends, with `native` as the id."""
    answer: dict[str, Any]
    """What a caller gets, with `native` as the id."""

    def natives(self, count: int) -> list[str]:
        """So many different native ids, all as long as the documented one."""
        return [self.native[:-8] + f"{number:08d}" for number in range(count)]


def _load(name: str) -> Any:
    # Numbers keep their own digits: 50000.00 must not become 50000.0.
    text = (_EXAMPLES / name).read_text(encoding="utf-8")
    return json.loads(text, parse_float=lambda digits: f"<number {digits}>")


def _compact(body: Any) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return re.sub(r'"<number ([^>]*)>"', r"\1", text)


def _flat(body: Any, answer: Any) -> None:
    """To some 1.2 kB: longer notes."""
    note = body["data"]["notes"] + ". " + _NOTE * 6
    body["data"]["notes"] = answer["description"] = note


def _wrapped(body: Any, answer: Any) -> None:
    """To some 3 kB: a team of three, four custom attributes, a longer description."""
    text = body["description"]["description"] + ". " + _NOTE * 2
    body["description"]["description"] = answer["description"] = text
    team = body["clientTeam"]["clientTeam"]
    for number in (2, 3):
        person, contact = deepcopy(team[0]), deepcopy(answer["contacts"][0])
        person["id"] = contact["id"] = f"cnt_{number}"
        person["candidateId"] = answer["extensions"][f"/clientTeam/clientTeam/{number - 1}/candidateId"] = (
            f"cand_{number}"
        )
        team.append(person)
        answer["contacts"].append(contact)
    for number in (2, 3, 4):
        attribute, field = deepcopy(body["customAttributes"][0]), deepcopy(answer["custom_fields"][0])
        attribute["attributeDefinitionId"] = field["id"] = f"attr_{number}"
        attribute["label"] = field["label"] = f"Segment {number}"
        body["customAttributes"].append(attribute)
        answer["custom_fields"].append(field)


@cache
def kind(shape: Shape) -> Kind:
    """The documented GetRaze record (`flat`) or Spott's (`wrapped`), lengthened to a usual size."""
    provider, connection, path, lengthen = _SOURCES[shape]
    body, answer = _load(f"{provider}-get.documented.json"), _load(f"{provider}-get.canonical.json")
    lengthen(body, answer)
    return Kind(
        shape=shape,
        connection=connection,
        provider_path=path + "{}",
        gateway_path=f"/v1/opportunities/{connection}:{{}}",
        native=answer["native_id"],
        provider_body=_compact(body),
        answer={"data": answer, "meta": {"issues": []}},
    )


def page_body(shape: Shape, count: int) -> str:
    """What the provider sends for a page of so many records, the first of `Kind.natives`."""
    what = kind(shape)
    one = what.provider_body if shape == "wrapped" else what.provider_body.partition('"data":')[2][:-1]
    records = ",".join(one.replace(what.native, native) for native in what.natives(count))
    return _PAGES[shape] % records


def opportunities(shape: Shape, count: int) -> list[Any]:
    """What a caller gets of that page."""
    what = kind(shape)
    text = json.dumps(what.answer["data"])
    return [json.loads(text.replace(what.native, native)) for native in what.natives(count)]


_PAGES: dict[Shape, str] = {
    "flat": '{"success":true,"data":{"opportunities":[%s],"pagination":{"page":1,"limit":100,"total_pages":1}}}',
    "wrapped": '{"items":[%s],"pageInfo":{"hasNextPage":false,"nextCursor":null}}',
}

_SOURCES: dict[Shape, tuple[str, str, str, Callable[[Any, Any], None]]] = {
    "flat": ("getraze", "raze", "/external/v1/opportunities/", _flat),
    "wrapped": ("spott", "spott", "/opportunities/", _wrapped),
}


class Checker:
    """Tells right answers from wrong ones: every one is compared with what was asked for.

    The first right answer is compared as JSON. Later ones must have its very bytes, but for the id, or else be equal as
    JSON; one in 500 is compared as JSON in any case. What differs in bytes and is right is counted in `reparsed`.
    """

    def __init__(self, expected: str, native: str) -> None:
        self._expected, self._native = expected, native
        self._parts: list[bytes] = []
        self._seen = 0
        self.reparsed = 0
        self.wrong = 0
        self.first_wrong = ""

    def check(self, asked: bytes, status: bytes, body: bytes) -> bool:
        """Whether this is the answer to a request for the native id `asked`."""
        self._seen += 1
        same = bool(self._parts) and asked.join(self._parts) == body
        if status == b"200" and same and self._seen % 500:
            return True
        if status == b"200" and self._equal(asked.decode(), body):
            if not same:
                self._parts = body.split(asked)
                self.reparsed += 1
            return True
        self.fail(f"{asked!r}: status {status!r}: {body[:300]!r}")
        return False

    def fail(self, what: str) -> None:
        """Count something as a wrong answer."""
        self.wrong += 1
        self.first_wrong = self.first_wrong or what

    def _equal(self, asked: str, body: bytes) -> bool:
        try:
            got = json.loads(body, parse_float=str)
        except ValueError:
            return False
        return bool(got == json.loads(self._expected.replace(self._native, asked), parse_float=str))


class ManyChecker(Checker):
    """As `Checker`, for answers with many records: the same bytes every time, the first compared record by record."""

    def __init__(self, expected: list[Any]) -> None:
        super().__init__("", "")
        self._records = expected

    def check(self, asked: bytes, status: bytes, body: bytes) -> bool:
        """Whether these are the records that were asked for; how whole they are is for the provider to say."""
        if status == b"200" and self._parts and self._parts[0] == body:
            return True
        try:
            data = json.loads(body, parse_float=str)["data"] if status == b"200" else None
        except (ValueError, KeyError):
            data = None
        if isinstance(data, list) and [one | {"complete": True} for one in data] == self._records:
            self._parts = [body]
            self.reparsed += 1
            return True
        self.fail(f"status {status!r}: {body[:300]!r}")
        return False


def checker(shape: Shape, *, direct: bool) -> Checker:
    """For answers of the provider itself (`direct`), or of a gateway before it."""
    what = kind(shape)
    return Checker(what.provider_body if direct else json.dumps(what.answer), what.native)
