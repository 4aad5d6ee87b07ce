"""`crm-gateway serve`: sandboxes first, then one server or several worker processes on one listening socket."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import uvicorn

from gateway import logs, metrics
from gateway.config import Config, load_config
from gateway.gateway import Gateway
from gateway.http.app import App
from gateway.http.server import uvicorn_config
from gateway.http.table import routes
from gateway.sandboxes import running

GRACE_SECONDS = 15
"""How long requests under way may take to end once the server was told to stop."""

_CONFIG = "CRM_GATEWAY_WORKER_CONFIG"
_BASE_URLS = "CRM_GATEWAY_WORKER_BASE_URLS"
_METRICS = "CRM_GATEWAY_WORKER_METRICS"

log = logging.getLogger("gateway")


def application(config: Config, base_urls: dict[str, str]) -> App:
    """The ASGI application of a configuration."""
    return App(Gateway(config, base_urls), routes())


def worker() -> App:
    """The application in a worker process, which finds its configuration where `serve` left word of it."""
    configure_logging()
    if os.environ.get(_METRICS):
        try:
            metrics.share(Path(os.environ[_METRICS]))
        except OSError as error:
            log.error("metrics: this worker counts for itself: %s", error.strerror or error)
    return application(load_config(os.environ[_CONFIG]), json.loads(os.environ[_BASE_URLS]))


def configure_logging() -> None:
    """As the environment says: a worker has it of `serve`."""
    form: logs.Format = "json" if os.environ.get(logs.FORMAT) == "json" else "text"
    logs.configure(form, every_request=os.environ.get(logs.ACCESS, "0") not in ("", "0"))


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `OSError` when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock


class _Server(uvicorn.Server):
    """Says where it serves once it does."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._url, flush=True)  # noqa: T201  # the one line that `serve` promises on standard output


def serve(config: Config, path: Path, host: str, port: int, workers: int) -> None:
    """Serve until told to stop. Prints `http://HOST:PORT` on standard output when ready; raises `OSError` if it cannot."""
    configure_logging()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn drains first and then raises the signal once more
        signal.signal(number, lambda *_: sys.exit(0))
    with listening(host, port) as sock, running(config) as base_urls:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{sock.getsockname()[1]}"
        if workers == 1:
            settings = uvicorn_config(application(config, base_urls), timeout_graceful_shutdown=GRACE_SECONDS)
            _Server(settings, url).run(sockets=[sock])
            return
        from uvicorn.supervisors import Multiprocess

        os.environ[_CONFIG] = str(path.resolve())
        os.environ[_BASE_URLS] = json.dumps(base_urls)
        settings = uvicorn_config(
            "gateway.http.serving:worker", factory=True, workers=workers, timeout_graceful_shutdown=GRACE_SECONDS
        )
        threading.Thread(target=_announce, args=(sock.getsockname(), url), daemon=True).start()
        with _counting_together():
            Multiprocess(settings, sockets=[sock]).run()


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
        os.environ[_METRICS] = path
        yield


def _announce(address: tuple[str, int], url: str) -> None:
    """Print the address once a worker answers."""
    for _ in range(600):
        connection = HTTPConnection(address[0], address[1], timeout=5)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                print(url, flush=True)  # noqa: T201  # the one line that `serve` promises on standard output
                return
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
