"""What a client sends again by itself reaches the bundler once, and hears what the first one heard."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from proxy.edge.http.once import MOST_REMEMBERED, REMEMBERED_SECONDS, OnceSent
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.ports import Submission
from tests.edge.recording_bundler import Answer, RecordingBundler
from tests.patience import patiently

SEND = "eth_sendUserOperation"
OP = b'[{"nonce":"0x1"},"0x2"]'


class Watch:
    """A clock that a test winds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def bundler() -> AsyncIterator[RecordingBundler]:
    async with RecordingBundler() as bundler:
        yield bundler


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def once(bundler: RecordingBundler, watch: Watch) -> AsyncIterator[OnceSent]:
    async with HttpUpstream("soneium", [bundler.url], chain_id=1946, entry_points=frozenset()) as upstream:
        yield OnceSent(upstream, watch)


async def heard(bundler: RecordingBundler) -> None:
    """Until something has reached the bundler."""
    for _ in patiently():
        if bundler.requests:
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing reached the bundler")


def error(code: int | None, message: str = "no", status: int = 200) -> Answer:
    return Answer(error={"message": message} | ({} if code is None else {"code": code}), status=status)


@pytest.mark.parametrize(
    "answer",
    [
        error(-32603),
        error(-32000),
        error(None, status=500),
        *(error(-32603, status=status) for status in (400, 404, 408, 413, 500, 502, 503, 504)),
    ],
    ids=repr,
)
async def test_an_answer_that_leaves_it_open_answers_the_same_bytes_again(
    once: OnceSent, bundler: RecordingBundler, watch: Watch, answer: Answer
) -> None:
    bundler.answers[SEND] = answer
    first = await once.post(SEND, OP, Submission())
    bundler.answers[SEND] = Answer(result="0x" + "ab" * 32)
    watch.now += REMEMBERED_SECONDS - 0.01
    again = await once.post(SEND, OP, Submission())
    assert (again.body, again.status) == (first.body, first.status)
    assert bundler.methods == [SEND]
    watch.now += 0.02
    assert not (await once.post(SEND, OP, Submission())).reply.is_error
    assert bundler.methods == [SEND, SEND]


@pytest.mark.parametrize(
    "answer",
    [
        error(-32500),
        error(-32500, status=500),
        error(-32602, "too little gas"),
        *(error(-32603, status=status) for status in (401, 403, 429)),  # which no bundler has heard of
    ],
    ids=repr,
)
async def test_what_was_refused_may_be_cured_and_is_sent_again(
    once: OnceSent, bundler: RecordingBundler, answer: Answer
) -> None:
    bundler.answers[SEND] = answer
    await once.post(SEND, OP, Submission())
    bundler.answers[SEND] = Answer(result="0x" + "ab" * 32)
    assert not (await once.post(SEND, OP, Submission())).reply.is_error


async def test_what_may_be_on_its_way_though_nobody_answered_is_not_sent_again(
    once: OnceSent, bundler: RecordingBundler
) -> None:
    bundler.hang_up = True
    for _ in range(3):
        with pytest.raises(UpstreamUnavailable) as caught:
            await once.post(SEND, OP, Submission())
        assert caught.value.may_have_been_sent
    assert bundler.methods == [SEND]


async def test_what_reached_nobody_is_sent_when_it_comes_again(once: OnceSent, bundler: RecordingBundler) -> None:
    await bundler.stop()
    with pytest.raises(UpstreamUnavailable):
        await once.post(SEND, OP, Submission())
    await bundler.start()
    assert not (await once.post(SEND, OP, Submission())).reply.is_error


async def test_those_that_come_while_the_first_is_under_way_hear_its_answer(
    once: OnceSent, bundler: RecordingBundler
) -> None:
    bundler.hold()
    sending = [asyncio.create_task(once.post(SEND, OP, Submission())) for _ in range(5)]
    await heard(bundler)
    bundler.release()
    answers = await asyncio.gather(*sending)
    assert len({answer.body for answer in answers}) == 1
    assert bundler.methods == [SEND]


async def test_one_who_leaves_takes_the_answer_from_nobody_and_the_others_learn_that_it_may_be_out(
    once: OnceSent, bundler: RecordingBundler
) -> None:
    bundler.hold()
    first = asyncio.create_task(once.post(SEND, OP, Submission()))
    await heard(bundler)
    second, third = (asyncio.create_task(once.post(SEND, OP, Submission())) for _ in range(2))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    with pytest.raises(UpstreamUnavailable) as caught:
        await third
    assert caught.value.may_have_been_sent
    assert bundler.methods == [SEND]


@pytest.mark.parametrize(
    ("method", "params", "submission"),
    [
        (SEND, b'[{"nonce":"0x2"},"0x2"]', Submission()),
        ("boost_sendUserOperation", OP, Submission()),
        (SEND, OP, None),
    ],
)
async def test_other_bytes_other_methods_and_reads_are_asked_anew(
    once: OnceSent, bundler: RecordingBundler, method: str, params: bytes, submission: Submission | None
) -> None:
    bundler.answers[SEND] = error(-32603)
    await once.post(SEND, OP, Submission())
    await once.post(method, params, submission)
    assert bundler.methods == [SEND, method]


async def test_what_was_taken_is_the_bundlers_to_answer_when_it_comes_again(
    once: OnceSent, bundler: RecordingBundler
) -> None:
    await once.post(SEND, OP, Submission())
    bundler.answers[SEND] = error(-32602, "already known")
    for _ in range(2):
        assert (await once.post(SEND, OP, Submission())).reply.error_message == "already known"
    assert bundler.methods == [SEND] * 3


async def test_the_memory_is_bounded(once: OnceSent, bundler: RecordingBundler) -> None:
    bundler.answers[SEND] = Answer(error={"code": -32603, "message": "x" * 400_000})
    for number in range(40):
        await once.post(SEND, b"[%d]" % number, Submission())
    assert once._bytes <= 8 * 1024 * 1024
    assert len(once._remembered) < 40 < MOST_REMEMBERED


async def test_of_what_nobody_answered_only_words_are_kept(once: OnceSent, bundler: RecordingBundler) -> None:
    bundler.hang_up = True
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(40):
            with pytest.raises(UpstreamUnavailable):
                await once.post(SEND, b"[%d,%b]" % (number, b" " * 250_000), Submission())
            bundler.requests.clear()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3_000_000
