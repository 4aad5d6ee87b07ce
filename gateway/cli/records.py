"""Commands on opportunities: get, list, create, update, delete."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

import click

from gateway.callers import ANYONE
from gateway.cli.wiring import (
    config_option,
    connection_option,
    filter_options,
    json_in,
    json_option,
    new_ask,
    prefix,
    run_with,
    show,
    strict_option,
)


@click.command()
@click.argument("id_", metavar="ID")
@config_option
@json_option
@click.option("--explain", is_flag=True, help="Tell where each field came from (with --json).")
@click.option("--raw", is_flag=True, help="Give the provider's record too (with --json).")
def get(id_: str, config_path: Path | None, as_json: bool, explain: bool, raw: bool) -> None:
    """Read one opportunity; ID is CONNECTION:NATIVE_ID, or a native id at the default connection."""
    from gateway.cli import output

    async def work(gateway: Any) -> Any:
        opportunities, native = gateway.route(ANYONE, None, id_)
        return await opportunities.get(native, new_ask(opportunities, explain=explain, raw=raw))

    answer = run_with(config_path, [prefix(id_)], as_json, work)
    show(answer, as_json, output.record)


@click.command("list")
@config_option
@json_option
@connection_option
@strict_option
@click.option("--limit", type=click.IntRange(1, 100), default=25, show_default=True, help="Records a page.")
@click.option("--cursor", help="Where the page before ended.")
@filter_options
@click.option("--sort", help="created_at, updated_at, name or amount; - in front for descending.")
def list_(
    config_path: Path | None, as_json: bool, connection: str | None, strict: bool, limit: int, cursor: str | None,
    sort: str | None, filters: dict[str, str],
) -> None:  # fmt: skip
    """List opportunities, a page at a time."""
    from gateway.cli import output
    from gateway.listing import SORTS, Lister, Wanted

    if sort is not None and sort.removeprefix("-") not in SORTS:
        raise click.BadParameter(
            f"expected one of {', '.join(SORTS)}, with a leading - for descending", param_hint="--sort"
        )

    async def work(gateway: Any) -> Any:
        opportunities = gateway.choose(ANYONE, connection)
        ask = new_ask(opportunities, strict=strict)
        return await Lister(opportunities, Wanted(limit, cursor, filters, sort), ask).page()

    listing = run_with(config_path, [connection], as_json, work)
    if as_json:
        page = {"next_cursor": listing.next_cursor, "limit": listing.limit}
        output.as_json({"data": listing.data, "page": page, "meta": listing.meta})
        return
    output.records(listing.data)
    output.notes(listing.meta)
    if listing.next_cursor:
        click.echo(f"more: --cursor {listing.next_cursor}", err=True)


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@config_option
@json_option
@connection_option
@strict_option
def create(file: IO[bytes], config_path: Path | None, as_json: bool, connection: str | None, strict: bool) -> None:
    """Create an opportunity from the canonical JSON in FILE (- for standard input)."""
    from gateway.cli import output
    from gateway.drafts import Draft, validated

    body = json_in(file)

    async def work(gateway: Any) -> Any:
        opportunities = gateway.choose(ANYONE, connection)
        opportunities.need("create")
        draft, ask = validated(Draft, body), new_ask(opportunities, strict=strict)
        return await _noted(gateway, opportunities, "create", ask, lambda: opportunities.create(draft, ask))

    answer = run_with(config_path, [connection], as_json, work)
    show(answer, as_json, output.record)


@click.command()
@click.argument("id_", metavar="ID")
@click.argument("file", type=click.File("rb"), default="-")
@config_option
@json_option
@strict_option
def update(id_: str, file: IO[bytes], config_path: Path | None, as_json: bool, strict: bool) -> None:
    """Change an opportunity by the JSON merge patch in FILE (- for standard input)."""
    from gateway.cli import output
    from gateway.drafts import Patch, validated

    body = json_in(file)

    async def work(gateway: Any) -> Any:
        opportunities, native = gateway.route(ANYONE, None, id_)
        opportunities.need("update")
        patch, ask = validated(Patch, body), new_ask(opportunities, strict=strict)
        return await _noted(
            gateway, opportunities, "update", ask, lambda: opportunities.update(native, patch, ask), native
        )

    answer = run_with(config_path, [prefix(id_)], as_json, work)
    show(answer, as_json, output.record)


@click.command()
@click.argument("id_", metavar="ID")
@config_option
@json_option
def delete(id_: str, config_path: Path | None, as_json: bool) -> None:
    """Delete an opportunity."""
    from gateway.cli import output

    async def work(gateway: Any) -> None:
        opportunities, native = gateway.route(ANYONE, None, id_)
        ask = new_ask(opportunities)
        await _noted(gateway, opportunities, "delete", ask, lambda: opportunities.delete(native, ask), native)

    run_with(config_path, [prefix(id_)], as_json, work)
    if as_json:
        output.as_json({"deleted": id_})
    else:
        click.echo(f"deleted {id_}", err=True)


async def _noted(
    gateway: Any, opportunities: Any, operation: str, ask: Any, work: Callable[[], Awaitable[Any]], native: str = ""
) -> Any:  # fmt: skip
    """What `work` makes of a write. One whose outcome is unknown is kept, as the server keeps it, and settled by it."""
    from gateway.idempotency import Guard, Write

    if gateway.idempotency is None:
        return await work()
    method = {"create": "POST", "update": "PATCH", "delete": "DELETE"}[operation]
    write = Write(ANYONE.name, opportunities.name, operation, method, native, None, None, 0.0, native)
    ask.guard = guard = Guard(operation=operation, native_id=native, connection=opportunities.name)
    return await gateway.idempotency.noted(write, guard, work)


COMMANDS = (get, list_, create, update, delete)
