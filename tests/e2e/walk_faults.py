"""What is made to be wrong with a gate's neighbours, one thing after the other, and how it is mended."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from itertools import count

from proxy.userop.primitives import print_bytes
from proxy.userop.user_operation import UserOperation
from tests.bypass_list.desk import a_session
from tests.chaos.gates import writer_of
from tests.e2e.walk_stage import MANY, Fault, Stage, again_and_again, fixed
from tests.edge.alerts.builders import recording_sink
from tests.edge.recording_bundler import Answer
from tests.running_gate import RECEIPT, SEND, request, submission
from tests.session.builders import OTHER_TOKEN, TOKEN, TRANSFER, action, usage

# who uses it


@asynccontextmanager
async def many_are_refused(stage: Stage) -> AsyncIterator[None]:
    async with again_and_again(stage.refused, 0.05):
        yield


@asynccontextmanager
async def frozen_session(stage: Stage) -> AsyncIterator[None]:
    await stage.change("/freezes", {"permissionId": print_bytes(MANY.permission_id), "note": "a lost phone"})
    async with again_and_again(stage.send, 0.5):
        yield


@asynccontextmanager
async def something_is_sent(stage: Stage) -> AsyncIterator[None]:
    async with again_and_again(stage.send, 0.5):
        yield


@asynccontextmanager
async def most_of_a_window_is_used(stage: Stage) -> AsyncIterator[None]:
    sent = [await stage.send() for _ in range(9)]
    yield
    for op in sent:  # what is in flight counts for as long as it is
        stage.bundler.mine(op)


# what becomes of operations


@asynccontextmanager
async def mined(stage: Stage, *, after: float, success: bool) -> AsyncIterator[None]:
    """What is sent, every half a second, is mined so many seconds later."""
    mining: set[asyncio.Task[None]] = set()

    async def mine(op: UserOperation) -> None:
        await asyncio.sleep(after)
        stage.bundler.mine(op, success=success)

    async def one() -> None:
        task = asyncio.create_task(mine(await stage.send()))
        mining.add(task)
        task.add_done_callback(mining.discard)

    async with again_and_again(one, 0.5):
        yield
    await asyncio.gather(*mining)


@asynccontextmanager
async def never_mined(stage: Stage) -> AsyncIterator[None]:
    """Whoever is asked says that it is not there."""
    stage.bundler.answers["eth_getUserOperationByHash"] = Answer(result=None)
    await stage.send()
    yield


@asynccontextmanager
async def sends_hang(stage: Stage) -> AsyncIterator[None]:
    """Of the first bundler; its probes are answered."""
    hung, over = stage.bundler.answers[SEND], asyncio.Event()

    async def hang(_: object) -> Answer:
        await over.wait()
        return Answer(error={"code": -32500, "message": "too late"})

    stage.bundler.answers[SEND] = hang
    async with again_and_again(stage.send, 0.5):
        yield
    stage.bundler.answers[SEND] = hung
    over.set()
    for _ in range(30):  # a rest is ended by one that is sent when it is over
        await stage.send()
        await asyncio.sleep(1)


# its own house


@asynccontextmanager
async def ledger_is_locked(stage: Stage) -> AsyncIterator[None]:
    with closing(sqlite3.connect(stage.gate.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with again_and_again(stage.send, 0.5):
            yield


@asynccontextmanager
async def ledger_is_renamed(stage: Stage) -> AsyncIterator[None]:
    elsewhere = stage.gate.database.with_name("elsewhere.db")
    stage.gate.database.rename(elsewhere)
    yield
    elsewhere.rename(stage.gate.database)


@asynccontextmanager
async def trail_cannot_be_written(stage: Stage) -> AsyncIterator[None]:
    """Until more is told than may wait, and some of it is lost."""
    writer = writer_of(stage.gate)
    before = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (1, before[1]))
    batch = [submission(stage.use(token=OTHER_TOKEN), request_id=number) for number in range(50)]

    async def fifty() -> None:
        async with stage.http.post(stage.gate.url, json=batch) as response:
            await response.read()

    async with again_and_again(fifty, 0.05):  # the gate has time left for whoever scrapes it
        yield
    resource.prlimit(writer, resource.RLIMIT_FSIZE, before)


@asynccontextmanager
async def disk_is_full(stage: Stage) -> AsyncIterator[None]:
    """From the start on; see `tests.e2e.small_disk_nursery`."""
    yield
    (stage.gate.folder / "mend").touch()


@asynccontextmanager
async def process_is_held_up(stage: Stage) -> AsyncIterator[None]:
    async def hold_up() -> None:
        os.kill(stage.pid, signal.SIGSTOP)
        await asyncio.sleep(0.5)
        os.kill(stage.pid, signal.SIGCONT)

    try:
        async with again_and_again(hold_up, 0.3):
            yield
    finally:
        os.kill(stage.pid, signal.SIGCONT)


# its node


@asynccontextmanager
async def node_is_silent(stage: Stage) -> AsyncIterator[None]:
    await stage.send()
    stage.live.refuses = True
    async with again_and_again(stage.send, 0.5):
        yield
    stage.live.refuses = False


@asynccontextmanager
async def used_elsewhere(stage: Stage) -> AsyncIterator[None]:
    stage.live.mine(await stage.send())

    async def past_it() -> None:
        stage.live.mine(stage.use())

    async with again_and_again(past_it, 3.0):  # what happened before the first scrape is no increase
        yield


@asynccontextmanager
async def node_tells_two_things(stage: Stage) -> AsyncIterator[None]:
    """A session has been used, it says, and no block has it."""
    stage.live.mine(await stage.send())
    # it is settled, and read as it was; where it is read later nothing differs, and nothing fires
    await asyncio.sleep(3)
    stage.live.unseen_uses = 1
    yield
    stage.live.unseen_uses = 0


@asynccontextmanager
async def bundler_names_no_block(stage: Stage) -> AsyncIterator[None]:
    name = stage.bundler.mine(await stage.send(), block=10**6)

    async def ask() -> None:
        async with stage.http.post(stage.gate.url, json=request(RECEIPT, name)) as response:
            await response.read()

    async with again_and_again(ask, 1.0):
        yield


@asynccontextmanager
async def node_is_slow(stage: Stage) -> AsyncIterator[None]:
    """Sessions that nobody has heard of are looked up at it."""
    stage.live.slow = 0.2
    salts = count(1_000)

    async def unheard_of() -> None:
        await stage.send(stage.use(a_session(action(TOKEN, TRANSFER, usage(1)), salt=next(salts))))

    async with again_and_again(unheard_of, 0.1):
        yield
    stage.live.slow = 0.0


# whoever is told


async def two_sinks(stage: Stage, stack: AsyncExitStack) -> str:
    """One that hangs, and one that takes nothing."""
    hangs = await stack.enter_async_context(recording_sink(hang=True))
    refuses = await stack.enter_async_context(recording_sink(answers=[400] * 10_000))
    stage.sinks = [hangs, refuses]
    hooks = ", ".join(
        f'{{name: {name}, url: "{sink.url}/", secret: sixteen-characters}}'
        for name, sink in (("hangs", hangs), ("refuses", refuses))
    )
    return f"{a_rule(stage, ALERTING)}alerts: {{webhooks: [{hooks}], resolve_after_seconds: 5}}\n"


@asynccontextmanager
async def sinks_take_nothing(stage: Stage) -> AsyncIterator[None]:
    async with again_and_again(stage.send, 0.5):
        yield
    for sink in stage.sinks:
        sink.hang = False
        sink.answers.clear()
        sink.released.set()


# rules

_OF_SESSIONS = "description: d, severity: high, match: {session: true}"
ALERTING = f"{{id: any, mode: alert, {_OF_SESSIONS}}}"
BUDGET = f"{{id: few, mode: enforce, {_OF_SESSIONS}, limit: {{count: ops, max: 10, per: session, window: 30s}}}}"
OPENED = (
    f"{{id: opened, mode: enforce, fail: open, {_OF_SESSIONS},"
    """ when: 'arg("transfer(address to, uint256 amount, uint256 more)", "more") > 1'}"""
)


def a_rule(stage: Stage, rule: str) -> str:
    (stage.gate.folder / "own.yaml").write_text(f"rules:\n  - {rule}\n")
    return "rules: [own.yaml]\n"


def with_rule(rule: str) -> Callable[[Stage, AsyncExitStack], Awaitable[str]]:
    async def told(stage: Stage, _stack: AsyncExitStack) -> str:
        return a_rule(stage, rule)

    return told


FAULTS = (
    Fault("many operations are refused", ("SessiongateRejectionSpike",), many_are_refused),
    Fault("a frozen session is used", ("SessiongateRevokedSessionUsed",), frozen_session),
    Fault("a gate in mode alert", ("SessiongateWouldReject",), many_are_refused, fixed("mode: alert\n")),
    Fault("a rule fires", ("SessiongateRuleFired",), something_is_sent, with_rule(ALERTING)),
    Fault("a rule cannot judge", ("SessiongateRuleFailingOpen",), something_is_sent, with_rule(OPENED)),
    Fault(
        "nine of ten of a window are used",
        ("SessiongateRuleBudgetNearlyUsed",),
        most_of_a_window_is_used,
        with_rule(BUDGET),
    ),
    Fault("what is mined reverts", ("SessiongateRevertsHigh",), partial(mined, after=0.0, success=False)),
    Fault("what is sent is mined late", ("SessiongateInclusionSlow",), partial(mined, after=6.0, success=True)),
    Fault(
        "what was taken is never mined",
        ("SessiongateOperationsStuck", "SessiongateNeverMined"),
        never_mined,
        of_chain="    unmined_after: 25\n    unmined_rules: release\n",
    ),
    Fault(
        "a bundler answers no send",
        ("SessiongateUpstreamResting",),
        sends_hang,
        fixed("limits: {request_seconds: 1}\n"),
        bundlers=2,
    ),
    Fault("the ledger is locked", ("SessiongateLedgerNotWritable",), ledger_is_locked),
    Fault("the ledger is renamed", ("SessiongateLedgerNotInPlace",), ledger_is_renamed),
    Fault(
        "the trail cannot be written",
        ("SessiongateAuditNotWritable", "SessiongateQueueGrowing", "SessiongateAuditRecordsLost"),
        trail_cannot_be_written,
        fixed("audit: {refusals_per_second: 100000}\n"),
    ),
    Fault(
        "the disk is full",
        ("SessiongateDiskFilling",),
        disk_is_full,
        fixed("audit: {path: disk/audit.db}\n"),
        nursery="tests.e2e.small_disk_nursery",
    ),
    Fault("the process is held up", ("SessiongateLoopLagging",), process_is_held_up),
    Fault(
        "the node answers nothing",
        ("SessiongateFactsMissing", "SessiongateSessionLogsBehind"),
        node_is_silent,
        of_chain="    max_state_age: 2\n",
        node=True,
    ),
    Fault(
        "the node answers nothing, and what it is needed for passes",
        ("SessiongateFailingOpen",),
        node_is_silent,
        of_chain="    max_state_age: 2\n    node_fail: open\n",
        node=True,
    ),
    Fault("a session is used past the gate", ("SessiongateUsedPastGate",), used_elsewhere, node=True),
    Fault("the node says two things", ("SessiongateSessionDrift",), node_tells_two_things, node=True),
    Fault("the bundler names a block that is none", ("SessiongateBlockMisnamed",), bundler_names_no_block, node=True),
    Fault("the node is slow", ("SessiongateSlowDecisions",), node_is_slow, node=True),
    Fault("sinks take nothing", ("SessiongateAlertsLost", "SessiongateAlertsWaiting"), sinks_take_nothing, two_sinks),
    Fault(
        "a promise of the gate's own is broken",
        ("SessiongateInternalErrors",),
        something_is_sent,
        nursery="tests.e2e.faulty_nursery",
    ),
)
