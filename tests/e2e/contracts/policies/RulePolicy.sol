// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// What policies on the words of an action's calldata have in common: a rule, and whether a call meets it.
abstract contract RulePolicy is Policy {
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

    error ValueLimitExceeded(bytes32 id, uint256 value, uint256 limit);

    function _passes(ParamRule storage rule, bytes calldata data) internal returns (bool) {
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
