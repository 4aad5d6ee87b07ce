"""Values on their way in and out: digits, instants and words."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import codecs
from gateway.codecs import Inexact, Unreadable, day_string, decimal_string, instant, instant_string
from gateway.statuses import status_of_open_flag
from gateway.strict_json import dumps, loads

decimals = st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(
    lambda number: -18 <= int(number.as_tuple().exponent) <= 0 and len(number.as_tuple().digits) <= 30
)


@given(decimals)
def test_money_comes_out_with_the_digits_that_went_in(number: Decimal) -> None:
    spelled = codecs.decimal_number.decode(loads(f"[{number:f}]".encode())[0])
    assert spelled == f"{number:f}"
    assert codecs.decimal_number.encode is not None
    assert dumps(codecs.decimal_number.encode(spelled)) in (f"{number:f}".encode(), str(Decimal(spelled)).encode())
    assert Decimal(dumps(codecs.decimal_number.encode(spelled)).decode()) == number


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("50000.00", "50000.00"), ("0.10", "0.10"), ("75000", "75000"), ("-1.5", "-1.5"), ("5e4", "50000"),
        ("1E+3", "1000"), ("1.50e1", "15.0"), ("1e-7", "0.0000001"), ("18446744073709551616", "18446744073709551616"),
        ("123456789012345678901234567890.123456789012345678", "123456789012345678901234567890.123456789012345678"),
    ],
)  # fmt: skip
def test_a_number_is_read_as_its_plain_decimal(sent: str, read: str) -> None:
    assert codecs.decimal_number.decode(loads(sent.encode())) == read


@pytest.mark.parametrize(
    "sent", ["1e400", "1e30", "0.1234567890123456789", "1e-19", "1" * 31, "1e999999999999999999999"]
)
def test_a_number_beyond_the_limits_is_unreadable_and_not_rounded(sent: str) -> None:
    with pytest.raises(Unreadable) as caught:
        codecs.decimal_number.decode(loads(sent.encode()))
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("value", [True, "12", [], {}, None])
def test_what_is_no_number_is_of_the_wrong_type(value: object) -> None:
    with pytest.raises(Unreadable) as caught:
        codecs.decimal_number.decode(value)
    assert caught.value.reason == "wrong_type"


@pytest.mark.parametrize(
    "value", ["+5", " 5", "5 ", "1_000", "٥", "007", ".5", "5.", "", "NaN", "Infinity", "0x10", "1,5"]
)
def test_text_that_is_not_a_decimal_number_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"decimal|number"):
        decimal_string(value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
        ("2024-01-15 10:30:00+00", "2024-01-15T10:30:00Z"),
        ("2026-11-22 01:01:21.282645+00", "2026-11-22T01:01:21.282645Z"),
        ("2024-01-15T10:30:00+0200", "2024-01-15T08:30:00Z"),
        ("2024-01-15T10:30:00-03:30", "2024-01-15T14:00:00Z"),
        ("2024-01-15T10:30:00.5Z", "2024-01-15T10:30:00.500000Z"),
        ("2024-01-15T10:30:00.000Z", "2024-01-15T10:30:00Z"),
        ("2024-01-15T10:30:00.000000000Z", "2024-01-15T10:30:00Z"),
        ("2024-02-29t23:59:59z", "2024-02-29T23:59:59Z"),
        ("2023-12-31T23:30:00-01:00", "2024-01-01T00:30:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_an_instant_is_read_in_every_usual_spelling(written: str, read: str) -> None:
    assert instant().decode(written) == read


@pytest.mark.parametrize(
    "written",
    [
        "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-15T24:00:00Z", "2024-01-15T10:60:00Z",
        "2024-01-15T10:30:60Z", "2024-01-15", "10:30:00", "2024-01-15T10:30Z", "2024-01-15T10:30:00+25:00",
        "0001-01-01T00:00:00+01:00", "2024-01-15T10:30:00 Z", "٢٠٢٤-01-15T10:30:00Z", "1705314600", "",
    ],
)  # fmt: skip
def test_an_impossible_time_is_unreadable(written: str) -> None:
    with pytest.raises(Unreadable) as caught:
        instant().decode(written)
    assert caught.value.reason == "invalid"


def test_digits_past_the_microsecond_are_told_and_not_dropped_in_silence() -> None:
    with pytest.raises(Inexact) as caught:
        instant().decode("2024-01-15T10:30:00.123456789Z")
    assert caught.value.value == "2024-01-15T10:30:00.123456Z"


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),
    st.integers(min_value=-23 * 60 - 59, max_value=23 * 60 + 59),
)
def test_any_offset_reads_as_the_same_instant(naive: datetime, minutes: int) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    spelled, whole = instant_string(at.isoformat(), None)
    assert whole
    assert datetime.fromisoformat(spelled) == at
    assert spelled.endswith("Z")
    assert instant_string(spelled, None) == (spelled, True)


@pytest.fixture(params=["UTC", "America/Sao_Paulo", "Asia/Kathmandu"])
def host_zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The host's own time zone, changed for one test."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


def test_a_time_without_an_offset_is_read_in_the_declared_zone_never_in_the_hosts(host_zone: str) -> None:
    assert instant().decode("2024-07-01 12:00:00") == "2024-07-01T12:00:00Z"
    assert instant(ZoneInfo("Europe/Brussels")).decode("2024-07-01 12:00:00") == "2024-07-01T10:00:00Z"
    assert instant(ZoneInfo("Europe/Brussels")).decode("2024-01-01 12:00:00") == "2024-01-01T11:00:00Z"


@pytest.mark.parametrize("written", ["2024-07-01T12:00:00Z", "2024-07-01 12:00:00z", "2024-07-01T14:00:00+02:00"])
def test_a_time_with_an_offset_is_the_same_on_every_host(host_zone: str, written: str) -> None:
    assert instant().decode(written) == "2024-07-01T12:00:00Z"
    assert instant(ZoneInfo("Europe/Brussels")).decode(written) == "2024-07-01T12:00:00Z"


def test_a_caller_must_give_an_offset() -> None:
    with pytest.raises(ValueError, match="offset"):
        instant_string("2024-07-01T12:00:00", None)


def test_the_day_of_an_instant_is_its_day_in_utc() -> None:
    assert codecs.day_of().decode("2024-01-31T23:30:00-02:00") == "2024-02-01"
    assert codecs.day_of().decode("2024-01-31T23:30:00.1234567-02:00") == "2024-02-01"


@pytest.mark.parametrize("written", ["2024-02-30", "2024-1-1", "24-01-01", "2024-01-01T00:00:00Z", "٢٠٢٤-01-01", ""])
def test_an_impossible_day_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="date"):
        day_string(written)


@pytest.mark.parametrize("code", ["brl", "BR", "BRLX", "B1L", "ÀÉÎ", " BRL"])
def test_a_currency_is_three_capital_letters(code: str) -> None:
    with pytest.raises(Unreadable):
        codecs.currency.decode(code)


@given(st.text())
def test_text_is_kept_as_it_is(value: str) -> None:
    assert codecs.text.decode(value) == value


@pytest.mark.parametrize(
    ("is_open", "stage", "stages", "status", "source"),
    [
        (True, ("s1", "Won"), {}, "open", "native"),
        (True, ("s1", "Won"), {"s1": "won"}, "open", "native"),
        (False, ("s1", "Won"), {}, "closed", "native"),
        (False, ("s1", "Won"), {"s1": "won"}, "won", "stage_map"),
        (False, ("s1", "Won"), {"Won": "lost"}, "lost", "stage_map"),
        (False, ("s1", "Won"), {"s1": "lost", "Won": "won"}, "lost", "stage_map"),
        (False, ("s1", "Won"), {"s1": "open"}, "closed", "native"),
        (codecs.MISSING, ("s1", "Won"), {"s1": "won"}, "won", "stage_map"),
        (codecs.MISSING, ("s1", "Won"), {}, codecs.MISSING, None),
        ("yes", ("s1", "Won"), {"s1": "open"}, "open", "stage_map"),
    ],
)
def test_the_truth_table_of_a_stage_flag(
    is_open: object, stage: tuple[str, str], stages: dict[str, str], status: object, source: object
) -> None:
    status_codec, source_codec = status_of_open_flag(stages)
    assert status_codec.decode(is_open, *stage) == status
    assert source_codec.decode(is_open, *stage) == source


@pytest.mark.parametrize("is_open", ["yes", 1, None, [], {}])
def test_a_stage_flag_that_is_none_is_unreadable_unless_the_stage_map_knows(is_open: object) -> None:
    status_codec, _ = status_of_open_flag({})
    with pytest.raises(Unreadable):
        status_codec.decode(is_open, "s1", "Won")


def test_utc_is_the_zone_without_a_word() -> None:
    assert instant_string("2024-07-01 12:00:00", UTC) == ("2024-07-01T12:00:00Z", True)


@pytest.mark.parametrize("written, exact, sent", [
    ("2026-03-01T00:00:00.0000009Z", "2026-03-01T00:00:00.0000009Z", "2026-03-01T00:00:00.000000Z"),
    ("2026-03-01 01:00:00.12300000010+0130", "2026-02-28T23:30:00.1230000001Z", "2026-02-28T23:30:00.123000Z"),
    ("2026-03-01T00:00:00.1234560Z", "2026-03-01T00:00:00.123456Z", "2026-03-01T00:00:00.123456Z"),
    ("2026-03-01T00:00:00.000Z", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
])  # fmt: skip
def test_an_instant_keeps_the_digits_that_a_caller_wrote_and_goes_out_with_those_that_are_read(
    written: str, exact: str, sent: str
) -> None:
    assert codecs.exact_instant(written) == exact
    encode = codecs.instant().encode
    assert encode is not None and encode(exact) == sent
