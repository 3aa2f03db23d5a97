"""The garbage collector of a gate: it has little to find, and looks for it seldom."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from proxy.app.running import spare_the_collector
from proxy.userop.user_operation import print_user_operation
from tests.gate_parts import ENTRY_POINT, GOOD, OUTSIDE, SEND, scene


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def test_what_a_start_has_made_is_not_looked_through_again_and_young_objects_are_seldom() -> None:
    spare_the_collector()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] >= 10_000


async def test_nothing_of_ours_that_an_operation_leaves_behind_waits_for_the_collector() -> None:
    served = scene()
    await served.ask(SEND, print_user_operation(GOOD), ENTRY_POINT)
    gc.collect()
    gc.disable()
    for op in (GOOD, OUTSIDE) * 5:
        await served.ask(SEND, print_user_operation(op), ENTRY_POINT)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    left = {f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage}
    assert not {name for name in left if name.startswith("proxy.")}
