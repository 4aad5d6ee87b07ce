"""A gateway reduced to its promise about creates, in memory and in one process: what the rig is tried out on.

    python -m tests.rig.ideal --to http://127.0.0.1:PORT [--lag 0.5] [--plant FAULT]

It takes the provider's documented dialect only. With `--plant` it breaks one promise, to see that the rig notices:

    no_claims      every request is sent, whatever its key          -> duplicate
    blind_retry    a create whose answer was cut is sent once more  -> duplicate
    early_absence  a create whose answer was cut is said not applied -> denied or early_absence
    acks_early     201 before anything is sent, and nothing is      -> lost
    new_answer     a replay is rendered anew                        -> different_answer
    unmarked       a replay is not marked                           -> unmarked_replay
    forgets        an unknown create stays so                       -> unsettled
    leaves_too     a create ends when its caller leaves             -> duplicate (scenario A8)
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.rig.client import Client, Reply, request_bytes
from tests.rig.plain_http import Answer, Request, Server, as_json, listening, run_part
from tests.rig.stand_in import KEY

PLANTS = (
    "no_claims", "blind_retry", "early_absence", "acks_early", "new_answer", "unmarked", "forgets", "leaves_too",
)  # fmt: skip
_PATH = "/external/v1/opportunities"


@dataclass
class Claim:
    """One key. `answer` is set once it is done."""

    running: asyncio.Future[Answer] | None = None
    answer: bytes = b""
    unknown: bool = False
    absent: bool = False


class Ideal:
    """The gateway."""

    def __init__(self, to: str, lag: float, plant: str, seconds: float) -> None:
        self._to, self._lag, self._plant, self._seconds = to, lag, plant, seconds
        self._client = Client()
        self._claims: dict[str, Claim] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def handle(self, request: Request) -> Answer:
        """A create, or whether it is alive."""
        if request.method == "GET":
            return as_json({})
        key = request.headers["idempotency-key"].strip('"')
        if self._plant == "no_claims":
            return await self._run(key, request.body, Claim())
        claim = self._claims.setdefault(key, Claim())
        if claim.answer:
            marked = {} if self._plant == "unmarked" else {"Idempotent-Replayed": "true"}
            extra = b" " if self._plant == "new_answer" else b""
            return Answer(201, claim.answer + extra, marked)
        if claim.absent:
            del self._claims[key]
            return _problem("provider-timeout", 504, "not_applied")
        if claim.unknown:
            return _problem("provider-timeout", 504, "unknown", "0.2")
        if claim.running is not None:
            await asyncio.wait([claim.running])
            return await self.handle(request)
        return await self._held(key, request.body, claim)

    async def _held(self, key: str, body: bytes, claim: Claim) -> Answer:
        if self._plant == "leaves_too":
            return await self._run(key, body, claim)
        claim.running = task = asyncio.ensure_future(self._run(key, body, claim))
        self._keep(task)
        try:
            return await asyncio.shield(task)
        finally:
            claim.running = None

    def _keep(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str, body: bytes, claim: Claim) -> Answer:
        if self._plant == "acks_early":
            return _created("opp_of_nobody", claim)
        name = json.loads(body)["name"]
        reply = await self._send(name)
        if reply.failed and self._plant == "blind_retry":
            reply = await self._send(name)
        if reply.failed == "refused":
            self._claims.pop(key, None)
            return _problem("provider-unavailable", 503, "not_applied", "0.2")
        if reply.failed:
            if self._plant == "early_absence":
                self._claims.pop(key, None)
                return _problem("provider-timeout", 504, "not_applied")
            claim.unknown = True
            if self._plant != "forgets":
                self._keep(asyncio.ensure_future(self._settle(key, name, claim)))
            return _problem("provider-timeout", 504, "unknown", "0.2")
        if reply.status != 201:
            self._claims.pop(key, None)
            return _problem("provider-error", 502, "not_applied")
        return _created(json.loads(reply.body)["data"]["id"], claim)

    async def _send(self, name: str) -> Reply:
        headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
        return await self._client.ask(
            self._to, request_bytes("POST", _PATH, headers, json.dumps({"name": name}).encode()), seconds=self._seconds
        )

    async def _settle(self, key: str, name: str, claim: Claim) -> None:
        """Look until it is found, or missed twice beyond the lag."""
        began, missed = time.monotonic(), 0
        while missed < 2:
            await asyncio.sleep(max(self._lag / 2, 0.05))
            counts = time.monotonic() - began > self._lag
            target = f"{_PATH}?search={name.replace(' ', '+')}"
            reply = await self._client.ask(self._to, request_bytes("GET", target, {"X-API-Key": KEY}), seconds=5)
            if reply.status != 200:
                continue
            found = [one for one in json.loads(reply.body)["data"]["opportunities"] if one["name"] == name]
            if found:
                _created(found[0]["id"], claim)
                return
            missed += counts
        claim.absent = True


class _Leaving(Server):
    """Ends what runs when its caller leaves."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._busy is not None:
            self._busy.cancel()


def _created(native_id: str, claim: Claim) -> Answer:
    claim.answer = json.dumps({"data": {"id": f"raze:{native_id}"}, "meta": {}}).encode()
    return Answer(201, claim.answer)


def _problem(code: str, status: int, outcome: str, retry_after: str | None = None) -> Answer:
    body = json.dumps({"code": code, "status": status, "outcome": outcome}).encode()
    return Answer(status, body, {"Retry-After": retry_after} if retry_after else {})


def main() -> None:
    """Serve it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    parser.add_argument("--lag", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--plant", choices=PLANTS, default="")
    given = parser.parse_args()
    ideal = Ideal(given.to, given.lag, given.plant, given.seconds)
    protocol = _Leaving if given.plant == "leaves_too" else Server

    async def start() -> Mapping[str, int]:
        sock = listening()
        await asyncio.get_running_loop().create_server(lambda: protocol(ideal.handle), sock=sock)
        return {"port": sock.getsockname()[1]}

    with contextlib.suppress(KeyboardInterrupt):
        run_part(start)


if __name__ == "__main__":
    main()
