"""The shipped packs and every example of the reference: they check, their cases hold, and the reference is complete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from proxy.judge.expression.checker import FUNCTIONS
from proxy.judge.expression.fields import ACTS, FIELDS
from proxy.judge.parse import Parsed, SourceFile, parse_rules
from proxy.judge.parse.matches import MATCH_KEYS
from proxy.judge.parse.rules import RULE_KEYS
from proxy.judge.rule import Rule
from proxy.judge.verdict import Mode
from proxy.rehearsal.cases import read_cases
from proxy.rehearsal.run_cases import faults_of, run_cases
from proxy.rehearsal.steps import STEP_KEYS
from proxy.session.lint.findings import KINDS

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "rules"
README: Final = (RULES / "README.md").read_text()
TOKENS: Final = (RULES / "tokens.yaml").read_text()


@dataclass(frozen=True, slots=True)
class Pack:
    """Rules, the cases beside them, and the tokens they name."""

    name: str
    rules: str
    cases: str
    tokens: str = TOKENS

    def parsed(self) -> Parsed:
        """The rules as the gate reads them."""
        tokens = [SourceFile("tokens.yaml", self.tokens)]
        return parse_rules([SourceFile(f"{self.name}.yaml", self.rules)], tokens, chains=None, clients=None)


def _shipped() -> list[Pack]:
    return [
        Pack(str(path.relative_to(RULES)), path.read_text(), path.with_suffix(".cases.yaml").read_text())
        for path in sorted(RULES.rglob("*.yaml"))
        if not path.name.endswith(".cases.yaml") and path.name != "tokens.yaml"
    ]


def _blocks() -> list[tuple[str, str]]:
    """The complete examples of the reference: what kind each is, and its text."""
    found = re.findall(r"^```yaml\n# (rules|cases|tokens)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [(kind, text) for kind, text in found]


def _examples() -> list[Pack]:
    """Each example of rules with the cases that follow it."""
    blocks = _blocks()
    return [
        Pack(f"README-{number}", text, blocks[number + 1][1] if blocks[number + 1][0] == "cases" else "")
        for number, (kind, text) in enumerate(blocks)
        if kind == "rules"
    ]


SHIPPED: Final = _shipped()
EXAMPLES: Final = _examples()


def _table(heading: str) -> list[list[str]]:
    """The rows of the first table after a line that starts so."""
    rows: list[list[str]] = []
    for line in README[README.index(f"\n{heading}") :].splitlines()[1:]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif rows:
            break
    return rows[2:]


def _names(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def _rules() -> list[Rule]:
    rulesets = [pack.parsed().ruleset for pack in SHIPPED]
    return [rule for ruleset in rulesets if ruleset is not None for rule in ruleset.rules]


@pytest.mark.parametrize("pack", [*SHIPPED, *EXAMPLES], ids=lambda pack: pack.name)
def test_a_pack_has_no_fault_and_no_warning(pack: Pack) -> None:
    parsed = pack.parsed()
    assert [str(fault) for fault in (*parsed.faults, *parsed.warnings)] == []


@pytest.mark.parametrize("pack", [*SHIPPED, *EXAMPLES], ids=lambda pack: pack.name)
def test_every_rule_of_a_pack_fires_and_passes_as_its_cases_say(pack: Pack) -> None:
    ruleset = pack.parsed().ruleset
    assert ruleset is not None
    file = read_cases(pack.cases, f"{pack.name}.cases.yaml", ruleset.tokens)
    assert [str(fault) for fault in (*file.faults, *faults_of(file.cases, ruleset))] == []
    outcome = run_cases(file.cases, ruleset)
    assert [
        f"{failure.case.rule}, line {failure.step.place.line}, turn {failure.step.turn}: "
        f"{'fired' if failure.fired else 'passed'}: {failure.why}; counted {failure.counted}"
        for failure in outcome.failures
    ] == []
    assert [rule.id for rule in outcome.unfired] == []
    assert [rule.id for rule in outcome.unpassed] == []


@pytest.mark.parametrize("pack", SHIPPED, ids=lambda pack: pack.name)
def test_no_shipped_rule_refuses_anybody_until_ops_say_so(pack: Pack) -> None:
    ruleset = pack.parsed().ruleset
    assert ruleset is not None
    assert {rule.mode for rule in ruleset.rules} <= {Mode.SHADOW, Mode.ALERT}


@pytest.mark.parametrize("pack", SHIPPED, ids=lambda pack: pack.name)
def test_every_shipped_rule_says_what_to_do_and_can_be_found(pack: Pack) -> None:
    ruleset = pack.parsed().ruleset
    assert ruleset is not None
    assert [rule.id for rule in ruleset.rules if rule.remedy is None or not rule.tags] == []


def test_all_packs_and_profiles_can_be_read_together() -> None:
    sources = [SourceFile(pack.name, pack.rules) for pack in SHIPPED]
    parsed = parse_rules(sources, [SourceFile("tokens.yaml", TOKENS)], chains=None, clients=None)
    assert [str(fault) for fault in parsed.faults] == []


def test_the_token_file_of_the_reference_can_be_read() -> None:
    tokens = [text for kind, text in _blocks() if kind == "tokens"]
    assert tokens
    for text in tokens:
        assert parse_rules([], [SourceFile("tokens.yaml", text)], chains=None, clients=None).faults == ()


def test_every_example_of_rules_has_its_cases() -> None:
    kinds = [kind for kind, _ in _blocks() if kind != "tokens"]
    assert kinds
    assert kinds == ["rules", "cases"] * (len(kinds) // 2)


def test_the_reference_lists_every_shipped_rule_in_its_file() -> None:
    listed = {re.findall(r"\[`(.+?)`\]", file)[0]: _names(rules) for file, rules in _table("## What is shipped")}
    shipped = {}
    for pack in SHIPPED:
        ruleset = pack.parsed().ruleset
        assert ruleset is not None
        shipped[pack.name] = {rule.id for rule in ruleset.rules}
    assert listed == shipped


def test_all_32_detections_of_the_catalogue_have_their_place() -> None:
    rows = _table("### The 32 detections")
    assert [int(row[0]) for row in rows] == list(range(1, 33))
    assert all(row[2] for row in rows)


def test_the_detections_name_only_rules_alerts_and_settings_that_exist() -> None:
    rules = {rule.id for rule in _rules()}
    alerts = set(re.findall(r"alert: (\w+)", (ROOT / "deploy/prometheus/alerts.yml").read_text()))
    settings = {"unknown_session", "unknown_policy"} & set(
        re.findall(r"\w+", (ROOT / "sessiongate.example.yaml").read_text())
    )
    known = rules | alerts | settings | {"repeat_interval", "when", "sessiongate audit"}
    named = {name for row in _table("### The 32 detections") for name in _names(row[2])}
    assert named - known == set()


def test_every_rule_of_the_packs_serves_a_detection_or_is_one_of_few_others() -> None:
    named = {name for row in _table("### The 32 detections") for name in _names(row[2])}
    packs = {name for file, rules in _table("## What is shipped") if "profiles/" not in file for name in _names(rules)}
    others = packs - named
    assert others == {"grant-signs-off-chain", "grant-would-revert", "many-grants-per-account"}


def test_the_table_of_fields_is_the_one_that_expressions_are_checked_by() -> None:
    table = [(row[0].strip("`"), row[1], row[2]) for row in _table("**Fields.**")]
    assert table == [(field.name, field.type_in_words, field.doc) for field in FIELDS.values()]


def test_the_table_of_functions_names_them_all() -> None:
    named = {name.partition("(")[0] for row in _table("**Functions**") for name in _names(row[0])}
    assert named == {*FUNCTIONS, "value"}


def test_the_reference_names_every_key_of_a_rule_a_match_and_a_step() -> None:
    checks = {"limit", "rate", "first_seen", "deviation", "streak", "schedule"}
    keys = set().union(*(_names(cell) for row in _table("## A rule") for cell in (row[0], row[1])))
    assert set(RULE_KEYS) - keys == set()
    assert all(f"#### {check}" in README for check in checks)
    assert {name for row in _table("### match") for name in _names(row[0])} == set(MATCH_KEYS)
    fields = README[README.index("A step is one operation.") :]
    assert {key for key in STEP_KEYS if f"`{key}`" not in fields} == set()


def test_the_reference_names_every_act_and_every_finding() -> None:
    assert {name for name in (*ACTS, *KINDS) if f"`{name}`" not in README} == set()
