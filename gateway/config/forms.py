"""How values are written, whatever they are for: numbers, durations, sizes, truths, lines of text.

A form stands in `Annotated`: it reads the value and describes it in the JSON Schema.
"""

import re
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


def refuse(expected: str) -> PydanticCustomError:
    """The error for a value that is not `expected`; what was found instead is added where it may be shown."""
    return PydanticCustomError("written", "expected {expected}", {"expected": expected})


class Form:
    """How a value is written."""

    pattern: str
    least = ""
    """What a schema must ask of a text beside its pattern; loading asks more."""
    other: tuple[dict[str, Any], ...] = ()
    """What else a schema must allow: the numbers and truths that YAML makes of unquoted text."""

    def read(self, value: Any) -> Any:
        """The value of a text, or a Python value checked alike. Raises what `refuse` makes."""
        raise NotImplementedError  # each form has its own

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        text = {"type": "string", "pattern": rf"^{self.least}(?:{self.pattern})$|\$\{{"}
        return {"anyOf": [*self.other, text]} if self.other else text


class _Number(Form):
    """A number within bounds, which are given as they would be written."""

    expected: str
    between: str
    number: Callable[[str], float]
    units: ClassVar[dict[str, float]]

    def __init__(self, low: str, high: str) -> None:
        self.low, self.high = self._parsed(low), self._parsed(high)
        self.bounds = f"{self.between} from {low} to {high}"
        if self.low > 0 and re.fullmatch(self.pattern, "0"):
            self.least = "(?=[0.]*[1-9])"  # nought in any spelling is too little
        self.other = self._plain()

    def _plain(self) -> tuple[dict[str, Any], ...]:
        """The schemas of numbers that are written without a unit."""
        return ({"type": "integer", "minimum": self.low, "maximum": self.high},)

    def _parsed(self, text: str) -> Any:
        """The number, None if it is not written so."""
        if not re.fullmatch(self.pattern, text):
            return None
        digits = re.match("[0-9.]+", text)[0]  # type: ignore[index]  # every pattern begins with one
        return self.number(digits) * self.units[text[len(digits) :]]

    def read(self, value: Any) -> Any:
        number = self._parsed(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise refuse(self.expected)
        if not self.low <= number <= self.high:
            raise refuse(self.bounds)
        return number


class Duration(_Number):
    """Seconds, from `10s`, `500ms`, `5m`, `1h`, `1d` or plain `0`."""

    pattern = r"[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d)|0"
    expected = "a duration such as 10s, 500ms, 5m"
    between = "a duration"
    number = float
    units: ClassVar = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

    def _plain(self) -> tuple[dict[str, Any], ...]:
        return () if self.low > 0 else ({"const": 0},)


class Size(_Number):
    """Bytes, from `256KiB`, `8MiB` or a plain number of them."""

    pattern = r"[1-9][0-9]{0,14}(B|KiB|MiB|GiB|kB|MB)?"
    expected = "a size such as 256KiB, 8MiB or a number of bytes"
    between = "a size"
    number = int
    units: ClassVar = {"": 1, "B": 1, "kB": 1000, "MB": 10**6, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Whole(_Number):
    """A whole number in decimal digits; no leading zero, since `012` is ten in YAML 1.1."""

    pattern = "0|[1-9][0-9]{0,14}"
    between = "a whole number"
    number = int
    units: ClassVar = {"": 1}

    def __init__(self, low: str, high: str) -> None:
        super().__init__(low, high)
        self.expected = self.bounds

    def read(self, value: Any) -> Any:
        return super().read(None if isinstance(value, float) else value)


class Truth(Form):
    """`true` or `false`, and none of YAML 1.1's other words for them."""

    pattern = "true|false"
    other = ({"type": "boolean"},)

    def read(self, value: Any) -> Any:
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return bool(value == "true")
        raise refuse("true or false")


class Line(Form):
    """Text that matches `pattern` as a whole; `make` turns it into the value or raises as `refuse` does."""

    def __init__(self, expected: str, pattern: str, make: Callable[[str], Any] = str) -> None:
        self.expected, self.pattern, self.make = expected, pattern, make
        if re.fullmatch(pattern, "1"):
            self.other = ({"type": "integer"},)

    def read(self, value: Any) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise refuse(self.expected)
        return self.make(str(value))


def choice(*words: str) -> Line:
    """One of these words."""
    return Line("one of " + ", ".join(words), "|".join(words))
