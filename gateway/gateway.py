"""The gateway without HTTP: a configuration in force, and the way from an id to the opportunities of one connection.

The command line and the HTTP application both stand on this.
"""

import logging
from collections.abc import Mapping

from gateway.cache import Cache
from gateway.callers import Caller, Callers
from gateway.config import Config
from gateway.connections import Connections
from gateway.errors import FieldError, Problem
from gateway.idempotency import Idempotency, kept
from gateway.ids import is_native, split
from gateway.metrics import STATE_ERRORS
from gateway.opportunities import Opportunities
from gateway.reporting import Reports
from gateway.settling import Settler
from gateway.state.opening import state_of
from gateway.state.store import State, StateUnavailable

log = logging.getLogger("gateway")

SANDBOX_KEY = "sandbox-key"
"""The key of a sandbox whose connection has none: it opens nothing but our own stand-in."""


class Gateway:
    """A configuration in force. `base_urls` tells where a sandbox listens, by connection.

    Reads and writes work without `open`, but no Idempotency-Key is taken then, and nothing is shared with other processes.
    """

    def __init__(self, config: Config, base_urls: Mapping[str, str], before: "Gateway | None" = None) -> None:
        """`before`: one that is open, whose state is taken over, and with it what the store is still to be told."""
        self.config = config
        self.callers = Callers(config.callers)
        given = None if before is None else before.state
        self.state: State | None = state_of(config.state, config.folder) if given is None else given
        self._given = given is not None
        self.reports: Reports | None = None if before is None else before.reports
        if self.reports is None and self.state is not None:
            self.reports = Reports(self.state)
        board = None if self.state is None else self.state.board
        self.connections = Connections(config, base_urls, SANDBOX_KEY, board)
        keep = config.cache
        self.cache = Cache(keep.ttl, keep.stale_if_error, keep.max_bytes, self.connections.board) if keep.ttl else None
        later = None if self.reports is None else self.reports.raise_later
        self._opportunities = {name: Opportunities(one, later) for name, one in self.connections.items()}
        self.idempotency: Idempotency | None = None
        self.settler: Settler | None = None
        self.draining = False
        """The server is about to stop: what comes is answered, and callers are told to go elsewhere."""

    async def open(self, *, settling: bool = True) -> None:
        """Open the state store and, if `settling`, begin to settle what is unknown.

        A store that is away is waited for, not required. Raises `UnsafeStore`.
        """
        if self.state is None or self.reports is None:
            return
        keep, lag = self.config.idempotency.keep, self.config.idempotency.lookup_lag
        store = self.state.store
        self.settler = Settler(store, lag, keep, self._opportunities.get, kept)
        self.idempotency = Idempotency(store, self.reports, keep, lag, look=self.settler.look)
        try:
            if not self._given:
                await self.state.open()
        except StateUnavailable as error:
            STATE_ERRORS.of().add()
            log.error("state store: %s; reads are answered, writes are refused until it is there", error)
        if settling:
            self.settler.start()

    async def check_ready(self) -> None:
        """Raises `Problem` unless requests of every kind can be served, and will be for a while."""
        if self.draining:
            raise Problem("overloaded", "This gateway is about to stop: ask another one.", retry_after=1)
        if self.idempotency is not None:
            await self.idempotency.ready(None)

    async def aclose(self, *, state: bool = True) -> None:
        """End the writes under way, then let go of everything; of the state store, and of what it is still to be told, only
        if `state`."""
        if self.cache is not None:
            await self.cache.aclose()
        if self.settler is not None:
            await self.settler.aclose()
        if self.idempotency is not None:
            await self.idempotency.aclose()
        await self.connections.aclose()
        if state:
            await self.close_state()

    async def close_state(self) -> None:
        """Tell the state store what it is still to be told, if that is possible, and let go of it."""
        if self.reports is not None:
            await self.reports.aclose()
        if self.state is not None:
            await self.state.aclose()

    def on(self, connection: str) -> Opportunities:
        """The opportunities of a connection that is known to exist."""
        return self._opportunities[connection]

    def has(self, connection: str) -> bool:
        """Whether there is a connection of that name, whoever may use it."""
        return connection in self._opportunities

    def choose(self, caller: Caller, header: str | None, prefix: str | None = None) -> Opportunities:
        """The connection of a request: the id's prefix, else the header, else the default.

        A connection that does not exist and one that the caller may not use are answered alike.
        """
        if prefix is not None and header is not None and prefix != header:
            message = "it names another connection than the id"
            raise Problem("invalid-request", "The header X-CRM-Connection contradicts the id.",
                          errors=[FieldError("x-crm-connection", message)])  # fmt: skip
        chosen = prefix if prefix is not None else header if header is not None else self.connections.default
        if chosen not in self._opportunities or not caller.may_use(chosen):
            raise Problem("not-found", "There is no such opportunity or connection.")
        return self._opportunities[chosen]

    def route(self, caller: Caller, header: str | None, id_: str) -> tuple[Opportunities, str]:
        """(the connection, the native id) of an id in either form. Raises `Problem`."""
        prefix, native = split(id_)
        if not is_native(native) or prefix == "":
            raise Problem("invalid-request", "The id is malformed.", errors=[
                FieldError("id", "expected <connection>:<native id> or a native id, of A-Z a-z 0-9 . _ ~ -, "
                                 "1 to 200 characters")])  # fmt: skip
        return self.choose(caller, header, prefix), native

    def visible(self, caller: Caller) -> list[str]:
        """The names of the connections that the caller may use, in the configuration's order."""
        return [name for name in self.connections if caller.may_use(name)]
