"""Blocks as a node serves them: entry-point events of what a bundler took, with exact filters, bundles, and receipts.

Only what the benchmark needs of a chain, and that honestly: every log is in its block's bloom, every bundle's call
data carries its operations. What a chain would also know, the contracts' storage, is not here: a view of a session
that was granted reverts, so nobody takes an empty answer for the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.chain.blocks.events import USER_OPERATION_EVENT
from proxy.chain.blocks.header import bloom_of_item
from proxy.userop.primitives import keccak256
from tests.bench.operations import CHAIN_ID, ENTRY_POINT

_SEQUENCE_BITS: Final = 64
_BUNDLE: Final = 16  # operations of one transaction
_START: Final = 1_000  # number of the first block
_EVENT: Final = "0x" + USER_OPERATION_EVENT.hex()
_ENTRY_POINT: Final = "0x" + ENTRY_POINT.address.hex()
_FIXED_BLOOM: Final = (
    bloom_of_item(ENTRY_POINT.address) | bloom_of_item(USER_OPERATION_EVENT) | bloom_of_item(bytes(32))
)
_HANDLE_OPS: Final = "0x765e827f"  # handleOps(PackedUserOperation[],address)
_TRUE: Final = "0x" + "1".rjust(64, "0")
_ZERO: Final = "0x" + "0" * 64


def _selector(signature: str) -> str:
    return "0x" + keccak256(signature.encode())[:4].hex()


_IS_VALID: Final = _selector("isValidSignature(bytes32,bytes)")
_NEXT_NONCE: Final = _selector("getNonce(address,uint192)")
_IS_INSTALLED: Final = _selector("isModuleInstalled(uint256,address,bytes)")
_OF_A_SESSION: Final = (_selector("isPermissionEnabled(bytes32,address)"), _selector("getNonce(bytes32,address)"))
_MAGIC: Final = "0x1626ba7e" + "0" * 56  # ERC-1271


@dataclass(frozen=True, slots=True)
class Known:
    """An operation of the load, prepared: hash and sender as JSON has them, the nonce, and its tuple in a bundle."""

    hash: str
    sender: str
    nonce: str  # hexadecimal
    packed: str  # ABI-encoded PackedUserOperation, hex
    parked: bool = False  # never mined: it waits behind a gap, say
    held: bool = True  # whether a gate holds it: not those that no session has part in
    grants: str | None = None  # the permission id of a session that is in force once it is mined


@dataclass
class Block:
    """A mined block and what is in it."""

    number: int
    timestamp: int
    bloom: int = 0
    logs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def hash(self) -> str:
        return f"0x{0xB10C << 128 | self.number:064x}"

    def header(self) -> dict[str, Any]:
        return {
            "number": hex(self.number),
            "hash": self.hash,
            "parentHash": f"0x{0xB10C << 128 | self.number - 1:064x}",
            "timestamp": hex(self.timestamp),
            "baseFeePerGas": "0x7",
            "logsBloom": f"0x{self.bloom:0512x}",
        }


_Log = tuple[int, list[str], str]  # what it adds to a block's bloom, its topics, its data


def _log_of(operation: Known) -> _Log:
    sender = "0x" + operation.sender[2:].lower().rjust(64, "0")
    bloom = _FIXED_BLOOM
    for item in (operation.hash, sender):
        bloom |= bloom_of_item(bytes.fromhex(item[2:]))
    data = f"0x{int(operation.nonce, 16):064x}{1:064x}{7_000:064x}{900:064x}"
    return bloom, [_EVENT, operation.hash, sender, _ZERO], data


class FakeChain:
    """Mines what it is given; `started` is the unix time of its first block, `known` its operations by hash."""

    def __init__(self, started: int) -> None:
        self.blocks = [Block(_START, started)]
        self._place: dict[str, tuple[int, int]] = {}  # by operation: block and log index
        self._mined: dict[str, Known] = {}
        self._bundles: dict[str, list[Known]] = {}
        self._prepared: dict[str, _Log] = {}
        self.mined_and_held = 0
        self._granted: set[str] = set()
        self._sequences: dict[tuple[str, int], int] = {}  # the next nonce of a sender's key

    def __len__(self) -> int:
        return len(self._mined)

    def prepare(self, operation: Known) -> None:
        """It will be mined: what takes long is done now, and not of thousands in one go."""
        self._prepared[operation.hash] = _log_of(operation)

    def mine(self, operations: Iterable[Known], timestamp: int) -> Block:
        """One more block."""
        block = Block(self.blocks[-1].number + 1, timestamp)
        bundle: list[Known] = []
        name = ""
        for index, operation in enumerate(operations):
            if index % _BUNDLE == 0:
                bundle, name = [], f"0x{0x7A << 128 | block.number << 64 | index:064x}"
                self._bundles[name] = bundle
            bundle.append(operation)
            bloom, topics, data = self._prepared.pop(operation.hash, None) or _log_of(operation)
            block.bloom |= bloom
            nonce = int(operation.nonce, 16)
            place = {"blockNumber": hex(block.number), "blockHash": block.hash, "transactionHash": name}
            block.logs.append(
                {"address": _ENTRY_POINT, "topics": topics, "data": data, **place, "logIndex": hex(index)}
            )
            self._place[operation.hash] = block.number, index
            self._mined[operation.hash] = operation
            self.mined_and_held += operation.held
            if operation.grants is not None:
                self._granted.add(operation.grants)
            key = operation.sender.lower(), nonce >> _SEQUENCE_BITS
            self._sequences[key] = (nonce & (1 << _SEQUENCE_BITS) - 1) + 1
        self.blocks.append(block)
        return block

    def block(self, number: int) -> Block | None:
        place = number - _START
        return self.blocks[place] if 0 <= place < len(self.blocks) else None

    def receipt(self, name: str) -> dict[str, Any] | None:
        """`eth_getUserOperationReceipt`."""
        if name not in self._place:
            return None
        number, index = self._place[name]
        block = self.blocks[number - _START]
        operation = self._mined[name]
        bundle = {"blockNumber": hex(number), "blockHash": block.hash, "status": "0x1", "logs": []}
        return {
            "userOpHash": name,
            "sender": operation.sender,
            "nonce": operation.nonce,
            "success": True,
            "logs": [],
            "receipt": {**bundle, "transactionHash": block.logs[index]["transactionHash"]},
        }

    def answer(self, method: str, params: list[Any]) -> object:
        """What a node answers. Raises `ValueError` for a view that it has not got, `KeyError` for another method."""
        return _METHODS[method](self, params)

    def _get_block(self, params: list[Any]) -> object:
        block = self.blocks[-1] if params[0] == "latest" else self.block(int(params[0], 16))
        return None if block is None else block.header()

    def _get_logs(self, params: list[Any]) -> object:
        (wanted,) = params
        if "blockHash" in wanted:
            number = int(wanted["blockHash"], 16) & (1 << 128) - 1
            blocks = [self.blocks[number - _START]]
        else:
            first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
            blocks = self.blocks[max(first - _START, 0) : max(last - _START + 1, 0)]
        return [log for block in blocks for log in block.logs if _fits(log, wanted)]

    def _get_transaction(self, params: list[Any]) -> object:
        name: str = params[0]
        if name not in self._bundles:
            return None
        return {"hash": name, "to": _ENTRY_POINT, "input": bundle_of(self._bundles[name])}

    def _call(self, params: list[Any]) -> object:
        data: str = params[0]["data"]
        selector = data[:10]
        if selector == _NEXT_NONCE:
            return f"0x{self._sequences.get((_address(data, 0), int(data[74:138], 16)), 0):064x}"
        if selector == _IS_VALID:
            return _MAGIC
        if selector == _IS_INSTALLED:
            return _TRUE
        if selector in _OF_A_SESSION and "0x" + data[10:74] not in self._granted:
            return _ZERO
        raise ValueError("execution reverted")


def bundle_of(operations: list[Known]) -> str:
    """handleOps with these operations, as call data."""
    offsets, at = [], 32 * len(operations)
    for operation in operations:
        offsets.append(f"{at:064x}")
        at += len(operation.packed) // 2
    tuples = "".join(operation.packed for operation in operations)
    beneficiary = "be" * 20
    return f"{_HANDLE_OPS}{0x40:064x}{beneficiary:0>64}{len(operations):064x}{''.join(offsets)}{tuples}"


def _address(data: str, word: int) -> str:
    start = 10 + 64 * word + 24
    return "0x" + data[start : start + 40].lower()


def _fits(log: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    addresses = wanted.get("address") or []
    addresses = [addresses] if isinstance(addresses, str) else addresses
    if addresses and log["address"] not in {each.lower() for each in addresses}:
        return False
    for topic, some in zip(log["topics"], wanted.get("topics") or [], strict=False):
        if some is not None and topic not in ([some] if isinstance(some, str) else some):
            return False
    return len(log["topics"]) >= len(wanted.get("topics") or [])


_METHODS: Final[Mapping[str, Any]] = {
    "eth_chainId": lambda _chain, _params: hex(CHAIN_ID),
    "eth_blockNumber": lambda chain, _params: hex(chain.blocks[-1].number),
    "eth_getBlockByNumber": FakeChain._get_block,
    "eth_getLogs": FakeChain._get_logs,
    "eth_getTransactionByHash": FakeChain._get_transaction,
    "eth_call": FakeChain._call,
    "eth_getCode": lambda _chain, _params: "0x01",
    "eth_maxPriorityFeePerGas": lambda _chain, _params: "0x3b9aca00",
}
