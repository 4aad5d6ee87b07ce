"""State in Redis or Valkey: several machines. One server, or one with replicas that nobody fails over to by itself.

A claim is durable when the server says so, which takes these settings, all checked at the start; others are refused:

    appendonly yes                  else a server that stops forgets everything, or all since its last snapshot
    appendfsync always              else one whose machine fails forgets its last second: `everysec` too is refused, since
                                    waiting until it has written (WAITAOF) takes up to a second for each claim
    no-appendfsync-on-rewrite no    else the same, whenever it rewrites its file
    maxmemory-policy noeviction     else it forgets claims when memory is short

A replica that is made the master has not seen the last changes: failing over loses claims, whatever is set, and so does
Redis Cluster, which is refused. The user needs the commands of the scripts, INFO and CONFIG GET.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from zlib import crc32

from gateway.state import redis_scripts as scripts
from gateway.state.claims import Claim, is_over, turn_of
from gateway.state.packing import forgotten_at, pack, readable, unpack, was_settled
from gateway.state.redis_server import RedisAddress as RedisAddress
from gateway.state.redis_server import RedisServer, listed, packed_in, understood
from gateway.state.store import Allowance, Board, Place, RecordTaken, StateUnavailable, Store, Transition

T = TypeVar("T")

_STORE_WAIT = 0.25
_BOARD_WAIT = 0.04
_CONTENDING = 1.0
"""How long a change is tried while others change the same claim, in seconds."""
_FORGET = 2


class RedisStore(Store):
    """Claims on one server, each changed by comparing and setting: of two at once, the later one is made anew."""

    def __init__(self, address: RedisAddress) -> None:
        self._server = RedisServer(address, _STORE_WAIT)
        self._checked = False

    async def open(self) -> None:
        await self._server.check_settings()
        self._checked = True

    async def change(self, key: str, transition: Transition[T]) -> T:
        await self._once_checked()
        until = time.monotonic() + _CONTENDING
        while time.monotonic() < until:
            micros, packed = await self._read(key)
            now = micros / 1e6
            held = _held(packed, now)
            new, result = transition(held, now)
            if new is held or new == held:
                return result
            written = await self._server.run(scripts.WRITE, key, packed, *_columns(new), micros, repr(now), _FORGET)
            if written == scripts.TAKEN:
                raise RecordTaken
            if written == scripts.WRITTEN:
                return result
            await asyncio.sleep(0)
        raise StateUnavailable("the state server is busy: others change the same claim all the time")

    async def claim(self, key: str) -> Claim | None:
        await self._once_checked()
        micros, packed = await self._read(key)
        return _held(packed, micros / 1e6)

    async def holder_of(self, connection: str, record: str) -> str | None:
        await self._once_checked()
        if not record:
            return None
        answer = await self._server.run(scripts.HOLDER, connection, record)
        with understood():
            return packed_in(answer).decode() or None

    async def open_claims(self, connection: str | None = None, twin: str = "") -> list[Claim]:
        await self._once_checked()
        index = "open" if connection is None else f"open:{connection}"
        found = _claims(await self._server.run(scripts.OPEN, index, twin))
        return [claim for claim in found if not twin or claim.twin == twin]

    async def due(self, each: int) -> list[Claim]:
        await self._once_checked()
        answer = await self._server.run(scripts.DUE, each)
        with understood():
            return [*readable(_keyed(listed(answer)))]

    async def unknown(self) -> int:
        await self._once_checked()
        answer = await self._server.run(scripts.UNKNOWN)
        with understood():
            return int(answer)

    async def outcomes(self, limit: int, after: Place | None = None) -> list[Claim]:
        await self._once_checked()
        place = (
            ("", "", "") if after is None else ("settled" if after.settled else "unknown", repr(after.since), after.key)
        )
        found: list[Claim] = []
        while (left := limit - len(found)) > 0:
            answer = await self._server.run(scripts.OUTCOMES, left, *place)
            with understood():
                rows = listed(answer)
                found += readable(_keyed(rows))
                if len(rows) < left:
                    break
                # Some could not be read: they take no other's room.
                place = rows[-1][2].decode(), rows[-1][3].decode(), rows[-1][0].decode()
        return found

    async def check(self) -> None:
        await self._server.check_settings()
        await self._server.run(scripts.TOUCH)
        self._checked = True

    async def now(self) -> float:
        await self._once_checked()
        micros, _ = await self._read("")
        return micros / 1e6

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _once_checked(self) -> None:
        """No claim is entrusted to a server that was down when this process started, and unchecked since."""
        if not self._checked:
            await self.open()

    async def _read(self, key: str) -> tuple[int, bytes]:
        answer = await self._server.run(scripts.READ, key)
        with understood():
            micros, packed = listed(answer, 2)
            return int(micros), packed_in(packed)


SLOTS = 65_536
"""How many versions there are: names are spread over them, or the server would keep one for each record for ever."""


def _slots(names: Sequence[str]) -> list[str]:
    return [str(crc32(name.encode()) % SLOTS) for name in names]


class RedisBoard(Board):
    """The board of several machines. Budgets follow the server's time of day; every grant is one change on the server."""

    def __init__(self, address: RedisAddress) -> None:
        self._server = RedisServer(address, _BOARD_WAIT)
        self._prefix = address.prefix

    async def open(self) -> None:
        await self._server.ask("PING")

    async def bump(self, names: Sequence[str]) -> None:
        await self._server.run(scripts.BUMP, *_slots(names))

    async def versions(self, names: Sequence[str]) -> tuple[int, ...]:
        found = await self._versions(names)
        if found is None:  # the server is new, or has lost everything
            await self._server.run(scripts.BUMP)
            found = await self._versions(names)
        if found is None:
            raise StateUnavailable("the state server keeps nothing")
        return found

    async def _versions(self, names: Sequence[str]) -> tuple[int, ...] | None:
        answer = await self._server.ask("MGET", *(f"{self._prefix}version:{slot}" for slot in ("", *_slots(names))))
        with understood():
            base, *counts = listed(answer, len(names) + 1)
            return None if base is None else tuple(int(base) + int(count or 0) for count in counts)

    async def spend(self, name: str, calls: int, per: float, reserve: int = 0) -> Allowance | None:
        left, reset = await self._budget(name, calls, per, "spend", reserve)
        return None if left < 0 else Allowance(calls, left, reset)

    async def give_back(self, name: str, calls: int, per: float, granted: Allowance) -> None:
        await self._budget(name, calls, per, "give back", round(granted.reset / per) - 1)

    async def allowance(self, name: str, calls: int, per: float) -> Allowance:
        left, reset = await self._budget(name, calls, per, "see", 0)
        return Allowance(calls, left, reset)

    async def correct(self, name: str, calls: int, per: float, left: int) -> None:
        await self._budget(name, calls, per, "correct", left)

    async def trip(self, name: str, until: float) -> None:
        await self._server.ask("SET", f"{self._prefix}circuit:{name}", repr(until))

    async def tripped(self, name: str) -> float:
        answer = await self._server.ask("GET", f"{self._prefix}circuit:{name}")
        with understood():
            return float(packed_in(answer) or 0.0)

    async def mark(self, name: str, at: float) -> float:
        answer = await self._server.run(scripts.MARK, _slots([name])[0], repr(at))
        with understood():
            return float(packed_in(answer) or 0.0)

    async def marked(self, name: str) -> tuple[float, float]:
        answer = await self._server.ask("GET", self._mark_of(name))
        with understood():
            return float(packed_in(answer) or 0.0), 0.0  # it loses no mark without the claims

    def _mark_of(self, name: str) -> str:
        return f"{self._prefix}mark:{_slots([name])[0]}"

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _budget(self, name: str, calls: int, per: float, what: str, number: int) -> tuple[int, float]:
        answer = await self._server.run(scripts.BUDGET, name, calls, repr(per), what, number)
        with understood():
            left, window = listed(answer, 2)
            return int(left), (int(window) + 1) * per


def _held(packed: bytes, now: float) -> Claim | None:
    held = unpack(packed) if packed else None
    return None if held is None or is_over(held, now) else held


def _claims(answer: Any) -> list[Claim]:
    with understood():
        return [unpack(packed_in(packed)) for packed in listed(answer)]


def _keyed(rows: list[Any]) -> Iterator[tuple[str, bytes]]:
    """The key and the packed claim in each of these. To be used within `understood`."""
    for key, packed, *_ in rows:
        yield key.decode(), packed_in(packed)


def _columns(claim: Claim | None) -> tuple[str | bytes, ...]:
    if claim is None:
        return (b"", "", "", "", "", "", "", "")
    over = forgotten_at(claim)
    unknown, settled = str(int(claim.word == "unknown")), str(int(was_settled(claim)))
    since, ends = repr(claim.since), "" if over is None else repr(over)
    return pack(claim), claim.connection, claim.record, since, repr(turn_of(claim)), ends, unknown, settled
