"""Notices that the event loop does not run: something in it computes or waits where it should not. Counts its tasks."""

import asyncio
import logging
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Self

from gateway.metrics import BLOCKED, TASKS

log = logging.getLogger("gateway")

LIMIT_SECONDS = 1.0
"""How long the loop may stand still before it is told."""
_PER_LIMIT = 4
_DEEPEST = 40

blocked_seconds = 0.0
"""For how long, in all, loops of this process stood still beyond the limit: for metrics."""


class Watchdog:
    """While entered, in a running loop: a standstill is logged once, with where it is, and counted.

    Costs four wake-ups of the loop and of a thread in each `limit`; at one of the four the loop's tasks are counted.
    """

    def __init__(self, limit: float = LIMIT_SECONDS) -> None:
        self._limit = limit
        self._beat = 0.0
        self._ticks = 0
        self._owner = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._owner = threading.get_ident()
        self._tick()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        TASKS.of().set(0)

    def _tick(self) -> None:
        self._beat = time.monotonic()
        if self._ticks % _PER_LIMIT == 0:
            TASKS.of().set(len(asyncio.all_tasks(self._loop)))
        self._ticks += 1
        self._timer = self._loop.call_later(self._limit / _PER_LIMIT, self._tick)

    def _watch(self) -> None:
        step = self._limit / _PER_LIMIT
        counted: float | None = None  # until when the present standstill is counted
        woken = time.monotonic()
        while not self._stop.wait(step):
            slept, woken = woken, time.monotonic()
            now, beat = woken, self._beat
            if now - slept > self._limit + step:
                # This thread stood still too. Where the loop is now says nothing of where it was.
                log.warning(
                    "the whole process stood still for %.1f s: stopped, starved, or held by C code", now - slept
                )
                self._note(now - (slept if counted is None else max(slept, counted)))
                counted = now
                continue
            if now - beat < self._limit:
                counted = None
                continue
            if counted is None:
                counted = beat
                log.warning("the event loop stands still for %.1f s; it is in %s", now - beat, where(self._owner))
            self._note(now - counted)
            counted = now

    def _note(self, seconds: float) -> None:
        global blocked_seconds
        blocked_seconds += seconds
        BLOCKED.of().add(seconds)


def where(thread: int) -> str:
    """The stack of a thread, innermost first: functions, modules and lines, and no values."""
    frame: FrameType | None = sys._current_frames().get(thread)
    told: list[str] = []
    while frame is not None and len(told) < _DEEPEST:
        module = frame.f_globals.get("__name__", "?")
        told.append(f"{module}.{frame.f_code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(told) or "no Python code"
