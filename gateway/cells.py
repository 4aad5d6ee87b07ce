"""Numbers that one process counts and others read: memory in a file of its own, no lock, no system call on the way.

    Cells      the numbers of this process, each reached by its index
    readings   what all processes that share a folder have counted, also those that are gone

A file holds `CELLS` doubles, and after them a line for each name: how many cells it has. Only its process writes to it.
The file of a process that ended is taken over by the next one that starts, which counts on from there: nothing counted is
lost when a worker dies, and there are never more files than there have been workers at one time.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.state.locks import try_lock
from gateway.state.store import StateUnavailable

CELLS = 1 << 16
"""Cells of one process. A page of them takes memory once it is used."""
_FILES = 256
_SIZE = CELLS * 8


class Cells:
    """`values[index]` are this process's numbers; `take` gives a name its place. For one thread, that of the event loop.

    `folder` None: in the memory of this process, for nobody else. Raises `OSError` when the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.places: dict[str, tuple[int, int]] = {}
        """Name -> (first index, how many cells)."""
        self._used = 0
        self._file: int | None = None
        if folder is None:
            self._map = mmap.mmap(-1, _SIZE)
        else:
            self._file = _own_file(folder)
            self._map = mmap.mmap(self._file, _SIZE)
            for name, (at, size) in _names(self._file).items():
                self.places[name] = at, size
                self._used = at + size
        self.values = memoryview(self._map).cast("d")

    def take(self, name: str, size: int) -> int | None:
        """The first index of this name's cells, which begin at zero; None when there is no more room."""
        place = self.places.get(name)
        if place is not None:
            return place[0]
        if self._used + size > CELLS:
            return None
        if self._file is not None:
            try:
                os.write(self._file, f"{size} {name}\n".encode())  # one write, so that nobody reads half of a line
            except OSError:
                return None
        at, self._used = self._used, self._used + size
        self.places[name] = at, size
        return at


@dataclass(frozen=True, slots=True)
class Reading:
    """The cells of one name in one process; `alive` tells whether the process still runs."""

    name: str
    values: tuple[float, ...]
    alive: bool


def readings(cells: Cells) -> Iterator[Reading]:
    """What this process has counted, and all those that share the folder with it."""
    if cells.folder is None:
        for name, (at, size) in cells.places.items():
            yield Reading(name, tuple(cells.values[at : at + size]), True)
        return
    for path in sorted(cells.folder.glob("*.cells")):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # the server is ending
            continue
        try:
            # Held for a moment only: a process that starts just then takes another file.
            alive = not try_lock(file, 0)
            names = _names(file)
            end = max((at + size for at, size in names.values()), default=0)
            values = memoryview(os.pread(file, end * 8, 0)).cast("d")
        finally:
            os.close(file)
        for name, (at, size) in names.items():
            yield Reading(name, tuple(values[at : at + size]), alive)


def _own_file(folder: Path) -> int:
    """A file that no living process has, open and locked until this process ends."""
    for number in range(_FILES):
        file = os.open(folder / f"{number:03}.cells", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            taken = try_lock(file, 0)
        except StateUnavailable as error:
            os.close(file)
            raise OSError(str(error)) from None
        if taken:
            _make_room(file)
            return file
        os.close(file)
    raise OSError("too many processes count in one folder")


def _make_room(file: int) -> None:
    size = os.fstat(file).st_size
    if size < _SIZE:
        # A page that the disk had no room for would kill the process that touched it.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, _SIZE)
        else:
            os.ftruncate(file, _SIZE)
        return
    told = os.pread(file, size - _SIZE, _SIZE)
    os.ftruncate(file, _SIZE + told.rfind(b"\n") + 1)  # a line that its writer did not end


def _names(file: int) -> dict[str, tuple[int, int]]:
    """Name -> (first index, how many cells) of the names in a file."""
    size = os.fstat(file).st_size
    told = os.pread(file, max(0, size - _SIZE), _SIZE).decode() if size > _SIZE else ""
    places: dict[str, tuple[int, int]] = {}
    at = 0
    for line in told.split("\n")[:-1]:
        cells, _, name = line.partition(" ")
        places[name] = at, int(cells)
        at += int(cells)
    return places
