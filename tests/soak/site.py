"""Where a scenario takes place: a provider, a fault proxy before it, and the gateway's addresses."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.rig.config import config_text
from tests.rig.planted import environ_of
from tests.rig.processes import Part, Replica, Rig
from tests.state_server import SAFE, StateServer


@dataclass
class Site:
    """What a scenario needs. `replicas` is empty where the target cannot be killed."""

    folder: Path
    provider: Part
    proxy: Part
    targets: list[str]
    replicas: list[Replica] = field(default_factory=list)
    workers: int = 0
    """Of each replica."""
    lookup_lag: float = 1.0
    lease: float = 2.0
    """How long the holder of a key is believed without asking."""
    rate: float = 100.0
    """Keys a second, where a row does not need another rate."""
    give_up: float = 60.0
    """Seconds from which on a key is not repeated any more."""
    headers: dict[str, str] = field(default_factory=dict)
    """That every request of the load carries."""


_UNFORESEEN = ("Traceback (most recent call last)", "internal-error", "Exception in ASGI", "was never retrieved")


@dataclass
class Ground:
    """An empty place: a folder, and a rig that ends whatever is started in it."""

    folder: Path
    rig: Rig
    replicas: int = 2
    workers: int = 2
    rate: float = 0.0
    """Requests a second for a row that can have any; 0: its own."""

    def unhandled(self) -> int:
        """How often anything that was started spoke of what nobody had foreseen."""
        logs = [path.read_text("utf-8", "replace") for path in self.folder.glob("gateway*.stderr")]
        return sum(log.count(word) for log in logs for word in _UNFORESEEN)


@contextlib.contextmanager
def ground(
    *, replicas: int = 2, workers: int = 2, folder: Path | None = None, rate: float = 0.0, plant: str = ""
) -> Iterator[Ground]:
    """For a scenario that brings up everything itself; with `plant` its gateways break one promise."""
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        rig = stack.enter_context(Rig(place, environ_of(plant, place) if plant else None))
        yield Ground(place, rig, replicas, workers, rate)


@contextlib.contextmanager
def real(
    *,
    replicas: int = 2,
    workers: int = 2,
    provider: str = "getraze",
    state: str | None = None,
    lookup_lag: float = 1.0,
    index_lag: float = 0.5,
    lease: float = 2.0,
    rate: float = 100.0,
    more: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    machines: bool = False,
    plant: str = "",
) -> Iterator[Site]:
    """Real gateways over one store, a SQLite file in the run's folder unless told otherwise; `more` is configuration.

    `machines`: they listen on two addresses, as on two machines, share one Valkey, and are reached by a TCP balancer only.
    `plant`: they break one promise.
    """
    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        rig = stack.enter_context(Rig(place, environ_of(plant, place) if plant else None))
        stand_in = rig.stand_in(provider, lag=index_lag)
        proxy = rig.proxy(stand_in.port)
        store = state or f"sqlite:///{place / 'state.db'}"
        if machines and state is None:
            store = rig.state_server(lambda: valkey(place))
        urls = {"served" if provider == "getraze-served" else provider: proxy.url}
        # A claim's lease is the connection's time-out and this together.
        keyed = {"lookup_lag": f"{lookup_lag:g}s", "lease": f"{lease / 2:g}s"}
        usual = {"circuit": "off", "cache": {"ttl": "0s"}, "idempotency": keyed}
        text = config_text(**urls, state=store, timeout=f"{lease / 2:g}s", more={**usual, **(more or {})})
        hosts = [f"127.0.0.{1 + number % 2}" if machines else "127.0.0.1" for number in range(replicas)]
        started = [rig.gateway(text, workers, host) for host in hosts]
        targets = [replica.url for replica in started]
        if machines:
            targets = [rig.balancer(*(url.removeprefix("http://") for url in targets), host="127.0.0.3").url]
        yield Site(place, stand_in, proxy, targets, started, workers, lookup_lag, lease, rate)


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """A Valkey of the run's own, set up as one must be that keeps claims."""
    place = folder / "valkey"
    place.mkdir()
    server = StateServer(place, **SAFE)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@contextlib.contextmanager
def ideal(
    folder: Path, *, plant: str = "", lookup_lag: float = 0.4, index_lag: float = 0.1, give_up: float = 60.0
) -> Iterator[Site]:
    """The ideal gateway of `tests.rig.ideal`, twice under the same address; with `plant` it is less than ideal."""
    with Rig(folder) as rig:
        stand_in = rig.stand_in("getraze", lag=index_lag)
        proxy = rig.proxy(stand_in.port)
        planted = ("--plant", plant) if plant else ()
        target = rig.part("tests.rig.ideal", "--to", proxy.url, "--lag", str(lookup_lag), *planted)
        yield Site(folder, stand_in, proxy, [target.url, target.url], lookup_lag=lookup_lag, give_up=give_up)
