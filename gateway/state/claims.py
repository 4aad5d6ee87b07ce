"""A claim on an Idempotency-Key, and what may become of it. Pure: a store applies these transitions, one at a time a key.

    (none) --take--> claimed --send--> sending --answer--> done
                        |                 |
                        |                 +--lose--> unknown --settle--> done, or absent
                        +--release--> (none)         (absent: told once, then the key is free)

Every run of a write has a fence of its own, drawn by whoever takes the key; no transition is made with another's.

- `claimed`: nothing was sent. Whoever finds its lease over may take it with a new fence, and `send` of the holder before is
  refused, so what it was about to send is never sent.
- `sending`: a byte may have gone out. It is never taken over. When its lease is over it is `unknown`.
- `unknown`: the write may have been applied. It is settled by what is found, never by time. Absence counts only when the
  holder has said that it sends no more (`finished`), or is known to be dead.
- `done`: the answer is kept until `expires`, byte for byte.

Times are seconds of the store's own clock, which never jumps; `now` is told by the store.
"""

from dataclasses import dataclass, replace
from math import inf, nextafter
from typing import Literal

Word = Literal["claimed", "sending", "unknown", "done", "absent"]
Verdict = Literal["mine", "in-flight", "mismatch", "unknown", "done", "absent"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One key in use. `key` is a digest: the caller's own word is nowhere kept."""

    key: str
    fence: int
    word: Word
    fingerprint: str
    """Digest of method, route and parsed body: another one under the same key is a mismatch."""
    connection: str
    caller: str
    operation: str
    holder: str
    """The process that runs it, of `Holder.name`."""
    began: float
    since: float
    """When it came to its present word."""
    lease: float
    """Until when the holder is believed without asking."""
    expires: float = 0.0
    """When a claim that is `done` or `absent` is forgotten; 0: not yet."""
    finished: bool = False
    """The holder said that it sends no more."""
    keyless: bool = False
    """No caller's key stands behind it: kept only to be listed and settled."""
    twin: str = ""
    """`about.twin_of` what is sent: a look-up might take the record of one claim for another's with the same one."""
    looks: int = 0
    """Look-ups that found nothing, each late enough to count."""
    looked: float = 0.0
    """When the last look-up began; once it has been counted, when that was."""
    about: bytes = b""
    """What a look-up needs to know of the write."""
    answer: bytes = b""
    """The answer of a `done` claim."""
    record: str = ""
    """The native id of the record that it made: no two claims have the same one."""
    told: bool = False
    """That it is absent has been told: the key is free."""
    settled: str = ""
    """How a claim that was unknown was settled: `holder`, `look-up`, `operator` or `repeat`; empty if it never was."""
    turn: float = 0.0
    """When an `unknown` claim is to be looked at again by whoever settles."""
    keep: float = 0.0
    """For how long claims that are done were kept when it began; 0: a version wrote it that did not say so."""


def take(
    held: Claim | None, asked: Claim, now: float, *, lease: float, may_repeat: bool = False
) -> tuple[Claim | None, Verdict]:
    """(the claim as it is to be, what that means for whoever asks). `asked` is the claim of a fresh key, with its fence.

    `may_repeat`: the write sets absolute values, so that an unknown one whose holder is finished may run again.
    """
    fresh = replace(asked, word="claimed", began=now, since=now, lease=now + lease)
    if held is None or is_over(held, now):
        return fresh, "mine"
    if held.fingerprint != asked.fingerprint:
        # An absent write left the key free: another request may have it without being told.
        return (fresh, "mine") if held.word == "absent" else (held, "mismatch")
    if held.word == "done":
        return held, "done"
    if held.word == "absent":
        return (fresh, "mine") if held.told else (replace(held, told=True), "absent")
    if held.word == "claimed":
        # What a repeat took over that was not known before still is not.
        before = replace(fresh, settled=held.settled, about=held.about, twin=held.twin)
        return (held, "in-flight") if held.lease > now else (before, "mine")
    if held.word == "sending":
        if held.lease > now:
            return held, "in-flight"
        return replace(held, word="unknown", since=now, turn=now, settled=""), "unknown"
    if may_repeat and held.finished:
        return replace(fresh, settled="repeat", about=held.about, twin=held.twin), "mine"
    return held, "unknown"


def is_over(claim: Claim, now: float) -> bool:
    """Whether the claim has been kept for as long as it is to be: a store forgets it."""
    return claim.word in ("done", "absent") and claim.expires <= now


def send(
    held: Claim | None, fence: int, now: float, *, lease: float, about: bytes, twin: str
) -> tuple[Claim | None, bool]:
    """Before each byte that may go out: (the claim, whether the holder with this fence may send)."""
    if held is None or held.fence != fence or held.word not in ("claimed", "sending") or held.finished:
        return held, False
    if held.word == "sending" and held.lease <= now:
        return held, False  # whoever looks will call it unknown; it is not sent a second time
    since = held.since if held.word == "sending" else now
    return replace(held, word="sending", since=since, lease=now + lease, about=about, twin=twin), True


def answer(
    held: Claim | None, fence: int, now: float, *, answer: bytes, record: str, keep: float
) -> tuple[Claim | None, Claim | None]:
    """The holder has its answer: (the claim, the claim whose answer counts). None: this holder no longer counts."""
    if held is None or held.fence != fence:
        return held, held if held is not None and held.word == "done" else None
    if held.word == "done":  # a look-up was quicker: its answer is the one that was told
        return held, held
    settled = "holder" if held.word in ("unknown", "absent") else ""
    done = replace(
        held, word="done", since=now, answer=answer, record=record, expires=now + keep, finished=True, about=b"",
        settled=settled or held.settled,
    )  # fmt: skip
    return done, done


def lose(held: Claim | None, fence: int, now: float) -> tuple[Claim | None, bool]:
    """The holder does not know what became of the write, and sends no more."""
    if held is None or held.fence != fence or held.word not in ("claimed", "sending", "unknown"):
        return held, False
    since = held.since if held.word == "unknown" else now
    return replace(held, word="unknown", since=since, finished=True, turn=now, settled=""), True


def release(held: Claim | None, fence: int) -> tuple[Claim | None, bool]:
    """Nothing was applied, as the holder knows for certain: the key is free."""
    if held is None or held.fence != fence or held.word in ("done", "absent"):
        return held, False
    return None, True


def expire_lease(held: Claim | None, now: float) -> tuple[Claim | None, bool]:
    """A claim whose holder let its lease pass: one that sent may be unknown from now on, one that did not is gone."""
    if held is None or held.lease > now or held.word not in ("claimed", "sending"):
        return held, False
    if held.word == "claimed" and held.settled != "repeat":
        return None, True
    # A repeat that did not send leaves what it found: the write before it is still unknown, and its holder was finished.
    finished = held.finished or held.word == "claimed"
    return replace(held, word="unknown", since=now, turn=now, finished=finished, settled=""), True


def bury(held: Claim | None, holder: str, now: float) -> tuple[Claim | None, bool]:
    """The holder is known to be dead: it sends no more."""
    if held is None or held.word != "unknown" or held.holder != holder or held.finished:
        return held, False
    # When it last could send is not known: the lag counts from here.
    return replace(held, finished=True, since=now, turn=now), True


def look(held: Claim | None, now: float, *, pause: float, again: float = 0.0) -> tuple[Claim | None, float]:
    """Before a look-up: (the claim, when this one began, or 0.0 when it is not its turn). Others keep away for `pause`
    seconds. Its next turn is `again` seconds from now."""
    if held is None or held.word != "unknown" or held.looked + pause > now:
        return held, 0.0
    return replace(held, looked=now, turn=now + again), now


def put_off(held: Claim | None, now: float, *, again: float) -> tuple[Claim | None, bool]:
    """Nobody can look now although it is its turn: that comes again in `again` seconds."""
    if held is None or held.word != "unknown" or held.turn > now:
        return held, False
    return replace(held, turn=now + again), True


def turn_of(claim: Claim) -> float:
    """When there is something to be done about an open claim: a look-up, or to see that its lease is over."""
    return claim.turn if claim.word == "unknown" else claim.lease


def found(
    held: Claim | None, fence: int, now: float, *, answer: bytes, record: str, keep: float, how: str
) -> tuple[Claim | None, bool]:
    """The write with this fence was applied: the claim is done."""
    if held is None or held.fence != fence or held.word != "unknown":
        return held, False
    return replace(
        held, word="done", since=now, answer=answer, record=record, expires=now + keep, settled=how, about=b""
    ), True  # fmt: skip


def missed(
    held: Claim | None, now: float, looked: float, *, lag: float, keep: float, needed: int = 2
) -> tuple[Claim | None, bool]:
    """The look-up that began at `looked` found nothing: (the claim, whether that makes it absent).

    It counts once, and only when it began later than `lag` after the last moment at which a byte could go out. One that
    another look-up has overtaken does not count: it may have begun too early, and it is not known when.
    """
    if held is None or held.word != "unknown":
        return held, False
    if not held.finished or held.looked != looked or looked <= held.since + lag:
        return held, False
    looks = held.looks + 1
    if looks < needed:
        return replace(held, looks=looks, looked=max(now, nextafter(looked, inf)), turn=now), False
    return _absent(held, now, keep, "look-up"), True


def settle_absent(held: Claim | None, fence: int, now: float, *, keep: float, how: str) -> tuple[Claim | None, bool]:
    """Somebody who can know says that the write with this fence was not applied."""
    if held is None or held.fence != fence or held.word != "unknown":
        return held, False
    return _absent(held, now, keep, how), True


def _absent(held: Claim, now: float, keep: float, how: str) -> Claim:
    return replace(held, word="absent", since=now, expires=now + keep, settled=how, about=b"", finished=True)
