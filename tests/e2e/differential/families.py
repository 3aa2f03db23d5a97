"""Terms of sessions: every policy the rig has, alone and together, under every use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from random import Random

from coincurve import PrivateKey

from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.primitives import Hash32
from proxy.userop.session_data import (
    VALUE_SELECTOR,
    ActionData,
    PolicyData,
    SessionData,
)
from tests.e2e.differential.grants import (
    ACCOUNT_ID,
    ADD,
    APPROVE,
    FAIL,
    FRIEND,
    INCREMENT,
    SUPPORTS_MODULE,
    TRANSFER,
    TRANSFER_FROM,
    Budget,
    Budgets,
    Dish,
    Grant,
    Order,
    add,
    anything,
    increment,
    own_function,
    send_value,
    token_call,
)
from tests.e2e.differential.wallet import COUNTER, OWNABLE, OWNABLE_BETA, PAYMASTER, TOKEN, Wallet, address_of
from tests.session.builders import (
    action,
    arg,
    fallback,
    gas,
    node,
    only,
    rule,
    spending,
    sudo,
    time_frame,
    uni_action,
    usage,
    value_limit,
    word,
)

DAY = 86_400

EQUAL, GREATER, LESS, AT_LEAST, AT_MOST, NOT_EQUAL, IN_RANGE = range(7)


def _sum_and_bounds() -> PolicyData:
    return uni_action(rule(AT_LEAST, 0, 5), rule(LESS, 0, 100, limit=90), rule(NOT_EQUAL, 0, 13), value=3)


def _paid_to_friend() -> PolicyData:
    friend = rule(EQUAL, 0, int.from_bytes(FRIEND, "big"))
    return uni_action(friend, rule(IN_RANGE, 32, 10 << 128 | 50, limit=45))


_BOUNDS = (4, 5, 6, 12, 13, 14, 60, 98, 99, 100, 101)
_RANGE = (9, 10, 11, 30, 49, 50, 51)


def _transfer_in_range(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
    amount = budgets["paid"].aim(rng) if rng.random() < 0.4 else rng.choice(_RANGE)
    recipient = rng.choice([FRIEND, FRIEND, FRIEND, FRIEND, PAYMASTER])
    return Order(Call(TOKEN, 0, TRANSFER + word(recipient) + word(amount)), (("paid", amount),))


Terms = tuple[tuple[PolicyData, ...], tuple[ActionData, ...], tuple[Dish, ...], dict[str, int]]
"""User-operation policies, actions, menu, limits of the budgets."""


def _wide(now: int, wallet: Wallet) -> Terms:
    return (
        (time_frame(now + DAY), usage(300)),
        (
            action(COUNTER, INCREMENT, sudo, value_limit(60)),
            action(COUNTER, ADD, _sum_and_bounds()),
            action(TOKEN, TRANSFER, spending((TOKEN, 3000))),
            action(TOKEN, APPROVE, spending((TOKEN, 1500), (FRIEND, 1))),
            action(TOKEN, TRANSFER_FROM, spending((TOKEN, 700))),
            action(FRIEND, VALUE_SELECTOR, value_limit(90)),
        ),
        (
            increment("value"),
            add(_BOUNDS, "sum", 3),
            token_call(TRANSFER, "transfer", to=(FRIEND, PAYMASTER)),
            token_call(APPROVE, "approve"),
            token_call(TRANSFER_FROM, "from"),
            send_value("sent"),
        ),
        {"value": 60, "sum": 90, "transfer": 3000, "approve": 1500, "from": 700, "sent": 90},
    )


def _narrow(now: int, wallet: Wallet) -> Terms:
    return (
        (usage(7), value_limit(40)),
        (
            action(COUNTER, INCREMENT, usage(9), time_frame(now + DAY, now - DAY)),
            action(TOKEN, TRANSFER, _paid_to_friend()),
        ),
        (increment("value"), _transfer_in_range),
        {"value": 40, "paid": 45},
    )


def _fallback(now: int, wallet: Wallet) -> Terms:
    return (
        (sudo,),
        (
            fallback(usage(14), time_frame(now + DAY)),
            action(TOKEN, TRANSFER, spending((TOKEN, 500), (TOKEN, 400))),
        ),
        (anything, anything, token_call(TRANSFER, "transfer"), increment()),
        {"transfer": 400},
    )


def _fallback_alone(now: int, wallet: Wallet) -> Terms:
    """Every token shares the fallback's spending limit; a token without one has a limit of zero."""
    return (
        (),
        (fallback(spending((TOKEN, 300), (COUNTER, 50))),),
        (token_call(TRANSFER, "token"), token_call(APPROVE, "token"), token_call(TRANSFER, "other", token=COUNTER)),
        {"token": 300, "other": 50},
    )


def _own_functions(now: int, wallet: Wallet) -> Terms:
    """The account's own functions, called in a batch or, without `execute` around it, by the operation itself."""
    return (
        (usage(40),),
        (
            action(wallet.address, ACCOUNT_ID, usage(8)),
            action(wallet.address, SUPPORTS_MODULE, uni_action(rule(AT_MOST, 0, 4))),
            action(COUNTER, INCREMENT, sudo),
        ),
        (increment(), _asks_itself),
        {},
    )


def _asks_itself(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
    return Order(Call(wallet.address, 0, own_function(rng)))


def _windows(now: int, wallet: Wallet) -> Terms:
    """Each call has another window; a batch has what they have in common."""
    return (
        (time_frame(now + 2 * DAY),),
        (
            action(COUNTER, INCREMENT, time_frame(now + DAY)),
            action(COUNTER, ADD, time_frame(now - DAY)),
            action(TOKEN, APPROVE, time_frame(0, now + DAY)),
            action(TOKEN, TRANSFER, time_frame(0, now - DAY)),
        ),
        (
            *[increment()] * 5,
            add((1,)),
            token_call(APPROVE, "any"),
            *[token_call(TRANSFER, "any")] * 2,
        ),
        {"any": 10**6},
    )


def _expired(now: int, wallet: Wallet) -> Terms:
    return (time_frame(now - DAY),), (action(COUNTER, INCREMENT, sudo),), (increment(),), {}


def _early(now: int, wallet: Wallet) -> Terms:
    return (time_frame(now + 9 * DAY, now + DAY),), (action(COUNTER, INCREMENT, sudo),), (increment(),), {}


def _plain(now: int, wallet: Wallet) -> Terms:
    return (sudo,), (action(COUNTER, INCREMENT, sudo), action(COUNTER, FAIL, usage(5))), (increment(),), {}


def _without_user_op_policies(now: int, wallet: Wallet) -> Terms:
    return (), (action(COUNTER, INCREMENT, value_limit(30)),), (increment("value"),), {"value": 30}


def _metered(now: int, wallet: Wallet) -> Terms:
    """Gas as declared, at a price that depends on the block's base fee."""
    return (
        (gas(4 * 2_220_000, 2**127),),
        (action(COUNTER, INCREMENT, only(COUNTER, TOKEN)), fallback(only(TOKEN, FRIEND))),
        (increment(), increment(), anything, token_call(APPROVE, "any")),
        {"any": 100},
    )


FAMILIES: Mapping[str, Callable[[int, Wallet], Terms]] = {
    "wide": _wide,
    "narrow": _narrow,
    "fallback": _fallback,
    "fallback alone": _fallback_alone,
    "own functions": _own_functions,
    "windows": _windows,
    "expired": _expired,
    "early": _early,
    "two keys": _plain,
    "beta validator": _plain,
    "sponsored": _plain,
    "sponsored in vain": _without_user_op_policies,
    "metered": _metered,
}
SPONSORED = frozenset({"sponsored", "sponsored in vain", "wide"})


def _expression(now: int, wallet: Wallet) -> Terms:
    """Arguments that a tree of rules allows: from 5 to 99 but 13, 90 of them in all; or 777, or 778."""
    rules = [
        rule(AT_LEAST, 0, 5),
        rule(LESS, 0, 100, limit=90),
        rule(EQUAL, 0, 13),
        rule(IN_RANGE, 0, 777 << 128 | 778),
    ]
    tree = [
        node("or", left=1, right=2),
        node("and", left=3, right=4),
        node("rule", index=3),
        node("rule", index=0),
        node("and", left=5, right=6),
        node("not", left=7),
        node("rule", index=1),
        node("rule", index=2),
    ]
    return (
        (usage(60),),
        (action(COUNTER, ADD, arg(rules, tree, value=3)), action(COUNTER, INCREMENT, sudo)),
        (add((*_BOUNDS, 776, 777, 778, 779), "sum", 3),),
        {"sum": 90},
    )


MORE: Mapping[str, Callable[[int, Wallet], Terms]] = {"expression": _expression}
"""Families that the trials without a bundler have beside the others."""

THRESHOLDS: Mapping[str, tuple[int, int]] = {"one of two keys": (2, 1), "two of three keys": (3, 2)}
"""Sessions of several keys of which not all have to sign: how many there are, and how many have to."""

_salts = count(1)


def make_grant(name: str, wallet: Wallet, now: int, keys: Sequence[PrivateKey]) -> Grant:
    """A session of that family, not granted yet. `now` in unix seconds. Two keys where the family wants two."""
    policies, actions, menu, limits = (FAMILIES.get(name) or MORE.get(name) or _plain)(now, wallet)
    listed, threshold = THRESHOLDS.get(name, (2, 2) if name == "two keys" else (1, 1))
    holders = tuple(sorted(keys[:listed], key=address_of))
    session = SessionData(
        session_validator=OWNABLE_BETA if name == "beta validator" else OWNABLE,
        session_validator_init_data=owners(*holders, threshold=threshold),
        salt=Hash32(word(next(_salts))),
        user_op_policies=policies,
        actions=actions,
        permit_erc4337_paymaster=name in SPONSORED,
    )
    return Grant(
        name, wallet, session, holders[-threshold:], menu, {key: Budget(limit) for key, limit in limits.items()}
    )


def owners(*keys: PrivateKey, threshold: int) -> bytes:
    """OwnableValidator: so many of them have to sign."""
    listed = [address_of(key) for key in keys]
    return abi.encode(abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS)), [threshold, listed])
