"""A provider that answers well, or with the kind of garbage that the id of the record asked for stands for.

An id is a UUID whose last group is a number: which kind (0: none), on which method it is played, and a serial number, so
that each answer belongs to one request. A create carries the number in its name. The path's first part says whose
records they are: `documented`, `served` or `spott`.

    with Provider(KINDS) as provider:
        provider.url("spott"), provider.id_of(kind, "GET", serial)
"""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fault_server import Step, answer, play
from tests.kinds import Kind, Place

_ROOT = Path(__file__).parents[2]
METHODS = ("GET", "POST", "PATCH")
"""Of the gateway's caller; a PATCH may reach the provider as a PUT."""
_SENT = {"GET": ("GET",), "POST": ("POST",), "PATCH": ("PATCH", "PUT")}
SPEAKERS = ("documented", "served", "spott")
_ID = "00000000-0000-4000-8000-%012x"
_NUMBER = re.compile(rb"00000000-0000-4000-8000-([0-9a-fA-F]{12})")
_SHIFT, _SERIALS = 24, 1 << 24


def _example(path: str) -> Any:
    return json.loads((_ROOT / path).read_text())


RECORDS: dict[str, dict[str, Any]] = {
    "documented": _example("tests/examples/getraze-get.documented.json")["data"],
    "served": _example("adapters/getraze/exchanges/served_get.json")["reply"]["body"]["data"],
    "spott": _example("tests/examples/spott-get.documented.json"),
}


def record(speaker: str, id_: str) -> dict[str, Any]:
    """A whole record with this id and a name of its own."""
    found: dict[str, Any] = {**RECORDS[speaker], "id": id_}
    name = f"Deal {id_}"
    if speaker == "spott":
        return {**found, "name": {"viewType": "opportunityName", "name": name}}
    return {**found, "title" if speaker == "served" else "name": name}


def enveloped(speaker: str, told: Any) -> bytes:
    """A record as this provider answers with it."""
    return json.dumps(told if speaker == "spott" else {"success": True, "data": told}, ensure_ascii=False).encode()


class Provider:
    """It runs on a thread of its own. `script` answers instead, for requests whose id stands for no kind."""

    def __init__(self, kinds: Sequence[Kind] = (), before: Sequence[Step] = ()) -> None:
        self.kinds = tuple(kinds)
        self.before = before
        """What is played before each good answer, such as a moment's wait."""
        self.bodies: dict[str, bytes] = {}
        """Bodies of good answers that are not the usual record, by id."""
        self.requests = 0
        self.reused: list[str] = []
        """Kinds after which a request came on the same connection, though it had to be given up."""
        self.strays: list[bytes] = []
        """What came to the other server, where nobody must ever go."""
        self.open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def url(self, speaker: str) -> str:
        """The base URL under which these records are."""
        return f"http://127.0.0.1:{self._ports[0]}/{speaker}"

    @property
    def elsewhere(self) -> str:
        """A server to which redirects lead."""
        return f"http://127.0.0.1:{self._ports[1]}"

    def id_of(self, kind: Kind | None, method: str, serial: int) -> str:
        """The id for which `kind` is played when asked for by `method`."""
        cell = 0 if kind is None else 1 + self.kinds.index(kind) * len(METHODS) + METHODS.index(method)
        return _ID % (cell << _SHIFT | serial % _SERIALS)

    # --- inside its thread

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        self._servers = [
            await asyncio.start_server(accepted, "127.0.0.1", 0, backlog=1024, limit=1 << 20)
            for accepted in (self._accepted, self._strayed)
        ]
        self._ports = [server.sockets[0].getsockname()[1] for server in self._servers]

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _strayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            self.strays.append(await reader.read(65536))
        writer.close()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        spoiled = ""
        try:
            # RuntimeError: a request that crossed our half closing cannot be answered any more.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, RuntimeError):
                while True:
                    request = await _request(reader)
                    self.requests += 1
                    if spoiled:
                        self.reused.append(spoiled)
                    kind, of, steps = self._answer(request)
                    if kind is not None and kind.spoils(of):
                        spoiled = kind.name
                    await play(steps, reader, writer, _skip)
        except asyncio.CancelledError:
            pass  # the test is over; start_server would log it
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self.open -= 1

    def _answer(self, request: bytes) -> tuple[Kind | None, str, Sequence[Step]]:
        method, target = request.split(b" ", 2)[:2]
        speaker = target.split(b"/")[1].decode()
        found = _NUMBER.search(request)
        if found is None:  # a list, or a look-up for stages
            return None, "", [answer(b'{"success": true, "data": {"opportunities": []}, "items": [], "stages": []}')]
        number = int(found[1], 16)
        cell = (number >> _SHIFT) - 1
        place = Place(
            self.bodies.get(found[0].decode()) or enveloped(speaker, record(speaker, found[0].decode())),
            b"201 Created" if method == b"POST" else b"200 OK",
            self.elsewhere,
        )
        of = METHODS[cell % len(METHODS)]
        if 0 <= cell < len(self.kinds) * len(METHODS) and method.decode() in _SENT[of]:
            kind = self.kinds[cell // len(METHODS)]
            return kind, of, kind.play(place)
        return None, "", [*self.before, place.good]


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: *(\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def _skip(reader: asyncio.StreamReader) -> None:
    await _request(reader)
