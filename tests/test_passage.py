"""What is passed along, or judged and sent, without a task is answered, counted and held as the gate itself would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.clients.licence import Guest, Licence
from proxy.errors import UpstreamUnavailable
from proxy.jsonrpc import Request
from proxy.judge.verdict import Mode
from proxy.passage import Ended, Passage
from proxy.ports import Answer, AskingOn, RequestContext, Submission
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import TWICE, key_of
from tests.gate_parts import (
    CONTEXT,
    ENTRY_POINT,
    ESTIMATE,
    GOOD,
    HASH,
    OUTSIDE,
    SEND,
    STUB,
    TIMED_OUT,
    UNREACHED,
    Answered,
    FakeUpstream,
    Scene,
    Sent,
    error,
    result,
    scene,
)

RECEIPT = "eth_getUserOperationReceipt"
TRANSLATED = "pimlico_getUserOperationGasPrice"
OPERATION = print_user_operation(GOOD)
MINED = {"userOpHash": HASH, "success": True}
HOW = ("at once", "not at once", "by another bundler")


@dataclass
class Caller:
    """Waits for one answer."""

    answers: list[Answer | None] = field(default_factory=list)
    work: list[Coroutine[Any, Any, Answer | None]] = field(default_factory=list)

    def answered(self, answer: Answer | None) -> None:
        self.answers.append(answer)

    def wait_for(self, work: Coroutine[Any, Any, Answer | None]) -> None:
        self.work.append(work)

    async def hear(self) -> Answer | None:
        for work in self.work:
            self.answers.append(await work)
        assert len(self.answers) == 1, "answered once"
        return self.answers[0]


@dataclass
class Direct:
    """Asks the fake bundler in one of the ways a bundler may be asked, and tells what came when it is told to."""

    behind: FakeUpstream
    how: str
    pending: list[Callable[[], None]] = field(default_factory=list)

    def begin(
        self, method: str, params: bytes, hearing: Callable[[Ended], None], submission: Submission | None
    ) -> bool:
        if self.how == "not at once":
            return False
        if self.how == "by another bundler" and submission is None:
            self.pending.append(lambda: hearing(AskingOn(self.behind.post(method, params, None))))
            return True
        self.behind.sent.append(Sent(method, params, submission))
        answer = self.behind.answers[0]
        if isinstance(answer, Answered | UpstreamUnavailable):
            self.pending.append(lambda: hearing(answer))
            return True
        self.behind.sent.pop()
        return False


async def passed(stage: Scene, request: Request, context: RequestContext, how: str) -> Answer | None:
    direct, caller = Direct(stage.upstream, how), Caller()
    passage = Passage(stage.gate, direct, recorder=stage.recorder, stopwatch=lambda: 0.0)
    passage.begin(request, context, caller)
    for tell in direct.pending:
        tell()
    return await caller.hear()


def traces_of(stage: Scene) -> tuple[object, ...]:
    recorder = stage.recorder
    follower, ledger = stage.follower, stage.room.ledger
    held = ledger.of_session(key_of(TWICE))
    written = recorder.decisions, recorder.answers, recorder.ends, recorder.exchanges, recorder.repeats
    return stage.upstream.sent, *written, follower.observed, follower.followed, follower.refused_, held


OPERATIONS = st.sampled_from(
    [OPERATION, {**OPERATION, "nonce": "0x"}, {**OPERATION, "more": 1}, {"sender": OPERATION["sender"]}, None, "0x"]
)
REQUESTS = st.one_of(
    st.tuples(st.sampled_from([RECEIPT, "eth_chainId", TRANSLATED, "eth_sendRawTransaction", "other"]), st.just([])),
    st.tuples(st.just(RECEIPT), st.lists(st.sampled_from([HASH, None, {"a": [1]}]), max_size=3)),
    st.tuples(
        st.sampled_from([SEND, ESTIMATE, "pimlico_sendUserOperationNow", "pm_getPaymasterStubData"]),
        st.tuples(OPERATIONS, st.sampled_from([ENTRY_POINT, HASH, 7])).map(list),
    ),
    st.tuples(st.just(SEND), st.just([OPERATION, ENTRY_POINT, {}])),
)
BUNDLER = st.sampled_from(
    [
        *(
            result(HASH),
            result(None),
            result(MINED),
            result("0x1", 503),
            error(-32602, "no"),
            error(-32500, "AA25", 400),
        ),
        *(UNREACHED, TIMED_OUT, ZeroDivisionError()),
    ]
)
GUESTS = st.sampled_from(
    [
        Guest("anonymous"),
        Guest("reader", Licence(methods=frozenset({RECEIPT, SEND}))),
        Guest("elsewhere", Licence(accounts=frozenset({GOOD.sender[::-1]}))),
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    asked=REQUESTS,
    request_id=st.sampled_from(["1", '"a"', "null", None]),
    bundler=BUNDLER,
    guest=GUESTS,
    mode=st.sampled_from([Mode.OFF, Mode.ENFORCE]),
    judge_previews=st.booleans(),
    how=st.sampled_from(HOW),
)
def test_a_request_is_answered_the_same_with_a_task_and_without(
    *,
    asked: tuple[str, list[object]],
    request_id: str | None,
    bundler: Answered | BaseException,
    guest: Guest,
    mode: Mode,
    judge_previews: bool,
    how: str,
) -> None:
    def fresh() -> Scene:
        made = scene(mode=mode, judge_previews=judge_previews, translated=frozenset({TRANSLATED}))
        made.upstream.answers = [bundler]
        return made

    async def both() -> None:
        context = CONTEXT.__class__(CONTEXT.chain, guest.name, CONTEXT.remote, guest)
        request = Request(request_id, *asked)
        one, other = fresh(), fresh()
        for _ in range(2):  # what a bundler has refused is answered otherwise when it comes again
            by_gate = await one.gate.answer(request, context)
            by_passage = await passed(other, request, context, how)
            assert by_passage == by_gate
            assert traces_of(other) == traces_of(one)

    asyncio.run(both())


class Broken(Answered):
    """A reply that cannot be printed: a promise of ours is broken when it is there already."""

    @property
    def status(self) -> int:  # type: ignore[override]  # a property in place of a field, to break it
        raise ZeroDivisionError

    @status.setter
    def status(self, _: int) -> None:
        return


@pytest.mark.parametrize("how", HOW)
async def test_who_sent_something_hears_that_it_may_be_out_when_the_gate_breaks_behind_it(how: str) -> None:
    stage = scene(mode=Mode.OFF)
    stage.upstream.answers = [Broken(result(HASH).reply)]
    answer = await passed(stage, Request("1", SEND, [OPERATION, ENTRY_POINT]), CONTEXT, how)
    assert answer is not None
    assert b'"mayHaveBeenSent":true' in answer.body
    assert [each.value for each in stage.recorder.outcomes] == ["internal_error"]


async def test_a_caller_that_asks_for_a_receipt_has_it_when_it_counts_here() -> None:
    stage = scene()
    stage.upstream.answers = [result(MINED)]
    direct, caller = Direct(stage.upstream, "at once"), Caller()
    passage = Passage(stage.gate, direct, recorder=stage.recorder, stopwatch=lambda: 0.0)
    passage.begin(Request("1", RECEIPT, [HASH]), CONTEXT, caller)
    direct.pending[0]()
    assert (caller.answers, stage.follower.observed) == ([], [])
    await caller.hear()
    assert stage.follower.observed == [MINED]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("at_once", [True, False], ids=["followed at once", "followed in time"])
@pytest.mark.parametrize(
    "bundler",
    [
        *(result(HASH), result("0x" + "ab" * 32), result(HASH, 503), result(MINED), result(None)),
        *(error(-32500, "AA25 invalid account nonce"), error(-32603, "hiccup"), error(-32602, "no", 400)),
        *(UNREACHED, TIMED_OUT, ZeroDivisionError()),
    ],
    ids=repr,
)
async def test_a_send_is_judged_held_and_followed_the_same_with_a_task_and_without(
    bundler: Answered | BaseException, how: str, *, at_once: bool
) -> None:
    def fresh() -> Scene:
        made = scene()
        made.upstream.answers = [bundler]
        made.follower.at_once = at_once
        return made

    for op in (GOOD, OUTSIDE, STUB):
        request = Request("1", SEND, [print_user_operation(op), ENTRY_POINT])
        one, other = fresh(), fresh()
        for _ in range(2):
            by_gate = await one.gate.answer(request, CONTEXT)
            assert await passed(other, request, CONTEXT, how) == by_gate
            assert traces_of(other) == traces_of(one)


async def test_a_send_of_a_known_session_waits_for_nothing_but_the_bundler() -> None:
    stage = scene()
    direct, caller = Direct(stage.upstream, "at once"), Caller()
    passage = Passage(stage.gate, direct, recorder=stage.recorder, stopwatch=lambda: 0.0)
    passage.begin(Request("1", SEND, [OPERATION, ENTRY_POINT]), CONTEXT, caller)
    (decision,) = stage.recorder.decisions
    assert (len(stage.upstream.sent), decision[1], caller.answers, caller.work) == (1, True, [], [])
    direct.pending[0]()
    (answer,) = caller.answers
    assert caller.work == []
    assert answer is not None
    assert answer.decision_id == decision[0].decision_id
    assert [answered for _, answered in stage.follower.followed] == [True]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("breaks", ["recorder", "follower", "holding"])
async def test_whatever_breaks_on_the_way_of_a_send_it_is_told_and_kept_as_the_gate_does(how: str, breaks: str) -> None:
    def fresh() -> Scene:
        made = scene()
        if breaks == "holding":
            made.follower.on_holding = _break
        else:
            getattr(made, breaks).broken = ZeroDivisionError()
        return made

    request = Request("1", SEND, [OPERATION, ENTRY_POINT])
    one, other = fresh(), fresh()
    by_gate = await one.gate.answer(request, CONTEXT)
    assert by_gate is not None
    assert await passed(other, request, CONTEXT, how) == by_gate
    assert traces_of(other) == traces_of(one)


def _break() -> None:
    raise ZeroDivisionError


async def test_a_send_whose_answer_cannot_be_counted_is_kept_and_may_be_out() -> None:
    stage = scene()
    direct, caller = Direct(stage.upstream, "at once"), Caller()
    passage = Passage(stage.gate, direct, recorder=stage.recorder, stopwatch=iter([0.0, 0.0]).__next__)
    passage.begin(Request("1", SEND, [OPERATION, ENTRY_POINT]), CONTEXT, caller)
    direct.pending[0]()  # the stopwatch is broken by now
    answer = await caller.hear()
    assert answer is not None
    assert b'"mayHaveBeenSent":true' in answer.body
    assert [answered for _, answered in stage.follower.followed] == [False]


async def test_a_mode_that_is_put_in_force_is_that_of_the_next_request_whatever_was_asked_before() -> None:
    stage = scene(mode=Mode.OFF)
    direct = Direct(stage.upstream, "at once")
    passage = Passage(stage.gate, direct, recorder=stage.recorder, stopwatch=lambda: 0.0)
    for mode, judged in ((Mode.OFF, 0), (Mode.ENFORCE, 1), (Mode.OFF, 1)):
        stage.gate.take(replace(stage.gate.settings, mode=mode))
        caller = Caller()
        stage.upstream.answers[:] = [result(HASH)]
        passage.begin(Request("1", SEND, [OPERATION, ENTRY_POINT]), CONTEXT, caller)
        while direct.pending:
            direct.pending.pop()()
        await caller.hear()
        assert len(stage.recorder.decisions) == judged, mode
