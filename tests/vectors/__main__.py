"""`python -m tests.vectors [DIRECTORY]`: one line per file, the first misses of each, exit 1 when anything differs."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.vectors.registry import SHARED, check_file, vector_files

SHOWN_MISSES = 5


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0]) if arguments else SHARED
    files = vector_files(directory)
    if not files:
        print(f"no vector files in {directory}", file=sys.stderr)
        return 1
    passed = True
    for path in files:
        report = check_file(path)
        print(report, flush=True)
        for vector, _, detail in report.misses[:SHOWN_MISSES]:
            print(f"    {vector}: {detail[:300]}")
        passed = passed and report.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
