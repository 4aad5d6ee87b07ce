"""The file by which `crm-gateway reload` finds a server, and in which it reads what came of it.

The first line is the process id, for any other tool; the second is for `reload`. The server holds a lock on the file for as
long as it lives, so that a file left behind by a killed one misleads nobody.
"""

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Self

_SQLITE = "sqlite:///"


class NotServing(Exception):
    """No server has this file."""


def default_path(state: str, folder: Path) -> Path:
    """Beside the state file, in a folder that can be written to; without one beside config.yaml."""
    if state.startswith(_SQLITE):
        file = folder / state.removeprefix(_SQLITE)
        return file.with_name(file.name + ".pid")
    return folder / "crm-gateway.pid"


class PidFile:
    """The file of this process. Raises `BlockingIOError` when another server has it, and `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reloads = 0
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._file).st_ino == os.stat(path).st_ino:
                    break
            except FileNotFoundError:
                pass  # removed by the server before us between our opening and our lock
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)
        self._write(True, ())

    def reloaded(self, good: bool, said: tuple[str, ...]) -> None:
        """Tell what came of a reload."""
        self._reloads += 1
        self._write(good, said)

    def _write(self, good: bool, said: tuple[str, ...]) -> None:
        told = json.dumps({"reloads": self._reloads, "good": good, "said": said})
        content = f"{os.getpid()}\n{told}\n".encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def ask_to_reload(path: Path, seconds: float = 30.0) -> tuple[bool, list[str]]:
    """Have the server of this file reload: whether the new configuration is in force, and what was said.

    Raises `NotServing`, or `TimeoutError` when it did not say in time.
    """
    pid, before = _read(path)
    if _is_free(path):
        raise NotServing
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        raise NotServing from None
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)
        _, now = _read(path)
        if now["reloads"] != before["reloads"]:
            return now["good"], now["said"]
    raise TimeoutError


def _read(path: Path) -> tuple[int, dict[str, Any]]:
    for _ in range(20):  # it may just be written
        try:
            pid, told = path.read_text("utf-8").splitlines()
            return int(pid), json.loads(told)
        except FileNotFoundError:
            raise NotServing from None
        except ValueError:
            time.sleep(0.01)
    raise NotServing


def _is_free(path: Path) -> bool:
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
