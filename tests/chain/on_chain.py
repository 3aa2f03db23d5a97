"""A session as a node has it: every view that a reading asks, answered from a `SessionState`."""

from __future__ import annotations

from proxy.chain import views
from proxy.session.addresses import SMART_SESSION
from proxy.session.counters import Counter, SessionKey
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.state import SessionState
from proxy.userop.primitives import Address
from tests.chain.builders import FakeNode, Reverts
from tests.session.builders import SPENDING, USAGE


def put_absent(chain: FakeNode, key: SessionKey, *, enable_nonce: int = 0) -> None:
    """Let the module say that it does not have the session."""
    names = (key.permission_id, key.account)
    chain.view(SMART_SESSION, views.IS_PERMISSION_ENABLED, *names, returns=(False,))
    chain.view(SMART_SESSION, views.GET_NONCE, *names, returns=(enable_nonce,))


def put_session(chain: FakeNode, state: SessionState, *, enable_nonce: int = 0) -> None:
    """Let the module, and the usage and spending limits and time frames of a session, answer for it."""
    key = state.key
    names = (key.account, key.permission_id)
    put_absent(chain, key, enable_nonce=enable_nonce)
    chain.view(SMART_SESSION, views.IS_PERMISSION_ENABLED, key.permission_id, key.account, returns=(True,))
    validator = (state.session_validator, state.session_validator_init_data)
    chain.view(SMART_SESSION, views.GET_SESSION_VALIDATOR, *names, returns=validator)
    chain.view(SMART_SESSION, views.GET_USER_OP_POLICIES, *names, returns=(state.user_op_policies,))
    chain.view(SMART_SESSION, views.GET_ERC1271_POLICIES, *names, returns=(state.erc1271_policies,))
    chain.view(SMART_SESSION, views.GET_ENABLED_ACTIONS, *names, returns=(tuple(state.actions),))
    for action_id, policies in state.actions.items():
        chain.view(SMART_SESSION, views.GET_ACTION_POLICIES, *names, action_id, returns=(policies,))
    probe = (key.account, 0, b"", b"", bytes(32), 0, bytes(32), bytes(52), b"\0" + key.permission_id + b"\0")
    chain.view(SMART_SESSION, views.VALIDATE_USER_OP, probe, bytes(32), returns=Reverts())
    for (policy, config_id), config in state.configs.items():
        of_config = (config_id, key.module, key.account)
        if isinstance(config, TimeFrame):
            frame = config.valid_until << 48 | config.valid_after
            chain.view(policy, views.GET_TIME_FRAME, *of_config, returns=(frame,))
        if isinstance(config, UsageLimit):
            used = state.used.get(Counter(key.module, key.account, policy, config_id, b""), 0)
            chain.view(USAGE, views.GET_USAGE_LIMIT, *of_config, returns=(config.limit,))
            chain.view(USAGE, views.GET_USED, *of_config, returns=(used,))
        if isinstance(config, SpendingLimits):
            for token, limit in config.limits.items():
                spent = state.used.get(Counter(key.module, key.account, policy, config_id, token), 0)
                asked = (config_id, key.module, token, key.account)
                chain.view(SPENDING, views.GET_TOKEN_DATA, *asked, returns=(limit, spent, 0))


def put_unlisted(chain: FakeNode, state: SessionState, token: Address) -> None:
    """Let the spending limits of a session answer for a token that they do not list."""
    for policy, config_id in state.configs:
        if policy == SPENDING:
            asked = (config_id, state.key.module, token, state.key.account)
            chain.view(SPENDING, views.GET_TOKEN_DATA, *asked, returns=Reverts())
