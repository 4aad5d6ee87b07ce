"""Reading by a compiled plan gives what reading step by step gives, for any record; and most records are read by it."""

import json
import random
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.getraze.fields import documented
from adapters.getraze.served import served
from adapters.spott.fields import spott
from gateway.codecs import MISSING, Codec, anything, decimal_string, instant_string, text, whole_number
from gateway.fields import Table, const, entries, first_of, items, row
from gateway.planned import Doubtful
from gateway.pointer import tokens
from gateway.reading import Pass, Reading
from gateway.strict_json import Json, loads
from gateway.testing.generated import Records
from gateway.testing.mutations import JUNK, nodes
from tests.test_mapping_details import ODD, with_rows

EXAMPLES = Path(__file__).parent / "examples"


def example(name: str) -> dict[str, Json]:
    told = loads((EXAMPLES / f"{name}-get.documented.json").read_bytes())
    record: dict[str, Json] = told.get("data", told)
    return record


def _nothing_of_threes(value: Json) -> Json:
    return MISSING if value == 3 else value


FLAT, WRAPPED = example("getraze"), example("spott")
TIMED: dict[str, Json] = {
    "id": "d-1", "title": "Deal", "notes": None, "stage_id": "st-2", "stage_name": "Ganho", "pipeline_id": "p",
    "pipeline_name": "Sales", "value": "12.50", "currency": "EUR", "probability": 40, "contact_company": "Acme",
    "owner_user_id": "o", "owner_user_name": "Ada", "owner_user_email": "a@b", "contact_id": "c", "contact_name": "Jo",
    "contact_title": "CTO", "contact_email": "j@a", "contact_phone": "+32", "contact_linkedin_url": None,
    "source": "list", "campaign_id": None, "campaign_name": None, "expected_close_date": "2026-03-31", "won_at": None,
    "lost_at": None, "created_at": "2024-01-15T10:30:00Z", "updated_at": "2024-01-20T14:00:00+02:00", "score": 5,
    "account_id": "a", "profile_url": "https://l", "custom_fields": {"a": 1, "b": {"c": [1, {}]}},
}  # fmt: skip
PRICED = WRAPPED | {
    "customAttributes": [
        {"attributeDefinitionId": "attr-1", "label": "L", "value": {"viewType": "number", "number": Decimal("1.50")}},
        {"attributeDefinitionId": "attr-2", "label": "M", "value": None, "filledByAI": True, "options": [{"id": 1}]},
    ]
}
MADE: dict[str, Json] = FLAT | {
    "site": {"viewType": "x", "name": "Ghent", "at": {"floor": 3, "room": None}}, "more": {"a": 1, "b": [], "c": None},
    "people": [{"id": "p", "called": "Jo"}, {"aka": "Al", "mail": [{"to": "a@b", "kind": "work"}]}],
    "people/number": 3, "form": {"only": "f"},
}  # fmt: skip
STRANGE = with_rows(
    documented({}),
    row("name", "/name", text, default="nameless"),
    row("description", "/people~1number", anything),
    row("stage.id", first_of("/stage", "/site/name", "/site/label"), text),
    row("stage.order", "/site/at/floor", whole_number, default=7),
    row("stage.is_open", "/site/at/room", Codec("odd", "nothing for a 3", _nothing_of_threes), optional=True),
    row("owner.id", "/site/at/floor", Codec("odd", "nothing for a 3", _nothing_of_threes)),
    row("owner.name", "/site/at/floor", Codec("odd", "nothing for a 3", _nothing_of_threes)),
    *(const(f"owner.{name}", None) for name in ("email", "avatar_url", "deactivated_at")),
    items(
        "contacts", "/people",
        row("id", "/id", text), row("name", first_of("/called", "/aka"), text),
        *(const(name, None) for name in ("first_name", "middle_name", "last_name", "second_last_name", "title",
                                         "department", "linkedin_url", "avatar_url")),
        row("company.id", "/firm/id", anything, optional=True), row("company.name", "/firm/name", text, optional=True),
        const("company.logo_url", "none"),
        items("emails", "/mail", row("address", "/to", text), row("purpose", "/kind", text, default="work"),
              const("primary", True)),
        const("phones", None),
    ),
    entries("custom_fields", "/more", row("id", "/key", text), const("label", None), const("type", None),
            row("value", "/value", anything), const("ai", None)),
)  # fmt: skip
STRANGE = Table(*STRANGE.rows, beside={"/site/viewType": "siteView", "/people/viewType": "list", "/form/only": "f"})
"""A table with all that the shipped ones do not use: defaults, entries, three places for one value, names with a slash."""

SPARE: dict[str, Json] = {name: value for name, value in FLAT.items() if name not in ("name", "description", "notes")}
SPARE |= {"spare": {"name": "n", "text": "t", "more": 1}, "t~d": 1, "own": {"x": 1}}
SCANT = with_rows(
    documented({}),
    row("name", first_of("/name", "/spare/name"), text),
    row("description", first_of("/description", "/spare/text"), anything),
    *(const(f"owner.{name}", "x") for name in ("id", "name", "email", "avatar_url", "deactivated_at")),
)
"""An object that holds second places only, and a group that no record tells."""

TABLES: dict[str, tuple[Table, dict[str, Json]]] = {
    "documented": (documented({"parked": "closed"}), FLAT),
    "served": (served({"st-9": "lost", "Ganho": "won"}, {"st-1": "Lead"}), TIMED),
    "spott": (spott({"st-9": "lost"}, None), WRAPPED),
    "spott, priced": (spott({}, ("attr-1", "EUR")), PRICED),
    "odd": (ODD, FLAT),
    "strange": (STRANGE, MADE),
    "scant": (SCANT, SPARE),
    "scant, one stranger": (
        SCANT,
        {name: SPARE[name] for name in SPARE if name not in ("t~d", "own", "responsible_user")},
    ),
}
EACH = pytest.mark.parametrize("name", TABLES)


def ordered(value: Json) -> Json:
    """So that equal means equal in types and in the order of members too."""
    return json.dumps(value, default=repr)


def told(reading: Reading) -> tuple[Json, ...]:
    issues = [issue.body() for issue in reading.issues]
    return ordered(reading.values), ordered(reading.extensions), issues, reading.missing


def by_plan(table: Table, record: dict[str, Json]) -> Reading | None:
    """What the plan alone gives; None where it leaves a record to the interpreter."""
    extensions: dict[str, Json] = {}
    missing: list[tuple[str, str]] = []
    try:
        return Reading(table.reader.plan(record, extensions, missing, None), extensions, [], missing)
    except Exception:
        return None


def differs(table: Table, record: dict[str, Json]) -> bool:
    before = ordered(record)
    right = told(table.reader.interpret(deepcopy(record)))
    return told(table.read(record)) != right or ordered(record) != before


SPOILT: tuple[Json, ...] = (
    *JUNK, "2024-01-15T10:30:00Z", 3, {"viewType": 5}, {"id": None}, {"a/b": {}}, [{}], [{"id": "x"}],
)  # fmt: skip
"""Values put anywhere: junk of each type, and what is nearly right."""


def _holders(value: Json) -> Iterator[Json]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def spoil(record: dict[str, Json], draw: random.Random) -> None:
    """Change the record in one place: a member less, another value, a member more, an element twice, another order."""
    pointers = list(nodes(record))
    way = draw.randrange(8)
    holders = list(_holders(record))
    if way == 0:
        holder = draw.choice(holders)
        if isinstance(holder, dict):
            holder[draw.choice(("viewType", "extra", "a/b~c", "t~d", "id", "name"))] = deepcopy(draw.choice(SPOILT))
        else:
            holder.extend(deepcopy(holder[:1]))
    elif way == 1:
        holder = draw.choice([one for one in holders if isinstance(one, dict)])
        members = list(holder.items())
        draw.shuffle(members)
        holder.clear()
        holder.update(members)
    elif pointers:
        *path, last = tokens(draw.choice(pointers))
        here: Any = record
        for token in path:
            here = here[int(token)] if isinstance(here, list) else here[token]
        key: Any = int(last) if isinstance(here, list) else last
        if way in (2, 3):
            del here[key]
        elif way == 4:
            here[key] = None
        else:
            here[key] = deepcopy(draw.choice(SPOILT))


def spoilt(record: dict[str, Json], seed: int) -> dict[str, Json]:
    draw = random.Random(seed)
    record = deepcopy(record)
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 6))):
        spoil(record, draw)
    return record


@EACH
def test_a_spoilt_record_reads_as_step_by_step(name: str) -> None:
    table, record = TABLES[name]
    planned = 0
    for seed in range(1500):
        changed = spoilt(record, seed)
        assert not differs(table, changed), f"seed {seed}: {changed}"
        planned += by_plan(table, changed) is not None
    assert planned > 300, "the plan has hardly been tried"


@EACH
def test_a_made_up_record_reads_as_step_by_step(name: str) -> None:
    table, record = TABLES[name]
    made = Records(table, [record]).strategy()

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(made, st.integers(0, 2**32))
    def same(changed: dict[str, Json], seed: int) -> None:
        assert not differs(table, changed) and not differs(table, spoilt(changed, seed))

    same()


@EACH
def test_a_record_with_nothing_the_matter_is_read_by_the_plan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table, record = TABLES[name]
    right = told(table.reader.interpret(record))
    monkeypatch.setattr(Pass, "scatter", _never)
    assert told(table.read(record)) == right


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("documented", {"fax": "x", "tags": ["a", {"b": {}}], "campaign": None}),
        ("documented", {"campaign": {"id": "c", "name": None, "colour": "red"}}),
        ("spott", {"stage": {"viewType": 5, "stage": {"id": "s", "more": 1}}, "owner": None, "extra": 1}),
        ("spott, priced", {"clientTeam": {"clientTeam": [{"candidateId": "c"}]}}),
    ],
)
def test_so_is_one_with_more_members_or_fewer(
    name: str, changes: dict[str, Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, record = TABLES[name]
    records = [changes | record | changes, changes, {"id": "1"} | changes]
    right = [told(table.reader.interpret(one)) for one in records]
    assert right[1][3] and right[0][1] != "{}"
    monkeypatch.setattr(Pass, "scatter", _never)
    assert [told(table.read(one)) for one in records] == right


def _never(*_: object) -> None:
    raise AssertionError("read step by step")


def test_another_way_of_reading_put_in_is_what_reads() -> None:
    table = documented({})
    seen: list[str] = []

    class Watching(Pass):
        def scatter(self, record: dict[str, Json]) -> None:
            seen.append("scatter")
            super().scatter(record)

    table.reader.passes = Watching
    assert table.read(FLAT).values["name"] == FLAT["name"] and seen == ["scatter"]
    del table.reader.passes
    assert table.read(FLAT).values["name"] == FLAT["name"] and seen == ["scatter"]


def test_tables_do_not_share_what_they_differ_in() -> None:
    """Plans of tables of one form share their code; the codecs and maps are each table's own."""
    one, other = documented({"parked": "closed"}), documented({"parked": "lost"})
    record = FLAT | {"status": "parked"}
    assert (one.read(record).values["status"], other.read(record).values["status"]) == ("closed", "lost")


Plan = Callable[..., dict[str, Json]]


def _drops_a_member(plan: Plan) -> Plan:
    def read(record: Json, extensions: Json, missing: Json, at: Json) -> dict[str, Json]:
        values = plan(record, extensions, missing, at)
        values.pop("source", None)
        return values

    return read


def _forgets_the_unknown(plan: Plan) -> Plan:
    return lambda record, extensions, missing, at: plan(record, {}, missing, at)


def _tells_of_nothing_missing(plan: Plan) -> Plan:
    return lambda record, extensions, missing, at: plan(record, extensions, [], at)


def _leaves_crumbs(plan: Plan) -> Plan:
    """Goes on with what was found before the interpreter had to be asked, and takes what is doubtful for nothing."""

    def read(record: Json, extensions: Json, missing: Json, at: Json) -> dict[str, Json]:
        try:
            return plan(record, extensions, missing, at)
        except Doubtful:
            return {}

    return read


def _in_another_order(plan: Plan) -> Plan:
    return lambda *given: dict(reversed(plan(*given).items()))


@pytest.mark.parametrize(
    "fault", [_drops_a_member, _forgets_the_unknown, _tells_of_nothing_missing, _leaves_crumbs, _in_another_order]
)
def test_a_plan_that_reads_otherwise_is_found(fault: Callable[[Plan], Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    table = documented({})
    monkeypatch.setattr(table.reader, "_plan", fault(table.reader.plan))
    assert any(differs(table, spoilt(FLAT, seed)) for seed in range(200))


# --- codecs with a quick way ------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(st.from_regex(r"\A(000[0-4]|19\d\d|20[0-2]\d)-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d:[0-6]\d(Z|z|\.0Z|)\n?\Z"))
def test_a_plain_instant_is_one_exactly_when_the_calendar_has_it(value: str) -> None:
    at: datetime | None
    try:
        year, month, day, hour, minute, second = map(int, re.findall(r"\d+", value)[:6])
        at = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        at = None
    if value.endswith("\n") or not value.isascii():
        at = None
    try:
        spelled, whole = instant_string(value, UTC)
    except ValueError:
        assert at is None
    else:
        assert at is not None and whole
        assert spelled == f"{at.year:04d}-{at.month:02d}-{at.day:02d}T{at:%H:%M:%S}Z"


def test_every_day_of_four_centuries_is_a_day_and_no_other() -> None:
    for year in (*range(1999, 2005), 1900, 2000, 2100, 2400, 1, 9999, 0):
        for month in range(14):
            for day in range(33):
                value = f"{year:04d}-{month:02d}-{day:02d}T23:59:59Z"
                try:
                    datetime(year, month, day)
                except ValueError:
                    with pytest.raises(ValueError, match="no such time"):
                        instant_string(value, UTC)
                else:
                    assert instant_string(value, UTC) == (value, True)


@pytest.mark.parametrize("clock", ["24:00:00", "23:60:00", "23:59:60", "29:00:00", "30:00:00"])
def test_an_hour_that_no_day_has_is_refused(clock: str) -> None:
    with pytest.raises(ValueError, match="no such time"):
        instant_string(f"2024-01-15T{clock}Z", UTC)


def _by_digits(number: Decimal) -> str | None:
    """The rule of `decimal_string` by the number's digits."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or -exponent > 18 or len(digits) + exponent > 30:
        return None
    return format(number, "f")


def _number(sign: int, digits: int, exponent: int) -> Decimal:
    return Decimal((sign, tuple(map(int, str(digits))), exponent))


numbers = st.builds(_number, st.integers(0, 1), st.integers(0, 10**32) | st.integers(0, 99), st.integers(-22, 32))


@settings(max_examples=400, deadline=None)
@given(numbers | st.decimals())
def test_a_number_is_spelled_by_its_digits(number: Decimal) -> None:
    try:
        spelled = decimal_string(number)
    except ValueError:
        assert _by_digits(number) is None
    else:
        assert spelled == _by_digits(number)
