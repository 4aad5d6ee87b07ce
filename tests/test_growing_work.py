"""What a caller or a provider sends may be long: the work that it makes grows as it does, and no faster.

The gateway serves everybody in one turn after another, so that what takes minutes for one is an outage for all. Counted are
the calls that its thread makes for a request and for one twice as long; no time is measured.
"""

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway import opportunities, strict_json
from gateway.drift import MOST, Drift
from gateway.http.requests import _PREFERENCES, BODY_VALUES
from gateway.planned import LONGEST
from gateway.pointer import put
from gateway.scrubbing import scrubbed
from gateway.strict_json import Json
from gateway.translating import dialects
from tests.live import EXAMPLES, JSON, Says, Seen, StandIn, ask, assert_problem, running_gateway

SPOTT = strict_json.loads((EXAMPLES / "spott-get.documented.json").read_bytes())
N = 500
EACH = 600
"""Calls that one value more may make, whatever it is."""
FOLD = 2.5
"""Twice as much makes at most so many times the work."""


class Work:
    """A gateway before one provider, whose record is set, and the calls of its thread."""

    def __init__(self, url: str, provider: StandIn, calls: list[int]) -> None:
        self.url, self._provider, self._calls = url, provider, calls

    def of(self, request: tuple[str, str, Json, Json]) -> int:
        """How many calls the gateway makes to answer this with success: method, target, body and the provider's record."""
        method, target, body, record = request

        def says(seen: Seen) -> Says:
            return Says(200, record) if seen.method == "GET" else Says(204)

        self._provider.play(says)
        before = self._calls[0]
        content = None if body is None else strict_json.dumps(body)
        answer = ask(f"{self.url}{target}", method, JSON if content else {}, content)
        assert answer.status == 200, answer.body[:300]
        return self._calls[0] - before

    def grows(self, kind: Callable[[int], tuple[str, str, Json, Json]]) -> tuple[float, float]:
        """(how many times the work of a request twice as long is, calls for each unit more)."""
        self.of(kind(N))  # what is done the first time only
        once, twice = self.of(kind(N)), self.of(kind(2 * N))
        return twice / once, (twice - once) / N


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    calls = [0]

    def note(_frame: object, event: str, _argument: object) -> None:
        if event != "return":
            calls[0] += 1

    with StandIn() as provider:
        config = f"""\
cache: {{ttl: 0s}}
limits: {{body: 1MiB}}
connections:
  spott: {{provider: spott, base_url: '{provider.url}', api_key: secret-key-0001, budget: off, timeout: 60s}}
"""
        threading.setprofile(note)  # of the gateway's thread, which is the next one
        try:
            gateway = running_gateway(config, tmp_path_factory.mktemp("work"))
            url = gateway.__enter__()
        finally:
            threading.setprofile(None)
        yield Work(url, provider, calls)
        gateway.__exit__(None, None, None)
        assert sys.getprofile() is None


ONE = f"/v1/opportunities/spott:{SPOTT['id']}"


def with_team(team: list[Json], **also: Json) -> dict[str, Json]:
    return {**SPOTT, "clientTeam": {"viewType": "opportunityClientTeam", "clientTeam": team}, **also}


FRESH = itertools.count()
"""For names that were never seen before, of which nothing is remembered."""

RECORDS: dict[str, Callable[[int], Json]] = {
    "contacts that are none": lambda n: with_team([1] * n),
    "contacts of wrong types": lambda n: with_team([{"id": 1, "firstName": 2}] * n),
    "contacts without anything": lambda n: with_team([{}] * n),
    "contacts with unknown members": lambda n: with_team([{"x": 1}] * n),
    "e-mails that are none": lambda n: with_team([{"emails": [1] * n}]),
    "attributes that are none": lambda n: {**SPOTT, "customAttributes": [1] * n},
    "attributes without anything": lambda n: {**SPOTT, "customAttributes": [{}] * n},
    "unknown members": lambda n: {**SPOTT, **{f"k{next(FRESH)}": 1 for _ in range(n)}},
    "unknown members beside contacts that are none": lambda n: with_team([1] * n, zz=[1] * n),
}
"""Records of Spott's with so much of something."""

TEAMS: dict[str, Callable[[int], Json]] = {
    "contacts": lambda n: [{"id": "a", "name": "x"}] * n,
    "e-mails": lambda n: [{"id": "a", "emails": [{}] * n}],
    "contacts without an id": lambda n: [{"name": "x"}] * n,
}


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_twice_as_long_is_read_with_twice_the_work(work: Work, kind: str) -> None:
    fold, each = work.grows(lambda n: ("GET", f"{ONE}?explain=true", None, RECORDS[kind](n)))
    assert fold < FOLD and each < EACH


@pytest.mark.parametrize("target", ["canonical", "spott", "getraze"])
@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_twice_as_long_is_translated_with_twice_the_work(work: Work, kind: str, target: str) -> None:
    where = f"/v1/translate?from=spott&to={target}"
    fold, each = work.grows(lambda n: ("POST", where, RECORDS[kind](n), None))
    assert fold < FOLD and each < EACH


@pytest.mark.parametrize("kind", TEAMS)
def test_a_patch_twice_as_long_is_planned_and_compared_with_twice_the_work(work: Work, kind: str) -> None:
    fold, each = work.grows(lambda n: ("PATCH", ONE, {"contacts": TEAMS[kind](n)}, with_team([{"id": "a"}] * n)))
    assert fold < FOLD and each < EACH


def test_a_planted_look_at_every_path_for_each_is_seen(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def within(path: str, asked: set[str]) -> bool:
        return any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in asked)

    monkeypatch.setattr(opportunities, "_within", within)
    fold, _ = work.grows(lambda n: ("PATCH", ONE, {"contacts": TEAMS["contacts"](n)}, SPOTT))
    assert fold > FOLD


# --- what is told --------------------------------------------------------------------------------------------------


def test_no_issue_is_told_twice() -> None:
    kinds = [make(5) for make in RECORDS.values()]
    kinds += [{**SPOTT, name: value} for name in SPOTT for value in (None, 1, "x", [], [1], {}, {name: 1}, {name: [1]})]
    for record in kinds:
        issues = dialects()["spott"].table.read(record).issues
        assert len(issues) == len(set(issues)), record


@pytest.mark.parametrize("long", [LONGEST, 10_000])
@pytest.mark.parametrize("place", ["", "clientTeam", "owner"])
def test_below_an_endless_name_nothing_repeats_it(long: int, place: str) -> None:
    table = dialects()["spott"].table
    record = json.loads(json.dumps(SPOTT))
    inner: Any = record[place][place] if place else record
    inner = inner[0] if isinstance(inner, list) else inner
    inner["n" * long] = {"a": [1] * 1000, "b": {}}
    reading = table.read(record)
    assert reading.extensions == table.reader.interpret(record).extensions
    found = {pointer: value for pointer, value in reading.extensions.items() if "n" * long in pointer}
    assert sum(map(len, found)) < 2 * long
    restored: dict[str, Json] = {}
    for pointer, value in found.items():
        put(restored, pointer, value)
    assert "n" * long in str(restored) and str(restored).count("1") >= 1000


def test_names_that_are_long_and_many_are_kept_leaf_by_leaf_as_long_as_they_are_places() -> None:
    record = {**SPOTT, "x" * 200: {"y" * 200: {"z": [1, {}, None]}}}
    extensions = dialects()["spott"].table.read(record).extensions
    assert [pointer[402:] for pointer in extensions if pointer.startswith("/xx")] == ["/z/0", "/z/1", "/z/2"]


def test_a_body_of_too_many_values_is_refused_before_it_is_worked_on(work: Work) -> None:
    fits = {**SPOTT, "zz": [1] * (BODY_VALUES - 1000)}
    assert ask(f"{work.url}/v1/translate?from=spott&to=canonical", "POST", JSON, strict_json.dumps(fits)).status == 200
    for method, target, body in (
        ("POST", "/v1/translate?from=spott&to=canonical", {**SPOTT, "zz": [1] * BODY_VALUES}),
        ("PATCH", ONE, {"contacts": [{}] * BODY_VALUES}),
    ):
        answer = ask(f"{work.url}{target}", method, JSON, strict_json.dumps(body))
        assert "10000 values" in assert_problem(answer, 413, "too-large")["detail"]


def test_what_an_unclosed_quote_begins_is_one_preference_to_its_end() -> None:
    for end in ("", "\\", '\\"', "a, handling=strict"):
        text = '"' + '\\"' * 1000 + end
        assert _PREFERENCES.findall(text) == [text]
    assert _PREFERENCES.findall('a="x, y", handling=strict') == ['a="x, y"', " handling=strict"]


def test_what_a_record_shows_is_scrubbed_as_long_as_places_are_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = itertools.count()

    def counted(text: str, secrets: Any) -> str:
        next(asked)
        return scrubbed(text, secrets)

    monkeypatch.setattr("gateway.drift.scrubbed", counted)
    table, drift = dialects()["spott"].table, Drift("spott", "secret-key-0001")
    record = {**SPOTT, **{f"k{place}": 1 for place in range(5 * MOST)}, "secret-key-0001": 1}
    for _ in range(2):
        drift.note(table, table.read(record), True)
    assert next(asked) <= MOST
    assert sum(drift.seen.values()) >= 2 * 5 * MOST and not any("secret" in place for _, place in drift.seen)
