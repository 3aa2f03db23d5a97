from __future__ import annotations

from proxy.session.addresses import POLICIES
from proxy.session.policies.policy import PASSED, SignedAction
from proxy.userop.primitives import Hash32
from tests.session.builders import STRANGER, SUDO, call, sudo
from tests.session.policies.builders import Deployed, deploy, key_of, view

SUDO_V1 = next(address for address, contract in POLICIES.items() if contract.name == "SudoPolicy" and address != SUDO)


def test_allows_every_call_without_counting_anything() -> None:
    outcome, after = deploy(sudo).call(call(STRANGER, value=2**200, data=b"\x01" * 50))
    assert outcome == PASSED
    assert after.used == {}


def test_allows_everything_although_never_initialised_in_both_generations() -> None:
    for address in (SUDO, SUDO_V1):
        assert Deployed(address).call(call())[0] == PASSED
        assert Deployed(address).user_op(view(call()))[0] == PASSED


def test_allows_every_signature() -> None:
    policy = POLICIES[SUDO].erc1271
    assert policy is not None
    assert policy.check_1271(None, SignedAction(STRANGER, Hash32(bytes(32)), 0), key_of(SUDO)) is True
