"""The Spott stand-in answers what the provider's page says, and refuses everything else."""

from __future__ import annotations

import base64
import http.client
import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from starlette.types import Receive, Scope, Send

from adapters.spott.sandbox import SpottSandbox
from adapters.spott.sandbox_seeds import (
    BARE,
    DEAL_VALUES,
    DOCUMENTED_ID,
    EXTRA,
    OLDER_ATTRIBUTES,
    OTHER_KINDS,
    RECORD_COUNT,
    TIED,
    record_id,
)
from gateway.testing.sandbox import SandboxServer

KEY = "sandbox-key-1"
JSON_TYPE = {"content-type": "application/json"}

DOCUMENTED = """{
  "id": "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77",
  "name": {"viewType": "opportunityName", "name": "Senior engineers for Globex"},
  "description": {"viewType": "opportunityDescription", "description": "Three hires before summer"},
  "stage": {
    "viewType": "opportunityStage",
    "stage": {"id": "stg_2", "name": "Proposal", "order": 2, "isOpen": true}
  },
  "company": {"viewType": "opportunityCompany", "company": {"id": "cmp_9", "name": "Globex"}},
  "owner": {
    "viewType": "opportunityOwner",
    "owner": {
      "id": "usr_7",
      "name": "Ada Byron",
      "avatarUrl": "https://img.example.com/7.png",
      "deactivatedAt": null
    }
  },
  "closeDate": {"viewType": "opportunityCloseDate", "closeDate": {"target": "2023-11-07T05:31:56Z"}},
  "createdAt": {"viewType": "opportunityCreatedAt", "createdAt": "2023-11-07T05:31:56Z"},
  "clientTeam": {
    "viewType": "opportunityClientTeam",
    "clientTeam": [
      {
        "id": "cnt_1",
        "firstName": "Jane",
        "lastName": "Smith",
        "middleName": "Q",
        "secondLastName": null,
        "avatarUrl": null,
        "candidateId": "cand_5",
        "companyId": "cmp_9",
        "companyName": "Globex",
        "companyLogoUrl": null,
        "jobTitle": "CTO",
        "department": "Engineering",
        "emails": [{"purpose": "work", "email": "jsmith@example.com", "isPrimary": true}],
        "phoneNumbers": [{"purpose": "personal", "phoneNumber": "+32470000000", "isPrimary": true}]
      }
    ]
  },
  "nextTaskDue": {
    "viewType": "opportunityNextTaskDue",
    "nextTaskDue": {"id": "tsk_3", "content": "Call back", "dueDate": "2023-11-08T09:00:00Z"}
  },
  "customAttributes": [
    {
      "value": {"viewType": "customText", "text": "Tier 1"},
      "attributeDefinitionId": "attr_1",
      "label": "Segment",
      "aiFillOngoing": false,
      "aiOverridden": false,
      "isFilledByAI": true
    }
  ]
}"""


@dataclass
class Answer:
    """What came back over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Caller:
    """Calls one running stand-in, every call over a connection of its own."""

    def __init__(self, app: SpottSandbox, url: str) -> None:
        self.app = app
        self._url = urlsplit(url)

    def call(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send exactly these headers, with no key unless it is among them."""
        assert self._url.hostname is not None
        connection = http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=30)
        try:
            connection.request(method, self._url.path + target, body=body, headers=headers or {})
            response = connection.getresponse()
            lowered = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, lowered, response.read())
        finally:
            connection.close()

    def get(self, path: str, **query: str | int) -> Answer:
        """Read with the right key."""
        target = f"{path}?{urlencode(query)}" if query else path
        return self.call("GET", target, headers={"x-api-key": KEY})

    def record(self, id_: str = DOCUMENTED_ID) -> Any:
        """One record, which must be there."""
        answer = self.get(f"/opportunities/{id_}")
        assert answer.status == 200
        return answer.json()

    def patch(self, body: object, id_: str = DOCUMENTED_ID) -> Answer:
        """Write with the right key; bytes go as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.call("PATCH", f"/opportunities/{id_}", raw, {"x-api-key": KEY, **JSON_TYPE})

    def pages(self, **query: str | int) -> list[list[str]]:
        """The ids of all pages, from the first to the last."""
        found: list[list[str]] = []
        while True:
            answer = self.get("/opportunities", **query)
            assert answer.status == 200
            page = answer.json()
            found.append([item["id"] for item in page["items"]])
            if not page["pageInfo"]["hasNextPage"]:
                assert page["pageInfo"] == {"nextCursor": None, "hasNextPage": False}
                return found
            query["cursor"] = page["pageInfo"]["nextCursor"]

    def ids(self, **query: str | int) -> list[str]:
        """The ids of all pages in one list."""
        return [id_ for page in self.pages(**query) for id_ in page]


class Stage:
    """Serves whichever stand-in is on it: one socket for all tests, fresh state for each."""

    prefix = SpottSandbox.prefix

    def __init__(self) -> None:
        self.app = SpottSandbox(key=KEY, settings={})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Stage, str]]:
    stage = Stage()
    with SandboxServer(stage) as server:
        yield stage, server.url


@pytest.fixture
def spott(served: tuple[Stage, str]) -> Caller:
    stage, url = served
    stage.app = SpottSandbox(key=KEY, settings={})
    return Caller(stage.app, url)


def is_plain_envelope(answer: Answer, status: int) -> None:
    assert answer.status == status
    envelope = answer.json()
    assert set(envelope) == {"status", "message", "requestId"}
    assert envelope["status"] == status
    assert envelope["message"]
    assert envelope["requestId"].startswith("req_")


def is_coded_envelope(answer: Answer, code: str) -> None:
    assert answer.status == 400
    envelope = answer.json()
    assert set(envelope) == {"statusCode", "error", "message", "status", "requestId"}
    assert (envelope["statusCode"], envelope["error"], envelope["status"]) == (400, "Bad Request", 400)
    assert envelope["message"] == code
    assert envelope["requestId"].startswith("req_")


# The key, unknown things, the rate


def test_a_missing_key_is_refused_with_403(spott: Caller) -> None:
    is_plain_envelope(spott.call("GET", "/opportunities"), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "another"},
        {"x-api-key": ""},
        {"x-api-key": KEY + "1"},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": KEY},
        {"api-key": KEY},
    ],
)
def test_a_wrong_key_or_another_header_is_refused_with_403(spott: Caller, headers: dict[str, str]) -> None:
    is_plain_envelope(spott.call("GET", "/opportunities", headers=headers), 403)
    is_plain_envelope(spott.call("GET", "/users/_list", headers=headers), 403)
    body = b'{"name": "changed"}'
    is_plain_envelope(spott.call("PATCH", f"/opportunities/{DOCUMENTED_ID}", body, headers | JSON_TYPE), 403)
    assert spott.record()["name"]["name"] == "Senior engineers for Globex"


def test_a_key_given_twice_in_the_headers_is_refused(served: tuple[Stage, str], spott: Caller) -> None:
    url = urlsplit(served[1])
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.putrequest("GET", "/users/_list")
        connection.putheader("x-api-key", KEY)
        connection.putheader("x-api-key", "another")
        connection.endheaders()
        assert connection.getresponse().status == 403
    finally:
        connection.close()


def test_a_key_in_the_query_is_refused(spott: Caller) -> None:
    is_plain_envelope(spott.call("GET", f"/opportunities?x-api-key={KEY}"), 403)


def test_an_unknown_id_is_answered_with_404(spott: Caller) -> None:
    is_plain_envelope(spott.get("/opportunities/unknown"), 404)
    is_plain_envelope(spott.get(f"/opportunities/{DOCUMENTED_ID.upper()}"), 404)
    is_plain_envelope(spott.patch({"name": "x"}, "unknown"), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/opportunities"),
        ("DELETE", f"/opportunities/{DOCUMENTED_ID}"),
        ("PUT", f"/opportunities/{DOCUMENTED_ID}"),
        ("POST", f"/opportunities/{DOCUMENTED_ID}"),
        ("DELETE", "/opportunities"),
        ("PATCH", "/opportunities"),
        ("GET", "/opportunities/"),
        ("GET", f"/opportunities/{DOCUMENTED_ID}/"),
        ("GET", "/v1/opportunities"),
        ("GET", "/users"),
        ("GET", "/webhooks"),
        ("GET", "/"),
    ],
)
def test_there_is_no_create_no_delete_and_nothing_off_the_page(spott: Caller, method: str, path: str) -> None:
    answer = spott.call(method, path, b'{"name": "x"}', {"x-api-key": KEY, **JSON_TYPE})
    is_plain_envelope(answer, 404)
    assert len(spott.ids(limit=50)) == RECORD_COUNT


def test_every_refusal_has_a_request_id_of_its_own(spott: Caller) -> None:
    ids = {spott.get("/opportunities/unknown").json()["requestId"] for _ in range(5)}
    assert len(ids) == 5


def test_calls_above_the_rate_are_refused_without_any_limit_header() -> None:
    app = SpottSandbox(key=KEY, settings={"sandbox_rate_limit": 3})
    now = [1000.0]
    app.clock = lambda: now[0]
    with SandboxServer(app) as server:
        spott = Caller(app, server.url)
        for _ in range(3):
            assert spott.get("/users/_list").status == 200
        refused = spott.get("/users/_list")
        is_plain_envelope(refused, 429)
        assert not [name for name in refused.headers if "ratelimit" in name or name == "retry-after"]
        now[0] += 59.0
        assert spott.get("/users/_list").status == 429
        now[0] += 1.0
        assert spott.get("/users/_list").status == 200


def test_a_wrong_key_takes_nothing_from_the_rate_of_the_right_one() -> None:
    app = SpottSandbox(key=KEY, settings={"sandbox_rate_limit": 1})
    with SandboxServer(app) as server:
        spott = Caller(app, server.url)
        for _ in range(3):
            assert spott.call("GET", "/users/_list", headers={"x-api-key": "another"}).status == 403
        assert spott.get("/users/_list").status == 200


def test_a_refused_write_above_the_rate_changes_nothing() -> None:
    app = SpottSandbox(key=KEY, settings={"sandbox_rate_limit": 1})
    now = [0.0]
    app.clock = lambda: now[0]
    with SandboxServer(app) as server:
        spott = Caller(app, server.url)
        assert spott.get("/users/_list").status == 200
        is_plain_envelope(spott.patch({"name": "changed"}), 429)
        now[0] += 60.0
        assert spott.record()["name"]["name"] == "Senior engineers for Globex"


@pytest.mark.parametrize("limit", [0, -1, True, "600", None, 1.5])
def test_a_rate_that_is_no_whole_number_above_zero_is_refused_at_the_start(limit: object) -> None:
    with pytest.raises(ValueError, match="sandbox_rate_limit"):
        SpottSandbox(key=KEY, settings={"sandbox_rate_limit": limit})


def test_an_empty_key_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="key"):
        SpottSandbox(key="", settings={})


# Reading


def test_the_first_record_is_exactly_the_documented_one(spott: Caller) -> None:
    assert spott.record() == json.loads(DOCUMENTED)
    assert spott.ids()[0] == DOCUMENTED_ID


def test_the_list_shows_the_same_records_without_custom_attributes(spott: Caller) -> None:
    items = spott.get("/opportunities", limit=50).json()["items"]
    assert len(items) == 50
    for item in items:
        record = spott.record(item["id"])
        assert "customAttributes" not in item
        assert record.pop("customAttributes") is not None
        assert record == item


def test_a_page_holds_25_records_when_no_limit_is_given(spott: Caller) -> None:
    assert [len(page) for page in spott.pages()] == [25, 25, 13]


@pytest.mark.parametrize(("limit", "sizes"), [(50, [50, 13]), (21, [21, 21, 21]), (1, [1] * RECORD_COUNT)])
def test_the_pages_hold_every_record_once_in_order(spott: Caller, limit: int, sizes: list[int]) -> None:
    pages = spott.pages(limit=limit)
    assert [len(page) for page in pages] == sizes
    ids = [id_ for page in pages for id_ in page]
    assert ids[: TIED.start] == [record_id(number) for number in range(TIED.start)]
    assert set(ids[TIED.start : TIED.stop]) == {record_id(number) for number in TIED}
    assert ids[TIED.stop :] == [record_id(number) for number in range(TIED.stop, RECORD_COUNT)]


def test_records_modified_at_the_same_instant_are_neither_lost_nor_doubled_between_pages(
    spott: Caller,
) -> None:
    pages = spott.pages(limit=TIED.start + 2)
    assert pages[0][-1] != pages[1][0]
    assert sorted(id_ for page in pages for id_ in page) == sorted(map(record_id, range(RECORD_COUNT)))


def test_a_changed_record_moves_to_the_end_of_the_list(spott: Caller) -> None:
    assert spott.patch({"name": "Changed first"}, record_id(5)).status == 200
    assert spott.patch({"name": "Changed second"}, record_id(2)).status == 200
    ids = spott.ids(limit=50)
    assert ids[-2:] == [record_id(5), record_id(2)]
    assert len(ids) == len(set(ids)) == RECORD_COUNT


def test_a_record_changed_between_two_pages_is_seen_again(spott: Caller) -> None:
    first = spott.get("/opportunities", limit=50).json()
    assert spott.patch({"name": "Changed meanwhile"}).status == 200
    rest = spott.get("/opportunities", limit=50, cursor=first["pageInfo"]["nextCursor"]).json()
    assert len(rest["items"]) == RECORD_COUNT - 50 + 1
    assert rest["items"][-1]["name"]["name"] == "Changed meanwhile"


def test_the_list_is_cut_by_modification_time_at_both_ends(spott: Caller) -> None:
    assert spott.ids(modifiedUntil="2023-11-07T06:00:00Z") == [DOCUMENTED_ID]
    assert spott.ids(modifiedUntil="2023-11-07T05:59:59.999Z") == []
    assert len(spott.ids(modifiedSince="2023-11-07T06:00:00.000Z")) == RECORD_COUNT
    assert len(spott.ids(modifiedSince="2023-11-07T06:00:00.001Z")) == RECORD_COUNT - 1
    window = spott.ids(modifiedSince="2023-11-18T00:00:00Z", modifiedUntil="2023-12-01T00:00:00Z")
    assert window == [record_id(1), record_id(2)]


def test_only_changed_records_come_after_the_last_seed(spott: Caller) -> None:
    since = "2025-12-01T00:00:00Z"
    assert spott.ids(modifiedSince=since) == []
    assert spott.patch({"description": None}, record_id(9)).status == 200
    assert spott.ids(modifiedSince=since) == [record_id(9)]


@pytest.mark.parametrize(
    "query",
    [
        "sort=name",
        "Limit=5",
        "page=2",
        "offset=0",
        "q=x",
        "modified_since=2024-01-01T00:00:00Z",
        "limit=5&stageId=stg_1",
        "stageId=",
    ],
)
def test_a_query_parameter_off_the_page_is_refused(spott: Caller, query: str) -> None:
    is_plain_envelope(spott.get(f"/opportunities?{query}"), 400)


@pytest.mark.parametrize("name", ["limit", "cursor", "modifiedSince", "modifiedUntil"])
@pytest.mark.parametrize("value", ["=", "=null", ""])
def test_an_empty_or_null_query_parameter_is_refused(spott: Caller, name: str, value: str) -> None:
    is_plain_envelope(spott.get(f"/opportunities?{name}{value}"), 400)


def test_a_query_parameter_given_twice_is_refused(spott: Caller) -> None:
    is_plain_envelope(spott.get("/opportunities?limit=5&limit=5"), 400)


@pytest.mark.parametrize("path", [f"/opportunities/{DOCUMENTED_ID}", "/pipeline/opportunities/stages", "/users/_list"])
@pytest.mark.parametrize("query", ["limit=5", "fields=name", "cursor="])
def test_the_other_reads_take_no_query_parameter(spott: Caller, path: str, query: str) -> None:
    is_plain_envelope(spott.get(f"{path}?{query}"), 400)


@pytest.mark.parametrize("limit", ["0", "51", "100", "-1", "1.0", "1e1", "05", "+5", " 5", "5 ", "five", "\u0665"])
def test_a_limit_out_of_range_or_not_a_whole_number_is_refused(spott: Caller, limit: str) -> None:
    is_plain_envelope(spott.get("/opportunities", limit=limit), 400)


def test_a_mangled_cursor_is_refused(spott: Caller) -> None:
    good = spott.get("/opportunities", limit=2).json()["pageInfo"]["nextCursor"]
    assert spott.get("/opportunities", limit=2, cursor=good).status == 200
    other = "A" if good[20] != "A" else "B"
    mangled = [
        good[:-4],
        good[1:],
        good[:20] + other + good[21:],
        good + "AAAA",
        good + "=",
        good.swapcase(),
        " " + good,
        good + "\n",
        "AAAA",
        "2",
        "not base64!",
        "\u00e9",
    ]
    for cursor in mangled:
        is_coded_envelope(spott.get("/opportunities", limit=2, cursor=cursor), "INVALID_CURSOR")


def test_a_cursor_spelled_differently_for_the_same_bytes_is_refused(spott: Caller) -> None:
    good = spott.get("/opportunities", limit=2).json()["pageInfo"]["nextCursor"]
    assert good.endswith("=")
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    bare = good.rstrip("=")
    respelled = bare[:-1] + alphabet[alphabet.index(bare[-1]) + 1] + good[len(bare) :]
    assert base64.b64decode(respelled) == base64.b64decode(good)
    is_coded_envelope(spott.get("/opportunities", limit=2, cursor=respelled), "INVALID_CURSOR")


@pytest.mark.parametrize("name", ["modifiedSince", "modifiedUntil"])
@pytest.mark.parametrize(
    "instant",
    [
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00+00:00",
        "2024-02-30T00:00:00Z",
        "1700000000",
        "yesterday",
    ],
)
def test_a_modification_time_in_another_spelling_is_refused(spott: Caller, name: str, instant: str) -> None:
    is_plain_envelope(spott.get("/opportunities", **{name: instant}), 400)


def test_the_stages_are_listed_in_order_with_a_colour_and_no_open_flag(spott: Caller) -> None:
    answer = spott.get("/pipeline/opportunities/stages")
    assert answer.status == 200
    assert set(answer.json()) == {"stages"}
    rows = answer.json()["stages"]
    assert [(row["id"], row["order"], row["name"]) for row in rows] == [
        ("stg_1", 1, "Lead"),
        ("stg_2", 2, "Proposal"),
        ("stg_3", 3, "Negotiation"),
        ("stg_won", 4, "Won"),
        ("stg_lost", 5, "Lost"),
        ("stg_closed", 6, "Archived"),
    ]
    assert all(set(row) == {"id", "order", "name", "colorHex"} for row in rows)


def test_the_users_are_listed_by_user_id(spott: Caller) -> None:
    answer = spott.get("/users/_list")
    assert answer.status == 200
    assert set(answer.json()) == {"users"}
    rows = answer.json()["users"]
    assert all(set(row) == {"userId", "name", "email", "avatarUrl", "deactivatedAt"} for row in rows)
    assert rows[0]["userId"] == "usr_7"
    assert any(row["deactivatedAt"] for row in rows)


# The seed data


def test_the_seeds_are_the_same_for_every_stand_in_and_shared_by_none(spott: Caller) -> None:
    other = SpottSandbox(key=KEY, settings={})
    with SandboxServer(other) as server:
        second = Caller(other, server.url)
        for number in (0, 9, 41, 62):
            assert second.record(record_id(number)) == spott.record(record_id(number))
        assert spott.patch({"clientTeam": [], "stageId": "stg_lost"}).status == 200
        assert second.record() == json.loads(DOCUMENTED)


def test_the_seeds_cover_what_a_client_must_tolerate(spott: Caller) -> None:
    records = [spott.record(record_id(number)) for number in range(RECORD_COUNT)]
    flags = {record["stage"]["stage"]["id"]: record["stage"]["stage"]["isOpen"] for record in records}
    assert flags == {
        "stg_1": True,
        "stg_2": True,
        "stg_3": True,
        "stg_won": False,
        "stg_lost": False,
        "stg_closed": False,
    }
    assert any(record["owner"]["owner"] is None for record in records)
    assert any(record["description"]["description"] is None for record in records)
    assert any(record["closeDate"]["closeDate"] is None for record in records)
    assert any(record["closeDate"]["closeDate"] == {"target": None} for record in records)
    assert any(record["nextTaskDue"]["nextTaskDue"] is None for record in records)
    teams = [record["clientTeam"]["clientTeam"] for record in records]
    assert [] in teams
    assert any(len(team) > 1 for team in teams)
    assert any(len(contact["emails"]) > 1 and len(contact["phoneNumbers"]) > 1 for team in teams for contact in team)
    assert any("middleName" not in contact for team in teams for contact in team)
    assert any(not record["name"]["name"].isascii() for record in records)
    assert len({record["id"] for record in records}) == RECORD_COUNT


def test_most_records_carry_the_wrappers_and_the_newest_pages_leave_out_the_view_types(
    spott: Caller,
) -> None:
    for number in range(RECORD_COUNT):
        record = spott.record(record_id(number))
        for member, wrapper in record.items():
            if member in {"id", "customAttributes", "pipelineVersion"}:
                continue
            expected = {} if number in BARE else {"viewType": f"opportunity{member[0].upper()}{member[1:]}"}
            assert expected.items() <= wrapper.items()
            assert member in wrapper
            assert ("viewType" in wrapper) is (number not in BARE)
        for contact in record["clientTeam"]["clientTeam"]:
            for entry in contact["emails"] + contact["phoneNumbers"]:
                assert ("purpose" in entry) is (number not in BARE)


def test_some_records_carry_members_no_page_names(spott: Caller) -> None:
    for number in EXTRA:
        record = spott.record(record_id(number))
        assert record["pipelineVersion"] == 3
        assert record["stage"]["isStale"] is False


def test_the_deal_value_is_a_text_attribute_with_its_digits_as_written(spott: Caller) -> None:
    for number, text in DEAL_VALUES.items():
        attributes = spott.record(record_id(number))["customAttributes"]
        found = [row for row in attributes if row["attributeDefinitionId"] == "attr_value"]
        assert [row["label"] for row in found] == ["Deal value"]
        assert [row["value"] for row in found] == [{"viewType": "customText", "text": text}]


def test_fractional_numbers_keep_every_digit_on_the_wire(spott: Caller) -> None:
    for number in OTHER_KINDS:
        body = spott.get(f"/opportunities/{record_id(number)}").body
        assert b'"amount":1200.50,"currency":"EUR"' in body
        assert b'"number":0.10}' in body
        assert b'"number":12345678901234567890.1230}' in body
        kinds = {row["value"]["viewType"] for row in json.loads(body)["customAttributes"]}
        assert kinds >= {"customNumber", "customCheckbox", "customSelect", "customDate", "customCurrency"}


def test_older_attributes_use_the_older_names_and_any_value(spott: Caller) -> None:
    for number in OLDER_ATTRIBUTES:
        rows = spott.record(record_id(number))["customAttributes"]
        older = [row for row in rows if "filledByAI" in row]
        assert older
        assert all("options" in row and "isFilledByAI" not in row for row in older)
        assert {type(row["value"]) for row in older} >= {str, int, float, bool, list, dict, type(None)}


# Writing


def test_a_write_is_answered_with_200_and_an_empty_body(spott: Caller) -> None:
    answer = spott.patch({"name": "New name"})
    assert (answer.status, answer.body) == (200, b"")
    assert "content-type" not in answer.headers


def test_every_member_of_the_page_can_be_written_and_read_back(spott: Caller) -> None:
    expected = json.loads(DOCUMENTED)
    sent = {
        "name": "\u682a\u5f0f\u4f1a\u793e \U0001f680",
        "description": "Two lines\nof text",
        "companyId": "cmp_8",
        "stageId": "stg_won",
        "ownerId": "usr_9",
        "closeDate": {"target": "2026-03-31T00:00:00Z"},
        "clientTeam": [{"id": "cnt_3"}, {"id": "cnt_1"}],
    }
    assert spott.patch(sent).status == 200
    record = spott.record()
    assert record["name"] == {"viewType": "opportunityName", "name": sent["name"]}
    assert record["description"] == {
        "viewType": "opportunityDescription",
        "description": "Two lines\nof text",
    }
    assert record["company"] == {
        "viewType": "opportunityCompany",
        "company": {"id": "cmp_8", "name": "Acme"},
    }
    assert record["stage"] == {
        "viewType": "opportunityStage",
        "stage": {"id": "stg_won", "name": "Won", "order": 4, "isOpen": False},
    }
    assert record["owner"] == {
        "viewType": "opportunityOwner",
        "owner": {
            "id": "usr_9",
            "name": "Chlo\u00e9 Dupont",
            "avatarUrl": "https://img.example.com/9.png",
            "deactivatedAt": None,
        },
    }
    assert record["closeDate"] == {
        "viewType": "opportunityCloseDate",
        "closeDate": {"target": "2026-03-31T00:00:00Z"},
    }
    assert record["clientTeam"]["viewType"] == "opportunityClientTeam"
    team = record["clientTeam"]["clientTeam"]
    assert [contact["id"] for contact in team] == ["cnt_3", "cnt_1"]
    assert team[1] == expected["clientTeam"]["clientTeam"][0]
    for untouched in ("id", "createdAt", "nextTaskDue", "customAttributes"):
        assert record[untouched] == expected[untouched]


def test_a_write_touches_no_other_member_and_no_other_record(spott: Caller) -> None:
    before = spott.record(record_id(1))
    expected = json.loads(DOCUMENTED)
    assert spott.patch({"stageId": "stg_3"}).status == 200
    expected["stage"]["stage"] = {"id": "stg_3", "name": "Negotiation", "order": 3, "isOpen": True}
    assert spott.record() == expected
    assert spott.record(record_id(1)) == before


def test_the_list_shows_a_write_too(spott: Caller) -> None:
    assert spott.patch({"name": "Seen in the list"}).status == 200
    items = spott.get("/opportunities", modifiedSince="2025-12-01T00:00:00Z").json()["items"]
    assert [(item["id"], item["name"]["name"]) for item in items] == [(DOCUMENTED_ID, "Seen in the list")]


def test_null_clears_the_description_the_owner_and_the_close_date(spott: Caller) -> None:
    assert spott.patch({"description": None, "ownerId": None, "closeDate": None}).status == 200
    record = spott.record()
    assert record["description"] == {"viewType": "opportunityDescription", "description": None}
    assert record["owner"] == {"viewType": "opportunityOwner", "owner": None}
    assert record["closeDate"] == {"viewType": "opportunityCloseDate", "closeDate": None}


def test_an_empty_description_is_kept_as_empty(spott: Caller) -> None:
    assert spott.patch({"description": ""}).status == 200
    assert spott.record()["description"]["description"] == ""


def test_the_client_team_is_replaced_as_a_whole(spott: Caller) -> None:
    assert spott.patch({"clientTeam": [{"id": "cnt_2"}]}).status == 200
    assert [contact["id"] for contact in spott.record()["clientTeam"]["clientTeam"]] == ["cnt_2"]
    assert spott.patch({"clientTeam": []}).status == 200
    assert spott.record()["clientTeam"]["clientTeam"] == []


def test_a_record_of_the_newest_pages_stays_without_view_types_after_a_write(spott: Caller) -> None:
    sent = {"clientTeam": [{"id": "cnt_1"}], "ownerId": None, "name": "Still bare"}
    assert spott.patch(sent, record_id(9)).status == 200
    record = spott.record(record_id(9))
    assert record["owner"] == {"owner": None}
    assert record["name"] == {"name": "Still bare"}
    assert record["clientTeam"]["clientTeam"][0]["emails"] == [{"email": "jsmith@example.com", "isPrimary": True}]


@pytest.mark.parametrize(
    "target",
    ["2026-03-31T00:00:00Z", "2026-03-31T00:00:00.000Z", "2024-02-29T23:59:59.999Z"],
)
def test_a_close_date_is_answered_exactly_as_it_was_sent(spott: Caller, target: str) -> None:
    assert spott.patch({"closeDate": {"target": target}}).status == 200
    assert spott.record()["closeDate"]["closeDate"] == {"target": target}


@pytest.mark.parametrize(
    "target",
    [
        "2026-03-31T00:00:00+00:00",
        "2026-03-31T00:00:00.000+00:00",
        "2026-03-31T02:00:00+02:00",
        "2026-03-31T00:00:00-00:00",
        "2026-03-31T00:00:00",
        "2026-03-31",
        "2026-03-31Z",
        "2026-03-31T00:00:00z",
        "2026-03-31t00:00:00Z",
        "2026-03-31 00:00:00Z",
        "2026-03-31T00:00Z",
        "20260331T000000Z",
        "2026-W14-2T00:00:00Z",
        "2026-03-31T00:00:00,000Z",
        "2026-03-31T00:00:00.Z",
        "2026-03-31T00:00:00.000000Z",
        " 2026-03-31T00:00:00Z",
        "2026-03-31T00:00:00Z\n",
        "\u0662026-03-31T00:00:00Z",
        "",
    ],
)
def test_a_close_date_without_z_or_in_another_spelling_is_refused(spott: Caller, target: str) -> None:
    is_coded_envelope(spott.patch({"closeDate": {"target": target}}), "CLOSE_DATE_INVALID")
    assert spott.record() == json.loads(DOCUMENTED)


@pytest.mark.parametrize(
    "target",
    [
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_a_close_date_no_calendar_has_is_refused(spott: Caller, target: str) -> None:
    is_coded_envelope(spott.patch({"closeDate": {"target": target}}), "CLOSE_DATE_INVALID")


@pytest.mark.parametrize(
    "close_date",
    [
        "2026-03-31T00:00:00Z",
        {},
        {"target": None},
        {"target": 1774915200},
        {"date": "2026-03-31T00:00:00Z"},
        {"target": "2026-03-31T00:00:00Z", "actual": None},
        {"viewType": "opportunityCloseDate", "closeDate": {"target": "2026-03-31T00:00:00Z"}},
        [],
        1774915200,
        False,
    ],
)
def test_a_close_date_in_another_shape_is_refused(spott: Caller, close_date: object) -> None:
    is_coded_envelope(spott.patch({"closeDate": close_date}), "CLOSE_DATE_INVALID")


@pytest.mark.parametrize(
    "member",
    [
        "customAttributes",
        "id",
        "createdAt",
        "nextTaskDue",
        "stage",
        "owner",
        "company",
        "amount",
        "Name",
        "clientContactIds",
        "viewType",
        "",
    ],
)
@pytest.mark.parametrize("value", ["x", None, []])
def test_a_body_member_off_the_page_is_refused(spott: Caller, member: str, value: object) -> None:
    is_coded_envelope(spott.patch({member: value}), "UNKNOWN_MEMBER")
    assert spott.record() == json.loads(DOCUMENTED)


@pytest.mark.parametrize(
    ("member", "code"),
    [("name", "NAME_INVALID"), ("companyId", "COMPANY_ID_INVALID"), ("stageId", "STAGE_ID_INVALID")],
)
@pytest.mark.parametrize("value", ["", None, 1, True, ["x"], {"id": "x"}])
def test_a_name_company_or_stage_that_is_empty_null_or_no_text_is_refused(
    spott: Caller, member: str, code: str, value: object
) -> None:
    is_coded_envelope(spott.patch({member: value}), code)


@pytest.mark.parametrize("value", ["", 7, False, {"id": "usr_7"}, ["usr_7"]])
def test_an_owner_that_is_empty_or_no_text_is_refused(spott: Caller, value: object) -> None:
    is_coded_envelope(spott.patch({"ownerId": value}), "OWNER_ID_INVALID")


@pytest.mark.parametrize("value", [7, 1.5, False, {}, ["text"]])
def test_a_description_that_is_no_text_is_refused(spott: Caller, value: object) -> None:
    is_coded_envelope(spott.patch({"description": value}), "DESCRIPTION_INVALID")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"stageId": "stg_9"}, "STAGE_NOT_FOUND"),
        ({"stageId": "Won"}, "STAGE_NOT_FOUND"),
        ({"ownerId": "usr_1"}, "OWNER_NOT_FOUND"),
        ({"ownerId": "Ada Byron"}, "OWNER_NOT_FOUND"),
        ({"companyId": "cmp_99"}, "COMPANY_NOT_FOUND"),
        ({"clientTeam": [{"id": "cnt_1"}, {"id": "cnt_99"}]}, "CLIENT_CONTACT_NOT_FOUND"),
    ],
)
def test_an_id_of_nothing_known_is_refused(spott: Caller, body: object, code: str) -> None:
    is_coded_envelope(spott.patch(body), code)


@pytest.mark.parametrize(
    ("team", "code"),
    [
        (None, "CLIENT_TEAM_INVALID"),
        ("cnt_1", "CLIENT_TEAM_INVALID"),
        ({"id": "cnt_1"}, "CLIENT_TEAM_INVALID"),
        (["cnt_1"], "CLIENT_TEAM_INVALID"),
        ([None], "CLIENT_TEAM_INVALID"),
        ([{}], "CLIENT_TEAM_INVALID"),
        ([{"id": "cnt_1", "firstName": "Jane"}], "CLIENT_TEAM_INVALID"),
        ([{"contactId": "cnt_1"}], "CLIENT_TEAM_INVALID"),
        ([{"id": ""}], "CLIENT_CONTACT_ID_INVALID"),
        ([{"id": None}], "CLIENT_CONTACT_ID_INVALID"),
        ([{"id": 1}], "CLIENT_CONTACT_ID_INVALID"),
        ([{"id": "cnt_1"}, {"id": "cnt_1"}], "CLIENT_CONTACT_TWICE"),
    ],
)
def test_a_client_team_in_another_shape_is_refused(spott: Caller, team: object, code: str) -> None:
    is_coded_envelope(spott.patch({"clientTeam": team}), code)
    assert spott.record() == json.loads(DOCUMENTED)


def test_a_write_with_one_fault_changes_nothing_at_all(spott: Caller) -> None:
    is_coded_envelope(spott.patch({"name": "Good", "stageId": "stg_9"}), "STAGE_NOT_FOUND")
    assert spott.record() == json.loads(DOCUMENTED)
    assert spott.ids(limit=50)[0] == DOCUMENTED_ID


def test_several_faults_are_answered_with_a_list_of_messages(spott: Caller) -> None:
    answer = spott.patch({"name": "", "stageId": "stg_9", "amount": "1.00"})
    is_plain_envelope(answer, 400)
    assert answer.json()["message"] == ["NAME_INVALID", "STAGE_NOT_FOUND", "UNKNOWN_MEMBER"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a", "name": "b"}',
        b'{"name": "a", "n\\u0061me": "a"}',
        b'{"closeDate": {"target": "2026-03-31T00:00:00Z", "target": "2026-03-31T00:00:00Z"}}',
        b'{"clientTeam": [{"id": "cnt_1", "id": "cnt_2"}]}',
    ],
)
def test_a_key_given_twice_is_refused(spott: Caller, body: bytes) -> None:
    is_coded_envelope(spott.patch(body), "DUPLICATE_KEY")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"name=x",
        b"{'name': 'x'}",
        b'{"name": "x",}',
        b'{"name": "x"} x',
        b'{"name": NaN}',
        b'{"name": -Infinity}',
        b'{"name": "caf\xe9"}',
        b'{"name": "\\ud800"}',
        b'{"\\udfff": "x"}',
        b'\xef\xbb\xbf{"name": "x"}',
        '{"name": "x"}'.encode("utf-16"),
        b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"name": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_not_json_is_refused(spott: Caller, body: bytes) -> None:
    is_plain_envelope(spott.patch(body), 400)
    assert spott.record() == json.loads(DOCUMENTED)


def test_a_huge_exponent_is_refused_like_any_number(spott: Caller) -> None:
    is_coded_envelope(spott.patch(b'{"name": 1e999999999}'), "NAME_INVALID")


@pytest.mark.parametrize("body", [b"{}", b" { } ", b"[]", b"null", b'"name"', b"1", b'[{"name": "x"}]'])
def test_a_body_that_is_empty_or_no_object_is_refused(spott: Caller, body: bytes) -> None:
    is_plain_envelope(spott.patch(body), 400)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/merge-patch+json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-8; x=1",
        "application/jsonp",
    ],
)
def test_another_content_type_is_refused(spott: Caller, content_type: str | None) -> None:
    headers = {"x-api-key": KEY} | ({} if content_type is None else {"content-type": content_type})
    answer = spott.call("PATCH", f"/opportunities/{DOCUMENTED_ID}", b'{"name": "x"}', headers)
    is_plain_envelope(answer, 400)
    assert spott.record() == json.loads(DOCUMENTED)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
def test_json_that_names_its_charset_is_accepted(spott: Caller, content_type: str) -> None:
    headers = {"x-api-key": KEY, "content-type": content_type}
    body = b'{"name": "x"}'
    assert spott.call("PATCH", f"/opportunities/{DOCUMENTED_ID}", body, headers).status == 200


def test_a_write_takes_no_query_parameter(spott: Caller) -> None:
    headers = {"x-api-key": KEY, **JSON_TYPE}
    target = f"/opportunities/{DOCUMENTED_ID}?notify=false"
    is_plain_envelope(spott.call("PATCH", target, b'{"name": "x"}', headers), 400)
    assert spott.record() == json.loads(DOCUMENTED)


# What it remembers


def test_it_remembers_what_was_asked_for_and_never_the_key(spott: Caller) -> None:
    spott.get("/opportunities", limit=5)
    spott.patch(b'{"name": "x"}')
    spott.call("GET", f"/opportunities?x-api-key={quote(KEY)}&limit=5", headers={"x-api-key": "another"})
    assert spott.app.requests == [
        ("GET", "/opportunities", "limit=5", b""),
        ("PATCH", f"/opportunities/{DOCUMENTED_ID}", "", b'{"name": "x"}'),
        ("GET", "/opportunities", "x-api-key=***&limit=5", b""),
    ]
    assert KEY not in repr(spott.app.requests)


def test_it_remembers_the_last_thousand_calls_only(spott: Caller) -> None:
    spott.app.requests.extend([("GET", "/earlier", "", b"")] * 1000)
    spott.get("/users/_list")
    assert len(spott.app.requests) == 1000
    assert spott.app.requests[-1] == ("GET", "/users/_list", "", b"")


def test_it_stands_at_the_root_of_its_host() -> None:
    assert SpottSandbox.prefix == ""
