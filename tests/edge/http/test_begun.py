"""What is asked without waiting for it is asked as `post` does: of the same bundler, once, and with the same end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.bundler_health import QuestionKind
from proxy.edge.http.endpoints import Health
from proxy.edge.http.exchange import Ended, Hearing, UpstreamReply
from proxy.edge.http.households import HouseholdTurns
from proxy.edge.http.once import OnceSent
from proxy.edge.http.places import BundlerPlaces
from proxy.edge.http.upstream import HttpUpstream
from proxy.errors import UpstreamUnavailable
from proxy.ledger.reservation import NonceSlot
from proxy.ports import AskingOn, Submission
from proxy.userop.primitives import Address
from tests.edge.http.peers import until
from tests.edge.recording_bundler import OPERATION_HASH, Answer, RecordingBundler

SEND, READ = "eth_sendUserOperation", "eth_getUserOperationReceipt"
OP, HASH = b'[{"nonce":"0x1"},"0x2"]', b'["0xab"]'
SLOT = NonceSlot(1946, Address(b"\x01" * 20), Address(b"\x02" * 20), 7)
SETTINGS = UpstreamSettings()


@asynccontextmanager
async def warm(*bundlers: RecordingBundler, settings: UpstreamSettings = SETTINGS) -> AsyncIterator[HttpUpstream]:
    """The bundlers, each with a connection that is free, as their probes leave them."""
    urls = [each.url for each in bundlers]
    async with HttpUpstream("soneium", urls, chain_id=1946, entry_points=frozenset(), settings=settings) as upstream:
        assert await upstream.probe()
        for each in bundlers:
            each.requests.clear()
        yield upstream


class Told:
    """Hears how a question ended, and asks on where it is told to."""

    def __init__(self) -> None:
        self._heard: asyncio.Future[Ended | AskingOn] = asyncio.get_running_loop().create_future()

    def __call__(self, ended: Ended | AskingOn) -> None:
        self._heard.set_result(ended)

    async def end(self) -> Ended:
        ended = await self._heard
        if not isinstance(ended, AskingOn):
            return ended
        answer = await ended.work
        assert isinstance(answer, UpstreamReply)
        return answer


def begin(upstream: HttpUpstream | OnceSent, hearing: Hearing, *, submit: bool) -> bool:
    method, params, submission = question(submit=submit)
    return upstream.begin(method, params, hearing, submission)


def question(*, submit: bool) -> tuple[str, bytes, Submission | None]:
    return (SEND, OP, Submission(SLOT)) if submit else (READ, HASH, None)


ANSWERS = [
    Answer(result=OPERATION_HASH),
    Answer(error={"code": -32602, "message": "no"}),
    Answer(error={"code": -32603, "message": "later"}, status=500),
    Answer(raw=b"not JSON"),
    Answer(raw=b"go away", status=429),
    Answer(result=None, status=403),
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("submit", [True, False])
async def test_it_ends_as_what_is_waited_for_and_tells_the_same_of_the_bundler(
    answer: Answer, submit: bool
) -> None:  # a case
    asked = question(submit=submit)
    async with RecordingBundler(answers={asked[0]: answer}) as bundler, warm(bundler) as one, warm(bundler) as other:
        told, waited = Told(), None
        assert begin(one, told, submit=submit)
        try:
            waited = await other.post(*asked)
        except UpstreamUnavailable as error:
            waited = error
        ended = await told.end()
        assert type(ended) is type(waited)
        if isinstance(ended, UpstreamUnavailable):
            assert (str(ended), ended.may_have_been_sent) == (str(waited), waited.may_have_been_sent)  # type: ignore[union-attr]  # of the same type
        else:
            assert (ended.status, ended.reply.result, ended.reply.error) == (
                *(waited.status, waited.reply.result, waited.reply.error),  # type: ignore[union-attr]  # likewise
            )
        assert len(bundler.requests) == 2
        kind = QuestionKind.SEND if submit else QuestionKind.READ
        assert one.endpoints[0].breakers[kind] == other.endpoints[0].breakers[kind]
        now = time.monotonic()
        assert one._placements.bundler_of(SLOT, now) == other._placements.bundler_of(SLOT, now)


async def test_a_read_that_the_first_bundler_breaks_off_is_asked_of_the_second() -> None:
    async with RecordingBundler() as first, RecordingBundler() as second, warm(first, second) as upstream:
        first.hang_up = True
        told = Told()
        assert begin(upstream, told, submit=False)
        ended = await told.end()
        assert isinstance(ended, UpstreamReply)
        assert (ended.endpoint, first.methods, second.methods) == ("soneium#1", [READ], [READ])


async def test_a_send_that_is_broken_off_may_be_out_and_is_not_repeated() -> None:
    async with RecordingBundler() as bundler, warm(bundler) as upstream:
        bundler.hang_up = True
        told = Told()
        assert begin(upstream, told, submit=True)
        ended = await told.end()
        assert isinstance(ended, UpstreamUnavailable)
        assert ended.may_have_been_sent
        assert bundler.methods == [SEND]
        assert len(upstream._placements) == 1  # what replaces it goes there


@pytest.mark.parametrize("answered", [True, False])
async def test_what_was_begun_before_the_settings_named_another_bundler_is_where_it_was_sent(*, answered: bool) -> None:
    async with RecordingBundler() as first, RecordingBundler() as second, warm(first) as upstream:
        first.hold()
        told = Told()
        assert begin(upstream, told, submit=True)
        if not answered:
            first.hang_up = True
            first.release()
            await told.end()
        upstream.take([second.url], total_seconds=30.0)
        first.hang_up = False
        first.release()
        replacement = await upstream.post(SEND, b'[{"nonce":"0x1","more":"0x"},"0x2"]', Submission(SLOT))
        assert (replacement.status, second.methods) == (200, [])
        assert first.methods == [SEND, SEND]


@pytest.mark.parametrize("submit", [True, False])
async def test_once_the_settings_give_a_bundler_another_key_nothing_goes_where_the_old_one_leads(
    *, submit: bool
) -> None:
    async with RecordingBundler() as bundler, warm(bundler) as upstream:
        told = Told()
        assert begin(upstream, told, submit=submit)
        await told.end()
        upstream.take([f"{bundler.url}/another-key-of-the-gate"], total_seconds=30.0)
        assert await upstream.probe()
        bundler.requests.clear()
        bundler.answers[SEND] = bundler.answers[READ] = Answer(
            error={"code": -32602, "message": "another-key-of-the-gate is over its quota"}
        )
        told = Told()
        assert begin(upstream, told, submit=submit)
        ended = await told.end()
        assert isinstance(ended, UpstreamReply)
        assert [each.path for each in bundler.requests] == ["/rpc/another-key-of-the-gate"]
        assert b"another-key-of-the-gate" not in ended.body


async def test_what_is_not_answered_in_time_is_given_up() -> None:
    settings = replace(SETTINGS, total_seconds=0.01)
    async with RecordingBundler() as bundler, warm(bundler, settings=settings) as upstream:
        bundler.hold()
        told = Told()
        assert begin(upstream, told, submit=False)
        ended = await told.end()
        assert str(ended) == "soneium#0 did not answer within 0.01 s"


async def test_nothing_is_asked_where_something_has_to_be_waited_for_or_looked_at() -> None:
    async with RecordingBundler() as first, RecordingBundler() as second, warm(first, second) as upstream:
        assert not begin(upstream, Told(), submit=True)  # two bundlers: whom, is looked at
        upstream.endpoints[0].health = Health.UNREACHABLE
        assert not begin(upstream, Told(), submit=False)
    cold = HttpUpstream("soneium", [first.url], chain_id=1946, entry_points=frozenset())
    async with cold:
        assert not begin(cold, Told(), submit=False)  # no connection is free
        assert not begin(cold, Told(), submit=True)
        assert len(cold._placements) == 0
    assert first.requests == second.requests == []


async def test_the_same_send_waits_for_the_one_that_was_begun_and_hears_what_it_heard() -> None:
    async with RecordingBundler() as bundler, warm(bundler) as upstream:
        once = OnceSent(upstream, lambda: 100.0)
        bundler.hold()
        told = Told()
        assert begin(once, told, submit=True)
        assert not begin(once, Told(), submit=True)
        again = asyncio.ensure_future(once.post(SEND, OP, Submission(SLOT)))
        bundler.release()
        first, second = await told.end(), await again
        assert first == second
        assert bundler.methods == [SEND]


async def test_a_send_that_was_begun_and_left_open_answers_its_repetition() -> None:
    open_answer = Answer(error={"code": -32603, "message": "later"}, status=500)
    async with RecordingBundler(answers={SEND: open_answer}) as bundler, warm(bundler) as upstream:
        once = OnceSent(upstream, lambda: 100.0)
        told = Told()
        assert begin(once, told, submit=True)
        await told.end()
        assert not begin(once, Told(), submit=True)
        again = await once.post(SEND, OP, Submission(SLOT))
        assert again.status == 500
        assert bundler.methods == [SEND]


async def test_who_is_closed_tells_those_that_were_begun() -> None:
    async with RecordingBundler() as bundler:
        async with warm(bundler) as upstream:
            bundler.hold()
            told = Told()
            assert begin(upstream, told, submit=True)
        ended = await told.end()
        assert isinstance(ended, UpstreamUnavailable)
        assert ended.may_have_been_sent
        bundler.release()


class BrokenPromiseError(Exception):
    """Of ours; nothing foresees it."""


def break_promise(*_: object, **__: object) -> None:
    raise BrokenPromiseError


class BrokenTransport:
    """Takes nothing, and says so by raising."""

    write = break_promise

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class BrokenLine:
    """Begins nothing, and says so by raising."""

    begin = break_promise


def break_line(upstream: HttpUpstream) -> None:
    upstream.endpoints[0].line = BrokenLine()  # type: ignore[assignment]  # on purpose


def break_connections(upstream: HttpUpstream) -> None:
    for connection in upstream._client._over_http._open:  # type: ignore[union-attr]  # the lean one is in use
        connection._transport = BrokenTransport(connection._transport)


@pytest.mark.parametrize("submit", [True, False])
@pytest.mark.parametrize("broken", [break_line, break_connections])
async def test_a_fault_of_ours_while_it_is_asked_takes_no_place_and_keeps_no_repeat_waiting(
    submit: bool, broken: Callable[[HttpUpstream], None]
) -> None:
    bundler = RecordingBundler(1946)
    async with bundler, warm(bundler, settings=replace(SETTINGS, max_connections=8)) as upstream:
        once, told = OnceSent(upstream, time.monotonic), list[Ended | AskingOn]()
        free = upstream._places.free
        broken(upstream)
        with pytest.raises(BrokenPromiseError):
            begin(once, told.append, submit=submit)
        assert upstream._places.free == free
        assert upstream._places._held == {}
        upstream.endpoints[0].line = None  # whole again
        async with asyncio.timeout(20):
            assert (await once.post(*question(submit=submit))).status == 200
        await until(lambda: upstream._places.free == free)
        assert told == [], "who heard of the fault hears nothing more"


@pytest.mark.parametrize("submit", [True, False])
@pytest.mark.parametrize("answer", [Answer(result=OPERATION_HASH), Answer(raw=b"not JSON")])
async def test_a_fault_of_ours_in_what_is_noted_of_an_answer_keeps_it_from_nobody(submit: bool, answer: Answer) -> None:
    bundler = RecordingBundler(1946)
    bundler.answers[SEND if submit else READ] = answer
    async with bundler, warm(bundler, settings=replace(SETTINGS, max_connections=8)) as upstream:
        free = upstream._places.free
        upstream._note_answer = upstream._sign = break_promise  # type: ignore[method-assign,assignment]  # on purpose
        told = Told()
        assert begin(OnceSent(upstream, time.monotonic), told, submit=submit)
        async with asyncio.timeout(20):
            ended = await told.end()
        assert isinstance(ended, UpstreamUnavailable) is (answer.raw is not None)
        assert upstream._places.free == free


@pytest.mark.parametrize("submit", [True, False])
async def test_an_answer_that_a_fault_of_ours_keeps_from_being_read_may_be_on_its_way(
    submit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundler = RecordingBundler(1946)
    async with bundler, warm(bundler, settings=replace(SETTINGS, max_connections=8)) as upstream:
        free = upstream._places.free
        monkeypatch.setattr("proxy.edge.http.upstream.read_exchange", break_promise)
        told = Told()
        assert begin(OnceSent(upstream, time.monotonic), told, submit=submit)
        async with asyncio.timeout(20):
            ended = await told.end()
        assert isinstance(ended, UpstreamUnavailable)
        assert ended.may_have_been_sent
        assert upstream._places.free == free


async def test_who_is_closed_while_it_waits_is_given_no_place_and_no_turn() -> None:
    places, turns = BundlerPlaces(1, 60), HouseholdTurns(1)

    async def waits_within(context: AbstractAsyncContextManager[None]) -> None:
        async with context:
            raise AssertionError("there is none")

    async with places.place(QuestionKind.SEND, "one"), turns.turn("one"):
        for context in (places.place(QuestionKind.SEND, "one"), turns.turn("one")):
            waiting = waits_within(context)
            waiting.send(None)
            waiting.close()
    assert places.free == 1
    async with asyncio.timeout(20), turns.turn("one"):
        pass
