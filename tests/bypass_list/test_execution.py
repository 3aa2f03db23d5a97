"""Ways round the gate in what an operation does, (r) to (y): wrappers, self-calls, modules, signatures, approvals.

Each test is one item of the list of known bypasses; where a bundler-side gate cannot see something, it says so.
"""

from __future__ import annotations

from typing import Any

import pytest

from proxy.errors import Code
from proxy.userop.acts import (
    AccountUpgraded,
    Act,
    Control,
    ControlChanged,
    Erc1271PoliciesEnabled,
    ModuleInstalled,
    OwnersChanged,
    SessionRemoved,
    SessionsEnabled,
    Unreadable,
)
from proxy.userop.arguments import selector
from proxy.userop.execution import EXECUTE_USER_OP, Call
from proxy.userop.primitives import UINT256_MAX, Address, Hash32, Selector
from proxy.userop.session_abi import encode_sessions
from proxy.userop.session_data import (
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    ActionData,
    ERC7739Context,
    ERC7739Data,
    SessionData,
)
from proxy.userop.transfers import AssetKind, MovementKind
from proxy.userop.transfers_permit2 import PERMIT2
from tests.bypass_list.desk import (
    MODULE,
    OWNER_NONCE,
    V07,
    Desk,
    a_session,
    an_operation,
    batch,
    reading,
    single,
    use,
)
from tests.session.builders import ACCOUNT, FRIEND, TOKEN, TRANSFER, action, fallback, gas, spending, sudo, transfer
from tests.userop.calldata import call

GRANT = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))
ANYTHING = a_session(fallback(sudo), salt=4)
EXECUTOR = Address(b"\xe7" * 20)
PERMISSION = Hash32(b"\x50" * 32)
REMOVE = call(MODULE, "removeSession(bytes32)", PERMISSION)


def owners(call_data: bytes) -> tuple[Act, ...]:
    """The acts of an operation that the owner signed."""
    return reading(an_operation(call_data, nonce=OWNER_NONCE)).acts


def self_call(signature: str, *arguments: Any) -> Call:
    return call(ACCOUNT, signature, *arguments)


# (r) the executeUserOp prefix


async def test_r_a_session_behind_the_execute_user_op_prefix_is_refused_as_on_chain() -> None:
    op = use(GRANT, EXECUTE_USER_OP + single(transfer(1)))
    assert (await Desk(GRANT).refusal(op)).code is Code.SESSION_SCOPE


def test_r_an_owners_acts_behind_the_prefix_are_found() -> None:
    assert owners(EXECUTE_USER_OP + single(REMOVE)) == (SessionRemoved(MODULE, PERMISSION),)


# (s) calls of the account to itself


SELF_CALLS: list[tuple[Call, Act]] = [
    (self_call("installModule(uint256,address,bytes)", 2, EXECUTOR, b""), ModuleInstalled(2, EXECUTOR, b"")),
    (self_call("upgradeToAndCall(address,bytes)", EXECUTOR, b"x"), AccountUpgraded(EXECUTOR, b"x")),
    (self_call("swapOwner(address,address,address)", FRIEND, TOKEN, EXECUTOR), OwnersChanged(EXECUTOR, TOKEN)),
    (self_call("setFallbackHandler(address)", EXECUTOR), ControlChanged(Control.FALLBACK_HANDLER, EXECUTOR)),
]


@pytest.mark.parametrize(("inner", "act"), SELF_CALLS)
async def test_s_a_self_call_that_no_action_allows_is_refused(inner: Call, act: Act) -> None:
    assert (await Desk(GRANT).refusal(use(GRANT, single(inner)))).code is Code.SESSION_SCOPE


@pytest.mark.parametrize(("inner", "act"), SELF_CALLS)
async def test_s_a_self_call_that_the_session_allows_passes_and_its_act_is_recorded(inner: Call, act: Act) -> None:
    """The limit: the gate never refuses what the owner granted, and a fallback policy grants this. It says so."""
    judgement = await Desk(ANYTHING).allowed(use(ANYTHING, single(inner)))
    assert judgement.operation is not None
    assert judgement.operation.acts == (act,)


@pytest.mark.parametrize("wrap", [single, batch])
async def test_s_execute_on_oneself_is_refused_even_when_everything_is_allowed(wrap: Any) -> None:
    inner = Call(ACCOUNT, 0, wrap(transfer(1)))
    assert (await Desk(ANYTHING).refusal(use(ANYTHING, single(inner)))).code is Code.SESSION_SCOPE


@pytest.mark.parametrize("inner_selector", ["ea5a6d91", "7eba07b8"])
async def test_s_calls_put_together_at_run_time_are_recorded_as_unreadable(inner_selector: str) -> None:
    composable = Call(ACCOUNT, 0, bytes.fromhex(inner_selector) + bytes(64))
    judgement = await Desk(ANYTHING).allowed(use(ANYTHING, single(composable)))
    assert judgement.operation is not None
    (act,) = judgement.operation.acts
    assert isinstance(act, Unreadable)
    assert [movement.kind for movement in judgement.operation.movements] == [MovementKind.OPAQUE]


async def test_s_one_bad_call_in_a_batch_refuses_the_whole() -> None:
    reason = await Desk(GRANT).refusal(use(GRANT, batch(transfer(1), SELF_CALLS[0][0])))
    assert (reason.code, reason.call) == (Code.SESSION_SCOPE, 1)


# (t) the fallback policy and its two sentinels


async def test_t_the_fallback_allows_any_target_but_the_session_module_and_the_sentinel() -> None:
    desk = Desk(ANYTHING)
    await desk.allowed(use(ANYTHING, single(transfer(10**30))))
    for inner in (REMOVE, Call(FLAG_TARGET, 0, b""), Call(FLAG_TARGET, 0, bytes.fromhex("00000001"))):
        assert (await desk.refusal(use(ANYTHING, single(inner)))).code is Code.SESSION_SCOPE


async def test_t_a_session_that_may_call_the_session_module_escalates_in_plain_sight() -> None:
    """The limit: the owner granted it. The grant shows the sentinel, and the operation shows what it enables."""
    escalating = a_session(ActionData(SMART_SESSION_CALL_SELECTOR, FLAG_TARGET, (sudo,)), salt=5)
    enable = Call(MODULE, 0, bytes.fromhex("21712407") + encode_sessions([ANYTHING]))
    judgement = await Desk(escalating).allowed(use(escalating, single(enable)))
    assert judgement.operation is not None
    assert judgement.operation.acts == (SessionsEnabled(MODULE, (ANYTHING,)),)


async def test_t_the_exact_action_decides_and_the_fallback_does_not_help_it() -> None:
    both = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))), fallback(sudo), salt=6)
    desk = Desk(both)
    assert (await desk.refusal(use(both, single(transfer(101))))).code is Code.LIMIT_EXCEEDED
    await desk.allowed(use(both, single(transfer(100))))


# (u) executors


def test_u_an_executor_is_seen_when_it_is_installed() -> None:
    """The limit: what an installed executor later runs on the account is no operation and never comes by here."""
    inner = self_call("installModule(uint256,address,bytes)", 2, EXECUTOR, b"orders")
    assert owners(single(inner)) == (ModuleInstalled(2, EXECUTOR, b"orders"),)


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("executeFromExecutor(bytes32,bytes)", (bytes(32), b"")),
        ("executeOnOwnedAccount(address,bytes)", (ACCOUNT, b"")),
    ],
)
def test_u_a_call_to_an_executor_is_opaque_not_harmless(signature: str, arguments: tuple[Any, ...]) -> None:
    decoded = reading(an_operation(single(call(EXECUTOR, signature, *arguments)), nonce=OWNER_NONCE))
    (movement,) = decoded.movements
    assert (movement.kind, movement.amount, movement.counterparty) == (MovementKind.OPAQUE, None, EXECUTOR)


def test_u_calls_an_account_runs_as_its_own_executor_are_opened() -> None:
    inner = self_call("executeFromExecutor(bytes32,bytes)", bytes(32), MODULE + bytes(32) + REMOVE.data)
    assert owners(single(inner)) == (SessionRemoved(MODULE, PERMISSION),)


# (v) fallback handlers


async def test_v_a_function_of_the_account_other_than_execute_has_no_fallback_policy() -> None:
    unknown = bytes.fromhex("12345678") + bytes(32)
    assert (await Desk(ANYTHING).refusal(use(ANYTHING, unknown))).code is Code.SESSION_SCOPE
    exact = a_session(action(ACCOUNT, Selector(unknown[:4]), sudo), salt=7)
    await Desk(exact).allowed(use(exact, unknown))


def test_v_a_fallback_handler_is_seen_when_it_is_installed() -> None:
    """The limit: which code then answers an unknown selector of the account is the chain's to know."""
    inner = self_call("installModule(uint256,address,bytes)", 3, EXECUTOR, b"\x12\x34\x56\x78\x00")
    assert owners(single(inner)) == (ModuleInstalled(3, EXECUTOR, b"\x12\x34\x56\x78\x00"),)


# (w) signatures off chain


CONTENTS = ERC7739Data(contexts=(ERC7739Context(Hash32(b"\xd0" * 32), ("Permit(address owner)",)),))


def test_w_a_session_that_may_sign_off_chain_is_seen_when_it_is_granted() -> None:
    """The limit: isValidSignature is asked by other contracts, no operation exists and no gate before a bundler can
    see it. What a session may sign stands in its grant, whichever way it is granted."""
    signing = SessionData(
        session_validator=FRIEND,
        session_validator_init_data=b"",
        salt=PERMISSION,
        erc7739_policies=CONTENTS,
    )
    (granted,) = owners(single(Call(MODULE, 0, bytes.fromhex("21712407") + encode_sessions([signing]))))
    assert isinstance(granted, SessionsEnabled)
    assert granted.sessions[0].erc7739_policies == CONTENTS
    contents: tuple[Any, ...] = ([(b"\xd0" * 32, ["Permit(address owner)"])], [])
    added = call(
        MODULE, "enableERC1271Policies(bytes32,((bytes32,string[])[],(address,bytes)[]))", PERMISSION, contents
    )
    assert owners(single(added)) == (Erc1271PoliciesEnabled(MODULE, PERMISSION, CONTENTS),)


# (x) approvals


@pytest.mark.parametrize(
    ("target", "signature", "arguments", "unlimited"),
    [
        (TOKEN, "approve(address,uint256)", (FRIEND, 7), False),
        (TOKEN, "approve(address,uint256)", (FRIEND, UINT256_MAX), True),
        (TOKEN, "increaseAllowance(address,uint256)", (FRIEND, 7), False),
        (TOKEN, "setApprovalForAll(address,bool)", (FRIEND, True), True),
        (PERMIT2, "approve(address,address,uint160,uint48)", (TOKEN, FRIEND, 7, 2**40), False),
        (
            PERMIT2,
            "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)",
            (ACCOUNT, ((TOKEN, 2**160 - 1, 2**40, 0), FRIEND, 2**40), b"sig"),
            True,
        ),
    ],
)
def test_x_an_approval_is_an_exposure_although_nothing_moves_yet(
    target: Address, signature: str, arguments: tuple[Any, ...], unlimited: bool
) -> None:
    """The limit: the spending itself comes later, from elsewhere, and is no operation of this account."""
    inner = call(target, signature, *arguments)
    (movement,) = reading(an_operation(single(inner), nonce=OWNER_NONCE)).movements
    assert (movement.kind, movement.token, movement.counterparty) == (MovementKind.EXPOSURE, TOKEN, FRIEND)
    assert movement.unlimited is unlimited


async def test_x_an_approval_counts_against_the_sessions_spending_limit() -> None:
    approving = a_session(action(TOKEN, selector("approve(address,uint256)"), spending((TOKEN, 100))), salt=8)
    desk = Desk(approving)
    within, over = (call(TOKEN, "approve(address,uint256)", FRIEND, amount) for amount in (100, 101))
    assert (await desk.refusal(use(approving, single(over)))).code is Code.LIMIT_EXCEEDED
    await desk.allowed(use(approving, single(within)))


# (y) the account's deposit, and gas


@pytest.mark.parametrize(
    ("signature", "arguments", "value"),
    [
        ("depositTo(address)", (ACCOUNT,), 5),
        ("depositTo(address)", (FRIEND,), 5),
        ("withdrawTo(address,uint256)", (FRIEND, 5), 0),
    ],
)
def test_y_what_goes_into_or_out_of_the_accounts_deposit_is_a_spend(
    signature: str, arguments: tuple[Any, ...], value: int
) -> None:
    inner = call(V07.address, signature, *arguments, value=value)
    (movement,) = reading(an_operation(single(inner), nonce=OWNER_NONCE)).movements
    assert (movement.kind, movement.asset, movement.amount) == (MovementKind.SPEND, AssetKind.NATIVE, 5)
    assert movement.counterparty == arguments[0]


async def test_y_gas_is_limited_where_the_session_has_a_gas_policy() -> None:
    """The limit: without such a policy a session may burn the account's whole balance as fees, and the chain agrees."""
    asked = 50_000 + 200_000 + 48_000
    for limit, passes in ((asked, True), (asked - 1, False)):
        capped = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))), user_op=[gas(limit, 10**18)], salt=9)
        op = use(capped, single(transfer(1)), max_fee_per_gas=10**9)
        if passes:
            await Desk(capped).allowed(op)
        else:
            assert (await Desk(capped).refusal(op)).code is Code.LIMIT_EXCEEDED
