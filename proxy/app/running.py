"""The running gate: its parts started in order and stopped in the opposite one; and a gate that only explains."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from proxy.app.background import run_in_background
from proxy.app.chain import Shared, build_chain, start_chain
from proxy.app.deeds import note_reload
from proxy.app.descriptors import descriptors_of
from proxy.app.listening import Listeners, listen
from proxy.app.memory import (
    NoMemory,
    counting_time_of,
    keep_counts_of,
    ledger_path,
    own_up_to_missing,
    reading,
    remains_in,
    restored_counts,
    restored_registry,
)
from proxy.app.reload import SettingsReload
from proxy.app.settings import (
    audit_writer,
    metrics_of,
    tell_heads_of,
)
from proxy.app.tracing import Tracing, open_tracing
from proxy.config import Config
from proxy.edge.alerts.build import instance_of, open_desk
from proxy.edge.alerts.desk import AlertDesk
from proxy.edge.audit.beyond import SentSince, sent_since
from proxy.edge.audit.holding import hold_trail
from proxy.edge.audit.writer import AuditWriter
from proxy.edge.collector import Collector
from proxy.edge.malloc import give_back_what_is_large
from proxy.edge.rule_files.book import RuleBook, open_rules, start_rules
from proxy.edge.storage.database import Synchronous
from proxy.edge.storage.holding import hold
from proxy.edge.storage.housekeeping import count_sessions, measure_disk, prune, save_counts, try_ledger, watch_file
from proxy.edge.storage.store import Store
from proxy.edge.telemetry.logs import OperationLog, set_up_log
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.recorder import EdgeRecorder
from proxy.edge.telemetry.vigil import LoopLag, watch_loop
from proxy.happening import Silence
from proxy.judge.counts import CountKey
from proxy.judge.decision import Decision
from proxy.judge.group import most_under
from proxy.judge.rule import Limit, Rate, Rule
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.registry import Registry

_LOG: Final = logging.getLogger(__name__)

_WINDOWS_A_PIECE: Final = 50
"""Looked at before others get their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gate that listens: the ports it was given, and the parts that tests look into."""

    rpc_port: int
    admin_port: int
    registry: Registry
    metrics: Metrics
    recorder: EdgeRecorder
    audit: AuditWriter
    alerts: AlertDesk
    stop_welcoming: Callable[[], None]  # /readyz says no from then on
    settings: SettingsReload


def serve(config: Config, reread: Callable[[], Config] | None = None) -> None:
    """Run until SIGTERM or SIGINT; on SIGHUP read rules and settings again, these by `reread`.

    Raises `OSError` for an address in use, `sqlite3.Error` for an unusable ledger.
    """
    set_up_log(config.log)
    give_back_what_is_large()
    uvloop.run(_serve(config, reread))


async def _serve(config: Config, reread: Callable[[], Config] | None) -> None:
    # until rules are there to be read again, and once more while stopping, it means nothing
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        gc.disable()  # nearly all that a start makes stays: to look through it as it grows took half of the time
        starting = start(config, stack, reread, made=partial(_collect, stack, loop))
        running = await _unless_told(stopping, starting)
        if running is None:
            _LOG.info("told to stop before it was ready")
            return
        host, admin_host = config.listen.host, config.admin_listen.host
        _LOG.info(
            "listening on %s port %d, admin on %s port %d, mode %s, chains %s",
            *(host, running.rpc_port, admin_host, running.admin_port, config.mode, ", ".join(config.chains)),
        )
        await stopping.wait()
        await _lame_duck(running, stopping, running.settings.config.drain_seconds)
        _LOG.info("stopping: finishing what is in flight")


async def _unless_told(stopping: asyncio.Event, starting: Coroutine[None, None, Running]) -> Running | None:
    """What has started; `None` when the word to stop came first, which ends the start wherever it waits."""
    started, told = asyncio.ensure_future(starting), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((started, told), return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        started.cancel()  # says nothing to what has ended
        await asyncio.gather(started, told, return_exceptions=True)
    return None if started.cancelled() else started.result()


def _collect(stack: AsyncExitStack, loop: asyncio.AbstractEventLoop) -> None:
    collector = Collector(loop.call_soon_threadsafe, loop.call_later)
    collector.begin()
    stack.callback(collector.end)


async def _lame_duck(running: Running, stopping: asyncio.Event, seconds: float) -> None:
    """Say that nothing more is welcome, and serve on until load balancers have heard it; a second word to stop ends
    the wait."""
    running.stop_welcoming()
    if not seconds:
        return
    _LOG.info("told to stop: not ready any more, serving for another %g s", seconds)
    stopping.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


async def start(
    config: Config,
    stack: AsyncExitStack,
    reread: Callable[[], Config] | None = None,
    *,
    made: Callable[[], None] = lambda: None,
) -> Running:
    """Build the gate and listen; leaving `stack` stops it, in the opposite order. What takes long once all is `made`
    is done before anybody can wait for it."""
    descriptors = descriptors_of(config)
    kept = await _open_books(config, stack)
    tracing = open_tracing(config, kept.metrics, stack)
    shared, alerts = await _share(config, kept, tracing, descriptors.bundlers, stack)
    shared.rules.heard_by(partial(note_reload, shared.recorder))
    chains = {name: await start_chain(name, chain, shared) for name, chain in config.chains.items()}
    _keep_house(shared, kept.store)
    _watch_the_loop(kept.metrics, alerts, stack)
    made()
    listeners = await listen(
        shared,
        chains,
        store=kept.store,
        audit=kept.audit,
        ledger=kept.path,
        tracing=tracing,
        descriptors=descriptors,
    )
    settings = _reloading(shared, listeners, reread)
    return Running(
        rpc_port=listeners.server.port,
        admin_port=listeners.admin_port,
        registry=shared.registry,
        metrics=kept.metrics,
        recorder=shared.recorder,
        audit=kept.audit,
        alerts=alerts,
        stop_welcoming=listeners.stop_welcoming,
        settings=settings,
    )


def _reloading(shared: Shared, listeners: Listeners, reread: Callable[[], Config] | None) -> SettingsReload:
    """What reads the settings again: on SIGHUP, and when operators ask for it."""

    async def put_in_force(new: Config) -> None:
        if new.log != settings.config.log:
            set_up_log(new.log)
            shared.recorder.write(OperationLog(new.log.operations))
        listeners.take(new, shared.metrics)
        shared.rules.read_by(new)
        await shared.rules.lower_to(new.mode)

    before = shared.config
    settings = SettingsReload(
        before, reread=reread or (lambda: before), apply=put_in_force, noted=shared.recorder.noted
    )
    shared.rules.first_on_signal.append(partial(settings.reload, "SIGHUP"))
    listeners.backend.settings = settings
    return settings


def _watch_the_loop(metrics: Metrics, alerts: AlertDesk, stack: AsyncExitStack) -> None:
    lag = LoopLag()
    metrics.before_each_scrape(lambda: metrics.health.loop_lag(lag.take()))
    run_in_background(watch_loop(lag, alerts), stack)


class _Kept(NamedTuple):
    """What is on disk, and what counts."""

    path: Path  # of the ledger
    store: Store
    metrics: Metrics
    audit: AuditWriter
    since: SentSince | None  # what the trail tells of, and this ledger cannot have held


async def _open_books(config: Config, stack: AsyncExitStack) -> _Kept:
    """The ledger's file, held, and the audit trail beside it."""
    path = ledger_path(config, stack)
    held = hold(path)
    stack.callback(held.close)
    # a ledger in memory does not outlive the process: no power cut need be waited for
    synchronous = Synchronous.NORMAL if config.ledger.path is None else Synchronous(config.ledger_synchronous)
    store = Store(path, synchronous=synchronous, held=True)
    stack.callback(store.close)
    metrics = metrics_of(config)
    run_in_background(watch_file(metrics, held, store), stack)
    audit = audit_writer(config, path)
    trail = await hold_trail(audit.path)  # before it is read: of a killed gate it may only now get the last of it
    try:
        alive_at = store.alive_at()
        since = None if alive_at is None else sent_since(audit.path, alive_at, store.knows)
    except BaseException:  # let go, and raised again
        trail.let_go()
        raise
    audit.start(trail)
    # stopped after the writer, so that the head that is told last is the newest
    run_in_background(tell_heads_of(config, audit), stack)
    stack.callback(audit.stop)
    metrics.before_each_scrape(partial(measure_disk, metrics, path))
    return _Kept(path, store, metrics, audit, since)


async def _share(
    config: Config, kept: _Kept, tracing: Tracing, bundler_connections: int, stack: AsyncExitStack
) -> tuple[Shared, AlertDesk]:
    """What all chains have in common: what was known before, the rules and their counts, and who hears of it all."""
    path, store, metrics, audit, since = kept
    with reading():
        registry = restored_registry(config, store)
        counting = counting_time_of(store, follows=any(chain.node is not None for chain in config.chains.values()))
        store.may_forget = lambda: counting.is_steady
        counts = restored_counts(store, counting)
        remains = remains_in(store)
    rules = start_rules(config, metrics, stack)
    for allowance in store.allowances():
        rules.allowances.put(allowance)
    instance = instance_of(config.alerts, config.admin_listen)
    alerts = await open_desk(config.alerts, metrics, stack, instance=instance, path=path)
    await own_up_to_missing(store, counts, path, alerts, since)
    await rules.keep_counts_in(partial(keep_counts_of, counts, store))
    metrics.before_each_scrape(partial(_measure_budgets, rules, metrics, counts))
    tell = partial(alerts.tell, rule_of=rules.rule)
    shared = Shared(
        config=config,
        registry=registry,
        counts=counts,
        counting=counting,
        rules=rules,
        memory=store,
        remains=remains,
        recorder=tracing.recorder(metrics, audit, tell, alerts, OperationLog(config.log.operations)),
        alerts=alerts,
        metrics=metrics,
        stack=stack,
        bundler_connections=bundler_connections,
        traceparent=tracing.header,
    )
    return shared, alerts


def explain_once(config: Config, question: Mapping[str, object]) -> Decision:
    """The verdict on an operation, made without a running gate from settings, ledger and node.

    `question` has `chain`, `operation` and `entryPoint`. Nothing is sent or recorded. Raises `RpcError` for what
    cannot be read.
    """
    return uvloop.run(_explain_once(config, question))


async def _explain_once(config: Config, question: Mapping[str, object]) -> Decision:
    name = str(question["chain"])
    metrics = metrics_of(config)
    async with AsyncExitStack() as stack:
        store = stack.enter_context(closing(Store(ledger_path(config, stack))))
        shared = Shared(
            config=config,
            registry=restored_registry(config, store),
            counts=restored_counts(store, counting := counting_time_of(store)),
            counting=counting,
            rules=open_rules(config, metrics),
            memory=NoMemory(),
            remains=replace(remains_in(store), ended=()),
            recorder=EdgeRecorder(metrics, None),
            alerts=Silence(),
            metrics=metrics,
            stack=stack,
        )
        chain = (await build_chain(name, config.chains[name], shared)).served
        return await chain.gate.explain(name, question["operation"], question["entryPoint"])


def _keep_house(shared: Shared, store: Store) -> None:
    metrics, stack = shared.metrics, shared.stack
    names = {chain.chain_id: name for name, chain in shared.config.chains.items()}
    metrics.before_each_scrape(partial(count_sessions, metrics, shared.registry, names))
    days = shared.config.ledger_retention_days
    for work in (
        try_ledger(metrics, store),
        prune(shared.registry, store, shared.counting, retention_days=days, chains=tuple(names)),
        save_counts(shared.counts, shared.counting, store),
    ):
        run_in_background(work, stack)


def _measure_budgets(rules: RuleBook, metrics: Metrics, counts: RuleCounts) -> Iterator[None]:
    """Look again at the windows that stand for their rules, and at those that were met since, a piece of work at a
    time."""
    yield from metrics.rules.measuring(partial(_share_used, rules, counts))
    for count, window in enumerate(counts.fullest.take(), 1):
        if count % _WINDOWS_A_PIECE == 0:
            yield
        rule = rules.judge.rule_of(window.key)
        if rule is not None and (most := _most_of(rule, window.key)):
            metrics.rules.budget_used(rule.id, sum(counts.used(window.key, time.time())), most, window.key)


def _most_of(rule: Rule, key: CountKey) -> int | None:
    """What a rule allows under a key; `None` where it limits nothing there."""
    return most_under(rule.check, key.group) if isinstance(rule.check, Limit | Rate) else None


def _share_used(rules: RuleBook, counts: RuleCounts, key: CountKey) -> float | None:
    """Of what the rule in force that counts under this key allows, in flight included; `None` where there is none."""
    rule = rules.judge.rule_of(key)
    most = None if rule is None else _most_of(rule, key)
    return None if not most else sum(counts.used(key, time.time())) / most
