"""Reading: one record, a page, or many records by their ids."""

import contextlib
from collections.abc import Awaitable
from typing import Any

from gateway.cache import Served, list_version
from gateway.codecs import exact_instant
from gateway.errors import FieldError, Problem
from gateway.http import requests as read
from gateway.http.app import Context, Reply
from gateway.http.asks import ask_of, chosen_for, route_of, tell_budget
from gateway.http.by_ids import by_ids
from gateway.http.kept import Question, counted, kept, one_record
from gateway.listing import FILTERS, SORTS, Lister, Wanted
from gateway.opportunities import Ask, Opportunities
from gateway.statuses import STATUSES
from gateway.strict_json import dumps

MOST_LISTED = 100
LIST_PARAMETERS = ("limit", "cursor", *FILTERS, "sort", "ids", "explain", "raw")


def get_opportunity(context: Context) -> Reply | Awaitable[Reply]:
    """One record."""
    opportunities, native = route_of(context)
    parameters = read.query(context.scope, ("explain", "raw")) if context.scope["query_string"] else {}
    ask = ask_of(context, opportunities.connection, parameters)
    return _answer(context, opportunities, ask, one_record(opportunities, native, ask))


def list_opportunities(context: Context) -> Reply | Awaitable[Reply]:
    """A page, or with `ids` the records of these ids in their order."""
    try:
        parameters = read.query(context.scope, LIST_PARAMETERS)
    except Problem:
        with contextlib.suppress(Problem):  # whatever is wrong with the query, whose it would have been is told
            chosen_for(context)
        raise
    if "ids" in parameters:
        return by_ids(context, parameters)
    opportunities = chosen_for(context)
    wanted = _wanted(parameters)
    ask = ask_of(context, opportunities.connection, parameters, urgent=False)

    async def fetch(ask: Ask) -> bytes:
        listing = await Lister(opportunities, wanted, ask).page()
        page = {"next_cursor": listing.next_cursor, "limit": listing.limit}
        return dumps({"data": listing.data, "page": page, "meta": listing.meta})

    key = f"list {ask.strict:d} {dumps(sorted(parameters.items())).decode()}"
    return _answer(context, opportunities, ask, Question(key, list_version(opportunities.name), fetch))


def _answer(
    context: Context, opportunities: Opportunities, ask: Ask, question: Question
) -> Reply | Awaitable[Reply]:  # fmt: skip
    """The answer at once where it is kept; else what has to be waited for."""
    coming: Any = kept(context, opportunities, ask, question)
    if type(coming) is Served:
        return _told(context, opportunities, coming)
    return _fetched(context, opportunities, coming)


async def _fetched(context: Context, opportunities: Opportunities, coming: Awaitable[Served]) -> Reply:
    context.tell["x-cache"] = "bypass"
    try:
        served = await coming
    except Problem:
        tell_budget(context, opportunities.connection)
        raise
    return _told(context, opportunities, served)


def _told(context: Context, opportunities: Opportunities, served: Served) -> Reply:
    """The answer, with how it was come by in its headers."""
    tell_budget(context, opportunities.connection)
    context.tell["x-cache"] = counted(opportunities, served).how
    if served.how in ("hit", "stale"):
        context.tell["age"] = str(int(served.age))
    if served.absent is not None:
        raise served.absent
    return Reply(raw=served.content)


def _wanted(parameters: dict[str, str]) -> Wanted:
    """The parameters of a page, checked; every fault is named at once."""
    limit, cursor, errors = read.paging(parameters, 25, MOST_LISTED)
    filters = {name: parameters[name] for name in FILTERS if name in parameters}
    errors += [
        FieldError(name, "expected a value; leave it out to ask for all") for name in filters if not filters[name]
    ]
    if filters.get("status") and filters["status"] not in STATUSES:
        errors.append(FieldError("status", f"expected one of {', '.join(STATUSES)}"))
    if filters.get("modified_since"):
        try:
            filters["modified_since"] = exact_instant(filters["modified_since"])
        except ValueError as error:
            errors.append(FieldError("modified_since", f"expected an instant such as 2024-01-15T10:30:00Z: {error}"))
    sort = parameters.get("sort")
    if sort is not None and sort.removeprefix("-") not in SORTS:
        errors.append(FieldError("sort", f"expected one of {', '.join(SORTS)}, with a leading - for descending"))
    if errors:
        raise read.bad_query(errors)
    return Wanted(limit, cursor, filters, sort)
