"""From the path of config.yaml to its settings, or to every mistake in it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.connection import read_connection
from gateway.config.mistakes import ConfigError
from gateway.config.models import Config
from gateway.config.rules import (
    check_callers,
    check_default_connection,
    check_host,
    check_nulls,
    check_state,
    check_stateless,
    check_variables,
)
from gateway.config.schema import shared_schema
from gateway.config.source import Source, mapping
from gateway.config.telling import explain


def load_config(path: Path | str, environ: Mapping[str, str] | None = None) -> Config:
    """The settings in the file at `path`, `${NAME}` taken from `environ` (default: the process's own).

    Raises `ConfigError` with every mistake, sorted by line; no secret and no value from `${...}` is in it.
    """
    from gateway.config.reading import read_source  # it imports YAML, which nobody needs who reads no file

    source = read_source(Path(path), os.environ if environ is None else environ)
    config = _checked(source, Path(path).parent)
    if config is None or source.mistakes:
        raise ConfigError(tuple(sorted(source.mistakes, key=lambda m: (m.line, m.column, m.path))))
    config._folder = Path(path).parent.absolute()
    return config


def _checked(source: Source, folder: Path) -> Config | None:
    """Notes every mistake. The order counts: of what is wrong at one path, only the first is kept."""
    tree: dict[str, Any] = source.tree
    check_nulls(source)
    names = mapping(tree.get("connections"))
    connections = {name: read_connection(source, name, folder) for name in names}
    check_variables(source)
    check_callers(source, names)
    check_default_connection(source, names)
    config = None
    try:
        config = Config.model_validate({**tree, "connections": connections} if connections else tree)
    except ValidationError as error:
        explain(source, error, (), shared_schema(), unsaid=frozenset({"adapter"}))  # `provider` is told instead
    check_host(source)
    check_state(source, folder)
    if config is not None:
        check_stateless(source, config)
    return config
