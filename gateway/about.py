"""What is remembered of a write until its outcome is known: enough to look for it, and to answer as it would have."""

import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from gateway.codecs import MISSING
from gateway.ledger import NotApplied, Plan, Sent
from gateway.state import clock
from gateway.steady import letters
from gateway.strict_json import dumps, loads

CLOCKS = 300.0
"""How far the clocks of our own machines may be apart at worst."""
APART = 4.0
"""How far ahead a mark is set that says that there was more than one such write: further than a look-up allows for."""


class _Named(msgspec.Struct):
    """So much of what `About.packed` made as tells the record, however much was written to it."""

    native_id: str


@dataclass(frozen=True, slots=True)
class About:
    """What a look-up needs to know of a write, and what its answer is made from.

    `sent_at` is Unix time here, `ticks` the same moment by a clock that nobody sets, on `boot` of one machine. `account` is
    that of the connection to which it went (`Connection.account`).
    """

    operation: str
    native_id: str
    plan: Plan
    sent_at: float
    explain: bool = False
    raw: bool = False
    account: str = ""
    boot: str = ""
    ticks: float = 0.0

    @classmethod
    def now(
        cls, operation: str, native_id: str, plan: Plan, explain: bool = False, raw: bool = False, account: str = ""
    ) -> "About":
        """Of a write that is sent now."""
        return cls(operation, native_id, plan, time.time(), explain, raw, account, clock.BOOT, clock.ticks())

    def age(self) -> float:
        """Seconds since it was sent. By the time of day, which may have been set, only where no other clock can tell: on
        another machine, or after a new start of this one."""
        if self.boot and self.boot == clock.BOOT:
            return clock.ticks() - self.ticks
        return time.time() - self.sent_at

    def packed(self) -> bytes:
        """As a claim holds it."""
        plan = self.plan
        return dumps({
            "operation": self.operation, "native_id": self.native_id, "sent_at": repr(self.sent_at),
            "explain": self.explain, "raw": self.raw, "bodies": plan.bodies, "account": self.account,
            "boot": self.boot, "ticks": repr(self.ticks),
            "sent": [[sent.field, sent.value, sent.operation] for sent in plan.sent],
            "refused": [
                [entry.field, entry.reason, entry.detail, *([] if entry.sent is MISSING else [entry.sent])]
                for entry in plan.refused
            ],
            "lists": [[whole.field, whole.value, whole.operation] for whole in plan.lists],
        })  # fmt: skip

    @staticmethod
    def record_in(about: bytes) -> str:
        """The native id of the record that a write is of; empty for a create, or where nobody can tell any more."""
        try:
            return msgspec.json.decode(about, type=_Named).native_id if about else ""
        except msgspec.DecodeError:
            return ""

    @classmethod
    def unpacked(cls, about: bytes) -> "About":
        """What `packed` made."""
        told: Any = loads(about)
        plan = Plan(
            told["bodies"],
            [Sent(path, value, operation) for path, value, operation in told["sent"]],
            [NotApplied(*entry) for entry in told["refused"]],
            [Sent(*whole) for whole in told.get("lists", ())],  # written down by a version before: none
        )
        return cls(
            told["operation"], told["native_id"], plan, float(told["sent_at"]), told["explain"], told["raw"],
            told.get("account", ""), told.get("boot", ""), float(told.get("ticks", 0)),
        )  # fmt: skip


_TELLING = 32
"""Letters of a name that tell it from others: fewer than any server cuts off."""


def twin_of(connection: str, plan: Plan) -> str:
    """The same for two creates of which a look-up could take the record of one for the other's: those of one name.

    Never mind how a server spells it, and what else they send: a list need not tell that.
    """
    name = next((sent.value for sent in plan.sent if sent.field == "name"), "")
    telling = letters(str(name).casefold(), folded=True)[:_TELLING]
    return sha256(f"{connection}\0{telling}".encode()).hexdigest()[:40]
