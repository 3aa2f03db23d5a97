"""Sessions for the grants of cases: one of the least privilege, and what a review finds in one made into a part of it.

A review has nothing to say of the session that a grant without findings brings. For each kind of finding there is one
change that makes a session which has it; what else the gate finds in that, it finds in the case as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from eth_abi.abi import encode as encode_arguments

from proxy.record import record
from proxy.session.addresses import MODULE_KINDS, POLICIES, VALIDATOR_KINDS, Generation, ModuleKind, ValidatorKind
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy
from proxy.session.policies.parameter_rules import Condition
from proxy.session.policies.policy import Policy
from proxy.session.policies.simple_gas import SimpleGasPolicy
from proxy.session.policies.sudo import SudoPolicy
from proxy.session.policies.time_frame import TimeFramePolicy
from proxy.session.policies.universal_action import UniActionPolicy
from proxy.session.policies.usage_limit import UsageLimitPolicy
from proxy.session.policies.value_limit import ValueLimitPolicy
from proxy.userop.arguments import selector
from proxy.userop.emissary_abi import EMISSARIES
from proxy.userop.entry_point import ENTRY_POINT_BY_VERSION, EntryPointVersion
from proxy.userop.primitives import ZERO_ADDRESS, Address, Hash32, Selector, keccak256
from proxy.userop.session_data import (
    FALLBACK_SELECTOR,
    FLAG_TARGET,
    SMART_SESSION_CALL_SELECTOR,
    VALUE_SELECTOR,
    ActionData,
    ERC7739Context,
    PolicyData,
    SessionData,
)

_DAY: Final = 86_400
_COIN: Final = 10**18
_MOST: Final = 2**256 - 1
_SLOTS: Final = 16
"""Of rules, in the init data of a UniActionPolicy."""


@record(kw_only=True)
class Ground:
    """What a session is granted on. `now` and `until` in unix seconds; `targets` are the contracts it may call, of
    which each finding takes one of its own where none is named."""

    account: Address
    module: Address
    now: int
    until: int | None
    targets: tuple[Address, ...]


Change = Callable[[SessionData, Ground], SessionData]


def address_named(name: str) -> Address:
    """The address that a bare name stands for."""
    return Address(keccak256(name.encode())[-20:])


def _published(policy: type[Policy], generation: Generation = Generation.V2) -> Address:
    return next(
        each.address for each in POLICIES.values() if each.generation is generation and type(each.policy) is policy
    )


def _validator(wanted: ValidatorKind) -> Address:
    return next(address for address, kind in VALIDATOR_KINDS.items() if kind is wanted)


_TIME: Final = _published(TimeFramePolicy)
_USAGE: Final = _published(UsageLimitPolicy)
_VALUE: Final = _published(ValueLimitPolicy)
_GAS: Final = _published(SimpleGasPolicy)
_SUDO: Final = PolicyData(_published(SudoPolicy), b"")
_OLD_SUDO: Final = PolicyData(_published(SudoPolicy, Generation.V1), b"")
_UNKNOWN: Final = PolicyData(address_named("a policy that nobody knows"), b"")
_OWNABLE: Final = _validator(ValidatorKind.OWNABLE)
_FRIEND: Final = int.from_bytes(address_named("recipient"))
_OLDER_MODULE: Final = next(module for module, kind in MODULE_KINDS.items() if kind is ModuleKind.V1)
_NEWER_MODULE: Final = next(module for module, kind in MODULE_KINDS.items() if kind is ModuleKind.V2)


def _usage(limit: int) -> PolicyData:
    return PolicyData(_USAGE, limit.to_bytes(16, "big"))


def _value(limit: int) -> PolicyData:
    return PolicyData(_VALUE, limit.to_bytes(32, "big"))


def _ends(until: int) -> PolicyData:
    return PolicyData(_TIME, until.to_bytes(6, "big") + bytes(6))


def _gas(cost: int) -> PolicyData:
    return PolicyData(_GAS, (10**8).to_bytes(16, "big") + cost.to_bytes(16, "big"))


def _spending(token: Address, limit: int) -> PolicyData:
    data = encode_arguments(["address[]", "uint256[]"], [[bytes(token)], [limit]])
    return PolicyData(_published(ERC20SpendingLimitPolicy), data)


def _rules(*rules: tuple[Condition, int, int], value: int = 0) -> PolicyData:
    """A UniActionPolicy: each rule a condition, where the argument stands, and what it is compared with."""
    rows = [(int(condition), offset, 0, reference, 0, 0) for condition, offset, reference in rules]
    words = [value, len(rows), *(word for row in rows + [(0,) * 6] * (_SLOTS - len(rows)) for word in row)]
    return PolicyData(_published(UniActionPolicy), b"".join(word.to_bytes(32, "big") for word in words))


_NARROW: Final = _rules((Condition.EQUAL, 0, 7))
_TO_FRIEND: Final = _rules((Condition.EQUAL, 0, _FRIEND))
_TRANSFER: Final = selector("transfer(address,uint256)")
_APPROVE: Final = selector("approve(address,uint256)")
_PERMITTED: Final = Hash32(keccak256(b"an app's domain"))


@lru_cache(maxsize=256)
def named_session(name: str) -> SessionData:
    """The session that a bare name stands for, with nothing granted yet: one key signs, the name is its salt."""
    return SessionData(
        session_validator=_OWNABLE,
        session_validator_init_data=_owners(1, "session key"),
        salt=Hash32(keccak256(name.encode())),
    )


def _owners(threshold: int, *names: str) -> bytes:
    return encode_arguments(["uint256", "address[]"], [threshold, sorted(bytes(address_named(name)) for name in names)])


def session_granted(
    name: str, findings: Sequence[str], ground: Ground, policies: Sequence[Address] = ()
) -> SessionData:
    """The session `name`, with what makes a review find each of `findings`, and with `policies` of no init data."""
    targets = ground.targets or (address_named("game"),)
    added = tuple(PolicyData(each, b"") for each in policies)
    session = replace(
        named_session(name),
        user_op_policies=(
            _ends(ground.until or ground.now + _DAY),
            _usage(10),
            _value(_COIN // 100),
            _gas(_COIN // 100),
        ),
        actions=tuple(ActionData(selector("play(uint256)"), target, (_NARROW, *added)) for target in targets),
    )
    for index, finding in enumerate(findings):
        target = ground.targets[index % len(ground.targets)] if ground.targets else address_named(f"of {finding}")
        session = SESSIONS_WITH[finding](session, replace(ground, targets=(target,)))
    return _without_operation_policies(session) if ground.module in EMISSARIES else session


def _without_operation_policies(session: SessionData) -> SessionData:
    """As the emissary knows it: what limits the operation limits each action, save for gas, which nothing limits."""
    limits = tuple(each for each in session.user_op_policies if each.policy in (_TIME, _USAGE, _VALUE))
    actions = tuple(replace(each, policies=(*each.policies, *limits)) for each in session.actions)
    return replace(session, actions=actions, user_op_policies=())


def _with_action(session: SessionData, target: Address, function: Selector, *policies: PolicyData) -> SessionData:
    return replace(session, actions=(*session.actions, ActionData(function, target, policies)))


def _acts(*policies: PolicyData, function: Selector | None = None) -> Change:
    """One action more, on a target of the finding's own."""
    called = selector("act()") if function is None else function
    return lambda session, ground: _with_action(session, ground.targets[0], called, *policies)


def _at(target: Address, function: Selector, *policies: PolicyData) -> Change:
    return lambda session, _ground: _with_action(session, target, function, *policies)


def _limited(policy: Address, *instead: PolicyData) -> Change:
    """Another limit on operations of the kind of `policy`, or none."""

    def change(session: SessionData, _ground: Ground) -> SessionData:
        kept = tuple(each for each in session.user_op_policies if each.policy != policy)
        return replace(session, user_op_policies=(*kept, *instead))

    return change


def _ending(when: Callable[[Ground], int]) -> Change:
    return lambda session, ground: _limited(_TIME, _ends(when(ground)))(session, ground)


def _both(*changes: Change) -> Change:
    def change(session: SessionData, ground: Ground) -> SessionData:
        for each in changes:
            session = each(session, ground)
        return session

    return change


def _keys(threshold: int, *names: str) -> Change:
    data = _owners(threshold, *names)
    return lambda session, _ground: replace(session, session_validator_init_data=data)


def _signs(content: str, *policies: PolicyData) -> Change:
    """Contents that may be signed off chain."""

    def change(session: SessionData, _ground: Ground) -> SessionData:
        signing = session.erc7739_policies
        contexts = (*signing.contexts, ERC7739Context(_PERMITTED, (content,)))
        kept = signing.erc1271_policies or policies
        return replace(session, erc7739_policies=replace(signing, contexts=contexts, erc1271_policies=kept))

    return change


def _token(function: Selector, *policies: Callable[[Address], PolicyData]) -> Change:
    """A function of a token; policies are made for the token."""
    return lambda session, ground: _with_action(
        session, ground.targets[0], function, *(policy(ground.targets[0]) for policy in policies)
    )


def _every_action(*policies: PolicyData) -> Change:
    return lambda session, _ground: replace(
        session, actions=tuple(replace(each, policies=policies) for each in session.actions)
    )


def _capped(token: Address) -> PolicyData:
    return _spending(token, 1_000)


def _to_friend(_token: Address) -> PolicyData:
    return _TO_FRIEND


_BROKEN: Final = PolicyData(_rules().policy, bytes(98 * 32))
"""A UniActionPolicy without rules: every check of it reverts."""
_LATE: Final = 30 * _DAY + 1

SESSIONS_WITH: Final[dict[str, Change]] = {
    # what cannot be used
    "cannot_be_enabled": _acts(_usage(0)),
    "policy_in_wrong_slot": lambda session, ground: replace(
        session, user_op_policies=(*session.user_op_policies, _spending(ground.targets[0], 1))
    ),
    "never_usable": _every_action(_BROKEN),
    "policy_always_reverts": _acts(_BROKEN),
    "time_frame_of_older_generation": lambda session, ground: _limited(
        _TIME, PolicyData(_TIME, (ground.now + _DAY).to_bytes(16, "big") + bytes(16))
    )(session, ground),
    "nothing_allowed": _every_action(),
    "action_without_policies": _acts(),
    "unreachable_action": _at(FLAG_TARGET, selector("act()"), _NARROW),
    "never_allowed": _acts(_rules((Condition.EQUAL, 0, 7), (Condition.EQUAL, 0, 8))),
    "expired": _ending(lambda ground: max(ground.now - 1, 0)),
    # where it reaches
    "fallback_any_call": _at(FLAG_TARGET, FALLBACK_SELECTOR, _SUDO),
    "fallback_action": _at(FLAG_TARGET, FALLBACK_SELECTOR, _NARROW),
    "session_module_call": _at(FLAG_TARGET, SMART_SESSION_CALL_SELECTOR, _NARROW),
    "session_module_target": lambda session, ground: _with_action(
        session, _NEWER_MODULE if ground.module == _OLDER_MODULE else _OLDER_MODULE, selector("act()"), _NARROW
    ),
    "own_account_target": lambda session, ground: _with_action(session, ground.account, selector("act()"), _NARROW),
    "entry_point_target": _at(ENTRY_POINT_BY_VERSION[EntryPointVersion.V07].address, selector("act()"), _NARROW),
    "administration_function": _acts(_NARROW, function=selector("installModule(uint256,address,bytes)")),
    "sudo_action": _acts(_SUDO),
    "rules_restrict_nothing": _acts(_rules((Condition.GREATER_THAN_OR_EQUAL, 0, 0))),
    "idle_rule": _acts(_rules((Condition.EQUAL, 0, 7), (Condition.LESS_THAN_OR_EQUAL, 32, _MOST))),
    "unknown_policy_alone": _acts(_UNKNOWN),
    "unknown_policy": _acts(_UNKNOWN, _NARROW),
    "older_generation": _acts(_OLD_SUDO, _NARROW),
    "duplicate_policy": _acts(_usage(1), _usage(2), _NARROW),
    "duplicate_action": _both(_acts(_NARROW), _acts(_usage(1), _NARROW)),
    "init_data_ignored": _limited(_USAGE, PolicyData(_USAGE, (10).to_bytes(16, "big") + bytes(16))),
    # how far, how long
    "no_expiry": _limited(_TIME),
    "far_expiry": _ending(lambda ground: ground.until or ground.now + _LATE),
    "unlimited_uses": _limited(_USAGE, _usage(1_000_000)),
    "unlimited_value": _both(_limited(_VALUE), _acts(_rules((Condition.EQUAL, 0, 7), value=_MOST))),
    "unlimited_value_transfer": _both(_limited(_VALUE), _acts(_SUDO, function=VALUE_SELECTOR)),
    "value_capped_per_call": _both(_limited(_VALUE), _acts(_rules((Condition.EQUAL, 0, 7), value=1))),
    "large_value_limit": _both(
        _limited(_VALUE, _value(10 * _COIN + 1)), _acts(_rules((Condition.EQUAL, 0, 7), value=_MOST))
    ),
    "unlimited_gas": _limited(_GAS),
    "large_gas_limit": _limited(_GAS, _gas(10 * _COIN + 1)),
    "paymaster_unusable": lambda session, _ground: replace(session, user_op_policies=(), permit_erc4337_paymaster=True),
    # tokens
    "token_uncapped": _token(_TRANSFER, _to_friend),
    "token_limit_unlimited": _token(_TRANSFER, lambda token: _spending(token, 2**255), _to_friend),
    "token_capped_per_call": _acts(
        _rules((Condition.EQUAL, 0, _FRIEND), (Condition.LESS_THAN_OR_EQUAL, 32, 5)), function=_TRANSFER
    ),
    "spending_limit_misses_token": _token(
        _TRANSFER, lambda _: _spending(address_named("another token"), 9), _to_friend
    ),
    "any_recipient": _token(_TRANSFER, _capped),
    "any_spender": _token(_APPROVE, _capped),
    "approval_allowed": _token(_APPROVE, _capped, _to_friend),
    "operator_approval": _acts(_rules((Condition.EQUAL, 32, 1)), function=selector("setApprovalForAll(address,bool)")),
    "any_holder": _token(
        selector("transferFrom(address,address,uint256)"), _capped, lambda _: _rules((Condition.EQUAL, 32, _FRIEND))
    ),
    # who signs, and what
    "anyone_signs": lambda session, _ground: replace(
        session,
        session_validator_init_data=encode_arguments(["uint256", "address[]"], [1, [bytes(ZERO_ADDRESS)]]),
    ),
    "validator_never_signs": _keys(2, "session key"),
    "any_one_key_signs": _keys(1, "session key", "another session key"),
    "unknown_validator": lambda session, _ground: replace(
        session, session_validator=address_named("a validator unknown")
    ),
    "shared_permission_id": lambda session, _ground: replace(session, salt=Hash32(bytes(32))),
    "signs_off_chain": _signs("Play(uint256 round)", _SUDO),
    "signs_anything": _signs("", _SUDO),
    "signs_permits": _signs("Permit(address owner)", _SUDO),
    "contents_without_policies": _signs("Play(uint256 round)"),
}
"""By the id of a finding, what is changed about a session so that a review finds it. Findings about what stands around
a session are not here."""
