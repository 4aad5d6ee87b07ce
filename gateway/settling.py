"""Writes whose outcome is unknown, settled by looking: never by time, and never by sending them again.

A create is looked for where its adapter says (`looking`); the record that it made is one that no other write can have made:
no other claim stands for it, none like it is under way, and nothing like it was sent without a key.
Absence needs two looks later than `lookup_lag` after the holder's last word, over a list that goes back far enough.
Whatever is in between stays unknown.
An update is settled when the record has all that was sent just as it was sent, a delete when the record is gone.

When is the store's to say: each unknown claim has a turn, which is seldomer the older it is (`pause`): what stays
unknown costs the provider little and hides nobody. Each connection is looked at by itself: a slow one delays no other.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from gateway.about import CLOCKS, About
from gateway.ending import end
from gateway.errors import Problem
from gateway.idempotency import Kept
from gateway.logs import where
from gateway.looking import SKEW, contradicts, likeness_of_update, look_for
from gateway.loop_time import deadline_in
from gateway.metrics import SETTLED, STATE_ERRORS, UNKNOWN
from gateway.opportunities import Answer, Ask, Opportunities
from gateway.state import claims
from gateway.state.claims import Claim
from gateway.state.holders import is_dead
from gateway.state.store import RecordTaken, StateUnavailable, Store, Transition, UnsafeStore

log = logging.getLogger("gateway")

TICK = 1.0
"""Seconds between two rounds over the open claims."""
SHORTEST, LONGEST = 0.5, 4 * 3600.0
"""Seconds between two looks for the same write: as many as it has been unknown for."""
ASKED = 60.0
"""Seconds between two looks for the same write at most, where somebody asks for it."""
FRESH = 60.0
"""Seconds after the lag in which most writes are settled: later ones leave them their part of the provider's budget."""
AT_ONCE = 8
"""Looks under way at one connection, in this worker."""
PAGE = 1000
"""Claims of one connection and word that a round sees."""
Sight = Literal["absent", "unclear"]


@dataclass(slots=True)
class Settler:
    """Settles the unknown claims of one gateway's connections. `on` gives a connection's opportunities, None if unknown.

    `answered` shapes an opportunity as the answer that is kept, `gone` the answer to a delete.
    """

    store: Store
    lag: float
    keep: float
    on: Callable[[str], Opportunities | None]
    answered: Callable[[str, Answer], Kept]
    _task: asyncio.Task[None] | None = field(default=None)
    _looking: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """By connection, what looks for the writes that were due there."""

    def start(self) -> None:
        """Begin the rounds, in the running loop."""
        self._task = asyncio.create_task(self._rounds())

    async def aclose(self) -> None:
        """End the rounds; a look under way is given up, and made again by whoever comes next."""
        if self._task is not None:
            await end([self._task])
        await end(self._looking.values())

    async def _rounds(self) -> None:
        while True:
            with self._tried():
                await self.round()
            await asyncio.sleep(TICK if self.lag >= TICK else max(0.2, self.lag))

    @contextmanager
    def _tried(self) -> Iterator[None]:
        """What fails within is told, and done again when its turn comes."""
        try:
            yield
        except (StateUnavailable, UnsafeStore):
            STATE_ERRORS.of().add()  # told by readyz; writes are refused meanwhile
        except Exception as error:
            log.error("settling failed; it is tried again: %s", where(error))

    async def round(self) -> None:
        """Something done about every open claim whose turn it is, or begun: looks go on beside the rounds."""
        UNKNOWN.of().set(await self.store.unknown())
        found = await self.store.due(PAGE)
        changes: list[tuple[str, Transition[bool]]] = []
        lost: dict[str, list[Claim]] = {}
        for claim in found:
            if claim.word in ("claimed", "sending"):
                changes.append((claim.key, claims.expire_lease))
            elif not claim.finished and is_dead(claim.holder):
                changes.append((claim.key, partial(_bury, claim.holder)))
            elif self._can_look(claim):
                lost.setdefault(claim.connection, []).append(claim)
            elif claim.finished:
                changes.append((claim.key, self._put_off))
        for connection, waiting in lost.items():
            if connection not in self._looking:  # else those that it has not come to are still due when it ends
                task = self._looking[connection] = asyncio.create_task(self._look_for(waiting), name="look")
                task.add_done_callback(partial(self._looked, connection))
        for first in range(0, len(changes), AT_ONCE):
            await asyncio.gather(*(self.store.change(*change) for change in changes[first : first + AT_ONCE]))

    async def _look_for(self, due: list[Claim]) -> None:
        """A look for each of these, of one connection."""
        waiting = iter(due)

        async def one_after_the_other() -> None:
            for claim in waiting:
                with self._tried():
                    await self.look(claim, asked=False)

        await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))

    def _looked(self, connection: str, _: "asyncio.Task[None]") -> None:
        del self._looking[connection]

    def pause(self, held: Claim, now: float) -> float:
        """Seconds from a look at this time to the next one: as many as the write has been unknown for, and no more than to
        the end of the lag, where the first look comes that may count."""
        age = now - held.since
        pause = min(LONGEST, max(SHORTEST, age))
        return min(pause, self.lag - age + 0.01) if age <= self.lag else pause

    def _put_off(self, held: Claim | None, now: float) -> tuple[Claim | None, bool]:
        return claims.put_off(held, now, again=0.0 if held is None else self.pause(held, now))

    async def look(self, claim: Claim, *, asked: bool = True) -> None:
        """Look for what became of a write, if it is time to; whatever that says is written down. Never raises `Problem`.

        `asked`: somebody wants to know, so that its turn is not waited for, only what keeps questions apart.
        """
        opportunities = self.on(claim.connection)
        if opportunities is None or not self._can_look(claim):
            return

        def begin(held: Claim | None, now: float) -> tuple[Claim | None, tuple[float, float]]:
            if held is None or (held.turn > now and not asked):
                return held, (0.0, 0.0)
            age = now - held.since
            apart, again = SHORTEST, self.pause(held, now)
            if asked and held.turn > now:
                apart = min(ASKED, max(SHORTEST, age / 4))
            elif not held.finished:
                # It stays due, so that whoever can tell that its holder is dead sees it in each round of his.
                apart, again = self.pause(held, max(held.since, held.looked)), 0.0
            held, looked = claims.look(held, now, pause=apart, again=again)
            return held, (looked, age)

        about = About.unpacked(claim.about)
        looked, age = await self.store.change(claim.key, begin)
        if not looked or not await opportunities.connection.may_look_up(old=age > self.lag + FRESH and not asked):
            return
        try:
            sight = await self._sight(claim, about, opportunities)
        except Problem as problem:
            log.warning("claim %s: the look-up failed: %s", claim.key[:16], problem.code)
            return
        if sight == "unclear":
            return
        if sight == "absent":
            gone = await self.store.change(
                claim.key, lambda held, now: claims.missed(held, now, looked, lag=self.lag, keep=self.keep)
            )
            if gone:
                SETTLED.of("not_applied", "look-up").add()
                log.info("claim %s: settled by look-up, not applied", claim.key[:16])
        elif await self.settle_found(claim, sight, "look-up"):
            log.info("claim %s: settled by look-up, applied", claim.key[:16])

    async def settle_found(self, claim: Claim, kept: Kept, how: str) -> bool:
        """The claim is done with this answer. Raises `RecordTaken`."""
        opportunities = self.on(claim.connection)
        if opportunities is not None and claim.about:  # whoever sent it may have died before it could tell
            native_id = kept.record or About.unpacked(claim.about).native_id
            await opportunities.changed(native_id, deadline_in(opportunities.connection.timeout))
        settled = await self.store.change(
            claim.key,
            lambda held, now: claims.found(
                held, claim.fence, now, answer=kept.packed(), record=kept.record, keep=self.keep, how=how
            ),
        )  # fmt: skip
        if settled:
            SETTLED.of("applied", how).add()
        return settled

    async def answer_of(self, claim: Claim, native_id: str) -> Kept:
        """The answer to a write, made from the record as it is now. Raises `Problem`."""
        about = About.unpacked(claim.about)
        opportunities = self.on(claim.connection)
        if opportunities is None:
            raise Problem("not-found", "There is no such connection any more.")
        ask = self._ask(opportunities, about, urgent=True)  # a person waits for it
        stored = await opportunities.read(native_id, ask)
        return self.answered(claim.operation, opportunities.written(stored, about.plan, ask))

    # --- looking

    async def _sight(self, claim: Claim, about: About, opportunities: Opportunities) -> Kept | Sight:
        if about.operation == "create":
            return await self._sight_of_create(claim, about, opportunities)
        try:
            read = await opportunities.read(about.native_id, self._ask(opportunities, about))
        except Problem as problem:
            if problem.code != "not-found":
                raise
            if about.operation == "delete":
                return self.answered("delete", Answer({}))
            return "unclear"
        if about.operation == "delete":
            return "absent"
        likeness = likeness_of_update(about.plan, read.opportunity)
        if likeness != "same":
            return "absent" if likeness == "other" else "unclear"
        return self.answered(claim.operation, opportunities.written(read, about.plan, self._ask(opportunities, about)))

    async def _sight_of_create(self, claim: Claim, about: About, opportunities: Opportunities) -> Kept | Sight:
        sighting = await look_for(opportunities, about, self._ask(opportunities, about))
        if sighting is None:
            return "unclear"
        doubt = list(sighting.alike)
        # Who is making a record is asked after it was seen, and who has it after that: its maker is one of the two.
        twins = [other for other in await self.store.open_claims(claim.connection, claim.twin)
                 if other.key != claim.key] if sighting.same else []  # fmt: skip
        free = [record for record in sighting.same if not await self._is_taken(claim, record)]
        if free and (len(free) > 1 + len(twins) or await self._may_be_anothers(claim, about, twins, opportunities)):
            return "unclear"
        for record in free:
            ask = self._ask(opportunities, about)
            stored = await opportunities.read(record, ask)
            if contradicts(about, stored.opportunity, opportunities.adapter.no_proof):
                doubt.append(record)
                continue
            try:
                kept = self.answered(claim.operation, opportunities.written(stored, about.plan, ask))
                if await self.settle_found(claim, kept, "look-up"):
                    log.info("claim %s: settled by look-up, applied", claim.key[:16])
                return "unclear"  # it is settled, by us or by another
            except RecordTaken:
                continue
        if not sighting.far_enough:
            return "unclear"
        doubted = [record for record in doubt if record is None or not await self._is_taken(claim, record)]
        return "unclear" if doubted else "absent"

    async def _may_be_anothers(
        self, claim: Claim, about: About, twins: list[Claim], opportunities: Opportunities
    ) -> bool:
        """Whether a record that looks like the one may be of another write, with no claim that has it: not yet, or no more,
        or never."""
        if any(not twin.finished for twin in twins):
            return True
        try:
            marked, kept_since = await opportunities.connection.board.marked(claim.twin)
        except StateUnavailable:
            return True
        sent_at = time.time() - about.age()
        marked_by = min(about.sent_at, sent_at)  # whichever way the clock was set meanwhile
        if kept_since > sent_at or marked > marked_by + (SKEW if claim.keyless else -CLOCKS):
            return True  # what came without a key has a mark of its own, of the moment when it was sent
        keep = min(self.keep, claim.keep or self.keep)  # that was changed since, it may be
        return await self.store.now() > claim.began + keep - SKEW  # claims of that time may be forgotten

    async def _is_taken(self, claim: Claim, native_id: str) -> bool:
        holder = await self.store.holder_of(claim.connection, native_id)
        return holder is not None and holder != claim.key

    @staticmethod
    def _ask(opportunities: Opportunities, about: About, *, urgent: bool = False) -> Ask:
        deadline = deadline_in(opportunities.connection.timeout)
        return Ask(deadline, explain=about.explain, raw=about.raw, urgent=urgent)

    def _can_look(self, claim: Claim) -> bool:
        opportunities = self.on(claim.connection)
        needed = ("look_up", "list", "get") if claim.operation == "create" else ("get",)
        if opportunities is None or not claim.about:
            return False
        try:
            account = About.unpacked(claim.about).account
        except (ValueError, LookupError, TypeError):  # a later version wrote it: that one can look
            return False
        # What another account shows says nothing of this write: it waits until that one is back, or for an operator.
        if account not in ("", opportunities.connection.account):
            return False
        return all(callable(getattr(opportunities.adapter, name, None)) for name in needed)


def _bury(dead: str, held: Claim | None, now: float) -> tuple[Claim | None, bool]:
    return claims.bury(held, dead, now)
