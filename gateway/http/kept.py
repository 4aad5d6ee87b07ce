"""Reads by way of the cache: what is asked, whose answer it is, and the bytes that are kept and sent.

An answer is kept as the bytes of its body. Many answers are put together from such bytes (`ids=`), without being parsed and
written again: `spelled` and `taken_apart` are each other's inverse.
"""

from collections.abc import Awaitable, Callable

import msgspec

from gateway.cache import Cache, Served, record_version
from gateway.connections import Connection
from gateway.http.app import Context
from gateway.loop_time import loop_time
from gateway.metrics import CACHE
from gateway.opportunities import Ask, Opportunities
from gateway.strict_json import Json, dumps

IMPATIENCE = 0.05
"""Seconds by which a caller's time may be shorter than a call's, and he makes it for all who want to know the same."""

Fetch = Callable[[Ask], Awaitable[bytes]]
"""Asks the provider, and gives the bytes of an answer's body."""

_DATA, _META = b'{"data":', b',"meta":'
_ISSUES = _META + b'{"issues":['


class Question(msgspec.Struct):
    """What a read wants to know: the words that it is kept under, the version that it rests on, and how to ask for it."""

    key: str
    version: str
    fetch: Fetch


def one_record(opportunities: Opportunities, native: str, ask: Ask) -> Question:
    """What there is to know of one record."""

    async def fetch(ask: Ask) -> bytes:
        answer = opportunities.answer(await opportunities.read(native, ask), ask)
        return spelled(answer.data, answer.meta)

    key = f"{native} {'1' if ask.explain else '0'}{'1' if ask.raw else '0'}"
    return Question(key, record_version(opportunities.name, native), fetch)


def kept(
    context: Context, opportunities: Opportunities, ask: Ask, question: Question
) -> Served | Awaitable[Served]:  # fmt: skip
    """The answer from the cache, at once where it is kept and nobody has to be waited for to know that it is good; else
    from the provider, as the caller's `Cache-Control` wishes. Raises `Problem`. Whoever has it has to see that it is
    `counted`."""
    cache = context.gateway.cache
    wish = context.said.cache
    if cache is None or wish == "no-store":
        return _past(ask, question)
    owner = _owner(context, opportunities.connection)
    key = f"{owner} {question.key}"
    versions = cache.versions_at_once((question.version,))
    served = None if wish or versions is None else cache.kept(key, owner, versions)
    if served is None:
        # What is listed lags behind what is written; a record read by its id does not.
        lag = context.gateway.config.idempotency.lookup_lag if question.version.startswith("l:") else 0.0
        return _from(cache, opportunities, ask, question, key, owner, versions, wish == "no-cache", lag)
    return served


def counted(opportunities: Opportunities, served: Served) -> Served:
    """The same, as one more read that the cache answered or did not."""
    CACHE.of(opportunities.name, served.how).add()
    return served


async def _past(ask: Ask, question: Question) -> Served:
    return Served(await question.fetch(ask), "bypass")


def _from(
    cache: Cache, opportunities: Opportunities, ask: Ask, question: Question, key: str, owner: str,
    versions: tuple[int, ...] | None, fresh: bool, lag: float,
) -> Awaitable[Served]:  # fmt: skip
    timeout = opportunities.connection.timeout

    def fill() -> Awaitable[bytes]:
        # Not with the time of whoever happens to call for all, if that is short, or is by now.
        full = loop_time() + timeout
        return question.fetch(ask if ask.deadline >= full - IMPATIENCE else msgspec.structs.replace(ask, deadline=full))

    return cache.read(
        key, owner, (question.version,), ask.deadline, fill, versions=versions, fresh=fresh, lag=lag,
        patient=ask.deadline >= loop_time() + timeout - IMPATIENCE,
    )  # fmt: skip


def _owner(context: Context, connection: Connection) -> str:
    return f"{context.caller.name} {connection.name} {connection.reading}"


def spelled(data: Json, meta: dict[str, Json]) -> bytes:
    """The body of an answer about one record; `issues` is the first member of its `meta`."""
    return dumps({"data": data, "meta": meta})


def taken_apart(content: bytes) -> tuple[bytes, bytes]:
    """(the data, the meta) of a body that `spelled` made with no more than `issues` in its meta, as JSON.

    In JSON no string holds a bare quotation mark, and an issue has no members but strings: so the last place that looks
    like the beginning of such a meta is one.
    """
    at = content.rindex(_ISSUES)
    return content[len(_DATA) : at], content[at + len(_META) : -1]
