"""However many sessions changed in blocks that the chain leaves, each is read again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from proxy.chain.settlement.slices import ChainPlace, SessionTouched
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Hash32
from tests.chain.settlement.builders import IN_FORCE, KEY, Chain, Scene, block
from tests.flat.pieces import Pieces
from tests.patience import PATIENCE_SECONDS

MANY = 20_001
MOST_CALLS = 16_000


def touched(key: SessionKey, number: int) -> SessionTouched:
    return SessionTouched(place=ChainPlace(number, 0), block=block(number), key=key)


async def test_of_thousands_of_sessions_that_changed_the_first_is_read_again_too_when_its_block_is_gone() -> None:
    scene = Scene(chain=Chain())
    keys = [KEY._replace(permission_id=Hash32(number.to_bytes(32, "big"))) for number in range(MANY)]
    for key in keys:
        scene.registry.put(replace(IN_FORCE, key=key))
    await scene.tell(100)
    first, *others = keys
    await scene.tell_block(101, touched(first, 101))
    await scene.tell_block(102, *(touched(key, 102) for key in others))
    scene.settlement.to_read.clear()  # they were read
    await scene.taker.undo(block(101))
    assert set(scene.settlement.to_read) == set(others)
    scene.settlement.to_read.clear()
    await scene.tell_block(102, *(touched(key, 102) for key in others), branch=0)
    scene.settlement.to_read.clear()
    await scene.taker.undo(block(100))
    assert set(scene.settlement.to_read) == set(keys)


async def test_one_that_changes_all_the_time_is_kept_once() -> None:
    scene = Scene(chain=Chain())
    scene.registry.put(IN_FORCE)
    await scene.tell(100)
    for number in range(101, 111):
        await scene.tell_block(number, *(touched(KEY, number) for _ in range(3)))
    assert len(scene.taker._touched) == 1
    for number in range(111, 400):
        await scene.tell_block(number)
    assert len(scene.taker._touched) == 0, "no chain takes back what is older than the blocks that are known"


async def test_no_piece_of_work_is_long_where_thousands_are_to_be_read_and_each_is_wanted_until_it_was() -> None:
    scene = Scene(chain=Chain())
    keys = [KEY._replace(permission_id=Hash32(number.to_bytes(32, "big"))) for number in range(MANY)]
    for key in keys:
        scene.registry.put(replace(IN_FORCE, key=key))
    scene.settlement.to_read = dict.fromkeys(keys)
    scene.lookout.restored(keys[:100], keys[:100])
    scene.goes_on.clear()
    with Pieces() as pieces:
        reading = asyncio.create_task(scene.lookout._readings.read_all())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await scene.is_reading.wait()
    assert not any(map(scene.lookout.is_reconciled, (keys[0], keys[-1])))
    assert scene.reread == keys[: len(scene.reread)]
    assert 1 <= len(scene.reread) < 100
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert not any(map(scene.lookout.is_reconciled, (keys[0], keys[-1]))), "nor when that was given up"
    assert pieces.too_long(MOST_CALLS) == {}
