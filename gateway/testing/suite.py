"""The contract kit without pytest: every check as a test with a sentence, run one after the other.

The tests are found, not listed: each public function of the modules `on_*` and `whole_way*` beside this one that takes a
`kit` and gives `Faults` is one.
"""

import inspect
import pkgutil
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_type_hints

import gateway
from gateway import testing
from gateway.adapter import Adapter
from gateway.testing.kit import Faults, Kit, spoken
from gateway.testing.on_look_up import a_lost_create_can_be_found, why_unknown

Check = Callable[[Kit], Faults]
Outcome = Literal["ok", "failed", "excused", "skipped"]

KEY = "canary-4f9d2c7e51b83a60"
"""The credential whose every trace is looked for."""
SHOWN = 12
"""How many faults of one test are told, unless more are wanted."""
_LONGEST = 400
_OPTIONAL = ("hypothesis",)
_STDLIB = sysconfig.get_path("stdlib")
_NEEDS: Mapping[str, tuple[str, ...]] = {"lists_are_whole_and_without_repeats": ("list",)}
"""Operations without which a check over the wire has nothing to work on, where these are not list and get."""


_AFTER: Mapping[str, str] = {"junk_is_served_and_named": "readings_fit_the_schema"}
"""A test that would only repeat, many times over, what another one finds: skipped while that fails."""
_ORDER = ("on_fields", "on_reading", "on_junk", "on_writing", "on_conversation", "on_replies", "on_errors")
"""The modules in the order in which an author can do something about them; others come behind, the wire last."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one test: `reason` where it was excused or skipped, `faults` where it is not ok; `more` were cut off."""

    name: str
    sentence: str
    outcome: Outcome
    reason: str | None = None
    faults: tuple[str, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of the kit; `check` is None where it cannot be had, and `lacking` says why."""

    name: str
    sentence: str
    check: Check | None
    over_the_wire: bool = False
    lacking: str = ""


def the_adapter_can_be_built(kit: Kit) -> Faults:
    """The adapter can be built from its settings, and its table is whole."""
    try:
        assert kit.adapter.table
    except Exception as error:
        yield _told(error)


def the_samples_can_be_read(kit: Kit) -> Faults:
    """Every file in the folder exchanges/ is an exchange, and the records in it can be taken out."""
    try:
        assert isinstance(kit.samples, list)
    except Exception as error:
        yield _told(error)


_FOUNDATIONS: tuple[tuple[Check, str], ...] = (
    (the_adapter_can_be_built, "the adapter cannot be built"),
    (the_samples_can_be_read, "the samples cannot be read"),
)
"""What all other tests stand on, and why they are skipped when it does not hold."""


def trial_of(check: Check, *, over_the_wire: bool = False) -> Trial:
    """A check as a test; its sentence is the first line of the check's docstring."""
    name = check.__name__
    sentence = (check.__doc__ or name.replace("_", " ")).strip().splitlines()[0]
    return Trial(name, sentence, check, over_the_wire)


@lru_cache
def trials() -> tuple[Trial, ...]:
    """Every test of the kit, in the order of `_ORDER`; those over the wire are the last."""
    found: list[Trial] = []
    for module in sorted((module.name for module in pkgutil.iter_modules(testing.__path__)), key=_place):
        if not module.startswith(("on_", "whole_way")):
            continue
        try:
            home = import_module(f"{testing.__name__}.{module}")
        except ModuleNotFoundError as error:
            if error.name not in _OPTIONAL:
                raise
            found.append(Trial(module, f"The checks of {module}.", None, lacking=_not_installed(error)))
            continue
        wire = module.startswith("whole_way")
        found += [trial_of(check, over_the_wire=wire) for check in _checks(home)]
    return tuple(found)


def _place(module: str) -> tuple[bool, int, str]:
    return module.startswith("whole_way"), _ORDER.index(module) if module in _ORDER else len(_ORDER), module


def _checks(module: ModuleType) -> Iterator[Check]:
    for name, member in vars(module).items():
        if name.startswith("_") or not inspect.isfunction(member) or member.__module__ != module.__name__:
            continue
        if list(inspect.signature(member).parameters) == ["kit"] and get_type_hints(member).get("return") == Faults:
            yield member


def run_suite(
    adapter: type[Adapter],
    settings: Mapping[str, Any] | None = None,
    stages: Mapping[str, str] | None = None,
    *,
    excused: Mapping[str, str] | None = None,
    shown: int = SHOWN,
) -> Iterator[Verdict]:
    """What comes of each test, one by one as they end; `excused` are names of tests that are known to fail, and why."""
    kit = Kit(adapter, settings or {}, stages or {}, KEY)
    ground = ""
    for check, consequence in _FOUNDATIONS:
        if ground:
            break
        verdict = _run(kit, trial_of(check), shown)
        ground = consequence if verdict.outcome == "failed" else ""
        yield verdict
    failed: set[str] = set()
    for trial in trials():
        first = _AFTER.get(trial.name)
        if ground or first in failed:
            yield Verdict(trial.name, trial.sentence, "skipped", ground or f"as long as {first} fails")
            continue
        verdict = _excuse(_run(kit, trial, shown), (excused or {}).get(trial.name))
        if verdict.outcome == "failed":
            failed.add(trial.name)
        yield verdict


def _excuse(verdict: Verdict, reason: str | None) -> Verdict:
    if reason is None or verdict.outcome == "skipped":
        return verdict
    if verdict.outcome == "ok":
        unneeded = (f"it is excused ({reason}), but nothing is wrong: take the excuse away",)
        return Verdict(verdict.name, verdict.sentence, "failed", None, unneeded)
    return Verdict(verdict.name, verdict.sentence, "excused", reason, verdict.faults, verdict.more)


def _run(kit: Kit, trial: Trial, shown: int) -> Verdict:
    lacking = trial.lacking or (_lacking(kit, trial.name) if trial.over_the_wire else "")
    if trial.name == a_lost_create_can_be_found.__name__:
        lacking = why_unknown(kit.adapter_class)
    if trial.check is None or lacking:
        return Verdict(trial.name, trial.sentence, "skipped", lacking)
    faults: list[str] = []
    try:
        for fault in trial.check(kit):
            cut = fault if len(fault) <= _LONGEST else f"{fault[: _LONGEST - 1]}…"
            if cut not in faults:
                faults.append(cut)
            if len(faults) > shown:
                break
    except ModuleNotFoundError as error:
        if error.name in _OPTIONAL:
            return Verdict(trial.name, trial.sentence, "skipped", _not_installed(error))
        faults.append(f"the check ended in {_told(error)}")
    except Exception as error:  # the adapter's own
        faults.append(f"the check ended in {_told(error)}")
    return Verdict(
        trial.name, trial.sentence, "failed" if faults else "ok", None, tuple(faults[:shown]), len(faults) > shown
    )


def _lacking(kit: Kit, name: str) -> str:
    adapter = kit.adapter_class
    if adapter.sandbox is None:
        return f"{adapter.__name__} declares no `sandbox`: the whole way is not tested"
    for operation in _NEEDS.get(name, ("list", "get")):
        if operation not in adapter.operations():
            return f"{adapter.__name__} has no {operation}"
    return ""


def _not_installed(error: ModuleNotFoundError) -> str:
    return f"{error.name} is not installed; pip install 'crm-gateway[testing]'"


def _told(error: Exception) -> str:
    """The error with its kind, and the last line outside the gateway and Python's own library that it came through."""
    ours = Path(gateway.__file__).parent
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(ours) and not frame.filename.startswith((_STDLIB, "<"))
    ]  # fmt: skip
    where = f" (at {'/'.join(Path(frames[-1].filename).parts[-2:])}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {spoken(error)}{where}"


__all__ = ["SHOWN", "Trial", "Verdict", "run_suite", "trials"]
