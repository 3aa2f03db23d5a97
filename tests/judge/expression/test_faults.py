"""What is wrong with an expression is said when rules are read: the column, the thing, and the cure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.judge.expression import FIELDS, Expression, ExpressionScope, compile_expression
from tests.judge.expression.samples import SCOPE, said


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("op.valeu > 1 ETH", "column 1: op.valeu is not a field; did you mean op.value?"),
        ("true and op.valeu > 1 ETH", "column 10: op.valeu is not a field; did you mean op.value?"),
        ("op.value > 500 USDC", "column 1: op.value is an amount of ETH, 500 USDC one of USDC"),
        ("500 USDC < op.value", "column 1: 500 USDC is an amount of USDC, op.value one of ETH"),
        ("op.value < 0", "column 1: op.value is never below 0"),
        ("0 > op.value", "column 1: op.value is never below 0"),
        ("op.hour > 23", "column 1: op.hour is never above 23"),
        ("op.hour == 24", "column 1: op.hour is never above 23"),
        ("op.hour != 24", "column 1: op.hour is never above 23"),
        ("op.value > 5", "column 1: op.value is an amount of ETH, 5 is a number; write the unit: 5 ETH"),
        (
            "op.max_fee > 50_000_000_000",
            "column 1: op.max_fee is an amount of ETH, 50_000_000_000 is a number; write whole units and not base"
            " units, such as 500 ETH, or 20 gwei",
        ),
        (
            'op.mode == "uze"',
            "column 1: op.mode is one of use, enable, unsafe_enable; did you mean use?",
        ),
        ("op.mode in $modes", "column 1: op.mode is one of use, enable, unsafe_enable; did you mean use?"),
        (
            '"module_instaled" in op.acts',
            'column 1: op.acts is never "module_instaled"; did you mean module_installed?',
        ),
        ("op.value == none", "column 1: op.value is never missing"),
        ("op.paymaster < none", "column 1: none has no order; write == none or != none"),
        ("op.account < op.account", "column 1: op.account has no order; compare it by == or !="),
        ("op.account == 0x12345678", "column 1: op.account is an address, 0x12345678 is a selector of 4 bytes"),
        ("spend(USDT) > 1 USDC", "column 7: USDT is not a token that the rules list; did you mean USD?"),
        ("spend(USDC) > 0.0000001 USDC", "column 15: USDC has 6 decimals, and this amount has more"),
        (
            "op.gas // op.lanes > 1",
            "column 11: op.lanes may be zero; a divisor is a number that is written out and not 0",
        ),
        (
            "op.gas // 0 > 1",
            "column 11: nothing is divided by zero; a divisor is a number that is written out and not 0",
        ),
        ("op.gas", "column 1: op.gas is a number, no condition; compare it with something"),
        ("$router == op.account", "column 1: $router is not a list; did you mean $routers?"),
        ("op.calls[0].value > 1 ETH", "column 9: parts of a list have no number; ask any(… for c in op.calls)"),
        ("1 < op.hour < 5", "column 13: one comparison holds two things; write a < b and b < c"),
        ("op.hour = 5", "column 9: = has no meaning here; to compare, write =="),
        ("op.gas / 2 > 1", "column 8: / has no meaning here; division is //, and rounds down"),
        ("op.hour == 1.5", "column 12: 1.5 is not a whole number; only amounts have fractions: write 0.5 ETH"),
        ("", "column 1: there is nothing here; write a condition, such as op.value > 1 ETH"),
        (
            "grant.duration > 30",
            "column 1: grant.duration is a duration, 30 is a number; write the unit: 30s, 30m, 30h or 30d",
        ),
    ],
)
def test_a_fault_names_the_column_the_thing_and_the_cure(source: str, fault: str) -> None:
    assert said(source) == [fault]


def test_a_signature_in_quotes_is_answered_with_its_selector() -> None:
    (fault,) = said('any(c.selector == "transfer(address,uint256)" for c in op.calls)')
    assert fault.endswith("write 0xa9059cbb")


def test_all_faults_are_said_at_once_in_order() -> None:
    faults = said('op.valeu > 1 ETH and (op.hour > 25 or op.mode == "x") and speend(USDC) > 1 USDC')
    assert [fault.partition(":")[0] for fault in faults] == ["column 1", "column 23", "column 39", "column 59"]


@pytest.mark.parametrize(
    "source",
    [
        "op.__class__ == op.account",
        "op.calls.__len__ == 1",
        "op.user_op_hash.hex == 1",
        "__import__('os') == 1",
        "any(c.__class__ == c.target for c in op.calls)",
        "op.account.hex() == op.account",
        "(lambda: 1) == 1",
        "facts == 1",
        "op == op",
        "op['gas'] == 1",
        "spend(__builtins__) > 1 USDC",
        "len(op) > 1",
        "any(op.session for op in op.calls)",
        "any(c == c for c in op.calls)",
    ],
)
def test_nothing_but_the_facts_can_be_reached(source: str) -> None:
    assert said(source)


def test_a_macro_is_a_whole_and_no_text() -> None:
    macros = {"few": "op.lanes == 1 or op.lanes == 2"}
    scope = ExpressionScope(SCOPE.tokens, {}, macros)
    expression = compile_expression("few and op.preview", scope)
    assert isinstance(expression, Expression)
    assert expression.fields == {"op.lanes", "op.preview"}


def test_a_fault_in_a_macro_names_the_macro_at_the_place_it_is_used() -> None:
    (fault,) = said("op.session and odd", macros={"odd": "op.valeu > 1 ETH"})
    assert fault == "column 16: in macro odd: op.valeu is not a field; did you mean op.value?"


def test_a_macro_sees_no_variable_of_its_user() -> None:
    (fault,) = said("any(odd for c in op.calls)", macros={"odd": "c.value > 1 ETH"})
    assert fault.startswith("column 5: in macro odd: c is nothing that has fields")


def test_macros_that_name_each_other_are_refused() -> None:
    (fault,) = said("one", macros={"one": "not two", "two": "not one"})
    assert fault == "column 1: in macro one > two: macro one names itself: one > two > one"


def test_macros_cannot_grow_without_end() -> None:
    macros = {"m0": "op.session"} | {f"m{i}": f"m{i - 1} and m{i - 1}" for i in range(1, 14)}
    assert any("more than 1000 parts" in fault for fault in said("m13", macros=macros))
    assert any(
        "nests deeper than 32" in fault
        for fault in said("m40", macros={"m0": "op.session"} | {f"m{i}": f"not m{i - 1}" for i in range(1, 41)})
    )


def test_nesting_is_allowed_up_to_its_bound_and_not_above() -> None:
    assert isinstance(compile_expression("(" * 31 + "op.session" + ")" * 31, SCOPE), Expression)
    assert "nests deeper than 32" in said("(" * 32 + "op.session" + ")" * 32)[0]
    for opening in ("(", "not ", "-", "[", "len(", "any(x for x in "):
        assert said(opening * 3_000)


def test_quantifiers_stand_two_deep_and_not_three() -> None:
    two = "any(any(c.target == t for t in grant.targets) for c in op.calls)"
    assert isinstance(compile_expression(two, SCOPE), Expression)
    assert "more than 2" in said(f"any({two} for g in op.grants)")[0]


_VOCABULARY = sorted(
    {
        *FIELDS,
        "c.value",
        "c",
        "and",
        "or",
        "not",
        "in",
        "for",
        "if",
        "any(",
        "sum(",
        "len(",
        "(",
        ")",
        "[",
        "]",
        ",",
        "-",
    }
    | {
        "==",
        "<",
        "//",
        "%",
        "*",
        "1",
        "0",
        "500 USDC",
        "0.5 ETH",
        "24h",
        '"use"',
        "$routers",
        "none",
        "true",
        "moves_much",
    }
    | {"spend(", "USDC", "USD", "op.calls", "op.moves", "0x12345678", "value", "."}
)


@given(st.text(max_size=200))
def test_no_text_breaks_the_compiler(source: str) -> None:
    outcome = compile_expression(source, SCOPE)
    assert isinstance(outcome, Expression) or outcome


@given(st.lists(st.sampled_from(_VOCABULARY), max_size=30))
def test_no_row_of_words_breaks_the_compiler(words: list[str]) -> None:
    source = " ".join(words)
    outcome = compile_expression(source, SCOPE)
    if not isinstance(outcome, Expression):
        assert outcome
        assert all(0 <= fault.offset <= len(source) and fault.length >= 1 for fault in outcome)
