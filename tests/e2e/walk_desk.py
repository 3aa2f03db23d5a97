"""What operators do on a calm day, typed one after the other at a running gate."""

from __future__ import annotations

import signal
from typing import Any

from tests.e2e.walk_steps import RULE, Scene, Walk

KNOWN = """
rules:
  - id: new-recipient
    description: Money goes to somebody new.
    mode: alert
    severity: medium
    match: {session: true, moves: TUSD}
    first_seen: {of: recipient, per: session, after: 1 ops}
"""
STRANGER = "0x00000000000000000000000000000000000000ab"


def at_the_desk(walk: Walk, scene: Scene) -> None:
    gate, typed = scene.gate, scene.typed
    alert = scene.watchers.firing()["SessiongateRuleHit"]
    decision, session = alert["annotations"]["decisions"].split(", ")[0], alert["labels"]["session"]
    walk.step(
        "`audit` finds the decision by rule, by session and by its id", lambda: _is_found(scene, decision, session)
    )
    walk.step("`audit verify` finds the trail as it was written", lambda: typed("audit", "verify"))
    walk.step("`audit replay` judges a decision again", lambda: typed("audit", "replay", decision, has=RULE))
    walk.step(
        "`rules budget` says what is left of a window, and for whom", lambda: typed("rules", "budget", RULE, has="450")
    )
    (gate.folder / "rules" / "known.yaml").write_text(KNOWN)
    walk.step("a rule file that is saved is in force", lambda: typed("rules", "list", has="new-recipient"))
    walk.step(
        "`rules allow` takes a recipient for known, and it is on record",
        lambda: (
            typed("rules", "allow", "new-recipient", STRANGER, "--reason", "the new payroll")
            and _did(scene, "rules_allow", why="the new payroll")
        ),
    )
    rules = gate.folder / "rules" / "spending.yaml"
    rules.write_text(rules.read_text().replace("max: 450", "max: 600"))
    walk.step("`rules diff` and `rules reload` say what changes", lambda: typed("rules", "reload"))
    walk.step(
        "`rules reset` counts anew, and is on record",
        lambda: typed("rules", "reset", RULE, "--all", "--reason", "walk") and _did(scene, "rules_reset", why="walk"),
    )
    walk.step("`freeze` is in force at once", lambda: typed("freeze", session, "--reason", "a lost phone"))
    walk.step("`sessions list` shows it frozen", lambda: typed("sessions", "list", has="frozen"))
    walk.step("`unfreeze` lifts it, and both are on record", lambda: _unfrozen(scene, session))
    gate.config_file.write_text(gate.config_file.read_text().replace("mode: enforce", "mode: shadow"))
    walk.step(
        "`reload` puts settings in force and says who asked, and when",
        lambda: typed("reload", "--reason", "watch first", has="mode") and _did(scene, "settings_reloaded", why="w"),
    )
    gate.config_file.write_text(gate.config_file.read_text().replace("mode: shadow", "mode: enforce"))
    assert gate.child is not None
    gate.child.process.send_signal(signal.SIGHUP)
    walk.step("SIGHUP reads them again", lambda: _did(scene, "settings_reloaded", who="SIGHUP"))


def _is_found(scene: Scene, decision: str, session: str) -> bool:
    return all(
        scene.typed("audit", *words, "--since", "1h", has=decision)
        for words in (("--rule", RULE), ("--session", session), ("--decision-id", decision))
    )


def _did(scene: Scene, what: str, *, why: str = "", who: str = "") -> bool:
    details: list[dict[str, Any]] = [each["detail"] for each in scene.gate.audit("?show=deeds&limit=1000")]
    return any(
        each["what"] == what and why in each["why"] and each["who"].startswith(who or each["who"]) for each in details
    )


def _unfrozen(scene: Scene, session: str) -> bool:
    return (
        scene.typed("unfreeze", session, "--reason", "it was found")
        and _did(scene, "freeze", why="a lost phone")
        and _did(scene, "unfreeze", why="it was found")
    )
