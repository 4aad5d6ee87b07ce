"""The file beneath a board: memory that the processes of one machine share, a column of it for each.

    head        magic, the number that every version starts from, the number of columns ever used
    versions    VERSIONS slots of COLUMNS counters
    budgets     NAMES slots: COLUMNS counters of calls, COLUMNS allowances
    circuits    NAMES times
    marks       MARKS times
    names       to the end of the file: 16 bytes for each name, the nth for the nth slot

A process counts in its own column only, so that no two ever write the same counter, and reads everybody's: no lock is
needed, and a process that is stopped or killed at any point holds up nobody. The column is a lock on one byte that the
kernel lets go of when the process ends; who takes it next counts on from where it stood. A time is whoever's wrote it last.
A name has its slot by its first place among the names: all append theirs, and then all read the same file.
"""

import mmap
import os
import struct
import time
from hashlib import blake2b
from pathlib import Path

from gateway.state.locks import try_lock, unlock
from gateway.state.store import StateUnavailable, StateUnusable, failed

COLUMNS = 160
"""Room for two servers of the most workers at once, as when one takes over from the other, and for commands beside them. A
reload needs none, nor has the process that stands by a column before it serves."""
VERSIONS = 4096
NAMES = 1024
CROWDED = NAMES * 3 // 4
"""From so many names on it is begun anew where nobody else uses it: names of credentials and addresses that are no more are
never given up."""
MARKS = 16384

_MAGIC = b"crm-gateway board"
_FORMAT = 2
_HEAD = 4096
_AT_BASE = 32
_AT_USED = 40
_AT_VERSIONS = _HEAD
_AT_BUDGETS = _AT_VERSIONS + VERSIONS * COLUMNS * 8
_AT_CIRCUITS = _AT_BUDGETS + NAMES * COLUMNS * 2 * 8
_AT_MARKS = _AT_CIRCUITS + NAMES * 8
_AT_NAMES = _AT_MARKS + MARKS * 8
_DIGEST = 16
_SHIFT = 4
"""A board begins to count versions at the nanoseconds of the Unix epoch, divided by two so many times."""

_BEGIN = COLUMNS
"""The byte whose lock is held while the file is begun; the ones before it stand for the columns."""


class BoardFile:
    """The file, open, with a column of it for this process. Raises `StateUnavailable` when it cannot be had.

    A process that forks after opening must not use it in both.
    """

    def __init__(self, path: Path, wait: float = 1.0) -> None:
        self._path, self._wait = path, wait
        self._files: list[int] = []
        try:
            self._file = self._open(os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise failed(error, "the state board cannot be opened") from None
        try:
            self._start()
        except BaseException:
            self._close_files()
            raise

    def _open(self, flags: int) -> int:
        self._files.append(os.open(self._path, flags | os.O_CLOEXEC, 0o600))
        return self._files[-1]

    def _start(self) -> None:
        self._lock_to_begin()
        try:
            self._begin()
            self._appended = self._open(os.O_WRONLY | os.O_APPEND)
            self.column = next((column for column in range(COLUMNS) if try_lock(self._file, column)), -1)
            [used] = struct.unpack("=Q", os.pread(self._file, 8, _AT_USED))
            if self.column >= used:
                os.pwrite(self._file, struct.pack("=Q", self.column + 1), _AT_USED)
        except OSError as error:
            raise StateUnavailable(f"the state board cannot be begun: {error.strerror}") from None
        finally:
            unlock(self._file, _BEGIN)
        if self.column < 0:
            raise StateUnavailable(f"the state board is full: {COLUMNS} processes share it already")
        self._map = mmap.mmap(self._file, _AT_NAMES)
        self._bytes = memoryview(self._map)
        self.base = int(self._bytes[_AT_BASE : _AT_BASE + 8].cast("Q")[0])
        """What every version starts from: higher than any version of a board begun before."""
        self.used = self._bytes[_AT_USED : _AT_USED + 8].cast("Q")
        """How many columns have ever been used: those after them are zeros, and not looked at."""
        self.versions = self._bytes[_AT_VERSIONS:_AT_BUDGETS].cast("Q")
        self.budgets = self._bytes[_AT_BUDGETS:_AT_CIRCUITS].cast("Q")
        self.circuits = self._bytes[_AT_CIRCUITS:_AT_MARKS].cast("d")
        self.marks = self._bytes[_AT_MARKS:_AT_NAMES].cast("d")
        self.begun = (self.base << _SHIFT) / 1e9
        """The Unix second when it was begun."""
        status = os.fstat(self._file)
        self._identity = status.st_dev, status.st_ino
        self._names: dict[bytes, int] = {}
        if not self.is_there():
            raise StateUnavailable("the state board was removed while it was opened")

    def _lock_to_begin(self) -> None:
        """The lock is held for some milliseconds, at the start of a process only."""
        deadline = time.monotonic() + self._wait
        try:
            while not try_lock(self._file, _BEGIN):
                if time.monotonic() > deadline:
                    raise StateUnavailable("the state board is being begun by another process, which does not finish")
                time.sleep(0.005)
        except OSError as error:
            raise StateUnavailable(f"the state board cannot be shared here: {error.strerror}") from None

    def _begin(self) -> None:
        head, size = os.pread(self._file, 40, 0), os.fstat(self._file).st_size
        whole = head[:24] == _head() and size >= _AT_NAMES
        if whole and size < _AT_NAMES + CROWDED * _DIGEST:
            return
        if head.strip(b"\0") and not head.startswith(_MAGIC):
            raise StateUnusable("the state board's file is another program's: move it away")
        if not all([try_lock(self._file, column) for column in range(COLUMNS)]):
            if whole:  # it is used: those who have it go on with the names that are left
                for column in range(COLUMNS):
                    unlock(self._file, column)
                return
            raise StateUnavailable("the state board is used by another version of crm-gateway: stop that one first")
        # Nobody else has it open, nor can open it now: a board may forget.
        for column in range(COLUMNS):
            unlock(self._file, column)
        os.ftruncate(self._file, 0)
        if hasattr(
            os, "posix_fallocate"
        ):  # a page that the disk had no room for would kill the process that touched it
            os.posix_fallocate(self._file, 0, _AT_NAMES)
        else:
            os.ftruncate(self._file, _AT_NAMES)
        os.pwrite(self._file, struct.pack("=QQ", time.time_ns() >> _SHIFT, 0), _AT_BASE)
        os.pwrite(self._file, _head(), 0)

    def slot(self, name: str) -> int:
        """The slot of this name, the same in every process."""
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
        slot = self._names.get(digest)
        if slot is None:
            slot = self._look_up(digest)
            if slot is None:
                slot = self._append(digest)
        return slot

    def _append(self, digest: bytes) -> int:
        if len(self._names) >= NAMES:
            raise StateUnavailable(f"the state board is full: it has {NAMES} names. Remove it while no gateway runs")
        # Appended whole, since it crosses no page, and never over another's. If another was first, that one counts.
        try:
            os.write(self._appended, digest)
        except OSError as error:
            raise StateUnavailable(f"the state board cannot grow: {error.strerror}") from None
        slot = self._look_up(digest)
        if slot is None:
            raise StateUnavailable("the state board is damaged, or full. Remove it while no gateway runs")
        return slot

    def _look_up(self, digest: bytes) -> int | None:
        names = os.pread(self._file, NAMES * _DIGEST, _AT_NAMES)
        for slot in range(len(names) // _DIGEST):
            self._names.setdefault(names[slot * _DIGEST : (slot + 1) * _DIGEST], slot)
        return self._names.get(digest)

    def is_there(self) -> bool:
        """Whether the file is still the one of its path: those who come later share that one."""
        try:
            status = os.stat(self._path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def close(self) -> None:
        """Give the column back."""
        for view in (self.used, self.versions, self.budgets, self.circuits, self.marks, self._bytes):
            view.release()
        self._map.close()
        self._close_files()

    def _close_files(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _head() -> bytes:
    return _MAGIC.ljust(20, b"\0") + struct.pack("=I", _FORMAT)
