"""Lists of what can go wrong, each entry with a name and its own bytes.

    framing, statuses, encodings, answers, slowness    what a provider may send instead of its answer (`Kind`)
    deviations                                         records with something odd in them, served with an issue
    json_cases                                         texts that are JSON, and texts that only look like it
    retry_after                                        ways of saying when to come back
    cancellations                                      ways and moments of leaving

`provider.Provider` plays kinds over sockets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tests.fault_server import Step, answer

BAD, LATE, FAILED, SERVED = "provider-bad-answer", "provider-timeout", "provider-error", "served"
"""What a request comes to: the code of a problem, or an answer after all."""
Comes: TypeAlias = str
Outcome = Literal["unknown", "not_applied"]


@dataclass(frozen=True)
class Place:
    """What a kind's bytes may be made of: the good answer that it replaces, and a server that is not the provider's."""

    body: bytes
    status: bytes = b"200 OK"
    elsewhere: str = "http://127.0.0.1:9"

    @property
    def good(self) -> bytes:
        """The whole good answer."""
        return answer(self.body, status=self.status)


Play: TypeAlias = Callable[[Place], Sequence[Step]]


@dataclass(frozen=True)
class Kind:
    """What a provider sends instead of its answer.

    `read`, `create` and `update` are what each comes to; `outcome` is what a write that failed is told to be.
    `denied_by`: the speakers in whose words it says that the call failed, so that not even an update is looked at again.
    `kept`: the connection may serve another request, since the answer was whole and is only not a welcome one.
    """

    name: str
    play: Play
    read: Comes = BAD
    create: Comes = ""
    update: Comes = ""
    outcome: Outcome = "unknown"
    denied_by: tuple[str, ...] = ()
    kept: bool = False
    wait: float = 0.0
    """Seconds after which all of it has come: a request sent earlier may be answered by the rest of it."""

    def spoils(self, method: str) -> bool:
        """Whether its connection must not serve another request, after one by this method of the gateway's caller."""
        if self.wait:  # what a write is followed by at once may cross what comes late
            return method == "GET"
        return not self.kept and self.comes_to(method) != SERVED

    def comes_to(self, method: str, speaker: str = "") -> Comes:
        """What a request of the gateway's caller with this method comes to."""
        if speaker in self.denied_by:
            return self.read
        return {"GET": self.read, "POST": self.create, "PATCH": self.update}[method] or self.read


def head(*lines: bytes) -> bytes:
    """A head, whole."""
    return b"\r\n".join([*lines, b"", b""])


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


OK = b"HTTP/1.1 200 OK"
JSON_TYPE = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"


def says(body: bytes, *headers: bytes, status: bytes = b"") -> Play:
    """A well-formed answer with this body."""
    return lambda place: [answer(body, *headers, status=status or place.status)]


def raw(*steps: Step) -> Play:
    """These bytes, whatever the good answer is."""
    return lambda place: steps
