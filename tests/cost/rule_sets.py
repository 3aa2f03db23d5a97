"""Sets of rules that operations are judged by while their work is counted: as shipped, and many at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from proxy.judge.evaluate import Judge
from proxy.judge.parse.faults import SourceFile
from proxy.judge.parse.files import parse_rules

_RULES: Final = Path(__file__).parents[2] / "rules"
FIRST_TARGET: Final = 5_000
"""The numbers from here on are addresses that rules of `MANY` name, `TARGETS` of them."""
TARGETS: Final = 640

SHIPPED: Final = "as shipped"


def _target(number: int) -> str:
    return f'"0x{FIRST_TARGET + number % TARGETS:040x}"'


MANY: Final[dict[str, Callable[[int], str]]] = {
    "a loop over all calls": lambda number: (
        f"""
    match: {{session: true}}
    when: any(c.value > {number + 5} ETH for c in op.calls)"""
    ),
    "a loop in a loop": lambda number: (
        f"""
    match: {{session: true}}
    when: any(any(m.kind == "spend" and c.value > {number + 5} ETH for m in op.moves) for c in op.calls)"""
    ),
    "what each pays, in all": lambda number: (
        f"""
    match: {{session: true}}
    when: any(value > {number} ETH and spend(USDC) > 100 USDC for c in op.calls)"""
    ),
    "arguments": lambda number: (
        f"""
    match: {{session: true}}
    when: any(arg(c, "transfer(address to, uint256 amount)", "amount") > {number + 10**20} for c in op.calls)"""
    ),
    "a target and its limit": lambda number: (
        f"""
    match: {{target: {_target(number)}}}
    limit: {{count: ops, max: 1000000, per: target, window: 24h}}"""
    ),
    "a target, and it fires": lambda number: (
        f"""
    match: {{target: {_target(number)}}}"""
    ),
    "a limit of the session": lambda number: (
        f"""
    match: {{session: true}}
    limit: {{count: ops, max: {number + 1_000_000}, per: session, window: 24h}}"""
    ),
    "what each pays whom": lambda number: (
        f"""
    match: {{session: true}}
    limit: {{sum: spend, token: USDC, max: {number + 10**9}, per: [session, recipient], window: 24h}}"""
    ),
    "what is in flight": lambda number: (
        f"""
    when: op.lanes > {number + 5} and any(c.value > {number} ETH for c in op.calls)"""
    ),
    "it fires": lambda _number: (
        """
    match: {session: true}"""
    ),
    "a list": lambda number: (
        f"""
    match: {{target: $all}}
    when: any(c.target in $all and c.value > {number + 5} ETH for c in op.calls)"""
    ),
    "things never seen": lambda number: (
        f"""
    match: {{session: true}}
    first_seen: {{of: recipient, per: session, after: {number % 1_000 + 1} ops}}"""
    ),
    "who is paid much": lambda number: (
        f"""
    match: {{session: true}}
    first_seen: {{of: recipient, per: session, at_least: {number % 1_000 + 1} USDC, after: 1h}}"""
    ),
    "amounts out of line": lambda number: (
        f"""
    match: {{session: true}}
    deviation: {{of: spend, token: USDC, per: [session, recipient], factor: {number % 90 + 2}, after: 5 ops}}"""
    ),
    "different things": lambda number: (
        f"""
    match: {{session: true}}
    limit: {{distinct: recipient, max: {number % 1_000 + 1}, per: session, window: 24h}}"""
    ),
    "bad ends in a row": lambda number: (
        f"""
    match: {{session: true}}
    streak: {{of: rejected, length: {number % 90 + 2}, per: target}}"""
    ),
    "calls of owners": lambda number: (
        f"""
    match: {{session: false}}
    when: any(c.value > {number + 5} ETH for c in op.calls)"""
    ),
    "what is estimated": lambda number: (
        f"""
    match: {{preview: true}}
    when: any(c.value > {number + 5} ETH for c in op.calls)"""
    ),
    "exceptions": lambda number: (
        f"""
    match: {{session: true}}
    except:
      - {{when: any(c.value < {number + 5} ETH for c in op.calls), reason: small}}"""
    ),
    "grants": lambda number: (
        f"""
    match: {{grant: true}}
    when: len(grant.targets) > {number + 700} or any(t == op.account for t in grant.targets)"""
    ),
}
"""What each of many rules asks, by what is asked."""
IN_ONE_STEP: Final = (
    *("a limit of the session", "what each pays whom", "what is in flight", "it fires", "things never seen"),
    *("who is paid much", "amounts out of line", "different things", "bad ends in a row"),
)
"""Those of which every operation of a session is asked what was counted, or is in flight, or told."""


@cache
def judge_of(name: str, rules: int) -> Judge:
    """The set of this name; of `MANY`, so many rules."""
    if name == SHIPPED:
        packs = sorted(_RULES.glob("*.yaml"))
        sources = [
            SourceFile(path.name, path.read_text())
            for path in packs
            if "cases" not in path.name and path.name != "tokens.yaml"
        ]
    else:
        body = "".join(
            f"\n  - id: r{number}\n    description: Rule {number}.\n    mode: enforce{MANY[name](number)}"
            for number in range(rules)
        )
        values = ", ".join(_target(number) for number in range(TARGETS))
        lists = f"lists:\n  all: {{of: address, values: [{values}]}}\n"
        sources = [SourceFile("many.yaml", f"{lists}rules:{body}\n")]
    tokens = [SourceFile("tokens.yaml", (_RULES / "tokens.yaml").read_text())]
    parsed = parse_rules(sources, tokens, chains=None, clients=None)
    assert parsed.ruleset is not None, parsed.faults[:3]
    return Judge(parsed.ruleset)
