"""Whether the trail tells of operations held after the ledger's last sign of life: it is an older copy then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from proxy.edge.audit.schema import RecordKind, open_trail_reader

AT_REST_SECONDS: Final = 60.0
"""A ledger in use shows itself every ten seconds; a busy machine is given more."""

_NEWEST: Final = "SELECT unix_time FROM records ORDER BY id DESC LIMIT 1"
_SENT: Final = f"""
    SELECT decision_id, unix_time FROM records
    WHERE unix_time > ? AND kind = '{RecordKind.DECISION}' AND forwarding = 1 AND coalesce(estimate, 0) = 0
        AND permission_id IS NOT NULL AND verdict = 'allow' AND mode <> 'off'
        AND coalesce(detail, '') NOT LIKE '%passedWithout%'
    ORDER BY unix_time DESC LIMIT 1
"""  # noqa: S608  # the kind is a word of ours


class SentSince(NamedTuple):
    """The newest operation of a session that was sent, and held in the ledger before that: its decision, and when
    (unix seconds)."""

    decision_id: str
    unix_time: float


def sent_since(trail: Path, alive_at: float) -> SentSince | None:
    """One that was sent when a ledger that was last alive at this time (unix seconds) cannot have held it. `None` where
    the trail tells of none, is not there, or cannot be read.

    A time of day that was set back between the two says nothing: the newest record has to be later as well.
    """
    try:
        with closing(open_trail_reader(trail)) as connection:
            newest = connection.execute(_NEWEST).fetchone()
            if newest is None or newest[0] <= alive_at + AT_REST_SECONDS:
                return None
            found = connection.execute(_SENT, (alive_at + AT_REST_SECONDS,)).fetchone()
    except (sqlite3.Error, FileNotFoundError):
        return None
    return None if found is None else SentSince(str(found[0]), float(found[1]))
