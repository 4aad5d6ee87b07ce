"""The caller's trace goes on at the provider, spans hold names only, and `Server-Timing` splits the time rightly."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway import spans, tracing
from gateway.waiting import Waiting
from tests.live import EXAMPLES, Answer, Says, Seen, StandIn, ask, connections, running_gateway, send

RECORD = json.loads((EXAMPLES / "getraze-get.documented.json").read_text())
RAZE = RECORD["data"]["id"]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def provider() -> Iterator[StandIn]:
    with StandIn([Says(200, RECORD)]) as stand_in:
        yield stand_in


@pytest.fixture
def url(provider: StandIn, tmp_path: Path) -> Iterator[str]:
    with running_gateway(connections(raze=provider.url), tmp_path) as running:
        yield running


# --- traceparent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [HEADER, HEADER[:-2] + "00", f"01-{TRACE}-{PARENT}-01-what-is-new", f" {HEADER} "])
def test_a_good_one_goes_on_with_a_span_of_its_own(url: str, provider: StandIn, header: str) -> None:
    for _ in range(2):
        answer = ask(f"{url}/v1/opportunities/{RAZE}", headers={
            "traceparent": header, "tracestate": "a=b", "Cache-Control": "no-cache"})  # fmt: skip
        assert "traceparent" not in answer.headers and TRACE not in repr(answer)
    sent = [seen.headers["traceparent"] for seen in provider.seen]
    flags = "00" if header.strip().endswith("00") else "01"
    assert all(re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-{flags}", one) for one in sent)
    assert len({*sent, HEADER}) == 3, "each call has a span id, and none has the caller's"
    assert all("tracestate" not in seen.headers for seen in provider.seen)


BAD = [
    "", "00", HEADER.upper(), HEADER[:-1], HEADER + "-more", HEADER.replace("00-", "ff-", 1),
    HEADER.replace(TRACE, "0" * 32), HEADER.replace(PARENT, "0" * 16), HEADER.replace("-", "_"),
    HEADER.replace("4bf9", "4bfg"), f"{HEADER},{HEADER}", "x" * 5000, "\u00b2" * 55,
]  # fmt: skip


@pytest.mark.parametrize("header", BAD)
def test_a_bad_one_is_dropped_and_not_echoed(url: str, provider: StandIn, header: str) -> None:
    answer = ask(f"{url}/v1/opportunities/{RAZE}", headers={"traceparent": header})
    assert answer.status == 200 and "traceparent" not in answer.headers
    assert "traceparent" not in provider.seen[0].headers


def test_two_are_dropped_and_none_is_made_up(url: str, provider: StandIn) -> None:
    ask(f"{url}/v1/opportunities/{RAZE}", headers=[("traceparent", HEADER), ("traceparent", HEADER)])
    ask(f"{url}/v1/opportunities/{RAZE}")
    assert ["traceparent" in seen.headers for seen in provider.seen] == [False, False]


def test_it_goes_on_from_a_keyed_write_and_does_not_stay_with_the_connection(url: str, provider: StandIn) -> None:
    provider.play(lambda seen: Says(201 if seen.method == "POST" else 200, RECORD))
    ask(f"{url}/v1/opportunities/{RAZE}")
    send(f"{url}/v1/opportunities", "POST", '{"name": "J"}', traceparent=HEADER, Idempotency_Key="a-key")
    ask(f"{url}/v1/opportunities/{RAZE}")
    traced = [(seen.method, seen.headers.get("traceparent", "")[3:35]) for seen in provider.seen]
    assert ("POST", TRACE) in traced
    assert (traced[0], traced[-1]) == (("GET", ""), ("GET", ""))


def test_one_callers_trace_is_not_handed_on_from_the_next_ones_request(url: str, provider: StandIn) -> None:
    """A task that has answered one request answers the next one, too."""
    other = HEADER.replace(TRACE, TRACE[::-1])
    for header in (HEADER, None, other, None, None):
        sent = {"Cache-Control": "no-cache"} | ({} if header is None else {"traceparent": header})
        assert ask(f"{url}/v1/opportunities/{RAZE}", headers=sent).status == 200
    traced = [seen.headers.get("traceparent", "")[3:35] for seen in provider.seen]
    assert traced == [TRACE, "", TRACE[::-1], "", ""]


# --- spans -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def made() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans.use(provider)
    try:
        yield exporter
    finally:
        spans.use(None)


def of_kind(made: InMemorySpanExporter, kind: SpanKind) -> ReadableSpan:
    [span] = [span for span in made.get_finished_spans() if span.kind is kind]
    return span


def test_a_request_and_its_call_are_spans_of_the_callers_trace(
    made: InMemorySpanExporter, url: str, provider: StandIn
) -> None:
    made.clear()
    ask(f"{url}/v1/opportunities/{RAZE}?explain=true", headers={"traceparent": HEADER})
    server, client = of_kind(made, SpanKind.SERVER), of_kind(made, SpanKind.CLIENT)
    assert server.context and client.context and server.parent and client.parent
    assert f"{server.context.trace_id:032x}" == f"{client.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    assert client.parent.span_id == server.context.span_id
    assert provider.seen[0].headers["traceparent"] == f"00-{TRACE}-{client.context.span_id:016x}-01"
    assert (server.name, client.name) == ("GET /v1/opportunities/{id}", "get raze")
    assert dict(server.attributes or {}) == {
        "http.request.method": "GET", "http.route": "/v1/opportunities/{id}", "http.response.status_code": 200,
    }  # fmt: skip
    assert dict(client.attributes or {}) == {"crm.connection": "raze", "crm.operation": "get", "crm.tries": 1}
    assert RAZE not in repr([span.to_json() for span in made.get_finished_spans()])


def test_what_failed_is_an_error_without_words(made: InMemorySpanExporter, url: str, provider: StandIn) -> None:
    made.clear()
    provider.play([Says(500, {"error": "words of the provider"})])
    ask(f"{url}/v1/opportunities/{RAZE}")
    call = next(span for span in made.get_finished_spans() if span.name == "get raze")
    for span, error in ((of_kind(made, SpanKind.SERVER), "provider-error"), (call, "error")):
        assert (span.attributes or {})["error.type"] == error
        assert (span.status.status_code, span.status.description, list(span.events)) == (StatusCode.ERROR, None, [])
    assert "traceparent" not in provider.seen[0].headers, "the caller sent none"


def test_spans_are_made_where_the_environment_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for environ in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
                    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}):  # fmt: skip
        spans.start(environ)
        assert spans.tracer is None
    spans.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    try:
        assert spans.tracer is not None
    finally:
        spans.stop()
    assert spans.tracer is None


def test_without_the_extra_it_is_said_and_served_all_the_same() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from gateway import spans; spans.start({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:9'})\n"
        "print(spans.tracer)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
    assert "crm-gateway[otel] is not installed" in done.stderr


# --- Server-Timing ---------------------------------------------------------------------------------------------------

SLOW = 0.15


class Slow(StandIn):
    """Takes its time with each answer, and with several at once."""

    def answer(self, seen: Seen) -> Says:
        """Late."""
        time.sleep(SLOW)
        return super().answer(seen)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[str, StandIn]]:
    with Slow(asked_for) as stand_in, running_gateway(connections(raze=stand_in.url), tmp_path) as url:
        ask(f"{url}/v1/opportunities/{RAZE}")  # teaches the dialect
        stand_in.play(asked_for)
        yield url, stand_in


def asked_for(seen: Seen) -> Says:
    """The record that is asked for."""
    wanted = seen.path.rsplit("/", 1)[1]
    if seen.method == "GET" and wanted != "opportunities":
        return Says(200, {"success": True, "data": {**RECORD["data"], "id": wanted}})
    if seen.method == "GET":
        return Says(200, {"success": True, "data": [RECORD["data"]], "meta": {"page": 1, "total_pages": 1}})
    return Says(201 if seen.method == "POST" else 200, RECORD)


def timing(answer: Answer) -> tuple[float, float]:
    """Seconds of the gateway and of the provider."""
    told = dict(re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"]))
    return float(told["gateway"]) / 1000, float(told["provider"]) / 1000


def test_calls_at_once_are_counted_once(slow: tuple[str, StandIn]) -> None:
    url, _ = slow
    ids = ",".join(f"opp_{number:012}" for number in range(8))
    answer = ask(f"{url}/v1/opportunities?ids={ids}")
    assert [one is not None for one in answer.data] == [True] * 8, answer.body
    gateway, waited = timing(answer)
    assert SLOW <= waited < 4 * SLOW, "not eight times as long"
    assert gateway < SLOW


def test_calls_one_after_the_other_are_added_up(slow: tuple[str, StandIn]) -> None:
    url, provider = slow
    answer = send(f"{url}/v1/opportunities/{RAZE}", "PATCH", '{"description": "x"}', Idempotency_Key="a-key")
    assert answer.status == 200, answer.body
    gateway, waited = timing(answer)
    assert len(provider.seen) >= 1
    assert len(provider.seen) * SLOW <= waited < len(provider.seen) * SLOW + SLOW
    assert gateway < SLOW


def test_a_list_tells_what_it_waited_for(slow: tuple[str, StandIn]) -> None:
    url, provider = slow
    answer = ask(f"{url}/v1/opportunities")
    gateway, waited = timing(answer)
    assert SLOW <= waited < len(provider.seen) * SLOW + SLOW and gateway < SLOW


def test_waits_that_overlap_are_counted_once() -> None:
    waiting = Waiting()

    async def wait(seconds: float) -> None:
        waiting.begin()
        await asyncio.sleep(seconds)
        waiting.end()

    async def both() -> None:
        await asyncio.gather(wait(0.05), wait(0.1))
        await asyncio.sleep(0.2)

    assert waiting.seconds() == 0
    asyncio.run(both())
    assert 0.09 < waiting.seconds() < 0.2


def test_a_header_is_read_strictly() -> None:
    assert tracing.read([HEADER]) == tracing.Trace(TRACE, PARENT, True)
    assert tracing.read([]) is None and tracing.handed_on() is None
    assert all(tracing.read([bad]) is None for bad in BAD)
