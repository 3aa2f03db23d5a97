"""What long searches of the ledger's state machine have found, each in a few steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.properties.chain_model import KEY, KEYS
from tests.properties.test_ledger_machine import LedgerMachine

OTHER = KEYS[1]


@contextmanager
def machine(*, follows: bool = True) -> Iterator[LedgerMachine]:
    """At rest in the end, when the gate has to know what the chain has counted. With a cursor that a restart goes on
    from, where it `follows` the blocks already."""
    steps = LedgerMachine()
    if follows:
        steps.look(seconds=1.0)
        steps.chain.add(())
        steps.look(seconds=1.0)
    yield steps
    steps.what_is_in_flight_is_on_disk()
    steps.every_hold_that_is_gone_has_its_evidence()
    steps.teardown()


def answer(steps: LedgerMachine, *, node: bool = True, read_ahead: int | None = None) -> None:
    """Whether the node does, and how many blocks are taken in at a time."""
    steps.fall_silent(bundler=False, node=not node, claims=True, behind=0, read_ahead=read_ahead)


def send(steps: LedgerMachine) -> None:
    """A use of one session."""
    steps.send(nonce=0, amount=1, reverts=False, key=KEY, grant=None, valid_for=None, ruled=False, fortune="taken")


def test_a_use_past_the_gate_in_a_block_that_was_read_and_is_gone_before_it_was_settled_counts_no_more() -> None:
    with machine() as steps:
        answer(steps, read_ahead=0)
        steps.use_past_the_gate(nonce=0, amount=2, key=KEY)
        steps.read(KEY)
        steps.reorganise(depth=1, keeps=False)


def test_it_does_not_where_the_gate_was_killed_between() -> None:
    with machine() as steps:
        answer(steps, read_ahead=0)
        steps.use_past_the_gate(nonce=0, amount=2, key=KEY)
        steps.read(KEY)
        steps.crash(keeps_notes=True)
        steps.reorganise(depth=1, keeps=False)


def test_an_operation_that_is_in_flight_again_while_its_session_is_read_is_not_counted_by_both() -> None:
    with machine(follows=False) as steps:
        again = steps.come_again_once_it_is_mined_and_before_its_block_is_taken_in
        send(steps)
        again(nonce=1, key=KEY, ruled=False, fortune="taken")
        answer(steps, node=False)
        again(nonce=1, key=KEY, ruled=False, fortune="crash after")
        answer(steps)
        steps.fill_the_disk(full=True)
        send(steps)
        steps.look(seconds=1.0)


def test_an_operation_that_comes_under_a_second_session_read_since_it_was_mined_is_not_counted_for_that_one() -> None:
    with machine(follows=False) as steps:
        steps.ask_before_the_blocks_are_taken_in()
        steps.come_again_once_it_is_mined_and_before_its_block_is_taken_in(
            nonce=3, key=KEY, ruled=False, fortune="crash after"
        )
        steps.use_past_the_gate(nonce=2, amount=2, key=OTHER)
        steps.fall_silent(bundler=False, node=False, claims=True, behind=1, read_ahead=None)
        steps.look(seconds=700.0)
        (sent,) = steps.sent.values()
        steps.send_as(sent, OTHER, None, "answer lost")
        steps.ask_before_the_blocks_are_taken_in()


def test_what_a_reading_has_counted_is_in_each_that_takes_its_place_where_the_chain_is_begun_anew_between() -> None:
    with machine(follows=False) as steps:
        again = steps.come_again_once_it_is_mined_and_before_its_block_is_taken_in
        steps.look(seconds=30.0)
        steps.use_past_the_gate(nonce=3, amount=2, key=KEY)
        steps.ask_the_disk_in_vain(is_deaf=True)
        answer(steps, read_ahead=0)
        again(nonce=1, key=KEY, ruled=False, fortune="answer lost")
        again(nonce=5, key=OTHER, ruled=False, fortune="hangs")
        again(nonce=3, key=KEY, ruled=True, fortune="crash after")
        steps.fall_silent(bundler=False, node=False, claims=False, behind=2, read_ahead=None)
        steps.look(seconds=1.0)


def test_a_reading_by_a_node_behind_what_was_settled_before_a_restart_is_none() -> None:
    with machine(follows=False) as steps:
        steps.crash(keeps_notes=False)  # of two backends the other one answers next
        steps.use_past_the_gate(nonce=0, amount=3, key=KEY)
        steps.reorganise(depth=1, keeps=False)
        send(steps)
        steps.fall_silent(bundler=False, node=False, claims=True, behind=1, read_ahead=None)
        steps.reorganise(depth=2, keeps=True)
        steps.crash(keeps_notes=False)
        steps.use_past_the_gate(nonce=3, amount=1, key=KEY)
        steps.look(seconds=1.0)
        steps.reorganise(depth=1, keeps=True)
        steps.look(seconds=700.0)
        steps.crash(keeps_notes=True)
        steps.crash(keeps_notes=True)
