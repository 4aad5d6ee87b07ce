"""A provider that answers at once: both documented records, with the id that was asked for, and nothing else.

As fast as Python goes (raw asyncio on uvloop, bytes put together beforehand), so that it does not limit what is measured.
Run as `python -m bench.provider --port PORT`.
"""

import argparse
import asyncio

import uvloop

from bench.records import SHAPES, kind


class _Template:
    """One kind of record as bytes, in pieces around the id."""

    def __init__(self, path: str, body: str, native: str) -> None:
        self.start = b"GET " + path.partition("{}")[0].encode()
        self._pieces = body.encode().split(native.encode())
        self._rest = sum(map(len, self._pieces))

    def answer(self, native: bytes) -> bytes:
        length = self._rest + len(native) * (len(self._pieces) - 1)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length
        return head + native.join(self._pieces)


TEMPLATES = [_Template(what.provider_path, what.provider_body, what.native) for what in map(kind, SHAPES)]
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def respond(request: bytes) -> bytes:
    """The answer to a request's head."""
    for template in TEMPLATES:
        if request.startswith(template.start):
            native = request[len(template.start) : request.index(b" ", len(template.start))]
            return template.answer(native) if native and b"/" not in native else NOT_FOUND
    return NOT_FOUND


class Protocol(asyncio.Protocol):
    """Keep-alive, requests without bodies, pipelining allowed."""

    def __init__(self) -> None:
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        # Not asserted to be a WriteTransport: uvloop's transports are not subclasses of asyncio's.
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if self._transport is not None and requests:
            self._transport.write(b"".join(map(respond, requests)))


async def serve(port: int) -> None:
    """Answer on 127.0.0.1 until cancelled."""
    server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve in the foreground."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
