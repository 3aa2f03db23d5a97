"""What judging one more operation of a known session takes, in steps of Python: the same on any machine, however busy.

The ceiling stands a seventh above what it takes. Whoever passes it has made each operation dearer: find out by what.
"""

from __future__ import annotations

from proxy.admission import Judgement
from proxy.judge.verdict import Allow
from tests.admission.builders import Room, lane
from tests.bypass_list.desk import a_session, single, use
from tests.flat.effort import effort_of
from tests.session.builders import NOW, TOKEN, TRANSFER, action, time_frame, transfer, usage

BUSY = a_session(action(TOKEN, TRANSFER, time_frame(NOW + 60), usage(10**6)), user_op=[time_frame(NOW + 60)])
MOST_STEPS = 4_000


def test_judging_an_operation_of_a_known_session_takes_few_steps_and_waits_for_nothing() -> None:
    room = Room(BUSY)
    signed = [use(BUSY, single(transfer(1)), nonce=lane(number)) for number in range(1, 10)]

    judged: list[Judgement] = []

    def judge() -> None:
        try:
            room.judge(signed.pop()).send(None)
        except StopIteration as ended:  # it has waited for nothing
            judged.append(ended.value)

    judge()
    assert effort_of(judge).steps < MOST_STEPS
    assert len(judged) == 9 - len(signed)
    assert all(isinstance(each.verdict, Allow) for each in judged)
