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

from proxy.edge.audit.line import PlainLine
from tests.patience import PATIENCE_SECONDS

BEYOND_SELECT = 1_500


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard > BEYOND_SELECT, "this machine gives no process so many descriptors"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, BEYOND_SELECT + 100), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@given(st.lists(st.binary(max_size=300)), st.sampled_from([1, 3, 2_000]))
def test_notes_that_go_with_a_message_are_the_same_notes_at_the_other_end(some: list[bytes], times: int) -> None:
    here, there = socket.socketpair()
    ours, theirs = PlainLine(here), PlainLine(there)
    notes = times * some
    sending = threading.Thread(target=theirs.send_notes, args=("write",), kwargs={"notes": notes})
    sending.start()
    message = ours.receive()
    assert message is not None
    assert message[0] == "write"
    assert ours.receive_notes(message[1]) == notes
    sending.join(PATIENCE_SECONDS)
    theirs.send("next")
    assert ours.receive() == ("next",)
    ours.close()
    assert theirs.receive_notes(message[1]) == (None if any(notes) else notes)
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
