"""`make fuzz`: atheris, guided by coverage, over each target in turn; SECONDS=n for each, TARGET=name for one.

Inputs that reach new code are kept in `corpus/`, those that break a promise in `crashes/`, which the suite tries again.
"""

from __future__ import annotations

import subprocess
import sys

from tests.fuzz.targets import HERE, TARGETS


def main(seconds: int, names: list[str]) -> int:
    """Run each in a process of its own; how many broke."""
    broken = 0
    for name in names:
        for kind in ("corpus", "crashes"):
            (HERE / kind / name).mkdir(parents=True, exist_ok=True)
        options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]
        options += [f"-artifact_prefix={HERE / 'crashes' / name}/", str(HERE / "corpus" / name)]
        print(f"{name}: {seconds} s", flush=True)
        broken += subprocess.run([sys.executable, "-m", "tests.fuzz.one", name, *options], check=False).returncode != 0
    print(f"{len(names)} targets, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    chosen = sys.argv[2:] or list(TARGETS)
    sys.exit(main(int(sys.argv[1]), chosen))
