"""Close's own spellings: money in hundredths, confidence from 0 to 100, a status by its type."""

import re

from gateway.codecs import WHOLE_DIGITS, Codec, Unencodable, Unreadable, day_string, text, whole_number
from gateway.strict_json import Json

_AMOUNT = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?\Z", re.ASCII)


def _of_hundredths(value: Json) -> str:
    whole = whole_number.decode(value)
    if abs(whole) >= 10 ** (WHOLE_DIGITS + 2):
        raise Unreadable("invalid", f"more than {WHOLE_DIGITS} digits before the point")
    units, rest = divmod(abs(whole), 100)
    return f"{'-' if whole < 0 else ''}{units}.{rest:02d}"


def _as_hundredths(value: str) -> int:
    match = _AMOUNT.match(value)
    if not match:
        raise Unencodable("not a decimal number")
    sign, units, fraction = match.groups(default="")
    fraction = fraction.rstrip("0")
    if len(fraction) > 2:
        raise Unencodable("Close keeps two digits after the point")
    return int(f"{sign}{units}{fraction:0<2}")


hundredths = Codec(
    "hundredths",
    "a whole number of hundredths, whatever the currency: 50000 is 500.00; "
    "that yen and others without cents are kept so too is assumed",
    _of_hundredths,
    _as_hundredths,
)


def _of_confidence(value: Json) -> str:
    confidence: int = whole_number.decode(value)
    if not 0 <= confidence <= 100:
        raise Unreadable("invalid", "expected a whole number from 0 to 100")
    return f"{confidence // 100}.{confidence % 100:02d}".rstrip("0").rstrip(".")


probability = Codec("probability_of_confidence", "a whole number from 0 to 100, divided by 100", _of_confidence)


def _day(value: Json) -> str:
    try:
        return day_string(text.decode(value))
    except ValueError as error:
        raise Unreadable("invalid", str(error)) from None


day = Codec("day", "a calendar date, kept as it is", _day, lambda value: value)


STATUS_OF_TYPE = {"active": "open", "won": "won", "lost": "lost"}
TYPE_OF_STATUS = {status: word for word, status in STATUS_OF_TYPE.items()}


def _status(kind: Json) -> str:
    word: str = text.decode(kind)
    if word not in STATUS_OF_TYPE:
        raise Unreadable("unknown_word", "not a status type that Close documents")
    return STATUS_OF_TYPE[word]


def _type(status: str) -> str:
    if status not in TYPE_OF_STATUS:
        raise Unencodable("Close's statuses are active, won or lost")
    return TYPE_OF_STATUS[status]


def _type_of_open(is_open: bool) -> str:
    if not is_open:
        raise Unencodable("won or lost: the status tells which")
    return "active"


status = Codec(
    "status_of_type", ", ".join(f"{word}: {meant}" for word, meant in STATUS_OF_TYPE.items()), _status, _type
)
status_source = Codec(
    "status_source_of_type",
    "native for a documented type",
    lambda kind: "native" if isinstance(kind, str) and kind in STATUS_OF_TYPE else None,
    native=False,
)
is_open = Codec(
    "is_open_of_type",
    "true for active, false for won and lost",
    lambda kind: _status(kind) == "open",
    _type_of_open,
    native=False,
)
