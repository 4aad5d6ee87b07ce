"""What the commands share: options, the configuration, and running against it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import wraps
from pathlib import Path
from typing import IO, Any, NoReturn

import click

from gateway.errors import Problem
from gateway.strict_json import Json, NotJson, loads

CONFIG = "CRM_GATEWAY_CONFIG"


def path_of(given: Path | None) -> Path:
    return given or Path(os.environ.get(CONFIG) or "config.yaml")


config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help=f"The configuration; else ${CONFIG}, else ./config.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON for programs instead of a table.")
connection_option = click.option("--connection", metavar="NAME", help="The connection; the default one without it.")
strict_option = click.option("--strict", is_flag=True, help="Refuse what the provider cannot hold or do by itself.")

unused_config_option = click.option(
    "--config", type=click.Path(path_type=Path), expose_value=False, help="Taken as everywhere; not needed here."
)
_FILTERS = (
    click.option("--status", type=click.Choice(["open", "won", "lost", "closed", "unknown"]), help="Only these."),
    click.option("--stage", help="Only this stage, by id or exact name."),
    click.option("--owner", help="Only this owner's, by id or exact name."),
    click.option("--source", help="Only from this source."),
    click.option("--company", help="Only this company's, by id or exact name."),
    click.option("--q", help="Only where this text occurs."),
    click.option("--modified-since", help="Only what changed since this instant."),
)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options by which opportunities are chosen; the command is given those that were used as `filters`."""

    @wraps(command)
    def checked(**given: Any) -> None:
        from gateway.codecs import exact_instant
        from gateway.listing import FILTERS

        filters = {name: value for name in FILTERS if (value := given.pop(name)) is not None}
        for name, value in filters.items():
            if not value:
                raise click.BadParameter("expected a value", param_hint=f"--{name.replace('_', '-')}")
        if "modified_since" in filters:
            try:
                filters["modified_since"] = exact_instant(filters["modified_since"])
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--modified-since") from None
        command(filters=filters, **given)

    for option in reversed(_FILTERS):
        option(checked)
    return checked


def fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def load(given: Path | None) -> Any:
    from gateway.config import ConfigError, load_config

    path = path_of(given)
    try:
        return load_config(path)
    except ConfigError as error:
        fail("\n".join(str(mistake) for mistake in error.mistakes))


def json_in(file: IO[bytes]) -> Json:
    try:
        return loads(file.read())
    except NotJson as error:
        raise click.UsageError(f"{getattr(file, 'name', 'the input')}: not strict JSON: {error}") from None


def prefix(id_: str) -> str | None:
    connection, colon, _ = id_.partition(":")
    return connection if colon else None


def new_ask(opportunities: Any, *, strict: bool = False, explain: bool = False, raw: bool = False) -> Any:
    from gateway.loop_time import deadline_in
    from gateway.opportunities import Ask

    deadline = deadline_in(opportunities.connection.timeout)
    return Ask(deadline, strict=strict, explain=explain, raw=raw)


def show(answer: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    from gateway.cli import output

    if as_json:
        output.as_json({"data": answer.data, "meta": answer.meta})
        return
    show(answer.data)
    output.notes(answer.meta)


def run_with(
    config_path: Path | None, names: list[str | None], as_json: bool, work: Callable[[Any], Awaitable[Any]]
) -> Any:
    """What `work` makes of a gateway on the configuration; only the named connections' sandboxes are started."""
    from gateway.cli import output
    from gateway.gateway import Gateway
    from gateway.sandboxes import NoSandbox, running
    from gateway.state.store import UnsafeStore

    config = load(config_path)
    wanted = [name or config.default_connection for name in names]

    async def within(base_urls: dict[str, str]) -> Any:
        async with AsyncExitStack() as stack:
            gateway = Gateway(config, base_urls)
            stack.push_async_callback(gateway.aclose)
            await gateway.open(settling=False)
            return await work(gateway)

    try:
        with running(config, [name for name in wanted if name in config.connections]) as base_urls:
            if base_urls:
                click.echo("note: a built-in sandbox, started for this command; what it holds goes with it", err=True)
            return asyncio.run(within(base_urls))
    except Problem as problem:
        output.problem(problem, as_json)
        sys.exit(1)
    except (NoSandbox, UnsafeStore) as error:
        fail(str(error))
