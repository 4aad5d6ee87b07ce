"""Every key of config.yaml, with its form, its default and its description.

The models are the file: the descriptions become its JSON Schema (`schema`). What depends on more than one key is
checked in `rules` and `connection`.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from gateway.adapter import Adapter, Budget, NoSettings
from gateway.config import values as v


def _default(written: str | int, description: str) -> Any:
    """A key with this default, which is read as if it were written and shown so in the schema."""
    return Field(default=written, validate_default=True, description=description)


def _derived(description: str, **more: Any) -> Any:
    """A key whose default comes from elsewhere, or is nothing: the schema shows none."""
    return Field(description=description, json_schema_extra=_no_default, **more)


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)


class BudgetConfig(_Part):
    """How many calls in what time."""

    calls: Annotated[int, v.MANY] = Field(description="Calls that the provider allows in one window.")
    per: Annotated[float, v.WINDOW] = Field(description="Length of the window, such as 1h.")


BUDGET = v.OrOff(BudgetConfig, Budget)


class ConnectionConfig(_Part):
    """One account at a provider."""

    # a field with SkipJsonSchema is no key of the file: reading the connection fills it in
    name: SkipJsonSchema[str]
    provider: Annotated[str, v.PROVIDER] = Field(
        description="The adapter: the name under which it is installed, or package.module:Class."
    )
    adapter: SkipJsonSchema[type[Adapter]]
    base_url: Annotated[str, v.ADDRESS] = _derived(
        "Where the provider answers; `sandbox` starts the built-in stand-in. Default: the adapter's own.",
        default="",
        repr=False,
    )
    api_key: Annotated[SecretStr | None, v.KEY] = _derived(
        "The provider's key, best as ${NAME}. A sandbox needs none.", default=None
    )
    api_key_file: Annotated[str | None, v.FILE] = _derived(
        "A file that holds the key instead, relative to this file's folder.", default=None
    )
    timeout: Annotated[float, v.DEADLINE] = _default(
        "10s", "The whole deadline of one request to the caller, from 1ms to 10m."
    )
    stages: dict[Annotated[str, v.STAGE], Annotated[v.Meaning, v.MEANING]] = Field(
        default={}, description="What a stage means, by its id or name: open, won, lost or closed."
    )
    budget: Annotated[Budget | None, BUDGET] = _derived(
        "How many calls in what time, or `off`. Default: the adapter's own.", default=None
    )
    budget_from: SkipJsonSchema[Literal["adapter", "file", "off"]] = "adapter"
    require: tuple[Annotated[str, v.OPERATION], ...] = Field(
        default=(), description="Operations without which the gateway does not start."
    )
    settings: Annotated[SerializeAsAny[BaseModel], WithJsonSchema({"type": "object"})] = _derived(
        "The adapter's own settings, checked by the adapter's own model.", default=NoSettings(), repr=False
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """What is left out comes from the adapter."""
        adapter = data.get("adapter") if isinstance(data, dict) else None
        if adapter is None:
            return data
        own = {"base_url": adapter.base_url, "budget": adapter.limits.budget, "budget_from": "adapter"}
        if "budget" in data:
            own["budget_from"] = "off" if data["budget"] in (None, "off") else "file"
        return {**own, **data}


class ServerConfig(_Part):
    """Where the gateway listens."""

    host: Annotated[str, v.HOST] = _default("127.0.0.1", "Address to listen on; loopback without callers.")
    port: Annotated[int, v.PORT] = _default(8080, "Port to listen on; 0 takes a free one.")
    workers: Annotated[int, v.WORKERS] = _default(1, "Processes that serve.")


class CallerConfig(_Part):
    """One program that may call the gateway."""

    name: Annotated[str, v.CALLER] = Field(description="The caller's name in logs and metrics.")
    key_sha256: Annotated[
        tuple[Annotated[str, v.HASH], ...],
        Field(min_length=1),
        BeforeValidator(_as_list, json_schema_input_type=Annotated[str, v.HASH] | list[Annotated[str, v.HASH]]),
    ] = Field(description="SHA-256 of its key (`crm-gateway hash-key`); a list while keys are rotated.", repr=False)
    scopes: Annotated[frozenset[Annotated[str, v.SCOPE]], Field(min_length=1)] = Field(
        default=frozenset({"opportunities:read"}),
        description="What it may do.",
        json_schema_extra={"default": ["opportunities:read"]},
    )
    connections: Annotated[frozenset[Annotated[str, v.CONNECTION]], Field(min_length=1)] | SkipJsonSchema[None] = (
        _derived("The connections that it may use. Default: all.", default=None)
    )


class CacheConfig(_Part):
    """Reads that are answered without a call."""

    ttl: Annotated[float, v.AGE] = _default("30s", "How long an answer is used again; 0s: no cache.")
    stale_if_error: Annotated[float, v.AGE] = _default(
        "5m", "How much older an answer may be while the provider fails; 0s: never."
    )
    max_bytes: Annotated[int, v.MEMORY] = _default("64MiB", "Memory for it in each worker.")


class IdempotencyConfig(_Part):
    """Repeated creates."""

    required: Annotated[bool, v.TRUTH] = _default(False, "Refuse creates without a key.")
    keep: Annotated[float, v.KEEP] = _default("24h", "How long a key is remembered.")
    lookup_lag: Annotated[float, v.LAG] = _default(
        "5s", "How long a provider may take until a look-up finds a new record."
    )
    lease: Annotated[float, v.LEASE] = _default(
        "5s", "How much longer than the connection's timeout a running write is believed to run."
    )


class CircuitConfig(_Part):
    """When a failing connection is left alone."""

    failures: Annotated[int, v.COUNT] = _default(10, "Failures in a row that open the circuit.")
    open: Annotated[float, v.OPEN] = _default("2s", "How long it stays open before one call is tried.")


CIRCUIT = v.OrOff(CircuitConfig, CircuitConfig)


class LimitsConfig(_Part):
    """What is too much."""

    body: Annotated[int, v.BODY] = _default("256KiB", "The largest request body.")
    reply: Annotated[int, v.REPLY] = _default("8MiB", "The largest provider reply, decoded.")
    concurrency: Annotated[int, v.COUNT] = _default(64, "Calls in flight to one connection.")
    per_caller: Annotated[int, v.COUNT] = _default(256, "Requests in flight of one caller.")


class Config(_Part):
    """config.yaml of crm-gateway."""

    default_connection: Annotated[str, v.CONNECTION] = _derived(
        "The connection of requests that name none. May be left out when there is only one.", default=""
    )
    connections: Annotated[dict[Annotated[str, v.CONNECTION], ConnectionConfig], Field(min_length=1)] = Field(
        description="The accounts at providers, by name; a name is the prefix of the ids that callers see.",
        json_schema_extra={"propertyNames": {"pattern": f"^{v.CONNECTION.pattern}$"}},
    )
    server: ServerConfig = _derived("Where the gateway listens.", default=ServerConfig())
    callers: tuple[CallerConfig, ...] = Field(
        default=(), description="Who may call. Without any, no key is asked for and only loopback is served."
    )
    cache: CacheConfig = _derived("Reads that are answered without a call.", default=CacheConfig())
    state: Annotated[str, v.STATE] = Field(
        default="sqlite:///gateway.db",
        description="What outlives a worker: sqlite:///FILE, redis://... for several machines, or off.",
        repr=False,
    )
    idempotency: IdempotencyConfig = _derived("Repeated creates.", default=IdempotencyConfig())
    circuit: Annotated[CircuitConfig | None, CIRCUIT] = _derived(
        "When a failing connection is left alone; `off`: never.", default=CircuitConfig()
    )
    limits: LimitsConfig = _derived("What is too much.", default=LimitsConfig())
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder of the file, from which relative paths in it are taken."""
        return self._folder

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """The only connection is the default one."""
        names = data.get("connections") if isinstance(data, dict) else None
        only = next(iter(names)) if isinstance(names, dict) and len(names) == 1 else ""
        if re.fullmatch(v.CONNECTION.pattern, only):  # a bad name is told once, where it stands
            return {"default_connection": only, **data}
        return data
