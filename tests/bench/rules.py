"""What each kind of rule costs where it fits; and what a thousand cost of which five fit.

python -m tests.bench.rules
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.edge.rule_files.reading import uncollected
from proxy.judge.evaluate import Judge
from proxy.judge.facts import ALLOWED, CallFacts, Facts, GrantFacts
from proxy.judge.reading import Arrival, Background, facts_of
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address
from tests.bench.decision import Part, best, decode, parse
from tests.bench.operations import CHAIN_ID, ENTRY_POINT, RECORDED, submission
from tests.judge.builders import ACCOUNT, MODULE, PERMISSION, SHOP, START, TRANSFER, Scene, facts, judge_of, spend
from tests.judge.parse.many import many, parsed

REPEATS: Final = 2_000
CROWD: Final = 1_000
FITTING: Final = 5
LOADED: Final = 10_000
_PAST: Final = 100
_MUCH: Final = 10**12

_SESSION: Final = "per: session, window: 24h"
KINDS: Final = {
    "no rule": "",
    "does not fit": "match: {session: false}",
    "condition": "when: spend(USDC) > 500 USDC or op.value > 1 ETH",
    "condition, over calls": "when: 'any(c.value > 1 ETH or c.size > 4096 for c in op.calls)'",
    "match only, fires": f'match: {{session: true, target: "0x{SHOP.hex()}"}}',
    "limit: sum": f"limit: {{sum: spend, token: USDC, max: {_MUCH}, {_SESSION}}}",
    "limit: sum in USD": f"limit: {{sum: spend, unit: USD, max: {_MUCH}, {_SESSION}}}",
    "limit: sum, per pair": f"limit: {{sum: spend, token: USDC, max: {_MUCH}, per: [session, recipient], window: 24h}}",
    "limit: sum, a calendar day": f"limit: {{sum: value, max: {_MUCH} ETH, per: session, window: day, zone: UTC}}",
    "limit: count": f"limit: {{count: ops, max: {_MUCH}, {_SESSION}}}",
    "limit: distinct": f"limit: {{distinct: recipient, max: {_PAST}, {_SESSION}}}",
    "limit: each": f"limit: {{each: spend, token: USDC, max: {_MUCH}}}",
    "rate": f"rate: {{max: {_MUCH}, per: client, window: 1h}}",
    "first_seen": "first_seen: {of: target, per: session, after: 20 ops}",
    "deviation": "deviation: {of: spend, token: USDC, per: session, factor: 5, after: 20 ops}",
    "streak": "streak: {of: reverted, length: 3, per: session}",
    "schedule": 'schedule: {zone: Europe/Berlin, inside: [{days: mon-sun, from: "08:00", to: "18:00"}]}',
    "grant": "match: {grant: true}, when: '\"sudo_action\" in grant.findings or grant.duration > 30d'",
}
"""By name, what a rule asks of a transfer to a shop: all but one of them let it pass."""

_NEVER_FITTING: Final = (
    'match: {{target: "0x{number:040x}"}}',
    'match: {{account: "0x{number:040x}"}}',
    f'match: {{{{target: "0x{SHOP.hex()}", selector: "0x{{number:08x}}"}}}}',
    "match: {{session: false}}",
    "match: {{grant: true}}",
    "match: {{mode: unsafe_enable}}",
    "match: {{verdict: session_revoked}}",
    "match: {{preview: true}}",
    "match: {{paymaster: any}}",
    "match: {{act: any}}",
    "match: {{moves: ETH}}",
    "match: {{client: somebody-else}}",
)
_FITTING: Final = ("condition", "limit: sum", "limit: count", "limit: each", "rate")


@dataclass(frozen=True)
class Crowd:
    """Microseconds to judge by a few rules that fit, and by them in a crowd of others."""

    alone: float
    together: float

    @property
    def ratio(self) -> float:
        return self.together / self.alone


def rule_costs(repeats: int = REPEATS) -> list[Part]:
    """One rule of each kind, judged with a past of a hundred operations behind it."""
    return [
        Part(name, _cost(_judge([asked] if asked else []), repeats, granting=name == "grant", fires="fires" in name))
        for name, asked in KINDS.items()
    ]


def crowd_cost(repeats: int = REPEATS) -> Crowd:
    """Rules of which each fits, and a thousand of which these alone do, spread among the rest."""
    fitting = [KINDS[name] for name in _FITTING]
    others = [
        _NEVER_FITTING[number % len(_NEVER_FITTING)].format(number=number + 1) for number in range(CROWD - FITTING)
    ]
    crowd = [each for place, rule in enumerate(fitting) for each in (rule, *others[place::FITTING])]
    assert len(crowd) == CROWD
    return Crowd(_cost(_judge(fitting), repeats), _cost(_judge(crowd), repeats))


def facts_cost(repeats: int = REPEATS) -> Part:
    """From a decoded operation to what rules see of it."""
    op = parse(submission(RECORDED["use"][0]))
    operation = decode(op)
    request = Arrival(chain="soneium", client="dapp", method="eth_sendUserOperation")
    standing = Background(verdict=ALLOWED)

    def build() -> Facts:
        return facts_of(op, ENTRY_POINT, CHAIN_ID, operation, request=request, standing=standing, now=START)

    assert build().calls
    return Part("facts of an operation", best(build, repeats))


def load_cost(rules: int = LOADED) -> float:
    """Seconds of processor time to read so many rules and make them ready, as a reload does."""
    text = many(rules)
    before = time.process_time()
    with uncollected():
        ruleset = parsed(text).ruleset
        assert ruleset is not None
        assert Judge(ruleset).size == rules
    return time.process_time() - before


def print_rules() -> None:
    print(f"\n{LOADED:,} rules loaded: {min(load_cost() for _ in range(3)):.2f} s of processor time")
    print("\none operation judged by one rule, a hundred operations behind it:")
    for part in (facts_cost(), *rule_costs()):
        print(f"  {part.name:<32}{part.microseconds:>9.1f} µs")
    crowd = crowd_cost()
    print(f"  {f'{FITTING} rules that all fit':<32}{crowd.alone:>9.1f} µs")
    print(f"  {f'{CROWD:,} rules, the same {FITTING} fit':<32}{crowd.together:>9.1f} µs{crowd.ratio:>9.2f} times")


def _judge(rules: Sequence[str]) -> Judge:
    lines = [f"- {{id: r{number}, description: d, mode: enforce, {asked}}}" for number, asked in enumerate(rules)]
    return judge_of("\n".join(lines) or "[]")


def _cost(judge: Judge, repeats: int, *, granting: bool = False, fires: bool = False) -> float:
    scene = Scene(judge)
    for number in range(_PAST):
        scene.send(_seen(number, granting=granting))
    asked = _seen(_PAST, granting=granting)
    counts = scene.ledger.counts(NonceSlot(asked.chain_id, ACCOUNT, asked.account, asked.nonce), asked.unix_time)
    finding = judge.consider(asked, counts)
    assert bool(finding.hits) is fires, finding.hits
    return best(lambda: judge.consider(asked, counts), repeats)


def _seen(number: int, *, granting: bool) -> Facts:
    """A transfer of some coins to one of several people, by a session that it may bring into force."""
    recipient = Address(bytes([number % 50 + 1]) * 20)
    return facts(
        unix_time=START + number,
        calls=(CallFacts(target=SHOP, selector=TRANSFER, value=0, size=68),),
        moves=(spend(10**6 + number % 7, to=recipient),),
        grants=(_GRANT,) if granting else (),
    )


_GRANT: Final = GrantFacts(permission_id=PERMISSION, module=MODULE, how="enable", valid_until=int(START) + 86_400)


if __name__ == "__main__":
    print_rules()
