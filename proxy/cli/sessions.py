"""`sessiongate sessions list` and `sessiongate sessions show`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from heapq import nlargest
from typing import Annotated

import typer
from rich.table import Table

from proxy.cli.describe import Described, plain
from proxy.cli.describe_state import describe_state
from proxy.cli.ledger_file import opened
from proxy.cli.options import (
    DEFAULT_CONFIG,
    AccountOption,
    ChainOption,
    ConfigOption,
    ExitCode,
    JsonOption,
    PermissionId,
    chain_id_of,
    ledger_path,
    load,
)
from proxy.cli.render import console, print_tree
from proxy.config import Config
from proxy.edge.audit.reading import AuditFilter, Trail, read_audit
from proxy.edge.rule_files.reading import read_rules
from proxy.judge.evaluate import Judge
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import Ledger
from proxy.session.counters import Counter
from proxy.session.declared import DeclaredSession
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Status
from proxy.session.overview import (
    Phase,
    phase_of,
    phase_of_declared,
    times_of,
    use_in_json,
    window_of_declared,
    window_of_session,
)
from proxy.session.remaining import remaining, remaining_of_declared
from proxy.session.units import UnitOf, no_units
from proxy.session.use import SessionRecord
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed

_RECENT_DECISIONS = 10

StatusOption = Annotated[
    Phase | None, typer.Option("--status", help="In this state only; of those in force, expired and upcoming apart.")
]


def list_sessions(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    account: AccountOption = None,
    chain: ChainOption = None,
    status: StatusOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most the newest that many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the sessions this gate knows.

    Newest first, then those declared in the settings.

    \b
    Examples:
      sessiongate sessions list
      sessiongate sessions list --account 0x1111… --status in_force --json
      sessiongate sessions list --status expired
    """
    now = time.time()
    settings = load(config, secrets=False)
    chain_id = chain_id_of(settings, chain)
    with opened(ledger_path(settings)) as store:
        freezes = store.freezes()
        matching = (
            session
            for session in store.sessions()
            if account in (None, session.key.account)
            and chain_id in (None, session.key.chain_id)
            and (status is None or status is phase_of(session, now))
        )
        newest = nlargest(limit, matching, key=lambda session: session.updated_at)
    declared = [
        session
        for session in settings.declared_sessions()
        if account in (None, session.account)
        and chain_id in (None, session.chain_id)
        and (status is None or status is phase_of_declared(session, now))
    ]
    rows = [_row(settings, session, freezes, now) for session in newest]
    rows += [_declared_row(settings, session, freezes, now) for session in declared]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)


def show_session(
    permission_id: PermissionId,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    status: StatusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of a permission id.

    Where it stands and for how long yet, what it may do, what is used of its limits, what became of its operations,
    freezes, and its latest decisions. What a removed session had stays. Exit code 1 when it is unknown.

    \b
    Examples:
      sessiongate sessions show 0xb0e670e6eed38639bac674022b56a22559c9c28219aa298667605fb2f225a609
    """
    settings = load(config, secrets=False)
    path = ledger_path(settings)
    with opened(path) as store:
        freezes = tuple(freeze for freeze in store.freezes() if freeze.permission_id == permission_id)
        known = [session for session in store.sessions() if session.key.permission_id == permission_id]
        ledger = MemoryLedger()
        for operation in store.operations_in_flight():
            ledger.restore(operation.reservation)
        uses = store.declared_uses()
        records = store.session_records([session.key for session in known])
    now = time.time()
    known = [session for session in known if status is None or status is phase_of(session, now)]
    declared = [
        session
        for session in settings.declared_sessions()
        if session.permission_id == permission_id and (status is None or status is phase_of_declared(session, now))
    ]
    units = _units_of(settings)
    described: Described = {
        "permissionId": print_bytes(permission_id),
        "sessions": [
            _describe_known(
                _row(settings, session, freezes, now), session, records[session.key], ledger, units=units, now=now
            )
            for session in known
        ],
        "declared": [_describe_declared(settings, session, ledger, uses, now) for session in declared],
        "freezes": [_describe_freeze(settings, freeze) for freeze in freezes],
        "latestDecisions": _latest_decisions(Trail(settings.audit_path or path, path), permission_id),
    }
    if as_json:
        typer.echo(json.dumps(described, indent=2))
    else:
        print_tree(f"permission {print_bytes(permission_id)}", {**described, "permissionId": None})
    if not (known or declared):
        typer.echo("no session of that permission id is known", err=True)
        raise typer.Exit(ExitCode.REFUSED)


def _row(settings: Config, session: KnownSession, freezes: Iterable[Freeze], now: float) -> dict[str, object]:
    key = session.key
    return {
        "permissionId": print_bytes(key.permission_id),
        "account": print_checksummed(key.account),
        "chain": _chain_name(settings, key.chain_id),
        "module": print_checksummed(key.module),
        "status": phase_of(session, now).value,
        "frozen": any(freeze.covers(key) for freeze in freezes),
        "source": session.source.value,
        "updatedAt": _moment(session.updated_at),
    }


def _declared_row(
    settings: Config, session: DeclaredSession, freezes: Iterable[Freeze], now: float
) -> dict[str, object]:
    modules = settings.chains[_chain_name(settings, session.chain_id)].module_addresses
    key = session.key(session.module or modules[0])
    return {
        "permissionId": print_bytes(session.permission_id),
        "account": print_checksummed(session.account),
        "chain": _chain_name(settings, session.chain_id),
        "module": None if session.module is None else print_checksummed(session.module),
        "status": phase_of_declared(session, now).value,
        "frozen": any(freeze.covers(key) for freeze in freezes),
        "source": "settings",
        "updatedAt": None,
    }


def _print_table(rows: list[dict[str, object]]) -> None:
    if not rows:
        typer.echo("no session matches", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("permission id", "account", "chain", "status", "source", "updated"):
        table.add_column(title, no_wrap=True, overflow="ignore")
    for row in rows:
        status = f"{row['status']}, frozen" if row["frozen"] else str(row["status"])
        texts = (row["permissionId"], row["account"], row["chain"], status, row["source"], row["updatedAt"] or "")
        table.add_row(*(str(text) for text in texts))
    console().print(table, crop=False)


def _describe_declared(
    settings: Config, session: DeclaredSession, ledger: Ledger, uses: Mapping[Counter, int], now: float
) -> Described:
    described = plain(session)
    module = session.module or settings.chains[_chain_name(settings, session.chain_id)].module_addresses[0]
    return {
        **(described if isinstance(described, dict) else {}),
        "status": phase_of_declared(session, now).value,
        **times_of(phase_of_declared(session, now), window_of_declared(session), now),
        "remaining": remaining_of_declared(session, module, lambda counter: uses.get(counter, 0), ledger.in_flight),
    }


def _describe_known(
    row: dict[str, object],
    session: KnownSession,
    record: SessionRecord,
    ledger: Ledger,
    *,
    units: Callable[[int], UnitOf],
    now: float,
) -> Described:
    del row["permissionId"]
    state = session.state
    if session.status is Status.REMOVED and record.former is not None:
        state = record.former  # what it had is worth more than that nothing is left
    return {
        "name": f"{row['chain']} {row['account']}",
        **row,
        "grantedBy": None if session.granted_by is None else print_bytes(session.granted_by),
        "readAtBlock": session.block,
        **times_of(phase_of(session, now), window_of_session(state), now),
        "state": "to be read from the chain" if state is None else describe_state(state),
        "operationsInFlight": [print_bytes(each.user_op_hash) for each in ledger.of_session(session.key)],
        "operations": use_in_json(record.use),
        "remaining": [] if state is None else remaining(state, ledger.in_flight, units(session.key.chain_id)),
    }


def _units_of(settings: Config) -> Callable[[int], UnitOf]:
    """The units of the tokens that the rule files list, by chain id; none where these cannot be read."""
    ruleset = read_rules(settings).ruleset if settings.rules else None
    if ruleset is None:
        return lambda _chain_id: no_units
    return lambda chain_id: partial(Judge(ruleset).unit_of, chain_id)


def _describe_freeze(settings: Config, freeze: Freeze) -> Described:
    return {
        "account": "every account" if freeze.account is None else print_checksummed(freeze.account),
        "chain": "every chain" if freeze.chain_id is None else _chain_name(settings, freeze.chain_id),
        "since": _moment(freeze.since),
        "note": freeze.note,
    }


def _latest_decisions(trail: Trail, permission_id: Hash32) -> list[Described]:
    return [
        {
            "time": _moment(row.unix_time),
            "verdict": row.verdict,
            "userOpHash": None if row.user_op_hash is None else print_bytes(row.user_op_hash),
            "reason": row.reasons[0].sentence if row.reasons else None,
        }
        for row in read_audit(trail, AuditFilter(permission_id=permission_id, limit=_RECENT_DECISIONS))
    ]


def _chain_name(settings: Config, chain_id: int) -> str:
    return next((name for name, chain in settings.chains.items() if chain.chain_id == chain_id), str(chain_id))


def _moment(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
