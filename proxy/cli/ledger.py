"""`sessiongate ledger verify|show|list|release|prune`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.admin_client import AdminClient, NoGateError
from proxy.cli.describe import Described
from proxy.cli.ledger_file import opened
from proxy.cli.options import DEFAULT_CONFIG, ConfigOption, ExitCode, JsonOption, fail, ledger_path, load
from proxy.cli.render import print_tree
from proxy.edge.storage.store import Store
from proxy.errors import InvalidParams, StateUnavailable
from proxy.ledger.database_words import in_words
from proxy.ledger.operations import AcceptedOperation, Stage
from proxy.ledger.rule_tables import NAMES
from proxy.userop.primitives import parse_hash, print_bytes, print_checksummed

_TABLES = ("sessions", "freezes", "operations_in_flight", "operations_ended", "declared_uses", "settled", *NAMES)
_DAY = 86_400.0
_WHY = {
    Stage.FORWARDED: "it was about to be sent, or was sent within the last seconds",
    Stage.ACCEPTED: "the bundler took it",
    Stage.UNKNOWN: "no answer came: it may be on its way",
    Stage.UNMINED: "not found for long: only what rules and declared limits count is held",
    Stage.RELEASED: "an operator let go of it: nothing is held",
}


def verify(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Check the ledger: the file, and that every record in it can be read.

    Nothing is changed; a gate may be running. Exit code 1 when something is wrong.

    \b
    Examples:
      sessiongate ledger verify
    """
    path = ledger_path(load(config, secrets=False))
    faults = _faults(path)
    if as_json:
        typer.echo(json.dumps({"ok": not faults, "faults": faults}, indent=2))
    else:
        for fault in faults:
            typer.echo(fault)
        if not faults:
            typer.echo(f"{path}: whole, and every record can be read")
    if faults:
        raise typer.Exit(ExitCode.REFUSED)


def show(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Show how large the ledger is, and every operation in flight with what it holds.

    \b
    Examples:
      sessiongate ledger show
      sessiongate ledger show --json
    """
    path = ledger_path(load(config, secrets=False))
    with opened(path) as store:
        in_flight = store.flights()
    shown: Described = {
        "bytes": sum(each.stat().st_size for each in _files(path)),
        "records": _counts(path),
        "inFlight": [_describe(flight.operation, flight.stage) for flight in in_flight],
    }
    if as_json:
        typer.echo(json.dumps({"path": str(path), **shown}, indent=2))
    else:
        print_tree(str(path), shown)


def release(
    user_op_hash: Annotated[str, typer.Argument(metavar="HASH", help="The operation's hash.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it goes on record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let go of everything that an operation in flight holds, in the running gate.

    Its nonce is unused still: what is mined later passes what was granted in its place meanwhile. It is told
    then. Give only what is known never to be mined, or use up its nonce.

    \b
    Examples:
      sessiongate ledger release 0x5f16… --reason "its bundler is gone"
    """
    settings = load(config)
    try:
        name = parse_hash(user_op_hash, "HASH")
        answer = AdminClient.of(settings).post(f"/operations/{print_bytes(name)}/release", {"note": reason})
    except (InvalidParams, NoGateError) as error:
        fail(str(error))
    if answer.error is not None:
        fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    done = print_bytes(name)
    typer.echo(json.dumps({"released": done}) if as_json else f"{done}: nothing is held for it")


def accept(
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it goes on record.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take what rules have counted as it is, though a ledger that was put back may lack some of it.

    Until then rules whose windows reach back to before the gate found that out fail as they say (`fail:`).
    From then on what was lost may be used once more.

    \b
    Examples:
      sessiongate ledger accept --reason "restored from last night's copy, limits are small"
    """
    settings = load(config)
    try:
        answer = AdminClient.of(settings).post("/rules/accept", {"note": reason})
    except NoGateError as error:
        fail(str(error))
    if answer.error is not None:
        fail(f"the gate refuses: {answer.error}", ExitCode.REFUSED)
    doubted = answer.body.get("doubtedBefore")
    nothing = "nothing was in doubt"
    done = "windows of rules are judged by what is there" if doubted is not None else nothing
    typer.echo(json.dumps(dict(answer.body)) if as_json else done)


def list_held(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many at most.")] = 50,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Pass over so many, the oldest first.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List what is held: by which operation, why, and until when; the oldest first.

    \b
    Examples:
      sessiongate ledger list
      sessiongate ledger list --limit 100 --skip 100 --json
    """
    with opened(ledger_path(load(config, secrets=False))) as store:
        flights = store.flights(limit=limit, skip=skip)
    held = [
        {
            **_describe(flight.operation, flight.stage),
            "why": _WHY[flight.stage],
            "until": _until(flight.operation),
        }
        for flight in flights
    ]
    if as_json:
        typer.echo(json.dumps({"held": held}, indent=2))
    elif held:
        print_tree("held", {"held": held})
    else:
        typer.echo("nothing is held" if not skip else f"no more than {skip} are held", err=True)


def prune(
    *,
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="Of removed sessions, keep these; default as in the settings.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Forget what is not needed any more, and give the space back.

    Sessions removed longer ago than the settings keep them, operations that ended before any chain could take
    their block back, what rules count no more, and the traces of chains that are not configured. A running gate
    does the same by itself every hour, except for giving space back.

    \b
    Examples:
      sessiongate ledger prune
      sessiongate ledger prune --days 7
    """
    settings = load(config, secrets=False)
    path = ledger_path(settings)
    before = _counts(path)
    keep_days = settings.ledger_retention_days if days is None else days
    chains = [chain.chain_id for chain in settings.chains.values()]
    with opened(path) as store:
        asyncio.run(store.prune(removed_before=time.time() - keep_days * _DAY, chains=chains))
    try:
        with closing(sqlite3.connect(path, timeout=10.0, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        fail(f"the space could not be given back: {in_words(error)}")
    after = _counts(path)
    pruned = {table: before[table] - after[table] for table in _TABLES}
    if as_json:
        typer.echo(json.dumps({"pruned": pruned, "left": after}, indent=2))
    else:
        print_tree("pruned", {**pruned, "left": after})


def _faults(path: Path) -> list[str]:
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as connection:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check(20)") if text != "ok"]
        with closing(Store(path)) as store:
            for name, records in _records(store):
                found += _unreadable(name, records)
    except sqlite3.Error as error:
        return [f"{path}: {in_words(error)} ({error})"]
    return found


def _records(store: Store) -> tuple[tuple[str, Callable[[], Iterable[object]]], ...]:
    return (
        ("sessions", store.sessions),
        ("freezes", store.freezes),
        ("operations in flight", store.operations_in_flight),
        ("operations that have ended", store.operations_ended),
        ("uses of declared sessions", store.declared_uses),
        ("how far chains are settled", store.settled),
        ("what rules have counted", store.rule_rows),
    )


def _unreadable(name: str, records: Callable[[], Iterable[object]]) -> list[str]:
    try:
        for _ in records():
            continue
    except (StateUnavailable, ValueError, TypeError) as error:
        return [f"{name}: {error}"]
    return []


def _files(path: Path) -> list[Path]:
    return [
        each
        for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-daybook")))
        if each.exists()
    ]


def _counts(path: Path) -> dict[str, int]:
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as connection:
            return {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608  # names of ours
                for table in _TABLES
            }
    except sqlite3.Error as error:
        fail(f"the ledger at {path} cannot be read: {error}")


def _until(operation: AcceptedOperation) -> str:
    valid_until = operation.reservation.valid_until
    nonce = "its nonce is used"
    if valid_until is None:
        return nonce
    return f"{nonce}, or its chain is a minute past {datetime.fromtimestamp(valid_until, UTC).isoformat()}"


def _describe(operation: AcceptedOperation, stage: Stage) -> Described:
    reservation = operation.reservation
    session = reservation.session
    return {
        "name": print_bytes(operation.user_op_hash),
        "stage": stage.value,
        "since": operation.accepted_at,
        "chainId": reservation.slot.chain_id,
        "sender": print_checksummed(reservation.slot.sender),
        "nonce": hex(reservation.slot.nonce),
        "permissionId": None if session is None else print_bytes(session.permission_id),
        "holds": [
            {"policy": print_checksummed(counter.policy), "slot": print_bytes(counter.slot), "amount": str(amount)}
            for counter, amount in reservation.amounts().items()
        ],
        "ruleCharges": len(reservation.rule_charges),
        "changes": bool(operation.changes),
    }
