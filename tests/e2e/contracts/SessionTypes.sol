// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Types.sol";

// A session as the SDKs of today encode it …

struct PolicyData {
    address policy;
    bytes initData;
}

struct ERC7739Context {
    bytes32 appDomainSeparator;
    string[] contentName;
}

struct ERC7739Data {
    ERC7739Context[] allowedERC7739Content;
    PolicyData[] erc1271Policies;
}

struct ActionData {
    bytes4 actionTargetSelector;
    address actionTarget;
    PolicyData[] actionPolicies;
}

struct Session {
    address sessionValidator;
    bytes sessionValidatorInitData;
    bytes32 salt;
    PolicyData[] userOpPolicies;
    ERC7739Data erc7739Policies;
    ActionData[] actions;
    bool permitERC4337Paymaster;
}

struct ChainDigest {
    uint64 chainId;
    bytes32 sessionDigest;
}

struct EnableSession {
    uint8 chainDigestIndex;
    ChainDigest[] hashesAndChainIds;
    Session sessionToEnable;
    bytes permissionEnableSig;
}

// … and as the early engine does: no paymaster flag, a flat list of ERC-7739 names.

struct EngineERC7739Data {
    string[] allowedERC7739Content;
    PolicyData[] erc1271Policies;
}

struct EngineSession {
    address sessionValidator;
    bytes sessionValidatorInitData;
    bytes32 salt;
    PolicyData[] userOpPolicies;
    EngineERC7739Data erc7739Policies;
    ActionData[] actions;
}

interface IEngine {
    function enableSessions(EngineSession[] memory sessions) external returns (bytes32[] memory);
    function getNonce(bytes32 permissionId, address account) external view returns (uint256);
    function isPermissionEnabled(bytes32 permissionId, address account) external view returns (bool);
    function getUserOpPolicies(address account, bytes32 permissionId) external view returns (address[] memory);
    function revokeEnableSignature(bytes32 permissionId) external;
    function validateUserOp(PackedUserOperation memory op, bytes32 opHash) external returns (uint256);
}
