"""Well-formed HTTP around a body that is no strict JSON, or holds no record, or another one than was asked for."""

import json
from collections.abc import Callable
from typing import Any

from tests.fault_server import answer
from tests.kinds import BAD, SERVED, Kind, Play, says

_DEEP = 100_000


def _of(change: Callable[[bytes], bytes]) -> Play:
    return lambda place: [answer(change(place.body), status=place.status)]


def _unread(name: str, body: bytes) -> Kind:
    """JSON, but no record: an update is read again, and needs none."""
    return Kind(name, says(body), BAD, update=SERVED)


def _changed(name: str, change: Callable[[dict[str, Any]], Any], create: str = "") -> Kind:
    """The good record, changed; the change works on it wherever its envelope holds it."""

    def of(body: bytes) -> bytes:
        whole = json.loads(body)
        inner = whole["data"] if "success" in whole else whole
        told = change(inner)
        return json.dumps({**whole, "data": told} if "success" in whole else told).encode()

    return Kind(name, _of(of), BAD, create, update=SERVED)


def _with_id(id_: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: {**record, "id": id_}


_OTHER = "00000000-0000-4000-8000-ffffffffffff"

KINDS = (
    Kind("a page with status 200", says(b"<!doctype html><title>Sign in</title>", b"Content-Type: text/html")),
    Kind("a page that says it is JSON", says(b"<html></html>")),
    Kind("XML", says(b'<?xml version="1.0"?><id>1</id>')),
    Kind("a word", says(b"OK")),
    Kind("a callback", _of(lambda body: b"callback(" + body + b");")),
    Kind("a guard in front", _of(lambda body: b")]}',\n" + body)),
    Kind("blanks", says(b" \r\n\t ")),
    Kind("a mark and nothing", says(b"\xef\xbb\xbf")),
    Kind("duplicate keys", _of(lambda body: body[:-1] + b', "x": 1, "x": 2}')),
    Kind("duplicate keys by an escape", _of(lambda body: body[:-1] + b', "x": 1, "\\u0078": 2}')),
    Kind("two ids", _of(lambda body: body.replace(b'"id":', b'"id": "other", "id":', 1))),
    Kind("NaN", _of(lambda body: body[:-1] + b', "x": NaN}')),
    Kind("Infinity", _of(lambda body: body[:-1] + b', "x": -Infinity}')),
    Kind("a lone high surrogate", _of(lambda body: body[:-1] + b', "x": "\\ud800"}')),
    Kind("a lone low surrogate", _of(lambda body: body[:-1] + b', "x": "\\udfff!"}')),
    Kind("a lone surrogate as a key", _of(lambda body: body[:-1] + b', "\\ud800": 1}')),
    Kind("a surrogate in UTF-8", _of(lambda body: body[:-1] + b', "x": "\xed\xa0\x80"}')),
    Kind("not UTF-8", _of(lambda body: body[:-1] + b', "x": "\xff"}')),
    Kind("an overlong form", _of(lambda body: body[:-1] + b', "x": "\xc0\xaf"}')),
    Kind("a depth of 100,000 lists", _of(lambda body: body[:-1] + b', "x": ' + b"[" * _DEEP + b"]" * _DEEP + b"}")),
    Kind("a depth of 100,000 objects", _of(
        lambda body: body[:-1] + b', "x": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}")),
    Kind("100,000 openings", says(b"[" * _DEEP)),
    Kind("a text cut off", _of(lambda body: body[:-2])),
    Kind("a text cut off in a string", _of(lambda body: body[: body.rindex(b'"')])),
    Kind("two texts", _of(lambda body: body + body)),
    Kind("lines of texts", _of(lambda body: body + b"\n" + body + b"\n")),
    Kind("a comma too many", _of(lambda body: body[:-1] + b",}")),
    Kind("a comment", _of(lambda body: b"/* here */" + body)),
    Kind("single quotes", _of(lambda body: body.replace(b'"', b"'"))),
    Kind("a raw line break in a string", _of(lambda body: body[:-1] + b', "x": "a\nb"}')),
    Kind("a NUL at the end", _of(lambda body: body + b"\0")),
    Kind("a mark in the middle", _of(lambda body: body[:-1] + b', \xef\xbb\xbf"x": 1}')),
    Kind("a leading zero", _of(lambda body: body[:-1] + b', "x": 007}')),
    Kind("hexadecimal", _of(lambda body: body[:-1] + b', "x": 0xFF}')),
    Kind("words of another language", _of(lambda body: body[:-1] + b', "x": None}')),
    _unread("an empty body", b""),
    _unread("null", b"null"),
    _unread("true", b"true"),
    _unread("a number", b"42"),
    _unread("a string", b'"ok"'),
    _unread("an empty list", b"[]"),
    _unread("an empty object", b"{}"),
    _unread("a list of nothing", b"[null]"),
    Kind("an error with status 200", says(b'{"success": false, "error": {"code": "INTERNAL_ERROR", "message": "no"}}'), BAD,
         update=SERVED, denied_by=("documented", "served")),
    _unread("an envelope around null", b'{"success": true, "data": null}'),
    _unread("an envelope around a list", b'{"success": true, "data": []}'),
    _unread("an envelope around a text", b'{"success": true, "data": "<html>"}'),
    _changed("a list around the record", lambda record: [record]),
    _changed("no id", lambda record: {name: value for name, value in record.items() if name != "id"}),
    _changed("an id of null", _with_id(None)),
    _changed("an id that is a number", _with_id(7)),
    _changed("an id that is true", _with_id(True)),
    _changed("an id that is a list", _with_id([_OTHER])),
    _changed("an id that is an object", _with_id({"id": _OTHER})),
    _changed("an empty id", _with_id("")),
    _changed("an id with a slash", _with_id("a/../b")),
    _changed("an id with a line break", _with_id("a\r\nb")),
    _changed("an id of 10,000 letters", _with_id("a" * 10_000)),
    _changed("another id than asked", _with_id(_OTHER), SERVED),
    _changed("the id in capitals", lambda record: {**record, "id": record["id"].upper()}, SERVED),
)  # fmt: skip
