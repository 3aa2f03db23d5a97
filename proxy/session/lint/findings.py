"""What a review of a session can find: every kind of finding in one table, and the finding itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How much a finding matters; ordered by `rank`."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info to 4 for critical."""
        return _RANKS[self]  # by its text: an enum's `value` takes three calls


_RANKS: Final = {severity.value: rank for rank, severity in enumerate(Severity)}


class Part(StrEnum):
    """The part of a session that a finding is about, as the SDKs spell its fields."""

    SESSION = "session"
    VALIDATOR = "sessionValidator"
    USER_OP_POLICIES = "userOpPolicies"
    ACTIONS = "actions"
    CONTENTS = "allowedERC7739Content"
    ERC1271_POLICIES = "erc1271Policies"
    ENVELOPE = "enableSignature"


@dataclass(frozen=True, slots=True)
class Where:
    """A part, the index into it, and for an action the index of the policy."""

    part: Part
    index: int | None = None
    policy: int | None = None

    def __str__(self) -> str:
        """`actions[2].policies[0]`."""
        text = self.part.value if self.index is None else f"{self.part.value}[{self.index}]"
        return text if self.policy is None else f"{text}.policies[{self.policy}]"


WHOLE_SESSION: Final = Where(Part.SESSION)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding: the id that rules may name, its severity, and what is looked for."""

    id: str
    severity: Severity
    looks_for: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `sentence` says what the session allows, `remedy` what to grant instead."""

    id: str
    severity: Severity
    where: Where
    sentence: str
    remedy: str


_TABLE: Final = {
    Severity.CRITICAL: {
        # what makes the session useless: told before anything else
        "cannot_be_enabled": "a grant that the session module or a policy would revert on",
        "policy_in_wrong_slot": "a policy listed where it does not work, so that the grant reverts",
        "never_usable": "policies that refuse every operation, so that the session can never be used",
        # what the key may do
        "fallback_any_call": "a fallback action whose policies narrow neither targets nor arguments",
        "session_module_call": "the action that lets a session call the session module, and so grant itself more",
        "session_module_target": "an action on a published session module that is not the one holding the session",
        "own_account_target": "an action on the account itself: modules, owners, upgrades",
        # who may sign
        "anyone_signs": "a session validator configuration that does not take a key to satisfy",
    },
    Severity.HIGH: {
        "sudo_action": "SudoPolicy on a real target with nothing that narrows the arguments",
        "rules_restrict_nothing": "argument rules that every call satisfies, with nothing else to narrow the arguments",
        "entry_point_target": "an action on an entry point: deposits and withdrawals of the account",
        "administration_function": "a function that installs modules, upgrades code or runs arbitrary calls",
        "unlimited_value_transfer": "plain transfers of native currency without a limit",
        "token_uncapped": "a function that moves or approves tokens without a limit on the amount",
        "token_limit_unlimited": "a token limit so high that it limits nothing",
        "operator_approval": "setApprovalForAll for any operator",
        "no_expiry": "an action that nothing ever ends",
        "unknown_policy_alone": "an action whose only limits are policy contracts that are not known",
        "unknown_validator": "a session validator whose rules are not known",
        "signs_permits": "ERC-1271 signatures over contents that approve or transfer tokens",
        "signs_anything": "ERC-1271 signatures over contents or domains that are not named",
        "time_frame_of_older_generation": "the 32-byte time frame of 2024 given to the policy of 2025: it reads zeros",
    },
    Severity.MEDIUM: {
        "fallback_action": "a fallback action, however limited: it covers targets that nobody listed",
        "unlimited_value": "an action that may carry any native value",
        "value_capped_per_call": "native value limited for each call but not in all",
        "large_value_limit": "a limit on native value above the threshold",
        "token_capped_per_call": "a token amount limited for each call but not in all",
        "spending_limit_misses_token": "a spending limit that does not name the token it stands on",
        "any_recipient": "token transfers to any recipient",
        "any_spender": "token approvals for any spender",
        "any_holder": "transferFrom of any holder, who may have approved the account",
        "far_expiry": "an action that ends later than the threshold",
        "unlimited_gas": "no limit on what operations may cost",
        "duplicate_policy": "one policy given twice in one place: the later init data replace the earlier",
        "policy_always_reverts": "a policy whose configuration makes every check of it revert",
        "validator_never_signs": "a session validator configuration that no signature satisfies",
        "unknown_policy": "a policy contract that is not known, beside others that are",
        "unsafe_enable": "an enable signature of the mode that skips the registry of attested policies",
        "claim_policies": "claims on locked tokens, which the newer sessions' keys may sign off chain",
        "signs_off_chain": "ERC-1271 signatures, which no bundler and no gate sees",
    },
    Severity.LOW: {
        "approval_allowed": "a token approval for a fixed spender: it outlives the session",
        "unlimited_uses": "an action that may be used any number of times",
        "large_gas_limit": "a limit on gas cost above the threshold",
        "idle_rule": "a rule on an argument that every call satisfies",
        "never_allowed": "rules or time frames that no call can satisfy",
        "expired": "an action whose time is over",
        "action_without_policies": "an action without a policy, which allows nothing",
        "unreachable_action": "an action on the flag address, to which no call may go",
        "duplicate_action": "one target and function listed twice: their policies add up",
        "nothing_allowed": "a session that can neither call nor sign anything",
        "paymaster_unusable": "paymasters permitted without a user-operation policy, which the module insists on",
        "any_one_key_signs": "several session keys of which any one is enough",
        "shared_permission_id": "a salt of zero: other sessions of the same key add to this one",
        "init_data_ignored": "init data longer than what the policy reads",
        "contents_without_policies": "contents to sign without an ERC-1271 policy: nothing can be signed",
    },
    Severity.INFO: {
        "older_generation": "a policy contract of 2024, which counts and encodes differently",
        "multichain_enable": "an enable signature that grants sessions on several chains",
        "not_judged": "a part of the session that is not known here",
    },
}

KINDS: Final = {
    name: Kind(name, severity, looks_for) for severity, kinds in _TABLE.items() for name, looks_for in kinds.items()
}
"""Every kind of finding by its id. Ids and severities are part of the interface: rules refer to them."""


GRANT_REVERTS: Final = frozenset({"cannot_be_enabled", "policy_in_wrong_slot"})
"""The findings that say that the chain does not take the grant."""
LEADING: Final = GRANT_REVERTS | {"never_usable", "validator_never_signs"}
"""The findings that are told first: nothing else matters of a session that cannot be used."""
LEADING_OF_ALL: Final = frozenset({"expired", "never_allowed", "nothing_allowed"})
"""Likewise where they are about the whole session."""


def finding(name: str, where: Where, sentence: str, remedy: str) -> Finding:
    """A finding of the kind `name`, with the severity of the table."""
    return Finding(name, KINDS[name].severity, where, sentence, remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where a limit stops being one. Times in seconds, values in wei, token amounts in base units."""

    far_expiry: int = 30 * 86_400
    large_value: int = 10 * 10**18
    unlimited_amount: int = 2**255
    many_uses: int = 1_000_000


DEFAULT_THRESHOLDS: Final = Thresholds()
