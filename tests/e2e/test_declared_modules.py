"""Session modules of dapps' own, told about in different words and deployed on the chain, are enforced like any."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
from coincurve import PrivateKey

from proxy.errors import Code
from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, keccak256, parse_address, parse_bytes, print_bytes
from proxy.userop.user_operation import UserOperation, print_user_operation
from tests.e2e.differential.wallet import (
    COUNTER,
    Wallet,
    address_of,
    arguments,
    batch,
    hash_of,
    open_wallet,
    personal_sign,
    receipt_of,
    rpc,
    sign,
    single,
)
from tests.e2e.gate import Gate
from tests.e2e.rig import ENTRY_POINT, HERE, Rig
from tests.patience import PATIENCE_SECONDS
from tests.session.declared_modules import CREATE, CREATED, GRANT_LIST, GRANTED_LIST, REVOKE, REVOKED

IN_PARALLEL = 20
MOST_USES = 7
KEY, STRANGER = PrivateKey(b"\x1d" * 32), PrivateKey(b"\x1e" * 32)
ID = keccak256(b"a session of many calls")
INCREMENT = Call(COUNTER, 0, arguments("increment()", ()))
ADD = Call(COUNTER, 0, arguments("add(uint256)", (abi.UINT256,), 1))
_ENVELOPE = abi.tuple_of(abi.BYTES32, abi.BYTES)
_INSTALL = (abi.UINT256, abi.ADDRESS, abi.BYTES)
_SPENT = (abi.ADDRESS, abi.BYTES32)
_CREATE = (abi.ADDRESS, abi.ADDRESS, abi.BYTES4, abi.UINT256, abi.uint(48), abi.uint(48))
_CALLS = abi.list_of(abi.tuple_of(abi.BYTES4, abi.ADDRESS, abi.uint(128)))
_GRANT = (abi.UINT64, abi.BYTES32, _CALLS, abi.uint(32), abi.UINT256, abi.ADDRESS)


@dataclass
class Place:
    """An account, a gate, and the bundler itself."""

    rig: Rig
    gate: Gate
    wallet: Wallet

    def send(self, op: UserOperation, url: str | None = None) -> dict[str, Any]:
        return rpc(url or self.gate.url, "eth_sendUserOperation", print_user_operation(op), ENTRY_POINT)

    def mine(self, op: UserOperation, url: str | None = None) -> None:
        """It is taken, and its calls succeed."""
        answer = self.send(op, url)
        assert "result" in answer, answer
        self.await_mined(hash_of(op))

    def await_mined(self, user_op_hash: Hash32) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            receipt = rpc(self.rig.bundler, "eth_getUserOperationReceipt", print_bytes(user_op_hash)).get("result")
            if receipt:
                assert receipt["success"], receipt
                return
            time.sleep(0.05)
        raise AssertionError("it was not mined")

    def past_the_gate(self, *calls: Call) -> None:
        self.mine(self.wallet.by_owner(*calls), self.rig.bundler)

    def refused(self, op: UserOperation) -> int:
        """The gate's code for an operation that the chain does not take either."""
        answer = self.send(op)
        assert "error" in answer, answer
        straight = self.send(op, self.rig.bundler)
        assert "error" in straight, (answer, straight)
        code: int = answer["error"]["code"]
        return code

    def await_statuses(self, *statuses: str) -> None:
        """The sessions stand so, whatever made the gate know."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = sorted(session["status"] for session in self.gate.show("/sessions")["sessions"])
            if found == sorted(statuses):
                return
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def await_told_of(self, what: str, times: int = 1) -> None:
        """The gate has heard, in this life, of something that went past it so often."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.gate.counted("sessiongate_past_gate_total", what=what) < times:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@dataclass
class Dapp(Place):
    """An account with both modules, and a gate that was told about them."""

    guide: Address
    budget: Address

    def start(self, since: str = "") -> None:
        self.gate.start(self.rig, of_chain=self.settings(since))

    def settings(self, since: str) -> str:
        return (
            "    session_modules:\n"
            "      - default\n"
            f"      - {{kind: declared, address: {print_bytes(self.guide)}{since},\n"
            f"         grants: ['{CREATE}', '{CREATED}'], revokes: ['{REVOKE}', '{REVOKED}']}}\n"
            f"      - {{kind: declared, address: {print_bytes(self.budget)}{since}, key_signs: hash,\n"
            "         signature: 'abi(bytes32 id, bytes signature)',\n"
            f"         grants: ['{GRANT_LIST}', '{GRANTED_LIST}'],\n"
            "         revokes: ['close(bytes32 id)', 'event Closed(address indexed account, bytes32 indexed id)']}\n"
        )

    # what the owner does

    def create(self, value: int = 0, until: int = 0) -> Call:
        target, selector = INCREMENT.target, INCREMENT.data[:4]
        given = (address_of(KEY), target, selector, value, until, 0)
        return Call(
            self.guide, 0, arguments("createSession(address,address,bytes4,uint256,uint48,uint48)", _CREATE, *given)
        )

    def revoke(self) -> Call:
        return Call(self.guide, 0, arguments("revokeSession(address)", (abi.ADDRESS,), address_of(KEY)))

    def grant(self) -> Call:
        calls = [(INCREMENT.data[:4], COUNTER, 5), (ADD.data[:4], COUNTER, 0)]
        given = (0, ID, calls, MOST_USES, 12, address_of(KEY))
        name = f"grant(uint64,bytes32,{_CALLS.name},uint32,uint256,address)"
        return Call(self.budget, 0, arguments(name, _GRANT, *given))

    def close(self) -> Call:
        return Call(self.budget, 0, arguments("close(bytes32)", (abi.BYTES32,), ID))

    # what the session key does

    def by_guide(self, *calls: Call, key: PrivateKey = KEY) -> UserOperation:
        op = self.wallet.operation(single(*calls) if len(calls) == 1 else batch(*calls), validator=self.guide)
        return replace(op, signature=personal_sign(key, hash_of(op)))

    def by_budget(self, *calls: Call, key: PrivateKey = KEY, name: bytes = ID) -> UserOperation:
        op = self.wallet.operation(single(*calls) if len(calls) == 1 else batch(*calls), validator=self.budget)
        return replace(op, signature=abi.encode(_ENVELOPE, (name, sign(key, hash_of(op)))))

    def spent(self) -> tuple[int, int]:
        """Uses and value that the module itself has counted."""
        data = arguments("spent(address,bytes32)", _SPENT, self.wallet.address, ID)
        asked = {"to": print_bytes(self.budget), "data": print_bytes(data)}
        answer = parse_bytes(rpc(self.rig.node, "eth_call", asked, "latest")["result"], "result")
        return int.from_bytes(answer[:32], "big"), int.from_bytes(answer[32:], "big")


def deploy(rig: Rig, name: str) -> Address:
    contracts = json.loads((HERE / "build" / "contracts.json").read_text())
    funder = rpc(rig.node, "eth_accounts")["result"][0]
    made = {"from": funder, "data": contracts[name]["bytecode"], "gas": hex(8_000_000)}
    sent = rpc(rig.node, "eth_sendTransaction", made)["result"]
    return parse_address(receipt_of(rig.node, sent)["contractAddress"], "contractAddress")


@pytest.fixture
def dapp(rig: Rig, own_gate: Gate) -> Dapp:
    wallet = open_wallet(rig, PrivateKey(b"\x1f" * 32))
    there = Dapp(rig, own_gate, wallet, deploy(rig, "GuideSessionModule"), deploy(rig, "BudgetSessionModule"))
    there.start()
    installs = [
        Call(wallet.address, 0, arguments("installModule(uint256,address,bytes)", _INSTALL, 1, module, b""))
        for module in (there.guide, there.budget)
    ]
    there.mine(wallet.by_owner(*installs))
    return there


def test_sessions_of_two_modules_are_learnt_by_call_and_by_event_limited_in_parallel_and_revoked_past_the_gate(
    dapp: Dapp,
) -> None:
    # one is granted by a call through the gate, the other past it: only the module's event tells of that
    dapp.mine(dapp.wallet.by_owner(dapp.create()))
    dapp.past_the_gate(dapp.grant())
    dapp.await_statuses("in_force", "in_force")

    # the gate refuses what the chain would not take
    outside = replace(INCREMENT, target=dapp.wallet.address)
    for op, code in (
        (dapp.by_guide(ADD), Code.SESSION_SCOPE),
        (dapp.by_guide(outside), Code.SESSION_SCOPE),
        (dapp.by_guide(replace(INCREMENT, value=1)), Code.SESSION_SCOPE),
        (dapp.by_guide(INCREMENT, key=STRANGER), Code.SESSION_UNKNOWN),
        (dapp.by_budget(outside), Code.SESSION_SCOPE),
        (dapp.by_budget(replace(ADD, value=1)), Code.SESSION_SCOPE),
        (dapp.by_budget(replace(INCREMENT, value=6)), Code.SESSION_SCOPE),
        (dapp.by_budget(*[replace(INCREMENT, value=5)] * 3), Code.LIMIT_EXCEEDED),
        (dapp.by_budget(*[ADD] * (MOST_USES + 1)), Code.LIMIT_EXCEEDED),
        (dapp.by_budget(ADD, key=STRANGER), Code.SESSION_SCOPE),
        (dapp.by_budget(ADD, name=keccak256(b"another")), Code.SESSION_UNKNOWN),
    ):
        assert dapp.refused(op) == code, op

    # twenty of each at once: the one without a limit passes whole, the other as often as it may
    by_guide = [dapp.by_guide(INCREMENT) for _ in range(IN_PARALLEL)]
    by_budget = [dapp.by_budget(replace(INCREMENT, value=1)) for _ in range(IN_PARALLEL)]
    with ThreadPoolExecutor(2 * IN_PARALLEL) as pool:
        answers = list(pool.map(dapp.send, [*by_guide, *by_budget]))
    assert all("result" in answer for answer in answers[:IN_PARALLEL]), answers[:IN_PARALLEL]
    codes = Counter(answer["error"]["code"] if "error" in answer else None for answer in answers[IN_PARALLEL:])
    assert codes == {None: MOST_USES, Code.LIMIT_EXCEEDED: IN_PARALLEL - MOST_USES}

    # kill -9 while they are on their way; while nobody is there, they are mined and one session is revoked
    dapp.gate.kill()
    for op, answer in zip([*by_guide, *by_budget], answers, strict=True):
        if "result" in answer:
            dapp.await_mined(hash_of(op))
    assert dapp.spent() == (MOST_USES, MOST_USES)
    dapp.past_the_gate(dapp.revoke())
    dapp.start()
    dapp.await_statuses("in_force", "removed")
    assert dapp.refused(dapp.by_guide(INCREMENT)) == Code.SESSION_REVOKED
    assert dapp.refused(dapp.by_budget(ADD)) == Code.LIMIT_EXCEEDED

    # granted again it counts afresh, for the gate as for the module, and what is used past the gate counts with it
    dapp.past_the_gate(dapp.grant())
    dapp.await_told_of("grant")
    dapp.mine(dapp.by_budget(*[ADD] * (MOST_USES - 2)))
    dapp.mine(dapp.by_budget(ADD), dapp.rig.bundler)
    dapp.await_told_of("use")
    assert dapp.refused(dapp.by_budget(ADD, ADD)) == Code.LIMIT_EXCEEDED
    dapp.mine(dapp.by_budget(ADD))
    assert dapp.spent() == (MOST_USES, 0)

    dapp.past_the_gate(dapp.close())
    dapp.await_statuses("removed", "removed")
    assert dapp.refused(dapp.by_budget(ADD)) == Code.SESSION_REVOKED
    dapp.past_the_gate(dapp.create(value=3))
    dapp.await_statuses("in_force", "removed")
    dapp.mine(dapp.by_guide(replace(INCREMENT, value=3), replace(INCREMENT, value=2)))
    shown = json.loads(dapp.gate.command("sessions", "list", "--json"))
    assert sorted(session["status"] for session in shown) == ["in_force", "removed"]

    # a gate that begins with an empty ledger learns from the modules' events what was granted before it was there
    dapp.gate.stop()
    dapp.gate = Gate.in_folder(dapp.gate.folder / "anew")
    try:
        dapp.start(since=", from_block: 0")
        dapp.await_statuses("in_force", "removed")
        dapp.mine(dapp.by_guide(INCREMENT))
        assert dapp.refused(dapp.by_budget(ADD)) == Code.SESSION_REVOKED
    finally:
        dapp.gate.stop()


QUIET_GRANT = "allow(uint32 maxUses, bytes4 selector, address sessionKey, address target)"


def test_a_module_that_no_event_tells_of_is_learnt_by_its_calls_alone_and_by_its_packed_signatures(
    rig: Rig, own_gate: Gate
) -> None:
    wallet, quiet = open_wallet(rig, PrivateKey(b"\x20" * 32)), deploy(rig, "QuietSessionModule")
    there = Place(rig, own_gate, wallet)
    own_gate.start(
        rig,
        of_chain=(
            "    session_modules:\n"
            f"      - {{kind: declared, address: {print_bytes(quiet)},\n"
            "         signature: 'packed(address sessionKey, bytes signature)',\n"
            f"         grants: ['{QUIET_GRANT}'], revokes: ['forbid(address sessionKey)']}}\n"
        ),
    )

    def using(*calls: Call, key: PrivateKey = KEY, named: PrivateKey = KEY) -> UserOperation:
        op = wallet.operation(single(*calls) if len(calls) == 1 else batch(*calls), validator=quiet)
        return replace(op, signature=address_of(named) + personal_sign(key, hash_of(op)))

    install = arguments("installModule(uint256,address,bytes)", _INSTALL, 1, quiet, b"")
    there.mine(wallet.by_owner(Call(wallet.address, 0, install)))
    assert there.refused(using(INCREMENT)) == Code.SESSION_UNKNOWN

    granted = (abi.uint(32), abi.BYTES4, abi.ADDRESS, abi.ADDRESS)
    given = (MOST_USES, INCREMENT.data[:4], address_of(KEY), COUNTER)
    there.mine(wallet.by_owner(Call(quiet, 0, arguments("allow(uint32,bytes4,address,address)", granted, *given))))
    there.await_statuses("in_force")
    cut = using(INCREMENT)
    for op, code in (
        (using(ADD), Code.SESSION_SCOPE),
        (using(replace(INCREMENT, value=1)), Code.SESSION_SCOPE),
        (using(INCREMENT, key=STRANGER), Code.SESSION_SCOPE),
        (using(INCREMENT, key=STRANGER, named=STRANGER), Code.SESSION_UNKNOWN),
        (using(*[INCREMENT] * (MOST_USES + 1)), Code.LIMIT_EXCEEDED),
        (replace(cut, signature=cut.signature[:19]), Code.UNDECODABLE),
    ):
        assert there.refused(op) == code, op

    ops = [using(INCREMENT) for _ in range(IN_PARALLEL)]
    with ThreadPoolExecutor(IN_PARALLEL) as pool:
        answers = list(pool.map(there.send, ops))
    codes = Counter(answer["error"]["code"] if "error" in answer else None for answer in answers)
    assert codes == {None: MOST_USES, Code.LIMIT_EXCEEDED: IN_PARALLEL - MOST_USES}
    for op, answer in zip(ops, answers, strict=True):
        if "result" in answer:
            there.await_mined(hash_of(op))
    assert there.refused(using(INCREMENT)) == Code.LIMIT_EXCEEDED

    # what was granted past the gate it cannot know, and says so
    other = (MOST_USES, INCREMENT.data[:4], address_of(STRANGER), COUNTER)
    past = arguments("allow(uint32,bytes4,address,address)", granted, *other)
    there.past_the_gate(Call(quiet, 0, past))
    by_stranger = there.send(using(INCREMENT, key=STRANGER, named=STRANGER))
    assert by_stranger["error"]["code"] == Code.SESSION_UNKNOWN

    there.mine(wallet.by_owner(Call(quiet, 0, arguments("forbid(address)", (abi.ADDRESS,), address_of(KEY)))))
    there.await_statuses("removed")
    assert there.refused(using(INCREMENT)) == Code.SESSION_REVOKED
