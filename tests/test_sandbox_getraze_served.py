"""The GetRaze stand-in answers as the provider's server was seen to; every test goes over a real socket."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.types import Receive, Scope, Send

from adapters.getraze.sandbox import GetRazeSandbox
from adapters.getraze.sandbox_served_seeds import CAMPAIGNS, PIPELINE_ID, STAGES, TWICE_KNOWN, USERS, seeds
from gateway.testing.sandbox import SandboxServer
from tests.live import Answer, ask

KEY = "gr_live_sandbox"
SOME_MOMENT = 1_795_309_281.282645
THAT_MOMENT = "2026-11-22 01:01:21.282645+00"
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00")
FIRST = seeds()[1][0].id
NOBODY = "00000000-0000-4000-8000-000000000000"
PLACE = {"pipeline_id": PIPELINE_ID, "stage_id": STAGES["new"]}
OWNER, (OWNER_NAME, OWNER_EMAIL) = next(iter(USERS.items()))
CAMPAIGN, CAMPAIGN_NAME = next(iter(CAMPAIGNS.items()))
MALFORMED = ["opp_abc123def456", "1", "null", "5b0f6a52-94c1-4d0e-8a37", NOBODY + "0", "%C3%A9"]


class Switch:
    """One server for the whole file, a fresh sandbox behind it for each test."""

    prefix = GetRazeSandbox.prefix
    current: GetRazeSandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.current(scope, receive, send)


class Caller:
    def __init__(self, url: str, sandbox: GetRazeSandbox) -> None:
        self.url, self.sandbox, self.key = url, sandbox, KEY

    def __call__(self, method: str, path: str, body: object = None, *, raw: str | bytes | None = None) -> Answer:
        sent = json.dumps(body) if body is not None else raw
        headers = {"X-API-Key": self.key, **({} if sent is None else {"Content-Type": "application/json"})}
        return ask(self.url + path, method, headers, sent)

    def listed(self, **query: object) -> Answer:
        return self("GET", "/opportunities?" + urlencode(query))

    def all(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.listed(limit=100).data
        return items

    def ids(self, **query: object) -> list[str]:
        return [item["id"] for item in self.listed(**{"limit": 100, **query}).data]

    def get(self, id: str) -> Answer:
        return self("GET", f"/opportunities/{id}")

    def create(self, **body: object) -> Answer:
        return self("POST", "/opportunities", body)

    def made(self, **body: object) -> dict[str, Any]:
        answer = self.create(**{"name": "Jane Smith", **PLACE, **body})
        assert answer.status == 201, answer.body
        record: dict[str, Any] = answer.data
        return record

    def put(self, id: str, **body: object) -> Answer:
        return self("PUT", f"/opportunities/{id}", body)

    def stage(self, id: str, **body: object) -> Answer:
        return self("PATCH", f"/opportunities/{id}/stage", body)


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The error object of an answer that is this refusal."""
    assert answer.json["success"] is False
    error: dict[str, Any] = answer.json["error"]
    assert (answer.status, error["code"]) == (status, code)
    return error


@pytest.fixture(scope="module")
def switch() -> Iterator[tuple[Switch, str]]:
    app = Switch()
    with SandboxServer(app) as server:
        yield app, server.url


@pytest.fixture
def call(switch: tuple[Switch, str]) -> Caller:
    app, url = switch
    app.current = GetRazeSandbox(key=KEY, settings={"dialect": "served"})
    app.current.clock = lambda: SOME_MOMENT
    return Caller(url, app.current)


# The record.


def test_a_record_has_the_served_members_and_none_of_the_documented_names(call: Caller) -> None:
    record = call.get(FIRST).data
    assert set(record) >= {
        "id", "title", "contact_id", "contact_name", "contact_email", "contact_phone", "contact_company",
        "contact_title", "value", "currency", "probability", "expected_close_date", "pipeline_id", "stage_id",
        "owner_user_id", "owner_user_name", "owner_user_email", "campaign_id", "campaign_name", "notes", "source",
        "won_at", "lost_at", "created_at", "updated_at", "account_id", "score", "custom_fields", "sent_at",
        "qualified_at", "loss_notes", "comments",
    }  # fmt: skip
    assert not set(record) & {
        "name", "email", "phone", "company", "position", "linkedin_url", "status", "deal_value", "deal_currency",
        "responsible_user", "responsible_user_id", "campaign", "stage_name", "pipeline_name", "stage_change",
    }  # fmt: skip
    assert 35 <= len(record) - 25 <= 55
    assert record["custom_fields"] == {}
    assert record["comments"][0]["text"] == "Ligar amanhã"


def test_every_seed_is_written_as_the_server_writes(call: Caller) -> None:
    items = call.all()
    assert len(items) == 61
    for item in items:
        for name in ("id", "contact_id", "pipeline_id", "stage_id"):
            assert str(uuid.UUID(item[name])) == item[name]
        assert isinstance(item["value"], str) and re.fullmatch(r"\d+\.\d\d", item["value"])
        assert type(item["probability"]) is int and 0 <= item["probability"] <= 100
        assert item["expected_close_date"] is None or re.fullmatch(r"\d{4}-\d\d-\d\d", item["expected_close_date"])
        assert TIME.fullmatch(item["created_at"]) and TIME.fullmatch(item["updated_at"])
        assert (item["won_at"] is not None) is (item["stage_name"] == "won")
        assert (item["lost_at"] is not None) is (item["stage_name"] == "lost")
        assert (item["owner_user_name"], item["owner_user_email"]) == USERS.get(item["owner_user_id"], (None, None))
        assert item["campaign_name"] == CAMPAIGNS.get(item["campaign_id"])


def test_the_seeds_hold_every_stage_and_kind_of_gap(call: Caller) -> None:
    items = call.all()
    assert {item["stage_name"]: item["stage_id"] for item in items} == STAGES
    assert {"0.00", "1234567890123.45"} <= {item["value"] for item in items}
    for name in ("contact_name", "contact_phone", "contact_company", "contact_title", "contact_location"):
        assert {None, ""} <= {item[name] for item in items}
    for name in ("contact_email", "expected_close_date", "owner_user_id", "campaign_id", "notes", "score"):
        assert None in {item[name] for item in items}
        assert len({item[name] for item in items}) > 1
    assert any(not item["title"].isascii() for item in items)


def test_one_contact_stands_behind_two_seeds(call: Caller) -> None:
    items = call.listed(search=TWICE_KNOWN).data
    assert len(items) == 2
    assert items[0]["contact_id"] == items[1]["contact_id"]
    assert items[0]["created_at"] > items[1]["created_at"]
    assert len({item["contact_id"] for item in call.all()}) == 60


def test_two_sandboxes_begin_alike_and_share_nothing(call: Caller, switch: tuple[Switch, str]) -> None:
    before = call.listed(limit=100).body
    call("DELETE", f"/opportunities/{FIRST}")
    call.create(name="Stray")
    switch[0].current = GetRazeSandbox(key=KEY, settings={"dialect": "served"})
    assert call.listed(limit=100).body == before
    assert switch[0].current.created == [] == switch[0].current.stray_contacts


@pytest.mark.parametrize("id", MALFORMED)
def test_a_malformed_id_breaks_the_server(call: Caller, id: str) -> None:
    refused(call.get(id), 500, "INTERNAL_ERROR")
    refused(call.put(id, notes="x"), 500, "INTERNAL_ERROR")
    refused(call.stage(id, stage_id=STAGES["won"]), 500, "INTERNAL_ERROR")
    refused(call("DELETE", f"/opportunities/{id}"), 500, "INTERNAL_ERROR")


def test_a_well_formed_id_that_nothing_has_is_not_found(call: Caller) -> None:
    refused(call.get(NOBODY), 404, "NOT_FOUND")
    refused(call.put(NOBODY, notes="x"), 404, "NOT_FOUND")
    refused(call.stage(NOBODY, stage_id=STAGES["won"]), 404, "NOT_FOUND")
    refused(call("DELETE", f"/opportunities/{NOBODY}"), 404, "NOT_FOUND")


def test_an_id_in_capitals_is_the_same_id(call: Caller) -> None:
    assert call.get(FIRST.upper()).data["id"] == FIRST


# The list.


def test_a_list_is_an_array_with_the_pagination_beside_it(call: Caller) -> None:
    answer = call("GET", "/opportunities")
    assert set(answer.json) == {"success", "data", "pagination"}
    assert answer.json["success"] is True
    assert len(answer.data) == 50
    assert answer.json["pagination"] == {
        "page": 1, "per_page": 50, "total": 61, "total_pages": 2, "has_next": True, "has_prev": False,
    }  # fmt: skip
    answer = call("GET", "/opportunities?page=2")
    assert len(answer.data) == 11
    assert answer.json["pagination"] == {
        "page": 2, "per_page": 50, "total": 61, "total_pages": 2, "has_next": False, "has_prev": True,
    }  # fmt: skip


def test_a_list_item_is_the_record_with_names_and_profile_added(call: Caller) -> None:
    item = next(item for item in call.all() if item["id"] == FIRST)
    record = call.get(FIRST).data
    assert {name: item[name] for name in record} == record
    assert set(item) - set(record) == {
        "stage_name", "pipeline_name", "contact_location", "contact_profile_url", "contact_profile_picture",
    }  # fmt: skip
    assert item["pipeline_name"]


def test_paging_meets_every_record_once_and_ends(call: Caller) -> None:
    met, page, more = [], 1, True
    while more:
        answer = call.listed(limit=7, page=page)
        met += [item["id"] for item in answer.data]
        more, page = answer.json["pagination"]["has_next"], page + 1
    assert page == 10
    assert len(met) == len(set(met)) == 61


def test_no_page_holds_more_than_a_hundred(call: Caller) -> None:
    for number in range(50):
        call.made(name=f"Number {number}")
    answer = call.listed(limit=5000)
    assert len(answer.data) == answer.json["pagination"]["per_page"] == 100


def test_a_page_past_the_end_is_empty(call: Caller) -> None:
    answer = call.listed(page=9)
    assert answer.data == []
    assert answer.json["pagination"]["has_next"] is False


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_limit_of_zero_promises_a_next_page_for_ever(call: Caller, page: int) -> None:
    answer = call.listed(limit=0, page=page)
    assert answer.status == 200
    assert answer.data == []
    assert answer.json["pagination"]["has_next"] is True


@pytest.mark.parametrize("query", ["page=0", "limit=abc", "page=abc", "page=-1", "limit=-1", "limit=1.5", "limit="])
def test_a_page_or_limit_that_is_no_number_breaks_the_server(call: Caller, query: str) -> None:
    refused(call("GET", f"/opportunities?{query}"), 500, "INTERNAL_ERROR")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stage_id", STAGES["proposal"]),
        ("pipeline_id", PIPELINE_ID),
        ("campaign_id", CAMPAIGN),
        ("owner_user_id", OWNER),
        ("stage_id", NOBODY),
    ],
)
def test_a_filter_keeps_what_it_names_and_nothing_else(call: Caller, name: str, value: str) -> None:
    assert call.ids(**{name: value}) == [item["id"] for item in call.all() if item[name] == value]


def test_a_filter_by_a_malformed_id_breaks_the_server(call: Caller) -> None:
    refused(call.listed(stage_id="won"), 500, "INTERNAL_ERROR")


def test_filters_are_joined_by_and(call: Caller) -> None:
    wanted = [one for one in call.all() if one["owner_user_id"] == OWNER and one["stage_id"] == STAGES["won"]]
    assert wanted
    assert call.ids(owner_user_id=OWNER, stage_id=STAGES["won"]) == [item["id"] for item in wanted]


def test_company_is_looked_for_in_the_contacts_company_alone(call: Caller) -> None:
    wanted = [item["id"] for item in call.all() if "conceição" in (item["contact_company"] or "").lower()]
    assert wanted
    assert call.ids(company="CONCEIÇÃO") == wanted
    assert call.ids(company="seed-1") == []


def test_search_looks_into_title_name_email_and_company(call: Caller) -> None:
    made = call.made(name="Unheard Of", email="sole@nowhere.example", company="Zzyzx", notes="hidden word")
    for text in ("unheard", "SOLE@nowhere", "zzyzx"):
        assert call.ids(search=text) == [made["id"]]
    assert call.ids(search="hidden word") == []


@pytest.mark.parametrize(
    "query",
    [{"status": "won"}, {"source": "linkedin"}, {"responsible_user_id": OWNER}, {"colour": "red"}, {"sort_by": "name"}],
)
def test_what_the_list_does_not_know_is_ignored_and_everything_returned(call: Caller, query: dict[str, str]) -> None:
    assert call.ids(**query) == call.ids()
    assert len(call.ids(**query)) == 61


@pytest.mark.parametrize("by", ["created_at", "updated_at", "title", "value"])
def test_a_list_is_sorted_by_what_it_is_told(call: Caller, by: str) -> None:
    items = call.listed(limit=100, sort_by=by, sort_order="asc").data
    keys = [Decimal(item[by]) if by == "value" else item[by].casefold() for item in items]
    assert keys == sorted(keys)
    assert call.ids(sort_by=by) == [item["id"] for item in reversed(items)]


def test_the_newest_comes_first_unless_asked_otherwise(call: Caller) -> None:
    made = [call.made()["id"] for _ in range(3)]
    assert call.ids()[:3] == made[::-1]


# Creating.


def test_a_create_answers_the_record_without_any_stage_name(call: Caller) -> None:
    body = {
        "name": "Jane Smith", "title": "CTO", "company": "Acme", "email": "jane@new.example", "phone": "+1 555",
        "location": "Lisboa", "headline": "Builds", "profile_url": "https://x.example/jane", "source": "linkedin",
        "notes": "Olá", "owner_user_id": OWNER, "score": 42, "campaign_id": CAMPAIGN, **PLACE,
    }  # fmt: skip
    answer = call("POST", "/opportunities", body)
    assert answer.status == 201
    record = answer.data
    expected = {
        "title": "Jane Smith", "contact_name": "Jane Smith", "contact_title": "CTO", "contact_company": "Acme",
        "contact_email": "jane@new.example", "contact_phone": "+1 555", "source": "linkedin", "notes": "Olá",
        "owner_user_id": OWNER, "owner_user_name": OWNER_NAME, "owner_user_email": OWNER_EMAIL, "score": 42,
        "campaign_id": CAMPAIGN, "campaign_name": CAMPAIGN_NAME, "value": "0.00", "currency": "BRL",
        "probability": 0, "created_at": THAT_MOMENT, "updated_at": THAT_MOMENT, "won_at": None, "lost_at": None,
        **PLACE,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert not {"stage_name", "pipeline_name", "name"} & set(record)
    assert call.get(record["id"]).data == record
    item = call.listed(limit=1).data[0]
    assert (item["contact_location"], item["contact_profile_url"]) == ("Lisboa", "https://x.example/jane")
    assert call.sandbox.created == [record["id"]]
    assert call.sandbox.stray_contacts == []


def test_a_create_ignores_the_documented_names_without_a_word(call: Caller) -> None:
    record = call.made(
        deal_value=5000, deal_currency="USD", status="won", position="CEO", responsible_user_id=OWNER, value="9.99"
    )
    assert (record["value"], record["currency"]) == ("0.00", "BRL")
    assert record["stage_id"] == STAGES["new"]
    assert record["won_at"] is record["contact_title"] is record["owner_user_id"] is None
    assert "status" not in record


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"pipeline_id": PIPELINE_ID},
        {"stage_id": STAGES["new"]},
        {**PLACE, "stage_id": NOBODY},
        {**PLACE, "pipeline_id": NOBODY},
        {**PLACE, "stage_id": "won"},
        {**PLACE, "owner_user_id": NOBODY},
    ],
)
def test_a_create_without_a_known_place_breaks_the_server_and_leaves_the_contact(
    call: Caller, place: Mapping[str, str]
) -> None:
    refused(call.create(name="Left Behind", email="left@behind.example", **place), 500, "INTERNAL_ERROR")
    assert [(one["name"], one["email"]) for one in call.sandbox.stray_contacts] == [
        ("Left Behind", "left@behind.example")
    ]
    assert len(call.ids()) == 61
    assert call.sandbox.created == []


def test_a_contact_left_behind_is_linked_by_the_next_create_with_its_email(call: Caller) -> None:
    call.create(name="First Try", email="try@again.example")
    call.create(name="Second Try", email="try@again.example")
    (stray,) = call.sandbox.stray_contacts
    record = call.made(name="Third Try", email="try@again.example")
    assert (record["contact_id"], record["contact_name"]) == (stray["id"], "First Try")
    assert call.sandbox.stray_contacts == []


def test_a_known_email_links_the_contact_as_it_is(call: Caller) -> None:
    before = call.get(FIRST).data
    record = call.made(
        name="Somebody Else", email=TWICE_KNOWN, company="Other", title="Intern", phone="1", notes="kept"
    )
    assert (record["title"], record["notes"]) == ("Somebody Else", "kept")
    for name in ("id", "name", "email", "company", "title", "phone"):
        assert record[f"contact_{name}"] == before[f"contact_{name}"]
    assert call.get(FIRST).data == before


def test_the_same_create_twice_makes_two_records(call: Caller) -> None:
    one, two = call.made(email="twice@new.example"), call.made(email="twice@new.example")
    assert one["id"] != two["id"]
    assert one["contact_id"] == two["contact_id"]
    assert call.sandbox.created == [one["id"], two["id"]]
    assert call.made()["contact_id"] != call.made()["contact_id"]  # nothing to know them by


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MISSING_REQUIRED_FIELD"),
        ({"name": "  "}, "VALIDATION_ERROR"),
        ({"name": "A", "email": "nobody"}, "INVALID_EMAIL"),
        ({"name": "A", "source": "radio"}, "INVALID_SOURCE"),
        ({"name": "A", "phone": 5}, "VALIDATION_ERROR"),
        ({"name": "A", "score": "5"}, "VALIDATION_ERROR"),
    ],
)
def test_a_create_with_a_wrong_member_is_refused_before_anything_is_stored(
    call: Caller, body: dict[str, object], code: str
) -> None:
    refused(call.create(**body, **PLACE), 400, code)
    assert call.sandbox.stray_contacts == []


# Changing.


def test_an_update_changes_what_was_sent_and_nothing_else(call: Caller) -> None:
    before = call.get(FIRST).data
    answer = call.put(
        FIRST, title="COO", company="Nova", email="r@nova.example", phone="2", score=7, notes=None, owner_user_id=OWNER,
        stage_id=STAGES["qualified"], pipeline_id=PIPELINE_ID, location="Porto", headline="h", profile_url="u",
    )  # fmt: skip
    assert answer.status == 200
    assert answer.data == {
        **before, "contact_title": "COO", "contact_company": "Nova", "contact_email": "r@nova.example",
        "contact_phone": "2", "score": 7, "notes": None, "owner_user_id": OWNER, "owner_user_name": OWNER_NAME,
        "owner_user_email": OWNER_EMAIL, "stage_id": STAGES["qualified"], "updated_at": THAT_MOMENT,
    }  # fmt: skip
    assert call.get(FIRST).data == answer.data


def test_an_update_of_the_name_changes_title_and_contact(call: Caller) -> None:
    record = call.put(FIRST, name="Renata Lima").data
    assert (record["title"], record["contact_name"]) == ("Renata Lima", "Renata Lima")


def test_a_contact_changed_through_one_record_is_changed_behind_the_other(call: Caller) -> None:
    other = next(id for id in call.ids(search=TWICE_KNOWN) if id != FIRST)
    before = call.get(other).data
    call.put(FIRST, company="Shared & Co")
    assert call.get(other).data == {**before, "contact_company": "Shared & Co"}


@pytest.mark.parametrize("body", [{}, {"deal_value": 1}, {"status": "won", "position": "CEO", "source": "list"}])
def test_an_update_with_nothing_it_knows_is_refused(call: Caller, body: dict[str, object]) -> None:
    error = refused(call.put(FIRST, **body), 400, "VALIDATION_ERROR")
    assert error["message"] == "No fields to update"


def test_an_update_drops_the_value_beside_notes(call: Caller) -> None:
    before = call.get(FIRST).data
    answer = call.put(FIRST, deal_value=1, value="1.00", notes="taken")
    assert answer.status == 200
    assert (answer.data["notes"], answer.data["value"]) == ("taken", before["value"])


@pytest.mark.parametrize("body", [{"stage_id": NOBODY}, {"pipeline_id": "x"}, {"stage_id": None}, {"owner_user_id": 5}])
def test_an_update_to_a_place_or_owner_unknown_breaks_the_server(call: Caller, body: dict[str, object]) -> None:
    before = call.get(FIRST).data
    refused(call.put(FIRST, **body, company="x"), 500, "INTERNAL_ERROR")
    assert call.get(FIRST).data == before


@pytest.mark.parametrize("word", ["won", "lost"])
def test_a_move_to_won_or_lost_sets_its_time_and_tells_both_ends(call: Caller, word: str) -> None:
    before = call.get(FIRST).data
    answer = call.stage(FIRST, stage_id=STAGES[word])
    assert answer.status == 200
    assert answer.data == {
        **before, "stage_id": STAGES[word], f"{word}_at": THAT_MOMENT, "updated_at": THAT_MOMENT, "stage_name": word,
        "stage_change": {"from": STAGES["new"], "to": STAGES[word]},
    }  # fmt: skip
    after = call.get(FIRST).data
    assert "stage_name" not in after and "stage_change" not in after
    assert after[f"{word}_at"] == THAT_MOMENT


def test_a_move_elsewhere_leaves_the_times_of_the_outcome(call: Caller) -> None:
    call.stage(FIRST, stage_id=STAGES["won"])
    record = call.stage(FIRST, stage_id=STAGES["proposal"]).data
    assert (record["stage_name"], record["won_at"], record["lost_at"]) == ("proposal", THAT_MOMENT, None)


@pytest.mark.parametrize("body", [{"status": "won"}, {}, {"stage_id": None}, {"stage_id": ""}])
def test_a_move_needs_a_stage_id(call: Caller, body: dict[str, object]) -> None:
    error = refused(call.stage(FIRST, **body), 400, "VALIDATION_ERROR")
    assert error["message"] == "stage_id is required"


@pytest.mark.parametrize("stage", [NOBODY, "won"])
def test_a_move_to_an_unknown_stage_breaks_the_server(call: Caller, stage: str) -> None:
    refused(call.stage(FIRST, stage_id=stage), 500, "INTERNAL_ERROR")
    assert call.get(FIRST).data["stage_id"] == STAGES["new"]


def test_a_deleted_record_is_gone_and_success_is_told(call: Caller) -> None:
    answer = call("DELETE", f"/opportunities/{FIRST}")
    assert (answer.status, answer.json["success"]) == (200, True)
    assert isinstance(answer.json["message"], str)
    refused(call.get(FIRST), 404, "NOT_FOUND")


# Bodies, keys and limits.


@pytest.mark.parametrize("raw", ["{", "name=Jane", b"\xff", ""])
def test_a_body_that_is_not_json_meets_a_page_with_a_stack_trace(call: Caller, raw: str | bytes) -> None:
    for method, path in (("POST", ""), ("PUT", f"/{FIRST}"), ("PATCH", f"/{FIRST}/stage")):
        answer = call(method, f"/opportunities{path}", raw=raw)
        assert answer.status == 400
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.body.startswith(b"<!DOCTYPE html>")
        assert b"SyntaxError" in answer.body and b"at JSON.parse" in answer.body
        assert answer.headers["x-ratelimit-limit"] == "1000"


@pytest.mark.parametrize("raw", ["[]", "1", "null", '"x"'])
def test_json_that_is_no_object_is_refused_in_the_envelope(call: Caller, raw: str) -> None:
    refused(call("POST", "/opportunities", raw=raw), 400, "VALIDATION_ERROR")


def test_a_key_without_the_permission_is_told_which_ones_it_has(call: Caller) -> None:
    call.key = f"{KEY}_readonly"
    assert call.get(FIRST).status == 200
    for answer in (
        call.create(name="A", **PLACE),
        call.put(FIRST, notes="x"),
        call.stage(FIRST, stage_id=STAGES["won"]),
        call("DELETE", f"/opportunities/{FIRST}"),
    ):
        error = refused(answer, 403, "INSUFFICIENT_PERMISSIONS")
        assert error["current_permissions"] == ["opportunities:read"]


def test_other_keys_are_refused(call: Caller) -> None:
    call.key = "gr_live_other"
    refused(call.get(FIRST), 401, "INVALID_API_KEY")
    refused(ask(f"{call.url}/opportunities"), 401, "MISSING_API_KEY")
    assert ask(f"{call.url}/opportunities", headers={"Authorization": f"Bearer {KEY}"}).status == 200


def test_past_the_limit_the_wait_is_told_in_the_body_only(switch: tuple[Switch, str]) -> None:
    app, url = switch
    app.current = GetRazeSandbox(key=KEY, settings={"dialect": "served", "sandbox_rate_limit": 2})
    app.current.clock = lambda: SOME_MOMENT
    call = Caller(url, app.current)
    reset = (int(SOME_MOMENT) // 3600 + 1) * 3600
    for left in ("1", "0"):
        headers = call.get(FIRST).headers
        assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("2", left)
        assert headers["x-ratelimit-reset"] == str(reset)
    answer = call.get(FIRST)
    error = refused(answer, 429, "RATE_LIMIT_EXCEEDED")
    assert error["retry_after"] == reset - int(SOME_MOMENT)
    assert "retry-after" not in answer.headers
    app.current.clock = lambda: float(reset)
    assert call.get(FIRST).status == 200


# The setting.


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ({"dialect": "served"}, True),
        ({"sandbox_dialect": "served"}, True),
        ({"dialect": "auto", "sandbox_dialect": "served"}, True),
        ({"dialect": "served", "sandbox_dialect": "documented"}, False),
        ({"dialect": "served", "sandbox_dialect": None}, True),
        ({"dialect": "auto"}, False),
        ({}, False),
    ],
)
def test_the_sandboxs_own_dialect_wins_over_the_gateways(
    switch: tuple[Switch, str], settings: dict[str, object], served: bool
) -> None:
    app, url = switch
    app.current = GetRazeSandbox(key=KEY, settings=settings)
    assert isinstance(Caller(url, app.current).listed(limit=1).data, list) is served


def test_an_unknown_dialect_for_the_sandbox_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="dialect 'martian'"):
        GetRazeSandbox(key=KEY, settings={"dialect": "served", "sandbox_dialect": "martian"})


def test_the_documented_dialect_leaves_no_contacts_behind() -> None:
    assert GetRazeSandbox(key=KEY, settings={}).stray_contacts == []
