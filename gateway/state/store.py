"""The interface of the state store: what a store has to do, and nothing of how.

Two halves, because they are asked for different things. A `Store` keeps claims and must not lose one; a `Board` is what
workers tell each other at every call (versions, budgets, open circuits), must be quick, and may forget.
"""

import abc
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec

from gateway.state.claims import Claim

T = TypeVar("T")
Transition = Callable[[Claim | None, float], tuple[Claim | None, T]]
"""(the claim held, now) -> (the claim to hold from now on, a result). Pure; may be called more than once. A claim that is
returned unchanged is not written; None forgets it."""


class Place(NamedTuple):
    """Where a claim stands among the outcomes."""

    settled: bool
    since: float
    key: str


class StateUnavailable(Exception):
    """The store did not do it, or did not say so in time. The text names no address and no credential."""


class StateUnusable(StateUnavailable):
    """It will not do it however long it is waited for: somebody has to do what the text says."""


_FOR_GOOD = frozenset({
    errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS,
})  # fmt: skip

_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def failed(error: OSError, text: str) -> StateUnavailable:
    """What to raise for a file of the store that cannot be opened; the text has the system's own words."""
    kind = StateUnusable if error.errno in _FOR_GOOD else StateUnavailable
    mend = ""
    if error.errno in _FORBIDDEN:
        mend = ": let this user write there, or set `state` to where it may"
    elif kind is StateUnusable:
        mend = ": set `state` to a file, in a folder that exists"
    return kind(f"{text}: {error.strerror}{mend}")


class RecordTaken(Exception):
    """Another claim already stands for this record of the provider, so nothing was changed."""


class UnsafeStore(Exception):
    """The store is set up so that it may lose claims; the text says which setting, and what to set instead."""


class Store(abc.ABC):
    """Claims, kept so that they outlive this process and, once `change` has returned, this machine's power.

    - `change` is atomic over all processes and machines that share the store: of two at once, one sees the other's claim.
    - Once it has returned, the claim is durable. When it raises `StateUnavailable`, it may or may not have been made.
    - No method blocks the event loop, and none takes longer than a quarter of a second plus what it waits for a lock
      (a second at most): what cannot be had in that time is `StateUnavailable`.
    - A claim that `is_over` is nowhere seen any more, nor is its record taken; its bytes go later, a few at each `change`.
    - It recovers by itself: when the cause of a `StateUnavailable` is gone, the next call is answered.
    """

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect and check. Raises `StateUnavailable` or `UnsafeStore`."""

    @abc.abstractmethod
    async def change(self, key: str, transition: Transition[T]) -> T:
        """What the transition results in, once the claim of this key is as it says.

        Raises `RecordTaken` when the new claim has a `record` that another key's claim on the same connection has.
        """

    @abc.abstractmethod
    async def claim(self, key: str) -> Claim | None:
        """The claim of this key."""

    @abc.abstractmethod
    async def holder_of(self, connection: str, record: str) -> str | None:
        """The key of the claim that stands for this record of the provider."""

    @abc.abstractmethod
    async def open_claims(self, connection: str | None = None, twin: str = "") -> list[Claim]:
        """All claims that are neither done nor absent, those whose turn (`claims.turn_of`) comes first first; only those of
        this `twin` where it is given."""

    @abc.abstractmethod
    async def due(self, each: int) -> list[Claim]:
        """Open claims whose turn has come, those that have waited longest first. Of each connection so many at most that
        are unknown, and so many that are not: no connection hides another's, and no look-up that waits hides a lease."""

    @abc.abstractmethod
    async def unknown(self) -> int:
        """How many claims are unknown."""

    @abc.abstractmethod
    async def outcomes(self, limit: int, after: Place | None = None) -> list[Claim]:
        """Claims that are unknown, and after them those that were and have been settled; of each the latest first.

        `after`: only those that come after this place. Who goes on so until nothing is left has seen every claim that was
        unknown, or was settled, all the while.
        """

    @abc.abstractmethod
    async def check(self) -> None:
        """Raises `StateUnavailable` or `UnsafeStore` unless claims could be written now."""

    @abc.abstractmethod
    async def now(self) -> float:
        """The store's clock, in seconds: the same for all who share it, never going back."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Let go of everything. May be called twice."""


class Allowance(msgspec.Struct, frozen=True):
    """A provider's budget in its present window: calls in all, calls left, and the Unix second when the next one starts."""

    calls: int
    left: int
    reset: float


class Board(abc.ABC):
    """What workers tell each other. Cheap: it is asked at every call to a provider and at every cached read.

    - `bump` has been seen by every `versions` that starts after it returned, in any process that shares the board.
    - Of calls that `spend` granted in one window, all processes together never have more than the budget.
    - Raises `StateUnavailable` within 50 ms when it cannot tell, and recovers by itself.
    """

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect. Raises `StateUnavailable`."""

    @abc.abstractmethod
    async def bump(self, names: Sequence[str]) -> None:
        """The version of each name goes up. Names may share a version: a bump of one may raise another's."""

    @abc.abstractmethod
    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        """The present version of each name: after each bump another one, and higher, even when the board was lost and
        begun anew since."""

    def versions_at_once(self, names: Sequence[str]) -> tuple[int, ...] | None:
        """The same where it can be told without waiting for anybody; None: it has to be asked for, or cannot be told."""
        return None

    @abc.abstractmethod
    async def spend(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        """One call out of the budget of `calls` in each window of `per` seconds; None when it would leave less than
        `reserve`, and nothing is spent then. Windows start at whole multiples of `per` since the Unix epoch."""

    def spend_at_once(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        """The same where it can be had without waiting for anybody; None: `spend` has to be asked."""
        return None

    @abc.abstractmethod
    async def give_back(self, name: str, calls: int, per: float, granted: Allowance) -> None:
        """One call that was granted so by `spend` has not left and will not: it may be spent again, in its own window."""

    @abc.abstractmethod
    async def allowance(self, name: str, calls: int, per: float) -> Allowance:
        """The budget as it is, without spending."""

    @abc.abstractmethod
    async def correct(self, name: str, calls: int, per: float, left: int) -> None:
        """The provider says that only this many calls are left in the present window: believed when it is less than is
        known here."""

    @abc.abstractmethod
    async def trip(self, name: str, until: float) -> None:
        """The circuit of this name is open until this Unix second; 0 closes it."""

    @abc.abstractmethod
    async def tripped(self, name: str) -> float:
        """Until which Unix second the circuit is open; 0: it is not."""

    @abc.abstractmethod
    async def mark(self, name: str, at: float) -> float:
        """The mark of this name is set to this Unix second; what it was before, 0 for none. Names may share a mark."""

    @abc.abstractmethod
    async def marked(self, name: str) -> tuple[float, float]:
        """(the Unix second that this name was marked with last, by whomever; since when the board has kept marks). A mark
        from before is lost with the board that had it."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Let go of everything. May be called twice."""


@dataclass(frozen=True, slots=True)
class State:
    """The two halves together. Both may be one connection beneath."""

    store: Store
    board: Board

    async def open(self) -> None:
        """Open both. Raises `StateUnavailable` or `UnsafeStore`."""
        await self.board.open()
        await self.store.open()

    async def aclose(self) -> None:
        """Close both."""
        await self.store.aclose()
        await self.board.aclose()
