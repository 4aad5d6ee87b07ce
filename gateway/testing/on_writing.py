"""Checks of writing: what is sent is what the files say, nothing else is, and nothing is dropped in silence."""

import re
from collections.abc import Iterator

from gateway.adapter import Adapter, Call
from gateway.codecs import MISSING, Inexact, Unencodable, Unreadable
from gateway.drafts import Draft, Patch, validated
from gateway.errors import Problem
from gateway.fields import Row, Table
from gateway.ledger import leaves_of
from gateway.opportunities import Opportunities
from gateway.pointer import leaves, put, tokens
from gateway.rendering import render
from gateway.strict_json import Json
from gateway.testing.exchanges import Exchange
from gateway.testing.kit import Faults, Kit, draft_of
from gateway.testing.on_money import comes_back
from gateway.testing.replay import Replay, ask, exact, run, spelled
from gateway.writing import plan

_EVERYTHING: dict[str, Json] = {
    "name": "Everything at once", "description": "All that a draft may hold",
    "amount": {"value": "1234.50", "currency": "EUR"},
    "company": {"id": "company-1", "name": "Acme"}, "owner": {"id": "owner-1"},
    "contacts": [
        {
            "id": "contact-1", "name": "Jane Q Smith", "first_name": "Jane", "middle_name": "Q", "last_name": "Smith",
            "second_last_name": "Jones", "title": "CTO", "department": "IT", "linkedin_url": "https://example.com/in/jane",
            "avatar_url": "https://example.com/jane.png", "company": {"id": "company-1", "name": "Acme"},
            "emails": [{"address": "jane@example.com", "purpose": "work", "primary": True}, {"address": "j@example.com"}],
            "phones": [{"number": "+32470000000", "purpose": "work", "primary": True}, {"number": "+32470000001"}],
        },
        {"id": "contact-2", "name": "John Doe"},
    ],
    "source": "fair", "expected_close": {"on": "2026-03-31", "at": "2026-03-31T00:00:00Z"},
}  # fmt: skip
"""A draft with every field but the stage, whose ids and words are each provider's own."""

_MONEY = ("0", "0.10", "50000.00", "75000", "-12.5", "123456789012345678.90")


def writes_are_sent_as_told(kit: Kit) -> Faults:
    """Each draft and patch of the exchanges makes exactly the calls of its file: method, path, query, body, every digit."""
    for exchange in kit.of("create", "update"):
        replay = kit.replay(exchange)
        try:
            draft = draft_of(exchange)
        except Problem as problem:
            yield f"{exchange.file}: no caller could send this `input`: {[one.field for one in problem.errors]}"
            continue
        answer = _write(replay, exchange, draft)
        wanted, sent = [spelled(step.call) for step in exchange.steps], [spelled(call) for call in replay.writes]
        for place in range(max(len(wanted), len(sent))):
            told, made = (calls[place] if place < len(calls) else "no call" for calls in (wanted, sent))
            if told != made:
                yield f"{exchange.file}: call {place + 1} is {made}; the file says {told}"
        refused = answer if isinstance(answer, tuple) else exchange.unsupported
        if set(refused) != set(exchange.unsupported):
            yield f"{exchange.file}: unsupported are {sorted(refused)}, the file says {sorted(exchange.unsupported)}"


def _write(replay: Replay, exchange: Exchange, draft: dict[str, Json]) -> tuple[str, ...] | None:
    """The fields that were never sent; None where the write ended in a problem."""
    opportunities = replay.opportunities()
    try:
        if exchange.operation == "create":
            answer = run(opportunities.create(draft, ask()))
        else:
            answer = run(opportunities.update(exchange.input["native_id"], draft, ask()))
    except Problem:
        return None
    return tuple(entry["field"] for entry in answer.meta["not_applied"] if entry["reason"] == "unsupported")


def drafts_are_refused_under_strict(kit: Kit) -> Faults:
    """Under strict handling whatever cannot be held is refused by name, before anything is sent."""
    for operation, opportunities, replay in _writers(kit):
        planned = plan(
            kit.adapter.table, validated(Draft, _EVERYTHING), kit.adapter.writes[operation], kit.adapter.title
        )
        replay.calls.clear()
        try:
            if operation == "create":
                run(opportunities.create(validated(Draft, _EVERYTHING), ask(strict=True)))
            else:
                run(opportunities.update(kit.native_id, validated(Patch, _EVERYTHING), ask(strict=True)))
        except Problem as problem:
            if planned.refused and problem.code != "not-writable":
                yield f"{operation}: a strict write of everything fails with {problem}, not with not-writable"
            unnamed = {entry.field for entry in planned.refused} - {error.field for error in problem.errors}
            if problem.code == "not-writable" and unnamed:
                yield f"{operation}: the refusal does not name {sorted(unnamed)}"
            if problem.code == "not-writable" and replay.writes:
                yield f"{operation}: a strict write was refused after {spelled(replay.writes[0])} had been sent"


def _writers(kit: Kit) -> Iterator[tuple[str, Opportunities, Replay]]:
    for operation in ("create", "update"):
        if operation in kit.adapter.operations():
            replay = kit.replay()
            yield operation, replay.opportunities(), replay


def nothing_is_dropped_in_silence(kit: Kit) -> Faults:
    """Each leaf of a draft with everything is either sent or refused by name with a reason."""
    for operation, _, _ in _writers(kit):
        draft = validated(Draft, _EVERYTHING)
        stage = _sample_value(kit, "stage.id")
        if stage is not None:
            draft["stage"] = {"id": stage}
        planned = plan(kit.adapter.table, draft, kit.adapter.writes[operation], kit.adapter.title)
        told = [*(one.field for one in planned.sent), *(one.field for one in planned.refused)]
        for path, value in leaves_of(draft):
            row = kit.adapter.table.row_for(_plain(path))
            if row is not None and not row.pointers and row.value == value:
                continue  # it is so in every record: there is nothing to send
            if not any(path == one or path.startswith((f"{one}.", f"{one}[")) for one in told):
                yield f"{operation}: {path} is neither sent nor refused"
        for entry in planned.refused:
            if not entry.detail.strip():
                yield f"{operation}: {entry.field} is refused without a word why; give its row a note"
        bodies = {call: body for call, body in planned.bodies.items() if body}
        made = list(_calls(kit.adapter, operation, kit.native_id, bodies))
        unsent = set(bodies) - {call.operation for call in made}
        if unsent:
            yield f"{operation}: no call is made for the fields of {sorted(unsent)}; a Call's operation is its name"


def _calls(adapter: Adapter, operation: str, native_id: str, bodies: dict[str, dict[str, Json]]) -> list[Call]:
    return list(adapter.create(bodies) if operation == "create" else adapter.update(native_id, bodies))


def a_patch_sends_what_it_names(kit: Kit) -> Faults:
    """A patch of one field makes one call, whose body has that field and no other."""
    adapter = kit.adapter
    if "update" not in adapter.operations():
        return
    calls = adapter.writes["update"]
    for path, row in adapter.table.leaves():
        call_name = next((call for call in calls if call in row.write), None)
        if call_name is None or row.follows or row.mirrors:
            continue
        value = _sample_value(kit, path)
        if value is None:
            yield f"{path}: it is writable, but no exchange shows a record in which it has a value"
            continue
        planned = plan(adapter.table, _nested(path, value), calls, adapter.title)
        if planned.refused:
            yield f"{path}: its own sample value is refused: {planned.refused[0].detail}"
            continue
        made = _calls(adapter, "update", kit.native_id, planned.bodies)
        if [call.operation for call in made] != [call_name]:
            yield f"{path}: a patch of it alone makes the calls {[call.operation for call in made]}, not {[call_name]}"
            continue
        others = {tokens(pointer)[-1] for _, other in adapter.table.leaves() for pointer in other.write.values()}
        strangers = (others & _names(made[0].body)) - _names(planned.bodies[call_name])
        if strangers:
            yield f"{path}: a patch of it alone also sends {sorted(strangers)}: what is not in a patch must not be touched"
        if not any(exact(one) == exact(_encoded(row, value)) for _, one in leaves(made[0].body)):
            yield f"{path}: its value is not in the body that is sent for it: {exact(made[0].body)}"


def _encoded(row: Row, value: Json) -> Json:
    return row.codec.encode(value) if row.codec is not None and row.codec.encode is not None else value


def _names(body: Json) -> set[str]:
    return {token for pointer, _ in leaves(body) for token in tokens(pointer) if not token.isdigit()}


def _nested(path: str, value: Json) -> dict[str, Json]:
    """A patch with one leaf: `contacts[].emails[].address` makes a contact with an e-mail with an address."""
    for name in reversed(path.split(".")):
        value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
    assert isinstance(value, dict)
    return value


def _sample_value(kit: Kit, path: str) -> Json:
    for sample in kit.samples:
        for found, value in leaves_of(kit.adapter.table.read(sample.record).values):
            if value is not None and value != [] and _plain(found) == path:
                return value
    return None


def _plain(path: str) -> str:
    """A canonical path without its indices."""
    return re.sub(r"\[\d+\]", "[]", path)


def null_clears_or_is_refused(kit: Kit) -> Faults:
    """Null for a field that is writable either goes out as a null or is refused by that field's name."""
    adapter = kit.adapter
    if "update" not in adapter.operations():
        return
    for path in adapter.table.writable(adapter.writes["update"]):
        row = adapter.table.row_for(path)
        if row is None or row.follows or row.mirrors:
            continue
        top = path.split(".")[0].split("[")[0]
        try:
            patch = validated(Patch, _nested(path, None))
        except Problem as problem:
            if not any(error.field.startswith(top) for error in problem.errors):
                yield f"{path}: null is refused without naming {top}: {[error.field for error in problem.errors]}"
            continue
        planned = plan(adapter.table, patch, adapter.writes["update"], adapter.title)
        if any(entry.field.startswith(top) for entry in planned.refused):
            continue
        made = _calls(adapter, "update", kit.native_id, planned.bodies)
        if not any(value is None or value == [] for call in made for _, value in leaves(call.body)):
            yield f"{path}: null is neither sent nor refused: {[spelled(call) for call in made]}"


def what_is_written_is_read(kit: Kit) -> Faults:
    """Each written row's codec reads back what it wrote, to the digit, and can write what it has read."""
    for path, row in kit.adapter.table.leaves():
        if not row.write or not row.pointers or row.codec is None or row.codec.encode is None:
            continue
        own = _sample_value(kit, path)
        for value in (own, *(_MONEY if path == "amount.value" else ())):
            if value is None:
                continue
            try:
                sent = row.codec.encode(value)
            except Unencodable as error:
                if value is own:
                    yield f"{path}: {value!r}, which a sample tells, cannot be written: {error}"
                continue
            try:
                again = _read_alone(kit.adapter.table, path, row, sent) if row.joint else row.codec.decode(sent)
            except (Unreadable, Inexact) as error:
                yield f"{path}: {value!r} is written as something that cannot be read: {error}"
                continue
            if not (comes_back(row.codec, value, again) if path == "amount.value" else again == value):
                yield f"{path}: {value!r} is written as {sent!r}, which reads {again!r}"


def _read_alone(table: Table, path: str, row: Row, sent: Json) -> Json:
    """What a row reads of a record that has nothing but what is written for it; MISSING if nothing."""
    stored: dict[str, Json] = {}
    put(stored, row.pointers[0].replace("/*", "/0"), sent)
    found = leaves_of(table.read(stored).values)
    return next((value for one, value in found if _plain(one) == path), MISSING)


def what_is_read_can_be_written(kit: Kit) -> Faults:
    """A record read, rendered and read again says the same of everything that is writable."""
    for adapter, sample in kit.readings():
        values = adapter.table.read(sample.record).values
        again = adapter.table.read(render(adapter.table, values)).values
        was, now = dict(leaves_of(values)), dict(leaves_of(again))
        writable = adapter.table.writable(tuple(call for calls in adapter.writes.values() for call in calls))
        for path, value in was.items():
            if _plain(path) in writable and value is not None and now.get(path) != value:
                yield f"{sample}: {path} is {value!r}; rendered and read again it is {now.get(path)!r}"
