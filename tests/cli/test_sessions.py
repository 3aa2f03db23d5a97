"""`sessiongate sessions` shows what the ledger holds, what the settings declare, and what is frozen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.edge.audit.writer import AuditWriter
from proxy.edge.storage.store import Store
from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import Counter, SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import KnownSession, Source, Status
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.policy import Initialised
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.primitives import Address, Hash32, Selector, print_bytes, print_checksummed
from proxy.userop.session_data import action_id_of
from tests.cli.conftest import DECLARED, Run
from tests.edge.audit.trails import begin, record
from tests.edge.builders import ACCOUNT, NOW, OTHER_ACCOUNT, PERMISSION, USER_OP_HASH, decision

USAGE_LIMIT = Address(bytes.fromhex("00000000001d4479fa2a947026204d0283cede4b"))
TIME_FRAME = Address(bytes.fromhex("8177451511de0577b911c254e9551d981c26dc72"))
SPENDING = Address(bytes.fromhex("000000000033212e272655d8a22402db819477a6"))
TOKEN = Address(b"\x22" * 20)
TRANSFER = Selector(bytes.fromhex("a9059cbb"))
KEY = SessionKey(1868, SMART_SESSION, ACCOUNT, PERMISSION)


def state() -> SessionState:
    action_id = action_id_of(TOKEN, TRANSFER)
    granted = SessionState(
        key=KEY,
        status=SessionStatus.ENABLED,
        session_validator=Address(bytes.fromhex("000000000013fdb5234e4e3162a810f54d9f7e98")),
        user_op_policies=(USAGE_LIMIT,),
        actions={action_id: (USAGE_LIMIT,)},
        targets={action_id: (TOKEN, TRANSFER)},
    )
    known = granted.with_policy_config(USAGE_LIMIT, granted.action_config_id(action_id), Initialised(UsageLimit(7)))
    counter = Counter(SMART_SESSION, ACCOUNT, USAGE_LIMIT, granted.action_config_id(action_id))
    return known.with_policy_config(
        USAGE_LIMIT, granted.action_config_id(action_id), Initialised(UsageLimit(7), {counter.slot: 4})
    )


def keep(folder: Path, sessions: Sequence[KnownSession], freezes: Sequence[Freeze] = ()) -> None:
    async def save(store: Store) -> None:
        for session in sessions:
            await store.save_session(session)
        for freeze in freezes:
            await store.save_freeze(freeze)

    with closing(Store(folder / "ledger.db")) as store:
        asyncio.run(save(store))


@pytest.fixture
def kept(tmp_path: Path) -> None:
    other = SessionKey(1, SMART_SESSION, OTHER_ACCOUNT, Hash32(b"\xcc" * 32))
    keep(
        tmp_path,
        [
            KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=NOW, state=state(), block=9),
            KnownSession(key=other, status=Status.REMOVED, source=Source.GRANT, updated_at=NOW + 1),
        ],
        [Freeze(permission_id=PERMISSION, account=ACCOUNT, since=NOW, note="lost phone")],
    )


def listed(run: Run, *arguments: str) -> list[dict[str, object]]:
    result = run("sessions", "list", "--json", *arguments)
    assert result.exit_code == 0
    rows: list[dict[str, object]] = json.loads(result.stdout)
    return rows


@pytest.mark.usefixtures("kept")
def test_lists_the_newest_first_and_the_declared_ones_last(run: Run) -> None:
    rows = listed(run)
    assert [row["status"] for row in rows] == ["removed", "in_force", "declared"]
    assert [row["chain"] for row in rows] == ["1", "soneium", "soneium"]
    assert rows[1] == {
        "permissionId": print_bytes(PERMISSION),
        "account": print_checksummed(ACCOUNT),
        "chain": "soneium",
        "module": print_checksummed(SMART_SESSION),
        "status": "in_force",
        "frozen": True,
        "source": "node",
        "updatedAt": "2023-11-14T22:13:20Z",
    }


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--account", print_checksummed(ACCOUNT)], ["in_force"]),
        (["--status", "removed"], ["removed"]),
        (["--chain", "soneium"], ["in_force", "declared"]),
        (["--limit", "1"], ["removed", "declared"]),
    ],
)
def test_lists_what_matches(run: Run, arguments: list[str], found: list[str]) -> None:
    assert [row["status"] for row in listed(run, *arguments)] == found


@pytest.mark.usefixtures("kept")
def test_the_table_shows_ids_whole(run: Run) -> None:
    printed = run("sessions", "list").stdout
    assert print_bytes(PERMISSION) in printed
    assert print_checksummed(ACCOUNT) in printed
    assert "in_force, frozen" in printed


@pytest.mark.usefixtures("kept")
def test_shows_policies_with_their_limits_and_what_is_used(run: Run) -> None:
    shown = json.loads(run("sessions", "show", print_bytes(PERMISSION), "--json").stdout)
    (session,) = shown["sessions"]
    assert session["state"]["onChain"] == "enabled"
    assert session["state"]["userOpPolicies"][0]["limits"] == "not read yet"
    (action,) = session["state"]["actions"]
    assert (action["name"], action["target"]) == ("transfer(address,uint256)", print_checksummed(TOKEN))
    assert action["policies"] == [
        {
            "name": "UsageLimitPolicy",
            "policy": print_checksummed(USAGE_LIMIT),
            "limits": {"limit": "7"},
            "used": {"all": "4"},
        }
    ]
    assert shown["freezes"] == [
        {
            "account": print_checksummed(ACCOUNT),
            "chain": "every chain",
            "since": "2023-11-14T22:13:20Z",
            "note": "lost phone",
        }
    ]


@pytest.mark.usefixtures("kept")
def test_a_permission_id_leads_to_its_operations(run: Run, tmp_path: Path) -> None:
    writer = AuditWriter(tmp_path / "ledger.audit.db")
    begin(writer)
    record(writer, decision())
    writer.stop()
    shown = json.loads(run("sessions", "show", print_bytes(PERMISSION), "--json").stdout)
    assert [item["userOpHash"] for item in shown["latestDecisions"]] == [print_bytes(USER_OP_HASH)]


@pytest.mark.usefixtures("kept")
def test_shows_a_session_to_people(run: Run) -> None:
    printed = run("sessions", "show", print_bytes(PERMISSION)).stdout
    assert f"permission {print_bytes(PERMISSION)}" in printed
    assert "0: UsageLimitPolicy" in printed
    assert "note: lost phone" in printed


@pytest.mark.usefixtures("kept")
def test_shows_a_declared_session(run: Run) -> None:
    shown = json.loads(run("sessions", "show", "0x" + DECLARED, "--json").stdout)
    (session,) = shown["declared"]
    assert session["actions"][0]["maxUses"] == "3"


@pytest.mark.usefixtures("kept")
def test_an_unknown_permission_id_is_exit_code_1(run: Run) -> None:
    result = run("sessions", "show", "0x" + "00" * 32)
    assert result.exit_code == 1
    assert "no session of that permission id is known" in result.stderr


def test_a_gate_that_never_ran_has_no_ledger_to_show(run: Run) -> None:
    result = run("sessions", "list")
    assert result.exit_code == 1
    assert "has the gate been started?" in result.stderr


def test_a_gate_that_keeps_nothing_cannot_be_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONGATE_LEDGER", "memory")
    result = run("sessions", "list")
    assert result.exit_code == 2
    assert "keeps everything in memory" in result.stderr


# time counted in


def over(until: int, after: int = 0) -> SessionState:
    return state().with_policy_config(TIME_FRAME, state().user_op_config_id, Initialised(TimeFrame(until, after)))


@pytest.mark.parametrize(
    ("status", "until", "after"), [("expired", 5, 0), ("upcoming", 2**48 - 2, 2**47), ("in_force", 2**48 - 2, 0)]
)
def test_list_and_show_tell_expired_and_upcoming_apart_from_in_force(
    run: Run, tmp_path: Path, status: str, until: int, after: int
) -> None:
    granted = replace(over(until, after), user_op_policies=(TIME_FRAME,))
    session = KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=NOW, state=granted)
    keep(tmp_path, [session])
    assert [row["status"] for row in listed(run, "--status", status)] == [status]
    others = {"expired", "upcoming", "in_force"} - {status}
    assert all(listed(run, "--status", other) == [] for other in others)
    shown = json.loads(run("sessions", "show", print_bytes(PERMISSION), "--status", status, "--json").stdout)
    assert shown["sessions"][0]["status"] == status
    assert (shown["sessions"][0]["secondsLeft"] == 0) is (status == "expired")
    assert shown["sessions"][0]["operations"]["mined"] == 0
    assert run("sessions", "show", print_bytes(PERMISSION), "--status", min(others)).exit_code == 1


def test_what_a_removed_session_had_is_still_shown(run: Run, tmp_path: Path) -> None:
    session = KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=NOW, state=state())
    gone = replace(session, status=Status.REMOVED, state=SessionState(key=KEY, status=SessionStatus.REMOVED))
    keep(tmp_path, [session, gone])
    (shown,) = json.loads(run("sessions", "show", print_bytes(PERMISSION), "--json").stdout)["sessions"]
    assert shown["status"] == "removed"
    assert shown["remaining"][1]["limits"][0]["used"] == "0x4"


@pytest.mark.parametrize(
    ("passed", "told"),
    [(0, ("upcoming", 600, 60)), (60, ("in_force", 540, 0)), (600, ("in_force", 0, 0)), (601, ("expired", 0, 0))],
)
def test_show_tells_the_seconds_that_are_left_to_the_second(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: int, told: tuple[str, int, int]
) -> None:
    granted = replace(over(int(NOW) + 600, int(NOW) + 60), user_op_policies=(TIME_FRAME,))
    keep(tmp_path, [KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=NOW, state=granted)])
    monkeypatch.setattr("proxy.cli.sessions.time.time", lambda: NOW + passed)
    (shown,) = json.loads(run("sessions", "show", print_bytes(PERMISSION), "--json").stdout)["sessions"]
    assert (shown["status"], shown["secondsLeft"], shown["secondsUntilValid"]) == told


def test_limits_of_tokens_that_the_rule_files_list_are_shown_in_their_own_units(run: Run, tmp_path: Path) -> None:
    token = print_checksummed(TOKEN)
    (tmp_path / "tokens.yaml").write_text(f"tokens: {{USDC: {{on: {{1868: {{address: {token}, decimals: 6}}}}}}}}\n")
    settings = tmp_path / "sessiongate.yaml"
    settings.write_text(settings.read_text() + "rules: [tokens.yaml]\n")
    unlisted = Address(b"\x23" * 20)
    bare = replace(state(), user_op_policies=(SPENDING,), actions={}, targets={})
    slot = Counter(SMART_SESSION, ACCOUNT, SPENDING, bare.user_op_config_id, TOKEN).slot
    limits = SpendingLimits({TOKEN: 100_000_000, unlisted: 5})
    granted = bare.with_policy_config(SPENDING, bare.user_op_config_id, Initialised(limits, {slot: 95_500_000}))
    keep(tmp_path, [KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=NOW, state=granted)])
    (shown,) = json.loads(run("sessions", "show", print_bytes(PERMISSION), "--json").stdout)["sessions"]
    known, other = shown["remaining"][0]["limits"]
    assert known["inUnits"] == {"symbol": "USDC", "limit": "100", "used": "95.5", "inFlight": "0", "left": "4.5"}
    assert [int(known[name], 16) for name in ("limit", "used", "left")] == [100_000_000, 95_500_000, 4_500_000]
    assert (other["token"], other["limit"], "inUnits" in other) == (print_checksummed(unlisted), "0x5", False)
    told = run("sessions", "show", print_bytes(PERMISSION)).stdout
    assert "USDC" in told
    assert "95.5" in told
