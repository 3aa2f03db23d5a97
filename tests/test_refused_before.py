"""The same bytes that a bundler has just refused hear that again, for two seconds, and nobody else does."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.jsonrpc import read_reply
from proxy.ports import RequestContext
from proxy.refused_before import MOST, MOST_BYTES, MOST_OF_ONE, REMEMBERED_SECONDS, RefusedBefore
from proxy.strict_json import print_json
from proxy.userop.primitives import Address
from tests.gate_parts import CONTEXT, SEND, Answered, error

SENDER, OTHER = Address(b"\1" * 20), Address(b"\2" * 20)
REFUSAL = error(-32500, "AA21 didn't pay prefund")
PARAMS = b'[{"nonce":"0x1"},"0x2"]'


@dataclass
class Watch:
    """A stopwatch that a test winds."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Memory:
    """What is under test, and its time."""

    watch: Watch = field(default_factory=Watch)
    sender: Address = SENDER

    def __post_init__(self) -> None:
        self.refused = RefusedBefore(self.watch)

    def note(
        self,
        answer: Answered = REFUSAL,
        *,
        context: RequestContext = CONTEXT,
        params: bytes = PARAMS,
        sender: Address = SENDER,
    ) -> None:
        self.refused.note(context, SEND, params, sender=sender, forwarded=answer, decision_id="d-1")

    def knows(self, context: RequestContext = CONTEXT, method: str = SEND, params: bytes = PARAMS) -> bool:
        return self.refused.find(context, method, params) is not None

    def is_empty(self) -> bool:
        return not any(each for each in vars(self.refused).values() if isinstance(each, dict | int))


@pytest.fixture
def memory() -> Memory:
    return Memory()


def of(household: str, client: str = "trading-dapp") -> RequestContext:
    return RequestContext("soneium", client, household)


def big(size: int) -> Answered:
    said = print_json({"code": -32500, "message": "AA23", "data": "0x" + "ab" * size})
    return Answered(read_reply(b'{"jsonrpc":"2.0","id":1,"error":%b}' % said, 1))


def test_what_was_refused_is_known_for_two_seconds_which_being_asked_does_not_make_more(memory: Memory) -> None:
    memory.note()
    for _ in range(4):
        memory.watch.now += REMEMBERED_SECONDS / 4.01
        assert memory.knows()
    memory.watch.now += 0.01
    assert not memory.knows()


def test_the_answer_its_decision_and_how_often_it_came_again_are_told(memory: Memory) -> None:
    memory.note()
    for times in (1, 2, 3):
        found = memory.refused.find(CONTEXT, SEND, PARAMS)
        assert found is not None
        assert (found.forwarded, found.decision_id, found.sender, found.times) == (REFUSAL, "d-1", SENDER, times)


@pytest.mark.parametrize(
    ("context", "method", "params"),
    [
        (CONTEXT, SEND, PARAMS.replace(b"0x1", b"0x3")),
        (CONTEXT, SEND, PARAMS.replace(b"0x2", b"0x3")),
        (CONTEXT, "pimlico_sendUserOperationNow", PARAMS),
        (of("127.0.0.1", "another-dapp"), SEND, PARAMS),
        (of("192.0.2.1"), SEND, PARAMS),
    ],
    ids=["other bytes", "another entry point", "another method", "another client", "another household"],
)
def test_anything_else_and_anybody_else_goes_to_the_bundler(
    memory: Memory, context: RequestContext, method: str, params: bytes
) -> None:
    memory.note()
    assert not memory.knows(context, method, params)


@pytest.mark.parametrize(
    "answer",
    [
        error(-32603, "internal"),
        error(-32602, "already known"),
        error(-32000, "upstream timed out", 504),
        *(error(-32500, "no", status) for status in (401, 403, 429)),
    ],
    ids=repr,
)
def test_what_leaves_it_open_and_what_a_gateway_turned_away_is_no_refusal(memory: Memory, answer: Answered) -> None:
    memory.note(answer)
    assert not memory.knows()
    assert memory.is_empty()


def test_what_changed_of_an_account_has_its_refusals_forgotten_and_no_others(memory: Memory) -> None:
    memory.note()
    memory.note(params=b"[]", sender=OTHER)
    memory.refused.forget(SENDER)
    assert (memory.knows(), memory.knows(params=b"[]")) == (False, True)


def test_refused_anew_after_its_time_it_is_known_anew(memory: Memory) -> None:
    memory.note()
    memory.watch.now += REMEMBERED_SECONDS
    assert not memory.knows()
    memory.note()
    assert memory.knows()


def test_one_household_makes_another_forget_nothing(memory: Memory) -> None:
    memory.note(context=of("192.0.2.1"))
    for number in range(2 * MOST_OF_ONE):
        memory.note(context=of("192.0.2.2"), params=b"%d" % number)
    assert memory.knows(of("192.0.2.1"))
    assert len(memory.refused.known) == 1 + MOST_OF_ONE
    assert not memory.knows(of("192.0.2.2"), params=b"0")


def test_all_together_have_room_for_so_many_and_so_many_bytes(memory: Memory) -> None:
    for number in range(MOST + 100):
        memory.note(context=of(f"192.0.2.{number % 250}"), params=b"%d" % number)
    assert len(memory.refused.known) == MOST
    one = big(200_000)
    for number in range(100):
        memory.note(one, context=of(f"198.51.100.{number}"))
    assert sum(each.size for each in memory.refused.known.values()) <= MOST_BYTES


def test_an_answer_larger_than_a_households_part_is_not_kept(memory: Memory) -> None:
    memory.note(big(MOST_BYTES * MOST_OF_ONE // MOST))
    assert not memory.knows()
    assert memory.is_empty()


def test_what_is_over_is_let_go_of_a_few_at_a_time_by_whoever_comes(memory: Memory) -> None:
    for number in range(100):
        memory.note(params=b"%d" % number)
    memory.watch.now += REMEMBERED_SECONDS
    for _ in range(100):
        if memory.is_empty():
            return
        assert not memory.knows()
    raise AssertionError("something stays for ever")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["note", "find", "forget"]),
        st.sampled_from(["192.0.2.1", "192.0.2.2"]),
        st.sampled_from([b"1", b"2", b"3"]),
        st.sampled_from([0.0, 0.3, 1.1, 2.0]),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_comes_in_whatever_order_just_what_was_refused_within_two_seconds_is_known(
    steps: list[tuple[str, str, bytes, float]],
) -> None:
    memory = Memory()
    until: dict[tuple[str, bytes], float] = {}
    for what, household, params, later in steps:
        memory.watch.now += later
        sender = Address(params * 20)
        if what == "note":
            memory.note(context=of(household), params=params, sender=sender)
            until[household, params] = memory.watch.now + REMEMBERED_SECONDS
        elif what == "forget":
            memory.refused.forget(sender)
            until = {name: at for name, at in until.items() if name[1] != params}
        else:
            known = memory.watch.now < until.get((household, params), 0.0)
            assert memory.knows(of(household), params=params) is known
