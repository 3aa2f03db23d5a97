"""Where a WebSocket stands is told alike however its frames are cut on their way."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.edge.http.wire.frames import MOST_AT_ONCE, MOST_PIECES, FrameMarks, TooManyFramesError

TEXT, MORE, PING, FINAL = 0x01, 0x00, 0x09, 0x80


def frame(first: int, size: int, *, masked: bool) -> bytes:
    mask = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, mask | size])
    elif size < 2**16:
        head = bytes([first, mask | 126]) + size.to_bytes(2)
    else:
        head = bytes([first, mask | 127]) + size.to_bytes(8)
    return head + bytes(4 * masked) + b"\x81" * size  # as if it were heads


sizes = st.sampled_from((0, 1, 2, 125, 126, 300, 2**16))
pings = st.lists(st.builds(frame, st.just(FINAL | PING), st.integers(0, 125), masked=st.booleans()), max_size=2)


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """The frames of one message, and pings between them."""
    pieces = draw(st.lists(sizes, min_size=1, max_size=4))
    told: list[bytes] = []
    for number, size in enumerate(pieces):
        first = (TEXT if number == 0 else MORE) | (FINAL if number == len(pieces) - 1 else 0)
        told.append(frame(first, size, masked=draw(st.booleans())))
        if number < len(pieces) - 1:
            told += draw(pings)
    return told


@given(st.lists(messages(), max_size=5), st.data())
def test_what_has_begun_is_told_however_it_is_cut(told: list[list[bytes]], data: st.DataObject) -> None:
    whole = b"".join(each for message in told for each in message)
    ends = [0]
    for message in told:
        ends.append(ends[-1] + sum(map(len, message)))
    cuts = sorted({*data.draw(st.lists(st.integers(0, len(whole)), max_size=12)), len(whole)})
    marks, last = FrameMarks(), 0
    for cut in cuts:
        marks.feed(whole[last:cut])
        assert marks.is_within == (cut not in ends)
        assert marks.was_between == any(last <= end <= cut for end in ends)
        last = cut


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_comes_is_looked_at(told: list[bytes]) -> None:
    marks = FrameMarks()
    with suppress(TooManyFramesError):
        for each in told:
            marks.feed(each)


def test_no_message_comes_in_more_frames_than_a_body_in_chunks() -> None:
    marks = FrameMarks()
    marks.feed(frame(TEXT, 0, masked=True))
    for _ in range(MOST_PIECES - 1):
        marks.feed(frame(MORE, 0, masked=True))
    with pytest.raises(TooManyFramesError):
        marks.feed(frame(MORE, 0, masked=True))


def test_no_read_has_more_frames_than_are_worth_a_look() -> None:
    marks = FrameMarks()
    marks.feed(frame(FINAL | TEXT, 60, masked=True) * MOST_AT_ONCE)
    marks.feed(frame(FINAL | TEXT, 60, masked=True) * MOST_AT_ONCE)
    with pytest.raises(TooManyFramesError):
        marks.feed(frame(FINAL | TEXT, 60, masked=True) * (MOST_AT_ONCE + 1))
