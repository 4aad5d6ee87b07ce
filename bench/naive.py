"""The gateway as a careful newcomer writes it: FastAPI, one shared httpx client, pydantic models at both ends.

What the gateway is compared with. It reads the same records and gives the same answers, and nothing of it is slowed down:
uvloop, httptools, no access log, one client for all requests with room for every connection, models built once. It has no
caller keys, limits, strict checks, explanations or problem documents. Frozen: do not tune it when the gateway changes.
Run as `python -m bench.naive --port PORT --provider URL`.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

STATUSES = ("new", "contacted", "qualified", "proposal", "negotiation", "won", "lost")

Status = Literal["open", "won", "lost", "closed", "unknown"]
Instant = Annotated[datetime, PlainSerializer(lambda at: at.astimezone(UTC).isoformat().replace("+00:00", "Z"))]


# --- what a caller gets


class Stage(BaseModel):
    """A step of the pipeline."""

    id: str
    name: str
    order: int | None
    is_open: bool | None


class Reference(BaseModel):
    """Something with an id and a name."""

    id: str | None
    name: str | None


class Amount(BaseModel):
    """Money."""

    value: Decimal | None
    currency: str | None


class Owner(BaseModel):
    """The user who is responsible."""

    id: str | None
    name: str | None
    email: str | None = None
    avatar_url: str | None = None
    deactivated_at: Instant | None = None


class ContactCompany(BaseModel):
    """Where a contact works."""

    id: str | None = None
    name: str | None = None
    logo_url: str | None = None


class Email(BaseModel):
    """An e-mail address."""

    address: str
    purpose: str | None = None
    primary: bool = True


class Phone(BaseModel):
    """A phone number."""

    number: str
    purpose: str | None = None
    primary: bool = True


class Contact(BaseModel):
    """A person on the customer's side."""

    id: str | None = None
    name: str | None = None
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    second_last_name: str | None = None
    title: str | None = None
    department: str | None = None
    company: ContactCompany | None = None
    emails: list[Email] = []
    phones: list[Phone] = []
    linkedin_url: str | None = None
    avatar_url: str | None = None


class ExpectedClose(BaseModel):
    """When the deal should close."""

    on: date
    at: Instant | None


class NextTask(BaseModel):
    """What is to be done next."""

    id: str
    content: str | None
    due_at: Instant | None


class Ai(BaseModel):
    """What a machine did to a custom field."""

    filled: bool | None
    overridden: bool | None
    ongoing: bool | None


class CustomField(BaseModel):
    """A field that the account defined."""

    id: str
    label: str | None
    type: str | None
    value: Any
    ai: Ai | None


class Opportunity(BaseModel):
    """The canonical record."""

    id: str
    native_id: str
    connection: str
    provider: str
    complete: bool = True
    name: str | None
    description: str | None
    status: Status
    status_source: str | None = "native"
    stage: Stage | None
    pipeline: Reference | None = None
    amount: Amount | None = None
    probability: Decimal | None = None
    company: Reference | None
    owner: Owner | None
    contacts: list[Contact]
    source: str | None = None
    campaign: Reference | None = None
    expected_close: ExpectedClose | None = None
    won_at: Instant | None = None
    lost_at: Instant | None = None
    next_task: NextTask | None = None
    custom_fields: list[CustomField] = []
    created_at: Instant
    updated_at: Instant | None = None
    extensions: dict[str, Any] = {}


class Meta(BaseModel):
    """What is told beside the record."""

    issues: list[dict[str, str]] = []


class Envelope(BaseModel):
    """One answer."""

    data: Opportunity
    meta: Meta


# --- what GetRaze sends


class _Raze(BaseModel):
    model_config = ConfigDict(extra="allow")


class RazeUser(_Raze):
    """A user of the account."""

    id: str | None = None
    name: str | None = None


class RazeLead(_Raze):
    """One flat record."""

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
    campaign: RazeUser | None = None
    responsible_user: RazeUser | None = None
    won_at: datetime | None = None
    lost_at: datetime | None = None
    created_at: datetime
    updated_at: datetime | None = None


class RazeReply(_Raze):
    """GetRaze's envelope."""

    success: bool
    data: RazeLead


def from_raze(lead: RazeLead) -> Opportunity:
    """The canonical record of a GetRaze lead."""
    word = lead.status
    status: Status = "unknown"
    if word in STATUSES:
        status = "won" if word == "won" else "lost" if word == "lost" else "open"
    stage = None
    if word is not None:
        known = word in STATUSES
        stage = Stage(
            id=word,
            name=word,
            order=STATUSES.index(word) if known else None,
            is_open=status == "open" if known else None,
        )
    amount = None
    if lead.deal_value is not None or lead.deal_currency is not None:
        amount = Amount(value=lead.deal_value, currency=lead.deal_currency)
    return Opportunity(
        id=f"raze:{lead.id}",
        native_id=lead.id,
        connection="raze",
        provider="getraze",
        name=lead.name,
        description=lead.notes,
        status=status,
        stage=stage,
        amount=amount,
        company=Reference(id=None, name=lead.company) if lead.company else None,
        owner=Owner(id=lead.responsible_user.id, name=lead.responsible_user.name) if lead.responsible_user else None,
        contacts=[
            Contact(
                name=lead.name,
                title=lead.position,
                company=ContactCompany(name=lead.company) if lead.company else None,
                emails=[Email(address=lead.email)] if lead.email else [],
                phones=[Phone(number=lead.phone)] if lead.phone else [],
                linkedin_url=lead.linkedin_url,
            )
        ],
        source=lead.source,
        campaign=Reference(id=lead.campaign.id, name=lead.campaign.name) if lead.campaign else None,
        won_at=lead.won_at,
        lost_at=lead.lost_at,
        created_at=lead.created_at,
        updated_at=lead.updated_at,
        extensions={f"/{name}": value for name, value in (lead.model_extra or {}).items()},
    )


# --- what Spott sends: every member an object that repeats its own name


class _Spott(BaseModel):
    model_config = ConfigDict(extra="allow", alias_generator=to_camel)


class SpottStage(_Spott):
    """A stage."""

    id: str
    name: str
    order: int | None = None
    is_open: bool | None = None


class SpottCompany(_Spott):
    """A company."""

    id: str
    name: str | None = None


class SpottOwner(_Spott):
    """A user."""

    id: str
    name: str | None = None
    avatar_url: str | None = None
    deactivated_at: datetime | None = None


class SpottTarget(_Spott):
    """A date to reach."""

    target: datetime | None = None


class SpottEmail(_Spott):
    """An e-mail address."""

    purpose: str | None = None
    email: str
    is_primary: bool = False


class SpottPhone(_Spott):
    """A phone number."""

    purpose: str | None = None
    phone_number: str
    is_primary: bool = False


class SpottPerson(_Spott):
    """A member of the client's team."""

    id: str
    first_name: str | None = None
    last_name: str | None = None
    middle_name: str | None = None
    second_last_name: str | None = None
    avatar_url: str | None = None
    company_id: str | None = None
    company_name: str | None = None
    company_logo_url: str | None = None
    job_title: str | None = None
    department: str | None = None
    emails: list[SpottEmail] = []
    phone_numbers: list[SpottPhone] = []


class SpottTask(_Spott):
    """A task."""

    id: str
    content: str | None = None
    due_date: datetime | None = None


class SpottAttribute(_Spott):
    """A custom attribute."""

    value: dict[str, Any]
    attribute_definition_id: str
    label: str | None = None
    ai_fill_ongoing: bool | None = None
    ai_overridden: bool | None = None
    is_filled_by_ai: bool | None = None

    model_config = ConfigDict(
        extra="allow", alias_generator=lambda name: to_camel(name).replace("ByAi", "ByAI"), populate_by_name=True
    )


class SpottName(_Spott):
    """Wrapper."""

    name: str


class SpottDescription(_Spott):
    """Wrapper."""

    description: str | None = None


class SpottStageOf(_Spott):
    """Wrapper."""

    stage: SpottStage | None = None


class SpottCompanyOf(_Spott):
    """Wrapper."""

    company: SpottCompany | None = None


class SpottOwnerOf(_Spott):
    """Wrapper."""

    owner: SpottOwner | None = None


class SpottCloseDate(_Spott):
    """Wrapper."""

    close_date: SpottTarget | None = None


class SpottCreatedAt(_Spott):
    """Wrapper."""

    created_at: datetime


class SpottTeam(_Spott):
    """Wrapper."""

    client_team: list[SpottPerson] = []


class SpottTaskOf(_Spott):
    """Wrapper."""

    next_task_due: SpottTask | None = None


class SpottOpportunity(_Spott):
    """One wrapped record."""

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


def _contact(person: SpottPerson) -> Contact:
    parts = (person.first_name, person.middle_name, person.last_name, person.second_last_name)
    return Contact(
        id=person.id,
        name=" ".join(part for part in parts if part) or None,
        first_name=person.first_name,
        middle_name=person.middle_name,
        last_name=person.last_name,
        second_last_name=person.second_last_name,
        title=person.job_title,
        department=person.department,
        company=ContactCompany(id=person.company_id, name=person.company_name, logo_url=person.company_logo_url),
        emails=[Email(address=one.email, purpose=one.purpose, primary=one.is_primary) for one in person.emails],
        phones=[
            Phone(number=one.phone_number, purpose=one.purpose, primary=one.is_primary) for one in person.phone_numbers
        ],
        avatar_url=person.avatar_url,
    )


def _custom_field(attribute: SpottAttribute) -> CustomField:
    view = attribute.value.get("viewType")
    is_text = view == "customText"
    return CustomField(
        id=attribute.attribute_definition_id,
        label=attribute.label,
        type="text" if is_text else view,
        value=attribute.value.get("text") if is_text else attribute.value,
        ai=Ai(filled=attribute.is_filled_by_ai, overridden=attribute.ai_overridden, ongoing=attribute.ai_fill_ongoing),
    )


def from_spott(record: SpottOpportunity) -> Opportunity:
    """The canonical record of a Spott opportunity."""
    stage, company, owner = record.stage.stage, record.company.company, record.owner.owner
    target = record.close_date.close_date.target if record.close_date.close_date else None
    task = record.next_task_due.next_task_due
    status: Status = "unknown"
    if stage is not None and stage.is_open is not None:
        status = "open" if stage.is_open else "closed"
    extensions = {f"/{name}": value for name, value in (record.model_extra or {}).items()}
    for place, person in enumerate(record.client_team.client_team):
        for name, value in (person.model_extra or {}).items():
            extensions[f"/clientTeam/clientTeam/{place}/{name}"] = value
    return Opportunity(
        id=f"spott:{record.id}",
        native_id=record.id,
        connection="spott",
        provider="spott",
        name=record.name.name,
        description=record.description.description,
        status=status,
        stage=Stage(id=stage.id, name=stage.name, order=stage.order, is_open=stage.is_open) if stage else None,
        company=Reference(id=company.id, name=company.name) if company else None,
        owner=(
            Owner(id=owner.id, name=owner.name, avatar_url=owner.avatar_url, deactivated_at=owner.deactivated_at)
            if owner
            else None
        ),
        contacts=[_contact(person) for person in record.client_team.client_team],
        expected_close=ExpectedClose(on=target.astimezone(UTC).date(), at=target) if target else None,
        next_task=NextTask(id=task.id, content=task.content, due_at=task.due_date) if task else None,
        custom_fields=[_custom_field(attribute) for attribute in record.custom_attributes],
        created_at=record.created_at.created_at,
        extensions=extensions,
    )


# --- the service


def application(provider: str) -> FastAPI:
    """The service, before the provider at this address."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=provider, timeout=10, limits=limits) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    async def fetch(request: Request, path: str, headers: dict[str, str]) -> Any:
        client: httpx.AsyncClient = request.app.state.client
        try:
            response = await client.get(path, headers=headers)
        except httpx.TimeoutException:
            raise HTTPException(504, "the provider took too long") from None
        except httpx.HTTPError:
            raise HTTPException(503, "the provider cannot be reached") from None
        if response.status_code == 404:
            raise HTTPException(404, "no such opportunity")
        if response.status_code != 200:
            raise HTTPException(502, "the provider failed")
        return response.json(parse_float=Decimal)

    @app.get("/v1/opportunities/{opportunity_id}")
    async def get_opportunity(opportunity_id: str, request: Request) -> Envelope:
        connection, _, native = opportunity_id.partition(":")
        if connection == "raze":
            body = await fetch(request, f"/external/v1/opportunities/{native}", {"X-API-Key": "bench"})
            opportunity = from_raze(RazeReply.model_validate(body).data)
        elif connection == "spott":
            body = await fetch(request, f"/opportunities/{native}", {"x-api-key": "bench"})
            opportunity = from_spott(SpottOpportunity.model_validate(body))
        else:
            raise HTTPException(404, "no such connection")
        return Envelope(data=opportunity, meta=Meta())

    return app


def main() -> None:
    """Serve in the foreground."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--provider", required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        application(arguments.provider),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
