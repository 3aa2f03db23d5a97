"""A reload puts a whole set in force, or changes nothing and says why."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Collection
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from proxy.edge.rule_files import book as rule_book
from proxy.edge.rule_files import reading as rule_reading
from proxy.edge.rule_files.book import RuleBook, start_rules
from proxy.edge.rule_files.files import read_beside, read_rule_files
from proxy.edge.rule_files.watch import Watch, look
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.rule_metrics import ReloadReason, RuleName
from proxy.errors import ConfigErrors, StateUnavailable
from proxy.judge.parse import Parsed, SourceFile, parse_rules
from proxy.judge.verdict import Mode
from proxy.session.lint.findings import Severity
from tests.edge.builders import gate_metrics
from tests.edge.telemetry.test_rule_metrics import samples
from tests.patience import patiently
from tests.running_gate import settings

RULE = """\
  - id: {id}
    description: A rule.
    mode: {mode}
    match: {{session: true}}
    limit: {{count: ops, max: {max}, per: session, window: {window}}}
"""


def rule(name: str = "burst", *, mode: str = "enforce", maximum: int = 5, window: str = "1h") -> str:
    return RULE.format(id=name, mode=mode, max=maximum, window=window)


def write(path: Path, *rules: str) -> None:
    """As an editor does that is careful: at once."""
    beside = path.with_suffix(".new")
    beside.write_text("rules:\n" + "".join(rules))
    beside.rename(path)


def read(folder: Path) -> Parsed:
    sources = [SourceFile(str(path), path.read_text()) for path in sorted(folder.glob("*.yaml"))]
    return parse_rules(sources, [], chains=None, clients=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a.yaml", rule())
    return tmp_path


@pytest.fixture
def metrics() -> Metrics:
    return gate_metrics()


def open_book(folder: Path, metrics: Metrics, ceiling: Mode = Mode.ENFORCE) -> RuleBook:
    return RuleBook(partial(read, folder), partial(look, [str(folder / "*.yaml")]), ceiling=ceiling, metrics=metrics)


@pytest.fixture
def book(folder: Path, metrics: Metrics) -> RuleBook:
    book = open_book(folder, metrics)
    book.load()
    return book


def ids(book: RuleBook) -> list[str]:
    return [rule.id for rule in book.judge.ruleset.rules]


async def until(ready: object, book: RuleBook) -> None:
    for _ in patiently():
        if ids(book) == ready:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(ids(book))


async def test_a_list_that_a_rule_names_is_read_again_when_its_file_changes(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_book, "LOOK_SECONDS", 0.02)
    (tmp_path / "friends.txt").write_text("alice\n")
    (tmp_path / "a.yaml").write_text(
        "lists: {friends: {of: client, file: friends.txt}}\n"
        "rules: [{id: strangers, description: d, match: {client: $friends}}]\n"
    )

    def read_with_lists() -> Parsed:
        sources, tokens, _ = read_rule_files(["*.yaml"], tmp_path)
        return parse_rules(sources, tokens, chains=None, clients=None, beside=read_beside)

    book = RuleBook(read_with_lists, partial(look, [str(tmp_path / "*.yaml")]), ceiling=Mode.ENFORCE, metrics=metrics)
    book.load()
    assert dict(book.ruleset.listed) == {"friends": 1}
    watching = asyncio.create_task(book.watch())
    (tmp_path / "friends.new").write_text("alice\nbob\n")
    (tmp_path / "friends.new").rename(tmp_path / "friends.txt")
    for _ in patiently():
        if dict(book.ruleset.listed) == {"friends": 2}:
            break
        await asyncio.sleep(0.02)
    watching.cancel()
    assert dict(book.ruleset.listed) == {"friends": 2}


# at start


def test_what_is_read_at_start_is_in_force_and_shown(book: RuleBook, metrics: Metrics) -> None:
    assert ids(book) == ["burst"]
    assert samples(metrics, "rule_hits_total") == {("enforce", "burst", "medium"): 0}
    assert samples(metrics, "rules_info") == {(book.ruleset.digest,): 1}
    assert samples(metrics, "rules_last_reload_successful") == {(): 1}
    assert samples(metrics, "rules_last_reload_success_timestamp_seconds")[()] > 1_700_000_000


def test_a_faulty_set_at_start_is_every_fault_with_its_place(folder: Path, metrics: Metrics) -> None:
    write(folder / "a.yaml", rule().replace("window", "windwo"))
    write(folder / "b.yaml", rule("Two"))
    with pytest.raises(ConfigErrors) as caught:
        open_book(folder, metrics).load()
    told = str(caught.value).splitlines()
    assert len(told) >= 2
    assert told[0].startswith(f"{folder / 'a.yaml'}:6:")
    assert all(fault.column for fault in caught.value.faults)
    assert samples(metrics, "rules_last_reload_successful") == {(): 0}


def test_a_rule_shows_in_the_mode_the_gate_leaves_it(folder: Path, metrics: Metrics) -> None:
    write(folder / "a.yaml", rule("one"), rule("two", mode="shadow"), rule("three", mode="off"))
    open_book(folder, metrics, Mode.ALERT).load()
    assert set(samples(metrics, "rule_hits_total")) == {("alert", "one", "medium"), ("shadow", "two", "medium")}


# reload


async def test_a_reload_puts_another_judge_in_force_and_leaves_the_one_in_use_as_it_was(
    book: RuleBook, folder: Path, metrics: Metrics
) -> None:
    judging = book.judge
    write(folder / "a.yaml", rule(maximum=6), rule("new"))
    result = await book.reload(ReloadReason.ADMIN)
    assert (result.ok, result.digest) == (True, book.ruleset.digest)
    assert ids(book) == ["burst", "new"]
    assert [each.id for each in judging.ruleset.rules] == ["burst"]
    assert result.difference.added == ("new",)
    assert samples(metrics, "rules_reload_total")["admin", "success"] == 1
    assert samples(metrics, "rules_loaded") == {(): 2}


async def test_a_faulty_file_leaves_the_last_good_set_in_force_and_every_fault_in_the_log(
    book: RuleBook, folder: Path, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    before = book.judge
    write(folder / "a.yaml", rule().replace("window", "windwo"), rule("two", window="91d"))
    result = await book.reload(ReloadReason.FILE)
    assert not result.ok
    assert book.judge is before
    assert result.digest == before.ruleset.digest
    for fault in result.faults:
        assert str(fault) in caplog.text
    assert len(result.faults) >= 2
    assert samples(metrics, "rules_last_reload_successful") == {(): 0}
    assert samples(metrics, "rules_reload_total")["file", "failure"] == 1
    assert samples(metrics, "rules_info") == {(result.digest,): 1}
    write(folder / "a.yaml", rule("mended"))
    assert (await book.reload(ReloadReason.FILE)).ok
    assert samples(metrics, "rules_last_reload_successful") == {(): 1}


async def test_a_reading_that_breaks_leaves_the_gauge_saying_so(folder: Path, metrics: Metrics) -> None:
    book = open_book(folder, metrics)
    book.load()
    (folder / "a.yaml").chmod(0)
    (folder / "a.yaml").unlink()
    (folder / "a.yaml").mkdir()
    with pytest.raises(OSError, match="directory"):
        await book.reload(ReloadReason.SIGNAL)
    assert samples(metrics, "rules_last_reload_successful") == {(): 0}
    assert ids(book) == ["burst"]


async def test_a_file_that_changes_while_it_is_read_is_read_again(folder: Path, metrics: Metrics) -> None:
    readings = 0

    def read_slowly() -> Parsed:
        nonlocal readings
        readings += 1
        found = read(folder)
        if readings == 2:  # the first was at start
            write(folder / "b.yaml", rule("second-half"))
        return found

    book = RuleBook(read_slowly, partial(look, [str(folder / "*.yaml")]), ceiling=Mode.ENFORCE, metrics=metrics)
    book.load()
    write(folder / "a.yaml", rule("first-half"))
    assert (await book.reload(ReloadReason.FILE)).ok
    assert ids(book) == ["first-half", "second-half"]
    assert readings == 3


async def test_files_that_never_rest_change_nothing(
    folder: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule_book, "_REST_SECONDS", 0.0)
    number = 0

    def read_restless() -> Parsed:
        nonlocal number
        number += 1
        write(folder / "a.yaml", *(rule(f"r{n}") for n in range(number)))
        return read(folder)

    book = RuleBook(read_restless, partial(look, [str(folder / "*.yaml")]), ceiling=Mode.ENFORCE, metrics=metrics)
    book.load()
    before = book.judge
    result = await book.reload(ReloadReason.ADMIN)
    assert [fault.problem for fault in result.faults] == ["the files changed each time they were read"]
    assert book.judge is before


async def test_the_log_says_what_a_reload_changed(
    book: RuleBook, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write(folder / "a.yaml", rule(mode="shadow"), rule("new"))
    await book.reload(ReloadReason.SIGNAL)
    assert "rules reloaded (signal): 2 rules" in caplog.text
    assert "rules: added new in mode enforce" in caplog.text
    assert "rules: changed burst: mode enforce → shadow" in caplog.text


# counts


async def test_counts_of_rules_that_count_as_before_are_kept_and_no_others(book: RuleBook, folder: Path) -> None:
    told: list[Collection[bytes]] = []

    async def keep(identities: Collection[bytes]) -> None:
        told.append(identities)

    await book.keep_counts_in(keep)
    write(folder / "a.yaml", rule(maximum=50, mode="alert"), rule("new"))
    await book.reload(ReloadReason.FILE)
    write(folder / "a.yaml", rule(window="2h"))
    await book.reload(ReloadReason.FILE)
    write(folder / "a.yaml", "faulty")
    await book.reload(ReloadReason.FILE)
    at_start, wider, other_window = told
    assert set(at_start) < set(wider)
    assert len(wider) == 2
    assert not set(other_window) & set(wider)


async def test_a_ledger_that_cannot_forget_does_not_keep_a_set_from_being_in_force(
    book: RuleBook, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def keep(_identities: Collection[bytes]) -> None:
        raise StateUnavailable("the disk is full")

    await book.keep_counts_in(keep)
    write(folder / "a.yaml", rule("new"))
    assert (await book.reload(ReloadReason.FILE)).ok
    assert ids(book) == ["new"]
    assert "the disk is full" in caplog.text


async def test_hits_since_the_start_outlive_a_reload(book: RuleBook, folder: Path, metrics: Metrics) -> None:
    metrics.rules_decided([RuleName("burst", Mode.ENFORCE, Severity.MEDIUM)])
    write(folder / "a.yaml", rule(mode="shadow"))
    await book.reload(ReloadReason.FILE)
    assert book.hits_of("burst") == 1


# by itself


@pytest.fixture
async def running(folder: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(rule_book, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(rule_book, "read_rules", lambda _config: read(folder))
    config = settings("http://127.0.0.1:1", rules=[str(folder / "*.yaml")])
    async with AsyncExitStack() as stack:
        yield start_rules(config, metrics, stack)


async def test_a_changed_a_new_and_a_deleted_file_are_noticed(running: RuleBook, folder: Path) -> None:
    write(folder / "a.yaml", rule("other"))
    await until(["other"], running)
    write(folder / "b.yaml", rule("second"))
    await until(["other", "second"], running)
    (folder / "a.yaml").unlink()
    await until(["second"], running)


async def test_a_half_written_file_is_not_read(
    running: RuleBook, folder: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "rules:\n" + rule("one") + rule("two")
    pieces = [text[start : start + 20] for start in range(0, len(text), 20)]
    look = Watch.is_due
    with (folder / "a.yaml").open("w") as file:

        def a_piece_more_at_each_look(watch: Watch) -> bool:
            if pieces:
                file.write(pieces.pop(0))
                file.flush()
            return look(watch)

        monkeypatch.setattr(Watch, "is_due", a_piece_more_at_each_look)
        await until(["one", "two"], running)
    assert samples(metrics, "rules_reload_total")["file", "failure"] == 0
    assert samples(metrics, "rules_reload_total")["file", "success"] == 1


@pytest.fixture
async def looks(monkeypatch: pytest.MonkeyPatch) -> asyncio.Semaphore:
    """Released once for each look at the files."""
    looked, loop, look = asyncio.Semaphore(0), asyncio.get_running_loop(), Watch.is_due

    def counted(watch: Watch) -> bool:
        loop.call_soon_threadsafe(looked.release)
        return look(watch)

    monkeypatch.setattr(Watch, "is_due", counted)
    return looked


async def test_a_faulty_file_is_told_once_and_not_at_each_look(
    running: RuleBook, folder: Path, metrics: Metrics, looks: asyncio.Semaphore
) -> None:
    write(folder / "a.yaml", "faulty")
    while not samples(metrics, "rules_reload_total")["file", "failure"]:
        await looks.acquire()
    for _ in range(10):
        await looks.acquire()
    assert samples(metrics, "rules_reload_total")["file", "failure"] == 1
    write(folder / "a.yaml", rule("mended"))
    await until(["mended"], running)


async def test_what_breaks_in_a_reading_does_not_end_the_watch(
    running: RuleBook, folder: Path, caplog: pytest.LogCaptureFixture, looks: asyncio.Semaphore
) -> None:
    (folder / "b.yaml").mkdir()
    while "reading the rules again failed" not in caplog.text:
        await looks.acquire()
    (folder / "b.yaml").rmdir()
    write(folder / "a.yaml", rule("mended"))
    await until(["mended"], running)


async def test_a_hangup_signal_reads_the_rules_again(running: RuleBook, folder: Path, metrics: Metrics) -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    for _ in patiently():
        if samples(metrics, "rules_reload_total")["signal", "success"] == 1:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not reloaded")


# with the settings


async def test_the_files_that_the_settings_name_are_read_and_their_chains_and_clients_known(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    write(tmp_path / "rules" / "a.yaml", rule().replace("session: true", "chain: sonieum, client: trading-dap"))
    path = tmp_path / "sessiongate.yaml"
    path.write_text(
        "mod: shadow\nrules: [rules/*.yaml, absent/*.yaml]\n"
        "chains: {soneium: {chain_id: 1868, bundlers: [http://127.0.0.1:1]}}\n"
        "clients: [{name: trading-dapp, api_key: long-enough}]\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        rule_reading.load_with_rules(path, {})
    told = str(caught.value)
    assert f"{path}:1: unknown key 'mod'" in told
    assert f"{path}:2: rules: nothing matches {tmp_path / 'absent/*.yaml'}" in told
    path.write_text(path.read_text().replace("mod: shadow\n", "").replace(", absent/*.yaml", ""))
    with pytest.raises(ConfigErrors) as caught:
        rule_reading.load_with_rules(path, {})
    told = str(caught.value)
    assert "sonieum" in told
    assert "trading-dap" in told
    write(tmp_path / "rules" / "a.yaml", rule().replace("session: true", "chain: soneium, client: trading-dapp"))
    config = rule_reading.load_with_rules(path, {})
    parsed = rule_reading.read_rules(config)
    assert parsed.ruleset is not None
    assert [each.id for each in parsed.ruleset.rules] == ["burst"]
