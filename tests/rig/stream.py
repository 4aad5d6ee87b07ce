"""Streams of requests of any kind, several at once: open-loop at a rate, or closed-loop by so many clients.

    seen = run(Stream("reads", targets, requests, rate=100, seconds=5), Stream("flood", ..., clients=64, seconds=5))
    seen["reads"].share(200), seen["reads"].p(0.99)

In an open loop each request's time is fixed beforehand, and its latency counts from then. Nothing is sent twice.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import uvloop

from tests.rig.client import Client

_KEPT = 20


@dataclass(frozen=True)
class Stream:
    """Requests, taken in turn, to targets, taken in turn."""

    name: str
    targets: Sequence[str]
    requests: Sequence[bytes]
    seconds: float = 0.0
    """For how long new ones are sent."""
    rate: float = 0.0
    """A second, evenly; 0: `clients` that each send the next one when the last has been answered."""
    clients: int = 0
    count: int = 0
    """So many requests instead of `seconds`."""
    patience: float = 30.0


@dataclass
class Seen:
    """What came of a stream."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    """Seconds, by status; 0: no answer."""
    codes: Counter[str] = field(default_factory=Counter)
    """Codes of problems; `failed` words of the client; `unreadable` for an error that is no problem."""
    ends: list[tuple[float, int]] = field(default_factory=list)
    """(when, status), in the order of their ends."""
    unreadable: list[str] = field(default_factory=list)
    """The first of the errors that are no problems."""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All requests."""
        return sum(len(those) for those in self.latencies.values())

    def count(self, *statuses: int) -> int:
        """Those that ended so."""
        return sum(len(self.latencies.get(status, ())) for status in statuses)

    def share(self, *statuses: int) -> float:
        """The share of those that ended so."""
        return self.count(*statuses) / self.total if self.total else 0.0

    def p(self, share: float, *statuses: int) -> float:
        """A percentile of latency in milliseconds, of these statuses or of all."""
        those = sorted(
            one for status, some in self.latencies.items() if not statuses or status in statuses for one in some
        )
        return those[min(len(those) - 1, int(len(those) * share))] * 1000 if those else 0.0

    def slower(self, milliseconds: float) -> int:
        """How many took longer, whatever came of them."""
        return sum(one * 1000 > milliseconds for those in self.latencies.values() for one in those)


class _Run:
    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._client = Client(4096)
        self.seen = Seen()
        self._turn = 0

    async def run(self) -> None:
        began = time.monotonic()
        if self._stream.rate:
            await self._open()
        else:
            await asyncio.gather(*(self._closed(began) for _ in range(self._stream.clients)))
        self.seen.seconds = time.monotonic() - began
        self._client.close()

    def _over(self, began: float) -> bool:
        if self._stream.count:
            return self._turn >= self._stream.count
        return time.monotonic() - began >= self._stream.seconds

    async def _open(self) -> None:
        stream, began = self._stream, time.monotonic()
        running: set[asyncio.Task[None]] = set()
        for number in range(stream.count or int(stream.rate * stream.seconds)):
            due = began + number / stream.rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._one(due))
            running.add(task)
            task.add_done_callback(running.discard)
        while running:
            await asyncio.gather(*running)

    async def _closed(self, began: float) -> None:
        while not self._over(began):
            await self._one(time.monotonic())

    async def _one(self, due: float) -> None:
        stream, turn = self._stream, self._turn
        self._turn += 1
        reply = await self._client.ask(
            stream.targets[turn % len(stream.targets)], stream.requests[turn % len(stream.requests)],
            seconds=stream.patience,
        )  # fmt: skip
        self.seen.latencies.setdefault(reply.status, []).append(reply.end - due)
        self.seen.ends.append((reply.end, reply.status))
        if not reply.status:
            self.seen.codes[reply.failed] += 1
        elif reply.status >= 400:
            code = _code(reply.headers.get("content-type", ""), reply.body, reply.status)
            self.seen.codes[code] += 1
            if code == "unreadable" and len(self.seen.unreadable) < _KEPT:
                self.seen.unreadable.append(f"{reply.status} {reply.headers} {reply.body[:500]!r}")


def _code(media: str, body: bytes, status: int) -> str:
    try:
        told = msgspec.json.decode(body)
        if media == "application/problem+json" and told["status"] == status:
            return str(told["code"])
    except (ValueError, KeyError, TypeError):
        pass
    return "unreadable"


def run(*streams: Stream) -> dict[str, Seen]:
    """Run them all at once; what came of each, by name."""

    async def work() -> dict[str, Seen]:
        runs = {stream.name: _Run(stream) for stream in streams}
        await asyncio.gather(*(one.run() for one in runs.values()))
        return {name: one.seen for name, one in runs.items()}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())
