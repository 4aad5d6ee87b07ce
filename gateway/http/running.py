"""The server of one process: serves, drains, ends; and has its gateway exchanged while it does.

Draining has three parts. In the window everything is answered, readiness is off and each answer closes its connection, so
that callers go elsewhere. Then no new connection is taken. Then requests under way have a finite grace.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator

import uvicorn

from gateway import logs
from gateway.http.app import App
from gateway.http.listening import SETTLE_SECONDS, take_no_more
from gateway.http.server import Protocol, uvicorn_config
from gateway.http.watchdog import Watchdog

log = logging.getLogger("gateway")

GRACE_SECONDS = 15.0
"""How long requests under way may take to end once nothing new is taken."""
_FRESH_SECONDS = 1.0
"""How long a connection that has not asked anything yet may take to do so once nothing new is taken."""
_LAST_SECONDS = 2.0
"""How long a request that was given up may take to end."""
_STEP = 0.02
CLOSE_SECONDS = 5.0
YOUNG_OBJECTS = 10_000
"""How many objects more than there were are made before the garbage collector looks for cycles among them."""


def configure_logging() -> None:
    """As the environment says: a worker has it of `serve`."""
    logs.configure(logs.form(), every_request=os.environ.get(logs.ACCESS, "0") not in ("", "0"))


def spare_the_collector() -> None:
    """To be called by a process that serves and does nothing else, once it does.

    What is there by then lives as long as the process, so that the garbage collector need not look at it ever again; and
    requests leave no cycles behind, so that it need not look every few of them.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


@contextlib.contextmanager
def closed_in_time() -> Iterator[None]:
    """Around the closing of an event loop that has done all its work: `CLOSE_SECONDS` at most, or the process ends.

    uvloop's `close` has been seen to wait for a socket for ever. What had to be sent or kept has been by then.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, CLOSE_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


class Running(uvicorn.Server):
    """uvicorn's server without its signals: it is told what to do by methods. Stops when `should_exit` is set."""

    def __init__(self, app: App) -> None:
        super().__init__(uvicorn_config(app))
        self.app = app
        self.ready = asyncio.Event()
        self.draining = False
        self._listeners: list[socket.socket] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: whoever runs this decides about signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises `UnsafeStore`. The gateway is opened here and not by way of ASGI's lifespan, which would hide why not."""
        await self.app.start()
        loop = asyncio.get_running_loop()
        self._listeners = sockets or []

        def protocol() -> Protocol:
            one = Protocol(config=self.config, server_state=self.server_state, app_state={}, _loop=loop)
            if self.draining:
                one.drain()
            return one

        self.servers = [await loop.create_server(protocol, sock=sock, backlog=2048) for sock in self._listeners]
        self.started = True
        self.ready.set()

    async def main_loop(self) -> None:
        with Watchdog():
            await super().main_loop()

    def begin_drain(self) -> None:
        """From now on: not ready, and each answer closes its connection."""
        self.draining = True
        self.app.drain()
        for connection in self._connections():
            connection.drain()

    async def quiet(self, seconds: float) -> None:
        """Returns once there has been no connection at all for so long."""
        since = time.monotonic()
        while time.monotonic() - since < seconds and not self.force_exit:
            await asyncio.sleep(_STEP)
            if self.server_state.connections:
                since = time.monotonic()

    async def drain(self, seconds: float, *, alone: bool) -> None:
        """The whole drain, up to setting `should_exit`. `alone`: no other process has the listening socket."""
        self.begin_drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.quiet(seconds / 4)
        if alone and any([take_no_more(sock) for sock in self._listeners]):
            await asyncio.sleep(SETTLE_SECONDS)
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.begin_drain()
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        began = time.monotonic()
        state = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:
            passed = time.monotonic() - began
            if passed > GRACE_SECONDS:
                log.error("%d requests did not end within %.0f seconds and are given up", len(state.tasks), passed)
                break
            for connection in self._connections():
                connection.end(passed > _FRESH_SECONDS)
            await asyncio.sleep(_STEP)
        given_up = list(state.tasks)
        for task in given_up:
            task.cancel()
        for connection in self._connections():
            connection.transport.abort()
        if not self.force_exit:
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    if given_up:  # each has to say what became of its write
                        await asyncio.wait(given_up, timeout=_LAST_SECONDS)
                    await self.app.aclose()
            except TimeoutError:
                log.error("writes under way did not end within %.0f seconds and are given up", GRACE_SECONDS)

    def _connections(self) -> list[Protocol]:
        return [one for one in self.server_state.connections if isinstance(one, Protocol)]
