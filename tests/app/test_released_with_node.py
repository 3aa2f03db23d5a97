"""What the released contracts were measured to take, asked of a whole gate before a node: what the account says, and
what the validators say that nobody here knows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.chain import views
from proxy.errors import Code
from proxy.session.enable_digest import multichain_digest
from proxy.userop.primitives import Address, print_bytes, print_checksummed
from proxy.userop.session_data import SessionData
from proxy.userop.signature import decode_session_envelope
from proxy.userop.user_op_hash import user_op_hash
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import key_of
from tests.app.live_node import LiveNode
from tests.app.released import BETA, FIRST, OLDEST, RELEASE, STRANGER, UNLISTED, asked, enabled_by, of, used
from tests.bypass_list.desk import CHAIN_ID, V07
from tests.chain.builders import Reverts
from tests.chain.on_chain import put_absent
from tests.running_gate import ESTIMATE, SEND, RunningGate, running_gate
from tests.session.builders import ACCOUNT, SMART_SESSION
from tests.session.signers.keys import Key

TAKEN = bytes.fromhex("1626ba7e").ljust(32, b"\0")
REFUSED = bytes.fromhex("ffffffff").ljust(32, b"\0")


@pytest.fixture
async def before_node(live: LiveNode) -> AsyncIterator[RunningGate]:
    """A gate that may ask a node, for an account with code on it."""
    live.codes[ACCOUNT] = b"\x60"
    async with running_gate(node_url=live.url) as gate:
        yield gate


def put_module(live: LiveNode, *, installed: bool) -> None:
    """What the account says of the session module."""
    live.view(ACCOUNT, views.IS_MODULE_INSTALLED, 1, SMART_SESSION, b"", returns=(installed,))


def put_grant(live: LiveNode, op: UserOperation, *, owner: bytes = TAKEN) -> None:
    """The session is not there yet, and the account says this of the owner's signature on its grant."""
    grant = decode_session_envelope(op.signature).enable
    assert grant is not None
    put_absent(live, key_of(grant.session))
    digest = multichain_digest(grant.digests)
    live.view(ACCOUNT, views.IS_VALID_SIGNATURE, digest, grant.permission_enable_signature, returns=owner)


@pytest.mark.parametrize("method", [SEND, ESTIMATE])
async def test_a_grant_on_the_way_at_an_account_without_the_module_is_refused_and_told_what_to_install(
    live: LiveNode, before_node: RunningGate, method: str
) -> None:
    op = enabled_by(of(RELEASE))
    put_grant(live, op)
    put_module(live, installed=False)
    error = await asked(before_node, op, method)
    assert error is not None
    assert error["code"] == Code.SESSION_SCOPE
    assert "ValidatorNotInstalled" in error["message"]
    assert f"installModule(1, {print_checksummed(SMART_SESSION)}, 0x)" in error["data"]["remedy"]
    assert method not in before_node.bundler.methods
    put_module(live, installed=True)
    assert await asked(before_node, op, method) is None


OWNER = Key(77)
SENT_BY = {
    # how the owner signs the grant's digest; whether the account takes it through the release, and through the beta
    "bare": (OWNER.sign, True, False),
    "EIP-191": (OWNER.sign_message, False, True),
    "EIP-191, v + 4": (lambda digest: OWNER.sign_message(digest, add_to_v=31), True, False),
}


@pytest.mark.parametrize("form", SENT_BY)
@pytest.mark.parametrize("validator", [RELEASE, BETA], ids=["release", "beta"])
async def test_an_owner_whose_signature_the_account_does_not_take_hears_which_its_validator_takes(
    live: LiveNode, before_node: RunningGate, validator: Address, form: str
) -> None:
    """The account is asked, as it asks its validator; the words are of the release that the signature names."""
    sign, at_release, at_beta = SENT_BY[form]
    takes = at_release if validator == RELEASE else at_beta
    op = enabled_by(of(RELEASE), owner=lambda digest: validator + sign(digest))
    put_grant(live, op, owner=TAKEN if takes else REFUSED)
    put_module(live, installed=True)
    error = await asked(before_node, op)
    if takes:
        assert error is None
        return
    assert error is not None
    call = (
        "account.sign({ hash: digest })"
        if validator == RELEASE
        else "account.signMessage({ message: { raw: digest } })"
    )
    assert call in error["data"]["remedy"]
    assert ("4 added to" in error["data"]["remedy"]) is (validator == RELEASE)


def put_word(live: LiveNode, op: UserOperation, grant: SessionData, *, valid: bool | Reverts) -> None:
    """What the session's validator says of the session key's signature."""
    digest = user_op_hash(op, V07, CHAIN_ID)
    signature = decode_session_envelope(op.signature).signature
    says = valid if isinstance(valid, Reverts) else (valid,)
    asked_with = (digest, signature, grant.session_validator_init_data)
    live.view(grant.session_validator, views.VALIDATE_SIGNATURE, *asked_with, returns=says)


@pytest.mark.parametrize("says", [True, False, Reverts()], ids=["yes", "no", "reverts"])
@pytest.mark.parametrize("validator", [OLDEST, UNLISTED], ids=["the oldest release", "an unlisted one"])
async def test_a_validator_that_nobody_here_knows_is_asked_at_the_node_and_its_word_counts(
    live: LiveNode, before_node: RunningGate, validator: Address, says: bool | Reverts
) -> None:
    """In a USE and in an ENABLE, however the key signed: no form is known of such a validator."""
    put_module(live, installed=True)
    for number, sign in enumerate((FIRST.sign, FIRST.sign_message, STRANGER.sign)):
        granted, new = of(validator, salt=10 + number), of(validator, salt=20 + number)
        live.grant(granted)
        use, enable = used(granted, sign, 2 * number), enabled_by(new, sign, number=2 * number + 1)
        put_grant(live, enable)
        for op, grant in ((use, granted), (enable, new)):
            put_word(live, op, grant, valid=says)
            error = await asked(before_node, op)
            assert (error is None) is (says is True), error
            if error is not None:
                assert error["code"] == Code.SESSION_SCOPE
    questions = [call["data"][:10] for call, _ in live.calls_asked() if call["to"] == print_bytes(validator)]
    assert questions.count(print_bytes(views.VALIDATE_SIGNATURE.selector)) >= 6


@pytest.mark.parametrize("validator", [OLDEST, UNLISTED], ids=["the oldest release", "an unlisted one"])
async def test_a_validator_that_does_not_answer_is_doubt_and_refused(
    live: LiveNode, before_node: RunningGate, validator: Address
) -> None:
    grant = of(validator)
    live.grant(grant)
    error = await asked(before_node, used(grant, FIRST.sign))
    assert error is not None
    assert error["code"] == Code.SESSION_SCOPE
    assert before_node.bundler.sent == []
