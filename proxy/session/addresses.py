"""The published contracts of Smart Sessions, the same address on every chain: modules, policies, validators.

Sources: the deployment artifacts of erc7579/smartsessions and the constants of the module and account SDKs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from proxy.record import record
from proxy.session.counters import Counter
from proxy.session.policies.arg import ArgPolicy
from proxy.session.policies.contract_whitelist import ContractWhitelistPolicy
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy, ERC20SpendingLimitPolicyV1
from proxy.session.policies.policy import NATIVE_COIN, ActionPolicy, Erc1271Policy, Policy, PolicyKind, UserOpPolicy
from proxy.session.policies.simple_gas import COST_SLOT, SimpleGasPolicy
from proxy.session.policies.sudo import SudoPolicy
from proxy.session.policies.time_frame import TimeFramePolicy, TimeFramePolicyV1
from proxy.session.policies.universal_action import UniActionPolicy
from proxy.session.policies.usage_limit import UsageLimitPolicy, UsageLimitPolicyV1
from proxy.session.policies.value_limit import ValueLimitPolicy, ValueLimitPolicyV1
from proxy.userop.primitives import Address, keccak256, print_checksummed


class ModuleKind(StrEnum):
    """Which session module: they share the envelope's first byte and little else."""

    V2 = "v2"  # since August 2025
    V1 = "v1"  # December 2024, still widely installed; asks an attestation registry
    INTERIM = "interim"  # July 2025 build
    BETA = "beta"
    EMISSARY = "emissary"  # Rhinestone's newer sessions: other structs, no user-operation policies


class Generation(StrEnum):
    """Of policies and validators: encodings and accounting differ between them."""

    V2 = "v2"
    V1 = "v1"


class ValidatorKind(StrEnum):
    """How a session validator reads the session key's signature."""

    OWNABLE = "ownable"
    ECDSA = "ecdsa"
    WEBAUTHN = "webauthn"
    WEBAUTHN_V0 = "webauthn-v0"  # another encoding of the same assertion
    MULTI_SIGNER = "multi-signer"


@record()
class PolicyContract:
    """One policy contract: what it is called, what it may be used for, and its behaviour under each use."""

    address: Address
    name: str
    generation: Generation
    policy: Policy
    action: ActionPolicy | None = None
    user_op: UserOpPolicy | None = None
    erc1271: Erc1271Policy | None = None

    def supports(self, kind: PolicyKind) -> bool:
        """Whether the contract says by ERC-165 that it can be used so."""
        match kind:
            case PolicyKind.ACTION:
                return self.action is not None
            case PolicyKind.USER_OP:
                return self.user_op is not None
            case PolicyKind.ERC1271:
                return self.erc1271 is not None


def _at(text: str) -> Address:
    return Address(bytes.fromhex(text.removeprefix("0x")))


MODULE_KINDS: Final = {
    _at("0x00000000008bDABA73cD9815d79069c247Eb4bDA"): ModuleKind.V2,
    _at("0x00000000002B0eCfbD0496EE71e01257dA0E37DE"): ModuleKind.V1,
    _at("0x0000000000B1c0591B3B3bdADD1e37c8903bD962"): ModuleKind.INTERIM,
    _at("0x608c016FF8d7DEf302477911d0D50181C3B4E175"): ModuleKind.BETA,
    _at("0x1081dc0e40e4c0580e6167b7dffbbf2e4d17986d"): ModuleKind.BETA,
    _at("0xDDFF43A42726df11E34123f747bDce0f755F784d"): ModuleKind.BETA,
    _at("0x82e5e20582d976f5db5e36c5a72c70d5711cef8b"): ModuleKind.BETA,
    _at("0xad568B3F825A8d5FFc06DD3253526B64D810Ae89"): ModuleKind.EMISSARY,
    _at("0x60731dE80D78548875f8A67C4FeC2a8660194e0c"): ModuleKind.EMISSARY,
}
"""Every published session module, by address."""
SESSION_MODULES: Final = frozenset(MODULE_KINDS)
"""The default set of addresses that make an operation a session's."""
SMART_SESSION: Final = _at("0x00000000008bDABA73cD9815d79069c247Eb4bDA")
"""The current module."""

MODULE_GRANT: Final = Address(keccak256(b"sessiongate: what a declared module granted")[12:])
"""Stands for the policy contract in the counters of sessions of declared modules; no contract can be there."""

VALIDATOR_DATA_BOUNDS: Final = {SMART_SESSION: 320}
"""Bytes of sessionValidatorInitData that a module can store, where it was measured (FlatBytesLib: ten words). Longer
ones can never be enabled: everything that would store them reverts without data. Policies' init data may be longer."""

_SUDO, _UNI_ACTION, _ARG = SudoPolicy(), UniActionPolicy(), ArgPolicy()
_SPENDING, _SPENDING_V1 = ERC20SpendingLimitPolicy(), ERC20SpendingLimitPolicyV1()
_TIME, _TIME_V1 = TimeFramePolicy(), TimeFramePolicyV1()
_USAGE, _USAGE_V1 = UsageLimitPolicy(), UsageLimitPolicyV1()
_VALUE, _VALUE_V1 = ValueLimitPolicy(), ValueLimitPolicyV1()
_GAS, _TARGETS = SimpleGasPolicy(), ContractWhitelistPolicy()


def _sudo(address: str, generation: Generation) -> PolicyContract:
    return PolicyContract(_at(address), _SUDO.name, generation, _SUDO, action=_SUDO, user_op=_SUDO, erc1271=_SUDO)


def _action(address: str, generation: Generation, policy: ActionPolicy) -> PolicyContract:
    return PolicyContract(_at(address), policy.name, generation, policy, action=policy)


def _time(address: str, generation: Generation, policy: TimeFramePolicy) -> PolicyContract:
    return PolicyContract(_at(address), policy.name, generation, policy, action=policy, user_op=policy, erc1271=policy)


def _both(address: str, generation: Generation, policy: UsageLimitPolicy | ValueLimitPolicy) -> PolicyContract:
    return PolicyContract(_at(address), policy.name, generation, policy, action=policy, user_op=policy)


POLICIES: Final = {
    contract.address: contract
    for contract in (
        _sudo("0x0000000000FEEc8D74e3143fBaBbca515358d869", Generation.V2),
        _sudo("0x0000003111cD8e92337C100F22B7A9dbf8DEE301", Generation.V1),
        _action("0x0000000000714Cf48FcF88A0bFBa70d313415032", Generation.V2, _UNI_ACTION),
        _action("0x0000006DDA6c463511C4e9B05CFc34C1247fCF1F", Generation.V1, _UNI_ACTION),
        _action("0x0000000000167edE64D8751daACDdC0312565a73", Generation.V2, _ARG),
        _action("0x000000000033212E272655D8a22402Db819477A6", Generation.V2, _SPENDING),
        _action("0x00000088D48cF102A8Cdb0137A9b173f957c6343", Generation.V1, _SPENDING_V1),
        _action("0x0000000000d79359D85e62796104D7AE863fFAcb", Generation.V2, _TARGETS),
        _time("0x0000000000D30f611fA3bf652ac6879428586930", Generation.V2, _TIME),
        _time("0x8177451511dE0577b911C254E9551D981C26dc72", Generation.V1, _TIME_V1),
        _both("0x00000000001d4479FA2A947026204d0283ceDe4B", Generation.V2, _USAGE),
        _both("0x1F34eF8311345A3A4a4566aF321b313052F51493", Generation.V1, _USAGE_V1),
        _both("0x000000000021dC45451291BCDfc9f0B46d6f0278", Generation.V2, _VALUE),
        _both("0x730DA93267E7E513e932301B47F2ac7D062abC83", Generation.V1, _VALUE_V1),
        PolicyContract(_at("0x0000000000d14A6F771494592218d8F9c2ddEbB6"), _GAS.name, Generation.V2, _GAS, user_op=_GAS),
    )
}
"""Every policy contract whose behaviour is known, by address."""

VALIDATOR_KINDS: Final = {
    _at("0x000000000013fdB5234E4E3162a810F54d9f7E98"): ValidatorKind.OWNABLE,
    _at("0x2483DA3A338895199E5e538530213157e931Bf06"): ValidatorKind.OWNABLE,
    _at("0x0000000000E9E6E96Bcaa3c113187CdB7E38AED9"): ValidatorKind.OWNABLE,
    _at("0x00000072F286204Bb934eD49D8969E86F7dEC7b1"): ValidatorKind.ECDSA,  # Startale ECDSAValidator
    _at("0x00000004171351c442B202678c48D8AB5B321E8f"): ValidatorKind.ECDSA,  # Nexus K1Validator 1.0.0
    _at("0x0000002D6DB27c52E3C11c1Cf24072004AC75cBa"): ValidatorKind.ECDSA,  # Nexus K1Validator 1.0.1
    _at("0x0000000000578c4cB0e472a5462da43C495C3F33"): ValidatorKind.WEBAUTHN,
    _at("0x7ab16Ff354AcB328452F1D445b3Ddee9a91e9e69"): ValidatorKind.WEBAUTHN_V0,
    _at("0xcaF0461410340F8F366f1F7F7716cF1D90b6bdA4"): ValidatorKind.MULTI_SIGNER,  # MultiKeySigner on Base Sepolia
    _at("0x3cA2D7D588FA66248a49c1C885997e5017aF9Dc7"): ValidatorKind.MULTI_SIGNER,  # MultiKeySigner on Sepolia
}
"""Session validators whose signature format is known, by address."""

_OTHER_NAMES: Final = {
    _at("0xe9eA54d063975cDee9e06b7636d5563d95a7A23C"): "IntentExecutionPolicy",
    _at("0xA09B47De6E510cBdC18B97E9239bEDCb44fb4901"): "IntentExecutionPolicy",
    _at("0x62E3588C6d861C9f986E82EC3757434EDF16ce91"): "Permit2ClaimPolicy",
    _at("0x000000000052e9685932845660777DF43C2dC496"): "SmartSessionCompatibilityFallback",
    _at("0xBad7E91C4F2803978cd6c7C3Fe80B5Fd7f7B0b50"): "SmartSessionCompatibilityFallback",
}


def is_published_policy(address: Address) -> bool:
    """Whether the contract has a name, though its behaviour may not be known."""
    return address in POLICIES or address in _OTHER_NAMES


def token_counted(counter: Counter) -> Address | None:
    """Of which token a counter counts amounts, `NATIVE_COIN` for the chain's own; `None` where it counts no amount."""
    contract = POLICIES.get(counter.policy)
    match None if contract is None else contract.policy:
        case ERC20SpendingLimitPolicy() | ERC20SpendingLimitPolicyV1():
            return Address(counter.slot)
        case ValueLimitPolicy() | ValueLimitPolicyV1():
            return NATIVE_COIN
        case SimpleGasPolicy() if counter.slot == COST_SLOT:
            return NATIVE_COIN
    return None


def name_of_policy(address: Address) -> str:
    """The contract's name if it is published, else its address."""
    if (contract := POLICIES.get(address)) is not None:
        return contract.name
    if address == MODULE_GRANT:
        return "grant of the module"
    return _OTHER_NAMES.get(address) or print_checksummed(address)
