"""The canonical opportunity: what a caller reads, drafts and patches, whichever provider stands behind.

Reading: `Opportunity` and its parts are typed dicts, because a key that is missing (the provider did not say) and a null
(the provider said that it is empty, or has no such thing) are different answers, and a dict can hold both.
Writing: `Draft` and `Patch` are closed models that refuse what is unknown, read-only or contradictory.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic.json_schema import WithJsonSchema
from typing_extensions import TypedDict

from gateway.codecs import FRACTION_DIGITS, WHOLE_DIGITS, day_string, decimal_string, instant_string
from gateway.errors import FieldError, Problem
from gateway.strict_json import Json

_CLOSED = ConfigDict(extra="forbid")

Status = Literal["open", "won", "lost", "closed", "unknown"]
StatusSource = Literal["native", "stage_map", "inferred"]

DecimalString = Annotated[str, Field(pattern=r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$", examples=["50000.00"])]
Instant = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$", examples=["2024-01-15T10:30:00Z"])
]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$", examples=["2024-01-15"])]


class StageRead(TypedDict):
    """The place in the provider's sales process."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id of the stage.")]]
    name: NotRequired[Annotated[str | None, Field(description="The stage's name as the provider shows it.")]]
    order: NotRequired[Annotated[int | None, Field(description="Its place in the process, as the provider counts.")]]
    is_open: NotRequired[Annotated[bool | None, Field(description="Whether an opportunity here is still open.")]]


class NamedRead(TypedDict):
    """A thing that the provider knows by id and name."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id of it.")]]
    name: NotRequired[Annotated[str | None, Field(description="Its name.")]]


class AmountRead(TypedDict):
    """An amount of money, exact to the digit that the provider sent."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    value: NotRequired[
        Annotated[DecimalString | None, Field(description="The value as a decimal string, never a float.")]
    ]
    currency: NotRequired[Annotated[str | None, Field(description="The currency's code, three capital letters.")]]


class OwnerRead(TypedDict):
    """The provider's user who is responsible."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id of the user.")]]
    name: NotRequired[Annotated[str | None, Field(description="The user's name.")]]
    email: NotRequired[Annotated[str | None, Field(description="The user's e-mail address.")]]
    avatar_url: NotRequired[Annotated[str | None, Field(description="Where a picture of the user lies.")]]
    deactivated_at: NotRequired[Annotated[Instant | None, Field(description="Since when the user is deactivated.")]]


class ContactCompanyRead(TypedDict):
    """The company that a contact works for."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id of the company.")]]
    name: NotRequired[Annotated[str | None, Field(description="The company's name.")]]
    logo_url: NotRequired[Annotated[str | None, Field(description="Where the company's logo lies.")]]


class EmailRead(TypedDict):
    """An e-mail address of a contact."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    address: NotRequired[Annotated[str | None, Field(description="The address.")]]
    purpose: NotRequired[Annotated[str | None, Field(description="What it is for, in the provider's words.")]]
    primary: NotRequired[Annotated[bool | None, Field(description="Whether it is the main one.")]]


class PhoneRead(TypedDict):
    """A telephone number of a contact."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    number: NotRequired[Annotated[str | None, Field(description="The number as the provider has it.")]]
    purpose: NotRequired[Annotated[str | None, Field(description="What it is for, in the provider's words.")]]
    primary: NotRequired[Annotated[bool | None, Field(description="Whether it is the main one.")]]


class ContactRead(TypedDict):
    """A person at the customer."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id; null where contacts have none.")]]
    name: NotRequired[
        Annotated[str | None, Field(description="The whole name, joined from its parts where only they come.")]
    ]
    first_name: NotRequired[Annotated[str | None, Field(description="First name.")]]
    middle_name: NotRequired[Annotated[str | None, Field(description="Middle name.")]]
    last_name: NotRequired[Annotated[str | None, Field(description="Last name.")]]
    second_last_name: NotRequired[Annotated[str | None, Field(description="Second last name.")]]
    title: NotRequired[Annotated[str | None, Field(description="Job title.")]]
    department: NotRequired[Annotated[str | None, Field(description="Department.")]]
    company: NotRequired[Annotated[ContactCompanyRead | None, Field(description="Where the person works.")]]
    emails: NotRequired[Annotated[list[EmailRead], Field(description="E-mail addresses.")]]
    phones: NotRequired[Annotated[list[PhoneRead], Field(description="Telephone numbers.")]]
    linkedin_url: NotRequired[Annotated[str | None, Field(description="The person's LinkedIn page.")]]
    avatar_url: NotRequired[Annotated[str | None, Field(description="Where a picture of the person lies.")]]


class ExpectedCloseRead(TypedDict):
    """When the deal is expected to close."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    on: NotRequired[Annotated[Day | None, Field(description="The day; of an instant, its day in UTC.")]]
    at: NotRequired[Annotated[Instant | None, Field(description="The instant, where the provider holds one.")]]


class NextTaskRead(TypedDict):
    """The next task that is due."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id of the task.")]]
    content: NotRequired[Annotated[str | None, Field(description="What is to be done.")]]
    due_at: NotRequired[Annotated[Instant | None, Field(description="When it is due.")]]


class AiRead(TypedDict):
    """What the provider's own automation has to do with a custom value."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    filled: NotRequired[Annotated[bool | None, Field(description="Whether it filled the value in.")]]
    overridden: NotRequired[Annotated[bool | None, Field(description="Whether a person overrode it.")]]
    ongoing: NotRequired[Annotated[bool | None, Field(description="Whether it is at work on it now.")]]


class CustomFieldRead(TypedDict):
    """A field that this account has added."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: NotRequired[Annotated[str | None, Field(description="The provider's id of the field's definition.")]]
    label: NotRequired[Annotated[str | None, Field(description="The field's label.")]]
    type: NotRequired[Annotated[str | None, Field(description="`text`, or the provider's word for any other type.")]]
    value: NotRequired[Annotated[Any, Field(description="The value; of a type that is not text, whole as it came.")]]
    ai: NotRequired[Annotated[AiRead | None, Field(description="What automation did with it, where that is told.")]]


class Opportunity(TypedDict):
    """A sales opportunity. A missing member: the provider did not say. A null: it is empty, or there is no such thing."""

    __pydantic_config__ = _CLOSED  # type: ignore[misc]  # pydantic reads it off a TypedDict
    id: Annotated[str, Field(description="`<connection>:<native id>`; good wherever an id is asked for.")]
    native_id: Annotated[str, Field(description="The provider's own id.")]
    connection: Annotated[str, Field(description="The connection that answered, a name of config.yaml.")]
    provider: Annotated[str, Field(description="The adapter behind the connection.")]
    complete: Annotated[bool, Field(description="Whether this comes from an operation that gives the whole record.")]
    name: NotRequired[Annotated[str, Field(description="What the opportunity is called.")]]
    description: NotRequired[Annotated[str | None, Field(description="Notes.")]]
    status: Annotated[Status, Field(description="How it stands; `closed` is neither known as won nor as lost.")]
    status_source: Annotated[
        StatusSource | None,
        Field(
            description="Whether the provider said it, the connection's stage map, or it follows from other members."
        ),
    ]
    stage: NotRequired[Annotated[StageRead | None, Field(description="The stage of the sales process.")]]
    pipeline: NotRequired[Annotated[NamedRead | None, Field(description="The sales process.")]]
    amount: NotRequired[Annotated[AmountRead | None, Field(description="What the deal is worth.")]]
    probability: NotRequired[Annotated[DecimalString | None, Field(description="Chance of winning, 0 to 1.")]]
    company: NotRequired[Annotated[NamedRead | None, Field(description="The customer.")]]
    owner: NotRequired[Annotated[OwnerRead | None, Field(description="The provider's user who is responsible.")]]
    contacts: NotRequired[Annotated[list[ContactRead], Field(description="The people at the customer.")]]
    source: NotRequired[
        Annotated[str | None, Field(description="Where the opportunity came from, in the provider's words.")]
    ]
    campaign: NotRequired[Annotated[NamedRead | None, Field(description="The campaign that it came from.")]]
    expected_close: NotRequired[Annotated[ExpectedCloseRead | None, Field(description="When it is expected to close.")]]
    won_at: NotRequired[Annotated[Instant | None, Field(description="When it was won.")]]
    lost_at: NotRequired[Annotated[Instant | None, Field(description="When it was lost.")]]
    next_task: NotRequired[Annotated[NextTaskRead | None, Field(description="The next task that is due.")]]
    custom_fields: NotRequired[
        Annotated[list[CustomFieldRead], Field(description="Fields that the account has added.")]
    ]
    created_at: NotRequired[Annotated[Instant, Field(description="When the provider stored it.")]]
    updated_at: NotRequired[Annotated[Instant | None, Field(description="When it last changed at the provider.")]]
    extensions: Annotated[
        dict[str, Any],
        Field(
            description="What the provider holds beyond the above: JSON Pointer in its record to the value, untouched."
        ),
    ]


# --- what a caller writes --------------------------------------------------------------------------------------------


def _money(value: object) -> str:
    if isinstance(value, bool) or value is None:
        raise ValueError("expected a decimal number, as a string or a number")
    try:
        return decimal_string(value)
    except ValueError as error:
        raise ValueError(f'expected a decimal number such as "50000.00": {error}') from None


def _instant(value: str) -> str:
    spelled, _ = instant_string(value, None)
    return spelled


def _writable_status(value: str) -> str:
    if value not in ("won", "lost"):
        raise ValueError("only won or lost can be written; to open or close an opportunity write a `stage`")
    return value


Money = Annotated[
    str,
    BeforeValidator(_money),
    WithJsonSchema({
        "anyOf": [{"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"}, {"type": "number"}],
        "description": f"A decimal, as a string or a number; at most {WHOLE_DIGITS} digits before and {FRACTION_DIGITS} "
        "after the point.",
    }),
]  # fmt: skip
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="The currency's code, three capital letters.")]
WriteInstant = Annotated[str, AfterValidator(_instant), WithJsonSchema({
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
            FieldError(_path(item["loc"]), _message(item["type"], item["loc"], item["msg"]))
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise Problem(
            "invalid-opportunity",
            "The body is not an opportunity as this API takes it: see `errors`.",
            errors=errors,
            outcome="not_applied",
        ) from None
    return parsed.model_dump(exclude_unset=True)


def _path(loc: tuple[int | str, ...]) -> str:
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
    return message.removeprefix("Value error, ").replace("Input should", "should")
