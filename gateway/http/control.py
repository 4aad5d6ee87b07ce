"""What the process that `serve` started does, with workers or without: signals, reloading, stopping in order.

SIGTERM, SIGINT    drain and exit; a second SIGINT exits at once
SIGHUP             read the configuration anew; a bad one changes nothing
"""

import abc
import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path

from gateway import logs
from gateway.config import Config, ConfigError, check_exposure, check_sharing, load_config
from gateway.gateway import Gateway
from gateway.http.pidfile import PidFile
from gateway.sandboxes import NoSandbox, Sandboxes

log = logging.getLogger("gateway")

RETIRE_SECONDS = 60.0
"""For how long at most a sandbox that is not asked for any more goes on for requests under way."""


class NotStarted(Exception):
    """The server could not start; the text says why."""


class NotReloaded(Exception):
    """The new configuration cannot be used; `said` has a line for each reason."""

    def __init__(self, *said: str) -> None:
        super().__init__("; ".join(said))
        self.said = said


@dataclass
class InForce:
    """The configuration in force, where it was read, and what runs on its behalf."""

    path: Path
    config: Config
    host: str
    workers: int = 1
    sandboxes: Sandboxes = field(default_factory=Sandboxes)
    base_urls: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start the sandboxes. Raises `NoSandbox`."""
        self.base_urls = self.sandboxes.start(self.config)

    def read(self) -> tuple[Config, dict[str, str], tuple[str, ...]]:
        """The file as it is now, its sandboxes started, and what of it waits for a restart. Raises `NotReloaded`.

        Nothing is in force yet: that takes `take`.
        """
        try:
            new = load_config(self.path)
            exposed = check_exposure(new, self.host)
            if exposed:
                raise NotReloaded(exposed)
            waits = [
                f"server.{name}" for name in type(new.server).model_fields
                if getattr(new.server, name) != getattr(self.config.server, name)
            ]  # fmt: skip
            if new.state != self.config.state:
                waits.append("state")
            new = new.model_copy(update={"server": self.config.server, "state": self.config.state})
            unshared = check_sharing(new, self.workers)
            if unshared:
                raise NotReloaded(unshared)
            base_urls = self.sandboxes.start(new)
            Gateway(new, base_urls)  # whatever cannot be built is found here, and not by a worker
        except ConfigError as error:
            raise NotReloaded(*map(str, error.mistakes)) from None
        except (NoSandbox, OSError, ValueError) as error:
            raise NotReloaded(str(error)) from None
        return new, base_urls, tuple(f"{name} was changed, and waits for a restart" for name in waits)

    def take(self, config: Config, base_urls: dict[str, str]) -> None:
        """This is in force now."""
        self.config, self.base_urls = config, base_urls


@dataclass(frozen=True, slots=True)
class Setup:
    """What a control has to work with. `window` is how long it drains."""

    in_force: InForce
    listener: socket.socket
    url: str
    window: float
    pid: PidFile | None


class Control(abc.ABC):
    """Runs until told to stop."""

    def __init__(self, setup: Setup) -> None:
        self.in_force, self.listener, self.window = setup.in_force, setup.listener, setup.window
        self._url, self._pid = setup.url, setup.pid
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @abc.abstractmethod
    async def start(self) -> None:
        """Serve; returns once it does. Raises `NotStarted` or `UnsafeStore`."""

    @abc.abstractmethod
    async def ended(self) -> None:
        """Returns, or raises, when serving has ended without being told to."""

    @abc.abstractmethod
    async def exchange(self, config: Config, base_urls: dict[str, str]) -> Awaitable[None]:
        """Have this answer all new requests; what is returned ends when nothing is under way on the one before.

        Raises `NotReloaded`.
        """

    @abc.abstractmethod
    async def stop(self) -> None:
        """Drain and stop."""

    @abc.abstractmethod
    def force(self) -> None:
        """Stop now, whatever is under way."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    async def run(self) -> None:
        """Serve, and print the address when ready, until told to stop."""
        loop = asyncio.get_running_loop()
        await self.start()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.also(self._reload()))
        print(self._url, flush=True)  # noqa: T201  # the one line that `serve` promises on standard output
        told, ended = asyncio.create_task(self._stopping.wait()), asyncio.create_task(self.ended())
        done, _ = await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in {told, ended} - done:
            task.cancel()
        if ended in done:
            ended.result()
        await self.stop()

    def also(self, work: Awaitable[None]) -> None:
        """Do this beside everything else."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _interrupted(self) -> None:
        if self.stopping:
            self.force()
        self._stopping.set()

    async def _reload(self) -> None:
        async with self._reloading:
            if self.stopping:
                return
            good = True
            said: tuple[str, ...] = ()
            try:
                config, base_urls, said = await asyncio.to_thread(self.in_force.read)
                over = await self.exchange(config, base_urls)
            except NotReloaded as error:
                good, said = False, error.said
                log.error("the configuration is not reloaded, and the one before stays in force")
                self.in_force.sandboxes.keep(self.in_force.config)
            else:
                self.in_force.take(config, base_urls)
                self.also(self._tidy(over))
                log.warning("the configuration was reloaded")
            for line in said:
                logs.say(line, logs.form())  # as check-config says it
            if self._pid is not None:
                self._pid.reloaded(good, said)

    async def _tidy(self, over: Awaitable[None]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(over), RETIRE_SECONDS)  # it goes on, to the end of what is under way
        async with self._reloading:
            await asyncio.to_thread(self.in_force.sandboxes.keep, self.in_force.config)
