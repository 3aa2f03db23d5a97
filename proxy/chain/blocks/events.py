"""The entry point's events and the bundles that caused them, read from bytes.

Source: ERC-4337, `IEntryPoint`; the events are the same from v0.6 to v0.9, `handleOps` takes the old shape of an
operation in v0.6 and the packed one after it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from struct import Struct
from typing import Final, NamedTuple

from proxy.chain import contract_abi
from proxy.chain.logs import Log
from proxy.errors import Undecodable
from proxy.userop.decode import decode_claim, plainly_claimed
from proxy.userop.entry_point import EntryPoint, EntryPointVersion
from proxy.userop.primitives import Address, Hash32, keccak256
from proxy.userop.user_operation import UserOperation

USER_OPERATION_EVENT: Final = keccak256(b"UserOperationEvent(bytes32,address,address,uint256,bool,uint256,uint256)")
"""Emitted for every operation that was executed; hash, sender and paymaster are topics."""
REVERT_REASON: Final = keccak256(b"UserOperationRevertReason(bytes32,address,uint256,bytes)")
"""Emitted before it where the calls reverted with data; hash and sender are topics."""
OPERATION_TOPICS: Final = (USER_OPERATION_EVENT, REVERT_REASON)

_made: Final = tuple.__new__
_WORD: Final = 32
_HIGH_BYTES: Final = bytes(12)  # of an address in its word
_FLAGS: Final = {flag.to_bytes(_WORD, "big"): flag for flag in (False, True)}
_EXECUTED: Final = Struct(4 * f"{_WORD}s")  # nonce, success, gas cost, gas used
_REASON: Final = ("uint256", "bytes")  # nonce, what the calls reverted with
_MOST_REASON_BYTES: Final = 1 << 12

_HANDLE_OPS: Final = keccak256(
    b"handleOps((address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)[],address)"
)[:4]
_HANDLE_OLD_OPS: Final = keccak256(
    b"handleOps((address,uint256,bytes,bytes,uint256,uint256,uint256,uint256,uint256,bytes,bytes)[],address)"
)[:4]
_CALL_DATA: Final = 3
"""Of which number the field is, counted from nought: after sender, nonce and init code, in all versions."""
_SIGNATURE: Final = 8
"""Likewise: the last."""
_OLD_SIGNATURE: Final = 10
_MOST_BUNDLE_BYTES: Final = 1 << 18
"""Of call data that is read: a stranger may have written it."""


class Executed(NamedTuple):
    """A UserOperationEvent. Amounts in wei and gas."""

    user_op_hash: Hash32
    sender: Address
    nonce: int
    success: bool
    gas_cost: int
    gas_used: int


def read_executed(log: Log) -> Executed | None:
    """What an entry point's log says was executed; `None` when it is another event, or not of that shape."""
    topics, data = log.topics, log.data
    if len(topics) != 4 or topics[0] != USER_OPERATION_EVENT or len(data) < _EXECUTED.size:
        return None
    _, name, sender, _ = topics
    # four words, read by hand: there is one such log for every operation
    nonce, flag, cost, used = _EXECUTED.unpack_from(data)
    number, success = int.from_bytes, _FLAGS.get(flag)
    if success is None or not sender.startswith(_HIGH_BYTES):
        return None
    told = number(nonce, "big"), success, number(cost, "big"), number(used, "big")
    return _made(Executed, (name, sender[12:], *told))


def read_reason(log: Log) -> tuple[Hash32, bytes] | None:
    """The operation and what its calls reverted with, cut to a bound; `None` when it is another event."""
    if len(log.topics) != 3 or log.topics[0] != REVERT_REASON:
        return None
    try:
        _, reason = contract_abi.decode(_REASON, log.data, "UserOperationRevertReason")
    except Undecodable:
        return None
    return log.topics[1], reason[:_MOST_REASON_BYTES]


class BundledClaim(NamedTuple):
    """The sessions that an operation of a bundle claims, where the operation stands in it, and whether it brings its
    session's grant along."""

    permission_ids: tuple[Hash32, ...]
    bundle: bytes
    at: int
    enables: bool = False

    def call_data(self) -> bytes:
        """What the operation calls: hardly ever asked. Raises `Undecodable`."""
        return _field(self.bundle, self.at, _CALL_DATA)


def read_claims(
    call_data: bytes,
    entry_point: EntryPoint,
    modules: Collection[Address],
    wanted: Mapping[tuple[Address, int], Hash32],
) -> Mapping[tuple[Address, int], BundledClaim] | None:
    """What the wanted operations of a bundle claim, by sender and nonce; `None`: it is no bundle. `wanted` has their
    hashes, which a session may be told by.

    A nonce is used once in the life of a chain, so sender and nonce name the operation that was executed. One without
    a session claim claims nothing; one that is not there, or whose claim cannot be read, is left out.
    """
    if len(call_data) > _MOST_BUNDLE_BYTES:
        return None
    old = entry_point.version is EntryPointVersion.V06
    if call_data[:4] != (_HANDLE_OLD_OPS if old else _HANDLE_OPS):
        return None
    bundle = call_data[4:]
    # found by its first two words as they stand: nothing of a stranger's operation is read
    names = {_HIGH_BYTES + sender + nonce.to_bytes(_WORD, "big"): (sender, nonce) for sender, nonce in wanted}
    claims = {}
    try:
        places = [(at, name) for at in _places(bundle) if (name := names.get(bundle[at : at + 2 * _WORD])) is not None]
    except Undecodable:
        return None
    for at, (sender, nonce) in places[: len(wanted)]:
        try:
            signature = _field(bundle, at, _OLD_SIGNATURE if old else _SIGNATURE)
            named = None if old else plainly_claimed(nonce, signature, modules)
            if named is not None:  # nearly always
                claims[sender, nonce] = _made(BundledClaim, ((named,), bundle, at, False))
                continue
            op = UserOperation(sender=sender, nonce=nonce, call_data=b"", signature=signature)
            claim = decode_claim(op, entry_point, modules, user_op_hash=wanted[sender, nonce])
        except Undecodable:
            continue
        claims[sender, nonce] = (
            BundledClaim((), bundle, at)
            if claim is None
            else BundledClaim((claim.envelope.permission_id,), bundle, at, claim.envelope.enable is not None)
        )
    return claims


def _places(bundle: bytes) -> list[int]:
    """Where each operation of a bundle begins. Raises `Undecodable`."""
    array = _offset(bundle, 0)
    count, start = _offset(bundle, array), array + _WORD
    size, number = len(bundle), int.from_bytes
    if start + count * _WORD > size:
        raise Undecodable("handleOps", f"{count} operations at {array} reach past the end")
    offsets = [number(bundle[at : at + _WORD], "big") for at in range(start, start + count * _WORD, _WORD)]
    if offsets and max(offsets) > size:
        raise Undecodable("handleOps", f"one of {count} operations at {array} begins past the end")
    return [start + offset for offset in offsets]


def _field(bundle: bytes, operation: int, index: int) -> bytes:
    """Bytes that a field of an operation points to. Raises `Undecodable`."""
    number, size = int.from_bytes, len(bundle)
    head = operation + index * _WORD
    at = operation + number(bundle[head : head + _WORD], "big")
    begin = at + _WORD
    end = begin + number(bundle[at:begin], "big")
    # what a word past the end says, whole or not, changes nothing: then one of these is past it, too
    if head + _WORD > size or end > size:
        raise Undecodable("handleOps", f"the bytes at {at} reach past the end")
    return bundle[begin:end]


def _offset(bundle: bytes, at: int) -> int:
    """An offset or a length: one word. Raises `Undecodable`, also for what is past the end in any case."""
    word = bundle[at : at + _WORD]
    number = int.from_bytes(word, "big")
    if len(word) < _WORD or number > len(bundle):
        raise Undecodable("handleOps", f"the word at {at} is none, or points past the end")
    return number
