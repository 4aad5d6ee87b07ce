"""Seed data of the Spott stand-in: 63 opportunities and the tables they point to, the same on every run.

Written from the provider's page alone. Fractional numbers are Decimals, so that no digit changes between
this file and the wire.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

Json: TypeAlias = "bool | int | str | Decimal | list[Json] | dict[str, Json] | None"
Object: TypeAlias = dict[str, Json]

DOCUMENTED_ID = "3f1d9c0e-6c3b-4a55-9b1e-0f6f3d1c2a77"
RECORD_COUNT = 63

# Which records carry a trait that must be found by number. The rest is spread by remainders, see _record().
BARE = frozenset({9, 27, 45, 60})  # newest pages: no viewType, no purpose, nulls left out
EXTRA = frozenset({11, 23, 35, 58})  # members no page names
OLDER_ATTRIBUTES = frozenset({8, 20, 44})  # filledByAI, options, description, value as anything
OTHER_KINDS = frozenset({5, 16, 29, 41, 53})  # number, checkbox, select, date, currency ...
TIED = range(30, 34)  # modified at the very same instant: a page may end in the midst of them

# The digits are the point: trailing zeros, no fraction, more digits than a float holds.
DEAL_VALUES: dict[int, str] = {
    3: "48000.00",
    7: "1250.50",
    12: "0.10",
    18: "99999999999999.99",
    22: "15000",
    26: "7300.00",
    31: "64000.00",
    37: "120000.00",
    42: "2500.75",
    48: "0.00",
    54: "12345678901234567.89",
    61: "88000.00",
    39: "on request",  # free text is free: not every value is a number
}

_NAMES: dict[int, str] = {
    2: "Z\u00fcrich: Ing\u00e9nieurs & d\u00e9veloppeurs \U0001f680",
    6: "\u682a\u5f0f\u4f1a\u793e\u30df\u30e9\u30a4 \u63a1\u7528",
    10: "\u0645\u0647\u0646\u062f\u0633\u0648\u0646 \u0644\u0644\u0631\u064a\u0627\u0636",
    14: "Zoe\u0308's caf\u00e9 (decomposed)",
    17: 'Quoted "platform" team \\ phase two',
    21: "\u0141\u00f3d\u017a \u2192 \u0130stanbul",
    25: "Line\u2028separator and tab\there",
    33: " padded name ",
}


@dataclass
class Seed:
    """One stored opportunity: the record as it is answered, and the modification time it does not show."""

    record: Object
    modified: datetime


def record_id(number: int) -> str:
    """The id of seed record `number`, 0 being the documented one."""
    if number == 0:
        return DOCUMENTED_ID
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://api.gospott.com/opportunities/{number}"))


def stages() -> list[Object]:
    """All stages in pipeline order, with the colour the stage list shows and the isOpen a record shows."""
    rows = [
        ("stg_1", "Lead", "#8E9AAF", True),
        ("stg_2", "Proposal", "#4D96FF", True),
        ("stg_3", "Negotiation", "#FFB72B", True),
        ("stg_won", "Won", "#2BB673", False),
        ("stg_lost", "Lost", "#E5484D", False),
        ("stg_closed", "Archived", "#5B5B66", False),
    ]
    return [
        {"id": id_, "name": name, "order": order, "colorHex": colour, "isOpen": is_open}
        for order, (id_, name, colour, is_open) in enumerate(rows, start=1)
    ]


def users() -> list[Object]:
    """All users as the user list answers them; the second is deactivated."""
    rows: list[tuple[str, str, str, str | None, str | None]] = [
        ("usr_7", "Ada Byron", "ada@spott.example.com", "https://img.example.com/7.png", None),
        ("usr_8", "Bram Stoker", "bram@spott.example.com", None, "2024-09-30T16:00:00.000Z"),
        ("usr_9", "Chlo\u00e9 Dupont", "chloe@spott.example.com", "https://img.example.com/9.png", None),
        ("usr_10", "\u674e \u5c0f\u9f99", "li@spott.example.com", None, None),
        (str(uuid.uuid5(uuid.NAMESPACE_URL, "usr_11")), "Eve O'Neil", "eve@spott.example.com", None, None),
    ]
    return [
        {"userId": id_, "name": name, "email": email, "avatarUrl": avatar, "deactivatedAt": gone}
        for id_, name, email, avatar, gone in rows
    ]


def companies() -> list[Object]:
    """All companies, as a record shows them."""
    names = {
        "cmp_1": "Initech",
        "cmp_2": "Umbrella",
        "cmp_3": "Soci\u00e9t\u00e9 G\u00e9n\u00e9reuse",
        "cmp_4": "\u682a\u5f0f\u4f1a\u793e\u30df\u30e9\u30a4",
        "cmp_5": "Hooli",
        "cmp_6": "Stark & S\u00f6hne",
        "cmp_7": "Wayne Freight",
        "cmp_8": "Acme",
        "cmp_9": "Globex",
        "cmp_10": "Wonka",
        "cmp_11": "Tyrell",
        str(uuid.uuid5(uuid.NAMESPACE_URL, "cmp_12")): "Cyberdyne",
    }
    return [{"id": id_, "name": name} for id_, name in names.items()]


def contacts() -> list[Object]:
    """All client contacts, as a record shows them; they differ in what is null and what is missing."""
    first: Object = {
        "id": "cnt_1",
        "firstName": "Jane",
        "lastName": "Smith",
        "middleName": "Q",
        "secondLastName": None,
        "avatarUrl": None,
        "candidateId": "cand_5",
        "companyId": "cmp_9",
        "companyName": "Globex",
        "companyLogoUrl": None,
        "jobTitle": "CTO",
        "department": "Engineering",
        "emails": [{"purpose": "work", "email": "jsmith@example.com", "isPrimary": True}],
        "phoneNumbers": [{"purpose": "personal", "phoneNumber": "+32470000000", "isPrimary": True}],
    }
    people = [
        ("Lo\u00efc", "Martin"),
        ("Mar\u00eda", "Garc\u00eda"),
        ("Sven", "\u00c5berg"),
        ("Yuki", "Tanaka"),
        ("Peter", "Gibbons"),
        ("Nadia", "Haddad"),
        ("Tom\u00e1\u0161", "Nov\u00e1k"),
        ("Aoife", "Byrne"),
        ("Wei", "Zhang"),
        ("Olga", "Ivanova"),
        ("Jo", "Jo"),
    ]
    table = [first]
    firms = companies()
    for number, (given, family) in enumerate(people, start=2):
        firm = firms[number % len(firms)]
        address = f"contact{number}@example.com"
        emails: list[Json] = [{"purpose": "work", "email": address, "isPrimary": True}]
        phones: list[Json] = [
            {"purpose": "work", "phoneNumber": f"+3224600{number:04d}", "isPrimary": True},
        ]
        if number % 3 == 0:  # several of each; the primary one is not always the first
            home = f"home{number}@example.com"
            emails.insert(0, {"purpose": "personal", "email": home, "isPrimary": False})
            emails.append({"purpose": None, "email": f"old{number}@example.com", "isPrimary": False})
            phones.append({"purpose": "personal", "phoneNumber": f"0470 {number:06d}", "isPrimary": False})
        if number == 7:  # reachable by nothing
            emails, phones = [], []
        person: Object = {
            "id": f"cnt_{number}",
            "firstName": given,
            "lastName": family,
            "middleName": None,
            "secondLastName": "L\u00f3pez" if number == 3 else None,
            "avatarUrl": f"https://img.example.com/c{number}.png" if number % 2 else None,
            "candidateId": f"cand_{number}" if number % 4 == 0 else None,
            "companyId": firm["id"],
            "companyName": firm["name"],
            "companyLogoUrl": None,
            "jobTitle": ["Recruiter", "VP People", None][number % 3],
            "department": None if number % 2 else "People",
            "emails": emails,
            "phoneNumbers": phones,
        }
        if number == 5:  # a key may be missing where another record says null
            for missing in ("middleName", "secondLastName", "avatarUrl", "candidateId", "department"):
                del person[missing]
        table.append(person)
    return table


def owner_of(user: Object) -> Object:
    """A user as a record shows its owner: `id` where the user list says `userId`, and no e-mail."""
    return {
        "id": user["userId"],
        "name": user["name"],
        "avatarUrl": user["avatarUrl"],
        "deactivatedAt": user["deactivatedAt"],
    }


def stage_of(stage: Object) -> Object:
    """A stage as a record shows it: with `isOpen`, without its colour."""
    return {key: stage[key] for key in ("id", "name", "order", "isOpen")}


def wrap(member: str, value: Json) -> Object:
    """A record's member in its wrapper, the inner key repeating the outer one."""
    return {"viewType": f"opportunity{member[0].upper()}{member[1:]}", member: value}


def without_purposes(team: list[Json]) -> list[Json]:
    """The same contacts the way the newest pages print them: e-mails and phones carry no purpose."""
    plain = copy.deepcopy(team)
    for contact in plain:
        if not isinstance(contact, dict):
            continue
        for member in ("emails", "phoneNumbers"):
            entries = contact.get(member)
            for entry in entries if isinstance(entries, list) else []:
                if isinstance(entry, dict):
                    entry.pop("purpose", None)
    return plain


def seeds() -> list[Seed]:
    """Fresh copies of all 63 records, oldest modification first, the documented record being the first."""
    start = datetime(2023, 11, 7, 6, 0, 0, tzinfo=UTC)
    found = [Seed(documented_record(), start)]
    for number in range(1, RECORD_COUNT):
        step = TIED.start if number in TIED else number
        modified = start + timedelta(days=11 * step, minutes=7 * step, milliseconds=13 * step)
        found.append(Seed(_record(number), modified))
    return found


def documented_record() -> Object:
    """The record of the project's documented example, member for member."""
    return {
        "id": DOCUMENTED_ID,
        "name": {"viewType": "opportunityName", "name": "Senior engineers for Globex"},
        "description": {
            "viewType": "opportunityDescription",
            "description": "Three hires before summer",
        },
        "stage": {
            "viewType": "opportunityStage",
            "stage": {"id": "stg_2", "name": "Proposal", "order": 2, "isOpen": True},
        },
        "company": {"viewType": "opportunityCompany", "company": {"id": "cmp_9", "name": "Globex"}},
        "owner": {
            "viewType": "opportunityOwner",
            "owner": {
                "id": "usr_7",
                "name": "Ada Byron",
                "avatarUrl": "https://img.example.com/7.png",
                "deactivatedAt": None,
            },
        },
        "closeDate": {
            "viewType": "opportunityCloseDate",
            "closeDate": {"target": "2023-11-07T05:31:56Z"},
        },
        "createdAt": {"viewType": "opportunityCreatedAt", "createdAt": "2023-11-07T05:31:56Z"},
        "clientTeam": {"viewType": "opportunityClientTeam", "clientTeam": [contacts()[0]]},
        "nextTaskDue": {
            "viewType": "opportunityNextTaskDue",
            "nextTaskDue": {"id": "tsk_3", "content": "Call back", "dueDate": "2023-11-08T09:00:00Z"},
        },
        "customAttributes": [_attribute("attr_1", "Segment", _text("Tier 1"), by_ai=True)],
    }


def _record(number: int) -> Object:
    created = datetime(2023, 11, 7, 5, 31, 56, tzinfo=UTC) + timedelta(days=9 * number, seconds=number)
    people, staff, firms, steps = contacts(), users(), companies(), stages()

    owner: Json = None if number % 7 == 3 else owner_of(staff[number % len(staff)])

    close: Json = {"target": _instant(created + timedelta(days=60), fraction=number % 2 == 0)}
    if number % 9 == 4:
        close = {"target": None}
    elif number % 9 == 5:
        close = None

    size = 0 if number % 5 == 2 else 1 + number % 3
    team: list[Json] = [people[(number + place) % len(people)] for place in range(size)]

    task: Json = {
        "id": f"tsk_{number + 100}",
        "content": "Send the contract" if number % 2 else "Rappeler apr\u00e8s la r\u00e9union",
        "dueDate": None if number % 8 == 2 else _instant(created + timedelta(days=5), fraction=False),
    }
    if number % 4 == 1:
        task = None

    description: Json = f"Opening {number}\nsecond line"
    if number % 8 == 6:
        description = None
    elif number % 16 == 15:
        description = ""

    members: Object = {
        "name": _NAMES.get(number, f"Opportunity {number:02d} for {firms[number % len(firms)]['name']}"),
        "description": description,
        "stage": stage_of(steps[number % len(steps)]),
        "company": firms[number % len(firms)],
        "owner": owner,
        "closeDate": close,
        "createdAt": _instant(created, fraction=number % 3 == 0),
        "clientTeam": team,
        "nextTaskDue": task,
    }
    record: Object = {"id": record_id(number)}
    for member, value in members.items():
        record[member] = _bare(member, value) if number in BARE else wrap(member, value)
    record["customAttributes"] = _attributes(number)
    if number in EXTRA:
        record["priority"] = {"viewType": "opportunityPriority", "priority": "high"}
        record["pipelineVersion"] = 3
        coloured: Object = {**stage_of(steps[number % len(steps)]), "colorHex": "#000000"}
        record["stage"] = {**wrap("stage", coloured), "isStale": False}
    return record


def _bare(member: str, value: Json) -> Object:
    # Below the wrapper the newest pages leave out what is null; the wrapper itself always holds its key.
    if member == "clientTeam" and isinstance(value, list):
        team = without_purposes(value)
        return {
            member: [
                {key: inner for key, inner in contact.items() if inner is not None}
                for contact in team
                if isinstance(contact, dict)
            ]
        }
    if isinstance(value, dict):
        return {member: {key: inner for key, inner in value.items() if inner is not None}}
    return {member: value}


def _attributes(number: int) -> list[Json]:
    found: list[Json] = []
    if number % 2 == 0:
        tier = _text(f"Tier {1 + number % 3}")
        found.append(_attribute("attr_1", "Segment", tier, by_ai=number % 4 == 0))
    if number in DEAL_VALUES:
        found.append(_attribute("attr_value", "Deal value", _text(DEAL_VALUES[number])))
    if number in OTHER_KINDS:
        found += _other_kinds()
    if number in OLDER_ATTRIBUTES:
        found += _older_attributes()
    if number in EXTRA:
        found.append({**_attribute("attr_x", "Source", _text("Referral")), "lastEditedBy": "usr_7"})
    return found


def _other_kinds() -> list[Json]:
    # The page documents customText only: words and shapes below are guesses a client must not depend on.
    option: Object = {"id": "opt_1", "name": "R\u00e9tention"}
    several: list[Json] = [option, {"id": "opt_2", "name": "EU"}]
    values: list[tuple[str, str, Object]] = [
        ("attr_number", "Headcount", {"viewType": "customNumber", "number": 12}),
        ("attr_ratio", "Margin", {"viewType": "customNumber", "number": Decimal("0.10")}),
        ("attr_long", "Ledger", {"viewType": "customNumber", "number": Decimal("12345678901234567890.1230")}),
        ("attr_check", "Exclusive", {"viewType": "customCheckbox", "checked": True}),
        ("attr_select", "Kind", {"viewType": "customSelect", "option": option}),
        ("attr_multi", "Regions", {"viewType": "customMultiSelect", "options": several}),
        ("attr_date", "Kick-off", {"viewType": "customDate", "date": "2026-05-01"}),
        ("attr_url", "Brief", {"viewType": "customUrl", "url": "https://example.com/brief?a=1&b=2"}),
        (
            "attr_money",
            "Fee",
            {"viewType": "customCurrency", "amount": Decimal("1200.50"), "currency": "EUR"},
        ),
    ]
    return [_attribute(id_, label, value) for id_, label, value in values]


def _older_attributes() -> list[Json]:
    values: list[Json] = ["Tier 2", 7, Decimal("3.50"), True, None, ["a", "b"], {"text": "no viewType"}]
    return [
        {
            "value": value,
            "attributeDefinitionId": f"attr_old_{place}",
            "label": f"Older {place}",
            "description": None if place % 2 else "As older pages print it",
            "options": [{"id": "opt_1", "label": "Tier 2"}] if place == 0 else [],
            "filledByAI": place % 2 == 0,
        }
        for place, value in enumerate(values)
    ]


def _attribute(id_: str, label: str, value: Object, *, by_ai: bool = False) -> Object:
    return {
        "value": value,
        "attributeDefinitionId": id_,
        "label": label,
        "aiFillOngoing": False,
        "aiOverridden": False,
        "isFilledByAI": by_ai,
    }


def _text(text: str) -> Object:
    return {"viewType": "customText", "text": text}


def _instant(moment: datetime, *, fraction: bool) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (".000Z" if fraction else "Z")
