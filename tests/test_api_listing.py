"""Lists over HTTP: paging to the end, filters native and emulated, sorts, cursors, and providers that misbehave."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from adapters.getraze.sandbox_seeds import USERS
from adapters.getraze.sandbox_seeds import seeds as raze_seeds
from adapters.spott.sandbox_seeds import seeds as spott_seeds
from gateway import strict_json
from gateway.callers import hash_key
from tests.live import (
    EXAMPLES,
    SANDBOXES,
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

DOCUMENTED = "settings: {dialect: documented}"
STAGES = "stages: {Fechado: won}"
"""Said, so that no look-up for the dialect stands among the calls that are counted."""

RAZE_SEEDS = raze_seeds()
SPOTT_SEEDS = spott_seeds()
NEWEST_FIRST = [seed.id for seed in sorted(RAZE_SEEDS, key=lambda seed: seed.created_at, reverse=True)]
OLDEST_CHANGE_FIRST = [
    str(seed.record["id"]) for seed in sorted(SPOTT_SEEDS, key=lambda seed: (seed.modified, str(seed.record["id"])))
]
FIRST_KEY, SECOND_KEY = "first-caller-key", "second-caller-key"


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_gateway(SANDBOXES, tmp_path_factory.mktemp("sandboxes")) as url:
        yield url


class Rig:
    """A gateway with two callers, between us and providers that say whatever a test wants."""

    def __init__(self, url: str, raze: StandIn, spott: StandIn) -> None:
        self.url = url
        self.raze = raze
        self.spott = spott

    def list(self, connection: str, key: str = FIRST_KEY, **parameters: Any) -> Answer:
        query = "?" + urlencode(parameters) if parameters else ""
        headers = {"X-CRM-Connection": connection, "X-API-Key": key}
        return ask(f"{self.url}/v1/opportunities{query}", "GET", headers)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with StandIn() as raze, StandIn() as spott:
        config = f"""\
circuit: off
cache: {{ttl: 0s}}
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: '{raze.url}', api_key: raze-key, budget: off, {DOCUMENTED}, {STAGES}}}
  raze2: {{provider: getraze, base_url: '{raze.url}', api_key: raze-key, budget: off, {DOCUMENTED}}}
  spott: {{provider: spott, base_url: '{spott.url}', api_key: spott-key, budget: off}}
callers:
  - {{name: first, key_sha256: {hash_key(FIRST_KEY)}, scopes: ["opportunities:read"]}}
  - {{name: second, key_sha256: {hash_key(SECOND_KEY)}, scopes: ["opportunities:read"]}}
"""
        with running_gateway(config, tmp_path_factory.mktemp("listing")) as url:
            yield Rig(url, raze, spott)


def listed(url: str, connection: str = "raze", **parameters: Any) -> Answer:
    return ask(f"{url}/v1/opportunities?{urlencode(parameters)}", "GET", {"X-CRM-Connection": connection})


def strictly(url: str, connection: str = "raze", **parameters: Any) -> Answer:
    headers = {"X-CRM-Connection": connection, "Prefer": "handling=strict"}
    return ask(f"{url}/v1/opportunities?{urlencode(parameters)}", "GET", headers)


def walk(url: str, connection: str = "raze", **parameters: Any) -> tuple[list[Any], list[Answer]]:
    """Every record to the last page, and the pages; ends with a failure rather than never."""
    found: list[Any] = []
    pages: list[Answer] = []
    cursor: str | None = None
    while True:
        answer = listed(url, connection, **parameters, **({"cursor": cursor} if cursor else {}))
        assert answer.status == 200, answer.body
        pages.append(answer)
        found += answer.data
        cursor = answer.json["page"]["next_cursor"]
        if cursor is None:
            return found, pages
        assert len(pages) < 200, "it does not end"


def natives(records: list[Any]) -> list[str]:
    return [record["native_id"] for record in records]


# --- paging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 25, 36, 37, 38, 100])
def test_paging_through_getraze_gives_every_record_once_in_order(sandboxes: str, limit: int) -> None:
    found, pages = walk(sandboxes, limit=limit)
    assert natives(found) == NEWEST_FIRST
    assert all(len(page.data) == limit for page in pages[:-1])
    assert all(page.json["page"]["limit"] == limit for page in pages)
    assert pages[0].meta["sort"] == "-created_at"
    assert list(pages[0].json) == ["data", "page", "meta"]


@pytest.mark.parametrize("limit", [3, 25, 31, 50, 62, 63, 64, 100])
def test_paging_through_spott_gives_every_record_once_in_order(sandboxes: str, limit: int) -> None:
    found, pages = walk(sandboxes, "spott", limit=limit)
    assert natives(found) == OLDEST_CHANGE_FIRST
    assert all(len(page.data) == limit for page in pages[:-1])
    assert pages[0].meta["sort"] == "updated_at"


def test_a_page_has_twenty_five_records_unless_asked_otherwise(sandboxes: str) -> None:
    answer = ask(f"{sandboxes}/v1/opportunities")
    assert (len(answer.data), answer.json["page"]["limit"]) == (25, 25)
    assert answer.headers["x-crm-connection"] == "raze"
    assert answer.headers["x-cache"] in ("miss", "hit")


def test_a_thin_list_item_says_less_and_never_null_for_what_it_does_not_say(sandboxes: str) -> None:
    thin = next(one for one in walk(sandboxes, limit=100)[0] if one["native_id"] == "opp_abc123def456")
    assert thin["complete"] is False
    for name in ("description", "won_at", "lost_at"):
        assert name not in thin
    assert thin["owner"]["id"] == "usr_123" and "name" not in thin["owner"]
    assert thin["campaign"] == {"id": "camp_xyz789"}
    assert "linkedin_url" not in thin["contacts"][0]
    assert thin["amount"] == {"value": "50000.00", "currency": "BRL"}
    assert thin["extensions"] == {}
    spott = walk(sandboxes, "spott", limit=100)[0][0]
    assert spott["complete"] is False and "custom_fields" not in spott


def test_thin_items_are_no_drift(sandboxes: str) -> None:
    for connection in ("raze", "spott"):
        assert listed(sandboxes, connection, limit=3).meta["issues"] == []


def test_digits_are_exact_in_lists_too(sandboxes: str) -> None:
    found = {one["native_id"]: one for one in walk(sandboxes, limit=100)[0]}
    for seed in RAZE_SEEDS:
        amount = found[seed.id]["amount"]
        assert amount["value"] == (None if seed.deal_value is None else format(seed.deal_value, "f"))


# --- filters ---------------------------------------------------------------------------------------------------------


def mode(answer: Answer, name: str) -> str:
    return str(answer.meta["filters"][name]["mode"])


@pytest.mark.parametrize("limit", [4, 100])
def test_open_is_several_words_at_getraze_and_is_filtered_here(sandboxes: str, limit: int) -> None:
    found, pages = walk(sandboxes, status="open", limit=limit)
    expected = [id_ for id_ in NEWEST_FIRST
                if next(s for s in RAZE_SEEDS if s.id == id_).status not in ("won", "lost")]  # fmt: skip
    assert natives(found) == expected
    assert {one["status"] for one in found} == {"open"}
    assert mode(pages[0], "status") == "emulated"
    last = pages[-1].meta["filters"]["status"]
    assert last["exhausted"] is True
    assert isinstance(last["scanned"], int)
    if limit == 100:
        assert last["scanned"] == len(RAZE_SEEDS)


@pytest.mark.parametrize("status", ["won", "lost"])
def test_won_and_lost_are_filtered_by_getraze_itself(sandboxes: str, status: str) -> None:
    found, pages = walk(sandboxes, status=status, limit=2)
    assert sorted(natives(found)) == sorted(seed.id for seed in RAZE_SEEDS if seed.status == status)
    assert pages[0].meta["filters"] == {"status": {"mode": "native"}}


@pytest.mark.parametrize("status", ["closed", "unknown"])
def test_a_status_that_no_record_has_gives_an_empty_last_page(sandboxes: str, status: str) -> None:
    found, pages = walk(sandboxes, status=status)
    assert found == [] and pages[-1].meta["filters"]["status"]["exhausted"] is True


@pytest.mark.parametrize("status", ["open", "closed"])
def test_spott_is_filtered_by_status_here(sandboxes: str, status: str) -> None:
    found, pages = walk(sandboxes, "spott", status=status, limit=9)
    is_open = {str(s.record["id"]): s.record["stage"]["stage"]["isOpen"] for s in SPOTT_SEEDS}  # type: ignore[call-overload,index]  # JSON
    assert natives(found) == [id_ for id_ in OLDEST_CHANGE_FIRST if is_open[id_] is (status == "open")]
    assert mode(pages[0], "status") == "emulated"


@pytest.mark.parametrize("stage", ["proposal", "new"])
def test_a_stage_of_getraze_is_its_own_filter(sandboxes: str, stage: str) -> None:
    found, pages = walk(sandboxes, stage=stage)
    assert sorted(natives(found)) == sorted(seed.id for seed in RAZE_SEEDS if seed.status == stage)
    assert mode(pages[0], "stage") == "native"


@pytest.mark.parametrize("stage", ["Proposal", "stg_2"])
def test_a_stage_of_spott_is_taken_by_name_or_id(sandboxes: str, stage: str) -> None:
    found, pages = walk(sandboxes, "spott", stage=stage, limit=50)
    assert found and {one["stage"]["id"] for one in found} == {"stg_2"}
    assert mode(pages[0], "stage") == "emulated"
    assert walk(sandboxes, "spott", stage="proposal")[0] == []


def test_a_source_of_getraze_is_its_own_filter(sandboxes: str) -> None:
    found, pages = walk(sandboxes, source="paid_traffic")
    assert sorted(natives(found)) == sorted(seed.id for seed in RAZE_SEEDS if seed.source == "paid_traffic")
    assert mode(pages[0], "source") == "native"
    assert walk(sandboxes, source="unheard-of")[0] == []


@pytest.mark.parametrize("company", ["Acme Inc", "O'Brien's \"Best\" Foods", "龍貿易", "acme inc", "Acme"])
def test_a_company_of_getraze_is_taken_by_its_exact_name(sandboxes: str, company: str) -> None:
    found, pages = walk(sandboxes, company=company)
    assert natives(found) == [seed.id for seed in RAZE_SEEDS if seed.company == company]
    assert mode(pages[0], "company") == "emulated"


@pytest.mark.parametrize("company", ["Globex", "cmp_9"])
def test_a_company_of_spott_is_taken_by_name_or_id(sandboxes: str, company: str) -> None:
    found, _ = walk(sandboxes, "spott", company=company, limit=50)
    assert found and {one["company"]["id"] for one in found} == {"cmp_9"}


@pytest.mark.parametrize("user", [*USERS, "usr_nobody"])
def test_an_owner_of_getraze_by_id_is_its_own_filter(sandboxes: str, user: str) -> None:
    found, pages = walk(sandboxes, owner=user)
    assert sorted(natives(found)) == sorted(seed.id for seed in RAZE_SEEDS if seed.responsible_user_id == user)
    assert mode(pages[0], "owner") == "native"


@pytest.mark.parametrize("limit", [3, 100])
def test_an_owner_of_getraze_by_name_is_found_though_the_list_tells_ids_only(sandboxes: str, limit: int) -> None:
    found, pages = walk(sandboxes, owner="Łukasz Żak", limit=limit)
    expected = [id_ for id_ in NEWEST_FIRST
                if next(s for s in RAZE_SEEDS if s.id == id_).responsible_user_id == "usr_317"]  # fmt: skip
    assert natives(found) == expected
    assert mode(pages[0], "owner") == "emulated"


@pytest.mark.parametrize("owner", ["usr_7", "Ada Byron"])
def test_an_owner_of_spott_is_taken_by_id_or_name(sandboxes: str, owner: str) -> None:
    found, _ = walk(sandboxes, "spott", owner=owner, limit=50)
    assert found and {one["owner"]["id"] for one in found} == {"usr_7"}


@pytest.mark.parametrize("text", ["conceição", "ACME", "zoe@bronte.example", "nothing-like-this"])
def test_a_text_is_searched_by_getraze_itself(sandboxes: str, text: str) -> None:
    found, pages = walk(sandboxes, q=text)
    wanted = text.casefold()
    expected = [seed.id for seed in RAZE_SEEDS
                if any(wanted in (part or "").casefold() for part in (seed.name, seed.email, seed.company))]  # fmt: skip
    assert sorted(natives(found)) == sorted(expected)
    assert mode(pages[0], "q") == "native"


def test_a_text_is_searched_here_for_spott(sandboxes: str) -> None:
    found, pages = walk(sandboxes, "spott", q="GLOBEX", limit=100)
    assert "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77" in natives(found)
    assert mode(pages[0], "q") == "emulated"


def test_what_changed_since_an_instant_is_told_by_both(sandboxes: str) -> None:
    since = "2023-06-01T00:00:00Z"
    found, pages = walk(sandboxes, modified_since=since, limit=100)
    assert sorted(natives(found)) == sorted(seed.id for seed in RAZE_SEEDS if seed.updated_at >= since)
    assert mode(pages[0], "modified_since") == "emulated"
    middle = SPOTT_SEEDS[30].modified
    found, pages = walk(sandboxes, "spott", modified_since=middle.isoformat(), limit=100)
    assert sorted(natives(found)) == sorted(str(s.record["id"]) for s in SPOTT_SEEDS if s.modified >= middle)
    assert mode(pages[0], "modified_since") == "native"


def test_an_instant_between_two_milliseconds_of_spott_misses_nothing(sandboxes: str) -> None:
    middle = SPOTT_SEEDS[30].modified
    microsecond = middle.isoformat().replace("+00:00", "999+00:00")
    later = [str(s.record["id"]) for s in SPOTT_SEEDS if s.modified > middle]
    found, _ = walk(sandboxes, "spott", modified_since=microsecond, limit=100)
    assert set(later) <= set(natives(found))


@pytest.mark.parametrize(
    ("digits", "found"), [("0000000", ["opp_1"]), ("000000", ["opp_1"]), ("0000001", []), ("000000000", ["opp_1"])]
)
def test_no_digit_of_an_instant_to_compare_with_is_cut(rig: Rig, digits: str, found: list[str]) -> None:
    rig.raze.play([Says(200, page([item(1, updated_at="2024-01-15T10:30:00Z")]))])
    answer = rig.list("raze", modified_since=f"2024-01-15T10:30:00.{digits}Z")
    assert natives(answer.data) == found


def test_several_filters_hold_together(sandboxes: str) -> None:
    found, pages = walk(sandboxes, status="open", source="linkedin", owner="usr_123", limit=2)
    expected = {seed.id for seed in RAZE_SEEDS if seed.status not in ("won", "lost")
                and seed.source == "linkedin" and seed.responsible_user_id == "usr_123"}  # fmt: skip
    assert set(natives(found)) == expected and len(found) == len(expected)
    assert {name: one["mode"] for name, one in pages[0].meta["filters"].items()} == {
        "status": "emulated", "source": "native", "owner": "native"}  # fmt: skip


def test_two_filters_on_one_parameter_of_the_provider_hold_together(sandboxes: str) -> None:
    assert walk(sandboxes, status="won", stage="lost")[0] == []
    found, _ = walk(sandboxes, status="won", stage="won")
    assert sorted(natives(found)) == sorted(seed.id for seed in RAZE_SEEDS if seed.status == "won")


def test_strict_handling_takes_native_filters_and_refuses_what_would_be_emulated(sandboxes: str) -> None:
    answer = strictly(sandboxes, "raze", status="won", source="linkedin", sort="created_at")
    assert answer.status == 200
    assert "handling=strict" in answer.headers["preference-applied"]
    for connection, parameters, named in (
        ("raze", {"status": "open"}, ["status"]),
        ("raze", {"owner": "Sales Rep"}, ["owner"]),
        ("raze", {"company": "Acme Inc", "q": "x"}, ["company"]),
        ("raze", {"sort": "amount"}, ["sort"]),
        ("spott", {"status": "open", "stage": "stg_2", "modified_since": "2024-01-01T00:00:00Z"}, ["status", "stage"]),
    ):
        problem = assert_problem(strictly(sandboxes, connection, **parameters), 422, "not-native")
        assert fields_of(problem) == named
        assert problem["connection"] == connection


def test_a_preference_within_a_quoted_text_is_not_one(sandboxes: str) -> None:
    headers = {"Prefer": 'note="a, handling=strict"'}
    assert ask(f"{sandboxes}/v1/opportunities?status=open&limit=1", "GET", headers).status == 200


# --- sorts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sort", ["created_at", "-created_at", "updated_at", "-updated_at", "name", "-name", "amount", "-amount"]
)
def test_getraze_is_sorted_by_every_field_across_pages(sandboxes: str, sort: str) -> None:
    found, pages = walk(sandboxes, sort=sort, limit=10)
    assert sorted(natives(found)) == sorted(NEWEST_FIRST)
    assert pages[0].meta["sort"] == sort
    name = sort.removeprefix("-")

    def key(one: Any) -> Any:
        if name == "amount":
            return None if one["amount"]["value"] is None else Decimal(one["amount"]["value"])
        return one.get(name)

    keys = [key(one) for one in found if key(one) is not None]
    assert keys == sorted(keys, reverse=sort.startswith("-"))
    # Records without a value come last, in either direction.
    assert all(key(one) is None for one in found[len(keys) :])
    if name == "created_at":
        assert "sort" not in pages[0].meta["filters"] or mode(pages[0], "sort") == "native"
    else:
        assert mode(pages[0], "sort") == "emulated"
        assert pages[0].meta["filters"]["sort"]["scanned"] == len(RAZE_SEEDS)


@pytest.mark.parametrize("sort", ["name", "-created_at"])
def test_spott_is_sorted_here(sandboxes: str, sort: str) -> None:
    found, _ = walk(sandboxes, "spott", sort=sort, limit=20)
    keys = [one[sort.removeprefix("-")] for one in found]
    assert keys == sorted(keys, reverse=sort.startswith("-")) and len(keys) == len(SPOTT_SEEDS)


def test_an_emulated_sort_goes_with_an_emulated_filter(sandboxes: str) -> None:
    found, _ = walk(sandboxes, sort="-amount", status="open", limit=5)
    values = [Decimal(one["amount"]["value"]) for one in found if one["amount"]["value"] is not None]
    assert values == sorted(values, reverse=True)
    assert len(found) == len([seed for seed in RAZE_SEEDS if seed.status not in ("won", "lost")])


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", ["limit"]),
        ("limit=101", ["limit"]),
        ("limit=abc", ["limit"]),
        ("limit=-1", ["limit"]),
        ("limit=1.5", ["limit"]),
        ("limit=", ["limit"]),
        ("limit=%D9%A3", ["limit"]),
        ("limit=99999999999999999999", ["limit"]),
        ("limit=5&limit=5", ["limit"]),
        ("colour=red", ["colour"]),
        ("Limit=5", ["Limit"]),
        ("page=2", ["page"]),
        ("colour=red&limit=0&limit=1", ["colour", "limit"]),
        ("status=OPEN", ["status"]),
        ("status=", ["status"]),
        ("status=new", ["status"]),
        ("sort=deal_value", ["sort"]),
        ("sort=--name", ["sort"]),
        ("sort=", ["sort"]),
        ("modified_since=yesterday", ["modified_since"]),
        ("modified_since=2024-01-15T10:30:00", ["modified_since"]),
        ("modified_since=2023-02-29T00:00:00Z", ["modified_since"]),
        ("owner=", ["owner"]),
        ("q=", ["q"]),
        ("cursor=", ["cursor"]),
        ("explain=1", ["explain"]),
        ("raw=TRUE", ["raw"]),
        ("ids=a&limit=5", ["limit"]),
        ("ids=a&status=open&cursor=x", ["status", "cursor"]),
        ("limit=0&status=x&sort=y", ["limit", "status", "sort"]),
    ],
)
def test_a_parameter_that_cannot_be_taken_is_named(sandboxes: str, query: str, named: list[str]) -> None:
    problem = assert_problem(ask(f"{sandboxes}/v1/opportunities?{query}"), 400, "invalid-request")
    assert list(dict.fromkeys(fields_of(problem))) == named


@pytest.mark.parametrize(
    "query",
    ["?limit=101", "?nope=1", "?q=%ff", "?sort=x", "?limit=1&limit=2", "?ids=", "?ids=a&limit=5", "/opp_1?nope=1"],
)
def test_a_refused_query_names_its_connection_in_the_body_as_in_the_header(sandboxes: str, query: str) -> None:
    named = ask(f"{sandboxes}/v1/opportunities{query}", headers={"X-CRM-Connection": "spott"})
    problem = assert_problem(named, 400, "invalid-request")
    assert problem["connection"] == named.headers["x-crm-connection"] == "spott"
    if "ids" not in query:  # these may be of several connections
        usual = ask(f"{sandboxes}/v1/opportunities{query}")
        assert assert_problem(usual, 400, "invalid-request")["connection"] == "raze"


@pytest.mark.parametrize("query", ["q=%ff", "q=%ed%a0%80", "&".join(f"a{n}=1" for n in range(200))])
def test_a_query_that_is_no_text_is_refused(sandboxes: str, query: str) -> None:
    assert_problem(ask(f"{sandboxes}/v1/opportunities?{query}"), 400, "invalid-request")


@pytest.mark.parametrize(("connection", "parameters"), [
    ("spott", {"source": "linkedin"}), ("spott", {"sort": "amount"}), ("spott", {"sort": "-updated_at"})])  # fmt: skip
def test_what_a_provider_does_not_tell_at_all_cannot_be_filtered_or_sorted_by(
    sandboxes: str, connection: str, parameters: dict[str, str]
) -> None:
    answer = listed(sandboxes, connection, **parameters)
    problem = assert_problem(answer, 400, "invalid-request")
    assert fields_of(problem) == [{"sort": "sort"}.get(next(iter(parameters)), next(iter(parameters)))]
    told = ask(f"{sandboxes}/v1/connections/{connection}").data
    name, value = next(iter(parameters.items()))
    assert (told["sorts"][value] if name == "sort" else told["filters"][name]) == "none"


def test_a_hostile_filter_reaches_the_provider_as_a_value_only(rig: Rig) -> None:
    rig.raze.play([Says(200, page([]))])
    text = "a&status=won#x?y=%00\r\nX-Evil: 1 /../é"
    assert rig.list("raze", q=text).status == 200
    (seen,) = rig.raze.seen
    assert seen.path == "/opportunities"
    assert seen.query == {"page": "1", "limit": "25", "search": text}
    assert "x-evil" not in seen.headers


# --- cursors ---------------------------------------------------------------------------------------------------------


def page(items: list[Any], number: int = 1, pages: int = 1) -> dict[str, Any]:
    """A documented GetRaze list answer."""
    pagination = {"page": number, "limit": 25, "total": len(items) * pages, "total_pages": pages}
    return {"success": True, "data": {"opportunities": items, "pagination": pagination}}


def item(number: int | str, **members: Any) -> dict[str, Any]:
    """A thin GetRaze list item."""
    told = {
        "id": f"opp_{number}", "name": f"Lead {number}", "email": None, "phone": None, "company": "Acme",
        "position": None, "status": "new", "source": "other", "deal_value": 1, "deal_currency": "BRL",
        "campaign_id": None, "responsible_user_id": None, "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
    }  # fmt: skip
    return told | members


def endless(seen: Seen) -> Says:
    """Two items on every page, and always a next one."""
    number = int(seen.query["page"])
    size = int(seen.query["limit"])
    return Says(200, page([item(f"{number}_{n}") for n in range(size)], number, number + 1))


def cursor_of(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    cursor = answer.json["page"]["next_cursor"]
    assert isinstance(cursor, str)
    return cursor


def test_a_cursor_is_good_for_its_own_list_only(rig: Rig) -> None:
    rig.raze.play(endless)
    cursor = cursor_of(rig.list("raze", limit=2, q="x"))
    assert natives(rig.list("raze", limit=2, q="x", cursor=cursor).data) == ["opp_2_0", "opp_2_1"]
    calls = len(rig.raze.seen)
    for connection, key, parameters in (
        ("raze2", FIRST_KEY, {"q": "x"}),
        ("spott", FIRST_KEY, {"q": "x"}),
        ("raze", SECOND_KEY, {"q": "x"}),
        ("raze", FIRST_KEY, {"q": "y"}),
        ("raze", FIRST_KEY, {}),
        ("raze", FIRST_KEY, {"q": "x", "status": "won"}),
        ("raze", FIRST_KEY, {"q": "x", "sort": "created_at"}),
    ):
        answer = rig.list(connection, key, limit=2, cursor=cursor, **parameters)
        assert fields_of(assert_problem(answer, 400, "invalid-request")) == ["cursor"]
    assert len(rig.raze.seen) == calls


@contextlib.contextmanager
def one_connection(folder: Path, provider: StandIn, kind: str, settings: str = "{}") -> Iterator[str]:
    """A gateway of one connection, which has the same name and key whatever it is."""
    with running_gateway(
        "cache: {ttl: 0s}\ndefault_connection: it\nconnections:\n"
        f"  it: {{provider: {kind}, base_url: '{provider.url}', api_key: its-key, budget: off, settings: {settings}}}\n",
        folder,
    ) as url:
        yield url


def served(count: int) -> dict[str, Any]:
    """A GetRaze list answer of the other dialect."""
    items = [{"id": f"00000000-0000-4000-8000-{n:012}", "title": f"Lead {n}"} for n in range(count)]
    pagination = {"page": 1, "per_page": 50, "total": count, "total_pages": 1, "has_next": False, "has_prev": False}
    return {"success": True, "data": items, "pagination": pagination}


LISTS: list[dict[str, Any]] = [{}, {"sort": "updated_at"}, {"stage": "new"}]


@pytest.mark.parametrize("parameters", LISTS, ids=str)
@pytest.mark.parametrize("first", ["documented", "served"])
def test_a_cursor_ends_with_the_dialect_that_its_list_was_made_in(
    tmp_path: Path, first: str, parameters: dict[str, Any]
) -> None:
    """The server begins to speak its other dialect: the same question is another one, and a place in it means nothing."""
    answers = {"documented": page([item(n) for n in range(5)], 1, 2), "served": served(5)}
    answers["served"]["pagination"]["has_next"] = True
    for record in answers["served"]["data"]:
        record |= {"stage_id": "s1", "stage_name": "new", "contact": {"company_name": "Acme"}}
    with StandIn() as provider, one_connection(tmp_path, provider, "getraze") as url:
        provider.play([Says(200, answers.pop(first))])
        listed(url, "it")
        cursor = cursor_of(listed(url, "it", limit=2, **parameters))
        ((_, other),) = answers.items()
        provider.play([Says(200, other)])
        listed(url, "it")
        answer = listed(url, "it", limit=2, cursor=cursor, **parameters)
        assert fields_of(assert_problem(answer, 400, "invalid-request")) == ["cursor"]


@pytest.mark.parametrize("parameters", [{}, {"sort": "name"}], ids=str)
def test_a_cursor_ends_with_the_provider_of_its_connection(tmp_path: Path, parameters: dict[str, Any]) -> None:
    raze = [Says(200, page([item(n) for n in range(5)], 1, 2))]
    record = (EXAMPLES / "spott-get.documented.json").read_bytes()
    spott = [
        Says(200, b'{"items":[' + b",".join([record] * 3) + b'],"pageInfo":{"nextCursor":"Mg==","hasNextPage":true}}')
    ]
    with StandIn(raze) as one, StandIn(spott) as other:
        before, after = (one, "getraze", "{dialect: documented}"), (other, "spott", "{}")
        for old, new in ((before, after), (after, before)):
            with one_connection(tmp_path, *old) as url:
                cursor = cursor_of(listed(url, "it", limit=2, **parameters))
                assert listed(url, "it", limit=2, cursor=cursor, **parameters).status == 200
            with one_connection(tmp_path, *new) as url:
                answer = listed(url, "it", limit=2, cursor=cursor, **parameters)
                assert fields_of(assert_problem(answer, 400, "invalid-request")) == ["cursor"]


def test_a_cursor_is_good_in_a_worker_that_has_not_met_the_provider_yet(tmp_path: Path) -> None:
    with StandIn(lambda seen: endless(seen) if "page" in seen.query else Says(200, page([]))) as provider:
        with one_connection(tmp_path, provider, "getraze") as url:
            cursor = cursor_of(listed(url, "it", limit=2))
        with one_connection(tmp_path, provider, "getraze") as url:
            assert natives(listed(url, "it", limit=2, cursor=cursor).data) == ["opp_2_0", "opp_2_1"]


def test_a_mangled_cursor_is_refused(rig: Rig) -> None:
    rig.raze.play(endless)
    cursor = cursor_of(rig.list("raze", limit=2))
    mangled = {
        cursor[:-1],
        cursor + "A",
        cursor + "=",
        cursor[1:],
        cursor.swapcase(),
        "x",
        "MQ",
        "é",
        cursor + "\n",
        " " + cursor,
        "0" * 500,
    }
    mangled |= {
        cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :] for place in range(len(cursor))
    }
    for one in mangled - {cursor}:
        problem = assert_problem(rig.list("raze", limit=2, cursor=one), 400, "invalid-request")
        assert fields_of(problem) == ["cursor"]
    assert len(rig.raze.seen) == 1


def test_a_cursor_tells_nothing_of_the_providers_address_or_key(rig: Rig) -> None:
    rig.raze.play(endless)
    cursor = cursor_of(rig.list("raze", limit=2))
    assert quote(cursor, safe="") == cursor
    assert "raze-key" not in cursor


def test_the_limit_may_change_from_page_to_page_without_loss(sandboxes: str) -> None:
    first = listed(sandboxes, limit=5)
    second = listed(sandboxes, limit=10, cursor=cursor_of(first))
    third = listed(sandboxes, limit=100, cursor=cursor_of(second))
    found = first.data + second.data + third.data
    cursor = third.json["page"]["next_cursor"]
    while cursor is not None:
        answer = listed(sandboxes, limit=100, cursor=cursor)
        found += answer.data
        cursor = answer.json["page"]["next_cursor"]
    assert natives(found) == NEWEST_FIRST


# --- providers that misbehave ----------------------------------------------------------------------------------------


def walked(rig: Rig, connection: str, **parameters: Any) -> tuple[list[str], int]:
    """(the ids of a whole list, how many requests it took us); fails when it does not end."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    for count in range(1, 60):
        answer = rig.list(connection, **parameters, **cursor)
        assert answer.status == 200, answer.body
        found += natives(answer.data)
        following = answer.json["page"]["next_cursor"]
        if following is None:
            return found, count
        cursor = {"cursor": following}
    raise AssertionError("it does not end")


@pytest.mark.parametrize("parameters", [{}, {"status": "open"}, {"sort": "name"}])
def test_a_getraze_that_says_more_for_ever_without_items_ends(rig: Rig, parameters: dict[str, str]) -> None:
    def script(seen: Seen) -> Says:
        number = int(seen.query["page"])
        return Says(200, page([item(1), item(2)] if number == 1 else [], number, 10**9))

    rig.raze.play(script)
    found, count = walked(rig, "raze", limit=2, **parameters)
    assert found == ["opp_1", "opp_2"]
    assert count <= 2


@pytest.mark.parametrize("parameters", [{}, {"status": "open"}, {"sort": "name"}])
@pytest.mark.parametrize(
    "info",
    [
        {"pageInfo": {"nextCursor": "bmV4dA==", "hasNextPage": True}},
        {"pagination": {"cursor": "bmV4dA==", "hasMore": True}},
        {"pagination": {"cursor": "bmV4dA=="}},
        {"pagination": {"totalItems": 10**6, "page": 1, "hasNextPage": True}},
    ],
)
def test_a_spott_that_says_more_for_ever_without_items_ends(
    rig: Rig, parameters: dict[str, str], info: dict[str, Any]
) -> None:
    rig.spott.play([Says(200, {"items": [], **info})])
    found, count = walked(rig, "spott", **parameters)
    assert (found, count) == ([], 1)


def numbered(seen: Seen, first: int = 1, **more: Any) -> Says:
    """A Spott of three records that pages by number, one on each page."""
    number = int(seen.query.get("page", first))
    record = strict_json.loads((EXAMPLES / "spott-get.documented.json").read_bytes())
    told = {"totalItems": 3, "page": number, "hasNextPage": number < first + 2, **more}
    return Says(200, {"items": [record | {"id": f"rec-{number - first}"}], "pagination": told})


@pytest.mark.parametrize("first", [1, 5])
@pytest.mark.parametrize("parameters", [{}, {"status": "open"}, {"sort": "name"}])
def test_a_spott_list_that_tells_no_cursor_is_paged_by_number(rig: Rig, parameters: dict[str, str], first: int) -> None:
    rig.spott.play(lambda seen: numbered(seen, first))
    found, _ = walked(rig, "spott", limit=1, **parameters)
    assert found == ["rec-0", "rec-1", "rec-2"]
    asked = [seen.query.get("page") for seen in rig.spott.seen if seen.path == "/opportunities"]
    assert asked[:3] == [None, str(first + 1), str(first + 2)]
    assert not any("cursor" in seen.query for seen in rig.spott.seen)


@pytest.mark.parametrize(
    "told", [{"page": 1, "hasNextPage": True}, {"page": None}, {"hasNextPage": True, "page": "2"}, {"page": True}]
)
def test_a_spott_list_that_says_more_but_shows_no_way_on_never_passes_for_the_whole(
    rig: Rig, told: dict[str, Any]
) -> None:
    rig.spott.play(lambda seen: numbered(seen, **told))
    answer = rig.list("spott", limit=1)
    assert natives(answer.data) == ["rec-0"]
    rest = rig.list("spott", limit=1, cursor=answer.json["page"]["next_cursor"])
    assert (rest.status, rest.json["code"]) == (502, "provider-bad-answer")
    assert (rig.list("spott", sort="name").status, rig.list("spott", limit=2).status) == (502, 502)


def test_a_cursor_that_leads_to_itself_ends(rig: Rig) -> None:
    record = (EXAMPLES / "spott-get.documented.json").read_bytes()
    rig.spott.play([Says(200, b'{"items":[' + record + b'],"pageInfo":{"nextCursor":"c2FtZQ==","hasNextPage":true}}')])
    found, count = walked(rig, "spott", limit=1)
    assert len(found) <= 2 and count <= 3


@pytest.mark.parametrize("parameters", [{}, {"status": "open"}, {"company": "Acme"}, {"sort": "name"}], ids=str)
@pytest.mark.parametrize("period", [1, 2, 3, 7])
def test_pages_that_come_again_for_ever_end(rig: Rig, period: int, parameters: dict[str, str]) -> None:
    """A provider that counts pages, says there are a billion, and goes round and round."""

    def script(seen: Seen) -> Says:
        number = int(seen.query["page"])
        return Says(200, page([item(f"{number % period}_{n}", name=str(number)) for n in range(2)], number, 10**9))

    rig.raze.play(script)
    found, count = walked(rig, "raze", limit=2, **parameters)
    assert {one.split("_")[1] for one in found} == {str(n) for n in range(period)}
    if period == 1 and "sort" not in parameters:
        assert len(found) == 2
    assert count <= 40


def test_records_that_are_pushed_onto_the_next_page_do_not_end_a_list(rig: Rig) -> None:
    """One is made between the first page and the second, which brings the first one's record again."""
    records = [item(n) for n in range(8)]

    def script(seen: Seen) -> Says:
        number = int(seen.query["page"])
        if number == 2:
            records.insert(0, item("new"))
        return Says(200, page(records[number - 1 : number], number, len(records)))

    rig.raze.play(script)
    found, _ = walked(rig, "raze", limit=1)
    assert found == [f"opp_{n}" for n in range(8)]


def test_pages_of_records_without_ids_are_told_apart_by_what_they_hold(rig: Rig) -> None:
    def script(seen: Seen) -> Says:
        number = int(seen.query["page"])
        return Says(200, page([item(number) if number == 9 else item(number, id=None)], number, 9))

    rig.raze.play(script)
    found, _ = walked(rig, "raze", limit=1)
    assert found == ["opp_9"]


@pytest.mark.parametrize(
    "pagination",
    [None, {}, [], "x", {"total_pages": "many"}, {"total_pages": None}, {"total_pages": -1}, {"total_pages": 1e3}],
)
def test_an_unreadable_page_count_neither_loops_nor_fails(rig: Rig, pagination: Any) -> None:
    def script(seen: Seen) -> Says:
        number = int(seen.query["page"])
        items = [item(f"{number}_{n}") for n in range(2)] if number <= 3 else []
        return Says(200, {"success": True, "data": {"opportunities": items, "pagination": pagination}})

    rig.raze.play(script)
    found, count = walked(rig, "raze", limit=2)
    assert found[:2] == ["opp_1_0", "opp_1_1"]
    assert count <= 4


def test_an_emulated_scan_is_bounded_labelled_and_goes_on_where_it_stopped(rig: Rig) -> None:
    def script(seen: Seen) -> Says:
        number = int(seen.query["page"])
        size = int(seen.query["limit"])
        items = [item(f"{number}_{n}", company="Rare" if (number, n) == (22, 5) else "Acme") for n in range(size)]
        return Says(200, page(items, number, 24))

    rig.raze.play(script)
    answer = rig.list("raze", company="Rare", limit=10)
    label = answer.meta["filters"]["company"]
    assert (answer.data, label["mode"], label["exhausted"]) == ([], "emulated", False)
    assert label["scanned"] >= 100
    assert len(rig.raze.seen) <= 50
    found, _ = walked(rig, "raze", company="Rare", limit=10)
    assert found == ["opp_22_5"]


def test_an_emulated_sort_at_its_bound_goes_on_and_never_passes_for_the_whole(rig: Rig) -> None:
    """1,500 records, one of them unreadable, the largest amounts last: sorted in two scans, each by itself."""
    records = [item(n, deal_value=n) if n != 7 else {"id": None} for n in range(1500)]

    def script(seen: Seen) -> Says:
        number, size = int(seen.query["page"]), int(seen.query["limit"])
        return Says(200, page(records[(number - 1) * size : number * size], number, -(-len(records) // size)))

    rig.raze.play(script)
    found: list[int] = []
    ends: list[tuple[Any, str | None]] = []
    errors, cursor = 0, dict[str, Any]()
    while not ends or ends[-1][1]:
        answer = rig.list("raze", sort="-amount", limit=100, **cursor)
        found += [int(one["amount"]["value"]) for one in answer.data]
        errors += len(answer.meta["errors"])
        following = answer.json["page"]["next_cursor"]
        ends.append((answer.meta["filters"]["sort"], following))
        cursor = {"cursor": following}
        assert len(ends) <= 20
    assert sorted(found) == [n for n in range(1500) if n != 7] and errors == 1
    assert found[:999] == sorted(found[:999], reverse=True) and found[999:] == sorted(found[999:], reverse=True)
    assert found[999] == 1499
    labels = [label for label, _ in ends]
    assert labels[:10] == [{"mode": "emulated", "scanned": 1000, "exhausted": False}] * 10
    assert labels[10:] == [{"mode": "emulated", "scanned": 500, "exhausted": True}] * 5


def test_an_emulated_sort_that_finds_nothing_within_its_bound_goes_on(rig: Rig) -> None:
    records = [item(n, company="Rare" if n == 1200 else "Acme") for n in range(1300)]

    def script(seen: Seen) -> Says:
        number, size = int(seen.query["page"]), int(seen.query["limit"])
        return Says(200, page(records[(number - 1) * size : number * size], number, -(-len(records) // size)))

    rig.raze.play(script)
    assert walked(rig, "raze", company="Rare", sort="-amount") == (["opp_1200"], 2)


JUNK_RECORDS: list[Any] = [
    None, 17, "text", [], {}, {"name": "no id"}, {"id": 5}, {"id": None}, {"id": ""}, {"id": "a/b"}, {"id": "é"},
    {"id": "a" * 201}, {"id": "a b"}, {"id": ".."}, {"id": {"x": 1}},
]  # fmt: skip


@pytest.mark.parametrize("junk", JUNK_RECORDS, ids=repr)
def test_a_record_that_cannot_be_read_is_an_error_of_its_own_and_spoils_nothing(rig: Rig, junk: Any) -> None:
    rig.raze.play([Says(200, page([item(1), junk, item(2)]))])
    answer = rig.list("raze")
    assert answer.status == 200
    assert natives(answer.data) == ["opp_1", "opp_2"]
    (error,) = answer.meta["errors"]
    assert error["problem"]["code"] == "provider-bad-answer"
    assert error["problem"]["status"] == 502
    assert set(error) == {"index", "id", "problem"}


def test_errors_of_single_records_are_whole_problems(rig: Rig) -> None:
    rig.raze.play([Says(200, page([None]))])
    answer = rig.list("raze")
    (error,) = answer.meta["errors"]
    problem = error["problem"]
    assert problem["type"] == "/problems/provider-bad-answer"
    assert problem["connection"] == "raze"
    assert "request_id" not in problem  # the answer may be kept, and given to other requests


def test_a_page_that_is_kept_holds_nothing_of_the_request_that_brought_it(tmp_path: Path) -> None:
    with (
        StandIn([Says(200, page([item(1), None]))]) as raze,
        running_gateway(connections(raze=raze.url).replace("ttl: 0s", "ttl: 30s"), tmp_path) as url,
    ):
        ask(f"{url}/v1/opportunities")  # it teaches the dialect, and what was kept before that is another answer
        first, second = (
            ask(f"{url}/v1/opportunities", headers={"X-Request-Id": word}) for word in ("first-one", "second-one")
        )
    assert [one.headers["x-cache"] for one in (first, second)] == ["miss", "hit"]
    assert len(first.meta["errors"]) == 1 and first.body == second.body
    assert b"first-one" not in first.body


def test_a_page_of_junk_only_still_leads_to_the_next_one(rig: Rig) -> None:
    rig.raze.play(lambda seen: Says(200, page([None, 5], 1, 2) if seen.query["page"] == "1" else page([item(1)], 2, 2)))
    found, _ = walked(rig, "raze", limit=2)
    assert found == ["opp_1"]


def test_a_record_with_an_unreadable_field_is_served_with_its_issue_in_place(rig: Rig) -> None:
    rig.raze.play(
        [Says(200, page([item(1), item(2, deal_value="lots", status="Fechado"), None, item(3, created_at=7)]))]
    )
    answer = rig.list("raze")
    assert natives(answer.data) == ["opp_1", "opp_2", "opp_3"]
    assert answer.data[1]["status"] == "won"
    told = [(issue["index"], issue["id"], issue["field"], issue["path"]) for issue in answer.meta["issues"]]
    assert told == [(1, "raze:opp_2", "amount.value", "/deal_value"), (2, "raze:opp_3", "created_at", "/created_at")]


@pytest.mark.parametrize(
    ("says", "status", "code"),
    [
        (Says(500), 502, "provider-error"),
        (Says(200, b"<html>"), 502, "provider-bad-answer"),
        (Says(200, b""), 502, "provider-bad-answer"),
        (Says(200, {"success": True, "data": None}), 502, "provider-bad-answer"),
        (Says(200, {"success": True, "data": {"opportunities": {}}}), 502, "provider-bad-answer"),
        (Says(429, {"error": {"code": "RATE_LIMIT_EXCEEDED", "message": "x", "retry_after": 9}}), 429, "rate-limited"),
        (Says(401), 502, "provider-auth-failed"),
        (Says(then="cut"), 504, "provider-timeout"),
        (Says(404), 502, "provider-error"),
    ],
)
def test_a_page_that_cannot_be_had_is_a_problem_also_when_it_is_the_second(
    rig: Rig, says: Says, status: int, code: str
) -> None:
    rig.raze.play([says])
    assert_problem(rig.list("raze"), status, code)
    rig.raze.play(lambda seen: Says(200, page([item(1)], 1, 3)) if seen.query["page"] == "1" else says)
    problem = assert_problem(rig.list("raze", company="Acme"), status, code)
    assert problem["connection"] == "raze"
    assert "outcome" not in problem
    rig.raze.play(lambda seen: Says(200, page([item(1)], 1, 3)) if seen.query["page"] == "1" else says)
    first = rig.list("raze", limit=1)
    assert natives(first.data) == ["opp_1"]
    assert_problem(rig.list("raze", limit=1, cursor=cursor_of(first)), status, code)


def test_a_record_that_vanishes_while_it_is_asked_about_is_left_out(rig: Rig) -> None:
    owned = {"responsible_user_id": "usr_1"}
    rig.raze.play(
        lambda seen: Says(200, page([item(1, **owned), item(2)])) if seen.path == "/opportunities" else Says(404, b"{}")
    )
    answer = rig.list("raze", owner="Somebody")
    assert (answer.status, answer.data) == (200, [])


def test_explain_and_raw_stand_beside_each_record_of_a_page(rig: Rig) -> None:
    rig.raze.play([Says(200, page([item(1), item(2, deal_value=Decimal("0.10"))]))])
    answer = rig.list("raze", explain="true", raw="true")
    assert [one["id"] for one in answer.meta["raw"]] == ["opp_1", "opp_2"]
    assert len(answer.meta["explain"]) == 2
    assert answer.meta["explain"][0]["description"] == {"reason": "not_told"}
    assert b'"deal_value":0.10' in answer.body


def test_a_status_that_the_stage_map_gives_to_another_word_too_is_not_left_to_the_provider(rig: Rig) -> None:
    def script(seen: Seen) -> Says:
        words = ["new", "won", "Fechado", "lost"]
        return Says(200, page([item(word, status=word) for word in words if seen.query.get("status") in (None, word)]))

    rig.raze.play(script)
    won = rig.list("raze", status="won")
    assert (natives(won.data), mode(won, "status")) == (["opp_won", "opp_Fechado"], "emulated")
    lost = rig.list("raze", status="lost")
    assert (natives(lost.data), mode(lost, "status")) == (["opp_lost"], "native")
    unmapped = rig.list("raze2", status="won")
    assert (natives(unmapped.data), mode(unmapped, "status")) == (["opp_won"], "native")


def test_the_native_parameters_that_go_out_are_the_documented_ones(rig: Rig) -> None:
    rig.raze.play([Says(200, page([]))])
    parameters: dict[str, Any] = {
        "limit": 7,
        "source": "list",
        "owner": "usr_1",
        "status": "lost",
        "q": "x",
        "sort": "-created_at",
    }
    assert rig.list("raze", **parameters).status == 200
    assert rig.raze.seen[0].query == {
        "page": "1", "limit": "7", "source": "list", "responsible_user_id": "usr_1", "status": "lost", "search": "x",
        "sort_by": "created_at", "sort_order": "desc",
    }  # fmt: skip
    rig.spott.play([Says(200, {"items": [], "pageInfo": {"nextCursor": None, "hasNextPage": False}})])
    assert rig.list("spott", limit=100, modified_since="2024-01-15T12:30:00+02:00").status == 200
    assert rig.spott.seen[0].query == {"limit": "50", "modifiedSince": "2024-01-15T10:30:00Z"}


def test_pages_that_the_provider_cuts_shorter_than_asked_are_put_together(rig: Rig) -> None:
    def script(seen: Seen) -> Says:
        place = int(seen.query.get("cursor", "0"))
        records = [{"id": f"o{place}", "name": {"name": f"n{place}"}}]
        return Says(200, {"items": records, "pagination": {"cursor": str(place + 1), "hasMore": place < 6}})

    rig.spott.play(script)
    answer = rig.list("spott", limit=5)
    assert natives(answer.data) == ["o0", "o1", "o2", "o3", "o4"]
    following = rig.list("spott", limit=5, cursor=cursor_of(answer))
    assert natives(following.data) == ["o5", "o6"]
    assert following.json["page"]["next_cursor"] is None
