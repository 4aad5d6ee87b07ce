"""What of a text stays as it is whatever a server makes of it: trimmed, folded, normalised, escaped, transliterated or cut.

stretch    a piece to search for, by which the text is found however it was stored
letters    its plain letters and digits, in their order
"""

import html
import re
import unicodedata
from typing import Literal

LENGTH = 50
"""Characters that every server has room for."""
SHORTEST = 3
"""Characters that a search needs: many pass over fewer, and show everything or nothing."""

_FOREIGN = re.compile(r"<[^<>]*>|&#?\w+;")
"""What may be markup to a server."""
_RUN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]| (?=[A-Za-z0-9]))*")
"""No blank of it stands at an end or beside another, and no sign of it is ever escaped."""
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def stretch(text: str) -> str:
    """The longest piece near the beginning of `text` that no server spells otherwise; empty where there is none."""
    near = _FOREIGN.sub("\0", unicodedata.normalize("NFC", text).strip()[:LENGTH])
    longest = max((run.rstrip("._@-") for run in _RUN.findall(near)), key=len, default="")
    return longest if len(longest) >= SHORTEST else ""


def letters(text: str, *, folded: bool = False) -> str:
    """The ASCII letters and digits of `text`, in lower case; others may be stored as anything. `folded`: of those with an
    accent and the like, what is left without it."""
    form: Literal["NFC", "NFKD"] = "NFKD" if folded else "NFC"
    return _NOT_PLAIN.sub("", unicodedata.normalize(form, html.unescape(text)).lower())


def may_be(sent: str, stored: str) -> bool:
    """Whether `stored` may be what a server has made of `sent`: all letters of the one stand in the other, in order."""
    one, other = sorted((letters(sent), letters(stored)), key=len)
    rest = iter(other)
    return all(letter in rest for letter in one)
