"""Tasks of our own, ended for good."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.1


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel these tasks, and return once all are over. What they raise is nobody's concern any more.

    A task is cancelled until it ends: `asyncio.wait_for` of Python 3.11, which redis-py uses, may take a cancellation for
    an answer that came in the same moment, and a loop around it would go on for ever.
    """
    tasks = set(tasks)
    while left := {task for task in tasks if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)  # so that none is reported as never having been looked at
