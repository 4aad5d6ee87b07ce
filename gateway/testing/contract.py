"""The contract kit: every promise that an adapter makes, as tests to inherit.

    from gateway.testing import AdapterContract

    class TestAcme(AdapterContract):
        adapter = Acme

The tests run over the exchanges in the adapter's folder and over its stand-in. A failing one lists what is wrong, with
the file, the field or the place to look at. A standard test can be excused only in writing:

    @pytest.mark.xfail(reason="Acme's list ignores `limit`, ticket 123")
    def test_lists_end(self) -> None:
        super().test_lists_end()
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from gateway.adapter import Adapter
from gateway.testing import (
    on_conversation,
    on_errors,
    on_fields,
    on_junk,
    on_laws,
    on_lineage,
    on_look_up,
    on_money,
    on_reading,
    on_replies,
    on_statuses,
    on_writing,
    whole_way,
)
from gateway.testing.kit import Faults, Kit, spoken

_SHOWN = 12
"""How many faults one failing test lists."""


class AdapterContract:
    """Subclass it with an `adapter`; name the class `Test…` so that pytest finds it."""

    adapter: ClassVar[type[Adapter]]
    settings: ClassVar[Mapping[str, Any]] = {}
    """The connection's `settings:`; exchanges that name their own are read with those."""
    stages: ClassVar[Mapping[str, str]] = {}
    """The connection's stage map."""
    key: ClassVar[str] = "canary-4f9d2c7e51b83a60"
    """The credential whose every trace is looked for."""
    _kit: ClassVar[Kit | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse what would leave out a standard test without a written reason. Raises `TypeError`."""
        super().__init_subclass__(**options)
        if {mark.name for mark in _mark_list(cls)} & {"skip", "skipif", "xfail"} or getattr(
            cls, "__test__", True
        ) is False:
            raise TypeError(
                f"{cls.__name__}: the contract is excused test by test, with xfail(reason=...), not as a whole"
            )
        for name, standard in vars(AdapterContract).items():
            found = inspect.getattr_static(cls, name, None)
            if not name.startswith("test_") or found is standard:
                continue
            reasons = [mark.kwargs.get("reason") for mark in _mark_list(found) if mark.name == "xfail"]
            if not any(isinstance(reason, str) and reason.strip() for reason in reasons):
                raise TypeError(
                    f"{cls.__name__}.{name} replaces a standard test; excuse it with @pytest.mark.xfail(reason=...) "
                    "and call super(), or add a test of another name"
                )

    @property
    def kit(self) -> Kit:
        """The adapter with this class's settings, and its exchanges."""
        adapter = getattr(type(self), "adapter", None)
        assert isinstance(adapter, type) and issubclass(adapter, Adapter), f"{type(self).__name__} names no `adapter`"
        kept = vars(type(self)).get("_kit")
        if isinstance(kept, Kit):  # one for all tests of the class: exchanges are read once
            return kept
        kit = Kit(adapter, self.settings, self.stages, self.key)
        type(self)._kit = kit
        return kit

    def hold(self, check: Callable[[Kit], Faults]) -> None:
        """Fail with what the check finds wrong."""
        __tracebackhide__ = True
        faults: list[str] = []
        title = f"{self.adapter.__name__}: {(check.__doc__ or check.__name__).splitlines()[0]}"
        try:
            for fault in check(self.kit):
                if fault not in faults:
                    faults.append(fault)
                if len(faults) > _SHOWN:
                    break
        except Exception as error:  # the adapter's own; its place is in the traceback
            told = "".join(f"\n  {fault}" for fault in faults)
            raise AssertionError(
                f"{title}{told}\n  the check ended in {type(error).__name__}: {spoken(error)}"
            ) from error
        if faults:
            more = "\n  and more" if len(faults) > _SHOWN else ""
            pytest.fail(f"{title}\n  " + "\n  ".join(faults[:_SHOWN]) + more, pytrace=False)

    # --- fields

    def test_every_canonical_field_has_a_row(self) -> None:
        self.hold(on_fields.every_field_has_a_row)

    def test_every_gap_says_why_it_is_one(self) -> None:
        self.hold(on_fields.every_gap_has_a_note)

    def test_no_two_rows_write_to_one_place(self) -> None:
        self.hold(on_fields.every_place_is_written_once)

    def test_the_declared_calls_and_the_rows_agree(self) -> None:
        self.hold(on_fields.calls_and_rows_agree)

    def test_what_is_written_can_be_encoded(self) -> None:
        self.hold(on_fields.every_written_row_can_encode)

    def test_rows_lead_to_fields_that_exist(self) -> None:
        self.hold(on_fields.defaults_are_of_use)

    def test_the_declarations_are_whole(self) -> None:
        self.hold(on_fields.settings_and_declarations_are_whole)

    # --- reading

    def test_there_is_a_sample_record(self) -> None:
        self.hold(on_reading.samples_are_there)

    def test_samples_read_as_their_files_say(self) -> None:
        self.hold(on_reading.samples_read_as_told)

    def test_every_answer_fits_the_canonical_schema(self) -> None:
        self.hold(on_reading.readings_fit_the_schema)

    def test_records_are_handed_on_as_they_came(self) -> None:
        self.hold(on_reading.records_are_taken_whole)

    def test_every_leaf_of_a_record_is_accounted_for(self) -> None:
        self.hold(on_reading.every_leaf_is_accounted_for)

    def test_reading_changes_nothing(self) -> None:
        self.hold(on_reading.reading_changes_nothing)

    def test_what_a_whole_record_lacks_is_told(self) -> None:
        self.hold(on_reading.missing_members_are_told)

    def test_junk_in_any_place_is_served_named_and_kept(self) -> None:
        self.hold(on_junk.junk_is_served_and_named)

    def test_deep_junk_never_raises(self) -> None:
        self._law(on_junk.deep_junk_never_raises)

    def test_times_do_not_depend_on_the_hosts_zone(self) -> None:
        self.hold(on_reading.time_is_not_the_hosts)

    def test_fields_come_from_where_explain_says(self) -> None:
        self.hold(on_lineage.fields_come_from_where_explain_says)

    def test_only_declared_places_are_read(self) -> None:
        self.hold(on_lineage.only_declared_places_are_read)

    def test_every_declared_place_is_read(self) -> None:
        self.hold(on_lineage.every_declared_place_is_read)

    def test_the_status_is_never_a_guess(self) -> None:
        self.hold(on_statuses.the_status_is_one_of_five_and_never_a_guess)

    # --- writing

    def test_writes_make_the_calls_of_their_files(self) -> None:
        self.hold(on_writing.writes_are_sent_as_told)

    def test_a_patch_sends_what_it_names_and_no_more(self) -> None:
        self.hold(on_writing.a_patch_sends_what_it_names)

    def test_null_clears_or_is_refused_by_name(self) -> None:
        self.hold(on_writing.null_clears_or_is_refused)

    def test_nothing_of_a_draft_is_dropped_in_silence(self) -> None:
        self.hold(on_writing.nothing_is_dropped_in_silence)

    def test_strict_handling_refuses_before_sending(self) -> None:
        self.hold(on_writing.drafts_are_refused_under_strict)

    def test_what_is_written_reads_the_same(self) -> None:
        self.hold(on_writing.what_is_written_is_read)

    def test_what_is_read_can_be_written_back(self) -> None:
        self.hold(on_writing.what_is_read_can_be_written)

    # --- laws, with records made up from the table

    def test_what_is_read_and_rendered_reads_the_same(self) -> None:
        self._law(on_laws.what_is_read_and_rendered_reads_the_same)

    def test_a_record_that_is_read_can_be_rendered_whole(self) -> None:
        self._law(on_laws.what_is_read_can_be_rendered_whole)

    def test_any_value_that_is_written_is_read_as_written(self) -> None:
        self._law(on_laws.what_is_written_and_read_is_what_was_written)

    def test_a_patch_touches_only_its_own_members(self) -> None:
        self._law(on_laws.a_patch_touches_only_its_own_members)

    def test_money_keeps_every_digit(self) -> None:
        self.hold(on_money.money_keeps_every_digit)

    def test_made_up_records_read_alike_in_every_zone(self) -> None:
        self._law(on_laws.made_up_records_read_alike_in_every_zone)

    def _law(self, check: Callable[[Kit], Faults]) -> None:
        pytest.importorskip("hypothesis")
        self.hold(check)

    # --- conversation

    def test_every_operation_has_an_exchange(self) -> None:
        self.hold(on_conversation.every_operation_has_an_exchange)

    def test_calls_are_those_of_the_files(self) -> None:
        self.hold(on_conversation.calls_are_as_told)

    def test_calls_can_be_sent(self) -> None:
        self.hold(on_conversation.calls_can_be_sent)

    def test_writes_are_never_gets(self) -> None:
        self.hold(on_conversation.reads_are_gets_and_writes_are_not)

    def test_pages_ask_for_their_size_and_place(self) -> None:
        self.hold(on_conversation.pages_ask_for_their_size)

    def test_lists_end(self) -> None:
        self.hold(on_conversation.lists_end)

    def test_filters_and_sorts_hold(self) -> None:
        self.hold(on_conversation.filters_and_sorts_hold)

    def test_no_reply_makes_the_adapter_fail(self) -> None:
        self.hold(on_replies.replies_never_make_it_fail)

    def test_the_budget_is_what_the_headers_tell(self) -> None:
        self.hold(on_replies.the_budget_is_what_the_headers_tell)

    def test_learning_is_a_pure_function(self) -> None:
        self.hold(on_replies.learning_is_a_pure_function)

    def test_asking_ahead_is_a_read(self) -> None:
        self.hold(on_replies.asking_ahead_is_a_read)

    def test_every_dialect_can_be_spoken(self) -> None:
        self.hold(on_replies.every_dialect_can_be_spoken)

    def test_undeclared_operations_are_refused(self) -> None:
        self.hold(on_conversation.undeclared_operations_are_refused)

    def test_operations_are_plain_functions(self) -> None:
        self.hold(on_conversation.operations_are_plain_functions)

    def test_an_adapter_keeps_nothing(self) -> None:
        self.hold(on_conversation.an_adapter_keeps_nothing)

    # --- errors and secrets

    def test_every_status_has_its_code(self) -> None:
        self.hold(on_errors.every_status_has_its_code)

    def test_problems_are_those_of_the_files(self) -> None:
        self.hold(on_errors.problems_are_as_told)

    def test_the_key_goes_into_headers(self) -> None:
        self.hold(on_errors.the_key_is_in_the_headers)

    def test_the_key_is_nowhere_else(self) -> None:
        self.hold(on_errors.the_key_is_nowhere_else)

    # --- the whole way, over a real socket

    def test_a_listed_record_can_be_got_over_the_wire(self) -> None:
        self._needs_sandbox("list", "get")
        self.hold(whole_way.a_listed_record_can_be_got)

    def test_lists_over_the_wire_are_whole_and_repeat_nothing(self) -> None:
        self._needs_sandbox("list")
        self.hold(whole_way.lists_are_whole_and_without_repeats)

    def test_what_is_written_over_the_wire_is_read_back(self) -> None:
        self._needs_sandbox("list", "get")
        self.hold(whole_way.what_is_written_is_read_back)

    def test_unknown_ids_and_wrong_keys_are_told_over_the_wire(self) -> None:
        self._needs_sandbox("list", "get")
        self.hold(whole_way.unknown_ids_and_wrong_keys_are_told)

    def test_a_create_whose_answer_was_lost_can_be_found(self) -> None:
        self._needs_sandbox()
        if why := on_look_up.why_unknown(self.adapter):
            pytest.skip(why)
        self.hold(on_look_up.a_lost_create_can_be_found)

    def _needs_sandbox(self, *operations: str) -> None:
        if self.adapter.sandbox is None:
            pytest.skip(f"{self.adapter.__name__} declares no `sandbox`: the whole way is not tested")
        lacking = [operation for operation in operations if operation not in self.adapter.operations()]
        if lacking:
            pytest.skip(f"{self.adapter.__name__} has no {lacking[0]}")


def _mark_list(target: object) -> list[pytest.Mark]:
    marks: Any = getattr(target, "pytestmark", [])
    listed = marks if isinstance(marks, list | tuple) else [marks]
    return [mark.mark if isinstance(mark, pytest.MarkDecorator) else mark for mark in listed]
