"""However operations come, fail, hang and are mined, the limit is neither overspent nor left unused."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import known, lane
from tests.bypass_list.desk import a_session, single, use
from tests.edge.recording_bundler import Answer
from tests.properties.conftest import Line
from tests.running_gate import RECEIPT, SEND, request
from tests.session.builders import TOKEN, TRANSFER, action, transfer, usage

LIMIT = 3
LANES = 5
ENDINGS = ("taken", "refused", "silence")
REFUSAL = Answer(error={"code": -32500, "message": "AA21 didn't pay prefund"})

numbers = count(1_000)


@dataclass
class Model:
    """What must be true of one session: which lanes hold a share, and how many shares are spent."""

    number: int
    grant: SessionData
    held: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)  # of those nobody has said whether they were taken
    mined: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)  # of those by the bundler, some time ago

    def operation(self, number: int) -> UserOperation:
        # no two examples use the same nonce: what one has in flight must not be displaced by the next
        return use(self.grant, single(transfer(1)), nonce=lane(self.number * LANES + number))

    def fits(self, number: int) -> bool:
        return len(self.mined) + len(self.held - {number}) < LIMIT


steps = st.lists(
    st.tuples(st.just("send"), st.integers(0, LANES - 1), st.sampled_from(ENDINGS))
    | st.tuples(st.just("mine"), st.integers(0, LANES - 1), st.booleans()),
    min_size=4,
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_a_limit_is_neither_overspent_nor_left_unused(line: Line, steps: list[tuple[str, int, Any]]) -> None:
    unused = next(numbers)
    model = Model(unused, a_session(action(TOKEN, TRANSFER, usage(LIMIT)), salt=unused))
    line.gate.running.registry.put(known(model.grant))
    for step, number, how in steps:
        if number in model.mined:
            continue  # its nonce is spent: a bundler would not take it
        if step == "send":
            send(line, model, number, how)
        elif number in model.held:
            name = line.gate.bundler.mine(model.operation(number), success=how)
            line(line.gate.ask, request(RECEIPT, name))
            model.held.discard(number)
            model.mined.add(number)


def send(line: Line, model: Model, number: int, ending: str) -> None:
    bundler = line.gate.bundler
    taking = bundler.answers[SEND]
    before = len(bundler.sent)
    bundler.hang_up = ending == "silence"
    bundler.answers[SEND] = REFUSAL if ending == "refused" else taking
    try:
        answer = line(line.gate.send, model.operation(number))
    finally:
        bundler.hang_up = False
        bundler.answers[SEND] = taking
    if not model.fits(number):
        told_again = number in model.refused and answer["error"] == REFUSAL.error  # as below
        assert told_again or answer["error"]["code"] == Code.LIMIT_EXCEEDED
        assert len(bundler.sent) == before
        return
    if number in model.doubtful:  # a moment ago nobody answered: it is not sent again
        assert answer["error"]["data"]["mayHaveBeenSent"] is True
        assert len(bundler.sent) == before
        return
    if number in model.refused and len(bundler.sent) == before:  # a moment ago: it is told again what it was told then
        assert answer["error"] == REFUSAL.error
        return
    assert len(bundler.sent) == before + 1
    if ending == "refused":
        model.refused.add(number)
    if ending == "silence":
        model.doubtful.add(number)
    if ending != "refused":
        assert ("result" in answer) is (ending == "taken")
        model.held.add(number)
