"""Operations put to accounts as the entry point does, and to the gate's judging: no bundler, nothing between the two.

`validateUserOp` is called by the entry point's own address. A call tells what the account and the session module say; a
transaction moves the module's counters, as the validation of an operation that is mined does. Several operations, of
one session too, are judged at once; the chain then gets those that were let through in another order.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from coincurve import PrivateKey

from proxy.admission import Admission, Judgement, RecentReads, Sources, Terms
from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.judge.verdict import Reject
from proxy.ledger.memory import MemoryLedger
from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.session.known import KnownSession
from proxy.session.registry import Registry
from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.primitives import parse_address, parse_bytes, print_bytes
from proxy.userop.user_operation import UserOperation
from tests.e2e.differential.agreement import Answer, disagreement
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.draft import Attempt
from tests.e2e.differential.families import FAMILIES, MORE, THRESHOLDS, make_grant
from tests.e2e.differential.grants import Grant
from tests.e2e.differential.operations import a_use
from tests.e2e.differential.owner import enable_sessions
from tests.e2e.differential.wallet import V07, SafeWallet, Wallet, arguments, hash_of, open_wallet, rpc, transact
from tests.e2e.flow import Flow, run_flow
from tests.e2e.rig import CHAIN_ID, ENTRY_POINT, Rig

GROUP: Final = 12
OF_ONE_SESSION: Final = 7  # of a group, sent at once
_HIDDEN: Final = bytes.fromhex("acfdb444")  # Safe7579 answers so to whatever a validator reverted with
_TIGHT: Final = frozenset(
    {"narrow", "fallback alone", "sponsored in vain", "expression"}
)  # sessions whose limits few operations reach
_PANIC: Final = bytes.fromhex("4e487b71")
REGISTRY: Final = parse_address("0x000000000069E2a187AEFFb852bF3cCdC95151B2", "registry")
_OPERATION = abi.tuple_of(
    *(abi.ADDRESS, abi.UINT256, abi.BYTES, abi.BYTES, abi.BYTES32, abi.UINT256, abi.BYTES32, abi.BYTES, abi.BYTES)
)


@dataclass
class Accounts:
    """Accounts of both kinds, each without a registry of modules and with one."""

    rig: Rig
    indices: Iterator[int]

    def open(self, rng: Dice) -> list[Wallet]:
        for account in (ENTRY_POINT, print_bytes(SMART_SESSION)):
            rpc(self.rig.node, "anvil_impersonateAccount", account)
        rpc(self.rig.node, "anvil_setBalance", ENTRY_POINT, hex(10**24))
        wallets = [open_wallet(self.rig, PrivateKey(rng.randbytes(32))) for _ in range(2)]
        for wallet in wallets:
            self.by_account(wallet, wallet.installation())
        registry = arguments(
            "setRegistry(address,address[],uint8)",
            (abi.ADDRESS, abi.list_of(abi.ADDRESS), abi.UINT8),
            *(REGISTRY, [REGISTRY], 1),
        )
        self.by_account(wallets[1], Call(wallets[1].address, 0, registry))
        return [*wallets, *(self._safe(how) for how in ((), ("attested",)))]

    def _safe(self, how: tuple[str, ...]) -> Wallet:
        index = next(self.indices)
        flow = Flow(f"safe-account-{index}", "flows/safe-account.mjs", how)
        steps = run_flow(self.rig, flow, run=flow.name, bundler_url=self.rig.recorder + "/bundler", account_index=index)
        address = next(step["answer"] for step in steps if step["step"] == "account")
        return SafeWallet(parse_address(address, "account"), PrivateKey(b"\x01" * 32))

    def by_account(self, wallet: Wallet, call: Call) -> None:
        """A call of the account's own, whoever may have it made."""
        account = print_bytes(wallet.address)
        rpc(self.rig.node, "anvil_impersonateAccount", account)
        self.transact(account, print_bytes(call.target), call.data)

    def transact(self, sender: str, to: str, data: bytes) -> None:
        transact(self.rig, to, data, sender=sender, gas=9_000_000)

    def validate(self, op: UserOperation) -> Answer:
        """What the entry point would hear of the account now, in a bundler's words."""
        call = {"from": ENTRY_POINT, "to": print_bytes(op.sender), "data": print_bytes(_validation(op))}
        answer = rpc(self.rig.node, "eth_call", call, "latest")
        if "error" in answer:
            data = bytes.fromhex((answer["error"].get("data") or "0x")[2:])
            return Answer("AA23 reverted" if data[:4] == _PANIC else f"AA23 reverted 0x{data.hex()}")
        found = int.from_bytes(parse_bytes(answer["result"], "result")[:32], "big")
        if found & (2**160 - 1):
            return Answer("AA24 signature error")
        until, after = found >> 160 & (2**48 - 1), found >> 208
        now = int(rpc(self.rig.node, "eth_getBlockByNumber", "latest", False)["result"]["timestamp"], 16)
        return Answer(None if after < now <= (until or 2**48) else "AA22 expired or not due")

    def take(self, op: UserOperation) -> None:
        """Its validation goes into a block."""
        self.transact(ENTRY_POINT, print_bytes(op.sender), _validation(op))


def _validation(op: UserOperation) -> bytes:
    packed = (
        *(op.sender, op.nonce, op.packed_init_code(), op.call_data),
        _two(op.verification_gas_limit, op.call_gas_limit),
        op.pre_verification_gas,
        _two(op.max_priority_fee_per_gas, op.max_fee_per_gas),
        *(op.packed_paymaster_and_data(), op.signature),
    )
    name = "validateUserOp((address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes),bytes32,uint256)"
    return arguments(name, (_OPERATION, abi.BYTES32, abi.UINT256), packed, hash_of(op), 0)


def _two(high: int | None, low: int | None) -> bytes:
    return (high or 0).to_bytes(16, "big") + (low or 0).to_bytes(16, "big")


@dataclass
class Validations:
    """One seeded run over some accounts. The judging is the gate's own, with the chain's node to ask."""

    accounts: Accounts
    wallets: Sequence[Wallet]
    seed: int
    grants: list[Grant] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    heard: Tally[str] = field(default_factory=Tally)
    in_flight: int = 0  # refused for what the chain had not counted yet

    def __post_init__(self) -> None:
        self.rng = Dice(self.seed)
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
        for wallet in self.wallets:
            for name in (*FAMILIES, *MORE, *THRESHOLDS):
                grant = make_grant(name, wallet, now, keys)
                self.accounts.by_account(wallet, enable_sessions(grant.session))
                self.grants.append(grant)

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
                self._settle(judgement, counted=answer.refused is None)
        for (attempt, judgement), at_first in zip(refused, before, strict=True):
            self._compare(attempt, judgement, [self.accounts.validate(attempt.op), at_first])

    def _attempts(self) -> Iterator[Attempt]:
        tight = self.rng.random() < 0.8
        often = self.rng.choice([each for each in self.grants if not tight or each.name in _TIGHT])
        for grant in [often] * OF_ONE_SESSION + self.rng.sample(self.grants, GROUP - OF_ONE_SESSION):
            others = [each for each in self.grants if each.wallet is grant.wallet and each is not grant]
            yield a_use(self.rng, grant, self.rng.choice(others), self.stranger)

    def _settle(self, judgement: Judgement, *, counted: bool) -> None:
        """The block that has it was read."""
        reservation = judgement.reservation
        assert reservation is not None
        self.ledger.release(reservation.name)
        known = None if reservation.session is None else self.registry.get(reservation.session)
        if counted and known is not None and known.state is not None:
            self.registry.put(replace(known, state=known.state.with_charges(reservation.charges)))

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
    """What came of seeded runs: disagreements in words, how often each answer was heard, and how many operations were
    refused for what the chain had not counted yet."""

    found: list[str]
    heard: Tally[str]
    in_flight: int


def run_seeds(rig: Rig, indices: Iterator[int], seeds: Sequence[int], operations: int) -> SeededRuns:
    """So many operations under each seed, on the same accounts."""
    accounts = Accounts(rig, indices)
    wallets = accounts.open(Dice(seeds[0]))
    found: list[str] = []
    heard: Tally[str] = Tally()
    in_flight = 0
    for seed in seeds:
        trial = Validations(accounts, wallets, seed)
        trial.grant()
        asyncio.run(trial.run(operations))
        found += [f"seed {seed}: {each}" for each in trial.found]
        heard += trial.heard
        in_flight += trial.in_flight
    return SeededRuns(found, heard, in_flight)
