"""Whether the trail tells of operations held after the ledger's last sign of life: it is an older copy then."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from proxy.edge.audit.schema import RecordKind, open_trail_reader
from proxy.userop.primitives import Hash32

_NEWEST: Final = "SELECT unix_time FROM records ORDER BY id DESC LIMIT 1"
_SENT: Final = f"""
    SELECT decision_id, unix_time, user_op_hash FROM records
    WHERE unix_time > ? AND kind = '{RecordKind.DECISION}' AND forwarding = 1 AND coalesce(estimate, 0) = 0
        AND user_op_hash IS NOT NULL AND permission_id IS NOT NULL AND verdict = 'allow' AND mode <> 'off'
        AND coalesce(detail, '') NOT LIKE '%passedWithout%'
        AND EXISTS (
            SELECT 1 FROM records AS answer WHERE answer.decision_id = records.decision_id
                AND answer.kind = '{RecordKind.ANSWER}' AND json_extract(answer.detail, '$.result') IS NOT NULL
        )
    ORDER BY unix_time DESC LIMIT 1
"""  # noqa: S608  # the kinds are words of ours


class SentSince(NamedTuple):
    """The newest operation of a session that a bundler took, and that was held in the ledger before: its decision,
    when (unix seconds), and its hash."""

    decision_id: str
    unix_time: float
    user_op_hash: Hash32


def sent_since(trail: Path, alive_at: float, is_known: Callable[[Hash32], bool]) -> SentSince | None:
    """One that was sent after a ledger was last alive at this time (unix seconds), and that it does not know. `None`
    where the trail tells of none, is not there, or cannot be read.

    Times of day are compared to find it, and jump: what the ledger knows shows that they did.
    """
    try:
        with closing(open_trail_reader(trail)) as connection:
            newest = connection.execute(_NEWEST).fetchone()
            if newest is None or newest[0] <= alive_at:
                return None
            row = connection.execute(_SENT, (alive_at,)).fetchone()
    except (sqlite3.Error, FileNotFoundError):
        return None
    if row is None or is_known(Hash32(row[2])):
        return None
    return SentSince(str(row[0]), float(row[1]), Hash32(row[2]))
