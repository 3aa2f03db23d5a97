"""A node's logs are read exactly or not at all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.logs import Log, LogReader
from proxy.errors import InvalidParams
from proxy.userop.primitives import Address, Hash32

RAW: dict[str, Any] = {
    "address": "0x" + "Ab" * 20,
    "topics": ["0x" + "01" * 32, "0x" + "02" * 32],
    "data": "0x0102",
    "blockNumber": "0x10",
    "blockHash": "0x" + "0b" * 32,
    "transactionHash": "0x" + "0c" * 32,
    "logIndex": "0x0",
    "removed": False,
}


def test_every_part_of_a_log_is_read() -> None:
    assert LogReader("log").read({**RAW, "transactionIndex": "0x1", "blockTimestamp": "0x2"}) == Log(
        address=Address(b"\xab" * 20),
        topics=(Hash32(b"\x01" * 32), Hash32(b"\x02" * 32)),
        data=b"\x01\x02",
        block=16,
        block_hash=Hash32(b"\x0b" * 32),
        transaction_hash=Hash32(b"\x0c" * 32),
        log_index=0,
    )


@pytest.mark.parametrize("count", [0, 4])
def test_a_log_has_up_to_four_topics(count: int) -> None:
    assert len(LogReader("log").read({**RAW, "topics": ["0x" + "01" * 32] * count}).topics) == count


def test_a_node_need_not_say_that_a_log_was_not_removed() -> None:
    assert LogReader("log").read({name: value for name, value in RAW.items() if name != "removed"}).removed is False
    assert LogReader("log").read({**RAW, "removed": True}).removed is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("address", "0x" + "ab" * 19),
        ("address", None),
        ("topics", None),
        ("topics", "0x" + "01" * 32),
        ("topics", ["0x" + "01" * 31]),
        ("topics", ["0x" + "01" * 32] * 5),
        ("topics", ["0x" + "01" * 33, "0x" + "01" * 31]),  # together as long as two
        ("topics", ["0x" + "01" * 32 + "0", "x" + "01" * 32]),  # and looks like two
        ("topics", ["0x" + "01" * 31 + "0x"]),
        ("topics", ["01" * 33]),
        ("topics", ["0x" + "01" * 32, None]),
        ("topics", ["0x" + "01" * 32, "0x" + "0g" * 32]),
        ("topics", ["0x" + "01" * 32, "0x" + " 1" * 32]),
        ("data", "0x1"),
        ("data", None),
        ("blockNumber", None),  # of a block that is not mined yet
        ("blockNumber", 16),
        ("blockNumber", "0x" + "f" * 17),
        ("blockHash", None),
        ("transactionHash", "0x"),
        ("logIndex", None),
        ("removed", "false"),
        ("removed", None),
    ],
)
def test_a_log_with_a_part_that_is_none_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidParams, match=f"log.{name}"):
        LogReader("log").read({**RAW, name: value})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary().map(lambda data: "0x" + data.hex()),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(sorted(RAW)) | st.text(), inner),
    max_leaves=20,
)


@given(JSON, JSON, st.sampled_from(sorted(RAW)))
def test_whatever_a_node_sends_is_read_or_refused(value: object, part: object, name: str) -> None:
    for sent in (value, {**RAW, name: part}):
        with suppress(InvalidParams):
            log = LogReader("log").read(sent)
            assert len(log.address) == 20
            assert len(log.block_hash) == 32
            assert all(len(topic) == 32 for topic in log.topics)
