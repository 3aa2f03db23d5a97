"""What the node says goes into the registry and onto the disk, and nothing that was settled meanwhile is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from proxy.chain.node import Node
from proxy.chain.reader import NodeReader
from proxy.chain.settlement.slices import BlockName
from proxy.chain.views import IS_MODULE_INSTALLED
from proxy.chain.witness import GET_ENTRY_POINT_NONCE, NodeWitness
from proxy.errors import ContractAbsent, StateUnavailable
from proxy.ledger.memory import MemoryLedger
from proxy.session.changes import Changes
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.facts import BaseFeeFact, PolicyConfigFact
from proxy.session.known import KnownSession, Source, Status
from proxy.session.registry import Registry
from proxy.session.state import SessionState, SessionStatus, ToldAt
from proxy.session.told import tell
from proxy.userop.decode import DecodedOperation
from proxy.userop.primitives import Address, Hash32, print_bytes
from tests.admission.builders import TWICE, key_of, known
from tests.bypass_list.desk import reading, single, use
from tests.chain.builders import FakeNode, Reverts, UpTo, accepted, hash_of_block
from tests.chain.on_chain import put_absent, put_session
from tests.patience import PATIENCE_SECONDS
from tests.session.builders import ACCOUNT, NOW, STRANGER, USAGE, enabled, transfer
from tests.session.declared_modules import name_of_key
from tests.session.signing import SESSION_KEY
from tests.session.test_granted import grant

KEY = key_of(TWICE)
STATE = enabled(TWICE)
OPERATION = reading(use(TWICE, single(transfer(1))))
((ACTION_ID, _),) = STATE.actions.items()
USES = Counter(*STATE.config_key(USAGE, STATE.action_config_id(ACTION_ID)))


def after_uses(number: int) -> SessionState:
    return STATE.with_charges([Charge(USES, number, 2)])


@dataclass
class Disk:
    """Keeps sessions; `on_keeping` happens while it writes."""

    kept: list[KnownSession] = field(default_factory=list)
    broken: bool = False
    on_keeping: Callable[[], None] = lambda: None

    async def keep(self, session: KnownSession) -> None:
        if self.broken:
            raise StateUnavailable("the store could not be written")
        self.kept.append(session)
        await asyncio.sleep(0)
        self.on_keeping()


@dataclass
class Scene:
    chain: FakeNode
    node: Node
    registry: Registry = field(default_factory=Registry)
    disk: Disk = field(default_factory=Disk)

    def __post_init__(self) -> None:
        self.reader = NodeReader(self.node, self.registry, self.disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS)

    def meanwhile(self, change: Callable[[], None], *, times: int = 1) -> None:
        """Let `change` happen while the node answers, the first so many times."""
        left = [times]

        def reply(body: dict[str, object]) -> None:
            if body["method"] == "eth_call" and left[0]:
                left[0] -= 1
                change()

        self.chain.reply = reply


@pytest.fixture
def scene(chain: FakeNode, node: Node) -> Scene:
    put_absent(chain, KEY)
    return Scene(chain, node)


# sessions


async def test_a_session_the_chain_has_becomes_known_and_is_kept(scene: Scene) -> None:
    put_session(scene.chain, after_uses(1))
    state = await scene.reader.session(KEY)
    session = scene.registry.get(KEY)
    assert session is not None
    assert session.state is state
    assert (session.status, session.source, session.block) == (Status.IN_FORCE, Source.NODE, 100)
    assert session.state is not None
    assert session.state.used[USES] == 1
    assert scene.disk.kept == [session]


async def test_that_there_is_no_module_on_the_chain_is_an_answer_of_its_own(scene: Scene) -> None:
    nowhere = KEY._replace(module=Address(b"\x11" * 20))
    with pytest.raises(ContractAbsent, match="no contract there"):
        await scene.reader.session(nowhere)


async def test_a_session_the_chain_does_not_have_is_not_added(scene: Scene) -> None:
    assert await scene.reader.session(KEY) is None
    assert scene.registry.get(KEY) is None
    assert not scene.disk.kept


async def test_a_session_in_force_that_the_chain_has_no_more_loses_its_force(scene: Scene) -> None:
    scene.registry.put(known(TWICE))
    state = await scene.reader.session(KEY)
    assert state is not None
    assert state.status is SessionStatus.REMOVED
    session = scene.registry.get(KEY)
    assert session is not None
    assert session.status is Status.REMOVED
    assert scene.disk.kept == [session]


@pytest.mark.parametrize("status", [Status.PENDING, Status.REMOVED])
async def test_a_session_not_in_force_stays_as_it_is_while_the_chain_does_not_have_it(
    scene: Scene, status: Status
) -> None:
    scene.registry.put(known(TWICE, status=status))
    before = scene.registry.get(KEY)
    assert await scene.reader.session(KEY) is None
    assert scene.registry.get(KEY) is before


async def test_a_removal_that_the_chain_tells_as_well_needs_no_other_reading(scene: Scene) -> None:
    put_session(scene.chain, STATE)
    await scene.reader.session(KEY)
    session = scene.registry.get(KEY)
    assert session is not None
    assert session.block is not None
    scene.registry.put(replace(session, status=Status.REMOVED, block=None, updated_at=1.0))
    scene.registry.note_block(KEY, session.block)  # which removed it
    scene.chain.calls.clear()
    put_absent(scene.chain, KEY)
    assert await scene.reader.reread(KEY) is None
    assert scene.registry.mined_at(KEY) is None
    after = scene.registry.get(KEY)
    assert after is not None
    assert (after.status, after.block, after.updated_at) == (Status.REMOVED, session.block, 1.0)


@pytest.mark.parametrize("status", [Status.PENDING, Status.REMOVED, Status.IN_FORCE])
async def test_a_session_the_chain_has_is_in_force_and_stays_known_for_where_it_came_from(
    scene: Scene, status: Status
) -> None:
    scene.registry.put(known(TWICE, status=status, source=Source.ENABLE))
    put_session(scene.chain, STATE)
    await scene.reader.session(KEY)
    session = scene.registry.get(KEY)
    assert session is not None
    assert (session.status, session.source, session.granted_by) == (Status.IN_FORCE, Source.ENABLE, None)


async def test_what_a_grant_told_of_its_actions_stays_known(scene: Scene) -> None:
    scene.registry.put(known(TWICE))
    put_session(scene.chain, STATE)
    state = await scene.reader.session(KEY)
    assert state is not None
    assert state.targets == STATE.targets
    assert state.targets


async def test_a_use_settled_while_the_node_was_asked_is_not_lost(scene: Scene) -> None:
    scene.registry.put(known(TWICE))
    put_session(scene.chain, STATE)

    def settle() -> None:
        scene.registry.put(known(TWICE, state=after_uses(1)))
        put_session(scene.chain, after_uses(1))

    scene.meanwhile(settle)
    state = await scene.reader.session(KEY)
    assert state is not None
    assert state.used[USES] == 1
    session = scene.registry.get(KEY)
    assert session is not None
    assert session.state is state


async def test_a_session_first_heard_of_while_the_node_was_asked_is_read_again(scene: Scene) -> None:
    put_session(scene.chain, STATE)
    scene.meanwhile(lambda: scene.registry.put(known(TWICE, source=Source.ENABLE)))
    await scene.reader.session(KEY)
    session = scene.registry.get(KEY)
    assert session is not None
    assert (session.source, session.block) == (Source.ENABLE, 100)


async def test_a_session_that_never_holds_still_is_doubt(scene: Scene) -> None:
    scene.registry.put(known(TWICE))
    put_session(scene.chain, STATE)
    scene.meanwhile(lambda: scene.registry.put(known(TWICE)), times=1000)
    with pytest.raises(StateUnavailable, match="faster than it can be read"):
        await scene.reader.session(KEY)
    assert not scene.disk.kept


async def test_a_node_that_does_not_answer_is_doubt(scene: Scene) -> None:
    scene.chain.calls.clear()
    with pytest.raises(StateUnavailable):
        await scene.reader.session(KEY)


async def test_a_reading_that_cannot_be_kept_is_doubt(scene: Scene) -> None:
    put_session(scene.chain, STATE)
    scene.disk.broken = True
    with pytest.raises(StateUnavailable):
        await scene.reader.session(KEY)


# facts

FACT = PolicyConfigFact(USAGE, STATE.action_config_id(ACTION_ID))
PARTIAL = replace(STATE, configs={})


def put_partial(scene: Scene) -> SessionState:
    """The registry knows the session without its policy's configuration, which the chain has."""
    scene.registry.put(known(TWICE, state=PARTIAL))
    put_session(scene.chain, STATE)
    return PARTIAL


async def find(scene: Scene, state: SessionState, operation: DecodedOperation = OPERATION) -> SessionState:
    return (await scene.reader.find(operation, state, [FACT])).state


async def test_a_fact_that_outlives_the_operation_goes_into_the_registry_and_onto_the_disk(scene: Scene) -> None:
    state = await find(scene, put_partial(scene))
    session = scene.registry.get(KEY)
    assert session is not None
    assert session.state is state
    assert state.configs.keys() == STATE.configs.keys()
    assert scene.disk.kept == [session]


async def test_a_session_of_which_a_fact_was_told_nobody_knows_at_which_block_is_to_be_compared(scene: Scene) -> None:
    """The chain may have left that block since, and no settled one shows it."""
    noted: list[SessionKey] = []
    scene.reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), taken=lambda key, _: noted.append(key)
    )
    await find(scene, put_partial(scene))
    assert noted == [KEY]


async def test_a_burst_of_first_uses_asks_once_and_everybody_has_the_answer(scene: Scene) -> None:
    state = put_partial(scene)
    states = await asyncio.gather(*(find(scene, state) for _ in range(30)))
    assert all(each.configs.keys() == STATE.configs.keys() for each in states)
    assert len(scene.disk.kept) == 1


async def test_a_fact_about_a_session_that_is_not_registered_is_for_this_operation_only(scene: Scene) -> None:
    put_session(scene.chain, STATE)
    assert (await find(scene, PARTIAL)).configs.keys() == STATE.configs.keys()
    assert scene.registry.get(KEY) is None
    assert not scene.disk.kept


async def test_facts_that_are_good_once_leave_the_registry_alone(scene: Scene) -> None:
    scene.registry.put(known(TWICE))
    before = scene.registry.get(KEY)
    assert before is not None
    assert before.state is not None
    found = await scene.reader.find(OPERATION, before.state, [BaseFeeFact()])
    assert found.base_fee == 7
    assert found.state is before.state
    assert scene.registry.get(KEY) is before
    assert not scene.disk.kept


async def test_a_use_settled_while_a_fact_was_asked_for_is_in_the_state_that_comes_back(scene: Scene) -> None:
    state = put_partial(scene)
    charged = replace(PARTIAL, used={USES: 1})
    scene.meanwhile(lambda: scene.registry.put(known(TWICE, state=charged)))
    assert await find(scene, state) is charged
    assert not scene.disk.kept


async def test_a_use_settled_while_a_passing_fact_was_asked_for_is_in_the_state_that_comes_back(scene: Scene) -> None:
    scene.registry.put(known(TWICE, state=STATE))
    charged = after_uses(2)

    def reply(body: dict[str, object]) -> None:
        scene.registry.put(known(TWICE, state=charged))

    scene.chain.reply = reply
    found = await scene.reader.find(OPERATION, STATE, [BaseFeeFact()])
    assert found.state is charged
    assert found.base_fee == 7


async def test_a_use_settled_while_a_fact_was_written_down_is_in_the_state_that_comes_back(scene: Scene) -> None:
    state = put_partial(scene)
    scene.disk.on_keeping = lambda: scene.registry.put(known(TWICE, state=after_uses(2)))
    assert (await find(scene, state)).used[USES] == 2


async def test_a_session_changed_beyond_reading_while_a_fact_was_asked_for_is_doubt(scene: Scene) -> None:
    state = put_partial(scene)
    scene.meanwhile(lambda: scene.registry.put(replace(known(TWICE), state=None)))
    with pytest.raises(StateUnavailable):
        await find(scene, state)


async def test_the_delegate_of_an_account_is_read_from_its_code(scene: Scene) -> None:
    assert await scene.reader.delegate(ACCOUNT) is None
    scene.chain.codes[ACCOUNT] = bytes.fromhex("ef0100") + b"\xde" * 20
    assert await scene.reader.delegate(ACCOUNT) == Address(b"\xde" * 20)


# how long, through which client, and of which chain


class SilentNode(FakeNode):
    """Takes questions and says nothing."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("ask", ["session", "find", "delegate"])
async def test_who_waits_is_given_up_on_after_one_deadline_over_queueing_and_asking(ask: str) -> None:
    server = await SilentNode().start()
    node = Node(str(server.make_url("/")), timeout_seconds=60)
    registry = Registry()
    registry.put(known(TWICE))
    reader = NodeReader(node, registry, Disk().keep, lambda: float(NOW), seconds=0.02)
    for _ in range(3):  # the second comes to a queue
        with pytest.raises(StateUnavailable, match=r"did not tell within 0\.02 s"):
            await {
                "session": lambda: reader.session(KEY),
                "find": lambda: reader.find(OPERATION, STATE, [BaseFeeFact()]),
                "delegate": lambda: reader.delegate(ACCOUNT),
            }[ask]()
    await node.close()
    await server.close()


async def test_what_nobody_waits_for_is_read_through_a_client_of_its_own(scene: Scene) -> None:
    silent = await SilentNode().start()
    busy = Node(str(silent.make_url("/")), timeout_seconds=60)
    put_session(scene.chain, after_uses(1))
    ledger, held = MemoryLedger(), accepted(1, KEY, Charge(USES, 1, 2)).reservation
    ledger.restore(held)
    scene.chain.view(held.slot.entry_point, GET_ENTRY_POINT_NONCE, ACCOUNT, 0, returns=(2,))
    reader = NodeReader(
        scene.node,
        scene.registry,
        scene.disk.keep,
        lambda: float(NOW),
        background=busy,
        ledger=ledger,
        witness_at=NodeWitness,
    )
    rereads = [asyncio.create_task(reader.reread(KEY)) for _ in range(40)]
    await asyncio.sleep(0)
    assert await reader.session(KEY) is not None
    assert ledger.in_flight(USES) == 0  # by its nonce, which is asked for on the same way
    for task in rereads:
        task.cancel()
    await asyncio.gather(*rereads, return_exceptions=True)
    await busy.close()
    await silent.close()


def told_of_its_block(told: dict[str, Any] | None, *, times: int) -> Callable[[dict[str, Any]], web.Response | None]:
    """Whoever asks for a block by its number hears this of it, so often."""
    left = [times]

    def reply(body: dict[str, Any]) -> web.Response | None:
        if body["method"] != "eth_getBlockByNumber" or body["params"][0] == "latest" or not left[0]:
            return None
        left[0] -= 1
        result = None if told is None else {"number": body["params"][0], **told}
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result})

    return reply


ANOTHER_BLOCK = {"hash": "0x" + "ee" * 32, "parentHash": "0x" + "ed" * 32, "timestamp": "0x1"}


async def test_a_session_read_at_a_block_that_has_gone_meanwhile_is_doubt(scene: Scene) -> None:
    put_session(scene.chain, after_uses(1))
    scene.chain.reply = told_of_its_block(ANOTHER_BLOCK, times=100)
    with pytest.raises(StateUnavailable, match="not on the chain any more"):
        await scene.reader.session(KEY)
    assert scene.registry.get(KEY) is None


@pytest.mark.parametrize("told", [pytest.param(ANOTHER_BLOCK, id="gone"), pytest.param(None, id="not there yet")])
async def test_a_session_whose_block_is_gone_or_not_at_the_one_that_answers_last_is_read_at_another_one(
    scene: Scene, told: dict[str, Any] | None
) -> None:
    """Of several behind one balancer the next may be some blocks behind."""
    put_session(scene.chain, after_uses(1))
    reply = told_of_its_block(told, times=1)
    answered: list[web.Response] = []

    def watched(body: dict[str, Any]) -> web.Response | None:
        if (response := reply(body)) is not None:
            answered.append(response)
        return response

    scene.chain.reply = watched
    state = await scene.reader.session(KEY)
    assert (len(answered), None if state is None else state.used[USES]) == (1, 1)


def misnames(body: dict[str, Any]) -> web.StreamResponse | None:
    """A block asked for by its number is another one."""
    if body["method"] != "eth_getBlockByNumber" or body["params"][0] == "latest":
        return None
    block = {"number": "0x1", "hash": "0x" + "ee" * 32, "parentHash": "0x" + "ed" * 32, "timestamp": "0x1"}
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": block})


def has_no_blocks(body: dict[str, Any]) -> web.StreamResponse | None:
    """But for its newest one."""
    if body["method"] != "eth_getBlockByNumber" or body["params"][0] == "latest":
        return None
    return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": None})


@pytest.mark.parametrize(
    ("wrong", "is_better", "looked"),
    [
        pytest.param(has_no_blocks, True, [True], id="no blocks, another that is better"),
        pytest.param(has_no_blocks, False, [False], id="no blocks, none that is better"),
        pytest.param(misnames, True, [], id="misnamed: another is asked before anybody looks"),
    ],
)
async def test_who_is_told_nothing_by_one_node_is_told_by_another_one_that_is_better(
    wrong: Callable[[dict[str, Any]], web.StreamResponse | None], is_better: bool, looked: list[bool]
) -> None:
    tables, looks = [FakeNode(), FakeNode()], list[bool]()
    servers = [await table.start() for table in tables]
    for table in tables:
        put_session(table, after_uses(1))
    node = Node([str(server.make_url("/")) for server in servers], timeout_seconds=PATIENCE_SECONDS)

    async def look() -> None:
        looks.append(is_better and await node.leave(1868, "its word is in vain", 0, None))

    disk = Disk()
    reader = NodeReader(node, Registry(), disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, doubted=look)
    tables[0].reply = wrong
    if is_better:
        assert await reader.session(KEY) is not None
    else:
        with pytest.raises(StateUnavailable, match="has not got"):
            await reader.session(KEY)
    assert (looks, node.at, len(disk.kept)) == (looked, int(is_better), int(is_better))
    await node.close()
    for server in servers:
        await server.close()


GONE = Hash32(b"\xee" * 32)


@pytest.mark.parametrize("number", [90, 100])
async def test_while_blocks_that_are_gone_are_not_taken_back_no_reading_of_another_chain_is_believed(
    scene: Scene, number: int
) -> None:
    """What had ended in them would be neither in the reading nor in flight, and its use free once more."""
    put_session(scene.chain, after_uses(1))
    settled, looks = UpTo(BlockName(number, GONE)), list[int]()

    async def in_vain() -> None:
        looks.append(number)

    scene.reader = NodeReader(
        scene.node,
        scene.registry,
        scene.disk.keep,
        lambda: float(NOW),
        look_back=in_vain,
        seconds=PATIENCE_SECONDS,
        followed=settled,
    )
    with pytest.raises(StateUnavailable, match="took back blocks that are settled"):
        await scene.reader.session(KEY)
    assert (len(looks), scene.registry.get(KEY), scene.disk.kept) == (3, None, [])


async def test_what_a_question_showed_in_a_block_that_is_gone_makes_a_reading_without_it_not_believed(
    scene: Scene,
) -> None:
    """The block is beyond those that were followed: nothing of these has taken it back."""
    put_session(scene.chain, after_uses(1))
    settled = UpTo(BlockName(90, hash_of_block(90)), shown=(BlockName(94, hash_of_block(94)), BlockName(95, GONE)))
    scene.reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, followed=settled
    )
    with pytest.raises(StateUnavailable, match="took back blocks that are settled"):
        await scene.reader.session(KEY)
    settled.shown = settled.shown[:1]
    assert await scene.reader.session(KEY) is not None


ANOTHER_BRANCH = 0xB << 248


@dataclass
class LeftAfter:
    """The chain has left the blocks after this one: `FakeNode` has others in their place."""

    number: int

    def name(self, number: int) -> BlockName:
        above = ANOTHER_BRANCH if number > self.number else 0
        return BlockName(number, hash_of_block(number | above))

    def reply(self, body: dict[str, Any], head: int) -> web.StreamResponse | None:
        if body["method"] != "eth_getBlockByNumber":
            return None
        asked = body["params"][0]
        number = head if asked == "latest" else int(asked, 16)
        told = {
            "number": hex(number),
            "hash": print_bytes(self.name(number).hash),
            "parentHash": print_bytes(self.name(number - 1).hash),
            "timestamp": "0x1",
        }
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": told})


@pytest.mark.parametrize(
    ("cursor", "shown"),
    [
        pytest.param(90, 100, id="shown in the block that took the place of the one that was read"),
        pytest.param(90, 97, id="shown in an earlier one"),
        pytest.param(20, 97, id="shown there while many blocks are caught up with"),
        pytest.param(97, None, id="settled in an earlier one"),
        pytest.param(100, None, id="settled in that which took its place"),
    ],
)
async def test_a_reading_of_a_branch_that_the_chain_has_left_is_not_believed_for_what_the_node_has_by_now(
    scene: Scene, cursor: int, shown: int | None
) -> None:
    """An operation that ended in the other branch would be neither in the reading nor in flight."""
    put_session(scene.chain, after_uses(1))
    after, looks = LeftAfter(94), list[int]()
    settled = UpTo(BlockName(20, hash_of_block(20)))

    async def look_back() -> None:
        looks.append(1)
        put_session(scene.chain, after_uses(2))
        scene.chain.reply = lambda body: after.reply(body, scene.chain.block)
        settled.cursor = after.name(cursor)
        settled.shown = () if shown is None else (after.name(shown),)

    scene.reader = NodeReader(
        scene.node,
        scene.registry,
        scene.disk.keep,
        lambda: float(NOW),
        look_back=look_back,
        seconds=PATIENCE_SECONDS,
        followed=settled,
    )
    state = await scene.reader.session(KEY)
    assert state is not None
    assert (len(looks), state.used[USES], settled.read) == (2, 2, {KEY: after.name(100)})


async def test_a_reading_of_a_branch_that_is_left_while_it_is_looked_at_is_not_believed(scene: Scene) -> None:
    put_session(scene.chain, after_uses(1))
    after, settled = LeftAfter(94), UpTo(BlockName(90, hash_of_block(90)))

    def leave_meanwhile(body: dict[str, Any]) -> web.StreamResponse | None:
        if body["method"] == "eth_getBlockByNumber" and body["params"][0] == hex(91):  # what it stands on is asked
            put_session(scene.chain, after_uses(2))
            settled.cursor = after.name(97)
            scene.chain.reply = lambda body: after.reply(body, scene.chain.block)
        return None

    scene.chain.reply = leave_meanwhile
    scene.reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, followed=settled
    )
    state = await scene.reader.session(KEY)
    assert state is not None
    assert (state.used[USES], settled.read) == (2, {KEY: after.name(100)})


async def test_what_a_reading_next_to_the_newest_settled_block_stands_on_is_asked_nowhere(scene: Scene) -> None:
    put_session(scene.chain, after_uses(1))
    settled, numbers = UpTo(BlockName(99, hash_of_block(99))), list[str]()

    def watch(body: dict[str, Any]) -> None:
        if body["method"] == "eth_getBlockByNumber":
            numbers.append(body["params"][0])

    scene.chain.reply = watch
    scene.reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, followed=settled
    )
    assert await scene.reader.session(KEY) is not None
    assert numbers == ["latest", hex(100)]


@pytest.mark.parametrize("number", [90, 100])
async def test_once_they_are_taken_back_the_session_is_read_anew(scene: Scene, number: int) -> None:
    put_session(scene.chain, after_uses(1))
    settled, looks = UpTo(BlockName(number, GONE)), list[int]()

    async def look_back() -> None:
        looks.append(number)
        if len(looks) == 2:
            settled.cursor = BlockName(number, hash_of_block(number))

    scene.reader = NodeReader(
        scene.node,
        scene.registry,
        scene.disk.keep,
        lambda: float(NOW),
        look_back=look_back,
        seconds=PATIENCE_SECONDS,
        followed=settled,
    )
    assert await scene.reader.session(KEY) is not None
    assert (len(looks), len(scene.disk.kept)) == (2, 1)


async def test_a_reading_whose_block_another_took_the_place_of_while_it_was_looked_at_is_not_believed(
    scene: Scene,
) -> None:
    put_session(scene.chain, after_uses(1))
    settled, asked = UpTo(BlockName(90, hash_of_block(90))), list[str]()

    def settle_meanwhile(body: dict[str, Any]) -> None:
        asked.append(body["method"])
        if body["method"] == "eth_getBlockByNumber" and body["params"][0] == hex(91):
            settled.cursor = BlockName(100, GONE)

    scene.chain.reply = settle_meanwhile
    scene.reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, followed=settled
    )
    with pytest.raises(StateUnavailable, match="took back blocks that are settled"):
        await scene.reader.session(KEY)
    assert (settled.read, scene.registry.get(KEY)) == ({}, None)


async def test_a_session_of_which_an_operation_is_in_flight_again_while_it_is_read_is_read_again(scene: Scene) -> None:
    """That its use is in the reading would be known to nobody."""
    put_session(scene.chain, after_uses(1))
    looks = list[int]()

    async def look_back() -> None:
        looks.append(1)
        if len(looks) == 1:
            scene.registry.revise(KEY)  # as an end that is undone does

    scene.reader = NodeReader(scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), look_back=look_back)
    assert await scene.reader.session(KEY) is not None
    assert len(looks) == 2


async def test_whoever_follows_the_blocks_hears_at_which_one_a_session_was_read_and_of_none_that_is_not_there(
    scene: Scene,
) -> None:
    settled = UpTo(BlockName(90, hash_of_block(90)))
    scene.reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, followed=settled
    )
    assert await scene.reader.session(KEY) is None
    assert settled.read == {}
    put_session(scene.chain, after_uses(1))
    assert await scene.reader.session(KEY) is not None
    assert settled.read == {KEY: BlockName(scene.chain.block, hash_of_block(scene.chain.block))}
    settled.read.clear()
    put_absent(scene.chain, KEY)
    scene.chain.block += 1
    assert await scene.reader.session(KEY) is not None
    assert settled.read == {KEY: BlockName(scene.chain.block, hash_of_block(scene.chain.block))}


@pytest.mark.parametrize(("blocks", "told"), [(1, True), (9, False)])
async def test_a_reading_that_a_settled_block_outruns_is_taken_anew_a_few_times(
    scene: Scene, blocks: int, told: bool
) -> None:
    put_session(scene.chain, after_uses(1))
    scene.registry.put(replace(known(TWICE), state=None))
    left = [blocks]

    async def look_back() -> None:
        if left[0]:
            left[0] -= 1
            scene.chain.block += 1
            scene.registry.note_block(KEY, scene.chain.block)

    reader = NodeReader(scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), look_back=look_back)
    if told:
        assert await reader.session(KEY) is not None
    else:
        with pytest.raises(StateUnavailable):
            await reader.session(KEY)
    assert left == [0 if told else blocks - 3]


@pytest.mark.parametrize("is_better", [True, False])
async def test_who_is_told_less_than_is_known_by_one_node_is_told_by_another_one_that_is_not_behind(
    is_better: bool,
) -> None:
    tables = [FakeNode(block=99), FakeNode()]
    servers = [await table.start() for table in tables]
    for uses, table in enumerate(tables, 1):
        put_session(table, after_uses(uses))
    node = Node([str(server.make_url("/")) for server in servers], timeout_seconds=PATIENCE_SECONDS)

    async def look() -> None:
        if is_better:
            await node.leave(1868, "its newest block is 99, and 100 is settled", 100, None)

    registry = Registry()
    registry.put(known(TWICE))
    registry.began_at([KEY], 100)  # what was known before does not count
    reader = NodeReader(node, registry, Disk().keep, lambda: float(NOW), seconds=PATIENCE_SECONDS, doubted=look)
    await reader.session(KEY)
    assert (registry.mined_at(KEY), node.at) == ((None, 1) if is_better else (100, 0))
    await node.close()
    for server in servers:
        await server.close()


async def test_each_reading_is_told_and_whether_it_is_what_was_known(scene: Scene) -> None:
    told: list[bool] = []
    scene.reader = NodeReader(
        scene.node,
        scene.registry,
        scene.disk.keep,
        lambda: float(NOW),
        taken=lambda _, agrees: told.append(agrees),
    )
    for uses in (1, 1, 2, 2):
        put_session(scene.chain, after_uses(uses))
        await scene.reader.session(KEY)
    assert told == [False, True, False, True]


async def test_a_session_whose_account_has_dropped_the_module_is_in_force_no_more_until_it_has_it_again(
    chain: FakeNode, node: Node
) -> None:
    scene = Scene(chain, node)
    put_session(chain, STATE)
    asked = (ACCOUNT, IS_MODULE_INSTALLED, 1, KEY.module, b"")
    for has, status in ((True, Status.IN_FORCE), (False, Status.REMOVED), (True, Status.IN_FORCE)):
        chain.view(*asked, returns=(has,))
        state = await scene.reader.session(KEY)
        # the module keeps it: what the chain would say of an operation is judged as before
        assert state is not None
        assert state.enabled
        assert scene.registry.status_of(KEY) is status
        assert scene.disk.kept[-1].status is status


@pytest.mark.parametrize("answer", [Reverts(), b"", bytes(64)])
async def test_an_account_that_does_not_say_has_not_dropped_it(
    chain: FakeNode, node: Node, answer: Reverts | bytes
) -> None:
    scene = Scene(chain, node)
    put_session(chain, STATE)
    chain.calls[ACCOUNT, IS_MODULE_INSTALLED.call_data(1, KEY.module, b"")] = answer
    await scene.reader.session(KEY)
    assert scene.registry.status_of(KEY) is Status.IN_FORCE


async def test_of_a_declared_module_the_newest_block_is_heard_and_nothing_is_read(scene: Scene) -> None:
    told = name_of_key(SESSION_KEY)
    changes = Changes(
        user_op_hash=Hash32(bytes(32)), chain_id=told.chain_id, account=told.account, at_validation=(grant(),)
    )

    async def catch_up() -> None:
        tell(scene.registry, changes, ToldAt(7, 0), 1.0)

    reader = NodeReader(
        scene.node, scene.registry, scene.disk.keep, lambda: float(NOW), look_back=catch_up, declared=(told.module,)
    )
    state = await reader.session(told)
    known = scene.registry.get(told)
    assert known is not None
    assert state == known.state
    assert await reader.session(told._replace(account=STRANGER)) is None
    assert (scene.chain.asked, scene.disk.kept) == ([], [])
