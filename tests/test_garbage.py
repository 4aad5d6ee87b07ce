"""Whatever a provider sends: every kind of garbage through the whole gateway, over sockets.

Each connection of the gateway has one call in flight at most, and each worker of the test a connection of its own: the good
request after a bad one comes on what the bad one has left.
"""

import itertools
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway import strict_json
from gateway.errors import CODES
from gateway.strict_json import dumps
from tests.kinds import SERVED, Kind, Place, says
from tests.kinds.all import KINDS
from tests.kinds.asking import BOUND, CELLS, DEADLINE, Caller, Cell, config_of
from tests.kinds.cancellations import EXCHANGE, SCHEDULES, Leaving
from tests.kinds.deviations import TYPES, VALUES, Odd
from tests.kinds.provider import METHODS, RECORDS, SPEAKERS, Provider
from tests.kinds.retry_after import FORMS as RETRY_AFTER
from tests.live import Answer, ask, assert_problem, port_of, running_gateway
from tests.operating import Server

LEFT_SLOTS = 2
MIB_A_REQUEST = 8 + 1.5
"""What `limits.reply` allows, and what the allocator takes on top."""
LANES = 12
"""How many requests are under way at once for each speaker."""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(KINDS) as running:
        yield running


class Unhandled(logging.Handler):
    """Errors in anybody's log, and warnings of the event loop, while the block lasts."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self._formatter.format(record))

    def __enter__(self) -> "Unhandled":
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)


def test_every_kind_by_every_method_from_both_providers(provider: Provider, tmp_path: Path) -> None:
    lanes: dict[str, list[str]] = {speaker: [f"{speaker}{lane}" for lane in range(LANES)] for speaker in SPEAKERS}
    lock = threading.Lock()
    with Unhandled() as unhandled, running_gateway(config_of(provider, LANES), tmp_path) as url:
        caller = Caller(url, provider)

        def work(cell: Cell) -> list[str]:
            with lock:
                connection = lanes[cell.speaker].pop()
            try:
                return caller.check(cell, connection)
            finally:
                with lock:
                    lanes[cell.speaker].append(connection)

        with ThreadPoolExecutor(LANES) as pool:
            wrong = [one for found in pool.map(work, CELLS) for one in found]
    assert not wrong, f"{len(wrong)} of {len(CELLS)}:\n" + "\n".join(wrong)
    assert not unhandled.said
    assert not provider.reused, sorted(set(provider.reused))
    assert not provider.strays


def test_the_lists_are_what_they_say() -> None:
    place = Place(b'{"success": true, "data": {"id": "x", "name": "y"}}')
    for entries in (
        {kind.name: repr(kind.play(place)) for kind in KINDS},
        {odd.name: f"{odd.speaker} {odd.pointer} {odd.text}" for odd in (*TYPES, *VALUES)},
        {name: form for name, (form, _) in RETRY_AFTER.items()},
    ):
        assert len(set(entries.values())) == len(entries)
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 60
    assert len({odd.name for odd in (*TYPES, *VALUES)}) == len(TYPES) + len(VALUES)
    assert len(RETRY_AFTER) >= 17
    assert len({(one.how, one.method, one.after) for one in SCHEDULES}) == len(SCHEDULES) == 150


# --- served all the same, with an issue


def answer_to(odd: Odd, caller: Caller, serial: int) -> Answer:
    id_ = caller.provider.id_of(None, "GET", serial)
    text = odd.of({**RECORDS[odd.speaker], "id": id_})
    caller.provider.bodies[id_] = (text if odd.speaker == "spott" else f'{{"success": true, "data": {text}}}').encode()
    return ask(f"{caller.url}/v1/opportunities/{odd.speaker}{serial % LANES}:{id_}?raw=true")


def at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name] if isinstance(value, dict) and name in value else None
    return value


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_what_is_odd_in_a_record_is_served_with_an_issue(provider: Provider, tmp_path: Path, speaker: str) -> None:
    odds = [odd for odd in (*TYPES, *VALUES) if odd.speaker == speaker]
    wrong: list[str] = []
    with Unhandled() as unhandled, running_gateway(config_of(provider, LANES), tmp_path) as url:
        caller = Caller(url, provider)
        with ThreadPoolExecutor(LANES) as pool:
            answers = list(pool.map(lambda one: answer_to(one[1], caller, one[0]), enumerate(odds, 1)))
    for odd, got in zip(odds, answers, strict=True):
        if got.status != 200:
            wrong.append(f"{odd.name}: {got.status} {got.body[:300]!r}")
            continue
        issues = got.meta["issues"]
        if odd.value is not None:
            if at(got.data, odd.field) != odd.value or issues:
                wrong.append(f"{odd.name}: {at(got.data, odd.field)!r} {issues}")
        elif odd.field:
            if not any(issue["field"].startswith(odd.field) for issue in issues):
                wrong.append(f"{odd.name}: no issue but {issues}")
        elif odd.text and not issues and not kept(got, odd):
            wrong.append(f"{odd.name}: neither an issue nor anywhere")
        elif not odd.text and issues and not any(issue["reason"] == "missing" for issue in issues):
            wrong.append(f"{odd.name}: {issues}")
    assert not wrong, f"{len(wrong)} of {len(odds)}:\n" + "\n".join(wrong)
    assert not unhandled.said


def kept(got: Answer, odd: Odd) -> bool:
    """Whether what stood there is found in the canonical form, leaf by leaf, or may stand for nothing."""
    # How Spott labels a value is of no use to anybody; percent are told as a share.
    if (odd.pointer.endswith("/viewType") or odd.pointer == "/probability") and odd.text[0] in '"0123456789':
        return True
    told = [str(one) for one in strings(strict_json.loads(odd.text.encode()))]
    held = {str(one) for one in strings(got.data)}
    return set(told) <= held | {"None", ""}


def walk(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(one for below in inner for one in walk(below))]


def strings(value: Any) -> list[Any]:
    return [one for one in walk(value) if not isinstance(one, (dict, list))]


# --- how a provider says when to come back


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_each_form_of_retry_after_is_told_whole_and_in_bounds(tmp_path: Path, status: str) -> None:
    kinds = [
        Kind(name, says(b"{}", b"Retry-After: " + form.encode("latin-1", "replace"), status=status.encode()), kept=True)
        for name, (form, _) in RETRY_AFTER.items()
    ]
    with Provider(kinds) as provider, running_gateway(config_of(provider, LANES), tmp_path) as url:
        caller = Caller(url, provider)
        with ThreadPoolExecutor(LANES) as pool:
            cells = [(kind, method) for kind in kinds for method in METHODS]
            found = list(pool.map(lambda one: caller.request(one[1][0], one[1][1], f"documented{one[0] % LANES}"),
                                  enumerate(cells)))  # fmt: skip
    for (kind, method), (_, got, seconds) in zip(cells, found, strict=True):
        code = "rate-limited" if status[0] == "4" else "provider-error"
        problem = assert_problem(got, CODES[code].status, code)
        assert seconds < DEADLINE + BOUND, kind.name
        if code == "rate-limited":
            assert 1 <= problem["retry_after"] <= 86400, kind.name
            assert problem.get("outcome") == (None if method == "GET" else "not_applied")


# --- callers who leave: B8


def leave(url: str, schedule: Leaving, target: str, body: bytes) -> None:
    """Ask as the schedule says, and leave without waiting for an answer."""
    head = (
        f"{schedule.method} {target} HTTP/1.1\r\nHost: x\r\nX-CRM-Connection: documented0\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    if schedule.how == "in the head":
        sent = head[: len(head) // 2]
    elif schedule.how == "in the body" and body:
        sent = head + body[: len(body) // 2]
    else:
        sent = head + body
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) as sock:
        sock.sendall(sent)
        if schedule.how == "half":
            sock.shutdown(socket.SHUT_WR)
        time.sleep(schedule.after)
        if schedule.how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_the_gateway_is_alive_after_each_of_150_ways_of_leaving(tmp_path: Path) -> None:
    third = EXCHANGE / 3
    kinds = [Kind("slow", lambda place: [third, place.good[:40], third, place.good[40:], third], SERVED)]
    with (
        Unhandled() as unhandled,
        Provider(kinds) as provider,
        running_gateway(config_of(provider, 1, LEFT_SLOTS), tmp_path) as url,
    ):
        caller = Caller(url, provider)
        serials = itertools.count(1_000_000)
        dead: list[str] = []
        for schedule in SCHEDULES:
            targets = []
            for _ in range(LEFT_SLOTS + 1):
                id_ = provider.id_of(kinds[0], schedule.method, next(serials))
                body = b"" if schedule.method == "GET" else dumps({"name": f"Deal {id_}"})
                post = schedule.method == "POST"
                targets.append(("/v1/opportunities" if post else f"/v1/opportunities/documented0:{id_}", body))
            leaving = [threading.Thread(target=leave, args=(url, schedule, *one)) for one in targets]
            for thread in leaving:
                thread.start()
            for thread in leaving:
                thread.join()
            id_, got, _ = caller.request(None, "GET", "documented0")
            if got.status != 200 or got.data["native_id"] != id_:
                dead.append(f"{schedule.name}: {got.status} {got.body[:200]!r}")
        # All slots are free again: as many slow calls as there are slots are under way at once.
        began = time.monotonic()
        with ThreadPoolExecutor(LEFT_SLOTS) as pool:
            assert all(answer.status == 200 for _, answer, _ in pool.map(
                lambda _: caller.request(kinds[0], "GET", "documented0"), range(LEFT_SLOTS)))  # fmt: skip
        assert time.monotonic() - began < DEADLINE
        assert provider.open <= LEFT_SLOTS
    assert not dead
    assert not unhandled.said


# --- memory

LARGE = [
    kind
    for kind in KINDS
    if any(word in kind.name for word in ("bomb", "50 MB", "values", "without end", "100,000", "endless"))
]


def test_what_is_too_much_costs_little_memory(tmp_path: Path) -> None:
    """Of a real process: how far its peak rises above where it stood."""
    with Provider(KINDS) as provider:
        (tmp_path / "config.yaml").write_text(config_of(provider, 1).replace("reply: 1MiB", "reply: 8MiB"))
        with Server(tmp_path) as server:
            caller, pid, rose = Caller(server.url, provider), server.process.pid, dict[str, float]()
            for _ in range(20):
                caller.request(None, "GET", "documented0")
            for kind in LARGE:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
                before = kib(pid, "VmRSS")
                for _ in range(2):
                    caller.request(kind, "GET", "documented0")
                rose[kind.name] = (kib(pid, "VmHWM") - before) / 1024
            assert caller.request(None, "GET", "documented0")[1].status == 200
    assert max(rose.values()) <= MIB_A_REQUEST, sorted(rose.items(), key=lambda one: -one[1])[:8]


def kib(pid: int, name: str) -> int:
    """A figure of a process's memory, in KiB."""
    found = re.search(rf"{name}:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])
