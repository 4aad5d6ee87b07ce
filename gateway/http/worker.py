"""A worker process: serves on the listening socket that it was given, as its parent says.

    python -P -m gateway.http.worker CHANNEL LISTENER        (two inherited file descriptors)

SIGINT and SIGHUP are the parent's business and are ignored here. SIGTERM drains this worker alone. When the parent is gone
nothing new is taken, what is under way is ended, and the worker exits: a worker without a parent would keep the port.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import uvloop

from gateway import metrics
from gateway.gateway import Gateway
from gateway.http.app import App
from gateway.http.channel import Alive, Channel, Drain, Failed, InUse, Quiet, Ready, Retired, Stop, Use
from gateway.http.running import GRACE_SECONDS, Running, closed_in_time, configure_logging, spare_the_collector
from gateway.http.table import routes

log = logging.getLogger("gateway")

_BEAT = 1.0
_WINDOW = 2.0


def main() -> None:
    """Serve until told to stop."""
    channel, listener = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(_Worker(listener).work(channel))
        with closed_in_time():
            runner.close()
    sys.exit(status)


def _end_with(parent: int) -> None:
    """The last resort when the event loop is held up, and so does not see that the parent is gone."""
    forever = threading.Event()
    while os.getppid() == parent:
        forever.wait(1.0)
    forever.wait(2 * GRACE_SECONDS + 1)
    os._exit(1)


def _count_with_the_others() -> None:
    folder = os.environ.get(metrics.FOLDER)
    if folder:
        try:
            metrics.share(Path(folder))
        except OSError as error:
            log.error("metrics: this worker counts for itself: %s", error.strerror or error)


class _Worker:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._server: Running
        self._tasks: set[asyncio.Task[None]] = set()

    async def work(self, sock: socket.socket) -> int:
        """The exit status."""
        self._channel = channel = await Channel.on(sock)
        first = await channel.receive()
        if not isinstance(first, Use):
            return self._failed(first.reason) if isinstance(first, Failed) else 1
        configure_logging()
        _count_with_the_others()
        try:
            self._server = Running(App(Gateway(first.config, first.base_urls), routes()))
        except Exception as error:
            return self._failed(f"{type(error).__name__}: {error}")
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        began = asyncio.create_task(self._server.ready.wait())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)
        await asyncio.wait({serving, began}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            return self._failed(str(serving.exception() or "stopped before it served"))
        spare_the_collector()
        channel.send(Ready())
        for work in (self._listen(), self._beat()):
            self._also(asyncio.create_task(work))
        await serving
        channel.close()
        return 0

    def _failed(self, reason: str) -> int:
        self._channel.send(Failed(reason))
        return 1

    def _also(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _beat(self) -> None:
        while True:
            self._channel.send(Alive())
            await asyncio.sleep(_BEAT)

    async def _listen(self) -> None:
        while True:
            message = await self._channel.receive()
            if isinstance(message, Use):
                await self._exchange(message)
            elif isinstance(message, Drain):
                self._server.begin_drain()
                self._also(asyncio.create_task(self._tell_quiet(message.quiet)))
            elif message is None or isinstance(message, (Stop, Failed)):
                if isinstance(message, Failed):
                    self._failed(message.reason)
                self._server.should_exit = True
                return

    async def _tell_quiet(self, seconds: float) -> None:
        await self._server.quiet(seconds)
        self._channel.send(Quiet())

    async def _exchange(self, use: Use) -> None:
        try:
            retired = await self._server.app.exchange(use.config, use.base_urls)
        except Exception as error:
            self._channel.send(InUse(use.number, f"{type(error).__name__}: {error}"))
            return
        self._channel.send(InUse(use.number))

        async def tell() -> None:
            with suppress(Exception):  # it was logged; what counts here is that it is over
                await retired
            self._channel.send(Retired(use.number))

        self._also(asyncio.create_task(tell()))

    def _terminated(self) -> None:
        if not self._server.draining:  # else the parent is stopping us all, and says when
            self._also(asyncio.create_task(self._server.drain(_WINDOW, alone=False)))


if __name__ == "__main__":
    main()
