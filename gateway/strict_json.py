"""Strict JSON in, exact JSON out: no digit is lost and nothing doubtful is accepted.

In: UTF-8 only, no duplicate keys, no NaN or Infinity, no lone surrogates, at most 200 levels deep; a number
with a point or an exponent is a `Decimal` with the digits as sent, one without is an `int` of any size.
Out: `Decimal` is written as a JSON number with its own digits, never by way of a float.
"""

import json
import re
from decimal import Decimal
from typing import Any, Final, TypeAlias

import jiter
import msgspec

Json: TypeAlias = Any
"""None, bool, int, Decimal, str, list of Json, dict of str to Json: what `loads` gives and `dumps` takes."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BOM = b"\xef\xbb\xbf"
LEVELS = 200
"""How deep a text may be nested."""
_SHORT = 8192
"""Bytes of a text that may be read by writing it again: a record. More are not written again to be read."""
_OTHER: Final = object()
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=lambda value: _spelled(value))
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class NotJson(ValueError):
    """The bytes are not strict JSON. The message says what is wrong and where, and quotes no value."""


def loads(data: bytes) -> Json:
    """The value that `data` spells; a byte-order mark in front of it is passed over.

    Raises `NotJson` with a reason that never repeats what was sent.
    """
    if data.startswith(_BOM):
        data = data[3:]
    value = _as_written(data) if len(data) <= _SHORT else _OTHER
    if value is not _OTHER:
        return value
    try:
        return jiter.from_json(
            data, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="decimal", cache_mode="keys"
        )  # fmt: skip
    except ValueError as error:
        if "InvalidOperation" in str(error):  # an exponent that no Decimal holds: kept as it is spelled
            return _loads_spelled(data)
        if "number out of range" in str(error):  # a whole number of more digits than jiter takes
            return _loads_endless(data)
        raise NotJson(_reason(str(error))) from None


def _as_written(data: bytes) -> Json:
    """The value of a text that we write in the very same bytes; `_OTHER` for any other one, be it JSON or not.

    This takes two thirds of the time. Of a name that came twice one would be missing, and what we would spell in another
    way differs: bytes that come out as they went in leave nothing to look for.
    """
    if data.find(b'": ', 0, 64) >= 0 or len(data) - len(data.replace(b"[", b"").replace(b"{", b"")) > LEVELS:
        return _OTHER  # counted so, since `replace` skips what it does not look for many times quicker than `count`
    try:
        value = _decoder.decode(data)
        return value if _encoder.encode(value) == data else _OTHER
    except (msgspec.DecodeError, ValueError, ArithmeticError):
        return _OTHER


def is_crowded(data: bytes, most: int) -> bool:
    """Whether `data` would be more than `most` values: read, each takes up to a hundred bytes, however short it is.

    What stands in strings does not count; how long this takes depends on `most`, not on `data`.
    """
    if len(data) <= most or _marks(data, 0, len(data)) < most:
        return False
    found = end = 0
    for text in _STRING.finditer(data):
        found += _marks(data, end, text.start())
        end = text.end()
        if found >= most:
            return True
    return found + _marks(data, end, len(data)) >= most


def _marks(data: bytes, start: int, end: int) -> int:
    return data.count(b",", start, end) + data.count(b"[", start, end) + data.count(b"{", start, end)


def dumps(value: Json) -> bytes:
    """Compact JSON of `value`, member order kept."""
    return _encoder.encode(value)


def _loads_spelled(data: bytes) -> Json:
    try:
        value = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="lossless-float")
    except ValueError as error:
        raise NotJson(_reason(str(error))) from None
    return _exact(value)


def _loads_endless(data: bytes) -> Json:
    """As `loads`, by the standard library's slower parser, for whole numbers of thousands of digits: each a Decimal."""

    def whole(digits: str) -> int | Decimal:
        return int(digits) if len(digits) < 1000 else Decimal(digits)

    def members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise NotJson("duplicate key")
        return found

    def constant(_: str) -> Json:
        raise NotJson("expected value")

    try:
        value = json.loads(
            data.decode(), parse_int=whole, parse_float=Decimal, parse_constant=constant, object_pairs_hook=members
        )
        _encoder.encode(value)  # which refuses the lone surrogates that this parser lets pass
    except NotJson:
        raise
    except (ValueError, RecursionError, ArithmeticError):
        raise NotJson("not strict JSON") from None
    return value


def _exact(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_exact(inner) for inner in value]
    if isinstance(value, jiter.LosslessFloat):
        try:
            return value.as_decimal()
        except Exception:  # decimal.InvalidOperation, wrapped or bare: the one number that has no Decimal
            return value
    return value


def _spelled(value: object) -> object:
    if isinstance(value, jiter.LosslessFloat):
        return msgspec.Raw(bytes(value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def _reason(message: str) -> str:
    """jiter's message without the key that it quotes for a duplicate: input is never echoed."""
    if message.startswith("Detected duplicate key"):
        return "duplicate key" + message[message.rfind('"') + 1 :]
    return message


__all__ = ["LEVELS", "Decimal", "Json", "NotJson", "dumps", "is_crowded", "loads"]
