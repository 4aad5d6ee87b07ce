"""`crm-gateway serve`: sandboxes first, then one server or several worker processes on one listening socket."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from gateway import metrics
from gateway.config import Config
from gateway.gateway import Gateway
from gateway.http.app import App
from gateway.http.control import Control, InForce, NotReloaded, NotStarted, Setup
from gateway.http.listening import listening, url_of
from gateway.http.pidfile import PidFile, default_path
from gateway.http.running import Running, closed_in_time, configure_logging, spare_the_collector
from gateway.http.table import routes
from gateway.state.opening import state_of
from gateway.state.store import StateUnavailable, StateUnusable, UnsafeStore

log = logging.getLogger("gateway")

WINDOW_SECONDS = 2.0
"""How long everything is still answered, with `Connection: close`, once the server was told to stop."""
_FILES = 65536


@dataclass(frozen=True, slots=True)
class Serving:
    """How to serve a configuration: what the command line may say otherwise than the file."""

    path: Path
    host: str
    port: int
    workers: int
    window: float = WINDOW_SECONDS
    pid_file: Path | None = None


def application(config: Config, base_urls: dict[str, str]) -> App:
    """The ASGI application of a configuration."""
    return App(Gateway(config, base_urls), routes())


def serve(config: Config, how: Serving) -> None:
    """Serve until told to stop. Prints `http://HOST:PORT` on standard output when ready.

    Raises `OSError` when it cannot listen there, and `NotStarted` or `NoSandbox`, with the reason.
    """
    configure_logging()
    for number in (signal.SIGTERM, signal.SIGINT):  # until the server has handlers of its own
        signal.signal(number, lambda *_: sys.exit(0))
    _raise_file_limit()
    in_force = InForce(how.path, config, how.host, how.workers)
    with listening(how.host, how.port) as sock, contextlib.ExitStack() as stack:
        pid = _pid_file(config, how)
        if pid is not None:
            stack.enter_context(pid)
        stack.callback(in_force.sandboxes.keep, None)
        if how.workers > 1:
            stack.enter_context(_counting_together())
        in_force.start()
        setup = Setup(in_force, sock, url_of(sock, how.host), how.window, pid)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if how.workers == 1 else None) as runner:
            try:
                runner.run(_run(how.workers, setup))
            except (StateUnusable, UnsafeStore) as error:
                of = f"; it is {config.state}" if config.state.startswith("sqlite:") else ""  # others hold a password
                raise NotStarted(f"state store: {error}{of}") from None
            with closed_in_time():
                runner.close()


@contextlib.contextmanager
def _counting_together() -> Iterator[None]:
    """A folder for what the workers count; where there cannot be one, each counts for itself."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="crm-gateway-", ignore_cleanup_errors=True)
    except OSError as error:
        log.error("metrics: each worker counts for itself: %s", error.strerror or error)
        yield
        return
    with folder as path:
        os.environ[metrics.FOLDER] = path
        yield


async def _run(workers: int, setup: Setup) -> None:
    await _check_state(setup.in_force.config)
    if workers == 1:
        await Alone(setup).run()
        return
    from gateway.http.workers import Workers

    await Workers(workers, setup).run()


async def _check_state(config: Config) -> None:
    """Raises `UnsafeStore` or `StateUnusable`: nobody starts on a store that may lose claims, or that somebody has to mend.

    One that is merely away is waited for, and whoever serves says so. A store that has to be mended only while the server
    runs stops nobody, since reads go on.
    """
    state = state_of(config.state, config.folder)
    if state is None:
        return
    try:
        await state.open()
    except StateUnusable:
        raise
    except StateUnavailable:
        pass
    finally:
        await state.aclose()


def _pid_file(config: Config, how: Serving) -> PidFile | None:
    path = how.pid_file or default_path(config.state, config.folder)
    try:
        return PidFile(path)
    except BlockingIOError:
        why = "another server has it"
    except OSError as error:
        why = error.strerror or "cannot be written"
    if how.pid_file is not None:
        raise NotStarted(
            f"the pid file {path}: {why}; name one in a folder that this user can write to with --pid-file"
        )
    log.warning("%s: %s; `crm-gateway reload` does not find this server, SIGHUP does", path, why)
    return None


def _raise_file_limit() -> None:
    """As many open files as are allowed, within reason: the usual limit of 1024 is for programs of another kind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Alone(Control):
    """One worker, in this very process."""

    async def start(self) -> None:
        config, base_urls = self.in_force.config, self.in_force.base_urls
        self._server = Running(application(config, base_urls))
        self._serving = asyncio.create_task(self._server.serve(sockets=[self.listener]))
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        spare_the_collector()
        if self._serving.done():
            self._serving.result()

    async def ended(self) -> None:
        await asyncio.shield(self._serving)

    async def exchange(self, config: Config, base_urls: dict[str, str]) -> Awaitable[None]:
        try:
            return await self._server.app.exchange(config, base_urls)
        except Exception as error:
            raise NotReloaded(f"{type(error).__name__}: {error}") from error

    async def stop(self) -> None:
        if not self._serving.done():
            await self._server.drain(self.window, alone=True)
        await self._serving

    def force(self) -> None:
        self._server.should_exit = self._server.force_exit = True
