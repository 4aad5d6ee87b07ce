"""The contract kit's check of the look-up: it passes for what works, and says what is wrong with what does not."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from adapters.getraze import GetRaze
from adapters.getraze.sandbox_served_seeds import PIPELINE_ID, STAGES
from adapters.spott import Spott
from gateway.about import About
from gateway.adapter import Adapter, ListQuery
from gateway.ledger import Plan, Sent
from gateway.looking import Sighting, look_for
from gateway.opportunities import Opportunities
from gateway.testing.kit import Kit
from gateway.testing.on_look_up import a_lost_create_can_be_found, why_unknown
from gateway.testing.suite import run_suite
from gateway.testing.whole_way import new_ask, over

SERVED = {"dialect": "served", "pipeline_id": PIPELINE_ID, "stage_id": STAGES["new"]}


def faults(adapter: type[Adapter], settings: Mapping[str, Any]) -> list[str]:
    return list(a_lost_create_can_be_found(Kit(adapter, settings, {}, "canary-4f9d2c7e51b83a60")))


class LooksForSomethingElse(GetRaze):
    """Asks for every record that has anything to do with nothing."""

    def look_up(self, bodies: Mapping[str, dict[str, Any]]) -> ListQuery | None:
        return ListQuery(100, filters=(("search", "nobody has this name"),))


class LooksForExactlyThat(GetRaze):
    """Asks for the name as it was sent, to the letter."""

    def look_up(self, bodies: Mapping[str, dict[str, Any]]) -> ListQuery | None:
        return ListQuery(100, filters=(("search", bodies.get("create", {}).get("name", "")),))


class LooksForNothing(GetRaze):
    def look_up(self, bodies: Mapping[str, dict[str, Any]]) -> ListQuery | None:
        return None


class LooksAtAFewOldOnes(GetRaze):
    def look_up(self, bodies: Mapping[str, dict[str, Any]]) -> ListQuery | None:
        return ListQuery(1, sort="created_at")


class GivesACall(GetRaze):
    def look_up(self, bodies: Mapping[str, dict[str, Any]]) -> Any:
        return self.list(ListQuery(100))


class LooksWithoutCreating(Spott):
    def look_up(self, bodies: Mapping[str, dict[str, Any]]) -> ListQuery | None:
        return ListQuery(100)


def test_what_works_has_no_faults() -> None:
    assert faults(GetRaze, {"dialect": "documented"}) == []
    assert faults(GetRaze, SERVED) == []
    assert faults(Spott, {}) == []


class CreatesAndCannotLook(GetRaze):
    look_up = None  # type: ignore[assignment]  # as if it had never been defined


def test_an_adapter_that_creates_without_a_look_up_is_told_what_that_means() -> None:
    """It is no fault, since not every provider has one; but nobody should find out by an outage."""
    told = {verdict.name: verdict for verdict in run_suite(CreatesAndCannotLook, {"dialect": "documented"}, shown=1)}
    verdict = told["a_lost_create_can_be_found"]
    assert verdict.outcome == "skipped" and verdict.reason is not None
    assert "no look_up()" in verdict.reason and "stays unknown" in verdict.reason
    assert why_unknown(GetRaze) == why_unknown(Spott) == ""


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (LooksForSomethingElse, "not; see `look_up`"),
        (LooksForNothing, "could be looked for"),
        (LooksForExactlyThat, "a provider that trims names would hide"),
        (LooksForExactlyThat, "a provider that cuts names would hide"),
        (LooksAtAFewOldOnes, "does not go back to before the create"),
        (GivesACall, "gives a Call"),
        (LooksWithoutCreating, "but no create()"),
    ],
)
def test_what_does_not_is_told(adapter: type[Adapter], said: str) -> None:
    settings = {"dialect": "documented"} if issubclass(adapter, GetRaze) else {}
    found = faults(adapter, settings)
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize(("ahead", "likeness"), [(0.0, "same"), (60.0, "alike"), (3600.0, "none")])
def test_clocks_a_minute_apart_hide_no_record(ahead: float, likeness: str) -> None:
    """The write came from a machine whose clock is ahead of the one that looks."""

    async def made(opportunities: Opportunities) -> tuple[str, Sighting | None]:
        name = "Jane Roe of Acme"
        answer = await opportunities.create({"name": name}, new_ask())
        plan = Plan({"create": {"name": name}}, [Sent("name", name, "create")])
        about = About("create", "", plan, time.time() + ahead)
        return answer.data["native_id"], await look_for(opportunities, about, new_ask())

    (created, seen), _ = over(Kit(GetRaze, {"dialect": "documented"}, {}, "canary-4f9d2c7e51b83a60"), made)
    assert seen is not None
    found = "same" if created in seen.same else "alike" if created in seen.alike else "none"
    assert found == likeness
