"""Tasks that bring one answer after the other: making a task for each request costs more than most of what it does.

A task of asyncio is registered, watched and given a context of its own; a read that misses the cache does less than a dozen
things that take as long. So a task that has done its work waits for the next, and is woken for it as a new one would be
begun: in the loop's next turn. What it does sets whatever it reads from its context, since that is the one before's.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary, ref

MOST_IDLE = 512
"""So many wait for work at most (1.1 KB each): of more requests at once, each that is over makes and drops a task again."""

Tasks = set[asyncio.Task[None]]
Work = Coroutine[Any, Any, None]


class Runners:
    """The tasks of one event loop that wait for work."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # which would be kept by its runners, and they by it
        self._idle: list[_Runner] = []

    def run(self, work: Work, tasks: Tasks) -> None:
        """Begin `work` in the next turn. Its task is one of `tasks` until it is done: cancelling that cancels the work."""
        idle = self._idle
        if idle:
            runner = idle.pop()
            tasks.add(runner.task)
            runner.wake(work, tasks)
            return
        loop = self._loop()
        assert loop is not None  # it has work
        runner = _Runner(loop, idle)
        runner.task = loop.create_task(runner.run(work, tasks))
        tasks.add(runner.task)


class _Runner:
    __slots__ = ("_idle", "_loop", "_next", "task")

    task: asyncio.Task[None]

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: "list[_Runner]") -> None:
        self._loop, self._idle = loop, idle
        self._next: asyncio.Future[tuple[Work, Tasks]] | None = None

    def wake(self, work: Work, tasks: Tasks) -> None:
        """There is something to do. To be called once it is taken off the list of those that wait, and by nobody else."""
        assert self._next is not None
        self._next.set_result((work, tasks))

    async def run(self, work: Work | None, tasks: Tasks) -> None:
        task, loop, idle = self.task, self._loop, self._idle
        while work is not None:
            try:
                await work
            except Exception as error:
                loop.call_exception_handler({"message": "a request failed", "exception": error, "task": task})
            finally:
                tasks.discard(task)
            work = None  # it is over, and must not live for as long as the next one is waited for
            if len(idle) < MOST_IDLE and not task.cancelling():
                self._next = loop.create_future()
                idle.append(self)
                try:
                    work, tasks = await self._next
                except asyncio.CancelledError:
                    if self in idle:
                        idle.remove(self)
                    elif self._next.done():  # woken, and ended before it could begin
                        work, tasks = self._next.result()
                        work.close()
                        tasks.discard(task)
                    raise


_runners: WeakKeyDictionary[asyncio.AbstractEventLoop, Runners] = WeakKeyDictionary()


def runners_of(loop: asyncio.AbstractEventLoop) -> Runners:
    """The one group of a loop."""
    runners = _runners.get(loop)
    if runners is None:
        runners = _runners[loop] = Runners(loop)
    return runners
