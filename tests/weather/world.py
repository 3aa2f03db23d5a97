"""What is so on one chain: who sent what, where it is, and what each session has used at each block. Everything that a
node or a bundler is asked is looked up, however many operations there are."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random

from proxy.chain.blocks.header import Header
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32, print_bytes
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.app.live_node import a_chain, executed_by
from tests.chain.blocks.builders import FakeChain
from tests.session.builders import enabled


@dataclass
class Sent:
    """An operation that a bundler has, when it may be mined, and where it is."""

    op: UserOperation
    session: Hash32
    due: float
    header: Header | None = None


@dataclass
class World:
    """`limits`: how many uses of each session there may be, by permission id. `faults`: every broken promise."""

    random: Random
    chain: FakeChain = field(default_factory=a_chain)
    limits: dict[Hash32, int] = field(default_factory=dict)
    states: dict[Hash32, SessionState] = field(default_factory=dict)
    operations: dict[Hash32, Sent] = field(default_factory=dict)
    taken_by: dict[Hash32, str] = field(default_factory=dict)  # the bundler that may have the operation
    committed: Counter[Hash32] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    reorganised: int = 0
    _words: dict[bytes, Hash32] = field(default_factory=dict)
    _waiting: dict[Hash32, Sent] = field(default_factory=dict)
    _in_block: dict[Hash32, list[Hash32]] = field(default_factory=dict)
    _used: dict[Hash32, list[int]] = field(default_factory=dict)  # by session, the blocks of its uses
    _nonces: dict[int, int] = field(default_factory=dict)  # by nonce key, the block that used its first nonce

    def grant(self, grant: SessionData, limit: int) -> None:
        """In force for as long as this chain is."""
        name, state = grant.permission_id, enabled(grant)
        self.limits[name], self.states[name] = limit, state
        self._words[name] = name
        for _, config_id in state.configs:
            self._words[config_id] = name

    def named_in(self, call_data: bytes) -> Hash32 | None:
        """The session that a view is asked about."""
        for first in (4, 5):  # in an argument, or behind the mode of a signature
            for place in range(first, len(call_data) - 31, 32):
                if (found := self._words.get(call_data[place : place + 32])) is not None:
                    return found
        return None

    def used(self, session: Hash32, at: int) -> int:
        """After the block `at`."""
        return bisect_right(self._used.get(session, ()), at)

    def is_used(self, nonce_key: int, at: int) -> bool:
        return self._nonces.get(nonce_key, at + 1) <= at

    # what happens

    def take(self, bundler: str, name: Hash32, op: UserOperation, session: Hash32, due: float) -> None:
        """A bundler has it now."""
        if self.taken_by.setdefault(name, bundler) != bundler:
            self.faults.append(f"{print_bytes(name)} went to {self.taken_by[name]} and to {bundler}")
        if name in self.operations:
            return
        sent = self.operations[name] = self._waiting[name] = Sent(op, session, due)
        self.committed[session] += 1
        if self.committed[session] > self.limits[sent.session]:
            self.faults.append(f"{self.committed[session]} uses of {self.limits[session]} are out")

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def mine(self, until: float) -> None:
        """A block with what is due."""
        self._put([name for name, sent in self._waiting.items() if sent.due <= until])

    def go_back(self, depth: int) -> None:
        """The newest blocks are gone; half of what they had is in the first of the others, the rest waits again."""
        gone = self.chain.headers[-depth:]
        back = [name for header in gone for name in self._in_block.pop(header.hash, ())]
        for name in back:
            sent = self.operations[name]
            assert sent.header is not None
            self._used[sent.session].remove(sent.header.number)
            del self._nonces[sent.op.nonce >> 64]
            sent.header = None
            self._waiting[name] = sent
        again = [name for name in back if self.random.random() < 0.5]
        self.chain.reorganise(depth, [executed_by(self.operations[name].op) for name in again])
        self._enter(again, self.chain.headers[-depth])
        self.chain.mine()
        self.reorganised += 1

    def _put(self, names: list[Hash32]) -> None:
        self._enter(names, self.chain.mine(*(executed_by(self.operations[name].op) for name in names)))

    def _enter(self, names: Iterable[Hash32], header: Header) -> None:
        for name in names:
            sent = self._waiting.pop(name)
            sent.header = header
            self._in_block.setdefault(header.hash, []).append(name)
            insort(self._used.setdefault(sent.session, []), header.number)
            self._nonces[sent.op.nonce >> 64] = header.number

    def mined(self) -> Iterator[tuple[Hash32, int]]:
        """How often each session was used that there is."""
        head = self.chain.headers[-1].number
        return ((name, self.used(name, head)) for name in self.limits)
