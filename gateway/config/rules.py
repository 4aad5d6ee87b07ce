"""What must hold across keys: names that must exist, keys that must differ, and who may be served where."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config.addresses import is_loopback
from gateway.config.mistakes import Where
from gateway.config.models import Config
from gateway.config.schema import schema_at, shared_schema
from gateway.config.source import Source, items, mapping
from gateway.config.telling import expected, listed, secret_name
from gateway.config.values import HASH
from gateway.state.opening import hopeless


def check_exposure(config: Config, host: str) -> str | None:
    """Why the gateway must not serve on `host`, None if it may: without callers anybody may use our keys."""
    return None if config.callers else _exposed(host)


def check_sharing(config: Config, workers: int) -> str | None:
    """Why so many workers must not serve this configuration, None if they may."""
    if config.state != "off" or not config.cache.ttl or workers < 2:
        return None
    return "several workers with `state: off` cannot tell each other of writes: set `cache: {ttl: 0s}`, or a state"


def keys_in_the_clear(config: Config) -> list[str]:
    """A note for each connection whose key goes to another machine without TLS, on purpose (a sidecar) or by mistake."""
    return [
        f"connection {name}: its key and its records go to {where.hostname} unencrypted; write https:// if it speaks TLS"
        for name, connection in config.connections.items()
        if (where := urlsplit(connection.base_url)).scheme == "http" and not is_loopback(where.hostname or "")
    ]


def _exposed(host: str) -> str | None:
    if is_loopback(host):
        return None
    return "without callers only loopback addresses are served; add callers or set server.host to 127.0.0.1"


def check_host(source: Source) -> None:
    """Without callers, `server.host` is a loopback address."""
    host = mapping(source.tree.get("server")).get("host")
    if isinstance(host, str) and not source.tree.get("callers") and ("callers",) not in source.told:
        exposed = _exposed(str(host))
        if exposed:
            source.wrong(("server", "host"), exposed)


def check_state(source: Source, folder: Path) -> None:
    """`state` is a store that can be opened here, as far as that can be told without opening it."""
    written = source.tree.get("state")
    if isinstance(written, str) and ("state",) not in source.told:
        why = hopeless(str(written), folder)
        if why:
            source.wrong(("state",), why)


def check_stateless(source: Source, config: Config) -> None:
    """Without a state nothing is asked for that needs one."""
    if config.state == "off" and config.idempotency.required:
        why = "with `state: off` no key can be honoured, so every create would be refused: set false here, or a state"
        source.wrong(("idempotency", "required"), why)
    why_not = check_sharing(config, config.server.workers)
    if why_not:
        source.wrong(("server", "workers"), why_not)


def check_nulls(source: Source) -> None:
    """Every known key has a value; an adapter's own settings may be nothing."""
    for path in source.nulls:
        settings = path[:1] == ("connections",) and path[2:3] == ("settings",) and len(path) > 3
        holder = schema_at(shared_schema(), path[:-1])
        if not settings and path[-1] in holder.get("properties", path):  # an unknown key is told as such
            needed = path[-1] in holder.get("required", ())
            source.wrong(path, f"nothing is written here; write a value{'' if needed else ' or leave the key out'}")


def check_variables(source: Source) -> None:
    """Every `${NAME}` without a default is set."""
    for path, variables in source.unset.items():
        secret = secret_name(path)  # nobody should write a key into the file as a default
        instead = "" if secret else f", or write ${{{variables[0]}:-default}}"
        source.wrong(path, f"{listed(variables)} is not set in the environment; set it{instead}")


def check_default_connection(source: Source, names: Collection[str]) -> None:
    """The default connection is one of `names`; with several it is written."""
    path, default = ("default_connection",), source.tree.get("default_connection")
    if default is None and len(names) > 1:
        source.wrong(path, f"is missing; expected one of {listed(names)}")
    elif isinstance(default, str) and names and default not in names:
        expected(source, path, f"expected one of {listed(names)}")


def check_callers(source: Source, names: Collection[str]) -> None:
    """Callers differ in name and key, and their connections are among `names`."""
    called: dict[str, int] = {}
    hashes: dict[str, Where] = {}
    for index, caller in enumerate(map(mapping, items(source.tree.get("callers")))):
        path: Where = ("callers", index)
        name = caller.get("name")
        if isinstance(name, str) and called.setdefault(str(name), index) != index:
            source.wrong((*path, "name"), f"this name is taken by callers[{called[name]}]")
        for here, digest in _hashes((*path, "key_sha256"), caller.get("key_sha256")):
            if isinstance(digest, str) and re.fullmatch(HASH.pattern, digest):
                first = hashes.setdefault(digest.lower(), here)
                if first != here:
                    source.wrong(here, f"this key is in line {source.place(first)[0]} already")
        for place, connection in enumerate(items(caller.get("connections"))):
            if isinstance(connection, str) and names and connection not in names:
                expected(source, (*path, "connections", place), f"expected one of {listed(names)}")


def _hashes(path: Where, written: Any) -> list[tuple[Where, Any]]:
    """One hash or a list of them, each with its place."""
    if isinstance(written, str):
        return [(path, written)]
    return [((*path, place), digest) for place, digest in enumerate(items(written))]
