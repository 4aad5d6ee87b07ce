"""GetRaze's field table as its server really answers: contacts apart from opportunities, money and times as text.

Source: what the vendor's own server is seen to do. Of what is written it takes less than its pages say: the deal's value,
its currency and its status are ignored without a word there, so they are not sent and the caller is told.
"""

from collections.abc import Mapping

from gateway.codecs import MISSING, Codec, Unreadable, anything, currency, day, decimal_text, instant, percent, text
from gateway.fields import Table, absent, const, entries, row, single
from gateway.strict_json import Json

KNOWN_BESIDE = (
    "/account_id", "/score", "/sent_at", "/accepted_at", "/qualified_at", "/loss_notes", "/contact_location", "/comments/*",
    "/stage_change",
)  # fmt: skip
"""Members that the server is known to send and that have no canonical field."""

_ONE_CONTACT = "GetRaze holds one contact, with one e-mail and one phone"
_FIRST_IS_ALL = "GetRaze keeps one, which is the main one"
_NOT_TAKEN = "GetRaze's server ignores a deal's value and currency: they are set in its own pages only"


def _mapped(stages: Mapping[str, str], id_: Json, name: Json) -> str | None:
    for key in (id_, name):
        if isinstance(key, str) and key in stages:
            return stages[key]
    return None


def _outcome(stages: Mapping[str, str], names: Mapping[str, str]) -> tuple[Codec, Codec]:
    """(status, status_source) from won_at, lost_at, the stage's id and its name.

    The server sets a time when the new stage is named won or lost, so a time tells the status, and a stage that is known by
    a name that is neither means open. Two times at once tell nothing: only the stage map can.
    """

    def read(won_at: Json, lost_at: Json, id_: Json, name: Json) -> tuple[str, str] | None:
        told = [word for word, at in (("won", won_at), ("lost", lost_at)) if isinstance(at, str)]
        if len(told) == 1:
            return told[0], "inferred"
        mapped = _mapped(stages, id_, name if name is not MISSING else names.get(id_) if isinstance(id_, str) else None)
        if mapped is not None:
            return mapped, "stage_map"
        called = name if isinstance(name, str) else names.get(id_) if isinstance(id_, str) else None
        if not told and won_at is None and lost_at is None and called is not None and called not in ("won", "lost"):
            return "open", "inferred"
        return None

    def status(*told: Json) -> Json:
        found = read(*told)
        if found is not None:
            return found[0]
        for place, at in enumerate(told[:2]):
            if at is not None and at is not MISSING and not isinstance(at, str):
                raise Unreadable("wrong_type", "expected a date and time", which=place)
        if all(isinstance(at, str) for at in told[:2]):
            raise Unreadable("invalid", "both won_at and lost_at are set; `stages:` can say what the stage means")
        if told[3] is not MISSING and not isinstance(told[3], str):
            raise Unreadable("wrong_type", "without the stage's name nothing tells what it means", which=3)
        return "unknown"

    def source(*told: Json) -> Json:
        found = read(*told)
        return found[1] if found is not None else None

    return (
        Codec("status_of_outcome", "won or lost by its time; else the stage map; else open when the stage is known to be "
              "neither", status, native=False),
        Codec("status_source_of_outcome", "inferred from times or the stage's name, or stage_map", source, native=False),
    )  # fmt: skip


def _stage_name(names: Mapping[str, str]) -> Codec:
    def decode(name: Json, id_: Json) -> Json:
        if name is not MISSING:
            return text.decode(name) if name is not None else None
        return names.get(id_, MISSING) if isinstance(id_, str) else None if id_ is None else MISSING

    return Codec("stage_name", "the stage's name where the answer tells it, or as others told it", decode, text.encode)


def _is_open(stages: Mapping[str, str], names: Mapping[str, str]) -> Codec:
    def decode(id_: Json, name: Json) -> Json:
        if id_ is MISSING and name is MISSING:
            return MISSING
        mapped = _mapped(stages, id_, name if name is not MISSING else names.get(id_) if isinstance(id_, str) else None)
        return None if mapped is None or mapped == "unknown" else mapped == "open"

    return Codec("is_open_by_map", "by the stage map; null without it", decode, native=False)


def served(stages: Mapping[str, str], names: Mapping[str, str]) -> Table:
    """The table of the served dialect; `names` are the names of stages, by id, that earlier answers told."""
    outcome = ("/won_at", "/lost_at", "/stage_id", "/stage_name")
    status, status_source = _outcome(stages, names)
    at = instant()
    return Table(
        row("native_id", "/id", text),
        row("name", "/title", text, write="/name", clear=False),
        row("description", "/notes", text, write="/notes"),
        row("status", outcome, status, default="unknown", optional=True, follows="stage.id"),
        row("status_source", outcome, status_source, default=None, optional=True),
        row("stage.id", "/stage_id", text, write={"create": "/stage_id", "move": "/stage_id"}, clear=False),
        row("stage.name", ("/stage_name", "/stage_id"), _stage_name(names), optional=True, follows="id"),
        absent("stage.order", "GetRaze's server does not tell a stage's place"),
        row("stage.is_open", ("/stage_id", "/stage_name"), _is_open(stages, names), optional=True),
        row("pipeline.id", "/pipeline_id", text),
        row("pipeline.name", "/pipeline_name", text, optional=True),
        row("amount.value", "/value", decimal_text, note=_NOT_TAKEN),
        row("amount.currency", "/currency", currency, note=_NOT_TAKEN),
        row("probability", "/probability", percent),
        absent("company.id", "GetRaze keeps the company as a name only"),
        row("company.name", "/contact_company", text, write="/company"),
        row("owner.id", "/owner_user_id", text, write="/owner_user_id"),
        row("owner.name", "/owner_user_name", text),
        row("owner.email", "/owner_user_email", text),
        absent("owner.avatar_url", "GetRaze has no pictures of users"),
        absent("owner.deactivated_at", "GetRaze does not tell whether a user is deactivated"),
        single(
            "contacts",
            row("id", "/contact_id", text, note="GetRaze links a contact by its e-mail, not by an id"),
            row("name", "/contact_name", text, mirrors="name",
                note="GetRaze takes one name for contact and opportunity: write the opportunity's `name`"),
            absent("first_name", "GetRaze keeps the whole name only"),
            absent("middle_name", "GetRaze keeps the whole name only"),
            absent("last_name", "GetRaze keeps the whole name only"),
            absent("second_last_name", "GetRaze keeps the whole name only"),
            row("title", "/contact_title", text, write="/title"),
            absent("department", "GetRaze has no department"),
            absent("company.id", "GetRaze keeps the company as a name only"),
            row("company.name", "/contact_company", text, mirrors="company.name",
                note="GetRaze has one company for contact and opportunity: write the opportunity's `company`"),
            absent("company.logo_url", "GetRaze has no logos"),
            single(
                "emails",
                row("address", "/contact_email", text, write="/email"),
                const("purpose", None, "GetRaze does not tell an address's purpose"),
                const("primary", True, _FIRST_IS_ALL),
                note=_ONE_CONTACT,
            ),
            single(
                "phones",
                row("number", "/contact_phone", text, write="/phone"),
                const("purpose", None, "GetRaze does not tell a number's purpose"),
                const("primary", True, _FIRST_IS_ALL),
                note=_ONE_CONTACT,
            ),
            row("linkedin_url", "/contact_profile_url", text, write="/profile_url", optional=True),
            row("avatar_url", "/contact_profile_picture", text, optional=True,
                note="GetRaze's server takes no picture of a contact"),
            note=_ONE_CONTACT,
        ),
        row("source", "/source", text, write={"create": "/source"}),
        row("campaign.id", "/campaign_id", text),
        row("campaign.name", "/campaign_name", text),
        row("expected_close.on", "/expected_close_date", day,
            note="GetRaze's server takes no expected closing date from outside"),
        const("expected_close.at", None, "GetRaze keeps a day, not an instant"),
        row("won_at", "/won_at", at),
        row("lost_at", "/lost_at", at),
        absent("next_task", "GetRaze tells no tasks with an opportunity"),
        entries(
            "custom_fields", "/custom_fields",
            row("id", "/key", text),
            absent("label", "GetRaze tells a custom field's key only"),
            absent("type", "GetRaze does not tell a custom field's type"),
            row("value", "/value", anything),
            absent("ai", "GetRaze's custom fields are filled by people"),
            optional=True, note="GetRaze's server takes no custom fields from outside",
        ),
        row("created_at", "/created_at", at),
        row("updated_at", "/updated_at", at),
        also=KNOWN_BESIDE,
    )  # fmt: skip
