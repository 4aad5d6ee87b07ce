"""Stand-ins for providers: what one is, how one is loaded, and a real HTTP server to run it on.

A stand-in (sandbox) answers as the provider's own pages say it answers. It is an ASGI app with a path prefix;
`SandboxServer` puts any such app on a loopback port, so that whatever calls it goes over a real socket.
"""

from __future__ import annotations

import importlib
import logging
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast, runtime_checkable

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Sandbox", "SandboxServer", "load_sandbox"]

_LOGGERS = ("uvicorn.error", "uvicorn.access")


@runtime_checkable
class Sandbox(Protocol):
    """An ASGI app that answers in a provider's place, below `prefix`.

    - `prefix` is the path in front of every operation ("/external/v1"), or "".
    - The state belongs to the instance: two sandboxes share nothing.
    """

    prefix: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def load_sandbox(target: str, key: str, settings: Mapping[str, object]) -> Sandbox:
    """The sandbox that "package.module:callable" builds from the key it shall accept and its settings.

    Raises ValueError when the target is not of that form or does not name a callable, TypeError when what it
    built is no sandbox; errors of the callable itself (an unknown dialect, say) pass through.
    """
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"sandbox target {target!r} is not of the form package.module:callable")
    factory = getattr(importlib.import_module(module_name), attribute, None)
    if not callable(factory):
        raise ValueError(f"sandbox target {target!r} names nothing that can be called")
    sandbox = factory(key=key, settings=settings)
    if not (callable(sandbox) and isinstance(sandbox, Sandbox)):
        raise TypeError(f"sandbox target {target!r} built a {type(sandbox).__name__}, which is no sandbox")
    return sandbox


class SandboxServer:
    """An ASGI app on http://127.0.0.1:PORT, for as long as the `with` block lasts.

    - After `start` every connection is accepted: the port is bound and listening before the thread begins.
    - It has a daemon thread and an event loop of its own, installs no signal handler, logs no access.
    - `stop` cuts what still runs and returns within a fraction of a second; stopping twice is harmless.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._port: int | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the app answers, with its prefix and no slash at the end; RuntimeError unless started."""
        if self._port is None:
            raise RuntimeError("the sandbox server has not been started")
        return f"http://127.0.0.1:{self._port}{getattr(self._app, 'prefix', '')}"

    def start(self) -> None:
        """Listen and serve; RuntimeError when it already does."""
        if self._thread is not None:
            raise RuntimeError("the sandbox server is already running")
        # Imported here: most gateways never run a sandbox, and start-up time is counted.
        import uvicorn

        config = uvicorn.Config(
            # uvicorn's own type for an app is narrower than starlette's; both mean ASGI 3.
            cast("Any", self._app),
            http="httptools",
            loop="auto",  # uvloop where it is installed
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            # Left alone, not switched off: uvicorn's logging switches are global, and the gateway around us
            # may run on uvicorn too. Our thread's lines are dropped by `_filter` instead.
            log_config=None,
            timeout_graceful_shutdown=0,
        )
        config.load()  # in the caller's thread, so that a missing dependency is raised to the caller
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port = listener.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [listener]},
            name=f"sandbox-{self._port}",
            daemon=True,
        )
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and end the thread; does nothing when not running."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout=5)
        stuck = self._thread.is_alive()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)
        self._server = self._thread = self._port = None
        if stuck:
            raise RuntimeError("the sandbox server did not stop: something in its app blocks the event loop")

    def _filter(self, record: logging.LogRecord) -> bool:
        if threading.current_thread() is not self._thread:
            return True
        # A bug in the sandbox must stay visible; what is cut off by `stop` is no bug.
        return record.levelno >= logging.ERROR and not (self._server and self._server.should_exit)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
