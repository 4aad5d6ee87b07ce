"""One worker process that creates records under keys that all workers share, as a gateway does: started by tests.

    python -m tests.state_worker create URL FILE KEYS LEASE [FAULT]    until every key has its answer
    python -m tests.state_worker spend URL CALLS                       prints how many calls it was granted, and in doubt
    python -m tests.state_worker hold URL KEY                          takes a key, says `sending`, and waits

`create` writes a line for each record to FILE as the provider applies it. FAULT `blind`: sends again what is unknown.
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gateway.state import claims, holders
from gateway.state.claims import Claim
from gateway.state.opening import state_of
from gateway.state.store import State, StateUnavailable, Store, Transition
from tests.state_server import patience

T = TypeVar("T")


def opened(url: str) -> State:
    state = state_of(url, Path("/"))
    assert state is not None
    return state


async def insisted(act: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await act()
        except StateUnavailable:
            await asyncio.sleep(0.01)


class Worker:
    def __init__(self, store: Store, file: str, lease: float, fault: str) -> None:
        self.store, self.file, self.lease, self.fault = store, file, lease, fault
        self.me = holders.here()

    async def change(self, key: str, transition: Transition[T]) -> T:
        return await insisted(lambda: self.store.change(key, transition))

    async def create(self, key: str) -> bool:
        """Whether the key has its answer."""
        fence = random.getrandbits(63)
        asked = Claim(key, fence, "claimed", "f", "crm", "caller", "create", self.me, 0, 0, 0)

        def take(held: Claim | None, now: float) -> tuple[Claim | None, str]:
            if self.fault == "blind" and held is not None and held.word in ("sending", "unknown") and held.lease <= now:
                return replace(asked, lease=now + self.lease), "mine"
            return claims.take(held, asked, now, lease=self.lease)

        verdict = await self.change(key, take)
        if verdict == "done":
            return True
        if verdict == "unknown":
            await self.settle(key)
        if verdict == "mine":
            await self.run(key, fence)
        return False

    async def run(self, key: str, fence: int) -> None:
        await pause()
        try:
            may = await self.store.change(
                key, lambda held, now: claims.send(held, fence, now, lease=self.lease, about=b"", twin="")
            )
        except StateUnavailable:  # it may be ours to send, but is not sent
            may = False
        if not may or random.random() < 0.1:
            await self.change(key, lambda held, now: claims.release(held, fence))
            return
        await pause()
        self.apply(f"{key} {fence}\n")
        await pause()
        counted = await self.change(
            key,
            lambda held, now: claims.answer(held, fence, now, answer=f"{fence}".encode(), record=f"{fence}", keep=600),
        )
        assert self.fault or counted is None or counted.answer == f"{fence}".encode()

    def apply(self, line: str) -> None:
        file = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)

    def applied(self) -> str:
        return Path(self.file).read_text()

    async def settle(self, key: str) -> None:
        held = await insisted(lambda: self.store.claim(key))
        if held is None or held.word != "unknown":
            return
        if holders.is_dead(held.holder):
            await self.change(key, lambda held_, now: claims.bury(held_, held.holder, now))
        began = await self.change(key, lambda held_, now: claims.look(held_, now, pause=0.02))
        if not began:
            return
        fence = str(held.fence)
        if f"{key} {fence}\n" in self.applied():
            await self.change(
                key,
                lambda held_, now: claims.found(
                    held_, held.fence, now, answer=fence.encode(), record=fence, keep=600, how="look-up"
                ),
            )
        else:
            await self.change(key, lambda held_, now: claims.missed(held_, now, began, lag=0.0, keep=600))


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def pause() -> None:
    await asyncio.sleep(random.choice([0, 0.001, 0.003, 0.01, 0.05, 0.1]))


async def create(url: str, file: str, keys: str, lease: str, fault: str = "") -> None:
    state = opened(url)
    worker = Worker(state.store, file, float(lease), fault)

    async def some() -> None:
        left = [f"key{n}" for n in range(int(keys))]
        while left:
            random.shuffle(left)
            left = [key for key in left if not await worker.create(key)]
            await asyncio.sleep(0.005)

    await asyncio.gather(*(some() for _ in range(3)))
    await state.store.aclose()


async def spend(url: str, calls: str) -> None:
    board = opened(url).board
    await insisted(board.open)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    granted = refused = lost = 0
    while refused < 20:
        try:
            allowance = await board.spend("crm", int(calls), 1e8)
        except StateUnavailable:  # it may have been spent, and must not be counted on
            lost += 1
            continue
        if allowance is None:
            refused += 1
        else:
            granted += 1
        await asyncio.sleep(0)
    await board.aclose()
    say(f"{granted} {lost}")


async def hold(url: str, key: str) -> None:
    state = opened(url)
    await insisted(state.open)
    asked = Claim(key, 1, "claimed", "f", "crm", "caller", "create", holders.here(), 0, 0, 0)
    await state.store.change(key, lambda held, now: claims.take(held, asked, now, lease=0.3))
    await state.store.change(key, lambda held, now: claims.send(held, 1, now, lease=0.3, about=b"", twin=""))
    await state.board.bump([key])
    say("sending")
    await asyncio.sleep(600)


if __name__ == "__main__":
    # `hold` makes each of its steps once, however slow the machine is.
    slow = patience() if sys.argv[1] == "hold" else contextlib.nullcontext()
    with slow:
        asyncio.run({"create": create, "spend": spend, "hold": hold}[sys.argv[1]](*sys.argv[2:]))  # type: ignore[operator]  # each takes other words
