"""What an owner does to sessions in operations of the owner's own. All of it may be done at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.session.addresses import SMART_SESSION
from proxy.userop import abi
from proxy.userop.execution import Call
from proxy.userop.session_abi import ACTION_DATA, POLICY_DATAS, SESSION, members_of_policies, members_of_session
from proxy.userop.session_data import SessionData, action_id_of
from tests.e2e.differential.dice import Dice
from tests.e2e.differential.draft import Attempt
from tests.e2e.differential.grants import ADD, INCREMENT, Grant
from tests.e2e.differential.wallet import COUNTER, arguments
from tests.session.builders import SUDO, TIME, USAGE, action, sudo, usage, value_limit


def _to_module(signature: str, types: tuple[abi.AbiType, ...], *values: object) -> Call:
    return Call(SMART_SESSION, 0, arguments(signature, types, *values))


def enable_sessions(*sessions: SessionData) -> Call:
    members = [members_of_session(session) for session in sessions]
    return _to_module(f"enableSessions({SESSION.name}[])", (abi.list_of(SESSION),), members)


def _remove(rng: Dice, grant: Grant) -> Call:
    return _to_module("removeSession(bytes32)", (abi.BYTES32,), grant.session.permission_id)


def _permit_paymaster(rng: Dice, grant: Grant) -> Call:
    types = (abi.BYTES32, abi.BOOL)
    permitted = rng.random() < 0.5
    return _to_module("setPermit4337Paymaster(bytes32,bool)", types, grant.session.permission_id, permitted)


def _add_policy(rng: Dice, grant: Grant) -> Call:
    added = rng.choice([usage(rng.randint(1, 4)), sudo, value_limit(rng.randint(1, 20))])
    signature = f"enableUserOpPolicies(bytes32,{POLICY_DATAS.name})"
    types = (abi.BYTES32, POLICY_DATAS)
    return _to_module(signature, types, grant.session.permission_id, members_of_policies([added]))


def _drop_policy(rng: Dice, grant: Grant) -> Call:
    types = (abi.BYTES32, abi.list_of(abi.ADDRESS))
    dropped = rng.sample([USAGE, SUDO, TIME], 1)
    return _to_module("disableUserOpPolicies(bytes32,address[])", types, grant.session.permission_id, dropped)


def _add_action(rng: Dice, grant: Grant) -> Call:
    policies = members_of_policies([usage(rng.randint(1, 6))])
    members = [(rng.choice([INCREMENT, ADD]), COUNTER, policies)]
    signature = f"enableActionPolicies(bytes32,{ACTION_DATA.name}[])"
    types = (abi.BYTES32, abi.list_of(ACTION_DATA))
    return _to_module(signature, types, grant.session.permission_id, members)


def _drop_action_policies(rng: Dice, grant: Grant) -> Call:
    types = (abi.BYTES32, abi.BYTES32, abi.list_of(abi.ADDRESS))
    action_id = action_id_of(COUNTER, INCREMENT)
    signature = "disableActionPolicies(bytes32,bytes32,address[])"
    return _to_module(signature, types, grant.session.permission_id, action_id, [rng.choice([SUDO, USAGE])])


def _drop_action(rng: Dice, grant: Grant) -> Call:
    chosen = rng.choice([*grant.session.actions, action(COUNTER, ADD)])
    action_id = action_id_of(chosen.target, chosen.selector)
    signature = "disableActionId(bytes32,bytes32)"
    return _to_module(signature, (abi.BYTES32, abi.BYTES32), grant.session.permission_id, action_id)


def _void_enable_signature(rng: Dice, grant: Grant) -> Call:
    return _to_module("revokeEnableSignature(bytes32)", (abi.BYTES32,), grant.session.permission_id)


def _grant_again(rng: Dice, grant: Grant) -> Call:
    return enable_sessions(grant.session)


OWNER_ACTS: Mapping[str, Callable[[Dice, Grant], Call]] = {
    "removes": _remove,
    "permits or forbids paymasters": _permit_paymaster,
    "adds a policy": _add_policy,
    "drops a policy": _drop_policy,
    "adds an action": _add_action,
    "drops policies of an action": _drop_action_policies,
    "drops an action": _drop_action,
    "voids enable signatures": _void_enable_signature,
    "grants again": _grant_again,
}


def by_owner(rng: Dice, grant: Grant, label: str) -> Attempt:
    """An operation of the owner about one session, one of `OWNER_ACTS`."""
    op = grant.wallet.by_owner(OWNER_ACTS[label](rng, grant))

    def taken() -> None:
        if label == "voids enable signatures":
            grant.nonce += 1
        if label == "grants again":
            grant.afresh()
        if label == "removes":
            grant.removed = True

    return Attempt(f"{grant.name}: the owner {label}", grant, op, (), taken)
