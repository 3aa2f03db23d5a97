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
from proxy.edge.audit.postings import (
    ANYWHERE,
    Ids,
    condition_of,
    of_account,
    of_decision,
    of_operation,
    of_session,
    places,
)
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
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.userop.primitives import Address, Hash32

_PAGE: Final = 500
_LONG_PAGE: Final = 5_000
"""Of all that match: answers and ends are looked for page by page, through all that follows."""


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

    def checksums(self, *, of_decisions: bool = True) -> set[int] | None:
        """By what the index leads to them: by what the fewest are of. `None` where it does not. `of_decisions`: nothing
        else is wanted."""
        if self.decision_id is not None:
            return {of_decision(self.decision_id)}
        if self.user_op_hash is not None:
            return {of_operation(self.user_op_hash)}
        if self.permission_id is not None and of_decisions:
            return {of_session(self.permission_id)}
        return {of_account(self.account)} if self.account is not None and of_decisions else None

    def places(self, connection: sqlite3.Connection, *, of_decisions: bool = True) -> list[Ids]:
        """Where to look for them."""
        bounds = {
            **({} if self.after_id is None else {"first": self.after_id + 1}),
            **({} if self.until_id is None else {"last": self.until_id}),
        }
        checksums = self.checksums(of_decisions=of_decisions)
        return places(connection, checksums, since=self.since, until=self.until, **bounds)


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
        few = not set(kinds) & {RecordKind.DECISION, RecordKind.ANSWER, RecordKind.END}
        if kinds and few:
            kept += f" AND {OF_THE_TRAIL}"  # so that the index of these few is used
        query = f"SELECT {_ENTRY} FROM records WHERE {kept} AND {condition}"  # noqa: S608  # names of ours
        looked = [ANYWHERE] if few else wanted.places(connection, of_decisions=False)
        bound = [*(kind.value for kind in kinds), *parameters]
        rows = select_at(connection, query, bound, looked, limit=wanted.limit, newest_first=wanted.limit is not None)
        for row in rows if wanted.limit is None else reversed(list(rows)):
            fields = dict(zip(_ENTRY.split(", "), row, strict=True))
            detail = orjson.loads(fields.pop("detail") or "{}")
            yield AuditEntry(row_id=fields.pop("id"), detail=detail, **fields)


_ENTRY: Final = "id, kind, unix_time, chain, decision_id, user_op_hash, account, permission_id, detail"


def select_at(
    connection: sqlite3.Connection,
    query: str,
    parameters: Sequence[object],
    looked: Sequence[Ids],
    *,
    limit: int | None = None,
    newest_first: bool = False,
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that ends in a condition, at these places, in the order of the trail or from its end."""
    left = limit
    for place in reversed(looked) if newest_first else looked:
        condition, bound = condition_of(place)
        ordered = f"{query} AND {condition} ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
        for row in connection.execute(ordered, [*parameters, *bound, -1 if left is None else left]):
            left = None if left is None else left - 1
            yield row
        if left == 0:
            return


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
    query = f"SELECT {', '.join(CONTENT)} FROM records WHERE {DECISIONS} AND {condition}"  # noqa: S608  # only our own names and conditions; every value is bound
    looked = wanted.places(connection)
    found = select_at(connection, query, parameters, looked, limit=wanted.limit, newest_first=newest_first)
    while page := list(islice(found, _PAGE if wanted.limit is not None else _LONG_PAGE)):
        yield from _joined(connection, [dict(zip(CONTENT, row, strict=True)) for row in page])


def _joined(connection: sqlite3.Connection, page: Sequence[dict[str, Any]]) -> Iterator[AuditRow]:
    last = connection.execute("SELECT run, kind FROM records ORDER BY id DESC LIMIT 1").fetchone()
    open_run = None if last is None or last[1] == RecordKind.STOP else last[0]
    # an answer always comes after what it answers, and an end after what has ended
    first = min(row["id"] for row in page)
    answers = answers_to(connection, {row["decision_id"] for row in page}, after_id=first)
    ends = _ends(connection, {row["user_op_hash"] for row in page} - {None}, after_id=first)
    for row in page:
        sent = row["forwarding"] and not row["estimate"]
        end_id, end = ends.get((row["chain"], row["user_op_hash"]), (0, None))
        yield decision_row(
            row,
            answer=answers.get(row["decision_id"]),
            end=end if sent and end_id > row["id"] else None,
            open_run=row["run"] == open_run,
        )


def answers_to(
    connection: sqlite3.Connection, decision_ids: Collection[str], *, after_id: int
) -> dict[str, UpstreamAnswer]:
    """What bundlers said to the operations of these decisions, of which `after_id` is the first."""
    looked = places(connection, {of_decision(each) for each in decision_ids}, first=after_id)
    found = _told_of(connection, RecordKind.ANSWER, "decision_id", decision_ids, looked)
    return {decision_id: read_answer(detail) for decision_id, _, _, _, detail in found}


def _ends(
    connection: sqlite3.Connection, hashes: Collection[bytes], *, after_id: int
) -> dict[tuple[str, bytes], tuple[int, AuditEnd]]:
    """What became of operations, by chain and hash, with the id of that record; as far as it is on record after
    `after_id`."""
    looked = places(connection, {of_operation(each) for each in hashes}, first=after_id)
    found = _told_of(connection, RecordKind.END, "user_op_hash", hashes, looked)
    # the last word counts: a reorganisation may take an end back and bring another
    return {(chain, name): (end_id, read_end(at, detail)) for name, end_id, chain, at, detail in found}


def _told_of(
    connection: sqlite3.Connection, kind: RecordKind, name: str, wanted: Collection[Any], looked: Sequence[Ids]
) -> Iterator[tuple[Any, ...]]:
    """That column, id, chain, time and detail of the records of a kind in which it is one of those wanted."""
    query = f"SELECT {name}, id, chain, unix_time, detail FROM records WHERE kind = '{kind}'"  # noqa: S608  # names of ours
    within, among = f" AND {name} IN ({', '.join('?' * len(wanted))})", frozenset(wanted)
    for ids in looked:
        # whatever has an id that is known is looked at here: a list of what is wanted would take SQLite longer
        is_range = isinstance(ids, range)
        rows = select_at(connection, query + (within if is_range else ""), [*wanted] if is_range else [], [ids])
        yield from (row for row in rows if row[0] in among)
