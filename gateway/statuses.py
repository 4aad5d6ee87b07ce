"""Codecs for what a stage means: won, lost, closed or open, and how that is known."""

from collections.abc import Mapping, Sequence

from gateway.codecs import MISSING, Codec, Unreadable, text, wrong_type
from gateway.strict_json import Json

STATUSES = ("open", "won", "lost", "closed", "unknown")


def status_of_word(words: Mapping[str, str], stages: Mapping[str, str]) -> tuple[Codec, Codec]:
    """(status, status_source) of a provider whose one word tells both stage and status.

    `words` maps the provider's own words; a word that only the connection's stage map knows is read through that.
    """

    def status(value: Json) -> str:
        word = text.decode(value)
        known = words.get(word) or stages.get(word)
        if known is None:
            raise Unreadable("unknown_word", "not a status that this provider documents; `stages:` can map it")
        return known

    def source(value: Json) -> str | None:
        if not isinstance(value, str):
            return None
        return "native" if value in words else "stage_map" if value in stages else None

    rule = ", ".join(f"{word}: {status}" for word, status in words.items())
    return (
        Codec("status_of_word", rule + "; else the connection's stage map", status),
        Codec("status_source_of_word", "native for a documented word, stage_map for one mapped by `stages:`", source,
              native=False),
    )  # fmt: skip


def status_of_open_flag(stages: Mapping[str, str]) -> tuple[Codec, Codec]:
    """(status, status_source) from a stage's (is open, id, name): `stages` refines what is not open; the id wins."""

    def mapped(id_: Json, name: Json) -> str | None:
        for key in (id_, name):
            if isinstance(key, str) and key in stages:
                return stages[key]
        return None

    def status(is_open: Json, id_: Json, name: Json) -> Json:
        if is_open is True:
            return "open"
        word = mapped(id_, name)
        if is_open is False:
            return word if word in ("won", "lost") else "closed"
        if word is not None:
            return word
        if is_open is MISSING:
            return MISSING
        raise wrong_type("true or false", is_open)

    def source(is_open: Json, id_: Json, name: Json) -> Json:
        if is_open is True:
            return "native"
        word = mapped(id_, name)
        if is_open is False:
            return "stage_map" if word in ("won", "lost") else "native"
        return "stage_map" if word is not None else None

    return (
        Codec("status_of_open_flag", "true: open; false: won or lost by the stage map, else closed", status),
        Codec("status_source_of_open_flag", "stage_map where the stage map decided, else native", source, native=False),
    )


def place_in(words: Sequence[str]) -> Codec:
    """A word's place in the documented list, from 0; null for a word that is not in it."""
    places = {word: place for place, word in enumerate(words)}
    return Codec("place_in", "its place in the documented list, from 0",
                 lambda value: places.get(value) if isinstance(value, str) else None, native=False)  # fmt: skip


def is_open_word(words: Mapping[str, str], stages: Mapping[str, str] | None = None) -> Codec:
    """Whether a word means an open stage, as `status_of_word` reads it; null for a word that neither map knows."""
    mapped = stages or {}

    def is_open(value: Json) -> bool | None:
        meant = (words.get(value) or mapped.get(value)) if isinstance(value, str) else None
        return None if meant is None else meant == "open"

    return Codec("is_open_word", "true unless the word means won, lost or closed; null for an unknown word", is_open,
                 native=False)  # fmt: skip
