// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import {PackedUserOperation} from "./Types.sol";

// Session modules that are none of Smart Sessions, as dapps write their own after the guides: ERC-7579 validators that
// keep sessions by account. They differ in everything the gate has to be told about such a module.

/// What all read off an operation's call data: execute(bytes32 mode, bytes executionCalldata) of ERC-7579.
library SessionCalls {
    struct Made {
        address target;
        uint256 value;
        bytes callData;
    }

    function read(bytes calldata callData) internal pure returns (Made[] memory made) {
        require(bytes4(callData[:4]) == 0xe9ae5c53, "execute only");
        (bytes32 mode, bytes memory execution) = abi.decode(callData[4:], (bytes32, bytes));
        require(mode[1] == 0, "must revert on failure");
        if (mode[0] == 0x01) return abi.decode(execution, (Made[]));
        require(mode[0] == 0, "calls only");
        made = new Made[](1);
        made[0] = Made(address(bytes20(_part(execution, 0, 20))), uint256(bytes32(_part(execution, 20, 32))), "");
        made[0].callData = _part(execution, 52, execution.length - 52);
    }

    function selector(Made memory made) internal pure returns (bytes4) {
        return bytes4(made.callData);
    }

    function _part(bytes memory data, uint256 from, uint256 length) private pure returns (bytes memory part) {
        part = new bytes(length);
        for (uint256 i = 0; i < length; i++) part[i] = data[from + i];
    }

    function signer(bytes32 digest, bytes memory signature) internal pure returns (address) {
        require(signature.length == 65, "65 bytes");
        (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
        return ecrecover(digest, uint8(signature[64]), r, s);
    }

    function window(uint48 validAfter, uint48 validUntil) internal pure returns (uint256) {
        return uint256(validAfter) << 208 | uint256(validUntil) << 160;
    }
}

abstract contract SessionModuleBase {
    function onInstall(bytes calldata) external {}

    function onUninstall(bytes calldata) external {}

    function isInitialized(address) external pure returns (bool) {
        return true;
    }

    function isModuleType(uint256 moduleType) external pure returns (bool) {
        return moduleType == 1;
    }

    function isValidSignatureWithSender(address, bytes32, bytes calldata) external pure returns (bytes4) {
        return 0xffffffff;
    }
}

/// Sessions named by their keys; one call each; the key signs the hash as a message, and nothing stands around that.
contract GuideSessionModule is SessionModuleBase {
    struct Session {
        address target;
        bytes4 selector;
        uint48 validUntil;
        uint48 validAfter;
        uint256 maxValue;
    }

    mapping(address account => mapping(address sessionKey => Session)) public sessions;

    event SessionCreated(
        address indexed account,
        address indexed sessionKey,
        address target,
        bytes4 selector,
        uint256 maxValue,
        uint48 validUntil,
        uint48 validAfter
    );
    event SessionRevoked(address indexed account, address indexed sessionKey);

    function createSession(
        address sessionKey,
        address target,
        bytes4 selector,
        uint256 maxValue,
        uint48 validUntil,
        uint48 validAfter
    ) external {
        sessions[msg.sender][sessionKey] = Session(target, selector, validUntil, validAfter, maxValue);
        emit SessionCreated(msg.sender, sessionKey, target, selector, maxValue, validUntil, validAfter);
    }

    function revokeSession(address sessionKey) external {
        delete sessions[msg.sender][sessionKey];
        emit SessionRevoked(msg.sender, sessionKey);
    }

    function validateUserOp(PackedUserOperation calldata op, bytes32 opHash) external view returns (uint256) {
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", opHash));
        Session memory session = sessions[op.sender][SessionCalls.signer(digest, op.signature)];
        if (session.target == address(0)) return 1;
        SessionCalls.Made[] memory made = SessionCalls.read(op.callData);
        for (uint256 i = 0; i < made.length; i++) {
            require(made[i].target == session.target, "target");
            require(SessionCalls.selector(made[i]) == session.selector, "selector");
            require(made[i].value <= session.maxValue, "value");
        }
        return SessionCalls.window(session.validAfter, session.validUntil);
    }
}

/// Sessions named by an id that signatures carry, several calls each, with limits over all of them; the key signs the
/// hash itself.
contract BudgetSessionModule is SessionModuleBase {
    struct AllowedCall {
        bytes4 selector;
        address target;
        uint128 maxValue;
    }

    struct Session {
        address sessionKey;
        uint64 validUntil;
        uint32 maxUses;
        uint32 uses;
        uint256 maxTotalValue;
        uint256 totalValue;
        AllowedCall[] calls;
    }

    mapping(address account => mapping(bytes32 id => Session)) private _sessions;

    event Granted(
        bytes32 indexed id,
        uint64 validUntil,
        AllowedCall[] calls,
        uint32 maxUses,
        uint256 maxTotalValue,
        address sessionKey,
        address account
    );
    event Closed(address indexed account, bytes32 indexed id);

    function grant(
        uint64 validUntil,
        bytes32 id,
        AllowedCall[] calldata calls,
        uint32 maxUses,
        uint256 maxTotalValue,
        address sessionKey
    ) external {
        Session storage session = _sessions[msg.sender][id];
        session.sessionKey = sessionKey;
        session.validUntil = validUntil;
        session.maxUses = maxUses;
        session.uses = 0;
        session.maxTotalValue = maxTotalValue;
        session.totalValue = 0;
        delete session.calls;
        for (uint256 i = 0; i < calls.length; i++) session.calls.push(calls[i]);
        emit Granted(id, validUntil, calls, maxUses, maxTotalValue, sessionKey, msg.sender);
    }

    function close(bytes32 id) external {
        delete _sessions[msg.sender][id];
        emit Closed(msg.sender, id);
    }

    function spent(address account, bytes32 id) external view returns (uint256 uses, uint256 totalValue) {
        return (_sessions[account][id].uses, _sessions[account][id].totalValue);
    }

    function validateUserOp(PackedUserOperation calldata op, bytes32 opHash) external returns (uint256) {
        (bytes32 id, bytes memory signature) = abi.decode(op.signature, (bytes32, bytes));
        Session storage session = _sessions[op.sender][id];
        if (session.sessionKey == address(0) || SessionCalls.signer(opHash, signature) != session.sessionKey) return 1;
        SessionCalls.Made[] memory made = SessionCalls.read(op.callData);
        for (uint256 i = 0; i < made.length; i++) {
            require(made[i].value <= _allowed(session, made[i]), "value");
            session.totalValue += made[i].value;
            session.uses += 1;
        }
        require(session.uses <= session.maxUses, "uses");
        require(session.totalValue <= session.maxTotalValue, "total value");
        return SessionCalls.window(0, uint48(session.validUntil));
    }

    function _allowed(Session storage session, SessionCalls.Made memory made) private view returns (uint256) {
        for (uint256 i = 0; i < session.calls.length; i++) {
            AllowedCall storage each = session.calls[i];
            if (each.target == made.target && each.selector == SessionCalls.selector(made)) return each.maxValue;
        }
        revert("call");
    }
}

/// Sessions that no event tells of, named by their keys, with so many calls each; in front of its signature of the hash
/// as a message stands the key itself, packed.
contract QuietSessionModule is SessionModuleBase {
    struct Session {
        address target;
        bytes4 selector;
        uint32 left;
    }

    mapping(address account => mapping(address sessionKey => Session)) private _sessions;

    function allow(uint32 maxUses, bytes4 selector, address sessionKey, address target) external {
        _sessions[msg.sender][sessionKey] = Session(target, selector, maxUses);
    }

    function forbid(address sessionKey) external {
        delete _sessions[msg.sender][sessionKey];
    }

    function validateUserOp(PackedUserOperation calldata op, bytes32 opHash) external returns (uint256) {
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", opHash));
        address sessionKey = address(bytes20(op.signature[:20]));
        if (SessionCalls.signer(digest, op.signature[20:]) != sessionKey) return 1;
        Session storage session = _sessions[op.sender][sessionKey];
        SessionCalls.Made[] memory made = SessionCalls.read(op.callData);
        for (uint256 i = 0; i < made.length; i++) {
            require(made[i].target == session.target, "target");
            require(SessionCalls.selector(made[i]) == session.selector, "selector");
            require(made[i].value == 0, "value");
            session.left--;
        }
        return 0;
    }
}
