"""One step of a case as the facts of an operation. Whatever is not written is that of an ordinary session operation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, get_args

from proxy.document import Location
from proxy.errors import Code
from proxy.judge.facts import ALLOWED, CallFacts, Facts, GrantFacts, MoveFacts
from proxy.judge.reading import name_of_act
from proxy.rehearsal.case import Ending
from proxy.rehearsal.written_calls import read_calls
from proxy.rehearsal.written_fields import (
    Desk,
    Fields,
    number_up_to,
    one_of,
    read_duration,
    read_flag,
    read_number,
    read_text,
)
from proxy.session.addresses import SMART_SESSION
from proxy.session.lint.findings import KINDS
from proxy.userop.acts import Act
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import CallType
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.written import fault, kind_of, shorten

STEP_KEYS: Final = (
    *("at", "expect", "repeat", "every", "session", "account", "client", "chain", "method", "preview", "mode"),
    *("module", "nonce_key", "same_nonce", "entry_point", "calls", "call_type", "spend", "approve", "inflow", "to"),
    *("moves", "acts", "grants", "paymaster", "factory", "eip7702", "gas", "call_gas", "max_cost", "max_fee"),
    *("priority_fee", "lanes"),
    *("replaces", "limit_used_percent", "session_age", "session_left", "verdict", "then"),
)
"""Every key of a step."""

_MOVE_KEYS: Final = ("kind", "asset", "token", "amount", "counterparty", "holder", "unlimited", "call")
_GRANT_KEYS: Final = ("session", "module", "how", "findings", "valid_for", "targets", "policies")
_MODES: Final = ("use", "enable", "unsafe_enable")
ACT_NAMES: Final = tuple(sorted(map(name_of_act, get_args(Act))))
"""What `acts` may name."""
_VERDICTS: Final = (ALLOWED, *(code.label for code in Code))
_SUBMIT: Final = "eth_sendUserOperation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a case file says once for all its steps."""

    start: int
    chain: str
    client: str
    chains: dict[str, int]


@dataclass(slots=True)
class Sequence:
    """The nonces of one case: every operation takes the next one of its account's key, unless it says otherwise.

    `salt` makes the hashes of one case differ from those of others.
    """

    salt: bytes
    next: dict[tuple[Address, int], int] = field(default_factory=dict)
    latest: int = 0
    operations: int = 0

    def take(self, account: Address, key: int, *, again: bool) -> int:
        """The nonce of the next operation."""
        self.operations += 1
        if not again:
            number = self.next.get((account, key), 0)
            self.next[account, key] = number + 1
            self.latest = key << 64 | number
        return self.latest

    def name(self) -> Hash32:
        """The hash of the operation that took a nonce last."""
        return keccak256(self.salt + self.operations.to_bytes(8, "big"))


def step_facts(fields: Fields, around: Surroundings, sequence: Sequence, after: int) -> Facts:
    """The facts of one operation, `after` seconds from the start."""
    desk = fields.desk
    now = around.start + after
    account = fields.get("account", desk.address, desk.address("account"))
    session = fields.values.get("session") != "none"
    permission_id = fields.get("session", desk.permission_id, desk.permission_id("session")) if session else None
    again = fields.get("same_nonce", read_flag, False)
    chain = fields.get("chain", one_of(tuple(around.chains)), around.chain)
    chain_id = around.chains[chain]
    module = fields.get("module", desk.address, desk.address("smart_sessions"))
    calls, moves, acts = _calls_moves_and_acts(fields, account, chain_id, (module, SMART_SESSION))
    nonce = sequence.take(account, fields.get("nonce_key", number_up_to(2**192 - 1), 0), again=again)
    return Facts(
        unix_time=float(now),
        chain_id=chain_id,
        chain=chain,
        client=fields.get("client", read_text, around.client),
        method=fields.get("method", read_text, _SUBMIT),
        preview=fields.get("preview", read_flag, False),
        verdict=fields.get("verdict", one_of(_VERDICTS), ALLOWED),
        account=account,
        entry_point=fields.get("entry_point", one_of(tuple(EntryPointVersion)), EntryPointVersion.V07.value),
        user_op_hash=sequence.name(),
        nonce=nonce,
        session=session,
        permission_id=permission_id,
        module=module if session else None,
        mode=fields.get("mode", one_of(_MODES), "use") if session else None,
        call_type=fields.get("call_type", one_of(_CALL_TYPES), "single" if len(calls) == 1 else "batch"),
        calls=calls,
        moves=moves,
        acts=acts,
        grants=tuple(_grant(desk, at, item, now, permission_id) for at, item in fields.items("grants")),
        paymaster=_party(fields, "paymaster"),
        factory=_party(fields, "factory"),
        eip7702=fields.get("eip7702", read_flag, False),
        gas=fields.get("gas", read_number, 500_000),
        call_gas=fields.get("call_gas", read_number, 200_000),
        max_cost=fields.get("max_cost", desk.coins, 0),
        max_fee=fields.get("max_fee", desk.coins, 0),
        priority_fee=fields.get("priority_fee", desk.coins, 0),
        replaces=fields.get("replaces", read_flag, again),
        lanes=fields.get("lanes", number_up_to(2**32), 1 if session else 0),
        session_since=None if (age := fields.get("session_age", read_duration, None)) is None else float(now - age),
        session_until=None if (left := fields.get("session_left", read_duration, None)) is None else now + left,
        limit_used_percent=fields.get("limit_used_percent", number_up_to(1_000_000), None),
    )


_CALL_TYPES: Final = tuple(each.name.lower() for each in CallType)


def read_ending(value: object) -> Ending:
    """What becomes of the operation."""
    return Ending(one_of(tuple(Ending))(value))


def _party(fields: Fields, key: str) -> Address | None:
    return fields.get(key, fields.desk.address, None) if fields.values.get(key) != "none" else None


def _calls_moves_and_acts(
    fields: Fields, account: Address, chain_id: int, modules: Collection[Address]
) -> tuple[tuple[CallFacts, ...], tuple[MoveFacts, ...], tuple[str, ...]]:
    calls, moves, done = read_calls(fields, account, chain_id, modules)
    named = tuple(fields.desk.read(at, item, one_of(ACT_NAMES), "") for at, item in fields.items("acts"))
    # what is named stands for acts of which no call was written
    acts = (*done, *(name for name in named if name not in done))
    full = tuple(_full(fields.desk.fields(at, item, _MOVE_KEYS), account) for at, item in fields.items("moves"))
    if not full:
        return calls, moves, acts
    # what is written in full stands beside what is written in short, and in place of what no call was written for
    in_short = any(fields.has(name) for name in ("calls", "spend", "approve", "inflow"))
    return calls, (*moves, *full) if in_short else full, acts


def _full(fields: Fields, account: Address) -> MoveFacts:
    desk = fields.desk
    asset = AssetKind(fields.get("asset", one_of(tuple(AssetKind)), AssetKind.ERC20.value))
    return MoveFacts(
        call=fields.get("call", number_up_to(2**16), 0),
        kind=MovementKind(fields.need("kind", one_of(tuple(MovementKind)), MovementKind.SPEND.value)),
        asset=asset,
        token=_party(fields, "token"),
        amount=fields.get("amount", desk.coins if asset is AssetKind.NATIVE else read_number, None),
        counterparty=_party(fields, "counterparty"),
        holder=fields.get("holder", desk.address, account),
        unlimited=fields.get("unlimited", read_flag, False),
    )


def _grant(desk: Desk, at: Location, item: object, now: int, permission_id: Hash32 | None) -> GrantFacts:
    fields = desk.fields(at, item, _GRANT_KEYS)
    valid_for = fields.get("valid_for", read_duration, None)
    return GrantFacts(
        permission_id=fields.get("session", desk.permission_id, permission_id or desk.permission_id("granted")),
        module=fields.get("module", desk.address, desk.address("smart_sessions")),
        how=fields.get("how", one_of(("enable", "unsafe_enable", "call")), "enable" if permission_id else "call"),
        findings=tuple(desk.read(each, name, one_of(tuple(KINDS)), "") for each, name in fields.items("findings")),
        valid_until=None if valid_for is None else now + valid_for,
        targets=_addresses(fields, "targets"),
        policies=_addresses(fields, "policies"),
    )


def _addresses(fields: Fields, key: str) -> tuple[Address, ...]:
    desk = fields.desk
    return tuple(desk.read(at, item, desk.address, Address(bytes(20))) for at, item in fields.items(key))


def read_expectation(value: object) -> bool:
    """`fires` or `passes`."""
    if value not in ("fires", "passes"):
        raise fault(f"wanted fires or passes, got {shorten(value) if isinstance(value, str) else kind_of(value)}")
    return value == "fires"
