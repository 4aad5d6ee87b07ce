"""The rig itself, against real sockets and processes: a rig that is wrong finds nothing, or finds what is not there."""

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import Answer, ask, send
from tests.rig import faults
from tests.rig.config import config_text
from tests.rig.history import check, read_attempts
from tests.rig.killer import Deed, Killer, standing, wait_whole
from tests.rig.lateness import Lateness
from tests.rig.load import Plan, body_of, run, schedule, written
from tests.rig.plain_http import Answer as PlainAnswer
from tests.rig.plain_http import Request, Server, listening
from tests.rig.processes import ROOT, NotReady, Part, Replica, Rig, alive, cont, state_of, stop
from tests.rig.stand_in import KEY, StandIn, marker_of
from tests.rig.stand_in import Settings as StandInSettings
from tests.rig.stand_in_spott import Spott, listed_stages
from tests.soak.scenarios import SCENARIOS, Figures, judged
from tests.soak.site import ideal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")

LAG = 0.4


@dataclass
class Site:
    rig: Rig
    raze: Part
    served: Part
    spott: Part
    proxy: Part
    gateway: Replica


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Rig(tmp_path_factory.mktemp("rig")) as rig:
        raze, served, spott = (rig.stand_in(name) for name in ("getraze", "getraze-served", "spott"))
        proxy = rig.proxy(raze.port, seed=3)
        config = config_text(getraze=raze.url, served=served.url, spott=spott.url)
        yield Site(rig, raze, served, spott, proxy, rig.gateway(config, workers=2))


# --- stand-ins, through the gateway ----------------------------------------------------------------------------------


def call(site: Site, connection: str, method: str, path: str, body: Any = None) -> Answer:
    url, header = site.gateway.url + path, {"X-CRM-Connection": connection}
    if body is None:
        return ask(url, method, header)
    return send(url, method, body if isinstance(body, bytes) else json.dumps(body), X_CRM_Connection=connection)


@pytest.mark.parametrize("connection", ["raze", "served"])
def test_a_stand_in_of_getraze_does_all_that_an_adapter_asks_for(site: Site, connection: str) -> None:
    part = site.raze if connection == "raze" else site.served
    part.set(lag=LAG)
    key = f"all-{connection}"
    made = call(site, connection, "POST", "/v1/opportunities", body_of(key))
    applied = time.monotonic()
    assert made.status == 201, made.body
    id_ = made.data["id"]
    line = part.lines()[-1]
    assert (line["kind"], line["id"], line["marker"]) == ("create", made.data["native_id"], key)
    assert applied - 1 < line["at"] < applied

    read = call(site, connection, "GET", f"/v1/opportunities/{id_}")  # by its id it is there at once
    assert read.data["name"] == f"Deal k-{key}"
    assert read.data["contacts"][0]["emails"][0]["address"] == f"k-{key}@rig.example"

    def found(words: str) -> list[str]:
        return [one["id"] for one in call(site, connection, "GET", f"/v1/opportunities?q={words}").data]

    assert found(f"k-{key}@rig.example") == []
    while not found(f"k-{key}@rig.example"):
        assert time.monotonic() < applied + 10
    assert time.monotonic() > line["at"] + LAG
    assert found(f"deal%20k-{key}") == [id_] and found("k-nobody") == []

    part.set(lag=0)
    second = call(site, connection, "POST", "/v1/opportunities", body_of(f"{key}.2")).data["id"]
    page = call(site, connection, "GET", "/v1/opportunities?limit=1")
    assert [one["id"] for one in page.data] == [second]  # newest first
    further = call(site, connection, "GET", f"/v1/opportunities?limit=1&cursor={page.json['page']['next_cursor']}")
    assert [one["id"] for one in further.data] == [id_]

    stage = "won" if connection == "raze" else "c1a9d8f0-0005-4c6b-9f1e-3d5a7b2e4605"
    changed = call(site, connection, "PATCH", f"/v1/opportunities/{id_}", {"description": "x", "stage": {"id": stage}})
    assert changed.status == 200 and changed.data["description"] == "x" and changed.data["status"] == "won"
    assert call(site, connection, "DELETE", f"/v1/opportunities/{second}").status == 204
    assert call(site, connection, "GET", f"/v1/opportunities/{second}").status == 404
    assert [one["kind"] for one in part.lines()[-4:]] == ["create", "update", "update", "delete"]
    new = re.findall(r"drift: (.*)", site.gateway.running.complaints())
    assert {one for one in new if "/stage_change/" not in one} == set()  # the adapter's answer to a stage move


def test_a_stand_in_of_spott_is_read_listed_and_updated(site: Site) -> None:
    page = call(site, "spott", "GET", "/v1/opportunities?limit=50")
    rest = call(site, "spott", "GET", f"/v1/opportunities?limit=50&cursor={page.json['page']['next_cursor']}")
    assert len(page.data) == 50 and len(rest.data) == 13 and rest.json["page"]["next_cursor"] is None
    id_ = page.data[0]["id"]
    change = {"name": "Deal k-s1", "stage": {"id": listed_stages()[1]}}
    assert call(site, "spott", "PATCH", f"/v1/opportunities/{id_}", change).data["name"] == "Deal k-s1"
    assert call(site, "spott", "GET", f"/v1/opportunities/{id_}").data["stage"]["id"] == listed_stages()[1]
    last = call(site, "spott", "GET", f"/v1/opportunities?limit=50&cursor={page.json['page']['next_cursor']}").data[-1]
    assert last["id"] == id_  # modified last
    assert site.spott.lines()[-1]["marker"] == "s1" and site.spott.counters()["calls"]["update"] == 1


def test_a_budget_is_told_enforced_and_counted(site: Site) -> None:
    site.served.set(budget=3, per=3600.0)
    try:
        url = f"{site.served.url}/external/v1/opportunities?limit=1"
        told = [ask(url, headers={"X-API-Key": KEY}) for _ in range(5)]
    finally:
        site.served.set(budget=0)
    assert [one.status for one in told] == [200, 200, 200, 429, 429]
    assert [one.headers["x-ratelimit-remaining"] for one in told] == ["2", "1", "0", "0", "0"]
    assert told[4].json["error"]["code"] == "RATE_LIMIT_EXCEEDED" and told[4].json["error"]["retry_after"] > 0
    assert site.served.counters()["over_budget"] == 2 and site.served.counters()["calls"]["429"] == 2
    assert ask(url, headers={"X-API-Key": "another"}).status == 401


def test_a_stand_in_that_answers_only_errors_applies_nothing() -> None:
    stand_in = StandIn(Spott(lambda *_: pytest.fail("applied")), StandInSettings(status=503))
    request = Request("PATCH", "/opportunities/x", {"x-api-key": KEY}, b'{"name": "y"}')
    assert stand_in.handle(request).status == 503 and stand_in.calls["503"] == 1


@pytest.mark.parametrize(
    ("name", "marker"), [("Deal k-a-1.b_2", "a-1.b_2"), ("Deal", None), (None, None), ("rack-9", None)]
)
def test_a_marker_is_what_stands_behind_k(name: str | None, marker: str | None) -> None:
    assert marker_of(name) == marker


# --- the fault proxy, byte by byte -----------------------------------------------------------------------------------


def create(key: str) -> bytes:
    body = json.dumps({"name": f"Deal k-{key}"}).encode()
    head = f"POST /external/v1/opportunities HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Got:
    data: bytes
    end: str
    """closed, reset, or open: neither came in time."""
    first: float
    """Seconds to the first byte or the end."""
    seconds: float
    pieces: int


def exchange(port: int, request: bytes, silence: float = 3.0, after: float = 0.15) -> Got:
    """All that comes back until the end, or until nothing came for `silence` seconds, `after` a whole answer for less."""
    began, data, pieces, first = time.monotonic(), b"", 0, 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        try:
            sock.settimeout(silence)
            sock.sendall(request)
            while chunk := sock.recv(65536):
                first = first or time.monotonic() - began
                data, pieces = data + chunk, pieces + 1
                length = re.search(rb"content-length: (\d+)\r\n", data)
                whole = length is not None and len(data.partition(b"\r\n\r\n")[2]) >= int(length[1])
                sock.settimeout(after if whole else silence)
            end = "closed"
        except TimeoutError:
            end = "open"
        except ConnectionError:
            end = "reset"
    seconds = time.monotonic() - began
    return Got(data, end, first or seconds, seconds, pieces)


def created(site: Site, key: str) -> bool:
    return any(line["marker"] == key for line in site.raze.lines())


@pytest.mark.parametrize(
    ("rule", "applied", "whole", "end"),
    [
        (faults.latency(0.1, 0.1), True, True, "open"),
        (faults.black_hole(), False, False, "open"),
        (faults.swallow(), False, False, "reset"),
        (faults.swallow(end="close"), False, False, "closed"),
        (faults.reset_before(), False, False, "reset"),
        (faults.reset_after(), True, False, "reset"),
        (faults.answer_cut(), True, False, "reset"),
        (faults.answer_cut(40, end="close"), True, False, "closed"),
        (faults.cut(17), True, False, "closed"),
        (faults.cut(17, end="half"), True, False, "closed"),
        (faults.timeout(0.1), True, False, "closed"),
        (faults.timeout(), True, False, "open"),
        (faults.bandwidth(2000), True, True, "open"),
        (faults.slicer(50, 0.02), True, True, "open"),
        (faults.slow_close(0.1), True, True, "closed"),
        (faults.script(["HTTP/1.1 201 \xff", 0.05, "\r\n\r\n"], end="reset"), False, False, "reset"),
        (faults.script(["no HTTP"], forward=True, end="close"), True, False, "closed"),
    ],
)
def test_each_fault_as_the_gateway_sees_it(
    site: Site, rule: faults.Rule, applied: bool, whole: bool, end: str, request: pytest.FixtureRequest
) -> None:
    key = f"fault-{request.node.callspec.indices['rule']}"
    site.proxy.play(rule)
    patience = {"silence": 0.4} if end == "open" and not whole else {} if end == "open" else {"after": 3.0}
    got = exchange(site.proxy.port, create(key), **patience)
    assert created(site, key) is applied
    assert got.end == end
    if whole:
        native = site.raze.lines()[-1]["id"].encode()
        head, _, body = got.data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 ") and json.loads(body)["data"]["id"].encode() == native
    elif rule.script:
        assert got.data == "".join(step for step in rule.script if isinstance(step, str)).encode("latin-1")
    else:
        assert len(got.data) == (rule.limit or 0)
    match rule.name:
        case "latency":
            assert got.first >= 0.2
        case "bandwidth":
            assert got.seconds > len(got.data) / 2000 * 0.7 and got.pieces > 3
        case "slicer":
            assert got.pieces > 2 and got.seconds > 0.1
        case "slow_close" | "timeout":
            assert got.end == "open" or got.seconds >= 0.1
    line = site.proxy.lines()[-1]
    assert (line["method"], line["marker"], line["rule"]) == ("POST", key, rule.name)
    assert site.proxy.counters()["rules"] == {rule.name: 1}


def test_without_a_rule_the_bytes_are_the_providers(site: Site) -> None:
    site.proxy.play()
    id_ = json.loads(exchange(site.proxy.port, create("plain")).data.partition(b"\r\n\r\n")[2])["data"]["id"]
    request = f"GET /external/v1/opportunities/{id_} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    direct, proxied = exchange(site.raze.port, request * 2), exchange(site.proxy.port, request * 2)
    one, other = (re.sub(rb"\r\ndate: [^\r]+", b"\r\ndate: now", seen.data) for seen in (direct, proxied))
    assert one == other and one.count(b"HTTP/1.1 200 ") == one.count(b"date: now") == 2  # kept alive, both in order


def test_a_door_can_be_shut_blocked_and_opened_again(site: Site) -> None:
    site.proxy.play()
    site.proxy.gate("down")
    with pytest.raises(ConnectionRefusedError):
        exchange(site.proxy.port, create("door"))
    site.proxy.gate("full")
    with pytest.raises(TimeoutError), socket.create_connection(("127.0.0.1", site.proxy.port), timeout=0.2):
        pass
    site.proxy.gate("open")
    assert exchange(site.proxy.port, create("door")).data.startswith(b"HTTP/1.1 201 ")


def chosen(rules: list[faults.Rule], *requests: tuple[str, str, str | None], seed: int = 0) -> list[str]:
    chooser = faults.Chooser(rules, seed)
    return [rule.name if (rule := chooser.choose(*request)) else "pass" for request in requests]


def test_a_rule_takes_what_it_says() -> None:
    post, get = ("POST", "/o", "a"), ("GET", "/o/1", None)
    assert chosen([faults.answer_cut(method="POST")], post, get) == ["answer_cut", "pass"]
    assert chosen([faults.cut(1, path=r"/o/\d")], post, get) == ["pass", "cut"]
    assert chosen([faults.cut(1, every=3)], *[post] * 6) == ["pass", "pass", "cut"] * 2
    assert chosen([faults.cut(1, times=2)], *[post] * 3) == ["cut", "cut", "pass"]
    once = [faults.swallow(once_per_marker=True), faults.reset_after(method="POST")]
    assert chosen(once, post, post, get, ("POST", "/o", "b")) == ["swallow", "reset_after", "pass", "swallow"]


def test_a_share_is_drawn_by_the_seed() -> None:
    rules, many = [faults.cut(1, share=0.3)], [("GET", "/", None)] * 1000
    first = chosen(rules, *many, seed=1)
    assert first == chosen(rules, *many, seed=1) != chosen(rules, *many, seed=2)
    assert 240 < first.count("cut") < 360


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_a_stopped_one_goes_on(site: Site) -> None:
    before = site.gateway.workers()
    assert 2 <= len(before) <= 3 and site.gateway.supervisor not in before  # one more may stand by
    killer = Killer([site.gateway], every=0, seed=1)
    killer.strike()
    (deed,) = killer.journal
    assert deed.what == "kill" and deed.pid in before
    while alive(deed.pid):
        time.sleep(0.01)
    wait_whole([site.gateway], 2)
    site.gateway.wait_ready()
    journal: list[Deed] = []
    pid = next(pid for pid in site.gateway.workers() if pid in before)
    with standing(site.gateway, pid, journal):
        for one in (pid, site.gateway.supervisor):
            assert state_of(one) == "T"
    assert [deed.what for deed in journal] == ["stop", "cont"] and alive(pid)
    site.gateway.wait_ready()


def test_what_a_run_started_is_gone_when_its_starter_is_killed(tmp_path: Path) -> None:
    code = f"""
import time; from pathlib import Path; from tests.rig.processes import Rig
with Rig(Path({str(tmp_path)!r})) as rig:
    print(rig.stand_in("spott").running.pid, flush=True); time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        stop(pid)  # it cannot end by itself
        starter.kill()
    limit = time.monotonic() + 10
    try:
        while alive(pid):
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        if alive(pid):
            cont(pid)


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig, pytest.raises(NotReady, match="connections"):
        rig.gateway("connections: 5\n")


def test_a_configuration_has_what_is_asked_for() -> None:
    text = config_text(
        getraze="http://h:1",
        spott="http://h:2",
        state="sqlite:///x.db",
        lookup_lag="1s",
        more={"limits": {"body": "1KiB"}},
    )
    tree = yaml.safe_load(text)
    assert list(tree["connections"]) == ["raze", "spott"] and tree["default_connection"] == "raze"
    assert tree["connections"]["raze"]["base_url"] == "http://h:1/external/v1"
    assert (tree["state"], tree["idempotency"]) == ("sqlite:///x.db", {"lookup_lag": "1s"})
    assert {"state", "idempotency"}.isdisjoint(yaml.safe_load(config_text(getraze="http://h:1")))


def test_a_balancer_goes_round_and_passes_over_the_dead(site: Site) -> None:
    dead = listening()
    gone = dead.getsockname()[1]
    dead.close()
    backends = [f"127.0.0.1:{port}" for port in (site.raze.port, gone, site.served.port)]
    balancer = site.rig.balancer(*backends)
    url = f"{balancer.url}/external/v1/opportunities?limit=1"
    kinds = [type(ask(url, headers={"X-API-Key": KEY, "Connection": "close"}).json["data"]) for _ in range(4)]
    assert kinds == [dict, list, dict, list]
    told = balancer.counters()
    assert told["taken"] == {backends[0]: 2, backends[2]: 2} and told["refused"] == {backends[1]: 2}
    assert os.getpgid(balancer.running.pid) == balancer.running.pid
    os.kill(balancer.running.pid, signal.SIGKILL)


# --- load ------------------------------------------------------------------------------------------------------------


def test_a_plan_is_fixed_before_anything_is_sent() -> None:
    plan = Plan(["t"], 2000, 100, seed=4, repeated=0.3, leave=0.5, leave_after=(0.01, 0.02))
    dues = schedule(plan)
    assert dues == schedule(plan) and len({due.key for due in dues}) == 2000
    assert 17 < dues[-1].at < 23
    assert 500 < sum(due.copies == 2 for due in dues) < 700
    leaving = [due for due in dues if due.leave[0] >= 0]
    assert 900 < len(leaving) < 1100 and all(0.01 <= due.leave[0] <= 0.02 for due in leaving)


def test_nobody_waits_for_a_slow_answer_but_whoever_asked_for_it(tmp_path: Path) -> None:
    """A closed loop would send the second only after the first was answered, and would tell of one slow request."""
    arrived: list[float] = []

    async def stalls(request: Request) -> PlainAnswer:
        arrived.append(time.monotonic())
        if len(arrived) <= 20:
            await asyncio.sleep(0.6 - (arrived[-1] - arrived[0]))  # the first 20 are answered all at once
        return PlainAnswer(201, b'{"data": {"id": "raze:x"}}')

    async def work() -> dict[str, float]:
        with listening() as sock:
            server = await asyncio.get_running_loop().create_server(lambda: Server(stalls), sock=sock)
            async with server:
                url = f"http://127.0.0.1:{sock.getsockname()[1]}"
                return await run(Plan([url], 30, 50, seed=1, even=True), tmp_path / "history")

    figures = asyncio.run(work())
    attempts = read_attempts(tmp_path / "history")
    assert len(attempts) == 30 and figures["seconds"] < 2
    gaps = [one - arrived[0] - 0.02 * place for place, one in enumerate(arrived)]
    assert max(map(abs, gaps)) < 0.2  # sent when due, answered or not
    slow = sorted((one.end - one.due for one in attempts), reverse=True)[:20]
    assert slow[0] > 0.5 and slow[5] > 0.35 and slow[19] > 0.15  # each as late as it was
    assert figures["latency_max"] == pytest.approx(slow[0] * 1000, abs=0.1)


def test_a_key_is_repeated_until_it_is_settled_and_honours_retry_after(tmp_path: Path) -> None:
    answers: dict[str, list[PlainAnswer]] = {}
    problem = b'{"code": "provider-timeout", "outcome": "unknown"}'

    def answer(request: Request) -> PlainAnswer:
        told = answers.setdefault(
            request.headers["idempotency-key"],
            [PlainAnswer(504, problem, {"Retry-After": "0.2"}), PlainAnswer(504, problem, {"Retry-After": "3600"}),
             PlainAnswer(201, b'{"data": {"id": "raze:x"}}', {"Idempotent-Replayed": "true"})],
        )  # fmt: skip
        return told.pop(0) if len(told) > 1 else told[0]

    async def work() -> None:
        with listening() as sock:
            server = await asyncio.get_running_loop().create_server(lambda: Server(answer), sock=sock)
            async with server:
                url = f"http://127.0.0.1:{sock.getsockname()[1]}"
                await run(Plan([url], 1, 50, seed=1, retry_cap=0.3, after_done=2), tmp_path / "history")
                plan = Plan([url], 1, 50, seed=2, leave=1.0, leave_after=(0.0, 0.0), retry_cap=0.01)
                await run(plan, tmp_path / "left")

    asyncio.run(work())
    first, second, third, *further = read_attempts(tmp_path / "history")
    assert [one.status for one in (first, second, third, *further)] == [504, 504, 201, 201, 201]
    assert 0.15 < second.start - first.end < 0.3 and 0.25 < third.start - second.end < 0.5
    assert (first.code, first.outcome, third.id, third.replayed) == ("provider-timeout", "unknown", "raze:x", True)
    assert read_attempts(tmp_path / "left")[0].code == "left"


def test_a_load_in_a_process_of_its_own_tells_its_figures(tmp_path: Path) -> None:
    plan = Plan(["http://127.0.0.1:1"], 2, 50, seed=1, repeated=1.0, burst=2, give_up=0.2, headers={"X-Y": "z"})
    dues = schedule(plan)
    assert dues[0].at == dues[1].at
    history = tmp_path / "history"
    command = [sys.executable, "-m", "tests.rig.load", str(written(plan, tmp_path / "plan")), str(history)]
    figures = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)
    attempts = read_attempts(history)
    assert len(attempts) == figures["attempts"] >= 4 and {one.code for one in attempts} == {"refused"}
    assert check(attempts, []).count("unsettled") == 2


# --- scenarios, on a gateway that keeps its promise and on ones that do not ------------------------------------------


def test_an_ideal_gateway_passes_every_scenario(tmp_path: Path) -> None:
    with ideal(tmp_path, lookup_lag=0.25, index_lag=0.05) as site:
        for name, size in {"A1": 60, "A2": 15, "A3": 12, "A5": 2, "A8": 15}.items():
            row = SCENARIOS[name].row(site, size, seed=5)
            assert row.passed, (name, row.faults)
            keys = row.figures["keys"]
            assert size == keys == row.figures["applied"] == row.figures["settled"] and row.figures["attempts"] >= keys
        assert not site.provider.running.complaints() and not site.proxy.running.complaints()


@pytest.mark.parametrize(
    ("plant", "name", "kinds"),
    [
        ("no_claims", "A5", {"duplicate", "different_answer", "unmarked_replay"}),
        ("blind_retry", "A2", {"duplicate", "sent_twice"}),
        ("early_absence", "A3", {"duplicate", "denied"}),
        ("acks_early", "A1", {"lost"}),
        ("new_answer", "A1", {"different_answer"}),
        ("unmarked", "A1", {"unmarked_replay"}),
        ("forgets", "A2", {"unsettled"}),
        ("leaves_too", "A8", {"duplicate"}),
    ],
)
def test_a_planted_fault_turns_its_scenario_red(tmp_path: Path, plant: str, name: str, kinds: set[str]) -> None:
    with ideal(tmp_path, plant=plant, lookup_lag=0.2, give_up=0.5) as site:
        row = SCENARIOS[name].row(site, 2 if name == "A5" else 12, seed=6)
    assert kinds <= {fault.partition(":")[0] for fault in row.faults}, row.faults


def test_figures_are_judged_by_what_must_never_be() -> None:
    figures: Figures = {"keys": 5, "duplicate": 0, "lost": 2, "settle_max": 3.0}
    assert judged(figures) == ["lost: 2"]


def test_whoever_cannot_run_is_late() -> None:
    with Lateness() as late:
        time.sleep(0.05)
        began = time.monotonic()
        assert sum(itertools.repeat(1, 30_000_000)) == 30_000_000  # lets no other thread run
        held = time.monotonic() - began
        time.sleep(0.05)
    assert late.worst >= held / 2
