"""`make demo ONCE=1` tells its story to the end, legibly where there is no terminal too."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.e2e.gate import ROOT
from tests.e2e.rig import install


def test_every_step_of_the_demo_goes_as_told() -> None:
    install()
    told = subprocess.run(
        [sys.executable, "-m", "tests.e2e.demo", "--once"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert (told.stdout.count("✔ mined"), told.stdout.count("✘ rejected")) == (7, 4)
    assert "\x1b[" not in told.stdout
