"""Spott's field table: every member is an object that repeats its own name around the value.

`viewType` beside a value is form: expected, never required. What is read and what is written differ in shape
(`/stage/stage/id` is read, `/stageId` written). Source: the vendor's reference pages, newest generation first.
"""

import re
from collections.abc import Mapping

from gateway.codecs import (
    MISSING,
    Codec,
    Unreadable,
    day_of,
    decimal_string,
    flag,
    instant,
    joined,
    kind,
    text,
    whole_number,
)
from gateway.fields import Row, Table, absent, first_of, items, row, unmapped
from gateway.statuses import status_of_open_flag
from gateway.strict_json import Json, dumps

WRAPPED = ("name", "description", "stage", "company", "owner", "closeDate", "createdAt", "clientTeam", "nextTaskDue")
BESIDE = {f"/{member}/viewType": f"opportunity{member[0].upper()}{member[1:]}" for member in WRAPPED}


def inside(member: str, rest: str = "") -> str:
    """The place of a member's value within its wrapper, which repeats the member's name."""
    return f"/{member}/{member}{rest}"


def _custom_type(value: Json) -> Json:
    if type(value) is not dict:
        return None
    word = value.get("viewType")
    if word == "customText" and len(value) == 2 and type(value.get("text")) is str:
        return "text"
    return word if type(word) is str else None


def _custom_value(value: Json) -> Json:
    if type(value) is dict and len(value) == 2 and value.get("viewType") == "customText":
        text = value.get("text")
        if type(text) is str:
            return text
    return value


custom_type = Codec("custom_type", "`text` for customText; else the value's viewType word, or null", _custom_type)


def _as_custom(value: Json) -> Json:
    """Text goes out as customText, the one form that is documented, also where it was read as a bare string."""
    return {"viewType": "customText", "text": value} if isinstance(value, str) else value


custom_value = Codec(
    "custom_value", "the text of a customText; any other value whole, as it came", _custom_value, _as_custom
)

_MILLISECONDS = re.compile(r"(\.\d{3})\d+Z\Z")


def _utc_z(value: str) -> str:
    """Spott takes `Z` with no fraction or with milliseconds; more digits are cut, which the ledger then shows."""
    return _MILLISECONDS.sub(r"\1Z", value)


_read_instant = instant()
utc_instant = Codec("utc_instant", "a date and time, read as an instant in UTC; written with a literal Z",
                    _read_instant.decode, _utc_z)  # fmt: skip


def _attribute(attributes: Json, definition: str) -> tuple[int, Json]:
    """(place, value without its viewType) of the custom attribute with this definition; null without one.

    Several are one when they say the same; which of them holds when they differ is not guessed.
    """
    if attributes is None:
        return 0, None
    if not isinstance(attributes, list):
        raise Unreadable("wrong_type", f"expected a list, got {kind(attributes)}")
    found, doubtful = [], None
    for place, attribute in enumerate(attributes):
        told = attribute.get("attributeDefinitionId") if isinstance(attribute, dict) else None
        if told == definition:
            value = attribute.get("value")
            if isinstance(value, dict):
                value = {name: part for name, part in value.items() if name != "viewType"}
            found.append((place, value))
        elif not isinstance(told, str):
            doubtful = place
    for place, value in found[1:]:
        if dumps(value) != dumps(found[0][1]):
            raise Unreadable(
                "invalid", "another attribute of the same definition says otherwise", below=f"/{place}/value"
            )
    if found:
        return found[0]
    if doubtful is not None:  # it may be the very one
        raise Unreadable("wrong_type", "an attribute whose definition cannot be read", below=f"/{doubtful}")
    return 0, None


def amount_in(definition: str) -> Codec:
    """The number that one custom attribute holds: itself, or the one number or decimal text inside it."""

    def decode(attributes: Json) -> Json:
        if attributes is MISSING:
            return MISSING
        place, value = _attribute(attributes, definition)
        if value is None:
            return None
        told = [value]
        if isinstance(value, dict):
            told = [part for part in value.values() if _is_decimal(part)] or list(value.values())
        if len(told) == 1:
            if told[0] is None:
                return None
            if _is_decimal(told[0]):
                return decimal_string(told[0])
        raise Unreadable("invalid", f"expected one decimal number, got {kind(value)}", below=f"/{place}/value")

    return Codec("amount_in", f"the number in the custom attribute {definition}", decode)


def _is_decimal(value: Json) -> bool:
    try:
        decimal_string(value)
    except ValueError:
        return False
    return True


def currency_beside(definition: str, code: str) -> Codec:
    """The configured currency wherever that attribute holds a value; another one told beside it is not guessed away."""

    def decode(attributes: Json) -> Json:
        if attributes is MISSING:
            return MISSING
        place, value = _attribute(attributes, definition)
        if value is None:
            return None
        told = value.get("currency") if isinstance(value, dict) else None
        if told is not None and told != code:
            raise Unreadable(
                "invalid", "the attribute tells another currency than the configuration", below=f"/{place}/value"
            )
        return None if isinstance(value, dict) and all(part is None for part in value.values()) else code

    return Codec("currency_beside", f"{code}, as configured", decode, native=False)


def _amount(attribute: tuple[str, str] | None) -> tuple[Row, ...]:
    if attribute is None:
        return (
            unmapped(
                "amount",
                "Spott has no amount; `settings: amount_attribute` can name the custom attribute that it is read from, but "
                "Spott's custom attributes cannot be written",
            ),
        )
    definition, code = attribute
    note = "Spott's custom attributes cannot be written"
    return (
        row("amount.value", ("/customAttributes",), amount_in(definition), aside=True, optional=True, note=note),
        row(
            "amount.currency",
            ("/customAttributes",),
            currency_beside(definition, code),
            aside=True,
            optional=True,
            note=note,
        ),
    )


def spott(stages: Mapping[str, str], amount_attribute: tuple[str, str] | None) -> Table:
    """The table; `amount_attribute` is (definition id, currency) of the custom attribute that holds the amount."""
    status, status_source = status_of_open_flag(stages)
    at = _read_instant
    target = inside("closeDate", "/target")
    stage_parts = (inside("stage", "/isOpen"), inside("stage", "/id"), inside("stage", "/name"))
    by_id = "Spott takes contacts by `id` only, as the whole list"
    return Table(
        row("native_id", "/id", text),
        row("name", inside("name"), text, write={"update": "/name"}, clear=False),
        row("description", inside("description"), text, write={"update": "/description"}),
        row("status", stage_parts, status, default="unknown", follows="stage.id"),
        row("status_source", stage_parts, status_source, default=None, optional=True),
        row("stage.id", inside("stage", "/id"), text, write={"update": "/stageId"}, clear=False),
        row("stage.name", inside("stage", "/name"), text, follows="id"),
        row("stage.order", inside("stage", "/order"), whole_number),
        row("stage.is_open", inside("stage", "/isOpen"), flag),
        absent("pipeline", "Spott has one pipeline and does not name it"),
        *_amount(amount_attribute),
        absent("probability", "Spott has no probability"),
        row("company.id", inside("company", "/id"), text, write={"update": "/companyId"}, clear=False),
        row("company.name", inside("company", "/name"), text, follows="id", note="Spott takes a company by `id` only"),
        row("owner.id", inside("owner", "/id"), text, write={"update": "/ownerId"}),
        row("owner.name", inside("owner", "/name"), text),
        absent("owner.email", "Spott does not tell the owner's e-mail with an opportunity"),
        row("owner.avatar_url", inside("owner", "/avatarUrl"), text, optional=True),
        row("owner.deactivated_at", inside("owner", "/deactivatedAt"), at, optional=True),
        items(
            "contacts", inside("clientTeam"),
            row("id", "/id", text, write={"update": "/id"}),
            row("name", ("/firstName", "/middleName", "/lastName", "/secondLastName"), joined, optional=True, note=by_id),
            row("first_name", "/firstName", text, note=by_id),
            row("middle_name", "/middleName", text, optional=True, note=by_id),
            row("last_name", "/lastName", text, note=by_id),
            row("second_last_name", "/secondLastName", text, optional=True, note=by_id),
            row("title", "/jobTitle", text, optional=True, note=by_id),
            row("department", "/department", text, optional=True, note=by_id),
            row("company.id", "/companyId", text, optional=True, note=by_id),
            row("company.name", "/companyName", text, optional=True, note=by_id),
            row("company.logo_url", "/companyLogoUrl", text, optional=True, note=by_id),
            items(
                "emails", "/emails",
                row("address", "/email", text),
                row("purpose", "/purpose", text, optional=True),
                row("primary", "/isPrimary", flag, optional=True),
                optional=True, note=by_id,
            ),
            items(
                "phones", "/phoneNumbers",
                row("number", "/phoneNumber", text),
                row("purpose", "/purpose", text, optional=True),
                row("primary", "/isPrimary", flag, optional=True),
                optional=True, note=by_id,
            ),
            absent("linkedin_url", "Spott tells no LinkedIn page with an opportunity"),
            row("avatar_url", "/avatarUrl", text, optional=True, note=by_id),
            write={"update": "/clientTeam"}, key="id", note=by_id,
        ),
        absent("source", "Spott has no lead source"),
        absent("campaign", "Spott has no campaigns"),
        row("expected_close.on", target, day_of(), follows="at"),
        row("expected_close.at", target, utc_instant, write={"update": "/closeDate/target"}),
        absent("won_at", "Spott does not tell when an opportunity was won"),
        absent("lost_at", "Spott does not tell when an opportunity was lost"),
        row("next_task.id", inside("nextTaskDue", "/id"), text, note="Spott's tasks are not written with an opportunity"),
        row("next_task.content", inside("nextTaskDue", "/content"), text),
        row("next_task.due_at", inside("nextTaskDue", "/dueDate"), at, optional=True),
        items(
            "custom_fields", "/customAttributes",
            row("id", "/attributeDefinitionId", text),
            row("label", "/label", text),
            row("type", "/value", custom_type, optional=True),
            row("value", "/value", custom_value),
            row("ai.filled", first_of("/isFilledByAI", "/filledByAI"), flag, optional=True),
            row("ai.overridden", "/aiOverridden", flag, optional=True),
            row("ai.ongoing", "/aiFillOngoing", flag, optional=True),
            note="Spott's custom attributes cannot be written",
        ),
        row("created_at", inside("createdAt"), at),
        absent("updated_at", "Spott does not tell when an opportunity last changed"),
        beside=BESIDE,
        also=("/clientTeam/clientTeam/*/candidateId", "/customAttributes/*/options", "/customAttributes/*/description"),
    )  # fmt: skip


__all__ = ["BESIDE", "spott"]
