"""ArgPolicy: rules on the arguments of a call, combined by a tree of and, or and not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from enum import IntEnum
from typing import Any, Final

from proxy.errors import Code, Reason, Undecodable
from proxy.record import record
from proxy.session.counters import ConfigKey, Meter
from proxy.session.policies.parameter_rules import RULE, ParameterRule, RuleRun, rules_from_members, value_over
from proxy.session.policies.policy import (
    Failed,
    Initialised,
    Outcome,
    Passed,
    PolicyConfig,
    PolicyReverted,
    not_initialised,
)
from proxy.session.policies.remembered import remembering
from proxy.session.revert import BARE, OVERFLOW, STACK_OVERFLOW, Revert
from proxy.userop import abi
from proxy.userop.budget import STEP
from proxy.userop.execution import Call

MAX_RULES: Final = 128
MAX_NODES: Final = 256
"""As the contract says; with exactly this many its loop counter overflows, so that one less is the real maximum."""
MAX_STACK: Final = 979
"""Words of the stack that the nodes above a rule may take: the rest of the 1,024 is what a rule's check needs. Measured
on the released contract, byte for byte, with every kind of node and rule: 979 is taken, 980 halts."""
STACK_OF_NOT: Final = 10
STACK_OF_LEFT: Final = 11
STACK_OF_RIGHT: Final = 12
"""What a node takes while its operand, its left or its right child is asked: frames of solc, counted in that code."""
MAX_STEPS: Final = 20_000
"""Visits of nodes after which a check is taken for out of gas: shared children make a tree exponential. On the released
contract each takes about 1,330 gas, all of them 27 million."""

_EXPRESSION: Final = abi.tuple_of(abi.UINT8, abi.list_of(RULE), abi.list_of(abi.UINT256))
_CONFIG: Final = abi.tuple_of(abi.UINT256, _EXPRESSION)
_WRAPPED: Final = abi.tuple_of(_CONFIG)


class NodeType(IntEnum):
    """Bits 0-1 of a packed node."""

    RULE = 0
    NOT = 1
    AND = 2
    OR = 3


@record()
class ArgNode:
    """One packed node: bits 2-9 rule index, 10-17 left child (the operand of not), 18-25 right child."""

    type: NodeType
    rule: int
    left: int
    right: int

    @property
    def has_children(self) -> bool:
        """Whether other nodes are asked."""
        return self.type is not NodeType.RULE


def unpack_node(packed: int) -> ArgNode:
    """Bits 26 and above are ignored."""
    return ArgNode(NodeType(packed & 3), packed >> 2 & 0xFF, packed >> 10 & 0xFF, packed >> 18 & 0xFF)


@record()
class ArgRules(PolicyConfig):
    """Wei per use, the rules, and the tree over them."""

    value_limit_per_use: int
    rules: tuple[ParameterRule, ...]
    nodes: tuple[ArgNode, ...]
    root: int
    may_pass_for_being_used_up: bool = field(init=False)
    """Whether a limited rule that no longer passes could make the expression hold: there is a `not`."""

    def __post_init__(self) -> None:
        negates = any(node.type is NodeType.NOT for node in self.nodes)
        may = negates and any(rule.is_limited for rule in self.rules)
        object.__setattr__(self, "may_pass_for_being_used_up", may)  # told once, not for every call


class ArgPolicy:
    """erc7579/smartsessions `ArgPolicy.sol`; for actions only."""

    name = "ArgPolicy"

    def initialise(self, init_data: bytes, key: ConfigKey) -> Initialised | Revert:  # noqa: ARG002  # the key is in no error of it
        """abi.encode of one tuple (uint256 valueLimitPerUse, (uint8 root, ParamRule[] rules, uint256[] nodes))."""
        return _read_init_data(init_data)

    @staticmethod
    def from_getters(action_configs: bytes) -> Initialised:
        """From the return data of actionConfigs(configId, multiplexer, account): (uint256, (uint8, rules, nodes)).

        Raises `Undecodable`.
        """
        members: tuple[Any, ...] = abi.decode(_CONFIG, action_configs, "actionConfigs")
        value_limit, (root, raw_rules, packed) = members
        rules, used = rules_from_members(raw_rules)
        return _initialised(value_limit, rules, tuple(unpack_node(node) for node in packed), root, used)

    def check_action(self, config: PolicyConfig | None, call: Call, meter: Meter, key: ConfigKey) -> Outcome:
        """Value per use, then the tree. Charges made in a branch that fails stay if the whole tree holds."""
        if not isinstance(config, ArgRules) or not config.rules:
            return not_initialised(self.name, key)
        limit = config.value_limit_per_use
        if call.value > limit:
            revert = Revert("ValueLimitExceeded", (key.config_id, call.value, limit))
            return PolicyReverted(revert, value_over(self.name, call.value, limit))
        outcome = self._evaluate(config, call, meter)
        if isinstance(outcome, Passed) and config.may_pass_for_being_used_up:
            # what is in flight may never be mined: it must not be what makes the expression hold
            settled = self._evaluate(config, call, meter.settled())
            return outcome if isinstance(settled, Passed) else settled
        return outcome

    def _evaluate(self, config: ArgRules, call: Call, meter: Meter) -> Outcome:
        evaluation = _Evaluation(self.name, config, call, meter)
        verdict = evaluation.holds(config.root, 0, 0)
        if isinstance(verdict, PolicyReverted):
            return verdict
        if not verdict:
            return Failed(evaluation.why(), evaluation.run.charges())
        return Passed(charges=evaluation.run.charges())


class _Evaluation:
    """One walk over the tree: left first, and / or cut short as in Solidity."""

    __slots__ = ("_config", "_name", "_refusals", "_steps", "run")

    def __init__(self, name: str, config: ArgRules, call: Call, meter: Meter) -> None:
        self._name = name
        self._config = config
        self._refusals: list[Reason] = []
        self._steps = 0
        self.run = RuleRun(name, config.rules, call, meter)

    def holds(self, index: int, depth: int, stack: int) -> bool | PolicyReverted:
        """What a node says, so deep in the tree and with so many words of the stack taken by the nodes above it."""
        nodes = self._config.nodes
        self._steps += 1
        self.run.budget.draw(STEP)
        if depth >= len(nodes) or self._steps > MAX_STEPS:
            # a path longer than the tree is a cycle, which no check of the contract refuses
            return PolicyReverted(STACK_OVERFLOW, _endless(self._name))
        if stack > MAX_STACK:
            return PolicyReverted(BARE, _too_deep(self._name))
        node = nodes[index]
        if node.type is NodeType.RULE:
            refusal = self.run.check(node.rule)
            if isinstance(refusal, PolicyReverted):
                return refusal
            if refusal is not None:
                self._refusals.append(refusal)
            return refusal is None
        negates = node.type is NodeType.NOT
        left = self.holds(node.left, depth + 1, stack + (STACK_OF_NOT if negates else STACK_OF_LEFT))
        if isinstance(left, PolicyReverted):
            return left
        if negates:
            return not left
        if left is (node.type is NodeType.OR):
            return left
        return self.holds(node.right, depth + 1, stack + STACK_OF_RIGHT)

    def why(self) -> Reason:
        """The first rule that refused; none did if something held that must not."""
        if self._refusals:
            more = len(self._refusals) - 1
            reason = self._refusals[0]
            return replace(reason, sentence=f"{reason.sentence} ({more} more rules refused)") if more else reason
        return Reason(
            code=Code.SESSION_SCOPE,
            sentence="the arguments meet a condition that this session excludes",
            remedy="pass arguments that the grant allows, or have the owner grant another session",
            policy=self._name,
        )


@remembering
def _read_init_data(init_data: bytes) -> Initialised | Revert:
    try:
        ((value_limit, (root, members, packed)),) = abi.decode(_WRAPPED, init_data, "init data")
        rules, used = rules_from_members(members)
    except Undecodable:
        return BARE
    nodes = tuple(unpack_node(node) for node in packed)
    return _fault_of_tree(len(rules), nodes, root) or _initialised(value_limit, rules, nodes, root, used)


def _endless(name: str) -> Reason:
    return Reason(
        code=Code.SESSION_SCOPE,
        sentence="the expression of this session has a cycle or is too large, so that its check never ends",
        remedy="have the owner grant a session whose expression is a tree",
        policy=name,
    )


def _too_deep(name: str) -> Reason:
    return Reason(
        code=Code.SESSION_SCOPE,
        sentence="the expression of this session is nested deeper than the chain's stack takes",
        remedy="have the owner grant a session whose expression is flatter: join rules in pairs instead of in a row",
        policy=name,
        wanted=f"at most {MAX_STACK // STACK_OF_NOT} levels of not, {MAX_STACK // STACK_OF_RIGHT} of and / or",
    )


def _fault_of_tree(rules: int, nodes: Sequence[ArgNode], root: int) -> Revert | None:
    """What the contract refuses at initialisation. Cycles are not among it."""
    if not nodes:
        return Revert("EmptyExpressionTree")
    if root >= len(nodes):
        return Revert("RootNodeIndexOutOfBounds")
    if rules > MAX_RULES:
        return Revert("TooManyRules")
    if len(nodes) > MAX_NODES:
        return Revert("TooManyNodes")
    for node in nodes:
        if node.type is NodeType.RULE:
            if node.rule >= rules:
                return Revert("RuleIndexOutOfBounds")
        elif node.left >= len(nodes) or (node.type is not NodeType.NOT and node.right >= len(nodes)):
            return Revert("NodeChildIndexOutOfBounds")
    return OVERFLOW if len(nodes) == MAX_NODES else None


def _initialised(
    value_limit: int, rules: tuple[ParameterRule, ...], nodes: tuple[ArgNode, ...], root: int, used: tuple[int, ...]
) -> Initialised:
    counters = {bytes([index]): used[index] for index, rule in enumerate(rules) if rule.is_limited}
    return Initialised(ArgRules(value_limit, rules, nodes, root), counters)
