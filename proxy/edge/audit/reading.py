"""The audit trail read back: once, or followed as it grows. Written by `proxy.edge.audit.writer`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from proxy.edge.audit.earlier import EarlierTrail
from proxy.edge.audit.row import (
    AuditEnd,
    AuditEntry,
    AuditRow,
    Forward,
    decision_row,
    earlier_row,
    read_answer,
    read_end,
)
from proxy.edge.audit.schema import CONTENT, DECISIONS, OF_THE_TRAIL, RecordKind, has_table, open_trail_reader
from proxy.judge.decision import UpstreamAnswer
from proxy.userop.primitives import Address, Hash32

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Trail:
    """Where a trail is: its own file, and the database in which an earlier release kept one."""

    path: Path
    earlier: Path | None = None


class Asked(StrEnum):
    """What kind of question a decision answered."""

    SENDS = "sends"
    ESTIMATES = "estimates"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which records to read; every field given must match. `limit` keeps the newest that many.

    `client`, `verdict`, `code`, `rule` and `asked` are of decisions alone.
    """

    since: float | None = None  # unix seconds, inclusive
    until: float | None = None  # unix seconds, exclusive
    chain: str | None = None
    client: str | None = None
    account: Address | None = None
    permission_id: Hash32 | None = None
    user_op_hash: Hash32 | None = None
    decision_id: str | None = None
    verdict: str | None = None  # allow | reject
    code: int | None = None
    rule: str | None = None  # one that fired
    asked: Asked | None = None
    after_id: int | None = None  # exclusive
    until_id: int | None = None  # inclusive
    limit: int | None = None

    def where(self, *, earlier: bool = False) -> tuple[str, list[object]]:
        """The SQL condition and its parameters, for the trail or for the table of earlier releases."""
        estimate = None if self.asked is None else int(self.asked is Asked.ESTIMATES)
        terms: tuple[tuple[str, object], ...] = (
            ("unix_time >= ?", self.since),
            ("unix_time < ?", self.until),
            ("id > ?", self.after_id),
            ("id <= ?", self.until_id),
            (_EARLIER_FIRED if earlier else _FIRED, self.rule),
            (_EARLIER_ESTIMATE if earlier else "estimate = ?", estimate),
            *((f"{name} = ?", getattr(self, name)) for name in _EQUAL),
        )
        given = [(term, value) for term, value in terms if value is not None]
        return " AND ".join(term for term, _ in given) or "1", [value for _, value in given]


_EQUAL: Final = ("chain", "client", "account", "permission_id", "user_op_hash", "decision_id", "verdict", "code")
_FIRED: Final = "id IN (SELECT id FROM fired WHERE rule = ?)"
_EARLIER_FIRED: Final = "EXISTS (SELECT 1 FROM json_each(coalesce(rules, '[]')) WHERE value ->> 'rule' = ?)"
_EARLIER_ESTIMATE: Final = "coalesce(facts ->> 'preview', 0) = ?"


def read_audit(trail: Trail, wanted: AuditFilter | None = None) -> Iterator[AuditRow]:
    """The decisions that match, oldest first; with `limit` the newest that many, still oldest first.

    Reads beside a running gate without holding it up. Raises `FileNotFoundError` when there is no trail at all.
    """
    wanted = wanted or AuditFilter()
    if wanted.limit is not None:
        yield from reversed(list(read_newest(trail, wanted)))
        return
    yield from read_earlier(trail, wanted)
    if trail.path.exists():
        with closing(open_trail_reader(trail.path)) as connection:
            yield from _rows(connection, wanted)


def read_newest(trail: Trail, wanted: AuditFilter) -> Iterator[AuditRow]:
    """The same, newest first."""
    left = wanted.limit
    if trail.path.exists():
        with closing(open_trail_reader(trail.path)) as connection:
            for row in _rows(connection, wanted, newest_first=True):
                left = None if left is None else left - 1
                yield row
    if left is None or left > 0:
        yield from read_earlier(trail, replace(wanted, limit=left), newest_first=True)


def read_entries(
    trail: Trail, wanted: AuditFilter | None = None, *, kinds: Collection[RecordKind] = ()
) -> Iterator[AuditEntry]:
    """The records that are no decisions, of these kinds or of all but answers and ends; as `read_audit` otherwise."""
    wanted = wanted or AuditFilter()
    with closing(open_trail_reader(trail.path)) as connection:
        if not has_table(connection, "records"):
            return
        condition, parameters = wanted.where()
        kept = " AND ".join(["kind IN (" + ", ".join("?" * len(kinds)) + ")"] if kinds else [OF_THE_TRAIL])
        if kinds and not set(kinds) & {RecordKind.DECISION, RecordKind.ANSWER, RecordKind.END}:
            kept += f" AND {OF_THE_TRAIL}"  # so that the index of these few is used
        names = "id, kind, unix_time, chain, decision_id, user_op_hash, account, permission_id, detail"
        query = f"SELECT {names} FROM records WHERE {kept} AND {condition} ORDER BY id"  # noqa: S608  # names of ours
        bound = [*(kind.value for kind in kinds), *parameters]
        if wanted.limit is not None:
            query = f"SELECT * FROM ({query} DESC LIMIT ?) ORDER BY id"  # noqa: S608  # as above
            bound.append(wanted.limit)
        for row in connection.execute(query, bound):
            fields = dict(zip(names.split(", "), row, strict=True))
            detail = orjson.loads(fields.pop("detail") or "{}")
            yield AuditEntry(row_id=fields.pop("id"), detail=detail, **fields)


def follow_audit(
    trail: Trail,
    wanted: AuditFilter | None = None,
    *,
    poll_seconds: float = 0.25,
    patience_seconds: float = 30.0,
    until: Callable[[], bool] = lambda: False,
) -> Iterator[AuditRow]:
    """The decisions that match, then each new one, until `until()` says so.

    A decision whose answer is still to come is held back for up to `patience_seconds`, so that each is shown once and,
    as a rule, complete. Nothing else waits for it.
    """
    wanted = wanted or AuditFilter()
    waiting: dict[int, float] = {}
    with closing(open_trail_reader(trail.path)) as connection:
        first = True
        while True:
            last_round = until()
            newest = _newest_id(connection)
            fresh = list(read_audit(trail, wanted)) if first else list(_rows(connection, wanted))
            first = False
            now = time.monotonic()
            for row in [*_reread(connection, waiting), *fresh]:
                since = waiting.setdefault(row.row_id, now)
                if row.forward is not Forward.PENDING or now - since >= patience_seconds or last_round:
                    del waiting[row.row_id]
                    yield row
            if last_round:
                return
            # rows committed after `newest` was read may be among the fresh ones already
            wanted = replace(wanted, limit=None, after_id=max([newest, *(row.row_id for row in fresh)]))
            time.sleep(poll_seconds)


def _newest_id(connection: sqlite3.Connection) -> int:
    if not has_table(connection, "records"):
        return 0
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM records").fetchone()
    return int(newest)


def _reread(connection: sqlite3.Connection, row_ids: Collection[int]) -> Iterator[AuditRow]:
    for row_id in list(row_ids):
        # one that was pruned meanwhile is gone; it stays in `row_ids`, which costs one lookup a round
        yield from _rows(connection, AuditFilter(after_id=row_id - 1, until_id=row_id))


def read_earlier(trail: Trail, wanted: AuditFilter, *, newest_first: bool = False) -> Iterator[AuditRow]:
    """Of the decisions that match those alone that an earlier release kept."""
    if trail.earlier is not None and trail.earlier.exists():
        condition, parameters = wanted.where(earlier=True)
        rows = EarlierTrail(trail.earlier).rows(condition, parameters, limit=wanted.limit, newest_first=newest_first)
        yield from map(earlier_row, rows)
    elif not trail.path.exists():
        raise FileNotFoundError(trail.path)


def _rows(connection: sqlite3.Connection, wanted: AuditFilter, *, newest_first: bool = False) -> Iterator[AuditRow]:
    if not has_table(connection, "records"):
        return
    condition, parameters = wanted.where()
    # only names and conditions written in this file are put together here; every value is bound
    query = f"SELECT {', '.join(CONTENT)} FROM records WHERE {DECISIONS} AND {condition} ORDER BY id"  # noqa: S608  # only our own names and conditions; every value is bound
    if newest_first:
        query += " DESC"
    if wanted.limit is not None:
        query += " LIMIT ?"
        parameters.append(wanted.limit)
    found = connection.execute(query, parameters)
    while page := list(islice(found, _PAGE)):
        yield from _joined(connection, [dict(zip(CONTENT, row, strict=True)) for row in page])


def _joined(connection: sqlite3.Connection, page: Sequence[dict[str, Any]]) -> Iterator[AuditRow]:
    last = connection.execute("SELECT run, kind FROM records ORDER BY id DESC LIMIT 1").fetchone()
    open_run = None if last is None or last[1] == RecordKind.STOP else last[0]
    answers = _answers(connection, [row["decision_id"] for row in page])
    ends = _ends(connection, {row["user_op_hash"] for row in page} - {None})
    for row in page:
        sent = row["forwarding"] and not row["estimate"]
        yield decision_row(
            row,
            answer=answers.get(row["decision_id"]),
            end=ends.get((row["chain"], row["user_op_hash"])) if sent else None,
            open_run=row["run"] == open_run,
        )


def _answers(connection: sqlite3.Connection, decision_ids: Sequence[str]) -> dict[str, UpstreamAnswer]:
    query = f"SELECT decision_id, detail FROM records WHERE kind = 'answer' AND {_within('decision_id', decision_ids)}"  # noqa: S608  # names of ours
    return {decision_id: read_answer(detail) for decision_id, detail in connection.execute(query, decision_ids)}


def _ends(connection: sqlite3.Connection, hashes: Collection[bytes]) -> dict[tuple[str, bytes], AuditEnd]:
    query = (
        "SELECT chain, user_op_hash, unix_time, detail FROM records"  # noqa: S608  # names of ours
        f" WHERE kind = 'end' AND {_within('user_op_hash', hashes)} ORDER BY id"
    )
    # the last word counts: a reorganisation may take an end back and bring another
    return {(chain, name): read_end(at, detail) for chain, name, at, detail in connection.execute(query, list(hashes))}


def _within(name: str, values: Collection[object]) -> str:
    return f"{name} IN ({', '.join('?' * len(values))})"
