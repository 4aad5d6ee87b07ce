"""GetRaze's field table, documented dialect: one flat record, the lead and the opportunity in one.

The lead's full name is both the opportunity's `name` and its one contact's. Source: the vendor's reference pages.
"""

from collections.abc import Mapping

from gateway.codecs import currency, decimal_number, instant, text
from gateway.fields import Table, absent, const, first_of, row, single
from gateway.statuses import is_open_word, place_in, status_of_word

STATUSES = ("new", "contacted", "qualified", "proposal", "negotiation", "won", "lost")
SOURCES = ("linkedin", "google_maps", "list", "paid_traffic", "other")
STATUS_OF_WORD = {word: word if word in ("won", "lost") else "open" for word in STATUSES}

_ONE_CONTACT = "GetRaze holds one contact, with one e-mail and one phone"
_FIRST_IS_ALL = "GetRaze keeps one, which is the main one"


def documented(stages: Mapping[str, str]) -> Table:
    """The table of the documented dialect; `stages` maps status words that the account has added."""
    status, status_source = status_of_word(STATUS_OF_WORD, stages)
    at = instant()
    return Table(
        row("native_id", "/id", text),
        row("name", "/name", text, write="/name", clear=False),
        row("description", "/notes", text, write="/notes"),
        row("status", "/status", status, default="unknown", follows="stage.id"),
        row("status_source", "/status", status_source, default=None),
        row("stage.id", "/status", text, write={"create": "/status", "move": "/status"}, clear=False),
        row("stage.name", "/status", text, follows="id"),
        row("stage.order", "/status", place_in(STATUSES)),
        row("stage.is_open", "/status", is_open_word(STATUS_OF_WORD, stages)),
        absent("pipeline", "GetRaze has one pipeline and does not name it"),
        row("amount.value", "/deal_value", decimal_number, write="/deal_value"),
        row("amount.currency", "/deal_currency", currency, write="/deal_currency", clear=False),
        absent("probability", "GetRaze has no probability"),
        absent("company.id", "GetRaze keeps the company as a name only"),
        row("company.name", "/company", text, write="/company"),
        row("owner.id", first_of("/responsible_user/id", "/responsible_user_id"), text, write="/responsible_user_id"),
        row("owner.name", "/responsible_user/name", text),
        absent("owner.email", "GetRaze does not tell the user's e-mail"),
        absent("owner.avatar_url", "GetRaze has no pictures of users"),
        absent("owner.deactivated_at", "GetRaze does not tell whether a user is deactivated"),
        single(
            "contacts",
            absent("id", "GetRaze's one contact has no id of its own"),
            row("name", "/name", text, mirrors="name",
                note="GetRaze has one name for contact and opportunity: write the opportunity's `name`"),
            absent("first_name", "GetRaze keeps the whole name only"),
            absent("middle_name", "GetRaze keeps the whole name only"),
            absent("last_name", "GetRaze keeps the whole name only"),
            absent("second_last_name", "GetRaze keeps the whole name only"),
            row("title", "/position", text, write="/position"),
            absent("department", "GetRaze has no department"),
            absent("company.id", "GetRaze keeps the company as a name only"),
            row("company.name", "/company", text, mirrors="company.name",
                note="GetRaze has one company for contact and opportunity: write the opportunity's `company`"),
            absent("company.logo_url", "GetRaze has no logos"),
            single(
                "emails",
                row("address", "/email", text, write="/email"),
                const("purpose", None, "GetRaze does not tell an address's purpose"),
                const("primary", True, _FIRST_IS_ALL),
                note=_ONE_CONTACT,
            ),
            single(
                "phones",
                row("number", "/phone", text, write="/phone"),
                const("purpose", None, "GetRaze does not tell a number's purpose"),
                const("primary", True, _FIRST_IS_ALL),
                note=_ONE_CONTACT,
            ),
            row("linkedin_url", "/linkedin_url", text, write={"create": "/linkedin_url"}),
            absent("avatar_url", "GetRaze has no pictures of contacts"),
            note=_ONE_CONTACT,
        ),
        row("source", "/source", text, write={"create": "/source"}),
        row("campaign.id", first_of("/campaign/id", "/campaign_id"), text),
        row("campaign.name", "/campaign/name", text),
        absent("expected_close", "GetRaze documents no expected closing date"),
        row("won_at", "/won_at", at),
        row("lost_at", "/lost_at", at),
        absent("next_task", "GetRaze tells no tasks with an opportunity"),
        absent("custom_fields", "GetRaze documents no custom fields"),
        row("created_at", "/created_at", at),
        row("updated_at", "/updated_at", at),
    )  # fmt: skip
