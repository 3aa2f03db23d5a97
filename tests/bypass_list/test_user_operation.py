"""Ways round the gate inside an operation, (i) to (q): its validator, its envelope, its hash, its nonce.

Each test is one item of the list of known bypasses; where a bundler-side gate cannot see something, it says so.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, InvalidParams, Undecodable
from proxy.judge.verdict import Allow, Reject
from proxy.methods import MethodClass, classify
from proxy.session.counters import Counter
from proxy.userop import abi
from proxy.userop.acts import ModuleInstalled, SessionsEnabled
from proxy.userop.entry_point import EntryPointVersion
from proxy.userop.execution import Call
from proxy.userop.nonce import NonceLayout
from proxy.userop.primitives import Address, Selector
from proxy.userop.session_abi import encode_enable, encode_sessions
from proxy.userop.session_data import EnableSession
from proxy.userop.signature import (
    KernelEnable,
    ModuleEnable,
    SessionEnvelope,
    SessionMode,
    encode_kernel_enable,
    encode_module_enable,
    encode_session_envelope,
)
from proxy.userop.user_operation import parse_user_operation, print_user_operation
from tests.bypass_list.desk import (
    MODULE,
    NEXUS_LANE,
    OWNER_NONCE,
    STRANGERS_KEY,
    V06,
    V07,
    Desk,
    a_session,
    an_operation,
    reading,
    single,
    use,
)
from tests.session.builders import ACCOUNT, FRIEND, OTHER_TOKEN, STRANGER, TOKEN, TRANSFER, action, spending, transfer

GRANT = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 100))))
GOOD = single(transfer(60))
INSTALL = bytes.fromhex("9517e29f")
_INSTALL = abi.tuple_of(abi.UINT256, abi.ADDRESS, abi.BYTES)


def install(module_type: int, module: Address, data: bytes = b"") -> Call:
    return Call(ACCOUNT, 0, INSTALL + abi.encode(_INSTALL, [module_type, module, data]))


def nexus_nonce(mode: int, sequence: int = 0) -> int:
    return int.from_bytes(NEXUS_LANE + bytes((mode,)) + MODULE + sequence.to_bytes(8, "big"), "big")


async def test_the_operation_of_these_tests_is_a_good_one() -> None:
    judgement = await Desk(GRANT).allowed(use(GRANT, GOOD))
    assert judgement.reservation is not None
    assert [charge.amount for charge in judgement.reservation.charges] == [60]


# (i) a second module, or a fork of one, at an address that is not listed


def test_i_a_module_at_an_unknown_address_is_seen_when_it_is_installed() -> None:
    """The limit: a fork of the module at an address nobody listed validates like any foreign validator, and its
    operations pass as foreign ones. Its installation comes by here with its address, and can be alerted on."""
    fork = Address(b"\x66" * 20)
    installing = reading(an_operation(single(install(1, fork, b"\x01")), nonce=OWNER_NONCE))
    assert installing.acts == (ModuleInstalled(1, fork, b"\x01"),)
    used = reading(an_operation(GOOD, nonce=int.from_bytes(fork + bytes(12), "big")))
    assert used.claim is None


# (j) an entry point that is not one of the four


async def test_j_an_entry_point_that_is_not_served_is_refused_before_anything_is_read() -> None:
    params = print_user_operation(use(GRANT, GOOD))
    reply, reached = await Desk(GRANT).ask("eth_sendUserOperation", params, "0x" + "66" * 20)
    assert reply["error"]["code"] == Code.INVALID_PARAMS
    assert reached == []


async def test_j_the_old_entry_point_cannot_carry_a_session_past_its_policies() -> None:
    op = use(GRANT, GOOD, init_code=b"", paymaster_and_data=b"")
    assert (await Desk(GRANT).refusal(op, V06)).code is Code.UNDECODABLE


# (k) mode bytes that accounts treat as no mode


@pytest.mark.parametrize("mode", [0x00, 0x03, 0x04, 0x7F, 0x80, 0xFF])
async def test_k_any_other_mode_byte_is_the_same_session(mode: int) -> None:
    desk = Desk(GRANT)
    assert (await desk.allowed(use(GRANT, GOOD, nonce=nexus_nonce(mode)))).reservation is not None
    over = use(GRANT, single(transfer(101)), nonce=nexus_nonce(mode, 1))
    assert (await desk.refusal(over)).code is Code.LIMIT_EXCEEDED


@given(st.binary(min_size=12, max_size=12))
def test_k_whatever_stands_around_the_module_in_the_nonce_it_is_named(around: bytes) -> None:
    for nonce, layout in (
        (around[:4] + MODULE + around[4:], NonceLayout.NEXUS),
        (MODULE + around, NonceLayout.VALIDATOR_FIRST),
        (b"\0" + around[:1] + MODULE + around[2:], NonceLayout.KERNEL),
    ):
        if layout is NonceLayout.NEXUS and nonce[3] in (1, 2):
            continue  # these open an envelope: see (l)
        claim = reading(an_operation(GOOD, nonce=int.from_bytes(nonce, "big"), signature=bytes(33))).claim
        assert claim is not None
        assert (claim.module, claim.layout) == (MODULE, layout)


# (l) envelopes around the session's envelope


def test_l_the_session_inside_a_module_enable_envelope_is_found() -> None:
    inner = b"\0" + GRANT.permission_id + b"sig"
    other = Address(b"\x66" * 20)
    enable = ModuleEnable(module=other, module_type=2, init_data=b"", enable_signature=b"owner", inner=inner)
    decoded = reading(an_operation(GOOD, nonce=nexus_nonce(1), signature=encode_module_enable(enable)))
    assert decoded.claim is not None
    assert decoded.claim.envelope.permission_id == GRANT.permission_id
    assert decoded.acts == (ModuleInstalled(2, other, b""),)


def test_l_sessions_that_a_module_enable_envelope_installs_are_found() -> None:
    data = b"\x01" + encode_sessions([GRANT])
    inner = b"\0" + GRANT.permission_id + b"sig"
    enable = ModuleEnable(module=MODULE, module_type=1, init_data=data, enable_signature=b"owner", inner=inner)
    signature = encode_module_enable(enable)
    granted = (ModuleInstalled(1, MODULE, data), SessionsEnabled(MODULE, (GRANT,)))
    assert reading(an_operation(GOOD, nonce=nexus_nonce(1), signature=signature)).acts == granted
    # and when the owner's own validator is named in the nonce
    owners = int.from_bytes(NEXUS_LANE + b"\x01" + b"\x0f" * 20 + bytes(8), "big")
    assert reading(an_operation(GOOD, nonce=owners, signature=signature)).acts == granted


def test_l_the_session_inside_a_kernel_enable_envelope_is_found() -> None:
    enable = KernelEnable(
        hook=Address(bytes(20)),
        validator_data=b"\x02" + encode_sessions([GRANT]),
        hook_data=b"",
        selector_data=b"",
        enable_signature=b"owner",
        inner=b"\0" + GRANT.permission_id + b"sig",
    )
    nonce = int.from_bytes(b"\x01\x01" + MODULE + bytes(10), "big")
    decoded = reading(an_operation(GOOD, nonce=nonce, signature=encode_kernel_enable(enable)))
    assert decoded.claim is not None
    assert decoded.claim.envelope.permission_id == GRANT.permission_id
    assert SessionsEnabled(MODULE, (GRANT,)) in decoded.acts


def test_l_the_session_behind_a_bootstrap_that_runs_first_is_found() -> None:
    bootstrap = abi.encode(
        abi.tuple_of(abi.list_of(abi.tuple_of(abi.ADDRESS, abi.BYTES))),
        [[(MODULE, b"\x01" + encode_sessions([GRANT]))]],
    )
    inner = (b"\0" + GRANT.permission_id).ljust(98, b"\x51")
    signature = abi.encode(abi.tuple_of(abi.BYTES32, abi.BYTES, abi.BYTES), [b"\xff" * 32, bootstrap, inner])
    decoded = reading(an_operation(GOOD, nonce=nexus_nonce(2), signature=signature))
    assert decoded.claim is not None
    assert decoded.claim.envelope.permission_id == GRANT.permission_id
    assert SessionsEnabled(MODULE, (GRANT,)) in decoded.acts


ROOT_NONCE = int.from_bytes(NEXUS_LANE + b"\x00" + bytes(20) + bytes(8), "big")


async def test_k_a_session_that_signs_where_the_nonce_names_no_module_is_refused() -> None:
    desk = Desk(GRANT)
    reason = await desk.refusal(use(GRANT, GOOD, nonce=ROOT_NONCE))
    assert reason.code is Code.UNDECODABLE
    assert "names no session module" in reason.sentence


async def test_k_a_grant_that_is_enabled_where_the_nonce_names_no_module_is_refused() -> None:
    signed = EnableSession(chain_digest_index=0, digests=(), session=GRANT, permission_enable_signature=b"\x01")
    envelope = SessionEnvelope(
        mode=SessionMode.ENABLE, permission_id=GRANT.permission_id, signature=b"\x02" * 65, enable=signed
    )
    op = an_operation(GOOD, nonce=ROOT_NONCE, signature=encode_session_envelope(envelope))
    assert (await Desk().refusal(op)).code is Code.UNDECODABLE


async def test_k_an_owners_signature_that_only_begins_like_a_sessions_passes() -> None:
    unknown = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 1))))
    await Desk().allowed(use(unknown, GOOD, nonce=ROOT_NONCE))


@pytest.mark.parametrize("mode", [1, 2])
async def test_l_an_envelope_that_cannot_be_opened_is_refused_not_passed_as_foreign(mode: int) -> None:
    op = an_operation(GOOD, nonce=nexus_nonce(mode), signature=b"\xff" * 300)
    assert (await Desk(GRANT).refusal(op)).code is Code.UNDECODABLE


# (m) compressed streams that only the chain's careless decompressor takes


ENABLED = EnableSession(chain_digest_index=0, digests=(), session=GRANT, permission_enable_signature=b"owner")
PLAIN = encode_enable(ENABLED, b"sig")


def literals(plain: bytes) -> bytes:
    """FastLZ without any compression: runs of at most 32 bytes behind their length."""
    runs = [plain[at : at + 32] for at in range(0, len(plain), 32)]
    return b"".join(bytes((len(run) - 1,)) + run for run in runs)


def test_m_a_stream_of_literals_is_the_same_session() -> None:
    decoded = reading(an_operation(GOOD, signature=b"\x01" + literals(PLAIN)))
    assert decoded.claim is not None
    assert decoded.claim.envelope.mode is SessionMode.ENABLE
    assert decoded.claim.envelope.permission_id == GRANT.permission_id


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        literals(PLAIN)[:-1],  # the last run cut off
        b"\xe0\x16\x1f" + literals(PLAIN)[33:],  # a copy from before the start, which reads zero memory on chain
        literals(PLAIN)[: len(PLAIN) // 2],
        b"\xff" * 60,
    ],
)
@pytest.mark.parametrize("mode", [1, 2])
async def test_m_a_stream_that_does_not_decode_cleanly_is_refused_not_passed_as_foreign(
    mode: int, stream: bytes
) -> None:
    op = an_operation(GOOD, signature=bytes((mode,)) + stream)
    assert (await Desk(GRANT).refusal(op)).code is Code.UNDECODABLE


# (n) the permission id is not signed


async def test_n_one_key_under_two_permissions_is_judged_by_the_one_it_names() -> None:
    """The limit is the chain's own: whoever holds a key that two permissions accept may use either."""
    narrow, wide = GRANT, a_session(action(TOKEN, TRANSFER, spending((TOKEN, 1000))), salt=2)
    desk = Desk(narrow, wide)
    big = single(transfer(500))
    signed = use(narrow, big)
    swapped = replace(signed, signature=b"\0" + wide.permission_id + signed.signature[33:])
    assert reading(signed).user_op_hash == reading(swapped).user_op_hash
    assert (await desk.refusal(signed)).code is Code.LIMIT_EXCEEDED
    judgement = await desk.allowed(swapped)
    assert judgement.reservation is not None
    assert judgement.reservation.session == desk.key(wide)


async def test_n_a_permission_that_is_not_granted_to_this_account_cannot_be_named() -> None:
    other = a_session(action(TOKEN, TRANSFER, spending((TOKEN, 1000))), salt=3)
    assert (await Desk(GRANT).refusal(use(other, GOOD))).code is Code.SESSION_UNKNOWN


async def test_n_a_strangers_key_uses_neither() -> None:
    desk = Desk(GRANT)
    reason = await desk.refusal(use(GRANT, GOOD, key=STRANGERS_KEY))
    assert reason.code is Code.SESSION_SCOPE
    assert len(desk.ledger) == 0


# (o) aggregators


def test_o_an_aggregator_which_could_empty_the_signature_is_refused() -> None:
    printed = print_user_operation(use(GRANT, GOOD))
    for version in EntryPointVersion:
        with pytest.raises(InvalidParams) as raised:
            parse_user_operation({**printed, "aggregator": "0x" + "11" * 20}, version)
        assert raised.value.field.endswith("aggregator") or version is EntryPointVersion.V06


# (p) the same nonce again


def in_flight(desk: Desk, counter: Counter) -> int:
    return desk.ledger.in_flight(counter)


async def test_p_a_replacement_with_higher_fees_is_not_a_second_spend() -> None:
    desk = Desk(GRANT)
    first = await desk.allowed(use(GRANT, GOOD))
    second = await desk.allowed(use(GRANT, GOOD, max_fee_per_gas=3 * 10**9))
    assert first.reservation is not None
    assert second.reservation is not None
    assert first.reservation.user_op_hash != second.reservation.user_op_hash
    (charge,) = second.reservation.charges
    assert in_flight(desk, charge.counter) == 60


async def test_p_another_nonce_is_a_second_spend() -> None:
    desk = Desk(GRANT)
    await desk.allowed(use(GRANT, GOOD))
    reason = await desk.refusal(use(GRANT, GOOD, nonce=nexus_nonce(0, 1)))
    assert reason.code is Code.LIMIT_EXCEEDED
    assert reason.retryable


async def test_p_the_same_operation_again_is_the_same_spend() -> None:
    desk = Desk(GRANT)
    op = use(GRANT, GOOD)
    first = await desk.allowed(op)
    await desk.allowed(replace(op, signature=op.signature + b"trailing bytes that no hash covers"))
    assert first.reservation is not None
    assert in_flight(desk, first.reservation.charges[0].counter) == 60


# (q) the estimate as an oracle, and overrides that fake anything


async def test_q_an_estimate_is_judged_and_holds_nothing() -> None:
    desk = Desk(GRANT)
    assert classify("eth_estimateUserOperationGas") is MethodClass.PREVIEW
    stub = replace(use(GRANT, GOOD), signature=b"\0" + GRANT.permission_id + b"\xe8" * 65)
    for _ in range(3):
        judgement = await desk.judge(stub, preview=True)
        assert isinstance(judgement.verdict, Allow)
        assert judgement.reservation is None
    assert len(desk.ledger) == 0
    over = await desk.judge(use(GRANT, single(transfer(101))), preview=True)
    assert isinstance(over.verdict, Reject)


async def test_q_state_overrides_change_nothing_about_the_verdict() -> None:
    desk = Desk(GRANT)
    over = print_user_operation(use(GRANT, single(transfer(101))))
    overrides = {"0x" + MODULE.hex(): {"code": "0x00"}, "0x" + ACCOUNT.hex(): {"balance": "0xffff"}}
    reply, reached = await desk.ask("eth_estimateUserOperationGas", over, "0x" + V07.address.hex(), overrides)
    assert reply["error"]["code"] == Code.LIMIT_EXCEEDED
    assert reached == []


async def test_a_target_that_is_not_granted_is_refused_and_never_reaches_the_bundler() -> None:
    desk = Desk(GRANT)
    for call in (transfer(1, token=OTHER_TOKEN), Call(FRIEND, 1, b""), Call(TOKEN, 0, Selector(b"abcd"))):
        op = print_user_operation(use(GRANT, single(call)))
        reply, reached = await desk.ask("eth_sendUserOperation", op, "0x" + V07.address.hex())
        assert reply["error"]["code"] == Code.SESSION_SCOPE
        assert reached == []


def test_a_session_that_cannot_be_read_raises_and_never_reads_as_foreign() -> None:
    with pytest.raises(Undecodable):
        reading(an_operation(GOOD, signature=b"\x07" + STRANGER))
