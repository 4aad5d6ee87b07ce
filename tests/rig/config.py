"""The configuration of gateways under test, as text."""

from collections.abc import Mapping
from typing import Any

import yaml

from adapters.getraze.sandbox_served_seeds import PIPELINE_ID, STAGES
from tests.rig.stand_in import KEY

_PREFIX = "/external/v1"


def config_text(
    *,
    getraze: str = "",
    served: str = "",
    spott: str = "",
    state: str | None = None,
    lookup_lag: str | None = None,
    timeout: str = "5s",
    more: Mapping[str, Any] | None = None,
) -> str:
    """A configuration with a connection for each URL: `raze` (documented), `served`, `spott`.

    `state` and `lookup_lag` are left out unless told, for a version that does not take them; budgets are off, and `more`
    is merged on top, member by member at its first level.
    """
    connections: dict[str, Any] = {}
    if getraze:
        connections["raze"] = _connection("getraze", getraze + _PREFIX, timeout, {"dialect": "documented"})
    if served:
        settings = {"dialect": "served", "pipeline_id": PIPELINE_ID, "stage_id": STAGES["new"]}
        connections["served"] = _connection("getraze", served + _PREFIX, timeout, settings)
    if spott:
        connections["spott"] = _connection("spott", spott, timeout, {})
    tree: dict[str, Any] = {"default_connection": next(iter(connections)), "connections": connections}
    if state is not None:
        tree["state"] = state
    if lookup_lag is not None:
        tree["idempotency"] = {"lookup_lag": lookup_lag}
    for name, value in (more or {}).items():
        held = tree.get(name)
        tree[name] = {**held, **value} if isinstance(held, dict) and isinstance(value, Mapping) else value
    return yaml.safe_dump(tree, sort_keys=False)


def _connection(provider: str, url: str, timeout: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "provider": provider, "base_url": url, "api_key": KEY, "timeout": timeout, "budget": "off",
        "settings": dict(settings),
    }  # fmt: skip
