// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

// The shapes that accounts, the session module and its policies share.

/// ERC-4337 v0.7.
struct PackedUserOperation {
    address sender;
    uint256 nonce;
    bytes initCode;
    bytes callData;
    bytes32 accountGasLimits;
    uint256 preVerificationGas;
    bytes32 gasFees;
    bytes paymasterAndData;
    bytes signature;
}

interface IPolicy {
    function initializeWithMultiplexer(address account, bytes32 configId, bytes calldata initData) external;
}

interface IUserOpPolicy {
    function checkUserOpPolicy(bytes32 configId, PackedUserOperation calldata op) external returns (uint256);
}

interface IActionPolicy {
    function checkAction(bytes32 configId, address account, address target, uint256 value, bytes calldata data)
        external
        returns (uint256);
}

interface IERC1271Policy {
    function check1271SignedAction(
        bytes32 configId,
        address requestSender,
        address account,
        bytes32 hash,
        bytes calldata signature
    ) external view returns (bool);
}
