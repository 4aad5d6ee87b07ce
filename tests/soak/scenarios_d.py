"""Section D on real replicas: reads after answered writes, and whose bytes they are; workers are killed meanwhile.

A size is a number of pairs (a write and the reads after it), or of reads.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any

import uvloop

from gateway.callers import hash_key
from tests.rig.client import Client, Reply, request_bytes
from tests.rig.faults import latency
from tests.rig.killer import Killer, wait_whole
from tests.soak.site import Site

CALLERS = 20
RECORDS = 40
KILL_SECONDS = 2.0
MORE: Mapping[str, Any] = {
    "cache": {"ttl": "30s"},
    "idempotency": {"lookup_lag": "0s"},
    "limits": {"concurrency": 100},
    "callers": [
        {"name": f"c{number}", "key_sha256": hash_key(f"soak-caller-{number}"),
         "scopes": ["opportunities:read", "opportunities:write"]}
        for number in range(CALLERS)
    ],
}  # fmt: skip


class Gateways:
    """The targets of a site, asked as one of the callers. Who is killed is asked again where that changes nothing."""

    def __init__(self, site: Site, seed: int) -> None:
        self.targets = site.targets
        self.client = Client()
        self.random = Random(seed)
        self.figures: dict[str, float] = {"answers": 0, "cut": 0, "hits": 0}

    async def ask(
        self, method: str, target: str, *, at: str, caller: int = 0, body: Any = None, leave: float | None = None,
        **headers: str,
    ) -> Reply:  # fmt: skip
        """One attempt, whatever comes of it."""
        told = {
            "X-API-Key": f"soak-caller-{caller}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if body is not None:
            told["Content-Type"] = "application/json"
        content = b"" if body is None else json.dumps(body).encode()
        reply = await self.client.ask(at, request_bytes(method, target, told, content), leave=leave)
        self.figures["answers"] += reply.status == 200
        self.figures["cut"] += reply.failed in ("reset", "refused")
        self.figures["hits"] += reply.headers.get("x-cache") == "hit"
        return reply

    async def made(self, number: int) -> str:
        """A new record's native id."""
        while True:
            reply = await self.ask("POST", "/v1/opportunities", at=self.random.choice(self.targets), body=draft(number))
            if reply.status == 201:
                return str(json.loads(reply.body)["data"]["native_id"])
            await asyncio.sleep(0.1)


def draft(number: int) -> dict[str, Any]:
    """A record that was never written again."""
    return {"name": "0", "contacts": [{"emails": [{"address": f"d-{number}@rig.example"}]}]}


def pairs(site: Site, size: int, seed: int) -> dict[str, float]:
    """D, read your writes: a write through one replica, then reads of record and list through both, some slow.

    A worker is killed every two seconds; a write whose answer is cut counts as not answered.
    """
    site.provider.set(lag=0)
    site.proxy.play(latency(0.0, 0.05, method="GET", share=0.2), latency(0.0, 0.01, method="GET", share=0.3))
    return _run(site, seed, lambda gateways: _pairs(gateways, size))


async def _pairs(gateways: Gateways, size: int) -> dict[str, float]:
    ids = [await gateways.made(number) for number in range(RECORDS)]
    answered = dict.fromkeys(ids, 0)
    figures = {"pairs": 0.0, "reads": 0.0, "stale": 0.0}
    over = False

    async def look(id_: str, at: str) -> None:
        floor = answered[id_]
        reply = await gateways.ask("GET", f"/v1/opportunities/{id_}", at=at)
        if reply.status == 200:
            figures["reads"] += 1
            figures["stale"] += int(json.loads(reply.body)["data"]["name"]) < floor

    async def lists() -> None:
        while not over:
            floors = dict(answered)
            reply = await gateways.ask(
                "GET", "/v1/opportunities?limit=100", at=gateways.random.choice(gateways.targets)
            )
            if reply.status == 200:
                told = {one["native_id"]: int(one["name"]) for one in json.loads(reply.body)["data"]}
                figures["reads"] += 1
                figures["stale"] += any(told.get(id_, -1) < floor for id_, floor in floors.items())
            await asyncio.sleep(0.02)

    async def reads() -> None:
        while not over:
            await look(gateways.random.choice(ids), gateways.random.choice(gateways.targets))

    async def writes(mine: list[str]) -> None:
        value = 0
        while figures["pairs"] < size:
            value += 1
            for id_ in mine:
                one, *others = gateways.random.sample(gateways.targets, len(gateways.targets))
                reply = await gateways.ask("PATCH", f"/v1/opportunities/{id_}", at=one, body={"name": str(value)})
                if reply.status == 200:
                    answered[id_] = value
                    figures["pairs"] += 1
                for at in (*others, one):
                    await look(id_, at)

    tasks = [asyncio.create_task(one) for one in (lists(), *(reads() for _ in range(4)))]
    await asyncio.gather(*(writes(ids[number::10]) for number in range(10)))
    over = True
    await asyncio.gather(*tasks)
    return figures


def foreign(site: Site, size: int, seed: int) -> dict[str, float]:
    """D, not one foreign byte: 20 callers read the same records, some leave or have no time, workers are killed.

    The provider numbers its answers: one that is seen by two callers, or under two questions, came from the wrong entry.
    """
    site.provider.set(numbered=True)
    site.proxy.play(latency(0.0, 0.01, method="GET", share=0.3))
    return _run(site, seed, lambda gateways: _foreign(gateways, size))


async def _foreign(gateways: Gateways, size: int) -> dict[str, float]:
    random = gateways.random
    ids = [await gateways.made(number) for number in range(RECORDS)]
    figures = {"reads": 0.0, "left": 0.0, "foreign": 0.0}
    seen: dict[str, tuple[Any, ...]] = {}
    queries = ("", "?explain=true", "?raw=true", "?explain=true&raw=true")

    async def reader() -> None:
        while figures["reads"] < size:
            figures["reads"] += 1
            id_, query, caller = random.choice(ids), random.choice(queries), random.randrange(CALLERS)
            reply = await gateways.ask(
                "GET", f"/v1/opportunities/{id_}{query}", at=random.choice(gateways.targets), caller=caller,
                leave=random.random() * 0.01 if random.random() < 0.1 else None,
                X_Request_Timeout="0.005" if random.random() < 0.1 else "5", X_Request_Id=f"{caller}-{id_}",
            )  # fmt: skip
            figures["left"] += reply.failed == "left"
            if reply.status == 200:
                told = json.loads(reply.body)
                asked = {word for word in ("explain", "raw") if word in query}
                right = (
                    told["data"]["native_id"] == id_
                    and set(told["meta"]) & {"explain", "raw"} == asked
                    and reply.headers["x-request-id"] == f"{caller}-{id_}"
                    and seen.setdefault(told["data"]["description"], (caller, id_, query)) == (caller, id_, query)
                )
                figures["foreign"] += not right

    await asyncio.gather(*(reader() for _ in range(40)))
    return figures


def _run(site: Site, seed: int, work: Callable[[Gateways], Coroutine[Any, Any, dict[str, float]]]) -> dict[str, float]:
    async def main() -> dict[str, float]:
        gateways = Gateways(site, seed)
        try:
            return {**gateways.figures, **await work(gateways), **gateways.figures}
        finally:
            gateways.client.close()

    with (
        Killer(site.replicas, every=KILL_SECONDS, seed=seed) as killer,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        figures = runner.run(main())
    site.proxy.play()
    if site.replicas:
        wait_whole(site.replicas, site.workers)
    return {**figures, "kills": len(killer.journal)}
