"""Locks on single bytes of a file, which the kernel lets go of when the process that has them ends."""

import errno
import struct

from gateway.state.store import StateUnavailable

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # there is none on Windows


def try_lock(file: int, byte: int) -> bool:
    """Whether this byte of the file is now locked by this open file, without waiting. Raises `OSError`."""
    return _set(file, byte, locked=True)


def unlock(file: int, byte: int) -> None:
    """The byte is free."""
    _set(file, byte, locked=False)


def _set(file: int, byte: int, *, locked: bool) -> bool:
    if fcntl is None:
        raise StateUnavailable("state that several processes share needs Linux or macOS")
    kind = fcntl.F_WRLCK if locked else fcntl.F_UNLCK
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            # Locks of the open file, not of the process: no other opening or closing of the file touches them.
            # struct flock: l_type, l_whence, l_start, l_len, l_pid
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", kind, 0, byte, 1, 0))
        else:
            fcntl.lockf(file, (fcntl.LOCK_EX | fcntl.LOCK_NB) if locked else fcntl.LOCK_UN, 1, byte)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True
