"""A folder with rules, tokens and cases, and the commands on rules run in it."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from proxy.cli.rules.backtest import backtest_rules
from proxy.cli.rules.coverage import coverage
from proxy.cli.rules.explain import explain_rule
from proxy.cli.rules.test import run_rule_cases
from tests.rehearsal.builders import DAILY, DAILY_CASES, TOKENS

COMMANDS = typer.Typer()
COMMANDS.command("test")(run_rule_cases)
COMMANDS.command("backtest")(backtest_rules)
COMMANDS.command("coverage")(coverage)
COMMANDS.command("explain")(explain_rule)


def run(*arguments: str) -> Result:
    """Runs one of the commands."""
    result = CliRunner().invoke(COMMANDS, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write_rules(folder: Path, rules: str = DAILY, cases: str = DAILY_CASES) -> Path:
    """`rules/a.yaml` with its cases and tokens."""
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "tokens.yaml").write_text(TOKENS, encoding="utf-8")
    (folder / "rules" / "a.cases.yaml").write_text(cases, encoding="utf-8")
    path = folder / "rules" / "a.yaml"
    path.write_text(rules, encoding="utf-8")
    return path
