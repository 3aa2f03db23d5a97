"""Whether a trail is as it was written, and if not, what was done to it.

Every record is held against its hash, which covers its content and the hash before it. Where that fails the
neighbourhood tells what happened: a record whose successor still fits was edited, one that fits elsewhere was swapped,
a place that is missing was deleted, one that the chain fits around was inserted. What was pruned by the gate is vouched
for by a checkpoint, what was lost on the way to the disk by a gap, a gate that was killed by the missing stop of its
run. What is cut off at the end shows by the seal on the newest record, and where that was put back as well only by
a head that was told to somebody else before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from proxy.edge.audit.appending import Head
from proxy.edge.audit.books import AuditBooks, IndexCheck, Keyring
from proxy.edge.audit.chain import GENESIS, KEYLESS, ChainKey
from proxy.edge.audit.remarks import Audited, StoredRecord, Tampering, detail_of
from proxy.edge.audit.schema import CONTENT, OF_THE_TRAIL, RecordKind, has_table, open_trail_reader

_WINDOW: Final = 256
"""How far from a record that does not fit its neighbours are searched for what does."""


def verify_trail(path: Path, keys: Sequence[ChainKey] = (), heads: Sequence[Head] = ()) -> Audited:
    """Look at every record; `keys` are those that may have been used, `heads` newest records told elsewhere.

    Raises `FileNotFoundError`, and `sqlite3.Error` for a file that is no trail.
    """
    with closing(open_trail_reader(path)) as connection:
        if not has_table(connection, "records"):
            raise sqlite3.DatabaseError("the file holds no audit trail")
        # one state of the file throughout, although a gate may be writing
        connection.execute("BEGIN")
        found = Audited(keyed=any(key.name != KEYLESS for key in keys))
        keyring = Keyring(connection, keys, found)
        pruned, before = _front(connection, found)
        chain = _Chain(connection, keyring, found, place=pruned + 1, before=before)
        books = AuditBooks(connection, found)
        index = IndexCheck(connection, found, pruned)
        told = {head.id: head.hash for head in heads if head.id > pruned}
        for record in chain.walk():
            books.note(record)
            index.note(record)
            if (expected := told.pop(record.id, None)) is not None and expected != record.hash:
                found.remark(Tampering.REPLACED, record.id, record.id, "another record than the head that was told")
        books.close(pruned)
        _check_end(chain, found, told)
        index.close()
        return found


def _front(connection: sqlite3.Connection, found: Audited) -> tuple[int, bytes]:
    """Through which record the trail was pruned, and that record's hash; otherwise, where it begins."""
    checkpoint = connection.execute(
        f"SELECT detail FROM records WHERE kind = 'checkpoint' AND {OF_THE_TRAIL}"  # noqa: S608  # names of ours
        " ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if checkpoint is not None:
        detail = detail_of(checkpoint[0])
        through, through_hash = detail.get("through"), str(detail.get("hash"))
        if type(through) is int and len(through_hash) == 2 * len(GENESIS):
            found.remark(Tampering.PRUNE, 0, through, "pruned by the gate; a checkpoint vouches for it")
            return through, bytes.fromhex(through_hash)
    first = connection.execute("SELECT id, kind, detail FROM records ORDER BY id LIMIT 1").fetchone()
    # the first start of a trail tells where it begins: one that goes on from an earlier release's does not begin at 1
    if first is not None and first[1] == RecordKind.START and detail_of(first[2]).get("begins") == first[0]:
        return first[0] - 1, GENESIS
    return 0, GENESIS


def _check_end(chain: _Chain, found: Audited, told: dict[int, bytes]) -> None:
    """The seal on the newest record, and the heads told elsewhere that no record answers to."""
    last, sealed = found.last, chain.sealed
    if sealed is None and chain.seal_untold:
        words = "the seal on the newest record was made with a key that is not at hand"
        found.remark(Tampering.KEY, last, last, words)
    elif sealed is None:
        found.remark(Tampering.TRUNCATION, last, last, "the seal on the newest record is missing or not the gate's")
    elif sealed.id > last:
        found.remark(Tampering.TRUNCATION, last + 1, sealed.id, "the seal names a later record as the newest")
    elif sealed.id < last:
        found.remark(Tampering.INSERTION, sealed.id + 1, last, "records behind the one that the seal names as newest")
    if beyond := [head_id for head_id in told if head_id > last]:
        many = "a head was told that is" if len(beyond) == 1 else f"{len(beyond)} heads were told that are"
        found.remark(Tampering.TRUNCATION, last + 1, max(beyond), f"{many} not in the trail any more")
    for head_id in sorted(head_id for head_id in told if head_id <= last):
        found.remark(Tampering.DELETION, head_id, head_id, "a head was told whose record is missing")


class _Chain:
    """Goes from record to record, and where one does not fit finds out why.

    `place` is where the next record belongs, `before` the hash that it must follow; `None` when that cannot be known
    and the record is taken at its word. Records are read as standing where they stood when they were written: those
    that were numbered anew are moved back.
    """

    def __init__(
        self, connection: sqlite3.Connection, keyring: Keyring, found: Audited, *, place: int, before: bytes | None
    ) -> None:
        self._keyring = keyring
        self._found = found
        self._place = place
        self._before = before
        query = f"SELECT {', '.join(CONTENT)}, hash FROM records ORDER BY id"  # noqa: S608  # names of ours
        self._source = (StoredRecord(tuple(row[:-1]), row[-1]) for row in connection.execute(query))
        self._ahead: list[StoredRecord] = []
        self._moved = 0
        self.seal_untold = False  # it is there, and whoever made it used a key that is not at hand
        self.sealed = self._read_seal(connection)

    def _read_seal(self, connection: sqlite3.Connection) -> Head | None:
        """The newest record by the gate's own word."""
        row = connection.execute("SELECT id, hash, seal FROM head").fetchone()
        last = connection.execute("SELECT run FROM records ORDER BY id DESC LIMIT 1").fetchone()
        if row is None:
            return None
        of_the_last = self._keyring.of_run(None if last is None else last[0])
        keys = [of_the_last, *self._keyring.all()]
        known = any(key is not None and key.seal(row[0], row[1]) == row[2] for key in keys)
        self.seal_untold = not known and of_the_last is None
        return Head(row[0], row[1]) if known else None

    def walk(self) -> Iterator[StoredRecord]:
        """Every record that is the gate's, or was."""
        while self._fill():
            record = self._ahead[0]
            if record.id < self._place:
                self._found.remark(Tampering.INSERTION, record.id, record.id, "a record in a place that was taken")
                self._ahead.pop(0)
            elif record.id > self._place:
                self._found.remark(Tampering.DELETION, self._place, record.id - 1, "records are missing")
                self._place, self._before = record.id, None
            elif self._fits(record, self._before):
                yield self._keep(record, record.hash)
            elif not (self._is_swapped(record) or self._is_inserted(record) or self._is_renumbered(record)):
                yield self._edited(record)

    def _fill(self) -> bool:
        for stored in islice(self._source, _WINDOW - len(self._ahead)):
            self._ahead.append(stored.moved(self._moved) if self._moved else stored)
        return bool(self._ahead)

    def _keep(self, record: StoredRecord, before: bytes | None) -> StoredRecord:
        self._ahead.pop(0)
        found = self._found
        found.first = found.first if found.records else record.id
        found.records += 1
        found.last = record.id
        self._place, self._before = record.id + 1, before
        return record

    def _fits(
        self, record: StoredRecord, before: bytes | None, *, place: int | None = None, result: bytes | None = None
    ) -> bool:
        """Whether the record, in its place or another, has its hash or another one given what is before it."""
        if before is None:
            return True
        made = self._link(record, before, place)
        return made is None or made == (record.hash if result is None else result)

    def _link(self, record: StoredRecord, before: bytes, place: int | None = None) -> bytes | None:
        key = self._keyring.of_run(record.of("run"))
        try:
            return None if key is None else key.link(before, record.content if place is None else record.at(place))
        except TypeError:
            return b""  # what cannot be printed was never written so

    def _is_swapped(self, record: StoredRecord) -> bool:
        """Two records in each other's place, with their hashes or without."""
        for offset, other in enumerate(self._ahead[1:], start=1):
            travelled = self._fits(other, self._before, place=record.id)
            if not travelled and not self._fits(other, self._before, place=record.id, result=record.hash):
                continue
            hashes = (other.hash, record.hash) if travelled else (record.hash, other.hash)
            behind = hashes[0] if offset == 1 else self._ahead[offset - 1].hash
            if not self._fits(record, behind, place=other.id, result=hashes[1]):
                continue
            self._found.remark(Tampering.SWAP, record.id, other.id, "two records are in each other's place")
            self._ahead[0] = StoredRecord(other.at(record.id), hashes[0])
            self._ahead[offset] = StoredRecord(record.at(other.id), hashes[1])
            return True
        return False

    def _is_inserted(self, record: StoredRecord) -> bool:
        """Records that the chain fits around once those behind have their old numbers; or behind the sealed end."""
        for offset, other in enumerate(self._ahead[1:], start=1):
            if self._fits(other, self._before, place=other.id - offset):
                self._found.remark(
                    Tampering.INSERTION, record.id, record.id + offset - 1, "the chain knows nothing of it"
                )
                del self._ahead[:offset]
                self._move(-offset)
                return True
        if self.sealed is not None and (self.sealed.id, self.sealed.hash) == (self._place - 1, self._before):
            self._ahead.clear()
            rest = list(self._source)
            last = rest[-1].id if rest else record.id
            self._found.remark(Tampering.INSERTION, record.id, last, "behind the record that the seal names as newest")
            return True
        return False

    def _is_renumbered(self, record: StoredRecord) -> bool:
        """Records taken out, and those behind numbered anew so that no place is missing."""
        if len(self._ahead) < 2 or self._fits(self._ahead[1], record.hash):
            return False
        for missing in range(1, _WINDOW):
            if self._fits(self._ahead[1], record.hash, place=self._ahead[1].id + missing):
                self._move(missing)
                return True
        return False

    def _move(self, by: int) -> None:
        self._moved += by
        self._ahead = [each.moved(by) for each in self._ahead]

    def _edited(self, record: StoredRecord) -> StoredRecord:
        follower = self._ahead[1] if len(self._ahead) > 1 else None
        rightful = None if self._before is None else self._link(record, self._before)
        if follower is None or self._fits(follower, record.hash):
            self._found.remark(Tampering.EDIT, record.id, record.id, "it is not what its hash was made of")
            return self._keep(record, record.hash)
        if rightful is not None and self._fits(follower, rightful):
            self._found.remark(Tampering.EDIT, record.id, record.id, "its hash is not the one it was given")
            return self._keep(record, rightful)
        words = "it is not what its hash was made of; nor can the next one be held against it"
        self._found.remark(Tampering.EDIT, record.id, follower.id, words)
        return self._keep(record, None)
