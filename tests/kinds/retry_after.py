"""Ways of saying when to come back, and what each says in seconds at `NOW`; None: nothing that can be read."""

import email.utils
import math

NOW = 1_800_000_000.0


def date(offset: float) -> str:
    """The moment so many seconds after `NOW`, as HTTP writes it."""
    return email.utils.formatdate(NOW + offset, usegmt=True)


FORMS: dict[str, tuple[str, float | None]] = {
    "seconds": ("7", 7),
    "zero": ("0", 0),
    "blanks around": (" 12 ", 12),
    "a fraction": ("1.5", 1.5),
    "leading zeros": ("007", 7),
    "10^11": ("100000000000", 1e11),
    "four hundred digits": ("9" * 400, math.inf),
    "negative": ("-5", None),
    "a plus": ("+5", None),
    "an exponent": ("1e3", None),
    "empty": ("", None),
    "a word": ("soon", None),
    "nan": ("nan", None),
    "inf": ("inf", None),
    "hexadecimal": ("0x10", None),
    "an underscore": ("1_0", None),
    "Arabic digits": ("١٢", None),
    "wide digits": ("１２", None),
    "a superscript": ("²", None),
    "a list": ("5, 10", None),
    "a unit": ("5s", None),
    "no whole part": (".5", None),
    "no fraction": ("5.", None),
    "two points": ("1.2.3", None),
    "a date to come": (date(30), 30),
    "a date gone by": (date(-30), 0),
    "a far date": (date(1e6), 1e6),
    "a date of RFC 850": ("Friday, 15-Jan-27 08:00:30 GMT", 30),
    "a short day and RFC 850": ("Fri, 15-Jan-27 08:00:30 GMT", 30),
    "a date of asctime": ("Fri Jan 15 08:00:30 2027", 30),
    "a date with a zone": ("Fri, 15 Jan 2027 09:00:30 +0100", 30),
    "no such day": ("Fri, 99 Jan 2027 08:00:00 GMT", None),
    "half a date": ("Fri, 15 Jan", None),
    "a date of ISO 8601": ("2027-01-15T08:00:30Z", None),
    "a year beyond all": ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    "Unix time": ("1800000030", 1_800_000_030),
}
"""Values of the `Retry-After` header."""
