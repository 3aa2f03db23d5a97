"""What a reservation costs, in memory and on disk, alone and in company; and what a million sessions weigh.

python -m tests.bench.ledger [--sessions N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import orjson

from proxy.chain.settlement.outcome import Outcome
from proxy.edge.storage.database import Synchronous
from proxy.edge.storage.holding import hold
from proxy.edge.storage.store import Store
from proxy.judge.counts import CountKey, WindowCharge
from proxy.judge.rule import Sliding
from proxy.ledger.memory import MemoryLedger
from proxy.ledger.operations import AcceptedOperation
from proxy.ledger.reservation import NOTHING_USED, Held, NonceSlot, Reservation
from proxy.ledger.rule_counts import RuleCounts
from proxy.session.changes import Changes
from proxy.session.codec import state_to_json
from proxy.session.counters import Charge, Counter, SessionKey
from proxy.session.known import Source, Status
from proxy.session.registry import Registry
from proxy.session.shelf import PackedSession
from proxy.session.state import SessionState
from proxy.userop.primitives import Address, Hash32
from tests.bench.decision import decode, granted_state
from tests.bench.operations import ENTRY_POINT, RECORDED, read

CALLERS = (1, 8, 64)
RESERVATIONS = 4_000
SESSIONS = 1_000_000
FEW_SESSIONS = 1_000
LIMIT = 1 << 60
KEYS = 1_000_000
FEW_KEYS = 1_000


@dataclass(frozen=True)
class Rate:
    """Reservations a second by so many callers at once, and microseconds from call to answer."""

    name: str
    callers: int
    per_second: float
    microseconds: float


@dataclass(frozen=True)
class Weight:
    """So many sessions known: resident bytes each, and microseconds for what a verdict asks of ledger and registry."""

    sessions: int
    bytes_each: float
    reserve_microseconds: float
    again_microseconds: float  # for a session used lately
    first_microseconds: float  # for one that was not


@dataclass(frozen=True)
class KeyWeight:
    """So many counts of rules kept: resident bytes each, and microseconds to reserve with three windows, to reserve
    with none, and to count what was mined in three."""

    keys: int
    bytes_each: float
    reserve_microseconds: float
    bare_microseconds: float
    conclude_microseconds: float


def operations(key: SessionKey) -> Iterator[AcceptedOperation]:
    """Operations of one session that spend one unit each, no two with the same nonce."""
    counter = Counter(key.module, key.account, Address(b"\x90" * 20), Hash32(b"\xc0" * 32), b"\x70" * 20)
    for number in count(1):
        name = Hash32(sha256(number.to_bytes(32, "big")).digest())  # found by how it begins, as others are
        slot = NonceSlot(key.chain_id, ENTRY_POINT.address, key.account, number)
        charges = (Charge(counter, 1, LIMIT),)
        yield AcceptedOperation(
            reservation=Reservation(user_op_hash=name, slot=slot, session=key, charges=charges, valid_until=None),
            changes=Changes(user_op_hash=name, chain_id=key.chain_id, account=key.account),
            accepted_at=1.0,
        )


def rates(folder: Path, repeats: int = RESERVATIONS) -> list[Rate]:
    """Reserved and let go again; on disk each is durable before the caller goes on."""

    async def nothing_more(_operation: AcceptedOperation) -> None:
        return None

    found = [asyncio.run(_rate("memory", nothing_more, callers, repeats)) for callers in CALLERS]
    for name, synchronous, held in _DISKS:
        for callers in CALLERS:
            path = folder / f"{name}-{callers}.db"
            with ExitStack() as stack:
                if held:
                    stack.enter_context(closing(hold(path)))
                store = stack.enter_context(closing(Store(path, synchronous=synchronous, held=held)))

                async def keep(operation: AcceptedOperation, store: Store = store) -> None:
                    await store.keep(Outcome(begun=operation))
                    store.note(Outcome(ended=(operation.name,)))

                found.append(asyncio.run(_rate(name, keep, callers, repeats)))
    return found


_DISKS: Final = (
    ("daybook", Synchronous.NORMAL, True),
    ("SQLite, normal", Synchronous.NORMAL, False),
    ("SQLite, full", Synchronous.FULL, True),
)
"""What a gate that was told `normal` does, the same without its daybook, and what `full` does."""


async def _rate(name: str, durable: Callable[[AcceptedOperation], Awaitable[None]], callers: int, repeats: int) -> Rate:
    ledger, key = MemoryLedger(), key_of(0)
    supply = operations(key)
    waits: list[float] = []

    async def caller() -> None:
        for _ in range(repeats // callers):
            operation = next(supply)
            started = time.perf_counter()
            held = ledger.reserve(operation.reservation, NOTHING_USED, 1_000.0)
            await durable(operation)
            waits.append(time.perf_counter() - started)
            assert isinstance(held, Held)
            ledger.release(operation.name)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - started
    assert len(ledger) == 0
    return Rate(name, callers, len(waits) / seconds, 1e6 * sum(waits) / len(waits))


def key_of(number: int) -> SessionKey:
    account, permission = number.to_bytes(20, "big"), (number * 0x9E3779B97F4A7C15 % 2**256).to_bytes(32, "big")
    return SessionKey(1946, Address(b"\x5e" * 20), Address(account), Hash32(permission))


def weigh_keys(keys: int) -> KeyWeight:
    """In a process of its own likewise."""
    command = [sys.executable, "-m", "tests.bench.ledger", "--weigh-keys", str(keys)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1200)
    return KeyWeight(**json.loads(done.stdout))


def _weigh_keys(keys: int) -> KeyWeight:
    rules, random = RuleCounts(), Random(1)
    ledger = MemoryLedger(rules)
    gc.collect()
    before = _resident()
    for number in range(keys):
        rules.conclude(_by_rules(number, (number,)), 1.7e9, success=True)
    gc.collect()
    bytes_each = (_resident() - before) / keys
    numbers = range(20_000)
    wanted = [_by_rules(keys + number, [random.randrange(keys) for _ in range(3)]) for number in numbers]
    bare = [_by_rules(2 * keys + number, ()) for number in range(len(wanted), 2 * len(wanted))]
    gc.collect()
    gc.freeze()
    reserve = _microseconds(numbers, lambda index: ledger.reserve(wanted[index], NOTHING_USED, 1.7e9))
    nothing = _microseconds(numbers, lambda index: ledger.reserve(bare[index], NOTHING_USED, 1.7e9))
    conclude = _microseconds(numbers, lambda index: ledger.conclude(wanted[index], 1.7e9, success=True))
    return KeyWeight(keys, bytes_each, reserve, nothing, conclude)


def _by_rules(number: int, groups: Sequence[int]) -> Reservation:
    """An operation that these groups of one rule count, in windows of a day."""
    key, rule = key_of(number), b"r" * 16
    return Reservation(
        user_op_hash=Hash32(number.to_bytes(32, "big")),
        slot=NonceSlot(key.chain_id, ENTRY_POINT.address, key.account, number),
        session=key,
        charges=(),
        valid_until=None,
        rule_charges=tuple(
            WindowCharge(
                key=CountKey(rule, key_of(group).permission_id),
                window=Sliding(86_400),
                amount=10**6,
                limit=LIMIT,
                binding=True,
                lasting=False,
            )
            for group in groups
        ),
    )


def weigh(sessions: int) -> Weight:
    """In a process of its own, whose memory holds nothing else."""
    command = [sys.executable, "-m", "tests.bench.ledger", "--weigh", str(sessions)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1200)
    return Weight(**json.loads(done.stdout))


def _weigh(sessions: int) -> Weight:
    granted = granted_state(decode(read(RECORDED["use"][0])))
    ledger, registry = MemoryLedger(), Registry()
    gc.collect()
    before = _resident()
    for number in range(sessions):
        registry.restore(*packed(granted, number))
    gc.collect()
    bytes_each = (_resident() - before) / sessions
    random = Random(1)
    numbers = [random.randrange(sessions) for _ in range(2_000)]
    supplies = [operations(key_of(number)) for number in numbers]
    reserve = _microseconds(
        numbers, lambda index: ledger.reserve(next(supplies[index]).reservation, NOTHING_USED, 1_000.0)
    )
    first = _microseconds(numbers, lambda index: registry.get(key_of(numbers[index])))
    again = _microseconds(numbers, lambda index: registry.get(key_of(numbers[index])))
    return Weight(sessions, bytes_each, reserve, again, first)


def packed(granted: SessionState, number: int) -> tuple[SessionKey, PackedSession]:
    """A session as the recorded one, with names of its own throughout, as nothing two sessions share compresses."""
    key = key_of(number)
    text = orjson.dumps(state_to_json(replace(granted, key=key)))
    for config_id in {name.config_id for name in granted.configs}:
        own = (int.from_bytes(key.permission_id, "big") ^ int.from_bytes(config_id, "big")).to_bytes(32, "big")
        text = text.replace(config_id.hex().encode(), own.hex().encode())
    return key, PackedSession(Status.IN_FORCE, Source.GRANT, float(number), None, None, text)


def _microseconds(numbers: Sequence[int], work: Callable[[int], object]) -> float:
    started = time.perf_counter()
    for index in range(len(numbers)):
        work(index)
    return 1e6 * (time.perf_counter() - started) / len(numbers)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def print_ledger(sessions: int = SESSIONS) -> None:
    print("\nreservations, each durable before its caller goes on:")
    print(f"  {'':<20}{'callers':>8}{'a second':>12}{'µs each':>10}")
    with tempfile.TemporaryDirectory(prefix="sessiongate-bench-") as folder:
        for rate in rates(Path(folder)):
            print(f"  {rate.name:<20}{rate.callers:>8}{rate.per_second:>12,.0f}{rate.microseconds:>10.1f}")
    print("\nsessions known:")
    print(f"  {'':<12}{'bytes each':>12}{'reserve':>12}{'look up':>12}{'look up, not used lately':>28}")
    for weight in (weigh(FEW_SESSIONS), weigh(sessions)):
        print(
            f"  {weight.sessions:<12,}{weight.bytes_each:>12,.0f}{weight.reserve_microseconds:>9.1f} µs"
            f"{weight.again_microseconds:>9.1f} µs{weight.first_microseconds:>25.1f} µs"
        )

    print("\ncounts of rules kept:")
    print(f"  {'':<12}{'bytes each':>12}{'3 windows':>12}{'none':>12}{'mined, 3 windows':>20}")
    for kept in (weigh_keys(FEW_KEYS), weigh_keys(KEYS)):
        print(
            f"  {kept.keys:<12,}{kept.bytes_each:>12,.0f}{kept.reserve_microseconds:>9.1f} µs"
            f"{kept.bare_microseconds:>9.1f} µs{kept.conclude_microseconds:>17.1f} µs"
        )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ledger")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--weigh", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--weigh-keys", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.weigh:
        print(json.dumps(_weigh(options.weigh).__dict__))
    elif options.weigh_keys:
        print(json.dumps(_weigh_keys(options.weigh_keys).__dict__))
    else:
        print_ledger(options.sessions)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
