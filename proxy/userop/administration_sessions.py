"""Writes to a session module, read as the module reads them (erc7579/smartsessions `ISmartSession.sol`).

The emissary (the module of the Rhinestone SDK's newer sessions) is written to by two functions of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from proxy.errors import Undecodable
from proxy.userop import abi
from proxy.userop.acts import (
    Act,
    ActionDisabled,
    ActionPoliciesDisabled,
    ActionPoliciesEnabled,
    EmissaryConfigRemoved,
    EmissaryConfigSet,
    EmissaryNonceRevoked,
    EnableSignatureRevoked,
    Erc1271PoliciesDisabled,
    Erc1271PoliciesEnabled,
    PaymasterPermitted,
    SessionRemoved,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesDisabled,
    UserOpPoliciesEnabled,
)
from proxy.userop.arguments import selector
from proxy.userop.budget import Budget
from proxy.userop.emissary_abi import (
    EMISSARIES,
    EMISSARY_CONFIG,
    EMISSARY_DISABLE,
    EMISSARY_ENABLE,
    config_from_members,
    enable_from_members,
)
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.review import draw_review, draw_review_of
from proxy.userop.session_abi import (
    ACTION_DATA,
    ERC7739_CONTEXT,
    ERC7739_DATA,
    POLICY_DATAS,
    SESSION,
    actions_from_members,
    decode_sessions,
    erc7739_from_members,
    policies_from_members,
    session_from_members,
)
from proxy.userop.session_data import ERC7739Context, SessionData

VALIDATOR_TYPE: Final = 1
"""ERC-7579 module type id of a validator."""

_ADDRESSES: Final = abi.list_of(abi.ADDRESS)
_KERNEL_VALIDATOR: Final = abi.tuple_of(abi.BYTES, abi.BYTES, abi.BYTES)
_BYTES: Final = abi.tuple_of(abi.BYTES)
_WHERE: Final = "callData"
_INIT_DATA: Final = "initData"


def sessions_in_init_data(init_data: bytes, budget: Budget | None = None) -> tuple[SessionData, ...]:
    """The sessions a session module is installed with.

    Empty, or 01|02 ‖ abi.encode(Session[]) (`SmartSession.onInstall`); Kernel wraps that as
    hook(20) ‖ abi.encode(bytes validatorData, bytes hookData, bytes selectorData). Raises `Undecodable`.
    """
    try:
        return _sessions_after_mode(init_data, budget)
    except Undecodable as problem:
        try:
            validator_data, _, _ = abi.decode(_KERNEL_VALIDATOR, init_data[20:], _INIT_DATA, budget)
        except Undecodable:
            raise problem from None
        return _sessions_after_mode(validator_data, budget)


def _sessions_after_mode(init_data: bytes, budget: Budget | None) -> tuple[SessionData, ...]:
    if not init_data:
        return ()
    if init_data[0] not in (1, 2):
        raise Undecodable(_INIT_DATA, f"mode byte {init_data[0]} where 1 or 2 is wanted")
    sessions = decode_sessions(init_data[1:], budget)
    for session in sessions:
        draw_review_of(budget, session)
    return sessions


def session_module_acts(call: Call, budget: Budget | None = None) -> tuple[Act, ...]:
    """The acts of a call to a session module; one `Unreadable` when it is no write that can be read exactly."""
    if call.selector in _VIEWS:
        return ()
    read = (_EMISSARY_READERS if call.target in EMISSARIES else _READERS).get(call.selector)
    if read is None or len(call.data) < 4:
        return (Unreadable(call.target, call.selector, "no function of the session module that is known here"),)
    try:
        return (read(call.target, call.data[4:], budget),)
    except Undecodable as problem:
        return (Unreadable(call.target, call.selector, str(problem)),)


Reader = Callable[[Address, bytes, Budget | None], Act]


def _reader(members: Sequence[abi.AbiType], build: Callable[..., Act]) -> Reader:
    """A reader of the arguments `members`; `build` gets the module and the decoded arguments."""
    types = abi.tuple_of(*members)

    def read(module: Address, arguments: bytes, budget: Budget | None) -> Act:
        act = build(module, *abi.decode(types, arguments, _WHERE, budget))
        _draw_review(act, budget)
        return act

    return read


def _draw_review(act: Act, budget: Budget | None) -> None:
    match act:
        case SessionsEnabled(sessions=sessions):
            for session in sessions:
                draw_review_of(budget, session)
        case UserOpPoliciesEnabled(policies=policies):
            draw_review(budget, policies=policies)
        case ActionPoliciesEnabled(actions=actions):
            draw_review(budget, actions=actions)
        case Erc1271PoliciesEnabled(erc7739_policies=contents):
            draw_review(budget, contents=contents)
        case EmissaryConfigSet(enable=enable):
            draw_review_of(budget, enable.session, enable.claim_policies)
        case _:
            pass


def _installed(module: Address, arguments: bytes, budget: Budget | None) -> Act:
    (init_data,) = abi.decode(_BYTES, arguments, _WHERE, budget)
    return SessionsEnabled(module, sessions_in_init_data(init_data, budget))


def _contexts(members: Sequence[Any]) -> tuple[ERC7739Context, ...]:
    return tuple(ERC7739Context(Hash32(separator), names) for separator, names in members)


def _emissary_config_set(module: Address, account: Address, config: Sequence[Any], enable: Sequence[Any]) -> Act:
    return EmissaryConfigSet(module, account, enable_from_members(config, enable, _WHERE))


def _emissary_config_removed(module: Address, account: Address, config: Sequence[Any], _disable: Sequence[Any]) -> Act:
    return EmissaryConfigRemoved(module, account, config_from_members(config, _WHERE).permission_id)


_BY_SIGNATURE: Final[dict[str, Reader]] = {
    f"enableSessions({SESSION.name}[])": _reader(
        [abi.list_of(SESSION)],
        lambda module, sessions: SessionsEnabled(module, tuple(map(session_from_members, sessions))),
    ),
    "removeSession(bytes32)": _reader([abi.BYTES32], SessionRemoved),
    f"enableUserOpPolicies(bytes32,{POLICY_DATAS.name})": _reader(
        [abi.BYTES32, POLICY_DATAS],
        lambda module, permission, policies: UserOpPoliciesEnabled(module, permission, policies_from_members(policies)),
    ),
    "disableUserOpPolicies(bytes32,address[])": _reader([abi.BYTES32, _ADDRESSES], UserOpPoliciesDisabled),
    f"enableActionPolicies(bytes32,{ACTION_DATA.name}[])": _reader(
        [abi.BYTES32, abi.list_of(ACTION_DATA)],
        lambda module, permission, actions: ActionPoliciesEnabled(module, permission, actions_from_members(actions)),
    ),
    "disableActionPolicies(bytes32,bytes32,address[])": _reader(
        [abi.BYTES32, abi.BYTES32, _ADDRESSES], ActionPoliciesDisabled
    ),
    "disableActionId(bytes32,bytes32)": _reader([abi.BYTES32, abi.BYTES32], ActionDisabled),
    f"enableERC1271Policies(bytes32,{ERC7739_DATA.name})": _reader(
        [abi.BYTES32, ERC7739_DATA],
        lambda module, permission, data: Erc1271PoliciesEnabled(module, permission, erc7739_from_members(data)),
    ),
    f"disableERC1271Policies(bytes32,address[],{ERC7739_CONTEXT.name}[])": _reader(
        [abi.BYTES32, _ADDRESSES, abi.list_of(ERC7739_CONTEXT)],
        lambda module, permission, policies, contexts: Erc1271PoliciesDisabled(
            module, permission, policies, _contexts(contexts)
        ),
    ),
    "revokeEnableSignature(bytes32)": _reader([abi.BYTES32], EnableSignatureRevoked),
    "setPermit4337Paymaster(bytes32,bool)": _reader([abi.BYTES32, abi.BOOL], PaymasterPermitted),
    # the account may call both itself, past its own list of modules
    "onInstall(bytes)": _installed,
    "onUninstall(bytes)": _reader([abi.BYTES], lambda module, _data: SessionsCleared(module)),
}

_EMISSARY_BY_SIGNATURE: Final[dict[str, Reader]] = {
    f"setConfig(address,{EMISSARY_CONFIG.name},{EMISSARY_ENABLE.name})": _reader(
        [abi.ADDRESS, EMISSARY_CONFIG, EMISSARY_ENABLE], _emissary_config_set
    ),
    f"removeConfig(address,{EMISSARY_CONFIG.name},{EMISSARY_DISABLE.name})": _reader(
        [abi.ADDRESS, EMISSARY_CONFIG, EMISSARY_DISABLE], _emissary_config_removed
    ),
    "revokeNonce(bytes12)": _reader([abi.fixed_bytes(12)], EmissaryNonceRevoked),
    # the sessions stay stored, but an account that has taken the emissary off asks it no more
    "onUninstall(bytes)": _reader([abi.BYTES], lambda module, _data: SessionsCleared(module)),
}

_READERS: Final = {selector(signature): reader for signature, reader in _BY_SIGNATURE.items()}
_EMISSARY_READERS: Final = {selector(signature): reader for signature, reader in _EMISSARY_BY_SIGNATURE.items()}

_VIEWS: Final = frozenset(
    Selector(bytes.fromhex(text))
    for text in (
        "7373f181",  # getPermissionIDs
        "adbc532f",  # isPermissionEnabled(bytes32,address)
        "27f65402",  # isPermissionEnabled(address,bytes32), emissary
        "496c8a91",  # getSessionValidatorAndConfig
        "c9a5ec39",  # isISessionValidatorSet
        "44d1628c",  # getUserOpPolicies
        "a67c714e",  # getERC1271Policies
        "a9fa4b44",  # getEnabledActions
        "d527ed6e",  # getActionPolicies
        "d0e6f608",  # getEnabledERC7739Content
        "795f9269",  # getNonce(bytes32,address)
        "b73f6902",  # getNonce(address,bytes12), emissary
        "1be1fffb",  # getPermissionId
        "05defba6",  # getSessionDigest
    )
)
"""Functions of a session module that change nothing."""
