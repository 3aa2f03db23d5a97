"""Case files become facts in time, and whatever is wrong with one is told with its place, all at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.rehearsal.case import Ending
from proxy.rehearsal.cases import START
from proxy.session.addresses import SMART_SESSION
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import keccak256, print_checksummed
from tests.rehearsal.builders import DAILY_CASES, case_file, cases, facts, steps

USDC = bytes(19) + b"\xdc"
SMART_SESSION_TEXT = print_checksummed(SMART_SESSION)
REMOVES = f'function: "removeSession(bytes32)", args: [0x{"07" * 32}]'


def test_a_step_that_says_nothing_is_an_ordinary_session_operation() -> None:
    found = facts()
    assert (found.session, found.mode, found.verdict, found.preview, found.lanes) == (True, "use", "allow", False, 1)
    assert found.permission_id == facts("mode: enable").permission_id != facts("session: other").permission_id
    assert found.account == keccak256(b"account")[-20:]
    assert found.unix_time == START == 1_772_442_000
    assert [(call.target, call.value, call.size) for call in found.calls] == [(keccak256(b"target")[-20:], 0, 4)]
    # a function that nobody knows: the gate cannot tell what it moves, and says so
    assert [(move.kind, move.asset, move.token) for move in found.moves] == [("unattributed", "unknown", None)]


@pytest.mark.parametrize(
    ("step", "calls", "moves"),
    [
        (
            "spend: 500 USDC, to: alice",
            [("USDC", "a9059cbb", 0)],
            [("spend", "USDC", 500_000_000, "alice", "account")],
        ),
        (
            "spend: 0.5 ETH, to: alice",
            [("alice", "ffffffff", 5 * 10**17)],
            [("spend", None, 5 * 10**17, "alice", "account")],
        ),
        (
            "spend: {amount: 5 USDC, holder: bob, to: alice}",
            [("USDC", "23b872dd", 0)],
            [("spend", "USDC", 5_000_000, "alice", "bob")],
        ),
        ("spend: 5 USDC, to: account", [("USDC", "a9059cbb", 0)], []),
        (
            "approve: {unlimited: true, token: 0x00000000000000000000000000000000000000dc, to: router}",
            [("USDC", "095ea7b3", 0)],
            [("exposure", "USDC", 2**256 - 1, "router", "account")],
        ),
        ("inflow: 7 USDC, to: bob", [("USDC", "23b872dd", 0)], [("inflow", "USDC", 7_000_000, "account", "bob")]),
        (
            'calls: [{to: pot, function: "transfer(address,uint256)", args: [alice, 9]}]',
            [("pot", "a9059cbb", 0)],
            [("spend", "pot", 9, "alice", "account")],
        ),
        (
            "spend: [1 USDC, 2 USDC], to: alice, calls: [{to: game, function: play()}]",
            [("game", "93e84cd9", 0), ("USDC", "a9059cbb", 0), ("USDC", "a9059cbb", 0)],
            [
                ("unattributed", None, None, "game", "account"),
                ("spend", "USDC", 1_000_000, "alice", "account"),
                ("spend", "USDC", 2_000_000, "alice", "account"),
            ],
        ),
    ],
)
def test_what_is_written_in_short_is_made_into_call_data_and_read_back_as_the_gate_reads_it(
    step: str, calls: list[tuple[str, str, int]], moves: list[tuple[str, str | None, int | None, str, str]]
) -> None:
    def named(name: str | None) -> bytes | None:
        return USDC if name == "USDC" else None if name is None else keccak256(name.encode())[-20:]

    found = facts(step)
    assert [(call.target, call.selector.hex(), call.value) for call in found.calls] == [
        (named(target), selector, value) for target, selector, value in calls
    ]
    assert [(m.kind, m.token, m.amount, m.counterparty, m.holder) for m in found.moves] == [
        (kind, named(token), amount, named(to), named(holder)) for kind, token, amount, to, holder in moves
    ]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("inflow: 1 ETH", "the chain's coin is handed over, inflow is for tokens"),
        ("approve: 1 ETH", "the chain's coin is handed over, approve is for tokens"),
        ("calls: [{to: pot, args: [1]}]", "arguments need a function with its types"),
        ('calls: [{to: pot, function: "f()", args: [1]}]', "these are no arguments of"),
        ('calls: [{to: pot, function: "f(uint8)", args: [256]}]', "these are no arguments of"),
        ('calls: [{to: pot, function: "f(uint8)", args: [1, 2]}]', "these are no arguments of"),
        ('calls: [{to: pot, function: "f(bool)", args: [maybe]}]', "these are no arguments of"),
    ],
)
def test_what_no_call_data_can_say_is_a_fault_of_the_case(step: str, problem: str) -> None:
    (fault,) = case_file(steps(f"{step}, expect: passes")).faults
    assert problem in fault.problem


def test_a_function_without_arguments_may_be_given_none() -> None:
    (call,) = facts('calls: [{to: pot, function: "pause()", args: []}]').calls
    assert (call.selector, call.size) == (keccak256(b"pause()")[:4], 4)


@given(st.text() | st.from_regex(r"[a-z]+\([a-z0-9 ,()\[\]]{0,40}\)", fullmatch=True))
def test_no_text_in_the_place_of_a_function_crashes_the_reading_of_a_case(text: str) -> None:
    case_file(steps(f"calls: [{{to: pot, function: {json.dumps(text)}, args: []}}], expect: passes"))


@pytest.mark.parametrize(
    ("step", "acts"),
    [
        (
            'calls: [{to: account, function: "installModule(uint256,address,bytes)", args: [2, evil, 0x]}]',
            ("module_installed",),
        ),
        (
            'calls: [{to: account, function: "upgradeToAndCall(address,bytes)", args: [evil, 0x]}, {to: shop}], '
            "acts: [owners_changed, account_upgraded]",
            ("account_upgraded", "owners_changed"),
        ),
        (
            f"session: none, calls: [{{to: smart_sessions, {REMOVES}}}]",
            ("session_removed",),
        ),
        (
            f"calls: [{{to: {SMART_SESSION_TEXT}, {REMOVES}}}]",
            ("session_removed",),
        ),
        (
            'module: mine, calls: [{to: mine, function: "removeSession(bytes32)"}]',
            ("unreadable",),
        ),
        ('calls: [{to: shop, function: "installModule(uint256,address,bytes)", args: [2, evil, 0x]}]', ()),
        ("acts: [module_installed]", ("module_installed",)),
    ],
)
def test_what_a_call_does_to_sessions_modules_and_owners_is_read_from_it_as_the_gate_reads_it(
    step: str, acts: tuple[str, ...]
) -> None:
    assert facts(step).acts == acts


def test_an_owner_signed_operation_has_no_session_no_module_and_no_mode() -> None:
    found = facts("session: none")
    assert (found.session, found.permission_id, found.module, found.mode, found.lanes) == (False, None, None, None, 0)


def test_amounts_are_exact_base_units_of_the_chain() -> None:
    (move,) = facts("spend: 500.000001 USDC, to: alice").moves
    assert (move.kind, move.token, move.amount) == (MovementKind.SPEND, USDC, 500_000_001)
    assert move.counterparty == keccak256(b"alice")[-20:]


def test_coins_spent_are_sent_along_and_coins_sent_along_are_spent() -> None:
    spent = facts("spend: 0.5 ETH")
    assert [call.value for call in spent.calls] == [5 * 10**17]
    sent = facts("calls: [{to: shop, value: 0.5 ETH}]")
    assert [(move.asset, move.amount) for move in sent.moves] == [(AssetKind.NATIVE, 5 * 10**17)]


def test_an_operation_that_is_said_to_move_nothing_moves_nothing() -> None:
    assert facts("moves: []").moves == ()
    assert len(facts("moves: [], spend: 1 USDC").moves) == 1


def test_an_unlimited_approval_needs_its_token_and_amount_only() -> None:
    (move,) = facts("approve: {amount: 5 USDC, to: bob, unlimited: true}").moves
    assert (move.kind, move.unlimited, move.amount) == (MovementKind.EXPOSURE, True, 2**256 - 1)


def test_every_step_has_its_own_hash_and_the_next_nonce_of_its_key() -> None:
    (case,) = cases(steps("repeat: 3, every: 10s, expect: passes", "nonce_key: 5, expect: passes", "expect: passes"))
    assert [step.facts.nonce for step in case.steps] == [0, 1, 2, 5 << 64, 3]
    assert len({step.facts.user_op_hash for step in case.steps}) == 5
    assert [step.after for step in case.steps] == [0, 10, 20, 21, 22]


def test_the_same_nonce_again_is_a_replacement() -> None:
    (case,) = cases(steps("expect: passes, then: in_flight", "same_nonce: true, expect: passes"))
    first, second = (step.facts for step in case.steps)
    assert (first.nonce == second.nonce, first.user_op_hash == second.user_op_hash) == (True, False)
    assert (first.replaces, second.replaces) == (False, True)
    assert case.steps[0].ending is Ending.IN_FLIGHT


def test_a_grant_is_valid_from_the_moment_of_each_repeat() -> None:
    (case,) = cases(steps("repeat: 2, every: 1h, grants: [{valid_for: 30d}], expect: passes"))
    assert [step.facts.grants[0].valid_until for step in case.steps] == [START + 2_592_000, START + 2_595_600]


def test_names_defaults_chains_and_the_start_hold_for_the_whole_file() -> None:
    head = (
        "names: {router: 0x00000000000000000000000000000000000000aa}\nstart: 2026-01-01T00:00:00Z\n"
        "chains: {base: 8453}\ndefaults: {client: game}\n"
    )
    (case,) = cases(steps("calls: [{to: router}], expect: passes", head=head))
    found = case.steps[0].facts
    assert (found.chain, found.chain_id, found.client) == ("base", 8453, "game")
    assert (found.calls[0].target, found.unix_time) == (bytes(19) + b"\xaa", 1_767_225_600)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("expct: passes", "5:10: unknown key 'expct'; did you mean \"expect\"?"),
        ("at: 5", "'5' is no duration; write it as 90s, 23h or 24h10m"),
        ("spend: 5 USDX, expect: passes", "USDX"),
        ("spend: 0.0000001 USDC, expect: passes", "USDC has 6 decimals, and this amount has more"),
        ("acts: [module_instaled], expect: passes", 'did you mean "module_installed"?'),
        ("grants: [{findings: [sudo_acton]}], expect: passes", 'did you mean "sudo_action"?'),
        ("verdict: session_revokd, expect: passes", 'did you mean "session_revoked"?'),
        ("chain: base, expect: passes", "'base' is none of soneium"),
        ("then: reverts, expect: fires", "an operation that fires does not go out; remove then"),
        ("every: 1s, expect: passes", "every without repeat means nothing"),
        ("repeat: 10001, expect: passes", "wanted a number from 1 to 10000, got 10001"),
        ("to: alice", "5:9: expect is missing"),
    ],
)
def test_a_fault_names_the_place_the_thing_and_the_cure(step: str, told: str) -> None:
    printed = [str(fault) for fault in case_file(steps(step)).faults]
    assert any(told in line and line.startswith("rules/a.cases.yaml:5:") for line in printed), printed


def test_a_step_before_the_one_above_it_is_a_fault() -> None:
    file = case_file(steps("at: 1h, expect: passes", "at: 59m, expect: passes"))
    assert [str(fault) for fault in file.faults] == [
        "rules/a.cases.yaml:6:14: this step is before the one above it; write steps in the order of time"
    ]


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    file = case_file(steps("expect: maybe", "spend: 5, expect: passes", "mode: uze, expect: passes"))
    assert [fault.place.line for fault in file.faults] == [5, 6, 7]


@pytest.mark.parametrize("text", ["", "cases:", "[]", "- a", "cases: 5", "cases: {a: b}", "a: [", "names: 5", "\0"])
def test_a_file_that_is_none_is_a_fault_and_no_crash(text: str) -> None:
    assert case_file(text).faults


RICH = DAILY_CASES + steps(
    "repeat: 3, session: none, calls: [{to: a, function: 'f(uint256)', value: 1 gwei, size: 4}], expect: passes",
    "approve: [{amount: 5 USDC, to: bob, unlimited: true, holder: carol}], acts: [module_installed], expect: fires",
    "moves: [{kind: spend, asset: erc721, token: nft, amount: 1, counterparty: none}], nonce_key: 5, expect: passes",
    "grants: [{findings: [no_expiry], valid_for: 30d, targets: [a, b]}], max_cost: 0.1 ETH, expect: passes",
).removeprefix("cases:\n")


def _always_told(text: str) -> None:
    file = case_file(text)
    lines = text.count("\n") + 2
    for fault in file.faults:
        assert 1 <= fault.place.line <= lines
        assert fault.place.column >= 1
        assert str(fault)


@given(st.integers(0, len(RICH)), st.integers(0, 40), st.text(max_size=12))
def test_a_mutated_file_never_crashes(start: int, length: int, text: str) -> None:
    _always_told(RICH[:start] + text + RICH[start + length :])


WORDS = st.sampled_from(
    [*RICH.replace("{", " ").replace("}", " ").replace(",", " ").split(), "{}", "[]", "~", "&a", "*a"]
)


@given(st.data())
def test_a_file_with_words_exchanged_never_crashes(data: st.DataObject) -> None:
    lines = RICH.split("\n")
    line = data.draw(st.integers(0, len(lines) - 1))
    words: list[str] = lines[line].split(" ")
    place = data.draw(st.integers(0, len(words) - 1))
    words[place] = data.draw(WORDS)
    lines[line] = " ".join(words)
    _always_told("\n".join(lines))


@given(st.recursive(st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=6))
@example(" ")
def test_anything_in_place_of_a_value_never_crashes(value: object) -> None:
    def written(each: object) -> str:
        return f"[{', '.join(map(written, each))}]" if isinstance(each, list) else repr(each)

    for key in ("at", "spend", "calls", "moves", "grants", "acts", "session", "to", "names", "expect"):
        _always_told(steps(f"{key}: {written(value)}, expect: passes"))
