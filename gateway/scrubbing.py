"""A credential taken out of text that is handed on, in whatever way it is written there."""

import base64
import re
from collections.abc import Iterable

HIDDEN = "[key]"
_SHORTEST = 8
"""Base64 shorter than this is found in texts by chance."""


def pattern_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Matches each word with what begins like one of the secrets: plain, URL-encoded or Base64. None without secrets."""
    forms = [form for secret in secrets if len(secret) >= 4 for form in _forms(secret)]
    return re.compile("|".join(forms)) if forms else None


def scrubbed(text: str, pattern: re.Pattern[str] | None) -> str:
    """The text without what the pattern matches."""
    return text if pattern is None else pattern.sub(HIDDEN, text)


def _forms(secret: str) -> Iterable[str]:
    begin = secret[: max(4, len(secret) // 3)]
    yield "".join(_encoded(character) for character in begin) + r"\S*"
    raw = secret.encode()
    for shift in range(3):  # a secret behind other bytes is written in one of three ways
        told = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        whole = told[(0, 2, 3)[shift] : len(told) - bool((shift + len(raw)) % 3)]  # what its neighbours do not change
        part = whole[: max(_SHORTEST, len(whole) // 3)]
        if len(part) >= _SHORTEST:
            yield r"\S*" + "".join(_BASE64.get(character, character) for character in part) + r"\S*"


_BASE64 = {"+": "[+-]", "/": "[/_]"}


def _encoded(character: str) -> str:
    """The character, or its bytes URL-encoded."""
    encoded = "".join(f"%(?i:{byte:02x})" for byte in character.encode())
    return f"(?:{re.escape(character)}|{encoded})"
