"""What a translation does with extensions: each goes back to its place or is named, and none takes a mapped value's."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Problem
from gateway.pointer import is_pointer, leaves, put
from gateway.strict_json import dumps
from gateway.translating import translate

EXAMPLES = Path(__file__).parent / "examples"
NOT_TOLD: Any = object()


def content(record: dict[str, Any]) -> dict[str, Any]:
    """The leaves without the words beside them, which are form."""
    return {at: told for at, told in leaves(record) if not (at.endswith("/viewType") and isinstance(told, str))}


def spott() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((EXAMPLES / "spott-get.documented.json").read_bytes())
    return record


def team(*people: Any, **members: Any) -> dict[str, Any]:
    """The documented record with other contacts."""
    record = spott()
    record["clientTeam"]["clientTeam"] = list(people)
    return record | members


def person(id_: str, **members: Any) -> dict[str, Any]:
    known = {name: value for name, value in spott()["clientTeam"]["clientTeam"][0].items() if name != "candidateId"}
    return known | {"id": id_, **members}


def there_and_back(record: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """(the record by way of the canonical form, what is told as not applied)."""
    canonical, _ = translate(record, "spott", "canonical")
    back, told = translate(canonical, "canonical", "spott")
    return back, told["not_applied"]


BOB, CAROL = person("cnt_2", candidateId="cand_2"), person("cnt_3", tags=["a", {"b": [None]}])


@pytest.mark.parametrize(
    "people",
    [
        [None, BOB, CAROL], [BOB, None, CAROL], [BOB, CAROL, None], [5, "x", BOB, [], CAROL], [None, None], [{}, BOB, None],
        [BOB, {}, 7, CAROL],
    ],
)  # fmt: skip
def test_an_element_that_cannot_be_read_stands_where_it_stood_and_takes_nobodys_place(people: list[Any]) -> None:
    record = team(*people)
    assert there_and_back(record) == (record, [])


@pytest.mark.parametrize(
    "people", [[["x"], BOB, CAROL], [BOB, ["x", {}], CAROL], [BOB, {**person("cnt_3"), "0": 1}, BOB]]
)
def test_what_might_be_another_elements_is_named_and_put_nowhere(people: list[Any]) -> None:
    back, told = there_and_back(team(*people))
    persons = [one for one in people if isinstance(one, dict)]
    kept = back["clientTeam"]["clientTeam"]
    assert [one["id"] for one in kept] == [one["id"] for one in persons]
    for one, before in zip(kept, persons, strict=True):
        assert one.items() <= before.items()
    extensions = translate(team(*people), "spott", "canonical")[0]["extensions"]
    named = {entry["detail"].split(" ")[0]: entry["sent"] for entry in told}
    assert {pointer: value for pointer, value in extensions.items() if pointer not in dict(leaves(back))} == named
    assert named


@pytest.mark.parametrize("record", [
    team(["x"], {**BOB, "0": 1}, None), team(None, BOB, customAttributes={"0": 1}), {}, {"id": 5, "stage": "x", "name": {}},
])  # fmt: skip
def test_a_record_in_its_own_dialect_is_itself(record: dict[str, Any]) -> None:
    translated, told = translate(record, "spott", "spott")
    assert (translated, told["not_applied"]) == (record, [])


@pytest.mark.parametrize("change", [
    {"/closeDate/closeDate/target": "soon"}, {"/closeDate/closeDate/target": "2026-03-01T00:00:00.1230004Z"},
    {"/stage/stage/isOpen": "yes"}, {"/owner/owner/colour": "red"}, {"/name/viewType": 5}, {"/tags": ["a", [{}]]},
    {"/customAttributes": {"a": {"b": 1}}}, {"/a~1b/c~0/-1/": "x"}, {"/clientTeam/clientTeam": "nobody"},
])  # fmt: skip
def test_what_could_not_be_read_or_is_not_known_goes_back_where_it_stood(change: dict[str, Any]) -> None:
    record = spott()
    for pointer, value in change.items():
        put(record, pointer, value)
    back, told = there_and_back(record)
    assert (content(back), told) == (content(record), [])


SERVED: dict[str, Any] = {
    "id": "o_1", "title": "The title", "notes": None, "stage_id": "won", "stage_name": "won", "value": "5.00",
    "currency": "BRL", "contact_name": "Jo", "contact_company": "Acme", "won_at": "2026-01-01T00:00:00Z", "lost_at": None,
    "owner_user_id": "u_1", "created_at": "2026-01-01T00:00:00Z",
}  # fmt: skip


@pytest.mark.parametrize(("extra", "told"), [
    ({"name": "Another"}, "The title"), ({"status": "archived"}, "won"), ({"company": "Another"}, "Acme"),
    ({"deal_value": 1}, "5.00"), ({"email": "other@example.com"}, NOT_TOLD),
    ({"responsible_user": {"id": "u_2"}}, {"id": "u_1"}), ({"phone": None}, NOT_TOLD), ({"name": {"a": [1]}}, "The title"),
])  # fmt: skip
def test_what_another_dialect_left_over_neither_replaces_nor_becomes_a_mapped_value(
    extra: dict[str, Any], told: Any
) -> None:
    bare, _ = translate(SERVED, "getraze-served", "getraze")
    made, meta = translate({**SERVED, **extra, "score": 7}, "getraze-served", "getraze")
    assert made == {**bare, "score": 7}
    (name,) = extra
    found = made.get(name, NOT_TOLD)
    assert (str(found) if name == "deal_value" else found) == told
    named = {one["detail"].split(" ")[0]: one["sent"] for one in meta["not_applied"] if one["field"] == "extensions"}
    assert named == dict(leaves(extra))


@pytest.mark.parametrize("extensions", [
    {"/customAttributes/99999999/x": 1}, {"/clientTeam/clientTeam/50000000": 1}, {"/clientTeam/clientTeam/-1": 1},
    {"/clientTeam/clientTeam/-1/id": "x"}, {"/clientTeam/clientTeam/-": 1}, {"/clientTeam/clientTeam/01": 1},
    {"/clientTeam/clientTeam/9/id": "x"}, {"/clientTeam/clientTeam/0": {}}, {"/clientTeam/clientTeam/0/firstName": "Eve"},
    {"/clientTeam": None}, {"/clientTeam/clientTeam/x/y": 1}, {"/name/name": "Other"}, {"/name/name/x": 1},
    {"/id": "other"}, {"/customAttributes/0/x": 1},
    {"/closeDate/closeDate/target": "2026-01-01T00:00:00Z"}, {"/closeDate": None},
])  # fmt: skip
def test_a_place_that_is_not_there_or_is_taken_is_named_beside_what_finds_its_own(extensions: dict[str, Any]) -> None:
    canonical = {
        "provider": "spott", "native_id": "n", "name": "x",
        "contacts": [{"id": "cnt_1", "first_name": "Jane"}, {"id": "cnt_2"}],
    }  # fmt: skip
    bare, _ = translate(canonical, "canonical", "spott")
    made, meta = translate({**canonical, "extensions": {"/a": 1, **extensions, "/z/0": [2]}}, "canonical", "spott")
    assert made == {**bare, "a": 1, "z": [[2]]}
    assert [(entry["field"], entry["reason"], entry["sent"]) for entry in meta["not_applied"]] == [
        ("extensions", "unsupported", value) for value in extensions.values()
    ]


def test_extensions_that_contradict_each_other_are_all_kept_or_named() -> None:
    told = {"/x": {}, "/x/y": 1, "/x/y/z": 2, "/l/0": 1, "/l/2": 3, "/deep": {"a": {"b": 4}}, "/deep/a/b": 5}
    made, meta = translate({"provider": "spott", "extensions": told}, "canonical", "spott")
    kept = dict(leaves(made))
    named = {entry["detail"].split(" ")[0] for entry in meta["not_applied"]}
    for pointer, value in told.items():
        assert pointer in named or all(kept.get(leaf) == inner for leaf, inner in leaves(value, pointer)), pointer
    assert len(named) < len(told)


@pytest.mark.parametrize("levels", [200, 201, 2000, 3000, 60000])
@pytest.mark.parametrize("token", ["/a", "/0"])
@pytest.mark.parametrize("target", ["spott", "getraze", "canonical"])
def test_an_extension_deeper_than_any_record_is_refused(levels: int, token: str, target: str) -> None:
    record = {"provider": "spott", "name": "x", "extensions": {token * levels: 1}}
    if levels <= 200:
        made, meta = translate(record, "canonical", target)
        assert dumps(made)
        assert target == "canonical" or bool(meta["not_applied"]) is (target == "getraze")
        return
    with pytest.raises(Problem) as refused:
        translate(record, "canonical", target)
    assert refused.value.code == "invalid-opportunity"
    assert [error.message for error in refused.value.errors] == ["is more than 200 levels deep"]


@pytest.mark.parametrize("pointer", ["", "a", "a/b", "/~", "/~2", "/a~", "/a/~1~3"])
def test_an_extension_is_keyed_by_a_json_pointer(pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        translate({"name": "x", "extensions": {"/fine": 1, pointer: 1}}, "canonical", "spott")
    assert [error.field for error in refused.value.errors] == [f"extensions.{pointer}"]
    assert not is_pointer(pointer) and is_pointer("/") and is_pointer("//~0~1/ \n")


def test_an_extension_put_back_unseen_is_found_by_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault planted: whatever was left over is put where it says, mapped values or not."""

    def blindly(rendered: Any, extensions: Any, table: Any) -> Any:
        for pointer, value in extensions.items():
            put(rendered, pointer, value)
        return rendered, []

    monkeypatch.setattr("gateway.translating.restored", blindly)
    with pytest.raises(AssertionError):
        test_what_another_dialect_left_over_neither_replaces_nor_becomes_a_mapped_value(
            {"name": "Another"}, "The title"
        )
    with pytest.raises(AssertionError):
        test_an_element_that_cannot_be_read_stands_where_it_stood_and_takes_nobodys_place([None, BOB, CAROL])
