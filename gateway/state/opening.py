"""`state:` of config.yaml becomes the two halves of a state store."""

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.state.store import State

PREFIX = "crm-gateway:"
_EXPECTED = (
    "a state store is sqlite:///FILE, redis://HOST:PORT/DB or rediss://HOST:PORT/DB, a port from 1 to 65535; "
    "in a password write %2F for /, %3F for ?, %23 for # and %40 for @"
)


def state_of(url: str, folder: Path) -> State | None:
    """The state that `url` stands for; None for `off`. Nothing is opened yet. Raises `ValueError`, which shows no URL.

    sqlite:///FILE         a file, seen from `folder` when it is relative (sqlite:////FILE is absolute); beside it
                           FILE-board, the memory that the workers share
    redis://[[USER]:PASSWORD@]HOST[:PORT][/DB][?prefix=WORD]   Redis or Valkey; rediss:// with TLS
    """
    if url == "off":
        return None
    scheme, _, rest = url.partition(":///")
    if scheme == "sqlite":
        if not rest or "?" in rest or "#" in rest:
            raise ValueError("sqlite:///FILE has a file and no options")
        from gateway.state.board import SharedBoard
        from gateway.state.sqlite import SqliteStore

        path = folder / unquote(rest)
        return State(SqliteStore(path), SharedBoard(path.with_name(path.name + "-board")))
    return _redis(url)


def hopeless(url: str, folder: Path) -> str | None:
    """Why no store can be opened there as things are, and what to do; None if one may be. Nobody is asked, no URL shown."""
    try:
        state = state_of(url, folder)
    except ValueError as error:
        return str(error)
    if url.startswith("sqlite:") and not os.path.isdir((folder / unquote(url.partition(":///")[2])).parent):
        return "the file's folder does not exist (a relative one is seen from the configuration's): make it"
    if state is not None and "redis" in url.partition(":")[0] and find_spec("redis") is None:
        from gateway.state.redis_server import NO_PACKAGE

        return NO_PACKAGE
    return None


def _redis(url: str) -> State:
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:  # Python's own words show what it took for the port, which may be of the password
        raise ValueError(_EXPECTED) from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    prefix = options.pop("prefix", PREFIX)
    database = parts.path.strip("/") or "0"
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not database.isdecimal() or parts.fragment:
        raise ValueError(_EXPECTED)
    if options or not prefix:
        raise ValueError("of the options of a redis:// address only prefix=WORD is known")
    from gateway.state.redis import RedisAddress, RedisBoard, RedisStore

    address = RedisAddress(
        host=parts.hostname,
        port=port,
        database=int(database),
        user=unquote(parts.username or "") or None,
        password=unquote(parts.password or "") or None,
        tls=parts.scheme == "rediss",
        prefix=prefix,
    )
    return State(RedisStore(address), RedisBoard(address))
