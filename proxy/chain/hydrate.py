"""A session read from the chain: what the module and its policies store for it, all at one block."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from proxy.chain.installed import is_dropped
from proxy.chain.node import Node, Reverted
from proxy.chain.policy_views import read_policy
from proxy.chain.settlement.slices import BlockName
from proxy.chain.together import together
from proxy.chain.views import (
    EMISSARY_IS_PERMISSION_ENABLED,
    GET_ACTION_POLICIES,
    GET_ENABLED_ACTIONS,
    GET_ERC1271_POLICIES,
    GET_NONCE,
    GET_SESSION_VALIDATOR,
    GET_USER_OP_POLICIES,
    IS_PERMISSION_ENABLED,
    VALIDATE_USER_OP,
    ask,
)
from proxy.errors import StateUnavailable
from proxy.session.addresses import MODULE_KINDS, ModuleKind
from proxy.session.counters import SessionKey
from proxy.session.revert import SELECTOR_BY_ERROR
from proxy.session.state import SessionState, SessionStatus
from proxy.userop.primitives import Address, print_bytes

MOST_ACTIONS: Final = 512
"""Actions of one session that are read; a session with more cannot be judged here."""

_NO_PAYMASTER: Final = SELECTOR_BY_ERROR["PaymasterValidationNotEnabled"]
_NOT_ENABLED: Final = SELECTOR_BY_ERROR["InvalidPermissionId"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A session as the chain had it at a block. A session that was removed reads as never enabled; of one that is,
    the account may have `dropped` the module that keeps it."""

    state: SessionState
    at: BlockName
    dropped: bool = False


def is_readable(module: Address) -> bool:
    """Whether a module's sessions can be read from the chain whole: the emissary publishes too few views."""
    return MODULE_KINDS.get(module) is not ModuleKind.EMISSARY


async def hydrate(node: Node, key: SessionKey, *, timeout_seconds: float = 5.0) -> Reading:
    """Read one session: enabled or not, validator, policies, actions, counters, enable nonce, paymaster flag.

    Of a session of the emissary only that it is not enabled can be read: see `_hydrate_emissary`.
    Raises `StateUnavailable` when any of it cannot be had in time; half a session is none.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await (_hydrate if is_readable(key.module) else _hydrate_emissary)(node, key)
    except TimeoutError:
        what = f"session {print_bytes(key.permission_id)}"
        raise StateUnavailable(f"{what} could not be read from the node in {timeout_seconds:g} s") from None


async def _hydrate_emissary(node: Node, key: SessionKey) -> Reading:
    """Of the emissary only one view is published: it tells that there is no session, but not what one may do."""
    head = await node.head()
    block = BlockName(head.number, head.hash)
    names = (key.account, key.permission_id)
    (enabled,) = await ask(node, key.module, EMISSARY_IS_PERMISSION_ENABLED, *names, block=block)
    if enabled:
        what = f"session {print_bytes(key.permission_id)}"
        raise StateUnavailable(f"{what} is enabled at the emissary, which does not tell what it may do")
    return Reading(SessionState(key=key), block)


async def _hydrate(node: Node, key: SessionKey) -> Reading:
    head = await node.head()
    block = BlockName(head.number, head.hash)
    module, account, permission_id = key.module, key.account, key.permission_id
    (enabled,), (nonce,) = await together(
        ask(node, module, IS_PERMISSION_ENABLED, permission_id, account, block=block),
        ask(node, module, GET_NONCE, permission_id, account, block=block),
    )
    state = SessionState(key=key, enable_nonce=nonce)
    if not enabled:
        return Reading(state, block)
    lists = _read_lists(node, state, block)
    state, dropped = await asyncio.gather(lists, is_dropped(node, account, module, block=block))
    return Reading(await _read_configs(node, state, block), block, dropped)


async def _read_lists(node: Node, state: SessionState, block: BlockName) -> SessionState:
    key = state.key
    names = (key.account, key.permission_id)
    (validator, init_data), (user_op,), (erc1271,), (action_ids,), (permits_paymaster,) = await together(
        ask(node, key.module, GET_SESSION_VALIDATOR, *names, block=block),
        ask(node, key.module, GET_USER_OP_POLICIES, *names, block=block),
        ask(node, key.module, GET_ERC1271_POLICIES, *names, block=block),
        ask(node, key.module, GET_ENABLED_ACTIONS, *names, block=block),
        _ask_paymaster(node, key, block),
    )
    if len(action_ids) > MOST_ACTIONS:
        raise StateUnavailable(f"the session has {len(action_ids)} actions, more than {MOST_ACTIONS}")
    lists = await together(
        *(ask(node, key.module, GET_ACTION_POLICIES, *names, action_id, block=block) for action_id in action_ids)
    )
    return SessionState(
        key=key,
        status=SessionStatus.ENABLED,
        session_validator=validator,
        session_validator_init_data=init_data,
        user_op_policies=user_op,
        actions={action_id: policies for action_id, (policies,) in zip(action_ids, lists, strict=True)},
        erc1271_policies=erc1271,
        permits_paymaster=permits_paymaster,
        enable_nonce=state.enable_nonce,
    )


async def _ask_paymaster(node: Node, key: SessionKey, block: BlockName) -> tuple[bool | None]:
    return (await permits_paymaster_of(node, key, block=block),)


async def _read_configs(node: Node, state: SessionState, block: BlockName) -> SessionState:
    listed = tuple(dict.fromkeys(state.listed_configs()))
    stored = await together(*(read_policy(node, state.config_key(*config), block=block) for config in listed))
    for config, initialised in zip(listed, stored, strict=True):
        if initialised is not None:
            state = state.with_policy_config(config.policy, config.config_id, initialised)
    return state


async def permits_paymaster_of(node: Node, key: SessionKey, *, block: BlockName | None = None) -> bool | None:
    """Whether a session in force permits paymasters; `None` when the answer cannot be told. Raises `StateUnavailable`.

    No view tells. But the module looks at the flag before it looks at any policy or at the call data
    (SmartSession._enforcePolicies), so an empty operation with a paymaster, validated in an `eth_call` as if by the
    account, fails with PaymasterValidationNotEnabled or gets further.
    """
    envelope = b"\0" + key.permission_id + b"\0"
    operation = (key.account, 0, b"", b"", bytes(32), 0, bytes(32), bytes(52), envelope)
    data = VALIDATE_USER_OP.call_data(operation, bytes(32))
    answer = await node.call(key.module, data, block=block, sender=key.account)
    if not isinstance(answer, Reverted) or answer.data.startswith(_NOT_ENABLED):
        return None
    return not answer.data.startswith(_NO_PAYMASTER)
