"""A create never doubles and never vanishes: rows A2 to A8 and A10 of the acceptance matrix, in slices for one process.

The provider is a stand-in that stores each applied create and can be told to lose the answer. Kills and pauses of whole
processes (A1, A9) are in `test_reliability`.
"""

import asyncio
import json
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from adapters.getraze import GetRaze
from gateway import idempotency, settling
from gateway.callers import hash_key
from gateway.cli import main
from gateway.http import writes
from gateway.state import claims
from tests.live import Answer, Says, Seen, StandIn, ask, assert_problem, fields_of, port_of, running_gateway, send

DRAFT = {"name": "John Doe", "company": {"name": "Acme"}, "amount": {"value": "50000.00", "currency": "BRL"},
         "contacts": [{"name": "John Doe", "emails": [{"address": "john@example.com"}]}]}  # fmt: skip
LAG = 0.3


class Raze:
    """A GetRaze as documented that keeps what it is sent. `fault` says what happens to a create instead of its answer.

    `lag`: seconds until a new record shows in lists. `applies` False: a create with a fault leaves nothing behind.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.made: list[float] = []
        self.fault: Callable[[], Says] | None = None
        self.applies = True
        self.lag = 0.0
        self.delay = 0.0
        self.posts = 0
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Says:
        if seen.method == "POST":
            return self._create(seen.json)
        if seen.path == "/opportunities":
            return self._list(seen.query)
        native = seen.path.split("/")[2]
        record = next((one for one in self.records if one["id"] == native), None)
        if record is None:
            return Says(404, {"success": False, "error": {"code": "NOT_FOUND", "message": "no such lead"}})
        if seen.method == "PUT":
            if self.fault is None or self.applies:
                record.update(seen.json)
            if self.fault is not None:
                return self.fault()
        if seen.method == "DELETE":
            if self.fault is not None:
                return self.fault()
            self.records.remove(record)
            return Says(200, {"success": True})
        return Says(200, {"success": True, "data": record})

    def _create(self, body: dict[str, Any]) -> Says:
        with self._lock:
            self.posts += 1
        time.sleep(self.delay)
        with self._lock:
            fault = self.fault
            if fault is None or self.applies:
                now = datetime.now(UTC)
                record = {
                    "id": f"opp_{len(self.records)}", "name": None, "email": None, "phone": None, "company": None,
                    "position": None, "linkedin_url": None, "status": "new", "source": "other", "deal_value": None,
                    "deal_currency": "BRL", "notes": None, "campaign": None, "responsible_user": None,
                    "won_at": None, "lost_at": None, "created_at": now.isoformat(), "updated_at": now.isoformat(),
                    **body,
                }  # fmt: skip
                self.records.append(record)
                self.made.append(time.monotonic())
        if fault is not None:
            return fault()
        return Says(201, {"success": True, "data": {"id": record["id"], "name": record["name"]}})

    def _list(self, query: dict[str, str]) -> Says:
        found = [
            record for record, made in zip(self.records, self.made, strict=True)
            if made + self.lag <= time.monotonic() and query.get("search", "") in f"{record['name']} {record['email']}"
        ][::-1]  # fmt: skip
        thin = [{name: value for name, value in one.items() if name not in ("campaign", "responsible_user", "notes",
                 "linkedin_url", "won_at", "lost_at")} for one in found]  # fmt: skip
        return Says(200, {"success": True, "data": {"opportunities": thin, "pagination": {
            "page": 1, "limit": 100, "total": len(found), "total_pages": 1}}}, headers=_date())  # fmt: skip


def _date() -> dict[str, str]:
    return {"Date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}


@pytest.fixture
def raze() -> Raze:
    return Raze()


def config(url: str, folder: Path, more: str = "", keyed: str = f"lookup_lag: {LAG}s", timeout: str = "2s") -> str:
    connections = "".join(
        f"  {name}: {{provider: getraze, base_url: '{url}', api_key: {key}, timeout: {timeout},"
        " settings: {dialect: documented}}\n"
        for name, key in (("raze", "k-1"), ("other", "k-2"))
    )
    return (
        f"default_connection: raze\nconnections:\n{connections}"
        f"state: sqlite:///{folder}/state.db\nidempotency: {{{keyed}}}\n{more}"
    )


@pytest.fixture
def gateway(raze: Raze, tmp_path: Path) -> Iterator[str]:
    with StandIn(raze) as provider, running_gateway(config(provider.url, tmp_path), tmp_path) as url:
        yield url


def create(url: str, key: str, draft: Any = DRAFT, **headers: str) -> Answer:
    body = draft if isinstance(draft, str | bytes) else json.dumps(draft)
    return send(f"{url}/v1/opportunities", "POST", body, **{"Idempotency-Key": key, **headers})


def until_settled(again: Callable[[], Answer], seconds: float = 15.0) -> Answer:
    """What a repeat is told once the outcome is known."""
    end = time.monotonic() + seconds
    while True:
        answer = again()
        if answer.status < 400 or answer.json.get("outcome") != "unknown":
            return answer
        assert time.monotonic() < end, answer.body
        time.sleep(0.05)


# --- running once -----------------------------------------------------------------------------------------------------


def test_a_repeat_gets_the_same_bytes_and_is_told_that_it_is_one(gateway: str, raze: Raze) -> None:
    first = create(gateway, '"abc"')
    again = create(gateway, "abc")  # the bare token is the same key
    assert first.status == again.status == 201
    assert first.body == again.body and first.headers["location"] == again.headers["location"]
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-crm-connection"] == "raze"
    for answer in (first, again):
        kept = datetime.strptime(answer.headers["idempotency-expires"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        assert 23.9 < (kept - datetime.now(UTC)).total_seconds() / 3600 < 24.1
    assert raze.posts == 1


def test_a5_fifty_at_once_with_one_key_make_one_record_and_one_answer(gateway: str, raze: Raze) -> None:
    raze.delay = 0.1
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: create(gateway, "k"), range(50)))
    told = [answer for answer in answers if answer.status == 201]
    for answer in answers:
        if answer.status != 201:
            assert_problem(answer, 409, "idempotency-in-flight")
            assert answer.headers["retry-after"] == "1"
    assert told and len({answer.body for answer in told}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in told) == 1
    again = create(gateway, "k")
    assert again.body == told[0].body and again.headers["idempotent-replayed"] == "true"
    assert raze.posts == len(raze.records) == 1


def test_a6_the_key_belongs_to_a_body_and_a_route(gateway: str, raze: Raze) -> None:
    first = create(gateway, "k", '{"name": "A", "source": "other", "amount": {"value": "1.50", "currency": "BRL"}}')
    same = create(gateway, "k", '{"amount":{"currency":"BRL","value":1.50},"source":"other",\n "name":"\\u0041"}')
    assert (first.status, same.status) == (201, 201) and first.body == same.body
    assert_problem(create(gateway, "k", '{"name": "B"}'), 422, "idempotency-mismatch")
    patch = send(f"{gateway}/v1/opportunities/raze:opp_0", "PATCH", '{"name": "A"}', **{"Idempotency-Key": "k"})
    assert assert_problem(patch, 422, "idempotency-mismatch")["outcome"] == "not_applied"
    assert raze.posts == 1


def test_a6_another_connection_and_another_caller_run_on_their_own(raze: Raze, tmp_path: Path) -> None:
    keys = {"one": "caller-key-one", "two": "caller-key-two"}
    callers = "callers:\n" + "".join(
        f"  - {{name: {name}, key_sha256: {hash_key(key)}, scopes: ['opportunities:write']}}\n"
        for name, key in keys.items()
    )
    with StandIn(raze) as provider, running_gateway(config(provider.url, tmp_path, callers), tmp_path) as url:
        for key in keys.values():
            assert create(url, "k", X_API_Key=key).status == 201
        assert create(url, "k", X_API_Key=keys["one"], X_CRM_Connection="other").status == 201
        assert create(url, "k", X_API_Key=keys["one"]).headers["idempotent-replayed"] == "true"
    assert raze.posts == 3


@pytest.mark.parametrize("key", ["", '""', "x" * 256, '"' + "x" * 256 + '"', "a\x01b", "caf\xe9", '"a', 'a"b', '"a"b'])
def test_a7_a_key_that_is_none_is_refused_and_nothing_is_sent(gateway: str, raze: Raze, key: str) -> None:
    problem = assert_problem(create(gateway, key), 400, "invalid-request")
    assert problem.get("errors", [{"field": "idempotency-key"}])[0]["field"] == "idempotency-key"
    assert raze.posts == 0


def test_a7_keys_up_to_the_limit_are_taken_and_quotes_can_be_escaped(gateway: str) -> None:
    assert create(gateway, "x" * 255).status == 201
    assert create(gateway, '"' + "x" * 255 + '"').headers["idempotent-replayed"] == "true"
    assert create(gateway, r'"a\"b\\c"').status == 201


def test_a7_two_keys_are_none(gateway: str, raze: Raze) -> None:
    headers = [("Content-Type", "application/json"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = ask(f"{gateway}/v1/opportunities", "POST", headers, json.dumps(DRAFT))
    assert fields_of(assert_problem(answer, 400, "invalid-request")) == ["idempotency-key"]
    assert raze.posts == 0


def test_a7_a_key_that_is_required_and_missing_is_asked_for(raze: Raze, tmp_path: Path) -> None:
    text = config("http://127.0.0.1:9", tmp_path, keyed="required: true")
    with StandIn(raze) as provider, running_gateway(text.replace("http://127.0.0.1:9", provider.url), tmp_path) as url:
        answer = send(f"{url}/v1/opportunities", "POST", json.dumps(DRAFT))
        assert fields_of(assert_problem(answer, 400, "invalid-request")) == ["idempotency-key"]
        assert raze.posts == 0
        assert create(url, "k").status == 201
        assert send(f"{url}/v1/opportunities/opp_0", "PATCH", '{"name": "B"}').status == 200  # absolute: needs none


def test_a_delete_takes_no_key(gateway: str) -> None:
    answer = ask(f"{gateway}/v1/opportunities/opp_0", "DELETE", {"Idempotency-Key": "k"})
    assert fields_of(assert_problem(answer, 400, "invalid-request")) == ["idempotency-key"]


def test_a_patch_under_a_key_is_answered_alike_and_sent_once(gateway: str, raze: Raze) -> None:
    create(gateway, "k")
    patches = [
        send(f"{gateway}/v1/opportunities/opp_0", "PATCH", '{"name": "B"}', **{"Idempotency-Key": "p"}) for _ in "ab"
    ]
    assert [answer.status for answer in patches] == [200, 200] and patches[0].body == patches[1].body
    assert patches[1].headers["idempotent-replayed"] == "true"


def test_what_was_refused_leaves_the_key_free(gateway: str, raze: Raze) -> None:
    raze.fault, raze.applies = lambda: Says(422, {"success": False, "error": {"code": "VALIDATION_ERROR"}}), False
    assert assert_problem(create(gateway, "k"), 422, "provider-rejected")["outcome"] == "not_applied"
    raze.fault = None
    assert create(gateway, "k", {"name": "Corrected"}).status == 201


# --- unknown ----------------------------------------------------------------------------------------------------------

LOST = [Says(then="cut"), Says(then="reset"), Says(500, "<h1>"), Says(201, b"{"), Says(503, b"")]


@pytest.mark.parametrize("says", LOST, ids=["cut", "reset", "500", "unreadable", "503"])
def test_a2_an_applied_create_whose_answer_is_lost_is_settled_by_look_up(gateway: str, raze: Raze, says: Says) -> None:
    raze.fault = lambda: says
    lost = create(gateway, "k")
    assert lost.status in (502, 504) and lost.json["outcome"] == "unknown", lost.body
    raze.fault = None
    settled = until_settled(lambda: create(gateway, "k"))
    assert settled.status == 201 and settled.headers["idempotent-replayed"] == "true"
    assert settled.data["native_id"] == "opp_0" and settled.headers["location"] == "/v1/opportunities/raze:opp_0"
    assert settled.meta["not_applied"] == [] and "name" in settled.meta["applied"]
    assert create(gateway, "k").body == settled.body
    assert raze.posts == len(raze.records) == 1
    [outcome] = ask(f"{gateway}/v1/outcomes").data
    assert (outcome["outcome"], outcome["settled_by"], outcome["opportunity"]) == ("applied", "look-up", "raze:opp_0")


def test_a2_the_settled_answer_is_the_one_that_the_create_would_have_given(gateway: str, raze: Raze) -> None:
    usual = create(gateway, "usual")
    raze.fault = lambda: Says(then="cut")
    jane = {
        **DRAFT,
        "name": "Jane Roe",
        "contacts": [{"name": "Jane Roe", "emails": [{"address": "jane@example.com"}]}],
    }
    create(gateway, "k", jane)
    raze.fault = None
    settled = until_settled(lambda: create(gateway, "k", jane))
    assert settled.meta == usual.meta and settled.data.keys() == usual.data.keys()


def test_a3_what_was_not_applied_is_told_once_and_then_the_key_is_free(gateway: str, raze: Raze) -> None:
    raze.fault, raze.applies = lambda: Says(then="cut"), False
    assert_problem(create(gateway, "k"), 504, "provider-timeout")
    began = time.monotonic()
    raze.fault = None
    told = until_settled(lambda: create(gateway, "k"))
    assert assert_problem(told, 504, "provider-timeout")["outcome"] == "not_applied"
    assert time.monotonic() - began >= LAG  # never before the lag
    assert raze.posts == 1
    assert create(gateway, "k").status == 201
    assert len(raze.records) == 1


@pytest.mark.parametrize("lag", [0.0, 0.25])
def test_a3_a_record_that_shows_late_is_never_called_absent(gateway: str, raze: Raze, lag: float) -> None:
    raze.lag, raze.fault = lag, lambda: Says(then="cut")
    create(gateway, "k")
    raze.fault = None
    settled = until_settled(lambda: create(gateway, "k"))
    assert settled.status == 201, settled.body
    assert raze.posts == len(raze.records) == 1


def test_a_record_that_another_write_made_is_not_taken_for_this_one(gateway: str, raze: Raze) -> None:
    assert create(gateway, "first").status == 201
    raze.fault, raze.applies = lambda: Says(then="cut"), False
    create(gateway, "second")  # the same body, and it came to nothing
    raze.fault = None
    told = until_settled(lambda: create(gateway, "second"))
    assert told.json["outcome"] == "not_applied"


def test_two_alike_of_which_one_took_are_settled_as_one_and_none(gateway: str, raze: Raze) -> None:
    raze.fault = lambda: Says(then="cut")
    create(gateway, "one")
    raze.applies = False
    create(gateway, "two")
    raze.fault = None
    answers = [until_settled(partial(create, gateway, key)) for key in ("one", "two")]
    assert sorted(answer.status for answer in answers) == [201, 504]
    assert raze.posts == 2 and len(raze.records) == 1


def test_a_record_that_is_only_alike_leaves_the_outcome_unknown(gateway: str, raze: Raze) -> None:
    raze.fault = lambda: Says(then="cut")
    create(gateway, "k")
    raze.records[0]["deal_value"] = 1  # changed by somebody before anybody looked
    raze.fault = None
    time.sleep(LAG + 1.5)
    assert assert_problem(create(gateway, "k"), 504, "provider-timeout")["outcome"] == "unknown"
    assert raze.posts == 1


def test_a_contact_that_is_known_keeps_its_own_company_and_the_create_is_found_all_the_same(
    gateway: str, raze: Raze
) -> None:
    raze.fault = lambda: Says(then="cut")
    create(gateway, "k")
    raze.records[0]["company"] = "Its own"
    raze.fault = None
    settled = until_settled(lambda: create(gateway, "k"))
    assert settled.status == 201
    assert [entry["field"] for entry in settled.meta["not_applied"]] == ["company.name"]


def test_a_patch_whose_answer_was_lost_may_run_again(gateway: str, raze: Raze) -> None:
    create(gateway, "k")
    raze.fault = lambda: Says(500, "")
    key = {"Idempotency-Key": "p"}
    again = partial(send, f"{gateway}/v1/opportunities/opp_0", "PATCH", '{"name": "B"}', **key)
    assert again().json["outcome"] == "unknown"
    raze.fault = None
    assert until_settled(again).status == 200
    assert raze.records[0]["name"] == "B"


@pytest.mark.parametrize(("method", "body"), [("PATCH", '{"name": "B"}'), ("DELETE", None)])
def test_an_update_or_a_delete_of_unknown_outcome_is_listed_with_its_record(
    gateway: str, raze: Raze, method: str, body: str | None
) -> None:
    create(gateway, "k")
    raze.fault = lambda: Says(500, "")
    key = {"Idempotency-Key": "p"} if method == "PATCH" else {}
    assert send(f"{gateway}/v1/opportunities/opp_0", method, body, **key).json["outcome"] == "unknown"
    [told] = [one for one in ask(f"{gateway}/v1/outcomes").data if one["outcome"] == "unknown"]
    assert told["opportunity"] == "raze:opp_0"


def patch(url: str, key: str, **headers: str) -> Answer:
    return send(f"{url}/v1/opportunities/opp_0", "PATCH", json.dumps({"name": "Jane"}), **{"Idempotency-Key": key},
                **headers)  # fmt: skip


def test_a_patch_that_may_have_been_applied_is_unknown_also_where_the_store_forbids_another_try(
    gateway: str, raze: Raze, tmp_path: Path
) -> None:
    create(gateway, "k")
    held = sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)

    def lost() -> Says:
        if not held.in_transaction:
            held.execute("BEGIN IMMEDIATE")
        return Says(then="cut")

    raze.fault = lost
    try:
        answer = patch(gateway, "p")
    finally:
        held.execute("ROLLBACK")
        held.close()
    assert raze.records[0]["name"] == "Jane" and answer.json["outcome"] == "unknown", answer.body
    raze.fault = None
    assert until_settled(lambda: patch(gateway, "p")).status == 200


def test_a_repeat_that_is_not_sent_does_not_say_that_the_patch_before_was_not_applied(
    raze: Raze, tmp_path: Path
) -> None:
    def answer(seen: Seen) -> Says:
        return Says(then="cut") if raze.fault is not None and seen.method == "GET" else raze(seen)

    provider = StandIn(answer)
    with provider, running_gateway(config(provider.url, tmp_path), tmp_path) as url:
        create(url, "k")
        raze.fault = lambda: Says(then="cut")
        assert patch(url, "p").json["outcome"] == "unknown"
        provider.__exit__(None, None, None)  # from here on it refuses connections
        try:
            again = patch(url, "p")
            assert (again.status, again.json["outcome"]) == (503, "unknown"), again.body
            [listed] = [one for one in ask(f"{url}/v1/outcomes").data if one["operation"] == "update"]
            assert listed["outcome"] == "unknown"
        finally:
            provider.__enter__()


def test_a_write_without_a_key_that_is_lost_is_listed_and_settled_too(gateway: str, raze: Raze) -> None:
    raze.fault = lambda: Says(then="cut")
    send(f"{gateway}/v1/opportunities", "POST", json.dumps(DRAFT))
    raze.fault = None
    end = time.monotonic() + 10
    while not (told := ask(f"{gateway}/v1/outcomes").data) or told[0]["outcome"] == "unknown":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (told[0]["keyed"], told[0]["outcome"], told[0]["opportunity"]) == (False, "applied", "raze:opp_0")
    assert raze.posts == 1


def test_of_two_alike_without_a_key_a_moment_apart_neither_gets_the_others_record(gateway: str, raze: Raze) -> None:
    raze.fault, raze.applies = lambda: Says(then="cut"), False
    lost = send(f"{gateway}/v1/opportunities", "POST", json.dumps(DRAFT))
    assert lost.json["outcome"] == "unknown"
    raze.fault = None
    assert send(f"{gateway}/v1/opportunities", "POST", json.dumps(DRAFT)).status == 201
    time.sleep(LAG + 3.0)
    [told] = ask(f"{gateway}/v1/outcomes").data
    assert (told["keyed"], told["outcome"]) == (False, "unknown"), told


# --- without a look-up ------------------------------------------------------------------------------------------------


class NoLookUp(GetRaze):
    """The same provider, of which nothing can be asked afterwards."""

    name = "no-look-up"
    look_up = None  # type: ignore[assignment]  # as if it had never been defined


def test_a4_without_a_look_up_the_outcome_stays_unknown_until_an_operator_settles_it(
    raze: Raze, tmp_path: Path
) -> None:
    run, path = CliRunner(), str(tmp_path / "config.yaml")
    with StandIn(raze) as provider:
        text = config(provider.url, tmp_path).replace(
            "provider: getraze", "provider: 'tests.test_idempotency:NoLookUp'"
        )
        with running_gateway(text, tmp_path) as url:
            raze.fault = lambda: Says(then="cut")
            for key in ("yes", "no"):
                raze.applies = key == "yes"
                assert create(url, key, {"name": key}).json["outcome"] == "unknown"
            raze.fault = None
            time.sleep(LAG + 1.2)
            for key in ("yes", "no"):
                problem = assert_problem(create(url, key, {"name": key}), 504, "provider-timeout")
                assert problem["outcome"] == "unknown" and problem["retry_after"] >= 1
            no, yes = [one["id"] for one in ask(f"{url}/v1/outcomes").data]  # what came to it last stands first
            listed = run.invoke(main, ["outcomes", "--config", path, "--json"])
            assert [one["id"] for one in json.loads(listed.stdout)["data"]] == [no, yes]
            for asked in (["--settle", yes, "--applied", "opp_0"], ["--settle", no, "--not-applied"]):
                settled = run.invoke(main, ["outcomes", "--config", path, *asked])
                assert settled.exit_code == 0, settled.output
            by_id = {one["id"]: one for one in ask(f"{url}/v1/outcomes").data}
            assert (by_id[yes]["outcome"], by_id[yes]["settled_by"]) == ("applied", "operator")
            assert (by_id[no]["outcome"], by_id[no]["settled_by"]) == ("not_applied", "operator")
            answer = create(url, "yes", {"name": "yes"})
            assert (answer.status, answer.data["native_id"]) == (201, "opp_0")
            assert create(url, "no", {"name": "no"}).json["outcome"] == "not_applied"
            assert raze.posts == 2
            assert create(url, "no", {"name": "no"}).status == 201  # the key is free


@pytest.mark.parametrize("named", ["raze:opp_0", "opp_0"])
def test_an_operator_settles_an_update_by_its_own_record_only_and_names_it_as_it_is_listed(
    raze: Raze, tmp_path: Path, named: str
) -> None:
    run, at = CliRunner(), ["--config", str(tmp_path / "config.yaml")]
    raze.records = [{"id": f"opp_{number}", "name": f"Lead {number}", "status": "new"} for number in range(2)]
    with StandIn(raze) as provider:
        (tmp_path / "config.yaml").write_text(config(provider.url, tmp_path))
        raze.fault = lambda: Says(500, "")
        lost = run.invoke(
            main, ["update", "raze:opp_0", "-", *at], input='{"name": "B"}'
        )  # nobody looks: no server runs
        assert lost.exit_code == 1 and "unknown" in lost.stderr
        raze.fault = None
        [told] = json.loads(run.invoke(main, ["outcomes", "--json", *at]).stdout)["data"]
        assert (told["outcome"], told["opportunity"]) == ("unknown", "raze:opp_0")
        for other in ("opp_1", "other:opp_0", "raze:", "../opp_0", "raze:a/b"):
            refused = run.invoke(main, ["outcomes", "--settle", told["id"], "--applied", other, *at])
            assert refused.exit_code == 1 and "invalid-request" in refused.stderr, other
        settled = run.invoke(main, ["outcomes", "--settle", told["id"], "--applied", named, "--json", *at])
        assert json.loads(settled.stdout)["data"][0]["outcome"] == "applied", settled.output


@pytest.mark.parametrize("asked", [
    ["--settle", "nobody", "--not-applied"], ["--settle", "x"], ["--not-applied"], ["--applied", "opp_1"],
    ["--settle", "x", "--applied", "opp_1", "--not-applied"],
])  # fmt: skip
def test_settling_says_what_is_missing(tmp_path: Path, asked: list[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config("http://127.0.0.1:9", tmp_path))
    told = CliRunner().invoke(main, ["outcomes", "--config", str(path), *asked])
    assert told.exit_code in (1, 2) and ("--settle" in told.output or "There is no such outcome" in told.output)


# --- the caller, and the store ----------------------------------------------------------------------------------------


def test_a8_a_create_outlives_its_caller(gateway: str, raze: Raze) -> None:
    raze.delay = 0.3
    body = json.dumps(DRAFT)
    for number in range(20):
        with socket.create_connection(("127.0.0.1", port_of(gateway))) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(
                f"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Idempotency-Key: k{number}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            time.sleep(0.02)
    raze.delay = 0
    for number in range(20):
        answer = until_settled(partial(create, gateway, f"k{number}"))
        assert answer.status == 201
    assert raze.posts == len(raze.records) == 20


def test_a10_without_the_store_nothing_is_sent(gateway: str, raze: Raze, tmp_path: Path) -> None:

    held = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    try:
        problem = assert_problem(create(gateway, "k"), 503, "state-store-unavailable")
        assert problem["outcome"] == "not_applied"
        assert raze.posts == 0
        assert ask(f"{gateway}/v1/opportunities?limit=1").status == 200  # reads need no store
    finally:
        held.execute("ROLLBACK")
        held.close()
    assert create(gateway, "k").status == 201


def test_a10_a_store_that_is_away_from_the_start_refuses_writes_and_says_so(raze: Raze, tmp_path: Path) -> None:
    """One that somebody has to mend (no folder, not to be written) stops the start: see `test_cli`."""
    held = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    with StandIn(raze) as provider, running_gateway(config(provider.url, tmp_path), tmp_path, ready=False) as url:
        assert_problem(create(url, "k"), 503, "state-store-unavailable")
        assert_problem(send(f"{url}/v1/opportunities", "POST", json.dumps(DRAFT)), 503, "state-store-unavailable")
        assert_problem(ask(f"{url}/readyz"), 503, "state-store-unavailable")
        assert raze.posts == 0
        held.execute("ROLLBACK")
        held.close()
        end = time.monotonic() + 15
        while (answer := create(url, "k")).status == 503 and time.monotonic() < end:
            time.sleep(0.05)
        assert answer.status == 201


def test_without_state_a_key_is_refused_rather_than_passed_over(raze: Raze, tmp_path: Path) -> None:
    with StandIn(raze) as provider:
        text = config(provider.url, tmp_path).replace(f"sqlite:///{tmp_path}/state.db", "off")
        with running_gateway(text, tmp_path) as url:
            assert fields_of(assert_problem(create(url, "k"), 400, "invalid-request")) == ["idempotency-key"]
            assert send(f"{url}/v1/opportunities", "POST", json.dumps(DRAFT)).status == 201
            assert ask(f"{url}/v1/outcomes").data == []


# --- planted faults: each turns a row red -----------------------------------------------------------------------------


def never_refused(held: Any, asked: claims.Claim, now: float, *, lease: float, may_repeat: bool = False) -> Any:
    return replace(asked, word="claimed", began=now, since=now, lease=now + lease), "mine"


def test_a_claim_that_is_never_refused_doubles(gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "take", never_refused)
    assert [create(gateway, "k").status for _ in range(2)] == [201, 201]
    assert len(raze.records) == 2


def at_once(gateway: str, raze: Raze) -> int:
    """How many records four requests with one key make whose claims are taken from each other."""
    raze.delay = 0.1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: create(gateway, "k"), range(4)))
    return len(raze.records)


def test_fencing_alone_holds_back_whoever_lost_its_claim(
    gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = claims.send

    async def slow_plan(self: Any, call: Any) -> None:
        await asyncio.sleep(0.2)  # between the claim and the first byte everybody has taken it from everybody
        await before(self, call)

    before = idempotency.Guard.before
    monkeypatch.setattr(idempotency.Guard, "before", slow_plan)
    monkeypatch.setattr(claims, "take", never_refused)
    assert at_once(gateway, raze) == 1

    def unfenced(held: Any, fence: int, now: float, **more: Any) -> Any:
        return usual(held, held.fence, now, **more)

    monkeypatch.setattr(claims, "send", unfenced)
    raze.records.clear()
    raze.made.clear()
    assert at_once(gateway, raze) > 1


def test_a_blind_retry_of_what_is_unknown_doubles(gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = claims.take

    def take(held: Any, asked: claims.Claim, now: float, *, lease: float, may_repeat: bool = False) -> Any:
        return usual(held, asked, now, lease=lease, may_repeat=True)

    monkeypatch.setattr(claims, "take", take)
    raze.fault = lambda: Says(then="cut")
    create(gateway, "k", {"name": "A"})
    raze.fault = None
    monkeypatch.setattr(settling.Settler, "look", _no_look)
    create(gateway, "k", {"name": "A"})
    assert len(raze.records) == 2


async def _no_look(self: settling.Settler, claim: claims.Claim, **_: bool) -> None:
    """Nobody looks."""


def while_in_flight(gateway: str, raze: Raze) -> int:
    """How many records come of a key that is repeated while its first request is at the provider."""
    raze.delay = 0.3
    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(create, gateway, "k")
            time.sleep(0.15)
    return len(raze.records)


def test_a_repeat_while_in_flight_makes_no_second_record(gateway: str, raze: Raze) -> None:
    assert while_in_flight(gateway, raze) == 1


def test_a_claim_that_expires_while_in_flight_doubles(
    gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "is_over", lambda claim, now: True)
    assert while_in_flight(gateway, raze) == 2


def test_a_create_sent_before_its_claim_is_durable_doubles(
    gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = claims.take

    async def unclaimed(self: idempotency.Guard, call: Any) -> None:
        """It goes out while the store still says that nothing did."""

    def short(held: Any, asked: claims.Claim, now: float, *, lease: float, may_repeat: bool = False) -> Any:
        return usual(held, asked, now, lease=0.05, may_repeat=may_repeat)

    monkeypatch.setattr(idempotency.Guard, "before", unclaimed)
    monkeypatch.setattr(claims, "take", short)
    assert while_in_flight(gateway, raze) == 2


def test_an_absence_believed_before_the_lag_doubles(gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = claims.missed

    def missed(held: Any, now: float, looked: float, *, lag: float, keep: float, needed: int = 2) -> Any:
        return usual(held, now, looked, lag=-1.0, keep=keep, needed=1)

    monkeypatch.setattr(claims, "missed", missed)
    raze.lag, raze.fault = LAG, lambda: Says(then="cut")
    create(gateway, "k")
    raze.fault = None
    told = until_settled(lambda: create(gateway, "k"))
    assert told.json.get("outcome") == "not_applied"  # and it was applied
    create(gateway, "k")
    assert len(raze.records) == 2


def test_a_key_shared_between_callers_hands_one_the_others_answer(
    raze: Raze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = idempotency._digest
    monkeypatch.setattr(idempotency, "_digest", lambda *parts: usual(*parts[1:]) if len(parts) == 3 else usual(*parts))
    callers = "callers:\n" + "".join(
        f"  - {{name: {name}, key_sha256: {hash_key('caller-key-' + name)}, scopes: ['opportunities:write']}}\n"
        for name in ("one", "two")
    )
    with StandIn(raze) as provider, running_gateway(config(provider.url, tmp_path, callers), tmp_path) as url:
        create(url, "k", X_API_Key="caller-key-one")
        create(url, "k", X_API_Key="caller-key-two")
    assert raze.posts == 1  # the second caller's create vanished into the first one's


def test_a7_keys_that_are_passed_over_let_the_create_through(
    gateway: str, raze: Raze, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "idempotency_key", lambda headers: None)
    create(gateway, '""')
    assert raze.posts == 1  # what the row forbids


def test_a10_a_claim_that_is_believed_without_the_store_is_sent(
    gateway: str, raze: Raze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def believing(self: Any, key: str, transition: Any, connection: str) -> Any:
        return transition(None, time.time())[1] if transition.__name__ == "take" else True

    monkeypatch.setattr(idempotency.Idempotency, "_changed", believing)
    with sqlite3.connect(tmp_path / "state.db", isolation_level=None) as held:
        held.execute("BEGIN EXCLUSIVE")
        create(gateway, "k")
        held.execute("ROLLBACK")
    assert raze.posts == 1  # without a durable claim
