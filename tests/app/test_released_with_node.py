"""What the released contracts were measured to take, asked of a whole gate before a node: what the account says, and
what the validators say that nobody here knows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.chain import views
from proxy.errors import Code
from proxy.session.enable_digest import multichain_digest
from proxy.userop.primitives import print_checksummed
from proxy.userop.signature import decode_session_envelope
from proxy.userop.user_operation import UserOperation
from tests.admission.builders import key_of
from tests.app.live_node import LiveNode
from tests.app.released import RELEASE, asked, enabled_by, of
from tests.chain.on_chain import put_absent
from tests.running_gate import ESTIMATE, SEND, RunningGate, running_gate
from tests.session.builders import ACCOUNT, SMART_SESSION

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
