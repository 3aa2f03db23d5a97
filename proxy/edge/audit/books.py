"""What the records of a trail tell of the trail itself, and with which key each run of a gate wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

import orjson

from proxy.edge.audit.chain import KEYLESS, NO_KEY, ChainKey
from proxy.edge.audit.postings import SOUND, Posted, Segment, is_true, posted
from proxy.edge.audit.remarks import HARMLESS, Audited, StoredRecord, Tampering, detail_of
from proxy.edge.audit.schema import CONTENT, OF_THE_TRAIL, RecordKind, has_table

_TRIED: Final = 256
"""So many records of a run are tried to find its key, where the first were tampered with."""


class Keyring:
    """Which key a run was written with."""

    def __init__(self, connection: sqlite3.Connection, keys: Sequence[ChainKey], found: Audited) -> None:
        self._connection = connection
        self._keys = {key.name: key for key in (NO_KEY, *keys)}
        self._usual = next((key for key in keys if key.name != KEYLESS), NO_KEY)
        self._found = found
        self._runs: dict[object, ChainKey | None] = {}

    def all(self) -> Sequence[ChainKey]:
        """Those that sign: without a key where none is at hand."""
        return [self._usual, *self._keys.values()] if self._usual is NO_KEY else [self._usual]

    def of_run(self, run: object) -> ChainKey | None:
        """The key; `None` when it is not at hand, which is told once a run."""
        if run not in self._runs:
            self._runs[run] = self._find(run)
        return self._runs[run]

    def _find(self, run: object) -> ChainKey | None:
        # by what it says of itself, not by its place: whoever took records out may have numbered the rest anew
        start = self._connection.execute(
            f"SELECT id, detail FROM records WHERE kind = ? AND run = ? AND {OF_THE_TRAIL} LIMIT 1",  # noqa: S608  # names of ours
            (RecordKind.START.value, run),
        ).fetchone()
        if type(run) is not int or start is None:
            return self._by_trying(run, None) or self._usual
        # the start is a record as the others are: one that was edited may name a key that it was not made with
        if (key := self._by_trying(run, start[0])) is not None:
            return key
        name = str(detail_of(start[1]).get("key"))
        if name == KEYLESS and self._usual is not NO_KEY:
            self._found.remark(Tampering.KEY, run, run, "the run that begins here was written without a key")
        if name not in self._keys:
            words = f"the run that begins here needs the key {name}, which is not at hand"
            self._found.remark(Tampering.KEY, run, run, words)
        return self._keys.get(name)

    def _by_trying(self, run: object, first: int | None) -> ChainKey | None:
        """The key by which one of the first records of a run follows the one before it; never none, by which anybody
        could have made them. `first` is where the run begins; `None` for where the first of it is found."""
        keys = [key for key in self._keys.values() if key.name != KEYLESS]
        if keys and first is None:
            query = "SELECT id FROM records WHERE run IS ? ORDER BY id LIMIT 1"
            first = next((place for (place,) in self._connection.execute(query, (run,))), None)
        if not keys or first is None:
            return None
        query = f"SELECT {', '.join(CONTENT)}, hash FROM records WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608  # names of ours
        found = self._connection.execute(query, (first, first + _TRIED))
        of_run = (each for row in found if (each := StoredRecord(tuple(row[:-1]), row[-1])).of("run") == run)
        for before, behind in pairwise(of_run):
            for key in keys:
                with suppress(TypeError):  # what cannot be printed was never written so
                    if key.link(before.hash, behind.content) == behind.hash:
                        return key
        return None


class IndexCheck:
    """Whether the segments of the index lead to all records that they cover, and to nothing else."""

    def __init__(self, connection: sqlite3.Connection, found: Audited, pruned: int) -> None:
        self._connection = connection
        self._found = found
        self._pruned = pruned
        self._bounds: list[tuple[int, int]] = []
        self._wrong: list[tuple[int, int]] = []
        if has_table(connection, "segments"):  # a trail of an earlier release has none
            query = f"SELECT first, last FROM segments WHERE last > ? AND {SOUND} ORDER BY first"  # noqa: S608  # words of ours
            self._bounds = connection.execute(query, (pruned,)).fetchall()
            query = f"SELECT first, first FROM segments WHERE NOT ({SOUND})"  # noqa: S608  # as above
            self._wrong = connection.execute(query).fetchall()
        self._at = 0
        self._here: list[Posted] = []

    def note(self, record: StoredRecord) -> None:
        """One record, in the order of the chain."""
        while self._at < len(self._bounds) and record.id > self._bounds[self._at][1]:
            self._hold()
        if self._at < len(self._bounds) and record.id >= self._bounds[self._at][0]:
            self._here.append(posted(record.content))

    def close(self) -> None:
        """The end of the trail. What leads to records that were tampered with tells nothing more."""
        while self._at < len(self._bounds):
            self._hold()
        touched = [each for each in self._found.remarks if each.what not in {*HARMLESS, Tampering.KEY}]
        for first, last in self._wrong:
            if not any(each.first <= last and each.last >= first for each in touched):
                self._found.remark(Tampering.INDEX, first, last, "not all of them are found by what they are of")

    def _hold(self) -> None:
        """The segment that is at hand against the records that were noted."""
        first, last = self._bounds[self._at]
        query = "SELECT first, last, oldest, newest, postings FROM segments WHERE first = ?"
        stored = Segment(*self._connection.execute(query, (first,)).fetchone())
        self._at += 1
        overlaps = self._at < len(self._bounds) and self._bounds[self._at][0] <= last
        if overlaps or not is_true(stored, self._here, pruned=self._pruned):
            self._wrong.append((first, last))
        self._here = []


class AuditBooks:
    """Runs that ended in no order, numbers that were lost, and whether rules lead to the records they fired on."""

    def __init__(self, connection: sqlite3.Connection, found: Audited) -> None:
        self._connection = connection
        self._found = found
        self._open_run: object = None
        self._seq: int | None = None
        self._fired = 0
        self._last = 0

    def note(self, record: StoredRecord) -> None:
        """One record, in the order of the chain."""
        kind, seq = record.of("kind"), record.of("seq")
        if kind == RecordKind.START:
            if self._open_run is not None:
                words = "the run that ended here was killed, or lost power: it wrote no stop"
                self._found.remark(Tampering.CRASH, self._last, self._last, words)
            self._seq = 0
        self._open_run = None if kind == RecordKind.STOP else record.of("run")
        if record.id != self._last + 1 and kind != RecordKind.START:
            self._seq = None  # what is missing between is told already
        if kind == RecordKind.GAP:
            detail = detail_of(record.of("detail"))
            words = f"{detail.get('lost')} records lost before they were written: {detail.get('why')}"
            self._found.remark(Tampering.GAP, record.id, record.id, words)
            self._seq = None
        if type(seq) is int:
            if self._seq is not None and seq != self._seq + 1:
                words = f"numbers {self._seq + 1} to {seq - 1} were never written"
                self._found.remark(Tampering.GAP, record.id, record.id, words)
            self._seq = seq
        self._last = record.id
        if (rules := record.of("rules")) is not None:
            self._note_rules(record.id, rules)

    def _note_rules(self, record_id: int, rules: object) -> None:
        try:
            fired = {hit["rule"] for hit in orjson.loads(str(rules))}
        except (orjson.JSONDecodeError, TypeError, KeyError):
            return  # it does not fit its hash either
        query = "SELECT count(*) FROM fired WHERE rule = ? AND id = ?"
        there = sum(self._connection.execute(query, (rule, record_id)).fetchone()[0] for rule in fired)
        if there != len(fired):
            self._found.remark(Tampering.INDEX, record_id, record_id, "it cannot be found by every rule that fired")
        self._fired += there

    def close(self, pruned: int) -> None:
        """The end of the trail."""
        (indexed,) = self._connection.execute("SELECT count(*) FROM fired WHERE id > ?", (pruned,)).fetchone()
        if indexed != self._fired:
            words = "records can be found by rules that did not fire on them"
            self._found.remark(Tampering.INDEX, self._found.first, self._found.last, words)
