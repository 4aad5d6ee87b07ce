"""What is known of a connection's next request when it sends the headers of its last one again, byte for byte.

A client that keeps its connection sends the same headers with nearly every request. The parser reads them once; where a
later piece of what comes is one whole request line of the plainest kind and then exactly these bytes, it says what they
said. Everything else goes to the parser: nothing is decided here that it has not decided about the same bytes.
"""

import re
from typing import Final

from gateway.http.requests import Headers

MOST_BYTES = 4096
"""Of a request that is remembered or known again: what each open connection may hold for it, and less than any limit."""

_LINE: Final = re.compile(rb"GET (/[A-Za-z0-9._~:/-]*)(?:\?([A-Za-z0-9._~:/=&,%+-]*))? HTTP/1\.1\r\n")
_SAY_MORE: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"})
"""Headers by which more may belong to a request than its head."""


class Known:
    """The headers of a request without a body: their bytes, what they were parsed to, and what was read in them since."""

    __slots__ = ("_bytes", "headers", "sent")

    def __init__(self, bytes_: bytes, sent: list[tuple[bytes, bytes]]) -> None:
        self._bytes = bytes_
        self.sent = sent
        self.headers = Headers(sent)

    def target(self, data: bytes) -> tuple[bytes, bytes] | None:
        """(path, query) where `data` is one request with these headers; None where it is anything else."""
        line = _LINE.match(data) if len(data) <= MOST_BYTES else None
        if line is None or data[line.end() :] != self._bytes:
            return None
        return line[1], line[2] or b""


def remembered(data: bytes, sent: list[tuple[bytes, bytes]]) -> Known | None:
    """What to remember of `data`, all of which the parser took for one request with these headers; None for nothing."""
    if len(data) > MOST_BYTES or data.find(b"\r\n\r\n") != len(data) - 4:
        return None
    line = _LINE.match(data)
    if line is None:
        return None
    for name, value in sent:
        if name in _SAY_MORE or (name == b"connection" and value.lower() != b"keep-alive"):
            return None
    return Known(data[line.end() :], sent)
