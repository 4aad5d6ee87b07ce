"""GetRaze keeps the contract, in both of its dialects."""

from typing import ClassVar

from adapters.getraze import GetRaze
from adapters.getraze.sandbox_served_seeds import PIPELINE_ID, STAGES
from gateway.testing import AdapterContract


class TestGetRaze(AdapterContract):
    adapter = GetRaze


class TestGetRazeServed(AdapterContract):
    adapter = GetRaze
    settings: ClassVar = {"dialect": "served", "pipeline_id": PIPELINE_ID, "stage_id": STAGES["new"]}
