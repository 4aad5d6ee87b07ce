"""Bodies that are packed otherwise than their label says, that never unpack to an end, or are simply too much."""

import gzip
import zlib

from tests.fault_server import Loop, answer
from tests.kinds import BAD, CHUNKED, OK, SERVED, Kind, Play, chunk, head, raw, says

_GZIP, _DEFLATE = b"Content-Encoding: gzip", b"Content-Encoding: deflate"
_MILLION = 1_000_000


def _bomb(unit: bytes, times: int, wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join([*(packer.compress(unit) for _ in range(times)), packer.flush()])


def _label(label: bytes) -> Play:
    return lambda place: [answer(place.body, b"Content-Encoding: " + label)]


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


_BLANKS = b" " * _MILLION
_SIXTY_FOUR = b"x" * 65536
_FIFTY = tuple(chunk(_SIXTY_FOUR) for _ in range(800))
_BOMB = _bomb(_BLANKS, 200, 31)
_OTHERS = _bomb(b"a" * _MILLION, 50, 31), _bomb(_BLANKS, 50, 15), _bomb(_BLANKS, 50, -15)

KINDS = (
    Kind("a gzip bomb of blanks", lambda place: [answer(_BOMB, _GZIP)]),
    Kind("a gzip bomb in a string", lambda place: [answer(_OTHERS[0], _GZIP)]),
    Kind("a deflate bomb", lambda place: [answer(_OTHERS[1], _DEFLATE)]),
    Kind("a raw deflate bomb", lambda place: [answer(_OTHERS[2], _DEFLATE)]),
    Kind("a gzip bomb without a length", lambda place: [
        head(OK, _GZIP, CHUNKED) + b"".join(chunk(_BOMB[at : at + 1000]) for at in range(0, len(_BOMB), 1000))
        + b"0\r\n\r\n"]),
    Kind("a gzip bomb packed twice", lambda place: [answer(gzip.compress(_BOMB), _GZIP)]),
    Kind("gzip packed twice", lambda place: [answer(gzip.compress(gzip.compress(place.body)), _GZIP)]),
    Kind("gzip packed and labelled twice", lambda place: [
        answer(gzip.compress(gzip.compress(place.body)), b"Content-Encoding: gzip, gzip")]),
    Kind("gzip in two labels", lambda place: [answer(gzip.compress(gzip.compress(place.body)), _GZIP, _GZIP)]),
    Kind("gzip cut off", lambda place: [answer(gzip.compress(place.body)[:-20], _GZIP)]),
    Kind("gzip without its checksum", lambda place: [answer(gzip.compress(place.body)[:-8], _GZIP)]),
    Kind("gzip with a wrong checksum", lambda place: [answer(gzip.compress(place.body)[:-8] + b"\0" * 8, _GZIP)]),
    Kind("gzip's first bytes only", lambda place: [answer(gzip.compress(place.body)[:5], _GZIP)]),
    Kind("two members of gzip", lambda place: [answer(gzip.compress(place.body) + gzip.compress(b" "), _GZIP)]),
    Kind("gzip and garbage", lambda place: [answer(gzip.compress(place.body) + b"garbage", _GZIP)]),
    Kind("labelled gzip and plain", _label(b"gzip")),
    Kind("labelled deflate and plain", _label(b"deflate")),
    Kind("labelled deflate and gzip", lambda place: [answer(gzip.compress(place.body), _DEFLATE)]),
    Kind("labelled gzip and deflate", lambda place: [answer(zlib.compress(place.body), _GZIP)]),
    Kind("gzip without a label", lambda place: [answer(gzip.compress(place.body))]),
    Kind("deflate cut off", lambda place: [answer(zlib.compress(place.body)[:-6], _DEFLATE)]),
    Kind("raw deflate cut off", lambda place: [answer(_raw_deflate(place.body)[:-3], _DEFLATE)]),
    Kind("one byte of deflate", lambda place: [answer(b"\x78", _DEFLATE)]),
    Kind("labelled brotli", _label(b"br")),
    Kind("labelled zstd", _label(b"zstd")),
    Kind("labelled compress", _label(b"compress")),
    Kind("labelled x-gzip", lambda place: [answer(gzip.compress(place.body), b"Content-Encoding: x-gzip")]),
    Kind("labelled identity and gzip", lambda place: [
        answer(gzip.compress(place.body), b"Content-Encoding: identity, gzip")]),
    Kind("an unknown label", _label(b"aws-chunked")),
    Kind("a label of garbage", _label(b"\xff\xfe;q=1")),
    Kind("UTF-16", lambda place: [answer(place.body.decode().encode("utf-16"))]),
    Kind("UTF-16 without a mark", lambda place: [answer(place.body.decode().encode("utf-16-le"))]),
    Kind("UTF-32", lambda place: [answer(place.body.decode().encode("utf-32-be"))]),
    Kind("Latin-1", lambda place: [answer(place.body[:-1] + ', "x": "é"}'.encode("latin-1"))]),
    Kind("50 MB announced", lambda place: [head(OK, b"Content-Length: 52428800"), *([_SIXTY_FOUR] * 800)]),
    Kind("50 MB in chunks", lambda place: [head(OK, CHUNKED), *_FIFTY, b"0\r\n\r\n"]),
    Kind("50 MB until the end", lambda place: [head(OK), *([_SIXTY_FOUR] * 800)]),
    Kind("50 MB of one string", lambda place: [head(OK, CHUNKED), chunk(b'"'), *_FIFTY, chunk(b'"'), b"0\r\n\r\n"]),
    Kind("300,000 values: empty lists", says(b"[" + b"[]," * 300_000 + b"1]")),
    Kind("300,000 values: empty objects", says(b"[" + b"{}," * 300_000 + b"1]")),
    Kind("250,000 values: fractions", says(b"[" + b"1.5," * 250_000 + b"1]")),
    Kind("80,000 values: members", says(b"{" + b",".join(b'"%x":1' % n for n in range(80_000)) + b"}")),
    Kind("without end", raw(head(OK, CHUNKED), Loop(chunk(_SIXTY_FOUR)))),
    Kind("one chunk without end", raw(head(OK, CHUNKED) + b"7fffffff\r\n", Loop(_SIXTY_FOUR))),
    Kind("an empty body labelled gzip", lambda place: [answer(b"", _GZIP)], BAD, update=SERVED),
    # Odd, but complete and rightly labelled.
    Kind("gzip as labelled", lambda place: [answer(gzip.compress(place.body), _GZIP)], SERVED),
    Kind("deflate as labelled", lambda place: [answer(zlib.compress(place.body), _DEFLATE)], SERVED),
    Kind("raw deflate as labelled", lambda place: [answer(_raw_deflate(place.body), _DEFLATE)], SERVED),
    Kind("labelled identity", _label(b"identity"), SERVED),
    Kind("a mark before the text", lambda place: [answer(b"\xef\xbb\xbf" + place.body)], SERVED),
)  # fmt: skip
