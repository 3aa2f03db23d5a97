"""What a session declared by hand allows: exactly what is written down, and one step further nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from coincurve import PrivateKey

from proxy.errors import Code, Reason
from proxy.session.addresses import SMART_SESSION, VALIDATOR_KINDS, ValidatorKind
from proxy.session.counters import Charge, Counter
from proxy.session.declared import (
    DECLARED_POLICY,
    DeclaredAction,
    DeclaredFit,
    DeclaredSession,
    is_declarable,
    judge_declared,
    use_counter,
)
from proxy.session.signers import check_session_signature, signed_message_hash
from proxy.session.validity import UINT48_MAX, Window
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.execution import EXECUTE, Call
from proxy.userop.primitives import Address, Hash32, Selector, keccak256
from proxy.userop.session_data import FLAG_TARGET
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from proxy.userop.user_operation import UserOperation

ACCOUNT = Address(b"\x11" * 20)
TOKEN = Address(b"\x22" * 20)
FRIEND = Address(b"\x33" * 20)
PERMISSION = Hash32(b"\xab" * 32)
CHAIN = 1868
NOW = 1_800_000_000
TRANSFER = Selector(bytes.fromhex("a9059cbb"))
KEY = PrivateKey(b"\x01" * 32)
STRANGER = PrivateKey(b"\x02" * 32)
V07 = ENTRY_POINT_BY_VERSION[EntryPointVersion.V07]

transfer = Call(TOKEN, 0, TRANSFER + bytes(64))
gift = Call(FRIEND, 5, b"")


def address_of(key: PrivateKey) -> Address:
    return Address(keccak256(key.public_key.format(compressed=False)[1:])[12:])


ECDSA_VALIDATORS = [each for each, kind in VALIDATOR_KINDS.items() if kind is ValidatorKind.ECDSA]
OWNABLE_RELEASE = Address(bytes.fromhex("000000000013fdB5234E4E3162a810F54d9f7E98"))
OWNABLE_BETA = Address(bytes.fromhex("0000000000E9E6E96Bcaa3c113187CdB7E38AED9"))
OWNABLE_V0 = Address(bytes.fromhex("2483DA3A338895199E5e538530213157e931Bf06"))

SESSION = DeclaredSession(
    chain_id=CHAIN,
    account=ACCOUNT,
    permission_id=PERMISSION,
    session_key=address_of(KEY),
    actions=(
        DeclaredAction(target=TOKEN, selector=TRANSFER, max_uses=3, valid_until=NOW + 10),
        DeclaredAction(target=FRIEND, max_value=5, valid_after=NOW - 10),
    ),
)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 32)


def execute(*calls: Call, call_type: int = 1, exec_type: int = 0) -> bytes:
    """execute(bytes32,bytes) with a batch, as ERC-7579 encodes it."""
    entries = [bytes(12) + c.target + word(c.value) + word(96) + word(len(c.data)) + pad(c.data) for c in calls]
    offsets, at = [], 32 * len(entries)
    for entry in entries:
        offsets.append(word(at))
        at += len(entry)
    batch = word(32) + word(len(entries)) + b"".join(offsets) + b"".join(entries)
    mode = bytes((call_type, exec_type)) + bytes(30)
    return EXECUTE + mode + word(64) + word(len(batch)) + pad(batch)


def plain(digest: bytes) -> bytes:
    """What is signed: the hash itself."""
    return digest


def sign(key: PrivateKey, digest: bytes) -> bytes:
    signature = key.sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes((27 + signature[64],))


def operation(
    *calls: Call,
    key: PrivateKey = KEY,
    prepare: Callable[[bytes], bytes] = plain,
    call_data: bytes | None = None,
    sender: Address = ACCOUNT,
    chain_id: int = CHAIN,
) -> DecodedOperation:
    """A USE operation of Smart Sessions with these calls, signed by `key`."""
    op = UserOperation(
        sender=sender,
        nonce=int.from_bytes(bytes(4) + SMART_SESSION + bytes(8), "big"),
        call_data=execute(*calls) if call_data is None else call_data,
        signature=b"\x00" + PERMISSION,
    )
    unsigned = decode_operation(op, V07, chain_id, {SMART_SESSION})
    envelope = SessionEnvelope(
        mode=SessionMode.USE, permission_id=PERMISSION, signature=sign(key, prepare(unsigned.user_op_hash))
    )
    return decode_operation(replace(op, signature=encode_session_envelope(envelope)), V07, chain_id, {SMART_SESSION})


def judge(
    decoded: DecodedOperation,
    session: DeclaredSession = SESSION,
    *,
    used: int = 0,
    in_flight: int = 0,
    now: int | None = NOW,
    check_signature: bool = True,
) -> DeclaredFit | Reason:
    assert decoded.claim is not None
    return judge_declared(
        decoded,
        decoded.claim,
        session,
        used=lambda _counter: used,
        in_flight=lambda _counter: in_flight,
        now=now,
        check_signature=check_session_signature if check_signature else None,
    )


def refusal(*args: object, **kwargs: object) -> Reason:
    verdict = judge(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they come
    assert isinstance(verdict, Reason)
    return verdict


def test_allows_declared_calls_in_a_batch_and_charges_each_use() -> None:
    fit = judge(operation(transfer, gift, transfer))
    counter = use_counter(SESSION, SMART_SESSION, SESSION.actions[0])
    assert fit == DeclaredFit(window=Window(NOW - 10, NOW + 10), charges=(Charge(counter, 2, 3),))
    assert counter.policy == DECLARED_POLICY


def test_allows_a_single_call() -> None:
    single = TOKEN + word(0) + transfer.data
    call_data = EXECUTE + bytes(32) + word(64) + word(len(single)) + pad(single)
    assert isinstance(judge(operation(call_data=call_data)), DeclaredFit)


def test_refuses_a_selector_that_is_not_declared_and_points_at_the_call() -> None:
    reason = refusal(operation(transfer, Call(TOKEN, 0, bytes.fromhex("095ea7b3") + bytes(64))))
    assert (reason.code, reason.call) == (Code.SESSION_SCOPE, 1)
    assert "0x095ea7b3" in reason.sentence


def test_refuses_a_declared_selector_at_another_target() -> None:
    assert refusal(operation(Call(FRIEND, 0, transfer.data))).code is Code.SESSION_SCOPE


def test_a_call_with_three_bytes_of_data_is_a_value_transfer_and_with_four_it_is_not() -> None:
    assert isinstance(judge(operation(Call(FRIEND, 5, b"\x01\x02\x03"))), DeclaredFit)
    assert refusal(operation(Call(FRIEND, 5, b"\x01\x02\x03\x04"))).code is Code.SESSION_SCOPE


def test_allows_exactly_the_value_and_rejects_one_wei_above() -> None:
    assert isinstance(judge(operation(Call(FRIEND, 5, b""))), DeclaredFit)
    reason = refusal(operation(Call(FRIEND, 6, b"")))
    assert (reason.code, reason.wanted, reason.got) == (Code.SESSION_SCOPE, "5", "6")


def test_value_is_zero_unless_it_is_granted() -> None:
    assert refusal(operation(Call(TOKEN, 1, transfer.data))).code is Code.SESSION_SCOPE


def test_allows_the_last_use_and_rejects_the_one_after_it() -> None:
    assert isinstance(judge(operation(transfer), used=1, in_flight=1), DeclaredFit)
    reason = refusal(operation(transfer), used=2, in_flight=1)
    assert (reason.code, reason.retryable) == (Code.LIMIT_EXCEEDED, True)
    assert refusal(operation(transfer), used=3).retryable is False


def test_uses_within_one_batch_count_together() -> None:
    assert isinstance(judge(operation(transfer, transfer, transfer)), DeclaredFit)
    reason = refusal(operation(transfer, transfer, transfer, transfer))
    assert (reason.code, reason.call) == (Code.LIMIT_EXCEEDED, 3)


def test_at_a_module_that_counts_operations_a_batch_is_one_use() -> None:
    counting = replace(SESSION, counts_operations=True)
    fit = judge(operation(*[transfer] * 5), session=counting, used=1, in_flight=1)
    assert isinstance(fit, DeclaredFit)
    assert [charge.amount for charge in fit.charges] == [1]
    assert refusal(operation(transfer), session=counting, used=2, in_flight=1).code is Code.LIMIT_EXCEEDED


def test_an_action_without_a_bound_on_its_uses_is_not_counted() -> None:
    fit = judge(operation(gift), used=10**9)
    assert isinstance(fit, DeclaredFit)
    assert fit.charges == ()


def test_both_ends_of_the_window_are_inside_it() -> None:
    assert isinstance(judge(operation(transfer), now=NOW + 10), DeclaredFit)
    assert refusal(operation(transfer), now=NOW + 11).code is Code.SESSION_NOT_VALID_NOW
    assert isinstance(judge(operation(gift), now=NOW - 10), DeclaredFit)
    early = refusal(operation(gift), now=NOW - 11)
    assert (early.code, early.retryable) == (Code.SESSION_NOT_VALID_NOW, True)


def test_the_window_of_a_batch_is_where_all_its_actions_are_valid() -> None:
    assert isinstance(judge(operation(gift), now=NOW + 11), DeclaredFit)
    assert refusal(operation(gift, transfer), now=NOW + 11).code is Code.SESSION_NOT_VALID_NOW


def test_without_a_clock_the_window_is_handed_on() -> None:
    fit = judge(operation(transfer), now=None)
    assert isinstance(fit, DeclaredFit)
    assert fit.window == Window(0, NOW + 10)


def test_an_action_without_times_never_ends() -> None:
    assert DeclaredAction(target=TOKEN).valid_until == UINT48_MAX


@pytest.mark.parametrize("prepare", [plain, signed_message_hash])
def test_takes_the_session_keys_signature_over_the_hash_or_its_message(prepare: Callable[[bytes], bytes]) -> None:
    assert isinstance(judge(operation(transfer, prepare=prepare)), DeclaredFit)


@pytest.mark.parametrize(
    ("validator", "prepare", "taken"),
    [
        *((v, prepare, True) for v in ECDSA_VALIDATORS for prepare in (plain, signed_message_hash)),
        (OWNABLE_RELEASE, plain, True),
        (OWNABLE_RELEASE, signed_message_hash, False),
        (OWNABLE_BETA, plain, False),
        (OWNABLE_BETA, signed_message_hash, True),
        (OWNABLE_V0, plain, False),
        (OWNABLE_V0, signed_message_hash, False),
    ],
)
def test_takes_the_signature_in_the_form_of_the_declared_validator_only(
    validator: Address, prepare: Callable[[bytes], bytes], taken: bool
) -> None:
    decided = judge(operation(transfer, prepare=prepare), replace(SESSION, validator=validator))
    assert isinstance(decided, DeclaredFit) is taken
    assert is_declarable(validator) is (validator != OWNABLE_V0)


def test_names_the_form_that_the_declared_validator_takes() -> None:
    wrong = refusal(operation(transfer, prepare=signed_message_hash), replace(SESSION, validator=OWNABLE_RELEASE))
    assert "the bare userOpHash" in wrong.remedy
    assert "account.sign({ hash" in wrong.remedy


def test_refuses_a_strangers_signature_but_not_in_a_preview() -> None:
    decoded = operation(transfer, key=STRANGER)
    assert "the signature is not the declared session key's" in refusal(decoded).sentence
    assert isinstance(judge(decoded, check_signature=False), DeclaredFit)


def test_who_has_not_got_the_key_is_told_that_and_nothing_of_calls_or_uses() -> None:
    outside = operation(Call(FRIEND, 0, b""), key=STRANGER)
    assert "the signature is not the declared session key's" in refusal(outside).sentence
    asked: list[Counter] = []

    def noting(counter: Counter) -> int:
        asked.append(counter)
        return 0

    decoded = operation(transfer, key=STRANGER)
    assert decoded.claim is not None
    judge_declared(decoded, decoded.claim, SESSION, used=noting, in_flight=noting, now=NOW)
    assert asked == []


def test_refuses_every_signature_of_a_validator_it_does_not_know() -> None:
    assert refusal(operation(transfer), replace(SESSION, validator=FRIEND)).code is Code.SESSION_SCOPE


def test_refuses_another_account_and_another_module() -> None:
    assert refusal(operation(transfer, sender=FRIEND)).code is Code.SESSION_SCOPE
    assert refusal(operation(transfer), replace(SESSION, module=FRIEND)).code is Code.SESSION_SCOPE
    assert isinstance(judge(operation(transfer), replace(SESSION, module=SMART_SESSION)), DeclaredFit)


def test_refuses_another_chain_and_another_permission() -> None:
    assert refusal(operation(transfer, chain_id=1)).code is Code.SESSION_SCOPE
    assert refusal(operation(transfer), replace(SESSION, permission_id=Hash32(bytes(32)))).code is Code.SESSION_SCOPE


@pytest.mark.parametrize(("call_type", "exec_type"), [(0xFF, 0), (0xFE, 0), (1, 1), (2, 0)])
def test_refuses_delegatecalls_static_calls_and_tries(call_type: int, exec_type: int) -> None:
    decoded = operation(call_data=execute(transfer, call_type=call_type, exec_type=exec_type))
    assert refusal(decoded).code is Code.SESSION_SCOPE


@pytest.mark.parametrize("call_data", [b"", TRANSFER + bytes(64), bytes.fromhex("8dd7712f") + execute(transfer)])
def test_refuses_call_data_that_is_not_execute(call_data: bytes) -> None:
    assert refusal(operation(call_data=call_data)).code is Code.SESSION_SCOPE


def test_refuses_an_empty_batch() -> None:
    assert "empty" in refusal(operation()).sentence


def test_refuses_what_the_module_refuses_even_when_it_is_declared() -> None:
    actions = (
        DeclaredAction(target=ACCOUNT, selector=EXECUTE),
        DeclaredAction(target=FLAG_TARGET, selector=TRANSFER),
    )
    session = replace(SESSION, actions=actions)
    assert "own execute" in refusal(operation(Call(ACCOUNT, 0, execute(transfer))), session).sentence
    assert "address(1)" in refusal(operation(Call(FLAG_TARGET, 0, transfer.data)), session).sentence


def test_counters_of_two_actions_and_two_sessions_are_apart() -> None:
    other = replace(SESSION, permission_id=Hash32(bytes(32)))
    counters: set[Counter] = {
        use_counter(session, SMART_SESSION, action) for session in (SESSION, other) for action in SESSION.actions
    }
    assert len(counters) == 4
