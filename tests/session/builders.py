"""A session that works, and operations that fit it: tests change one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import Counter, SessionKey
from proxy.session.enforce import enforce
from proxy.session.outcome import Verdict
from proxy.session.revert import Revert
from proxy.session.signers import VALID, SignatureVerdict
from proxy.session.state import SessionState
from proxy.session.transitions import enable
from proxy.userop.decode import DecodedOperation, SessionClaim
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.execution import EXECUTE, Call, CallType, Execution
from proxy.userop.nonce import NonceLayout
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import FALLBACK_SELECTOR, FLAG_TARGET, ActionData, PolicyData, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode
from proxy.userop.user_operation import UserOperation


def address(text: str) -> Address:
    return Address(bytes.fromhex(text.removeprefix("0x")))


ACCOUNT = Address(b"\xac" * 20)
TOKEN = Address(b"\x70" * 20)
OTHER_TOKEN = Address(b"\x71" * 20)
FRIEND = Address(b"\xf1" * 20)
STRANGER = Address(b"\x57" * 20)
PAYMASTER = Address(b"\x9a" * 20)
UNKNOWN_POLICY = Address(b"\x99" * 20)
OWNABLE = address("0x000000000013fdB5234E4E3162a810F54d9f7E98")

SUDO = address("0x0000000000FEEc8D74e3143fBaBbca515358d869")
UNI_ACTION = address("0x0000000000714Cf48FcF88A0bFBa70d313415032")
ARG = address("0x0000000000167edE64D8751daACDdC0312565a73")
SPENDING = address("0x000000000033212E272655D8a22402Db819477A6")
TIME = address("0x0000000000D30f611fA3bf652ac6879428586930")
USAGE = address("0x00000000001d4479FA2A947026204d0283ceDe4B")
VALUE = address("0x000000000021dC45451291BCDfc9f0B46d6f0278")
GAS = address("0x0000000000d14A6F771494592218d8F9c2ddEbB6")
TARGETS = address("0x0000000000d79359D85e62796104D7AE863fFAcb")

TRANSFER = Selector(bytes.fromhex("a9059cbb"))
APPROVE = Selector(bytes.fromhex("095ea7b3"))
NOW = 1_700_000_000


def word(value: int | bytes) -> bytes:
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def spending(*limits: tuple[Address, int]) -> PolicyData:
    tokens = b"".join(word(token) for token, _ in limits)
    amounts = b"".join(word(limit) for _, limit in limits)
    count = word(len(limits))
    return PolicyData(SPENDING, word(0x40) + word(0x60 + len(tokens)) + count + tokens + count + amounts)


def usage(limit: int) -> PolicyData:
    return PolicyData(USAGE, limit.to_bytes(16, "big"))


def value_limit(limit: int) -> PolicyData:
    return PolicyData(VALUE, word(limit))


def time_frame(valid_until: int, valid_after: int = 0) -> PolicyData:
    return PolicyData(TIME, valid_until.to_bytes(6, "big") + valid_after.to_bytes(6, "big"))


def gas(gas_limit: int, cost_limit: int) -> PolicyData:
    return PolicyData(GAS, gas_limit.to_bytes(16, "big") + cost_limit.to_bytes(16, "big"))


def only(*targets: Address) -> PolicyData:
    return PolicyData(TARGETS, b"".join(targets))


sudo = PolicyData(SUDO, b"")


def rule(
    condition: int, offset: int = 0, reference: int = 0, *, limit: int | None = None, used: int = 0
) -> tuple[int, ...]:
    """The six words of a ParamRule; `limit` makes it a limited one."""
    return (condition, offset, int(limit is not None), reference, limit or 0, used)


def uni_action(*rules: tuple[int, ...], value: int = 0) -> PolicyData:
    slots = [*rules, *[(0,) * 6] * (16 - len(rules))]
    return PolicyData(UNI_ACTION, word(value) + word(len(rules)) + b"".join(word(n) for each in slots for n in each))


def node(kind: str, *, index: int = 0, left: int = 0, right: int = 0) -> int:
    return ("rule", "not", "and", "or").index(kind) | index << 2 | left << 10 | right << 18


def arg(rules: Sequence[tuple[int, ...]], nodes: Sequence[int], *, root: int = 0, value: int = 0) -> PolicyData:
    coded_rules = word(len(rules)) + b"".join(word(n) for each in rules for n in each)
    coded_nodes = word(len(nodes)) + b"".join(word(n) for n in nodes)
    expression = word(root) + word(0x60) + word(0x60 + len(coded_rules)) + coded_rules + coded_nodes
    return PolicyData(ARG, word(0x20) + word(value) + word(0x40) + expression)


def action(target: Address, selector: Selector, *policies: PolicyData) -> ActionData:
    return ActionData(selector, target, policies)


def fallback(*policies: PolicyData) -> ActionData:
    return ActionData(FALLBACK_SELECTOR, FLAG_TARGET, policies)


def session(
    *actions: ActionData, user_op: Sequence[PolicyData] = (), paymaster: bool = False, salt: int = 1
) -> SessionData:
    owner = word(1) + word(0x40) + word(1) + word(b"\x0e" * 20)
    return SessionData(
        session_validator=OWNABLE,
        session_validator_init_data=owner,
        salt=Hash32(word(salt)),
        user_op_policies=tuple(user_op),
        actions=actions,
        permit_erc4337_paymaster=paymaster,
    )


def key_of(grant: SessionData) -> SessionKey:
    return SessionKey(1, SMART_SESSION, ACCOUNT, grant.permission_id)


def enabled(grant: SessionData) -> SessionState:
    """The session as it stands once the owner has enabled it."""
    state = enable(SessionState(key=key_of(grant), enable_nonce=0), grant)
    assert not isinstance(state, Revert), state
    return state


def transfer(amount: int, *, to: Address = FRIEND, token: Address = TOKEN, value: int = 0) -> Call:
    return Call(token, value, TRANSFER + word(to) + word(amount))


def approve(amount: int, *, spender: Address = FRIEND, token: Address = TOKEN) -> Call:
    return Call(token, 0, APPROVE + word(spender) + word(amount))


def call(target: Address = TOKEN, *, value: int = 0, data: bytes = b"") -> Call:
    return Call(target, value, data)


def operation(
    state: SessionState,
    *calls: Call,
    execution: Execution | None = None,
    version: EntryPointVersion = EntryPointVersion.V07,
    envelope: SessionEnvelope | None = None,
    call_data: bytes | None = None,
    **fields: Any,
) -> DecodedOperation:
    """An operation of the session that makes `calls`: one as a single execution, several as a batch."""
    if execution is None:
        kind = CallType.SINGLE if len(calls) == 1 else CallType.BATCH
        execution = Execution(EXECUTE, kind, 0, calls)
    gas_fields = {
        "call_gas_limit": 100_000,
        "verification_gas_limit": 100_000,
        "pre_verification_gas": 50_000,
        "max_fee_per_gas": 2,
        "max_priority_fee_per_gas": 1,
    }
    data = EXECUTE + bytes(32) if call_data is None else call_data
    op = UserOperation(**{"sender": ACCOUNT, "nonce": 0, "call_data": data, "signature": b"", **gas_fields, **fields})
    claimed = envelope or SessionEnvelope(
        mode=SessionMode.USE, permission_id=state.key.permission_id, signature=b"\x01" * 65
    )
    return DecodedOperation(
        op=op,
        entry_point=ENTRY_POINT_BY_VERSION[version],
        chain_id=1,
        told_hash=Hash32(b"\x0b" * 32),
        claim=SessionClaim(module=state.key.module, layout=NonceLayout.VALIDATOR_FIRST, envelope=claimed),
        execution=execution,
        calls=execution.calls,
        movements=(),
        acts=(),
    )


def signed(*_: object) -> SignatureVerdict:
    """A session key that always signs."""
    return VALID


def nothing_in_flight(_: Counter) -> int:
    return 0


def judge(
    state: SessionState,
    *calls: Call,
    in_flight: Callable[[Counter], int] | None = nothing_in_flight,
    now: int | None = NOW,
    base_fee: int | None = 0,
    options: dict[str, Any] | None = None,
    **of_operation: Any,
) -> Verdict:
    """enforce, with everything that a test does not say in its favour."""
    return enforce(
        operation(state, *calls, **of_operation),
        state,
        base_fee=base_fee,
        in_flight=in_flight,
        now=now,
        **{"check_signature": signed, **(options or {})},
    )


def with_key(state: SessionState, **parts: Any) -> SessionState:
    """The same session somewhere else."""
    return replace(state, key=state.key._replace(**parts))
