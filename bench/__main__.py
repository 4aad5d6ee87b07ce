"""`python -m bench`: measure the gateway beside the naive version and print what came out; `--write` keeps it."""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.load import Job, Result
from bench.processes import Running, control_loop, cores, free_port, memory, python, running
from bench.records import SHAPES, Shape, kind
from bench.report import Report, render, write

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

PACKAGES = ("uvicorn", "uvloop", "httptools", "httpx", "sniffio", "pydantic", "starlette", "fastapi")

CONFIG = """\
default_connection: raze
connections:
  raze:
    provider: getraze
    base_url: http://127.0.0.1:{port}/external/v1
    api_key: bench
    budget: off
"""
SECOND = """\
  spott:
    provider: spott
    base_url: http://127.0.0.1:{port}
    api_key: bench
    budget: off
"""


class Bench:
    """One run: the provider's stand-in, and servers before it as they are needed."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> None:
        self.arguments = arguments
        self.core, self.other = cores()
        os.sched_setaffinity(0, {self.other})
        self.folder = folder
        # Byte code of everything is compiled once, into a place of ours, whatever this environment says.
        self.environment = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        port = free_port()
        path = kind("flat").provider_path.format("opp_1")
        command = python("bench.provider", "--port", str(port))
        self.provider = stack.enter_context(running(command, port, path, self.other, self.environment))
        self.report = Report(
            versions={
                "Python": platform.python_version(),
                "crm-gateway": version("crm-gateway"),
                **{name: _version(name) for name in PACKAGES},
            },
            settings={
                "date": datetime.now(UTC).strftime("%Y-%m-%d"),
                "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
                "core": str(self.core),
                "other": str(self.other),
                "connections": str(arguments.connections),
                "rounds": str(arguments.rounds),
                "seconds": f"{arguments.seconds:g}",
                "warm": f"{arguments.warm:g}",
            },
        )

    def start(self, subject: str, *, connections: int = 2) -> contextlib.AbstractContextManager[Running]:
        """The gateway (with so many connections configured), the naive version or the floor, on the measured core."""
        port = free_port()
        if subject == "gateway":
            config = self.folder / f"config-{connections}.yaml"
            text = CONFIG + (SECOND if connections == 2 else "")
            config.write_text(text.format(port=self.provider.port), encoding="utf-8")
            command = python("gateway", "serve", "--config", str(config), "--port", str(port))
        elif subject == "floor":
            command = python("bench.floor", "--port", str(port))
        else:
            url = f"http://127.0.0.1:{self.provider.port}"
            command = python("bench.naive", "--port", str(port), "--provider", url)
        what = kind("flat")
        return running(command, port, what.gateway_path.format(what.native), self.core, self.environment)

    def load(self, job: Job) -> Result:
        """Run a job in a process of its own."""
        command = python("bench.load", json.dumps(asdict(job)))
        done = subprocess.run(command, env={**os.environ, **self.environment}, stdout=subprocess.PIPE, check=True)
        return Result(**json.loads(done.stdout))

    def measure(self) -> None:
        """Everything, in order: starts and memory first, then the interleaved rounds."""
        for subject in ("gateway", "naive"):
            self._starts(subject)
        with self.start("gateway") as gateway, self.start("naive") as naive, self.start("floor") as floor:
            subjects = {"gateway": gateway, "naive": naive, "floor": floor}
            for number in range(self.arguments.rounds):
                _say(f"round {number + 1} of {self.arguments.rounds}")
                for shape in SHAPES:
                    self._round(subjects, shape)
        self.report.control.append(control_loop(self.core))

    def _starts(self, subject: str) -> None:
        _say(f"{subject}: start and memory")
        report = self.report
        with self.start(subject, connections=1):
            pass  # compiles the byte code
        report.starts[subject] = []
        report.memory[subject] = {"Rss": [], "Pss": []}
        for _ in range(self.arguments.rounds):
            with self.start(subject, connections=1) as server:
                report.starts[subject].append(server.start)
                time.sleep(0.5)
                for name, size in memory(server.pid).items():
                    report.memory[subject][name].append(size)

    def _round(self, subjects: dict[str, Running], shape: Shape) -> None:
        arguments, report = self.arguments, self.report
        report.control.append(control_loop(self.core))
        base = Job(
            self.provider.port, shape, True, arguments.connections, arguments.warm, arguments.seconds, [], self.core
        )
        jobs = {"provider": replace(base, pids=[self.provider.pid], core=self.other)}
        for subject, server in subjects.items():
            if subject != "floor":
                jobs[subject] = replace(base, port=server.port, direct=False, pids=[server.pid])
            elif shape == "flat":
                jobs[subject] = replace(base, port=server.port, direct=False, pids=[server.pid], distinct=1)
        for subject, job in jobs.items():
            result = self.load(job)
            if subject == "provider":  # the load itself runs on that core, so nothing can be said of others there
                result = replace(result, others=0.0)
            report.full.setdefault((subject, shape), []).append(result)
        for subject, job in jobs.items():
            result = self.load(replace(job, connections=1, seconds=arguments.seconds / 2))
            if subject == "provider":
                result = replace(result, others=0.0)
            report.single.setdefault((subject, shape), []).append(result)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # sniffio: httpx goes without, at a price
        return "not installed"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> int:
    """Exit status 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, and starts (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured seconds of each (default 3)")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before that (default 0.5)")
    parser.add_argument("--connections", type=int, default=64, help="requests in flight (default 64)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second: to see that it works")
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name}")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.warm = 2, 1.0, 0.3
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bench = Bench(arguments, Path(folder), stack)
        bench.measure()
    text = render(bench.report)
    sys.stdout.write(text + "\n")
    if arguments.write:
        write(PAGE, text)
    return 1 if any(one.wrong for one in bench.report.results()) else 0


if __name__ == "__main__":
    sys.exit(main())
