"""One run: what is compared is started side by side, pinned, and asked in turn, round after round."""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import configs
from bench.load import KEY, Job, Result
from bench.processes import Running, control_loop, cores, free_port, loose, memory, python, running
from bench.records import SHAPES, Shape, kind
from bench.report import HELPED, Report

PACKAGES = (
    "uvicorn", "uvloop", "httptools", "starlette", "pydantic", "msgspec", "jiter", "fastapi", "httpx", "sniffio",
)  # fmt: skip
DELAY = 0.02
SLOW_CONNECTIONS = 256
IDLE = 1000
RECORDS = 10_000
LOOSE = ("one worker", "two workers")
"""What is measured with nothing pinned."""
_GATEWAYS = {
    # name -> (configuration, workers, whether the provider is the slow one)
    "miss": (configs.FORGETS, 1, False),
    "hit": (configs.REMEMBERS, 1, False),
    "slow": (configs.WAITS, 1, True),
    "two workers": (configs.FORGETS, 2, False),
}


class Bench:
    """One run: the providers' stand-ins, and servers before them as they are needed."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, stack: contextlib.ExitStack) -> None:
        self.arguments = arguments
        self.core, self.other = cores()
        os.sched_setaffinity(0, {self.other})
        self.folder = folder
        # Byte code of everything is compiled once, into a place of ours, whatever this environment says.
        self.environment = {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        self.nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        self.provider = stack.enter_context(self._provider(0.0))
        self.slow_provider = stack.enter_context(self._provider(DELAY))
        versions = {"Python": platform.python_version(), "crm-gateway": version("crm-gateway")}
        versions |= {name: _version(name) for name in PACKAGES} | {"nginx": _nginx_version(self.nginx)}
        self.report = Report(
            versions=versions,
            settings={
                "date": datetime.now(UTC).strftime("%Y-%m-%d"),
                "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
                "core": str(self.core),
                "other": str(self.other),
                "connections": str(arguments.connections),
                "rounds": str(arguments.rounds),
                "seconds": f"{arguments.seconds:g}",
                "warm": f"{arguments.warm:g}",
                "access_log": "with" if arguments.access_log else "without",
            },
        )

    def _provider(self, delay: float) -> contextlib.AbstractContextManager[Running]:
        port = free_port()
        command = python("bench.provider", "--port", str(port), "--delay", str(delay))
        return running(command, port, kind("flat").provider_path.format("opp_1"), self.other, self.environment)

    def start(self, subject: str, name: str = "") -> contextlib.AbstractContextManager[Running]:
        """A gateway, nginx, the naive version or the floor, on the measured core. `name`: for a gateway of its own."""
        port = free_port()
        what = kind("flat")
        path = what.gateway_path.format(what.native)
        if subject in _GATEWAYS:
            config, workers, slow = _GATEWAYS[subject]
            provider = self.slow_provider if slow else self.provider
            file = configs.gateway(self.folder, config, provider.port, name or subject.replace(" ", "-"))
            command = python(
                "gateway", "serve", "--config", str(file), "--port", str(port), "--workers", str(workers),
                "--drain-seconds", "0", *(["--access-log"] if self.arguments.access_log else []),
            )  # fmt: skip
        elif subject == "nginx":
            assert self.nginx is not None
            command = [self.nginx, "-c", str(configs.nginx(self.folder, port, self.provider.port))]
            path = what.provider_path.format(what.native)
        elif subject == "floor":
            command = python("bench.floor", "--port", str(port))
        else:
            url = f"http://127.0.0.1:{self.provider.port}"
            command = python("bench.naive", "--port", str(port), "--provider", url)
            if subject == "naive":
                command.insert(1, "-S")  # so that the packages come from there alone
                environment = self.environment | {"PYTHONPATH": str(_as_it_comes(self.folder))}
                return running(command, port, path, self.core, environment)
        head = f"Authorization: Bearer {KEY}\r\n"
        return running(command, port, path, self.core, self.environment, head)

    def load(self, job: Job) -> Result:
        """Run a job in a process of its own."""
        command = python("bench.load", json.dumps(asdict(job)))
        done = subprocess.run(command, env={**os.environ, **self.environment}, stdout=subprocess.PIPE, check=True)
        return Result(**json.loads(done.stdout))

    def measure(self) -> None:
        """Everything, in order: starts and memory first, then the interleaved rounds, then what a cache holds."""
        for subject in ("miss", "naive"):
            self._starts(subject)
        with self._all() as subjects:
            for number in range(self.arguments.rounds):
                _say(f"round {number + 1} of {self.arguments.rounds}")
                for shape in SHAPES:
                    self._round(subjects, shape)
                self._translation()
        for number in range(min(self.arguments.rounds, 3)):
            _say(f"cache and idle connections, {number + 1}")
            self._capacity(number)
        self.report.control.append(control_loop(self.core))

    @contextlib.contextmanager
    def _all(self) -> Iterator[dict[str, Running]]:
        names = ["miss", "hit", "naive", HELPED, "floor", "slow", "two workers", *(["nginx"] if self.nginx else [])]
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(self.start(name)) for name in names}

    def _starts(self, subject: str) -> None:
        _say(f"{subject}: start and memory")
        report = self.report
        with self.start(subject):
            pass  # compiles the byte code
        report.starts[subject] = []
        report.memory[subject] = {"Rss": [], "Pss": []}
        for _ in range(self.arguments.rounds):
            with self.start(subject) as server:
                report.starts[subject].append(server.start)
                time.sleep(0.5)
                for name, size in memory(server.pid).items():
                    report.memory[subject][name].append(size)

    def _jobs(self, subjects: dict[str, Running], shape: Shape) -> dict[str, Job]:
        """What is asked in a round, in this order."""
        arguments = self.arguments
        base = Job(
            self.provider.port, shape, True, arguments.connections, arguments.warm, arguments.seconds, [], self.core
        )

        def of(name: str, **more: object) -> Job:
            server = subjects[name]
            return replace(base, **({"port": server.port, "direct": False, "pids": server.pids()} | more))  # type: ignore[arg-type]  # members by name

        jobs = {"provider": replace(base, pids=[self.provider.pid], core=self.other)}
        jobs["miss"] = of("miss")
        if "nginx" in subjects:
            jobs["nginx"] = of("nginx", direct=True)
        jobs["naive"] = of("naive")
        jobs[HELPED] = of(HELPED)
        jobs["hit"] = of("hit", distinct=100)
        if shape == "flat":
            jobs["floor"] = of("floor", distinct=1)
            jobs["one worker"] = of("miss")
            jobs["two workers"] = of("two workers")
            jobs["one on one core"] = of("miss")
            jobs["two on one core"] = of("two workers")
            jobs["slow"] = of("slow", connections=SLOW_CONNECTIONS)
        jobs["list"] = of("miss", what="list", connections=1)
        jobs["ids"] = of("miss", what="ids", connections=1)
        return jobs

    def _round(self, subjects: dict[str, Running], shape: Shape) -> None:
        report = self.report
        report.control.append(control_loop(self.core))
        jobs = self._jobs(subjects, shape)
        for subject, job in jobs.items():
            result = self._loose(job) if subject in LOOSE else self.load(job)
            if subject == "provider":  # the load itself runs on that core, so nothing can be said of others there
                result = replace(result, others=0.0)
            report.full.setdefault((subject, shape), []).append(result)
        for subject in ("provider", "miss", "nginx", "naive", "hit", "floor"):
            if subject in jobs:
                result = self.load(replace(jobs[subject], connections=1, seconds=self.arguments.seconds / 2))
                if subject == "provider":
                    result = replace(result, others=0.0)
                report.single.setdefault((subject, shape), []).append(result)

    def _loose(self, job: Job) -> Result:
        """The job with nothing pinned: server, provider and load go where the system puts them, as they usually do."""
        with loose([*job.pids, self.provider.pid, os.getpid()], {self.core, self.other}):
            return replace(self.load(job), others=0.0)  # the load runs on that core, too

    def _translation(self) -> None:
        command = ["taskset", "-c", str(self.core), *python("bench.translation", "--rounds", "12")]
        if shutil.which("taskset") is None:
            command = command[3:]
        done = subprocess.run(command, env={**os.environ, **self.environment}, stdout=subprocess.PIPE, check=True)
        for name, values in json.loads(done.stdout).items():
            shape, _, what = name.partition(" ")
            self.report.translation.setdefault((what, shape), []).append(min(values))

    def _capacity(self, number: int) -> None:
        """A new gateway: hits on one record, then 10,000 of them, then 1,000 connections that do nothing beside."""
        seconds = self.arguments.seconds
        with self.start("hit", f"capacity-{number}") as server:
            base = Job(server.port, "flat", False, 1, 0.2, seconds / 2, server.pids(), self.core, distinct=1)
            keep = self.report.capacity
            keep.setdefault("few", []).append(self.load(base))
            keep.setdefault("fill", []).append(self.load(replace(base, connections=16, distinct=RECORDS, once=True)))
            keep.setdefault("many", []).append(self.load(replace(base, distinct=RECORDS)))
            keep.setdefault("idle", []).append(self.load(replace(base, distinct=RECORDS, idle=IDLE)))


def _as_it_comes(folder: Path) -> Path:
    """The packages of this environment but for sniffio, which nothing that the naive version needs brings along."""
    farm = folder / "packages"
    if not farm.exists():
        farm.mkdir()
        for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for package in Path(place).iterdir():
                if not package.name.startswith("sniffio") and not (farm / package.name).exists():
                    (farm / package.name).symlink_to(package)
    return farm


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # sniffio: httpx goes without, at a price
        return "not installed"


def _nginx_version(program: str | None) -> str:
    if program is None:
        return "not installed"
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\S+)", told)
    return found[1] if found else "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
