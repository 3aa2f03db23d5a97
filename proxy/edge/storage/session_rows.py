"""How sessions, and the freezes of them, stand in their tables: rows to records and records to statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import orjson

from proxy.errors import StateUnavailable
from proxy.ledger import session_uses
from proxy.ledger.statement import Statement
from proxy.session.codec import state_from_json, state_to_json
from proxy.session.counters import SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Source, Status
from proxy.session.shelf import PackedSession
from proxy.session.use import UNUSED, SessionRecord
from proxy.userop.primitives import Address, Hash32

_SAVE_SESSION: Final = """INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET status = excluded.status, source = excluded.source, state = excluded.state,
    granted_by = excluded.granted_by, block = excluded.block, updated_at = excluded.updated_at,
    since = COALESCE(excluded.since, since)"""
_SAVE_FREEZE: Final = "INSERT OR REPLACE INTO freezes VALUES (?, ?, ?, ?, ?)"
_DROP_FREEZE: Final = "DELETE FROM freezes WHERE permission_id = ? AND account = ? AND chain_id = ?"


def record_of(reader: sqlite3.Connection, key: SessionKey) -> SessionRecord:
    """What became of a session's operations, and what it had if it was removed."""
    former = session_uses.former_of(reader, key)
    return SessionRecord(
        use=session_uses.use_of(reader, key) or UNUSED,
        former=None if former is None else state_from_json(orjson.loads(former)),
    )


def _scope(freeze: Freeze) -> tuple[bytes, bytes, int]:
    # a primary key takes no NULLs: no account is empty, no chain has the id 0
    return freeze.permission_id, freeze.account or b"", freeze.chain_id or 0


def save_freeze(freeze: Freeze) -> Statement:
    """Let it stand, in place of one of the same scope."""
    return _SAVE_FREEZE, (*_scope(freeze), freeze.since, freeze.note)


def drop_freeze(freeze: Freeze) -> Statement:
    """It was lifted."""
    return _DROP_FREEZE, _scope(freeze)


def freeze_of(row: Sequence[Any]) -> Freeze:
    """A freeze, of its row."""
    permission_id, account, chain_id, since, note = row
    return Freeze(
        permission_id=Hash32(permission_id),
        account=Address(account) if account else None,
        chain_id=chain_id or None,
        since=since,
        note=note,
    )


def packed_session_of(row: Sequence[Any]) -> tuple[SessionKey, PackedSession]:
    """The same without looking into its state. Raises `StateUnavailable` at what is no session at all."""
    state = row[6]
    if state is not None and not (state.startswith('{"key":{') and state.endswith("}")):
        session_of(row)  # raises for what is no state
    try:
        packed = PackedSession(
            status=Status(row[4]),
            source=Source(row[5]),
            updated_at=row[9],
            granted_by=None if row[7] is None else Hash32(row[7]),
            block=row[8],
            state=None if state is None else state.encode(),
            since=row[10],
        )
    except (ValueError, TypeError) as error:
        raise StateUnavailable(f"a stored session cannot be read ({type(error).__name__})", fact="ledger") from error
    return SessionKey(row[0], Address(row[1]), Address(row[2]), Hash32(row[3])), packed


def save_session(session: KnownSession) -> list[Statement]:
    """Have a session in its table as it is now known; of one that is removed, what it had is kept."""
    key = session.key
    state = None if session.state is None else orjson.dumps(state_to_json(session.state)).decode()
    names = (key.chain_id, key.module, key.account, key.permission_id)
    status, source = session.status.value, session.source.value
    rest = (status, source, state, session.granted_by, session.block, session.updated_at)
    save = (_SAVE_SESSION, (*names, *rest, session.since))
    return [session_uses.keep_former(key), save] if session.status is Status.REMOVED else [save]


def session_of(row: Sequence[Any]) -> KnownSession:
    """A session, of its row. Raises `StateUnavailable` at one that cannot be read."""
    chain_id, module, account, permission_id, status, source, state, granted_by, block, updated_at, since = row
    try:
        return KnownSession(
            key=SessionKey(chain_id, Address(module), Address(account), Hash32(permission_id)),
            status=Status(status),
            source=Source(source),
            state=None if state is None else state_from_json(orjson.loads(state)),
            granted_by=None if granted_by is None else Hash32(granted_by),
            block=block,
            updated_at=updated_at,
            since=since,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StateUnavailable(f"a stored session cannot be read ({type(error).__name__})") from error
