"""Several workers on one listening socket: started, watched, replaced and stopped by the process that `serve` started.

A worker is a process of its own, begun anew and not forked, since the parent has threads (its sandboxes). Whatever it dies
of is seen at once, as the end of its channel. What it serves comes from the parent, so that one started later serves what
is in force, whatever the file says by then. One more process than serve stands by, everything imported and waiting to be
told what to serve, so that a dead worker is replaced in an instant and not after the second that imports may take.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Awaitable
from dataclasses import dataclass, field

from gateway.config import Config
from gateway.http.channel import Channel, Drain, Failed, InUse, Quiet, Ready, Retired, Stop, Use
from gateway.http.control import Control, NotStarted, Setup
from gateway.http.listening import SETTLE_SECONDS, take_no_more
from gateway.http.running import GRACE_SECONDS

log = logging.getLogger("gateway")

SILENT_SECONDS = 30
"""A worker whose event loop has not run for so long (blocked, stopped) is killed and replaced."""
_SHORT_LIFE = 1.0
"""A worker that serves for less before it dies cannot live: from the second in a row on, the next one has to wait."""
_SHORTEST_WAIT, _LONGEST_WAIT = 0.25, 30.0
_RELOAD_SECONDS = 15.0


@dataclass(eq=False)
class Worker:
    """One worker process, as the parent sees it."""

    process: asyncio.subprocess.Process
    channel: Channel
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    began: float = 0.0
    silent: int = 0
    failure: str = ""
    uses: int = 0
    refused: str = ""
    retired: int = 0

    async def listen(self) -> None:
        """Take note of all that it says, until its end."""
        while (message := await self.channel.receive()) is not None:
            self.silent = 0
            if isinstance(message, Ready):
                self.began = asyncio.get_running_loop().time()
                self.ready.set()
            elif isinstance(message, Failed):
                self.failure = message.reason
            elif isinstance(message, Quiet):
                self.quiet.set()
            elif isinstance(message, (InUse, Retired)):
                async with self.changed:
                    if isinstance(message, InUse):
                        self.uses, self.refused = message.number, message.reason
                    else:
                        self.retired = message.number
                    self.changed.notify_all()
        self.channel.close()
        await self.process.wait()
        self.over.set()
        async with self.changed:
            self.changed.notify_all()

    async def until(self, *, uses: int = 0, retired: int = 0) -> None:
        """Until it answers by this configuration and those before are retired, or it has ended."""
        async with self.changed:
            await self.changed.wait_for(
                lambda: self.over.is_set() or (self.uses >= uses and self.retired >= retired)
            )  # fmt: skip

    async def either(self, event: asyncio.Event) -> bool:
        """Whether this event came before its end."""
        waits = [asyncio.create_task(one.wait()) for one in (event, self.over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        return event.is_set()

    def kill(self) -> None:
        """End it now, also when it is stopped or hangs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    @property
    def how(self) -> str:
        """What it died of."""
        code = self.process.returncode or 0
        return self.failure or (f"signal {-code}" if code < 0 else f"exit status {code}")


class Workers(Control):
    """The parent of `count` workers."""

    def __init__(self, count: int, setup: Setup) -> None:
        super().__init__(setup)
        self._count = count
        self._workers: set[Worker] = set()
        self._spare: Worker | None = None
        self._up = False
        self._number = 1
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        first = [await self._begin() for _ in range(self._count)]
        self.also(self._watch())
        for worker in first:
            if not await worker.either(worker.ready):
                for one in first:
                    one.kill()
                    await one.over.wait()
                raise NotStarted(f"a worker cannot start: {worker.how}")
        self._up = True
        for worker in first:
            self.also(self._keep(worker))

    async def ended(self) -> None:
        await self._lost

    async def _begin(self) -> Worker:
        """A worker that has been told to serve what is in force: the one that stands by, or a new one."""
        worker, self._spare = self._spare, None
        if worker is None or worker.over.is_set():
            worker = await self._spawn()
        worker.uses = worker.retired = self._number
        worker.channel.send(Use(self._number, self.in_force.config, self.in_force.base_urls))
        self._workers.add(worker)
        return worker

    async def _spawn(self) -> Worker:
        ours, theirs = socket.socketpair()
        with theirs:
            given = (theirs.fileno(), self.listener.fileno())
            process = await asyncio.create_subprocess_exec(
                # -P: no module is taken from the current folder, unless it is taken from there here as well.
                sys.executable, "-P", "-m", "gateway.http.worker", *map(str, given),
                pass_fds=given, stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )  # fmt: skip
        worker = Worker(process, await Channel.on(ours))
        self.also(worker.listen())
        return worker

    async def _keep(self, worker: Worker) -> None:
        """One place among the workers: whoever dies in it is followed by another one."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            await worker.over.wait()
            self._workers.discard(worker)
            if self.stopping:
                return
            lived = worker.ready.is_set() and loop.time() - worker.began > _SHORT_LIFE
            failures = 0 if lived else failures + 1
            wait = min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**failures) if failures > 1 else 0.0
            log.error("worker %d ended (%s); another one starts%s", worker.process.pid, worker.how,
                      f" in {wait:.1f} s" if wait else "")  # fmt: skip
            await asyncio.sleep(wait)
            if self.stopping:
                return
            try:
                worker = await self._begin()
            except OSError as error:
                log.error("no worker could be started: %s", error.strerror)
            else:
                self.also(self._tell_of(worker))

    async def _tell_of(self, worker: Worker) -> None:
        if await worker.either(worker.ready):
            log.warning("worker %d serves", worker.process.pid)

    async def _watch(self) -> None:
        """Kills a worker that has been silent for long, and has another one stand by.

        Seconds are counted here: a pause of the whole machine counts as one.
        """
        while not self.stopping:
            await asyncio.sleep(1)
            if self._up and (self._spare is None or self._spare.over.is_set()) and not self.stopping:
                with contextlib.suppress(OSError):  # too many processes, say: then a worker is begun when it is needed
                    self._spare = await self._spawn()
            for worker in self._workers:
                worker.silent += 1
                if worker.silent > SILENT_SECONDS:
                    log.error("worker %d has not run for %d s and is killed", worker.process.pid, worker.silent)
                    worker.kill()

    async def exchange(self, config: Config, base_urls: dict[str, str]) -> Awaitable[None]:
        self._number += 1
        self.in_force.take(config, base_urls)  # a worker that starts from here on starts with it
        number, told = self._number, list(self._workers)
        for worker in told:
            worker.channel.send(Use(number, config, base_urls))
        for worker in told:
            try:
                await asyncio.wait_for(worker.until(uses=number), _RELOAD_SECONDS)
            except TimeoutError:
                worker.refused = "it does not answer"
            if worker.refused:
                # It was seen to be good here, so it is this worker: with another one in its place all serve the same.
                log.error("worker %d cannot reload (%s) and is killed", worker.process.pid, worker.refused)
                worker.kill()
        return self._over(told, number)

    async def _over(self, told: list[Worker], number: int) -> None:
        await asyncio.gather(*(worker.until(retired=number) for worker in told))

    async def stop(self) -> None:
        if self._spare is not None:
            self._spare.kill()
        for worker in self._workers:
            worker.channel.send(Drain(self.window / 4))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.window):
                for worker in list(self._workers):
                    await worker.either(worker.quiet)
        if take_no_more(self.listener):
            await asyncio.sleep(SETTLE_SECONDS)
        for worker in self._workers:
            worker.channel.send(Stop())
        self.listener.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * GRACE_SECONDS + 1):
                for worker in list(self._workers):
                    await worker.over.wait()
        self.force()
        for worker in list(self._workers):
            await worker.over.wait()

    def force(self) -> None:
        for worker in (*self._workers, *([self._spare] if self._spare is not None else [])):
            worker.kill()
