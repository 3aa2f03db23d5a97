"""What is left of every limit, chain and flight told apart."""

from __future__ import annotations

from proxy.session.counters import Charge, Counter
from proxy.session.declared import DeclaredAction, DeclaredSession, use_counter
from proxy.session.policies.simple_gas import COST_SLOT, GAS_SLOT
from proxy.session.remaining import name_of_slot, remaining, remaining_of_declared
from proxy.session.state import SessionState
from proxy.userop.primitives import Hash32, print_bytes, print_checksummed
from tests.session.builders import (
    ACCOUNT,
    FRIEND,
    GAS,
    SMART_SESSION,
    SPENDING,
    TOKEN,
    TRANSFER,
    UNI_ACTION,
    USAGE,
    action,
    enabled,
    gas,
    rule,
    session,
    spending,
    sudo,
    time_frame,
    uni_action,
    usage,
    value_limit,
)

GRANT = session(
    action(
        TOKEN, TRANSFER, usage(3), spending((TOKEN, 100)), uni_action(rule(0, 0x24, 5, limit=9), rule(0, 4, 5)), sudo
    ),
    user_op=(gas(50, 60), time_frame(99, 11), value_limit(8)),
)
STATE = enabled(GRANT)
((ACTION_ID, _),) = STATE.actions.items()


def on_action(policy: bytes, slot: bytes = b"") -> Counter:
    return Counter(SMART_SESSION, ACCOUNT, policy, STATE.action_config_id(ACTION_ID), slot)  # type: ignore[arg-type]  # an address


def limits(state: SessionState, in_flight: dict[Counter, int]) -> list[tuple[object, ...]]:
    described = remaining(state, lambda counter: in_flight.get(counter, 0))
    names = ("of", "limit", "used", "inFlight", "left")
    return [tuple(limit[name] for name in names) for policy in described for limit in policy["limits"]]


def test_a_token_that_is_not_listed_has_no_limit_to_show() -> None:
    config_id = STATE.action_config_id(ACTION_ID)
    asked = STATE.with_token_limit(SPENDING, config_id, FRIEND, 0, 0)
    assert limits(asked, {}) == limits(STATE, {})


def test_every_counter_has_a_name() -> None:
    assert [name_of_slot(slot) for slot in (b"", GAS_SLOT, COST_SLOT, b"\x02")] == ["all", "gas", "gasCost", "rule 2"]
    assert name_of_slot(TOKEN) == print_checksummed(TOKEN)
    assert name_of_slot(b"\x01\x02") == "0x0102"


def test_nothing_used_leaves_every_limit_whole_in_the_order_of_the_policies() -> None:
    assert limits(STATE, {}) == [
        ("gas", "0x32", "0x0", "0x0", "0x32"),
        ("gasCost", "0x3c", "0x0", "0x0", "0x3c"),
        ("value", "0x8", "0x0", "0x0", "0x8"),
        ("uses", "0x3", "0x0", "0x0", "0x3"),
        ("token", "0x64", "0x0", "0x0", "0x64"),
        ("argument", "0x9", "0x0", "0x0", "0x9"),
    ]


def test_use_on_chain_and_in_flight_are_told_apart_and_both_taken_off() -> None:
    spent, used = on_action(SPENDING, TOKEN), on_action(USAGE)
    argued = on_action(UNI_ACTION, b"\0")
    gases = [Counter(SMART_SESSION, ACCOUNT, GAS, STATE.user_op_config_id, slot) for slot in (GAS_SLOT, COST_SLOT)]
    state = STATE.with_charges([Charge(spent, 60, 100), Charge(used, 3, 3), Charge(gases[0], 1, 50)])
    assert limits(state, {spent: 30, used: 1, argued: 2, gases[1]: 60}) == [
        ("gas", "0x32", "0x1", "0x0", "0x31"),
        ("gasCost", "0x3c", "0x0", "0x3c", "0x0"),
        ("value", "0x8", "0x0", "0x0", "0x8"),
        ("uses", "0x3", "0x3", "0x1", "0x0"),
        ("token", "0x64", "0x3c", "0x1e", "0xa"),
        ("argument", "0x9", "0x0", "0x2", "0x7"),
    ]


def test_each_policy_says_what_it_is_on_and_when_it_holds() -> None:
    gas_policy, frame, *_, last = remaining(STATE, lambda _: 0)
    assert (gas_policy["on"], gas_policy["policy"]) == ("userOperation", "SimpleGasPolicy")
    assert (frame["validAfter"], frame["validUntil"], frame["limits"]) == (11, 99, [])
    assert (last["target"], last["selector"]) == (print_checksummed(TOKEN), print_bytes(TRANSFER))
    assert last["limits"] == []


def test_a_policy_whose_limits_are_not_known_is_listed_without_any() -> None:
    (only,) = remaining(enabled(session(action(TOKEN, TRANSFER, usage(3)))).without_policy_knowledge(), lambda _: 0)
    assert (only["policy"], only["limits"]) == ("UsageLimitPolicy", [])


def test_a_declared_session_has_its_uses_counted_here() -> None:
    actions = (
        DeclaredAction(target=TOKEN, selector=TRANSFER, max_uses=5, valid_until=77),
        DeclaredAction(target=FRIEND),
    )
    declared = DeclaredSession(
        chain_id=1, account=ACCOUNT, permission_id=Hash32(b"\x1d" * 32), session_key=FRIEND, actions=actions
    )
    counter = use_counter(declared, SMART_SESSION, actions[0])
    counted, uncounted = remaining_of_declared(declared, SMART_SESSION, {counter: 2}.get, {counter: 1}.get)  # type: ignore[arg-type]  # asked for that counter only
    (limit,) = counted["limits"]
    assert [limit[name] for name in ("of", "limit", "used", "inFlight", "left")] == ["uses", "0x5", "0x2", "0x1", "0x2"]
    assert counted["validUntil"] == 77
    assert uncounted["limits"] == []
