"""Facts a verdict was missing, asked and put where they belong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.chain import views
from proxy.chain.fill import fill, packed
from proxy.chain.node import Node
from proxy.errors import StateUnavailable
from proxy.session.facts import (
    AllowedTargetFact,
    BaseFeeFact,
    EmissaryNonceFact,
    EnableNonceFact,
    EnableSignatureFact,
    ModuleInstalledFact,
    PaymasterFlagFact,
    PolicyCheckFact,
    PolicyConfigFact,
    SessionSignatureFact,
    SessionValidatorFact,
    TokenLimitFact,
)
from proxy.session.outcome import Accepted, NeedsFacts, Refused
from proxy.session.policies.policy import PolicyKind
from proxy.session.revert import Revert
from proxy.session.signers import SignatureOutcome
from proxy.userop.emissary_abi import EMISSARY
from proxy.userop.primitives import Address, Hash32
from tests.chain.builders import FakeNode, Reverts
from tests.chain.test_hydrate import KEY, NO_PAYMASTER, PROBE, STATE
from tests.session.builders import (
    ACCOUNT,
    OTHER_TOKEN,
    SMART_SESSION,
    SPENDING,
    STRANGER,
    TARGETS,
    TOKEN,
    TRANSFER,
    UNKNOWN_POLICY,
    USAGE,
    PolicyData,
    action,
    enabled,
    fallback,
    judge,
    only,
    operation,
    session,
    spending,
    transfer,
    usage,
)

CONFIG = Hash32(b"\xc0" * 32)
NAMES = (CONFIG, SMART_SESSION, ACCOUNT)
OP = operation(STATE, transfer(1)).op
HASH = Hash32(b"\x0b" * 32)


async def test_a_policys_configuration_and_counters_go_into_the_state(node: Node, chain: FakeNode) -> None:
    chain.view(USAGE, views.GET_USAGE_LIMIT, *NAMES, returns=(9,))
    chain.view(USAGE, views.GET_USED, *NAMES, returns=(2,))
    filled = await fill(node, STATE, [PolicyConfigFact(USAGE, CONFIG)], OP)
    assert filled.state.configs[USAGE, CONFIG].limit == 9  # type: ignore[index,attr-defined]  # a NamedTuple key; a UsageLimit
    assert 2 in filled.state.used.values()


async def test_an_unknown_policys_configuration_cannot_be_read(node: Node) -> None:
    with pytest.raises(StateUnavailable, match="keeps its configuration"):
        await fill(node, STATE, [PolicyConfigFact(UNKNOWN_POLICY, CONFIG)], OP)


async def test_spent_and_approved_together_are_the_use_of_a_token(node: Node, chain: FakeNode) -> None:
    chain.view(SPENDING, views.GET_TOKEN_DATA, CONFIG, SMART_SESSION, TOKEN, ACCOUNT, returns=(100, 30, 12))
    filled = await fill(node, STATE, [TokenLimitFact(SPENDING, CONFIG, TOKEN)], OP)
    assert filled.state == STATE.with_token_limit(SPENDING, CONFIG, TOKEN, 100, 42)


async def test_a_token_without_a_limit_has_the_limit_zero(node: Node, chain: FakeNode) -> None:
    chain.view(SPENDING, views.GET_TOKEN_DATA, CONFIG, SMART_SESSION, TOKEN, ACCOUNT, returns=Reverts())
    filled = await fill(node, STATE, [TokenLimitFact(SPENDING, CONFIG, TOKEN)], OP)
    assert filled.state == STATE.with_token_limit(SPENDING, CONFIG, TOKEN, 0, 0)


async def test_a_spending_policy_that_is_not_there_is_no_limit_of_zero(node: Node) -> None:
    with pytest.raises(StateUnavailable, match="getPolicyData"):
        await fill(node, STATE, [TokenLimitFact(SPENDING, CONFIG, TOKEN)], OP)


async def test_several_facts_of_one_session_are_all_put_in(node: Node, chain: FakeNode) -> None:
    chain.view(SPENDING, views.GET_TOKEN_DATA, CONFIG, SMART_SESSION, TOKEN, ACCOUNT, returns=(100, 0, 0))
    chain.view(SPENDING, views.GET_TOKEN_DATA, CONFIG, SMART_SESSION, OTHER_TOKEN, ACCOUNT, returns=(5, 0, 0))
    chain.view(TARGETS, views.IS_TARGET_ALLOWED, *NAMES, STRANGER, returns=(True,))
    chain.view(SMART_SESSION, views.GET_NONCE, KEY.permission_id, ACCOUNT, returns=(3,))
    chain.view(SMART_SESSION, views.GET_SESSION_VALIDATOR, ACCOUNT, KEY.permission_id, returns=(STRANGER, b"\x09"))
    chain.view(SMART_SESSION, views.VALIDATE_USER_OP, PROBE, bytes(32), returns=Reverts(NO_PAYMASTER))
    facts = [
        TokenLimitFact(SPENDING, CONFIG, TOKEN),
        TokenLimitFact(SPENDING, CONFIG, OTHER_TOKEN),
        AllowedTargetFact(TARGETS, CONFIG, STRANGER),
        EnableNonceFact(),
        SessionValidatorFact(),
        PaymasterFlagFact(),
        BaseFeeFact(),
    ]
    filled = await fill(node, STATE, facts, OP)
    wanted = (
        STATE.with_token_limit(SPENDING, CONFIG, TOKEN, 100, 0)
        .with_token_limit(SPENDING, CONFIG, OTHER_TOKEN, 5, 0)
        .with_target(TARGETS, CONFIG, STRANGER, True)
        .with_enable_nonce(3)
        .with_validator(STRANGER, b"\x09")
        .with_paymaster(False)
    )
    assert (filled.state, filled.base_fee, filled.answers) == (wanted, 7, {})


async def test_the_nonce_of_the_emissary_is_an_answer_and_never_part_of_the_state(node: Node, chain: FakeNode) -> None:
    state = replace(STATE, key=KEY._replace(module=EMISSARY))
    chain.view(EMISSARY, views.EMISSARY_GET_NONCE, KEY.account, bytes(12), returns=(4,))
    filled = await fill(node, state, [EmissaryNonceFact()], OP)
    assert (filled.state, filled.answers) == (state, {EmissaryNonceFact(): 4})


async def test_a_chain_without_base_fee_cannot_tell_it(node: Node, chain: FakeNode) -> None:
    chain.base_fee = None
    with pytest.raises(StateUnavailable, match="base fee"):
        await fill(node, STATE, [BaseFeeFact()], OP)


async def test_a_paymaster_flag_that_cannot_be_told_is_a_missing_fact(node: Node) -> None:
    with pytest.raises(StateUnavailable, match="paymaster"):
        await fill(node, STATE, [PaymasterFlagFact()], OP)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ((5).to_bytes(32, "big"), 5),
        (bytes(32), 0),
        (Reverts(b"\x01\x02"), Revert(raw=b"\x01\x02")),
        (b"", Revert()),
    ],
    ids=["word", "zero", "revert", "no contract"],
)
async def test_an_unknown_policy_is_asked_as_the_module_asks(
    node: Node, chain: FakeNode, answer: bytes | Reverts, verdict: int | Revert
) -> None:
    call = transfer(5)
    chain.view(UNKNOWN_POLICY, views.CHECK_ACTION, CONFIG, ACCOUNT, call.target, call.value, call.data, returns=answer)
    chain.view(UNKNOWN_POLICY, views.CHECK_USER_OP, CONFIG, packed(OP), returns=answer)
    for_action = PolicyCheckFact(UNKNOWN_POLICY, CONFIG, PolicyKind.ACTION, call)
    for_operation = PolicyCheckFact(UNKNOWN_POLICY, CONFIG, PolicyKind.USER_OP)
    filled = await fill(node, STATE, [for_action, for_operation], OP)
    assert filled.answers == {for_action: verdict, for_operation: verdict}
    assert {params[0]["from"] for params in chain.calls_asked()} == {"0x" + SMART_SESSION.hex()}


def test_the_packed_operation_is_the_entry_points() -> None:
    op = replace(
        OP,
        factory=Address(b"\xfa" * 20),
        factory_data=b"\x01",
        paymaster=Address(b"\x9a" * 20),
        paymaster_verification_gas_limit=3,
        paymaster_post_op_gas_limit=4,
        paymaster_data=b"\x05",
        call_gas_limit=1,
        verification_gas_limit=2,
        max_fee_per_gas=6,
        max_priority_fee_per_gas=7,
        pre_verification_gas=None,
    )
    two = (2).to_bytes(16, "big") + (1).to_bytes(16, "big")
    fees = (7).to_bytes(16, "big") + (6).to_bytes(16, "big")
    paymaster = b"\x9a" * 20 + (3).to_bytes(16, "big") + (4).to_bytes(16, "big") + b"\x05"
    init_code = b"\xfa" * 20 + b"\x01"
    assert packed(op) == (op.sender, op.nonce, init_code, op.call_data, two, 0, fees, paymaster, op.signature)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((1).to_bytes(32, "big"), SignatureOutcome.VALID),
        (bytes(32), SignatureOutcome.INVALID),
        ((2).to_bytes(32, "big"), SignatureOutcome.INVALID),
        (Reverts(), SignatureOutcome.MALFORMED),
        (b"", SignatureOutcome.MALFORMED),
    ],
    ids=["true", "false", "no boolean", "revert", "no contract"],
)
async def test_an_unknown_session_validator_is_asked(
    node: Node, chain: FakeNode, answer: bytes | Reverts, outcome: SignatureOutcome
) -> None:
    chain.view(STRANGER, views.VALIDATE_SIGNATURE, HASH, b"\x51", b"\x0d", returns=answer)
    fact = SessionSignatureFact(STRANGER, b"\x0d", HASH, b"\x51")
    filled = await fill(node, STATE, [fact], OP)
    assert filled.answers[fact].outcome is outcome  # type: ignore[union-attr]  # a signature's answer is a verdict


@pytest.mark.parametrize(
    ("code", "answer", "outcome"),
    [
        (b"\x60", bytes.fromhex("1626ba7e").ljust(32, b"\0"), SignatureOutcome.VALID),
        (b"\x60", bytes.fromhex("ffffffff").ljust(32, b"\0"), SignatureOutcome.INVALID),
        (b"\x60", bytes.fromhex("1626ba7e"), SignatureOutcome.INVALID),
        (b"\x60", Reverts(), SignatureOutcome.MALFORMED),
        (b"", bytes.fromhex("1626ba7e").ljust(32, b"\0"), SignatureOutcome.UNKNOWN),
    ],
    ids=["magic", "other", "short", "revert", "not deployed"],
)
async def test_the_account_is_asked_about_its_owners_grant(
    node: Node, chain: FakeNode, code: bytes, answer: bytes | Reverts, outcome: SignatureOutcome
) -> None:
    chain.codes[ACCOUNT] = code
    chain.view(ACCOUNT, views.IS_VALID_SIGNATURE, HASH, b"\x09", returns=answer)
    fact = EnableSignatureFact(ACCOUNT, HASH, b"\x09")
    filled = await fill(node, STATE, [fact], OP)
    assert filled.answers[fact].outcome is outcome  # type: ignore[union-attr]  # a signature's answer is a verdict


@pytest.mark.parametrize(
    ("answer", "installed"),
    [((False,), 0), ((True,), 1), (b"", 1), (bytes(31), 1), (Reverts(), 1), ({"code": -32000, "message": "busy"}, 1)],
    ids=["absent", "there", "no answer", "half an answer", "no such function", "a node in trouble"],
)
async def test_an_account_without_the_module_is_one_that_says_so(
    node: Node, chain: FakeNode, answer: tuple[bool] | bytes | Reverts, installed: int
) -> None:
    chain.view(ACCOUNT, views.IS_MODULE_INSTALLED, 1, SMART_SESSION, b"", returns=answer)
    filled = await fill(node, STATE, [ModuleInstalledFact()], OP)
    assert filled.answers == {ModuleInstalledFact(): installed}


async def test_what_enforce_asks_for_lets_it_decide(node: Node, chain: FakeNode) -> None:
    grant = session(
        action(TOKEN, TRANSFER, spending((TOKEN, 100)), usage(3), PolicyData(UNKNOWN_POLICY, b"")),
        fallback(only(TOKEN)),
    )
    full = enabled(grant)
    bare = full.without_policy_knowledge()
    config_id = full.action_config_id(next(iter(full.actions)))
    names = (config_id, SMART_SESSION, ACCOUNT)
    call = transfer(60)
    chain.view(SPENDING, views.GET_TOKEN_DATA, config_id, SMART_SESSION, TOKEN, ACCOUNT, returns=(100, 30, 10))
    chain.view(USAGE, views.GET_USAGE_LIMIT, *names, returns=(3,))
    chain.view(USAGE, views.GET_USED, *names, returns=(0,))
    check = (config_id, ACCOUNT, call.target, call.value, call.data)
    chain.view(UNKNOWN_POLICY, views.CHECK_ACTION, *check, returns=(0,))

    async def verdict_on(amount: int) -> Accepted | Refused:
        state, answers = bare, {}
        for _ in range(4):
            verdict = judge(state, transfer(amount), options={"answers": answers})
            if not isinstance(verdict, NeedsFacts):
                return verdict
            filled = await fill(node, state, verdict.facts, OP)
            state, answers = filled.state, {**answers, **filled.answers}
        raise AssertionError("asks without end")

    assert isinstance(await verdict_on(60), Accepted)
    chain.calls.clear()
    chain.view(SPENDING, views.GET_TOKEN_DATA, config_id, SMART_SESSION, TOKEN, ACCOUNT, returns=(100, 30, 11))
    chain.view(USAGE, views.GET_USAGE_LIMIT, *names, returns=(3,))
    chain.view(USAGE, views.GET_USED, *names, returns=(0,))
    chain.view(UNKNOWN_POLICY, views.CHECK_ACTION, *check, returns=(0,))
    assert isinstance(await verdict_on(60), Refused)
