// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "../Types.sol";

/// What every policy stand-in has in common. State is keyed by config id, then by the session module that
/// asks (the multiplexer), then by account, as in the published policies, so that a reader of the chain
/// (the gate) finds it through the same getters.
abstract contract Policy is IPolicy {
    event PolicySet(bytes32 id, address multiplexer, address account);

    error PolicyNotInitialized(bytes32 id, address multiplexer, address account);

    uint256 internal constant PASSED = 0;
    uint256 internal constant FAILED = 1;

    bytes4 private constant ERC165 = 0x01ffc9a7;

    function _configure(bytes32 id, address account, bytes calldata initData) internal virtual;
    function _checks(bytes4 interfaceId) internal pure virtual returns (bool);

    function initializeWithMultiplexer(address account, bytes32 id, bytes calldata initData) external {
        _configure(id, account, initData);
        emit PolicySet(id, msg.sender, account);
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == ERC165 || interfaceId == type(IPolicy).interfaceId || _checks(interfaceId);
    }
}
