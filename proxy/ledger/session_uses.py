"""What became of sessions' operations, on disk: counted in the transaction that ends them, never summed up anew.

Each mined operation is counted once, and is taken off again when the chain takes it back: its row among those that have
ended says what was counted. One that has no row there, because it was sent although it could not be kept, or an earlier
release counted it, is in `operations_counted`. A session's state before its removal stays, for the chain and the
registry forget it.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from proxy.ledger.operations import Ended
from proxy.ledger.sqlite import PREFIX, of_name, print_claim
from proxy.ledger.statement import Statement
from proxy.session.counters import HoldName, SessionKey
from proxy.session.use import SessionUse

_KEY: Final = """chain_id INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL, permission_id BLOB NOT NULL"""
_NAMES: Final = "chain_id, module, account, permission_id"
_COUNTED_COLUMNS: Final = "user_op_hash, claim, reverted, gas, gwei, wei, ended_at"

TABLES: Final = (
    f"""CREATE TABLE session_uses (
        {_KEY}, mined INTEGER NOT NULL, reverted INTEGER NOT NULL, gas INTEGER NOT NULL, gwei INTEGER NOT NULL,
        wei INTEGER NOT NULL, last_used REAL NOT NULL, PRIMARY KEY ({_NAMES})
    ) WITHOUT ROWID""",
    """CREATE TABLE operations_counted (
        user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, reverted INTEGER NOT NULL, gas INTEGER NOT NULL,
        gwei INTEGER NOT NULL, wei INTEGER NOT NULL, ended_at REAL NOT NULL, PRIMARY KEY (user_op_hash, claim)
    ) WITHOUT ROWID""",
    "CREATE INDEX operations_counted_at ON operations_counted (ended_at)",
    f"CREATE TABLE former_sessions ({_KEY}, state TEXT NOT NULL, PRIMARY KEY ({_NAMES})) WITHOUT ROWID",
)
"""Statements that make the tables, for the list of migrations. Wei are kept as gwei and a rest: a sum of them would not
fit into 64 bits."""

IN_ORDER: Final = (
    """CREATE TABLE claims_counted (
        id INTEGER NOT NULL PRIMARY KEY, user_op_hash BLOB NOT NULL, claim TEXT NOT NULL, reverted INTEGER NOT NULL,
        gas INTEGER NOT NULL, gwei INTEGER NOT NULL, wei INTEGER NOT NULL, ended_at REAL NOT NULL
    )""",
    f"""INSERT INTO claims_counted ({_COUNTED_COLUMNS}) SELECT {_COUNTED_COLUMNS} FROM operations_counted
        ORDER BY ended_at""",  # noqa: S608  # ours
    "DROP TABLE operations_counted",
    "ALTER TABLE claims_counted RENAME TO operations_counted",
    "CREATE INDEX operations_counted_hash ON operations_counted (user_op_hash)",
    "CREATE INDEX operations_counted_at ON operations_counted (ended_at)",
)
"""See `proxy.ledger.sqlite.IN_ORDER`."""

BY_PREFIX: Final = (
    "DROP INDEX operations_counted_hash",
    f"CREATE INDEX operations_counted_hash ON operations_counted ({PREFIX})",
)
"""See `proxy.ledger.sqlite.BY_PREFIX`."""

_GWEI: Final = 10**9


def _of_session(user_op_hash: int, claim: int) -> str:
    """Where an operation has ended that counts for a session, whose use or whose grant it was."""
    return f"""WHERE {PREFIX} = substr(?{user_op_hash}, 1, 8) AND user_op_hash = ?{user_op_hash}
        AND (claim = ?{claim} OR claim LIKE ?{claim} || '/%') AND gas IS NOT NULL"""


def is_counted(user_op_hash: int, claim: int) -> str:
    """Whether an operation is counted for a session, by the numbers of the two values."""
    return f"""(EXISTS (SELECT 1 FROM operations_counted {of_name(user_op_hash, claim)})
        OR EXISTS (SELECT 1 FROM operations_ended {_of_session(user_op_hash, claim)}))"""  # noqa: S608  # ours


_INTO: Final = "INSERT INTO session_uses"
_SUM_UP: Final = """ON CONFLICT DO UPDATE SET mined = mined + excluded.mined, reverted = reverted + excluded.reverted,
        gas = gas + excluded.gas, gwei = gwei + excluded.gwei, wei = wei + excluded.wei,
        last_used = max(last_used, excluded.last_used)"""
ADD: Final = f"{_INTO} SELECT ?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9 WHERE NOT {is_counted(10, 11)} {_SUM_UP}"  # ours
ADD_MANY: Final = f"{_INTO} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {_SUM_UP}"
"""For several that are known to be counted for the first time."""
_TAKE_OFF: Final = f"""UPDATE session_uses SET mined = mined - 1, reverted = session_uses.reverted - taken.reverted,
        gas = session_uses.gas - taken.gas, gwei = session_uses.gwei - taken.gwei, wei = session_uses.wei - taken.wei
    FROM (SELECT reverted, gas, gwei, wei FROM operations_counted {of_name(1, 2)}
        UNION ALL SELECT reverted, gas, gwei, wei FROM operations_ended {_of_session(1, 2)})
        AS taken
    WHERE ({_NAMES}) = (?3, ?4, ?5, ?6)"""  # noqa: S608  # ours
_FORGET: Final = (
    f"DELETE FROM operations_counted {of_name(1, 2)}",  # noqa: S608  # ours
    f"""UPDATE operations_ended SET reverted = NULL, gas = NULL, gwei = NULL, wei = NULL
        {_of_session(1, 2)}""",  # noqa: S608  # ours
)
_PRUNE: Final = "DELETE FROM operations_counted WHERE ended_at < ?"
_KEEP_FORMER: Final = f"""INSERT OR REPLACE INTO former_sessions SELECT {_NAMES}, state FROM sessions
    WHERE ({_NAMES}) = (?, ?, ?, ?) AND status = 'in_force' AND state IS NOT NULL"""  # noqa: S608  # ours
_PRUNE_SESSIONS: Final = tuple(
    f"""DELETE FROM {table} WHERE ({_NAMES}) IN
        (SELECT {_NAMES} FROM sessions WHERE status = 'removed' AND updated_at < ?)"""  # noqa: S608  # ours
    for table in ("session_uses", "former_sessions")
)
_READ_USE: Final = f"""SELECT mined, reverted, gas, gwei, wei, last_used FROM session_uses
    WHERE ({_NAMES}) = (?, ?, ?, ?)"""  # noqa: S608  # ours
_READ_FORMER: Final = f"SELECT state FROM former_sessions WHERE ({_NAMES}) = (?, ?, ?, ?)"  # noqa: S608  # ours


def counted_of(ended: Ended) -> tuple[int, int, int, int, float] | None:
    """What an operation that was mined counts for its session: reverted, gas, gwei and wei, and when it was used."""
    mined = ended.mined
    if mined is None or ended.operation.reservation.session is None:
        return None
    gwei, wei = divmod(mined.gas_cost or 0, _GWEI)
    at = ended.ended_at if mined.timestamp is None else mined.timestamp
    return int(not mined.success), mined.gas_used or 0, gwei, wei, at


def take_back(name: HoldName) -> list[Statement]:
    """The chain has taken the operation back: it counts for nothing until it is mined again."""
    if name.session is None:
        return []
    claim = name.user_op_hash, print_claim(name.session)
    return [(_TAKE_OFF, (*claim, *name.session)), *((each, claim) for each in _FORGET)]


def keep_former(key: SessionKey) -> Statement:
    """A session is about to be removed: keep what it is now. Before its new row is written."""
    return _KEEP_FORMER, _key(key)


def prune(*, ended_before: float, removed_before: float) -> list[Statement]:
    """Forget which operations were counted, and everything of sessions removed before a time (unix seconds). Before
    these sessions' own rows go."""
    return [(_PRUNE, (ended_before,)), *((statement, (removed_before,)) for statement in _PRUNE_SESSIONS)]


def use_of(connection: sqlite3.Connection, key: SessionKey) -> SessionUse | None:
    """What became of its operations; `None` when none was mined."""
    row = connection.execute(_READ_USE, _key(key)).fetchone()
    if row is None:
        return None
    mined, reverted, gas, gwei, wei, last_used = row
    return SessionUse(mined=mined, reverted=reverted, gas=gas, cost=gwei * _GWEI + wei, last_used=last_used)


def former_of(connection: sqlite3.Connection, key: SessionKey) -> str | None:
    """The state it had before it was removed, as JSON; `None` when that is not known."""
    row = connection.execute(_READ_FORMER, _key(key)).fetchone()
    return None if row is None else str(row[0])


def _key(key: SessionKey) -> tuple[int, bytes, bytes, bytes]:
    return key.chain_id, key.module, key.account, key.permission_id
