"""So many calls of one connection at once, and so many waiting: shared fairly between callers, the rest refused at once.

Each connection has its own slots, so that a provider that hangs holds up nobody but its own callers. A free slot goes to
the callers in turn, however many calls each has waiting; a queue that is full lets go of the last call of the caller who
has most of them.
"""

import asyncio
import sys
from collections import OrderedDict, deque

from gateway.errors import NeverSent

WAITING = 4
"""Calls that may wait, for each that may be in flight: as long as four calls take, so that nobody waits for nothing."""
SHED_SECONDS = 1.0
EVERYBODY = sys.maxsize
"""Calls that may wait where nobody is sent away."""

_Waiter = asyncio.Future[None]


class Slots:
    """`limit` slots, handed to callers in turn; at most `waiting` calls wait for one."""

    def __init__(self, limit: int, waiting: int | None = None) -> None:
        self._free = limit
        self._most = limit * WAITING if waiting is None else waiting
        self._waiting = 0
        self._queues: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        """Caller -> its waiting calls; the caller at the front is next."""

    def take_at_once(self) -> bool:
        """A slot of one's own, if one is free: then nobody waits for one."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def take(self, caller: str, deadline: float) -> None:
        """A slot of one's own. Raises `NeverSent`: `full` at once, `busy` when none came free before the deadline."""
        if self.take_at_once():
            return
        if self._waiting >= self._most:
            self._shed_for(caller)
        loop = asyncio.get_running_loop()
        waiter: _Waiter = loop.create_future()
        self._queues.setdefault(caller, deque()).append(waiter)
        self._waiting += 1
        late = loop.call_at(deadline, self._expire, caller, waiter)  # cheaper than asyncio.timeout_at()
        try:
            await waiter
        except BaseException:
            if not waiter.done() or waiter.cancelled():
                self._forget(caller, waiter)
            elif waiter.exception() is None:
                self.give()  # it came too late: the next one has it
            raise
        finally:
            late.cancel()

    def give(self) -> None:
        """A slot is free again: the next caller's first call has it."""
        while self._queues:
            caller, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            self._waiting -= 1
            self._queues.pop(caller)
            if queue:
                self._queues[caller] = queue  # behind the others
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def flush(self, seconds: float) -> None:
        """Refuse all who wait: there is nothing to wait for."""
        for queue in self._queues.values():
            for waiter in queue:
                if not waiter.done():
                    waiter.set_exception(NeverSent("open", retry_after=seconds))
        self._queues.clear()
        self._waiting = 0

    def _shed_for(self, caller: str) -> None:
        """Room for one more call of `caller`, at the cost of whoever has most waiting. Raises when that is the caller."""
        longest = max(self._queues, key=lambda name: len(self._queues[name]), default=caller)
        if len(self._queues.get(longest, ())) <= len(self._queues.get(caller, ())) + 1:
            raise NeverSent("full", retry_after=SHED_SECONDS)
        waiter = self._queues[longest].pop()
        self._waiting -= 1
        if not waiter.done():
            waiter.set_exception(NeverSent("full", retry_after=SHED_SECONDS))

    def _expire(self, caller: str, waiter: _Waiter) -> None:
        if not waiter.done():
            self._forget(caller, waiter)
            waiter.set_exception(NeverSent("busy"))

    def _forget(self, caller: str, waiter: _Waiter) -> None:
        queue = self._queues.get(caller)
        if queue is None or waiter not in queue:
            return  # let go of by whoever refused it
        queue.remove(waiter)
        self._waiting -= 1
        if not queue:
            del self._queues[caller]
