"""The tests that a changed file has to fail, and one run of them in a process of its own.

`python -m tests.mutation.trials [TEST…]` works off orders, one a line on stdin, in the copy of the tree that it is started
in: everything that is not ours is imported once, then each change gets a fork of that.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

_CONTRACTS = ("tests/test_contract_getraze.py", "tests/test_contract_spott.py")
_CHECKS = (
    "samples_read_as", "fits_the_canonical", "handed_on", "lacks_is_told", "has_a_row", "why_it_is_one", "can_be_encoded",
    "writes_make_the_calls", "a_patch_sends", "null_clears", "nothing_of_a_draft", "is_written_reads", "written_back",
    "calls_are_those", "and_the_rows_agree",
)  # fmt: skip
"""Of the contract kit's tests, by a part of their names: samples, calls, nulls, patches."""
QUICK = (
    ("tests/test_mapping.py", "tests/test_mapping_details.py", "tests/test_codecs.py"),
    (*_CONTRACTS, "-k", " or ".join(_CHECKS)),
    ("tests/test_compiled.py",),
)
SLOW = (
    ("tests/test_getraze_served.py", "tests/test_drift.py", "tests/test_documents.py"),
    (*_CONTRACTS, "-k", "not over_the_wire"),
    ("tests/test_api_reading.py", "tests/test_api_writing.py", "tests/test_api_listing.py"),
)
"""Only for what the quick ones let live: the whole kit, generated records included, and the gateway over sockets."""
OURS = ("gateway", "adapters", "tests")
_OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_MEMORY = 3 * 2**30


def failed_in(groups: tuple[tuple[str, ...], ...]) -> str:
    """The first group of tests in which one fails, by its first file; empty when all pass. Raises when none could run."""
    import pytest
    from hypothesis import settings

    settings.register_profile("mutation", derandomize=True, database=None, deadline=None)
    settings.load_profile("mutation")
    for group in groups:
        told = [part for part in group if not part.endswith(".py") or Path(part).exists()]
        code = pytest.main([*_OPTIONS, *told])
        if code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):  # the latter: cannot even be imported
            return group[0]
        if code != pytest.ExitCode.OK:
            raise SystemExit(f"pytest ended with {code} in {group[0]}")
    return ""


def _child(groups: tuple[tuple[str, ...], ...], limit: float, end: int) -> NoReturn:
    """Run the tests and write the outcome to `end`; whatever happens, this process ends here."""
    os.setsid()
    told = "broken"
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, limit)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        with open(os.devnull, "r+b", buffering=0) as nowhere:
            for stream in (0, 1, 2):
                os.dup2(nowhere.fileno(), stream)
        found = failed_in(groups)
        told = f"killed {found}" if found else "survived"
        if os.environ.get("MUTATION_TELL_MODULES"):
            told += " " + " ".join(name for name in sys.modules if name.split(".")[0] not in OURS)
    except BaseException as error:
        told = f"broken {error!r}"
    finally:
        with contextlib.suppress(BaseException):
            os.write(end, told.encode())
        os._exit(0)


def trial(groups: tuple[tuple[str, ...], ...], limit: float) -> str:
    """`killed …`, `survived …` or `broken …` of the tree as it is now; out of time or memory is killed too."""
    start, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(start)
        _child(groups, limit, end)
    os.close(end)
    with open(start, "rb") as pipe:
        told = pipe.read().decode()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and not told:
        return "killed by the time limit" if os.WTERMSIG(status) == signal.SIGALRM else f"killed by signal {status}"
    return told or "broken"


def warmed(quick: tuple[tuple[str, ...], ...]) -> str:
    """Run the quick tests on the unchanged tree, import here what they imported that is not ours; what came of them."""
    os.environ["MUTATION_TELL_MODULES"] = "yes"
    outcome, *names = trial(quick, 300).split()
    del os.environ["MUTATION_TELL_MODULES"]
    if outcome == "survived":
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return " ".join([outcome, *names]) if outcome != "survived" else outcome


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(1)


def _answer(told: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Work off orders `{"texts", "slow", "limit"}`; the answers go to stdout, `{"outcome", "seconds"}`."""
    signal.signal(signal.SIGTERM, _stop)
    quick = (tuple(sys.argv[1:]),) if sys.argv[1:] else QUICK
    sys.dont_write_bytecode = False
    _answer({"outcome": warmed(quick)})
    sys.dont_write_bytecode = True
    for line in sys.stdin:
        order = json.loads(line)
        before = {Path(file): (Path(file).read_bytes(), Path(file).stat()) for file in order["texts"]}
        for file, text in order["texts"].items():
            Path(file).write_text(text, encoding="utf-8")
        started = time.monotonic()
        try:
            outcome = trial(SLOW if order["slow"] else quick, order["limit"])
        finally:
            for path, (content, times) in before.items():
                path.write_bytes(content)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        _answer({"outcome": outcome, "seconds": time.monotonic() - started})


if __name__ == "__main__":
    main()
