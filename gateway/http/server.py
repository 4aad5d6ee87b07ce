"""uvicorn, told to answer in our own manner where it would answer by itself.

What the HTTP parser refuses before the application is asked (a malformed request, headers or a target that are too large)
is answered as `application/problem+json` too.
"""

import logging
import uuid
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import Problem
from gateway.http.app import PROBLEM
from gateway.http.observing import count
from gateway.metrics import OTHER
from gateway.strict_json import dumps

HEADERS_BYTES = 32 * 1024
TARGET_BYTES = 16 * 1024


class Protocol(HttpToolsProtocol):
    """httptools with limits on target and headers, and problems instead of plain text."""

    _seen = 0
    _refusal: Problem | None = None

    def on_message_begin(self) -> None:
        self._seen = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url), TARGET_BYTES, "uri-too-long", f"The request target is longer than {TARGET_BYTES} bytes.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        most = TARGET_BYTES + HEADERS_BYTES
        self._count(len(name) + len(value) + 4, most, "headers-too-large", f"The headers exceed {HEADERS_BYTES} bytes.")
        super().on_header(name, value)

    def _count(self, size: int, most: int, code: str, detail: str) -> None:
        self._seen += size
        if self._seen > most:
            self._refusal = Problem(code, detail)
            raise ValueError(code)  # the parser gives up and comes back through send_400_response

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read; the text is our own, so that nothing of the input is repeated."""
        self._refuse(self._refusal or Problem("invalid-request", "The request is not well-formed HTTP/1.1."))

    def _refuse(self, problem: Problem) -> None:
        request_id = uuid.uuid4().hex
        count(OTHER, OTHER, problem.status, 0.0)
        body = dumps(problem.body(request_id))
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\ncache-control: private, no-store\r\nconnection: close\r\n\r\n"
        )
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(head.encode("latin-1") + body)
            self.transport.close()


def uvicorn_config(app: Any, **settings: Any) -> uvicorn.Config:
    """uvicorn's settings for the gateway: our protocol, no access log (it would hold queries), no server header."""
    return uvicorn.Config(
        app,
        http=Protocol,
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        date_header=True,
        log_config=None,
        log_level=logging.WARNING,
        proxy_headers=False,
        timeout_keep_alive=75,
        **settings,
    )
