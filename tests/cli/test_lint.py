"""`sessiongate lint` reviews grants in every form they come in, and its exit code is fit for a pipeline."""

from __future__ import annotations

import asyncio
import html
import json
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from proxy.cli import application
from proxy.cli.session_json import sessions_in
from proxy.edge.storage.store import Store
from proxy.errors import InvalidParams
from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import SessionKey
from proxy.session.known import KnownSession, Source, Status
from proxy.session.lint import KINDS, Severity
from proxy.session.state import SessionState
from proxy.session.transitions import enable
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed
from proxy.userop.session_abi import encode_sessions
from proxy.userop.session_data import ERC7739Context, ERC7739Data, PolicyData, SessionData
from proxy.userop.signature import SessionMode, encode_session_envelope
from tests.cli.conftest import Run
from tests.session.builders import ACCOUNT, STRANGER, UNKNOWN_POLICY, gas, sudo, time_frame, usage, value_limit
from tests.session.lint.builders import capped_transfer, play, tight
from tests.session.lint.strategies import sessions
from tests.traffic.replay import SAMPLE
from tests.userop.builders import an_enable_envelope, an_enable_session

DAY = 86_400
IN_A_DAY = int(time.time()) + DAY
LIMITS = (time_frame(IN_A_DAY), usage(10), value_limit(10**16), gas(10**8, 10**16))
SOUND = tight(capped_transfer, user_op=LIMITS)
LOOSE = tight(play(sudo), user_op=LIMITS)
ENABLE_SESSIONS = "0x21712407"
KEYS = st.sampled_from(["sessionValidator", "salt", "actions", "session"])


def printed_policies(policies: tuple[PolicyData, ...]) -> list[dict[str, str]]:
    return [{"policy": print_checksummed(each.policy), "initData": print_bytes(each.init_data)} for each in policies]


def printed(session: SessionData, **more: object) -> dict[str, Any]:
    """As the SDKs print it; big integers come as text."""
    erc7739 = session.erc7739_policies
    return {
        "sessionValidator": print_checksummed(session.session_validator),
        "sessionValidatorInitData": print_bytes(session.session_validator_init_data),
        "salt": print_bytes(session.salt),
        "userOpPolicies": printed_policies(session.user_op_policies),
        "erc7739Policies": {
            "allowedERC7739Content": [
                {"appDomainSeparator": print_bytes(each.app_domain_separator), "contentNames": list(each.content_names)}
                for each in erc7739.contexts
            ],
            "erc1271Policies": printed_policies(erc7739.erc1271_policies),
        },
        "actions": [
            {
                "actionTargetSelector": print_bytes(action.selector),
                "actionTarget": print_checksummed(action.target),
                "actionPolicies": printed_policies(action.policies),
            }
            for action in session.actions
        ],
        "permitERC4337Paymaster": session.permit_erc4337_paymaster,
        "chainId": "1868",
        **more,
    }


def reviewed(run: Run, pasted: object, *options: str) -> list[dict[str, Any]]:
    result = run("lint", pasted if isinstance(pasted, str) else json.dumps(pasted), "--json", *options)
    reviews: list[dict[str, Any]] = json.loads(result.stdout)["sessions"]
    return reviews


def ids(review: dict[str, Any]) -> list[str]:
    return [finding["id"] for finding in review["findings"]]


# what is read


def test_reviews_a_session_as_the_sdks_print_it(run: Run) -> None:
    (review,) = reviewed(run, printed(LOOSE))
    assert review["permissionId"] == print_bytes(LOOSE.permission_id)
    (finding,) = review["findings"]
    assert finding.pop("sentence")
    assert finding.pop("remedy")
    assert finding == {"id": "sudo_action", "severity": "high", "where": "actions[0]"}


def test_has_nothing_to_say_of_a_session_of_the_least_privilege(run: Run) -> None:
    result = run("lint", json.dumps(printed(SOUND)))
    assert result.exit_code == 0
    assert "nothing found" in result.stdout


@pytest.mark.parametrize(
    "around", ["[{}]", '{{"sessions": [{}]}}', '{{"moduleData": {{"enable": {{"session": {}}}}}}}']
)
def test_finds_the_session_in_what_sdks_keep_it_in(run: Run, around: str) -> None:
    (review,) = reviewed(run, around.format(json.dumps(printed(LOOSE))))
    assert ids(review) == ["sudo_action"]


def test_reads_a_file_and_standard_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text(json.dumps(printed(LOOSE)), encoding="utf-8")
    assert ids(reviewed(run, "session.json")[0]) == ["sudo_action"]
    result = run("lint", "-", "--json", stdin=json.dumps(printed(LOOSE)))
    assert ids(json.loads(result.stdout)["sessions"][0]) == ["sudo_action"]


@given(sessions())
def test_reads_back_every_session_it_can_print(session: SessionData) -> None:
    (read,) = sessions_in(json.dumps(printed(session)))
    assert read.session == session
    assert read.claim_policies is None


@given(
    st.recursive(st.none() | st.text() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))
)
def test_refuses_whatever_calls_itself_a_session_and_is_none(value: object) -> None:
    text = json.dumps(value)
    if '"sessionValidator":' not in text:
        assert sessions_in(text) == []
        return
    with pytest.raises(InvalidParams) as caught:
        sessions_in(text)
    assert "sessionValidator" in caught.value.field


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("salt", "0x00", "salt"),
        ("sessionValidator", 7, "sessionValidator"),
        ("permitERC4337Paymaster", "yes", "permitERC4337Paymaster"),
        ("actions", [{"actionTarget": print_bytes(STRANGER), "actionTargetSelector": "0x00"}], "actionTargetSelector"),
        ("userOpPolicies", [{"policy": print_bytes(STRANGER)}], "userOpPolicies[0].initData"),
        ("erc7739Policies", {"allowedERC7739Content": [{"contentNames": [7]}]}, "contentNames[0]"),
    ],
)
def test_names_the_field_that_cannot_be_read(run: Run, field: str, value: object, named: str) -> None:
    result = run("lint", json.dumps(printed(LOOSE, **{field: value})))
    assert result.exit_code == 1
    assert named in result.stderr


def test_reviews_an_enable_signature_and_its_mode(run: Run) -> None:
    envelope = an_enable_envelope(SessionMode.UNSAFE_ENABLE)._replace(
        enable=an_enable_session(session=LOOSE),
        permission_id=LOOSE.permission_id,
    )
    (review,) = reviewed(run, print_bytes(encode_session_envelope(envelope)), "--account", print_bytes(ACCOUNT))
    assert ids(review)[:2] == ["sudo_action", "unsafe_enable"]
    assert review["account"] == print_checksummed(ACCOUNT)


def test_reviews_the_call_data_of_a_grant(run: Run) -> None:
    call_data = ENABLE_SESSIONS + encode_sessions([LOOSE, SOUND]).hex()
    assert [ids(review) for review in reviewed(run, call_data)] == [["sudo_action"], []]


def test_reviews_the_grants_that_sdks_really_sent(run: Run) -> None:
    requests = [json.loads(line)["request"] for line in (SAMPLE / "startale.jsonl").read_text().splitlines()]
    grants = [review for request in requests for review in granted_by(run, request)]
    assert [review["account"] for review in grants] == ["0xa885fee08bf9A6b6F44418F05582ee76e7ad0fFC"] * 2
    for review in grants:
        assert {"sudo_action", "unlimited_value", "unlimited_gas", "unlimited_uses"} <= set(ids(review))


def granted_by(run: Run, request: dict[str, Any]) -> list[dict[str, Any]]:
    result = run("lint", json.dumps(request), "--json")
    if not result.stdout:
        assert "nothing is granted here" in result.stderr
        return []
    reviews: list[dict[str, Any]] = json.loads(result.stdout)["sessions"]
    return reviews


def test_takes_a_session_with_claim_policies_for_one_of_the_emissary(run: Run) -> None:
    transfer = replace(capped_transfer, policies=(*capped_transfer.policies, *LIMITS[:3]))
    session = replace(tight(transfer), user_op_policies=())
    claims = printed_policies((PolicyData(UNKNOWN_POLICY, b""),))
    (review,) = reviewed(run, printed(session, claimPolicies=claims))
    assert review["module"] == print_checksummed(EMISSARY)
    assert ids(review) == ["claim_policies"]


# how it answers


@pytest.mark.parametrize(
    ("session", "options", "exit_code"),
    [
        (LOOSE, (), 1),
        (LOOSE, ("--fail-on", "high"), 1),
        (LOOSE, ("--fail-on", "critical"), 0),
        (SOUND, ("--fail-on", "info"), 0),
        (replace(SOUND, salt=Hash32(bytes(32))), ("--fail-on", "medium"), 0),
        (replace(SOUND, salt=Hash32(bytes(32))), ("--fail-on", "low"), 1),
    ],
)
def test_fails_at_the_severity_that_is_asked_for(
    run: Run, session: SessionData, options: tuple[str, ...], exit_code: int
) -> None:
    assert run("lint", json.dumps(printed(session)), *options).exit_code == exit_code


def test_prints_severity_place_sentence_remedy_and_id_for_people(run: Run) -> None:
    result = run("lint", json.dumps(printed(LOOSE)))
    heading, finding, remedy = result.stdout.splitlines()
    assert heading == f"session {print_bytes(LOOSE.permission_id)}: 1 high"
    assert finding.startswith("high      actions[0]: SudoPolicy")
    assert remedy.strip().startswith("replace SudoPolicy")
    assert remedy.endswith("[sudo_action]")


def test_lets_the_longest_life_be_chosen(run: Run) -> None:
    week = printed(tight(capped_transfer, user_op=(time_frame(IN_A_DAY + 6 * DAY), *LIMITS[1:])))
    assert ids(reviewed(run, week)[0]) == []
    assert ids(reviewed(run, week, "--max-days", "6")[0]) == ["far_expiry"]


def test_says_where_nothing_is_granted(run: Run) -> None:
    result = run("lint", "0x00" + "ab" * 97)
    assert result.exit_code == 1
    assert "nothing is granted here" in result.stderr


def test_says_what_cannot_be_read(run: Run) -> None:
    result = run("lint", "{")
    assert result.exit_code == 1
    assert "not readable" in result.stderr


@pytest.mark.parametrize("pasted", ["{}", '{"salt": "0x00", "actions": []}', '{"sender": "0x12"}'])
def test_says_of_an_object_that_it_was_looked_for_a_session_before_it_was_read_as_an_operation(
    run: Run, pasted: str
) -> None:
    result = run("lint", pasted)
    assert result.exit_code == 1
    assert "no session is in it (an object with sessionValidator), and as an operation: operation." in result.stderr


@pytest.mark.parametrize("arguments", [(), ("0x00", "--permission-id", "0x" + "ab" * 32)])
def test_wants_exactly_one_thing_to_review(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("lint", *arguments)
    assert result.exit_code == 2
    assert "either INPUT or --permission-id" in result.stderr


def test_lists_every_kind_of_finding(run: Run) -> None:
    rows = json.loads(run("lint", "--kinds", "--json").stdout)
    assert {row["id"]: Severity(row["severity"]) for row in rows} == {kind.id: kind.severity for kind in KINDS.values()}
    told = run("lint", "--kinds").stdout
    assert all(kind.looks_for in told for kind in KINDS.values())


# sessions of the ledger


def keep(folder: Path, session: SessionData, *, account: Address = ACCOUNT, status: Status = Status.IN_FORCE) -> str:
    key = SessionKey(1868, SMART_SESSION, account, session.permission_id)
    state = enable(SessionState(key=key), session)
    assert isinstance(state, SessionState)
    known = KnownSession(key=key, status=status, source=Source.GRANT, updated_at=0, state=state)
    with closing(Store(folder / "ledger.db")) as store:
        asyncio.run(store.save_session(known))
    return print_bytes(session.permission_id)


def test_reviews_a_session_of_the_ledger(run: Run, tmp_path: Path) -> None:
    result = run("lint", "--permission-id", keep(tmp_path, LOOSE), "--json")
    assert result.exit_code == 1
    (review,) = json.loads(result.stdout)["sessions"]
    assert review["account"] == print_checksummed(ACCOUNT)
    assert ids(review) == ["sudo_action"]


def test_reviews_the_session_of_one_account_only(run: Run, tmp_path: Path) -> None:
    keep(tmp_path, LOOSE, account=STRANGER)
    permission_id = keep(tmp_path, LOOSE)
    both = json.loads(run("lint", "--permission-id", permission_id, "--json").stdout)["sessions"]
    one = run("lint", "--permission-id", permission_id, "--account", print_bytes(STRANGER), "--json")
    assert len(both) == 2
    assert [review["account"] for review in json.loads(one.stdout)["sessions"]] == [print_checksummed(STRANGER)]


def test_says_of_a_session_that_has_not_been_read_that_nothing_is_known(run: Run, tmp_path: Path) -> None:
    permission_id = keep(tmp_path, LOOSE)
    with closing(Store(tmp_path / "ledger.db")) as store:
        (known,) = store.sessions()
        asyncio.run(store.save_session(replace(known, state=None)))
    result = run("lint", "--permission-id", permission_id, "--json")
    assert result.exit_code == 0
    assert ids(json.loads(result.stdout)["sessions"][0]) == ["not_judged"]


def test_says_that_a_session_was_removed_or_never_heard_of(run: Run, tmp_path: Path) -> None:
    removed = run("lint", "--permission-id", keep(tmp_path, LOOSE, status=Status.REMOVED))
    assert removed.exit_code == 1
    assert "removed" in removed.stderr
    unknown = run("lint", "--permission-id", "0x" + "ab" * 32)
    assert unknown.exit_code == 1
    assert "is known" in unknown.stderr


def test_needs_no_settings_to_review_what_is_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    contents = ERC7739Data((ERC7739Context(Hash32(b"\xd0" * 32), ("Play()",)),), ())
    session = replace(SOUND, erc7739_policies=contents)
    result = CliRunner().invoke(application, ["lint", json.dumps(printed(session)), "--json"])
    assert result.exit_code == 0
    assert ids(json.loads(result.stdout)["sessions"][0]) == ["contents_without_policies"]


def test_reads_a_session_as_cast_and_web_pages_print_it(run: Run) -> None:
    members = [value for key, value in printed(LOOSE).items() if key != "chainId"]
    shown = json.dumps(without_names(members)).replace("[", "(", 1)[:-1] + ")"
    for pasted in (shown.replace('"', ""), f"<pre>{html.escape(json.dumps(printed(LOOSE)))}</pre>"):
        (review,) = reviewed(run, pasted)
        assert ids(review) == ["sudo_action"]


def without_names(value: Any) -> Any:
    if isinstance(value, dict):
        return [without_names(item) for item in value.values()]
    return [without_names(item) for item in value] if isinstance(value, list) else value
