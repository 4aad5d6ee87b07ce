"""What handlers take from a request in the same manner: its ask, its connection, and the budget that its answer tells."""

import math
import time

from gateway.connections import Connection
from gateway.http import requests as read
from gateway.http.app import Context
from gateway.ids import is_native
from gateway.loop_time import loop_time
from gateway.opportunities import Ask, Opportunities


def ask_of(context: Context, connection: Connection, parameters: dict[str, str], *, urgent: bool = True) -> Ask:
    """What the request wants of a connection besides the record. Raises `Problem`."""
    said, timeout = context.said, connection.timeout
    if said.strict:
        context.tell["preference-applied"] = "handling=strict"
    return Ask(
        deadline=loop_time() + (timeout if said.is_default else read.timeout(context.headers, timeout)),
        strict=said.strict,
        explain=bool(parameters) and read.flag(parameters, "explain"),
        raw=bool(parameters) and read.flag(parameters, "raw"),
        caller=context.caller.name,
        urgent=urgent,
        request_id=context.request_id,
        waiting=context.waiting,
    )


def chosen_for(context: Context) -> Opportunities:
    """The connection of a request that names no record. Raises `Problem`."""
    opportunities = context.gateway.choose(context.caller, read.connection_wish(context.headers))
    context.connection = opportunities.name
    return opportunities


def route_of(context: Context) -> tuple[Opportunities, str]:
    """(the connection, the native id) of the record that the path names. Raises `Problem`."""
    header = None if context.said.is_default else read.connection_wish(context.headers)
    gateway = context.gateway
    prefix, colon, native = context.scope["raw_path"].rpartition(b"/")[2].decode("latin-1").partition(":")
    if colon and gateway.has(prefix) and is_native(native):  # as most are: nothing in it has to be looked at twice
        opportunities = gateway.choose(context.caller, header, prefix)
    else:
        opportunities, native = gateway.route(context.caller, header, read.raw_id(context.scope))
    context.connection = opportunities.name
    return opportunities, native


def tell_budget(context: Context, connection: Connection) -> None:
    """Tell in the answer what is left of the provider's limit, as three headers; each where it is known."""
    left = connection.budget_left()
    if left is None:
        return
    tell = context.tell
    if left.limit is not None:
        tell["ratelimit-limit"] = str(left.limit)
    if left.remaining is not None:
        tell["ratelimit-remaining"] = str(left.remaining)
    if left.reset is not None:
        tell["ratelimit-reset"] = str(max(0, math.ceil(left.reset - time.time())))
