// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// So many uses and no more. initData: the limit (16 bytes).
contract UsageLimitPolicy is Policy, IUserOpPolicy, IActionPolicy {
    struct Usage {
        uint128 limit;
        uint128 used;
    }

    mapping(bytes32 id => mapping(address multiplexer => mapping(address account => Usage))) private _usage;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        uint128 limit = uint128(bytes16(initData[0:16]));
        if (limit == 0) revert PolicyNotInitialized(id, msg.sender, account);
        _usage[id][msg.sender][account] = Usage(limit, 0);
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IUserOpPolicy).interfaceId || id == type(IActionPolicy).interfaceId;
    }

    function getUsageLimit(bytes32 id, address multiplexer, address account) external view returns (uint128) {
        return _usage[id][multiplexer][account].limit;
    }

    function getUsed(bytes32 id, address multiplexer, address account) external view returns (uint128) {
        return _usage[id][multiplexer][account].used;
    }

    function checkUserOpPolicy(bytes32 id, PackedUserOperation calldata op) external returns (uint256) {
        return _use(id, op.sender);
    }

    function checkAction(bytes32 id, address account, address, uint256, bytes calldata) external returns (uint256) {
        return _use(id, account);
    }

    function _use(bytes32 id, address account) private returns (uint256) {
        Usage storage usage = _usage[id][msg.sender][account];
        if (usage.used + 1 > usage.limit) return FAILED;
        ++usage.used;
        return PASSED;
    }
}
