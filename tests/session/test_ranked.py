"""Ranked things and groups are what sorted lists would be, however they are filled, and go on from any place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.session import ranked as module
from proxy.session.ranked import Groups, Ranked

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 40)), max_size=120)


def small(ranked: Ranked[int]) -> Ranked[int]:
    assert all(0 < len(part) <= module._MOST_A_CHUNK for part in ranked.parts())
    return ranked


@given(STEPS, st.tuples(st.integers(0, 6), st.integers(0, 40)))
def test_ranked_things_are_a_sorted_list(steps: list[tuple[bool, int, int]], place: tuple[int, int]) -> None:
    most, module._MOST_A_CHUNK = module._MOST_A_CHUNK, 4  # type: ignore[misc]  # several lists of few things
    try:
        ranked: Ranked[int] = Ranked()
        there: set[tuple[float, int]] = set()
        for adds, rank, thing in steps:
            entry = (float(rank), thing)
            if adds and entry not in there:
                ranked.add(*entry)
                there.add(entry)
            elif not adds and entry in there:
                ranked.discard(*entry)
                there.remove(entry)
            assert len(small(ranked)) == len(there)
        ordered = sorted(there)
        assert list(ranked.oldest()) == ordered
        assert [entry for part in ranked.parts() for entry in part] == ordered
        assert list(ranked.newest()) == ordered[::-1]
        assert list(ranked.newest(place)) == [entry for entry in reversed(ordered) if entry < place]
    finally:
        module._MOST_A_CHUNK = most  # type: ignore[misc]


@given(STEPS, st.integers(0, 40))
def test_groups_keep_the_order_in_which_things_came(steps: list[tuple[bool, int, int]], place: int) -> None:
    groups: Groups[int, int] = Groups()
    there: dict[int, list[int]] = {}
    for adds, number, thing in steps:
        group = number // 4  # few groups: some of them are large
        members = there.setdefault(group, [])
        if adds and thing not in members:
            groups.add(group, thing)
            members.append(thing)
        elif not adds and thing in members:
            groups.remove(group, thing)
            members.remove(thing)
    for group, members in there.items():
        assert (group in groups, groups.size(group)) == (bool(members), len(members))
        assert groups.has(group, place) is (place in members)
        assert list(groups.oldest(group)) == members
        assert list(groups.newest(group)) == members[::-1]
        before = members[: members.index(place)][::-1] if place in members else []
        assert list(groups.newest(group, place)) == before
