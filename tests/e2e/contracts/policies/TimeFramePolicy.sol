// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.25;

import "./Policy.sol";

/// A window of validity. initData: validUntil (6 bytes), validAfter (6 bytes); until 0 means no end.
contract TimeFramePolicy is Policy, IUserOpPolicy, IActionPolicy, IERC1271Policy {
    struct Frame {
        uint48 validUntil;
        uint48 validAfter;
    }

    mapping(bytes32 id => mapping(address multiplexer => mapping(address account => Frame))) private _frames;

    function _configure(bytes32 id, address account, bytes calldata initData) internal override {
        Frame memory frame = Frame(uint48(bytes6(initData[0:6])), uint48(bytes6(initData[6:12])));
        if (frame.validUntil != 0 && frame.validAfter > frame.validUntil) {
            revert PolicyNotInitialized(id, msg.sender, account);
        }
        _frames[id][msg.sender][account] = frame;
    }

    function _checks(bytes4 id) internal pure override returns (bool) {
        return id == type(IUserOpPolicy).interfaceId || id == type(IActionPolicy).interfaceId
            || id == type(IERC1271Policy).interfaceId;
    }

    function getTimeFrameConfig(bytes32 id, address multiplexer, address account) external view returns (uint256) {
        Frame memory frame = _frames[id][multiplexer][account];
        return uint256(frame.validUntil) << 48 | frame.validAfter;
    }

    function checkUserOpPolicy(bytes32 id, PackedUserOperation calldata op) external view returns (uint256) {
        return _validationData(id, op.sender);
    }

    function checkAction(bytes32 id, address account, address, uint256, bytes calldata)
        external
        view
        returns (uint256)
    {
        return _validationData(id, account);
    }

    function check1271SignedAction(bytes32 id, address, address account, bytes32, bytes calldata)
        external
        view
        returns (bool)
    {
        Frame memory frame = _frames[id][msg.sender][account];
        return block.timestamp >= frame.validAfter && (frame.validUntil == 0 || block.timestamp < frame.validUntil);
    }

    /// Not compared with the clock here: the entry point judges the window.
    function _validationData(bytes32 id, address account) private view returns (uint256) {
        Frame memory frame = _frames[id][msg.sender][account];
        if (frame.validUntil == 0 && frame.validAfter == 0) revert PolicyNotInitialized(id, msg.sender, account);
        return uint256(frame.validAfter) << 208 | uint256(frame.validUntil) << 160;
    }
}
