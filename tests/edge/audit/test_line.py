"""Messages between a gate and the process that writes its trail."""

from __future__ import annotations

import fcntl
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.audit.line import BATCH_HEAD, PlainLine, batch_of, pack, unpack
from tests.patience import PATIENCE_SECONDS

BEYOND_SELECT = 1_500


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard > BEYOND_SELECT, "this machine gives no process so many descriptors"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, BEYOND_SELECT + 100), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
)


@given(st.lists(VALUES, max_size=12), st.sampled_from([1, 3, 2_000]))
def test_a_batch_is_the_same_values_at_the_other_end(some: list[object], times: int) -> None:
    here, there = socket.socketpair()
    ours, theirs = PlainLine(here), PlainLine(there)
    values = tuple(times * some)
    buffer = bytearray(BATCH_HEAD) + b"".join(map(pack, values))
    size = len(buffer)
    batch = batch_of(7, len(values), buffer + b"of the batch before it", size)
    sending = threading.Thread(target=theirs.send, args=("write", size), kwargs={"after": batch.packed})
    sending.start()
    assert ours.receive() == ("write", size)
    packed = ours.receive_bytes(size)
    assert packed is not None
    assert unpack(packed) == values
    sending.join(PATIENCE_SECONDS)
    theirs.send("next")
    assert ours.receive() == ("next",)
    ours.close()
    assert theirs.receive_bytes(1) is None
    theirs.close()


@pytest.mark.usefixtures("many_descriptors")
def test_a_gate_with_thousands_of_connections_talks_to_its_writer_all_the_same() -> None:
    here, there = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(here, fcntl.F_DUPFD, BEYOND_SELECT))
    here.close()
    ours, theirs = PlainLine(high), PlainLine(there)

    assert not ours.is_spoken(0)
    theirs.send("done", 1)
    assert ours.is_spoken(0)
    assert ours.receive() == ("done", 1)

    theirs.close()
    assert ours.is_spoken(0), "that nobody is there any more is heard, too"
    assert ours.receive() is None
    ours.close()


def test_messages_arrive_one_by_one_however_they_were_sent() -> None:
    here, there = socket.socketpair()
    ours, theirs = PlainLine(here), PlainLine(there)

    theirs.send("first", b"\0" * 70_000, None)
    theirs.send("second", 1.5, ("a", 2))

    assert ours.receive() == ("first", b"\0" * 70_000, None)
    assert ours.is_spoken(0), "what has been read beyond the first message is there"
    assert ours.receive() == ("second", 1.5, ("a", 2))
    assert not ours.is_spoken(0)
    ours.close()
    theirs.close()
