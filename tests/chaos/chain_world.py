"""A bundler and a node of one chain, which goes back now and then: what the gate is told of its operations is honest,
late, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from proxy.chain.blocks.header import Header
from proxy.userop.primitives import Hash32, parse_hash, print_bytes, print_uint
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation, parse_user_operation
from tests.app.live_node import LiveNode
from tests.bypass_list.desk import V07, reading
from tests.chaos.journal import Journal
from tests.chaos.world import LOST
from tests.edge.recording_bundler import Answer, Recorded, RecordingBundler

_MOST_SHOWN = 300


@dataclass
class OnChain:
    """An operation, and where it is; nowhere while it waits at the bundler."""

    op: UserOperation
    session: Hash32
    header: Header | None = None
    is_past: bool = False  # the gate


@dataclass
class BalancedNode(LiveNode):
    """Several backends: every second answer is of one that is `lagging` so many blocks behind."""

    lagging: int = 0
    journal: Journal | None = None
    _is_lagging: bool = False

    def _answer(self, method: str, params: list[Any]) -> dict[str, object]:
        if self.lagging:
            self._is_lagging = not self._is_lagging
            self.behind = self.lagging if self._is_lagging else 0
        answer = super()._answer(method, params)
        if self.journal is not None:
            self.journal.note("node", method, _shown(params), "of", _shown(self.chain.headers[-1 - self.behind].hash))
            self.journal.note("  says", _shown(answer))
        return answer


@dataclass
class ChainWorld:
    """`limits` are uses by permission id: what the chain itself allows a session, or a rule. `faults` lists every
    broken promise; `is_on_disk` tells whether the gate has written down an operation, as it has to before it sends."""

    random: Random
    limits: Mapping[Hash32, int]
    is_on_disk: Callable[[Hash32], bool]
    journal: Journal | None = None
    live: BalancedNode = field(default_factory=lambda: BalancedNode(bundled=True))
    operations: dict[Hash32, OnChain] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    arrived: int = 0
    reorganised: int = 0
    came_back: int = 0  # operations whose block was taken back
    troubled: bool = True

    def __post_init__(self) -> None:
        self.live.journal = self.journal

    def grant(self, grants: Iterable[SessionData]) -> None:
        for grant in grants:
            self.live.grant(grant)
        self.live.chain.mine(blocks=12)  # no reorganisation goes back so far

    def bundler(self) -> RecordingBundler:
        answers: Any = {"eth_sendUserOperation": self._submit, "eth_getUserOperationReceipt": self._receipt}
        return RecordingBundler(chain_id=1, answers=answers)

    async def _submit(self, recorded: Recorded) -> Answer:
        return self.take(parse_user_operation(recorded.params[0], V07.version))

    async def _receipt(self, recorded: Recorded) -> Answer:
        return self.receipt(parse_hash(recorded.params[0], "hash"))

    def take(self, op: UserOperation) -> Answer:
        """What the bundler answers to an operation that arrives."""
        operation = reading(op)
        assert operation.claim is not None
        name, session = operation.user_op_hash, operation.claim.envelope.permission_id
        self.arrived += 1
        if not self.is_on_disk(name):
            self._fault(f"{print_bytes(name)} was sent before its reservation was on disk")
        luck = self.random.random() if self.troubled else 1.0
        if luck < 0.15:
            self._note("refused", print_bytes(name), "of", _shown(session))
            return Answer(error={"code": -32500, "message": "AA10 a bundler's whim"})
        self.operations.setdefault(name, OnChain(op, session))
        out = self.committed(session)
        self._note("taken", print_bytes(name), "of", _shown(session), f"which has {out} uses out")
        if out > self.limits[session]:
            self._fault(f"{out} uses of {self.limits[session]} are out")
        if luck < 0.25:
            return self.random.choice(LOST)  # it was taken, and the answer does not say so
        return Answer(result=print_bytes(name))

    def receipt(self, name: Hash32) -> Answer:
        """What the bundler answers to who asks for one."""
        if self.troubled and self.random.random() < 0.5:
            return self.random.choice(LOST)
        found = self.operations.get(name)
        if found is None or found.header is None:
            return Answer(result=None)
        block = {"blockNumber": print_uint(found.header.number), "blockHash": print_bytes(found.header.hash)}
        return Answer(result={"userOpHash": print_bytes(name), "success": True, "receipt": block})

    def _note(self, *words: object) -> None:
        if self.journal is not None:
            self.journal.note(*words)

    def _fault(self, told: str) -> None:
        self.faults.append(told)
        if self.journal is not None:
            self.journal.fault(told)

    def go_past(self, op: UserOperation) -> None:
        """A bundler has it that the gate does not know."""
        operation = reading(op)
        assert operation.claim is not None
        session = operation.claim.envelope.permission_id
        self.operations[operation.user_op_hash] = OnChain(op, session, is_past=True)

    def committed(self, session: Hash32) -> int:
        """Uses by the gate that are made, or may still be."""
        return sum(each.session == session for each in self._ours())

    def used(self, session: Hash32) -> int:
        """Those that are made."""
        return sum(each.header is not None and each.session == session for each in self._ours())

    def _ours(self) -> Iterable[OnChain]:
        return (each for each in self.operations.values() if not each.is_past)

    def mine(self, share: float) -> None:
        """A block with some of what waits."""
        waiting = [each for each in self.operations.values() if each.header is None]
        chosen = [each for each in waiting if self.random.random() < share]
        self.live.mine(*(each.op for each in chosen))
        for each in chosen:
            each.header = self.live.chain.headers[-1]
        self._note_newest(1)

    def go_back(self, depth: int) -> None:
        """The newest blocks are gone; some of what they had is in the first of the others, and the rest waits again."""
        gone = {header.hash for header in self.live.chain.headers[-depth:]}
        back = [each for each in self.operations.values() if each.header is not None and each.header.hash in gone]
        again = [each for each in back if self.random.random() < 0.5]
        self.live.reorganise(depth, *(each.op for each in again))
        headers = self.live.chain.headers
        for each in back:
            each.header = None
        for each in again:
            each.header = headers[-1 - depth]
        self._note(f"the newest {depth} blocks are gone")
        self._note_newest(depth + 1)
        self.reorganised += 1
        self.came_back += len(back)

    def _note_newest(self, blocks: int) -> None:
        for header in self.live.chain.headers[-blocks:]:
            has = [name for name, each in self.operations.items() if each.header == header]
            self._note("block", header.number, print_bytes(header.hash), *map(print_bytes, has))

    def be_troubled(self) -> None:
        """For one life of the gate: the node may be dead, or behind, or several of which one is."""
        luck = self.random.random()
        self.live.refuses = luck < 0.15
        self.live.behind = 1 if 0.15 <= luck < 0.35 else 0
        self.live.lagging = 3 if 0.35 <= luck < 0.6 else 0
        state = f"refuses: {self.live.refuses}, behind: {self.live.behind}, lagging: {self.live.lagging}"
        self._note("node", state)

    def be_quiet(self) -> None:
        self.troubled = self.live.refuses = False
        self.live.behind = self.live.lagging = 0


def _shown(said: object) -> str:
    """Short enough for a line of a journal."""
    text = print_bytes(said) if isinstance(said, bytes) else str(said)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
