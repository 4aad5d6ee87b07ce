"""GetRaze as its server really answers, the whole way: the stand-in is written from the provider's page alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.getraze.sandbox_served_seeds import PIPELINE_ID, STAGES, TWICE_KNOWN
from tests.live import Answer, Says, StandIn, ask, assert_problem, running_gateway

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = f"sandbox_dialect: served, pipeline_id: {PIPELINE_ID}, stage_id: {STAGES['new']}"
    config = f"""
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: sandbox, settings: {{{settings}}}}}
  told: {{provider: getraze, base_url: sandbox, settings: {{dialect: served, {settings}}}}}
  bare: {{provider: getraze, base_url: sandbox, settings: {{sandbox_dialect: served}}}}
  mapped: {{provider: getraze, base_url: sandbox, stages: {{{STAGES["new"]}: closed}}, settings: {{{settings}}}}}
"""
    with running_gateway(config, tmp_path_factory.mktemp("served")) as running:
        yield running


def send(url: str, method: str, path: str, body: Any = None, connection: str = "raze") -> Answer:
    headers = JSON | {"X-CRM-Connection": connection} if body is not None else {"X-CRM-Connection": connection}
    return ask(f"{url}/v1/{path}", method, headers, None if body is None else json.dumps(body).encode())


def listed(url: str, query: str = "limit=100", connection: str = "raze") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = send(url, "GET", f"opportunities?{query}{cursor}", connection=connection)
        assert answer.status == 200, answer.body
        found += answer.json["data"]
        if answer.json["page"]["next_cursor"] is None:
            return found
        cursor = f"&cursor={answer.json['page']['next_cursor']}"


def created(url: str, **draft: Any) -> dict[str, Any]:
    answer = send(url, "POST", "opportunities", {"name": "Jane Smith", **draft})
    assert answer.status == 201, answer.body
    data: dict[str, Any] = answer.json
    return data


def reasons(answer: dict[str, Any]) -> dict[str, str]:
    return {entry["field"]: entry["reason"] for entry in answer["meta"]["not_applied"]}


def test_the_dialect_is_learned_from_an_answer_and_shown(url: str) -> None:
    def dialect() -> Any:
        return send(url, "GET", "connections/bare").json["data"]["dialect"]

    before = dialect()
    send(url, "GET", "opportunities?limit=1", connection="bare")
    assert (before, dialect()) == (None, "getraze-served")


def test_a_list_goes_to_its_end_without_repeats(url: str) -> None:
    ids = [one["id"] for one in listed(url, "limit=7", "told")]
    assert len(ids) == len(set(ids)) == 61


def test_a_record_is_served_with_exact_money_instants_and_the_names_of_its_stage(url: str) -> None:
    first = listed(url, "limit=100")[0]
    whole = send(url, "GET", f"opportunities/{first['id']}").json["data"]
    assert whole["amount"] == first["amount"]
    assert whole["stage"]["name"] == first["stage"]["name"]  # get does not tell it; the list did
    assert whole["created_at"].endswith("Z")
    assert whole["status"] == first["status"]
    assert whole["complete"] and not first["complete"]


def test_an_id_that_cannot_be_one_is_not_found_also_by_the_first_request_of_a_connection(tmp_path: Path) -> None:
    """The server answers 500 to such an id, and until something is known of it nothing tells such an id."""
    first: dict[str, tuple[str, Any]] = {
        "read": ("GET", None), "update": ("PATCH", {"name": "x"}), "close": ("PATCH", {"status": "won"}),
        "delete": ("DELETE", None),
    }  # fmt: skip
    settings = "{provider: getraze, base_url: sandbox, settings: {sandbox_dialect: served}}"
    config = "default_connection: many\nconnections:\n" + "".join(
        f"  {name}: {settings}\n" for name in (*first, "many")
    )
    with running_gateway(config, tmp_path) as url:
        for name, (method, body) in first.items():
            problem = assert_problem(send(url, method, "opportunities/opp_1", body, name), 404, "not-found")
            assert problem.get("outcome") == (None if method == "GET" else "not_applied"), name
        told = send(url, "GET", "opportunities?ids=" + ",".join(f"opp_{n}" for n in range(2)), connection="many").json
        assert {error["problem"]["code"] for error in told["meta"]["errors"]} == {"not-found"}
        assert ask(f"{url}/v1/outcomes").data == []


def test_explain_tells_that_a_status_was_worked_out(url: str) -> None:
    found = {one["status"]: one["id"] for one in listed(url)}
    assert set(found) == {"won", "lost", "open"}
    for id_ in found.values():
        answer = send(url, "GET", f"opportunities/{id_}?explain=true").json
        assert answer["data"]["status_source"] == "inferred"
        assert answer["meta"]["explain"]["status"]["native"] is False


@pytest.mark.parametrize("status", ["won", "lost", "open"])
def test_a_filter_that_the_server_passes_over_is_done_here(url: str, status: str) -> None:
    answer = send(url, "GET", f"opportunities?status={status}&limit=5")
    assert {one["status"] for one in answer.json["data"]} == {status}
    assert answer.json["meta"]["filters"]["status"]["mode"] == "emulated"


def test_the_stage_map_comes_before_what_a_name_suggests(url: str) -> None:
    found = [one for one in listed(url, "limit=100", "mapped") if one["stage"]["id"] == STAGES["new"]]
    undecided = [one for one in found if one["won_at"] is None and one["lost_at"] is None]
    assert {(one["status"], one["status_source"]) for one in undecided} == {("closed", "stage_map")}


def test_an_id_that_cannot_exist_there_is_not_found(url: str) -> None:
    for id_ in ("opp_abc", "raze:1", "told:not-a-uuid"):
        assert (
            send(url, "GET", f"opportunities/{id_}", connection=id_.split(":")[0] if ":" in id_ else "raze").status
            == 404
        )


def test_a_create_without_pipeline_and_stage_is_refused_before_anything_is_sent(url: str) -> None:
    answer = send(url, "POST", "opportunities", {"name": "Stray"}, connection="bare")
    assert (answer.status, answer.json["code"], answer.json["outcome"]) == (422, "not-writable", "not_applied")
    assert "pipeline_id" in answer.json["detail"]
    assert (answer.json["origin"], answer.json.get("errors")) == ("gateway", None)
    told = ask(f"{url}/problems/not-writable").body.decode()
    assert "config.yaml" in told and "Without `errors`" in told


def test_a_create_says_that_the_deals_value_is_not_taken(url: str) -> None:
    answer = created(url, amount={"value": "75000", "currency": "EUR"}, stage={"id": STAGES["qualified"]})
    assert reasons(answer) == {"amount.value": "unsupported", "amount.currency": "unsupported"}
    assert answer["data"]["stage"]["id"] == STAGES["qualified"]


def test_a_create_with_a_known_e_mail_says_what_the_known_contact_kept(url: str) -> None:
    contact = {"title": "CTO of another company", "emails": [{"address": TWICE_KNOWN}]}
    answer = created(url, contacts=[contact], company={"name": "Another Company"})
    told = reasons(answer)
    assert told["company.name"] == "ignored"
    assert told["contacts[0].title"] == "ignored"
    assert answer["data"]["company"]["name"] != "Another Company"


def test_an_update_of_the_amount_alone_sends_nothing_and_says_so(url: str) -> None:
    id_ = created(url)["data"]["id"]
    answer = send(url, "PATCH", f"opportunities/{id_}", {"amount": {"value": "5"}})
    assert (answer.status, reasons(answer.json)) == (200, {"amount.value": "unsupported"})


def test_an_update_with_the_amount_beside_notes_loses_nothing_in_silence(url: str) -> None:
    id_ = created(url)["data"]["id"]
    answer = send(url, "PATCH", f"opportunities/{id_}", {"amount": {"value": "5"}, "description": "call"}).json
    assert (answer["meta"]["applied"], reasons(answer)) == (["description"], {"amount.value": "unsupported"})
    assert answer["data"]["description"] == "call"


def test_a_stage_is_moved_by_id_by_name_and_by_status(url: str) -> None:
    id_ = created(url)["data"]["id"]
    moved = send(url, "PATCH", f"opportunities/{id_}", {"stage": {"id": STAGES["proposal"]}}).json
    assert (moved["meta"]["applied"], moved["data"]["status"]) == (["stage"], "open")
    listed(url)
    named = send(url, "PATCH", f"opportunities/{id_}", {"stage": {"name": "qualified"}}).json
    assert named["data"]["stage"]["id"] == STAGES["qualified"]
    won = send(url, "PATCH", f"opportunities/{id_}", {"status": "won"}).json
    assert (won["data"]["status"], won["data"]["status_source"], won["meta"]["applied"]) == (
        "won",
        "inferred",
        ["status"],
    )


def test_a_record_is_deleted(url: str) -> None:
    id_ = created(url)["data"]["id"]
    assert send(url, "DELETE", f"opportunities/{id_}").status == 204
    assert send(url, "GET", f"opportunities/{id_}").status == 404


def test_a_documented_record_is_translated_into_the_served_dialect_and_back(url: str) -> None:
    record = {"id": "opp_1", "name": "John Doe", "status": "won", "company": "Acme", "deal_value": 1.5,
              "deal_currency": "BRL", "email": "j@example.com"}  # fmt: skip
    there = send(url, "POST", "translate?from=getraze&to=getraze-served", record).json
    assert (there["data"]["title"], there["data"]["value"], there["data"]["contact_email"]) == (
        "John Doe", "1.5", "j@example.com")  # fmt: skip
    back = send(url, "POST", "translate?from=getraze-served&to=canonical", there["data"]).json["data"]
    assert back["amount"] == {"value": "1.5", "currency": "BRL"}


def test_a_read_that_fails_before_the_dialect_is_known_is_no_write(tmp_path_factory: pytest.TempPathFactory) -> None:
    with StandIn([Says(500)]) as provider:
        config = f"connections:\n  raze: {{provider: getraze, base_url: '{provider.url}', api_key: some-key}}\n"
        with running_gateway(config, tmp_path_factory.mktemp("failing")) as url:
            for path in ("opportunities/opp_1", "opportunities?status=won"):
                answer = send(url, "GET", path)
                assert (answer.status, answer.json["code"]) == (502, "provider-error")
                assert "outcome" not in answer.json
            assert send(url, "POST", "opportunities", {"name": "x"}).json["outcome"] == "not_applied"
        assert not [seen for seen in provider.seen if seen.method == "POST"]
