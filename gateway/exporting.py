"""Many opportunities as one file: lines of JSON, rows of CSV, or a Parquet file.

ndjson    each opportunity as the API gives it: what is missing is missing, and what is null is null
csv       a column for each canonical field that is one value; lists and `extensions` are JSON in their cells. Missing, null
          and an empty text are all an empty cell
parquet   the same columns, all of them text; missing and null are both null

Pages are written as they come, so that memory does not grow with their number. Parquet is made of lines of JSON once the
last page is there, since a Parquet file that was not finished cannot be read at all.
"""

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import IO, Any

from gateway.shape import SHAPE, Shape
from gateway.strict_json import Json, dumps, loads

FORMATS = ("ndjson", "csv", "parquet")
ROWS = 10_000
"""Rows of a Parquet file that are in memory at once."""


def _columns(shape: Mapping[str, Shape], prefix: str = "") -> Iterator[str]:
    for name, part in shape.items():
        if part.parts is None or part.many:
            yield f"{prefix}{name}"
        else:
            yield from _columns(part.parts, f"{prefix}{name}.")


COLUMNS = ("id", "connection", "provider", "complete", *_columns(SHAPE), "extensions")
"""Every column of a table of opportunities, in the order of the canonical fields."""
_WAYS = tuple(tuple(column.split(".")) for column in COLUMNS)


class CannotResume(Exception):
    """There is nothing that could be gone on with; the text says why."""


def missing_package(form: str) -> str | None:
    """What has to be installed before this format can be written; None when all is there."""
    if form == "parquet" and find_spec("pyarrow") is None:
        return "parquet needs one more package: pip install 'crm-gateway[parquet]'"
    return None


def cells(opportunity: Mapping[str, Json]) -> list[str | None]:
    """The text in each of `COLUMNS`; None where the field is missing or null."""
    row: list[str | None] = []
    for way in _WAYS:
        value: Any = opportunity
        for name in way:
            value = value.get(name) if isinstance(value, Mapping) else None
        row.append(value if value is None or isinstance(value, str) else dumps(value).decode())
    return row


def header(form: str) -> bytes:
    """What stands before the first record while records come."""
    return _rows([COLUMNS]) if form == "csv" else b""


def written(form: str, opportunities: Sequence[Mapping[str, Json]]) -> bytes:
    """These records as they are written while they come."""
    if form == "csv":
        return _rows([cells(one) for one in opportunities])
    return b"".join(dumps(one) + b"\n" for one in opportunities)


def _rows(rows: Sequence[Sequence[str | None]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def write_parquet(lines: IO[bytes], target: IO[bytes]) -> None:
    """A Parquet file of the lines of JSON, from where they stand; `target` need not be able to seek."""
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = arrow.schema([(column, arrow.string()) for column in COLUMNS])
    with parquet.ParquetWriter(arrow.PythonFile(_Told(target), mode="w"), schema) as writer:
        while batch := [cells(_read(line)) for line in islice(lines, ROWS)]:
            columns = zip(*batch, strict=True)
            writer.write_table(arrow.table([arrow.array(one, arrow.string()) for one in columns], schema=schema))


def _read(line: bytes) -> Mapping[str, Json]:
    opportunity = loads(line)
    assert isinstance(opportunity, dict)  # as `written` wrote it
    return opportunity


class _Told:
    """A stream that can say how much was written to it, which a pipe cannot."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._at = stream, 0

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Nothing: whoever opened the stream closes it."""


class ToStream:
    """An export to a stream. Of Parquet nothing is written before the end."""

    def __init__(self, stream: IO[bytes], form: str, cursor: str | None) -> None:
        self.records, self.cursor = 0, cursor
        self._stream, self._form = stream, form
        self._pages: IO[bytes] = tempfile.TemporaryFile() if form == "parquet" else stream  # noqa: SIM115  # until `finish`
        if cursor is None:
            self._pages.write(header(form))

    def add(self, opportunities: Sequence[Mapping[str, Json]], cursor: str | None) -> None:
        """A page, and where the next one starts."""
        self._pages.write(written(self._form, opportunities))
        self._pages.flush()
        self.records, self.cursor = self.records + len(opportunities), cursor

    def finish(self) -> None:
        """All pages are there."""
        if self._form == "parquet":
            self._pages.seek(0)
            write_parquet(self._pages, self._stream)
        self._stream.flush()

    def close(self) -> None:
        """Let go of everything but the stream."""
        if self._form == "parquet":
            self._pages.close()

    def to_go_on(self) -> str | None:
        """How to go on where it ended; None where that is not possible."""
        possible = self.cursor is not None and self._form != "parquet"
        return f"the rest comes with --cursor {self.cursor}" if possible else None


def _own(path: Path) -> IO[bytes]:
    """The file, which nobody else may read: it holds customers' data."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


class ToFile:
    """An export to a file, which is there once it is whole.

    Until then FILE.part holds the pages that have come, and FILE.resume says of what they are, how much of it is whole and
    where the next one starts. Whatever ends the process, the export can go on behind the last whole page.
    """

    def __init__(self, path: Path, form: str, of: Mapping[str, Json], *, resume: bool) -> None:
        """`of` says what is exported: what is gone on with has to be of the same. Raises `CannotResume` and `OSError`."""
        self.records = 0
        self.cursor: str | None = None
        self._path, self._form, self._of = path, form, {"format": form, **of}
        self._part, self._note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.resume")
        size = self._resumed() if resume else 0
        if not resume:
            self._note.unlink(missing_ok=True)  # before anything that it speaks of is gone
        self._pages = _own(self._part)
        self._pages.truncate(size)
        self._pages.seek(size)
        if not size:
            self._pages.write(header(form))

    def _resumed(self) -> int:
        """How many bytes of the part are whole."""
        try:
            note = json.loads(self._note.read_bytes())
            of, cursor, size, records = note["of"], note["cursor"], int(note["bytes"]), int(note["records"])
            there = self._part.stat().st_size
        except FileNotFoundError:
            raise CannotResume("no export to this file was interrupted: leave --resume out") from None
        except (ValueError, LookupError, TypeError):
            raise CannotResume(f"{self._note} cannot be read: leave --resume out to begin anew") from None
        if of != self._of:
            raise CannotResume(f"what was interrupted is an export of {dumps(of).decode()}: ask for the same")
        if there < size:
            raise CannotResume(f"{self._part} has lost its end: leave --resume out to begin anew")
        self.records, self.cursor = records, cursor
        return size

    def add(self, opportunities: Sequence[Mapping[str, Json]], cursor: str | None) -> None:
        """A page, and where the next one starts."""
        self._pages.write(written(self._form, opportunities))
        self._pages.flush()
        self.records, self.cursor = self.records + len(opportunities), cursor
        if cursor is None:
            return  # the note stays that of the page before, which it takes to come here again
        note = {"of": self._of, "cursor": cursor, "bytes": self._pages.tell(), "records": self.records}
        new = self._note.with_name(f"{self._note.name}.new")
        with _own(new) as file:
            file.truncate(0)
            file.write(json.dumps(note).encode())
        new.replace(self._note)

    def finish(self) -> None:
        """All pages are there: the file takes its place, over one that was there before."""
        if self._form == "parquet":
            whole = self._path.with_name(f"{self._path.name}.whole")
            self._pages.seek(0)
            with _own(whole) as file:
                file.truncate(0)
                write_parquet(self._pages, file)
            whole.replace(self._path)
            self._part.unlink()
        else:
            self._part.replace(self._path)
        self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file, whole or not."""
        self._pages.close()

    def to_go_on(self) -> str | None:
        """How to go on where it ended; None where there is nothing yet."""
        return "--resume goes on behind them" if self._note.exists() else None
