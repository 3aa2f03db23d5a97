"""What this gate counts, for Prometheus.

One prefix, `sessiongate_`, and labels from closed sets only: names out of the configuration, enums of ours, and
`other` for whatever is neither. No address, permission id, URL, method name or message off the wire ever becomes
a label, so the number of series is fixed at start, but for the ids of rules, which change with the rules' files (see
`rule_metrics`). Every series exists from the first scrape on, at zero: an alert on `increase()` then sees the first
event and not only the second.

The methods called per request only look a bound child up and add to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import product
from typing import Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from proxy import __version__
from proxy.config.service import NamedSession
from proxy.edge.telemetry.health_metrics import HealthMetrics
from proxy.edge.telemetry.operation_metrics import OperationMetrics
from proxy.edge.telemetry.rule_metrics import RuleMetrics, RuleName
from proxy.edge.telemetry.tallies import LoopCounter, LoopGauge, LoopHistogram
from proxy.errors import Code
from proxy.judge.verdict import ALLOWED, Mode, Reject, Verdict
from proxy.methods import MethodClass
from proxy.ports import RequestOutcome
from proxy.session.outcome import Waived
from proxy.userop.primitives import Address, Hash32

# one more gauge per counter that nothing here reads
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus-client leaves this one function untyped

OTHER: Final = "other"
"""The label of whatever is outside its closed set."""

ALLOW: Final = "allow"
"""The `code` label of an allowed operation; a rejected one has the label of its first reason's code."""

METHOD_CLASSES: Final = (*(each.value for each in MethodClass), OTHER)

OUTCOMES: Final = (*(each.value for each in RequestOutcome), OTHER)

FACTS: Final = ("upstream", "node", "registry", "ledger", "audit", "rules", *Waived, OTHER)
"""What can be missing, or unknown, when a verdict is due."""

DECLARED: Final = "declared"

SESSION_STATES: Final = ("pending", "in_force", "removed", "frozen", DECLARED, OTHER)
"""Where sessions stand in the registry; `frozen` counts freezes by ops, whatever the session's own state, `declared`
the sessions of the settings, whatever the chain knows of them."""

SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Bucket bounds: a decision takes tens of microseconds, a bundler up to several seconds."""

_QUESTIONS: Final = ("read", "send")
"""The kinds of question from which an upstream may rest."""

_MetricT = TypeVar("_MetricT", bound=MetricWrapperBase)
_Key = str | tuple[str, ...]


def _bind(metric: _MetricT, *label_sets: Collection[str]) -> dict[_Key, _MetricT]:
    """Every child of `metric`, made now; the key is the label itself or the tuple of labels."""
    if len(label_sets) == 1:
        return {label: metric.labels(label) for label in label_sets[0]}
    return {labels: metric.labels(*labels) for labels in product(*label_sets)}


def _closed(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*labels, OTHER)))


class Metrics:
    """All counters of one gate, around a registry of its own.

    `chains`, `upstreams` and `clients` are the names in the configuration. An upstream's name must not be its URL,
    which may carry a key. `rules` holds what is counted of rules, `operations` of operations after they were sent,
    `health` of the gate's own condition.
    """

    def __init__(
        self,
        *,
        chains: Collection[str],
        upstreams: Collection[str] = (),
        clients: Collection[str] = (),
        sinks: Collection[str] = (),
        sessions: Collection[NamedSession] = (),
    ) -> None:
        self._registry = CollectorRegistry()
        self._refreshers: list[Callable[[], Iterable[None] | None]] = []
        self._chains = _closed(chains)
        self._upstreams = _closed(upstreams)
        self._clients = _closed(clients)
        self._bind_traffic()
        self._bind_verdicts()
        self._bind_state()
        self.rules = RuleMetrics(self._registry)
        self.operations = OperationMetrics(self._registry, self._chains)
        self.health = HealthMetrics(self._registry, sinks)
        self._bind_named_sessions(sessions)
        ProcessCollector(registry=self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> LoopCounter:
        return LoopCounter(f"sessiongate_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> LoopGauge:
        return LoopGauge(f"sessiongate_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str) -> LoopHistogram:
        return LoopHistogram(f"sessiongate_{name}", text, labels, registry=self._registry, buckets=SECONDS)

    def _bind_traffic(self) -> None:
        requests = self._counter(
            "requests_total", "JSON-RPC requests, each batch element for itself.", "chain", "method_class", "outcome"
        )
        self._requests = _bind(requests, self._chains, METHOD_CLASSES, OUTCOMES)
        by_client = self._counter("client_requests_total", "The same requests by client.", "client", "outcome")
        self._by_client = by_client
        self._client_requests = _bind(by_client, self._clients, OUTCOMES)
        self._counted_requests: dict[tuple[str, str, str, str], tuple[LoopCounter, LoopCounter]] = {}
        self._in_flight = _bind(self._gauge("in_flight", "Requests being answered now.", "chain"), self._chains)
        upstream = self._histogram("upstream_seconds", "From forwarding to the upstream's answer.", "upstream")
        self._by_upstream = upstream
        self._upstream_seconds = _bind(upstream, self._upstreams)
        up = self._gauge("upstream_up", "1 when the upstream answered last, as the right chain.", "upstream")
        self._up = up
        self._upstream_up = _bind(up, [name for name in self._upstreams if name != OTHER])
        rests = self._gauge(
            "upstream_resting", "1 while another bundler is asked instead, by kind of question.", "upstream", "kind"
        )
        self._rests = rests
        self._upstream_rests = _bind(rests, [name for name in self._upstreams if name != OTHER], _QUESTIONS)
        full = self._counter(
            "upstream_full_total",
            "What found no place at the bundlers in time and was sent nowhere, by kind of question.",
            *("chain", "kind"),
        )
        self._upstream_full = _bind(full, self._chains, _QUESTIONS)
        gone = self._counter("client_disconnects_total", "Callers who left before their answer.", "chain")
        self._disconnects = _bind(gone, self._chains)

    def _bind_verdicts(self) -> None:
        verdicts = self._counter(
            "verdicts_total",
            "Verdicts; `code` is `allow` or the first reason's. Outside `enforce` a rejection is a would-be one.",
            *("chain", "code", "mode"),
        )
        codes = (ALLOW, *(code.label for code in Code))
        self._verdicts = _bind(verdicts, self._chains, codes, tuple(Mode))
        decision = self._histogram("decision_seconds", "From a parsed operation to its verdict.", "chain")
        self._decision_seconds = _bind(decision, self._chains)
        self._counted_verdicts = {
            key: (verdict, self._decision_seconds[key[0]]) for key, verdict in self._verdicts.items()
        }
        fail_open = self._counter("fail_open_total", "Verdicts given although a fact was missing.", "what")
        self._fail_open = _bind(fail_open, FACTS)
        disagreements = self._counter(
            "disagreements_total", "Session operations that this gate had allowed and the bundler refused.", "chain"
        )
        self._disagreements = _bind(disagreements, self._chains)
        unavailable = self._counter("state_unavailable_total", "Facts that could not be had for a verdict.", "what")
        self._state_unavailable = _bind(unavailable, FACTS)

    def _bind_state(self) -> None:
        build = self._gauge("build_info", "Always 1; the version is in the label.", "version")
        build.labels(__version__).set(1)
        sessions = self._gauge("sessions", "Sessions in the registry.", "chain", "state")
        self._sessions = _bind(sessions, self._chains, SESSION_STATES)
        lag = self._gauge("watch_lag_seconds", "For how long the node may know more than the registry.", "chain")
        self._watch_lag = _bind(lag, self._chains)
        drifts = self._counter(
            "session_drift_total", "Sessions that, read once they were quiet, were not what was known.", "chain"
        )
        self._drifts = _bind(drifts, self._chains)
        misnamed = self._counter(
            "misnamed_blocks_total", "Blocks that a bundler named and that a node with newer ones has not got.", "chain"
        )
        self._misnamed = _bind(misnamed, self._chains)
        stale = self._gauge("chain_state_stale", "1 when what is known of a chain is too old to judge by.", "chain")
        self._chain_stale = _bind(stale, self._chains)
        self._ledger_writable = self._gauge("ledger_writable", "1 when the ledger took the last write.")
        dropped = self._counter("audit_dropped_total", "Audit records lost: queue full, or not writable.")
        self._audit_dropped = dropped
        self._audit_left_out = self._counter(
            "audit_refusals_left_out_total", "Refusals past a client's rate: counted in the audit, not kept one by one."
        )
        self._left_out = 0
        self._audit_queue = self._gauge("audit_queue", "Audit records waiting to be written.")
        self._audit_writable = self._gauge("audit_writable", "1 when the last batch of audit records was written.")

    def _bind_named_sessions(self, sessions: Collection[NamedSession]) -> None:
        named = self._counter(
            "named_session_operations_total",
            "Verdicts on operations of the sessions that the settings name under `metrics`.",
            *("session", "code"),
        )
        codes = (ALLOW, *(code.label for code in Code))
        self._named_sessions = {
            (session.permission_id, session.account): {code: named.labels(session.name, code) for code in codes}
            for session in sessions
        }
        self.names_sessions = bool(self._named_sessions)
        """Whether the settings name any session."""

    def session_decided(self, permission_id: Hash32, account: Address | None, verdict: Verdict) -> None:
        """Count a verdict for the session's own series, where the settings name it."""
        found = self._named_sessions.get((permission_id, account)) or self._named_sessions.get((permission_id, None))
        if found is not None:
            found[verdict.first.code.label if isinstance(verdict, Reject) else ALLOW].inc()

    def request(self, chain: str, method_class: str, outcome: str, client: str = OTHER) -> None:
        """Count one answered request, in the one place where every request ends."""
        both = self._counted_requests.get((chain, method_class, outcome, client))
        if both is None:
            both = self._request_counters(chain, method_class, outcome, client)
        of_chain, of_client = both
        of_chain.tally += 1
        of_client.tally += 1

    def _request_counters(
        self, chain: str, method_class: str, outcome: str, client: str
    ) -> tuple[LoopCounter, LoopCounter]:
        """What a request is counted in; kept at hand where all of it has names of its own."""
        known = outcome if outcome in OUTCOMES else OTHER
        of_chain = self._requests[
            chain if chain in self._chains else OTHER,
            method_class if method_class in METHOD_CLASSES else OTHER,
            known,
        ]
        of_client = self._client_requests[client if client in self._clients else OTHER, known]
        if chain in self._chains and client in self._clients and method_class in METHOD_CLASSES and known == outcome:
            self._counted_requests[chain, method_class, outcome, client] = of_chain, of_client
        return of_chain, of_client

    def know_clients(self, clients: Iterable[str]) -> None:
        """Count these clients by their names from now on, beside those known before."""
        new = [name for name in clients if name not in self._clients]
        self._clients = (*self._clients, *new)
        self._client_requests.update(_bind(self._by_client, new, OUTCOMES))

    def know_upstreams(self, upstreams: Iterable[str]) -> None:
        """Of these there are series from now on; those of others have no health any more."""
        there = _closed(upstreams)
        new = [name for name in there if name not in self._upstreams]
        for name in self._upstreams:
            if name not in there:
                self._up.remove(name)
                del self._upstream_up[name]
                for kind in _QUESTIONS:
                    self._rests.remove(name, kind)
                    del self._upstream_rests[name, kind]
        self._upstreams = there
        self._upstream_seconds.update(_bind(self._by_upstream, new))
        self._upstream_up.update(_bind(self._up, new))
        self._upstream_rests.update(_bind(self._rests, new, _QUESTIONS))

    def in_flight(self, chain: str) -> LoopGauge:
        """How many requests of this chain are in flight."""
        return self._of(self._in_flight, chain)

    def decided(self, chain: str, verdict: Verdict, mode: Mode, seconds: float) -> None:
        """Count a verdict under `mode`, and the time it took."""
        code = ALLOW if verdict is ALLOWED or not isinstance(verdict, Reject) else verdict.first.code.label
        both = self._counted_verdicts.get((chain, code, mode)) or self._counted_verdicts[OTHER, code, mode]
        verdicts, decision_seconds = both
        verdicts.tally += 1
        decision_seconds.observe(seconds)

    def rules_decided(self, hits: Iterable[RuleName], opened: Iterable[str] = ()) -> None:
        """Count the rules that fired on one operation, and the ids of those that let it pass for want of a fact."""
        self.rules.decided(hits, opened)

    def upstream_answered(self, upstream: str, seconds: float) -> None:
        """Record how long an upstream took to answer, with a result or an error."""
        (self._upstream_seconds.get(upstream) or self._upstream_seconds[OTHER]).observe(seconds)

    def upstream_up(self, upstream: str, *, up: bool) -> None:
        """Record whether an upstream is fit for use. An upstream that is not configured has no health."""
        child = self._upstream_up.get(upstream)
        if child is not None:
            child.set(up)

    def upstream_rests(self, upstream: str, kind: str, rests: bool) -> None:  # a callback's
        """Record whether an upstream is left alone with one kind of question."""
        child = self._upstream_rests.get((upstream, kind))
        if child is not None:
            child.set(rests)

    def upstream_full(self, chain: str, kind: str) -> None:
        """Count what was asked of no bundler because these have as much to answer as they may have at once."""
        self._upstream_full[chain if chain in self._chains else OTHER, kind].inc()

    def disconnected(self, chain: str) -> None:
        """Count a caller who left before the answer."""
        self._of(self._disconnects, chain).inc()

    def failed_open(self, what: str) -> None:
        """Count a verdict given without the fact `what`, one of `FACTS`."""
        self._of(self._fail_open, what).inc()

    def state_unavailable(self, what: str) -> None:
        """Count a fact, one of `FACTS`, that could not be had when a verdict needed it."""
        self._of(self._state_unavailable, what).inc()

    def disagreed(self, chain: str) -> None:
        """Count a session operation that was allowed here and refused by the bundler on the session's account."""
        self._of(self._disagreements, chain).inc()

    def drifted(self, chain: str) -> None:
        """Count a session that, read once it was quiet, was not what was known of it."""
        self._of(self._drifts, chain).inc()

    def misnamed(self, chain: str) -> None:
        """Count a block that a bundler named and that the node's newer ones show to be none."""
        self._of(self._misnamed, chain).inc()

    def chain_state(self, chain: str, seconds: float, *, stale: bool) -> None:
        """Set for how long what is known of a chain's sessions may be out of date, and whether that is too long."""
        self._of(self._watch_lag, chain).set(seconds)
        self.operations.state_age(chain, seconds)
        self._of(self._chain_stale, chain).set(stale)

    def sessions(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set how many sessions there are by (chain, state); what is not named is zero."""
        for key, child in self._sessions.items():
            child.set(counts.get((key[0], key[1]), 0))

    def ledger_writable(self, *, writable: bool) -> None:
        """Record whether the ledger takes writes."""
        self._ledger_writable.set(writable)

    def audit_dropped(self, count: int) -> None:
        """Count audit records that are lost."""
        self._audit_dropped.inc(count)

    def audit_left_out(self, total: int) -> None:
        """Bring the count of refusals that are counted and not kept up to `total` since the start."""
        self._audit_left_out.inc(total - self._left_out)
        self._left_out = total

    def audit_state(self, *, queued: int, writable: bool) -> None:
        """Record how far the audit writer is behind, and whether its last batch was written."""
        self._audit_queue.set(queued)
        self._audit_writable.set(writable)

    def before_each_scrape(self, refresh: Callable[[], Iterable[None] | None]) -> None:
        """Have `refresh` called by `refreshing`: it sets gauges whose truth lies elsewhere, at once or in pieces."""
        self._refreshers.append(refresh)

    def refreshing(self) -> Iterator[None]:
        """Bring the gauges up to date, a piece of work at a time; go through it where the things they count may be
        read, before `render`."""
        for refresher in self._refreshers:
            yield from refresher() or ()

    def refresh(self) -> None:
        """The same in one piece."""
        deque(self.refreshing(), maxlen=0)

    def collectors(self) -> Collection[Collector]:
        """What makes the series."""
        return tuple(self._registry._collector_to_names)  # the registry has no public list of them

    def render(self) -> bytes:
        """Every series in Prometheus' text format 0.0.4; may be called from any thread."""
        return generate_latest(self._registry)

    def _of(self, children: dict[_Key, _MetricT], label: str) -> _MetricT:
        child = children.get(label)
        return child if child is not None else children[OTHER]
