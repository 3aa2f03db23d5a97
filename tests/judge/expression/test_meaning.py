"""An expression means what it says: exact numbers, amounts of each chain, missing values in Kleene's logic."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.judge.expression import FIELDS, ExpressionScope
from proxy.judge.expression.fields import ACTS
from proxy.userop.movement import AssetKind, MovementKind
from tests.judge.expression.samples import (
    ACCOUNT,
    GOOD,
    GRANT,
    HERE,
    NOWHERE,
    ROUTER,
    SCOPE,
    SHOP,
    THERE,
    UNPRICED,
    USDC_HERE,
    USDC_THERE,
    compiled,
    facts,
    holds,
    move,
    native,
)

_BOOLS: dict[str, bool | None] = {
    "true": True,
    "false": False,
    "op.limit_used_percent > 1": None,
}


@pytest.mark.parametrize("left", _BOOLS)
@pytest.mark.parametrize("right", _BOOLS)
def test_logic_is_that_of_kleene(left: str, right: str) -> None:
    a, b = _BOOLS[left], _BOOLS[right]
    both = False if a is False or b is False else None if a is None or b is None else True
    either = True if a is True or b is True else None if a is None or b is None else False
    assert holds(f"{left} and {right}") is both
    assert holds(f"{left} or {right}") is either
    assert holds(f"not ({left})") is (None if a is None else not a)


def test_a_missing_value_answers_only_whether_it_is_missing() -> None:
    missing = {"paymaster": None}
    assert holds("op.paymaster == none", **missing) is True
    assert holds("op.paymaster != none", **missing) is False
    assert holds("op.paymaster == none", paymaster=SHOP) is False
    assert holds("op.paymaster == op.account", **missing) is None
    assert holds("op.paymaster not in $routers", **missing) is None


@pytest.mark.parametrize(("nonce", "answer"), [(2**256 - 2, False), (2**256 - 1, True)])
def test_integers_beyond_256_bits_are_exact(nonce: int, answer: bool) -> None:
    square = (2**256 - 1) ** 2
    assert holds(f"op.nonce * op.nonce >= {square // 10**60} * {10**60} + {square % 10**60}", nonce=nonce) is answer


@pytest.mark.parametrize(
    ("chain_id", "token", "units"), [(HERE, USDC_HERE, 500 * 10**6), (THERE, USDC_THERE, 500 * 10**18)]
)
def test_an_amount_is_that_of_the_chain_the_operation_is_on(chain_id: int, token: Any, units: int) -> None:
    at = {"chain_id": chain_id, "moves": (move(token=token, amount=units),)}
    above = {"chain_id": chain_id, "moves": (move(token=token, amount=units + 1),)}
    assert holds("spend(USDC) > 500 USDC", **at) is False
    assert holds("spend(USDC) == 500 USDC", **at) is True
    assert holds("spend(USDC) > 500 USDC", **above) is True


def test_where_a_token_is_not_nothing_of_it_is_spent() -> None:
    assert holds("spend(USDC) == 0", chain_id=NOWHERE) is True
    assert holds("spend(USDC) < 0.000001 USDC", chain_id=NOWHERE) is True


def test_an_amount_that_is_not_told_makes_the_answer_unknown_for_its_token_only() -> None:
    untold = {"moves": (move(amount=None), native(1))}
    assert holds("spend(USDC) > 0", **untold) is None
    assert holds("spend(ETH) > 0", **untold) is True
    assert holds("exposure(USDC) > 0", **untold) is False
    unnamed = {"moves": (move(asset=AssetKind.VAULT_ASSET),)}
    assert holds("spend(USDC) > 0", **unnamed) is None


def test_usd_adds_up_what_has_a_price_and_knows_nothing_of_the_rest() -> None:
    assert holds("spend(USD) == 3100 USD") is True
    assert holds("spend(USD) > 1 USD", moves=(move(token=UNPRICED),)) is None
    assert holds("spend(USD) > 1 USD", moves=(move(token=SHOP),)) is None
    assert holds("exposure(USD) == 100 USD", moves=(move(MovementKind.EXPOSURE),)) is True


@pytest.mark.parametrize(
    "source",
    [
        "op.value == 1 ETH",
        "value == 1_000_000_000 gwei",
        "op.value * 2 - 1 wei == 1.999999999999999999 ETH",
        "op.value // 3 == 333333333333333333 wei",
        "op.value // 0.3 ETH == 3",
        "op.value % 0.3 ETH == 0.1 ETH",
        "-7 // 2 == -4",
        "len(op.calls) == 2",
        "any(c.target in $routers for c in op.calls)",
        "not all(c.target in $routers for c in op.calls)",
        "all(c.target in $routers for c in op.calls if c.value > 0)",
        "count(c.value > 0 for c in op.calls) == 1",
        "sum(c.value for c in op.calls if c.target == 0x0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c) == 1 ETH",
        "sum(c.size for c in op.calls) == 68",
        "any(any(t == c.target for t in [op.account, 0x0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c]) for c in op.calls)",
        "op.client in $clients and op.client not in ['bank']",
        "'module_installed' in op.acts",
        "any(g.how == 'enable' and 'no_expiry' in g.findings for g in op.grants)",
        "any(g.duration <= 24h for g in op.grants)",
        "any(g.valid_until - op.time == 86400s for g in op.grants)",
        "op.time >= 1700000000 and op.time < 1700000001",
        "op.hour == 22 and op.weekday == 1",
        "op.nonce_key == 7",
        "moves_much",
        "not (moves_much and op.preview)",
        "op.hour in [21, 22, 23]",
        "1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and 7 - 2 - 1 == 4",
        "op.preview or not op.preview and true",
    ],
)
def test_each_of_these_holds_of_the_good_operation(source: str) -> None:
    assert holds(source) is True
    assert holds(f"not ({source})") is False


def test_a_rule_on_grants_is_asked_for_each_grant() -> None:
    expression = compiled("grant.how == 'enable' and 'no_expiry' in grant.findings")
    assert expression.per_grant
    assert expression.holds(GOOD, GRANT) is True
    assert expression.holds(GOOD) is None
    assert not compiled("any(g.how == 'enable' for g in op.grants)").per_grant


@pytest.mark.parametrize(
    ("source", "const"),
    [
        ("op.value >= 0", True),
        ("1 > 2", False),
        ("op.session and 1 > 2", False),
        ("op.session or op.value >= 0", True),
        ("op.session", None),
        ("op.limit_used_percent >= 0", None),
        ("any(1 > 2 for c in op.calls)", False),
        ("any(c.value >= 0 for c in op.calls)", None),
        ("all(c.value >= 0 for c in op.calls)", True),
    ],
)
def test_what_always_or_never_holds_is_known_beforehand(source: str, const: bool | None) -> None:
    assert compiled(source).const is const


def test_expressions_of_the_same_text_are_equal() -> None:
    assert compiled("op.session") == compiled("op.session")
    assert compiled("op.session") != compiled("op.preview")
    assert len({compiled("op.session"), compiled("op.session")}) == 1


# every field

READINGS: dict[str, object] = {
    **{f"op.{name}": getattr(GOOD, name) for name in ("chain", "chain_id", "client", "method", "preview", "verdict")},
    **{f"op.{name}": getattr(GOOD, name) for name in ("account", "entry_point", "nonce", "session", "permission_id")},
    **{f"op.{name}": getattr(GOOD, name) for name in ("module", "mode", "call_type", "calls", "moves", "acts")},
    **{f"op.{name}": getattr(GOOD, name) for name in ("grants", "paymaster", "factory", "eip7702", "gas", "call_gas")},
    **{
        f"op.{name}": getattr(GOOD, name)
        for name in ("max_cost", "max_fee", "priority_fee", "replaces", "lanes", "limit_used_percent")
    },
    "op.nonce_key": 7,
    "op.value": 10**18,
    "op.hour": 22,
    "op.session_age": 3_600,
    "op.session_left": 600,
    "op.weekday": 1,
    "op.time": 1_700_000_000,
    "call.target": ROUTER,
    "call.selector": b"\xff" * 4,
    "call.value": 10**18,
    "call.size": 0,
    "move.kind": "spend",
    "move.asset": "erc20",
    "move.token": USDC_HERE,
    "move.amount": 100 * 10**6,
    "move.counterparty": SHOP,
    "move.holder": ACCOUNT,
    "move.unlimited": False,
    "move.call": 0,
    "move.is_self_holder": True,
    "op.grant_would_revert": False,
    **{f"grant.{name}": getattr(GRANT, name) for name in ("permission_id", "module", "how", "findings")},
    **{f"grant.{name}": getattr(GRANT, name) for name in ("valid_until", "targets", "policies")},
    "grant.duration": 86_400,
}
RECORDS: dict[str, object] = {"op": GOOD, "call": GOOD.calls[1], "move": GOOD.moves[0], "grant": GRANT}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_read_and_documented(name: str) -> None:
    field = FIELDS[name]
    assert field.read(GOOD, RECORDS[name.partition(".")[0]]) == READINGS[name]
    assert field.doc.endswith(".")
    assert field.type_in_words


@pytest.mark.parametrize("finding", ["cannot_be_enabled", "policy_in_wrong_slot"])
def test_a_grant_that_the_chain_would_not_take_is_a_fact_of_its_operation(finding: str) -> None:
    expression = compiled("op.grant_would_revert")
    broken = GRANT._replace(findings=("no_expiry", finding))
    assert expression.holds(GOOD._replace(grants=(GRANT, broken))) is True
    assert expression.holds(GOOD._replace(grants=(GRANT,))) is False
    assert expression.holds(GOOD._replace(grants=())) is False


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_can_be_written_in_an_expression(name: str) -> None:
    record, _, own = name.partition(".")
    field = FIELDS[name]
    written = f"{'x' if record in ('call', 'move') else record}.{own}"
    question = f"len({written}) >= 0" if field.type.element else f"{written} == {written}"
    if record in ("call", "move"):
        question = f"all({question} for x in op.{record}s)"
    expression = compiled(question)
    assert name in expression.fields
    missing = name in ("op.paymaster", "op.factory", "op.limit_used_percent")
    assert expression.holds(GOOD, GRANT) is (None if missing else True)


def test_a_session_without_an_end_has_no_duration() -> None:
    endless = GRANT.__class__(permission_id=GRANT.permission_id, module=SHOP, how="call")
    assert compiled("grant.duration == none").holds(facts(), endless) is True
    assert compiled("grant.valid_until == none or grant.duration > 30d").holds(facts(), endless) is True
    assert compiled("grant.duration > 30d").holds(facts(), endless) is None


def test_acts_have_the_names_of_the_records() -> None:
    assert {"module_installed", "sessions_enabled", "user_op_policies_enabled", "erc1271_policies_enabled"} <= ACTS


def test_the_native_coin_is_known_without_any_tokens() -> None:
    assert holds("op.value > 0.5 ETH and spend(ETH) == 1 ETH", scope=ExpressionScope()) is True
    assert SCOPE.tokens.native.symbol == "ETH"
