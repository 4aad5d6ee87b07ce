"""What an adapter is tested with: the contract kit, the exchanges beside it, and a server for its stand-in.

A whole test file is

    from gateway.testing import AdapterContract

    class TestAcme(AdapterContract):
        adapter = Acme
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.testing.contract import AdapterContract
    from gateway.testing.exchanges import load_exchanges
    from gateway.testing.sandbox import SandboxServer

_HOMES = {"AdapterContract": "contract", "SandboxServer": "sandbox", "load_exchanges": "exchanges"}


def __getattr__(name: str) -> Any:
    """Import on first use: a gateway in service needs the sandbox and not pytest."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["AdapterContract", "SandboxServer", "load_exchanges"]
