"""The strict parser and the exact writer."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import strict_json
from gateway.strict_json import Json, NotJson, dumps, is_crowded, loads
from tests.kinds.json_cases import DUPLICATE, INVALID, VALID

REFUSED = {
    "a duplicate key": b'{"a":1,"a":2}', "a duplicate key deep down": b'[{"x":{"a":1,"b":2,"a":3}}]',
    "a duplicate key spelled by an escape": b'{"\\u0061":1,"a":2}', "NaN": b"NaN", "Infinity": b"[Infinity]",
    "-Infinity": b"-Infinity", "a lone high surrogate": b'"\\ud800"', "a lone low surrogate": b'"\\udc00"',
    "surrogates swapped": b'"\\udc00\\ud800"', "not UTF-8": b'"\xff"', "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "an overlong form": b'"\xc0\xaf"', "UTF-16": '{"a":1}'.encode("utf-16"), "a trailing comma": b"[1,]",
    "a trailing comma in an object": b'{"a":1,}', "a leading zero": b"01", "a bare point": b"1.", "no whole part": b".5",
    "a plus sign": b"+1", "an empty exponent": b"1e", "a control character": b'"a\x01"', "a raw tab": b'"a\tb"',
    "trailing words": b"[1] x", "two values": b"1 2", "nothing": b"", "a blank": b" ", "cut short": b'{"a":[1,2',
    "single quotes": b"{'a':1}", "a bare key": b"{a:1}", "a number as key": b"{1:2}", "a bad escape": b'"\\x41"',
    "a comment": b"/*x*/1", "hexadecimal": b"0x10", "a capital word": b"True", "half a word": b"nul",
    "too deep": b"[" * 100_000, "deep but closed": b"[" * 250 + b"]" * 250, "HTML": b"<!doctype html><p>sorry",
    "a BOM in the middle": b'[\xef\xbb\xbf1]', "a form feed": b"\x0c[]", "a no-break space": b"[1]\xc2\xa0",
}  # fmt: skip


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_strict_json_is_refused(data: bytes) -> None:
    with pytest.raises(NotJson):
        loads(data)


def test_a_refusal_repeats_nothing_of_the_input() -> None:
    with pytest.raises(NotJson) as caught:
        loads(b'{"canary-secret":1,"canary-secret":2}')
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbf{}", {}), (b'"\\ud83d\\ude00"', "😀"), (b'"\\u0000"', "\0"), (b"-0", 0),
        (b"18446744073709551616", 2**64), (b"50000.00", Decimal("50000.00")), (b"1E400", Decimal("1E+400")),
        (b' {"a" : [ ] } \r\n', {"a": []}), (b'"\x7f"', "\x7f"), (b'{"":1}', {"": 1}), (b"null", None),
    ],
)  # fmt: skip
def test_what_is_strict_json_is_read_exactly(data: bytes, value: Json) -> None:
    assert loads(data) == value


@pytest.mark.parametrize(
    "data",
    [b"50000.00", b"0.10", b"123456789012345678901234567890.12", b"18446744073709551616", b"1e999999999999999999999"],
)
def test_digits_come_out_as_they_went_in(data: bytes) -> None:
    assert dumps(loads(b'{"a":' + data + b"}")) == b'{"a":' + data + b"}"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_written_reads_as_the_same(value: Json) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"[" + b"1," * 98 + b"1]", 99), (b"[" * 100 + b"]", 100), (b'{"a":{}' + b',"b":1' * 98 + b"}", 100),
        (b'["' + b",[{" * 500 + b'"]', 1), (b'["' + b'\\",' * 500 + b'"]', 1), (b'"' + b"," * 500, 500),
        (b'["a\\\\",' + b"1," * 97 + b"1]", 99),
    ],
)  # fmt: skip
def test_values_are_counted_and_texts_are_not(data: bytes, values: int) -> None:
    assert is_crowded(data, values)
    assert not is_crowded(data, values + 1)


# --- a corpus of our own


@pytest.mark.parametrize(("data", "value"), VALID.values(), ids=VALID.keys())
def test_the_corpus_whatever_is_json_is_taken(data: bytes, value: Json) -> None:
    read = loads(data)
    if value == "deep":
        assert dumps(read) == data
    elif value == "huge":
        assert dumps([read]) == b"[" + data + b"]"
    else:
        assert read == value and type(read) is type(value)


@pytest.mark.parametrize("data", [*INVALID.values(), *DUPLICATE.values()], ids=[*INVALID, *DUPLICATE])
def test_the_corpus_whatever_is_not_is_refused(data: bytes) -> None:
    with pytest.raises(NotJson):
        loads(data)


def test_the_corpus_is_large_and_has_nothing_twice() -> None:
    cases = [data for data, _ in VALID.values()] + [*INVALID.values(), *DUPLICATE.values()]
    assert len(cases) == len(set(cases)) >= 150


# --- a text that is written again in the same bytes is read by that; what comes of it is what the parser would say


def by_both(data: bytes) -> tuple[str, str]:
    """What comes of a text in both ways, with the types of all values."""
    told = []
    for short in (strict_json._SHORT, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strict_json, "_SHORT", short)
            try:
                told.append(repr(loads(data)))
            except NotJson:
                told.append("not JSON")
    return told[0], told[1]


CORPUS = [*REFUSED.values(), *(data for data, _ in VALID.values()), *INVALID.values(), *DUPLICATE.values()]


def test_both_ways_to_read_come_to_the_same_over_the_corpus() -> None:
    quick = 0
    for data in CORPUS:
        one, other = by_both(data)
        assert one == other, data
        quick += strict_json._as_written(data) is not strict_json._OTHER
    assert quick > 20  # some are written so


WEDGES = [b"", b" ", b"\n", b"\\u0041", b"1", b"0", b"-", b"e5", b"[", b"]", b'"', b'"a":1,"a":1,', b'{"a":1,"a":1}']


@given(json_values, st.sampled_from(WEDGES), st.integers(0, 10_000))
def test_both_ways_to_read_come_to_the_same(value: Json, more: bytes, at: int) -> None:
    data = dumps(value)
    assert strict_json._as_written(data) is not strict_json._OTHER
    at %= len(data) + 1
    for text in (data, data[:at] + more + data[at:]):
        one, other = by_both(text)
        assert one == other


def test_a_planted_reader_of_names_that_come_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "_as_written", strict_json._decoder.decode)
    assert loads(b'{"a":1,"a":2}') == {"a": 2}  # what the corpus refuses
