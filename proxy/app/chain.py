"""One chain's parts: its bundlers, its node, its ledger, what follows its operations, and the gate in front of them."""

from __future__ import annotations

import secrets
import time
from array import array
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from proxy.admission import Admission, RecentReads, Sources, Terms
from proxy.admission.enquiry import Enquiry
from proxy.admission.in_time import seconds_in_all
from proxy.admission.turns import AbsentBudget, FirstReadings, Turns
from proxy.app.background import run_in_background
from proxy.app.dialects import dialects_of, node_upstream, reads_from, reads_of, translated_of
from proxy.app.memory import Memory, Remains
from proxy.app.paymaster import paymaster_of
from proxy.app.settling import Settling, settling_of
from proxy.app.telling import Telling
from proxy.chain.age import ChainAge
from proxy.chain.blocks.watch import BlockWatch
from proxy.chain.disagreements import Disagreements
from proxy.chain.follower import LedgerFailure, OperationFollower
from proxy.chain.refresh import refreshing, sparing
from proxy.config import AuditKeep, Chain, Config, LedgerFail, Previews
from proxy.edge.admin.backend import ServedChain
from proxy.edge.http.asker import UpstreamSettings
from proxy.edge.http.endpoints import Health
from proxy.edge.http.feeds import HeadFeed
from proxy.edge.http.listener import Transport
from proxy.edge.http.once import OnceSent
from proxy.edge.http.paymaster import BundlersAndPaymaster, PaymasterService
from proxy.edge.http.socket_client import is_socket
from proxy.edge.http.upstream import HttpUpstream
from proxy.edge.rule_files.book import RuleBook
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.recorder import EdgeRecorder
from proxy.gate import Gate, GateSettings
from proxy.happening import Alerts
from proxy.ledger.counting_time import CountingTime
from proxy.ledger.hindrance import Caps
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.reservation import NonceSlot
from proxy.ledger.rule_counts import RuleCounts
from proxy.passage import Passage
from proxy.refused_before import RefusedBefore
from proxy.session.registry import Registry

_PROBE_SECONDS: Final = 10.0
_RANDOM_BYTES: Final = 8  # of a decision's id
_IDS_A_BLOCK: Final = 64
_UNKNOWN_AGE: Final = 86_400.0
"""In seconds, more than any bound."""
FIRST_READINGS_AT_ONCE: Final = 48
"""Of sessions that nobody here has heard of; the node is asked about them in batches, or by so many calls at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all chains have in common. Leaving `stack` stops what runs, in the opposite order."""

    config: Config
    registry: Registry
    counts: RuleCounts  # rules may count over all chains
    counting: CountingTime  # what they count by
    rules: RuleBook
    memory: Memory
    remains: Remains  # of the operations before the restart
    recorder: EdgeRecorder
    alerts: Alerts  # tells ops of single happenings
    metrics: Metrics
    stack: AsyncExitStack
    bundler_connections: int = 100  # at most, of each chain
    traceparent: Callable[[], str | None] | None = None  # what bundlers are told of a trace


async def start_chain(name: str, chain: Chain, shared: Shared) -> ServedChain:
    """Build it, watch its bundlers and its sessions, follow its operations."""
    built = await build_chain(name, chain, shared)
    served, lookout, nodeside = built.served, built.settling.lookout, built.settling.nodeside
    for task in (served.upstream.watch(_PROBE_SECONDS), lookout.run()):
        run_in_background(task, shared.stack)
    if built.paymaster is not None:
        run_in_background(built.paymaster.watch(_PROBE_SECONDS), shared.stack)
    if nodeside is not None and served.age is not None:
        watch, age = nodeside.watch, served.age
        for work in (watch.run(), nodeside.quiet.run()):
            run_in_background(work, shared.stack)
        shared.metrics.before_each_scrape(partial(_show_state, name, shared.metrics, watch, age))
    return served


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltChain:
    """One chain's parts."""

    served: ServedChain
    settling: Settling
    paymaster: PaymasterService | None = None


async def build_chain(name: str, chain: Chain, shared: Shared) -> BuiltChain:
    """The parts of one chain, nothing of it going on yet."""
    config, stack = shared.config, shared.stack
    ledger = MemoryLedger(shared.counts, sessions=shared.registry, caps=_caps(config))

    async def send_to(slot: NonceSlot, bundler: str) -> None:
        await settling.settlement.send_to(slot, bundler)

    upstream = await stack.enter_async_context(_upstream(name, chain, shared, ledger, send_to=send_to))
    ledger.tell_of_free(upstream.free)
    refused = RefusedBefore(time.monotonic)
    telling = _telling(name, shared, refused)
    age = None if chain.node is None else _age_of(name, chain, shared)
    feed = HeadFeed()
    settling = settling_of(
        chain,
        registry=shared.registry,
        ledger=ledger,
        memory=shared.memory,
        remains=shared.remains,
        upstream=upstream,
        telling=telling,
        age=age,
        counting=shared.counting,
        node_seconds=config.limits.node_seconds,
        drifted=partial(shared.metrics.drifted, name),
        tell_head=feed.tell,
        asked=partial(shared.metrics.operations.node_questions, name),
    )
    stack.push_async_callback(settling.close)
    _place_what_is_out(chain, shared, upstream, settling)
    shared.metrics.before_each_scrape(partial(_show_operations, name, shared.metrics, settling))
    absent = AbsentBudget(config.limits.absent_sessions, time.monotonic)
    parts = _Parts(name, chain, shared, ledger, upstream, settling, telling, refused)
    sources, disagreements = _sources(parts, age, absent)
    enquiry = _enquiry(sources, shared)
    paymaster = await _paymaster(name, chain, shared)
    read_from = await _node_upstream(name, chain, shared)
    passage = _gate(parts, sources, disagreements, enquiry=enquiry, feed=feed, paymaster=paymaster, read_from=read_from)
    gate = passage.gate

    def take(chain: Chain, config: Config) -> None:
        gate.take(gate_settings(chain, config))
        upstream.take([each.url for each in chain.bundlers], total_seconds=config.limits.request_seconds)
        ledger.take(_caps(config))
        absent.take(config.limits.absent_sessions)
        enquiry.take(_listing(config))

    served = ServedChain(
        name=name,
        chain_id=chain.chain_id,
        gate=gate,
        passage=passage,
        upstream=upstream,
        age=age,
        release=settling.settlement.letting_go.release,
        take=take,
    )
    return BuiltChain(served=served, settling=settling, paymaster=paymaster)


def _telling(name: str, shared: Shared, refused: RefusedBefore) -> Telling:
    return Telling(
        name, recorder=shared.recorder, metrics=shared.metrics, alerts=shared.alerts, clock=time.time, refused=refused
    )


async def _paymaster(name: str, chain: Chain, shared: Shared) -> PaymasterService | None:
    """Whom its paymaster's questions go to, open."""
    paymaster = paymaster_of(name, chain, shared.config, shared.metrics)
    return None if paymaster is None else await shared.stack.enter_async_context(paymaster)


async def _node_upstream(name: str, chain: Chain, shared: Shared) -> HttpUpstream | None:
    """Where reads go that a chain's node is to answer, open."""
    config = shared.config
    read_from = node_upstream(name, chain, config.limits.node_seconds, Transport(config.transport))
    return None if read_from is None else await shared.stack.enter_async_context(read_from)


class _Parts(NamedTuple):
    """What of a chain is there before its gate."""

    name: str
    chain: Chain
    shared: Shared
    ledger: MemoryLedger
    upstream: HttpUpstream
    settling: Settling
    telling: Telling
    refused: RefusedBefore


def _place_what_is_out(chain: Chain, shared: Shared, upstream: HttpUpstream, settling: Settling) -> None:
    """Operations of before the restart, and those that the chain takes back, are at the bundlers that they were sent
    to."""

    def place(operation: AcceptedOperation) -> None:
        upstream.placed(operation.reservation.slot, operation.bundler)

    settling.settlement.on_back = place
    for operation in (each.operation for each in shared.remains.flights):
        if operation.reservation.slot.chain_id == chain.chain_id:
            place(operation)


def _show_operations(name: str, metrics: Metrics, settling: Settling) -> None:
    settlement = settling.settlement
    metrics.operations.in_flight(name, len(settlement), settlement.oldest_seconds(), settlement.flights.let_go_now)
    metrics.operations.receipts_lag(name, settling.lookout.receipts_lag_seconds)


def _sources(parts: _Parts, age: ChainAge | None, absent: AbsentBudget) -> tuple[Sources, Disagreements]:
    """What verdicts draw on, and where it hears that a bundler knows better."""
    config, shared = parts.shared.config, parts.shared
    lookout, nodeside = parts.settling.lookout, parts.settling.nodeside
    reader = None if nodeside is None else nodeside.reader
    terms = replace(_terms(parts.chain), keep_grounds=config.audit.keep is AuditKeep.CALLDATA)
    reads = RecentReads(terms.fresh_seconds, time.monotonic, lambda: None if age is None else age.number)
    refresh = None
    if reader is not None:
        refresh = sparing(refreshing(reader.reread, shared.registry, lookout.settle_now), reads)
    disagreements = Disagreements(count=partial(shared.metrics.disagreed, parts.name), refresh=refresh)
    shared.stack.push_async_callback(disagreements.close)
    sources = Sources(
        terms=terms,
        registry=shared.registry,
        ledger=parts.ledger,
        settlement=lookout.settle_now,
        reader=reader,
        clock=time.time,
        reads=reads,
        reconciled=lookout.reconciled,
        is_reconciled=lookout.is_reconciled,
        rules=lambda: shared.rules.judge,
        stale=lambda: None if age is None else age.stale(),
        order=None if nodeside is None else nodeside.order,
        behind_gap=parts.telling.behind_gap,
        seconds=seconds_in_all(config.limits.node_seconds),
        first=FirstReadings(Turns(FIRST_READINGS_AT_ONCE), absent, seconds=config.limits.node_seconds),
    )
    return sources, disagreements


def _gate(
    parts: _Parts,
    sources: Sources,
    disagreements: Disagreements,
    *,
    enquiry: Enquiry,
    feed: HeadFeed,
    paymaster: PaymasterService | None,
    read_from: HttpUpstream | None,
) -> Passage:
    chain, shared, upstream, lookout = parts.chain, parts.shared, parts.upstream, parts.settling.lookout
    nodeside, config = parts.settling.nodeside, shared.config
    once = OnceSent(upstream, time.monotonic)
    asked = once if paymaster is None else BundlersAndPaymaster(once, paymaster)
    gate = Gate(
        gate_settings(chain, config),
        admission=Admission(sources),
        enquiry=enquiry,
        own=feed.answers(shared=chain.node_reads and chain.node is not None and any(map(is_socket, chain.node.urls))),
        dialects=dialects_of(
            upstream,
            None if nodeside is None else nodeside.node,
            lookout.observe,
            reads_from(read_from, chain.chain_id),
            seconds=config.limits.node_seconds,
        ),
        upstream=asked,
        follower=OperationFollower(
            lookout,
            parts.ledger,
            chain.modules,
            time.time,
            disagreements.note,
            failure=LedgerFailure(open=config.ledger_fail is LedgerFail.OPEN, sent_unheld=parts.telling.sent_unheld),
            bundler_for=upstream.bundler_for,
        ),
        recorder=shared.recorder,
        clock=time.time,
        stopwatch=time.perf_counter,
        new_id=_DecisionIds(),
        refused=parts.refused,
    )
    return Passage(gate, asked, recorder=shared.recorder, stopwatch=time.perf_counter)


def _enquiry(sources: Sources, shared: Shared) -> Enquiry:
    config = shared.config
    return Enquiry(sources, shared.memory, named=config.session_queries, listing=_listing(config))


def _listing(config: Config) -> frozenset[str]:
    return frozenset(client.name for client in config.clients if client.list_sessions)


def _show_state(name: str, metrics: Metrics, watch: BlockWatch, age: ChainAge) -> None:
    metrics.chain_state(name, age.seconds, stale=age.stale() is not None)
    metrics.operations.state_age(name, age.seconds)
    metrics.operations.settlement_lag(name, watch.lag_blocks)


def _age_of(name: str, chain: Chain, shared: Shared) -> ChainAge:
    """What was kept is as old as the last block that was settled; where that is not known, as old as it gets."""
    settled = shared.remains.settled.get(chain.chain_id)
    if settled is not None:
        before = max(time.time() - settled.timestamp, 0.0)
    else:
        before = _UNKNOWN_AGE if len(shared.registry) else 0.0
    return ChainAge(
        time.monotonic,
        bound=chain.max_state_age,
        before=before,
        clock=time.time,
        misnamed=partial(shared.metrics.misnamed, name),
    )


def _caps(config: Config) -> Caps:
    limits = config.limits
    return Caps(session=limits.in_flight_per_session, account=limits.in_flight_per_account)


def _terms(chain: Chain) -> Terms:
    return Terms(
        chain_id=chain.chain_id,
        session_modules=chain.modules,
        unknown_session=chain.unknown_session.value,
        unknown_policy=chain.unknown_policy.value,
        unknown_validator=chain.unknown_validator.value,
        strict_accounts=frozenset(chain.strict_accounts),
        stale_state=chain.node_fail.value,
        nonce_gap=chain.nonce_gap.value,
    )


def _upstream(
    name: str,
    chain: Chain,
    shared: Shared,
    ledger: MemoryLedger,
    *,
    send_to: Callable[[NonceSlot, str], Awaitable[None]],
) -> HttpUpstream:
    def on_health(endpoint: str, health: Health) -> None:
        shared.metrics.upstream_up(endpoint, up=health is Health.HEALTHY)

    return HttpUpstream(
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
        on_full=partial(shared.metrics.upstream_full, name),
        send_to=send_to,
        in_flight=ledger.occupied,
        traceparent=shared.traceparent,
    )


def gate_settings(chain: Chain, config: Config) -> GateSettings:
    """What the gate of one chain takes of the settings."""
    return GateSettings(
        mode=config.mode,
        judge_previews=config.previews is Previews.JUDGE,
        entry_points={entry_point.address: entry_point for entry_point in chain.entry_points},
        chain_id=chain.chain_id,
        allow_methods=frozenset(chain.allow_methods) | reads_of(chain),
        session_modules=chain.modules,
        translated=translated_of(chain),
        keep_whole=config.audit.keep is AuditKeep.CALLDATA,
    )


class _DecisionIds:
    """Unused ids. Random bytes come in blocks: to ask the system for a few costs as much as for many."""

    def __init__(self) -> None:
        self._random: list[int] = []

    def __call__(self) -> str:
        if not self._random:
            self._random = array("Q", secrets.token_bytes(_RANDOM_BYTES * _IDS_A_BLOCK)).tolist()
        # the time comes first: where they are looked up by id, what is new stands together
        return f"{time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}{self._random.pop():016x}"
