"""The world before which a gate is held for long tells what is so, and finds what is not."""

from __future__ import annotations

from math import inf
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from proxy.userop.primitives import Hash32
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import lane
from tests.bench.usage import Usage
from tests.bypass_list.desk import a_session, reading, single, use
from tests.session.builders import TOKEN, TRANSFER, action, transfer, usage
from tests.weather.__main__ import summary
from tests.weather.clients import Sky
from tests.weather.comparing import grown
from tests.weather.world import MOST_IN_A_BLOCK, PAST, Act, World

GRANT = a_session(action(TOKEN, TRANSFER, usage(9)), salt=8)


def world_with(operations: int, limit: int, seed: int = 1) -> World:
    world = World(Random(seed))
    world.grant(GRANT, limit)
    for number in range(1, operations + 1):
        op = use(GRANT, single(transfer(1)), nonce=lane(number))
        world.take("a", reading(op).user_op_hash, op, GRANT.permission_id, due=float(number))
    return world


@given(st.lists(st.sampled_from([1, 2, 3]), max_size=4), st.integers(0, 99))
def test_whatever_is_taken_back_each_operation_waits_or_is_used_once(depths: list[int], seed: int) -> None:
    world = world_with(6, 6, seed)
    for number, depth in enumerate(depths):
        world.mine(until=float(2 * number))
        world.go_back(depth)
    head = world.chain.headers[-1].number
    used = world.used(GRANT.permission_id, head)
    assert used + world.waiting == 6
    assert sum(world.next_nonce(lane(number) >> 64, head) for number in range(1, 7)) == used
    world.mine(until=inf)
    assert (list(world.mined()), world.faults) == ([(GRANT.permission_id, 6, 6)], [])


def take(world: World, op: UserOperation, *, bundler: str = "a", session: SessionData | None = GRANT) -> Hash32:
    name = reading(op).user_op_hash
    world.take(bundler, name, op, None if session is None else session.permission_id, due=0.0)
    return name


def test_of_those_that_compete_for_a_nonce_one_is_mined_and_takes_one_use() -> None:
    world = world_with(0, 1)
    for amount in (1, 2):
        take(world, use(GRANT, single(transfer(amount)), nonce=lane(1)))
    world.mine(until=inf)
    assert (world.waiting, list(world.mined()), world.faults) == (0, [(GRANT.permission_id, 1, 1)], [])
    world.go_back(1)
    world.mine(until=inf)
    assert list(world.mined()) == [(GRANT.permission_id, 1, 1)]


def test_what_is_behind_a_gap_waits_for_it() -> None:
    world = world_with(0, 2)
    take(world, use(GRANT, single(transfer(1)), nonce=lane(1, 1)))
    world.mine(until=inf)
    assert world.waiting == 1
    take(world, use(GRANT, single(transfer(1)), nonce=lane(1)))
    world.mine(until=inf)
    assert (world.waiting, world.next_nonce(lane(1) >> 64, world.head)) == (0, 2)


def test_a_use_past_the_gate_is_not_one_that_the_gate_let_out() -> None:
    world = world_with(0, 0)
    take(world, use(GRANT, single(transfer(1)), nonce=lane(1)), bundler=PAST)
    world.mine(until=inf)
    assert (list(world.mined()), world.faults) == ([(GRANT.permission_id, 1, 0)], [])


@given(st.lists(st.sampled_from([1, 2, 3, 5]), max_size=6), st.integers(0, 99))
def test_a_session_is_used_between_its_grant_and_its_removal_however_the_chain_goes_back(
    depths: list[int], seed: int
) -> None:
    world, name = World(Random(seed)), GRANT.permission_id
    world.introduce(GRANT, 3)
    first, second = use(GRANT, single(transfer(1)), nonce=lane(1)), use(GRANT, single(transfer(1)), nonce=lane(2))
    world.acts[reading(first).user_op_hash] = Act(GRANT, granted=True, enables=True)
    before = world.head
    take(world, second)
    world.mine(until=inf)
    assert world.waiting == 1
    take(world, first)
    world.mine(until=inf)
    world.ask(Act(GRANT, granted=False))
    for depth in depths:
        world.mine(until=inf)
        world.go_back(min(depth, world.head - before))
    for _ in range(4):
        world.mine(until=inf)
    assert (world.waiting, world.used(name, world.head), world.enable_nonce(name, world.head)) == (0, 2, 1)
    assert not world.is_in_force(name, world.head)


def test_that_two_bring_one_grant_along_is_a_fault_and_one_is_mined() -> None:
    world = World(Random(1))
    world.introduce(GRANT, 3)
    for number in (1, 2):
        op = use(GRANT, single(transfer(1)), nonce=lane(number))
        world.acts[reading(op).user_op_hash] = Act(GRANT, granted=True, enables=True)
        take(world, op)
    for _ in range(3):
        world.mine(until=inf)
        assert (world.waiting, world.used(GRANT.permission_id, world.head)) == (0, 1)
        world.go_back(1)
    world.mine(until=inf)
    assert (world.enable_nonce(GRANT.permission_id, world.head), world.waiting) == (1, 0)
    assert [fault.split(" ")[-1] for fault in world.faults] == ["out"]


def test_a_block_holds_so_much_and_the_rest_waits() -> None:
    world = world_with(MOST_IN_A_BLOCK + 3, 1_000)
    for waiting in (3, 0):
        world.mine(until=inf)
        assert world.waiting == waiting
    world.go_back(2)
    world.mine(until=inf)
    assert (world.waiting, world.used(GRANT.permission_id, world.head)) == (0, MOST_IN_A_BLOCK + 3)


def test_one_use_too_many_and_an_operation_at_two_bundlers_are_faults() -> None:
    world = world_with(3, 2)
    name, sent = next(iter(world.operations.items()))
    world.take("b", name, sent.op, GRANT.permission_id, due=0.0)
    assert [fault.split(" ", 1)[1] for fault in world.faults] == ["uses of 2 are out", "went to a and to b"]
    assert summary(world.faults * 2).count("2 times") == 2


def test_a_view_names_its_session_by_any_of_its_words() -> None:
    world = world_with(0, 2)
    for place in (b"", bytes(32), b"\0"):
        assert world.named_in(b"view" + place + GRANT.permission_id) == GRANT.permission_id
    assert world.named_in(b"view" + bytes(96)) is None


def test_what_grows_from_rest_to_rest_is_told_and_what_is_remembered_of_operations_is_not() -> None:
    def at(resident: int, sockets: int = 9) -> Usage:
        return Usage(0.0, 0.0, resident << 20, sockets, 30)

    first = (500, at(95))
    assert list(grown([first, (1_000, at(100)), (3_000, at(107))])) == []
    assert [each.split()[0] for each in grown([first, (1_000, at(100)), (1_000, at(120, 99))])] == ["files", "memory"]


def test_a_gate_has_time_to_find_out_who_is_ill_and_needs_none_when_one_comes_back() -> None:
    sky, both, one = Sky(), frozenset({"a", "b"}), frozenset({"b"})
    sky.turns("fair", nodes=both, bundlers=both)
    assert (sky.node_since, sky.bundler_since) == (0.0, 0.0)
    sky.turns("bundler a: hanging", nodes=both, bundlers=one)
    since = sky.bundler_since
    assert (sky.node_since, since is not None and since > 0.0) == (0.0, True)
    sky.turns("rest", nodes=both, bundlers=both)
    assert sky.bundler_since == since
    sky.turns("both: hanging", nodes=frozenset(), bundlers=frozenset())
    assert (sky.node_since, sky.bundler_since) == (None, None)
    sky.turns("rest", nodes=both, bundlers=one)
    assert None not in (sky.node_since, sky.bundler_since)
