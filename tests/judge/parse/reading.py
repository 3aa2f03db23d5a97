"""Rules from a few lines, and texts in which a mark shows where a fault is to be told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from textwrap import dedent

from proxy.judge.parse import Parsed, SourceFile, parse_rules
from proxy.judge.rule import Ruleset
from tests.judge.builders import TOKENS

MARK = "▸"
PATH = "rules/a.yaml"
TOKEN_PATH = "rules/tokens.yaml"
SHOP = "0x" + "51" * 20
CHAINS = {"soneium": 1868}
CLIENTS = ("dapp", "bot")


def read(
    *texts: str,
    tokens: str = TOKENS,
    chains: Mapping[str, int] | None = None,
    clients: Collection[str] | None = None,
) -> Parsed:
    """The rules of one or more files: rules/a.yaml, rules/b.yaml and so on."""
    sources = [SourceFile(f"rules/{chr(ord('a') + index)}.yaml", dedent(text)) for index, text in enumerate(texts)]
    return parse_rules(sources, [SourceFile(TOKEN_PATH, tokens)], chains=chains, clients=clients)


def ruleset(*texts: str, tokens: str = TOKENS) -> Ruleset:
    """The rules of files without fault."""
    parsed = read(*texts, tokens=tokens)
    assert parsed.ruleset is not None, "\n".join(map(str, parsed.faults))
    return parsed.ruleset


def unmark(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the line and column in which that stood."""
    text = dedent(text)
    before, _, after = text.partition(MARK)
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")
