"""The garbage collector of a gate: it has little to find, and never looks at very much at once."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest

import proxy
from proxy.edge.collector import Collector, keep_what_was_made
from proxy.edge.storage.database import Synchronous, open_database
from proxy.judge.evaluate import Judge
from proxy.ledger import sqlite
from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.prompt_commit import entering
from proxy.session.changes import Changes
from proxy.userop.user_operation import print_user_operation
from tests.admission.builders import known, lane
from tests.bench.packs import BLOCK, Bench, rules_as_shipped, shapes
from tests.bypass_list.desk import single, use
from tests.cost.counter import FREE, Counter
from tests.cost.search import kept
from tests.gate_parts import ENTRY_POINT, GOOD, OUTSIDE, SEND, scene
from tests.ledger.builders import reservation
from tests.ports import free_ports
from tests.running_gate import hash_of, request, running_gate, submission
from tests.session.builders import transfer

ONE_RULE = "rules:\n  - {{id: few, description: d, match: {{session: true}}, when: value > {} ETH}}\n"
OURS = str(Path(proxy.__file__).parent)
FEW = 20_000
"""Objects that are looked at in a few milliseconds."""


@dataclass
class Serving:
    """A collector at work, how many objects each of its looks had before it, and what it has put off."""

    peak: int = 100
    looks: list[int] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)
    after: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        put_off = self.after.append
        self.collector = Collector(self.later.append, lambda _seconds, call: put_off(call), lambda: self.peak)

    def go_on(self) -> None:
        """Some time goes by, and the loop comes to what was put off."""
        due, self.after[:] = [*self.later, *self.after], []
        self.later.clear()
        for call in due:
            call()

    def __enter__(self) -> Serving:
        self.collector.begin()
        gc.callbacks.append(self._look)
        return self

    def __exit__(self, *_failure: object) -> None:
        gc.callbacks.remove(self._look)
        self.collector.end()

    def _look(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self.looks.append(sum(len(gc.get_objects(each)) for each in range(info["generation"] + 1)))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.unfreeze()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def churn() -> None:
    """Much is under way, and as much of it ends as begins, but for a few more now and then."""
    under_way: deque[list[int]] = deque()
    for number in range(300_000):
        under_way.append([number])
        if len(under_way) > 60_000 + (number // 5_000 % 2) * 5_000:
            under_way.popleft()
            under_way.popleft()


def rings(many: int) -> None:
    """Objects that refer to themselves, and that nobody else refers to."""
    for _ in range(many):
        ring: list[object] = []
        ring.append(ring)


def test_however_much_is_made_and_stays_each_look_is_at_a_few() -> None:
    with Serving() as serving:
        kept = [[number] for number in range(300_000)]
        assert len(kept) == 300_000
        assert len(serving.looks) > 10
        assert max(serving.looks) < FEW


def test_where_as_much_ends_as_begins_each_look_is_at_a_few_however_much_is_under_way() -> None:
    with Serving() as serving:
        churn()
        assert len(serving.looks) > 10
        assert max(serving.looks) < FEW


def test_what_goes_round_in_a_circle_and_is_let_go_of_soon_is_found() -> None:
    with Serving() as serving:
        frozen = gc.get_freeze_count()
        rings(300_000)
        assert max(serving.looks) < FEW
        assert len(gc.get_objects()) + gc.get_freeze_count() - frozen < FEW


def test_as_long_as_nothing_is_found_most_of_what_is_made_is_not_looked_at() -> None:
    with Serving() as serving:
        kept = [[number] for number in range(1_000_000)]
        assert len(kept) == 1_000_000
        assert sum(serving.looks) < 800_000  # what is looked at twice is twice in it
        assert max(serving.looks) < FEW


def test_what_goes_round_in_a_circle_after_a_long_time_without_any_is_found_soon() -> None:
    with Serving() as serving:
        kept = [[number] for number in range(1_000_000)]
        gone = gc.get_freeze_count() + len(gc.get_objects())
        rings(300_000)
        left = gc.get_freeze_count() + len(gc.get_objects()) - gone
        assert left < 4 * FEW, "at most those of the looks that were left out"
        del kept
        gone = gc.get_freeze_count() + len(gc.get_objects())
        rings(300_000)
        assert gc.get_freeze_count() + len(gc.get_objects()) - gone < FEW, "none is left out where something is found"
        assert max(serving.looks) < FEW


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


def grown(
    serving: Serving, alive: list[list[int]], peak: int = 151, *, others_are_found: bool = True
) -> weakref.ref[Ring]:
    """Something that goes round in a circle and was let go of long ago; memory, which was 100, is `peak`."""
    ring = Ring()
    found = weakref.ref(ring)
    alive += [[number] for number in range(100_000)]  # meanwhile
    del ring
    alive += [[number] for number in range(100_000)]
    if others_are_found:
        rings(20_000)
    assert found() is not None
    assert not serving.later
    serving.peak = peak
    alive += [[number] for number in range(100_000)]
    return found


def test_what_went_round_in_a_circle_for_long_is_found_once_memory_has_grown_by_half() -> None:
    alive: list[list[int]] = []
    with Serving() as serving:
        found = grown(serving, alive)
        serving.go_on()
        assert found() is not None, "what is made right now is not waited for"
        serving.go_on()
        assert found() is None
        alive += [[number] for number in range(100_000)]
        assert (serving.later, serving.after) == ([], []), "it has not grown since"


def test_all_there_is_is_looked_at_when_little_is_made_or_memory_has_doubled() -> None:
    alive: list[list[int]] = []
    with Serving() as serving:
        found = grown(serving, alive)
        for _ in range(5):
            serving.go_on()
            alive += [[number] for number in range(100_000)]
        assert found() is not None, "it is busy"
        serving.peak = 201
        serving.go_on()
        assert found() is None


def test_where_nothing_goes_round_in_a_circle_all_there_is_is_looked_at_once_there_is_three_times_as_much() -> None:
    alive: list[list[int]] = []
    with Serving() as serving:
        found = grown(serving, alive, 299, others_are_found=False)
        assert (serving.later, serving.after) == ([], [])
        serving.peak = 301
        alive += [[number] for number in range(100_000)]
        serving.go_on()
        alive += [[number] for number in range(100_000)]
        serving.go_on()
        assert found() is not None, "it is busy"
        serving.go_on()
        assert found() is None


def test_nor_is_anybody_kept_waiting_for_it_however_much_there_is() -> None:
    alive: list[list[int]] = []
    with Serving() as serving:
        found = grown(serving, alive, 10_000, others_are_found=False)
        for _ in range(5):
            serving.go_on()
            alive += [[number] for number in range(100_000)]
        assert found() is not None, "it is busy"
        rings(20_000)
        serving.go_on()
        assert found() is None, "there are circles"


def test_memory_that_grows_is_noticed_where_all_looks_are_left_out() -> None:
    with Serving() as serving:
        serving.peak = 301
        churn()
        assert serving.later


def test_what_was_put_off_is_not_looked_at_any_more_when_the_gate_ends() -> None:
    alive: list[list[int]] = []
    with Serving() as serving:
        grown(serving, alive)
        serving.go_on()
    serving.go_on()
    assert (serving.later, serving.after) == ([], [])
    assert gc.get_freeze_count() == 0, "the look would have frozen what it left"


def test_what_thousands_of_rules_are_read_into_is_not_looked_through() -> None:
    with Serving() as serving:
        gc.disable()
        kept = [[number] for number in range(300_000)]
        keep_what_was_made()
        gc.enable()
        kept += [[number] for number in range(30_000)]
        assert serving.looks
        assert max(serving.looks) < FEW


def test_without_a_gate_that_serves_nothing_is_put_out_of_its_reach() -> None:
    keep_what_was_made()
    assert gc.get_freeze_count() == 0


async def test_nothing_of_ours_that_an_operation_leaves_behind_waits_for_the_collector() -> None:
    served = scene()
    await served.ask(SEND, print_user_operation(GOOD), ENTRY_POINT)
    gc.collect()
    gc.disable()
    for op in (GOOD, OUTSIDE) * 5:
        await served.ask(SEND, print_user_operation(op), ENTRY_POINT)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    assert not left_behind()


def test_nothing_of_ours_that_an_operation_under_the_shipped_rules_leaves_behind_waits_for_the_collector(
    tmp_path: Path,
) -> None:
    for place, shape in enumerate(shapes()):
        bench = Bench(shape, Judge(rules_as_shipped()), tmp_path / f"{place}.db")
        with closing(bench.database):
            for _ in range(2 * BLOCK):
                bench.one()
            gc.collect()
            gc.disable()
            for _ in range(2 * BLOCK):
                bench.one()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            assert not left_behind(), shape.name
            gc.set_debug(0)
            gc.enable()


def test_nothing_of_ours_that_the_worst_of_all_requests_leave_behind_waits_for_the_collector() -> None:
    counter = Counter()
    bodies = [worst.body() for _, worst in kept()]
    for body in bodies:
        counter.serve(body)
    serve = [counter.prepare(body) for body in bodies]  # by gates that are there before and after
    gc.collect()
    gc.disable()
    for each in serve:
        each()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    assert not left_behind()
    counter.close()


def test_nothing_of_ours_that_a_batch_for_the_disk_leaves_behind_waits_for_the_collector(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "ledger.db", synchronous=Synchronous.NORMAL)) as database:
        jobs = [[sqlite.begin(accepted(number))] for number in range(20)]
        gc.collect()
        gc.disable()
        for job in jobs:
            for _ in entering(database, [job], ("SELECT 1", ()), None):
                pass
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not left_behind()


def accepted(number: int) -> AcceptedOperation:
    held = reservation(number, 1)
    changes = Changes(user_op_hash=held.user_op_hash, chain_id=held.slot.chain_id, account=held.slot.sender)
    return AcceptedOperation(reservation=held, changes=changes, accepted_at=float(number))


async def test_nothing_of_ours_that_a_connection_leaves_behind_waits_for_the_collector() -> None:
    async with running_gate() as gate:

        async def come_and_go() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", gate.running.rpc_port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: gate\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()

        await come_and_go()
        await come_and_go()
        gc.collect()
        gc.disable()
        for _ in range(20):
            await come_and_go()
        await come_and_go()  # by then those before are seen to
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not left_behind()


async def test_nothing_of_ours_that_websockets_batches_and_new_rules_leave_behind_waits_for_the_collector(
    tmp_path: Path,
) -> None:
    rules, calls = tmp_path / "ours.yaml", json.dumps([request("eth_chainId"), request("eth_gasPrice"), {}])
    rules.write_text(ONE_RULE.format(1))
    async with running_gate(rules=[str(rules)]) as gate:

        async def come_and_go() -> None:
            async with gate.http.ws_connect(gate.url) as socket:
                for each in (calls, "[", json.dumps(request("eth_chainId"))):
                    await socket.send_str(each)
                    assert await socket.receive_str()
            for kind in ("application/json", "text/plain"):
                async with gate.http.post(gate.url, data=calls, headers={"content-type": kind}) as response:
                    assert len(await response.json()) == 3

        async def all_of_it(number: int) -> None:
            for _ in range(5):
                await come_and_go()
            rules.write_text(ONE_RULE.format(number))
            assert (await gate.change("POST", "/rules/reload", {}))["ok"]

        for number in (2, 3):
            await all_of_it(number)
        gc.collect()
        gc.disable()
        for number in (4, 5):
            await all_of_it(number)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not left_behind()


async def test_nothing_of_ours_that_is_asked_of_bundlers_that_are_not_there_waits_for_the_collector() -> None:
    nobody = {"bundlers": [f"http://127.0.0.1:{port}" for port in free_ports(2)]}
    async with running_gate(chain=nobody) as gate:
        gate.running.registry.put(known(FREE))

        async def ask(number: int) -> None:
            op = use(FREE, single(transfer(1)), nonce=lane(number))
            receipt = request("eth_getUserOperationReceipt", hash_of(op))
            asked = [submission(op), submission(op, "eth_estimateUserOperationGas"), receipt]
            for each in (*asked, asked):
                assert b"no bundler answered" in (await gate.post(each))[1]

        for number in range(3):
            await ask(number)
        gc.collect()
        gc.disable()
        for number in range(3, 6):
            await ask(number)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not left_behind()


def left_behind() -> set[str]:
    """What of ours the collector had to find."""
    found = {f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage}
    frames = [each.f_code for each in gc.garbage if isinstance(each, FrameType)]
    ours = {f"a frame of {each.co_qualname}" for each in frames if each.co_filename.startswith(OURS)}
    return ours | {name for name in found if name.startswith("proxy.")}
