"""Which sessions the gate knows, and what operations make of them when they are mined."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.session.changes import Changes, SessionChange, SessionEnabled
from proxy.session.counters import Charge, Counter, HoldName, SessionKey
from proxy.session.declared import DECLARED_POLICY, DeclaredSession
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import SessionState
from proxy.userop.acts import (
    EnableSignatureRevoked,
    PaymasterPermitted,
    SessionRemoved,
    SessionsCleared,
    SessionsEnabled,
    Unreadable,
    UserOpPoliciesEnabled,
)
from proxy.userop.primitives import Address, Hash32, Selector
from tests.session.builders import (
    ACCOUNT,
    SMART_SESSION,
    STRANGER,
    TOKEN,
    TRANSFER,
    USAGE,
    action,
    enabled,
    key_of,
    session,
    usage,
)

GRANT = session(action(TOKEN, TRANSFER, usage(3)))
KEY = key_of(GRANT)
STATE = enabled(GRANT)
OP = Hash32(b"\x01" * 32)
OTHER_OP = Hash32(b"\x02" * 32)
USES = Counter(SMART_SESSION, ACCOUNT, USAGE, STATE.action_config_id(next(iter(STATE.actions))))
ONE_USE = Charge(USES, 1, 3)
GRANTED = SessionsEnabled(SMART_SESSION, (GRANT,))
ENABLED = SessionEnabled(SMART_SESSION, GRANT)
REMOVED = SessionRemoved(SMART_SESSION, KEY.permission_id)


def known(**changes: object) -> KnownSession:
    plain = KnownSession(key=KEY, status=Status.IN_FORCE, source=Source.NODE, updated_at=1.0, state=STATE)
    return replace(plain, **changes)  # type: ignore[arg-type]  # fields by name


def changes(*on_success: SessionChange, at_validation: tuple[SessionChange, ...] = (), op: Hash32 = OP) -> Changes:
    return Changes(user_op_hash=op, chain_id=1, account=ACCOUNT, at_validation=at_validation, on_success=on_success)


def registry_with(*sessions: KnownSession) -> Registry:
    registry = Registry()
    for each in sessions:
        registry.put(each)
    return registry


def mined(
    registry: Registry, op: Hash32 = OP, *, success: bool = True, block: int | None = None
) -> tuple[KnownSession, ...]:
    return registry.mined(HoldName(op, None), success=success, block=block, now=5.0)


def test_knows_nothing_of_a_session_it_never_heard_of() -> None:
    assert Registry().get(KEY) is None


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(chain_id=2),
        KEY._replace(module=STRANGER),
        KEY._replace(account=STRANGER),
        KEY._replace(permission_id=Hash32(b"\x77" * 32)),
    ],
    ids=["chain", "module", "account", "permission id"],
)
def test_keeps_the_same_permission_apart_by_chain_module_and_account(other: SessionKey) -> None:
    registry = registry_with(known())
    assert registry.get(KEY) == known()
    assert registry.get(other) is None


def test_counts_sessions_by_status_as_they_change() -> None:
    registry = registry_with(known())
    assert registry.counts() == {Status.PENDING: 0, Status.IN_FORCE: 1, Status.REMOVED: 0}
    registry.put(known(status=Status.REMOVED))
    assert registry.counts() == {Status.PENDING: 0, Status.IN_FORCE: 0, Status.REMOVED: 1}
    assert len(registry) == 1


def test_a_grant_is_pending_until_it_is_mined_and_in_force_after() -> None:
    registry = Registry()
    pending = registry.expect(changes(GRANTED), now=2.0)
    assert pending == (
        KnownSession(key=KEY, status=Status.PENDING, source=Source.GRANT, granted_by=OP, updated_at=2.0),
    )
    (after,) = mined(registry)
    assert (after.status, after.source, after.granted_by) == (Status.IN_FORCE, Source.GRANT, None)
    assert after.state is not None
    assert (after.state.enabled, after.state.actions) == (True, STATE.actions)
    assert registry.get(KEY) == after


def test_a_grant_whose_calls_reverted_grants_nothing() -> None:
    registry = Registry()
    registry.expect(changes(GRANTED), now=2.0)
    (after,) = mined(registry, success=False)
    assert (after.status, after.granted_by) == (Status.REMOVED, None)


@pytest.mark.parametrize("before", [None, SessionState(key=KEY, enable_nonce=3)])
def test_a_session_whose_grant_failed_is_not_said_to_have_been_removed(before: SessionState | None) -> None:
    registry = Registry()
    if before is not None:
        registry.put(known(status=Status.REMOVED, source=Source.NODE, state=before))
    registry.expect(changes(at_validation=(ENABLED,)), now=2.0)
    (after,) = registry.dropped(HoldName(OP, None), now=3.0)
    assert after.standing == "not_granted"


def test_a_session_that_was_there_is_said_to_have_been_removed() -> None:
    registry = registry_with(known())
    registry.expect(changes(REMOVED), now=2.0)
    (after,) = mined(registry)
    assert after.standing == "removed"
    registry.expect(changes(GRANTED, op=OTHER_OP), now=3.0)
    (after,) = registry.dropped(HoldName(OTHER_OP, None), now=4.0)
    assert after.standing == "removed"


def test_how_a_pending_session_will_stand_can_be_told() -> None:
    registry = Registry()
    registry.expect(changes(GRANTED), now=2.0)
    state = registry.granted_state(KEY)
    assert state is not None
    assert (state.enabled, state.actions) == (True, STATE.actions)
    mined(registry)
    assert registry.granted_state(KEY) is None


def test_an_enable_envelope_stands_even_when_the_execution_reverted() -> None:
    registry = Registry()
    (pending,) = registry.expect(changes(at_validation=(ENABLED,)), now=2.0)
    assert pending.source is Source.ENABLE
    (after,) = mined(registry, success=False)
    assert (after.status, after.source) == (Status.IN_FORCE, Source.ENABLE)


def test_an_enable_envelope_moves_the_enable_nonce_and_an_owners_grant_does_not() -> None:
    for change, nonce in ((ENABLED, 5), (GRANTED, 4)):
        registry = registry_with(known(status=Status.REMOVED, state=replace(STATE, enable_nonce=4)))
        registry.expect(changes(at_validation=(change,)), now=2.0)
        (after,) = mined(registry)
        assert after.state is not None
        assert after.state.enable_nonce == nonce


def test_an_enable_envelope_of_a_session_never_heard_of_tells_the_nonce_it_was_judged_by() -> None:
    for nonce, after_it in ((None, None), (0, 1), (6, 7)):
        registry = Registry()
        registry.expect(changes(at_validation=(SessionEnabled(SMART_SESSION, GRANT, nonce),)), now=2.0)
        (after,) = mined(registry)
        assert after.state is not None
        assert after.state.enable_nonce == after_it


def test_a_dropped_grant_is_not_pending_any_more() -> None:
    registry = Registry()
    registry.expect(changes(GRANTED), now=2.0)
    (after,) = registry.dropped(HoldName(OP, None), now=3.0)
    assert after.status is Status.REMOVED
    assert registry.counts()[Status.PENDING] == 0


def test_of_two_grants_in_flight_the_second_keeps_the_session_pending_when_the_first_is_dropped() -> None:
    registry = Registry()
    registry.expect(changes(GRANTED), now=2.0)
    registry.expect(changes(GRANTED, op=OTHER_OP), now=2.0)
    (after,) = registry.dropped(HoldName(OP, None), now=3.0)
    assert (after.status, after.granted_by) == (Status.PENDING, OTHER_OP)
    (after,) = mined(registry, OTHER_OP)
    assert after.status is Status.IN_FORCE


def test_a_removal_in_flight_is_noted_and_revokes_only_when_mined() -> None:
    registry = registry_with(known())
    registry.expect(changes(REMOVED), now=2.0)
    assert registry.get(KEY) == known()
    assert registry.removal_awaited(KEY)
    assert registry.awaited(KEY) == (OP,)
    (after,) = mined(registry)
    assert after.status is Status.REMOVED
    assert after.state is not None
    assert not after.state.enabled
    assert not registry.removal_awaited(KEY)
    assert registry.awaited(KEY) == ()


def test_a_removal_that_reverted_or_was_dropped_revokes_nothing() -> None:
    registry = registry_with(known())
    registry.expect(changes(REMOVED), now=2.0)
    assert mined(registry, success=False) == ()
    registry.expect(changes(REMOVED, op=OTHER_OP), now=2.0)
    assert registry.dropped(HoldName(OTHER_OP, None), now=3.0) == ()
    assert registry.get(KEY) == known()


def test_removing_and_granting_again_in_one_operation_leaves_the_session_in_force() -> None:
    registry = registry_with(known())
    both = changes(REMOVED, GRANTED)
    registry.expect(both, now=2.0)
    assert not registry.removal_awaited(KEY)
    (after,) = mined(registry)
    assert after.status is Status.IN_FORCE


def test_the_removal_of_a_session_never_heard_of_is_remembered() -> None:
    registry = Registry()
    registry.expect(changes(REMOVED), now=2.0)
    (after,) = mined(registry)
    assert (after.key, after.status) == (KEY, Status.REMOVED)


def test_a_removal_mined_before_a_pending_grant_leaves_it_pending() -> None:
    registry = Registry()
    registry.expect(changes(GRANTED), now=2.0)
    registry.expect(changes(REMOVED, op=OTHER_OP), now=2.0)
    assert mined(registry, OTHER_OP) == ()
    (after,) = mined(registry)
    assert after.status is Status.IN_FORCE


def test_uninstalling_the_module_removes_all_sessions_of_that_account_and_no_others() -> None:
    second = session(action(TOKEN, TRANSFER, usage(3)), salt=2)
    mine = known(key=key_of(second), state=enabled(second))
    of_another = known(key=KEY._replace(account=STRANGER))
    at_another_module = known(key=KEY._replace(module=STRANGER))
    registry = registry_with(known(), mine, of_another, at_another_module)
    registry.expect(changes(SessionsCleared(SMART_SESSION)), now=2.0)
    assert registry.removal_awaited(KEY)
    assert not registry.removal_awaited(of_another.key)
    assert {each.key for each in mined(registry)} == {KEY, mine.key}
    assert registry.get(of_another.key) == of_another
    assert registry.get(at_another_module.key) == at_another_module


def test_an_edit_is_made_when_mined() -> None:
    registry = registry_with(known())
    registry.expect(
        changes(
            UserOpPoliciesEnabled(SMART_SESSION, KEY.permission_id, (usage(7),)),
            PaymasterPermitted(SMART_SESSION, KEY.permission_id, True),
            EnableSignatureRevoked(SMART_SESSION, KEY.permission_id),
        ),
        now=2.0,
    )
    (after,) = mined(registry)
    assert after.state is not None
    assert after.state.user_op_policies == (USAGE,)
    assert after.state.permits_paymaster is True
    assert after.state.enable_nonce == 1


@pytest.mark.parametrize(
    "change",
    [
        Unreadable(SMART_SESSION, Selector(b"\x21\x71\x24\x07"), "cut short"),
        # a usage limit of zero reverts by our reading, and yet the chain has taken it
        UserOpPoliciesEnabled(SMART_SESSION, KEY.permission_id, (usage(0),)),
    ],
    ids=["unreadable", "not as we see it"],
)
def test_a_change_that_cannot_be_followed_leaves_the_session_to_be_read_again(change: SessionChange) -> None:
    registry = registry_with(known())
    registry.expect(changes(change), now=2.0)
    (after,) = mined(registry)
    assert (after.status, after.state) == (Status.IN_FORCE, None)


def test_a_grant_on_top_of_an_unread_session_does_not_pass_for_the_whole() -> None:
    registry = registry_with(known(state=None))
    registry.expect(changes(GRANTED), now=2.0)
    (after,) = mined(registry)
    assert (after.status, after.state) == (Status.IN_FORCE, None)


def test_an_edit_of_a_session_never_heard_of_says_nothing() -> None:
    registry = Registry()
    registry.expect(changes(PaymasterPermitted(SMART_SESSION, KEY.permission_id, True)), now=2.0)
    assert mined(registry) == ()
    assert registry.get(KEY) is None


def test_charges_count_whether_or_not_the_execution_succeeded() -> None:
    for success in (True, False):
        registry = registry_with(known())
        (after,) = registry.mined(HoldName(OP, KEY), success=success, charges=(ONE_USE,), block=None, now=5.0)
        assert after.state is not None
        assert after.state.used[USES] == 1


def test_charges_of_an_enabling_operation_count_after_its_session_was_enabled() -> None:
    registry = Registry()
    registry.expect(changes(at_validation=(ENABLED,)), 2.0, HoldName(OP, KEY))
    (after,) = registry.mined(HoldName(OP, KEY), success=True, charges=(ONE_USE,), block=None, now=5.0)
    assert after.state is not None
    assert after.state.used[USES] == 1


def test_charges_are_gone_when_the_same_operation_removes_its_session() -> None:
    registry = registry_with(known())
    registry.expect(changes(REMOVED), 2.0, HoldName(OP, KEY))
    (after,) = registry.mined(HoldName(OP, KEY), success=True, charges=(ONE_USE,), block=None, now=5.0)
    assert after.state is not None
    assert not after.state.used


@pytest.mark.parametrize(("block", "uses"), [(99, 0), (100, 0), (101, 1)])
def test_what_was_read_at_a_block_is_not_counted_a_second_time(block: int, uses: int) -> None:
    registry = registry_with(known(block=100))
    registry.mined(HoldName(OP, KEY), success=True, charges=(ONE_USE,), block=block, now=5.0)
    after = registry.get(KEY)
    assert after is not None
    assert after.state is not None
    assert after.state.used.get(USES, 0) == uses


@pytest.mark.parametrize("block", [None, 100])
def test_no_reading_from_before_a_use_that_is_counted_takes_the_place_of_the_one_that_has_it(block: int | None) -> None:
    """`None`: at which block that was taken is forgotten, as the chain was begun anew."""
    registry = registry_with(known(block=100))
    if block is None:
        registry.began_at([KEY], 90)
    registry.mined(HoldName(OP, KEY), success=True, charges=(ONE_USE,), block=95, now=5.0, counted=True)
    after = registry.get(KEY)
    assert after is not None
    assert (after.state, after.block) == (known().state, block)
    assert registry.mined_at(KEY) == (95 if block is None else None)


@pytest.mark.parametrize(("block", "status"), [(100, Status.IN_FORCE), (101, Status.REMOVED)])
def test_a_change_older_than_the_reading_is_not_made_again(block: int, status: Status) -> None:
    registry = registry_with(known(block=100))
    registry.expect(changes(REMOVED), now=2.0)
    mined(registry, block=block)
    after = registry.get(KEY)
    assert after is not None
    assert after.status is status


def test_the_same_operation_is_expected_and_mined_once() -> None:
    registry = Registry()
    registry.expect(changes(GRANTED), now=2.0)
    assert registry.expect(changes(GRANTED), now=3.0) == ()
    assert registry.awaited(KEY) == (OP,)
    assert len(mined(registry)) == 1
    assert mined(registry) == ()


def test_an_operation_that_only_uses_a_session_is_awaited_by_it_until_it_has_ended() -> None:
    for end in ("mined", "dropped"):
        registry = registry_with(known())
        registry.expect(changes(), 2.0, HoldName(OP, KEY))
        registry.expect(changes(op=OTHER_OP), 2.0, HoldName(OTHER_OP, KEY))
        assert registry.awaited(KEY) == (OP, OTHER_OP)
        assert not registry.removal_awaited(KEY)
        if end == "mined":
            registry.mined(HoldName(OP, KEY), success=True, block=None, now=5.0)
        else:
            registry.dropped(HoldName(OP, KEY), now=3.0)
        assert registry.awaited(KEY) == (OTHER_OP,)
        assert registry.awaited(KEY._replace(account=STRANGER)) == ()


def test_a_grant_expected_for_a_session_in_force_changes_nothing_yet() -> None:
    registry = registry_with(known())
    assert registry.expect(changes(GRANTED), now=2.0) == ()
    assert registry.get(KEY) == known()


DECLARED = DeclaredSession(
    chain_id=1, account=ACCOUNT, permission_id=KEY.permission_id, session_key=STRANGER, actions=()
)
DECLARED_USES = Counter(SMART_SESSION, ACCOUNT, DECLARED_POLICY, Hash32(b"\xc0" * 32))


def test_a_declared_session_is_found_at_every_module_unless_it_names_one() -> None:
    registry = Registry()
    registry.declarations.take([DECLARED])
    assert registry.declarations.of(KEY) == DECLARED
    assert registry.declarations.of(KEY._replace(module=STRANGER)) == DECLARED
    assert registry.declarations.of(KEY._replace(account=STRANGER)) is None
    registry.declarations.take([replace(DECLARED, module=SMART_SESSION)])
    assert registry.declarations.of(KEY) is not None
    assert registry.declarations.of(KEY._replace(module=STRANGER)) is None


def test_declaring_anew_forgets_what_is_not_declared_any_more() -> None:
    registry = Registry()
    registry.declarations.take([DECLARED])
    registry.declarations.take([])
    assert registry.declarations.of(KEY) is None


def test_uses_of_a_declared_session_count_once_mined_and_apart_from_the_chains() -> None:
    registry = registry_with(known())
    charges = (Charge(DECLARED_USES, 2, 9),)
    assert registry.mined(HoldName(OP, KEY), success=False, charges=charges, block=None, now=5.0) == ()
    assert registry.declarations.uses(DECLARED_USES) == 2
    assert registry.get(KEY) == known()
    again = Registry()
    again.declarations.restore_uses({DECLARED_USES: 2})
    again.mined(HoldName(OP, KEY), success=True, charges=charges, block=None, now=5.0)
    assert again.declarations.uses(DECLARED_USES) == 4


ADDRESSES = st.sampled_from([Address(bytes([n]) * 20) for n in range(3)])
KEYS = st.builds(
    SessionKey,
    st.integers(1, 2),
    ADDRESSES,
    ADDRESSES,
    st.sampled_from([Hash32(bytes([n]) * 32) for n in range(4)]),
)


@given(st.lists(st.tuples(KEYS, st.sampled_from(Status))))
def test_index_and_counts_agree_with_what_was_put(puts: list[tuple[SessionKey, Status]]) -> None:
    registry = Registry()
    for key, status in puts:
        registry.put(known(key=key, status=status, state=None))
    last = dict(puts)
    assert {each.key: each.status for each in registry} == last
    assert sum(registry.counts().values()) == len(registry) == len(last)
    for key in last:
        held = registry.held_by(key.chain_id, key.module, key.account)
        wanted = {other for other in last if other._replace(permission_id=key.permission_id) == key}
        assert set(held) == wanted
