"""The built-in stand-ins that `base_url: sandbox` asks for, one a connection, on loopback."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from gateway.config import Config
from gateway.connections import SANDBOX
from gateway.gateway import SANDBOX_KEY


class NoSandbox(Exception):
    """The adapter ships no stand-in, so `base_url: sandbox` cannot be served."""


@contextmanager
def running(config: Config, names: Iterable[str] | None = None) -> Iterator[dict[str, str]]:
    """While entered, every sandbox among the named connections (default: all) listens; yields base URLs by connection."""
    wanted = config.connections if names is None else names
    with ExitStack() as stack:
        base_urls = {}
        for name in wanted:
            connection = config.connections[name]
            if connection.base_url != SANDBOX:
                continue
            from gateway.testing.sandbox import SandboxServer, load_sandbox  # not needed, so not loaded, without one

            target = connection.adapter.sandbox
            if target is None:
                raise NoSandbox(f"connections.{name}: the adapter {connection.adapter.name} ships no sandbox; "
                                "set base_url to a real address")  # fmt: skip
            key = connection.api_key.get_secret_value() if connection.api_key is not None else SANDBOX_KEY
            settings = connection.settings.model_dump(exclude_none=True)
            server = stack.enter_context(SandboxServer(load_sandbox(target, key, settings)))
            base_urls[name] = server.url
        yield base_urls
