"""Checks of the look-up after a create whose answer was lost: over the stand-in, as the gateway itself would look."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.about import About
from gateway.adapter import Adapter, ListQuery
from gateway.drafts import Draft, validated
from gateway.ledger import Plan
from gateway.looking import Sighting, look_for
from gateway.opportunities import Opportunities
from gateway.strict_json import Json
from gateway.testing.kit import Faults, Kit
from gateway.testing.whole_way import new_ask, over
from gateway.writing import plan as planned_by

NAME = "Kit look-up & others, of a name as long as many a server has room for"
"""The name of what is created here: a record that nobody else makes."""
NEVER = "Something else entirely"
"""The name of what is never created."""
SPELLED: Mapping[str, str] = {
    "trims": f"  {NAME} ", "collapses blanks in": NAME.replace(" ", "  "), "unescapes": NAME.replace("&", "&amp;"),
    "cuts": f"{NAME}, with more than that",
}  # fmt: skip
"""What a provider may do to a text -> a name that it would store as `NAME`."""


def why_unknown(adapter: type[Adapter]) -> str:
    """What it means that an adapter can create and has no `look_up`; empty where that is not so."""
    if not adapter.can("create") or callable(getattr(adapter, "look_up", None)):
        return ""
    return f"{adapter.__name__} has no look_up(): a create whose answer was lost stays unknown until an operator settles it"


class _Planned:
    """Takes down what a create was about to send."""

    plan: Plan | None = None
    claimed = False

    def planned(self, plan: Plan, account: str) -> None:
        self.plan = plan

    async def before(self, call: Any) -> None:
        """Everything may go out."""


def a_lost_create_can_be_found(kit: Kit) -> Faults:
    """With `look_up`, a record just made is found by what was sent, and one that was never made is not."""
    adapter = kit.build()
    if not callable(getattr(adapter, "look_up", None)):
        return
    missing = [name for name in ("create", "list", "get") if name not in adapter.operations()]
    if missing:
        yield f"it defines look_up() but no {', '.join(missing)}(): what `list` shows is compared, `get` gives the answer"
        return
    query = adapter.look_up({})
    if query is not None and not isinstance(query, ListQuery):
        yield f"look_up() gives a {type(query).__name__}; expected a ListQuery, or None when nothing can be looked for"
        return
    (never, created, after, spelled), _ = over(kit, _lost)
    if after is None:
        yield f"look_up() gives None for a create with a name: {NAME!r} could be looked for"
        return
    if never is not None and (never.same or never.alike):
        yield f"of a create that was never sent the look-up shows {never.same + never.alike} as it or like it"
    if created not in after.same:
        shown = (
            "as only alike: a leaf that the list tells differs from what was sent" if created in after.alike else "not"
        )
        yield f"after the create the look-up shows the new record {created} {shown}; see `look_up` and `no_proof`"
    for what, seen in spelled.items():
        if seen is None or created not in seen.same + seen.alike:
            yield f"a provider that {what} names would hide the new record from the look-up; see `gateway.steady.stretch`"
    if not after.far_enough:
        yield "the look-up's page does not go back to before the create: it must be the newest first"
    proved, _ = over(kit, _proved_by_its_name)
    yield from proved


async def _lost(
    opportunities: Opportunities,
) -> tuple[Sighting | None, str, Sighting | None, dict[str, Sighting | None]]:
    """(what is seen of a create that was never sent, the id that another one got, what is seen of that, and what would be
    had it been sent by a name of `SPELLED`)."""
    ask = new_ask()
    planned = _Planned()
    ask.guard = planned
    draft, sent_at = validated(Draft, {"name": NAME}), time.time()
    first = await opportunities.create(draft, ask)
    assert planned.plan is not None
    sent = planned.plan

    async def seen(name: str) -> Sighting | None:
        return await look_for(opportunities, About("create", "", _renamed(sent, name), sent_at), new_ask())

    made: str = first.data["native_id"]
    spelled = {what: await seen(name) for what, name in SPELLED.items()}
    return await seen(NEVER), made, await seen(NAME), spelled


def _renamed(plan: Plan, other: str) -> Plan:
    """The same create with another name."""
    bodies = {call: _swapped(body, other) for call, body in plan.bodies.items()}
    return Plan(
        bodies, [replace(sent, value=other) if sent.value == NAME else sent for sent in plan.sent], plan.refused
    )


def _swapped(value: Json, other: str) -> Json:
    if isinstance(value, dict):
        return {name: _swapped(inner, other) for name, inner in value.items()}
    if isinstance(value, list):
        return [_swapped(inner, other) for inner in value]
    return other if value == NAME else value


_MORE: dict[str, Json] = {
    "amount": {"value": "1234.50", "currency": "EUR"}, "description": "Kit look-up: a note", "source": "fair",
    "expected_close": {"on": "2026-03-31"}, "company": {"name": "Kit look-up Ltd"},
}  # fmt: skip
"""What a create may have sent besides a name; no e-mail, by which it may be looked for instead."""


async def _proved_by_its_name(opportunities: Opportunities) -> list[str]:
    """What is wrong where a record of a name alone proves a create that sent more, and only `no_proof` makes it so."""
    sent_at = time.time()
    made = (await opportunities.create(validated(Draft, {"name": NAME}), new_ask())).data["native_id"]
    adapter = opportunities.adapter
    given = adapter.no_proof
    told_apart: list[str] = []
    passed_over: list[str] = []
    for name, value in _MORE.items():
        draft = validated(Draft, {"name": NAME, name: value})
        planned = planned_by(adapter.table, draft, adapter.writes["create"], adapter.title)
        if all(sent.field == "name" for sent in planned.sent):
            continue
        about = About("create", "", planned, sent_at)
        for no_proof, found in ((given, told_apart), (frozenset[str](), passed_over)):
            adapter.no_proof = no_proof  # type: ignore[misc]  # of this instance alone
            seen = await look_for(opportunities, about, new_ask())
            if seen is not None and made not in seen.same:
                found.append(name)
    adapter.no_proof = given  # type: ignore[misc]  # as it was
    if told_apart or not passed_over:
        return []
    return [
        f"`no_proof` covers all of {', '.join(passed_over)}: any new record of the same name would prove a create; "
        "name only what the provider is known to rewrite"
    ]
