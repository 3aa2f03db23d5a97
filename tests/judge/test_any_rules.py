"""Whatever the rules and whatever has happened: the order in which rules are asked changes nothing, nor their company.

Rules are drawn from every kind of match, condition and check, in every mode; operations from a few accounts, sessions,
clients and contracts, so that counts fill up, histories grow and rows get long within one example.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.judge.evaluate import Judge, RulesFinding
from proxy.judge.facts import CallFacts, Facts, GrantFacts
from proxy.judge.parse import SourceFile, parse_rules
from proxy.judge.rule import Rule
from proxy.ledger.reservation import NonceSlot
from proxy.userop.primitives import Address, Hash32, Selector
from tests.judge.builders import (
    ACCOUNT,
    ALICE,
    MODULE,
    SHOP,
    START,
    TOKENS,
    TRANSFER,
    USDC,
    Scene,
    facts,
    judge_of,
    spend,
)

MATCHES = (
    "{}",
    "{session: true}",
    "{session: false}",
    "{grant: true}",
    "{preview: any}",
    "{verdict: any}",
    "{verdict: rejected, preview: any}",
    "{mode: [use, enable]}",
    "{moves: USDC}",
    "{moves: any}",
    "{paymaster: any}",
    "{act: module_installed}",
    "{client: dapp}",
    "{chain: soneium}",
    f'{{target: "0x{SHOP.hex()}"}}',
    f'{{target: "0x{ALICE.hex()}", selector: "transfer(address,uint256)"}}',
    '{selector: ["transfer(address,uint256)", "approve(address,uint256)"]}',
    f'{{account: "0x{ACCOUNT.hex()}", moves: USDC}}',
)
CONDITIONS = (
    None,
    "spend(USDC) > 2 USDC",
    "op.limit_used_percent > 50",  # often missing
    "len(op.calls) == 1 or op.value > 1 ETH",
    "grant.duration != none and grant.duration > 1d",
    "op.paymaster == none",
)
PER = ("session", "account", "client", "target", "recipient", "token", "chain", "[session, recipient]")
CHECKS = (
    None,
    *(f"limit: {{sum: spend, token: USDC, max: 6, per: {per}, window: 10m}}" for per in PER),
    "limit: {sum: spend, unit: USD, max: 5, window: hour, zone: Asia/Tokyo}",
    *(f"limit: {{count: ops, max: 3, per: {per}, window: 5m}}" for per in PER[:4]),
    *(f"limit: {{distinct: {of}, max: 2, per: account, window: 10m}}" for of in ("recipient", "client", "session")),
    "limit: {each: spend, token: USDC, max: 3}",
    *(f"rate: {{max: 3, per: {per}, window: 3m}}" for per in PER[:3]),
    *(f"first_seen: {{of: {of}, per: session, after: 2 ops}}" for of in ("target", "recipient", "client")),
    "deviation: {of: spend, token: USDC, per: session, factor: 1, after: 3 ops}",
    *(f"streak: {{of: {of}, length: 2, per: session}}" for of in ("reverted", "rejected")),
    'schedule: {zone: Europe/Berlin, inside: [{from: "10:00", to: "10:10"}]}',
)


def is_sound(text: str) -> bool:
    """Some combinations are refused, such as a count for each session of operations of none."""
    sources = [SourceFile("a.yaml", f"rules:\n  {text}")]
    return parse_rules(sources, [SourceFile("tokens.yaml", TOKENS)], chains=None, clients=None).ruleset is not None


@st.composite
def rule_texts(draw: st.DrawFn, name: str) -> str:
    when, check = draw(st.sampled_from(CONDITIONS)), draw(st.sampled_from(CHECKS))
    match = draw(st.sampled_from(MATCHES))
    if when is not None and "grant." in when:
        match = "{grant: true}"
    parts = [
        f"id: {name}",
        "description: d",
        f"mode: {draw(st.sampled_from(['shadow', 'alert', 'enforce', 'enforce']))}",
        f"severity: {draw(st.sampled_from(['low', 'high']))}",
        f"fail: {draw(st.sampled_from(['open', 'closed']))}",
        f"match: {match}",
        *([] if when is None else [f"when: '{when}'"]),
        *([] if check is None else [check]),
        *([] if draw(st.booleans()) else ["except: [{match: {client: friend}, reason: a friend}]"]),
    ]
    return f"- {{{', '.join(parts)}}}"


rule_lists = st.integers(2, 8).flatmap(
    lambda size: st.tuples(*(rule_texts(f"r{number}").filter(is_sound) for number in range(size)))
)


@st.composite
def seen_operations(draw: st.DrawFn) -> Facts:
    session = draw(st.sampled_from([b"\x77", b"\x78", None]))
    target = draw(st.sampled_from([SHOP, ALICE]))
    recipients = st.sampled_from([Address(bytes([number]) * 20) for number in (1, 2, 3)])
    amounts = st.sampled_from([10**6, 2 * 10**6, 5 * 10**6, None])
    moves = draw(st.lists(st.builds(spend, amounts, st.sampled_from([USDC, USDC, None]), recipients), max_size=2))
    grants = (GrantFacts(permission_id=Hash32(b"\x79" * 32), module=MODULE, how="call"),)
    preview, verdict = draw(st.sampled_from([(False, "allow")] * 4 + [(True, "allow"), (False, "session_scope")]))
    return facts(
        account=draw(st.sampled_from([ACCOUNT, Address(b"\xad" * 20)])),
        session=session is not None,
        permission_id=None if session is None else Hash32(session * 32),
        module=None if session is None else MODULE,
        mode=None if session is None else "use",
        client=draw(st.sampled_from(["dapp", "other", "friend"])),
        calls=(CallFacts(target=target, selector=draw(st.sampled_from([TRANSFER, Selector(b"\1\2\3\4")])), value=0),),
        moves=tuple(moves),
        grants=grants if draw(st.booleans()) else (),
        acts=("module_installed",) if draw(st.booleans()) else (),
        paymaster=draw(st.sampled_from([None, SHOP])),
        limit_used_percent=draw(st.sampled_from([None, 40, 90])),
        preview=preview,
        verdict=verdict,
    )


pasts = st.lists(
    st.tuples(
        seen_operations(),
        st.integers(0, 120),
        st.sampled_from(["mined", "mined", "mined", "reverted", "dropped", "in flight"]),
    ),
    min_size=4,
    max_size=16,
)


def judged_by(rules: tuple[Rule, ...], like: Judge) -> Judge:
    return Judge(replace(like.ruleset, rules=rules))


def in_any_order(finding: RulesFinding) -> tuple[object, ...]:
    """All of it. Hits have an order of their own; what is to be counted has none."""
    unordered = (finding.charges, finding.lessons, finding.rates, finding.rows, finding.opened)
    return (finding.verdict, finding.hits, *(sorted(map(repr, each)) for each in unordered))


def live(scene: Scene, seen: Facts, then: str) -> RulesFinding:
    """As the gate does it: only what the chain allows and is no estimate goes out."""
    if not seen.preview and seen.verdict == "allow":
        return scene.send(seen, then=then)
    finding = scene.look(seen)
    for rate in finding.rates:
        scene.ledger.rate(rate.key, rate.window, rate.amount, rate.limit, seen.unix_time)
    return finding


@settings(max_examples=100, deadline=None)
@given(rule_lists, pasts, st.randoms(use_true_random=False))
def test_the_order_in_which_rules_are_asked_never_changes_what_is_said_or_counted(
    texts: tuple[str, ...], past: list[tuple[Facts, int, str]], random: object
) -> None:
    judge = judge_of("\n".join(texts))
    shuffled = list(judge.ruleset.rules)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis's own Random
    one, another = Scene(judge), Scene(judged_by(tuple(shuffled), judge))
    now = START
    for seen, seconds, then in past:
        now += seconds
        at = seen._replace(unix_time=now)
        assert in_any_order(live(one, at, then)) == in_any_order(live(another, at, then))


@settings(max_examples=60, deadline=None)
@given(rule_lists, pasts)
def test_a_rule_says_in_company_what_it_says_alone(texts: tuple[str, ...], past: list[tuple[Facts, int, str]]) -> None:
    judge = judge_of("\n".join(texts))
    scene, now = Scene(judge), START
    for seen, seconds, then in past:
        now += seconds
        at = seen._replace(unix_time=now)
        counts = scene.ledger.counts(NonceSlot(at.chain_id, ACCOUNT, at.account, at.nonce), now)
        together = judge.consider(at, counts)
        alone = [judged_by((rule,), judge).consider(at, counts) for rule in judge.ruleset.rules]
        assert {hit.rule.id: hit for hit in together.hits} == {
            hit.rule.id: hit for finding in alone for hit in finding.hits
        }
        assert sorted(map(repr, together.charges)) == sorted(
            repr(charge) for finding in alone for charge in finding.charges
        )
        assert bool(together.rejections) is any(finding.rejections for finding in alone)
        live(scene, at, then)
