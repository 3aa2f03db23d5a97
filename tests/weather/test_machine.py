"""What is late is a fault, unless the machine owed gate and clients the time in which it would have been there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from proxy.errors import Code
from tests.chaos.gates import GateProcess
from tests.weather.clients import GRACE_SECONDS, NODE_SECONDS, Clients, Sky
from tests.weather.machine import Machine, waited_for_a_processor
from tests.weather.world import World


@dataclass
class Waits:
    """A machine's clock, and how long somebody has waited for a processor by then."""

    now: float = 0.0
    waited: float = 0.0
    machine: Machine = field(init=False)

    def __post_init__(self) -> None:
        self.machine = Machine(lambda: self.waited, lambda: self.now)

    def pass_(self, seconds: float, waiting: float) -> None:
        self.machine.note()
        self.now += seconds
        self.waited += waiting


def test_what_a_machine_owes_since_some_time_is_what_was_waited_for_a_processor_since_then() -> None:
    waits = Waits()
    waits.pass_(10, 4)
    waits.pass_(10, 1)
    waits.pass_(10, 0)
    assert [waits.machine.owed_since(at) for at in (0, 10, 20, 30)] == [5, 1, 0, 0]


def test_a_gate_that_was_killed_and_begins_to_wait_anew_is_owed_nothing_less_than_nothing() -> None:
    waits = Waits()
    waits.pass_(10, 4)
    waits.pass_(10, -4)
    assert waits.machine.owed_since(10) == 0


@pytest.mark.parametrize(("owed", "patience"), [(0, 60), (30, 90), (10_000, 300)])
def test_who_waits_is_as_much_more_patient_as_the_machine_owes_and_yet_not_for_ever(
    owed: float, patience: float
) -> None:
    waits = Waits()
    waits.pass_(10, owed)
    assert waits.machine.patience(60, 0) == patience


def test_a_process_that_has_just_ended_waits_for_nothing() -> None:
    assert waited_for_a_processor(0) == 0


@pytest.mark.parametrize(("owed", "faults"), [(NODE_SECONDS, 0), (NODE_SECONDS - 0.1, 1)])
async def test_a_word_that_nobody_can_tell_while_a_node_is_well_is_a_fault_unless_the_machine_owes_as_much(
    owed: float, faults: int, tmp_path: Path
) -> None:
    world, waits = World(Random(1)), Waits()
    clients = Clients(GateProcess(cast(Any, None), tmp_path, ""), cast(Any, None), world, sky=Sky(node_since=0.0))
    clients.machine = waits.machine
    began = 10 * GRACE_SECONDS
    waits.pass_(began - GRACE_SECONDS, 100)  # before it matters
    waits.pass_(GRACE_SECONDS, owed)
    clients.look_at("first use", {"code": Code.STATE_UNAVAILABLE}, began, clients.sky)
    assert (len(world.faults), clients.owed) == (faults, 1 - faults)


async def test_a_wrong_word_on_a_session_in_force_is_a_fault_however_busy_the_machine_is(tmp_path: Path) -> None:
    world, waits = World(Random(1)), Waits()
    clients = Clients(GateProcess(cast(Any, None), tmp_path, ""), cast(Any, None), world)
    clients.machine = waits.machine
    waits.pass_(100, 1_000)
    clients.look_at("send", {"code": Code.SESSION_UNKNOWN}, 100, clients.sky)
    assert len(world.faults) == 1
