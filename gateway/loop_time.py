"""The event loop's clock, by which deadlines are told: asked of the system, not of the loop that runs.

The loops of asyncio and of uvloop go by `time.monotonic`. To ask which loop runs is a system call in Python 3.11 (it looks
whether the process has forked), and a call to a provider wants to know the time some ten times.
"""

import time

loop_time = time.monotonic
"""The running loop's time, in seconds."""


def deadline_in(seconds: float) -> float:
    """The loop's time so many seconds from now."""
    return loop_time() + seconds
