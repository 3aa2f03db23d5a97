"""However many sessions changed in blocks that the chain leaves, each is read again."""

from __future__ import annotations

from dataclasses import replace

from proxy.chain.settlement.slices import ChainPlace, SessionTouched
from proxy.session.counters import SessionKey
from proxy.userop.primitives import Hash32
from tests.chain.settlement.builders import IN_FORCE, KEY, Chain, Scene, block

MANY = 20_001


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
