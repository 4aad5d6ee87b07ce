"""Looking for the record that a create made whose answer was lost, in the list where its adapter says it would be.

A record is the one when it is newer than the write and in every leaf that the list tells as it was sent. One that has the
same name, but is otherwise changed, or that may or may not be newer, is alike: it proves nothing, and forbids to conclude
that there is none.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from gateway.about import About
from gateway.adapter import Reply
from gateway.codecs import MISSING
from gateway.errors import Problem
from gateway.ledger import equal, lookup
from gateway.opportunities import Ask, Opportunities
from gateway.strict_json import Json

SKEW = 2.0
"""How far the provider's clock may be from where its `Date` header puts it, or from ours when it sends none: it may count
in whole seconds."""
NO_CLOCK = 300.0
"""How far it may be behind ours when it sends none: what looks older by less than that may be the record all the same."""


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
    sure, maybe = _newer_than(about.sent_at, reply)
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


def _newer_than(sent_at: float, reply: Reply) -> tuple[float, float]:
    """(a record made at or after this by the provider's clock is newer than the write, one made before this is older)."""
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return sent_at - SKEW, sent_at - NO_CLOCK
    there = sent_at + theirs - (time.time() - reply.elapsed / 2)
    return there - SKEW, there - 2 * SKEW


def _instant(value: Json) -> float | None:
    return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None


_PLACE = re.compile(r"\[\d+\]")


def _likeness(about: About, found: Mapping[str, Json], no_proof: frozenset[str]) -> Literal["same", "alike", "other"]:
    """`same`: in every leaf that the list tells as it was sent. `other`: another name. `alike`: neither."""
    same = True
    for sent in about.plan.sent:
        stored = lookup(found, sent.field)
        if stored is MISSING or equal(sent.value, stored):
            continue
        if sent.field == "name":
            return "other"
        bare = _PLACE.sub("", sent.field)
        if not any(bare == path or bare.startswith(f"{path}.") for path in no_proof):
            same = False
    return "same" if same else "alike"
