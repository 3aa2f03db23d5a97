"""The gate put together: every part built once and wired. The only file that knows all rooms."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import uvloop

from proxy.admission import Admission, RecentReads, Sources, Terms
from proxy.admission.enquiry import Enquiry
from proxy.chain.disagreements import Disagreements
from proxy.chain.follower import LedgerFailure, OperationFollower
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.chain.refresh import refreshing, sparing
from proxy.chain.tracker import Outcome as TrackedOutcome
from proxy.chain.tracker import Patience, Receipt, Tracker
from proxy.chain.witness import NodeWitness
from proxy.config import Chain, Config, FeeMethods, LedgerFail, Previews
from proxy.edge.admin import AdminServer
from proxy.edge.admin_guard import AdminAccess
from proxy.edge.audit_writer import AuditWriter
from proxy.edge.backend import GateBackend, ServedChain
from proxy.edge.clients import Client, Clients
from proxy.edge.database import Synchronous, open_database
from proxy.edge.fees import FEE_METHODS, FeeTranslator, NodeFees, Translated
from proxy.edge.housekeeping import count_sessions, prune, save_counts, try_ledger
from proxy.edge.metrics import Metrics
from proxy.edge.recorder import EdgeRecorder
from proxy.edge.rule_book import RuleBook, open_rules, start_rules
from proxy.edge.server import Hooks, RpcServer, ServerSettings
from proxy.edge.store import Store
from proxy.edge.upstream import Health, Upstream, UpstreamSettings
from proxy.edge.watching import CALLS_AT_ONCE, watcher_of
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.gate import Gate, GateSettings
from proxy.jsonrpc import Limits, Request, print_json
from proxy.judge.decision import Decision
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation, Ended
from proxy.ledger.rule_counts import RuleCounts
from proxy.ports import Answer, Forwarded, RequestContext
from proxy.session.known import KnownSession
from proxy.session.registry import Registry
from proxy.userop.primitives import Hash32, print_bytes

_LOG: Final = logging.getLogger(__name__)
_PROBE_SECONDS: Final = 10.0
_DECISION_ID_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gate that listens: the ports it was given, and the parts that tests look into."""

    rpc_port: int
    admin_port: int
    registry: Registry
    metrics: Metrics


class _Memory(Protocol):
    """What becomes known while serving, as far as it outlives this process. See `Store`."""

    async def keep(self, outcome: TrackedOutcome) -> None: ...

    def note(self, outcome: TrackedOutcome) -> None: ...

    async def save_session(self, session: KnownSession) -> None: ...


class _NoMemory:
    """For a look at things that leaves no trace: a running gate may be using the same file."""

    async def keep(self, outcome: TrackedOutcome) -> None:  # noqa: ARG002  # to forget is the point
        return None

    def note(self, outcome: TrackedOutcome) -> None:  # noqa: ARG002  # to forget is the point
        return None

    async def save_session(self, session: KnownSession) -> None:  # noqa: ARG002  # to forget is the point
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all chains have in common. Leaving `stack` stops what runs, in the opposite order."""

    config: Config
    registry: Registry
    counts: RuleCounts  # rules may count over all chains
    rules: RuleBook
    memory: _Memory
    in_flight: tuple[AcceptedOperation, ...]  # before the restart
    ended: tuple[Ended, ...]  # likewise, as far as a reorganisation could bring them back
    recorder: EdgeRecorder
    metrics: Metrics
    stack: AsyncExitStack


def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises `OSError` for an address in use, `sqlite3.Error` for an unusable ledger."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(_serve(config))


async def _serve(config: Config) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        running = await start(config, stack)
        host, admin_host = config.listen.host, config.admin_listen.host
        _LOG.info(
            "listening on %s port %d, admin on %s port %d, mode %s, chains %s",
            *(host, running.rpc_port, admin_host, running.admin_port, config.mode, ", ".join(config.chains)),
        )
        await stopping.wait()
        _LOG.info("stopping: finishing what is in flight")


async def start(config: Config, stack: AsyncExitStack) -> Running:
    """Build the gate and listen; leaving `stack` stops it, in the opposite order."""
    path = _ledger_path(config, stack)
    store = Store(path, synchronous=Synchronous(config.ledger_synchronous))
    stack.callback(store.close)
    metrics = _metrics(config)
    audit = AuditWriter(partial(open_database, path), retention_days=config.audit.retention_days)
    audit.start()
    stack.callback(audit.stop)
    registry = restored_registry(config, store)
    counts = restored_counts(store)
    rules = start_rules(config, metrics, stack)
    await rules.keep_counts_in(partial(_keep_counts_of, counts, store))
    shared = _Shared(
        config=config,
        registry=registry,
        counts=counts,
        rules=rules,
        memory=store,
        in_flight=store.operations_in_flight(),
        ended=store.operations_ended(),
        recorder=EdgeRecorder(metrics, audit),
        metrics=metrics,
        stack=stack,
    )
    chains = {name: await _start_chain(name, chain, shared, store) for name, chain in config.chains.items()}
    _keep_house(config, registry, store, metrics, stack)
    _run_in_background(save_counts(shared.counts, store), stack)

    def answer(request: Request, context: RequestContext) -> Awaitable[Answer | None]:
        return chains[context.chain].gate.answer(request, context)

    backend = GateBackend(chains, registry, store, time.time, rules)
    admin = AdminServer(backend, metrics=metrics, audit_path=path, access=_admin_access(config))
    admin_port = await admin.start(config.admin_listen.host, config.admin_listen.port)
    stack.push_async_callback(admin.stop)
    hooks = Hooks(began=metrics.began, ended=metrics.ended, turned_away=partial(_turned_away, metrics))
    server = await RpcServer(answer, _server_settings(config), hooks).start(config.listen.host, config.listen.port)
    stack.push_async_callback(server.stop)
    return Running(rpc_port=server.port, admin_port=admin_port, registry=registry, metrics=metrics)


async def _start_chain(name: str, chain: Chain, shared: _Shared, store: Store) -> ServedChain:
    """Build it, watch its bundlers and its sessions, follow its operations."""
    served, tracker = await _build_chain(name, chain, shared)
    for task in (served.upstream.watch(_PROBE_SECONDS), tracker.run()):
        _run_in_background(task, shared.stack)
    if chain.node is not None:
        node = Node(chain.node.url, timeout_seconds=shared.config.limits.node_seconds, concurrency=CALLS_AT_ONCE)
        shared.stack.push_async_callback(node.close)
        watcher = watcher_of(
            name, chain, node, registry=shared.registry, store=store, tracker=tracker, metrics=shared.metrics
        )
        _run_in_background(watcher.run(), shared.stack)
    return served


async def _build_chain(name: str, chain: Chain, shared: _Shared) -> tuple[ServedChain, Tracker]:
    config, registry, memory, stack = shared.config, shared.registry, shared.memory, shared.stack

    def on_health(endpoint: str, health: Health) -> None:
        shared.metrics.upstream_up(endpoint, up=health is Health.HEALTHY)

    upstream = await stack.enter_async_context(_upstream(name, chain, config, on_health))
    node = None if chain.node is None else Node(chain.node.url, timeout_seconds=config.limits.node_seconds)
    if node is not None:
        stack.push_async_callback(node.close)
    ledger = MemoryLedger(shared.counts)
    witness = None if node is None else NodeWitness(node)
    reader = None
    if node is not None:
        reader = NodeReader(
            node,
            registry,
            memory.save_session,
            time.time,
            ledger=ledger,
            witness=witness,
            look_back=lambda: tracker.look_back(),  # noqa: PLW0108  # it is made below
        )
    tracker = Tracker(
        registry=registry,
        ledger=ledger,
        keeper=memory,
        receipt=partial(_ask_receipt, upstream),
        clock=time.time,
        patience=Patience(
            first=min(0.5, chain.poll_seconds),
            longest=max(15.0, chain.poll_seconds),
            look_back=max(1.0, chain.poll_seconds),
        ),
        witness=witness,
        reread=None if reader is None else reader.session,
    )
    tracker.restore(
        (each for each in shared.in_flight if each.reservation.slot.chain_id == chain.chain_id),
        (each for each in shared.ended if each.operation.reservation.slot.chain_id == chain.chain_id),
    )
    terms = _terms(chain)
    reads = RecentReads(terms.fresh_seconds)
    refresh = None if reader is None else sparing(refreshing(reader, registry, tracker.settle_now), reads, time.time)
    disagreements = Disagreements(count=partial(shared.metrics.disagreed, name), refresh=refresh)
    stack.push_async_callback(disagreements.close)
    sources = Sources(
        terms=terms,
        registry=registry,
        ledger=ledger,
        settlement=tracker.settle_now,
        reader=reader,
        clock=time.time,
        reads=reads,
        reconciled=tracker.reconciled,
        rules=lambda: shared.rules.judge,
    )
    gate = Gate(
        _gate_settings(chain, config),
        admission=Admission(sources),
        enquiry=Enquiry(sources) if config.session_queries else None,
        upstream=upstream,
        fees=partial(_answer_fees, FeeTranslator(upstream, None if node is None else partial(_node_fees, node))),
        follower=OperationFollower(
            tracker,
            ledger,
            frozenset(chain.session_modules),
            time.time,
            disagreements.note,
            failure=LedgerFailure(
                open=config.ledger_fail is LedgerFail.OPEN,
                sent_unheld=partial(shared.metrics.failed_open, "ledger"),
            ),
        ),
        recorder=shared.recorder,
        clock=time.time,
        stopwatch=time.perf_counter,
        new_id=_new_decision_id,
    )
    return ServedChain(name=name, chain_id=chain.chain_id, gate=gate, upstream=upstream, node=node), tracker


def _terms(chain: Chain) -> Terms:
    return Terms(
        chain_id=chain.chain_id,
        session_modules=frozenset(chain.session_modules),
        unknown_session=chain.unknown_session.value,
        unknown_policy=chain.unknown_policy.value,
        unknown_validator=chain.unknown_validator.value,
        strict_accounts=frozenset(chain.strict_accounts),
    )


def restored_registry(config: Config, store: Store) -> Registry:
    """What was known before the restart, and what the configuration declares."""
    registry = Registry()
    for key, packed in store.packed_sessions():
        registry.restore(key, packed)
    for freeze in store.freezes():
        registry.freezes.put(freeze)
    registry.restore_declared_uses(store.declared_uses())
    registry.declare(config.declared_sessions())
    return registry


async def _keep_counts_of(counts: RuleCounts, store: Store, identities: Collection[bytes]) -> None:
    counts.keep_only(identities)
    await store.keep_only(identities)


def restored_counts(store: Store) -> RuleCounts:
    """What rules had counted and learnt before the restart."""
    counts = RuleCounts()
    counts.restore(store.rule_rows())
    return counts


def explain_once(config: Config, question: Mapping[str, object]) -> Decision:
    """The verdict on an operation, made without a running gate from settings, ledger and node.

    `question` has `chain`, `operation` and `entryPoint`. Nothing is sent or recorded. Raises `RpcError` for what
    cannot be read.
    """
    return uvloop.run(_explain_once(config, question))


async def _explain_once(config: Config, question: Mapping[str, object]) -> Decision:
    name = str(question["chain"])
    metrics = _metrics(config)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(Store(_ledger_path(config, stack))))
        shared = _Shared(
            config=config,
            registry=restored_registry(config, store),
            counts=restored_counts(store),
            rules=open_rules(config, metrics),
            memory=_NoMemory(),
            in_flight=store.operations_in_flight(),
            ended=(),
            recorder=EdgeRecorder(metrics, None),
            metrics=metrics,
            stack=stack,
        )
        chain, _ = await _build_chain(name, config.chains[name], shared)
        return await chain.gate.explain(name, question["operation"], question["entryPoint"])


def _upstream(name: str, chain: Chain, config: Config, on_health: Callable[[str, Health], None]) -> Upstream:
    return Upstream(
        name,
        [bundler.url for bundler in chain.bundlers],
        chain_id=chain.chain_id,
        entry_points=frozenset(entry_point.address for entry_point in chain.entry_points),
        settings=UpstreamSettings(total_seconds=config.limits.request_seconds),
        on_health=on_health,
    )


def _gate_settings(chain: Chain, config: Config) -> GateSettings:
    return GateSettings(
        mode=config.mode,
        judge_previews=config.previews is Previews.JUDGE,
        entry_points={entry_point.address: entry_point for entry_point in chain.entry_points},
        allow_methods=frozenset(chain.allow_methods),
        fee_methods=FEE_METHODS if chain.fee_methods is FeeMethods.TRANSLATE else frozenset(),
    )


def _server_settings(config: Config) -> ServerSettings:
    clients = Clients(
        (
            Client(
                name=client.name,
                api_key=None if client.api_key is None else client.api_key.get_secret_value(),
                origins=frozenset(client.origins),
                chains=frozenset(client.chains) or None,
            )
            for client in config.clients
        ),
        origins=frozenset(config.cors.origins),
    )
    limits = config.limits
    return ServerSettings(
        chains=tuple(config.chains),
        clients=clients,
        limits=Limits(max_bytes=limits.max_body_bytes, max_batch=limits.max_batch, max_depth=limits.max_depth),
    )


def _admin_access(config: Config) -> AdminAccess:
    token = config.admin_token
    return AdminAccess(token=None if token is None else token.get_secret_value(), loopback=config.admin_listen.is_local)


def _metrics(config: Config) -> Metrics:
    return Metrics(
        chains=tuple(config.chains),
        upstreams=tuple(f"{name}#{i}" for name, chain in config.chains.items() for i in range(len(chain.bundlers))),
        clients=("anonymous", *(client.name for client in config.clients)),
    )


def _keep_house(config: Config, registry: Registry, store: Store, metrics: Metrics, stack: AsyncExitStack) -> None:
    names = {chain.chain_id: name for name, chain in config.chains.items()}
    metrics.before_each_scrape(partial(count_sessions, metrics, registry, names))
    _run_in_background(try_ledger(metrics, store), stack)
    _run_in_background(prune(registry, store, retention_days=config.ledger_retention_days, chains=tuple(names)), stack)


def _run_in_background(work: Awaitable[None], stack: AsyncExitStack) -> None:
    task = asyncio.ensure_future(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)


def _turned_away(metrics: Metrics, chain: str, client: str, outcome: str) -> None:
    if outcome == "disconnected":
        metrics.disconnected(chain)
    else:
        metrics.request(chain, "other", outcome, client)


async def _ask_receipt(upstream: Upstream, user_op_hash: Hash32) -> Receipt | None:
    answered = await upstream.post("eth_getUserOperationReceipt", print_json([print_bytes(user_op_hash)]), submit=False)
    if answered.reply.is_error:
        raise UpstreamUnavailable("the bundler answers a question for a receipt with an error", may_have_been_sent=True)
    return answered.reply.result if isinstance(answered.reply.result, Mapping) else None


async def _answer_fees(translator: FeeTranslator, method: str) -> Forwarded | object:
    answered = await translator.answer(method)
    return answered.result if isinstance(answered, Translated) else answered


async def _node_fees(node: Node) -> NodeFees:
    head = await node.head()
    if head.base_fee is None:
        raise StateUnavailable("the newest block has no base fee")
    return NodeFees(base_fee=head.base_fee, max_priority_fee=await node.max_priority_fee())


def _ledger_path(config: Config, stack: AsyncExitStack) -> Path:
    """Where the database is; a ledger in memory is a file that nobody finds again."""
    if config.ledger.path is not None:
        config.ledger.path.parent.mkdir(parents=True, exist_ok=True)
        return config.ledger.path
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sessiongate-"))
    return Path(folder) / "ledger.db"


def _new_decision_id() -> str:
    return secrets.token_hex(_DECISION_ID_BYTES)
