"""A write under an Idempotency-Key: claimed durably before a byte goes out, run once, answered alike to whoever repeats it.

    Idempotency.run      the whole course of one keyed write: claim, run, keep the answer; or the answer kept before
    Idempotency.noted    a write without a key: if its outcome is unknown it is kept too, to be listed and settled
    Guard                asked before each byte that may go out: may I still send?

What runs is a task of its own, so that a caller who leaves does not end it. What could not be written down at the end
(the store being away) is tried again for as long as the process lives, by `reporting`; a process that ends before leaves a
claim that says `sending`, which is unknown to whoever finds it, and never run again blindly.
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from math import inf
from typing import Any, TypeVar

import msgspec

from gateway.about import About, twin_of
from gateway.adapter import Call
from gateway.errors import Problem
from gateway.ledger import Plan
from gateway.loop_time import loop_time
from gateway.metrics import KEYED, STATE_ERRORS
from gateway.opportunities import Answer
from gateway.reporting import Report, Reports, changed
from gateway.state import claims
from gateway.state.claims import Claim
from gateway.state.holders import here
from gateway.state.store import Place, StateUnavailable, Store, Transition, UnsafeStore
from gateway.strict_json import Json, dumps

T = TypeVar("T")
log = logging.getLogger("gateway")

BELIEVED_SECONDS = 0.5
"""How long the store is believed to be there after it said so."""
PATIENCE_SECONDS = 3.0
"""How long an answer is held back until it is written down. After that the truth is told, and written down later."""
TRY_SECONDS = 0.1
"""How long to wait between tries meanwhile."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept and given again: the same bytes."""

    status: int
    content: bytes
    headers: tuple[tuple[str, str], ...] = ()
    record: str = ""

    def packed(self) -> bytes:
        """As a claim holds it."""
        return msgspec.msgpack.encode((self.status, self.content, self.headers, self.record))


def unpacked(answer: bytes) -> Kept:
    """The answer that a claim holds."""
    return Kept(*msgspec.msgpack.decode(answer, type=tuple[int, bytes, tuple[tuple[str, str], ...], str]))


def kept(operation: str, answer: Answer) -> Kept:
    """An answer to a write, as bytes that are the same each time it is given."""
    if operation == "delete":
        return Kept(204, b"")
    headers: Mapping[str, str] = {}
    if operation == "create":
        headers = {"location": f"/v1/opportunities/{answer.data['id']}"}
    content = dumps({"data": answer.data, "meta": answer.meta})
    record = answer.data["native_id"] if operation == "create" else ""
    return Kept(201 if operation == "create" else 200, content, tuple(headers.items()), record)


@dataclass(frozen=True, slots=True)
class Write:
    """One write as the caller asked for it. `body` is the input as it was understood; `key` None: it came without."""

    caller: str
    connection: str
    operation: str
    method: str
    route: str
    body: Json = field(repr=False)
    key: str | None = field(repr=False)
    lease: float
    native_id: str = ""
    deadline: float = inf
    """Until when whoever asks waits for a look at the provider, by the loop's clock."""

    @property
    def repeats(self) -> bool:
        """Whether it sets absolute values, so that doing it twice is doing it once."""
        return self.operation == "update"


@dataclass(slots=True)
class Guard:
    """Stands before the wire for one write: what is sent is known to the store first, or is not sent."""

    fence: int = 0
    key: str = ""
    explain: bool = False
    raw: bool = False
    operation: str = ""
    native_id: str = ""
    connection: str = ""
    about: About | None = None
    sent: bool = False
    again: bool = False
    """Whether it is sent once more, after a time of which nobody knows what became: so a refusal settles nothing."""
    check: "Callable[[Guard], Awaitable[None]] | None" = None

    def planned(self, plan: Plan, account: str) -> None:
        """What is going to be sent, and to which account."""
        self.about = About.now(self.operation, self.native_id, plan, self.explain, self.raw, account)

    @property
    def claimed(self) -> bool:
        """Whether a claim stands for the write."""
        return self.check is not None

    @property
    def twin(self) -> str:
        """`twin_of` a create; empty for other writes."""
        return (
            twin_of(self.connection, self.about.plan) if self.about is not None and self.operation == "create" else ""
        )

    async def before(self, call: Call) -> None:
        """Raises `Problem` unless this write may go out now. Asked before each try of each call that changes something."""
        if self.check is not None:
            await self.check(self)
        self.sent = True


@dataclass(slots=True)
class Course:
    """How a keyed write ended: the answer, whether it is one kept before, and until when it is kept (Unix time)."""

    kept: Kept
    replayed: bool
    expires: float

    def headers(self) -> dict[str, str]:
        """What the caller is told of it."""
        told = {"idempotency-expires": formatdate(self.expires, usegmt=True)}
        return {**told, "idempotent-replayed": "true"} if self.replayed else told


@dataclass(slots=True)
class Idempotency:
    """Keyed writes over a store. `keep` and `lag` are seconds; `look` settles one unknown claim now, if it can."""

    store: Store
    reports: Reports
    keep: float
    lag: float
    holder: str = field(default_factory=here)
    look: "Callable[[Claim], Coroutine[Any, Any, None]] | None" = None
    _believed: float = 0.0
    _running: set[asyncio.Task[Any]] = field(default_factory=set)

    async def run(self, write: Write, guard: Guard, work: Callable[[], Awaitable[Kept]]) -> Course:
        """The answer to this write: of `work`, run once with `guard` before the wire, or as kept from before.

        Raises `Problem`: what `work` raised, or `idempotency-in-flight`, `idempotency-mismatch`, `provider-timeout` (the
        outcome is unknown, or turned out to be nothing), `state-store-unavailable` (then nothing was sent).
        """
        if write.key is None:
            raise ValueError("a write without a key is not run here")
        asked = self._asked(write, _digest(write.caller, write.connection, write.key))
        claim, verdict, now = await self._take(asked, write)
        if verdict == "unknown" and self.look is not None:
            claim, verdict, now = await self._looked(self.look(claim), asked, write)
        KEYED.of(write.connection, "replay" if verdict == "done" else verdict).add()
        if verdict == "done":
            return Course(unpacked(claim.answer), True, time.time() + claim.expires - now)
        if verdict != "mine":
            raise self._told(verdict, claim, write)
        guard.fence, guard.key, guard.check = asked.fence, asked.key, self._check(write)
        guard.again = claim.settled == "repeat"
        return await asyncio.shield(self._begun(self._course(write, guard, work)))

    async def outcomes(self, limit: int, after: Place | None) -> list[Claim]:
        """Writes whose outcome is or was unknown, as `Store.outcomes` has them. Raises `Problem`."""
        try:
            return await self.store.outcomes(limit, after)
        except (StateUnavailable, UnsafeStore) as error:
            raise self._away(error, None) from None

    async def ready(self, connection: str | None) -> None:
        """Raises `Problem` when the store is away: then nothing is written, with a key or without.

        A write without a key has no claim, so that it is enough to have asked a moment ago.
        """
        if time.monotonic() < self._believed:
            return
        try:
            await self.store.check()
            self._believed = time.monotonic() + BELIEVED_SECONDS
        except (StateUnavailable, UnsafeStore) as error:
            raise self._away(error, connection) from None

    async def noted(self, write: Write, guard: Guard, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` makes of a write without a key. If nobody knows what became of it, that is kept.

        Raises `Problem`: what `work` raised, or `state-store-unavailable` (then nothing was sent).
        """
        await self.ready(write.connection)
        try:
            return await work()
        except BaseException as error:
            unknown = error.outcome == "unknown" if isinstance(error, Problem) else guard.sent
            if unknown:
                await asyncio.shield(self._begun(self._note(write, guard)))
            raise

    async def _note(self, write: Write, guard: Guard) -> None:
        if guard.about is None:
            return
        asked = self._asked(write, _digest("", write.connection, secrets.token_hex(16)), keyless=True)
        about, twin = guard.about.packed(), guard.twin

        def lost(held: Claim | None, now: float) -> tuple[Claim | None, None]:
            claim, _ = claims.take(held, asked, now, lease=0.0)
            claim, _ = claims.send(claim, asked.fence, now, lease=0.0, about=about, twin=twin)
            claim, _ = claims.lose(claim, asked.fence, now)
            return claim, None

        what = f"a {write.operation} at {write.connection} without a key"
        await self._write_down(
            asked.key, lost, lost=f"{what}: its outcome is unknown, and that was written down nowhere"
        )

    async def aclose(self) -> None:
        """Wait for the writes that are under way. What waits for the store is left to `reports`."""
        await asyncio.gather(*self._running, return_exceptions=True)

    # --- claiming

    def _asked(self, write: Write, key: str, *, keyless: bool = False) -> Claim:
        fingerprint = _digest(write.method, write.route, _canonical(write.body))
        return Claim(
            key=key, fence=secrets.randbits(62), word="claimed", fingerprint=fingerprint, connection=write.connection,
            caller=write.caller, operation=write.operation, holder=self.holder, began=0.0, since=0.0, lease=0.0,
            keyless=keyless, keep=self.keep,
        )  # fmt: skip

    async def _take(self, asked: Claim, write: Write) -> tuple[Claim, claims.Verdict, float]:
        def take(held: Claim | None, now: float) -> tuple[Claim | None, tuple[Claim, claims.Verdict, float]]:
            claim, verdict = claims.take(held, asked, now, lease=write.lease, may_repeat=write.repeats)
            return claim, (claim or asked, verdict, now)

        return await self._changed(asked.key, take, write.connection)

    async def _looked(
        self, look: Coroutine[Any, Any, None], asked: Claim, write: Write
    ) -> tuple[Claim, claims.Verdict, float]:
        """The same as `_take`, after a look for what became of the write: it goes on without whoever has no more time."""
        task = self._begun(look)
        try:
            await asyncio.wait({task}, timeout=max(0.0, write.deadline - loop_time()))
            if task.done():
                task.result()
            return await self._take(asked, write)
        except (StateUnavailable, UnsafeStore) as error:
            problem = self._away(error, write.connection)
        except Problem as away:
            problem = away
        problem.outcome = "unknown"  # nothing was sent now, which says nothing of the time before
        raise problem

    def _told(self, verdict: claims.Verdict, claim: Claim, write: Write) -> Problem:
        if verdict == "in-flight":
            return Problem("idempotency-in-flight", "A request with this Idempotency-Key is still running.",
                           retry_after=1, connection=write.connection, outcome="unknown")  # fmt: skip
        if verdict == "mismatch":
            return Problem("idempotency-mismatch", "This Idempotency-Key belongs to another request.",
                           connection=write.connection, outcome="not_applied")  # fmt: skip
        if verdict == "absent":
            return Problem(
                "provider-timeout", "The write was found not to have been applied; the Idempotency-Key is free again.",
                connection=write.connection, outcome="not_applied", retry_after=1,
            )  # fmt: skip
        return Problem(
            "provider-timeout", "What became of the write is not known yet. It is not sent a second time.",
            connection=write.connection, outcome="unknown", retry_after=max(1, round(self.lag)), retryable=True,
        )  # fmt: skip

    def _check(self, write: Write) -> Callable[[Guard], Awaitable[None]]:
        async def check(guard: Guard) -> None:
            assert guard.about is not None
            about, twin = guard.about.packed(), guard.twin
            may = await self._changed(
                guard.key,
                lambda held, now: claims.send(held, guard.fence, now, lease=write.lease, about=about, twin=twin),
                write.connection,
            )
            if not may:
                raise Problem("idempotency-in-flight", "Another request with this Idempotency-Key has taken over.",
                              retry_after=1, connection=write.connection, outcome="unknown")  # fmt: skip

        return check

    async def _changed(self, key: str, transition: Transition[T], connection: str) -> T:
        try:
            return await self.store.change(key, transition)
        except (StateUnavailable, UnsafeStore) as error:
            raise self._away(error, connection) from None

    def _away(self, error: Exception, connection: str | None) -> Problem:
        STATE_ERRORS.of().add()
        log.warning("state store: %s", error)
        return Problem(
            "state-store-unavailable", "What must be remembered before a write could not be written down.",
            retry_after=1, connection=connection,
        )  # fmt: skip

    # --- the course

    async def _course(self, write: Write, guard: Guard, work: Callable[[], Awaitable[Kept]]) -> Course:
        try:
            kept = await work()
        except Problem as problem:
            # `applied`: an update that took but could not be read back; a repeat sets the same values once more.
            if guard.again and problem.outcome != "applied":
                problem.outcome = "unknown"
            if (guard.sent or guard.again) and problem.outcome in ("unknown", "applied"):
                # Under its key it may be sent again: it is answered, not made twice.
                problem.retry_after, problem.retryable = problem.retry_after or max(1, round(self.lag)), True
                await self._write_down(guard.key, lambda held, now: claims.lose(held, guard.fence, now))
            else:
                await self._write_down(guard.key, lambda held, now: claims.release(held, guard.fence))
            raise
        except BaseException:
            if guard.sent or guard.again:
                await self._write_down(guard.key, lambda held, now: claims.lose(held, guard.fence, now))
            else:
                await self._write_down(guard.key, lambda held, now: claims.release(held, guard.fence))
            raise
        answer = kept.packed()

        def answered(held: Claim | None, now: float, record: str = kept.record) -> tuple[Claim | None, Claim | None]:
            return claims.answer(held, guard.fence, now, answer=answer, record=record, keep=self.keep)

        done = await self._write_down(
            guard.key,
            answered,
            # What the provider answered to this very call is its answer, whoever else has the record.
            taken=partial(answered, record=""),
            patience=PATIENCE_SECONDS,  # who has been told an answer must not be told later that nobody knows
        )
        expires = time.time() + self.keep
        if done is not None and done.answer != answer:  # settled meanwhile: everybody gets the one answer
            return Course(unpacked(done.answer), True, expires)
        return Course(kept, False, expires)

    async def _write_down(
        self, key: str, transition: Transition[T], *, taken: Transition[T] | None = None, patience: float = 0.0,
        lost: str = "",
    ) -> T | None:  # fmt: skip
        """What the transition results in; None when the store cannot be asked now, and then it is told later.

        It is asked again for `patience` seconds. A transition that was made although the store did not say so is made
        again without harm: each changes only what it finds as it was. `taken` is made instead where another claim has the
        record.
        """
        until = time.monotonic() + patience
        while True:
            try:
                return await changed(self.store, key, transition, taken)
            except (StateUnavailable, UnsafeStore) as error:
                STATE_ERRORS.of().add()
                if time.monotonic() + TRY_SECONDS < until:
                    await asyncio.sleep(TRY_SECONDS)
                    continue
                log.warning("state store: %s; will be written down when it is back", error)
                left = f"claim {key[:16]}: how its write ended was not written down: it is unknown, and looked for"
                self.reports.later(Report(key, transition, lost or left, taken))
                return None

    def _begun(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task that whoever began it may leave: it is waited for at the end."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left: then nobody else asks


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:40]


def _canonical(value: Json) -> bytes:
    """The same bytes for equal input, however it was written."""
    return dumps(_sorted(value))


def _sorted(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(inner) for inner in value]
    return value
