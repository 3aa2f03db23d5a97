"""What is left of every limit of a session: used on chain, held by operations in flight, still to be had.

The three are told apart, for what is in flight may come back. Amounts are in base units, as 0x-hex; those of a token
whose unit is known stand in it too (`inUnits`, decimal). Times are unix seconds. Dicts as they are answered and
printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from proxy.record import record
from proxy.session.addresses import name_of_policy
from proxy.session.counters import Counter
from proxy.session.declared import DeclaredSession, use_counter
from proxy.session.granted import USES_SLOT, VALUE_SLOT, GrantedAction
from proxy.session.policies.arg import ArgRules
from proxy.session.policies.erc20_spending_limit import SpendingLimits
from proxy.session.policies.policy import NATIVE_COIN, PolicyConfig
from proxy.session.policies.simple_gas import COST_SLOT, GAS_SLOT, GasLimits
from proxy.session.policies.time_frame import TimeFrame
from proxy.session.policies.token_calls import AMOUNT_OFFSETS
from proxy.session.policies.universal_action import ActionRules
from proxy.session.policies.usage_limit import UsageLimit
from proxy.session.policies.value_limit import ValueLimit
from proxy.session.state import ConfigId, SessionState
from proxy.session.units import Unit, UnitOf, in_unit, no_units
from proxy.session.validity import UINT48_MAX
from proxy.userop.primitives import Address, Hash32, Selector, print_bytes, print_checksummed, print_uint

_SLOT_NAMES: Final = {b"": "all", USES_SLOT: "uses", VALUE_SLOT: "value", GAS_SLOT: "gas", COST_SLOT: "gasCost"}

Json = dict[str, Any]
Amounts = Callable[[Counter], int]


def remaining(state: SessionState, in_flight: Amounts, unit_of: UnitOf = no_units) -> list[Json]:
    """The limits and time frames of a session's policies, in the order in which the module asks them.

    A policy whose limits are not known here is listed without any. `unit_of` knows the units of tokens on its chain.
    """
    told = _Telling(state, in_flight, unit_of)
    described = [
        told.of_policy(policy, state.user_op_config_id, {"on": "userOperation"}) for policy in state.user_op_policies
    ]
    for action_id, policies in state.actions.items():
        place = place_of_action(state, action_id)
        config_id = state.action_config_id(action_id)
        described += [told.of_policy(policy, config_id, place, state.targets.get(action_id)) for policy in policies]
    return described


def remaining_of_declared(session: DeclaredSession, module: Address, used: Amounts, in_flight: Amounts) -> list[Json]:
    """The same for the actions of a declared session."""
    described = []
    for action in session.actions:
        entry: Json = {
            "on": "action",
            "target": print_checksummed(action.target),
            "selector": print_bytes(action.selector),
            "policy": "declared session",
        }
        if action.valid_after or action.valid_until < UINT48_MAX:
            entry |= _window(action.valid_after, action.valid_until)
        counter = use_counter(session, module, action)
        limits = [] if action.max_uses is None else [action.max_uses]
        entry["limits"] = [_limit("uses", {}, counter, limit, used=used, in_flight=in_flight) for limit in limits]
        described.append(entry)
    return described


def place_of_action(state: SessionState, action_id: Hash32) -> Json:
    """Which action: its id, its target and selector where a grant told them."""
    place: Json = {"on": "action", "actionId": print_bytes(action_id)}
    if (known := state.targets.get(action_id)) is not None:
        place |= {"target": print_checksummed(known[0]), "selector": print_bytes(known[1])}
    return place


@record()
class _Telling:
    state: SessionState
    in_flight: Amounts
    unit_of: UnitOf

    def of_policy(
        self, policy: Address, config_id: Hash32, place: Json, calls: tuple[Address, Selector] | None = None
    ) -> Json:
        """One policy at its place, with what is left of its limits; `calls` is what its action may call."""
        state = self.state
        config = state.configs.get(ConfigId(policy, config_id))
        entry: Json = {**place, "policy": name_of_policy(policy), "address": print_checksummed(policy)}
        if isinstance(config, TimeFrame):
            entry |= _window(config.valid_after, config.valid_until or UINT48_MAX)
        elif isinstance(config, GrantedAction):
            entry |= _of_grant(config)
        entry["limits"] = [
            _limit(
                of,
                more,
                Counter(*state.config_key(policy, config_id), slot),
                limit,
                used=lambda counter: state.used.get(counter, 0),
                in_flight=self.in_flight,
                unit=self._unit(of, slot, config, calls),
            )
            for of, more, slot, limit in _limits(config)
        ]
        return entry

    def _unit(
        self, of: str, slot: bytes, config: PolicyConfig | None, calls: tuple[Address, Selector] | None
    ) -> Unit | None:
        """The unit of what a limit counts, where that is an amount of a token."""
        if of == "token":
            return self.unit_of(Address(slot))
        if of in ("value", "gasCost"):
            return self.unit_of(NATIVE_COIN)
        if calls is None or not isinstance(config, ActionRules | ArgRules):
            return None
        target, selector = calls
        return self.unit_of(target) if AMOUNT_OFFSETS.get(selector) == config.rules[slot[0]].offset else None


def _of_grant(action: GrantedAction) -> Json:
    """What a declared module granted, apart from what is counted; a target without a selector is all of it."""
    terms = action.terms
    told: Json = {} if action.target is None else {"target": print_checksummed(action.target)}
    if terms.max_value is not None:
        told["valuePerCall"] = print_uint(terms.max_value)
    if terms.valid_after or terms.valid_until < UINT48_MAX:
        told |= _window(terms.valid_after, terms.valid_until)
    return told


def _limits(config: PolicyConfig | None) -> Iterator[tuple[str, Json, bytes, int]]:
    """What each limit is of, what else names it, its counter's slot, and the limit itself."""
    match config:
        case UsageLimit(limit):
            yield "uses", {}, b"", limit
        case ValueLimit(limit):
            yield "value", {}, b"", limit
        case GasLimits(gas, cost):
            yield "gas", {}, GAS_SLOT, gas
            yield "gasCost", {}, COST_SLOT, cost
        case SpendingLimits(limits):
            for token, limit in limits.items():
                if not limit:
                    continue  # it was asked about once and is not listed: no limit can be zero
                yield "token", {"token": print_checksummed(token)}, token, limit
        case ActionRules(rules=rules) | ArgRules(rules=rules):
            for index, rule in enumerate(rules):
                if rule.is_limited:
                    yield "argument", {"offset": print_uint(rule.offset)}, bytes([index]), rule.limit
        case GrantedAction(terms=terms):
            if terms.max_uses is not None:
                yield "uses", {}, USES_SLOT, terms.max_uses
            if terms.max_total is not None:
                yield "value", {}, VALUE_SLOT, terms.max_total


def name_of_slot(slot: bytes) -> str:
    """What a counter of a policy counts, in a word: `all` where it has but one."""
    if len(slot) == 20:
        return print_checksummed(slot)
    if len(slot) == 1:
        return f"rule {slot[0]}"
    return _SLOT_NAMES.get(slot) or print_bytes(slot)


def _limit(
    of: str, more: Json, counter: Counter, limit: int, *, used: Amounts, in_flight: Amounts, unit: Unit | None = None
) -> Json:
    on_chain, flying = used(counter), in_flight(counter)
    amounts = {"limit": limit, "used": on_chain, "inFlight": flying, "left": max(limit - on_chain - flying, 0)}
    told: Json = {"of": of, **more, **{name: print_uint(amount) for name, amount in amounts.items()}}
    if unit is not None:
        told["inUnits"] = {"symbol": unit.symbol} | {name: in_unit(amount, unit) for name, amount in amounts.items()}
    return told


def _window(valid_after: int, valid_until: int) -> Json:
    return {"validAfter": valid_after, "validUntil": None if valid_until >= UINT48_MAX else valid_until}
