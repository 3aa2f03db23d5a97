// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./RulePolicy.sol";

/// Rules on the words of an action's calldata. initData: abi.encode(ActionConfig).
contract UniActionPolicy is RulePolicy, IActionPolicy {
    struct ParamRules {
        uint256 length;
        ParamRule[16] rules;
    }

    struct ActionConfig {
        uint256 valueLimitPerUse;
        ParamRules paramRules;
    }

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
}
