"""A message is read in one way, however its bytes were cut, or it is not read at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.edge.http.wire.fields import BrokenHttp
from proxy.edge.http.wire.heads import ReplyHead, RequestHead, read_reply_head, read_request_head
from proxy.edge.http.wire.reader import MessageReader, ReadBounds, ReaderStage, TooLongError
from tests.edge.http.corpus import BAD_CHUNKS, CALL, SERVED, TRICKS, chunked, post

BOUNDS = ReadBounds(head_bytes=16_384, body_bytes=2048, chunks=64)
Read = tuple[str, str, tuple[tuple[str, str], ...], bytes]


def _reader() -> MessageReader[RequestHead]:
    return MessageReader(read_request_head, BOUNDS)


def _read_all(*pieces: bytes) -> list[Read] | str:
    """The requests in a stream that arrives in these pieces, or the kind of its fault."""
    reader = _reader()
    messages: list[Read] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while reader.advance() is ReaderStage.COMPLETE:
                head, body = reader.take()
                messages.append((head.method, head.target, tuple(head.fields.items()), body))
        except (BrokenHttp, TooLongError) as fault:
            return type(fault).__name__
    return messages


class _Oracle:
    """What llhttp, which Node's servers and many in Python rest on, reads of a stream."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, bytes]] = []
        self.target, self.body = b"", b""
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages.append((self.parser.get_method().decode(), self.target, self.body))
        self.target, self.body = b"", b""


KNOWN_METHODS = ("POST", "GET", "OPTIONS", "HEAD", "DELETE")
REQUESTS = st.lists(st.sampled_from([each for each in SERVED.values() if len(each) < 1500]), min_size=1, max_size=4)


@given(REQUESTS, st.data())
def test_however_a_stream_is_cut_the_same_requests_are_read(requests: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert _read_all(*pieces) == _read_all(stream)


def test_a_stream_that_comes_byte_by_byte_is_read_as_in_one_piece() -> None:
    stream = post() + chunked(CALL[:3], CALL[3:], trailer=b"A: b\r\n") + post(b"")
    assert _read_all(*(bytes([each]) for each in stream)) == _read_all(stream)
    assert len(_read_all(stream)) == 3


def _is_read_as_llhttp_reads_it(stream: bytes) -> None:
    """Every request that we take from a stream, it takes likewise; what we wait for it may have refused already."""
    ours = _read_all(stream)
    if isinstance(ours, str):
        return
    oracle = _Oracle()
    with suppress(httptools.HttpParserError):
        oracle.parser.feed_data(stream)
    # it knows a closed set of methods; here others are refused by name
    known = list(takewhile(lambda read: read[0] in KNOWN_METHODS, ours))
    assert [(method, target.encode(), body) for method, target, _, body in known] == oracle.messages[: len(known)]
    assert len(known) < len(ours) or len(oracle.messages) == len(ours)


@pytest.mark.parametrize("name", SERVED)
def test_what_is_served_is_read_as_others_read_it(name: str) -> None:
    if name not in ("a body over the bound", "chunks over the bound"):
        assert not isinstance(_read_all(SERVED[name]), str)
    _is_read_as_llhttp_reads_it(SERVED[name])


@given(REQUESTS, st.data())
@settings(max_examples=500)
def test_a_stream_with_a_byte_changed_is_refused_or_read_as_others_read_it(
    requests: list[bytes], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(requests))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place : place + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from(
            [b"", b"\n", b"\r", b"\r\n", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"f", b"\x0b", b"\xff"]
        )
    )
    _is_read_as_llhttp_reads_it(bytes(stream))


@given(
    st.lists(
        st.sampled_from([b";", b"=", b"x", b'"', b"\\", b" ", b"\t", b"\r", b"\n", b"\0", b"\xff", b"1"]), max_size=9
    )
)
@settings(max_examples=300)
def test_extensions_of_chunks_are_refused_or_read_as_others_read_them(extension: list[bytes]) -> None:
    line = b"39" + b"".join(extension) + b"\r\n"
    _is_read_as_llhttp_reads_it(chunked(CALL).replace(b"39\r\n", line) + post())


@pytest.mark.parametrize("extension", [b";x", b";x=y", b';x="y; z";w', rb';x="\""', b""])
def test_extensions_of_chunks_mean_nothing(extension: bytes) -> None:
    assert _read_all(chunked(CALL).replace(b"39\r\n", b"39" + extension + b"\r\n")) == _read_all(chunked(CALL))


@pytest.mark.parametrize("name", [*TRICKS, *BAD_CHUNKS])
def test_what_could_be_read_in_two_ways_is_not_read(name: str) -> None:
    assert _read_all({**TRICKS, **BAD_CHUNKS}[name]) in ("BrokenHttp", "TooLongError")


@given(st.lists(st.binary(max_size=200)))
def test_arbitrary_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    _read_all(*pieces)


@given(st.binary(max_size=300), st.sampled_from(list(SERVED.values())), st.integers(0, 200))
def test_bytes_put_into_a_request_are_read_or_refused(put: bytes, request: bytes, place: int) -> None:
    _read_all(request[:place] + put + request[place:])


def test_a_head_is_waited_for_up_to_its_bound() -> None:
    reader = _reader()
    reader.feed(b"POST / HTTP/1.1\r\nX: " + b"a" * 16_000)
    assert reader.advance() is ReaderStage.HEAD
    reader.feed(b"a" * 1000)
    with pytest.raises(BrokenHttp, match="more than 16384 bytes") as refusal:
        reader.advance()
    assert refusal.value.status == 431


def test_a_body_in_more_pieces_than_it_is_worth_is_refused() -> None:
    assert _read_all(chunked(*[b" "] * 63)) != "BrokenHttp"
    assert _read_all(chunked(*[b" "] * 64)) == "BrokenHttp"


def test_a_declared_length_over_the_bound_is_refused_before_the_body_comes() -> None:
    reader = _reader()
    reader.feed(post(b" " * 2049).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    with pytest.raises(TooLongError) as refusal:
        reader.advance()
    assert refusal.value.length == 2049


def test_the_same_head_again_is_not_read_again() -> None:
    reads: list[bytes] = []

    def read(raw: bytes) -> RequestHead:
        reads.append(raw)
        return read_request_head(raw)

    reader = MessageReader(read, BOUNDS)
    for body in (CALL, CALL.replace(b"x", b"y"), CALL + b" "):
        reader.feed(post(body))
        assert reader.advance() is ReaderStage.COMPLETE
        assert reader.take()[1] == body
    assert len(reads) == 1  # a length may differ
    reader.feed(post().replace(b"gate", b"gates"))
    reader.advance()
    assert len(reads) == 2


def _outcome(take: Callable[[], tuple[RequestHead, bytes] | ReaderStage]) -> object:
    try:
        taken = take()
    except (BrokenHttp, TooLongError) as fault:
        return type(fault), str(fault)
    return (
        taken
        if isinstance(taken, ReaderStage)
        else (replace(taken[0], fields=tuple(taken[0].fields.items())), taken[1])
    )


def _fed(reader: MessageReader[RequestHead], message: bytes) -> tuple[RequestHead, bytes] | ReaderStage:
    reader.feed(message)
    stage = reader.advance()
    return reader.take() if stage is ReaderStage.COMPLETE else stage


NAMES = st.sampled_from([b"Content-Length:", b"content-length: ", b"Content-Length:\t", b"Content-Lengths: ", b"\r\n"])
LENGTHS = st.sampled_from(
    [b"0", b"1", b"57", b"057", b"58", b"5 7", b"+57", b"", b"5_7", b"\xb2", b"0" * 14 + b"2", b"9" * 16]
)
ENDS = st.sampled_from([b"", b" ", b"\r\nContent-Length: 57", b"\r\nTransfer-Encoding: chunked", b"\r\nX-A: 1"])
ALIKE = st.tuples(NAMES, LENGTHS, ENDS, st.sampled_from([CALL, CALL + b" ", b"", b"1", CALL + post()]))


@given(st.lists(ALIKE, min_size=1, max_size=6))
def test_whatever_was_read_before_a_message_means_what_it_means_by_itself(
    messages: list[tuple[bytes, bytes, bytes, bytes]],
) -> None:
    remembering = _reader()
    for name, length, end, body in messages:
        message = b"POST / HTTP/1.1\r\nHost: gate\r\n" + name + length + end + b"\r\n\r\n" + body
        alone = _outcome(lambda message=message: _fed(_reader(), message))
        whole = remembering.whole(message)
        if whole is not None:
            assert _outcome(lambda whole=whole: whole) == alone
            continue
        assert _outcome(lambda message=message: _fed(remembering, message)) == alone
        if not isinstance(alone, tuple) or isinstance(alone[0], type) or remembering.buffered:
            return  # nothing more is read after a fault; what is behind a message is read with what follows


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_however_many_lengths_a_connection_sends_in_turn_each_body_has_its_own(lengths: list[int]) -> None:
    remembering = _reader()
    for length in lengths:
        body = b"x" * length
        message = b"POST / HTTP/1.1\r\nHost: gate\r\nContent-Length: %d\r\n\r\n%b" % (length, body)
        taken = remembering.whole(message) or _fed(remembering, message)
        assert isinstance(taken, tuple)
        assert (taken[0].length, taken[1]) == (length, body)
        assert remembering.whole(message[:-1]) is None
        assert remembering.whole(message + b"x") is None


# --- replies


def _replies(raw: bytes, *, closed: bool = False) -> tuple[ReplyHead, bytes] | ReaderStage:
    reader = MessageReader(read_reply_head, BOUNDS)
    reader.feed(raw)
    if closed:
        reader.feed_end()
    stage = reader.advance()
    return reader.take() if stage is ReaderStage.COMPLETE else stage


def test_a_reply_with_a_length_is_whole_when_it_has_it() -> None:
    assert _replies(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{} ")[1] == b"{} "  # type: ignore[index]
    assert _replies(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}") is ReaderStage.BODY


def test_a_reply_without_a_length_is_whole_when_its_connection_ends() -> None:
    raw = b"HTTP/1.0 502 Bad Gateway\r\n\r\nsorry"
    assert _replies(raw) is ReaderStage.BODY
    head, body = _replies(raw, closed=True)  # type: ignore[misc]
    assert (head.status, body, head.last) == (502, b"sorry", True)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified", b"100 Continue"])
def test_some_replies_have_no_body_whatever_they_say(status: bytes) -> None:
    assert _replies(b"HTTP/1.1 " + status + b"\r\nContent-Length: 9\r\n\r\n")[1] == b""  # type: ignore[index]


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 299 Tr\xe8s bien"])
def test_a_reason_may_be_any_or_none(line: bytes) -> None:
    assert _replies(line + b"\r\nContent-Length: 0\r\n\r\n") != ReaderStage.HEAD


@pytest.mark.parametrize("line", [b"HTTP/1.1 20 OK", b"HTTP/2 200 OK", b"HTTP/1.1 600 Odd", b"SSH-2.0-x", b"HTTP/1.1"])
def test_what_is_no_reply_is_not_read(line: bytes) -> None:
    with pytest.raises(BrokenHttp):
        _replies(line + b"\r\n\r\n")
