"""Things come out when they are due, the earliest first, and not when they were taken out before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.chain.settlement import due
from proxy.chain.settlement.due import DueHeap

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "discard", "pop"]), st.integers(0, 5), st.integers(0, 20)), max_size=60
)


@given(STEPS)
def test_it_is_what_a_table_looked_through_would_be(steps: list[tuple[str, int, int]]) -> None:
    heap: DueHeap[int] = DueHeap()
    table: dict[int, int] = {}
    for verb, thing, time in steps:
        if verb == "put":
            heap.put(thing, time)
            table[thing] = time
        elif verb == "discard":
            heap.discard(thing)
            table.pop(thing, None)
        else:
            popped = list(heap.pop_due(time))
            assert [table[each] for each in popped] == sorted(at for at in table.values() if at <= time)
            table = {each: at for each, at in table.items() if at > time}
        assert len(heap) == len(table)
        assert heap.first() == min(table.values(), default=None)
        assert all((each in heap) == (each in table) for each in range(6))


def test_what_was_taken_out_before_its_time_takes_no_room() -> None:
    heap: DueHeap[int] = DueHeap()
    for number in range(50_000):
        heap.put(number, 1e9)
        heap.discard(number)
    assert len(heap._heap) <= due._SPARE + 1
