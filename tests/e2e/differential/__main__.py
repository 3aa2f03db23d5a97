"""`python -m tests.e2e.differential [FIRST-LAST]`: a rig, and 120 operations under each of these seeds."""

from __future__ import annotations

import sys
import tempfile
from itertools import count
from pathlib import Path

from tests.e2e.differential.validation import GROUP, run_seeds
from tests.e2e.rig import Rig

EACH = 10 * GROUP


def main(seeds: str = "1-10") -> int:
    first, _, last = seeds.partition("-")
    chosen = range(int(first), int(last or first) + 1)
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder)).start()
        try:
            found, heard, in_flight, _ = run_seeds(rig, count(1), chosen, EACH)
        finally:
            rig.stop()
    print(*found, sep="\n\n")
    print(f"{heard.total()} operations under seeds {seeds}: {len(found)} disagreements")
    print(f"{in_flight} refused for what was in flight")
    print(", ".join(f"{why} {number}" for why, number in heard.most_common()))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
