"""The built-in stand-ins that `base_url: sandbox` asks for, one a connection, on loopback."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.config import Config
from gateway.config.models import ConnectionConfig
from gateway.connections import SANDBOX
from gateway.gateway import SANDBOX_KEY

if TYPE_CHECKING:
    from gateway.testing.sandbox import SandboxServer


class NoSandbox(Exception):
    """The adapter ships no stand-in, so `base_url: sandbox` cannot be served."""


class Sandboxes:
    """The stand-ins that run. Each is known by its connection and all that it was built from."""

    def __init__(self) -> None:
        self._running: dict[tuple[Any, ...], SandboxServer] = {}

    def start(self, config: Config, names: Iterable[str] | None = None) -> dict[str, str]:
        """Every sandbox among the named connections (default: all) listens; base URLs by connection.

        One that runs already as it is wanted goes on, with what it holds. Raises `NoSandbox`.
        """
        wanted = _wanted(config, config.connections if names is None else names)
        base_urls = {}
        for connection, made_from in wanted.items():
            if made_from not in self._running:
                from gateway.testing.sandbox import (  # not needed, so not loaded, without one
                    SandboxServer,
                    load_sandbox,
                )

                _, target, key, _ = made_from
                settings = config.connections[connection].settings.model_dump(exclude_none=True)
                server = SandboxServer(load_sandbox(target, key, settings))
                server.start()
                self._running[made_from] = server
            base_urls[connection] = self._running[made_from].url
        return base_urls

    def keep(self, config: Config | None) -> None:
        """Stop every sandbox that this configuration does not ask for; None: all."""
        kept = set(_wanted(config, config.connections).values()) if config is not None else set()
        for made_from in [one for one in self._running if one not in kept]:
            self._running.pop(made_from).stop()


def _wanted(config: Config, names: Iterable[str]) -> Mapping[str, tuple[str, str, str, str]]:
    """(connection, target, key, settings) of each sandbox, by connection. Raises `NoSandbox`."""
    wanted = {}
    for name in names:
        connection = config.connections[name]
        if connection.base_url == SANDBOX:
            wanted[name] = name, _target(name, connection), _key(connection), repr(connection.settings.model_dump())
    return wanted


def _target(name: str, connection: ConnectionConfig) -> str:
    if connection.adapter.sandbox is None:
        raise NoSandbox(f"connections.{name}: the adapter {connection.adapter.name} ships no sandbox; "
                        "set base_url to a real address")  # fmt: skip
    return connection.adapter.sandbox


def _key(connection: ConnectionConfig) -> str:
    return connection.api_key.get_secret_value() if connection.api_key is not None else SANDBOX_KEY


@contextmanager
def running(config: Config, names: Iterable[str] | None = None) -> Iterator[dict[str, str]]:
    """While entered, every sandbox among the named connections (default: all) listens; yields base URLs by connection."""
    sandboxes = Sandboxes()
    try:
        yield sandboxes.start(config, names)
    finally:
        sandboxes.keep(None)
