"""Rules on one argument of a call, as the universal action policy and the arg policy share them (ParamRule).

A rule reads the 32 bytes at 4 + offset of the call data and compares them, unsigned, with a reference. A limited
rule also adds the word to a counter that must stay within its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from proxy.errors import Code, Reason, Undecodable
from proxy.record import record
from proxy.session.counters import Charge, Meter
from proxy.session.policies.policy import PolicyReverted, Spent, malformed, over_limit
from proxy.session.policies.token_calls import AMOUNT_OFFSETS, VERBS
from proxy.session.revert import BARE, OVERFLOW
from proxy.userop import abi
from proxy.userop.budget import RULE as RULE_CHECK
from proxy.userop.execution import Call
from proxy.userop.primitives import UINT256_MAX, print_checksummed

_UINT64_MAX: Final = 2**64 - 1
_LOW_128: Final = 2**128 - 1


class Condition(IntEnum):
    """How a word is compared with the reference (ParamCondition)."""

    EQUAL = 0
    GREATER_THAN = 1
    LESS_THAN = 2
    GREATER_THAN_OR_EQUAL = 3
    LESS_THAN_OR_EQUAL = 4
    NOT_EQUAL = 5
    IN_RANGE = 6


_WORDS: Final = {
    Condition.EQUAL: "equal to",
    Condition.GREATER_THAN: "greater than",
    Condition.LESS_THAN: "less than",
    Condition.GREATER_THAN_OR_EQUAL: "at least",
    Condition.LESS_THAN_OR_EQUAL: "at most",
    Condition.NOT_EQUAL: "other than",
}


@record()
class ParameterRule:
    """`offset` in bytes after the selector; `reference` 256 bits; `limit` only if `is_limited`."""

    condition: Condition
    offset: int
    is_limited: bool
    reference: int
    limit: int

    def holds(self, word: int) -> bool:
        """The comparison alone."""
        return _COMPARED[self.condition](word, self.reference)


def _in_range(word: int, reference: int) -> bool:
    return reference >> 128 <= word <= reference & _LOW_128


_COMPARED: Final[tuple[Callable[[int, int], bool], ...]] = (eq, gt, lt, ge, le, ne, _in_range)
"""A word and the reference, by `Condition`."""


def _read_condition(number: int) -> Condition:
    try:
        return Condition(number)
    except ValueError:
        raise Undecodable("init data", f"condition {number} does not exist") from None


RULE: Final = abi.tuple_of(abi.UINT8, abi.UINT64, abi.BOOL, abi.UINT256, abi.tuple_of(abi.UINT256, abi.UINT256))
"""(uint8 condition, uint64 offset, bool isLimited, bytes32 ref, (uint256 limit, uint256 used)), six words."""


def rules_from_members(members: Sequence[Any]) -> tuple[tuple[ParameterRule, ...], tuple[int, ...]]:
    """Rules and their counters' first values from decoded `RULE`s. Raises `Undecodable` for an unknown condition."""
    rules, used = [], []
    for condition, offset, is_limited, reference, (limit, already) in members:
        rules.append(ParameterRule(_read_condition(condition), offset, is_limited, reference, limit))
        used.append(already)
    return tuple(rules), tuple(used)


class RuleRun:
    """One check of one call: what its limited rules have charged so far."""

    __slots__ = ("_call", "_meter", "_name", "_rules", "_spent", "budget")

    def __init__(self, name: str, rules: Sequence[ParameterRule], call: Call, meter: Meter) -> None:
        self._name = name
        self._rules = rules
        self._call = call
        self._meter = meter
        self._spent: dict[int, int] = {}
        self.budget = meter.budget

    def check(self, index: int) -> Reason | PolicyReverted | None:
        """Judge rule `index`: `None` if it passes (a limited one is then charged), else why not. Raises `Overspent`."""
        self.budget.draw(RULE_CHECK)
        rule = self._rules[index]
        start = 4 + rule.offset
        data = self._call.data
        if start + 32 > len(data):
            if start + 32 > _UINT64_MAX:
                return malformed(self._name, OVERFLOW, "the offset of a rule exceeds 2^64")
            return malformed(self._name, BARE, f"the call data ends before {_argument(rule)}")
        word = int.from_bytes(data[start : start + 32], "big")
        if not rule.holds(word):
            return self._refuse(rule, word)
        return self._charge(index, rule, word) if rule.is_limited else None

    def charges(self) -> tuple[Charge, ...]:
        """What the rules have charged, one per rule reached."""
        if not self._spent:
            return ()
        return tuple(
            Charge(self._meter.counter(bytes([index])), amount, self._rules[index].limit)
            for index, amount in self._spent.items()
        )

    def _charge(self, index: int, rule: ParameterRule, word: int) -> Reason | PolicyReverted | None:
        slot = bytes([index])
        spent = self._spent.get(index, 0)
        total = self._meter.used(slot) + spent + word
        if total > UINT256_MAX:
            return malformed(self._name, OVERFLOW, f"{_argument(rule)} adds up to more than 2^256")
        if total > rule.limit:
            what = f"{word} as {_argument(rule)}"
            return over_limit(
                self._name, what, word, rule.limit, usage=self._meter.usage(slot), spent=self._spent_by(rule)
            )
        self._spent[index] = spent + word
        return None

    def _spent_by(self, rule: ParameterRule) -> Spent | None:
        """The token that the call spends, where the argument is how much of it."""
        selector = self._call.data[:4]
        if AMOUNT_OFFSETS.get(selector) != rule.offset:
            return None
        return Spent(self._call.target, VERBS[selector])

    def _refuse(self, rule: ParameterRule, word: int) -> Reason:
        if rule.condition is Condition.IN_RANGE:
            wanted = f"from {rule.reference >> 128} to {rule.reference & _LOW_128}"
        else:
            wanted = f"{_WORDS[rule.condition]} {_value(rule.reference)}"
        return Reason(
            code=Code.SESSION_SCOPE,
            sentence=f"{_argument(rule)} must be {wanted}, got {_value(word)}",
            remedy="pass a value that the grant allows, or have the owner grant another session",
            policy=self._name,
            wanted=wanted,
            got=_value(word),
        )


def _argument(rule: ParameterRule) -> str:
    if rule.offset % 32 == 0:
        return f"argument {rule.offset // 32}"
    return f"the word at byte {rule.offset} of the arguments"


def _value(word: int) -> str:
    """A word as people read it: a number while it is small, an address while it fits one, else all 32 bytes."""
    if word < 1 << 128:
        return str(word)
    return print_checksummed(word.to_bytes(20, "big")) if word < 1 << 160 else f"0x{word:064x}"


def value_over(name: str, value: int, limit: int) -> Reason:
    """The native value of one call exceeds what one use may carry."""
    return Reason(
        code=Code.SESSION_SCOPE,
        sentence=f"{value} wei sent with the call, this session may send {limit} wei per call",
        remedy="send less value with the call, or have the owner grant another session",
        policy=name,
        wanted=f"at most {limit} wei",
        got=f"{value} wei",
    )
