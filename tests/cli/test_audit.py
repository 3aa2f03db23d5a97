"""`sessiongate audit` finds decisions by what they are about, and leads from permission id to userOpHash and back."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path

import pytest

from proxy.cli.options import read_since
from proxy.edge.admin.audit_page import read_page, wanted_page
from proxy.edge.audit.reading import AuditFilter, Trail
from proxy.edge.audit.writer import AuditWriter
from proxy.edge.storage.store import Store
from proxy.errors import Code, Reason
from proxy.judge.upstream_answer import UpstreamAnswer
from proxy.judge.verdict import Allow, Mode, Reject
from proxy.session.outcome import Waived
from proxy.userop.primitives import print_bytes, print_checksummed
from tests.cli.conftest import Run
from tests.edge.audit.trails import begin, record, writing
from tests.edge.builders import (
    ACCOUNT,
    NOW,
    OTHER_ACCOUNT,
    OTHER_PERMISSION,
    OUT_OF_SCOPE,
    PERMISSION,
    TARGET,
    USER_OP_HASH,
    decision,
)
from tests.judge.builders import Scene, facts, judge_of


@pytest.fixture
def trail(tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    begin(writer)
    hits = Scene(judge_of("- {id: refuses, description: No operations., mode: shadow}")).look(facts()).hits
    record(writer, decision("a", unix_time=NOW, hits=hits))
    record(writer, decision("b", unix_time=NOW + 1, verdict=OUT_OF_SCOPE, mode=Mode.SHADOW))
    answer = UpstreamAnswer(error_code=-32500, error_message="AA23 reverted")
    record(writer, decision("c", unix_time=NOW + 2, permission_id=OTHER_PERMISSION, user_op_hash=None, upstream=answer))
    writer.stop()


def ids(output: str) -> list[str]:
    return [json.loads(line)["decisionId"] for line in output.splitlines()]


@pytest.mark.usefixtures("trail")
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ["a", "b", "c"]),
        (["--limit", "2"], ["b", "c"]),
        (["--verdict", "reject"], ["b"]),
        (["--permission-id", print_bytes(PERMISSION)], ["a", "b"]),
        (["--user-op-hash", print_bytes(USER_OP_HASH), "--verdict", "allow"], ["a"]),
        (["--account", print_checksummed(ACCOUNT)], ["a", "b", "c"]),
        (["--since", str(int(NOW) + 1)], ["b", "c"]),
        (["--since", "2023-11-14T22:13:21", "--until", "2023-11-14 22:13:22"], ["b"]),
        (["--session", print_bytes(OTHER_PERMISSION)], ["c"]),
        (["--hash", print_bytes(USER_OP_HASH), "--code", "session_scope"], ["b"]),
        (["--code", "-32054"], ["b"]),
        (["--decision-id", "c"], ["c"]),
        (["--chain", "soneium", "--client", "trading-dapp", "--all"], ["a", "b", "c"]),
        (["--show", "sends"], ["a", "b", "c"]),
        (["--rule", "refuses"], ["a"]),
    ],
)
def test_finds_decisions(run: Run, arguments: list[str], found: list[str]) -> None:
    result = run("audit", *arguments, "--json")
    assert (result.exit_code, ids(result.stdout)) == (0, found)


@pytest.mark.usefixtures("trail")
def test_tells_people_who_asked_for_what_and_what_was_said(run: Run) -> None:
    printed = run("audit", "--verdict", "reject").stdout
    for wanted in (
        "2023-11-14 22:13:21  reject session_scope  soneium  trading-dapp  eth_sendUserOperation  (mode shadow)",
        f"userOpHash {print_bytes(USER_OP_HASH)}",
        f"permission {print_bytes(PERMISSION)}  use",
        f"call 0     {print_checksummed(TARGET)} transfer(address,uint256) with 1000000000000000000 wei",
        "reason     call 0: target is in none of the session's actions; call an allowed target,",
        "bundler    never asked",
    ):
        assert wanted in printed


@pytest.mark.usefixtures("trail")
def test_tells_people_what_the_bundler_answered(run: Run) -> None:
    printed = run("audit", "--permission-id", print_bytes(OTHER_PERMISSION)).stdout
    assert "bundler    error -32500: AA23 reverted" in printed


def test_tells_people_which_rules_fired_those_in_shadow_too(run: Run, tmp_path: Path) -> None:
    rules = """
    - {id: refuses, description: No operations., mode: enforce}
    - {id: listens, description: An operation., mode: shadow, severity: low}
    """
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    begin(writer)
    record(writer, decision("a", hits=Scene(judge_of(rules)).look(facts()).hits))
    writer.stop()
    printed = run("audit").stdout
    assert "    rule       refuses (medium, enforce): No operations\n" in printed
    assert "    rule       listens (low, shadow): An operation\n" in printed


@pytest.mark.usefixtures("trail")
def test_csv_has_a_heading_and_a_row_for_each_decision(run: Run) -> None:
    heading, *rows = csv.reader(run("audit", "--csv").stdout.splitlines())
    assert [row[heading.index("decisionId")] for row in rows] == ["a", "b", "c"]
    assert rows[1][heading.index("reason")] == "session_scope"
    assert rows[2][heading.index("upstreamCode")] == "-32500"


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(run: Run, tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    begin(writer)
    record(writer, decision("a", upstream=UpstreamAnswer(error_code=-1, error_message="=cmd|' /C calc'!A0")))
    writer.stop()
    assert "'=cmd" in run("audit", "--csv").stdout


@pytest.mark.usefixtures("trail")
def test_starts_and_stops_are_listed_apart(run: Run) -> None:
    kinds = [json.loads(line)["kind"] for line in run("audit", "--show", "trail", "--json").stdout.splitlines()]
    assert kinds == ["start", "stop"]
    assert "  stop\n" in run("audit", "--show", "trail").stdout
    assert run("audit", "--show", "deeds").exit_code == 1
    assert run("audit", "--show", "deeds", "--csv").exit_code == 2


OF_THE_COMMAND = {
    "rule": ("--rule", "refuses"),
    "client": ("--client", "trading-dapp"),
    "chain": ("--chain", "soneium"),
    "code": ("--code", "session_scope"),
    "verdict": ("--verdict", "reject"),
    "permissionId": ("--session", print_bytes(OTHER_PERMISSION)),
    "account": ("--account", print_checksummed(ACCOUNT)),
    "userOpHash": ("--hash", print_bytes(USER_OP_HASH)),
    "decisionId": ("--decision-id", "c"),
    "since": ("--since", "2023-11-14T22:13:21"),
    "until": ("--until", "2023-11-14 22:13:22"),
    "asked": ("--show", "estimates"),
}
"""What the admin listener calls each filter of the command, and something to look for by it."""


@pytest.fixture
def varied(tmp_path: Path) -> Trail:
    """Of whatever may be looked for some records, and some others."""
    path = tmp_path / "ledger.audit.db"
    hits = Scene(judge_of("- {id: refuses, description: No operations., mode: shadow}")).look(facts()).hits
    with writing(path) as writer:
        record(writer, decision("a", hits=hits, chain="base"))
        record(writer, decision("b", unix_time=NOW + 1, verdict=OUT_OF_SCOPE, client="another"))
        record(writer, decision("c", unix_time=NOW + 2, permission_id=OTHER_PERMISSION, user_op_hash=None))
        record(writer, decision("d", unix_time=NOW + 3, account=OTHER_ACCOUNT, method="eth_estimateUserOperationGas"))
    return Trail(path)


@pytest.mark.parametrize("name", OF_THE_COMMAND)
def test_command_and_admin_listener_find_the_same_by_each_filter_and_print_it_alike(
    run: Run, varied: Trail, name: str
) -> None:
    option, value = OF_THE_COMMAND[name]
    lines = run("audit", option, value, "--json").stdout
    assert 0 < len(lines.splitlines()) < 4
    for form, flag in (("jsonl", "--json"), ("csv", "--csv")):
        page = read_page(varied, *wanted_page({name: value, "format": form}, NOW))
        assert page.body.decode().splitlines() == run("audit", option, value, flag).stdout.splitlines()


def test_each_filter_of_the_audit_is_one_of_the_command_and_of_the_admin_listener() -> None:
    of_pages = {"after_id", "until_id", "limit"}
    names = {field.name for field in fields(AuditFilter)} - of_pages
    assert len(OF_THE_COMMAND) == len(names)
    asked = {name: "sends" if name == "asked" else value for name, (_, value) in OF_THE_COMMAND.items()}
    wanted, _, _ = wanted_page(asked, NOW)
    assert all(getattr(wanted, name) is not None for name in names)


def test_what_operators_did_is_listed_with_a_space_after_each_name(run: Run) -> None:
    permission_id = "0x" + "ab" * 32
    assert run("freeze", permission_id, "--reason", "lost").exit_code == 1  # there is no ledger yet
    Store("ledger.db").close()
    assert run("freeze", permission_id, "--reason", "lost").exit_code == 0
    listed = run("audit", "--show", "deeds").stdout
    assert f"    permission id {permission_id}\n" in listed
    assert "    why        lost\n" in listed


@pytest.mark.usefixtures("trail")
def test_finding_nothing_is_exit_code_1(run: Run) -> None:
    result = run("audit", "--permission-id", "0x" + "00" * 32)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "no decision matches\n")


@pytest.mark.usefixtures("trail")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (("--chain", "sonium"), "the settings have no chain 'sonium'; did you mean \"soneium\"?\n"),
        (("--client", "somebody"), "the settings have no client 'somebody'\n"),
        (("--chain", "soneium", "--client", "anonymous", "--code", "rate_limited"), ""),
    ],
)
def test_where_nothing_is_found_a_name_that_the_settings_do_not_have_is_told(
    run: Run, name: tuple[str, ...], told: str
) -> None:
    result = run("audit", *name)
    assert (result.exit_code, result.stderr) == (1, f"no decision matches\n{told}")


@pytest.mark.usefixtures("trail")
def test_follow_ends_quietly_at_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proxy.edge.audit.reading.time.sleep", interrupt)
    result = run("audit", "--follow", "--json")
    assert (result.exit_code, ids(result.stdout)) == (0, ["a", "b", "c"])


def test_a_ledger_that_is_none_ends_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ledger.audit.db").write_bytes(b"this is no database at all, but a text of some length" * 20)
    result = run("audit")
    assert result.exit_code == 2
    assert "cannot be read: file is not a database" in result.stderr


def test_since_counts_back_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.cli.options.time.time", lambda: NOW)
    assert read_since("90s") == NOW - 90
    assert read_since("15m") == NOW - 900
    assert read_since("2h") == NOW - 7200
    assert read_since("7d") == NOW - 604_800
    assert read_since("2023-11-14T22:13:20Z") == NOW


def test_what_alerts_send_people_to_look_for_is_shown_whether_the_key_signed_and_what_was_passed_without(
    run: Run, tmp_path: Path
) -> None:
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    begin(writer)
    for number, signed in enumerate((True, False, None)):
        revoked = Reason(code=Code.SESSION_REVOKED, sentence="removed on chain", remedy="ask again", signed=signed)
        record(writer, decision(f"revoked-{number}", verdict=Reject((revoked,))))
    record(writer, decision("waived", verdict=Allow((), (Waived.POLICY,))))
    record(writer, decision("opened", opened=("burst",)))
    writer.stop()
    reasons = [line for line in run("audit", "--code", "session_revoked").stdout.splitlines() if "reason " in line]
    assert [line.rpartition("; ")[2] for line in reasons] == ["its key signed", "its key did not sign", "ask again"]
    passed = [line for line in run("audit", "--verdict", "allow").stdout.splitlines() if "passed " in line]
    assert [line.split(maxsplit=1)[1] for line in passed] == ["without facts policy", "without rules burst"]


def test_the_plain_list_names_the_decision_and_puts_the_bundlers_error_into_words(run: Run, tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    begin(writer)
    said = UpstreamAnswer(error_code=-32500, error_message="AA21 didn't pay prefund")
    record(writer, decision("decision-7", upstream=said))
    writer.stop()
    printed = run("audit", "--decision-id", "decision-7").stdout
    assert "decision   decision-7" in printed
    assert "error -32500: AA21 didn't pay prefund" in printed
    assert "meaning    AA21: deposit and balance of the account do not cover" in printed
    (row,) = (json.loads(line) for line in run("audit", "--decision-id", "decision-7", "--json").stdout.splitlines())
    assert row["upstream"]["error_message"] == "AA21 didn't pay prefund"
    assert row["meaning"].startswith("AA21: ")
