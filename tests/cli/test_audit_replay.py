"""`sessiongate audit replay` judges a decision again by rules, and marks what it only repeats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.judge.facts import CallFacts
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.ports import OperationEnd
from proxy.userop.primitives import Hash32
from tests.cli.conftest import Run
from tests.edge.audit.trails import record, writing
from tests.edge.builders import decision
from tests.judge.builders import facts

THREE_A_DAY = """
rules:
  - id: three-a-day
    description: No more than three operations a day.
    mode: enforce
    limit: {count: ops, max: 3, per: account, window: 24h}
"""
TAKEN = UpstreamAnswer(result="0x01")


@pytest.fixture
def trail(run: Run, tmp_path: Path) -> Path:
    del run
    settings = tmp_path / "sessiongate.yaml"
    (tmp_path / "rules.yaml").write_text(THREE_A_DAY)
    settings.write_text(settings.read_text() + "rules: [rules.yaml]\n")
    path = tmp_path / "ledger.audit.db"
    with writing(path) as writer:
        for number in range(4):
            operation = facts(user_op_hash=Hash32(bytes([number]) * 32), nonce=number)
            name = operation.user_op_hash
            record(writer, decision(f"d-{number}", facts=operation, user_op_hash=name, upstream=TAKEN))
            if number == 0:
                writer.door.ended(OperationEnd(chain="soneium", user_op_hash=name, cause="nonce_used"))
        record(writer, decision("bare"))
        many = facts(calls=tuple(CallFacts(target=operation.account, selector=b"abcd", value=0) for _ in range(100)))  # type: ignore[arg-type]  # a selector
        record(writer, decision("cut", facts=many))
    return path


def replayed(run: Run, decision_id: str, *arguments: str) -> tuple[int, dict[str, dict[str, object]]]:
    result = run("audit", "replay", decision_id, "--json", *arguments)
    return result.exit_code, json.loads(result.stdout)


def test_rules_are_judged_again_with_their_counts_made_anew(run: Run, trail: Path, tmp_path: Path) -> None:
    assert trail.exists()
    # the first of four was never mined: with it the fourth would be one too many
    code, told = replayed(run, "d-3")
    assert (code, told["rules"]["now"], told["rules"]["decisionsBefore"]) == (0, [], 3)
    assert (told["rules"]["how"], told["session"]["how"], told["verdict"]["how"]) == (
        "recomputed",
        "recorded",
        "recorded",
    )
    (tmp_path / "two.yaml").write_text(THREE_A_DAY.replace("max: 3", "max: 2"))
    code, told = replayed(run, "d-3", "--rules", str(tmp_path / "two.yaml"))
    assert code == 1
    assert [hit["rule"] for hit in told["rules"]["now"]] == ["three-a-day"]  # type: ignore[index, attr-defined]  # JSON
    assert told["rules"]["then"] == []


@pytest.mark.parametrize("decision_id", ["nobody", "bare", "cut"])
def test_what_cannot_be_judged_again_says_so(run: Run, trail: Path, decision_id: str) -> None:
    assert trail.exists()
    result = run("audit", "replay", decision_id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no decision of that id" in result.stderr or "cannot be judged again" in result.stderr
