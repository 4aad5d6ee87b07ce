"""Checks of the status: every combination of what it is worked out from, with and without a stage map."""

from collections.abc import Iterator
from itertools import islice, product

from gateway.adapter import Adapter
from gateway.codecs import MISSING
from gateway.pointer import put
from gateway.reading import Reading
from gateway.statuses import STATUSES
from gateway.strict_json import Json
from gateway.testing.kit import Faults, Kit, in_each_dialect
from gateway.testing.on_reading import value_at
from gateway.testing.replay import exact

_MOST = 6000
"""Combinations that are tried for one stage map."""
_SILENT: tuple[Json, ...] = (MISSING, None, 5, [], {})
"""What tells nothing about a status, in any place."""
_WORDS = {"kit-won": "won", "kit-lost": "lost", "kit-closed": "closed", "kit-open": "open"}
_NUMBERS = {700001: "won", 700002: "lost", 700003: "closed", 700004: "open"}
"""The same for providers whose stages have numbers: tried where a sample shows one."""
STAGE_MAP = {**_WORDS, **{str(number): status for number, status in _NUMBERS.items()}}


@in_each_dialect
def the_status_is_one_of_five_and_never_a_guess(kit: Kit) -> Faults:
    """Whatever stands in its places, `status` is a known word with a source, or `unknown` without one."""
    bare, mapped = kit.build(stages={}), kit.build(stages=STAGE_MAP)
    places = _places(bare)
    seen: dict[str, Reading] = {}
    for adapter in (bare, mapped):
        for combination in _combinations(kit, places):
            record = _record(places, combination)
            reading = adapter.table.read(record)
            told = ", ".join(f"{place}: {_shown(value)}" for place, value in zip(places, combination, strict=True))
            where = f" ({told})" if told else ""  # a table may read the status from nowhere
            yield from (f"{fault}{where}" for fault in _faults(adapter, reading, combination))
            if adapter is bare:
                seen[told] = reading
            elif _status(reading) != _status(seen[told]) and _source(reading) != "stage_map":
                yield f"the stage map makes it {_status(reading)}, but its source is {_source(reading)!r}{where}"


def _status(reading: Reading) -> Json:
    return reading.values.get("status", MISSING)


def _source(reading: Reading) -> Json:
    return reading.values.get("status_source", MISSING)


def _faults(adapter: Adapter, reading: Reading, combination: tuple[Json, ...]) -> Iterator[str]:
    status, source = _status(reading), _source(reading)
    if status not in STATUSES:
        yield f"the status is {_shown(status)}, which is none of {', '.join(STATUSES)}"
        return
    if source not in ("native", "stage_map", "inferred", None):
        yield f"the status' source is {_shown(source)}"
    if (status == "unknown") != (source is None):
        yield f"the status is {status}, its source {_shown(source)}: unknown has none, and all others have one"
    if status != "unknown" and all(
        any(value is silent or value == silent for silent in _SILENT) for value in combination
    ):
        yield f"the status is {status} although nothing tells it"
    if source == "stage_map":
        stage = reading.values.get("stage")
        words = [stage.get("id"), stage.get("name")] if isinstance(stage, dict) else []
        meant = [adapter.stages_map[word] for word in words if isinstance(word, str) and word in adapter.stages_map]
        if status not in meant[:1]:
            yield f"the status is {status} by the stage map, which says {meant[:1] or 'nothing'} of this stage; the id wins"


def _places(adapter: Adapter) -> list[str]:
    rows = [adapter.table.row_for(name) for name in ("status", "status_source", "stage.id", "stage.name")]
    return list(dict.fromkeys(pointer for row in rows if row is not None for pointer in row.pointers))


def _combinations(kit: Kit, places: list[str]) -> Iterator[tuple[Json, ...]]:
    """Every combination of values for the places; of very many, an even choice."""
    choices = [values_for(kit, place) for place in places]
    size = 1
    for choice in choices:
        size *= len(choice)
    step = 1 if size <= _MOST else size // _MOST | 1
    return islice(product(*choices), 0, None, step)


def values_for(kit: Kit, place: str) -> list[Json]:
    """What may stand in a place: silence of each kind, words that mean something to somebody, and the samples' own."""
    words = (*_WORDS, "won", "lost", "open", "no such word")
    own = [value_at(sample.record, place) for sample in kit.samples]
    numbers = _NUMBERS if any(type(value) is int for value in own) else ()
    stages = [stage.id for stage in kit.adapter.known_stages]
    scalars = [*_SILENT, True, False, *words, *numbers, *own, *stages, "2024-01-31T10:00:00Z"]
    return list({_shown(value): value for value in scalars}.values())


def _record(places: list[str], combination: tuple[Json, ...]) -> dict[str, Json]:
    record: dict[str, Json] = {}
    for place, value in zip(places, combination, strict=True):
        if value is not MISSING:
            put(record, place, value)
    return record


def _shown(value: Json) -> str:
    return "missing" if value is MISSING else exact(value)[:60]
