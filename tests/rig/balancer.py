"""A TCP balancer: round robin over backends, passing over those that do not take a connection.

    python -m tests.rig.balancer --to 127.0.0.1:8001 --to 127.0.0.2:8001

A connection keeps the backend that it began with; when that dies, the connection ends and the next one goes elsewhere.
The control channel: `GET /counters`, `PUT /backends ["host:port", ...]`.
"""

import argparse
import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from tests.rig.plain_http import Answer, Request, Server, as_json, listening, run_part


class Balancer:
    """`backends` are `host:port`. With none that answers, the connection is closed at once."""

    def __init__(self, backends: Sequence[str], connect_seconds: float = 0.5) -> None:
        self.backends = list(backends)
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._seconds = connect_seconds
        self._next = 0

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        try:
            found = await self._backend()
            if found is None:
                return
            back_reader, back_writer = found
            try:
                await _both(_pass(reader, back_writer), _pass(back_reader, writer))
            finally:
                back_writer.transport.abort()
        except asyncio.CancelledError:
            pass  # the balancer ends; start_server would log it
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _backend(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in range(len(self.backends)):
            backend = self.backends[self._next % len(self.backends)]
            self._next += 1
            host, _, port = backend.rpartition(":")
            try:
                async with asyncio.timeout(self._seconds):
                    found = await asyncio.open_connection(host, int(port))
            except (OSError, TimeoutError):
                self.refused[backend] += 1
                continue
            self.taken[backend] += 1
            return found
        return None

    def control(self, request: Request) -> Answer:
        """The control channel's answer."""
        if request.method == "PUT" and request.path == "/backends":
            self.backends = json.loads(request.body)
        return as_json({"backends": self.backends, "taken": self.taken, "refused": self.refused})


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes on to the other side, and its end as an end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if writer.is_closing():
                return
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()


async def _both(there: Coroutine[Any, Any, None], back: Coroutine[Any, Any, None]) -> None:
    """Until the backend has ended; what the caller still sends then is nobody's."""
    forward = asyncio.ensure_future(there)
    try:
        await back
    finally:
        forward.cancel()
        await asyncio.gather(forward, return_exceptions=True)


def main() -> None:
    """Run one balancer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", action="append", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    given = parser.parse_args()
    balancer = Balancer(given.to)

    async def start() -> Mapping[str, int]:
        sock, control = listening(given.host), listening()
        await asyncio.start_server(balancer.connection, sock=sock)
        await asyncio.get_running_loop().create_server(lambda: Server(balancer.control), sock=control)
        return {"port": sock.getsockname()[1], "control": control.getsockname()[1]}

    run_part(start)


if __name__ == "__main__":
    main()
