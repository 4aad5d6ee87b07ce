"""The GetRaze stand-in promises what the provider's pages promise; every test goes over a real socket."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from adapters.getraze.sandbox import GetRazeSandbox
from adapters.getraze.sandbox_seeds import SOURCES, STATUSES
from gateway.testing.sandbox import Sandbox, SandboxServer, load_sandbox

KEY = "gr_live_sandbox"
HALF_PAST_NINE = 1_706_175_000.0  # 2024-01-25T09:30:00Z
DOCUMENTED = """{"success":true,"data":{"id":"opp_abc123def456","name":"John Doe","email":"john@example.com",\
"phone":"+5511999999999","company":"Acme Inc","position":"CEO","status":"qualified","source":"linkedin",\
"deal_value":50000.00,"deal_currency":"BRL","linkedin_url":"https://linkedin.com/in/johndoe",\
"notes":"Interested in enterprise plan","campaign":{"id":"camp_xyz789","name":"Q1 Outreach"},\
"responsible_user":{"id":"usr_123","name":"Sales Rep"},"won_at":null,"lost_at":null,\
"created_at":"2024-01-15T10:30:00Z","updated_at":"2024-01-20T14:00:00Z"}}"""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text, parse_float=Decimal)

    @property
    def data(self) -> Any:
        assert self.json["success"] is True
        return self.json["data"]

    @property
    def error(self) -> Any:
        assert self.json["success"] is False
        assert set(self.json) == {"success", "error"}
        return self.json["error"]

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.error["code"]

    @property
    def faults(self) -> set[str]:
        return set(self.error["details"]["fields"])


def exchange(url: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    try:
        connection.request(method, address.path + path, body=body, headers=dict(headers))
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, named, response.read().decode())
    finally:
        connection.close()


class Switch:
    """One server for the whole file, a fresh sandbox behind it for each test."""

    prefix = GetRazeSandbox.prefix
    current: GetRazeSandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.current(scope, receive, send)


class Caller:
    def __init__(self, url: str, sandbox: GetRazeSandbox) -> None:
        self.url, self.sandbox = url, sandbox

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        sent = raw.encode() if isinstance(raw, str) else raw
        if body is not None:
            sent = json.dumps(body).encode()
        named = {"X-API-Key": KEY} if headers is None else dict(headers)
        if sent is not None:
            named.setdefault("Content-Type", "application/json")
        return exchange(self.url, method, path, sent, named)

    def listed(self, **query: object) -> Reply:
        return self("GET", "/opportunities?" + urlencode(query))

    def ids(self, **query: object) -> list[str]:
        return [item["id"] for item in self.listed(**query).data["opportunities"]]

    def create(self, **body: object) -> Reply:
        return self("POST", "/opportunities", body)

    def made(self, **body: object) -> str:
        reply = self.create(**{"name": "Jane Smith", **body})
        assert reply.status == 201, reply.text
        id: str = reply.data["id"]
        return id

    def get(self, id: str) -> Reply:
        return self("GET", f"/opportunities/{id}")

    def put(self, id: str, **body: object) -> Reply:
        return self("PUT", f"/opportunities/{id}", body)

    def stage(self, id: str, **body: object) -> Reply:
        return self("PATCH", f"/opportunities/{id}/stage", body)


@pytest.fixture(scope="module")
def switch() -> Iterator[tuple[Switch, str]]:
    app = Switch()
    with SandboxServer(app) as server:
        yield app, server.url


@pytest.fixture
def call(switch: tuple[Switch, str]) -> Caller:
    app, url = switch
    app.current = GetRazeSandbox(key=KEY, settings={})
    app.current.clock = lambda: HALF_PAST_NINE
    return Caller(url, app.current)


# Reading.


def test_the_documented_record_is_answered_to_the_letter(call: Caller) -> None:
    reply = call.get("opp_abc123def456")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.text == DOCUMENTED


def test_a_list_has_the_documented_envelope_and_thin_items(call: Caller) -> None:
    reply = call("GET", "/opportunities")
    assert set(reply.json) == {"success", "data"}
    assert reply.data["pagination"] == {"page": 1, "limit": 20, "total": 37, "total_pages": 2}
    assert len(reply.data["opportunities"]) == 20
    for item in reply.data["opportunities"]:
        assert list(item) == [
            "id", "name", "email", "phone", "company", "position", "status", "source", "deal_value",
            "deal_currency", "campaign_id", "responsible_user_id", "created_at", "updated_at",
        ]  # fmt: skip


def test_paging_meets_every_record_once_and_ends(call: Caller) -> None:
    pages = [call.ids(page=page, limit=10) for page in range(1, 6)]
    assert [len(page) for page in pages] == [10, 10, 10, 7, 0]
    assert len({id for page in pages for id in page}) == 37
    assert call.listed(page=5, limit=10).data["pagination"]["total_pages"] == 4


def test_the_seeds_hold_every_status_source_and_kind_of_gap(call: Caller) -> None:
    items = call.listed(limit=100).data["opportunities"]
    assert {item["status"] for item in items} == set(STATUSES)
    assert {item["source"] for item in items} == set(SOURCES)
    assert {item["deal_currency"] for item in items} == {"BRL", "USD", "EUR"}
    assert len({item["responsible_user_id"] for item in items}) == 5
    assert len({item["campaign_id"] for item in items}) == 4
    for name in ("email", "company", "deal_value", "campaign_id", "responsible_user_id"):
        assert any(item[name] is None for item in items), name
    assert any(not item["name"].isascii() for item in items)
    assert all(re.fullmatch("opp_[0-9a-f]{12}", item["id"]) for item in items)
    assert all(item["created_at"] <= item["updated_at"] for item in items)


def test_two_sandboxes_begin_alike_and_share_nothing(call: Caller, switch: tuple[Switch, str]) -> None:
    before = call.listed(limit=100).text
    call.made()
    switch[0].current = GetRazeSandbox(key=KEY, settings={})
    assert call.listed(limit=100).text == before


def test_every_seed_tells_won_at_and_lost_at_by_its_status(call: Caller) -> None:
    for id in call.ids(limit=100):
        record = call.get(id).data
        assert (record["won_at"] is not None) == (record["status"] == "won")
        assert (record["lost_at"] is not None) == (record["status"] == "lost")


def test_the_order_is_newest_first_unless_asked_otherwise(call: Caller) -> None:
    def values(member: str, **query: object) -> list[Any]:
        return [item[member] for item in call.listed(limit=100, **query).data["opportunities"]]

    times = values("created_at")
    assert times == sorted(times, reverse=True)
    assert values("created_at", sort_order="asc") == times[::-1]
    names = [name.casefold() for name in values("name", sort_by="name", sort_order="asc")]
    assert names == sorted(names)
    changed = values("updated_at", sort_by="updated_at")
    assert changed == sorted(changed, reverse=True)
    amounts = [value for value in values("deal_value", sort_by="deal_value") if value is not None]
    assert amounts == sorted(amounts, reverse=True)


def test_of_two_records_made_in_one_second_the_later_comes_first(call: Caller) -> None:
    first, second = call.made(), call.made()
    assert call.ids(limit=2) == [second, first]


@pytest.mark.parametrize("text", ["JOHN DOE", "n@example.c", "acme in"])
def test_search_looks_into_name_email_and_company_and_ignores_case(call: Caller, text: str) -> None:
    assert "opp_abc123def456" in call.ids(search=text, limit=100)


def test_search_looks_nowhere_else(call: Caller) -> None:
    assert call.ids(search="enterprise plan") == []
    assert call.ids(search="CEO") == []


def test_search_finds_letters_beyond_ascii(call: Caller) -> None:
    assert [item["name"] for item in call.listed(search="ИВАНОВ").data["opportunities"]] == ["Дмитрий Иванов"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "won"),
        ("source", "list"),
        ("campaign_id", "camp_xyz789"),
        ("responsible_user_id", "usr_204"),
    ],
)
def test_a_filter_keeps_what_it_names_and_nothing_else(call: Caller, name: str, value: str) -> None:
    everything = call.listed(limit=100).data["opportunities"]
    kept = call.listed(limit=100, **{name: value}).data["opportunities"]
    assert kept == [item for item in everything if item[name] == value]
    assert kept


def test_filters_are_joined_by_and(call: Caller) -> None:
    both = call.listed(limit=100, status="qualified", responsible_user_id="usr_123").data["opportunities"]
    assert all((item["status"], item["responsible_user_id"]) == ("qualified", "usr_123") for item in both)
    assert "opp_abc123def456" in {item["id"] for item in both}


def test_a_filter_by_an_id_nobody_has_finds_nothing(call: Caller) -> None:
    reply = call.listed(campaign_id="camp_none")
    assert reply.data == {
        "opportunities": [],
        "pagination": {"page": 1, "limit": 20, "total": 0, "total_pages": 0},
    }


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("stage=won", "INVALID_PARAMETER"),
        ("per_page=5", "INVALID_PARAMETER"),
        ("limit=0", "INVALID_PARAMETER"),
        ("limit=101", "INVALID_PARAMETER"),
        ("limit=abc", "INVALID_PARAMETER"),
        ("limit=1.0", "INVALID_PARAMETER"),
        ("limit=%D9%A3", "INVALID_PARAMETER"),
        ("page=0", "INVALID_PARAMETER"),
        ("page=-1", "INVALID_PARAMETER"),
        ("page=1&page=2", "INVALID_PARAMETER"),
        ("search=", "INVALID_PARAMETER"),
        ("search", "INVALID_PARAMETER"),
        ("search=%FF", "INVALID_PARAMETER"),
        ("status=", "INVALID_PARAMETER"),
        ("responsible_user_id=null", "INVALID_PARAMETER"),
        ("sort_by=status", "INVALID_PARAMETER"),
        ("sort_order=DESC", "INVALID_PARAMETER"),
        ("status=Won", "INVALID_STATUS"),
        ("source=facebook", "INVALID_SOURCE"),
    ],
)
def test_a_query_beyond_the_page_is_refused(call: Caller, query: str, code: str) -> None:
    reply = call("GET", f"/opportunities?{query}")
    assert reply.refusal == (400, code)
    assert reply.error["message"]
    if query != "search=%FF":
        assert reply.faults == {query.partition("=")[0]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/opportunities/opp_abc123def456"),
        ("POST", "/opportunities"),
        ("PUT", "/opportunities/opp_abc123def456"),
        ("PATCH", "/opportunities/opp_abc123def456/stage"),
        ("DELETE", "/opportunities/opp_abc123def456"),
    ],
)
def test_only_the_list_takes_query_parameters(call: Caller, method: str, path: str) -> None:
    body: object = None if method in ("GET", "DELETE") else {}
    assert call(method, f"{path}?limit=1", body).refusal == (400, "INVALID_PARAMETER")


# Creating.


def test_a_create_is_answered_as_on_the_page(call: Caller) -> None:
    raw = """{"name": "Jane Smith", "email": "jane@company.com", "company": "Tech Corp", "position": "CTO",
    "source": "paid_traffic", "deal_value": 75000, "deal_currency": "BRL",
    "notes": "Inbound from Google Ads"}"""
    reply = call("POST", "/opportunities", raw=raw)
    assert reply.status == 201
    id = reply.data["id"]
    assert re.fullmatch("opp_[0-9a-f]{12}", id)
    assert reply.text == (
        f'{{"success":true,"data":{{"id":"{id}","name":"Jane Smith","email":"jane@company.com",'
        '"company":"Tech Corp","position":"CTO","status":"new","source":"paid_traffic","deal_value":75000.00,'
        '"deal_currency":"BRL","notes":"Inbound from Google Ads","created_at":"2024-01-25T09:30:00Z"}}'
    )
    assert call.sandbox.created == [id]


def test_a_create_with_a_name_alone_takes_the_documented_defaults(call: Caller) -> None:
    record = call.get(call.made()).data
    assert (record["status"], record["source"], record["deal_currency"]) == ("new", "other", "BRL")
    for name in (
        "email",
        "phone",
        "company",
        "position",
        "deal_value",
        "notes",
        "campaign",
        "won_at",
        "lost_at",
    ):
        assert record[name] is None
    assert record["responsible_user"] is None
    assert record["created_at"] == record["updated_at"] == "2024-01-25T09:30:00Z"


def test_a_create_tells_phone_and_profile_only_when_they_were_sent(call: Caller) -> None:
    assert not {"phone", "linkedin_url"} & set(call.create(name="A").data)
    told = call.create(name="A", phone="+1", linkedin_url="https://linkedin.com/in/a").data
    assert (told["phone"], told["linkedin_url"]) == ("+1", "https://linkedin.com/in/a")


def test_a_create_does_not_tell_the_owner_but_keeps_it(call: Caller) -> None:
    told = call.create(name="A", responsible_user_id="usr_123").data
    assert not {"responsible_user", "responsible_user_id", "campaign", "won_at", "updated_at"} & set(told)
    assert call.get(told["id"]).data["responsible_user"] == {"id": "usr_123", "name": "Sales Rep"}


def test_a_create_already_won_has_its_won_at(call: Caller) -> None:
    assert call.get(call.made(status="won")).data["won_at"] == "2024-01-25T09:30:00Z"


def test_the_same_create_twice_makes_two_records(call: Caller) -> None:
    assert call.made(email="jane@company.com") != call.made(email="jane@company.com")
    assert call.listed(search="jane@company.com").data["pagination"]["total"] == 2


def test_letters_beyond_ascii_come_back_as_sent(call: Caller) -> None:
    name = 'Zoë "李" 🚀 \\ \u2028'
    assert call.get(call.made(name=name)).data["name"] == name


def test_a_create_without_a_name_is_refused(call: Caller) -> None:
    reply = call.create(company="Acme")
    assert reply.refusal == (400, "VALIDATION_ERROR")
    assert reply.error["details"]["fields"] == {"name": "Name is required"}
    assert call.sandbox.created == []


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("name", "", "VALIDATION_ERROR"),
        ("name", "  ", "VALIDATION_ERROR"),
        ("name", None, "VALIDATION_ERROR"),
        ("name", 7, "VALIDATION_ERROR"),
        ("email", "not-an-address", "INVALID_EMAIL"),
        ("email", "", "INVALID_EMAIL"),
        ("email", 7, "INVALID_EMAIL"),
        ("phone", 5511999, "VALIDATION_ERROR"),
        ("company", {}, "VALIDATION_ERROR"),
        ("position", [], "VALIDATION_ERROR"),
        ("notes", False, "VALIDATION_ERROR"),
        ("linkedin_url", 1, "VALIDATION_ERROR"),
        ("status", "closed", "INVALID_STATUS"),
        ("status", None, "INVALID_STATUS"),
        ("source", "facebook", "INVALID_SOURCE"),
        ("source", None, "INVALID_SOURCE"),
        ("deal_value", "75000", "VALIDATION_ERROR"),
        ("deal_value", True, "VALIDATION_ERROR"),
        ("deal_currency", None, "VALIDATION_ERROR"),
        ("deal_currency", "brl", "VALIDATION_ERROR"),
        ("deal_currency", "R$", "VALIDATION_ERROR"),
        ("deal_currency", "BRL\n", "VALIDATION_ERROR"),
        ("responsible_user_id", "usr_nobody", "VALIDATION_ERROR"),
        ("responsible_user_id", "", "VALIDATION_ERROR"),
        ("campaign_id", "camp_xyz789", "VALIDATION_ERROR"),
        ("title", "Deal", "VALIDATION_ERROR"),
        ("id", "opp_abc123def456", "VALIDATION_ERROR"),
    ],
)
def test_a_create_with_a_wrong_member_is_refused(call: Caller, member: str, value: object, code: str) -> None:
    reply = call.create(**{"name": "Jane", member: value})
    assert reply.refusal == (400, code)
    assert reply.faults == {member}
    assert call.sandbox.created == []


def test_several_faults_are_told_together_as_a_validation_error(call: Caller) -> None:
    reply = call.create(name="", email="x", source="y")
    assert reply.refusal == (400, "VALIDATION_ERROR")
    assert reply.faults == {"name", "email", "source"}


@pytest.mark.parametrize("member", ["email", "phone", "company", "position", "deal_value", "notes", "linkedin_url"])
def test_null_is_taken_for_a_member_that_may_be_empty(call: Caller, member: str) -> None:
    assert call.get(call.made(**{member: None})).data[member] is None


# Money.


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("75000", "75000.00"),
        ("0", "0.00"),
        ("-0.00", "0.00"),
        ("-12.5", "-12.50"),
        ("0.1", "0.10"),
        ("10.125", "10.125"),
        ("10.1250", "10.1250"),
        ("7.5e4", "75000.00"),
        ("1E-3", "0.001"),
        ("1234567890123.45", "1234567890123.45"),
        (
            "12345678901234567890123456789012345678.123456789",
            "12345678901234567890123456789012345678.123456789",
        ),
        ("18446744073709551617", "18446744073709551617.00"),
    ],
)
def test_an_amount_keeps_every_digit(call: Caller, sent: str, told: str) -> None:
    reply = call("POST", "/opportunities", raw=f'{{"name": "A", "deal_value": {sent}}}')
    assert f'"deal_value":{told},' in reply.text
    assert f'"deal_value":{told},' in call.get(reply.data["id"]).text
    assert f'"deal_value":{told},' in call.listed(limit=1).text


@pytest.mark.parametrize("sent", ["1e999999999", "1e-999999999", "1e101", "1e99999999999999999999", "9" * 5000])
def test_an_amount_beyond_all_bounds_is_refused(call: Caller, sent: str) -> None:
    reply = call("POST", "/opportunities", raw=f'{{"name": "A", "deal_value": {sent}}}')
    assert reply.refusal == (400, "VALIDATION_ERROR")


def test_the_seeds_hold_amounts_that_a_float_would_bend(call: Caller) -> None:
    text = call.listed(limit=100).text
    for amount in ("1234567890123.45", "0.10", "10.125", "12345678901234567890.12"):
        assert f'"deal_value":{amount},' in text


# Updating, moving, deleting.


def test_an_update_changes_what_was_sent_and_nothing_else(call: Caller) -> None:
    before = call.get("opp_abc123def456").data
    reply = call.put("opp_abc123def456", deal_value=100000, notes="Upgraded to enterprise package")
    assert reply.status == 200
    assert reply.text == (
        '{"success":true,"data":{"id":"opp_abc123def456","name":"John Doe","email":"john@example.com",'
        '"company":"Acme Inc","status":"qualified","deal_value":100000.00,"deal_currency":"BRL",'
        '"notes":"Upgraded to enterprise package","updated_at":"2024-01-25T09:30:00Z"}}'
    )
    changed = {
        "deal_value": Decimal("100000.00"),
        "notes": "Upgraded to enterprise package",
        "updated_at": "2024-01-25T09:30:00Z",
    }
    assert call.get("opp_abc123def456").data == {**before, **changed}


def test_an_update_tells_phone_and_position_only_when_they_were_sent(call: Caller) -> None:
    assert not {"phone", "position"} & set(call.put("opp_abc123def456", name="Jon Doe").data)
    told = call.put("opp_abc123def456", phone="+1", position=None).data
    assert (told["phone"], told["position"]) == ("+1", None)


@pytest.mark.parametrize("member", ["email", "phone", "company", "position", "deal_value", "notes"])
def test_an_update_with_null_clears_a_member(call: Caller, member: str) -> None:
    assert call.put("opp_abc123def456", **{member: None}).status == 200
    assert call.get("opp_abc123def456").data[member] is None


def test_an_update_moves_the_record_to_another_owner_and_to_none(call: Caller) -> None:
    call.put("opp_abc123def456", responsible_user_id="usr_204")
    owner = {"id": "usr_204", "name": "Beatriz Nogueira"}
    assert call.get("opp_abc123def456").data["responsible_user"] == owner
    call.put("opp_abc123def456", responsible_user_id=None)
    assert call.get("opp_abc123def456").data["responsible_user"] is None


def test_an_update_with_no_member_is_taken_and_changes_nothing(call: Caller) -> None:
    assert call.put("opp_abc123def456").status == 200
    assert call.get("opp_abc123def456").text == DOCUMENTED


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("status", "won", "VALIDATION_ERROR"),
        ("source", "list", "VALIDATION_ERROR"),
        ("linkedin_url", "https://linkedin.com/in/x", "VALIDATION_ERROR"),
        ("name", None, "VALIDATION_ERROR"),
        ("name", "", "VALIDATION_ERROR"),
        ("deal_currency", None, "VALIDATION_ERROR"),
        ("deal_value", "1", "VALIDATION_ERROR"),
        ("email", "x", "INVALID_EMAIL"),
        ("responsible_user_id", "usr_nobody", "VALIDATION_ERROR"),
    ],
)
def test_an_update_with_a_wrong_member_changes_nothing(call: Caller, member: str, value: object, code: str) -> None:
    reply = call.put("opp_abc123def456", **{"notes": "changed", member: value})
    assert reply.refusal == (400, code)
    assert reply.faults == {member}
    assert call.get("opp_abc123def456").text == DOCUMENTED


def test_moving_to_won_lost_and_back_sets_and_clears_the_times(call: Caller) -> None:
    now = "2024-01-25T09:30:00Z"
    won = call.stage("opp_abc123def456", status="won")
    assert won.status == 200
    moved = {"id": "opp_abc123def456", "name": "John Doe", "updated_at": now}
    assert won.data == {**moved, "status": "won", "won_at": now}
    assert call.stage("opp_abc123def456", status="lost").data == {**moved, "status": "lost", "lost_at": now}
    record = call.get("opp_abc123def456").data
    assert (record["status"], record["won_at"], record["lost_at"]) == ("lost", None, now)
    assert call.stage("opp_abc123def456", status="proposal").data == {**moved, "status": "proposal"}
    record = call.get("opp_abc123def456").data
    assert (record["status"], record["won_at"], record["lost_at"]) == ("proposal", None, None)


@pytest.mark.parametrize(
    ("body", "code", "faults"),
    [
        ({}, "MISSING_REQUIRED_FIELD", {"status"}),
        ({"status": "Won"}, "INVALID_STATUS", {"status"}),
        ({"status": None}, "INVALID_STATUS", {"status"}),
        ({"status": ["won"]}, "INVALID_STATUS", {"status"}),
        ({"status": "won", "stage_id": "x"}, "VALIDATION_ERROR", {"stage_id"}),
        ({"stage_id": "x"}, "VALIDATION_ERROR", {"status", "stage_id"}),
    ],
)
def test_a_wrong_move_is_refused(call: Caller, body: dict[str, object], code: str, faults: set[str]) -> None:
    reply = call.stage("opp_abc123def456", **body)
    assert reply.refusal == (400, code)
    assert reply.faults == faults
    assert call.get("opp_abc123def456").text == DOCUMENTED


def test_a_deleted_record_is_gone(call: Caller) -> None:
    reply = call("DELETE", "/opportunities/opp_abc123def456")
    assert reply.status == 200
    assert reply.json == {"success": True, "message": "Opportunity deleted successfully"}
    assert call.get("opp_abc123def456").refusal == (404, "NOT_FOUND")
    assert call("DELETE", "/opportunities/opp_abc123def456").refusal == (404, "NOT_FOUND")
    assert call.listed().data["pagination"]["total"] == 36


@pytest.mark.parametrize("id", ["opp_000000000000", "42", "opp_ABC123DEF456", "%20", "a%00b", "%C3%A9", "opp_x%0A"])
def test_an_id_that_nothing_has_is_not_found(call: Caller, id: str) -> None:
    assert call.get(id).refusal == (404, "NOT_FOUND")
    assert call.put(id, notes="x").refusal == (404, "NOT_FOUND")
    assert call.stage(id, status="won").refusal == (404, "NOT_FOUND")
    assert call("DELETE", f"/opportunities/{id}").refusal == (404, "NOT_FOUND")


# Routes, bodies, keys.


@pytest.mark.parametrize(
    "path", ["", "/", "/contacts", "/opportunities/", "/opportunities/a/b", "/opportunities/a%2Fb"]
)
def test_an_unknown_route_is_not_found_in_the_same_envelope(call: Caller, path: str) -> None:
    assert call("GET", path).refusal == (404, "NOT_FOUND")


def test_nothing_answers_outside_the_prefix(call: Caller) -> None:
    root = call.url.removesuffix("/external/v1")
    reply = exchange(root, "GET", "/opportunities", None, {"X-API-Key": KEY})
    assert reply.refusal == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/opportunities", "GET, POST"),
        ("PATCH", "/opportunities/opp_abc123def456", "GET, PUT, DELETE"),
        ("GET", "/opportunities/opp_abc123def456/stage", "PATCH"),
        ("OPTIONS", "/opportunities", "GET, POST"),
    ],
)
def test_a_wrong_method_is_refused_in_the_same_envelope(call: Caller, method: str, path: str, allow: str) -> None:
    reply = call(method, path)
    assert reply.refusal == (405, "METHOD_NOT_ALLOWED")
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "name=Jane",
        '{"name": "A", "name": "B"}',
        '{"name": "A", "deal_value": NaN}',
        '{"name": "A", "deal_value": Infinity}',
        '{"name": "A",}',
        '{"name": "\\ud800"}',
        b'{"name": "\xff"}',
        b'\xef\xbb\xbf{"name": "A"}',
        "[" * 100_000,
        "[]",
        "null",
        '"Jane"',
    ],
)
def test_a_body_that_is_no_json_object_is_refused_in_the_envelope(call: Caller, raw: str | bytes) -> None:
    assert call("POST", "/opportunities", raw=raw).refusal == (400, "VALIDATION_ERROR")
    assert call("PUT", "/opportunities/opp_abc123def456", raw=raw).refusal == (400, "VALIDATION_ERROR")
    assert call("PATCH", "/opportunities/opp_abc123def456/stage", raw=raw).refusal == (
        400,
        "VALIDATION_ERROR",
    )
    assert call.sandbox.created == []


def test_a_body_must_be_declared_as_json(call: Caller) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        headers = {"X-API-Key": KEY, "Content-Type": kind}
        reply = call("POST", "/opportunities", {"name": "A"}, headers=headers)
        assert reply.refusal == (400, "VALIDATION_ERROR")
    headers = {"X-API-Key": KEY, "Content-Type": "Application/JSON; charset=utf-8"}
    assert call("POST", "/opportunities", {"name": "A"}, headers=headers).status == 201


def test_a_read_or_a_delete_takes_no_body(call: Caller) -> None:
    assert call("GET", "/opportunities", {}).refusal == (400, "VALIDATION_ERROR")
    assert call("DELETE", "/opportunities/opp_abc123def456", {}).refusal == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"Authorization": "Basic abc"}, {"Authorization": KEY}])
def test_a_call_without_a_key_is_refused(call: Caller, headers: dict[str, str]) -> None:
    reply = call("GET", "/opportunities", headers=headers)
    assert reply.refusal == (401, "MISSING_API_KEY")
    assert reply.error["message"] == "API key is required. Include it in the X-API-Key header."


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": "\xe9"},
    ],
)
def test_a_call_with_a_wrong_key_is_refused(call: Caller, headers: dict[str, str]) -> None:
    assert call("GET", "/opportunities", headers=headers).refusal == (401, "INVALID_API_KEY")


def test_a_bearer_token_is_as_good_as_the_key_header(call: Caller) -> None:
    assert call("GET", "/opportunities", headers={"Authorization": f"Bearer {KEY}"}).status == 200


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": KEY}])
def test_a_key_in_the_address_is_refused_and_never_kept(call: Caller, headers: dict[str, str]) -> None:
    reply = call("GET", f"/opportunities?limit=1&api_key={KEY}", headers=headers)
    assert reply.refusal == (400, "INVALID_PARAMETER")
    assert KEY not in repr(call.sandbox.requests)
    assert KEY not in reply.text


def test_the_key_for_reading_reads_and_changes_nothing(call: Caller) -> None:
    headers = {"X-API-Key": f"{KEY}_readonly"}
    assert call("GET", "/opportunities", headers=headers).status == 200
    assert call("GET", "/opportunities/opp_abc123def456", headers=headers).text == DOCUMENTED
    writes = [
        ("POST", "/opportunities", {"name": "A"}),
        ("PUT", "/opportunities/opp_abc123def456", {"notes": "x"}),
        ("PATCH", "/opportunities/opp_abc123def456/stage", {"status": "won"}),
        ("DELETE", "/opportunities/opp_abc123def456", None),
    ]
    for method, path, body in writes:
        assert call(method, path, body, headers=headers).refusal == (403, "INSUFFICIENT_PERMISSIONS")
    assert call.get("opp_abc123def456").text == DOCUMENTED
    assert call.sandbox.created == []


# The rate limit.


def limits(reply: Reply) -> tuple[str, str, str]:
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    limit, remaining, reset = (reply.headers[name] for name in names)
    return limit, remaining, reset


def test_every_answer_tells_what_is_left_of_the_hour(call: Caller) -> None:
    ten = str(int(HALF_PAST_NINE) + 1800)
    assert limits(call.listed()) == ("1000", "999", ten)
    assert limits(call.get("opp_none")) == ("1000", "998", ten)
    assert limits(call.create()) == ("1000", "997", ten)
    assert limits(call("GET", "/nowhere")) == ("1000", "996", ten)
    assert limits(call("GET", "/opportunities", headers={})) == ("1000", "1000", ten)


def test_past_the_limit_a_call_is_refused_until_the_next_hour(call: Caller, switch: tuple[Switch, str]) -> None:
    now = HALF_PAST_NINE
    sandbox = switch[0].current = GetRazeSandbox(key=KEY, settings={"sandbox_rate_limit": 2})
    sandbox.clock = lambda: now
    assert [call.listed().status for _ in range(2)] == [200, 200]
    reply = call.create(name="A")
    assert reply.refusal == (429, "RATE_LIMIT_EXCEEDED")
    assert reply.error["retry_after"] == 1800
    assert "retry-after" not in reply.headers
    assert limits(reply)[:2] == ("2", "0")
    assert sandbox.created == []
    readonly = {"X-API-Key": f"{KEY}_readonly"}
    assert call("GET", "/opportunities", headers=readonly).status == 200, "another key has its own allowance"
    now += 1799.5
    assert call.listed().error["retry_after"] == 1
    now += 0.5
    assert call.listed().status == 200


# What the sandbox keeps for tests.


def test_the_calls_are_kept_without_headers(call: Caller) -> None:
    call("GET", "/opportunities?limit=1&search=a%20b")
    call("POST", "/opportunities", raw='{"name": "A", "deal_value": 0.10}')
    call("POST", "/opportunities", raw="{")
    call.get("a%2Fb")
    prefix = "/external/v1/opportunities"
    assert call.sandbox.requests == [
        ("GET", prefix, (("limit", "1"), ("search", "a b")), None),
        ("POST", prefix, (), {"name": "A", "deal_value": Decimal("0.10")}),
        ("POST", prefix, (), "{"),
        ("GET", f"{prefix}/a%2Fb", (), None),
    ]
    assert KEY not in repr(call.sandbox.requests)


def test_only_the_last_thousand_calls_are_kept(call: Caller) -> None:
    first = ("GET", "/first", (), None)
    call.sandbox.requests.extend([first] * 1000)  # type: ignore[list-item]  # only their number counts
    call.listed()
    assert len(call.sandbox.requests) == 1000
    assert call.sandbox.requests[-1].path == "/external/v1/opportunities"


@pytest.mark.parametrize("dialect", ["documented", "auto"])
def test_the_documented_dialect_is_what_auto_means(dialect: str) -> None:
    assert GetRazeSandbox(key=KEY, settings={"dialect": dialect}).prefix == "/external/v1"


@pytest.mark.parametrize(
    "settings",
    [{"dialect": "martian"}, {"dialect": None}, {"sandbox_rate_limit": 0}, {"sandbox_rate_limit": "9"}],
)
def test_a_setting_that_means_nothing_is_refused_at_once(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"dialect|sandbox_rate_limit"):
        GetRazeSandbox(key=KEY, settings=settings)


# The server and the loader.


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"{scope['path']} on {threading.current_thread().name}")(scope, receive, send)


def test_a_sandbox_is_loaded_by_its_target() -> None:
    sandbox = load_sandbox("adapters.getraze.sandbox:GetRazeSandbox", KEY, {"dialect": "documented"})
    assert isinstance(sandbox, Sandbox)
    with SandboxServer(sandbox) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/external/v1", server.url)
        reply = exchange(server.url, "GET", "/opportunities/opp_abc123def456", None, {"X-API-Key": KEY})
    assert reply.text == DOCUMENTED


@pytest.mark.parametrize("target", ["", "json", "json:", ":loads", "json:nothing", "json:__name__"])
def test_a_target_that_names_no_callable_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="sandbox target"):
        load_sandbox(target, KEY, {})


def test_a_target_that_builds_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="no sandbox"):
        load_sandbox("builtins:dict", KEY, {})


def test_any_app_is_served_in_a_thread_of_its_own_and_the_port_is_given_back() -> None:
    server = SandboxServer(plain)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = server.url
    server.start()
    with pytest.raises(RuntimeError, match="already running"):
        server.start()
    url = server.url
    assert exchange(url, "GET", "/x", None, {}).text.startswith("/x on sandbox-")
    server.stop()
    server.stop()
    address = urlsplit(url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname or "", address.port or 0), timeout=5)
    with server:
        assert exchange(server.url, "GET", "/again", None, {}).status == 200


def test_stopping_cuts_idle_and_hanging_calls_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    reached = threading.Event()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        reached.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await receive()  # a sandbox that plays dead does not even notice that the caller is gone

    with caplog.at_level(logging.DEBUG):
        server = SandboxServer(hang)
        server.start()
        address = urlsplit(server.url)
        busy = http.client.HTTPConnection(address.hostname or "", address.port)
        idle = socket.create_connection((address.hostname or "", address.port or 0))
        busy.request("GET", "/")
        assert reached.wait(10)
        server.stop()
        busy.close()
        idle.close()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("uvicorn")] == []
    assert not [thread for thread in threading.enumerate() if thread.name == f"sandbox-{address.port}"]


def test_a_bug_in_an_app_stays_visible_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("a bug of the app")

    with SandboxServer(broken) as server:
        assert exchange(server.url, "GET", "/", None, {}).status == 500
    assert any(record.exc_info and record.exc_info[0] is LookupError for record in caplog.records)
