"""How each value of config.yaml is written: the forms of its names, addresses, durations and sizes."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from gateway.adapter import OPERATIONS
from gateway.config.addresses import base_url, host
from gateway.config.forms import Duration, Line, Size, Truth, Whole, choice


class _Key(Line):
    """A key, which may also be missing or be read already."""

    def read(self, value: Any) -> Any:
        return value if value is None or isinstance(value, SecretStr) else super().read(value)


class OrOff:
    """`off`, which becomes None, or a mapping that `model` reads and that becomes a `kind` of its fields."""

    def __init__(self, model: type[BaseModel], kind: type[Any]) -> None:
        self.model, self.kind = model, kind

    def read(self, value: Any, inner: Callable[[Any], Any]) -> Any:
        """What `value` stands for; `inner` reads the mapping."""
        if value is None or value == "off":
            return None
        return value if isinstance(value, self.kind) else self.kind(**dict(inner(value)))

    def _dumped(self, value: Any) -> Any:
        return None if value is None else {name: getattr(value, name) for name in self.model.model_fields}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            self.read,
            handler.generate_schema(self.model),
            serialization=core_schema.plain_serializer_function_ser_schema(self._dumped),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(core["schema"]), {"const": "off"}]}


CONNECTION = Line(
    "a name of 1 to 64 small letters, digits, _ and -, the first a letter or digit", "[a-z0-9][a-z0-9_-]{0,63}"
)
CALLER = Line("a name of 1 to 64 letters, digits, and . _ @ -", "[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PROVIDER = Line("an adapter's name or package.module:Class", "(?![0-9]+$)[!-~]{1,200}")
ADDRESS = Line("sandbox, or an address such as https://api.example.com/v1", "sandbox|https?://[!-~]+", base_url)
KEY = _Key("a key: printable ASCII without blanks", "[!-~]{1,4096}", SecretStr)
FILE = Line("the path of a file", r"[^\x00-\x1f]{1,4096}")
STAGE = Line("a stage's id or name", r"[^\x00-\x1f]{1,200}")
HASH = Line("the 64 hexadecimal digits of a SHA-256 (crm-gateway hash-key)", "[0-9A-Fa-f]{64}", str.lower)
HOST = Line("an IP address such as 127.0.0.1 or a host name", "[0-9-]*[.:A-Za-z][0-9A-Za-z.:-]{0,252}", host)
STATE = Line("off, sqlite:///FILE, redis://... or rediss://...", "off|(sqlite:///|rediss?://)[!-~]+")

Meaning = Literal["open", "won", "lost", "closed"]
MEANING = choice(*get_args(Meaning))
OPERATION = choice(*OPERATIONS)
SCOPE = choice("opportunities:read", "opportunities:write", "opportunities:delete", "operator")

TRUTH = Truth()
COUNT, MANY = Whole("1", "10000"), Whole("1", "1000000000")
PORT, WORKERS = Whole("0", "65535"), Whole("1", "64")
DEADLINE, WINDOW = Duration("1ms", "10m"), Duration("1s", "31d")
LEASE = Duration("100ms", "1h")
AGE, KEEP, LAG, OPEN = Duration("0s", "7d"), Duration("1m", "31d"), Duration("0s", "1h"), Duration("1ms", "1h")
BODY, REPLY, MEMORY = Size("1KiB", "64MiB"), Size("1KiB", "256MiB"), Size("1KiB", "64GiB")
