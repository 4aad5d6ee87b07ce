"""The canonical opportunity as a tree, derived from its typed dicts, so that no table can forget a field.

`SHAPE` holds what an adapter's table has to say something about: every member but those that the gateway itself fills in.
"""

from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from typing_extensions import is_typeddict

from gateway.opportunity import Opportunity

GATEWAY_FIELDS = ("id", "connection", "provider", "complete", "extensions")
"""Members that no provider fills in."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A member: a leaf (`parts` None), an object (`parts`), or a list of objects (`parts` and `many`)."""

    nullable: bool
    parts: "dict[str, Shape] | None" = None
    many: bool = False


def _shape(hint: Any) -> Shape:
    nullable = False
    if get_origin(hint) in (Union, UnionType):
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        nullable = len(inner) < len(get_args(hint))
        if len(inner) > 1:
            return Shape(nullable)
        hint = inner[0]
    many = get_origin(hint) is list
    if many:
        hint = get_args(hint)[0]
    if is_typeddict(hint):
        return Shape(nullable, {name: _shape(part) for name, part in get_type_hints(hint).items()}, many)
    return Shape(nullable or hint is Any)


SHAPE: dict[str, Shape] = {
    name: _shape(hint) for name, hint in get_type_hints(Opportunity).items() if name not in GATEWAY_FIELDS
}


def leaf_paths(shape: dict[str, Shape] | None = None, prefix: str = "") -> tuple[str, ...]:
    """Every leaf's path, such as `stage.id` and `contacts[].emails[].address`."""
    paths: list[str] = []
    for name, part in (SHAPE if shape is None else shape).items():
        path = f"{prefix}{name}"
        if part.parts is None:
            paths.append(path)
        else:
            paths.extend(leaf_paths(part.parts, f"{path}[]." if part.many else f"{path}."))
    return tuple(paths)
