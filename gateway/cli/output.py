"""What the command line prints: tables for people, JSON for programs; nothing but data on standard output."""

from collections.abc import Mapping, Sequence

import click

from gateway.errors import Problem
from gateway.ledger import leaves_of
from gateway.strict_json import Json, dumps

CELL = 60


def as_json(value: Json) -> None:
    """One JSON document on standard output."""
    click.echo(dumps(value).decode())


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their cells, cut at 60 characters."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[place]) for line in [list(headings), *cells]) for place in range(len(headings))]
    for line in [list(headings), ["-" * width for width in widths], *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else dumps(value).decode()
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def record(opportunity: Mapping[str, Json]) -> None:
    """One opportunity, a line a field that holds something."""
    table(("field", "value"), [(path, value) for path, value in leaves_of(opportunity) if value not in (None, [], {})])


def records(opportunities: Sequence[Mapping[str, Json]]) -> None:
    """Opportunities, a line each."""
    rows = [
        (one["id"], one.get("name"), one["status"], (one.get("stage") or {}).get("name"), _amount(one),
         (one.get("owner") or {}).get("name") or (one.get("owner") or {}).get("id"))
        for one in opportunities
    ]  # fmt: skip
    table(("id", "name", "status", "stage", "amount", "owner"), rows)


def _amount(opportunity: Mapping[str, Json]) -> str | None:
    amount = opportunity.get("amount") or {}
    parts = [part for part in (amount.get("value"), amount.get("currency")) if part]
    return " ".join(parts) or None


def notes(meta: Mapping[str, Json]) -> None:
    """What an answer tells beside its data, on standard error: the ledger, issues, and records that could not be read."""
    for entry in meta.get("not_applied", ()):
        click.echo(f"not applied: {entry['field']}: {entry['reason']}: {entry['detail']}", err=True)
    if meta.get("read_back") is False:
        click.echo("note: the write went through, but the record could not be read again", err=True)
    sort = meta.get("filters", {}).get("sort", {})
    if sort.get("exhausted") is False:
        click.echo(f"note: the order holds among {sort['scanned']} records only, and there are more of them", err=True)
    for issue in meta.get("issues", ()):
        click.echo(f"issue: {issue['field']}: {issue['reason']} at {issue['path']}: {issue['detail']}", err=True)
    for error in meta.get("errors", ()):
        click.echo(f"unreadable: record {error['index']}: {error['problem']['detail']}", err=True)


def problem(failure: Problem, json: bool) -> None:
    """A problem on standard error."""
    if json:
        click.echo(dumps(failure.body()).decode(), err=True)
        return
    click.echo(f"error: {failure.code}: {failure.detail}", err=True)
    for error in failure.errors:
        click.echo(f"  {error.field}: {error.message}", err=True)
    if failure.provider is not None:
        said = ", ".join(part for part in (failure.provider.code, failure.provider.message) if part)
        click.echo(f"  the provider answered {failure.provider.status}{': ' + said if said else ''}", err=True)
    if failure.outcome is not None:
        click.echo(f"  outcome of the write: {failure.outcome}", err=True)
