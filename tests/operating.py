"""The server as operators run it: processes, signals, and callers that notice every cut."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.live import ask

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
"""Seconds that a slow machine gets for what takes one."""


class Server:
    """`python -m gateway serve` in a folder with a config.yaml; killed at the end if it still runs."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0, name: str = "serve",
                 before: Callable[[], None] | None = None) -> None:  # fmt: skip
        self.folder, self._log = folder, folder / f"{name}.log"
        command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), *arguments]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder)))}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, env=environ,
                                            preexec_fn=before)  # fmt: skip

    @cached_property
    def url(self) -> str:
        """Where it serves, as soon as it does; empty when it did not start, and then it has ended."""
        assert self.process.stdout is not None
        url = self.process.stdout.readline().decode().strip()
        if not url:
            self.wait()
            self.process.stdout.close()
        return url

    @property
    def port(self) -> int:
        """Where it listens."""
        port = urlsplit(self.url).port
        assert port is not None, self.log
        return port

    @property
    def log(self) -> str:
        """What it said on standard error."""
        return self._log.read_text()

    def children(self) -> list[int]:
        """The processes that it started: workers, and one that stands by."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(timeout=PATIENCE)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def reload(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`crm-gateway reload`."""
        return subprocess.run([sys.executable, "-m", "gateway", "reload", *arguments], cwd=self.folder, text=True,
                              capture_output=True, timeout=PATIENCE, check=False,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def until(what: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Wait until this is true; how long it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not come true"
        time.sleep(0.02)
    return time.monotonic() - began


def is_ready(server: Server) -> bool:
    """Whether it says that it is ready."""
    with contextlib.suppress(OSError):
        return ask(f"{server.url}/readyz").status == 200
    return False


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or only what is left of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


class Load:
    """Callers that keep their connection while they may, go elsewhere when told to, and count what was cut.

    Refused to connect is not cut: nothing was sent, and the next server is asked. Everything else that is not an answer is.
    """

    def __init__(self, ports: Sequence[int], clients: int, target: str, headers: str = "") -> None:
        self.ports, self.statuses, self.cut = list(ports), dict[int, int](), list[str]()
        self._request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()
        self._clients = clients
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="load")

    @property
    def answers(self) -> int:
        """Answers so far."""
        return sum(self.statuses.values())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    async def _all(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def _client(self, turn: int) -> None:
        while not self._stop.is_set():
            turn += 1
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[turn % len(self.ports)])
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            try:
                while not self._stop.is_set() and await self._ask(reader, writer):  # noqa: ASYNC110  # callers think
                    await asyncio.sleep(0.05)  # callers think between two requests
            except (OSError, asyncio.IncompleteReadError) as error:
                self.cut.append(repr(error))
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be kept."""
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return "connection: close" not in head


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """While entered, this process does not run."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
