"""Rule files that ask for all the work there is are refused with a place, before that work is done."""

from __future__ import annotations

import pytest

from proxy.judge.parse.faults import SourceFile
from proxy.judge.parse.files import parse_rules
from tests.cost.units import units_of

_MACROS = "macros:\n  m0: value > 1 ETH\n"
_LIMIT = "- {{id: r, description: d, limit: {{count: ops, max: {}, per: session, window: {}}}}}"


def rule(when: str) -> str:
    return f"- {{id: r, description: d, when: '{when}'}}"


HOSTILE = {
    "parentheses": rule("(" * 4_000 + "1 > 0" + ")" * 4_000),
    "negations": rule("not " * 2_000 + "true"),
    "signs": rule("value > " + "-" * 9_000 + "1"),
    "loops in loops": rule("any(" * 40 + "c.value > 1 ETH" + " for c in op.calls)" * 40),
    "one long sentence": rule(" and ".join(["value > 1 ETH"] * 5_000)),
    "a chain of comparisons": rule(" < ".join(["value"] * 900)),
    "digits": rule("value > " + "9" * 9_000),
    "powers of powers": rule("value > 2**2**2**2**30"),
    "products": rule("any(" + "*".join(["c.value"] * 900) + " > 1 for c in op.calls)"),
    "a regular expression": rule('op.account matches "(a+)+$"'),
    "a deep type": rule('any(arg(c, "f(' + "(" * 3_000 + "uint256" + ")" * 3_000 + ' x)", "x") > 1 for c in op.calls)'),
    "arrays of arrays": rule('any(arg(c, "f(uint256' + "[9999999]" * 50 + ' x)", "x") > 1 for c in op.calls)'),
    "macros that double": _MACROS
    + "".join(f"  m{n}: m{n - 1} and m{n - 1}\n" for n in range(1, 60))
    + "rules:\n  "
    + rule("m59"),
    "macros ten wide": _MACROS
    + "".join(f"  m{n}: {' and '.join([f'm{n - 1}'] * 10)}\n" for n in range(1, 8))
    + "rules:\n  "
    + rule("m7"),
    "macros in a ring": "macros:\n  a: b\n  b: a\nrules:\n  " + rule("a"),
    "a maximum of thousands of digits": _LIMIT.format("9" * 5_000, "1h"),
    "a maximum in powers of ten": _LIMIT.format("1e400", "1h"),
    "a window of ages": _LIMIT.format("1", "99999999999999999999d"),
    "an amount of thousands of digits": (
        f"- {{id: r, description: d, limit: {{sum: spend, token: USDC, max: {'9' * 78}.{'9' * 4_000}, per: session, "
        "window: 1h}}"
    ),
    "a history of ages": f"- {{id: r, description: d, first_seen: {{of: target, per: session, after: {10**30} ops}}}}",
    "a long id": f"- {{id: {'a' * 100_000}, description: d, when: value > 1 ETH}}",
    "aliases of aliases": "a: &a [x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\n"
    "d: &d [*c, *c, *c, *c, *c, *c]\nrules: [*d, *d, *d, *d, *d, *d]\n",
    "deep brackets": "rules: " + "[" * 2_000 + "]" * 2_000,
    "deep braces": "rules: " + "{a: " * 2_000 + "1" + "}" * 2_000,
}
"""Files, or rules of a file, by what is hostile in them."""
MOST_UNITS = 1_500_000
"""A second and a half or so; each of these would take ages, or the memory, where it was read as it asks for."""


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_rule_asks_for_is_not_run_away_with(name: str) -> None:
    text = HOSTILE[name]
    source = SourceFile("hostile.yaml", f"rules:\n  {text}\n" if text.startswith("-") else text)
    tokens = SourceFile("tokens.yaml", "{}\n")
    found = []
    units = units_of(lambda: found.append(parse_rules([source], [tokens], chains=None, clients=None)))
    ((fault, *_),) = [each.faults for each in found]
    assert str(fault).startswith("hostile.yaml:")
    assert len(str(fault)) < 1_000
    assert units < MOST_UNITS
