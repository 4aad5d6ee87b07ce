"""What a look-up proves, and what it does not: over a provider that stores things otherwise, and beside other writes.

The provider is the one of `test_idempotency`; what it does to a text, or to a second create, is said by each test.
"""

import json
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import pytest

from gateway import about as about_
from gateway import looking, settling
from gateway.about import About
from gateway.ledger import Plan, Sent
from gateway.looking import likeness_of_update
from gateway.opportunities import Opportunities
from gateway.steady import letters, may_be, stretch
from tests import test_idempotency
from tests.live import Answer, Says, Seen, StandIn, ask, running_gateway, send
from tests.state_server import patience, state_url
from tests.test_idempotency import Raze, config, create, until_settled

CUT = Says(then="cut")
LONG = "A name that is longer than the column which it is kept in, at many a provider"
SPELLINGS: dict[str, Callable[[str], str]] = {
    "Jane Trimmed ": str.strip,
    "Jane   Collapsed": lambda text: " ".join(text.split()),
    "Cafe\u0301 du Monde": lambda text: unicodedata.normalize("NFC", text),
    "Ｗｉｄｅ Acme": lambda text: unicodedata.normalize("NFKC", text),
    "Jane Loud": str.upper,
    LONG: lambda text: text[:60],
    "Smith & Sons": escape,
    "<b>Bold</b> Industries": lambda text: text.replace("<b>", "").replace("</b>", ""),
    "Jörg Łukasz Größe": lambda text: text.encode("ascii", "replace").decode(),
    "José Nowak": lambda text: text.encode().decode("latin-1"),
    "Иван": lambda text: "Ivan",
    "Jane Counted": lambda text: f"{text} (2)",
}


class Other(Raze):
    """Stores names as it likes, and searches whatever the case."""

    def __init__(self) -> None:
        super().__init__()
        self.spelled: Callable[[str], str] = str
        self.listed = self.got = self.puts = 0
        self.searched = Counter[str]()
        self.while_listing: Callable[[], None] = lambda: None

    def __call__(self, seen: Seen) -> Says:
        self.got += seen.method == "GET" and seen.path != "/opportunities"
        self.puts += seen.method == "PUT"
        return super().__call__(seen)

    def _create(self, body: dict[str, Any]) -> Says:
        email = body.get("email")
        return super()._create({**body, "name": self.spelled(body["name"]), "email": email and email.strip().lower()})

    def _list(self, query: dict[str, str]) -> Says:
        self.listed += 1
        self.while_listing()
        says, search = super()._list({}), query.get("search", "").casefold()
        self.searched[search] += 1
        found = says.body["data"]["opportunities"]
        found[:] = [one for one in found if search in f"{one['name']}\n{one['email'] or ''}".casefold()]
        return says


@pytest.fixture
def raze() -> Other:
    return Other()


class Unlocked(StandIn):
    """Answers several at once."""

    def answer(self, seen: Seen) -> Says:
        assert callable(self.script)
        return self.script(seen)


@pytest.fixture
def gateway(raze: Other, tmp_path: Path) -> Iterator[str]:
    with Unlocked(raze) as provider, running_gateway(config(provider.url, tmp_path), tmp_path) as url:
        yield url


def until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not so():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def lost(raze: Other, *, applied: bool) -> Iterator[None]:
    """Answers of creates are cut."""
    raze.fault, raze.applies = (lambda: CUT), applied
    yield
    raze.fault, raze.applies = None, True


def keyless(url: str, draft: Any) -> Answer:
    return send(f"{url}/v1/opportunities", "POST", json.dumps(draft))


def looked_for(url: str, raze: Other) -> None:
    """Wait for as long as it takes to be sure of what was not applied: whatever was lost before has been looked for too."""
    with lost(raze, applied=False):
        create(url, "control", {"name": "Control 4711 qqq"})
    told = until_settled(lambda: create(url, "control", {"name": "Control 4711 qqq"}))
    assert told.json["outcome"] == "not_applied"


def draft(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


def with_email(name: str, address: str) -> dict[str, Any]:
    return draft(name, contacts=[{"emails": [{"address": address}]}])


# --- a name that is stored otherwise ----------------------------------------------------------------------------------


def lose_one_of_each_spelling(gateway: str, raze: Other) -> dict[str, Any]:
    """Key -> the draft of a create that was applied under a name of the provider's own, its answer lost."""
    drafts = dict[str, Any]()
    for number, (name, spelled) in enumerate(SPELLINGS.items()):
        raze.spelled = spelled
        drafts[f"k{number}"] = draft(name)
        drafts[f"e{number}"] = with_email(name, f" Jane{number}@Acme.example")
        with lost(raze, applied=True):
            for key in (f"k{number}", f"e{number}"):
                assert create(gateway, key, drafts[key]).json["outcome"] == "unknown"
        assert raze.records[-1]["name"] != name
        assert ask(f"{gateway}/v1/opportunities?limit=1").status == 200  # a provider that fails only is left alone
    raze.spelled = str
    return drafts


def test_a_create_whose_name_is_stored_otherwise_is_never_called_absent(gateway: str, raze: Other) -> None:
    drafts = lose_one_of_each_spelling(gateway, raze)
    made = len(raze.records)
    # Of three looks two were late enough to count.
    until(lambda: all(raze.searched[stretch(name).casefold()] >= 3 for name in SPELLINGS))
    until(lambda: all(raze.searched[f"jane{number}@acme.example"] >= 3 for number in range(len(SPELLINGS))))
    for key, sent in drafts.items():
        assert create(gateway, key, sent).json.get("outcome") == "unknown", sent
    assert len(raze.records) == made == 2 * len(SPELLINGS)


def test_names_compared_to_the_letter_double(gateway: str, raze: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "may_be", lambda sent, stored: False)
    monkeypatch.setattr(looking, "alike", lambda sent, stored, path: False)
    drafts = lose_one_of_each_spelling(gateway, raze)
    for number, name in enumerate(SPELLINGS):
        told = until_settled(partial(create, gateway, f"k{number}", draft(name)))
        assert told.json["outcome"] == "not_applied", name
        assert create(gateway, f"k{number}", draft(name)).status == 201
    assert len(raze.records) == len(drafts) + len(SPELLINGS)


def test_what_was_not_applied_is_told_beside_records_of_other_names(gateway: str, raze: Other) -> None:
    assert keyless(gateway, draft("Jones renewal 2024")).status == 201
    with lost(raze, applied=False):
        create(gateway, "k", draft("Smith & Sons Ltd – renewal 2024"))
    told = until_settled(lambda: create(gateway, "k", draft("Smith & Sons Ltd – renewal 2024")))
    assert told.json["outcome"] == "not_applied"


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("Jane Roe ", "Jane Roe"), ("Jane  Roe", "Jane"), ("Smith & Sons Ltd – renewal 2024", "renewal 2024"),
        ("Acme Inc. - deal", "Acme Inc"), ("José Maria", "Maria"), ("Jose\u0301", "Jos"), ("A", ""), ("Иван", ""),
        (" jane.roe@acme.example", "jane.roe@acme.example"), ("x" * 80, "x" * 50), ("<b>X</b> &amp; Y Corp.", "Y Corp"),
    ],
)  # fmt: skip
def test_a_piece_to_search_for_is_spelled_alike_everywhere(text: str, piece: str) -> None:
    assert stretch(text) == piece


def test_letters_tell_names_apart_and_not_their_spellings() -> None:
    assert letters(" A &amp; B-1 ") == letters("a & b 1") == "ab1"
    assert may_be("Jane Roe", "JANE") and may_be("Acme", "Acme (1)") and may_be("Größe", "Groesse")
    assert not may_be("Jane Roe", "John Doe")


# --- beside other writes ----------------------------------------------------------------------------------------------


@contextmanager
def two_gateways(provider: str, state: str, folder: Path) -> Iterator[tuple[str, str]]:
    text = config(provider, folder).replace(f"sqlite:///{folder}/state.db", f"'{state}'")
    for name in ("one", "other"):
        (folder / name).mkdir()
    with running_gateway(text, folder / "one") as one, running_gateway(text, folder / "other") as other:
        yield one, other


@pytest.fixture(params=["sqlite", "redis"])
def both(request: pytest.FixtureRequest, raze: Other, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two gateways that share a state: workers of one machine, or machines."""
    with StandIn(raze) as provider:
        if request.param == "sqlite":
            with two_gateways(provider.url, f"sqlite:///{tmp_path}/state.db", tmp_path) as urls:
                yield urls
        else:
            with patience(), state_url(tmp_path) as state, two_gateways(provider.url, state, tmp_path) as urls:
                yield urls


@pytest.mark.parametrize("first", ["claim", "keyless"])
@pytest.mark.parametrize("name", ["Jane Roe", " jane  roé"])
def test_a_record_made_without_a_key_is_not_given_to_a_key(
    both: tuple[str, str], raze: Other, first: str, name: str
) -> None:
    raze.spelled = lambda text: "Jane Roe" if text == name else text
    if first == "keyless":
        assert keyless(both[1], draft(name)).status == 201
    with lost(raze, applied=False):
        create(both[0], "alice", draft("Jane Roe"))
    if first == "claim":
        assert keyless(both[1], draft(name)).status == 201
    looked_for(both[0], raze)
    assert create(both[0], "alice", draft("Jane Roe")).json["outcome"] == "unknown"
    assert len(raze.records) == 1


def test_without_a_mark_a_record_is_given_to_two(gateway: str, raze: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unmarked(self: Opportunities, *_: Any) -> None:
        """Nobody is told."""

    monkeypatch.setattr(Opportunities, "_mark", unmarked)
    with lost(raze, applied=False):
        create(gateway, "alice", draft("Jane Roe"))
    assert keyless(gateway, draft("Jane Roe")).status == 201
    assert until_settled(lambda: create(gateway, "alice", draft("Jane Roe"))).status == 201
    assert len(raze.records) == 1


def test_one_made_without_a_key_of_another_name_holds_nothing_up(gateway: str, raze: Other) -> None:
    with lost(raze, applied=True):
        create(gateway, "alice", draft("Jane Roe"))
    assert keyless(gateway, draft("John Doe")).status == 201
    assert until_settled(lambda: create(gateway, "alice", draft("Jane Roe"))).status == 201


def test_a_record_that_another_key_is_just_making_is_not_taken(gateway: str, raze: Other) -> None:
    """It begins after the look did, and is seen by it."""
    answers: list[Answer] = []
    other = threading.Thread(target=lambda: answers.append(create(gateway, "bob", draft("Jane Roe"))))
    answered = threading.Event()

    def another_begins() -> None:
        raze.while_listing = lambda: None
        raze.fault = lambda: Says(201, {"data": raze.records[-1]}) if answered.wait(10) else CUT
        other.start()
        until(lambda: bool(raze.records))

    with lost(raze, applied=False):
        create(gateway, "alice", draft("Jane Roe"))
    raze.while_listing = another_begins
    until(lambda: raze.listed >= 2)
    assert create(gateway, "alice", draft("Jane Roe")).json["outcome"] == "unknown"
    answered.set()
    other.join()
    raze.fault = None
    told = until_settled(lambda: create(gateway, "alice", draft("Jane Roe")))
    assert ([one.status for one in answers], told.json.get("outcome")) == ([201], "not_applied")


def test_what_the_list_does_not_tell_is_compared_in_the_record(gateway: str, raze: Other) -> None:
    ours = draft("Jane Roe", description="Ours, by the fair")
    with lost(raze, applied=False):
        create(gateway, "k", ours)
    raze._create({"name": "Jane Roe", "notes": "Quite another"})  # by somebody else, at the provider itself
    looked_for(gateway, raze)
    assert create(gateway, "k", ours).json["outcome"] == "unknown"


def test_of_two_records_for_one_write_none_is_taken(gateway: str, raze: Other) -> None:
    with lost(raze, applied=True):
        create(gateway, "k", draft("Jane Roe"))
        raze._create({"name": "Jane Roe"})  # by somebody else, at the provider itself
    looked_for(gateway, raze)
    assert create(gateway, "k", draft("Jane Roe")).json["outcome"] == "unknown"


def test_once_other_claims_may_be_forgotten_a_record_proves_nothing(
    gateway: str, raze: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SKEW", 25 * 3600.0)  # as if it were a day later
    with lost(raze, applied=True):
        create(gateway, "k", draft("Jane Roe"))
    looked_for(gateway, raze)
    assert create(gateway, "k", draft("Jane Roe")).json["outcome"] == "unknown"


def test_a_longer_keep_brings_back_no_claim_that_may_be_forgotten(
    raze: Other, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "SKEW", 61.0)  # as if it were a minute later
    with Unlocked(raze) as provider:
        for keep in ("1m", "24h"):
            text = config(provider.url, tmp_path, keyed=f"lookup_lag: {test_idempotency.LAG}s, keep: {keep}")
            with running_gateway(text, tmp_path) as url:
                if keep == "1m":
                    with lost(raze, applied=True):
                        create(url, "k", draft("Jane Roe"))
                time.sleep(2.5)
                assert create(url, "k", draft("Jane Roe")).json["outcome"] == "unknown"


def test_an_answer_of_the_providers_own_is_kept_though_another_key_has_the_record(gateway: str, raze: Other) -> None:
    raze.fault = lambda: Says(201, {"success": True, "data": raze.records[0]})  # it knows that one already
    first, second = (create(gateway, key, draft("Jane Roe")) for key in "ab")
    raze.fault = None
    assert (first.status, second.status) == (201, 201) and first.data["id"] == second.data["id"]
    for key, answer in (("a", first), ("b", second)):
        again = create(gateway, key, draft("Jane Roe"))
        assert (again.status, again.body) == (201, answer.body) and again.headers["idempotent-replayed"] == "true"
    assert ask(f"{gateway}/v1/outcomes").data == []


# --- updates ----------------------------------------------------------------------------------------------------------

PATCHES = [
    ({"amount": {"value": "100.50"}}, "deal_value"), ({"name": "john doe"}, "name"), ({"name": " John Doe"}, "name"),
    ({"description": "Called him."}, "notes"), ({"description": "Called him. He was out. Again."}, "notes"),
]  # fmt: skip


@pytest.mark.parametrize(("patch", "member"), PATCHES)
def test_a_value_that_is_there_in_another_form_proves_no_update(
    gateway: str, raze: Other, patch: Any, member: str
) -> None:
    amount = {"value": "100.00", "currency": "BRL"}
    keyless(gateway, draft("John Doe", amount=amount, description="Called him. He was out."))
    before = raze.records[0][member]
    again = partial(send, f"{gateway}/v1/opportunities/opp_0", "PATCH", json.dumps(patch), **{"Idempotency-Key": "p"})
    with lost(raze, applied=False):
        assert again().json["outcome"] == "unknown"
    seen = raze.got
    until(lambda: raze.got >= seen + 3)
    assert raze.records[0][member] == before
    told = again()
    assert (told.status, "idempotent-replayed" in told.headers, told.meta["not_applied"]) == (200, False, [])
    assert raze.records[0][member] != before and raze.puts > 1


@pytest.mark.parametrize(
    ("found", "likeness"),
    [
        ({"name": "A", "owner": {"id": "7"}}, "same"), ({"name": "B", "owner": {"id": "8"}}, "other"),
        ({"name": "A", "owner": {"id": "8"}}, "alike"), ({"name": "a", "owner": {"id": "8"}}, "alike"),
        ({"name": "B"}, "alike"), ({"name": "A"}, "alike"), ({"name": "A", "owner": {"id": "07"}}, "alike"),
        ({"name": "B", "owner": None}, "other"),
    ],
)  # fmt: skip
def test_an_update_is_there_when_all_of_it_is_and_absent_when_nothing_is(found: Any, likeness: str) -> None:
    plan = Plan(sent=[Sent("name", "A", "update"), Sent("owner.id", "7", "update")])
    assert likeness_of_update(plan, found) == likeness


def test_an_update_of_nothing_is_proved_by_nothing() -> None:
    assert likeness_of_update(Plan(), {"name": "A"}) == "alike"


def test_amounts_are_compared_by_value() -> None:
    plan = Plan(sent=[Sent("amount.value", "50000", "update")])
    assert likeness_of_update(plan, {"amount": {"value": "50000.00"}}) == "same"


# --- clocks, and accounts ---------------------------------------------------------------------------------------------


class SetClock:
    """Stands for the module `time` where the gateway reads the time of day: somebody has set the clock by so much."""

    def __init__(self) -> None:
        self.by = 0.0

    def time(self) -> float:
        return time.time() + self.by


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    set_clock = SetClock()
    for module in (about_, settling):
        monkeypatch.setattr(module, "time", set_clock)
    return set_clock


@pytest.mark.parametrize("ahead", [-3600.0, -400.0, 400.0, 3600.0])
def test_a_clock_that_is_set_meanwhile_neither_doubles_nor_takes(
    gateway: str, raze: Other, clock: SetClock, ahead: float
) -> None:
    raze._create({"name": "Older namesake"})
    raze.records[0]["created_at"] = datetime.fromtimestamp(time.time() - 1800, UTC).isoformat()
    names = {True: "Was applied", False: "Older namesake"}
    clock.by = ahead
    for applied, name in names.items():
        with lost(raze, applied=applied):
            create(gateway, name, draft(name))
    clock.by = 0.0
    made = until_settled(lambda: create(gateway, names[True], draft(names[True])))
    assert made.status == 201 and made.json["data"]["native_id"] == "opp_1"
    absent = until_settled(lambda: create(gateway, names[False], draft(names[False])))
    assert absent.json["outcome"] == "not_applied"
    assert raze.posts == len(names) + 1


def test_a_clock_that_is_believed_doubles(
    gateway: str, raze: Other, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(About, "age", lambda self: clock.time() - self.sent_at)
    clock.by = 3600.0
    with lost(raze, applied=True):
        create(gateway, "k", draft("Was applied"))
    clock.by = 0.0
    assert until_settled(lambda: create(gateway, "k", draft("Was applied"))).json["outcome"] == "not_applied"


def test_a_provider_that_does_not_say_what_time_it_is_proves_nothing_by_it(
    raze: Other, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock may be hours behind, so that what was just made looks old."""
    monkeypatch.setattr(test_idempotency, "_date", dict)
    with Unlocked(raze) as provider, running_gateway(config(provider.url, tmp_path), tmp_path) as url:
        with lost(raze, applied=True):
            create(url, "k", draft("Jane Roe"))
        raze.records[0]["created_at"] = datetime.fromtimestamp(time.time() - 9000, UTC).isoformat()
        with lost(raze, applied=False):
            create(url, "none", draft("Nobody at all"))
        told = until_settled(lambda: create(url, "none", draft("Nobody at all")))
        assert told.json["outcome"] == "not_applied"  # no record of that name, however old
        assert create(url, "k", draft("Jane Roe")).json["outcome"] == "unknown"
        assert raze.posts == 2


def test_another_account_is_not_asked_what_became_of_a_write(tmp_path: Path) -> None:
    """The connection's name stayed, and its records are another's."""
    first, second = Other(), Other()
    with Unlocked(first) as one, Unlocked(second) as other:
        with running_gateway(config(one.url, tmp_path), tmp_path) as url, lost(first, applied=True):
            create(url, "k", draft("Jane Roe"))
        with running_gateway(config(other.url, tmp_path), tmp_path) as url:
            looked_for(url, second)
            assert create(url, "k", draft("Jane Roe")).json["outcome"] == "unknown"
            assert second.searched["jane roe"] == 0
        with running_gateway(config(one.url, tmp_path), tmp_path) as url:
            assert until_settled(lambda: create(url, "k", draft("Jane Roe"))).status == 201
    assert (first.posts, second.posts) == (1, 1)
