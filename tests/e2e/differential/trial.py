"""Sends operations in groups and puts the gate's verdict beside the bundler's answer, one by one.

A gate in shadow refuses nothing: the same submission gets its verdict, which the audit keeps, and the bundler's own
answer. The operations of a group are of different sessions; a group begins when all that was taken of the one before
is mined, so counters and sessions stand still while verdicts are made.
"""

from __future__ import annotations

import json
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coincurve import PrivateKey

from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import print_user_operation
from tests.e2e.differential.agreement import Answer, Known, disagreement, known_as
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.draft import Attempt
from tests.e2e.differential.enabling import an_enable
from tests.e2e.differential.families import FAMILIES, make_grant
from tests.e2e.differential.grants import Grant
from tests.e2e.differential.operations import a_use
from tests.e2e.differential.owner import OWNER_ACTS, by_owner, enable_sessions
from tests.e2e.differential.wallet import Wallet, hash_of, open_wallet, rpc
from tests.e2e.gate import Gate
from tests.e2e.rig import ENTRY_POINT, Rig
from tests.patience import PATIENCE_SECONDS, patiently

GROUP = 8


@dataclass
class Sent:
    """One operation sent, and how it ended at the bundler."""

    attempt: Attempt
    answer: Answer
    mined: bool = False

    def told(self, gate: str, row: Mapping[str, Any], problem: str) -> str:
        op = json.dumps(print_user_operation(self.attempt.op))
        heard = self.answer.refused or "took it"
        verdict = {key: row[key] for key in ("verdict", "reasons", "notes")}
        return f"{self.attempt.label}: {problem}\n  {gate}: {json.dumps(verdict)}\n  bundler: {heard}\n  {op}"


@dataclass
class Trial:
    """One seeded run over wallets of its own. `gates` are asked in order; the first is the one spoken to."""

    rig: Rig
    gates: Mapping[str, Gate]
    seed: int
    wallets: list[Wallet] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    met: set[Known] = field(default_factory=set)  # the listed disagreements that came up
    compared: int = 0
    prepared: int = 0

    def __post_init__(self) -> None:
        self.rng = Dice(self.seed)
        self.keys = [PrivateKey(self.rng.randbytes(32)) for _ in range(3)]
        self.stranger = PrivateKey(self.rng.randbytes(32))
        self.salts = iter(range(10_000, 20_000))

    @property
    def url(self) -> str:
        return next(iter(self.gates.values())).url

    def open(self, wallets: int) -> None:
        """Accounts with the session module, and on each a session of every family, granted through the gate."""
        now = int(rpc(self.rig.node, "eth_getBlockByNumber", "latest", False)["result"]["timestamp"], 16)
        for _ in range(wallets):
            wallet = open_wallet(self.rig, PrivateKey(self.rng.randbytes(32)))
            granted = [make_grant(name, wallet, now, self.keys) for name in FAMILIES]
            self.wallets.append(wallet)
            self.grants += granted
            for calls in ([wallet.installation()], *([enable_sessions(each.session)] for each in granted)):
                self.send([Attempt("the owner prepares", granted[0], wallet.by_owner(*calls))])
                assert self.sent[-1].mined, self.sent[-1].answer
        self.prepared = len(self.sent)

    def run(self, operations: int) -> None:
        for _ in range(operations // GROUP):
            self.send(list(self._group()))

    def _group(self) -> Iterator[Attempt]:
        chosen = self.rng.sample(self.grants, GROUP)
        busy = list(chosen)
        for grant in chosen:
            what = self.rng.random()
            if grant.removed and what < 0.4:
                yield by_owner(self.rng, grant, "grants again")
            elif what < 0.07:
                yield by_owner(self.rng, grant, self.rng.deal(OWNER_ACTS))
            elif what < 0.17:
                yield self._fresh(grant)
            elif what < 0.25:
                yield an_enable(self.rng, grant, self.stranger)
            else:
                others = [each for each in self.grants if each.wallet is grant.wallet and each not in busy]
                other = self.rng.choice(others) if others else None
                busy += [other] if other else []  # the operation may claim it
                yield a_use(self.rng, grant, other, self.stranger)

    def _fresh(self, grant: Grant) -> Attempt:
        """An operation that enables a session nobody has heard of; one that is taken may be used from then on."""
        fresh = grant.with_salt(next(self.salts))
        attempt = an_enable(self.rng, fresh, self.stranger)

        def taken() -> None:
            attempt.taken()
            self.grants.append(fresh)

        return replace(attempt, taken=taken)

    def send(self, group: Sequence[Attempt]) -> None:
        sent = [Sent(attempt, self._submit(attempt)) for attempt in group]
        self.sent += sent
        for each in sent:
            if each.answer.refused is None and self._is_mined(each.attempt):
                each.mined = True
                each.attempt.grant.took(each.attempt.orders)
                each.attempt.taken()

    def _submit(self, attempt: Attempt) -> Answer:
        answer = rpc(self.url, "eth_sendUserOperation", print_user_operation(attempt.op), ENTRY_POINT)
        if "error" in answer:
            return Answer(answer["error"]["message"])
        assert answer["result"] == print_bytes(hash_of(attempt.op))
        return Answer(None)

    def _is_mined(self, attempt: Attempt) -> bool:
        """Asked through the gate, as dapps do."""
        name = print_bytes(hash_of(attempt.op))
        for _ in patiently():
            answer = rpc(self.url, "eth_getUserOperationReceipt", name)
            assert "result" in answer, answer
            if answer["result"] is not None:
                return True
            time.sleep(0.03)
        return False

    def disagreements(self) -> list[str]:
        """Of everything sent since the last look, at every gate. Afterwards the gates may forget it."""
        fresh = self.sent[self.compared :]
        self.compared = len(self.sent)
        found = []
        for name, gate in self.gates.items():
            for sent, row in zip(fresh, self._audited(gate, len(fresh)), strict=True):
                label = sent.attempt.label
                problem = disagreement(label, sent.answer, row, mined=sent.mined)
                if problem is None:
                    continue
                known = known_as(label, name, row)
                if known is None:
                    found.append(sent.told(name, row, problem))
                else:
                    self.met.add(known)
        return found

    def _audited(self, gate: Gate, count: int) -> list[dict[str, Any]]:
        """The last `count` decisions, oldest first, once all of them have their answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            rows = gate.audit(f"?limit={count}")  # once the newest is on file: those before it are others
            rows = sorted(rows, key=lambda row: int(row["id"]))
            if len(rows) == count and all(row["forward"] == "answered" for row in rows):
                return rows
            assert time.monotonic() < deadline, f"{len(rows)} of {count} decisions are on file"
            time.sleep(0.05)

    @property
    def operations(self) -> int:
        """How many were sent of sessions and about them, the preparation not counted."""
        return len(self.sent) - self.prepared

    def tally(self) -> Tally[str]:
        """How often each reason was heard from the bundler."""
        return Tally(each.answer.why[0] if each.answer.refused else "taken" for each in self.sent)
