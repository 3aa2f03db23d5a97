"""One step of a case as the facts of an operation. Whatever is not written is that of an ordinary session operation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, get_args

from proxy.document import Location
from proxy.errors import Code
from proxy.judge.facts import ALLOWED, CallFacts, Facts, GrantFacts, MoveFacts
from proxy.rehearsal.case import Ending
from proxy.rehearsal.written_fields import (
    UINT256,
    Desk,
    Fields,
    number_up_to,
    one_of,
    read_duration,
    read_flag,
    read_function,
    read_number,
    read_text,
)
from proxy.session.lint.findings import KINDS
from proxy.userop.acts import Act
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import CallType
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.session_data import VALUE_SELECTOR
from proxy.written import fault, kind_of, shorten

STEP_KEYS: Final = (
    *("at", "expect", "repeat", "every", "session", "account", "client", "chain", "method", "preview", "mode"),
    *("module", "nonce_key", "same_nonce", "entry_point", "calls", "call_type", "spend", "approve", "inflow", "to"),
    *("moves", "acts", "grants", "paymaster", "factory", "eip7702", "gas", "call_gas", "max_cost", "lanes"),
    *("replaces", "limit_used_percent", "verdict", "then"),
)
"""Every key of a step."""

_CALL_KEYS: Final = ("to", "function", "value", "size")
_SHORT_KEYS: Final = ("amount", "to", "unlimited", "holder", "token")
_MOVE_KEYS: Final = ("kind", "asset", "token", "amount", "counterparty", "holder", "unlimited", "call")
_GRANT_KEYS: Final = ("session", "module", "how", "findings", "valid_for", "targets", "policies")
_SHORT_FORMS: Final = {
    "spend": (MovementKind.SPEND, "recipient"),
    "approve": (MovementKind.EXPOSURE, "spender"),
    "inflow": (MovementKind.INFLOW, "sender"),
}
_MODES: Final = ("use", "enable", "unsafe_enable")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
ACT_NAMES: Final = tuple(sorted(_HUMP.sub("_", act.__name__).lower() for act in get_args(Act)))
"""What `acts` may name."""
_VERDICTS: Final = (ALLOWED, *(code.label for code in Code))
_TRANSFER: Final = read_function("transfer(address,uint256)")
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
    calls = _calls(fields)
    moves = _moves(fields, account, chain_id, calls)
    if not fields.has("calls") and (sent := _sent(moves)):
        calls = (CallFacts(target=calls[0].target, selector=calls[0].selector, value=sent, size=calls[0].size),)
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
        module=fields.get("module", desk.address, desk.address("smart_sessions")) if session else None,
        mode=fields.get("mode", one_of(_MODES), "use") if session else None,
        call_type=fields.get("call_type", one_of(_CALL_TYPES), "single" if len(calls) == 1 else "batch"),
        calls=calls,
        moves=moves,
        acts=tuple(desk.read(at, item, one_of(ACT_NAMES), "") for at, item in fields.items("acts")),
        grants=tuple(_grant(desk, at, item, now, permission_id) for at, item in fields.items("grants")),
        paymaster=_party(fields, "paymaster"),
        factory=_party(fields, "factory"),
        eip7702=fields.get("eip7702", read_flag, False),
        gas=fields.get("gas", read_number, 500_000),
        call_gas=fields.get("call_gas", read_number, 200_000),
        max_cost=fields.get("max_cost", desk.coins, 0),
        replaces=fields.get("replaces", read_flag, again),
        lanes=fields.get("lanes", number_up_to(2**32), 1 if session else 0),
        limit_used_percent=fields.get("limit_used_percent", number_up_to(1_000_000), None),
    )


_CALL_TYPES: Final = tuple(each.name.lower() for each in CallType)


def read_ending(value: object) -> Ending:
    """What becomes of the operation."""
    return Ending(one_of(tuple(Ending))(value))


def _party(fields: Fields, key: str) -> Address | None:
    return fields.get(key, fields.desk.address, None) if fields.values.get(key) != "none" else None


def _calls(fields: Fields) -> tuple[CallFacts, ...]:
    desk = fields.desk
    if not fields.has("calls"):
        return (CallFacts(target=desk.address("target"), selector=_TRANSFER, value=0, size=68),)
    return tuple(_call(desk.fields(at, item, _CALL_KEYS)) for at, item in fields.items("calls"))


def _call(fields: Fields) -> CallFacts:
    desk = fields.desk
    # a call that names a value and no function hands over coins and calls nothing
    bare = fields.has("value") and not fields.has("function")
    return CallFacts(
        target=fields.get("to", desk.address, desk.address("target")),
        selector=fields.get("function", read_function, VALUE_SELECTOR if bare else _TRANSFER),
        value=fields.get("value", desk.coins, 0),
        size=fields.get("size", number_up_to(2**32), 0 if bare else 68),
    )


def _sent(moves: tuple[MoveFacts, ...]) -> int:
    """What leaves the account in the chain's coin."""
    native = (move for move in moves if move.asset is AssetKind.NATIVE and move.kind is MovementKind.SPEND)
    return sum(move.amount or 0 for move in native)


def _moves(fields: Fields, account: Address, chain_id: int, calls: tuple[CallFacts, ...]) -> tuple[MoveFacts, ...]:
    desk = fields.desk
    moves = []
    for name, (kind, other) in _SHORT_FORMS.items():
        plain = MoveFacts(
            call=0,
            kind=kind,
            asset=AssetKind.ERC20,
            token=None,
            amount=None,
            counterparty=fields.get("to", desk.address, desk.address(other)),
            holder=account,
        )
        moves += [_short(desk, at, item, plain, chain_id) for at, item in fields.items(name)]
    moves += [_full(desk.fields(at, item, _MOVE_KEYS), account) for at, item in fields.items("moves")]
    if not moves:
        # the gate finds these by itself in an operation that it reads
        moves = [_handed(index, call, account) for index, call in enumerate(calls) if call.value]
    return tuple(moves)


def _handed(index: int, call: CallFacts, account: Address) -> MoveFacts:
    return MoveFacts(
        call=index,
        kind=MovementKind.SPEND,
        asset=AssetKind.NATIVE,
        token=None,
        amount=call.value,
        counterparty=call.target,
        holder=account,
    )


def _short(desk: Desk, at: Location, item: object, plain: MoveFacts, chain_id: int) -> MoveFacts:
    spelled = isinstance(item, dict)
    fields = desk.fields(at, item, _SHORT_KEYS) if spelled else Fields(desk, at, {"amount": item})
    written = fields.values.get("amount")
    unlimited = fields.get("unlimited", read_flag, False)
    units: tuple[Address | None, int | None] = (None, None)
    if fields.has("token"):
        # base units, for a token that nobody listed may have any decimals
        units = (fields.get("token", desk.address, None), fields.get("amount", read_number, None))
    elif written is None:
        desk.fault(at, "amount is missing", "write it as 500 USDC")
    else:
        where = (*at, "amount") if spelled else at
        units = desk.read(where, written, lambda value: _units(desk, value, chain_id), units)
    token, amount = units
    return replace(
        plain,
        asset=AssetKind.NATIVE if token is None else AssetKind.ERC20,
        token=token,
        amount=UINT256 - 1 if unlimited else amount,
        counterparty=fields.get("to", desk.address, plain.counterparty),
        holder=fields.get("holder", desk.address, plain.holder),
        unlimited=unlimited,
    )


def _units(desk: Desk, value: object, chain_id: int) -> tuple[Address | None, int | None]:
    amount = desk.amount(value)
    token = desk.tokens.named(amount.symbol)
    place = None if token is None else token.on(chain_id)
    if place is None:
        raise fault(f"{amount.symbol} is no token on chain {chain_id}", "name one that tokens.yaml lists there")
    units = amount.on(chain_id, desk.tokens)
    if units is None or units >= UINT256:
        raise fault(f"{shorten(str(value))} does not fit into 256 bits of {amount.symbol}")
    return place.address, units


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
