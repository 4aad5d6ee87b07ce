"""The routes, bound to their handlers. What stands here is what OpenAPI says, and nothing else is served."""

from gateway.callers import DELETE, OPERATOR, READ, WRITE
from gateway.http import counted, handlers, reads
from gateway.http.routes import Parameter, Route
from gateway.listing import SORTS
from gateway.outcomes import MOST
from gateway.statuses import STATUSES
from gateway.translating import dialect_names

_TEXT = {"type": "string", "minLength": 1}
_FLAG = {"type": "boolean", "default": False}
_EXPLAIN = Parameter("explain", "Tell in `meta.explain` where each field came from.", _FLAG)
_RAW = Parameter("raw", "Give the provider's record as it came in `meta.raw`.", _FLAG)

_PROVIDER = (
    "conflict", "provider-auth-failed", "provider-bad-answer", "provider-error", "provider-rejected", "provider-timeout",
    "provider-unavailable", "rate-limited",
)  # fmt: skip
_KEYED = ("idempotency-in-flight", "idempotency-mismatch", "state-store-unavailable")
_BODY = ("too-large", "unsupported-media-type", "request-timeout", "invalid-opportunity")


def _list_parameters() -> tuple[Parameter, ...]:
    sorts = [f"{sign}{name}" for name in SORTS for sign in ("", "-")]
    return (
        Parameter("limit", "Records a page.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 25}),
        Parameter("cursor", "`page.next_cursor` of the page before; with the same filters.", _TEXT),
        Parameter("status", "Only opportunities that stand so.", {"type": "string", "enum": list(STATUSES)}),
        Parameter("stage", "Only this stage, by id or exact name.", _TEXT),
        Parameter("owner", "Only this owner's, by id or exact name.", _TEXT),
        Parameter("source", "Only from this source.", _TEXT),
        Parameter("company", "Only this company's, by id or exact name.", _TEXT),
        Parameter("q", "Only where this text occurs, whatever the case.", _TEXT),
        Parameter(
            "modified_since", "Only what changed at or after this instant.", {"type": "string", "format": "date-time"}
        ),
        Parameter(
            "sort", "The order, `-` for descending; the provider's own without it.", {"type": "string", "enum": sorts}
        ),
        Parameter("ids", "Instead of a page: up to 100 ids, separated by commas.", _TEXT),
        _EXPLAIN,
        _RAW,
    )


def routes() -> tuple[Route, ...]:
    """Every route of the API."""
    from gateway.http import description  # it describes these very routes

    item = "/v1/opportunities/{id}"
    dialects = {"type": "string", "enum": list(dialect_names())}
    select = ("X-CRM-Connection", "X-Request-Timeout", "Cache-Control")
    writes = ("X-CRM-Connection", "X-Request-Timeout", "Prefer", "Idempotency-Key")
    return (
        Route("GET", item, "get_opportunity", "Read one opportunity", reads.get_opportunity, READ,
              (_EXPLAIN, _RAW), select, answer="OpportunityAnswer",
              problems=("not-found", "operation-not-supported", *_PROVIDER)),
        Route("GET", "/v1/opportunities", "list_opportunities", "List opportunities, or read many by id",
              reads.list_opportunities, READ, _list_parameters(), (*select, "Prefer"), answer="OpportunityPage",
              problems=("not-found", "not-native", "operation-not-supported", *_PROVIDER)),
        Route("POST", "/v1/opportunities", "create_opportunity", "Create an opportunity", handlers.create_opportunity,
              WRITE, (_EXPLAIN, _RAW), writes, "Draft", 201, "WrittenOpportunity",
              problems=("not-found", "operation-not-supported", "not-writable", *_BODY, *_KEYED, *_PROVIDER)),
        Route("PATCH", item, "update_opportunity", "Change an opportunity by a merge patch",
              handlers.update_opportunity, WRITE, (_EXPLAIN, _RAW), writes, "Patch", 200, "WrittenOpportunity",
              problems=("not-found", "operation-not-supported", "not-writable", *_BODY, *_KEYED, *_PROVIDER)),
        Route("DELETE", item, "delete_opportunity", "Delete an opportunity", handlers.delete_opportunity, DELETE,
              (), writes[:2], None, 204, None,
              problems=("not-found", "operation-not-supported", "state-store-unavailable", *_PROVIDER)),
        Route("GET", "/v1/outcomes", "list_outcomes", "Writes whose outcome is or was unknown", handlers.list_outcomes,
              OPERATOR, (Parameter("limit", "Writes a page.",
                                   {"type": "integer", "minimum": 1, "maximum": MOST, "default": MOST}),
                         Parameter("cursor", "`page.next_cursor` of the page before.", _TEXT)),
              answer="OutcomeList", problems=("state-store-unavailable",)),
        Route("GET", "/v1/connections", "list_connections", "What each connection can do", handlers.list_connections,
              "", answer="ConnectionList"),
        Route("GET", "/v1/connections/{name}", "get_connection", "What one connection can do",
              handlers.get_connection, "", answer="ConnectionAnswer", problems=("not-found",)),
        Route("POST", "/v1/translate", "translate_record", "A bare record in another dialect; no provider is called",
              handlers.translate_record, READ,
              (Parameter("from", "The dialect of the body.", dialects, True),
               Parameter("to", "The dialect of the answer.", dialects, True)),
              (), "Record", 200, "Translation", problems=_BODY),
        Route("GET", "/healthz", "healthz", "Alive", handlers.healthz, answer="Health"),
        Route("GET", "/readyz", "readyz", "Ready to serve", handlers.readyz, answer="Health",
              problems=("state-store-unavailable",)),
        Route("GET", "/metrics", "metrics", "What is counted, as Prometheus reads it", counted.metrics,
              media="text/plain"),
        Route("GET", "/problems/{code}", "problem_page", "What a problem code means and what to do",
              handlers.problem_page, media="text/html", problems=("not-found",)),
        *description.routes(),
    )  # fmt: skip
