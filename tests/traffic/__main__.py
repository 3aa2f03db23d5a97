"""`python -m tests.traffic [DIRECTORY]`: one line per file, the misses of each, exit 1 when anything differs."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.traffic.replay import SHARED, replay_file, traffic_files


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0]) if arguments else SHARED
    files = traffic_files(directory)
    if not files:
        print(f"no recorded traffic in {directory}", file=sys.stderr)
        return 1
    passed = True
    for path in files:
        findings = replay_file(path)
        misses = [finding for finding in findings if not finding[1]]
        print(f"{path.name}: {len(findings) - len(misses)}/{len(findings)}", flush=True)
        for step, _, detail in misses:
            print(f"    {step}: {detail[:300]}")
        passed = passed and bool(findings) and not misses
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
