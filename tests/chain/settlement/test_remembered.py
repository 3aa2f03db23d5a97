"""What has ended is remembered for as long as the chain could take it back, and forgotten a part after the other."""

from __future__ import annotations

from proxy.chain.settlement.remembered import Remembered
from proxy.ledger.operations import Cause, EndedName
from proxy.session.counters import HoldName
from proxy.userop.primitives import Hash32
from tests.chain.settlement.builders import KEY, block

SECONDS = 900.0
FEW = 2_000


def ended(number: int, at: float) -> EndedName:
    where = block(number // 100)
    return EndedName(
        name=HoldName(Hash32(number.to_bytes(32, "big")), KEY),
        chain_id=KEY.chain_id,
        ended_at=at,
        cause=Cause.MINED,
        block=where.number,
        block_hash=where.hash,
    )


def remembering(many: int, at: float = 0.0) -> Remembered:
    remembered = Remembered(SECONDS)
    for number in range(many):
        remembered.remember(ended(number, at))
    return remembered


def test_what_is_old_is_forgotten_however_much_it_is_and_nothing_else() -> None:
    remembered = remembering(FEW)
    remembered.remember(ended(FEW, 10.0))
    while remembered.forget_old(SECONDS + 5.0):
        pass
    assert [remembered.mined(ended(number, 0.0).name.user_op_hash) is not None for number in range(FEW + 1)] == [
        *([False] * FEW),
        True,
    ]


def test_no_more_is_forgotten_at_once_where_more_is_old() -> None:
    forgotten = []
    for many in (FEW, 4 * FEW):
        remembered = remembering(many)
        assert remembered.forget_old(SECONDS)
        forgotten.append(many - len(remembered))
    assert forgotten[0] == forgotten[1] > 0


def test_what_is_old_gets_less_with_each_that_ends() -> None:
    remembered = remembering(FEW)
    for number in range(FEW, 2 * FEW):
        remembered.remember(ended(number, SECONDS + 1.0))
    assert len(remembered) == FEW
    assert remembered.mined(ended(FEW - 1, 0.0).name.user_op_hash) is None
