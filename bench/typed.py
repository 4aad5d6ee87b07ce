"""The translation as one writes it by hand for speed: msgspec with typed structures at both ends.

The yardstick of the gateway's own translation, which goes by tables and takes any record. It gives the same bytes for
right records. What it does not do: keep members that nobody foresaw, or go on when one value cannot be read.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

WORDS = ("new", "contacted", "qualified", "proposal", "negotiation", "won", "lost")


# --- what a caller gets


class Stage(Struct, gc=False):
    id: str
    name: str
    order: int | None
    is_open: bool | None


class Reference(Struct, gc=False):
    id: str | None
    name: str | None


class Amount(Struct, gc=False):
    value: str | None
    currency: str | None


class Owner(Struct, gc=False):
    id: str | None
    name: str | None
    email: str | None = None
    avatar_url: str | None = None
    deactivated_at: str | None = None


class ContactCompany(Struct, gc=False):
    id: str | None
    name: str | None
    logo_url: str | None = None


class Email(Struct, gc=False):
    address: str
    purpose: str | None = None
    primary: bool = True


class Phone(Struct, gc=False):
    number: str
    purpose: str | None = None
    primary: bool = True


class Contact(Struct, kw_only=True):
    id: str | None = None
    name: str | None
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    second_last_name: str | None = None
    title: str | None = None
    department: str | None = None
    company: ContactCompany | None = None
    emails: list[Email]
    phones: list[Phone]
    linkedin_url: str | None = None
    avatar_url: str | None = None


class ExpectedClose(Struct, gc=False):
    on: str
    at: str


class NextTask(Struct, gc=False):
    id: str
    content: str | None
    due_at: str | None


class Ai(Struct, gc=False):
    filled: bool | None
    overridden: bool | None
    ongoing: bool | None


class CustomField(Struct):
    id: str
    label: str | None
    type: str | None
    value: Any
    ai: Ai


class Opportunity(Struct, kw_only=True):
    id: str
    native_id: str
    connection: str
    provider: str
    complete: bool = True
    name: str | None
    description: str | None = None
    status: str
    status_source: str = "native"
    stage: Stage | None = None
    pipeline: Reference | None = None
    amount: Amount | None = None
    probability: Decimal | None = None
    company: Reference | None = None
    owner: Owner | None = None
    contacts: list[Contact]
    source: str | None = None
    campaign: Reference | None = None
    expected_close: ExpectedClose | None = None
    won_at: str | None = None
    lost_at: str | None = None
    next_task: NextTask | None = None
    custom_fields: list[CustomField] = []
    created_at: str | None = None
    updated_at: str | None = None
    extensions: dict[str, Any] = {}


class Meta(Struct):
    issues: list[Any] = []


class Envelope(Struct):
    data: Opportunity
    meta: Meta


# --- what GetRaze sends


class RazeReference(Struct, gc=False):
    id: str | None = None
    name: str | None = None


class RazeLead(Struct):
    id: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    company: str | None = None
    position: str | None = None
    status: str | None = None
    source: str | None = None
    deal_value: Decimal | None = None
    deal_currency: str | None = None
    linkedin_url: str | None = None
    notes: str | None = None
    campaign: RazeReference | None = None
    responsible_user: RazeReference | None = None
    won_at: datetime | None = None
    lost_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class RazeReply(Struct):
    success: bool
    data: RazeLead


# --- what Spott sends


class _Camel(Struct, rename="camel"):
    pass


class SpottStage(_Camel, gc=False):
    id: str
    name: str
    order: int | None = None
    is_open: bool | None = None


class SpottUser(_Camel, gc=False):
    id: str
    name: str | None = None
    avatar_url: str | None = None
    deactivated_at: datetime | None = None


class SpottTarget(_Camel, gc=False):
    target: datetime | None = None


class SpottEmail(_Camel, gc=False):
    email: str
    purpose: str | None = None
    is_primary: bool = False


class SpottPhone(_Camel, gc=False):
    phone_number: str
    purpose: str | None = None
    is_primary: bool = False


class SpottPerson(_Camel):
    id: str
    first_name: str | None = None
    last_name: str | None = None
    middle_name: str | None = None
    second_last_name: str | None = None
    avatar_url: str | None = None
    candidate_id: str | UnsetType = UNSET
    company_id: str | None = None
    company_name: str | None = None
    company_logo_url: str | None = None
    job_title: str | None = None
    department: str | None = None
    emails: list[SpottEmail] = []
    phone_numbers: list[SpottPhone] = []


class SpottTask(_Camel, gc=False):
    id: str
    content: str | None = None
    due_date: datetime | None = None


class SpottText(_Camel, gc=False):
    text: str | None = None
    view_type: str | None = None


class SpottAttribute(Struct, rename={"definition_id": "attributeDefinitionId"}):
    value: SpottText
    definition_id: str
    label: str | None = None
    ongoing: bool | None = msgspec.field(default=None, name="aiFillOngoing")
    overridden: bool | None = msgspec.field(default=None, name="aiOverridden")
    filled: bool | None = msgspec.field(default=None, name="isFilledByAI")


class SpottName(_Camel, gc=False):
    name: str


class SpottDescription(_Camel, gc=False):
    description: str | None = None


class SpottStageOf(_Camel):
    stage: SpottStage | None = None


class SpottCompanyOf(_Camel):
    company: Reference | None = None


class SpottOwnerOf(_Camel):
    owner: SpottUser | None = None


class SpottCloseDate(_Camel):
    close_date: SpottTarget | None = None


class SpottCreatedAt(_Camel, gc=False):
    created_at: datetime | None = None


class SpottTeam(_Camel):
    client_team: list[SpottPerson] = []


class SpottTaskOf(_Camel):
    next_task_due: SpottTask | None = None


class SpottOpportunity(_Camel):
    id: str
    name: SpottName
    description: SpottDescription
    stage: SpottStageOf
    company: SpottCompanyOf
    owner: SpottOwnerOf
    close_date: SpottCloseDate
    created_at: SpottCreatedAt
    client_team: SpottTeam
    next_task_due: SpottTaskOf
    custom_attributes: list[SpottAttribute] = []


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _from_raze(lead: RazeLead) -> Opportunity:
    word = lead.status
    known = word in WORDS
    status = "unknown" if not known else word if word in ("won", "lost") else "open"
    company, owner, campaign = lead.company, lead.responsible_user, lead.campaign
    value = lead.deal_value
    stage = None
    if word is not None:
        stage = Stage(word, word, WORDS.index(word) if known else None, status == "open" if known else None)
    return Opportunity(
        id=f"raze:{lead.id}", native_id=lead.id, connection="raze", provider="getraze",
        name=lead.name, description=lead.notes, status=status or "unknown", stage=stage,
        amount=None if value is None and lead.deal_currency is None
        else Amount(None if value is None else format(value, "f"), lead.deal_currency),
        company=Reference(None, company) if company else None,
        owner=Owner(owner.id, owner.name) if owner else None,
        contacts=[
            Contact(
                name=lead.name, title=lead.position, company=ContactCompany(None, company) if company else None,
                emails=[Email(lead.email)] if lead.email else [], phones=[Phone(lead.phone)] if lead.phone else [],
                linkedin_url=lead.linkedin_url,
            )
        ],
        source=lead.source, campaign=Reference(campaign.id, campaign.name) if campaign else None,
        won_at=_instant(lead.won_at), lost_at=_instant(lead.lost_at),
        created_at=_instant(lead.created_at), updated_at=_instant(lead.updated_at),
    )  # fmt: skip


def _contact(person: SpottPerson) -> Contact:
    parts = (person.first_name, person.middle_name, person.last_name, person.second_last_name)
    return Contact(
        id=person.id, name=" ".join(part for part in parts if part) or None,
        first_name=person.first_name, middle_name=person.middle_name, last_name=person.last_name,
        second_last_name=person.second_last_name, title=person.job_title, department=person.department,
        company=ContactCompany(person.company_id, person.company_name, person.company_logo_url),
        emails=[Email(one.email, one.purpose, one.is_primary) for one in person.emails],
        phones=[Phone(one.phone_number, one.purpose, one.is_primary) for one in person.phone_numbers],
        avatar_url=person.avatar_url,
    )  # fmt: skip


def _from_spott(record: SpottOpportunity) -> Opportunity:
    stage, owner, task = record.stage.stage, record.owner.owner, record.next_task_due.next_task_due
    target = record.close_date.close_date.target if record.close_date.close_date else None
    team = record.client_team.client_team
    at = _instant(target)
    return Opportunity(
        id=f"spott:{record.id}", native_id=record.id, connection="spott", provider="spott",
        name=record.name.name, description=record.description.description,
        status="unknown" if stage is None or stage.is_open is None else "open" if stage.is_open else "closed",
        stage=Stage(stage.id, stage.name, stage.order, stage.is_open) if stage else None,
        company=record.company.company,
        owner=Owner(owner.id, owner.name, None, owner.avatar_url, _instant(owner.deactivated_at)) if owner else None,
        contacts=[_contact(person) for person in team],
        expected_close=ExpectedClose(at[:10], at) if at else None,
        next_task=NextTask(task.id, task.content, _instant(task.due_date)) if task else None,
        custom_fields=[
            CustomField(
                one.definition_id, one.label, "text" if one.value.view_type == "customText" else one.value.view_type,
                one.value.text, Ai(one.filled, one.overridden, one.ongoing),
            )
            for one in record.custom_attributes
        ],
        created_at=_instant(record.created_at.created_at),
        extensions={
            f"/clientTeam/clientTeam/{place}/candidateId": person.candidate_id
            for place, person in enumerate(team)
            if person.candidate_id is not UNSET
        },
    )  # fmt: skip


_raze = msgspec.json.Decoder(RazeReply)
_spott = msgspec.json.Decoder(SpottOpportunity)
_encoder = msgspec.json.Encoder()


def flat(body: bytes) -> bytes:
    """The answer for what GetRaze sent for one record."""
    return _encoder.encode(Envelope(_from_raze(_raze.decode(body).data), Meta()))


def wrapped(body: bytes) -> bytes:
    """The answer for what Spott sent for one record."""
    return _encoder.encode(Envelope(_from_spott(_spott.decode(body)), Meta()))
