"""One good operation, and what rules may name beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from proxy.judge.expression import Expression, ExpressionScope, NamedList, compile_expression
from proxy.judge.facts import CallFacts, Facts, GrantFacts, MoveFacts
from proxy.judge.tokens import Token, TokenPlace, Tokens
from proxy.userop.movement import AssetKind, MovementKind
from proxy.userop.primitives import Address, Hash32, Selector

ACCOUNT: Final = Address(b"\x0a" * 20)
SHOP: Final = Address(b"\x0b" * 20)
ROUTER: Final = Address(b"\x0c" * 20)
USDC_HERE: Final = Address(b"\x01" * 20)
USDC_THERE: Final = Address(b"\x02" * 20)
UNPRICED: Final = Address(b"\x03" * 20)
PERMISSION: Final = Hash32(b"\x55" * 32)
HERE, THERE, NOWHERE = 1868, 56, 999

TOKENS: Final = Tokens(
    {
        "ETH": Token("ETH", native=True, price=Fraction(3000)),
        "USDC": Token("USDC", {HERE: TokenPlace(USDC_HERE, 6), THERE: TokenPlace(USDC_THERE, 18)}, Fraction(1)),
        "CAKE": Token("CAKE", {HERE: TokenPlace(UNPRICED, 18)}),
    }
)
SCOPE: Final = ExpressionScope(
    TOKENS,
    {
        "routers": NamedList("address", frozenset({ROUTER})),
        "clients": NamedList("client", frozenset({"shop", "game"})),
        "modes": NamedList("text", frozenset({"uze"})),
    },
    {"moves_much": "spend(USDC) > 100 USDC or value > 0.1 ETH"},
)


def move(kind: MovementKind = MovementKind.SPEND, **changes: Any) -> MoveFacts:
    """100 USDC from the account to the shop."""
    good = MoveFacts(
        call=0,
        kind=kind,
        asset=AssetKind.ERC20,
        token=USDC_HERE,
        amount=100 * 10**6,
        counterparty=SHOP,
        holder=ACCOUNT,
    )
    return good._replace(**changes)


def native(amount: int | None, **changes: Any) -> MoveFacts:
    """A spend of the chain's own coin."""
    return move(asset=AssetKind.NATIVE, token=None, amount=amount, **changes)


GRANT: Final = GrantFacts(
    permission_id=PERMISSION,
    module=SHOP,
    how="enable",
    findings=("no_expiry",),
    valid_until=1_700_086_400,
    targets=(SHOP, ROUTER),
    policies=(SHOP,),
)
GOOD: Final = Facts(
    unix_time=1_700_000_000.5,  # Tuesday 14 November 2023, 22:13:20 UTC
    chain_id=HERE,
    chain="soneium",
    client="shop",
    method="eth_sendUserOperation",
    preview=False,
    verdict="allow",
    account=ACCOUNT,
    entry_point="v0.7",
    user_op_hash=Hash32(bytes(32)),
    nonce=(7 << 64) + 3,
    session=True,
    permission_id=PERMISSION,
    module=SHOP,
    mode="use",
    call_type="batch",
    calls=(
        CallFacts(target=USDC_HERE, selector=Selector(b"\xa9\x05\x9c\xbb"), value=0, size=68),
        CallFacts(target=ROUTER, selector=Selector(b"\xff" * 4), value=10**18),
    ),
    moves=(move(), native(10**18, call=1, counterparty=ROUTER)),
    acts=("module_installed",),
    grants=(GRANT,),
    gas=500_000,
    call_gas=100_000,
    max_cost=10**15,
    max_fee=30 * 10**9,
    session_since=1_700_000_000.5 - 3_600,
    session_until=1_700_000_000 + 600,
    priority_fee=2 * 10**9,
    lanes=1,
)


def facts(**changes: Any) -> Facts:
    """The good operation with some things changed."""
    return GOOD._replace(**changes)


def compiled(source: str, scope: ExpressionScope = SCOPE) -> Expression:
    """An expression that has to be right."""
    expression = compile_expression(source, scope)
    assert isinstance(expression, Expression), [str(fault) for fault in expression]
    return expression


def holds(source: str, scope: ExpressionScope = SCOPE, grant: GrantFacts | None = None, **changes: Any) -> bool | None:
    """What an expression says of the good operation with some things changed."""
    return compiled(source, scope).holds(facts(**changes), grant)


def said(source: str, scope: ExpressionScope = SCOPE, macros: Mapping[str, str] | None = None) -> list[str]:
    """All that is wrong with an expression."""
    faults = compile_expression(source, replace(scope, macros=macros) if macros else scope)
    assert isinstance(faults, tuple), f"{source} is right"
    return [str(fault) for fault in faults]
