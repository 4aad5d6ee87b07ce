"""The pieces of the benchmark give right answers: a measure that takes wrong ones for right measures nothing."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from bench import configs, guard, translation, typed
from bench.goals import goals
from bench.load import Job, Result, work
from bench.plot import plot
from bench.processes import core_busy, cores, cpu_seconds, loose, memory
from bench.provider import Protocol, respond
from bench.records import SHAPES, ManyChecker, Shape, checker, kind, opportunities
from bench.report import BEGIN, END, HELPED, Report, noise, ratio, spread, write
from bench.tables import render
from gateway.config import load_config
from gateway.gateway import Gateway

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform != "linux", reason="pins and measures by /proc")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def asked(shape: Shape, native: str) -> bytes:
    head = f"GET {kind(shape).provider_path.format(native)} HTTP/1.1\r\nHost: x"
    return respond(head.encode()).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(("shape", "low", "high"), [("flat", 1100, 1400), ("wrapped", 2700, 3300)])
def test_the_provider_answers_the_record_that_is_asked_for(shape: Shape, low: int, high: int) -> None:
    native = kind(shape).natives(3)[2]
    body = asked(shape, native)
    record = json.loads(body)
    assert record.get("data", record)["id"] == native
    assert low < len(body) < high


def test_the_provider_keeps_the_documented_digits() -> None:
    assert b'"deal_value":50000.00,' in asked("flat", "opp_1")


def test_the_provider_knows_nothing_else() -> None:
    for path in ("/", "/opportunities/", "/opportunities/1/notes", "/external/v1/users/1"):
        assert respond(f"GET {path} HTTP/1.1".encode()).startswith(b"HTTP/1.1 404 ")


def right(shape: Shape, native: str) -> bytes:
    what = kind(shape)
    return json.dumps(what.answer).replace(what.native, native).encode()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_checker_takes_only_the_right_answer(shape: Shape) -> None:
    check = checker(shape, direct=False)
    first, second = (native.encode() for native in kind(shape).natives(2))
    assert check.check(first, b"200", right(shape, first.decode()))
    assert check.check(second, b"200", right(shape, second.decode()))
    assert check.check(second, b"200", json.dumps(json.loads(right(shape, second.decode())), indent=1).encode())
    assert check.reparsed == 2
    assert not check.check(second, b"200", right(shape, first.decode()))
    assert not check.check(second, b"404", right(shape, second.decode()))
    assert not check.check(second, b"200", right(shape, second.decode()).replace(b'"open"', b'"won"'))
    assert not check.check(second, b"200", right(shape, second.decode())[:-1])
    assert check.wrong == 4 and check.first_wrong.startswith(repr(second))


def test_the_checker_minds_digits() -> None:
    check = checker("flat", direct=True)
    body = asked("flat", "opp_1")
    assert check.check(b"opp_1", b"200", body)
    assert not check.check(b"opp_1", b"200", body.replace(b"50000.00", b"50000.0"))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_naive_version_gives_the_canonical_record(shape: Shape) -> None:
    naive = pytest.importorskip("bench.naive", reason="the group `bench` is not installed", exc_type=ImportError)
    native = kind(shape).natives(1)[0]
    body = json.loads(asked(shape, native), parse_float=Decimal)
    if shape == "flat":
        opportunity = naive.from_raze(naive.RazeReply.model_validate(body).data)
    else:
        opportunity = naive.from_spott(naive.SpottOpportunity.model_validate(body))
    answer = naive.Envelope(data=opportunity, meta=naive.Meta()).model_dump_json()
    assert checker(shape, direct=False).check(native.encode(), b"200", answer.encode())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_typed_translation_gives_the_canonical_record(shape: Shape) -> None:
    native = kind(shape).natives(1)[0]
    answer = (typed.flat if shape == "flat" else typed.wrapped)(asked(shape, native))
    assert checker(shape, direct=False).check(native.encode(), b"200", answer)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gateway_translates_right_in_each_way(shape: Shape, tmp_path: Path) -> None:
    config = load_config(str(configs.gateway(tmp_path, configs.FORGETS, 9)), {})
    gateway = Gateway(config, {})
    works = translation.subjects(gateway.on(kind(shape).connection), shape)
    one = works["one"][0]()
    assert checker(shape, direct=False).check(kind(shape).native.encode(), b"200", one)
    for name in ("list", "ids"):
        assert ManyChecker(opportunities(shape, 100)).check(b"", b"200", works[name][0]()), name


def test_the_checker_of_many_takes_only_these_records() -> None:
    records = opportunities("flat", 3)
    body = json.dumps({"data": records, "meta": {}}).encode()
    check = ManyChecker(records)
    assert check.check(b"", b"200", body) and check.check(b"", b"200", body) and check.reparsed == 1
    assert not check.check(b"", b"502", body)
    assert not check.check(b"", b"200", body.replace(b"00000001", b"00000009"))
    assert not check.check(b"", b"200", json.dumps({"data": records[:2]}).encode())
    assert check.wrong == 3


async def loaded(protocol: type[asyncio.Protocol], shape: Shape = "flat") -> Result:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await work(Job(port, shape, True, connections=4, warm=0.02, seconds=0.1, pids=[os.getpid()]))


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_load_counts_right_answers(shape: Shape) -> None:
    result = await loaded(Protocol, shape)
    assert result.answers > 10 and result.wrong == 0 and result.reparsed == 1
    assert 0 < result.p50 <= result.p90 <= result.p99
    assert result.rate == pytest.approx(result.answers / result.seconds)


class Slips(Protocol):
    """Answers every request for an id that ends in 7 with another record."""

    def data_received(self, data: bytes) -> None:
        path, blank, rest = data.partition(b" HTTP")
        super().data_received((path[:-1] + b"6" if path.endswith(b"7") else path) + blank + rest)


async def test_the_load_notices_another_record() -> None:
    result = await loaded(Slips)
    assert result.wrong > 0 and result.answers > 0
    assert "7'" in result.first_wrong


class Leaves(asyncio.Protocol):
    """Closes instead of answering."""

    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.close()


async def test_the_load_notices_lost_connections() -> None:
    result = await loaded(Leaves)
    assert result.answers == 0 and result.wrong == 4


def test_what_the_kernel_tells() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(3_000_000))
    assert before < cpu_seconds(os.getpid()) < before + 5
    assert 5 < memory(os.getpid())["Pss"] <= memory(os.getpid())["Rss"] < 4000
    assert core_busy(cores()[0]) > 0


def test_processes_are_let_loose_for_a_while() -> None:
    everywhere = os.sched_getaffinity(0)
    one = {min(everywhere)}
    with subprocess.Popen(["sleep", "60"]) as process:
        os.sched_setaffinity(process.pid, one)
        with loose([process.pid], everywhere):
            assert os.sched_getaffinity(process.pid) == everywhere
        assert os.sched_getaffinity(process.pid) == one
        with loose([process.pid], everywhere):
            process.kill()
            process.wait()


def made(answers: int, cpu: float, **more: float) -> Result:
    plain = Result(answers, 0, "", 0, seconds=1.0, p50=1.0, p90=2.0, p99=3.0, cpu=cpu, others=0.0)
    return replace(plain, **more)  # type: ignore[arg-type]  # floats for float fields


def report() -> Report:
    settings = {"date": "d", "machine": "m", "core": "0", "other": "1", "connections": "64"}
    settings |= {"rounds": "3", "seconds": "1", "warm": "1"}
    whole = Report({"Python": "3"}, settings, control=[1.0, 1.05])
    for shape in SHAPES:
        whole.full["miss", shape] = [made(rate, 0.5) for rate in (900, 1000, 2000)]
        whole.full["floor", shape] = [made(10000, 0.6)]
        whole.full["naive", shape] = [made(100, 0.7), made(90, 0.7), made(110, 0.7)]
    return whole


def test_the_report_compares_medians() -> None:
    rate, cpu = ratio(report(), "flat")
    assert rate == 10.0
    assert cpu == pytest.approx(7000 / 500)
    text = render(report())
    assert "**10.0 times**" in text and "1,000 (900 to 2,000)" in text and "Too noisy" not in text


def test_the_goals_are_judged_by_the_figures() -> None:
    whole = report()
    whole.full["nginx", "flat"] = [made(20000, 0.5)]
    whole.full["hit", "flat"] = [made(8000, 0.5)]
    for shape in SHAPES:
        for what, taken in (("one", 20.0), ("msgspec", 9.0), ("list", 29.0), ("ids", 31.0)):
            whole.translation[what, shape] = [taken]
    few = made(10, 0.1)
    whole.capacity = {
        "few": [few], "fill": [replace(few, rss=20.0)], "many": [replace(few, rss=20.0, hits=10)],
        "idle": [replace(few, rss=30.0, hits=10, idle=1000, p50=1.3)],
    }  # fmt: skip
    workers = {
        "one worker": (0.5, 0.6),
        "two workers": (0.52, 0.624),
        "one on one core": (0.5, 0.5),
        "two on one core": (0.6, 0.6),
    }
    for subject, spent in workers.items():
        whole.full[subject, "flat"] = [made(10, seconds) for seconds in spent]
    told = {goal.what: (goal.figure, goal.reached) for goal in goals(whole)}
    assert told["two workers on two cores"] == ("+4%", True)
    assert told["two workers that share one core"] == ("+20%", False)
    assert told["miss, flat record, everything on"] == ("10.0 times", False)
    whole.full[HELPED, "flat"] = [made(200, 0.7)]
    assert goals(whole)[0].figure == "10.0 times; 5.0 with sniffio"
    assert told["the same, beside nginx"] == ("20.0 times", False)
    assert told["hit, everything on"] == ("80%", True)
    assert told["translation in a list of 100, parse to bytes"] == ("29 µs, 29 µs", True)
    assert told["translation in `ids=` of 100, parse to bytes"][1] is False
    assert told["translation of one record"] == ("2.2 times (flat), 2.2 times (wrapped)", True)
    assert told["10,000 distinct cached records"] == ("20 MiB more; p50 1.00 → 1.00 ms, 100% hits", True)
    assert told["1,000 idle callers' connections"] == ("1,000 open, 10 MiB more; p50 1.00 → 1.30 ms", False)
    assert "**missed**" in render(whole)


def test_the_plot_has_a_bar_for_each() -> None:
    picture = plot(report())
    assert picture.count("<rect") == 1 + 2 * 6 and picture.count("naive, wrapped") == 2


def test_the_report_says_when_it_was_too_noisy() -> None:
    whole = report()
    assert spread([1.0, 2.0, 3.0]) == 1.0
    whole.control = [1.0, 1.3]
    assert noise(whole) == "the same idle loop varied by 26% between rounds"
    assert "**Too noisy to judge**" in render(whole)


def test_the_page_keeps_what_others_wrote(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "performance.md"
    write(page, "one")
    page.write_text(page.read_text().replace("# Performance", "# Mine") + "after\n")
    write(page, r"two \1")
    assert page.read_text() == f"# Mine\n\n{BEGIN}\n\ntwo \\1\n\n{END}\nafter\n"


async def test_the_guard_asks_the_whole_application() -> None:
    found = await guard.ratios(2)
    assert set(found) == {"hit", "miss, flat", "miss, wrapped"} and all(value > 0 for value in found.values())
    assert found["hit"] < found["miss, flat"]


def test_the_guard_has_limits_for_all_that_it_measures() -> None:
    kept = json.loads(guard.LIMITS.read_text())
    assert all(set(limits) == {"hit", "miss, flat", "miss, wrapped"} for limits in kept.values())
    limits = next(iter(kept.values()))
    assert guard.over(limits, limits) == []
    assert guard.over(limits | {"hit": limits["hit"] * (1.01 + guard.TOLERANCE)}, limits) == ["hit"]
    assert guard.over(limits | {"hit": limits["hit"] * (0.99 + guard.TOLERANCE)}, limits) == []
    assert guard.over({"other": 1.0}, limits) == ["other"]
