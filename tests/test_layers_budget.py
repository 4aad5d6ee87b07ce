"""A provider's limit is kept before the provider has to, shared, corrected by what it says, and told."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.adapter import Budget, BudgetLeft
from gateway.callers import hash_key
from gateway.connections import Connection
from gateway.errors import MaybeSent, NeverSent
from gateway.failures import problem_of_failure
from gateway.layers.budget import Paid, Purse, reserve_of
from gateway.state.local import FallbackBoard, LocalBoard
from gateway.state.store import Allowance, StateUnavailable
from tests.at_provider import GET, LIST, POST, connected, outcome_of, reply_of, says, soon
from tests.fault_server import READ, FaultServer, Loop, answer
from tests.live import Says, Seen, StandIn, ask, assert_problem, running_gateway

pytestmark = pytest.mark.anyio

HOUR = 3600.0
GOOD = Loop(READ, answer(b'{"id": "1"}'))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def told(remaining: int, limit: int = 1000, reset: float | None = None) -> list[str]:
    seconds = int(time.time() + 600) if reset is None else int(reset)
    return [f"X-RateLimit-Limit: {limit}", f"X-RateLimit-Remaining: {remaining}", f"X-RateLimit-Reset: {seconds}"]


def remaining(purse: Connection | Purse) -> int | None:
    left = purse.budget_left() if isinstance(purse, Connection) else purse.left()
    assert left is not None
    return left.remaining


async def test_the_provider_sees_no_more_than_the_budget() -> None:
    """B11, for one worker: 20 callers at once."""
    async with FaultServer([GOOD]) as server, connected(server.url, budget=Budget(50, HOUR)) as connection:

        async def caller(number: int) -> list[object]:
            return [
                await outcome_of(lambda: connection.send(GET, soon(5), caller=f"caller {number}")) for _ in range(10)
            ]

        outcomes = [one for many in await asyncio.gather(*map(caller, range(20))) for one in many]
        refused = [one for one in outcomes if isinstance(one, NeverSent)]
        assert len(server.requests) == 50 and len(refused) == 150
        problem = problem_of_failure(refused[0], POST, "it")
        assert (problem.code, problem.status, problem.origin, problem.outcome) == (
            "rate-limited", 429, "provider", "not_applied"
        )  # fmt: skip
        assert problem.retry_after is not None and 1 <= problem.retry_after <= HOUR
        assert remaining(connection) == 0


async def test_a_budget_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def generous(self: LocalBoard, name: str, calls: int, per: float, reserve: int = 0) -> Allowance:
        return Allowance(calls, calls, time.time() + per)

    monkeypatch.setattr(LocalBoard, "spend", generous)
    async with FaultServer([GOOD]) as server, connected(server.url, budget=Budget(5, HOUR)) as connection:
        for _ in range(9):
            await connection.send(GET, soon(5))
        assert len(server.requests) > 5


async def test_each_try_is_paid_for() -> None:
    async with (
        FaultServer([*says("503 No"), GOOD]) as server,
        connected(server.url, budget=Budget(10, HOUR)) as connection,
    ):
        reply_of(await connection.send(GET, soon(5)))
        assert len(server.requests) == 2
        assert remaining(connection) == 8


async def test_a_call_that_never_left_is_given_back() -> None:
    """A provider that refuses connections has counted none of them, and has the whole budget left when it is back."""
    async with FaultServer([GOOD]) as server:
        url = server.url
    async with connected(url, budget=Budget(5, HOUR)) as connection:
        for _ in range(20):
            outcome = await outcome_of(lambda: connection.send(POST, soon(5)))
            assert isinstance(outcome, NeverSent) and outcome.reason == "refused"
        assert remaining(connection) == 5


async def test_a_call_that_is_not_given_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(self: Purse, paid: Paid) -> None:
        pass

    monkeypatch.setattr(Purse, "give_back", keep)
    async with FaultServer([GOOD]) as server:
        url = server.url
    async with connected(url, budget=Budget(5, HOUR)) as connection:
        outcomes = [await outcome_of(lambda: connection.send(POST, soon(5))) for _ in range(6)]
        assert isinstance(outcomes[-1], NeverSent) and outcomes[-1].reason == "budget"


async def test_what_may_have_left_is_spent() -> None:
    async with FaultServer([Loop(READ)]) as server, connected(server.url, budget=Budget(5, HOUR)) as connection:
        for _ in range(2):
            assert isinstance(await outcome_of(lambda: connection.send(POST, soon(5))), MaybeSent)
        assert remaining(connection) == 3


async def test_a_call_that_may_not_be_sent_any_more_is_given_back() -> None:
    class Stop(Exception):
        pass

    async def stop() -> None:
        raise Stop

    async with FaultServer([GOOD]) as server, connected(server.url, budget=Budget(5, HOUR)) as connection:
        assert isinstance(await outcome_of(lambda: connection.send(POST, soon(5), before=stop)), Stop)
        await connection.send(GET, soon(5))
        assert remaining(connection) == 4
        assert len(server.requests) == 1


async def test_what_the_provider_said_is_given_back_to_as_well() -> None:
    """Its own account goes down with each call that goes out, and closes the connection when it is empty."""
    purse = Purse("it", None, LocalBoard())
    first = await purse.spend(True)
    purse.note(BudgetLeft(100, 2, time.time() + 30), first.number)
    for _ in range(9):
        await purse.give_back(await purse.spend(True))
    early, late = await purse.spend(True), await purse.spend(True)
    with pytest.raises(NeverSent):
        await purse.spend(True)
    purse.note(BudgetLeft(100, 0, time.time() + 30), late.number)
    await purse.give_back(early)  # the later answer's count is without it already
    with pytest.raises(NeverSent):
        await purse.spend(True)


async def test_lists_give_way_to_single_reads_and_writes() -> None:
    async with FaultServer([GOOD]) as server, connected(server.url, budget=Budget(20, HOUR)) as connection:
        for _ in range(18):
            await connection.send(LIST, soon(5), urgent=False)
        with pytest.raises(NeverSent, match="budget"):
            await connection.send(LIST, soon(5), urgent=False)
        await connection.send(GET, soon(5))
        await connection.send(POST, soon(5))
        with pytest.raises(NeverSent, match="budget"):
            await connection.send(GET, soon(5))
        assert len(server.requests) == 20


def test_what_is_kept_back_fits_the_budget() -> None:
    assert [reserve_of(calls) for calls in (1, 2, 5, 10, 20, 600, 1000)] == [0, 1, 1, 1, 2, 60, 100]


async def test_what_the_provider_says_is_believed_when_it_is_less() -> None:
    async with (
        FaultServer([*says("200 OK", *told(3)), GOOD]) as server,
        connected(server.url, budget=Budget(1000, HOUR)) as connection,
    ):
        await connection.send(GET, soon(5))
        assert remaining(connection) == 3
        outcomes = [await outcome_of(lambda: connection.send(GET, soon(5))) for _ in range(5)]
        assert [isinstance(one, NeverSent) for one in outcomes] == [False, False, False, True, True]
        assert 1 < outcomes[-1].retry_after <= HOUR


async def test_what_one_worker_is_told_the_others_know() -> None:
    board = LocalBoard()
    async with (
        FaultServer([*says("200 OK", *told(0)), GOOD]) as server,
        connected(server.url, budget=Budget(1000, HOUR), board=board) as one,
        connected(server.url, budget=Budget(1000, HOUR), board=board) as other,
    ):
        await one.send(GET, soon(5))
        with pytest.raises(NeverSent, match="budget"):
            await other.send(GET, soon(5))
        assert len(server.requests) == 1


async def test_another_credential_has_a_budget_of_its_own() -> None:
    """After a rotation nobody waits for the end of a window that the old key has used up."""
    board = LocalBoard()
    async with FaultServer([Loop(*says("200 OK", *told(0)))]) as server:
        for key, sent in (("old", 1), ("old", 1), ("new", 2)):
            async with connected(server.url, budget=Budget(1000, HOUR), board=board, key=key) as connection:
                await outcome_of(lambda: connection.send(GET, soon(5)))
                assert len(server.requests) == sent


async def test_an_absurd_limit_does_not_close_the_connection_for_ever() -> None:
    clock = [1_800_000_000.0]
    purse = Purse(
        "it", Budget(100, 60), LocalBoard(lambda: clock[0]), clock=lambda: clock[0], monotonic=lambda: clock[0]
    )
    purse.note(BudgetLeft(None, 0, 1e18), (await purse.spend(True)).number)
    with pytest.raises(NeverSent):
        await purse.spend(True)
    clock[0] += 61
    assert await purse.spend(True)
    purse.note(BudgetLeft(0, 10**12, -1.0), 2)
    purse.note(BudgetLeft(-5, -5, None), 2)
    clock[0] += 61
    assert await purse.spend(True)


async def test_a_window_of_the_providers_that_is_not_ours_holds_across_ours() -> None:
    """Ours ends, and the provider's goes on: nothing goes out that it would refuse."""
    clock = [1_800_000_000.0 + 50]  # ten seconds before a minute ends
    purse = Purse(
        "it", Budget(100, 60), LocalBoard(lambda: clock[0]), clock=lambda: clock[0], monotonic=lambda: clock[0]
    )
    purse.note(BudgetLeft(100, 2, clock[0] + 40), (await purse.spend(True)).number)
    clock[0] += 20
    await purse.spend(True)
    await purse.spend(True)
    with pytest.raises(NeverSent) as failed:
        await purse.spend(True)
    assert failed.value.retry_after == pytest.approx(20)
    clock[0] += 21
    assert await purse.spend(True)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_setting_the_clock_lengthens_no_wait(step: float) -> None:
    clock, usual = [1_800_000_000.0], [100.0]
    board = LocalBoard(lambda: clock[0])
    for told in (False, True):
        purse = Purse("it", Budget(100, 60), board, clock=lambda: clock[0], monotonic=lambda: usual[0])
        if told:
            purse.note(BudgetLeft(100, 0, clock[0] + 20), (await purse.spend(True)).number)
        else:
            purse.pause(20.0)
        clock[0] += step
        assert purse.spend_at_once(True) is None
        with pytest.raises(NeverSent) as failed:
            await purse.spend(True)
        assert failed.value.retry_after == 20
        if told:
            assert purse.left() == BudgetLeft(100, 0, clock[0] + 20)
        usual[0] += 20.5
        assert await purse.spend(True)


async def test_a_board_whose_clock_is_ahead_tells_no_longer_wait_than_its_window() -> None:
    purse = Purse("it", Budget(1, 60), LocalBoard(lambda: 1_800_003_600.0), clock=lambda: 1_800_000_000.0)
    await purse.spend(True)
    with pytest.raises(NeverSent) as failed:
        await purse.spend(True)
    assert failed.value.retry_after == 60


async def test_what_is_told_counts_the_calls_that_were_on_their_way() -> None:
    purse = Purse("it", Budget(100, 60), LocalBoard())
    numbers = [(await purse.spend(True)).number for _ in range(5)]
    purse.note(BudgetLeft(100, 20, time.time() + 30), numbers[0])  # the other four are not in it yet
    assert remaining(purse) == 16


async def test_the_operators_own_budget_is_never_raised_and_the_adapters_is() -> None:
    for fixed, limit in ((True, 10), (False, 5000)):
        purse = Purse("it", Budget(10, 60), LocalBoard(), fixed=fixed)
        purse.note(BudgetLeft(5000, 4999, None), (await purse.spend(True)).number)
        await purse.spend(True)
        left = purse.left()
        assert left is not None and left.limit == limit


async def test_a_pause_that_the_provider_asks_for_is_kept_by_all_calls() -> None:
    async with (
        FaultServer([*says("429 Slow Down", "Retry-After: 1"), GOOD]) as server,
        connected(server.url, budget=Budget(1000, HOUR)) as connection,
    ):
        assert reply_of(await connection.send(POST, soon(5))).status == 429
        with pytest.raises(NeverSent, match="budget"):
            await connection.send(POST, soon(5))
        await asyncio.sleep(1.05)
        assert reply_of(await connection.send(POST, soon(5))).status == 200
        assert len(server.requests) == 2


async def test_without_a_budget_nothing_is_held_back_but_what_is_told_is_shown() -> None:
    async with FaultServer([Loop(*says("200 OK", *told(0)))]) as server, connected(server.url) as connection:
        for _ in range(3):
            await connection.send(GET, soon(5))
        assert len(server.requests) == 3
        assert remaining(connection) == 0


class Gone(LocalBoard):
    """A board that nobody can reach, for as long as `gone`."""

    gone = True
    asked = 0

    async def spend(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        self.asked += 1
        if self.gone:
            raise StateUnavailable
        return super().spend_at_once(name, calls, per, reserve)

    def spend_at_once(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        return None  # as a board does that is asked over a network

    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        raise StateUnavailable


async def test_without_the_shared_board_calls_go_on_by_the_workers_own(caplog: pytest.LogCaptureFixture) -> None:
    gone, clock = Gone(), [0.0]
    board = FallbackBoard(gone, lambda: clock[0])
    async with FaultServer([GOOD]) as server, connected(server.url, budget=Budget(8, HOUR), board=board) as connection:
        for _ in range(5):
            await connection.send(GET, soon(5))
        assert gone.asked == 1 and len(server.requests) == 5
        gone.gone, clock[0] = False, 2.0
        await connection.send(GET, soon(5))
        assert gone.asked == 2
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the state store fails", "the state store is back"
    ]  # fmt: skip
    with pytest.raises(StateUnavailable):
        await board.versions(["it"])


async def test_what_this_workers_own_board_granted_is_given_back_to_that() -> None:
    gone, clock = Gone(), [0.0]
    board = FallbackBoard(gone, lambda: clock[0])
    own = await board.spend("it", 8, HOUR)
    assert own is not None
    gone.gone, clock[0] = False, 2.0
    shared = await board.spend("it", 8, HOUR)
    assert shared is not None
    await board.give_back("it", 8, HOUR, own)
    assert (await gone.allowance("it", 8, HOUR)).left == 7
    await board.give_back("it", 8, HOUR, shared)
    assert (await gone.allowance("it", 8, HOUR)).left == 8


# --- the whole way


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[str, StandIn]]:
    record = '{"success": true, "data": {"id": "opp_1", "name": "x"}}'

    def script(seen: Seen) -> Says:
        return Says(200, record if seen.path.endswith("opp_1") else '{"success": true, "data": {"opportunities": []}}')

    with StandIn(script) as provider:
        config = (
            "cache: {ttl: 0s}\n"
            f"connections:\n  raze: {{provider: getraze, base_url: '{provider.url}', api_key: some-key, "
            "budget: {calls: 10, per: 31d}}\n"
            f"callers:\n  - {{name: some, key_sha256: {hash_key('secret')}, scopes: ['opportunities:read']}}\n"
        )
        with running_gateway(config, tmp_path) as url:
            yield url, provider


def test_callers_are_told_and_lists_give_way(gateway: tuple[str, StandIn]) -> None:
    url, provider = gateway
    key = {"X-API-Key": "secret"}
    one, many = f"{url}/v1/opportunities/opp_1", f"{url}/v1/opportunities"
    answer = ask(one, headers=key)
    told = [answer.headers[f"ratelimit-{name}"] for name in ("limit", "remaining", "reset")]
    assert told[:2] == ["10", "9"] and 0 < int(told[2]) <= 31 * 86400
    assert [ask(one, headers=key).headers["ratelimit-remaining"] for _ in range(8)] == [str(n) for n in range(8, 0, -1)]
    for target in (many, f"{many}?ids=opp_1"):
        answer = ask(target, headers=key)
        if target == many:
            problem = assert_problem(answer, 429, "rate-limited")
            assert problem["origin"] == "provider" and problem["retry_after"] >= 1
            assert answer.headers["ratelimit-remaining"] == "1"
        else:
            assert answer.meta["errors"][0]["problem"]["code"] == "rate-limited"
    (shown,) = ask(f"{url}/v1/connections", headers=key).data
    assert shown["limits"]["budget"] == {"calls": 10, "per_seconds": 31 * 86400}
    assert (shown["state"]["budget_left"]["limit"], shown["state"]["budget_left"]["remaining"]) == (10, 1)
    assert shown["state"]["circuit"] == {"state": "closed", "retry_after": None}
    assert ask(one, headers=key).status == 200
    assert_problem(ask(one, headers=key), 429, "rate-limited")
    assert len(provider.seen) == 10
