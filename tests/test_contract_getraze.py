"""GetRaze keeps the contract."""

from adapters.getraze import GetRaze
from gateway.testing import AdapterContract


class TestGetRaze(AdapterContract):
    adapter = GetRaze
