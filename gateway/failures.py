"""A failed call or an error reply -> the `Problem` that a caller is told. Each is wrapped here, exactly once.

What a failure means for a write follows from two facts alone: whether anything may have been sent, and the status.
"""

import math
import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import islice

from gateway.adapter import Adapter, Call, Rejection, Reply
from gateway.errors import BadAnswer, CallFailed, FieldError, NeverSent, Outcome, Problem, ProviderDetail
from gateway.scrubbing import scrubbed

MESSAGE_LENGTH = 200
LONGEST_WAIT, LONGEST_TOLD = 60.0, 86400.0
"""Seconds that are waited here at most when a provider asks for it, and that are passed on to a caller at most: an hourly
limit is better told as it is, and an absurd time as a day."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_DATE = re.compile(r"[A-Z][a-z]{2,8},? ")
"""How the three forms of a date in HTTP begin: with the name of a day."""
NAME_LENGTH, MOST_NAMES = 60, 50
LOOKED_AT = 10 * MESSAGE_LENGTH
"""Of a text as long as a reply may be no more is searched."""
_ADDRESS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,15}:)?//\S+"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?"
    r"|\[[0-9a-f]*:[0-9a-f:.]+\](?::\d+)?"
    r"|\b(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+):\d{2,5}\b",
    re.IGNORECASE,
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
"""Also what turns or breaks a line, or shows nothing."""

_BY_STATUS = {
    401: "provider-auth-failed", 403: "provider-auth-failed", 404: "not-found", 408: "provider-timeout",
    409: "conflict", 410: "not-found", 412: "conflict", 429: "rate-limited",
}  # fmt: skip
"""The standard table; any other 4xx is `provider-rejected`, any 5xx `provider-error`."""
_REFUSALS = frozenset({"provider-auth-failed", "not-found", "conflict", "rate-limited", "provider-rejected"})
"""Codes by which a write was not done, told with the status of a success."""

_DETAILS = {
    "provider-auth-failed": "The provider refused the key that this gateway holds for the connection.",
    "not-found": "There is no such opportunity.",
    "conflict": "The provider says that this contradicts what it holds.",
    "rate-limited": "The provider's rate limit is reached.",
    "provider-timeout": "The provider gave up waiting for the request.",
    "provider-rejected": "The provider refused the request.",
    "provider-error": "The provider failed.",
}

_UNREACHABLE = {
    "refused": "The provider refused the connection.",
    "dns": "The provider's name could not be looked up.",
    "tls": "No secure connection to the provider could be made.",
    "connect_timeout": "No connection to the provider could be made in time.",
    "busy": "Too many calls to this provider are waiting already.",
    "full": "Too many calls to this provider are waiting already.",
    "open": "The provider has failed again and again; it is left alone for a moment.",
    "budget": "Nothing is left of the calls that the provider allows in this time, so nothing was sent.",
    "deadline": "The deadline passed before anything was sent.",
}
_UNSENT = {"deadline": "provider-timeout", "budget": "rate-limited"}
_LOST = {
    "reset": "The provider broke off the connection before its answer was whole.",
    "early_end": "The provider closed the connection before its answer was whole.",
    "deadline": "The provider did not answer before the deadline.",
}
_UNUSABLE = {
    "framing": "The provider's answer is not well-formed HTTP.",
    "redirect": "The provider answered with a redirect, which is never followed.",
    "encoding": "The provider's answer is encoded in a way that is not taken.",
    "too_large": "The provider's answer is larger than `limits.reply`, or holds more values than that.",
    "not_json": "The provider's answer is not strict JSON.",
    "denied": "The provider answered with the status of a success, and with words that say that it failed.",
    "no_record": "The provider's answer holds no readable record.",
    "other_id": "The provider answered with another record than the one asked for.",
}


def problem_of_failure(failure: CallFailed, call: Call, connection: str) -> Problem:
    """The problem behind a call that got no usable reply."""
    if isinstance(failure, NeverSent):
        code = _UNSENT.get(failure.reason, "provider-unavailable")
        detail, outcome = _UNREACHABLE.get(failure.reason, "The provider cannot be reached."), "not_applied"
    elif isinstance(failure, BadAnswer):
        code, outcome = "provider-bad-answer", "unknown"
        detail = _UNUSABLE.get(failure.reason, "The provider's answer cannot be used.")
    else:
        code, outcome = "provider-timeout", "unknown"
        detail = _LOST.get(failure.reason, "The provider's answer did not arrive.")
    wait = failure.retry_after if isinstance(failure, NeverSent) else None
    if wait is None and code == "provider-unavailable":
        wait = 2
    told: Outcome | None = None if call.is_read else outcome  # type: ignore[assignment]  # two of its three words
    if told == "unknown":
        detail += " The write may have been applied."
    return Problem(
        code, detail, connection=connection, outcome=told,
        retry_after=whole_seconds(wait),
        retryable=told != "unknown",
    )  # fmt: skip


def bad_answer(reason: str, call: Call, connection: str) -> Problem:
    """The problem of an answer that was received but cannot be served."""
    return problem_of_failure(BadAnswer(reason), call, connection)


def problem_of_denial(adapter: Adapter, reply: Reply, call: Call, connection: str, secret: str) -> Problem:
    """The problem of a success reply that says of itself that it is none: which of the two is true is not known.

    Unless the adapter's `code_for` knows the error: of a provider that answers all with 200 that is what counts. What it
    says is passed on, scrubbed as in `problem_of_reply`.
    """
    if adapter.code_for(reply) is not None:
        return problem_of_reply(adapter, reply, call, connection, secret)
    problem = bad_answer("denied", call, connection)
    problem.provider = _told(reply, adapter.problem(reply), _forms_of(adapter, secret))
    return problem


def problem_of_reply(adapter: Adapter, reply: Reply, call: Call, connection: str, secret: str) -> Problem:
    """The problem that an error reply (status 400 and up, or one that denies itself) stands for.

    `secret`, and whatever the adapter makes of it for its headers, is scrubbed from all that is passed on.
    """
    rejection = adapter.problem(reply)
    secrets = _forms_of(adapter, secret)
    code = adapter.code_for(reply) or _BY_STATUS.get(reply.status)
    if code is None:
        code = "provider-error" if reply.status >= 500 else "provider-rejected"
    detail = _DETAILS.get(code, "The provider refused the request.")
    if code == "not-found" and call.operation in ("list", "create", "stages"):  # no record was asked for
        code, detail = "provider-error", "The provider knows no such route; the operator should check `base_url`."
    if call.is_read:
        outcome: Outcome | None = None
    else:
        doubtful = reply.status >= 500 or reply.status == 408 or (reply.status < 400 and code not in _REFUSALS)
        outcome = "unknown" if doubtful else "not_applied"
    if outcome == "unknown":
        detail += " The write may have been applied."
    told = _told(reply, rejection, secrets, silent=code == "provider-auth-failed")
    wait = wait_told(adapter, reply, rejection)
    seconds = whole_seconds(None if wait is None else min(wait, LONGEST_TOLD))
    if seconds is None and code == "rate-limited":
        seconds = 60
    errors = [
        FieldError(_canonical(adapter, call, name, secrets), _scrubbed(what, secrets) or "refused")
        for name, what in islice(rejection.fields.items(), MOST_NAMES)
    ]
    return Problem(
        code, detail, errors=errors, provider=told, outcome=outcome, connection=connection, retry_after=seconds,
        retryable=False if outcome == "unknown" else None,
        origin="provider" if code != "not-found" else "caller",
    )  # fmt: skip


def _told(reply: Reply, rejection: Rejection, secrets: tuple[str, ...], *, silent: bool = False) -> ProviderDetail:
    """What the provider said, as far as it is passed on; without its message if `silent`."""
    message = None if silent else _scrubbed(rejection.message, secrets)
    return ProviderDetail(
        reply.status, _scrubbed(rejection.code, secrets), message, _scrubbed(rejection.request_id, secrets)
    )


def whole_seconds(wait: float | None) -> int | None:
    """Seconds as `Retry-After` tells them: rounded up, 1 at least."""
    return None if wait is None else max(1, math.ceil(wait))


def wait_told(adapter: Adapter, reply: Reply, rejection: Rejection | None = None) -> float | None:
    """Seconds that the provider asks to wait, however it says so: in the body, in `Retry-After`, or with a 429 in what
    it tells of its limit. None where it asks for nothing. Never below 0; without a bound above."""
    now = time.time()
    wait = (rejection or adapter.problem(reply)).retry_after
    if wait is None:
        wait = retry_after(reply, now)
    if wait is None and reply.status == 429:
        left = adapter.budget_left(reply)
        if left is not None and left.reset is not None and not left.remaining:
            wait = left.reset - now
    return None if wait is None else max(0.0, wait)


def retry_after(reply: Reply, now: float) -> float | None:
    """Seconds that the `Retry-After` header asks to wait; None without one that can be read. `now` is Unix seconds."""
    value = reply.headers.get("retry-after", "").strip()
    if not value.isascii():
        return None
    if _SECONDS.fullmatch(value):
        return float(value)
    if not _DATE.match(value):
        return None
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    # A date in HTTP is in GMT, also where it does not say so; Python would take it for the host's own time.
    return max(0.0, (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp() - now)


def _canonical(adapter: Adapter, call: Call, name: str, secrets: tuple[str, ...]) -> str:
    """The canonical path behind a provider's member name in a request's body; the name itself if it is nobody's."""
    pointer = name if name.startswith("/") else f"/{name}"
    for path, row in adapter.table.leaves():
        if row.write.get(call.operation) == pointer:
            return path.replace("[]", "[0]")
    return (_scrubbed(name, secrets) or "")[:NAME_LENGTH]


def _forms_of(adapter: Adapter, secret: str) -> tuple[str, ...]:
    """The credential as it is and as it travels: `Basic` makes another word of it."""
    words = {secret}
    for value in adapter.headers(secret).values():
        words.update(value.split())
    return tuple(word for word in words if len(word) >= 8 or word == secret)


def _scrubbed(text: str | None, secrets: tuple[str, ...]) -> str | None:
    """`text` without addresses, control characters and anything that begins like a credential; cut to a line."""
    if text is None:
        return None
    text = scrubbed(_ADDRESS.sub("[address]", _CONTROLS.sub(" ", text[:LOOKED_AT])), secrets)
    return text if len(text) <= MESSAGE_LENGTH else text[: MESSAGE_LENGTH - 1] + "…"
