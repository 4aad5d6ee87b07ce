"""What is written of one connection, checked against its adapter, with its key and settings in place."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from gateway.adapter import OPERATIONS, Adapter, Limits, NoSettings
from gateway.config.mistakes import Where
from gateway.config.models import ConnectionConfig
from gateway.config.schema import schema_at, shared_schema
from gateway.config.source import Source, hidden, items, plain
from gateway.config.telling import expected, explain, listed, private, unknown
from gateway.config.values import KEY, PROVIDER
from gateway.registry import UnknownAdapter, load_adapter


def read_connection(source: Source, name: str, folder: Path) -> Any:
    """What is written of a connection, ready for its model: with adapter, settings and key."""
    path: Where = ("connections", name)
    written = source.at(path)
    if not isinstance(written, dict):
        return written
    entry = dict(written)
    keys = schema_at(shared_schema(), path)["properties"].keys()
    for key in (entry.keys() & ConnectionConfig.model_fields.keys()) - keys:  # fields that are no keys of the file
        unknown(source, (*path, key), shared_schema())
        del entry[key]
    _fill_key(source, path, entry, folder)
    entry["name"] = name
    adapter = _adapter(source, (*path, "provider"), entry.get("provider"))
    if adapter is None:
        entry.pop("settings", None)
        return entry
    entry["adapter"] = adapter
    if entry.get("base_url") == "sandbox" and adapter.sandbox is None:
        source.wrong((*path, "base_url"), f"{adapter.name} has no sandbox; expected an address")
    can = adapter.operations()
    for index, operation in enumerate(items(entry.get("require"))):
        if isinstance(operation, str) and operation in OPERATIONS and operation not in can:
            source.wrong((*path, "require", index), f"{adapter.name} cannot {operation}; it can {listed(can)}")
    entry["settings"] = _settings(source, (*path, "settings"), entry.get("settings", {}), adapter)
    return entry


def _adapter(source: Source, path: Where, provider: Any) -> type[Adapter] | None:
    """The adapter that `provider` names; None after noting why there is none."""
    if path in source.unset:
        return None
    try:
        name = PROVIDER.read(provider)
    except ValueError:
        return None  # a mistake of form, which the model tells
    try:
        adapter = load_adapter(name)
    except UnknownAdapter as error:
        source.wrong(path, "no such adapter is installed" if private(source, path) else str(error))
        return None
    except Exception as error:  # whatever the import of somebody's module raises is a mistake of this line
        source.wrong(path, f"the adapter's module cannot be imported: it raises {type(error).__name__}")
        return None
    needed = {"name": str, "base_url": str, "limits": Limits}
    undeclared = [word for word, kind in needed.items() if not isinstance(getattr(adapter, word, None), kind)]
    if undeclared:
        source.wrong(path, f"the adapter declares no {' and no '.join(undeclared)}")
        return None
    return adapter


def _fill_key(source: Source, path: Where, entry: dict[str, Any], folder: Path) -> None:
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
        if (folder / name).is_dir():
            raise IsADirectoryError(0, "it is a folder")
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
        explain(source, error, path, schema)
    except Exception as error:  # a validator of somebody's model
        source.wrong(path, f"the settings model of {adapter.name} fails: it raises {type(error).__name__}")
    return NoSettings()
