"""Records with one thing odd in each: they are served all the same, and what is odd is named as an issue.

`TYPES`: each member of an example record, missing and as a value of every other type. `VALUES`: values of the right type
that say nothing, or too much.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kinds.provider import RECORDS, SPEAKERS

_OTHERS: Mapping[str, Any] = {
    "a number": 7, "a fraction": 0.5, "true": True, "a string": "odd", "a list": ["odd"], "an object": {"odd": 1},
    "an empty list": [], "an empty object": {}, "an empty string": "", "null": None,
}  # fmt: skip


@dataclass(frozen=True)
class Odd:
    """`text` stands at `pointer` of a record of `speaker`, or nothing does if it is empty.

    `field` is where an issue must point; with `value`, it must read as that, and without an issue.
    """

    name: str
    speaker: str
    pointer: str
    text: str
    field: str = ""
    value: Any = None

    def of(self, record: Mapping[str, Any]) -> str:
        """The record as JSON with this in it."""
        changed = copy.deepcopy(dict(record))
        place: Any = changed
        *path, last = self.pointer.split("/")[1:]
        for token in path:
            place = place[int(token) if isinstance(place, list) else token]
        key: Any = int(last) if isinstance(place, list) else last
        if not self.text:
            del place[key]
            return json.dumps(changed, ensure_ascii=False)
        place[key] = "\0here"
        return json.dumps(changed, ensure_ascii=False).replace('"\\u0000here"', self.text)


def _places(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield f"{pointer}/{key}", below
        yield from _places(below, f"{pointer}/{key}")


TYPES = tuple(
    Odd(f"{speaker}, {pointer}: {name}", speaker, pointer, text)
    for speaker in SPEAKERS
    for pointer, held in _places(RECORDS[speaker])
    if pointer != "/id"
    for name, text in (("missing", ""), *((name, json.dumps(other)) for name, other in _OTHERS.items()))
    if text == "" or json.loads(text) != held
)

_DATES = (
    "2024-02-30T10:00:00Z", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-32T00:00:00Z", "2024-01-01T24:61:00Z",
    "0000-00-00 00:00:00", "99999-01-01T00:00:00Z", "2024-01-01T10:00:00+99:00", "yesterday", "1705312200", "2024-1-5",
    "٢٠٢٤-٠١-١٥T10:30:00Z", "2024-01-15T10:30:00Z; DROP TABLE", "Mon, 15 Jan 2024 10:30:00 GMT",
)  # fmt: skip
_WHEN = {"documented": ("/created_at", "created_at"), "served": ("/created_at", "created_at"),
         "spott": ("/createdAt/createdAt", "created_at")}  # fmt: skip
_HUGE = ("1e400", "-1e400", "1e99999999999999999999", "1" + "0" * 5000)

VALUES = (
    *(
        Odd(
            f"{speaker}, the date {date!r}",
            speaker,
            _WHEN[speaker][0],
            json.dumps(date, ensure_ascii=False),
            _WHEN[speaker][1],
        )
        for speaker in SPEAKERS
        for date in _DATES
    ),
    *(
        Odd(f"documented, an amount of {number[:24]}", "documented", "/deal_value", number, "amount.value")
        for number in _HUGE
    ),
    *(
        Odd(f"served, an amount of {number[:24]}", "served", "/value", json.dumps(number), "amount.value")
        for number in (*_HUGE, "NaN", "Infinity", "1,50", "0x10", "١٢")
    ),
    *(
        Odd(f"served, a probability of {number[:24]}", "served", "/probability", number, "probability")
        for number in (*_HUGE, "101", "-1", "18446744073709551616")
    ),
    Odd(
        "documented, 2^64", "documented", "/deal_value", "18446744073709551616", "amount.value", "18446744073709551616"
    ),
    Odd(
        "documented, 2^64 and a cent",
        "documented",
        "/deal_value",
        "18446744073709551616.01",
        "amount.value",
        "18446744073709551616.01",
    ),
    Odd(
        "documented, eighteen decimals",
        "documented",
        "/deal_value",
        "0.123456789012345678",
        "amount.value",
        "0.123456789012345678",
    ),
    Odd("documented, twenty decimals", "documented", "/deal_value", "0.12345678901234567891", "amount.value"),
    Odd("served, 2^64", "served", "/value", '"18446744073709551616.00"', "amount.value", "18446744073709551616.00"),
    Odd("documented, an unknown status", "documented", "/status", '"hibernating"', "status"),
    Odd("documented, a status in capitals", "documented", "/status", '"WON"', "status"),
    Odd("documented, a currency that is none", "documented", "/deal_currency", '"R$"', "amount.currency"),
    Odd("served, a currency in small letters", "served", "/currency", '"usd"', "amount.currency"),
    Odd("served, a day that is none", "served", "/expected_close_date", '"2026-02-30"', "expected_close"),
    Odd("spott, an order of 2^64", "spott", "/stage/stage/order", "18446744073709551616", "stage.order", 2**64),
)
