"""Which process holds a claim, and whether it is known to be dead: a dead one sends no more."""

import contextlib
import hashlib
import os
import sys
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_FIRST_NAMESPACE = "4026531836"
"""The kernel's own number of the pid namespace that a machine starts with: a process in another one is in a container."""


def here() -> str:
    """The name of this process, unlike that of any other, on any machine, before or after: five words with dots between.

    machine.boot.namespace.pid.start; a `?` where the system does not tell.
    """
    pid = os.getpid()
    return ".".join((*_place(), str(pid), _start(pid) or "?"))


def is_dead(holder: str) -> bool:
    """Whether the process of this name (of `here`) is known to send no more. Never guessed: False when it cannot be known.

    Known is: on this machine, since its boot, in this pid namespace, there is no such process now; or: on this machine,
    outside containers, and the machine was started anew since. Of another machine or container nothing is known here:
    machines cloned from one image, and containers moved to another machine, may look alike.
    """
    words = holder.split(".")
    if len(words) != 5 or "?" in words:
        return False
    machine, boot, namespace, pid, start = words
    here_machine, here_boot, here_namespace = _place()
    if machine != here_machine or namespace != here_namespace:
        return False
    if boot != here_boot:
        return here_boot != "?" and namespace == _FIRST_NAMESPACE
    return pid.isdecimal() and _is_gone(int(pid), start)


def _is_gone(pid: int, start: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # there is one, and it is another user's: /proc may tell, or hide it
        pass
    now = _start(pid)
    return now is not None and (now != start or _is_zombie(pid))


def _start(pid: int) -> str | None:
    """When the process was started, in clock ticks since the boot: a pid is used again, but not with the same start."""
    words = _stat(pid)
    return words[19] if len(words) > 19 else None


def _is_zombie(pid: int) -> bool:
    """Whether it has ended, all its threads with it, and only waits to be asked how."""
    words = _stat(pid)
    if not words or words[0] not in ("Z", "X"):
        return False
    with contextlib.suppress(OSError):
        return len(os.listdir(_PROC / str(pid) / "task")) <= 1
    return False


def _stat(pid: int) -> list[str]:
    """The words of /proc/PID/stat from the third on: the second, the program's name, may have blanks and brackets in it."""
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()


@cache
def _place() -> tuple[str, str, str]:
    """(machine, boot, pid namespace): the same for as long as this process lives."""
    if sys.platform != "linux":
        return "?", "?", "?"
    boot = _read(_PROC / "sys/kernel/random/boot_id").strip()
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = os.readlink(_PROC / "self/ns/pid").partition("[")[2].rstrip("]")
    return _machine(), _digest(boot) if boot else "?", namespace or "?"


def _machine() -> str:
    """A digest of all that sets this machine apart. One word too many only makes it a stranger to itself, which is safe;
    one too few would make two machines the same, which is not."""
    machine = _read(Path("/etc/machine-id")).strip()
    if not machine:
        return "?"
    cards = []
    with contextlib.suppress(OSError):
        for card in sorted(Path("/sys/class/net").iterdir()):
            if (card / "device").exists():
                cards.append(_read(card / "address").strip())
    return _digest(machine, os.uname().nodename, *cards)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _digest(*words: str) -> str:
    return hashlib.blake2b("\0".join(words).encode(), digest_size=8).hexdigest()
