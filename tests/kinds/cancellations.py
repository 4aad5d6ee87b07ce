"""Ways and moments in which a caller leaves."""

from dataclasses import dataclass
from typing import Literal

How = Literal["close", "reset", "half", "in the head", "in the body"]

EXCHANGE = 0.03
"""Seconds that the provider takes for an exchange, in three parts: silence, half of the answer, the rest."""


@dataclass(frozen=True)
class Leaving:
    """`how` a caller leaves, and how many seconds after it began to send; `method` is what it asks for.

    close: at once. reset: with a TCP reset. half: only its sending side. In the head, in the body: it has sent no more than
    a part of either, and then closes.
    """

    name: str
    how: How
    method: Literal["GET", "POST", "PATCH"]
    after: float


_MOMENTS = (0.0, 0.001, 0.004, 0.008, 0.012, 0.016, 0.020, 0.024, 0.030, 0.040)
_WAYS: tuple[How, ...] = ("close", "reset", "half", "in the head", "in the body")
_METHODS: tuple[Literal["GET", "POST", "PATCH"], ...] = ("GET", "POST", "PATCH")

SCHEDULES = tuple(
    Leaving(f"{method}, {how}, after {after * 1000:g} ms", how, method, after)
    for how in _WAYS
    for method in _METHODS
    for after in _MOMENTS
)
