"""A Nexus account on the rig's chain with the session module installed: it builds, signs and reads nothing back."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from coincurve import PrivateKey

from proxy.session.addresses import SMART_SESSION
from proxy.userop import abi
from proxy.userop.arguments import selector
from proxy.userop.entry_point import ENTRY_POINT_BY_ADDRESS
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import Address, Hash32, keccak256, parse_address, parse_bytes, print_bytes
from proxy.userop.secp256k1 import signed_message_hash
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation
from tests.e2e.rig import CHAIN_ID, ENTRY_POINT, Rig
from tests.patience import PATIENCE_SECONDS, patiently
from tests.session.builders import address

COUNTER = address("0x00000000000000000000000000000000c0c0c0c0")
TOKEN = address("0x00000000000000000000000000000000dadadada")
PAYMASTER = address("0x00000000000000000000000000000000fafafafa")
OWNABLE = address("0x000000000013fdB5234E4E3162a810F54d9f7E98")
OWNABLE_BETA = address("0x0000000000e9e6e96bcaa3c113187cdb7e38aed9")
OWNER_VALIDATOR = OWNABLE
V07 = ENTRY_POINT_BY_ADDRESS[parse_address(ENTRY_POINT, "entryPoint")]

GAS = {
    "call_gas_limit": 600_000,
    "verification_gas_limit": 1_500_000,
    "pre_verification_gas": 120_000,
    "max_fee_per_gas": 3 * 10**9,
    "max_priority_fee_per_gas": 10**9,
}
MOST_GAS = {**GAS, "call_gas_limit": 4_000_000, "verification_gas_limit": 5_000_000}
"""For operations that write sessions down."""

_CREATE = abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.list_of(abi.ADDRESS), abi.UINT8)
_EXECUTION = abi.tuple_of(abi.BYTES32, abi.BYTES)
_BATCH = abi.tuple_of(abi.list_of(abi.tuple_of(abi.ADDRESS, abi.UINT256, abi.BYTES)))


def rpc(url: str, method: str, *params: object) -> dict[str, Any]:
    """One JSON-RPC call; the whole answer, errors included."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def address_of(key: PrivateKey) -> Address:
    return Address(keccak256(key.public_key.format(compressed=False)[1:])[12:])


def sign(key: PrivateKey, digest: bytes) -> bytes:
    """r ‖ s ‖ v with v of 27 or 28."""
    signature = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes((signature[64] + 27,))


def personal_sign(key: PrivateKey, digest: bytes) -> bytes:
    """Over the EIP-191 form, as wallets and SDKs sign a message."""
    return sign(key, signed_message_hash(digest))


def eth_sign(key: PrivateKey, digest: bytes) -> bytes:
    """The same with 4 added to v, by which validators tell it from a signature over the digest itself."""
    signature = personal_sign(key, digest)
    return signature[:64] + bytes((signature[64] + 4,))


def single(call: Call, mode: bytes = bytes(32)) -> bytes:
    packed = call.target + call.value.to_bytes(32, "big") + call.data
    return EXECUTE + abi.encode(_EXECUTION, [mode, packed])


def batch(*calls: Call, mode: bytes = b"\x01" + bytes(31)) -> bytes:
    packed = abi.encode(_BATCH, [[(call.target, call.value, call.data) for call in calls]])
    return EXECUTE + abi.encode(_EXECUTION, [mode, packed])


def arguments(signature: str, types: tuple[abi.AbiType, ...], *values: Any) -> bytes:
    """A function call by its signature."""
    return selector(signature) + abi.encode(abi.tuple_of(*types), values)


def hash_of(op: UserOperation) -> Hash32:
    return user_op_hash(op, V07, CHAIN_ID)


@dataclass
class Wallet:
    """The account and its owner. Each operation gets a nonce lane of its own, so that none waits for another."""

    address: Address
    owner: PrivateKey
    shape: str = "Nexus"
    lanes: Iterator[int] = field(default_factory=lambda: count(1))

    def operation(self, call_data: bytes, *, validator: Address = SMART_SESSION, **changes: Any) -> UserOperation:
        """Unsigned."""
        nonce = next(self.lanes).to_bytes(3, "big") + b"\0" + validator + bytes(8)
        fields = {**GAS, "sender": self.address, "nonce": int.from_bytes(nonce, "big"), "call_data": call_data}
        return UserOperation(**{**fields, "signature": b"", **changes})

    def by_owner(self, *calls: Call) -> UserOperation:
        """Signed by the owner, through the account's own validator."""
        op = self.operation(batch(*calls), validator=OWNER_VALIDATOR, **MOST_GAS)
        return replace(op, signature=sign(self.owner, hash_of(op)))

    def installation(self) -> Call:
        """The session module, as a validator."""
        types = (abi.UINT256, abi.ADDRESS, abi.BYTES)
        return Call(self.address, 0, arguments("installModule(uint256,address,bytes)", types, 1, SMART_SESSION, b""))


@dataclass
class SafeWallet(Wallet):
    """A Safe7579 account: the validator stands first in its nonces."""

    def operation(self, call_data: bytes, *, validator: Address = SMART_SESSION, **changes: Any) -> UserOperation:
        nonce = int.from_bytes(validator + next(self.lanes).to_bytes(4, "big") + bytes(8), "big")
        return super().operation(call_data, validator=validator, **{"nonce": nonce, **changes})


def open_wallet(rig: Rig, owner: PrivateKey) -> Wallet:
    """Creates the account and gives it ether and tokens."""
    factory = rig.deployed["ownerFactory"]
    argument = abi.encode(_CREATE, (address_of(owner), 0, [], 0))
    computed = selector("computeAccountAddress(address,uint256,address[],uint8)") + argument
    answer = rpc(rig.node, "eth_call", {"to": factory, "data": print_bytes(computed)}, "latest")
    account = Address(parse_bytes(answer["result"], "result")[12:])
    transact(rig, factory, selector("createAccount(address,uint256,address[],uint8)") + argument)
    rpc(rig.node, "anvil_setBalance", print_bytes(account), hex(100 * 10**18))
    mint = arguments("mint(address,uint256)", (abi.ADDRESS, abi.UINT256), account, 10**9)
    transact(rig, print_bytes(TOKEN), mint)
    return Wallet(account, owner)


def transact(rig: Rig, to: str, data: bytes, *, sender: str | None = None, gas: int = 5_000_000) -> None:
    """A plain transaction of the chain's funder, or of an account that may be impersonated."""
    receipt_of(rig.node, send_transaction(rig, to, data, sender=sender, gas=gas))


def send_transaction(rig: Rig, to: str, data: bytes, *, sender: str | None = None, gas: int = 5_000_000) -> str:
    """The same, not waited for; its hash."""
    sender = sender or rpc(rig.node, "eth_accounts")["result"][0]
    transaction = {"from": sender, "to": to, "data": print_bytes(data), "gas": hex(gas)}
    sent: str = rpc(rig.node, "eth_sendTransaction", transaction)["result"]
    return sent


def receipt_of(node: str, transaction: str) -> dict[str, Any]:
    """Of a transaction that anvil was handed and that has to succeed; anvil mines it soon, not at once."""
    for _ in patiently():
        receipt: dict[str, Any] | None = rpc(node, "eth_getTransactionReceipt", transaction)["result"]
        if receipt is not None:
            assert receipt["status"] == "0x1", receipt
            return receipt
        time.sleep(0.01)
    raise AssertionError(f"no receipt for {transaction}")
