"""The JSON Schema of config.yaml, and how to find the part of a schema that describes a key."""

import copy
import functools
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from gateway.config.mistakes import Where
from gateway.config.models import Config


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of every key: they say nothing that the key does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@functools.cache
def shared_schema() -> dict[str, Any]:
    """`config_schema`, the same object every time: not to be changed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(schema_generator=_Untitled),
    }


def config_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of config.yaml as people write it; an adapter's `settings` are left open."""
    return copy.deepcopy(shared_schema())


def schema_at(schema: dict[str, Any], path: Where) -> dict[str, Any]:
    """The part of a JSON Schema that describes the value at `path`; empty where it says nothing."""

    def opened(part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            named = schema.get("$defs", {}).get(part["$ref"].rpartition("/")[2], {})
            part = {**named, **{key: value for key, value in part.items() if key != "$ref"}}
        options = [opened(option) for option in part.get("anyOf", part.get("allOf", ()))]
        return {**next((option for option in options if option.keys() & {"properties", "items"}), {}), **part}

    here = opened(schema)
    for part in path:
        if isinstance(part, int):
            inner = here.get("items")
        else:
            patterns = here.get("patternProperties", {})
            inner = here.get("properties", {}).get(part) or next(iter(patterns.values()), None)
            inner = inner or here.get("additionalProperties")
        here = opened(inner) if isinstance(inner, dict) else {}
    return here
