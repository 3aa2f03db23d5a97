"""Lists and prices in files of their own: read with the rules, counted, and refused with their place when faulty."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.evaluate import Judge
from proxy.judge.parse import Beside, Parsed, SourceFile, ended, parse_rules
from tests.judge.builders import ALICE, SHOP, START, TOKENS, Scene, facts, ids, spend

LISTS = """
lists: {partners: {of: address, file: partners.txt}}
rules:
  - {id: stranger, description: d, mode: enforce, fail: open,
     when: "any(m.counterparty not in $partners for m in op.moves)"}
"""
FED = TOKENS + "prices: {file: prices.json, max_age: 1h}\n"
CAP = "rules: [{id: cap, description: d, mode: enforce, limit: {each: spend, unit: USD, max: 100}}]"


def read(rules: str, files: Mapping[str, str], tokens: str = TOKENS) -> Parsed:
    def beside(source: str, name: str) -> Beside:
        assert source in ("rules/a.yaml", "rules/tokens.yaml")
        return Beside(f"rules/{name}", files.get(name), "there is no such file")

    sources = [SourceFile("rules/a.yaml", rules)], [SourceFile("rules/tokens.yaml", tokens)]
    return parse_rules(*sources, chains=None, clients=None, beside=beside)


def fed(prices: Mapping[str, str], updated: object = int(START)) -> str:
    return json.dumps({"updated": updated, "prices": prices})


def scene(parsed: Parsed) -> Scene:
    assert parsed.ruleset is not None, parsed.faults
    return Scene(Judge(parsed.ruleset))


def test_a_list_may_stand_in_a_file_of_its_own_with_remarks() -> None:
    parsed = read(LISTS, {"partners.txt": f"# ours\n0x{ALICE.hex()}  # alice\n\n0x{SHOP.hex()}\n"})
    assert parsed.ruleset is not None
    assert (dict(parsed.ruleset.listed), parsed.beside) == ({"partners": 2}, ("rules/partners.txt",))
    assert ids(scene(parsed).look(facts(moves=(spend(1, to=ALICE),)))) == []
    assert ids(scene(parsed).look(facts(moves=(spend(1, to=type(ALICE)(bytes(20))),)))) == ["stranger"]


def test_a_list_that_is_refreshed_changes_the_set_and_no_count() -> None:
    before, after = (read(LISTS, {"partners.txt": f"0x{each.hex()}"}).ruleset for each in (ALICE, SHOP))
    assert before is not None
    assert after is not None
    assert before.digest != after.digest
    assert before.rules[0].identity == after.rules[0].identity


def test_a_faulty_line_of_a_list_is_told_with_its_place() -> None:
    (fault,) = read(LISTS, {"partners.txt": f"0x{ALICE.hex()}\n0x12\n"}).faults
    assert str(fault).startswith("rules/partners.txt:2:1: ")


@pytest.mark.parametrize(
    ("lists", "problem"),
    [
        ("{of: address, file: none.txt}", "rules/none.txt: there is no such file"),
        ("{of: address}", "a list has either values or a file"),
        ("{of: address, values: [], file: partners.txt}", "a list has either values or a file"),
    ],
)
def test_a_list_without_values_or_a_file_is_a_fault(lists: str, problem: str) -> None:
    rules = LISTS.replace("{of: address, file: partners.txt}", lists)
    faults = read(rules, {"partners.txt": ""}).faults
    assert problem in [fault.problem for fault in faults]


def test_a_price_of_the_feed_stands_in_place_of_the_written_one() -> None:
    cheap = scene(read(CAP, {"prices.json": fed({"USDC": "0.5"})}, FED))
    assert ids(cheap.look(facts(moves=(spend(200 * 10**6),)))) == []
    assert ids(cheap.look(facts(moves=(spend(200 * 10**6 + 2),)))) == ["cap"]


@pytest.mark.parametrize("updated", [int(START), "2026-03-02T09:00:00Z", "2026-03-02T10:00:00+01:00"])
def test_a_price_that_is_too_old_is_no_price_and_fail_decides(updated: object) -> None:
    judge = scene(read(CAP, {"prices.json": fed({"USDC": "0.5"}, updated)}, FED))
    fresh, old = (facts(unix_time=START + age, moves=(spend(1),)) for age in (3_600, 3_601))
    assert ids(judge.look(fresh)) == []
    (hit,) = judge.look(old).hits
    assert hit.unknown
    # a token that the feed does not name keeps the price that is written
    assert ids(judge.look(facts(unix_time=START + 3_601, moves=(spend(10**15, None),)))) == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", fed({}, "soon"), fed({}, "2026-03-02T09:00:00"), '{"updated": 1, "prices": []}'],
)
def test_what_is_no_file_of_prices_is_a_fault(text: str) -> None:
    (fault,) = read(CAP, {"prices.json": text}, FED).faults
    assert fault.problem == "rules/prices.json is no file of prices"


@given(st.text() | st.dictionaries(st.text(), st.text() | st.floats() | st.integers()).map(json.dumps))
def test_no_feed_and_no_list_crashes_the_reading(text: str) -> None:
    for parsed in (read(CAP, {"prices.json": text}, FED), read(LISTS, {"partners.txt": text})):
        assert (parsed.ruleset is None) is bool(parsed.faults)


def test_an_exception_has_a_reason_and_an_end() -> None:
    rules = """
rules:
  - id: cap
    description: d
    mode: enforce
    limit: {each: spend, token: USDC, max: 1}
    except: [{match: {client: dapp}, reason: moving house, until: 2026-03-02}]
"""
    judge = scene(read(rules, {}))
    evening, next_day = (facts(unix_time=START + hours * 3_600, moves=(spend(2 * 10**6),)) for hours in (14.9, 15))
    assert ids(judge.look(evening)) == []
    assert ids(judge.look(next_day)) == ["cap"]


def test_an_exception_that_is_over_is_told_from_that_moment_on_and_not_before() -> None:
    rule = "{id: cap, description: d, except: [{match: {client: x}, reason: moving house, until: 2026-03-02}]}"
    rules = read(f"rules: [{rule}]", {}).ruleset
    assert rules is not None
    end = datetime(2026, 3, 3, tzinfo=UTC).timestamp()
    assert list(ended(rules.rules, end - 1)) == []
    (told,) = ended(rules.rules, end)
    assert told.problem == (
        "rule cap has an exception (moving house) that ended 2026-03-03 00:00 UTC and exempts nothing any more"
    )


@pytest.mark.parametrize("until", ["0001-01-01T00:00:00+14:00", "0001-01-01", "1969-12-31"])
def test_an_exception_that_was_over_long_ago_is_told_whatever_its_date(until: str) -> None:
    rules = read(
        f"rules: [{{id: a, description: d, except: [{{match: {{client: x}}, until: '{until}'}}]}}]", {}
    ).ruleset
    assert rules is not None
    assert len(list(ended(rules.rules, START))) == 1


@pytest.mark.parametrize("until", ["soon", "2026-02-30", "2026-03-02T09:00:00"])
def test_an_end_that_is_no_moment_is_a_fault(until: str) -> None:
    rule = f"{{id: a, description: d, except: [{{match: {{client: x}}, until: '{until}'}}]}}"
    (fault,) = read(f"rules: [{rule}]", {}).faults
    assert "is no date" in fault.problem


def test_fees_for_a_unit_of_gas_can_be_asked_about() -> None:
    rule = "{id: dear, description: d, mode: enforce, when: op.max_fee > 20 gwei or op.priority_fee > 2 gwei}"
    judge = scene(read(f"rules: [{rule}]", {}))
    assert ids(judge.look(facts(max_fee=20 * 10**9, priority_fee=2 * 10**9))) == []
    assert ids(judge.look(facts(max_fee=20 * 10**9 + 1))) == ["dear"]
    assert ids(judge.look(facts(priority_fee=2 * 10**9 + 1))) == ["dear"]
