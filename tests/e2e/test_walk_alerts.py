"""Every alert that we ship is made to fire and to resolve by `make walk`; what takes long is not done here."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.deploy.pace import shipped_rules
from tests.e2e.walk_faults import FAULTS

HERE = Path(__file__).parent
ELSEWHERE = ("walk.py", "walk_trouble.py")
"""Where the walk comes by the others, and waits for each."""


def test_each_alert_we_ship_is_made_to_fire_by_a_fault_of_its_own_or_on_the_walk() -> None:
    shipped = {rule["alert"] for rule in shipped_rules(1)["groups"][0]["rules"]}
    by_fault = Counter(alert for fault in FAULTS for alert in fault.alerts)
    on_the_walk = {name for file in ELSEWHERE for name in re.findall(r'"(Sessiongate\w+)"', (HERE / file).read_text())}
    assert set(by_fault) <= shipped
    assert set(by_fault.values()) == {1}
    assert shipped - set(by_fault) <= on_the_walk
