"""The cache by itself: a clock that stands, a board in memory, and fetches that end when the test says so.

The state machine at the end plays readers, writers, failures, an absent board and time in any order, and holds every
answer against what the provider had.
"""

import asyncio
import gc
import math
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.cache import OVERHEAD, Cache, Served, list_version, record_version
from gateway.errors import Problem
from gateway.http.kept import spelled, taken_apart
from gateway.state.local import LocalBoard
from gateway.state.store import StateUnavailable
from gateway.strict_json import dumps
from tests.replicas import Clock

TTL, STALE = 30.0, 60.0
NAMES = ("r:raze:a",)


class Board(LocalBoard):
    """A board that can be away."""

    away = False

    async def bump(self, names: Sequence[str]) -> None:
        if self.away:
            raise StateUnavailable("away")
        await super().bump(names)

    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        if self.away:
            raise StateUnavailable("away")
        return await super().versions(names)

    def versions_at_once(self, names: Sequence[str]) -> tuple[int, ...] | None:
        return None if self.away else super().versions_at_once(names)


@dataclass
class Rig:
    clock: Clock = field(default_factory=Clock)
    board: Board = field(default_factory=Board)
    most: int = 10**6

    def __post_init__(self) -> None:
        self.cache = Cache(TTL, STALE, self.most, self.board, self.clock)

    async def read(
        self, key: str, fetch: Callable[[], Awaitable[bytes]], *, owner: str = "me", names: Sequence[str] = NAMES,
        seconds: float = math.inf, **more: Any,
    ) -> Served:  # fmt: skip
        deadline = asyncio.get_running_loop().time() + seconds
        return await self.cache.read(key, owner, names, deadline, fetch, **more)


def bringing(content: bytes) -> Callable[[], Awaitable[bytes]]:
    async def fetch() -> bytes:
        return content

    return fetch


def failing(error: BaseException) -> Callable[[], Awaitable[bytes]]:
    async def fetch() -> bytes:
        raise error

    return fetch


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


def test_an_answer_is_told_with_how_it_was_come_by() -> None:
    async def main() -> None:
        rig = Rig()
        assert await rig.read("a", bringing(b"1")) == Served(b"1", "miss")
        rig.clock.now += 29.9
        hit = await rig.read("a", bringing(b"2"))
        assert (hit.content, hit.how) == (b"1", "hit")
        assert hit.age == pytest.approx(29.9)
        rig.clock.now += 0.1
        assert (await rig.read("a", bringing(b"2"))).how == "miss"

    asyncio.run(main())


def test_the_age_is_counted_from_when_the_provider_was_asked() -> None:
    async def main() -> None:
        rig = Rig()

        async def slow() -> bytes:
            rig.clock.now += 10
            return b"1"

        await rig.read("a", slow)
        assert (await rig.read("a", slow)).age == 10
        rig.clock.now += 20
        assert (await rig.read("a", bringing(b"2"))).how == "miss"

    asyncio.run(main())


def test_an_entry_or_a_call_of_another_owner_is_not_taken() -> None:
    async def main() -> None:
        rig, gate = Rig(), asyncio.Event()

        async def held() -> bytes:
            await gate.wait()
            return b"mine"

        first = asyncio.create_task(rig.read("a", held))
        await settle()
        other = await rig.read("a", bringing(b"yours"), owner="you")
        gate.set()
        assert ((await first).content, other.content) == (b"mine", b"yours")
        assert (await rig.read("a", bringing(b"mine again"))).content == b"mine again"  # the key is yours by now

    asyncio.run(main())


class Odd(Exception):
    """A mistake of ours."""


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize("error", [Odd(), asyncio.CancelledError(), TimeoutError(), Problem("provider-error", "x")])
def test_whatever_ends_a_call_fails_only_who_began_it_and_poisons_nothing(
    error: BaseException, patient: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        rig, gate, calls = Rig(), asyncio.Event(), 0

        async def fetch() -> bytes:
            nonlocal calls
            calls += 1
            if calls == 1:
                await gate.wait()
                raise error
            return b"ok"

        first = asyncio.create_task(rig.read("a", fetch, patient=patient))
        await settle()
        others = [asyncio.create_task(rig.read("a", fetch, patient=patient)) for _ in range(100)]
        await settle()
        gate.set()
        with pytest.raises(type(error) if patient else Problem):  # then it is an error of his own, and logged as one
            await first
        assert {(await other).content for other in others} == {b"ok"}
        assert calls == 2
        assert (await rig.read("a", fetch)).how == "hit"
        assert not rig.cache._flights and not rig.cache._tasks

    asyncio.run(main())
    assert len(caplog.records) == (isinstance(error, Odd | TimeoutError) and not patient)  # once, however many waited


def test_when_two_calls_fail_everybody_fails_and_nobody_calls_a_third_time() -> None:
    async def main() -> None:
        rig, calls = Rig(), 0

        async def fetch() -> bytes:
            nonlocal calls
            calls += 1
            await settle()
            raise Problem("provider-error", "x")

        tasks = [asyncio.create_task(rig.read("a", fetch)) for _ in range(100)]
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert calls == 2
        assert {type(one) for one in told} == {Problem} and len(set(map(id, told))) == 100

    asyncio.run(main())


def test_a_waiter_that_is_cancelled_leaves_the_call_to_the_others_and_the_cache() -> None:
    async def main() -> None:
        rig, gate = Rig(), asyncio.Event()

        async def held() -> bytes:
            await gate.wait()
            return b"1"

        tasks = [asyncio.create_task(rig.read("a", held)) for _ in range(3)]
        await settle()
        tasks[0].cancel()
        tasks[1].cancel()
        await settle()
        assert tasks[0].cancelled() and tasks[1].cancelled()
        gate.set()
        assert (await tasks[2]).content == b"1"
        gate.clear()
        alone = asyncio.create_task(rig.read("b", held))
        await settle()
        alone.cancel()
        await settle()
        gate.set()
        await settle()
        assert (await rig.read("b", failing(Odd()))).how == "hit"

    asyncio.run(main())


def test_who_calls_for_all_and_leaves_again_and_again_fails_nobody() -> None:
    async def main() -> None:
        rig, gate, calls = Rig(), asyncio.Event(), 0

        async def held() -> bytes:
            nonlocal calls
            calls += 1
            await gate.wait()
            return b"1"

        tasks = [asyncio.create_task(rig.read("a", held, patient=True)) for _ in range(5)]
        await settle()
        for left in range(4):  # when the first has left, the next call is the cache's own
            assert calls == min(left + 1, 2)
            tasks[left].cancel()
            await settle()
        gate.set()
        assert (await tasks[4]).content == b"1"
        assert [task.cancelled() for task in tasks] == [True] * 4 + [False]
        assert calls == 2 and not rig.cache._flights and not rig.cache._tasks
        assert (await rig.read("a", failing(Odd()))).how == "hit"

    asyncio.run(main())


def test_who_has_waited_already_does_not_call_for_all_himself() -> None:
    """What is left of his time may be too little for those who came later."""

    async def main() -> None:
        rig, gate, callers = Rig(), asyncio.Event(), []

        async def fetch() -> bytes:
            callers.append(asyncio.current_task())
            if len(callers) == 1:
                await gate.wait()
            return b"1"

        first, second, third = (asyncio.create_task(rig.read("a", fetch, patient=True)) for _ in range(3))
        await settle()
        first.cancel()
        assert ((await second).content, (await third).content) == (b"1", b"1")
        assert callers[0] is first and len(callers) == 2 and callers[1] not in (second, third)

    asyncio.run(main())


def test_what_was_asked_for_before_an_outage_of_the_board_is_not_kept_after_it() -> None:
    async def main() -> None:
        rig, gate = Rig(), asyncio.Event()

        async def held() -> bytes:
            await gate.wait()
            return b"old"

        asked = asyncio.create_task(rig.read("a", held))
        await settle()
        rig.board.away = True
        assert (await rig.read("b", bringing(b"2"))).how == "bypass"
        gate.set()
        assert (await asked).content == b"old"
        rig.board.away = False
        assert (await rig.read("a", bringing(b"new"))).content == b"new"

    asyncio.run(main())


def test_what_is_kept_is_told_at_once_where_versions_are() -> None:
    async def main() -> None:
        rig = Rig()
        versions = rig.cache.versions_at_once(NAMES)
        assert versions is not None and rig.cache.kept("a", "me", versions) is None
        await rig.read("a", bringing(b"1"))
        hit = rig.cache.kept("a", "me", versions)
        assert hit is not None and (hit.content, hit.how) == (b"1", "hit")
        assert rig.cache.kept("a", "you", versions) is None
        rig.board.away = True
        assert rig.cache.versions_at_once(NAMES) is None
        rig.board.away = False
        await rig.board.bump(NAMES)
        later = rig.cache.versions_at_once(NAMES)
        assert later is not None and later != versions and rig.cache.kept("a", "me", later) is None

    asyncio.run(main())


def test_the_deadline_of_each_is_his_own_also_past_the_cache() -> None:
    async def main() -> None:
        rig = Rig()

        async def never() -> bytes:
            await asyncio.sleep(3600)
            raise AssertionError

        for away in (False, True):
            rig.board.away = away
            for seconds in (0.01, -1.0):
                with pytest.raises(Problem) as told:
                    await rig.read("a", never, seconds=seconds)
                assert told.value.code == "provider-timeout"
        assert len(rig.cache._tasks) == 1
        await rig.cache.aclose()
        assert not rig.cache._tasks and not rig.cache._flights

    asyncio.run(main())


def test_closing_ends_every_call_also_those_that_others_have_taken_the_place_of() -> None:
    async def main() -> None:
        rig = Rig()

        async def never() -> bytes:
            await asyncio.sleep(3600)
            raise AssertionError

        tasks = [asyncio.create_task(rig.read("a", never, fresh=True)) for _ in range(3)]
        await settle()
        assert len(rig.cache._tasks) == 3
        await rig.cache.aclose()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(one, "code", one) for one in told] == ["internal-error"] * 3  # told, not cancelled with it

    asyncio.run(main())


def test_an_answer_too_large_is_not_kept_and_what_it_replaces_neither() -> None:
    async def main() -> None:
        rig = Rig(most=5000)
        await rig.read("a", bringing(b"1"))
        await rig.read("a", bringing(b"x" * 5000), fresh=True)
        assert rig.cache.size == 0
        assert (await rig.read("a", bringing(b"2"))).content == b"2"
        tiny = Rig(most=1)
        assert [(await tiny.read("a", bringing(b""))).how for _ in range(2)] == ["miss", "miss"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["small", "key", "absent", "large"])
def test_what_it_says_it_holds_is_what_it_holds(kind: str) -> None:
    """The process's memory, of entries that are all distinct objects as they are in a gateway."""

    async def main() -> None:
        rig = Rig(most=2_000_000)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(4000):
                key = f"caller raze {number:064d} " + ("y" * 2000 if kind == "key" else "")
                owner = f"caller raze {number:064d}"
                names = (f"r:raze:{number}",)
                fetch = (
                    failing(Problem("not-found", f"There is no {number} at the provider.", connection="raze"))
                    if kind == "absent"
                    else bringing(bytes(20_000 + number)) if kind == "large"
                    else bringing(bytes(number % 50))
                )  # fmt: skip
                await rig.read(key, fetch, owner=owner, names=names)
                assert rig.cache.size <= 2_000_000
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert rig.cache.size > 1_900_000
        assert held <= 2_000_000, held
        assert held > 2_000_000 * 0.3, held  # and it is not told far too much
        assert OVERHEAD >= 600

    asyncio.run(main())


def test_what_lags_is_remembered_for_each_connection_once() -> None:
    async def main() -> None:
        rig = Rig()
        for number in range(1000):
            await rig.board.bump(["l:raze", f"r:raze:{number}"])
            await rig.read(f"list {number}", bringing(b""), names=("l:raze",), lag=5.0)
        assert len(rig.cache._young) == 1

    asyncio.run(main())


def test_names_of_versions_are_told_apart() -> None:
    assert record_version("raze", "a") != record_version("raze", "b") != list_version("raze")
    assert list_version("raze") != list_version("spott")


# --- bytes that are put together without being read ---


PARTS = st.recursive(
    st.none() | st.text(max_size=8) | st.sampled_from(['","meta":{"issues":[', "\\", '"', "}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "meta", "issues", 'x","meta":{"issues":[']), inner, max_size=3)
        | st.just({"a": 1, "meta": {"issues": []}})
    ),
    max_leaves=12,
)
ISSUES = st.lists(st.fixed_dictionaries({"field": st.text(), "detail": st.sampled_from(['","meta":{"issues":[', "x"])}))


@settings(deadline=None)
@given(data=st.dictionaries(st.text(), PARTS), issues=ISSUES)
def test_an_answer_is_taken_apart_as_it_was_put_together(data: Any, issues: Any) -> None:
    content = spelled(data, {"issues": issues})
    assert taken_apart(content) == (dumps(data), dumps({"issues": issues}))


# --- in any order ------------------------------------------------------------------------------------------------------


ENDS = ["lands", "lands", "lands", "provider-error", "provider-error", "provider-auth-failed"]


@dataclass
class Fetching:
    """One call to the provider: first it looks, then it lands."""

    gate: "asyncio.Future[str]"
    owner: str


@dataclass
class Reading:
    """A read under way. `floor` is the last write that was answered when it began."""

    task: "asyncio.Task[Served]"
    owner: str
    floor: int
    fresh: bool
    first_call: int
    """How many calls there had been when it began."""


class InAnyOrder(RuleBasedStateMachine):
    """The provider's value is a number that writes raise; every third value means that there is no such record."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(settle())
        self.rig = Rig()
        self.value, self.answered = 1, 1
        self.history = [(-1.0, 1)]
        self.writing = ""
        self.fetches: list[Fetching] = []
        self.calls = 0
        self.reads: list[Reading] = []
        self.checked = 0

    def absent(self, value: int) -> bool:
        return value % 3 == 0

    async def fetch(self, owner: str) -> bytes:
        self.calls += 1
        call = self.calls
        fetching = Fetching(asyncio.get_running_loop().create_future(), owner)
        self.fetches.append(fetching)
        await fetching.gate
        value = self.value
        fetching.gate = asyncio.get_running_loop().create_future()
        self.fetches.append(fetching)
        if (how := await fetching.gate) != "lands":
            raise Problem(how, "x")
        if self.absent(value):
            raise Problem("not-found", f"{value}")
        return f"{owner} {value} {call}".encode()

    @rule(
        owner=st.sampled_from(["me", "me", "you"]), fresh=st.sampled_from([False, False, False, True]),
        steps=st.sampled_from([2, 0, 1]), how=st.sampled_from(ENDS), patient=st.booleans(),
    )  # fmt: skip
    def read(self, owner: str, fresh: bool, steps: int, how: str, patient: bool) -> None:
        async def start() -> None:
            # One key for both: then only the owner within keeps them apart.
            reading = self.rig.read("a", lambda: self.fetch(owner), owner=owner, fresh=fresh, patient=patient)
            self.reads.append(Reading(asyncio.create_task(reading), owner, self.answered, fresh, self.calls))
            await settle()
            calls = len(self.fetches) - before
            for _ in range(steps * calls):  # of its own call
                self.fetches.pop().gate.set_result(how)
                await settle()

        before = len(self.fetches)
        self.runner.run(start())

    @precondition(lambda self: self.fetches)
    @rule(data=st.data(), how=st.sampled_from(ENDS))
    def a_fetch_goes_on(self, data: Any, how: str) -> None:
        fetching = self.fetches.pop(data.draw(st.integers(0, len(self.fetches) - 1)))

        async def go_on() -> None:
            if not fetching.gate.done():
                fetching.gate.set_result(how)
            await settle()

        self.runner.run(go_on())

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def a_reader_leaves(self, data: Any) -> None:
        async def leave() -> None:
            self.reads.pop(data.draw(st.integers(0, len(self.reads) - 1))).task.cancel()
            await settle()

        self.runner.run(leave())

    @rule(steps=st.integers(1, 3))
    def a_write_goes_on(self, steps: int) -> None:
        """It is told, applied, told again, and answered: so many steps of these."""
        for _ in range(steps):
            self.write_on()

    def write_on(self) -> None:
        async def go_on() -> None:
            if self.writing == "applied":
                await self.rig.board.bump(NAMES)
                self.answered, self.writing = self.value, ""
            elif self.writing == "told":
                self.change()
                self.writing = "applied"
            else:
                await self.rig.board.bump(NAMES)
                self.writing = "told"

        if not self.rig.board.away:
            self.runner.run(go_on())

    def change(self) -> None:
        self.value += 1
        self.history.append((self.rig.clock.now, self.value))

    @precondition(lambda self: not self.writing)
    @rule()
    def somebody_changes_it_at_the_provider(self) -> None:
        self.change()

    @rule(seconds=st.sampled_from([1.0, 2.5, 20.0, 31.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.rig.clock.now += seconds

    @rule(chance=st.integers(0, 3))
    def the_board_goes(self, chance: int) -> None:
        self.rig.board.away = chance == 3

    @precondition(lambda self: self.rig.board.away)
    @rule()
    def the_board_is_back(self) -> None:
        self.rig.board.away = False

    @invariant()
    def every_answer_is_right(self) -> None:
        for reading in [one for one in getattr(self, "reads", []) if one.task.done()]:
            self.reads.remove(reading)
            self.checked += 1
            try:
                served = reading.task.result()
            except Problem as problem:
                if problem.code != "not-found":
                    continue
                served = Served(b"", "bypass", absent=problem)
            self.judge(reading, served)

    def judge(self, reading: Reading, served: Served) -> None:
        if served.absent is not None:
            owner, value, call = reading.owner, int(served.absent.detail), None
        else:
            words = served.content.decode().split()
            owner, value, call = words[0], int(words[1]), int(words[2])
        assert owner == reading.owner
        assert reading.floor <= value <= self.value, "older than a write that had been answered"
        assert served.age < {"hit": TTL, "stale": TTL + STALE}.get(served.how, 1e-9)
        if served.how in ("hit", "stale"):
            assert not reading.fresh and not self.rig.board.away
            then = self.rig.clock.now - served.age
            assert value >= max(known for at, known in self.history if at < then), "older than its age"
        if reading.fresh and call is not None:
            assert call > reading.first_call, "not asked for after this read began"

    @invariant()
    def it_is_bounded(self) -> None:
        if hasattr(self, "rig"):
            assert len(self.rig.cache._flights) <= 1 and self.rig.cache.size <= 2100

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return

        async def end() -> None:
            for reading in self.reads:
                reading.task.cancel()
            await self.rig.cache.aclose()
            await settle()
            assert not self.rig.cache._tasks and not self.rig.cache._flights

        self.runner.run(end())
        self.runner.close()


TestInAnyOrder = InAnyOrder.TestCase
TestInAnyOrder.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
