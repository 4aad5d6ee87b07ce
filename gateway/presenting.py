"""What a connection can do and how it stands, for `/v1/connections` and the command line: derived, never declared twice."""

from gateway.config import Config
from gateway.failures import whole_seconds
from gateway.listing import FILTERS, SORTS, filter_mode, sort_mode
from gateway.opportunities import Opportunities
from gateway.strict_json import Json


def connection_info(opportunities: Opportunities, config: Config) -> dict[str, Json]:
    """One connection as callers see it: no address and no key."""
    adapter, connection = opportunities.adapter, opportunities.connection
    table = adapter.table
    operations = adapter.operations()
    budget = connection.config.budget
    circuit, seconds = connection.circuit
    left = connection.budget_left
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
        "idempotency": False,
        "state": {
            "budget_left": None
            if left is None
            else {"limit": left.limit, "remaining": left.remaining, "reset": left.reset},
            "circuit": {"state": circuit, "retry_after": whole_seconds(seconds) if circuit == "open" else None},
            "drift": connection.drift.body(),
        },
    }


def _writable(opportunities: Opportunities, operation: str) -> tuple[str, ...]:
    """The canonical paths that an operation can write; `status` is written by way of the stage."""
    paths = opportunities.adapter.table.writable(opportunities.adapter.writes[operation])
    if "stage.id" not in paths:
        return paths
    place = paths.index("stage.id")
    return (*paths[:place], "status", "stage.id", "stage.name", *paths[place + 1 :])
