"""The canonical opportunity: what a caller reads, whichever provider stands behind.

Typed dicts, because a key that is missing (the provider did not say) and a null (the provider said that it is empty, or has
no such thing) are different answers, and a dict can hold both. What a caller writes is in `drafts`.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

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
