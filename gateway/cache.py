"""Answers to reads, kept in this process: never another caller's, never older than a write that was answered.

- An answer is kept under who asked, at which connection with which credential and mapping, and what was asked; its owner
  stands inside it as well, and is compared when it is read.
- It is good while the versions of all that it rests on are what they were before the provider was asked. A write raises
  them before it is answered, in every worker and on every machine: an answer that was being fetched meanwhile is dropped.
- Many who miss the same make one call. Who started it may leave, or have less time: the others do without him.
- Where versions cannot be told, nothing is answered from here, and what was kept is forgotten.
- Bounded by bytes; the least recently used goes first.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

import cachetools
import msgspec

from gateway.ending import end
from gateway.errors import Problem
from gateway.logs import where
from gateway.loop_time import loop_time
from gateway.state.store import Board, StateUnavailable

log = logging.getLogger("gateway")

How = Literal["hit", "miss", "stale", "bypass"]

ABSENT_SECONDS = 3.0
"""How long "there is no such record" is believed: a record may be made at the provider at any time."""
OVERHEAD = 1000
"""Bytes that an entry takes beside its content and its key; and what is told of a record's absence as many again."""
_FAILS = frozenset(
    {"provider-bad-answer", "provider-error", "provider-timeout", "provider-unavailable", "rate-limited"}
)
"""Problems instead of which an older answer may be given: whoever is refused (`provider-auth-failed`) gets none."""


class Served(msgspec.Struct):
    """An answer, how it was come by, and its age in seconds. `absent`: there is no such record, and no content."""

    content: bytes
    how: How
    age: float = 0.0
    absent: Problem | None = None


Fetch = Callable[[], Awaitable[bytes]]
"""Asks the provider, within a deadline of its own, and gives the bytes of the answer's body. Raises `Problem`."""


class _Entry(msgspec.Struct, eq=False):
    owner: str
    versions: tuple[int, ...]
    number: int
    """Of the call that brought it: those that began later have higher ones."""
    began: float
    """When the provider was asked: what it said may be as old as that."""
    ttl: float
    last: float
    """The age from which on it is not even given instead of a failure."""
    size: int
    content: bytes
    absent: Problem | None = None


class _Flight(msgspec.Struct, eq=False):
    """A call under way: the cache's own `task`, or (None) made by whoever asked first, as a part of what he does."""

    owner: str
    versions: tuple[int, ...]
    task: "asyncio.Task[bytes] | None" = None
    others: "asyncio.Future[bytes] | None" = None
    """What those wait for who came later, if `task` is None; made when the first of them comes."""

    def coming(self) -> "asyncio.Future[bytes]":
        """What there is to wait for."""
        if self.task is not None:
            return self.task
        if self.others is None:
            self.others = asyncio.get_running_loop().create_future()
        return self.others

    def ended(self, content: bytes, error: BaseException | None = None) -> None:
        """Tell those who wait, if any do, what became of a call without a task."""
        others = self.others
        if others is None or others.done():
            return
        if error is None:
            others.set_result(content)
            return
        others.set_exception(error if isinstance(error, Problem) else _Left() if _is_end(error) else _failed())
        others.exception()  # perhaps nobody waits any more: then it need not be told


class _Left(Exception):
    """Who made the call for all has left before it ended."""


def _size(entry: _Entry) -> int:
    return entry.size


class Cache:
    """Answers of one gateway. `ttl` and `stale` are seconds, `most` bytes; `board` tells the versions."""

    def __init__(
        self, ttl: float, stale: float, most: int, board: Board, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.ttl, self.stale = ttl, stale
        self._board = board
        self.versions_at_once = board.versions_at_once
        """The versions of what an answer rests on, where they can be told without waiting for anybody."""
        self._clock = clock
        self._most = most
        self._entries: cachetools.LRUCache[str, _Entry] = cachetools.LRUCache(most, getsizeof=_size)
        self._flights: dict[str, _Flight] = {}
        """The call that whoever misses may share; `_tasks` are those of calls of our own, also when another replaced it."""
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._number = 0
        self._outages = 0
        """How often versions could not be told: what was asked for before is not kept after."""
        self._young: dict[str, tuple[int, float]] = {}
        """The version last seen of what lags behind writes, and since when; a name a connection."""

    @property
    def size(self) -> int:
        """Bytes held."""
        return int(self._entries.currsize)

    def kept(self, key: str, owner: str, versions: tuple[int, ...]) -> Served | None:
        """What is kept and good, as `read` would give it."""
        return self._hit(self._good(key, owner, versions))

    async def read(
        self, key: str, owner: str, names: Sequence[str], deadline: float, fetch: Fetch, *,
        versions: tuple[int, ...] | None = None, fresh: bool = False, lag: float = 0.0, patient: bool = False,
    ) -> Served:  # fmt: skip
        """The answer to what `key` stands for, which rests on the versions of `names`. Raises `Problem`; but that there is
        no such record is an answer, too.

        `versions`: those of `names`, if `kept` has been asked with them since the request came. `deadline`, of the loop's
        clock, bounds the wait of whoever asks; `fresh` asks the provider whatever is kept; for `lag` seconds after a write
        the provider may not show it here yet, so that an answer is kept no longer than that.
        `patient`: who asks waits for as long as `fetch` takes, so that he can as well make the call for all.
        """
        if versions is None:
            try:
                versions = await self._board.versions(names)
            except StateUnavailable:
                self._entries.clear()
                self._outages += 1
                return await _past(deadline, fetch)
            hit = None if fresh else self.kept(key, owner, versions)
            if hit is not None:
                return hit
        how: How = "bypass" if fresh else "miss"
        try:
            if patient and (fresh or key not in self._flights):
                flight = self._flights[key] = _Flight(owner, versions)
                content = await self._fill(flight, key, names, fetch, lag)
            else:
                content = await self._fetched(key, owner, names, versions, deadline, fetch, fresh, lag, patient)
        except Problem as problem:
            if problem.code == "not-found":
                return Served(b"", how, absent=problem)
            entry = self._good(key, owner, versions) if not fresh and problem.code in _FAILS else None
            if entry is None:
                raise
            age = self._clock() - entry.began
            if age >= entry.last or not await self._unchanged(names, entry.versions):
                raise
            return Served(entry.content, "stale", age)
        return Served(content, how)

    def _hit(self, entry: _Entry | None) -> Served | None:
        if entry is None:
            return None
        age = self._clock() - entry.began
        if age >= entry.ttl:
            return None
        return Served(entry.content, "hit", age, entry.absent and entry.absent.again())

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
        fresh: bool, lag: float, patient: bool,
    ) -> bytes:  # fmt: skip
        """From the one call under way, or from a new one. A call that another started may fail it once, not for good."""
        let_down = left = False
        while not fresh and (flight := self._flights.get(key)) is not None:
            if flight.owner != owner or flight.versions != versions:
                break
            try:
                return await _waited(flight, deadline)
            except _Left:
                left = True  # the first to come by here makes the next call for all
            except Problem as problem:
                if let_down or problem.code == "not-found" or loop_time() >= deadline:
                    raise
                let_down = True  # all who were share the next call
        if let_down or left:  # one of those who waited, too, may have had an answer already
            hit = self._hit(self._good(key, owner, versions))
            if hit is not None and hit.absent is not None:
                raise hit.absent
            if hit is not None:
                return hit.content
        flight = self._flights[key] = _Flight(owner, versions)
        if patient and not (let_down or left):  # else he has waited already, and his time is not what it was
            return await self._fill(flight, key, names, fetch, lag)
        flight.task = task = asyncio.create_task(self._fill(flight, key, names, fetch, lag))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._landed(key, flight, task))
        return await _waited(flight, deadline)

    async def _fill(self, flight: _Flight, key: str, names: Sequence[str], fetch: Fetch, lag: float) -> bytes:
        """The call; what it brought is kept, and told to those who came later where no task of ours tells them."""
        self._number = number = self._number + 1
        began, outages = self._clock(), self._outages
        content = b""
        failure: BaseException | None = None
        try:
            content = await fetch()
            if outages == self._outages:
                self._remember(key, flight, names, number, began, lag, content, None)
            return content
        except Problem as problem:
            failure = problem
            if problem.code == "not-found":
                if outages == self._outages:
                    self._remember(key, flight, names, number, began, lag, b"", problem)
            elif problem.code not in _FAILS:  # the provider has said no: what it said before is not given later on
                self._entries.pop(key, None)
            raise
        except BaseException as error:
            failure = error
            raise
        finally:
            self._over(key, flight)
            flight.ended(content, failure)
            failure = None  # it holds this frame, which would hold it

    def _remember(
        self, key: str, flight: _Flight, names: Sequence[str], number: int, began: float, lag: float, content: bytes,
        absent: Problem | None,
    ) -> None:  # fmt: skip
        """Keep an answer under the versions from before the call: should a write have come between, it is never given."""
        ttl, last = self._life(names, flight.versions, began, lag)
        if absent is not None:
            ttl = last = min(ABSENT_SECONDS, ttl)
        size = len(content) + len(key) + (OVERHEAD if absent is None else 2 * OVERHEAD)
        entry = _Entry(
            flight.owner, flight.versions, number, began, ttl, last, size, content, absent and absent.again()
        )
        self._keep(key, entry)

    def _keep(self, key: str, entry: _Entry) -> None:
        """In the place of what was asked for earlier; never in that of what was asked for later, and is there already."""
        held = self._entries.get(key)
        if held is not None and held.number > entry.number:
            return
        if entry.size <= self._most:
            self._entries[key] = entry
        else:
            self._entries.pop(key, None)

    def _life(
        self, names: Sequence[str], versions: tuple[int, ...], began: float, lag: float
    ) -> tuple[float, float]:  # fmt: skip
        """(the age up to which an answer is good, that up to which it is better than none).

        What was asked for while a write was young may lack it, and is given no longer than that.
        """
        ttl, last = self.ttl, self.ttl + self.stale
        if lag:
            for name, version in zip(names, versions, strict=True):
                known, since = self._young.get(name, (0, -lag))
                if known != version:
                    since = began
                    self._young[name] = (version, since)
                if began < since + lag:
                    ttl = last = min(ttl, since + lag - began)
        return ttl, last

    def _landed(self, key: str, flight: _Flight, task: "asyncio.Task[bytes]") -> None:
        self._tasks.discard(task)
        self._over(key, flight)
        if not task.cancelled():
            error = task.exception()  # those who waited are told; perhaps nobody does any more
            if error is not None and not isinstance(error, Problem):
                log.error("a read failed: %s", where(error))

    def _over(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def aclose(self) -> None:
        """End the calls under way."""
        await end(self._tasks)


async def _past(deadline: float, fetch: Fetch) -> Served:
    """Nothing of the cache: the fetch, for as long as who asks has time."""
    try:
        async with asyncio.timeout_at(deadline):
            content = await fetch()
    except TimeoutError:
        raise _too_late() from None
    return Served(content, "bypass")


async def _waited(flight: _Flight, deadline: float) -> bytes:
    """What the call brings; it goes on when whoever waits is cancelled or has no more time."""
    coming = flight.coming()
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(coming)
    except TimeoutError:
        raise _too_late() from None
    except Problem as problem:
        raise problem.again() from None
    except _Left:
        raise
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if not coming.cancelled() or waiting is None or waiting.cancelling():
            raise
    except Exception:  # logged once, however many wait
        pass
    raise _failed()


def _failed() -> Problem:
    return Problem("internal-error", "The gateway failed; see its log.")


def _is_end(error: BaseException) -> bool:
    """Whether it ended who asked, and says nothing of the call."""
    return not isinstance(error, Exception)


def _too_late() -> Problem:
    return Problem("provider-timeout", "The provider did not answer before the deadline.")


def record_version(connection: str, native_id: str) -> str:
    """The name of the version of one record."""
    return f"r:{connection}:{native_id}"


def list_version(connection: str) -> str:
    """The name of the version of all lists of a connection."""
    return f"l:{connection}"
