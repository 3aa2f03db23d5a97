"""All sessions that one account has at one module: what enableSessions, onInstall and onUninstall make of them.

Source: erc7579/smartsessions `SmartSessionBase.sol`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxy.errors import Undecodable
from proxy.session.counters import SessionKey
from proxy.session.revert import BAD_ENUM, BARE, Revert
from proxy.session.state import SessionState
from proxy.session.transitions import PUBLISHED, Contracts, emptied, enable
from proxy.userop.primitives import Address, Hash32
from proxy.userop.session_abi import decode_sessions
from proxy.userop.session_data import SessionData
from proxy.userop.signature import SessionMode

Sessions = Mapping[Hash32, SessionState]
"""By permission id."""


def enable_sessions(
    sessions: Sessions,
    grants: Iterable[SessionData],
    *,
    chain_id: int,
    module: Address,
    account: Address,
    contracts: Contracts = PUBLISHED,
) -> Sessions | Revert:
    """enableSessions: one after the other; a revert of one undoes all."""
    after = dict(sessions)
    for grant in grants:
        key = SessionKey(chain_id, module, account, grant.permission_id)
        enabled = enable(after.get(grant.permission_id) or SessionState(key=key), grant, contracts)
        if isinstance(enabled, Revert):
            return enabled
        after[grant.permission_id] = enabled
    return after


def on_install(
    sessions: Sessions,
    data: bytes,
    *,
    chain_id: int,
    module: Address,
    account: Address,
    contracts: Contracts = PUBLISHED,
) -> Sessions | Revert:
    """onInstall: nothing, or a mode byte (01, 02) and abi.encode(Session[]); refused while a session is enabled."""
    if any(state.enabled for state in sessions.values()):
        return Revert("SmartSessionModuleAlreadyInstalled", (account,))
    if not data:
        return sessions
    if data[0] > SessionMode.UNSAFE_ENABLE:
        return BAD_ENUM
    if data[0] == SessionMode.USE:
        return Revert("InvalidMode")
    try:
        grants = decode_sessions(data[1:])
    except Undecodable:
        return BARE
    return enable_sessions(sessions, grants, chain_id=chain_id, module=module, account=account, contracts=contracts)


def on_uninstall(sessions: Sessions) -> Sessions:
    """onUninstall: every session is removed; enable nonces stay."""
    return {permission_id: emptied(state) for permission_id, state in sessions.items()}
