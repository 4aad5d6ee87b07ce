"""What the parent and one worker say to each other, over a pair of sockets that nobody else has.

Messages are pickled: both ends are this program, and a configuration with its secrets passes without touching a disk. When
one end dies the other reads the end at once, whatever the death was.
"""

import asyncio
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

from gateway.config import Config

_LENGTH = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Use:
    """To a worker: serve this configuration, from now on. The first message, and each after a reload."""

    number: int
    config: Config
    base_urls: dict[str, str]


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: not ready any more, and each answer closes its connection. `quiet`: seconds without a connection after
    which it says `Quiet`."""

    quiet: float


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: take nothing new, end what is under way, exit."""


@dataclass(frozen=True, slots=True)
class Alive:
    """From a worker: its event loop runs."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: it serves."""


@dataclass(frozen=True, slots=True)
class Failed:
    """From a worker: it cannot serve, and ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class InUse:
    """From a worker: new requests are answered by this configuration, unless `reason` says why not."""

    number: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retired:
    """From a worker: nothing is under way any more on the configurations before this one."""

    number: int


@dataclass(frozen=True, slots=True)
class Quiet:
    """From a worker that drains: nobody has been connected for a while."""


class Channel:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def on(cls, sock: socket.socket) -> "Channel":
        """The channel on this socket, in the running loop."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Any) -> None:
        """Goes out as soon as it can; to nobody when the other end is gone."""
        if not self._writer.is_closing():
            content = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(content)) + content)

    async def receive(self) -> Any:
        """The next message; None when the other end is gone, `Failed` when it cannot be understood at this end."""
        try:
            [length] = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            content = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        try:
            return pickle.loads(content)
        except Exception as error:  # an adapter that can be imported there and not here, say
            return Failed(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Let go of it."""
        self._writer.close()
