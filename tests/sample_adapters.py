"""Small adapters that config.yaml can name in tests, as `tests.sample_adapters:Flat`."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from adapters.getraze import GetRaze
from adapters.spott.sandbox import SpottSandbox
from gateway.adapter import Adapter, Budget, Call, Limits, ListQuery, Reply


class Flat(Adapter):
    """Has a sandbox, a budget and no settings; can get, list and update."""

    name = "flat"
    title = "Flat"
    homepage = "https://flat.example"
    base_url = "https://api.flat.example/v1/"
    limits = Limits(page=50, budget=Budget(calls=1000, per=3600.0))
    sandbox: ClassVar[str | None] = "tests.sample_adapters:stand_in"

    def get(self, native_id: str) -> Call:
        """One record."""
        return Call("get", "GET", f"/deals/{native_id}")

    def list(self, query: ListQuery) -> Call:
        """One page."""
        return Call("list", "GET", "/deals")

    def update(self, native_id: str, bodies: object) -> tuple[Call, ...]:
        """One call."""
        return (Call("update", "PATCH", f"/deals/{native_id}", body={}),)


class Amount(BaseModel):
    """Where the amount is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    currency: str = Field(pattern="^[A-Z]{3}$")


class FussySettings(BaseModel):
    """A nested model, a choice, a number, a truth, and a validator that quotes what it refuses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    amount_attribute: Amount | None = None
    dialect: Literal["documented", "served", "auto"] = "auto"
    page: int = Field(default=10, ge=1)
    quick: bool = False
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("UTC", "no", "12"):
            raise ValueError(f"no zone {value!r}")
        return value


class Fussy(Flat):
    """Has settings, no sandbox and no budget."""

    name = "fussy"
    limits = Limits(page=50)
    Settings = FussySettings
    sandbox = None


class AlwaysFine(GetRaze):
    """Answers all with 200, and tells by a code of its own what failed."""

    name = "alwaysfine"
    codes: ClassVar[dict[str, str]] = {
        "GONE": "not-found", "KEY": "provider-auth-failed", "RULE": "provider-rejected", "SLOW": "rate-limited",
        "DOWN": "provider-error",
    }  # fmt: skip

    def code_for(self, reply: Reply) -> str | None:
        """The code of an error that is known."""
        return self.codes.get(self.problem(reply).code or "")


class TellsTheId:
    """Spott's sandbox, but for what it says to an update."""

    prefix = ""

    def __init__(self, *, key: str, settings: Mapping[str, object]) -> None:
        self._sandbox = SpottSandbox(key=key, settings=settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        told = {"id": scope.get("path", "").rpartition("/")[2]}

        async def instead(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 204:
                await JSONResponse(told)(scope, receive, send)

        await self._sandbox(scope, receive, instead if scope.get("method") == "PATCH" else send)


class Undeclared(Adapter):
    """Declares nothing."""


def stand_in() -> None:
    """The place of a sandbox; configuration never calls it."""
