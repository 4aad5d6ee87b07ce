"""Checks of the conversation: the calls are the provider's, lists end, and no reply makes the adapter fail."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy

from gateway.adapter import OPERATIONS, Adapter, Call, ListQuery, Reply
from gateway.errors import Problem
from gateway.ids import NATIVE
from gateway.listing import CALLS, Lister, Wanted
from gateway.strict_json import Json
from gateway.target import RefusedCall, content_of, target_of
from gateway.testing.exchanges import Exchange
from gateway.testing.kit import Faults, Kit, query_of
from gateway.testing.mutations import nodes, replaced
from gateway.testing.replay import Replay, ask, exact, run, spelled

ODD_ID = "Az09._~-" + "x" * 40
_SIZES = (1, 7)


def every_operation_has_an_exchange(kit: Kit) -> Faults:
    """What the adapter can do is shown to work at least once."""
    for operation in kit.adapter.operations():
        if not any(exchange.succeeds for exchange in kit.of(operation)):
            yield f"{operation}: no exchange shows it succeed; put one into the adapter's folder exchanges/"
    for exchange in kit.exchanges:
        if exchange.operation not in (*kit.adapter.operations(), "stages"):
            yield f"{exchange.file}: shows {exchange.operation}, which the adapter does not have"


def calls_are_as_told(kit: Kit) -> Faults:
    """Get, list, delete and stages ask exactly what their files show: method, path, query, body."""
    for exchange in kit.of("get", "list", "delete", "stages"):
        call = _call(kit.built_for(exchange), exchange)
        told = exchange.steps[0].call
        if spelled(call) != spelled(told):
            yield f"{exchange.file}: the adapter calls {spelled(call)}; the file says {spelled(told)}"
        if call.operation != exchange.operation:
            yield f"{exchange.file}: the Call's operation is {call.operation!r}, not {exchange.operation!r}"


def _call(adapter: Adapter, exchange: Exchange) -> Call:
    match exchange.operation:
        case "get":
            return adapter.get(exchange.input["native_id"])
        case "delete":
            return adapter.delete(exchange.input["native_id"])
        case "stages":
            return adapter.stages()
        case _:
            return adapter.list(query_of(adapter, exchange))


def made_calls(kit: Kit) -> Iterator[Call]:
    """A call of each kind that the adapter makes, with ids, positions, filters and bodies of all sorts."""
    adapter = kit.adapter
    operations = adapter.operations()
    position = next((step.page["next"] for _, step in kit.steps() if step.page and step.page.get("next")), None)
    bodies: dict[str, dict[str, Json]] = {call: {"kit": "text"} for calls in adapter.writes.values() for call in calls}
    for native_id in (kit.native_id, ODD_ID):
        if "get" in operations:
            yield adapter.get(native_id)
        if "update" in operations:
            yield from adapter.update(native_id, deepcopy(bodies))
        if "delete" in operations:
            yield adapter.delete(native_id)
    if "create" in operations:
        yield from adapter.create(deepcopy(bodies))
    if "list" in operations:
        yield adapter.list(ListQuery(adapter.limits.page))
        yield adapter.list(ListQuery(1, position, (("kit", "a&b=c/\u00e9"),), next(iter(adapter.sorts), None)))
    if hasattr(adapter, "stages"):
        yield adapter.stages()


def calls_can_be_sent(kit: Kit) -> Faults:
    """Every call is fit for the wire, names the record that it is about, and is made alike each time."""
    for call, again in zip(made_calls(kit), made_calls(kit), strict=True):
        try:
            target_of("", call)
            content_of(call)
        except RefusedCall as error:
            yield f"{call.operation}: {spelled(call)} cannot be sent: {error}"
        if spelled(call) != spelled(again):
            yield f"{call.operation}: the same input makes {spelled(call)} and then {spelled(again)}"
        if call.method == "GET" and call.body is not None:
            yield f"{call.operation}: a GET with a body"
    for operation in ("get", "update", "delete"):
        if operation in kit.adapter.operations():
            assert NATIVE.match(ODD_ID)
            calls = _about(kit.adapter, operation)
            if not all(ODD_ID in call.path or ODD_ID in exact([call.query, call.body]) for call in calls):
                yield f"{operation}: the id {ODD_ID} does not reach the provider as it is"


def _about(adapter: Adapter, operation: str) -> list[Call]:
    if operation == "get":
        return [adapter.get(ODD_ID)]
    if operation == "delete":
        return [adapter.delete(ODD_ID)]
    return list(adapter.update(ODD_ID, {call: {"kit": 1} for call in adapter.writes["update"]}))


def reads_are_gets_and_writes_are_not(kit: Kit) -> Faults:
    """A write made by GET would be sent twice; get, list and stages must be safe to repeat, a create never is."""
    for call in made_calls(kit):
        if call.absolute and (call.method == "POST" or call.operation in kit.adapter.writes.get("create", ())):
            yield f"{call.operation}: it says `absolute=True` of a {call.method} that may make a second record"
        reading = call.operation in ("get", "list", "stages")
        if reading and call.method not in ("GET", "POST"):
            yield f"{call.operation}: {call.method} is no way to read"
        if not reading and call.is_read:
            yield f"{call.operation}: a write by GET may be sent twice"


def pages_ask_for_their_size(kit: Kit) -> Faults:
    """Size, position, filters and sort that are asked for are in the call, and no size is above the provider's limit."""
    if "list" not in kit.adapter.operations():
        return
    for size in (*_SIZES, kit.adapter.limits.page):
        call = kit.adapter.list(ListQuery(size))
        if str(size) not in [value for _, value in call.query] and str(size) not in exact(call.body):
            yield f"list: a page of {size} is asked for by {spelled(call)}, which does not say {size}"
    plain = spelled(kit.adapter.list(ListQuery(7)))
    for name in kit.adapter.filters:
        if spelled(kit.adapter.list(ListQuery(7, filters=((name, "kit"),)))) == plain:
            yield f"list: with one of `query.filters` the call is {plain} as without; `filters` has {name}"
    for sort in kit.adapter.sorts:
        if sort != kit.adapter.default_sort and spelled(kit.adapter.list(ListQuery(7, sort=sort))) == plain:
            yield f"list: with `query.sort` {sort} the call is {plain} as without; `sorts` has it"
    for exchange in kit.of("list"):
        adapter = kit.built_for(exchange)
        if exchange.input["size"] > adapter.limits.page:
            yield f"{exchange.file}: asks for {exchange.input['size']} records; `limits.page` is {adapter.limits.page}"
        page = adapter.page(exchange.steps[0].reply.body, query_of(adapter, exchange))
        if page is not None and page.next is not None:
            following = adapter.list(ListQuery(exchange.input["size"], page.next))
            if page.next not in [value for _, value in following.query] and page.next not in exact(following.body):
                yield f"{exchange.file}: the next page is at {page.next!r}, but {spelled(following)} does not say so"
    queries: list[ListQuery] = []
    replay = _watched(kit, queries, lambda query: Reply(404))
    with suppress(Problem):
        run(Lister(replay.opportunities(), Wanted(10_000), ask()).page())
    if any(query.size > kit.adapter.limits.page for query in queries):
        yield "list: a page above `limits.page` is asked for"


def lists_end(kit: Kit) -> Faults:
    """A page without records is the last, whatever it says; a list whose every page is the same one ends all the same."""
    for exchange in kit.of("list"):
        if not exchange.succeeds:
            continue
        adapter = kit.built_for(exchange)
        body = exchange.steps[0].reply.body
        query = query_of(adapter, exchange)
        page = adapter.page(body, query)
        if page is None:
            continue
        empty = _emptied(body, list(page.items))
        for told in (query, ListQuery(query.size, page.next or query.position, query.filters, query.sort)):
            ended = adapter.page(empty, told)
            if ended is not None and ended.next is not None:
                yield f"{exchange.file}: without records the page still leads on, to {ended.next!r}: it would never end"
        yield from _for_ever(kit, exchange.file, empty, most=2)
        yield from _for_ever(kit, exchange.file, body, most=CALLS)


def _emptied(body: Json, items: list[Json]) -> Json:
    """The body with its list of records empty; all else, such as a "more", as it was."""
    if body == items:
        return []
    for pointer in nodes(body):
        here: Json = body
        for token in pointer.split("/")[1:]:
            here = here[int(token)] if isinstance(here, list) else here[token.replace("~1", "/").replace("~0", "~")]
        if here == items and isinstance(here, list):
            return replaced(body, pointer, [])
    return body


def _for_ever(kit: Kit, file: str, body: Json, most: int) -> Faults:
    """A provider that answers every list call with this body: one page for the caller takes so many calls at most."""
    queries: list[ListQuery] = []
    replay = _watched(kit, queries, lambda query: Reply(200, {}, body))
    try:
        run(Lister(replay.opportunities(), Wanted(100), ask()).page())
    except Problem as problem:
        yield f"{file}: a list of such pages fails: {problem}"
    if len(queries) > most:
        yield f"{file}: a provider that always answers so is called {len(queries)} times for one page"


def _watched(kit: Kit, queries: list[ListQuery], answer: Callable[[ListQuery], Reply]) -> Replay:
    """A connection whose adapter notes the list queries that it is asked for."""
    adapter = kit.build()
    ask_for = adapter.list

    def noted(query: ListQuery) -> Call:
        queries.append(query)
        return ask_for(query)

    adapter.list = noted  # type: ignore[method-assign]  # only this instance, to look over its shoulder
    return Replay(adapter, kit.key, lambda call: answer(queries[-1]))


def filters_and_sorts_hold(kit: Kit) -> Faults:
    """A native filter gives a parameter or None for any text, and each declared sort changes the call."""
    adapter = kit.adapter
    for name, take in adapter.filters.items():
        for value in ("", " ", "won", "lost", "open", "2024-01-31T00:00:00Z", "2024-01-31", "\u00e9&=", "x" * 500):
            try:
                pair = take(value)
            except ValueError:
                if name == "modified_since":  # the gateway hands it instants only
                    continue
                raise
            if pair is not None and not (isinstance(pair, tuple) and [type(one) for one in pair] == [str, str]):
                yield f"filters: {name} makes {pair!r} of {value!r}; expected (parameter, value) or None"
    if "list" in adapter.operations():
        plain = spelled(adapter.list(ListQuery(7)))
        calls = {sort: spelled(adapter.list(ListQuery(7, sort=sort))) for sort in adapter.sorts}
        for sort, call in calls.items():
            if call == plain and sort != adapter.default_sort:
                yield f"sorts: {sort} is declared, but makes the same call as no sort"
        if len(set(calls.values())) < len(calls):
            yield "sorts: two of them make the same call"


def undeclared_operations_are_refused(kit: Kit) -> Faults:
    """What the adapter does not have is refused with operation-not-supported before anything is sent."""
    for operation in OPERATIONS:
        if operation in kit.adapter.operations():
            continue
        replay = kit.replay()
        try:
            replay.opportunities().need(operation)
            yield f"{operation}: the adapter does not have it, and it is not refused"
        except Problem as problem:
            if problem.code != "operation-not-supported":
                yield f"{operation}: it is refused with {problem.code}, not with operation-not-supported"
            if problem.outcome != (None if operation in ("get", "list") else "not_applied"):
                yield f"{operation}: its refusal says outcome {problem.outcome}"
        if replay.calls:
            yield f"{operation}: a call was made for it"


def operations_are_plain_functions(kit: Kit) -> Faults:
    """An adapter does no I/O: none of its methods is asynchronous, and the pairs of methods are whole."""
    adapter = kit.adapter_class
    for name, member in inspect.getmembers(adapter, callable):
        if inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member):
            yield f"{name}: it is asynchronous; an adapter only says what to call"
    if hasattr(adapter, "stages") != hasattr(adapter, "stages_of"):
        yield "`stages` and `stages_of` go together: one asks, the other reads the answer"


def an_adapter_keeps_nothing(kit: Kit) -> Faults:
    """Whatever is asked of it, the adapter's own attributes stay as they were built."""
    adapter = kit.build()
    before = {name: repr(value) for name, value in vars(adapter).items()}
    held = Kit(kit.adapter_class, kit.settings, kit.stages, kit.key)
    held.__dict__["adapter"] = adapter
    adapter.headers(kit.key)
    for _ in made_calls(held):
        pass
    for _, step in kit.steps():
        adapter.record(step.reply.body)
        adapter.problem(step.reply)
        adapter.budget_left(step.reply)
    after = {name: repr(value) for name, value in vars(adapter).items()}
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"it keeps something in `{name}`; one adapter serves many calls at once, so it must not remember any"
