"""Token functions: the amount, to whom, from whom; spending limits that limit nothing."""

from __future__ import annotations

import pytest

from proxy.userop.arguments import selector
from proxy.userop.primitives import Selector
from proxy.userop.session_data import ActionData, PolicyData
from tests.session.builders import (
    ACCOUNT,
    APPROVE,
    FRIEND,
    OTHER_TOKEN,
    TOKEN,
    TRANSFER,
    action,
    arg,
    node,
    rule,
    spending,
    sudo,
    uni_action,
    usage,
)
from tests.session.lint.builders import AT_LEAST, AT_MOST, EQUAL, Pairs, capped_transfer, found, tight, to_friend

TRANSFER_FROM = Selector(bytes.fromhex("23b872dd"))
SET_APPROVAL_FOR_ALL = Selector(bytes.fromhex("a22cb465"))
SAFE_TRANSFER_FROM = Selector(bytes.fromhex("42842e0e"))
FRIEND_WORD, ACCOUNT_WORD = int.from_bytes(FRIEND, "big"), int.from_bytes(ACCOUNT, "big")
limited = spending((TOKEN, 1_000))


def with_rules(function: Selector, *rules: tuple[int, ...], more: tuple[PolicyData, ...] = ()) -> ActionData:
    return action(TOKEN, function, uni_action(*rules), *more)


PAIRS: Pairs = {
    "token_uncapped": (tight(action(TOKEN, TRANSFER, to_friend)), tight(capped_transfer)),
    "token_limit_unlimited": (
        tight(action(TOKEN, TRANSFER, spending((TOKEN, 2**255)), to_friend)),
        tight(action(TOKEN, TRANSFER, spending((TOKEN, 2**255 - 1)), to_friend)),
    ),
    "token_capped_per_call": (
        tight(with_rules(TRANSFER, rule(EQUAL, 0, 7), rule(AT_MOST, 32, 5))),
        tight(with_rules(TRANSFER, rule(EQUAL, 0, 7), rule(AT_MOST, 32, 5), more=(usage(3),))),
    ),
    "spending_limit_misses_token": (
        tight(action(TOKEN, TRANSFER, spending((OTHER_TOKEN, 9)), to_friend)),
        tight(action(TOKEN, TRANSFER, spending((OTHER_TOKEN, 9), (TOKEN, 9)), to_friend)),
    ),
    "any_recipient": (tight(action(TOKEN, TRANSFER, limited)), tight(capped_transfer)),
    "any_spender": (tight(action(TOKEN, APPROVE, limited)), tight(action(TOKEN, APPROVE, limited, to_friend))),
    "approval_allowed": (tight(action(TOKEN, APPROVE, limited, to_friend)), tight(capped_transfer)),
    "operator_approval": (
        tight(action(TOKEN, SET_APPROVAL_FOR_ALL, sudo)),
        tight(with_rules(SET_APPROVAL_FOR_ALL, rule(EQUAL, 0, FRIEND_WORD))),
    ),
    "any_holder": (
        tight(action(TOKEN, TRANSFER_FROM, limited)),
        tight(action(TOKEN, TRANSFER_FROM, limited, uni_action(rule(EQUAL, 0, ACCOUNT_WORD)))),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_finds_each_kind_and_not_in_its_neighbour(kind: str) -> None:
    faulty, sound = PAIRS[kind]
    assert kind in found(faulty)
    assert kind not in found(sound)


def test_has_nothing_to_say_of_a_capped_transfer_to_a_known_recipient() -> None:
    assert found(tight(capped_transfer)) == {}


@pytest.mark.parametrize(
    "policies",
    [
        (sudo,),
        (uni_action(rule(AT_LEAST, 32, 1)),),
        (uni_action(rule(AT_LEAST, 32, limit=2**255)),),
        (uni_action(rule(AT_MOST, 32, 2**255)),),
        (uni_action(rule(AT_MOST, 32, 2**254)), usage(3)),
        (sudo, usage(10**9)),
    ],
)
def test_takes_no_rule_for_a_cap_that_lets_any_amount_through(policies: tuple[PolicyData, ...]) -> None:
    assert "token_uncapped" in found(tight(action(TOKEN, TRANSFER, *policies)))


@pytest.mark.parametrize(
    "policies",
    [
        (uni_action(rule(AT_LEAST, 32, limit=2**255 - 1)),),
        (uni_action(rule(AT_MOST, 32, 2**253)), usage(3)),
        (arg([rule(AT_LEAST, 32, limit=9)], [node("rule")]),),
    ],
)
def test_sees_the_caps_that_rules_make(policies: tuple[PolicyData, ...]) -> None:
    places = found(tight(action(TOKEN, TRANSFER, *policies)))
    assert "token_uncapped" not in places
    assert "token_capped_per_call" not in places


def test_adds_up_the_caps_between_which_a_call_may_choose() -> None:
    half = rule(AT_LEAST, 32, limit=2**254)
    tree = [node("or", left=1, right=2), node("rule"), node("rule", index=1)]
    assert "token_uncapped" in found(tight(action(TOKEN, TRANSFER, arg([half, half], tree))))
    both = [node("and", left=1, right=2), *tree[1:]]
    assert "token_uncapped" not in found(tight(action(TOKEN, TRANSFER, arg([half, half], both))))


def test_counts_operations_as_no_limit_on_calls_for_a_batch_holds_many() -> None:
    per_call = with_rules(TRANSFER, rule(EQUAL, 0, FRIEND_WORD), rule(AT_MOST, 32, 5))
    assert found(tight(per_call)) == {"token_capped_per_call": ["actions[0]"]}


def test_sees_a_recipient_that_is_one_of_a_few() -> None:
    rules = [rule(EQUAL, 0, FRIEND_WORD), rule(EQUAL, 0, ACCOUNT_WORD)]
    tree = [node("or", left=1, right=2), node("rule"), node("rule", index=1)]
    assert found(tight(action(TOKEN, TRANSFER, limited, arg(rules, tree)))) == {}


def test_wants_the_recipient_of_transfer_from_in_its_second_argument() -> None:
    sender, recipient = rule(EQUAL, 0, ACCOUNT_WORD), rule(EQUAL, 32, FRIEND_WORD)
    assert "any_recipient" in found(tight(action(TOKEN, TRANSFER_FROM, limited, uni_action(sender))))
    assert found(tight(action(TOKEN, TRANSFER_FROM, limited, uni_action(sender, recipient)))) == {}


def test_lets_a_session_revoke_approvals() -> None:
    zero = rule(EQUAL, 32, 0)
    assert found(tight(with_rules(APPROVE, zero))) == {}
    assert found(tight(with_rules(SET_APPROVAL_FOR_ALL, zero))) == {}
    one = rule(EQUAL, 32, 1)
    assert "any_spender" in found(tight(with_rules(APPROVE, one)))
    assert "operator_approval" in found(tight(with_rules(SET_APPROVAL_FOR_ALL, one)))


def test_wants_a_number_of_uses_for_tokens_that_have_no_amount() -> None:
    rules = (rule(EQUAL, 0, ACCOUNT_WORD), rule(EQUAL, 32, FRIEND_WORD))
    assert found(tight(with_rules(SAFE_TRANSFER_FROM, *rules))) == {"token_uncapped": ["actions[0]"]}
    assert found(tight(with_rules(SAFE_TRANSFER_FROM, *rules, more=(usage(3),)))) == {}


@pytest.mark.parametrize(
    "signature",
    [
        "increaseAllowance(address,uint256)",
        "approveAndCall(address,uint256,bytes)",
        "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
        "approve(address,address,uint160,uint48)",
    ],
)
def test_knows_the_other_ways_to_approve(signature: str) -> None:
    places = found(tight(action(TOKEN, selector(signature), sudo)))
    assert {"any_spender", "token_uncapped"} <= places.keys()


def test_looks_at_every_token_of_a_spending_limit() -> None:
    policy = spending((OTHER_TOKEN, 2**255), (TOKEN, 1))
    assert found(tight(action(TOKEN, TRANSFER, policy, to_friend)))["token_limit_unlimited"] == [
        "actions[0].policies[0]"
    ]
