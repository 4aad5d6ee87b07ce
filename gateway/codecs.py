"""Named pairs of decode and encode: how one value is spelled at a provider and how it is spelled canonically.

A codec's `decode` takes the provider's value as strict JSON gave it and returns the canonical value, or raises
`Unreadable`; it never guesses. `encode` is its inverse; a codec without one only reads. Neither sees the record around
the value: what needs more than one value takes them all, each possibly `MISSING` (see `fields.row`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final

from gateway.strict_json import Json


class _Missing:
    """The provider did not say: neither a value nor null."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()


class Unreadable(Exception):
    """A value that its codec cannot read: `reason` is `wrong_type`, `unknown_word` or `invalid`, `detail` a sentence.

    `which` tells, for a codec of several values, which of them; `below` is a JSON Pointer from there to the culprit.
    """

    def __init__(self, reason: str, detail: str, which: int = 0, below: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.which = which
        self.below = below


class Inexact(Exception):
    """A value read, but with less than it held: `value` is served, the original is kept and named."""

    def __init__(self, value: Json, detail: str) -> None:
        super().__init__(detail)
        self.value = value
        self.detail = detail


class Unencodable(Exception):
    """A canonical value that the provider's spelling cannot hold; the text says why."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One spelling: `doc` is the rule in words, shown by `explain` and in the docs.

    `native` is False where the canonical value is worked out from what the provider says rather than said by it.
    """

    name: str
    doc: str
    decode: Callable[..., Json]
    encode: Callable[[Any], Json] | None = None
    native: bool = True


def kind(value: object) -> str:
    """The JSON word for a value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return "a number"


def wrong_type(expected: str, value: object) -> Unreadable:
    return Unreadable("wrong_type", f"expected {expected}, got {kind(value)}")


def _same(value: Json) -> Json:
    return value


def _text(value: Json) -> str:
    if type(value) is str:
        return value
    raise wrong_type("a string", value)


def _flag(value: Json) -> bool:
    if type(value) is bool:
        return value
    raise wrong_type("true or false", value)


def _whole(value: Json) -> int:
    if type(value) is int:
        return value
    raise wrong_type("a whole number", value)


text = Codec("text", "a string, kept as it is", _text, _same)
flag = Codec("flag", "true or false", _flag, _same)
whole_number = Codec("whole_number", "a whole number", _whole, _same)
anything = Codec("anything", "any value, kept whole", _same, _same)

# --- money -----------------------------------------------------------------------------------------------------------

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?\Z", re.ASCII)
WHOLE_DIGITS = 30
FRACTION_DIGITS = 18
_SHORT = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,18})?\Z", re.ASCII)
"""A Decimal's own spelling, within both limits and without an exponent: nothing has to be done to it."""


def decimal_string(number: Json) -> str:
    """The plain decimal spelling of a JSON number (int or Decimal) or of text in a JSON number's form, digit for digit.

    `50000.00` stays `50000.00`; an exponent is written out. Raises `ValueError` for anything else and for more than 30
    digits before or 18 after the point.
    """
    if type(number) is str:
        if not _DECIMAL.match(number):
            raise ValueError("not a decimal number")
        number = Decimal(number)
    elif type(number) is int:
        if abs(number) >= 10**WHOLE_DIGITS:
            raise ValueError(f"more than {WHOLE_DIGITS} digits before the point")
        return str(number)
    elif type(number) is not Decimal:
        raise ValueError("not a number")
    elif _SHORT.match(spelled := str(number)):
        return spelled
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("not a finite number")
    if -exponent > FRACTION_DIGITS:
        raise ValueError(f"more than {FRACTION_DIGITS} digits after the point")
    if len(digits) + exponent > WHOLE_DIGITS:
        raise ValueError(f"more than {WHOLE_DIGITS} digits before the point")
    return format(number, "f")


def _number(value: Json) -> str:
    if type(value) is not Decimal and type(value) is not int:
        if type(value).__name__ == "LosslessFloat":  # a number, but one that no decimal type holds
            raise Unreadable("invalid", "a number beyond every limit")
        raise wrong_type("a number", value)
    try:
        return decimal_string(value)
    except ValueError as error:
        raise Unreadable("invalid", str(error)) from None


def _number_text(value: Json) -> str:
    try:
        return decimal_string(_text(value))
    except ValueError as error:
        raise Unreadable("invalid", str(error)) from None


def as_number(value: str) -> Json:
    """A decimal string as the JSON number with the same digits."""
    return Decimal(value) if "." in value else int(value)


decimal_number = Codec("decimal_number", "a JSON number, its digits kept exactly", _number, as_number)
decimal_text = Codec("decimal_text", "a number in a string, its digits kept exactly", _number_text, _same)


def _percent(value: Json) -> str:
    share = Decimal(_number(value))
    if not 0 <= share <= 100:
        raise Unreadable("invalid", "a percentage beyond 0 to 100")
    return format(abs(share / 100).normalize(), "f")  # abs: there is no minus zero per cent


def _as_percent(value: str) -> Json:
    return as_number(format((Decimal(value) * 100).normalize(), "f"))


percent = Codec("percent", "a percentage from 0 to 100, served as a share of 1", _percent, _as_percent)


_CURRENCY = re.compile(r"[A-Z]{3}\Z")


def _currency(value: Json) -> str:
    code = _text(value)
    if not _CURRENCY.match(code):
        raise Unreadable("unknown_word", "not a currency code of three capital letters")
    return code


currency = Codec("currency", "a currency code of three capital letters", _currency, _same)

# --- time ------------------------------------------------------------------------------------------------------------

_INSTANT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,30}))?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)?\Z", re.ASCII
)
_PLAIN = re.compile(
    r"(?!0000)\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ\Z",
    re.ASCII,
)
"""An instant as it is served, of a day that every year has: nothing has to be worked out to know that it is one."""
_FINER = re.compile(r"(\.\d{6})\d+Z\Z", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


def instant_string(value: str, zone: tzinfo | None) -> tuple[str, bool]:
    """(RFC 3339 in UTC with `Z`, whether every digit was kept) of a date and time in any of the usual spellings.

    `T` or a blank; `Z`, `+00`, `+0000` or `+00:00`; without an offset it is meant in `zone`, or refused when that is None.
    Fractions come out as six digits, or none when they are zero. Raises `ValueError` saying what is wrong.
    """
    if _PLAIN.match(value):
        return value, True
    match = _INSTANT.match(value)
    if not match:
        raise ValueError("not a date and time")
    year, month, day, hour, minute, second, fraction, utc, sign, offset_hours, offset_minutes = match.groups()
    fraction = fraction or ""
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
        at = at.replace(microsecond=int(fraction[:6].ljust(6, "0") or "0"))
        if utc:
            at = at.replace(tzinfo=UTC)
        elif sign:
            if int(offset_hours) > 23 or int(offset_minutes or 0) > 59:
                raise ValueError("offset out of range")
            offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes or 0))
            at = at.replace(tzinfo=timezone(-offset if sign == "-" else offset))
        elif zone is not None:
            at = at.replace(tzinfo=zone)
        else:
            raise ValueError("it has no offset; write Z or one such as +02:00")
        at = at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such time: {error}") from None
    spelled = f"{at.year:04d}-{at.month:02d}-{at.day:02d}T{at.hour:02d}:{at.minute:02d}:{at.second:02d}"
    if at.microsecond:
        spelled += f".{at.microsecond:06d}"
    return spelled + "Z", not fraction[6:].strip("0")


def exact_instant(value: str) -> str:
    """An instant as `instant_string` spells it, but with every digit that `value` has: what a caller wrote, in UTC."""
    spelled, whole = instant_string(value, None)
    match = _INSTANT.match(value)
    if whole or match is None:
        return spelled
    return f"{spelled[:19]}.{match[7].rstrip('0')}Z"


def _to_microseconds(value: str) -> str:
    """Digits past the microsecond are not written, since none are read; the ledger then shows both."""
    return _FINER.sub(r"\1Z", value)


def instant(zone: tzinfo = UTC) -> Codec:
    """A date and time; one without an offset is meant in `zone`, never in the host's."""

    def decode(value: Json) -> str:
        if type(value) is str and _PLAIN.match(value):
            return value
        try:
            spelled, whole = instant_string(_text(value), zone)
        except ValueError as error:
            raise Unreadable("invalid", str(error)) from None
        if not whole:
            raise Inexact(spelled, "digits past the microsecond are not served")
        return spelled

    return Codec("instant", "a date and time, read as an instant in UTC", decode, _to_microseconds)


def day_string(value: str) -> str:
    """`value` if it is a calendar date `YYYY-MM-DD`, else `ValueError`."""
    if not _DAY.match(value):
        raise ValueError("not a date such as 2024-01-31")
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"no such date: {error}") from None
    return value


def _day(value: Json) -> str:
    try:
        return day_string(_text(value))
    except ValueError as error:
        raise Unreadable("invalid", str(error)) from None


day = Codec("day", "a calendar date", _day, _same)


def day_of(zone: tzinfo = UTC) -> Codec:
    """The calendar day, in UTC, of a date and time."""
    whole_instant = instant(zone).decode

    def decode(value: Json) -> str:
        if type(value) is str and _PLAIN.match(value):
            return value[:10]
        try:
            spelled: str = whole_instant(value)
        except Inexact as error:
            spelled = error.value
        return spelled[:10]

    return Codec("day_of", "the day in UTC of a date and time", decode, native=False)


_WORDS = frozenset({str, type(None)})


def _joined(*parts: Json) -> Json:
    if _WORDS.issuperset(map(type, parts)):  # as nearly always
        return " ".join(filter(None, parts)) or None
    words: list[str] = []
    told = False
    for place, part in enumerate(parts):
        if part is not MISSING:
            told = True
            if type(part) is str:
                if part:
                    words.append(part)
            elif part is not None:
                raise Unreadable("wrong_type", f"expected a string, got {kind(part)}", which=place)
    if not told:
        return MISSING
    return " ".join(words) or None


joined = Codec("joined", "the parts of the name that are told, joined with blanks", _joined, native=False)
