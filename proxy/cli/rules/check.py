"""`sessiongate rules check`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, load
from proxy.cli.rules.sets import FilesArgument, parse_files
from proxy.edge.rule_files.reading import read_rules
from proxy.judge.parse import Parsed, RuleFault, ended
from proxy.judge.rule import Ruleset


def check_rules(
    files: FilesArgument = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Report every fault of all rule files at once, with file:line:column and a cure.

    Without files those of the settings are checked. Names of chains and clients are held against the settings, where
    they are given or found. Warnings tell of rules that can never fire or never matter, or that refuse what nobody can
    read, and of exceptions that free more than they name or have ended. Exit code 1 when something is wrong.

    \b
    Examples:
      sessiongate rules check
      sessiongate rules check rules/*.yaml --strict
      sessiongate rules check rules/*.yaml --json
    """
    named = [str(file) for file in files or ()]
    parsed = parse_files(named, Path(), config)[0] if named else read_rules(load(config, secrets=False))
    if parsed.ruleset is not None:
        over = ended(parsed.ruleset.rules, time.time())
        parsed = replace(parsed, warnings=(*parsed.warnings, *over))
    failed = bool(parsed.faults) or (strict and bool(parsed.warnings))
    if as_json:
        typer.echo(json.dumps(_described(parsed, ok=not failed), indent=2))
    else:
        _print(parsed)
    raise typer.Exit(ExitCode.REFUSED if failed else ExitCode.OK)


def _print(parsed: Parsed) -> None:
    for fault in parsed.faults:
        typer.echo(str(fault), err=True)
    for warning in parsed.warnings:
        typer.echo(f"{warning} (warning)", err=True)
    if parsed.ruleset is None:
        typer.echo(f"{len(parsed.faults)} to mend", err=True)
        return
    if not parsed.ruleset.rules:
        typer.echo("there is no rule: `rules:` of the settings names the files that have some", err=True)
    for path, number in _by_file(parsed.ruleset).items():
        typer.echo(f"{path}: {number} {'rule' if number == 1 else 'rules'}")
    for name, number in parsed.ruleset.listed.items():
        typer.echo(f"list {name}: {number} {'value' if number == 1 else 'values'}")
    typer.echo(f"set {parsed.ruleset.digest}")


def _by_file(ruleset: Ruleset) -> dict[str, int]:
    counts: dict[str, int] = {}
    for rule in ruleset.rules:
        counts[rule.place.path] = counts.get(rule.place.path, 0) + 1
    return counts


def _described(parsed: Parsed, *, ok: bool) -> dict[str, object]:
    ruleset = parsed.ruleset
    return {
        "ok": ok,
        "digest": None if ruleset is None else ruleset.digest,
        "rules": None if ruleset is None else [rule.id for rule in ruleset.rules],
        "lists": None if ruleset is None else dict(ruleset.listed),
        "faults": [_fault(each) for each in parsed.faults],
        "warnings": [_fault(each) for each in parsed.warnings],
    }


def _fault(fault: RuleFault) -> dict[str, object]:
    return {
        "file": fault.place.path,
        "line": fault.place.line,
        "column": fault.place.column,
        "rule": fault.rule,
        "problem": fault.problem,
        "suggestion": fault.suggestion,
    }
