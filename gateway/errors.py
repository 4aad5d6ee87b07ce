"""What can go wrong, and who must act.

    Problem                 what a caller is told: one code of `CODES`, as application/problem+json
    CallFailed              what the wire knows of a call that got no usable reply
      NeverSent             not one byte of the request left this machine
      MaybeSent             the provider may have received it, and may have acted on it
      BadAnswer             it was received and answered, and the answer cannot be used

The wire raises `CallFailed`; layers decide on it; `opportunities` turns what is left into a `Problem`, once.
Whether a write took effect is never guessed from a message: it follows from these classes alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Origin = Literal["caller", "gateway", "provider"]
Outcome = Literal["not_applied", "applied", "unknown"]


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the table of problems: what it means, who must act, and what to do."""

    code: str
    status: int
    title: str
    origin: Origin
    meaning: str
    advice: str
    retryable: bool = False


def _table(*codes: Code) -> Mapping[str, Code]:
    return {code.code: code for code in codes}


CODES: Mapping[str, Code] = _table(
    Code("invalid-request", 400, "The request cannot be read", "caller",
         "The request is not what this API takes: the body is not strict JSON, or an id, a cursor, a header or a "
         "query parameter is malformed, unknown or repeated.",
         "Correct what `detail` and `errors` name and send it again."),
    Code("unauthenticated", 401, "A valid caller key is needed", "caller",
         "No caller key was sent, or it is not one of the keys that this gateway knows.",
         "Send `Authorization: Bearer <key>` or `X-API-Key: <key>` with a key that the operator gave you."),
    Code("forbidden", 403, "This caller may not do that", "caller",
         "The caller key is good but lacks the scope that the operation needs.",
         "Ask the operator to add the scope that `detail` names, or use another key."),
    Code("not-found", 404, "Not found", "caller",
         "There is no such record, route or connection, or the caller may not use the connection: the two are "
         "not told apart.",
         "Check the id. An id is `<connection>:<native id>`, as this API gave it."),
    Code("operation-not-supported", 405, "This provider cannot do that", "caller",
         "The provider behind the connection has no such operation.",
         "See `/v1/connections` for what each connection can do; `Allow` lists what this record takes."),
    Code("method-not-allowed", 405, "No such method on this route", "caller",
         "The route exists but does not take this method.",
         "Use one of the methods in `Allow`."),
    Code("conflict", 409, "The provider reports a conflict", "provider",
         "The provider refused the request because it contradicts what it already holds.",
         "Read the record again and decide anew."),
    Code("idempotency-in-flight", 409, "The same key is being worked on", "caller",
         "A request with this Idempotency-Key has not ended yet.",
         "Wait for `Retry-After` and send the same request again.", True),
    Code("request-timeout", 408, "The request took too long to arrive", "caller",
         "Headers or body did not arrive within the time allowed.",
         "Send the request again, without pauses.", True),
    Code("too-large", 413, "The body is too large", "caller",
         "The request body is larger than `limits.body`, or holds more than 10,000 values.",
         "Send less, or ask the operator to raise the limit (that of values is fixed)."),
    Code("uri-too-long", 414, "The URL is too long", "caller",
         "The request target is longer than the gateway reads.",
         "Shorten the query; ask for fewer `ids` at once."),
    Code("unsupported-media-type", 415, "This content type is not taken", "caller",
         "A body must be JSON in UTF-8, and not compressed.",
         "Send `Content-Type: application/json` (PATCH: also `application/merge-patch+json`)."),
    Code("headers-too-large", 431, "The headers are too large", "caller",
         "The request's headers are larger than the gateway reads.",
         "Send fewer or shorter headers."),
    Code("invalid-opportunity", 422, "The opportunity is not valid", "caller",
         "The body is JSON but not an opportunity as this API takes it: an unknown or read-only member, a wrong "
         "type, or members that contradict each other.",
         "Correct the members that `errors` lists."),
    Code("provider-rejected", 422, "The provider refused the values", "provider",
         "The provider understood the request and refused it.",
         "See `errors` and `provider` for what it objected to."),
    Code("idempotency-mismatch", 422, "This key was used for another request", "caller",
         "The Idempotency-Key belongs to a request with another route or body.",
         "Use a new key for a new request."),
    Code("not-writable", 422, "This cannot be written to the provider", "caller",
         "Nothing was sent. With `errors`: `Prefer: handling=strict` was asked for, and the provider cannot hold these "
         "members. Without (`origin: gateway`): something is lacking, in the request or in the connection's configuration, "
         "without which the call would do harm at the provider.",
         "Leave out what `errors` lists, or send the request without `handling=strict`. Without `errors`, `detail` says "
         "what has to be sent, or what the operator has to set in config.yaml."),
    Code("not-native", 422, "The provider has no such filter or sort", "caller",
         "With `Prefer: handling=strict`, a filter or sort that would have to be emulated is refused.",
         "Leave it out, or send the request without `handling=strict`."),
    Code("internal-error", 500, "The gateway failed", "gateway",
         "Something in the gateway went wrong. It has been logged under the request id.",
         "Report the request id to the operator."),
    Code("overloaded", 503, "The gateway is overloaded", "gateway",
         "The gateway has more work than it can take, or is about to stop.",
         "Wait for `Retry-After` and try again.", True),
    Code("rate-limited", 429, "Too many requests", "provider",
         "A rate limit was reached: the provider's (`origin: provider`) or this gateway's for the caller "
         "(`origin: gateway`).",
         "Wait for `Retry-After` and try again.", True),
    Code("provider-auth-failed", 502, "The provider refused the gateway's key", "provider",
         "The key that the gateway holds for this connection is wrong, expired or lacks a permission. The caller's "
         "own key is not the reason.",
         "The operator must renew the connection's `api_key` or its permissions at the provider."),
    Code("provider-bad-answer", 502, "The provider's answer cannot be used", "provider",
         "The provider answered with something that is not a readable record: not strict JSON, another id than "
         "asked, a success that says of itself that it is none, a redirect, broken framing, or more than `limits.reply`.",
         "For a write, read `outcome`. Report the request id to the operator if it stays so.", True),
    Code("provider-error", 502, "The provider failed", "provider",
         "The provider answered with an error of its own (5xx).",
         "For a write, read `outcome` before sending it again.", True),
    Code("provider-unavailable", 503, "The provider cannot be reached", "provider",
         "No connection to the provider could be made, or too many calls to it are waiting already.",
         "Wait for `Retry-After` and try again.", True),
    Code("provider-timeout", 504, "The provider did not answer in time", "provider",
         "The deadline passed, or the connection ended before the answer did.",
         "For a write, read `outcome`: `unknown` means that it may have been applied; look before sending it again.",
         True),
    Code("state-store-unavailable", 503, "The gateway's state store cannot be reached", "gateway",
         "What must be remembered before a write could not be written down, so nothing was sent.",
         "Wait for `Retry-After` and try again.", True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one member of the input. `field` is a path such as `contacts[0].title`, or a parameter."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ProviderDetail:
    """What the provider said, scrubbed of keys and cut: for support, never for program logic."""

    status: int
    code: str | None = None
    message: str | None = None
    request_id: str | None = None


class Problem(Exception):
    """What a caller is told instead of an answer. Its text holds no key, address, stack or input value."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        origin: Origin | None = None,
        errors: Sequence[FieldError] = (),
        provider: ProviderDetail | None = None,
        outcome: Outcome | None = None,
        retry_after: int | None = None,
        retryable: bool | None = None,
        connection: str | None = None,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(f"{code}: {detail}")
        entry = CODES[code]
        self.code = code
        self.status = entry.status
        self.title = entry.title
        self.detail = detail
        self.origin: Origin = origin or entry.origin
        self.errors = tuple(errors)
        self.provider = provider
        self.outcome = outcome
        self.retry_after = retry_after
        self.retryable = entry.retryable if retryable is None else retryable
        self.connection = connection
        self.allow = tuple(allow)

    def again(self) -> "Problem":
        """The same problem for another request."""
        return Problem(
            self.code, self.detail, origin=self.origin, errors=self.errors, provider=self.provider, outcome=self.outcome,
            retry_after=self.retry_after, retryable=self.retryable, connection=self.connection, allow=self.allow,
        )  # fmt: skip

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The RFC 9457 object; members that do not apply are left out."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "origin": self.origin,
            "retryable": self.retryable,
        }
        if self.retry_after is not None:
            body["retry_after"] = self.retry_after
        if request_id is not None:
            body["request_id"] = request_id
        if self.connection is not None:
            body["connection"] = self.connection
        if self.errors:
            body["errors"] = [{"field": error.field, "message": error.message} for error in self.errors]
        if self.provider is not None:
            told = {
                "status": self.provider.status,
                "code": self.provider.code,
                "message": self.provider.message,
                "request_id": self.provider.request_id,
            }
            body["provider"] = {key: value for key, value in told.items() if value is not None}
        if self.outcome is not None:
            body["outcome"] = self.outcome
        return body


class CallFailed(Exception):
    """A call that got no usable reply. `reason` is a word of the class's own list; the text is for our log only."""

    stale = False
    """Whether the connection had served before and ended without a byte of an answer: it was closed while nobody used it,
    most likely, as any may be at any time, and that says nothing about the provider."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class NeverSent(CallFailed):
    """Nothing left this machine. Reasons: `refused`, `dns`, `tls`, `connect_timeout`, `busy`, `deadline`; and those for
    which our own layers held it back: `full` (too many wait), `open` (the circuit), `budget` (nothing is left of it).

    `retry_after` is in seconds, where it is known when it may be sent.
    """

    def __init__(self, reason: str, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class MaybeSent(CallFailed):
    """Sent, or partly sent, and no whole answer came. Reasons: `reset`, `early_end`, `deadline`."""


class BadAnswer(CallFailed):
    """Answered, unusably. Reasons: `framing`, `redirect`, `encoding`, `too_large`, `not_json`, `denied`, `no_record`,
    `other_id`."""
