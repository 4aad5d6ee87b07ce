"""Checks of errors and secrets: each reply becomes the right problem, and the credential is in none of them."""

from collections.abc import Iterator

from gateway.adapter import Adapter, Call, Reply
from gateway.errors import CODES, Problem
from gateway.failures import problem_of_denial, problem_of_reply
from gateway.pointer import leaves
from gateway.strict_json import Json, dumps
from gateway.testing.kit import Faults, Kit
from gateway.testing.mutations import HTML, JUNK, replaced
from gateway.testing.on_conversation import made_calls
from gateway.testing.replay import NAME, exact

_STANDARD = {
    401: "provider-auth-failed", 403: "provider-auth-failed", 404: "not-found", 408: "provider-timeout", 409: "conflict",
    410: "not-found", 412: "conflict", 429: "rate-limited",
}  # fmt: skip
_CALLS = (
    Call("get", "GET", "/1"), Call("list", "GET", "/"), Call("stages", "GET", "/stages"),
    Call("create", "POST", "/", body={}),
    Call("update", "PATCH", "/1", body={}), Call("delete", "DELETE", "/1"),
)  # fmt: skip


def _expected(status: int, operation: str) -> str:
    code = _STANDARD.get(status) or ("provider-error" if status >= 500 else "provider-rejected")
    return "provider-error" if code == "not-found" and operation in ("list", "create", "stages") else code


def _bodies(kit: Kit) -> Iterator[tuple[Json, bool]]:
    """(body, unreadable) of errors: none, junk, HTML, and all that the exchanges show."""
    yield None, False
    yield None, True
    yield from ((value, False) for value in (*JUNK, HTML))
    yield from ((step.reply.body, step.reply.unreadable) for _, step in kit.steps() if step.reply.status >= 400)


def every_status_has_its_code(kit: Kit) -> Faults:
    """Statuses 400 to 599 become the standard table's code, whatever the body; only `code_for` may say otherwise."""
    for body, unreadable in _bodies(kit):
        for status in range(400, 600):
            reply = Reply(status, {}, body, unreadable)
            for call in _CALLS:
                where = f"{call.operation} answered {status} {'no JSON' if unreadable else exact(body)[:80]}"
                try:
                    problem = problem_of_reply(kit.adapter, reply, call, NAME, kit.key)
                    own = kit.adapter.code_for(reply)
                except Exception as error:
                    yield f"{where}: raised {type(error).__name__}: {error}"
                    continue
                if own is None and problem.code != _expected(status, call.operation):
                    yield f"{where}: becomes {problem.code}, not {_expected(status, call.operation)}"
                elif own is not None and own not in CODES:
                    yield f"{where}: `code_for` says {own!r}, which is no code"
                elif own is not None and own == _expected(status, call.operation):
                    yield f"{where}: `code_for` repeats the standard table's {own}; return None"
                yield from _outcome(where, problem, status, call)


def _outcome(where: str, problem: Problem, status: int, call: Call) -> Faults:
    wanted = None if call.is_read else "unknown" if status >= 500 or status == 408 else "not_applied"
    if problem.outcome != wanted:
        yield f"{where}: outcome is {problem.outcome}, not {wanted}"
    if problem.retryable and problem.outcome == "unknown":
        yield f"{where}: it says retryable although the write may have been applied"


def problems_are_as_told(kit: Kit) -> Faults:
    """Each error reply of the exchanges becomes the problem that its file says."""
    for exchange, step in kit.steps():
        if not step.fails:
            continue
        if step.problem is None:
            yield f"{exchange.file}: its reply is an error; say under `problem` what a caller is told, at least its `code`"
            continue
        adapter = kit.built_for(exchange)
        if step.reply.status < 400 and not adapter.denies(step.reply):
            yield f"{exchange.file}: has a `problem`, but its reply is a success, and `denies` does not say otherwise"
            continue
        body = _problem(adapter, step.reply, step.call, kit.key).body()
        for name, value in step.problem.items():
            if exact(body.get(name)) != exact(value):
                yield f"{exchange.file}: the problem's {name} is {exact(body.get(name))}, the file says {exact(value)}"


def _problem(adapter: Adapter, reply: Reply, call: Call, key: str) -> Problem:
    """What a caller is told of an error reply, or of a success that denies itself."""
    told = problem_of_reply if reply.status >= 400 else problem_of_denial
    return told(adapter, reply, call, NAME, key)


def the_key_is_in_the_headers(kit: Kit) -> Faults:
    """`headers(key)` carries the credential, in names and values fit for HTTP."""
    from gateway.target import RefusedCall, checked_headers

    headers = kit.adapter.headers(kit.key)
    # The key itself, or a word made of it as HTTP Basic has it: another key makes other headers.
    if headers == kit.adapter.headers(f"{kit.key}-other"):
        yield "headers(key): no header carries the key"
    if any(kit.key in name for name in headers):
        yield "headers(key): the key is in a header's name"
    try:
        checked_headers(headers)
    except RefusedCall as error:
        yield f"headers(key): {error}"


def the_key_is_nowhere_else(kit: Kit) -> Faults:
    """No call, no representation and no problem holds the credential, even when the provider's error quotes it."""
    adapter = kit.adapter
    adapter.headers(kit.key)  # an adapter that keeps the key has it from now on
    for call in made_calls(kit):
        if kit.key in repr(call) or kit.key in exact([list(call.query), call.body]):
            yield f"{call.operation}: the key is in the call; only headers(key) may make something of it"
        for name, _ in call.query:
            if name.lower().replace("-", "_") in ("api_key", "apikey", "access_token", "token", "key", "hapikey"):
                yield f"{call.operation}: the query parameter {name!r} is for a credential, and addresses end up in logs"
    if kit.key in f"{adapter!r} {adapter} {vars(adapter)!r}":
        yield "the adapter's attributes or its repr show the key"
    for exchange, step in kit.steps():
        if not step.fails:
            continue
        for pointer, value in leaves(step.reply.body):
            if not isinstance(value, str):
                continue
            body = replaced(step.reply.body, pointer, f"the key {kit.key} is wrong")
            problem = _problem(adapter, Reply(step.reply.status, {}, body), step.call, kit.key)
            if kit.key in f"{problem} {problem!r}" or kit.key.encode() in dumps(problem.body()):
                yield f"{exchange.file}: the problem repeats the key that the provider quotes at {pointer}"
