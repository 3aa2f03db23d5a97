// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// Allows everything.
contract SudoPolicy is Policy, IUserOpPolicy, IActionPolicy, IERC1271Policy {
    function _configure(bytes32, address, bytes calldata) internal override {}

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IUserOpPolicy).interfaceId || id == type(IActionPolicy).interfaceId
            || id == type(IERC1271Policy).interfaceId;
    }

    function checkUserOpPolicy(bytes32, PackedUserOperation calldata) external pure returns (uint256) {
        return PASSED;
    }

    function checkAction(bytes32, address, address, uint256, bytes calldata) external pure returns (uint256) {
        return PASSED;
    }

    function check1271SignedAction(bytes32, address, address, bytes32, bytes calldata) external pure returns (bool) {
        return true;
    }
}
