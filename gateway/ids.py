"""Ids that route: `<connection>:<native id>`, good wherever an id is asked for."""

import re

NATIVE = re.compile(r"[A-Za-z0-9._~-]{1,200}\Z", re.ASCII)


def is_native(value: object) -> bool:
    """Whether this can be a provider's id in a path: of unreserved characters, and no dot segment."""
    return isinstance(value, str) and bool(NATIVE.match(value)) and value not in (".", "..")


def split(value: str) -> tuple[str | None, str]:
    """(connection or None, native id); the first `:` splits. The native id is not checked here."""
    connection, colon, native = value.partition(":")
    return (connection, native) if colon else (None, value)
