"""The calls of a step, made into call data as an SDK makes it, and read back as the gate reads it.

So a step says what an operation of this kind would come to in front of a gate: who writes `spend: 500 USDC` has a
transfer judged, with whatever the gate makes of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eth_abi.abi import encode as encode_arguments
from eth_abi.exceptions import EncodingError, ParseError
from eth_abi.grammar import parse as parse_type

from proxy.document import Location
from proxy.errors import InvalidParams
from proxy.rehearsal.written_acts import Scene
from proxy.rehearsal.written_fields import UINT256, Desk, Fields, number_up_to, read_flag, read_function, read_number
from proxy.userop.decode import DecodedOperation, SessionClaim, decode_calls
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.execution import EXECUTE, Call, CallType
from proxy.userop.primitives import Address, parse_bytes
from proxy.userop.user_operation import UserOperation
from proxy.written import fault, kind_of, shorten

CALL_KEYS: Final = ("to", "function", "args", "data", "value", "size")
"""Every key of a call."""

_SHORT_KEYS: Final = ("amount", "to", "unlimited", "holder", "token")
_UNKNOWN: Final = read_function("ordinary()")
_TRANSFER: Final = read_function("transfer(address,uint256)")
_TRANSFER_FROM: Final = read_function("transferFrom(address,address,uint256)")
_APPROVE: Final = read_function("approve(address,uint256)")
_OTHERS: Final = {"spend": "recipient", "approve": "spender", "inflow": "sender"}
_MOST_BYTES: Final = 1 << 16


def written_calls(fields: Fields, account: Address, chain_id: int) -> list[Call]:
    """The calls that a step writes, in full and in short."""
    desk = fields.desk
    calls = [_call(desk.fields(at, item, CALL_KEYS)) for at, item in fields.items("calls")]
    for name, other in _OTHERS.items():
        party = fields.get("to", desk.address, desk.address(other))
        calls += [_short(name, desk, at, item, party, account, chain_id) for at, item in fields.items(name)]
    return calls


def ordinary_call(desk: Desk) -> Call:
    """What an operation does of which nothing is said: one call of a function that nobody knows."""
    return Call(desk.address("target"), 0, _UNKNOWN)


def read_back(calls: Sequence[Call], kind: CallType, scene: Scene, claim: SessionClaim | None) -> DecodedOperation:
    """The operation that makes these calls, as the gate reads it. Raises `Undecodable` where it refuses to."""
    op = UserOperation(sender=scene.account, nonce=0, call_data=_execute(calls, kind), signature=b"")
    head = DecodedOperation(
        op=op,
        entry_point=ENTRY_POINT_BY_VERSION[EntryPointVersion.V07],
        chain_id=scene.chain_id,
        told_hash=None,
        claim=claim,
        execution=None,
        calls=(),
        movements=(),
        acts=(),
    )
    return decode_calls(head, scene.modules)


def _execute(calls: Sequence[Call], kind: CallType) -> bytes:
    """execute(bytes32 mode, bytes executionCalldata), ERC-7579: one call packed, a delegate call without a value, a
    batch as a tuple[]."""
    if kind is CallType.BATCH:
        entries = [(bytes(call.target), call.value, call.data) for call in calls]
        inner = encode_arguments(["(address,uint256,bytes)[]"], [entries])
    else:
        (call,) = calls
        value = b"" if kind is CallType.DELEGATECALL else call.value.to_bytes(32, "big")
        inner = call.target + value + call.data
    return EXECUTE + encode_arguments(["bytes32", "bytes"], [bytes([kind]) + bytes(31), inner])


def _call(fields: Fields) -> Call:
    desk = fields.desk
    # a call that names a value and no function hands over coins and calls nothing
    bare = fields.has("value") and not fields.has("function") and not fields.has("data")
    target = fields.get("to", desk.address, desk.address("target"))
    value = fields.get("value", desk.coins, 0)
    if fields.has("data"):
        return Call(target, value, fields.get("data", _read_data, b""))
    data = b"" if bare else fields.get("function", read_function, _UNKNOWN)
    if fields.has("args"):
        data += _arguments(fields)
    size = fields.get("size", number_up_to(_MOST_BYTES), len(data))
    return Call(target, value, data.ljust(size, b"\0")[: max(size, 4 if data else 0)])


def _read_data(value: object) -> bytes:
    try:
        return parse_bytes(value, "data")
    except InvalidParams as error:
        raise fault(error.problem) from None


def _arguments(fields: Fields) -> bytes:
    """`args` beside `function: "f(address,uint256)"`, by the ABI; names stand for addresses."""
    desk, at = fields.desk, (*fields.at, "args")
    written = fields.values.get("function")
    types = _types_of(written) if isinstance(written, str) else None
    if types is None:
        desk.fault(at, "arguments need a function with its types", 'write function: "transfer(address,uint256)"')
        return b""
    try:
        values = zip(types, (item for _, item in fields.items("args")), strict=True)
        return encode_arguments(types, [_argument(desk, kind, value) for kind, value in values])
    except (EncodingError, ValueError, TypeError) as error:
        desk.fault(at, f"these are no arguments of {shorten(str(written))}: {shorten(str(error))}")
        return b""


def _types_of(signature: str) -> list[str] | None:
    inside = signature.partition("(")[2].removesuffix(")")
    if signature.endswith("()") and not inside:
        return []
    try:
        parsed = parse_type(f"({inside})")
    except (ParseError, ValueError):  # of `()` eth-abi says something of its own
        return None
    return [component.to_type_str() for component in getattr(parsed, "components", ())]


def _argument(desk: Desk, kind: str, value: object) -> object:
    if isinstance(value, list):
        inner = kind.rpartition("[")[0] if kind.endswith("]") else None
        return [_argument(desk, inner or kind, each) for each in value]
    if not isinstance(value, str):
        raise TypeError(f"{kind_of(value)} for {kind}")
    if kind == "address":
        return bytes(desk.address(value))
    if kind.startswith(("uint", "int")):
        return int(value.replace("_", ""))
    if kind == "bool":
        return read_flag(value)
    if kind.startswith("bytes"):
        return bytes.fromhex(value.removeprefix("0x"))
    return value


def _short(  # noqa: PLR0917  # a step's parts in the order in which they are written
    name: str, desk: Desk, at: Location, item: object, party: Address, account: Address, chain_id: int
) -> Call:
    """`spend`, `approve` and `inflow`: one call of the token, or the coin handed over."""
    spelled = isinstance(item, dict)
    fields = desk.fields(at, item, _SHORT_KEYS) if spelled else Fields(desk, at, {"amount": item})
    token, amount = _units_of(desk, fields, at, chain_id, spelled=spelled)
    if fields.get("unlimited", read_flag, False):
        amount = UINT256 - 1
    party = fields.get("to", desk.address, party)
    holder = fields.get("holder", desk.address, account)
    if token is None:
        if name != "spend":
            desk.fault(at, f"the chain's coin is handed over, {name} is for tokens", "write spend, or name a token")
        return Call(party, amount, b"")
    if name == "approve":
        return Call(token, 0, _APPROVE + _words(party, amount))
    if name == "inflow":
        return Call(token, 0, _TRANSFER_FROM + _words(party if holder == account else holder, account, amount))
    if holder != account:
        return Call(token, 0, _TRANSFER_FROM + _words(holder, party, amount))
    return Call(token, 0, _TRANSFER + _words(party, amount))


def _words(*values: Address | int) -> bytes:
    return b"".join(
        value.to_bytes(32, "big") if isinstance(value, int) else bytes(value).rjust(32, b"\0") for value in values
    )


def _units_of(desk: Desk, fields: Fields, at: Location, chain_id: int, *, spelled: bool) -> tuple[Address | None, int]:
    """The token, `None` for the chain's coin, and how much of it in base units."""
    written = fields.values.get("amount")
    if fields.has("token"):
        # base units, for a token that nobody listed may have any decimals
        return fields.get("token", desk.address, None), fields.get("amount", read_number, 0)
    if written is None:
        if not fields.has("unlimited"):
            desk.fault(at, "amount is missing", "write it as 500 USDC")
        return None, 0
    where = (*at, "amount") if spelled else at
    nothing: tuple[Address | None, int] = (Address(bytes(20)), 0)
    return desk.read(where, written, lambda value: _units(desk, value, chain_id), nothing)


def _units(desk: Desk, value: object, chain_id: int) -> tuple[Address | None, int]:
    amount = desk.amount(value)
    token = desk.tokens.named(amount.symbol)
    place = None if token is None else token.on(chain_id)
    if place is None:
        raise fault(f"{amount.symbol} is no token on chain {chain_id}", "name one that tokens.yaml lists there")
    units = amount.on(chain_id, desk.tokens)
    if units is None or units >= UINT256:
        raise fault(f"{shorten(str(value))} does not fit into 256 bits of {amount.symbol}")
    return place.address, units
