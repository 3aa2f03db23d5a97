"""A gate in this process and in virtual time, killed at any moment: chance has one seed.

All of its parts are those of a running gate but for its sockets and its database. Its node and its bundler answer after
random waits, and its disk has lost what was not written yet when it is killed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

import pytest

from proxy.admission.in_time import seconds_in_all
from proxy.app import chain as app_chain
from proxy.app import settling as app_settling
from proxy.app.chain import BuiltChain, Shared, build_chain
from proxy.app.memory import Remains
from proxy.app.settings import metrics_of
from proxy.chain.asking import NotAsked, Question, Response
from proxy.chain.node import Node
from proxy.chain.settlement.ends import name_of
from proxy.chain.settlement.outcome import Outcome
from proxy.config import Config
from proxy.edge.http.exchange import Hearing, UpstreamReply
from proxy.edge.rule_files.book import open_rules
from proxy.edge.telemetry.recorder import EdgeRecorder
from proxy.errors import StateUnavailable, UpstreamUnavailable
from proxy.happening import Silence
from proxy.jsonrpc import Request, print_json, read_reply
from proxy.ledger.counting_time import CountingTime, KeptTime
from proxy.ledger.operations import AcceptedOperation, Ended, Stage
from proxy.ledger.reservation import NonceSlot, RuleRows
from proxy.ledger.rule_counts import RuleCounts
from proxy.ports import RequestContext, Submission
from proxy.session.counters import HoldName, SessionKey
from proxy.session.known import KnownSession
from proxy.session.registry import Registry
from proxy.session.use import SessionRecord
from proxy.userop.primitives import parse_hash, print_checksummed
from proxy.userop.user_operation import UserOperation, parse_user_operation, print_user_operation
from tests.bypass_list.desk import CHAIN_ID, V07
from tests.chaos.chain_world import ChainWorld
from tests.edge.recording_bundler import Answer
from tests.properties.chain_model import Disk

_EPOCH = 1_800_000_000.0
"""Unix seconds at the beginning of virtual time."""
_WAITS = (0.0001, 0.0002, 0.0005, 0.0005, 0.001, 0.001, 0.003, 0.008, 0.02)
"""Seconds that an answer may take on its way."""
_COMMITS = (0.0005, 0.002, 0.005, 0.02)
_IDLE_SECONDS = 0.02
_MOST_PATIENT = 2
IN_TIME = seconds_in_all(5.0) + 3.0 + 0.1
"""Seconds for all that a send may wait for, one after the other: what it asks, the ledger, this bundler."""
_CONTEXT = RequestContext("local", "anonymous", "127.0.0.1")


@dataclass
class TimeOfDay:
    """Unix seconds, wrong by as many as it is `astray`."""

    loop: asyncio.AbstractEventLoop
    astray: float = 0.0

    def __call__(self) -> float:
        return _EPOCH + self.loop.time() + self.astray


@dataclass
class DiskInUse:
    """How one life of the gate writes to what outlives it, as `proxy.ledger.group_commit` has it: each turn of the loop
    to the daybook or, where there is none (`waits`), by a thread that lets nobody wait for what is patient."""

    disk: Disk
    random: Random
    waits: bool
    is_dead: bool = False
    _turn: list[tuple[Outcome | KnownSession, asyncio.Future[None] | None]] = field(default_factory=list)
    _patient: list[tuple[Outcome | KnownSession, asyncio.Future[None] | None]] = field(default_factory=list)
    _handing: asyncio.Handle | None = None
    _idles: bool = False
    _worker: asyncio.Task[None] | None = None

    async def keep(self, outcome: Outcome) -> None:
        await self._put(outcome, patient=_is_patient(outcome))

    async def save_session(self, session: KnownSession) -> None:
        await self._put(session, patient=True)

    def begin_now(self, operation: AcceptedOperation) -> bool:
        if self.waits or self.is_dead or self.random.random() < 0.1:
            return False
        self._hand_over()
        self._write(Outcome(begun=operation))
        return True

    def advance(self, name: HoldName, stage: Stage) -> None:
        self.note(Outcome(stages=((name, stage),)))

    def note(self, outcome: Outcome) -> None:
        patient = _is_patient(outcome)
        self._add(outcome, None, patient=patient, idle=not patient)

    async def recall(self, names: Collection[HoldName]) -> tuple[Ended, ...]:
        while self.waits and (self._turn or self._patient) and not self.is_dead:  # noqa: ASYNC110  # as the thread does
            await asyncio.sleep(_COMMITS[0])
        if not self.waits:
            self._hand_over()
        await asyncio.sleep(self.random.choice((0, 0.001, 0.01)))
        return tuple(self.disk.ended[name] for name in names if name in self.disk.ended)

    async def records_of(self, _keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        return {}

    async def _put(self, what: Outcome | KnownSession, *, patient: bool) -> None:
        if self.is_dead:
            raise StateUnavailable("killed", fact="ledger")
        written = asyncio.get_running_loop().create_future()
        self._add(what, written, patient=patient, idle=False)
        await written

    def _add(
        self, what: Outcome | KnownSession, written: asyncio.Future[None] | None, *, patient: bool, idle: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        (self._patient if self.waits and patient else self._turn).append((what, written))
        if self.waits:
            self._worker = self._worker or loop.create_task(self._work())
        elif not idle and (self._handing is None or self._idles):
            if self._handing is not None:
                self._handing.cancel()
            self._handing, self._idles = loop.call_soon(self._hand_over), False
        elif self._handing is None:
            self._handing, self._idles = loop.call_later(_IDLE_SECONDS, self._hand_over), True

    def _hand_over(self) -> None:
        self._handing = None
        self._commit(self._turn, len(self._turn))

    async def _work(self) -> None:
        while self._turn or self._patient:
            for jobs, most in ((self._turn, len(self._turn)), (self._patient, _MOST_PATIENT)):
                if jobs:
                    await asyncio.sleep(self.random.choice(_COMMITS))
                    self._commit(jobs, most)
        self._worker = None

    def _commit(self, jobs: list[tuple[Outcome | KnownSession, asyncio.Future[None] | None]], most: int) -> None:
        some = jobs[:most]
        del jobs[:most]
        for what, _ in some:
            self._write(what)
        for _, written in some:
            if written is not None and not written.done():
                written.set_result(None)

    def _write(self, what: Outcome | KnownSession) -> None:
        if self.is_dead:
            return
        if isinstance(what, KnownSession):
            self.disk.sessions[what.key] = what
        else:
            self.disk.write(what)


def _is_patient(outcome: Outcome) -> bool:
    """See `proxy.edge.storage.store`."""
    told = outcome.sessions or outcome.doubts or outcome.read or outcome.declared_uses or any(outcome.rules)
    return bool(outcome.ends or told)


@dataclass
class NodeInProcess:
    """See `proxy.chain.asking.Asking`. Its answers take so many seconds more; with `inf` there are none."""

    world: ChainWorld
    random: Random
    seconds: float = 0.0

    async def one(self, question: Question) -> Response:
        (answer,) = await self.many([question])
        return answer

    async def many(self, questions: Sequence[Question]) -> Sequence[Response]:
        await asyncio.sleep(self.random.choice(_WAITS))
        if self.seconds:
            await (asyncio.Event().wait() if self.seconds == inf else asyncio.sleep(self.seconds))
        if self.world.live.refuses:
            raise NotAsked("not now")
        told = [self.world.live.answered(question.method, question.params) for question in questions]
        await asyncio.sleep(self.random.choice(_WAITS))
        return told

    def tell_heads(self, _heard: Callable[[object], None]) -> None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class BundlerInProcess:
    """The part of `HttpUpstream` that is asked for operations. What was on its way when its gate is killed arrives, or
    does not."""

    world: ChainWorld
    random: Random
    sending: set[asyncio.Task[Answer | None]] = field(default_factory=set)
    is_gone: bool = False

    async def post(self, method: str, params: bytes, submission: Submission | None) -> UpstreamReply:
        assert method == "eth_sendUserOperation"
        assert submission is not None
        assert submission.slot is not None
        op = parse_user_operation(json.loads(params)[0], V07.version)
        sending = asyncio.create_task(self._arrive(op))
        self.sending.add(sending)
        answer = await asyncio.shield(sending)
        assert answer is not None
        await asyncio.sleep(self.random.choice(_WAITS))
        return _reply(answer)

    async def _arrive(self, op: UserOperation) -> Answer | None:
        await asyncio.sleep(self.random.choice(_WAITS))
        is_lost = self.is_gone and self.random.random() < 0.5
        return None if is_lost else self.world.take(op)

    async def find_out(self, method: str, params: bytes, _there: int | None) -> UpstreamReply:
        await asyncio.sleep(self.random.choice(_WAITS))
        if method != "eth_getUserOperationReceipt":
            return _reply(Answer(result=None))
        return _reply(self.world.receipt(parse_hash(json.loads(params)[0], "hash")))

    def begin(self, _method: str, _params: bytes, _hearing: Hearing, _submission: Submission | None) -> bool:
        return False

    def bundler_for(self, _slot: NonceSlot) -> str:
        return ""

    def placed(self, _slot: NonceSlot, _mark: str) -> None:
        return None

    def free(self, _slot: NonceSlot) -> None:
        return None

    def number_at(self, _slot: NonceSlot) -> int | None:
        return None

    def number_of(self, _mark: str) -> int | None:
        return None


def _reply(answer: Answer) -> UpstreamReply:
    if answer.raw is not None:
        raise UpstreamUnavailable("local#0 said nothing that can be read", may_have_been_sent=True)
    said = {"result": answer.result} if answer.error is None else {"error": answer.error}
    body = print_json({"jsonrpc": "2.0", "id": 1, **said})
    return UpstreamReply("local#0", answer.status, 1, read_reply(body, 1))


class GateInProcess:
    """One gate in all its lives."""

    def __init__(
        self, config: Config, world: ChainWorld, disk: Disk, random: Random, patch: pytest.MonkeyPatch, *, waits: bool
    ) -> None:
        self._config, self._world, self._disk, self._random, self._waits = config, world, disk, random, waits
        self._metrics = metrics_of(config)
        self._rules = open_rules(config, self._metrics)
        self._kept_time: KeptTime | None = None
        self._built: BuiltChain | None = None
        self.longest = 0.0
        """Seconds that anybody has waited for an answer."""
        self.node_seconds = 0.0
        """How much longer the node of the next life takes for each answer."""

        @asynccontextmanager
        async def upstream(*_wanted: object, **_how: object) -> AsyncIterator[BundlerInProcess]:
            yield self._bundler

        def node(_urls: object, *, choice: object, **how: Any) -> Node:
            assert choice is not None
            return Node(NodeInProcess(world, random, self.node_seconds), **how)

        patch.setattr(app_chain, "_upstream", upstream)
        patch.setattr(app_settling, "Node", node)

    async def begin(self) -> None:
        """A life, from what the disk has."""
        disk, chain = self._disk, self._config.chains["local"]
        self._bundler = BundlerInProcess(self._world, self._random)
        self._in_use = DiskInUse(disk, self._random, self._waits)
        registry = Registry()
        for known in disk.sessions.values():
            registry.put(known)
        settled = 0 if disk.cursor is None else disk.cursor.timestamp
        self._counting = CountingTime(
            time.time, time.monotonic, boot="this one", kept=self._kept_time, settled=settled, follows=True
        )
        counts = RuleCounts(self._counting.of)
        counts.restore(RuleRows(buckets=tuple(disk.buckets.values())))
        shared = Shared(
            config=self._config,
            registry=registry,
            counts=counts,
            counting=self._counting,
            rules=self._rules,
            memory=self._in_use,
            remains=_remains_of(disk),
            recorder=EdgeRecorder(self._metrics, None),
            alerts=Silence(),
            metrics=self._metrics,
            stack=AsyncExitStack(),
        )
        self._built = await build_chain("local", chain, shared)
        settling = self._built.settling
        assert settling.nodeside is not None
        works = (settling.lookout.run(), settling.nodeside.watch.run(), settling.nodeside.quiet.run())
        self._running = [asyncio.create_task(work) for work in works]

    async def kill(self) -> None:
        """Nothing of it goes on, and what it has not written is lost."""
        self._in_use.is_dead = self._bundler.is_gone = True
        self._kept_time = self._counting.kept or self._kept_time
        while left := asyncio.all_tasks() - {asyncio.current_task(), *self._bundler.sending}:
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        await asyncio.gather(*self._bundler.sending)

    async def send(self, op: UserOperation) -> dict[str, Any]:
        """Its answer."""
        return await self.ask("eth_sendUserOperation", [print_user_operation(op), print_checksummed(V07.address)])

    async def ask(self, method: str, params: list[object]) -> dict[str, Any]:
        """The answer to any request."""
        assert self._built is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        answer = await self._built.served.gate.answer(Request("1", method, params), _CONTEXT)
        self.longest = max(self.longest, clock() - began)
        assert answer is not None
        said: dict[str, Any] = json.loads(answer.body)
        return said


def _remains_of(disk: Disk) -> Remains:
    return Remains(
        flights=tuple(sorted(disk.in_flight.values(), key=lambda each: each.operation.accepted_at)),
        ended=tuple(map(name_of, sorted(disk.ended.values(), key=lambda each: each.ended_at))),
        settled={} if disk.cursor is None else {CHAIN_ID: disk.cursor},
        blocks={CHAIN_ID: tuple(disk.blocks[number] for number in sorted(disk.blocks))},
        doubts=tuple(sorted(disk.doubts.values(), key=lambda each: each.block)),
    )
