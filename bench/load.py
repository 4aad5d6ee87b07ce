"""Callers in a closed loop: N kept connections, each sends its next request when the last one is answered and checked.

Run as `python -m bench.load JOB`, a `Job` as JSON; prints a `Result` as JSON.
"""

import argparse
import asyncio
import contextlib
import json
import re
import time
from array import array
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import uvloop

from bench.processes import core_busy, cpu_seconds, memory
from bench.records import Checker, ManyChecker, Shape, checker, kind, opportunities

KEY = "bench-caller-key-0001"
"""What callers send as `Authorization: Bearer`."""
MANY = 100
"""Records of a list, and of `ids=`."""
What = Literal["one", "list", "ids"]

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """What to ask of whom, for how long; `pids` are the processes whose CPU is read, `core` where they run."""

    port: int
    shape: Shape
    direct: bool
    """Whether the provider itself is asked."""
    connections: int = 64
    warm: float = 0.5
    seconds: float = 3.0
    pids: list[int] = field(default_factory=list)
    core: int = 0
    distinct: int = 10_000
    """How many different ids are asked for in turn."""
    what: What = "one"
    """One record by its id, a list of 100, or 100 by their ids."""
    once: bool = False
    """Whether it is over when each id was asked for."""
    idle: int = 0
    """Connections that ask once, before, and then stay."""


@dataclass(frozen=True)
class Result:
    """What came of a job. Latencies in milliseconds; `cpu` is the CPU time of `pids` in seconds.

    `others` is the share of the core that somebody else used (`pids` apart) while the job ran.
    """

    answers: int
    wrong: int
    first_wrong: str
    reparsed: int
    seconds: float
    p50: float
    p90: float
    p99: float
    cpu: float
    others: float
    hits: int = 0
    """Answers that came from the gateway's cache."""
    idle: int = 0
    """Idle connections that were still open at the end."""
    rss: float = 0.0
    pss: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an answer."""
        return self.cpu / self.answers * 1e6 if self.answers else float("nan")


class _Run:
    """What all connections share: the requests, the checker, and what was counted."""

    def __init__(self, job: Job, check: Checker) -> None:
        self.check = check
        self.counting = self.over = False
        self.latencies = array("d")
        self.answers = 0
        self.open = 0
        self.ended = asyncio.Event()
        self.hits = 0
        self.asked_all = asyncio.Event()
        self._once = job.once
        self._natives = [native.encode() for native in kind(job.shape).natives(job.distinct)]
        head = f"Host: 127.0.0.1:{job.port}\r\n"
        if not job.direct:
            head += f"Authorization: Bearer {KEY}\r\n"
        if job.what == "list":
            head += f"X-CRM-Connection: {kind(job.shape).connection}\r\n"
        if job.what != "one":  # the same records every time, and never from the cache
            head += "Cache-Control: no-cache\r\n"
        self._start, _, self._rest = f"GET {_path(job)} HTTP/1.1\r\n{head}\r\n".encode().partition(b"{}")
        self._next = 0

    def request(self) -> tuple[bytes, bytes]:
        """(native id, request) of the next one to ask for."""
        native = self._natives[self._next]
        self._next = (self._next + 1) % len(self._natives)
        if self._once and not self._next:
            self.over = True
            self.asked_all.set()
        return native, self._start + native + self._rest if self._rest else self._start


def _path(job: Job) -> str:
    what = kind(job.shape)
    if job.what == "list":
        return f"/v1/opportunities?limit={MANY}"
    if job.what == "ids":
        ids = ",".join(f"{what.connection}:{native}" for native in what.natives(MANY))
        return f"/v1/opportunities?ids={ids}"
    return what.provider_path if job.direct else what.gateway_path


def _checker(job: Job) -> Checker:
    if job.what == "one":
        return checker(job.shape, direct=job.direct)
    return ManyChecker(opportunities(job.shape, MANY))


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._need = 0
        self._asked = b""
        self._at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of WriteTransport
        self._run.open += 1
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        if self._run.over:
            self._transport.close()
            return
        self._asked, request = self._run.request()
        self._at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if len(buffer) < self._need:
            return
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(buffer, 0, end + 2)
        if length is None:
            self._give_up(f"no Content-Length: {buffer[:200]!r}")
            return
        self._need = end + 4 + int(length[1])
        if len(buffer) < self._need:
            return
        taken = time.perf_counter() - self._at
        if len(buffer) > self._need:
            self._give_up(f"bytes after the answer: {buffer[self._need :][:200]!r}")
            return
        self._buffer, self._need = b"", 0
        run = self._run
        right = run.check.check(self._asked, buffer[9:12], buffer[end + 4 :])
        if run.counting and right:
            run.answers += 1
            run.latencies.append(taken)
            if buffer.find(b"\r\nx-cache: hit\r\n", 0, end + 2) > 0:
                run.hits += 1
        self._ask()

    def _give_up(self, why: str) -> None:
        self._run.check.fail(why)
        assert self._transport is not None
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        run = self._run
        if not run.over:
            run.check.fail(f"connection lost: {exc}")
        run.open -= 1
        if not run.open:
            run.ended.set()


async def work(job: Job) -> Result:
    """Do the job. Wrong answers are counted, never raised; they do not count as answers."""
    check = _checker(job)
    run = _Run(job, check)
    loop = asyncio.get_running_loop()
    idle = await _idle(replace(job, once=False), job.idle)
    run.counting = job.once  # then everything counts
    started, cpu, busy = time.perf_counter(), sum(map(cpu_seconds, job.pids)), core_busy(job.core)
    for _ in range(job.connections):
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", job.port)
    if not job.once:
        await asyncio.sleep(job.warm)
        started, cpu, busy = time.perf_counter(), sum(map(cpu_seconds, job.pids)), core_busy(job.core)
        run.counting = True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60 if job.once else job.seconds):
            await run.asked_all.wait()
    run.counting = False
    seconds = time.perf_counter() - started
    cpu = sum(map(cpu_seconds, job.pids)) - cpu
    others = (core_busy(job.core) - busy - cpu) / seconds if job.pids else 0.0
    sizes = [memory(pid) for pid in job.pids]
    run.over = True
    if run.open:
        async with asyncio.timeout(30):
            await run.ended.wait()
    latencies = sorted(run.latencies)

    def percentile(percent: int) -> float:
        return latencies[min(len(latencies) * percent // 100, len(latencies) - 1)] * 1000 if latencies else float("nan")

    return Result(
        answers=run.answers,
        wrong=check.wrong,
        first_wrong=check.first_wrong,
        reparsed=check.reparsed,
        seconds=seconds,
        p50=percentile(50),
        p90=percentile(90),
        p99=percentile(99),
        cpu=cpu,
        others=max(0.0, others),
        hits=run.hits,
        idle=sum(not one.is_closing() and one.get_write_buffer_size() == 0 for one in idle),
        rss=sum(size["Rss"] for size in sizes),
        pss=sum(size["Pss"] for size in sizes),
    )


class _Idle(asyncio.Protocol):
    """Asks once, takes whatever comes, and stays."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self.answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._run.request()[1])  # type: ignore[attr-defined]  # uvloop's is no subclass of WriteTransport

    def data_received(self, data: bytes) -> None:
        self.answered.set()


async def _idle(job: Job, count: int) -> list[asyncio.Transport]:
    """So many connections that are kept after an answer each."""
    run = _Run(job, _checker(job))
    made = [
        await asyncio.get_running_loop().create_connection(lambda: _Idle(run), "127.0.0.1", job.port)
        for _ in range(count)
    ]
    async with asyncio.timeout(30):
        for _, protocol in made:
            await protocol.answered.wait()
    return [transport for transport, _ in made]


def main() -> None:
    """Do the job on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    job = Job(**json.loads(parser.parse_args().job))
    print(json.dumps(asdict(uvloop.run(work(job)))))  # noqa: T201  # what a program reads


if __name__ == "__main__":
    main()
