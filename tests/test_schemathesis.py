"""schemathesis over the gateway as it runs: three seeds, all checks, no failure. `python -m tests.fuzz` runs for longer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.http import handlers, serving, table
from tests.fuzz import CONFIG, Found, excused, fuzz
from tests.live import running_gateway

CHECKS = {
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "positive_data_acceptance", "missing_required_header",
    "unsupported_method", "allow_header_conformance", "use_after_free", "ensure_resource_availability", "ignored_auth",
}  # fmt: skip
"""What has to have been looked at for a run to mean something."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_gateway(CONFIG, tmp_path_factory.mktemp("fuzz")) as url:
        yield url


def ran(found: Found, at_least: int) -> None:
    assert found.failures == [], "\n".join(found.failures)
    assert found.requests >= at_least


def test_no_check_fails_at_the_edges_of_what_is_described(url: str) -> None:
    found = fuzz(url, 1, 2, ("examples", "coverage"))
    ran(found, 500)
    assert {200, 201, 204, 400, 401, 404, 405, 415, 422} <= set(found.statuses)
    assert found.checks.keys() >= CHECKS - {"use_after_free", "ensure_resource_availability"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_check_fails_on_generated_requests_and_on_chains_of_them(url: str, seed: int) -> None:
    found = fuzz(url, seed, 6, ("fuzzing", "stateful"))
    ran(found, 40)


# --- a hole is found -------------------------------------------------------------------------------------------------


def test_an_operation_that_forgets_its_key_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_routes = tuple(
        replace(route, scope=None) if route.name == "list_connections" else route for route in table.routes()
    )
    monkeypatch.setattr(serving, "routes", lambda: open_routes)
    with running_gateway(CONFIG, tmp_path) as url:
        found = fuzz(url, 1, 3, ("fuzzing",), "list_connections")
    assert any("ignored_auth" in failure for failure in found.failures)


def test_an_answer_with_a_member_that_is_not_described_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(*_: object) -> tuple[list[dict[str, str]], None]:
        return [{"debug": "yes"}], None

    monkeypatch.setattr(handlers, "listed", listed)
    with running_gateway(CONFIG, tmp_path) as url:
        found = fuzz(url, 1, 3, ("fuzzing",), "list_outcomes")
    assert any("response_schema_conformance" in failure for failure in found.failures)


def test_a_failure_of_the_gateway_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listed(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(handlers, "listed", listed)
    with running_gateway(CONFIG, tmp_path) as url:
        found = fuzz(url, 1, 3, ("fuzzing",), "list_outcomes")
    assert any("not_a_server_error" in failure for failure in found.failures)


@pytest.mark.parametrize(("path", "problem", "sent", "may"), [
    ("/v1/opportunities", {"code": "provider-timeout"}, {"x-request-timeout"}, True),
    ("/v1/opportunities", {"code": "provider-timeout"}, set(), False),
    ("/v1/opportunities", {"code": "internal-error"}, {"x-request-timeout"}, False),
    ("/v1/opportunities", {"code": "invalid-request"}, set(), False),
    ("/v1/opportunities", {"code": "invalid-request", "errors": [
        {"field": "cursor", "message": "not together with `ids`"}, {"field": "limit", "message": "sent more than once"}]},
     set(), False),
    ("/v1/opportunities", {"code": "invalid-request", "errors": [
        {"field": "cursor", "message": "not together with `ids`"}]}, set(), True),
    ("/v1/opportunities", {"code": "invalid-opportunity", "errors": [{"field": "name", "message": "is required"}]}, set(),
     False),
])  # fmt: skip
def test_only_what_a_schema_cannot_tell_is_excused(path: str, problem: Any, sent: set[str], may: bool) -> None:
    assert excused(path, problem, sent) is may
