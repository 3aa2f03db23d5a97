"""The metrics of a gate with everything in it, and a script of what may happen to one."""

from __future__ import annotations

from proxy.config.service import NamedSession
from proxy.edge.telemetry.health_metrics import PLACES, QUEUES, Sent
from proxy.edge.telemetry.metrics import Metrics
from proxy.edge.telemetry.operation_metrics import CAUSES, PAST_GATE
from proxy.edge.telemetry.rule_metrics import ReloadReason, Result, RuleInfo, RuleName
from proxy.happening import HappeningKind
from proxy.judge.counts import CountKey
from proxy.judge.verdict import Allow, Mode
from proxy.session.lint.findings import Severity
from proxy.session.outcome import EnforcedElsewhere
from proxy.userop.primitives import print_bytes
from tests.edge.builders import OUT_OF_SCOPE, PERMISSION, REVOKED

CHAIN = "soneium"
RULES = (
    RuleInfo("cap", Mode.ENFORCE, Severity.CRITICAL, "treasury", "https://run.example/cap"),
    RuleInfo("odd", Mode.ALERT, Severity.LOW, "", ""),
)
SOME = 1_000_000
ALICE = CountKey(b"cap", b"alice")


def full_metrics(*, sinks: tuple[str, ...] = ("alertmanager", "soc")) -> Metrics:
    """A gate with one chain, two upstreams, a client, two rules and two sinks, all of it well."""
    metrics = Metrics(
        chains=[CHAIN],
        upstreams=["soneium#0", "soneium#1"],
        clients=["anonymous", "trading-dapp"],
        sinks=sinks,
        sessions=[NamedSession(name="market-maker", permission_id=print_bytes(PERMISSION))],
    )
    metrics.rules.in_force([RuleName(*info[:3]) for info in RULES], "d1")
    metrics.rules.described(RULES)
    metrics.rules.read(good=True, now=1_700_000_000.0)
    for info in RULES:
        metrics.rules.budget_used(info.rule, 10, 100, ALICE)
    calm(metrics)
    return metrics


def calm(metrics: Metrics) -> None:
    """Every gauge as it is where all is well."""
    metrics.ledger_writable(writable=True)
    metrics.audit_state(queued=0, writable=True)
    metrics.upstream_up("soneium#0", up=True)
    metrics.upstream_up("soneium#1", up=True)
    metrics.upstream_rests("soneium#0", "send", False)
    metrics.chain_state(CHAIN, 1.0, stale=False)
    metrics.sessions({(CHAIN, "in_force"): 3, (CHAIN, "declared"): 1})
    metrics.operations.in_flight(CHAIN, 2, 1.5)
    metrics.operations.settlement_lag(CHAIN, 1)
    metrics.operations.receipts_lag(CHAIN, 0.0)
    metrics.health.loop_lag(0.001)
    metrics.health.ledger_in_place(in_place=True)
    metrics.health.active(1)
    for queue in QUEUES:
        metrics.health.queue(queue, 0)
    for place in PLACES:
        metrics.health.disk(place, free=60 * SOME, total=100 * SOME)
    for sink in ("alertmanager", "soc"):
        metrics.health.waiting(sink, 0.0)


def some_traffic(metrics: Metrics) -> None:
    """A little of everything that is counted."""
    for outcome in ("answered", "rejected", "upstream_error", "invalid"):
        metrics.request(CHAIN, "submit", outcome, "trading-dapp")
    metrics.request(CHAIN, "pass", "answered", "anonymous")
    metrics.in_flight(CHAIN).inc()
    metrics.in_flight(CHAIN).inc(-1)
    metrics.disconnected(CHAIN)
    for verdict in (Allow(), Allow(), OUT_OF_SCOPE, REVOKED):
        metrics.decided(CHAIN, verdict, Mode.ENFORCE, 0.00004)
    metrics.session_decided(PERMISSION, None, Allow())
    for upstream in ("soneium#0", "soneium#1"):
        metrics.upstream_answered(upstream, 0.02)
    metrics.rules_decided([RuleName(*info[:3]) for info in RULES], ["cap"])
    metrics.rules.reloaded(ReloadReason.FILE, Result.SUCCESS)
    metrics.failed_open("policy")
    metrics.state_unavailable("node")
    metrics.disagreed(CHAIN)
    metrics.drifted(CHAIN)
    metrics.misnamed(CHAIN)
    metrics.audit_dropped(1)
    for success in (True, True, False):
        metrics.operations.mined(CHAIN, success=success, seconds=2.5)
    for cause in CAUSES:
        metrics.operations.ended(CHAIN, cause)
    for what in PAST_GATE:
        metrics.operations.past_gate(CHAIN, what)
    metrics.operations.enforced_elsewhere(CHAIN, EnforcedElsewhere.KERNEL_PERMISSION)
    for kind in HappeningKind:
        metrics.health.happened(kind)
    metrics.health.folded()
    metrics.health.spans("sent", 3)
    for result in Sent:
        metrics.health.sent("soc", result)
        metrics.health.sent("alertmanager", result)
    metrics.health.dropped("soc", 1)
