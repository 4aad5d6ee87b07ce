"""Adapters by name: an entry point of the group `gateway.adapters`, or `package.module:Class`."""

import importlib
from importlib.metadata import entry_points

from gateway.adapter import Adapter

GROUP = "gateway.adapters"


class UnknownAdapter(LookupError):
    """There is no such adapter, or what stands there is none. The message says what to write instead."""


def adapter_names() -> tuple[str, ...]:
    """The names under which adapters are installed, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def load_adapter(name: str) -> type[Adapter]:
    """The adapter class that `name` stands for.

    Raises `UnknownAdapter` when nothing is installed under the name, when it cannot be imported, or when it is not a
    subclass of `Adapter`.
    """
    target = name
    if ":" not in name:
        found = [point for point in entry_points(group=GROUP) if point.name == name]
        if not found:
            known = ", ".join(adapter_names()) or "none"
            raise UnknownAdapter(f"no adapter named {name!r} is installed; installed are: {known}; "
                                 "or write package.module:Class")  # fmt: skip
        target = found[0].value
    module_name, _, class_name = target.partition(":")
    try:
        adapter = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever a stranger's module does wrong, down to its syntax
        raise UnknownAdapter(f"adapter {name!r} cannot be imported from {target!r}: {error}") from error
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
        raise UnknownAdapter(f"{target!r} is not a subclass of gateway.adapter.Adapter")
    return adapter
