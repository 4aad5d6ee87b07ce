"""Every route of the API as a table: from it come the routing, the scopes, the checks of parameters, and OpenAPI."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.callers import DELETE, WRITE

if TYPE_CHECKING:
    from gateway.http.app import Context, Reply


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter: `schema` is JSON Schema, `description` a sentence."""

    name: str
    description: str
    schema: dict[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    `scope` None: no caller key is asked for; "": any valid key will do. `body` names the input model in `schemas`, `answer`
    the output model (None: no body, or one that is not JSON, then `media` says what). `problems` are the codes that the
    operation can answer with beyond those that every authenticated operation can.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: "Callable[[Context], Reply | Awaitable[Reply]]"
    scope: str | None = None
    parameters: Sequence[Parameter] = ()
    headers: Sequence[str] = ()
    body: str | None = None
    status: int = 200
    answer: str | None = None
    media: str = "application/json"
    problems: Sequence[str] = ()

    @property
    def writes(self) -> bool:
        """Whether this changes something at a provider, so that a problem has to say what became of it."""
        return self.scope in (WRITE, DELETE)
