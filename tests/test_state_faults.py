"""A state store that is down, locked, full, read-only, damaged or unsafe says so in time, and recovers by itself."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.state.claims import Claim
from gateway.state.opening import state_of
from gateway.state.redis_server import RedisAddress, RedisServer
from gateway.state.store import Board, State, StateUnavailable, Store, UnsafeStore
from tests.state_server import StateServer, patience, state_server

SECRET = "canary-9c2e-credential"  # noqa: S105  # opens nothing but the server of a test


def sqlite_state(folder: Path) -> State:
    state = state_of("sqlite:///gateway.db", folder)
    assert state is not None
    return state


def redis_state(server: StateServer) -> State:
    state = state_of(server.url, Path("/"))
    assert state is not None
    return state


async def put(store: Store, key: str, size: int = 10) -> None:
    claim = Claim(key, 1, "sending", "f", "crm", "caller", "create", "holder", 0, 0, 0, about=bytes(size))
    await store.change(key, lambda held, now: (claim, None))


async def refused(store: Store, text: str, within: float = 1.5) -> None:
    began = time.monotonic()
    with pytest.raises(StateUnavailable, match=text) as error:
        await put(store, "refused")
    assert time.monotonic() - began < within
    assert SECRET not in repr(error.value) and error.value.__cause__ is None
    assert "/" not in str(error.value) and "127.0.0.1" not in str(error.value)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_database(tmp_path: Path) -> None:
    async def run() -> None:
        store = sqlite_state(tmp_path).store
        await put(store, "before")
        with locked(tmp_path / "gateway.db"):
            began = time.monotonic()
            await asyncio.gather(*(refused(store, "locked by another process") for _ in range(5)))
            assert time.monotonic() - began >= 0.9
            assert await store.claim("before") is not None  # it can still be read
            with pytest.raises(StateUnavailable, match="locked"):
                await store.check()
        await put(store, "after")
        await store.check()
        with locked(tmp_path / "gateway.db"):
            waiting = asyncio.create_task(put(store, "waited"))
            await asyncio.sleep(0.3)
        await waiting
        await store.aclose()

    asyncio.run(run())


def test_a_missing_folder_and_a_removed_file(tmp_path: Path) -> None:
    async def run() -> None:
        folder = tmp_path / "later"
        state = sqlite_state(folder)
        with pytest.raises(StateUnavailable):
            await state.board.open()
        with pytest.raises(StateUnavailable, match="folder does not exist"):
            await state.store.open()
        await refused(state.store, "folder does not exist")
        folder.mkdir()
        await put(state.store, "a")
        assert (folder / "gateway.db").stat().st_mode & 0o777 == 0o600
        aside = folder / "aside.db"
        (folder / "gateway.db").rename(aside)
        await refused(state.store, "removed")
        await refused(state.store, "removed")  # a new and empty one would not know what was claimed
        aside.rename(folder / "gateway.db")
        await put(state.store, "b")
        assert await state.store.claim("a") is not None
        await state.aclose()
        with pytest.raises(StateUnavailable, match="closed"):
            await put(state.store, "c")

    asyncio.run(run())


def test_a_damaged_database_and_one_of_a_later_version(tmp_path: Path) -> None:
    async def run() -> None:
        path = tmp_path / "gateway.db"
        path.write_bytes(b"not a database, but long enough to be looked at" * 100)
        store = sqlite_state(tmp_path).store
        await refused(store, "not an SQLite database")
        path.unlink()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 99")
        later = sqlite_state(tmp_path).store
        with pytest.raises(UnsafeStore, match="later version"):
            await later.open()
        await refused(later, "later version")
        await later.aclose()
        await store.aclose()

    asyncio.run(run())


@contextmanager
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("a disk of sixteen megabytes takes the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_full_disk() -> None:
    async def run(folder: Path) -> None:
        state = sqlite_state(folder)
        await state.store.open()
        await put(state.store, "before")
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(StateUnavailable, match="No space left"):
            await state.board.open()
        for turn in range(3):
            with pytest.raises(StateUnavailable, match=r"full|error"):
                await put(state.store, f"full{turn}", 50_000)
        assert await state.store.claim("before") is not None
        ballast.unlink()
        await put(state.store, "after", 50_000)
        await asyncio.sleep(1.0)
        await state.board.bump(["x"])
        assert [claim.key for claim in await state.store.open_claims()] == ["after", "before"]
        await state.aclose()

    with small_disk() as folder:
        asyncio.run(run(folder))


def test_a_read_only_disk() -> None:
    async def run(folder: Path) -> None:
        state = sqlite_state(folder)
        await put(state.store, "before")
        await state.store.aclose()
        store = sqlite_state(folder).store
        remount(folder, "ro")
        await refused(store, "[Rr]ead-only|opened")
        remount(folder, "rw")
        await put(store, "after")
        await store.aclose()

    with small_disk() as folder:
        asyncio.run(run(folder))


def test_the_clock_does_not_jump_and_never_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def now() -> float:
        store = sqlite_state(tmp_path).store
        told = await store.now()
        await store.check()
        await store.aclose()
        return told

    first = asyncio.run(now())
    assert abs(first - time.time()) < 1
    day = time.time()
    monkeypatch.setattr("gateway.state.clock.time.time", lambda: day + 5000)
    assert 0 <= asyncio.run(now()) - first < 60
    monkeypatch.setattr("gateway.state.clock.time.time", lambda: day - 5000)
    assert 0 <= asyncio.run(now()) - first < 60
    monkeypatch.setattr("gateway.state.clock.BOOT", "another boot")  # and the time of day is wrong
    assert 0 <= asyncio.run(now()) - first < 60
    monkeypatch.setattr("gateway.state.clock.time.time", lambda: day + 9000)
    monkeypatch.setattr("gateway.state.clock.BOOT", "one more boot")
    assert 8900 < asyncio.run(now()) - first < 9100


def test_a_file_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    async def run() -> None:
        store = sqlite_state(tmp_path).store
        await put(store, "before")
        await store.aclose()
        with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as file:
            file.executescript(
                "DROP INDEX claims_open; DROP INDEX claims_unknown; ALTER TABLE claims DROP COLUMN turn;"
                "CREATE INDEX claims_open ON claims (since, key) WHERE over IS NULL; PRAGMA user_version = 1"
            )
        store = sqlite_state(tmp_path).store
        await put(store, "after")
        assert {claim.key for claim in await store.open_claims()} == {"before", "after"}
        assert "before" in [claim.key for claim in await store.due(9)]
        await store.aclose()

    asyncio.run(run())


def test_an_error_of_one_change_undoes_that_one_only(tmp_path: Path) -> None:
    async def run() -> None:
        store = sqlite_state(tmp_path).store

        def failing(held: Claim | None, now: float) -> tuple[Claim | None, None]:
            raise ZeroDivisionError

        await store.open()
        with locked(tmp_path / "gateway.db"):  # what is asked for meanwhile becomes one transaction
            changes = [put(store, "a"), store.change("b", failing), put(store, "c")]
            asked = [asyncio.ensure_future(change) for change in changes]
            await asyncio.sleep(0.05)
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), ZeroDivisionError, type(None)]
        assert [claim.key for claim in await store.open_claims()] == ["a", "c"]
        await store.aclose()

    asyncio.run(run())


def test_a_server_that_is_down_or_held_up(tmp_path: Path) -> None:
    async def run(server: StateServer) -> None:
        state = redis_state(server)
        await state.open()
        store, board = state.store, state.board
        await asyncio.gather(*(put(store, f"before{n}") for n in range(20)))
        with server.held_up():
            await asyncio.gather(*(refused(store, "in time", 0.6) for _ in range(20)))
            for ask in asked_of(board):
                began = time.monotonic()
                with pytest.raises(StateUnavailable, match="in time"):
                    await ask()
                assert time.monotonic() - began < 0.1
        await asyncio.sleep(0.1)
        await put(store, "between")
        server.stop()
        await refused(store, "cannot be reached", 0.5)
        for ask in asked_of(board):
            with pytest.raises(StateUnavailable, match="cannot be reached"):
                await ask()
        server.start()
        await put(store, "after")
        assert len(await store.open_claims()) >= 22  # what was refused while it was held up may have been made
        for ask in asked_of(board):
            await ask()
        await state.aclose()
        with pytest.raises(StateUnavailable, match="closed"):
            await put(store, "c")

    with state_server(tmp_path) as server:
        asyncio.run(run(server))


def asked_of(board: Board) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: board.versions(["x"]),
        lambda: board.bump(["x"]),
        lambda: board.spend("x", 10**6, 60),
        lambda: board.tripped("x"),
    ]


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("appendonly", "no", "appendonly yes"),
        ("appendfsync", "everysec", "appendfsync always, not everysec"),
        ("appendfsync", "no", "appendfsync always, not no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction, not allkeys-lru"),
        ("maxmemory-policy", "volatile-ttl", "noeviction, not volatile-ttl"),
        ("no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite no"),
        ("cluster-enabled", "yes", "Cluster"),
        ("replicaof", "127.0.0.1 1", "replica"),
        ("user", "default on nopass ~* &* +@all -config|get", "CONFIG GET"),
    ],
)
def test_a_server_that_may_lose_claims_is_refused(tmp_path: Path, setting: str, value: str, text: str) -> None:
    async def run(server: StateServer) -> None:
        state = redis_state(server)
        with pytest.raises(UnsafeStore, match=text):
            await state.open()
        await state.aclose()

    with state_server(tmp_path, **{setting: value}) as server:
        asyncio.run(run(server))


def test_claims_outlive_the_server(tmp_path: Path) -> None:
    async def run(server: StateServer) -> None:
        state = redis_state(server)
        await state.open()
        before = await state.board.versions(["a"])
        await asyncio.gather(*(put(state.store, f"kept{n}") for n in range(50)))
        server.stop()
        server.start()
        # Its connections are lost. One call may find that out, and not one for each connection.
        with contextlib.suppress(StateUnavailable):
            await state.store.open_claims()
        assert len(await state.store.open_claims()) == 50
        with contextlib.suppress(StateUnavailable):
            await state.board.bump(["a"])
        await state.board.bump(["a"])
        assert await state.board.versions(["a"]) > before
        await state.aclose()

    with patience(), state_server(tmp_path) as server:
        asyncio.run(run(server))


def test_a_server_with_a_password_and_one_that_is_none(tmp_path: Path) -> None:
    async def run(server: StateServer) -> None:
        for password, text in ((f"wrong{SECRET}", "password|refuses"), ("", "refuses")):
            url = f"redis://:{password}@127.0.0.1:{server.port}/0"
            state = state_of(url, Path("/"))
            assert state is not None and SECRET not in repr(state)
            with pytest.raises(StateUnavailable, match=text) as error:
                await state.open()
            assert SECRET not in repr(error.value)
            await state.aclose()
        state = state_of(f"redis://:{SECRET}@127.0.0.1:{server.port}/0", Path("/"))
        assert state is not None
        await state.open()
        await put(state.store, "a")
        await state.aclose()

    with state_server(tmp_path, requirepass=SECRET) as server:
        asyncio.run(run(server))


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"$-9\r\n",
        b"\0\xff\r\n",
        b"*-1\r\n",
        b"",
    ],
)
def test_an_answer_that_is_none(reply: bytes) -> None:
    """Whatever is at the address, each question is told in time to be without an answer."""

    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                writer.write(reply)

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        state = state_of(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", Path("/"))
        assert state is not None
        asks: list[Callable[[], Awaitable[object]]] = [
            state.store.open,
            state.store.check,
            lambda: put(state.store, "a"),
            lambda: state.board.versions(["a"]),
            lambda: state.board.bump(["a"]),
            lambda: state.board.allowance("a", 1, 60),
            lambda: state.board.tripped("a"),
        ]
        for ask in asks:
            began = time.monotonic()
            with contextlib.suppress(StateUnavailable, UnsafeStore):
                assert not await ask() or reply == b"*2\r\n:1\r\n:2\r\n"
            assert time.monotonic() - began < 0.6
        with pytest.raises((StateUnavailable, UnsafeStore)):
            await put(state.store, "a")
        await state.aclose()
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.01)

    asyncio.run(run())


@pytest.mark.parametrize(
    "url",
    [
        "redis://", "redis:///0", "redis://h/x", f"redis://u:{SECRET}@h/0?socket_timeout=9", "sqlite:///", "sqlite:///a?b=c",
        "postgres://h/db", "redis://h?prefix=", f"redis://u:{SECRET}@h:99999999/0", f"redis://[{SECRET}",
        f"redis://u:{SECRET}/more@h:6379/0", f"redis://u:{SECRET}#more@h:6379", f"redis://h:{SECRET}/0", "redis://h:99999",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError) as error:
        state_of(url, Path("/"))
    assert SECRET not in str(error.value) and "//h" not in str(error.value)
    assert not {"Port", "IPv6"} & set(str(error.value).split())  # none of Python's own


def test_off_is_no_state() -> None:
    assert state_of("off", Path("/")) is None


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), asyncio.CancelledError()], ids=repr)
def test_what_breaks_within_the_client_is_a_server_that_cannot_be_reached(error: BaseException) -> None:
    """Seen a few times in 200,000 requests while a server went and came: nothing that can be brought about at will."""

    class Broken:
        async def execute_command(self, *_: object) -> None:
            raise error

    async def main() -> None:
        server = RedisServer(RedisAddress("127.0.0.1", 1, 0, ""), 0.25)
        server._client = Broken()  # type: ignore[assignment]  # all that is asked of it
        with pytest.raises(StateUnavailable):
            await server.ask("PING")

    asyncio.run(main())


def test_a_cancellation_of_ones_own_is_none_of_the_server() -> None:
    class Slow:
        async def execute_command(self, *_: object) -> None:
            await asyncio.sleep(60)

    async def main() -> None:
        server = RedisServer(RedisAddress("127.0.0.1", 1, 0, ""), 60)
        server._client = Slow()  # type: ignore[assignment]  # all that is asked of it
        task = asyncio.create_task(server.ask("PING"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
