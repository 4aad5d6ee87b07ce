"""Writes that go out together: what is written to sockets in one turn of the event loop is handed over at its end.

To write to a socket whose reader sleeps wakes that reader, which costs ten times as much as a write to one that is awake.
Written one right after the other, the answers to all callers and the requests to all providers wake each of them once.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, cast
from weakref import WeakKeyDictionary, ref

from gateway.logs import where

log = logging.getLogger("gateway")

AT_ONCE = 32
"""So many connections wait for the end of a turn at most, so that a long turn holds up nobody's answer."""


class Outbox:
    """The connections of one event loop that have something to hand over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # which would be kept by its outbox, and its outbox by that
        self.waiting: list[Outgoing] = []
        """Handed over at the end of this turn at the latest, if `look` is told."""

    def look(self) -> None:
        """To be called for the first that waits, and once there are `AT_ONCE`."""
        if len(self.waiting) == 1:
            loop = self._loop()
            assert loop is not None  # one of its connections is written to
            loop.call_soon(self._hand_over)
        else:
            self._hand_over()  # what was called for the end of the turn will find less, or nothing

    def _hand_over(self) -> None:
        waiting, self.waiting = self.waiting, []
        for outgoing in waiting:
            try:
                outgoing.hand_over()
            except Exception as error:  # of one connection, which must not cost the others theirs
                log.error("a write failed: %s", where(error))
                outgoing.abort()


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The one outbox of a loop."""
    outbox = _outboxes.get(loop)
    if outbox is None:
        outbox = _outboxes[loop] = Outbox(loop)
    return outbox


class Outgoing:
    """A transport, as far as it is used here, whose writes wait for the end of the turn. Their order stays as it is.

    `close` hands over what is held before it closes; `abort` drops it. A protocol whose other side has ended has to
    `hand_over` unless it stays open, since the loop then closes the transport itself.
    """

    __slots__ = ("_begun", "_closing", "_outbox", "_transport", "held")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport, self._outbox = transport, outbox
        self.held: list[bytes] = []
        """What waits for the end of the turn."""
        self._begun = b""
        self._closing = False

    def write(self, data: bytes) -> None:
        """Send `data` soon."""
        if not self._closing and data:
            held = self.held
            held.append(data)
            if len(held) == 1:
                outbox = self._outbox
                waiting = outbox.waiting
                waiting.append(self)
                if not 1 < len(waiting) < AT_ONCE:
                    outbox.look()

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Send `pieces` soon."""
        for piece in pieces:
            self.write(piece)

    def begin(self, beginning: bytes) -> None:
        """Send `beginning` now. What is written next begins so, too, and only the rest of it is sent."""
        self.hand_over()
        if not self.is_closing():
            self._transport.write(beginning)
            self._begun = beginning

    def hand_over(self) -> None:
        """Send what is held now."""
        held, self.held = self.held, []
        if held and not self._transport.is_closing():
            if self._begun:
                held[0], self._begun = held[0].removeprefix(self._begun), b""
            if len(held) == 1:
                self._transport.write(held[0])
            else:
                self._transport.writelines(held)
        if self._closing:
            self._transport.close()

    def close(self) -> None:
        """Close when everything is sent."""
        if not self._closing:
            self._closing = True
            if not self.held:
                self._transport.close()

    def abort(self) -> None:
        """Close now, and send nothing more."""
        self._closing = True
        self.held = []
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is being closed, by either side."""
        return self._closing or self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that are not in the kernel's hands yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self.held))

    # Each by its name: a class with a `__getattr__` is asked twice for whatever it has.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows of its socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing from the kernel until `resume_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()


def together(transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> Outgoing:
    """The transport, writing together with all others of its loop."""
    return Outgoing(cast(asyncio.Transport, transport), outbox_of(loop))  # uvloop's are of no such class
