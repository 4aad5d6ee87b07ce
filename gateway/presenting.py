"""What a connection can do and how it stands, for `/v1/connections` and the command line: derived, never declared twice."""

from datetime import UTC, datetime

from gateway.about import About
from gateway.config import Config
from gateway.failures import whole_seconds
from gateway.listing import FILTERS, SORTS, filter_mode, sort_mode
from gateway.opportunities import Opportunities
from gateway.state.claims import Claim
from gateway.strict_json import Json


def connection_info(opportunities: Opportunities, config: Config) -> dict[str, Json]:
    """One connection as callers see it: no address and no key."""
    adapter, connection = opportunities.adapter, opportunities.connection
    table = adapter.table
    operations = adapter.operations()
    budget = connection.config.budget
    circuit, seconds = connection.circuit
    left = connection.budget_left()
    sorts = [f"{sign}{name}" for name in SORTS for sign in ("", "-")]
    return {
        "name": opportunities.name,
        "provider": adapter.name,
        "title": adapter.title,
        "default": config.default_connection == opportunities.name,
        "sandbox": connection.is_sandbox,
        "dialect": adapter.dialect,
        "operations": list(operations),
        "fields": {
            "readable": list(table.readable()),
            "writable": {
                operation: list(_writable(opportunities, operation))
                for operation in ("create", "update")
                if operation in operations
            },
        },
        "filters": {name: filter_mode(adapter, name) for name in FILTERS},
        "sorts": {name: sort_mode(adapter, name) for name in sorts},
        "default_sort": adapter.default_sort,
        "limits": {
            "page": adapter.limits.page,
            "budget": None if budget is None else {"calls": budget.calls, "per_seconds": budget.per},
            "timeout_seconds": connection.timeout,
            "concurrency": config.limits.concurrency,
        },
        "idempotency": config.state != "off",
        "state": {
            "budget_left": None
            if left is None
            else {"limit": left.limit, "remaining": left.remaining, "reset": left.reset},
            "circuit": {"state": circuit, "retry_after": whole_seconds(seconds) if circuit == "open" else None},
            "drift": connection.drift.body(),
        },
    }


def outcome_body(claim: Claim) -> dict[str, Json]:
    """A write whose outcome is or was unknown, as operators see it: nothing of what was sent, and no key."""
    words: dict[str, Json] = {"done": "applied", "absent": "not_applied"}
    record = claim.record or About.record_in(claim.about) or None
    return {
        "id": claim.key,
        "connection": claim.connection,
        "caller": claim.caller or None,
        "operation": claim.operation,
        "keyed": not claim.keyless,
        "outcome": words.get(claim.word, "unknown"),
        "settled_by": claim.settled or None,
        "opportunity": None if record is None else f"{claim.connection}:{record}",
        "began_at": _instant(claim.began),
        "since": _instant(claim.since),
        "looks": claim.looks,
        "holder_gone": claim.finished,
    }


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _writable(opportunities: Opportunities, operation: str) -> tuple[str, ...]:
    """The canonical paths that an operation can write; `status` is written by way of the stage."""
    paths = opportunities.adapter.table.writable(opportunities.adapter.writes[operation])
    if "stage.id" not in paths:
        return paths
    place = paths.index("stage.id")
    return (*paths[:place], "status", "stage.id", "stage.name", *paths[place + 1 :])
