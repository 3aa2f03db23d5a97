"""Whether the trail tells of operations held after the ledger's last sign of life: it is an older copy then."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from proxy.edge.audit.postings import places
from proxy.edge.audit.reading import answers_to, select_at
from proxy.edge.audit.schema import RecordKind, open_trail_reader
from proxy.userop.primitives import Hash32

_NEWEST: Final = "SELECT unix_time FROM records ORDER BY id DESC LIMIT 1"
_SENT: Final = f"""
    SELECT decision_id, unix_time, user_op_hash, id FROM records
    WHERE unix_time > ? AND kind = '{RecordKind.DECISION}' AND forwarding = 1 AND coalesce(estimate, 0) = 0
        AND user_op_hash IS NOT NULL AND permission_id IS NOT NULL AND verdict = 'allow' AND mode <> 'off'
        AND coalesce(detail, '') NOT LIKE '%passedWithout%'
"""  # noqa: S608  # the kinds are words of ours
_PAGE: Final = 100


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
            sent = _newest_taken(connection, alive_at)
    except (sqlite3.Error, FileNotFoundError):
        return None
    return None if sent is None or is_known(sent.user_op_hash) else sent


def _newest_taken(connection: sqlite3.Connection, alive_at: float) -> SentSince | None:
    """The last one since then, in the order of the trail, that a bundler said it took."""
    looked = places(connection, since=alive_at)
    found = select_at(connection, _SENT, (alive_at,), looked, newest_first=True)
    while page := list(islice(found, _PAGE)):
        answers = answers_to(connection, [row[0] for row in page], after_id=page[-1][3])
        for decision_id, unix_time, user_op_hash, _ in page:
            if (answer := answers.get(decision_id)) is not None and answer.result is not None:
                return SentSince(str(decision_id), float(unix_time), Hash32(user_op_hash))
    return None
