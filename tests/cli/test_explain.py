"""`sessiongate explain` asks the running gate, or judges by itself and says so; the exit code is the verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.config import Config
from proxy.errors import InvalidParams
from proxy.judge.verdict import Reject
from proxy.session.revert import Revert
from tests.cli.conftest import Run
from tests.cli.test_decode import CALL_DATA, OPERATION, REQUEST, V07
from tests.edge.builders import OUT_OF_SCOPE, FakeBackend, decision
from tests.edge.recording_bundler import Answer, RecordingBundler

OFFLINE = "judged here instead, not knowing what is in flight"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, object]]:
    """What the offline judge is asked; it finds everything out of scope."""
    questions: list[Mapping[str, object]] = []

    def explain_once(_config: Config, question: Mapping[str, object]) -> object:
        questions.append(question)
        return decision(verdict=OUT_OF_SCOPE)

    monkeypatch.setattr("proxy.app.explain_once", explain_once)
    return questions


def test_asks_the_running_gate(run: Run, gate: FakeBackend) -> None:
    result = run("explain", json.dumps(REQUEST), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "verdict": "allow",
        "chain": "soneium",
        "entryPoint": V07,
        "limit": 2**255,
    }


def test_a_hash_is_looked_up_at_the_bundler_and_the_running_gate_asked_for_its_verdict(
    run: Run, gate: FakeBackend, bundler: RecordingBundler, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "0x" + "5a" * 32
    found = {"userOperation": OPERATION, "entryPoint": V07, "blockNumber": None, "transactionHash": None}
    bundler.answers["eth_getUserOperationByHash"] = Answer(result=found)
    questions = []

    async def judged(*question: object) -> Mapping[str, object]:
        questions.append(question)
        return {"verdict": "reject", "reasons": [{"sentence": "out of scope"}]}

    monkeypatch.setattr(gate, "explain", judged)
    result = run("explain", name)
    assert (result.exit_code, "sentence: out of scope" in result.stdout) == (1, True)
    assert OFFLINE not in result.stderr
    assert [each.params for each in bundler.requests if each.method == "eth_getUserOperationByHash"] == [[name]]
    assert questions == [("soneium", OPERATION, V07)]


def test_the_verdict_is_the_exit_code(run: Run, gate: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def reject(*_arguments: object) -> Mapping[str, object]:
        return {"verdict": "reject", "reasons": [{"sentence": "out of scope"}]}

    monkeypatch.setattr(gate, "explain", reject)
    result = run("explain", json.dumps(OPERATION))
    assert result.exit_code == 1
    assert "sentence: out of scope" in result.stdout


def test_the_rules_that_fired_are_told(run: Run, gate: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def judged(*_arguments: object) -> Mapping[str, object]:
        hit = {"rule": "small-change", "mode": "shadow", "severity": "low", "sentence": "too much", "unknown": False}
        return {"verdict": "allow", "rules": [hit]}

    monkeypatch.setattr(gate, "explain", judged)
    printed = run("explain", json.dumps(OPERATION)).stdout
    for wanted in ("rules", "0: small-change", "mode: shadow", "severity: low", "sentence: too much"):
        assert wanted in printed
    assert "unknown" not in printed


def test_what_the_gate_cannot_read_is_told(run: Run, gate: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_arguments: object) -> Mapping[str, object]:
        raise InvalidParams("operation.nonce", "odd")

    monkeypatch.setattr(gate, "explain", refuse)
    result = run("explain", json.dumps(OPERATION))
    assert result.exit_code == 1
    assert "says: operation.nonce: odd" in result.stderr


def test_without_a_gate_it_judges_here_and_says_so(run: Run, asked: list[Mapping[str, object]]) -> None:
    result = run("explain", json.dumps(REQUEST), "--json")
    assert result.exit_code == 1
    assert OFFLINE in result.stderr
    assert asked == [{"chain": "soneium", "operation": OPERATION, "entryPoint": V07}]
    printed = json.loads(result.stdout)
    assert isinstance(OUT_OF_SCOPE, Reject)
    assert [reason["sentence"] for reason in printed["reasons"]] == [r.sentence for r in OUT_OF_SCOPE.reasons]


def test_offline_does_not_ask_a_running_gate(run: Run, gate: FakeBackend, asked: list[Mapping[str, object]]) -> None:
    result = run("explain", json.dumps(REQUEST), "--offline")
    assert result.exit_code == 1
    assert len(asked) == 1
    assert OFFLINE not in result.stderr


def test_the_verdict_made_here_is_the_gates_own(run: Run) -> None:
    result = run("explain", json.dumps(REQUEST), "--offline", "--json")
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert (printed["verdict"], printed["reason"]) == ("reject", "session_unknown")
    assert printed["permissionId"] == "0x" + "ab" * 32


@pytest.mark.parametrize("pasted", [CALL_DATA.hex(), "0x" + CALL_DATA.hex(), json.dumps([REQUEST, REQUEST])])
def test_only_one_operation_has_a_verdict(run: Run, pasted: str) -> None:
    assert run("explain", pasted).exit_code == 2


def test_the_chain_must_be_a_configured_one(run: Run) -> None:
    result = run("explain", json.dumps(REQUEST), "--chain", "base")
    assert result.exit_code == 2
    assert "choose a chain with --chain: soneium" in result.stderr


# errors


@pytest.mark.parametrize(
    "pasted",
    [
        "AA25 invalid account nonce",
        'UserOperation failed validation with reason: "AA25 invalid account nonce"',
        '{"code": -32500, "message": "AA25 invalid account nonce"}',
        '{"jsonrpc": "2.0", "id": 1, "error": {"code": -32500, "message": "AA25 invalid account nonce"}}',
    ],
)
def test_a_bundlers_error_is_put_into_words(run: Run, pasted: str) -> None:
    result = run("explain", pasted)
    assert result.exit_code == 0
    assert result.stdout == "AA25: the nonce is used already, or skips one: read it again from the entry point\n"


def test_what_a_contract_reverted_with_is_put_into_words(run: Run) -> None:
    data = Revert("UnsupportedExecutionType").data
    told = json.loads(run("explain", "0x" + data.hex(), "--json").stdout)
    assert told["meaning"].startswith("UnsupportedExecutionType(): ")


UNKNOWN = "0x12345678" + "5e" * 999


@pytest.mark.parametrize(
    ("pasted", "words"),
    [
        (f"execution reverted: {UNKNOWN}", []),
        (f"AA23 reverted {UNKNOWN}", ["AA23: "]),
        (json.dumps({"code": -32500, "message": "AA23", "data": {"revertData": UNKNOWN}}), ["AA23: "]),
        (json.dumps({"error": {"code": 3, "message": "execution reverted", "data": UNKNOWN}}), []),
    ],
)
def test_what_a_contract_reverted_with_is_shown_whole_where_nothing_is_known_of_it(
    run: Run, pasted: str, words: list[str]
) -> None:
    *said, last = run("explain", pasted).stdout.splitlines()
    assert [line[:6] for line in said] == words
    assert last == f"reverted with an error that is not known here: {UNKNOWN}"
    assert json.loads(run("explain", pasted, "--json").stdout)["unknownErrors"] == [UNKNOWN]


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("aa24", "AA24: the signature was checked"),
        ("PolicyViolation", "PolicyViolation: a policy of the session refuses"),
        ("InvalidPermissionId(bytes32)", "InvalidPermissionId: the session is not enabled"),
        ("execution reverted: 0x4e487b71" + "11".rjust(64, "0"), "Panic: arithmetic overflowed"),
    ],
)
def test_an_error_is_known_by_its_name_alone(run: Run, pasted: str, said: str) -> None:
    result = run("explain", pasted)
    assert (result.exit_code, result.stdout.startswith(said)) == (0, True), result.output


@pytest.mark.parametrize("written", ["AA25 invalid account nonce\n", '{"code": -32500, "message": "AA25 invalid"}'])
def test_an_error_in_a_file_is_put_into_words(run: Run, tmp_path: Path, written: str) -> None:
    (tmp_path / "said.txt").write_text(written)
    result = run("explain", str(tmp_path / "said.txt"))
    assert result.stdout.startswith("AA25: the nonce is used already")


def test_an_error_of_which_nothing_is_known_is_said_to_be_one(run: Run) -> None:
    result = run("explain", '{"code": -32000, "message": "no"}')
    assert (result.exit_code, result.stderr) == (1, "sessiongate: nothing is known of this error here\n")
