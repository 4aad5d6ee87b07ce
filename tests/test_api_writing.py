"""Writing over HTTP: what reaches the provider, what the ledger says of it, and what a failed write may have done."""

import gzip
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import strict_json
from gateway.about import About
from gateway.ledger import Plan, Sent, settle
from tests.live import (
    EXAMPLES,
    JSON,
    MERGE_PATCH,
    SANDBOXES,
    Answer,
    Body,
    Says,
    Seen,
    StandIn,
    ask,
    assert_problem,
    fields_of,
    running_gateway,
)

DOCUMENTED = "settings: {dialect: documented}"
STAGES = "stages: {stg_won: won, Lost: lost, stg_gone: lost}"
"""Said, so that no look-up for the dialect stands among the calls that are counted."""

RAZE = "opp_abc123def456"
SPOTT = "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77"
NEW = "opp_xyz789abc123"
CANARY = "canary-7f3a"
STRICT = {"Prefer": "handling=strict"}
Overrides = Mapping[tuple[str, str], Says]


class FakeRaze:
    """A GetRaze of one record, as documented; `says` answers instead of it by (method, operation)."""

    def __init__(self, says: Overrides | None = None, keep: Callable[[str, Any], Any] | None = None) -> None:
        self.record: dict[str, Any] = strict_json.loads((EXAMPLES / "getraze-get.documented.json").read_bytes())["data"]
        self.says = says or {}
        self.keep = keep or (lambda name, value: value)

    def __call__(self, seen: Seen) -> Says:
        operation = "stage" if seen.path.endswith("/stage") else "one" if seen.path.count("/") > 1 else "all"
        if (seen.method, operation) in self.says:
            return self.says[seen.method, operation]
        if seen.method == "POST":
            told = {"status": "new", "source": "other", "deal_currency": "BRL"}
            self.record = dict.fromkeys(self.record) | told | {"created_at": "2024-01-25T09:00:00Z", "id": NEW}
        if seen.method == "DELETE":
            return Says(200, {"success": True, "message": "Opportunity deleted successfully"})
        if seen.method != "GET":
            for name, value in seen.json.items():
                self._set(name, self.keep(name, value))
        record = self.record if seen.method == "GET" else {"id": self.record["id"], "name": self.record["name"]}
        return Says(201 if seen.method == "POST" else 200, {"success": True, "data": record})

    def _set(self, name: str, value: Any) -> None:
        if name == "responsible_user_id":
            self.record["responsible_user"] = value and {"id": value, "name": "Someone"}
        elif value is not Ellipsis:
            self.record[name] = value


class FakeSpott:
    """A Spott of one record: PATCH answers 204 and the record is to be read again."""

    def __init__(self, says: Overrides | None = None, stages: list[Any] | None = None) -> None:
        self.record: dict[str, Any] = strict_json.loads((EXAMPLES / "spott-get.documented.json").read_bytes())
        self.says = says or {}
        self.stages = stages or [
            {"id": "stg_1", "name": "Lead", "order": 1},
            {"id": "stg_2", "name": "Proposal", "order": 2},
            {"id": "stg_won", "name": "Won", "order": 3},
            {"id": "stg_lost", "name": "Lost", "order": 4},
            {"id": "stg_gone", "name": "Gone", "order": 5},
            {"id": "stg_twin", "name": "Lead", "order": 6},
        ]

    def __call__(self, seen: Seen) -> Says:
        operation = "stages" if seen.path.endswith("/stages") else "one"
        if (seen.method, operation) in self.says:
            return self.says[seen.method, operation]
        if operation == "stages":
            return Says(200, {"stages": self.stages})
        if seen.method == "GET":
            return Says(200, self.record)
        body = seen.json
        for name in ("name", "description", "closeDate"):
            if name in body:
                self.record[name][name] = body[name]
        if "stageId" in body:
            stage = next(one for one in self.stages if one["id"] == body["stageId"])
            self.record["stage"]["stage"] = {**stage, "isOpen": stage["id"] in ("stg_1", "stg_2", "stg_twin")}
        if "ownerId" in body:
            owner = {"id": body["ownerId"], "name": "Someone", "avatarUrl": None, "deactivatedAt": None}
            self.record["owner"]["owner"] = body["ownerId"] and owner
        if "companyId" in body:
            self.record["company"]["company"] = {"id": body["companyId"], "name": "Some company"}
        if "clientTeam" in body:
            self.record["clientTeam"]["clientTeam"] = [{"id": one["id"]} for one in body["clientTeam"]]
        return Says(204)


class Rig:
    """A gateway between us and two fakes."""

    def __init__(self, url: str, raze: StandIn, spott: StandIn) -> None:
        self.url = url
        self.raze = raze
        self.spott = spott

    def write(self, method: str, target: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        content: Body = body if isinstance(body, bytes) else strict_json.dumps(body)
        return ask(f"{self.url}{target}", method, {**JSON, **(headers or {})}, content)

    def create(
        self, draft: Any, headers: Mapping[str, str] | None = None, says: Overrides | None = None,
        keep: Callable[[str, Any], Any] | None = None,
    ) -> Answer:  # fmt: skip
        self.raze.play(FakeRaze(says, keep))
        return self.write("POST", "/v1/opportunities", draft, headers)

    def patch_raze(
        self, patch: Any, headers: Mapping[str, str] | None = None, says: Overrides | None = None,
        keep: Callable[[str, Any], Any] | None = None,
    ) -> Answer:  # fmt: skip
        self.raze.play(FakeRaze(says, keep))
        return self.write("PATCH", f"/v1/opportunities/raze:{RAZE}", patch, headers)

    def patch_spott(
        self, patch: Any, headers: Mapping[str, str] | None = None, says: Overrides | None = None,
        connection: str = "spott",
    ) -> Answer:  # fmt: skip
        self.spott.play(FakeSpott(says))
        return self.write("PATCH", f"/v1/opportunities/{connection}:{SPOTT}", patch, headers)

    def sent(self, provider: StandIn) -> list[tuple[str, str, Any]]:
        """(method, path, body) of every write that reached the provider."""
        return [(one.method, one.path, one.json if one.body else None) for one in provider.seen if one.method != "GET"]


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with StandIn() as raze, StandIn() as spott:
        config = f"""\
circuit: off
default_connection: raze
state: off  # or what is unknown would be looked for, and these calls counted
connections:
  raze: {{provider: getraze, base_url: '{raze.url}', api_key: key-of-raze, budget: off, {DOCUMENTED}, timeout: 5s}}
  quick: {{provider: getraze, base_url: '{raze.url}', api_key: key-of-quick, budget: off, {DOCUMENTED}, timeout: 400ms}}
  fine: {{provider: 'tests.sample_adapters:AlwaysFine', base_url: '{raze.url}', api_key: key-of-fine, budget: off,
         {DOCUMENTED}, timeout: 5s}}
  refused: {{provider: getraze, base_url: 'http://127.0.0.1:9', api_key: key-of-refused, budget: off, {DOCUMENTED}}}
  spott: {{provider: spott, base_url: '{spott.url}', api_key: key-of-spott, budget: off}}
  mapped: {{provider: spott, base_url: '{spott.url}', api_key: k, budget: off, {STAGES}}}
"""
        with running_gateway(config, tmp_path_factory.mktemp("writing")) as url:
            yield Rig(url, raze, spott)


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_gateway(SANDBOXES, tmp_path_factory.mktemp("sandboxes")) as url:
        yield url


def ledger(answer: Answer) -> tuple[list[str], list[tuple[str, str]]]:
    """(applied, (field, reason) of what was not)."""
    assert answer.status in (200, 201), answer.body
    return sorted(answer.meta["applied"]), sorted((one["field"], one["reason"]) for one in answer.meta["not_applied"])


def entry(answer: Answer, field: str) -> dict[str, Any]:
    (found,) = [one for one in answer.meta["not_applied"] if one["field"] == field]
    return dict(found)


# --- the documented create -------------------------------------------------------------------------------------------

SEED = {
    "name": "Jane Smith",
    "email": "jane@company.com",
    "company": "Tech Corp",
    "position": "CTO",
    "source": "paid_traffic",
    "deal_value": 75000,
    "deal_currency": "BRL",
    "notes": "Inbound from Google Ads",
}
"""The body of the vendor's own example."""

DRAFT = {
    "name": "Jane Smith",
    "description": "Inbound from Google Ads",
    "amount": {"value": "75000", "currency": "BRL"},
    "company": {"name": "Tech Corp"},
    "contacts": [{"title": "CTO", "emails": [{"address": "jane@company.com"}]}],
    "source": "paid_traffic",
}
"""The same as a canonical draft."""


def test_the_documented_create_reaches_the_provider_with_exactly_its_fields_and_digits(rig: Rig) -> None:
    answer = rig.create(DRAFT)
    assert answer.status == 201
    (call,) = rig.sent(rig.raze)
    assert call == ("POST", "/opportunities", SEED)
    post = next(one for one in rig.raze.seen if one.method == "POST")
    assert b'"deal_value":75000,' in post.body or post.body.endswith(b'"deal_value":75000}')
    assert post.headers["content-type"] == "application/json"
    assert post.headers["x-api-key"] == "key-of-raze"
    assert answer.headers["location"] == f"/v1/opportunities/raze:{NEW}"
    assert answer.data["id"] == f"raze:{NEW}"
    assert answer.data["amount"] == {"value": "75000", "currency": "BRL"}
    assert ledger(answer) == (sorted(DRAFT), [])
    assert list(answer.json) == ["data", "meta"]


def test_a_draft_that_repeats_name_and_company_in_its_contact_sends_nothing_twice(rig: Rig) -> None:
    contact = {
        "name": "Jane Smith", "title": "CTO", "company": {"name": "Tech Corp"},
        "emails": [{"address": "jane@company.com", "primary": True}],
    }  # fmt: skip
    answer = rig.create({**DRAFT, "contacts": [contact]})
    assert rig.sent(rig.raze) == [("POST", "/opportunities", SEED)]
    assert ledger(answer) == (sorted(DRAFT), [])


def test_every_writable_field_of_a_create_goes_to_its_documented_member(rig: Rig) -> None:
    contact = {
        "title": "CTO", "emails": [{"address": "j@x.example"}], "phones": [{"number": "+55"}], "linkedin_url": "https://l/j",
    }  # fmt: skip
    answer = rig.create({"name": "J", "stage": {"id": "proposal"}, "owner": {"id": "usr_9"}, "contacts": [contact]})
    assert rig.sent(rig.raze)[0][2] == {
        "name": "J", "status": "proposal", "responsible_user_id": "usr_9", "position": "CTO", "email": "j@x.example",
        "phone": "+55", "linkedin_url": "https://l/j",
    }  # fmt: skip
    assert ledger(answer) == (["contacts", "name", "owner", "stage"], [])
    assert answer.data["stage"]["id"] == "proposal"


@pytest.mark.parametrize("empty", [None, []])
@pytest.mark.parametrize("place", ["contacts", "contacts[0].emails", "contacts[0].phones"])
@pytest.mark.parametrize("headers", [{}, {"Prefer": "handling=strict"}])
def test_what_a_draft_says_is_empty_is_as_good_as_left_out(
    rig: Rig, place: str, empty: Any, headers: Mapping[str, str]
) -> None:
    inside = place.partition(".")[2]
    answer = rig.create({"name": "J", "contacts": [{inside: empty}] if inside else empty}, headers)
    assert answer.status == 201, answer.body
    assert rig.raze.seen[0].json == {"name": "J"}
    assert (answer.meta["applied"], answer.meta["not_applied"]) == (["name"], [])


def test_the_record_of_a_create_is_read_again_because_its_answer_is_thin(rig: Rig) -> None:
    answer = rig.create({"name": "J"})
    assert [(one.method, one.path) for one in rig.raze.seen] == [
        ("POST", "/opportunities"), ("GET", f"/opportunities/{NEW}")]  # fmt: skip
    assert answer.data["complete"] is True
    assert answer.data["source"] == "other"


def test_a_created_record_that_cannot_be_read_again_is_still_a_201_that_says_so(rig: Rig) -> None:
    answer = rig.create({"name": "J", "description": "x"}, says={("GET", "one"): Says(500)})
    assert answer.status == 201
    assert answer.data["id"] == f"raze:{NEW}" and answer.data["complete"] is False
    assert len(rig.sent(rig.raze)) == 1


@pytest.mark.parametrize("id_", ["", "x y", "a/b", 5, None])
def test_a_create_whose_answer_has_no_usable_id_is_unknown_in_its_outcome(rig: Rig, id_: Any) -> None:
    answer = rig.create(
        {"name": "J"}, says={("POST", "all"): Says(201, {"success": True, "data": {"id": id_, "name": "J"}})}
    )
    problem = assert_problem(answer, 502, "provider-bad-answer")
    assert (problem["outcome"], problem["retryable"]) == ("unknown", False)


# --- amounts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('"75000"', "75000"), ("75000", "75000"), ("75000.00", "75000.00"), ('"75000.00"', "75000.00"), ("0.10", "0.10"),
        ('"0.10"', "0.10"), ("0", "0"), ('"-5.50"', "-5.50"), ("-5.50", "-5.50"), ("1e3", "1000"), ('"1E+3"', "1000"),
        ('"25e-2"', "0.25"), ("123456789012345.67", "123456789012345.67"),
        ("12345678901234567890.12", "12345678901234567890.12"), ("9" * 30, "9" * 30), (f'"{"9" * 30}"', "9" * 30),
        (f'"{"9" * 30}.{"1" * 18}"', f"{'9' * 30}.{'1' * 18}"), ("18446744073709551616", "18446744073709551616"),
    ],
)  # fmt: skip
def test_an_amount_goes_out_with_the_digits_that_the_caller_wrote(rig: Rig, written: str, sent: str) -> None:
    answer = rig.create(b'{"name":"J","amount":{"value":%s,"currency":"BRL"}}' % written.encode())
    assert answer.status == 201, answer.body
    post = next(one for one in rig.raze.seen if one.method == "POST")
    assert json.loads(post.body, parse_float=str, parse_int=str)["deal_value"] == sent
    assert answer.data["amount"] == {"value": sent, "currency": "BRL"}
    assert ledger(answer) == (["amount", "name"], [])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(digits=st.from_regex(r"\A-?(0|[1-9][0-9]{0,29})(\.[0-9]{1,18})?\Z"), quoted=st.booleans())
def test_any_amount_within_the_limits_goes_there_and_back_unchanged(rig: Rig, digits: str, quoted: bool) -> None:
    written = f'"{digits}"' if quoted else digits
    answer = rig.create(b'{"name":"J","amount":{"value":%s,"currency":"EUR"}}' % written.encode())
    assert answer.status == 201, answer.body
    assert Decimal(answer.data["amount"]["value"]) == Decimal(digits)
    assert len(answer.data["amount"]["value"].lstrip("-")) == len(digits.lstrip("-"))
    assert ledger(answer) == (["amount", "name"], [])


@pytest.mark.parametrize(
    "value",
    [
        "9" * 31, '"%s"' % ("9" * 31), '"0.%s"' % ("1" * 19), "true", "null", '"abc"', '""', '" 1"', '"1 "', '"+1"', '"1."',
        '".5"', '"NaN"', '"Infinity"', '"1,5"', '"1_000"', "[1]", '{"a":1}', '"１"', "1e400", "-1e400", '"1e400"', '"1e30"',
        "1e999999999999999999", '"1e-19"', '"0x10"', '"01"',
    ],
)  # fmt: skip
def test_an_amount_beyond_the_limits_or_of_another_form_is_refused_and_not_repeated(rig: Rig, value: str) -> None:
    answer = rig.create(b'{"name":"J","amount":{"value":%s,"currency":"BRL"}}' % value.encode())
    problem = assert_problem(answer, 422, "invalid-opportunity")
    assert fields_of(problem) == ["amount.value"]
    assert problem["outcome"] == "not_applied"
    assert rig.raze.seen == []
    if len(value) > 6:
        assert value.strip('"').encode() not in answer.body


@pytest.mark.parametrize("amount", [
    {"value": "1"}, {"currency": "BRL"}, {}, {"value": "1", "currency": "brl"}, {"value": "1", "currency": "BR"},
    "75000 BRL", {"value": "1", "currency": None}, {"value": "1", "currency": "BRLX"}, 5, [],
    {"value": "1", "currency": "ＢＲＬ"},
    {"value": "1", "currency": "BRL", "vat": 1}, {"value": "1", "currency": "BRL\n"},
])  # fmt: skip
def test_a_new_amount_needs_value_and_currency_and_nothing_else(rig: Rig, amount: Any) -> None:
    problem = assert_problem(rig.create({"name": "J", "amount": amount}), 422, "invalid-opportunity")
    assert all(field.startswith("amount") for field in fields_of(problem)) and problem["errors"]
    assert rig.raze.seen == []


def test_a_patch_of_value_or_currency_alone_leaves_the_other_as_stored(rig: Rig) -> None:
    answer = rig.patch_raze({"amount": {"currency": "USD"}})
    assert rig.sent(rig.raze) == [("PUT", f"/opportunities/{RAZE}", {"deal_currency": "USD"})]
    assert answer.data["amount"] == {"value": "50000.00", "currency": "USD"}
    answer = rig.patch_raze({"amount": {"value": "0.10"}})
    assert rig.sent(rig.raze)[0][2] == {"deal_value": Decimal("0.10")}
    assert answer.data["amount"] == {"value": "0.10", "currency": "BRL"}
    assert ledger(answer) == (["amount"], [])


# --- patches ---------------------------------------------------------------------------------------------------------


def test_a_patch_touches_only_what_is_in_it(rig: Rig) -> None:
    answer = rig.patch_raze({"description": "new notes"}, MERGE_PATCH)
    assert rig.sent(rig.raze) == [("PUT", f"/opportunities/{RAZE}", {"notes": "new notes"})]
    assert ledger(answer) == (["description"], [])
    assert answer.data["complete"] is True and answer.data["name"] == "John Doe"
    answer = rig.patch_spott({"description": "new"})
    assert rig.sent(rig.spott) == [("PATCH", f"/opportunities/{SPOTT}", {"description": "new"})]
    assert ledger(answer) == (["description"], [])


def test_an_empty_patch_sends_no_write_and_answers_with_the_record(rig: Rig) -> None:
    answer = rig.patch_raze({})
    assert (answer.status, ledger(answer), rig.sent(rig.raze)) == (200, ([], []), [])
    assert answer.data["id"] == f"raze:{RAZE}"


@pytest.mark.parametrize(
    ("patch", "sent"),
    [
        ({"description": None}, {"notes": None}),
        ({"company": None}, {"company": None}),
        ({"company": {"name": None}}, {"company": None}),
        ({"owner": None}, {"responsible_user_id": None}),
        ({"owner": {"id": None}}, {"responsible_user_id": None}),
        ({"amount": None}, {"deal_value": None}),
        ({"amount": {"value": None}}, {"deal_value": None}),
        ({"contacts": None}, {"email": None, "phone": None, "position": None}),
        ({"contacts": []}, {"email": None, "phone": None, "position": None}),
        ({"contacts": [{"title": None}]}, {"position": None}),
        ({"contacts": [{"emails": []}]}, {"email": None}),
        ({"contacts": [{"phones": None, "title": "CFO"}]}, {"phone": None, "position": "CFO"}),
    ],
)
def test_null_clears_at_getraze(rig: Rig, patch: Any, sent: Any) -> None:
    answer = rig.patch_raze(patch)
    assert [body for _, _, body in rig.sent(rig.raze)] == [sent]
    assert answer.status == 200


def test_clearing_the_owner_is_applied_and_reads_as_null(rig: Rig) -> None:
    answer = rig.patch_raze({"owner": None})
    assert answer.data["owner"] is None
    assert ledger(answer) == (["owner"], [])


@pytest.mark.parametrize(
    ("patch", "applied", "left"),
    [
        ({"contacts": []}, ["contacts[0].emails[0].address", "contacts[0].phones[0].number", "contacts[0].title"],
         ["contacts[0].company.name", "contacts[0].linkedin_url", "contacts[0].name"]),
        ({"contacts": None, "company": None},
         ["company", "contacts[0].company.name", "contacts[0].emails[0].address", "contacts[0].phones[0].number",
          "contacts[0].title"], ["contacts[0].linkedin_url", "contacts[0].name"]),
        ({"amount": None}, ["amount.value"], ["amount.currency"]),
    ],
)  # fmt: skip
def test_what_stays_of_a_whole_that_was_to_be_cleared_is_named(
    rig: Rig, patch: Any, applied: list[str], left: list[str]
) -> None:
    answer = rig.patch_raze(patch)
    assert ledger(answer) == (applied, [(field, "unsupported") for field in left])
    assert all(entry(answer, field)["detail"] for field in left)
    problem = assert_problem(rig.patch_raze(patch, STRICT), 422, "not-writable")
    assert sorted(fields_of(problem)) == left
    assert rig.sent(rig.raze) == []


def test_a_whole_of_which_nothing_is_stored_is_cleared_although_not_all_of_it_can_be(rig: Rig) -> None:
    rig.patch_raze({"description": None})
    answer = rig.patch_raze({"contacts": []}, keep=None, says={("GET", "one"): Says(200, {"success": True, "data": {
        "id": RAZE, "name": None, "company": None, "linkedin_url": None}})})  # fmt: skip
    assert ledger(answer) == (["contacts"], [])


@pytest.mark.parametrize(
    ("patch", "sent"),
    [
        ({"description": None}, {"description": None}),
        ({"owner": None}, {"ownerId": None}),
        ({"owner": {"id": "usr_8"}}, {"ownerId": "usr_8"}),
        ({"expected_close": None}, {"closeDate": None}),
        ({"expected_close": {"on": "2026-03-31"}}, {"closeDate": {"target": "2026-03-31T00:00:00Z"}}),
        ({"expected_close": {"at": "2026-03-31T12:00:00+02:00"}}, {"closeDate": {"target": "2026-03-31T10:00:00Z"}}),
        ({"expected_close": {"at": "2026-03-31T00:30:00+02:00", "on": "2026-03-30"}},
         {"closeDate": {"target": "2026-03-30T22:30:00Z"}}),
        ({"company": {"id": "cmp_1"}}, {"companyId": "cmp_1"}),
        ({"stage": {"id": "stg_1"}}, {"stageId": "stg_1"}),
        ({"stage": {"name": "Proposal"}}, {"stageId": "stg_2"}),
        ({"contacts": [{"id": "cnt_2"}, {"id": "cnt_1"}]}, {"clientTeam": [{"id": "cnt_2"}, {"id": "cnt_1"}]}),
        ({"contacts": []}, {"clientTeam": []}),
        ({"contacts": None}, {"clientTeam": []}),
        ({"name": "New name"}, {"name": "New name"}),
    ],
)  # fmt: skip
def test_each_writable_field_of_spott_goes_out_in_its_own_shape_and_is_applied(rig: Rig, patch: Any, sent: Any) -> None:
    answer = rig.patch_spott(patch)
    assert rig.sent(rig.spott) == [("PATCH", f"/opportunities/{SPOTT}", sent)]
    assert ledger(answer) == (sorted(patch), [])


def test_an_instant_finer_than_spott_takes_is_cut_and_the_ledger_shows_both(rig: Rig) -> None:
    answer = rig.patch_spott({"expected_close": {"at": "2026-03-31T10:00:00.123456Z"}})
    assert rig.sent(rig.spott)[0][2] == {"closeDate": {"target": "2026-03-31T10:00:00.123Z"}}
    told = entry(answer, "expected_close.at")
    assert told["reason"] == "coerced"
    assert (told["sent"], told["stored"]) == ("2026-03-31T10:00:00.123456Z", "2026-03-31T10:00:00.123000Z")


@pytest.mark.parametrize(
    ("written", "shown", "stored"),
    [
        ("00:00:00.0000009Z", "00:00:00.0000009Z", "00:00:00Z"),
        ("00:00:00.1239999Z", "00:00:00.1239999Z", "00:00:00.123000Z"),
        ("02:00:00.12300000050+02:00", "00:00:00.1230000005Z", "00:00:00.123000Z"),
    ],
)  # fmt: skip
def test_digits_past_the_microsecond_are_shown_as_they_were_written(
    rig: Rig, written: str, shown: str, stored: str
) -> None:
    answer = rig.patch_spott({"expected_close": {"on": "2026-03-01", "at": f"2026-03-01T{written}"}})
    told = entry(answer, "expected_close.at")
    assert (told["reason"], told["sent"], told["stored"]) == ("coerced", f"2026-03-01T{shown}", f"2026-03-01T{stored}")
    assert ledger(answer)[0] == ["expected_close.on"]
    assert answer.data["expected_close"]["at"] == f"2026-03-01T{stored}"


def test_zeros_past_the_microsecond_are_no_digits(rig: Rig) -> None:
    answer = rig.patch_spott({"expected_close": {"at": "2026-03-01T00:00:00.1230000000Z"}})
    assert rig.sent(rig.spott)[0][2] == {"closeDate": {"target": "2026-03-01T00:00:00.123Z"}}
    assert ledger(answer) == (["expected_close"], [])


@pytest.mark.parametrize(
    ("patch", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"description": 5}, "description"),
        ({"status": "open"}, "status"),
        ({"status": "closed"}, "status"),
        ({"status": "unknown"}, "status"),
        ({"status": "WON"}, "status"),
        ({"status": None}, "status"),
        ({"stage": None}, "stage"),
        ({"stage": {}}, "stage"),
        ({"stage": {"id": ""}}, "stage.id"),
        ({"stage": {"id": "new", "order": 1}}, "stage.order"),
        ({"stage": "new"}, "stage"),
        ({"expected_close": {"on": "2026-03-31", "at": "2026-04-01T00:00:00Z"}}, "expected_close"),
        ({"expected_close": {"on": None, "at": "2026-04-01T00:00:00Z"}}, "expected_close"),
        ({"expected_close": {"on": "2026-02-30"}}, "expected_close.on"),
        ({"expected_close": {"on": "2026-03-31T00:00:00Z"}}, "expected_close.on"),
        ({"expected_close": {"at": "2026-03-31"}}, "expected_close.at"),
        ({"expected_close": {"at": "2026-03-31T00:00:00"}}, "expected_close.at"),
        ({"owner": {"name": "Ada"}}, "owner"),
        ({"contacts": [5]}, "contacts[0]"),
        ({"contacts": [{"title": "x"}, {"emails": [{"address": 5}]}]}, "contacts[1].emails[0].address"),
        ({"contacts": {"title": "x"}}, "contacts"),
        ({"id": "raze:x"}, "id"),
        ({"native_id": "x"}, "native_id"),
        ({"connection": "raze"}, "connection"),
        ({"provider": "getraze"}, "provider"),
        ({"complete": True}, "complete"),
        ({"status_source": "native"}, "status_source"),
        ({"pipeline": {"id": "x"}}, "pipeline"),
        ({"probability": "0.4"}, "probability"),
        ({"campaign": None}, "campaign"),
        ({"won_at": "2024-01-01T00:00:00Z"}, "won_at"),
        ({"lost_at": None}, "lost_at"),
        ({"next_task": None}, "next_task"),
        ({"custom_fields": []}, "custom_fields"),
        ({"created_at": "2024-01-01T00:00:00Z"}, "created_at"),
        ({"updated_at": None}, "updated_at"),
        ({"extensions": {"/score": 1}}, "extensions"),
        ({"deal_value": 1}, "deal_value"),
        ({"Name": "x"}, "Name"),
        ({"__proto__": {}}, "__proto__"),
        ({"contacts": [{"nickname": "x"}]}, "contacts[0].nickname"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_a_member_that_cannot_be_written_so_is_refused_by_name_and_nothing_is_sent(
    rig: Rig, connection: str, patch: Any, named: str
) -> None:
    patched = rig.patch_raze if connection == "raze" else rig.patch_spott
    problem = assert_problem(patched({"description": "fine", **patch}), 422, "invalid-opportunity")
    assert any(field == named or field.startswith(f"{named}.") for field in fields_of(problem)), problem
    assert problem["outcome"] == "not_applied"
    assert rig.raze.seen == [] or connection == "spott"
    assert rig.spott.seen == [] or connection == "raze"


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"stage": None}, "should be an object"), ({"stage": "new"}, "should be an object"),
        ({"amount": "5"}, "should be an object"), ({"contacts": [5]}, "should be an object"),
        ({"contacts": {"title": "x"}}, "should be a valid list"), ({"name": 5}, "should be a valid string"),
        ({"contacts": [{"emails": [{"primary": 1}]}]}, "should be a valid boolean"),
        ({"owner": {}}, "is required"), ({"amount": {"currency": "eur"}}, "String should match pattern '^[A-Z]{3}$'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_member_is_said_in_the_words_of_json(rig: Rig, patch: Any, message: str) -> None:
    problem = assert_problem(rig.patch_raze(patch), 422, "invalid-opportunity")
    assert [one["message"] for one in problem["errors"]] == [message]


def test_a_draft_needs_a_name_of_at_least_one_character(rig: Rig) -> None:
    for draft in ({}, {"name": ""}, {"name": None}, {"description": "x"}):
        problem = assert_problem(rig.create(draft), 422, "invalid-opportunity")
        assert fields_of(problem) == ["name"]
        assert rig.raze.seen == []


# --- status and stage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["won", "lost"])
def test_a_status_change_at_getraze_is_one_call_of_its_own(rig: Rig, status: str) -> None:
    answer = rig.patch_raze({"status": status})
    assert rig.sent(rig.raze) == [("PATCH", f"/opportunities/{RAZE}/stage", {"status": status})]
    assert answer.data["status"] == status
    assert ledger(answer) == (["status"], [])
    answer = rig.patch_raze({"stage": {"name": status}, "status": status})
    assert rig.sent(rig.raze)[0][2] == {"status": status}
    assert ledger(answer) == (["stage", "status"], [])


@pytest.mark.parametrize("patch", [
    {"status": "won", "stage": {"id": "lost"}}, {"status": "won", "stage": {"name": "qualified"}},
    {"stage": {"id": "new"}, "status": "lost"},
])  # fmt: skip
def test_a_status_that_contradicts_the_stage_beside_it_is_refused(rig: Rig, patch: Any) -> None:
    problem = assert_problem(rig.patch_raze(patch), 422, "invalid-opportunity")
    assert "status" in fields_of(problem)
    assert problem["outcome"] == "not_applied"
    assert rig.sent(rig.raze) == []


def test_a_stage_name_that_is_nobodys_is_refused(rig: Rig) -> None:
    for answer in (rig.patch_raze({"stage": {"name": "Nope"}}), rig.patch_spott({"stage": {"name": "Nope"}}),
                   rig.patch_spott({"stage": {"name": "Lead"}})):  # fmt: skip
        problem = assert_problem(answer, 422, "invalid-opportunity")
        assert fields_of(problem) == ["stage.name"]
        assert problem["outcome"] == "not_applied"
        assert rig.sent(rig.raze) == [] and rig.sent(rig.spott) == []


def test_a_status_at_spott_goes_through_the_stage_map_where_exactly_one_stage_fits(rig: Rig) -> None:
    answer = rig.patch_spott({"status": "won", "description": "x"}, connection="mapped")
    assert rig.sent(rig.spott)[0][2] == {"stageId": "stg_won", "description": "x"}
    assert ledger(answer) == (["description", "status"], [])
    assert (answer.data["status"], answer.data["status_source"]) == ("won", "stage_map")
    answer = rig.patch_spott({"status": "lost", "description": "x"}, connection="mapped")
    assert rig.sent(rig.spott)[0][2] == {"description": "x"}
    assert ledger(answer) == (["description"], [("status", "unsupported")])
    answer = rig.patch_spott({"status": "won", "description": "x"})
    assert rig.sent(rig.spott)[0][2] == {"description": "x"}
    assert ledger(answer) == (["description"], [("status", "unsupported")])


def test_a_contradiction_is_seen_at_spott_through_the_stage_map(rig: Rig) -> None:
    answer = rig.patch_spott({"status": "won", "stage": {"id": "stg_gone"}}, connection="mapped")
    assert_problem(answer, 422, "invalid-opportunity")
    assert rig.sent(rig.spott) == []


@pytest.mark.parametrize("stage", [{"id": "stg_1"}, {"name": "Proposal"}])
def test_a_status_that_no_stage_map_knows_is_unsupported_also_beside_a_stage(rig: Rig, stage: Any) -> None:
    answer = rig.patch_spott({"status": "won", "stage": stage})
    assert ledger(answer) == (["stage"], [("status", "unsupported")])
    assert_problem(rig.patch_spott({"status": "won", "stage": stage}, STRICT), 422, "not-writable")
    assert rig.sent(rig.spott) == []


@pytest.mark.parametrize(("says", "status", "code"), [
    (Says(500), 502, "provider-error"), (Says(200, b"<html>"), 502, "provider-bad-answer"),
    (Says(then="cut"), 504, "provider-timeout"), (Says(401), 502, "provider-auth-failed")])  # fmt: skip
def test_stages_that_cannot_be_looked_up_leave_the_write_unsent_and_say_so(
    rig: Rig, says: Says, status: int, code: str
) -> None:
    answer = rig.patch_spott({"stage": {"name": "Proposal"}}, says={("GET", "stages"): says})
    assert assert_problem(answer, status, code)["outcome"] == "not_applied"
    assert rig.sent(rig.spott) == []


# --- contacts --------------------------------------------------------------------------------------------------------


def test_getraze_holds_one_contact_with_one_address_and_one_number_and_the_rest_is_told(rig: Rig) -> None:
    contacts = [
        {"title": "CTO", "emails": [{"address": "a@x.example"}, {"address": "b@x.example"}],
         "phones": [{"number": "1"}, {"number": "2"}, {"number": "3"}], "department": "IT"},
        {"name": "Second", "emails": [{"address": "c@x.example"}]},
    ]  # fmt: skip
    answer = rig.create({"name": "J", "contacts": contacts})
    assert rig.sent(rig.raze)[0][2] == {"name": "J", "position": "CTO", "email": "a@x.example", "phone": "1"}
    applied, not_applied = ledger(answer)
    assert [reason for _, reason in not_applied] == ["unsupported"] * len(not_applied)
    assert [field for field, _ in not_applied] == [
        "contacts[0].department", "contacts[0].emails[1]", "contacts[0].phones[1]", "contacts[0].phones[2]", "contacts[1]",
    ]  # fmt: skip
    assert "contacts[0].title" in applied and "contacts" not in applied
    assert all(one["detail"] for one in answer.meta["not_applied"])


def test_the_opportunitys_name_and_company_decide_over_the_contacts(rig: Rig) -> None:
    contact = {"name": "Another", "company": {"name": "Another Corp"}}
    answer = rig.create({"contacts": [contact], "name": "J", "company": {"name": "Corp"}})
    assert rig.sent(rig.raze)[0][2] == {"name": "J", "company": "Corp"}
    applied, not_applied = ledger(answer)
    assert {field for field, _ in not_applied} == {"contacts[0].name", "contacts[0].company.name"}
    assert applied == ["company", "name"]


def test_a_contact_of_spott_without_an_id_is_not_applied_and_its_details_are_never_sent(rig: Rig) -> None:
    answer = rig.patch_spott({"description": "x", "contacts": [{"name": "Jane"}]})
    assert rig.sent(rig.spott)[0][2] == {"description": "x"}
    assert ledger(answer)[0] == ["description"]
    assert all(
        one["field"].startswith("contacts") and one["reason"] == "unsupported" for one in answer.meta["not_applied"]
    )
    answer = rig.patch_spott({"contacts": [{"id": "cnt_2", "title": "CFO"}]})
    assert rig.sent(rig.spott)[0][2] == {"clientTeam": [{"id": "cnt_2"}]}
    assert ledger(answer) == (["contacts[0].id"], [("contacts[0].title", "unsupported")])


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_what_a_provider_cannot_hold_is_named_and_the_rest_is_written(rig: Rig) -> None:
    answer = rig.patch_raze({"source": "list", "description": "x", "expected_close": {"on": "2026-01-01"}})
    assert rig.sent(rig.raze) == [("PUT", f"/opportunities/{RAZE}", {"notes": "x"})]
    assert ledger(answer) == (
        ["description"],
        [("expected_close.on", "unsupported"), ("source", "unsupported")],
    ) or ledger(answer) == (["description"], [("expected_close", "unsupported"), ("source", "unsupported")])
    answer = rig.patch_spott({"source": "x", "amount": {"value": "1", "currency": "EUR"}, "name": "n"})
    assert rig.sent(rig.spott)[0][2] == {"name": "n"}
    assert {field.partition(".")[0] for field, _ in ledger(answer)[1]} == {"source", "amount"}
    told = [one["detail"] for one in answer.meta["not_applied"] if one["field"].startswith("amount")]
    assert told and all("cannot be written" in detail for detail in told)  # no setting would make it so


def test_a_patch_of_which_nothing_can_be_held_sends_no_write(rig: Rig) -> None:
    answer = rig.patch_spott({"source": "x"})
    assert (answer.status, rig.sent(rig.spott)) == (200, [])
    assert ledger(answer) == ([], [("source", "unsupported")])
    assert answer.data["id"] == f"spott:{SPOTT}"


def test_what_the_provider_drops_in_silence_is_found_by_reading_again(rig: Rig) -> None:
    dropped = {"position", "deal_value"}
    answer = rig.create(DRAFT, keep=lambda name, value: ... if name in dropped else value)
    told = entry(answer, "contacts[0].title")
    assert (told["reason"], told["sent"], told["stored"]) == ("ignored", "CTO", None)
    told = entry(answer, "amount.value")
    assert (told["reason"], told["sent"], told["stored"]) == ("ignored", "75000", None)
    assert "name" in answer.meta["applied"] and "amount" not in answer.meta["applied"]
    assert "amount.currency" in answer.meta["applied"]


class Grudging(FakeSpott):
    """A Spott of a record with these contacts, which takes away none and adds none."""

    def __init__(self, *ids: str) -> None:
        super().__init__({("PATCH", "one"): Says(204)})
        self.record["clientTeam"]["clientTeam"] = [{"id": id_} for id_ in ids]


@pytest.mark.parametrize(
    ("wanted", "stored", "told"),
    [
        (["cnt_1"], ["cnt_1", "cnt_2", "cnt_3"], (["contacts[0].id"], [("contacts", "ignored")])),
        (["cnt_3"], ["cnt_1", "cnt_2"], ([], [("contacts", "ignored"), ("contacts[0].id", "ignored")])),
        ([], ["cnt_1"], ([], [("contacts", "ignored")])), (["cnt_1", "cnt_2"], ["cnt_1", "cnt_2"], (["contacts"], [])),
        (["cnt_1", "cnt_2"], ["cnt_1"], (["contacts[0].id"], [("contacts[1].id", "ignored")])),
    ],
)  # fmt: skip
def test_a_list_of_contacts_that_was_not_replaced_is_told_so(
    rig: Rig, wanted: list[str], stored: list[str], told: tuple[list[str], list[tuple[str, str]]]
) -> None:
    rig.spott.play(Grudging(*stored))
    contacts = [{"id": id_} for id_ in wanted]
    answer = rig.write("PATCH", f"/v1/opportunities/spott:{SPOTT}", {"contacts": contacts})
    assert rig.sent(rig.spott)[0][2] == {"clientTeam": contacts}
    assert ledger(answer) == told
    if ("contacts", "ignored") in told[1]:
        entry_ = entry(answer, "contacts")
        assert (entry_["sent"], [one["id"] for one in entry_["stored"]]) == (contacts, stored)


def test_a_list_of_which_nothing_is_known_but_that_its_call_failed_is_told_by_its_leaves() -> None:
    whole = Plan({}, [Sent("contacts[0].id", "a", "u")], [], [Sent("contacts", [{"id": "a"}], "u")])
    kept = {"contacts": [{"id": "a"}, {"id": "b"}]}
    for stored, failed, reasons in (
        (None, {}, []), ({}, {}, []), ({"contacts": []}, {}, [("contacts[0].id", "ignored")]),
        (kept, {}, [("contacts", "ignored")]), (kept, {"u": "no"}, [("contacts", "failed")]),
        (None, {"u": "no"}, [("contacts[0].id", "failed")]),
    ):  # fmt: skip
        about = About("update", "n", whole, 0.0)
        for plan in (whole, About.unpacked(about.packed()).plan):
            _, missed = settle(plan, stored, failed)
            assert [(one.field, one.reason) for one in missed] == reasons


def test_a_null_that_the_provider_drops_in_silence_is_ignored_too(rig: Rig) -> None:
    answer = rig.patch_raze({"description": None}, keep=lambda name, value: ...)
    told = entry(answer, "description")
    assert (told["reason"], told["sent"], told["stored"]) == ("ignored", None, "Interested in enterprise plan")


def test_what_the_provider_stores_in_another_form_is_coerced_with_both_shown(rig: Rig) -> None:
    def keep(name: str, value: Any) -> Any:
        return {"name": str(value).strip(), "deal_value": Decimal("10.13"), "notes": str(value)[:10]}.get(name, value)

    answer = rig.patch_raze(
        {"name": " Jane ", "amount": {"value": "10.129"}, "description": "0123456789abc"}, keep=keep
    )
    for field, sent, stored in (("name", " Jane ", "Jane"), ("amount.value", "10.129", "10.13"),
                                ("description", "0123456789abc", "0123456789")):  # fmt: skip
        told = entry(answer, field)
        assert (told["reason"], told["sent"], told["stored"]) == ("coerced", sent, stored)
    assert answer.meta["applied"] == []


def test_the_same_amount_with_other_zeros_is_applied(rig: Rig) -> None:
    answer = rig.patch_raze({"amount": {"value": "10.5"}}, keep=lambda name, value: Decimal("10.500"))
    assert ledger(answer) == (["amount"], [])
    assert answer.data["amount"]["value"] == "10.500"


BOTH = {"description": "new notes", "status": "won"}


@pytest.mark.parametrize(
    "says", [Says(500), Says(400, {"success": False, "error": {"code": "INVALID_STATUS", "message": CANARY}}), Says(429),
             Says(then="cut"), Says(200, b"<html>")]
)  # fmt: skip
def test_a_stage_call_that_fails_after_the_update_went_through_is_told_field_by_field(rig: Rig, says: Says) -> None:
    answer = rig.patch_raze(BOTH, says={("PATCH", "stage"): says})
    assert answer.status == 200
    assert ledger(answer) == (["description"], [("status", "failed")])
    assert list(dict.fromkeys(method for method, _, _ in rig.sent(rig.raze))) == ["PUT", "PATCH"]
    assert answer.data["status"] == "open" and answer.data["description"] == "new notes"


def test_a_stage_call_that_took_effect_though_it_failed_is_applied(rig: Rig) -> None:
    class Moved(FakeRaze):
        def __call__(self, seen: Seen) -> Says:
            said = super().__call__(seen)
            return Says(500) if seen.path.endswith("/stage") else said

    rig.raze.play(Moved())
    answer = rig.write("PATCH", f"/v1/opportunities/raze:{RAZE}", BOTH)
    assert ledger(answer) == (["description", "status"], [])
    assert answer.data["status"] == "won"


@pytest.mark.parametrize(("says", "status", "outcome"), [
    (Says(400), 422, "not_applied"), (Says(500), 502, "unknown"), (Says(404), 404, "not_applied")])  # fmt: skip
def test_an_update_that_fails_leaves_the_stage_alone(rig: Rig, says: Says, status: int, outcome: str) -> None:
    answer = rig.patch_raze(BOTH, says={("PUT", "one"): says})
    assert answer.status == status
    assert answer.json["outcome"] == outcome
    assert {method for method, _, _ in rig.sent(rig.raze)} == {"PUT"}


def test_a_write_that_was_applied_but_cannot_be_read_back_says_applied(rig: Rig) -> None:
    answer = rig.patch_spott({"description": "x"}, says={("GET", "one"): Says(500)})
    problem = assert_problem(answer, 502, "provider-error")
    assert (problem["outcome"], problem["retryable"]) == ("applied", False)
    answer = rig.patch_spott({"description": "x"}, says={("GET", "one"): Says(200, b"<html>")})
    assert assert_problem(answer, 502, "provider-bad-answer")["outcome"] == "applied"


def test_an_update_that_answers_with_another_record_never_has_that_record_served(rig: Rig) -> None:
    other = {"success": True, "data": {"id": "opp_other", "name": CANARY}}
    answer = rig.patch_raze({"description": "x"}, says={("PUT", "one"): Says(200, other), ("GET", "one"): Says(500)})
    assert CANARY.encode() not in answer.body
    assert b"opp_other" not in answer.body
    assert answer.status in (502, 503, 504)
    assert answer.json["outcome"] in ("applied", "unknown")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"success":true}', b'{"success":true,"data":null}'])
def test_an_update_may_answer_with_nothing_and_the_record_is_read_again(rig: Rig, body: bytes) -> None:
    answer = rig.patch_raze({"source": "x", "company": {"name": "C"}}, says={("PUT", "one"): Says(200, body)})
    assert answer.status == 200
    assert answer.data["company"]["name"] == "Acme Inc"
    assert entry(answer, "company.name")["reason"] == "ignored"


def test_explain_and_raw_go_with_a_write_too(rig: Rig) -> None:
    rig.raze.play(FakeRaze())
    answer = rig.write("PATCH", f"/v1/opportunities/raze:{RAZE}?explain=true&raw=true", {"description": "x"})
    assert answer.meta["raw"]["notes"] == "x"
    assert answer.meta["explain"]["description"]["from"] == ["/notes"]


# --- strict ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("connection", "patch", "named"),
    [
        ("raze", {"source": "list", "description": "x"}, ["source"]),
        ("raze", {"expected_close": {"on": "2026-01-01"}}, ["expected_close"]),
        ("raze", {"contacts": [{"title": "x"}, {"title": "y"}]}, ["contacts"]),
        ("raze", {"contacts": [{"name": "Other"}], "name": "One"}, ["contacts"]),
        ("raze", {"company": {"id": "cmp_1"}}, ["company"]),
        ("spott", {"source": "x", "description": "x"}, ["source"]),
        ("spott", {"amount": {"value": "1"}}, ["amount"]),
        ("spott", {"contacts": [{"name": "Jane"}]}, ["contacts"]),
        ("spott", {"company": {"name": "Globex"}}, ["company"]),
        ("spott", {"stage": {"name": "Proposal"}, "source": "x"}, ["source"]),
    ],
)
def test_under_strict_handling_what_is_known_to_be_unsupported_is_refused_before_a_byte_is_sent(
    rig: Rig, connection: str, patch: Any, named: list[str]
) -> None:
    patched = rig.patch_raze if connection == "raze" else rig.patch_spott
    answer = patched(patch, STRICT)
    problem = assert_problem(answer, 422, "not-writable")
    assert {field.partition(".")[0].partition("[")[0] for field in fields_of(problem)} == set(named)
    assert problem["outcome"] == "not_applied"
    provider = rig.raze if connection == "raze" else rig.spott
    assert provider.seen == []


def test_strict_handling_writes_what_can_be_written(rig: Rig) -> None:
    answer = rig.create(DRAFT, STRICT)
    assert (answer.status, ledger(answer)) == (201, (sorted(DRAFT), []))
    assert answer.headers["preference-applied"] == "handling=strict"
    problem = assert_problem(rig.create({**DRAFT, "expected_close": {"on": "2026-01-01"}}, STRICT), 422, "not-writable")
    assert problem["outcome"] == "not_applied"
    assert rig.raze.seen == []
    assert rig.create({**DRAFT, "expected_close": {"on": "2026-01-01"}}, {"Prefer": "handling=lenient"}).status == 201


# --- outcomes --------------------------------------------------------------------------------------------------------

ERROR = {"success": False, "error": {"code": "X", "message": "no"}}
OUTCOMES = [
    (Says(then="cut"), 504, "provider-timeout", "unknown"),
    (Says(then="reset"), 504, "provider-timeout", "unknown"),
    (Says(201, {"success": True, "data": {"id": NEW}}, then="half"), 504, "provider-timeout", "unknown"),
    (Says(500, ERROR), 502, "provider-error", "unknown"),
    (Says(503), 502, "provider-error", "unknown"),
    (Says(408), 504, "provider-timeout", "unknown"),
    (Says(400, ERROR), 422, "provider-rejected", "not_applied"),
    (Says(422, b"<html>"), 422, "provider-rejected", "not_applied"),
    (Says(401, ERROR), 502, "provider-auth-failed", "not_applied"),
    (Says(403, ERROR), 502, "provider-auth-failed", "not_applied"),
    (Says(409, ERROR), 409, "conflict", "not_applied"),
    (Says(429, {"success": False, "error": {"code": "RATE_LIMIT_EXCEEDED", "message": "x", "retry_after": 30}}), 429,
     "rate-limited", "not_applied"),
    (Says(200, b"<html>hello</html>"), 502, "provider-bad-answer", "unknown"),
    (Says(201, b'{"a":1,"a":2}'), 502, "provider-bad-answer", "unknown"),
    (Says(302, b"", {"Location": "http://127.0.0.1:9/"}), 502, "provider-bad-answer", "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("says", "status", "code", "outcome"), OUTCOMES)
@pytest.mark.parametrize("write", ["create", "update", "delete"])
def test_a_write_that_fails_says_what_it_may_have_done_and_is_repeated_only_where_that_is_safe(
    rig: Rig, write: str, says: Says, status: int, code: str, outcome: str
) -> None:
    if write == "create":
        answer = rig.create(DRAFT, says={("POST", "all"): says})
    elif write == "update":
        answer = rig.patch_raze({"description": "x"}, says={("PUT", "one"): says})
    else:
        rig.raze.play(FakeRaze({("DELETE", "one"): says}))
        answer = ask(f"{rig.url}/v1/opportunities/raze:{RAZE}", "DELETE")
    problem = assert_problem(answer, status, code)
    assert problem["outcome"] == outcome
    assert problem["connection"] == answer.headers["x-crm-connection"] == "raze"
    repeatable = write == "update" and code in ("provider-timeout", "provider-error")
    assert len(rig.sent(rig.raze)) in ((1, 2, 3) if repeatable else (1,))  # how often is for the repeats that are left
    if outcome == "unknown":
        assert problem["retryable"] is False
    if status == 429:
        assert problem["retry_after"] == 30


def test_a_create_at_a_port_that_refuses_is_not_applied(rig: Rig) -> None:
    answer = rig.write("POST", "/v1/opportunities", DRAFT, {"X-CRM-Connection": "refused"})
    problem = assert_problem(answer, 503, "provider-unavailable")
    assert problem["outcome"] == "not_applied" and problem["retry_after"] >= 1


def test_a_create_that_is_never_answered_is_unknown(rig: Rig) -> None:
    rig.raze.play([Says(then="stall")])
    answer = rig.write("POST", "/v1/opportunities", DRAFT, {"X-CRM-Connection": "quick"})
    assert assert_problem(answer, 504, "provider-timeout")["outcome"] == "unknown"
    assert len(rig.raze.seen) == 1


def test_what_the_provider_objects_to_is_named_by_its_canonical_field(rig: Rig) -> None:
    details = {"fields": {"deal_value": "Must be positive", "email": "Invalid email format", "zzz": "?"}}
    error = {
        "success": False,
        "error": {"code": "VALIDATION_ERROR", "message": "Validation failed", "details": details},
    }
    problem = assert_problem(rig.create(DRAFT, says={("POST", "all"): Says(400, error)}), 422, "provider-rejected")
    assert fields_of(problem) == ["amount.value", "contacts[0].emails[0].address", "zzz"]
    assert problem["provider"] == {"status": 400, "code": "VALIDATION_ERROR", "message": "Validation failed"}


# --- every refused write tells its outcome ---------------------------------------------------------------------------

PATCH_ID = f"/v1/opportunities/raze:{RAZE}"
REFUSED: dict[str, tuple[str, str, Mapping[str, str], bytes, int, str]] = {
    "not JSON": ("POST", "/v1/opportunities", JSON, b"{", 400, "invalid-request"),
    "wrong type": ("POST", "/v1/opportunities", {"Content-Type": "text/plain"}, b"{}", 415, "unsupported-media-type"),
    "too large": ("PATCH", PATCH_ID, JSON, b" " * 300_000, 413, "too-large"),
    "key": ("POST", "/v1/opportunities", {**JSON, "Idempotency-Key": '""'}, b"{}", 400, "invalid-request"),
    "query": ("POST", "/v1/opportunities?x=1", JSON, b"{}", 400, "invalid-request"),
    "connection": ("POST", "/v1/opportunities", {**JSON, "X-CRM-Connection": "nobody"}, b"{}", 404, "not-found"),
    "contradiction": ("PATCH", PATCH_ID, {**JSON, "X-CRM-Connection": "spott"}, b"{}", 400, "invalid-request"),
    "id": ("PATCH", "/v1/opportunities/a%2Fb", JSON, b"{}", 400, "invalid-request"),
    "id to delete": ("DELETE", "/v1/opportunities/a%2Fb", {}, b"", 400, "invalid-request"),
    "timeout header": ("PATCH", PATCH_ID, {**JSON, "X-Request-Timeout": "x"}, b"{}", 400, "invalid-request"),
    "invalid": ("POST", "/v1/opportunities", JSON, b"{}", 422, "invalid-opportunity"),
    "no object": ("PATCH", PATCH_ID, JSON, b"[]", 422, "invalid-opportunity"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_write_that_is_refused_says_not_applied(rig: Rig, kind: str) -> None:
    method, target, headers, body, status, code = REFUSED[kind]
    rig.raze.play(FakeRaze())
    problem = assert_problem(ask(f"{rig.url}{target}", method, headers, body), status, code)
    assert rig.raze.seen == []
    assert problem.get("outcome") == "not_applied"


@pytest.mark.parametrize(
    "kind", ["not JSON", "wrong type", "too large", "invalid", "no object", "timeout header", "key", "query"]
)
def test_a_refused_write_names_its_connection_in_the_body_as_in_the_header(rig: Rig, kind: str) -> None:
    method, target, headers, body, status, code = REFUSED[kind]
    answer = ask(f"{rig.url}{target}", method, headers, body)
    problem = assert_problem(answer, status, code)
    assert problem["connection"] == answer.headers["x-crm-connection"] == "raze"


def test_a_patch_with_nothing_to_send_at_a_record_that_is_gone_says_not_applied(rig: Rig) -> None:
    problem = assert_problem(rig.patch_raze({"source": "x"}, says={("GET", "one"): Says(404)}), 404, "not-found")
    assert problem.get("outcome") == "not_applied"


# --- bodies ----------------------------------------------------------------------------------------------------------

BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "invalid-request"),
    "not JSON": (b"name=" + CANARY.encode(), 400, "invalid-request"),
    "a cut object": (b'{"name": "' + CANARY.encode(), 400, "invalid-request"),
    "two values": (b'{"name":"J"} {"name":"' + CANARY.encode() + b'"}', 400, "invalid-request"),
    "a trailing comma": (b'{"name":"' + CANARY.encode() + b'",}', 400, "invalid-request"),
    "single quotes": (b"{'name':'" + CANARY.encode() + b"'}", 400, "invalid-request"),
    "a comment": (b'{"name":"J"} // ' + CANARY.encode(), 400, "invalid-request"),
    "duplicate keys": (b'{"name":"J","name":"' + CANARY.encode() + b'"}', 400, "invalid-request"),
    "deep duplicate keys": (b'{"name":"J","stage":{"%s":1,"%s":2}}' % (CANARY.encode(), CANARY.encode()), 400,
                            "invalid-request"),
    "NaN": (b'{"name":"%s","amount":{"value":NaN,"currency":"BRL"}}' % CANARY.encode(), 400, "invalid-request"),
    "Infinity": (b'{"name":"%s","amount":{"value":-Infinity,"currency":"BRL"}}' % CANARY.encode(), 400,
                 "invalid-request"),
    "a lone surrogate": (b'{"name":"%s\\ud800"}' % CANARY.encode(), 400, "invalid-request"),
    "a lone low surrogate in a key": (b'{"name":"J","%s\\udc00":1}' % CANARY.encode(), 400, "invalid-request"),
    "not UTF-8": (b'{"name":"%s\xff"}' % CANARY.encode(), 400, "invalid-request"),
    "UTF-16": (f'{{"name":"{CANARY}"}}'.encode("utf-16"), 400, "invalid-request"),
    "a control character": (b'{"name":"%s\x00"}' % CANARY.encode(), 400, "invalid-request"),
    "100000 lists": (b'{"name":"J","contacts":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid-request"),
    "100000 open lists": (b"[" * 100_000, 400, "invalid-request"),
    "30000 objects": (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, 400, "invalid-request"),
    "1e400": (b'{"name":"J","amount":{"value":1e400,"currency":"BRL"}}', 422, "invalid-opportunity"),
    "null": (b"null", 422, "invalid-opportunity"),
    "a list": (b'["%s"]' % CANARY.encode(), 422, "invalid-opportunity"),
    "a string": (b'"%s"' % CANARY.encode(), 422, "invalid-opportunity"),
    "wrong types": (b'{"name":["%s"],"status":"%s","amount":"%s","owner":"%s","contacts":"%s"}'
                    % ((CANARY.encode(),) * 5), 422, "invalid-opportunity"),
    "wrong values": (b'{"name":"J","amount":{"value":"%s","currency":"%s"},"expected_close":{"on":"%s","at":"%s"}}'
                     % ((CANARY.encode(),) * 4), 422, "invalid-opportunity"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_that_is_no_strict_json_or_no_opportunity_is_refused_and_never_repeated(
    rig: Rig, kind: str, method: str
) -> None:
    body, status, code = BODIES[kind]
    rig.raze.play(FakeRaze())
    answer = rig.write(method, "/v1/opportunities" if method == "POST" else PATCH_ID, body)
    assert_problem(answer, status, code)
    assert CANARY.encode() not in answer.body
    assert len(answer.body) < 5000
    assert rig.raze.seen == []


def test_a_number_of_two_hundred_thousand_digits_is_refused_and_not_repeated(rig: Rig) -> None:
    answer = rig.create(b'{"name":"J","amount":{"value":' + b"7" * 200_000 + b',"currency":"BRL"}}')
    assert answer.status in (400, 422)
    assert_problem(answer, answer.status, {400: "invalid-request", 422: "invalid-opportunity"}[answer.status])
    assert b"7" * 12 not in answer.body  # more than a random id can hold by chance
    assert rig.raze.seen == []


def test_a_body_with_a_byte_order_mark_or_blanks_around_it_is_taken(rig: Rig) -> None:
    assert rig.create(b'\xef\xbb\xbf {"name":"J"}\r\n').status == 201


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_over_the_limit_is_too_large_with_a_length_and_in_chunks(rig: Rig, method: str) -> None:
    rig.raze.play(FakeRaze())
    target = "/v1/opportunities" if method == "POST" else PATCH_ID
    big = strict_json.dumps({"name": "J", "description": "x" * (256 * 1024)})
    assert_problem(rig.write(method, target, big), 413, "too-large")
    pieces = [big[place : place + 16384] for place in range(0, len(big), 16384)]
    assert_problem(ask(f"{rig.url}{target}", method, JSON, pieces), 413, "too-large")
    assert rig.raze.seen == []


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize(
    ("target", "method", "media", "status"),
    [
        ("/v1/opportunities", "POST", "application/json", 413),
        ("/v1/opportunities", "POST", "text/plain", 415),
        ("/v1/opportunities?x=1", "POST", "application/json", 400),
        ("/v1/opportunities", "PUT", "application/json", 405),
        ("/nothing", "POST", "application/json", 404),
    ],
)
def test_a_client_that_closes_after_its_request_and_sends_before_it_reads_sees_the_answer_to_too_much(
    rig: Rig, target: str, method: str, media: str, status: int, in_chunks: bool
) -> None:
    rig.raze.play(FakeRaze())
    body = strict_json.dumps({"name": "J", "description": "x" * (8 << 20)})
    pieces = (body[place : place + 65536] for place in range(0, len(body), 65536))
    # urllib asks for `Connection: close`, and takes a connection that is broken off while it sends for no answer.
    data = pieces if in_chunks else body
    request = urllib.request.Request(f"{rig.url}{target}", data, {"Content-Type": media}, method=method)
    began = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["status"]) == (status, status)
    assert time.monotonic() - began < 5  # closed as soon as all has come
    assert rig.raze.seen == []


def test_a_body_in_chunks_within_the_limit_is_taken(rig: Rig) -> None:
    rig.raze.play(FakeRaze())
    body = strict_json.dumps({"name": "J", "description": "x" * 200_000})
    answer = ask(f"{rig.url}/v1/opportunities", "POST", JSON, [body[:10], body[10:100_000], body[100_000:]])
    assert answer.status == 201
    assert len(answer.data["description"]) == 200_000


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Content-Type": ""}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonp"}, {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/xml"}, {"Content-Type": "application/json, text/html"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_body_of_another_type_or_compressed_is_refused(rig: Rig, method: str, headers: Mapping[str, str]) -> None:
    rig.raze.play(FakeRaze())
    target = "/v1/opportunities" if method == "POST" else PATCH_ID
    body = gzip.compress(b'{"name":"J"}') if headers.get("Content-Encoding") == "gzip" else b'{"name":"J"}'
    assert_problem(ask(f"{rig.url}{target}", method, headers, body), 415, "unsupported-media-type")
    assert rig.raze.seen == []


def test_a_merge_patch_is_for_patch_only_and_the_types_case_and_charset_do_not_matter(rig: Rig) -> None:
    rig.raze.play(FakeRaze())
    assert_problem(rig.write("POST", "/v1/opportunities", {"name": "J"}, MERGE_PATCH), 415, "unsupported-media-type")
    for kind in ("application/json", "Application/JSON; charset=UTF-8", 'application/merge-patch+json;charset="utf-8"'):
        assert rig.write("PATCH", PATCH_ID, {"description": "x"}, {"Content-Type": kind}).status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=40))
def test_text_reaches_the_provider_as_it_was_written(rig: Rig, text: str) -> None:
    answer = rig.create({"name": text, "description": text})
    assert answer.status == 201
    assert rig.sent(rig.raze)[0][2] == {"name": text, "notes": text}
    assert ledger(answer) == (["description", "name"], [])


# --- deleting --------------------------------------------------------------------------------------------------------


def test_a_delete_is_a_204_without_a_body(rig: Rig) -> None:
    rig.raze.play(FakeRaze())
    answer = ask(f"{rig.url}/v1/opportunities/raze:{RAZE}", "DELETE")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["x-crm-connection"] == "raze"
    assert "x-request-id" in answer.headers and "server-timing" in answer.headers
    assert rig.sent(rig.raze) == [("DELETE", f"/opportunities/{RAZE}", None)]


WHY = {"code": "CONFLICT", "message": f"open invoices, key-of-raze, {CANARY}"}
DENIALS = (
    {"success": False, "error": WHY}, {"success": False, "error": WHY, "data": {"id": RAZE, "name": "Jane"}},
    {"error": WHY}, {"success": False},
)  # fmt: skip


@pytest.mark.parametrize("body", DENIALS, ids=["error", "with a record", "no success", "no error"])
@pytest.mark.parametrize(
    ("method", "operation", "patch"),
    [
        ("DELETE", "one", None), ("POST", "all", {"name": "Jane"}), ("PUT", "one", {"description": "x"}),
        ("PATCH", "stage", {"status": "won"}), ("GET", "one", None), ("GET", "all", None),
    ],
)  # fmt: skip
def test_a_success_that_says_of_itself_that_it_is_none_is_told_as_no_success(
    rig: Rig, method: str, operation: str, patch: Any, body: Any
) -> None:
    rig.raze.play(FakeRaze({(method, operation): Says(200, body)}))
    target = "/v1/opportunities" + (f"/raze:{RAZE}" if operation != "all" else "")
    if patch is None:
        answer = ask(f"{rig.url}{target}", method)
    else:
        answer = rig.write("POST" if method == "POST" else "PATCH", target, patch)
    problem = assert_problem(answer, 502, "provider-bad-answer")
    assert problem.get("outcome") == (None if method == "GET" else "unknown")
    assert problem["provider"]["status"] == 200
    if "error" in body:
        assert problem["provider"]["code"] == "CONFLICT"
        assert "open invoices" in problem["provider"]["message"] and b"key-of-raze" not in answer.body
    assert len(rig.sent(rig.raze)) == (method != "GET")


@pytest.mark.parametrize(
    ("said", "status", "code", "outcome"),
    [
        ("GONE", 404, "not-found", "not_applied"), ("KEY", 502, "provider-auth-failed", "not_applied"),
        ("RULE", 422, "provider-rejected", "not_applied"), ("SLOW", 429, "rate-limited", "not_applied"),
        ("DOWN", 502, "provider-error", "unknown"), ("ELSE", 502, "provider-bad-answer", "unknown"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_error_told_with_200_is_what_its_adapter_knows_it_for(
    rig: Rig, method: str, said: str, status: int, code: str, outcome: str
) -> None:
    body = {"success": False, "error": {"code": said, "message": "in the provider's words, key-of-fine"}}
    rig.raze.play(FakeRaze({("GET", "one"): Says(200, body), ("PUT", "one"): Says(200, body)}))
    target = f"/v1/opportunities/fine:{RAZE}"
    answer = (
        rig.write("PATCH", target, {"description": "x"})
        if method == "PATCH"
        else ask(f"{rig.url}{target}", headers={"Cache-Control": "no-cache"})
    )
    problem = assert_problem(answer, status, code)
    assert problem.get("outcome") == (None if method == "GET" else outcome)
    assert problem["provider"]["status"] == 200 and problem["provider"]["code"] == said
    assert b"key-of-fine" not in answer.body and ("message" in problem["provider"]) == (said != "KEY")


def test_a_stage_call_that_denies_its_success_fails_beside_an_update_that_took(rig: Rig) -> None:
    answer = rig.patch_raze(BOTH, says={("PATCH", "stage"): Says(200, {"success": False, "error": WHY})})
    assert ledger(answer) == (["description"], [("status", "failed")])


@pytest.mark.parametrize(
    "body", [{}, {"success": True, "error": WHY}, {"success": None, "error": None}, {"error": "none"}]
)
def test_a_delete_that_does_not_say_that_it_failed_is_one(rig: Rig, body: Any) -> None:
    rig.raze.play([Says(200, body)])
    assert ask(f"{rig.url}/v1/opportunities/{RAZE}", "DELETE").status == 204


def test_a_delete_of_what_is_gone_is_not_found(rig: Rig) -> None:
    rig.raze.play([Says(404, {"success": False, "error": {"code": "NOT_FOUND", "message": "Opportunity not found"}})])
    problem = assert_problem(ask(f"{rig.url}/v1/opportunities/{RAZE}", "DELETE"), 404, "not-found")
    assert problem["outcome"] == "not_applied"


def test_what_spott_cannot_do_is_a_405_that_says_what_it_can(rig: Rig) -> None:
    rig.spott.play(FakeSpott())
    answer = rig.write("POST", "/v1/opportunities", {"name": "J"}, {"X-CRM-Connection": "spott"})
    problem = assert_problem(answer, 405, "operation-not-supported")
    assert "GET" in answer.headers["allow"] and "POST" not in answer.headers["allow"]
    assert (problem["connection"], problem["outcome"]) == ("spott", "not_applied")
    answer = ask(f"{rig.url}/v1/opportunities/spott:{SPOTT}", "DELETE")
    problem = assert_problem(answer, 405, "operation-not-supported")
    assert {"GET", "PATCH"} <= set(answer.headers["allow"].split(", ")) and "DELETE" not in answer.headers["allow"]
    assert problem["outcome"] == "not_applied"
    assert rig.spott.seen == []


# --- the sandboxes ---------------------------------------------------------------------------------------------------


def test_a_record_is_created_read_changed_closed_and_deleted_at_the_getraze_sandbox(sandboxes: str) -> None:
    created = ask(f"{sandboxes}/v1/opportunities", "POST", JSON, strict_json.dumps(DRAFT))
    assert created.status == 201 and ledger(created) == (sorted(DRAFT), [])
    url = f"{sandboxes}{created.headers['location']}"
    assert ask(url).data == created.data
    changed = ask(
        url, "PATCH", JSON, b'{"amount":{"value":12345678901234567890.12},"status":"won","owner":{"id":"usr_204"}}'
    )
    assert ledger(changed) == (["amount", "owner", "status"], [])
    assert changed.data["amount"] == {"value": "12345678901234567890.12", "currency": "BRL"}
    assert changed.data["won_at"] is not None and changed.data["owner"]["name"] == "Beatriz Nogueira"
    assert ask(url, "DELETE").status == 204
    assert_problem(ask(url), 404, "not-found")
    assert_problem(ask(url, "DELETE"), 404, "not-found")


def test_a_record_is_changed_at_the_spott_sandbox(sandboxes: str) -> None:
    url = f"{sandboxes}/v1/opportunities/spott:{SPOTT}"
    patch = {
        "name": "Renamed", "stage": {"name": "Negotiation"}, "owner": None, "expected_close": {"on": "2026-03-31"},
        "contacts": [{"id": "cnt_2"}], "company": {"id": "cmp_1"}, "description": None, "source": "fair",
    }  # fmt: skip
    changed = ask(url, "PATCH", MERGE_PATCH, strict_json.dumps(patch))
    assert ledger(changed) == (sorted(set(patch) - {"source"}), [("source", "unsupported")])
    assert changed.data["expected_close"] == {"on": "2026-03-31", "at": "2026-03-31T00:00:00Z"}
    assert changed.data["owner"] is None and changed.data["stage"]["id"] == "stg_3"
    assert ask(url).data == changed.data


def test_what_the_sandbox_refuses_comes_back_with_the_field_that_it_objects_to(sandboxes: str) -> None:
    draft = {"name": "J", "source": "fax", "contacts": [{"emails": [{"address": "no address"}]}]}
    answer = ask(f"{sandboxes}/v1/opportunities", "POST", JSON, strict_json.dumps(draft))
    problem = assert_problem(answer, 422, "provider-rejected")
    assert problem["outcome"] == "not_applied"
    assert set(fields_of(problem)) & {"source", "contacts[0].emails[0].address"}
