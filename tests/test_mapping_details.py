"""Corners of the mapping that no shipped table reaches, and promises that a changed word of it would break.

Most of these were led to by a mutation run (docs/mutation.md); each asserts what the canonical model or an adapter's author
is promised, not how it is done.
"""

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from adapters.getraze import GetRaze
from adapters.getraze.fields import documented
from adapters.getraze.served import served
from adapters.spott.fields import spott
from gateway import codecs
from gateway.codecs import (
    MISSING,
    Codec,
    Inexact,
    Unencodable,
    Unreadable,
    anything,
    day_string,
    decimal_string,
    instant,
    text,
)
from gateway.drift import Drift
from gateway.fields import Items, Row, Table, TableError, absent, const, entries, first_of, items, row, single
from gateway.ledger import NotApplied, Plan, Sent, compare, settle
from gateway.pointer import put
from gateway.reading import Reading
from gateway.rendering import render
from gateway.statuses import STATUSES
from gateway.strict_json import Json
from gateway.writing import plan

DOCUMENTED = documented({})
SERVED = served({}, {})
SPOTT = spott({}, None)
PRICED = spott({}, ("attr-1", "EUR"))


def with_rows(table: Table, *others: Row | Items) -> Table:
    """The table with other rows for some fields; rows of the parts give way to one of the whole, and the reverse."""
    fields = [other.field for other in others]
    kept = [
        entry for entry in table.rows
        if not any(entry.field == field or entry.field.startswith(f"{field}.") or field.startswith(f"{entry.field}.")
                   for field in fields)
    ]  # fmt: skip
    return Table(*kept, *others, beside=table.beside)


def issues(reading: Reading) -> list[str]:
    return [f"{one.field} {one.path} {one.reason}" for one in reading.issues]


def _tenths(whole: Json, part: Json) -> Json:
    if whole is MISSING and part is MISSING:
        return MISSING
    raise Inexact("0.3", "rounded")


def _short(value: str) -> Json:
    if len(value) > 3:
        raise Unencodable("three letters at most")
    return value


FIRM = single(
    "contacts",
    row("id", "/person_id", text),
    row("name", "/person/name", text),
    *(absent(name, "no such thing") for name in ("first_name", "middle_name", "last_name", "second_last_name", "title",
                                                 "department", "linkedin_url", "avatar_url", "emails", "phones")),
    row("company.id", "/person/firm/id", text, write="/firm_id"),
    row("company.name", "/person/firm/name", text, follows="id"),
    absent("company.logo_url", "no logos"),
)  # fmt: skip
ODD = with_rows(
    DOCUMENTED,
    FIRM,
    row("probability", ("/whole", "/part"), Codec("tenths", "two numbers", _tenths)),
    row("description", "/notes", Codec("short", "three letters at most", text.decode, _short), write="/notes"),
    row("source", "/source", text, follows="stage.id"),
    row("campaign.id", "/campaign/id", text, write="/campaign_id"),
    row("campaign.name", "/campaign/name", text, follows="stage.id"),
)  # fmt: skip
"""A table such as an author could write: a single contact below a member of its own, a joint row that is not exact, a text
that is not always taken, parts that follow a part of another object."""


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pointers",
    [("/a", "/a/b"), ("/a/b", "/a"), ("/a/b/c", "/a"), ("/a", "/a/b/c")],
    ids=["below", "above", "far", "deep"],
)
def test_a_place_inside_anothers_is_refused_when_the_table_is_built(pointers: tuple[str, str]) -> None:
    first, second = pointers
    with pytest.raises(TableError) as caught:
        with_rows(DOCUMENTED, row("description", first, text), row("source", second, text))
    assert second in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (row("description", "notes", text), "notes"), (row("description", "", text), ""),
        (row("description", "/notes", text, write="notes"), "notes"), (row("description", ("/notes", "n"), text), "n"),
        (row("description", "/notes~", text), "/notes~"), (items("custom_fields", "more"), "more"),
        (single("contacts", row("name", "name", text)), "name"),
    ],
    ids=["no slash", "empty", "written", "one of two", "tilde", "list", "within"],
)  # fmt: skip
def test_a_place_that_is_no_pointer_is_refused_with_the_field_it_is_for(wrong: Row | Items, pointer: str) -> None:
    with pytest.raises(TableError, match="is no JSON Pointer to a member; one begins with /") as caught:
        with_rows(DOCUMENTED, wrong)
    assert f" is at {pointer!r}, " in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [row("value", "/value", text), row("value", "/value/text", anything), row("id", "/key", anything),
     row("label", ("/key", "/value"), text), items("value", "/value"), row("label", "/name", text)],
    ids=["a text", "a part", "a name of any kind", "both", "a list", "elsewhere"],
)  # fmt: skip
def test_of_entries_the_name_and_the_whole_value_can_be_read_and_nothing_else(wrong: Row | Items) -> None:
    rows = [row("id", "/key", text), row("value", "/value", anything), const("label", None)]
    rest = [absent(name, "no such thing") for name in ("type", "ai")]
    table = with_rows(DOCUMENTED, entries("custom_fields", "/more", *rows, *rest))
    assert table.read({"id": "1", "more": {"a": [1]}}).values["custom_fields"][0]["value"] == [1]
    rows = [wrong if one.field == wrong.field else one for one in rows]  # type: ignore[misc]  # a list where none may be
    with pytest.raises(TableError, match=rf"custom_fields\[\]\.{wrong.field} is read at .*; of entries"):
        with_rows(DOCUMENTED, entries("custom_fields", "/more", *rows, *rest))


# --- statuses --------------------------------------------------------------------------------------------------------


def test_a_status_is_one_of_five() -> None:
    assert set(STATUSES) == {"open", "won", "lost", "closed", "unknown"}


@pytest.mark.parametrize(
    ("word", "status", "order"),
    [
        ("new", "open", 0), ("contacted", "open", 1), ("qualified", "open", 2), ("proposal", "open", 3),
        ("negotiation", "open", 4), ("won", "won", 5), ("lost", "lost", 6),
    ],
)  # fmt: skip
def test_each_documented_word_is_a_status_and_a_stage(word: str, status: str, order: int) -> None:
    values = DOCUMENTED.read({"id": "1", "status": word}).values
    assert (values["status"], values["status_source"]) == (status, "native")
    assert values["stage"] == {"id": word, "name": word, "order": order, "is_open": status == "open"}


def test_an_undocumented_word_is_the_stage_all_the_same() -> None:
    reading = DOCUMENTED.read({"id": "1", "status": "parked"})
    assert (reading.values["status"], reading.values["status_source"]) == ("unknown", None)
    assert reading.values["stage"] == {"id": "parked", "name": "parked", "order": None, "is_open": None}
    assert issues(reading) == ["status /status unknown_word"] and reading.extensions == {"/status": "parked"}


@pytest.mark.parametrize(
    ("record", "issue"),
    [
        ({"won_at": 5, "lost_at": None}, "status /won_at wrong_type"),
        ({"won_at": None, "lost_at": True}, "status /lost_at wrong_type"),
        ({"won_at": "2024-01-01T00:00:00Z", "lost_at": "2024-01-01T00:00:00Z"}, "status /won_at invalid"),
        ({"won_at": None, "lost_at": None, "stage_name": 5}, "status /stage_name wrong_type"),
        ({"won_at": None, "lost_at": None, "stage_name": None}, "status /stage_name wrong_type"),
    ],
)
def test_what_keeps_the_served_dialect_from_a_status_is_named(record: dict[str, Json], issue: str) -> None:
    reading = SERVED.read({"id": "1", "stage_id": "st"} | record)
    assert (reading.values["status"], reading.values["status_source"]) == ("unknown", None)
    assert issue in issues(reading)


def test_a_stage_that_nobody_names_or_that_is_no_text_tells_no_status() -> None:
    unset: dict[str, Json] = {"id": "1", "won_at": None, "lost_at": None}
    for name in ("won", "lost"):  # the server would have set a time with such a stage
        values = SERVED.read({**unset, "stage_id": "st", "stage_name": name}).values
        assert (values["status"], values["status_source"]) == ("unknown", None)
    assert issues(SERVED.read({**unset, "stage_id": 5})) == ["stage.id /stage_id wrong_type"]
    both = {"id": "1", "won_at": "2024-01-01T00:00:00Z", "lost_at": "2024-01-01T00:00:00Z"}
    assert issues(SERVED.read({**both, "stage_id": None})) == ["status /won_at invalid"]


def test_a_stage_is_told_by_what_is_known_of_it() -> None:
    table = served({"st-1": "open", "Ganho": "won"}, {"st-2": "Ganho", "st-3": "Lead"})

    def stage(**told: Json) -> Json:
        return table.read({"id": "1", **told}).values.get("stage", MISSING)

    unordered = {"order": None}
    assert stage() is MISSING and stage(stage_id=None) is None
    assert stage(stage_id="st-1") == unordered | {"id": "st-1", "is_open": True}
    assert stage(stage_id="st-2") == unordered | {"id": "st-2", "name": "Ganho", "is_open": False}
    assert stage(stage_id="st-3") == unordered | {"id": "st-3", "name": "Lead", "is_open": None}
    assert stage(stage_id="st-2", stage_name="Other") == unordered | {"id": "st-2", "name": "Other", "is_open": None}
    assert stage(stage_id="st-2", stage_name=None) == unordered | {"id": "st-2", "name": None, "is_open": None}
    assert stage(stage_name="Ganho") == unordered | {"name": "Ganho", "is_open": False}
    assert stage(stage_id=5) == unordered | {"is_open": None}


@pytest.mark.parametrize("table", [DOCUMENTED, SERVED, SPOTT, PRICED], ids=["documented", "served", "spott", "priced"])
def test_a_status_and_its_source_are_always_there(table: Table) -> None:
    assert table.read({}).values["status"] == "unknown" and table.read({}).values["status_source"] is None


def test_only_one_field_tells_each_missing_place() -> None:
    missing = [field for field, _ in SERVED.read({"id": "1"}).missing]
    assert "status_source" not in missing and "status" not in missing and "stage.is_open" not in missing
    missing = [field for field, _ in PRICED.read({"id": "1"}).missing]
    assert "status" in missing and "status_source" not in missing and "custom_fields" in missing
    assert not [field for field in missing if field.startswith("amount")]


def test_what_is_worked_out_is_not_called_native() -> None:
    table = {path: entry.codec for path, entry in PRICED.leaves()} | {
        f"raze {path}": entry.codec for path, entry in DOCUMENTED.leaves()
    }
    table |= {f"served {path}": entry.codec for path, entry in SERVED.leaves()}
    worked_out = ("status_source", "amount.currency", "contacts[].name", "expected_close.on", "raze status_source",
                  "raze stage.order",
                  "raze stage.is_open", "served status", "served status_source", "served stage.is_open")  # fmt: skip
    for path in worked_out:
        codec = table[path]
        assert codec is not None and not codec.native, path
    for path in (
        "name",
        "status",
        "stage.is_open",
        "expected_close.at",
        "raze stage.id",
        "raze status",
        "raze amount.value",
    ):
        codec = table[path]
        assert codec is not None and codec.native, path


# --- reading ---------------------------------------------------------------------------------------------------------


def test_an_issue_is_told_by_field_path_reason_and_detail() -> None:
    (inexact,) = DOCUMENTED.read({"id": "1", "won_at": "2024-01-01T00:00:00.1234567Z"}).issues
    assert inexact.detail == "digits past the microsecond are not served"
    (issue,) = DOCUMENTED.read({"id": "1", "notes": 5}).issues
    assert issue.body() == {
        "field": "description", "path": "/notes", "reason": "wrong_type", "detail": "expected a string, got a number",
    }  # fmt: skip


def test_two_places_that_differ_are_both_kept() -> None:
    def read(**told: Json) -> tuple[Json, dict[str, Json]]:
        reading = DOCUMENTED.read({"id": "1", **told})
        return reading.values.get("owner", {}).get("id"), reading.extensions

    assert read(responsible_user={"id": "a"}, responsible_user_id="b") == ("a", {"/responsible_user_id": "b"})
    assert read(responsible_user={"id": "a"}, responsible_user_id="a") == ("a", {})
    assert read(responsible_user={"name": "A"}, responsible_user_id="b") == ("b", {})
    swapped = with_rows(DOCUMENTED, row("source", first_of("/here", "/there/source"), text))
    reading = swapped.read({"id": "1", "here": "x", "there": 5})
    assert reading.values["source"] == "x" and reading.extensions == {"/there": 5}


def test_a_value_of_several_places_that_is_not_exact_is_kept_at_each() -> None:
    reading = ODD.read({"id": "1", "whole": 1, "part": 2})
    assert reading.values["probability"] == "0.3" and reading.extensions == {"/whole": 1, "/part": 2}
    assert issues(reading) == ["probability /whole inexact"]
    assert ODD.read({"id": "1", "part": 2}).extensions == {"/part": 2}
    bare = ODD.read({"id": "1"})
    assert "probability" not in bare.values and ("probability", "/whole") in bare.missing


@pytest.mark.parametrize(
    ("told", "company"),
    [
        ({"id": None, "name": None}, None), ({"id": None}, None), ({"name": None}, {"name": None}),
        ({"id": "c", "name": None}, {"id": "c", "name": None}), ({"id": None, "name": "A"}, {"id": None, "name": "A"}),
        ({}, MISSING), (None, None),
    ],
)  # fmt: skip
def test_a_missing_part_is_absent_and_a_null_one_null(told: Json, company: Json) -> None:
    assert SPOTT.read({"id": "1", "company": {"company": told}}).values.get("company", MISSING) == company


def test_issues_name_the_place_in_a_single_contact() -> None:
    assert issues(DOCUMENTED.read({"id": "1", "email": 5, "position": []})) == [
        "contacts[0].title /position wrong_type", "contacts[0].emails[0].address /email wrong_type",
    ]  # fmt: skip
    missing = dict(SERVED.read({"id": "1"}).missing)
    assert missing["contacts[0].phones[0].number"] == "/contact_phone"
    assert issues(ODD.read({"id": "1", "person": "junk"})) == ["contacts /person wrong_type"]
    reading = ODD.read({"id": "1", "person_id": "p", "person": {"firm": [1]}})
    assert issues(reading) == ["contacts /person/firm wrong_type"] and reading.extensions == {"/person/firm/0": 1}


def test_what_lies_below_a_null_is_named_where_the_null_is() -> None:
    for told, place in ((None, "/stage"), ({"stage": None}, "/stage/stage")):
        reading = SPOTT.read({"id": "1", "stage": told})
        assert reading.values["stage"] is None and reading.values["status"] == "unknown"
        assert issues(reading) == [f"status {place} wrong_type"] and reading.extensions == {place: None}


@pytest.mark.parametrize(
    ("people", "contacts", "extensions", "told"),
    [
        (None, [], {}, []),
        ([], [], {}, []),
        ("junk", MISSING, {"/clientTeam/clientTeam": "junk"}, ["contacts /clientTeam/clientTeam wrong_type"]),
        ({"a": 1}, MISSING, {"/clientTeam/clientTeam/a": 1}, ["contacts /clientTeam/clientTeam wrong_type"]),
        ([{}], [{"linkedin_url": None}], {"/clientTeam/clientTeam/0": {}}, []),
        ([5, {"id": "p"}], [{"id": "p", "linkedin_url": None}], {"/clientTeam/clientTeam/0": 5},
         ["contacts /clientTeam/clientTeam/0 wrong_type"]),
        ([{"id": "p"}, {"id": 5}], [{"id": "p", "linkedin_url": None}, {"linkedin_url": None}],
         {"/clientTeam/clientTeam/1/id": 5}, ["contacts[1].id /clientTeam/clientTeam/1/id wrong_type"]),
    ],
    ids=["null", "empty", "word", "object", "bare", "number", "inner"],
)  # fmt: skip
def test_a_list_loses_nothing(people: Json, contacts: Json, extensions: Json, told: list[str]) -> None:
    reading = SPOTT.read({"id": "1", "clientTeam": {"clientTeam": people}})
    assert reading.values.get("contacts", MISSING) == contacts
    assert reading.extensions == extensions and issues(reading) == told


def test_a_list_below_something_else_than_an_object_is_absent() -> None:
    reading = SPOTT.read({"id": "1", "clientTeam": 5})
    assert "contacts" not in reading.values and reading.extensions == {"/clientTeam": 5}
    assert issues(reading) == ["contacts /clientTeam wrong_type"]
    assert SPOTT.read({"id": "1", "clientTeam": None}).values["contacts"] == []


def test_an_attribute_that_is_not_told_is_not_an_attribute_that_is_empty() -> None:
    def amount(**told: Json) -> Json:
        reading = PRICED.read({"id": "1", **told})
        assert not reading.issues
        return reading.values.get("amount", MISSING)

    def held(value: Json) -> Json:
        return [{"attributeDefinitionId": "attr-1", "label": "L", "value": value}]

    assert amount(customAttributes=held(7)) == {"value": "7", "currency": "EUR"}
    assert amount(customAttributes=held("7.10")) == {"value": "7.10", "currency": "EUR"}
    assert amount() is MISSING and amount(customAttributes=[]) is None and amount(customAttributes=None) is None
    assert amount(customAttributes=held({"viewType": "n", "number": None})) is None
    assert amount(customAttributes=held({"viewType": "5", "number": 7})) == {"value": "7", "currency": "EUR"}
    assert amount(customAttributes=held({"n": "7.10", "tags": ["a"], "set": True})) == {
        "value": "7.10",
        "currency": "EUR",
    }


def test_what_only_some_records_have_is_not_missed() -> None:
    person = {
        "id": "p",
        "firstName": "A",
        "lastName": "B",
        "emails": [{"email": "a@b"}],
        "phoneNumbers": [{"phoneNumber": "1"}],
    }
    reading = PRICED.read({
        "id": "1", "clientTeam": {"clientTeam": [person, {"id": "q", "firstName": "A", "lastName": "B"}]},
        "nextTaskDue": {"nextTaskDue": {"id": "t", "content": "call"}}, "owner": {"owner": {"id": "o", "name": "O"}},
        "customAttributes": [{"attributeDefinitionId": "a", "label": "L", "value": "v"}, {}],
    })  # fmt: skip
    missing = [field for field, _ in reading.missing]
    assert [field for field in missing if field.startswith(("contacts", "next_task", "owner", "amount"))] == []
    assert [field for field in missing if field.startswith("custom_fields")] == [
        "custom_fields[1].id", "custom_fields[1].label", "custom_fields[1].value",
    ]  # fmt: skip
    bare = [field for field, _ in SERVED.read({"id": "1"}).missing]
    assert not {"custom_fields", "pipeline.name", "stage.name"} & set(bare)


def test_another_currency_is_named_and_the_attribute_not_kept_twice() -> None:
    value = {"viewType": "n", "value": "1.50", "currency": "USD"}
    reading = PRICED.read(
        {"id": "1", "customAttributes": [{"attributeDefinitionId": "attr-1", "label": "L", "value": value}]}
    )
    assert issues(reading) == ["amount.currency /customAttributes/0/value invalid"] and reading.extensions == {}
    assert reading.values["custom_fields"][0]["value"] == value


@pytest.mark.parametrize(("one", "other", "amount"), [
    ("12", "12", {"value": "12", "currency": "EUR"}),
    ({"viewType": "customText", "text": "1.50"}, {"text": "1.50"}, {"value": "1.50", "currency": "EUR"}),
    (None, None, None), ("12", "99", MISSING), ("12", None, MISSING), (None, "12", MISSING), ("1.0", "1.00", MISSING),
    ({"viewType": "n", "amount": 1, "currency": "USD"}, {"amount": 1, "currency": "EUR"}, MISSING),
])  # fmt: skip
def test_of_two_attributes_that_both_hold_the_amount_none_is_taken_unless_they_agree(
    one: Json, other: Json, amount: Json
) -> None:
    told: list[Json] = [{"attributeDefinitionId": "x", "label": "X", "value": "7"}]
    told += [{"attributeDefinitionId": "attr-1", "label": "L", "value": value} for value in (one, other)]
    reading = PRICED.read({"id": "1", "customAttributes": told})
    assert reading.values.get("amount", MISSING) == amount
    fields = ("amount.value", "amount.currency") if amount is MISSING else ()
    assert issues(reading) == [f"{field} /customAttributes/2/value invalid" for field in fields]
    assert len(reading.values["custom_fields"]) == 3 and reading.extensions == {}
    assert (
        PRICED.read({"id": "1", "customAttributes": [*told[:2], {"attributeDefinitionId": 5}]}).values.get(
            "amount", MISSING
        )
        == PRICED.read({"id": "1", "customAttributes": told[:2]}).values["amount"]
    )


def test_members_that_the_server_is_known_to_send_are_kept_and_no_drift() -> None:
    beside: dict[str, Json] = {
        "account_id": "a", "score": 5, "sent_at": "t", "accepted_at": "t", "qualified_at": "t", "loss_notes": "n",
        "contact_location": "x", "comments": ["first", "second"],
    }  # fmt: skip
    reading = SERVED.read({"id": "1", **beside})
    drift = Drift("c")
    drift.note(SERVED, reading, False)
    assert not drift.seen and reading.extensions.keys() == {
        *(f"/{name}" for name in beside if name != "comments"), "/comments/0", "/comments/1",
    }  # fmt: skip
    reading = SPOTT.read({
        "id": "1", "clientTeam": {"clientTeam": [{"id": "p", "candidateId": "c"}]},
        "customAttributes": [{"attributeDefinitionId": "a", "options": ["x"], "description": "d"}],
    })  # fmt: skip
    drift.note(SPOTT, reading, False)
    assert not drift.seen and reading.extensions == {
        "/clientTeam/clientTeam/0/candidateId": "c", "/customAttributes/0/options/0": "x",
        "/customAttributes/0/description": "d",
    }  # fmt: skip


def test_the_parts_of_a_name_are_joined_in_their_order() -> None:
    parts = {"secondLastName": "D", "lastName": "C", "middleName": "B", "firstName": "A"}
    (contact,) = SPOTT.read({"id": "1", "clientTeam": {"clientTeam": [parts]}}).values["contacts"]
    names = [contact[name] for name in ("name", "first_name", "middle_name", "last_name", "second_last_name")]
    assert names == ["A B C D", "A", "B", "C", "D"]


# --- codecs ----------------------------------------------------------------------------------------------------------


def test_what_goes_wrong_says_so_in_its_text() -> None:
    assert str(Unreadable("invalid", "no such thing")) == "no such thing" and str(Inexact(1, "cut")) == "cut"
    with pytest.raises(Unreadable) as caught:
        codecs.joined.decode("A", 5)
    assert caught.value.reason == "wrong_type"


def test_money_is_taken_up_to_its_limit_and_not_beyond() -> None:
    most = 10**30 - 1
    assert codecs.decimal_number.decode(most) == str(most) and codecs.decimal_number.decode(-most) == str(-most)
    for beyond in (most + 1, -most - 1, Decimal("1e30"), Decimal("1e-19")):
        with pytest.raises(Unreadable) as caught:
            codecs.decimal_number.decode(beyond)
        assert caught.value.reason == "invalid"
    assert decimal_string("1e-18") == "0.000000000000000001" and decimal_string(f"{most}.5") == f"{most}.5"
    no_numbers: tuple[Any, ...] = (True, None, [], {}, 1.5)
    for value in no_numbers:
        with pytest.raises(ValueError, match="not a number"):
            decimal_string(value)


@pytest.mark.parametrize(("offset", "read"), [("+23:59", "2024-01-14T00:01:00Z"), ("-23:59", "2024-01-15T23:59:00Z"),
                                              ("+02", "2024-01-14T22:00:00Z")])  # fmt: skip
def test_the_widest_offsets_are_read(offset: str, read: str) -> None:
    assert instant().decode(f"2024-01-15T00:00:00{offset}") == read


@pytest.mark.parametrize("offset", ["+24:00", "-24:00", "+10:60", "+00:99", "-2360"])
def test_an_offset_that_no_clock_shows_is_unreadable(offset: str) -> None:
    with pytest.raises(Unreadable) as caught:
        instant().decode(f"2024-01-15T00:00:00{offset}")
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("written", ["20240131", "2024-W05-3", "2024-01-31 "])
def test_other_spellings_of_a_day_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="not a date such as"):
        day_string(written)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_what_is_refused_is_not_sent() -> None:
    for fields, calls in (({"name": None}, ("update",)), ({"stage": None}, ("move",)), ({"source": "x"}, ("update",))):
        planned = plan(DOCUMENTED, fields, calls, "P")
        assert (planned.bodies, planned.sent) == ({}, []) and len(planned.refused) == 1
    planned = plan(ODD, {"description": "four", "name": "A"}, ("update",), "P")
    assert planned.bodies == {"update": {"name": "A"}} and [one.field for one in planned.sent] == ["name"]
    assert [one.body() for one in planned.refused] == [
        {"field": "description", "reason": "unsupported", "detail": "three letters at most", "sent": "four"}
    ]
    assert plan(ODD, {"description": "abc"}, ("update",), "P").bodies == {"update": {"notes": "abc"}}


def test_what_is_never_taken_is_refused_in_the_tables_words() -> None:
    for table, path, fields in (
        (SERVED, "amount.value", {"amount": {"value": "1"}}),
        (SERVED, "expected_close.on", {"expected_close": {"on": "2024-01-31"}}),
        (PRICED, "amount.value", {"amount": {"value": "1"}}),
        (SPOTT, "contacts[].title", {"contacts": [{"id": "p", "title": "x"}]}),
        (SPOTT, "company.name", {"company": {"name": "A"}}), (SPOTT, "source", {"source": "fair"}),
    ):  # fmt: skip
        (refused,) = plan(table, fields, ("create", "update"), "P").refused
        entry = table.row_for(path)
        assert entry is not None and refused.detail == entry.note and len(entry.note) > 10


def test_what_a_single_contact_cannot_hold_is_refused_with_the_reason() -> None:
    emails = [{"address": "a@b", "primary": False}, {"address": "c@d"}]
    phones = [{"number": "1", "primary": False}, {"number": "2"}]
    for table in (DOCUMENTED, SERVED):
        sent = {"contacts": [{"emails": emails, "phones": phones}, {"title": "CTO"}]}
        refused = {one.field: one.detail for one in plan(table, sent, ("update",), "P").refused}
        assert refused == {
            path: "GetRaze keeps one, which is the main one" if path.endswith("primary") else
            "GetRaze holds one contact, with one e-mail and one phone" for path in (
                "contacts[0].emails[0].primary", "contacts[0].emails[1]", "contacts[0].phones[0].primary",
                "contacts[0].phones[1]", "contacts[1]",
            )
        }  # fmt: skip


def test_contacts_without_an_id_are_refused_with_the_reason() -> None:
    refused = plan(SPOTT, {"contacts": [{"title": "CTO"}]}, ("update",), "P").refused
    assert [(one.field, one.detail) for one in refused] == [
        ("contacts", "Spott takes contacts by `id` only, as the whole list")
    ]


def test_clearing_a_whole_tells_each_part_by_its_path() -> None:
    nulls: dict[str, Json] = dict.fromkeys(("owner", "contacts", "company", "amount"))
    planned = plan(DOCUMENTED, nulls, ("update",), "P")
    assert [(one.field, one.value, one.operation) for one in planned.sent] == [
        (path, None, "update") for path in (
            "owner.id", "owner.name", "contacts[0].title", "contacts[0].company.name", "contacts[0].emails[0].address",
            "contacts[0].phones[0].number", "company.name", "amount.value",
        )
    ]  # fmt: skip
    assert [one.field for one in planned.refused] == ["contacts[0].name", "contacts[0].linkedin_url", "amount.currency"]
    refused = plan(DOCUMENTED, {"contacts": [], "owner": None}, ("move",), "P").refused
    assert [(one.field, one.sent) for one in refused] == [("contacts", []), ("owner", None)]


@pytest.mark.parametrize(
    ("clear", "body", "sent", "refused"),
    [
        (True, {"who": None}, ["owner.id", "owner.name", "owner.email"], []),
        (False, {}, [], ["owner"]),
    ],
)  # fmt: skip
def test_what_is_told_of_a_thing_goes_with_the_id_that_refers_to_it(
    clear: bool, body: Json, sent: list[str], refused: list[str]
) -> None:
    owner = (row("owner.id", "/who", text, write="/who", clear=clear), row("owner.name", "/called", text),
             row("owner.email", "/mail", text, write="/mail", clear=False))  # fmt: skip
    made = plan(with_rows(DOCUMENTED, *owner), {"owner": None}, ("update",), "P")
    assert (made.bodies.get("update", {}), [one.field for one in made.sent]) == (body, sent)
    assert [one.field for one in made.refused] == refused


def test_a_list_within_a_whole_is_cleared_as_a_list_and_named_where_it_cannot_be() -> None:
    def cleared(**written: Any) -> tuple[Json, list[str]]:
        mails = items("emails", "/mails", row("address", "/at", text, write="/at"), row("purpose", "/for", text),
                      row("primary", "/main", text), key="address", note="no list goes there", **written)  # fmt: skip
        rows = tuple(mails if entry.field == "emails" else entry for entry in FIRM.rows)
        made = plan(with_rows(ODD, replace(FIRM, rows=rows)), {"contacts": []}, ("update",), "P")
        return made.bodies, [one.field for one in made.refused if "emails" in one.field]

    assert cleared(write="/mails") == ({"update": {"firm_id": None, "mails": []}}, [])
    assert cleared() == ({"update": {"firm_id": None}}, ["contacts[0].emails"])


def test_a_list_in_an_element_of_a_list_is_known_as_one_that_is_written_whole() -> None:
    mails = items("emails", "/mails", row("address", "/at", text, write="/at"), absent("purpose", "none"),
                  absent("primary", "none"), write="/mails", key="address")  # fmt: skip
    rows = (mails if entry.field == "emails" else entry for entry in FIRM.rows)
    rows = (row("id", "/id", text, write="/id") if entry.field == "id" else entry for entry in rows)
    table = with_rows(ODD, items("contacts", "/people", *rows, write="/people", key="id"))
    people: Any = [{"id": "a", "emails": [{"address": "a@b"}, {"address": "c@d"}]}, {"id": "e"}]
    planned = plan(table, {"contacts": people}, ("update",), "P")
    assert planned.bodies == {"update": {"people": [{"id": "a", "mails": [{"at": "a@b"}, {"at": "c@d"}]}, {"id": "e"}]}}
    told = [(one.field, len(one.value)) for one in planned.lists if isinstance(one.value, list)]
    assert told == [("contacts[0].emails", 2), ("contacts", 2)]
    stored = deepcopy(people)
    stored[0]["emails"].append({"address": "left@over"})
    _, missed = settle(planned, {"contacts": stored}, {})
    assert [(one.field, one.reason) for one in missed] == [("contacts[0].emails", "ignored")]


def test_a_part_follows_its_neighbour_or_a_part_of_another_object() -> None:
    def planned(**fields: Json) -> tuple[list[str], list[str]]:
        made = plan(ODD, fields, ("update", "move"), "P")
        return [one.field for one in made.sent], [one.field for one in made.refused]

    contact = {"company": {"id": "c", "name": "Acme"}}
    assert planned(contacts=[contact]) == (["contacts[0].company.id", "contacts[0].company.name"], [])
    assert planned(contacts=[{"company": {"name": "Acme"}}]) == ([], ["contacts[0].company.name"])
    assert planned(stage={"id": "s"}, source="x") == (["stage.id", "source"], [])
    assert planned(source="x") == ([], ["source"])
    assert planned(stage={"id": "s"}, campaign={"name": "x"}) == (["stage.id", "campaign.name"], [])
    assert planned(campaign={"id": "i", "name": "x"}) == (["campaign.id"], ["campaign.name"])


@pytest.mark.parametrize(("table", "calls"), [(DOCUMENTED, ("update", "move")), (SERVED, ("update", "move")),
                                              (SPOTT, ("update",))], ids=["documented", "served", "spott"])  # fmt: skip
def test_a_stages_name_and_the_status_go_with_its_id(table: Table, calls: tuple[str, ...]) -> None:
    planned = plan(table, {"status": "won", "stage": {"id": "won", "name": "won"}}, calls, "P")
    assert [one.field for one in planned.sent] == ["status", "stage.id", "stage.name"] and not planned.refused
    alone = plan(table, {"status": "won", "stage": {"name": "won"}}, calls, "P")
    assert (alone.bodies, [one.field for one in alone.refused]) == ({}, ["status", "stage.name"])


@pytest.mark.parametrize(
    ("target", "place", "value", "made"),
    [
        ({"l": [{"x": 1}]}, "/l/0/y", 2, {"l": [{"x": 1, "y": 2}]}),
        ({"l": [{"x": 1}]}, "/l/1/y", 2, {"l": [{"x": 1}, {"y": 2}]}),
        ({"l": []}, "/l/0/0", 5, {"l": [[5]]}),
        ({"l": []}, "/l/0/a/b", 5, {"l": [{"a": {"b": 5}}]}), ({}, "/a~1b", 5, {"a/b": 5}),
        ({"l": [1, 2]}, "/l/1", 5, {"l": [1, 5]}), ({"l": [1, 2, 3]}, "/l/0", 5, {"l": [5, 2, 3]}),
    ],
)  # fmt: skip
def test_a_value_is_put_where_its_pointer_says(target: Any, place: str, value: Json, made: Json) -> None:
    put(target, place, value)
    assert target == made


@pytest.mark.parametrize("place", ["/l/-1", "/l/-", "/l/01", "/l/x", "/l/3", "/l/-1/y", "/l/3/y", "/l/" + "9" * 5000])
def test_no_value_is_put_where_a_list_has_no_place(place: str) -> None:
    target = {"l": [{"x": 1}, {"x": 2}]}
    with pytest.raises((ValueError, IndexError)):
        put(target, place, 5)
    assert target == {"l": [{"x": 1}, {"x": 2}]}


# --- rendering -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_spelled_is_left_out_of_the_record() -> None:
    assert render(ODD, {"name": "A", "description": "four"}) == {"name": "A"}


def test_a_whole_that_is_null_is_null_in_each_place() -> None:
    assert render(ODD, {"contacts": []}) == {"person_id": None, "person": {"name": None, "firm": None}}
    assert render(ODD, {"contacts": [{"id": "p", "company": None}]}) == {"person_id": "p", "person": {"firm": None}}
    assert ODD.read({"id": "1", "person_id": None, "person": {"name": None, "firm": None}}).values["contacts"] == []


# --- filters ---------------------------------------------------------------------------------------------------------


def test_the_documented_words_are_asked_of_the_provider() -> None:
    filters = GetRaze(GetRaze.Settings.model_validate({"dialect": "documented"}), {}).filters
    for word in ("linkedin", "google_maps", "list", "paid_traffic", "other"):
        assert filters["source"](word) == ("source", word)
    for word in ("new", "contacted", "qualified", "proposal", "negotiation", "won", "lost"):
        assert filters["stage"](word) == ("status", word)
    assert filters["source"]("fair") is None and filters["stage"]("fair") is None


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_field_of_which_an_element_is_refused_is_not_applied_whole() -> None:
    refused = [NotApplied("contacts[1]", "unsupported", "one only", {"id": "q"})]
    applied, left = settle(Plan({}, [Sent("contacts[0].title", "CTO", "u"), Sent("name", "A", "u")], refused), {}, {})
    assert applied == ["contacts[0].title", "name"] and left == refused


@pytest.mark.parametrize(
    ("sent", "stored", "reason"),
    [
        ("1.5", "2", "coerced"), ("0.9", "1", "coerced"), ("-0.4", "0", "coerced"), ("1.5", "2.5", "unsupported"),
        ("1.5", "-1.5", "unsupported"), ("1.5", "1", "coerced"), ("150", "15", "unsupported"),
    ],
)  # fmt: skip
def test_a_number_that_was_rounded_is_told_from_another(sent: str, stored: str, reason: str) -> None:
    entry = compare("amount.value", sent, {"amount": {"value": stored}}, "why")
    assert entry is not None and entry.reason == reason


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00 by hand"), ("2024-01-01T00:00:00 by hand", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00"), ("a  b", "aX b"),
    ],
)  # fmt: skip
def test_an_instant_and_a_text_that_begins_alike_are_not_the_same(sent: str, stored: str) -> None:
    entry = compare("a", sent, {"a": stored}, "why")
    assert entry is not None and entry.reason == "unsupported"


@pytest.mark.parametrize(
    ("table", "record", "pointer", "field"),
    [
        (DOCUMENTED, {"id": "o", "name": None}, "/name", "name"),
        (DOCUMENTED, {"id": "o", "created_at": None}, "/created_at", "created_at"),
        (SERVED, {"id": "o", "title": None}, "/title", "name"),
        (SPOTT, {"id": "o", "name": {"name": None}}, "/name/name", "name"),
    ],
)
def test_a_null_where_none_can_be_leaves_the_field_out_and_is_named(
    table: Table, record: dict[str, Json], pointer: str, field: str
) -> None:
    told = table.read(record)
    assert field not in told.values
    assert told.extensions[pointer] is None
    assert [(issue.field, issue.reason) for issue in told.issues if issue.path == pointer] == [(field, "wrong_type")]
