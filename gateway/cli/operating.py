"""Commands of whoever runs the gateway: serve, reload, check-config, connections, translate, hash-key."""

import os
import secrets
import sys
from pathlib import Path
from typing import IO, Any

import click

from gateway.callers import hash_key
from gateway.cli.wiring import config_option, fail, json_in, json_option, load, path_of, run_with, unused_config_option
from gateway.errors import Problem
from gateway.logs import ACCESS, FORMAT, FORMATS, say
from gateway.strict_json import Json

pid_file_option = click.option(
    "--pid-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CRM_GATEWAY_PID_FILE",
    help="Where `reload` finds the server; else $CRM_GATEWAY_PID_FILE, else beside the state file.",
)


@click.command()
@config_option
@click.option("--host", help="Instead of `server.host`.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of `server.port`; 0 takes any free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Instead of `server.workers`.")
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0, 600),
    default=2.0,
    show_default=True,
    help="How long requests are still taken once it was told to stop, while readiness is off.",
)
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    envvar=FORMAT,
    show_envvar=True,
    help="Log lines on standard error: for people or for programs.",
)
@click.option("--access-log", is_flag=True, envvar=ACCESS, show_envvar=True, help="A log line for each request.")
@pid_file_option
def serve(
    config_path: Path | None, host: str | None, port: int | None, workers: int | None, drain_seconds: float,
    log_format: str, access_log: bool, pid_file: Path | None,
) -> None:  # fmt: skip
    """Serve the API in the foreground; prints http://HOST:PORT when ready."""
    config = load(config_path)
    os.environ[FORMAT], os.environ[ACCESS] = log_format, "1" if access_log else "0"
    from gateway.config import check_exposure, check_sharing, keys_in_the_clear
    from gateway.http.control import NotStarted
    from gateway.http.serving import Serving
    from gateway.http.serving import serve as run
    from gateway.sandboxes import NoSandbox

    host, port = host or config.server.host, config.server.port if port is None else port
    exposed = check_exposure(config, host)
    if exposed:
        fail(exposed)
    if unshared := check_sharing(config, workers or config.server.workers):
        fail(unshared)
    if not config.callers:
        say("no callers are configured: no key is asked for, and only loopback addresses are served", log_format)
    for name, connection in config.connections.items():
        if connection.base_url == "sandbox":
            say(f"connection {name}: a built-in sandbox of {connection.adapter.title}, not the provider", log_format)
    for note in keys_in_the_clear(config):
        say(note, log_format)
    try:
        workers = workers or config.server.workers
        run(config, Serving(path_of(config_path), host, port, workers, drain_seconds, pid_file))
    except (NoSandbox, NotStarted) as error:
        fail(str(error))
    except OSError as error:
        fail(
            f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}: {error.strerror or error}; "
            "--host and --port, or `server` in the configuration, name another address"
        )


@click.command()
@config_option
@pid_file_option
def reload(config_path: Path | None, pid_file: Path | None) -> None:
    """Have the running server read its configuration anew, without losing a request."""
    from gateway.http.pidfile import NotServing, ask_to_reload, default_path

    config = load(config_path)
    path = pid_file or default_path(config.state, config.folder)
    try:
        good, said = ask_to_reload(path)
    except NotServing:
        fail(f"no server has the pid file {path}; name the one of `serve` with --pid-file, or send it SIGHUP")
    except PermissionError:
        fail(f"{path}: the server belongs to somebody else")
    except TimeoutError:
        fail("the server has not said in time whether it could reload")
    for line in said:
        click.echo(line, err=True)
    if not good:
        fail("the configuration before stays in force")


@click.command("check-config")
@config_option
@json_option
def check_config(config_path: Path | None, as_json: bool) -> None:
    """Say every mistake in the configuration, with its line, without starting anything."""
    from gateway.cli import output
    from gateway.config import ConfigError, keys_in_the_clear, load_config

    path = path_of(config_path)
    try:
        config = load_config(path)
    except ConfigError as error:
        if as_json:
            output.as_json({"ok": False, "mistakes": [
                {"file": m.file, "line": m.line, "column": m.column, "path": m.path, "message": m.message}
                for m in error.mistakes]})  # fmt: skip
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        sys.exit(1)
    if as_json:
        output.as_json({"ok": True, "mistakes": []})
    else:
        names = ", ".join(f"{name} ({one.provider})" for name, one in config.connections.items())
        click.echo(f"{path}: good; connections: {names}; default: {config.default_connection}")
        for note in keys_in_the_clear(config):
            click.echo(note, err=True)


@click.command()
@config_option
@json_option
def connections(config_path: Path | None, as_json: bool) -> None:
    """List the connections and what each can do."""
    from gateway.cli import output
    from gateway.presenting import connection_info

    async def work(gateway: Any) -> list[Json]:
        return [connection_info(gateway.on(name), gateway.config) for name in gateway.connections]

    infos = run_with(config_path, [], as_json, work)
    if as_json:
        output.as_json({"data": infos, "meta": {}})
        return
    output.table(
        ("name", "provider", "default", "sandbox", "operations"),
        [(one["name"], one["provider"], one["default"], one["sandbox"], ", ".join(one["operations"])) for one in infos],
    )


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--from", "source", required=True, metavar="DIALECT", help="The dialect of FILE.")
@click.option("--to", "target", required=True, metavar="DIALECT", help="The dialect wanted.")
@json_option
@unused_config_option
def translate(file: IO[bytes], source: str, target: str, as_json: bool) -> None:
    """Translate the record in FILE (- for standard input) between dialects, calling nobody."""
    from gateway.cli import output
    from gateway.translating import dialect_names
    from gateway.translating import translate as work

    for option, name in (("--from", source), ("--to", target)):
        if name not in dialect_names():
            raise click.BadParameter(f"expected one of {', '.join(dialect_names())}", param_hint=option)
    body = json_in(file)
    try:
        data, meta = work(body, source, target)
    except Problem as problem:
        output.problem(problem, as_json)
        sys.exit(1)
    if as_json:
        output.as_json({"data": data, "meta": meta})
        return
    output.as_json(data)
    output.notes(meta)


@click.command("hash-key")
@click.option("--new", is_flag=True, help="Make a new random key and print it with its hash.")
@json_option
@unused_config_option
def hash_key_(new: bool, as_json: bool) -> None:
    """Print the SHA-256 of a caller key, read from standard input so that it stays out of the shell's history."""
    from gateway.cli import output

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
        output.as_json(told)
    else:
        for name, value in told.items():
            click.echo(f"{name}: {value}" if new else value)


COMMANDS = (serve, reload, check_config, connections, translate, hash_key_)
