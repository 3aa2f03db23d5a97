"""`sessiongate rules backtest`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.audit.trail import audit_trail
from proxy.cli.modules import session_modules
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, chain_id_of, fail, load, read_since
from proxy.cli.render import console
from proxy.cli.rules.past import Past, progress, read_lines
from proxy.cli.rules.sets import load_rules
from proxy.rehearsal.backtest import Change, SetComparison, backtest
from proxy.userop.primitives import print_bytes, print_checksummed

_WIDEST = 40

SinceOption = Annotated[
    float | None, typer.Option("--since", parser=read_since, metavar="TIME", help="15m, 2h, 7d, a date, unix seconds.")
]
UntilOption = Annotated[
    float | None, typer.Option("--until", parser=read_since, metavar="TIME", help="The same; exclusive.")
]
TrafficOption = Annotated[
    Path | None,
    typer.Option("--traffic", metavar="FILE", help="Recorded requests, one JSON object a line, not the audit trail."),
]
RecordedChainOption = Annotated[
    str | None, typer.Option("--chain", metavar="NAME", help="The configured chain of recorded traffic.")
]


def backtest_rules(
    new: Annotated[list[Path], typer.Option("--new", metavar="FILE", help="A file of the new set; may be repeated.")],
    *,
    old: Annotated[
        list[Path] | None,
        typer.Option("--old", metavar="FILE", help="A file of the old set; by default those of the settings."),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    traffic: TrafficOption = None,
    chain: RecordedChainOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    rows: Annotated[bool, typer.Option("--rows", help="Each operation that is answered differently, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge the past again: who would be newly rejected, who newly allowed, how many alerts a day.

    The old and the new set are held against the audit trail, oldest decision first, each with counts of its own.
    An operation that was refused for the chain's reasons stays refused. Of an operation whose
    end is not in the trail, one that the bundler answered with a hash is taken to have been mined, successfully;
    so is one that was refused then and would pass now. One without an answer is taken to be in flight still.

    \b
    Examples:
      sessiongate rules backtest --new rules/spending.yaml --since 7d
      sessiongate rules backtest --old old.yaml --new new.yaml --traffic recorded.jsonl --json
    """
    settings = load(config, secrets=False)
    before, after, past = load_rules(old or (), config), load_rules(new, config), Past()
    if traffic is not None:
        lines = read_lines(traffic)
        name = chain or next(iter(settings.chains))
        if chain is None and len(settings.chains) != 1:
            fail(f"choose a chain with --chain: {', '.join(settings.chains)}")
        modules = session_modules(config, name)
        stream = past.traffic(lines, name, chain_id_of(settings, name) or 0, modules, traffic.stat().st_mtime)
        total: int | None = len(lines)
    else:
        stream, total = past.audit(audit_trail(settings), since, until), None
    with progress("judging the past", total) as bar:
        found = backtest(
            before.ruleset,
            after.ruleset,
            stream,
            ceiling=settings.mode,
            heard=lambda: bar.advance(bar.task_ids[0]),
        )
    if as_json:
        typer.echo(json.dumps(_as_json(found, past, rows=rows), indent=2))
    else:
        _print(found, past, rows=rows)


def _as_json(found: SetComparison, past: Past, *, rows: bool) -> dict[str, object]:
    return {
        "operations": found.operations,
        "refusedByTheChain": found.refused,
        "notReadable": past.unread,
        "withoutTime": past.untimed,
        "newlyRejected": _summed(found.newly_rejected, rows=rows),
        "newlyAllowed": _summed(found.newly_allowed, rows=rows),
        "fired": {"old": dict(found.fired_before), "new": dict(found.fired_after)},
        "passedForWantOfAFact": dict(found.opened),
        "days": {
            day: {
                "operations": each.operations,
                "rejected": {"old": each.rejected_before, "new": each.rejected_after},
                "alerts": {"old": dict(each.alerts_before), "new": dict(each.alerts_after)},
            }
            for day, each in sorted(found.days.items())
        },
    }


def _summed(changes: Sequence[Change], *, rows: bool) -> dict[str, object]:
    """Who is concerned and by which rules; each operation only where that is wanted."""
    told: dict[str, object] = {
        "operations": len(changes),
        "rules": dict(Counter(rule for change in changes for rule in change.rules).most_common()),
        "clients": dict(Counter(change.client for change in changes).most_common()),
        "accounts": len({change.account for change in changes}),
        "sessions": len({change.permission_id for change in changes if change.permission_id is not None}),
    }
    return {**told, "rows": [_change(each) for each in changes]} if rows else told


def _change(change: Change) -> dict[str, object]:
    return {
        "time": change.unix_time,
        "chain": change.chain,
        "client": change.client,
        "account": print_checksummed(change.account),
        "permissionId": None if change.permission_id is None else print_bytes(change.permission_id),
        "userOpHash": print_bytes(change.user_op_hash),
        "rules": list(change.rules),
        "sentence": change.sentence,
    }


def _print(found: SetComparison, past: Past, *, rows: bool) -> None:
    out = console()
    missing = f", {past.unread} records without facts or not readable" if past.unread else ""
    out.print(f"{found.operations} operations, {found.refused} refused by the chain{missing}", markup=False)
    if past.untimed:
        out.print(f"{past.untimed} without a recorded time: taken to be a second apart", markup=False)
    for title, changes in (("newly rejected", found.newly_rejected), ("newly allowed", found.newly_allowed)):
        out.print(f"{title}: {_sum_in_words(changes)}", markup=False)
        for change in changes if rows else ():
            out.print(f"  {_line(change)}", markup=False)
    if not rows and (found.newly_rejected or found.newly_allowed):
        out.print("each of them: --rows", markup=False)
    most = max((max(_heights(found, day)) for day in found.days), default=0)
    if most:
        out.print("rejections and alerts a day, old and new", markup=False)
    for day in sorted(found.days) if most else ():
        for name, height in zip(("old", "new"), _heights(found, day), strict=True):
            bar = "█" * -(-height * _WIDEST // most)
            out.print(f"  {day if name == 'old' else ' ' * 10}  {name}  {bar} {height}", markup=False)
        for rule, count in sorted(found.days[day].alerts_after.items()):
            out.print(f"              alert {rule}: {count}", markup=False)


def _sum_in_words(changes: Sequence[Change]) -> str:
    if not changes:
        return "0"
    rules = Counter(rule for change in changes for rule in change.rules).most_common()
    accounts = len({change.account for change in changes})
    sessions = len({change.permission_id for change in changes if change.permission_id is not None})
    by_rule = ", ".join(f"{rule} {count}" for rule, count in rules)
    return f"{len(changes)} operations of {accounts} accounts and {sessions} sessions ({by_rule})"


def _heights(found: SetComparison, day: str) -> tuple[int, int]:
    each = found.days[day]
    return each.rejected_before + each.alerts_before.total(), each.rejected_after + each.alerts_after.total()


def _line(change: Change) -> str:
    session = "no session" if change.permission_id is None else print_bytes(change.permission_id)
    when = f"{datetime.fromtimestamp(change.unix_time, UTC):%Y-%m-%d %H:%M:%S}"
    return f"{when}  {print_checksummed(change.account)}  {session}  {', '.join(change.rules)}: {change.sentence}"
