"""A provider that answers at once, or after a while: both documented records, with the id asked for, or 100 of them.

As fast as Python goes (raw asyncio on uvloop, bytes put together beforehand), so that it does not limit what is measured.
Run as `python -m bench.provider --port PORT [--delay SECONDS]`.
"""

import argparse
import asyncio

import uvloop

from bench.records import SHAPES, Shape, kind, page_body

PAGE = 100
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    # A limit that is never reached, told as GetRaze tells it, so that the budget is kept on every answer.
    b"X-RateLimit-Limit: 100000000\r\nX-RateLimit-Remaining: 99999999\r\nX-RateLimit-Reset: 4102444800\r\n"
    b"Content-Length: %d\r\n\r\n"
)


class _Template:
    """One kind of record as bytes, in pieces around the id."""

    def __init__(self, shape: Shape, path: str, body: str, native: str) -> None:
        whole = page_body(shape, PAGE).encode()
        self.page_start = b"GET " + path.removesuffix("/{}").encode() + b"?"
        self.page = HEAD % len(whole) + whole
        self.start = b"GET " + path.partition("{}")[0].encode()
        self._pieces = body.encode().split(native.encode())
        self._rest = sum(map(len, self._pieces))

    def answer(self, native: bytes) -> bytes:
        length = self._rest + len(native) * (len(self._pieces) - 1)
        return HEAD % length + native.join(self._pieces)


TEMPLATES = [_Template(what.shape, what.provider_path, what.provider_body, what.native) for what in map(kind, SHAPES)]
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def respond(request: bytes) -> bytes:
    """The answer to a request's head."""
    for template in TEMPLATES:
        if request.startswith(template.start):
            native = request[len(template.start) : request.index(b" ", len(template.start))]
            return template.answer(native) if native and b"/" not in native else NOT_FOUND
        if request.startswith(template.page_start):
            return template.page
    return NOT_FOUND


class Protocol(asyncio.Protocol):
    """Keep-alive, requests without bodies, pipelining allowed. `delay`: seconds before each answer."""

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self._rest = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember whom to answer."""
        # Not asserted to be a WriteTransport: uvloop's transports are not subclasses of asyncio's.
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of WriteTransport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if self._transport is not None and requests:
            answers = b"".join(map(respond, requests))
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, answers)
            else:
                self._transport.write(answers)


async def serve(port: int, delay: float) -> None:
    """Answer on 127.0.0.1 until cancelled."""
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(delay), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve in the foreground."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.delay))


if __name__ == "__main__":
    main()
