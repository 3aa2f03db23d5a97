"""What sees to a chain's operations after their verdicts, and reads its sessions; taken up where it was before."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from proxy.admission.nonce_order import NonceOrder
from proxy.app.bundler_word import BundlerWord
from proxy.app.memory import Memory, Remains
from proxy.app.telling import Telling
from proxy.chain.age import ChainAge
from proxy.chain.blocks.follower import BlockFollower
from proxy.chain.blocks.header import Header
from proxy.chain.blocks.watch import BlockWatch
from proxy.chain.bundled_claim import bundles_of
from proxy.chain.complaints import NodeComplaints
from proxy.chain.hydrate import is_readable
from proxy.chain.node import Node
from proxy.chain.quiet import QuietReadings
from proxy.chain.reader import Keep, NodeReader
from proxy.chain.settlement.lookout import Lookout
from proxy.chain.settlement.node_word import NodeWord
from proxy.chain.settlement.patience import Patience
from proxy.chain.settlement.settlement import Settlement
from proxy.chain.settlement.slices import OperationMined
from proxy.chain.settlement.taker import Taker
from proxy.chain.several import NodeChoice
from proxy.chain.witness import NodeWitness
from proxy.config import Chain, NonceGap, UnminedRules
from proxy.edge.http.upstream import HttpUpstream
from proxy.edge.http.url_secrets import hiding
from proxy.ledger.counting_time import CountingTime
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import Grip
from proxy.session.counters import SessionKey
from proxy.session.directory import SessionName
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.userop.primitives import Address, Hash32

_FIRST_SECONDS: Final = 0.5
_SAME_TIME: Final = 60.0
"""In seconds: so far the time of blocks may be from ours."""
CALLS_FOR_REQUESTS: Final = 96
_CALLS_AT_ONCE: Final = 4
"""Of the background: reading many sessions again is no reason to keep a request waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSide:
    """What asks the node of a chain. Requests and the background have clients of their own: no reading that nobody
    waits for keeps a request waiting."""

    node: Node
    background: Node
    reader: NodeReader
    quiet: QuietReadings
    watch: BlockWatch
    order: NonceOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """The parts of one chain that know what became of its operations; without a node there is no `nodeside`."""

    settlement: Settlement
    lookout: Lookout
    nodeside: NodeSide | None

    async def close(self) -> None:
        """Close the connections."""
        if self.nodeside is not None:
            await self.nodeside.order.close()
            for node in (self.nodeside.node, self.nodeside.background):
                await node.close()


class GateAcquaintance:
    """See `proxy.chain.blocks.acquaintance.Acquaintance`."""

    def __init__(
        self,
        chain_id: int,
        registry: Registry,
        settlement: Settlement,
        *,
        telling: Telling,
        quiet: QuietReadings,
        order: NonceOrder,
    ) -> None:
        self._order = order
        self._turn: SessionName | None = None  # who had it last
        self._chain_id = chain_id
        self._registry = registry
        self._settlement = settlement
        self._telling = telling
        self._quiet = quiet

    def watches(self, account: Address) -> bool:
        return self._registry.knows_account(account)

    def is_ours(self, user_op_hash: Hash32) -> bool:
        is_in_flight = self._settlement.flights.get(user_op_hash) is not None
        return is_in_flight or self._settlement.remembered.mined(user_op_hash) is not None

    def is_claimed_twice(self, user_op_hash: Hash32) -> bool:
        flight = self._settlement.flights.get(user_op_hash)
        return flight is not None and len(flight.claims) > 1

    def sessions_of(self, module: Address, account: Address) -> Sequence[SessionKey]:
        return self._registry.held_by(self._chain_id, module, account)

    def some_accounts(self, most: int) -> Sequence[Address]:
        turn = self._next_in_turn(most) or self._next_in_turn(most)  # after the last the first
        return tuple(dict.fromkeys(name.key.account for name in turn))

    def _next_in_turn(self, most: int) -> Sequence[SessionName]:
        """The one that changed last comes first: what changes meanwhile is not idle, and keeps nobody from his turn."""
        names = tuple(islice(self._registry.directory.newest((self._chain_id,), Status, self._turn), most))
        self._turn = names[-1] if names else None
        return names

    def used(self, event: OperationMined, sessions: Sequence[SessionKey], *, ours: bool, enables: bool) -> None:
        self._order.used(event.slot)
        for key in sessions:
            self._quiet.note(key)
            if not ours and enables:
                self._telling.granted_past_gate(key, event.transaction)
            elif not ours:
                self._telling.used_past_gate(key, event.transaction, event.timestamp)

    def granted(self, key: SessionKey, transaction: Hash32) -> None:
        self._telling.granted_past_gate(key, transaction)


def settling_of(
    chain: Chain,
    *,
    registry: Registry,
    ledger: MemoryLedger,
    memory: Memory,
    remains: Remains,
    upstream: HttpUpstream,
    telling: Telling,
    age: ChainAge | None,
    counting: CountingTime,
    node_seconds: float,
    drifted: Callable[[], None],
    tell_head: Callable[[object], None],
    asked: Callable[[int], None],
) -> Settling:
    """Each asks the other: a reading has to know what is in flight, an end may call for a reading."""
    patience = _patience_of(chain)
    settlement, taker = _settlement_of(
        chain, patience, registry=registry, ledger=ledger, memory=memory, telling=telling, counting=counting
    )
    nodeside = None
    if chain.node is not None and age is not None:
        nodeside = _nodeside(
            chain,
            chain.node.urls,
            registry=registry,
            ledger=ledger,
            keep=partial(_keep_reading, memory, taker),
            look_back=lambda: lookout.look_back(),  # noqa: PLW0108  # it is made below
            settlement=settlement,
            taker=taker,
            telling=telling,
            age=age,
            counting=counting,
            seconds=node_seconds,
            drifted=drifted,
            tell_head=tell_head,
            asked=asked,
        )
    word = BundlerWord(chain, upstream, settlement)
    lookout = Lookout(
        settlement,
        registry=registry,
        receipt=word.receipt,
        clock=time.time,
        monotonic=time.monotonic,
        patience=patience,
        inclusion=word.inclusion,
        claim=word.claim,
        node=None if nodeside is None or age is None else _word_of(nodeside, chain, taker, age),
    )
    _take_up(chain.chain_id, remains, settlement, taker, lookout)
    return Settling(settlement=settlement, lookout=lookout, nodeside=nodeside)


def _settlement_of(
    chain: Chain,
    patience: Patience,
    *,
    registry: Registry,
    ledger: MemoryLedger,
    memory: Memory,
    telling: Telling,
    counting: CountingTime,
) -> tuple[Settlement, Taker]:
    """What settles the chain's operations, and its side that whoever reads the blocks sees."""
    settlement = Settlement(
        registry=registry,
        ledger=ledger,
        keeper=memory,
        clock=counting.now,
        patience=patience,
        tell=telling.ended,
        may_forget=lambda: counting.is_steady,
    )
    taker = Taker(
        settlement,
        chain_id=chain.chain_id,
        registry=registry,
        clock=counting.now,
        monotonic=time.monotonic,
        patience=patience,
        declared=chain.modules.declared,
    )
    return settlement, taker


def _patience_of(chain: Chain) -> Patience:
    return Patience(
        first=min(_FIRST_SECONDS, chain.poll_seconds),
        longest=max(15.0, chain.poll_seconds),
        unmined_after=chain.unmined_after,
        unmined_grip=Grip.NONE if chain.unmined_rules is UnminedRules.RELEASE else Grip.LOCAL,
    )


def _word_of(nodeside: NodeSide, chain: Chain, taker: Taker, age: ChainAge) -> NodeWord:
    return NodeWord(
        witness=NodeWitness(nodeside.background),
        bundle=bundles_of(
            nodeside.background,
            {each.address: each for each in chain.entry_points},
            chain.modules.only(is_readable),
        ),
        reread=nodeside.reader.reread,
        read=nodeside.reader.session,
        at_once=lambda: nodeside.background.at_once,
        several=chain.node is not None and len(chain.node.urls) > 1,
        taker=taker,
        catch_up=nodeside.watch.catch_up,
        wake=nodeside.watch.wake,
        named=age.named,
        may_come=age.may_show,
        declared=frozenset(chain.modules.declared),
    )


def _nodeside(
    chain: Chain,
    urls: Sequence[str],
    *,
    registry: Registry,
    ledger: MemoryLedger,
    keep: Keep,
    look_back: Callable[[], Awaitable[None]],
    settlement: Settlement,
    taker: Taker,
    telling: Telling,
    age: ChainAge,
    counting: CountingTime,
    seconds: float,
    drifted: Callable[[], None],
    tell_head: Callable[[object], None],
    asked: Callable[[int], None],
) -> NodeSide:
    choice, complained = NodeChoice(), NodeComplaints(chain.chain_id, time.monotonic, hiding(urls))
    node, background = (
        Node(urls, timeout_seconds=seconds, concurrency=places, asked=asked, choice=choice, complained=complained)
        for places in (CALLS_FOR_REQUESTS, _CALLS_AT_ONCE)
    )
    reader = NodeReader(
        node,
        registry,
        keep,
        time.time,
        ledger=ledger,
        witness_at=NodeWitness,
        look_back=look_back,
        background=background,
        seconds=seconds,
        followed=taker,
        taken=lambda key, agrees: quiet.taken(key, agrees),  # noqa: PLW0108  # it is made below
        declared=chain.modules.declared,
        used_before=settlement.used_before,
        doubted=(lambda: watch.doubted()) if len(urls) > 1 else None,  # noqa: PLW0108  # it is made below
    )
    quiet = QuietReadings(
        reader.reread,
        lambda key: not ledger.number_of_session(key),
        time.monotonic,
        differed=lambda _key: drifted(),
        declared=chain.modules.declared,
    )
    witness = NodeWitness(node if chain.nonce_gap is NonceGap.REJECT else background)
    order = NonceOrder(witness.next_nonce, ledger.occupied, lambda: age.number, seconds=seconds)
    settlement.ends.counted_at = partial(_counted_at, age, counting)
    knows = GateAcquaintance(chain.chain_id, registry, settlement, telling=telling, quiet=quiet, order=order)
    watch = _watch_of(chain, background, taker, age, knows=knows, counting=counting)

    def heard(head: object) -> None:
        watch.wake()
        tell_head(head)

    background.tell_heads(heard)
    return NodeSide(node=node, background=background, reader=reader, quiet=quiet, watch=watch, order=order)


def _watch_of(
    chain: Chain, source: Node, taker: Taker, age: ChainAge, *, knows: GateAcquaintance, counting: CountingTime
) -> BlockWatch:
    follower = BlockFollower(
        chain_id=chain.chain_id,
        modules=chain.modules.only(is_readable),
        entry_points=chain.entry_points,
        source=source,
        taker=taker,
        knows=knows,
        heard=partial(_heard, age, counting),
    )
    return BlockWatch(
        follower,
        source,
        taker,
        age,
        chain_id=chain.chain_id,
        poll_seconds=chain.poll_seconds,
        clock=time.time,
        leave=partial(source.leave, chain.chain_id),
    )


def _heard(age: ChainAge, counting: CountingTime, head: Header) -> None:
    if age.heard(head):
        counting.confirmed(head.timestamp)
    else:
        counting.shown(head.timestamp)


def _counted_at(age: ChainAge, counting: CountingTime, block_time: int) -> float:
    """When a block was, as rules count time. Where the chain has another one, its blocks are as old as that says, or
    younger, so that nothing leaves a window too early."""
    chain_time, now = age.chain_time, counting.now()
    if chain_time is None or abs(chain_time - now) <= _SAME_TIME:
        return block_time
    return now - max(chain_time - block_time, 0.0)


def _take_up(chain_id: int, remains: Remains, settlement: Settlement, taker: Taker, lookout: Lookout) -> None:
    """Go on where the last life of the gate stopped."""
    flights = tuple(each for each in remains.flights if each.operation.reservation.slot.chain_id == chain_id)
    doubts = [each for each in remains.doubts if each.key.chain_id == chain_id]
    ended = [each for each in remains.ended if each.chain_id == chain_id]
    taker.restore(remains.settled.get(chain_id), remains.blocks.get(chain_id, ()), doubts, ended)
    settlement.restore(flights, ended)
    operations = [each.operation for each in flights]
    lookout.restored(
        (each.user_op_hash for each in operations),
        (each.reservation.session for each in operations if each.reservation.session is not None),
        (each.key for each in doubts if not each.is_read),
    )


async def _keep_reading(memory: Memory, taker: Taker, known: KnownSession) -> None:
    """A session that was read; grants that rest on an enable nonce it has passed are over."""
    await memory.save_session(known)
    await taker.enable_nonce_read(known.key)
