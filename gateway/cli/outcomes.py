"""`crm-gateway outcomes`: writes whose outcome is unknown, and settling those that no look-up can."""

from pathlib import Path
from typing import Any

import click

from gateway.callers import ANYONE
from gateway.cli.wiring import config_option, json_option, run_with
from gateway.strict_json import Json


@click.command()
@config_option
@json_option
@click.option("--settle", "settle_id", metavar="ID", help="Settle this one, as you found it at the provider.")
@click.option("--applied", "record", metavar="NATIVE_ID", help="It was applied, and this is the record.")
@click.option("--not-applied", is_flag=True, help="It was not applied: the caller's key is free again.")
def outcomes(
    config_path: Path | None, as_json: bool, settle_id: str | None, record: str | None, not_applied: bool
) -> None:
    """List writes whose outcome is or was unknown, or settle one of them."""
    from gateway.cli import output
    from gateway.outcomes import listed, settle

    if settle_id is not None and (record is None) != not_applied:
        raise click.UsageError("--settle needs one of --applied NATIVE_ID and --not-applied")
    if settle_id is None and (record is not None or not_applied):
        raise click.UsageError("say with --settle ID which outcome is meant")

    async def work(gateway: Any) -> list[dict[str, Json]]:
        if settle_id is None:
            found, cursor = await listed(gateway, ANYONE)
            while cursor is not None:
                more, cursor = await listed(gateway, ANYONE, cursor=cursor)
                found += more
            return found
        return [await settle(gateway, settle_id, applied=not not_applied, record=record)]

    told = run_with(config_path, [], as_json, work)
    if as_json:
        output.as_json({"data": told, "meta": {}})
        return
    output.table(
        ("id", "connection", "operation", "outcome", "settled by", "opportunity", "caller", "since"),
        [(one["id"], one["connection"], one["operation"], one["outcome"], one["settled_by"], one["opportunity"],
          one["caller"], one["since"]) for one in told],
    )  # fmt: skip


COMMANDS = (outcomes,)
