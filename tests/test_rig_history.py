"""The checker of histories finds each kind of violation, and nothing in what a right gateway may do."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.rig.history import KINDS, Applied, Attempt, check, read_applied, read_attempts, summed, told_of

OK = Attempt("a", "t", 1.0, 1.0, 2.0, 201, answer="x", id="raze:opp_1")
REPLAY = replace(OK, start=3.0, end=3.1, replayed=True)
LEFT = Attempt("a", "t", 1.0, 1.0, 1.2, code="left")
UNKNOWN = Attempt("a", "t", 1.0, 1.0, 2.0, 504, "provider-timeout", "unknown")
ABSENT = Attempt("a", "t", 5.0, 5.0, 5.1, 504, "provider-timeout", "not_applied")
BUSY = Attempt("a", "t", 1.0, 1.0, 1.1, 409, "idempotency-in-flight", "not_applied")
REJECTED = Attempt("a", "t", 1.0, 1.0, 2.0, 422, "provider-rejected", "not_applied")
SHED = Attempt("a", "t", 4.0, 4.0, 4.1, 503, "overloaded", "not_applied")
MADE = Applied("opp_1", "a", 1.5)
AGAIN = Applied("opp_2", "a", 1.6)

RIGHT: dict[str, tuple[list[Attempt], list[Applied]]] = {
    "a plain create": ([OK], [MADE]),
    "a replay": ([OK, REPLAY], [MADE]),
    "two at once, of which one waits": ([OK, replace(REPLAY, start=1.0, end=2.0)], [MADE]),
    "one left, the other is told a replay": ([LEFT, REPLAY], [MADE]),
    "in flight, then done": ([BUSY, OK], [MADE]),
    "unknown, then found": ([UNKNOWN, REPLAY], [MADE]),
    "unknown, absent, made anew": (
        [UNKNOWN, ABSENT, replace(OK, start=6.0, end=7.0)], [replace(MADE, at=6.5)]),
    "told absent while another one makes it": (
        [UNKNOWN, ABSENT, replace(OK, start=5.0, end=6.0)], [replace(MADE, at=5.05)]),
    "refused for good": ([REJECTED], []),
    "shed after it was done": ([OK, SHED], [MADE]),
    "a stopped worker made it after all were told": (
        [LEFT, ABSENT, replace(OK, start=9.0, end=9.1, replayed=True)], [replace(MADE, at=8.0)]),
}  # fmt: skip

WRONG: dict[str, tuple[str, list[Attempt], list[Applied]]] = {
    "two creates": ("duplicate", [OK], [MADE, AGAIN]),
    "two creates of which one was told by nobody": ("duplicate", [LEFT, REPLAY], [MADE, replace(AGAIN, at=9.0)]),
    "told and never applied": ("lost", [OK], []),
    "another record": ("wrong_record", [replace(OK, id="raze:opp_9")], [MADE]),
    "absent, though it was applied before": ("denied", [UNKNOWN, ABSENT], [MADE]),
    "rejected, though it was applied": ("denied", [REJECTED], [MADE]),
    "absent, and then the first send arrives": ("denied", [UNKNOWN, ABSENT], [replace(MADE, at=6.0)]),
    "absent after somebody left whose create was applied": ("denied", [LEFT, ABSENT], [MADE]),
    "another byte": ("different_answer", [OK, replace(REPLAY, answer="y")], [MADE]),
    "a replay that does not say so": ("unmarked_replay", [OK, replace(REPLAY, replayed=False)], [MADE]),
    "a first answer that says it is a replay": ("marked_first", [replace(OK, replayed=True)], [MADE]),
    "unknown after done": ("went_back", [OK, replace(UNKNOWN, start=4.0, end=4.5)], [MADE]),
    "absent too early": ("early_absence", [UNKNOWN, replace(ABSENT, start=2.0, end=2.5)], []),
    "a create for nobody": ("stray", [OK], [MADE, Applied("opp_3", "z", 1.0)]),
    "a create without a marker": ("stray", [OK], [MADE, Applied("opp_3", None, 1.0)]),
    "unknown for ever": ("unsettled", [UNKNOWN], [MADE]),
    "never answered": ("unsettled", [LEFT], []),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_what_a_right_gateway_does_is_no_violation(what: str) -> None:
    attempts, applied = RIGHT[what]
    found = check(attempts, applied, lag=2.0)
    assert not found.violations, told_of(found)


@pytest.mark.parametrize("what", WRONG)
def test_each_violation_is_found(what: str) -> None:
    kind, attempts, applied = WRONG[what]
    found = check(attempts, applied, lag=2.0)
    assert found.count(kind) == 1, told_of(found)
    assert kind in KINDS and found.figures()[kind] == 1


def test_every_kind_of_violation_has_a_bad_history() -> None:
    assert {kind for kind, _, _ in WRONG.values()} == set(KINDS)


def test_the_order_in_which_attempts_are_written_does_not_matter() -> None:
    attempts = [UNKNOWN, BUSY, REPLAY, OK]
    assert check(attempts, [MADE]).figures() == check(attempts[::-1], [MADE]).figures()


def test_figures_tell_what_was_seen() -> None:
    other = replace(OK, key="b", due=0.0, id="raze:opp_2")
    found = check([OK, REPLAY, other, replace(UNKNOWN, key="c")], [MADE, replace(AGAIN, marker="b")])
    figures = found.figures()
    assert (figures["attempts"], figures["keys"], figures["applied"], figures["settled"]) == (4, 3, 2, 2)
    assert figures["settle_max"] == 2.0 and dict(found.words) == {"settled": 2, "unknown": 1}
    assert summed([figures, figures])["keys"] == 6 and summed([figures, figures])["settle_max"] == 2.0


def test_files_are_read_but_for_a_line_that_was_cut(tmp_path: Path) -> None:
    history, ledger = tmp_path / "history", tmp_path / "ledger"
    history.write_bytes(msgspec.json.encode(OK) + b"\n" + msgspec.json.encode(REPLAY) + b'\n{"key": "a"')
    ledger.write_text(
        '{"kind": "create", "provider": "getraze", "id": "opp_1", "marker": "a", "at": 1.5}\n'
        '{"kind": "update", "provider": "getraze", "id": "opp_1", "marker": "a", "at": 1.7}\n'
    )
    assert read_attempts(history) == [OK, REPLAY]
    assert read_applied(ledger, tmp_path / "absent") == [MADE]
