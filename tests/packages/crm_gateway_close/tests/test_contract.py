# mypy: disable-error-code="import-not-found,import-untyped,misc"
"""Close keeps the contract."""

from crm_gateway_close import Close

from gateway.testing import AdapterContract


class TestClose(AdapterContract):
    adapter = Close
