"""Claims in an SQLite file: one machine, several worker processes. The file is on a local disk, not on a network's.

One thread of this process has the file. It takes all the changes that wait, makes them in one transaction and then tells
each caller: the disk is waited for once for many. Each change sees those before it, and undoes nothing but itself.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from gateway.state.claims import Claim
from gateway.state.database import Database, Locked
from gateway.state.packing import Unreadable
from gateway.state.store import Place, RecordTaken, StateUnavailable, Store, Transition, UnsafeStore

T = TypeVar("T")

_WAIT = 1.0
"""How long a caller waits for other processes' locks, in seconds."""
_SPARE = 0.25
"""How long it waits for the disk beyond that."""
_MOST = 256
"""Changes in one transaction at most."""
_FORGET = 2
"""Claims that are over, forgotten with each change: more than a change can make, so that they never pile up."""

_LOCKED = "the state database is locked by another process"
_SLOW = "the state database is busy: the disk is too slow for what is asked"


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[Database], Any]
    writes: bool
    future: asyncio.Future[Any]
    until: float
    result: Any = None
    error: BaseException | None = None
    told: bool = False


class SqliteStore(Store):
    """Claims in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._database: Database | None = None
        self._begun = False
        self._closed = False

    async def open(self) -> None:
        await self._ask(lambda database: database.now(), opening=True)

    async def change(self, key: str, transition: Transition[T]) -> T:
        def work(database: Database) -> T:
            now = database.now()
            held = database.claim(key, now)
            new, result = transition(held, now)
            if new is not held and new != held:
                database.put(key, new, now)
                database.tidy(now, _FORGET)
            return result

        return cast(T, await self._ask(work, writes=True))

    async def claim(self, key: str) -> Claim | None:
        return cast(Claim | None, await self._ask(lambda database: database.claim(key, database.now())))

    async def holder_of(self, connection: str, record: str) -> str | None:
        def work(database: Database) -> str | None:
            return database.holder_of(connection, record, database.now())

        return cast(str | None, await self._ask(work))

    async def open_claims(self, connection: str | None = None, twin: str = "") -> list[Claim]:
        return cast(list[Claim], await self._ask(lambda database: database.open_claims(connection, twin)))

    async def due(self, each: int) -> list[Claim]:
        return cast(list[Claim], await self._ask(lambda database: database.due(database.now(), each)))

    async def unknown(self) -> int:
        return cast(int, await self._ask(lambda database: database.unknown()))

    async def outcomes(self, limit: int, after: Place | None = None) -> list[Claim]:
        return cast(list[Claim], await self._ask(lambda database: database.outcomes(database.now(), limit, after)))

    async def check(self) -> None:
        await self._ask(lambda database: database.touch(), writes=True, opening=True)

    async def now(self) -> float:
        return cast(float, await self._ask(lambda database: database.now()))

    async def aclose(self) -> None:
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join, _WAIT)  # a disk that hangs is not waited for

    async def _ask(self, work: Callable[[Database], Any], *, writes: bool = False, opening: bool = False) -> Any:
        if self._closed:
            raise StateUnavailable("the state database is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gateway-state", daemon=True)
            self._thread.start()
        future = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, writes, future, time.monotonic() + _WAIT))
        try:
            async with asyncio.timeout(_WAIT + _SPARE):
                return await future
        except TimeoutError:
            raise StateUnavailable("the state database did not answer in time") from None
        except UnsafeStore as error:
            if opening:
                raise
            raise StateUnavailable(str(error)) from None

    # What follows runs in the thread.

    def _run(self) -> None:
        waiting: list[_Job] = []
        going, locked = True, False
        while going or waiting:
            going = self._gather(waiting, going)
            self._drop_overdue(waiting, _LOCKED if locked else _SLOW)
            locked = False
            try:
                self._make(waiting[:_MOST])
            except Locked:
                locked = True
                time.sleep(0.002)
            waiting = [job for job in waiting if not job.told]
        self._let_go()

    def _gather(self, waiting: list[_Job], going: bool) -> bool:
        """Add what has been asked; waits for something when there is nothing. False: nothing more will come."""
        with contextlib.suppress(queue.Empty):
            while going:
                job = self._jobs.get(block=not waiting)
                if job is None:
                    return False
                waiting.append(job)
        return going

    def _drop_overdue(self, waiting: list[_Job], why: str) -> None:
        now = time.monotonic()
        overdue = [job for job in waiting if job.until <= now]
        for job in overdue:
            job.error = StateUnavailable(why)
        _tell(overdue)
        # For a caller that has left nothing is begun any more.
        waiting[:] = [job for job in waiting if not job.told and not job.future.cancelled()]

    def _make(self, batch: list[_Job]) -> None:
        """Do the jobs: the changes in one transaction. Raises `Locked` when some have to be tried again."""
        changes = [job for job in batch if job.writes]
        looks = [job for job in batch if not job.writes]
        if not batch:
            return
        try:
            database = self._open_database()
            for job in looks:
                _do(job, database)
            _tell(looks)  # they wait for no lock of another process
            if changes:
                with database.writing():
                    for job in changes:
                        job.error = None
                        _do(job, database)
        except Locked:
            raise
        except Exception as error:
            # Nothing was committed, as far as is known. What is wrong may be the connection: the next call has a new one.
            self._let_go()
            for job in batch:
                job.error = _again(error)
        _tell(batch)

    def _open_database(self) -> Database:
        if self._database is not None:
            self._database.check()
            return self._database
        self._database = Database(self._path, create=not self._begun)
        self._begun = True
        return self._database

    def _let_go(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(Locked, StateUnavailable):
                database.close()


def _do(job: _Job, database: Database) -> None:
    """Do one job. What is wrong with one claim is its own affair, and nothing was written; what is wrong with the file is
    everybody's."""
    try:
        job.result = job.work(database)
    except (RecordTaken, Unreadable) as error:
        job.error = error
    except (Locked, StateUnavailable):
        raise
    except Exception as error:  # the transition's own: nothing was written yet
        job.error = error


def _again(error: Exception) -> Exception:
    """The same error for one more caller: each raises its own."""
    if isinstance(error, StateUnavailable | UnsafeStore):
        return type(error)(str(error))
    return StateUnavailable(f"the state database cannot be used: {type(error).__name__}")


def _tell(done: Iterable[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in done:
        if job.told:
            continue
        job.told = True
        by_loop.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # its caller has left
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
