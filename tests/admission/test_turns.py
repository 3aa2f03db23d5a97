"""A stranger who names ids that do not exist keeps nobody else waiting, and is told when it is enough."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.turns import AbsentBudget, Asker, Turns
from proxy.errors import Code
from proxy.userop.primitives import Address
from tests.chain.builders import Clock

ATTACKER = Asker("dapp", "10.0.0.1", Address(b"\x01" * 20))
OTHER = Asker("other", "10.0.0.2", Address(b"\x02" * 20))


class Room:
    """Who had a place, in order; each keeps it until the next step."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.served: list[Asker] = []
        self.inside = 0
        self.most = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, *askers: Asker) -> None:
        for asker in askers:
            self.tasks.append(asyncio.create_task(self._visit(asker)))
        await asyncio.sleep(0)

    async def _visit(self, asker: Asker) -> None:
        async with self.turns.of(asker):
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.served.append(asker)
            try:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            finally:
                self.inside -= 1

    async def all_served(self) -> list[Asker]:
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.served


@pytest.mark.parametrize(
    "victim",
    [OTHER, ATTACKER._replace(peer="10.0.0.2"), ATTACKER._replace(account=OTHER.account)],
    ids=["client", "peer", "account"],
)
async def test_a_thousand_questions_of_one_do_not_stand_before_the_first_of_another(victim: Asker) -> None:
    room = Room(places=2)
    await room.come(*[ATTACKER] * 1_000, victim)
    assert (await room.all_served()).index(victim) <= 4


async def test_a_client_with_many_addresses_is_one_client() -> None:
    room = Room(places=1)
    flood = [ATTACKER._replace(peer=f"10.1.{n % 250}.{n // 250}", account=Address(n.to_bytes(20))) for n in range(500)]
    await room.come(*flood, *[OTHER] * 3)
    served = await room.all_served()
    assert [at for at, asker in enumerate(served) if asker == OTHER] == [2, 4, 6]


async def test_who_leaves_while_waiting_or_when_its_turn_comes_takes_no_place_along() -> None:
    room = Room(places=1)
    await room.come(*[ATTACKER] * 6)
    for task in room.tasks[1:4]:
        task.cancel()
    await room.tasks[0]
    room.tasks[4].cancel()
    await room.all_served()
    await room.come(*[OTHER] * 3)
    assert (await room.all_served())[-3:] == [OTHER] * 3
    assert room.most == 1


@given(
    places=st.integers(1, 4),
    askers=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=40),
)
async def test_everybody_is_served_and_never_more_at_once_than_there_are_places(
    places: int, askers: list[tuple[int, int, int, bool]]
) -> None:
    room = Room(places)
    for client, peer, account, leaves in askers:
        await room.come(Asker(str(client), str(peer), Address(bytes([account]) * 20)))
        if leaves:
            room.tasks[-1].cancel()
    await room.all_served()
    assert room.most <= places
    assert len(room.served) >= sum(not leaves for *_, leaves in askers)
    before = len(room.served)
    await room.come(*[OTHER] * places)
    assert len(room.served) == before + places


def test_a_budget_names_itself_when_it_is_used_up_and_fills_again() -> None:
    clock = Clock()
    budget = AbsentBudget(2.0, clock)
    for _ in range(20):
        assert budget.refusal(ATTACKER) is None
        budget.spend(ATTACKER)
    refused = budget.refusal(ATTACKER)
    assert refused is not None
    assert refused.code is Code.RATE_LIMITED
    assert "limits.absent_sessions of 2 a second" in refused.sentence
    assert refused.retryable
    assert budget.refusal(OTHER) is None
    assert budget.refusal(ATTACKER._replace(account=OTHER.account)) is not None
    clock.now += 0.5
    assert budget.refusal(ATTACKER) is None


def test_a_client_with_a_budget_of_its_own_has_it_whatever_its_address() -> None:
    clock = Clock()
    budget = AbsentBudget(20.0, clock)
    bound = ATTACKER._replace(absent_rate=0.2)
    for _ in range(2):
        assert budget.refusal(bound) is None
        budget.spend(bound)
    refused = budget.refusal(bound._replace(peer="10.0.0.99"))
    assert refused is not None
    assert "clients.dapp.rates.absent_sessions of 0.2 a second is used up" in refused.sentence
    clock.now += 5.0
    assert budget.refusal(bound) is None


def test_budgets_take_bounded_room() -> None:
    budget = AbsentBudget(1.0, Clock())
    for number in range(20_000):
        budget.spend(ATTACKER._replace(peer=str(number)))
    assert len(budget._left) == 10_000
