"""An open-loop load of creates under Idempotency-Keys, and a history of all that came of them.

When each key is due is fixed before the first is sent, by the plan's seed; a slow gateway makes nobody wait but those whom
it serves slowly. Latency is measured from when a request was due. Each key is repeated until it is settled: by a 2xx, by
a refusal that would only come again, or by giving up. `Retry-After` is honoured up to `retry_cap`.

    figures = asyncio.run(run(Plan(targets=[...], keys=3000, rate=500, seed=1), Path("history.jsonl")))

or in a process of its own: `python -m tests.rig.load PLAN.json HISTORY` prints the figures as JSON.
"""

import argparse
import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import IO

import msgspec
import uvloop

from tests.rig.client import Client, Reply, request_bytes
from tests.rig.history import FINAL, Attempt

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Plan:
    """Which keys, when and how. The same plan has the same keys, times, copies and leavers."""

    targets: Sequence[str]
    keys: int
    rate: float
    """Keys a second on average; their gaps are exponential, or even with `even`."""
    seed: int
    prefix: str = "rig"
    """What each key begins with: two runs before one provider need two prefixes."""
    even: bool = False
    burst: int = 1
    """How many keys are due at the same moment; their gaps are that much longer."""
    repeated: float = 0.0
    """Share of the keys that are sent `copies` times at once, each to the next target."""
    copies: int = 2
    leave: float = 0.0
    """Share of the keys whose first attempts leave: close their connection in the midst."""
    leave_after: tuple[float, float] = (0.0, 0.05)
    """Between how many seconds after sending."""
    attempt_seconds: float = 10.0
    give_up: float = 60.0
    """Seconds after a key was due from which it is not repeated any more."""
    retry_cap: float = 2.0
    retry_floor: float = 0.0
    """No attempt is repeated earlier than so many seconds after it ended."""
    after_done: int = 0
    """How often a settled key is asked for once more, to see its replay."""
    keyed: bool = True
    """Whether the Idempotency-Key is sent; without it nothing is repeated."""
    headers: dict[str, str] = field(default_factory=dict)
    connections: int = 512


@dataclass(frozen=True)
class Due:
    """A key and what happens to it at first."""

    key: str
    at: float
    """Seconds from the start of the run."""
    copies: int
    leave: tuple[float, ...]
    """For each copy: after how many seconds its first attempt leaves; negative: it stays."""


def schedule(plan: Plan) -> list[Due]:
    """All keys with their times, before anything is sent."""
    random, at, dues = Random(plan.seed), 0.0, []
    for number in range(plan.keys):
        if number % plan.burst == 0:
            at += plan.burst * (1 / plan.rate if plan.even else random.expovariate(plan.rate))
        copies = plan.copies if random.random() < plan.repeated else 1
        leaves = random.random() < plan.leave
        leave = tuple(random.uniform(*plan.leave_after) if leaves else -1.0 for _ in range(copies))
        dues.append(Due(f"{plan.prefix}-{plan.seed}-{number}", at, copies, leave))
    return dues


def body_of(key: str) -> bytes:
    """The opportunity that a key stands for: its name carries the marker, its e-mail is its own."""
    address = f"k-{key}@rig.example"
    return json.dumps(
        {"name": f"Deal k-{key}", "company": {"name": "Rig"}, "contacts": [{"emails": [{"address": address}]}]}
    ).encode()


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan, history: IO[bytes]) -> None:
        self._plan = plan
        self._history = history
        self._client = Client(plan.connections)
        self._random = Random(plan.seed + 1)
        self.latencies: list[float] = []
        """Of attempts that were answered, from when they were due."""
        self.late: list[float] = []
        """How much later than due each first attempt was written: the generator's own lag, and waits for a slot."""
        self.attempts = 0
        self.statuses: dict[str, int] = {}

    async def run(self) -> dict[str, float]:
        """Send everything; the figures."""
        loop = asyncio.get_running_loop()
        began = time.monotonic() + 0.05
        running: set[asyncio.Task[None]] = set()
        for number, due in enumerate(schedule(self._plan)):
            wait = began + due.at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            for copy in range(due.copies):
                task = loop.create_task(self._settle(due, began + due.at, number + copy, due.leave[copy]))
                running.add(task)
                task.add_done_callback(running.discard)
        while running:
            await asyncio.gather(*running)
        seconds = time.monotonic() - began
        self._client.close()
        return {
            "attempts": self.attempts, "seconds": round(seconds, 3), "rate": round(self.attempts / seconds, 1),
            **{f"latency_{name}": round(value * 1000, 2) for name, value in _percentiles(self.latencies).items()},
            **{f"late_{name}": round(value * 1000, 2) for name, value in _percentiles(self.late).items()},
        }  # fmt: skip

    async def _settle(self, due: Due, at: float, place: int, leave: float) -> None:
        """Repeat the key until it is settled."""
        plan, body = self._plan, body_of(due.key)
        key = {"Idempotency-Key": f'"{due.key}"'} if plan.keyed else {}
        request = request_bytes(
            "POST", "/v1/opportunities", {"Content-Type": "application/json", **key, **plan.headers}, body
        )
        sent, further, tries, limit = _digest(body), plan.after_done, 0, at + plan.give_up
        when = at
        while True:
            target = plan.targets[(place + tries) % len(plan.targets)]
            stays = tries > 0 or leave < 0
            reply = await self._client.ask(
                target, request, seconds=plan.attempt_seconds, leave=None if stays else leave
            )
            attempt = _attempt(due.key, target, when, reply, sent)
            self._note(attempt, first=tries == 0)
            tries += 1
            if attempt.told == "settled":
                if not further:
                    return
                further -= 1
                when = time.monotonic()
                continue
            if attempt.status in FINAL or time.monotonic() > limit or not plan.keyed:
                return
            pause = min(attempt.retry_after or 0.05 * 2 ** min(tries - 1, 5), plan.retry_cap)
            pause = max(pause, plan.retry_floor)
            when = time.monotonic() + pause * (0.9 + 0.2 * self._random.random())
            await asyncio.sleep(when - time.monotonic())

    def _note(self, attempt: Attempt, *, first: bool) -> None:
        self.attempts += 1
        what = f"{attempt.status} {attempt.code} {attempt.outcome}".strip()
        self.statuses[what] = self.statuses.get(what, 0) + 1
        if attempt.status:
            self.latencies.append(attempt.end - attempt.due)
        if first:
            self.late.append(attempt.start - attempt.due)
        self._history.write(_encode(attempt) + b"\n")


def _attempt(key: str, target: str, due: float, reply: Reply, sent: str) -> Attempt:
    code = outcome = id_ = ""
    if reply.status:
        try:
            told = msgspec.json.decode(reply.body)
            if reply.status < 300:
                id_ = told["data"]["id"]
            else:
                code, outcome = told.get("code", ""), told.get("outcome") or ""
        except (ValueError, KeyError, TypeError, AttributeError):
            code = "unreadable"
    return Attempt(
        key, target, due, reply.start, reply.end, reply.status, code or reply.failed, outcome, sent,
        _digest(reply.body) if reply.status else "", id_,
        reply.headers.get("idempotent-replayed", "").lower() == "true", _seconds(reply.headers.get("retry-after", "")),
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    return {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * share))]
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
    }


async def run(plan: Plan, history: Path) -> dict[str, float]:
    """Do what the plan says; the figures, times in milliseconds. The history is appended to."""
    with history.open("ab") as file:
        return await Load(plan, file).run()


def main() -> None:
    """Run the plan in a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("plan", type=Path)
    parser.add_argument("history", type=Path)
    given = parser.parse_args()
    plan = msgspec.json.decode(given.plan.read_bytes(), type=Plan)
    print(json.dumps(uvloop.run(run(plan, given.history))))  # noqa: T201  # what a program reads


def written(plan: Plan, path: Path) -> Path:
    """The plan in a file, for `main`."""
    path.write_text(json.dumps(asdict(plan)))
    return path


if __name__ == "__main__":
    main()
