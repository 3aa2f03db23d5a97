"""What is let through, what is held for it, and what stops an operation whatever its session says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.admission import Purpose
from proxy.errors import Code, StateUnavailable
from proxy.judge.verdict import Allow, Reject
from proxy.session.addresses import SMART_SESSION
from proxy.session.freezes import Freeze
from proxy.session.outcome import EnforcedElsewhere
from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import EIP7702_MARKER, Authorization
from tests.admission.builders import TWICE, Room, enabling, granting, key_of, lane
from tests.bypass_list.desk import (
    CHAIN_ID,
    OWNER_NONCE,
    STRANGERS_KEY,
    V07,
    V08,
    a_session,
    an_operation,
    batch,
    single,
    use,
)
from tests.judge.builders import judge_of
from tests.session.builders import (
    ACCOUNT,
    FRIEND,
    NOW,
    STRANGER,
    TOKEN,
    TRANSFER,
    action,
    enabled,
    spending,
    sudo,
    time_frame,
    transfer,
    usage,
)

ONCE = single(transfer(1))
HUNDRED = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))
FOUR_TIMES = a_session(action(TOKEN, TRANSFER, usage(4)))


def a_freeze(**scope: Any) -> Freeze:
    return Freeze(permission_id=TWICE.permission_id, since=float(NOW), **scope)


async def test_an_allowed_operation_comes_with_what_it_will_use_already_held() -> None:
    room = Room(TWICE)
    judgement = await room.allowed(use(TWICE, ONCE))
    assert judgement.reservation is not None
    (charge,) = judgement.reservation.charges
    assert (charge.amount, charge.limit) == (1, 2)
    assert room.ledger.in_flight(charge.counter) == 1
    assert judgement.reservation.session == key_of(TWICE)


@pytest.mark.parametrize("purpose", [Purpose.PREVIEW, Purpose.EXPLAIN])
async def test_a_verdict_that_sends_nothing_holds_nothing(purpose: Purpose) -> None:
    room = Room(TWICE)
    judgement = await room.allowed(use(TWICE, ONCE), purpose)
    assert judgement.reservation is None
    assert len(room.ledger) == 0


async def test_of_ten_operations_at_once_as_many_pass_as_the_limit_allows() -> None:
    room = Room(FOUR_TIMES)
    judgements = await room.judge_all(use(FOUR_TIMES, ONCE, nonce=lane(number)) for number in range(10))
    refused = [each.verdict.first for each in judgements if isinstance(each.verdict, Reject)]
    assert sum(isinstance(each.verdict, Allow) for each in judgements) == 4
    assert {reason.code for reason in refused} == {Code.LIMIT_EXCEEDED}
    assert all(reason.retryable for reason in refused)
    assert len(room.ledger) == 4


async def test_a_batch_may_use_exactly_what_is_left() -> None:
    await Room(TWICE).allowed(use(TWICE, batch(transfer(1), transfer(2))))


async def test_a_batch_may_not_use_one_more_than_is_left() -> None:
    reason = await Room(TWICE).refusal(use(TWICE, batch(transfer(1), transfer(2), transfer(3))))
    assert reason.code is Code.LIMIT_EXCEEDED


async def test_the_same_operation_twice_is_one_reservation() -> None:
    room = Room(TWICE)
    op = use(TWICE, ONCE)
    first, again = await room.allowed(op), await room.allowed(op)
    assert first.reservation == again.reservation
    assert len(room.ledger) == 1
    await room.allowed(use(TWICE, ONCE, nonce=lane(7)))


async def test_an_operation_for_the_same_nonce_takes_no_second_share() -> None:
    room = Room(TWICE)
    await room.allowed(use(TWICE, batch(transfer(1), transfer(2))))
    await room.allowed(use(TWICE, batch(transfer(1), transfer(3)), max_fee_per_gas=3 * 10**9))
    assert (await room.refusal(use(TWICE, ONCE, nonce=lane(7)))).code is Code.LIMIT_EXCEEDED


async def test_a_reservation_ends_with_the_operations_window() -> None:
    grant = a_session(action(TOKEN, TRANSFER, sudo), user_op=[time_frame(NOW + 60)])
    judgement = await Room(grant).allowed(use(grant, ONCE))
    assert judgement.reservation is not None
    assert judgement.reservation.valid_until == NOW + 60


async def test_a_reservation_without_a_window_has_no_end() -> None:
    judgement = await Room(TWICE).allowed(use(TWICE, ONCE))
    assert judgement.reservation is not None
    assert judgement.reservation.valid_until is None


async def test_what_claims_a_session_and_cannot_be_read_is_refused() -> None:
    room = Room(TWICE)
    judgement = await room.judge(an_operation(ONCE, signature=b"\x07" + TWICE.permission_id))
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.UNDECODABLE
    assert (judgement.operation, judgement.reservation) == (None, None)


# whose signature


async def test_a_strangers_signature_is_refused_and_holds_nothing() -> None:
    room = Room(TWICE)
    assert (await room.refusal(use(TWICE, ONCE, key=STRANGERS_KEY))).code is Code.SESSION_SCOPE
    assert len(room.ledger) == 0


async def test_a_stub_signature_is_not_held_against_a_preview() -> None:
    stub = an_operation(ONCE, signature=b"\0" + TWICE.permission_id + b"\xff" * 65)
    room = Room(TWICE)
    await room.allowed(stub, Purpose.PREVIEW)
    assert (await room.refusal(stub)).code is Code.SESSION_SCOPE
    assert (await room.refusal(stub, Purpose.EXPLAIN)).code is Code.SESSION_SCOPE


async def test_a_preview_is_held_to_everything_but_the_signature() -> None:
    room = Room(TWICE)
    outside = use(TWICE, single(Call(STRANGER, 0, b"")))
    assert (await room.refusal(outside, Purpose.PREVIEW)).code is Code.SESSION_SCOPE
    await room.allowed(use(TWICE, batch(transfer(1), transfer(1))))
    later = use(TWICE, ONCE, nonce=lane(7))
    await room.allowed(later, Purpose.PREVIEW)


async def test_a_preview_of_what_is_in_flight_already_does_not_count_itself() -> None:
    room = Room(TWICE)
    op = use(TWICE, batch(transfer(1), transfer(1)))
    await room.allowed(op)
    await room.allowed(op, Purpose.PREVIEW)


@pytest.mark.parametrize("amount", [1, 40, 99])
async def test_an_estimate_tells_nothing_of_the_amounts_in_flight(amount: int) -> None:
    """Neither by its words nor by a yes and a no: it hears what it would with nothing in flight."""
    room, quiet = Room(HUNDRED), Room(HUNDRED)
    await room.allowed(use(HUNDRED, single(transfer(amount))))
    stub = b"\0" + HUNDRED.permission_id + b"\xff" * 65
    fits = an_operation(single(transfer(100)), nonce=lane(7), signature=stub)
    for each in (room, quiet):
        await each.allowed(fits, Purpose.PREVIEW)
    too_much = an_operation(single(transfer(101)), nonce=lane(7), signature=stub)
    refused = [await each.refusal(too_much, Purpose.PREVIEW) for each in (room, quiet)]
    assert refused[0] == refused[1]
    signed = await room.refusal(use(HUNDRED, single(transfer(100)), nonce=lane(7)))
    assert signed.wanted == f"at most {100 - amount}"


_OF_IN_FLIGHT = ("op.lanes > 1", "op.replaces", "op.limit_used_percent > 50")


@pytest.mark.parametrize("many", [0, 120])
@pytest.mark.parametrize("asked", _OF_IN_FLIGHT)
async def test_no_rule_tells_an_estimate_what_is_in_flight(asked: str, many: int) -> None:
    """The session's own key, which hands an operation in, is held to it."""
    others = "".join(f"- {{id: r{number}, description: d, when: value > {number + 5} ETH}}\n" for number in range(many))
    rule = f"- {{id: asked, description: d, mode: enforce, match: {{preview: any, session: true}}, when: {asked!r}}}\n"
    room, quiet = (Room(HUNDRED, rules=judge_of(rule + others)) for _ in range(2))
    await room.allowed(use(HUNDRED, single(transfer(40))))
    nonce = use(HUNDRED, ONCE).nonce if asked == "op.replaces" else lane(7)
    stub = b"\0" + HUNDRED.permission_id + b"\xff" * 65
    fits = an_operation(single(transfer(20)), nonce=nonce, signature=stub)
    heard = [await each.allowed(fits, Purpose.PREVIEW) for each in (room, quiet)]
    assert heard[0].finding == heard[1].finding
    assert heard[0].facts == heard[1].facts
    assert (await room.refusal(use(HUNDRED, single(transfer(20)), nonce=nonce))).rule == "asked"


async def test_a_bad_signature_hears_the_same_whatever_is_in_flight() -> None:
    room, quiet = Room(HUNDRED), Room(HUNDRED)
    await room.allowed(use(HUNDRED, single(transfer(60))))
    garbage = use(HUNDRED, single(transfer(60)), key=STRANGERS_KEY, nonce=lane(7))
    assert await room.refusal(garbage) == await quiet.refusal(garbage)


# frozen


@pytest.mark.parametrize("scope", [{}, {"account": ACCOUNT}, {"chain_id": CHAIN_ID}])
async def test_a_frozen_session_is_refused_whatever_the_chain_says(scope: dict[str, object]) -> None:
    room = Room(TWICE, sessions={key_of(TWICE): enabled(TWICE)})
    room.registry.freezes.put(a_freeze(**scope, note="lost phone"))
    reason = await room.refusal(use(TWICE, ONCE))
    assert reason.code is Code.SESSION_REVOKED
    assert "lost phone" in reason.sentence
    assert not room.node.asked


async def test_why_a_session_is_frozen_is_told_to_its_key_and_to_ops_and_to_nobody_else() -> None:
    room = Room(TWICE)
    room.registry.freezes.put(a_freeze(note="lost phone"))
    assert "lost phone" in (await room.refusal(use(TWICE, ONCE))).sentence
    assert "lost phone" in (await room.refusal(use(TWICE, ONCE), Purpose.EXPLAIN)).sentence
    strange = use(TWICE, ONCE, key=STRANGERS_KEY)
    heard = [await room.refusal(op, Purpose.PREVIEW) for op in (strange, use(TWICE, ONCE))]
    heard.append(await room.refusal(strange))
    assert [(reason.code, "lost phone" in str(reason)) for reason in heard] == [(Code.SESSION_REVOKED, False)] * 3


@pytest.mark.parametrize("scope", [{"account": STRANGER}, {"chain_id": CHAIN_ID + 1}])
async def test_a_freeze_of_another_account_or_chain_holds_nothing_here(scope: dict[str, object]) -> None:
    room = Room(TWICE)
    room.registry.freezes.put(a_freeze(**scope))
    await room.allowed(use(TWICE, ONCE))


async def test_lifting_the_freeze_restores_the_session() -> None:
    room = Room(TWICE)
    room.registry.freezes.put(a_freeze())
    await room.refusal(use(TWICE, ONCE))
    room.registry.freezes.lift(TWICE.permission_id)
    await room.allowed(use(TWICE, ONCE))


async def test_previews_of_a_frozen_session_are_refused_too() -> None:
    room = Room(TWICE)
    room.registry.freezes.put(a_freeze())
    assert (await room.refusal(use(TWICE, ONCE), Purpose.PREVIEW)).code is Code.SESSION_REVOKED


async def test_a_session_frozen_before_it_is_known_is_refused_when_it_comes() -> None:
    room = Room()
    room.registry.freezes.put(a_freeze())
    assert (await room.refusal(enabling(TWICE, ONCE))).code is Code.SESSION_REVOKED


async def test_a_freeze_that_comes_while_the_node_is_asked_is_heeded() -> None:
    room = Room(sessions={key_of(TWICE): enabled(TWICE)})
    room.node.on_reading = lambda: room.registry.freezes.put(a_freeze())
    assert (await room.refusal(use(TWICE, ONCE))).code is Code.SESSION_REVOKED
    assert len(room.ledger) == 0


# owners and others


async def test_an_owners_operation_passes_and_nothing_is_held_for_it() -> None:
    judgement = await Room().allowed(an_operation(ONCE, nonce=OWNER_NONCE, signature=b"\x0e" * 65))
    assert judgement.reservation is None
    assert judgement.operation is not None


async def test_an_owners_grant_is_held_as_its_bringers_and_charges_nobody() -> None:
    room = Room()
    judgement = await room.allowed(granting(TWICE))
    assert judgement.reservation is not None
    assert (judgement.reservation.session, judgement.reservation.charges) == (None, ())
    assert room.ledger._slots.number_in(ACCOUNT) == 0
    room.ledger.accept(judgement.reservation.name)
    assert room.ledger._slots.number_in(ACCOUNT) == 1


async def test_a_strict_account_must_be_readable_throughout() -> None:
    strict = Room(strict_accounts=frozenset({ACCOUNT}))
    opaque = an_operation(b"\x12\x34\x56\x78" + bytes(32), nonce=OWNER_NONCE, signature=b"\x0e" * 65)
    assert (await strict.refusal(opaque)).code is Code.UNDECODABLE
    await Room(strict_accounts=frozenset({FRIEND})).allowed(opaque)
    await strict.allowed(granting(TWICE))


async def test_a_frozen_session_is_found_where_the_nonce_names_no_module() -> None:
    root = int.from_bytes(b"\x12\x34\x56\x00" + bytes(20) + bytes(8), "big")
    room = Room()
    op = use(TWICE, ONCE, nonce=root)
    await room.allowed(op)
    room.registry.freezes.put(a_freeze())
    assert (await room.refusal(op)).code is Code.UNDECODABLE


# EIP-7702

DELEGATE = Address(b"\xde" * 20)
DELEGATED = use(TWICE, ONCE, factory=EIP7702_MARKER)


async def test_the_delegate_of_an_account_is_asked_for_where_the_hash_depends_on_it() -> None:
    room = Room(TWICE, node=True)
    room.node.delegates[ACCOUNT] = DELEGATE
    judgement = await room.judge(DELEGATED, V08)
    assert judgement.operation is not None
    assert judgement.operation.user_op_hash == user_op_hash(DELEGATED, V08, CHAIN_ID, delegate=DELEGATE)


async def test_a_delegate_that_cannot_be_had_is_doubt() -> None:
    room = Room(TWICE, node=True)
    room.node.delegates[ACCOUNT] = StateUnavailable("the code of the account")
    judgement = await room.judge(DELEGATED, V08)
    assert isinstance(judgement.verdict, Reject)
    assert judgement.verdict.first.code is Code.STATE_UNAVAILABLE
    assert judgement.verdict.first.retryable


@pytest.mark.parametrize("brings_it_along", [True, False])
async def test_the_node_is_not_asked_for_a_delegate_that_is_sent_along_or_not_hashed(brings_it_along: bool) -> None:
    room = Room(TWICE, node=True)
    room.node.delegates[ACCOUNT] = AssertionError("asked")
    authorization = Authorization(
        chain_id=CHAIN_ID, address=DELEGATE, nonce=0, y_parity=0, r=Hash32(bytes(32)), s=Hash32(bytes(32))
    )
    op, entry_point = (
        (replace(DELEGATED, eip7702_auth=authorization), V08) if brings_it_along else (use(TWICE, ONCE), V07)
    )
    assert (await room.judge(op, entry_point)).operation is not None


# ENABLE


@pytest.mark.parametrize("nonce", [0, 3])
async def test_the_enable_nonce_that_the_owner_signed_for_goes_with_the_verdict(nonce: int) -> None:
    judgement = await Room().allowed(enabling(TWICE, ONCE, enable_nonce=nonce))
    assert judgement.enable_nonce == nonce


async def test_a_use_has_no_enable_nonce() -> None:
    assert (await Room(TWICE).allowed(use(TWICE, ONCE))).enable_nonce is None


async def test_an_operation_that_brings_its_grant_is_held_to_the_grants_limits() -> None:
    room = Room()
    await room.allowed(enabling(TWICE, batch(transfer(1), transfer(1))))
    reason = await Room().refusal(enabling(TWICE, batch(transfer(1), transfer(1), transfer(1))))
    assert reason.code is Code.LIMIT_EXCEEDED


async def test_a_spending_limit_counts_what_is_in_flight() -> None:
    grant = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))
    room = Room(grant)
    await room.allowed(use(grant, single(transfer(60))))
    assert (await room.refusal(use(grant, single(transfer(41)), nonce=lane(1)))).code is Code.LIMIT_EXCEEDED
    await room.allowed(use(grant, single(transfer(40)), nonce=lane(2)))


# Kernel


@pytest.mark.parametrize("validation_type", [0x00, 0x02, 0x07])
@pytest.mark.parametrize("purpose", list(Purpose))
async def test_a_session_under_a_kernel_type_that_is_no_validators_is_not_allowed_as_one(
    validation_type: int, purpose: Purpose
) -> None:
    def nonce(of_type: int) -> int:
        return int.from_bytes(b"\0" + bytes([of_type]) + SMART_SESSION + bytes(10), "big")

    room = Room(TWICE)
    reason = await room.refusal(use(TWICE, ONCE, nonce=nonce(validation_type)), purpose)
    assert reason.code is Code.UNDECODABLE
    assert "a session needs type 01" in reason.sentence
    assert "01" in reason.remedy
    assert len(room.ledger) == 0
    grant = a_session(action(TOKEN, TRANSFER, usage(2)), user_op=[usage(2)], paymaster=True)
    await Room(grant).allowed(use(grant, ONCE, nonce=nonce(0x01)), purpose)


async def test_a_permission_of_kernels_own_passes_as_an_owners_operation_does_and_says_whose_it_is() -> None:
    room = Room(TWICE)
    nonce = int.from_bytes(bytes.fromhex("0002765eb9c3") + bytes(26), "big")
    op = an_operation(ONCE, nonce=nonce, signature=b"\xff" + b"\x5e" * 65)
    judgement = await room.allowed(op)
    assert isinstance(judgement.verdict, Allow)
    assert judgement.verdict.elsewhere is EnforcedElsewhere.KERNEL_PERMISSION
    assert judgement.verdict.notes == (
        "signed under permission 0x765eb9c3 of a Kernel account, which is not enforced here",
    )
    owners = await room.allowed(an_operation(ONCE, nonce=OWNER_NONCE, signature=b"\x5e" * 65))
    assert isinstance(owners.verdict, Allow)
    assert owners.verdict.elsewhere is None


# advice


@pytest.mark.parametrize("purpose", list(Purpose))
async def test_too_little_gas_for_validation_is_remarked_on_beforehand_and_never_judged(purpose: Purpose) -> None:
    grant = a_session(action(TOKEN, TRANSFER, usage(9)), user_op=[usage(9)], paymaster=True)
    room = Room(grant)
    judgement = await room.allowed(use(grant, ONCE, verification_gas_limit=30_000), purpose)
    assert isinstance(judgement.verdict, Allow)
    told = "verificationGasLimit is 30000: no validation in mode use is known that took less than 68000"
    assert judgement.verdict.notes == (() if purpose is Purpose.SUBMIT else (told,))
    for enough in (0, 68_000):
        quiet = await room.allowed(use(grant, ONCE, verification_gas_limit=enough, nonce=lane(2)), Purpose.EXPLAIN)
        assert isinstance(quiet.verdict, Allow)
        assert quiet.verdict.notes == ()


@pytest.mark.parametrize(("owners", "said"), [(7, False), (8, True)])
async def test_an_owners_grant_that_the_module_cannot_store_passes_with_a_remark(owners: int, said: bool) -> None:
    keys = [Address(bytes((number,)) * 20) for number in range(1, owners + 1)]
    types = abi.tuple_of(abi.UINT256, abi.list_of(abi.ADDRESS))
    long = replace(TWICE, session_validator_init_data=abi.encode(types, [1, keys]))
    verdict = (await Room().allowed(granting(long))).verdict
    assert isinstance(verdict, Allow)
    told = any("have 352 bytes, and the session module stores at most 320" in note for note in verdict.notes)
    assert told is said
