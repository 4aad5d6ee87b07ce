"""A claim as bytes: one form for every store, so that what one version wrote the next one reads."""

import logging
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from gateway.state.claims import Claim
from gateway.state.store import StateUnavailable

log = logging.getLogger("gateway")

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


def readable(packed: Iterable[tuple[str, bytes]]) -> Iterator[Claim]:
    """The claims of these keys that this version can read. Each other one is told of, and hides none of them: it stays as
    it is, for a version that understands it, and whoever asks for its key is refused."""
    for key, one in packed:
        try:
            yield unpack(one)
        except Unreadable:
            _tell(key)


@lru_cache(maxsize=1024)
def _tell(key: str) -> None:
    """Once, and not in every round of whoever settles."""
    log.error("claim %s cannot be read by this version of crm-gateway: it stays as it is, and is not settled", key[:16])


def forgotten_at(claim: Claim) -> float | None:
    """When the claim is over; None while it is not known."""
    return None if claim.word in OPEN else claim.expires


def was_settled(claim: Claim) -> bool:
    """Whether the claim was unknown once and is no longer."""
    return claim.word != "unknown" and claim.settled != ""
