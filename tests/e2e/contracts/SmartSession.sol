// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./SessionTypes.sol";
import {SessionDigest} from "./SessionDigest.sol";
import {LibZip} from "solady/src/utils/LibZip.sol";

interface IERC1271 {
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4);
}

/// Sits at the Smart Sessions address. The session engine behind it is the real contract, in the early release
/// whose bytecode the modulekit package ships; this front runs it by delegatecall and bridges only what has
/// changed in the ABI since: the Session struct, the packing of signatures, the enable digest, the paymaster
/// flag. Validation in USE mode, the order of checks and all policy bookkeeping are the engine's own.
contract SmartSession {
    error InvalidEnableSignature(address account, bytes32 hash);
    error HashMismatch(bytes32 providedHash, bytes32 computedHash);
    error ChainIdMismatch(uint64 providedChainId);
    error PaymasterValidationNotEnabled(bytes32 permissionId);
    error NoPoliciesSet(bytes32 permissionId);
    error InvalidPermissionId(bytes32 permissionId);
    error UnsupportedCallType(bytes1 callType);
    error UnsupportedExecutionType();
    error InvalidUserOpSender(address sender);

    event PermissionIdPermit4337Paymaster(bytes32 permissionId, address account, bool permitted);

    enum Mode {
        USE,
        ENABLE,
        UNSAFE_ENABLE
    }

    /// Apart from the engine's storage, which starts at slot 0.
    struct Extra {
        mapping(bytes32 permissionId => mapping(address account => bool)) paymasterPermitted;
        mapping(address account => bytes32[]) permissionIds;
    }

    address private immutable _engine;
    bytes4 private constant EXECUTE = 0xe9ae5c53; // execute(bytes32,bytes)
    uint256 private constant ENGINE_ACTION_POLICIES_SLOT = 3; // in the storage layout of that release

    constructor(address engine) {
        _engine = engine;
    }

    function enableSessions(Session[] calldata sessions) external returns (bytes32[] memory ids) {
        ids = new bytes32[](sessions.length);
        for (uint256 i; i < sessions.length; ++i) {
            ids[i] = _permissionId(sessions[i]);
            _enable(sessions[i], ids[i]);
        }
    }

    function removeSession(bytes32 permissionId) external {
        bytes32[] storage ids = _extra().permissionIds[msg.sender];
        for (uint256 i; i < ids.length; ++i) {
            if (ids[i] != permissionId) continue;
            ids[i] = ids[ids.length - 1];
            ids.pop();
            break;
        }
        delete _extra().paymasterPermitted[permissionId][msg.sender];
        _relay(msg.data);
    }

    function setPermit4337Paymaster(bytes32 permissionId, bool permitted) external {
        if (!IEngine(address(this)).isPermissionEnabled(permissionId, msg.sender)) {
            revert InvalidPermissionId(permissionId);
        }
        _permitPaymaster(permissionId, permitted);
    }

    function getPermissionId(Session calldata session) external pure returns (bytes32) {
        return _permissionId(session);
    }

    function getSessionDigest(bytes32 permissionId, address account, Session calldata session, uint8 mode)
        external
        view
        returns (bytes32)
    {
        return _digest(session, account, Mode(mode), permissionId);
    }

    function getPermissionIDs(address account) external view returns (bytes32[] memory) {
        return _extra().permissionIds[account];
    }

    /// Here because the engine's own view finds the list and then returns an empty one.
    function getActionPolicies(address account, bytes32 permissionId, bytes32 actionId)
        external
        view
        returns (address[] memory policies)
    {
        bytes32 byAction = keccak256(abi.encode(actionId, ENGINE_ACTION_POLICIES_SLOT));
        bytes32 list = keccak256(abi.encode(account, keccak256(abi.encode(permissionId, byAction))));
        policies = new address[](uint256(_load(list)));
        for (uint256 i; i < policies.length; ++i) {
            policies[i] = address(uint160(uint256(_load(bytes32(uint256(list) + 32 * (i + 1))))));
        }
    }

    function validateUserOp(PackedUserOperation calldata op, bytes32 opHash) external returns (uint256) {
        if (op.sender != msg.sender) revert InvalidUserOpSender(op.sender);
        (bytes32 id, bytes memory signature) = _open(op.signature);
        if (op.paymasterAndData.length != 0) _checkPaymaster(id);
        PackedUserOperation memory forEngine = op;
        // the engine wants the session key's signature ABI-encoded and compressed
        forEngine.signature = abi.encodePacked(Mode.USE, id, LibZip.flzCompress(abi.encode(signature)));
        (bool ok, bytes memory answer) =
            _engine.delegatecall(abi.encodeCall(IEngine.validateUserOp, (forEngine, opHash)));
        if (!ok) _passOn(answer, op.callData);
        return abi.decode(answer, (uint256));
    }

    /// The view half of the enable modes: the digest and the account's word on it.
    function checkEnable(EnableSession calldata enable, Mode mode, address account) external view returns (bytes32 id) {
        id = _permissionId(enable.sessionToEnable);
        ChainDigest calldata here = enable.hashesAndChainIds[enable.chainDigestIndex];
        if (here.chainId != block.chainid) revert ChainIdMismatch(here.chainId);
        bytes32 digest = _digest(enable.sessionToEnable, account, mode, id);
        if (here.sessionDigest != digest) revert HashMismatch(here.sessionDigest, digest);
        bytes32 signed = SessionDigest.multiChain(enable.hashesAndChainIds);
        if (IERC1271(account).isValidSignature(signed, enable.permissionEnableSig) != 0x1626ba7e) {
            revert InvalidEnableSignature(account, signed);
        }
    }

    fallback() external {
        _relay(msg.data);
    }

    /// Reads the envelope of an operation; in the enable modes checks it and enables the session.
    function _open(bytes calldata envelope) private returns (bytes32 id, bytes memory signature) {
        Mode mode = Mode(uint8(bytes1(envelope[0:1]))); // an unknown mode panics, as in the released contract
        if (mode == Mode.USE) return (bytes32(envelope[1:33]), envelope[33:]);
        EnableSession memory enable;
        (enable, signature) = abi.decode(LibZip.flzDecompress(envelope[1:]), (EnableSession, bytes));
        id = this.checkEnable(enable, mode, msg.sender); // by a call: the digests are read from calldata
        _enable(enable.sessionToEnable, id);
        _run(abi.encodeCall(IEngine.revokeEnableSignature, (id))); // moves the nonce on: no second use
    }

    /// Reverts as the engine did, but for one case to which it gives another name.
    function _passOn(bytes memory answer, bytes calldata callData) private pure {
        bool aboutType = answer.length == 4 && bytes4(answer) == UnsupportedExecutionType.selector;
        if (aboutType && callData.length > 5 && bytes4(callData) == EXECUTE && callData[5] == 0) {
            revert UnsupportedCallType(callData[4]);
        }
        _revert(answer);
    }

    function _checkPaymaster(bytes32 id) private view {
        IEngine engine = IEngine(address(this));
        if (!engine.isPermissionEnabled(id, msg.sender)) return; // the engine will say so
        if (!_extra().paymasterPermitted[id][msg.sender]) revert PaymasterValidationNotEnabled(id);
        if (engine.getUserOpPolicies(msg.sender, id).length == 0) revert NoPoliciesSet(id);
    }

    function _enable(Session memory session, bytes32 id) private {
        EngineSession[] memory one = new EngineSession[](1);
        one[0] = EngineSession({
            sessionValidator: session.sessionValidator,
            sessionValidatorInitData: session.sessionValidatorInitData,
            salt: session.salt,
            userOpPolicies: session.userOpPolicies,
            erc7739Policies: EngineERC7739Data(new string[](0), session.erc7739Policies.erc1271Policies),
            actions: session.actions
        });
        _run(abi.encodeCall(IEngine.enableSessions, (one)));
        _permitPaymaster(id, session.permitERC4337Paymaster);
        bytes32[] storage ids = _extra().permissionIds[msg.sender];
        for (uint256 i; i < ids.length; ++i) {
            if (ids[i] == id) return;
        }
        ids.push(id);
    }

    function _permitPaymaster(bytes32 id, bool permitted) private {
        _extra().paymasterPermitted[id][msg.sender] = permitted;
        emit PermissionIdPermit4337Paymaster(id, msg.sender, permitted);
    }

    function _permissionId(Session calldata session) private pure returns (bytes32) {
        return keccak256(abi.encode(session.sessionValidator, session.sessionValidatorInitData, session.salt));
    }

    function _digest(Session calldata session, address account, Mode mode, bytes32 id) private view returns (bytes32) {
        // asks its own fallback, since a view function cannot delegatecall
        uint256 nonce = IEngine(address(this)).getNonce(id, account);
        return SessionDigest.single(session, account, address(this), mode == Mode.UNSAFE_ENABLE, nonce);
    }

    function _extra() private pure returns (Extra storage extra) {
        bytes32 slot = keccak256("sessiongate.e2e.smart-session");
        assembly {
            extra.slot := slot
        }
    }

    function _load(bytes32 slot) private view returns (bytes32 value) {
        assembly {
            value := sload(slot)
        }
    }

    /// Runs the engine on this contract's storage; its reverts are passed on as they are.
    function _run(bytes memory data) private returns (bytes memory answer) {
        bool ok;
        (ok, answer) = _engine.delegatecall(data);
        if (!ok) _revert(answer);
    }

    function _revert(bytes memory answer) private pure {
        assembly {
            revert(add(answer, 32), mload(answer))
        }
    }

    function _relay(bytes calldata data) private {
        bytes memory answer = _run(data);
        assembly {
            return(add(answer, 32), mload(answer))
        }
    }
}
