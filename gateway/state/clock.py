"""The clock of a store on one machine: it never jumps while the machine runs, and never goes back when it starts anew."""

import contextlib
import os
import time
from pathlib import Path


def _boot() -> str:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return ""
    name = ""
    with contextlib.suppress(OSError):
        name = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    with contextlib.suppress(OSError):  # a container may have a boot time of its own
        name += " " + os.readlink("/proc/self/ns/time") if name else ""
    return name


BOOT = _boot()
"""The name of what `ticks` counts from: this boot; empty where the system does not tell, then it is the Unix epoch."""


def ticks() -> float:
    """Seconds since this boot, those asleep included; without a name of the boot, the time of day."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if BOOT else time.time()


def offset(last: float) -> float:
    """What to add to `ticks` on a boot not seen before: about the time of day, and later than the last time known."""
    return max(time.time(), last) - ticks()
