"""A gate without sockets that is handed bodies: from bytes to reply, with the shipped rules and every kind of session.

What is left out is the listener, the bundler and the disk; everything that reads, judges and prints is here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, NamedTuple

from proxy.admission import Admission, RecentReads, Sources, Terms
from proxy.clients.licence import ANYBODY, Guest
from proxy.errors import RpcError
from proxy.gate import Gate, GateSettings
from proxy.jsonrpc import BodyLimits, Malformed, Request, Single, parse_body, print_error
from proxy.judge.evaluate import Judge
from proxy.judge.verdict import Mode
from proxy.ledger.memory import MemoryLedger
from proxy.ports import RequestContext
from proxy.session.registry import Registry
from tests.admission.builders import known
from tests.bypass_list import desk
from tests.bypass_list.desk import CHAIN_ID, V06, V07, a_session
from tests.cost.modules import MODULES, told
from tests.cost.rule_sets import SHIPPED, judge_of
from tests.cost.units import WorkMeter
from tests.session.builders import (
    NOW,
    TOKEN,
    TRANSFER,
    action,
    arg,
    fallback,
    node,
    rule,
    spending,
    sudo,
    uni_action,
    usage,
    value_limit,
)

LIMITS = BodyLimits()
_MUCH = 10**30


def _doubling(levels: int) -> list[int]:
    """A tree of `or` whose children are shared, so that it is walked twice as often at every level."""
    return [node("rule"), *(node("or", left=level, right=level) for level in range(levels))]


FREE = a_session(action(TOKEN, TRANSFER, sudo), salt=77)
"""Transfers of one token, without limit."""
LIMITED = a_session(
    action(
        TOKEN,
        TRANSFER,
        usage(10**9),
        spending((TOKEN, _MUCH)),
        value_limit(_MUCH),
        uni_action(*[rule(4, 32, _MUCH, limit=_MUCH)] * 16),
    ),
    salt=78,
)
"""The same under four policies, one of them with sixteen limited rules."""
TREE = a_session(
    action(TOKEN, TRANSFER, arg([rule(0, 0, 1)], [*_doubling(120)], root=120)),
    salt=79,
)
"""The same under an expression of 121 nodes that no call fits: all of it is walked."""
ANYTHING = a_session(fallback(sudo), salt=80)
"""Any call to anybody."""
SESSIONS = (FREE, LIMITED, TREE, ANYTHING)


class Weight(NamedTuple):
    """Units of all the work, and of the longest piece that holds the loop."""

    all: int
    longest: int


class PiecewiseLoop(asyncio.SelectorEventLoop):
    """A loop that writes down what each thing it runs takes, by `clock`."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Callable[[], float] | None = None
        self.taken: list[float] = []

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """As the loop does."""

        def timed() -> None:
            if self.clock is None:
                callback(*args)
                return
            start = self.clock()
            callback(*args)
            self.taken.append(self.clock() - start)

        return super().call_soon(timed, context=context)


class Counter:
    """Serves bodies one after the other, each as if it were the first."""

    def __init__(self, judge: Judge | None = None, guest: Guest = ANYBODY) -> None:
        self._loop = PiecewiseLoop()
        self._guest = guest
        self._rules = judge_of(SHIPPED, 0) if judge is None else judge

    def close(self) -> None:
        self._loop.close()

    def weigh(self, body: bytes) -> Weight:
        """What serving it takes, in counted units."""
        meter, work = WorkMeter(), self.prepare(body)
        pieces = self._timed(lambda: meter.run(work), lambda: meter.counted)
        return Weight(meter.counted, int(max(pieces)))

    def longest_seconds(self, body: bytes) -> float:
        """CPU seconds of the longest piece that holds the loop while it is served."""
        return max(self._timed(self.prepare(body), time.thread_time))

    def _timed(self, work: Callable[[], object], clock: Callable[[], float]) -> list[float]:
        self._loop.taken, self._loop.clock = [], clock
        try:
            work()
        finally:
            self._loop.clock = None
        return self._loop.taken

    def serve(self, body: bytes) -> list[Any]:
        """The replies to a body, parsed."""
        return [json.loads(reply) for reply in self.prepare(body)()]

    def prepare(self, body: bytes) -> Any:
        """What serves the body once, with a gate of its own; making the gate is not part of the work."""
        gate, context = self._gate(), RequestContext("chain", "client", None, self._guest)

        def work() -> list[bytes]:
            return self._loop.run_until_complete(_serve(gate, context, body))

        return work

    def _gate(self) -> Gate:
        registry = Registry()
        for grant in SESSIONS:
            registry.put(known(grant))
        for session in told():
            registry.put(session)
        admission = Admission(
            Sources(
                terms=Terms(chain_id=CHAIN_ID, session_modules=MODULES),
                registry=registry,
                ledger=MemoryLedger(),
                settlement=desk.nothing_settles,
                reader=None,
                clock=lambda: NOW,
                reads=RecentReads(2.0, lambda: NOW),
                rules=lambda: self._rules,
            )
        )
        bundler = desk.Bundler()
        return Gate(
            GateSettings(
                mode=Mode.ENFORCE,
                judge_previews=True,
                entry_points={V06.address: V06, V07.address: V07},
                chain_id=CHAIN_ID,
                session_modules=MODULES,
            ),
            admission=admission,
            upstream=bundler,
            follower=desk.Aside(),
            recorder=desk.Aside(),
            clock=lambda: NOW,
            stopwatch=lambda: 0.0,
            new_id=lambda: "d-1",
        )


async def _serve(gate: Gate, context: RequestContext, body: bytes) -> list[bytes]:
    try:
        parsed = parse_body(body, LIMITS)
    except RpcError as error:  # the listener answers whatever the body deserves
        return [print_error(None, error.code, error.message)]
    items = (parsed.item,) if isinstance(parsed, Single) else parsed.items
    return await asyncio.gather(*(_answer(gate, context, item) for item in items))


async def _answer(gate: Gate, context: RequestContext, item: Request | Malformed) -> bytes:
    if isinstance(item, Malformed):
        return print_error(item.id, item.error.code, item.error.message, item.error.data)
    answer = await gate.answer(item, context)
    return b"null" if answer is None else answer.body
