"""Strangers take all they can get from a real gate, and a good client beside them hears nothing but results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.edge.http.listener import Transport
from tests.attack.__main__ import FIRST_ADDRESS, GOOD, MIXED, OTHERS, RESULT, Attack, run
from tests.attack.strangers import WAYS

ENOUGH = 60
UNCHARGED = {"knocks"}
"""Who hangs up at once leaves nothing to be worked for."""


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("ways", [MIXED, OTHERS], ids=["what is asked", "every other way"])
def test_beside_addresses_that_take_all_they_can_get_a_good_client_hears_nothing_but_results_and_has_its_share(
    transport: Transport, ways: tuple[str, ...]
) -> None:
    """One address for each way. While the good client stands in line no more is worked for each of the others than for
    itself, and twice that for what is under way. Where aiohttp listens, what others send is read as it comes, and only
    what is heard is promised.
    """
    attack = Attack(seconds=1, addresses=len(ways), connections=60, transport=transport, alone=10, ways=ways)
    outcome = run(replace(attack, least=ENOUGH))
    assert set(outcome.alone.heard) == {RESULT}
    assert set(outcome.beside.heard) == {RESULT}
    had = outcome.share.had
    strangers = [f"127.0.0.{FIRST_ADDRESS + number}" for number in range(len(ways))]
    idle = [way for way, address in zip(ways, strangers, strict=True) if address not in had or not had[address].worked]
    assert not set(idle) - UNCHARGED, "each of them took what it could"
    assert had[GOOD].worked > 0
    if transport is Transport.LEAN:
        assert had[GOOD].in_line <= outcome.bound * had[GOOD].worked


def test_every_way_is_gone() -> None:
    assert sorted(MIXED + OTHERS) == sorted(WAYS)
