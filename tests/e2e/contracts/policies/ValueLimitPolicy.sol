// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// A total of native value. initData: the limit in wei (32 bytes).
contract ValueLimitPolicy is Policy, IUserOpPolicy, IActionPolicy {
    struct Execution {
        address target;
        uint256 value;
        bytes data;
    }

    error UnsupportedCallType(bytes1 callType);

    bytes4 private constant EXECUTE = 0xe9ae5c53; // execute(bytes32,bytes)

    struct Budget {
        uint256 limit;
        uint256 used;
    }

    mapping(bytes32 id => mapping(address multiplexer => mapping(address account => Budget))) private _budgets;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        uint256 limit = abi.decode(initData, (uint256));
        if (limit == 0) revert PolicyNotInitialized(id, msg.sender, account);
        _budgets[id][msg.sender][account] = Budget(limit, 0);
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IUserOpPolicy).interfaceId || id == type(IActionPolicy).interfaceId;
    }

    function getValueLimit(bytes32 id, address multiplexer, address account) external view returns (uint256) {
        return _budgets[id][multiplexer][account].limit;
    }

    function getUsed(bytes32 id, address multiplexer, address account) external view returns (uint256) {
        return _budgets[id][multiplexer][account].used;
    }

    function checkAction(bytes32 id, address account, address, uint256 value, bytes calldata)
        external
        returns (uint256)
    {
        return _spend(id, account, value);
    }

    function checkUserOpPolicy(bytes32 id, PackedUserOperation calldata op) external returns (uint256) {
        if (bytes4(op.callData[0:4]) != EXECUTE) return PASSED;
        return _spend(id, op.sender, _valueOf(op.callData[4:]));
    }

    function _valueOf(bytes calldata arguments) private pure returns (uint256 value) {
        (bytes32 mode, bytes memory packed) = abi.decode(arguments, (bytes32, bytes));
        if (mode[0] == 0x00) {
            require(packed.length >= 52); // target, value
            assembly {
                value := mload(add(packed, 52))
            }
            return value;
        }
        if (mode[0] != 0x01) revert UnsupportedCallType(mode[0]);
        Execution[] memory calls = abi.decode(packed, (Execution[]));
        for (uint256 i; i < calls.length; ++i) {
            value += calls[i].value;
        }
    }

    function _spend(bytes32 id, address account, uint256 value) private returns (uint256) {
        Budget storage budget = _budgets[id][msg.sender][account];
        if (budget.used + value > budget.limit) return FAILED;
        budget.used += value;
        return PASSED;
    }
}
