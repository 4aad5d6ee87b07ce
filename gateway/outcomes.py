"""What an operator does about writes whose outcome is unknown: list them, and settle what no look-up can."""

from gateway.about import About
from gateway.callers import Caller
from gateway.cursors import seal, unseal
from gateway.errors import FieldError, Problem
from gateway.gateway import Gateway
from gateway.idempotency import Kept
from gateway.ids import is_native, split
from gateway.metrics import SETTLED
from gateway.opportunities import Answer
from gateway.presenting import outcome_body
from gateway.state import claims
from gateway.state.claims import Claim
from gateway.state.store import Place, RecordTaken, StateUnavailable, Store, UnsafeStore
from gateway.strict_json import Json

MOST = 1000
"""Writes on one page."""


async def listed(
    gateway: Gateway, caller: Caller, limit: int = MOST, cursor: str | None = None
) -> tuple[list[dict[str, Json]], str | None]:
    """(writes of the caller's connections whose outcome is or was unknown, the cursor of the page after them if there is
    one): unknown ones first, then those that were settled, of each the latest first. Raises `Problem`.
    """
    if gateway.idempotency is None:
        return [], None
    key, binding = gateway.connections[gateway.connections.default].cursor_key, ["outcomes", caller.name]
    after = None if cursor is None else _place(unseal(key, binding, cursor))
    told: list[Claim] = []
    while len(told) <= limit:
        found = await gateway.idempotency.outcomes(limit + 1, after)
        told += [claim for claim in found if caller.may_use(claim.connection)]
        if len(found) <= limit:
            break
        after = _place_of(found[-1])
    following = seal(key, binding, list(_place_of(told[limit - 1]))) if len(told) > limit else None
    return [outcome_body(claim) for claim in told[:limit]], following


def _place_of(claim: Claim) -> Place:
    return Place(claim.word != "unknown", claim.since, claim.key)


def _place(sealed: Json) -> Place:
    settled, since, key = sealed
    return Place(settled, float(since), key)


async def settle(gateway: Gateway, id_: str, *, applied: bool, record: str | None = None) -> dict[str, Json]:
    """The write of this id settled as somebody found it at the provider; whoever repeats it gets that answer.

    `record`: the id of the record that was written, which a create needs. Raises `Problem`.
    """
    if gateway.idempotency is None or gateway.settler is None:
        raise Problem("not-found", "The gateway runs with `state: off`: nothing is remembered.")
    store, keep = gateway.idempotency.store, gateway.idempotency.keep
    try:
        claim = await _unknown(store, id_)
        if not applied:
            await store.change(
                id_, lambda held, now: claims.settle_absent(held, claim.fence, now, keep=keep, how="operator")
            )
            SETTLED.of("not_applied", "operator").add()
        else:
            if claim.operation == "create" and not record:
                raise Problem("invalid-request", "Say which record the create made.",
                              errors=[FieldError("record", "the provider's own id of the record")])  # fmt: skip
            kept = await _answer(gateway, claim, _record(claim, record) if record else "")
            await gateway.settler.settle_found(claim, kept, "operator")
        return outcome_body(await _claim(store, id_))
    except RecordTaken:
        raise Problem("conflict", "Another write is already known to have made this record.", origin="caller") from None
    except (StateUnavailable, UnsafeStore) as error:
        raise Problem("state-store-unavailable", f"The state store cannot be reached: {error}.") from None


def _record(claim: Claim, told: str) -> str:
    """The native id of the record that somebody says was written; told as ids are everywhere. Raises `Problem`."""
    prefix, native = split(told)
    if prefix not in (None, claim.connection) or not is_native(native):
        raise Problem("invalid-request", "The id is malformed, or of another connection than the write.",
                      errors=[FieldError("record", f"expected a native id of {claim.connection}, with or without "
                                         f"{claim.connection}: in front")])  # fmt: skip
    meant = About.record_in(claim.about)
    if meant and native != meant:
        raise Problem("invalid-request", "The write was of another record.",
                      errors=[FieldError("record", f"it was {claim.connection}:{meant}")])  # fmt: skip
    return native


async def _answer(gateway: Gateway, claim: Claim, record: str) -> Kept:
    assert gateway.settler is not None
    if claim.operation == "delete":
        return gateway.settler.answered("delete", Answer({}))
    return await gateway.settler.answer_of(claim, record)


async def _claim(store: Store, id_: str) -> Claim:
    claim = await store.claim(id_)
    if claim is None:
        raise Problem("not-found", "There is no such outcome; see `crm-gateway outcomes`.")
    return claim


async def _unknown(store: Store, id_: str) -> Claim:
    claim = await _claim(store, id_)
    if claim.word != "unknown":
        raise Problem("conflict", f"This write is not unknown: {outcome_body(claim)['outcome']}.", origin="caller")
    return claim
