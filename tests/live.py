"""The gateway as it really runs, over sockets, and what tests need around it.

running_gateway    config.yaml -> sandboxes and the real server on a loopback port, for as long as the block lasts
ask                one request with exactly the path, headers and body given -> Answer
raw_exchange       bytes to a port, and whatever bytes come back
StandIn            a provider of our own: answers raw bytes from a script and remembers what it was sent
"""

import contextlib
import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import uvicorn

from gateway import strict_json
from gateway.config import load_config
from gateway.http.server import uvicorn_config
from gateway.http.serving import application
from gateway.sandboxes import running

EXAMPLES = Path(__file__).parent / "examples"


@contextlib.contextmanager
def running_gateway(
    config_text: str, folder: Path, environ: Mapping[str, str] | None = None, *, ready: bool = True
) -> Iterator[str]:
    """`http://127.0.0.1:PORT` of a gateway on this configuration, sandboxes included; stopped cleanly at the end.

    `ready` False: it cannot be, and is not waited for.
    """
    path = folder / "config.yaml"
    path.write_text(config_text, encoding="utf-8")
    config = load_config(path, {} if environ is None else environ)
    with running(config) as base_urls, socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        server = uvicorn.Server(uvicorn_config(application(config, base_urls), timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway", daemon=True)
        thread.start()
        try:
            # The port listens already: this answers as soon as the application is up.
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert ask(f"{url}/readyz").status == (200 if ready else 503)
            yield url
        finally:
            server.should_exit = True
            thread.join(timeout=10)
        assert not thread.is_alive(), "the gateway did not stop"


@dataclass(frozen=True)
class Answer:
    """What came back: `headers` by lower-case name, repeated ones joined with a comma."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as strictly as the gateway reads its providers."""
        return strict_json.loads(self.body)

    @property
    def data(self) -> Any:
        """`data` of an answer."""
        return self.json["data"]

    @property
    def meta(self) -> Any:
        """`meta` of an answer."""
        return self.json["meta"]


Body: TypeAlias = bytes | str | Iterable[bytes] | None


def ask(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: Body = None,
) -> Answer:
    """One request on a connection of its own. The target goes out as written after the host, unchanged.

    Bytes and text are sent with their length, anything else that can be iterated in chunks without one.
    """
    scheme, _, rest = url.partition("://")
    assert scheme == "http"
    host, slash, target = rest.partition("/")
    connection = http.client.HTTPConnection(host, timeout=20)
    with contextlib.closing(connection):
        sent = list(headers.items() if isinstance(headers, Mapping) else headers)
        own_host = any(name.lower() == "host" for name, _ in sent)
        connection.putrequest(method, slash + target or "/", skip_accept_encoding=True, skip_host=own_host)
        for name, value in sent:
            connection.putheader(name, value.encode("latin-1"))
        if isinstance(body, str):
            body = body.encode()
        try:
            if body is None or isinstance(body, bytes):
                if body is not None:
                    connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
            else:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders(body, encode_chunked=True)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered before it was all sent
        response = connection.getresponse()
        found: dict[str, str] = {}
        for name, value in response.getheaders():
            name = name.lower()
            found[name] = f"{found[name]}, {value}" if name in found else value
        return Answer(response.status, found, response.read())


JSON = {"Content-Type": "application/json"}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def send(url: str, method: str, body: Body, **headers: str) -> Answer:
    """`ask` with a JSON body; `Prefer="handling=strict"` and the like as keywords."""
    return ask(url, method, {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}, body)


def raw_exchange(host: str, port: int, data: bytes) -> bytes:
    """Everything that comes back for `data` until the other side closes or is silent for two seconds."""
    with socket.create_connection((host, port), timeout=2) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while chunk := sock.recv(65536):
                received += chunk
        return received


def port_of(url: str) -> int:
    """The port in a URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """That the answer is this problem, whole and well-formed; its body."""
    assert answer.headers.get("content-type") == "application/problem+json", (answer.status, answer.body[:500])
    body = answer.json
    assert isinstance(body, dict)
    assert (answer.status, body["code"]) == (status, code), body
    assert body["status"] == answer.status
    assert body["type"] == f"/problems/{code}"
    assert body["title"] and body["detail"]
    assert body["origin"] in ("caller", "gateway", "provider")
    assert isinstance(body["retryable"], bool)
    assert body["request_id"] == answer.headers["x-request-id"]
    if "retry_after" in body:
        assert answer.headers["retry-after"] == str(body["retry_after"])
    else:
        assert "retry-after" not in answer.headers
    for error in body.get("errors", ()):
        assert set(error) == {"field", "message"}
    known = {
        "type", "title", "status", "detail", "code", "origin", "retryable", "retry_after", "request_id", "connection",
        "errors", "provider", "outcome",
    }  # fmt: skip
    assert set(body) <= known
    return body


def fields_of(problem: Mapping[str, Any]) -> list[str]:
    """What `errors` names."""
    return [error["field"] for error in problem.get("errors", ())]


# --- a provider of our own -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A request as it came: `target` undecoded, `headers` by lower-case name."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body, digits kept."""
        return strict_json.loads(self.body)


@dataclass(frozen=True)
class Says:
    """What a stand-in answers. `body` is sent as it is; anything else than bytes or text is written as JSON.

    `then`: "cut" reads the request and closes without a word, "reset" does so with a TCP reset, "stall" says nothing
    until the stand-in stops, "half" sends only the first half of the body.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    then: str = ""

    def content(self) -> bytes:
        """The bytes of the body."""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else strict_json.dumps(self.body)


Script: TypeAlias = Callable[[Seen], Says] | Sequence[Says]


class StandIn:
    """A provider on a loopback port: answers by `script` and keeps every request in `seen`.

    `script` is a function of the request, or a list of which each request takes the next; the last one repeats.
    """

    def __init__(self, script: Script = ()) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self._turn = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def play(self, script: Script) -> None:
        """Answer by another script from now on, and forget what was seen."""
        with self._lock:
            self.script, self._turn, self.seen = script, 0, []

    def calls(self) -> list[tuple[str, str]]:
        """(method, path) of each request so far."""
        return [(one.method, one.path) for one in self.seen]

    def answer(self, seen: Seen) -> Says:
        """What to say to a request."""
        with self._lock:
            self.seen.append(seen)
            script = self.script
            if callable(script):
                return script(seen)
            turn, self._turn = self._turn, self._turn + 1
            return script[min(turn, len(script) - 1)] if script else Says(500)

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="stand-in", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None and self._thread is not None
        self._stopping.set()
        self._server.shutdown()
        self._thread.join(timeout=5)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A gateway that closes its end is no error here."""


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if not self.parse_request():
                return
            # One stray packet must not end a test: the length alone says where a body ends.
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            # parse_request folds slashes in `path`; the line itself is what was sent.
            target = self.raw_requestline.decode("latin-1").split(" ")[1]
            self._say(stand_in.answer(Seen(self.command, target, headers, body)))

        def _say(self, says: Says) -> None:
            if says.then == "stall":
                stand_in._stopping.wait(10)
            if says.then in ("cut", "reset", "stall"):
                self.close_connection = True
                if says.then == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    with contextlib.suppress(OSError):
                        self.connection.shutdown(socket.SHUT_RDWR)
                return
            content = says.content()
            self.send_response_only(says.status)
            for name, value in says.headers.items():
                self.send_header(name, value)
            if "Content-Type" not in says.headers:
                self.send_header("Content-Type", "application/json")
            if says.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if says.then == "half":
                content = content[: len(content) // 2]
                self.close_connection = True
            if self.command != "HEAD" and says.status != 204:
                self.wfile.write(content)
            with contextlib.suppress(OSError):
                self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


# --- configurations --------------------------------------------------------------------------------------------------


def connections(**urls: str) -> str:
    """The `connections:` of raze and spott, each on a base URL (or "sandbox"), without budgets, circuits and a cache.

    What one test lets a provider do wrong must not hold back the next one's calls.
    """
    lines = ["circuit: off", "cache: {ttl: 0s}", "default_connection: raze", "connections:"]
    for name, url in urls.items():
        provider = "spott" if name.startswith("spott") else "getraze"
        lines.append(f"  {name}: {{provider: {provider}, base_url: '{url}', api_key: key-of-{name}, budget: off}}")
    return "\n".join(lines) + "\n"


SANDBOXES = """\
default_connection: raze
connections:
  raze: {provider: getraze, base_url: sandbox}
  spott: {provider: spott, base_url: sandbox}
"""
