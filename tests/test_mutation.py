"""The mutation run itself: what it changes, what it leaves alone, and that it tells the dead from the living."""

import ast
from collections.abc import Iterator

import pytest

from tests.mutation.__main__ import FILES, chosen
from tests.mutation.changes import Source
from tests.mutation.running import ROOT, Worker, sources, worker

TEXT = '''
"""A docstring."""
__all__ = ["f"]
Word = Literal["a", "b"]

@cache
def f(a: "A", b: int = 3) -> "B":
    """Another."""
    if a < b and not a:
        raise ValueError("a sentence for people")
    print(f"{a} and {b}", f"{a}.{b}")
    return re.match("a b", Codec("name", "doc", a))
'''


def told(text: str) -> list[str]:
    return [f"{change.before} -> {change.after}" for change in Source("f.py", text).changes]


def test_each_kind_of_change_is_made_and_no_sentence_hint_or_name_is_touched() -> None:
    assert told(TEXT) == [
        "3 -> 4", "a < b and (not a) -> not (a < b and (not a))", "a < b and (not a) -> a < b or not a", "a < b -> a <= b",
        "a < b -> a >= b", "not a -> a", "raise ValueError('a sentence for people') -> pass",
        "print(f'{a} and {b}', f'{a}.{b}') -> pass", "'.' -> '.X'", 
        "return re.match('a b', Codec('name', 'doc', a)) -> return None",
        "'a b' -> 'a bX'", "'doc' -> 'docX'",
    ]  # fmt: skip
    assert told("x = f(y, z=w)") == ["x = f(y, z=w) -> x = None", "f(…, z=w) -> without it"]
    assert told("for x in y:\n    z += x * True\n    continue") == [
        "z += x * True -> z = x * True", "x * True -> x / True", "True -> False", "continue -> break",
    ]  # fmt: skip


def test_every_change_of_the_mapping_is_one_change_to_a_file_that_parses() -> None:
    taken = sources(FILES)
    for file, source in taken.items():
        plain = source.plain()
        assert ast.dump(ast.parse(plain)) == ast.dump(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        for change in source.changes[::25]:
            changed = source.changed(change.number)
            assert changed != plain and ast.parse(changed)
        assert source.plain() == plain


def test_a_sample_is_the_same_for_the_same_seed_and_can_be_of_one_line() -> None:
    taken = sources(["gateway/pointer.py", "gateway/codecs.py"])
    drawn = chosen(taken, {}, 20, 1)
    assert drawn == chosen(taken, {}, 20, 1) != chosen(taken, {}, 20, 2) and len(drawn) == 20
    assert len(chosen(taken, {}, None, 1)) == sum(len(source.changes) for source in taken.values())
    assert {change.line for change in chosen(taken, {"gateway/codecs.py": {drawn[-1].line}}, None, 0)
            if change.file == "gateway/codecs.py"} == {drawn[-1].line}  # fmt: skip


@pytest.fixture(scope="module")
def mine() -> Iterator[Worker]:
    with worker("tests/test_mapping.py") as made:
        yield made


@pytest.mark.parametrize(
    ("file", "old", "new", "killed"),
    [
        ("adapters/spott/fields.py", '"/stageId"', '"/stage_id"', True),
        ("gateway/codecs.py", "import re\n", "import nothing_of_the_kind\n", True),
        ("gateway/codecs.py", "def kind(", "while True: pass\ndef kind(", True),
        ("gateway/pointer.py", "strict=True", "strict=False", False),
    ],
    ids=["other-place", "no-import", "no-end", "equivalent"],
)
def test_what_matters_is_killed_and_what_does_not_survives(
    mine: Worker, file: str, old: str, new: str, killed: bool
) -> None:
    before = (ROOT / file).read_bytes()
    text = before.decode()
    assert text.count(old) == 1
    by, _ = mine.try_out({file: text.replace(old, new)}, limit=3 if "while" in new else 60)
    assert bool(by) is killed
    assert ("time limit" in by) is ("while" in new)
    assert (ROOT / file).read_bytes() == before
