"""config.yaml -> settings: every key with its description and default, and every mistake with its line.

How a file becomes a `Config`, module by module: `reading` (YAML and `${NAME}`) makes a `source` (values with their
places), `connection` and `rules` check what depends on more than one key, `models` (every key) with `values`,
`addresses` and `forms` (how values are written) check the rest.
`telling` words the `mistakes`, `schema` is the JSON Schema, and `loading` puts it all in order.
"""

from gateway.config.addresses import is_loopback
from gateway.config.loading import load_config
from gateway.config.mistakes import ConfigError, Mistake
from gateway.config.models import (
    BudgetConfig,
    CacheConfig,
    CallerConfig,
    CircuitConfig,
    Config,
    ConnectionConfig,
    IdempotencyConfig,
    LimitsConfig,
    ServerConfig,
)
from gateway.config.rules import check_exposure, check_sharing, keys_in_the_clear
from gateway.config.schema import config_schema
from gateway.config.values import CONNECTION

__all__ = [
    "CONNECTION",
    "BudgetConfig",
    "CacheConfig",
    "CallerConfig",
    "CircuitConfig",
    "Config",
    "ConfigError",
    "ConnectionConfig",
    "IdempotencyConfig",
    "LimitsConfig",
    "Mistake",
    "ServerConfig",
    "check_exposure",
    "check_sharing",
    "config_schema",
    "is_loopback",
    "keys_in_the_clear",
    "load_config",
]
