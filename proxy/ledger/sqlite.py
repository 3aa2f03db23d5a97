"""The reservations of operations in flight on disk: SQLite, in the gate's one database file.

An operation's row is committed before its first byte is sent, so that it holds what it reserved after a `kill -9`
too. What becomes of it is written in the same transaction as what that does to its session. Operations that have
ended stay for a while, in case the chain takes their block back. Each claim on an operation has a row of its own.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from proxy.errors import StateUnavailable
from proxy.ledger.operations import AcceptedOperation, Cause, Ended, EndedName, Evidence, InFlight, Mined, Stage
from proxy.ledger.records import record_from_json, record_to_json
from proxy.ledger.statement import Statement
from proxy.session.counters import HoldName, SessionKey
from proxy.userop.primitives import Address, Hash32

TABLES: Final = (
    "ALTER TABLE operations_in_flight ADD COLUMN stage TEXT NOT NULL DEFAULT 'accepted'",
    """CREATE TABLE operations_ended (
        user_op_hash BLOB NOT NULL PRIMARY KEY, ended_at REAL NOT NULL, success INTEGER, block INTEGER,
        block_hash BLOB, added INTEGER NOT NULL, accepted_at REAL NOT NULL, record TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX operations_ended_at ON operations_ended (ended_at)",
)
"""Statements that make the tables, for the list of migrations."""

LATER_COLUMNS: Final = ("ALTER TABLE operations_ended ADD COLUMN counted_at INTEGER",)
"""Statements that came later, likewise."""

ENDED_COLUMNS: Final = """user_op_hash, claim, chain_id, ended_at, cause, block, block_hash, success, added,
    counted_at, accepted_at, stage, silent, evidence, record"""
_CLAIM_IN_RECORD: Final = """coalesce(json_extract(record, '$.reservation.session.module') || '/'
    || json_extract(record, '$.reservation.session.account') || '/'
    || json_extract(record, '$.reservation.session.permission_id'), '')"""

CLAIMS: Final = (
    """CREATE TABLE claims_in_flight (
        user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, accepted_at REAL NOT NULL, record TEXT NOT NULL,
        stage TEXT NOT NULL, silent REAL NOT NULL, PRIMARY KEY (user_op_hash, claim)
    ) WITHOUT ROWID""",
    f"""INSERT INTO claims_in_flight
        SELECT user_op_hash, {_CLAIM_IN_RECORD}, accepted_at, record, stage, 0 FROM operations_in_flight""",  # noqa: S608  # ours
    "DROP TABLE operations_in_flight",
    "ALTER TABLE claims_in_flight RENAME TO operations_in_flight",
    """CREATE TABLE claims_ended (
        user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, chain_id INTEGER NOT NULL, ended_at REAL NOT NULL,
        cause TEXT NOT NULL, block INTEGER, block_hash BLOB, success INTEGER, added INTEGER NOT NULL,
        counted_at INTEGER, accepted_at REAL NOT NULL, stage TEXT NOT NULL, silent REAL NOT NULL,
        evidence TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (user_op_hash, claim)
    ) WITHOUT ROWID""",
    f"""INSERT INTO claims_ended
        SELECT user_op_hash, {_CLAIM_IN_RECORD}, json_extract(record, '$.reservation.slot.chain_id'), ended_at,
            iif(success IS NULL, 'nonce_used', 'mined'), block, block_hash, success, added, counted_at, accepted_at,
            'accepted', 0, '{{}}', record
        FROM operations_ended""",  # noqa: S608  # ours
    "DROP TABLE operations_ended",
    "ALTER TABLE claims_ended RENAME TO operations_ended",
    "CREATE INDEX operations_ended_at ON operations_ended (ended_at, chain_id, cause, block, block_hash)",
)
"""Statements that tell the claims on one operation apart, likewise."""

IN_ORDER: Final = (
    """CREATE TABLE claims_in_flight (
        id INTEGER NOT NULL PRIMARY KEY, user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, accepted_at REAL NOT NULL,
        record TEXT NOT NULL, stage TEXT NOT NULL, silent REAL NOT NULL
    )""",
    """INSERT INTO claims_in_flight (user_op_hash, claim, accepted_at, record, stage, silent)
        SELECT user_op_hash, claim, accepted_at, record, stage, silent FROM operations_in_flight
        ORDER BY accepted_at""",
    "DROP TABLE operations_in_flight",
    "ALTER TABLE claims_in_flight RENAME TO operations_in_flight",
    "CREATE INDEX operations_in_flight_hash ON operations_in_flight (user_op_hash)",
    """CREATE TABLE claims_ended (
        id INTEGER NOT NULL PRIMARY KEY, user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, chain_id INTEGER NOT NULL,
        ended_at REAL NOT NULL, cause TEXT NOT NULL, block INTEGER, block_hash BLOB, success INTEGER,
        added INTEGER NOT NULL, counted_at INTEGER, accepted_at REAL NOT NULL, stage TEXT NOT NULL,
        silent REAL NOT NULL, evidence TEXT NOT NULL, record TEXT NOT NULL
    )""",
    f"""INSERT INTO claims_ended ({ENDED_COLUMNS}) SELECT {ENDED_COLUMNS} FROM operations_ended
        ORDER BY ended_at""",  # noqa: S608  # ours
    "DROP TABLE operations_ended",
    "ALTER TABLE claims_ended RENAME TO operations_ended",
    "CREATE INDEX operations_ended_hash ON operations_ended (user_op_hash)",
    "CREATE INDEX operations_ended_at ON operations_ended (ended_at, chain_id, cause, block, block_hash)",
)
"""Statements that keep rows in the order in which they came: by their hashes each would lie on a page of its own, and a
transaction writes whole pages. Likewise."""

_GRANT_IN_RECORD: Final = """coalesce(json_extract(record, '$.reservation.grant'),
    (SELECT coalesce(json_extract(value, '$.nonce'), -1) FROM json_each(record, '$.changes.at_validation')
        WHERE json_extract(value, '$.type') = 'SessionEnabled'))"""
GRANTS_TOLD: Final = tuple(
    f"""UPDATE {table} SET claim = claim || '/' || {_GRANT_IN_RECORD}
        WHERE claim != '' AND {_GRANT_IN_RECORD} IS NOT NULL"""  # noqa: S608  # ours
    for table in ("operations_in_flight", "operations_ended")
)
"""Statements that tell what an operation's grant is held under from what its use is. Likewise."""

PREFIX: Final = "substr(user_op_hash, 1, 8)"
"""By what of their hashes many operations are indexed: no two of them have the same, and an index of these fits into
half of the pages, of which each operation changes one anywhere."""
BY_PREFIX: Final = (
    "DROP INDEX operations_ended_hash",
    f"CREATE INDEX operations_ended_hash ON operations_ended ({PREFIX})",
    "DROP INDEX operations_ended_at",
    "CREATE INDEX operations_ended_at ON operations_ended (ended_at)",
)
"""Statements that make the indexes of what has ended small. Likewise."""
WITH_COUNTS: Final = tuple(
    f"ALTER TABLE operations_ended ADD COLUMN {each} INTEGER" for each in ("reverted", "gas", "gwei", "wei")
)
"""Statements that let what has ended say what it counted for its session, `NULL` where nothing. Likewise."""


def of_name(user_op_hash: int, claim: int) -> str:
    """Where a row is of an operation under a claim, by the numbers of the two values, in a table that is indexed so."""
    return f"WHERE {PREFIX} = substr(?{user_op_hash}, 1, 8) AND user_op_hash = ?{user_op_hash} AND claim = ?{claim}"


BEGIN: Final = """INSERT INTO operations_in_flight (user_op_hash, claim, accepted_at, record, stage, silent)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6
    WHERE NOT EXISTS (SELECT 1 FROM operations_in_flight WHERE user_op_hash = ?1 AND claim = ?2)"""
BEGIN_UNLESS_STAGED: Final = """INSERT INTO operations_in_flight
    (user_op_hash, claim, accepted_at, record, stage, silent)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE changes() = 0"""
"""The same right after the stage was to be set, which finds out whether it is in flight: a table that is written and
looked into by one statement has its rows gathered in another first, and that takes half of the time."""
BEGIN_NEW: Final = """INSERT INTO operations_in_flight (user_op_hash, claim, accepted_at, record, stage, silent)
    VALUES (?, ?, ?, ?, ?, ?)"""
"""The same of one that is known not to be in flight."""
STAGE_OF_BEGIN: Final = 4
"""Where among the values of all three the stage is; the name is the first two of them."""
_WHERE: Final = "WHERE user_op_hash = ? AND claim = ?"
STAGE: Final = "UPDATE operations_in_flight SET stage = ? WHERE user_op_hash = ? AND claim = ?"
MOVE: Final = """UPDATE operations_in_flight SET record = json_set(record, '$.bundler', json_object('text', ?))
    WHERE user_op_hash = ? AND claim = ?"""
SILENT: Final = "UPDATE operations_in_flight SET silent = ? WHERE user_op_hash = ? AND claim = ?"
DROP: Final = "DELETE FROM operations_in_flight WHERE user_op_hash = ? AND claim = ?"
FORGET: Final = f"DELETE FROM operations_ended {of_name(1, 2)}"  # noqa: S608  # ours
_SLASHES_OF_GRANT: Final = 3
_PRUNE: Final = "DELETE FROM operations_ended WHERE ended_at < ?"
PRUNE_SOME: Final = """DELETE FROM operations_ended WHERE id IN
    (SELECT id FROM operations_ended WHERE ended_at < ? ORDER BY ended_at LIMIT 100)"""


def begin(operation: AcceptedOperation, stage: Stage = Stage.FORWARDED, silent_seconds: float = 0.0) -> Statement:
    """Hold this operation; one that is held already stays as it is."""
    name = name_in_rows(operation.reservation.name)
    return BEGIN, (*name, operation.accepted_at, record_to_json(operation), stage._value_, silent_seconds)


def advance(name: HoldName, stage: Stage) -> Statement:
    """The operation has come this far."""
    return STAGE, (str(stage), *name_in_rows(name))


def move(name: HoldName, bundler: str) -> Statement:
    """The operation went to the bundler of this mark."""
    return MOVE, (bundler, *name_in_rows(name))


def silence(name: HoldName, seconds: float) -> Statement:
    """For so long it was answered that the operation is not there."""
    return SILENT, (seconds, *name_in_rows(name))


def prune(before: float) -> Statement:
    """Forget what ended before this time (unix seconds)."""
    return _PRUNE, (before,)


def prune_some(before: float) -> Statement:
    """Some of that, the oldest: four times as many as end in one piece."""
    return PRUNE_SOME, (before,)


def in_flight(connection: sqlite3.Connection, *, limit: int | None = None, skip: int = 0) -> Iterator[InFlight]:
    """What a restart has to hold again, oldest first, or a page of it. Raises `StateUnavailable` at a row that cannot
    be read."""
    columns = "record, stage, silent, accepted_at FROM operations_in_flight"
    if limit is None and not skip:
        # they lie nearly in order: SQLite would sort the whole of them on their way through its own tables
        rows = sorted(connection.execute(f"SELECT {columns} ORDER BY id"), key=_accepted_at)  # ours
    else:
        page = f"SELECT {columns} ORDER BY accepted_at, id LIMIT ? OFFSET ?"  # ours
        rows = connection.execute(page, (-1 if limit is None else limit, skip)).fetchall()
    for record, stage, silent, _ in rows:
        operation = record_from_json(record, AcceptedOperation).with_its_grant()
        yield InFlight(operation=operation, stage=_stage(stage), silent_seconds=_number(silent))


def _accepted_at(row: Sequence[Any]) -> float:
    return _number(row[3])


def ended_names(connection: sqlite3.Connection) -> Iterator[EndedName]:
    """What a reorganisation could still bring back, oldest first, by name. Raises `StateUnavailable` as above."""
    columns = "ended_at, chain_id, cause, block, block_hash, user_op_hash, claim"
    # a start reads hundreds of thousands of them: what few name for many is read once, and kept once
    claims = lru_cache(maxsize=4_096)(claim_in_rows)
    causes, blocks = {str(cause): cause for cause in Cause}, dict[bytes | None, Hash32 | None]()
    try:
        # they lie nearly in order, as those in flight do
        lying = connection.execute(f"SELECT {columns} FROM operations_ended ORDER BY id")  # noqa: S608  # ours
        rows = sorted(lying, key=itemgetter(0))
        for ended_at, chain_id, cause, block, block_hash, user_op_hash, claim in rows:
            yield EndedName(
                HoldName(user_op_hash, *claims(chain_id, claim)),
                chain_id,
                _number(ended_at),
                causes[cause],
                None if block is None else int(block),
                blocks.setdefault(block_hash, block_hash),
            )
    except (KeyError, ValueError, TypeError):
        raise StateUnavailable("the end of a stored operation cannot be read", fact="ledger") from None


def ended(connection: sqlite3.Connection, names: Collection[HoldName] | None = None) -> Iterator[Ended]:
    """The whole of these, or of all, oldest first where all are wanted. Raises `StateUnavailable` as above."""
    columns = (
        "ended_at, cause, success, block, block_hash, added, counted_at, stage, evidence, record FROM operations_ended"
    )
    if names is None:
        for row in connection.execute(f"SELECT {columns} ORDER BY ended_at"):  # ours
            yield _ended(row)
        return
    for name in names:
        for row in connection.execute(f"SELECT {columns} {of_name(1, 2)}", name_in_rows(name)):  # ours
            yield _ended(row)


def name_in_rows(name: HoldName) -> tuple[bytes, str]:
    """The operation's hash, and its claim as rows have it."""
    claim = "" if name.session is None else print_claim(name.session)
    return name.user_op_hash, claim if name.grant is None else f"{claim}/{name.grant}"


@lru_cache(maxsize=4_096)
def print_claim(session: SessionKey) -> str:
    """The session as rows name it beside the hash of an operation; few are named by many. Behind it stands the enable
    nonce that a grant uses up."""
    return f"0x{session.module.hex()}/0x{session.account.hex()}/0x{session.permission_id.hex()}"


@lru_cache(maxsize=4_096)
def claim_in_rows(chain_id: int, claim: str) -> tuple[SessionKey | None, int | None]:
    """The session that rows name so, and the enable nonce of a grant."""
    session, _, grant = claim.rpartition("/") if claim.count("/") >= _SLASHES_OF_GRANT else (claim, "", "")
    if not session:
        return None, None
    module, account, permission_id = (bytes.fromhex(part.removeprefix("0x")) for part in session.split("/"))
    key = SessionKey(chain_id, Address(module), Address(account), Hash32(permission_id))
    return key, int(grant) if grant else None


def without_grant(claim: str) -> str:
    """The same without that nonce: what all claims of a session on an operation have in common."""
    return claim if claim.count("/") < _SLASHES_OF_GRANT else claim.rpartition("/")[0]


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise StateUnavailable("a stored time of an operation cannot be read", fact="ledger")
    return value


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise StateUnavailable("the stage of a stored operation cannot be read", fact="ledger") from None


def _ended(row: Sequence[Any]) -> Ended:  # Any: what SQLite has in the columns
    ended_at, cause, success, block, block_hash, added, counted_at, stage, evidence, record = row
    operation = record_from_json(record, AcceptedOperation).with_its_grant()
    try:
        told = json.loads(evidence)
        transaction, by = (
            None if told.get(name) is None else Hash32(bytes.fromhex(told[name])) for name in ("transaction", "by")
        )
        shown = Evidence(
            block=block,
            block_hash=None if block_hash is None else Hash32(block_hash),
            timestamp=told.get("timestamp"),
            transaction=transaction,
            by=by,
            silent_seconds=told.get("silent"),
            said=told.get("said"),
        )
        mined = None
        if success is not None:
            mined = Mined(
                user_op_hash=operation.user_op_hash,
                success=bool(success),
                block=shown.block,
                block_hash=shown.block_hash,
                timestamp=shown.timestamp,
                transaction=transaction,
            )
        return Ended(
            operation=operation,
            ended_at=ended_at,
            mined=mined,
            cause=Cause(cause),
            evidence=shown,
            added=bool(added),
            counted_at=counted_at,
            stage=_stage(stage),
        )
    except (ValueError, TypeError, AttributeError) as error:
        what = f"the end of a stored operation cannot be read ({type(error).__name__})"
        raise StateUnavailable(what, fact="ledger") from error
