"""Limits of tokens are told in the tokens' own units where they are known, base units beside."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.reasons import undecodable
from proxy.errors import Reason, Undecodable
from proxy.judge.evaluate import Judge
from proxy.judge.rule import Ruleset
from proxy.judge.tokens import Token, TokenPlace, Tokens
from proxy.ledger.hindrance import Refusal
from proxy.session.counters import Counter
from proxy.session.remaining import remaining
from proxy.session.state import SessionState
from proxy.session.units import Unit, in_unit, no_units, reason_in_units
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, print_checksummed
from proxy.userop.session_data import VALUE_SELECTOR, PolicyData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import Room, lane
from tests.bypass_list.desk import CHAIN_ID, a_session, batch, single, use
from tests.judge.builders import USDC
from tests.session.builders import SPENDING as SPENDING_POLICY
from tests.session.builders import (
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    enabled,
    gas,
    nothing_in_flight,
    rule,
    session,
    spending,
    sudo,
    transfer,
    uni_action,
    value_limit,
)
from tests.session.builders import USAGE as USAGE_POLICY

MILLION = 10**6
LISTED = Judge(Ruleset(tokens=Tokens({"USDC": Token("USDC", {CHAIN_ID: TokenPlace(USDC, 6)})})))
SPENDING = spending((USDC, 100 * MILLION))
UNI_ACTION = uni_action(rule(1, 32, 0, limit=100 * MILLION))


def usdc(token: Address) -> Unit | None:
    return Unit("USDC", 6) if token == USDC else None


async def refused(policy: PolicyData, *amounts: int) -> Reason:
    """Why the last of several transfers is refused, the others being in flight."""
    grant = a_session(action(USDC, TRANSFER, policy))
    room = Room(grant, rules=LISTED)

    def pays(number: int, amount: int) -> UserOperation:
        return use(grant, single(transfer(amount, token=USDC)), nonce=lane(number))

    for number, amount in enumerate(amounts[:-1]):
        await room.allowed(pays(number, amount))
    return await room.refusal(pays(len(amounts), amounts[-1]))


@pytest.mark.parametrize("policy", [SPENDING, UNI_ACTION])
async def test_a_refusal_tells_amount_rest_and_limit_in_the_tokens_unit_and_base_units_beside(
    policy: PolicyData,
) -> None:
    reason = await refused(policy, 96 * MILLION, 10 * MILLION)
    assert reason.sentence == (
        "transfer of 10 USDC, 4 left of 100 in this session; 96 of it in flight "
        f"(in base units of {print_checksummed(USDC)}: 10000000, 4000000 left of 100000000)"
    )
    assert (reason.wanted, reason.got) == ("at most 4000000", "10000000")


async def test_the_call_of_a_batch_is_named_before_it() -> None:
    grant = a_session(action(USDC, TRANSFER, SPENDING))
    room = Room(grant, rules=LISTED)
    both = batch(transfer(60 * MILLION, token=USDC), transfer(50 * MILLION + 1, token=USDC))
    reason = await room.refusal(use(grant, both))
    assert reason.sentence.startswith("call 1: transfer of 50.000001 USDC, 40 left of 100 in this session; 60 used by")


ETHER = 10**18
COIN = Judge(Ruleset(tokens=Tokens({"XDAI": Token("XDAI", native=True)})))


@pytest.mark.parametrize(("rules", "told"), [(COIN, True), (LISTED, False)], ids=["listed", "not listed"])
async def test_the_chains_own_coin_is_told_in_its_unit_where_it_is_listed(rules: Judge, told: bool) -> None:
    grant = a_session(action(STRANGER, VALUE_SELECTOR, value_limit(ETHER)))
    room = Room(grant, rules=rules)
    reason = await room.refusal(use(grant, single(Call(STRANGER, 5 * ETHER // 2, b""))))
    in_wei = f"{5 * ETHER // 2}, {ETHER} left of {ETHER}"
    assert reason.sentence == (
        f"value of 2.5 XDAI, 1 left of 1 in this session (in wei: {in_wei})"
        if told
        else f"sending {5 * ETHER // 2} wei, {ETHER} wei left of {ETHER} in this session"
    )


async def test_gas_has_its_cost_told_so_too() -> None:
    grant = a_session(action(TOKEN, TRANSFER, sudo), user_op=[gas(10**7, ETHER // 10**6)])
    room = Room(grant, rules=COIN)
    flat = {"max_fee_per_gas": 10**9, "max_priority_fee_per_gas": 10**9}  # whatever the base fee is
    reason = await room.refusal(use(grant, single(transfer(1)), **flat))
    assert reason.sentence.startswith("gas cost of 0.000298 XDAI, 0.000001 left of 0.000001 in this session (in wei: ")


@pytest.mark.parametrize(
    ("policy", "slot", "told"),
    [
        (
            SPENDING_POLICY,
            USDC,
            "spending of 10 USDC, 4 left of 100 in this session; 96 of it in flight (in base units of",
        ),
        (
            USAGE_POLICY,
            b"",
            "UsageLimitPolicy allows 4000000 more of 100000000 in this session; 96000000 of it in",
        ),
    ],
)
def test_a_limit_that_another_operation_reached_first_is_told_alike(policy: Address, slot: bytes, told: str) -> None:
    counter = Counter(TOKEN, TOKEN, policy, Hash32(bytes(32)), slot)
    reason = reason_in_units(Refusal(counter, 100 * MILLION, 0, 96 * MILLION, 10 * MILLION).reason(), usdc)
    assert reason.sentence.startswith(told)


async def test_a_token_that_nobody_listed_is_told_in_base_units() -> None:
    grant = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))
    room = Room(grant, rules=LISTED)
    reason = await room.refusal(use(grant, single(transfer(150))))
    assert reason.sentence == f"transfer of 150 of token {print_checksummed(TOKEN)}, 100 left of 100 in this session"


def test_what_is_left_of_the_chains_own_coin_is_shown_in_its_unit_too() -> None:
    state = enabled(session(action(STRANGER, VALUE_SELECTOR, value_limit(ETHER))))
    (policy,) = remaining(state, nothing_in_flight, lambda token: None if token else Unit("XDAI", 18))
    assert policy["limits"][0]["inUnits"]["left"] == "1"


def in_units(state: SessionState) -> list[object]:
    return [limit.get("inUnits") for policy in remaining(state, nothing_in_flight, usdc) for limit in policy["limits"]]


def test_what_is_left_is_shown_in_the_tokens_unit_too() -> None:
    told = {"symbol": "USDC", "limit": "100", "used": "0", "inFlight": "0", "left": "100"}
    assert in_units(enabled(session(action(USDC, TRANSFER, SPENDING, UNI_ACTION)))) == [told, told]


def test_what_is_no_amount_of_a_listed_token_has_no_unit() -> None:
    other = uni_action(rule(0, 0, 0, limit=9))
    assert in_units(enabled(session(action(USDC, TRANSFER, other), action(TOKEN, TRANSFER, UNI_ACTION)))) == [None] * 2


def test_a_reason_without_a_token_stays_as_it_is() -> None:
    reason = undecodable(Undecodable("callData", "no"))
    assert reason_in_units(reason, usdc) is reason
    assert no_units(USDC) is None


@given(st.integers(0, 2**256 - 1), st.integers(0, 77))
def test_an_amount_in_units_is_exact(amount: int, decimals: int) -> None:
    shown = in_unit(amount, Unit("T", decimals))
    assert Fraction(shown) * 10**decimals == amount
    assert "." not in shown or not shown.endswith("0")
