"""Every end of an operation is told once, with what is known of it; one that was let go before is told of apart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from proxy.app.telling import Telling
from proxy.chain.settlement.draft import End
from proxy.edge.audit.line import pack, unpack
from proxy.edge.audit.plain import plain_end
from proxy.edge.telemetry.metrics import Metrics
from proxy.happening import Happening, HappeningKind
from proxy.ledger.operations import Cause, Ended, Evidence, Mined
from proxy.ports import Deed, OperationEnd
from proxy.refused_before import RefusedBefore
from proxy.userop.primitives import print_bytes
from tests.chain.builders import accepted
from tests.chain.settlement.builders import KEY, name
from tests.edge.builders import gate_metrics


@dataclass
class Ears:
    ends: list[OperationEnd] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)

    def operation_ended(self, end: OperationEnd) -> None:
        self.ends.append(end)

    def noted(self, deed: Deed) -> None:
        self.deeds.append(deed)

    def raise_(self, happening: Happening) -> None:
        self.happenings.append(happening)


MINED = Mined(user_op_hash=name(1), success=False, block=7, gas_used=5, gas_cost=50, revert_reason=b"\x01\x02")


def telling(ears: Ears, metrics: Metrics | None = None) -> Telling:
    return Telling(
        "soneium",
        recorder=ears,  # type: ignore[arg-type]  # hears the rest of nothing
        metrics=metrics or gate_metrics(),
        alerts=ears,
        clock=lambda: 9.0,
        refused=RefusedBefore(lambda: 9.0),
    )


@pytest.mark.parametrize(("late", "kinds"), [(False, []), (True, [HappeningKind.NEVER_MINED])])
def test_an_end_is_told_with_where_and_how_it_was_mined(late: bool, kinds: list[HappeningKind]) -> None:
    ears = Ears()
    evidence = Evidence(block=7, timestamp=1_012, transaction=name(3))
    ended = Ended(
        operation=accepted(1, KEY, at=1_000.0), ended_at=2_000.0, mined=MINED, cause=Cause.MINED, evidence=evidence
    )
    telling(ears).ended(End(ended=ended, late=late))
    assert ears.ends == [
        OperationEnd(
            chain="soneium",
            user_op_hash=name(1),
            cause="mined",
            account=KEY.account,
            permission_id=KEY.permission_id,
            success=False,
            revert_reason="0x0102",
            transaction=name(3),
            block=7,
            gas_used=5,
            cost=50,
            seconds=12.0,
        )
    ]
    assert [happening.kind for happening in ears.happenings] == kinds


@pytest.mark.parametrize("cause", Cause)
def test_an_end_goes_to_the_trail_in_plain_values(cause: Cause) -> None:
    """Whatever is not is looked through value by value first: that took longer than all the rest of it."""
    ears = Ears()
    ended = Ended(operation=accepted(1, KEY), ended_at=2.0, mined=None, cause=cause, evidence=Evidence(block=7))
    telling(ears).ended(End(ended=ended))
    (end,) = ears.ends
    plain = plain_end(end, 1.0)
    assert unpack(pack(plain)) == plain


@pytest.mark.parametrize(
    ("tell", "what", "kind"),
    [
        (lambda telling: telling.used_past_gate(KEY, name(3), 10.0), "use", HappeningKind.USE_PAST_GATE),
        (lambda telling: telling.granted_past_gate(KEY, name(3)), "grant", HappeningKind.GRANT_PAST_GATE),
    ],
)
def test_what_went_past_the_gate_is_counted_and_told_with_its_session(
    tell: Callable[[Telling], None],
    what: str,
    kind: HappeningKind,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ears, metrics = Ears(), gate_metrics()
    tell(telling(ears, metrics))
    (happening,) = ears.happenings
    assert "before this gate started" not in happening.what
    assert (happening.kind, happening.account, happening.permission_id) == (kind, KEY.account, KEY.permission_id)
    assert print_bytes(name(3)) in happening.what
    assert print_bytes(KEY.permission_id) in caplog.text
    assert f'sessiongate_past_gate_total{{chain="soneium",what="{what}"}} 1.0' in metrics.render().decode()


def test_what_was_mined_before_this_start_may_be_missing_from_a_ledger_that_was_put_back() -> None:
    ears = Ears()
    telling(ears).used_past_gate(KEY, name(3), 8.0)
    (happening,) = ears.happenings
    assert happening.kind is HappeningKind.USE_PAST_GATE
    assert "before this gate started: it went past the gate, or ledger, mark and audit trail" in happening.what


def test_an_operation_that_the_ledger_did_not_keep_and_that_was_sent_is_told_and_named_in_log_and_audit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ears, metrics = Ears(), gate_metrics()
    caplog.set_level(logging.WARNING)
    telling(ears, metrics).sent_unheld(accepted(1, KEY))
    (happening,) = ears.happenings
    assert (happening.kind, happening.user_op_hash) == (HappeningKind.FAILED_OPEN, name(1))
    assert 'sessiongate_fail_open_total{what="ledger"} 1.0' in metrics.render().decode()
    (deed,) = ears.deeds
    assert (deed.what, deed.account, deed.permission_id) == ("sent_unheld", KEY.account, KEY.permission_id)
    assert deed.details["user_op_hash"] == print_bytes(name(1))
    assert print_bytes(name(1)) in caplog.text


def test_an_operation_behind_a_gap_is_counted_and_told_with_the_nonce_it_waits_for() -> None:
    ears, metrics = Ears(), gate_metrics()
    telling(ears, metrics).behind_gap(KEY, name(1), 7 << 64 | 3)
    (happening,) = ears.happenings
    assert (happening.kind, happening.permission_id) == (HappeningKind.NONCE_GAP, KEY.permission_id)
    assert "waits behind nonce 3 of its key" in happening.what
    assert 'sessiongate_nonce_gaps_total{chain="soneium"} 1.0' in metrics.render().decode()
