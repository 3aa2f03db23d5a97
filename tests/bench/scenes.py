"""What the benchmark looks at: side by side, by kind, by connections, by part, by what is in flight, and settlement."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.corpus import KINDS, Corpus, write_corpus
from tests.bench.load import drive_at, write_bodies
from tests.bench.measure import CONNECTIONS, MOST_UNJUDGED, Measured, grant, laid_out, measure, middle, park
from tests.bench.servers import CLIENT_CORE, PARTS, GateKind, Server, gate, stack_of_servers, upstream

WARM_UP_SECONDS: Final = 1
AT_HALF: Final = ("bare aiohttp", "lean, parses", "lean, recovers", "gate, off", "gate, enforce", "gate, packs")
CONNECTION_COUNTS: Final = (1, 32, 256)
_STEADY_RATE: Final = 60
_STEADY_DELAY: Final = 0.1
_STEADY_BLOCK: Final = 2.0

Found = dict[str, Measured]


@dataclass(frozen=True)
class Plan:
    """How long and how often. `sessions` is what many sessions are: so many that none of them passes what the shipped
    rules let a session do."""

    seconds: float = 8
    rounds: int = 3
    sessions: int = 1_000
    in_flight: tuple[int, ...] = (1, 1_000, 10_000)
    in_flight_of_one: bool = False  # of one session only
    known: tuple[int, ...] = (1_000, 1_000_000)  # sessions beside those of the load
    apart_seconds: float = 4  # of load on each kind, number of connections, part and depth
    half_seconds: float = 4  # of load at half of its own maximum
    steady_seconds: float = 20
    sustained_seconds: float = 60
    slices: int = 6
    parts: tuple[str, ...] = tuple(PARTS)
    block: float = 1.0  # seconds between two, and how old an operation is at least when it is mined
    age: float = 2.0
    poll: float = 0.5  # seconds after which a gate looks whether there is a new block

    @property
    def chain(self) -> dict[str, float]:
        """What servers are told of blocks."""
        return {"block": self.block, "age": self.age, "poll": self.poll}


QUICK: Final = Plan(
    seconds=1,
    rounds=1,
    sessions=100,
    in_flight=(1, 300),
    in_flight_of_one=True,  # many of one session are the worse case
    known=(1_000, 5_000),
    apart_seconds=1,
    half_seconds=0.5,
    steady_seconds=3,
    sustained_seconds=2,
    slices=2,
    parts=("whole", "without audit, metrics, events"),  # the shipped rules are in the rounds
    block=0.2,
    age=0.2,
    poll=0.2,
)


@dataclass(frozen=True)
class AtHalf:
    """At half of its own maximum, from the intended moment: microseconds more than without any proxy."""

    rate: float
    p50: float
    p99: float
    p999: float


@dataclass(frozen=True)
class Steady:
    """So many operations a second for a while; `blocks` from the last answer until all is settled, `None`: never."""

    rate: float
    blocks: float | None
    asked: float  # questions a second to bundler and node, sends apart


_BEGUN: Final = time.monotonic()


def say(what: str) -> None:
    """What is looked at from now on, after so many seconds."""
    print(f"{time.monotonic() - _BEGUN:5.0f} s: measuring {what} …", file=sys.stderr, flush=True)


def side_by_side(folder: Path, plan: Plan, faults: list[str]) -> tuple[Found, dict[str, AtHalf], Found, Found]:
    """All servers with one kind of load, of many sessions, in interleaved rounds; each at half its maximum; the gate by
    kind of request and by number of connections, where what cannot be measured is put to the `faults` and the rest is
    all the same."""
    say("all servers: preparing")
    with ExitStack() as stack:
        corpus = write_corpus(folder, _side_by_side_amounts(plan), sessions=plan.sessions)
        servers = stack_of_servers(stack, folder, corpus.known, **plan.chain)
        rounds: dict[str, list[Measured]] = {name: [] for name in servers}
        for name, server in servers.items():
            say(f"{name}, to warm it up")
            grant(server, corpus)
            measure(server, corpus, folder, seconds=WARM_UP_SECONDS)
        for number in range(plan.rounds):
            for name, server in servers.items():
                say(f"{name}, round {number + 1} of {plan.rounds}")
                rounds[name].append(measure(server, corpus, folder, seconds=plan.seconds))
        found = {name: middle(some) for name, some in rounds.items()}
        halves = _at_half(servers, found, corpus, folder, plan)
        say("kinds of requests")
        gate_ = servers["gate, enforce"]
        kinds: Found = {}
        for kind in KINDS:
            try:
                kinds[kind] = measure(gate_, corpus, folder, kind=kind, seconds=_seconds_of(kind, plan))
            except AssertionError as fault:
                faults.append(f"{kind}: {fault}")
        say("numbers of connections")
        connections: Found = {}
        for many in CONNECTION_COUNTS:
            if many == CONNECTIONS and "use" in kinds:  # the same load
                connections[str(many)] = kinds["use"]
                continue
            try:
                connections[str(many)] = measure(gate_, corpus, folder, connections=many, seconds=plan.apart_seconds)
            except AssertionError as fault:
                faults.append(f"{many} connections: {fault}")
    return found, halves, kinds, connections


def _seconds_of(kind: str, plan: Plan) -> float:
    # what is granted by an operation is read from the node before its first use: a second is little for 32 of those
    return max(plan.apart_seconds, 3.0 if kind == "enable" else 0)


def _side_by_side_amounts(plan: Plan) -> dict[str, int]:
    """As many of each kind as one gate may take, all that is looked at of it together."""
    apart = (1 + len(CONNECTION_COUNTS)) * plan.apart_seconds + plan.half_seconds / 2
    uses = laid_out(WARM_UP_SECONDS + plan.rounds * plan.seconds + apart)
    return {kind: laid_out(_seconds_of(kind, plan), kind) for kind in KINDS} | {"use": uses}


def _at_half(servers: dict[str, Server], found: Found, corpus: Corpus, folder: Path, plan: Plan) -> dict[str, AtHalf]:
    halves = {}
    for name in AT_HALF:
        say(f"{name} at half its maximum")
        rate = found[name].per_second / 2
        server = servers[name]
        bodies = write_bodies(folder / "direct", corpus.bodies["use"][: round(rate * plan.half_seconds)])
        # the yardsticks' upstream: the gates' own have chains that no stranger shall write to
        direct = drive_at(
            servers["bare aiohttp"].upstream, bodies, connections=CONNECTIONS, rate=rate, core=CLIENT_CORE
        )
        through = measure(server, corpus, folder, seconds=plan.half_seconds, rate=rate)
        halves[name] = AtHalf(rate, through.p50 - direct.p50, through.p99 - direct.p99, through.p999 - direct.p999)
    return halves


@contextmanager
def one_gate(
    folder: Path, corpus: Corpus, kind: GateKind, *, poll: float = 0.5, **upstream_options: Any
) -> Iterator[Server]:
    """A gate by itself that knows the corpus's sessions and is warm."""
    with (
        upstream(folder, corpus.known, **upstream_options) as port,
        gate(folder, port, "gate", kind, poll=poll) as server,
    ):
        grant(server, corpus)
        measure(server, corpus, folder, seconds=WARM_UP_SECONDS, rate=100, settles=False)  # with what comes next
        yield server


def by_part(folder: Path, plan: Plan) -> Found:
    """The gate with and without each part, in interleaved rounds."""
    corpus = write_corpus(folder, {"use": laid_out(WARM_UP_SECONDS + plan.rounds * plan.apart_seconds)}, name="parts")
    rounds: dict[str, list[Measured]] = {name: [] for name in plan.parts}
    with ExitStack() as stack:
        say("the gate with and without each part")
        gates = {name: stack.enter_context(one_gate(folder, corpus, PARTS[name], **plan.chain)) for name in plan.parts}
        for _ in range(plan.rounds):
            for name, server in gates.items():
                rounds[name].append(measure(server, corpus, folder, seconds=plan.apart_seconds))
    return {name: middle(some) for name, some in rounds.items()}


def by_depth(folder: Path, plan: Plan) -> Found:
    """The gate with so many operations in flight that are not mined, in one session and in many."""
    found: Found = {}
    for sessions in (1,) if plan.in_flight_of_one else (1, plan.sessions):
        label = "one session" if sessions == 1 else f"{sessions:,} sessions"
        say(f"{label} with many operations in flight")
        corpus = write_corpus(
            folder,
            {"use": laid_out(WARM_UP_SECONDS + len(plan.in_flight) * plan.apart_seconds)},
            sessions=sessions,
            parked=max(plan.in_flight),
            name=f"depth-{sessions}",
        )
        with one_gate(folder, corpus, GateKind(), **plan.chain) as server:
            for depth in plan.in_flight:
                park(server, corpus, folder, depth)
                found[f"{label}, {depth:,} in flight"] = measure(server, corpus, folder, seconds=plan.apart_seconds)
    return found


def by_known(folder: Path, plan: Plan) -> Found:
    """The gate with so many sessions known from its start."""
    found: Found = {}
    corpus = write_corpus(folder, {"use": laid_out(WARM_UP_SECONDS + plan.apart_seconds)}, name="known-sessions")
    for many in plan.known:
        say(f"{many:,} sessions known")
        with one_gate(folder, corpus, GateKind(known=many), **plan.chain) as server:
            found[f"{many:,} sessions known"] = measure(server, corpus, folder, seconds=plan.apart_seconds)
    return found


def sustained(folder: Path, plan: Plan) -> Found:
    """The gate under all the load it takes for a while, slice by slice, between two looks at bare aiohttp."""
    corpus = write_corpus(folder, {"use": laid_out(WARM_UP_SECONDS + plan.sustained_seconds)}, name="sustained")
    each = plan.sustained_seconds / plan.slices
    found: Found = {}
    with ExitStack() as stack:
        names = ("bare aiohttp", "gate, enforce")
        servers = stack_of_servers(stack, folder, corpus.known, names, **plan.chain)
        base, gate_ = (servers[name] for name in names)
        grant(gate_, corpus)
        for server in servers.values():
            measure(server, corpus, folder, seconds=WARM_UP_SECONDS)
        say(f"{plan.sustained_seconds:g} s of all the load it takes")
        before = measure(base, corpus, folder, seconds=each)
        for number in range(plan.slices):
            last = number + 1 == plan.slices
            label = f"gate, from {number * each:.0f} s to {(number + 1) * each:.0f} s"
            found[label] = measure(gate_, corpus, folder, seconds=each, settles=last)
        after = measure(base, corpus, folder, seconds=each)
    return {"bare aiohttp": middle([before, after]), **found}


def steady(folder: Path, plan: Plan) -> dict[str, Steady]:
    """Sixty operations a second by a bundler that takes 100 ms, blocks every 2 s: is it settled, and how soon?"""
    amount = round(_STEADY_RATE * plan.steady_seconds) + 500
    corpus = write_corpus(folder, {"use": amount}, name="steady")

    def look(name: str, kind: GateKind) -> Steady:
        own = folder / name.replace(" ", "-")
        own.mkdir()
        options = {"block": _STEADY_BLOCK, "age": 0.0, "delay": _STEADY_DELAY}
        with one_gate(own, corpus, kind, **options) as server:
            got = measure(server, corpus, own, seconds=plan.steady_seconds, rate=_STEADY_RATE)
        blocks = None if got.settle_seconds is None else got.settle_seconds / _STEADY_BLOCK
        return Steady(got.per_second, blocks, got.asked)

    say("settlement with a node and without one")
    kinds = {"with a node": GateKind(), "without a node": GateKind(node=False)}
    with ThreadPoolExecutor(len(kinds)) as at_once:  # both are idle nearly all the time
        return dict(zip(kinds, at_once.map(look, kinds, kinds.values()), strict=True))


def few_rounds(
    folder: Path,
    names: Sequence[str],
    seconds: float,
    rounds: int,
    *,
    warm_up: float = WARM_UP_SECONDS,
    **options: float,
) -> Found:
    """Some of the servers, for a quick look at their ratios; without a `warm_up` only at what arrives."""
    uses = max(laid_out(warm_up + seconds * rounds), round(MOST_UNJUDGED * seconds) if "gate, off" in names else 0)
    corpus = write_corpus(folder, {"use": uses}, name="few")
    with ExitStack() as stack:
        servers = stack_of_servers(stack, folder, corpus.known, names, **options)
        taken: dict[str, list[Measured]] = {name: [] for name in servers}
        for server in servers.values():
            grant(server, corpus)
            if warm_up:
                measure(server, corpus, folder, seconds=warm_up)
        for _ in range(rounds):
            for name, server in servers.items():
                taken[name].append(measure(server, corpus, folder, seconds=seconds))
    return {name: middle(some) for name, some in taken.items()}
