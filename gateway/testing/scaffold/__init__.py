"""A package for a new adapter, written from the templates beside this file and from the canonical shape.

Every canonical field is a row in the new table, with an empty note: the contract kit names each until it is filled in.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints

from gateway import __version__
from gateway.opportunity import Opportunity
from gateway.shape import SHAPE, Shape

_FILES = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "src/$package/__init__.py": "adapter.py.tmpl",
    "src/$package/fields.py": "fields.py.tmpl",
    "src/$package/sandbox.py": "sandbox.py.tmpl",
    "src/$package/py.typed": None,
    "src/$package/exchanges/get.json": "get.json.tmpl",
    "tests/test_contract.py": "test_contract.py.tmpl",
}
"""Path in the new package -> template; None for an empty file."""

_TAKEN = (
    "Adapter",
    "Call",
    "Limits",
    "ListQuery",
    "Page",
    "Rejection",
    "Reply",
    "Table",
    "Json",
    "Mapping",
    "Iterable",
)
"""Names that the adapter's module imports."""

_WIDTH = 120
_INDENT = " " * 8
_FILLED = {
    "native_id": 'row("native_id", "/id", text)',
    "name": 'row("name", "/name", text)',
    "created_at": 'row("created_at", "/created_at", instant())',
}
"""Rows that say something from the start, as the models of others: the sample record has these members."""


def class_name(name: str) -> str:
    """The adapter's class for its name: `acme_crm` becomes `AcmeCrm`."""
    camel = "".join(part.capitalize() for part in name.split("_"))
    return f"{camel}Crm" if camel in _TAKEN else camel


def write_package(name: str, folder: Path) -> tuple[Path, ...]:
    """The files that were written into `folder`, which is made. Raises `FileExistsError` when it is there already."""
    folder.mkdir(parents=True)
    words = {
        "name": name,
        "package": f"crm_gateway_{name}",
        "project": f"crm-gateway-{name.rstrip('_').replace('_', '-')}",
        "cls": class_name(name),
        "title": " ".join(part.capitalize() for part in name.split("_") if part),
        "host": name.rstrip("_").replace("_", "-"),
        "version": __version__,
        "rows": "\n".join(table_rows()),
    }
    written = []
    for path, template in _FILES.items():
        target = folder / Template(path).substitute(words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("" if template is None else Template(_template(template)).substitute(words), "utf-8")
        written.append(target)
    return tuple(written)


def _template(name: str) -> str:
    return (files(__name__) / "templates" / name).read_text("utf-8")


def table_rows() -> Iterator[str]:
    """The lines of a table that has every canonical field as a row to fill in, with what the field is beside it."""
    yield from _rows(SHAPE, _hints(Opportunity), "", _INDENT)


def _rows(shape: Mapping[str, Shape], hints: Mapping[str, Any], prefix: str, indent: str) -> Iterator[str]:
    for name, part in shape.items():
        path, (says, inner) = f"{prefix}{name}", _described(hints[name])
        if part.parts is None:
            entry = _FILLED.get(path, "") if indent == _INDENT else ""
            yield from _line(indent, entry or f'absent("{path}", "")', f"{path}: ", says)
        elif part.many:
            yield f"{indent}single(  # {says}"
            yield f'{indent}    "{path}",'
            yield from _rows(part.parts, _hints(inner), "", f"{indent}    ")
            yield f"{indent}),"
        else:
            yield f"{indent}# {path}: {says}"
            yield from _rows(part.parts, _hints(inner), f"{path}.", indent)


def _line(indent: str, entry: str, name: str, says: str) -> Iterator[str]:
    """The entry with its sentence behind it; in front of it where that would be too long."""
    line = f"{indent}{entry},  # {says}"
    if len(line) <= _WIDTH:
        yield line
    else:
        yield f"{indent}# {name}{says}"
        yield f"{indent}{entry},"


def _hints(typed_dict: Any) -> Mapping[str, Any]:
    return get_type_hints(typed_dict, include_extras=True)


def _described(hint: Any) -> tuple[str, Any]:
    """(the sentence on a member, the typed dict within it, if there is one)."""
    if get_origin(hint) is NotRequired:
        (hint,) = get_args(hint)
    says = ""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        says = next((note.description for note in notes if getattr(note, "description", None)), "")
    parts = [part for part in get_args(hint) if part is not type(None)]
    return says, _described(parts[0])[1] if parts else hint


__all__ = ["class_name", "table_rows", "write_package"]
