"""Active alerts on disk: a table of their own in the gate's database, written through a connection of their own."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import orjson

from proxy.edge.alerts.board import ActiveAlert, AlertKey
from proxy.edge.alerts.desk import RememberedAlert
from proxy.edge.alerts.sink import Told
from proxy.happening import Happening, HappeningKind
from proxy.session.lint.findings import Severity
from proxy.userop.primitives import Address, Hash32

_LOG: Final = logging.getLogger(__name__)
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS alerts (digest TEXT NOT NULL PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID"
)
_SAVE: Final = "INSERT OR REPLACE INTO alerts VALUES (?, ?)"
_DROP: Final = "DELETE FROM alerts WHERE digest = ?"
_BUSY_SECONDS: Final = 5.0


class SqliteAlertMemory:
    """See `proxy.edge.alerts.desk.AlertMemory`. Each call opens the file for itself; may be used from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Sequence[RememberedAlert]:
        """Everything kept; what cannot be read is left out, and logged."""
        found: list[RememberedAlert] = []
        with closing(self._connect()) as connection:
            for digest, record in connection.execute("SELECT digest, record FROM alerts"):
                try:
                    found.append(remembered_from_json(orjson.loads(record)))
                except (ValueError, TypeError, KeyError) as error:
                    _LOG.error("alert %s on disk cannot be read (%s)", digest, type(error).__name__)
        return found

    def save(self, changed: Sequence[RememberedAlert], gone: Sequence[AlertKey]) -> None:
        """Keep and forget, in one transaction."""
        rows = [(each.alert.key.digest, orjson.dumps(remembered_to_json(each)).decode()) for each in changed]
        with closing(self._connect()) as connection, connection:
            connection.executemany(_SAVE, rows)
            connection.executemany(_DROP, [(key.digest,) for key in gone])

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def remembered_to_json(remembered: RememberedAlert) -> Mapping[str, object]:
    """As it is kept; bytes in hex."""
    alert = remembered.alert
    latest = alert.latest
    return {
        "first": alert.first,
        "last": alert.last,
        "count": alert.count,
        "decisions": list(alert.decisions),
        "folded": alert.key.folded,
        "told": {name: list(told) for name, told in remembered.told.items()},
        "latest": {
            name: value.hex() if isinstance(value := getattr(latest, name), bytes) else value for name in _FIELDS
        },
    }


def remembered_from_json(value: Mapping[str, Any]) -> RememberedAlert:
    """The same back. Raises `ValueError`, `TypeError` or `KeyError` for anything else."""
    latest = {name: value["latest"][name] for name in _FIELDS}
    happening = Happening(
        **{
            **latest,
            "kind": HappeningKind(latest["kind"]),
            "severity": Severity(latest["severity"]),
            "unix_time": float(latest["unix_time"]),
            "account": _bytes(latest["account"], 20, Address),
            "permission_id": _bytes(latest["permission_id"], 32, Hash32),
            "user_op_hash": _bytes(latest["user_op_hash"], 32, Hash32),
            "tags": tuple(latest["tags"]),
            "notify": tuple(latest["notify"]),
        }
    )
    folded = bool(value["folded"])
    key = AlertKey(
        kind=happening.kind,
        severity=happening.severity,
        chain=happening.chain,
        rule=happening.rule,
        mode=happening.mode,
        permission_id=None if folded else happening.permission_id,
        account=None if folded else happening.account,
        tags=happening.tags,
        folded=folded,
    )
    alert = ActiveAlert(
        key=key,
        first=float(value["first"]),
        last=float(value["last"]),
        count=int(value["count"]),
        latest=happening,
        decisions=tuple(value["decisions"]),
    )
    return RememberedAlert(alert, {name: Told(float(told[0]), int(told[1])) for name, told in value["told"].items()})


_FIELDS: Final = (
    *("kind", "severity", "unix_time", "what", "chain", "client", "account", "permission_id", "user_op_hash"),
    *("decision_id", "rule", "mode", "tags", "owner", "runbook", "notify", "command"),
)


def _bytes(text: str | None, length: int, kind: Any) -> Any:
    if text is None:
        return None
    raw = bytes.fromhex(text)
    if len(raw) != length:
        raise ValueError(f"{len(raw)} bytes, wanted {length}")
    return kind(raw)
