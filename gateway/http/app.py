"""The ASGI application: one request in, one answer out, and `application/problem+json` for everything that goes wrong.

The steps are the same for each request and stand in `App.answer`, in order: route, caller, scope, room, handler. Handlers
are in `handlers`, the table of routes that binds them is in `table`. What needs no waiting (an answer that is kept, a
refusal) is answered without any: no task, no turn of the event loop.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from gateway import metrics, spans, tracing
from gateway.callers import ANYONE, Caller, Callers
from gateway.config import Config
from gateway.errors import Problem
from gateway.gateway import Gateway
from gateway.http.leaving import has_left
from gateway.http.load import EACH_SLOT, Load
from gateway.http.observing import LEFT, Request
from gateway.http.requests import Headers, Said, caller_key, new_request_id, said
from gateway.http.routes import Route
from gateway.state.store import UnsafeStore
from gateway.strict_json import Json, dumps
from gateway.waiting import Waiting

log = logging.getLogger("gateway")

PROBLEM = "application/problem+json"
JSON = "application/json"


class Reply(msgspec.Struct):
    """What a handler answers: a body of bytes or of JSON, and headers beyond those that every answer has."""

    status: int = 200
    body: Json = None
    raw: bytes | None = None
    media: str = JSON
    headers: dict[str, str] = msgspec.field(default_factory=dict)

    def content(self) -> bytes:
        """The bytes to send."""
        if self.raw is not None:
            return self.raw
        return b"" if self.status == 204 else dumps(self.body)


class Context(msgspec.Struct, eq=False):
    """One request on its way through: what is known of it so far, and what its answer will tell besides the body."""

    gateway: Gateway
    scope: Scope
    receive: Receive
    headers: Headers
    said: Said
    request_id: str
    route: Route
    caller: Caller = ANYONE
    connection: str | None = None
    waiting: Waiting = msgspec.field(default_factory=Waiting)
    """The time in which a provider was waited for."""
    tell: dict[str, str] = msgspec.field(default_factory=dict)
    admitted: bool = False
    """Whether it counts as one of the caller's requests in flight."""

    def __repr__(self) -> str:
        return f"<Context {self.request_id}>"


class Answer(msgspec.Struct):
    """What is sent: `head` is the lines of the headers, with their ends and names in lower case; `values`, one after the
    other, are what stands in it that this module has not written itself.

    An answer to HEAD has the length of what it leaves out. `closes`: a header says that the connection is closed after it.
    """

    status: int
    head: str
    values: str
    body: bytes
    closes: bool = False

    def is_sound(self) -> bool:
        """Whether no header holds the end of a line, so that each line is one."""
        values = self.values
        return "\n" not in values and "\r" not in values and "\0" not in values

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI has them."""
        if not self.is_sound():
            raise ValueError("a header of ours holds the end of a line")
        told = [line.partition(": ") for line in self.head.split("\r\n")[:-1]]
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, _, value in told]


@dataclass(slots=True)
class _Use:
    """How many requests are under way on a gateway, and what to set when the last one of an old gateway has ended."""

    requests: int = 0
    over: asyncio.Event | None = None


class App:
    """The gateway as an ASGI application, over the routes of `table`. Owns the gateway: closes it when the server stops."""

    def __init__(self, gateway: Gateway, routes: tuple[Route, ...]) -> None:
        self.gateway = gateway
        self._use = _Use()
        self._retiring: set[asyncio.Task[None]] = set()
        """Gateways before, which end what is under way on them and then close."""
        self.routes = routes
        self._load = Load(*_bounds(gateway))
        self._fixed: dict[str, dict[str, Route]] = {}
        self._open: dict[str, dict[str, Route]] = {}
        """By the path without its last segment, which is open."""
        for route in routes:
            prefix, braced, _ = route.path.partition("{")
            known, path = (self._open, prefix.removesuffix("/")) if braced else (self._fixed, route.path)
            known.setdefault(path, {})[route.method] = route

    def drain(self) -> None:
        """Not ready any more; what comes is still answered."""
        self.gateway.draining = True

    async def exchange(self, config: Config, base_urls: dict[str, str]) -> asyncio.Task[None]:
        """New requests are answered by a gateway on this configuration, and held to its limits together with the others.

        The task ends when those under way on the old one and on those before have, and they are closed. The state store is
        handed over, with what it is still to be told: both use the same one. Raises what opening the new one does; then
        nothing has changed.
        """
        old, use = self.gateway, self._use
        new = Gateway(config, base_urls, old)
        await new.open()
        new.draining = old.draining
        self.gateway, self._use = new, _Use()
        self._load.bound(*_bounds(new))

        earlier = set(self._retiring)

        async def retire() -> None:
            if use.requests:
                use.over = asyncio.Event()
                await use.over.wait()
            await old.aclose(state=False)
            if earlier:
                await asyncio.wait(earlier)

        task = asyncio.create_task(retire(), name="retire a gateway")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            coming = self.answer(scope, receive)
            answer = coming if isinstance(coming, Answer) else await coming
            if answer is not None:
                start: Message = {
                    "type": "http.response.start", "status": answer.status, "headers": answer.headers(),
                }  # fmt: skip
                await send(start)
                await send({"type": "http.response.body", "body": answer.body})
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def start(self) -> None:
        """Open the gateway. Raises `UnsafeStore`."""
        await self.gateway.open()
        spans.start()
        metrics.WORKERS.of().add()

    async def aclose(self) -> None:
        """Close the gateway, and hand in what is traced."""
        try:  # the state last: those before have writes to tell it of, too
            await asyncio.gather(self.gateway.aclose(state=False), *self._retiring)
        finally:
            await self.gateway.close_state()
        if spans.tracer is not None:
            await asyncio.to_thread(spans.stop)
        metrics.WORKERS.of().drop()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except UnsafeStore as error:
                    log.error("%s", error)
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def answer(
        self, scope: Scope, receive: Receive, headers: Headers | None = None
    ) -> Answer | Awaitable[Answer | None]:  # fmt: skip
        """The answer to a request, if there is nothing to wait for; else what brings it, None if the caller has left.

        What has to be awaited has to be awaited: the request counts as being under way until then. `headers`: those of the
        scope, where they are known from a request before.
        """
        if headers is None:
            headers = Headers(scope["headers"])
        told = said(headers)
        request = Request(scope["method"], told.request_id or new_request_id(), told.trace)
        context: Context | None = None
        try:
            route = self._route(scope)
            context = Context(self.gateway, scope, receive, headers, told, request.id, route)
            self._admit(context)
            reply: Any = route.handler(context)
            if type(reply) is not Reply:  # not `isinstance`, which asks a Struct's own class first
                self._use.requests += 1
                return self._awaited(context, request, reply, self._use)
            reply.raw = reply.content()  # here, so that what cannot be written is a failure like any other
        except Exception as error:
            return self._failed(context, request, error)
        return self._answered(context, request, reply)

    async def _awaited(self, context: Context, request: Request, coming: Awaitable[Reply], use: _Use) -> Answer | None:
        tracing.current.set(context.said.trace)  # here, since the task of whoever waits may have served others before
        try:
            reply = await coming
            reply.raw = reply.content()
            return self._answered(context, request, reply, left=has_left(context.scope))
        except ClientDisconnect:
            self._left(context, request)
            return None
        except asyncio.CancelledError:
            self._left(context, request)
            raise
        except Exception as error:
            return self._failed(context, request, error, left=has_left(context.scope))
        finally:
            use.requests -= 1
            if use.over is not None and not use.requests:
                use.over.set()

    def _admit(self, context: Context) -> None:
        """Caller, then scope, then whether there is room: nothing is looked at before it is known who asks."""
        route = context.route
        if route.scope is None:  # health, metrics and the documents are answered however much there is to do
            return
        callers = context.gateway.callers
        if callers.are_asked:
            # Kept with these headers, and good for as long as these are the callers: a reload makes others.
            of, caller = context.headers.read.get(App, _NOBODY)
            if of is not callers:
                caller = self._caller(context.headers, callers)
                context.headers.read[App] = callers, caller
            if route.scope and route.scope not in caller.scopes:
                raise Problem("forbidden", f"This needs the scope {route.scope}, which the caller key lacks.")
            context.caller = caller
        self._load.enter(context.caller.name)
        context.admitted = True

    @staticmethod
    def _caller(headers: Headers, callers: Callers) -> Caller:
        key = caller_key(headers)
        caller = callers.find(key) if key is not None else None
        if caller is None:
            what = "No caller key was sent." if key is None else "The caller key is not known here."
            raise Problem("unauthenticated", what)
        return caller

    def _failed(self, context: Context | None, request: Request, error: Exception, *, left: bool = False) -> Answer:
        """The problem that is told of a failure, which is one or is a defect of ours."""
        writes = context is not None and context.route.writes
        if isinstance(error, Problem):
            problem = error
            if writes and problem.outcome is None:
                problem.outcome = "not_applied"  # whoever sent something has said what became of it
            if context is not None and problem.connection is None:
                problem.connection = context.connection
            return self._answered(context, request, problem_reply(problem, request.id), problem, left=left)
        told = "The gateway failed; see its log for the request id."
        problem = Problem("internal-error", told, outcome="unknown" if writes else None)
        return self._answered(context, request, problem_reply(problem, request.id), problem, error, left=left)

    def _answered(
        self, context: Context | None, request: Request, reply: Reply, problem: Problem | None = None,
        crash: Exception | None = None, *, left: bool = False,
    ) -> Answer:  # fmt: skip
        """The reply as it is sent. The request is over: whoever has the answer and looks into the log or at the metrics
        finds it there; where the caller has `left` they say so."""
        self._release(context)
        content = reply.raw if reply.raw is not None else reply.content()
        head, values = self._head(reply, context, request, len(content))
        request.ended(context, LEFT if left else reply.status, problem, crash)
        return Answer(
            reply.status, head, values, b"" if request.method == "HEAD" else content, "connection" in reply.headers
        )

    def _left(self, context: Context, request: Request) -> None:
        self._release(context)
        request.ended(context, LEFT)

    def _release(self, context: Context | None) -> None:
        if context is not None and context.admitted:
            context.admitted = False
            self._load.leave(context.caller.name)

    def refusal(self, method: str, path: bytes) -> Problem | None:
        """Why no route takes a request; None where one would."""
        try:
            self._route({"method": method, "raw_path": path})
        except Problem as problem:
            return problem
        return None

    def _route(self, scope: Scope) -> Route:
        path = scope.get("raw_path", b"").decode("latin-1")
        methods = self._fixed.get(path)
        if methods is None:
            prefix, _, rest = path.rpartition("/")
            methods = self._open.get(prefix) if rest else None
        if methods is None:
            raise Problem("not-found", "There is no such route; see /docs.")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        route = methods.get(method)
        if route is None:
            allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
            raise Problem("method-not-allowed", f"This route takes {', '.join(allowed)}.", allow=allowed)
        return route

    @staticmethod
    def _head(reply: Reply, context: Context | None, request: Request, length: int) -> tuple[str, str]:
        """(the lines of the head, the values in it that were not written here)."""
        provider = context.waiting.seconds() if context is not None else 0.0
        gateway = max(0.0, time.perf_counter() - request.began - provider)
        head = (
            f"content-type: {reply.media}\r\ncontent-length: {length}\r\nx-request-id: {request.id}\r\n"
            "cache-control: private, no-store\r\nx-content-type-options: nosniff\r\n"
            f"server-timing: gateway;dur={gateway * 1000:.2f}, provider;dur={provider * 1000:.2f}\r\n"
        )
        values = reply.media + request.id
        if context is not None:
            for name, value in context.tell.items():
                head += f"{name}: {value}\r\n"
                values += value
            if context.connection is not None:
                head += f"x-crm-connection: {context.connection}\r\n"
                values += context.connection
        return _with_its_own(head, values, reply) if reply.headers or reply.status == 204 else (head, values)


def _bounds(gateway: Gateway) -> tuple[int, int]:
    """How many requests a worker takes on at once: (in all, of each caller)."""
    limits = gateway.config.limits
    slots = limits.concurrency * len(gateway.connections)
    return max(limits.per_caller, EACH_SLOT * slots), limits.per_caller


def _with_its_own(head: str, values: str, reply: Reply) -> tuple[str, str]:
    """The same with the reply's own headers, which come before those of all answers."""
    each = [line.partition(": ") for line in head.split("\r\n") if line]
    told = {name: value for name, _, value in each} | reply.headers
    if reply.status == 204:
        del told["content-type"], told["content-length"]
    told_head = "".join([f"{name}: {value}\r\n" for name, value in told.items()])
    return told_head, values + "".join(reply.headers.values())


_NOBODY = (None, ANYONE)


def problem_reply(problem: Problem, id_: str) -> Reply:
    """A problem as an answer, with the headers that go with it."""
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["retry-after"] = str(problem.retry_after)
    if problem.allow:
        headers["allow"] = ", ".join(problem.allow)
    if problem.code == "request-timeout":
        headers["connection"] = "close"  # the rest of the request is not waited for
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    if problem.connection is not None:
        headers["x-crm-connection"] = problem.connection
    return Reply(problem.status, problem.body(id_), media=PROBLEM, headers=headers)
