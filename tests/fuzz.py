"""schemathesis against the gateway as it runs: every operation of its own description, with all of the tool's checks.

    python -m tests.fuzz --seed 1 --seed 2 --seed 3 --examples 100

What is found is printed with the request that shows it; the exit status is 1 then.
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from gateway.callers import SCOPES, hash_key
from tests.live import running_gateway

KEY = "caller-key-of-the-fuzzer"
CONFIG = f"""\
circuit: off
default_connection: raze
connections:
  raze: {{provider: getraze, base_url: sandbox, budget: off}}
  spott: {{provider: spott, base_url: sandbox, budget: off}}
callers:
  - {{name: fuzzer, key_sha256: {hash_key(KEY)}, scopes: {list(SCOPES)}}}
"""


@dataclass
class Found:
    """What a run did and what it found."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    excused: Counter[str] = field(default_factory=Counter)

    def counts(self, path: str, failure: Any, response: Any) -> bool:
        """Whether this failure counts."""
        if type(failure).__name__ not in ("RejectedPositiveData", "ServerError"):
            return True
        problem = json.loads(response.content)
        sent = {name.lower() for name in response.request.headers}
        if not excused(path, problem, sent):
            return True
        self.excused[problem["code"]] += 1
        return False


BEYOND_A_SCHEMA = {
    "invalid-request": (
        r"[a-z_]+: not together with `ids`",
        r"x-crm-connection: it names another connection than the id",
        r"cursor: use `page\.next_cursor` of the page before.*",  # one that this gateway has not given
    ),
    "invalid-opportunity": (
        r"stage\.name: .* (stages are|is) called so; .*",
        r"status: the stage means (open|won|lost|closed)",
        r"expected_close: `on` is not the day in UTC of `at`",
        r"amount\.value: .*more than .* digits.*",
    ),
}
"""Why a request that fits the description may be refused all the same, as `<field>: <message>`."""
THIS_PROVIDER = ("not-native", "not-writable", "provider-rejected", "operation-not-supported", "idempotency-mismatch")
"""What the description cannot know: what a provider can do and takes, and what a key was used for before."""


def excused(path: str, problem: Mapping[str, Any], sent: set[str]) -> bool:
    """Whether a request that fits the description may be refused so. `sent`: the names of its headers, in lower case."""
    code, errors = problem["code"], problem.get("errors", ())
    if code in THIS_PROVIDER:
        return True
    if code == "provider-timeout":  # too short a time was asked for
        return "x-request-timeout" in sent
    if code == "invalid-opportunity" and path == "/v1/translate":  # its body is of the dialect that `from` names
        return bool(problem["detail"] == "The body is not a canonical opportunity.")
    reasons = BEYOND_A_SCHEMA.get(code, ())
    lines = [f"{error['field']}: {error['message']}" for error in errors]
    return bool(lines) and all(any(re.fullmatch(reason, line, re.DOTALL) for reason in reasons) for line in lines)


def fuzz(url: str, seed: int, examples: int, phases: Sequence[str] = (), operation: str = "") -> Found:
    """Ask every operation of the gateway at `url` with up to `examples` generated requests a phase."""
    wanted = phases or ("examples", "coverage", "fuzzing", "stateful")
    settings: dict[str, Any] = {
        "seed": seed,
        "generation": {"max-examples": examples, "deterministic": False, "database": "none", "no-shrink": True},
        "continue-on-failure": True,
        "request-timeout": 20.0,
        "headers": {},
        "auth": {"openapi": {"bearer": {"bearer": KEY}}},
        "checks": {"positive_data_acceptance": {}},
        "phases": {name: {"enabled": name in wanted} for name in ("examples", "coverage", "fuzzing", "stateful")},
    }
    config = SchemathesisConfig.from_dict(settings)
    schema: Any = schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)
    found = Found()

    @schema.hook  # type: ignore[untyped-decorator]  # it is what the tool makes it
    def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
        return found.counts(case.operation.path, failure, response)

    if operation:
        schema = schema.include(operation_id=operation)
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _record(found, event)
        elif isinstance(event, (events.NonFatalError, events.FatalError)):
            found.failures.append(f"error: {event!r}"[:3000])
        elif isinstance(event, events.EngineFinished):
            found.failures += [f"run: {failure}" for failure in event.failures or ()]
    return found


def _record(found: Found, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for interaction in recorder.interactions.values():
        found.requests += 1
        if interaction.response is not None:
            found.statuses[interaction.response.status_code] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            found.checks[check.name] += 1
            if check.failure_info is not None:
                failure = check.failure_info.failure
                text = f"{recorder.label} [{event.phase.value}] {check.name}: {failure.title}: {failure.message}"
                said = recorder.interactions[case_id].response if case_id in recorder.interactions else None
                answer = "" if said is None else f"{said.status_code} {said.content[:400]!r}"
                found.failures.append(f"{text[:1200]}\n  {answer}\n  {check.failure_info.code_sample[:1500]}")


def main() -> int:
    """The command line."""
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    words.add_argument("--seed", type=int, action="append")
    words.add_argument("--examples", type=int, default=50)
    words.add_argument("--phase", action="append", default=[])
    words.add_argument("--operation", default="")
    given = words.parse_args()
    failed = False
    for seed in given.seed or [1]:
        with tempfile.TemporaryDirectory() as folder, running_gateway(CONFIG, Path(folder)) as url:
            found = fuzz(url, seed, given.examples, given.phase, given.operation)
        for text in dict.fromkeys(found.failures):
            sys.stdout.write(f"{text}\n")
        sys.stdout.write(
            f"seed {seed}: {found.requests} requests, {found.checks.total()} checks of {len(found.checks)} kinds, "
            f"{len(found.failures)} failures; {dict(found.statuses)}, excused: {dict(found.excused)}\n"
        )
        failed = failed or bool(found.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
