"""`crm-gateway export`: every opportunity of a connection, to a file or a pipe."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from gateway.callers import ANYONE
from gateway.cli.wiring import config_option, connection_option, fail, filter_options, new_ask, run_with, strict_option

PAGE = 100
"""Records that are asked for at once."""


@click.command()
@config_option
@connection_option
@click.option("--format", "form", type=click.Choice(["ndjson", "csv", "parquet"]), default="ndjson", show_default=True,
              help="Lines of JSON, rows of CSV, or a Parquet file (crm-gateway[parquet]).")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where to, once it is whole; else to standard output as it comes.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with an export to --output that was interrupted.")
@click.option("--cursor", help="Go on with an export to standard output, where its end said so.")
@strict_option
@filter_options
def export(
    config_path: Path | None, connection: str | None, form: str, output: Path | None, resume: bool, cursor: str | None,
    strict: bool, filters: dict[str, str],
) -> None:  # fmt: skip
    """Write every opportunity of a connection to FILE or standard output, in the provider's own order.

    What is written is what the provider's list tells: `complete` says whether that is the whole record.
    """
    from gateway.exporting import CannotResume, ToFile, ToStream, missing_package
    from gateway.listing import Lister, Wanted

    if resume and output is None:
        raise click.UsageError("--resume goes on with a file: name it with --output; to standard output take --cursor")
    if cursor is not None and (output is not None or form == "parquet"):
        raise click.UsageError("--cursor is for ndjson and csv on standard output; a file is gone on with by --resume")
    if missing := missing_package(form):
        fail(missing)
    counts = {"unreadable": 0, "issues": 0}

    async def work(gateway: Any) -> None:
        opportunities = gateway.choose(ANYONE, connection)
        opportunities.need("list")
        if output is not None:
            target: ToFile | ToStream = ToFile(
                output, form, {"connection": opportunities.name, "filters": dict(filters)}, resume=resume
            )
        else:
            target = ToStream(sys.stdout.buffer, form, cursor)
        begun.append(target)
        with closing(target), _bar() as bar:
            bar.update(target.records)
            more = True
            while more:
                ask = new_ask(opportunities, strict=strict)
                ask.urgent = False
                page = await Lister(opportunities, Wanted(PAGE, target.cursor, filters), ask).page()
                target.add(page.data, page.next_cursor)
                more = page.next_cursor is not None
                counts["issues"] += len(page.meta["issues"])
                counts["unreadable"] += len(page.meta["errors"])
                bar.update(len(page.data))
            target.finish()

    begun: list[ToFile | ToStream] = []
    try:
        run_with(config_path, [connection], False, work)
    except CannotResume as error:
        fail(str(error))
    except OSError as error:
        if output is None:
            raise  # whoever read it has gone
        _tell_how_to_go_on(begun)
        fail(f"cannot write {output}: {error.strerror or error}")
    except (SystemExit, KeyboardInterrupt):
        _tell_how_to_go_on(begun)
        raise
    told = f"{begun[0].records} opportunities"
    told += f", {counts['unreadable']} could not be read" if counts["unreadable"] else ""
    told += f", {counts['issues']} values in them could not be read" if counts["issues"] else ""
    click.echo(told, err=True)


def _bar() -> Any:
    """A progress bar on a terminal. How many there will be nobody knows, so it counts."""
    nothing = (one for one in list[None]())
    return click.progressbar(nothing, label="exported", show_pos=True, file=sys.stderr, hidden=not sys.stderr.isatty())


def _tell_how_to_go_on(begun: list[Any]) -> None:
    for target in begun:
        how = target.to_go_on()
        click.echo(f"{target.records} opportunities are written{f'; {how}' if how else ''}", err=True)


COMMANDS = (export,)
