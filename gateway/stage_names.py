"""Names of stages where a provider tells them in lists only (`Adapter.names_in_lists`), asked for when they are needed.

What a list says is learned by the connection (`Adapter.learn`) like all that answers say. Each worker asks for itself: a
page of the list once, for a record whose stage none of it has one record of that stage, and for a write further pages.
Whoever needs a name meanwhile waits for the same answer. What was not found is not asked for again for a while, so that
all this costs a handful of calls, and none once the names are known.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from gateway.adapter import Adapter, Call, ListQuery, Reply
from gateway.errors import Problem
from gateway.loop_time import loop_time

AGAIN, SOON = 60.0, 2.0
"""Seconds after which what was not found is asked for again, and what could not be asked for."""
PAGES = 5
"""Pages of the list that are looked through in that time, at most."""
MOST = 20
"""Stages that are asked for one by one in that time without being found, at most."""

Send = Callable[[Call], Awaitable[Reply]]
"""Sends one of our calls with the time of whoever asks. Raises `Problem`."""


class Known(Protocol):
    """Whoever has the adapter as it is by now."""

    @property
    def adapter(self) -> Adapter: ...


class StageNames:
    """Asks for the names of the stages of one connection."""

    def __init__(self, of: Known) -> None:
        self._of = of
        self._lock = asyncio.Lock()
        self._position: str | None = None
        self._pages = 0
        self._looked = self._over = False
        """Whether any page was ever looked at, and whether this round is at its end."""
        self._again = 0.0
        self._missed: dict[str, float] = {}
        """Stages that were asked for in vain -> until when they are not asked for again."""

    async def look_for(self, stage_id: str, until: float, send: Send) -> None:
        """Ask for the name of a stage that a record stands in, if it is not known and was not asked for a moment ago.

        It takes no longer than `until`, of the loop's clock. Raises no `Problem`: a record can be told without.
        """
        if self._missed.get(stage_id, 0.0) > loop_time():
            return
        try:
            async with self._turn(until):
                if not self._is_known(stage_id) and self._may_ask_for(stage_id):
                    pause = AGAIN
                    try:
                        await self._ask_for(stage_id, send)
                    except Problem:
                        pause = SOON
                    if not self._is_known(stage_id):
                        self._missed[stage_id] = loop_time() + pause
        except TimeoutError:
            pass

    async def look_until(self, settled: Callable[[], bool], until: float, send: Send) -> None:
        """Look through the list until that is settled, or as far as is bearable; one page in any case, the first time.

        One name may be that of several stages: so what is known by chance does not count before. Raises `Problem`, and
        `TimeoutError` when others take too long.
        """
        if self._looked and settled():
            return
        async with self._turn(until):
            while not (self._looked and settled()) and self._has_more():
                await self._page(send)

    @asynccontextmanager
    async def _turn(self, until: float) -> AsyncIterator[None]:
        async with asyncio.timeout_at(until):
            await self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _is_known(self, stage_id: str) -> bool:
        return any(stage.id == stage_id and stage.name is not None for stage in self._of.adapter.known_stages)

    def _may_ask_for(self, stage_id: str) -> bool:
        now = loop_time()
        self._missed = {id_: until for id_, until in self._missed.items() if until > now}
        return stage_id not in self._missed and len(self._missed) < MOST

    async def _ask_for(self, stage_id: str, send: Send) -> None:
        if not self._looked:
            await self._page(send)
        adapter = self._of.adapter
        take = adapter.filters.get("stage")
        one = take(stage_id) if take is not None else None
        if one is not None and not self._is_known(stage_id):
            await send(adapter.list(ListQuery(1, filters=(one,))))

    def _has_more(self) -> bool:
        """Whether a page is left in this round, or it is time for another round."""
        if self._over and loop_time() >= self._again:
            self._position, self._pages, self._over = None, 0, False
        return not self._over

    async def _page(self, send: Send) -> None:
        adapter = self._of.adapter
        query = ListQuery(adapter.limits.page, self._position)
        reply = await send(adapter.list(query))
        page = adapter.page(reply.body, query)
        self._looked = True
        self._pages += 1
        self._position = page.next if page is not None else None
        if self._position is None or self._pages >= PAGES:
            self._over, self._again = True, loop_time() + AGAIN
