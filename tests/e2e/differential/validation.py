"""Operations put to accounts as the entry point does, and to the gate's judging: no bundler, nothing between the two.

Several operations, of one session too, are judged at once; the chain then gets those that were let through in another
order.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Final, NamedTuple

from coincurve import PrivateKey

from proxy.admission import Admission, Judgement, RecentReads, Sources, Terms
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.judge.verdict import Reject
from proxy.ledger.memory import MemoryLedger
from proxy.session.addresses import SESSION_MODULES, name_of_policy
from proxy.session.known import KnownSession, Status
from proxy.session.registry import Registry
from proxy.userop.session_data import SessionData
from tests.e2e.differential.accounts import SHAPES, Accounts
from tests.e2e.differential.agreement import Answer, disagreement
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.draft import Attempt
from tests.e2e.differential.enabling import an_enable
from tests.e2e.differential.families import FAMILIES, MORE, THRESHOLDS, make_grant
from tests.e2e.differential.grants import Grant
from tests.e2e.differential.operations import a_use
from tests.e2e.differential.owner import enable_sessions
from tests.e2e.differential.wallet import (
    V07,
    Wallet,
    rpc,
)
from tests.e2e.rig import CHAIN_ID, Rig

GROUP: Final = 12
OF_ONE_SESSION: Final = 6  # of a group, sent at once
ENABLING: Final = 2  # of a group: they bring a grant along that nobody has heard of
ALL_FAMILIES: Final = (*FAMILIES, *MORE, *THRESHOLDS)
_HIDDEN: Final = bytes.fromhex("acfdb444")  # Safe7579 answers so to whatever a validator reverted with
_TIGHT: Final = frozenset(
    {"narrow", "fallback alone", "sponsored in vain", "expression"}
)  # sessions whose limits few operations reach


@dataclass
class Met:
    """What the operations of seeded runs were examples of, and how often."""

    families: Tally[tuple[str, str]] = field(default_factory=Tally)  # by shape of account and terms
    policies: Tally[str] = field(default_factory=Tally)  # of the sessions
    taken: Tally[tuple[str, str]] = field(default_factory=Tally)  # by the chain: by shape, USE or ENABLE

    def note(self, grant: Grant) -> None:
        """An operation of this session, whichever it claims."""
        self.families[grant.wallet.shape, grant.name] += 1
        self.policies.update(policies_of(grant.session))

    def note_taken(self, attempt: Attempt) -> None:
        self.taken[attempt.grant.wallet.shape, "ENABLE" if attempt.enables else "USE"] += 1


def policies_of(session: SessionData) -> set[str]:
    """Their names."""
    of_actions = (policy for each in session.actions for policy in each.policies)
    return {name_of_policy(each.policy) for each in (*session.user_op_policies, *of_actions)}


@dataclass
class Validations:
    """One seeded run over some accounts. The judging is the gate's own, with the chain's node to ask."""

    accounts: Accounts
    wallets: Sequence[Wallet]
    seed: int
    grants: list[Grant] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    heard: Tally[str] = field(default_factory=Tally)
    met: Met = field(default_factory=Met)
    in_flight: int = 0  # refused for what the chain had not counted yet

    def __post_init__(self) -> None:
        self.rng = Dice(self.seed)
        self.salts = count(30_000)
        self.stranger = PrivateKey(self.rng.randbytes(32))
        self.node = Node(self.accounts.rig.node)
        self.forget()

    def forget(self) -> None:
        """The gate begins anew: whatever it knows from here on it has read."""
        self.registry, self.ledger = Registry(), MemoryLedger()
        reader = NodeReader(self.node, self.registry, _keep, time.time, ledger=self.ledger)
        sources = Sources(
            terms=Terms(chain_id=CHAIN_ID, session_modules=frozenset(SESSION_MODULES), fresh_seconds=0.0),
            registry=self.registry,
            ledger=self.ledger,
            settlement=_settled,
            reader=reader,
            clock=time.time,
            reads=RecentReads(0.0, time.monotonic),
        )
        self.admission = Admission(sources)

    def grant(self) -> None:
        """On each account a session of every family, made by the account itself."""
        now = int(rpc(self.accounts.rig.node, "eth_getBlockByNumber", "latest", False)["result"]["timestamp"], 16)
        keys = [PrivateKey(self.rng.randbytes(32)) for _ in range(3)]
        self.grants = [make_grant(name, wallet, now, keys) for wallet in self.wallets for name in ALL_FAMILIES]
        self.accounts.by_accounts((grant.wallet, enable_sessions(grant.session)) for grant in self.grants)

    async def run(self, operations: int) -> None:
        try:
            for _ in range(operations // GROUP):
                if self.rng.random() < 0.15:
                    self.forget()
                await self._group()
        finally:
            await self.node.close()

    async def _group(self) -> None:
        attempts = list(self._attempts())
        judged = await asyncio.gather(*(self.admission.judge(each.op, V07) for each in attempts))
        pairs = list(zip(attempts, judged, strict=True))
        self.rng.shuffle(pairs)
        refused = [pair for pair in pairs if isinstance(pair[1].verdict, Reject)]
        before = [self.accounts.validate(attempt.op) for attempt, _ in refused]
        self.in_flight += sum(answer.refused is None for answer in before)
        for attempt, judgement in pairs:
            if not isinstance(judgement.verdict, Reject):
                answer = self.accounts.validate(attempt.op)
                self._compare(attempt, judgement, [answer])
                if answer.refused is None:
                    self.accounts.take(attempt.op)
                    attempt.grant.took(attempt.orders)
                    attempt.taken()
                    self.met.note_taken(attempt)
                self._settle(judgement, counted=answer.refused is None, enabled=attempt.enables)
        for (attempt, judgement), at_first in zip(refused, before, strict=True):
            self._compare(attempt, judgement, [self.accounts.validate(attempt.op), at_first])

    def _attempts(self) -> Iterator[Attempt]:
        """Several uses of one session, one of each of others, in turn, and some that enable sessions."""
        tight = self.rng.random() < 0.8
        often = self.rng.choice([each for each in self.grants if not tight or each.name in _TIGHT])
        dealt = [self._dealt() for _ in range(GROUP - OF_ONE_SESSION - ENABLING)]
        for grant in [often] * OF_ONE_SESSION + dealt:
            others = [each for each in self.grants if each.wallet is grant.wallet and each is not grant]
            self.met.note(grant)
            yield a_use(self.rng, grant, self.rng.choice(others), self.stranger)
        for _ in range(ENABLING):
            yield self._enabling()

    def _dealt(self) -> Grant:
        """Each shape of account with each family before any comes again."""
        shape, _, family = self.rng.deal(f"{shape}: {family}" for shape in SHAPES for family in ALL_FAMILIES).partition(
            ": "
        )
        return self.rng.choice([each for each in self.grants if (each.wallet.shape, each.name) == (shape, family)])

    def _enabling(self) -> Attempt:
        shape = self.rng.deal(SHAPES)
        model = self.rng.choice([each for each in self.grants if each.wallet.shape == shape])
        fresh = model.with_salt(next(self.salts))
        self.met.note(fresh)
        attempt = an_enable(self.rng, fresh, self.stranger)

        def taken() -> None:
            attempt.taken()
            self.grants.append(fresh)

        return replace(attempt, taken=taken)

    def _settle(self, judgement: Judgement, *, counted: bool, enabled: bool) -> None:
        """The block that has it was read; a session that was enabled on the way is read when it is used."""
        reservation = judgement.reservation
        assert reservation is not None
        self.ledger.release(reservation.name)
        known = None if reservation.session is None else self.registry.get(reservation.session)
        if not counted or known is None or known.state is None:
            return
        state = None if enabled else known.state.with_charges(reservation.charges)
        self.registry.put(replace(known, status=Status.IN_FORCE, state=state))

    def _compare(self, attempt: Attempt, judgement: Judgement, answers: Sequence[Answer]) -> None:
        """With what the account says in the end. What was refused may have met another reason before the rest of its
        group was counted, and the gate saw it in between: it names either."""
        row, (answer, *earlier) = _row(judgement), answers
        if answer.refused is not None and answer.why[1][:4] == _HIDDEN and row["verdict"] == "reject":
            self.heard["hidden by its account"] += 1
            return
        self.heard[answer.why[0] if answer.refused else "taken"] += 1
        moments = [answer, *(each for each in earlier if answer.refused and each.refused)]
        problems = [disagreement(attempt.label, each, row, mined=True) for each in moments]
        if None not in problems:
            kind = type(attempt.grant.wallet).__name__
            self.found.append(f"{kind}, {attempt.label}: {problems[0]}\n  gate: {row}\n  account: {answer.refused}")


async def _keep(_session: KnownSession) -> None:
    return None


async def _settled(_hashes: Sequence[object]) -> bool:
    return False


def _row(judgement: Judgement) -> dict[str, Any]:
    """As the audit shows it."""
    verdict = judgement.verdict
    reasons = verdict.reasons if isinstance(verdict, Reject) else ()
    return {
        "verdict": "reject" if reasons else "allow",
        "reasons": [{"code": int(each.code), "sentence": each.sentence, "policy": each.policy} for each in reasons],
        "notes": [],
    }


class SeededRuns(NamedTuple):
    """What came of seeded runs: disagreements in words, how often each answer was heard, how many operations were
    refused for what the chain had not counted yet, and what there was among them."""

    found: list[str]
    heard: Tally[str]
    in_flight: int
    met: Met


def run_seeds(rig: Rig, indices: Iterator[int], seeds: Sequence[int], operations: int) -> SeededRuns:
    """So many operations under each seed, on the same accounts."""
    accounts = Accounts(rig, indices)
    wallets = accounts.open(Dice(seeds[0]))
    found: list[str] = []
    heard: Tally[str] = Tally()
    in_flight = 0
    met = Met()
    for seed in seeds:
        trial = Validations(accounts, wallets, seed, met=met)
        trial.grant()
        asyncio.run(trial.run(operations))
        found += [f"seed {seed}: {each}" for each in trial.found]
        heard += trial.heard
        in_flight += trial.in_flight
    return SeededRuns(found, heard, in_flight, met)
