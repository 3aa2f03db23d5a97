"""Accounts of both kinds, with a registry of modules and without, to which operations are put as the entry point does.

`validateUserOp` is called by the entry point's own address. A call tells what the account and the session module say; a
transaction moves the module's counters, as the validation of an operation that is mined does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from coincurve import PrivateKey

from proxy.session.addresses import SMART_SESSION
from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, parse_address, parse_bytes, print_bytes
from proxy.userop.user_operation import UserOperation
from tests.e2e.differential.agreement import Answer
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.wallet import (
    SafeWallet,
    Wallet,
    arguments,
    hash_of,
    open_wallet,
    receipt_of,
    rpc,
    send_transaction,
    transact,
)
from tests.e2e.flow import Flow, run_flow
from tests.e2e.rig import ENTRY_POINT, Rig, development_keys

SHAPES: Final = ("Nexus", "Nexus with a registry", "Safe7579", "Safe7579 with a registry")
_GAS: Final = 9_000_000
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
        wallets[1].shape = SHAPES[1]
        self.by_accounts((wallet, wallet.installation()) for wallet in wallets)
        registry = arguments(
            "setRegistry(address,address[],uint8)",
            (abi.ADDRESS, abi.list_of(abi.ADDRESS), abi.UINT8),
            *(REGISTRY, [REGISTRY], 1),
        )
        self.by_accounts([(wallets[1], Call(wallets[1].address, 0, registry))])
        (owner,) = development_keys("owner")
        with ThreadPoolExecutor() as at_once:  # each waits for an SDK
            safes = at_once.map(self._safe, ((), ("attested",)), (next(self.indices), next(self.indices)))
            wallets += [SafeWallet(safe, _key(owner), shape) for safe, shape in zip(safes, SHAPES[2:], strict=True)]
        return wallets

    def _safe(self, how: tuple[str, ...], index: int) -> Address:
        flow = Flow(f"safe-account-{index}", "flows/safe-account.mjs", how)
        steps = run_flow(self.rig, flow, run=flow.name, bundler_url=self.rig.recorder + "/bundler", account_index=index)
        address = next(step["answer"] for step in steps if step["step"] == "account")
        return parse_address(address, "account")

    def by_accounts(self, calls: Iterable[tuple[Wallet, Call]]) -> None:
        """Calls of the accounts' own, whoever may have them made. All of them are on their way before one is waited
        for."""
        sent = []
        for wallet, call in calls:
            account = print_bytes(wallet.address)
            rpc(self.rig.node, "anvil_impersonateAccount", account)
            sent.append(send_transaction(self.rig, print_bytes(call.target), call.data, sender=account, gas=_GAS))
        for each in sent:
            receipt_of(self.rig.node, each)

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
        transact(self.rig, print_bytes(op.sender), _validation(op), sender=ENTRY_POINT, gas=_GAS)


def _key(printed: str) -> PrivateKey:
    return PrivateKey(parse_bytes(printed, "key"))


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
