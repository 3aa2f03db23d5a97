// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// Rules on the words of an action's calldata. initData: abi.encode(ActionConfig).
contract UniActionPolicy is Policy, IActionPolicy {
    enum Condition {
        EQUAL,
        GREATER_THAN,
        LESS_THAN,
        GREATER_THAN_OR_EQUAL,
        LESS_THAN_OR_EQUAL,
        NOT_EQUAL,
        IN_RANGE
    }

    struct LimitUsage {
        uint256 limit;
        uint256 used;
    }

    struct ParamRule {
        Condition condition;
        uint64 offset;
        bool isLimited;
        bytes32 ref;
        LimitUsage usage;
    }

    struct ParamRules {
        uint256 length;
        ParamRule[16] rules;
    }

    struct ActionConfig {
        uint256 valueLimitPerUse;
        ParamRules paramRules;
    }

    error ValueLimitExceeded(bytes32 id, uint256 value, uint256 limit);

    /// The getter has the published shape: (valueLimitPerUse, (length, rule[16])).
    mapping(bytes32 id => mapping(address multiplexer => mapping(address account => ActionConfig))) public
        actionConfigs;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        ActionConfig memory config = abi.decode(initData, (ActionConfig));
        ActionConfig storage stored = actionConfigs[id][msg.sender][account];
        stored.valueLimitPerUse = config.valueLimitPerUse;
        stored.paramRules.length = config.paramRules.length;
        for (uint256 i; i < config.paramRules.length; ++i) {
            stored.paramRules.rules[i] = config.paramRules.rules[i];
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
        if (config.paramRules.length == 0) revert PolicyNotInitialized(id, msg.sender, account);
        if (value > config.valueLimitPerUse) revert ValueLimitExceeded(id, value, config.valueLimitPerUse);
        for (uint256 i; i < config.paramRules.length; ++i) {
            if (!_passes(config.paramRules.rules[i], data)) return FAILED;
        }
        return PASSED;
    }

    function _passes(ParamRule storage rule, bytes calldata data) private returns (bool) {
        uint64 start = 4 + rule.offset;
        uint256 word = uint256(bytes32(data[start:start + 32]));
        if (!_holds(rule.condition, word, uint256(rule.ref))) return false;
        if (!rule.isLimited) return true;
        if (rule.usage.used + word > rule.usage.limit) return false;
        rule.usage.used += word;
        return true;
    }

    function _holds(Condition condition, uint256 word, uint256 ref) private pure returns (bool) {
        if (condition == Condition.EQUAL) return word == ref;
        if (condition == Condition.GREATER_THAN) return word > ref;
        if (condition == Condition.LESS_THAN) return word < ref;
        if (condition == Condition.GREATER_THAN_OR_EQUAL) return word >= ref;
        if (condition == Condition.LESS_THAN_OR_EQUAL) return word <= ref;
        if (condition == Condition.NOT_EQUAL) return word != ref;
        return word >= ref >> 128 && word <= uint128(ref);
    }
}
