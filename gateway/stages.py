"""A `status`, or a stage's name, turned into the id of the stage that it means: what providers take is an id."""

from collections.abc import Mapping, Sequence

from gateway.adapter import Adapter, Stage
from gateway.errors import FieldError, Problem
from gateway.ledger import NotApplied
from gateway.strict_json import Json


def needs_stages(adapter: Adapter, fields: dict[str, Json]) -> bool:
    """Whether the stages have to be known to write these fields."""
    stage = fields.get("stage")
    if fields.get("status") is None and (stage is None or "id" in stage):
        return False
    calls = tuple(call for calls in adapter.writes.values() for call in calls)
    return "stage.id" in adapter.table.writable(calls)  # else the table will say that it cannot be written


def settles(adapter: Adapter, fields: Mapping[str, Json], known: Sequence[Stage]) -> bool:
    """Whether these stages are enough to tell which one `status` and `stage` mean, where `needs_stages`."""
    status, stage = fields.get("status"), fields.get("stage")
    if stage is None:
        return any(adapter.status_of_stage(one) == status for one in known)
    if "id" in stage:
        return any(one.id == stage["id"] and adapter.status_of_stage(one) is not None for one in known)
    return any(one.name == stage["name"] for one in known)


def with_stage_ids(
    adapter: Adapter, fields: dict[str, Json], known: Sequence[Stage]
) -> tuple[dict[str, Json], list[NotApplied]]:
    """(the fields with the id of the stage that is meant, what cannot be written because none or several are).

    `known` are all stages that there are, or those that are known so far where the adapter says `names_in_lists`.
    Raises `Problem("invalid-opportunity")` for a name that no stage or more than one has, and for a status that the stage
    beside it contradicts.
    """
    fields = dict(fields)
    status, stage = fields.get("status"), fields.get("stage")
    if stage is not None:
        fields["stage"] = stage = stage if "id" in stage else {"id": _named(adapter, stage["name"], known), **stage}
    if status is None:
        return fields, []
    if stage is None:
        fitting = [one for one in known if adapter.status_of_stage(one) == status]
        if len(fitting) == 1:
            fields["stage"] = {"id": fitting[0].id}
            return fields, []
        which = "more than one stage of this connection means" if fitting else f"{_none(adapter)} means"
        return _without_status(
            fields, f"{which} {status}; write a `stage` by its `id`, or map one under `stages:` in config.yaml"
        )
    means = adapter.status_of_stage(next((one for one in known if one.id == stage["id"]), Stage(stage["id"])))
    if means is None:
        return _without_status(
            fields, "what the stage beside it means is not known; map it under `stages:` in config.yaml"
        )
    if means != status:
        raise Problem(
            "invalid-opportunity",
            "`status` contradicts the `stage` beside it; send one of them.",
            errors=[FieldError("status", f"the stage means {means}")],
            outcome="not_applied",
        )
    return fields, []


def _without_status(fields: dict[str, Json], detail: str) -> tuple[dict[str, Json], list[NotApplied]]:
    status = fields.pop("status")
    return fields, [NotApplied("status", "unsupported", detail, sent=status)]


def _none(adapter: Adapter) -> str:
    """What is told where none was found: of stages that show only in lists there may be others."""
    return "no stage that is known so far" if adapter.names_in_lists else "no stage of this connection"


def _named(adapter: Adapter, name: str, known: Sequence[Stage]) -> str:
    found = [one.id for one in known if one.name == name]
    if len(found) == 1:
        return found[0]
    told = dict.fromkeys(one.name for one in known if one.name)
    # Those that lists tell are known in whatever order this worker happened to learn them.
    names = ", ".join(sorted(told) if adapter.names_in_lists else told)
    names = names or ("none that is known" if adapter.names_in_lists else "none")
    called = f"{len(found)} stages are" if found else f"{_none(adapter)} is"
    raise Problem(
        "invalid-opportunity",
        "The stage cannot be told from its name.",
        errors=[FieldError("stage.name", f"{called} called so; write an `id`; names are: {names}")],
        outcome="not_applied",
    )
