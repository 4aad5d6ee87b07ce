"""What each route but the reading ones (`reads`) does: read the request, ask the gateway, shape the answer."""

import html
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.drafts import Draft, Patch, validated
from gateway.errors import CODES, FieldError, Problem
from gateway.http import requests as read
from gateway.http.app import Context, Reply
from gateway.http.asks import ask_of, chosen_for, route_of, tell_budget
from gateway.http.writes import key_of, written
from gateway.opportunities import Answer, Ask, Opportunities
from gateway.outcomes import MOST, listed
from gateway.presenting import connection_info
from gateway.strict_json import Json
from gateway.translating import translate

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of a page that loads nothing, sends nothing and stands in no other page."""


async def create_opportunity(context: Context) -> Reply:
    """A new record: 201 with where it is. Under an Idempotency-Key it is made once, however often it is asked for."""
    opportunities = chosen_for(context)
    parameters = read.query(context.scope, ("explain", "raw"))
    opportunities.need("create")
    key = key_of(context, "create")
    body = await read.json_body(context.scope, context.receive, context.headers, context.gateway.config.limits.body)
    draft = validated(Draft, body)
    ask = ask_of(context, opportunities.connection, parameters)
    return await _written(context, opportunities, "create", ask, lambda: opportunities.create(draft, ask),
                          key=key, body=draft)  # fmt: skip


async def update_opportunity(context: Context) -> Reply:
    """The record after a merge patch. Under an Idempotency-Key a repeat gets the first answer again."""
    opportunities, native = route_of(context)
    parameters = read.query(context.scope, ("explain", "raw"))
    opportunities.need("update")
    key = key_of(context, "update")
    body = await read.json_body(context.scope, context.receive, context.headers, context.gateway.config.limits.body)
    patch = validated(Patch, body)
    ask = ask_of(context, opportunities.connection, parameters)
    return await _written(context, opportunities, "update", ask, lambda: opportunities.update(native, patch, ask),
                          key=key, body=patch, native_id=native)  # fmt: skip


async def delete_opportunity(context: Context) -> Reply:
    """Gone."""
    opportunities, native = route_of(context)
    parameters = read.query(context.scope, ())
    key = key_of(context, "delete")
    ask = ask_of(context, opportunities.connection, parameters)

    async def delete() -> Answer:
        await opportunities.delete(native, ask)
        return Answer({})

    return await _written(context, opportunities, "delete", ask, delete, key=key, native_id=native)


async def _written(
    context: Context,
    opportunities: Opportunities,
    operation: str,
    ask: Ask,
    work: Callable[[], Awaitable[Answer]],
    *,
    key: str | None,
    body: Json = None,
    native_id: str = "",
) -> Reply:
    try:
        kept = await written(context, opportunities, operation, ask, work, key=key, body=body, native_id=native_id)
    finally:
        tell_budget(context, opportunities.connection)
    return Reply(kept.status, raw=kept.content, headers=dict(kept.headers))


async def list_outcomes(context: Context) -> Reply:
    """A page of writes whose outcome is unknown, and after them of those that were and have been settled; latest first."""
    parameters = read.query(context.scope, ("limit", "cursor"))
    limit, cursor, errors = read.paging(parameters, MOST, MOST)
    if errors:
        raise read.bad_query(errors)
    data, following = await listed(context.gateway, context.caller, limit, cursor)
    return Reply(body={"data": data, "page": {"next_cursor": following, "limit": limit}, "meta": {}})


async def list_connections(context: Context) -> Reply:
    """What each connection that the caller may use can do."""
    read.query(context.scope, ())
    names = context.gateway.visible(context.caller)
    return Reply(body={"data": [await _info(context, name) for name in names], "meta": {}})


async def get_connection(context: Context) -> Reply:
    """What one connection can do."""
    read.query(context.scope, ())
    name = context.scope["raw_path"].rsplit(b"/", 1)[1].decode("latin-1")
    if name not in context.gateway.visible(context.caller):
        raise Problem("not-found", "There is no such connection.")
    return Reply(body={"data": await _info(context, name), "meta": {}})


async def _info(context: Context, name: str) -> dict[str, Json]:
    opportunities = context.gateway.on(name)
    await opportunities.connection.look()
    return connection_info(opportunities, context.gateway.config)


async def translate_record(context: Context) -> Reply:
    """A bare record in another dialect; no provider is called."""
    parameters = read.query(context.scope, ("from", "to"))
    missing = [name for name in ("from", "to") if not parameters.get(name)]
    if missing:
        raise Problem("invalid-request", "Say from which dialect to which.",
                      errors=[FieldError(name, "required") for name in missing])  # fmt: skip
    body = await read.json_body(context.scope, context.receive, context.headers, context.gateway.config.limits.body)
    data, meta = translate(body, parameters["from"], parameters["to"])
    return Reply(body={"data": data, "meta": meta})


async def healthz(context: Context) -> Reply:
    """Alive."""
    read.query(context.scope, ())
    return Reply(body={"status": "ok"})


async def readyz(context: Context) -> Reply:
    """Ready to serve: the state store can be reached. No provider is called."""
    read.query(context.scope, ())
    await context.gateway.check_ready()
    return Reply(body={"status": "ready"})


async def problem_page(context: Context) -> Reply:
    """What a problem code means and what to do."""
    read.query(context.scope, ())
    name = context.scope["raw_path"].rsplit(b"/", 1)[1].decode("latin-1")
    code = CODES.get(name)
    if code is None:
        raise Problem("not-found", "There is no such problem code; see /docs.")
    told: dict[str, Any] = {
        "HTTP status": str(code.status), "Who must act": code.origin,
        "Worth repeating": "yes, after the time in `retry_after` where it is told" if code.retryable else "not as it is",
    }  # fmt: skip
    rows = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(value)}</dd>" for term, value in told.items())
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{code.code}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
        f"<body><main><h1>{html.escape(code.title)}</h1><p><code>{code.code}</code></p>"
        f"<h2>What it means</h2><p>{html.escape(code.meaning)}</p>"
        f"<h2>What to do</h2><p>{html.escape(code.advice)}</p><dl>{rows}</dl></main></body></html>\n"
    )
    headers = {"content-security-policy": _NOTHING}
    return Reply(raw=page.encode(), media="text/html; charset=utf-8", headers=headers)
