"""The command that renews what pages render from declarations: docs."""

import sys
from pathlib import Path

import click

from gateway.cli.wiring import fail, unused_config_option


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; print the difference and exit with 1 if there is one.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=".",
    show_default=True,
    help="The folder of README.md and docs/.",
)
@unused_config_option
def docs(check: bool, root: Path) -> None:
    """Renew what README.md and docs/*.md render from declarations, and the JSON Schema of config.yaml."""
    from gateway.documenting import BadPage, pages

    try:
        stale = [page for page in pages(root) if page.is_stale]
        for page in stale:
            if check:
                click.echo(page.diff(), nl=False)
            else:
                page.write()
                click.echo(page.name)
    except BadPage as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}")
    if not stale:
        click.echo("nothing is stale", err=True)
    elif check:
        click.echo(f"stale: {', '.join(page.name for page in stale)}; `crm-gateway docs` renews them", err=True)
        sys.exit(1)


COMMANDS = (docs,)
