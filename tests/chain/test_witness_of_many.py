"""What the chain says of many operations at once is what it says of each alone, in far fewer exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.chain.asking import Asking, NotAsked, Question, Response
from proxy.chain.node import Node
from proxy.chain.settlement.slices import BlockName
from proxy.chain.several import SeveralAsking
from proxy.chain.witness import GET_ENTRY_POINT_NONCE, USER_OPERATION_EVENT, Fate, NodeWitness
from proxy.errors import StateUnavailable
from proxy.ledger.operations import Mined
from proxy.ledger.reservation import NonceSlot
from proxy.userop import abi
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.chain.builders import FakeNode, hash_of_block

ENTRY_POINTS = (Address(b"\xee" * 20), Address(b"\xef" * 20))
STRANGER = Hash32(b"\x0d" * 32)
EVENT = abi.tuple_of(abi.UINT256, abi.BOOL, abi.UINT256, abi.UINT256)
MANY = 128
HEAD = 6_000
LOW = 60


def name(number: int) -> Hash32:
    return Hash32(b"\x0b" * 28 + number.to_bytes(4, "big"))


def slot(number: int, entry_point: Address = ENTRY_POINTS[0]) -> NonceSlot:
    return NonceSlot(1, entry_point, Address(b"\xac" * 16 + number.to_bytes(4, "big")), 7 << 64 | number)


def event(op: Hash32, of: NonceSlot, block: int, **other: Any) -> dict[str, Any]:
    return {
        "address": print_bytes(of.entry_point),
        "topics": [
            print_bytes(USER_OPERATION_EVENT),
            print_bytes(op),
            print_bytes(of.sender.rjust(32, b"\0")),
            "0x" + "00" * 32,
        ],
        "data": print_bytes(abi.encode(EVENT, (of.nonce, True, 1, 1))),
        "blockNumber": hex(block),
        "blockHash": print_bytes(hash_of_block(block)),
        "transactionHash": "0x" + "77" * 32,
        "logIndex": "0x0",
        "removed": False,
    } | other


@dataclass
class Chain(Asking):
    """Nonces and logs; of more logs at once than `most` it does not tell, nor for more blocks than `span`. What
    happens `before` each question may change what it says."""

    table: FakeNode = field(default_factory=lambda: FakeNode(block=HEAD))
    logs: list[dict[str, Any]] = field(default_factory=list)
    most: int = 10_000
    span: int = 10_000
    filters: bool = True  # or it tells of all there is in these blocks
    exchanges: int = 0
    before: Callable[[str], None] = lambda _: None

    def use(self, of: NonceSlot, *, is_used: bool) -> None:
        unused = of.nonce + 1 if is_used else of.nonce
        self.table.view(of.entry_point, GET_ENTRY_POINT_NONCE, of.sender, of.nonce >> 64, returns=(unused,))

    async def one(self, question: Question) -> Response:
        return (await self.many([question]))[0]

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        self.exchanges += 1
        await asyncio.sleep(0)
        return [self._answer(each) for each in questions]

    def _answer(self, question: Question) -> Mapping[str, object]:
        self.before(question.method)
        if question.method != "eth_getLogs":
            return self.table._answer(question.method, question.params)
        where: Any = question.params[0]
        first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
        found = [log for log in self.logs if first <= int(log["blockNumber"], 16) <= last]
        if self.filters:
            found = [
                log
                for log in found
                if log["address"] in where["address"]
                and all(not some or log["topics"][at] in some for at, some in enumerate(where["topics"]))
            ]
        if len(found) > self.most or last - first >= self.span:
            return {"error": {"code": -32005, "message": "more than it gives at once"}}
        return {"result": found}

    async def close(self) -> None:
        await asyncio.sleep(0)


def witness_at(chain: Chain) -> NodeWitness:
    return NodeWitness(Node(chain, concurrency=4))


def many_mined(chain: Chain, blocks: Callable[[int], int]) -> dict[Hash32, NonceSlot]:
    slots = {name(number): slot(number) for number in range(MANY)}
    for number, (op, of) in enumerate(slots.items()):
        chain.use(of, is_used=True)
        chain.logs.append(event(op, of, blocks(number)))
    return slots


async def test_many_that_were_mined_are_shown_by_a_few_questions() -> None:
    chain = Chain()
    slots = many_mined(chain, lambda number: HEAD - number)
    found = await witness_at(chain).shown(slots, since=HEAD)
    assert {op for op, fate in found.items() if isinstance(fate, Mined)} == set(slots)
    assert chain.exchanges == 1 + MANY // 32 + 1  # the newest block, the nonces, the events


@pytest.mark.parametrize("lanes", [1, 7, 1_500])
async def test_of_however_many_nonces_some_are_asked_for_at_a_time_and_none_twice(lanes: int) -> None:
    chain, sender = Chain(), Address(b"\xac" * 20)
    slots = {NonceSlot(1, ENTRY_POINTS[0], sender, number % lanes << 64 | number // lanes) for number in range(1_500)}
    for key in range(lanes):
        chain.table.view(ENTRY_POINTS[0], GET_ENTRY_POINT_NONCE, sender, key, returns=(key << 64 | key % 2,))
    asked, at_once = list[str](), list[int]()

    def note(method: str) -> None:
        asked.append(method)
        at_once.append(len(asyncio.all_tasks()))

    chain.before = note
    used = await witness_at(chain).used(slots, BlockName(HEAD, hash_of_block(HEAD)))
    assert used == {slot for slot in slots if (slot.nonce >> 64) % 2 and not slot.nonce & (1 << 64) - 1}
    assert len(asked) == lanes
    assert max(at_once) < 400


@pytest.mark.parametrize("limit", [{"most": 10}, {"span": 500}])
async def test_a_node_that_does_not_tell_of_so_much_at_once_is_asked_for_less(limit: dict[str, int]) -> None:
    chain = Chain(**limit)
    slots = many_mined(chain, lambda number: HEAD - number * 10)
    found = await witness_at(chain).shown(slots, since=HEAD)
    assert {op for op, fate in found.items() if isinstance(fate, Mined)} == set(slots)
    assert chain.exchanges < MANY // 2


async def test_what_many_questions_would_have_to_show_is_left_to_be_asked_for_alone() -> None:
    chain = Chain(span=1)
    slots = many_mined(chain, lambda number: HEAD - 1_000)
    assert await witness_at(chain).shown(slots, since=HEAD) == {}
    assert chain.exchanges <= 1 + MANY // 32 + 64


async def test_a_node_behind_what_is_settled_or_without_a_head_tells_of_none() -> None:
    chain = Chain()
    slots = many_mined(chain, lambda _: HEAD)
    with pytest.raises(StateUnavailable, match="before"):
        await witness_at(chain).shown(slots, since=HEAD + 1)

    def fail(_method: str) -> None:
        raise NotAsked("ClientError")

    chain.before = fail
    with pytest.raises(StateUnavailable):
        await witness_at(chain).shown(slots, since=HEAD)


async def test_one_nonce_that_cannot_be_told_leaves_each_to_be_asked_for_alone() -> None:
    chain = Chain()
    slots = many_mined(chain, lambda _: HEAD)
    there = witness_at(chain)
    lost = slot(MANY, Address(b"\x01" * 20))  # no entry point there
    assert await there.shown({**slots, name(MANY): lost}, since=HEAD) == {}
    assert isinstance(await there.fate(slots[name(3)], name(3), since=HEAD), Mined)


async def test_a_chain_that_goes_back_between_the_nonces_and_the_events_shows_none_of_what_was_mined() -> None:
    chain = Chain()
    slots = many_mined(chain, lambda _: HEAD)

    def go_back(method: str) -> None:
        if method == "eth_getLogs":
            chain.logs.clear()
            for of in slots.values():
                chain.use(of, is_used=False)

    chain.before = go_back
    there = witness_at(chain)
    assert await there.shown(slots, since=HEAD) == {}
    assert await there.fate(slots[name(3)], name(3), since=HEAD) is Fate.OPEN


KINDS = ("open", "mined", "failed", "taken", "hidden", "removed", "unreadable", "another sender", "another nonce")
CASES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, LOW), st.sampled_from(ENTRY_POINTS)), max_size=12)


def put(chain: Chain, op: Hash32, of: NonceSlot, kind: str, block: int) -> None:
    chain.use(of, is_used=kind != "open")
    reverted = print_bytes(abi.encode(EVENT, (of.nonce, False, 1, 1)))
    other = {
        "mined": event(op, of, block),
        "failed": event(op, of, block, data=reverted),
        "taken": event(STRANGER, of, block),
        "removed": event(op, of, block, removed=True),
        "unreadable": event(op, of, block, data="0x"),
        "another sender": event(op, slot(999, of.entry_point), block),
        "another nonce": event(op, of._replace(nonce=of.nonce + 1), block),
    }.get(kind)
    if other is not None:
        chain.logs.append(other)


async def _alone(there: NodeWitness, op: Hash32, of: NonceSlot) -> Mined | Fate | None:
    try:
        return await there.fate(of, op, since=LOW)
    except StateUnavailable:
        return None


@settings(max_examples=30, deadline=None)
@given(cases=CASES, most=st.integers(1, 6), span=st.sampled_from([5, 40, 10_000]), filters=st.booleans())
async def test_what_is_shown_of_many_is_what_each_asked_for_alone_would_have_been(
    cases: list[tuple[str, int, Address]], most: int, span: int, filters: bool
) -> None:
    chain = Chain(FakeNode(block=LOW), most=most, span=span, filters=filters)
    slots: dict[Hash32, NonceSlot] = {}
    for number, (kind, block, entry_point) in enumerate(cases):
        slots[name(number)] = slot(number, entry_point)
        put(chain, name(number), slots[name(number)], kind, block)
    chain.logs.sort(key=lambda log: int(log["blockNumber"], 16))
    there = witness_at(chain)
    found = await there.shown(slots, since=LOW)
    assert all(isinstance(fate, Mined) or fate is Fate.OPEN for fate in found.values())
    beside = await there.used_by(slots, since=LOW)
    for op, of in slots.items():
        alone = await _alone(there, op, of)
        assert found.get(op, alone) == alone or (alone is None and isinstance(found[op], Mined))
        assert beside.get(op, alone) == alone


def used_by_others(chain: Chain, *, shown: bool) -> dict[Hash32, NonceSlot]:
    slots = {name(number): slot(number) for number in range(MANY)}
    for number, of in enumerate(slots.values()):
        chain.use(of, is_used=True)
        if shown:
            chain.logs.append(event(STRANGER, of, HEAD - number * 10))
    return slots


@pytest.mark.parametrize(("shown", "fate"), [(True, Fate.TAKEN), (False, Fate.HIDDEN)])
async def test_what_used_the_nonces_of_many_is_told_by_a_few_questions(shown: bool, fate: Fate) -> None:
    chain = Chain()
    slots = used_by_others(chain, shown=shown)
    assert await witness_at(chain).used_by(slots, since=HEAD) == dict.fromkeys(slots, fate)
    assert chain.exchanges <= 1 + MANY // 32 + HEAD // 2_000 + 1


async def test_nonces_of_which_not_all_blocks_were_told_are_not_taken_for_used_by_nothing() -> None:
    chain = Chain(span=1)
    slots = used_by_others(chain, shown=False)
    assert await witness_at(chain).used_by(slots, since=HEAD) == {}


async def test_an_event_that_cannot_be_read_leaves_only_what_it_may_have_used_to_be_asked_for_alone() -> None:
    chain = Chain()
    slots = used_by_others(chain, shown=True)
    chain.logs.append(event(STRANGER, slots[name(3)], HEAD, data="0x"))
    told = await witness_at(chain).used_by(slots, since=HEAD)
    assert set(slots) - set(told) == {name(3)}


async def test_of_rivals_for_one_nonce_the_one_that_used_it_was_mined_and_the_others_are_told_together() -> None:
    chain = Chain()
    of = slot(1)
    chain.use(of, is_used=True)
    chain.logs.append(event(name(2), of, HEAD - 5))
    told = await witness_at(chain).used_by({name(1): of, name(2): of}, since=HEAD)
    assert (told[name(1)], isinstance(told[name(2)], Mined)) == (Fate.TAKEN, True)


PAIRS = {
    ("taken", "taken"): Fate.TAKEN,
    ("taken", "open"): Fate.UNTOLD,
    ("taken", "mined"): Fate.UNTOLD,
    ("taken", "hidden"): Fate.UNTOLD,
    ("hidden", "hidden"): Fate.HIDDEN,
    ("hidden", "taken"): Fate.TAKEN,
    ("hidden", "open"): Fate.UNTOLD,
    ("open", "taken"): Fate.OPEN,
}


async def test_of_two_nodes_both_are_heard_about_many_as_they_are_about_one() -> None:
    first, second = Chain(), Chain()
    slots = {name(number): slot(number) for number in range(len(PAIRS))}
    for (op, of), (here, there) in zip(slots.items(), PAIRS, strict=True):
        put(first, op, of, here, HEAD - 9)
        put(second, op, of, there, HEAD - 9)
    witness = NodeWitness(Node(SeveralAsking([first, second]), concurrency=4))
    told = await witness.used_by(slots, since=HEAD)
    assert told == dict(zip(slots, PAIRS.values(), strict=True))
    for op, of in slots.items():
        assert await _alone(witness, op, of) == (None if told[op] is Fate.UNTOLD else told[op])
    asked = first.exchanges + second.exchanges
    second.table.block = LOW
    with pytest.raises(StateUnavailable, match="before"):
        await witness.used_by(slots, since=HEAD)
    assert first.exchanges + second.exchanges - asked < len(PAIRS)
