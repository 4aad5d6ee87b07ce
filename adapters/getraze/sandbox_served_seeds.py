"""The records a new stand-in of the served dialect holds: always the same 61, in one pipeline of six stages."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

PIPELINE_ID = "5b0f6a52-94c1-4d0e-8a37-2f1d6c9e7b10"
PIPELINE_NAME = "Funil de Vendas"
STAGES: Mapping[str, str] = {
    "new": "c1a9d8f0-0001-4c6b-9f1e-3d5a7b2e4601",
    "contacted": "c1a9d8f0-0002-4c6b-9f1e-3d5a7b2e4602",
    "qualified": "c1a9d8f0-0003-4c6b-9f1e-3d5a7b2e4603",
    "proposal": "c1a9d8f0-0004-4c6b-9f1e-3d5a7b2e4604",
    "won": "c1a9d8f0-0005-4c6b-9f1e-3d5a7b2e4605",
    "lost": "c1a9d8f0-0006-4c6b-9f1e-3d5a7b2e4606",
}
USERS: Mapping[str, tuple[str, str]] = {
    "e7d2c4b6-1111-4a58-b3f0-6c8e9d0a1b21": ("Beatriz Nogueira", "beatriz@raze.example"),
    "e7d2c4b6-2222-4a58-b3f0-6c8e9d0a1b22": ("Łukasz Żak", "lukasz@raze.example"),
    "e7d2c4b6-3333-4a58-b3f0-6c8e9d0a1b23": ("Amara Okafor", "amara@raze.example"),
}
CAMPAIGNS: Mapping[str, str] = {
    "a4f1b3c5-1111-4e2d-8c9b-0a1f2e3d4c51": "Q1 Outreach",
    "a4f1b3c5-2222-4e2d-8c9b-0a1f2e3d4c52": "Feira de São Paulo",
}
SOURCES = ("linkedin", "google_maps", "list", "paid_traffic", "other")
TWICE_KNOWN = "renata@acmebrasil.example"
"""The e-mail address of the one contact that two of the records are linked to."""

# What the record carries beside the members of `Opportunity`. Of the real ones it is told that there are about
# forty, and a few names: all but account_id and custom_fields are made up here.
EXTRAS: Mapping[str, object] = {
    "account_id": "0d9c8b7a-4444-4f3e-9a1b-5c6d7e8f9a01",
    "archived_at": None, "assigned_at": None, "attachments": (), "automation_id": None, "close_reason": None,
    "contacted_at": None, "conversation_id": None, "created_by": None, "custom_fields": {}, "deleted_at": None,
    "first_reply_at": None, "forecast_category": None, "import_id": None, "is_archived": False, "is_favorite": False,
    "is_hot": False, "language": "pt-BR", "last_activity_at": None, "last_message_at": None, "last_seen_at": None,
    "lead_list_id": None, "loss_reason_id": None, "meeting_at": None, "meeting_url": None, "messages_count": 0,
    "metadata": {}, "next_action": None, "next_action_at": None, "proposal_at": None, "replied_at": None,
    "sequence_step": 0, "sort_index": 0, "stage_entered_at": None, "tags": (), "team_id": None, "unread_count": 0,
    "updated_by": None, "utm_campaign": None, "utm_medium": None, "utm_source": None, "watchers": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contact:
    """A person; more than one opportunity may be linked to the same."""

    id: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    company: str | None = None
    title: str | None = None
    location: str | None = None
    headline: str | None = None
    profile_url: str | None = None
    profile_picture: str | None = None


@dataclass(frozen=True, slots=True)
class Opportunity:
    """One opportunity as the stand-in keeps it; times, dates and money are texts as the provider writes them."""

    id: str
    title: str
    contact_id: str
    created_at: str
    updated_at: str
    pipeline_id: str
    stage_id: str
    value: str = "0.00"
    currency: str = "BRL"
    probability: int = 0
    expected_close_date: str | None = None
    owner_user_id: str | None = None
    campaign_id: str | None = None
    notes: str | None = None
    source: str = "other"
    score: int | None = None
    won_at: str | None = None
    lost_at: str | None = None
    sent_at: str | None = None
    qualified_at: str | None = None
    loss_notes: str | None = None
    comments: tuple[Mapping[str, object], ...] = ()


# The contact's name and company: null, blank, several scripts, quotes and angle brackets.
_PEOPLE: tuple[tuple[str | None, str | None], ...] = (
    ("Renata Souza", "Acme Brasil"), ("João Conceição", "Conceição & Filhos"), ("李小龍", "龍貿易"),
    ("Müller-Lüdenscheidt, Jürgen", None), ("نور الهدى", ""), ("O'Brien, Siobhán", "O'Brien's \"Best\" Foods"),
    (None, "Завод № 5"), ("Ngozi Adeyemi", "Lagos Logistics"), ("", ""), ("さくら 田中", "田中商店"),
    ("José 🚀 Foguete", "Foguete Labs"), ("X Æ", None), ("Ağaoğlu İsmail", "Ağaoğlu Yapı"),
    ("Ravi <Ops> Iyer", "Iyer & Sons; Freight"), (None, None), ("Thảo Nguyễn", "Nguyễn Gốm"),
    ("Zoe\u0301 Bronte\u0308", "Brontë Ltd"), ("Agnieszka Wójcik", "Wójcik Sp. z o.o."),
    ("김민준", "서울 소프트"), ("Emily Stone", "  "),
)  # fmt: skip
_AMOUNTS = (
    "75000.00", "0.00", "0.10", "1234567890123.45", "0.00", "999999.99", "18500.50", "0.01", "0.00",
    "9007199254740993.01", "3.30",
)  # fmt: skip
_CURRENCIES = ("BRL", "USD", "EUR", "BRL", "BRL", "JPY", "BRL")
_TITLES = ("CEO", None, "Head of Sales", "", "Diretora Comercial", "CTO", None)
_PROBABILITIES = (0, 10, 25, 50, 75, 90, 100)
_LOCATIONS = ("São Paulo, Brasil", None, "", "Kraków, Polska")
_OWNERS = (*USERS, None)
_CAMPAIGNS = (None, *CAMPAIGNS)
_NOTES = (None, "Met at the fair", "Prefere WhatsApp.\nLigar depois das 14h.", "", "Asked for a discount — 10 %")
_FIRST_MOMENT = datetime(2025, 1, 7, 9, 12, 44, 104729)
_HOW_MANY = 61
_SECOND_TIME = 47  # this record is linked to the contact of the first one


def seeds() -> tuple[list[Contact], list[Opportunity]]:
    """The 60 contacts and the 61 records linked to them; the same on every machine and every day."""
    numbers = range(_HOW_MANY)
    return [_contact(number) for number in numbers if number != _SECOND_TIME], [_record(number) for number in numbers]


def stamp(moment: datetime) -> str:
    """A time in UTC as the served dialect writes times: `2026-11-22 01:01:21.282645+00`."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f+00")


def _id(kind: str, number: int) -> str:
    return str(uuid.uuid5(uuid.UUID(PIPELINE_ID), f"{kind} {number}"))


def _contact(number: int) -> Contact:
    # Lists of unlike lengths are walked through side by side, so that their values meet in many combinations.
    name, company = _PEOPLE[number % len(_PEOPLE)]
    email = None if number % 6 == 3 else f"lead{number}@seed-{number % 13}.example"
    return Contact(
        id=_id("contact", number),
        name=name,
        email=TWICE_KNOWN if number == 0 else email,
        phone=(f"+55119{80000000 + 12347 * number}", "", None)[0 if number % 5 else number % 3],
        company=company,
        title=_TITLES[number % len(_TITLES)],
        location=_LOCATIONS[number % len(_LOCATIONS)],
        headline=None if number % 2 else "Helping teams sell",
        profile_url=f"https://linkedin.com/in/seed-{number}" if number % 3 == 0 else None,
        profile_picture=f"https://media.example/{number}.jpg" if number % 9 == 0 else None,
    )


def _record(number: int) -> Opportunity:
    contact = _contact(0 if number == _SECOND_TIME else number)
    stage = tuple(STAGES)[number % len(STAGES)]
    made = _FIRST_MOMENT + timedelta(days=7 * number, minutes=37 * number, microseconds=7919 * number)
    touched = stamp(made + timedelta(days=number % 9, hours=3, microseconds=104659))
    comment = {"id": _id("comment", number), "text": "Ligar amanhã", "created_at": touched}
    return Opportunity(
        id=_id("opportunity", number),
        title=contact.name or f"Negócio nº {number}",
        contact_id=contact.id,
        created_at=stamp(made),
        updated_at=touched,
        pipeline_id=PIPELINE_ID,
        stage_id=STAGES[stage],
        value=_AMOUNTS[number % len(_AMOUNTS)],
        currency=_CURRENCIES[number % len(_CURRENCIES)],
        probability=_PROBABILITIES[number % len(_PROBABILITIES)],
        expected_close_date=f"2026-{1 + number % 12:02}-{1 + number % 28:02}" if number % 4 else None,
        owner_user_id=_OWNERS[number // 2 % len(_OWNERS)],
        campaign_id=_CAMPAIGNS[number // 3 % len(_CAMPAIGNS)],
        notes=_NOTES[number // 2 % len(_NOTES)],
        source=SOURCES[number * 2 % len(SOURCES)],
        score=number * 13 % 101 if number % 8 else None,
        won_at=touched if stage == "won" else None,
        lost_at=touched if stage == "lost" else None,
        sent_at=stamp(made) if number % 2 else None,
        qualified_at=touched if stage in ("qualified", "proposal") else None,
        loss_notes="Sem orçamento" if stage == "lost" else None,
        comments=(comment,) if number % 5 == 0 else (),
    )
