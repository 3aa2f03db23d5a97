"""What became of operations is read from blocks, in order, each once, whatever the node and the chain do."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.chain.blocks.events import USER_OPERATION_EVENT
from proxy.chain.blocks.follower import MOST_BLOCKS_BEHIND, BlockFollower
from proxy.chain.blocks.header import bloom_of_item, may_hold
from proxy.chain.blocks.source import LogFilter, Transaction
from proxy.chain.logs import Log
from proxy.chain.settlement.slices import OperationMined
from proxy.errors import StateUnavailable
from proxy.session.counters import SessionKey
from proxy.userop import abi
from proxy.userop.primitives import Address, Hash32
from tests.admission.builders import TWICE, enabling
from tests.bypass_list.desk import use
from tests.chain.blocks.builders import (
    BUNDLE,
    CHAIN_ID,
    V07,
    Backend,
    Balancer,
    Books,
    FakeChain,
    Knowledge,
    a_hash,
    a_key,
    bundle_of,
    dropped,
    executed,
    follower_of,
    granted,
    noise,
    reverted,
    touched,
)
from tests.session.builders import ACCOUNT, SMART_SESSION, STRANGER, word

SESSION_NONCE = int.from_bytes(bytes(4) + SMART_SESSION + bytes(8), "big")


@pytest.fixture
def chain() -> FakeChain:
    return FakeChain()


@pytest.fixture
def books() -> Books:
    return Books()


async def test_the_first_look_begins_at_the_newest_block(chain: FakeChain, books: Books) -> None:
    chain.mine(executed(1))
    await follower_of(Backend(chain), books).look()
    assert books.started_at == [chain.name()]
    assert books.mined == []


async def test_every_operation_of_a_sender_in_flight_is_told_once_and_in_order(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    chain.mine(executed(1), touched(a_key()), executed(2, sender=STRANGER))
    chain.mine(executed(3))
    await follower.look()
    await follower.look()
    assert books.mined == [1, 3]
    assert books.touched == [a_key()]
    assert books.cursor == chain.name()


async def test_a_block_at_which_a_session_was_read_is_named_however_far_it_is_behind(
    chain: FakeChain, books: Books
) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    read_at = chain.name().number + 20
    for _ in range(300):
        chain.mine()
    books.read_at = {read_at}
    await follower.look()
    named = [each.number for part in books.slices[:2] for each in part.blocks]
    assert named == [read_at, *(part.last.number for part in books.slices[:2])]


async def test_what_an_event_says_is_told_whole(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    header = chain.mine(noise(), reverted(1, b"no"), executed(1, nonce=5, success=False))
    await follower.look()
    (event,) = books.slices[-1].events
    assert isinstance(event, OperationMined)
    assert (event.user_op_hash, event.slot.sender, event.slot.nonce) == (a_hash(1), ACCOUNT, 5)
    assert not event.mined.success
    told = event.mined
    assert (told.gas_cost, told.gas_used, told.revert_reason, told.base_fee) == (7_001, 901, b"no", 7)
    assert (event.timestamp, event.block, event.place) == (header.timestamp, chain.name(), (header.number, 2))


async def test_an_operation_of_a_watched_session_that_came_another_way_is_told(chain: FakeChain, books: Books) -> None:
    books.senders_in_flight = set()
    follower = follower_of(Backend(chain), books, Knowledge(watched={STRANGER}))
    await follower.look()
    chain.mine(executed(1, sender=STRANGER, nonce=SESSION_NONCE), executed(2, sender=STRANGER, nonce=7))
    await follower.look()
    assert books.mined == [1]


async def test_a_session_used_past_the_gate_is_doubtful_and_told(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(ours={a_hash(1)}, sessions={ACCOUNT: [a_key(1), a_key(2)]})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    bundle = Hash32(word(7))
    operation = (ACCOUNT, SESSION_NONCE + 1, b"", b"", bytes(32), 0, bytes(32), b"", b"\0" + word(2) + bytes(65))
    call_data = bytes.fromhex("765e827f") + abi.encode(BUNDLE, ((operation,), STRANGER))
    chain.transactions[bundle] = Transaction(to=V07.address, call_data=call_data)
    ours, past = executed(1, nonce=SESSION_NONCE), executed(2, nonce=SESSION_NONCE + 1, transaction=bundle)
    chain.mine(ours, past, executed(3, nonce=SESSION_NONCE + 2))
    await follower.look()
    # the bundle names the session; where it cannot be read it may be any of the account's
    assert books.touched == [a_key(2), a_key(1), a_key(2)]
    assert knows.uses == [
        (a_hash(1), (a_key(1), a_key(2)), True),
        (a_hash(2), (a_key(2),), False),
        (a_hash(3), (a_key(1), a_key(2)), False),
    ]


async def test_a_grant_that_no_operation_of_ours_made_is_told(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(watched={ACCOUNT}, ours={a_hash(1), a_hash(3)})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    ours, theirs, ours_after = (Hash32(word(number)) for number in (71, 72, 73))
    chain.mine(granted(a_key(1), ours), executed(1, transaction=ours))
    chain.mine(granted(a_key(2), theirs), executed(2, transaction=theirs), executed(3, transaction=theirs))
    chain.mine(executed(3, nonce=9, transaction=ours_after), granted(a_key(3), ours_after))
    chain.mine(granted(a_key(4)), granted(a_key(5, STRANGER)), touched(a_key(6)))
    await follower.look()
    assert knows.grants == [a_key(2), a_key(3), a_key(4)]


async def test_a_grant_in_the_calls_of_another_account_s_operation_is_none_of_ours(
    chain: FakeChain, books: Books
) -> None:
    knows = Knowledge(watched={ACCOUNT}, ours={a_hash(1)})
    books.senders_in_flight = {STRANGER}
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    chain.mine(granted(a_key(1)), executed(1, sender=STRANGER))
    await follower.look()
    assert knows.grants == [a_key(1)]


async def test_a_use_is_told_only_when_it_is_settled(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(sessions={ACCOUNT: [a_key()]})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    chain.mine(executed(1, nonce=SESSION_NONCE))
    books.broken = True
    with pytest.raises(StateUnavailable):
        await follower.look()
    assert knows.uses == []
    books.broken = False
    await follower.look()
    assert len(knows.uses) == 1


# a node behind a balancer


async def test_two_backends_three_blocks_apart_lose_no_operation(chain: FakeChain, books: Books) -> None:
    chain.mine(blocks=5)
    follower = follower_of(Balancer(Backend(chain), Backend(chain, behind=3)), books)
    await _look(follower, times=8)
    for number in range(1, 31):
        chain.mine(executed(number), noise(number))
        await _look(follower, times=1)
    chain.mine(blocks=4)
    await _look(follower, times=12)
    assert books.mined == list(range(1, 31))


@pytest.mark.parametrize("blocks", [1, 3, 40])
async def test_a_backend_that_answers_with_no_logs_moves_nothing(chain: FakeChain, books: Books, blocks: int) -> None:
    honest = Backend(chain)
    await follower_of(honest, books).look()
    before = books.cursor
    for number in range(blocks):
        chain.mine(executed(number + 1))
    with pytest.raises(StateUnavailable):
        await follower_of(Backend(chain, answers_empty=True), books).look()
    assert books.cursor == before
    await follower_of(honest, books).look()
    assert books.mined == list(range(1, blocks + 1))


async def test_where_every_second_answer_is_empty_each_operation_is_found(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Balancer(Backend(chain), Backend(chain, answers_empty=True)), books)
    await _look(follower, times=2)
    for number in range(1, 21):
        chain.mine(executed(number))
        await _look(follower, times=3)
    await _look(follower, times=6)
    assert books.mined == list(range(1, 21))


async def test_on_a_chain_without_filters_an_empty_answer_is_asked_for_twice(books: Books) -> None:
    chain = FakeChain(blooms=False)
    follower = follower_of(Balancer(Backend(chain), Backend(chain), Backend(chain, answers_empty=True)), books)
    await _look(follower, times=1)
    chain.mine(executed(1))
    await _look(follower, times=3)
    assert books.mined == [1]


async def test_a_quiet_block_costs_no_question_for_logs(chain: FakeChain, books: Books) -> None:
    node = Backend(chain)
    follower = follower_of(node, books)
    await follower.look()
    chain.mine(noise())
    await follower.look()
    node.asked.clear()
    chain.mine(noise(3), blocks=5)
    await follower.look()
    assert [question[0] for question in node.asked] == ["head", "headers", "headers"]


async def test_a_filter_that_lets_through_what_is_not_there_is_seen_through(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    chain.mine(*(noise(number) for number in range(3_000)))
    assert may_hold(chain.headers[-1].bloom, V07.address, USER_OPERATION_EVENT)
    await follower.look()
    assert books.cursor == chain.name()
    assert books.slices[-1].events == ()


async def test_a_block_with_too_many_operations_of_others_is_asked_for_ours(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain, most_logs=10), books)
    await follower.look()
    others = [executed(100 + number, sender=STRANGER) for number in range(40)]
    chain.mine(*others, executed(1), touched(a_key()))
    await follower.look()
    assert books.mined == [1]
    assert books.touched == [a_key()]


async def test_a_block_with_more_logs_of_a_module_than_any_node_gives_holds_up_nothing_for_good(
    chain: FakeChain, books: Books
) -> None:
    follower = follower_of(Backend(chain, most_logs=10), books)
    await follower.look()
    full = [touched(a_key(number)) for number in range(11)]
    for _ in range(2):
        chain.mine(*full)
        chain.mine(executed(1))
        begun = len(books.started_at)
        for _ in range(7):
            with pytest.raises(StateUnavailable):
                await follower.look()
        assert len(books.started_at) == begun
        await follower.look()
        assert books.started_at[begun:] == [chain.name()]
        chain.mine(executed(2), touched(a_key()))
        await follower.look()
        assert (books.mined, books.touched) == ([2], [a_key()])


async def test_where_no_logs_are_given_at_all_everything_begins_anew_ever_more_rarely(
    chain: FakeChain, books: Books
) -> None:
    follower = follower_of(Backend(chain, most_logs=0), books)
    await follower.look()
    for _ in range(200):
        chain.mine(touched(a_key()))
        with suppress(StateUnavailable):
            await follower.look()
    assert len(books.started_at) == 1 + 4  # after 8, 16, 32 and 64 more


async def test_in_such_a_block_idle_accounts_that_are_known_have_their_turns(chain: FakeChain, books: Books) -> None:
    idle = [Address(number.to_bytes(20, "big")) for number in range(1, 1_301)]
    follower = follower_of(Backend(chain, most_logs=100), books, Knowledge(watched=set(idle)))
    await follower.look()
    others = [executed(5_000 + number, sender=STRANGER) for number in range(200)]
    for _ in range(2):
        chain.mine(
            *others, executed(1, sender=idle[0], nonce=SESSION_NONCE), executed(2, sender=idle[-1], nonce=SESSION_NONCE)
        )
    await follower.look()
    assert books.mined == [1, 2]  # one in each block


async def test_sessions_of_an_account_that_drops_their_module_are_to_be_read(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(sessions={ACCOUNT: [a_key(1), a_key(2)]})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    chain.mine(executed(1), dropped(ACCOUNT), dropped(STRANGER), dropped(ACCOUNT, kind=2))
    chain.mine(dropped(ACCOUNT, module=Address(b"\x0d" * 20)))
    chain.mine(blocks=30)
    await follower.look()
    assert books.touched == [a_key(1), a_key(2)]
    assert books.mined == [1]


async def test_a_node_that_tells_of_no_accounts_holds_nothing_up(chain: FakeChain, books: Books) -> None:
    class Bounded(Backend):
        async def logs_between(self, first: int, last: int, wanted: LogFilter) -> tuple[Log, ...]:
            if not wanted.addresses:
                raise StateUnavailable("name an address")
            return await super().logs_between(first, last, wanted)

    follower = follower_of(Bounded(chain), books, Knowledge(sessions={ACCOUNT: [a_key(1)]}))
    await follower.look()
    chain.mine(executed(1), dropped(ACCOUNT))
    await follower.look()
    assert (books.mined, books.touched) == ([1], [])


async def test_a_session_enabled_past_the_gate_is_granted_and_not_used(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(watched={ACCOUNT}, ours={a_hash(2)})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    for number in (1, 2):
        bundle = Hash32(word(number))
        op = enabling(TWICE, b"", nonce=SESSION_NONCE)
        chain.transactions[bundle] = Transaction(to=V07.address, call_data=bundle_of(op))
        chain.mine(executed(number, nonce=SESSION_NONCE, transaction=bundle))
    await follower.look()
    key = SessionKey(CHAIN_ID, SMART_SESSION, ACCOUNT, TWICE.permission_id)
    assert knows.enabled_by == [(a_hash(1), (key,), False)]
    assert knows.uses == [(a_hash(2), (key,), True)]
    assert books.touched == [key]  # to be read anew


async def test_a_block_waits_for_the_bundle_that_tells_under_which_claim_an_operation_counts(
    chain: FakeChain, books: Books
) -> None:
    knows = Knowledge(watched={ACCOUNT}, ours={a_hash(1)}, claimed_twice={a_hash(1)})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    bundle = Hash32(word(1))
    chain.mine(executed(1, nonce=SESSION_NONCE, transaction=bundle))
    for _ in range(3):
        with pytest.raises(StateUnavailable, match="several claims"):
            await follower.look()
    op = use(TWICE, b"", nonce=SESSION_NONCE)
    chain.transactions[bundle] = Transaction(to=V07.address, call_data=bundle_of(op))
    await follower.look()
    assert [each.mined.permission_ids for each in mined_in(books)] == [(TWICE.permission_id,)]


async def test_it_does_not_wait_for_ever(chain: FakeChain, books: Books) -> None:
    knows = Knowledge(watched={ACCOUNT}, ours={a_hash(1)}, claimed_twice={a_hash(1)})
    follower = follower_of(Backend(chain), books, knows)
    await follower.look()
    chain.mine(executed(1, nonce=SESSION_NONCE, transaction=Hash32(word(1))))
    for _ in range(7):
        with pytest.raises(StateUnavailable, match="several claims"):
            await follower.look()
    await follower.look()
    assert [each.mined.permission_ids for each in mined_in(books)] == [None]
    # nor again, until a bundle can be had
    knows.claimed_twice = {a_hash(number) for number in range(2, 5)}
    chain.mine(executed(2, nonce=SESSION_NONCE + 1, transaction=Hash32(word(2))))
    await follower.look()
    chain.transactions[Hash32(word(3))] = Transaction(to=V07.address, call_data=b"")
    chain.mine(executed(3, nonce=SESSION_NONCE + 2, transaction=Hash32(word(3))))
    await follower.look()
    chain.mine(executed(4, nonce=SESSION_NONCE + 3, transaction=Hash32(word(4))))
    with pytest.raises(StateUnavailable, match="several claims"):
        await follower.look()


def mined_in(books: Books) -> list[OperationMined]:
    return [event for part in books.slices for event in part.events if isinstance(event, OperationMined)]


async def test_a_long_stretch_is_read_in_parts_that_the_node_answers_for(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain, most_logs=7), books)
    await follower.look()
    for number in range(1, 201):
        chain.mine(executed(number))
    await follower.look()
    assert books.mined == list(range(1, 201))


async def test_a_block_that_the_node_says_it_has_not_got_moves_nothing(chain: FakeChain, books: Books) -> None:
    await follower_of(Backend(chain), books).look()
    before = books.cursor
    chain.mine(executed(1), blocks=3)
    with pytest.raises(StateUnavailable):
        await follower_of(Backend(chain, null_blocks=True), books).look()
    assert books.cursor == before


async def test_a_node_that_lags_undoes_nothing(chain: FakeChain, books: Books) -> None:
    chain.mine(blocks=10)
    await follower_of(Backend(chain), books).look()
    chain.mine(executed(1), blocks=3)
    await follower_of(Backend(chain), books).look()
    await follower_of(Backend(chain, behind=2), books).look()
    await follower_of(Backend(chain, behind=12), books).look()
    assert books.undone_to == []
    assert books.cursor == chain.name()


async def test_a_node_of_another_chain_undoes_nothing_and_begins_nothing(chain: FakeChain, books: Books) -> None:
    await follower_of(Backend(chain), books).look()
    other = FakeChain(chain.first, salt=1)
    other.mine(blocks=5)
    stranger = Backend(other, of_chain=1)
    for _ in range(3):
        with pytest.raises(StateUnavailable):
            await follower_of(stranger, books).look()
        with pytest.raises(StateUnavailable):
            await follower_of(stranger, Books()).look()
    assert books.started_at == [chain.name()]
    assert books.undone_to == []


# reorganisations


@pytest.mark.parametrize("depth", [1, 6, 64])
async def test_a_reorganisation_undoes_what_stood_on_the_blocks_that_are_gone(
    chain: FakeChain, books: Books, depth: int
) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    chain.mine(executed(1), touched(a_key(1)))
    chain.mine(blocks=6)
    await follower.look()
    for number in range(depth):
        chain.mine(executed(100 + number), touched(a_key(2)))
        if number % 5 == 0:
            await follower.look()
    await follower.look()
    ancestor = chain.name(back=depth)
    chain.reorganise(depth, [executed(100)], [executed(500), touched(a_key(3))])
    chain.mine()
    await follower.look()
    assert books.undone_to == [ancestor]
    assert books.mined == [1, 100, 500] if depth > 1 else [1, 100]
    assert a_key(2) not in books.touched
    assert books.cursor == chain.name()


async def test_a_reorganisation_at_the_same_height_is_noticed(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    chain.mine(executed(1), blocks=2)
    await follower.look()
    chain.reorganise(1, [executed(2)])
    await follower.look()
    assert books.mined == [2]


async def test_a_reorganisation_deeper_than_anything_known_begins_anew_when_seen_twice(
    chain: FakeChain, books: Books
) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    chain.mine(blocks=3)
    await follower.look()
    chain.reorganise(4, [], [], [], [], [])
    with pytest.raises(StateUnavailable):
        await follower.look()
    assert len(books.started_at) == 1
    await follower.look()
    assert books.started_at[-1] == chain.name()


async def test_a_stretch_longer_than_can_be_read_begins_anew(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    far = FakeChain(chain.first + MOST_BLOCKS_BEHIND + 2)
    await follower_of(Backend(far), books).look()
    assert books.started_at[-1] == far.name()


async def test_a_slice_that_could_not_be_kept_is_offered_again(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    chain.mine(executed(1))
    books.broken = True
    with pytest.raises(StateUnavailable):
        await follower.look()
    books.broken = False
    await follower.look()
    assert books.mined == [1]


# which claim was mined


async def test_a_bundle_that_cannot_be_read_tells_no_claim(chain: FakeChain, books: Books) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    bundle = Hash32(word(1))
    chain.transactions[bundle] = Transaction(to=V07.address, call_data=b"\x76\x5e\x82\x7fbroken")
    chain.mine(executed(1, transaction=bundle), executed(2, transaction=Hash32(word(2))))
    await follower.look()
    assert [event.mined.permission_ids for event in books.slices[-1].events if isinstance(event, OperationMined)] == [
        None,
        None,
    ]


# whatever happens


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("mine"), st.integers(1, 4)),
            st.tuples(st.just("reorganise"), st.integers(1, 20)),
            st.tuples(st.just("look"), st.integers(1, 3)),
        ),
        max_size=30,
    ),
    st.lists(
        st.fixed_dictionaries({"behind": st.integers(0, 3), "answers_empty": st.booleans()}), min_size=0, max_size=2
    ),
)
async def test_at_rest_what_stands_is_what_the_chain_has(
    steps: list[tuple[str, int]], others: list[dict[str, int]]
) -> None:
    chain, books, number = FakeChain(), Books(), 0
    chain.mine(blocks=30)
    backends = [Backend(chain, behind=each["behind"], answers_empty=bool(each["answers_empty"])) for each in others]
    follower = follower_of(Balancer(Backend(chain), *backends), books)
    honest = follower_of(Backend(chain), books)
    await honest.look()
    for step, count in steps:
        if step == "mine":
            for _ in range(count):
                number += 1
                chain.mine(executed(number), noise(number))
        elif step == "reorganise" and count < len(chain.headers) - 31:
            chain.reorganise(count)
            chain.mine()
        else:
            await _look(follower, times=count)
    await honest.look()
    on_chain = [
        int.from_bytes(log.topics[1], "big") - 0xAA00_0000
        for header in chain.headers
        for log in chain.logs[header.hash]
        if log.address == V07.address
    ]
    assert books.mined == on_chain
    assert books.cursor == chain.name()


@given(st.lists(st.binary(min_size=20, max_size=32), max_size=20), st.binary(min_size=20, max_size=20))
def test_a_filter_never_denies_what_is_in_it(items: list[bytes], item: bytes) -> None:
    bloom = 0
    for each in [*items, item]:
        bloom |= bloom_of_item(each)
    assert may_hold(bloom, Address(item))


async def _look(follower: BlockFollower, times: int) -> None:
    """Failures of single looks are what the next ones are for."""
    for _ in range(times):
        try:
            await follower.look()
        except StateUnavailable:
            continue


# what one transaction takes


@pytest.mark.parametrize(("ends", "slices"), [([10, 10, 5, 1], 2), ([60], 1), ([1, 60, 1], 3), ([0] * 40, 1)])
async def test_a_slice_of_several_blocks_is_no_more_than_one_transaction_takes(
    chain: FakeChain, books: Books, ends: list[int], slices: int
) -> None:
    follower = follower_of(Backend(chain), books)
    await follower.look()
    numbers = iter(range(1, 1_000))
    for count in ends:
        chain.mine(*(executed(next(numbers)) for _ in range(count)))
    await follower.look()
    assert books.mined == list(range(1, sum(ends) + 1))
    assert len(books.slices) == slices
    assert books.cursor == chain.name()
    for part in books.slices:
        several = part.last.number > part.first
        assert not several or sum(isinstance(event, OperationMined) for event in part.events) <= 25
