"""Checks of what an adapter makes of replies: it takes any, gives what it promises, and changes nothing."""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from msgspec.structs import replace

from gateway.adapter import Adapter, BudgetLeft, Call, Facts, ListQuery, Page, Rejection, Reply, Stage
from gateway.errors import CODES
from gateway.strict_json import Json
from gateway.target import RefusedCall, target_of
from gateway.testing.kit import Faults, Kit, in_each_dialect
from gateway.testing.mutations import HTML, JUNK, nodes, removed, replaced
from gateway.testing.replay import exact, spelled


def replies_of(kit: Kit) -> Iterator[tuple[str, Json]]:
    """(where from, body): junk of all kinds, and the exchanges' bodies with junk at each place down to the third level."""
    for value in (*JUNK, HTML, [HTML], {"error": HTML}):
        yield "junk", value
    seen: set[str] = set()
    for exchange, step in kit.steps():
        for pointer in nodes(step.reply.body):
            shape = f"{exchange.operation} {step.reply.status} {pointer}"
            if pointer.count("/") > 4 or shape in seen:
                continue
            seen.add(shape)
            yield f"{exchange.file} without {pointer}", removed(step.reply.body, pointer)
            for value in JUNK:
                yield f"{exchange.file} with {pointer} = {value!r}"[:160], replaced(step.reply.body, pointer, value)


def replies_never_make_it_fail(kit: Kit) -> Faults:
    """No method that takes a reply (`record`, `page`, `problem`, `denies` and their kind) fails over one or changes it."""
    adapter = kit.adapter
    for where, body in replies_of(kit):
        before = exact(body)
        for name, result in _results(kit, adapter, body):
            if isinstance(result, Exception):
                yield f"{name}: {where}: raised {type(result).__name__}: {result}"
            elif not _FITS[name](result):
                yield f"{name}: {where}: gave {result!r}"[:300]
        if exact(body) != before:
            yield f"{where}: the adapter has changed the reply's body"
    for reply in (Reply(502, {}, None, unreadable=True), *(Reply(200, headers) for headers in _headers(kit))):
        for name in ("problem", "budget_left"):
            result = _outcome(getattr(adapter, name), reply)
            if isinstance(result, Exception) or not _FITS[name](result):
                yield f"{name}: headers {dict(reply.headers)}: gave {result!r}"[:300]
    for exchange, step in kit.steps():
        if step.reply.status < 300 and not step.problem and _outcome(adapter.denies, step.reply) is not False:
            yield f"{exchange.file}: `denies` takes this success for a failure"


def _results(kit: Kit, adapter: Adapter, body: Json) -> Iterator[tuple[str, object]]:
    """(method, what it gives or raises) of each method that takes a reply."""
    position = next((step.page["next"] for _, step in kit.steps() if step.page and step.page.get("next")), None)
    yield "record", _outcome(adapter.record, body)
    if hasattr(type(adapter), "list"):
        for query in (ListQuery(1), ListQuery(adapter.limits.page, position)):
            yield "page", _outcome(adapter.page, body, query)
    if hasattr(adapter, "stages_of"):
        yield "stages_of", _outcome(adapter.stages_of, body)
    for name in ("problem", "code_for"):
        for status in (400, 200):  # 200: where `denies` says so
            yield name, _outcome(getattr(adapter, name), Reply(status, {}, body))
    yield "denies", _outcome(adapter.denies, Reply(200, {}, body))


def _outcome(method: Callable[..., object], *arguments: object) -> object:
    try:
        return method(*arguments)
    except Exception as error:
        return error


def _is_record(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _is_page(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, Page) and (value.next is None or (isinstance(value.next, str) and value.next != ""))


def _is_stages(value: object) -> bool:
    if not isinstance(value, list | tuple) or not all(
        isinstance(one, Stage) and isinstance(one.id, str) for one in value
    ):
        return False
    return all(_texts(one.name) and (one.order is None or type(one.order) is int) for one in value)


def _is_rejection(value: object) -> bool:
    if not isinstance(value, Rejection) or not _texts(value.code, value.message, value.request_id):
        return False
    waits = value.retry_after is None or (
        isinstance(value.retry_after, int | float) and 0 <= value.retry_after < 10**10
    )
    return waits and all(isinstance(name, str) and isinstance(what, str) for name, what in value.fields.items())


def _texts(*values: object) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


def _is_budget(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, BudgetLeft) or isinstance(value.limit, Decimal):
        return False
    whole = all(number is None or (type(number) is int and number >= 0) for number in (value.limit, value.remaining))
    return whole and (value.reset is None or isinstance(value.reset, int | float))


_FITS: Mapping[str, Callable[[object], bool]] = {
    "record": _is_record, "page": _is_page, "stages_of": _is_stages, "problem": _is_rejection, "budget_left": _is_budget,
    "code_for": lambda code: code is None or code in CODES, "denies": lambda told: type(told) is bool,
}  # fmt: skip
"""What each method may give."""


def _headers(kit: Kit) -> Iterator[Mapping[str, str]]:
    known = {name: value for _, step in kit.steps() for name, value in step.reply.headers.items()}
    names = (*known, "retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    yield {}
    yield known
    for value in ("", "-1", "abc", "1e400", "9" * 40, "\u0663", "1.5", "nan", "0", HTML):
        yield dict.fromkeys(names, value)
        for name in known:
            yield {**known, name: value}


@in_each_dialect
def the_budget_is_what_the_headers_tell(kit: Kit) -> Faults:
    """What is left of the rate limit is read from the headers, and its end is a Unix second."""
    for exchange, step in kit.steps():
        adapter, reply = kit.built_for(exchange), step.reply
        told = adapter.budget_left(reply)
        if told is None:
            continue
        others = [adapter.budget_left(replace(reply, headers=headers)) for headers in _counted_on(reply.headers)]
        if told.remaining is not None and not any(
            other is not None and other.remaining != told.remaining and other.limit == told.limit for other in others
        ):
            yield f"{exchange.file}: budget_left() tells {told.remaining} left, whatever number in the headers changes"
        if told.reset is None:
            continue
        if all(other is not None and other.reset == told.reset for other in others):
            yield f"{exchange.file}: budget_left() tells a reset at {told.reset}, whatever number in the headers changes"
        if not _UNIX[0] < told.reset < _UNIX[1]:
            yield f"{exchange.file}: budget_left() tells a reset at {told.reset}, which is no Unix second of this age"


_UNIX = 946_684_800, 7_258_118_400
"""From the year 2000 to 2200."""


def _counted_on(headers: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The headers with each number in them raised by one, one at a time."""
    for name, value in headers.items():
        for number in re.finditer(r"[0-9]{1,18}", value):
            yield {**headers, name: f"{value[: number.start()]}{int(number[0]) + 1}{value[number.end() :]}"}


@in_each_dialect
def learning_is_a_pure_function(kit: Kit) -> Faults:
    """`learn` never raises, changes nothing, and makes equal facts of equal replies; what it knows it does not unlearn."""
    calls = [
        *(step.call for _, step in kit.steps()),
        Call("list", "GET", "/kit"),
        Call("update", "PATCH", "/kit", body={}),
    ]
    bodies = [*(step.reply.body for _, step in kit.steps()), *JUNK, *({"data": junk} for junk in JUNK)]
    bodies += [replaced(body, pointer, junk) for body in bodies[:6] for pointer in nodes(body) for junk in JUNK[::3]]
    for place, body in enumerate(bodies):
        call, reply = calls[place % len(calls)], Reply(200, {}, body)
        before, facts = exact(body), repr(kit.adapter.facts)
        try:
            learned, again = kit.adapter.learn(call, reply), kit.adapter.learn(call, reply)
        except Exception as error:
            yield f"learn raises {type(error).__name__}: {error} for the reply {before[:120]}"
            continue
        if not isinstance(learned, Facts):
            yield f"learn gives {type(learned).__name__}, not Facts, for the reply {before[:120]}"
            continue
        if exact(body) != before or repr(kit.adapter.facts) != facts:
            yield f"learn changes what it is given: the reply {before[:120]}"
        if learned != again:
            yield f"learn makes other facts of the same reply the second time: {before[:120]}"
        if learned.dialect not in (None, *kit.adapter_class.dialect_names()):
            yield f"learn tells the dialect {learned.dialect!r}, which is none of `dialect_names()`"
        if len({stage.id for stage in learned.stages}) < len(learned.stages):
            yield f"learn keeps a stage twice, of the reply {before[:120]}"
        if kit.adapter.facts.dialect is not None and learned.dialect is None:
            yield f"learn forgets the dialect over the reply {before[:120]}"
    yield from _unlearned(kit)


def _unlearned(kit: Kit) -> Faults:
    """Stages that the exchanges teach and an answer that teaches none takes away again."""
    steps = [
        (exchange, step, kit.adapter.learn(step.call, step.reply)) for exchange, step in kit.steps() if not step.fails
    ]
    known = next((learned for *_, learned in steps if learned.stages), None)
    if known is None:
        return
    model = kit.adapter_class.Settings.model_validate(kit.settings)
    knowing = kit.adapter_class(model, kit.stages, known)
    for exchange, step, learned in steps:
        if not learned.stages and knowing.learn(step.call, step.reply).stages != known.stages:
            yield f"{exchange.file}: over this reply learn forgets the stages; what it teaches nothing of stays as it is"


def asking_ahead_is_a_read(kit: Kit) -> Faults:
    """`probe` asks without changing anything, asks alike each time, and asks no more once the dialect is known."""
    model = kit.adapter_class.Settings.model_validate(kit.settings)
    bare = kit.adapter_class(model, kit.stages)
    call, again = bare.probe(), bare.probe()
    if (call is None) != (again is None) or (
        call is not None and again is not None and spelled(call) != spelled(again)
    ):
        yield "probe makes another call each time"
    if call is not None:
        if not call.is_read:
            yield f"probe makes {spelled(call)}: what is asked ahead must change nothing"
        try:
            target_of("", call)
        except RefusedCall as error:
            yield f"probe makes {spelled(call)}, which cannot be sent: {error}"
    elif bare.dialect is None:
        yield "the dialect is not known and `probe` asks nothing: it would never be"


def every_dialect_can_be_spoken(kit: Kit) -> Faults:
    """An adapter built for one of `dialect_names()` speaks it, and none is named twice."""
    names = kit.adapter_class.dialect_names()
    if kit.adapter.names_in_lists and not kit.adapter.can("list"):
        yield "`names_in_lists`, but there is no list"
    if len(set(names)) < len(names) or not names:
        yield f"`dialects` are {names}: each once, and one at least"
    for name in names:
        spoken = kit.adapter_class.of_dialect(name).dialect
        if spoken != name:
            yield f"{name}: an adapter of this dialect says that it speaks {spoken!r}; `dialect` has to follow the facts"
        learned = kit.adapter_class(kit.adapter_class.Settings(), {}, Facts(dialect=name))
        if learned.probe() is not None and len(learned.facts.stages) == 0 and learned.dialect is None:
            yield f"{name}: once it is learned the dialect is still not known"
