# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Money in hundredths: exact to the last digit, and refused where a digit would be lost; statuses by their type."""

from decimal import Decimal
from typing import Any

import pytest
from crm_gateway_close import Close, CloseStage
from crm_gateway_close.codecs import hundredths, probability

from gateway.adapter import NoSettings, Reply
from gateway.codecs import Unencodable, Unreadable


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (0, "0.00"), (1, "0.01"), (10, "0.10"), (100, "1.00"), (-1, "-0.01"), (-1250, "-12.50"), (50000, "500.00"),
        (12345678901234567890, "123456789012345678.90"), (10**32 - 1, "9" * 30 + ".99"),
    ],
)  # fmt: skip
def test_hundredths_are_read_and_written_to_the_digit(stored: int, told: str) -> None:
    assert hundredths.decode(stored) == told
    assert hundredths.encode is not None
    assert hundredths.encode(told) == stored


@pytest.mark.parametrize(
    ("sent", "stored"), [("0", 0), ("75000", 7500000), ("-12.5", -1250), ("1.000000", 100), ("-0.00", 0), ("0.1", 10)]
)
def test_any_spelling_of_an_amount_is_written_as_the_same_number(sent: str, stored: int) -> None:
    assert hundredths.encode is not None
    assert hundredths.encode(sent) == stored
    assert Decimal(hundredths.decode(stored)) == Decimal(sent)


@pytest.mark.parametrize("sent", ["10.005", "0.001", "-1.239", "9.000000000000000001"])
def test_what_is_finer_than_a_hundredth_is_refused(sent: str) -> None:
    assert hundredths.encode is not None
    with pytest.raises(Unencodable, match="two digits after the point"):
        hundredths.encode(sent)


@pytest.mark.parametrize("stored", [Decimal("12.5"), "500", True, 10**32, [5]])
def test_what_is_no_whole_number_of_hundredths_is_not_guessed(stored: Any) -> None:
    with pytest.raises(Unreadable):
        hundredths.decode(stored)


@pytest.mark.parametrize(
    ("stored", "told"), [(0, "0"), (1, "0.01"), (5, "0.05"), (40, "0.4"), (75, "0.75"), (100, "1")]
)
def test_confidence_is_a_probability_without_trailing_zeros(stored: int, told: str) -> None:
    assert probability.decode(stored) == told


@pytest.mark.parametrize("stored", [-1, 101, Decimal("40.0"), "40", False])
def test_a_confidence_beyond_its_range_is_not_guessed(stored: Any) -> None:
    with pytest.raises(Unreadable):
        probability.decode(stored)


def test_a_stage_means_what_its_type_says_and_else_what_the_stage_map_says() -> None:
    close = Close(NoSettings(), {"stat_1": "lost"})
    assert close.status_of_stage(CloseStage("stat_1", "Gewonnen", type="won")) == "won"
    assert close.status_of_stage(CloseStage("stat_2", "Demo", type="active")) == "open"
    assert close.status_of_stage(CloseStage("stat_1", "Aufgegeben", type="a new type")) == "lost"
    assert close.status_of_stage(CloseStage("stat_3")) is None


def test_the_rate_limit_is_read_without_its_reset() -> None:
    close = Close(NoSettings(), {})
    left = close.budget_left(Reply(200, {"ratelimit": "limit=100, remaining=7, reset=2.5"}))
    assert left is not None
    assert (left.limit, left.remaining, left.reset) == (100, 7, None)
    assert close.budget_left(Reply(200, {"ratelimit": "limit=a lot"})) is None
