"""The API described in OpenAPI 3.1, made from what is served: the table of routes, the models and the table of problems.

Nothing is told twice. What a route, a model or a problem code does not say of itself, such as what a header means,
stands here once, by name.
"""

import inspect
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway import __version__, errors
from gateway.config import CONNECTION
from gateway.errors import CODES
from gateway.http.requests import BODY_TYPES, REQUEST_ID, TIMEOUT
from gateway.http.routes import Parameter, Route
from gateway.http.schemas import MODELS
from gateway.http.writes import BARE, STRING
from gateway.ids import NATIVE

LICENCE = "MIT"
PROBLEM = "application/problem+json"
EVERYWHERE = (
    "invalid-request", "method-not-allowed", "request-timeout", "uri-too-long", "headers-too-large", "internal-error",
    "overloaded",
)  # fmt: skip
"""The problems that any operation can be answered with."""

_ABOUT = """\
Sales opportunities of several CRMs in one form. An `id` is `<connection>:<native id>` and says by itself which CRM it \
belongs to; otherwise the header `X-CRM-Connection` chooses, else the gateway's default connection.

Every error is `application/problem+json` (RFC 9457); `code` is for programs, and `/problems/{code}` tells what to do. \
Every GET route takes HEAD, too. A key is asked for only where the operator has configured callers."""

_TAGS = {
    "/v1/opportunities": ("opportunities", "Read and write opportunities, whichever CRM holds them."),
    "/v1/connections": ("connections", "What each connection can do and how it stands."),
    "/v1/translate": ("translation", "Records from one dialect to another, without calling a provider."),
    "/": ("gateway", "The gateway itself: whether it serves, and what describes it. No key is asked for."),
}
"""The first that a path begins with is its tag."""


def _whole(pattern: str) -> str:
    return f"^{pattern.removesuffix(chr(92) + 'Z')}$"


_IN_PATH = {
    "id": Parameter("id", "The opportunity: `<connection>:<native id>`, or a bare native id on the connection chosen "
                    "otherwise.", {"type": "string", "pattern": f"^({CONNECTION.pattern}:)?{_whole(NATIVE.pattern)[1:]}"}),
    "name": Parameter("name", "The connection's name.", {"type": "string", "pattern": _whole(CONNECTION.pattern)}),
    "code": Parameter("code", "The problem's code.", {"type": "string", "enum": [*CODES]}),
    "file": Parameter("file", "A file that the page at `/docs` is made of.", {"type": "string", "pattern": "^[a-z.-]+$"}),
}  # fmt: skip
_TEXT = {"type": "string"}
_NUMBER = {"type": "integer", "minimum": 0}
_HEADERS_IN = {
    "X-Request-Id": Parameter("X-Request-Id", "An id for this request, repeated in the answer and in the log; without one, "
                              f"or with one of another form than `{_whole(REQUEST_ID.pattern)}`, it gets a new one.",
                              _TEXT),
    "X-CRM-Connection": Parameter("X-CRM-Connection", "Which connection, where the id does not say it. One that "
                                  "contradicts the id is refused.",
                                  {"type": "string", "pattern": _whole(CONNECTION.pattern)}),
    "X-Request-Timeout": Parameter("X-Request-Timeout", "Seconds that the request may take; never above the connection's "
                                   "own deadline. Above 0, without an exponent.",
                                   {**_TEXT, "pattern": _whole(TIMEOUT.pattern), "examples": ["2.5"]}),
    "Cache-Control": Parameter("Cache-Control", "`no-cache`: ask the provider, whatever is remembered.",
                               {**_TEXT, "examples": ["no-cache"]}),
    "Idempotency-Key": Parameter("Idempotency-Key", "A key of the caller's own making for this very request: sent again "
                                 "with the same key it is not done again, but answered as the first time. 1 to 255 "
                                 "printable ASCII characters, bare or as a string in quotes.",
                                 {**_TEXT, "pattern": f"{_whole(STRING.pattern)}|{_whole(BARE.pattern)}",
                                  "examples": ['"8e03978e-40d5-43dd-bc93-6894a57f9324"']}),
    "Prefer": Parameter("Prefer", "`handling=strict` (RFC 7240): refuse whatever the provider cannot do itself, before "
                        "anything is sent.", {**_TEXT, "examples": ["handling=strict"]}),
}  # fmt: skip
_HEADERS_OUT: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "X-Request-Id": ("The request's id.", _TEXT),
    "Cache-Control": ("`private, no-store`.", _TEXT),
    "X-Content-Type-Options": ("`nosniff`.", _TEXT),
    "Server-Timing": ("Milliseconds that the gateway and the provider took.", _TEXT),
    "X-CRM-Connection": ("The connection that answered.", _TEXT),
    "Age": ("Seconds since the provider gave this answer, where it was kept.", {"type": "integer", "minimum": 0}),
    "X-Cache": ("Where the record came from.", {"type": "string", "enum": ["hit", "miss", "stale", "bypass"]}),
    "RateLimit-Limit": ("The provider's rate limit: calls in a window, where that is known.", _NUMBER),
    "RateLimit-Remaining": ("Calls left in the present window, where that is known.", _NUMBER),
    "RateLimit-Reset": ("Seconds until the next window, where that is known.", _NUMBER),
    "Preference-Applied": ("`handling=strict` where it was asked for.", _TEXT),
    "Idempotency-Expires": ("Until when the Idempotency-Key and its answer are kept.", _TEXT),
    "Idempotent-Replayed": ("`true`: this is the answer that was given before, byte for byte.", _TEXT),
    "Location": ("Where the new record is.", {"type": "string", "format": "uri-reference"}),
    "Retry-After": ("Seconds to wait.", {"type": "integer", "minimum": 0}),
    "Allow": ("The methods that can be used.", _TEXT),
    "WWW-Authenticate": ("`Bearer`.", _TEXT),
    "Content-Security-Policy": ("What a browser may load for the page: nothing of any other host.", _TEXT),
    "Referrer-Policy": ("`no-referrer`.", _TEXT),
}
_BUDGET = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_ALWAYS = ("X-Request-Id", "Cache-Control", "X-Content-Type-Options", "Server-Timing")
_FROM_REPLIES = ("not-found", "conflict", "provider-rejected")
"""Problems that a provider's reply can stand behind, so that they hand on its `Retry-After` though no repeat may help."""

_OPPORTUNITY: Mapping[str, Any] = {
    "id": "sales:opp_abc123def456", "native_id": "opp_abc123def456", "connection": "sales", "provider": "some-crm",
    "complete": True, "name": "John Doe", "description": "Interested in enterprise plan",
    "status": "open", "status_source": "native",
    "stage": {"id": "qualified", "name": "qualified", "order": 2, "is_open": True},
    "pipeline": None, "amount": {"value": "50000.00", "currency": "BRL"}, "probability": None,
    "company": {"id": None, "name": "Acme Inc"},
    "owner": {"id": "usr_123", "name": "Sales Rep", "email": None, "avatar_url": None, "deactivated_at": None},
    "contacts": [{
        "id": None, "name": "John Doe", "first_name": None, "middle_name": None, "last_name": None,
        "second_last_name": None, "title": "CEO", "department": None,
        "company": {"id": None, "name": "Acme Inc", "logo_url": None},
        "emails": [{"address": "john@example.com", "purpose": None, "primary": True}],
        "phones": [{"number": "+5511999999999", "purpose": None, "primary": True}],
        "linkedin_url": "https://linkedin.com/in/johndoe", "avatar_url": None,
    }],
    "source": "linkedin", "campaign": {"id": "camp_xyz789", "name": "Q1 Outreach"}, "expected_close": None,
    "won_at": None, "lost_at": None, "next_task": None, "custom_fields": [],
    "created_at": "2024-01-15T10:30:00Z", "updated_at": "2024-01-20T14:00:00Z", "extensions": {},
}  # fmt: skip
EXAMPLES: Mapping[str, Any] = {
    "Opportunity": _OPPORTUNITY,
    "Draft": {"name": "John Doe", "company": {"name": "Acme Inc"}, "amount": {"value": "50000.00", "currency": "BRL"}},
    "Patch": {"description": "Wants an offer by Friday", "amount": {"value": "65000.00"}},
    "Record": {
        name: _OPPORTUNITY[name] for name in ("name", "description", "amount", "company", "owner", "created_at")
    },
}
"""One example a model. The record is a documented one as this API answers it, on a connection of no provider."""


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an API that serves `routes` and nothing else."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "crm-gateway",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": LICENCE, "identifier": LICENCE},
        },
        "servers": [{"url": "/", "description": "This gateway."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": {name: {"description": text, "schema": schema} for name, (text, schema) in _HEADERS_OUT.items()},
            "examples": {
                code.code: {
                    "summary": code.title,
                    "value": errors.Problem(code.code, code.meaning).body("4f1d9c0e6c3b"),
                }
                for code in CODES.values()
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": _KEY},
                "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": _KEY},
            },
        },
    }


_KEY = "A caller key, in one of the two headers. None is asked for where the operator has configured no callers."


class _Schema(GenerateJsonSchema):
    """JSON Schema without what would mislead: titles that repeat a member's name, defaults that stand for "left out"."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """With the description of what it can be besides null, which a member without words of its own then has."""
        made, inner = super().nullable_schema(schema), self.generate_inner(schema["schema"])
        return {"description": inner["description"], **made} if "description" in inner else made

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """With the words that its keys can be, where they are told."""
        made = super().dict_schema(schema)
        keys = self.generate_inner(schema["keys_schema"]) if "keys_schema" in schema else {}
        return {**made, "propertyNames": {"enum": keys["enum"]}} if "enum" in keys else made


def _schemas() -> dict[str, Any]:
    models = [(name, "validation", TypeAdapter(model)) for name, model in MODELS.items()]
    _, made = TypeAdapter.json_schemas(models, ref_template=_ref("{model}")["$ref"], schema_generator=_Schema)  # type: ignore[arg-type]  # "validation" is one of its words
    schemas: dict[str, Any] = made["$defs"]
    schemas["StageInput"]["minProperties"] = 1  # its validator asks for an id or a name, which pydantic cannot tell
    for name, example in EXAMPLES.items():
        schemas[name]["examples"] = [example]
    return schemas


def _ref(name: str, of: str = "schemas") -> dict[str, str]:
    return {"$ref": f"#/components/{of}/{name}"}


def _operation(route: Route) -> dict[str, Any]:
    tag = next(name for prefix, (name, _) in _TAGS.items() if route.path.startswith(prefix))
    told = [inspect.getdoc(route.handler) or route.summary]
    if route.scope:
        told.append(f"The caller key needs the scope `{route.scope}`.")
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": "\n\n".join(told),
        "tags": [tag],
        "parameters": _parameters(route),
        "responses": {str(route.status): _success(route), **_problems(route)},
    }
    if route.body is not None:
        content = {media: {"schema": _ref(route.body)} for media in BODY_TYPES[route.method]}
        operation["requestBody"] = {"required": True, "content": content}
    if route.scope is not None:
        scopes = [route.scope] if route.scope else []
        operation["security"] = [{"bearer": scopes}, {"api_key": scopes}]
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [_IN_PATH[part[1:-1]] for part in route.path.split("/") if part.startswith("{")]
    in_headers = [_HEADERS_IN[name] for name in (*route.headers, "X-Request-Id")]
    places = (("path", in_path), ("query", route.parameters), ("header", in_headers))
    return [
        {"name": one.name, "in": place, "description": one.description, "schema": one.schema}
        | ({"required": True} if one.required or place == "path" else {})
        for place, parameters in places
        for one in parameters
    ]


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: _ref(name, "headers") for name in names}


def _usual_headers(route: Route) -> list[str]:
    """The headers that any answer of the operation can have, also a problem."""
    names = [*_ALWAYS]
    if "X-CRM-Connection" in route.headers:
        names += ["X-CRM-Connection", *_BUDGET, "Preference-Applied"]
        names += ["X-Cache", "Age"] if route.method == "GET" else []
    if "Idempotency-Key" in route.headers:
        names += ["Idempotency-Expires", "Idempotent-Replayed"]
    return names


def _success(route: Route) -> dict[str, Any]:
    names = _usual_headers(route)
    names += ["Location"] if route.status == HTTPStatus.CREATED else []
    # What a browser shows or loads; a file of the docs page is of several types.
    names += ["Content-Security-Policy"] if route.media in ("text/html", "*/*") else []
    names += ["Referrer-Policy"] if route.path.startswith("/docs") else []
    model = MODELS.get(route.answer or "")
    what = HTTPStatus(route.status).phrase if model is None else inspect.getdoc(model)
    response: dict[str, Any] = {"description": what, "headers": _headers(names)}
    if route.answer is not None:
        response["content"] = {route.media: {"schema": _ref(route.answer)}}
    elif route.status != HTTPStatus.NO_CONTENT:
        response["content"] = {route.media: {"schema": _TEXT} if route.media.startswith("text/") else {}}
    return response


def codes_of(route: Route) -> list[str]:
    """Every problem code that the operation can be answered with."""
    keyed = () if route.scope is None else ("unauthenticated", "forbidden") if route.scope else ("unauthenticated",)
    bounded = () if route.scope is None else ("rate-limited", "overloaded")
    wanted = {*EVERYWHERE, *keyed, *bounded, *route.problems}
    return [code for code in CODES if code in wanted]


def _problems(route: Route) -> dict[str, Any]:
    by_status: dict[int, list[errors.Code]] = {}
    for name in codes_of(route):
        by_status.setdefault(CODES[name].status, []).append(CODES[name])
    return {str(status): _problem(status, by_status[status], route) for status in sorted(by_status)}


def _problem(status: int, codes: Sequence[errors.Code], route: Route) -> dict[str, Any]:
    names = _usual_headers(route)
    asks_provider = "X-CRM-Connection" in route.headers
    may_wait = any(code.retryable or (asks_provider and code.code in _FROM_REPLIES) for code in codes)
    names += ["Retry-After"] if may_wait else []
    names += {401: ["WWW-Authenticate"], 405: ["Allow"]}.get(status, [])
    examples = {code.code: _ref(code.code, "examples") for code in codes}
    return {
        "description": "\n".join(f"- `{code.code}`: {code.meaning}" for code in codes),
        "headers": _headers(names),
        "content": {PROBLEM: {"schema": _ref("Problem"), "examples": examples}},
    }
