"""What the stand-in's HTTP half and its dialects say to each other: calls, answers, refusals, exact JSON.

Money never passes through a float here, neither on the way in nor on the way out.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that has passed the key, the limit and the permission.

    `body` is the parsed JSON (numbers with a point as Decimal), or None for an operation that takes none.
    `now` is the time of the call as the provider writes times.
    """

    id: str
    query: Query
    body: object
    now: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the JSON object that goes with it, or the text of an HTML page."""

    status: int
    payload: Mapping[str, object] | str


@dataclass(frozen=True, slots=True)
class Operation:
    """What stands behind one method of one path; `permission` is "read", "write" or "delete"."""

    permission: str
    takes_body: bool
    run: Callable[[Call], Answer]


class Dialect(ABC):
    """One of the manners in which the provider has been seen to speak, with its own records.

    What the HTTP half asks of it is answered as documented unless a dialect knows better.
    """

    created: list[str]

    @abstractmethod
    def operations(self) -> Mapping[str, Mapping[str, Operation]]:
        """The operations by path below the prefix ("/opportunities/{id}"), then by method."""

    def stray_contacts(self) -> list[Mapping[str, object]]:
        """The contacts that a failed create has left behind, oldest first."""
        return []

    def stamp(self, now: float) -> str:
        """A Unix time as the provider writes times."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))

    def forbidden(self, lacking: str, held: Sequence[str]) -> Refusal:
        """What a key is told that lacks a permission; `held` are those it has."""
        return Refusal(403, "INSUFFICIENT_PERMISSIONS", f"API key lacks the permission {lacking}")

    def unreadable(self) -> Refusal:
        """What a body is told that is not JSON."""
        return Refusal(400, "VALIDATION_ERROR", "The request body is not valid JSON")


@dataclass(eq=False)
class Refusal(Exception):
    """An error answer: status, code, a sentence, and what else the error object or the headers carry.

    With a `page`, that HTML is the whole body and the error object is not told.
    """

    status: int
    code: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None

    @property
    def payload(self) -> dict[str, object] | str:
        """The documented error envelope, or the page."""
        if self.page is not None:
            return self.page
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.fields:
            error["details"] = {"fields": dict(self.fields)}
        return {"success": False, "error": {**error, **self.members}}


def read_json(raw: bytes) -> object:
    """The JSON value in `raw`, numbers exact; ValueError for anything that is not plain, unambiguous JSON."""
    try:
        value: object = json.loads(
            raw.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_without_duplicates,
        )
        # A lone surrogate (the escape \ud800) is accepted by the parser and could never be sent back.
        json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except (ArithmeticError, RecursionError) as error:
        raise ValueError("a number or a nesting beyond all bounds") from error
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member appears twice")
    return members


def write_json(value: object) -> str:
    """`value` as JSON text; a Decimal with all its digits and at least two after the point, never a float."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{write_json(name)}:{write_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(write_json, value)) + "]"
    if isinstance(value, Decimal):
        return amount(value)
    if value is None or isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False)
    raise TypeError(f"{type(value).__name__} is not written as JSON here")


def amount(value: Decimal) -> str:
    """The digits of `value` without an exponent, with two or more after the point: 75000 as 75000.00."""
    # By text and not with quantize, which would round to the 28 digits of the context.
    whole, _, fraction = format(value, "f").partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"
