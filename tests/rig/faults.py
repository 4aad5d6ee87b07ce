"""What a fault proxy may do to an exchange, as values: a rule says to which requests, and what becomes of each.

    answer_cut()          the provider gets the request and applies it; of its answer nothing comes back, but a reset
    swallow()             the request is taken and never forwarded; then a reset, an end or silence
    timeout(5)            forwarded, the answer kept back for 5 seconds, then closed
    black_hole()          neither forwarded nor answered
    latency(0.1)          both on the way there and on the way back, if wanted
    bandwidth(1000)       the answer at so many bytes a second
    slicer(1, 0.001)      the answer in tiny pieces
    cut(40)               the answer's first 40 bytes, then the end
    slow_close(0)         the answer, and then the connection is closed after so many seconds
    script([...])         exactly these bytes instead of the provider's

Each takes further members of `Rule` by name: `method`, `path`, `every`, `share`, `times`, `once_per_marker`.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Literal

End = Literal["keep", "close", "reset", "half", "silence"]
Step = str | float
"""Of a script: a text to send (Latin-1, so that every byte can be written), or seconds to wait."""

_MARKER = re.compile(rb"\bk-([A-Za-z0-9_.-]+)")


@dataclass(frozen=True)
class Rule:
    """Which requests, and what becomes of them. The first rule that takes a request decides alone."""

    name: str
    method: str = ""
    """Only this one; empty: every."""
    path: str = ""
    """Only targets in which this regular expression is found."""
    every: int = 1
    """Only every nth of those that match."""
    share: float = 1.0
    """Only so many of them, drawn by the proxy's seed."""
    times: int = 0
    """Only so many in all; 0: without end."""
    once_per_marker: bool = False
    """Only the first request of each marker (`k-…` in the body); those without one never."""

    delay: float = 0.0
    """Seconds before the request is forwarded or swallowed."""
    forward: bool = True
    """Whether the provider sees the request. Its whole answer is waited for then, and dropped where `script` stands."""
    answer_delay: float = 0.0
    """Seconds after the answer is there and before its first byte goes back."""
    limit: int | None = None
    """How many bytes of the answer go back."""
    piece: int = 0
    """Bytes sent at a time; 0: all at once."""
    gap: float = 0.0
    """Seconds between pieces."""
    script: Sequence[Step] = ()
    hold: float = 0.0
    """Seconds before the end."""
    end: End = "keep"
    """keep: the connection serves the next request. half: only our side ends. silence: open, and never a byte again."""

    def as_json(self) -> dict[str, Any]:
        """For the control channel."""
        return asdict(self)


def latency(there: float = 0.0, back: float = 0.0, **when: Any) -> Rule:
    """Slow, but right."""
    return Rule("latency", delay=there, answer_delay=back, **when)


def black_hole(**when: Any) -> Rule:
    """Taken, and never a word: not applied."""
    return Rule("black_hole", forward=False, limit=0, end="silence", **when)


def swallow(end: End = "reset", hold: float = 0.0, **when: Any) -> Rule:
    """Taken whole, never forwarded: not applied."""
    return Rule("swallow", forward=False, limit=0, end=end, hold=hold, **when)


def reset_before(**when: Any) -> Rule:
    """A reset instead of forwarding: not applied."""
    return Rule("reset_before", forward=False, limit=0, end="reset", **when)


def reset_after(**when: Any) -> Rule:
    """A reset once the provider has answered: applied."""
    return Rule("reset_after", limit=0, end="reset", **when)


def answer_cut(after: int = 0, end: End = "reset", **when: Any) -> Rule:
    """Applied, but of the answer only `after` bytes arrive."""
    return Rule("answer_cut", limit=after, end=end, **when)


def cut(after: int, end: End = "close", **when: Any) -> Rule:
    """The answer's first bytes, then an end in the midst."""
    return Rule("cut", limit=after, end=end, **when)


def timeout(seconds: float = 0.0, **when: Any) -> Rule:
    """Applied, silence, and after `seconds` (0: never) the end."""
    return Rule("timeout", limit=0, hold=seconds, end="close" if seconds else "silence", **when)


def bandwidth(rate: int, **when: Any) -> Rule:
    """The answer at `rate` bytes a second."""
    piece = max(1, rate // 50)
    return Rule("bandwidth", piece=piece, gap=piece / rate, **when)


def slicer(size: int = 1, gap: float = 0.0, **when: Any) -> Rule:
    """The answer in pieces of `size` bytes, each in a packet of its own."""
    return Rule("slicer", piece=size, gap=gap or 0.0001, **when)


def slow_close(seconds: float = 0.0, **when: Any) -> Rule:
    """The whole answer, and the connection closed under the caller that much later."""
    return Rule("slow_close", hold=seconds, end="close", **when)


def script(steps: Sequence[Step], *, forward: bool = False, end: End = "keep", **when: Any) -> Rule:
    """Exactly these bytes, whatever the provider would say."""
    return Rule("script", forward=forward, script=tuple(steps), end=end, **when)


def marker_in(request: bytes) -> str | None:
    """What stands behind `k-` in a request's body, or None."""
    found = _MARKER.search(request, request.find(b"\r\n\r\n") + 1)
    return found[1].decode() if found else None


@dataclass
class Chooser:
    """Which rule takes a request; the same requests in the same order and the same seed give the same rules."""

    rules: Sequence[Rule] = ()
    seed: int = 0
    used: dict[str, int] = field(default_factory=dict)
    """How often each rule was chosen, by its name; `pass` for none."""

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self._matched = [0] * len(self.rules)
        self._taken = [0] * len(self.rules)
        self._markers: list[set[str]] = [set() for _ in self.rules]

    def choose(self, method: str, target: str, marker: str | None) -> Rule | None:
        """The first rule that takes it."""
        for place, rule in enumerate(self.rules):
            if self._takes(place, rule, method, target, marker):
                self._taken[place] += 1
                self.used[rule.name] = self.used.get(rule.name, 0) + 1
                return rule
        self.used["pass"] = self.used.get("pass", 0) + 1
        return None

    def _takes(self, place: int, rule: Rule, method: str, target: str, marker: str | None) -> bool:
        if (rule.method and rule.method != method) or (rule.path and not re.search(rule.path, target)):
            return False
        if rule.times and self._taken[place] >= rule.times:
            return False
        self._matched[place] += 1
        if self._matched[place] % rule.every or (rule.share < 1 and self._random.random() >= rule.share):
            return False
        if not rule.once_per_marker:
            return True
        if marker is None or marker in self._markers[place]:
            return False
        self._markers[place].add(marker)
        return True
