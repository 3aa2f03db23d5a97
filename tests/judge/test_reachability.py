"""What is warned of: a rule that can never fire, one whose rejection can never count; and that nothing else is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.judge.facts import CallFacts, Facts
from proxy.judge.match import matcher
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.reachability import is_wider
from proxy.judge.rule import ANY_COIN, Match
from proxy.judge.tokens import Asset
from proxy.userop.primitives import Address, Selector
from tests.judge.builders import ALICE, CHAIN_ID, MODULE, PERMISSION, TRANSFER, USDC, facts, spend
from tests.judge.parse.reading import SHOP, read

OTHER = "0x" + "52" * 20
TOKENS = f"""
tokens:
  NEAR: {{on: {{1868: {{address: {SHOP}, decimals: 6}}}}}}
  FAR: {{on: {{1: {{address: {OTHER}, decimals: 6}}}}}}
  NOWHERE: {{on: {{}}}}
"""


def _warned(*rules: str, chains: Mapping[str, int] | None = None) -> list[str]:
    lines = "".join(f"  - {{description: It is., {rule}}}\n" for rule in rules)
    parsed = parse_rules(
        [SourceFile("a.yaml", f"rules:\n{lines}")], [SourceFile("t.yaml", TOKENS)], chains=chains, clients=None
    )
    assert parsed.faults == ()
    told = (f"{each.place.line}: {each.problem}" for each in parsed.warnings)
    return [each for each in told if "enforces, and so refuses" not in each]  # that is another question


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("when: op.value > 1 ETH and false", "its condition holds for no operation"),
        ("match: {session: false, mode: use}", "match asks for mode"),
        ("match: {session: false, module: " + SHOP + "}", "match asks for module"),
        ("match: {session: false, permission_id: 0x" + "11" * 32 + "}", "match asks for permission_id"),
        ('match: {grant: false}, when: grant.how == "call"', "it asks about grant"),
        ('match: {grant: false}, except: {when: grant.how == "call"}', "it asks about grant"),
        ("match: {session: true, target: " + SHOP + "}, except: {match: {session: true}}", "an exception of its own"),
        ("match: {session: true}, except: {when: true}", "an exception of its own"),
        ("match: {moves: NOWHERE}", "match lists no moves"),
        ("limit: {sum: spend, token: NOWHERE, max: 1, window: 1h}", "NOWHERE is listed on no chain"),
        ("deviation: {of: spend, token: NOWHERE, factor: 2, after: 9 ops}", "NOWHERE is listed on no chain"),
        ("schedule: {zone: UTC, inside: {days: mon-sun}}", "its hours leave no time outside of them"),
        (
            'schedule: {zone: UTC, inside: [{days: mon-sun, from: "08:00", to: "18:00"}, '
            '{days: mon-sun, from: "18:00", to: "08:00"}]}',
            "its hours leave no time outside of them",
        ),
    ],
)
def test_a_rule_that_can_never_fire_is_told_and_why(rule: str, reason: str) -> None:
    (warning,) = _warned(f"id: a, {rule}")
    assert warning.startswith("2: rule a can never fire: ")
    assert reason in warning


@pytest.mark.parametrize(
    "rule",
    [
        "when: op.value > 1 ETH",
        "match: {session: true, mode: use}",
        "match: {mode: use}",
        'match: {grant: true}, when: grant.how == "call"',
        "match: {session: true, target: " + SHOP + "}, except: {match: {target: " + OTHER + "}}",
        "match: {session: true}, except: {match: {session: true}, when: op.value > 1 ETH}",
        "limit: {sum: spend, token: NEAR, max: 1, window: 1h}",
        "limit: {sum: value, max: 1 ETH, window: 1h}",
        "match: {moves: [NOWHERE, NEAR]}",
        'schedule: {zone: UTC, inside: {days: mon-sun, from: "00:01"}}',
        "schedule: {zone: UTC, outside: {days: mon-sun}}",
    ],
)
def test_a_rule_that_may_fire_is_not(rule: str) -> None:
    assert [each for each in _warned(f"id: a, {rule}") if "can never fire" in each] == []


def test_with_the_chains_of_the_settings_a_token_must_be_on_one_that_the_rule_is_for() -> None:
    chains = {"soneium": 1868, "mainnet": 1}
    limit = "limit: {sum: spend, token: FAR, max: 1, window: 1h}"
    assert _warned(f"id: a, {limit}", chains=chains) == []
    assert _warned(f"id: a, match: {{chain: mainnet}}, {limit}", chains=chains) == []
    for rule in (f"match: {{chain: soneium}}, {limit}", "match: {chain: soneium, moves: FAR}"):
        (warning,) = _warned(f"id: a, {rule}", chains=chains)
        assert "on none of the chains this rule is for" in warning
    assert len(_warned(f"id: a, {limit}", chains={"soneium": 1868})) == 1


WIDE = "id: wide, mode: enforce, severity: high, match: {session: true, target: [" + SHOP + ", " + OTHER + "]}"
NARROW = "id: narrow, mode: enforce, severity: high, match: {session: true, target: " + SHOP + ", mode: use}"


def test_a_rule_behind_one_that_refuses_all_it_matches_is_told() -> None:
    (warning,) = _warned(WIDE, NARROW)
    assert warning == "3: rule narrow never counts: wide at a.yaml:2 refuses all that it matches, before it"


def test_a_graver_rule_shadows_from_behind() -> None:
    assert _warned(NARROW.replace("high", "medium"), WIDE)[0].startswith(
        "2: rule narrow never counts: wide at a.yaml:3"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NARROW, WIDE),
        (WIDE.replace("high", "medium"), NARROW),
        (WIDE.replace("enforce", "alert"), NARROW),
        (WIDE, NARROW.replace("enforce", "alert")),
        (WIDE + ", when: op.value > 1 ETH", NARROW),
        (WIDE + ", limit: {count: ops, max: 9, window: 1h}", NARROW),
        (WIDE + ", except: {match: {client: bot}}", NARROW),
        (WIDE, NARROW.replace("session: true, ", "")),
        (WIDE, NARROW.replace("session: true", "session: true, preview: any")),
        (WIDE, NARROW.replace("session: true", "session: true, verdict: rejected")),
    ],
)
def test_a_rule_that_may_still_count_is_not(first: str, second: str) -> None:
    assert _warned(first, second) == []


@pytest.mark.parametrize(
    ("wide", "narrow", "shadows"),
    [
        ("moves: any", "moves: NEAR", True),
        ("act: any", "act: module_installed", True),
        ("paymaster: any", "paymaster: " + SHOP, True),
        ("paymaster: none", "paymaster: " + SHOP, False),
        ("moves: NEAR", "moves: any", False),
        ("verdict: rejected", "verdict: session_revoked", True),
        ("verdict: session_revoked", "verdict: rejected", False),
        ("verdict: rejected", "verdict: allow", False),
        ("verdict: rejected", "verdict: any", False),
        ("verdict: [allow, rejected]", "verdict: any", True),
        ("verdict: any", "verdict: [allow, session_revoked]", True),
        ("preview: any", "preview: true", True),
        ("preview: true", "preview: any", False),
    ],
)
def test_one_match_is_wider_than_another(wide: str, narrow: str, shadows: bool) -> None:
    warned = _warned(f"id: a, mode: enforce, match: {{{wide}}}", f"id: b, mode: enforce, match: {{{narrow}}}")
    assert bool(warned) is shadows


def test_a_rule_that_is_off_is_told_unless_an_override_says_what_it_is() -> None:
    off = "rules: [{id: a, description: It is., mode: off}]"
    assert [each.rule for each in read(off).warnings] == ["a"]
    assert read(off, "rules: [{extends: a, mode: alert}]").warnings == ()
    on = "rules: [{id: a, description: It is.}]"
    assert read(on, "rules: [{extends: a, mode: off}]").warnings == ()


SWAP = Selector(b"swap")
MAYBE = st.one_of(st.none(), st.booleans())


def _some(*values: object) -> st.SearchStrategy[frozenset[object] | None]:
    return st.one_of(st.none(), st.frozensets(st.sampled_from(values), min_size=1))


MATCHES = st.builds(
    Match,
    session=MAYBE,
    preview=MAYBE,
    any_move=st.sampled_from((None, True)),
    any_act=st.sampled_from((None, True)),
    any_paymaster=MAYBE,
    targets=_some(ALICE, MODULE),
    selectors=_some(TRANSFER, SWAP),
    moves=_some(Asset(CHAIN_ID, USDC), ANY_COIN),
    paymasters=_some(ALICE, MODULE),
    acts=_some("module_installed", "session_removed"),
    session_modes=_some("use", "enable"),
    verdicts=_some("allow", "rejected", "session_revoked"),
)
CALLS = st.builds(
    CallFacts, target=st.sampled_from((ALICE, MODULE)), selector=st.sampled_from((TRANSFER, SWAP)), value=st.just(0)
)
FACTS = st.builds(
    facts,
    session=st.booleans(),
    permission_id=st.just(PERMISSION),
    preview=st.booleans(),
    calls=st.lists(CALLS, max_size=2).map(tuple),
    moves=st.lists(
        st.sampled_from((spend(1), spend(1, token=None), spend(1, token=Address(bytes(20))))), max_size=2
    ).map(tuple),
    paymaster=st.sampled_from((None, ALICE, MODULE)),
    acts=st.lists(st.sampled_from(("module_installed", "session_removed", "other")), max_size=2).map(tuple),
    mode=st.sampled_from((None, "use", "enable")),
    verdict=st.sampled_from(("allow", "session_revoked", "session_expired")),
)


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Match, Match]:
    """Two matches that differ in few fields: of others one is hardly ever wider."""
    wide, other = draw(MATCHES), draw(MATCHES)
    names = draw(st.lists(st.sampled_from(sorted(Match.__slots__)), max_size=3))
    return wide, replace(wide, **{name: getattr(other, name) for name in names})


@settings(max_examples=400, deadline=None)
@given(_pairs(), st.lists(FACTS, min_size=1, max_size=8))
def test_whatever_fits_the_narrower_match_fits_the_wider(pair: tuple[Match, Match], seen: list[Facts]) -> None:
    for wide, narrow in (pair, pair[::-1]):
        if is_wider(wide, narrow):
            assert all(matcher(wide)(each) for each in seen if matcher(narrow)(each))
