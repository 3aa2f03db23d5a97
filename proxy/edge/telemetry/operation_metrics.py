"""What is counted of operations after they were sent, and of the chain's word on them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from proxy.edge.telemetry.tallies import LoopCounter, LoopHistogram
from proxy.session.outcome import EnforcedElsewhere

CAUSES: Final = (
    *("mined", "nonce_used", "grant_nonce_used", "expired", "refused", "released", "unmined"),
    "other",
)
"""Why an operation holds less or nothing: mined; its nonce, or its grant's, used by another; its validity over; refused
by the bundler; released by an operator; given up because the chain never showed it."""

PAST_GATE: Final = ("use", "grant")
"""What happens to a session on chain without having come through the gate."""

INCLUSION_SECONDS: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Bucket bounds: a block's time on a fast chain, to half an hour."""

_OTHER: Final = "other"


class OperationMetrics:
    """Counters and gauges of operations in flight and of their ends. `chains` are the configured names and `other`."""

    def __init__(self, registry: CollectorRegistry, chains: Collection[str]) -> None:
        self._chains = frozenset(chains)
        gauge = partial(Gauge, labelnames=["chain"], registry=registry)
        counter = partial(Counter, labelnames=["chain"], registry=registry)
        self._in_flight = gauge(
            "sessiongate_operations_in_flight", "Operations that were sent and whose end is not known."
        )
        self._oldest = gauge(
            "sessiongate_oldest_in_flight_seconds",
            "Age of the operation that has been in flight for longest, those let go left out; 0 when there is none.",
        )
        self._let_go = gauge(
            "sessiongate_operations_let_go",
            "Of those in flight, given up unmined or released by hand: remembered while their nonces are unused.",
        )
        self._ended = LoopCounter(
            "sessiongate_operations_ended_total",
            "Operations that hold less or nothing any more, by why: `unmined` were accepted and not seen on chain.",
            ["chain", "cause"],
            registry=registry,
        )
        self._reverted = counter("sessiongate_operations_reverted_total", "Operations mined whose calls failed.")
        self._inclusion = LoopHistogram(
            "sessiongate_inclusion_seconds",
            "From the bundler's acceptance to the block.",
            ["chain"],
            registry=registry,
            buckets=INCLUSION_SECONDS,
        )
        self._past = Counter(
            "sessiongate_past_gate_total",
            "Uses and grants of known sessions on chain that did not come through this gate.",
            ["chain", "what"],
            registry=registry,
        )
        self._gaps = counter(
            "sessiongate_nonce_gaps_total",
            "Operations sent that wait behind a gap in the nonces of their key, and may be mined much later.",
        )
        self._repeats = counter(
            "sessiongate_refusals_repeated_total",
            "Operations handed in again right after a bundler had refused them: told that again, and sent nowhere.",
        )
        self._elsewhere = Counter(
            "sessiongate_enforced_elsewhere_total",
            "Operations signed by session keys of other products, whose limits are not enforced here, by product.",
            ["chain", "product"],
            registry=registry,
        )
        self._of_settlement(gauge, counter)
        self._begin_at_zero(chains)
        # looked up once for each operation
        self._ends = {(chain, cause): self._ended.labels(chain, cause) for chain in chains for cause in CAUSES}
        self._mined = {chain: (self._ends[chain, "mined"], self._inclusion.labels(chain)) for chain in chains}

    def _of_settlement(self, gauge: Callable[..., Gauge], counter: Callable[..., Counter]) -> None:
        """How far it is behind, and what it asks."""
        self._state_age = gauge(
            "sessiongate_state_age_seconds",
            "Since what is known of the chain was last confirmed, on the monotonic clock.",
        )
        self._settlement_lag = gauge(
            "sessiongate_settlement_lag_blocks", "Blocks between the head and the one settled last."
        )
        self._node_questions = counter(
            "sessiongate_node_questions_total",
            "Questions put to the chain's nodes, each of a batch for itself, as providers bill them.",
        )
        self._receipts_lag = gauge(
            "sessiongate_receipts_lag_seconds",
            "For how long a question for a receipt has been due that there is no budget for; 0 while blocks tell.",
        )

    def _begin_at_zero(self, chains: Collection[str]) -> None:
        """A series that is there from the start can be alerted on."""
        for chain in chains:
            of_flights = (self._in_flight, self._oldest, self._let_go)
            for gauge in (*of_flights, self._state_age, self._settlement_lag, self._receipts_lag):
                gauge.labels(chain)
            for counter, values in ((self._past, PAST_GATE), (self._elsewhere, EnforcedElsewhere)):
                for value in values:
                    counter.labels(chain, value)
            self._reverted.labels(chain)
            self._gaps.labels(chain)
            self._repeats.labels(chain)
            self._node_questions.labels(chain)

    def in_flight(self, chain: str, count: int, oldest_seconds: float, let_go: int = 0) -> None:
        """Set how many operations are in flight, how many of these are `let_go`, and the age of the oldest other one (0
        for none)."""
        known = self._known(chain)
        self._in_flight.labels(known).set(count)
        self._oldest.labels(known).set(max(oldest_seconds, 0.0))
        self._let_go.labels(known).set(let_go)

    def ended(self, chain: str, cause: str) -> None:
        """Count an end, by one of `CAUSES`."""
        self._ends[self._known(chain), cause if cause in CAUSES else _OTHER].inc()

    def mined(self, chain: str, *, success: bool, seconds: float | None) -> None:
        """Count an inclusion, `seconds` after the bundler's acceptance (None: not known)."""
        ends, inclusion = self._mined.get(chain) or self._mined[_OTHER]
        ends.tally += 1
        if not success:
            self._reverted.labels(self._known(chain)).inc()
        if seconds is not None:
            inclusion.observe(max(seconds, 0.0))

    def past_gate(self, chain: str, what: str) -> None:
        """Count what happened to a session past the gate, one of `PAST_GATE`."""
        self._past.labels(self._known(chain), "grant" if what == "grant" else "use").inc()

    def nonce_gap(self, chain: str) -> None:
        """Count an operation that waits behind a gap."""
        self._gaps.labels(self._known(chain)).inc()

    def repeated(self, chain: str) -> None:
        """Count an operation that came again right after a bundler had refused it."""
        self._repeats.labels(self._known(chain)).inc()

    def enforced_elsewhere(self, chain: str, product: EnforcedElsewhere) -> None:
        """Count an operation that another product's contracts bound, and nobody here."""
        self._elsewhere.labels(self._known(chain), product).inc()

    def state_age(self, chain: str, seconds: float) -> None:
        """Set for how long nothing has confirmed what is known of the chain."""
        self._state_age.labels(self._known(chain)).set(seconds)

    def settlement_lag(self, chain: str, blocks: int) -> None:
        """Set how many blocks the settlement is behind the head."""
        self._settlement_lag.labels(self._known(chain)).set(blocks)

    def node_questions(self, chain: str, count: int) -> None:
        """Count so many questions that went to a node of the chain."""
        self._node_questions.labels(self._known(chain)).inc(count)

    def receipts_lag(self, chain: str, seconds: float) -> None:
        """Set for how long a question to a bundler has been due: so much later operations are settled."""
        self._receipts_lag.labels(self._known(chain)).set(seconds)

    def _known(self, chain: str) -> str:
        return chain if chain in self._chains else _OTHER
