"""Enable digests bind account, module, nonce, mode and everything the session grants. The vectors hold the values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.session.enable_digest import multichain_digest, session_digest
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_data import (
    FALLBACK_SELECTOR,
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    ActionData,
    ChainDigest,
    ERC7739Context,
    ERC7739Data,
    PolicyData,
)
from proxy.userop.signature import SessionMode
from tests.userop.builders import ACCOUNT, MODULE, a_session

SESSION = a_session()
OTHER = Address(b"\x99" * 20)
POLICY = PolicyData(OTHER, b"\x01")
CONTEXT = ERC7739Context(Hash32(b"\xd1" * 32), ("Mail(string text)",))


def digest(**changes: Any) -> Hash32:
    fields: dict[str, Any] = {"account": ACCOUNT, "smart_session": MODULE, "mode": SessionMode.ENABLE, "nonce": 0}
    fields |= changes
    return session_digest(fields.pop("session", SESSION), **fields)


@pytest.mark.parametrize(
    "changes",
    [{"account": OTHER}, {"smart_session": OTHER}, {"nonce": 1}, {"mode": SessionMode.UNSAFE_ENABLE}],
    ids=lambda changes: next(iter(changes)),
)
def test_binds_where_and_when_the_session_is_enabled(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"session_validator": OTHER},
        {"session_validator_init_data": b"\x09"},
        {"salt": Hash32(bytes(32))},
        {"permit_erc4337_paymaster": False},
        {"user_op_policies": ()},
        {"user_op_policies": (POLICY,)},
        {"user_op_policies": SESSION.user_op_policies * 2},
        {"erc7739_policies": ERC7739Data()},
        {"erc7739_policies": ERC7739Data(contexts=(CONTEXT,))},
        {"erc7739_policies": ERC7739Data(erc1271_policies=(POLICY,))},
        {"actions": ()},
        {"actions": SESSION.actions[::-1]},
        {"actions": (replace(SESSION.actions[0], target=OTHER), SESSION.actions[1])},
        {"actions": (replace(SESSION.actions[0], policies=(POLICY,)), SESSION.actions[1])},
    ],
    ids=str,
)
def test_binds_everything_the_session_grants(changes: dict[str, Any]) -> None:
    assert digest(session=replace(SESSION, **changes)) != digest()


def test_binds_the_two_flag_actions_beyond_their_entries() -> None:
    plain, fallback, admin = (
        digest(session=replace(SESSION, actions=(ActionData(selector, FLAG_TARGET, (POLICY,)),)))
        for selector in (SESSION.actions[0].selector, FALLBACK_SELECTOR, SMART_SESSION_CALL_SELECTOR)
    )
    assert len({plain, fallback, admin}) == 3


def test_signs_all_chains_in_their_order() -> None:
    one, two = ChainDigest(1, Hash32(b"\x01" * 32)), ChainDigest(2, Hash32(b"\x02" * 32))
    digests = {multichain_digest(chains) for chains in ((), (one,), (two,), (one, two), (two, one))}
    assert len(digests) == 5


def test_binds_the_chain_of_each_digest() -> None:
    here = ChainDigest(1, Hash32(b"\x01" * 32))
    assert multichain_digest((here,)) != multichain_digest((replace(here, chain_id=2),))
