"""What the follower of a chain's blocks asks of those who know accounts, sessions and operations, and tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proxy.chain.settlement.slices import OperationMined
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Address, Hash32


class Acquaintance(Protocol):
    """What this gate knows of accounts, sessions and operations, as far as blocks are held against it."""

    def watches(self, account: Address) -> bool:
        """Whether a session of this account is known, in flight or not."""

    def is_ours(self, user_op_hash: Hash32) -> bool:
        """Whether the operation came through here, as far back as that is remembered."""

    def is_claimed_twice(self, user_op_hash: Hash32) -> bool:
        """Whether an operation in flight came under several claims: its bundle shows under which it counts."""

    def sessions_of(self, module: Address, account: Address) -> Sequence[SessionKey]:
        """The known sessions of an account at a module."""

    def used(self, event: OperationMined, sessions: Sequence[SessionKey], *, ours: bool, enables: bool) -> None:
        """An operation of these sessions was mined, and settled; one that `enables` brought its session's grant along,
        of which no event tells. Never raises."""

    def some_accounts(self, most: int) -> Sequence[Address]:
        """Watched accounts, others each time until all had their turn."""

    def granted(self, key: SessionKey, transaction: Hash32) -> None:
        """A session of a watched account was granted in this transaction by nothing that came through here. Never
        raises."""
