"""Random operations, each to a gate in shadow and to the bundler behind it: they have to say the same.

The seeds are fixed. A disagreement is printed with the seed, the verdict, the bundler's words and the operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e import test_validation
from tests.e2e.differential.agreement import KNOWN, SAYINGS, WITH_NODE, WITHOUT_NODE
from tests.e2e.differential.families import FAMILIES
from tests.e2e.differential.trial import Trial
from tests.e2e.gate import Gate
from tests.e2e.rig import Rig

SEED, SEED_OF_FORGETFUL_GATE = 1946, 20_251
OPERATIONS = 640
OPERATIONS_OF_A_LIFE, LIVES = 56, 3
NEVER_VALID = {"expired", "early"}


@pytest.fixture
def gates(rig: Rig, tmp_path: Path) -> Iterator[dict[str, Gate]]:
    """A gate that judges by what it has seen alone, in front of one that may ask a node, in front of the bundler."""
    with_node, without_node = Gate.in_folder(tmp_path / "with"), Gate.in_folder(tmp_path / "without")
    with ExitStack() as running:
        running.callback(with_node.stop)
        with_node.start(rig, mode="shadow")
        running.callback(without_node.stop)
        without_node.start(rig, mode="shadow", node=False, bundler=with_node.url)
        yield {WITHOUT_NODE: without_node, WITH_NODE: with_node}


def test_a_thousand_operations_at_least_are_held_against_the_chain() -> None:
    assert OPERATIONS + LIVES * OPERATIONS_OF_A_LIFE + test_validation.OPERATIONS >= 1_000


def show(seed: int, found: list[str]) -> str:
    return f"seed {seed}: {len(found)} disagreements\n" + "\n\n".join(found)


def test_gate_and_bundler_agree_on_random_session_operations(rig: Rig, gates: dict[str, Gate]) -> None:
    trial = Trial(rig, gates, SEED)
    trial.open(wallets=2)
    trial.run(OPERATIONS)
    found = trial.disagreements()

    assert not found, show(SEED, found)
    assert trial.operations == OPERATIONS
    heard = trial.tally()
    assert heard["taken"] >= OPERATIONS // 4, heard
    assert set(heard) - {"taken"} == set(SAYINGS), "the operations do not reach every reason, or reach others"
    assert trial.met == set(KNOWN), "a listed disagreement did not come up: is it still one?"
    mined = [each.attempt for each in trial.sent if each.mined]
    assert {attempt.grant.name for attempt in mined if not attempt.enables} >= set(FAMILIES) - NEVER_VALID
    assert any(attempt.enables for attempt in mined), "nothing was enabled by the operation that used it"


def test_a_gate_that_has_forgotten_everything_agrees_by_what_it_reads_from_the_chain(rig: Rig, own_gate: Gate) -> None:
    trial = Trial(rig, {WITH_NODE: own_gate}, SEED_OF_FORGETFUL_GATE)
    own_gate.start(rig, mode="shadow")
    trial.open(wallets=2)
    for _ in range(LIVES):
        trial.run(OPERATIONS_OF_A_LIFE)
        found = trial.disagreements()
        assert not found, show(SEED_OF_FORGETFUL_GATE, found)
        own_gate.stop()
        for file in own_gate.folder.glob("gate*.db*"):
            file.unlink()
        own_gate.start(rig, mode="shadow")
        assert own_gate.show("/sessions")["sessions"] == []
    assert trial.tally()["taken"] >= OPERATIONS_OF_A_LIFE
