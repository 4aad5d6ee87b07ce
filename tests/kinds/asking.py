"""Asking a gateway whose providers play kinds of garbage, and what must be true of each answer."""

import itertools
import time
from dataclasses import dataclass

from adapters.getraze.sandbox_served_seeds import PIPELINE_ID, STAGES
from gateway.errors import CODES
from gateway.strict_json import dumps
from tests.kinds import SERVED, Kind
from tests.kinds.all import KINDS
from tests.kinds.provider import METHODS, SPEAKERS, Provider
from tests.live import JSON, Answer, ask, assert_problem

DEADLINE = 1.5
BOUND = 5.0
"""Seconds beyond the deadline that a crowded machine gets; the long runs measure the real figure."""
KEY = "key-of-the-provider-1b9c"


def config_of(provider: Provider, lanes: int, slots: int = 1) -> str:
    """A gateway with `lanes` connections for each way of speaking."""
    lines = [
        "state: off", "circuit: off", "cache: {ttl: 0s}", f"limits: {{concurrency: {slots}, reply: 1MiB}}",
        "default_connection: documented0", "connections:",
    ]  # fmt: skip
    settings = {
        "documented": "{dialect: documented}", "spott": "{}",
        "served": f"{{dialect: served, pipeline_id: '{PIPELINE_ID}', stage_id: '{STAGES['new']}'}}",
    }  # fmt: skip
    for speaker, lane in itertools.product(SPEAKERS, range(lanes)):
        lines.append(
            f"  {speaker}{lane}: {{provider: {'spott' if speaker == 'spott' else 'getraze'}, timeout: {DEADLINE}s, "
            f"base_url: '{provider.url(speaker)}', api_key: {KEY}, budget: off, settings: {settings[speaker]}}}"
        )
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Cell:
    """One request: what it is answered with by the provider, how it is asked, and whose provider it is."""

    kind: Kind
    method: str
    speaker: str


# Spott has no create: its cells are reads and updates.
CELLS = [
    Cell(kind, method, speaker)
    for kind in KINDS
    for method in METHODS
    for speaker in SPEAKERS
    if not (speaker == "spott" and method == "POST")
]


class Caller:
    """Asks on one lane, and tells what was not as it must be."""

    def __init__(self, url: str, provider: Provider) -> None:
        self.url, self.provider = url, provider
        self._serials = itertools.count(1)
        self.slowest = 0.0
        """Seconds that a request took at most beyond its deadline."""

    def request(self, kind: Kind | None, method: str, connection: str) -> tuple[str, Answer, float]:
        id_ = self.provider.id_of(kind, method, next(self._serials))
        headers = {**JSON, "X-CRM-Connection": connection}
        began = time.monotonic()
        if method == "GET":
            got = ask(f"{self.url}/v1/opportunities/{connection}:{id_}")
        elif method == "POST":
            got = ask(f"{self.url}/v1/opportunities", "POST", headers, dumps({"name": f"Deal {id_}"}))
        else:
            got = ask(
                f"{self.url}/v1/opportunities/{connection}:{id_}", "PATCH", headers, dumps({"name": f"Deal {id_}"})
            )
        return id_, got, time.monotonic() - began

    def check(self, cell: Cell, connection: str) -> list[str]:
        """The bad request and a good one after it; what is wrong with either."""
        wrong = []
        kind = cell.kind
        _, got, seconds = self.request(kind, cell.method, connection)
        wanted = kind.comes_to(cell.method, cell.speaker)
        try:
            if wanted == SERVED:
                assert got.status == (201 if cell.method == "POST" else 200), (got.status, got.body[:300])
            else:
                problem = assert_problem(got, CODES[wanted].status, wanted)
                assert problem.get("outcome") == (None if cell.method == "GET" else kind.outcome), problem
                assert problem["connection"] == connection
                assert cell.method == "GET" or kind.outcome != "unknown" or problem["retryable"] is False
            assert KEY.encode() not in got.body and b"127.0.0.1" not in got.body
            assert seconds < DEADLINE + BOUND, f"{seconds:.1f} s"
        except AssertionError as error:
            wrong.append(f"{cell.method} {cell.speaker}, {kind.name}: {str(error).partition(chr(10))[0]}")
        self.slowest = max(self.slowest, seconds - DEADLINE)
        time.sleep(kind.wait)
        good_id, good, _ = self.request(None, "GET", connection)
        if good.status != 200 or good.data["native_id"] != good_id or good.data["name"] != f"Deal {good_id}":
            wrong.append(f"after {cell.method} {cell.speaker}, {kind.name}: {good.status} {good.body[:300]!r}")
        return wrong
