"""Connections by name: an adapter, the layered `send` to its provider, and what was last seen of its budget."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterator, Mapping

from pydantic import SecretStr

from gateway.adapter import Adapter, BudgetLeft, Call, Reply
from gateway.config import Config, ConnectionConfig
from gateway.drift import Drift
from gateway.layers.asking import asking
from gateway.layers.observe import observe
from gateway.layers.retry import repeat_reads
from gateway.layers.trip import Before, Send, Trip
from gateway.wire import Wire

log = logging.getLogger("gateway")

SANDBOX = "sandbox"
_NOT_STARTED = "http://sandbox.invalid"
"""Stands for a sandbox that nobody started, as where one command needs another connection; no name ends so."""


class Connection:
    """One account at one provider. `send` is the only way to it; its key is in no attribute that is shown."""

    def __init__(self, config: ConnectionConfig, base_url: str, key: str, concurrency: int, max_reply: int) -> None:
        self.name = config.name
        self.timeout = config.timeout
        self.adapter: Adapter = config.adapter(config.settings, config.stages)
        self.config = config
        self.is_sandbox = config.base_url == SANDBOX
        self.budget_left: BudgetLeft | None = None
        self.drift = Drift(config.name, key)
        self._key = key
        self._wire = Wire(self.adapter, base_url, SecretStr(key), concurrency=concurrency, max_reply=max_reply)
        self._send = observe(layered(asking(self._wire.send)), config.name)
        # Cursors are signed with what all replicas of a connection share and nobody else has.
        self.cursor_key = hmac.digest(key.encode(), f"cursor {self.name}".encode(), hashlib.sha256)

    async def send(
        self, call: Call, deadline: float, *, before: Before | None = None, urgent: bool = True, caller: str = ""
    ) -> Reply:
        """The provider's reply, whatever its status. Raises `CallFailed` when there is none that can be used.

        `before` is asked in each try just before anything is sent; see `Trip` for it and for the others.
        """
        reply = await self._send(call, Trip(deadline, before, urgent, caller))
        left = self.adapter.budget_left(reply)
        if left is not None:
            self.budget_left = left
        if reply.status < 300:
            self._learn(call, reply)
        return reply

    @property
    def circuit(self) -> tuple[str, float]:
        """(`closed`, `open` or `half-open`; seconds that it stays open). Nothing opens it yet."""
        return "closed", 0.0

    def _learn(self, call: Call, reply: Reply) -> None:
        facts = self.adapter.learn(call, reply)
        if facts != self.adapter.facts:
            if facts.dialect != self.adapter.facts.dialect:
                log.info("connection %s: its server speaks the dialect %s", self.name, facts.dialect)
            self.adapter = self.config.adapter(self.config.settings, self.config.stages, facts)

    @property
    def secret(self) -> str:
        """The upstream key, for scrubbing it out of what is passed on."""
        return self._key

    async def aclose(self) -> None:
        """Close every socket to the provider."""
        await self._wire.aclose()

    def __repr__(self) -> str:
        return f"<Connection {self.name} to {self.adapter.name}>"


def layered(send: Send) -> Send:
    """The stack around the wire, outermost last.

    The order is an argument: what repeats a call stands outside of what bounds a single one, so that each try is bounded;
    what answers without calling (a cache) will stand outside of what repeats. `observe` is put around all of them.
    """
    return repeat_reads(send)


class Connections(Mapping[str, Connection]):
    """Every connection of a configuration. `base_urls` says where a sandbox listens, by connection."""

    def __init__(self, config: Config, base_urls: Mapping[str, str], sandbox_key: str) -> None:
        self.default = config.default_connection
        self._connections = {
            name: Connection(
                connection,
                base_urls.get(name, _NOT_STARTED if connection.base_url == SANDBOX else connection.base_url),
                connection.api_key.get_secret_value() if connection.api_key is not None else sandbox_key,
                config.limits.concurrency,
                config.limits.reply,
            )
            for name, connection in config.connections.items()
        }

    def __getitem__(self, name: str) -> Connection:
        return self._connections[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._connections)

    def __len__(self) -> int:
        return len(self._connections)

    async def aclose(self) -> None:
        """Close them all."""
        await asyncio.gather(*(connection.aclose() for connection in self._connections.values()))
