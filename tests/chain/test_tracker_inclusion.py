"""What a bundler knows of an operation's block counts, also where it has no receipt; that it knows of none does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from proxy.chain.receipts import read_receipt, receipt_of_inclusion
from proxy.chain.tracker import Mined, Tracker
from proxy.errors import UpstreamUnavailable
from proxy.userop.primitives import Hash32, print_bytes
from tests.chain.builders import accepted
from tests.chain.test_tracker import IN_FORCE, KEY, ONE_USE, USES, Scene

HASH = Hash32(b"\x05" * 32)
BLOCK_HASH = Hash32(b"\x0b" * 32)
FOUND = {"blockNumber": "0xc8", "blockHash": print_bytes(BLOCK_HASH), "transactionHash": "0x01", "userOperation": {}}


@dataclass
class Asked(Scene):
    """A scene whose bundler is asked by hash too."""

    known: dict[Hash32, Mapping[str, object] | Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tracker = Tracker(
            registry=self.registry,
            ledger=self.ledger,
            keeper=self.shelf,
            receipt=self.bundler.receipt,
            clock=self.clock,
            patience=self.patience,
            inclusion=self._by_hash,
        )
        self.registry.put(IN_FORCE)

    async def _by_hash(self, user_op_hash: Hash32) -> Mapping[str, object] | None:
        found = self.known.get(user_op_hash)
        if isinstance(found, Exception):
            raise found
        return None if found is None else receipt_of_inclusion(found, user_op_hash)


async def test_after_a_restart_an_operation_in_a_block_is_counted_before_the_first_verdict() -> None:
    scene = Asked()
    operation = accepted(1, KEY, ONE_USE)
    scene.known[operation.user_op_hash] = FOUND
    scene.tracker.restore([operation])
    await scene.tracker.reconciled(KEY)
    assert (scene.used(), scene.ledger.in_flight(USES), len(scene.tracker)) == (1, 0, 0)


@pytest.mark.parametrize(
    "answer", [None, {**FOUND, "blockNumber": None}, UpstreamUnavailable("gone", may_have_been_sent=True)]
)
async def test_after_a_restart_an_operation_of_which_no_block_is_known_stays_in_flight(answer: object) -> None:
    scene = Asked()
    operation = accepted(1, KEY, ONE_USE)
    if answer is not None:
        scene.known[operation.user_op_hash] = answer  # type: ignore[assignment]  # one of the answers
    scene.tracker.restore([operation])
    await scene.tracker.reconciled(KEY)
    assert (scene.used(), scene.ledger.in_flight(USES), len(scene.tracker)) == (0, 1, 1)


@pytest.mark.parametrize(("found", "used"), [(FOUND, 1), (None, 0)])
async def test_before_an_operation_counts_as_dropped_its_block_is_asked_for(
    found: dict[str, object] | None, used: int
) -> None:
    scene = Asked()
    user_op_hash = await scene.accept(1, ONE_USE)
    if found is not None:
        scene.known[user_op_hash] = found
    await scene.later(scene.patience.give_up + 1_000.0)
    assert (scene.used(), scene.ledger.in_flight(USES), len(scene.tracker)) == (used, 0, 0)


def test_a_block_stands_for_a_receipt_of_success() -> None:
    receipt = receipt_of_inclusion(FOUND, HASH)
    assert receipt is not None
    assert read_receipt(receipt) == Mined(user_op_hash=HASH, success=True, block=200, block_hash=BLOCK_HASH)
    assert read_receipt(receipt_of_inclusion({**FOUND, "blockNumber": "200"}, HASH) or {}) is None
