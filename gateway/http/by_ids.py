"""Records by their ids, of any connections, in one answer: each is kept, asked for and counted as if it were read alone."""

import asyncio
from dataclasses import dataclass

from gateway.cache import Served
from gateway.errors import FieldError, Problem
from gateway.http import requests as read
from gateway.http.app import Context, Reply
from gateway.http.asks import ask_of, chosen_for, tell_budget
from gateway.http.kept import counted, kept, one_record, taken_apart
from gateway.loop_time import deadline_in
from gateway.strict_json import Json, dumps, loads

MOST_IDS = 100
AT_ONCE = 16
"""Of the records that one request asks for, so many are read at a time: it shares the connection with others."""
_NO_ISSUES = b'{"issues":[]}'
_LEAST_FIRST = ("stale", "bypass", "miss", "hit")
"""What is told of several records is what the least of them would have to tell."""


@dataclass(slots=True)
class Found:
    """What came of one id: the record's bytes and what is told beside it, or why there is none."""

    data: bytes = b"null"
    meta: Json = None
    problem: Json = None


async def by_ids(context: Context, parameters: dict[str, str]) -> Reply:
    """Records by id, of any connections; one that fails is null in `data` and named in `meta.errors`."""
    header = read.connection_wish(context.headers)
    if header is not None:
        chosen_for(context)
    ids = _checked(context, parameters)
    plain = not (read.flag(parameters, "explain") or read.flag(parameters, "raw"))
    found: dict[str, Found] = {}
    asked: set[str] = set()
    """The connections that the ids are of."""
    hows: set[str] = set()
    """How their records were come by, and of those that were kept `ages`."""
    ages: list[float] = []
    gate = asyncio.Semaphore(AT_ONCE)
    began = deadline_in(0)

    async def one(id_: str) -> None:
        async with gate:
            found[id_] = await read_one(id_)

    async def read_one(id_: str) -> Found:
        try:
            opportunities, native = context.gateway.route(context.caller, header, id_)
        except Problem as problem:
            return Found(problem=problem.body(context.request_id))
        asked.add(opportunities.name)
        try:
            ask = ask_of(context, opportunities.connection, parameters, urgent=False)
            ask.deadline -= deadline_in(0) - began  # one deadline for all of them, also for those that had to wait
            question = one_record(opportunities, native, ask)
            coming = kept(context, opportunities, ask, question)
            served = counted(opportunities, coming if isinstance(coming, Served) else await coming)
        except Problem as problem:
            hows.add("bypass")
            return Found(problem=problem.body(context.request_id))
        hows.add(served.how)
        if served.how in ("hit", "stale"):
            ages.append(served.age)
        if served.absent is not None:
            return Found(problem=served.absent.body(context.request_id))
        return apart(served.content, plain)

    async with asyncio.TaskGroup() as group:
        for id_ in dict.fromkeys(ids):  # asked for twice is read once
            group.create_task(one(id_))
    context.tell["x-cache"] = next((how for how in _LEAST_FIRST if how in hows), "bypass")
    if ages:
        context.tell["age"] = str(int(max(ages)))
    if len(asked) == 1:  # of several none is the one that answered
        (context.connection,) = asked
    if context.connection is not None:
        tell_budget(context, context.gateway.on(context.connection).connection)
    return Reply(raw=together(ids, found, [name for name in ("explain", "raw") if read.flag(parameters, name)]))


def _checked(context: Context, parameters: dict[str, str]) -> list[str]:
    """The ids that are asked for. What is wrong with the request is told once, and not of each of its records."""
    beside = [name for name in parameters if name not in ("ids", "explain", "raw")]
    if beside:
        raise Problem("invalid-request", "`ids` takes no filters, limit, cursor or sort beside it.",
                      errors=[FieldError(name, "not together with `ids`") for name in beside])  # fmt: skip
    ids = parameters["ids"].split(",")
    if not parameters["ids"] or len(ids) > MOST_IDS:
        raise read.bad_parameter("ids", f"expected 1 to {MOST_IDS} ids, separated by commas")
    read.flag(parameters, "explain")
    read.flag(parameters, "raw")
    read.timeout(context.headers, 1.0)
    return ids


def apart(content: bytes, plain: bool) -> Found:
    """The parts of one record's answer; `plain`: nothing but issues was asked for beside it."""
    if not plain:
        answer = loads(content)
        return Found(dumps(answer["data"]), answer["meta"])
    data, meta = taken_apart(content)
    return Found(data, None if meta == _NO_ISSUES else loads(meta))


def together(ids: list[str], found: dict[str, Found], extra: list[str]) -> bytes:
    """The body of the answer about these ids; `extra` members of each record's meta stand in its own, in their order."""
    meta: dict[str, Json] = {"issues": [], "errors": []}
    for name in extra:
        meta[name] = [None if found[id_].meta is None else found[id_].meta.get(name) for id_ in ids]
    for index, id_ in enumerate(ids):
        one = found[id_]
        if one.problem is not None:
            meta["errors"].append({"index": index, "id": id_[:300], "problem": one.problem})
        elif one.meta is not None and one.meta["issues"]:
            opportunity = loads(one.data)["id"]
            meta["issues"] += [{"index": index, "id": opportunity, **issue} for issue in one.meta["issues"]]
    page = dumps({"next_cursor": None, "limit": len(ids)})
    data = b",".join([found[id_].data for id_ in ids])
    return b'{"data":[%b],"page":%b,"meta":%b}' % (data, page, dumps(meta))
