"""Lists over any adapter: native filters where the provider has them, a bounded scan where it does not.

Whatever is emulated is labelled, with how many records were looked at and whether that was all of them. A scan that
reaches its bound ends the page early and hands out a cursor to go on from there: nothing is skipped and nothing is
claimed to be complete that is not. An emulated sort puts in order what one scan sees; where that reaches its bound, the
pages go on with the next scan, each of which is in order by itself and says that it is not all (`exhausted: false`).

Paging ends on every provider, also on one that says "more" for ever: a page without records is the last, and so is one that
leads to itself. A page that was there before is left out, and when that has happened a few times, the list has ended,
however many pages the round has. Only where new records come without end does it not.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gateway.adapter import Adapter, Call, ListQuery, Page
from gateway.cursors import seal, unseal
from gateway.errors import FieldError, Problem
from gateway.failures import bad_answer
from gateway.fields import Table
from gateway.opportunities import Answer, Ask, Opportunities, Read
from gateway.pointer import tokens
from gateway.strict_json import Json, dumps

FILTERS = ("status", "stage", "owner", "source", "company", "q", "modified_since")
SORTS = ("created_at", "updated_at", "name", "amount")
CALLS = 20
"""How many calls one list request makes at most; a scan goes on at the cursor that it hands out."""
SORTED = 1000
"""How many records an emulated sort puts in order at most."""
REPEATS = 3
"""How many pages that were there before end a list. One is no proof: where pages are counted, records that are made
meanwhile push those of the page before onto the next."""

_NEEDS = {
    "status": ("status",), "stage": ("stage.id", "stage.name"), "owner": ("owner.id", "owner.name"),
    "source": ("source",), "company": ("company.id", "company.name"), "q": ("name",), "modified_since": ("updated_at",),
}  # fmt: skip


@dataclass(slots=True)
class Listing:
    """A page: opportunities, where the next one starts, and what is told beside them."""

    data: list[dict[str, Json]]
    next_cursor: str | None
    limit: int
    meta: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One list request: `filters` by canonical name, values as the caller wrote them."""

    limit: int
    cursor: str | None = None
    filters: Mapping[str, str] = field(default_factory=dict)
    sort: str | None = None


@dataclass(slots=True)
class _Scan:
    """Where a scan stands: the provider's token of the page, its size, and how many of its records are done.

    `mark` is the print of a page behind it, which each page is held against: the first, second, fourth, eighth and so on of
    `pages`, so that a round of however many pages is found (R. P. Brent's way). `repeats` are those that were it.
    """

    token: str | None
    size: int
    offset: int
    pages: int = 0
    mark: str = ""
    repeats: int = 0
    scanned: int = 0
    exhausted: bool = False

    def place(self) -> list[Json]:
        """What goes into a cursor; `_Scan(*place)` goes on from there."""
        return [self.token, self.size, self.offset, self.pages, self.mark, self.repeats]

    def turn(self, token: str, done: str) -> None:
        """Go on to the page at `token`; the one with the print `done` is behind it."""
        self.token, self.offset = token, 0
        self.pages += 1
        if self.pages & (self.pages - 1) == 0:
            self.mark = done


def filter_mode(adapter: Adapter, name: str) -> str:
    """`native`, `emulated` or `none`: how this connection can filter by `name`, derived from adapter and table."""
    if "list" not in adapter.operations():
        return "none"
    if name in adapter.filters:
        return "native"
    readable = adapter.table.readable()
    return "emulated" if any(need in readable for need in _NEEDS[name]) else "none"


def sort_mode(adapter: Adapter, name: str) -> str:
    """`native`, `emulated` or `none` for a sort such as `-created_at`."""
    if "list" not in adapter.operations():
        return "none"
    if name in adapter.sorts or name == adapter.default_sort:
        return "native"
    path = "amount.value" if name.lstrip("-") == "amount" else name.lstrip("-")
    return "emulated" if path in adapter.table.readable() else "none"


class Lister:
    """Lists the opportunities of one connection for one request."""

    def __init__(self, opportunities: Opportunities, wanted: Wanted, ask: Ask) -> None:
        self.opportunities = opportunities
        self.wanted = wanted
        self.ask = ask
        self.reads: list[Read] = []
        self.errors: list[Json] = []
        self.remembered: dict[tuple[str, Json], bool] = {}
        self.native: list[tuple[str, str]] = []
        self.emulated: dict[str, str] = {}
        self.sorts_here = False

    @property
    def adapter(self) -> Adapter:
        """The adapter as it is by now; a page may teach it something."""
        return self.opportunities.adapter

    async def page(self) -> Listing:
        """The page. Raises `Problem`."""
        self.opportunities.need("list")
        if self.wanted.filters or self.wanted.sort or self.wanted.cursor is not None:
            await self.opportunities.learn(self.ask)
        self._divide()
        key = self.opportunities.connection.cursor_key
        position = None if self.wanted.cursor is None else unseal(key, self._binding(), self.wanted.cursor)
        if self.sorts_here:
            following, scan = await self._sorted(position)
        else:
            following, scan = await self._scanned(position)
        next_cursor = None if following is None else seal(key, self._binding(), following)
        return Listing([read.opportunity for read in self.reads], next_cursor, self.wanted.limit, self._meta(scan))

    def _binding(self) -> list[Json]:
        """What a cursor is good for: this caller's list, in the way in which it is made: that gives places a meaning."""
        made = [self.adapter.name, self.adapter.dialect, self.native, sorted(self.emulated), self.sorts_here]
        asked = [self.ask.caller, sorted(self.wanted.filters.items()), self.wanted.sort]
        return [self.opportunities.name, *asked, *made]

    def _divide(self) -> None:
        """Which filters the provider does itself, which are done here; raise for what can be done nowhere."""
        impossible, here = [], []
        for name, value in self.wanted.filters.items():
            take = self.adapter.filters.get(name)
            pair = take(value) if take is not None else None
            # Two filters on one parameter cannot both be handed on: the second is done here.
            if pair is not None and pair[0] not in dict(self.native):
                self.native.append(pair)
            elif any(need in self.adapter.table.readable() for need in _NEEDS[name]):
                self.emulated[name] = value
                here.append(name)
            else:
                impossible.append(name)
        if self.wanted.sort is not None:
            mode = sort_mode(self.adapter, self.wanted.sort)
            self.sorts_here = mode == "emulated"
            (impossible if mode == "none" else here if mode == "emulated" else []).append("sort")
        if impossible:
            raise Problem(
                "invalid-request",
                f"{self.adapter.title} does not tell what is needed for this list.",
                errors=[
                    FieldError(name, f"{self.adapter.title} cannot answer this, not even by a scan")
                    for name in impossible
                ],
                connection=self.opportunities.name,
            )
        if self.ask.strict and here:
            raise Problem(
                "not-native",
                f"{self.adapter.title} has no such filter or sort, and strict handling was asked for.",
                errors=[FieldError(name, "would have to be emulated") for name in here],
                connection=self.opportunities.name,
            )

    async def _scanned(self, position: Json) -> tuple[Json, _Scan]:
        """Fill the page in the provider's order; (where the next page starts or None, the scan)."""
        scan = _Scan(*position) if position is not None else _Scan(None, self._size(), 0)
        while len(self.reads) < self.wanted.limit and self.ask.calls < CALLS:
            if await self._one_page(scan, self.wanted.limit):
                return None, scan
        return scan.place(), scan

    async def _sorted(self, position: Json) -> tuple[Json, _Scan]:
        """Look at everything up to a bound, sort it, and cut the page out of it.

        A position is where the scan begins, where in the sorted records the page does, and how many were looked at for
        the first page of them: each page looks at the same ones again, and the next scan begins behind them.
        """
        begin, start, most = (
            position if isinstance(position, list) else ([None, self.adapter.limits.page, 0], 0, SORTED)
        )
        scan = _Scan(*begin)
        # Later pages may have to learn something first, and have to come as far.
        calls = CALLS if start else CALLS - 1
        while scan.scanned < most and self.ask.calls < calls:
            if await self._one_page(scan, SORTED):
                break
        name = (self.wanted.sort or "").lstrip("-")
        told = [read for read in self.reads if sort_key(read.opportunity, name) is not None]
        untold = [read for read in self.reads if sort_key(read.opportunity, name) is None]
        told.sort(key=lambda read: sort_key(read.opportunity, name), reverse=(self.wanted.sort or "").startswith("-"))  # type: ignore[arg-type, return-value]  # one type a field, None left out
        everything = told + untold
        # What could not be read has no place in an order; it is named once, with the first page.
        self.errors = [] if start else [{**error, "index": None} for error in self.errors]
        end = start + self.wanted.limit
        self.reads = everything[start:end]
        if end < len(everything):
            return [begin, end, scan.scanned], scan
        return None if scan.exhausted else [scan.place(), 0, SORTED], scan

    def _size(self) -> int:
        most = self.adapter.limits.page
        return most if self.emulated else min(self.wanted.limit, most)

    async def _one_page(self, scan: _Scan, limit: int) -> bool:
        """Take what fits from the provider's next page; whether that was the provider's last record."""
        sort = None if self.sorts_here else self.wanted.sort
        query = ListQuery(scan.size, scan.token, tuple(self.native), sort)
        call = self.adapter.list(query)
        reply = await self.opportunities.send(call, self.ask)
        page = self.adapter.page(reply.body, query)
        if page is None:
            reply.discard()
            raise bad_answer("no_record", call, self.opportunities.name)
        print_ = _print_of(page, self.adapter.table)
        if scan.offset == 0 and print_ == scan.mark:
            scan.repeats += 1
            scan.offset = len(page.items)
        for place in range(scan.offset, len(page.items)):
            if len(self.reads) >= limit or not await self._take(page.items[place], call):
                scan.offset = place
                return False
            scan.scanned += 1
        # A page without records, or one that leads to itself, is the end, whatever it says; so is what only comes again.
        if page.next is None or not page.items or page.next == scan.token or scan.repeats >= REPEATS:
            scan.exhausted = True
            return True
        scan.turn(page.next, print_)
        return False

    async def _take(self, item: Json, call: Call) -> bool:
        """Keep the record if it fits; False when no calls are left to tell whether it does."""
        try:
            read = self.opportunities.record_of(item, call)
        except Problem as problem:
            # Without the id of this request: the page may be kept, and answers others.
            self.errors.append({"index": len(self.reads), "id": None, "problem": problem.body()})
            return True
        for name, value in self.emulated.items():
            fits = matches(name, value, read.opportunity)
            if fits is None:
                if self.ask.calls >= CALLS:
                    return False
                fits = await self._asked(name, value, read)
            if not fits:
                return True
        self.reads.append(read)
        return True

    async def _asked(self, name: str, value: str, read: Read) -> bool:
        """Whether a record fits whose thin form does not tell. What several records refer to is asked about once."""
        reference = (read.opportunity.get(name) or {}).get("id") if name in ("owner", "company", "stage") else None
        if reference is not None and (name, reference) in self.remembered:
            return self.remembered[name, reference]
        try:
            whole = await self.opportunities.read(read.opportunity["native_id"], self.ask)
        except Problem as problem:
            if problem.code != "not-found":  # it may have been deleted since the list was made
                raise
            return False
        told = bool(matches(name, value, whole.opportunity))
        if reference is not None:
            self.remembered[name, reference] = told
        return told

    def _meta(self, scan: _Scan) -> dict[str, Json]:
        issues = [
            {"index": index, "id": read.opportunity["id"], **issue.body()}
            for index, read in enumerate(self.reads)
            for issue in read.issues()
        ]
        filters: dict[str, Json] = {
            name: {"mode": "native"} for name in self.wanted.filters if name not in self.emulated
        }
        seen = {"mode": "emulated", "scanned": scan.scanned, "exhausted": scan.exhausted}
        filters.update({name: dict(seen) for name in self.emulated})
        if self.sorts_here:
            filters["sort"] = dict(seen)
        meta: dict[str, Json] = {
            "sort": self.wanted.sort or self.adapter.default_sort,
            "filters": filters,
            "issues": issues,
            "errors": self.errors,
        }
        told: list[Answer] = []
        if self.ask.explain or self.ask.raw:
            told = [self.opportunities.answer(read, self.ask) for read in self.reads]
        if self.ask.explain:
            meta["explain"] = [answer.meta["explain"] for answer in told]
        if self.ask.raw:
            meta["raw"] = [answer.meta["raw"] for answer in told]
        return meta


def _print_of(page: Page, table: Table) -> str:
    """By what a page is known again: its records' ids in their order. A record that has none stands for itself."""
    row = table.row_for("native_id")
    places = [tokens(pointer) for pointer in row.pointers] if row is not None else []
    ids = [next((id_ for place in places if (id_ := _at(item, place)) is not None), item) for item in page.items]
    return hashlib.blake2b(dumps(ids), digest_size=9).hexdigest()


def _at(value: Json, place: Sequence[str]) -> Json:
    for token in place:
        value = value.get(token) if isinstance(value, dict) else None
    return value


def matches(name: str, value: str, opportunity: Mapping[str, Json]) -> bool | None:
    """Whether an opportunity fits a filter; None where it does not tell."""
    if name in ("status", "source"):
        return opportunity[name] == value if name in opportunity else None
    if name in ("stage", "owner", "company"):
        if name not in opportunity:
            return None
        thing = opportunity[name] or {}
        if value in (thing.get("id"), thing.get("name")):
            return True
        return False if "name" in thing or not thing else None
    if name == "modified_since":
        told = opportunity.get("updated_at")
        return None if told is None else _instant_key(told) >= _instant_key(value)
    wanted = value.casefold()
    return any(wanted in text.casefold() for text in _searched(opportunity))


def _searched(opportunity: Mapping[str, Json]) -> list[str]:
    """What `q` looks in: the opportunity's and the company's name, and its contacts' names and addresses."""
    texts = [opportunity.get("name"), (opportunity.get("company") or {}).get("name")]
    for contact in opportunity.get("contacts") or ():
        texts.append(contact.get("name"))
        texts.extend(email.get("address") for email in contact.get("emails") or ())
    return [text for text in texts if text]


def _instant_key(spelled: str) -> str:
    """Instants in UTC in an order: `Z` sorts behind the digits of a fraction, so it goes."""
    return spelled.removesuffix("Z")


def sort_key(opportunity: Mapping[str, Json], name: str) -> Decimal | str | None:
    """What an opportunity is put in order by, for one of `SORTS`; None where it does not tell."""
    if name == "amount":
        value = (opportunity.get("amount") or {}).get("value")
        return None if value is None else Decimal(value)
    value = opportunity.get(name)
    return None if value is None else _instant_key(value) if name.endswith("_at") else str(value)
