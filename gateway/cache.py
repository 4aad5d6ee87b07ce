"""Answers to reads, kept in this process: never another caller's, never older than a write that was answered.

- An answer is kept under who asked, at which connection with which credential and mapping, and what was asked; its owner
  stands inside it as well, and is compared when it is read.
- It is good while the versions of all that it rests on are what they were before the provider was asked. A write raises
  them before it is answered, in every worker and on every machine: an answer that was being fetched meanwhile is dropped.
- Many who miss the same make one call. The call is the cache's own: who started it may leave, or have less time.
- Where versions cannot be told, nothing is answered from here, and what was kept is forgotten.
- Bounded by bytes; the least recently used goes first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cachetools

from gateway.errors import Problem
from gateway.state.store import Board, StateUnavailable

How = Literal["hit", "miss", "stale", "bypass"]

ABSENT_SECONDS = 3.0
"""How long "there is no such record" is believed: a record may be made at the provider at any time."""
OVERHEAD = 600
"""Bytes that an entry takes beside its content and its key."""
_FAILS = frozenset(
    {"provider-bad-answer", "provider-error", "provider-timeout", "provider-unavailable", "rate-limited"}
)
"""Problems instead of which an older answer may be given: whoever is refused (`provider-auth-failed`) gets none."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a fetch brought: the body's bytes, and the seconds that were spent waiting for the provider."""

    content: bytes
    provider_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Served:
    """An answer, how it was come by, and its age in seconds."""

    content: bytes
    how: How
    age: float = 0.0
    provider_seconds: float = 0.0


Fetch = Callable[[], Awaitable[Filled]]
"""Asks the provider, within a deadline of its own. Raises `Problem`."""


@dataclass(frozen=True, slots=True)
class _Entry:
    owner: str
    versions: tuple[int, ...]
    made: float
    ttl: float
    content: bytes
    absent: Problem | None = None


@dataclass(slots=True)
class _Flight:
    task: "asyncio.Task[Filled]"
    versions: tuple[int, ...]


def _size(entry: _Entry) -> int:
    return len(entry.content) + OVERHEAD


class Cache:
    """Answers of one gateway. `ttl` and `stale` are seconds, `most` bytes; `board` tells the versions."""

    def __init__(
        self, ttl: float, stale: float, most: int, board: Board, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ttl, self.stale = ttl, stale
        self._board = board
        self._clock = clock
        self._entries: cachetools.LRUCache[str, _Entry] = cachetools.LRUCache(most, getsizeof=_size)
        self._flights: dict[str, _Flight] = {}
        self._young: dict[str, tuple[int, float]] = {}
        """The version last seen of what lags behind writes, and since when; a name a connection."""

    @property
    def size(self) -> int:
        """Bytes held."""
        return int(self._entries.currsize)

    async def read(
        self, key: str, owner: str, names: Sequence[str], deadline: float, fetch: Fetch, *, fresh: bool = False,
        lag: float = 0.0,
    ) -> Served:  # fmt: skip
        """The answer to what `key` stands for, which rests on the versions of `names`. Raises `Problem`.

        `deadline`, of the loop's clock, bounds the wait of whoever asks; `fresh` asks the provider whatever is kept; for
        `lag` seconds after a write the provider may not show it here yet, so that an answer is kept no longer than that.
        """
        try:
            versions = await self._board.versions(names)
        except StateUnavailable:
            self._entries.clear()
            filled = await fetch()
            return Served(filled.content, "bypass", 0.0, filled.provider_seconds)
        entry = None if fresh else self._good(key, owner, versions)
        if entry is not None:
            age = self._clock() - entry.made
            if age < entry.ttl:
                if entry.absent is not None:
                    raise entry.absent.again()
                return Served(entry.content, "hit", age)
        try:
            filled = await self._fetched(key, owner, names, versions, deadline, fetch, fresh, lag)
        except Problem as problem:
            if entry is None or entry.absent is not None or problem.code not in _FAILS:
                raise
            age = self._clock() - entry.made
            if age >= self.ttl + self.stale or not await self._unchanged(names, entry.versions):
                raise
            return Served(entry.content, "stale", age)
        return Served(filled.content, "bypass" if fresh else "miss", 0.0, filled.provider_seconds)

    def _good(self, key: str, owner: str, versions: tuple[int, ...]) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is None or entry.owner != owner or entry.versions != versions:
            return None
        return entry

    async def _unchanged(self, names: Sequence[str], versions: tuple[int, ...]) -> bool:
        try:
            return await self._board.versions(names) == versions
        except StateUnavailable:
            return False

    async def _fetched(
        self, key: str, owner: str, names: Sequence[str], versions: tuple[int, ...], deadline: float, fetch: Fetch,
        fresh: bool, lag: float,
    ) -> Filled:  # fmt: skip
        """From the one call under way, or from a new one. A call that another started may fail it once, not for good."""
        flight = None if fresh else self._flights.get(key)
        if flight is not None and flight.versions == versions:
            try:
                return await self._waited(flight, deadline)
            except Problem as problem:
                if problem.code == "not-found" or asyncio.get_running_loop().time() >= deadline:
                    raise problem.again() from None
            flight = self._flights.get(key)
            if flight is not None and flight.versions == versions:  # those who were let down share the next call
                return await self._waited(flight, deadline)
        task = asyncio.create_task(self._fill(key, owner, names, versions, fetch, lag))
        flight = _Flight(task, versions)
        self._flights[key] = flight
        task.add_done_callback(lambda task: self._landed(key, task))
        return await self._waited(flight, deadline)

    async def _waited(self, flight: _Flight, deadline: float) -> Filled:
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            raise Problem("provider-timeout", "The provider did not answer before the deadline.") from None
        except Problem as problem:
            raise problem.again() from None

    async def _fill(
        self, key: str, owner: str, names: Sequence[str], versions: tuple[int, ...], fetch: Fetch,
        lag: float,
    ) -> Filled:  # fmt: skip
        absent: Problem | None = None
        filled = Filled(b"")
        try:
            filled = await fetch()
        except Problem as problem:
            if problem.code != "not-found":
                raise
            absent = problem
        if await self._unchanged(names, versions):
            ttl = min(ABSENT_SECONDS, self.ttl) if absent is not None else self._ttl(names, versions, lag)
            entry = _Entry(owner, versions, self._clock(), ttl, filled.content, absent and absent.again())
            if _size(entry) <= self._entries.maxsize:
                self._entries[key] = entry
        if absent is not None:
            raise absent
        return filled

    def _ttl(self, names: Sequence[str], versions: tuple[int, ...], lag: float) -> float:
        """How long an answer is good that rests on these versions: not long while a write is young."""
        if not lag:
            return self.ttl
        now = self._clock()
        ttl = self.ttl
        for name, version in zip(names, versions, strict=True):
            known, since = self._young.get(name, (0, -lag))
            if known != version:
                since = now
                self._young[name] = (version, since)
            if now < since + lag:
                ttl = min(ttl, since + lag - now)
        return ttl

    def _landed(self, key: str, task: "asyncio.Task[Filled]") -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # whoever waited has been told; perhaps nobody does any more

    async def aclose(self) -> None:
        """End the calls under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def record_version(connection: str, native_id: str) -> str:
    """The name of the version of one record."""
    return f"r:{connection}:{native_id}"


def list_version(connection: str) -> str:
    """The name of the version of all lists of a connection."""
    return f"l:{connection}"
