"""Get, create, update and delete over any adapter: what is the same for all providers is written here, once.

A write is planned on the field table, sent in as many calls as the adapter needs, read again, and compared: the caller is
told what took and what did not, leaf by leaf, and whether a failed write may have been applied.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from typing import Protocol

import msgspec

from gateway.about import APART, CLOCKS, twin_of
from gateway.adapter import Adapter, Call, CannotSend, Reply, Stage
from gateway.cache import list_version, record_version
from gateway.connections import Connection
from gateway.errors import CallFailed, FieldError, Outcome, Problem
from gateway.explaining import explain
from gateway.failures import bad_answer, problem_of_denial, problem_of_failure, problem_of_reply
from gateway.ids import is_native
from gateway.layers.trip import Before
from gateway.ledger import NotApplied, Plan, leaves_of, settle
from gateway.loop_time import loop_time
from gateway.reading import Issue, Reading
from gateway.stage_names import StageNames
from gateway.stages import needs_stages, settles, with_stage_ids
from gateway.state.store import StateUnavailable
from gateway.strict_json import Json
from gateway.waiting import Waiting
from gateway.writing import plan

log = logging.getLogger("gateway")

BUMP_TRIES = 10
BUMP_PAUSE = 0.05
"""Seconds between two tries to tell other workers of a write."""


class Guard(Protocol):
    """Whoever has to know of a write before it goes out."""

    @property
    def claimed(self) -> bool:
        """Whether a claim stands for it."""

    def planned(self, plan: Plan, account: str) -> None:
        """What is going to be sent, and to which account (`Connection.account`)."""

    async def before(self, call: Call) -> None:
        """Raises `Problem` unless this call may go out now. Asked before each try of a call that changes something."""


class Ask(msgspec.Struct):
    """What one request wants besides the record, and what it has cost so far.

    `deadline` is a time of the running loop's clock. `waiting` is the time spent on providers, of a whole request if its
    asks share one.
    """

    deadline: float
    strict: bool = False
    explain: bool = False
    raw: bool = False
    caller: str = ""
    urgent: bool = True
    """One record read, or a write: what a nearly spent budget is kept for."""
    request_id: str | None = None
    guard: "Guard | None" = None
    waiting: Waiting = msgspec.field(default_factory=Waiting)
    calls: int = 0
    wrote: bool = False
    """Whether something may have changed at the provider."""


class Answer(msgspec.Struct):
    """An opportunity and what is told beside it."""

    data: dict[str, Json]
    meta: dict[str, Json] = msgspec.field(default_factory=dict)


class Read(msgspec.Struct):
    """A record as read: its canonical form, and how it was come by."""

    opportunity: dict[str, Json]
    reading: Reading
    record: dict[str, Json]
    whole: bool

    def issues(self) -> list[Issue]:
        """What could not be read; in a whole record also what should be there and is not."""
        issues = list(self.reading.issues)
        if self.whole and self.reading.missing:
            seen = {issue.path for issue in issues}
            for name, path in self.reading.missing:
                if path not in seen:
                    seen.add(path)
                    issues.append(Issue(name, path, "missing", "the provider's whole record should have it"))
        return issues


class Opportunities:
    """The opportunities of one connection."""

    def __init__(self, connection: Connection, later: Callable[[Iterable[str]], None] | None = None) -> None:
        """`later` raises versions as soon as the board is there (`Reports.raise_later`)."""
        self.connection = connection
        self.name = connection.name
        self._later = later
        self._stage_names = StageNames(connection)
        self._operations = frozenset(connection.adapter.operations())
        self._ids: tuple[Adapter | None, re.Pattern[str] | None] = None, None
        """The form of ids, and the adapter that declares it."""

    @property
    def adapter(self) -> Adapter:
        """The adapter as it is by now: it may have learned from an answer which dialect the server speaks."""
        return self.connection.adapter

    # --- reading

    async def get(self, native_id: str, ask: Ask) -> Answer:
        """The record with this id. Raises `Problem`."""
        return self.answer(await self.read(native_id, ask), ask)

    async def read(self, native_id: str, ask: Ask) -> Read:
        """The record with this id, with how it was read."""
        if "get" not in self._operations:
            self.need("get")
        self._check_id(native_id)
        call = self.connection.adapter.get(native_id)
        try:
            reply = await self.send(call, ask)
        except Problem as problem:
            if problem.code == "provider-error":
                await self._check_id_again(native_id, ask)
            raise
        read = self._record_in(reply, call, native_id)
        if read.opportunity["native_id"] != native_id:
            reply.discard()  # it may be the answer to another question, and the next one's is still to come
            raise bad_answer("other_id", call, self.name)
        stage = read.opportunity.get("stage")
        if stage is not None and "name" not in stage and self.adapter.names_in_lists:
            return await self._with_stage_name(read, stage.get("id"), ask)
        return read

    async def _with_stage_name(self, read: Read, stage_id: str | None, ask: Ask) -> Read:
        """The record with its stage's name, if that can be had in half of the time that is left."""
        if stage_id is None:
            return read
        now, adapter = loop_time(), self.adapter
        # Not what the last calls of a budget are kept for, nor what a request's own calls are counted by.
        aside = msgspec.structs.replace(ask, deadline=now + (ask.deadline - now) / 2, urgent=False)
        await self._stage_names.look_for(stage_id, aside.deadline, lambda call: self.send(call, aside))
        if self.adapter is adapter:
            return read
        reading = self.adapter.table.read(read.record)
        opportunity = {**read.opportunity, **reading.values, "extensions": reading.extensions}
        return Read(opportunity, reading, read.record, read.whole)

    def answer(self, read: Read, ask: Ask) -> Answer:
        """The opportunity with its issues, and with what `explain` and `raw` ask for."""
        issues = read.issues()
        meta: dict[str, Json] = {"issues": [issue.body() for issue in issues] if issues else []}
        if ask.explain:
            meta["explain"] = explain(self.adapter.table, read.record, read.reading)
        if ask.raw:
            meta["raw"] = read.record
        return Answer(read.opportunity, meta)

    def _record_in(self, reply: Reply, call: Call, native_id: str | None = None) -> Read:
        """The record that a reply must hold. Raises `Problem` when it does not, and trusts its connection no more."""
        try:
            return self.record_of(self.connection.adapter.record(reply.body), call, native_id)
        except Problem:
            reply.discard()
            raise

    def record_of(self, record: Json, call: Call, asked: str | None = None) -> Read:
        """A provider's record as an opportunity. Raises `Problem` when it is none or its id cannot be read. `asked`: an id
        that it may have, and that is one."""
        if not isinstance(record, dict):
            raise bad_answer("no_record", call, self.name)
        adapter = self.connection.adapter
        reading = adapter.table.read(record)
        native = reading.values.get("native_id")
        if native is None or (native != asked and not is_native(native)):
            raise bad_answer("no_record", call, self.name)
        whole = call.operation in adapter.whole
        self.connection.drift.note(adapter.table, reading, whole)
        opportunity = {
            "id": f"{self.name}:{native}",
            "native_id": native,
            "connection": self.name,
            "provider": adapter.name,
            "complete": whole,
            **reading.values,
            "extensions": reading.extensions,
        }
        return Read(opportunity, reading, record, whole)

    # --- writing

    async def create(self, draft: Mapping[str, Json], ask: Ask) -> Answer:
        """A new record as the provider now has it, with the ledger of what took. Sent once, whatever comes back."""
        self.need("create")
        native_id = ""
        await self._can_write(native_id)
        try:
            answer = await self._create(draft, ask)
            native_id = answer.data["native_id"]
            return answer
        finally:
            await self._wrote(native_id, ask)

    async def _create(self, draft: Mapping[str, Json], ask: Ask) -> Answer:
        planned = await self._plan(_told(draft), "create", ask)
        calls = self._calls(self.adapter.create(planned.bodies))
        if ask.guard is not None:
            ask.guard.planned(planned, self.connection.account)
        if not calls:
            raise RuntimeError(f"{self.adapter.name}: create made no call")
        await self._mark(planned, ask)
        reply = await self.send(calls[0], ask)
        created = self._record_in(reply, calls[0])
        failed, _ = await self._send_rest(calls[1:], ask)
        stored, unread = await self._read_back(created.opportunity["native_id"], created, ask)
        return self.written(stored or created, planned, ask, failed=failed, unread=unread)

    async def update(self, native_id: str, patch: Mapping[str, Json], ask: Ask) -> Answer:
        """The record after a merge patch, with the ledger of what took. Only what is in the patch is sent."""
        self.need("update")
        self._check_id(native_id)
        await self._can_write(native_id)
        try:
            return await self._update(native_id, patch, ask)
        finally:
            await self._wrote(native_id, ask)

    async def _update(self, native_id: str, patch: Mapping[str, Json], ask: Ask) -> Answer:
        planned = await self._plan(patch, "update", ask)
        self._check_id(native_id)  # once more: by now it is known what an id looks like
        answered: Read | None = None
        failed: dict[str, str] = {}
        calls = self._calls(self.adapter.update(native_id, planned.bodies)) if planned.bodies else []
        if ask.guard is not None:
            ask.guard.planned(planned, self.connection.account)
        if calls:
            replies = [(calls[0], await self.send(calls[0], ask))]
            failed, rest = await self._send_rest(calls[1:], ask)
            for call, reply in replies + rest:
                answered = self._maybe_record(reply, call, native_id) or answered
        stored, unread = await self._read_back(native_id, answered, ask)
        if stored is None:
            assert unread is not None
            if calls:
                unread.outcome = "applied"
                unread.retryable = False
                unread.detail = f"The write was applied, but reading it back failed: {unread.detail}"
            raise unread
        return self.written(stored, planned, ask, failed=failed, unread=unread)

    async def delete(self, native_id: str, ask: Ask) -> None:
        """The record is gone. Raises `Problem("not-found")` when it was gone already."""
        self.need("delete")
        self._check_id(native_id)
        if ask.guard is not None:
            ask.guard.planned(Plan(), self.connection.account)
        await self._can_write(native_id)
        try:
            await self.send(self.adapter.delete(native_id), ask)
        except Problem as problem:
            if problem.code == "provider-error":
                await self._check_id_again(native_id, ask)
            raise
        finally:
            await self._wrote(native_id, ask)

    async def _can_write(self, native_id: str) -> None:
        """Raises `Problem` when other workers cannot be told of a write, and would go on answering with what was.

        They are told once before it: should it be impossible afterwards, only what was read meanwhile is kept anywhere.
        """
        await self._tell_before(lambda: self.connection.board.bump(self._versions(native_id)))

    async def _mark(self, planned: Plan, ask: Ask) -> None:
        """Where no claim stands for a create, a mark does, so that no look-up takes its record for the one of a claim."""
        if (ask.guard is None or not ask.guard.claimed) and callable(getattr(self.adapter, "look_up", None)):
            twin, board = twin_of(self.name, planned), self.connection.board

            async def mark() -> None:
                at = time.time()
                before = await board.mark(twin, at)
                if (
                    before > at - CLOCKS
                ):  # one like it may be under way, or may have been: neither may have the other's record
                    await board.mark(twin, min(max(before, at) + APART, at + CLOCKS))

            await self._tell_before(mark)

    async def _tell_before(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Tell other workers of a write that nothing was sent of yet. Raises `Problem` when they cannot be told."""
        for left in reversed(range(BUMP_TRIES)):  # a board must be quick for reads; a write can wait a moment for it
            try:
                await tell()
                return
            except StateUnavailable:
                if left:
                    await asyncio.sleep(BUMP_PAUSE)
        raise Problem(
            "state-store-unavailable", "What must be told to other workers of a write could not be.",
            retry_after=1, connection=self.name, outcome="not_applied",
        )  # fmt: skip

    async def _wrote(self, native_id: str, ask: Ask) -> None:
        """What was read before this is older than the provider's records, in every worker, from here on."""
        if ask.wrote:
            ask.wrote = False
            await self.changed(native_id, ask.deadline)

    async def changed(self, native_id: str, deadline: float) -> None:
        """A record has changed (one that is not known by id, if empty): no answer kept anywhere is given any more.

        The board being away, whoever waits is held up until the deadline, and no longer: what was done is answered all the
        same, and told to other workers as soon as there is a board again.
        """
        names = self._versions(native_id)
        while True:
            try:
                await self.connection.board.bump(names)
                return
            except StateUnavailable:
                if loop_time() + BUMP_PAUSE >= deadline:
                    log.error("connection %s: a write could not be told to other workers in time", self.name)
                    if self._later is not None:
                        self._later(names)
                    return
                await asyncio.sleep(BUMP_PAUSE)

    def _versions(self, native_id: str) -> tuple[str, ...]:
        return (record_version(self.name, native_id), list_version(self.name))

    async def _send_rest(self, calls: Sequence[Call], ask: Ask) -> tuple[dict[str, str], list[tuple[Call, Reply]]]:
        """(calls that failed or were not sent, and why; what came back): a write whose first call took is not undone."""
        failed: dict[str, str] = {}
        replies: list[tuple[Call, Reply]] = []
        for call in calls:
            if failed:
                failed[call.operation] = "not sent, since a call before it failed"
                continue
            try:
                replies.append((call, await self.send(call, ask)))
            except Problem as problem:
                failed[call.operation] = problem.detail
        return failed, replies

    def _calls(self, calls: Iterable[Call]) -> list[Call]:
        """The calls of a write, all spelled before the first is sent."""
        try:
            return list(calls)
        except CannotSend as error:
            raise Problem(
                "not-writable", str(error), origin="gateway", outcome="not_applied", connection=self.name
            ) from None

    async def learn(self, ask: Ask, *, writing: bool = False) -> None:
        """Ask the provider what must be known before a write or a filtered list can be spelled, if anything."""
        probe = self.adapter.probe()
        if probe is None:
            return
        try:
            await self.send(probe, ask, writing=writing)
        except Problem as problem:
            # A server without that route teaches nothing by it; any other failure would fail what comes next as well.
            if problem.provider is None or problem.provider.status not in (404, 405, 501):
                raise

    async def _plan(self, fields: Mapping[str, Json], operation: str, ask: Ask) -> Plan:
        """What to send. Under strict handling whatever cannot be held is refused before a byte goes out."""
        await self.learn(ask, writing=True)
        operations = self.adapter.writes[operation]
        if ask.strict:  # whatever needs no look-up is refused before even that goes out
            self._refuse_all(plan(self.adapter.table, _without_stage(fields), operations, self.adapter.title).refused)
        wanted, refused = dict(fields), list[NotApplied]()
        if needs_stages(self.adapter, wanted):
            known = await self._stages(wanted, ask)
            wanted, refused = with_stage_ids(self.adapter, wanted, known)
        self._complete_dates(wanted, operations)
        planned = plan(self.adapter.table, wanted, operations, self.adapter.title)
        planned.refused[:0] = refused
        # What was worked out on the way (a stage's id from its name) is sent, but the ledger answers the caller's words.
        asked = {path for path, _ in leaves_of(fields)}
        planned.sent = [sent for sent in planned.sent if _within(sent.field, asked)]
        if ask.strict:
            self._refuse_all(planned.refused)
        return planned

    def _refuse_all(self, refused: Sequence[NotApplied]) -> None:
        if refused:
            raise Problem(
                "not-writable",
                f"{self.adapter.title} cannot hold everything in this request, and strict handling was asked for.",
                errors=[FieldError(entry.field, entry.detail) for entry in refused],
                outcome="not_applied",
                connection=self.name,
            )

    def _complete_dates(self, fields: dict[str, Json], operations: tuple[str, ...]) -> None:
        """A day where the provider takes an instant is midnight UTC; an instant where it takes a day is its day."""
        close = fields.get("expected_close")
        if not close:
            return
        writable = self.adapter.table.writable(operations)
        if "expected_close.at" in writable and "at" not in close:
            fields["expected_close"] = {**close, "at": None if close["on"] is None else f"{close['on']}T00:00:00Z"}
        elif "expected_close.on" in writable and "on" not in close:
            fields["expected_close"] = {**close, "on": None if close["at"] is None else close["at"][:10]}

    async def _stages(self, fields: Mapping[str, Json], ask: Ask) -> list[Stage]:
        """The stages among which `fields` choose: all, or where only lists tell them as many as it takes, if they show."""
        if hasattr(self.adapter, "stages"):
            reply = await self.send(self.adapter.stages(), ask, writing=True)
            return list(self.adapter.stages_of(reply.body))
        if self.adapter.names_in_lists:
            await self._look_for_stages(fields, ask)
        return list(self.adapter.known_stages)

    async def _look_for_stages(self, fields: Mapping[str, Json], ask: Ask) -> None:
        def settled() -> bool:
            return settles(self.adapter, fields, self.adapter.known_stages)

        def send(call: Call) -> Awaitable[Reply]:
            return self.send(call, ask, writing=True)

        stage = fields.get("stage")
        if stage is not None and "id" in stage:
            if not settled():
                await self._stage_names.look_for(stage["id"], ask.deadline, send)
            return
        try:
            await self._stage_names.look_until(settled, ask.deadline, send)
        except TimeoutError:
            raise Problem(
                "provider-timeout", "The deadline passed before anything was sent.",
                connection=self.name, outcome="not_applied",
            ) from None  # fmt: skip

    async def _read_back(self, native_id: str, answered: Read | None, ask: Ask) -> tuple[Read | None, Problem | None]:
        """(the record as the provider now has it, why it could not be read). A whole answer need not be read again."""
        if answered is not None and answered.whole:
            return answered, None
        try:
            return await self.read(native_id, ask), None
        except Problem as problem:
            return answered, problem

    def _maybe_record(self, reply: Reply, call: Call, native_id: str) -> Read | None:
        """The record in an update's answer; None for an answer with nothing, no record, or another's."""
        try:
            read = self.record_of(self.adapter.record(reply.body), call)
        except Problem:
            return None
        if read.opportunity["native_id"] == native_id:
            return read
        reply.discard()
        return None

    def written(
        self,
        stored: Read,
        planned: Plan,
        ask: Ask,
        *,
        failed: Mapping[str, str] | None = None,
        unread: Problem | None = None,
    ) -> Answer:
        """The answer to a write: the record as stored, with the ledger of what took."""
        applied, not_applied = settle(planned, stored.opportunity, failed or {})
        answer = self.answer(stored, ask)
        answer.meta = {
            "applied": applied,
            "not_applied": [entry.body() for entry in not_applied],
            "read_back": unread is None,
            **answer.meta,
        }
        return answer

    # --- the way out

    def need(self, operation: str) -> None:
        """Raise `Problem("operation-not-supported")` unless the adapter has the operation."""
        if operation in self._operations:
            return
        write: Outcome | None = None if operation in ("get", "list") else "not_applied"
        can = ", ".join(self.adapter.operations())
        raise Problem(
            "operation-not-supported",
            f"{self.adapter.title} has no operation to {operation} an opportunity; it can {can}.",
            outcome=write,
            connection=self.name,
            allow=self.methods(on_record=operation not in ("list", "create")),
        )

    def methods(self, *, on_record: bool) -> tuple[str, ...]:
        """The HTTP methods that this provider supports on a record, or on the collection."""
        table = (
            (("get", "GET"), ("get", "HEAD"), ("update", "PATCH"), ("delete", "DELETE")) if on_record
            else (("list", "GET"), ("list", "HEAD"), ("create", "POST"))
        )  # fmt: skip
        return tuple(method for operation, method in table if operation in self.adapter.operations())

    async def send(self, call: Call, ask: Ask, *, writing: bool = False) -> Reply:
        """The reply to a call that succeeded; else its `Problem`. `writing`: a look-up on the way to a write."""
        ask.calls += 1
        ask.waiting.begin()
        connection = self.connection
        before = None if ask.guard is None else self._before(call, ask)
        try:
            reply = await connection.send(call, ask.deadline, before=before, urgent=ask.urgent, caller=ask.caller)
        except CallFailed as failure:
            problem = problem_of_failure(failure, call, self.name)
        except Problem:  # of what is asked before each try: nothing was sent
            raise
        except BaseException:  # cancelled, or a defect: it may be on its way
            ask.wrote = ask.wrote or not call.is_read
            raise
        else:
            if reply.status >= 400:
                problem = problem_of_reply(self.adapter, reply, call, self.name, self.connection.secret)
            elif connection.adapter.denies(reply):
                reply.discard()  # whichever half of it is wrong, its connection is trusted no more
                problem = problem_of_denial(self.adapter, reply, call, self.name, self.connection.secret)
            else:
                if not (call.method == "GET" or call.is_read):
                    ask.wrote = True
                return reply
        finally:
            ask.waiting.end()
        ask.wrote = ask.wrote or problem.outcome == "unknown"
        if writing:
            problem.outcome = "not_applied"
        raise problem

    @staticmethod
    def _before(call: Call, ask: Ask) -> Before | None:
        """What is asked before each try of a call that changes something."""
        guard = ask.guard
        if guard is None or call.is_read:
            return None

        async def before() -> None:
            ask.waiting.end()  # what is asked here is the gateway's own time
            try:
                await guard.before(call)
            finally:
                ask.waiting.begin()

        return before

    async def _check_id_again(self, native_id: str, ask: Ask) -> None:
        """Raises `Problem("not-found")` where the provider failed over an id that cannot exist there: its dialect tells."""
        if self.adapter.probe() is not None:
            with contextlib.suppress(Problem):  # what failed is the call before; this only explains it
                await self.learn(ask)
        self._check_id(native_id)  # the dialect may also have been learned by another request meanwhile

    def _check_id(self, native_id: str) -> None:
        adapter = self.connection.adapter
        of, pattern = self._ids
        if of is not adapter:
            declared = adapter.id_pattern
            pattern = None if declared is None else re.compile(declared)
            self._ids = adapter, pattern
        if pattern is not None and pattern.fullmatch(native_id) is None:
            raise Problem("not-found", "There is no such opportunity.", connection=self.name)


def _without_stage(fields: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if name not in ("stage", "status")}


def _told(draft: Json) -> Json:
    """A draft without its nulls and empty lists, at any depth: in a new record there is nothing to clear."""
    if isinstance(draft, Mapping):
        return {name: _told(value) for name, value in draft.items() if value not in (None, [])}
    if isinstance(draft, list):
        return [_told(value) for value in draft]
    return draft


def _within(path: str, asked: Set[str]) -> bool:
    """Whether a canonical path is one of these or lies below one."""
    return path in asked or any(path[: step.start()] in asked for step in _STEP.finditer(path))


_STEP = re.compile(r"[.\[]")
