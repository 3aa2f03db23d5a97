"""`sessiongate rules check` tells every fault of rule files with its place, and fails when there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proxy.userop.budget import MOST_COUNTS
from tests.cli.conftest import Run, write_settings

GOOD = "rules:\n  - {id: a, description: It is., match: {client: dapp}}\n"
FAULTY = "rules:\n  - {id: a, description: It is., mode: alrt}\n  - {id: b, description: It is., severty: low}\n"
WARNED = "rules:\n  - {id: a, description: It is., match: {session: false, mode: use}}\n"


def _write(folder: Path, text: str, name: str = "a.yaml") -> None:
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / name).write_text(text, encoding="utf-8")


def _name_rules_in_settings(folder: Path) -> None:
    write_settings(folder, port=1)
    path = folder / "sessiongate.yaml"
    path.write_text(f"{path.read_text(encoding='utf-8')}rules: [rules/*.yaml]\n", encoding="utf-8")


def test_sound_files_are_counted_and_their_set_is_named(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, GOOD)
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 0
    assert result.stderr == ""
    first, last = result.stdout.splitlines()
    assert first == "rules/a.yaml: 1 rule"
    assert last.startswith("set ")


def test_settings_that_name_no_rules_are_told_to_have_none(run: Run) -> None:
    result = run("rules", "check")
    assert result.exit_code == 0
    assert result.stderr.startswith("there is no rule: `rules:` of the settings")


def test_every_fault_comes_with_file_line_column_and_cure(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, FAULTY)
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "rules/a.yaml:2:40: 'alrt' is none of off, shadow, alert, enforce; did you mean \"alert\"?",
        "rules/a.yaml:3:34: unknown key 'severty' in a rule; did you mean \"severity\"?",
        "2 to mend",
    ]


def test_without_files_those_of_the_settings_are_checked_with_names_of_chains_and_clients(
    run: Run, tmp_path: Path
) -> None:
    _write(tmp_path, "rules:\n  - {id: a, description: It is., match: {chain: sonium}}\n")
    _name_rules_in_settings(tmp_path)
    result = run("rules", "check")
    assert result.exit_code == 1
    assert "rules/a.yaml:2:49: there is no chain 'sonium'; did you mean \"soneium\"?" in result.stderr
    # files that are given are held against the settings that are found; without settings nobody knows better
    assert run("rules", "check", "rules/a.yaml").exit_code == 1
    assert run("rules", "check", "rules/a.yaml", "--config", "none.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("asks", "problem"),
    [
        ("match: {chain: sonium}", "there is no chain 'sonium'; did you mean \"soneium\"?"),
        ("match: {client: dap}", "there is no client 'dap'; did you mean \"dapp\"?"),
        ('when: op.chain == "sonium"', "op.chain is one of soneium; did you mean soneium?"),
        ('when: op.client in ["dap"]', "op.client is one of anonymous, dapp; did you mean dapp?"),
    ],
)
def test_a_misspelt_chain_or_client_is_a_fault_wherever_a_rule_names_it(
    run: Run, tmp_path: Path, asks: str, problem: str
) -> None:
    _write(tmp_path, f"rules:\n  - id: a\n    description: It is.\n    {asks}\n")
    write_settings(tmp_path, port=1)
    path = tmp_path / "sessiongate.yaml"
    path.write_text(
        f"{path.read_text(encoding='utf-8')}clients: [{{name: dapp, api_key: a-key-of-the-dapp}}]\n", encoding="utf-8"
    )
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 1
    assert problem in result.stderr


ENFORCING = "rules:\n  - {id: a, description: It is., mode: enforce, %s}\n"


@pytest.mark.parametrize(
    ("asks", "warns"),
    [
        ("match: {moves: 0x00000000000000000000000000000000000000A1}", True),
        ("when: any(m.token == 0x00000000000000000000000000000000000000A1 for m in op.moves)", True),
        ("limit: {sum: spend, unit: USD, max: 5, per: session, window: 24h}", True),
        ('when: \'arg("swap(uint256 least)", "least") == 0\'', True),
        ('match: {selector: "swap(uint256)"}, when: \'arg("swap(uint256 least)", "least") == 0\'', False),
        ('match: {selector: "pay(uint256)"}, when: \'arg("swap(uint256 least)", "least") == 0\'', True),
        ('when: \'arg("swap(uint256 least)", "least") != none and arg("swap(uint256 least)", "least") == 0\'', False),
        ("when: op.paymaster != 0x00000000000000000000000000000000000000A1", True),
        ("when: op.paymaster != none and op.paymaster != 0x00000000000000000000000000000000000000A1", False),
        ("match: {paymaster: any}, when: op.paymaster != 0x00000000000000000000000000000000000000A1", False),
        ("when: op.session_age < 1h", True),
        ("match: {session: true}, when: op.session_age < 1h", False),
        ("match: {session: true}, when: op.session_left < 1h", True),
        ("match: {session: true}, when: op.session_left != none and op.session_left < 1h", False),
        ("match: {session: true}, when: op.limit_used_percent > 90", False),
        ("match: {session: true}, when: op.max_fee > 5 gwei", False),
        ("match: {moves: 0x00000000000000000000000000000000000000A1}, fail: closed", False),
        ("match: {moves: 0x00000000000000000000000000000000000000A1}, fail: open", False),
        ("match: {session: true}, limit: {count: ops, max: 5, per: session, window: 24h}", False),
    ],
)
def test_a_rule_that_refuses_what_nobody_can_read_without_saying_so_is_warned_of(
    run: Run, tmp_path: Path, asks: str, warns: bool
) -> None:
    _write(tmp_path, ENFORCING % asks)
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 0, result.stderr
    assert ("rule a enforces, and so refuses operations" in result.stderr) is warns


OURS = "lists: {ours: {of: address, values: [0x00000000000000000000000000000000000000A1]}}\n"
UNKNOWN_FUNCTION = "such as one of an unknown function"


@pytest.mark.parametrize(
    ("asks", "warns"),
    [
        ("match: {moves: 0x00000000000000000000000000000000000000A1}", True),
        ("when: any(m.token == 0x00000000000000000000000000000000000000A1 for m in op.moves)", True),
        ("when: any(m.counterparty == 0x00000000000000000000000000000000000000A1 for m in op.moves)", False),
        ('when: any(m.kind == "spend" and m.amount > 5 for m in op.moves)', False),
        ('when: any(m.kind == "exposure" and m.token != none and m.token not in $ours for m in op.moves)', False),
        ("when: spend(ETH) > 5 ETH", False),
    ],
)
def test_an_unknown_function_is_named_only_where_the_rule_refuses_one(
    run: Run, tmp_path: Path, asks: str, warns: bool
) -> None:
    _write(tmp_path, OURS + ENFORCING % asks)
    told = run("rules", "check", "rules/a.yaml").stderr
    assert "rule a enforces, and so refuses operations with a" in told
    assert (UNKNOWN_FUNCTION in told) is warns, told


def test_warnings_fail_only_when_asked_to(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, WARNED)
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 0
    assert "rules/a.yaml:2:10: rule a can never fire" in result.stderr
    assert result.stderr.rstrip().endswith("(warning)")
    assert run("rules", "check", "rules/a.yaml", "--strict").exit_code == 1


def test_an_exception_that_has_ended_is_warned_of_and_one_that_has_not_is_not(run: Run, tmp_path: Path) -> None:
    exempt = "rules:\n  - {id: a, description: It is., except: [{match: {client: dapp}, until: %s}]}\n"
    _write(tmp_path, exempt % "2020-12-31")
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 0
    assert "that ended 2021-01-01 00:00 UTC and exempts nothing any more" in result.stderr
    assert run("rules", "check", "rules/a.yaml", "--strict").exit_code == 1
    _write(tmp_path, exempt % "9000-12-31")
    assert run("rules", "check", "rules/a.yaml", "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("match", "warns"),
    [
        ("{session: true}", True),
        ("{session: true, account: 0x%040x}", False),
        ("{target: 0x%040x}", False),
        ("{preview: any}", True),
    ],
)
def test_more_counts_than_are_looked_up_for_one_operation_are_warned_of(
    run: Run, tmp_path: Path, match: str, warns: bool
) -> None:
    limit = "limit: {count: ops, max: 5, per: session, window: 24h}"
    rules = "".join(
        f"  - {{id: r{number}, description: It is., match: {match.replace('%040x', f'{number + 1:040x}')}, {limit}}}\n"
        for number in range(MOST_COUNTS + 1)
    )
    _write(tmp_path, f"rules:\n{rules}")
    result = run("rules", "check", "rules/a.yaml")
    assert result.exit_code == 0, result.stderr
    assert (f"up to {MOST_COUNTS + 1} rules like r{MOST_COUNTS} count one operation" in result.stderr) is warns


@pytest.mark.parametrize(("text", "faults", "warnings"), [(GOOD, 0, 0), (FAULTY, 2, 0), (WARNED, 0, 1)])
def test_json_is_for_machines(run: Run, tmp_path: Path, text: str, faults: int, warnings: int) -> None:
    ok = not faults
    _write(tmp_path, text)
    result = run("rules", "check", "rules/a.yaml", "--json")
    body = json.loads(result.stdout)
    assert result.exit_code == (0 if ok else 1)
    assert (body["ok"], len(body["faults"]), len(body["warnings"])) == (ok, faults, warnings)
    assert (body["digest"] is None) == (not ok)
    for each in (*body["faults"], *body["warnings"]):
        assert each.keys() == {"file", "line", "column", "rule", "problem", "suggestion"}
        assert (each["file"], each["rule"] in ("a", "b")) == ("rules/a.yaml", True)


def test_a_file_that_is_not_there_is_a_fault(run: Run, tmp_path: Path) -> None:
    result = run("rules", "check", "rules/none.yaml")
    assert result.exit_code == 1
    assert "rules/none.yaml matches no rule file" in result.stderr


def test_files_as_a_shell_writes_them_out_are_checked(run: Run, tmp_path: Path) -> None:
    _write(tmp_path, GOOD)
    _write(tmp_path, "cases: []\n", "a.cases.yaml")
    _write(tmp_path, "tokens: {ETH: {native: true}}\n", "tokens.yaml")
    result = run("rules", "check", "rules/a.cases.yaml", "rules/a.yaml", "rules/tokens.yaml", "--strict")
    assert result.exit_code == 0


@pytest.mark.parametrize("command", ["check", "test", "backtest", "explain", "coverage", "list", "reload"])
def test_every_command_on_rules_is_there_and_explains_itself(run: Run, command: str) -> None:
    result = run("rules", command, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
