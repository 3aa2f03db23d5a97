"""A walk through what ops live by, on the live rig, without containers: `python -m tests.e2e.walk`.

Starts a chain, a bundler, Prometheus, Alertmanager and the gate, lets a session live through them, and looks at each
step whether it is told: in metrics, in alerts, in the audit, in the log. Then operators type what they type on a calm
day, and one neighbour of the gate after the other fails. Exit code 0 only when every step holds; `TELL=1` prints what
each alert says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.e2e.children import ChildFailed
from tests.e2e.demo.rules import write_rules
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig
from tests.e2e.walk_desk import at_the_desk
from tests.e2e.walk_steps import RULE, SECRET, Scene, Walk, listening
from tests.e2e.walk_trouble import in_the_night
from tests.e2e.watchers import Watchers, watching
from tests.ports import free_port

SETTINGS = """\
rules: [rules/*.yaml]
log: {{format: json, operations: all}}
drain_seconds: 2
audit: {{keep: calldata}}
alerts:
  alertmanager: http://127.0.0.1:{manager}
  webhooks: [{{name: soc, url: "http://127.0.0.1:{hook}/", secret: {secret}}}]
  instance: walk
  resend_seconds: 1
"""
FASTER = 20
"""As many times shorter are the durations of the rules that we ship."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sessiongate-walk-") as name:
        folder = Path(name)
        rig, gate = Rig(folder), Gate.in_folder(folder / "gate")
        manager = free_port()
        try:
            print("Starting a chain, a bundler, Prometheus, Alertmanager and the gate …", flush=True)
            rig.start()
            write_rules(gate.folder)
            host = f"127.0.0.1:{gate.admin_port}"
            with listening() as hook, watching(folder / "watchers", manager, host, faster=FASTER) as watchers:
                settings = SETTINGS.format(manager=manager, hook=hook.port, secret=SECRET)
                gate.start(rig, more=settings)
                walk = Walk(watchers.firing if os.environ.get("TELL") else dict)
                scene = Scene(rig, gate, watchers, hook, settings)
                _live(walk, scene)
                at_the_desk(walk, scene)
                in_the_night(walk, scene)
        except ChildFailed as failed:
            print(failed, file=sys.stderr)
            return 1
        finally:
            gate.stop()
            rig.stop()
    print("All of it holds." if not walk.failed else f"{len(walk.failed)} steps do not hold.")
    return bool(walk.failed)


def _live(walk: Walk, scene: Scene) -> None:
    gate, watchers = scene.gate, scene.watchers
    walk.step("Prometheus scrapes the gate", lambda: watchers.value('up{job="sessiongate"}') == 1)
    walk.step("the heartbeat arrives at Alertmanager", lambda: "SessiongateHeartbeat" in watchers.firing())
    walk.step("`alerts test` reaches every sink", lambda: scene.typed("alerts", "test", has="soc: taken"))
    told = scene.story()
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
        "the webhook hears the same, signed",
        lambda: {"SessiongateRuleHit", "SessiongateRevokedSessionUse"} <= scene.hook.alerts() and not scene.hook.forged,
    )
    walk.step(
        "what the gate tells itself, Prometheus leaves to it", lambda: "SessiongateRuleFired" not in watchers.firing()
    )
    walk.step("the audit has the decision that the alert names", lambda: _is_in_audit(gate, watchers))
    walk.step("the log has a line an operation", lambda: _has_operations(gate))
    rules = gate.folder / "rules" / "spending.yaml"
    sound = rules.read_text()
    rules.write_text("rules: [")
    walk.step("a faulty rule file is told", lambda: scene.says("SessiongateRulesReloadFailed", "rules check"))
    walk.step("and the set before stays", lambda: gate.show("/rules")["rules"] != [])
    rules.write_text(sound)
    walk.step("and over when it is mended", lambda: scene.is_over("SessiongateRulesReloadFailed"))


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
