"""config.yaml -> settings: every key with its description and default, and every mistake with its line.

The models are the file: their descriptions become its JSON Schema (`config_schema`). What depends on more
than one key (an adapter's settings, a connection's key, who may be served) is checked under "The rules".
"""

import copy
import functools
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema, SkipJsonSchema
from pydantic_core import CoreSchema, core_schema

from gateway.adapter import OPERATIONS, Adapter, Budget, Limits, NoSettings
from gateway.config_file import (
    ConfigError,
    Duration,
    Form,
    Line,
    Mistake,
    Size,
    Source,
    Truth,
    Where,
    Whole,
    choice,
    expected,
    explain,
    hidden,
    listed,
    plain,
    private,
    read_source,
    refuse,
    schema_at,
    unknown,
    value_at,
)
from gateway.registry import UnknownAdapter, load_adapter

# The forms


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine only: 127.0.0.0/8, ::1 or localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host(text: str) -> str:
    """`text` if it is an IP address or a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.lower().split(".")
        named = all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)
        # resolvers take `0` and `127.1` for addresses, so what ends in a number is an address or nothing
        if not named or re.fullmatch("[0-9]+|0x[0-9a-f]*", labels[-1]):
            raise refuse("an IP address such as 127.0.0.1 or a host name") from None
    return text


def _address(text: str) -> str:
    """The address without a slash at its end, scheme and host in lower case; `sandbox` as it is."""
    if text == "sandbox":
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise refuse("an address without user name and password")
    try:
        _host(host)
    except ValueError:
        raise refuse("an address with a host, such as https://api.example.com/v1") from None
    for mark, word in (("?", "query"), ("#", "fragment")):
        if mark in text:
            raise refuse(f"an address without a {word}")
    path = parts.path.rstrip("/")
    if {".", ".."} & set(unquote(path).replace("\\", "/").split("/")):
        raise refuse("an address without `.` and `..` in its path")
    if not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*", path):
        raise refuse("an address whose path is plain URL text")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}{'' if port is None else f':{port}'}{path}"


class _Key(Line):
    def read(self, value: Any) -> Any:
        return value if value is None or isinstance(value, SecretStr) else super().read(value)


_WORD = "[a-z0-9][a-z0-9_-]{0,63}"
CONNECTION = Line("a name of 1 to 64 small letters, digits, _ and -, the first a letter or digit", _WORD)
CALLER = Line("a name of 1 to 64 letters, digits, and . _ @ -", "[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PROVIDER = Line("an adapter's name or package.module:Class", "(?![0-9]+$)[!-~]{1,200}")
ADDRESS = Line(
    "sandbox, or an address such as https://api.example.com/v1", "sandbox|https?://[!-~]+", _address
)
KEY = _Key("a key: printable ASCII without blanks", "[!-~]{1,4096}", SecretStr)
FILE = Line("the path of a file", r"[^\x00-\x1f]{1,4096}")
STAGE = Line("a stage's id or name", r"[^\x00-\x1f]{1,200}")
HASH = Line("the 64 hexadecimal digits of a SHA-256 (crm-gateway hash-key)", "[0-9A-Fa-f]{64}", str.lower)
HOST = Line("an IP address such as 127.0.0.1 or a host name", "[0-9-]*[.:A-Za-z][0-9A-Za-z.:-]{0,252}", _host)
STATE = Line("off, sqlite:///FILE, redis://... or rediss://...", "off|(sqlite:///|rediss?://)[!-~]+")
MEANING = choice("open", "won", "lost", "closed")
OPERATION = choice(*OPERATIONS)
SCOPE = choice("opportunities:read", "opportunities:write", "opportunities:delete", "operator")
TRUTH, COUNT, MANY = Truth(), Whole("1", "10000"), Whole("1", "1000000000")
PORT, WORKERS = Whole("0", "65535"), Whole("1", "64")
DEADLINE, WINDOW = Duration("1ms", "10m"), Duration("1s", "31d")
AGE, KEEP, LAG, OPEN = (
    Duration("0s", "7d"),
    Duration("1m", "31d"),
    Duration("0s", "1h"),
    Duration("1ms", "1h"),
)
BODY, REPLY, MEMORY = Size("1KiB", "64MiB"), Size("1KiB", "256MiB"), Size("1KiB", "64GiB")

Meaning = Literal["open", "won", "lost", "closed"]


class _OrOff:
    """`off`, which becomes None, or a mapping that `model` reads and that becomes a `kind` of its fields."""

    def __init__(self, model: type[BaseModel], kind: type[Any]) -> None:
        self.model, self.kind = model, kind

    def _read(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        if value is None or value == "off":
            return None
        return value if isinstance(value, self.kind) else self.kind(**dict(inner(value)))

    def _dumped(self, value: Any) -> Any:
        return None if value is None else {name: getattr(value, name) for name in self.model.model_fields}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            self._read,
            handler.generate_schema(self.model),
            serialization=core_schema.plain_serializer_function_ser_schema(self._dumped),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(core["schema"]), {"const": "off"}]}


def _default(form: Form, written: str, description: str) -> Any:
    """A key with this default, which the schema shows as it would be written."""
    value = form.read(written)
    told = value if isinstance(form, Whole | Truth) else written
    return Field(default=value, description=description, json_schema_extra={"default": told})


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _derived(description: str, **more: Any) -> Any:
    """A key whose default comes from elsewhere, or is nothing: the schema shows none."""
    return Field(description=description, json_schema_extra=_no_default, **more)


# The file


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )


class BudgetConfig(_Part):
    """How many calls in what time."""

    calls: Annotated[int, MANY] = Field(description="Calls that the provider allows in one window.")
    per: Annotated[float, WINDOW] = Field(description="Length of the window, such as 1h.")


BUDGET = _OrOff(BudgetConfig, Budget)


class ConnectionConfig(_Part):
    """One account at a provider."""

    derived: ClassVar = frozenset({"name", "adapter", "budget_from"})
    """Fields that are no keys of the file."""

    name: SkipJsonSchema[str]
    provider: Annotated[str, PROVIDER] = Field(
        description="The adapter: the name under which it is installed, or package.module:Class."
    )
    adapter: SkipJsonSchema[type[Adapter]]
    base_url: Annotated[str, ADDRESS] = _derived(
        "Where the provider answers; `sandbox` starts the built-in stand-in. Default: the adapter's own.",
        default="",
        repr=False,
    )
    api_key: Annotated[SecretStr | None, KEY] = _derived(
        "The provider's key, best as ${NAME}. A sandbox needs none.", default=None
    )
    api_key_file: Annotated[str | None, FILE] = _derived(
        "A file that holds the key instead, relative to this file's folder.", default=None
    )
    timeout: Annotated[float, DEADLINE] = _default(
        DEADLINE, "10s", "The whole deadline of one request to the caller, from 1ms to 10m."
    )
    stages: dict[Annotated[str, STAGE], Annotated[Meaning, MEANING]] = Field(
        default={}, description="What a stage means, by its id or name: open, won, lost or closed."
    )
    budget: Annotated[Budget | None, BUDGET] = _derived(
        "How many calls in what time, or `off`. Default: the adapter's own.", default=None
    )
    budget_from: SkipJsonSchema[Literal["adapter", "file", "off"]] = "adapter"
    require: tuple[Annotated[str, OPERATION], ...] = Field(
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
        source = "off" if data.get("budget", "off") in (None, "off") else "file"
        own = {"base_url": adapter.base_url}
        if "budget" not in data:
            own["budget"], source = adapter.limits.budget, "adapter"
        return {**own, "budget_from": source, **data}


class ServerConfig(_Part):
    """Where the gateway listens."""

    host: Annotated[str, HOST] = _default(
        HOST, "127.0.0.1", "Address to listen on; loopback without callers."
    )
    port: Annotated[int, PORT] = _default(PORT, "8080", "Port to listen on; 0 takes a free one.")
    workers: Annotated[int, WORKERS] = _default(WORKERS, "1", "Processes that serve.")


class CallerConfig(_Part):
    """One program that may call the gateway."""

    name: Annotated[str, CALLER] = Field(description="The caller's name in logs and metrics.")
    key_sha256: Annotated[
        tuple[Annotated[str, HASH], ...],
        Field(min_length=1),
        BeforeValidator(_as_list, json_schema_input_type=Annotated[str, HASH] | list[Annotated[str, HASH]]),
    ] = Field(
        description="SHA-256 of its key (`crm-gateway hash-key`); a list while keys are rotated.", repr=False
    )
    scopes: Annotated[frozenset[Annotated[str, SCOPE]], Field(min_length=1)] = Field(
        default=frozenset({"opportunities:read"}),
        description="What it may do.",
        json_schema_extra={"default": ["opportunities:read"]},
    )
    connections: (
        Annotated[frozenset[Annotated[str, CONNECTION]], Field(min_length=1)] | SkipJsonSchema[None]
    ) = _derived("The connections that it may use. Default: all.", default=None)


class CacheConfig(_Part):
    """Reads that are answered without a call."""

    ttl: Annotated[float, AGE] = _default(AGE, "30s", "How long an answer is used again; 0s: no cache.")
    stale_if_error: Annotated[float, AGE] = _default(
        AGE, "5m", "How much older an answer may be while the provider fails; 0s: never."
    )
    max_bytes: Annotated[int, MEMORY] = _default(MEMORY, "64MiB", "Memory for it in each worker.")


class IdempotencyConfig(_Part):
    """Repeated creates."""

    required: Annotated[bool, TRUTH] = _default(TRUTH, "false", "Refuse creates without a key.")
    keep: Annotated[float, KEEP] = _default(KEEP, "24h", "How long a key is remembered.")
    lookup_lag: Annotated[float, LAG] = _default(
        LAG, "5s", "How long a provider may take until a look-up finds a new record."
    )


class CircuitConfig(_Part):
    """When a failing connection is left alone."""

    failures: Annotated[int, COUNT] = _default(COUNT, "10", "Failures in a row that open the circuit.")
    open: Annotated[float, OPEN] = _default(OPEN, "2s", "How long it stays open before one call is tried.")


CIRCUIT = _OrOff(CircuitConfig, CircuitConfig)


class LimitsConfig(_Part):
    """What is too much."""

    body: Annotated[int, BODY] = _default(BODY, "256KiB", "The largest request body.")
    reply: Annotated[int, REPLY] = _default(REPLY, "8MiB", "The largest provider reply, decoded.")
    concurrency: Annotated[int, COUNT] = _default(COUNT, "64", "Calls in flight to one connection.")
    per_caller: Annotated[int, COUNT] = _default(COUNT, "256", "Requests in flight of one caller.")


class Config(_Part):
    """config.yaml of crm-gateway."""

    default_connection: Annotated[str, CONNECTION] = _derived(
        "The connection of requests that name none. May be left out when there is only one.", default=""
    )
    connections: Annotated[dict[Annotated[str, CONNECTION], ConnectionConfig], Field(min_length=1)] = Field(
        description="The accounts at providers, by name; a name is the prefix of the ids that callers see.",
        json_schema_extra={"propertyNames": {"pattern": f"^{_WORD}$"}},
    )
    server: ServerConfig = _derived("Where the gateway listens.", default=ServerConfig())
    callers: tuple[CallerConfig, ...] = Field(
        default=(), description="Who may call. Without any, no key is asked for and only loopback is served."
    )
    cache: CacheConfig = _derived("Reads that are answered without a call.", default=CacheConfig())
    state: Annotated[str, STATE] = Field(
        default="sqlite:///gateway.db",
        description="What outlives a worker: sqlite:///FILE, redis://... for several machines, or off.",
        repr=False,
    )
    idempotency: IdempotencyConfig = _derived("Repeated creates.", default=IdempotencyConfig())
    circuit: Annotated[CircuitConfig | None, CIRCUIT] = _derived(
        "When a failing connection is left alone; `off`: never.", default=CircuitConfig()
    )
    limits: LimitsConfig = _derived("What is too much.", default=LimitsConfig())

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """The only connection is the default one."""
        names = data.get("connections") if isinstance(data, dict) else None
        only = next(iter(names)) if isinstance(names, dict) and len(names) == 1 else ""
        if re.fullmatch(_WORD, only):  # a bad name is told once, where it stands
            return {"default_connection": only, **data}
        return data


@functools.cache
def _schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(schema_generator=_Untitled),
    }


def config_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of config.yaml as people write it; an adapter's `settings` are left open."""
    return copy.deepcopy(_schema())


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of every key: they say nothing that the key does not."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


# What does not exist yet


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """A key that is accepted at its default and off only. Building the feature is deleting its entry."""

    feature: str
    read: Callable[[Any], Any]
    default: str | None
    """As written; None: the adapter's own."""
    off: str | None = None
    write: str = ""
    """What to write instead, where that is not the key's own `off` or `default`."""
    moot: str = ""
    """A key whose `off` makes this one meaningless, so that it may have any value."""


NOT_BUILT: Mapping[str, NotBuilt] = {
    "cache.ttl": NotBuilt("the cache is", AGE.read, "30s", "0s"),
    "cache.stale_if_error": NotBuilt("the cache is", AGE.read, "5m", "0s", moot="cache.ttl"),
    "cache.max_bytes": NotBuilt("the cache is", MEMORY.read, "64MiB", moot="cache.ttl"),
    "state": NotBuilt("the state store is", STATE.read, "sqlite:///gateway.db", "off"),
    "idempotency.required": NotBuilt("idempotency is", TRUTH.read, "false"),
    "idempotency.keep": NotBuilt("idempotency is", KEEP.read, "24h"),
    "idempotency.lookup_lag": NotBuilt("idempotency is", LAG.read, "5s"),
    "circuit.failures": NotBuilt("the circuit breaker is", COUNT.read, "10", write="circuit: off"),
    "circuit.open": NotBuilt("the circuit breaker is", OPEN.read, "2s", write="circuit: off"),
    "connections.*.budget": NotBuilt(
        "the call budget is", TypeAdapter(Annotated[Budget | None, BUDGET]).validate_python, None, "off"
    ),
    "limits.per_caller": NotBuilt("the limit of each caller is", COUNT.read, "256"),
}


def _check_not_built(source: Source, adapters: Mapping[str, type[Adapter]]) -> None:
    for key, entry in NOT_BUILT.items():
        for path in _matching(source.tree, key.split(".")):
            if entry.default is None and path[1] not in adapters:
                continue
            try:
                value = entry.read(value_at(source.tree, path))
            except ValueError:
                continue  # a mistake of form, which the models tell
            own = entry.default is None
            default = adapters[str(path[1])].limits.budget if own else entry.read(entry.default)
            if value == default or (entry.off and value == entry.read(entry.off)):
                continue
            if entry.moot and _is_off(source, entry.moot):
                continue
            instead = entry.write or entry.off or entry.default
            source.wrong(path, f"{entry.feature} not built yet; leave it out or set {instead}")


def _is_off(source: Source, key: str) -> bool:
    entry, value = NOT_BUILT.get(key), value_at(source.tree, tuple(key.split(".")))
    try:
        return bool(entry and entry.off and value is not None and entry.read(value) == entry.read(entry.off))
    except ValueError:
        return False


def _matching(tree: Any, keys: list[str], path: Where = ()) -> Iterator[Where]:
    if not keys:
        yield path
    elif isinstance(tree, dict):
        for key in tree if keys[0] == "*" else [keys[0]]:
            if key in tree:
                yield from _matching(tree[key], keys[1:], (*path, key))


# The rules


def load_config(path: Path | str, environ: Mapping[str, str] | None = None) -> Config:
    """The settings in the file at `path`, `${NAME}` taken from `environ` (default: the process's own).

    Raises `ConfigError` with every mistake, sorted by line; no secret and no value from `${...}` is in it.
    """
    source = read_source(Path(path), os.environ if environ is None else environ)
    config = _checked(source, Path(path).parent)
    if config is None or source.mistakes:
        raise ConfigError(tuple(sorted(source.mistakes, key=lambda m: (m.line, m.column, m.path))))
    return config


def check_exposure(config: Config, host: str) -> str | None:
    """Why the gateway must not serve on `host`, None if it may: without callers anybody may use our keys."""
    return None if config.callers else _exposed(host)


def _exposed(host: str) -> str | None:
    if is_loopback(host):
        return None
    return "without callers only loopback addresses are served; add callers or set server.host to 127.0.0.1"


def _checked(source: Source, folder: Path) -> Config | None:
    tree: dict[str, Any] = source.tree
    for path in source.nulls:
        settings = path[:1] == ("connections",) and path[2:3] == ("settings",) and len(path) > 3
        known = schema_at(_schema(), path[:-1]).get("properties", path)
        if not settings and path[-1] in known:  # an unknown key is told of below
            source.wrong(path, "nothing is written here; write a value, or leave the key out for its default")
    names = _mapping(tree.get("connections"))
    read = {name: _connection(source, name, folder) for name in names}
    for path, variables in source.unset.items():
        source.wrong(path, f"{listed(variables)} is not set in the environment; or write ${{NAME:-default}}")
    _callers(source, names)
    default = tree.get("default_connection")
    if default is None and len(names) > 1:
        source.wrong(("default_connection",), f"is missing; expected one of {listed(names)}")
    elif isinstance(default, str) and names and default not in names:
        expected(source, ("default_connection",), f"expected one of {listed(names)}")
    config = None
    try:
        config = Config.model_validate(
            {**tree, "connections": read} if isinstance(tree.get("connections"), dict) else tree
        )
    except ValidationError as error:
        explain(source, error, (), _schema(), frozenset({"adapter"}))
    host = _mapping(tree.get("server")).get("host")
    if isinstance(host, str) and not tree.get("callers") and ("callers",) not in source.told:
        exposed = _exposed(str(host))
        if exposed:
            source.wrong(("server", "host"), exposed)
    adapters = {name: entry["adapter"] for name, entry in read.items() if "adapter" in _mapping(entry)}
    _check_not_built(source, adapters)
    return config


def _connection(source: Source, name: str, folder: Path) -> Any:
    """What is written of a connection, ready for its model: with adapter, settings and key."""
    path: Where = ("connections", name)
    if not isinstance(source.tree["connections"][name], dict):
        return source.tree["connections"][name]
    entry = dict(source.tree["connections"][name])
    for key in ConnectionConfig.derived & entry.keys():
        unknown(source, (*path, key), _schema())
        del entry[key]
    _credential(source, path, entry, folder)
    entry["name"] = name
    adapter = _adapter(source, (*path, "provider"), entry.get("provider"))
    if adapter is None:
        entry.pop("settings", None)
        return entry
    entry["adapter"] = adapter
    if entry.get("base_url") == "sandbox" and adapter.sandbox is None:
        source.wrong((*path, "base_url"), f"{adapter.name} has no sandbox; expected an address")
    can = adapter.operations()
    for index, operation in enumerate(_items(entry.get("require"))):
        if isinstance(operation, str) and operation in OPERATIONS and operation not in can:
            message = f"{adapter.name} cannot {operation}; it can {listed(can)}"
            source.wrong((*path, "require", index), message)
    entry["settings"] = _settings(source, (*path, "settings"), entry.get("settings", {}), adapter)
    return entry


def _adapter(source: Source, path: Where, provider: Any) -> type[Adapter] | None:
    if not isinstance(provider, str) or path in source.unset:
        return None
    try:
        adapter = load_adapter(PROVIDER.read(provider))
    except UnknownAdapter as error:
        source.wrong(path, "no such adapter is installed" if private(source, path) else str(error))
        return None
    except Exception as error:  # whatever the import of somebody's module raises is a mistake of this line
        if isinstance(error, ValueError):
            return None
        source.wrong(path, f"the adapter's module cannot be imported: it raises {type(error).__name__}")
        return None
    needed = {"name": str, "base_url": str, "limits": Limits}
    undeclared = [word for word, kind in needed.items() if not isinstance(getattr(adapter, word, None), kind)]
    if undeclared:
        source.wrong(path, f"the adapter declares no {' and no '.join(undeclared)}")
        return None
    return adapter


def _credential(source: Source, path: Where, entry: dict[str, Any], folder: Path) -> None:
    """Replaces what names the key by the key itself; a sandbox may go without."""
    key, file, address = (entry.get(word) for word in ("api_key", "api_key_file", "base_url"))
    here, beside = (*path, "api_key"), (*path, "api_key_file")
    if address == "sandbox" and (here in source.unset or (hidden(key) and not key)):
        source.unset.pop(here, None)
        del entry["api_key"]
    if "api_key" in entry and "api_key_file" in entry:
        source.wrong(beside, "expected api_key or api_key_file, not both")
    elif "api_key_file" in entry:
        if isinstance(file, str) and beside not in source.unset:
            entry["api_key"] = _key_in(source, beside, file, folder)
    elif "api_key" not in entry and address != "sandbox" and (*path, "base_url") not in source.unset:
        source.wrong(here, "is missing: a connection that is not a sandbox needs api_key or api_key_file")


def _key_in(source: Source, path: Where, name: str, folder: Path) -> SecretStr | None:
    told = "the file" if hidden(name) else repr(str(name))
    try:
        if not (folder / name).is_file():
            raise FileNotFoundError(0, "no such file")
        with (folder / name).open("rb") as file:
            key = file.read(8192).decode("ascii", "replace").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        source.wrong(path, f"{told} cannot be read: {reason}")
        return None
    try:
        return SecretStr(KEY.read(key).get_secret_value())
    except ValueError:
        source.wrong(path, f"{told} {'holds no key' if key else 'is empty'}; expected {KEY.expected}")
        return None


def _settings(source: Source, path: Where, written: Any, adapter: type[Adapter]) -> BaseModel:
    """What the adapter's model makes of `written`; NoSettings if it refuses."""
    if not isinstance(written, dict):
        expected(source, path, "expected a mapping")
        return NoSettings()
    try:
        return adapter.Settings.model_validate(plain(written))
    except ValidationError as error:
        try:
            schema = adapter.Settings.model_json_schema()
        except Exception:  # not every type has a JSON Schema; then only the list of known keys is missing
            schema = {}
        explain(source, error, path, schema, frozenset())
    except Exception as error:  # a validator of somebody's model
        source.wrong(path, f"the settings model of {adapter.name} fails: it raises {type(error).__name__}")
    return NoSettings()


def _callers(source: Source, names: Mapping[str, Any]) -> None:
    called: dict[str, int] = {}
    hashes: dict[str, Where] = {}
    for index, caller in enumerate(_items(source.tree.get("callers"))):
        caller, path = _mapping(caller), ("callers", index)
        name = caller.get("name")
        if isinstance(name, str) and called.setdefault(str(name), index) != index:
            source.wrong((*path, "name"), f"this name is taken by callers[{called[name]}]")
        written = caller.get("key_sha256")
        for place, digest in enumerate([written] if isinstance(written, str) else _items(written)):
            here = (*path, "key_sha256") if isinstance(written, str) else (*path, "key_sha256", place)
            if isinstance(digest, str) and re.fullmatch(HASH.pattern, digest):
                first = hashes.setdefault(digest.lower(), here)
                if first != here:
                    source.wrong(here, f"this key is in line {source.place(first)[0]} already")
        for place, connection in enumerate(_items(caller.get("connections"))):
            if isinstance(connection, str) and names and connection not in names:
                expected(source, (*path, "connections", place), f"expected one of {listed(names)}")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


__all__ = [
    "NOT_BUILT",
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
    "NotBuilt",
    "ServerConfig",
    "check_exposure",
    "config_schema",
    "is_loopback",
    "load_config",
]
