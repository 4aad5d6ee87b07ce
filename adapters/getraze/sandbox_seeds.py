"""The records a new stand-in holds: always the same 37, the first being the one of the provider's page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

STATUSES = ("new", "contacted", "qualified", "proposal", "negotiation", "won", "lost")
SOURCES = ("linkedin", "google_maps", "list", "paid_traffic", "other")

USERS: Mapping[str, str] = {
    "usr_123": "Sales Rep",
    "usr_204": "Beatriz Nogueira",
    "usr_317": "Łukasz Żak",
    "usr_455": "Amara Okafor",
}
CAMPAIGNS: Mapping[str, str] = {
    "camp_xyz789": "Q1 Outreach",
    "camp_def456": "Feira de São Paulo",
    "camp_ghi012": "Website relaunch",
}


@dataclass(frozen=True, slots=True)
class Opportunity:
    """One lead as the stand-in keeps it; times as the provider writes them, money with all its digits."""

    id: str
    name: str
    created_at: str
    updated_at: str
    status: str = "new"
    source: str = "other"
    email: str | None = None
    phone: str | None = None
    company: str | None = None
    position: str | None = None
    deal_value: Decimal | None = None
    deal_currency: str = "BRL"
    linkedin_url: str | None = None
    notes: str | None = None
    campaign_id: str | None = None
    responsible_user_id: str | None = None
    won_at: str | None = None
    lost_at: str | None = None


DOCUMENTED = Opportunity(
    id="opp_abc123def456",
    name="John Doe",
    email="john@example.com",
    phone="+5511999999999",
    company="Acme Inc",
    position="CEO",
    status="qualified",
    source="linkedin",
    deal_value=Decimal("50000.00"),
    deal_currency="BRL",
    linkedin_url="https://linkedin.com/in/johndoe",
    notes="Interested in enterprise plan",
    campaign_id="camp_xyz789",
    responsible_user_id="usr_123",
    created_at="2024-01-15T10:30:00Z",
    updated_at="2024-01-20T14:00:00Z",
)

# name, e-mail, company: some without an e-mail, one with neither, several scripts, quotes and angle brackets.
_PEOPLE: tuple[tuple[str, str | None, str | None], ...] = (
    ("Ana Lima", "ana.lima@padariasol.example", "Padaria Sol"),
    ("João Conceição", "joao@conceicao.example", "Conceição & Filhos"),
    ("Zoë Brontë", "zoe@bronte.example", "Brontë Ltd"),
    ("李小龍", "li@dragon.example", "龍貿易"),
    ("Müller-Lüdenscheidt, Jürgen", None, "Badewannen GmbH"),
    ("نور الهدى", "nour@huda.example", None),
    ("O'Brien, Siobhán", "siobhan@obrien.example", "O'Brien's \"Best\" Foods"),
    ("Дмитрий Иванов", "d.ivanov@zavod.example", "Завод № 5"),
    ("Ngozi Adeyemi", "ngozi@adeyemi.example", "Lagos Logistics"),
    ("Marie-Ève Tremblay", None, "Érable Inc"),
    ("Søren Østergård", "soren@ostergard.example", "Østergård A/S"),
    ("さくら 田中", "sakura@tanaka.example", "田中商店"),
    ("Renata Souza", "renata@acmebrasil.example", "Acme Brasil"),
    ("Tom Baker", "tom.baker@police-box.example", "Baker & Co"),
    ("Εὐγενία Παπά", "evgenia@papas.example", "Παπάς ΑΕ"),
    ("Priya Raman", "priya@raman.example", "Raman Textiles"),
    ("José 🚀 Foguete", "jose@foguete.example", "Foguete Labs"),
    ("X Æ", None, None),
    ("Carla Mendes", "carla@mendes.example", "Mendes Arquitetura"),
    ("William Okoro", "will@okoro.example", "Okoro Farms"),
    ("Ağaoğlu İsmail", "ismail@agaoglu.example", "Ağaoğlu Yapı"),
    ("Paula van den Berg", "paula@vandenberg.example", "Van den Berg BV"),
    ("김민준", "minjun@kim.example", "서울 소프트"),
    ("Rafael Ortiz", None, "Ortiz Hermanos"),
    ("Helena Duarte", "helena@duarte.example", "Duarte Vinhos"),
    ("Ravi <Ops> Iyer", "ravi@iyer.example", "Iyer & Sons; Freight"),
    ("Fatima Zahra", "fatima@zahra.example", "Zahra Tapis"),
    ("Noah Fischer", "noah@fischer.example", "Fischer Optik"),
    ("Luana Prado", "luana@prado.example", "Prado Moda"),
    ("Gustavo Pires", "gustavo@pires.example", "Pires Transportes"),
    ("Agnieszka Wójcik", "agnieszka@wojcik.example", "Wójcik Sp. z o.o."),
    ("Emily Stone", None, "Stone Masonry"),
    ("Thảo Nguyễn", "thao@nguyen.example", "Nguyễn Gốm"),
    ("Bruno Carvalho", "bruno@carvalho.example", "Carvalho Energia"),
    ("Maya Cohen", "maya@cohen.example", "Cohen Studio"),
    ("Zacharias Amsel", "z.amsel@amsel.example", "Amsel Verlag"),
)
_AMOUNTS = (
    "75000.00", "0.10", "1234567890123.45", None, "10.125", "0.00", "999999.99", "18500.50",
    "12345678901234567890.12", None, "3.30", "250000.00", "0.01",
)  # fmt: skip
_CURRENCIES = ("BRL", "USD", "EUR", "BRL")
_POSITIONS = ("CEO", "CTO", None, "Head of Sales", "Diretora Comercial")
_OWNERS = (*USERS, None)
_CAMPAIGNS = (None, *CAMPAIGNS)
_NOTES = (None, "Met at the fair", "Prefere WhatsApp.\nLigar depois das 14h.", "Asked for a discount — 10 %")
_FIRST_DAY = datetime(2022, 12, 15, 8, 15, 30)


def seeds() -> list[Opportunity]:
    """The 37 records, the documented one first; the same on every machine and every day."""
    return [DOCUMENTED, *(_seed(number, *person) for number, person in enumerate(_PEOPLE))]


def _seed(number: int, name: str, email: str | None, company: str | None) -> Opportunity:
    # Lists of unlike lengths are walked through side by side, so that states, sources, owners and amounts
    # meet in many combinations without a table of 36 long rows.
    status = STATUSES[number % len(STATUSES)]
    created = _FIRST_DAY + timedelta(days=11 * number, minutes=37 * number)
    touched = _stamp(created + timedelta(days=number % 9, hours=3))
    amount = _AMOUNTS[number % len(_AMOUNTS)]
    return Opportunity(
        id="opp_" + hashlib.sha256(f"seed {number}".encode()).hexdigest()[:12],
        name=name,
        email=email,
        phone=None if number % 4 == 2 else f"+55119{80000000 + 12347 * number}",
        company=company,
        position=_POSITIONS[number % len(_POSITIONS)],
        status=status,
        source=SOURCES[number * 2 % len(SOURCES)],
        deal_value=None if amount is None else Decimal(amount),
        deal_currency=_CURRENCIES[number % len(_CURRENCIES)],
        linkedin_url=f"https://linkedin.com/in/seed-{number}" if number % 3 == 0 else None,
        notes=_NOTES[number // 2 % len(_NOTES)],
        campaign_id=_CAMPAIGNS[number // 3 % len(_CAMPAIGNS)],
        responsible_user_id=_OWNERS[number // 2 % len(_OWNERS)],
        won_at=touched if status == "won" else None,
        lost_at=touched if status == "lost" else None,
        created_at=_stamp(created),
        updated_at=touched,
    )


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
