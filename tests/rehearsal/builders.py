"""A small set of rules, its cases, and operations of the past."""

from __future__ import annotations

from typing import Any

from proxy.judge.facts import Facts
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.rule import Ruleset
from proxy.rehearsal.case import Case
from proxy.rehearsal.cases import CaseFile, read_cases

TOKENS = """\
tokens:
  ETH: {native: true, price: "3000 USD"}
  USDC: {price: "1 USD", on: {1868: {address: 0x00000000000000000000000000000000000000dc, decimals: 6}}}
"""
DAILY = """\
rules:
  - id: daily
    description: No session moves more than 500 USDC a day.
    mode: enforce
    match: {session: true}
    limit: {sum: spend, token: USDC, max: 500, per: session, window: 24h}
"""
DAILY_CASES = """\
cases:
  - rule: daily
    name: the 500th USDC of a day passes, one more does not
    steps:
      - {at: 0s, spend: 500 USDC, expect: passes}
      - {at: 23h, spend: 1 USDC, expect: fires}
      - {at: 24h10m, spend: 1 USDC, to: alice, expect: passes}
"""


def rules(text: str) -> Ruleset:
    """The rules in a text, which must be right."""
    parsed = parse_rules(
        [SourceFile("rules/a.yaml", text)], [SourceFile("rules/tokens.yaml", TOKENS)], chains=None, clients=None
    )
    assert parsed.ruleset is not None, [str(fault) for fault in parsed.faults]
    return parsed.ruleset


def case_file(text: str) -> CaseFile:
    """What comes of reading cases."""
    return read_cases(text, "rules/a.cases.yaml", rules(DAILY).tokens)


def cases(text: str) -> tuple[Case, ...]:
    """The cases in a text, which must be right."""
    file = case_file(text)
    assert file.faults == (), [str(fault) for fault in file.faults]
    return file.cases


def steps(*lines: str, rule: str = "daily", head: str = "") -> str:
    """A case file of one case."""
    return f"{head}cases:\n  - rule: {rule}\n    name: it\n    steps:\n" + "".join(f"      - {{{x}}}\n" for x in lines)


def facts(line: str = "", **changes: Any) -> Facts:
    """The facts of one step, with changes."""
    (case,) = cases(steps(f"{line}{', ' if line else ''}expect: passes"))
    return case.steps[0].facts._replace(**changes)
