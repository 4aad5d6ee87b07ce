"""What workers tell each other: on one machine through shared memory, on several through a server."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path

import click
import msgspec
import pytest

from gateway.cli import main
from gateway.config.values import WORKERS
from gateway.state.board import SharedBoard
from gateway.state.board_file import COLUMNS, NAMES
from gateway.state.opening import state_of
from gateway.state.store import Allowance, Board, StateUnavailable
from tests.state_server import patience, state_url

LONG = 1e8
"""Seconds of a window that does not end during a test."""
RESET = (time.time() // LONG + 1) * LONG


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path}/gateway.db"
        else:
            stack.enter_context(patience())
            yield stack.enter_context(state_url(tmp_path))


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Board, Board]]:
    """The same board, opened twice."""
    boards = []
    for _ in range(2):
        state = state_of(url, Path("/"))
        assert state is not None
        await state.board.open()
        boards.append(state.board)
    try:
        yield boards[0], boards[1]
    finally:
        for board in boards:
            await board.aclose()
            await board.aclose()


def run(url: str, test: Callable[[Board, Board], Coroutine[None, None, None]]) -> None:
    async def both() -> None:
        async with two(url) as (one, other):
            await test(one, other)

    asyncio.run(both())


def test_what_is_bumped_goes_up_for_all(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        first = await one.versions(["a", "b", "a"])
        assert first == await other.versions(["a", "b", "a"]) and first[0] == first[2]
        await one.bump(["a"])
        await other.bump(["a", "b"])
        await one.bump([])
        assert await one.versions(["a", "b"]) == await other.versions(["a", "b"]) == (first[0] + 2, first[1] + 1)
        assert await one.versions([]) == ()

    run(url, test)


def test_a_mark_is_seen_by_all_and_lost_with_the_board_only(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        before = time.time()
        assert (await one.marked("a"))[0] == (await other.marked("b"))[0] == 0.0
        assert await one.mark("a", 1764000000.125) == 0.0
        mark, since = await other.marked("a")
        assert mark == 1764000000.125 and since <= before + 1
        assert await other.mark("a", 1764000001.0) == 1764000000.125
        assert [(await board.marked(name))[0] for board in (one, other) for name in "ab"] == [1764000001.0, 0.0] * 2

    run(url, test)


def test_a_board_begun_anew_says_since_when_it_keeps_marks(tmp_path: Path) -> None:
    async def test() -> None:
        board = SharedBoard(tmp_path / "board")
        await board.open()
        await board.mark("a", time.time())
        await board.aclose()
        (tmp_path / "board").unlink()
        lost = time.time()
        await board.open()
        mark, since = await board.marked("a")
        assert mark == 0.0 and since >= lost - 0.001
        await board.aclose()

    asyncio.run(test())


class Counted(AbstractContextManager[None]):
    """In the place of the lock between counting and looking: how often something was counted."""

    times = 0

    def __enter__(self) -> None:
        self.times += 1

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


def test_what_is_refused_again_is_not_counted_for_a_moment(tmp_path: Path) -> None:
    """Counted and taken back, it would be in the way of others, who may have what it may not."""

    async def test(one: Board, other: Board) -> None:
        assert isinstance(one, SharedBoard)
        one._barrier = counted = Counted()  # type: ignore[assignment]  # a lock is all that it stands for
        assert await one.spend("crm", 100, LONG, reserve=10) == Allowance(100, 99, RESET)
        for left in reversed(range(10, 99)):
            assert await other.spend("crm", 100, LONG) == Allowance(100, left, RESET)
        assert [await one.spend("crm", 100, LONG, reserve=10) for _ in range(5)] == [None] * 5
        assert counted.times == 2  # what was granted, and what was refused when much was left as far as was known
        assert [(await other.spend("crm", 100, LONG)) for _ in range(10)][-1] == Allowance(100, 0, RESET)

    run(f"sqlite:///{tmp_path}/gateway.db", test)


def test_all_together_spend_one_budget_and_leave_the_reserve(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        assert await one.allowance("crm", 5, LONG) == Allowance(5, 5, RESET)
        assert await one.spend("crm", 5, LONG) == Allowance(5, 4, RESET)
        assert await other.spend("crm", 5, LONG, reserve=3) == Allowance(5, 3, RESET)
        assert await one.spend("crm", 5, LONG, reserve=3) is None
        assert await one.spend("crm", 5, LONG) == Allowance(5, 2, RESET)
        assert await other.spend("another", 5, LONG) == Allowance(5, 4, RESET)
        assert [await board.spend("crm", 5, LONG) for board in (one, other)] == [
            Allowance(5, 1, RESET),
            Allowance(5, 0, RESET),
        ]
        assert [await board.spend("crm", 5, LONG) for board in (one, other)] == [None, None]
        assert await other.allowance("crm", 5, LONG) == Allowance(5, 0, RESET)
        assert await other.allowance("crm", 3, LONG) == Allowance(3, 0, RESET)

    run(url, test)


def test_a_call_that_is_given_back_may_be_spent_again_in_its_window_only(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        granted = await one.spend("crm", 2, LONG)
        assert granted is not None
        await other.spend("crm", 2, LONG)
        assert await other.spend("crm", 2, LONG) is None
        await one.give_back("crm", 2, LONG, msgspec.structs.replace(granted, reset=RESET - LONG))
        assert await other.spend("crm", 2, LONG) is None
        await one.give_back("crm", 2, LONG, granted)
        assert await one.allowance("crm", 2, LONG) == Allowance(2, 1, RESET)
        assert await other.spend("crm", 2, LONG) == Allowance(2, 0, RESET)
        assert await one.spend("crm", 2, LONG) is None
        for _ in range(3):
            await one.give_back("fresh", 2, LONG, granted)  # nothing was spent of it
        assert await one.allowance("fresh", 2, LONG) == Allowance(2, 2, RESET)

    run(url, test)


def test_the_provider_is_believed_when_it_says_less(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        await one.spend("crm", 100, LONG)
        await one.correct("crm", 100, LONG, 200)
        assert await other.allowance("crm", 100, LONG) == Allowance(100, 99, RESET)
        await one.correct("crm", 100, LONG, 10)
        await other.correct("crm", 100, LONG, 20)
        assert await other.spend("crm", 100, LONG) == Allowance(100, 9, RESET)
        await other.correct("crm", 100, LONG, 1)
        assert await one.spend("crm", 100, LONG) == Allowance(100, 0, RESET)
        assert await other.spend("crm", 100, LONG) is None
        await one.correct("fresh", 100, LONG, -3)
        assert await other.spend("fresh", 100, LONG) is None

    run(url, test)


def test_a_new_window_has_the_whole_budget_again(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        per = 0.5
        for _ in range(3):
            await asyncio.sleep(per - time.time() % per + 0.01)
            began = time.time()
            await one.spend("crm", 3, per)
            await other.spend("crm", 3, per)
            await one.correct("crm", 3, per, 0)
            refused = await other.spend("crm", 3, per)
            assert refused is None or time.time() // per != began // per
            allowance = await one.allowance("crm", 3, per)
            assert allowance.reset % per == 0 and 0 < allowance.reset - time.time() <= per

    run(url, test)


def test_a_circuit_is_open_for_all(url: str) -> None:
    async def test(one: Board, other: Board) -> None:
        assert await one.tripped("crm") == 0
        await one.trip("crm", 1234567890.25)
        assert await other.tripped("crm") == 1234567890.25
        assert await other.tripped("another") == 0
        await other.trip("crm", 0)
        assert await one.tripped("crm") == 0

    run(url, test)


def test_a_version_is_never_told_twice_even_when_the_board_is_lost(tmp_path: Path) -> None:
    async def test() -> None:
        board = SharedBoard(tmp_path / "board")
        await board.open()
        await board.bump(["a"])
        before = await board.versions(["a"])
        (tmp_path / "board").unlink()
        await asyncio.sleep(1.05)
        after = await board.versions(["a"])
        assert after > before
        other = SharedBoard(tmp_path / "board")
        await other.open()
        assert await other.versions(["a"]) == after
        await other.aclose()
        await board.aclose()
        with pytest.raises(StateUnavailable, match="closed"):
            await board.versions(["a"])

    asyncio.run(test())


def test_one_process_too_many_is_told_so_and_what_one_gives_back_another_has(tmp_path: Path) -> None:
    async def test() -> None:
        boards = [SharedBoard(tmp_path / "board") for _ in range(COLUMNS + 1)]
        for board in boards[:-1]:
            await board.open()
            await board.bump(["a"])
            await board.spend("crm", 1000, LONG)
        with pytest.raises(StateUnavailable, match=f"{COLUMNS} processes"):
            await boards[-1].open()
        before = await boards[0].versions(["a"])
        await boards[7].aclose()
        await boards[-1].open()
        await boards[-1].bump(["a"])
        assert await boards[0].versions(["a"]) == (before[0] + 1,)
        assert (await boards[-1].allowance("crm", 1000, LONG)).left == 1000 - COLUMNS
        for board in boards:
            await board.aclose()

    asyncio.run(test())


def test_there_is_room_for_two_servers_of_the_most_workers_and_for_commands_beside_them() -> None:
    """As when one server takes over from another; `--workers` and `server.workers` take no more."""
    [option] = [option for option in main.commands["serve"].params if option.name == "workers"]
    assert isinstance(option.type, click.IntRange) and option.type.max is not None
    most = int(option.type.max)
    assert WORKERS.read(str(most)) == most
    with pytest.raises(ValueError):
        WORKERS.read(str(most + 1))
    assert 2 * most + 8 <= COLUMNS


def test_a_file_that_is_no_board(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "board"
        path.write_bytes(b"somebody's notes")
        with pytest.raises(StateUnavailable, match="another program"):
            await SharedBoard(path).open()
        assert path.read_bytes() == b"somebody's notes"
        path.unlink()
        board = SharedBoard(path)
        await board.open()
        assert path.stat().st_mode & 0o777 == 0o600
        with path.open("r+b") as file:  # a later version's
            file.seek(20)
            file.write(b"\x09")
        with pytest.raises(StateUnavailable, match="another version"):
            await SharedBoard(path).open()
        await board.aclose()
        await board.open()  # nobody has it now: it is begun anew
        await board.bump(["a"])
        await board.aclose()

    async def closed() -> None:
        path = tmp_path / "other"
        board = SharedBoard(path)
        with pytest.raises(StateUnavailable):
            await SharedBoard(tmp_path / "nowhere" / "board").open()
        await board.open()
        with pytest.raises(StateUnavailable, match="1024 names"):
            for name in range(NAMES + 1):
                await board.trip(f"circuit{name}", 1.0)
        assert await board.tripped("circuit0") == 1.0
        await board.aclose()

    asyncio.run(test())
    asyncio.run(closed())


def test_names_that_are_no_more_are_given_up_where_nobody_else_has_the_board(tmp_path: Path) -> None:
    """Each address and credential that a connection ever had takes some, and they would run out."""

    async def test() -> None:
        path = tmp_path / "board"
        one = SharedBoard(path)
        await one.open()
        for name in range(NAMES):
            await one.trip(f"circuit{name}", 1.0)
        before = await one.versions(["a"])
        other = SharedBoard(path)
        await other.open()  # beside it nothing is given up
        assert await other.versions(["a"]) == before and await other.tripped("circuit7") == 1.0
        await other.aclose()
        await one.aclose()
        again = SharedBoard(path)
        await again.open()
        assert await again.spend("new", 9, 60.0) is not None
        assert await again.versions(["a"]) > before and await again.tripped("circuit7") == 0.0
        await again.aclose()

    asyncio.run(test())


def test_names_have_the_same_slot_in_every_process(tmp_path: Path) -> None:
    async def test() -> None:
        one, other = SharedBoard(tmp_path / "board"), SharedBoard(tmp_path / "board")
        await one.open()
        await other.open()
        for n in range(40):
            first, second = (one, other) if n % 2 else (other, one)
            await first.trip(f"n{n}", float(n))
            assert await second.tripped(f"n{n}") == float(n)
        assert [await other.tripped(f"n{n}") for n in range(40)] == [float(n) for n in range(40)]
        await one.aclose()
        await other.aclose()

    asyncio.run(test())


def test_of_two_that_spend_the_last_call_at_once_not_both_have_it(tmp_path: Path) -> None:
    """The other has looked before this one counted, and counted before this one looks."""

    async def test() -> None:
        one, other = SharedBoard(tmp_path / "board"), SharedBoard(tmp_path / "board")
        await one.open()
        await other.open()
        await other.spend("crm", 3, LONG)

        class Meanwhile:
            def __enter__(self) -> None:
                file = other._board()
                at = other._budget(file, "crm", LONG).at
                file.budgets[at + file.column] += 1

            def __exit__(self, *_: object) -> None:
                pass

        one._barrier = Meanwhile()  # type: ignore[assignment]  # stands in its place
        assert await one.spend("crm", 3, LONG) == Allowance(3, 0, RESET)
        await one.aclose()
        one = SharedBoard(tmp_path / "board")
        await one.open()
        one._barrier = Meanwhile()  # type: ignore[assignment]  # stands in its place
        assert await one.spend("crm", 4, LONG) is None
        assert await other.allowance("crm", 5, LONG) == Allowance(5, 1, RESET)  # what was too many is taken back
        await one.aclose()
        await other.aclose()

    asyncio.run(test())
