"""Who may call: caller keys by their SHA-256, scopes, and the connections that a caller may use."""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import CallerConfig

READ = "opportunities:read"
WRITE = "opportunities:write"
DELETE = "opportunities:delete"
OPERATOR = "operator"
SCOPES = (READ, WRITE, DELETE, OPERATOR)


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as authenticated: `connections` None means all."""

    name: str
    scopes: frozenset[str]
    connections: frozenset[str] | None

    def may_use(self, connection: str) -> bool:
        """Whether this caller may use the connection of that name."""
        return self.connections is None or connection in self.connections


ANYONE = Caller("", frozenset(SCOPES), None)
"""Whoever reaches a gateway without callers: it serves loopback addresses only."""


def hash_key(key: str) -> str:
    """The SHA-256 of a caller key as config.yaml holds it, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


class Callers:
    """The callers of a configuration, found by key."""

    def __init__(self, callers: Iterable[CallerConfig]) -> None:
        self._by_hash = {
            digest: (digest, Caller(caller.name, caller.scopes, caller.connections))
            for caller in callers
            for digest in caller.key_sha256
        }

        self.are_asked = bool(self._by_hash)
        """Whether whoever calls has to be one of them."""

    def find(self, key: str) -> Caller | None:
        """The caller with this key; None when it is nobody's. The last comparison takes the same time for any key."""
        digest = hash_key(key)
        held, caller = self._by_hash.get(digest, ("0" * 64, ANYONE))
        return caller if hmac.compare_digest(held, digest) else None
