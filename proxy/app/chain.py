"""One chain's parts: its bundlers, its node, its ledger, what follows its operations, and the gate in front of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from proxy.admission import Admission, RecentReads, Sources, Terms
from proxy.admission.enquiry import Enquiry
from proxy.admission.turns import AbsentBudget, FirstReadings, Turns
from proxy.app.background import run_in_background
from proxy.app.dialects import dialects_of
from proxy.app.memory import Memory
from proxy.chain.age import ChainAge
from proxy.chain.disagreements import Disagreements
from proxy.chain.follower import LedgerFailure, OperationFollower
from proxy.chain.node import Node
from proxy.chain.quiet import QuietReadings
from proxy.chain.reader import NodeReader
from proxy.chain.receipts import receipt_of_inclusion
from proxy.chain.refresh import refreshing, sparing
from proxy.chain.tracker import Patience, Receipt, Tracker
from proxy.chain.witness import NodeWitness
from proxy.config import AuditKeep, Chain, Config, LedgerFail, Previews
from proxy.edge.admin.backend import ServedChain
from proxy.edge.http.endpoints import Health
from proxy.edge.http.listener import Transport
from proxy.edge.http.upstream import Upstream, UpstreamSettings
from proxy.edge.rule_files.book import RuleBook
from proxy.edge.storage.store import Store
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.recorder import EdgeRecorder
from proxy.edge.watching import CALLS_AT_ONCE, watcher_of
from proxy.errors import UpstreamUnavailable
from proxy.gate import Gate, GateSettings
from proxy.happening import Alerts
from proxy.jsonrpc import print_json
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Ended
from proxy.ledger.reservation import NonceSlot
from proxy.ledger.rule_counts import RuleCounts
from proxy.ports import OperationPlace
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32, print_bytes

_PROBE_SECONDS: Final = 10.0
_RANDOM_BYTES: Final = 8  # of a decision's id
FIRST_READINGS_AT_ONCE: Final = 48
"""Of sessions that nobody here has heard of; the node is asked about them in batches, or by so many calls at once."""
CALLS_FOR_REQUESTS: Final = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all chains have in common. Leaving `stack` stops what runs, in the opposite order."""

    config: Config
    registry: Registry
    counts: RuleCounts  # rules may count over all chains
    rules: RuleBook
    memory: Memory
    in_flight: tuple[AcceptedOperation, ...]  # before the restart
    ended: tuple[Ended, ...]  # likewise, as far as a reorganisation could bring them back
    recorder: EdgeRecorder
    alerts: Alerts  # tells ops of single happenings
    metrics: Metrics
    stack: AsyncExitStack
    bundler_connections: int = 100  # at most, of each chain


async def start_chain(name: str, chain: Chain, shared: Shared, store: Store) -> ServedChain:
    """Build it, watch its bundlers and its sessions, follow its operations."""
    built = await build_chain(name, chain, shared)
    served, tracker, nodeside = built.served, built.tracker, built.nodeside
    for task in (served.upstream.watch(_PROBE_SECONDS), tracker.run()):
        run_in_background(task, shared.stack)
    if nodeside is not None and served.age is not None:
        watcher = watcher_of(
            name,
            chain,
            nodeside.background,
            nodeside.reader,
            registry=shared.registry,
            store=store,
            tracker=tracker,
            metrics=shared.metrics,
            age=served.age,
        )
        run_in_background(watcher.run(), shared.stack)
        run_in_background(nodeside.quiet.run(), shared.stack)
    return served


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSide:
    """What asks the node of a chain. Requests and the background have clients of their own: no reading that nobody
    waits for keeps a request waiting."""

    node: Node
    background: Node
    reader: NodeReader
    quiet: QuietReadings


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltChain:
    """One chain's parts; without a node there is no `nodeside`."""

    served: ServedChain
    tracker: Tracker
    nodeside: NodeSide | None


async def build_chain(name: str, chain: Chain, shared: Shared) -> BuiltChain:
    """The parts of one chain, nothing of it going on yet."""
    config, stack = shared.config, shared.stack

    def on_health(endpoint: str, health: Health) -> None:
        shared.metrics.upstream_up(endpoint, up=health is Health.HEALTHY)

    ledger = MemoryLedger(shared.counts)

    def in_flight(place: OperationPlace) -> bool:
        return ledger.occupied(NonceSlot(chain.chain_id, *place))

    upstream = await stack.enter_async_context(_upstream(name, chain, shared, on_health, in_flight))
    tracker, nodeside = _followers(name, chain, shared, ledger, upstream)
    node, reader = (None, None) if nodeside is None else (nodeside.node, nodeside.reader)
    terms = replace(_terms(chain), keep_grounds=config.audit.keep is AuditKeep.CALLDATA)
    age = None if node is None else ChainAge(time.monotonic, bound=chain.max_state_age)
    reads = RecentReads(terms.fresh_seconds, time.monotonic, lambda: None if age is None else age.number)
    refresh = None
    if reader is not None:
        refresh = sparing(refreshing(reader.reread, shared.registry, tracker.settle_now), reads)
    disagreements = Disagreements(count=partial(shared.metrics.disagreed, name), refresh=refresh)
    stack.push_async_callback(disagreements.close)
    sources = Sources(
        terms=terms,
        registry=shared.registry,
        ledger=ledger,
        settlement=tracker.settle_now,
        reader=reader,
        clock=time.time,
        reads=reads,
        reconciled=tracker.reconciled,
        rules=lambda: shared.rules.judge,
        stale=lambda: None if age is None else age.stale(),
        first=FirstReadings(
            Turns(FIRST_READINGS_AT_ONCE),
            AbsentBudget(config.limits.absent_sessions, time.monotonic),
            seconds=config.limits.node_seconds,
        ),
    )
    failure = LedgerFailure(
        open=config.ledger_fail is LedgerFail.OPEN, sent_unheld=partial(shared.metrics.failed_open, "ledger")
    )
    modules = frozenset(chain.session_modules)
    gate = Gate(
        replace(gate_settings(chain, config), dialects=dialects_of(chain, upstream, node)),
        admission=Admission(sources),
        enquiry=Enquiry(sources) if config.session_queries else None,
        upstream=upstream,
        follower=OperationFollower(tracker, ledger, modules, time.time, disagreements.note, failure=failure),
        recorder=shared.recorder,
        clock=time.time,
        stopwatch=time.perf_counter,
        new_id=_new_decision_id,
    )
    served = ServedChain(name=name, chain_id=chain.chain_id, gate=gate, upstream=upstream, age=age)
    return BuiltChain(served=served, tracker=tracker, nodeside=nodeside)


def _nodeside(
    name: str, chain: Chain, shared: Shared, ledger: MemoryLedger, look_back: Callable[[], Awaitable[None]]
) -> NodeSide | None:
    if chain.node is None:
        return None
    seconds = shared.config.limits.node_seconds
    node = Node(chain.node.urls, timeout_seconds=seconds, concurrency=CALLS_FOR_REQUESTS)
    background = Node(chain.node.urls, timeout_seconds=seconds, concurrency=CALLS_AT_ONCE)
    for each in (node, background):
        shared.stack.push_async_callback(each.close)
    reader = NodeReader(
        node,
        shared.registry,
        shared.memory.save_session,
        time.time,
        ledger=ledger,
        witness=NodeWitness(background),
        look_back=look_back,
        background=background,
        seconds=seconds,
        taken=lambda key, agrees: quiet.taken(key, agrees),  # noqa: PLW0108  # it is made below
    )
    quiet = QuietReadings(
        reader.reread,
        lambda key: not ledger.of_session(key),
        time.monotonic,
        differed=lambda _key: shared.metrics.drifted(name),
    )
    return NodeSide(node=node, background=background, reader=reader, quiet=quiet)


def _followers(
    name: str, chain: Chain, shared: Shared, ledger: MemoryLedger, upstream: Upstream
) -> tuple[Tracker, NodeSide | None]:
    """What follows operations to their end, going on where the last life of the gate stopped; and what reads sessions.

    Each asks the other: a reading has to know what is in flight, an end may call for a reading.
    """
    nodeside = _nodeside(name, chain, shared, ledger, lambda: tracker.look_back())  # noqa: PLW0108  # made below
    tracker = Tracker(
        registry=shared.registry,
        ledger=ledger,
        keeper=shared.memory,
        receipt=partial(_ask_receipt, upstream),
        clock=time.time,
        patience=Patience(
            first=min(0.5, chain.poll_seconds),
            longest=max(15.0, chain.poll_seconds),
            look_back=max(1.0, chain.poll_seconds),
        ),
        witness=None if nodeside is None else NodeWitness(nodeside.background),
        reread=None if nodeside is None else nodeside.reader.reread,
        inclusion=partial(_ask_inclusion, upstream),
    )
    tracker.restore(
        (each for each in shared.in_flight if each.reservation.slot.chain_id == chain.chain_id),
        (each for each in shared.ended if each.operation.reservation.slot.chain_id == chain.chain_id),
    )
    return tracker, nodeside


def _terms(chain: Chain) -> Terms:
    return Terms(
        chain_id=chain.chain_id,
        session_modules=frozenset(chain.session_modules),
        unknown_session=chain.unknown_session.value,
        unknown_policy=chain.unknown_policy.value,
        unknown_validator=chain.unknown_validator.value,
        strict_accounts=frozenset(chain.strict_accounts),
        stale_state=chain.node_fail.value,
    )


def _upstream(
    name: str,
    chain: Chain,
    shared: Shared,
    on_health: Callable[[str, Health], None],
    in_flight: Callable[[OperationPlace], bool],
) -> Upstream:
    return Upstream(
        name,
        [bundler.url for bundler in chain.bundlers],
        chain_id=chain.chain_id,
        entry_points=frozenset(entry_point.address for entry_point in chain.entry_points),
        settings=UpstreamSettings(
            total_seconds=shared.config.limits.request_seconds,
            max_connections=shared.bundler_connections,
            transport=Transport(shared.config.transport),
        ),
        on_health=on_health,
        on_rest=shared.metrics.upstream_rests,
        in_flight=in_flight,
    )


def gate_settings(chain: Chain, config: Config) -> GateSettings:
    """What the gate of one chain takes of the settings."""
    return GateSettings(
        mode=config.mode,
        judge_previews=config.previews is Previews.JUDGE,
        entry_points={entry_point.address: entry_point for entry_point in chain.entry_points},
        allow_methods=frozenset(chain.allow_methods),
        keep_whole=config.audit.keep is AuditKeep.CALLDATA,
    )


async def _ask_receipt(upstream: Upstream, user_op_hash: Hash32) -> Receipt | None:
    return await _ask_about(upstream, "eth_getUserOperationReceipt", user_op_hash)


async def _ask_inclusion(upstream: Upstream, user_op_hash: Hash32) -> Receipt | None:
    found = await _ask_about(upstream, "eth_getUserOperationByHash", user_op_hash)
    return None if found is None else receipt_of_inclusion(found, user_op_hash)


async def _ask_about(upstream: Upstream, method: str, user_op_hash: Hash32) -> Mapping[str, object] | None:
    answered = await upstream.find(method, print_json([print_bytes(user_op_hash)]))
    if answered.reply.is_error:
        raise UpstreamUnavailable(f"the bundler answers {method} with an error", may_have_been_sent=True)
    return answered.reply.result if isinstance(answered.reply.result, Mapping) else None


def _new_decision_id() -> str:
    # the time comes first: where they are looked up by id, what is new stands together
    return f"{time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}{secrets.token_hex(_RANDOM_BYTES)}"
