"""Every rule is asked, the gravest answer stands, and doubt obeys each rule's own word."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Code, StateUnavailable
from proxy.judge.counts import Counts
from proxy.judge.evaluate import Judge
from proxy.judge.facts import GrantFacts
from proxy.judge.rule import Ruleset
from proxy.judge.verdict import Mode
from proxy.userop.budget import MOST_COUNTS
from tests.judge.builders import ALICE, MODULE, PERMISSION, SHOP, USDC, Scene, facts, ids, judge_of, spend

ONE_OF_EACH = """
- {id: listens, description: shadow, mode: shadow, severity: critical, when: op.value >= 0 ETH or true}
- {id: warns, description: alert, mode: alert, severity: low, when: len(op.calls) == 1}
- {id: refuses-late, description: refuse, mode: enforce, severity: medium, when: len(op.calls) == 1}
- {id: refuses-gravely, description: refuse, mode: enforce, severity: high, when: len(op.calls) == 1}
- {id: refuses-too, description: refuse, mode: enforce, severity: high, when: len(op.calls) == 1}
- {id: is-off, description: off, mode: "off", when: len(op.calls) == 1}
- {id: stays-quiet, description: quiet, mode: enforce, when: len(op.calls) == 2}
"""


def test_reject_beats_alert_beats_shadow_then_severity_then_file_order() -> None:
    finding = Scene(judge_of(ONE_OF_EACH)).look(facts())
    assert ids(finding) == ["refuses-gravely", "refuses-too", "refuses-late", "warns", "listens"]
    assert [hit.rule.id for hit in finding.rejections] == ["refuses-gravely", "refuses-too", "refuses-late"]
    assert finding.verdict == "reject"


@pytest.mark.parametrize(
    ("ceiling", "verdict", "modes"),
    [
        (Mode.ENFORCE, "reject", {Mode.ENFORCE, Mode.ALERT, Mode.SHADOW}),
        (Mode.ALERT, "alert", {Mode.ALERT, Mode.SHADOW}),
        (Mode.SHADOW, "allow", {Mode.SHADOW}),
        (Mode.OFF, "allow", set()),
    ],
)
def test_the_mode_of_the_gate_is_a_ceiling(ceiling: Mode, verdict: str, modes: set[Mode]) -> None:
    finding = Scene(judge_of(ONE_OF_EACH, ceiling=ceiling)).look(facts())
    assert (finding.verdict, {hit.mode for hit in finding.hits}) == (verdict, modes)


@given(order=st.permutations(range(6)))
@settings(max_examples=60, deadline=None)
def test_the_order_in_which_rules_are_asked_never_changes_a_verdict(order: list[int]) -> None:
    rules = judge_of(ONE_OF_EACH).ruleset.rules
    judge = Judge(Ruleset(rules=tuple(rules[position] for position in order)))
    expected = Scene(Judge(Ruleset(rules=rules[:6]))).look(facts())
    assert Scene(judge).look(facts()) == expected


def test_what_a_refused_caller_reads_names_the_rule_and_the_cure() -> None:
    judge = judge_of(
        """
        - {id: no-more, description: d, mode: enforce, remedy: ask ops, limit: {each: spend, token: USDC, max: 5}}
        """
    )
    (hit,) = Scene(judge).look(facts(moves=(spend(5_000_001),))).hits
    reason = hit.reason()
    assert (reason.code, reason.rule, reason.remedy) == (Code.RULE_REJECTED, "no-more", "ask ops")
    assert (reason.wanted, reason.got) == ("at most 5 USDC", "5.000001 USDC")
    assert "no-more" in reason.sentence


def test_a_rate_has_a_code_of_its_own_and_counts_requests_that_are_refused() -> None:
    scene = Scene(
        judge_of(
            """
            - {id: slowly, description: rate, mode: enforce, rate: {max: 2, per: client, window: 1m}}
            - {id: never, description: no, mode: enforce, when: len(op.calls) == 1}
            """
        )
    )
    assert [ids(scene.send(facts())) for _ in range(3)] == [["never"], ["never"], ["slowly", "never"]]
    assert scene.look(facts()).hits[0].reason().code is Code.RATE_LIMITED
    assert ids(scene.look(facts(client="another"))) == ["never"]
    # a request that the rate refused is not counted, and the minute slides on
    assert ids(scene.look(facts(unix_time=facts().unix_time + 62))) == ["never"]


# doubt


@pytest.mark.parametrize(("fail", "fires"), [("closed", True), ("open", False)])
def test_an_amount_that_nobody_can_tell_obeys_fail(fail: str, fires: bool) -> None:
    judge = judge_of(
        f"- {{id: cap, description: cap, mode: enforce, fail: {fail}, limit: {{each: spend, token: USDC, max: 5}}}}"
    )
    finding = Scene(judge).look(facts(moves=(spend(None),)))
    assert [hit.unknown for hit in finding.hits] == [True] * fires
    assert finding.opened == (() if fires else ("cap",))


@pytest.mark.parametrize(("fail", "fires"), [("closed", True), ("open", False)])
def test_a_condition_that_nobody_can_answer_obeys_fail(fail: str, fires: bool) -> None:
    judge = judge_of(f"- {{id: full, description: d, mode: alert, fail: {fail}, when: op.limit_used_percent > 80}}")
    assert bool(Scene(judge).look(facts()).hits) is fires
    assert ids(Scene(judge).look(facts(limit_used_percent=81))) == ["full"]
    assert ids(Scene(judge).look(facts(limit_used_percent=80))) == []


class _NoLedger:
    """Counts that cannot be had."""

    def total(self, *_: object) -> int:
        raise StateUnavailable("the ledger is gone", fact="ledger")

    marks = history = total


@pytest.mark.parametrize(("fail", "fires"), [("closed", True), ("open", False)])
@pytest.mark.parametrize(
    "check",
    ["limit: {count: ops, max: 5, per: session, window: 1h}", "first_seen: {of: target, per: session, after: 20 ops}"],
)
def test_a_ledger_that_cannot_tell_obeys_fail(check: str, fail: str, fires: bool) -> None:
    judge = judge_of(f"- {{id: counts, description: d, mode: enforce, fail: {fail}, {check}}}")
    counts: Counts = _NoLedger()  # type: ignore[assignment]  # it has what is asked of it
    finding = judge.consider(facts(), counts)
    assert [hit.unknown for hit in finding.hits] == [True] * fires
    assert finding.opened == (() if fires else ("counts",))


@pytest.mark.parametrize(
    "check",
    [
        "limit: {count: ops, max: 5, per: [target, recipient], window: 1h}",
        "limit: {distinct: recipient, max: 5, per: target, window: 1h}",
        "rate: {max: 5, per: [recipient, target], window: 1h}",
        "first_seen: {of: recipient, per: target}",
        "when: any(any(m.counterparty == c.target for m in op.moves) for c in op.calls)",
    ],
)
@pytest.mark.parametrize(("calls", "unknown"), [(19, False), (300, True)])
def test_an_operation_that_would_keep_the_judge_busy_for_long_obeys_fail(check: str, calls: int, unknown: bool) -> None:
    judge = judge_of(f"- {{id: pairs, description: d, mode: enforce, {check}}}")
    people = [type(ALICE)(number.to_bytes(20, "big")) for number in range(calls)]
    seen = facts(
        calls=tuple(facts().calls[0]._replace(target=each) for each in people),
        moves=tuple(spend(1, to=type(ALICE)(b"\1" + each[1:])) for each in people),
    )
    finding = Scene(judge).look(seen)
    assert any(hit.unknown for hit in finding.hits) is unknown
    assert len(finding.charges) + len(finding.rates) <= MOST_COUNTS


def test_a_price_nobody_gave_makes_a_limit_in_dollars_obey_fail() -> None:
    judge = judge_of(
        "- {id: usd, description: d, mode: enforce, limit: {sum: spend, unit: USD, max: 100, per: session, window: 1d}}"
    )
    assert ids(Scene(judge).look(facts(moves=(spend(100_000_000),)))) == []
    assert ids(Scene(judge).look(facts(moves=(spend(100_000_001),)))) == ["usd"]
    unpriced = spend(1, token=type(USDC)(bytes(19) + b"\x0f"))
    (hit,) = Scene(judge).look(facts(moves=(unpriced,))).hits
    assert hit.unknown


# counting

DAILY = "- {id: daily, description: d, mode: %s, limit: {sum: spend, token: USDC, max: 500, per: session, window: 24h}}"


@pytest.mark.parametrize("mode", ["shadow", "enforce"])
def test_a_rule_in_shadow_counts_what_it_would_have_let_out_if_it_enforced(mode: str) -> None:
    scene = Scene(judge_of(DAILY % mode))
    fires = [bool(scene.send(facts(moves=(spend(amount * 10**6),))).hits) for amount in (300, 201, 200, 1)]
    assert fires == [False, True, False, True]


def test_an_alert_counts_all_that_went_out_and_says_how_much_it_was() -> None:
    scene = Scene(judge_of(DAILY % "alert"))
    for amount in (490, 400):
        scene.send(facts(moves=(spend(amount * 10**6),)))
    (hit,) = scene.send(facts(moves=(spend(10 * 10**6),))).hits
    assert hit.sentence == "500 USDC spend allowed in 1d, 890 USDC counted, 10 USDC asked"
    assert (hit.wanted, hit.got) == ("at most 0 USDC", "10 USDC")


def test_an_alert_on_different_things_remembers_those_over_its_limit() -> None:
    scene = Scene(
        judge_of(
            """
            - {id: few, description: d, mode: alert, limit: {distinct: recipient, max: 1, per: session, window: 1h}}
            """
        )
    )
    to_alice, to_shop = (facts(moves=(spend(1, to=to),)) for to in (ALICE, SHOP))
    assert [ids(scene.send(each)) for each in (to_alice, to_shop, to_shop)] == [[], ["few"], []]


def test_a_rule_that_enforces_after_it_alerted_inherits_what_was_counted() -> None:
    scene = Scene(judge_of(DAILY % "alert"))
    for amount in (490, 400):
        scene.send(facts(moves=(spend(amount * 10**6),)))
    scene.judge = judge_of(DAILY % "enforce")
    assert ids(scene.send(facts(moves=(spend(1),)))) == ["daily"]


def test_value_that_did_not_move_is_given_back_and_uses_are_not() -> None:
    scene = Scene(
        judge_of(
            DAILY % "enforce"
            + "\n- {id: twice, description: d, mode: enforce, limit: {count: ops, max: 2, per: session, window: 24h}}"
        )
    )
    all_of_it = facts(moves=(spend(500 * 10**6),))
    assert ids(scene.send(all_of_it, then="reverted")) == []
    assert ids(scene.send(all_of_it)) == []
    assert sorted(ids(scene.send(all_of_it))) == ["daily", "twice"]


def test_what_is_in_flight_counts_and_what_was_dropped_does_not() -> None:
    scene = Scene(judge_of(DAILY % "enforce"))
    most = facts(moves=(spend(400 * 10**6),))
    assert ids(scene.send(most, then="dropped")) == []
    assert ids(scene.send(most, then="in flight")) == []
    (hit,) = scene.send(most).hits
    assert (hit.wanted, hit.got, hit.retryable) == ("at most 100 USDC", "400 USDC", True)


def test_each_group_has_a_count_of_its_own_also_in_pairs() -> None:
    scene = Scene(
        judge_of(
            """
            - id: pair
              description: d
              mode: enforce
              limit: {sum: spend, token: USDC, max: 5, per: [session, recipient], window: 1h}
            """
        )
    )
    to_alice, to_shop = (facts(moves=(spend(5 * 10**6, to=to),)) for to in (ALICE, SHOP))
    assert [ids(scene.send(each)) for each in (to_alice, to_shop, to_alice)] == [[], [], ["pair"]]
    other_session = to_alice._replace(permission_id=type(to_alice.permission_id)(b"\x78" * 32))  # type: ignore[misc]  # a hash
    assert ids(scene.send(other_session)) == []
    both = facts(moves=(spend(1, to=ALICE), spend(1, to=type(SHOP)(b"\x09" * 20))))
    assert ids(scene.send(both)) == ["pair"]


def test_an_operation_of_no_session_belongs_to_no_sessions_count() -> None:
    scene = Scene(
        judge_of("- {id: few, description: d, mode: enforce, limit: {count: ops, max: 1, per: session, window: 1h}}")
    )
    owners = facts(session=False, permission_id=None, module=None, mode=None)
    assert [ids(scene.send(owners)) for _ in range(3)] == [[], [], []]


def test_different_things_are_counted_once_each_and_known_ones_always_pass() -> None:
    scene = Scene(
        judge_of(
            "- {id: fan, description: d, mode: enforce, limit: {distinct: recipient, max: 2, per: session, window: 1h}}"
        )
    )

    def to(number: int) -> list[str]:
        return ids(scene.send(facts(moves=(spend(1, to=type(ALICE)(bytes([number]) * 20)),))))

    assert [to(1), to(2), to(1), to(3), to(2)] == [[], [], [], ["fan"], []]


def test_a_first_target_fires_once_there_is_a_history_and_is_learnt_when_it_was_mined() -> None:
    scene = Scene(
        judge_of("- {id: new, description: d, mode: alert, first_seen: {of: target, per: session, after: 3 ops}}")
    )
    new = facts(calls=(facts().calls[0]._replace(target=ALICE),))
    usual = [ids(scene.send(facts())) for _ in range(3)]
    assert (usual, ids(scene.send(new, then="dropped")), ids(scene.send(new)), ids(scene.send(new))) == (
        [[], [], []],
        ["new"],
        ["new"],
        [],
    )


def test_an_amount_far_from_the_usual_fires_and_silence_is_kept_until_there_is_enough_history() -> None:
    scene = Scene(
        judge_of(
            """
            - id: odd
              description: d
              mode: alert
              deviation: {of: spend, token: USDC, per: session, factor: 5, after: 10 ops}
            """
        )
    )
    usual = [ids(scene.send(facts(moves=(spend((10 + number % 3) * 10**6),)))) for number in range(9)]
    early = ids(scene.send(facts(moves=(spend(900 * 10**6),))))
    late = ids(scene.send(facts(moves=(spend(900 * 10**6),))))
    assert (usual, early, late) == ([[]] * 9, [], ["odd"])
    assert ids(scene.send(facts(moves=(spend(12 * 10**6),)))) == []


def test_a_row_of_reverts_fires_and_one_success_ends_it() -> None:
    scene = Scene(judge_of("- {id: row, description: d, mode: alert, streak: {of: reverted, length: 3, per: session}}"))
    rows = [ids(scene.send(facts(), then=then)) for then in ("reverted",) * 3 + ("mined", "mined")]
    assert rows == [[], [], [], ["row"], []]


@pytest.mark.parametrize(("hour", "minute", "fires"), [(7, 59, True), (8, 0, False), (17, 59, False), (18, 0, True)])
def test_a_schedule_follows_the_clock_of_its_zone(hour: int, minute: int, fires: bool) -> None:
    judge = judge_of(
        """
        - id: hours
          description: d
          mode: alert
          schedule: {zone: Europe/Berlin, inside: [{days: mon-fri, from: "08:00", to: "18:00"}]}
        """
    )
    at = facts().unix_time + (hour - 10) * 3600 + minute * 60  # 09:00 UTC is 10:00 there in March
    assert bool(Scene(judge).look(facts(unix_time=at)).hits) is fires
    assert Scene(judge).look(facts(unix_time=at + 5 * 86_400)).hits, "on a Saturday it always fires"


# matching


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ("{session: true}", True),
        ("{session: false}", False),
        ("{moves: USDC}", True),
        ("{moves: ETH}", False),
        ("{moves: any}", True),
        (f'{{target: "0x{SHOP.hex()}"}}', True),
        (f'{{target: "0x{ALICE.hex()}"}}', False),
        ('{selector: "transfer(address,uint256)"}', True),
        (f'{{target: "0x{SHOP.hex()}", selector: "approve(address,uint256)"}}', False),
        ("{client: dapp, chain: soneium}", True),
        ("{client: [other, dapp]}", True),
        ("{mode: use}", True),
        ("{mode: [enable, unsafe_enable]}", False),
        ("{paymaster: none}", True),
        ("{paymaster: any}", False),
        ("{preview: true}", False),
        ("{preview: any}", True),
        ("{verdict: rejected}", False),
        ("{verdict: any}", True),
        ("{method: pimlico_sendUserOperationNow}", False),
        ("{act: any}", False),
        ("{grant: true}", False),
    ],
)
def test_a_match_fits_what_it_names_and_nothing_else(match: str, fits: bool) -> None:
    judge = judge_of(f"- {{id: rule, description: d, mode: alert, match: {match}}}")
    assert bool(Scene(judge).look(facts(moves=(spend(1),))).hits) is fits


def test_a_rule_says_nothing_of_refused_operations_unless_it_names_their_verdict() -> None:
    judge = judge_of(
        """
        - {id: usual, description: d, mode: alert}
        - {id: revoked, description: d, mode: alert, match: {verdict: session_revoked}}
        - {id: refused, description: d, mode: alert, match: {verdict: rejected}}
        """
    )
    look = Scene(judge).look
    assert ids(look(facts())) == ["usual"]
    assert ids(look(facts(verdict="session_revoked"))) == ["revoked", "refused"]
    assert ids(look(facts(verdict="session_scope"))) == ["refused"]


def test_an_exception_is_data_and_silences_its_rule_only() -> None:
    judge = judge_of(
        f"""
        - id: targets
          description: d
          mode: enforce
          match: {{session: true}}
          except:
            - {{match: {{target: "0x{SHOP.hex()}"}}, when: len(op.calls) == 1, reason: our shop}}
        - {{id: other, description: d, mode: alert}}
        """
    )
    assert ids(Scene(judge).look(facts())) == ["other"]
    two = facts(calls=facts().calls * 2)
    assert ids(Scene(judge).look(two)) == ["targets", "other"]


def test_of_a_thousand_rules_only_those_filed_under_what_is_there_are_asked() -> None:
    many = "\n".join(
        f'- {{id: r{number}, description: d, mode: alert, match: {{target: "0x{number:040x}"}}}}'
        for number in range(1, 996)
    )
    judge = judge_of(many + ONE_OF_EACH)
    assert len(judge._index.candidates(facts()).positions) == 6
    assert ids(Scene(judge).look(facts())) == ["refuses-gravely", "refuses-too", "refuses-late", "warns", "listens"]


@pytest.mark.parametrize(
    "match",
    [
        f'{{target: "0x{SHOP.hex()}", selector: "0x%08x"}}',
        "{session: false}",
        "{grant: true}",
        "{mode: enable}",
        "{verdict: session_revoked}",
        "{preview: true}",
        "{paymaster: any}",
        "{act: any}",
        "{moves: any}",
    ],
)
def test_rules_that_name_no_value_of_their_own_are_not_asked_in_vain_either(match: str) -> None:
    many = "\n".join(
        f"- {{id: r{number}, description: d, mode: alert, match: {match % number if '%' in match else match}}}"
        for number in range(200)
    )
    judge = judge_of(many + ONE_OF_EACH)
    assert len(judge._index.candidates(facts()).positions) == 6
    assert ids(Scene(judge).look(facts())) == ["refuses-gravely", "refuses-too", "refuses-late", "warns", "listens"]


# sessions that are granted


def test_a_rule_on_granted_sessions_is_asked_of_each_and_so_are_its_exceptions() -> None:
    judge = judge_of(
        """
        - id: too-wide
          description: A wide session.
          mode: alert
          match: {grant: true}
          when: '"sudo_action" in grant.findings'
          except: [{when: '"expired" in grant.findings', reason: it is over}]
        """
    )

    def of(*findings: tuple[str, ...]) -> list[str]:
        grants = (GrantFacts(permission_id=PERMISSION, module=MODULE, how="call", findings=found) for found in findings)
        return [hit.sentence for hit in Scene(judge).look(facts(grants=tuple(grants))).hits]

    assert of(("no_expiry",)) == []
    assert of(("sudo_action", "expired")) == []
    (sentence,) = of(("sudo_action", "expired"), ("sudo_action",))
    assert f"0x{PERMISSION.hex()}" in sentence


def test_a_row_that_has_not_grown_for_a_day_has_ended() -> None:
    scene = Scene(
        judge_of("- {id: row, description: d, mode: enforce, streak: {of: reverted, length: 2, per: session}}")
    )
    for _ in range(2):
        scene.send(facts(), then="reverted")
    day = 86_400
    assert ids(scene.look(facts(unix_time=facts().unix_time + day - 1))) == ["row"]
    assert ids(scene.look(facts(unix_time=facts().unix_time + day))) == []
