"""Whether the chain would take a grant at all, and whether its policies read what the granter wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from proxy.session.addresses import POLICIES, SMART_SESSION, VALIDATOR_DATA_BOUNDS, Generation, name_of_policy
from proxy.session.lint.findings import WHOLE_SESSION, Finding, Part, Where, finding
from proxy.session.lint.grant import Grant, ReadAction, ReadPolicy
from proxy.session.lint.usable import always_reverts, misread_time_frame
from proxy.session.policies.simple_gas import SimpleGasPolicy
from proxy.session.policies.time_frame import TimeFramePolicy, TimeFramePolicyV1
from proxy.session.policies.usage_limit import UsageLimitPolicy
from proxy.session.policies.value_limit import ValueLimitPolicy
from proxy.session.revert import Revert
from proxy.userop.primitives import ZERO_ADDRESS, Address, print_checksummed
from proxy.userop.session_data import FLAG_TARGET, SessionData

_SLOT_NAMES: Final = {
    Part.ACTIONS: "an action",
    Part.USER_OP_POLICIES: "user operations",
    Part.ERC1271_POLICIES: "ERC-1271 signatures",
}
_OLDER_TIME_FRAME: Final = 32


def review_enabling(grant: Grant) -> Iterator[Finding]:
    """Reverts of the grant, policies that read something else than was meant, actions that allow nothing."""
    yield from _validator_faults(grant)
    yield from _action_faults(grant)
    for policy in grant.all_policies():
        yield from _policy_faults(policy)
    if not any(action.policies for action in grant.actions) and not grant.erc1271_policies and grant.is_whole:
        yield finding(
            "nothing_allowed",
            WHOLE_SESSION,
            "the session has no action with a policy and no ERC-1271 policy, so its key can do nothing",
            "list the targets and functions the key needs, or do not grant the session",
        )


def review_listing(session: SessionData) -> Iterator[Finding]:
    """What is listed twice; on chain only one of them is left."""
    yield from _duplicates([data.policy for data in session.user_op_policies], Part.USER_OP_POLICIES)
    yield from _duplicates([data.policy for data in session.erc7739_policies.erc1271_policies], Part.ERC1271_POLICIES)
    listed: dict[tuple[Address, bytes], tuple[int, list[Address]]] = {}
    for index, action in enumerate(session.actions):
        earlier, given = listed.setdefault((action.target, action.selector), (index, []))
        if earlier != index:
            yield finding(
                "duplicate_action",
                Where(Part.ACTIONS, index),
                f"the same target and function as actions[{earlier}]: on chain the policies of both apply together",
                "write one action with all its policies",
            )
        ahead = len(given)
        given += [data.policy for data in action.policies]
        yield from _duplicates(given, Part.ACTIONS, index, ahead)


def _duplicates(
    policies: Sequence[Address], part: Part, action: int | None = None, ahead: int = 0
) -> Iterator[Finding]:
    for number, policy in enumerate(policies):
        if number < ahead or policy not in policies[:number]:
            continue
        where = Where(part, number) if action is None else Where(part, action, number - ahead)
        yield finding(
            "duplicate_policy",
            where,
            f"{name_of_policy(policy)} is given twice in one place: these init data replace the earlier ones",
            "give each policy once, with everything it should limit",
        )


def _validator_faults(grant: Grant) -> Iterator[Finding]:
    bound = VALIDATOR_DATA_BOUNDS.get(grant.module or SMART_SESSION)
    if bound is not None and len(grant.session_validator_init_data) > bound:
        yield finding(
            "cannot_be_enabled",
            Where(Part.VALIDATOR),
            f"the session validator's init data have {len(grant.session_validator_init_data)} bytes, and the session"
            f" module stores at most {bound}: enableSessions and ENABLE revert without data",
            "name fewer keys (an OwnableValidator has room for 7), or use a validator with shorter init data",
        )
    validator = grant.session_validator
    if validator is None or (validator != ZERO_ADDRESS and validator not in POLICIES):
        return
    what = "the zero address" if validator == ZERO_ADDRESS else name_of_policy(validator)
    yield finding(
        "cannot_be_enabled",
        Where(Part.VALIDATOR),
        f"{what} stands as session validator: the session module reverts",
        "name the session validator, for one key the OwnableValidator",
    )


def _action_faults(grant: Grant) -> Iterator[Finding]:
    module = grant.module or SMART_SESSION
    falls_back = any(action.is_fallback and action.policies for action in grant.actions)
    for action in grant.actions:
        if action.target in (ZERO_ADDRESS, module):
            what = "the zero address" if action.target == ZERO_ADDRESS else "the session module itself"
            yield finding(
                "cannot_be_enabled",
                action.where,
                f"an action on {what} cannot be enabled: InvalidActionId",
                "list the contract that is to be called",
            )
        if action.is_module_call and grant.at_emissary:
            yield finding(
                "cannot_be_enabled",
                action.where,
                "the emissary grants no calls to itself: UnsafeFallbackNotAllowed",
                "take the action out; sessions are granted and revoked by the owner",
            )
        if action.is_unreachable:
            yield finding(
                "unreachable_action",
                action.where,
                f"the target {print_checksummed(FLAG_TARGET)} only marks special actions; no call may go there",
                "take the action out, or spell the selector of the special action that was meant",
            )
        if not action.policies:
            yield _without_policies(action, falls_back=falls_back and not action.is_fallback)


def _without_policies(action: ReadAction, *, falls_back: bool) -> Finding:
    outcome = "such calls are judged by the fallback action instead" if falls_back else "such calls are refused"
    return finding(
        "action_without_policies",
        action.where,
        f"{action} is listed without a policy: {outcome}",
        "give the action the policies that limit it, or take it out",
    )


def _policy_faults(policy: ReadPolicy) -> Iterator[Finding]:
    if policy.revert is not None:
        yield _refused(policy, policy.revert)
        return
    misread = misread_time_frame(policy)
    if misread is not None:
        older = len(policy.init_data or b"") == _OLDER_TIME_FRAME
        yield finding(
            "time_frame_of_older_generation" if older else "policy_always_reverts",
            policy.where,
            f"{misread}, and every check of it reverts",
            "encode uint48 validUntil and uint48 validAfter in 12 bytes",
        )
    elif always_reverts(policy):
        yield finding(
            "policy_always_reverts",
            policy.where,
            f"{name_of_policy(policy.address)} is configured with nothing, and every check of it reverts",
            "give the policy limits, or leave it out",
        )
    yield from _ignored_init_data(policy)
    if policy.contract is not None and policy.contract.generation is Generation.V1:
        yield finding(
            "older_generation",
            policy.where,
            f"{policy.contract.name} at {print_checksummed(policy.address)} is the contract of 2024",
            "use the contracts of 2025 with the module of 2025",
        )


def _refused(policy: ReadPolicy, revert: Revert) -> Finding:
    name = name_of_policy(policy.address)
    if revert.error != "UnsupportedPolicy":
        why = revert.error or "the init data cannot be read"
        return finding(
            "cannot_be_enabled",
            policy.where,
            f"{name} refuses its init data ({why}), so the session cannot be enabled",
            "encode the init data as this contract, in its generation, reads them",
        )
    if policy.contract is None:
        return finding(
            "cannot_be_enabled",
            policy.where,
            f"no policy contract stands at {name}, so the session cannot be enabled (UnsupportedPolicy)",
            "name a policy that is deployed on the chain",
        )
    return finding(
        "policy_in_wrong_slot",
        policy.where,
        f"{name} cannot be used for {_SLOT_NAMES[policy.where.part]}, so the session cannot be enabled",
        "move the policy to the list it works in",
    )


def _ignored_init_data(policy: ReadPolicy) -> Iterator[Finding]:
    if policy.init_data is None or policy.contract is None:
        return
    match policy.contract.policy:
        case TimeFramePolicyV1() | ValueLimitPolicy() | SimpleGasPolicy():
            read = 32
        case TimeFramePolicy():
            read = 12
        case UsageLimitPolicy():
            read = 16
        case _:
            return
    if len(policy.init_data) > read and misread_time_frame(policy) is None:
        yield finding(
            "init_data_ignored",
            policy.where,
            f"{policy.contract.name} reads {read} bytes of init data; {len(policy.init_data)} are given",
            "encode the init data as this contract, in its generation, reads them",
        )
