"""`/openapi.json` is the routes that are served, closed, and fits every real answer; `/docs` is whole and local."""

import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no types of its own
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.callers import hash_key
from gateway.drafts import Draft, Patch, validated
from gateway.errors import CODES, Problem
from gateway.http import description, table
from gateway.http.openapi import EXAMPLES as MODEL_EXAMPLES
from gateway.http.openapi import codes_of, document
from gateway.http.routes import Route
from gateway.http.schemas import MODELS, FilterName, SortName
from gateway.listing import FILTERS, SORTS
from tests.live import EXAMPLES, MERGE_PATCH, Answer, Body, Says, StandIn, ask, port_of, raw_exchange, running_gateway

RAZE = "opp_abc123def456"
ROUTES = table.routes()
DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(ROUTES)))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
STATIC = description.STATIC
ROOT = Path(__file__).parent.parent


@functools.cache
def validator(pointer: str) -> Draft202012Validator:
    """A validator for the schema at a place of the document, its references included."""
    return Draft202012Validator(
        {"$ref": f"#{pointer}", "components": DOCUMENT["components"], "paths": DOCUMENT["paths"]}
    )


def complaints(pointer: str, value: Any) -> list[str]:
    """What is wrong with a value, by its place."""
    return [f"{error.json_path}: {error.message[:200]}" for error in validator(pointer).iter_errors(value)]


def of(model: str) -> str:
    return f"/components/schemas/{model}"


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """The node, or what it refers to."""
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for part in node["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def schema_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, schema) of every schema within the components, without examples."""

    def walk(node: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(node, list):
            for index, part in enumerate(node):
                yield from walk(part, f"{place}.{index}")
        elif isinstance(node, dict):
            yield place, node
            for name, part in node.get("properties", {}).items():
                yield from walk(part, f"{place}.{name}")
            for word in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
                yield from walk(node.get(word), f"{place}.{word}" if word != "items" else f"{place}[]")

    for name, schema in SCHEMAS.items():
        yield from walk(schema, name)


# --- the document ----------------------------------------------------------------------------------------------------


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_schema_is_valid_json_schema() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_the_document_holds_exactly_the_paths_and_methods_that_are_served() -> None:
    told = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert told == {(route.method, route.path) for route in ROUTES}
    assert len(told) == len(ROUTES)


def test_operation_ids_are_unique_and_tags_are_declared() -> None:
    operations = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    references = set(re.findall(r'"\$ref": "#/components/([^"]+)"', json.dumps(DOCUMENT)))
    for reference in references:
        kind, _, name = reference.partition("/")
        assert name in DOCUMENT["components"][kind], reference
    assert {f"schemas/{name}" for name in SCHEMAS} <= references
    assert {f"headers/{name}" for name in DOCUMENT["components"]["headers"]} <= references


OPEN = {
    "OpenApiDocument": "its form is OpenAPI's own",
    "Record": "a record in any dialect",
    "Translation.data": "a record in any dialect",
    "Opportunity.extensions": "what a provider holds beyond the canonical fields, keys and values untouched",
    "OpportunityMeta.raw": "a provider's record as it came",
    "WrittenMeta.raw": "a provider's record as it came",
    "PageMeta.raw[].anyOf.0": "a provider's record as it came",
}
"""The objects that may hold anything, and why."""
MAPS = {
    "OpportunityMeta.explain": "by canonical field", "WrittenMeta.explain": "by canonical field",
    "PageMeta.explain[].anyOf.0": "by canonical field", "PageMeta.filters": "by filter",
    "ConnectionInfo.filters": "by filter", "ConnectionInfo.sorts": "by sort",
}  # fmt: skip
"""The objects of any keys whose values have a closed schema."""


def test_every_object_is_closed_except_those_that_are_open_for_a_reason() -> None:
    found: dict[str, Any] = {
        place: node.get("additionalProperties", True)
        for place, node in schema_nodes()
        if node.get("type") == "object" and node.get("additionalProperties") is not False
    }
    assert {place for place, rest in found.items() if rest is True} == set(OPEN)
    assert {place for place, rest in found.items() if rest is not True} == set(MAPS)


def test_every_schema_and_every_member_says_what_it_is() -> None:
    silent = [name for name, schema in SCHEMAS.items() if not schema.get("description")]
    silent += [
        f"{place}.{name}"
        for place, node in schema_nodes()
        for name, member in node.get("properties", {}).items()
        if not member.get("description")
    ]
    assert silent == []


def test_every_operation_parameter_header_and_answer_says_what_it_is() -> None:
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            assert operation["summary"] and operation["description"], path
            assert all(parameter["description"] for parameter in operation["parameters"]), path
            assert all(response["description"] for response in operation["responses"].values()), path
    assert all(header["description"] for header in DOCUMENT["components"]["headers"].values())


def test_what_may_be_left_out_of_a_write_has_no_default_that_would_say_otherwise() -> None:
    assert [place for place, node in schema_nodes() if "default" in node] == []
    assert SCHEMAS["Draft"]["required"] == ["name"]
    assert "required" not in SCHEMAS["Patch"]


def test_the_words_of_the_schemas_are_those_of_the_code() -> None:
    assert get_args(FilterName) == FILTERS
    assert get_args(SortName) == tuple(f"{sign}{name}" for name in SORTS for sign in ("", "-"))
    assert SCHEMAS["Problem"]["properties"]["code"]["enum"] == [*CODES]


# --- problem codes ---------------------------------------------------------------------------------------------------

NOT_BUILT_YET: set[str] = set()
BEFORE_ROUTING = {"uri-too-long", "headers-too-large"}
"""Answered by the server before it is known which operation is meant, so told of each."""


def test_every_problem_code_can_come_from_an_operation_unless_it_is_not_built_yet() -> None:
    told = {code for route in ROUTES for code in codes_of(route)}
    assert told | NOT_BUILT_YET == set(CODES)
    assert not told & NOT_BUILT_YET
    assert all(set(codes_of(route)) >= BEFORE_ROUTING for route in ROUTES)


def test_every_code_stands_under_its_status_with_an_example() -> None:
    for route in ROUTES:
        responses = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
        for name in codes_of(route):
            problem = responses[str(CODES[name].status)]["content"]["application/problem+json"]
            assert name in problem["examples"], (route.name, name)
        assert set(responses) == {str(route.status), *(str(CODES[name].status) for name in codes_of(route))}


@pytest.mark.parametrize("code", CODES)
def test_the_example_of_a_problem_fits_its_schema(code: str) -> None:
    example = DOCUMENT["components"]["examples"][code]["value"]
    assert complaints(of("Problem"), example) == []
    assert example["code"] == code


# --- examples and inputs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.canonical.json")))
def test_a_canonical_example_fits_the_schema_of_an_opportunity(name: str) -> None:
    assert complaints(of("Opportunity"), json.loads((EXAMPLES / name).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("model", MODEL_EXAMPLES)
def test_the_example_of_a_model_fits_it(model: str) -> None:
    (example,) = SCHEMAS[model]["examples"]
    assert complaints(of(model), example) == []


@pytest.mark.parametrize("change", [
    {"surprise": 1}, {"status": "new"}, {"amount": {"value": 5.5}}, {"created_at": "2024-01-15T10:30:00+01:00"},
    {"id": None}, {"contacts": None}, {"stage": {"id": "a", "surprise": 1}}, {"expected_close": {"on": "tomorrow"}},
])  # fmt: skip
def test_the_schema_of_an_opportunity_refuses_what_is_none(change: dict[str, Any]) -> None:
    assert complaints(of("Opportunity"), {**MODEL_EXAMPLES["Opportunity"], **change})


INPUTS: list[dict[str, Any]] = [
    {}, {"name": ""}, {"name": None}, {"name": 1}, {"id": "x"}, {"status": "won"}, {"status": "open"}, {"status": None},
    {"stage": {}}, {"stage": None}, {"stage": {"id": "a"}}, {"stage": {"id": ""}}, {"stage": {"name": "A", "order": 1}},
    {"amount": None}, {"amount": {}}, {"amount": {"value": "5"}}, {"amount": {"value": 5, "currency": "BRL"}},
    {"amount": {"value": "1e3", "currency": "BRL"}}, {"amount": {"value": "five", "currency": "BRL"}},
    {"amount": {"value": None, "currency": "BRL"}}, {"amount": {"value": "01", "currency": "BRL"}},
    {"amount": {"value": "5", "currency": "brl"}}, {"amount": {"value": "5", "currency": None}},
    {"amount": {"value": True, "currency": "BRL"}}, {"company": None}, {"company": {}}, {"company": {"name": None}},
    {"owner": None}, {"owner": {}}, {"owner": {"id": None}}, {"owner": {"id": "u", "name": "n"}}, {"contacts": None},
    {"contacts": []}, {"contacts": [{}]}, {"contacts": [None]}, {"contacts": [{"emails": [{"address": None}]}]},
    {"contacts": [{"emails": ["a@b.c"]}]}, {"expected_close": {}}, {"expected_close": None},
    {"expected_close": {"on": "2024-01-15"}}, {"expected_close": {"at": "2024-01-15T10:30:00+02:00"}},
    {"expected_close": {"on": 20240115}}, {"description": None}, {"description": 5}, {"source": None},
]  # fmt: skip


@pytest.mark.parametrize("model", [Draft, Patch])
@pytest.mark.parametrize("written", INPUTS, ids=json.dumps)
def test_what_the_schema_of_a_write_says_of_a_body_is_what_the_gateway_says(
    model: type[Draft] | type[Patch], written: dict[str, Any]
) -> None:
    body = {"name": "Jane", **written} if model is Draft and written else written
    try:
        validated(model, body)
    except Problem as problem:
        assert problem.code == "invalid-opportunity"
        assert complaints(of(model.__name__), body), "the schema takes what is refused"
    else:
        assert complaints(of(model.__name__), body) == []


# --- real answers ----------------------------------------------------------------------------------------------------

KEYS = {"all": "caller-key-of-all", "nothing": "caller-key-of-nothing"}
TRANSPORT = {"date", "content-length", "content-type", "connection", "transfer-encoding"}
"""Headers that belong to HTTP or, as the content type, to another part of OpenAPI."""


class Rig:
    """A gateway between sandboxes and providers of our own, and what its answers have to fit."""

    def __init__(self, url: str, provider: StandIn) -> None:
        self.url = url
        self.provider = provider

    def fits(
        self, target: str, status: int, code: str = "", method: str = "GET", body: Body = None, **headers: str
    ) -> Answer:
        """Ask, and hold the answer against what the document says of this operation and status."""
        named = {"X-API-Key": KEYS["all"], **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None and "Content-Type" not in named:
            named["Content-Type"] = "application/json"
        answer = ask(f"{self.url}{target}", method, {name: value for name, value in named.items() if value}, body)
        assert answer.status == status, answer.body
        hold(answer, path_of(target), method, code)
        return answer


def path_of(target: str) -> str:
    """The documented path of a target."""
    bare = target.partition("?")[0]
    fitting = [path for path in DOCUMENT["paths"] if re.fullmatch(re.sub(r"\{[a-z]+\}", "[^/]+", path), bare)]
    return str(min(fitting, key=lambda path: "{" in path))


def hold(answer: Answer, path: str, method: str, code: str = "") -> None:
    """Status, media type, headers and body as the document has them; each operation tells of a method that is not there."""
    item = DOCUMENT["paths"][path]
    operation = item.get(method.lower()) or next(iter(item.values()))
    assert str(answer.status) in operation["responses"], f"{method} {path} does not tell of {answer.status}"
    response = operation["responses"][str(answer.status)]
    assert set(answer.headers) - TRANSPORT <= {name.lower() for name in response["headers"]}
    for name, header in response["headers"].items():
        value: Any = answer.headers.get(name.lower())
        header = resolved(header)
        if value is not None:
            value = int(value) if header["schema"].get("type") == "integer" else value
            assert Draft202012Validator(header["schema"]).is_valid(value), (name, value)
    if answer.status == 204:
        assert "content" not in response and answer.body == b""
        return
    media = answer.headers["content-type"].partition(";")[0]
    content = response["content"]
    told = media if media in content else "*/*"
    assert told in content, f"{method} {path} does not tell of {media}"
    if media.endswith("json"):
        value = json.loads(answer.body)
        assert complaints(content[told]["schema"]["$ref"].removeprefix("#"), value) == []
        if answer.status >= 400:
            assert value["code"] == (code or value["code"])
            assert value["code"] in content[told]["examples"], f"{method} {path} does not tell of {value['code']}"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with StandIn() as provider:
        config = f"""\
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: sandbox}}
  spott: {{provider: spott, base_url: sandbox}}
  own: {{provider: getraze, base_url: '{provider.url}', api_key: key-of-own, timeout: 5s}}
  quick: {{provider: getraze, base_url: '{provider.url}', api_key: key-of-quick, timeout: 200ms}}
  gone: {{provider: getraze, base_url: 'http://127.0.0.1:9', api_key: key-of-gone}}
callers:
  - name: all
    key_sha256: {hash_key(KEYS["all"])}
    scopes: ["opportunities:read", "opportunities:write", "opportunities:delete", operator]
  - {{name: nothing, key_sha256: {hash_key(KEYS["nothing"])}, scopes: [operator]}}
limits: {{body: 4KiB}}
"""
        with running_gateway(config, tmp_path_factory.mktemp("openapi")) as url:
            yield Rig(url, provider)


LIST = "/v1/opportunities"


@pytest.mark.parametrize("query", ["", "?explain=true", "?raw=true", "?explain=true&raw=true"])
@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_records_and_pages_fit_with_whatever_is_asked_beside_them(rig: Rig, connection: str, query: str) -> None:
    page = rig.fits(f"{LIST}{query}", 200, X_CRM_Connection=connection)
    assert page.data and ("explain" in page.meta) == ("explain" in query) and ("raw" in page.meta) == ("raw" in query)
    for opportunity in page.data[:3]:
        rig.fits(f"{LIST}/{opportunity['id']}{query}", 200)
    ids = f"{page.data[0]['id']},{connection}:nobody,a:b:c,nowhere:x"
    many = rig.fits(f"{LIST}?ids={ids}{query.replace('?', '&')}", 200)
    assert [one is None for one in many.data] == [False, True, True, True]
    assert many.meta["errors"]


@pytest.mark.parametrize("query", [
    "limit=1", "status=open", "owner=nobody", "q=e&limit=2", "modified_since=2020-01-01T00:00:00Z", "sort=-name",
    "sort=created_at", "source=linkedin&sort=amount",
])  # fmt: skip
@pytest.mark.parametrize("connection", ["raze", "spott"])
def test_filtered_and_sorted_pages_fit(rig: Rig, connection: str, query: str) -> None:
    mode = rig.fits("/v1/connections/" + connection, 200).data
    asked = dict(part.split("=") for part in query.split("&"))
    impossible = any(mode["filters"].get(name) == "none" for name in asked)
    impossible |= "sort" in asked and mode["sorts"][asked["sort"]] == "none"
    rig.fits(f"{LIST}?{query}", 400 if impossible else 200, X_CRM_Connection=connection)


def test_pages_with_unreadable_values_and_records_fit(rig: Rig) -> None:
    record = json.loads((EXAMPLES / "getraze-get.documented.json").read_text(encoding="utf-8"))["data"]
    listed = rig.fits(f"{LIST}?raw=true", 200).meta["raw"][0]
    sick = {**listed, "deal_value": "much", "created_at": "once", "surprise": {"a": [1]}}
    rig.provider.play([Says(200, {"success": True, "data": {**record, "deal_value": [], "surprise": 1}})])
    got = rig.fits(f"{LIST}/own:{RAZE}?explain=true&raw=true", 200)
    assert got.meta["issues"]
    rig.provider.play([Says(200, {"success": True, "data": {"opportunities": [sick, {"name": "no id"}, 5]}})])
    answer = rig.fits(f"{LIST}?explain=true&raw=true", 200, X_CRM_Connection="own")
    assert answer.meta["issues"] and len(answer.meta["errors"]) == 2


def test_writes_fit_from_create_to_delete(rig: Rig) -> None:
    draft = {
        "name": "Jane", "amount": {"value": "1.50", "currency": "BRL"}, "company": {"name": "Tech"}, "status": "won",
        "contacts": [{"title": "CTO", "department": "IT"}], "expected_close": {"on": "2030-01-15"},
    }  # fmt: skip
    made = rig.fits(f"{LIST}?explain=true&raw=true", 201, method="POST", body=json.dumps(draft))
    assert made.meta["not_applied"] and made.meta["read_back"] is True
    item = made.headers["location"]
    rig.fits(item, 200, method="PATCH", body='{"description": "Later"}', **MERGE_PATCH)
    rig.fits(f"{item}?explain=true&raw=true", 200, method="PATCH", body="{}")
    unheld = '{"expected_close": {"on": "2030-01-15"}, "contacts": [{"department": "IT"}]}'
    rig.fits(item, 422, "not-writable", "PATCH", unheld, Prefer="handling=strict")
    rig.fits(item, 204, method="DELETE")
    assert rig.fits(item, 404, "not-found", "DELETE").json["outcome"] == "not_applied"
    first = rig.fits(LIST, 200, X_CRM_Connection="spott").data[0]["id"]
    rig.fits(f"{LIST}/{first}?explain=true", 200, method="PATCH", body='{"name": "Changed", "source": "x"}')


def test_a_create_that_cannot_be_read_again_fits(rig: Rig) -> None:
    rig.provider.play([Says(201, {"success": True, "data": {"id": "opp_new", "name": "Jane"}}), Says(500)])
    made = rig.fits(LIST, 201, method="POST", body='{"name": "Jane"}', X_CRM_Connection="own")
    assert made.meta["read_back"] is False


def test_connections_translations_and_the_gateways_own_answers_fit(rig: Rig) -> None:
    assert len(rig.fits("/v1/connections", 200).data) == 5
    rig.fits("/v1/connections/nobody", 404, "not-found")
    record = json.loads((EXAMPLES / "getraze-get.documented.json").read_text(encoding="utf-8"))["data"]
    to = "/v1/translate?from=getraze&to="
    canonical = rig.fits(f"{to}canonical", 200, method="POST", body=json.dumps(record)).data
    assert not {"id", "connection"} & set(canonical)
    there = rig.fits(f"{to}spott", 200, method="POST", body=json.dumps({**record, "deal_value": []}))
    assert there.meta["issues"] and there.meta["not_applied"]
    rig.fits("/v1/translate?from=canonical&to=spott", 422, "invalid-opportunity", "POST", '{"surprise": 1}')
    for target in ("/healthz", "/readyz", "/openapi.json", "/problems/not-found"):
        rig.fits(target, 200, X_API_Key="")
    rig.fits("/problems/nobody", 404, "not-found")


PROBLEMS: list[tuple[str, str, int, str, dict[str, Any]]] = [
    ("GET", f"{LIST}?limit=101", 400, "invalid-request", {}),
    ("GET", f"{LIST}?cursor=x", 400, "invalid-request", {}),
    ("GET", f"{LIST}/a%20b", 400, "invalid-request", {}),
    ("GET", f"{LIST}/raze:x", 400, "invalid-request", {"X_CRM_Connection": "spott"}),
    ("POST", LIST, 400, "invalid-request", {"body": "{"}),
    ("POST", LIST, 400, "invalid-request", {"body": "{}", "Idempotency_Key": '""'}),
    ("POST", "/v1/translate?from=getraze", 400, "invalid-request", {"body": "{}"}),
    ("GET", "/healthz?a=b", 400, "invalid-request", {}),
    ("GET", "/docs?a=b", 400, "invalid-request", {}),
    ("GET", f"{LIST}/x", 401, "unauthenticated", {"X_API_Key": ""}),
    ("DELETE", f"{LIST}/x", 401, "unauthenticated", {"X_API_Key": "wrong"}),
    ("GET", "/v1/connections", 401, "unauthenticated", {"X_API_Key": ""}),
    ("GET", LIST, 403, "forbidden", {"X_API_Key": KEYS["nothing"]}),
    ("PATCH", f"{LIST}/x", 403, "forbidden", {"X_API_Key": KEYS["nothing"], "body": "{}"}),
    ("GET", f"{LIST}/raze:nobody", 404, "not-found", {}),
    ("GET", f"{LIST}/x", 404, "not-found", {"X_CRM_Connection": "nobody"}),
    ("PATCH", f"{LIST}/raze:nobody", 404, "not-found", {"body": '{"name": "a"}'}),
    ("POST", LIST, 405, "operation-not-supported", {"X_CRM_Connection": "spott", "body": '{"name": "a"}'}),
    ("DELETE", f"{LIST}/spott:x", 405, "operation-not-supported", {}),
    ("PUT", f"{LIST}/x", 405, "method-not-allowed", {"body": "{}"}),
    ("DELETE", "/healthz", 405, "method-not-allowed", {}),
    ("POST", LIST, 413, "too-large", {"body": " " * 5000}),
    ("PATCH", f"{LIST}/x", 413, "too-large", {"body": " " * 5000}),
    ("POST", "/v1/translate?from=getraze&to=spott", 413, "too-large", {"body": [b" " * 5000]}),
    ("GET", f"{LIST}?q={'a' * 17000}", 414, "uri-too-long", {}),
    ("POST", LIST, 415, "unsupported-media-type", {"body": "{}", "Content_Type": "text/plain"}),
    ("POST", LIST, 422, "invalid-opportunity", {"body": '{"surprise": 1}'}),
    ("PATCH", f"{LIST}/x", 422, "invalid-opportunity", {"body": "[]"}),
    ("GET", f"{LIST}?sort=name", 422, "not-native", {"Prefer": "handling=strict"}),
    ("GET", "/healthz", 431, "headers-too-large", {"X_Long": "a" * 60000}),
    ("GET", f"{LIST}/gone:x", 503, "provider-unavailable", {}),
    ("POST", LIST, 503, "provider-unavailable", {"X_CRM_Connection": "gone", "body": '{"name": "a"}'}),
    ("GET", "/docs/nobody.js", 404, "not-found", {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "status", "code", "more"), PROBLEMS)
def test_what_is_refused_is_refused_as_documented(
    rig: Rig, method: str, target: str, status: int, code: str, more: dict[str, Any]
) -> None:
    answer = rig.fits(target, status, code, method, more.get("body"),
                      **{name: value for name, value in more.items() if name != "body"})  # fmt: skip
    if status not in (414, 431):  # the server itself refuses before it knows of a write
        writes = next((one.writes for one in ROUTES if one.path == path_of(target) and one.method == method), False)
        assert ("outcome" in answer.json) == writes


REPLIES = {
    "provider-rejected": (422, Says(400, {"success": False, "error": "no"}, {"Retry-After": "3"})),
    "provider-auth-failed": (502, Says(401, {"error": "bad key"})),
    "rate-limited": (
        429,
        Says(429, {"error": "slow down"}, {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "0"}),
    ),
    "not-found": (404, Says(404, {"error": "none"}, {"Retry-After": "3"})),
    "provider-error": (502, Says(500, "<html>", {"Retry-After": "3"})),
    "provider-bad-answer": (502, Says(200, "{")),
    "provider-timeout": (504, Says(then="cut")),
}


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("code", REPLIES)
def test_what_a_provider_refuses_or_spoils_is_told_as_documented(rig: Rig, code: str, method: str) -> None:
    status, says = REPLIES[code]
    if (code, method) == ("provider-bad-answer", "DELETE"):
        says = Says(302, "", {"Location": "/"})
    rig.provider.play([says])
    body = '{"name": "a"}' if method == "PATCH" else None
    answer = rig.fits(f"{LIST}/own:{RAZE}", status, code, method, body, Prefer="handling=strict")
    assert answer.json["connection"] == "own"
    assert ("outcome" in answer.json) == (method != "GET")


def test_a_conflict_on_a_write_and_a_deadline_are_told_as_documented(rig: Rig) -> None:
    rig.provider.play([Says(409, {"error": "held"}, {"Retry-After": "3"})])
    rig.fits(LIST, 409, "conflict", "POST", '{"name": "a"}', X_CRM_Connection="own")
    rig.fits(f"{LIST}/own:x", 409, "conflict", "DELETE")
    rig.provider.play([Says(then="stall")])
    rig.fits(f"{LIST}/quick:{RAZE}", 504, "provider-timeout")
    assert rig.fits(f"{LIST}/quick:x", 504, "provider-timeout", "DELETE").json["outcome"] == "unknown"


def test_what_the_server_refuses_before_routing_is_a_problem_as_documented(rig: Rig) -> None:
    received = raw_exchange("127.0.0.1", port_of(rig.url), b"nonsense\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert complaints(of("Problem"), json.loads(body)) == []
    answer = ask(f"{rig.url}/nobody")
    assert answer.status == 404
    assert complaints(of("Problem"), answer.json) == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_documented_operation_is_served_and_every_get_takes_head(rig: Rig, route: Route) -> None:
    target = re.sub(r"\{[a-z]+\}", "raze", route.path)
    allow = ask(f"{rig.url}{target}", "TRACE", {"X-API-Key": KEYS["all"]}).headers["allow"].split(", ")
    assert route.method in allow
    assert ("HEAD" in allow) == ("GET" in allow)


def test_the_served_document_is_this_one(rig: Rig) -> None:
    assert json.loads(ask(f"{rig.url}/openapi.json").body) == DOCUMENT


def test_a_parameter_that_is_not_documented_is_refused_and_one_that_is_documented_is_known(rig: Rig) -> None:
    for route in ROUTES:
        if route.method != "GET":
            continue
        target = re.sub(r"\{[a-z]+\}", "raze", route.path)
        answer = ask(f"{rig.url}{target}?surprise=1", headers={"X-API-Key": KEYS["all"]})
        assert answer.status == 400, route.name
        message = next(error["message"] for error in answer.json["errors"] if error["field"] == "surprise")
        names = message.partition("parameters here are: ")[2].split(", ")
        assert sorted(names) == sorted([parameter.name for parameter in route.parameters] or ["none"])


# --- the page --------------------------------------------------------------------------------------------------------

OURS = {"docs.html", "docs.css", "docs.js", "VENDORED.md"}
NOT_SERVED = {"docs.html", "VENDORED.md", "LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"}
"""The page itself stands at /docs; the rest is for whoever reads the source."""


def vendored() -> dict[str, str]:
    """sha256 by file, as VENDORED.md has it."""
    text = (STATIC / "VENDORED.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| ([^ |]+) \| [^ |]+ \| ([0-9a-f]{64}) \|$", text, re.MULTILINE))


def test_every_file_of_others_is_the_one_that_was_vendored() -> None:
    assert vendored().keys() | OURS == {path.name for path in STATIC.iterdir()}
    for name, digest in vendored().items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest, name


def test_the_files_served_are_those_of_the_folder_but_the_page_and_the_papers() -> None:
    assert set(description.FILES) == {path.name for path in STATIC.iterdir()} - NOT_SERVED
    pattern = next(
        parameter["schema"]["pattern"] for parameter in DOCUMENT["paths"]["/docs/{file}"]["get"]["parameters"]
        if parameter["name"] == "file"
    )  # fmt: skip
    assert all(re.search(pattern, name) for name in description.FILES)


def test_the_page_refers_to_local_files_only_and_they_exist() -> None:
    page = (STATIC / description.PAGE).read_text(encoding="utf-8")
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    files = {f"docs/{name}" for name in description.FILES}
    assert set(references) - {"openapi.json"} == files
    assert "style=" not in page and not re.search(r"<script(?![^>]*\bsrc=)|\son[a-z]+=", page), "the policy forbids it"
    for name in ("docs.css", "docs.js"):
        text = (STATIC / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|url\(|@import|import\(", text), name
    assert 'url: "openapi.json"' in (STATIC / "docs.js").read_text(encoding="utf-8")


def test_the_styles_of_others_load_nothing_but_what_they_hold() -> None:
    text = (STATIC / "swagger-ui.css").read_text(encoding="utf-8")
    assert "@import" not in text
    assert all(url.strip("\"'").startswith(("data:", "#")) for url in re.findall(r"url\(\s*([^)]{0,20})", text))


@pytest.mark.parametrize("target", ["/docs", *(f"/docs/{name}" for name in description.FILES)])
def test_the_page_and_its_files_are_served_whole_under_a_strict_policy(rig: Rig, target: str) -> None:
    answer = rig.fits(target, 200, X_API_Key="")
    name = target.removeprefix("/docs").lstrip("/") or description.PAGE
    assert answer.body == (STATIC / name).read_bytes()
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "png": "image/png"}
    assert answer.headers["content-type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = {
        words[0]: set(words[1:])
        for words in (part.split() for part in answer.headers["content-security-policy"].split(";"))
    }
    assert (
        policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == {"'none'"}
    )
    assert policy["script-src"] == policy["connect-src"] == {"'self'"}
    assert set().union(*policy.values()) <= {"'none'", "'self'", "'unsafe-inline'", "data:"}, "another host is allowed"
    assert [name for name, sources in policy.items() if "'unsafe-inline'" in sources] == ["style-src"]


@pytest.mark.parametrize("name", sorted(NOT_SERVED | {"..%2fdescription.py", "%64ocs.js", "docs.js%00", ".."}))
def test_nothing_else_of_the_folder_is_served(rig: Rig, name: str) -> None:
    assert ask(f"{rig.url}/docs/{name}").status == 404


def test_the_wheel_holds_the_page() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    assert "gateway" in wheel["packages"]
    # Whatever lies in a package goes with it unless it is left out here or by .gitignore.
    assert not wheel.keys() & {"exclude", "only-include", "include"}
    ignored = ROOT / ".gitignore"
    patterns = ignored.read_text(encoding="utf-8").split() if ignored.exists() else []
    for path in (path for path in STATIC.rglob("*") if path.is_file()):
        assert path.is_relative_to(ROOT / "gateway")
        assert not [pattern for pattern in patterns if path.match(pattern.strip("/"))], path


def test_every_model_that_a_route_names_is_described() -> None:
    named = {name for route in ROUTES for name in (route.body, route.answer) if name}
    assert named | {"Problem"} == set(MODELS)
