"""A session at a glance: where it stands, for how long yet, and what it may do. Dicts as they are answered."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from proxy.session.addresses import name_of_policy
from proxy.session.declared import DeclaredSession
from proxy.session.granted import GrantedAction
from proxy.session.known import KnownSession
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.remaining import place_of_action
from proxy.session.state import ConfigId, SessionState
from proxy.session.use import SessionUse
from proxy.session.validity import ALWAYS, UINT48_MAX, Window
from proxy.userop.primitives import Address, Hash32, print_bytes, print_checksummed, print_uint

Json = dict[str, Any]


class Phase(StrEnum):
    """Where a session stands, time counted in."""

    PENDING = "pending"
    UPCOMING = "upcoming"  # in force, and its time has not come
    IN_FORCE = "in_force"
    EXPIRED = "expired"
    REMOVED = "removed"
    NOT_GRANTED = "not_granted"
    DECLARED = "declared"  # by the settings alone


def phase_of(known: KnownSession, now: float) -> Phase:
    """Where a known session stands at `now` (unix seconds)."""
    phase = Phase(known.standing)
    return _in_time(phase, window_of_session(known.state), now) if phase is Phase.IN_FORCE else phase


def phase_of_declared(session: DeclaredSession, now: float) -> Phase:
    """The same for one that only the settings know."""
    return _in_time(Phase.DECLARED, window_of_declared(session), now)


def _in_time(phase: Phase, window: Window, now: float) -> Phase:
    if int(now) > window.valid_until:
        return Phase.EXPIRED
    return Phase.UPCOMING if int(now) < window.valid_after else phase


def window_of_session(state: SessionState | None) -> Window:
    """From when until when some operation of the session can be valid, as far as its time frames are known."""
    if state is None:
        return ALWAYS
    own = _common(state, state.user_op_policies, state.user_op_config_id)
    windows = [_common(state, each, state.action_config_id(action)) for action, each in state.actions.items()]
    return _both(own, _hull(windows))


def window_of_declared(session: DeclaredSession) -> Window:
    """The same for a declared session."""
    return _hull([Window(action.valid_after, action.valid_until) for action in session.actions])


def _common(state: SessionState, policies: Iterable[Address], config_id: Hash32) -> Window:
    """When all of these policies let pass: one that says no time is none of its business."""
    window = ALWAYS
    for policy in policies:
        config = state.configs.get(ConfigId(policy, config_id))
        if isinstance(config, TimeFrame):
            window = _both(window, Window(config.valid_after, config.valid_until or UINT48_MAX))
        elif isinstance(config, GrantedAction):
            window = _both(window, Window(config.terms.valid_after, config.terms.valid_until))
    return window


def _both(first: Window, second: Window) -> Window:
    return Window(max(first.valid_after, second.valid_after), min(first.valid_until, second.valid_until))


def _hull(windows: list[Window]) -> Window:
    if not windows:
        return ALWAYS
    return Window(min(each.valid_after for each in windows), max(each.valid_until for each in windows))


def times_of(phase: Phase, window: Window, now: float) -> Json:
    """Until when, in unix seconds, and how many seconds of it are left; `None` where there is no end."""
    ends = window.valid_until < UINT48_MAX
    over = phase in (Phase.EXPIRED, Phase.REMOVED, Phase.NOT_GRANTED)
    left = 0 if over else max(window.valid_until - int(now), 0) if ends else None
    return {
        "validAfter": window.valid_after,
        "validUntil": window.valid_until if ends else None,
        "secondsLeft": left,
        "secondsUntilValid": max(window.valid_after - int(now), 0),
    }


def scope_of(state: SessionState) -> Json:
    """What the session may do: its actions, what watches each, and what watches every operation."""
    return {
        "actions": [
            {**place_of_action(state, action), "policies": [name_of_policy(policy) for policy in policies]}
            for action, policies in state.actions.items()
        ],
        "everyOperation": [name_of_policy(policy) for policy in state.user_op_policies],
        "paymaster": state.permits_paymaster,
    }


def scope_of_declared(session: DeclaredSession) -> Json:
    """The same for a declared session."""
    actions = [
        {"on": "action", "target": print_checksummed(action.target), "selector": print_bytes(action.selector)}
        for action in session.actions
    ]
    return {"actions": [{**each, "policies": []} for each in actions], "everyOperation": [], "paymaster": None}


def use_in_json(use: SessionUse) -> Json:
    """What its mined operations came to. Gas and wei as 0x-hex, the time in unix seconds."""
    return {
        "mined": use.mined,
        "reverted": use.reverted,
        "gasUsed": print_uint(use.gas),
        "gasCost": print_uint(use.cost),
        "lastUsed": None if use.last_used is None else int(use.last_used),
    }
