"""Everything of a run as real processes: stand-ins, fault proxies, balancers and gateway replicas, all ended in the end.

    with Rig(folder) as rig:
        provider = rig.stand_in("getraze", lag=0.5)
        proxy = rig.proxy(provider.port, [answer_cut(method="POST")], seed=1)
        replicas = [rig.gateway(config_text(getraze=proxy.url), workers=2) for _ in range(2)]
        kill9(replicas[0].workers()[0])

Each process leads a group of its own. The group is killed when the block ends, however it ends; when this process itself
is killed, a guard kills it. Standard error of each is a file in `folder`.
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.rig.faults import Rule
from tests.rig.plain_http import Control

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 60.0


class NotReady(Exception):
    """A process ended or was silent instead of getting ready; the text has the end of its standard error."""


@dataclass
class Running:
    """One process that leads a group. `pid` is its own."""

    name: str
    process: "subprocess.Popen[str]"
    guard: "subprocess.Popen[bytes]"
    errors: Path

    @property
    def pid(self) -> int:
        """The leader's."""
        return self.process.pid

    def complaints(self, most: int = 4000) -> str:
        """The end of what it wrote to standard error."""
        return self.errors.read_text("utf-8", "replace")[-most:]

    def end(self) -> None:
        """Kill the group. May be called twice."""
        if self.process.returncode is None:
            # Not waited for yet, so that its number cannot be anybody else's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        if self.guard.returncode is None:
            self.guard.kill()
            self.guard.wait()
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def spawn(name: str, command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> Running:
    """Start a command as the leader of a group, with pipes to and from it, in the project's folder."""
    errors = folder / f"{name}.stderr"
    with errors.open("ab") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
            start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
        )  # fmt: skip
    # `read` ends when this process does, however it does.
    guard = subprocess.Popen(
        ["/bin/sh", "-c", f"read _; kill -9 -{process.pid} 2>/dev/null"], stdin=subprocess.PIPE, start_new_session=True
    )
    return Running(name, process, guard, errors)


def first_line(running: Running, seconds: float = _READY_SECONDS) -> str:
    """The first line on its standard output. Raises `NotReady`."""
    stdout = running.process.stdout
    assert stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        line = stdout.readline() if selector.select(seconds) else ""
    if not line.endswith("\n"):
        raise NotReady(f"{running.name} is not ready: {running.complaints()}")
    return line.strip()


@dataclass
class Part:
    """A stand-in, proxy or balancer that runs."""

    running: Running
    port: int
    control: Control
    ledger: Path = Path()
    """What a stand-in writes down; a proxy's journal."""
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    def counters(self) -> Any:
        """What its control channel counts."""
        return self.control.get("/counters")

    def set(self, **settings: Any) -> None:
        """Change a stand-in's `Settings`."""
        self.control.put("/settings", settings)

    def play(self, *rules: Rule) -> None:
        """From now on a proxy goes by these rules."""
        self.control.put("/rules", [rule.as_json() for rule in rules])

    def gate(self, word: str) -> None:
        """A proxy's door: "open", "down", "full"."""
        self.control.put("/gate", word)

    def lines(self) -> list[dict[str, Any]]:
        """The ledger or journal so far."""
        return [json.loads(line) for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []


@dataclass
class Replica:
    """A gateway that serves; `again()` starts it on the same port after it died as a whole."""

    running: Running
    url: str
    count: int
    """How many workers it was told to have."""
    _start: Callable[[int], Running] = field(repr=False)

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    @property
    def supervisor(self) -> int:
        """The pid of the process that was started."""
        return self.running.pid

    def workers(self) -> list[int]:
        """Pids of those that serve, and of one that stands by: the supervisor's children, or itself if it serves alone."""
        if self.count == 1:
            return [self.supervisor] if alive(self.supervisor) else []
        return [pid for pid in children(self.supervisor) if b"resource_tracker" not in _command(pid)]

    def is_ready(self) -> bool:
        """Whether `readyz` answers 200 now."""
        return answers(self.url, "/readyz")

    def wait_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Return when it is. Raises `NotReady`."""
        limit = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > limit:
                raise NotReady(f"{self.running.name}: {self.running.complaints()}")
            time.sleep(0.05)

    def terminate(self, seconds: float = 30.0) -> int:
        """SIGTERM, as a rolling restart does; its exit status once it has ended."""
        self.running.process.terminate()
        return self.running.process.wait(seconds)

    def again(self) -> None:
        """Start it once more on its port, and wait until it is ready."""
        self.running.end()
        self.running = self._start(self.port)
        first_line(self.running)


def children(pid: int) -> list[int]:
    """Pids of a process's children, dead ones left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def alive(pid: int) -> bool:
    """Whether the process runs or is stopped, but is not dead."""
    return state_of(pid) not in ("", "Z", "X")


def state_of(pid: int) -> str:
    """Its state as the kernel tells it: R and S run, T stands still, Z is dead; empty when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def kill9(pid: int) -> None:
    """Kill it at once. `ProcessLookupError` when it is gone."""
    os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    """Return when it stands still. uvicorn's supervisor kills a worker that does for more than 5 s: stop it first then."""
    os.kill(pid, signal.SIGSTOP)
    while state_of(pid) in ("R", "S", "D"):
        time.sleep(0.001)


def cont(pid: int) -> None:
    """Let it go on."""
    os.kill(pid, signal.SIGCONT)


def answers(url: str, path: str) -> bool:
    """Whether there is a 200 within two seconds."""
    host = url.partition("://")[2]
    connection = HTTPConnection(host, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status == 200
    return False


class Rig:
    """All processes of one run, ended when the block ends. `folder` keeps ledgers, configurations and standard error."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environ = environ
        self._running: list[Running] = []
        self._replicas: list[Replica] = []
        self._numbers: dict[str, int] = {}
        self._endings = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in [*(replica.running for replica in self._replicas), *self._running]:
            running.end()
        self._endings.close()

    def part(self, module: str, *arguments: str, ledger: Path | None = None) -> Part:
        """A process of the rig that prints its ports."""
        name = self._name(module.rpartition(".")[2])
        running = spawn(name, [sys.executable, "-m", module, *arguments], self.folder, self._environ)
        self._running.append(running)
        ports = json.loads(first_line(running))
        return Part(running, ports["port"], Control(ports.get("control", ports["port"])), ledger or Path())

    def stand_in(self, provider: str, **settings: Any) -> Part:
        """A provider: "getraze", "getraze-served" or "spott"; its ledger is a file of its own."""
        ledger = self.folder / f"{self._name('ledger')}.jsonl"
        return self.part(
            "tests.rig.stand_in", "--provider", provider, "--ledger", str(ledger), "--settings", json.dumps(settings),
            ledger=ledger,
        )  # fmt: skip

    def proxy(self, to: int, rules: Sequence[Rule] = (), seed: int = 0) -> Part:
        """A fault proxy before a port; its journal is `ledger`."""
        journal = self.folder / f"{self._name('journal')}.jsonl"
        return self.part(
            "tests.rig.fault_proxy", "--to", f"127.0.0.1:{to}", "--seed", str(seed), "--journal", str(journal),
            "--rules", json.dumps([rule.as_json() for rule in rules]), ledger=journal,
        )  # fmt: skip

    def balancer(self, *backends: str, host: str = "127.0.0.1") -> Part:
        """A balancer over `host:port` ones, on an address of its own where that is told."""
        to = (word for one in backends for word in ("--to", one))
        part = self.part("tests.rig.balancer", "--host", host, *to)
        part.host = host
        return part

    def gateway(self, config: str, workers: int = 2, host: str = "127.0.0.1") -> Replica:
        """A replica by `python -m gateway serve`, ready. Relative paths in the configuration are below `folder`."""
        name = self._name("gateway")
        path = self.folder / f"{name}.yaml"
        path.write_text(config, encoding="utf-8")

        def start(port: int) -> Running:
            return spawn(
                name,
                [sys.executable, "-m", "gateway", "serve", "--config", str(path), "--host", host, "--port", str(port),
                 "--workers", str(workers)],
                self.folder, self._environ,
            )  # fmt: skip

        running = start(0)
        self._running.append(running)
        replica = Replica(running, first_line(running), workers, start)
        self._replicas.append(replica)
        limit = time.monotonic() + _READY_SECONDS
        while len(replica.workers()) < workers and time.monotonic() < limit:
            time.sleep(0.02)
        return replica

    def state_server(self, start: Callable[[], "contextlib.AbstractContextManager[str]"] | None = None) -> str:
        """The URL of a real Valkey: `$GATEWAY_TEST_REDIS_URL`, else what `start` opens, which ends with the rig."""
        told = os.environ.get("GATEWAY_TEST_REDIS_URL")
        if told:
            return told
        if start is None:
            raise NotReady("no state server: set GATEWAY_TEST_REDIS_URL, or give one to start")
        return self._endings.enter_context(start())

    def _name(self, kind: str) -> str:
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        return f"{kind}-{self._numbers[kind]}"


def kept(folder: Path, to: Path) -> None:
    """Copy what a run has written (ledgers, journals, histories, standard error) for later."""
    shutil.copytree(folder, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.db*"))
