"""Log lines on standard error: text for people or JSON for programs, one line each.

A line of a request has its fields in `record.told`. No line holds the id of a record, a query, a body or a key; an
exception is told by its class and where it was raised, since its text may quote any of these.
"""

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
FORMAT = "CRM_GATEWAY_LOG"
"""The environment variable for the format: what workers are told by, too."""
ACCESS = "CRM_GATEWAY_ACCESS_LOG"
"""The environment variable that asks for a line for each request, whatever it is but empty or 0."""

access = logging.getLogger("gateway.access")
_DEEPEST = 12


def configure(form: Format = "text", *, every_request: bool = False) -> None:
    """Warnings and errors on standard error, and a line for each request where that is asked for."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    access.setLevel(logging.INFO if every_request else logging.WARNING)


def form() -> Format:
    """What the environment says."""
    return "json" if os.environ.get(FORMAT) == "json" else "text"


def say(note: str, form: str = "text") -> None:
    """A note to whoever started the server, on standard error: as it is for people, an object for programs."""
    told = logging.makeLogRecord({"name": "gateway", "levelno": logging.INFO, "levelname": "INFO", "msg": note})
    print(_Json().format(told) if form == "json" else note, file=sys.stderr, flush=True)  # noqa: T201  # no log is open yet


def where(error: BaseException) -> str:
    """An exception without its text: its class and the calls that led to it, innermost last; what caused it behind."""
    told, seen = [], set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        told.append(f"{type(current).__module__}.{type(current).__qualname__}{_calls(current.__traceback__)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "; while handling ".join(told)


def _calls(traceback: TracebackType | None) -> str:
    calls = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        calls.append(f"{code.co_qualname} ({module}:{traceback.tb_lineno})")
        traceback = traceback.tb_next
    return " in " + " > ".join(calls[-_DEEPEST:]) if calls else ""


def _line(record: logging.LogRecord) -> str:
    """The message, with what was raised."""
    message = record.getMessage()
    error = record.exc_info[1] if record.exc_info else None
    return message if error is None else f"{message}: {where(error)}"


def _fields(record: logging.LogRecord) -> dict[str, str | float | None]:
    told: dict[str, str | float | None] = getattr(record, "told", {})
    return told


_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could make a line of its own out of a provider's or a caller's words, or show them in another order."""


def _spelled(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


class _Text(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE name=value …`, the time that of the host, with its offset."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        told = [f"{name}={value}" for name, value in _fields(record).items() if value is not None]
        time = datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(" ", "milliseconds")
        line = " ".join([time, record.levelname, record.name, _line(record), *told])
        return _BREAKS.sub(_spelled, line)


class _Json(logging.Formatter):
    """One object: time, level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        about = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": _line(record)}
        return json.dumps({**about, **_fields(record)}, ensure_ascii=False)
