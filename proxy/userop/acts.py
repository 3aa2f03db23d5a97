"""Acts: what an operation changes about an account's sessions, modules and owners.

The first group are writes to a session module and carry what the module stores (erc7579/smartsessions
`ISmartSession.sol`); the second change the account itself (ERC-7579, Kernel, Safe).
"""

from __future__ import annotations

from enum import StrEnum

from proxy.record import record
from proxy.userop.declared_acts import DeclaredGrant, DeclaredRevocation
from proxy.userop.emissary_abi import EmissaryEnable
from proxy.userop.primitives import Address, Hash32, Selector
from proxy.userop.session_data import ActionData, ERC7739Context, ERC7739Data, PolicyData, SessionData


@record()
class SessionsEnabled:
    """enableSessions, or sessions in the data a session module is installed with."""

    module: Address
    sessions: tuple[SessionData, ...]


@record()
class SessionRemoved:
    """removeSession."""

    module: Address
    permission_id: Hash32


@record()
class SessionsCleared:
    """The module is uninstalled: every session of the account is removed."""

    module: Address


@record()
class UserOpPoliciesEnabled:
    """enableUserOpPolicies."""

    module: Address
    permission_id: Hash32
    policies: tuple[PolicyData, ...]


@record()
class UserOpPoliciesDisabled:
    """disableUserOpPolicies."""

    module: Address
    permission_id: Hash32
    policies: tuple[Address, ...]


@record()
class ActionPoliciesEnabled:
    """enableActionPolicies."""

    module: Address
    permission_id: Hash32
    actions: tuple[ActionData, ...]


@record()
class ActionPoliciesDisabled:
    """disableActionPolicies."""

    module: Address
    permission_id: Hash32
    action_id: Hash32
    policies: tuple[Address, ...]


@record()
class ActionDisabled:
    """disableActionId."""

    module: Address
    permission_id: Hash32
    action_id: Hash32


@record()
class Erc1271PoliciesEnabled:
    """enableERC1271Policies."""

    module: Address
    permission_id: Hash32
    erc7739_policies: ERC7739Data


@record()
class Erc1271PoliciesDisabled:
    """disableERC1271Policies."""

    module: Address
    permission_id: Hash32
    policies: tuple[Address, ...]
    contexts: tuple[ERC7739Context, ...]


@record()
class EnableSignatureRevoked:
    """revokeEnableSignature: the enable nonce of the permission grows by one."""

    module: Address
    permission_id: Hash32


@record()
class PaymasterPermitted:
    """setPermit4337Paymaster."""

    module: Address
    permission_id: Hash32
    permitted: bool


@record()
class EmissaryConfigSet:
    """setConfig of the emissary: a session of the newer kind for `account`, which need not be the caller."""

    module: Address
    account: Address
    enable: EmissaryEnable

    @property
    def permission_id(self) -> Hash32:
        """Of the session that is set."""
        return self.enable.session.permission_id


@record()
class EmissaryConfigRemoved:
    """removeConfig of the emissary, for `account`, which need not be the caller."""

    module: Address
    account: Address
    permission_id: Hash32


@record()
class EmissaryNonceRevoked:
    """revokeNonce of the emissary: grants signed for the present nonce of `lock_tag` (12 bytes) are void."""

    module: Address
    lock_tag: bytes


@record()
class ModuleInstalled:
    """A module becomes part of the account; ERC-7579 type ids (1 validator, 2 executor, 3 fallback, 4 hook, …)."""

    module_type: int
    module: Address
    init_data: bytes


@record()
class ModuleUninstalled:
    """A module is taken off the account."""

    module_type: int
    module: Address
    deinit_data: bytes


@record()
class AccountUpgraded:
    """The account's code is replaced; `data` is then called on the new code."""

    implementation: Address
    data: bytes


@record()
class OwnersChanged:
    """Owners of a Safe, or how many of them must sign (`threshold`, `None`: stays)."""

    added: Address | None = None
    removed: Address | None = None
    threshold: int | None = None


class Control(StrEnum):
    """A part of an account that decides who may act for it."""

    ROOT_VALIDATOR = "root_validator"  # Kernel
    PERMISSION = "permission"  # Kernel's own permissions, not Smart Sessions
    SELECTOR_ACCESS = "selector_access"  # Kernel: a validator may call another function of the account
    NONCE_INVALIDATED = "nonce_invalidated"  # Kernel: every validation enabled before is void
    MODULE_REGISTRY = "module_registry"
    HOOK_EMERGENCY_UNINSTALL = "hook_emergency_uninstall"
    SAFE_MODULE_ENABLED = "safe_module_enabled"
    SAFE_MODULE_DISABLED = "safe_module_disabled"
    FALLBACK_HANDLER = "fallback_handler"
    GUARD = "guard"
    MODULE_GUARD = "module_guard"


@record()
class ControlChanged:
    """`control` of the account is set to, or done with, `address` (`None` where it takes none)."""

    control: Control
    address: Address | None = None


@record()
class Unreadable:
    """A call that administers `module` (or the account at that address) and could not be read exactly."""

    module: Address
    selector: Selector
    problem: str


SessionAct = (
    SessionsEnabled
    | SessionRemoved
    | SessionsCleared
    | UserOpPoliciesEnabled
    | UserOpPoliciesDisabled
    | ActionPoliciesEnabled
    | ActionPoliciesDisabled
    | ActionDisabled
    | Erc1271PoliciesEnabled
    | Erc1271PoliciesDisabled
    | EnableSignatureRevoked
    | PaymasterPermitted
    | DeclaredGrant
    | DeclaredRevocation
)
"""What a session module stores: Smart Sessions, or one that the settings declare."""

AccountAct = ModuleInstalled | ModuleUninstalled | AccountUpgraded | OwnersChanged | ControlChanged
"""What the account stores."""

EmissaryAct = EmissaryConfigSet | EmissaryConfigRemoved | EmissaryNonceRevoked
"""What the emissary stores."""

Act = SessionAct | EmissaryAct | AccountAct | Unreadable
