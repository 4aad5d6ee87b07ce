"""Reading, writing, rendering and the ledger to the letter: what a changed line of the mapping would change."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pytest
from typing_extensions import is_typeddict

from adapters.getraze.fields import documented
from adapters.getraze.served import served
from adapters.spott.fields import spott
from gateway import codecs
from gateway.codecs import MISSING, Inexact, Unreadable, instant, joined, kind
from gateway.fields import Table, TableError
from gateway.ledger import DECIMALS, NotApplied, Plan, Sent, compare, equal, leaves_of, lookup, settle
from gateway.opportunity import DecimalString, Opportunity
from gateway.pointer import escape, leaves, put, tokens
from gateway.rendering import render
from gateway.statuses import status_of_open_flag, status_of_word
from gateway.strict_json import Json
from gateway.writing import plan

DOCUMENTED = documented({"parked": "closed"})
SERVED = served({"st-9": "lost", "Ganho": "won"}, {"st-1": "Lead", "st-2": "Ganho"})
SPOTT = spott({"st-9": "lost", "Won": "won"}, ("attr-1", "EUR"))
DRAFT: dict[str, Json] = {
    "name": "Deal", "description": "text", "stage": {"id": "st-1"}, "amount": {"value": "12.50", "currency": "EUR"},
    "company": {"id": "c-1", "name": "Acme"}, "owner": {"id": "o-1"}, "source": "fair",
    "contacts": [
        {"id": "p-1", "name": "Deal", "title": "CTO", "company": {"name": "Acme"}, "linkedin_url": "https://l",
         "emails": [{"address": "a@b", "primary": True}, {"address": "c@d"}], "phones": [{"number": "+32"}]},
        {"id": "p-2"},
    ],
    "expected_close": {"on": "2026-03-31", "at": "2026-03-31T00:00:00Z"},
}  # fmt: skip
NULLS: dict[str, Json] = dict.fromkeys(
    ("description", "amount", "company", "owner", "contacts", "source", "expected_close")
)

ONE_NAME = "GetRaze has one name for contact and opportunity: write the opportunity's `name`"
ONE_NAME_SERVED = "GetRaze takes one name for contact and opportunity: write the opportunity's `name`"


def _plan(table: Table, fields: dict[str, Json], *calls: str) -> tuple[Json, list[str], list[str]]:
    planned = plan(table, fields, calls, "P")
    return planned.bodies, [one.field for one in planned.sent], [one.field for one in planned.refused]


@pytest.mark.parametrize(
    ("word", "told"), [("new", True), ("won", False), ("lost", False), ("parked", False), ("never heard", None)]
)
def test_a_stage_is_open_as_its_word_or_the_stage_map_says(word: str, told: bool | None) -> None:
    assert DOCUMENTED.read({"id": "1", "status": word}).values["stage"]["is_open"] is told


def test_a_contact_without_a_name_is_one_only_if_something_else_is_told_of_it() -> None:
    assert DOCUMENTED.read({"id": "1", "name": None}).values["contacts"] == []
    assert DOCUMENTED.read({"id": "1", "name": None, "email": None}).values["contacts"] == []
    (contact,) = DOCUMENTED.read({"id": "1", "name": None, "email": "a@b"}).values["contacts"]
    assert contact["name"] is None and contact["emails"][0]["address"] == "a@b"
    assert "contacts" not in DOCUMENTED.read({"id": "1"}).values


def test_a_table_with_gaps_names_them_all() -> None:
    rows = [row for row in DOCUMENTED.rows if row.field not in ("name", "won_at", "contacts", "owner.id")]
    with pytest.raises(TableError, match=r"no row for name, owner\.id, contacts, won_at; "):
        Table(*rows)


def test_a_whole_draft_goes_where_the_documented_dialect_keeps_it() -> None:
    bodies, sent, refused = _plan(DOCUMENTED, DRAFT, "update", "move")
    assert bodies == {
        "update": {
            "name": "Deal", "notes": "text", "deal_value": Decimal("12.50"), "deal_currency": "EUR", "company": "Acme",
            "responsible_user_id": "o-1", "position": "CTO", "email": "a@b", "phone": "+32",
        },
        "move": {"status": "st-1"},
    }  # fmt: skip
    assert sent == [
        "name", "description", "stage.id", "amount.value", "amount.currency", "company.name", "owner.id",
        "contacts[0].name", "contacts[0].title", "contacts[0].company.name", "contacts[0].emails[0].address",
        "contacts[0].phones[0].number",
    ]  # fmt: skip
    assert refused == [
        "company.id", "source", "contacts[0].id", "contacts[0].linkedin_url", "contacts[0].emails[1]", "contacts[1]",
        "expected_close",
    ]  # fmt: skip
    created, _, left = _plan(DOCUMENTED, DRAFT, "create")
    assert created["create"] == bodies["update"] | bodies["move"] | {"source": "fair", "linkedin_url": "https://l"}
    assert "source" not in left


def test_a_whole_draft_goes_where_the_served_dialect_keeps_it() -> None:
    bodies, _, refused = _plan(SERVED, DRAFT, "create")
    assert bodies == {"create": {
        "name": "Deal", "notes": "text", "stage_id": "st-1", "company": "Acme", "owner_user_id": "o-1", "source": "fair",
        "title": "CTO", "email": "a@b", "phone": "+32", "profile_url": "https://l",
    }}  # fmt: skip
    assert refused == [
        "amount.value", "amount.currency", "company.id", "contacts[0].id", "contacts[0].emails[1]", "contacts[1]",
        "expected_close.on", "expected_close.at",
    ]  # fmt: skip
    moved, _, left = _plan(SERVED, DRAFT, "update", "move")
    assert moved["move"] == {"stage_id": "st-1"} and "source" in left


def test_a_whole_draft_goes_where_spott_keeps_it() -> None:
    bodies, sent, refused = _plan(SPOTT, DRAFT, "update")
    assert bodies == {"update": {
        "name": "Deal", "description": "text", "stageId": "st-1", "companyId": "c-1", "ownerId": "o-1",
        "clientTeam": [{"id": "p-1"}, {"id": "p-2"}], "closeDate": {"target": "2026-03-31T00:00:00Z"},
    }}  # fmt: skip
    assert {"company.name", "expected_close.on", "contacts[1].id"} <= set(sent)
    assert {"source", "amount.value", "contacts[0].title", "contacts[0].emails"} <= set(refused)
    assert _plan(SPOTT, {"contacts": [{"name": "no id"}]}, "update") == ({}, [], ["contacts"])
    assert _plan(SPOTT, {"contacts": []}, "update") == ({"update": {"clientTeam": []}}, ["contacts"], [])


@pytest.mark.parametrize(
    ("table", "body", "refused"),
    [
        (DOCUMENTED, dict.fromkeys(("notes", "deal_value", "company", "responsible_user_id", "position", "email", "phone")),
         {"source": "P takes it only on create", "amount.currency": "P cannot remove it",
          "contacts[0].name": ONE_NAME, "contacts[0].linkedin_url": "P takes it only on create"}),
        (SERVED, dict.fromkeys(("notes", "company", "owner_user_id", "title", "email", "phone", "profile_url")),
         {"amount": "P cannot remove it", "source": "P takes it only on create", "expected_close": "P cannot remove it",
          "contacts[0].id": "GetRaze links a contact by its e-mail, not by an id", "contacts[0].name": ONE_NAME_SERVED,
          "contacts[0].avatar_url": "GetRaze's server takes no picture of a contact"}),
        (SPOTT, {"description": None, "ownerId": None, "clientTeam": [], "closeDate": {"target": None}},
         {"amount": "P cannot remove it", "company": "P cannot remove it"}),
    ],
)  # fmt: skip
def test_null_clears_what_can_be_cleared(table: Table, body: Json, refused: dict[str, str]) -> None:
    planned = plan(table, NULLS, ("update", "move"), "P")
    assert planned.bodies == {"update": body}
    assert {one.field: one.detail for one in planned.refused} == refused
    assert plan(table, {"name": None}, ("update",), "P").refused[0].detail == "P cannot remove it"


def test_a_leaf_kept_in_anothers_place_goes_with_that_one_only() -> None:
    assert _plan(DOCUMENTED, {"stage": {"name": "won"}}, "update", "move") == ({}, [], ["stage.name"])
    assert _plan(DOCUMENTED, {"name": "A", "contacts": [{"name": "B"}]}, "update")[2] == ["contacts[0].name"]
    assert _plan(DOCUMENTED, {"stage": {"id": "won"}, "status": "won"}, "update", "move")[1] == ["stage.id", "status"]


@pytest.mark.parametrize(
    ("table", "missing"),
    [
        (DOCUMENTED, "/name /notes /status /deal_value /deal_currency /company /responsible_user/id /responsible_user/name "
         "/position /email /phone /linkedin_url /source /campaign/id /campaign/name"
         " /won_at /lost_at /created_at /updated_at"),
        (SERVED, "/title /notes /stage_id /pipeline_id /value /currency /probability /contact_company /owner_user_id "
         "/owner_user_name /owner_user_email /contact_id /contact_name /contact_title /contact_email"
         " /contact_phone /source "
         "/campaign_id /campaign_name /expected_close_date"
         " /won_at /lost_at /created_at /updated_at"),
        (SPOTT, "/name/name /description/description /stage/stage/isOpen /stage/stage/id /stage/stage/name "
         "/stage/stage/order /company/company/id /company/company/name /owner/owner/id /owner/owner/name "
         "/clientTeam/clientTeam /closeDate/closeDate/target /nextTaskDue/nextTaskDue/id /nextTaskDue/nextTaskDue/content "
         "/customAttributes /createdAt/createdAt"),
    ],
)  # fmt: skip
def test_what_a_bare_record_lacks_is_named(table: Table, missing: str) -> None:
    reading = table.read({"id": "1"})
    assert list(dict.fromkeys(path for _, path in reading.missing)) == missing.split()
    assert reading.values["native_id"] == "1" and reading.values["status"] == "unknown" and not reading.issues


@pytest.mark.parametrize(
    ("told", "status", "source"),
    [
        ((True, "st-9", None), "open", "native"), ((False, "st-9", "Won"), "lost", "stage_map"),
        ((False, "x", "Won"), "won", "stage_map"), ((False, "x", "y"), "closed", "native"),
        ((MISSING, "st-9", None), "lost", "stage_map"), ((MISSING, "x", 5), MISSING, None),
    ],
)  # fmt: skip
def test_an_open_flag_and_the_stage_map_tell_the_status(told: Any, status: Json, source: Json) -> None:
    read, read_source = status_of_open_flag({"st-9": "lost", "Won": "won"})
    assert (read.decode(*told), read_source.decode(*told)) == (status, source)
    assert read.native and not read_source.native
    with pytest.raises(Unreadable) as caught:
        read.decode("yes", "x", "y")
    assert caught.value.reason == "wrong_type"


def test_a_word_tells_the_status_and_the_map_adds_others() -> None:
    status, source = status_of_word({"won": "won", "new": "open"}, {"new": "lost", "parked": "closed"})
    assert [(status.decode(word), source.decode(word)) for word in ("won", "new", "parked")] == [
        ("won", "native"), ("open", "native"), ("closed", "stage_map"),
    ]  # fmt: skip
    assert source.decode("odd") is None and source.decode(5) is None
    assert status.native and not source.native and status.doc.startswith("won: won, new: open; ")
    with pytest.raises(Unreadable) as caught:
        status.decode("odd")
    assert caught.value.reason == "unknown_word"


@pytest.mark.parametrize(
    ("record", "status", "source"),
    [
        ({"won_at": "2024-01-01", "lost_at": None}, "won", "inferred"),
        ({"won_at": None, "lost_at": "2024-01-01"}, "lost", "inferred"),
        ({"won_at": None, "lost_at": None, "stage_id": "st-9"}, "lost", "stage_map"),
        ({"won_at": None, "lost_at": None, "stage_id": "st-1"}, "open", "inferred"),
        ({"won_at": None, "lost_at": None, "stage_id": "st-2"}, "won", "stage_map"),
        ({"won_at": None, "lost_at": None, "stage_id": "x", "stage_name": "Proposta"}, "open", "inferred"),
        ({"won_at": None, "lost_at": None, "stage_id": "x", "stage_name": "won"}, "unknown", None),
        ({"won_at": None, "lost_at": None, "stage_id": "x"}, "unknown", None),
        ({"won_at": "a", "lost_at": "b", "stage_id": "st-1"}, "unknown", None),
        ({"won_at": "a", "lost_at": "b", "stage_id": "st-9"}, "lost", "stage_map"),
        ({"lost_at": None, "stage_id": "st-1"}, "unknown", None),
    ],
)  # fmt: skip
def test_the_served_dialect_infers_a_status_or_does_not_know(
    record: dict[str, Json], status: str, source: Json
) -> None:
    values = SERVED.read(record).values
    assert (values["status"], values["status_source"]) == (status, source)


def test_percentages_days_currencies_and_names() -> None:
    assert [codecs.percent.decode(one) for one in (0, 40, 100, Decimal("6.10"))] == ["0", "0.4", "1", "0.061"]
    assert codecs.percent.encode is not None
    assert [str(codecs.percent.encode(one)) for one in ("0", "0.4", "1", "0.061")] == ["0", "40", "100", "6.1"]
    beyond: tuple[Json, ...] = (101, -1, Decimal("100.01"))
    for value in beyond:
        with pytest.raises(Unreadable) as caught:
            codecs.percent.decode(value)
        assert caught.value.reason == "invalid"
    assert codecs.day.decode("2024-02-29") == "2024-02-29"
    wrong: tuple[tuple[codecs.Codec, Json, str], ...] = (
        (codecs.day, "2023-02-29", "invalid"), (codecs.currency, "eur", "unknown_word"),
        (codecs.decimal_text, "1,5", "invalid"), (codecs.whole_number, True, "wrong_type"),
        (codecs.flag, 1, "wrong_type"), (codecs.decimal_text, 5, "wrong_type"),
    )  # fmt: skip
    for codec, value, reason in wrong:
        with pytest.raises(Unreadable) as caught:
            codec.decode(value)
        assert (caught.value.reason, caught.value.which, caught.value.below) == (reason, 0, "")
    assert joined.decode("A", None, MISSING, "") == "A" and joined.decode(MISSING) is MISSING
    assert joined.decode("", None) is None and joined.decode("A", MISSING, "B") == "A B"
    with pytest.raises(Unreadable) as caught:
        joined.decode("A", 5)
    assert caught.value.which == 1
    all_kinds: tuple[Json, ...] = (None, True, "", [], {}, 1)
    assert [kind(one) for one in all_kinds] == [
        "null", "a boolean", "a string", "a list", "an object", "a number",
    ]  # fmt: skip
    with pytest.raises(Inexact) as inexact:
        instant().decode("2024-01-01T00:00:00.1234567Z")
    assert inexact.value.value == "2024-01-01T00:00:00.123456Z"
    assert not MISSING and repr(MISSING) == "MISSING"


def test_a_time_too_fine_is_served_named_and_kept() -> None:
    reading = DOCUMENTED.read({"id": "1", "won_at": "2024-01-01T00:00:00.1234567Z"})
    assert reading.values["won_at"] == "2024-01-01T00:00:00.123456Z"
    assert reading.extensions == {"/won_at": "2024-01-01T00:00:00.1234567Z"}
    assert [(one.field, one.path, one.reason) for one in reading.issues] == [("won_at", "/won_at", "inexact")]


def test_what_cannot_be_read_is_named_where_it_stands() -> None:
    attribute = {"attributeDefinitionId": "attr-1", "label": "L", "value": {"viewType": "v", "one": "x", "two": "y"}}
    reading = SPOTT.read({"id": "1", "customAttributes": [{"attributeDefinitionId": "other"}, attribute], "name": 5})
    assert [(one.field, one.path, one.reason) for one in reading.issues if "/name" not in one.path] == [
        ("amount.value", "/customAttributes/1/value", "invalid")
    ]
    assert [(one.field, one.path, one.detail) for one in reading.issues if "/name" in one.path] == [
        ("name", "/name", "expected an object, got a number")
    ]
    assert reading.extensions == {"/name": 5}


def test_spotts_attributes_are_read_as_configured_or_named() -> None:
    def amount(value: Json) -> tuple[Json, list[str]]:
        reading = SPOTT.read({"customAttributes": value})
        return reading.values.get("amount"), [f"{one.field} {one.path} {one.reason}" for one in reading.issues]

    def held(value: Json) -> Json:
        return [{"attributeDefinitionId": "attr-1", "label": "L", "value": value}]

    assert amount(held({"viewType": "n", "number": 5})) == ({"value": "5", "currency": "EUR"}, [])
    assert amount(held({"viewType": "n", "value": "1.50", "currency": "EUR"})) == (
        {"value": "1.50", "currency": "EUR"},
        [],
    )
    assert amount(held({"value": "1.50", "currency": "USD"})) == (
        {"value": "1.50"}, ["amount.currency /customAttributes/0/value invalid"],
    )  # fmt: skip
    assert amount(held(None)) == (None, []) and amount(held({"n": None})) == (None, []) and amount(None) == (None, [])
    wrong = [f"{field} /customAttributes wrong_type" for field in ("amount.value", "amount.currency", "custom_fields")]
    assert amount("junk") == (None, wrong)
    doubtful = ["amount.value /customAttributes/0 wrong_type", "amount.currency /customAttributes/0 wrong_type"]
    assert amount([{"attributeDefinitionId": 5}])[1][:2] == doubtful
    rendered = render(SPOTT, {"custom_fields": [{"id": "a", "value": "t"}, {"id": "b", "value": {"n": 1}}]})
    assert rendered["customAttributes"] == [
        {"attributeDefinitionId": "a", "value": {"viewType": "customText", "text": "t"}},
        {"attributeDefinitionId": "b", "value": {"n": 1}},
    ]


def test_a_stage_cannot_be_cleared_and_its_name_is_mapped() -> None:
    for table, call in ((DOCUMENTED, "move"), (SERVED, "move"), (SPOTT, "update")):
        assert [one.detail for one in plan(table, {"stage": None}, (call,), "P").refused] == ["P cannot remove it"]
    values = SPOTT.read({"stage": {"stage": {"isOpen": False, "id": "x", "name": "Won"}}}).values
    assert (values["status"], values["status_source"]) == ("won", "stage_map")
    with pytest.raises(ValueError):
        codecs.decimal_string(Decimal("NaN"))


def test_a_thin_element_lacks_what_is_always_there_and_no_more() -> None:
    missing = SPOTT.read({"clientTeam": {"clientTeam": [{"id": "p", "emails": [{}, {"isPrimary": True}]}]}}).missing
    assert [field for field, _ in missing if field.startswith("contacts")] == [
        "contacts[0].first_name", "contacts[0].last_name", "contacts[0].emails[0].address",
        "contacts[0].emails[1].address",
    ]  # fmt: skip
    (held,) = SERVED.read({"custom_fields": {"k": 5}}).values["custom_fields"]
    assert (held["id"], held["value"]) == ("k", 5)
    listed = SERVED.read({"custom_fields": [1]})
    assert [one.detail for one in listed.issues] == ["expected an object, got a list"]
    assert listed.extensions == {"/custom_fields/0": 1}


def test_the_served_dialect_names_a_stage_that_it_has_learned() -> None:
    def stage(**told: Json) -> Json:
        return SERVED.read(told).values.get("stage")

    assert stage(stage_id="st-1")["name"] == "Lead" and "name" not in stage(stage_id="x")
    assert stage(stage_id="st-1", stage_name="Other")["name"] == "Other"
    assert stage(stage_id="st-9")["is_open"] is False and stage(stage_id="st-1")["is_open"] is None


def test_pointers_escape_and_put_makes_its_way() -> None:
    assert (escape("a~/b"), escape("a/"), escape("a~"), escape("ab")) == ("a~0~1b", "a~1", "a~0", "ab")
    assert tokens("/a~0~1b/c") == ("a~/b", "c") and tokens("") == ()
    assert list(leaves({"a": {"b/": 1, "c": []}, "d": [None, {}]})) == [
        ("/a/b~1", 1), ("/a/c", []), ("/d/0", None), ("/d/1", {}),
    ]  # fmt: skip
    target: dict[str, Json] = {"a": 5, "l": [{"x": 1}]}
    for place, value in (("/a/b", 1), ("/l/0/y", 2), ("/l/1/z", 3), ("/l/2", 4)):
        put(target, place, value)
    assert target == {"a": {"b": 1}, "l": [{"x": 1, "y": 2}, {"z": 3}, 4]}


def test_the_ledger_tells_what_took() -> None:
    sent = [Sent("name", "A", "u"), Sent("amount.value", "1.50", "u"), Sent("amount.currency", "EUR", "m"),
            Sent("description", " A  b ", "u"), Sent("source", "x", "u"), Sent("stage.id", "s", "m"),
            Sent("company.name", "c", "u")]  # fmt: skip
    refused = [NotApplied("owner.id", "unsupported", "no", "o"), NotApplied("campaign", "unsupported", "no", None)]
    stored = {"name": "A", "amount": {"value": "1.5", "currency": "USD"}, "description": "a B", "source": "y",
              "stage": {"id": "s"}, "owner": {"id": "o"}, "campaign": {"id": "1"}}  # fmt: skip
    applied, left = settle(Plan({}, sent, refused), stored, {"m": "it broke"})
    assert applied == ["name", "amount.value", "stage", "company", "owner"]
    assert [one.body() for one in left] == [
        {"field": "amount.currency", "reason": "failed", "detail": "it broke", "sent": "EUR", "stored": "USD"},
        {"field": "description", "reason": "coerced", "detail": "stored in another form", "sent": " A  b ",
         "stored": "a B"},
        {"field": "source", "reason": "ignored", "detail": "the record read back has it otherwise", "sent": "x",
         "stored": "y"},
        {"field": "campaign", "reason": "unsupported", "detail": "no", "sent": None},
    ]  # fmt: skip
    assert settle(Plan({}, [Sent("name", "A", "u")], []), None, {})[0] == ["name"]
    assert settle(Plan({}, [Sent("name", "A", "u")], []), None, {"u": "no"})[1][0].stored is MISSING


@pytest.mark.parametrize(
    ("value", "stored", "reason"),
    [
        ("2024-01-01T00:00:00.123456Z", "2024-01-01T00:00:00Z", "coerced"),
        ("2024-01-01T00:00:01Z", "2024-01-01T00:00:00Z", "unsupported"), ("1.5", "3", "unsupported"),
        ("2", "1", "unsupported"), ("abc", "ab", "coerced"), ("abc", "", "unsupported"), ("a", "b", "unsupported"),
        (None, [], None), (None, "x", "unsupported"), (5, "5", "unsupported"),
    ],
)  # fmt: skip
def test_a_leaf_is_held_otherwise_or_not_at_all(value: Json, stored: Json, reason: str | None) -> None:
    entry = compare("a", value, {"a": stored}, "why")
    assert (entry.reason if entry is not None else None) == reason
    assert compare("b", value, {"a": stored}, "why") is not None


@pytest.mark.parametrize(
    ("sent", "stored", "of_text", "of_money"),
    [
        ("1.50", "1.5", "coerced", None), ("10", "1e1", "ignored", None), ("0", "0.0", "ignored", None),
        ("-0", "0", "ignored", None), ("10", "10.4", "ignored", "coerced"), ("100", "10", "coerced", "ignored"),
        ("1.5", "1.5 ", "coerced", "ignored"), ("7", "7", None, None),
    ],
)  # fmt: skip
def test_only_a_number_is_compared_by_its_value(
    sent: str, stored: str, of_text: str | None, of_money: str | None
) -> None:
    """A text that looks like one is cut, changed or kept like any other text; and money is never cut text."""
    for path, held, reason in (
        ("name", {"name": stored}, of_text), ("contacts[0].title", {"contacts": [{"title": stored}]}, of_text),
        ("amount.value", {"amount": {"value": stored}}, of_money),
    ):  # fmt: skip
        applied, left = settle(Plan({}, [Sent(path, sent, "u")], []), held, {})
        assert ([one.reason for one in left], bool(applied)) == ([reason] if reason else [], reason is None)
        assert equal(sent, stored, path) is (reason is None)


def test_the_leaves_that_are_numbers_are_those_that_the_model_says() -> None:
    def decimals(of: Any, path: str) -> Iterator[str]:
        for name, hint in get_type_hints(of, include_extras=True).items():
            yield from (f"{path}{name}" for part in _parts(hint) if part == DecimalString)
            yield from (
                found for part in _parts(hint) if is_typeddict(part) for found in decimals(part, f"{path}{name}.")
            )

    assert set(decimals(Opportunity, "")) == DECIMALS


def _parts(hint: Any) -> Iterator[Any]:
    """A type hint and all that it is made of."""
    yield hint
    for part in get_args(hint) if hint != DecimalString else ():
        yield from _parts(part)


def test_canonical_paths_are_found() -> None:
    fields: dict[str, Json] = {"a": {"b": [{"c": 1}]}, "n": None, "e": []}
    assert [lookup(fields, one) for one in ("a.b[0].c", "n.x", "a.b[1]", "a.b[1].c", "e[0]")] == [
        1,
        None,
        None,
        None,
        None,
    ]
    assert [lookup(fields, one) for one in ("x", "a[0]", "a.b.c")] == [MISSING] * 3
    assert list(leaves_of(fields)) == [("a.b[0].c", 1), ("n", None), ("e", [])]


def test_rendering_puts_nulls_lists_and_form_in_their_places() -> None:
    assert render(DOCUMENTED, {"owner": None, "contacts": [], "amount": {"value": "1.50"}, "name": "N"}) == {
        "responsible_user": None, "position": None, "linkedin_url": None, "email": None, "phone": None,
        "deal_value": Decimal("1.50"), "name": "N",
    }  # fmt: skip
    assert render(SERVED, {"custom_fields": [{"id": "k", "value": 5}, {"value": 1}], "probability": "0.4"}) == {
        "custom_fields": {"k": 5}, "probability": 40,
    }  # fmt: skip
    rendered = render(SPOTT, {"name": "N", "company": None, "contacts": [{"id": "p", "emails": [{"address": "a@b"}]}]})
    assert rendered == {
        "name": {"viewType": "opportunityName", "name": "N"},
        "company": {"viewType": "opportunityCompany", "company": None},
        "clientTeam": {"viewType": "opportunityClientTeam", "clientTeam": [{"id": "p", "emails": [{"email": "a@b"}]}]},
    }
    assert next(iter(rendered["name"])) == "viewType"
