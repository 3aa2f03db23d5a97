"""Every fault is told at its line and column, with what is wrong and the cure; all of all files at once.

In each text a mark stands where the fault is to be told.
"""

from __future__ import annotations

import pytest

from proxy.judge.parse import Parsed, SourceFile, parse_rules
from tests.judge.builders import TOKENS
from tests.judge.parse.reading import CHAINS, CLIENTS, PATH, SHOP, TOKEN_PATH, read, unmark


def _rule(fields: str) -> str:
    return f"rules:\n  - {{id: a, description: It is., {fields}}}\n"


def _limit(fields: str) -> str:
    return _rule(f"limit: {{{fields}}}")


OF_RULES = {
    "a misspelt key of the file": ("▸ruls: []", "unknown key 'ruls' in a rule file", 'did you mean "rules"?'),
    "a misspelt key of a rule": (_rule("▸severty: high"), "unknown key 'severty' in a rule", 'mean "severity"?'),
    "a misspelt key of a match": (_rule("match: {▸taget: x}"), "unknown key 'taget' in match", 'mean "target"?'),
    "a misspelt key of a limit": (
        _limit("count: ops, max: 1, window: 1h, ▸pr: client"),
        "unknown key 'pr' in limit",
        'did you mean "per"?',
    ),
    "a key written twice": (_rule("mode: alert, ▸mode: off"), '"mode" is written twice', "keep one of the two"),
    "a rule that is a text": ("rules: [▸stop]", "wanted a mapping, got 'stop'", "write key: value"),
    "no id": ("rules:\n  - ▸description: It is.\n", "a rule needs an id", "add id: a-name-of-its-own"),
    "an id in capitals": ("rules:\n  - {id: ▸Day, description: It is.}", "'Day' is no id", "lower-case letters"),
    "no description": ("rules:\n  - {id: ▸a}\n", "rule a has no description", "add description"),
    "an id that is taken": (
        "rules:\n  - {id: a, description: It is.}\n  - {id: ▸a, description: It is.}\n",
        f'the id "a" is taken by the rule at {PATH}:2',
        "write extends: a",
    ),
    "extends of an unknown rule": (
        "rules:\n  - {id: daily, description: It is.}\n  - {extends: ▸dayly, mode: alert}\n",
        "there is no rule 'dayly' to extend",
        'did you mean "daily"?',
    ),
    "extends before the rule": (
        "rules:\n  - {extends: ▸zz, mode: alert}\n  - {id: zz, description: It is.}\n",
        "there is no rule 'zz' to extend",
        "it must stand before this one",
    ),
    "extends with an id": (
        "rules:\n  - {id: a, description: It is.}\n  - {▸id: b, extends: a}\n",
        "a rule that extends another keeps its id",
        "leave out id",
    ),
    "append without extends": (_rule("▸append: true"), "append is for a rule that extends another", "leave it out"),
    "two checks": (
        _rule("limit: {count: ops, max: 1, window: 1h}, ▸rate: {max: 1, window: 1m}"),
        "a rule has one check, this one has limit already",
        "make it two",
    ),
    "an unknown mode": (_rule("mode: ▸alrt"), "'alrt' is none of off, shadow, alert, enforce", 'mean "alert"?'),
    "an exception without match and when": (
        _rule("except: [▸{reason: of me}]"),
        "a mapping exempts everything",
        "add match or when to it",
    ),
    "an unknown token in a match": (
        _rule("match: {moves: ▸USDX}"),
        "'USDX' is not a token that the rules list",
        'did you mean "USDC"?',
    ),
    "a short address": (_rule("match: {target: ▸0x12}"), "'0x12' is not an address", "wanted 40"),
    "a function that is none": (
        _rule("match: {selector: ▸transfer(adress)}"),
        "parameters that are no ABI types",
        "without names",
    ),
    "an empty list in a match": (_rule("match: {target: ▸[]}"), "match.target lists nothing", "leave the key out"),
    "an unknown list": (_rule("match: {target: ▸$shops}"), "there is no list '$shops'", None),
    "a list of a wrong kind": (
        "lists: {s: {of: selector, values: [0x12345678]}}\n" + _rule("match: {target: ▸$s}"),
        "$s is a list of selector, wanted address",
        None,
    ),
    "an unknown verdict": (
        _rule("match: {verdict: ▸session_revokd}"),
        "'session_revokd' is none of",
        "session_revoked",
    ),
    "an unknown act": (_rule("match: {act: ▸modul_installed}"), "'modul_installed' is none of", "module_installed"),
    "any beside other values": (_rule("match: {moves: [▸any, USDC]}"), "match.moves has any or none beside", "alone"),
    "an unknown chain": (_rule("match: {chain: ▸sonium}"), "there is no chain 'sonium'", 'did you mean "soneium"?'),
    "an unknown client": (_rule("match: {client: ▸dap}"), "there is no client 'dap'", 'did you mean "dapp"?'),
    "a fault in a condition": (_rule("when: ▸op.valeu > 1 ETH"), "op.valeu is not a field", "did you mean op.value?"),
    "a fault later in a condition": (
        _rule('when: "op.session and ▸op.valeu > 1 ETH"'),
        "op.valeu is not a field",
        "did you mean op.value?",
    ),
    "a limit of nothing in particular": (_rule("limit: ▸{max: 1}"), "a limit has one of sum, count, distinct", "sum"),
    "an unknown token": (
        _limit("sum: spend, token: ▸USDX, max: 1, window: 1h"),
        "'USDX' is not a token that the rules list",
        'did you mean "USDC"?',
    ),
    "neither token nor unit": (_rule("limit: ▸{sum: spend, max: 1, window: 1h}"), "needs either a token or", "USDC"),
    "a token of gas": (_limit("sum: gas, ▸token: USDC, max: 1, window: 1h"), "gas has no token", "leave it out"),
    "too many decimals": (
        _limit("sum: spend, token: USDC, max: ▸0.0000001, window: 1h"),
        "USDC has 6 decimals, and this amount has more",
        "write it in USDC",
    ),
    "an amount without a unit": (_limit("sum: value, max: ▸5, window: 1h"), "'5' has no unit", "write 5 ETH"),
    "an amount in a wrong unit": (
        _limit("sum: spend, token: USDC, max: ▸5 ETH, window: 1h"),
        "'5 ETH' is not an amount of USDC",
        "write it in USDC",
    ),
    "an amount of 0": (
        _limit("sum: value, max: ▸0 ETH, window: 1h"),
        "the limit is not above 0",
        "leave the limit out",
    ),
    "an amount below 0": (_limit("sum: value, max: ▸-1 ETH, window: 1h"), "the limit is not above 0", "match instead"),
    "a number of 0": (_limit("count: ops, max: ▸0, window: 1h"), "the limit is not above 0", "match instead"),
    "a number below 0": (_limit("sum: gas, max: ▸-7, window: 1h"), "the limit is not above 0", "match instead"),
    "a rate of 0": (_rule("rate: {max: ▸0, window: 1m}"), "the limit is not above 0", "match instead"),
    "a number that is none": (_limit("count: ops, max: ▸1.5, window: 1h"), "wanted a whole number, got '1.5'", None),
    "no window": (_rule("limit: ▸{count: ops, max: 1}"), "a limit on count needs a window", "add window: 24h"),
    "a window of 91 days": (_limit("count: ops, max: 1, window: ▸91d"), "91d is out of bounds", "from 1s to 90d"),
    "a window of nothing": (_limit("count: ops, max: 1, window: ▸0s"), "0s is out of bounds", "from 1s to 90d"),
    "a misspelt window": (_limit("count: ops, max: 1, window: ▸wek"), "'wek' is no window", 'did you mean "week"?'),
    "hours in words": (_limit("count: ops, max: 1, window: ▸24 hours"), "'24 hours' is no window", "write 24h"),
    "a day in words": (_limit("count: ops, max: 1, window: ▸1 Day"), "'1 Day' is no window", "write 1d"),
    "minutes in words": (_limit("count: ops, max: 1, window: ▸30 mins"), "'30 mins' is no window", "write 30m"),
    "an unknown time zone": (
        _limit("count: ops, max: 1, window: day, zone: ▸Europe/Berln"),
        "'Europe/Berln' is no time zone",
        'did you mean "Europe/Berlin"?',
    ),
    "a zone of a sliding window": (
        _limit("count: ops, max: 1, window: 1h, ▸zone: UTC"),
        "a sliding window has no zone",
        "leave it out",
    ),
    "gas per token": (
        _limit("sum: gas, max: 1, window: 1h, per: ▸token"),
        "gas cannot be told apart by token",
        "count per session",
    ),
    "per three things": (
        _limit("count: ops, max: 1, window: 1h, per: ▸[session, client, chain]"),
        "per names one thing, or two that differ",
        "write per: session",
    ),
    "per session where there is none": (
        _rule("match: {session: false}, limit: {count: ops, max: 1, window: 1h, per: ▸session}"),
        "match.session is false, so there is no session",
        "count per account",
    ),
    "a window of one operation": (_limit("each: value, max: 1 ETH, ▸window: 1h"), "has no window", "leave it out"),
    "history without a unit": (_rule("first_seen: {of: target, after: ▸20}"), "'20' has no unit", "write 20 ops"),
    "a deviation that waits for time": (
        _rule("deviation: {of: value, factor: 2, after: ▸7d}"),
        "a deviation waits for operations",
        "write 20 ops",
    ),
    "a streak of an unknown end": (_rule("streak: {of: ▸revertd, length: 3}"), "'revertd' is none of", "reverted"),
    "a schedule without hours": (_rule("schedule: ▸{zone: UTC}"), "has either inside or outside", "write inside"),
    "empty hours": (
        _rule('schedule: {zone: UTC, inside: [▸{from: "08:00", to: "08:00"}]}'),
        "these hours are empty",
        "begin before they end",
    ),
    "an unknown day": (_rule("schedule: {zone: UTC, inside: [{days: ▸mo}]}"), "'mo' is no day", "write mon"),
    "an unknown kind of list": ("lists: {s: {of: ▸adress, values: [x]}}", "'adress' is none of", 'mean "address"?'),
    "a macro no expression can name": (
        "macros: {▸big-spend: value > 1 ETH}",
        "is no name of a macro",
        "write big_spend",
    ),
    "a macro called as a function": (
        "macros: {▸spend: value > 1 ETH}",
        "spend means something already",
        "another name",
    ),
    "no YAML": ("rules:\n▸\t- id: a", "not YAML", "indent with spaces, not tabs"),
}

OF_TOKENS = {
    "a token without chains": ("tokens: {▸USDT: {price: 1 USD}}", "token USDT needs on", "add on: {1868"),
    "a price without a unit": ("tokens: {ETH: {native: true, price: ▸3000}}", "'3000' has no unit", "write 3000 USD"),
    "a unit as a token": ("tokens: {▸gwei: {native: true}}", "'gwei' cannot name a token", "letters and digits"),
    "a chain that is no number": (
        "tokens: {X: {on: {▸soneium: {address: 0x" + "11" * 20 + ", decimals: 6}}}}",
        "'soneium' is no chain id",
        "such as 1868",
    ),
    "a second native coin": (
        "tokens:\n  ETH: {native: true}\n  ▸ASTR: {native: true}\n",
        f"ASTR is a second native coin, ETH is one already at {TOKEN_PATH}:2",
        "keep one",
    ),
    "two tokens at one address": (
        "tokens:\n  A: {on: {1: {address: 0x" + "11" * 20 + ", decimals: 6}}}\n"
        "  B: {on: {1: {address: ▸0x" + "11" * 20 + ", decimals: 6}}}\n",
        f"B is at the address of A on chain 1, listed at {TOKEN_PATH}:2",
        "keep one of the two",
    ),
}


def _only(parsed: Parsed, line: int, column: int) -> tuple[str, str | None]:
    assert parsed.ruleset is None
    found = [fault for fault in parsed.faults if (fault.place.line, fault.place.column) == (line, column)]
    assert found, "\n".join(map(str, parsed.faults))
    assert len(parsed.faults) == 1, "\n".join(map(str, parsed.faults))
    return found[0].problem, found[0].suggestion


@pytest.mark.parametrize("name", OF_RULES)
def test_a_fault_of_rules_has_its_place_and_cure(name: str) -> None:
    marked, problem, cure = OF_RULES[name]
    text, line, column = unmark(marked)
    parsed = read(text, chains=CHAINS, clients=CLIENTS)
    told, suggestion = _only(parsed, line, column)
    assert parsed.faults[0].place.path == PATH
    assert problem in told
    assert cure is None or (suggestion is not None and cure in suggestion)


@pytest.mark.parametrize("name", OF_TOKENS)
def test_a_fault_of_tokens_has_its_place_and_cure(name: str) -> None:
    marked, problem, cure = OF_TOKENS[name]
    text, line, column = unmark(marked)
    parsed = read("rules: []\n", tokens=text)
    told, suggestion = _only(parsed, line, column)
    assert parsed.faults[0].place.path == TOKEN_PATH
    assert problem in told
    assert suggestion is not None
    assert cure in suggestion


def test_a_fault_reads_file_line_column_problem_and_cure() -> None:
    parsed = read(_rule("severty: high"))
    assert str(parsed.faults[0]) == f"{PATH}:2:34: unknown key 'severty' in a rule; did you mean \"severity\"?"


def test_all_faults_of_all_files_come_at_once_in_the_order_of_the_files() -> None:
    parsed = read(
        _rule("mode: alrt, severity: hgh"),
        "rules:\n  - {id: b, description: It is., when: op.valeu > 1}\n",
        tokens=TOKENS + "  BAD: {price: 1 USD}\n",
    )
    places = [(fault.place.path, fault.place.line) for fault in parsed.faults]
    assert places == [(PATH, 2), (PATH, 2), ("rules/b.yaml", 2), (TOKEN_PATH, TOKENS.count("\n") + 1)]
    assert parsed.ruleset is None


def test_faults_say_which_rule_they_are_about() -> None:
    parsed = read(
        "rules:\n  - {id: a, description: It is., mode: alrt, sevrity: low}\n"
        "  - {id: b, description: It is., when: op.valeu > 1}\nother: 1\n"
    )
    assert sorted((fault.rule or "", fault.place.line) for fault in parsed.faults) == [
        ("", 4),
        ("a", 2),
        ("a", 2),
        ("b", 3),
    ]


@pytest.mark.parametrize(
    "second",
    [
        "{id: a, description: It is., mode: alrt}",
        "{extends: nobody, mode: alrt}",
        "{description: It is., mode: alrt}",
        "{id: Not An Id, description: It is., mode: alrt}",
    ],
)
def test_what_is_no_rule_is_still_read_for_its_other_faults(second: str) -> None:
    parsed = read(f"rules:\n  - {{id: a, description: It is.}}\n  - {second}\n")
    problems = [fault.problem for fault in parsed.faults]
    assert len(problems) == 2
    assert any(problem.startswith("'alrt' is none of") for problem in problems)


def test_a_misspelt_description_is_not_also_called_missing() -> None:
    parsed = read("rules:\n  - {id: a, descripton: It is.}\n")
    assert [fault.problem for fault in parsed.faults] == ["unknown key 'descripton' in a rule"]


def test_names_of_chains_and_clients_are_not_checked_without_settings() -> None:
    assert read(_rule("match: {chain: anywhere, client: anybody}")).faults == ()


def test_a_list_or_macro_of_a_name_that_another_file_has_is_a_fault() -> None:
    listed = f"lists: {{s: {{of: address, values: [{SHOP}]}}}}\n"
    parsed = read(listed, listed)
    assert [str(fault) for fault in parsed.faults] == [f"rules/b.yaml:1:9: $s is there already, at {PATH}:1; keep one"]


def test_lists_and_macros_that_nothing_uses_are_warned_of_and_stop_nobody() -> None:
    parsed = read(
        f"lists: {{s: {{of: address, values: [{SHOP}]}}}}\nmacros: {{much: value > 1 ETH, inner: value > 2 ETH, "
        "outer: inner}\nrules: [{id: a, description: It is., when: outer}]\n"
    )
    assert parsed.ruleset is not None
    told = [(each.place.line, each.place.column, each.problem) for each in parsed.warnings]
    assert told == [(1, 9, "nothing uses the list $s"), (2, 10, "nothing uses the macro much")]


@pytest.mark.parametrize(
    ("match", "mode", "warned"),
    [
        ("", "enforce", True),
        ("match: {session: false}, ", "enforce", True),
        ("match: {session: true}, ", "enforce", False),
        ("", "alert", False),
    ],
)
def test_a_limit_that_owners_may_fill_says_so(match: str, mode: str, warned: bool) -> None:
    limit = "limit: {count: ops, max: 3, per: account, window: 1h}"
    parsed = read(f"rules: [{{id: a, description: It is., mode: {mode}, {match}{limit}}}]\n")
    assert parsed.ruleset is not None
    assert ["any account may fill" in each.problem for each in parsed.warnings] == [True] * warned


def test_a_limit_on_each_operation_cannot_be_filled() -> None:
    parsed = read("rules: [{id: a, description: It is., mode: enforce, limit: {each: gas, max: 9}}]\n")
    assert parsed.warnings == ()


DEAR = "len(op.calls) > 2 and " + " and ".join(
    f"all(any(d.size >= c.size + {n} for d in op.calls) or c.size >= 0 for c in op.calls)" for n in range(40)
)
BATCHES = "all(c.target in $ours for c in op.calls)"


@pytest.mark.parametrize(
    ("exempt", "named"),
    [
        ("match: {target: $ours}", "target"),
        ('match: {selector: "swap(uint256)", client: dapp}', "selector"),
        ('match: {target: $ours, selector: "swap(uint256)"}', "target and selector"),
        ("match: {moves: USDC}", "moves"),
        ("match: {moves: any}", "moves"),
        ("match: {act: module_installed}", "act"),
        ("match: {target: $ours}, when: op.value == 0 ETH", "target"),
        ("match: {target: $ours}, when: len(op.calls) > 1", "target"),
        ("match: {target: $ours}, when: len(op.calls) <= 5", "target"),
        ("match: {target: $ours}, when: any(c.target in $ours for c in op.calls)", "target"),
        (f"match: {{target: $ours}}, when: {DEAR}", "target"),
        (f"match: {{target: $ours}}, when: {BATCHES}", None),
        (f"match: {{target: $ours, client: dapp}}, when: op.value == 0 ETH and {BATCHES}", None),
        ("match: {target: $ours}, when: len(op.calls) == 1", None),
        ('match: {moves: USDC}, when: all(m.kind == "spend" for m in op.moves)', None),
        ("match: {client: dapp}", None),
        ("when: len(op.calls) == 2", None),
    ],
)
def test_an_exception_that_one_call_of_a_batch_opens_for_all_of_it_is_warned_of(exempt: str, named: str | None) -> None:
    listed = f"lists: {{ours: {{of: address, values: [{SHOP}, 0x{'5a' * 20}]}}}}\n"
    rule = f"{{id: a, description: It is., match: {{session: true}}, when: op.gas > 9, except: {{{exempt}}}}}"
    parsed = read(f"{listed}rules: [{rule}]\n")
    assert parsed.ruleset is not None, parsed.faults
    told = [each.problem for each in parsed.warnings if "exception" in each.problem]
    assert [each.partition(" whose ")[2].partition(" one call")[0] for each in told] == [named] * (named is not None)


def test_what_a_rule_asks_for_itself_is_no_exception_and_one_that_is_off_frees_nobody() -> None:
    rule = f"match: {{target: {SHOP}}}, except: {{match: {{target: {SHOP}, client: dapp}}}}"
    assert read(f"rules: [{{id: a, description: It is., {rule}}}]\n").warnings == ()
    off = "{extends: a, mode: off}"
    freeing = f"{{id: a, description: It is., match: {{session: true}}, except: {{match: {{target: {SHOP}}}}}}}"
    assert len(read(f"rules: [{freeing}]\n").warnings) == 1
    assert read(f"rules: [{freeing}, {off}]\n").warnings == ()


def test_a_fault_in_a_macro_says_which() -> None:
    parsed = read("macros: {much: op.valeu > 1 ETH}\nrules: [{id: a, description: It is., when: much}]\n")
    assert parsed.ruleset is None
    assert "much" in str(parsed.faults[0])


def test_a_limit_of_different_things_is_one_that_can_be_remembered() -> None:
    rule = "rules: [{id: fan, description: d, limit: {distinct: target, max: %d, per: session, window: 1h}}]"
    assert parse_rules([SourceFile("a.yaml", rule % 1_000)], [], chains=None, clients=None).faults == ()
    (fault,) = parse_rules([SourceFile("a.yaml", rule % 1_001)], [], chains=None, clients=None).faults
    assert "1001" in str(fault)
