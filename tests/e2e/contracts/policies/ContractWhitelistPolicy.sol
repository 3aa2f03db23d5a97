// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// Only these targets. initData: their addresses, 20 bytes each.
contract ContractWhitelistPolicy is Policy, IActionPolicy {
    error InvalidInitData();

    mapping(
        bytes32 id => mapping(address multiplexer => mapping(address account => mapping(address target => bool)))
    ) private _allowed;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        if (initData.length == 0 || initData.length % 20 != 0) revert InvalidInitData();
        for (uint256 at; at < initData.length; at += 20) {
            address target = address(bytes20(initData[at:at + 20]));
            if (target == address(0)) revert InvalidInitData();
            _allowed[id][msg.sender][account][target] = true;
        }
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IActionPolicy).interfaceId;
    }

    function isContractWhitelisted(bytes32 id, address multiplexer, address account, address target)
        external
        view
        returns (bool)
    {
        return _allowed[id][multiplexer][account][target];
    }

    function checkAction(bytes32 id, address account, address target, uint256, bytes calldata)
        external
        view
        returns (uint256)
    {
        return _allowed[id][msg.sender][account][target] ? PASSED : FAILED;
    }
}
