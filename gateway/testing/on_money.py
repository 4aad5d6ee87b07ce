"""Checks of money: a thousand decimals, written and read, keep every digit, in whatever unit a provider keeps them.

Where a provider keeps the decimal itself, its text comes back as it was. Where it keeps a multiple, such as cents, noughts
at the end are not told: 75000 is written as 7500000, which reads 75000.00, the same number. A value that a codec refuses
is not rounded, so it is no fault; but a codec that refuses all of them shows nothing.
"""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from gateway.codecs import MISSING, Codec, Inexact, Unencodable, Unreadable
from gateway.fields import Row, Table
from gateway.pointer import leaves
from gateway.strict_json import Json, dumps, loads
from gateway.testing.kit import Faults, Kit, in_each_dialect
from gateway.testing.mutations import replaced, within
from gateway.testing.replay import exact

_PROBES = ("1000000", "3000000")


def decimals(count: int = 1000) -> list[str]:
    """So many decimals as a caller may write them: every length, noughts at the end, digits that no float holds."""
    made = ["0", "0.00", "0.10", "0.01", "50000.00", "75000", "-12.5", "-0.01", "1.005", "123456789012345678.90"]
    digits = 7
    while len(made) < count:
        digits = (digits * 6364136223846793005 + 1442695040888963407) % 2**64  # a sequence, the same each time
        spelled = str(digits)[: 1 + len(made) % 17]
        places = len(made) % 5
        number = Decimal(spelled).scaleb(-places)
        made.append(format(-number if len(made) % 7 == 0 and number else number, "f"))
    return made


def comes_back(codec: Codec, value: Json, again: Json) -> bool:
    """Whether an amount, written by the codec and read again, is what it was: the same digits, or where the codec keeps
    a multiple the same number."""
    if again == value:
        return True
    told, found = _number(value), _number(again)
    return told is not None and told == found and isinstance(again, str) and _scales(codec)


def _scales(codec: Codec) -> bool:
    """Whether what is written for a number is another number, a multiple of it."""
    assert codec.encode is not None
    for probe in _PROBES:
        try:
            sent = _number(codec.encode(probe))
        except Unencodable:
            continue
        return sent is not None and sent != Decimal(probe)
    return False


def _number(value: Json) -> Decimal | None:
    """A number or a number's text as a Decimal; None for anything else, a float too."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


@in_each_dialect
def money_keeps_every_digit(kit: Kit) -> Faults:
    """A thousand decimals, read where the provider keeps money and written by the row's codec, lose no digit."""
    row = kit.adapter.table.row_for("amount.value")
    if row is None or row.codec is None:
        return
    if row.codec.encode is not None and not row.joint:
        yield from _written(row.codec)
    yield from _read(kit.adapter.table, row, [sample.record for sample in kit.samples])


def _written(codec: Codec) -> Faults:
    assert codec.encode is not None
    taken = 0
    for spelled in decimals():
        try:
            wire = loads(dumps(codec.encode(spelled)))
        except Unencodable:
            continue  # refused by name, not rounded
        taken += 1
        try:
            again = codec.decode(wire)
        except (Unreadable, Inexact):
            again = MISSING
        if not comes_back(codec, spelled, again):
            yield f"amount.value: {spelled} is written as {exact(wire)}, which reads {_shown(again)}"
            return
    if not taken:
        yield "amount.value: its codec refuses to write every one of a thousand decimals"


def _read(table: Table, row: Row, records: list[dict[str, Json]]) -> Faults:
    """Each decimal in the place of a sample's own; what is read must be that number, by the unit of the place."""
    told = False
    for record in records:
        if _amount(table, record) is MISSING:
            continue
        told = True
        for pointer, is_text in _numbers(row, record):
            unit = _unit(table, record, pointer, is_text)
            if unit is not None:
                yield from _read_at(table, record, pointer, is_text, unit)
                return
    if told:
        yield f"amount.value: no number in {' or '.join(row.pointers)} decides it, whatever the samples say"


def _numbers(row: Row, record: dict[str, Json]) -> Iterator[tuple[str, bool]]:
    """(place, whether it is text) of each number in the row's places."""
    for pointer, value in leaves(record):
        if _number(value) is not None and any(within(pointer, place) for place in row.pointers):
            yield pointer, isinstance(value, str)


def _unit(table: Table, record: dict[str, Json], pointer: str, is_text: bool) -> Decimal | None:
    """What one of the place's numbers is worth: 1, or 0.01 for cents; None where it does not decide the amount."""
    first, second = (
        _number(_amount(table, replaced(record, pointer, _wire(probe, is_text)))) or Decimal(0) for probe in _PROBES
    )
    return first / Decimal(_PROBES[0]) if first and second == 3 * first else None


def _read_at(table: Table, record: dict[str, Json], pointer: str, is_text: bool, unit: Decimal) -> Faults:
    read = 0
    for spelled in decimals():
        wire = _wire(spelled, is_text)
        again = _amount(table, replaced(record, pointer, wire))
        if again is MISSING:
            continue  # not of the provider's form, such as half a cent; that it is named is the junk tests' affair
        read += 1
        if again != spelled if unit == 1 else _number(again) != Decimal(spelled) * unit:
            yield f"amount.value: {pointer} = {exact(wire)} reads {_shown(again)}"
            return
    if not read:
        yield f"amount.value: not one of a thousand decimals is read at {pointer}"


def _wire(spelled: str, is_text: bool) -> Json:
    return loads((f'"{spelled}"' if is_text else spelled).encode())


def _amount(table: Table, record: dict[str, Json]) -> Json:
    """The amount's value; MISSING where there is none."""
    amount = table.read(record).values.get("amount")
    value = amount.get("value") if isinstance(amount, dict) else None
    return MISSING if value is None else value


def _shown(value: Json) -> str:
    return "nothing" if value is MISSING else repr(value)[:80]
