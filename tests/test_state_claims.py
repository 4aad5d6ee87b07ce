"""What may become of a claim, one promise of gateway/state/claims.py after the other, and which process is dead."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.state import claims, holders
from gateway.state.claims import Claim, Word
from gateway.state.packing import Unreadable, pack, unpack

NOW = 1_000_000.0
WORDS: tuple[Word, ...] = ("claimed", "sending", "unknown", "done", "absent")


def a_claim(word: Word = "claimed", fence: int = 1, **changes: object) -> Claim:
    claim = Claim(
        "key", fence, word, "print", "crm", "caller", "create", "holder", NOW, NOW, NOW + 10,
        expires=NOW + 100 if word in ("done", "absent") else 0.0,
    )  # fmt: skip
    return replace(claim, **changes)  # type: ignore[arg-type]  # members by name


ASKED = a_claim(fence=2)


def take(held: Claim | None, now: float = NOW, asked: Claim = ASKED, **more: bool) -> tuple[Claim | None, str]:
    return claims.take(held, asked, now, lease=10, **more)


def test_a_free_key_is_taken() -> None:
    new, verdict = take(None)
    assert verdict == "mine"
    assert new == replace(ASKED, word="claimed", began=NOW, since=NOW, lease=NOW + 10)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("late", [False, True])
def test_who_may_have_a_key_that_is_used(word: Word, late: bool) -> None:
    held = a_claim(word)
    new, verdict = take(held, NOW + (11 if late else 1))
    expected = {
        ("claimed", False): "in-flight",
        ("claimed", True): "mine",
        ("sending", False): "in-flight",
        ("sending", True): "unknown",
        ("unknown", False): "unknown",
        ("unknown", True): "unknown",
        ("done", False): "done",
        ("done", True): "done",
        ("absent", False): "absent",
        ("absent", True): "absent",
    }
    assert verdict == expected[word, late]
    assert new is not None
    assert new.fence == (2 if verdict == "mine" else 1)
    if verdict == "unknown":
        assert new.word == "unknown"


@pytest.mark.parametrize("word", WORDS)
def test_another_request_under_the_same_key_is_a_mismatch_unless_the_first_was_not_applied(word: Word) -> None:
    new, verdict = take(a_claim(word), asked=replace(ASKED, fingerprint="another"))
    assert verdict == ("mine" if word == "absent" else "mismatch")
    assert new is not None and new.fence == (2 if word == "absent" else 1)


def test_absence_is_told_once_and_then_the_key_is_free() -> None:
    told, verdict = take(a_claim("absent"))
    assert verdict == "absent"
    assert take(told)[1] == "mine"


@pytest.mark.parametrize("word", ["done", "absent"])
def test_a_claim_that_is_over_is_as_none(word: Word) -> None:
    assert take(a_claim(word), NOW + 100)[1] == "mine"
    assert not any(claims.is_over(a_claim(word), NOW + 1e9) for word in ("claimed", "sending", "unknown"))


def test_an_unknown_write_runs_again_only_when_it_may_and_its_holder_sends_no_more() -> None:
    assert take(a_claim("unknown"), may_repeat=True)[1] == "unknown"
    assert take(a_claim("unknown", finished=True))[1] == "unknown"
    new, verdict = take(a_claim("unknown", finished=True), may_repeat=True)
    assert verdict == "mine" and new is not None and new.settled == "repeat"


def test_a_repeat_that_dies_before_it_sends_leaves_the_write_unknown_as_it_was() -> None:
    held = a_claim("unknown", finished=True, about=b"what was sent", twin="t")
    again, _ = take(held, may_repeat=True)
    assert again is not None and (again.word, again.about, again.twin) == ("claimed", b"what was sent", "t")
    left, is_over = claims.expire_lease(again, NOW + 11)
    assert (
        is_over and left is not None and (left.word, left.finished, left.about) == ("unknown", True, b"what was sent")
    )
    assert left.settled == ""
    assert claims.send(left, again.fence, NOW + 12, lease=10, about=b"", twin="")[1] is False
    taken, verdict = take(again, NOW + 11, a_claim(fence=3), may_repeat=True)
    assert verdict == "mine" and taken is not None and (taken.settled, taken.about) == ("repeat", b"what was sent")


def send(held: Claim | None, fence: int = 1, now: float = NOW) -> tuple[Claim | None, bool]:
    return claims.send(held, fence, now, lease=10, about=b"about", twin="twin")


def test_sending_is_for_the_holder_of_the_fence_while_it_is_believed() -> None:
    new, may = send(a_claim(), now=NOW + 99)  # nobody took it although its lease was over
    assert may and new is not None
    assert (new.word, new.lease, new.about, new.twin) == ("sending", NOW + 109, b"about", "twin")
    assert send(a_claim("sending"), now=NOW + 9)[1]
    assert not send(a_claim("sending"), now=NOW + 10)[1]
    assert not send(a_claim("sending", finished=True))[1]
    assert not send(a_claim(fence=2))[1]
    assert not send(None)[1]
    assert not any(send(a_claim(word))[1] for word in ("unknown", "done", "absent"))


def answer(held: Claim | None, fence: int = 1) -> tuple[Claim | None, Claim | None]:
    return claims.answer(held, fence, NOW + 5, answer=b"answer", record="1", keep=100)


def test_the_answer_of_the_fence_counts_however_late() -> None:
    for word in ("claimed", "sending", "unknown", "absent"):
        new, counts = answer(a_claim(word))
        assert new is not None and new is counts
        assert (new.word, new.answer, new.record, new.expires, new.finished) == (
            "done",
            b"answer",
            "1",
            NOW + 105,
            True,
        )
        assert new.settled == ("holder" if word in ("unknown", "absent") else "")


def test_the_answer_of_another_fence_and_a_second_answer_do_not_count() -> None:
    assert answer(None) == (None, None)
    assert answer(a_claim("sending", fence=2)) == (a_claim("sending", fence=2), None)
    found = a_claim("done", answer=b"found")
    assert answer(found) == (found, found)
    assert answer(replace(found, fence=2)) == (replace(found, fence=2), replace(found, fence=2))


@pytest.mark.parametrize("word", WORDS)
def test_losing_and_releasing(word: Word) -> None:
    held = a_claim(word)
    new, lost = claims.lose(held, 1, NOW + 1)
    assert lost == (word in ("claimed", "sending", "unknown"))
    if lost:
        assert new is not None and new.word == "unknown" and new.finished
    assert claims.lose(held, 2, NOW)[0] is held
    assert claims.release(held, 2) == (held, False)
    assert claims.release(held, 1) == ((None, True) if word in ("claimed", "sending", "unknown") else (held, False))


def test_a_lease_that_is_over_makes_unknown_what_may_have_been_sent() -> None:
    assert claims.expire_lease(a_claim(), NOW + 10) == (None, True)
    new, changed = claims.expire_lease(a_claim("sending"), NOW + 10)
    assert changed and new is not None and new.word == "unknown" and not new.finished
    for word in WORDS:
        assert not claims.expire_lease(a_claim(word), NOW + 9)[1]
    assert not any(claims.expire_lease(a_claim(word), NOW + 99)[1] for word in ("unknown", "done", "absent"))


def test_only_the_dead_holder_of_an_unknown_claim_is_buried() -> None:
    new, buried = claims.bury(a_claim("unknown"), "holder", NOW + 7)
    assert buried and new is not None and new.finished and new.since == NOW + 7
    assert not claims.bury(a_claim("unknown"), "another", NOW)[1]
    assert not any(claims.bury(a_claim(word), "holder", NOW)[1] for word in WORDS if word != "unknown")


def test_absence_takes_two_looks_beyond_the_lag_after_the_holder_sends_no_more() -> None:
    def looked(held: Claim | None, now: float) -> tuple[Claim | None, bool]:
        held, began = claims.look(held, now, pause=1)
        assert began == now
        return claims.missed(held, now + 0.5, began, lag=5, keep=100)

    held, absent = looked(a_claim("unknown"), NOW + 100)
    assert held is not None and held.looks == 0 and not absent  # the holder may still send
    held = a_claim("unknown", finished=True)
    for now, looks in ((NOW + 4, 0), (NOW + 6, 1)):
        held, absent = looked(held, now)
        assert held is not None and held.looks == looks and not absent
    held, absent = looked(held, NOW + 8)
    assert absent and held is not None and (held.word, held.settled, held.expires) == ("absent", "look-up", NOW + 108.5)


def test_a_look_up_counts_once_and_not_when_another_has_overtaken_it() -> None:
    held: Claim | None = a_claim("unknown", finished=True)
    held, first = claims.look(held, NOW + 4, pause=1)
    assert claims.look(held, NOW + 4.5, pause=1) == (held, 0.0)
    held, second = claims.look(held, NOW + 6, pause=1)
    # The first began too early. That the second has begun since makes it no better.
    assert claims.missed(held, NOW + 7, first, lag=5, keep=100) == (held, False)
    held, _ = claims.missed(held, NOW + 7, second, lag=5, keep=100)
    again = claims.missed(held, NOW + 7, second, lag=5, keep=100)
    assert again == (held, False) and held is not None and held.looks == 1


@pytest.mark.parametrize("word", WORDS)
def test_only_what_is_unknown_is_settled(word: Word) -> None:
    settling: list[Callable[[Claim | None], tuple[Claim | None, bool]]] = [
        lambda held: claims.found(held, 1, NOW, answer=b"a", record="1", keep=9, how="operator"),
        lambda held: claims.settle_absent(held, 1, NOW, keep=9, how="operator"),
    ]
    for settle in settling:
        new, settled = settle(a_claim(word))
        assert settled == (word == "unknown")
        assert new is not None and (new.settled == "operator") == settled


def test_a_claim_is_packed_whole_and_a_later_versions_is_read() -> None:
    claim = a_claim("unknown", about=b"\0\xff", fence=2**63 - 1, record="\U0001f600")
    assert unpack(pack(claim)) == claim
    with pytest.raises(Unreadable):
        unpack(b"\xc1")
    with pytest.raises(Unreadable):
        unpack(pack(replace(claim, word="later")))  # type: ignore[arg-type]  # a word that none has


def child() -> "subprocess.Popen[str]":
    code = "from gateway.state.holders import here; print(here(), flush=True); input()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_process_is_dead_once_it_has_ended_and_not_while_it_is_stopped() -> None:
    with child() as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert len(name.split(".")) == 5
        assert not holders.is_dead(name)
        process.send_signal(signal.SIGSTOP)
        assert not holders.is_dead(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert holders.is_dead(name)  # it has ended, and nobody has asked how yet
        process.wait()
        assert holders.is_dead(name)


def test_of_other_machines_and_containers_nothing_is_known() -> None:
    here = holders.here()
    assert not holders.is_dead(here)
    machine, boot, namespace, _, start = here.split(".")
    gone = "4194999"  # above the kernel's highest pid
    assert holders.is_dead(f"{machine}.{boot}.{namespace}.{gone}.{start}")
    assert holders.is_dead(f"{machine}.{boot}.{namespace}.{os.getpid()}.1")  # the pid of another process, earlier
    assert not holders.is_dead(f"another.{boot}.{namespace}.{gone}.{start}")
    assert not holders.is_dead(f"{machine}.{boot}.1.{gone}.{start}")
    assert not holders.is_dead(f"{machine}.another.1.{gone}.{start}")
    first = namespace == "4026531836"
    assert holders.is_dead(f"{machine}.another.{namespace}.{gone}.{start}") == first
    for nonsense in ("", "a.b.c.d.e", here + ".x", f"?.{boot}.{namespace}.{gone}.{start}"):
        assert not holders.is_dead(nonsense)
