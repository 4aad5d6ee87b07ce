"""A server for tests that sends exactly the bytes it is told to, and remembers what it was sent.

A script is a list of steps for one connection; the nth connection plays the nth script, later ones the last:

    READ                  wait for one whole request (head, and body by its Content-Length)
    b"..."                send these bytes
    an asyncio.Event      wait until it is set
    a float               wait so many seconds
    CLOSE, RESET, HALF    close; close with a TCP reset; close the sending side only
    Loop(step, ...)       play these steps until the other side leaves

At a script's end the connection stays open until the other side closes it.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TypeAlias


class Do(Enum):
    READ = "read"
    CLOSE = "close"
    RESET = "reset"
    HALF = "half"


READ, CLOSE, RESET, HALF = Do.READ, Do.CLOSE, Do.RESET, Do.HALF


@dataclass(frozen=True)
class Loop:
    steps: "tuple[Step, ...]"

    def __init__(self, *steps: "Step") -> None:
        object.__setattr__(self, "steps", steps)


Step: TypeAlias = "Do | bytes | asyncio.Event | float | Loop"


def answer(body: bytes = b"{}", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole, proper answer with a Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def play(
    steps: Sequence[Step],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    read: Callable[[asyncio.StreamReader], Awaitable[None]],
) -> None:
    """Play a script on a connection; `read` is what READ does. Raises what a connection that is gone does."""
    for step in steps:
        match step:
            case Do.READ:
                await read(reader)
            case Do.CLOSE:
                writer.close()
            case Do.HALF:
                writer.write_eof()
            case Do.RESET:
                # Lingering for 0 seconds makes the kernel send RST instead of FIN.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            case bytes():
                if writer.is_closing():  # uvloop raises RuntimeError where asyncio only logs
                    raise ConnectionResetError
                writer.write(step)
                await writer.drain()
            case asyncio.Event():
                await step.wait()
            case Loop():
                while not (reader.at_eof() or writer.is_closing()):
                    await play(step.steps, reader, writer, read)
                    await asyncio.sleep(0)
            case _:
                await asyncio.sleep(step)


class FaultServer:
    """`async with FaultServer([READ, answer(), CLOSE]) as server:` listens on a loopback port of its own."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.scripts = scripts
        self.connections = 0
        """Connections accepted so far."""
        self.open = 0
        """Connections open now."""
        self.peak = 0
        """The most connections that were open at once."""
        self.requests: list[bytes] = []
        """Requests received so far, each with its head and body as sent."""
        self.ended = asyncio.Event()
        """Set whenever a connection has ended."""
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "FaultServer":
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """The request targets received, as sent."""
        return [request.split(b" ", 2)[1].decode() for request in self.requests]

    async def received(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        while len(self.requests) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def closed(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self.ended.clear()
            await self.ended.wait()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await play(script, reader, writer, self._read)
                while await reader.read(65536):
                    pass
        except asyncio.CancelledError:
            pass  # the test is over; start_server would log a cancelled handler
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self.open -= 1
            self.ended.set()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        self.requests.append(head + body)
        self._arrived.set()
