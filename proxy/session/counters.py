"""What is counted on chain, and by how much an operation would move it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from proxy.record import record
from proxy.userop.budget import Budget
from proxy.userop.primitives import Address, Hash32

_UNRATIONED: Final = 1 << 62
"""Of a meter that is read outside the judgement of an operation."""


class SessionKey(NamedTuple):
    """Names one session: the same permission id may live on several chains, modules and accounts.

    A plain tuple, because it is hashed on every look-up.
    """

    chain_id: int
    module: Address
    account: Address
    permission_id: Hash32


class HoldName(NamedTuple):
    """Names one claim on one operation: the hash does not cover the signature, so that the same operation may come
    under several sessions, and under one both as a grant and as a use. `session` is `None` for an operation that no
    session signed, `grant` the enable nonce that it uses up, `None` where it grants nothing by its signature."""

    user_op_hash: Hash32
    session: SessionKey | None
    grant: int | None = None


class ConfigKey(NamedTuple):
    """Names what one policy contract stores: by config id, then multiplexer (the session module), then account."""

    module: Address
    account: Address
    policy: Address
    config_id: Hash32


class Counter(NamedTuple):
    """Names one number that one policy contract keeps. A plain tuple, because it is hashed on every look-up.

    `slot` tells apart the numbers of one configuration: empty where there is one, the token of a spending limit,
    `gas` and `cost` of the gas policy, one byte for the rule index of the universal and the arg policy.
    """

    module: Address
    account: Address
    policy: Address
    config_id: Hash32
    slot: bytes = b""


@record()
class Charge:
    """One operation's claim on one counter: use + `amount` must stay within `limit` (units of the policy)."""

    counter: Counter
    amount: int
    limit: int


@record()
class Usage:
    """Where a counter's present use comes from: the chain, operations in flight, earlier calls of this operation."""

    on_chain: int
    in_flight: int
    this_operation: int

    @property
    def total(self) -> int:
        """The use that the next charge is added to."""
        return self.on_chain + self.in_flight + self.this_operation


class Meter:
    """Reads the effective use of one configuration's counters; it writes nothing."""

    __slots__ = ("_in_flight", "_key", "_on_chain", "_pending", "budget")

    def __init__(
        self,
        key: ConfigKey,
        on_chain: Mapping[Counter, int],
        pending: Mapping[Counter, int] | None = None,
        in_flight: Callable[[Counter], int] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.budget = Budget(_UNRATIONED) if budget is None else budget  # pays for what a policy looks at
        self._key = key
        self._on_chain = on_chain
        self._pending = pending or {}
        self._in_flight = in_flight

    def counter(self, slot: bytes = b"") -> Counter:
        """The counter behind a slot of this configuration."""
        return Counter(*self._key, slot)

    def settled(self) -> Meter:
        """The same counters as if nothing were in flight."""
        return Meter(self._key, self._on_chain, self._pending, budget=self.budget)

    def used(self, slot: bytes = b"") -> int:
        """Use on chain + in flight + by earlier calls of this operation."""
        counter = Counter(*self._key, slot)
        total = self._on_chain.get(counter, 0)
        if self._in_flight is not None:
            total += self._in_flight(counter)
        if self._pending:
            total += self._pending.get(counter, 0)
        return total

    def usage(self, slot: bytes = b"") -> Usage:
        """The same, told apart for the words of a refusal."""
        counter = Counter(*self._key, slot)
        return Usage(
            on_chain=self._on_chain.get(counter, 0),
            in_flight=self._in_flight(counter) if self._in_flight is not None else 0,
            this_operation=self._pending.get(counter, 0),
        )


def merge_charges(charges: Sequence[Charge]) -> tuple[Charge, ...]:
    """One charge per counter, in the order first met; a counter has one limit at a time.

    Each step was held against the limit with all earlier ones added, so the sum is within it as well.
    """
    if len(charges) < 2:
        return tuple(charges)
    merged: dict[Counter, Charge] = {}
    for charge in charges:
        earlier = merged.get(charge.counter)
        if earlier is not None:
            charge = Charge(charge.counter, earlier.amount + charge.amount, charge.limit)  # noqa: PLW2901  # the sum replaces the part
        merged[charge.counter] = charge
    return tuple(merged.values())
