"""What is remembered of a write until its outcome is known: enough to look for it, and to answer as it would have."""

from dataclasses import dataclass
from typing import Any

from gateway.codecs import MISSING
from gateway.ledger import NotApplied, Plan, Sent
from gateway.strict_json import dumps, loads


@dataclass(frozen=True, slots=True)
class About:
    """What a look-up needs to know of a write, and what its answer is made from. `sent_at` is Unix time here."""

    operation: str
    native_id: str
    plan: Plan
    sent_at: float
    explain: bool = False
    raw: bool = False

    def packed(self) -> bytes:
        """As a claim holds it."""
        plan = self.plan
        return dumps({
            "operation": self.operation, "native_id": self.native_id, "sent_at": repr(self.sent_at),
            "explain": self.explain, "raw": self.raw, "bodies": plan.bodies,
            "sent": [[sent.field, sent.value, sent.operation] for sent in plan.sent],
            "refused": [
                [entry.field, entry.reason, entry.detail, *([] if entry.sent is MISSING else [entry.sent])]
                for entry in plan.refused
            ],
            "lists": [[whole.field, whole.value, whole.operation] for whole in plan.lists],
        })  # fmt: skip

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
            told["operation"], told["native_id"], plan, float(told["sent_at"]), told["explain"], told["raw"]
        )  # fmt: skip
