"""The plainest answers, read without the parser: one piece that holds one whole answer, as anybody would write it.

    HTTP/1.1 200 OK                     a status line of HTTP/1.1
    content-type: application/json      headers of printable ASCII, none of them twice
    content-length: 19                  a length, and nothing that would say how to read the body otherwise

    {"id": "opp_1", …}                  so many bytes, and not one more

A parser that calls Python for each header costs more than all else that is done with an answer's head. Whatever is written
in another way is not judged here: it goes to the parser, which takes the plainest answers too, and to the same result.
"""

import re
from typing import Final

LINE = 8190
"""The longest status line, and the longest header."""
LINES = 128
"""Headers at most."""
_REMEMBERED: Final = 1000

_STATUS: Final = re.compile(rb"HTTP/1\.1 (2[0-9][0-9]|[45][0-9][0-9]) [A-Za-z' -]*")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_OTHERWISE: Final = frozenset({"transfer-encoding", "content-encoding", "upgrade", "trailer", "proxy-connection"})
"""Headers by which the body is to be read, or the connection to be used, in another way."""
_WITHOUT_BODY: Final = frozenset({204, 205, 304})

_statuses: dict[bytes, int] = {}
_fields: dict[bytes, tuple[str, str]] = {}
"""Lines that were read before: a provider sends most of its headers with every answer."""


def plain(data: bytes, most: int) -> tuple[int, dict[str, str], bytes] | None:
    """(status, headers with names in lower case, body of at most `most` bytes); None where the parser has to be asked."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    line, *lines = data[:end].split(b"\r\n")
    status = _statuses.get(line) or _status(line)
    if not status or len(lines) > LINES:
        return None
    try:
        headers = dict(map(_fields.__getitem__, lines))
    except KeyError:  # one of them is new
        fields = [_fields.get(line) or _field(line) for line in lines]
        if None in fields:
            return None
        headers = dict(fields)  # type: ignore[arg-type]  # None of them is None by now
    size = len(data) - end - 4
    if size > most or headers.get("content-length") != str(size) or len(headers) != len(lines):
        return None
    return status, headers, data[end + 4 :]


def _status(line: bytes) -> int:
    match = _STATUS.fullmatch(line)
    if match is None or len(line) > LINE or int(match[1]) in _WITHOUT_BODY:
        return 0
    if len(_statuses) < _REMEMBERED:
        _statuses[line] = int(match[1])
    return int(match[1])


def _field(line: bytes) -> tuple[str, str] | None:
    match = _FIELD.fullmatch(line)
    if match is None or len(line) > LINE:
        return None
    name, value = match[1].decode("ascii").lower(), (match[2] or b"").decode("ascii")
    if name in _OTHERWISE or (name == "connection" and value.lower() != "keep-alive"):
        return None
    if len(_fields) >= _REMEMBERED:
        _fields.clear()
    _fields[line] = name, value
    return name, value
