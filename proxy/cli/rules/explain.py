"""`sessiongate rules explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated

import typer

from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail
from proxy.cli.render import print_tree
from proxy.cli.rules.sets import FilesArgument, RuleSet, load_cases, load_rules
from proxy.document import did_you_mean
from proxy.judge.measure import print_measure
from proxy.judge.prepared import lower
from proxy.judge.rule import (
    ANY_CHAIN,
    AmountOf,
    Check,
    Deviation,
    FirstSeen,
    Floor,
    Limit,
    Match,
    OnCalendar,
    Per,
    Rate,
    Rule,
    Schedule,
    Streak,
    Window,
)
from proxy.judge.tokens import Asset, Tokens
from proxy.rehearsal.case import Case
from proxy.userop.primitives import print_bytes, print_checksummed

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def explain_rule(
    rule_id: Annotated[str, typer.Argument(metavar="ID", show_default=False, help="The id of a rule.")],
    files: FilesArgument = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say in words what a rule is about, what it asks and counts, and how much it weighs.

    The effective mode is the rule's own under the gate's mode. Exit code 1 when there is no such rule.

    \b
    Examples:
      sessiongate rules explain usdc-per-session-per-day
      sessiongate rules explain new-target rules/anomaly.yaml --json
    """
    rules = load_rules(files or (), config)
    found = next((rule for rule in rules.ruleset.rules if rule.id == rule_id), None)
    if found is None:
        cure = did_you_mean(rule_id, [rule.id for rule in rules.ruleset.rules])
        fail(f"there is no rule {rule_id!r}{f'; {cure}' if cure else ''}", ExitCode.REFUSED)
    cases = [case for case in load_cases(rules) if case.rule == rule_id]
    told = in_words(found, rules, cases)
    if as_json:
        typer.echo(json.dumps({"rule": rule_id, **told}, indent=2))
    else:
        print_tree(rule_id, told)


def in_words(rule: Rule, rules: RuleSet, cases: list[Case]) -> dict[str, object]:
    """Everything about a rule."""
    tokens = rules.ruleset.tokens
    return {
        "description": rule.description,
        "place": f"{rule.place.path}:{rule.place.line}:{rule.place.column}",
        "mode": rule.mode.value,
        "effectiveMode": lower(rule.mode, rules.ceiling).value,
        "severity": rule.severity.value,
        "missingFact": f"fails {rule.fail.value}: "
        + ("as if it had fired" if rule.fail.value == "closed" else "lets pass, and that is counted"),
        "matches": match_in_words(rule.match, tokens),
        "when": None if rule.when is None else rule.when.source,
        "learnsFrom": None if rule.learn is None else rule.learn.source,
        "fires": "whenever all of this holds" if rule.check is None else check_in_words(rule.check, tokens),
        "except": [
            {
                "matches": match_in_words(each.match, tokens),
                "when": None if each.when is None else each.when.source,
                "reason": each.reason,
                "until": each.until,
            }
            for each in rule.exemptions
        ],
        "remedy": rule.remedy,
        "tags": list(rule.tags),
        "owner": rule.owner,
        "runbook": rule.runbook,
        "notify": list(rule.notify),
        "cases": [
            f"{case.name} ({sum(step.fires for step in case.steps)} of {len(case.steps)} operations fire)"
            for case in cases
        ],
    }


def match_in_words(match: Match, tokens: Tokens) -> dict[str, object]:
    """What a match asks for, field by field; `None` asks for nothing."""
    told: dict[str, object] = {}
    for field in fields(match):
        value = getattr(match, field.name)
        if value is None:
            continue
        if isinstance(value, bool):
            told[field.name] = value
        else:
            told[field.name] = " or ".join(sorted(_thing(each, tokens) for each in value))
    return told


def _thing(value: object, tokens: Tokens) -> str:
    if isinstance(value, Asset):
        token = tokens.at(value)
        name = token.symbol if token is not None else print_checksummed(value.address or b"")
        # the native coin stands for that of every chain
        return name if value.chain_id == ANY_CHAIN or value.address is None else f"{name} on chain {value.chain_id}"
    if isinstance(value, bytes):
        return print_checksummed(value) if len(value) == 20 else print_bytes(value)
    return str(value)


def check_in_words(check: Check, tokens: Tokens) -> str:
    """One sentence."""
    match check:
        case Limit():
            return _limit(check, tokens)
        case Rate():
            return (
                f"above {check.maximum} requests in {_window(check.window)}{_per(check.per)}, whatever becomes of them"
            )
        case FirstSeen():
            return _first_seen(check, tokens)
        case Deviation():
            return (
                f"on {_amount(check.amount)} further from the median than {check.factor} times the usual spread"
                f"{_per(check.per)}, after {check.after_operations} operations"
            )
        case Streak():
            return f"after {check.length} operations in a row that were {check.outcome}{_per(check.per)}"
        case Schedule():
            hours = ", ".join(
                f"{' '.join(_DAYS[day] for day in sorted(each.days))} {_clock(each.start)}-{_clock(each.end)}"
                for each in check.hours
            )
            return f"{'inside' if check.within else 'outside'} of {hours} ({check.zone.key})"


def _first_seen(check: FirstSeen, tokens: Tokens) -> str:
    often = check.times > 1 or check.over_seconds or check.learn_above is not None
    told = f"on a {check.of.value} not {'known' if often else 'seen before'}{_per(check.per)}"
    if check.above is not None:
        told += f", who gets {_floor(check.above, tokens)} or more"
    if check.after_operations:
        told += f", after {check.after_operations} operations of history"
    elif check.after_seconds:
        told += f", after {_time(check.after_seconds)} of history"
    if not often:
        return told
    told += f"; known is what {check.times} mined operations had"
    if check.over_seconds:
        told += f", the first of them {_time(check.over_seconds)} ago or longer"
    if check.learn_above is not None:
        told += f", each with {_floor(check.learn_above, tokens)} or more"
    return told


def _floor(floor: Floor, tokens: Tokens) -> str:
    printed = (print_measure(least, floor.amount, chain, tokens) for chain, least in floor.least.items())
    return " or ".join(dict.fromkeys(printed)) + f" ({_amount(floor.amount)})"


def _limit(limit: Limit, tokens: Tokens) -> str:
    what = "operations" if limit.amount is None else _amount(limit.amount)
    if limit.of is not None:
        what = f"different {limit.of.value}s"
    within = "one operation" if limit.window is None else _window(limit.window)
    return f"above {_most(limit, tokens)} ({what}) in {within}{_per(limit.per)}, what is in flight included"


def _most(limit: Limit, tokens: Tokens) -> str:
    printed: Mapping[int, str] = {
        chain: str(most) if limit.amount is None else print_measure(most, limit.amount, chain, tokens)
        for chain, most in limit.maximum.items()
    }
    return " or ".join(dict.fromkeys(printed.values())) or "nothing: the token is on no chain"


def _amount(amount: AmountOf) -> str:
    of = f" of {amount.asset}" if amount.asset else " in USD" if amount.usd else ""
    return amount.what.value.replace("_", " ") + of


def _per(per: tuple[Per, ...]) -> str:
    return f", per {' and '.join(each.value for each in per)}" if per else ", all counted together"


def _window(window: Window) -> str:
    if isinstance(window, OnCalendar):
        return f"one {window.unit.value} ({window.zone.key})"
    return _time(window.seconds)


def _time(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
