"""What a gate knows of accounts, as the blocks of a chain are held against it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from proxy.app.settling import GateAcquaintance
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.ledger.memory import MemoryLedger
from proxy.session.counters import SessionKey
from proxy.session.known import Source, Status
from proxy.session.registry import Registry
from proxy.session.shelf import PackedSession
from proxy.userop.primitives import Address, Hash32
from tests.admission.builders import TWICE, key_of
from tests.chain.builders import Clock, Shelf

KEY = key_of(TWICE)
ACCOUNTS = [Address(number.to_bytes(20, "big")) for number in range(1, 11)]


def put(registry: Registry, account: Address, *, chain_id: int = KEY.chain_id, at: float = 0.0) -> None:
    key = SessionKey(chain_id, KEY.module, account, Hash32(bytes(12) + account))
    registry.restore(key, PackedSession(Status.IN_FORCE, Source.GRANT, at, None, None, None))


@pytest.fixture
def registry() -> Registry:
    """Ten accounts with sessions on this chain, and as many on another one."""
    registry = Registry()
    for number, account in enumerate(ACCOUNTS):
        put(registry, account, at=float(number))
        put(registry, Address(bytes(reversed(account))), chain_id=KEY.chain_id + 1, at=float(number))
    return registry


@pytest.fixture
def knows(registry: Registry) -> GateAcquaintance:
    none, clock = cast(Any, None), Clock()
    settlement = Settlement(
        registry=registry,
        ledger=MemoryLedger(sessions=registry),
        keeper=Shelf(),
        clock=clock,
        patience=Patience(),
        tell=lambda _: None,
    )
    return GateAcquaintance(KEY.chain_id, registry, settlement, telling=none, quiet=none, order=none)


def test_every_account_of_the_chain_has_its_turn_before_one_has_it_again(knows: GateAcquaintance) -> None:
    for most in (1, 3, 4, 10, 20):
        seen: list[Address] = []
        while len(seen) < len(ACCOUNTS):
            turn = knows.some_accounts(most)
            assert 0 < len(turn) <= most
            seen += turn
        assert sorted(seen) == sorted(ACCOUNTS)


def test_who_changes_meanwhile_takes_nobody_s_turn(knows: GateAcquaintance, registry: Registry) -> None:
    seen = [*knows.some_accounts(4)]
    for number in range(3):
        put(registry, Address(bytes(19) + bytes([100 + number])), at=100.0 + number)
    seen += knows.some_accounts(4)
    seen += knows.some_accounts(4)
    assert sorted(seen) == sorted(ACCOUNTS)


def test_where_nobody_is_known_nobody_has_a_turn() -> None:
    none = cast(Any, None)
    assert GateAcquaintance(KEY.chain_id, Registry(), none, telling=none, quiet=none, order=none).some_accounts(5) == ()
