"""Strangers take all they can get from a real gate, and a good client beside them hears nothing but results."""

from __future__ import annotations

import pytest

from proxy.edge.http.listener import Transport
from tests.attack.__main__ import RESULT, Attack, run


@pytest.mark.parametrize("transport", Transport)
def test_beside_six_addresses_that_take_all_connections_a_good_client_hears_nothing_but_results(
    transport: Transport,
) -> None:
    outcome = run(Attack(seconds=1, connections=200, transport=transport, alone=10))
    assert set(outcome.alone.heard) == {RESULT}
    assert set(outcome.beside.heard) == {RESULT}
