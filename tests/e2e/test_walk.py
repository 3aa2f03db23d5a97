"""The walk through what ops live by holds at every step, on the live rig with real Prometheus and Alertmanager."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from tests.e2e.gate import ROOT
from tests.e2e.rig import install


def test_every_step_of_the_walk_holds(program: Callable[[str, str], str]) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name, name)
    install()
    told = subprocess.run(
        [sys.executable, "-m", "tests.e2e.walk"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert (told.stdout.count("✔"), told.stdout.count("✘")) == (46, 0)
