"""A credential taken out of text that is handed on, in whatever way it is written there."""

import base64
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

HIDDEN = "[key]"
_PLAIN, _BASE64 = 8, 12
"""A piece of a secret that is so long is taken for one; shorter ones occur by chance."""
_WORD = re.compile(r"\S+")
_ALPHABET = str.maketrans("-_", "+/")


def scrubbed(text: str, secrets: Iterable[str]) -> str:
    """The text without each word in which a secret begins, or a piece of one is: plain, URL-encoded or Base64.

    Secrets of less than four characters are left alone: they cannot be told from words.
    """
    pieces = [_pieces(secret) for secret in secrets if len(secret) >= 4]

    def shown(match: re.Match[str]) -> str:
        word = match[0]
        plain, encoded = unquote(word), unquote(word).translate(_ALPHABET)
        for as_is, in_base64 in pieces:
            if any(piece in word or piece in plain for piece in as_is) or any(piece in encoded for piece in in_base64):
                return HIDDEN
        return word

    return _WORD.sub(shown, text) if pieces else text


@lru_cache(maxsize=64)
def _pieces(secret: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What shows a secret: (pieces of it as it is, pieces of it in Base64)."""
    in_base64: list[str] = []
    raw = secret.encode()
    for shift in range(3):  # a secret behind other bytes is written in one of three ways
        told = base64.b64encode(bytes(shift) + raw).decode().rstrip("=")
        # Without the characters that its neighbours change.
        whole = told[(0, 2, 3)[shift] : len(told) - bool((shift + len(raw)) % 3)]
        in_base64 += _windows(whole, _BASE64) if len(whole) >= _PLAIN else ()
    return (secret[: max(4, len(secret) // 3)], *_windows(secret, _PLAIN)), tuple(in_base64)


def _windows(text: str, size: int) -> tuple[str, ...]:
    return tuple(text[at : at + size] for at in range(max(1, len(text) - size + 1)))
