"""What callers were told and what the provider applied, held against each other.

An `Attempt` is one request with an Idempotency-Key and what came of it; an `Applied` a create that a stand-in wrote down.
Both carry times of the machine's monotonic clock. `check` goes through the attempts of each key in the order of their
ends and knows the key as

    absent     nothing was told of it, or that nothing was applied
    claimed    told to be in flight, or an attempt ended without an answer
    unknown    told `outcome: unknown`
    settled    a 2xx was told

and reports what a right gateway never does, each kind by its name:

    duplicate         more than one applied create for a key
    lost              a 2xx was told, nothing was applied
    wrong_record      a 2xx names another record than the one that was applied
    denied            `not_applied` was told of a write that was applied, and no other attempt can have applied it
    different_answer  two 2xx of one key differ in a byte of their bodies
    unmarked_replay   a second 2xx without `Idempotent-Replayed`
    marked_first      a 2xx marked as a replay with no attempt before or beside it
    went_back         after a 2xx was told, a later attempt was told something else about the write
    early_absence     `not_applied` of an unknown write earlier than a look-up can have known
    stray             an applied create that no attempt asked for
    unsettled         neither a 2xx nor a final refusal in the end
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

Word = Literal["absent", "claimed", "unknown", "settled", "refused"]
KINDS = (
    "duplicate", "lost", "wrong_record", "denied", "different_answer", "unmarked_replay", "marked_first", "went_back",
    "early_absence", "stray", "unsettled",
)  # fmt: skip

ABOUT_THE_ATTEMPT = frozenset({
    "idempotency-in-flight", "idempotency-mismatch", "overloaded", "rate-limited", "state-store-unavailable",
    "provider-unavailable", "unauthenticated", "forbidden", "request-timeout",
})  # fmt: skip
"""Codes of which `not_applied` is said of this request only: an earlier one with its key may have been applied."""

FINAL = frozenset({400, 401, 403, 404, 405, 413, 414, 415, 422, 431})
"""Statuses that the same request meets again and again."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and what came of it."""

    key: str
    target: str
    due: float
    """When it was to be sent; a latency is measured from here."""
    start: float
    end: float
    status: int = 0
    """0: no whole answer came."""
    code: str = ""
    """Of the problem; without an answer `refused`, `reset`, `timeout` or `left` (the caller went)."""
    outcome: str = ""
    sent: str = ""
    """Digest of the request's body."""
    answer: str = ""
    """Digest of the answer's body."""
    id: str = ""
    """Of the opportunity, as the gateway told it."""
    replayed: bool = False
    retry_after: float = 0.0

    @property
    def told(self) -> Word | None:
        """What it tells of the key; None: nothing, it was about this request only."""
        if 200 <= self.status < 300:
            return "settled"
        if self.outcome == "unknown":
            return "unknown"
        if not self.status or self.code == "idempotency-in-flight":
            return "claimed"
        if self.code in ABOUT_THE_ATTEMPT:
            return None
        if self.status in FINAL:
            return "refused"
        return "absent" if self.outcome == "not_applied" else None

    @property
    def denies(self) -> bool:
        """Whether it says of the key that nothing was applied."""
        return self.told == "absent" or (self.told == "refused" and self.outcome == "not_applied")


@dataclass(frozen=True, slots=True)
class Applied:
    """A create that took effect. `marker` is its key."""

    id: str
    marker: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not happen."""

    kind: str
    key: str
    text: str


@dataclass
class Findings:
    """What the checker found."""

    attempts: int = 0
    keys: int = 0
    applied: int = 0
    words: Counter[Word] = field(default_factory=Counter)
    """How many keys ended as what."""
    settle: list[float] = field(default_factory=list)
    """Seconds from when a key was first due to its first 2xx, in order of size."""
    violations: list[Violation] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """Violations of a kind."""
        return sum(one.kind == kind for one in self.violations)

    def figures(self) -> dict[str, float]:
        """As numbers: what was seen, then every kind of violation."""
        most = self.settle[-1] if self.settle else 0.0
        half = self.settle[len(self.settle) // 2] if self.settle else 0.0
        told = {"settle_median": round(half, 3), "settle_max": round(most, 3)}
        seen = {"attempts": self.attempts, "keys": self.keys, "applied": self.applied, "settled": self.words["settled"]}
        return {**seen, **told, **{kind: self.count(kind) for kind in KINDS}}


def read_attempts(path: Path) -> list[Attempt]:
    """A history as the load generator writes it; a last line cut by a kill is left out."""
    decode = msgspec.json.Decoder(Attempt).decode
    return [decode(line) for line in path.read_bytes().split(b"\n")[:-1]]


def read_applied(*ledgers: Path) -> list[Applied]:
    """The creates in ledgers of stand-ins."""
    lines = [json.loads(line) for path in ledgers if path.exists() for line in path.read_bytes().splitlines()]
    return [Applied(line["id"], line["marker"], line["at"]) for line in lines if line["kind"] == "create"]


def check(attempts: Iterable[Attempt], applied: Iterable[Applied], *, lag: float | None = None) -> Findings:
    """Everything that is wrong. `lag`: the look-up lag of the gateway, so that an early absence is seen."""
    by_key: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_key[attempt.key].append(attempt)
    made: dict[str, list[Applied]] = defaultdict(list)
    found = Findings(keys=len(by_key))
    for one in applied:
        found.applied += 1
        if one.marker in by_key:
            made[one.marker].append(one)
        else:
            found.violations.append(Violation("stray", one.marker or "", f"{one.id} was asked for by nobody"))
    for key, tried in by_key.items():
        found.attempts += len(tried)
        tried.sort(key=lambda attempt: attempt.end)
        for kind, text in _judged(tried, made[key], lag):
            found.violations.append(Violation(kind, key, text))
        found.words[_last_word(tried)] += 1
        settled = [attempt.end for attempt in tried if attempt.told == "settled"]
        if settled:
            found.settle.append(settled[0] - min(attempt.due for attempt in tried))
    found.settle.sort()
    return found


def _last_word(tried: list[Attempt]) -> Word:
    word: Word = "absent"
    for attempt in tried:
        told = attempt.told
        if told is not None and word != "settled":
            word = told
    return word


def _judged(tried: list[Attempt], made: list[Applied], lag: float | None) -> Iterable[tuple[str, str]]:
    told = [attempt for attempt in tried if attempt.told == "settled"]
    if len(made) > 1:
        yield "duplicate", f"{len(made)} creates: {', '.join(one.id for one in made)}"
    if told and not made:
        yield "lost", f"{told[0].id} was told, nothing was applied"
    for attempt in told:
        if made and attempt.id.partition(":")[2] not in {one.id for one in made}:
            yield "wrong_record", f"{attempt.id} was told, {made[0].id} was applied"
    yield from _denials(tried, made)
    yield from _answers(tried, told)
    if lag is not None:
        yield from _early(tried, lag)
    if _last_word(tried) not in ("settled", "refused"):
        yield "unsettled", f"in the end {_last_word(tried)}, after {len(tried)} attempts: {tried[-1].code}"


def _denials(tried: list[Attempt], made: list[Applied]) -> Iterable[tuple[str, str]]:
    """A denial is true at some moment of its attempt: what was applied came after that, by another attempt."""
    for denial in (attempt for attempt in tried if attempt.denies):
        for one in made:
            others = (
                attempt
                for attempt in tried
                if attempt is not denial
                and not attempt.denies
                and attempt.start <= one.at
                and (attempt.end >= one.at or not attempt.status)  # one that was not answered may still run
            )
            if one.at < denial.start or not any(others):
                when = f"{one.at - denial.end:+.3f} s of the answer"
                yield "denied", f"{denial.status} {denial.code} said not_applied; {one.id} was applied at {when}"
                break


def _answers(tried: list[Attempt], told: list[Attempt]) -> Iterable[tuple[str, str]]:
    if len({attempt.answer for attempt in told}) > 1:
        yield "different_answer", f"{len({attempt.answer for attempt in told})} bodies in {len(told)} answers"
    if sum(not attempt.replayed for attempt in told) > 1:
        yield "unmarked_replay", f"{sum(not attempt.replayed for attempt in told)} answers were told as the first"
    for attempt in told:
        if attempt.replayed and not any(one is not attempt and one.start <= attempt.end for one in tried):
            yield "marked_first", "the first answer there can be says that it is a replay"
    if not told:
        return
    first = told[0]
    for attempt in tried:
        if attempt.start > first.end and attempt.told in ("absent", "unknown", "refused"):
            yield "went_back", f"after a {first.status}: {attempt.status} {attempt.code} {attempt.outcome}"


def _early(tried: list[Attempt], lag: float) -> Iterable[tuple[str, str]]:
    """The first look-up that counts is later than `lag` after the write was sent, and it was sent after `start`."""
    open_since: float | None = None
    for attempt in tried:
        if attempt.told == "unknown" and open_since is None:
            open_since = min(one.start for one in tried if one.end >= attempt.start)
        elif attempt.denies and open_since is not None:
            if attempt.end < open_since + lag:
                yield "early_absence", f"absent {attempt.end - open_since:.3f} s after the first attempt"
            open_since = None
        elif attempt.told == "settled":
            open_since = None


def told_of(findings: Findings, most: int = 5) -> str:
    """The first few violations, for people."""
    lines = [f"{one.kind} {one.key}: {one.text}" for one in findings.violations[:most]]
    return "\n".join([f"{len(findings.violations)} violations", *lines])


def summed(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Figures of several runs as one: counts added, times the largest."""
    total: dict[str, float] = {}
    for one in figures:
        for name, value in one.items():
            total[name] = max(total.get(name, 0), value) if name.startswith("settle_") else total.get(name, 0) + value
    return total
