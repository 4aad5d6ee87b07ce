"""A claim as bytes: one form for every store, so that what one version wrote the next one reads."""

import msgspec

from gateway.state.claims import Claim
from gateway.state.store import StateUnavailable

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Claim)


class Unreadable(StateUnavailable):
    """One claim that this version cannot read; the others are as they were."""


OPEN = ("claimed", "sending", "unknown")


def pack(claim: Claim) -> bytes:
    """The claim by the names of its fields: a later version may add some, and an earlier one overlooks them."""
    return _encoder.encode(claim)


def unpack(packed: bytes) -> Claim:
    """The claim that `pack` was given. Raises `Unreadable` when it is none that this version understands."""
    try:
        return _decoder.decode(packed)
    except msgspec.DecodeError:
        raise Unreadable("the state store holds a claim that this version cannot read") from None


def forgotten_at(claim: Claim) -> float | None:
    """When the claim is over; None while it is not known."""
    return None if claim.word in OPEN else claim.expires


def was_settled(claim: Claim) -> bool:
    """Whether the claim was unknown once and is no longer."""
    return claim.word != "unknown" and claim.settled != ""
