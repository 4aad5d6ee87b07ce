"""Tasks that bring one answer after the other: nothing of one request is there in the next one's, and none is lost."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import ref

import pytest
import uvloop

from gateway.http.runners import MOST_IDLE, Runners, Tasks, runners_of

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def on(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[None]]], None]:
    def run(work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            await work()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run


def made() -> tuple[Runners, Tasks]:
    return runners_of(asyncio.get_running_loop()), set()


async def turns(many: int = 5) -> None:
    for _ in range(many):
        await asyncio.sleep(0)


def test_one_task_does_one_work_after_the_other(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()
        seen: list[asyncio.Task[Any] | None] = []

        async def look() -> None:
            seen.append(asyncio.current_task())

        for _ in range(5):
            runners.run(look(), tasks)
            assert len(tasks) == 1  # at work, as whoever waits for all of them has to see
            await turns()
            assert not tasks
        assert len(seen) == 5 and len(set(seen)) == 1

    on(work)


def test_works_that_wait_have_a_task_each_and_begin_in_their_order(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()
        gate, begun, seen = asyncio.Event(), list[int](), set[asyncio.Task[Any] | None]()

        async def wait(number: int) -> None:
            begun.append(number)
            seen.add(asyncio.current_task())
            await gate.wait()

        for _ in range(2):  # with new tasks, then with those that have been at work
            begun.clear()
            for number in range(20):
                runners.run(wait(number), tasks)
            assert not begun  # in the next turn, as with any task
            await turns()
            assert begun == list(range(20)) and len(tasks) == len(seen) == 20
            gate.set()
            await turns()
            assert not tasks
            gate.clear()

    on(work)


def test_what_fails_is_told_and_the_task_goes_on(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        async def fail() -> None:
            raise ValueError("it")

        done: list[bool] = []

        async def succeed() -> None:
            done.append(True)

        runners.run(fail(), tasks)
        await turns()
        runners.run(succeed(), tasks)
        await turns()
        assert done == [True] and not tasks
        assert [type(context["exception"]) for context in told] == [ValueError]

    on(work)


def test_who_is_cancelled_works_no_more_and_the_others_do(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()
        ended: list[str] = []

        async def wait(name: str) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append(name)
                if name == "stubborn":
                    return  # as what catches a time-out that was none of its own
                raise

        first: set[asyncio.Task[Any]] = set()
        for name in ("it", "stubborn"):
            runners.run(wait(name), tasks)
            await turns()
            [task] = tasks
            first.add(task)
            task.cancel()
            await turns()
            assert not tasks and task.done()
        assert ended == ["it", "stubborn"]

        async def look() -> None:
            seen.append(asyncio.current_task())

        seen: list[asyncio.Task[Any] | None] = []
        runners.run(look(), tasks)
        await turns()
        assert len(seen) == 1 and seen[0] not in first and seen[0] is not None and not seen[0].cancelling()

    on(work)


@pytest.mark.filterwarnings("error")
def test_who_is_cancelled_before_he_begins_has_not_begun(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()

        async def nothing() -> None:
            """It has a task from then on that waits."""

        begun: list[bool] = []

        async def begin() -> None:
            begun.append(True)

        runners.run(nothing(), tasks)
        await turns()
        runners.run(begin(), tasks)
        [task] = tasks
        task.cancel()
        await turns()
        assert not begun and not tasks and task.cancelled()
        runners.run(begin(), tasks)
        await turns()
        assert begun == [True]
        gc.collect()  # a coroutine that nobody awaited would be told of here

    on(work)


def test_no_more_than_some_wait_for_work(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()

        for _ in range(MOST_IDLE + 50):
            runners.run(wait(), tasks)
        await turns()
        gate.set()
        await turns()
        assert not tasks
        assert len(asyncio.all_tasks()) == MOST_IDLE + 1  # and this one

    on(work)


def test_a_loop_that_ends_leaves_nothing_behind(on: Any) -> None:
    kept: list[Runners] = []

    async def work() -> None:
        runners, tasks = made()
        kept.append(runners)

        async def nothing() -> None:
            """And then there is a task that waits."""

        runners.run(nothing(), tasks)
        await turns()
        assert runners._idle

    on(work)
    assert not kept[0]._idle  # each was ended by the loop's end


def test_a_task_that_waits_keeps_nothing_of_the_work_before(on: Any) -> None:
    async def work() -> None:
        runners, tasks = made()

        async def nothing() -> None:
            """It is over at once."""

        done = nothing()
        kept = ref(done)
        runners.run(done, tasks)
        del done
        await turns()
        gc.collect()
        assert runners._idle and kept() is None

    on(work)
