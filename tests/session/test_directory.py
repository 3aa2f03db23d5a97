"""The directory finds sessions by account, by permission id and by where they stand, each once and none missed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.session.counters import SessionKey
from proxy.session.directory import Directory, SessionName, StandsSince
from proxy.session.freezes import Freeze, Freezes
from proxy.session.known import Status
from proxy.userop.primitives import Address, Hash32

KEYS = st.builds(
    lambda chain, module, account, name: SessionKey(
        chain, Address(bytes([module]) * 20), Address(bytes([account]) * 20), Hash32(bytes([name]) * 32)
    ),
    *(st.integers(1, most) for most in (2, 2, 3, 4)),
)
STEPS = st.lists(st.tuples(KEYS, st.sampled_from([None, *Status]), st.integers(0, 9)), max_size=60)
FREEZES = st.lists(
    st.builds(
        lambda key, account, chain: Freeze(
            permission_id=key.permission_id,
            account=key.account if account else None,
            chain_id=key.chain_id if chain else None,
            since=0.0,
        ),
        KEYS,
        st.booleans(),
        st.booleans(),
    ),
    max_size=4,
)


def filled(steps: list[tuple[SessionKey, Status | None, int]]) -> tuple[Directory, dict[SessionKey, StandsSince]]:
    directory, there = Directory(), dict[SessionKey, StandsSince]()
    for key, status, moment in steps:
        before = there.pop(key, None)
        after = None if status is None else StandsSince(status, float(moment))
        if before is not None or after is not None:
            directory.changed(key, before, after)
        if after is not None:
            there[key] = after
    return directory, there


@given(STEPS, KEYS, FREEZES)
def test_whatever_is_asked_for_is_what_a_look_through_all_would_find(
    steps: list[tuple[SessionKey, Status | None, int]], key: SessionKey, frozen: list[Freeze]
) -> None:
    directory, there = filled(steps)
    freezes = Freezes()
    for freeze in frozen:
        freezes.put(freeze)
    held = {each for each in there if freezes.on(each) is not None}
    assert sorted(directory.frozen(freezes)) == sorted(held)
    counted = {chain: sum(each.chain_id == chain for each in held) for chain in (1, 2)}
    counts: Counter[int] = Counter()
    for permission_id in freezes.ids():
        for chain, number in directory.count_frozen(permission_id, freezes):
            counts[chain] += number
    assert +counts == +Counter(counted)
    of_account = {each for each in there if each.account == key.account}
    assert directory.knows_account(key.account) is bool(of_account)
    assert sorted(directory.newest_of_account(key.account)) == sorted(of_account)
    at_module = {each for each in of_account if (each.chain_id, each.module) == (key.chain_id, key.module)}
    assert set(directory.of_account(key.chain_id, key.module, key.account)) == at_module
    assert sorted(directory.of_id(key.permission_id)) == sorted(
        each for each in there if each.permission_id == key.permission_id
    )
    removed = {each for each, standing in there.items() if standing.status is Status.REMOVED and standing.since < 5}
    assert set(directory.removed_before(5.0)) == removed
    in_force = [each for part in directory.all_in_force(1) for each in part]
    assert sorted(in_force) == sorted(
        each for each, standing in there.items() if standing.status is Status.IN_FORCE and each.chain_id == 1
    )
    for (chain_id, status), number in directory.counts().items():
        assert number == sum(
            each.chain_id == chain_id and standing.status is status for each, standing in there.items()
        )


@given(STEPS, st.sampled_from([None, (1,), (2,)]), st.sets(st.sampled_from(Status)))
def test_a_list_goes_on_after_any_of_its_names_and_the_one_that_changed_last_is_first(
    steps: list[tuple[SessionKey, Status | None, int]], chains: tuple[int, ...] | None, statuses: set[Status]
) -> None:
    directory, there = filled(steps)
    wanted = sorted(
        (
            SessionName(standing.since, key)
            for key, standing in there.items()
            if standing.status in statuses and (chains is None or key.chain_id in chains)
        ),
        reverse=True,
    )
    assert list(directory.newest(chains, statuses, None)) == wanted
    for place, name in enumerate(wanted, 1):
        assert list(directory.newest(chains, statuses, name)) == wanted[place:]


@given(STEPS, KEYS)
def test_an_accounts_sessions_go_on_after_any_of_them(
    steps: list[tuple[SessionKey, Status | None, int]], key: SessionKey
) -> None:
    directory, _ = filled(steps)
    for listed in (directory.newest_of_account, directory.of_id):
        name = key.account if listed == directory.newest_of_account else key.permission_id
        whole = list(listed(name))  # type: ignore[arg-type]  # the name that it takes
        for place, each in enumerate(whole, 1):
            assert list(listed(name, each)) == whole[place:]  # type: ignore[arg-type]
