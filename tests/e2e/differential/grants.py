"""Sessions over every policy the rig has, each with a menu of calls that it allows and a memory of what is left.

The memory serves to aim: amounts are chosen around what remains of a limit. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from coincurve import PrivateKey

from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import (
    VALUE_SELECTOR,
    ActionData,
    EnableSession,
    PolicyData,
    SessionData,
)
from proxy.userop.signature import SessionMode
from tests.e2e.differential.wallet import COUNTER, PAYMASTER, TOKEN, Wallet, address_of
from tests.session.builders import (
    action,
    address,
    fallback,
    gas,
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

INCREMENT, ADD, FAIL = (selector(text) for text in ("increment()", "add(uint256)", "fail()"))
TRANSFER, APPROVE, TRANSFER_FROM, MINT = (
    selector(text)
    for text in (
        "transfer(address,uint256)",
        "approve(address,uint256)",
        "transferFrom(address,address,uint256)",
        "mint(address,uint256)",
    )
)
ACCOUNT_ID, SUPPORTS_MODULE = selector("accountId()"), selector("supportsModule(uint256)")
FRIEND = address("0x00000000000000000000000000000000f00df00d")
OWNABLE = address("0x000000000013fdB5234E4E3162a810F54d9f7E98")
OWNABLE_BETA = address("0x0000000000e9e6e96bcaa3c113187cdb7e38aed9")
DAY = 86_400

EQUAL, GREATER, LESS, AT_LEAST, AT_MOST, NOT_EQUAL, IN_RANGE = range(7)


@dataclass
class Budget:
    """A limit on chain, and how much of it is gone as far as the receipts tell."""

    limit: int
    used: int = 0

    def aim(self, rng: Random) -> int:
        """An amount that is small, or right at what is left, or one beside it, or absurd."""
        left = max(self.limit - self.used, 0)
        shot = rng.random()
        if shot < 0.62:
            return rng.randint(0, max(self.limit // 12, 1))
        if shot < 0.93:
            return rng.choice([left, left, max(left - 1, 0), left + 1, left + 1])
        return rng.choice([self.limit + 1, 2**128, 2**256 - 1])


@dataclass(frozen=True)
class Order:
    """One call off a menu, and what it takes from which budget."""

    call: Call
    uses: tuple[tuple[str, int], ...] = ()


Budgets = Mapping[str, Budget]
Dish = Callable[[Random, Budgets, Wallet], Order]


@dataclass
class Grant:
    """One session of one wallet. `nonce` is the enable nonce, `signed` the last grant that the chain has taken."""

    name: str
    wallet: Wallet
    session: SessionData
    keys: tuple[PrivateKey, ...]
    menu: Sequence[Dish]
    budgets: dict[str, Budget]
    nonce: int = 0
    signed: tuple[SessionMode, EnableSession] | None = None
    removed: bool = False

    def took(self, orders: Sequence[Order]) -> None:
        for order in orders:
            for name, amount in order.uses:
                self.budgets[name].used += amount

    def afresh(self) -> None:
        """Enabled again: counters begin at zero."""
        self.removed = False
        for budget in self.budgets.values():
            budget.used = 0

    def with_salt(self, salt: int) -> Grant:
        """The same terms under another permission id, not granted yet."""
        return replace(
            self,
            session=replace(self.session, salt=Hash32(word(salt))),
            budgets={name: Budget(budget.limit) for name, budget in self.budgets.items()},
            nonce=0,
            signed=None,
            removed=False,
        )


def increment(budget: str | None = None) -> Dish:
    def serve(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
        value = 0 if budget is None or rng.random() < 0.3 else budgets[budget].aim(rng)
        return Order(Call(COUNTER, value, INCREMENT), ((budget, value),) if budget else ())

    return serve


def add(aims: Sequence[int], budget: str | None = None, most_value: int = 0) -> Dish:
    """`aims` are the arguments worth trying; the budget, if any, limits their sum."""

    def serve(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
        number = budgets[budget].aim(rng) if budget and rng.random() < 0.4 else rng.choice(aims)
        value = rng.choice([0, 0, 0, most_value, most_value + 1]) if most_value else 0
        return Order(Call(COUNTER, value, ADD + word(number)), ((budget, number),) if budget else ())

    return serve


def token_call(kind: Selector, budget: str, *, to: Sequence[Address] = (FRIEND,), token: Address = TOKEN) -> Dish:
    def serve(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
        amount, recipient = budgets[budget].aim(rng), rng.choice(to)
        if kind != TRANSFER_FROM:
            return Order(Call(token, 0, kind + word(recipient) + word(amount)), ((budget, amount),))
        recipient = rng.choice([recipient, wallet.address])
        data = kind + word(wallet.address) + word(recipient) + word(amount)
        return Order(Call(token, 0, data), ((budget, 0 if recipient == wallet.address else amount),))

    return serve


def send_value(budget: str) -> Dish:
    def serve(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
        value = budgets[budget].aim(rng)
        data = rng.choice([b"", b"", b"\x01\x02\x03", VALUE_SELECTOR])
        return Order(Call(FRIEND, value, data), ((budget, value),))

    return serve


def anything(rng: Random, budgets: Budgets, wallet: Wallet) -> Order:
    """What only a fallback action allows."""
    calls = [
        Call(TOKEN, 0, MINT + word(FRIEND) + word(1)),
        Call(FRIEND, rng.randint(0, 3), b""),
        Call(COUNTER, 0, FAIL),
        Call(PAYMASTER, 0, rng.randbytes(4)),
        Call(wallet.address, 0, rng.randbytes(8)),
    ]
    return Order(rng.choice(calls))


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


def own_function(rng: Random) -> bytes:
    return rng.choice([ACCOUNT_ID, SUPPORTS_MODULE + word(rng.choice([1, 4, 5])), SUPPORTS_MODULE, ACCOUNT_ID[:3]])


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

_salts = count(1)


def make_grant(name: str, wallet: Wallet, now: int, keys: Sequence[PrivateKey]) -> Grant:
    """A session of that family, not granted yet. `now` in unix seconds. Two keys where the family wants two."""
    policies, actions, menu, limits = FAMILIES[name](now, wallet)
    holders = tuple(sorted(keys[:2], key=address_of)) if name == "two keys" else (keys[0],)
    session = SessionData(
        session_validator=OWNABLE_BETA if name == "beta validator" else OWNABLE,
        session_validator_init_data=owners(*holders),
        salt=Hash32(word(next(_salts))),
        user_op_policies=policies,
        actions=actions,
        permit_erc4337_paymaster=name in SPONSORED,
    )
    return Grant(name, wallet, session, holders, menu, {key: Budget(limit) for key, limit in limits.items()})


def owners(*keys: PrivateKey) -> bytes:
    """OwnableValidator: all of them have to sign."""
    listed = [address_of(key) for key in keys]
    return abi.encode(abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS)), [len(listed), listed])
