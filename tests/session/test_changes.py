"""What an operation will do to sessions, taken from real encodings."""

from __future__ import annotations

from proxy.session.changes import SessionEnabled, changes_of, make_change
from proxy.session.revert import Revert
from proxy.session.state import SessionState
from proxy.userop import abi
from proxy.userop.acts import (
    ActionDisabled,
    ActionPoliciesDisabled,
    ActionPoliciesEnabled,
    Erc1271PoliciesDisabled,
    Erc1271PoliciesEnabled,
    SessionRemoved,
    SessionsEnabled,
    UserOpPoliciesDisabled,
)
from proxy.userop.decode import DecodedOperation, decode_operation
from proxy.userop.execution import Call
from proxy.userop.primitives import Address
from proxy.userop.session_abi import encode_sessions
from proxy.userop.session_data import ChainDigest, EnableSession, ERC7739Data, SessionData
from proxy.userop.signature import SessionEnvelope, SessionMode, encode_session_envelope
from tests.session import builders
from tests.userop.builders import (
    ACCOUNT,
    CHAIN_ID,
    MODULE,
    MODULES,
    OWNER_NONCE,
    TOKEN,
    V07,
    an_operation,
    batch,
    single,
)

GRANT = builders.session(builders.action(TOKEN, builders.TRANSFER, builders.usage(3)))
MODULE_AND_DATA = abi.tuple_of(abi.ADDRESS, abi.BYTES)


def decoded(**fields: object) -> DecodedOperation:
    return decode_operation(an_operation(**fields), V07, CHAIN_ID, MODULES)


def enable_call(*sessions: SessionData) -> Call:
    return Call(MODULE, 0, bytes.fromhex("21712407") + encode_sessions(sessions))


def enabling() -> bytes:
    grant = EnableSession(
        chain_digest_index=0,
        digests=(ChainDigest(CHAIN_ID, builders.Hash32(b"\x0d" * 32)),),
        session=GRANT,
        permission_enable_signature=b"\x09" * 65,
    )
    return encode_session_envelope(
        SessionEnvelope(
            mode=SessionMode.ENABLE, permission_id=GRANT.permission_id, signature=b"\x01" * 65, enable=grant
        )
    )


def test_a_plain_transfer_changes_nothing() -> None:
    assert not changes_of(decoded(), MODULES)


def test_an_owners_grant_stands_only_with_its_execution() -> None:
    changes = changes_of(decoded(nonce=OWNER_NONCE, call_data=single(enable_call(GRANT))), MODULES)
    assert changes.at_validation == ()
    assert changes.on_success == (SessionsEnabled(MODULE, (GRANT,)),)
    assert changes.that_stand(success=False) == ()
    assert [key.permission_id for key, _ in changes.granted()] == [GRANT.permission_id]
    assert (changes.account, changes.chain_id, changes.modules()) == (ACCOUNT, CHAIN_ID, (MODULE,))


def test_a_removal_names_its_session() -> None:
    removal = Call(MODULE, 0, bytes.fromhex("f867b08e") + GRANT.permission_id)
    changes = changes_of(decoded(nonce=OWNER_NONCE, call_data=single(removal)), MODULES)
    (key,) = changes.keys(changes.on_success[0])
    assert changes.removes(key)
    assert not changes.removes(builders.with_key(SessionState(key=key), account=Address(bytes(20))).key)


def test_changes_of_a_batch_keep_their_order() -> None:
    removal = Call(MODULE, 0, bytes.fromhex("f867b08e") + GRANT.permission_id)
    changes = changes_of(decoded(nonce=OWNER_NONCE, call_data=batch(removal, enable_call(GRANT))), MODULES)
    assert [type(change) for change in changes.on_success] == [SessionRemoved, SessionsEnabled]
    changes = changes_of(decoded(nonce=OWNER_NONCE, call_data=batch(enable_call(GRANT), removal)), MODULES)
    assert [type(change) for change in changes.on_success] == [SessionsEnabled, SessionRemoved]


def test_an_enable_envelope_stands_at_validation() -> None:
    changes = changes_of(decoded(signature=enabling()), MODULES)
    assert changes.at_validation == (SessionEnabled(MODULE, GRANT),)
    assert changes.on_success == ()
    judged = changes_of(decoded(signature=enabling()), MODULES, enable_nonce=3)
    assert judged.at_validation == (SessionEnabled(MODULE, GRANT, 3),)


def test_sessions_a_signature_installs_stand_at_validation_and_those_of_calls_do_not() -> None:
    other = builders.session(builders.action(TOKEN, builders.TRANSFER, builders.usage(3)), salt=2)
    init_data = b"\x01" + encode_sessions((GRANT,))
    install = MODULE + (1).to_bytes(32, "big") + len(init_data).to_bytes(4, "big") + init_data + bytes(4)
    nonce = int.from_bytes(b"\x12\x34\x56\x01" + MODULE + bytes(8), "big")
    inner = b"\x00" + other.permission_id + b"\x51" * 65
    changes = changes_of(decoded(nonce=nonce, signature=install + inner, call_data=single(enable_call(other))), MODULES)
    assert changes.at_validation == (SessionsEnabled(MODULE, (GRANT,)),)
    assert changes.on_success == (SessionsEnabled(MODULE, (other,)),)


def test_sessions_an_account_is_born_with_stand_at_validation() -> None:
    init_data = b"\x01" + encode_sessions((GRANT,))
    body = abi.encode(MODULE_AND_DATA, (MODULE, init_data))
    born = decoded(
        nonce=OWNER_NONCE,
        factory=Address(b"\xfa" * 20),
        factory_data=bytes.fromhex("ea6d13ac") + body,
        call_data=single(enable_call(GRANT)),
    )
    changes = changes_of(born, MODULES)
    assert changes.at_validation == (SessionsEnabled(MODULE, (GRANT,)),)
    assert changes.on_success == (SessionsEnabled(MODULE, (GRANT,)),)


def test_each_edit_of_a_session_in_force_reaches_the_modules_own_function() -> None:
    state = builders.enabled(
        builders.session(builders.action(TOKEN, builders.TRANSFER, builders.usage(3), builders.sudo))
    )
    permission, action_id = state.key.permission_id, next(iter(state.actions))
    names = (state.key.module, permission)

    def after(change: object) -> SessionState:
        made = make_change(state, change)  # type: ignore[arg-type]  # one of the acts below
        assert isinstance(made, SessionState)
        return made

    assert after(ActionDisabled(*names, action_id)).actions == {}
    assert after(ActionPoliciesDisabled(*names, action_id, (builders.USAGE,))).actions == {action_id: (builders.SUDO,)}
    more = builders.action(TOKEN, builders.APPROVE, builders.sudo)
    assert len(after(ActionPoliciesEnabled(*names, (more,))).actions) == 2
    assert after(UserOpPoliciesDisabled(*names, (builders.USAGE,))) == state
    signing = ERC7739Data(erc1271_policies=(builders.sudo,))
    assert after(Erc1271PoliciesEnabled(*names, signing)).erc1271_policies == (builders.SUDO,)
    assert after(Erc1271PoliciesDisabled(*names, (builders.SUDO,), ())) == state


def test_a_grant_of_several_sessions_makes_of_each_its_own() -> None:
    other = builders.session(builders.action(TOKEN, builders.APPROVE, builders.sudo), salt=2)
    both = SessionsEnabled(builders.SMART_SESSION, (GRANT, other))
    made = make_change(SessionState(key=builders.key_of(other)), both)
    assert isinstance(made, SessionState)
    assert list(made.actions) == list(builders.enabled(other).actions)


def test_an_edit_of_a_session_that_is_not_enabled_would_revert() -> None:
    state = SessionState(key=builders.key_of(GRANT))
    change = ActionDisabled(state.key.module, state.key.permission_id, builders.Hash32(bytes(32)))
    assert make_change(state, change) == Revert("InvalidPermissionId", (state.key.permission_id,))
