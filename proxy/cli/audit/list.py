"""`sessiongate audit`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from proxy.cli.audit.printing import CsvPrinter, print_entry, print_json, print_row
from proxy.cli.audit.trail import audit_trail
from proxy.cli.options import (
    DEFAULT_CONFIG,
    AccountOption,
    ChainOption,
    ConfigOption,
    ExitCode,
    JsonOption,
    fail,
    load,
    read_hash,
    read_since,
)
from proxy.clients.licence import ANYBODY
from proxy.config import Config
from proxy.document import did_you_mean
from proxy.edge.audit.reading import Asked, AuditFilter, Trail, follow_audit, read_audit, read_entries
from proxy.edge.audit.row import AuditEntry, AuditRow
from proxy.edge.audit.schema import RecordKind
from proxy.errors import Code
from proxy.userop.primitives import Hash32


class VerdictName(StrEnum):
    """What a decision said."""

    ALLOW = "allow"
    REJECT = "reject"


class Shown(StrEnum):
    """What to list."""

    DECISIONS = "decisions"
    SENDS = "sends"
    ESTIMATES = "estimates"
    DEEDS = "deeds"  # freezes, reloads, releases, writes through the admin listener
    ENDS = "ends"
    TRAIL = "trail"  # starts, stops, gaps, prunings, refusals counted


_KINDS = {
    Shown.DEEDS: (RecordKind.DEED,),
    Shown.ENDS: (RecordKind.END,),
    Shown.TRAIL: (RecordKind.START, RecordKind.STOP, RecordKind.GAP, RecordKind.CHECKPOINT, RecordKind.SAMPLED),
}


def read_code(text: str) -> int:
    """A code by its number or its name: `-32054`, `session_scope`."""
    named = {code.label: int(code) for code in Code}
    if text in named:
        return named[text]
    if text.removeprefix("-").isdigit() and text.isascii() and len(text) <= 12:
        return int(text)
    raise typer.BadParameter(f"wanted a number or one of {', '.join(named)}")


SessionOption = Annotated[
    Hash32 | None,
    typer.Option("--session", "--permission-id", parser=read_hash, metavar="ID", help="Of this session."),
]
OperationOption = Annotated[
    Hash32 | None,
    typer.Option("--hash", "--user-op-hash", parser=read_hash, metavar="HASH", help="Of this operation."),
]


DecisionOption = Annotated[str | None, typer.Option("--decision-id", metavar="ID", help="This one.")]
ClientOption = Annotated[str | None, typer.Option("--client", metavar="NAME", help="Asked by this client.")]
RuleOption = Annotated[str | None, typer.Option("--rule", metavar="ID", help="On which this rule fired.")]
CodeOption = Annotated[
    int | None, typer.Option("--code", parser=read_code, metavar="CODE", help="session_scope, or -32054.")
]
VerdictOption = Annotated[VerdictName | None, typer.Option("--verdict", help="What was said.")]
SinceOption = Annotated[
    float | None,
    typer.Option("--since", parser=read_since, metavar="TIME", help="15m, 2h, 7d, 2026-11-27, unix seconds."),
]
UntilOption = Annotated[
    float | None, typer.Option("--until", parser=read_since, metavar="TIME", help="The same; exclusive.")
]


def audit(  # the options of a command
    context: typer.Context,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and print each new decision.")] = False,
    show: Annotated[Shown, typer.Option("--show", help="What to list.")] = Shown.DECISIONS,
    permission_id: SessionOption = None,
    user_op_hash: OperationOption = None,
    decision_id: DecisionOption = None,
    account: AccountOption = None,
    chain: ChainOption = None,
    client: ClientOption = None,
    rule: RuleOption = None,
    code: CodeOption = None,
    verdict: VerdictOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most the newest that many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All that match, whatever --limit says.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, decisions only.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List or follow what this gate decided.

    Oldest first: who asked, what for, what was said, which rules fired, what the bundler answered and what became
    of it. Every record names both userOpHash and permission id, so that either leads to the other. With --json one
    object a line. Exit code 1 when nothing matches. Times without an offset are UTC.

    \b
    Examples:
      sessiongate audit --since 1h --verdict reject
      sessiongate audit --session 0xb0e670… --limit 10
      sessiongate audit --rule usdc-per-day --since 2026-11-27 --all --csv > rule.csv
      sessiongate audit --show deeds
      sessiongate audit --follow --json | jq .reasons
    """
    if context.invoked_subcommand is not None:
        return
    settings = load(config, secrets=False)
    trail = audit_trail(settings)
    wanted = AuditFilter(
        since=since,
        until=until,
        chain=chain,
        client=client,
        account=account,
        permission_id=permission_id,
        user_op_hash=user_op_hash,
        decision_id=decision_id,
        rule=rule,
        code=code,
        verdict=None if verdict is None else verdict.value,
        asked=Asked(show.value) if show in (Shown.SENDS, Shown.ESTIMATES) else None,
        limit=None if everything else limit,
    )
    if not _printed(trail, wanted, show, follow=follow, as_json=as_json, as_csv=as_csv):
        for line in (_nothing(trail, wanted), *_strange_names(settings, wanted)):
            typer.echo(line, err=True)
        raise typer.Exit(ExitCode.REFUSED)


def _printed(trail: Trail, wanted: AuditFilter, show: Shown, *, follow: bool, as_json: bool, as_csv: bool) -> bool:
    if show in _KINDS and (as_csv or follow):
        fail(f"--show {show} is listed, in words or with --json")
    try:
        return _print_all(trail, wanted, show, follow=follow, as_json=as_json, as_csv=as_csv) > 0
    except KeyboardInterrupt:
        return True
    except (sqlite3.Error, FileNotFoundError) as error:
        fail(f"the audit trail at {trail.path} cannot be read: {error}")


def _print_all(trail: Trail, wanted: AuditFilter, show: Shown, *, follow: bool, as_json: bool, as_csv: bool) -> int:
    count = 0
    if show in _KINDS:
        for entry in read_entries(trail, wanted, kinds=_KINDS[show]):
            count += 1
            (print_json if as_json else print_entry)(entry)
        return count
    print_one: Callable[[AuditRow], Any] = print_json if as_json else CsvPrinter() if as_csv else print_row
    for row in follow_audit(trail, wanted) if follow else read_audit(trail, wanted):
        count += 1
        print_one(row)
    return count


def _strange_names(settings: Config, wanted: AuditFilter) -> Iterator[str]:
    """Names that were asked for and are not in the settings: of former times, or misspelt."""
    clients = [client.name for client in settings.clients]
    for what, name, known in (("chain", wanted.chain, list(settings.chains)), ("client", wanted.client, clients)):
        if name is not None and name not in (*known, ANYBODY.name):
            nearest = did_you_mean(name, known)
            yield f"the settings have no {what} {name!r}{f'; {nearest}' if nearest else ''}"


def _nothing(trail: Trail, wanted: AuditFilter) -> str:
    counted: tuple[AuditEntry, ...] = ()
    if wanted.decision_id is not None and trail.path.exists():
        counted = tuple(read_entries(trail, AuditFilter(limit=1), kinds=(RecordKind.SAMPLED, RecordKind.GAP)))
    # a caller may hold the id of a decision that was never kept one by one
    return "no decision matches" + ("; some were only counted: sessiongate audit --show trail" if counted else "")
