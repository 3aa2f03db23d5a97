"""Every end of an operation is told once, with what is known of it; one that was let go before is told of apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.app.telling import Telling
from proxy.chain.settlement.ends import End
from proxy.happening import Happening, HappeningKind
from proxy.ledger.operations import Cause, Ended, Evidence, Mined
from proxy.ports import OperationEnd
from tests.chain.builders import accepted
from tests.chain.settlement.builders import KEY, name
from tests.edge.builders import gate_metrics


@dataclass
class Ears:
    ends: list[OperationEnd] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)

    def operation_ended(self, end: OperationEnd) -> None:
        self.ends.append(end)

    def raise_(self, happening: Happening) -> None:
        self.happenings.append(happening)


MINED = Mined(user_op_hash=name(1), success=False, block=7, gas_used=5, gas_cost=50, revert_reason=b"\x01\x02")


def telling(ears: Ears) -> Telling:
    return Telling("soneium", recorder=ears, metrics=gate_metrics(), alerts=ears, clock=lambda: 9.0)  # type: ignore[arg-type]  # hears the rest of nothing


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


def test_a_use_past_the_gate_is_told_with_its_session() -> None:
    ears = Ears()
    telling(ears).used_past_gate(KEY)
    (happening,) = ears.happenings
    assert (happening.kind, happening.account, happening.permission_id) == (
        HappeningKind.USE_PAST_GATE,
        KEY.account,
        KEY.permission_id,
    )
