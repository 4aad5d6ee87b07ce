"""Cursors: where a list goes on, opaque to the caller and bound to whoever it was given to.

A cursor is signed with a key of the connection together with whatever its list is bound to (the caller, the connection, the
filters and the sort, and how the list is made); it is good for the very list that it came from and for nothing else.
Nothing is stored.
"""

import base64
import binascii
import hashlib
import hmac

import msgspec

from gateway.errors import FieldError, Problem
from gateway.strict_json import Json

_TAG = 16


def _signature(key: bytes, binding: Json, payload: bytes) -> bytes:
    return hmac.digest(key, msgspec.json.encode(binding) + b"\0" + payload, hashlib.sha256)[:_TAG]


def seal(key: bytes, binding: Json, position: Json) -> str:
    """`position` as a cursor that only `unseal` with the same key and binding reads. URL-safe."""
    payload = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_signature(key, binding, payload) + payload).rstrip(b"=").decode()


def unseal(key: bytes, binding: Json, cursor: str) -> Json:
    """The position in a cursor of `seal`. Raises `Problem("invalid-request")` for any other text."""
    try:
        sealed = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        sealed = b""
    payload = sealed[_TAG:]
    # Base64 has several spellings of the same bytes; only our own is taken.
    ours = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() == cursor
    if not payload or not ours or not hmac.compare_digest(_signature(key, binding, payload), sealed[:_TAG]):
        raise Problem(
            "invalid-request",
            "The cursor is not one of this list: it goes with the same caller, connection, filters and sort, "
            "for as long as these are answered in the same way.",
            errors=[
                FieldError("cursor", "use `page.next_cursor` of the page before, unchanged and with the same filters")
            ],
        )
    return msgspec.json.decode(payload)
