"""What is so on one chain: who sent what, where it is, and how each session stood at each block. Everything that a node
or a bundler is asked is looked up, however many operations there are."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from proxy.chain.blocks.header import Header
from proxy.chain.blocks.source import Transaction
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32, print_bytes
from proxy.userop.session_data import SessionData
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import key_of
from tests.app.live_node import a_chain, executed_by
from tests.bypass_list.desk import V07
from tests.chain.blocks.builders import FakeChain, Ledgerless, bundle_of, granted, touched
from tests.session.builders import enabled

_SEQUENCE = (1 << 64) - 1
PAST = "past the gate"
MOST_IN_A_BLOCK = 400
"""Operations, as far as the gas of a block goes on a busy chain."""


@dataclass(frozen=True)
class Act:
    """A session is granted or, if not `granted`, removed."""

    session: SessionData
    granted: bool
    enables: bool = False  # by an operation of its own, which brings its grant along

    @property
    def log(self) -> Ledgerless:
        """What the module says of it."""
        return (granted if self.granted else touched)(key_of(self.session))


@dataclass
class Sent:
    """An operation that a bundler has, when it may be mined, and where it is; `session` is what signed it."""

    op: UserOperation
    session: Hash32 | None
    due: float
    header: Header | None = None
    act: Act | None = None

    @property
    def nonce(self) -> tuple[int, int]:
        """Its key and its place there."""
        return self.op.nonce >> 64, self.op.nonce & _SEQUENCE


@dataclass
class World:
    """`limits`: how many uses of each session there may be, by permission id. `faults`: every broken promise;
    `history`: what happened to each session, for who looks for the cause of one."""

    random: Random
    chain: FakeChain = field(default_factory=a_chain)
    limits: dict[Hash32, int] = field(default_factory=dict)
    states: dict[Hash32, SessionState] = field(default_factory=dict)
    acts: dict[Hash32, Act] = field(default_factory=dict)  # what operations do beside using their session
    operations: dict[Hash32, Sent] = field(default_factory=dict)
    taken_by: dict[Hash32, str] = field(default_factory=dict)  # the bundler that may have the operation
    committed: Counter[Hash32] = field(default_factory=Counter)  # the uses that the gate has let out
    faults: list[str] = field(default_factory=list)
    history: dict[Hash32, list[str]] = field(default_factory=dict)
    reorganised: int = 0
    followed_from: int = 0  # the block at which the gate began this life
    _words: dict[bytes, Hash32] = field(default_factory=dict)
    _slots: set[tuple[Hash32, int]] = field(default_factory=set)
    _enabling: dict[Hash32, Hash32] = field(default_factory=dict)  # by session, what brings its grant along
    _waiting: dict[Hash32, Sent] = field(default_factory=dict)
    _waiting_of: Counter[Hash32] = field(default_factory=Counter)
    _asked: list[Act] = field(default_factory=list)  # by nobody that the gate sees
    _in_block: dict[Hash32, list[Hash32 | Act]] = field(default_factory=dict)
    _used: dict[Hash32, list[int]] = field(default_factory=dict)  # by session, the blocks of its uses
    _standing: dict[Hash32, list[tuple[int, bool]]] = field(default_factory=dict)  # from which block on in force or not
    _enabled: dict[Hash32, list[int]] = field(default_factory=dict)  # the blocks that used its enable nonce
    _nonces: dict[int, list[int]] = field(default_factory=dict)  # by nonce key, the blocks that used its nonces

    @property
    def head(self) -> int:
        return self.chain.headers[-1].number

    def introduce(self, grant: SessionData, limit: int) -> None:
        """It may be granted."""
        name, state = grant.permission_id, enabled(grant)
        self.limits[name], self.states[name] = limit, state
        self._words[name] = name
        for _, config_id in state.configs:
            self._words[config_id] = name

    def grant(self, grant: SessionData, limit: int) -> None:
        """In force for as long as this chain is."""
        self.introduce(grant, limit)
        self._standing[grant.permission_id] = [(0, True)]

    def named_in(self, call_data: bytes) -> Hash32 | None:
        """The session that a view is asked about."""
        for first in (4, 5):  # in an argument, or behind the mode of a signature
            for place in range(first, len(call_data) - 31, 32):
                if (found := self._words.get(call_data[place : place + 32])) is not None:
                    return found
        return None

    # how things stood after a block

    def used(self, session: Hash32, at: int) -> int:
        return bisect_right(self._used.get(session, ()), at)

    def next_nonce(self, key: int, at: int) -> int:
        return bisect_right(self._nonces.get(key, ()), at)

    def enable_nonce(self, session: Hash32, at: int) -> int:
        return bisect_right(self._enabled.get(session, ()), at)

    def is_in_force(self, session: Hash32, at: int) -> bool:
        return next((standing for since, standing in reversed(self._standing.get(session, ())) if since <= at), False)

    def transaction(self, name: Hash32) -> Transaction | None:
        """Each operation has one of its own, which goes by its name."""
        sent = self.operations.get(name)
        if sent is None or sent.header is None:
            return None
        return Transaction(to=V07.address, call_data=bundle_of(sent.op))

    # what happens

    def take(self, bundler: str, name: Hash32, op: UserOperation, session: Hash32 | None, due: float) -> None:
        """A bundler has it now."""
        self._note(session, f"{bundler} takes {print_bytes(name)}")
        if self.taken_by.setdefault(name, bundler) != bundler:
            self.faults.append(f"{print_bytes(name)} went to {self.taken_by[name]} and to {bundler}")
        if name in self.operations:
            return
        self.operations[name] = Sent(op, session, due, act=self.acts.get(name))
        self._wait(name, self.operations[name])
        self._look_for_rivals(name, self.operations[name])
        if session is None or bundler == PAST or (session, op.nonce) in self._slots:
            return
        self._slots.add((session, op.nonce))  # of several for one nonce only one can be mined
        self.committed[session] += 1
        if self.committed[session] > self.limits[session]:
            self.faults.append(f"{self.committed[session]} uses of {self.limits[session]} are out")

    def ask(self, act: Act) -> None:
        """It is in the next block, by an operation that is none of the gate's."""
        self._asked.append(act)

    @property
    def waiting(self) -> int:
        """How many may be mined yet."""
        return sum(sent.nonce[1] >= len(self._nonces.get(sent.nonce[0], ())) for sent in self._waiting.values())

    def mine(self, until: float) -> None:
        """A block with what is due."""
        asked, self._asked = self._asked, []
        entered = self._enter(asked, [name for name, sent in self._waiting.items() if sent.due <= until])
        self._put(entered, self.chain.mine(*(log for what in entered for log in self._logs(what))))

    def go_back(self, depth: int) -> None:
        """The newest blocks are gone; half of what they had is in the first of the others, the rest waits again."""
        gone, ancestor = self.chain.headers[-depth:], self.chain.headers[-depth - 1].number
        back = [what for header in gone for what in self._in_block.pop(header.hash, ())]
        for what in reversed(back):
            self._take_out(what)
        for standing in (self._standing[name] for name in self._touched(back)):
            del standing[bisect_right(standing, (ancestor, True)) :]
        acts = [what for what in back if isinstance(what, Act)]
        again = [what for what in back if not isinstance(what, Act) and self.random.random() < 0.5]
        entered = self._enter(acts, again, number=ancestor + 1)
        self.chain.reorganise(depth, [log for what in entered for log in self._logs(what)])
        self._put(entered, self.chain.headers[-depth])
        self.chain.mine()
        self.reorganised += 1

    def _touched(self, back: Iterable[Hash32 | Act]) -> set[Hash32]:
        acts = (what if isinstance(what, Act) else self.operations[what].act for what in back)
        return {act.session.permission_id for act in acts if act is not None}

    def _take_out(self, what: Hash32 | Act) -> None:
        if isinstance(what, Act):
            return
        sent = self.operations[what]
        assert sent.header is not None
        number = self._nonces[sent.nonce[0]].pop()
        assert number == sent.header.number
        self._note(sent.session, f"{print_bytes(what)} is not in {number} any more")
        if sent.session is not None:
            self._used[sent.session].remove(number)
        if sent.act is not None and sent.act.enables:
            self._enabled[sent.act.session.permission_id].remove(number)
        sent.header = None
        self._wait(what, sent)

    def _enter(self, acts: Iterable[Act], names: list[Hash32], number: int | None = None) -> list[Hash32 | Act]:
        """What a block of this number, the next one unless said otherwise, can have in it, in its order; the rest waits
        on."""
        number = self.head + 1 if number is None else number
        self.random.shuffle(names)  # who competes for a nonce does so by chance
        entered: list[Hash32 | Act] = []
        all_of_it: list[Hash32 | Act] = [*acts, *names]
        for what in sorted(all_of_it, key=self._turn):
            if not isinstance(what, Act) and len(entered) >= MOST_IN_A_BLOCK:
                continue
            act = what if isinstance(what, Act) else self.operations[what].act
            if not isinstance(what, Act) and self.is_enabled_by_another(act, number):
                self._drop(what)
                continue
            if act is not None and not self._may_be_made(act, number):
                if isinstance(what, Act):
                    self._asked.append(what)
                continue
            if not isinstance(what, Act) and not self._use(what, number):
                continue
            if act is not None:
                self._make(act, number)
            entered.append(what)
        return entered

    def is_enabled_by_another(self, act: Act | None, number: int) -> bool:
        """Whether the enable nonce that it would use is used."""
        return act is not None and act.enables and self.enable_nonce(act.session.permission_id, number) > 0

    def _look_for_rivals(self, name: Hash32, sent: Sent) -> None:
        """Of those that bring one grant along by one enable nonce no two may be out."""
        if sent.act is None or not sent.act.enables:
            return
        session = sent.act.session.permission_id
        first = self._enabling.setdefault(session, name)
        if first != name:
            self.faults.append(f"{print_bytes(first)} and {print_bytes(name)} bring one grant along, and both are out")

    def _drop(self, name: Hash32) -> None:
        """Whoever had it has it no more: it can never be mined."""
        sent = self._waiting.pop(name)
        if sent.session is not None:
            self._waiting_of[sent.session] -= 1
        self._note(sent.session, f"{print_bytes(name)} is dropped")

    def _turn(self, what: Hash32 | Act) -> tuple[int, int]:
        """Grants come first and removals last."""
        sent = None if isinstance(what, Act) else self.operations[what]
        act = what if isinstance(what, Act) else None if sent is None else sent.act
        return 1 if act is None else 0 if act.granted else 2, 0 if sent is None else sent.nonce[1]

    def _may_be_made(self, act: Act, number: int) -> bool:
        """Nothing is removed of which something waits: that would wait for ever."""
        name = act.session.permission_id
        return act.granted or (self.is_in_force(name, number) and not self._waiting_of[name])

    def _use(self, name: Hash32, number: int) -> bool:
        """Whether it can be in this block, and is."""
        sent = self._waiting[name]
        key, place = sent.nonce
        if place != len(self._nonces.get(key, ())):
            return False
        if sent.session is not None:
            enables = sent.act is not None and sent.act.enables
            if not enables and not self.is_in_force(sent.session, number):
                return False
            insort(self._used.setdefault(sent.session, []), number)
            self._waiting_of[sent.session] -= 1
        self._nonces.setdefault(key, []).append(number)
        return True

    def _wait(self, name: Hash32, sent: Sent) -> None:
        self._waiting[name] = sent
        if sent.session is not None:
            self._waiting_of[sent.session] += 1

    def _make(self, act: Act, number: int) -> None:
        name = act.session.permission_id
        self._standing.setdefault(name, []).append((number, act.granted))
        if act.enables:
            self._enabled.setdefault(name, []).append(number)
        self._note(name, f"in {number} {'granted' if act.granted else 'removed'}")

    def _logs(self, what: Hash32 | Act) -> Iterator[Ledgerless]:
        if isinstance(what, Act):
            yield what.log
            return
        sent = self.operations[what]
        if sent.act is not None:
            yield replace(sent.act.log, transaction=what)
        yield replace(executed_by(sent.op), transaction=what)

    def _put(self, entered: list[Hash32 | Act], header: Header) -> None:
        self._in_block[header.hash] = entered
        for what in entered:
            if not isinstance(what, Act):
                sent = self._waiting.pop(what)
                sent.header = header
                self._note(sent.session, f"{print_bytes(what)} is in {header.number}")

    def _note(self, session: Hash32 | None, what: str) -> None:
        if session is not None:
            self.history.setdefault(session, []).append(f"{self.head}: {what}")

    def mined(self) -> Iterator[tuple[Hash32, int, int]]:
        """How often each session that there is was used, and how often through the gate."""
        through: Counter[Hash32] = Counter()
        for name, sent in self.operations.items():
            if sent.session is not None and sent.header is not None and self.taken_by[name] != PAST:
                through[sent.session] += 1
        head = self.head
        return ((name, self.used(name, head), through[name]) for name in self.limits if self.is_in_force(name, head))
