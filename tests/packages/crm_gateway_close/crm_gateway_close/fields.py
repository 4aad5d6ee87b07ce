"""Close's field table: one flat record, ids beside names. Source: the vendor's reference of opportunities."""

from gateway.codecs import currency, instant, text
from gateway.fields import Table, absent, row, single, unmapped

from .codecs import day, hundredths, is_open, probability, status, status_source

ASKED = (
    "id", "note", "status_id", "status_label", "status_type", "pipeline_id", "pipeline_name", "value", "value_currency",
    "value_period", "confidence", "lead_id", "lead_name", "user_id", "user_name", "contact_id", "contact_name", "date_won",
    "date_lost", "date_created", "date_updated",
)  # fmt: skip
"""The members that a search is asked for: without being asked it tells ids alone."""

_ALSO = (
    "/value_period", "/value_formatted", "/expected_value", "/annualized_value", "/annualized_expected_value",
    "/status_display_name", "/organization_id", "/created_by", "/created_by_name", "/updated_by", "/updated_by_name",
    "/attachments", "/integration_links",
)  # fmt: skip
_BY_ID = "Close takes a contact by `id` only, and one"


def opportunity() -> Table:
    """The table. It needs no stage map: the type of a status says what it means."""
    at = instant()
    return Table(
        row("native_id", "/id", text),
        row("name", "/note", text, write="/note", clear=False,
            note="an opportunity has no name at Close; its one text, the note, is what it is called by"),
        absent("description", "Close has one text, the note, which is served as the name"),
        row("status", "/status_type", status, default="unknown", follows="stage.id"),
        row("status_source", "/status_type", status_source, default=None),
        row("stage.id", "/status_id", text, write="/status_id", clear=False),
        row("stage.name", "/status_label", text, follows="id"),
        absent("stage.order", "Close does not number its statuses"),
        row("stage.is_open", "/status_type", is_open),
        row("pipeline.id", "/pipeline_id", text),
        row("pipeline.name", "/pipeline_name", text),
        row("amount.value", "/value", hundredths, write="/value"),
        row("amount.currency", "/value_currency", currency, write="/value_currency", clear=False),
        row("probability", "/confidence", probability),
        row("company.id", "/lead_id", text, write={"create": "/lead_id"}, clear=False),
        row("company.name", "/lead_name", text, follows="id", note="Close takes a company, its lead, by `id` only"),
        row("owner.id", "/user_id", text, write="/user_id"),
        row("owner.name", "/user_name", text),
        absent("owner.email", "Close does not tell the user's e-mail with an opportunity"),
        absent("owner.avatar_url", "Close does not tell the user's picture with an opportunity"),
        absent("owner.deactivated_at", "Close does not tell whether a user is deactivated"),
        single(
            "contacts",
            row("id", "/contact_id", text, write="/contact_id"),
            row("name", "/contact_name", text, follows="id", note=_BY_ID),
            absent("first_name", "Close keeps the whole name only"),
            absent("middle_name", "Close keeps the whole name only"),
            absent("last_name", "Close keeps the whole name only"),
            absent("second_last_name", "Close keeps the whole name only"),
            absent("title", "Close does not tell the contact's title with an opportunity"),
            absent("department", "Close has no department"),
            absent("company", "Close's contact belongs to the opportunity's lead"),
            absent("emails", "Close does not tell the contact's addresses with an opportunity"),
            absent("phones", "Close does not tell the contact's numbers with an opportunity"),
            absent("linkedin_url", "Close does not tell the contact's pages with an opportunity"),
            absent("avatar_url", "Close has no pictures of contacts"),
            note=_BY_ID,
        ),
        absent("source", "Close has no source of an opportunity"),
        absent("campaign", "Close has no campaigns with an opportunity"),
        row("expected_close.on", "/date_won", day, write="/date_won",
            note="the day on which it is expected to be won, or was won"),
        absent("expected_close.at", "Close keeps a day"),
        absent("won_at", "Close keeps a day, `date_won`, which is served as `expected_close.on`"),
        row("lost_at", "/date_lost", at),
        absent("next_task", "Close tells no tasks with an opportunity"),
        unmapped("custom_fields", "Close spells each as a member of its own, `custom.ID`: see `extensions`"),
        row("created_at", "/date_created", at),
        row("updated_at", "/date_updated", at),
        beside={"/__object_type": "opportunity"},
        also=_ALSO,
    )  # fmt: skip
