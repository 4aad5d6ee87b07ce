"""The command line: `crm-gateway`, also `python -m gateway`.

Exit status 0: done; 1: it failed; 2: used wrongly. Tables for people, `--json` for programs; nothing but data on standard
output. What reads and writes opportunities does so from the configuration, without a running server.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO, Any, NoReturn

import click

from gateway import __version__
from gateway.callers import ANYONE, hash_key
from gateway.errors import Problem
from gateway.strict_json import Json, NotJson, loads

CONFIG = "CRM_GATEWAY_CONFIG"


def _config_path(given: Path | None) -> Path:
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


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _load(given: Path | None) -> Any:
    from gateway.config import ConfigError, load_config

    path = _config_path(given)
    try:
        return load_config(path)
    except ConfigError as error:
        _fail("\n".join(str(mistake) for mistake in error.mistakes))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crm-gateway")
def main() -> None:
    """One endpoint for sales opportunities; configuration decides which CRM answers."""


@main.command()
@config_option
@click.option("--host", help="Instead of `server.host`.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of `server.port`; 0 takes any free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Instead of `server.workers`.")
def serve(config_path: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Serve the API in the foreground; prints http://HOST:PORT when ready."""
    config = _load(config_path)
    from gateway.config import check_exposure
    from gateway.http.serving import serve as run
    from gateway.sandboxes import NoSandbox

    host = host or config.server.host
    exposed = check_exposure(config, host)
    if exposed:
        _fail(exposed)
    if not config.callers:
        click.echo("no callers are configured: no key is asked for, and only loopback addresses are served", err=True)
    for name, connection in config.connections.items():
        if connection.base_url == "sandbox":
            click.echo(
                f"connection {name}: a built-in sandbox of {connection.adapter.title}, not the provider", err=True
            )
    try:
        run(config, _config_path(config_path), host, config.server.port if port is None else port,
            workers or config.server.workers)  # fmt: skip
    except NoSandbox as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot listen on {host}: {error.strerror or error}")


@main.command("check-config")
@config_option
@json_option
def check_config(config_path: Path | None, as_json: bool) -> None:
    """Say every mistake in the configuration, with its line, without starting anything."""
    from gateway import cli_output as out
    from gateway.config import ConfigError, load_config

    path = _config_path(config_path)
    try:
        config = load_config(path)
    except ConfigError as error:
        if as_json:
            out.as_json({"ok": False, "mistakes": [
                {"file": m.file, "line": m.line, "column": m.column, "path": m.path, "message": m.message}
                for m in error.mistakes]})  # fmt: skip
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        sys.exit(1)
    if as_json:
        out.as_json({"ok": True, "mistakes": []})
    else:
        names = ", ".join(f"{name} ({one.provider})" for name, one in config.connections.items())
        click.echo(f"{path}: good; connections: {names}; default: {config.default_connection}")


@main.command()
@config_option
@json_option
def connections(config_path: Path | None, as_json: bool) -> None:
    """List the connections and what each can do."""
    from gateway import cli_output as out
    from gateway.presenting import connection_info

    async def work(gateway: Any) -> list[Json]:
        return [connection_info(gateway.on(name), gateway.config) for name in gateway.connections]

    infos = _run(config_path, [], as_json, work)
    if as_json:
        out.as_json({"data": infos, "meta": {}})
        return
    out.table(
        ("name", "provider", "default", "sandbox", "operations"),
        [(one["name"], one["provider"], one["default"], one["sandbox"], ", ".join(one["operations"])) for one in infos],
    )


@main.command()
@click.argument("id_", metavar="ID")
@config_option
@json_option
@click.option("--explain", is_flag=True, help="Tell where each field came from (with --json).")
@click.option("--raw", is_flag=True, help="Give the provider's record too (with --json).")
def get(id_: str, config_path: Path | None, as_json: bool, explain: bool, raw: bool) -> None:
    """Read one opportunity; ID is CONNECTION:NATIVE_ID, or a native id at the default connection."""
    from gateway import cli_output as out

    async def work(gateway: Any) -> Any:
        opportunities, native = gateway.route(ANYONE, None, id_)
        return await opportunities.get(native, _ask(opportunities, explain=explain, raw=raw))

    answer = _run(config_path, [_prefix(id_)], as_json, work)
    _show(answer, as_json, out.record)


@main.command("list")
@config_option
@json_option
@connection_option
@strict_option
@click.option("--limit", type=click.IntRange(1, 100), default=25, show_default=True, help="Records a page.")
@click.option("--cursor", help="Where the page before ended.")
@click.option("--status", type=click.Choice(["open", "won", "lost", "closed", "unknown"]), help="Only these.")
@click.option("--stage", help="Only this stage, by id or exact name.")
@click.option("--owner", help="Only this owner's, by id or exact name.")
@click.option("--source", help="Only from this source.")
@click.option("--company", help="Only this company's, by id or exact name.")
@click.option("--q", help="Only where this text occurs.")
@click.option("--modified-since", help="Only what changed since this instant.")
@click.option("--sort", help="created_at, updated_at, name or amount; - in front for descending.")
def list_(
    config_path: Path | None, as_json: bool, connection: str | None, strict: bool, limit: int, cursor: str | None,
    sort: str | None, **filters: str | None,
) -> None:  # fmt: skip
    """List opportunities, a page at a time."""
    from gateway import cli_output as out
    from gateway.codecs import instant_string
    from gateway.listing import SORTS, Lister, Wanted

    if sort is not None and sort.removeprefix("-") not in SORTS:
        raise click.BadParameter(
            f"expected one of {', '.join(SORTS)}, with a leading - for descending", param_hint="--sort"
        )
    wanted = {name: value for name, value in filters.items() if value is not None}
    for name, value in wanted.items():
        if not value:
            raise click.BadParameter("expected a value", param_hint=f"--{name.replace('_', '-')}")
    if "modified_since" in wanted:
        try:
            wanted["modified_since"], _ = instant_string(wanted["modified_since"], None)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--modified-since") from None

    async def work(gateway: Any) -> Any:
        opportunities = gateway.choose(ANYONE, connection)
        ask = _ask(opportunities, strict=strict)
        return await Lister(opportunities, Wanted(limit, cursor, wanted, sort), ask).page()

    listing = _run(config_path, [connection], as_json, work)
    if as_json:
        page = {"next_cursor": listing.next_cursor, "limit": listing.limit}
        out.as_json({"data": listing.data, "page": page, "meta": listing.meta})
        return
    out.records(listing.data)
    out.notes(listing.meta)
    if listing.next_cursor:
        click.echo(f"more: --cursor {listing.next_cursor}", err=True)


@main.command()
@click.argument("file", type=click.File("rb"), default="-")
@config_option
@json_option
@connection_option
@strict_option
def create(file: IO[bytes], config_path: Path | None, as_json: bool, connection: str | None, strict: bool) -> None:
    """Create an opportunity from the canonical JSON in FILE (- for standard input)."""
    from gateway import cli_output as out
    from gateway.opportunity import Draft, validated

    body = _json(file)

    async def work(gateway: Any) -> Any:
        opportunities = gateway.choose(ANYONE, connection)
        opportunities.need("create")
        return await opportunities.create(validated(Draft, body), _ask(opportunities, strict=strict))

    answer = _run(config_path, [connection], as_json, work)
    _show(answer, as_json, out.record)


@main.command()
@click.argument("id_", metavar="ID")
@click.argument("file", type=click.File("rb"), default="-")
@config_option
@json_option
@strict_option
def update(id_: str, file: IO[bytes], config_path: Path | None, as_json: bool, strict: bool) -> None:
    """Change an opportunity by the JSON merge patch in FILE (- for standard input)."""
    from gateway import cli_output as out
    from gateway.opportunity import Patch, validated

    body = _json(file)

    async def work(gateway: Any) -> Any:
        opportunities, native = gateway.route(ANYONE, None, id_)
        opportunities.need("update")
        return await opportunities.update(native, validated(Patch, body), _ask(opportunities, strict=strict))

    answer = _run(config_path, [_prefix(id_)], as_json, work)
    _show(answer, as_json, out.record)


@main.command()
@click.argument("id_", metavar="ID")
@config_option
@json_option
def delete(id_: str, config_path: Path | None, as_json: bool) -> None:
    """Delete an opportunity."""
    from gateway import cli_output as out

    async def work(gateway: Any) -> None:
        opportunities, native = gateway.route(ANYONE, None, id_)
        await opportunities.delete(native, _ask(opportunities))

    _run(config_path, [_prefix(id_)], as_json, work)
    if as_json:
        out.as_json({"deleted": id_})
    else:
        click.echo(f"deleted {id_}", err=True)


@main.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--from", "source", required=True, metavar="DIALECT", help="The dialect of FILE.")
@click.option("--to", "target", required=True, metavar="DIALECT", help="The dialect wanted.")
@json_option
def translate(file: IO[bytes], source: str, target: str, as_json: bool) -> None:
    """Translate the record in FILE (- for standard input) between dialects, calling nobody."""
    from gateway import cli_output as out
    from gateway.translating import dialect_names
    from gateway.translating import translate as work

    for option, name in (("--from", source), ("--to", target)):
        if name not in dialect_names():
            raise click.BadParameter(f"expected one of {', '.join(dialect_names())}", param_hint=option)
    body = _json(file)
    try:
        data, meta = work(body, source, target)
    except Problem as problem:
        out.problem(problem, as_json)
        sys.exit(1)
    if as_json:
        out.as_json({"data": data, "meta": meta})
        return
    out.as_json(data)
    out.notes(meta)


@main.command("hash-key")
@click.option("--new", is_flag=True, help="Make a new random key and print it with its hash.")
@json_option
def hash_key_(new: bool, as_json: bool) -> None:
    """Print the SHA-256 of a caller key, read from standard input so that it stays out of the shell's history."""
    from gateway import cli_output as out

    if new:
        key = f"cg_{secrets.token_urlsafe(32)}"
    elif sys.stdin.isatty():
        key = click.prompt("Caller key", hide_input=True, err=True)
    else:
        key = sys.stdin.read().strip()
    if not key or not key.isascii() or any(character.isspace() for character in key):
        raise click.UsageError("a caller key is printable ASCII without blanks")
    told = {"key": key} if new else {}
    told["key_sha256"] = hash_key(key)
    if as_json:
        out.as_json(told)
    else:
        for name, value in told.items():
            click.echo(f"{name}: {value}" if new else value)


# --- what the commands share -----------------------------------------------------------------------------------------


def _json(file: IO[bytes]) -> Json:
    try:
        return loads(file.read())
    except NotJson as error:
        raise click.UsageError(f"{getattr(file, 'name', 'the input')}: not strict JSON: {error}") from None


def _prefix(id_: str) -> str | None:
    connection, colon, _ = id_.partition(":")
    return connection if colon else None


def _ask(opportunities: Any, *, strict: bool = False, explain: bool = False, raw: bool = False) -> Any:
    from gateway.opportunities import Ask, deadline_in

    deadline = deadline_in(opportunities.connection.timeout)
    return Ask(deadline, strict=strict, explain=explain, raw=raw)


def _show(answer: Any, as_json: bool, show: Callable[[Any], None]) -> None:
    from gateway import cli_output as out

    if as_json:
        out.as_json({"data": answer.data, "meta": answer.meta})
        return
    show(answer.data)
    out.notes(answer.meta)


def _run(
    config_path: Path | None, names: list[str | None], as_json: bool, work: Callable[[Any], Awaitable[Any]]
) -> Any:
    """What `work` makes of a gateway on the configuration; only the named connections' sandboxes are started."""
    from gateway import cli_output as out
    from gateway.gateway import Gateway
    from gateway.sandboxes import NoSandbox, running

    config = _load(config_path)
    wanted = [name or config.default_connection for name in names]

    async def within(base_urls: dict[str, str]) -> Any:
        async with AsyncExitStack() as stack:
            gateway = Gateway(config, base_urls)
            stack.push_async_callback(gateway.aclose)
            return await work(gateway)

    try:
        with running(config, [name for name in wanted if name in config.connections]) as base_urls:
            if base_urls:
                click.echo("note: a built-in sandbox, started for this command; what it holds goes with it", err=True)
            return asyncio.run(within(base_urls))
    except Problem as problem:
        out.problem(problem, as_json)
        sys.exit(1)
    except NoSandbox as error:
        _fail(str(error))
