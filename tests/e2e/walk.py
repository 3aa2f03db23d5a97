"""A walk through what ops live by, on the live rig, without containers: `python -m tests.e2e.walk`.

Starts a chain, a bundler, Prometheus, Alertmanager and the gate, lets a session live through them, and looks at each
step whether it is told: in metrics, in alerts, in the audit, in the log. Exit code 0 only when every step holds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.children import ChildFailed, bound
from tests.e2e.demo.rules import write_rules
from tests.e2e.gate import Gate
from tests.e2e.rig import HERE, Rig, node_binary
from tests.e2e.watchers import Watchers, watching
from tests.ports import free_port

PATIENCE_SECONDS = 90.0
RULE = "tusd-per-session-per-hour"


class Walk:
    """Steps, each printed with what came of it."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def step(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until it holds; one that never does is told and remembered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := holds()) and time.monotonic() < deadline:
            time.sleep(0.2)
        print(f"   {'✔' if found else '✘'} {what}", flush=True)
        if not found:
            self.failed.append(what)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sessiongate-walk-") as name:
        folder = Path(name)
        rig, gate = Rig(folder), Gate.in_folder(folder / "gate")
        manager = free_port()
        settings = (
            "rules: [rules/*.yaml]\n"
            "log: {format: json, operations: all}\n"
            f"alerts: {{alertmanager: 'http://127.0.0.1:{manager}', instance: walk, resend_seconds: 1}}\n"
        )
        try:
            print("Starting a chain, a bundler, Prometheus, Alertmanager and the gate …", flush=True)
            rig.start()
            write_rules(gate.folder)
            with watching(folder / "watchers", manager, f"127.0.0.1:{gate.admin_port}") as watchers:
                gate.start(rig, more=settings)
                walk = Walk()
                _walk(walk, rig, gate, watchers)
        except ChildFailed as failed:
            print(failed, file=sys.stderr)
            return 1
        finally:
            gate.stop()
            rig.stop()
    print("All of it holds." if not walk.failed else f"{len(walk.failed)} steps do not hold.")
    return bool(walk.failed)


def _walk(walk: Walk, rig: Rig, gate: Gate, watchers: Watchers) -> None:
    walk.step("Prometheus scrapes the gate", lambda: watchers.value('up{job="sessiongate"}') == 1)
    walk.step("the heartbeat arrives at Alertmanager", lambda: "SessiongateHeartbeat" in watchers.firing())
    walk.step("`alerts test` reaches every sink", lambda: "alertmanager: taken" in gate.command("alerts", "test"))
    told = _live(rig, gate)
    walk.step("a session lives through the gate, and four of its operations are refused", lambda: told == 0)
    walk.step(
        "Prometheus counts what was refused",
        lambda: watchers.value('sum(sessiongate_verdicts_total{code!="allow"})') >= 4,
    )
    walk.step("the rule that refused is told, with its session and decision", lambda: _is_named(watchers))
    walk.step(
        "the revoked session's use is told, and whether its key signed",
        lambda: "key" in _summary(watchers, "SessiongateRevokedSessionUse"),
    )
    walk.step(
        "what the gate tells itself, Prometheus leaves to it", lambda: "SessiongateRuleFired" not in watchers.firing()
    )
    walk.step("the audit has the decision that the alert names", lambda: _is_in_audit(gate, watchers))
    walk.step("the log has a line an operation", lambda: _has_operations(gate))
    rules = gate.folder / "rules" / "spending.yaml"
    rules.write_text("rules: [")
    assert gate.child is not None
    walk.step(
        "a faulty rule file is told, and the set before stays",
        lambda: watchers.value("sessiongate_rules_last_reload_successful") == 0 and gate.show("/rules")["rules"] != [],
    )
    gate.stop()
    walk.step("a gate that is gone is told", lambda: "SessiongateDown" in watchers.firing())


def _live(rig: Rig, gate: Gate) -> int:
    environment = {"RIG": str(rig.state_file), "BUNDLER_URL": gate.url, "RUN": "walk", "REPORT": os.devnull}
    command = bound([node_binary(), "demo/story.mjs"])
    done = subprocess.run(command, cwd=HERE, env={**os.environ, **environment}, capture_output=True, check=False)
    return done.returncode


def _summary(watchers: Watchers, name: str) -> str:
    alert = watchers.firing().get(name)
    return "" if alert is None else str(alert["annotations"]["summary"])


def _is_named(watchers: Watchers) -> bool:
    alert = watchers.firing().get("SessiongateRuleHit")
    if alert is None:
        return False
    labels = alert["labels"]
    return (labels["rule"], labels["severity"]) == (RULE, "high") and bool(alert["annotations"]["decisions"])


def _is_in_audit(gate: Gate, watchers: Watchers) -> bool:
    alert = watchers.firing().get("SessiongateRuleHit")
    wanted = set() if alert is None else set(alert["annotations"]["decisions"].split(", "))
    return bool(wanted) and wanted <= {row["decisionId"] for row in gate.audit("?limit=1000")}


def _has_operations(gate: Gate) -> bool:
    lines = [json.loads(line) for line in (gate.folder / "gate.log").read_text().splitlines() if line.startswith("{")]
    return sum(line["logger"] == "proxy.operations" for line in lines) >= len(gate.audit("?limit=1000")) > 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    sys.exit(main())
