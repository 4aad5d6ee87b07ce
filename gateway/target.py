"""The parts of a Call as they go into a request: what passes here is fit for a URL, a header, a body.

An adapter encodes the ids that it puts into a path. Should it ever forget to, the provider still sees no path
that is not below the connection's base URL: nothing is repaired here, a doubtful call is refused.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from gateway import strict_json
from gateway.adapter import Call

PATH = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+)+/?|/")
"""A path in URL encoding: no empty segment (`//`), `?`, `#`, backslash, control or non-ASCII character."""

_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+")
"""The paths that nothing has to be looked for in: no encoding, and no segment that begins with a dot."""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_METHOD = re.compile(r"[A-Z]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class RefusedCall(ValueError):
    """The call must not be sent: a part of it is not fit for a request. Nothing was sent; no value is quoted.

    Not a `CallFailed`, since sending it again or opening a circuit cannot help: an adapter has to be mended.
    """


def target_of(prefix: str, call: Call) -> str:
    """Raw path below `prefix`, and query, as they go on the request line."""
    if call.method not in _METHODS and not _METHOD.fullmatch(call.method):
        raise RefusedCall("the method of the call is not a method")
    if not _PLAIN.fullmatch(call.path):
        _check_encoded(call)
    if not call.query:
        return prefix + call.path
    return _with_query(prefix, call)


def _check_encoded(call: Call) -> None:
    """Raises `RefusedCall` unless the path is good although it is not of the plainest kind."""
    if not PATH.fullmatch(call.path):
        raise RefusedCall("the path of the call is not a plain path in URL encoding")
    plain = unquote(call.path, encoding="latin-1")
    # A server that decodes before it looks would take these for another path: refused encoded, too.
    if "\\" in plain or any(ord(char) < 0x20 or ord(char) == 0x7F for char in plain):
        raise RefusedCall("the path of the call holds a backslash or a control character")
    if any(segment in (".", "..") for segment in plain.split("/")):
        raise RefusedCall("the path of the call has a dot segment")


def _with_query(prefix: str, call: Call) -> str:
    query = []
    for name, value in call.query:
        try:
            query.append(f"{quote(name, safe='')}={quote(value, safe='')}")
        except UnicodeEncodeError:
            break
    if len(query) < len(call.query):
        raise RefusedCall("the query of the call is not Unicode text")
    return f"{prefix}{call.path}?{'&'.join(query)}"


def content_of(call: Call) -> bytes | None:
    """The JSON text of the call's body; None for no body."""
    if call.body is None:
        return None
    try:
        return strict_json.dumps(call.body)
    except (TypeError, ValueError, RecursionError):  # also a lone surrogate; the error may quote it
        pass
    raise RefusedCall("the body of the call is not JSON")


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """`headers`, all printable ASCII; looked at here, since later errors would quote the credential."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise RefusedCall("the credential does not fit into a header: only printable ASCII does")
    return headers
