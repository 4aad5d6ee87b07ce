"""The contract kit finds faults: adapters broken on purpose, one kind of fault each, fail the test that is meant for it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adapters.getraze import GetRaze
from adapters.spott import Spott
from gateway import strict_json
from gateway.adapter import Adapter, Budget, BudgetLeft, Call, Facts, ListQuery, Native, Page, Rejection, Reply, Stage
from gateway.codecs import MISSING, Codec, Unencodable, Unreadable, decimal_number, instant, text
from gateway.fields import Row, Table, absent
from gateway.reading import Reading
from gateway.strict_json import Json
from gateway.testing import AdapterContract, load_exchanges, on_errors, on_junk, on_lineage
from gateway.testing.exchanges import BadExchange, read_exchange
from gateway.testing.generated import each, values_of
from gateway.testing.kit import Kit
from gateway.testing.suite import run_suite
from gateway.testing.traced import traced
from tests.sample_adapters import AlwaysFine


def _rows(table: Table, change: Any) -> Table:
    """The table with every row of the record itself as `change` makes it; None takes a row out."""
    rows = [change(row) if isinstance(row, Row) else row for row in table.rows]
    return Table(*[row for row in rows if row is not None], beside=table.beside)


def _with(name: str, **changes: Any) -> Any:
    return lambda row: replace(row, **changes) if row.field == name else row


class _Fields(GetRaze):
    """GetRaze with one row or more changed."""

    change: ClassVar[Any] = staticmethod(lambda row: row)

    def fields(self) -> Table:
        return _rows(super().fields(), self.change)


class SwappedFields(_Fields):
    @staticmethod
    def change(row: Row) -> Row:
        places = {"created_at": ("/updated_at",), "updated_at": ("/created_at",)}
        return replace(row, pointers=places.get(row.field, row.pointers))


def _float_text(value: Json) -> str:
    return str(float(value))


class MoneyByFloat(_Fields):
    change = staticmethod(_with("amount.value", codec=Codec("float", "a float", _float_text, float)))


class MoneyAsFloat(_Fields):
    change = staticmethod(_with("amount.value", codec=Codec("float", "a float", float, lambda value: float(value))))


class RaisingCodec(_Fields):
    change = staticmethod(_with("description", codec=Codec("stripped", "a string", str.strip, lambda value: value)))


class TrimmedText(_Fields):
    change = staticmethod(
        _with("description", codec=Codec("trimmed", "trimmed", lambda value: str(value).strip(), lambda value: value))
    )


def _local(value: Json) -> str:
    at = datetime.fromisoformat(text.decode(value))
    return at.astimezone().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _guarded_local(value: Json) -> Json:
    try:
        return _local(value)
    except ValueError as error:
        raise Unreadable("invalid", str(error)) from None


class LocalTime(_Fields):
    change = staticmethod(_with("created_at", codec=Codec("local", "in the host's zone", _guarded_local)))


class GuessedStatus(_Fields):
    change = staticmethod(
        _with("status", codec=Codec("guessed", "open unless won", lambda value: "won" if value == "won" else "open"))
    )


class SilentGap(_Fields):
    change = staticmethod(_with("probability", note=""))


class WrongWritePlace(_Fields):
    change = staticmethod(_with("amount.value", write={"create": "/deal_amount", "update": "/deal_amount"}))


class TwoRowsOnePlace(_Fields):
    change = staticmethod(_with("source", write={"create": "/notes"}))


class OptionalOwner(_Fields):
    @staticmethod
    def change(row: Row) -> Row:
        return replace(row, default="nobody") if row.field == "owner.name" else row


class ContentAsForm(GetRaze):
    def fields(self) -> Table:
        table = super().fields()
        rows = [absent("description", "hidden") if row.field == "description" else row for row in table.rows]
        return Table(*rows, beside={"/notes": "notes"})


class DroppedLeaf(GetRaze):
    def record(self, body: Json) -> dict[str, Json] | None:
        record = super().record(body)
        return None if record is None else {name: value for name, value in record.items() if name != "updated_at"}


class ChangedReply(GetRaze):
    def record(self, body: Json) -> dict[str, Json] | None:
        record = super().record(body)
        if record is not None:
            record.setdefault("seen", True)
        return record


class KeyInTheAddress(GetRaze):
    def headers(self, key: str) -> Mapping[str, str]:
        self.remembered = key
        return super().headers(key)

    def get(self, native_id: str) -> Call:
        return replace(super().get(native_id), query=(("api_key", getattr(self, "remembered", "")),))


class KeyLeftOut(GetRaze):
    def headers(self, key: str) -> Mapping[str, str]:
        return {"X-API-Key": "secret"}


class EndlessPaging(GetRaze):
    def page(self, body: Json, query: ListQuery) -> Page | None:
        page = super().page(body, query)
        return None if page is None else Page(page.items, str(int(query.position or "1") + 1))


class SamePageAgain(Spott):
    def list(self, query: ListQuery) -> Call:
        call = super().list(query)
        return replace(call, query=tuple(pair for pair in call.query if pair[0] != "cursor"))


class LastItemLost(GetRaze):
    """Of the last page only, so that all walks are alike."""

    def page(self, body: Json, query: ListQuery) -> Page | None:
        page = super().page(body, query)
        return page if page is None or page.next is not None or len(page.items) < 2 else Page(page.items[:-1])


class CompanyBySearch(GetRaze):
    """An exact name, by way of a search for a part of anything."""

    @property
    def filters(self) -> Mapping[str, Native]:  # type: ignore[override]  # as GetRaze's
        return {**super().filters, "company": lambda value: ("search", value)}


class DefaultSortWrong(GetRaze):
    default_sort = "created_at"


class SortReversed(GetRaze):
    def list(self, query: ListQuery) -> Call:
        turned = query.sort and (query.sort[1:] if query.sort.startswith("-") else f"-{query.sort}")
        return super().list(replace(query, sort=turned))


class PageAboveTheLimit(GetRaze):
    def list(self, query: ListQuery) -> Call:
        return super().list(replace(query, size=500))


class WrongPathInCreate(GetRaze):
    def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        for call in super().create(bodies):
            yield replace(call, path="/opportunity")


class StageNeverMoved(GetRaze):
    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        return [call for call in super().update(native_id, bodies) if call.operation != "move"]


class PatchTouchesMore(GetRaze):
    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        for call in super().update(native_id, bodies):
            yield replace(call, body={"notes": "", **call.body}) if call.operation == "update" else call


class WriteByGet(GetRaze):
    def delete(self, native_id: str) -> Call:
        return Call("delete", "GET", f"/opportunities/{native_id}/delete")


class CreateSaidToSetValues(GetRaze):
    def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        return [replace(call, absolute=True) for call in super().create(bodies)]


class CreateByPutSaidToSetValues(GetRaze):
    def create(self, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        return [replace(call, method="PUT", absolute=True) for call in super().create(bodies)]


class IdNotEncoded(GetRaze):
    def get(self, native_id: str) -> Call:
        return Call("get", "GET", f"/opportunities/{native_id.lower()}")


class UnsafePath(GetRaze):
    def get(self, native_id: str) -> Call:
        return Call("get", "GET", f"/opportunities//{native_id}?full=true")


class RaisingProblem(GetRaze):
    def problem(self, reply: Reply) -> Rejection:
        return Rejection(code=reply.body["error"]["code"])


class RaisingPage(Spott):
    def page(self, body: Json, query: ListQuery) -> Page | None:
        return Page(body["items"], body["pageInfo"]["nextCursor"])


class OwnTableOfStatuses(GetRaze):
    def code_for(self, reply: Reply) -> str | None:
        return "no-such-code" if reply.status == 418 else None


class DeniesEverything(GetRaze):
    def denies(self, reply: Reply) -> bool:
        return reply.status == 200


class RaisingDenial(Spott):
    def denies(self, reply: Reply) -> bool:
        return reply.body["ok"] is False


class WaitInMilliseconds(GetRaze):
    """And never anything spent."""

    def budget_left(self, reply: Reply) -> BudgetLeft | None:
        told = super().budget_left(reply)
        return told and replace(told, remaining=told.limit, reset=told.reset and told.reset * 1000)


class AlwaysFull(GetRaze):
    def budget_left(self, reply: Reply) -> BudgetLeft | None:
        return BudgetLeft(1000, 1000, 1_800_000_000.0)


class EverythingNoProof(GetRaze):
    no_proof = frozenset({"name", "company", "contacts", "amount", "description", "source", "stage", "status", "owner"})


class WaitLost(GetRaze):
    def problem(self, reply: Reply) -> Rejection:
        return replace(super().problem(reply), retry_after=None)


class Counting(GetRaze):
    def get(self, native_id: str) -> Call:
        self.count = getattr(self, "count", 0) + 1
        return super().get(native_id)


class Asynchronous(Spott):
    async def stages(self) -> Call:  # type: ignore[override]  # the fault
        return Call("stages", "GET", "/pipeline/opportunities/stages")


class UnprovenDelete(Spott):
    def delete(self, native_id: str) -> Call:
        return Call("delete", "DELETE", f"/opportunities/{native_id}")


class NoEncode(_Fields):
    change = staticmethod(_with("description", codec=Codec("text", "a string", text.decode)))


class EncodeLosesADigit(_Fields):
    change = staticmethod(
        _with(
            "amount.value",
            codec=Codec("rounded", "rounded", decimal_number.decode, lambda value: round(Decimal(value), 2)),
        )
    )


class EncodeByFloat(_Fields):
    change = staticmethod(
        _with("amount.value", codec=replace(decimal_number, encode=lambda value: Decimal(repr(float(value)))))
    )


def _of_cents(value: Json) -> str:
    number = Decimal(decimal_number.decode(value))
    if number != number.to_integral_value():
        raise Unreadable("invalid", "a part of a cent")
    return f"{number.scaleb(-2):f}"


def _as_cents(value: str) -> Json:
    number = Decimal(value).scaleb(2)
    if number != number.to_integral_value():
        raise Unencodable("two digits after the point")
    return int(number)


def _refused(value: str) -> Json:
    raise Unencodable("never")


_CENTS = Codec("cents", "a whole number of cents", _of_cents, _as_cents)


class Cents(_Fields):
    """No fault: what is finer than a cent is refused, and noughts at the end are not told."""

    change = staticmethod(_with("amount.value", codec=_CENTS))


class CentsCutOff(_Fields):
    change = staticmethod(_with("amount.value", codec=replace(_CENTS, encode=lambda value: int(Decimal(value) * 100))))


class CentsByFloat(_Fields):
    change = staticmethod(
        _with("amount.value", codec=replace(_CENTS, encode=lambda value: round(float(_as_cents(value)))))
    )


class CentsCutInReading(_Fields):
    change = staticmethod(
        _with("amount.value", write={}, codec=Codec("units", "units", lambda value: str(int(_of_cents(value)[:-3])))),
    )


class CentsReadByFloat(_Fields):
    change = staticmethod(
        _with("amount.value", write={}, codec=Codec("cents", "cents", lambda value: str(float(value) / 100)))
    )


class MoneyRefused(_Fields):
    change = staticmethod(_with("amount.value", codec=replace(_CENTS, encode=_refused)))


class NoughtsCut(_Fields):
    """Keeps the decimal itself, and cuts the noughts at its end."""

    change = staticmethod(
        _with("amount.value", codec=replace(decimal_number, encode=lambda value: Decimal(value).normalize()))
    )


class MoneyFromElsewhere(_Fields):
    """Whatever stands in its place, the amount is the same."""

    change = staticmethod(_with("amount.value", codec=replace(decimal_number, decode=lambda value: "50000.00")))


def _either(first: Json, second: Json) -> Json:
    for place, value in enumerate((first, second)):
        if value is not MISSING and value is not None and not isinstance(value, str):
            raise Unreadable("wrong_type", "expected a string", which=place)
    if isinstance(first, str) or isinstance(second, str):
        return first if isinstance(first, str) else second
    return MISSING if first is MISSING and second is MISSING else None


class WritableJoint(_Fields):
    """No fault: a field read from two places at once, and written to the first."""

    codec = Codec("either", "whichever is told", _either, lambda value: value)

    def fields(self) -> Table:
        change = _with("source", pointers=("/source", "/notes"), joint=True, codec=self.codec)
        return _rows(GetRaze.fields(self), change) if self.dialect == "getraze" else GetRaze.fields(self)


class WrongJoint(WritableJoint):
    codec = replace(WritableJoint.codec, encode=lambda value: value.upper())


class EncodeTrims(_Fields):
    change = staticmethod(_with("description", codec=replace(text, encode=lambda value: value.strip())))


class RenderDropsALeaf(_Fields):
    change = staticmethod(
        _with("description", codec=replace(text, encode=lambda value: None if len(value) > 5 else value))
    )


class ReadsLikeRendered(_Fields):
    change = staticmethod(
        _with("source", codec=Codec("folded", "as it is", lambda value: text.decode(value), lambda value: f"{value}!"))
    )


class PatchTouchesANeighbour(GetRaze):
    def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
        for call in super().update(native_id, bodies):
            long = call.operation == "update" and len(str(call.body.get("position"))) > 30
            yield replace(call, body={**call.body, "notes": call.body["position"]}) if long else call


class StatusByWish(_Fields):
    """Says open where nothing is told."""

    @staticmethod
    def change(row: Row) -> Row:
        if row.field == "status":
            return replace(
                row, codec=Codec("wish", "open", lambda value: value if value in ("won", "lost") else "open")
            )
        return row


class SourceOfNothing(_Fields):
    change = staticmethod(
        _with("status_source", codec=Codec("source", "always native", lambda value: "native", native=False))
    )


class NameBeforeId(Spott):
    """Lets the stage's name decide where id and name are both in the stage map."""

    def fields(self) -> Table:
        def turned(row: Row) -> Row:
            if row.field not in ("status", "status_source") or row.codec is None:
                return row
            decode = row.codec.decode
            return replace(row, codec=replace(row.codec, decode=lambda is_open, id_, name: decode(is_open, name, id_)))

        return _rows(super().fields(), turned)


class HostsZone(_Fields):
    """Reads a time without an offset in the host's zone, and all others well."""

    @staticmethod
    def change(row: Row) -> Row:
        def decode(value: Json) -> Json:
            spelled = instant().decode(value)
            bare = value[-1] not in "Zz" and not {"+", "-"} & set(value[19:])
            return _guarded_local(spelled[:19]) if bare else spelled

        return replace(row, codec=Codec("instant", "host", decode, text.encode)) if row.field == "won_at" else row


class BorrowedValue(_Fields):
    """Serves as one field what it has read for another."""

    @staticmethod
    def change(row: Row) -> Row:
        if row.field == "company.name":
            return replace(row, codec=replace(text, decode=_remembered))
        if row.field == "source":
            return replace(row, codec=replace(text, decode=lambda value: f"{value} {_BORROWED[-1:]}"))
        return row


_BORROWED: list[Json] = []


def _remembered(value: Json) -> Json:
    _BORROWED.append(value)
    return text.decode(value)


class DeafField(_Fields):
    change = staticmethod(_with("source", codec=replace(text, decode=lambda value: "other")))


class DeafOfTwo(_Fields):
    """Reads alike whatever is there, in a field that has two places."""

    change = staticmethod(_with("campaign.id", codec=replace(text, decode=lambda value: "other")))


class PeeksBeside(GetRaze):
    """Serves the name from a member that no row declares and no sample has."""

    def fields(self) -> Table:
        table = super().fields()
        by_rows = table.read

        def read(record: dict[str, Json]) -> Reading:
            reading = by_rows(record)
            if "nickname" in record:
                reading.values["name"] = record["nickname"]
            return reading

        table.read = read
        return table


class PeeksAround(PeeksBeside):
    """The same, by going through all members."""

    def fields(self) -> Table:
        table = super().fields()
        by_rows = table.reader.read

        def read(record: dict[str, Json]) -> Reading:
            reading = by_rows(record)
            for key, value in record.items():
                if key.lower() == "nickname":
                    reading.values["name"] = value
            return reading

        table.read = read
        return table


class MisspeltPlace(_Fields):
    """Declares a second place that the provider does not have."""

    change = staticmethod(_with("source", pointers=("/source", "/lead_sorce")))


class DeafToOneOfTwo(_Fields):
    """Declares two places for one value, and lets one alone decide."""

    change = staticmethod(
        _with("source", pointers=("/source", "/position"), joint=True, write={},
              codec=Codec("first", "the first", lambda source, position: MISSING if source is MISSING
                          else None if source is None else text.decode(source)))
    )  # fmt: skip


class RaisingLearn(GetRaze):
    def learn(self, call: Call, reply: Reply) -> Facts:
        return Facts("getraze" if reply.body["data"] else None)


class ChangingLearn(GetRaze):
    def learn(self, call: Call, reply: Reply) -> Facts:
        if isinstance(reply.body, dict):
            reply.body.pop("data", None)
        return self.facts


class FickleLearn(GetRaze):
    count = 0

    def learn(self, call: Call, reply: Reply) -> Facts:
        type(self).count += 1
        return Facts("getraze", (Stage(str(self.count)),))


class ForgettingLearn(GetRaze):
    def learn(self, call: Call, reply: Reply) -> Facts:
        return Facts()


class UnknownDialect(GetRaze):
    def learn(self, call: Call, reply: Reply) -> Facts:
        return Facts("klingon")


class WritingProbe(GetRaze):
    def probe(self) -> Call | None:
        return Call("create", "POST", "/opportunities", body={"name": "probe"})


class DeafToFacts(GetRaze):
    @property
    def dialect(self) -> str | None:
        return "getraze"


class NeverAsks(GetRaze):
    def probe(self) -> Call | None:
        return None


class OneDialectsGap(GetRaze):
    """Has a silent gap in its second dialect only."""

    def fields(self) -> Table:
        table = super().fields()
        return _rows(table, _with("next_task", note="")) if self.dialect == "getraze-served" else table


class FiltersIgnored(GetRaze):
    def list(self, query: ListQuery) -> Call:
        return super().list(replace(query, filters=()))


class SortIgnored(GetRaze):
    def list(self, query: ListQuery) -> Call:
        return super().list(replace(query, sort=None))


class FilterThatFitsAll(Spott):
    """Of a stand-in whose records are all alike only what no record is tells that nothing is filtered."""

    filters: ClassVar[Mapping[str, Native]] = {"company": lambda value: ("limit", "50")}


class ThinWhole(Spott):
    """Says that an update is answered with the whole record, and is answered with its id."""

    whole = frozenset({"get", "update"})
    sandbox = "tests.sample_adapters:TellsTheId"


class BudgetOfNoTime(GetRaze):
    limits = replace(GetRaze.limits, budget=Budget(calls=100, per=0))


class NameOfTwoWords(GetRaze):
    name = "get raze"


class UnlearnedStages(GetRaze):
    def learn(self, call: Call, reply: Reply) -> Facts:
        learned = super().learn(call, reply)
        return learned if call.operation == "list" else replace(learned, stages=())


FAULTS: tuple[tuple[type[Adapter], str], ...] = (
    (SwappedFields, "test_samples_read_as_their_files_say"),
    (MoneyByFloat, "test_every_leaf_of_a_record_is_accounted_for"),
    (MoneyAsFloat, "test_every_answer_fits_the_canonical_schema"),
    (RaisingCodec, "test_junk_in_any_place_is_served_named_and_kept"),
    (RaisingCodec, "test_deep_junk_never_raises"),
    (TrimmedText, "test_every_leaf_of_a_record_is_accounted_for"),
    (LocalTime, "test_times_do_not_depend_on_the_hosts_zone"),
    (GuessedStatus, "test_samples_read_as_their_files_say"),
    (SilentGap, "test_every_gap_says_why_it_is_one"),
    (WrongWritePlace, "test_writes_make_the_calls_of_their_files"),
    (TwoRowsOnePlace, "test_no_two_rows_write_to_one_place"),
    (OptionalOwner, "test_samples_read_as_their_files_say"),
    (ContentAsForm, "test_every_leaf_of_a_record_is_accounted_for"),
    (DroppedLeaf, "test_records_are_handed_on_as_they_came"),
    (ChangedReply, "test_reading_changes_nothing"),
    (KeyInTheAddress, "test_the_key_is_nowhere_else"),
    (KeyInTheAddress, "test_an_adapter_keeps_nothing"),
    (KeyInTheAddress, "test_a_listed_record_can_be_got_over_the_wire"),
    (KeyLeftOut, "test_the_key_goes_into_headers"),
    (EndlessPaging, "test_lists_end"),
    (SamePageAgain, "test_pages_ask_for_their_size_and_place"),
    (SamePageAgain, "test_lists_over_the_wire_are_whole_and_repeat_nothing"),
    (LastItemLost, "test_lists_over_the_wire_are_whole_and_repeat_nothing"),
    (CompanyBySearch, "test_lists_over_the_wire_are_whole_and_repeat_nothing"),
    (DefaultSortWrong, "test_lists_over_the_wire_are_whole_and_repeat_nothing"),
    (SortReversed, "test_lists_over_the_wire_are_whole_and_repeat_nothing"),
    (PageAboveTheLimit, "test_pages_ask_for_their_size_and_place"),
    (WrongPathInCreate, "test_writes_make_the_calls_of_their_files"),
    (WrongPathInCreate, "test_what_is_written_over_the_wire_is_read_back"),
    (StageNeverMoved, "test_writes_make_the_calls_of_their_files"),
    (StageNeverMoved, "test_nothing_of_a_draft_is_dropped_in_silence"),
    (PatchTouchesMore, "test_a_patch_sends_what_it_names_and_no_more"),
    (WriteByGet, "test_writes_are_never_gets"),
    (CreateSaidToSetValues, "test_writes_are_never_gets"),
    (CreateByPutSaidToSetValues, "test_writes_are_never_gets"),
    (IdNotEncoded, "test_calls_can_be_sent"),
    (UnsafePath, "test_calls_can_be_sent"),
    (RaisingProblem, "test_no_reply_makes_the_adapter_fail"),
    (RaisingProblem, "test_every_status_has_its_code"),
    (RaisingPage, "test_no_reply_makes_the_adapter_fail"),
    (OwnTableOfStatuses, "test_every_status_has_its_code"),
    (WaitInMilliseconds, "test_the_budget_is_what_the_headers_tell"),
    (AlwaysFull, "test_the_budget_is_what_the_headers_tell"),
    (EverythingNoProof, "test_a_create_whose_answer_was_lost_can_be_found"),
    (WaitLost, "test_problems_are_those_of_the_files"),
    (Counting, "test_an_adapter_keeps_nothing"),
    (Asynchronous, "test_operations_are_plain_functions"),
    (UnprovenDelete, "test_every_operation_has_an_exchange"),
    (NoEncode, "test_what_is_written_can_be_encoded"),
    (EncodeLosesADigit, "test_money_keeps_every_digit"),
    (EncodeByFloat, "test_money_keeps_every_digit"),
    (MoneyByFloat, "test_money_keeps_every_digit"),
    (WrongJoint, "test_what_is_written_reads_the_same"),
    (WrongJoint, "test_what_is_read_and_rendered_reads_the_same"),
    (CentsCutOff, "test_money_keeps_every_digit"),
    (CentsByFloat, "test_money_keeps_every_digit"),
    (CentsByFloat, "test_what_is_written_reads_the_same"),
    (CentsCutInReading, "test_money_keeps_every_digit"),
    (CentsReadByFloat, "test_money_keeps_every_digit"),
    (MoneyRefused, "test_money_keeps_every_digit"),
    (MoneyRefused, "test_what_is_written_reads_the_same"),
    (NoughtsCut, "test_money_keeps_every_digit"),
    (NoughtsCut, "test_what_is_written_reads_the_same"),
    (MoneyFromElsewhere, "test_money_keeps_every_digit"),
    (EncodeTrims, "test_any_value_that_is_written_is_read_as_written"),
    (EncodeTrims, "test_what_is_read_and_rendered_reads_the_same"),
    (RenderDropsALeaf, "test_a_record_that_is_read_can_be_rendered_whole"),
    (ReadsLikeRendered, "test_a_record_that_is_read_can_be_rendered_whole"),
    (PatchTouchesANeighbour, "test_a_patch_touches_only_its_own_members"),
    (StatusByWish, "test_the_status_is_never_a_guess"),
    (SourceOfNothing, "test_the_status_is_never_a_guess"),
    (NameBeforeId, "test_the_status_is_never_a_guess"),
    (HostsZone, "test_made_up_records_read_alike_in_every_zone"),
    (BorrowedValue, "test_fields_come_from_where_explain_says"),
    (DeafField, "test_fields_come_from_where_explain_says"),
    (DeafOfTwo, "test_fields_come_from_where_explain_says"),
    (PeeksBeside, "test_only_declared_places_are_read"),
    (PeeksAround, "test_only_declared_places_are_read"),
    (MisspeltPlace, "test_every_declared_place_is_read"),
    (DeafToOneOfTwo, "test_every_declared_place_is_read"),
    (DeniesEverything, "test_no_reply_makes_the_adapter_fail"),
    (RaisingDenial, "test_no_reply_makes_the_adapter_fail"),
    (RaisingLearn, "test_learning_is_a_pure_function"),
    (ChangingLearn, "test_learning_is_a_pure_function"),
    (FickleLearn, "test_learning_is_a_pure_function"),
    (ForgettingLearn, "test_learning_is_a_pure_function"),
    (UnknownDialect, "test_learning_is_a_pure_function"),
    (WritingProbe, "test_asking_ahead_is_a_read"),
    (NeverAsks, "test_asking_ahead_is_a_read"),
    (DeafToFacts, "test_every_dialect_can_be_spoken"),
    (OneDialectsGap, "test_every_gap_says_why_it_is_one"),
    (FiltersIgnored, "test_pages_ask_for_their_size_and_place"),
    (SortIgnored, "test_pages_ask_for_their_size_and_place"),
    (FilterThatFitsAll, "test_lists_over_the_wire_are_whole_and_repeat_nothing"),
    (ThinWhole, "test_what_is_written_over_the_wire_is_read_back"),
    (BudgetOfNoTime, "test_the_declarations_are_whole"),
    (NameOfTwoWords, "test_the_declarations_are_whole"),
    (UnlearnedStages, "test_learning_is_a_pure_function"),
)


@pytest.mark.parametrize(("broken", "test"), FAULTS, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_a_planted_fault_fails_the_test_that_is_meant_for_it(broken: type[Adapter], test: str) -> None:
    class TestBroken(AdapterContract):
        adapter = broken

    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        getattr(TestBroken(), test)()
    assert str(caught.value).startswith(f"{broken.__name__}: ")


def _shown(body: Json, dialect: str, **more: Json) -> Kit:
    """The kit of an adapter that has one exchange, which is answered so."""
    exchange = {
        "operation": "get", "origin": "assumed", "input": {"native_id": "1"},
        "call": {"method": "GET", "path": "/opportunities/1"}, "reply": {"status": 200, "body": body}, **more,
    }  # fmt: skip
    kit = Kit(AlwaysFine, {}, {}, "a-secret-of-the-kit", dialect)
    kit.__dict__["exchanges"] = (read_exchange("get.json", strict_json.dumps(exchange)),)
    return kit


@pytest.mark.parametrize(
    ("body", "problem", "fault"),
    [
        ({"success": False, "error": {"code": "GONE", "message": "no"}}, {"code": "not-found"}, None),
        ({"success": False, "error": {"code": "GONE"}}, {"code": "conflict"}, 'the problem\'s code is "not-found"'),
        ({"success": False, "error": {"code": "ELSE"}}, {"code": "provider-bad-answer"}, None),
        ({"success": True, "data": {"id": "1"}}, {"code": "not-found"}, "and `denies` does not say otherwise"),
    ],
    ids=["as told", "another", "not known", "no error"],
)
def test_an_exchange_shows_an_error_told_with_200(body: Json, problem: Json, fault: str | None) -> None:
    kit = _shown(body, "getraze", problem=problem)
    faults = list(on_errors.problems_are_as_told(kit))
    assert [fault in one for one in faults] == [True] if fault else faults == []
    assert kit.samples == [] and not kit.exchanges[0].succeeds


def test_the_key_in_an_error_told_with_200_is_looked_for() -> None:
    kit = _shown({"success": False, "error": {"message": "no"}}, "getraze", problem={"code": "not-found"})
    assert list(on_errors.the_key_is_nowhere_else(kit)) == []
    asked: list[int] = []

    class Asked(AlwaysFine):
        def problem(self, reply: Reply) -> Rejection:
            asked.append(reply.status)
            return super().problem(reply)

    kit.__dict__["adapter"] = Asked(Asked.Settings(), {}, Facts(dialect="getraze"))
    assert list(on_errors.the_key_is_nowhere_else(kit)) == [] and set(asked) == {200}


def test_an_object_of_other_members_is_no_junk_where_any_object_is_read() -> None:
    record = {"id": "1", "title": "A", "custom_fields": {"colour": "red"}}
    faults = on_junk.junk_is_served_and_named(_shown({"success": True, "data": record}, "getraze-served"))
    assert [fault for fault in faults if "custom_fields" in fault] == []


class _Numbered(_Fields):
    """Its stages have numbers, and some words mean nothing but by the stage map."""

    deaf = False

    def fields(self) -> Table:
        def status(word: Json, number: Json) -> Json:
            mapped = None if self.deaf else self.stages_map.get(str(number))
            if word != "new" and mapped is None:
                raise Unreadable("unknown_word", "no such status")
            return "open" if word == "new" else mapped

        codec = Codec("status", "new: open; else by the stage map", status)
        change = _with("status", pointers=("/status", "/stage_number"), joint=True, codec=codec)
        return _rows(GetRaze.fields(self), change)


class _DeafNumbered(_Numbered):
    deaf = True


@pytest.mark.parametrize(("adapter", "deaf"), [(_Numbered, False), (_DeafNumbered, True)])
def test_a_stage_map_is_tried_with_numbers_where_stages_have_numbers(adapter: type[Adapter], deaf: bool) -> None:
    body = {"success": True, "data": {"id": "1", "status": "new", "stage_number": 20}}
    kit = Kit(adapter, {}, {}, "key", "getraze")
    kit.__dict__["exchanges"] = _shown(body, "getraze").exchanges
    said = "status: its row declares /stage_number, but its codec reads the same whatever is there"
    assert (said in list(on_lineage.every_declared_place_is_read(kit))) == deaf


def test_a_check_that_ends_in_a_problem_says_what_the_stand_in_said() -> None:
    class Misspelt(Spott):
        def update(self, native_id: str, bodies: Mapping[str, dict[str, Json]]) -> Iterable[Call]:
            yield Call("update", "PATCH", f"/opportunities/{native_id}", body={"nmae": "x"})

    verdicts = {verdict.name: verdict for verdict in run_suite(Misspelt)}
    (fault,) = verdicts["what_is_written_is_read_back"].faults
    assert fault.startswith("the check ended in Problem: provider-rejected: ")
    assert fault.endswith("(the answer had status 400: UNKNOWN_MEMBER)")

    class TestMisspelt(AdapterContract):
        adapter = Misspelt

    with pytest.raises(AssertionError, match=r"\(the answer had status 400: UNKNOWN_MEMBER\)"):
        TestMisspelt().test_what_is_written_over_the_wire_is_read_back()


@pytest.mark.parametrize("test", ["test_money_keeps_every_digit", "test_what_is_written_reads_the_same"])
def test_money_in_cents_is_no_fault(test: str) -> None:
    class TestCents(AdapterContract):
        adapter = Cents

    getattr(TestCents(), test)()


@pytest.mark.parametrize(
    "test",
    [
        "test_what_is_read_and_rendered_reads_the_same", "test_a_record_that_is_read_can_be_rendered_whole",
        "test_what_is_written_reads_the_same", "test_what_is_read_can_be_written_back",
        "test_a_patch_sends_what_it_names_and_no_more", "test_every_declared_place_is_read",
    ],
)  # fmt: skip
def test_a_writable_field_of_two_places_is_no_fault(test: str) -> None:
    class TestJoint(AdapterContract):
        adapter = WritableJoint

    getattr(TestJoint(), test)()


def test_a_stranger_s_codec_is_not_taken_for_the_gateway_s_by_its_name() -> None:
    def weekday(value: Json) -> str:
        if value not in ("Mon", "Tue"):
            raise Unreadable("unknown_word", "no weekday")
        return str(value)

    own = Row("expected_close.on", ("/on",), codec=Codec("day", "a weekday", weekday))
    drawn: set[Json] = set()

    def check(value: Json) -> Iterator[str]:
        drawn.add(value)
        yield from ()

    assert list(each(values_of(own, ["Mon", "Sunday", "Tue", None], plain=True), 20, check)) == []
    assert drawn == {"Mon", "Tue"}  # and none that its own codec cannot read


def test_the_kit_logs_no_drift(caplog: pytest.LogCaptureFixture) -> None:
    assert list(on_junk.junk_is_served_and_named(Kit(GetRaze, {}, {}, "key", "getraze-served"))) == []
    assert caplog.records == []


def test_a_traced_record_tells_each_field_s_places_and_who_else_looked() -> None:
    record: dict[str, Json] = {
        "id": "opp_1", "name": "Ana", "responsible_user": {"id": "u1", "name": "Bo"}, "odd": {"nickname": "Annie"},
    }  # fmt: skip
    table = GetRaze(GetRaze.Settings(), {}, Facts(dialect="getraze")).table
    reading, trace = traced(table, record)
    assert reading == table.read(record)
    assert trace.read["owner.id"] == {"/responsible_user/id"}
    assert trace.read["name"] == trace.read["contacts[].name"] == {"/name"}
    assert trace.beside == set()
    by_rows = table.read
    table.read = lambda record: record["odd"]["nickname"] and by_rows(record)
    assert traced(table, record)[1].beside == {"/odd", "/odd/nickname"}


def test_the_failure_names_the_file_and_the_field() -> None:
    class TestBroken(AdapterContract):
        adapter = SwappedFields

    with pytest.raises(pytest.fail.Exception) as caught:
        TestBroken().test_samples_read_as_their_files_say()
    assert 'get.json: created_at reads "2024-01-20T14:00:00Z", the file says "2024-01-15T10:30:00Z"' in str(
        caught.value
    )


def test_a_standard_test_cannot_be_replaced_in_silence() -> None:
    with pytest.raises(TypeError, match="test_lists_end replaces a standard test"):

        class Quiet(AdapterContract):
            adapter = GetRaze

            def test_lists_end(self) -> None:
                """Nothing."""


def test_a_standard_test_cannot_be_set_to_nothing_or_hidden_by_a_mixin() -> None:
    with pytest.raises(TypeError, match="replaces a standard test"):
        type("Gone", (AdapterContract,), {"adapter": GetRaze, "test_lists_end": None})

    mixin = type("Mixin", (), {"test_lists_end": lambda self: None})
    with pytest.raises(TypeError, match="replaces a standard test"):
        type("Hidden", (mixin, AdapterContract), {"adapter": GetRaze})


def test_the_contract_cannot_be_excused_as_a_whole() -> None:
    with pytest.raises(TypeError, match="not as a whole"):
        type("Skipped", (AdapterContract,), {"adapter": GetRaze, "pytestmark": [pytest.mark.skip]})
    with pytest.raises(TypeError, match="not as a whole"):
        type("Hidden", (AdapterContract,), {"adapter": GetRaze, "__test__": False})


def test_a_standard_test_is_excused_with_a_written_reason() -> None:
    class TestExcused(AdapterContract):
        adapter = EndlessPaging

        @pytest.mark.xfail(reason="its list never ends")
        def test_lists_end(self) -> None:
            super().test_lists_end()

    assert TestExcused.adapter is EndlessPaging
    with pytest.raises(TypeError, match="replaces a standard test"):

        class TestUnreasoned(AdapterContract):
            adapter = EndlessPaging

            @pytest.mark.xfail
            def test_lists_end(self) -> None:
                super().test_lists_end()


def test_the_kit_leaves_the_zone_of_the_process_as_it_was() -> None:
    before, names = os.environ.get("TZ"), time.tzname

    class TestZones(AdapterContract):
        adapter = GetRaze

    TestZones().test_times_do_not_depend_on_the_hosts_zone()
    assert (os.environ.get("TZ"), time.tzname) == (before, names)


# --- exchange files

GOOD = """{
  "operation": "get", "origin": "documented", "input": {"native_id": "1"},
  "call": {"method": "GET", "path": "/deals/1"}, "reply": {"status": 200, "body": {"value": 50000.00}}
}"""


def test_the_digits_of_an_exchange_survive() -> None:
    exchange = read_exchange("good.json", GOOD.encode())
    assert str(exchange.steps[0].reply.body["value"]) == "50000.00"
    assert exchange.steps[0].call.body is None and exchange.settings is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"get"', '"fetch"', "`operation` must be one of get, list"),
        ('"documented"', '"heard"', "`origin` must be one of recorded, documented, assumed"),
        ('"native_id"', '"id"', "`input` has no member 'id'; it may have native_id"),
        ('{"native_id": "1"}', "{}", "`input.native_id` is missing: get needs it"),
        ('"GET"', "7", "`call.method` must be a string"),
        ("200", "99", "`reply.status` must be a status from 200 to 599"),
        ('"body"', '"json"', "`reply` has no member 'json'"),
        ("50000.00}", "50000.00", "not strict JSON"),
        ('"call": {', '"call": {"query": {"page": 1}, ', "`call.query.page` must be a string"),
        ('"origin"', '"then": [{}], "origin"', "`then[0].call` is missing"),
        ('"origin"', '"opportunity": {}, "problem": {}, "origin"', "a reply is one of them"),
    ],
)
def test_a_wrong_exchange_file_is_named_with_what_is_wrong(old: str, new: str, message: str) -> None:
    with pytest.raises(BadExchange) as caught:
        read_exchange("wrong.json", GOOD.replace(old, new, 1).encode())
    assert str(caught.value).startswith("wrong.json: ") and message in str(caught.value)


def test_exchanges_are_found_beside_the_adapter_and_beside_its_base() -> None:
    files = [exchange.file for exchange in load_exchanges(GetRaze)]
    assert "get.json" in files and files == sorted(files)
    assert [exchange.file for exchange in load_exchanges(SwappedFields)] == files
    folder = Path(__file__).parent.parent / "adapters" / "getraze" / "exchanges"
    assert len(files) == len(list(folder.glob("*.json")))


def test_an_adapter_without_exchanges_is_told_so() -> None:
    class Bare(Adapter):
        name = "bare"

    assert load_exchanges(Bare) == ()


def test_loading_the_testing_package_needs_no_pytest() -> None:
    code = "import sys, gateway.testing; gateway.testing.load_exchanges; gateway.testing.SandboxServer"
    check = f"{code}; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
