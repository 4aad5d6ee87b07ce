"""Looking for the record that a create made whose answer was lost, in the list where its adapter says it would be.

A record is the one when it is newer than the write and in every leaf that the list tells as it was sent. One that may be it
in another form (its name trimmed, folded, escaped, cut …), or otherwise changed, or that may or may not be newer, is alike:
it proves nothing, and forbids to conclude that there is none.

An update is seen in its record: what is there as it was sent proves it, what is there in another form may have been there
before.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import inf
from typing import Literal

from gateway.about import CLOCKS, About
from gateway.adapter import Reply
from gateway.codecs import MISSING
from gateway.errors import Problem
from gateway.ledger import DECIMALS, Plan, Sent, alike, equal, lookup
from gateway.opportunities import Ask, Opportunities
from gateway.steady import may_be
from gateway.strict_json import Json

SKEW = 2.0
"""How far the provider's clock may be from where its `Date` header puts it: it may count in whole seconds."""

Likeness = Literal["same", "alike", "other"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look found: native ids of records that are the `same` as what was sent, and of those that are `alike`.

    None stands for one without a readable id. `far_enough`: the list went back to before the write, or to its end.
    """

    same: tuple[str, ...]
    alike: tuple[str | None, ...]
    far_enough: bool


async def look_for(opportunities: Opportunities, about: About, ask: Ask) -> Sighting | None:
    """What one page of the adapter's list shows of this create; None when nothing in it can be looked for.

    Raises `Problem`.
    """
    adapter = opportunities.adapter
    query = adapter.look_up(about.plan.bodies)
    if query is None:
        return None
    call = adapter.list(query)
    reply = await opportunities.send(call, ask)
    page = adapter.page(reply.body, query)
    if page is None:
        return None
    sure, maybe = _newer_than(about, reply)
    newest_first = (query.sort or adapter.default_sort) == "-created_at"
    same: list[str] = []
    alike: list[str | None] = []
    far_enough = len(page.items) < query.size and page.next is None
    for item in page.items:
        try:
            found = opportunities.record_of(item, call).opportunity
        except Problem:
            alike.append(None)
            continue
        made = _instant(found.get("created_at"))
        if made is not None and made < maybe:
            far_enough = far_enough or newest_first  # else newer ones may stand on a page behind
            continue
        likeness = _likeness(about, found, adapter.no_proof)
        if likeness == "same" and made is not None and made >= sure:
            same.append(found["native_id"])
        elif likeness != "other":
            alike.append(found["native_id"])
    return Sighting(tuple(same), tuple(alike), far_enough)


def _newer_than(about: About, reply: Reply) -> tuple[float, float]:
    """(a record made at or after this by the provider's clock is newer than the write, one made before this is older).

    Where the provider does not tell what its clock says, none can be known to be either.
    """
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return inf, -inf
    there = theirs - (about.age() - reply.elapsed / 2)
    return there - SKEW, there - CLOCKS  # what looks older by less than that may be the record all the same


def _instant(value: Json) -> float | None:
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None


_PLACE = re.compile(r"\[\d+\]")
_ADDRESS = re.compile(r"\.emails\[\d+\]\.address\Z")


def _likeness(about: About, found: Mapping[str, Json], no_proof: frozenset[str]) -> Likeness:
    """`same`: in every leaf that the list tells as it was sent. `alike`: not so, but its name may be the one that was sent,
    or an e-mail address is (a server that knows it may keep the name that it knows). `other`: neither."""
    same, named, addressed = True, True, False
    for sent in about.plan.sent:
        stored = lookup(found, sent.field)
        if stored is MISSING:
            continue
        leaf = _likeness_of(sent, stored)
        if leaf != "same" and not _proves_nothing(sent, no_proof):
            same = False
        if sent.field == "name":
            named = leaf != "other" or not stored
        elif _ADDRESS.search(sent.field) and sent.value:
            addressed = addressed or leaf != "other"
    if same and named:
        return "same"
    return "alike" if named or addressed else "other"


def contradicts(about: About, found: Mapping[str, Json], no_proof: frozenset[str]) -> bool:
    """Whether the whole record of what the list shows as the same holds something else than what was sent."""
    return any(
        _likeness_of(sent, stored) == "other"
        for sent in about.plan.sent
        if (stored := lookup(found, sent.field)) not in (MISSING, None, []) and not _proves_nothing(sent, no_proof)
    )


def likeness_of_update(plan: Plan, found: Mapping[str, Json]) -> Likeness:
    """Of what an update sent, in the record as it is now: `same` when all of it is there, `other` when none is.

    `alike` proves nothing: a part of it is there, or something in another form, or the record does not tell.
    """
    leaves = {
        "alike" if (stored := lookup(found, sent.field)) is MISSING else _likeness_of(sent, stored)
        for sent in plan.sent
    }  # fmt: skip
    return "same" if leaves == {"same"} else "other" if leaves == {"other"} else "alike"


def _likeness_of(sent: Sent, stored: Json) -> Likeness:
    """Of one leaf. Numbers are compared by value; a text of digits is a text."""
    value = sent.value
    if equal(value, stored, sent.field):
        return "same"
    text = isinstance(value, str) and isinstance(stored, str) and sent.field not in DECIMALS
    if alike(value, stored, sent.field) or (text and may_be(value, stored)):
        return "alike"
    return "other"


def _proves_nothing(sent: Sent, no_proof: frozenset[str]) -> bool:
    bare = _PLACE.sub("", sent.field)
    return any(bare == path or bare.startswith(f"{path}.") for path in no_proof)
