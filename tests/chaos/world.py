"""A bundler with a chain behind it: it takes operations, loses some answers, and mines what it took in its own time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from proxy.ledger.daybook import daybook_of
from proxy.userop.primitives import Hash32, parse_hash, print_bytes
from proxy.userop.user_operation import parse_user_operation
from tests.bypass_list.desk import V07, reading
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler

LOST = (
    Answer(raw=b"", status=502),
    Answer(error={"code": -32603, "message": "internal error"}),
    Answer(raw=b'{"error": "timed out"}', status=504),
    Answer(error={"code": -32603, "message": "waiting for the receipt timed out"}, status=500),
)
"""What says nothing of an operation."""


@dataclass
class Spending:
    """One session on the chain, and what two rules allow it: so much spent, so many operations."""

    limit: int
    most_spent: int | None = None
    most_operations: int | None = None
    reverting: bool = False  # some of its operations revert, the same ones wherever they are mined
    used: int = 0
    pending: dict[Hash32, int] = field(default_factory=dict)  # by hash, the amounts that may still be mined
    mined: dict[Hash32, int] = field(default_factory=dict)

    @property
    def committed(self) -> int:
        return self.used + sum(self.pending.values())

    def reverts(self, user_op_hash: Hash32) -> bool:
        return self.reverting and user_op_hash[0] % 5 < 2

    @property
    def spent(self) -> int:
        """What a rule has counted: a reverted operation gave its value back."""
        return sum(amount for user_op_hash, amount in self.mined.items() if not self.reverts(user_op_hash))

    def faults(self) -> Iterator[str]:
        if self.committed > self.limit:
            yield f"{self.committed} of {self.limit} may be spent"
        may_be_spent, operations = self.spent + sum(self.pending.values()), len(self.mined) + len(self.pending)
        if self.most_spent is not None and may_be_spent > self.most_spent:
            yield f"{may_be_spent} of the {self.most_spent} of a rule may be spent"
        if self.most_operations is not None and operations > self.most_operations:
            yield f"there may be {operations} operations, of a rule's {self.most_operations}"


@dataclass
class World:
    """`faults` lists every broken promise; `database` is where the gate has to have written before it sends."""

    random: Random
    sessions: Mapping[Hash32, Spending]  # by permission id
    database: Path
    faults: list[str] = field(default_factory=list)
    arrived: int = 0
    troubled: bool = True

    def bundler(self) -> RecordingBundler:
        answers: Any = {"eth_sendUserOperation": self._submit, "eth_getUserOperationReceipt": self._receipt}
        return RecordingBundler(chain_id=1, answers=answers)

    async def _submit(self, recorded: Recorded) -> Answer:
        op = parse_user_operation(recorded.params[0], V07.version)
        operation = reading(op)
        user_op_hash = operation.user_op_hash
        assert operation.claim is not None
        session = self.sessions[operation.claim.envelope.permission_id]
        self.arrived += 1
        if not is_on_disk(self.database, user_op_hash):
            self.faults.append(f"{print_bytes(user_op_hash)} was sent before its reservation was on disk")
        luck = self.random.random() if self.troubled else 1.0
        if luck < 0.15:
            return Answer(error={"code": -32500, "message": "AA10 a bundler's whim"})
        if user_op_hash not in session.mined:
            session.pending[user_op_hash] = _amount(operation.calls[0].data)
        self.faults += session.faults()
        if luck < 0.25:
            return self.random.choice(LOST)  # it was taken, and the answer does not say so
        if luck < 0.28:
            return Answer(error={"code": -32000, "message": "already known"})
        if luck < 0.35:
            await asyncio.sleep(0.05)
        return Answer(result=print_bytes(user_op_hash))

    async def _receipt(self, recorded: Recorded) -> Answer:
        if self.troubled and self.random.random() < 0.5:
            return self.random.choice(LOST)  # nobody's silence ends anything
        user_op_hash = parse_hash(recorded.params[0], "hash")
        for session in self.sessions.values():
            if user_op_hash in session.mined:
                block = {"blockNumber": "0x10", "blockHash": "0x" + "bb" * 32}
                success = not session.reverts(user_op_hash)
                return Answer(result={"userOpHash": print_bytes(user_op_hash), "success": success, "receipt": block})
        return Answer(result=None)

    def mine(self, share: float) -> None:
        """Mine some of what is pending; the chain itself would refuse what passes the limit."""
        for session in self.sessions.values():
            for user_op_hash in list(session.pending):
                if self.random.random() < share:
                    amount = session.pending.pop(user_op_hash)
                    session.mined[user_op_hash] = amount
                    session.used += amount
                    if session.used > session.limit:
                        self.faults.append(f"{session.used} of {session.limit} was spent")


def is_on_disk(database: Path, user_op_hash: Hash32) -> bool:
    """Whether the gate would find this operation in flight, were it killed now, or mined."""
    if user_op_hash in daybook_of(database).read_bytes():  # first: what is entered leaves it
        return True
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as reader:
        held = "SELECT 1 FROM operations_in_flight WHERE user_op_hash = ?"
        # it was sent once more, and the first time it was sent has been mined since
        mined = "SELECT 1 FROM operations_ended WHERE user_op_hash = ? AND success IS NOT NULL"
        return any(reader.execute(found, (user_op_hash,)).fetchone() is not None for found in (held, mined))


def _amount(call_data: bytes) -> int:
    """The amount of transfer(address,uint256)."""
    return int.from_bytes(call_data[36:68], "big")
