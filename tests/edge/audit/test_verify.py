"""Whoever alters a trail is found out, and what was done is told apart: wherever in it it was done."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.edge.audit.appending import Head
from proxy.edge.audit.chain import KEYLESS, NO_KEY, ChainKey, canonical, chain_key
from proxy.edge.audit.door import Bounds
from proxy.edge.audit.remarks import Audited, Tampering
from proxy.edge.audit.schema import CONTENT
from proxy.edge.audit.space import DiskBudget
from proxy.edge.audit.verify import verify_trail
from proxy.edge.audit.writer import WriterSettings
from proxy.judge.upstream_answer import UpstreamAnswer
from tests.edge.audit.trails import record, writing
from tests.edge.builders import NOW, OUT_OF_SCOPE, decision

KEY = chain_key("a secret of some length")
DECISIONS = 20
RECORDS = 2 * DECISIONS + 2  # a start, decisions with their answers, a stop
INNER = st.integers(2, RECORDS - 1)


def write(path: Path, *, key: ChainKey = KEY, first: int = 0) -> None:
    with writing(path, settings=WriterSettings(key=key)) as writer:
        for number in range(first, first + DECISIONS):
            verdict = {"verdict": OUT_OF_SCOPE} if number % 3 == 0 else {}
            record(writer, decision(f"d-{number}", upstream=UpstreamAnswer(result=f"0x{number:02x}"), **verdict))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail that nobody touched."""
    path = tmp_path_factory.mktemp("trail") / "audit.db"
    write(path)
    return path


@contextmanager
def copy_of(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "audit.db"
        shutil.copy(path, copied)
        yield copied


def change(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement, values in statements:
            connection.execute(statement, values)


def newest(path: Path) -> Head:
    with closing(sqlite3.connect(path)) as connection:
        return Head(*connection.execute("SELECT id, hash FROM records ORDER BY id DESC LIMIT 1").fetchone())


def found(path: Path, *heads: Head, key: ChainKey = KEY) -> list[tuple[str, int, int]]:
    return [(each.what, each.first, each.last) for each in look(path, *heads, key=key).remarks]


def look(path: Path, *heads: Head, key: ChainKey = KEY) -> Audited:
    return verify_trail(path, () if key is NO_KEY else (key,), heads)


def renumber(path: Path, first: int, by: int) -> None:
    """Records from `first` on get other places, as somebody would who wants no place missing."""
    far = 1_000_000
    change(
        path,
        ("UPDATE records SET id = id + ? WHERE id >= ?", (far, first)),
        ("UPDATE records SET id = id - ? WHERE id > ?", (far - by, far)),
        ("UPDATE head SET id = id + ?", (by,)),
    )


def put_copy(path: Path, source: int, place: int) -> None:
    rest = ", ".join((*CONTENT[1:], "hash"))
    change(path, (f"INSERT INTO records (id, {rest}) SELECT ?, {rest} FROM records WHERE id = ?", (place, source)))


@pytest.mark.parametrize("key", [KEY, NO_KEY], ids=["keyed", "plain"])
def test_a_trail_nobody_touched_is_intact(tmp_path: Path, key: ChainKey) -> None:
    for run in range(3):
        write(tmp_path / "audit.db", key=key, first=run * DECISIONS)
    checked = look(tmp_path / "audit.db", newest(tmp_path / "audit.db"), key=key)
    assert (checked.remarks, checked.records, checked.intact) == ([], 3 * RECORDS, True)


EDITS = [
    ("unix_time", 1.5),
    ("client", "somebody else"),
    ("verdict", "allow"),
    ("code", -1),
    ("account", bytes(20)),
    ("reasons", "[]"),
    ("detail", "{}"),
    ("seq", 10_000),
    ("decision_id", "d-x"),
    ("hash", bytes(32)),
]


@settings(deadline=None, max_examples=60)
@given(place=INNER, edit=st.sampled_from(EDITS))
def test_an_edited_record_is_named(whole: Path, place: int, edit: tuple[str, object]) -> None:
    column, value = edit
    with copy_of(whole) as path, closing(sqlite3.connect(path)) as connection:
        (before,) = connection.execute(f"SELECT {column} FROM records WHERE id = ?", (place,)).fetchone()
        change(path, (f"UPDATE records SET {column} = ? WHERE id = ?", (value, place)))
        remarks = found(path)
        assert ((Tampering.EDIT, place, place) in remarks) is (before != value)
        assert all(
            what in (Tampering.EDIT, Tampering.GAP) and first in (place, place + 1) for what, first, _ in remarks
        )


@settings(deadline=None, max_examples=40)
@given(first=INNER, count=st.integers(1, 5), numbered_anew=st.booleans())
def test_deleted_records_are_named_whether_their_places_are_closed_or_not(
    whole: Path, first: int, count: int, numbered_anew: bool
) -> None:
    last = min(first + count, RECORDS - 2) - 1
    if last < first:
        return
    with copy_of(whole) as path:
        change(path, ("DELETE FROM records WHERE id BETWEEN ? AND ?", (first, last)))
        if numbered_anew:
            renumber(path, last + 1, first - last - 1)
        assert (Tampering.DELETION, first, last) in found(path)


@settings(deadline=None, max_examples=40)
@given(source=INNER, place=INNER, count=st.integers(1, 4))
def test_inserted_records_are_named(whole: Path, source: int, place: int, count: int) -> None:
    # a copy of a record put before the one that it follows may as well be two swapped and another copy of it
    assume(source != place + 1)
    with copy_of(whole) as path:
        renumber(path, place, count)
        for number in range(count):
            put_copy(path, source if source < place else source + count, place + number)
        # of a record and its copies in one place nobody can say which was first
        begins = place + 1 if source == place else place
        assert (Tampering.INSERTION, begins, begins + count - 1) in found(path)


@settings(deadline=None, max_examples=40)
@given(first=INNER, second=INNER, with_hashes=st.booleans())
def test_swapped_records_are_named(whole: Path, first: int, second: int, with_hashes: bool) -> None:
    if first == second:
        return
    first, second = sorted((first, second))
    with copy_of(whole) as path:
        names = ", ".join((*CONTENT[1:], *(("hash",) if with_hashes else ())))
        with closing(sqlite3.connect(path)) as connection, connection:
            one, other = (
                connection.execute(f"SELECT {names} FROM records WHERE id = ?", (place,)).fetchone()
                for place in (first, second)
            )
            for place, values in ((first, other), (second, one)):
                marks = ", ".join(f"{name} = ?" for name in names.split(", "))
                connection.execute(f"UPDATE records SET {marks} WHERE id = ?", (*values, place))
        remarks = found(path)
        assert remarks == [(Tampering.SWAP, first, second)]


@settings(deadline=None, max_examples=20)
@given(kept=st.integers(1, RECORDS - 1))
def test_what_is_cut_off_at_the_end_shows_by_the_seal(whole: Path, kept: int) -> None:
    with copy_of(whole) as path:
        change(path, ("DELETE FROM records WHERE id > ?", (kept,)))
        assert (Tampering.TRUNCATION, kept + 1, RECORDS) in found(path)


def test_an_older_copy_of_the_file_is_found_out_by_a_head_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    write(path)
    with copy_of(path) as older:
        write(path, first=DECISIONS)
        told = newest(path)
        assert found(path, told) == []
        assert found(older) == []
        assert found(older, told) == [(Tampering.TRUNCATION, RECORDS + 1, 2 * RECORDS)]
        # and still after a gate has gone on writing in it
        write(older, first=DECISIONS)
        write(older, first=2 * DECISIONS)
        assert found(older, told) == [(Tampering.REPLACED, 2 * RECORDS, 2 * RECORDS)]


def test_a_cut_stays_visible_after_a_gate_has_gone_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    write(path)
    change(path, ("DELETE FROM records WHERE id > 10", ()))
    write(path, first=DECISIONS)
    assert (Tampering.DELETION, 11, RECORDS) in found(path)


def forge(path: Path, place: int, key: ChainKey) -> None:
    """Edit a record and make every hash anew from there on, with a key of one's own or none."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE records SET client = 'forged' WHERE id = ?", (place,))
        (before,) = connection.execute("SELECT hash FROM records WHERE id = ?", (place - 1,)).fetchone()
        names = ", ".join(CONTENT)
        for row in connection.execute(f"SELECT {names} FROM records WHERE id >= ? ORDER BY id", (place,)).fetchall():
            before = key.link(before, row)
            connection.execute("UPDATE records SET hash = ? WHERE id = ?", (before, row[0]))
        connection.execute("UPDATE head SET hash = ?, seal = ?", (before, key.seal(RECORDS, before)))


@pytest.mark.parametrize("key", [KEY, NO_KEY], ids=["keyed", "plain"])
def test_a_record_put_behind_the_one_that_the_seal_names_is_an_insertion_be_its_hash_right_or_not(
    tmp_path: Path, key: ChainKey
) -> None:
    path = tmp_path / "audit.db"
    write(path, key=key)
    put_copy(path, 7, RECORDS + 1)
    assert (Tampering.INSERTION, RECORDS + 1, RECORDS + 1) in found(path, key=key)
    with closing(sqlite3.connect(path)) as connection, connection:
        (before,) = connection.execute("SELECT hash FROM records WHERE id = ?", (RECORDS,)).fetchone()
        (row,) = connection.execute(f"SELECT {', '.join(CONTENT)} FROM records WHERE id = ?", (RECORDS + 1,)).fetchall()
        connection.execute("UPDATE records SET hash = ? WHERE id = ?", (key.link(before, row), RECORDS + 1))
    assert (Tampering.INSERTION, RECORDS + 1, RECORDS + 1) in found(path, key=key)


@given(st.lists(st.none() | st.text() | st.binary() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)))
def test_a_record_is_hashed_as_a_list_of_its_columns_with_bytes_in_hex(content: list[object]) -> None:
    hexed = [value.hex() if isinstance(value, bytes) else value for value in content]
    assert canonical(tuple(content)) == orjson.dumps(hexed)


@pytest.mark.parametrize("forger", [NO_KEY, chain_key("another secret of some length")], ids=["plain", "other key"])
def test_nobody_without_the_key_can_forge_a_chain_that_fits(whole: Path, forger: ChainKey) -> None:
    with copy_of(whole) as path:
        forge(path, 7, forger)
        checked = look(path)
        assert not checked.intact
        assert {each.what for each in checked.remarks} >= {Tampering.EDIT, Tampering.TRUNCATION}


def test_without_a_key_a_chain_made_anew_is_found_out_by_a_told_head_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    write(path, key=NO_KEY)
    told = newest(path)
    forge(path, 7, NO_KEY)
    assert found(path, key=NO_KEY) == []
    assert found(path, told, key=NO_KEY) == [(Tampering.REPLACED, RECORDS, RECORDS)]


def test_a_run_written_without_the_key_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    write(path)
    write(path, key=NO_KEY, first=DECISIONS)
    assert (Tampering.KEY, RECORDS + 1, RECORDS + 1) in found(path)


def test_a_key_that_is_not_at_hand_is_told_and_an_earlier_one_may_be_given_beside_the_present(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    earlier = chain_key("the key of last year, say")
    write(path, key=earlier)
    write(path, first=DECISIONS)
    assert found(path) == [(Tampering.KEY, 1, 1)]
    assert verify_trail(path, (KEY, earlier)).remarks == []
    # the other way round the seal, too, is of the key that is missing: nothing says that something was cut off
    remarks = found(path, key=earlier)
    assert [what for what, _, _ in remarks] == [Tampering.KEY, Tampering.KEY]


EARLIER = chain_key("the key of last year, say")


@pytest.fixture(scope="module")
def of_two_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail whose first run was written with an earlier key."""
    path = tmp_path_factory.mktemp("keys") / "audit.db"
    write(path, key=EARLIER)
    write(path, first=DECISIONS)
    return path


RENUMBERED = (
    ("UPDATE records SET id = 1 - id WHERE id > 5", ()),
    ("UPDATE records SET id = -id WHERE id < 0", ()),
)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        ((("DELETE FROM records WHERE id = 1", ()),), (Tampering.DELETION, 1, 1)),
        ((("DELETE FROM records WHERE id <= 5", ()),), (Tampering.DELETION, 1, 5)),
        ((("DELETE FROM records WHERE id = ?", (RECORDS + 1,)),), (Tampering.DELETION, RECORDS + 1, RECORDS + 1)),
        ((("DELETE FROM records WHERE id = 5", ()), *RENUMBERED), (Tampering.DELETION, 5, 5)),
    ],
    ids=["first start", "front", "second start", "renumbered"],
)
def test_what_was_taken_out_is_told_and_nothing_else_whatever_key_the_rest_was_written_with(
    of_two_keys: Path, statements: tuple[tuple[str, tuple[object, ...]], ...], told: tuple[str, int, int]
) -> None:
    with copy_of(of_two_keys) as path:
        change(path, *statements)
        remarks = [(each.what, each.first, each.last) for each in verify_trail(path, (KEY, EARLIER)).remarks]
        # a start that is missing, and rules of decisions that are missing, are told of that as well
        assert told in remarks
        assert {what for what, _, _ in remarks} <= {Tampering.DELETION, Tampering.INDEX, Tampering.CRASH}, remarks


@pytest.mark.parametrize("name", ["feedfacefeedface", KEYLESS, EARLIER.name])
@pytest.mark.parametrize(
    ("others", "told"),
    [((), [(1, 1)]), ((9,), [(1, 1), (9, 9)]), ((2, 9), [(1, 2), (9, 9)])],
    ids=["alone", "and another", "and the one behind"],
)
def test_an_edited_start_that_names_another_key_hides_no_edit_of_its_run(
    whole: Path, name: str, others: tuple[int, ...], told: list[tuple[int, int]]
) -> None:
    with copy_of(whole) as path:
        change(path, ("UPDATE records SET detail = replace(detail, ?, ?) WHERE id = 1", (KEY.name, name)))
        change(path, *(("UPDATE records SET client = 'x' WHERE id = ?", (place,)) for place in others))
        remarks = [(each.what, each.first, each.last) for each in verify_trail(path, (KEY, EARLIER)).remarks]
        assert remarks == [(Tampering.EDIT, *each) for each in told]


def test_a_run_without_its_start_is_not_taken_for_one_that_needs_no_key(whole: Path) -> None:
    with copy_of(whole) as path:
        change(path, ("UPDATE records SET kind = 'deed' WHERE kind = 'start'", ()))
        forge(path, 2, NO_KEY)
        assert Tampering.EDIT in {each.what for each in look(path).remarks}


def test_pruning_by_the_gate_is_no_tampering_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    write(path)
    told = newest(path)
    with writing(path, settings=pruning(path), clock=lambda: NOW + 1e9) as writer:
        while not any(what == Tampering.PRUNE for what, _, _ in found(path)):
            pass
        record(writer, decision("later", unix_time=NOW + 1e9))
    checked = look(path, told)
    assert {each.what for each in checked.remarks} == {Tampering.PRUNE}
    assert checked.intact


def pruning(_path: Path) -> WriterSettings:
    return WriterSettings(key=KEY, budget=DiskBudget(max_bytes=1 << 30, retention_seconds=10))


def test_records_deleted_from_the_beginning_without_a_checkpoint_are_a_deletion(whole: Path) -> None:
    with copy_of(whole) as path:
        change(path, ("DELETE FROM records WHERE id <= 9", ()))
        assert found(path)[0] == (Tampering.DELETION, 1, 9)


def test_a_killed_gate_is_told_from_tampering(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    write(path)
    change(path, ("DELETE FROM records WHERE id = ?", (RECORDS,)))
    seal(path)
    write(path, first=DECISIONS)
    checked = look(path)
    assert [(each.what, each.first) for each in checked.remarks] == [(Tampering.CRASH, RECORDS - 1)]
    assert checked.intact


def seal(path: Path) -> None:
    """As the file is when its gate was killed after its last commit."""
    last = newest(path)
    change(path, ("UPDATE head SET id = ?, hash = ?, seal = ?", (last.id, last.hash, KEY.seal(last.id, last.hash))))


def test_what_found_no_room_is_told_by_a_gap_and_is_no_tampering(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    with writing(path, settings=WriterSettings(key=KEY, bounds=Bounds(notes=5), commit_seconds=0.2)) as writer:
        for number in range(9):
            record(writer, decision(f"d-{number}"))
    checked = look(path)
    assert [(each.what, each.sentence) for each in checked.remarks] == [
        (Tampering.GAP, "4 records lost before they were written: no room in the queue")
    ]
    assert checked.intact


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: change(path, ("INSERT INTO fired VALUES ('nobody', 3)", ())),
        lambda path: change(path, ("DELETE FROM fired", ())),
    ],
    ids=["added", "removed"],
)
def test_the_way_to_records_by_rule_is_held_against_them(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    from tests.judge.builders import Scene, facts, judge_of  # only here

    path = tmp_path / "audit.db"
    hits = Scene(judge_of("- {id: refuses, description: No operations., mode: enforce}")).look(facts()).hits
    with writing(path, settings=WriterSettings(key=KEY)) as writer:
        record(writer, decision("a", hits=hits))
    assert found(path) == []
    spoil(path)
    assert {what for what, _, _ in found(path)} == {Tampering.INDEX}


def test_a_file_that_holds_no_trail_is_refused(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(sqlite3.DatabaseError, match="no audit trail"):
        verify_trail(tmp_path / "other.db")
