"""Sessions that changed on chain, on disk from the block that told on: events carry no state, so that what is known of
a session is in doubt until it was read at that block or later. A gate that is killed before that reads it again, and
one whose chain takes the block back knows which sessions to read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from proxy.errors import StateUnavailable
from proxy.ledger.statement import Statement
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, Hash32

TABLES: Final = (
    """CREATE TABLE doubts (
        chain_id INTEGER NOT NULL, block INTEGER NOT NULL, module BLOB NOT NULL, account BLOB NOT NULL,
        permission_id BLOB NOT NULL, read INTEGER NOT NULL,
        PRIMARY KEY (chain_id, block, module, account, permission_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX doubts_unread ON doubts (chain_id, module, account, permission_id) WHERE NOT read",
)
"""Statements that make the table, for the list of migrations."""

READ_IN_ORDER: Final = ("CREATE INDEX doubts_read ON doubts (chain_id, block) WHERE read",)
"""Statements that let what was read be forgotten by its block, however much was not. Likewise."""

_DOUBT: Final = "INSERT INTO doubts VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO UPDATE SET read = 0"
# the index is named: SQLite takes the table's own key for as good, of which only the chain is known here, and looks at
# every doubt of it; after a start without what it knew that is one for each session
_READ: Final = """UPDATE doubts INDEXED BY doubts_unread SET read = 1
    WHERE NOT read AND chain_id = ? AND module = ? AND account = ? AND permission_id = ?"""
# and here: the table's own key leads by all that were not read, of which there may be as many below any block
_CUT: Final = "DELETE FROM doubts INDEXED BY doubts_read WHERE chain_id = ? AND block > ? AND read"
_PRUNE: Final = "DELETE FROM doubts INDEXED BY doubts_read WHERE chain_id = ? AND block < ? AND read"


class Doubt(NamedTuple):
    """A session that changed at a block (0: nobody knows at which); `is_read` when it was read since."""

    key: SessionKey
    block: int
    is_read: bool = False


def doubt(doubts: Iterable[Doubt]) -> list[Statement]:
    """These sessions are in doubt from now on."""
    return [(_DOUBT, (key.chain_id, block, key.module, key.account, key.permission_id)) for key, block, _ in doubts]


def read(keys: Iterable[SessionKey]) -> list[Statement]:
    """These have been read since they were."""
    return [(_READ, tuple(key)) for key in keys]


def cut(chain_id: int, block: int) -> Statement:
    """The chain has left the blocks after this one: what was read again is in no doubt because of them."""
    return _CUT, (chain_id, block)


def prune(chain_id: int, block: int) -> Statement:
    """No reorganisation brings back what is older than this block."""
    return _PRUNE, (chain_id, block)


def doubts(connection: sqlite3.Connection) -> Iterator[Doubt]:
    """All that is known of them, by block. Raises `StateUnavailable` at a row that cannot be read."""
    for row in connection.execute("SELECT * FROM doubts ORDER BY chain_id, block"):
        chain_id, block, module, account, permission_id, is_read = row
        try:
            key = SessionKey(int(chain_id), Address(module), Address(account), Hash32(permission_id))
            yield Doubt(key, int(block), bool(is_read))
        except (ValueError, TypeError):
            raise StateUnavailable("a doubt of a stored session cannot be read", fact="ledger") from None
