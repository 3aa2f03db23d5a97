"""Acts that a step names, made into the calls that do them, by the ABIs of accounts and session modules.

What is encoded here by eth-abi is decoded by the gate's own reader, so that an act in a case is one of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from eth_abi.abi import encode as encode_arguments

from proxy.judge.reading import name_of_act, names_of_acts
from proxy.record import record
from proxy.rehearsal.written_sessions import Ground, address_named, session_granted
from proxy.session.addresses import SMART_SESSION
from proxy.userop.acts import (
    AccountUpgraded,
    ActionDisabled,
    ActionPoliciesDisabled,
    ActionPoliciesEnabled,
    ControlChanged,
    EmissaryConfigRemoved,
    EmissaryConfigSet,
    EmissaryNonceRevoked,
    EnableSignatureRevoked,
    Erc1271PoliciesDisabled,
    Erc1271PoliciesEnabled,
    ModuleInstalled,
    ModuleUninstalled,
    OwnersChanged,
    PaymasterPermitted,
    SessionRemoved,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesDisabled,
    UserOpPoliciesEnabled,
)
from proxy.userop.administration import acts_of
from proxy.userop.arguments import selector
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation
from proxy.userop.declared_module import DeclaredModule, SessionModules, SessionWord
from proxy.userop.emissary_abi import (
    EMISSARIES,
    EMISSARY,
    EMISSARY_CONFIG,
    EMISSARY_DISABLE,
    EMISSARY_ENABLE,
    EmissaryConfig,
    EmissaryEnable,
    members_of_config,
    members_of_enable,
)
from proxy.userop.execution import Call
from proxy.userop.meanings import ArgumentMeaning, plan_of
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32
from proxy.userop.prototype import parse_prototype
from proxy.userop.session_abi import (
    ACTION_DATA,
    ERC7739_CONTEXT,
    ERC7739_DATA,
    POLICY_DATAS,
    SESSION,
    members_of_actions,
    members_of_erc7739,
    members_of_policies,
    members_of_session,
)
from proxy.userop.session_data import ChainDigest, PolicyData, SessionData


@record(kw_only=True)
class Scene:
    """What acts of a step are done on: the account, its session module, the session they are about, the unix time."""

    account: Address
    module: Address
    chain_id: int
    now: int
    permission_id: Hash32
    modules: SessionModules

    @property
    def granted(self) -> SessionData:
        """What acts grant of which nothing else is said: a session of the least privilege."""
        ground = Ground(account=self.account, module=self.module, now=self.now, until=None, targets=())
        return session_granted("granted", (), ground)

    @property
    def smart_sessions(self) -> Address:
        """The module that functions of Smart Sessions are called of: the emissary has others."""
        return SMART_SESSION if self.module in EMISSARIES else self.module


Encode = Callable[[Scene], Call]


_DECLARED: Final = address_named("a module that settings declare")
_GRANTS: Final = parse_prototype("grant(address sessionKey, address target)")
_REVOKES: Final = parse_prototype("revoke(address sessionKey)")
_DECLARED_MODULE: Final = DeclaredModule(
    address=_DECLARED,
    functions={
        prototype.selector: SessionWord(plan_of(prototype, tuple(ArgumentMeaning), lambda *_: None), grants=grants)
        for prototype, grants in ((_GRANTS, True), (_REVOKES, False))
    },
)


def modules_of_case(modules: Collection[Address], chain_id: int) -> SessionModules:
    """Session modules of a step, and one that is declared: acts of such modules have no functions but the declared."""
    return SessionModules.of(modules, [_DECLARED_MODULE], chain_id)


def call_that_does(name: str, scene: Scene) -> Call | None:
    """The call that does the act of this name and nothing else, as the gate reads it; `None` where there is none."""
    call = CALLS_BY_ACT[name](scene)
    read = names_of_acts(acts_of([call], scene.account, scene.modules))
    return call if read == (name,) else None


def call_that_grants(session: SessionData, module: Address, scene: Scene) -> Call:
    """The grant of a session of the scene's account by a call to `module`."""
    if module in EMISSARIES:
        return _set_config(session, module, scene)
    return _call(module, f"enableSessions({SESSION.name}[])", [members_of_session(session)])


def enabled_at_the_emissary(
    session: SessionData, claims: tuple[PolicyData, ...], digests: tuple[ChainDigest, ...]
) -> EmissaryEnable:
    """What brings a session to the emissary, with the zero allocator; nothing in it is signed."""
    config = EmissaryConfig(scope=0, reset_period=0, allocator=ZERO_ADDRESS, permission_id=session.permission_id)
    return EmissaryEnable(
        config=config,
        chain_digest_index=0,
        digests=digests,
        session=session,
        claim_policies=claims,
        expires=_NEVER,
        user_signature=b"",
        allocator_signature=b"",
    )


def _call(target: Address, signature: str, *arguments: Any) -> Call:  # Any: what the types of the signature take
    types = [each.type.name for each in parse_prototype(signature).parameters]
    return Call(target, 0, selector(signature) + encode_arguments(types, arguments))


def _of_account(signature: str, *arguments: Any) -> Encode:  # Any: see `_call`
    return lambda scene: _call(scene.account, signature, *arguments)


def _of_session(signature: str, *arguments: Any) -> Encode:  # Any: see `_call`
    """A function of Smart Sessions whose first argument is the permission id."""
    return lambda scene: _call(scene.smart_sessions, signature, scene.permission_id, *arguments)


def _of_emissary(scene: Scene) -> Address:
    return scene.module if scene.module in EMISSARIES else EMISSARY


def _set_config(session: SessionData, module: Address, scene: Scene) -> Call:
    enable = enabled_at_the_emissary(session, (), (ChainDigest(scene.chain_id, Hash32(bytes(32))),))
    return _call(
        module,
        f"setConfig(address,{EMISSARY_CONFIG.name},{EMISSARY_ENABLE.name})",
        bytes(scene.account),
        members_of_config(enable.config),
        members_of_enable(enable),
    )


def _remove_config(scene: Scene) -> Call:
    config = EmissaryConfig(scope=0, reset_period=0, allocator=ZERO_ADDRESS, permission_id=scene.permission_id)
    signature = f"removeConfig(address,{EMISSARY_CONFIG.name},{EMISSARY_DISABLE.name})"
    disabled: tuple[Any, ...] = (b"", b"", _NEVER, (0, []))
    return _call(_of_emissary(scene), signature, bytes(scene.account), members_of_config(config), disabled)


_NEVER: Final = 2**48
_PLUGIN: Final = address_named("plugin")
_POLICY: Final = address_named("policy")
_ACTION_ID: Final = bytes(31) + b"\x01"

_CALLS: Final[dict[type, Encode]] = {
    SessionsEnabled: lambda scene: call_that_grants(scene.granted, scene.smart_sessions, scene),
    SessionRemoved: _of_session("removeSession(bytes32)"),
    SessionsCleared: lambda scene: _call(scene.module, "onUninstall(bytes)", b""),
    UserOpPoliciesEnabled: lambda scene: _of_session(
        f"enableUserOpPolicies(bytes32,{POLICY_DATAS.name})", members_of_policies(scene.granted.user_op_policies)
    )(scene),
    UserOpPoliciesDisabled: _of_session("disableUserOpPolicies(bytes32,address[])", [_POLICY]),
    ActionPoliciesEnabled: lambda scene: _of_session(
        f"enableActionPolicies(bytes32,{ACTION_DATA.name}[])", members_of_actions(scene.granted.actions)
    )(scene),
    ActionPoliciesDisabled: _of_session("disableActionPolicies(bytes32,bytes32,address[])", _ACTION_ID, [_POLICY]),
    ActionDisabled: _of_session("disableActionId(bytes32,bytes32)", _ACTION_ID),
    Erc1271PoliciesEnabled: lambda scene: _of_session(
        f"enableERC1271Policies(bytes32,{ERC7739_DATA.name})", members_of_erc7739(scene.granted.erc7739_policies)
    )(scene),
    Erc1271PoliciesDisabled: _of_session(
        f"disableERC1271Policies(bytes32,address[],{ERC7739_CONTEXT.name}[])", [_POLICY], []
    ),
    EnableSignatureRevoked: _of_session("revokeEnableSignature(bytes32)"),
    PaymasterPermitted: _of_session("setPermit4337Paymaster(bytes32,bool)", True),
    DeclaredGrant: lambda _scene: _call(
        _DECLARED, _GRANTS.signature, address_named("session key"), address_named("game")
    ),
    DeclaredRevocation: lambda _scene: _call(_DECLARED, _REVOKES.signature, address_named("session key")),
    EmissaryConfigSet: lambda scene: _set_config(scene.granted, _of_emissary(scene), scene),
    EmissaryConfigRemoved: _remove_config,
    EmissaryNonceRevoked: lambda scene: _call(_of_emissary(scene), "revokeNonce(bytes12)", bytes(12)),
    ModuleInstalled: _of_account("installModule(uint256,address,bytes)", 2, _PLUGIN, b""),
    ModuleUninstalled: _of_account("uninstallModule(uint256,address,bytes)", 2, _PLUGIN, b""),
    AccountUpgraded: _of_account("upgradeToAndCall(address,bytes)", address_named("implementation"), b""),
    OwnersChanged: _of_account("addOwnerWithThreshold(address,uint256)", address_named("owner"), 1),
    ControlChanged: _of_account("setGuard(address)", address_named("guard")),
    # a function that administers, with arguments that nobody can read
    Unreadable: lambda scene: Call(scene.account, 0, selector("installModule(uint256,address,bytes)")),
}
CALLS_BY_ACT: Final = {name_of_act(act): encode for act, encode in _CALLS.items()}
"""By the name of an act, the call that does it."""
