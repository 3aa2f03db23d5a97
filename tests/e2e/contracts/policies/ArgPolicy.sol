// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./RulePolicy.sol";

/// Rules on the words of an action's calldata, combined by a tree. initData: abi.encode(ActionConfig).
/// A node has its type in bits 0-1 (rule, not, and, or), its rule in 2-9, its children in 10-17 and 18-25.
contract ArgPolicy is RulePolicy, IActionPolicy {
    struct Expression {
        uint8 root;
        ParamRule[] rules;
        uint256[] nodes;
    }

    struct ActionConfig {
        uint256 valueLimitPerUse;
        Expression expression;
    }

    error EmptyExpressionTree();
    error IndexOutOfBounds();

    /// The getter has the published shape: (valueLimitPerUse, (root, rules, nodes)).
    mapping(bytes32 id => mapping(address multiplexer => mapping(address account => ActionConfig))) public
        actionConfigs;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        ActionConfig memory config = abi.decode(initData, (ActionConfig));
        Expression memory expression = config.expression;
        if (expression.nodes.length == 0) revert EmptyExpressionTree();
        if (expression.root >= expression.nodes.length) revert IndexOutOfBounds();
        delete actionConfigs[id][msg.sender][account];
        ActionConfig storage stored = actionConfigs[id][msg.sender][account];
        stored.valueLimitPerUse = config.valueLimitPerUse;
        stored.expression.root = expression.root;
        for (uint256 i; i < expression.rules.length; ++i) {
            stored.expression.rules.push(expression.rules[i]);
        }
        for (uint256 i; i < expression.nodes.length; ++i) {
            stored.expression.nodes.push(expression.nodes[i]);
        }
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IActionPolicy).interfaceId;
    }

    function checkAction(bytes32 id, address account, address, uint256 value, bytes calldata data)
        external
        returns (uint256)
    {
        ActionConfig storage config = actionConfigs[id][msg.sender][account];
        if (config.expression.rules.length == 0) revert PolicyNotInitialized(id, msg.sender, account);
        if (value > config.valueLimitPerUse) revert ValueLimitExceeded(id, value, config.valueLimitPerUse);
        return _holds(config.expression, config.expression.root, data) ? PASSED : FAILED;
    }

    function _holds(Expression storage expression, uint256 at, bytes calldata data) private returns (bool) {
        uint256 node = expression.nodes[at];
        uint256 kind = node & 3;
        uint256 left = node >> 10 & 0xff;
        uint256 right = node >> 18 & 0xff;
        if (kind == 0) return _passes(expression.rules[node >> 2 & 0xff], data);
        if (kind == 1) return !_holds(expression, left, data);
        if (kind == 2) return _holds(expression, left, data) && _holds(expression, right, data);
        return _holds(expression, left, data) || _holds(expression, right, data);
    }
}
