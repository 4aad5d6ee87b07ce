"""Spans of requests and of calls to providers, by OpenTelemetry where it is installed and asked for.

`tracer` is None otherwise, and then nothing of it is imported and nothing else here may be called. It is asked for by
`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`; its other variables mean what they mean everywhere.
A span holds names of declarations only: a route's template, a connection, an operation, a status. No URL, id or key.
"""

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind, Tracer

    from gateway.tracing import Trace

log = logging.getLogger("gateway")

tracer: "Tracer | None" = None
_provider: "TracerProvider | None" = None


def start(environ: Mapping[str, str] = os.environ) -> None:
    """Make spans from now on, where the environment asks for them."""
    asked = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if tracer is not None or not asked or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("traces are asked for (OTEL_EXPORTER_OTLP_ENDPOINT), but crm-gateway[otel] is not installed")
        return
    name = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "crm-gateway"}
    provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: "TracerProvider | None") -> None:
    """Make spans with this provider from now on; with None no more."""
    global tracer, _provider
    tracer, _provider = None if provider is None else provider.get_tracer("crm-gateway"), provider


def stop() -> None:
    """Send what is still to be sent; takes as long as the exporter waits for its collector."""
    provider = _provider
    use(None)
    if provider is not None:
        provider.shutdown()


class Opened:
    """A span that lasts until `close`, which has to be called in the task that opened it."""

    __slots__ = ("_span", "_token")

    def __init__(self, name: str, kind: "SpanKind", attributes: dict[str, Any], parent: "Trace | None" = None) -> None:
        from opentelemetry import context, trace

        assert tracer is not None
        within = None
        if parent is not None:
            flags = trace.TraceFlags(int(parent.sampled))
            remote = trace.SpanContext(int(parent.trace, 16), int(parent.parent, 16), is_remote=True, trace_flags=flags)
            within = trace.set_span_in_context(trace.NonRecordingSpan(remote), context.Context())
        self._span: Span = tracer.start_span(name, within, kind, attributes)
        self._token = context.attach(trace.set_span_in_context(self._span))

    def close(self, error: str | None, name: str = "", attributes: Mapping[str, str | int] | None = None) -> None:
        """It is over; `error` is a word for what went wrong, `name` a better name than it had."""
        from opentelemetry import context
        from opentelemetry.trace import Status, StatusCode

        if name:
            self._span.update_name(name)
        self._span.set_attributes(attributes or {})
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()
        context.detach(self._token)


def request(method: str, parent: "Trace | None") -> Opened:
    """The span of a request, in the caller's trace where it named one."""
    from opentelemetry.trace import SpanKind

    return Opened(method, SpanKind.SERVER, {"http.request.method": method}, parent)


def call(connection: str, operation: str) -> Opened:
    """The span of a call to a provider, within that of the request."""
    from opentelemetry.trace import SpanKind

    about = {"crm.connection": connection, "crm.operation": operation}
    return Opened(f"{operation} {connection}", SpanKind.CLIENT, about)


def current_span() -> str | None:
    """The id of the span that is open here, as `traceparent` writes it."""
    from opentelemetry import trace

    told = trace.get_current_span().get_span_context()
    return f"{told.span_id:016x}" if told.is_valid else None
