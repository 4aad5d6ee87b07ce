"""What is told of each request once it is answered: metrics, the span, a log line where it failed or all are asked for.

Nothing of it holds what the caller wrote but the request id: no path, query, id or key.
"""

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from gateway import logs, spans
from gateway.errors import Problem
from gateway.metrics import OTHER, REQUEST_SECONDS, REQUESTS, REQUESTS_NOW, Count, Spread
from gateway.tracing import Trace

if TYPE_CHECKING:
    from gateway.http.app import Context

log = logging.getLogger("gateway")

METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
LEFT = 499
"""Stands for an answer that nobody waited for."""

_now = REQUESTS_NOW.of()
_seen: dict[tuple[str, str, int], tuple[Count, Spread]] = {}
"""What counts, by route, method and status: of each there are as many as are declared."""


class Request(msgspec.Struct, eq=False):
    """One request, from its headers to its answer. `ended` has to be called, whatever becomes of it."""

    method: str
    id: str
    trace: Trace | None
    began: float = 0.0
    _span: spans.Opened | None = None

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        if self.method not in METHODS:
            self.method = OTHER
        if spans.tracer is not None:
            self._span = spans.request(self.method, self.trace)
        _now.add()

    def ended(
        self, context: "Context | None", status: int, problem: Problem | None = None, crash: Exception | None = None
    ) -> None:
        """Answered like this; or, with status 499, not at all, `problem` or not. `context` None: no route was found."""
        seconds = time.perf_counter() - self.began
        _now.drop()
        path = context.route.path if context is not None else OTHER
        count(path, self.method, status, seconds)
        failed = problem is not None and problem.status >= 500
        if self._span is not None:
            error = problem.code if problem is not None and failed else None
            about: dict[str, str | int] = {"http.route": path, "http.response.status_code": status}
            self._span.close(error, f"{self.method} {path}", about)
        if not failed and not logs.access.isEnabledFor(logging.INFO):
            return
        connection = problem.connection if problem is not None else None
        if connection is None and context is not None:
            connection = context.connection
        told = {
            "request_id": self.id, "connection": connection, "method": self.method, "route": path, "status": status,
            "code": problem.code if problem is not None else None, "milliseconds": round(seconds * 1000, 1),
        }  # fmt: skip
        if crash is not None:
            log.error("a request failed: %s", logs.where(crash), extra={"told": told})
        elif problem is not None and failed:
            log.warning("a request failed: %s", problem.detail, extra={"told": told})
        logs.access.info(_said(status), extra={"told": told})


def unread(status: int, request_id: str | None = None, code: str | None = None) -> None:
    """One request more that was answered like this, or not at all, before it could be told what it asks for."""
    count(OTHER, OTHER, status, 0.0)
    told = {
        "request_id": request_id, "connection": None, "method": OTHER, "route": OTHER, "status": status, "code": code,
        "milliseconds": 0.0,
    }  # fmt: skip
    logs.access.info(_said(status), extra={"told": told})


def _said(status: int) -> str:
    return "answered" if status != LEFT else "the caller left"


def count(path: str, method: str, status: int, seconds: float) -> None:
    """One request more."""
    found = _seen.get((path, method, status))
    if found is None:
        found = _seen[path, method, status] = REQUESTS.of(path, method, str(status)), REQUEST_SECONDS.of(path)
    found[0].add()
    found[1].note(seconds)
