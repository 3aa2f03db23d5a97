"""What a case says an operation does is encoded, and the facts are what the gate decodes: acts and grants alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.judge.facts import Facts
from proxy.judge.reading import Arrival, Background, facts_of
from proxy.rehearsal.cases import START
from proxy.rehearsal.steps import ACT_NAMES
from proxy.rehearsal.written_acts import CALLS_BY_ACT
from proxy.rehearsal.written_calls import read_back
from proxy.rehearsal.written_sessions import Ground, session_granted
from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.session.lint.findings import KINDS
from proxy.userop.arguments import selector
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.primitives import Address, print_checksummed
from proxy.userop.session_abi import SESSION, encode_sessions
from proxy.userop.signature import encode_session_envelope
from proxy.userop.user_operation import UserOperation
from tests.rehearsal.builders import case_file, cases, facts, steps

MODULES = {"the current module": print_checksummed(SMART_SESSION), "the emissary": print_checksummed(EMISSARY)}
ONLY_AS = {
    "unsafe_enable": "grants: [{findings: [unsafe_enable], how: unsafe_enable}]",
    "multichain_enable": "grants: [{findings: [multichain_enable], how: enable}]",
    "claim_policies": f'module: "{MODULES["the emissary"]}", grants: [{{findings: [claim_policies], how: enable}}]',
    "not_judged": "acts: [action_policies_enabled]",
}
"""Findings that are not about a session by itself, and how a case has them."""
BESIDE = {
    "never_usable": {"policy_always_reverts"},
    "rules_restrict_nothing": {"idle_rule"},
    "signs_permits": {"signs_off_chain"},
    "signs_anything": {"signs_off_chain"},
    "time_frame_of_older_generation": {"never_usable"},
    "duplicate_action": {"duplicate_policy"},
    "nothing_allowed": {"action_without_policies"},
    "paymaster_unusable": {"no_expiry", "unlimited_uses", "unlimited_gas"},
    "claim_policies": {"unlimited_gas"},
}
"""What is found in any session in which the finding is found."""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[DecodedOperation]:
    """The operations of the steps that are read."""
    operations: list[DecodedOperation] = []

    def watched(*parts: Any) -> DecodedOperation:
        operations.append(read_back(*parts))
        return operations[-1]

    monkeypatch.setattr("proxy.rehearsal.steps.read_back", watched)
    return operations


def on_the_wire(read: DecodedOperation, written: Facts) -> Facts:
    """The facts that the gate has of an operation with this call data and, of a session, with this signature."""
    claim = read.claim
    op = UserOperation(
        sender=written.account,
        nonce=0 if claim is None else int.from_bytes(claim.module) << 96,
        call_data=read.op.call_data,
        signature=b"" if claim is None else encode_session_envelope(claim.envelope),
        call_gas_limit=1,
        verification_gas_limit=1,
        pre_verification_gas=1,
        max_fee_per_gas=1,
        max_priority_fee_per_gas=1,
    )
    entry_point = ENTRY_POINT_BY_VERSION[EntryPointVersion.V07]
    operation = decode_operation(op, entry_point, written.chain_id, SESSION_MODULES)
    return facts_of(
        op,
        entry_point,
        written.chain_id,
        operation,
        request=Arrival(chain="soneium", client="dapp", method="eth_sendUserOperation"),
        standing=Background(verdict="allow"),
        now=written.unix_time,
    )


def of_the_deed(facts: Facts) -> tuple[object, ...]:
    """What an operation says by its call data and its signature. A case keeps the arguments of every function, the gate
    those of functions that rules ask for."""
    calls = tuple(each._replace(arguments=b"") for each in facts.calls)
    signed = facts.session, facts.permission_id, facts.module, facts.mode
    return (*signed, facts.call_type, calls, facts.moves, facts.acts, facts.grants)


def fault_of(step: str) -> str:
    (fault,) = case_file(steps(f"{step}, expect: passes")).faults
    return str(fault)


def test_there_is_a_call_for_every_act() -> None:
    assert tuple(sorted(CALLS_BY_ACT)) == ACT_NAMES


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize("session", ["session", "none"])
@pytest.mark.parametrize("act", ACT_NAMES)
def test_every_act_that_is_named_is_one_of_a_call(act: str, session: str, module: str) -> None:
    found = facts(f'session: {session}, module: "{module}", acts: [{act}]')
    assert found.acts == (act,)
    (call,) = found.calls
    assert call.selector != b"\xff" * 4


@pytest.mark.parametrize("session", ["session", "none"])
@pytest.mark.parametrize("act", [each for each in ACT_NAMES if not each.startswith("declared")])
def test_the_gate_sees_of_an_act_on_the_wire_what_the_case_sees(
    act: str, session: str, read: list[DecodedOperation]
) -> None:
    written = facts(f'session: {session}, module: "{MODULES["the current module"]}", acts: [{act}]')
    assert of_the_deed(on_the_wire(read[-1], written)) == of_the_deed(written)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(ACT_NAMES), min_size=1, max_size=6, unique=True))
def test_acts_are_done_in_the_order_in_which_they_are_named(acts: Sequence[str]) -> None:
    found = facts(f"acts: [{', '.join(acts)}]")
    assert found.acts == tuple(acts)
    assert len(found.calls) == len(acts)


def test_an_act_that_a_call_does_already_is_not_done_twice() -> None:
    upgrade = '{to: account, function: "upgradeTo(address)", args: [evil]}'
    found = facts(f"calls: [{upgrade}], acts: [account_upgraded, owners_changed]")
    assert found.acts == ("account_upgraded", "owners_changed")
    assert len(found.calls) == 2


def test_a_grant_of_which_nothing_is_said_has_nothing_that_a_review_finds() -> None:
    (grant,) = facts("grants: [{how: call}]").grants
    assert (grant.findings, grant.how, grant.valid_until) == ((), "call", START + 86_400)
    assert facts("grants: [{how: call}]").acts == ("sessions_enabled",)


@pytest.mark.parametrize("finding", KINDS)
def test_the_gate_finds_in_a_grant_what_the_case_says_of_it(finding: str) -> None:
    (grant,) = facts(ONLY_AS.get(finding, f"grants: [{{findings: [{finding}]}}]")).grants
    assert finding in grant.findings
    assert set(grant.findings) - {finding} <= BESIDE.get(finding, set())


@pytest.mark.parametrize("how", ["session: none, how: call", "how: enable", "how: unsafe_enable"])
@pytest.mark.parametrize("finding", sorted(KINDS.keys() - ONLY_AS.keys()))
def test_the_gate_sees_of_a_grant_on_the_wire_what_the_case_sees(
    finding: str, how: str, read: list[DecodedOperation]
) -> None:
    *owner, how = how.split(", ")
    step = ", ".join([*owner, f'module: "{MODULES["the current module"]}", grants: [{{{how}, findings: [{finding}]}}]'])
    written = facts(step)
    assert finding in written.grants[0].findings
    assert of_the_deed(on_the_wire(read[-1], written)) == of_the_deed(written)


@pytest.mark.parametrize(
    ("finding", "module"),
    [
        ("unsafe_enable", "the current module"),
        ("multichain_enable", "the current module"),
        ("multichain_enable", "the emissary"),
        ("claim_policies", "the emissary"),
        ("not_judged", "the current module"),
    ],
)
def test_the_gate_sees_on_the_wire_what_is_around_a_session(
    finding: str, module: str, read: list[DecodedOperation]
) -> None:
    step = ONLY_AS[finding]
    written = facts(step if "module:" in step else f'module: "{MODULES[module]}", {step}')
    assert finding in written.grants[0].findings
    assert of_the_deed(on_the_wire(read[-1], written)) == of_the_deed(written)


def test_targets_and_policies_and_the_end_are_read_from_the_grant() -> None:
    (grant,) = facts("grants: [{targets: [shop, bank], policies: [mine], valid_for: 2d}]").grants
    named = facts("calls: [{to: shop}, {to: bank}, {to: mine}]").calls
    assert grant.targets == tuple(each.target for each in named[:2])
    assert named[2].target in grant.policies
    assert grant.findings == ("unknown_policy",)
    assert grant.valid_until == START + 2 * 86_400


def test_who_is_granted_a_session_by_name_uses_it_by_that_name() -> None:
    (case,) = cases(
        steps(
            "session: none, grants: [{session: alice}], expect: passes",
            "session: alice, expect: passes",
            "session: alice, mode: enable, expect: passes",
            "session: none, acts: [session_removed], expect: passes",
        )
    )
    granted, used, enabled, _ = (step.facts for step in case.steps)
    assert granted.grants[0].permission_id == used.permission_id == enabled.permission_id
    assert enabled.grants[0].permission_id == used.permission_id


def test_an_operation_that_enables_brings_a_grant_and_one_that_brings_a_grant_enables() -> None:
    enabled, brings = facts("mode: unsafe_enable"), facts("grants: [{findings: [no_expiry]}]")
    assert [(each.how, each.findings) for each in enabled.grants] == [("unsafe_enable", ("unsafe_enable",))]
    assert (brings.mode, brings.grants[0].how) == ("enable", "enable")
    assert facts("mode: use, grants: [{findings: []}]").grants[0].how == "call"


def test_what_calls_in_full_grant_is_read_from_them() -> None:
    ground = Ground(account=Address(bytes(20)), module=SMART_SESSION, now=START, until=None, targets=())
    session = session_granted("theirs", ["no_expiry"], ground)
    data = selector(f"enableSessions({SESSION.name}[])") + encode_sessions([session])
    found = facts(f'session: none, calls: [{{to: "{MODULES["the current module"]}", data: "0x{data.hex()}"}}]')
    assert [(each.permission_id, each.findings) for each in found.grants] == [(session.permission_id, ("no_expiry",))]
    assert found.acts == ("sessions_enabled",)


def test_each_repeat_brings_its_grant_anew() -> None:
    (case,) = cases(steps("repeat: 3, every: 1h, same_nonce: true, grants: [{valid_for: 1d}], expect: passes"))
    assert [each.facts.grants[0].valid_until for each in case.steps] == [START + 86_400 + 3_600 * n for n in range(3)]
    assert len({each.facts.user_op_hash for each in case.steps}) == 3
    assert len({each.facts.nonce for each in case.steps}) == 1


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("session: none, grants: [{how: enable}]", "brings no grant in its signature; write how: call"),
        ("grants: [{how: enable}, {how: enable}]", "a signature brings one grant; write how: call"),
        ("mode: use, grants: [{how: enable}]", "of mode use brings no grant by enable; write mode: enable"),
        ("grants: [{how: enable, module: other}]", "of the module that it is for"),
        (f"grants: [{{session: 0x{'07' * 32}}}]", "only the permission id is known; write a name"),
        (f"session: 0x{'07' * 32}, mode: enable", "only the permission id is known; write a name"),
        ("grants: [{findings: [unsafe_enable]}]", "finds unsafe_enable: it finds nothing; write how: unsafe_enable"),
        ("grants: [{findings: [multichain_enable], how: call}]", "write how: enable"),
        ("grants: [{findings: [claim_policies]}]", "name the emissary"),
        ("grants: [{findings: [not_judged]}]", "action_policies_enabled"),
        ("grants: [{findings: [far_expiry], valid_for: 1d}]", "finds far_expiry: it finds nothing; leave it out"),
        ("grants: [{findings: [no_expiry], valid_for: 1d}]", "does not end after valid_for"),
        (f'module: "{MODULES["the emissary"]}", mode: unsafe_enable', "reads no grant in this signature"),
        ("session: none, mode: enable", "an operation of the owner has no mode; remove it"),
        ("grants: [{module: 5}]", "wanted an address or a name"),
        ("grants: [5]", "wanted keys and values"),
    ],
)
def test_a_grant_that_no_operation_brings_is_a_fault_of_the_case(step: str, told: str) -> None:
    fault = fault_of(step)
    assert fault.startswith("rules/a.cases.yaml:5:")
    assert told in fault


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(KINDS)), max_size=4, unique=True),
    st.sampled_from(["enable", "unsafe_enable", "call"]),
    st.lists(st.sampled_from(["shop", "bank", "account", "smart_sessions"]), max_size=3, unique=True),
    st.sampled_from(["", "valid_for: 0s, ", "valid_for: 30d, ", "valid_for: 400d, "]),
    st.sampled_from([0, 1, 2**64 - 1]),
)
def test_whatever_a_grant_says_is_found_in_it_or_told_as_a_fault(
    findings: Sequence[str], how: str, targets: Sequence[str], end: str, edge: int
) -> None:
    head = f"start: 1970-01-01T00:00:00Z\nchains: {{edge: {edge or 1868}}}\n" if edge != 1 else ""
    listed, called = ", ".join(findings), ", ".join(targets)
    step = f"grants: [{{how: {how}, {end}findings: [{listed}], targets: [{called}]}}], expect: passes"
    file = case_file(steps(step, head=head))
    if file.faults:
        assert all(each.suggestion for each in file.faults)
        return
    found = file.cases[0].steps[0].facts
    (grant,) = found.grants
    assert set(findings) <= set(grant.findings)
    assert grant.how == how
    named = facts("calls: [" + ", ".join(f"{{to: {each}}}" for each in targets) + "]") if targets else None
    assert named is None or {each.target for each in named.calls} <= set(grant.targets)


def test_more_than_the_gate_reads_of_one_operation_is_a_fault_of_the_case() -> None:
    many = ", ".join(f"{{how: call, session: s{number}}}" for number in range(200))
    assert "the gate does not read that far" in fault_of(f"grants: [{many}]")


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            "calls: [" + ", ".join(f"{{to: s{number}, size: 65536}}" for number in range(17)) + "]",
            "the gate cannot read this operation: callData: the batch describes more data than is read at once",
        ),
        (
            "call_type: single, calls: [{to: a}, {to: b}]",
            "makes 2 calls, and call_type says one; leave out",
        ),
        (
            "call_type: static, grants: [{how: call}]",
            "the gate does not read that far in this operation, of call_type",
        ),
    ],
)
def test_what_the_gate_does_not_read_is_a_fault_of_the_case(step: str, told: str) -> None:
    assert told in fault_of(step)


@pytest.mark.parametrize(
    ("step", "call_type", "targets"),
    [
        ("calls: [{to: shop}]", "single", ["shop"]),
        ("call_type: batch, calls: [{to: shop}]", "batch", ["shop"]),
        ("calls: [{to: shop}, {to: bank}]", "batch", ["shop", "bank"]),
        ("call_type: delegatecall, calls: [{to: shop}]", "delegatecall", ["shop"]),
        ("session: none, call_type: static, calls: [{to: shop}]", "static", ["account"]),
    ],
)
def test_the_type_of_a_call_is_read_from_the_call_data(step: str, call_type: str, targets: Sequence[str]) -> None:
    found = facts(step)
    assert found.call_type == call_type
    named = facts("calls: [" + ", ".join(f"{{to: {name}}}" for name in targets) + "]").calls
    assert [each.target for each in found.calls] == [each.target for each in named]


def test_an_act_that_cannot_be_done_where_the_step_is_is_a_fault_of_the_case() -> None:
    step = f'account: "{MODULES["the current module"]}", acts: [module_installed]'
    assert "no call does module_installed here" in fault_of(step)
