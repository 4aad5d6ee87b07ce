"""Connections by name: an adapter, the layered `send` to its provider, and what was last seen of its budget."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from gateway.adapter import Adapter, BudgetLeft, Call, Reply
from gateway.config import CircuitConfig, Config, ConnectionConfig, LimitsConfig
from gateway.drift import Drift
from gateway.layers.budget import Purse
from gateway.layers.circuit import Circuit
from gateway.layers.observe import observe
from gateway.layers.retry import repeating
from gateway.layers.trip import Before, Trip
from gateway.layers.trying import trying
from gateway.slots import Slots
from gateway.state.local import FallbackBoard, LocalBoard
from gateway.state.store import Board
from gateway.wire import Wire

log = logging.getLogger("gateway")

SANDBOX = "sandbox"
_NOT_STARTED = "http://sandbox.invalid"
"""Stands for a sandbox that nobody started, as where one command needs another connection; no name ends so."""


class Connection:
    """One account at one provider. `send` is the only way to it; its key is in no attribute that is shown."""

    def __init__(
        self, config: ConnectionConfig, base_url: str, key: str, limits: LimitsConfig | None = None,
        circuit: CircuitConfig | None = None, board: Board | None = None,
    ) -> None:  # fmt: skip
        limits, board = limits or LimitsConfig(), board or LocalBoard()
        self.board: Board = board
        self.name = config.name
        self.timeout = config.timeout
        self.adapter: Adapter = config.adapter(config.settings, config.stages)
        self.config = config
        self.is_sandbox = config.base_url == SANDBOX
        self.drift = Drift(config.name, key)
        self._key = key
        self._wire = Wire(
            self.adapter, base_url, SecretStr(key), concurrency=limits.concurrency, max_reply=limits.reply
        )
        fixed, off = config.budget_from == "file", config.budget_from == "off"
        # What was spent or told under one credential says nothing about another: after a rotation the account is a new one.
        self.account = hmac.digest(key.encode(), f"account {base_url}".encode(), hashlib.sha256).hex()[:16]
        """A word for the provider's address and the credential, which tells neither."""
        self._purse = Purse(f"{config.name}:{self.account}", config.budget, board, enforced=not off, fixed=fixed)
        slots = Slots(limits.concurrency)
        self._circuit = (
            None if circuit is None
            else Circuit(config.name, circuit.failures, circuit.open, config.timeout, board, slots.flush)
        )  # fmt: skip

        def adapter() -> Adapter:
            return self.adapter

        once = trying(self._wire.send, adapter, self._learn, slots, self._purse, self._circuit)
        self._send = observe(repeating(once, adapter), config.name)
        # Cursors are signed with what all replicas of a connection share and nobody else has.
        self.cursor_key = hmac.digest(key.encode(), f"cursor {self.name}".encode(), hashlib.sha256)
        told = f"{base_url} {config.adapter.__qualname__} {config.settings!r} {config.stages!r}"
        self._reading = hmac.digest(key.encode(), told.encode(), hashlib.sha256).hex()[:24]
        self._learned = 0
        self.reading = f"{self._reading}.0"
        """A word for whose records are read and how: another one for another credential, mapping, or dialect learned."""

    def send(
        self, call: Call, deadline: float, *, before: Before | None = None, urgent: bool = True, caller: str = ""
    ) -> Coroutine[Any, Any, Reply]:
        """The provider's reply, whatever its status. Raises `CallFailed` when there is none that can be used.

        `before` is asked in each try just before anything is sent; see `Trip` for it and for the others.
        """
        return self._send(call, Trip(deadline, before, urgent, caller))

    def budget_left(self) -> BudgetLeft | None:
        """What is left of the provider's limit, as this worker knows it; None while nothing is known."""
        return self._purse.left()

    @property
    def circuit(self) -> tuple[str, float]:
        """(`closed`, `open` or `half-open`; seconds that it stays open). Always closed where circuits are off."""
        return ("closed", 0.0) if self._circuit is None else self._circuit.state()

    async def look(self) -> None:
        """See how the connection stands by what all workers know, before it is shown."""
        await self._purse.look()
        if self._circuit is not None:
            await self._circuit.look()

    async def may_look_up(self, *, old: bool) -> bool:
        """Whether one more look-up for a write of unknown outcome is within its share of the budget, and if so, that it is
        counted. `old`: such as others, younger ones, come before."""
        return await self._purse.look_up(old)

    def _learn(self, call: Call, reply: Reply) -> None:
        """What an answer that went well tells of the server: read from then on by what is known."""
        adapter = self.adapter
        facts = adapter.learn(call, reply)
        if facts is not adapter.facts and facts != adapter.facts:
            if facts.dialect != adapter.facts.dialect:
                log.info("connection %s: its server speaks the dialect %s", self.name, facts.dialect)
            self.adapter = self.config.adapter(self.config.settings, self.config.stages, facts)
            self._learned += 1
            self.reading = f"{self._reading}.{self._learned}"

    @property
    def secret(self) -> str:
        """The upstream key, for scrubbing it out of what is passed on."""
        return self._key

    async def aclose(self) -> None:
        """Close every socket to the provider."""
        await self._wire.aclose()

    def __repr__(self) -> str:
        return f"<Connection {self.name} to {self.adapter.name}>"


class Connections(Mapping[str, Connection]):
    """Every connection of a configuration. `base_urls` says where a sandbox listens, by connection.

    `board` is what workers share; without one each worker keeps budgets and circuits for itself.
    """

    def __init__(
        self, config: Config, base_urls: Mapping[str, str], sandbox_key: str, board: Board | None = None
    ) -> None:
        known: Board = LocalBoard() if board is None else FallbackBoard(board)
        self.default = config.default_connection
        self.board = known
        self._connections = {
            name: Connection(
                connection,
                base_urls.get(name, _NOT_STARTED if connection.base_url == SANDBOX else connection.base_url),
                connection.api_key.get_secret_value() if connection.api_key is not None else sandbox_key,
                config.limits,
                config.circuit,
                known,
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
