"""Names of stages that only a list tells: asked for when they are needed, once, and never called absent when unknown."""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from adapters.getraze import GetRaze
from gateway import stage_names
from tests.live import JSON, Answer, Says, Seen, StandIn, ask, assert_problem, running_gateway
from tests.operating import Server

STRICT = {"Prefer": "handling=strict"}


def made_id(*words: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(map(str, words))))


ODD = [f"odd {number}" for number in range(40)]
STAGE = {name: made_id("stage", name) for name in ("Lead", "Proposal", "Far", "won", "lost", "Twice", "mapped", *ODD)}


class FakeServed:
    """GetRaze as served: a record by its id tells its stage's id alone, a list the name as well.

    `stages` are the names of the stages of its records, newest first; `says` may answer a list instead.
    """

    def __init__(self, *stages: str, says: Callable[[Seen], Says | None] = lambda seen: None) -> None:
        self.says = says
        self.records = {
            made_id(place, name): {"stage_id": STAGE[name], "stage_name": name} for place, name in enumerate(stages)
        }

    def __call__(self, seen: Seen) -> Says:
        if seen.method == "GET" and seen.path == "/opportunities":
            return self.says(seen) or self._list(seen.query)
        id_ = seen.path.split("/")[2]
        if seen.method == "PATCH":
            (name,) = [name for name, stage in STAGE.items() if stage == seen.json["stage_id"]]
            self.records[id_] = {"stage_id": STAGE[name], "stage_name": name}
        return Says(200, {"success": True, "data": self._told(id_)})

    def _list(self, query: dict[str, str]) -> Says:
        ids = [one for one, record in self.records.items() if query.get("stage_id") in (None, record["stage_id"])]
        size, page = int(query["limit"]), int(query["page"])
        shown = ids[(page - 1) * size : page * size]
        items = [{**self._told(one), "stage_name": self.records[one]["stage_name"]} for one in shown]
        return Says(200, {"success": True, "data": items, "pagination": {"has_next": page * size < len(ids)}})

    def _told(self, id_: str) -> dict[str, Any]:
        name = self.records[id_]["stage_name"]
        told = {f"{word}_at": "2024-01-15T10:30:00Z" if name == word else None for word in ("won", "lost")}
        return {"id": id_, "title": "Deal", "stage_id": self.records[id_]["stage_id"], "notes": None, **told}


class Rig:
    """A gateway that has just started, before a provider whose records stand in these stages."""

    def __init__(self, url: str, provider: StandIn, served: FakeServed) -> None:
        self.url, self.provider, self.served = url, provider, served
        self.ids = list(served.records)

    def get(self, place: int = 0) -> Answer:
        return ask(f"{self.url}/v1/opportunities/raze:{self.ids[place]}", headers={"Cache-Control": "no-cache"})

    def patch(self, patch: Any, headers: dict[str, str] | None = None) -> Answer:
        target = f"{self.url}/v1/opportunities/raze:{self.ids[0]}"
        return ask(target, "PATCH", {**JSON, **(headers or {})}, json.dumps(patch).encode())

    def lists(self) -> list[tuple[str, str, str | None]]:
        """(page, limit, stage) of each list that was asked for."""
        seen = [one.query for one in self.provider.seen if one.method == "GET" and one.path == "/opportunities"]
        return [(query["page"], query["limit"], query.get("stage_id")) for query in seen]

    def moves(self) -> list[Any]:
        """Bodies of the writes that the provider saw."""
        return [one.json for one in self.provider.seen if one.method != "GET"]


Start = Callable[..., Rig]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def started(*stages: str, stage_map: str = "{}", **options: Any) -> Rig:
            served = FakeServed(*stages, **options)
            provider = stack.enter_context(StandIn(served))
            url = stack.enter_context(running_gateway(config(provider, stage_map), tmp_path))
            return Rig(url, provider, served)

        yield started


def config(provider: StandIn, stage_map: str = "{}") -> str:
    return (
        "circuit: off\nstate: off\nconnections:\n"
        f"  raze: {{provider: getraze, base_url: '{provider.url}', api_key: k, settings: {{dialect: served}},\n"
        f"         budget: off, stages: {stage_map}}}\n"
    )


def told(answer: Answer) -> tuple[Any, Any, Any]:
    return answer.data["status"], answer.data["status_source"], answer.data["stage"].get("name")


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_first_record_is_told_with_the_name_of_its_stage_and_the_next_cost_no_call_more(start: Start) -> None:
    rig = start("Lead", "Proposal", "Lead")
    assert told(rig.get()) == ("open", "inferred", "Lead")
    assert [told(rig.get(place)) for place in (1, 2, 0)] == [
        ("open", "inferred", "Proposal"), ("open", "inferred", "Lead"), ("open", "inferred", "Lead"),
    ]  # fmt: skip
    assert rig.lists() == [("1", "100", None)]
    assert len(rig.provider.seen) == 5


def test_a_stage_that_no_record_of_the_first_page_stands_in_is_asked_for_by_itself(start: Start) -> None:
    rig = start(*["Lead"] * 100, "Far")
    assert told(rig.get(100)) == ("open", "inferred", "Far")
    assert (told(rig.get(0)), told(rig.get(100))) == (("open", "inferred", "Lead"), ("open", "inferred", "Far"))
    assert rig.lists() == [("1", "100", None), ("1", "1", STAGE["Far"])]


def test_many_who_need_a_name_at_once_share_one_question(start: Start) -> None:
    rig = start(*["Lead", "Proposal"] * 10)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(rig.get, range(20)))
    assert {told(answer) for answer in answers} == {("open", "inferred", "Lead"), ("open", "inferred", "Proposal")}
    assert rig.lists() == [("1", "100", None)]


@pytest.mark.parametrize("says", [Says(403), Says(200, {"success": True, "data": []}), Says(200, [1]), Says(404)])
def test_a_record_is_told_without_a_name_that_cannot_be_had_and_it_is_not_asked_for_again_at_once(
    start: Start, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_names, "SOON", 3600.0)
    silent = [says]
    rig = start("Lead", says=lambda seen: silent[0] if silent else None)
    assert told(rig.get()) == ("unknown", None, None)
    asked = rig.lists()
    assert told(rig.get()) == ("unknown", None, None)
    assert rig.lists() == asked and len(asked) <= 2
    silent.clear()
    monkeypatch.setattr(stage_names, "loop_time", lambda: time.monotonic() + 3601)  # every pause is over
    assert told(rig.get()) == ("open", "inferred", "Lead")


def test_stages_that_are_never_named_are_asked_for_a_few_times_only(start: Start) -> None:
    rig = start(*ODD, says=lambda seen: Says(200, {"success": True, "data": []}))
    assert {told(rig.get(place)) for place in range(40)} == {("unknown", None, None)}
    assert len(rig.lists()) == 1 + stage_names.MOST


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_stage_is_moved_by_its_name_or_by_a_status_before_any_list_was_read(start: Start) -> None:
    rig = start("Lead", "Proposal", "won")
    named = rig.patch({"stage": {"name": "Proposal"}})
    assert (named.meta["applied"], told(named)) == (["stage"], ("open", "inferred", "Proposal"))
    won = rig.patch({"status": "won"}, STRICT)
    assert (won.meta["applied"], told(won)) == (["status"], ("won", "inferred", "won"))
    assert rig.moves() == [{"stage_id": STAGE["Proposal"]}, {"stage_id": STAGE["won"]}]
    assert rig.lists() == [("1", "100", None)]


def test_a_name_is_looked_for_page_by_page_and_no_further_than_it_is_found(start: Start) -> None:
    rig = start(*["Lead"] * 250, "Far", *["Lead"] * 300)
    assert rig.patch({"stage": {"name": "Far"}}).status == 200
    assert [page for page, _, _ in rig.lists()] == ["1", "2", "3"]
    assert "Lead" in rig.patch({"stage": {"name": "nobody's"}}).json["errors"][0]["message"]
    assert [page for page, _, _ in rig.lists()] == ["1", "2", "3", "4", "5"]


def test_what_is_not_known_yet_is_not_called_absent(start: Start) -> None:
    rig = start("Proposal", "Lead")
    problem = assert_problem(rig.patch({"stage": {"name": "proposal"}}), 422, "invalid-opportunity")
    (error,) = problem["errors"]
    assert (error["field"], problem["outcome"]) == ("stage.name", "not_applied")
    assert error["message"] == "no stage that is known so far is called so; write an `id`; names are: Lead, Proposal"
    (entry,) = rig.patch({"status": "won"}).meta["not_applied"]
    assert entry["detail"].startswith("no stage that is known so far means won; write a `stage` by its `id`")
    assert rig.moves() == []
    assert rig.lists() == [("1", "100", None)]  # nothing has changed a moment later


def test_where_no_record_shows_a_stage_it_is_said_that_none_is_known(start: Start) -> None:
    rig = start("Lead", says=lambda seen: Says(200, {"success": True, "data": []}))
    message = rig.patch({"stage": {"name": "Lead"}}).json["errors"][0]["message"]
    assert message.endswith("names are: none that is known")


def test_two_stages_of_one_name_are_both_seen_before_one_is_taken(start: Start) -> None:
    rig = start("Twice", "mapped")
    rig.served.records[rig.ids[1]]["stage_name"] = "Twice"
    message = rig.patch({"stage": {"name": "Twice"}}).json["errors"][0]["message"]
    assert message.startswith("2 stages are called so")


def test_the_stage_map_by_id_needs_no_record_in_that_stage(start: Start) -> None:
    rig = start("Lead", stage_map=f"{{{STAGE['mapped']}: won}}")
    answer = rig.patch({"status": "won"})
    assert (rig.moves(), told(answer)[:2]) == ([{"stage_id": STAGE["mapped"]}], ("won", "stage_map"))


def test_a_status_beside_a_stage_by_id_is_held_against_its_name(start: Start) -> None:
    rig = start("Lead", "Proposal", "won")
    problem = assert_problem(
        rig.patch({"status": "won", "stage": {"id": STAGE["Proposal"]}}), 422, "invalid-opportunity"
    )
    assert problem["errors"] == [{"field": "status", "message": "the stage means open"}]
    assert rig.moves() == []
    agreed = rig.patch({"status": "won", "stage": {"id": STAGE["won"]}})
    assert sorted(agreed.meta["applied"]) == ["stage", "status"]


@pytest.mark.parametrize("patch", [{"stage": {"name": "Proposal"}}, {"status": "won"}])
def test_a_list_that_fails_leaves_the_write_unsent_and_says_so(start: Start, patch: Any) -> None:
    rig = start("Lead", "Proposal", "won", says=lambda seen: Says(403))
    problem = assert_problem(rig.patch(patch), 502, "provider-auth-failed")
    assert (problem["outcome"], rig.moves()) == ("not_applied", [])


def test_a_write_that_needs_no_stage_asks_for_none_before_it(start: Start) -> None:
    rig = start("Lead")
    assert rig.patch({"description": "x"}).status == 200
    assert [(one.method, one.path == "/opportunities") for one in rig.provider.seen] == [
        ("PUT", False), ("GET", False), ("GET", True),
    ]  # fmt: skip


# --- several workers --------------------------------------------------------------------------------------------------


def test_every_worker_gives_the_same_answers_from_the_first_on(tmp_path: Path) -> None:
    served = FakeServed("Lead", "Proposal", "won")
    with StandIn(served) as provider:
        text = config(provider) + "server: {workers: 2}\ncache: {ttl: 0}\n"
        (tmp_path / "config.yaml").write_text(text)
        with Server(tmp_path) as server:
            rig = Rig(server.url, provider, served)
            answers = [rig.get(1) for _ in range(24)]  # each on a connection of its own, so by either worker
            assert {told(answer) for answer in answers} == {("open", "inferred", "Proposal")}
            refused = [rig.patch({"stage": {"name": "proposal"}}).json["errors"] for _ in range(12)]
            assert all(one == refused[0] for one in refused)
            assert 1 <= len(rig.lists()) <= 2  # one a worker
            server.stop()


def test_without_asking_the_first_answer_lacks_the_name(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that all this mends, planted."""
    monkeypatch.setattr(GetRaze, "names_in_lists", False)
    rig = start("Lead", "Proposal")
    assert told(rig.get()) == ("unknown", None, None)
    assert rig.patch({"stage": {"name": "Proposal"}}).status == 422
