"""What an expression may name besides fields: tokens, lists and macros."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field

from proxy.judge.tokens import Tokens
from proxy.record import record


@record()
class NamedList:
    """A list of a rule file: `of` says of what (address, selector, permission_id, text, client).

    Its values are bytes of the width of `of`, or texts. `file` is where they stand, if not in the rule file itself.
    """

    of: str
    values: frozenset[bytes] | frozenset[str]
    file: str | None = None


@record()
class ExpressionScope:
    """Everything that the rule files define for their expressions, and the names of chains and clients that the
    settings have; `None` where they are not known."""

    tokens: Tokens = field(default_factory=Tokens)
    lists: Mapping[str, NamedList] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    chains: Collection[str] | None = None
    clients: Collection[str] | None = None
