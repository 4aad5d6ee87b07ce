"""`python -m bench`: measure the gateway beside the naive version and print what came out; `--write` keeps it."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from bench.plot import plot
from bench.report import write
from bench.run import Bench
from bench.tables import render

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main() -> int:
    """Exit status 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, and starts (default 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured seconds of each (default 3)")
    parser.add_argument("--warm", type=float, default=0.5, help="seconds before that (default 0.5)")
    parser.add_argument("--connections", type=int, default=64, help="requests in flight (default 64)")
    parser.add_argument("--access-log", action="store_true", help="the gateway also writes a log line for each request")
    parser.add_argument("--quick", action="store_true", help="one round of 0.3 seconds: to see that it works")
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name} and its plot")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.warm = 1, 0.3, 0.1
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        bench = Bench(arguments, Path(folder), stack)
        bench.measure()
    text = render(bench.report, PAGE.with_suffix(".svg").name if arguments.write else None)
    sys.stdout.write(text + "\n")
    if arguments.write:
        write(PAGE, text)
        PAGE.with_suffix(".svg").write_text(plot(bench.report), encoding="utf-8")
    return 1 if any(one.wrong for one in bench.report.results()) else 0


if __name__ == "__main__":
    sys.exit(main())
