"""What each route does: read the request, ask the gateway, shape the answer."""

import asyncio
import html
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from gateway.cache import Served, list_version, record_version
from gateway.codecs import instant_string
from gateway.connections import Connection
from gateway.drafts import Draft, Patch, validated
from gateway.errors import CODES, FieldError, Problem
from gateway.http import requests as read
from gateway.http.app import Context, Reply
from gateway.http.writes import key_of, written
from gateway.listing import FILTERS, SORTS, Lister, Wanted
from gateway.opportunities import Answer, Ask, Opportunities, deadline_in
from gateway.outcomes import listed
from gateway.presenting import connection_info
from gateway.statuses import STATUSES
from gateway.strict_json import Json, dumps, loads
from gateway.translating import translate

Fetch = Callable[[Ask], Awaitable[dict[str, Json]]]
"""Asks the provider for what an answer is made of."""

MOST_IDS = 100
IDS_AT_ONCE = 16
"""Of the records that one request asks for, so many are read at a time: it shares the connection with others."""
MOST_LISTED = 100
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of a page that loads nothing, sends nothing and stands in no other page."""


def _ask(context: Context, connection: Connection, parameters: dict[str, str], *, urgent: bool = True) -> Ask:
    strict = read.wants_strict(context.headers)
    if strict:
        context.tell["preference-applied"] = "handling=strict"
    return Ask(
        deadline=deadline_in(read.timeout(context.headers, connection.timeout)),
        strict=strict,
        explain=read.flag(parameters, "explain"),
        raw=read.flag(parameters, "raw"),
        caller=context.caller.name,
        urgent=urgent,
        request_id=context.request_id,
        waiting=context.waiting,
    )


def _on(context: Context) -> tuple[Opportunities, str]:
    opportunities, native = context.gateway.route(
        context.caller, context.headers.one("x-crm-connection"), read.raw_id(context.scope)
    )
    context.connection = opportunities.name
    return opportunities, native


def _done(context: Context, opportunities: Opportunities) -> None:
    """Note for the answer's headers what is left of the provider's budget."""
    _tell_budget(context, opportunities.connection)


def _tell_budget(context: Context, connection: Connection) -> None:
    """The provider's limit as three headers; each where it is known."""
    left = connection.budget_left
    if left is None:
        return
    reset = None if left.reset is None else max(0, math.ceil(left.reset - time.time()))
    told = {"limit": left.limit, "remaining": left.remaining, "reset": reset}
    context.tell.update({f"ratelimit-{name}": str(value) for name, value in told.items() if value is not None})


async def get_opportunity(context: Context) -> Reply:
    """One record."""
    parameters = read.query(context.scope, ("explain", "raw"))
    opportunities, native = _on(context)
    ask = _ask(context, opportunities.connection, parameters)
    return await _answered(context, opportunities, ask, *_reading(opportunities, native, ask))


def _reading(opportunities: Opportunities, native: str, ask: Ask) -> tuple[str, str, Fetch]:
    """(what tells the answer for one record from all others, the version it rests on, how to fetch it)."""

    async def fetch(ask: Ask) -> dict[str, Json]:
        answer = await opportunities.get(native, ask)
        return {"data": answer.data, "meta": answer.meta}

    return f"{native} {ask.explain:d}{ask.raw:d}", record_version(opportunities.name, native), fetch


async def _kept(
    context: Context, opportunities: Opportunities, ask: Ask, key: str, version: str, fetch: Fetch
) -> Served:
    """The bytes of an answer from the cache, or of what `fetch` brings, as the caller's `Cache-Control` wishes."""
    cache, connection = context.gateway.cache, opportunities.connection
    wish = read.cache_wish(context.headers)
    if cache is None or wish == "no-store":
        return Served(dumps(await fetch(ask)), "bypass")

    async def fill() -> bytes:
        own = replace(ask, deadline=deadline_in(connection.timeout))  # not that of whoever happens to come first
        return dumps(await fetch(own))

    owner = f"{context.caller.name} {connection.name} {connection.reading}"
    # What is listed lags behind what is written; a record read by its id does not.
    lag = context.gateway.config.idempotency.lookup_lag if version.startswith("l:") else 0.0
    served = await cache.read(
        f"{owner} {key}", owner, (version,), ask.deadline, fill, fresh=wish == "no-cache", lag=lag
    )
    return served


async def _answered(
    context: Context, opportunities: Opportunities, ask: Ask, key: str, version: str, fetch: Fetch
) -> Reply:
    """The answer, with how it was come by in its headers."""
    context.tell["x-cache"] = "bypass"
    try:
        served = await _kept(context, opportunities, ask, key, version, fetch)
    finally:
        _done(context, opportunities)
    context.tell["x-cache"] = served.how
    if served.how in ("hit", "stale"):
        context.tell["age"] = str(int(served.age))
    if served.absent is not None:
        raise served.absent
    return Reply(raw=served.content)


LIST_PARAMETERS = ("limit", "cursor", *FILTERS, "sort", "ids", "explain", "raw")


async def list_opportunities(context: Context) -> Reply:
    """A page, or with `ids` the records of these ids in their order."""
    parameters = read.query(context.scope, LIST_PARAMETERS)
    if "ids" in parameters:
        return await _by_ids(context, parameters)
    wanted = _wanted(parameters)
    opportunities = context.gateway.choose(context.caller, context.headers.one("x-crm-connection"))
    context.connection = opportunities.name
    ask = _ask(context, opportunities.connection, parameters, urgent=False)

    async def fetch(ask: Ask) -> dict[str, Json]:
        listing = await Lister(opportunities, wanted, ask).page()
        page = {"next_cursor": listing.next_cursor, "limit": listing.limit}
        return {"data": listing.data, "page": page, "meta": listing.meta}

    key = f"list {ask.strict:d} {dumps(sorted(parameters.items())).decode()}"
    return await _answered(context, opportunities, ask, key, list_version(opportunities.name), fetch)


def _wanted(parameters: dict[str, str]) -> Wanted:
    """The parameters of a page, checked; every fault is named at once."""
    errors = []
    limit = parameters.get("limit", "25")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= MOST_LISTED):
        errors.append(FieldError("limit", f"expected a whole number from 1 to {MOST_LISTED}"))
        limit = "1"
    filters = {name: parameters[name] for name in FILTERS if name in parameters}
    errors += [
        FieldError(name, "expected a value; leave it out to ask for all") for name in filters if not filters[name]
    ]
    if filters.get("status") and filters["status"] not in STATUSES:
        errors.append(FieldError("status", f"expected one of {', '.join(STATUSES)}"))
    if filters.get("modified_since"):
        try:
            filters["modified_since"], _ = instant_string(filters["modified_since"], None)
        except ValueError as error:
            errors.append(FieldError("modified_since", f"expected an instant such as 2024-01-15T10:30:00Z: {error}"))
    sort = parameters.get("sort")
    if sort is not None and sort.removeprefix("-") not in SORTS:
        errors.append(FieldError("sort", f"expected one of {', '.join(SORTS)}, with a leading - for descending"))
    if parameters.get("cursor") == "":
        errors.append(FieldError("cursor", "expected a `page.next_cursor`; leave it out for the first page"))
    if errors:
        raise Problem("invalid-request", "The query has parameters that cannot be taken: see `errors`.", errors=errors)
    return Wanted(int(limit), parameters.get("cursor"), filters, sort)


async def _by_ids(context: Context, parameters: dict[str, str]) -> Reply:
    """Records by id, of any connections; one that fails is null in `data` and named in `meta.errors`."""
    beside = [name for name in parameters if name not in ("ids", "explain", "raw")]
    if beside:
        raise Problem("invalid-request", "`ids` takes no filters, limit, cursor or sort beside it.",
                      errors=[FieldError(name, "not together with `ids`") for name in beside])  # fmt: skip
    ids = parameters["ids"].split(",")
    if not parameters["ids"] or len(ids) > MOST_IDS:
        raise read.bad_parameter("ids", f"expected 1 to {MOST_IDS} ids, separated by commas")
    read.flag(parameters, "explain")
    read.flag(parameters, "raw")
    read.timeout(context.headers, 1.0)  # what is wrong with the request is not told of each of its records
    header = context.headers.one("x-crm-connection")
    if header is not None:
        context.connection = context.gateway.choose(context.caller, header).name
    told: dict[str, tuple[dict[str, Json] | None, dict[str, Json]]] = {}
    context.tell["x-cache"] = "hit"

    gate = asyncio.Semaphore(IDS_AT_ONCE)
    began = deadline_in(0)

    async def one(id_: str) -> None:
        async with gate:
            await read_one(id_)

    async def read_one(id_: str) -> None:
        try:
            opportunities, native = context.gateway.route(context.caller, header, id_)
            ask = _ask(context, opportunities.connection, parameters, urgent=False)
            ask.deadline -= deadline_in(0) - began  # one deadline for all of them, also for those that had to wait
            served = await _kept(context, opportunities, ask, *_reading(opportunities, native, ask))
            if served.how != "hit":
                context.tell["x-cache"] = served.how
            if served.absent is not None:
                raise served.absent
            answer = loads(served.content)
            told[id_] = (answer["data"], answer["meta"])
        except Problem as problem:
            told[id_] = (None, {"problem": problem.body(context.request_id)})

    async with asyncio.TaskGroup() as group:
        for id_ in dict.fromkeys(ids):  # asked for twice is read once
            group.create_task(one(id_))
    if context.connection is not None:
        _tell_budget(context, context.gateway.on(context.connection).connection)
    meta: dict[str, Json] = {"issues": [], "errors": []}
    for name in ("explain", "raw"):
        if read.flag(parameters, name):
            meta[name] = [told[id_][1].get(name) for id_ in ids]
    for index, id_ in enumerate(ids):
        data, beside_it = told[id_]
        if data is None:
            meta["errors"].append({"index": index, "id": id_[:300], "problem": beside_it["problem"]})
        else:
            meta["issues"] += [{"index": index, "id": data["id"], **issue} for issue in beside_it["issues"]]
    page = {"next_cursor": None, "limit": len(ids)}
    return Reply(body={"data": [told[id_][0] for id_ in ids], "page": page, "meta": meta})


async def create_opportunity(context: Context) -> Reply:
    """A new record: 201 with where it is. Under an Idempotency-Key it is made once, however often it is asked for."""
    parameters = read.query(context.scope, ("explain", "raw"))
    opportunities = context.gateway.choose(context.caller, context.headers.one("x-crm-connection"))
    context.connection = opportunities.name
    opportunities.need("create")
    key = key_of(context, "create")
    body = await read.json_body(context.scope, context.receive, context.headers, context.gateway.config.limits.body)
    draft = validated(Draft, body)
    ask = _ask(context, opportunities.connection, parameters)
    return await _written(context, opportunities, "create", ask, lambda: opportunities.create(draft, ask),
                          key=key, body=draft)  # fmt: skip


async def update_opportunity(context: Context) -> Reply:
    """The record after a merge patch. Under an Idempotency-Key a repeat gets the first answer again."""
    parameters = read.query(context.scope, ("explain", "raw"))
    opportunities, native = _on(context)
    opportunities.need("update")
    key = key_of(context, "update")
    body = await read.json_body(context.scope, context.receive, context.headers, context.gateway.config.limits.body)
    patch = validated(Patch, body)
    ask = _ask(context, opportunities.connection, parameters)
    return await _written(context, opportunities, "update", ask, lambda: opportunities.update(native, patch, ask),
                          key=key, body=patch, native_id=native)  # fmt: skip


async def delete_opportunity(context: Context) -> Reply:
    """Gone."""
    parameters = read.query(context.scope, ())
    opportunities, native = _on(context)
    key = key_of(context, "delete")
    ask = _ask(context, opportunities.connection, parameters)

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
        _done(context, opportunities)
    return Reply(kept.status, raw=kept.content, headers=dict(kept.headers))


async def list_outcomes(context: Context) -> Reply:
    """Writes whose outcome is unknown, and how those that were have been settled; latest first."""
    read.query(context.scope, ())
    return Reply(body={"data": await listed(context.gateway, context.caller), "meta": {}})


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
