"""Three in the morning: neighbours of the gate fall silent, one after the other, and what operators see of it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.children import Child
from tests.e2e.walk_steps import Scene, Walk, post


def in_the_night(walk: Walk, scene: Scene) -> None:
    _bundler(walk, scene)
    _node(walk, scene)
    _reorganised(walk, scene)
    _sink(walk, scene)
    _killed_and_put_back(walk, scene)


@contextmanager
def silent(scene: Scene, name: str) -> Iterator[None]:
    """A program of the rig that says nothing more, its connections open, for as long as the context lasts."""
    (child,) = (each for each in scene.rig.children if each.name == name)
    child.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        child.process.send_signal(signal.SIGCONT)


def _bundler(walk: Walk, scene: Scene) -> None:
    with silent(scene, "recorder"):
        walk.step(
            "a silent bundler is told by name", lambda: scene.says("SessiongateUpstreamDown", "local#0", "/readyz")
        )
        walk.step("and that there is no other", lambda: scene.says("SessiongateNoBundler", "local", "-32059"))
        walk.step("the log says it", lambda: "local#0 did not answer" in scene.log())
        walk.step("/readyz says which", lambda: "local#0" in scene.readiness()[1] and scene.readiness()[0] == 503)
    walk.step("and over when it answers", lambda: scene.is_over("SessiongateUpstreamDown"))


def _node(walk: Walk, scene: Scene) -> None:
    again = scene.sends()[-2]  # the last of the session; after it the owner revoked it
    scene.gate.stop()
    scene.gate.start(scene.rig, more=scene.settings, of_chain="    max_state_age: 2\n")
    with silent(scene, "anvil"):
        walk.step(
            "a node that is frozen is told: what is known is too old",
            lambda: scene.says("SessiongateChainStateOld", "local"),
        )
        walk.step("so does the log", lambda: "is too old to judge by" in scene.log())
        walk.step(
            "a session's operation is refused for that, with the reason",
            lambda: scene.ask(again).get("error", {}).get("code") == -32058,
        )
    scene.mine(1)
    walk.step("and over when it goes on", lambda: scene.is_over("SessiongateChainStateOld"))


def _reorganised(walk: Walk, scene: Scene) -> None:
    post(scene.rig.node, {"jsonrpc": "2.0", "id": 1, "method": "anvil_reorg", "params": [2, []]})
    scene.mine(3)
    walk.step("a chain that goes back is followed back, and that is logged", lambda: "was reorganised" in scene.log())
    walk.step("the chain is followed on", lambda: scene.watchers.value("sessiongate_settlement_lag_blocks") == 0)


def _sink(walk: Walk, scene: Scene) -> None:
    scene.hook.hangs = True
    walk.step("a sink that hangs is named by `alerts test`, and the others are told", lambda: _one_hangs(scene))
    scene.hook.hangs = False


def _one_hangs(scene: Scene) -> bool:
    told = scene.output("alerts", "test")
    return "alertmanager: taken" in told and "soc: " in told and "soc: taken" not in told


def _killed_and_put_back(walk: Walk, scene: Scene) -> None:
    gate = scene.gate
    copy = gate.folder / "last-night.db"
    gate.kill()
    walk.step("a gate that is gone is told", lambda: scene.says("SessiongateDown", "runbook_url"))
    walk.step(
        "and what it had told itself is not told again",
        lambda: not {"SessiongateRevokedSessionUsed", "SessiongateRuleFired"} & set(scene.watchers.firing()),
    )
    shutil.copy(gate.folder / "gate.db", copy)
    _start(scene)
    walk.step("killed, it comes back with its trail whole", lambda: scene.typed("audit", "verify"))
    gate.stop()
    for end in ("-wal", "-shm", "-daybook"):
        (gate.folder / f"gate.db{end}").unlink(missing_ok=True)
    copy.replace(gate.folder / "gate.db")
    _start(scene)
    walk.step("a ledger that was put back is told", lambda: scene.says("SessiongateLedgerRewound", "ledger verify"))
    walk.step(
        "`ledger accept` takes its counts, on record",
        lambda: (
            scene.typed("ledger", "accept", "--reason", "restored from last night's copy")
            and "restored from last night" in scene.output("audit", "--show", "deeds")
        ),
    )
    assert gate.child is not None
    gate.child.process.send_signal(signal.SIGTERM)
    walk.step("told to stop, /readyz says so while it serves on", lambda: scene.readiness()[0] == 503)
    walk.step("then it ends", lambda: _has_ended(gate.child))


def _start(scene: Scene) -> None:
    scene.gate.start(scene.rig, more=scene.settings)


def _has_ended(child: Child | None) -> bool:
    return child is not None and child.process.poll() == 0
