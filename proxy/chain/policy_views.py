"""What a known policy contract stores for one configuration, read through its getters."""

from __future__ import annotations

from proxy.chain.node import Node, Reverted
from proxy.chain.settlement.slices import BlockName
from proxy.chain.together import together
from proxy.chain.views import (
    ACTION_CONFIGS,
    GET_GAS_CONFIG,
    GET_TIME_FRAME,
    GET_TOKEN_DATA,
    GET_USAGE_LIMIT,
    GET_USED,
    GET_VALUE_LIMIT,
    IS_TARGET_ALLOWED,
    ask,
    ask_raw,
    read,
)
from proxy.errors import StateUnavailable, Undecodable
from proxy.session.addresses import POLICIES
from proxy.session.counters import ConfigKey
from proxy.session.policies.arg import ArgPolicy
from proxy.session.policies.contract_whitelist import ContractWhitelistPolicy
from proxy.session.policies.erc20_spending_limit import ERC20SpendingLimitPolicy
from proxy.session.policies.policy import Initialised
from proxy.session.policies.simple_gas import SimpleGasPolicy
from proxy.session.policies.sudo import Sudo, SudoPolicy
from proxy.session.policies.time_frame import TimeFramePolicy
from proxy.session.policies.universal_action import UniActionPolicy
from proxy.session.policies.usage_limit import UsageLimitPolicy
from proxy.session.policies.value_limit import ValueLimitPolicy
from proxy.userop.primitives import Address, print_bytes


async def read_policy(node: Node, key: ConfigKey, *, block: BlockName | None = None) -> Initialised | None:
    """Configuration and counters of one policy; `None` for a contract whose behaviour is not known.

    Spending limits per token and lists of targets cannot be enumerated: they come back incomplete, and each token or
    target is asked for when it is met. Raises `StateUnavailable`.
    """
    contract = POLICIES.get(key.policy)
    if contract is None:
        return None
    names = (key.config_id, key.module, key.account)
    at, policy = key.policy, contract.policy
    match policy:
        case SudoPolicy():
            return Initialised(Sudo())
        case UsageLimitPolicy():
            (limit,), (used,) = await together(
                ask(node, at, GET_USAGE_LIMIT, *names, block=block), ask(node, at, GET_USED, *names, block=block)
            )
            return policy.from_getters(limit, used)
        case ValueLimitPolicy():
            (limit,), (used,) = await together(
                ask(node, at, GET_VALUE_LIMIT, *names, block=block), ask(node, at, GET_USED, *names, block=block)
            )
            return policy.from_getters(limit, used)
        case TimeFramePolicy():
            return policy.from_getters(*await ask(node, at, GET_TIME_FRAME, *names, block=block))
        case SimpleGasPolicy():
            return policy.from_getters(*await ask(node, at, GET_GAS_CONFIG, *names, block=block))
        case UniActionPolicy() | ArgPolicy():
            return await _read_rules(node, policy, key, block)
        case ERC20SpendingLimitPolicy() | ContractWhitelistPolicy():
            return policy.from_getters({})
        case _:
            raise StateUnavailable(f"policy {contract.name} is known, but not how to read it")


async def _read_rules(
    node: Node, policy: UniActionPolicy | ArgPolicy, key: ConfigKey, block: BlockName | None
) -> Initialised:
    stored = await ask_raw(node, key.policy, ACTION_CONFIGS, key.config_id, key.module, key.account, block=block)
    try:
        return policy.from_getters(stored)
    except Undecodable as error:
        where = f"{ACTION_CONFIGS.name} at {print_bytes(key.policy)}"
        raise StateUnavailable(f"{where} cannot be read: {error.problem}") from None


async def read_token(node: Node, key: ConfigKey, token: Address, *, block: BlockName | None = None) -> tuple[int, int]:
    """One token of a spending limit: (limit, spent + approved) in its base units. Raises `StateUnavailable`."""
    call_data = GET_TOKEN_DATA.call_data(key.config_id, key.module, token, key.account)
    answer = await node.call(key.policy, call_data, block=block)
    if isinstance(answer, Reverted):
        # InvalidTokenAddress: the token has no limit here, which the policy takes for a limit of zero
        return 0, 0
    limit, spent, approved = read(key.policy, GET_TOKEN_DATA, answer)
    return limit, spent + approved


async def read_target(node: Node, key: ConfigKey, target: Address, *, block: BlockName | None = None) -> bool:
    """Whether a list of targets holds this one. Raises `StateUnavailable`."""
    names = (key.config_id, key.module, key.account, target)
    allowed: bool = (await ask(node, key.policy, IS_TARGET_ALLOWED, *names, block=block))[0]
    return allowed
