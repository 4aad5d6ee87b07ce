"""The body of a reply, decoded as it arrives and never larger than allowed.

Taken are: no Content-Encoding, `identity`, and one complete `gzip` or `deflate` (with a zlib header or, as
some servers send it, without). Anything else is a `BadAnswer`: what is not certain is not read.
"""

import contextlib
import zlib
from collections.abc import Iterable

from gateway.errors import BadAnswer

_STEP = 64 * 1024
"""Bytes decoded at a time, so that a bomb costs no more memory than this above the limit."""


class Body:
    """Collects one body; `feed` it what arrives, `finish` gives the decoded bytes.

    `limit` is in bytes and holds for the raw and for the decoded size. Raises `BadAnswer` with `encoding` for
    a label or for bytes that cannot be taken, and with `too_large` as soon as the limit is passed.
    """

    __slots__ = ("_decoder", "_label", "_limit", "_pieces", "_raw", "_size", "_start")

    def __init__(self, encodings: Iterable[str], limit: int) -> None:
        """`encodings` are the values of all Content-Encoding headers, as sent."""
        self._label = _label(encodings)
        self._limit = limit
        self._raw = 0
        # Pieces, joined when all are there: one growing buffer is moved again and again, and is twice as large while it is.
        self._pieces: list[bytes] = []
        self._size = 0
        self._start = b""
        self._decoder = zlib.decompressobj(16 + zlib.MAX_WBITS) if self._label == "gzip" else None

    def feed(self, data: bytes) -> None:
        """Take the next raw bytes."""
        self._raw += len(data)
        if self._raw > self._limit:
            raise BadAnswer("too_large", f"more than {self._limit} bytes")
        if self._label == "identity":
            self._pieces.append(data)
        elif self._decoder is None:
            self._start_deflate(data)
        else:
            self._decode(self._decoder, data)

    def finish(self) -> bytes:
        """The whole decoded body; `encoding` when the compressed data did not come to its end."""
        if self._label != "identity" and self._raw and (self._decoder is None or not self._decoder.eof):
            raise BadAnswer("encoding", "the compressed body is cut off")
        return b"".join(self._pieces)

    def _start_deflate(self, data: bytes) -> None:
        # Two bytes tell whether there is a zlib header; until both are here, one waits in `_start`.
        start = self._start + data
        if len(start) < 2:
            self._start = start
            return
        has_header = start[0] & 0x0F == zlib.DEFLATED and (start[0] << 8 | start[1]) % 31 == 0
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        self._decode(self._decoder, start)

    def _decode(self, decoder: "zlib._Decompress", data: bytes) -> None:
        while data:
            step: bytes | None = None
            with contextlib.suppress(zlib.error):
                step = decoder.decompress(data, min(_STEP, self._limit - self._size + 1))
            if step is None:
                raise BadAnswer("encoding", f"the body is not {self._label}")
            self._pieces.append(step)
            self._size += len(step)
            if self._size > self._limit:
                raise BadAnswer("too_large", f"more than {self._limit} bytes when decoded")
            if decoder.unused_data:
                raise BadAnswer("encoding", f"bytes after the end of the {self._label} data")
            data = decoder.unconsumed_tail
            if decoder.eof:
                break


def _label(encodings: Iterable[str]) -> str:
    labels = [label.strip().lower() for value in encodings for label in value.split(",")]
    labels = [label for label in labels if label]
    if not labels:
        return "identity"
    if len(labels) > 1 or labels[0] not in ("identity", "gzip", "deflate"):
        raise BadAnswer("encoding", "a Content-Encoding other than identity, gzip or deflate")
    return labels[0]
