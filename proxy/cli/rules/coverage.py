"""`sessiongate rules coverage`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from proxy.cli.audit.trail import audit_trail
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, load
from proxy.cli.render import console
from proxy.cli.rules.backtest import SinceOption, UntilOption
from proxy.cli.rules.past import Past, progress
from proxy.cli.rules.sets import FilesArgument, load_cases, load_rules
from proxy.rehearsal.coverage import Covered, coverage_of_cases, coverage_of_past


def coverage(
    files: FilesArgument = None,
    *,
    cases: Annotated[bool, typer.Option("--cases", help="Over the cases beside the rules, not the past.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say which rules ever fired, and which never did.

    Today's rules are held against the audit trail, as `rules backtest` does it, whatever rules were in force then.

    \b
    Examples:
      sessiongate rules coverage --since 30d
      sessiongate rules coverage --cases
    """
    rules, past = load_rules(files or (), config), Past()
    if cases:
        found = coverage_of_cases(rules.ruleset, load_cases(rules))
    else:
        trail = audit_trail(load(config, secrets=False))
        with progress("judging the past", None) as bar:
            stream = past.audit(trail, since, until)
            found = coverage_of_past(rules.ruleset, stream, heard=lambda: bar.advance(bar.task_ids[0]))
    if as_json:
        typer.echo(json.dumps({"rules": [_as_json(each) for each in found], "notReadable": past.unread}, indent=2))
        return
    out = console()
    for each in found:
        out.print(_line(each, dated=not cases), markup=False)
    never = sum(not each.fired for each in found)
    out.print(f"{len(found)} rules, {never} never fired", markup=False)
    if past.unread:
        out.print(f"{past.unread} records without facts or not readable", markup=False)


def _as_json(covered: Covered) -> dict[str, object]:
    return {
        "rule": covered.rule.id,
        "mode": covered.rule.mode.value,
        "fired": covered.fired,
        "passedForWantOfAFact": covered.opened,
        "first": covered.first,
        "last": covered.last,
    }


def _line(covered: Covered, *, dated: bool) -> str:
    times = f"fired {covered.fired} time{'' if covered.fired == 1 else 's'}" if covered.fired else "never fired"
    last = f", last {datetime.fromtimestamp(covered.last, UTC):%Y-%m-%d %H:%M}" if dated and covered.last else ""
    opened = f", {covered.opened} passed for want of a fact" if covered.opened else ""
    return f"{covered.rule.id} ({covered.rule.mode.value}): {times}{last}{opened}"
