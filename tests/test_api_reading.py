"""Reading over HTTP: a provider's raw bytes in, the gateway's answer out, over real sockets on both sides."""

import copy
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway import strict_json
from gateway.opportunity import Opportunity
from tests.live import (
    EXAMPLES,
    Answer,
    Says,
    Seen,
    StandIn,
    ask,
    assert_problem,
    connections,
    fields_of,
    running_gateway,
)

RAZE = "opp_abc123def456"
SPOTT = "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77"
RAZE_BYTES = (EXAMPLES / "getraze-get.documented.json").read_bytes()
SPOTT_BYTES = (EXAMPLES / "spott-get.documented.json").read_bytes()
IDS = {"raze": RAZE, "spott": SPOTT}
DOCUMENTED = {"raze": RAZE_BYTES, "spott": SPOTT_BYTES}
FILES = {"raze": "getraze", "spott": "spott"}
CANONICAL: dict[str, Any] = {
    name: strict_json.loads((EXAMPLES / f"{file}-get.canonical.json").read_bytes()) for name, file in FILES.items()
}
OPPORTUNITY: TypeAdapter[Any] = TypeAdapter(Opportunity)


class Rig:
    """A gateway between us and two providers that say whatever a test wants."""

    def __init__(self, url: str, raze: StandIn, spott: StandIn, elsewhere: StandIn) -> None:
        self.url = url
        self.providers = {"raze": raze, "spott": spott}
        self.raze = raze
        self.spott = spott
        self.elsewhere = elsewhere

    def get(self, target: str, **headers: str) -> Answer:
        return ask(f"{self.url}{target}", "GET", {name.replace("_", "-"): value for name, value in headers.items()})

    def read(self, connection: str, record: Any, query: str = "") -> Answer:
        """The answer to a get of the documented id while the provider has this record (JSON, or raw bytes)."""
        if not isinstance(record, bytes):
            record = strict_json.dumps({"success": True, "data": record} if connection == "raze" else record)
        self.providers[connection].play([Says(200, record)])
        return self.get(f"/v1/opportunities/{connection}:{IDS[connection]}{query}")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with StandIn() as raze, StandIn() as spott, StandIn() as elsewhere:
        config = connections(raze=f"{raze.url}/external/v1", spott=spott.url, raze_refused="http://127.0.0.1:9")
        config += (
            f"  raze_quick: {{provider: getraze, base_url: '{raze.url}', api_key: q, budget: off, timeout: 500ms}}\n"
        )
        config += (
            f"  spott_money: {{provider: spott, base_url: '{spott.url}', api_key: money-key, budget: off, "
            "settings: {amount_attribute: {id: attr_value, currency: EUR}}}\n"
            f"  raze_stages: {{provider: getraze, base_url: '{raze.url}', api_key: stages-key, budget: off, "
            "stages: {Fechado: won, parked: lost}}\n"
            f"  spott_stages: {{provider: spott, base_url: '{spott.url}', api_key: stages-key, budget: off, "
            "stages: {stg_9: won, Lost: lost}}\n"
            "limits: {reply: 1MiB}\n"
        )
        with running_gateway(config, tmp_path_factory.mktemp("reading")) as url:
            yield Rig(url, raze, spott, elsewhere)


def documented(connection: str) -> Any:
    """The documented record without its envelope, to be changed."""
    record = strict_json.loads(DOCUMENTED[connection])
    return record["data"] if connection == "raze" else record


def at(record: Any, pointer: str) -> Any:
    for token in pointer.split("/")[1:]:
        record = record[int(token) if isinstance(record, list) else token]
    return record


def put(record: Any, pointer: str, value: Any) -> Any:
    """`record` with another value at a place."""
    parent, _, name = pointer.rpartition("/")
    holder = at(record, parent)
    holder[int(name) if isinstance(holder, list) else name] = value
    return record


def without(record: Any, pointer: str) -> Any:
    parent, _, name = pointer.rpartition("/")
    del at(record, parent)[name]
    return record


def pointers(value: Any, base: str = "") -> Iterator[str]:
    """Every place in a record, inner nodes included."""
    if base:
        yield base
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from pointers(inner, f"{base}/{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from pointers(inner, f"{base}/{index}")


# --- the two documented records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_the_documented_record_comes_out_exactly_as_the_canonical_file(rig: Rig, connection: str) -> None:
    answer = rig.read(connection, DOCUMENTED[connection])
    assert answer.status == 200
    assert answer.data == CANONICAL[connection]
    # json.dumps of both, so that the order of members counts at every depth.
    file = (EXAMPLES / f"{FILES[connection]}-get.canonical.json").read_text()
    assert json.dumps(json.loads(answer.body)["data"]) == json.dumps(json.loads(file))
    assert answer.meta == {"issues": []}
    assert list(answer.json) == ["data", "meta"]


@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_the_documented_record_is_read_as_well_from_indented_reordered_and_bom_marked_bytes(
    rig: Rig, connection: str
) -> None:
    record = json.loads(DOCUMENTED[connection], parse_float=Decimal)
    data = record["data"] if connection == "raze" else record
    backwards = dict(reversed(data.items()))
    for body in (
        b"\xef\xbb\xbf" + DOCUMENTED[connection],
        b"\n\t " + DOCUMENTED[connection] + b"\r\n",
        strict_json.dumps({"success": True, "data": backwards} if connection == "raze" else backwards),
    ):
        assert rig.read(connection, body).data == CANONICAL[connection]


def test_the_provider_sees_one_plain_request_with_its_key_and_nothing_of_the_callers(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}", Authorization="Bearer caller-secret", Cookie="a=b")
    assert answer.status == 200
    (seen,) = rig.raze.seen
    assert (seen.method, seen.target, seen.body) == ("GET", f"/external/v1/opportunities/{RAZE}", b"")
    assert seen.headers["x-api-key"] == "key-of-raze"
    assert "caller-secret" not in str(seen.headers)
    assert "cookie" not in seen.headers


# --- digits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "served"),
    [
        ("50000.00", "50000.00"),
        ("0.10", "0.10"),
        ("0", "0"),
        ("0.00", "0.00"),
        ("75000", "75000"),
        ("-12.50", "-12.50"),
        ("123456789012345", "123456789012345"),
        ("123456789012345.67", "123456789012345.67"),
        ("12345678901234567890.12", "12345678901234567890.12"),
        ("18446744073709551616", "18446744073709551616"),
        ("999999999999999999999999999999", "999999999999999999999999999999"),
        ("999999999999999999999999999999.999999999999999999", "999999999999999999999999999999.999999999999999999"),
        ("0.100000000000000005", "0.100000000000000005"),
        ("5e4", "50000"),
        ("1.50E+3", "1500"),
        ("25e-2", "0.25"),
    ],
)
def test_a_deal_value_keeps_every_digit_that_the_provider_sent(rig: Rig, sent: str, served: str) -> None:
    answer = rig.read("raze", RAZE_BYTES.replace(b"50000.00", sent.encode()))
    assert answer.data["amount"] == {"value": served, "currency": "BRL"}
    assert answer.meta["issues"] == []
    assert f'"value":"{served}"'.encode() in answer.body


@pytest.mark.parametrize(
    "sent", ["1e400", "-1e400", "1e30", "1e-19", "1" * 31, "1e999999999999999999999", "1E-99999", "7" * 5000]
)
def test_a_number_beyond_the_limits_is_kept_and_named_and_the_record_is_served(rig: Rig, sent: str) -> None:
    answer = rig.read("raze", RAZE_BYTES.replace(b"50000.00", sent.encode()))
    assert answer.status == 200
    assert answer.data["amount"] == {"currency": "BRL"}
    issue = next(issue for issue in answer.meta["issues"] if issue["path"] == "/deal_value")
    assert issue["field"] == "amount.value"
    kept = json.loads(answer.body, parse_float=str, parse_int=str)["data"]["extensions"]["/deal_value"]
    assert kept.replace("+", "").upper() == sent.upper()
    assert answer.data["company"] == {"id": None, "name": "Acme Inc"}


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "1.10", "12345678901234567890.1230", "0.000", "-0.5", "9" * 60]
)
@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_a_number_in_an_unknown_member_reaches_the_extensions_digit_for_digit(
    rig: Rig, connection: str, number: str
) -> None:
    head = b'"id": "' + IDS[connection].encode() + b'",'
    sent = DOCUMENTED[connection].replace(head, head + b'"score": {"a/b": [' + number.encode() + b"]},")
    answer = rig.read(connection, sent)
    assert f'"/score/a~1b/0":{number}'.encode() in answer.body
    assert {name: value for name, value in answer.data.items() if name != "extensions"} == {
        name: value for name, value in CANONICAL[connection].items() if name != "extensions"
    }


@pytest.mark.parametrize("number", ["48000.00", "12345678901234567.89", "0.10"])
@pytest.mark.parametrize("form", ['{"viewType": "customText", "text": "%s"}', '{"viewType": "customNumber", "n": %s}'])
def test_the_configured_custom_attribute_is_the_amount_exact_and_still_a_custom_field(
    rig: Rig, number: str, form: str
) -> None:
    body = SPOTT_BYTES.replace(b'"attr_1"', b'"attr_value"').replace(
        b'{"viewType": "customText", "text": "Tier 1"}', (form % number).encode()
    )
    rig.spott.play([Says(200, body)])
    answer = rig.get(f"/v1/opportunities/spott_money:{SPOTT}")
    assert answer.data["amount"] == {"value": number, "currency": "EUR"}
    assert [one["id"] for one in answer.data["custom_fields"]] == ["attr_value"]
    assert answer.meta["issues"] == []


def test_a_currency_whose_value_is_null_is_still_told(rig: Rig) -> None:
    answer = rig.read("raze", put(documented("raze"), "/deal_value", None))
    assert answer.data["amount"] == {"value": None, "currency": "BRL"}
    answer = rig.read("raze", put(put(documented("raze"), "/deal_value", None), "/deal_currency", None))
    assert answer.data["amount"] is None
    answer = rig.read("raze", without(without(documented("raze"), "/deal_value"), "/deal_currency"))
    assert "amount" not in answer.data


@pytest.mark.parametrize(
    ("sent", "served"),
    [
        ("2026-11-22 01:01:21.282645+00", "2026-11-22T01:01:21.282645Z"),
        ("2024-01-15T10:30:00.000Z", "2024-01-15T10:30:00Z"),
        ("2024-01-15T10:30:00.5Z", "2024-01-15T10:30:00.500000Z"),
        ("2024-01-15T10:30:00+02:00", "2024-01-15T08:30:00Z"),
        ("2024-01-15T10:30:00-0330", "2024-01-15T14:00:00Z"),
        ("2024-01-15 10:30:00", "2024-01-15T10:30:00Z"),
        ("2024-02-29T23:59:59+14:00", "2024-02-29T09:59:59Z"),
    ],
)
def test_an_instant_in_any_usual_spelling_is_served_in_utc(rig: Rig, sent: str, served: str) -> None:
    answer = rig.read("raze", put(documented("raze"), "/created_at", sent))
    assert answer.data["created_at"] == served
    assert answer.meta["issues"] == []


@pytest.mark.parametrize(
    "sent", ["2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "yesterday", "", "0000-00-00", "2024-01-15T25:00:00Z"]
)
def test_an_impossible_date_leaves_its_field_out_and_is_named(rig: Rig, sent: str) -> None:
    answer = rig.read("raze", put(documented("raze"), "/updated_at", sent))
    assert answer.status == 200
    assert "updated_at" not in answer.data
    assert answer.data["extensions"] == {"/updated_at": sent}
    assert [(issue["field"], issue["path"]) for issue in answer.meta["issues"]] == [("updated_at", "/updated_at")]


# --- each field in turn ----------------------------------------------------------------------------------------------

TOP = {
    "raze": {
        "/name": "name", "/email": "contacts", "/phone": "contacts", "/company": "company", "/position": "contacts",
        "/status": "status", "/source": "source", "/deal_value": "amount", "/deal_currency": "amount",
        "/linkedin_url": "contacts", "/notes": "description", "/campaign": "campaign",
        "/responsible_user": "owner", "/won_at": "won_at", "/lost_at": "lost_at", "/created_at": "created_at",
        "/updated_at": "updated_at",
    },
    "spott": {
        "/name": "name", "/description": "description", "/stage": "stage", "/company": "company", "/owner": "owner",
        "/closeDate": "expected_close", "/createdAt": "created_at", "/clientTeam": "contacts",
        "/nextTaskDue": "next_task", "/customAttributes": "custom_fields",
    },
}  # fmt: skip
"""The provider's member and the canonical field that it feeds."""

NEVER_NULL = {
    "raze": {"/name": "name", "/created_at": "created_at", "/status": "status"},
    "spott": {"/name/name": "name", "/createdAt/createdAt": "created_at", "/stage/stage/isOpen": "status"},
}
"""Fields that no null can be: the canonical model has none."""

TOLERATED = {
    "/owner/owner/avatarUrl", "/owner/owner/deactivatedAt", "/nextTaskDue/nextTaskDue/dueDate",
    "/clientTeam/clientTeam/0/middleName", "/clientTeam/clientTeam/0/secondLastName",
    "/clientTeam/clientTeam/0/avatarUrl", "/clientTeam/clientTeam/0/candidateId",
    "/clientTeam/clientTeam/0/jobTitle", "/clientTeam/clientTeam/0/department",
    "/clientTeam/clientTeam/0/emails/0/purpose", "/clientTeam/clientTeam/0/phoneNumbers/0/purpose",
}  # fmt: skip
"""What Spott's newest pages leave out: a missing key is no drift."""

EITHER = (
    "/customAttributes/0/ai", "/customAttributes/0/isFilled", "/clientTeam/clientTeam/0/company",
    "/clientTeam/clientTeam/0/emails", "/clientTeam/clientTeam/0/phoneNumbers",
)  # fmt: skip
"""Where the vendor's pages differ among themselves: an issue or none, both are right."""

KEPT_WHOLE = "/customAttributes/0/value"
"""Custom values are anything; nothing in one is of a wrong type."""


def places(connection: str) -> list[str]:
    """Every place in the documented record but the id, the form (viewType) and what lies in a custom value."""
    return [
        pointer
        for pointer in pointers(documented(connection))
        if pointer != "/id" and not pointer.endswith("/viewType") and not pointer.startswith(KEPT_WHOLE + "/")
    ]


def issue_at(answer: Answer, pointer: str) -> Mapping[str, Any] | None:
    """The issue whose path is the place or lies around or below it."""
    for issue in answer.meta["issues"]:
        path = issue["path"]
        if path == pointer or path.startswith(pointer + "/"):
            assert set(issue) == {"field", "path", "reason", "detail"}
            return dict(issue)
    return None


CASES = [(connection, pointer) for connection in ("raze", "spott") for pointer in places(connection)]


MEMBERS = [case for case in CASES if not case[1].rpartition("/")[2].isdigit()]
"""Without the elements of lists: one less is not missed."""


@pytest.mark.parametrize(("connection", "pointer"), MEMBERS)
def test_a_record_with_one_member_missing_is_served_and_the_gap_is_named(
    rig: Rig, connection: str, pointer: str
) -> None:
    answer = rig.read(connection, without(documented(connection), pointer))
    assert answer.status == 200
    OPPORTUNITY.validate_python(answer.data)
    issue = issue_at(answer, pointer)
    if connection == "spott" and pointer in TOLERATED:
        assert answer.meta["issues"] == []
    elif pointer != KEPT_WHOLE and not pointer.startswith(EITHER):
        assert issue is not None, answer.meta
        assert issue["reason"] == "missing"
        top = TOP[connection]["/" + pointer.split("/")[1]]
        assert issue["field"].split(".")[0].split("[")[0] in (top, "status", "stage", "contacts", "company")
    # Nothing else suffers: members that this place does not feed are as they were.
    fed = {TOP[connection]["/" + pointer.split("/")[1]], "extensions", "status", "status_source", "stage", "contacts"}
    for name, value in CANONICAL[connection].items():
        if name not in fed:
            assert answer.data[name] == value
    assert answer.data["complete"] is True


@pytest.mark.parametrize(("connection", "pointer"), CASES)
def test_a_record_with_one_member_null_is_served_and_null_is_only_named_where_it_cannot_be(
    rig: Rig, connection: str, pointer: str
) -> None:
    answer = rig.read(connection, put(documented(connection), pointer, None))
    assert answer.status == 200
    OPPORTUNITY.validate_python(answer.data)
    never = NEVER_NULL[connection]
    touched = [place for place in never if place == pointer or place.startswith(pointer + "/")]
    for place in touched:
        found = [issue for issue in answer.meta["issues"] if issue["field"].split(".")[0] == never[place]]
        assert found, (place, answer.meta)
    if touched:
        assert answer.data.get(never[touched[0]]) in (None, "unknown")
        assert never[touched[0]] == "status" or never[touched[0]] not in answer.data


WRONG: tuple[Any, ...] = ([1], {"x": "y"}, 17, True, "junk-word")


def is_right(value: Any, wrong: Any) -> bool:
    """Whether a value of this kind is what stands there anyway."""
    if isinstance(value, (dict, list)):
        return type(wrong) is type(value)
    if value is None:
        return isinstance(wrong, str)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return isinstance(wrong, int) and not isinstance(wrong, bool)
    return type(wrong) is type(value)


@pytest.mark.parametrize(("connection", "pointer"), CASES)
def test_a_record_with_one_member_of_a_wrong_type_is_served_and_the_value_is_kept_and_named(
    rig: Rig, connection: str, pointer: str
) -> None:
    value = at(documented(connection), pointer)
    for wrong in WRONG:
        if is_right(value, wrong) or pointer == KEPT_WHOLE:
            continue
        answer = rig.read(connection, put(documented(connection), pointer, copy.deepcopy(wrong)))
        assert answer.status == 200, (wrong, answer.body)
        OPPORTUNITY.validate_python(answer.data)
        leaf = pointer + ("/0" if wrong == [1] else "/x" if isinstance(wrong, dict) else "")
        kept = 1 if wrong == [1] else "y" if isinstance(wrong, dict) else wrong
        assert answer.data["extensions"].get(leaf) == kept, (wrong, answer.data["extensions"])
        if pointer != "/clientTeam/clientTeam/0/candidateId":
            issue = issue_at(answer, pointer)
            assert issue is not None and issue["reason"] in ("wrong_type", "invalid"), (wrong, answer.meta)


@pytest.mark.parametrize("word", ["Fechado-2", "WON", " won", "", "негоциация"])
def test_an_unknown_status_word_is_kept_named_and_still_the_stage(rig: Rig, word: str) -> None:
    answer = rig.read("raze", put(documented("raze"), "/status", word))
    assert (answer.data["status"], answer.data["status_source"]) == ("unknown", None)
    assert answer.data["stage"] == {"id": word, "name": word, "order": None, "is_open": None}
    assert answer.data["extensions"] == {"/status": word}
    (issue,) = answer.meta["issues"]
    assert (issue["field"], issue["path"], issue["reason"]) == ("status", "/status", "unknown_word")


@pytest.mark.parametrize(("word", "order", "status"), [
    ("new", 0, "open"), ("contacted", 1, "open"), ("qualified", 2, "open"), ("proposal", 3, "open"),
    ("negotiation", 4, "open"), ("won", 5, "won"), ("lost", 6, "lost")])  # fmt: skip
def test_each_documented_status_word_has_its_status_and_place(rig: Rig, word: str, order: int, status: str) -> None:
    answer = rig.read("raze", put(documented("raze"), "/status", word))
    assert (answer.data["status"], answer.data["status_source"]) == (status, "native")
    assert answer.data["stage"] == {"id": word, "name": word, "order": order, "is_open": status == "open"}


def test_the_stage_map_of_a_connection_reads_words_that_the_provider_does_not_document(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES.replace(b'"qualified"', b'"Fechado"'))])
    data = rig.get(f"/v1/opportunities/raze_stages:{RAZE}").data
    assert (data["status"], data["status_source"]) == ("won", "stage_map")
    closed = SPOTT_BYTES.replace(b'"isOpen": true', b'"isOpen": false')
    for body, status, source in (
        (closed, "closed", "native"),
        (closed.replace(b'"stg_2"', b'"stg_9"'), "won", "stage_map"),
        (closed.replace(b'"Proposal"', b'"Lost"'), "lost", "stage_map"),
        (closed.replace(b'"stg_2"', b'"stg_9"').replace(b'"Proposal"', b'"Lost"'), "won", "stage_map"),
        (SPOTT_BYTES.replace(b'"stg_2"', b'"stg_9"'), "open", "native"),
    ):
        rig.spott.play([Says(200, body)])
        data = rig.get(f"/v1/opportunities/spott_stages:{SPOTT}").data
        assert (data["status"], data["status_source"]) == (status, source)


def test_the_newest_pages_without_view_types_and_purposes_read_the_same(rig: Rig) -> None:
    record = documented("spott")
    for member in list(record):
        if isinstance(record[member], dict):
            record[member].pop("viewType")
    answer = rig.read("spott", record)
    assert answer.data == CANONICAL["spott"]
    assert answer.meta["issues"] == []


def test_a_custom_value_of_an_unknown_kind_is_kept_whole(rig: Rig) -> None:
    for value, type_ in (
        ({"viewType": "customSelect", "option": {"id": "o1", "name": "é"}}, "customSelect"),
        ({"viewType": "customText", "text": "x", "more": 1}, "customText"),
        ({"text": "no word"}, None),
        (["a", 1], None),
        ("bare", None),
    ):
        answer = rig.read("spott", put(documented("spott"), KEPT_WHOLE, value))
        (field,) = answer.data["custom_fields"]
        assert (field["type"], field["value"]) == (type_, value)
        assert answer.meta["issues"] == []


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a value, names of members excepted."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_in(inner)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.sampled_from(CASES), junk=JUNK)
def test_whatever_stands_in_one_place_the_record_is_served_within_its_schema_and_loses_nothing(
    rig: Rig, case: tuple[str, str], junk: Any
) -> None:
    connection, pointer = case
    answer = rig.read(connection, put(documented(connection), pointer, junk))
    assert answer.status == 200, answer.body
    OPPORTUNITY.validate_python(answer.data)
    held = set(texts_in(answer.data))
    assert [text for text in texts_in(junk) if text not in held] == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1))
def test_text_is_kept_as_it_is(rig: Rig, text: str) -> None:
    answer = rig.read("raze", put(put(documented("raze"), "/name", text), "/notes", text))
    assert (answer.data["name"], answer.data["description"]) == (text, text)
    assert answer.data["contacts"][0]["name"] == text


# --- explain and raw -------------------------------------------------------------------------------------------------


def test_explain_tells_for_every_field_where_it_came_from_or_why_there_is_nothing(rig: Rig) -> None:
    raze = rig.read("raze", RAZE_BYTES, "?explain=true").meta["explain"]
    spott = rig.read("spott", SPOTT_BYTES, "?explain=true").meta["explain"]
    for explained, connection in ((raze, "raze"), (spott, "spott")):
        by_gateway = {"id", "connection", "provider", "complete", "extensions"}
        assert set(CANONICAL[connection]) - by_gateway <= set(explained)
        for entry in explained.values():
            assert ("from" in entry and "native" in entry and "rule" in entry) or "reason" in entry
    assert raze["name"]["from"] == ["/name"]
    assert raze["status"]["from"] == ["/status"] and raze["status"]["native"] is True
    assert raze["amount"]["from"] == ["/deal_value", "/deal_currency"]
    assert raze["probability"]["reason"] == "unsupported"
    assert raze["won_at"]["reason"] == "empty"
    assert "/stage/stage/isOpen" in spott["status"]["from"] and spott["status"]["native"] is True
    assert spott["amount"]["reason"] == "unmapped"
    assert spott["source"]["reason"] == "unsupported"


def test_explain_names_places_that_the_record_has_and_a_rule_for_each(rig: Rig) -> None:
    record = put(documented("raze"), "/responsible_user", None)
    raze = rig.read("raze", record, "?explain=true").meta["explain"]
    assert raze["owner"] == {"reason": "empty", "from": ["/responsible_user"]}
    spott = rig.read("spott", SPOTT_BYTES, "?explain=true").meta["explain"]
    bare = put(put(documented("spott"), "/owner", None), "/stage/stage/a~b", 1)
    assert rig.read("spott", bare, "?explain=true").meta["explain"]["owner"] == {"reason": "empty", "from": ["/owner"]}
    assert [name for told in (raze, spott) for name, one in told.items() if not one.get("rule", "said")] == []
    assert spott["contacts"]["from"] == ["/clientTeam/clientTeam"]
    assert spott["contacts"]["rule"].startswith("each in the list: a string, kept as it is; the parts of the name")
    assert "customText" in spott["custom_fields"]["rule"]


def test_explain_tells_what_was_not_told_and_what_could_not_be_read(rig: Rig) -> None:
    record = put(without(documented("raze"), "/notes"), "/updated_at", "soon")
    explained = rig.read("raze", record, "?explain=true").meta["explain"]
    assert explained["description"]["reason"] == "not_told"
    assert explained["updated_at"]["reason"] == "unreadable"
    unknown = rig.read("raze", put(documented("raze"), "/status", "odd"), "?explain=true").meta["explain"]
    assert unknown["status"]["reason"] == unknown["status_source"]["reason"] == "unreadable"


def test_explain_calls_a_status_native_where_the_status_source_does(rig: Rig) -> None:
    mapped = put(documented("raze"), "/status", "Fechado")
    closed = put(put(documented("spott"), "/stage/stage/isOpen", False), "/stage/stage/id", "stg_9")
    for connection, record, source in (
        ("raze", documented("raze"), "native"),
        ("raze_stages", mapped, "stage_map"),
        ("spott", documented("spott"), "native"),
        ("spott_stages", closed, "stage_map"),
    ):
        kind = connection.partition("_")[0]
        rig.providers[kind].play([Says(200, {"success": True, "data": record} if kind == "raze" else record)])
        answer = rig.get(f"/v1/opportunities/{connection}:{IDS[kind]}?explain=true")
        assert answer.data["status_source"] == source
        assert answer.meta["explain"]["status"]["native"] is (source == "native")


@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_raw_gives_the_providers_record_as_it_came(rig: Rig, connection: str) -> None:
    answer = rig.read(connection, DOCUMENTED[connection], "?raw=true")
    assert answer.meta["raw"] == documented(connection)
    assert connection != "raze" or b'"deal_value":50000.00' in answer.body
    assert "raw" not in rig.read(connection, DOCUMENTED[connection], "?raw=false").meta


@pytest.mark.parametrize(
    "query", ["explain=yes", "raw=1", "raw=", "explain=true&explain=true", "limit=3", "api_key=x", "RAW=true"]
)
def test_a_parameter_that_a_get_does_not_take_is_refused_by_name_and_nothing_is_asked(rig: Rig, query: str) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    problem = assert_problem(rig.get(f"/v1/opportunities/raze:{RAZE}?{query}"), 400, "invalid-request")
    assert fields_of(problem) == [query.partition("=")[0]]
    assert rig.raze.seen == []


# --- which connection ------------------------------------------------------------------------------------------------


def test_the_prefix_decides_then_the_header_then_the_default(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    rig.spott.play([Says(200, SPOTT_BYTES)])
    for target, headers, expected in (
        (f"raze:{RAZE}", {}, "raze"),
        (f"spott:{SPOTT}", {}, "spott"),
        (f"spott:{SPOTT}", {"X-CRM-Connection": "spott"}, "spott"),
        (SPOTT, {"X-CRM-Connection": "spott"}, "spott"),
        (RAZE, {"X-CRM-Connection": "raze"}, "raze"),
        (RAZE, {}, "raze"),
        (f"spott%3A{SPOTT}", {}, "spott"),
    ):
        answer = ask(f"{rig.url}/v1/opportunities/{target}", "GET", headers)
        assert answer.status == 200
        assert answer.headers["x-crm-connection"] == answer.data["connection"] == expected
        assert answer.data["id"] == f"{expected}:{IDS[expected]}"


def test_an_id_whose_prefix_contradicts_the_header_is_refused(rig: Rig) -> None:
    rig.spott.play([Says(200, SPOTT_BYTES)])
    answer = rig.get(f"/v1/opportunities/spott:{SPOTT}", X_CRM_Connection="raze")
    problem = assert_problem(answer, 400, "invalid-request")
    assert fields_of(problem) == ["x-crm-connection"]
    assert rig.spott.seen == []


def test_a_connection_that_does_not_exist_is_not_found(rig: Rig) -> None:
    assert_problem(rig.get(f"/v1/opportunities/nobody:{RAZE}"), 404, "not-found")
    assert_problem(rig.get(f"/v1/opportunities/{RAZE}", X_CRM_Connection="nobody"), 404, "not-found")
    assert_problem(rig.get("/v1/opportunities", X_CRM_Connection="nobody"), 404, "not-found")
    assert_problem(rig.get("/v1/connections/nobody"), 404, "not-found")
    assert_problem(rig.get(f"/v1/opportunities/RAZE:{RAZE}"), 404, "not-found")


def test_a_connection_header_sent_twice_is_refused(rig: Rig) -> None:
    twice = [("X-CRM-Connection", "raze"), ("X-CRM-Connection", "raze")]
    problem = assert_problem(ask(f"{rig.url}/v1/opportunities/{RAZE}", "GET", twice), 400, "invalid-request")
    assert fields_of(problem) == ["x-crm-connection"]


@pytest.mark.parametrize(
    "id_",
    [
        "raze:", ":opp", ":", "%2e%2e", "..%2f..%2fadmin", "a%2Fb", "raze:a%2Fb", "raze:a%00b", "raze:a%0d%0aX:1",
        "raze:a%20b", "raze:%C3%A9", "raze:a?b:c#", "raze:a%3Fb", "raze:a%23b", "raze:opp:two", "raze:a;b", "raze:a%25b",
        "http:%2F%2Fevil", "raze:" + "a" * 201, "raze:*", "raze:a'b", "raze:%E2%80%AE", "raze:a%", "raze:a%zz", "raze:a+b",
    ],
)  # fmt: skip
def test_an_id_outside_the_allow_list_is_refused_before_any_provider_sees_it(rig: Rig, id_: str) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    answer = rig.get(f"/v1/opportunities/{id_}")
    assert_problem(answer, 400, "invalid-request")
    assert rig.raze.seen == []


@pytest.mark.parametrize("id_", ["raze:..", "raze:.", "..", ".", "raze:%2e%2e"])
def test_an_id_of_dots_alone_reaches_no_other_path(rig: Rig, id_: str) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    answer = rig.get(f"/v1/opportunities/{id_}")
    assert answer.status in (400, 404)
    assert_problem(answer, answer.status, {400: "invalid-request", 404: "not-found"}[answer.status])
    assert rig.raze.seen == []


@pytest.mark.parametrize("native", ["a", "A-Z._~9", "-", "~", "a" * 200, "...a", "_"])
def test_every_native_id_of_the_allow_list_goes_out_as_it_is(rig: Rig, native: str) -> None:
    rig.raze.play([Says(200, RAZE_BYTES.replace(RAZE.encode(), native.encode()))])
    answer = rig.get(f"/v1/opportunities/raze:{native}")
    assert (answer.status, answer.data["id"]) == (200, f"raze:{native}")
    assert [one.target for one in rig.raze.seen] == [f"/external/v1/opportunities/{native}"]


# --- many by id ------------------------------------------------------------------------------------------------------


def by_path(seen: Seen) -> Says:
    """A GetRaze that has every `opp_` but says 404, 500 or nonsense for some."""
    id_ = seen.path.rpartition("/")[2]
    if id_ == "opp_gone":
        return Says(404, {"success": False, "error": {"code": "NOT_FOUND", "message": "Opportunity not found"}})
    if id_ == "opp_broken":
        return Says(500, b"<h1>oops</h1>", {"Content-Type": "text/html"})
    if id_ == "opp_other":
        id_ = "opp_another"
    return Says(200, RAZE_BYTES.replace(RAZE.encode(), id_.encode()))


def test_reading_by_ids_keeps_their_order_and_names_what_failed(rig: Rig) -> None:
    rig.raze.play(by_path)
    rig.spott.play([Says(200, SPOTT_BYTES)])
    ids = [
        "raze:opp_1",
        f"spott:{SPOTT}",
        "opp_gone",
        "nobody:x",
        "opp_2",
        "raze:opp_broken",
        "a/b",
        "opp_1",
        "opp_other",
    ]
    answer = rig.get(f"/v1/opportunities?ids={','.join(ids)}")
    assert answer.status == 200
    found = [one and one["id"] for one in answer.data]
    assert found == ["raze:opp_1", f"spott:{SPOTT}", None, None, "raze:opp_2", None, None, "raze:opp_1", None]
    errors = answer.meta["errors"]
    assert [(error["index"], error["id"], error["problem"]["code"]) for error in errors] == [
        (2, "opp_gone", "not-found"),
        (3, "nobody:x", "not-found"),
        (5, "raze:opp_broken", "provider-error"),
        (6, "a/b", "invalid-request"),
        (8, "opp_other", "provider-bad-answer"),
    ]
    for error in errors:
        assert set(error) == {"index", "id", "problem"}
    assert answer.json["page"]["next_cursor"] is None


def test_reading_by_ids_takes_a_hundred_and_no_more(rig: Rig) -> None:
    rig.raze.play(by_path)
    ids = [f"opp_{number}" for number in range(101)]
    answer = rig.get(f"/v1/opportunities?ids={','.join(ids[:100])}")
    assert [one["native_id"] for one in answer.data] == ids[:100]
    rig.raze.play(by_path)
    problem = assert_problem(rig.get(f"/v1/opportunities?ids={','.join(ids)}"), 400, "invalid-request")
    assert fields_of(problem) == ["ids"]
    assert_problem(rig.get("/v1/opportunities?ids="), 400, "invalid-request")
    assert rig.raze.seen == []


def test_bare_ids_mean_the_connection_of_the_header(rig: Rig) -> None:
    rig.spott.play([Says(200, SPOTT_BYTES)])
    rig.raze.play(by_path)
    answer = rig.get(f"/v1/opportunities?ids={SPOTT},raze:opp_1", X_CRM_Connection="spott")
    assert answer.status == 200
    assert answer.data[0]["id"] == f"spott:{SPOTT}"
    assert answer.data[1] is None
    assert answer.meta["errors"][0]["problem"]["code"] == "invalid-request"
    assert rig.raze.seen == []


@pytest.mark.parametrize(
    ("ids", "connection"),
    [
        ("opp_1,raze:opp_2", "raze"),
        (f"spott:{SPOTT}", "spott"),
        ("raze:opp_1,nobody:x,a/b", "raze"),
        (f"raze:opp_1,spott:{SPOTT}", None),
        ("nobody:x", None),
    ],
)
def test_ids_of_one_connection_say_which_answered(rig: Rig, ids: str, connection: str | None) -> None:
    rig.raze.play(by_path)
    rig.spott.play([Says(200, SPOTT_BYTES)])
    answer = rig.get(f"/v1/opportunities?ids={ids}")
    assert answer.status == 200
    assert answer.headers.get("x-crm-connection") == connection


def test_issues_and_explanations_of_many_are_told_apart(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES.replace(b'"qualified"', b'"odd"'))])
    answer = rig.get(f"/v1/opportunities?ids={RAZE}&explain=true&raw=true")
    (issue,) = answer.meta["issues"]
    assert (issue["index"], issue["id"], issue["field"]) == (0, f"raze:{RAZE}", "status")
    assert answer.meta["raw"][0]["status"] == "odd"
    assert answer.meta["explain"][0]["status"]["reason"] == "unreadable"


# --- headers ---------------------------------------------------------------------------------------------------------


def test_every_answer_carries_the_headers_that_are_promised(rig: Rig) -> None:
    left = {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "742", "X-RateLimit-Reset": "1900000000"}
    rig.raze.play([Says(200, RAZE_BYTES, left)])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-crm-connection"] == "raze"
    assert answer.headers["x-cache"] == "bypass"
    assert answer.headers["ratelimit-remaining"] == "742"
    assert answer.headers["ratelimit-limit"] == "1000"
    assert int(answer.headers["ratelimit-reset"]) > 3600
    timing = answer.headers["server-timing"]
    assert "gateway;dur=" in timing and "provider;dur=" in timing
    assert answer.headers["x-request-id"]
    assert "server" not in answer.headers


@pytest.mark.parametrize("target", [
    "/healthz", "/readyz", "/openapi.json", "/docs", "/problems/not-found", "/v1/connections", "/nothing",
    "/v1/connections/raze", "/problems/nothing", "/v1/opportunities?limit=0", "/v1/opportunities/a%2Fb",
])  # fmt: skip
def test_routes_without_a_provider_carry_the_common_headers_too(rig: Rig, target: str) -> None:
    answer = rig.get(target, X_Request_Id="abc.1")
    assert answer.headers["x-request-id"] == "abc.1"
    assert answer.headers["cache-control"] == "private, no-store"
    assert "server-timing" in answer.headers


def test_a_request_id_is_echoed_where_it_is_one_plain_word_and_made_up_otherwise(rig: Rig) -> None:
    for word in ("a", "0af7651916cd43dd8448eb211c80319c", "A-b_c.d~e"):
        assert rig.get("/healthz", X_Request_Id=word).headers["x-request-id"] == word
    made = set()
    for word in ("two words", "<script>", "a" * 300, "", "é"):
        echoed = rig.get("/healthz", X_Request_Id=word).headers["x-request-id"]
        assert echoed and echoed != word
        made.add(echoed)
    assert len(made) == 5
    assert assert_problem(rig.get("/nothing", X_Request_Id="mine"), 404, "not-found")["request_id"] == "mine"


def test_a_head_request_is_answered_like_a_get_without_its_body(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    whole = rig.get(f"/v1/opportunities/raze:{RAZE}")
    head = ask(f"{rig.url}/v1/opportunities/raze:{RAZE}", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
    missing = ask(f"{rig.url}/v1/opportunities/nobody:x", "HEAD")
    assert (missing.status, missing.body) == (404, b"")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "", "1e3", "٣", "1,5"])
def test_a_request_timeout_that_is_no_number_of_seconds_is_refused(rig: Rig, value: str) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    headers = [("X-Request-Timeout", value.encode().decode("latin-1"))]
    problem = assert_problem(ask(f"{rig.url}/v1/opportunities/{RAZE}", "GET", headers), 400, "invalid-request")
    assert fields_of(problem) == ["x-request-timeout"]
    assert rig.raze.seen == []


def test_reading_past_the_cache_can_be_asked_for(rig: Rig) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    answer = rig.get(f"/v1/opportunities/{RAZE}", Cache_Control="no-cache")
    assert (answer.status, answer.headers["x-cache"]) == (200, "bypass")


# --- what goes wrong at the provider ---------------------------------------------------------------------------------

HTML = {"Content-Type": "text/html"}


def refused(code: str, message: str = "no", **members: Any) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message, **members}}


BAD_ANSWERS = {
    "HTML with status 200": Says(200, b"<!doctype html><h1>Welcome</h1>", HTML),
    "nothing": Says(200, b""),
    "204": Says(204),
    "null": Says(200, b"null"),
    "a number": Says(200, b"17"),
    "a list": Says(200, b"[]"),
    "an empty object": Says(200, b"{}"),
    "another id": Says(200, RAZE_BYTES.replace(RAZE.encode(), b"opp_other")),
    "an id in capitals": Says(200, RAZE_BYTES.replace(RAZE.encode(), RAZE.upper().encode())),
    "no id": Says(200, b'{"success":true,"data":{"name":"John"}}'),
    "an id that is a number": Says(200, RAZE_BYTES.replace(b'"' + RAZE.encode() + b'"', b"17")),
    "data that is null": Says(200, b'{"success":true,"data":null}'),
    "duplicate keys": Says(200, RAZE_BYTES.replace(b'"name": "John Doe"', b'"name": "John Doe", "name": "x"', 1)),
    "NaN": Says(200, RAZE_BYTES.replace(b"50000.00", b"NaN")),
    "Infinity": Says(200, RAZE_BYTES.replace(b"50000.00", b"-Infinity")),
    "a lone surrogate": Says(200, RAZE_BYTES.replace(b"Acme Inc", rb"Acme \ud800 Inc")),
    "bytes that are not UTF-8": Says(200, RAZE_BYTES.replace(b"Acme Inc", b"Acme \xff Inc")),
    "UTF-16": Says(200, RAZE_BYTES.decode().encode("utf-16")),
    "a cut object": Says(200, RAZE_BYTES[:-10]),
    "two objects": Says(200, RAZE_BYTES + RAZE_BYTES),
    "a hundred thousand lists": Says(200, b"[" * 100_000 + b"]" * 100_000),
    "more than the limit": Says(200, RAZE_BYTES.replace(b"Acme Inc", b"A" * (1 << 20))),
    "gzip that is none": Says(200, RAZE_BYTES, {"Content-Encoding": "gzip"}),
    "an unknown encoding": Says(200, RAZE_BYTES, {"Content-Encoding": "br"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_ANSWERS)
def test_an_answer_that_is_no_readable_record_is_a_bad_answer(rig: Rig, kind: str) -> None:
    rig.raze.play([BAD_ANSWERS[kind]])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}")
    problem = assert_problem(answer, 502, "provider-bad-answer")
    assert problem["connection"] == answer.headers["x-crm-connection"] == "raze"
    assert "outcome" not in problem
    assert problem["origin"] == "provider"
    assert b"Welcome" not in answer.body
    rig.raze.play([Says(200, RAZE_BYTES)])
    assert rig.get(f"/v1/opportunities/raze:{RAZE}").status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_bad_answer_that_is_not_followed_and_takes_no_key_along(rig: Rig, status: int) -> None:
    rig.elsewhere.play([Says(200, RAZE_BYTES)])
    rig.raze.play([Says(status, b"", {"Location": f"{rig.elsewhere.url}/opportunities/{RAZE}"})])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}")
    assert_problem(answer, 502, "provider-bad-answer")
    assert rig.elsewhere.seen == []
    assert rig.elsewhere.url.encode() not in answer.body
    assert len(rig.raze.seen) == 1


@pytest.mark.parametrize(("status", "code"), [(401, "INVALID_API_KEY"), (403, "INSUFFICIENT_PERMISSIONS")])
def test_a_refused_provider_key_is_a_502_that_tells_nothing_of_what_the_provider_said(
    rig: Rig, status: int, code: str
) -> None:
    body = {
        **refused(code, "canary-message for key-of-raze", current_permissions=["canary-permission"]),
        "canary": "canary-body",
    }
    rig.raze.play([Says(status, body, {"X-Canary": "canary-header"})])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}")
    problem = assert_problem(answer, 502, "provider-auth-failed")
    assert b"canary" not in answer.body and "canary" not in str(answer.headers)
    assert b"key-of" not in answer.body
    assert "www-authenticate" not in answer.headers
    assert problem["origin"] == "provider"


@pytest.mark.parametrize(
    ("says", "status", "code"),
    [
        (Says(404, refused("NOT_FOUND")), 404, "not-found"),
        (Says(404, b"<h1>gone</h1>", HTML), 404, "not-found"),
        (Says(410, b""), 404, "not-found"),
        (Says(409, refused("CONFLICT")), 409, "conflict"),
        (Says(400, refused("VALIDATION_ERROR")), 422, "provider-rejected"),
        (Says(418, b"teapot"), 422, "provider-rejected"),
        (Says(429, refused("RATE_LIMIT_EXCEEDED")), 429, "rate-limited"),
        (Says(500, refused("INTERNAL_ERROR")), 502, "provider-error"),
        (Says(500, b"<h1>stack</h1>", HTML), 502, "provider-error"),
        (Says(502, b""), 502, "provider-error"),
        (Says(504, b""), 502, "provider-error"),
        (Says(599, b"{}"), 502, "provider-error"),
        (Says(408, b""), 504, "provider-timeout"),
    ],
)
def test_each_error_status_of_the_provider_has_its_code(rig: Rig, says: Says, status: int, code: str) -> None:
    rig.raze.play([says])
    problem = assert_problem(rig.get(f"/v1/opportunities/raze:{RAZE}"), status, code)
    assert "outcome" not in problem
    assert problem["provider"]["status"] == says.status


def test_a_provider_that_says_503_is_told_as_failing_and_its_wait_is_passed_on(rig: Rig) -> None:
    rig.raze.play([Says(503, b"", {"Retry-After": "7"})])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}")
    assert answer.status in (502, 503)
    problem = assert_problem(answer, answer.status, {502: "provider-error", 503: "provider-unavailable"}[answer.status])
    assert problem["retry_after"] == 7 and problem["retryable"] is True


@pytest.mark.parametrize(
    ("says", "seconds"),
    [
        (Says(429, refused("RATE_LIMIT_EXCEEDED", retry_after=17)), 17),
        (Says(429, refused("RATE_LIMIT_EXCEEDED"), {"Retry-After": "23"}), 23),
        (Says(429, refused("RATE_LIMIT_EXCEEDED", retry_after=17), {"Retry-After": "23"}), 17),
        (Says(429, b"slow down", {"Retry-After": "2.5"}), 3),
    ],
)
def test_a_rate_limit_of_the_provider_tells_when_to_come_back(rig: Rig, says: Says, seconds: int) -> None:
    rig.raze.play([says])
    problem = assert_problem(rig.get(f"/v1/opportunities/raze:{RAZE}"), 429, "rate-limited")
    assert problem["retry_after"] == seconds
    assert (problem["origin"], problem["retryable"]) == ("provider", True)


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e400", "٣", "99999999999", "soon", "true", "[1]", "0"])
def test_a_rate_limit_whose_wait_cannot_be_read_still_has_one(rig: Rig, value: str) -> None:
    body = b'{"success":false,"error":{"code":"RATE_LIMIT_EXCEEDED","message":"x","retry_after":%s}}'
    says = Says(429, b"{}", {"Retry-After": value.encode().decode("latin-1")})
    for one in (
        says,
        Says(429, body % (value.encode() if value in ("-1", "1e400", "99999999999", "true", "[1]", "0") else b'"x"')),
    ):
        rig.raze.play([one])
        problem = assert_problem(rig.get(f"/v1/opportunities/raze:{RAZE}"), 429, "rate-limited")
        assert problem["retry_after"] >= 1


def test_what_the_provider_said_is_passed_on_scrubbed_and_cut(rig: Rig) -> None:
    message = f"see {rig.raze.url}/x with key-of-raze\r\nSet-Cookie: a" + "x" * 5000
    rig.raze.play([Says(400, refused("VALIDATION_ERROR", message))])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}")
    problem = assert_problem(answer, 422, "provider-rejected")
    assert problem["provider"]["code"] == "VALIDATION_ERROR"
    assert len(problem["provider"]["message"]) <= 300
    assert b"key-of-raze" not in answer.body and b"127.0.0.1" not in answer.body
    assert "\n" not in problem["provider"]["message"]


def test_the_error_of_a_spott_tells_its_code_and_its_request_id(rig: Rig) -> None:
    rig.spott.play(
        [
            Says(
                400,
                {
                    "statusCode": 400,
                    "error": "Bad Request",
                    "message": "INVALID_CURSOR",
                    "status": 400,
                    "requestId": "req_9",
                },
            )
        ]
    )
    problem = assert_problem(rig.get(f"/v1/opportunities/spott:{SPOTT}"), 422, "provider-rejected")
    assert problem["provider"]["code"] == "INVALID_CURSOR"
    assert problem["provider"]["request_id"] == "req_9"


def test_a_port_that_refuses_is_an_unavailable_provider(rig: Rig) -> None:
    answer = rig.get(f"/v1/opportunities/raze_refused:{RAZE}")
    problem = assert_problem(answer, 503, "provider-unavailable")
    assert problem["retry_after"] >= 1
    assert problem["connection"] == "raze_refused"
    assert b"127.0.0.1" not in answer.body


def test_a_provider_that_never_answers_is_a_timeout(rig: Rig) -> None:
    rig.raze.play([Says(then="stall")])
    problem = assert_problem(rig.get(f"/v1/opportunities/raze_quick:{RAZE}"), 504, "provider-timeout")
    assert problem["connection"] == "raze_quick"
    assert "outcome" not in problem
    rig.raze.play([Says(then="stall")])
    answer = rig.get(f"/v1/opportunities/raze:{RAZE}", X_Request_Timeout="0.1")
    assert_problem(answer, 504, "provider-timeout")


@pytest.mark.parametrize("then", ["cut", "reset", "half"])
def test_a_connection_that_breaks_off_is_a_timeout_after_more_than_one_try(rig: Rig, then: str) -> None:
    rig.raze.play([Says(200, RAZE_BYTES)])
    for _ in range(18):  # requests that go well earn the repeats
        rig.get(f"/v1/opportunities/raze:{RAZE}")
    rig.raze.play([Says(200, RAZE_BYTES, then=then)])
    assert_problem(rig.get(f"/v1/opportunities/raze:{RAZE}"), 504, "provider-timeout")
    assert len(rig.raze.seen) in (2, 3)
    rig.raze.play([Says(200, RAZE_BYTES, then=then), Says(200, RAZE_BYTES)])
    assert rig.get(f"/v1/opportunities/raze:{RAZE}").data == CANONICAL["raze"]


def test_a_record_that_carries_more_than_was_asked_for_is_still_one_record(rig: Rig) -> None:
    body = RAZE_BYTES.replace(b'"success": true,', b'"success": true, "took_ms": 3, "meta": {"a": 1},')
    answer = rig.read("raze", body)
    assert answer.data == CANONICAL["raze"]


# --- the other routes ------------------------------------------------------------------------------------------------


def test_the_connections_tell_what_each_can_do_and_no_address_or_key(rig: Rig) -> None:
    answer = rig.get("/v1/connections")
    names = [one["name"] for one in answer.data]
    assert names[:2] == ["raze", "spott"]
    by_name = {one["name"]: one for one in answer.data}
    raze, spott = by_name["raze"], by_name["spott"]
    assert set(raze["operations"]) == {"get", "list", "create", "update", "delete"}
    assert set(spott["operations"]) == {"get", "list", "update"}
    assert (raze["default"], spott["default"]) == (True, False)
    assert set(raze["filters"].values()) | set(spott["filters"].values()) <= {"native", "emulated", "none"}
    assert "source" in raze["fields"]["writable"]["create"] and "source" not in raze["fields"]["writable"]["update"]
    assert "create" not in spott["fields"]["writable"]
    assert {"limits", "idempotency", "state"} <= set(raze)
    assert b"127.0.0.1" not in answer.body and b"key-of" not in answer.body
    assert rig.get("/v1/connections/spott").data == spott


def test_every_problem_code_that_is_answered_has_a_page(rig: Rig) -> None:
    from gateway.errors import CODES

    for code in CODES:
        answer = rig.get(f"/problems/{code}")
        assert answer.status == 200
        assert code.encode() in answer.body


def test_health_and_readiness_call_no_provider(rig: Rig) -> None:
    rig.raze.play([Says(500)])
    assert (rig.get("/healthz").status, rig.get("/readyz").status) == (200, 200)
    assert rig.raze.seen == []
