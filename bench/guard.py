"""What a request costs, for every commit: `python -m bench.guard`; `--renew` sets the limits anew.

The whole application is called in this process, without a socket: a hit, and misses whose provider is a function (flat and
wrapped). Where `perf stat` counts instructions, instructions a request are compared. Elsewhere it is CPU time over that of
a fixed piece of Python, in short slices by turns: of each the quickest slice counts, the one that nothing disturbed, and a
slower machine is slower at both. Exit status 1 when one is over its limit by more than the tolerance.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvloop

from bench import configs
from bench.load import KEY
from bench.records import Shape, checker, kind
from gateway.config import load_config
from gateway.engine import Answer
from gateway.http.app import Answer as Answered
from gateway.http.app import App
from gateway.http.requests import Headers
from gateway.http.serving import application

LIMITS = Path(__file__).parent / "guard.json"
TOLERANCE = 0.2
"""So much is a slip. A machine with other work has used up most of it by itself, once: hence `AGAIN`."""
ROUNDS = 400
AGAIN = 3
"""How often it is measured again before it is called too slow: noise comes and goes, and what was made slower stays so."""
SLICE = 5
"""Requests in a slice: less than a millisecond, so that some slices are disturbed by nobody."""

Once = Callable[[], Awaitable[bytes]]


class Provider:
    """Stands where the engine of a connection stands, and answers at once."""

    def __init__(self, shape: Shape) -> None:
        what = kind(shape)
        self._native, self._body = what.native.encode(), what.provider_body.encode()
        self._start = what.provider_path.partition("{}")[0].encode()
        self._headers = {
            "content-type": "application/json", "x-ratelimit-limit": "100000000",
            "x-ratelimit-remaining": "99999999", "x-ratelimit-reset": "4102444800",
        }  # fmt: skip

    async def exchange(self, request: bytes, deadline: float, fresh: bool = False) -> Answer:
        """The record whose id stands in the request's first line."""
        native = request.partition(self._start)[2].partition(b" ")[0]
        return Answer(200, dict(self._headers), self._body.replace(self._native, native))

    async def aclose(self) -> None:
        """Nothing to close."""


async def _receive() -> MutableMapping[str, Any]:
    raise AssertionError("a request without a body has nothing more to say")


def asking(app: App, shape: Shape, distinct: int) -> Once:
    """Asks for one of so many records, the next one each time, as a caller does who keeps his connection."""
    what = kind(shape)
    paths = [what.gateway_path.format(native) for native in what.natives(distinct)]
    turn = 0
    sent = [
        (b"host", b"127.0.0.1"), (b"authorization", f"Bearer {KEY}".encode()), (b"accept", b"*/*"),
        (b"user-agent", b"bench"),
    ]  # fmt: skip
    headers = Headers(sent)

    async def once() -> bytes:
        nonlocal turn
        path = paths[turn]
        turn = (turn + 1) % distinct
        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": sent,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http", "http_version": "1.1",
        }  # fmt: skip
        coming = app.answer(scope, _receive, headers)
        answer = coming if isinstance(coming, Answered) else await coming
        if answer is None or answer.status != 200:
            raise AssertionError(answer)
        return answer.body

    return once


def reference() -> float:
    """Seconds of CPU of a fixed piece of work, of the kinds that a request is made of."""
    started = time.process_time()
    text = json.dumps(_VALUE)
    for _ in range(8):
        value = json.loads(text)
        told = {f"{name}.{place}": one for name, many in value.items() for place, one in enumerate(many)}
        sorted(told.items())
    return time.process_time() - started


_VALUE = {f"member {number}": [number, f"text {number}", None, True] for number in range(24)}


_WAYS: dict[str, tuple[Shape, str, int]] = {
    "hit": ("flat", configs.REMEMBERS, 1),
    "miss, flat": ("flat", configs.FORGETS, 5000),
    "miss, wrapped": ("wrapped", configs.FORGETS, 5000),
}
"""What is measured: name -> (record, configuration, how many ids in turn)."""


async def subjects(folder: Path) -> tuple[dict[str, Once], list[App]]:
    """(what is measured, the applications to close): each checked once."""
    found: dict[str, Once] = {}
    apps = []
    for name, (shape, config, distinct) in _WAYS.items():
        file = configs.gateway(folder, config, 9, name.replace(", ", "-"))
        app = application(load_config(str(file), {}), {})
        apps.append(app)
        await app.gateway.open(settling=False)
        for connection in app.gateway.connections.values():
            which: Shape = "flat" if connection.name == "raze" else "wrapped"
            connection._wire._engine = Provider(which)  # type: ignore[assignment]  # in the engine's place
        found[name] = asking(app, shape, distinct)
        check = checker(shape, direct=False)
        if not check.check(kind(shape).natives(1)[0].encode(), b"200", await found[name]()):
            raise AssertionError(check.first_wrong)
    return found, apps


async def ratios(rounds: int) -> dict[str, float]:
    """Name -> the least CPU time of a request over the reference's least."""
    with tempfile.TemporaryDirectory() as folder:
        found, apps = await subjects(Path(folder))
        best = dict.fromkeys(found, float("inf"))
        for once in found.values():
            for _ in range(200):
                await once()
        least = float("inf")
        for _ in range(rounds):
            for name, once in found.items():
                least = min(least, reference())
                started = time.process_time()
                for _ in range(SLICE):
                    await once()
                best[name] = min(best[name], (time.process_time() - started) / SLICE)
        for app in apps:
            await app.gateway.aclose()
    return {name: value / least for name, value in best.items()}


async def _ask(name: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, apps = await subjects(Path(folder))
        for _ in range(count):
            await found[name]()
        for app in apps:
            await app.gateway.aclose()


def _instructions(command: list[str]) -> int | None:
    counted = ["perf", "stat", "-x,", "-e", "instructions:u", *command]
    done = subprocess.run(counted, capture_output=True, text=True)
    found = re.search(r"^([0-9]+),,instructions", done.stderr, re.MULTILINE)
    return int(found[1]) if found and not done.returncode else None


def instructions() -> dict[str, float] | None:
    """Name -> thousands of instructions a request, or None where they are not counted."""
    if shutil.which("perf") is None or _instructions(["true"]) is None:
        return None
    told = {}
    for name in _WAYS:
        command = [sys.executable, "-m", "bench.guard", "--only", name, "--count"]
        few, many = (_instructions([*command, count]) for count in ("500", "2500"))
        if few is None or many is None:
            return None
        told[name] = (many - few) / 2000 / 1000
    return told


def over(found: dict[str, float], limits: dict[str, float]) -> list[str]:
    """The names of what costs more than its limit and the tolerance, and of what has none."""
    return [name for name, value in found.items() if value > limits.get(name, 0.0) * (1 + TOLERANCE)]


def _processor() -> str:
    """The processor and the Python: how a request stands beside the reference loop depends on both."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, CPython {sys.version_info.major}.{sys.version_info.minor}"


def main() -> int:
    """Exit status 1 when a limit does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--renew", action="store_true", help=f"write what is measured now into {LIMITS.name}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"slices of each (default {ROUNDS})")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        uvloop.run(_ask(arguments.only, arguments.count))
        return 0
    unit, found = "thousand instructions", instructions()
    if found is None:
        unit, found = f"reference loops on {_processor()}", uvloop.run(ratios(arguments.rounds))
    kept: dict[str, dict[str, float]] = json.loads(LIMITS.read_text()) if LIMITS.exists() else {}
    if arguments.renew:
        kept[unit] = {name: round(value, 3) for name, value in found.items()}
        LIMITS.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    limits = kept.get(unit)
    for _ in range(AGAIN):
        if limits is None or unit == "thousand instructions" or not over(found, limits):
            break
        again = uvloop.run(ratios(arguments.rounds))
        found = {name: min(value, again[name]) for name, value in found.items()}
    for name, value in found.items():
        limit = limits.get(name) if limits else None
        beside = "no limit" if limit is None else f"limit {limit:.3f}, {value / limit - 1:+.0%}"
        sys.stdout.write(f"{name}: {value:.3f} {unit} a request ({beside})\n")
    if limits is None:
        sys.stdout.write(f"there are no limits in {unit} yet: --renew sets them\n")
        return 0
    beyond = over(found, limits)
    if beyond:
        sys.stdout.write(f"more than {TOLERANCE:.0%} over the limit: {'; '.join(beyond)}\n")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
