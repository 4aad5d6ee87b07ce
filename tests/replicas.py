"""Several gateways over sockets in the loop of the test, and a provider beside them whose answers can be held back.

    async with replicas(tmp_path, count=2) as site:
        site.provider.put("k-1", "a", name="A")
        reply = await site.get("/v1/opportunities/a")

In one loop every interleaving can be made to happen: `Provider.hold` is awaited between reading and answering.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import uvloop
import yaml

from gateway.cache import Cache
from gateway.callers import hash_key
from gateway.config import load_config
from gateway.gateway import Gateway
from gateway.http.app import App
from gateway.http.running import Running
from gateway.http.serving import application
from tests.rig.client import Client, Reply, request_bytes
from tests.rig.plain_http import Answer, Request, Server, as_json, listening

T = TypeVar("T")
SCOPES = ["opportunities:read", "opportunities:write"]


def in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine on the loop that the gateway runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return when it is so."""
    end = time.monotonic() + seconds
    while not true():  # of many things that have no event
        assert time.monotonic() < end
        await asyncio.sleep(0.001)


class Provider:
    """A GetRaze as documented with an account for each key. Each get is told apart by a serial in `notes`.

    `fault` may answer instead; `hold` is awaited when a request has been read or applied and before it is answered,
    `before` before it is even that.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, dict[str, dict[str, Any]]] = {}
        self.calls: Counter[str] = Counter()
        self.serial = 0
        self.next_id: str | None = None
        self.fault: Callable[[Request], Answer | None] = lambda request: None
        self.hold: Callable[[Request], Awaitable[None]] | None = None
        self.before: Callable[[Request], Awaitable[None]] | None = None

    def put(self, key: str, id_: str, **members: Any) -> None:
        """A record of the account with this key."""
        record = {
            "id": id_, "name": id_, "email": None, "phone": None, "company": None, "position": None, "linkedin_url": None,
            "status": "new", "source": "other", "deal_value": None, "deal_currency": "BRL", "notes": None,
            "campaign": None, "responsible_user": None, "won_at": None, "lost_at": None,
            "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z", **members,
        }  # fmt: skip
        self.accounts.setdefault(key, {})[id_] = record

    async def __call__(self, request: Request) -> Answer:
        if self.before is not None:
            await self.before(request)
        self.calls[request.method] += 1
        answer = self.fault(request) or self._answer(request)
        if self.hold is not None:
            await self.hold(request)
        return answer

    def _answer(self, request: Request) -> Answer:
        key = request.headers["x-api-key"]
        records = self.accounts.setdefault(key, {})
        id_ = request.path.removeprefix("/opportunities").strip("/")
        if request.method == "POST":
            id_ = self.next_id or f"new-{len(records)}"
            self.put(key, id_, **json.loads(request.body))
            return as_json({"success": True, "data": {"id": id_, "name": records[id_]["name"]}}, 201)
        if not id_:
            return self._list(records, dict(parse_qsl(request.query)))
        record = records.get(id_)
        if record is None:
            return as_json({"success": False, "error": {"code": "NOT_FOUND", "message": "no such lead"}}, 404)
        if request.method == "DELETE":
            del records[id_]
            return as_json({"success": True})
        if request.method == "PUT":
            record.update(json.loads(request.body))
            return as_json({"success": True, "data": {"id": id_, "name": record["name"]}})
        self.serial += 1
        return as_json({"success": True, "data": {**record, "notes": f"{key} {id_} {self.serial}"}})

    def _list(self, records: Mapping[str, dict[str, Any]], query: dict[str, str]) -> Answer:
        self.serial += 1
        left_out = ("campaign", "responsible_user", "linkedin_url", "won_at", "lost_at", "notes")
        found = [{name: value for name, value in record.items() if name not in left_out} for record in records.values()]
        page, limit = int(query.get("page", 1)), int(query.get("limit", 20))
        told = {"page": page, "limit": limit, "total": len(found), "total_pages": -(-len(found) // limit)}
        shown = found[(page - 1) * limit : page * limit]
        return as_json({"success": True, "data": {"opportunities": shown, "pagination": told}})


class Gate:
    """Holds back the answers to the first `times` requests that are for it, until it is opened."""

    def __init__(self, method: str = "GET", times: int = 1) -> None:
        self.method, self.times = method, times
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def __call__(self, request: Request) -> None:
        if request.method == self.method and self.times:
            self.times -= 1
            self.reached.set()
            await self._open.wait()

    def open(self) -> None:
        """Let them pass."""
        self._open.set()


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """Where a test takes place."""

    provider: Provider
    urls: list[str] = field(default_factory=list)
    apps: list[App] = field(default_factory=list)
    servers: list[Running] = field(default_factory=list)
    client: Client = field(default_factory=lambda: Client(2000))

    async def ask(
        self, method: str, target: str, *, at: int = 0, body: Any = None, seconds: float = 30.0, leave: float | None = None,
        **headers: str,
    ) -> Reply:  # fmt: skip
        """One request to one of the replicas; keywords are headers."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            told["Content-Type"] = "application/json"
        return await self.client.ask(
            self.urls[at], request_bytes(method, target, told, content), seconds=seconds, leave=leave
        )

    async def get(self, id_: str, *, at: int = 0, **more: Any) -> Reply:
        """One record, or with a leading question mark a list."""
        target = f"/v1/opportunities{id_}" if id_.startswith("?") else f"/v1/opportunities/{id_}"
        return await self.ask("GET", target, at=at, **more)

    async def name(self, id_: str, *, at: int = 0, **more: Any) -> Any:
        """The name of a record as told; None when there is none such."""
        reply = await self.get(id_, at=at, **more)
        assert reply.status in (200, 404), (reply.status, reply.failed, reply.body)
        return data(reply)["name"] if reply.status == 200 else None

    async def rename(self, id_: str, name: str, *, at: int = 0, **more: Any) -> Reply:
        """Write a record's name."""
        return await self.ask("PATCH", f"/v1/opportunities/{id_}", at=at, body={"name": name}, **more)

    async def names(self, *, at: int = 0) -> list[Any]:
        """The names on the first page."""
        reply = await self.get("?limit=100", at=at)
        assert reply.status == 200, reply.body
        return [one["name"] for one in data(reply)]

    @property
    def gateways(self) -> list[Gateway]:
        """One of each replica."""
        return [app.gateway for app in self.apps]

    def in_flight(self) -> int:
        """Requests that have been taken on and not been answered."""
        return sum(app._load._all for app in self.apps)

    def cache(self, at: int = 0) -> Cache:
        """A replica's own."""
        cache = self.gateways[at].cache
        assert cache is not None
        return cache

    def standing_clock(self) -> Clock:
        """All caches go by this one from now on."""
        clock = Clock()
        for at in range(len(self.apps)):
            self.cache(at)._clock = clock
        return clock


def data(reply: Reply) -> Any:
    """`data` of an answer."""
    return json.loads(reply.body)["data"]


def how(reply: Reply) -> tuple[int, str, str | None]:
    """(status, X-Cache, Age)."""
    return reply.status, reply.headers.get("x-cache", ""), reply.headers.get("age")


def config_of(url: str, callers: int = 0, **more: Any) -> dict[str, Any]:
    """The configuration: `raze` and `other` on two accounts, `again` on the first one's under another name."""
    tree: dict[str, Any] = {
        "default_connection": "raze",
        "state": "sqlite:///state.db",
        "circuit": "off",
        "idempotency": {"lookup_lag": "0s"},
        "connections": {
            name: {"provider": "getraze", "base_url": url, "api_key": key, "timeout": "5s", "budget": "off",
                   "settings": {"dialect": "documented"}}
            for name, key in (("raze", "k-1"), ("other", "k-2"), ("again", "k-1"))
        },
        **more,
    }  # fmt: skip
    if callers:
        tree["callers"] = [
            {"name": f"c{number}", "key_sha256": hash_key(caller_key(number)), "scopes": list(SCOPES)}
            for number in range(callers)
        ]
    return tree


def caller_key(number: int) -> str:
    """A caller's key."""
    return f"the-key-of-caller-{number}"


@contextlib.asynccontextmanager
async def replicas(
    folder: Path, count: int = 2, callers: int = 0, provider: Provider | None = None, **more: Any
) -> AsyncIterator[Site]:
    """That many gateways on one state folder; `more` is configuration."""
    loop = asyncio.get_running_loop()
    provider = provider or Provider()
    sock = listening()
    connected = list[Server]()

    def connect() -> Server:
        connected.append(Server(provider))
        return connected[-1]

    server = await loop.create_server(connect, sock=sock)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config_of(f"http://127.0.0.1:{sock.getsockname()[1]}", callers, **more)))
    site, running = Site(provider), list[tuple[Running, asyncio.Task[None]]]()
    try:
        for _ in range(count):
            listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
            one = Running(application(load_config(path, {}), {}))
            running.append((one, asyncio.create_task(one.serve(sockets=[listener]))))
            await one.ready.wait()
            site.urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
            site.apps.append(one.app)
            site.servers.append(one)
        yield site
    finally:
        site.client.close()
        for connection in connected:  # whatever is still held back is not waited for
            if connection._transport is not None:
                connection._transport.abort()
        server.close()
        for one, _ in running:
            one.should_exit = True
        await asyncio.gather(*(task for _, task in running))
