"""One load on one server, seen from outside: what it answered, what it took, when its operations were settled."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.corpus import Corpus
from tests.bench.load import Figures, drive, drive_at, write_bodies
from tests.bench.servers import CLIENT_CORE, Server

CONNECTIONS: Final = 32
PATIENCE_SECONDS: Final = 60.0
MOST_PER_SECOND: Final = 7_000
"""More than any gate takes: so many bodies are laid out for it, so that how fast it is ends nothing."""
_MOST_OF: Final = {"enable": 700, "estimate": 12_000, "receipt": 48_000, "mix": 16_000}
"""Likewise of other kinds: what brings its grant along takes most, what is only asked least."""
MOST_UNJUDGED: Final = 40_000
"""Likewise for a gate that judges nothing: so many are handed to it, as far as there are so many."""
_MEDIANS: Final = ("per_second", "p50", "p99", "p999", "cpu", "settled_cpu", "own_cpu", "resident", "asked")
_ASKS: Final = {"estimate": "eth_estimateUserOperationGas", "receipt": "eth_getUserOperationReceipt"}
_SEND: Final = b'"method":"eth_sendUserOperation"'


@dataclass(frozen=True)
class Measured:
    """One load. Latency and CPU in microseconds; `settled_cpu` once all is settled, where the server settles anything,
    `own_cpu` of that what the server's first process took, without those it started.

    `settle_seconds` is from the last answer until nothing is held any more; `None` where nothing is ever held, or
    where it took longer than anybody waits. `asked` are questions a second to the upstream, sends apart.
    """

    per_second: float
    p50: float
    p99: float
    p999: float
    cpu: float
    settled_cpu: float
    own_cpu: float
    resident: float  # MiB
    settle_seconds: float | None
    asked: float
    requests: int


def laid_out(seconds: float, kind: str = "use") -> int:
    """More bodies than a gate takes in so long."""
    return round(_MOST_OF.get(kind, MOST_PER_SECOND) * seconds)


def taken(server: Server, corpus: Corpus, kind: str, amount: int) -> list[bytes]:
    """The next bodies for this server, after the last one the first again where it may have them twice; a yardstick has
    the first each time."""
    bodies = corpus.bodies[kind]
    if server.takes_turns:
        first = server.taken.get(kind, 0) % len(bodies)
        return (bodies[first:] + bodies[:first])[:amount]
    first = server.taken.get(kind, 0) if server.remembers else 0
    some = bodies[first : first + amount]
    assert some, f"{server.name}: no {kind} left; lay out more (MOST_PER_SECOND)"
    return some


def measure(
    server: Server,
    corpus: Corpus,
    folder: Path,
    *,
    kind: str = "use",
    connections: int = CONNECTIONS,
    seconds: float = 1,
    rate: float | None = None,
    settles: bool = True,
) -> Measured:
    """A closed loop for some seconds, or at a fixed rate; then, where it `settles`, until nothing is held any more.

    Raises `AssertionError` for a request that got lost.
    """
    most = MOST_UNJUDGED * seconds if server.takes_turns else laid_out(seconds, kind)
    amount = round(most if rate is None else seconds * rate)
    bodies = taken(server, corpus, kind, amount)
    path = write_bodies(folder / "bodies", bodies)
    before, counts, began = server.usage(), server.counts(), time.monotonic()
    if rate is None:
        again = not server.remembers
        figures = drive(server.url, path, connections=connections, seconds=seconds, core=CLIENT_CORE, again=again)
    else:
        figures = drive_at(server.url, path, connections=connections, rate=rate, core=CLIENT_CORE)
    after, answered = server.usage(), time.monotonic()
    seen = server.counts()
    assert figures.failed == 0, f"{server.name}: {figures.failed} requests failed"
    assert figures.requests, f"{server.name}: no {kind} was answered within {seconds:g} s"
    if server.remembers:
        server.taken[kind] = server.taken.get(kind, 0) + figures.requests + 2 * connections
        check_all_went_through(server.name, figures, bodies, seen["distinct"] - counts["distinct"], connections)
    if server.takes_turns:
        server.taken[kind] = server.taken.get(kind, 0) + figures.requests + 2 * connections
        assert figures.requests <= len(bodies), f"{server.name}: the same operations again; lay out more"
    if kind in _ASKS:
        asked = seen["asked"].get(_ASKS[kind], 0) - counts["asked"].get(_ASKS[kind], 0)
        check_all_arrived(server.name, figures, asked, connections)
    elif not server.remembers:
        check_all_arrived(server.name, figures, seen["submitted"] - counts["submitted"], connections)
    settle_seconds = settled(server) if settles else None
    whole = server.usage()
    return Measured(
        per_second=figures.per_second,
        p50=figures.p50,
        p99=figures.p99,
        p999=figures.p999,
        cpu=1e6 * (after.cpu_seconds - before.cpu_seconds) / figures.requests,
        settled_cpu=1e6 * (whole.cpu_seconds - before.cpu_seconds) / figures.requests,
        own_cpu=1e6 * (whole.own_seconds - before.own_seconds) / figures.requests,
        resident=whole.resident / 2**20,
        settle_seconds=settle_seconds,
        asked=(sum(seen["asked"].values()) - sum(counts["asked"].values())) / (answered - began),
        requests=figures.requests,
    )


def check_all_went_through(
    name: str, figures: Figures, bodies: Sequence[bytes], arrived: int, connections: int
) -> None:
    """Fast answers prove nothing if they were refusals: the upstream must have had every operation, once."""
    assert figures.failed == 0, f"{name}: {figures.failed} requests failed"
    assert figures.beyond == 0, f"{name}: the prepared requests did not last; lay out more (MOST_PER_SECOND)"
    # wrk looks at the first body without sending it, and each connection may have one under way at the end
    least = sum(_SEND in body for body in bodies[1 : max(1 + figures.requests - connections, 1)])
    most = sum(_SEND in body for body in bodies[: figures.requests + connections + 1])
    assert least <= arrived <= most, f"{name}: {figures.requests} answered, {arrived} operations arrived"


def check_all_arrived(name: str, figures: Figures, arrived: int, connections: int) -> None:
    """What is answered without its upstream is a refusal; each connection may have one under way at the end."""
    most = figures.requests + connections + 1
    assert figures.requests <= arrived <= most, f"{name}: {figures.requests} answered, {arrived} arrived"


def settled(server: Server) -> float | None:
    """Wait until all that arrived is mined and, where the gate holds operations, none is held but the parked ones.

    The seconds it took; `None` when nothing is held by this server, or for longer than anybody waits.
    """
    began = time.monotonic()
    counts = server.counts()
    if not server.remembers:
        return None

    def all_mined() -> bool:
        now = server.counts()
        return bool(now["mined"] == now["distinct"] - now["parked"])

    assert until(all_mined), f"{server.name}: not all was mined of {server.counts()}"
    if server.ledger is None:
        return None
    parked = int(counts["parked"])
    if not until(lambda: server.in_flight() <= parked):
        return None
    seconds = time.monotonic() - began
    # what was under way when the load ended may arrive, and be mined, all the same
    known = until(lambda: server.ended() == server.counts()["held"])
    assert known, f"{server.name}: {server.counts()['held']} mined, {server.ended()} known to be"
    return seconds


def until(ready: Callable[[], bool], patience: float = PATIENCE_SECONDS) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + patience
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def grant(server: Server, corpus: Corpus) -> None:
    """The owners' operations that grant the sessions, mined: from then on the gate knows them in force."""
    for body in corpus.grants:
        ask(server.url, body)
    assert settled(server) is not None or server.ledger is None, f"{server.name}: the grants are not in force"


def park(server: Server, corpus: Corpus, folder: Path, many: int) -> None:
    """Have so many operations in flight that will not be mined. Raises `AssertionError` when one is refused."""
    first = server.taken.get("parked", 0)
    bodies = corpus.parked[first:many]
    if not bodies:
        return
    path = write_bodies(folder / "parked", bodies)
    figures = drive_at(server.url, path, connections=CONNECTIONS, rate=1e6, core=CLIENT_CORE)
    server.taken["parked"] = many
    assert figures.failed == 0, f"{server.name}: {figures.failed} of {len(bodies)} operations were refused"


def ask(url: str, body: bytes) -> bytes:
    """The answer to one request. Raises `AssertionError` when it is no result."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: bytes = response.read()
    assert b'"result"' in answer, answer
    return answer


def middle(rounds: Sequence[Measured]) -> Measured:
    """The median of every figure. What was not settled in one round is not settled."""
    settles = [each.settle_seconds for each in rounds]
    known = [each for each in settles if each is not None]

    def of(name: str) -> float:
        return median(getattr(each, name) for each in rounds)

    return Measured(
        **{name: of(name) for name in _MEDIANS},
        settle_seconds=median(known) if len(known) == len(settles) else None,
        requests=sum(each.requests for each in rounds),
    )
