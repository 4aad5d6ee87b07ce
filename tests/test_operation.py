"""Operation: workers die and are replaced, servers drain, configurations are exchanged, and no caller notices.

CRM_GATEWAY_TEST_RESTARTS and CRM_GATEWAY_TEST_CLIENTS make the rolling restart longer (20 and 200 in a soak run).
"""

import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.callers import hash_key
from gateway.state.board_file import BoardFile
from tests.live import SANDBOXES, Says, Seen, StandIn, ask, assert_problem, send
from tests.operating import Load, Server, is_gone, is_ready, stopped, until
from tests.state_server import state_server

RESTARTS = int(os.environ.get("CRM_GATEWAY_TEST_RESTARTS", "3"))
CLIENTS = int(os.environ.get("CRM_GATEWAY_TEST_CLIENTS", "20"))
RECORD = "/v1/opportunities/opp_abc123def456"
UNLIMITED = "/v1/opportunities/spott:3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77"
"""A record of a provider whose budget no load here spends."""
OLD, NEW = "cg_the-old-key", "cg_the-new-key"


def with_caller(*keys: str) -> str:
    """Both sandboxes, and one caller with these keys."""
    return f"{SANDBOXES}callers: [{{name: billing, key_sha256: [{', '.join(hash_key(key) for key in keys)}]}}]\n"


def on(provider: StandIn) -> str:
    """One connection, on a provider of our own."""
    return (f"connections: {{raze: {{provider: getraze, base_url: '{provider.url}', api_key: x, timeout: 60s, "
            "settings: {dialect: documented}}}\n")  # fmt: skip


def bearer(key: str) -> dict[str, str]:
    """The header of a caller with this key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers, and callers with a key."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "config.yaml").write_text(with_caller(OLD))
    with Server(folder, "--workers", "2") as server:
        yield server


def test_a_killed_worker_is_replaced_and_nobody_else_is_cut(pair: Server) -> None:
    until(lambda: len(pair.children()) == 3)  # the last one stands by
    first = pair.children()[0]
    os.kill(first, signal.SIGKILL)
    until(lambda: is_gone(first))
    for _ in range(20):
        assert ask(f"{pair.url}{RECORD}", headers=bearer(OLD)).status == 200
    until(lambda: len(pair.children()) == 3)
    assert f"worker {first} ended (signal 9); another one starts\n" in pair.log


def test_any_child_may_be_killed_at_any_time(pair: Server) -> None:
    for _ in range(3):
        until(lambda: len(pair.children()) >= 2)
        for pid in pair.children()[:2]:
            os.kill(pid, signal.SIGKILL)
        assert until(lambda: is_ready(pair)) < 20
    until(lambda: len(pair.children()) == 3)


def test_a_stopped_worker_holds_up_nobody_else(pair: Server) -> None:
    with stopped(pair.children()[0]):
        for _ in range(20):
            assert ask(f"{pair.url}{RECORD}", headers=bearer(OLD)).status == 200


def test_a_reload_takes_effect_in_all_workers_and_loses_nothing(pair: Server) -> None:
    config = pair.folder / "config.yaml"
    made = {}
    with Load([pair.port], 8, UNLIMITED, f"Authorization: Bearer {NEW}\r\n") as load:
        until(lambda: load.answers > 50)
        config.write_text(with_caller(OLD, NEW))
        done = pair.reload()
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        for _ in range(12):
            assert ask(f"{pair.url}{RECORD}", headers=bearer(NEW)).status == 200
        config.write_text(with_caller(NEW))
        assert pair.reload().returncode == 0
        for _ in range(12):
            assert_problem(ask(f"{pair.url}{RECORD}", headers=bearer(OLD)), 401, "unauthenticated")
        made = dict(load.statuses)
    assert load.cut == []
    assert made.keys() == {200, 401}, "the new key is refused before it is there, and nothing else goes wrong"


def test_limits_hold_from_a_reload_on_and_count_what_was_in_flight_before(tmp_path: Path) -> None:
    go, names = threading.Event(), itertools.count()

    def says(_: Seen) -> Says:
        go.wait(60)
        return Says(404)

    def read() -> int:
        return ask(f"{server.url}/v1/opportunities/opp_{next(names)}").status

    def bound(per_caller: int) -> None:
        (tmp_path / "config.yaml").write_text(f"{on(provider)}limits: {{per_caller: {per_caller}, concurrency: 1}}\n")

    with StandIn(says) as provider, ThreadPoolExecutor(8) as pool:
        bound(3)
        with Server(tmp_path) as server:
            taken = [pool.submit(read) for _ in range(3)]
            until(lambda: gauge(server, "crm_gateway_requests_in_flight") == 3)
            assert read() == 429
            bound(2)
            assert server.reload().returncode == 0
            assert read() == 429, "the three count"
            bound(5)
            assert server.reload().returncode == 0
            taken += [pool.submit(read) for _ in range(2)]
            until(lambda: gauge(server, "crm_gateway_requests_in_flight") == 5)
            assert read() == 429
            bound(1)
            assert server.reload().returncode == 0
            go.set()
            assert [one.result() for one in taken] == [404] * 5
            go.clear()
            taken = [pool.submit(read)]
            until(lambda: gauge(server, "crm_gateway_requests_in_flight") == 1)
            assert read() == 429
            go.set()
            assert taken[0].result() == 404


def test_whatever_lies_beside_the_state_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("connections: {raze: {provider: getraze, base_url: sandbox}}\n")
    with Server(tmp_path) as server:
        assert ask(f"{server.url}{RECORD}").status == 200
        beside = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("gateway.db*") if path.is_file()}
        assert {"gateway.db", "gateway.db.pid"} <= beside.keys()
        assert set(beside.values()) == {0o600}, beside


def gauge(server: Server, name: str) -> float:
    """What a gauge shows, without the request that asks for it."""
    lines = ask(f"{server.url}/metrics").body.decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1]) - 1


def test_a_bad_new_file_changes_nothing_and_is_told_with_its_lines(pair: Server) -> None:
    config = pair.folder / "config.yaml"
    good = config.read_text()
    config.write_text(f"{good}bad: 1\n")
    done = pair.reload()
    assert (done.returncode, done.stdout) == (1, "")
    assert "config.yaml:6:1: bad: unknown key" in done.stderr
    pair.signal(signal.SIGHUP)
    until(lambda: "config.yaml:6:1: bad: unknown key" in pair.log)
    assert "the one before stays in force" in pair.log
    assert ask(f"{pair.url}{RECORD}", headers=bearer(NEW)).status == 200
    until(lambda: len(pair.children()) == 3)
    for pid in pair.children():  # whoever comes new serves what is in force, and not what is in the file
        os.kill(pid, signal.SIGKILL)
    until(lambda: is_ready(pair))
    assert ask(f"{pair.url}{RECORD}", headers=bearer(NEW)).status == 200
    config.write_text(good)


def test_what_a_reload_says_of_a_bad_file_is_an_object_where_lines_are(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(SANDBOXES)
    with Server(tmp_path, "--log-format", "json") as server:
        assert server.url
        config.write_text(f"{SANDBOXES}bad: 1\n")
        server.signal(signal.SIGHUP)
        until(lambda: "unknown key" in server.log)
        said = [json.loads(line)["message"] for line in server.log.splitlines()]
        assert any("bad: unknown key" in one for one in said)


def test_what_needs_a_restart_is_said_and_kept_and_sandboxes_come_and_go(pair: Server) -> None:
    config = pair.folder / "config.yaml"
    good = config.read_text()
    other = good.replace("  spott:", "  more: {provider: getraze, base_url: sandbox}\n  spott:")
    config.write_text(f"{other}server: {{port: 1, workers: 7}}\n")
    done = pair.reload()
    assert done.returncode == 0
    assert done.stderr == ("server.port was changed, and waits for a restart\n"
                           "server.workers was changed, and waits for a restart\n")  # fmt: skip
    made = ask(f"{pair.url}{RECORD}", headers={**bearer(NEW), "X-CRM-Connection": "more"})
    assert made.status == 200
    config.write_text(good)
    assert pair.reload().returncode == 0
    assert ask(f"{pair.url}{RECORD}", headers={**bearer(NEW), "X-CRM-Connection": "more"}).status == 404


def test_a_reload_does_not_begin_to_keep_what_workers_cannot_tell_each_other_of(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"{SANDBOXES}state: off\ncache: {{ttl: 0s}}\n")
    with Server(tmp_path, "--workers", "2") as server:
        assert ask(f"{server.url}{RECORD}").headers["x-cache"] == "bypass"
        config.write_text(f"{SANDBOXES}state: off\n")
        done = server.reload("--pid-file", str(tmp_path / "crm-gateway.pid"))
        assert (done.returncode, "cannot tell each other of writes" in done.stderr) == (1, True), done.stderr
        assert ask(f"{server.url}{RECORD}").headers["x-cache"] == "bypass"


def test_workers_go_with_a_parent_that_was_killed_and_leave_the_port(pair: Server) -> None:
    until(lambda: len(pair.children()) == 3)
    children, port = pair.children(), pair.port
    pair.signal(signal.SIGKILL)
    pair.wait()
    until(lambda: all(map(is_gone, children)), 30)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    assert pair.reload().returncode == 1, "a pid file that was left behind misleads nobody"


def test_a_rolling_restart_under_load_cuts_nobody(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Says:
        time.sleep(0.05)  # so that there is always something under way
        return Says(200, {"data": {"id": "opp_abc123def456"}})

    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(StandIn(answer))
        (tmp_path / "config.yaml").write_text(on(provider))

        def start(turn: int, port: int = 0) -> Server:
            name = ("one", "two")[turn]
            arguments = ("--workers", str(turn + 1), "--drain-seconds", "0.5", "--pid-file", f"{name}.pid")
            return stack.enter_context(Server(tmp_path, *arguments, port=port, name=name))

        replicas = [start(0), start(1)]
        with Load([replica.port for replica in replicas], CLIENTS, RECORD) as load:
            for turn in range(RESTARTS):
                before = load.answers
                until(lambda before=before: load.answers > before + 5 * CLIENTS)  # type: ignore[misc]  # bound now
                old = replicas[turn % 2]
                assert old.stop() == 0, old.log
                assert "Traceback" not in old.log
                replicas[turn % 2] = start(turn % 2, old.port)
                assert replicas[turn % 2].url == old.url, old.log
        assert load.cut == []
        assert load.statuses.keys() == {200}


def test_draining_tells_callers_to_go_elsewhere_and_ends_what_is_under_way(tmp_path: Path) -> None:
    arrived: list[Seen] = []

    def slow(seen: Seen) -> Says:
        arrived.append(seen)
        time.sleep(2.5)
        return Says(404, {"error": "none"})

    with StandIn(slow) as provider:
        (tmp_path / "config.yaml").write_text(on(provider))
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Server(tmp_path, "--drain-seconds", "1"))
            one = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            one.sendall(f"GET {RECORD} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            until(lambda: arrived)
            server.signal(signal.SIGTERM)
            until(lambda: not is_ready(server))
            told = ask(f"{server.url}/readyz")
            assert_problem(told, 503, "overloaded")
            assert told.headers["connection"] == "close"
            assert ask(f"{server.url}/healthz").headers["connection"] == "close"
            answer = b""
            while chunk := one.recv(65536):
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 404 ") and b"connection: close\r\n" in answer
            assert server.wait() == 0


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SANDBOXES)
    with Server(tmp_path, "--drain-seconds", "60") as server, socket.create_connection(("127.0.0.1", server.port)):
        server.signal(signal.SIGINT)
        until(lambda: not is_ready(server))
        server.signal(signal.SIGINT)
        began = time.monotonic()
        server.wait()
        assert time.monotonic() - began < 10


# --- starting --------------------------------------------------------------------------------------------------------


def test_a_worker_that_cannot_start_stops_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(
        "import sys\nfrom adapters.getraze import GetRaze as Base\n"
        "if 'gateway.http.worker' in sys.orig_argv:\n    raise RuntimeError('not in the mood')\n"
        "class Moody(Base):\n    pass\n"
    )
    (tmp_path / "config.yaml").write_text("connections: {raze: {provider: 'moody:Moody', base_url: sandbox}}\n")
    server = Server(tmp_path, "--workers", "2")
    assert (server.url, server.process.returncode) == ("", 1)
    assert "a worker cannot start: RuntimeError: not in the mood" in server.log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_state_store_that_may_lose_claims_stops_the_start(tmp_path: Path, workers: str) -> None:
    (tmp_path / "careless.py").write_text(
        "from adapters.getraze import GetRaze\nfrom gateway.state.sqlite import SqliteStore\n"
        "from gateway.state.store import UnsafeStore\n"
        "async def open_(self):\n    raise UnsafeStore('it loses claims: set appendonly yes')\n"
        "SqliteStore.open = open_\n"
    )
    (tmp_path / "config.yaml").write_text("connections: {raze: {provider: 'careless:GetRaze', base_url: sandbox}}\n")
    server = Server(tmp_path, "--workers", workers)
    assert (server.url, server.process.returncode) == ("", 1)
    assert "state store: it loses claims: set appendonly yes; it is sqlite:///" in server.log
    assert "Traceback" not in server.log and "worker" not in server.log


def test_more_workers_than_a_state_file_once_had_room_for_serve_and_write(tmp_path: Path) -> None:
    """As many processes on one file, without the time that so many take to start."""
    (tmp_path / "config.yaml").write_text(SANDBOXES)
    boards = [BoardFile(tmp_path / "gateway.db-board") for _ in range(64 + 32)]
    try:
        with Server(tmp_path) as server:
            assert server.url, server.log
            made = send(f"{server.url}/v1/opportunities", "POST", '{"name": "Jane"}', Idempotency_Key="one")
            assert made.status == 201, server.log
    finally:
        for board in boards:
            board.close()


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.mkdir(), "the state database cannot be opened: Is a directory: set `state` to a file"),
        (
            lambda path: path.write_bytes(b"notes, and no database at all " * 99),
            "is not an SQLite database, or damaged: move it away and put its backup there",
        ),
        (lambda path: path.with_name("gateway.db-board").write_bytes(b"notes"), "another program's: move it away"),
    ],
)
def test_a_state_store_that_somebody_has_to_mend_stops_the_start(
    tmp_path: Path, workers: str, spoil: Callable[[Path], object], said: str
) -> None:
    (tmp_path / "config.yaml").write_text(SANDBOXES)
    spoil(tmp_path / "gateway.db")
    with Server(tmp_path, "--workers", workers) as server:
        assert (server.url, server.process.returncode) == ("", 1)
    assert f"state store: the state {'board' if 'program' in said else 'database'}" in server.log and said in server.log
    assert "Traceback" not in server.log and "worker" not in server.log


def test_a_state_server_that_refuses_us_stops_the_start_and_one_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with state_server(tmp_path, requirepass="good-password") as away:
        state = f"{SANDBOXES}state: redis://:bad-password@127.0.0.1:{away.port}/0\n"
        (tmp_path / "config.yaml").write_text(state)
        with Server(tmp_path, name="refused") as server:
            assert (server.url, server.process.returncode) == ("", 1)
        assert "state store: the state server refuses" in server.log and "bad-password" not in server.log
        (tmp_path / "config.yaml").write_text(state.replace("bad", "good"))
        away.stop()
        with Server(tmp_path) as server:
            assert ask(f"{server.url}/readyz").status == 503
            away.start()
            until(lambda: is_ready(server))


def test_an_exhausted_table_of_files_is_survived(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(SANDBOXES)

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with Server(tmp_path, before=few_files) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(80):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            time.sleep(0.3)
        until(lambda: is_ready(server))
        assert ask(f"{server.url}{RECORD}").status == 200


@pytest.mark.parametrize(("seconds", "status"), [(0.0, 0), (30.0, -signal.SIGALRM)])
def test_a_loop_that_cannot_be_closed_does_not_keep_its_process(seconds: float, status: int) -> None:
    """In C, where no handler of Python's would run; and nobody is ended later who was closed in time."""
    script = (
        "import time; from gateway.http import running; running.CLOSE_SECONDS = 0.3\n"
        f"with running.closed_in_time(): time.sleep({seconds})\n"
        "time.sleep(0.5)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=20, check=False).returncode == status
