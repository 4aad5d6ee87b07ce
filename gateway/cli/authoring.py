"""Commands of whoever writes an adapter: check, new-adapter."""

import logging
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gateway.adapter import Adapter
from gateway.cli.wiring import config_option, fail, json_option, load, unused_config_option
from gateway.strict_json import Json, NotJson, loads

if TYPE_CHECKING:
    from gateway.testing.suite import Verdict

LIVE = "gateway.live_check"
"""The module whose `run(config, name, as_json)` gives the exit status of `check --live`."""


class _JsonObject(click.ParamType[dict[str, Json]]):
    """An object in JSON, on the command line."""

    name = "json"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Json]:
        if isinstance(value, str):
            try:
                value = loads(value.encode())
            except NotJson as error:
                self.fail(f"not strict JSON: {error}", param, ctx)
        if not isinstance(value, dict):
            self.fail('expected an object, such as \'{"key": "value"}\'', param, ctx)
        return value


class _Excuse(click.ParamType[tuple[str, str]]):
    """TEST=REASON."""

    name = "test=reason"

    def convert(self, value: Json, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        from gateway.testing.suite import trials

        name, _, reason = str(value).partition("=")
        if not reason.strip():
            self.fail("expected TEST=REASON: a test is excused in writing only", param, ctx)
        if name not in {trial.name for trial in trials()}:
            self.fail(f"no test is named {name!r}; the names are in brackets behind the failed ones", param, ctx)
        return name, reason.strip()


@click.command()
@click.argument("adapter", required=False)
@click.option("--live", metavar="CONNECTION", help="Instead of an adapter: read a sample from this real account.")
@click.option("--settings", type=_JsonObject(), help="The connection's `settings:`, a JSON object.")
@click.option("--stages", type=_JsonObject(), help="The connection's `stages:`, a JSON object.")
@click.option("--excuse", "excuses", type=_Excuse(), multiple=True, help="A test that is known to fail, and why.")
@click.option("--faults", type=click.IntRange(1, 1000), default=12, show_default=True, help="Faults shown a test.")
@config_option
@json_option
def check(
    adapter: str | None, live: str | None, settings: Mapping[str, Json] | None, stages: Mapping[str, Json] | None,
    excuses: tuple[tuple[str, str], ...], faults: int, config_path: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run the contract kit on ADAPTER: an installed adapter's name, or package.module:Class.

    With --live CONNECTION a connection of the configuration is held against its real account instead.
    """
    if (adapter is None) == (live is None):
        raise click.UsageError("name an ADAPTER, or a connection with --live CONNECTION")
    if live is not None:
        _check_live(live, config_path, as_json)
    from gateway.cli import output
    from gateway.testing.suite import run_suite

    chosen = _adapter(str(adapter))
    _fits(chosen, settings or {}, stages or {})
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # the kit's junk is no drift to be told of
    verdicts = []
    for verdict in run_suite(chosen, settings, stages, excused=dict(excuses), shown=faults):
        verdicts.append(verdict)
        if not as_json:
            _show(verdict)
    counts = {word: sum(one.outcome == word for one in verdicts) for word in ("ok", "failed", "excused", "skipped")}
    if as_json:
        output.as_json({"adapter": chosen.name if hasattr(chosen, "name") else adapter, "ok": not counts["failed"],
                        "counts": counts, "tests": [_body(verdict) for verdict in verdicts]})  # fmt: skip
    else:
        click.echo(", ".join(f"{count} {_WORDS[word]}" for word, count in counts.items()))
    sys.exit(1 if counts["failed"] else 0)


_WORDS = {"ok": "ok", "failed": "FAILED", "excused": "excused", "skipped": "skipped"}


def _show(verdict: "Verdict") -> None:
    """A line for the test; below it what is wrong."""
    tail = f" [{verdict.name}]" if verdict.outcome == "failed" else f" ({verdict.reason})" if verdict.reason else ""
    click.echo(f"{_WORDS[verdict.outcome]:8} {verdict.sentence}{tail}")
    for fault in verdict.faults:
        click.echo("           " + "".join(one if one.isprintable() else " " for one in fault))
    if verdict.more:
        click.echo(f"           and more: --faults shows more than {len(verdict.faults)}")


def _body(verdict: "Verdict") -> dict[str, Json]:
    return {
        "name": verdict.name, "sentence": verdict.sentence, "outcome": verdict.outcome, "reason": verdict.reason,
        "faults": list(verdict.faults), "more": verdict.more,
    }  # fmt: skip


def _adapter(name: str) -> type[Adapter]:
    """The adapter; exit status 2 when there is none, 1 when its module fails of itself."""
    from gateway.registry import UnknownAdapter, load_adapter

    try:
        return load_adapter(name)
    except UnknownAdapter as error:
        raise click.BadParameter(str(error), param_hint="ADAPTER") from None
    except Exception as error:  # whatever a stranger's module may do
        fail(f"{name} cannot be imported: {type(error).__name__}: {error}")


def _fits(adapter: type[Adapter], settings: Mapping[str, Json], stages: Mapping[str, Json]) -> None:
    """Exit status 2 unless the settings are the adapter's and the stage map leads to statuses."""
    from pydantic import ValidationError

    from gateway.statuses import STATUSES

    try:
        adapter.Settings.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise click.BadParameter(f"{place or 'settings'}: {first['msg']}", param_hint="--settings") from None
    words = [word for word in STATUSES if word != "unknown"]
    for stage, word in stages.items():
        if word not in words:
            raise click.BadParameter(f"{stage}: expected one of {', '.join(words)}", param_hint="--stages")


def _check_live(name: str, config_path: Path | None, as_json: bool) -> NoReturn:
    try:
        live = import_module(LIVE)
    except ModuleNotFoundError as error:
        if error.name != LIVE:
            raise
        fail("check --live is not built")
    sys.exit(live.run(load(config_path), name, as_json))


@click.command("new-adapter")
@click.argument("name")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where; else here.")
@unused_config_option
def new_adapter(name: str, into: Path) -> None:
    """Write the package crm-gateway-NAME, whose failing tests are the list of what is to be done."""
    from gateway.registry import adapter_names
    from gateway.testing.scaffold import class_name, write_package

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name, re.ASCII):
        raise click.BadParameter("expected small letters, digits and _, a letter first", param_hint="NAME")
    if name in adapter_names():
        raise click.BadParameter(f"an adapter named {name} is installed already", param_hint="NAME")
    folder = into / f"crm-gateway-{name}"
    try:
        written = write_package(name, folder)
    except FileExistsError:
        raise click.BadParameter(f"{folder} exists already", param_hint="NAME") from None
    except OSError as error:
        fail(f"cannot write {folder}: {error.strerror or error}")
    for path in written:
        click.echo(path)
    click.echo(
        f"next: pip install -e '{folder}[testing]' && crm-gateway check {name}\n"
        f"or, without installing: PYTHONPATH={folder / 'src'} crm-gateway check "
        f"crm_gateway_{name}:{class_name(name)}",
        err=True,
    )


COMMANDS = (check, new_adapter)
