"""What a session's verdict rested on comes back as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.counters import Counter
from proxy.session.grounds import Grounds, grounds_from_json, grounds_to_json
from proxy.userop.primitives import Address, Hash32
from tests.bypass_list.desk import a_session
from tests.session.builders import TOKEN, TRANSFER, action, enabled, usage

STATE = enabled(a_session(action(TOKEN, TRANSFER, usage(2))))
ADDRESSES = st.binary(min_size=20, max_size=20).map(Address)
COUNTERS = st.builds(
    Counter, ADDRESSES, ADDRESSES, ADDRESSES, st.binary(min_size=32, max_size=32).map(Hash32), st.binary(max_size=20)
)


@given(
    st.dictionaries(COUNTERS, st.integers(0, 2**256 - 1), max_size=4),
    st.none() | st.integers(0, 2**256 - 1),
    st.integers(0, 2**48),
    st.sampled_from(["ask", "alert", "reject"]),
)
def test_grounds_come_back_as_they_were(
    in_flight: dict[Counter, int], base_fee: int | None, now: int, doubt: str
) -> None:
    grounds = Grounds(
        state=STATE,
        base_fee=base_fee,
        now=now,
        unknown_policy=doubt,  # type: ignore[arg-type]  # one of its three
        unknown_validator="reject",
        in_flight=in_flight,
    )
    assert grounds_from_json(json.loads(json.dumps(grounds_to_json(grounds)))) == grounds


@pytest.mark.parametrize("spoilt", ["state", "baseFee", "now", "unknownPolicy", "inFlight"])
def test_what_is_no_grounds_is_refused(spoilt: str) -> None:
    grounds = Grounds(state=STATE, base_fee=1, now=2, unknown_policy="ask", unknown_validator="ask")
    whole = grounds_to_json(grounds)
    del whole[spoilt]
    with pytest.raises(ValueError, match="no grounds"):
        grounds_from_json(whole)
