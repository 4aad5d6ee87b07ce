"""`/metrics`: what all workers of this server have counted, and how the connections stand now."""

from gateway import __version__
from gateway.exposing import MEDIA, exposition
from gateway.gateway import Gateway
from gateway.http import requests as read
from gateway.http.app import Context, Reply
from gateway.metrics import BUDGET_LEFT, BUILD, CIRCUIT

_CIRCUITS = {"closed": 0, "half-open": 1, "open": 2}


async def metrics(context: Context) -> Reply:
    """What all workers of this server have counted since it was started, in the text format of Prometheus."""
    read.query(context.scope, ())
    await _look(context.gateway)
    return Reply(raw=exposition(), media=MEDIA)


async def _look(gateway: Gateway) -> None:
    """How it stands, as this worker knows it: looked at when asked for, so that no request has to keep it up to date."""
    BUILD.of(__version__).set(1)
    for name, connection in gateway.connections.items():
        await connection.look()
        left = connection.budget_left()
        if left is not None and left.remaining is not None:
            BUDGET_LEFT.of(name).set(left.remaining)
        CIRCUIT.of(name).set(_CIRCUITS[connection.circuit[0]])
