"""Processes pinned to a core, and what the kernel tells of them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_TICK = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """(the core of what is measured, the core of all else); the same one twice where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in started for one in family(int(child)))]


def core_busy(core: int) -> float:
    """Seconds that a core was not idle since the machine started; what the host took away counts as busy."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) / _TICK
    raise ValueError(f"there is no core {core}")


@contextlib.contextmanager
def loose(pids: list[int], where: set[int]) -> Iterator[None]:
    """Meanwhile these processes run on any of the cores; after it each thread is where it was before."""
    threads = [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    before = {thread: os.sched_getaffinity(thread) for thread in threads}
    try:
        for thread in threads:
            os.sched_setaffinity(thread, where)
        yield
    finally:
        for thread, place in before.items():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, place)


def memory(pid: int) -> dict[str, float]:
    """`Rss` and `Pss` of a process in MiB."""
    told = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            told[name] = int(rest.split()[0]) / 1024
    return told


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def python(*arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", *arguments]


@dataclass(frozen=True)
class Running:
    """A server that answers, and the seconds from its start to its first right answer."""

    pid: int
    port: int
    start: float

    def pids(self) -> list[int]:
        """The server's processes, workers included."""
        return family(self.pid)


@contextlib.contextmanager
def running(
    command: list[str], port: int, path: str, core: int, environment: Mapping[str, str], head: str = ""
) -> Iterator[Running]:
    """Start a server on a core, wait until it answers 200 on `path`, and stop it at the end. `head`: more headers.

    Raises `RuntimeError` when it ends before that or takes more than 30 seconds.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        while not _answers(port, path, head):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} before it answered")
            if time.perf_counter() - started > 30:
                raise RuntimeError(f"{' '.join(command)} did not answer in 30 seconds")
            time.sleep(0.002)
        yield Running(process.pid, port, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str, head: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{head}\r\n".encode())
            return sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def control_loop(core: int) -> float:
    """Seconds that a fixed piece of work takes on a core; it varies only with what else goes on there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        started = time.perf_counter()
        total = 0
        for number in range(2_000_000):
            total += number
        return time.perf_counter() - started
    finally:
        os.sched_setaffinity(0, before)
