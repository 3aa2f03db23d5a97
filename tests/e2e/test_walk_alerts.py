"""Every alert that we ship is made to fire and to resolve by `make walk`; some of them here: the whole takes long."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.deploy.pace import shipped_rules
from tests.e2e.gate import ROOT
from tests.e2e.walk_faults import FAULTS

HERE = Path(__file__).parent
ELSEWHERE = ("walk.py", "walk_trouble.py")
"""Where the walk comes by the others, and waits for each."""
HERE_TOO = ("SessiongateLedgerNotInPlace", "SessiongateRuleBudgetNearlyUsed", "SessiongateNeverMined")
"""One that is mended, one that passes as a window empties, and two of what nobody mends: it is given up."""


def test_each_alert_we_ship_is_made_to_fire_by_a_fault_of_its_own_or_on_the_walk() -> None:
    shipped = {rule["alert"] for rule in shipped_rules(1)["groups"][0]["rules"]}
    by_fault = Counter(alert for fault in FAULTS for alert in fault.alerts)
    on_the_walk = {name for file in ELSEWHERE for name in re.findall(r'"(Sessiongate\w+)"', (HERE / file).read_text())}
    assert set(by_fault) <= shipped
    assert set(by_fault.values()) == {1}
    assert shipped - set(by_fault) <= on_the_walk


def test_what_is_mended_what_passes_and_what_is_given_up_is_over_at_a_real_gate(
    program: Callable[[str, str], str],
) -> None:
    for name in ("prometheus", "prometheus-alertmanager"):
        program(name, name)
    told = subprocess.run(
        [sys.executable, "-m", "tests.e2e.walk_alerts", *HERE_TOO],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "4 of 4 alerts fire and resolve." in told.stdout
