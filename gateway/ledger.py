"""The ledger of a write: what took and what did not, by comparing what was sent with the record read back.

What a caller is told rests on that comparison, not on the provider's having answered 200.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from gateway.codecs import MISSING, decimal_string
from gateway.strict_json import Json


@dataclass(frozen=True, slots=True)
class NotApplied:
    """One entry of the ledger: `reason` is `unsupported`, `ignored`, `coerced` or `failed`."""

    field: str
    reason: str
    detail: str
    sent: Json = MISSING
    stored: Json = MISSING

    def body(self) -> dict[str, Json]:
        """As `meta.not_applied` shows it."""
        body: dict[str, Json] = {"field": self.field, "reason": self.reason, "detail": self.detail}
        if self.sent is not MISSING:
            body["sent"] = self.sent
        if self.stored is not MISSING:
            body["stored"] = self.stored
        return body


@dataclass(frozen=True, slots=True)
class Sent:
    """One canonical leaf as a caller wrote it, and the call that carries it."""

    field: str
    value: Json
    operation: str


@dataclass(slots=True)
class Plan:
    """`bodies` by call, the leaves they carry, what no call can carry, and the lists that are written whole.

    Of `lists` only the length is compared: their elements are compared leaf by leaf.
    """

    bodies: dict[str, dict[str, Json]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    refused: list[NotApplied] = field(default_factory=list)
    lists: list[Sent] = field(default_factory=list)


def settle(
    planned: Plan, stored: Mapping[str, Json] | None, failed: Mapping[str, str]
) -> tuple[list[str], list[NotApplied]]:
    """(applied, not applied) after a write: `stored` is the record as read back, or None where it could not be.

    A top-level field is listed as applied by its own name when all that was sent of it took, else by the paths that did.
    `failed` maps a call that failed to why. A leaf that the record does not tell counts as applied: its call succeeded.
    """
    not_applied: list[NotApplied] = []
    took: list[str] = []
    for sent in planned.sent:
        found = MISSING if stored is None else lookup(stored, sent.field)
        if sent.operation in failed:
            # A call that failed may have taken effect all the same, or have asked for what was so already.
            if found is not MISSING and equal(sent.value, found, sent.field):
                took.append(sent.field)
            else:
                not_applied.append(NotApplied(sent.field, "failed", failed[sent.operation], sent.value, found))
        elif found is MISSING or equal(sent.value, found, sent.field):
            took.append(sent.field)
        else:
            not_applied.append(_otherwise(sent, found))
    for whole in planned.lists:
        found = MISSING if stored is None else lookup(stored, whole.field)
        if isinstance(found, list) and len(found) > len(whole.value):
            reason, detail = "ignored", f"the record read back has {len(found)} of them: the list was not replaced"
            if whole.operation in failed:
                reason, detail = "failed", failed[whole.operation]
            not_applied.append(NotApplied(whole.field, reason, detail, whole.value, found))
    for refused in planned.refused:
        # What cannot be written but is so already needs no word: the caller has what it asked for.
        if stored is not None and equal(refused.sent, lookup(stored, refused.field), refused.field):
            took.append(refused.field)
        else:
            not_applied.append(refused)
    missed = {_top(entry.field) for entry in not_applied}
    applied = dict.fromkeys(path if _top(path) in missed else _top(path) for path in took)
    return list(applied), not_applied


def _otherwise(sent: Sent, found: Json) -> NotApplied:
    if alike(sent.value, found, sent.field):
        return NotApplied(sent.field, "coerced", "stored in another form", sent.value, found)
    return NotApplied(sent.field, "ignored", "the record read back has it otherwise", sent.value, found)


def compare(path: str, value: Json, stored: Mapping[str, Json], unheld: str) -> NotApplied | None:
    """What became of one leaf in `stored`: None when it is there, else an entry that says how it differs."""
    found = lookup(stored, path)
    if found is not MISSING and equal(value, found, path):
        return None
    if found is not MISSING and alike(value, found, path):
        return NotApplied(path, "coerced", "held in another form", value, found)
    return NotApplied(path, "unsupported", unheld, value, found)


def _top(path: str) -> str:
    return path.split(".")[0].split("[")[0]


def lookup(fields: Mapping[str, Json], path: str) -> Json:
    """The value at a canonical path. Below a null everything is null; beyond a list's end there is nothing."""
    here: Any = fields
    for token in path.replace("[", ".[").split("."):
        if here is None:
            return None
        if token.startswith("["):
            index = int(token[1:-1])
            if not isinstance(here, list):
                return MISSING
            here = here[index] if index < len(here) else None
        elif isinstance(here, Mapping) and token in here:
            here = here[token]
        else:
            return MISSING
    return here


DECIMALS = frozenset({"amount.value", "probability"})
"""The canonical leaves that are numbers, written as text: of these alone the value counts and not the spelling."""


def equal(sent: Json, stored: Json, path: str | None = None) -> bool:
    """Whether a stored value is the sent one; numbers by value, nothing told like nothing held.

    `path` is the leaf's: text in another place than a number's is equal as it is written only. Without one whatever looks
    like a number is taken for one.
    """
    if sent == stored:
        return True
    if isinstance(sent, str) and isinstance(stored, str):
        return (path is None or path in DECIMALS) and _apart(sent, stored) == 0
    return sent in (None, []) and stored in (None, [])


def alike(sent: Json, stored: Json, path: str) -> bool:
    """Whether the stored value is the sent one in another form: a number rounded, text trimmed, folded, escaped or cut."""
    if not (isinstance(sent, str) and isinstance(stored, str)):
        return False
    if path in DECIMALS:
        apart = _apart(sent, stored)
        return apart is not None and apart < 1
    if _folded(sent) == _folded(stored) or (stored and sent.startswith(stored)):
        return True
    # Instants are ours, so in UTC both: the same second.
    return bool(_INSTANT.match(sent) and _INSTANT.match(stored)) and sent[:19] == stored[:19]


def _apart(one: str, other: str) -> Decimal | None:
    """How far two numbers are apart; None where one is none."""
    try:
        return abs(Decimal(decimal_string(one)) - Decimal(decimal_string(other)))
    except ValueError:
        return None


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6,})?Z\Z", re.ASCII)


def _folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", html.unescape(value)).casefold().split())


def leaves_of(fields: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """(canonical path, value) of each leaf of an opportunity's members, nulls and empty lists included."""
    for name, value in fields.items():
        yield from _leaves_of(value, name)


def _leaves_of(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves_of(inner, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves_of(inner, f"{path}[{index}]")
    else:
        yield path, value
