"""A state store does what the model does: the pure transitions over a dictionary, against a real SQLite file and server."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.ending import end
from gateway.state import claims
from gateway.state.claims import Claim
from gateway.state.opening import state_of
from gateway.state.packing import was_settled
from gateway.state.store import Place, RecordTaken, Store
from tests.state_server import patience, state_url

KEYS = ["a", "b", "c", "d"]
CONNECTIONS = ["crm", "crm2"]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where a file is soon written: what the disk keeps is tested elsewhere."""

key = st.sampled_from(KEYS)
fence = st.integers(1, 2)
connection = st.sampled_from(CONNECTIONS)
soon = st.sampled_from([0.0, 60.0])
"""Over at once, or not in this test: so that the time it takes decides nothing."""
record = st.sampled_from(["1", "", "2"])


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        if request.param == "sqlite":
            yield f"sqlite:///{folder}/gateway.db"
        else:
            stack.enter_context(patience())
            yield stack.enter_context(state_url(folder))


def asked(key: str, fence: int, connection: str = "crm", fingerprint: str = "f") -> Claim:
    return Claim(key, fence, "claimed", fingerprint, connection, "caller", "create", "holder", 0, 0, 0)


class Machine(RuleBasedStateMachine):
    """Two stores of one file or server, used in turns, and a dictionary."""

    url = ""
    forget: Callable[[Claim], Claim] = staticmethod(lambda claim: claim)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stores: list[Store] = []
        for _ in range(2):
            state = state_of(self.url, Path("/"))
            assert state is not None
            self.stores.append(state.store)
            self.runner.run(state.store.open())
        self.turn = 0
        self.model: dict[str, Claim] = {}
        for key in KEYS:
            self.runner.run(self.store.change(key, lambda held, now: (None, None)))

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.aclose())
        self.runner.close()

    @property
    def store(self) -> Store:
        self.turn += 1
        return self.stores[self.turn % 2]

    def held(self, key: str, now: float) -> Claim | None:
        held = self.model.get(key)
        return None if held is None or claims.is_over(held, now) else held

    def change(self, key: str, transition: Callable[[Claim | None, float], tuple[Claim | None, Any]]) -> None:
        seen: list[tuple[Claim | None, float]] = []

        def watched(held: Claim | None, now: float) -> tuple[Claim | None, Any]:
            seen.append((held, now))
            return transition(held, now)

        taken = False
        result = None
        try:
            result = self.runner.run(self.store.change(key, watched))
        except RecordTaken:
            taken = True
        held, now = seen[-1]
        assert held == self.held(key, now)
        new, expected = transition(held, now)
        others = {
            (other.connection, other.record)
            for name, other in self.model.items()
            if name != key and other.record and not claims.is_over(other, now)
        }
        assert taken == (new is not None and new != held and (new.connection, new.record) in others)
        if taken:
            return
        assert result == expected
        if new is None:
            self.model.pop(key, None)
        else:
            self.model[key] = self.forget(new)

    @rule(key=key, fence=fence, lease=soon, repeat=st.booleans(), connection=connection, print_=st.sampled_from("ffg"))
    def take(self, key: str, fence: int, lease: float, repeat: bool, connection: str, print_: str) -> None:
        claim = asked(key, fence, connection, fingerprint=print_)
        self.change(key, lambda held, now: claims.take(held, claim, now, lease=lease, may_repeat=repeat))

    @rule(key=key, fence=fence, lease=soon)
    def send(self, key: str, fence: int, lease: float) -> None:
        self.change(key, lambda held, now: claims.send(held, fence, now, lease=lease, about=b"\0\xff", twin="t"))

    @rule(key=key, fence=fence, record=record, keep=soon)
    def answer(self, key: str, fence: int, record: str, keep: float) -> None:
        self.change(key, lambda held, now: claims.answer(held, fence, now, answer=b"{}", record=record, keep=keep))

    @rule(key=key, connection=connection, record=record, keep=soon)
    def write(self, key: str, connection: str, record: str, keep: float) -> None:
        """All of it, as it goes when nothing is wrong."""
        self.take(key, 1, 60.0, False, connection, "f")
        self.send(key, 1, 60.0)
        self.answer(key, 1, record, keep)

    @rule(key=key, fence=fence)
    def lose(self, key: str, fence: int) -> None:
        self.change(key, lambda held, now: claims.lose(held, fence, now))

    @rule(key=key, fence=fence)
    def release(self, key: str, fence: int) -> None:
        self.change(key, lambda held, now: claims.release(held, fence))

    @rule(key=key)
    def expire(self, key: str) -> None:
        self.change(key, claims.expire_lease)

    @rule(key=key)
    def bury(self, key: str) -> None:
        self.change(key, lambda held, now: claims.bury(held, "holder", now))

    @rule(key=key, again=soon)
    def put_off(self, key: str, again: float) -> None:
        self.change(key, lambda held, now: claims.put_off(held, now, again=again))

    @rule(key=key, again=soon)
    def look(self, key: str, again: float) -> None:
        looked: list[float] = []

        def begin(held: Claim | None, now: float) -> tuple[Claim | None, float]:
            new, began = claims.look(held, now, pause=0, again=again)
            looked.append(began)
            return new, began

        self.change(key, begin)
        self.change(key, lambda held, now: claims.missed(held, now, looked[-1], lag=0, keep=60))

    @rule(key=key, record=record, keep=soon)
    def find(self, key: str, record: str, keep: float) -> None:
        self.change(
            key,
            lambda held, now: claims.found(held, 1, now, answer=b"[]", record=record, keep=keep, how="operator"),
        )

    @rule(key=key)
    def fail(self, key: str) -> None:
        def failing(held: Claim | None, now: float) -> tuple[Claim | None, None]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            self.runner.run(self.store.change(key, failing))

    @invariant()
    def all_of_it_is_seen(self) -> None:
        store = self.store
        now = self.runner.run(store.now())
        held = {key: claim for key in KEYS if (claim := self.held(key, now)) is not None}
        for key in KEYS:
            assert self.runner.run(store.claim(key)) == held.get(key)
        still = [claim for claim in held.values() if claim.word in ("claimed", "sending", "unknown")]
        still.sort(key=lambda claim: (claims.turn_of(claim), claim.key))
        assert self.runner.run(store.open_claims()) == still
        ours = [claim for claim in still if claim.connection == "crm2"]
        assert self.runner.run(store.open_claims("crm2")) == ours
        sent = [claim for claim in ours if claim.twin == "t"]
        assert self.runner.run(store.open_claims("crm2", "t")) == sent
        due = [claim for claim in still if claims.turn_of(claim) <= now]
        assert self.runner.run(store.due(9)) == due
        first = {(claim.connection, claim.word == "unknown"): claim for claim in reversed(due)}
        assert self.runner.run(store.due(1)) == [claim for claim in due if claim in first.values()]
        unknown = [claim for claim in still if claim.word == "unknown"]
        assert self.runner.run(store.unknown()) == len(unknown)
        settled = [claim for claim in held.values() if was_settled(claim)]
        latest = [
            claim
            for group in (unknown, settled)
            for claim in sorted(group, key=lambda claim: (claim.since, claim.key), reverse=True)
        ]
        assert self.runner.run(store.outcomes(9)) == latest
        assert self.runner.run(store.outcomes(1)) == latest[:1]
        for n, claim in enumerate(latest):
            place = Place(claim.word != "unknown", claim.since, claim.key)
            assert self.runner.run(store.outcomes(2, place)) == latest[n + 1 : n + 3]
        for connection in CONNECTIONS:
            for record in ("1", "2"):
                holder = [c.key for c in held.values() if (c.connection, c.record) == (connection, record)]
                assert self.runner.run(store.holder_of(connection, record)) == (holder[0] if holder else None)


SETTINGS = settings(
    max_examples=50, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def test_a_store_does_what_the_model_does(url: str) -> None:
    run_state_machine_as_test(type("Checked", (Machine,), {"url": url}), settings=SETTINGS)


def test_a_model_that_differs_is_found(url: str) -> None:
    """The test above would see a store that forgets one thing."""
    forgetful = staticmethod(lambda claim: replace(claim, about=b""))
    broken = type("Broken", (Machine,), {"url": url, "forget": forgetful})
    quick = settings(SETTINGS, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(broken, settings=quick)


async def take(store: Store, key: str, fence: int) -> str:
    claim = asked(key, fence)
    return await store.change(key, lambda held, now: claims.take(held, claim, now, lease=60))


def test_of_fifty_at_once_one_has_the_key(url: str) -> None:
    async def run() -> None:
        states = [state_of(url, Path("/")) for _ in range(3)]
        stores = [state.store for state in states if state is not None]
        for turn in range(5):
            verdicts = await asyncio.gather(
                *(take(stores[fence % 3], f"contended{turn}", fence) for fence in range(50))
            )
            assert sorted(verdicts) == ["in-flight"] * 49 + ["mine"]
        for store in stores:
            await store.aclose()
            await store.aclose()

    asyncio.run(run())


def test_a_record_has_one_claim(url: str) -> None:
    async def run() -> None:
        state = state_of(url, Path("/"))
        assert state is not None
        store = state.store

        async def write(key: str, connection: str, record: str, keep: float) -> None:
            claim = replace(asked(key, 1, connection), word="sending")
            await store.change(key, lambda held, now: (claim, None))
            await store.change(key, lambda held, now: claims.answer(held, 1, now, answer=b"", record=record, keep=keep))

        await write("first", "crm", "7", 60)
        await write("elsewhere", "crm2", "7", 60)
        with pytest.raises(RecordTaken):
            await write("second", "crm", "7", 60)
        left = await store.claim("second")
        assert left is not None and left.word == "sending"
        assert await store.holder_of("crm", "7") == "first"
        await write("first", "crm", "8", 0)  # over at once: its record is free
        await write("second", "crm", "8", 60)
        await write("third", "crm", "7", 60)
        assert [await store.holder_of("crm", record) for record in ("7", "8", "")] == ["third", "second", None]
        assert await store.claim("first") is None
        await store.aclose()

    asyncio.run(run())


def test_claims_that_are_over_are_forgotten_in_time(url: str) -> None:
    async def run() -> None:
        state = state_of(url, Path("/"))
        assert state is not None
        store = state.store

        async def write(key: str, keep: float) -> None:
            await take(store, key, 1)
            await store.change(key, lambda held, now: claims.answer(held, 1, now, answer=b"", record=key, keep=keep))

        for n in range(20):
            await write(f"over{n}", 0.3)
        assert len([n for n in range(20) if await store.claim(f"over{n}")]) == 20
        await asyncio.sleep(0.35)
        assert not [n for n in range(20) if await store.claim(f"over{n}")]
        assert await store.holder_of("crm", "over1") is None
        for n in range(20):
            await write(f"later{n}", 60)
        assert await how_many(store, "over") == 0
        await store.aclose()

    asyncio.run(run())


def test_all_that_is_unknown_is_told_and_no_connection_hides_another(url: str) -> None:
    async def run() -> None:
        state = state_of(url, Path("/"))
        assert state is not None
        store = state.store

        def lost(key: str, since: float, connection: str) -> Claim:
            return replace(asked(key, 1, connection), word="unknown", since=since, finished=True, turn=since)

        # Many came to it in one moment, which pages have to go through all the same.
        many = [lost(f"many{n:04}", float(n // 700), "many") for n in range(1_400)]
        last = lost("last", 3.0, "few")
        before = await store.unknown()  # of other tests
        for claim in (*many, last):
            await store.change(claim.key, lambda held, now, new=claim: (new, None))  # type: ignore[misc]  # a default has no type
        try:
            found = await store.due(1000)
            assert [claim for claim in found if claim.connection == "many"] == many[:1000]
            assert [claim for claim in found if claim.connection == "few"] == [last]
            assert await store.open_claims("many") == many and await store.unknown() == before + 1_401
            told, place = list[Claim](), None
            while page := await store.outcomes(300, place):
                told += [claim for claim in page if claim.connection in ("many", "few")]
                place = Place(page[-1].word != "unknown", page[-1].since, page[-1].key)
            assert told == [last, *reversed(many)]
        finally:
            for claim in (*many, last):
                await store.change(claim.key, lambda held, now: (None, None))
            await store.aclose()

    asyncio.run(run())


async def how_many(store: Any, beginning: str) -> int:
    """Claims in the store, those included that nobody is shown."""
    if hasattr(store, "_server"):
        prefix = store._server._address.prefix
        return len(await store._server.ask("KEYS", f"{prefix}claim:{beginning}*"))
    [count] = store._database._sql.execute(
        "SELECT count(*) FROM claims WHERE key LIKE ?", (beginning + "%",)
    ).fetchone()
    return int(count)


def test_a_caller_that_leaves_disturbs_nobody(url: str) -> None:
    """Whenever a change is cancelled, the answers of the others stay their own."""

    async def run() -> None:
        state = state_of(url, Path("/"))
        assert state is not None
        store = state.store
        await store.open()

        async def own(n: int) -> None:
            key = f"own{n}"
            await store.change(key, lambda held, now: (asked(key, n), None))
            held = await store.claim(key)
            assert held is not None and held.fence == n
            await store.change(key, lambda held, now: (None, None))

        for turn in range(15):
            leaving = [asyncio.create_task(own(1000 + turn * 10 + n)) for n in range(8)]
            staying = [asyncio.create_task(own(turn * 10 + n)) for n in range(4)]
            await asyncio.sleep(0.0004 * turn)
            for task in leaving:
                task.cancel()
            await asyncio.gather(*staying)
            for result in await asyncio.gather(*leaving, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError)
        await store.aclose()

    asyncio.run(run())


def test_a_task_that_takes_a_cancellation_for_an_answer_is_ended_all_the_same() -> None:
    async def main() -> None:
        taken = 0

        async def deaf() -> None:
            nonlocal taken
            while taken < 3:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    taken += 1
            await asyncio.sleep(60)

        async def broken() -> None:
            raise RuntimeError

        tasks = [asyncio.create_task(work) for work in (deaf(), broken(), asyncio.sleep(60))]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(end(tasks), 5)
        assert taken == 3 and all(task.done() for task in tasks)
        await end([])

    asyncio.run(main())
