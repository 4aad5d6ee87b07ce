"""The command line: `crm-gateway`, also `python -m gateway`.

Exit status 0: done; 1: it failed; 2: used wrongly. Tables for people, `--json` for programs; nothing but data on standard
output. What reads and writes opportunities does so from the configuration, without a running server.
"""

import click

from gateway import __version__
from gateway.cli import authoring, documents, export, operating, outcomes, records


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="crm-gateway")
def main() -> None:
    """One endpoint for sales opportunities; configuration decides which CRM answers."""


for _module in (operating, records, export, outcomes, authoring, documents):
    for _command in _module.COMMANDS:
        main.add_command(_command)
