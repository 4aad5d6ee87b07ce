"""Spott keeps the contract, with and without the attribute that holds the amount."""

from adapters.spott import Spott
from gateway.testing import AdapterContract


class TestSpott(AdapterContract):
    adapter = Spott


class TestSpottWithAmount(AdapterContract):
    adapter = Spott
    settings = {"amount_attribute": {"id": "attr_value", "currency": "EUR"}}  # noqa: RUF012  # as an author writes it
    stages = {"stg_won": "won", "stg_lost": "lost"}  # noqa: RUF012  # as an author writes it
