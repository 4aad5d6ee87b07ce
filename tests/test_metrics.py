"""`/metrics` is what Prometheus reads, counts what happened, costs next to nothing, and cannot be made to grow."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import timeit
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import gateway
from gateway import metrics
from gateway.adapter import Call, Reply
from gateway.callers import hash_key
from gateway.cells import CELLS, Cells, readings
from gateway.config import load_config
from gateway.exposing import exposition
from gateway.http.observing import Request
from gateway.http.serving import application
from gateway.http.table import routes
from gateway.http.watchdog import Watchdog
from gateway.layers.observe import observe
from gateway.layers.trip import Trip
from gateway.metrics import BUCKETS, METRICS, MOST, Count, Metric
from tests.live import EXAMPLES, SANDBOXES, Says, StandIn, ask, connections, running_gateway, send

RECORD = json.loads((EXAMPLES / "getraze-get.documented.json").read_text())
RAZE = RECORD["data"]["id"]

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Series:
    """Every sample, as the parser of Prometheus' own client reads it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(url: str) -> Series:
    """What `/metrics` says now."""
    answer = ask(f"{url}/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parsed(answer.body.decode())


def value(series: Series, name: str, **labels: str) -> float:
    """One sample; 0 where it is not there."""
    return series.get((name, tuple(sorted(labels.items()))), 0.0)


class Since:
    """What has been counted since: a process counts in one place, whatever tests ran in it before."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.before = scraped(url)

    def __call__(self, name: str, **labels: str) -> float:
        """So much more of one sample."""
        return value(scraped(self.url), name, **labels) - value(self.before, name, **labels)


@pytest.fixture
def provider() -> Iterator[StandIn]:
    with StandIn([Says(200, RECORD)]) as stand_in:
        yield stand_in


@pytest.fixture
def url(provider: StandIn, tmp_path: Path) -> Iterator[str]:
    config = connections(raze=provider.url, raze_gone="http://127.0.0.1:9") + "idempotency: {lookup_lag: 100ms}\n"
    with running_gateway(config, tmp_path) as running:
        yield running


# --- the form --------------------------------------------------------------------------------------------------------


def test_what_is_told_is_what_prometheus_reads(url: str) -> None:
    ask(f"{url}/v1/opportunities/{RAZE}")
    text = ask(f"{url}/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS.values():
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.says)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
    assert set(families) == {name.removesuffix("_total") for name in METRICS}


def test_names_and_units_are_those_of_the_field() -> None:
    for metric in METRICS.values():
        assert metric.name.startswith("crm_gateway_")
        assert metric.name.endswith("_total") is (metric.kind == "counter")
        assert metric.name.endswith("_seconds") is (metric.kind == "histogram")
        assert metric.says.endswith(".")


def test_label_values_are_escaped() -> None:
    odd = 'a"b\\c\nd'
    metrics.DRIFT.of(odd, "new").add()
    assert value(parsed(exposition().decode()), "crm_gateway_drift_total", connection=odd, kind="new") >= 1


def test_no_key_is_asked_for(tmp_path: Path) -> None:
    callers = f"callers: [{{name: one, key_sha256: {hash_key('a-key-of-one')}, scopes: ['opportunities:read']}}]\n"
    with running_gateway(SANDBOXES + callers, tmp_path) as url:
        assert ask(f"{url}/v1/connections").status == 401
        assert ask(f"{url}/metrics").status == 200
        assert ask(f"{url}/metrics", "HEAD").body == b""
        assert ask(f"{url}/metrics?x=1").status == 400


# --- what is counted -------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_route_method_and_status(url: str) -> None:
    since = Since(url)
    for _ in range(3):
        ask(f"{url}/v1/opportunities/{RAZE}")
    ask(f"{url}/v1/opportunities/{RAZE}", "HEAD")
    ask(f"{url}/v1/opportunities/raze:!")
    ask(f"{url}/v1/opportunities/{RAZE}", "PUT")
    ask(f"{url}/v1/opportunities/{RAZE}", "BREW")
    ask(f"{url}/no/such/route")
    ask(f"{url}/healthz")
    name, item = "crm_gateway_requests_total", "/v1/opportunities/{id}"
    assert since(name, route=item, method="GET", status="200") == 3
    assert since(name, route=item, method="HEAD", status="200") == 1
    assert since(name, route=item, method="GET", status="400") == 1
    assert since(name, route="other", method="PUT", status="405") == 1
    assert since(name, route="other", method="other", status="405") + since(
        name, route="other", method="other", status="400") == 1  # fmt: skip
    assert since(name, route="other", method="GET", status="404") == 1
    assert since(name, route="/healthz", method="GET", status="200") == 1
    seconds = "crm_gateway_request_duration_seconds"
    assert since(f"{seconds}_count", route=item) == 5
    assert since(f"{seconds}_bucket", route=item, le="+Inf") == 5
    assert 0 < since(f"{seconds}_sum", route=item) < 5
    assert since("crm_gateway_requests_in_flight") == 0, "only the one that asks, both times"


def test_buckets_add_up(url: str) -> None:
    told = scraped(url)
    counts = [value(told, "crm_gateway_request_duration_seconds_bucket", route="/readyz", le=bound)
              for bound in (*(f"{bound:g}" for bound in BUCKETS), "+Inf")]  # fmt: skip
    assert counts == sorted(counts) and counts[-1] >= 1
    assert counts[-1] == value(told, "crm_gateway_request_duration_seconds_count", route="/readyz")


def test_what_is_no_http_is_counted_too(url: str) -> None:
    since = Since(url)
    assert ask(f"{url}/v1/opportunities?q={'x' * 20_000}").status == 414
    assert since("crm_gateway_requests_total", route="other", method="other", status="414") == 1


def test_calls_are_counted_by_what_came_of_them(url: str, provider: StandIn) -> None:
    outcomes = [
        (Says(200, RECORD), "ok"), (Says(404, {}), "rejected"), (Says(429, {}), "limited"), (Says(500, {}), "error"),
        (Says(200, b"<html>"), "not_json"), (Says(302, b"", {"Location": "/"}), "redirect"),
        (Says(then="cut"), "early_end"),
    ]  # fmt: skip
    for says, outcome in outcomes:
        since = Since(url)
        provider.play([says])
        ask(f"{url}/v1/opportunities/{RAZE}")
        name = "crm_gateway_provider_calls_total"
        assert since(name, connection="raze", operation="get", outcome=outcome) >= 1, outcome
        assert since("crm_gateway_provider_call_duration_seconds_count", connection="raze") >= 1
        assert since("crm_gateway_provider_retries_total", connection="raze") == len(provider.seen) - 1
        assert since("crm_gateway_provider_calls_in_flight", connection="raze") == 0
    since = Since(url)
    ask(f"{url}/v1/opportunities/raze_gone:{RAZE}")
    assert since("crm_gateway_provider_calls_total", connection="raze_gone", operation="get", outcome="refused") >= 1


def test_reads_are_counted_by_what_the_cache_did(provider: StandIn, tmp_path: Path) -> None:
    config = connections(raze=provider.url).replace("cache: {ttl: 0s}", "cache: {ttl: 30s, stale_if_error: 60s}")
    with running_gateway(config, tmp_path) as url:
        ask(f"{url}/v1/opportunities/{RAZE}?raw=true")  # which tells the dialect: what is kept from before is not given
        since = Since(url)
        for wish in ("max-age=60", "max-age=60", "no-cache", "no-store"):
            ask(f"{url}/v1/opportunities/{RAZE}", headers={"Cache-Control": wish})
        ask(f"{url}/v1/opportunities?ids={RAZE}")
        name = "crm_gateway_cache_reads_total"
        told = {how: since(name, connection="raze", result=how) for how in ("miss", "hit", "bypass", "stale")}
    assert told == {"miss": 1, "hit": 2, "bypass": 2, "stale": 0}


def test_every_metric_is_counted_by_somebody() -> None:
    """One that is only declared would stand at nothing for ever, and look well."""
    source = "\n".join(
        path.read_text() for path in Path(gateway.__file__).parent.rglob("*.py") if path.name != "metrics.py"
    )
    names = [name for name, one in vars(metrics).items() if isinstance(one, metrics.Metric)]
    assert len(names) == len(METRICS)
    assert [name for name in names if not re.search(rf"\b{name}\b", source)] == []


def test_drift_is_counted_by_kind(url: str, provider: StandIn) -> None:
    since = Since(url)
    drifted = {**RECORD["data"], "fax": "1", "name": {"of": 1}}
    provider.play([Says(200, {"success": True, "data": drifted})])
    ask(f"{url}/v1/opportunities/{RAZE}")
    ask(f"{url}/v1/opportunities/{RAZE}")
    assert since("crm_gateway_drift_total", connection="raze", kind="new") == 2
    assert since("crm_gateway_drift_total", connection="raze", kind="type") == 2


def test_keyed_writes_are_counted_by_verdict(url: str, provider: StandIn) -> None:
    since = Since(url)
    provider.play([Says(201, RECORD)])
    for name in ("Jane", "Jane", "Jim"):
        send(f"{url}/v1/opportunities", "POST", json.dumps({"name": name}), Idempotency_Key="one-key-of-a-test")
    for verdict in ("mine", "replay", "mismatch"):
        assert since("crm_gateway_idempotency_total", connection="raze", verdict=verdict) == 1, verdict


def test_unknown_writes_are_told_for_as_long_as_they_are_unknown(url: str, provider: StandIn) -> None:
    ask(f"{url}/v1/opportunities/{RAZE}")  # teaches the dialect: nothing has to be asked before the create
    provider.play([Says(then="cut")])
    since = Since(url)
    send(f"{url}/v1/opportunities", "POST", '{"name": "Lost"}', Idempotency_Key="another-key-of-a-test")
    deadline = time.monotonic() + 10
    while since("crm_gateway_unknown_writes") < 1:
        assert time.monotonic() < deadline, "the settler never told"
        time.sleep(0.1)


def test_how_a_connection_stands_is_told(url: str, provider: StandIn) -> None:
    provider.play([Says(200, RECORD, {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "321"})])
    ask(f"{url}/v1/opportunities/{RAZE}")
    told = scraped(url)
    assert value(told, "crm_gateway_provider_budget_left", connection="raze") == 321
    assert value(told, "crm_gateway_circuit_state", connection="raze") == 0
    assert ("crm_gateway_circuit_state", (("connection", "raze"),)) in told
    assert any(name == "crm_gateway_build_info" for name, _ in told)
    assert value(told, "crm_gateway_workers") >= 1


def test_an_answer_that_nobody_waited_for_is_counted_as_such(url: str, provider: StandIn) -> None:
    import socket

    since = Since(url)
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"POST /v1/opportunities HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 100\r\n\r\n{")  # fmt: skip
    deadline = time.monotonic() + 5
    while since("crm_gateway_requests_total", route="/v1/opportunities", method="POST", status="499") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_tasks_of_the_loop_are_counted_while_somebody_watches_it() -> None:
    async def main() -> tuple[float, float]:
        with Watchdog(limit=0.1):
            before = told()
            tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(50)]
            deadline = time.monotonic() + 10
            while told() < before + 50 and time.monotonic() < deadline:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.02)  # until the watchdog has counted
            after = told()
        for task in tasks:
            task.cancel()
        return before, after

    def told() -> float:
        level = metrics.TASKS.of()
        return level.values[level.at]

    assert asyncio.run(main()) == (1, 51)
    assert told() == 0


# --- bounded ---------------------------------------------------------------------------------------------------------

STRANGERS = 100_000


@pytest.mark.anyio
async def test_a_hundred_thousand_ids_callers_and_headers_make_no_series(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        connections(raze="http://127.0.0.1:9")
        + f"callers: [{{name: one, key_sha256: {hash_key('key-of-one')}, scopes: ['opportunities:read']}}]\n"
    )
    app = application(load_config(path, {}), {})

    async def nothing() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def unheard(message: Any) -> None:
        pass

    async def stranger(number: int) -> None:
        word = f"w{number}"
        key = b"key-of-one" if number % 2 else word.encode()
        methods = ("GET", "HEAD", "DELETE", word.upper())
        paths = (f"/v1/opportunities/{word}:x", f"/v1/opportunities/raze:{word}!", f"/{word}", f"/v1/connections/{word}",
                 f"/problems/{word}")  # fmt: skip
        names = ("x-request-id", "x-crm-connection", "idempotency-key", "user-agent", "traceparent", word)
        await app({
            "type": "http", "method": methods[number % 4], "raw_path": paths[number % 5].encode(), "query_string": b"",
            "headers": [(b"x-api-key", key), *((name.encode(), word.encode()) for name in names)],
        }, nothing, unheard)  # fmt: skip

    def series() -> int:
        return sum(len(metric.children) for metric in METRICS.values())

    for number in range(1000):
        await stranger(number)
    before, text = series(), len(parsed(exposition().decode()))
    for number in range(1000, STRANGERS):
        await stranger(number)
    assert series() == before
    assert len(parsed(exposition().decode())) == text
    await app.gateway.aclose()


def test_a_metric_tells_so_many_combinations_apart_and_no_more() -> None:
    metric = Metric(Count, "crm_gateway_test_total", ("one", "two"), "A test.")
    for number in range(MOST + 5000):
        metric.of(str(number), "x").add()
    assert len(metric.children) == MOST + 1
    assert metric.of("other", "other").values[metric.of("other", "other").at] == 5000


# --- cells -----------------------------------------------------------------------------------------------------------


def test_where_there_is_no_more_room_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = Cells()
    monkeypatch.setattr(metrics, "_cells", cells)
    assert cells.take("all", CELLS) == 0
    metric = Metric(Count, "crm_gateway_test_total", ("one",), "A test.")
    metric.of("a").add()
    assert "crm_gateway_test_total" not in {reading.name for reading in readings(cells)}
    assert list(cells.values[:8]) == [0.0] * 8


COUNTING = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import gateway
from gateway import metrics
metrics.share(Path(sys.argv[1]))
metrics.REQUESTS.of("/healthz", "GET", "200").add(float(sys.argv[2]))
metrics.WORKERS.of().add()
metrics.UNKNOWN.of().set(float(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read(1)
"""


@contextlib.contextmanager
def counting(folder: Path, amount: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", COUNTING, str(folder), str(amount)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def together(folder: Path) -> Series:
    done = subprocess.run([sys.executable, "-c", "import sys; from pathlib import Path; from gateway import metrics\n"
                           "from gateway.exposing import exposition; metrics.share(Path(sys.argv[1]))\n"
                           "print(exposition().decode())", str(folder)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return parsed(done.stdout)


def test_what_a_killed_process_counted_stays_and_its_file_is_taken_over(tmp_path: Path) -> None:
    name = "crm_gateway_requests_total"
    of = {"route": "/healthz", "method": "GET", "status": "200"}
    with counting(tmp_path, 3), counting(tmp_path, 40):
        told = together(tmp_path)
        assert (value(told, name, **of), value(told, "crm_gateway_workers")) == (43, 2)
        assert value(told, "crm_gateway_unknown_writes") == 40, "what was said last"
    told = together(tmp_path)
    assert (value(told, name, **of), value(told, "crm_gateway_workers")) == (43, 0)
    with counting(tmp_path, 500):
        told = together(tmp_path)
        assert (value(told, name, **of), value(told, "crm_gateway_workers")) == (543, 1)
    assert len(list(tmp_path.iterdir())) <= 3


def test_a_line_that_a_killed_process_did_not_end_is_cut_off(tmp_path: Path) -> None:
    with counting(tmp_path, 3):
        pass
    [path] = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b'1 ["crm_gateway_requests_total","/read')
    with counting(tmp_path, 4):
        told = together(tmp_path)
    assert value(told, "crm_gateway_requests_total", route="/healthz", method="GET", status="200") == 7


# --- several workers -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path, workers: int) -> Iterator[tuple[str, int]]:
    """(URL, process id) of `serve` with so many workers; temporary files go to `folder/tmp`."""
    (folder / "config.yaml").write_text(SANDBOXES)
    (folder / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0", "--workers", str(workers)], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder / "tmp")},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_any_worker_answers_for_all_also_for_one_that_was_killed(tmp_path: Path) -> None:
    of = {"route": "/v1/opportunities", "method": "GET", "status": "200"}
    name = "crm_gateway_requests_total"
    with serving(tmp_path, 2) as (url, pid):
        deadline = time.monotonic() + 30
        while value(scraped(url), "crm_gateway_workers") != 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(20):
            assert ask(f"{url}/v1/opportunities").status == 200
        assert {value(scraped(url), name, **of) for _ in range(12)} == {20}
        assert value(scraped(url), "crm_gateway_event_loop_tasks") >= 2 * 3, "each worker serves, listens and beats"
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        worker = next(
            child for child in children if b"gateway.http.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
        )
        os.kill(int(worker), signal.SIGKILL)
        while value(told := _patiently(url, deadline), "crm_gateway_workers") != 2 or _is_there(worker):
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
        assert {value(scraped(url), name, **of) for _ in range(12)} == {20}
        assert len(list((tmp_path / "tmp").glob("crm-gateway-*/*.cells"))) <= 3
    assert list((tmp_path / "tmp").glob("crm-gateway-*")) == []


def _patiently(url: str, deadline: float) -> Series:
    while True:
        try:
            return scraped(url)
        except OSError:  # that worker had the connection
            assert time.monotonic() < deadline


def _is_there(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


# --- cost ------------------------------------------------------------------------------------------------------------


def test_all_metrics_of_a_request_cost_some_microseconds() -> None:
    route = next(route for route in routes() if route.name == "get_opportunity")
    context: Any = SimpleNamespace(route=route, connection="raze")
    reply, call, times = Reply(200), Call("get", "GET", "/x"), 2000

    async def sent(call: Call, trip: Trip) -> Reply:
        trip.tries += 1
        return reply

    observed = observe(sent, "raze")

    async def requests() -> None:
        for _ in range(times):
            request = Request("GET", "an-id", None)
            await observed(call, Trip(1.0))
            request.ended(context, 200)

    cost = min(timeit.repeat(lambda: asyncio.run(requests()), number=1, repeat=7)) / times
    assert cost < 50e-6, "5 on a quiet machine"


def test_nothing_that_is_not_asked_for_is_imported() -> None:
    script = (
        "import sys, gateway.http.serving\n"
        "print([name for name in ('opentelemetry', 'prometheus_client', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
