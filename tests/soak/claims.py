"""What a claim costs: creates a second without a key, and with one over SQLite and over Valkey, side by side in one run.

    python -m tests.soak.claims [--seconds 4] [--rounds 3] [--in-flight 64]

One gateway of one worker over each store, one provider, the same closed loop; rounds are interleaved and medians are told.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from tests.rig.client import Client, request_bytes
from tests.rig.config import config_text
from tests.rig.processes import Replica, Rig
from tests.soak.site import valkey


async def creates(url: str, seconds: float, in_flight: int, key: str | None) -> tuple[float, float]:
    """(creates a second, median milliseconds of one). Every answer has to be a 201."""
    client, end, times = Client(in_flight), time.monotonic() + seconds, list[float]()

    async def caller(number: int) -> None:
        count = 0
        while time.monotonic() < end:
            count += 1
            headers = {"Content-Type": "application/json"}
            if key is not None:
                headers["Idempotency-Key"] = f"{key}-{number}-{count}"
            body = json.dumps({"name": f"Deal k-{key}-{number}-{count}"}).encode()
            reply = await client.ask(url, request_bytes("POST", "/v1/opportunities", headers, body))
            if reply.status != 201:
                raise RuntimeError(f"{reply.status} {reply.failed} {reply.body[:200]!r}")
            times.append(reply.end - reply.start)

    await asyncio.gather(*(caller(number) for number in range(in_flight)))
    client.close()
    return len(times) / seconds, statistics.median(times) * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="claims-")))
        rig = stack.enter_context(Rig(folder))
        provider = rig.stand_in("getraze")
        stores = {"SQLite": f"sqlite:///{folder / 'state.db'}", "Valkey": rig.state_server(lambda: valkey(folder))}
        more = {"cache": {"ttl": "0s"}}
        gateways: dict[str, Replica] = {
            name: rig.gateway(config_text(getraze=provider.url, state=url, more=more), 1)
            for name, url in {"off": "off", **stores}.items()
        }
        cases = [("no key, state: off", "off", False), *((f"no key, {name}", name, False) for name in stores),
                 *((f"key, {name}", name, True) for name in stores)]  # fmt: skip
        told: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in cases}
        for number in range(given.rounds):
            for name, store, keyed in cases:
                key = f"{name.replace(' ', '')}{number}" if keyed else None
                run = creates(gateways[store].url, given.seconds, given.in_flight, key)
                told[name].append(uvloop.run(run))
        for name, figures in told.items():
            rate, middle = (statistics.median(part) for part in zip(*figures, strict=True))
            print(f"{name:22} {rate:8.0f} creates/s {middle:8.2f} ms")  # noqa: T201  # its output


if __name__ == "__main__":
    main()
