"""Rules are made ready once a reload: filed by what they can match, their questions shared. What is said and counted is
what a plain walk of all rules says and counts, in the same order, whatever the rules and whatever has happened."""

from __future__ import annotations

import sys
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import StateUnavailable
from proxy.judge.counts import CountKey, Counts, History
from proxy.judge.evaluate import Judge, RulesFinding
from proxy.judge.facts import CallFacts, Facts, MoveFacts
from proxy.judge.group import mark_of
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.rule import Rule, Ruleset, Window
from proxy.judge.verdict import Mode
from proxy.ledger.reservation import NonceSlot
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Selector
from tests.judge.builders import ACCOUNT, ALICE, CHAIN_ID, SHOP, START, TRANSFER, USDC, Scene, facts, judge_of, spend
from tests.judge.plain_walk import walk
from tests.judge.test_any_rules import live, rule_lists, seen_operations

PACKS = Path(__file__).parents[2] / "rules"


def ruleset_of(folder: Path) -> Ruleset:
    paths = [path for path in sorted(folder.rglob("*.yaml")) if not path.name.endswith(".cases.yaml")]
    files = [SourceFile(path.name, path.read_text()) for path in paths]
    tokens = [file for file in files if file.path == "tokens.yaml"]
    parsed = parse_rules([file for file in files if file not in tokens], tokens, chains=None, clients=None)
    assert parsed.ruleset is not None, parsed.faults
    return parsed.ruleset


SHIPPED = ruleset_of(PACKS)

moves = st.builds(
    MoveFacts,
    call=st.integers(0, 1),
    kind=st.sampled_from(MovementKind),
    asset=st.sampled_from(AssetKind),
    token=st.sampled_from([None, USDC, Address(bytes.fromhex("ba9986d2381edf1da03b0b9c1f8b00dc4aacc369"))]),
    amount=st.sampled_from([None, 0, 10**5, 3 * 10**8, 10**18]),
    counterparty=st.sampled_from([None, ALICE, SHOP]),
    holder=st.sampled_from([ACCOUNT, ALICE]),
    unlimited=st.booleans(),
)


@st.composite
def any_operations(draw: st.DrawFn) -> Facts:
    """One of those of the other properties, with whatever else rules ask for."""
    seen = draw(seen_operations())
    few = draw(st.sampled_from([1, 1, 2, 12, 40]))
    calls = tuple(
        CallFacts(target=Address(bytes([number]) * 20), selector=TRANSFER, value=number % 2) for number in range(few)
    )
    return seen._replace(
        calls=seen.calls if few == 1 else calls,
        moves=seen.moves if draw(st.booleans()) else tuple(draw(st.lists(moves, max_size=3))),
        call_type=draw(st.sampled_from(["single", "batch", "delegatecall", None])),
        eip7702=draw(st.booleans()),
        acts=tuple(draw(st.lists(st.sampled_from(["account_upgraded", "unreadable", "owners_changed"]), max_size=2))),
        lanes=draw(st.sampled_from([0, 1, 5])),
        replaces=draw(st.booleans()),
        call_gas=draw(st.sampled_from([100_000, 6_000_000])),
        max_cost=draw(st.sampled_from([10**15, 10**17])),
        method=draw(st.sampled_from(["eth_sendUserOperation", "eth_estimateUserOperationGas"])),
        chain=draw(st.sampled_from(["soneium", "base"])),
        chain_id=draw(st.sampled_from([CHAIN_ID, 8453])),
        session_since=draw(st.sampled_from([None, START - 86_400])),
    )


pasts = st.lists(
    st.tuples(any_operations(), st.integers(0, 4_000), st.sampled_from(["mined", "mined", "reverted", "in flight"])),
    min_size=2,
    max_size=10,
)


def counts_for(scene: Scene, at: Facts) -> Counts:
    return scene.ledger.counts(NonceSlot(at.chain_id, ACCOUNT, at.account, at.nonce), at.unix_time)


@cache
def shipped(mode: Mode | None) -> Judge:
    """The packs, each in this mode. One for all examples, for it remembers what fits each kind of operation."""
    return Judge(replace(SHIPPED, rules=tuple(replace(rule, mode=mode or rule.mode) for rule in SHIPPED.rules)))


def agrees_with_the_walk(judge: Judge, past: list[tuple[Facts, int, str]], ceiling: Mode) -> None:
    scene, now = Scene(judge), START
    for seen, seconds, then in past:
        now += seconds
        at = seen._replace(unix_time=now)
        counts = counts_for(scene, at)
        said = walk(judge.ruleset, at, counts, ceiling=ceiling)
        for _ in range(3):  # the second time a plan is made for its shape, by which the third goes
            assert judge.consider(at, counts) == said
        live(scene, at, then)


@settings(max_examples=100, deadline=None)
@given(rule_lists, pasts, st.sampled_from([Mode.ENFORCE, Mode.ALERT]))
def test_a_compiled_table_says_and_counts_what_a_walk_of_all_rules_does(
    texts: tuple[str, ...], past: list[tuple[Facts, int, str]], ceiling: Mode
) -> None:
    ruleset = judge_of("\n".join(texts)).ruleset
    agrees_with_the_walk(Judge(ruleset, ceiling=ceiling), past, ceiling)


@settings(max_examples=60, deadline=None)
@given(pasts, st.sampled_from([None, Mode.ENFORCE, Mode.SHADOW]))
def test_the_shipped_packs_say_and_count_what_a_walk_of_them_does(
    past: list[tuple[Facts, int, str]], mode: Mode | None
) -> None:
    agrees_with_the_walk(shipped(mode), past, Mode.ENFORCE)


@settings(max_examples=60, deadline=None)
@given(rule_lists, pasts)
def test_rules_asked_in_one_step_say_what_they_say_piece_by_piece(
    texts: tuple[str, ...], past: list[tuple[Facts, int, str]]
) -> None:
    judge, now = judge_of("\n".join(texts)), START
    scene = Scene(judge)
    for seen, seconds, then in past:
        now += seconds
        at = seen._replace(unix_time=now)
        counts, look = counts_for(scene, at), judge.look(at)
        while look.go_on(1):
            pass
        said = look.finding(counts)
        for _ in range(3):  # as above
            assert judge.consider(at, counts) == said
        live(scene, at, then)


@dataclass
class Untold:
    """Counts of which some cannot be told."""

    counts: Counts
    unlucky: int  # of the first byte of a rule's identity

    def _look(self, key: CountKey) -> None:
        if key.rule[0] % 3 == self.unlucky:
            raise StateUnavailable("a count", fact="ledger")

    def total(self, key: CountKey, window: Window) -> int:
        self._look(key)
        return self.counts.total(key, window)

    def marks(self, key: CountKey, window: Window) -> Set[bytes]:
        self._look(key)
        return self.counts.marks(key, window)

    def history(self, key: CountKey) -> History | None:
        self._look(key)
        return self.counts.history(key)


@settings(max_examples=40, deadline=None)
@given(rule_lists, any_operations(), st.integers(0, 2))
def test_a_count_that_cannot_be_told_is_unknown_to_both(texts: tuple[str, ...], seen: Facts, unlucky: int) -> None:
    judge = judge_of("\n".join(texts))
    counts = Untold(counts_for(Scene(judge), seen), unlucky)
    for _ in range(3):  # as above
        assert judge.consider(seen, counts) == walk(judge.ruleset, seen, counts)


def test_what_ops_allow_by_hand_is_known_to_both() -> None:
    rule = "- {id: r, description: d, mode: enforce, first_seen: {of: recipient, per: session, after: 1 ops}}"
    scene = Scene(judge_of(rule))
    scene.send(facts(moves=(spend(1),)))
    asked = facts(moves=(spend(1, to=SHOP),))
    for known in (mark_of(SHOP), mark_of(ALICE)):

        def allowed(name: str, mark: bytes, now: float, known: bytes = known) -> bool:
            return (name, mark, now) == ("r", known, START)

        judge, counts = Judge(scene.judge.ruleset, allowed=allowed), counts_for(scene, asked)
        finding = judge.consider(asked, counts)
        assert finding == walk(judge.ruleset, asked, counts, allowed=allowed)
        assert bool(finding.hits) is (known != mark_of(SHOP))


# what does not concern an operation costs it nothing

_ELSEWHERE = (
    'match: {{target: "0x{number:040x}"}}',
    'match: {{account: "0x{number:040x}", session: true}}',
    f'match: {{{{target: "0x{SHOP.hex()}", selector: "0x{{number:08x}}"}}}}',
    "match: {{session: false}}",
    "match: {{client: dapp, session: false}}",
    "match: {{client: dapp, moves: USDC, chain: base}}",
    "match: {{client: dapp, method: eth_estimateUserOperationGas, preview: any}}",
    f'match: {{{{target: "0x{SHOP.hex()}", mode: enable}}}}',
    "match: {{grant: true}}",
    "match: {{verdict: session_revoked}}",
    "match: {{act: any}}",
    "match: {{moves: ETH}}",
    "match: {{client: somebody-else}}",
)
_HERE = (
    "match: {session: true}, limit: {count: ops, max: 99, per: session, window: 1h}",
    "match: {session: true, moves: any}, limit: {sum: spend, unit: USD, max: 1000, per: session, window: 24h}",
    "match: {session: true}, when: len(op.calls) > 5",
    "match: {client: dapp}, first_seen: {of: target, per: session, after: 5 ops}",
)


def calls_made(work: Callable[[], object]) -> int:
    """How many Python and C functions it takes to do something."""
    made = 0

    def count(_frame: object, event: str, _arg: Any) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return made


def calls_to_judge(judge: Judge, seen: Facts, counts: Counts) -> int:
    judge.consider(seen, counts)  # operations of its kind have been seen before
    return calls_made(lambda: judge.consider(seen, counts))


@pytest.fixture(scope="module")
def crowded() -> Judge:
    """Ten thousand rules, of which four concern the operation below."""
    few = judge_of("\n".join(_written([*_HERE, *(text.format(number=1) for text in _ELSEWHERE)]))).ruleset
    here, templates = few.rules[: len(_HERE)], few.rules[len(_HERE) :]
    others = [_another(templates[number % len(templates)], number + 1) for number in range(10_000 - len(here))]
    return Judge(replace(few, rules=(*others[:5_000], *here, *others[5_000:])))


def _another(rule: Rule, number: int) -> Rule:
    """The same about another account, contract or function."""
    match = rule.match
    if match.accounts is not None:
        match = replace(match, accounts=frozenset({Address(number.to_bytes(20, "big"))}))
    if match.selectors is not None:
        match = replace(match, selectors=frozenset({Selector(number.to_bytes(4, "big"))}))
    elif match.targets is not None and SHOP not in match.targets:
        match = replace(match, targets=frozenset({Address(number.to_bytes(20, "big"))}))
    return replace(rule, id=f"another{number}", order=number, match=match)


def _written(texts: list[str]) -> list[str]:
    return [f"- {{id: r{number}, description: d, mode: shadow, {text}}}" for number, text in enumerate(texts)]


def test_an_operation_is_not_made_dearer_by_thousands_of_rules_that_cannot_concern_it(crowded: Judge) -> None:
    alone = judge_of("\n".join(_written(list(_HERE))))
    seen = facts(moves=(spend(10**6),))
    counts = counts_for(Scene(alone), seen)
    assert _counted(alone.consider(seen, counts)) == _counted(crowded.consider(seen, counts)) == (2, 1)
    # a place in the index, and its kind, is looked up once for each key that any rule names
    assert calls_to_judge(crowded, seen, counts) <= calls_to_judge(alone, seen, counts) + 60


def _counted(finding: RulesFinding) -> tuple[int, int]:
    return len(finding.charges), len(finding.lessons)


_KINDS = (
    *_HERE,
    *(each.replace("{{", "{").replace("}}", "}") for each in _ELSEWHERE if "number" not in each),
    "limit: {sum: value, max: 5 ETH, per: account, window: day, zone: Europe/Berlin}",
    'match: {session: true}, schedule: {zone: Asia/Tokyo, inside: [{from: "10:00", to: "12:00"}]}',
)


def read_and_ready(texts: list[str]) -> int:
    """The work of reading so many rules, of looking which of them never counts, and of making them ready."""
    each = [text.replace("mode: shadow", "mode: enforce") for text in _written(texts)]
    return calls_made(lambda: judge_of("\n".join(each)))


_MOST_CALLS = 900
"""Of functions, for one rule of a file."""


def some_rules(many: int) -> list[str]:
    """So many, of all kinds."""
    kinds = [*_KINDS, *_ELSEWHERE]
    texts = [kinds[number % len(kinds)] for number in range(many)]
    return [text.format(number=number + 1) if "{{" in text else text for number, text in enumerate(texts)]


def test_twice_as_many_rules_take_twice_the_work_to_read_and_make_ready_and_no_more() -> None:
    read_and_ready(some_rules(40))  # what is worked out once for all
    once, twice = read_and_ready(some_rules(400)), read_and_ready(some_rules(800))
    assert twice <= 2.3 * once
    assert twice <= _MOST_CALLS * 800
