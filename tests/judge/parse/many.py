"""Thousands of rules, as a program writes them."""

from __future__ import annotations

from proxy.judge.parse import Parsed, SourceFile, parse_rules

TOKENS = "tokens: {USDC: {on: {1868: {address: '0x1111111111111111111111111111111111111111', decimals: 6}}}}\n"
ASKED = (
    "limit: {sum: spend, token: USDC, max: 500, per: session, window: 24h}",
    "limit: {count: ops, max: 20, per: session, window: day, zone: Europe/Berlin}",
    "when: spend(USDC) > 500 USDC or op.value > 1 ETH",
    "when: any(c.value > 1 ETH or c.size > 4096 for c in op.calls)",
    "rate: {max: 10, per: client, window: 1h}",
    "first_seen: {of: recipient, per: session, after: 20 ops}",
    "deviation: {of: spend, token: USDC, per: session, factor: 5, after: 20 ops}",
    "streak: {of: reverted, length: 3, per: session}",
)


def many(number: int) -> str:
    """Rules as a program writes them: each for an account of its own, asking one of a few things."""
    rules = [
        f"  - id: account-{place}\n    description: What account {place} may do.\n    mode: enforce\n"
        f'    match: {{session: true, account: "0x{place:040x}"}}\n    {ASKED[place % len(ASKED)]}\n'
        for place in range(number)
    ]
    return "rules:\n" + "".join(rules)


def parsed(text: str) -> Parsed:
    return parse_rules([SourceFile("r.yaml", text)], [SourceFile("tokens.yaml", TOKENS)], chains=None, clients=None)
