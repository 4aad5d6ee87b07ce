"""The SQLite file of claims: opening it, its tables, and what its errors mean. Used from one thread."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from gateway.state import clock
from gateway.state.claims import Claim, turn_of
from gateway.state.packing import forgotten_at, pack, readable, unpack, was_settled
from gateway.state.store import Place, RecordTaken, StateUnavailable, StateUnusable, UnsafeStore, failed

VERSION = 2
PATIENCE = 0.005
"""How long one try for the lock is, in seconds. SQLite waits longer and longer between its looks, so that who has waited
longest looks most seldom: a short try, made again and again, is fair."""

_TABLES = """
CREATE TABLE claims (
    key TEXT NOT NULL PRIMARY KEY,
    connection TEXT NOT NULL,
    word TEXT NOT NULL,
    since REAL NOT NULL,
    over REAL,
    settled INTEGER NOT NULL,
    record TEXT NOT NULL,
    claim BLOB NOT NULL,
    turn REAL NOT NULL DEFAULT 0
);
CREATE INDEX claims_open ON claims (turn, key) WHERE over IS NULL;
CREATE INDEX claims_unknown ON claims (since, key) WHERE over IS NULL AND word = 'unknown';
CREATE INDEX claims_over ON claims (over) WHERE over IS NOT NULL;
CREATE INDEX claims_settled ON claims (since, key) WHERE settled = 1;
CREATE UNIQUE INDEX claims_record ON claims (connection, record) WHERE record <> '';
CREATE TABLE clocks (boot TEXT NOT NULL PRIMARY KEY, ahead REAL NOT NULL);
CREATE TABLE last (one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), seen REAL NOT NULL);
INSERT INTO last VALUES (1, 0);
"""

_FROM_1 = """
ALTER TABLE claims ADD COLUMN turn REAL NOT NULL DEFAULT 0;
DROP INDEX claims_open;
CREATE INDEX claims_open ON claims (turn, key) WHERE over IS NULL;
CREATE INDEX claims_unknown ON claims (since, key) WHERE over IS NULL AND word = 'unknown'
"""
"""What makes a file of version 1 one of this version. The turn of each of its claims has come."""

_ANEW = "move it away and put its backup there, or set `state` to another file"
_MEANINGS = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another process",
    sqlite3.SQLITE_READONLY: "cannot be written: read-only; let this user write it",
    sqlite3.SQLITE_PERM: "cannot be written: access is refused; let this user write it",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk or file system reports an error",
    sqlite3.SQLITE_CORRUPT: f"is damaged: {_ANEW}",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: missing, or access to it or its folder is refused",
    sqlite3.SQLITE_NOTADB: f"is not an SQLite database, or damaged: {_ANEW}",
    sqlite3.SQLITE_NOMEM: "cannot be used: out of memory",
}
_FOR_GOOD = frozenset({
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB,
})  # fmt: skip
"""What nobody need wait for: somebody has to do something about it."""


class Locked(Exception):
    """Another process is writing just now; nothing was changed."""


@contextmanager
def told() -> Iterator[None]:
    """Errors of SQLite become `Locked`, or `StateUnavailable` with what is the matter."""
    try:
        yield
    except sqlite3.Error as error:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise Locked from None
        kind = StateUnusable if code in _FOR_GOOD else StateUnavailable
        raise kind(f"the state database {_MEANINGS.get(code, 'cannot be used')}") from None


class Database:
    """One connection to the file, and its claims. Every method may raise `Locked` and `StateUnavailable`."""

    def __init__(self, path: Path, *, create: bool) -> None:
        """Opens the file; one that is missing is begun anew when `create`, readable by nobody else."""
        self._path = path
        self._identity = _identity(path, create=create)
        with told():
            self._sql = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            with told():
                self._prepare()
        except BaseException:
            self._sql.close()
            raise

    def _prepare(self) -> None:
        sql = self._sql
        if self._version() > VERSION:
            raise UnsafeStore("the state database was written by a later version of crm-gateway: use that one")
        [mode] = sql.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateUnusable("the state database needs a local disk: its file system shares no memory")
        sql.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns, power cut or not
        sql.execute("BEGIN IMMEDIATE")
        if self._version() < VERSION:
            for statement in (_FROM_1 if self._version() else _TABLES).split(";"):
                sql.execute(statement)
            sql.execute(f"PRAGMA user_version = {VERSION}")
        row = sql.execute("SELECT ahead FROM clocks WHERE boot = ?", (clock.BOOT,)).fetchone()
        [self._last] = sql.execute("SELECT seen FROM last").fetchone()
        if row is None:
            # The time last seen is written every second only: the new clock starts after it, with room to spare.
            row = [clock.offset(self._last + 2.0)]
            sql.execute("INSERT INTO clocks VALUES (?, ?)", (clock.BOOT, row[0]))
        self._ahead: float = row[0]
        sql.execute("COMMIT")

    def _version(self) -> int:
        [version] = self._sql.execute("PRAGMA user_version").fetchone()
        return int(version)

    def now(self) -> float:
        """The time, the same in every process that has opened this file on this machine."""
        return clock.ticks() + self._ahead

    def check(self) -> None:
        """That the file is still the one of its path: claims written to a deleted one would be seen by nobody."""
        if _identity(self._path, create=False) != self._identity:
            raise StateUnavailable("the state database was replaced")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Changes made within are durable, all of them, once it is left, and none of them when it raises."""
        with told():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
                raise

    def claim(self, key: str, now: float) -> Claim | None:
        """The claim of this key, unless it is over."""
        return next(self._claims("key = ? AND (over IS NULL OR over > ?)", key, now), None)

    def put(self, key: str, claim: Claim | None, now: float) -> None:
        """The claim of this key from now on. Raises `RecordTaken`, and then nothing is changed."""
        with told():
            if claim is None:
                self._sql.execute("DELETE FROM claims WHERE key = ?", (key,))
                return
            packed = pack(claim)  # what cannot be packed changes nothing
            if claim.record:
                self._take_record(key, claim, now)
            self._sql.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    claim.connection,
                    claim.word,
                    claim.since,
                    forgotten_at(claim),
                    was_settled(claim),
                    claim.record,
                    packed,
                    turn_of(claim),
                ),
            )

    def _take_record(self, key: str, claim: Claim, now: float) -> None:
        """The record is this key's: `INSERT OR REPLACE` would silently forget the other claim that has it."""
        other = self.holder_of(claim.connection, claim.record, now)
        if other not in (None, key):
            raise RecordTaken
        # What is left is this key's own claim, or one that is over.
        self._sql.execute(
            "DELETE FROM claims WHERE connection = ? AND record = ? AND record <> ''", (claim.connection, claim.record)
        )

    def holder_of(self, connection: str, record: str, now: float) -> str | None:
        """The key of the claim that stands for this record, unless it is over."""
        with told():
            row = self._sql.execute(
                "SELECT key FROM claims WHERE connection = ? AND record = ? AND record <> '' "
                "AND (over IS NULL OR over > ?)",
                (connection, record, now),
            ).fetchone()
        return None if row is None else str(row[0])

    def touch(self) -> None:
        """Write something, to see whether that can be done."""
        with told():
            self._sql.execute("UPDATE last SET seen = max(seen, ?)", (self.now(),))

    def tidy(self, now: float, most: int) -> None:
        """Forget some claims that are over, and remember about what time it is."""
        with told():
            self._sql.execute(
                "DELETE FROM claims WHERE key IN "
                "(SELECT key FROM claims WHERE over IS NOT NULL AND over <= ? ORDER BY over LIMIT ?)",
                (now, most),
            )
            if not self._last <= now < self._last + 1.0:
                self._sql.execute("UPDATE last SET seen = max(seen, ?)", (now,))
                self._last = now

    def open_claims(self, connection: str | None, twin: str) -> list[Claim]:
        """Claims neither done nor absent, of this connection and this twin if any, those whose turn comes first first."""
        where, values = "over IS NULL", list[object]()
        if connection is not None:
            where, values = f"{where} AND connection = ?", [connection]
        if twin:  # whatever does not hold the word is not worth being unpacked
            where, values = f"{where} AND instr(claim, ?)", [*values, twin.encode()]
        return [one for one in self._claims(f"{where} ORDER BY turn, key", *values) if not twin or one.twin == twin]

    def due(self, now: float, each: int) -> list[Claim]:
        """Open claims whose turn has come, those that have waited longest first; of each connection so many at most that
        are unknown, and so many that are not."""
        place = "row_number() OVER (PARTITION BY connection, word = 'unknown' ORDER BY turn, key) AS place"
        known = f"SELECT claim, turn, key, {place} FROM claims WHERE over IS NULL AND turn <= ?"
        return [
            *readable(self._rows(f"SELECT key, claim FROM ({known}) WHERE place <= ? ORDER BY turn, key", now, each))
        ]

    def unknown(self) -> int:
        """How many claims are unknown."""
        with told():
            [count] = self._sql.execute(
                "SELECT count(*) FROM claims WHERE over IS NULL AND word = 'unknown'"
            ).fetchone()
        return int(count)

    def outcomes(self, now: float, limit: int, after: Place | None) -> list[Claim]:
        """Claims that are unknown, then those that were; of each the latest first, and only those after this place."""
        before = (inf, "") if after is None else (after.since, after.key)
        found: list[Claim] = []
        if after is None or not after.settled:
            found += self._latest("over IS NULL AND word = 'unknown'", before, limit)
            before = (inf, "")
        return found + self._latest("settled = 1 AND (over IS NULL OR over > ?)", before, limit - len(found), now)

    def _latest(self, where: str, before: tuple[float, str], most: int, *values: object) -> list[Claim]:
        """Of these claims the latest before that place. What cannot be read takes no other's room."""
        found: list[Claim] = []
        while (left := most - len(found)) > 0:
            rows = self._rows(
                f"SELECT key, claim, since FROM claims WHERE {where} AND (since, key) < (?, ?) "
                "ORDER BY since DESC, key DESC LIMIT ?",
                *values, *before, left,
            )  # fmt: skip
            found += readable((key, packed) for key, packed, _ in rows)
            if len(rows) < left:
                break
            before = rows[-1][2], rows[-1][0]
        return found

    def _claims(self, where: str, *values: object) -> Iterator[Claim]:
        for [packed] in self._rows(f"SELECT claim FROM claims WHERE {where}", *values):
            yield unpack(packed)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with told():
            return self._sql.execute(query, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        with told():
            self._sql.close()


def _identity(path: Path, *, create: bool) -> tuple[int, int]:
    try:
        if create:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        status = os.stat(path)
    except FileNotFoundError:
        missing = "its folder does not exist: make it" if create else "the file was removed: put it back, or start anew"
        raise StateUnusable(f"the state database is missing: {missing}") from None
    except OSError as error:
        raise failed(error, "the state database cannot be opened") from None
    return status.st_dev, status.st_ino
