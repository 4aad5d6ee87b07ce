"""A provider of our own in a process of its own, which writes down every write that it applied before it answers.

    python -m tests.rig.stand_in --provider getraze|getraze-served|spott --ledger FILE [--settings JSON]

The ledger gets one JSON line for each applied create, update or delete, in one `write` to a file opened with `O_APPEND`:

    {"kind": "create", "provider": "getraze", "id": "opp_…", "marker": "abc", "at": 12.5}

`marker` is what stands behind `k-` in the record's name (else null), `at` the machine's monotonic clock. What the ledger
says was applied was applied, whatever became of the answer.

The control channel: `GET /counters`, `GET /settings`, `PUT /settings` with the members to change.
"""

import argparse
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tests.rig.plain_http import Answer, Json, Request, Server, as_json, listening, run_part

KEY = "key-of-the-rig"
"""The credential that every stand-in takes, and no other."""

_MARKER = re.compile(r"\bk-([A-Za-z0-9_.-]+)")
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Settings:
    """How a stand-in behaves; changed while it runs by the control channel."""

    lag: float = 0.0
    """Seconds until a created record is seen by search and list. Reading it by its id is never late."""
    latency: float = 0.0
    """Seconds before an answer; a write has been applied and written down by then."""
    budget: int = 0
    """Calls in each window of `per` seconds; 0: without end. Beyond it: 429, counted in `over_budget`."""
    per: float = 3600.0
    status: int = 0
    """When set, everything is answered with this status and nothing is applied."""
    numbered: bool = False
    """Whether each answer to a get says the how manieth it is, in `notes` (GetRaze)."""
    told: bool = True
    """Whether the `X-RateLimit-` headers are sent (GetRaze)."""


class Refused(Exception):
    """An answer that is an error: status, code, message and what else its object holds."""

    def __init__(self, status: int, code: str, message: str, **members: Json) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.members = status, code, message, members


class Applied(Protocol):
    """Writes down a write that took effect."""

    def __call__(self, kind: str, native_id: str, name: str | None) -> None:
        """Returns when the line has been written."""


class Dialect(Protocol):
    """A provider's manner: what it answers to a request that passed the key and the budget."""

    provider: str

    def answer(self, request: Request, settings: Settings, now: float) -> tuple[int, Json, str]:
        """(status, body or None for an empty one, name of the route). Raises `Refused`."""

    def refusal(self, refused: Refused) -> Json:
        """The error as this provider words it."""

    @property
    def tells_budget(self) -> bool:
        """Whether it sends headers about its limit."""


def marker_of(name: str | None) -> str | None:
    """What identifies the attempt that a name stands for."""
    found = _MARKER.search(name or "")
    return found[1] if found else None


class Ledger:
    """The append-only file."""

    def __init__(self, path: Path, provider: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._provider = provider

    def __call__(self, kind: str, native_id: str, name: str | None) -> None:
        """One line, in one write."""
        line = {
            "kind": kind, "provider": self._provider, "id": native_id, "marker": marker_of(name), "at": time.monotonic(),
        }  # fmt: skip
        data = json.dumps(line).encode() + b"\n"
        if os.write(self._file, data) != len(data):
            raise OSError("the ledger took only a part of a line")


class StandIn:
    """The HTTP side: key, budget, counters; what lies behind is a dialect."""

    def __init__(self, dialect: Dialect, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.dialect = dialect
        self.settings = settings
        self.calls: Counter[str] = Counter()
        self.over_budget = 0
        self._clock = clock
        self._window = -1
        self._spent = 0

    def handle(self, request: Request) -> Answer:
        """The provider's answer."""
        settings = self.settings
        headers, over = self._charge(settings)
        try:
            if request.headers.get("x-api-key") != KEY:
                raise Refused(401, "INVALID_API_KEY", "API key is invalid or has been revoked")
            if over:
                self.over_budget += 1
                raise Refused(429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded.", retry_after=over)
            if settings.status:
                raise Refused(settings.status, "INTERNAL_ERROR", "As it was told to.")
            status, body, route = self.dialect.answer(request, settings, time.monotonic())
            self.calls[route] += 1
        except Refused as refused:
            status, body = refused.status, self.dialect.refusal(refused)
            self.calls[f"{status}"] += 1
        return Answer(status, b"" if body is None else _encode(body), headers, settings.latency)

    def control(self, request: Request) -> Answer:
        """The control channel's answer."""
        if request.path == "/counters":
            calls = dict(self.calls)
            return as_json({"calls": calls, "total": sum(calls.values()), "over_budget": self.over_budget})
        if request.method == "PUT":
            self.settings = replace(self.settings, **json.loads(request.body))
        return as_json(asdict(self.settings))

    def _charge(self, settings: Settings) -> tuple[Mapping[str, str], int]:
        """(headers, seconds to wait when the budget is spent, else 0)."""
        if not settings.budget:
            return {}, 0
        now = self._clock()
        window = int(now // settings.per)
        if window != self._window:
            self._window, self._spent = window, 0
        self._spent += 1
        reset = (window + 1) * settings.per
        over = max(1, math.ceil(reset - now)) if self._spent > settings.budget else 0
        if not (settings.told and self.dialect.tells_budget):
            return {}, over
        told = {"Limit": settings.budget, "Remaining": max(settings.budget - self._spent, 0), "Reset": math.ceil(reset)}
        return {f"X-RateLimit-{name}": str(value) for name, value in told.items()}, over


def main() -> None:
    """Serve one stand-in."""
    from tests.rig.stand_in_getraze import Documented, Served
    from tests.rig.stand_in_spott import Spott

    makers: dict[str, Callable[[Applied], Dialect]] = {
        "getraze": Documented, "getraze-served": Served, "spott": Spott,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--provider", choices=makers, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    given = parser.parse_args()
    stand_in = StandIn(makers[given.provider](Ledger(given.ledger, given.provider)), Settings(**given.settings))

    async def start() -> Mapping[str, int]:
        import asyncio

        loop = asyncio.get_running_loop()
        ports: dict[str, Any] = {}
        for name, handler in (("port", stand_in.handle), ("control", stand_in.control)):
            sock = listening()
            await loop.create_server(lambda handler=handler: Server(handler), sock=sock)  # type: ignore[misc]  # bound now
            ports[name] = sock.getsockname()[1]
        return ports

    run_part(start)


if __name__ == "__main__":
    # The module that the dialects import, and not this second copy of it: `Refused` must be one class.
    from tests.rig import stand_in

    stand_in.main()
