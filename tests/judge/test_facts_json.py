"""Facts survive the audit trail exactly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import StateUnavailable
from proxy.judge.facts import CallFacts, Facts, GrantFacts, MoveFacts
from proxy.judge.facts_json import facts_from_json, facts_to_json
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, Selector

ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
HASHES = st.binary(min_size=32, max_size=32).map(Hash32)
AMOUNTS = st.integers(0, 2**256)
TEXTS = st.text(max_size=8) | st.sampled_from(["0xab", "0x"])
CALLS = st.builds(
    CallFacts, target=ADDRESSES, selector=st.binary(min_size=4, max_size=4).map(Selector), value=AMOUNTS, size=AMOUNTS
)
MOVES = st.builds(
    MoveFacts,
    call=st.integers(0, 9),
    kind=st.sampled_from(MovementKind),
    asset=st.sampled_from(AssetKind),
    token=st.none() | ADDRESSES,
    amount=st.none() | AMOUNTS,
    counterparty=st.none() | ADDRESSES,
    holder=ADDRESSES,
    unlimited=st.booleans(),
)
GRANTS = st.builds(
    GrantFacts,
    permission_id=HASHES,
    module=ADDRESSES,
    how=TEXTS,
    findings=st.lists(TEXTS, max_size=3).map(tuple),
    valid_until=st.none() | AMOUNTS,
    targets=st.lists(ADDRESSES, max_size=2).map(tuple),
    policies=st.lists(ADDRESSES, max_size=2).map(tuple),
)
FACTS = st.builds(
    Facts,
    unix_time=st.floats(0, 4e9),
    chain_id=st.integers(1, 2**64),
    chain=TEXTS,
    client=TEXTS,
    method=TEXTS,
    preview=st.booleans(),
    verdict=TEXTS,
    account=ADDRESSES,
    entry_point=TEXTS,
    user_op_hash=HASHES,
    nonce=AMOUNTS,
    session=st.booleans(),
    permission_id=st.none() | HASHES,
    module=st.none() | ADDRESSES,
    mode=st.none() | TEXTS,
    call_type=st.none() | TEXTS,
    calls=st.lists(CALLS, max_size=3).map(tuple),
    moves=st.lists(MOVES, max_size=3).map(tuple),
    acts=st.lists(TEXTS, max_size=3).map(tuple),
    grants=st.lists(GRANTS, max_size=2).map(tuple),
    paymaster=st.none() | ADDRESSES,
    factory=st.none() | ADDRESSES,
    eip7702=st.booleans(),
    gas=AMOUNTS,
    call_gas=AMOUNTS,
    max_cost=AMOUNTS,
    replaces=st.booleans(),
    lanes=st.integers(0, 9),
    limit_used_percent=st.none() | AMOUNTS,
    session_since=st.none() | st.floats(0, 4e9),
)


@given(facts=FACTS)
def test_facts_come_back_as_they_were(facts: Facts) -> None:
    assert facts_from_json(json.loads(json.dumps(facts_to_json(facts)))) == facts


@pytest.mark.parametrize("stored", [None, [], {}, {"account": "0xzz"}, {"nobody": 1}, {"calls": [{"target": 3}]}])
def test_what_is_no_record_of_facts_is_refused(stored: object) -> None:
    with pytest.raises(StateUnavailable):
        facts_from_json(stored)
