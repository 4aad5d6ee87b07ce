"""Answers whose status is none, is not one of success, or leads elsewhere."""

from collections.abc import Callable

from tests.fault_server import answer
from tests.kinds import BAD, FAILED, LATE, SERVED, Kind, Place, Play, head, says

_HTML = b"<!doctype html><title>502</title><h1>Bad Gateway</h1>"


def _with(status: bytes) -> Play:
    """The good record, under this status."""
    return lambda place: [answer(place.body, status=status)]


def _to(status: bytes, where: Callable[[Place], bytes]) -> Play:
    return lambda place: [answer(b"{}", b"Location: " + where(place), status=status)]


def _elsewhere(path: bytes) -> Callable[[Place], bytes]:
    return lambda place: place.elsewhere.encode() + path


def _refused(name: str, status: bytes, body: bytes, read: str, create: str = "") -> Kind:
    return Kind(name, says(body, status=status), read, create, outcome="not_applied", kept=True)


def _failed(name: str, status: bytes, body: bytes = b"{}", read: str = FAILED) -> Kind:
    return Kind(name, says(body, status=status), read, kept=True)


KINDS = (
    Kind("000", _with(b"000 Nothing")),
    Kind("099", _with(b"099 Almost")),
    Kind("600", _with(b"600 Beyond")),
    Kind("999", _with(b"999 Denied")),
    Kind("1000", _with(b"1000 Far")),
    Kind("20", _with(b"20 OK")),
    Kind("2OO with letters", _with(b"2OO OK")),
    Kind("-200", _with(b"-200 OK")),
    Kind("no number", _with(b"OK")),
    Kind("300 with choices", _to(b"300 Multiple Choices", _elsewhere(b"/a"))),
    Kind("301 to another host", _to(b"301 Moved Permanently", _elsewhere(b"/moved"))),
    Kind("302 to another host", _to(b"302 Found", _elsewhere(b"/found"))),
    Kind("303 to another host", _to(b"303 See Other", _elsewhere(b"/other"))),
    Kind("307 to another host", _to(b"307 Temporary Redirect", _elsewhere(b"/temporary"))),
    Kind("308 to another host", _to(b"308 Permanent Redirect", _elsewhere(b"/permanent"))),
    Kind("302 without a scheme", _to(b"302 Found", lambda place: place.elsewhere.removeprefix("http:").encode())),
    Kind("302 with a user", _to(b"302 Found", lambda p: p.elsewhere.replace("//", "//provider.example@").encode())),
    Kind("302 to a file", _to(b"302 Found", lambda place: b"file:///etc/passwd")),
    Kind("302 to itself", _to(b"302 Found", lambda place: b"")),
    Kind("302 to another path", _to(b"302 Found", lambda place: b"/login")),
    Kind("304", says(b"", status=b"304 Not Modified")),
    Kind("305 to a proxy", _to(b"305 Use Proxy", _elsewhere(b""))),
    Kind("399", _with(b"399 Odd")),
    Kind("299 with the record", _with(b"299 Miscellaneous"), SERVED),
    Kind("203 with the record", _with(b"203 Non-Authoritative Information"), SERVED),
    Kind("200 without a reason", _with(b"200"), SERVED),
    Kind("200 with another reason", _with(b"200 Internal Server Error"), SERVED),
    Kind("204 where a record is due", lambda place: [head(b"HTTP/1.1 204 No Content")], BAD, update=SERVED),
    Kind("205 where a record is due", says(b"", status=b"205 Reset Content"), BAD, update=SERVED),
    Kind("202 and nothing", says(b"", status=b"202 Accepted"), BAD, update=SERVED),
    Kind("299 and nothing", says(b"", status=b"299 Odd"), BAD, update=SERVED),
    _refused("400 with a page", b"400 Bad Request", _HTML, "provider-rejected"),
    _refused("401 with a page", b"401 Unauthorized", _HTML, "provider-auth-failed"),
    _refused("402", b"402 Payment Required", b"{}", "provider-rejected"),
    _refused("403 with a page", b"403 Forbidden", _HTML, "provider-auth-failed"),
    _refused("404 with a page", b"404 Not Found", _HTML, "not-found", FAILED),
    _refused("405", b"405 Method Not Allowed", b"null", "provider-rejected"),
    _refused("407", b"407 Proxy Authentication Required", b"[]", "provider-rejected"),
    _refused("410", b"410 Gone", b"0", "not-found", FAILED),
    _refused("418", b"418 I'm a teapot", b'"teapot"', "provider-rejected"),
    _refused("422 with duplicate keys", b"422 Unprocessable", b'{"a":1,"a":2}', "provider-rejected"),
    _refused("451", b"451 Unavailable For Legal Reasons", b"", "provider-rejected"),
    _refused("499", b"499 Odd", b"\xff\xfe", "provider-rejected"),
    _failed("408", b"408 Request Timeout", read=LATE),
    _failed("500 with a page", b"500 Internal Server Error", _HTML),
    _failed("500 and nothing", b"500 Internal Server Error", b""),
    _failed("501", b"501 Not Implemented"),
    _failed("502 with a page", b"502 Bad Gateway", _HTML),
    _failed("503 with half of a text", b"503 Service Unavailable", b'{"a":'),
    _failed("504 with a depth of 100,000", b"504 Gateway Timeout", b"[" * 100_000),
    _failed("505", b"505 HTTP Version Not Supported"),
    _failed("511", b"511 Network Authentication Required", b"<script>location='/login'</script>"),
    _failed("599", b"599 Odd"),
)
