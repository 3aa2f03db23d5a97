"""What the chain would refuse, misread or ignore in a grant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.addresses import SESSION_MODULES, SMART_SESSION
from proxy.session.lint import GRANT_REVERTS, Severity, lint
from proxy.session.revert import Revert
from proxy.session.state import SessionState
from proxy.session.transitions import enable
from proxy.userop.primitives import ZERO_ADDRESS, Address
from proxy.userop.session_data import FLAG_TARGET, ActionData, ERC7739Context, ERC7739Data, PolicyData, SessionData
from tests.session.builders import (
    ARG,
    GAS,
    NOW,
    OTHER_TOKEN,
    SUDO,
    TIME,
    TOKEN,
    TRANSFER,
    UNI_ACTION,
    USAGE,
    action,
    arg,
    fallback,
    key_of,
    node,
    only,
    rule,
    session,
    spending,
    sudo,
    time_frame,
    uni_action,
    usage,
    value_limit,
    word,
)
from tests.session.lint.builders import (
    DAY,
    EQUAL,
    LIMITS,
    PLAY,
    V1_SUDO,
    V1_TIME,
    V1_USAGE,
    Pairs,
    found,
    play,
    tight,
    tight_play,
    to_friend,
)
from tests.session.lint.strategies import sessions

UNTIL = NOW + DAY
older_time_frame = UNTIL.to_bytes(16, "big") + bytes(16)
no_rules = PolicyData(UNI_ACTION, word(0) * 98)

PAIRS: Pairs = {
    "cannot_be_enabled": (tight(play(usage(0))), tight(play(usage(1)))),
    "policy_in_wrong_slot": (
        tight(tight_play, user_op=(*LIMITS, spending((TOKEN, 1)))),
        tight(tight_play, user_op=(*LIMITS, sudo)),
    ),
    "time_frame_of_older_generation": (
        tight(user_op=(PolicyData(TIME, older_time_frame),)),
        tight(user_op=(PolicyData(V1_TIME, older_time_frame),)),
    ),
    "older_generation": (tight(play(PolicyData(V1_SUDO, b""))), tight(play(sudo))),
    "policy_always_reverts": (tight(play(no_rules)), tight(tight_play)),
    "init_data_ignored": (
        tight(user_op=(PolicyData(USAGE, word(1 << 128)),)),
        tight(user_op=(PolicyData(USAGE, word(1 << 128)[:16]),)),
    ),
    "duplicate_policy": (tight(play(usage(1), usage(2))), tight(play(usage(1), value_limit(2)))),
    "duplicate_action": (tight(tight_play, play(usage(1))), tight(tight_play, action(TOKEN, PLAY, usage(1)))),
    "action_without_policies": (tight(tight_play, action(TOKEN, TRANSFER)), tight(tight_play)),
    "unreachable_action": (tight(tight_play, action(FLAG_TARGET, PLAY, sudo)), tight(tight_play, fallback(sudo))),
    "nothing_allowed": (tight(play()), tight(play(sudo))),
    "never_usable": (tight(play(no_rules)), tight(play(no_rules), action(TOKEN, TRANSFER, usage(1)))),
}
only_one = (0, 0, 0, 1, 0, 0)
PACKED = UNTIL.to_bytes(6, "big") + bytes(6)
ABI_ENCODED = word(NOW) + word(UNTIL)


@pytest.mark.parametrize("data", [ABI_ENCODED, older_time_frame, bytes(31) + b"\x01", word(UNTIL) * 3])
@pytest.mark.parametrize("erc1271", [(), (sudo,)])
def test_leads_with_a_user_operation_policy_that_no_operation_passes(
    data: bytes, erc1271: tuple[PolicyData, ...]
) -> None:
    grant = tight(fallback(sudo), user_op=(PolicyData(TIME, data),), erc7739_policies=ERC7739Data((), erc1271))
    first, *rest = lint(grant, now=NOW)
    assert (first.id, first.severity) == ("never_usable", Severity.CRITICAL)
    assert "first 12 bytes" in first.sentence
    assert "uint48 validUntil" in first.remedy
    assert "getTimeFramePolicy" in first.remedy
    assert {"no_expiry", "far_expiry", "expired"}.isdisjoint(finding.id for finding in rest)


def test_says_whose_encoding_the_time_frame_has() -> None:
    first, *_ = lint(tight(user_op=(PolicyData(TIME, ABI_ENCODED),)), now=NOW)
    assert "Rhinestone SDK" in first.sentence
    assert "never_usable" not in found(tight(user_op=(PolicyData(TIME, PACKED),)))


@pytest.mark.parametrize(
    "policies",
    [
        (PolicyData(V1_USAGE, bytes(32)),),
        (usage(1), PolicyData(V1_USAGE, bytes(16))),
        (usage(1), PolicyData(V1_TIME, bytes(32))),
    ],
)
def test_knows_every_policy_that_refuses_every_operation(policies: tuple[PolicyData, ...]) -> None:
    assert lint(tight(user_op=policies), now=NOW)[0].id == "never_usable"


def test_an_expression_whose_first_rule_is_too_deep_makes_its_action_useless() -> None:
    def chain(levels: int) -> PolicyData:
        return arg([only_one], [node("rule"), *[node("not", left=n) for n in range(levels)]], root=levels)

    assert "never_usable" in found(tight(play(chain(98))))
    assert "never_usable" not in found(tight(play(chain(97))))


def test_a_validator_that_nobody_satisfies_leads_too_and_is_not_said_to_last_for_ever() -> None:
    grant = session(fallback(sudo))
    found_now = [finding.id for finding in lint(replace(grant, session_validator_init_data=owners(0, 1)), now=NOW)]
    assert found_now[0] == "validator_never_signs"
    assert "no_expiry" not in found_now
    assert "no_expiry" in found(grant)


@pytest.mark.parametrize(
    "grant",
    [
        session(fallback(sudo), user_op=(usage(0),)),
        session(fallback(sudo), user_op=(PolicyData(usage(1).policy, b""),)),
        session(action(ZERO_ADDRESS, TRANSFER, sudo)),
        replace(session(fallback(sudo)), session_validator_init_data=bytes(352)),
    ],
)
def test_a_session_that_is_never_granted_is_not_said_to_last_for_ever(grant: SessionData) -> None:
    first, *rest = lint(grant, now=NOW)
    assert first.id in GRANT_REVERTS
    assert "no_expiry" not in {finding.id for finding in rest}


def owners(threshold: int, count: int) -> bytes:
    return word(threshold) + word(0x40) + word(count) + b"".join(word(number + 1) for number in range(count))


@pytest.mark.parametrize(("count", "fits"), [(7, True), (8, False), (20, False)])
def test_leads_with_init_data_that_the_module_cannot_store(count: int, fits: bool) -> None:
    grant = replace(session(fallback(sudo)), session_validator_init_data=owners(1, count))
    first = lint(grant, now=NOW, module=SMART_SESSION)[0]
    if fits:
        assert "cannot_be_enabled" not in found(grant)
        return
    assert (first.id, str(first.where)) == ("cannot_be_enabled", "sessionValidator")
    assert f"have {len(grant.session_validator_init_data)} bytes" in first.sentence
    assert "at most 320" in first.sentence
    older = next(module for module in SESSION_MODULES if module != SMART_SESSION)
    assert "cannot_be_enabled" not in found(grant, module=older)


def test_policies_init_data_may_be_longer_than_a_validators() -> None:
    assert "cannot_be_enabled" not in found(tight(play(uni_action(only_one))))
    assert len(uni_action(only_one).init_data) > 320


@pytest.mark.parametrize("kind", PAIRS)
def test_finds_each_kind_and_not_in_its_neighbour(kind: str) -> None:
    faulty, sound = PAIRS[kind]
    assert kind in found(faulty)
    assert kind not in found(sound)


@pytest.mark.parametrize(
    "grant",
    [
        tight(action(ZERO_ADDRESS, PLAY, sudo)),
        tight(action(SMART_SESSION, PLAY, sudo)),
        tight(play(PolicyData(ZERO_ADDRESS, b""))),
        tight(play(PolicyData(ARG, b""))),
        tight(session_validator=ZERO_ADDRESS),
        tight(session_validator=SUDO),
        tight(user_op=(time_frame(NOW, NOW + 1),)),
        tight(user_op=(PolicyData(V1_TIME, time_frame(UNTIL).init_data),)),
        tight(user_op=(PolicyData(GAS, word(1)),)),
    ],
)
def test_finds_what_the_chain_would_refuse(grant: SessionData) -> None:
    assert isinstance(enable(SessionState(key=key_of(grant)), grant), Revert)
    assert "cannot_be_enabled" in found(grant)


@given(sessions(), st.sampled_from(sorted(SESSION_MODULES)))
def test_says_that_a_session_cannot_be_enabled_exactly_when_enabling_it_reverts(
    grant: SessionData, module: Address
) -> None:
    key = key_of(grant)._replace(module=module)
    refused = isinstance(enable(SessionState(key=key), grant), Revert)
    ids = {finding.id for finding in lint(grant, now=NOW, module=module)}
    assert refused == bool(ids & {"cannot_be_enabled", "policy_in_wrong_slot"})


def test_says_nothing_else_of_a_policy_that_the_chain_refuses() -> None:
    assert found(tight(action(TOKEN, TRANSFER, PolicyData(ARG, b"")))) == {
        "cannot_be_enabled": ["actions[0].policies[0]"]
    }


def test_points_at_the_policy_that_is_misread() -> None:
    assert found(tight(user_op=(*LIMITS[1:], PolicyData(TIME, older_time_frame))))[
        "time_frame_of_older_generation"
    ] == ["userOpPolicies[3]"]


def test_takes_32_empty_bytes_for_an_empty_time_frame_and_no_older_one() -> None:
    places = found(tight(user_op=(PolicyData(TIME, bytes(32)),)))
    assert "policy_always_reverts" in places
    assert "time_frame_of_older_generation" not in places


def test_finds_limits_of_zero_in_the_older_policies_which_take_them() -> None:
    assert "policy_always_reverts" in found(tight(play(PolicyData(V1_USAGE, bytes(16)))))
    assert "policy_always_reverts" not in found(tight(play(PolicyData(V1_USAGE, bytes(15) + b"\x01"))))


def test_judges_a_policy_given_twice_by_its_later_configuration() -> None:
    loose_then_tight = action(TOKEN, TRANSFER, spending((TOKEN, 2**255)), spending((TOKEN, 5)), to_friend)
    tight_then_loose = action(TOKEN, TRANSFER, spending((TOKEN, 5)), spending((TOKEN, 2**255)), to_friend)
    assert "token_limit_unlimited" not in found(tight(loose_then_tight))
    assert found(tight(tight_then_loose))["token_limit_unlimited"] == ["actions[0].policies[1]"]


def test_judges_an_action_listed_twice_by_the_policies_of_both() -> None:
    apart = tight(play(sudo), play(uni_action(rule(EQUAL, 0, 7))))
    assert found(apart) == {"duplicate_action": ["actions[1]"]}


def test_finds_a_policy_given_again_where_its_action_is_listed_again() -> None:
    assert found(tight(tight_play, play(usage(1), *tight_play.policies)))["duplicate_policy"] == [
        "actions[1].policies[1]"
    ]


def test_says_who_judges_the_calls_of_an_action_without_policies() -> None:
    def sentence(*actions: ActionData) -> str:
        findings = lint(tight(*actions), now=NOW)
        return next(finding.sentence for finding in findings if finding.id == "action_without_policies")

    assert "refused" in sentence(tight_play, action(TOKEN, TRANSFER))
    assert "fallback" in sentence(fallback(only(TOKEN)), action(TOKEN, TRANSFER))


def test_lets_a_session_be_that_only_signs() -> None:
    contents = ERC7739Data((ERC7739Context(key_of(tight()).permission_id, ("Play(uint256 round)",)),), (sudo,))
    assert "nothing_allowed" not in found(replace(tight(), actions=(), erc7739_policies=contents))
    assert "nothing_allowed" in found(replace(tight(), actions=()))


OTHERS = spending((OTHER_TOKEN, 100))


@pytest.mark.parametrize(
    ("actions", "why"),
    [
        ((play(OTHERS),), "which moves no token that it counts"),
        ((action(TOKEN, TRANSFER, OTHERS),), "does not name 0x7070"),
        ((action(TOKEN, TRANSFER, OTHERS), play(OTHERS, usage(3))), "does not name 0x7070"),
    ],
)
def test_leads_with_spending_limits_that_refuse_whatever_their_actions_allow(
    actions: tuple[ActionData, ...], why: str
) -> None:
    first, *rest = lint(replace(tight(*actions), user_op_policies=()), now=NOW)
    assert first.id == "never_usable"
    assert why in first.sentence
    assert "name the token" in first.remedy
    assert "no_expiry" not in [finding.id for finding in rest]


@pytest.mark.parametrize(
    "sound",
    [
        (action(TOKEN, TRANSFER, spending((TOKEN, 1), (OTHER_TOKEN, 1))),),
        (action(TOKEN, TRANSFER, OTHERS), play(sudo)),
        (fallback(OTHERS),),
    ],
)
def test_a_spending_limit_that_some_call_meets_is_none_of_those(sound: tuple[ActionData, ...]) -> None:
    assert "never_usable" not in found(tight(*sound))


@pytest.mark.parametrize(
    ("grant", "name"),
    [
        (tight(fallback(sudo), user_op=(PolicyData(TIME, (1000).to_bytes(6, "big") + bytes(6)),)), "expired"),
        (replace(tight(), actions=()), "nothing_allowed"),
    ],
)
def test_leads_with_what_makes_the_whole_session_useless_however_little_harm_it_does(
    grant: SessionData, name: str
) -> None:
    assert lint(grant, now=NOW)[0].id == name
