"""Answers that are too slow, or stop on the way. Times are for a deadline of a second or so."""

from tests.fault_server import CLOSE, HALF, READ, RESET, Loop, Step
from tests.kinds import CHUNKED, LATE, OK, SERVED, Kind, Place, chunk, head, raw

_LONG = 30.0
_TICK = 0.1


def _by_the_byte(data: bytes) -> list[Step]:
    return [step for byte in data for step in (bytes([byte]), _TICK)]


def _late(place: Place) -> list[Step]:
    return [_LONG, place.good]


KINDS = (
    Kind("the first byte never", raw(_LONG), LATE),
    Kind("the whole answer too late", _late, LATE),
    Kind("the head by the byte", lambda place: _by_the_byte(place.good), LATE),
    Kind("the body by the byte", lambda place: [head(OK, b"Content-Length: %d" % len(place.body)),
                                                *_by_the_byte(place.body)], LATE),
    Kind("chunks by the byte", lambda place: [head(OK, CHUNKED), *(
        step for byte in place.body for step in (chunk(bytes([byte])), _TICK))], LATE),
    Kind("a status line and silence", raw(OK + b"\r\n", _LONG), LATE),
    Kind("half a head and silence", raw(OK + b"\r\nContent-Len", _LONG), LATE),
    Kind("a head and silence", raw(head(OK, b"Content-Length: 2"), _LONG), LATE),
    Kind("half a body and silence", lambda place: [place.good[: -len(place.body) // 2], _LONG], LATE),
    Kind("all but the last byte and silence", lambda place: [place.good[:-1], _LONG], LATE),
    Kind("a chunk's size and silence", raw(head(OK, CHUNKED) + b"2\r\n", _LONG), LATE),
    Kind("no last chunk and silence", lambda place: [head(OK, CHUNKED) + chunk(place.body), _LONG], LATE),
    Kind("no length and no end", lambda place: [head(OK) + place.body, _LONG], LATE),
    Kind("a header now and then", raw(OK + b"\r\n", Loop(b"X: y\r\n", _TICK)), LATE),
    Kind("an interim answer now and then", raw(Loop(head(b"HTTP/1.1 102 Processing"), 0.3)), LATE),
    Kind("a chunk now and then", raw(head(OK, CHUNKED), Loop(chunk(b" "), _TICK)), LATE),
    Kind("a trailer now and then", raw(head(OK, CHUNKED) + chunk(b"{}") + b"0\r\n", Loop(b"X: y\r\n", _TICK)), LATE),
    Kind("half closed without a byte", raw(HALF, _LONG), LATE),
    Kind("half closed in the head", raw(OK + b"\r\n", HALF, _LONG), LATE),
    Kind("half closed in the body", lambda place: [place.good[: -len(place.body) // 2], HALF, _LONG], LATE),
    Kind("closed after a while", raw(0.2, CLOSE), LATE),
    Kind("reset after a while", raw(0.2, RESET), LATE),
    Kind("half a body, then reset after a while", lambda place: [place.good[:-9], 0.2, RESET], LATE),
    # Slow, but in time.
    Kind("in pieces, in time", lambda place: [place.good[:30], 0.05, place.good[30:60], 0.05, place.good[60:]], SERVED),
    Kind("half closed after the answer", lambda place: [place.good, HALF], SERVED),
    # As if it had crossed the end of an idle connection: the request after this one is not answered there.
    Kind("half closed at the next request", lambda place: [place.good, READ, HALF], SERVED),
    Kind("closed at the next request", lambda place: [place.good, READ, CLOSE], SERVED),
    Kind("reset at the next request", lambda place: [place.good, READ, RESET], SERVED),
)  # fmt: skip
