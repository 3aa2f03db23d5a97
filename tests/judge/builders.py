"""Facts of an ordinary session operation, rules from a few lines of YAML, and a ledger to judge by."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

from proxy.judge.evaluate import Judge, RulesFinding
from proxy.judge.facts import CallFacts, Facts, MoveFacts
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.verdict import Mode
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.reservation import NOTHING_USED, Held, NonceSlot, Reservation
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, Selector

CHAIN_ID = 1868
ACCOUNT = Address(b"\xac" * 20)
SHOP = Address(b"\x51" * 20)
ALICE = Address(b"\xa1" * 20)
USDC = Address(b"\xcc" * 20)
MODULE = Address(b"\x55" * 20)
PERMISSION = Hash32(b"\x77" * 32)
TRANSFER = Selector(bytes.fromhex("a9059cbb"))
START = 1_772_442_000.0  # Monday 2 March 2026, 09:00 UTC

TOKENS = f"""
tokens:
  ETH: {{native: true, price: "3000 USD"}}
  USDC: {{price: "1 USD", on: {{1868: {{address: "0x{USDC.hex()}", decimals: 6}}}}}}
  FREE: {{on: {{1868: {{address: "0x{bytes(19).hex()}0f", decimals: 18}}}}}}
"""


def facts(**changes: Any) -> Facts:
    """One call to the shop by a session; 50 minutes into a Monday morning unless told otherwise."""
    usual: dict[str, Any] = {
        "unix_time": START,
        "chain_id": CHAIN_ID,
        "chain": "soneium",
        "client": "dapp",
        "method": "eth_sendUserOperation",
        "preview": False,
        "verdict": "allow",
        "account": ACCOUNT,
        "entry_point": "v0.7",
        "user_op_hash": Hash32(b"\x01" * 32),
        "nonce": 1 << 64,
        "session": True,
        "permission_id": PERMISSION,
        "module": MODULE,
        "mode": "use",
        "call_type": "single",
        "calls": (CallFacts(target=SHOP, selector=TRANSFER, value=0),),
    }
    return Facts(**(usual | changes))


def spend(amount: int | None, token: Address | None = USDC, to: Address | None = ALICE) -> MoveFacts:
    """Value of the account that goes to somebody."""
    return MoveFacts(
        call=0,
        kind=MovementKind.SPEND,
        asset=AssetKind.NATIVE if token is None else AssetKind.ERC20,
        token=token,
        amount=amount,
        counterparty=to,
        holder=ACCOUNT,
    )


def judge_of(rules: str, *, ceiling: Mode = Mode.ENFORCE) -> Judge:
    """The rules of a few lines of YAML, a list under `rules:`, each with a description unless it has one."""
    text = "rules:\n" + indent(dedent(rules).strip("\n"), "  ")
    parsed = parse_rules(
        [SourceFile("rules/a.yaml", text)], [SourceFile("rules/tokens.yaml", TOKENS)], chains=None, clients=None
    )
    assert parsed.ruleset is not None, "\n".join(map(str, parsed.faults))
    return Judge(parsed.ruleset, ceiling=ceiling)


@dataclass
class Scene:
    """A judge and a ledger: operations one after another, each mined unless told otherwise."""

    judge: Judge
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    number: int = 0

    def look(self, seen: Facts) -> RulesFinding:
        """What the rules say, nothing held."""
        slot = NonceSlot(seen.chain_id, ACCOUNT, seen.account, seen.nonce)
        return self.judge.consider(seen, self.ledger.counts(slot, seen.unix_time))

    def send(self, seen: Facts, *, then: str = "mined") -> RulesFinding:
        """As the gate does it: judged, held if nothing refuses it, and mined | reverted | dropped | in flight."""
        self.number += 1
        seen = seen._replace(user_op_hash=Hash32(self.number.to_bytes(32, "big")), nonce=self.number)
        finding = self.look(seen)
        for rate in finding.rates:
            self.ledger.rate(rate.key, rate.window, rate.amount, rate.limit, seen.unix_time)
        if finding.rejections:
            return finding
        reservation = Reservation(
            user_op_hash=seen.user_op_hash,
            slot=NonceSlot(seen.chain_id, ACCOUNT, seen.account, seen.nonce),
            session=None,
            charges=(),
            valid_until=None,
            rule_charges=finding.charges,
            lessons=finding.lessons,
        )
        held = self.ledger.reserve(reservation, NOTHING_USED, seen.unix_time)
        assert isinstance(held, Held)
        self.ledger.accept(reservation.name)
        if then in ("mined", "reverted"):
            self.ledger.conclude(held.reservation, seen.unix_time, success=then == "mined")
            self.ledger.settle(reservation.slot)
        elif then == "dropped":
            self.ledger.expire(reservation.name)
        return finding


def ids(finding: RulesFinding) -> list[str]:
    """The rules that fired, in the order of precedence."""
    return [hit.rule.id for hit in finding.hits]
