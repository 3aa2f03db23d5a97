"""What the audit trail keeps of a decision, and what it must not keep."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.audit.plain import plain_answer, plain_decision, plain_end
from proxy.edge.audit.printing import print_plain, shown
from proxy.edge.audit.row import AuditRow, read_answer
from proxy.edge.audit.unrecorded import row_of
from proxy.errors import Code, Reason
from proxy.judge.decision import Decision
from proxy.judge.upstream_answer import LONGEST_SAID, UpstreamAnswer
from proxy.judge.verdict import Allow, Reject
from proxy.ports import OperationEnd
from proxy.session.revert import Revert
from proxy.userop.execution import Call
from tests.edge.builders import ACCOUNT, NOW, OUT_OF_SCOPE, PERMISSION, TARGET, USER_OP_HASH, decision


def kept(made: Decision) -> AuditRow:
    return row_of(made)


def answer(**fields: object) -> UpstreamAnswer | None:
    printed = print_plain(plain_answer("d-1", UpstreamAnswer(**fields), NOW))  # type: ignore[arg-type]  # keyword fields
    return read_answer(str(printed[-1]))


def test_keeps_who_asked_what_and_what_was_said() -> None:
    row = kept(decision(verdict=OUT_OF_SCOPE))
    assert (row.decision_id, row.unix_time, row.chain, row.client) == ("d-1", NOW, "soneium", "trading-dapp")
    assert (row.method, row.mode, row.session_mode) == ("eth_sendUserOperation", "enforce", "use")
    assert (row.user_op_hash, row.account, row.permission_id) == (USER_OP_HASH, ACCOUNT, PERMISSION)
    assert (row.verdict, row.code) == ("reject", Code.SESSION_SCOPE)
    assert [(reason.code, reason.call) for reason in row.reasons] == [(-32054, 0), (-32055, None)]
    assert row.reasons[0].sentence == OUT_OF_SCOPE.first.sentence
    assert row.reasons[0].remedy == OUT_OF_SCOPE.first.remedy
    assert row.reasons[1].policy == "usage limit"


def test_keeps_target_selector_and_value_of_each_call_exactly() -> None:
    calls = (Call(TARGET, 2**256 - 1, b"\xa9\x05\x9c\xbb\x01"), Call(ACCOUNT, 0, b""))
    first, second = kept(decision(calls=calls)).calls
    assert (first.target, first.selector, first.value) == (TARGET, bytes.fromhex("a9059cbb"), 2**256 - 1)
    assert (second.target, second.selector, second.value) == (ACCOUNT, bytes.fromhex("ffffffff"), 0)


def test_keeps_no_call_data_beyond_the_selector() -> None:
    columns = print_plain(plain_decision(decision(), False))
    assert not any("5e5e" in str(column) for column in columns)


@pytest.mark.parametrize("prefix", ["0x", ""])
def test_a_signature_quoted_in_an_upstream_message_is_cut(prefix: str) -> None:
    quoted = answer(error_code=-32507, error_message=f"bad signature {prefix}{'5e' * 65} for account")
    assert quoted is not None
    assert quoted.error_message == f"bad signature {prefix}5e5e5e5e… for account"


VIOLATION = "0x" + Revert("PolicyViolation", (b"\xab" * 32, b"\xcd" * 20)).data.hex()


def test_what_a_contract_reverted_with_is_kept_whole() -> None:
    told = answer(error_code=-32500, error_message=f"AA23 reverted {VIOLATION}", error_data=VIOLATION)
    assert told is not None
    assert told.error_message == f"AA23 reverted {VIOLATION}"
    assert told.error_data == VIOLATION


def test_a_signature_beside_revert_data_is_cut_all_the_same() -> None:
    told = answer(error_message=f"AA23 reverted {VIOLATION} for signature 0x{'5e' * 65}")
    assert told is not None
    assert told.error_message == f"AA23 reverted {VIOLATION} for signature 0x5e5e5e5e…"


UNKNOWN = "0x12345678" + "5e" * 2044
"""What nobody here knows, as long as the entry point passes it on: 2,048 bytes, cut off in the middle of a word."""


@pytest.mark.parametrize("unknown", ["0x12345678" + "00" * 64, "0x12345678" + "5e" * 96, "0xff" + "5e" * 90, UNKNOWN])
def test_an_unknown_error_is_kept_whole_where_it_is_said_to_be_one(unknown: str) -> None:
    told = answer(error_message=f"execution reverted: {unknown}", error_data=unknown)
    assert told is not None
    assert (told.error_message, told.error_data) == (f"execution reverted: {unknown}", unknown)


def test_what_does_not_fit_a_row_is_cut_and_shows_it() -> None:
    told = answer(error_data="0x12345678" + "5e" * 10_000)
    assert told is not None
    assert told.error_data == "0x12345678" + "5e" * ((LONGEST_SAID - 10) // 2) + "…"


def test_hex_digits_beside_words_are_no_revert_data_unless_the_words_say_so() -> None:
    told = answer(error_data=f'{{"callData":"{UNKNOWN}"}}')
    assert told is not None
    assert told.error_data == '{"callData":"0x12345678…"}'


def test_what_the_calls_reverted_with_is_kept_whole() -> None:
    end = OperationEnd(chain="soneium", user_op_hash=USER_OP_HASH, cause="mined", success=False, revert_reason=UNKNOWN)
    assert json.loads(str(print_plain(plain_end(end, NOW))[-1]))["revertReason"] == UNKNOWN


def test_a_hash_in_an_upstream_answer_is_kept_whole() -> None:
    accepted = answer(result="0x" + "f1" * 32)
    assert accepted == UpstreamAnswer(result="0x" + "f1" * 32)


def test_a_signature_quoted_in_a_reason_is_cut() -> None:
    reason = Reason(code=Code.UNDECODABLE, sentence="signature 0x" + "5e" * 65, remedy="none", got="0x" + "5e" * 65)
    (recorded,) = kept(decision(verdict=Reject((reason,)))).reasons
    assert recorded.sentence == "signature 0x5e5e5e5e…"
    assert recorded.got == "0x5e5e5e5e…"


@pytest.mark.parametrize(
    ("code", "expected"), [(2**63 - 1, 2**63 - 1), (2**63, None), (-(2**63), -(2**63)), (-(2**63) - 1, None)]
)
def test_an_upstream_code_beyond_64_bits_is_left_out(code: int, expected: int | None) -> None:
    told = answer(error_code=code)
    assert told is not None
    assert told.error_code == expected


def test_an_unread_operation_leaves_its_fields_empty() -> None:
    row = kept(decision(user_op_hash=None, account=None, permission_id=None, session_mode=None, calls=()))
    assert (row.user_op_hash, row.account, row.permission_id, row.session_mode, row.calls) == (None,) * 4 + ((),)


def test_printed_form_has_hex_for_bytes_and_decimal_text_for_wei() -> None:
    printed = kept(decision(verdict=OUT_OF_SCOPE)).as_json()
    assert printed["permissionId"] == "0x" + "b1" * 32
    assert printed["calls"] == [{"target": "0x" + "c0" * 20, "selector": "0xa9059cbb", "value": str(10**18)}]
    assert (printed["verdict"], printed["code"], printed["reason"]) == ("reject", -32054, "session_scope")
    assert printed["upstream"] is None
    assert json.loads(json.dumps(printed)) == printed


def test_an_allowed_decision_prints_its_notes_and_no_code() -> None:
    printed = kept(decision(verdict=Allow(notes=("owner operation",)), upstream=UpstreamAnswer(result="0x1"))).as_json()
    assert (printed["code"], printed["reason"], printed["notes"]) == (None, None, ["owner operation"])
    assert (printed["forward"], printed["upstream"]) == ("answered", {"result": "0x1"})


@given(st.text(), st.text(), st.text(alphabet=st.characters()), st.integers())
def test_any_text_from_outside_can_be_kept(method: str, message: str, note: str, code: int) -> None:
    made = decision(
        method=method,
        verdict=Allow(notes=(note,)),
        upstream=UpstreamAnswer(result=message, error_code=code, error_message=message),
    )
    columns = print_plain(plain_decision(made, False))
    connection = sqlite3.connect(":memory:")
    try:
        # every value can be bound as a parameter, so that none can stop a batch
        connection.execute(f"SELECT {', '.join('?' * len(columns))}", columns)
    finally:
        connection.close()
    assert kept(made).decision_id == "d-1"


def test_a_lone_surrogate_is_replaced(tmp_path: Path) -> None:
    assert kept(decision(method="eth_\ud800")).method == "eth_?"


@given(st.text("0123456789abcdefABCDEFxX", max_size=140) | st.text(max_size=140))
def test_no_text_keeps_more_hex_digits_in_a_row_than_a_hash_has(text: str) -> None:
    kept = shown(text)
    assert kept is not None
    assert re.search("[0-9a-fA-F]{65}", kept) is None
    if text.isascii() and re.search("[0-9a-fA-F]{65}", text) is None:
        assert kept == text


def test_a_hash_is_kept_whole_with_its_prefix_and_without() -> None:
    digits = "ab" * 32
    assert (shown(f"0x{digits}"), shown(digits), shown(f"{digits}a")) == (f"0x{digits}", digits, "abababab…")
