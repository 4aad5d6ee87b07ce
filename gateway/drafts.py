"""What a caller writes: drafts and patches, closed models that refuse what is unknown, read-only or contradictory."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic.json_schema import WithJsonSchema

from gateway.codecs import FRACTION_DIGITS, WHOLE_DIGITS, day_string, decimal_string, exact_instant
from gateway.errors import FieldError, Problem
from gateway.opportunity import Opportunity
from gateway.strict_json import Json


def _money(value: object) -> str:
    if isinstance(value, bool) or value is None:
        raise ValueError("expected a decimal number, as a string or a number")
    try:
        return decimal_string(value)
    except ValueError as error:
        raise ValueError(f'expected a decimal number such as "50000.00": {error}') from None


def _writable_status(value: str) -> str:
    if value not in ("won", "lost"):
        raise ValueError("only won or lost can be written; to open or close an opportunity write a `stage`")
    return value


_DECIMAL = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,6})?$"
Money = Annotated[
    str,
    BeforeValidator(_money),
    WithJsonSchema({
        "anyOf": [{"type": "string", "pattern": _DECIMAL}, {"type": "number"}],
        "description": f"A decimal, as a string or a number; at most {WHOLE_DIGITS} digits before and {FRACTION_DIGITS} "
        "after the point.",
    }),
]  # fmt: skip
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="The currency's code, three capital letters.")]
WriteInstant = Annotated[str, AfterValidator(exact_instant), WithJsonSchema({
    "type": "string", "format": "date-time", "description": "An instant with its offset, RFC 3339."})]  # fmt: skip
WriteDay = Annotated[str, AfterValidator(day_string), WithJsonSchema({
    "type": "string", "format": "date", "description": "A calendar date."})]  # fmt: skip
WriteStatus = Annotated[str, AfterValidator(_writable_status), WithJsonSchema({
    "type": "string", "enum": ["won", "lost"],
    "description": "Moves to the stage that means won or lost. To open or close otherwise write a `stage`."})]  # fmt: skip
Name = Annotated[str, Field(min_length=1, description="What the opportunity is called; at least one character.")]
Id = Annotated[str, Field(min_length=1, description="The provider's id of it.")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class StageInput(_Input):
    """The stage to move to, by id or by name."""

    id: Id = Field(default="", description="The provider's id of the stage.")
    name: str = Field(default="", min_length=1, description="The stage's name.")

    @model_validator(mode="after")
    def _told(self) -> "StageInput":
        if not self.model_fields_set:
            raise ValueError("expected an `id` or a `name`")
        return self


class CompanyInput(_Input):
    """The customer, by id or by name."""

    id: str | None = Field(default=None, description="The provider's id of the company.")
    name: str | None = Field(default=None, description="The company's name.")


class OwnerInput(_Input):
    """The responsible user, by id."""

    id: str | None = Field(description="The provider's id of the user; null removes the owner.")


class ContactCompanyInput(CompanyInput):
    """The company that a contact works for."""

    logo_url: str | None = Field(default=None, description="Where the company's logo lies.")


class EmailInput(_Input):
    """An e-mail address of a contact."""

    address: str | None = Field(default=None, description="The address.")
    purpose: str | None = Field(default=None, description="What it is for.")
    primary: bool | None = Field(default=None, description="Whether it is the main one.")


class PhoneInput(_Input):
    """A telephone number of a contact."""

    number: str | None = Field(default=None, description="The number.")
    purpose: str | None = Field(default=None, description="What it is for.")
    primary: bool | None = Field(default=None, description="Whether it is the main one.")


class ContactInput(_Input):
    """A person at the customer; what an element leaves out stays as it is at a provider with a single contact."""

    id: str | None = Field(default=None, description="The provider's id of the contact.")
    name: str | None = Field(default=None, description="The whole name.")
    first_name: str | None = Field(default=None, description="First name.")
    middle_name: str | None = Field(default=None, description="Middle name.")
    last_name: str | None = Field(default=None, description="Last name.")
    second_last_name: str | None = Field(default=None, description="Second last name.")
    title: str | None = Field(default=None, description="Job title.")
    department: str | None = Field(default=None, description="Department.")
    company: ContactCompanyInput | None = Field(default=None, description="Where the person works.")
    emails: list[EmailInput] | None = Field(default=None, description="E-mail addresses, the whole list.")
    phones: list[PhoneInput] | None = Field(default=None, description="Telephone numbers, the whole list.")
    linkedin_url: str | None = Field(default=None, description="The person's LinkedIn page.")
    avatar_url: str | None = Field(default=None, description="Where a picture of the person lies.")


class ExpectedCloseInput(_Input):
    """When the deal is expected to close: a day, an instant, or both where they agree."""

    on: WriteDay | None = Field(
        default=None, description="The day; alone it means midnight UTC to a provider of instants."
    )
    at: WriteInstant | None = Field(default=None, description="The instant.")

    @model_validator(mode="after")
    def _agree(self) -> "ExpectedCloseInput":
        if {"on", "at"} <= self.model_fields_set and self.on != (self.at and self.at[:10]):
            raise ValueError("`on` is not the day in UTC of `at`")
        return self


class AmountDraft(_Input):
    """What the deal is worth: value and currency, both."""

    value: Money
    currency: Currency


class AmountPatch(_Input):
    """A new value, a new currency, or both; what is left out stays as it is stored."""

    value: Money | None = None
    currency: Currency = ""


class _Writable(_Input):
    description: str | None = Field(default=None, description="Notes.")
    status: WriteStatus = ""
    stage: StageInput = Field(default=StageInput.model_construct(), description="The stage, by id or name.")
    company: CompanyInput | None = Field(default=None, description="The customer, by id or name.")
    owner: OwnerInput | None = Field(default=None, description="The responsible user, by id; null removes it.")
    contacts: list[ContactInput] | None = Field(default=None, description="The people at the customer, the whole list.")
    source: str | None = Field(default=None, description="Where the opportunity came from, in the provider's words.")
    expected_close: ExpectedCloseInput | None = Field(default=None, description="When it is expected to close.")


class Draft(_Writable):
    """A new opportunity. What the provider cannot hold is named in the ledger of the answer, never dropped in silence."""

    name: Name
    amount: AmountDraft | None = Field(default=None, description="What the deal is worth.")


class Patch(_Writable):
    """A JSON merge patch (RFC 7396): what is not there is not touched, null clears."""

    name: Name = ""
    amount: AmountPatch | None = Field(default=None, description="What the deal is worth.")


def validated(model: type[Draft] | type[Patch], body: Json) -> dict[str, Json]:
    """What the caller wrote and nothing else, in canonical spelling, as plain values.

    Raises `Problem("invalid-opportunity")` naming every wrong member; the input itself is never repeated.
    """
    if not isinstance(body, dict):
        raise Problem("invalid-opportunity", "The body must be a JSON object.", outcome="not_applied")
    try:
        parsed = model.model_validate(body)
    except ValidationError as error:
        errors = [
            FieldError(path_of(item["loc"]), _message(item["type"], item["loc"], item["msg"]))
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise Problem(
            "invalid-opportunity",
            "The body is not an opportunity as this API takes it: see `errors`.",
            errors=errors,
            outcome="not_applied",
        ) from None
    return parsed.model_dump(exclude_unset=True)


def path_of(loc: tuple[int | str, ...]) -> str:
    """A place in what a caller wrote, as all problems and ledgers spell it: `contacts[0].title`."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part[:60]}" if path else part[:60]
    return path


_READABLE = frozenset(Opportunity.__annotations__)


def _message(type_: str, loc: tuple[int | str, ...], message: str) -> str:
    if type_ == "extra_forbidden":
        if len(loc) == 1 and loc[0] in _READABLE:
            return "is read-only"
        if len(loc) > 1:
            return "is read-only or unknown here"
        return "is not a member of an opportunity"
    if type_ == "missing":
        return "is required"
    if type_ in ("model_type", "model_attributes_type"):
        return "should be an object"
    return message.removeprefix("Value error, ").replace("Input should", "should")
