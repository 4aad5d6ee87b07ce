"""`crm-gateway check --live CONNECTION`: a sample of the real account, and how much of it the adapter understands."""

import asyncio
from collections import Counter

import click

from gateway.config import Config
from gateway.drift import folded, signs
from gateway.errors import Problem
from gateway.gateway import Gateway
from gateway.loop_time import deadline_in
from gateway.opportunities import Ask, Opportunities, Read
from gateway.pointer import leaves
from gateway.sandboxes import running
from gateway.strict_json import Json, dumps

RECORDS = 20
"""How many records are read whole, one call each."""


def run(config: Config, name: str, as_json: bool) -> int:
    """Read up to 20 records of the connection, only read, and print by path what is mapped, kept or unreadable.

    Exit status: 0 when every record could be read and nothing is unreadable or gone, else 1; 2 without such a connection.
    """
    if name not in config.connections:
        click.echo(f"no connection {name!r}; connections are: {', '.join(config.connections)}", err=True)
        return 2
    with running(config, [name]) as base_urls:
        try:
            report = asyncio.run(_report(config, base_urls, name))
        except Problem as problem:
            click.echo(f"error: {problem.code}: {problem.detail}", err=True)
            return 1
    if as_json:
        click.echo(dumps(report).decode())
    else:
        _show(report)
    return 1 if report["unreadable"] or report["gone"] or report["failed"] else 0


async def _report(config: Config, base_urls: dict[str, str], name: str) -> dict[str, Json]:
    gateway = Gateway(config, base_urls)
    try:
        return await _sample(gateway.on(name))
    finally:
        await gateway.aclose()


async def _sample(opportunities: Opportunities) -> dict[str, Json]:
    from gateway.listing import Lister, Wanted

    limit = min(RECORDS, opportunities.adapter.limits.page)
    ask = Ask(deadline_in(opportunities.connection.timeout))
    listing = await Lister(opportunities, Wanted(limit), ask).page()
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("mapped", "kept", "unreadable", "gone", "new")}
    failed: list[Json] = list(listing.meta["errors"])
    for opportunity in listing.data:
        try:
            ask = Ask(deadline_in(opportunities.connection.timeout))
            _count(await opportunities.read(opportunity["native_id"], ask), opportunities, counts)
        except Problem as problem:
            failed.append({"id": opportunity["id"], "problem": problem.body()})
    return {
        "connection": opportunities.name,
        "provider": opportunities.adapter.name,
        "dialect": opportunities.adapter.dialect,
        "records": len(listing.data),
        "failed": failed,
        **{kind: dict(sorted(counter.items())) for kind, counter in counts.items()},
    }


def _count(read: Read, opportunities: Opportunities, counts: dict[str, Counter[str]]) -> None:
    """Each leaf of the record into one of mapped, kept and unreadable; what should be there and is not into gone."""
    unread = {issue.path for issue in read.reading.issues}
    for pointer, _ in leaves(read.record):
        if pointer in unread or any(pointer.startswith(f"{path}/") for path in unread):
            counts["unreadable"][folded(pointer)] += 1
        elif pointer in read.reading.extensions:
            counts["kept"][folded(pointer)] += 1
        else:
            counts["mapped"][folded(pointer)] += 1
    for kind, place in signs(opportunities.adapter.table, read.reading, read.whole):
        if kind in ("gone", "new"):
            counts[kind][place] += 1


def _show(report: dict[str, Json]) -> None:
    from gateway.cli.output import table

    rows = [(kind, path, count) for kind in ("mapped", "kept", "unreadable", "gone")
            for path, count in report[kind].items()]  # fmt: skip
    table(("what", "path", "records"), rows)
    leaves_seen = {kind: sum(report[kind].values()) for kind in ("mapped", "kept", "unreadable")}
    whole = sum(leaves_seen.values()) or 1
    shares = ", ".join(f"{kind} {count * 100 / whole:.1f} %" for kind, count in leaves_seen.items())
    told = f"{report['records']} records of {report['connection']} ({report['dialect']}): {shares}"
    click.echo(f"{told}; new to the adapter: {len(report['new'])} members; failed: {len(report['failed'])}", err=True)
