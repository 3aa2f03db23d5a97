"""What a verdict may need and the state does not hold. Each fact says exactly what to ask the node for.

An answer either goes into the state (`SessionState.with_…`) or, where it is good for one operation only, into the
`answers` that `enforce` takes, under the very fact that asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.record import record
from proxy.session.policies.policy import PolicyKind
from proxy.session.revert import Revert
from proxy.session.signers import SignatureVerdict
from proxy.userop.execution import Call
from proxy.userop.primitives import Address, Hash32


@record()
class PolicyConfigFact:
    """The configuration and counters of a known policy: its getters, then `with_policy_config`."""

    policy: Address
    config_id: Hash32


@record()
class TokenLimitFact:
    """One token of a spending limit: getPolicyData, then `with_token_limit`."""

    policy: Address
    config_id: Hash32
    token: Address


@record()
class AllowedTargetFact:
    """One target of ContractWhitelistPolicy: isContractWhitelisted, then `with_target`."""

    policy: Address
    config_id: Hash32
    target: Address


@record()
class SessionValidatorFact:
    """getSessionValidatorAndConfig, then `with_validator`."""


@record()
class PaymasterFlagFact:
    """Whether the session permits paymasters. No view tells: events or storage, then `with_paymaster`."""


@record()
class EnableNonceFact:
    """getNonce(permissionId, account), then `with_enable_nonce`."""


@record()
class EmissaryNonceFact:
    """getNonce(account, lock tag) of the emissary, then `answers`.

    All sessions of an account share it, and every grant and removal moves it on: it is good for one operation only.
    """


@record()
class BaseFeeFact:
    """The base fee of the latest block, then the `base_fee` argument."""


@record()
class PolicyCheckFact:
    """An unknown policy contract's verdict: an eth_call from the module, then `answers`.

    ACTION: checkAction(configId, account, call.target, call.value, call.data). USER_OP: checkUserOpPolicy(configId,
    packed operation). The answer is the word returned, or the revert. The node judges on its state alone: it sees
    neither operations in flight nor earlier calls of this operation.
    """

    policy: Address
    config_id: Hash32
    kind: PolicyKind
    call: Call | None = None


@record()
class SessionSignatureFact:
    """An unknown session validator's verdict, validateSignatureWithData(hash, signature, initData); `answers`."""

    validator: Address
    init_data: bytes
    user_op_hash: Hash32
    signature: bytes


@record()
class EnableSignatureFact:
    """Whether the account accepts an enable signature: isValidSignature(digest, signature) (ERC-1271); `answers`."""

    account: Address
    digest: Hash32
    signature: bytes


@record()
class ModuleInstalledFact:
    """Whether the account has the session module among its validators: isModuleInstalled (ERC-7579); `answers`.

    1, or 0 where the account says that it has not.
    """


MissingFact = (
    PolicyConfigFact
    | TokenLimitFact
    | AllowedTargetFact
    | SessionValidatorFact
    | PaymasterFlagFact
    | EnableNonceFact
    | EmissaryNonceFact
    | BaseFeeFact
    | PolicyCheckFact
    | SessionSignatureFact
    | EnableSignatureFact
    | ModuleInstalledFact
)
AskedFact = PolicyCheckFact | SessionSignatureFact | EnableSignatureFact | EmissaryNonceFact | ModuleInstalledFact
"""The facts that are good for one operation."""
Answer = int | Revert | SignatureVerdict
"""A policy's validation data or revert, a signature's verdict, a nonce, or 1 for yes and 0 for no."""
Answers = Mapping[AskedFact, Answer]
