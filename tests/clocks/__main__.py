"""`python -m tests.clocks [pytest's arguments]`: the suite, end-to-end flows and benchmarks left out, at each hour."""

from __future__ import annotations

import sys

from tests.clocks.shifted import CLOCKS, run_pytest

_NOT_THESE = ("--ignore=tests/e2e", "--ignore=tests/bench", "--ignore=tests/clocks")


def main() -> int:
    """The exit code: how many clocks failed."""
    failed = 0
    for clock in CLOCKS:
        done = run_pytest(clock, *(sys.argv[1:] or _NOT_THESE))
        print(f"{clock.name}: {done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr}", flush=True)
        if done.returncode:
            failed += 1
            print(done.stdout, done.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
