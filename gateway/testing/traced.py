"""Records that remember what was read of them, and for which field.

    reading, trace = traced(table, record)
    trace.read            {"name": {"/name"}, "owner.id": {"/responsible_user/id", "/responsible_user_id"}, ...}
    trace.beside          what was taken out of the record by something else than the rows of the table

Reading passes over every member once, in order that none be lost; that pass alone is not counted. What a row's codec does
inside the value of its own place is its own affair: it gets the value as it is.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, SupportsIndex

from gateway.codecs import MISSING
from gateway.fields import Table
from gateway.pointer import escape
from gateway.reading import Pass, Reading, Step
from gateway.strict_json import Json


class Trace:
    """What was read: places by canonical path (`contacts[].name`), and those that no row asked for."""

    def __init__(self) -> None:
        self.read: dict[str, set[str]] = {}
        self.beside: set[str] = set()
        self._for: str | None = None
        self._passing = False

    def note(self, pointer: str) -> None:
        """Remember that somebody looked there."""
        if self._for is not None:
            self.read.setdefault(self._for, set()).add(pointer)
        elif not self._passing:
            self.beside.add(pointer)

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """What is read until the block ends is read for this canonical field."""
        before, self._for = self._for, re.sub(r"\[\d+\]", "[]", path)
        try:
            yield
        finally:
            self._for = before

    @contextmanager
    def passing(self) -> Iterator[None]:
        """What is read until the block ends is passed over only."""
        kept, self._for, self._passing = (self._for, self._passing), None, True
        try:
            yield
        finally:
            self._for, self._passing = kept


class TracedObject(dict[str, Json]):
    """A JSON object whose trace is told of every member that is taken out of it or asked for."""

    def __init__(self, plain: dict[str, Json], pointer: str, trace: Trace) -> None:
        super().__init__((key, _over(value, f"{pointer}/{escape(key)}", trace)) for key, value in plain.items())
        self.plain, self.pointer, self.trace = plain, pointer, trace

    def _note(self, *keys: object) -> None:
        for key in keys:
            self.trace.note(f"{self.pointer}/{escape(str(key))}")

    def __getitem__(self, key: str) -> Json:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        self._note(*super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        self._note(*super().keys())
        return super().keys()

    def values(self) -> Any:
        self._note(*super().keys())
        return super().values()

    def items(self) -> Any:
        self._note(*super().keys())
        return super().items()


class TracedList(list[Json]):
    """A JSON list whose trace is told of every item that is taken out of it."""

    def __init__(self, plain: list[Json], pointer: str, trace: Trace) -> None:
        super().__init__(_over(value, f"{pointer}/{index}", trace) for index, value in enumerate(plain))
        self.plain, self.pointer, self.trace = plain, pointer, trace

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        for place in range(len(self))[index] if isinstance(index, slice) else (int(index),):
            self.trace.note(f"{self.pointer}/{place}")
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Json]:
        for index in range(len(self)):
            self.trace.note(f"{self.pointer}/{index}")
        return super().__iter__()


def _over(value: Json, pointer: str, trace: Trace) -> Json:
    if isinstance(value, dict):
        return TracedObject(value, pointer, trace)
    return TracedList(value, pointer, trace) if isinstance(value, list) else value


def _plain(value: Json) -> Json:
    return value.plain if isinstance(value, TracedObject | TracedList) else value


class _Slots(list[Any]):
    """The values of one object's places: each that is asked for and told is noted."""

    def __init__(self, values: list[Any], of: "_Remembering") -> None:
        super().__init__(values)
        self._of = of

    def __getitem__(self, slot: Any) -> Any:
        value = super().__getitem__(slot)
        if value is not MISSING:
            self._of.trace.note(self._of.place(slot))
        return value if self._of.in_list else _plain(value)


class _Remembering(Pass):
    """Reads as the gateway does, over a traced record."""

    trace: Trace
    in_list = False

    def scatter(self, record: dict[str, Json]) -> None:
        with self.trace.passing():
            super().scatter(record)
        self.values = _Slots(self.values, self)

    def place(self, slot: int) -> str:
        """Where the value of a slot stands in the whole record."""
        return self._where(slot)

    def _keep(self, pointer: str, value: Json) -> None:
        super()._keep(pointer, _plain(value))

    def _one(self, step: Step) -> Json:
        with self.trace.reading(self.path + step.path):
            return super()._one(step)

    def _leaf(self, step: Step) -> Json:
        with self.trace.reading(self.path + step.path):
            return super()._leaf(step)

    def _list(self, step: Step) -> Json:
        self.in_list = True  # its elements are read by this class too
        with self.trace.reading(self.path + step.path):
            told = super()._list(step)
        self.in_list = False
        return told


def traced(table: Table, record: dict[str, Json]) -> tuple[Reading, Trace]:
    """What the table reads of a record, and what it looked at for that."""
    noted = Trace()

    class Remembering(_Remembering):
        trace = noted

    table.reader.passes = Remembering
    try:
        return table.read(TracedObject(record, "", noted)), noted
    finally:
        del table.reader.passes
