"""Sessions as a trial knows them, each with a menu of calls that it allows and a memory of what is left.

The memory serves to aim: amounts are chosen around what remains of a limit. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from coincurve import PrivateKey

from proxy.userop.arguments import selector
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import (
    VALUE_SELECTOR,
    EnableSession,
    SessionData,
)
from proxy.userop.signature import SessionMode
from tests.e2e.differential.wallet import COUNTER, PAYMASTER, TOKEN, Wallet
from tests.session.builders import (
    address,
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


def own_function(rng: Random) -> bytes:
    return rng.choice([ACCOUNT_ID, SUPPORTS_MODULE + word(rng.choice([1, 4, 5])), SUPPORTS_MODULE, ACCOUNT_ID[:3]])
