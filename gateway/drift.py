"""Drift: how a provider's records differ from the shape that its adapter declares. Counted and told, never fatal.

Three kinds: `new` (a member that no row and no `also` of the table names), `gone` (a member that a whole record should have
and has not), `type` (a member of another type than declared). Places in lists are folded: `/contacts/*/fax`.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator

from gateway.fields import Table
from gateway.metrics import DRIFT
from gateway.reading import Reading
from gateway.scrubbing import scrubbed
from gateway.strict_json import Json

log = logging.getLogger("gateway")

KINDS = ("new", "gone", "type")
MOST = 200
"""How many different places are counted one by one; what comes beyond is counted together."""

LONGEST = 200
"""Characters of a place; a name in it may be as long as a provider likes."""

REMEMBERED = 1000
"""How many pointers at most are known to be a sign or none, so that what each record shows is judged once."""

_INDEX = re.compile(r"/\d+(?=/|$)")


def folded(pointer: str) -> str:
    """A JSON Pointer with every list index as `*`, cut where a name in it is endless."""
    return _INDEX.sub("/*", pointer)[:LONGEST]


class Drift:
    """What was seen of one connection. A place that shows its `secret` is not told: members have a provider's names."""

    def __init__(self, connection: str, secret: str = "") -> None:
        self.connection = connection
        self._secrets = (secret,)
        self.seen: Counter[tuple[str, str]] = Counter()
        self._counts = {kind: DRIFT.of(connection, kind) for kind in KINDS}
        self._table: Table | None = None
        self._judged: dict[str, str | None] = {}
        """Pointers in records of that table, and the place that each is a sign of something new at; None where of none."""
        self._harmless: set[str] = set()
        """Those that are a sign of nothing: most records have no others."""

    def note(self, table: Table, reading: Reading, whole: bool) -> None:
        """Count what one record shows; one log line for each kind and place, the first time."""
        left_over = reading.extensions
        harmless = not left_over or (table is self._table and self._harmless.issuperset(left_over))
        if harmless and not reading.issues and not (whole and reading.missing):
            return
        for kind, place in self._signs(table, reading, whole):
            sign = kind, place
            if sign not in self.seen:  # scrubbing is dear, and one record may show tens of thousands
                sign = kind, "…" if len(self.seen) >= MOST else scrubbed(place, self._secrets)
                if sign not in self.seen and sign[1] != "…":
                    log.warning("connection %s: drift: %s at %s", self.connection, *sign)
            self.seen[sign] += 1
            self._counts[sign[0]].add()

    def _signs(self, table: Table, reading: Reading, whole: bool) -> set[tuple[str, str]]:
        """As `signs` tells them, each once."""
        if reading.issues:  # which may explain why something was left over
            return set(signs(table, reading, whole))
        if table is not self._table:
            self._table, self._judged = table, {}
            self._harmless = set()
        judged, found = self._judged, set()
        for pointer in reading.extensions:
            place = judged[pointer] if pointer in judged else self._judge(table, pointer)
            if place is not None:
                found.add(("new", place))
        if whole:
            found.update(("gone", folded(path)) for _, path in reading.missing)
        return found

    def _judge(self, table: Table, pointer: str) -> str | None:
        place = folded(pointer)
        told = None if _is_known(table, place) else place
        if len(pointer) <= LONGEST:
            if len(self._judged) >= REMEMBERED:
                self._judged.clear()
                self._harmless.clear()
            self._judged[pointer] = told
            if told is None:
                self._harmless.add(pointer)
        return told

    def body(self) -> list[Json]:
        """As `/v1/connections` shows it: kind, place and count, most often seen first."""
        return [{"kind": kind, "path": path, "count": count} for (kind, path), count in self.seen.most_common()]


def signs(table: Table, reading: Reading, whole: bool) -> Iterator[tuple[str, str]]:
    """(kind, folded place) of all that differs from the declared shape in one record."""
    unread = {issue.path for issue in reading.issues}
    longest = max(map(len, unread), default=0)
    for issue in reading.issues:
        if issue.reason == "wrong_type":
            yield "type", folded(issue.path)
    for pointer in reading.extensions:
        place = folded(pointer)
        if not _is_known(table, place) and not _lies_in(pointer, unread, longest):
            yield "new", place
    if whole:
        for _, path in reading.missing:
            yield "gone", folded(path)


def _is_known(table: Table, place: str) -> bool:
    return any(f"{place}/".startswith(known.removesuffix("/*") + "/") for known in table.also)


def _lies_in(pointer: str, places: set[str], longest: int) -> bool:
    """Whether a pointer is one of the places, of which none is longer than that, or leads into one."""
    end = pointer.find("/", 1)
    while 0 < end <= longest:
        if pointer[:end] in places:
            return True
        end = pointer.find("/", end + 1)
    return pointer in places
