"""What a gate does beside serving leaves nothing behind, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from proxy.edge.storage.housekeeping import count_sessions, prune
from proxy.edge.storage.store import Store
from proxy.ledger.counting_time import CountingTime
from proxy.session.counters import SessionKey
from proxy.session.freezes import Freeze
from proxy.session.known import Source, Status
from proxy.session.registry import Registry
from proxy.session.shelf import PackedSession
from proxy.userop.primitives import Address, Hash32
from tests.admission.builders import TWICE, key_of
from tests.edge.builders import gate_metrics
from tests.patience import PATIENCE_SECONDS

LONG_AGO, FEW = 1_000.0, 2_000
KEY = key_of(TWICE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "gate.db")) as opened:
        yield opened


def removed(many: int) -> Registry:
    registry = Registry()
    for number in range(many):
        own = number.to_bytes(32, "big")
        key = SessionKey(KEY.chain_id, KEY.module, Address(own[12:]), Hash32(own))
        registry.restore(key, PackedSession(Status.REMOVED, Source.GRANT, LONG_AGO, None, None, None))
    return registry


async def test_all_sessions_that_were_removed_long_ago_are_forgotten(store: Store) -> None:
    registry = removed(FEW)
    pruning = asyncio.create_task(
        prune(registry, store, CountingTime(time.time, time.monotonic), retention_days=30, chains=(KEY.chain_id,))
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(registry):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0)
    pruning.cancel()


@pytest.mark.parametrize("ids", [1, FEW])
def test_sessions_are_counted_in_pieces_however_many_freezes_hold_some_of_them_and_of_however_many_ids(
    ids: int,
) -> None:
    metrics, registry = gate_metrics(), Registry()
    for number in range(FEW):
        account, own = Address(number.to_bytes(20, "big")), Hash32((number % ids).to_bytes(32, "big"))
        key = SessionKey(KEY.chain_id, KEY.module, account, own)
        registry.restore(key, PackedSession(Status.REMOVED, Source.GRANT, LONG_AGO, None, None, None))
        if number % 2 == 0:
            registry.freezes.put(Freeze(permission_id=own, account=account, since=0.0))
    pieces = count_sessions(metrics, registry, {KEY.chain_id: "soneium"})
    assert FEW // 2 > sum(1 for _ in pieces) > 5
    shown = metrics.render().decode()
    assert f'sessiongate_sessions{{chain="soneium",state="frozen"}} {FEW // 2}.0' in shown
    assert f'sessiongate_sessions{{chain="soneium",state="removed"}} {FEW}.0' in shown


def test_a_freeze_that_comes_or_goes_while_sessions_are_counted_disturbs_nothing() -> None:
    metrics, registry = gate_metrics(), removed(FEW)
    for number in range(FEW):
        registry.freezes.put(
            Freeze(permission_id=KEY.permission_id, account=Address(number.to_bytes(20, "big")), since=0.0)
        )
        own = number.to_bytes(32, "big")
        registry.freezes.put(Freeze(permission_id=Hash32(own), account=Address(own[12:]), since=0.0))
    for number, _ in enumerate(count_sessions(metrics, registry, {KEY.chain_id: "soneium"})):
        registry.freezes.lift(KEY.permission_id, account=Address(number.to_bytes(20, "big")))
        registry.freezes.put(Freeze(permission_id=Hash32(b"\x77" * 32), chain_id=number, since=0.0))
        registry.freezes.lift(Hash32(number.to_bytes(32, "big")))
    assert 'state="frozen"} ' in metrics.render().decode()


def test_no_more_are_forgotten_at_once_where_there_are_more() -> None:
    few, many = removed(FEW), removed(4 * FEW)
    assert few.forget_removed(LONG_AGO + 1) == many.forget_removed(LONG_AGO + 1)
    assert FEW > len(few) > 0
