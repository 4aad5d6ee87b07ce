"""A TCP proxy that breaks exchanges by rule, in a process of its own between gateway and provider.

    python -m tests.rig.fault_proxy --to HOST:PORT [--seed N] [--rules JSON] [--journal FILE]

It reads each request whole (by its Content-Length) before it decides; a request that says its length otherwise is
answered 501 and counted as `unread`. The control channel:

    GET /counters             requests by rule, connections, unread
    PUT /rules [rule, ...]    from now on, counters and draws start anew
    PUT /gate "open"          "open"; "down": connections are refused; "full": they are neither taken nor refused, so
                              that connecting times out

The journal gets one JSON line a request, before anything is done with it: {"at", "method", "target", "marker", "rule"}.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import httptools

from tests.rig.faults import Chooser, End, Rule, marker_in
from tests.rig.plain_http import Answer, Request, Server, as_json, listening, run_part

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_PLAIN = Rule("pass")


class Whole:
    """Tells when an answer is whole; feed it the bytes as they come."""

    def __init__(self, method: str) -> None:
        self.done = False
        self.keep = False
        self._without_body = method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Whether the answer is whole now."""
        self._parser.feed_data(data)
        return self.done

    def on_headers_complete(self) -> None:
        """An answer to HEAD ends here."""
        if self._without_body:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        """That was its last byte."""
        self.done, self.keep = True, self._parser.should_keep_alive()


class FaultProxy:
    """The proxy. `port` stays the same while it is down."""

    def __init__(self, host: str, port: int, seed: int = 0, journal: Path | None = None) -> None:
        self._to = (host, port)
        self._seed = seed
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if journal else None
        self.chooser = Chooser((), seed)
        self.counted: Counter[str] = Counter()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._full: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def gate(self, word: str) -> None:
        """Open the door, shut it, or block it. Connections that are open stay so."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for sock in self._full:
            sock.close()
        self._full = []
        if word == "open":
            sock = listening(port=self.port)
            self._server = await asyncio.start_server(self._accepted, sock=sock, limit=1 << 20)
            self.port = sock.getsockname()[1]
        elif word == "full":
            blocked = socket.socket()
            blocked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            blocked.bind(("127.0.0.1", self.port))
            blocked.listen(0)
            self._full = [blocked]
            for _ in range(4):  # a queue of none still takes one or two
                filler = socket.socket()
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect(("127.0.0.1", self.port))
                self._full.append(filler)

    async def control(self, request: Request) -> Answer:
        """The control channel's answer."""
        match (request.method, request.path):
            case ("GET", "/counters"):
                return as_json({"rules": self.chooser.used, **self.counted})
            case ("PUT", "/rules"):
                self.chooser = Chooser([Rule(**rule) for rule in json.loads(request.body)], self._seed)
                return as_json(None)
            case ("PUT", "/gate"):
                await self.gate(json.loads(request.body))
                return as_json(None)
            case _:
                return Answer(404)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.counted["connections"] += 1
        link = _Link(reader, writer, self._to)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while (request := await link.request()) is not None:
                    if not await self._exchange(link, request):
                        return
            if link.unread:
                self.counted["unread"] += 1
        except asyncio.CancelledError:
            pass  # the proxy ends; start_server would log it
        finally:
            link.abort()
            self._tasks.discard(task)

    async def _exchange(self, link: "_Link", request: bytes) -> bool:
        """Whether the connection goes on."""
        method, target = request.split(b" ", 2)[:2]
        marker = marker_in(request)
        rule = self.chooser.choose(method.decode("latin-1"), target.decode("latin-1"), marker) or _PLAIN
        if self._journal is not None:
            line = {
                "at": time.monotonic(), "method": method.decode("latin-1"), "target": target.decode("latin-1"),
                "marker": marker, "rule": rule.name,
            }  # fmt: skip
            os.write(self._journal, json.dumps(line).encode() + b"\n")
        if rule.delay:
            await asyncio.sleep(rule.delay)
        answer = await link.ask(request, method.decode("latin-1")) if rule.forward else b""
        if rule.answer_delay:
            await asyncio.sleep(rule.answer_delay)
        if rule.script:
            for step in rule.script:
                if isinstance(step, str):
                    await link.send(step.encode("latin-1"))
                else:
                    await asyncio.sleep(step)
        else:
            await link.send(answer[: rule.limit], rule.piece, rule.gap)
        if rule.hold:
            await asyncio.sleep(rule.hold)
        return await link.end(rule.end)


class _Link:
    """One connection from the gateway, and the one to the provider that belongs to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: tuple[str, int]) -> None:
        self._reader, self._writer, self._to = reader, writer, to
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.unread = False

    async def request(self) -> bytes | None:
        """The next request, whole; None when it says its length in another way."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        if _CHUNKED.search(head):
            self.unread = True
            await self.send(b"HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return None
        length = _LENGTH.search(head)
        return head + (await self._reader.readexactly(int(length[1])) if length else b"")

    async def ask(self, request: bytes, method: str) -> bytes:
        """The provider's whole answer. Never asked twice; `ConnectionError` when it gives none."""
        kept = self._upstream
        if kept is None:
            kept = self._upstream = await asyncio.open_connection(*self._to)
        reader, writer = kept
        writer.write(request)
        answer, whole = bytearray(), Whole(method)
        while not whole.done:
            data = await reader.read(65536)
            if not data:
                break
            answer += data
            whole.feed(data)
        if not whole.done or not whole.keep:
            writer.close()
            self._upstream = None
        if not answer:
            raise ConnectionResetError("the provider gave no answer")
        return bytes(answer)

    async def send(self, data: bytes, piece: int = 0, gap: float = 0.0) -> None:
        """To the gateway, in pieces."""
        for start in range(0, len(data), piece or max(len(data), 1)):
            if self._writer.is_closing():
                raise ConnectionResetError
            self._writer.write(data[start : start + piece] if piece else data)
            await self._writer.drain()
            if piece:
                await asyncio.sleep(gap)

    async def end(self, how: End) -> bool:
        """End as told; whether the connection goes on."""
        match how:
            case "keep":
                return True
            case "half":
                self._writer.write_eof()
                while await self._reader.read(65536):
                    pass
            case "silence":
                while await self._reader.read(65536):
                    pass
            case "close":
                self._writer.close()
                with contextlib.suppress(OSError):
                    await self._writer.wait_closed()
            case "reset":
                # Lingering for 0 seconds makes the kernel send RST instead of FIN.
                sock = self._writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._writer.transport.abort()
        return False

    def abort(self) -> None:
        """Let go of both connections."""
        self._writer.transport.abort()
        if self._upstream is not None:
            self._upstream[1].transport.abort()


def main() -> None:
    """Run one proxy."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rules", type=json.loads, default=[])
    parser.add_argument("--journal", type=Path)
    given = parser.parse_args()
    host, _, port = given.to.rpartition(":")
    proxy = FaultProxy(host, int(port), given.seed, given.journal)
    proxy.chooser = Chooser([Rule(**rule) for rule in given.rules], given.seed)

    async def start() -> Mapping[str, int]:
        await proxy.gate("open")
        sock = listening()
        await asyncio.get_running_loop().create_server(lambda: Server(proxy.control), sock=sock)
        return {"port": proxy.port, "control": sock.getsockname()[1]}

    run_part(start)


if __name__ == "__main__":
    main()
