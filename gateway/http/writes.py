"""How a write is answered: once under its Idempotency-Key, with its outcome told and, where it is unknown, remembered."""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.http.requests import Headers, bad_header
from gateway.idempotency import Guard, Kept, Write, kept
from gateway.opportunities import Answer, Ask, Opportunities
from gateway.strict_json import Json

if TYPE_CHECKING:
    from gateway.http.app import Context

HEADER = "idempotency-key"

STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"\Z')
BARE = re.compile(r"[!#-~](?:[ !#-~]{0,253}[!#-~])?\Z")
"""The two forms of a key, 1 to 255 characters without the quotes and what they need to be escaped."""


def idempotency_key(headers: Headers) -> str | None:
    """The key in `Idempotency-Key`: an RFC 8941 string, or the same characters bare. None without the header."""
    value = headers.one(HEADER)
    if value is None:
        return None
    quoted = STRING.match(value)
    if quoted is None and not BARE.match(value):
        raise bad_header(HEADER, 'expected 1 to 255 printable ASCII characters, bare or as a string ("…")')
    return value if quoted is None else re.sub(r"\\(.)", r"\1", quoted.group(1))


def key_of(context: "Context", operation: str) -> str | None:
    """The Idempotency-Key of this write; None when it comes without. Raises `Problem` when it cannot be honoured."""
    if operation == "delete":
        if context.headers.every(HEADER):
            raise bad_header(HEADER, "a delete takes none: repeated, it says `not-found`")
        return None
    key = idempotency_key(context.headers)
    if key is None and operation == "create" and context.gateway.config.idempotency.required:
        raise bad_header(HEADER, "required here; send a new one for each create, and the same one to repeat it")
    if key is not None and context.gateway.idempotency is None:
        raise bad_header(HEADER, "the gateway runs with `state: off` and cannot honour it; leave it out")
    return key


async def written(
    context: "Context",
    opportunities: Opportunities,
    operation: str,
    ask: Ask,
    work: Callable[[], Awaitable[Answer]],
    *,
    key: str | None,
    body: Json = None,
    native_id: str = "",
) -> Kept:
    """The answer to a write that `work` makes, or that was made before under the same key. Raises `Problem`."""
    idempotency, lease = context.gateway.idempotency, context.gateway.config.idempotency.lease
    write = Write(
        caller=context.caller.name, connection=opportunities.name, operation=operation,
        method=context.scope["method"], route=context.route.path.replace("{id}", native_id), body=body, key=key,
        lease=opportunities.connection.timeout + lease, native_id=native_id, deadline=ask.deadline,
    )  # fmt: skip
    guard = Guard(operation=operation, native_id=native_id, connection=opportunities.name,
                  explain=ask.explain, raw=ask.raw)  # fmt: skip
    ask.guard = guard

    async def run() -> Kept:
        return kept(operation, await work())

    if idempotency is None:
        return await run()
    if key is not None:
        course = await idempotency.run(write, guard, run)
        context.tell.update(course.headers())
        return course.kept
    return await idempotency.noted(write, guard, run)
